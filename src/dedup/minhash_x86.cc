// MinHash with 8 or 4 hash functions in a register: one loop in vector types of the compiler, made
// for two instruction sets. minhash_kernels() says which of them may be called.
//
// AVX-512 has everything that the hash needs: rotation, 64-bit products, the unsigned minimum. A
// pass over the tokens works with 8 registers of minima and 8 of seeds, which leaves enough for the
// rest; passes of 4 or 16 are as fast. AVX2 has none of the three and gains little over the
// portable loop.
#include "dedup/minhash.h"

#if defined(__x86_64__)
#include <cstring>

#include "tokvault/dedup.h"

namespace tokvault {
namespace {

// Unlike loads and stores of vector types, which assume an alignment.
template <class Vector>
[[gnu::always_inline]] inline void copy(void* to, const void* from) {
  std::memcpy(to, from, sizeof(Vector));
}

template <class Vector, std::size_t kGroup>
[[gnu::always_inline]] inline void lower(const Token* tokens, std::size_t count,
                                         std::uint64_t* values) {
  constexpr std::size_t kLanes = sizeof(Vector) / 8;
  for (std::size_t first = 0; first < MinHash::kValues; first += kLanes * kGroup) {
    Vector least[kGroup];
    Vector seed[kGroup];
    for (std::size_t g = 0; g < kGroup; ++g) {
      copy<Vector>(&least[g], values + first + g * kLanes);
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        seed[g][lane] = kMinHashSeed + first + g * kLanes + lane;
      }
    }
    std::uint64_t a = tokens[0] * kMinHashToken;
    for (std::size_t j = 1; j < count; ++j) {
      const std::uint64_t b = tokens[j] * kMinHashToken;
#pragma GCC unroll 8
      for (std::size_t g = 0; g < kGroup; ++g) {
        Vector h = seed[g] ^ a;
        h = (h << 27 | h >> (64 - 27)) * kMinHashMix ^ b;
        h = (h << 27 | h >> (64 - 27)) * kMinHashMix;
        h ^= h >> 31;
        least[g] = h < least[g] ? h : least[g];
      }
      a = b;
    }
    for (std::size_t g = 0; g < kGroup; ++g) {
      copy<Vector>(values + first + g * kLanes, &least[g]);
    }
  }
}

using Vector512 = std::uint64_t __attribute__((vector_size(64)));
using Vector256 = std::uint64_t __attribute__((vector_size(32)));

}  // namespace

__attribute__((target("avx512f,avx512dq"))) void minhash_avx512(const Token* tokens,
                                                                std::size_t count,
                                                                std::uint64_t* values) {
  lower<Vector512, 8>(tokens, count, values);
}

__attribute__((target("avx2"))) void minhash_avx2(const Token* tokens, std::size_t count,
                                                  std::uint64_t* values) {
  lower<Vector256, 4>(tokens, count, values);
}

}  // namespace tokvault
#endif
