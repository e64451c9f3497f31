#include "checkpoint/block_index.h"

namespace tokvault::checkpoint {
namespace {

constexpr std::uint64_t kSlotsMin = 1024;

}  // namespace

RecordId BlockIndex::find(Hash128 key) const {
  if (slots_.empty()) return kNoRecord;
  const std::uint64_t mask = slots_.size() - 1;
  for (std::uint64_t i = home(key);; i = (i + 1) & mask) {
    const RecordId id = slots_[i];
    if (id == kNoRecord || (*this)[id].key() == key) return id;
  }
}

RecordId BlockIndex::insert(Hash128 key, RecordId parent, Kind kind) {
  if ((std::uint64_t{size_} + 1) * 20 > slots_.size() * 17) grow();
  RecordId id = free_;
  if (id != kNoRecord) {
    free_ = (*this)[id].parent;
  } else {
    id = limit_;
    if ((id >> kChunkBits) == chunks_.size()) {
      chunks_.push_back(std::make_unique<BlockRecord[]>(std::size_t{1} << kChunkBits));
    }
    ++limit_;
  }
  BlockRecord& r = (*this)[id];
  r = BlockRecord{};
  r.hash[0] = static_cast<std::uint32_t>(key.lo);
  r.hash[1] = static_cast<std::uint32_t>(key.lo >> 32);
  r.hash[2] = static_cast<std::uint32_t>(key.hi);
  r.hash[3] = static_cast<std::uint32_t>(key.hi >> 32);
  r.parent = parent;
  r.kind = kind;
  r.link = kNoRecord;
  if (parent != kNoRecord) (*this)[parent].children_hits += 256;
  const std::uint64_t mask = slots_.size() - 1;
  std::uint64_t i = home(key);
  while (slots_[i] != kNoRecord) i = (i + 1) & mask;
  slots_[i] = id;
  ++size_;
  return id;
}

void BlockIndex::erase(RecordId id) {
  BlockRecord& r = (*this)[id];
  const std::uint64_t mask = slots_.size() - 1;
  std::uint64_t hole = home(r.key());
  while (slots_[hole] != id) hole = (hole + 1) & mask;
  // Entries behind the hole move up where their home allows it, so no tombstones are needed.
  for (std::uint64_t i = (hole + 1) & mask; slots_[i] != kNoRecord; i = (i + 1) & mask) {
    const std::uint64_t wanted = home((*this)[slots_[i]].key());
    if (((i - wanted) & mask) >= ((i - hole) & mask)) {
      slots_[hole] = slots_[i];
      hole = i;
    }
  }
  slots_[hole] = kNoRecord;
  if (r.parent != kNoRecord) (*this)[r.parent].children_hits -= 256;
  r = BlockRecord{};
  r.parent = free_;
  free_ = id;
  --size_;
}

std::uint64_t BlockIndex::memory_bytes() const {
  return chunks_.size() * (sizeof(BlockRecord) << kChunkBits) + slots_.size() * sizeof(RecordId);
}

void BlockIndex::prepare(std::uint32_t limit, std::uint64_t slot_count, std::uint32_t size,
                         RecordId free) {
  chunks_.clear();
  for (std::uint64_t have = 0; have < limit; have += std::uint64_t{1} << kChunkBits) {
    chunks_.push_back(std::make_unique_for_overwrite<BlockRecord[]>(std::size_t{1} << kChunkBits));
  }
  slots_.assign(slot_count, kNoRecord);
  limit_ = limit;
  size_ = size;
  free_ = free;
}

void BlockIndex::grow() {
  const std::uint64_t count = slots_.empty() ? kSlotsMin : slots_.size() * 2;
  slots_.assign(count, kNoRecord);
  for (RecordId id = 0; id < limit_; ++id) {
    const BlockRecord& r = (*this)[id];
    if (r.kind == Kind::free) continue;
    std::uint64_t i = home(r.key());
    while (slots_[i] != kNoRecord) i = (i + 1) & (count - 1);
    slots_[i] = id;
  }
}

}  // namespace tokvault::checkpoint
