// Loads, stores and variable-length integers. Everything on disk goes through these: little-endian,
// no struct is ever copied to disk.
#ifndef TOKVAULT_BASE_BYTES_H_
#define TOKVAULT_BASE_BYTES_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

template <class T>
T load_le(const char* p) {
  T v = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    v = static_cast<T>(v |
                       static_cast<T>(static_cast<T>(static_cast<std::uint8_t>(p[i])) << (8 * i)));
  }
  return v;
}

template <class T>
void store_le(T v, char* p) {
  for (std::size_t i = 0; i < sizeof(T); ++i) p[i] = static_cast<char>(v >> (8 * i));
}

template <class T>
void append_le(Buffer& out, T v) {
  char tmp[sizeof(T)];
  store_le(v, tmp);
  out.append(tmp, sizeof(T));
}

// Unsigned LEB128, canonical: the shortest form is the only one that the reader accepts.
void append_varint(Buffer& out, std::uint64_t v);
inline std::uint64_t zigzag(std::int64_t v) {
  return (static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63);
}
inline std::int64_t unzigzag(std::uint64_t v) {
  return static_cast<std::int64_t>(v >> 1) ^ -static_cast<std::int64_t>(v & 1);
}
// A varint length and the bytes.
void append_sized(Buffer& out, ByteView bytes);

std::string to_hex(ByteView bytes);

// Reads fields from the front of a byte string; once a read fails, every later one does, and ok()
// is false: check once at the end, and before any size that was read is trusted for an allocation.
// Lifetime: views that it returns live as long as the bytes that it was given.
class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : p_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool ok() const { return ok_; }
  std::size_t left() const { return static_cast<std::size_t>(end_ - p_); }
  bool at_end() const { return p_ == end_; }
  void fail() { ok_ = false, p_ = end_; }

  template <class T>
  T le() {
    if (left() < sizeof(T)) return fail(), T{0};
    T v = load_le<T>(p_);
    p_ += sizeof(T);
    return v;
  }
  std::uint64_t varint() {
    if (p_ != end_ && static_cast<std::uint8_t>(*p_) < 0x80) {
      return static_cast<std::uint8_t>(*p_++);
    }
    return varint_slow();
  }
  std::uint32_t varint32() {
    const std::uint64_t v = varint();
    if (v > 0xffffffffu) return fail(), 0;
    return static_cast<std::uint32_t>(v);
  }
  std::int64_t svarint() { return unzigzag(varint()); }
  ByteView bytes(std::uint64_t size) {
    if (size > left()) return fail(), ByteView{};
    ByteView v(p_, static_cast<std::size_t>(size));
    p_ += size;
    return v;
  }
  ByteView sized() { return bytes(varint()); }
  ByteView rest() { return bytes(left()); }

 private:
  std::uint64_t varint_slow();
  const char* p_;
  const char* end_;
  bool ok_ = true;
};

}  // namespace tokvault

#endif  // TOKVAULT_BASE_BYTES_H_
