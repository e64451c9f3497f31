// Which tokens of a target stand in a base, and where: the search behind diff_tokens().
#ifndef TOKVAULT_CODEC_TOKEN_DIFF_H_
#define TOKVAULT_CODEC_TOKEN_DIFF_H_

#include <cstdint>
#include <vector>

#include "tokvault/types.h"

namespace tokvault {

// `count` tokens at `base` and at `target` are equal.
struct TokenMatch {
  std::uint32_t base = 0;
  std::uint32_t target = 0;
  std::uint32_t count = 0;
  bool operator==(const TokenMatch&) const = default;
};

// Matches in the order of the target, none overlapping another there, chosen so that a delta of
// them is small. In the base they may overlap and stand in any order.
// REQUIRES: both are shorter than 2^31.
std::vector<TokenMatch> match_tokens(TokenView base, TokenView target);

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_TOKEN_DIFF_H_
