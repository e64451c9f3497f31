// Which packs of a tenant are merged together: by the writer in the background, when it pays, and
// by compaction, step after step.
//
// What sealing makes stands apart: it copies nothing from other packs, and what is alike lies
// scattered, over several packs or over one whose dictionary holds only a sample. Packs that have
// not been merged are *fresh*. A step takes the fresh ones together with merged ones of up to four
// times their weight, those that are most like them, and it is due as soon as the fresh ones weigh
// a quarter of the merged ones or a fifth of the largest step. So each step rewrites at most five
// times what is new to it, whatever the size of the vault: the work is linear in what was written,
// and what is not merged yet is a fifth of a tenant at most, or of what a step may take. Tiers that
// double, as log-structured merge trees have them (O'Neil et al., 1996), leave half of the data in
// runs that know nothing of each other, which is what has to be avoided.
#ifndef TOKVAULT_VAULT_MERGE_PLAN_H_
#define TOKVAULT_VAULT_MERGE_PLAN_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "dedup/grouping.h"
#include "tokvault/result.h"

namespace tokvault {

// Merged ones that a step takes, by the weight of its fresh ones.
inline constexpr std::uint64_t kMergedPerFresh = 4;
// The most that one step takes, by weight.
inline constexpr std::uint64_t kMergeWeightMax = 128u << 20;

struct MergeCandidate {
  std::uint64_t size_bytes = 0;  // on disk
  // What merging it costs in memory and time: bytes of text, decoded, and of tables.
  std::uint64_t weight = 0;
  bool is_fresh = false;
  // More text than one dictionary holds: worth grouping, even alone.
  bool is_divisible = false;
};

// What the i-th candidate is about; asked only if not all can be taken.
using DirectionOf = std::function<Result<Direction>(std::size_t i)>;

// The candidates that are to be merged now, ascending; none: nothing is due. Fresh ones
// are taken in the order in which they stand. `bytes_min`: what the fresh ones take on disk before
// it pays.
Result<std::vector<std::size_t>> choose_merge(std::span<const MergeCandidate> candidates,
                                              std::uint64_t bytes_min,
                                              const DirectionOf& direction_of,
                                              std::uint64_t weight_max = kMergeWeightMax);

// What compaction leaves together: the packs that one step of an earlier one made, or one pack.
struct StepUnit {
  std::uint64_t share = 0;  // of the largest step, which has kStepShare
  bool is_compact = false;  // it need not be made again
};
inline constexpr std::uint64_t kStepShare = std::uint64_t{1} << 32;

// The steps of a compaction: every unit is in one of them, in ascending order. If one can take all,
// it does. Else a step takes what is most alike, and what is compact stands alone, unless it is at
// most half of a step and like something that is not.
Result<std::vector<std::vector<std::size_t>>> choose_steps(std::span<const StepUnit> units,
                                                           const DirectionOf& direction_of);

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_MERGE_PLAN_H_
