// An LZ for tokens: what a pack's dictionary is coded with where a reader can wait for it.
//
// Copies from anywhere before, in whole tokens; four distances that are resumed for next to nothing
// (a copy goes on after a word that differs); tokens that are not copied are coded with the one
// before them as context. Every choice has an adaptive distribution of 16 values under rANS, so a
// text brings no tables. Measured beside other designs: docs/decisions/0016-token-lz.md. Format:
// docs/format/token_lz.md
//
// All of it is integer arithmetic: every machine and compiler decodes the same text, and codes a
// text as the same bytes.
#ifndef TOKVAULT_CODEC_TOKEN_LZ_H_
#define TOKVAULT_CODEC_TOKEN_LZ_H_

#include <cstdint>

#include "codec/token_model.h"
#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// The longest text, with its history, in bytes.
inline constexpr std::uint64_t kTokenLzTextBytesMax = std::uint64_t{1} << 24;

struct TokenLzCode {
  Buffer bytes;
  // Symbols of four bits: the time of decoding is proportional to them, 20 to 45 ns each. There are
  // some 2.7 for each byte of code.
  std::uint64_t work = 0;
};

// Codes a text of codes of tokens without FF and ends of segments, or of bytes. `history`, a text
// of the same kind, stands before it to be copied from. `invalid` if one of them ends inside a
// code, or both together are too long. Takes about 2 us and 60 bytes of memory a token, of both.
Result<TokenLzCode> token_lz_encode(ModelUnit unit, ByteView text, ByteView history = {});

// Appends the `size` bytes that `coded` stands for after the history that it was coded with;
// nothing if it fails. `corrupt` if it is not the code of a text of that size. (Damage can make it
// that of another text: checksums are the caller's.) Takes 4 bytes of memory for each byte of text
// and of history, and up to 8 MB.
Status token_lz_decode(ModelUnit unit, ByteView coded, std::uint64_t size, Buffer& text,
                       ByteView history = {});

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_TOKEN_LZ_H_
