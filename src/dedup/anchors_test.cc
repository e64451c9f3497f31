#include "dedup/anchors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace tokvault {
namespace {

std::vector<Token> random_tokens(std::mt19937& random, std::size_t count, Token below = 100'000) {
  std::vector<Token> tokens(count);
  for (Token& token : tokens) token = static_cast<Token>(random() % below);
  return tokens;
}

std::vector<Anchor> anchors_of(TokenView tokens) {
  std::vector<Anchor> anchors;
  find_anchors(tokens, anchors);
  return anchors;
}

std::uint32_t hash_of(TokenView run) {
  EXPECT_EQ(run.size(), kAnchorTokens);
  return anchors_of(run).at(0).hash;
}

// Every window of 16 runs, looked at by itself: its smallest hash is an anchor, the last of equal
// ones; a window whose smallest hash is that of the window before adds none.
std::vector<Anchor> by_definition(TokenView tokens) {
  std::vector<std::uint32_t> hashes;
  for (std::size_t i = 0; i + kAnchorTokens <= tokens.size(); ++i) {
    hashes.push_back(hash_of(tokens.subspan(i, kAnchorTokens)));
  }
  std::vector<Anchor> anchors;
  for (std::size_t i = 0; i + kAnchorWindow <= hashes.size(); ++i) {
    std::size_t at = i;
    for (std::size_t j = i; j < i + kAnchorWindow; ++j) {
      if (hashes[j] <= hashes[at]) at = j;
    }
    if (!anchors.empty() && anchors.back().hash == hashes[at]) continue;
    anchors.push_back({hashes[at], static_cast<std::uint32_t>(at)});
  }
  return anchors;
}

TEST(Anchors, AreTheMinimaOfWindows) {
  std::mt19937 random(1);
  for (std::size_t count : {23u, 24u, 60u, 1000u, 1046u, 1047u, 1048u, 2071u, 5000u}) {
    for (Token below : {2u, 100'000u}) {
      const auto tokens = random_tokens(random, count, below);
      const auto expected = by_definition(tokens);
      for (const AnchorKernel& kernel : anchor_kernels()) {
        std::vector<Anchor> anchors;
        kernel.find(tokens, anchors);
        EXPECT_EQ(anchors, expected) << kernel.name << " " << count;
      }
    }
  }
}

TEST(Anchors, OfShortAndOfEqualTokens) {
  std::mt19937 random(2);
  EXPECT_TRUE(anchors_of({}).empty());
  for (std::size_t count = 1; count < kAnchorTokens + kAnchorWindow - 1; ++count) {
    const auto tokens = random_tokens(random, count);
    const auto anchors = anchors_of(tokens);
    ASSERT_EQ(anchors.size(), 1u) << count;
    EXPECT_LE(anchors[0].position + std::min(count, kAnchorTokens), count);
    for (const AnchorKernel& kernel : anchor_kernels()) {
      if (count < kAnchorTokens) break;
      std::vector<Anchor> other;
      kernel.find(tokens, other);
      EXPECT_EQ(other, anchors);
    }
    auto changed = tokens;
    ++changed[count / 2];
    if (count < 16) {
      EXPECT_NE(anchors_of(changed), anchors) << count;
    }
  }
  EXPECT_EQ(anchors_of(std::vector<Token>(100'000, 7)).size(), 1u);
  EXPECT_NE(anchors_of(std::vector<Token>{1}), anchors_of(std::vector<Token>{1, 1}));
}

TEST(Anchors, AppendsAndKeepsTheirDistance) {
  std::mt19937 random(3);
  const auto tokens = random_tokens(random, 100'000);
  std::vector<Anchor> anchors = {{1, 2}};
  find_anchors(tokens, anchors);
  EXPECT_EQ(anchors[0], (Anchor{1, 2}));
  // 2 / (16 + 1) of all places for random hashes.
  EXPECT_NEAR(static_cast<double>(anchors.size()) / 100'000, 2.0 / 17, 0.003);
  for (std::size_t i = 2; i < anchors.size(); ++i) {
    ASSERT_GT(anchors[i].position, anchors[i - 1].position);
    ASSERT_LE(anchors[i].position - anchors[i - 1].position, kAnchorWindow);
    ASSERT_NE(anchors[i].hash, anchors[i - 1].hash);
    ASSERT_EQ(anchors[i].hash, hash_of(TokenView(tokens).subspan(anchors[i].position, 8)));
  }
}

TEST(Anchors, ASharedRunHasAnEqualAnchorAtItsPlace) {
  std::mt19937 random(4);
  for (int i = 0; i < 500; ++i) {
    const auto run = random_tokens(random, kAnchorTokens + kAnchorWindow - 1);
    std::set<std::pair<std::uint32_t, std::uint32_t>> first;
    for (int side = 0; side < 2; ++side) {
      auto text = random_tokens(random, 30 + random() % 50);
      const auto begin = static_cast<std::uint32_t>(text.size());
      text.insert(text.end(), run.begin(), run.end());
      const auto tail = random_tokens(random, 30 + random() % 50);
      text.insert(text.end(), tail.begin(), tail.end());
      bool is_shared = false;
      for (const Anchor& a : anchors_of(text)) {
        if (a.position < begin || a.position + kAnchorTokens > begin + run.size()) continue;
        if (side == 0) first.insert({a.hash, a.position - begin});
        is_shared = is_shared || first.contains({a.hash, a.position - begin});
      }
      ASSERT_TRUE(is_shared) << i;
    }
  }
}

TEST(AnchorSet, CountsWhatIsCommon) {
  std::mt19937 random(5);
  for (int i = 0; i < 300; ++i) {
    AnchorSet a(random() % 100);
    AnchorSet b(random() % (i % 3 == 0 ? 5000 : 100));
    for (auto& v : a) v = static_cast<std::uint32_t>(random() % 150);
    for (auto& v : b) v = static_cast<std::uint32_t>(random() % 150) * (i % 2 + 1);
    make_set(a);
    make_set(b);
    EXPECT_TRUE(std::is_sorted(a.begin(), a.end()));
    const std::set<std::uint32_t> x(a.begin(), a.end());
    EXPECT_EQ(x.size(), a.size());
    std::size_t expected = 0;
    for (const std::uint32_t v : b) expected += x.count(v);
    EXPECT_EQ(count_common(a, b), expected);
    EXPECT_EQ(count_common(b, a), expected);
  }
}

}  // namespace
}  // namespace tokvault
