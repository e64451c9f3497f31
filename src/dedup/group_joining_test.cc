#include "dedup/group_joining.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace tokvault {
namespace {

// The numbers from `first` to `last`, as anchors.
AnchorSet numbers(std::uint32_t first, std::uint32_t last) {
  AnchorSet out(last - first + 1);
  std::iota(out.begin(), out.end(), first);
  return out;
}

using Joined = std::vector<std::uint32_t>;

TEST(GroupJoining, GroupsThatShareEnoughComeTogether) {
  const std::vector<AnchoredGroup> groups{{numbers(1, 100), 10},
                                          {numbers(200, 300), 10},
                                          {numbers(91, 190), 10},
                                          {numbers(281, 300), 10}};
  EXPECT_EQ(join_groups(groups, 0.1, 100), (Joined{0, 1, 0, 1}));
  EXPECT_EQ(join_groups(groups, 0.11, 100), (Joined{0, 1, 2, 1})) << "10 of 100 are too few";
  EXPECT_EQ(join_groups(groups, 1.01, 100), (Joined{0, 1, 2, 3}));
  EXPECT_EQ(join_groups(groups, 0, 100), (Joined{0, 1, 0, 1})) << "not without any";
  EXPECT_TRUE(join_groups({}, 0.1, 100).empty());
}

TEST(GroupJoining, WhatIsJoinedCountsAsOne) {
  // A fifth of the last one is in each of two that share much, two fifths in both together.
  const std::vector<AnchoredGroup> groups{
      {numbers(1, 100), 10}, {numbers(51, 150), 10}, {numbers(900, 960), 10}, [] {
        AnchoredGroup g{numbers(1, 20), 10};
        const AnchorSet more = numbers(131, 150), own = numbers(500, 559);
        g.anchors.insert(g.anchors.end(), more.begin(), more.end());
        g.anchors.insert(g.anchors.end(), own.begin(), own.end());
        return g;
      }()};
  EXPECT_EQ(join_groups(groups, 0.3, 100), (Joined{0, 0, 2, 0}));
  EXPECT_EQ(join_groups(groups, 0.45, 100), (Joined{0, 0, 2, 3}));
}

TEST(GroupJoining, ThePairThatSharesMostGoesFirstAndNothingBecomesTooHeavy) {
  const std::vector<AnchoredGroup> groups{{numbers(1, 100), 10},
                                          {numbers(81, 180), 10},
                                          {numbers(121, 220), 10},
                                          {numbers(1, 100), 31}};
  EXPECT_EQ(join_groups(groups, 0.1, 30), (Joined{0, 0, 0, 3}));
  EXPECT_EQ(join_groups(groups, 0.1, 20), (Joined{0, 1, 1, 3}));
  EXPECT_EQ(join_groups(groups, 0.1, 19), (Joined{0, 1, 2, 3}));
  EXPECT_EQ(join_groups(groups, 0.1, 61), (Joined{0, 0, 0, 0}));
}

// Whatever comes: a group is in one of those that it is said to be in, and none is too heavy.
TEST(GroupJoining, RandomGroupsKeepTheirLimit) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<AnchoredGroup> groups(random() % 12);
    for (AnchoredGroup& g : groups) {
      for (std::size_t i = random() % 60; i > 0; --i) g.anchors.push_back(random() % 100);
      make_set(g.anchors);
      g.weight = 1 + random() % 40;
    }
    const Joined joined = join_groups(groups, 0.2, 70);
    ASSERT_EQ(joined.size(), groups.size());
    std::vector<std::uint64_t> weights(groups.size());
    for (std::size_t i = 0; i < joined.size(); ++i) {
      ASSERT_LE(joined[i], i);
      EXPECT_EQ(joined[joined[i]], joined[i]);
      weights[joined[i]] += groups[i].weight;
    }
    for (const std::uint64_t w : weights) EXPECT_LE(w, 70u);
  }
}

}  // namespace
}  // namespace tokvault
