// Arithmetic coding of binary decisions.
//
// A carry-less range coder with 32 bits, as in lpaq (Mahoney): the interval [low, high] is split at
// a point that stands to its size as the probability of a one; bytes on which both ends agree
// leave. The end is written in as few bytes as name a number in the interval, as if zeros followed,
// and the reader checks that exactly these were there: a text has one code only.
//
// Encoder and decoder have the same member code(), so that a model is written once, as a template,
// and cannot differ between the two. Probabilities are of a one, in 1/65536.
#ifndef TOKVAULT_CODEC_BINARY_CODER_H_
#define TOKVAULT_CODEC_BINARY_CODER_H_

#include <cstdint>

#include "tokvault/types.h"

namespace tokvault {

// The number of bytes, 0 to 4, that name a number in the interval, and that number.
struct BinaryCoderEnd {
  static BinaryCoderEnd of(std::uint32_t low, std::uint32_t high) {
    for (int size = 0; size < 4; ++size) {
      const std::uint64_t unit = std::uint64_t{1} << (32 - 8 * size);
      const std::uint64_t value = (low + unit - 1) / unit * unit;
      if (value <= high) return {size, static_cast<std::uint32_t>(value)};
    }
    return {4, low};
  }
  int size;
  std::uint32_t value;
};

// Threads: one at a time. Lifetime: refers to `out`.
class BinaryEncoder {
 public:
  static constexpr bool kDecodes = false;
  explicit BinaryEncoder(Buffer& out) : out_(out) {}

  // Codes `bit`, which is one with a probability of `p` / 65536, 0 < p < 65536. Returns it.
  std::uint32_t code(std::uint32_t bit, std::uint32_t p) {
    ++decisions_;
    const std::uint32_t middle = low_ + ((high_ - low_) >> 16) * p;
    if (bit != 0) {
      high_ = middle;
    } else {
      low_ = middle + 1;
    }
    while (((low_ ^ high_) & 0xff000000u) == 0) {
      out_.push_back(static_cast<char>(high_ >> 24));
      low_ <<= 8;
      high_ = high_ << 8 | 0xff;
    }
    return bit;
  }
  bool ok() const { return true; }
  void finish() {
    const auto end = BinaryCoderEnd::of(low_, high_);
    for (int i = 0; i < end.size; ++i) out_.push_back(static_cast<char>(end.value >> (24 - 8 * i)));
  }
  std::uint64_t decisions() const { return decisions_; }

 private:
  Buffer& out_;
  std::uint32_t low_ = 0;
  std::uint32_t high_ = 0xffffffffu;
  std::uint64_t decisions_ = 0;
};

// In the place of an encoder where a model shall learn from text that is known already.
class BinaryLearner {
 public:
  static constexpr bool kDecodes = false;
  std::uint32_t code(std::uint32_t bit, std::uint32_t /*p*/) {
    ++decisions_;
    return bit;
  }
  bool ok() const { return true; }
  std::uint64_t decisions() const { return decisions_; }

 private:
  std::uint64_t decisions_ = 0;
};

// Threads: one at a time. Lifetime: refers to `bytes`.
class BinaryDecoder {
 public:
  static constexpr bool kDecodes = true;
  explicit BinaryDecoder(ByteView bytes)
      : p_(bytes.data()), end_(bytes.data() + bytes.size()), size_(bytes.size()) {
    for (int i = 0; i < 4; ++i) value_ = value_ << 8 | next();
  }

  // The bit that was coded with this probability; the first argument is of no account.
  std::uint32_t code(std::uint32_t /*bit*/, std::uint32_t p) {
    const std::uint32_t middle = low_ + ((high_ - low_) >> 16) * p;
    const std::uint32_t bit = value_ <= middle ? 1 : 0;
    if (bit != 0) {
      high_ = middle;
    } else {
      low_ = middle + 1;
    }
    while (((low_ ^ high_) & 0xff000000u) == 0) {
      low_ <<= 8;
      high_ = high_ << 8 | 0xff;
      value_ = value_ << 8 | next();
      ++taken_;
    }
    return bit;
  }
  // Whether the bytes can be the code of what was decoded so far: false once more bytes have left
  // the interval than there are.
  bool ok() const { return taken_ <= size_; }
  // Whether the code ends here as the encoder ends it.
  bool at_end() const {
    const auto end = BinaryCoderEnd::of(low_, high_);
    return taken_ + static_cast<std::uint64_t>(end.size) == size_ && value_ == end.value;
  }

 private:
  std::uint32_t next() { return p_ != end_ ? static_cast<std::uint8_t>(*p_++) : 0; }
  const char* p_;
  const char* end_;
  std::uint64_t size_;
  std::uint64_t taken_ = 0;
  std::uint32_t low_ = 0;
  std::uint32_t high_ = 0xffffffffu;
  std::uint32_t value_ = 0;
};

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_BINARY_CODER_H_
