// The two expressions, alternatives in order of preference:
//
//   cl100k                                   o200k
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)             [^\r\n\p{L}\p{N}]?U*L+(?i:'s|'t|...)?
//   [^\r\n\p{L}\p{N}]?\p{L}+                 [^\r\n\p{L}\p{N}]?U+L*(?i:'s|'t|...)?
//   \p{N}{1,3}                               \p{N}{1,3}
//    ?[^\s\p{L}\p{N}]+[\r\n]*                 ?[^\s\p{L}\p{N}]+[\r\n/]*
//   \s*[\r\n]+  |  \s+(?!\S)  |  \s+         the same
//
//   U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]      L = [\p{Ll}\p{Lm}\p{Lo}\p{M}]
//
// There are two implementations of "the piece that begins here". The fast one knows ASCII; as soon
// as a byte above 0x7f could have a say, it leaves the piece (or its rest) to the general one,
// which knows everything. They are tested against each other by way of the original's ids.
#include "tokenizer/splitter.h"

#include <bit>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tokvault {
namespace {

#include "tokenizer/unicode_tables.inc"

using Byte = unsigned char;

// The digits of unicode_tables.inc.
enum Class : std::uint8_t {
  kOther = 0,
  kUpper = 1,   // Lu, Lt
  kLower = 2,   // Ll
  kLetter = 3,  // Lm, Lo: both upper and lower for o200k
  kMark = 4,
  kNumber = 5,
  kSpace = 6,
  kNewline = 7,
  kSurrogate = 8,
  kHigh = 9,  // in kByteClass only: a byte above 0x7f
};

// Sets of classes as bit masks.
constexpr unsigned bit(Class c) { return 1u << c; }
constexpr unsigned kLetters = bit(kUpper) | bit(kLower) | bit(kLetter);
constexpr unsigned kUppers = bit(kUpper) | bit(kLetter) | bit(kMark);
constexpr unsigned kLowers = bit(kLower) | bit(kLetter) | bit(kMark);
constexpr unsigned kBoth = kUppers & kLowers;
constexpr unsigned kOthers = bit(kOther) | bit(kMark);
constexpr unsigned kSpaces = bit(kSpace) | bit(kNewline);
constexpr unsigned kPrefixes = bit(kOther) | bit(kMark) | bit(kSpace);

constexpr bool in(std::uint8_t c, unsigned set) { return ((set >> c) & 1) != 0; }

constexpr std::uint8_t class_of(std::uint32_t c) {
  if (c < kClassLimit) {
    return static_cast<std::uint8_t>(kClassRows[kClassIndex[c >> 6] * 64u + (c & 63)] - '0');
  }
  return c >= kTailMarkFirst && c <= kTailMarkLast ? kMark : kOther;
}

struct ByteClasses {
  std::uint8_t of[256];
  constexpr ByteClasses() : of() {
    for (unsigned i = 0; i < 256; ++i) {
      of[i] = i < 128 ? class_of(i) : static_cast<std::uint8_t>(kHigh);
    }
  }
};
constexpr ByteClasses kByteClasses;
inline std::uint8_t byte_class(Byte b) { return kByteClasses.of[b]; }

struct CodePoint {
  std::uint8_t cls;
  std::uint8_t size;
};

inline bool continues(Byte b) { return (b & 0xc0) == 0x80; }

// The code point at p, whose first byte is above 0x7f.
inline CodePoint high_code_point(const Byte* p, const Byte* end) {
  const std::ptrdiff_t left = end - p;
  const std::uint32_t lead = *p;
  if (lead < 0xe0) {
    if (lead >= 0xc2 && left >= 2 && continues(p[1])) {
      return {class_of((lead & 0x1f) << 6 | (p[1] & 0x3fu)), 2};
    }
  } else if (lead < 0xf0) {
    if (left >= 3 && continues(p[1]) && continues(p[2])) {
      const std::uint32_t c = (lead & 0xf) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
      const std::uint8_t cls = class_of(c);
      if (c >= 0x800 && cls != kSurrogate) return {cls, 3};
    }
  } else if (left >= 4 && continues(p[1]) && continues(p[2]) && continues(p[3])) {
    const std::uint32_t c =
        (lead & 0xf) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
    if (c >= 0x10000 && c <= 0x10ffff) return {class_of(c), 4};
  }
  return {kOther, 1};
}

inline CodePoint code_point(const Byte* p, const Byte* end) {
  const std::uint8_t c = byte_class(*p);
  if (c != kHigh) return {c, 1};
  return high_code_point(p, end);
}

// The end of the run of code points of a set of classes.
inline const Byte* run_end(const Byte* p, const Byte* end, unsigned set) {
  while (p != end) {
    const CodePoint c = code_point(p, end);
    if (!in(c.cls, set)) break;
    p += c.size;
  }
  return p;
}

// The size of a contraction at p, 0 if there is none. Case is ignored as Unicode folds it, by which
// U+017F (long s) is an s; the other letters have no such relatives.
inline std::size_t contraction(const Byte* p, const Byte* end) {
  const std::ptrdiff_t left = end - p;
  if (left < 2 || *p != '\'') return 0;
  const int a = p[1] | 0x20;
  if (p[1] < 0x80) {
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (left < 3 || p[2] >= 0x80) return 0;
    const int b = p[2] | 0x20;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
  }
  return left >= 3 && p[1] == 0xc5 && p[2] == 0xbf ? 3 : 0;
}

// What the two word alternatives of o200k match from p on, behind the optional prefix.
struct Word {
  const Byte* lower;  // U*L+, or null
  const Byte* upper;  // U+L*, or null
};

inline Word o200k_word(const Byte* p, const Byte* end) {
  const Byte* i = p;
  const Byte* both = nullptr;  // behind the last code point that is in U and in L
  while (i != end) {
    const CodePoint c = code_point(i, end);
    if (!in(c.cls, kUppers)) break;
    i += c.size;
    if (in(c.cls, kBoth)) both = i;
  }
  const Byte* j = run_end(i, end, kLowers);
  // Where no L follows, U* gives back code points until one of them can be L+.
  return {j != i ? j : both, i != p ? j : nullptr};
}

// A run of white space: up to its last newline if it has one; else without its last code point if
// something follows, which is then that something's prefix.
const Byte* space_piece(const Byte* p, const Byte* end) {
  const Byte* newline = nullptr;
  const Byte* last = p;
  const Byte* i = p;
  while (i != end) {
    const CodePoint c = code_point(i, end);
    if (!in(c.cls, kSpaces)) break;
    last = i;
    i += c.size;
    if (c.cls == kNewline) newline = i;
  }
  if (newline != nullptr) return newline;
  return i == end || last == p ? i : last;
}

template <Pattern kPattern>
inline const Byte* behind_others(const Byte* p, const Byte* end) {
  while (p != end && (*p == '\n' || *p == '\r' || (kPattern == Pattern::o200k && *p == '/'))) ++p;
  return p;
}

// The end of the piece that begins at p.
template <Pattern kPattern>
[[gnu::noinline]] const Byte* general_piece(const Byte* p, const Byte* end) {
  const CodePoint first = code_point(p, end);
  const Byte* const second = p + first.size;
  const bool prefix = in(first.cls, kPrefixes);
  if constexpr (kPattern == Pattern::cl100k) {
    if (const std::size_t size = contraction(p, end)) return p + size;
    const Byte* const word = prefix ? second : p;
    const Byte* const i = run_end(word, end, kLetters);
    if (i != word) return i;
  } else {
    const Word behind = prefix ? o200k_word(second, end) : Word{nullptr, nullptr};
    const Byte* i = behind.lower;
    if (i == nullptr && in(first.cls, kUppers | kLowers)) {
      const Word here = o200k_word(p, end);
      i = here.lower;
      if (i == nullptr) i = behind.upper;
      if (i == nullptr) i = here.upper;
    }
    if (i == nullptr) i = behind.upper;
    if (i != nullptr) return i + contraction(i, end);
  }
  if (first.cls == kNumber) {
    const Byte* i = second;
    for (int k = 1; k < 3 && i != end; ++k) {
      const CodePoint c = code_point(i, end);
      if (c.cls != kNumber) break;
      i += c.size;
    }
    return i;
  }
  const Byte* const others = *p == ' ' ? second : p;
  const Byte* const i = run_end(others, end, kOthers);
  if (i != others) return behind_others<kPattern>(i, end);
  return space_piece(p, end);
}

// Ends of runs of ASCII letters. They stop at the end of the text and at any byte above 0x7f.
#if defined(__SSE2__)
inline __m128i load16(const Byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
// One bit for each byte that is one of the 26 letters from `first` on.
inline unsigned letter_bits(__m128i x, char first) {
  const __m128i y = _mm_sub_epi8(x, _mm_set1_epi8(first));
  return static_cast<unsigned>(
      _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(y, _mm_set1_epi8(25)), y)));
}
#endif

