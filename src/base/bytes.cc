#include "base/bytes.h"

namespace tokvault {

void append_varint(Buffer& out, std::uint64_t v) {
  while (v >= 0x80) {
    out.push_back(static_cast<char>(v | 0x80));
    v >>= 7;
  }
  out.push_back(static_cast<char>(v));
}

void append_sized(Buffer& out, ByteView bytes) {
  append_varint(out, bytes.size());
  out.append(bytes);
}

std::string to_hex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (char c : bytes) {
    out.push_back(kDigits[static_cast<std::uint8_t>(c) >> 4]);
    out.push_back(kDigits[static_cast<std::uint8_t>(c) & 15]);
  }
  return out;
}

std::uint64_t ByteReader::varint_slow() {
  if (left() >= 2) {  // nearly always
    const auto low = static_cast<std::uint8_t>(p_[0]);
    const auto high = static_cast<std::uint8_t>(p_[1]);
    if (high > 0 && high < 0x80) return p_ += 2, (low & 0x7fu) | std::uint64_t{high} << 7;
  }
  std::uint64_t v = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    if (p_ == end_) break;
    const std::uint8_t b = static_cast<std::uint8_t>(*p_++);
    // The tenth byte holds one bit; a last byte of zero is an overlong form.
    if (shift == 63 && b > 1) break;
    v |= static_cast<std::uint64_t>(b & 0x7f) << shift;
    if (b < 0x80) {
      if (b == 0 && shift > 0) break;
      return v;
    }
  }
  fail();
  return 0;
}

}  // namespace tokvault
