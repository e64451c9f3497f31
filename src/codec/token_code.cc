#include "codec/token_code.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"

namespace tokvault {
namespace {

// Ids above this are never listed, so that the table from token to code stays small.
constexpr Token kListedTokenMax = 1u << 21;

constexpr std::uint64_t kListedCountMin = 4;

// The numbers that codes of one, two and three bytes stand for.
template <CodeBytes kBytes>
struct Classes {
  static constexpr std::uint32_t kRadix = kBytes == CodeBytes::all ? 256 : 255;
  static constexpr std::uint32_t kOne = 128;
  static constexpr std::uint32_t kTwo = kOne + 64 * kRadix;
  static constexpr std::uint8_t kSixBytes = kBytes == CodeBytes::all ? 0xFF : 0xFE;
  static constexpr std::uint32_t kThree = kTwo + (kSixBytes - 0xC0u) * kRadix * kRadix;
};

// Classes of frequency, a factor of four wide. Finer ones make the list longer and the text no
// smaller: intercode's list takes 12,378 bytes with quarters of powers of two, 8,990 with these.
int frequency_class(std::uint64_t count) { return (std::bit_width(count) + 1) / 2; }

}  // namespace

TokenMap TokenMap::by_frequency(std::vector<std::pair<Token, std::uint64_t>> counts,
                                CodeBytes bytes) {
  // A token that occurs less often saves about what its place in the list costs.
  std::erase_if(counts, [](const auto& c) {
    return c.second < kListedCountMin || c.first >= kListedTokenMax;
  });
  std::sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
    const int ca = frequency_class(a.second);
    const int cb = frequency_class(b.second);
    return ca != cb ? ca > cb : a.first < b.first;
  });
  if (counts.size() > tokens_max(bytes)) counts.resize(tokens_max(bytes));
  TokenMap map(bytes);
  Token top = 0;
  for (const auto& c : counts) {
    map.tokens_.push_back(c.first);
    top = std::max(top, c.first);
  }
  if (!map.tokens_.empty()) map.codes_.assign(top + 1, 0);
  for (std::size_t i = 0; i < map.tokens_.size(); ++i) {
    map.codes_[map.tokens_[i]] = static_cast<std::uint32_t>(i + 1);
  }
  return map;
}

Buffer TokenMap::serialize() const {
  Buffer out;
  append_varint(out, tokens_.size());
  std::int64_t previous = -1;
  for (Token t : tokens_) {
    append_varint(out, zigzag(static_cast<std::int64_t>(t) - previous - 1));
    previous = t;
  }
  return out;
}

Result<TokenMap> TokenMap::parse(ByteView bytes, CodeBytes code) {
  ByteReader in(bytes);
  const std::uint64_t count = in.varint();
  if (!in.ok() || count > tokens_max(code) || count > in.left()) {
    return Error(Errc::corrupt, "token map: bad count");
  }
  TokenMap map(code);
  map.tokens_.reserve(count);
  std::int64_t previous = -1;
  Token top = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::int64_t step = in.svarint();
    constexpr std::int64_t kStepMax = kListedTokenMax;
    const bool fits = step <= kStepMax && step >= -kStepMax;
    const std::int64_t t = fits ? previous + 1 + step : -1;
    if (!in.ok() || t < 0 || t >= kListedTokenMax) {
      return Error(Errc::corrupt, "token map: bad token");
    }
    previous = t;
    map.tokens_.push_back(static_cast<Token>(t));
    top = std::max(top, static_cast<Token>(t));
  }
  if (!in.at_end()) return Error(Errc::corrupt, "token map: bytes after the end");
  if (count > 0) map.codes_.assign(top + 1, 0);
  for (std::size_t i = 0; i < map.tokens_.size(); ++i) {
    if (map.codes_[map.tokens_[i]] != 0) return Error(Errc::corrupt, "token map: token repeats");
    map.codes_[map.tokens_[i]] = static_cast<std::uint32_t>(i + 1);
  }
  return map;
}

std::uint64_t TokenMap::code_of(Token token) const {
  if (token < codes_.size() && codes_[token] != 0) return codes_[token] - 1;
  return std::uint64_t{token} + tokens_.size();
}

