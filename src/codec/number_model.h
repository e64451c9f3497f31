// Bits and numbers with adaptive probabilities, under the coder of binary_coder.h: for codes of a
// few numbers and flags, which a trained model would be too large for.
#ifndef TOKVAULT_CODEC_NUMBER_MODEL_H_
#define TOKVAULT_CODEC_NUMBER_MODEL_H_

#include <array>
#include <bit>
#include <cstdint>

#include "codec/binary_coder.h"

namespace tokvault {

// The probability that a bit is 1. It learns fast at first: the nth bit moves it by 1/(n + 1.5).
class AdaptiveBit {
 public:
  AdaptiveBit() = default;
  // `probability` of a 1 in 1/65536, to begin with.
  explicit constexpr AdaptiveBit(std::uint16_t probability) : probability_(probability) {}

  template <class Coder>
  bool code(Coder& coder, bool value) {
    const bool bit = coder.code(value ? 1 : 0, probability_) != 0;
    constexpr int kSeenMax = 30;
    const int target = bit ? 65535 - kProbabilityMin : kProbabilityMin;
    const int step = (target - static_cast<int>(probability_)) * 2 / (2 * seen_ + 3);
    probability_ = static_cast<std::uint16_t>(probability_ + step);
    if (seen_ < kSeenMax) ++seen_;
    return bit;
  }

 private:
  static constexpr int kProbabilityMin = 32;
  std::uint16_t probability_ = 1u << 15;
  std::uint8_t seen_ = 0;
};

// Numbers below 2^64 of which nothing is known but that small ones, and sizes that were seen
// before, are likelier: the count of bits and the first two bits after the leading one adapt.
class NumberModel {
 public:
  NumberModel() { width_[1] = AdaptiveBit(kWideProbability); }

  // Codes `value` if `Coder` encodes; returns the number coded.
  template <class Coder>
  std::uint64_t code(Coder& coder, std::uint64_t value) {
    constexpr int kWidthBits = 6;
    if (zero_.code(coder, value == 0)) return 0;
    const unsigned width = value == 0 ? 0 : static_cast<unsigned>(std::bit_width(value)) - 1;
    unsigned node = 1;
    for (int i = kWidthBits - 1; i >= 0; --i) {
      node = node * 2 + (width_[node].code(coder, (width >> i & 1) != 0) ? 1 : 0);
    }
    const unsigned bits = node - (1u << kWidthBits);
    std::uint64_t result = 1;
    for (unsigned i = 0; i < bits; ++i) {
      const bool next = (value >> (bits - 1 - i) & 1) != 0;
      const bool bit =
          i < 2 ? top_[bits][result].code(coder, next) : coder.code(next ? 1 : 0, kEven) != 0;
      result = result * 2 + (bit ? 1 : 0);
    }
    return result;
  }

 private:
  static constexpr std::uint32_t kEven = 1u << 15;
  static constexpr std::uint16_t kWideProbability = 512;  // of 2^32 and more
  AdaptiveBit zero_{4096};
  std::array<AdaptiveBit, 64> width_{};
  std::array<std::array<AdaptiveBit, 4>, 64> top_{};
};

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_NUMBER_MODEL_H_
