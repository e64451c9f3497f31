// Range coding of symbols of four bits with adaptive distributions.
//
// rANS (Duda, "Asymmetric numeral systems", arXiv:1311.2540; the layout of ryg_rans, Giesen): one
// state of 64 bits, words of 32. What is coded last is decoded first, so the encoder keeps the
// intervals of a whole text. The state begins at 1, which the decoder finds again at the end: a
// damaged code is noticed more often than not, and nothing is spent on the state's first bits.
//
// A distribution of 16 symbols fits two registers of 128 bits, is searched without a branch and
// moves towards what was seen with three instructions (as in Bloom, "LZNA", 2015). There are two
// kernels for this, one for any machine; they agree bit for bit.
#ifndef TOKVAULT_CODEC_NIBBLE_CODER_H_
#define TOKVAULT_CODEC_NIBBLE_CODER_H_

#include <array>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "tokvault/types.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tokvault {

// Probabilities are in 1/32768.
inline constexpr int kNibbleProbabilityBits = 15;
inline constexpr std::uint32_t kNibbleTotal = 1u << kNibbleProbabilityBits;
inline constexpr std::uint32_t kNibbleSeenMax = 31;

// lane[i] is where symbol i + 1 begins, for i below 15; symbol 0 begins at 0. The last lane counts
// how often the distribution has learned, up to kNibbleSeenMax.
struct alignas(16) Nibble {
  std::array<std::uint16_t, 16> lane = {2048,  4096,  6144,  8192,  10240, 12288, 14336, 16384,
                                        18432, 20480, 22528, 24576, 26624, 28672, 30720, 0};
  std::uint32_t seen() const { return lane[15]; }
  // Both load first and choose then: a branch would be mispredicted.
  std::uint32_t begin_of(std::uint32_t symbol) const {
    const std::uint32_t begin = lane[(symbol - 1) & 15];
    return symbol == 0 ? 0 : begin;
  }
  std::uint32_t end_of(std::uint32_t symbol) const {
    const std::uint32_t end = lane[symbol];
    return symbol == 15 ? kNibbleTotal : end;
  }
};

// Where lanes move to when `symbol` was seen: symbols after it begin as late as they can, the
// others as early. Every symbol keeps a probability of at least 1/32768: lanes rise by at least
// one, both here and in every distribution, and a step towards here, rounded down, keeps it so.
struct NibbleTargets {
  alignas(16) std::array<std::array<std::int16_t, 16>, 16> lane{};
  constexpr NibbleTargets() {
    for (int s = 0; s < 16; ++s) {
      for (int i = 0; i < 15; ++i) {
        lane[static_cast<std::size_t>(s)][static_cast<std::size_t>(i)] =
            static_cast<std::int16_t>(i >= s ? 32753 + i : i + 1);
      }
    }
  }
};
inline constexpr NibbleTargets kNibbleTargets;

// The nth time a distribution learns it moves by 2^-rate of the way.
inline constexpr std::array<std::uint8_t, kNibbleSeenMax + 1> kNibbleRates = {
    1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6};
// How much of 16384 a distribution that was seen so often weighs against a more general one.
struct NibbleWeights {
  std::array<std::int16_t, kNibbleSeenMax + 1> of{};
  constexpr NibbleWeights() {
    for (std::uint32_t n = 0; n <= kNibbleSeenMax; ++n) {
      of[n] = static_cast<std::int16_t>(16384 * n / (n + 3));
    }
  }
};
inline constexpr NibbleWeights kNibbleWeights;