inline bool is_lower(Byte b) { return static_cast<Byte>(b - 'a') < 26; }
inline bool is_upper(Byte b) { return static_cast<Byte>(b - 'A') < 26; }

inline const Byte* lowers_end(const Byte* p, const Byte* end) {
#if defined(__SSE2__)
  while (end - p >= 16) {
    const unsigned stop = ~letter_bits(load16(p), 'a') & 0xffff;
    if (stop != 0) return p + std::countr_zero(stop);
    p += 16;
  }
#endif
  while (p != end && is_lower(*p)) ++p;
  return p;
}

inline const Byte* uppers_end(const Byte* p, const Byte* end) {
  while (p != end && is_upper(*p)) ++p;
  return p;
}

inline const Byte* letters_end(const Byte* p, const Byte* end) {
#if defined(__SSE2__)
  while (end - p >= 16) {
    const __m128i folded = _mm_or_si128(load16(p), _mm_set1_epi8(0x20));
    const unsigned stop = ~letter_bits(folded, 'a') & 0xffff;
    if (stop != 0) return p + std::countr_zero(stop);
    p += 16;
  }
#endif
  while (p != end && is_lower(*p | 0x20)) ++p;
  return p;
}

// The end of the piece that begins at p with the word at `word` (behind its prefix, if any).
template <Pattern kPattern>
inline const Byte* word_piece(const Byte* p, const Byte* word, const Byte* end) {
  if constexpr (kPattern == Pattern::cl100k) {
    const Byte* i = letters_end(word, end);
    if (i != end && *i >= 0x80) i = run_end(i, end, kLetters);
    return i;
  } else {
    const Byte* upper = word;
    const Byte* lower = nullptr;
#if defined(__SSE2__)
    if (end - word >= 16) {
      const __m128i x = load16(word);
      const int uppers = std::countr_one(letter_bits(x, 'A'));
      const int lowers = std::countr_one(letter_bits(x, 'a') >> uppers);
      if (uppers + lowers < 16) {
        upper = word + uppers;
        lower = upper + lowers;
      }
    }
#endif
    if (lower == nullptr) {
      upper = uppers_end(word, end);
      lower = lowers_end(upper, end);
    }
    if (lower == end) return end;
    if (*lower >= 0x80) {
      // Behind capitals only, the next code point decides which alternative it is.
      if (lower == upper) return general_piece<kPattern>(p, end);
      lower = run_end(lower, end, kLowers);
    }
    return lower + contraction(lower, end);
  }
}