template <CodeBytes kBytes>
char* TokenMap::encode(Token token, char* p) const {
  using C = Classes<kBytes>;
  std::uint64_t code = code_of(token);
  if (code < C::kOne) {
    *p++ = static_cast<char>(code);
  } else if (code < C::kTwo) {
    const auto v = static_cast<std::uint32_t>(code) - C::kOne;
    *p++ = static_cast<char>(0x80 + v / C::kRadix);
    *p++ = static_cast<char>(v % C::kRadix);
  } else if (code < C::kThree) {
    const auto v = static_cast<std::uint32_t>(code) - C::kTwo;
    *p++ = static_cast<char>(0xC0 + v / (C::kRadix * C::kRadix));
    *p++ = static_cast<char>(v / C::kRadix % C::kRadix);
    *p++ = static_cast<char>(v % C::kRadix);
  } else {
    *p++ = static_cast<char>(C::kSixBytes);
    for (int i = 0; i < 5; ++i, code /= C::kRadix) *p++ = static_cast<char>(code % C::kRadix);
  }
  return p;
}

void TokenMap::encode(TokenView tokens, Buffer& out) const {
  // Through a small buffer: a string would be cleared to its largest possible size first.
  constexpr std::size_t kChunk = 256;
  char buffer[kChunk * kTokenCodeBytesMax];
  for (std::size_t begin = 0; begin < tokens.size(); begin += kChunk) {
    char* p = buffer;
    const TokenView chunk = tokens.subspan(begin, std::min(kChunk, tokens.size() - begin));
    if (bytes_ == CodeBytes::all) {
      for (Token t : chunk) p = encode<CodeBytes::all>(t, p);
    } else {
      for (Token t : chunk) p = encode<CodeBytes::below_ff>(t, p);
    }
    out.append(buffer, static_cast<std::size_t>(p - buffer));
  }
}

template <CodeBytes kBytes>
Status TokenMap::decode(ByteView bytes, std::vector<Token>& out) const {
  using C = Classes<kBytes>;
  auto cut = [] { return Error(Errc::corrupt, "token code cut short"); };
  const auto* p = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const auto* const end = p + bytes.size();
  const std::uint64_t listed = tokens_.size();
  const Token* const table = tokens_.data();
  // At most one token a byte: one resize instead of a check of the capacity for each.
  const std::size_t start = out.size();
  out.resize(start + bytes.size());
  Token* to = out.data() + start;
  std::uint32_t highest = 0;  // of all bytes but the first of a code
  while (p != end) {
    const std::uint8_t b = *p;
    std::uint64_t code = b;
    if (b < 0x80) {
      p += 1;
    } else if (b < 0xC0) {
      if (end - p < 2) return cut();
      code = C::kOne + (b & 0x3Fu) * C::kRadix + p[1];
      highest = std::max<std::uint32_t>(highest, p[1]);
      p += 2;
    } else if (b < C::kSixBytes) {
      if (end - p < 3) return cut();
      code = C::kTwo + (b & 0x3Fu) * (C::kRadix * C::kRadix) + p[1] * C::kRadix + p[2];
      highest = std::max<std::uint32_t>({highest, p[1], p[2]});
      p += 3;
    } else {
      if (b != C::kSixBytes) return Error(Errc::corrupt, "token code out of range");
      if (end - p < 6) return cut();
      code = 0;
      for (int i = 5; i > 0; --i) {
        code = code * C::kRadix + p[i];
        highest = std::max<std::uint32_t>(highest, p[i]);
      }
      if (code < C::kThree) return Error(Errc::corrupt, "overlong token code");
      p += 6;
    }
    if (code < listed) {
      *to++ = table[code];
    } else {
      code -= listed;
      if (code > 0xffffffffu) return Error(Errc::corrupt, "token code out of range");
      *to++ = static_cast<Token>(code);
    }
  }
  if (highest >= C::kRadix) return Error(Errc::corrupt, "token code out of range");
  out.resize(static_cast<std::size_t>(to - out.data()));
  return {};
}

Status TokenMap::decode(ByteView bytes, std::vector<Token>& out) const {
  return bytes_ == CodeBytes::all ? decode<CodeBytes::all>(bytes, out)
                                  : decode<CodeBytes::below_ff>(bytes, out);
}

std::uint64_t TokenMap::count(ByteView bytes) {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < bytes.size(); ++n) {
    const auto b = static_cast<std::uint8_t>(bytes[i]);
    i += b < 0x80 ? 1 : b < 0xC0 ? 2 : b < 0xFF ? 3 : 6;
  }
  return n;
}

}  // namespace tokvault
