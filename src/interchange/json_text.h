// The smallest parts of JSON text: white space, numbers, strings, literals, base64.
//
// Why not a JSON library: what goes into a vault must come out equal, including numbers that no
// double holds and lone surrogates, and every library at hand turns one or the other into
// something else. simdjson checks the UTF-8 of a whole line at once; the rest is a walk over the
// bytes that looks at eight at a time inside strings, where nearly all bytes are.
#ifndef TOKVAULT_INTERCHANGE_JSON_TEXT_H_
#define TOKVAULT_INTERCHANGE_JSON_TEXT_H_

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace tokvault::json {

// Objects and arrays inside each other, the conversation's own object counted as the first.
inline constexpr int kDepthMax = 128;

inline const char* skip_space(const char* p, const char* end) {
  while (p != end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) ++p;
  return p;
}

// The end of the JSON number that begins at `p`, or nullptr if none does.
const char* scan_number(const char* p, const char* end);

// The literal (true, false, null) that begins at `p`; empty if none does.
std::string_view scan_literal(const char* p, const char* end);

// In each byte's high bit: is it a quote, a backslash or a control byte? Exact for the lowest byte
// that is marked; bytes after it may be marked wrongly.
inline std::uint64_t string_specials(std::uint64_t x) {
  constexpr std::uint64_t kOnes = 0x0101010101010101u;
  const std::uint64_t quote = x ^ (kOnes * '"');
  const std::uint64_t backslash = x ^ (kOnes * '\\');
  return (((quote - kOnes) & ~quote) | ((backslash - kOnes) & ~backslash) |
          ((x - kOnes * 0x20) & ~x)) &
         (kOnes * 0x80);
}

// The first quote, backslash or control byte in [p, end), or end.
inline const char* find_special(const char* p, const char* end) {
  for (; end - p >= 8; p += 8) {
    const std::uint64_t marks = string_specials(load_le<std::uint64_t>(p));
    if (marks != 0) return p + std::countr_zero(marks) / 8;
  }
  while (p != end && *p != '"' && *p != '\\' && static_cast<unsigned char>(*p) >= 0x20) ++p;
  return p;
}

// Reads the string whose text begins at `p`, behind the opening quote. Returns what follows the
// closing quote, or nullptr with a reason in `why`. `text` is the unescaped string: a part of the
// input, or of `scratch`, which must have room for end - p + 8 bytes. A surrogate that is not part
// of a pair becomes three bytes.
const char* scan_string(const char* p, const char* end, char* scratch, std::string_view& text,
                        const char*& why);

// True if `text` is UTF-8.
bool is_utf8(std::string_view text);
// Appends `text` in quotes, escaping quotes, backslashes and control bytes. False, with `out`
// unspecified, if it is neither UTF-8 nor UTF-8 with lone surrogates of three bytes each, which are
// written as \udxxx.
bool append_string(std::string_view text, std::string& out);

// Bytes of canonical base64 (RFC 4648, padded, unused bits zero); false for anything else.
bool decode_base64(std::string_view text, std::string& out);
void append_base64(std::string_view bytes, std::string& out);

}  // namespace tokvault::json

#endif  // TOKVAULT_INTERCHANGE_JSON_TEXT_H_
