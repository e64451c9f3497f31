// Delta: one token sequence as edits of another, readable or as few bytes as possible.
//
//   auto ops = diff_tokens(base, target);             // what changed
//   auto delta = encode_delta(base, target);          // the same, small
//   auto again = apply_delta(base, *delta, 1 << 20);  // the target
//
// A delta is a walk over the base with one cursor: copy tokens from there, move the cursor, insert
// tokens that the base does not have. The cursor may also move back, so that a part that moved is
// copied and not inserted. Format: docs/format/delta.md.
//
// All functions may be called from any thread at once.
#ifndef TOKVAULT_DELTA_H_
#define TOKVAULT_DELTA_H_

#include <cstdint>
#include <span>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// One step of a delta.
struct DeltaOp {
  enum class Kind : std::uint8_t {
    copy,    // the next `count` tokens of the base, which the cursor passes; count > 0
    skip,    // the cursor moves by `count`, back if negative; never out of the base
    insert,  // `tokens`; the cursor stays; count is tokens.size()
  };
  Kind kind = Kind::copy;
  std::int64_t count = 0;
  std::vector<Token> tokens{};

  static DeltaOp copy(std::uint64_t count);
  static DeltaOp skip(std::int64_t count);
  static DeltaOp insert(TokenView tokens);
  bool operator==(const DeltaOp&) const = default;
};

// The most tokens of a base or a target.
inline constexpr std::uint64_t kDeltaTokensMax = (std::uint64_t{1} << 31) - 1;

// The edits that turn `base` into `target`: between two copies at most one skip and one insert, in
// this order. Few edits are found as the shortest script there is (Myers, "An O(ND) Difference
// Algorithm and Its Variations", 1986); of more, runs of at least 5 equal tokens are found wherever
// they are, and what lies between them is aligned. Time and memory grow about linearly with the
// tokens, whatever they are: about a microsecond and 16 bytes a token.
// `invalid` if either is longer than kDeltaTokensMax.
Result<std::vector<DeltaOp>> diff_tokens(TokenView base, TokenView target);

// What the edits make of `base`. `invalid` if one leaves the base or its count does not fit its
// kind, `exhausted` if the result has more than `tokens_max` tokens.
Result<std::vector<Token>> apply_ops(TokenView base, std::span<const DeltaOp> ops,
                                     std::uint64_t tokens_max);

// The edits of diff_tokens() as bytes, with a checksum of the target. One token inserted in 2,000
// takes about 10 bytes.
Result<Buffer> encode_delta(TokenView base, TokenView target);
// The same of any edits of `base`; errors as of apply_ops().
Result<Buffer> encode_ops(TokenView base, std::span<const DeltaOp> ops);

// The target of a delta. `corrupt` if the bytes are damaged or belong to another base; `exhausted`
// if the target has more than `tokens_max` tokens. Neither takes memory for tokens that the bytes
// do not hold or name.
Result<std::vector<Token>> apply_delta(TokenView base, ByteView delta, std::uint64_t tokens_max);
// The edits of a delta, with the errors of apply_delta(); adjacent ones of a kind are one.
Result<std::vector<DeltaOp>> read_delta(TokenView base, ByteView delta, std::uint64_t tokens_max);

}  // namespace tokvault

#endif  // TOKVAULT_DELTA_H_
