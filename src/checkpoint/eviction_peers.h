// Known policies, for comparison in replay: ARC, 2Q, GDSF and aged frequency, each restricted to
// the leaves of the prefix tree.
#ifndef TOKVAULT_CHECKPOINT_EVICTION_PEERS_H_
#define TOKVAULT_CHECKPOINT_EVICTION_PEERS_H_

#include <memory>
#include <set>
#include <string_view>
#include <tuple>
#include <vector>

#include "checkpoint/eviction.h"

namespace tokvault::checkpoint {

// Leaves in the order of a priority that changes only when the block is used.
class PriorityPolicy : public EvictionPolicy {
 public:
  explicit PriorityPolicy(BlockIndex& index) : index_(index) {}
  void load() override {}
  void touched(RecordId id) override;
  void inserted(RecordId id) override;
  void erased(RecordId id, bool evicted) override;
  void became_leaf(RecordId id) override;
  void ceased_leaf(RecordId id) override;
  RecordId victim(const Protected& is_protected) override;

 protected:
  virtual double priority(RecordId id) = 0;
  double priority_of(RecordId id) const { return priorities_[id]; }
  BlockIndex& index_;
  double inflation_ = 0;  // the highest priority that was evicted

 private:
  void set(RecordId id);
  std::vector<double> priorities_;
  std::set<std::tuple<double, int, RecordId>> leaves_;  // priority, -depth
};

// "arc", "2q", "gdsf", "aged_frequency"; null for another name. `capacity` in blocks.
std::unique_ptr<EvictionPolicy> make_peer_policy(std::string_view name, BlockIndex& index,
                                                 std::uint64_t capacity);

}  // namespace tokvault::checkpoint

#endif  // TOKVAULT_CHECKPOINT_EVICTION_PEERS_H_
