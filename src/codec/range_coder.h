// A binary range coder with adaptive probabilities, in integers only, so that every machine and
// compiler writes and reads the same bytes.
//
// The interval is 32 bits wide and bytes leave it as soon as both ends agree on them (the carryless
// coder of the PAQ family). The end costs what is needed and no more: the decoder reads zeros
// behind the last byte, so the encoder stops at the shortest number in its interval.
//
// RangeEncoder and RangeDecoder have the same members, so that a model is written once, as a
// template, and cannot differ between the two.
#ifndef TOKVAULT_CODEC_RANGE_CODER_H_
#define TOKVAULT_CODEC_RANGE_CODER_H_

#include <array>
#include <bit>
#include <cstdint>

#include "tokvault/types.h"

namespace tokvault {

// The probability that a bit is 1. It learns fast at first: the nth bit moves it by 1/(n + 1.5).
class AdaptiveBit {
 public:
  AdaptiveBit() = default;
  // `probability` of a 1 in 1/65536, to begin with.
  explicit constexpr AdaptiveBit(std::uint16_t probability) : probability_(probability) {}

  // In 1/65536, never 0 or 1.
  std::uint32_t probability() const { return probability_; }
  void update(bool bit) {
    constexpr int kSeenMax = 30;
    const int target = bit ? 65535 - kProbabilityMin : kProbabilityMin;
    const int step = (target - static_cast<int>(probability_)) * 2 / (2 * seen_ + 3);
    probability_ = static_cast<std::uint16_t>(probability_ + step);
    if (seen_ < kSeenMax) ++seen_;
  }

 private:
  static constexpr int kProbabilityMin = 32;
  std::uint16_t probability_ = 1u << 15;
  std::uint8_t seen_ = 0;
};

// How many of the leading bytes of `high` are a number of the interval when zeros follow them.
constexpr int range_end_bytes(std::uint32_t low, std::uint32_t high) {
  for (int bytes = 1; bytes < 4; ++bytes) {
    if ((high & ~std::uint32_t{0} << (32 - 8 * bytes)) >= low) return low == 0 ? 0 : bytes;
  }
  return low == 0 ? 0 : 4;
}

class RangeEncoder {
 public:
  static constexpr bool kEncodes = true;
  explicit RangeEncoder(Buffer& out) : out_(out) {}

  bool bit(AdaptiveBit& model, bool value) {
    split(model.probability(), value);
    model.update(value);
    return value;
  }
  // A bit that nothing is known of.
  bool raw(bool value) {
    split(1u << 15, value);
    return value;
  }
  // Ends the code; to be called once.
  void finish() {
    const int bytes = range_end_bytes(low_, high_);
    for (int i = 0; i < bytes; ++i) out_.push_back(static_cast<char>(high_ >> (24 - 8 * i)));
  }
  bool ok() const { return true; }

 private:
  void split(std::uint32_t probability, bool value) {
    const std::uint32_t middle =
        low_ + static_cast<std::uint32_t>((std::uint64_t{high_ - low_} * probability) >> 16);
    if (value) {
      high_ = middle;
    } else {
      low_ = middle + 1;
    }
    while (((low_ ^ high_) >> 24) == 0) {
      out_.push_back(static_cast<char>(high_ >> 24));
      low_ <<= 8;
      high_ = high_ << 8 | 0xff;
    }
  }

  Buffer& out_;
  std::uint32_t low_ = 0;
  std::uint32_t high_ = 0xffffffff;
};

// Reads what RangeEncoder wrote. Any bytes can be read; ok() turns false when more than the end of
// a code was asked for, after which all bits are of no meaning.
class RangeDecoder {
 public:
  static constexpr bool kEncodes = false;
  explicit RangeDecoder(ByteView bytes) : bytes_(bytes) {
    for (int i = 0; i < 4; ++i) next();
  }

  bool bit(AdaptiveBit& model, bool = false) {
    const bool value = split(model.probability());
    model.update(value);
    return value;
  }
  bool raw(bool = false) { return split(1u << 15); }
  // False if the code ended before what was read from it.
  bool ok() const { return beyond_ <= 4; }
  // True if the bytes are those that an encoder of what was read would have written.
  bool at_end() const {
    const auto tail = static_cast<std::size_t>(range_end_bytes(low_, high_));
    const std::uint64_t whole = at_ + beyond_ - 4;
    if (bytes_.size() != whole + tail) return false;
    for (std::size_t i = 0; i < tail; ++i) {
      if (bytes_[whole + i] != static_cast<char>(high_ >> (24 - 8 * i))) return false;
    }
    return true;
  }

 private:
  bool split(std::uint32_t probability) {
    const std::uint32_t middle =
        low_ + static_cast<std::uint32_t>((std::uint64_t{high_ - low_} * probability) >> 16);
    const bool value = code_ <= middle;
    if (value) {
      high_ = middle;
    } else {
      low_ = middle + 1;
    }
    while (((low_ ^ high_) >> 24) == 0) {
      low_ <<= 8;
      high_ = high_ << 8 | 0xff;
      next();
    }
    return value;
  }
  void next() {
    code_ <<= 8;
    if (at_ < bytes_.size()) {
      code_ |= static_cast<std::uint8_t>(bytes_[at_++]);
    } else {
      ++beyond_;
    }
  }

  ByteView bytes_;
  std::size_t at_ = 0;
  std::uint64_t beyond_ = 0;
  std::uint32_t low_ = 0;
  std::uint32_t high_ = 0xffffffff;
  std::uint32_t code_ = 0;
};

// Numbers below 2^64 of which nothing is known but that small ones, and the sizes seen before, are
// likelier: the count of bits and the first two bits after the leading one adapt.
class NumberModel {
 public:
  NumberModel() { width_[1] = AdaptiveBit(kWideProbability); }

  // Codes `value` if `Coder` encodes; returns the number coded.
  template <class Coder>
  std::uint64_t code(Coder& coder, std::uint64_t value = 0) {
    constexpr int kWidthBits = 6;
    const unsigned width = value == 0 ? 0 : static_cast<unsigned>(std::bit_width(value)) - 1;
    const bool is_zero = coder.bit(zero_, value == 0);
    if (is_zero) return 0;
    unsigned node = 1;
    for (int i = kWidthBits - 1; i >= 0; --i) {
      node = node * 2 + (coder.bit(width_[node], (width >> i & 1) != 0) ? 1 : 0);
    }
    const unsigned bits = node - (1u << kWidthBits);
    std::uint64_t result = 1;
    unsigned top = 1;
    for (unsigned i = 0; i < bits; ++i) {
      bool next = (value >> (bits - 1 - i) & 1) != 0;
      if (i < 2) {
        next = coder.bit(top_[bits][top], next);
        top = top * 2 + (next ? 1 : 0);
      } else {
        next = coder.raw(next);
      }
      result = result * 2 + (next ? 1 : 0);
    }
    return result;
  }

 private:
  static constexpr std::uint16_t kWideProbability = 512;  // of 2^32 and more
  AdaptiveBit zero_{4096};
  std::array<AdaptiveBit, 64> width_{};
  std::array<std::array<AdaptiveBit, 4>, 64> top_{};
};

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_RANGE_CODER_H_
