// Which segments of a pack a block of others should copy from instead of the dictionary.
#ifndef TOKVAULT_DEDUP_BASE_CHOICE_H_
#define TOKVAULT_DEDUP_BASE_CHOICE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "dedup/dictionary_choice.h"

namespace tokvault {

struct BaseLimits {
  std::size_t bases_max = 0;    // of one block
  std::uint64_t bytes_max = 0;  // of their codes together
  std::size_t anchors_max = 0;  // that are kept to be found: 20 to 28 bytes each
};

// Goes through the blocks of a pack in order and looks for segments of earlier blocks that share
// anchors with a block which the dictionary does not hold: near-duplicates of what was no longer
// worth a place there. A block gets the fewest that share most, if together they hold more of its
// anchors than the dictionary does; it is then no base itself, so that what a base is decoded from
// never has bases.
//
// `segments` has every segment of the pack, `in_dictionary` those that lie there; the others lie in
// the blocks, in order, `block_segments[i]` in block i. Returns the bases of each block, ascending;
// most have none.
std::vector<std::vector<std::uint32_t>> choose_bases(const DictionaryChoice& segments,
                                                     const std::vector<bool>& in_dictionary,
                                                     std::span<const std::uint32_t> block_segments,
                                                     const BaseLimits& limits);

}  // namespace tokvault

#endif  // TOKVAULT_DEDUP_BASE_CHOICE_H_
