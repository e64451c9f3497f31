#include "dedup/grouping.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace tokvault {
namespace {

// Conversations of `kinds` sorts, each of which has words of its own beside those of all.
std::vector<GroupItem> items_of(std::size_t kinds, std::size_t count, std::uint64_t weight) {
  std::mt19937 random(5);
  std::vector<GroupItem> items;
  for (std::size_t i = 0; i < count; ++i) {
    DirectionSum sum;
    for (int segment = 0; segment < 4; ++segment) {
      std::vector<Token> tokens;
      for (int k = 0; k < 200; ++k) {
        const Token own = static_cast<Token>(1000 * (i % kinds + 1) + random() % 50);
        tokens.push_back(random() % 4 == 0 ? static_cast<Token>(random() % 30) : own);
      }
      sum.add(direction_of_tokens(tokens), tokens.size());
    }
    items.push_back({sum.direction(), weight});
  }
  return items;
}

TEST(Grouping, WhatIsAlikeComesTogether) {
  constexpr std::size_t kKinds = 5;
  const auto items = items_of(kKinds, 500, 10);
  const auto groups = group_similar(items, 1000);
  ASSERT_EQ(groups.size(), kKinds);
  for (const auto& group : groups) {
    ASSERT_EQ(group.size(), 100u);
    for (const std::uint32_t i : group) EXPECT_EQ(i % kKinds, group.front() % kKinds);
  }
}

TEST(Grouping, EveryItemIsInOneGroupOfBoundedWeight) {
  for (const std::uint64_t limit : {1u, 25u, 90u, 5000u}) {
    for (std::size_t count : {0u, 1u, 2u, 333u}) {
      auto items = items_of(3, count, 0);
      for (std::size_t i = 0; i < count; ++i) items[i].weight = i % 40;
      const auto groups = group_similar(items, limit);
      std::vector<std::uint32_t> all;
      for (const auto& group : groups) {
        std::uint64_t weight = 0;
        for (const std::uint32_t i : group) weight += items[i].weight;
        EXPECT_TRUE(weight <= limit || group.size() == 1) << weight << " > " << limit;
        EXPECT_TRUE(std::is_sorted(group.begin(), group.end()));
        all.insert(all.end(), group.begin(), group.end());
      }
      std::sort(all.begin(), all.end());
      ASSERT_EQ(all.size(), count);
      for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(all[i], i);
    }
  }
}

TEST(Grouping, WhatCannotBeToldApartIsHalved) {
  const std::vector<GroupItem> items(1000, GroupItem{{}, 1});
  const auto groups = group_similar(items, 300);
  EXPECT_GE(groups.size(), 4u);
  EXPECT_LE(groups.size(), 8u);
}

TEST(Grouping, DirectionsAreOfWhatIsThere) {
  auto product = [](const Direction& a, const Direction& b) {
    int sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += int{a[i]} * int{b[i]};
    return sum / (127.0 * 127.0);
  };
  EXPECT_EQ(direction_of_tokens({}), Direction{});
  const Direction text = direction_of_bytes("what was measured in the harbour, and by whom");
  EXPECT_NEAR(product(text, text), 1, 0.05);
  EXPECT_GT(product(text, direction_of_bytes("in the harbour was measured by whom, and what")),
            0.9);
  EXPECT_LT(product(text, direction_of_bytes("{\"A\":[17,22,0],\"B\":[]}")), 0.6);
}

}  // namespace
}  // namespace tokvault
