// Joining groups that have passages in common.
//
// Groups of what is alike are made as large as one dictionary holds whole, which is best as long as
// they share little: a larger pack has blocks, which copy from a dictionary and a few bases alone.
// Where groups share much, that is lost, and a larger pack is the smaller one: its dictionary holds
// what is used most. Anchors say which is which; so far there is nothing in between
// (docs/decisions/0012-packs-of-what-is-alike.md).
#ifndef TOKVAULT_DEDUP_GROUP_JOINING_H_
#define TOKVAULT_DEDUP_GROUP_JOINING_H_

#include <cstdint>
#include <vector>

#include "dedup/anchors.h"

namespace tokvault {

struct AnchoredGroup {
  AnchorSet anchors;
  std::uint64_t weight = 0;
};

// For each group the number of the first one that it comes together with, its own if with none
// before it. Two groups are joined if the one with fewer anchors has at least `part` of them in
// common with the other, and they weigh at most `weight_max` together: the two that share most
// first, then what has become of them like any other. Deterministic. Takes time for pairs of groups
// times their anchors.
std::vector<std::uint32_t> join_groups(std::vector<AnchoredGroup> groups, double part,
                                       std::uint64_t weight_max);

}  // namespace tokvault

#endif  // TOKVAULT_DEDUP_GROUP_JOINING_H_
