// Hashes and minima of windows are both made by doubling: hashes of 2 tokens from those of 1, of 4
// from those of 2, of 8 from those of 4; minima of 2, 4, 8 and 16 hashes likewise. Each step is a
// loop over a stretch that stays in the first-level cache and that compilers turn into SIMD code by
// themselves, so the same few lines serve every instruction set; a rolling hash and a queue of
// minima do less work and are slower, because each step waits for the one before. What is left for
// a loop without SIMD is to see where the minimum changes: there is an anchor.
#include "dedup/anchors.h"

#include <algorithm>
#include <array>
#include <bit>

namespace tokvault {
namespace {

constexpr std::size_t kStretch = 1024;  // windows

// One step on the way from tokens to hashes. Odd factors, so that no bit of a token is lost.
inline std::uint32_t first_hash(Token token) {
  const std::uint32_t h = token * 0x9e3779b1u;
  return h ^ h >> 15;
}
inline std::uint32_t join2(std::uint32_t a, std::uint32_t b) {
  return (std::rotl(a, 13) + b) * 0x85ebca6bu;
}
inline std::uint32_t join4(std::uint32_t a, std::uint32_t b) {
  return (std::rotl(a, 13) ^ b) * 0xc2b2ae35u;
}
inline std::uint32_t join8(std::uint32_t a, std::uint32_t b) {
  const std::uint32_t h = (std::rotl(a, 13) + b) * 0x27d4eb2fu;
  return h ^ h >> 15;
}

// The hashes of the runs that begin at the first `count - 7` of `count` tokens.
[[gnu::always_inline]] inline void hash_runs(const Token* tokens, std::size_t count,
                                             std::uint32_t* hashes) {
  for (std::size_t i = 0; i < count; ++i) hashes[i] = first_hash(tokens[i]);
  for (std::size_t i = 0; i + 1 < count; ++i) hashes[i] = join2(hashes[i], hashes[i + 1]);
  for (std::size_t i = 0; i + 3 < count; ++i) hashes[i] = join4(hashes[i], hashes[i + 2]);
  for (std::size_t i = 0; i + 7 < count; ++i) hashes[i] = join8(hashes[i], hashes[i + 4]);
}

[[gnu::always_inline]] inline void find(TokenView tokens, std::vector<Anchor>& anchors) {
  static_assert(kAnchorTokens == 8 && kAnchorWindow == 16);
  std::array<std::uint32_t, kStretch + kAnchorWindow + kAnchorTokens> hashes;
  std::array<std::uint32_t, kStretch + kAnchorWindow + kAnchorTokens> least;
  const std::size_t runs = tokens.size() - kAnchorTokens + 1;
  if (runs < kAnchorWindow) {
    hash_runs(tokens.data(), tokens.size(), hashes.data());
    const auto at =
        std::min_element(hashes.begin(), hashes.begin() + static_cast<std::ptrdiff_t>(runs));
    anchors.push_back({*at, static_cast<std::uint32_t>(at - hashes.begin())});
    return;
  }
  const std::size_t windows = runs - kAnchorWindow + 1;
  std::uint32_t last = 0;
  for (std::size_t base = 0; base < windows; base += kStretch) {
    const std::size_t here = std::min(kStretch, windows - base);
    const std::size_t count = here + kAnchorWindow - 1;
    hash_runs(tokens.data() + base, count + kAnchorTokens - 1, hashes.data());
    for (std::size_t i = 0; i + 1 < count; ++i) least[i] = std::min(hashes[i], hashes[i + 1]);
    for (std::size_t i = 0; i + 3 < count; ++i) least[i] = std::min(least[i], least[i + 2]);
    for (std::size_t i = 0; i + 7 < count; ++i) least[i] = std::min(least[i], least[i + 4]);
    for (std::size_t i = 0; i < here; ++i) least[i] = std::min(least[i], least[i + 8]);
    if (base == 0) last = ~least[0];
    for (std::size_t i = 0; i < here; ++i) {
      if (least[i] == last) continue;
      last = least[i];
      std::size_t at = i + kAnchorWindow - 1;
      while (hashes[at] != last) --at;
      anchors.push_back({last, static_cast<std::uint32_t>(base + at)});
    }
  }
}

void find_portable(TokenView tokens, std::vector<Anchor>& anchors) { find(tokens, anchors); }
#if defined(__x86_64__)
__attribute__((target("avx2"))) void find_avx2(TokenView tokens, std::vector<Anchor>& anchors) {
  find(tokens, anchors);
}
#endif

struct Kernels {
  std::array<AnchorKernel, 2> all{{{"portable", find_portable}, {}}};
  std::size_t count = 1;
  Kernels() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) all[count++] = {"avx2", find_avx2};
#endif
  }
};

}  // namespace

std::span<const AnchorKernel> anchor_kernels() {
  static const Kernels kernels;
  return std::span(kernels.all).first(kernels.count);
}

void find_anchors(TokenView tokens, std::vector<Anchor>& anchors) {
  if (tokens.empty()) return;
  if (tokens.size() >= kAnchorTokens) {
    anchor_kernels().back().find(tokens, anchors);
    return;
  }
  std::uint32_t h = static_cast<std::uint32_t>(tokens.size());
  for (const Token token : tokens) h = join8(h, first_hash(token));
  anchors.push_back({h, 0});
}

void make_set(AnchorSet& hashes) {
  std::sort(hashes.begin(), hashes.end());
  hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
}

std::size_t count_common(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  if (a.size() > b.size()) std::swap(a, b);
  std::size_t common = 0;
  // A small set in a large one is looked up; sets of about one size are walked together.
  if (a.size() * 16 < b.size()) {
    auto from = b.begin();
    for (const std::uint32_t hash : a) {
      from = std::lower_bound(from, b.end(), hash);
      if (from == b.end()) break;
      common += *from == hash ? 1 : 0;
    }
    return common;
  }
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    common += a[i] == b[j] ? 1 : 0;
    const bool first_is_less = a[i] < b[j];
    const bool second_is_less = b[j] < a[i];
    i += second_is_less ? 0 : 1;
    j += first_is_less ? 0 : 1;
  }
  return common;
}

}  // namespace tokvault