struct ScalarNibbles {
  // The symbol whose interval `slot` is in, which is below kNibbleTotal.
  static std::uint32_t find(const Nibble& n, std::uint32_t slot) {
    std::uint32_t symbol = 0;
    for (std::size_t i = 0; i < 15; ++i) symbol += n.lane[i] <= slot ? 1 : 0;
    return symbol;
  }
  static void learn(Nibble& n, std::uint32_t symbol) {
    const auto& targets = kNibbleTargets.lane[symbol];
    const std::uint32_t seen = n.seen();
    for (std::size_t i = 0; i < 15; ++i) {
      const int step = (targets[i] - int{n.lane[i]}) >> kNibbleRates[seen];
      n.lane[i] = static_cast<std::uint16_t>(n.lane[i] + step);
    }
    n.lane[15] = static_cast<std::uint16_t>(seen < kNibbleSeenMax ? seen + 1 : seen);
  }
  // A mean of two; its count is not to be used.
  static Nibble blend(const Nibble& general, const Nibble& special) {
    const int weight = kNibbleWeights.of[special.seen()];
    Nibble out;
    for (std::size_t i = 0; i < 15; ++i) {
      const int sum = int{general.lane[i]} * (16384 - weight) + int{special.lane[i]} * weight;
      out.lane[i] = static_cast<std::uint16_t>(sum >> 14);
    }
    return out;
  }
};

#if defined(__SSE2__)
struct Sse2Nibbles {
  static std::uint32_t find(const Nibble& n, std::uint32_t slot) {
    const __m128i wanted = _mm_set1_epi16(static_cast<std::int16_t>(slot));
    const __m128i above =
        _mm_packs_epi16(_mm_cmpgt_epi16(low(n), wanted), _mm_cmpgt_epi16(high(n), wanted));
    const auto mask = static_cast<std::uint32_t>(_mm_movemask_epi8(above)) | 1u << 15;
    return static_cast<std::uint32_t>(std::countr_zero(mask));
  }
  static void learn(Nibble& n, std::uint32_t symbol) {
    const auto* targets = reinterpret_cast<const __m128i*>(kNibbleTargets.lane[symbol].data());
    const std::uint32_t seen = n.seen();
    const __m128i rate = _mm_cvtsi32_si128(kNibbleRates[seen]);
    const __m128i a = low(n), b = high(n);
    store(n, _mm_add_epi16(a, _mm_sra_epi16(_mm_sub_epi16(_mm_load_si128(targets), a), rate)),
          _mm_add_epi16(b, _mm_sra_epi16(_mm_sub_epi16(_mm_load_si128(targets + 1), b), rate)));
    n.lane[15] = static_cast<std::uint16_t>(seen < kNibbleSeenMax ? seen + 1 : seen);
  }
  static Nibble blend(const Nibble& general, const Nibble& special) {
    const int weight = kNibbleWeights.of[special.seen()];
    const __m128i weights = _mm_set1_epi32((16384 - weight) | weight << 16);
    Nibble out;
    store(out, mean(low(general), low(special), weights),
          mean(high(general), high(special), weights));
    return out;
  }

 private:
  static const __m128i* half(const Nibble& n) {
    return reinterpret_cast<const __m128i*>(n.lane.data());
  }
  static __m128i low(const Nibble& n) { return _mm_load_si128(half(n)); }
  static __m128i high(const Nibble& n) { return _mm_load_si128(half(n) + 1); }
  static void store(Nibble& n, __m128i a, __m128i b) {
    auto* to = reinterpret_cast<__m128i*>(n.lane.data());
    _mm_store_si128(to, a);
    _mm_store_si128(to + 1, b);
  }
  static __m128i mean(__m128i a, __m128i b, __m128i weights) {
    const __m128i first = _mm_madd_epi16(_mm_unpacklo_epi16(a, b), weights);
    const __m128i second = _mm_madd_epi16(_mm_unpackhi_epi16(a, b), weights);
    return _mm_packs_epi32(_mm_srai_epi32(first, 14), _mm_srai_epi32(second, 14));
  }
};
using Nibbles = Sse2Nibbles;
#else
using Nibbles = ScalarNibbles;
#endif

// The interval of a symbol, of kNibbleTotal.
struct NibbleInterval {
  std::uint16_t begin;
  std::uint16_t size;
};

