// Grouping: what is alike comes together, in groups of bounded weight.
//
// Compaction puts similar conversations into one pack, since a pack copies from its own text only.
// A segment's direction is a random projection of how often which tokens occur in it; a
// conversation's is the sum of its segments'. Groups are made by splitting in two (bisecting
// 2-means: Steinbach, Karypis, Kumar, "A comparison of document clustering techniques", 2000) until
// each is light enough, and small neighbours in the tree of splits are put together again. That
// finds applications, templates and languages, which is what packs need; near-duplicates,
// which directions do not tell, come in as one item (vault/merge.cc). (Sketches of bigrams, which
// tell near-duplicates from all else and nothing besides, mixed six corpora evenly over five
// packs.)
#ifndef TOKVAULT_DEDUP_GROUPING_H_
#define TOKVAULT_DEDUP_GROUPING_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "tokvault/types.h"

namespace tokvault {

// A direction in a space of 64 dimensions: a vector of length 127, or zero.
inline constexpr std::size_t kDirectionSize = 64;
using Direction = std::array<std::int8_t, kDirectionSize>;

// What a segment is about.
Direction direction_of_tokens(TokenView tokens);
Direction direction_of_bytes(ByteView bytes);
// What a text is about of which only the frequent tokens are known, the most frequent first: as if
// they followed Zipf's law.
Direction direction_of_ranked(TokenView tokens);

// The direction of what has several parts.
class DirectionSum {
 public:
  // `size`: of the part, in tokens or bytes; its logarithm is the part's weight.
  void add(const Direction& direction, std::uint64_t size);
  Direction direction() const;

 private:
  std::array<std::int32_t, kDirectionSize> sums_{};
};

struct GroupItem {
  Direction direction{};
  std::uint64_t weight = 0;
};

// Numbers of items in groups of at most `weight_max`, or of one item. Within a group items are in
// ascending order. Deterministic.
std::vector<std::vector<std::uint32_t>> group_similar(std::span<const GroupItem> items,
                                                      std::uint64_t weight_max);

}  // namespace tokvault

#endif  // TOKVAULT_DEDUP_GROUPING_H_
