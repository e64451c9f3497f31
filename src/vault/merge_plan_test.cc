#include "vault/merge_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace tokvault {
namespace {

constexpr std::uint64_t kMax = 1000;

MergeCandidate fresh(std::uint64_t weight) { return {weight, weight, true, false}; }
MergeCandidate merged(std::uint64_t weight) { return {weight, weight, false, false}; }
MergeCandidate divisible(std::uint64_t weight) { return {weight, weight, true, true}; }

std::vector<std::size_t> choose(const std::vector<MergeCandidate>& candidates,
                                std::uint64_t bytes_min = 0) {
  auto nothing = [](std::size_t) { return Result<Direction>(Direction()); };
  auto chosen = choose_merge(candidates, bytes_min, nothing, kMax);
  EXPECT_TRUE(chosen);
  return chosen ? *chosen : std::vector<std::size_t>();
}

using Chosen = std::vector<std::size_t>;

TEST(MergePlan, IsDueWhenWhatIsFreshIsAQuarterOfTheRest) {
  EXPECT_EQ(choose({}), Chosen());
  EXPECT_EQ(choose({fresh(10)}), Chosen());
  EXPECT_EQ(choose({merged(10), merged(10)}), Chosen());
  EXPECT_EQ(choose({divisible(10)}), Chosen({0}));
  EXPECT_EQ(choose({divisible(10)}, 11), Chosen());
  EXPECT_EQ(choose({fresh(10), fresh(10)}), Chosen({0, 1}));
  EXPECT_EQ(choose({fresh(10), fresh(10)}, 21), Chosen());
  EXPECT_EQ(choose({fresh(10), fresh(10)}, 20), Chosen({0, 1}));
  EXPECT_EQ(choose({merged(100), fresh(24)}), Chosen());
  EXPECT_EQ(choose({merged(100), fresh(25)}), Chosen({0, 1}));
  // A fifth of the largest step is enough.
  EXPECT_EQ(choose({merged(500), merged(500), fresh(199)}), Chosen());
  EXPECT_EQ(choose({merged(500), merged(400), merged(400), fresh(199)}), Chosen());
  EXPECT_EQ(choose({merged(500), merged(400), merged(400), fresh(200)}), Chosen({0, 3}));
}

TEST(MergePlan, StaysWithinItsBound) {
  // What fills half of a step stays as it is; the rest of the fresh ones waits.
  EXPECT_EQ(choose({fresh(501), fresh(300)}), Chosen());
  EXPECT_EQ(choose({fresh(400), fresh(400), fresh(400)}), Chosen({0, 1}));
  EXPECT_EQ(choose({merged(200), fresh(400), fresh(400), fresh(400)}), Chosen({0, 1, 2}));
}

TEST(MergePlan, TakesWhatIsMostLikeTheFreshOnes) {
  std::vector<MergeCandidate> candidates;
  for (int i = 0; i < 12; ++i) candidates.push_back(merged(200));
  candidates.push_back(fresh(200));
  auto direction = [](std::size_t i) {
    Direction d{};
    d[i == 12 ? 5 : i] = 127;
    return Result<Direction>(d);
  };
  auto chosen = choose_merge(candidates, 0, direction, kMax);
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->size(), 5u);
  EXPECT_NE(std::find(chosen->begin(), chosen->end(), 5u), chosen->end());
  EXPECT_EQ(chosen->back(), 12u);
  auto broken = [](std::size_t) { return Result<Direction>(Error(Errc::corrupt, "damaged")); };
  EXPECT_EQ(choose_merge(candidates, 0, broken, kMax).code(), Errc::corrupt);
}

