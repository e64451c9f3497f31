// Anchors: places in a token sequence that its content alone chooses, so that two sequences that
// share a run of tokens have anchors at the same places of it.
//
// Every run of 8 tokens has a hash; of each 16 runs that follow one another the one with the
// smallest hash is an anchor (a minimizer). That is one anchor in 8.5 tokens, and every run of 23
// tokens that two sequences share gives them an equal anchor, whatever stands around it: what
// MinHash over whole texts cannot see, such as a passage that is quoted or a prompt that goes on.
//
// Source: S. Schleimer, D. Wilkerson, A. Aiken, "Winnowing: local algorithms for document
// fingerprinting", 2003.
#ifndef TOKVAULT_DEDUP_ANCHORS_H_
#define TOKVAULT_DEDUP_ANCHORS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tokvault/types.h"

namespace tokvault {

inline constexpr std::size_t kAnchorTokens = 8;   // hashed together
inline constexpr std::size_t kAnchorWindow = 16;  // one anchor of so many runs

struct Anchor {
  std::uint32_t hash = 0;      // of the 8 tokens from `position`
  std::uint32_t position = 0;  // in tokens
  bool operator==(const Anchor&) const = default;
};

// Appends the anchors of `tokens` by position. A sequence of 8 to 22 tokens has one; a shorter one
// has one too, the hash of all of it, at 0; an empty one has none. Neighbours have different
// hashes; equal hashes mean equal tokens, except once in 4 billion pairs: whoever copies compares.
// REQUIRES: tokens.size() < 2^32
void find_anchors(TokenView tokens, std::vector<Anchor>& anchors);

// One anchor in `stride`, a power of two: the same ones in every text. Anchors have small hashes by
// choice, so the sample is drawn from other bits.
inline bool is_sampled(const Anchor& anchor, std::uint32_t stride) {
  return (anchor.hash * 0x9e3779b1u >> 16 & (stride - 1)) == 0;
}

// A sorted set of hashes, the content of a text as far as anchors show it.
using AnchorSet = std::vector<std::uint32_t>;
// Sorts and drops what is there twice.
void make_set(AnchorSet& hashes);
// How many elements two sorted sets have in common.
std::size_t count_common(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b);

// The loops behind find_anchors, as MinHashKernel.
struct AnchorKernel {
  std::string_view name;
  // REQUIRES: tokens.size() >= kAnchorTokens
  void (*find)(TokenView tokens, std::vector<Anchor>& anchors);
};
std::span<const AnchorKernel> anchor_kernels();

}  // namespace tokvault

#endif  // TOKVAULT_DEDUP_ANCHORS_H_
