// Tokens as bytes: ids renumbered by frequency, then a prefix code of whole bytes.
//
// A byte-oriented compressor does better when frequent tokens are one byte and when the first byte
// of the others says how frequent they are. A TokenMap lists the tokens that a pack uses most; a
// token's code is its place in the list, or the length of the list plus its id if it is not listed.
// Codes are written as (Format: docs/format/token_map.md)
//
//   below 128                1 byte   0xxxxxxx
//   below 16,512             2 bytes  10xxxxxx x, high byte first, minus 128
//   below 4,145,280          3 bytes  11xxxxxx x x, first byte 0xC0 to 0xFE, minus 16,512
//   anything else            6 bytes  0xFF and the code as 40 bits, little-endian
//
// The list holds at most 16,512 tokens, because a listed token saves nothing after that. Within one
// class of frequency it is ordered by id, which makes it cost a few bits a token instead of 17 and
// loses the compressor nothing: it sees byte values, not their order.
#ifndef TOKVAULT_CODEC_TOKEN_CODE_H_
#define TOKVAULT_CODEC_TOKEN_CODE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

inline constexpr std::uint32_t kOneByteCodes = 128;
inline constexpr std::uint32_t kTwoByteCodes = kOneByteCodes + 64 * 256;
inline constexpr std::uint32_t kThreeByteCodes = kTwoByteCodes + 63 * 65536;
inline constexpr std::uint32_t kTokenMapTokensMax = kTwoByteCodes;
inline constexpr std::size_t kTokenCodeBytesMax = 6;

// The list of frequent tokens of one pack.
// Threads: immutable after construction.
class TokenMap {
 public:
  // No list: a token's code is its id.
  TokenMap() = default;
  // Chooses and orders the list from (token, count) pairs of distinct tokens.
  static TokenMap by_frequency(std::vector<std::pair<Token, std::uint64_t>> counts);

  // The list as bytes, not yet compressed, and back. `corrupt` if a token repeats or does not fit.
  Buffer serialize() const;
  static Result<TokenMap> parse(ByteView bytes);

  std::size_t size() const { return tokens_.size(); }

  void encode(TokenView tokens, Buffer& out) const;
  // Appends the tokens that `bytes` is the code of; `corrupt` if it ends inside a code or holds a
  // code that no encoder writes.
  Status decode(ByteView bytes, std::vector<Token>& out) const;
  // How many tokens `bytes` holds, without checking them.
  static std::uint64_t count(ByteView bytes);

 private:
  std::uint64_t code_of(Token token) const;

  std::vector<Token> tokens_;         // code -> token
  std::vector<std::uint32_t> codes_;  // token -> code + 1, for tokens below codes_.size()
};

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_TOKEN_CODE_H_
