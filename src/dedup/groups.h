// Groups of near-duplicates: every item joins a representative that it is alike to, or becomes one.
//
// Not the transitive closure, which a chain of small changes makes meaningless: each member of a
// group is at least as similar to its representative as the threshold says. Only representatives
// are compared with, so a family of a million equal items costs a look-up each, and what is
// compared for one item is bounded; of families that hover about the threshold some members may be
// missed for that.
#ifndef TOKVAULT_DEDUP_GROUPS_H_
#define TOKVAULT_DEDUP_GROUPS_H_

#include <cstdint>
#include <vector>

#include "dedup/anchors.h"
#include "tokvault/dedup.h"
#include "tokvault/result.h"

namespace tokvault {

// Where an item is. Items are numbered from 0 in the order in which they were added.
struct Placement {
  std::uint32_t representative = 0;  // its own number, if it represents itself
  float similarity = 1;              // to the representative
  bool operator==(const Placement&) const = default;
};

// By the estimated Jaccard similarity of bigrams. The first item of a group represents it.
class MinHashGroups {
 public:
  MinHashGroups(double threshold, std::uint64_t memory_bytes_max);
  // `exhausted` if there are too many representatives for the memory.
  Status add(const MinHash& signature);
  std::vector<Placement> finish() { return std::move(placements_); }
  std::uint64_t memory_bytes() const {
    return index_.memory_bytes() + placements_.capacity() * sizeof(Placement);
  }

 private:
  double threshold_;
  LshIndex index_;
  std::vector<Placement> placements_;
};

// By containment: the part of the anchors of an item that its representative has too. The item with
// the most anchors represents a group, so of a chat that was logged request by request the last
// request represents the others.
class AnchorGroups {
 public:
  AnchorGroups(double threshold, std::uint64_t memory_bytes_max);
  // `exhausted` if there are too many items for the memory. If there are too many anchors, half of
  // them are left out, chosen by their hashes and so the same ones everywhere; again when that is
  // too many.
  // REQUIRES: anchors is a set
  Status add(const AnchorSet& anchors);
  std::vector<Placement> finish();

  // How often the anchors were halved. Similarities are then estimates, and items with fewer than 8
  // anchors left stay alone.
  unsigned halvings() const { return halvings_; }
  // How many items there are, and what is left of the anchors of one.
  std::size_t size() const { return ends_.size(); }
  std::span<const std::uint32_t> set_of(std::size_t item) const;

 private:
  bool is_sampled(std::uint32_t hash) const;
  void halve();

  double threshold_;
  std::uint64_t memory_bytes_max_;
  unsigned halvings_ = 0;
  std::vector<std::uint32_t> anchors_;  // of all items
  std::vector<std::uint64_t> ends_;     // where in anchors_ those of each item end
};

}  // namespace tokvault

#endif  // TOKVAULT_DEDUP_GROUPS_H_
