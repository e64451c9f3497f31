#include "checkpoint/eviction_peers.h"

#include <algorithm>
#include <array>
#include <list>
#include <unordered_map>
#include <unordered_set>

namespace tokvault::checkpoint {

void PriorityPolicy::set(RecordId id) {
  if (id >= priorities_.size()) priorities_.resize(id + 1 + priorities_.size() / 4);
  const bool leaf = index_[id].link != kNoRecord;
  if (leaf) ceased_leaf(id);
  priorities_[id] = priority(id);
  if (leaf) became_leaf(id);
}

void PriorityPolicy::touched(RecordId id) { set(id); }
void PriorityPolicy::inserted(RecordId id) { set(id); }
void PriorityPolicy::erased(RecordId id, bool evicted) {
  if (evicted) inflation_ = std::max(inflation_, priorities_[id]);
}
void PriorityPolicy::became_leaf(RecordId id) {
  BlockRecord& r = index_[id];
  if (r.link != kNoRecord) return;
  r.link = 1;
  leaves_.insert({priorities_[id], -int{r.depth}, id});
}
void PriorityPolicy::ceased_leaf(RecordId id) {
  BlockRecord& r = index_[id];
  if (r.link == kNoRecord) return;
  r.link = kNoRecord;
  leaves_.erase({priorities_[id], -int{r.depth}, id});
}
RecordId PriorityPolicy::victim(const Protected& is_protected) {
  for (const auto& [priority, depth, id] : leaves_) {
    if (!(is_protected && is_protected(id))) return id;
  }
  return kNoRecord;
}

namespace {

// Use counts outlive eviction, as in the comparison that the figures of the literature come from.
class Gdsf final : public PriorityPolicy {
 public:
  using PriorityPolicy::PriorityPolicy;

 private:
  double priority(RecordId id) override { return inflation_ + ++uses_[index_[id].key().lo]; }
  std::unordered_map<std::uint64_t, std::uint32_t> uses_;
};

class AgedFrequency final : public PriorityPolicy {
 public:
  using PriorityPolicy::PriorityPolicy;

 private:
  double priority(RecordId id) override {
    const std::uint32_t uses = uses_[index_[id].key().lo]++;
    return clock_ + 200.0 * std::min(uses, 8u) - 0.001 * index_[id].depth;
  }
  std::unordered_map<std::uint64_t, std::uint32_t> uses_;
};

// Lists of keys: 0 and 1 hold cached blocks (seen once, seen again), 2 and 3 their ghosts.
class ListPolicy : public EvictionPolicy {
 public:
  ListPolicy(BlockIndex& index, std::uint64_t capacity) : index_(index), capacity_(capacity) {}
  void load() override {}
  void became_leaf(RecordId) override {}
  void ceased_leaf(RecordId) override {}
  void inserted(RecordId id) override {
    added_.insert(id);
    add(id, where(index_[id].key().lo));
  }
  void end(std::span<const RecordId> chain) override {
    for (std::size_t i = chain.size(); i-- > 0;) {
      const std::uint64_t key = index_[chain[i]].key().lo;
      move(key, added_.contains(chain[i]) ? where(key) : 1, chain[i]);
    }
    added_.clear();
  }

 protected:
  struct Place {
    int list = -1;
    std::list<std::pair<std::uint64_t, RecordId>>::iterator at;
  };
  virtual void add(RecordId id, int was) = 0;
  int where(std::uint64_t key) const {
    const auto it = places_.find(key);
    return it == places_.end() ? -1 : it->second.list;
  }
  void move(std::uint64_t key, int list, RecordId id) {
    Place& place = places_[key];
    if (place.list >= 0) lists_[static_cast<std::size_t>(place.list)].erase(place.at);
    if (list < 0) {
      places_.erase(key);
      return;
    }
    auto& target = lists_[static_cast<std::size_t>(list)];
    target.emplace_back(key, id);
    place = {list, std::prev(target.end())};
  }
  void trim(std::size_t list, std::uint64_t size) {
    while (lists_[list].size() > size) move(lists_[list].front().first, -1, kNoRecord);
  }
  RecordId oldest(std::size_t list, const Protected& is_protected) const {
    for (const auto& [key, id] : lists_[list]) {
      if (index_[id].children() == 0 && !(is_protected && is_protected(id))) return id;
    }
    return kNoRecord;
  }
  RecordId victim_from(std::size_t first, const Protected& is_protected) const {
    const RecordId id = oldest(first, is_protected);
    return id != kNoRecord ? id : oldest(1 - first, is_protected);
  }

  BlockIndex& index_;
  std::uint64_t capacity_;
  std::array<std::list<std::pair<std::uint64_t, RecordId>>, 4> lists_;

 private:
  std::unordered_map<std::uint64_t, Place> places_;
  std::unordered_set<RecordId> added_;
};

class TwoQ final : public ListPolicy {
 public:
  using ListPolicy::ListPolicy;
  RecordId victim(const Protected& is_protected) override {
    const bool probation = lists_[0].size() > std::max<std::uint64_t>(1, capacity_ / 10);
    return victim_from(probation || lists_[1].empty() ? 0 : 1, is_protected);
  }
  void erased(RecordId id, bool /*evicted*/) override {
    move(index_[id].key().lo, 2, kNoRecord);
    trim(2, capacity_);
  }

 private:
  void add(RecordId id, int was) override { move(index_[id].key().lo, was == 2 ? 1 : 0, id); }
};

class Arc final : public ListPolicy {
 public:
  using ListPolicy::ListPolicy;
  RecordId victim(const Protected& is_protected) override {
    return victim_from(static_cast<double>(lists_[0].size()) > target_ ? 0 : 1, is_protected);
  }
  void erased(RecordId id, bool /*evicted*/) override {
    const std::uint64_t key = index_[id].key().lo;
    move(key, where(key) == 0 ? 2 : 3, kNoRecord);
    trim(2, capacity_ - std::min<std::uint64_t>(capacity_, lists_[0].size()));
    trim(3, capacity_ - std::min<std::uint64_t>(capacity_, lists_[2].size()));
  }

 private:
  void add(RecordId id, int was) override {
    const double once = std::max<double>(1, static_cast<double>(lists_[2].size()));
    const double again = std::max<double>(1, static_cast<double>(lists_[3].size()));
    if (was == 2)
      target_ =
          std::min<double>(static_cast<double>(capacity_), target_ + std::max(1.0, again / once));
    if (was == 3) target_ = std::max(0.0, target_ - std::max(1.0, once / again));
    move(index_[id].key().lo, was >= 2 ? 1 : 0, id);
  }
  double target_ = 0;  // wanted size of list 0
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_peer_policy(std::string_view name, BlockIndex& index,
                                                 std::uint64_t capacity) {
  if (name == "gdsf") return std::make_unique<Gdsf>(index);
  if (name == "aged_frequency") return std::make_unique<AgedFrequency>(index);
  if (name == "2q") return std::make_unique<TwoQ>(index, capacity);
  if (name == "arc") return std::make_unique<Arc>(index, capacity);
  return nullptr;
}

}  // namespace tokvault::checkpoint