// The same as general_piece(), fast where the piece is ASCII.
template <Pattern kPattern>
inline const Byte* piece(const Byte* p, const Byte* end) {
  const std::uint8_t first = byte_class(*p);
  if (in(first, bit(kUpper) | bit(kLower))) return word_piece<kPattern>(p, p, end);
  if (first == kHigh) return general_piece<kPattern>(p, end);
  if (first == kNumber) {
    const Byte* i = p + 1;
    for (int k = 1; k < 3 && i != end && byte_class(*i) == kNumber; ++k) ++i;
    if (i - p < 3 && i != end && *i >= 0x80) return general_piece<kPattern>(p, end);
    return i;
  }
  if (end - p == 1) return end;
  const std::uint8_t second = byte_class(p[1]);
  if (second == kHigh) return general_piece<kPattern>(p, end);
  if (first != kNewline && in(second, bit(kUpper) | bit(kLower))) {
    if constexpr (kPattern == Pattern::cl100k) {
      if (const std::size_t size = contraction(p, end)) return p + size;
    }
    return word_piece<kPattern>(p, p + 1, end);
  }
  if (first == kOther || (*p == ' ' && second == kOther)) {
    const Byte* i = p + 1;
    while (i != end && byte_class(*i) == kOther) ++i;
    if (i != end && *i >= 0x80) i = run_end(i, end, kOthers);
    return behind_others<kPattern>(i, end);
  }
  return space_piece(p, end);
}

template <Pattern kPattern>
std::size_t split(const Byte** position, const Byte* end, const char** ends, std::size_t capacity) {
  const Byte* p = *position;
  std::size_t count = 0;
  while (count != capacity && p != end) {
    p = piece<kPattern>(p, end);
    ends[count++] = reinterpret_cast<const char*>(p);
  }
  *position = p;
  return count;
}

}  // namespace

std::size_t Splitter::next(const char** ends, std::size_t capacity) {
  const Byte* p = reinterpret_cast<const Byte*>(position_);
  const Byte* const end = reinterpret_cast<const Byte*>(end_);
  const std::size_t count = pattern_ == Pattern::cl100k
                                ? split<Pattern::cl100k>(&p, end, ends, capacity)
                                : split<Pattern::o200k>(&p, end, ends, capacity);
  position_ = reinterpret_cast<const char*>(p);
  return count;
}

}  // namespace tokvault
