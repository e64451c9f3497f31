#include "checkpoint/shadow_cache.h"

#include <vector>

namespace tokvault::checkpoint {

bool ShadowCache::make_room(const BlockRecord& wanted, RecordId parent, std::uint64_t capacity) {
  while (index_.size() >= capacity) {
    const RecordId victim = leaves_.victim([parent](RecordId id) { return id == parent; });
    if (victim == kNoRecord) return false;
    if (judge_ != nullptr && judge_->worth_if_added(wanted) < judge_->worth(index_[victim])) {
      return false;
    }
    const RecordId above = index_[victim].parent;
    leaves_.ceased_leaf(victim);
    index_.erase(victim);
    if (above != kNoRecord && index_[above].children() == 0) leaves_.became_leaf(above);
  }
  return true;
}

std::size_t ShadowCache::request(std::span<const ShadowBlock> blocks, std::uint32_t clock,
                                 std::uint64_t capacity) {
  RecordId parent = kNoRecord;
  std::size_t there = 0;
  for (; there < blocks.size(); ++there) {
    const RecordId id = index_.find(blocks[there].key);
    if (id == kNoRecord) break;
    BlockRecord& r = index_[id];
    r.last_use = clock;
    r.set_hits(r.hits() + 1);
    classify_continuation(index_, r);
    parent = id;
  }
  for (const ShadowBlock& block : blocks.subspan(there)) {
    // Sampled anew, or after its parent went: it cannot be there twice.
    if (index_.find(block.key) != kNoRecord) break;
    BlockRecord r{};
    r.parent = parent;
    r.units = 1;
    r.last_use = clock;
    r.depth = block.depth;
    r.set_hits(block.hits);
    classify_continuation(index_, r);
    if (!make_room(r, parent, capacity)) break;
    const RecordId id = index_.insert(block.key, parent, Kind::block);
    BlockRecord& added = index_[id];
    added.units = r.units;
    added.last_use = r.last_use;
    added.depth = r.depth;
    added.flags = r.flags;
    added.set_hits(r.hits());
    if (parent != kNoRecord) leaves_.ceased_leaf(parent);
    leaves_.became_leaf(id);
    parent = id;
  }
  return blocks.size() - there;
}

void ShadowCache::clear() {
  for (RecordId id = 0; id < index_.limit(); ++id) leaves_.ceased_leaf(id);
  index_ = BlockIndex();
}

std::uint64_t ShadowCache::memory_bytes() const {
  return index_.memory_bytes() + leaves_.memory_bytes();
}

}  // namespace tokvault::checkpoint
