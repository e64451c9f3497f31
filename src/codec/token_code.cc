#include "codec/token_code.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

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

// Writes up to six bytes at `p`, which must have room for them.
template <CodeBytes kBytes>
char* write_number(std::uint64_t number, char* p) {
  using C = Classes<kBytes>;
  if (number < C::kThree) {
    // Without branches: which class a token is in is not to be predicted.
    const auto n = static_cast<std::uint32_t>(number);
    const unsigned more = (n >= C::kOne ? 1u : 0u) + (n >= C::kTwo ? 1u : 0u);
    constexpr std::uint32_t kBegin[] = {0, C::kOne, C::kTwo};
    constexpr std::uint32_t kFirst[] = {0, 0x80u << 8, 0xC0u << 16};
    const std::uint32_t v = n - kBegin[more];
    std::uint32_t bytes = v;  // the last byte of the code lowest
    if constexpr (C::kRadix != 256) {
      const std::uint32_t q = v / C::kRadix;
      const std::uint32_t two = q << 8 | (v - q * C::kRadix);
      const std::uint32_t qq = q / C::kRadix;
      const std::uint32_t three = qq << 16 | (q - qq * C::kRadix) << 8 | (v - q * C::kRadix);
      bytes = more == 0 ? v : more == 1 ? two : three;
    }
    bytes |= kFirst[more];
    store_le(__builtin_bswap32(bytes) >> (8 * (3 - more)), p);
    return p + more + 1;
  }
  *p++ = static_cast<char>(C::kSixBytes);
  for (int i = 0; i < 5; ++i, number /= C::kRadix) *p++ = static_cast<char>(number % C::kRadix);
  return p;
}

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
  for (const auto& c : counts) map.tokens_.push_back(c.first);
  map.index();
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
  std::vector<bool> is_listed;
  std::int64_t previous = -1;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::int64_t step = in.svarint();
    constexpr std::int64_t kStepMax = kListedTokenMax;
    const bool fits = step <= kStepMax && step >= -kStepMax;
    const std::int64_t t = fits ? previous + 1 + step : -1;
    if (!in.ok() || t < 0 || t >= kListedTokenMax) {
      return Error(Errc::corrupt, "token map: bad token");
    }
    previous = t;
    const auto token = static_cast<Token>(t);
    if (token >= is_listed.size()) is_listed.resize(std::max<std::size_t>(1 << 18, token + 1));
    if (is_listed[token]) return Error(Errc::corrupt, "token map: token repeats");
    is_listed[token] = true;
    map.tokens_.push_back(token);
  }
  if (!in.at_end()) return Error(Errc::corrupt, "token map: bytes after the end");
  return map;
}

void TokenMap::index() {
  if (tokens_.empty()) return;
  codes_.assign(*std::max_element(tokens_.begin(), tokens_.end()) + 1, 0);
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    char code[kTokenCodeBytesMax] = {};
    const char* const end = bytes_ == CodeBytes::all ? write_number<CodeBytes::all>(i, code)
                                                     : write_number<CodeBytes::below_ff>(i, code);
    codes_[tokens_[i]] =
        (load_le<std::uint32_t>(code) & 0xffffff) | static_cast<std::uint32_t>(end - code) << 24;
  }
}

template <CodeBytes kBytes>
char* TokenMap::encode(TokenView tokens, char* p) const {
  const std::uint64_t listed = tokens_.size();
  for (const Token t : tokens) {
    const std::uint32_t code = t < codes_.size() ? codes_[t] : 0;
    if (code != 0) {
      store_le(code, p);
      p += code >> 24;
    } else {
      p = write_number<kBytes>(t + listed, p);
    }
  }
  return p;
}

void TokenMap::encode(TokenView tokens, Buffer& out) const {
  if (codes_.size() < tokens_.size()) {
    TokenMap with_codes = *this;
    with_codes.index();
    return with_codes.encode(tokens, out);
  }
  // Through a small buffer: a string would be cleared to its largest possible size first.
  constexpr std::size_t kChunk = 256;
  char buffer[kChunk * kTokenCodeBytesMax];
  for (std::size_t begin = 0; begin < tokens.size(); begin += kChunk) {
    const TokenView chunk = tokens.subspan(begin, std::min(kChunk, tokens.size() - begin));
    const char* const end = bytes_ == CodeBytes::all ? encode<CodeBytes::all>(chunk, buffer)
                                                     : encode<CodeBytes::below_ff>(chunk, buffer);
    out.append(buffer, static_cast<std::size_t>(end - buffer));
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

void TokenMap::read_any(ByteView bytes, std::size_t tokens_max, std::vector<Token>& out) {
  auto at = [&](std::size_t i) { return std::uint32_t{static_cast<std::uint8_t>(bytes[i])}; };
  const std::size_t end = out.size() + tokens_max;
  for (std::size_t i = 0; i < bytes.size() && out.size() < end;) {
    const std::uint32_t b = at(i);
    if (b == 0xFF) {
      ++i;
      continue;
    }
    const std::size_t size = b < 0x80 ? 1 : b < 0xC0 ? 2 : 3;
    if (size > bytes.size() - i) return;
    out.push_back(size == 1   ? b
                  : size == 2 ? kOneByteCodes + (b & 0x3F) * 256 + at(i + 1)
                              : kTwoByteCodes + (b & 0x3F) * 65536 + at(i + 1) * 256 + at(i + 2));
    i += size;
  }
}

std::uint64_t TokenMap::count(ByteView bytes) {
  // A table, since which class a code is in is not to be predicted.
  static constexpr auto kSizes = [] {
    std::array<std::uint8_t, 256> sizes;
    for (int b = 0; b < 256; ++b) sizes[b] = b < 0x80 ? 1 : b < 0xC0 ? 2 : b < 0xFF ? 3 : 6;
    return sizes;
  }();
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < bytes.size(); ++n) {
    i += kSizes[static_cast<std::uint8_t>(bytes[i])];
  }
  return n;
}

}  // namespace tokvault
