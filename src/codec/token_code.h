// Tokens as bytes: ids renumbered by frequency, then a prefix code of whole bytes.
//
// A byte-oriented compressor does better when frequent tokens are one byte and when the first byte
// of the others says how frequent they are. A TokenMap lists the tokens that a pack uses most; a
// token's code is its place in the list, or the length of the list plus its id if it is not listed.
// Codes are written as (Format: docs/format/token_map.md)
//
//   one byte       0xxxxxxx
//   two bytes      10xxxxxx x
//   three bytes    11xxxxxx x x
//   six bytes      a first byte above all of those, and five more
//
// in one of two ways: with all bytes, or without the byte 0xFF, which then can end a segment inside
// a longer text and be found again by memchr.
//
// The list holds at most as many tokens as have codes of one or two bytes, because a listed token
// saves nothing after that. Within one class of frequency it is ordered by id, which makes it cost
// a few bits a token instead of 17 and loses the compressor nothing: it sees byte values, not their
// order.
#ifndef TOKVAULT_CODEC_TOKEN_CODE_H_
#define TOKVAULT_CODEC_TOKEN_CODE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// Which bytes a code may hold.
enum class CodeBytes : std::uint8_t {
  all,       // logs, packs of version 1
  below_ff,  // packs of version 2
};

// Numbers below these have codes of one, two and three bytes, when codes hold all bytes.
inline constexpr std::uint32_t kOneByteCodes = 128;
inline constexpr std::uint32_t kTwoByteCodes = kOneByteCodes + 64 * 256;
inline constexpr std::uint32_t kThreeByteCodes = kTwoByteCodes + 63 * 65536;
inline constexpr std::size_t kTokenCodeBytesMax = 6;

// The list of frequent tokens of one pack.
// Threads: immutable after construction.
class TokenMap {
 public:
  // No list: a token's code is its id.
  explicit TokenMap(CodeBytes bytes = CodeBytes::all) : bytes_(bytes) {}
  // Chooses and orders the list from (token, count) pairs of distinct tokens.
  static TokenMap by_frequency(std::vector<std::pair<Token, std::uint64_t>> counts,
                               CodeBytes bytes);
  // The most tokens that a list holds: those with codes of one or two bytes.
  static constexpr std::uint32_t tokens_max(CodeBytes bytes) {
    return 128 + 64 * (bytes == CodeBytes::all ? 256 : 255);
  }

  // The list as bytes, not yet compressed, and back. `corrupt` if a token repeats or does not fit.
  Buffer serialize() const;
  static Result<TokenMap> parse(ByteView bytes, CodeBytes code);

  std::size_t size() const { return tokens_.size(); }
  // The list, by classes of frequency, the most frequent first.
  TokenView tokens() const { return tokens_; }

  // A map that was parsed, which is nearly always to decode with, makes the table for it each time.
  void encode(TokenView tokens, Buffer& out) const;
  // Appends the tokens that `bytes` is the code of; `corrupt` if it ends inside a code or holds a
  // code that no encoder writes.
  Status decode(ByteView bytes, std::vector<Token>& out) const;
  // Appends at most `tokens_max` tokens of any bytes, read as codes of all bytes without a list: a
  // byte FF where a code would begin, and what is cut short at the end, stand for none.
  static void read_any(ByteView bytes, std::size_t tokens_max, std::vector<Token>& out);
  // How many tokens a code of all bytes holds, without checking them.
  static std::uint64_t count(ByteView bytes);

 private:
  // Makes codes_ of tokens_.
  void index();
  template <CodeBytes kBytes>
  char* encode(TokenView tokens, char* p) const;
  template <CodeBytes kBytes>
  Status decode(ByteView bytes, std::vector<Token>& out) const;

  CodeBytes bytes_ = CodeBytes::all;
  std::vector<Token> tokens_;  // number -> token
  // The codes of tokens below codes_.size(): three bytes, in the order in which they are written,
  // and their number; 0 for a token that is not listed. Empty in a map that was parsed.
  std::vector<std::uint32_t> codes_;
};

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_TOKEN_CODE_H_
