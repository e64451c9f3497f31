#include "dedup/anchor_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "dedup/anchors.h"

namespace tokvault {
namespace {

using Candidate = AnchorIndex::Candidate;

TEST(AnchorIndex, CountsWhatIsShared) {
  std::mt19937 random(1);
  AnchorIndex index(10'000);
  std::vector<AnchorSet> sets;
  for (std::uint32_t item = 0; item < 40; ++item) {
    AnchorSet set(random() % 50);
    for (auto& hash : set) hash = static_cast<std::uint32_t>(random() % 100) * 0x10001u;
    make_set(set);
    const auto found = index.find(set);
    std::size_t expected = 0;
    for (const AnchorSet& other : sets) expected += count_common(set, other) > 0 ? 1 : 0;
    EXPECT_EQ(found.size(), expected);
    AnchorSet all;
    for (const AnchorSet& other : sets) all.insert(all.end(), other.begin(), other.end());
    make_set(all);
    EXPECT_EQ(index.count_known(set), count_common(set, all));
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].votes, count_common(set, sets[found[i].item]));
      EXPECT_TRUE(i == 0 || found[i - 1].votes >= found[i].votes);
    }
    ASSERT_TRUE(index.insert(item, set));
    sets.push_back(set);
  }
}

TEST(AnchorIndex, LooksUpTheRarest) {
  AnchorIndex index(100);
  ASSERT_TRUE(index.insert(1, AnchorSet{10, 20}));
  ASSERT_TRUE(index.insert(2, AnchorSet{10}));
  ASSERT_TRUE(index.insert(3, AnchorSet{10, 20, 30}));
  const AnchorSet all = {10, 20, 30, 40};
  const auto found = [&](std::size_t probes) {
    const auto span = index.find(all, probes);
    return std::vector<Candidate>(span.begin(), span.end());
  };
  EXPECT_EQ(found(0), (std::vector<Candidate>{}));
  EXPECT_EQ(found(1), (std::vector<Candidate>{}));  // nobody has 40
  EXPECT_EQ(found(2), (std::vector<Candidate>{{3, 1}}));
  EXPECT_EQ(found(3), (std::vector<Candidate>{{3, 2}, {1, 1}}));
  EXPECT_EQ(found(4), (std::vector<Candidate>{{3, 3}, {1, 2}, {2, 1}}));
  EXPECT_EQ(found(99), found(4));
  EXPECT_TRUE(index.find({}).empty());
}

TEST(AnchorIndex, IsBounded) {
  AnchorIndex index(5);
  EXPECT_TRUE(index.insert(1, AnchorSet{1, 2, 3}));
  EXPECT_FALSE(index.insert(2, AnchorSet{1, 2, 3}));
  EXPECT_EQ(index.find(AnchorSet{1}).size(), 1u);
  EXPECT_TRUE(index.insert(3, AnchorSet{4, 5}));
  AnchorIndex none(0);
  EXPECT_FALSE(none.insert(1, AnchorSet{1}));
  EXPECT_TRUE(none.find(AnchorSet{1}).empty());
  // Of what everybody has, a bounded number is looked at and given.
  AnchorIndex many(1000);
  for (std::uint32_t item = 0; item < 1000; ++item) ASSERT_TRUE(many.insert(item, AnchorSet{7}));
  const auto found = many.find(AnchorSet{7});
  ASSERT_EQ(found.size(), 64u);
  EXPECT_EQ(found[0].item, 744u);  // the lowest of the last 256
}

}  // namespace
}  // namespace tokvault
