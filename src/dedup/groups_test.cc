#include "dedup/groups.h"

#include <gtest/gtest.h>

#include <random>

namespace tokvault {
namespace {

std::vector<Token> random_tokens(std::mt19937& random, std::size_t count) {
  std::vector<Token> tokens(count);
  for (Token& token : tokens) token = static_cast<Token>(random() % 100'000);
  return tokens;
}

AnchorSet anchors_of(const std::vector<Token>& tokens) {
  std::vector<Anchor> anchors;
  find_anchors(tokens, anchors);
  AnchorSet set;
  for (const Anchor& a : anchors) set.push_back(a.hash);
  make_set(set);
  return set;
}

// 40 families of 1 to 10 texts each that differ in two places.
struct Families {
  std::vector<std::vector<Token>> texts;
  std::vector<int> family;
  explicit Families(unsigned seed) {
    std::mt19937 random(seed);
    for (int f = 0; f < 40; ++f) {
      const auto text = random_tokens(random, 200);
      for (std::size_t i = random() % 10 + 1; i > 0; --i) {
        texts.push_back(text);
        texts.back()[50] = static_cast<Token>(random() % 100'000);
        texts.back()[150] = static_cast<Token>(random() % 100'000);
        family.push_back(f);
      }
    }
    // Not family by family.
    for (std::size_t i = texts.size() - 1; i > 0; --i) {
      const std::size_t j = random() % (i + 1);
      std::swap(texts[i], texts[j]);
      std::swap(family[i], family[j]);
    }
  }
};

void expect_families(const Families& families, const std::vector<Placement>& placements) {
  ASSERT_EQ(placements.size(), families.texts.size());
  std::vector<int> seen(40, -1);
  for (std::size_t i = 0; i < placements.size(); ++i) {
    const auto r = placements[i].representative;
    EXPECT_EQ(placements[r].representative, r);
    EXPECT_EQ(families.family[i], families.family[r]);
    int& known = seen[static_cast<std::size_t>(families.family[i])];
    if (known < 0) known = static_cast<int>(r);
    EXPECT_EQ(known, static_cast<int>(r)) << "a family in two groups";
  }
}

TEST(Groups, MinHashFindsFamilies) {
  const Families families(1);
  MinHashGroups groups(0.85, 16u << 20);
  for (const auto& text : families.texts) ASSERT_TRUE(groups.add(MinHash::of(text)));
  const auto placements = groups.finish();
  expect_families(families, placements);
  for (std::size_t i = 0; i < placements.size(); ++i) {
    const auto r = placements[i].representative;
    EXPECT_LE(r, i) << "the first represents";
    EXPECT_NEAR(placements[i].similarity,
                MinHash::of(families.texts[i]).jaccard(MinHash::of(families.texts[r])), 0.01);
    EXPECT_GE(placements[i].similarity, 0.85f);
  }
}

TEST(Groups, AnchorsFindFamilies) {
  const Families families(2);
  AnchorGroups groups(0.6, 16u << 20);
  for (const auto& text : families.texts) ASSERT_TRUE(groups.add(anchors_of(text)));
  const auto placements = groups.finish();
  EXPECT_EQ(groups.halvings(), 0u);
  expect_families(families, placements);
  for (std::size_t i = 0; i < placements.size(); ++i) {
    const AnchorSet a = anchors_of(families.texts[i]);
    const AnchorSet r = anchors_of(families.texts[placements[i].representative]);
    EXPECT_GE(r.size(), a.size());
    EXPECT_FLOAT_EQ(placements[i].similarity,
                    static_cast<float>(count_common(a, r)) / static_cast<float>(a.size()));
  }
}

// The prefix filter loses nothing: with few items every one that is contained is found.
TEST(Groups, AnchorsFindAllThatIsContained) {
  std::mt19937 random(3);
  std::vector<AnchorSet> sets;
  AnchorGroups groups(0.7, 16u << 20);
  for (int i = 0; i < 60; ++i) {
    AnchorSet set(1 + random() % 90);
    for (auto& hash : set) hash = static_cast<std::uint32_t>(random() % 90);
    make_set(set);
    sets.push_back(set);
    ASSERT_TRUE(groups.add(set));
  }
  const auto placements = groups.finish();
  const auto part = [&](std::size_t i, std::size_t r) {
    return static_cast<double>(count_common(sets[i], sets[r])) /
           static_cast<double>(sets[i].size());
  };
  int joined = 0;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    const std::size_t r = placements[i].representative;
    if (r != i) ++joined;
    if (r != i) {
      EXPECT_GE(part(i, r), 0.7);
    }
    for (std::size_t other = 0; other < sets.size(); ++other) {
      // Those that came before it as representatives.
      const bool is_before = sets[other].size() > sets[i].size() ||
                             (sets[other].size() == sets[i].size() && other < i);
      if (placements[other].representative != other || !is_before) continue;
      if (r == i) {
        EXPECT_LT(part(i, other), 0.7) << i << " in " << other;
      }
      if (r != i) {
        EXPECT_LE(part(i, other), placements[i].similarity + 1e-6);
      }
    }
  }
  EXPECT_GE(joined, 10);
}

TEST(Groups, ALongerOneRepresentsItsBeginnings) {
  std::mt19937 random(4);
  const auto whole = random_tokens(random, 2000);
  AnchorGroups groups(0.85, 16u << 20);
  for (std::size_t count : {200u, 700u, 2000u, 1300u}) {
    ASSERT_TRUE(groups.add(anchors_of({whole.begin(), whole.begin() + count})));
  }
  for (const Placement& p : groups.finish()) EXPECT_EQ(p.representative, 2u);
}

TEST(Groups, EmptyItemsStayAlone) {
  AnchorGroups groups(0.85, 1u << 20);
  ASSERT_TRUE(groups.add({}));
  ASSERT_TRUE(groups.add({}));
  ASSERT_TRUE(groups.add({5}));
  const auto placements = groups.finish();
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(placements[i].representative, i);
}

TEST(Groups, LittleMemoryMakesASample) {
  std::mt19937 random(5);
  AnchorGroups groups(0.85, 256u << 10);
  std::vector<std::vector<Token>> texts;
  for (int i = 0; i < 40; ++i) texts.push_back(random_tokens(random, 2000));
  for (int round = 0; round < 2; ++round) {
    for (const auto& text : texts) ASSERT_TRUE(groups.add(anchors_of(text)));
  }
  EXPECT_GT(groups.halvings(), 0u);
  const auto placements = groups.finish();
  for (std::uint32_t i = 0; i < 40; ++i) {
    EXPECT_EQ(placements[i].representative, i);
    EXPECT_EQ(placements[40 + i].representative, i);
  }
}

TEST(Groups, AreExhaustedAndSaySo) {
  MinHashGroups by_minhash(0.85, 600u << 10);
  AnchorGroups by_anchors(0.85, 64u << 10);
  std::mt19937 random(6);
  Status first;
  Status second;
  for (int i = 0; i < 5000; ++i) {
    const auto tokens = random_tokens(random, 20);
    if (first) first = by_minhash.add(MinHash::of(tokens));
    if (second) second = by_anchors.add(anchors_of(tokens));
  }
  EXPECT_EQ(first.code(), Errc::exhausted);
  EXPECT_EQ(second.code(), Errc::exhausted);
}

}  // namespace
}  // namespace tokvault