// However long it goes on, what is rewritten is a few times what came, and little stays fresh.
TEST(MergePlan, WorkIsLinear) {
  std::vector<MergeCandidate> packs;
  std::uint64_t came = 0, work = 0;
  for (int i = 0; i < 2000; ++i) {
    packs.push_back(fresh(1 + static_cast<std::uint64_t>(i * 7 % 5)));
    came += packs.back().weight;
    const Chosen chosen = choose(packs);
    std::uint64_t sum = 0;
    for (auto it = chosen.rbegin(); it != chosen.rend(); ++it) {
      sum += packs[*it].weight;
      packs.erase(packs.begin() + static_cast<std::ptrdiff_t>(*it));
    }
    work += sum;
    EXPECT_LE(sum, kMax);
    for (; sum > 0; sum -= std::min<std::uint64_t>(sum, 50)) {
      packs.push_back(merged(std::min<std::uint64_t>(sum, 50)));
    }
    std::uint64_t waiting = 0;
    for (const MergeCandidate& c : packs) waiting += c.is_fresh ? c.weight : 0;
    EXPECT_LE(waiting, std::max<std::uint64_t>(came / 5, 5));
    EXPECT_LE(waiting, kMax / 5);
  }
  EXPECT_LE(work, 5 * came + kMax);
  EXPECT_GE(work, came / 2);
}

constexpr StepUnit fresh_part(std::uint64_t percent) { return {kStepShare / 100 * percent, false}; }
constexpr StepUnit compact_part(std::uint64_t percent) {
  return {kStepShare / 100 * percent, true};
}
using Steps = std::vector<std::vector<std::size_t>>;

// Units are alike if their numbers are the same modulo `kinds`.
Steps steps_of(const std::vector<StepUnit>& units, std::size_t kinds) {
  auto direction = [&](std::size_t i) {
    Direction d{};
    d[i % kinds] = 127;
    return Result<Direction>(d);
  };
  auto steps = choose_steps(units, direction);
  EXPECT_TRUE(steps);
  return steps ? *steps : Steps();
}

TEST(ChooseSteps, OneTakesAllThatFits) {
  EXPECT_EQ(steps_of({}, 2), Steps());
  EXPECT_EQ(steps_of({fresh_part(60), compact_part(20), fresh_part(20)}, 2), Steps({{0, 1, 2}}));
  EXPECT_EQ(steps_of({compact_part(80)}, 2), Steps({{0}}));
}

TEST(ChooseSteps, OthersTakeWhatIsAlike) {
  const std::vector<StepUnit> six(6, fresh_part(30));
  EXPECT_EQ(steps_of(six, 2), Steps({{0, 2, 4}, {1, 3, 5}}));
  EXPECT_EQ(steps_of(six, 1), Steps({{0, 1, 2}, {3, 4, 5}})) << "all alike: as they came";
  // More than one step can take, alone.
  EXPECT_EQ(steps_of({fresh_part(300), fresh_part(10), fresh_part(10)}, 1), Steps({{0}, {1, 2}}));
  auto broken = [](std::size_t) { return Result<Direction>(Error(Errc::corrupt, "damaged")); };
  EXPECT_EQ(choose_steps(six, broken).code(), Errc::corrupt);
}

TEST(ChooseSteps, WhatIsCompactIsNotMadeAgainForNothing) {
  EXPECT_EQ(steps_of({compact_part(40), compact_part(40), compact_part(40)}, 1),
            Steps({{0}, {1}, {2}}));
  // Half of a step, and what is like nothing new.
  EXPECT_EQ(steps_of({compact_part(60), compact_part(40), compact_part(40), compact_part(60),
                      compact_part(60), fresh_part(40)},
                     2),
            Steps({{0}, {1, 5}, {2}, {3}, {4}}));
}

TEST(ChooseSteps, EachUnitIsInOneOfBoundedSize) {
  std::vector<StepUnit> units;
  for (std::uint64_t i = 0; i < 500; ++i) {
    units.push_back({kStepShare / 1000 * (1 + i * 37 % 150), i % 7 == 0});
  }
  std::vector<int> seen(units.size());
  for (const auto& step : steps_of(units, 13)) {
    std::uint64_t share = 0;
    for (const std::size_t i : step) {
      ++seen[i];
      share += units[i].share;
    }
    EXPECT_LE(share, kStepShare);
    EXPECT_TRUE(std::is_sorted(step.begin(), step.end()));
  }
  EXPECT_EQ(seen, std::vector<int>(units.size(), 1));
}

}  // namespace
}  // namespace tokvault
