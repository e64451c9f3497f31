// The hash of a bigram (a, b) under function i, of which every value is the minimum:
//
//   h = i + seed;  h = rotl(h ^ a * token, 27) * mix;  h = rotl(h ^ b * token, 27) * mix;
//   h ^= h >> 31
//
// The portable loop takes four functions at a time through all tokens, so that their
// multiplications overlap and the minima stay in registers; the products with `token` are made once
// a token and group.
#include "dedup/minhash.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/bytes.h"
#include "tokvault/dedup.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kBandSeed = 0x517cc1b727220a95u;

std::uint64_t mix(std::uint64_t h, std::uint64_t token_product) {
  return std::rotl(h ^ token_product, 27) * kMinHashMix;
}

void minhash_scalar(const Token* tokens, std::size_t count, std::uint64_t* values) {
  constexpr std::size_t kGroup = 4;
  for (std::size_t i = 0; i < MinHash::kValues; i += kGroup) {
    const std::uint64_t seed = kMinHashSeed + i;
    std::uint64_t least0 = values[i];
    std::uint64_t least1 = values[i + 1];
    std::uint64_t least2 = values[i + 2];
    std::uint64_t least3 = values[i + 3];
    std::uint64_t a = tokens[0] * kMinHashToken;
    for (std::size_t j = 1; j < count; ++j) {
      const std::uint64_t b = tokens[j] * kMinHashToken;
      const std::uint64_t h0 = mix(mix(seed, a), b);
      const std::uint64_t h1 = mix(mix(seed + 1, a), b);
      const std::uint64_t h2 = mix(mix(seed + 2, a), b);
      const std::uint64_t h3 = mix(mix(seed + 3, a), b);
      least0 = std::min(least0, h0 ^ h0 >> 31);
      least1 = std::min(least1, h1 ^ h1 >> 31);
      least2 = std::min(least2, h2 ^ h2 >> 31);
      least3 = std::min(least3, h3 ^ h3 >> 31);
      a = b;
    }
    values[i] = least0;
    values[i + 1] = least1;
    values[i + 2] = least2;
    values[i + 3] = least3;
  }
}

// Of no token or a single one: the whole sequence is the shingle.
void minhash_short(TokenView tokens, std::uint64_t* values) {
  for (std::size_t i = 0; i < MinHash::kValues; ++i) {
    std::uint64_t h = kMinHashSeed + i;
    for (const Token token : tokens) h = mix(h, token * kMinHashToken);
    values[i] = h ^ h >> 31;
  }
}

struct Kernels {
  std::array<MinHashKernel, 3> all{{{"scalar", minhash_scalar}, {}, {}}};
  std::size_t count = 1;
  Kernels() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) all[count++] = {"avx2", minhash_avx2};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) {
      all[count++] = {"avx512", minhash_avx512};
    }
#endif
  }
};

}  // namespace

std::span<const MinHashKernel> minhash_kernels() {
  static const Kernels kernels;
  return std::span(kernels.all).first(kernels.count);
}

MinHash MinHash::of(TokenView tokens) {
  MinHash signature;
  if (tokens.size() < 2) {
    minhash_short(tokens, signature.values.data());
  } else {
    minhash_kernels().back().lower(tokens.data(), tokens.size(), signature.values.data());
  }
  return signature;
}

void MinHash::merge(const MinHash& other) {
  for (std::size_t i = 0; i < kValues; ++i) values[i] = std::min(values[i], other.values[i]);
}

double MinHash::jaccard(const MinHash& other) const {
  std::size_t equal = 0;
  for (std::size_t i = 0; i < kValues; ++i) equal += values[i] == other.values[i] ? 1 : 0;
  return static_cast<double>(equal) / static_cast<double>(kValues);
}

std::uint64_t MinHash::band_hash(std::size_t band) const {
  std::uint64_t h = band * kBandSeed;
  for (std::size_t i = band * kRows; i < (band + 1) * kRows; ++i) {
    h = std::rotl(h + values[i], 17) * kMinHashToken;
  }
  return h;
}

Buffer MinHash::to_bytes() const {
  Buffer bytes;
  bytes.reserve(kBytes);
  for (const std::uint64_t value : values) append_le(bytes, value);
  return bytes;
}

Result<MinHash> MinHash::from_bytes(ByteView bytes) {
  if (bytes.size() != kBytes) {
    return Error(Errc::corrupt,
                 "a MinHash signature has 1,024 bytes, not " + std::to_string(bytes.size()));
  }
  MinHash signature;
  ByteReader in(bytes);
  for (std::uint64_t& value : signature.values) value = in.le<std::uint64_t>();
  return signature;
}

}  // namespace tokvault
