#include "codec/token_code.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"

namespace tokvault {
namespace {

// Ids above this are never listed, so that the table from token to code stays small.
constexpr Token kListedTokenMax = 1u << 21;

constexpr std::uint64_t kListedCountMin = 3;

// Classes of frequency, a quarter of a power of two wide above 8.
std::uint32_t frequency_class(std::uint64_t count) {
  if (count < 8) return static_cast<std::uint32_t>(count);
  const int top = std::bit_width(count) - 1;
  return static_cast<std::uint32_t>(top) * 4 + static_cast<std::uint32_t>((count >> (top - 2)) & 3);
}

}  // namespace

TokenMap TokenMap::by_frequency(std::vector<std::pair<Token, std::uint64_t>> counts) {
  // A token that occurs once or twice saves less than its place in the list costs.
  std::erase_if(counts, [](const auto& c) {
    return c.second < kListedCountMin || c.first >= kListedTokenMax;
  });
  std::sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
    const std::uint32_t ca = frequency_class(a.second);
    const std::uint32_t cb = frequency_class(b.second);
    return ca != cb ? ca > cb : a.first < b.first;
  });
  if (counts.size() > kTokenMapTokensMax) counts.resize(kTokenMapTokensMax);
  TokenMap map;
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

Result<TokenMap> TokenMap::parse(ByteView bytes) {
  ByteReader in(bytes);
  const std::uint64_t count = in.varint();
  if (!in.ok() || count > kTokenMapTokensMax || count > in.left()) {
    return Error(Errc::corrupt, "token map: bad count");
  }
  TokenMap map;
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

void TokenMap::encode(TokenView tokens, Buffer& out) const {
  // Through a small buffer: a string would be cleared to its largest possible size first.
  constexpr std::size_t kChunk = 256;
  char buffer[kChunk * kTokenCodeBytesMax];
  for (std::size_t begin = 0; begin < tokens.size(); begin += kChunk) {
    char* p = buffer;
    for (Token t : tokens.subspan(begin, std::min(kChunk, tokens.size() - begin))) {
      const std::uint64_t code = code_of(t);
      if (code < kOneByteCodes) {
        *p++ = static_cast<char>(code);
      } else if (code < kTwoByteCodes) {
        const std::uint64_t v = code - kOneByteCodes;
        *p++ = static_cast<char>(0x80 | (v >> 8));
        *p++ = static_cast<char>(v);
      } else if (code < kThreeByteCodes) {
        const std::uint64_t v = code - kTwoByteCodes;
        *p++ = static_cast<char>(0xC0 | (v >> 16));
        *p++ = static_cast<char>(v >> 8);
        *p++ = static_cast<char>(v);
      } else {
        *p++ = static_cast<char>(0xFF);
        for (int i = 0; i < 5; ++i) *p++ = static_cast<char>(code >> (8 * i));
      }
    }
    out.append(buffer, static_cast<std::size_t>(p - buffer));
  }
}

Status TokenMap::decode(ByteView bytes, std::vector<Token>& out) const {
  const auto* p = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const auto* const end = p + bytes.size();
  const std::uint64_t listed = tokens_.size();
  const Token* const table = tokens_.data();
  // At most one token a byte: one resize instead of a check of the capacity for each.
  const std::size_t start = out.size();
  out.resize(start + bytes.size());
  Token* to = out.data() + start;
  while (p != end) {
    const std::uint8_t b = *p;
    std::uint64_t code = b;
    if (b < 0x80) {
      p += 1;
    } else if (b < 0xC0) {
      if (end - p < 2) return Error(Errc::corrupt, "token code cut short");
      code = kOneByteCodes + ((std::uint64_t{b} & 0x3F) << 8 | p[1]);
      p += 2;
    } else if (b < 0xFF) {
      if (end - p < 3) return Error(Errc::corrupt, "token code cut short");
      code = kTwoByteCodes + ((std::uint64_t{b} & 0x3F) << 16 | std::uint64_t{p[1]} << 8 | p[2]);
      p += 3;
    } else {
      if (end - p < 6) return Error(Errc::corrupt, "token code cut short");
      code = 0;
      for (int i = 0; i < 5; ++i) code |= std::uint64_t{p[1 + i]} << (8 * i);
      if (code < kThreeByteCodes) return Error(Errc::corrupt, "overlong token code");
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
  out.resize(static_cast<std::size_t>(to - out.data()));
  return {};
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
