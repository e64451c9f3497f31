// The loops behind MinHash: one portable, others for instruction sets that not every processor has.
// All give the same values.
#ifndef TOKVAULT_DEDUP_MINHASH_H_
#define TOKVAULT_DEDUP_MINHASH_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tokvault/types.h"

namespace tokvault {

inline constexpr std::uint64_t kMinHashSeed = 0x9e3779b97f4a7c15u;
inline constexpr std::uint64_t kMinHashToken = 0x6c62272e07bb0142u;
inline constexpr std::uint64_t kMinHashMix = 0x94d049bb133111ebu;

struct MinHashKernel {
  std::string_view name;
  // Lowers each of 128 values to the smallest hash of all bigrams. REQUIRES: count >= 2
  void (*lower)(const Token* tokens, std::size_t count, std::uint64_t* values);
};

// Those that run on this processor, the fastest last; "scalar" is always there.
std::span<const MinHashKernel> minhash_kernels();

#if defined(__x86_64__)
// minhash_x86.cc
void minhash_avx2(const Token* tokens, std::size_t count, std::uint64_t* values);
void minhash_avx512(const Token* tokens, std::size_t count, std::uint64_t* values);
#endif

}  // namespace tokvault

#endif  // TOKVAULT_DEDUP_MINHASH_H_