// Encoder and decoder have the same members, so that a model is written once.
// Threads: one at a time.
class NibbleEncoder {
 public:
  static constexpr bool kDecodes = false;
  static constexpr bool kLearns = true;
  // Codes `symbol`, below 16, and returns it.
  std::uint32_t code(std::uint32_t symbol, const Nibble& n) {
    const std::uint32_t begin = n.begin_of(symbol);
    put(begin, n.end_of(symbol) - begin);
    return symbol;
  }
  // Codes the lowest `bits` bits of `value`, at most 15, all equally likely.
  std::uint32_t code_even(std::uint32_t value, int bits) {
    const std::uint32_t size = kNibbleTotal >> bits;
    put(value * size, size);
    return value;
  }
  // How many symbols were coded: decoding takes time in proportion.
  std::uint64_t count() const { return intervals_.size(); }
  // The code, appended to `out`.
  void finish(Buffer& out) const {
    std::uint64_t state = 1;
    std::vector<std::uint32_t> words;
    for (std::size_t i = intervals_.size(); i-- > 0;) {
      const NibbleInterval at = intervals_[i];
      if (state >= std::uint64_t{at.size} << 48) {
        words.push_back(static_cast<std::uint32_t>(state));
        state >>= 32;
      }
      state = (state / at.size << kNibbleProbabilityBits) + state % at.size + at.begin;
    }
    const int state_size = words.empty() ? (std::bit_width(state) + 7) / 8 : 8;
    for (int i = 0; i < state_size; ++i) out.push_back(static_cast<char>(state >> (8 * i)));
    for (std::size_t i = words.size(); i-- > 0;) append_le(out, words[i]);
  }

 private:
  void put(std::uint32_t begin, std::uint32_t size) {
    intervals_.push_back({static_cast<std::uint16_t>(begin), static_cast<std::uint16_t>(size)});
  }
  std::vector<NibbleInterval> intervals_;
};

// Threads: one at a time. Lifetime: refers to `code`.
class NibbleDecoder {
 public:
  static constexpr bool kDecodes = true;
  static constexpr bool kLearns = true;
  explicit NibbleDecoder(ByteView code) {
    const std::size_t state_size = code.size() < 8 ? code.size() : 8;
    for (std::size_t i = 0; i < state_size; ++i) {
      state_ |= std::uint64_t{static_cast<std::uint8_t>(code[i])} << (8 * i);
    }
    // The encoder writes no zero at the end of a short state, and whole words behind a long one.
    is_whole_ = code.size() < 8 ? code.empty() || code.back() != 0 : code.size() % 4 == 0;
    next_ = code.data() + state_size;
    end_ = next_ + (code.size() - state_size) / 4 * 4;
  }
  std::uint32_t code(std::uint32_t /*symbol*/, const Nibble& n) {
    const std::uint32_t symbol = Nibbles::find(n, slot());
    const std::uint32_t begin = n.begin_of(symbol);
    take(begin, n.end_of(symbol) - begin);
    return symbol;
  }
  std::uint32_t code_even(std::uint32_t /*value*/, int bits) {
    const std::uint32_t size = kNibbleTotal >> bits;
    const std::uint32_t value = slot() / size;
    take(value * size, size);
    return value;
  }
  // Whether the code ends here.
  bool at_end() const { return is_whole_ && next_ == end_ && state_ == 1; }

 private:
  std::uint32_t slot() const { return static_cast<std::uint32_t>(state_) & (kNibbleTotal - 1); }
  void take(std::uint32_t begin, std::uint32_t size) {
    state_ = size * (state_ >> kNibbleProbabilityBits) + slot() - begin;
    if (state_ < std::uint64_t{1} << 31 && next_ != end_) {
      state_ = state_ << 32 | load_le<std::uint32_t>(next_);
      next_ += 4;
    }
  }
  std::uint64_t state_ = 0;
  const char* next_ = nullptr;
  const char* end_ = nullptr;
  bool is_whole_ = false;
};

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_NIBBLE_CODER_H_
