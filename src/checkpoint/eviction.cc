// The leaves, and the two plain strategies of the store: LRU and decayed hits. The default is in
// eviction_value.cc.
#include "checkpoint/eviction.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"

namespace tokvault::checkpoint {

void LeafPolicy::became_leaf(RecordId id) {
  BlockRecord& r = index_[id];
  if (r.link != kNoRecord) return;
  r.link = static_cast<std::uint32_t>(leaves_.size());
  leaves_.push_back(id);
}

void LeafPolicy::ceased_leaf(RecordId id) {
  BlockRecord& r = index_[id];
  if (r.link == kNoRecord) return;
  leaves_[r.link] = leaves_.back();
  index_[leaves_[r.link]].link = r.link;
  leaves_.pop_back();
  r.link = kNoRecord;
}

void LeafPolicy::load() {
  for (RecordId id = 0; id < index_.limit(); ++id) {
    BlockRecord& r = index_[id];
    if (r.kind == Kind::free) continue;
    r.link = kNoRecord;
    if (r.children() == 0) became_leaf(id);
  }
}

std::uint64_t LeafPolicy::random() {  // xorshift64*
  random_ ^= random_ >> 12;
  random_ ^= random_ << 25;
  random_ ^= random_ >> 27;
  return random_ * 0x2545f4914f6cdd1du;
}

RecordId LeafPolicy::victim(const Protected& is_protected) {
  constexpr std::size_t kSample = 128;
  RecordId best = kNoRecord;
  double best_value = 0;
  auto consider = [&](RecordId id) {
    if (is_protected && is_protected(id)) return;
    const double v = value(id);
    if (best != kNoRecord) {
      const BlockRecord& a = index_[id];
      const BlockRecord& b = index_[best];
      if (v > best_value) return;
      if (v == best_value &&
          (a.last_use > b.last_use || (a.last_use == b.last_use && a.depth <= b.depth))) {
        return;
      }
    }
    best = id;
    best_value = v;
  };
  if (leaves_.size() > kSample) {
    for (std::size_t i = 0; i < kSample; ++i) consider(leaves_[random() % leaves_.size()]);
  }
  if (best == kNoRecord) {
    for (const RecordId id : leaves_) consider(id);
  }
  return best;
}

namespace {

// Least recently used. A request moves its blocks to the new end from the last to the first, so the
// old end is a leaf; what is not (its child was added without it) is skipped.
class LruPolicy final : public EvictionPolicy {
 public:
  explicit LruPolicy(BlockIndex& index) : index_(index) {}

  void load() override {
    std::vector<RecordId> order;
    for (RecordId id = 0; id < index_.limit(); ++id) {
      if (index_[id].kind != Kind::free) order.push_back(id);
    }
    std::sort(order.begin(), order.end(), [this](RecordId a, RecordId b) {
      const BlockRecord& x = index_[a];
      const BlockRecord& y = index_[b];
      if (x.last_use != y.last_use) return x.last_use < y.last_use;
      return x.depth != y.depth ? x.depth > y.depth : a < b;
    });
    for (const RecordId id : order) inserted(id);
  }
  void inserted(RecordId id) override {
    if (id >= links_.size()) links_.resize(std::max<std::size_t>(id + 1, links_.size() * 5 / 4));
    append(id);
  }
  void end(std::span<const RecordId> chain) override {
    for (std::size_t i = chain.size(); i-- > 0;) {
      unlink(chain[i]);
      append(chain[i]);
    }
  }
  void erased(RecordId id, bool /*evicted*/) override { unlink(id); }
  void became_leaf(RecordId) override {}
  void ceased_leaf(RecordId) override {}
  RecordId victim(const Protected& is_protected) override {
    for (RecordId id = oldest_; id != kNoRecord; id = links_[id].next) {
      if (index_[id].children() == 0 && !(is_protected && is_protected(id))) return id;
    }
    return kNoRecord;
  }
  std::uint64_t memory_bytes() const override { return links_.capacity() * sizeof(Link); }

 private:
  struct Link {
    RecordId previous = kNoRecord;
    RecordId next = kNoRecord;
  };
  void append(RecordId id) {
    links_[id] = {newest_, kNoRecord};
    (newest_ == kNoRecord ? oldest_ : links_[newest_].next) = id;
    newest_ = id;
  }
  void unlink(RecordId id) {
    const Link l = links_[id];
    (l.previous == kNoRecord ? oldest_ : links_[l.previous].next) = l.next;
    (l.next == kNoRecord ? newest_ : links_[l.next].previous) = l.previous;
  }

  BlockIndex& index_;
  std::vector<Link> links_;
  RecordId oldest_ = kNoRecord;
  RecordId newest_ = kNoRecord;
};

// (hits that halve every six hours + 1) x tokens / bytes: the score of the engine that KVC is from.
class DecayedHitsPolicy final : public LeafPolicy {
 public:
  DecayedHitsPolicy(BlockIndex& index, const PolicyOptions& options)
      : LeafPolicy(index), half_life_(options.half_life_requests), start_ms_(now_ms()) {}

  void begin(std::uint32_t clock) override {
    clock_ = clock;
    if (fixed_ || ++requests_ % 64 != 1) return;
    // Ages are counted in requests: six hours are as many as the rate so far makes of them.
    const double hours = static_cast<double>(now_ms() - start_ms_) / 3.6e6;
    half_life_ = std::max(1.0, requests_ / std::max(hours, 1e-3) * 6);
  }

 protected:
  double value(RecordId id) const override {
    const BlockRecord& r = index_[id];
    const double halvings = (clock_ - r.last_use) / half_life_;
    double hits = r.hits() * std::exp2(-halvings);
    if (hits < 0.01) hits = 0;
    return (hits + 1) * std::max<double>(r.tokens, 1) / r.units;
  }

 private:
  double half_life_;
  const bool fixed_ = half_life_ > 0;
  std::int64_t start_ms_;
  std::uint64_t requests_ = 0;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_policy(Eviction kind, BlockIndex& index,
                                            const PolicyOptions& options) {
  switch (kind) {
    case Eviction::lru:
      return std::make_unique<LruPolicy>(index);
    case Eviction::decayed_hits:
      return std::make_unique<DecayedHitsPolicy>(index, options);
    case Eviction::value:
      break;
  }
  return make_value_policy(index, options);
}

}  // namespace tokvault::checkpoint
