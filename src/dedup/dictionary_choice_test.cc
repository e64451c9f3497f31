#include "dedup/dictionary_choice.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace tokvault {
namespace {

std::vector<Token> random_tokens(std::mt19937& random, std::size_t count) {
  std::vector<Token> tokens(count);
  for (Token& t : tokens) t = random() % 50'000;
  return tokens;
}

std::uint64_t taken(const std::vector<bool>& chosen, const std::vector<std::uint32_t>& sizes) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) sum += chosen[i] ? sizes[i] : 0;
  return sum;
}

TEST(DictionaryChoice, TakesEveryPassageThatRepeatsOnceAndBeforeWhatDoesNot) {
  constexpr std::size_t kPassages = 5;
  std::mt19937 random(1);
  std::vector<std::vector<Token>> passages;
  for (std::size_t i = 0; i < kPassages; ++i) passages.push_back(random_tokens(random, 80));
  DictionaryChoice choice(100'000);
  std::vector<std::uint32_t> sizes;
  std::vector<std::size_t> passage_of;
  for (std::size_t i = 0; i < 400; ++i) {
    std::vector<Token> tokens = random_tokens(random, 40);
    passage_of.push_back(i % 8 < kPassages ? i % 8 : kPassages);
    if (passage_of.back() < kPassages) {
      const auto& passage = passages[passage_of.back()];
      tokens.insert(tokens.begin() + static_cast<std::ptrdiff_t>(random() % 40), passage.begin(),
                    passage.end());
    }
    sizes.push_back(static_cast<std::uint32_t>(2 * tokens.size()));
    choice.add(tokens, sizes.back());
  }
  // Room for the passages, and for a few more.
  const std::vector<bool> chosen = choice.choose(8 * 240, 1000);
  std::vector<std::size_t> times(kPassages + 1);
  for (std::size_t i = 0; i < chosen.size(); ++i) times[passage_of[i]] += chosen[i] ? 1 : 0;
  for (std::size_t i = 0; i < kPassages; ++i) EXPECT_GE(times[i], 1u) << i;
  EXPECT_LE(taken(chosen, sizes), 8u * 240);

  // Room for one.
  const std::vector<bool> one = choice.choose(240, 1000);
  std::fill(times.begin(), times.end(), 0);
  for (std::size_t i = 0; i < one.size(); ++i) times[passage_of[i]] += one[i] ? 1 : 0;
  EXPECT_EQ(times[kPassages], 0u);
  EXPECT_EQ(std::accumulate(times.begin(), times.end(), std::size_t{0}), 1u);
}

TEST(DictionaryChoice, TakesAnEvenSampleOfWhatDoesNotRepeat) {
  std::mt19937 random(2);
  DictionaryChoice choice(1'000'000);
  std::vector<std::uint32_t> sizes;
  for (std::size_t i = 0; i < 3000; ++i) {
    const auto tokens = random_tokens(random, 1 + random() % 200);
    sizes.push_back(static_cast<std::uint32_t>(2 * tokens.size()));
    choice.add(tokens, sizes.back());
  }
  const std::uint64_t budget = 60'000;
  const auto chosen = choice.choose(budget, 300);
  for (std::size_t third = 0; third < 3; ++third) {
    std::uint64_t sum = 0;
    for (std::size_t i = third * 1000; i < third * 1000 + 1000; ++i) {
      if (!chosen[i]) continue;
      EXPECT_LE(sizes[i], 300u);
      sum += sizes[i];
    }
    EXPECT_GT(sum, budget / 4) << third;
    EXPECT_LT(sum, budget / 2) << third;
  }
  EXPECT_LE(taken(chosen, sizes), budget);
}

TEST(DictionaryChoice, KeepsToTheBudgetWhateverComes) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    DictionaryChoice choice(round % 2 == 0 ? 1000 : 10'000'000);
    std::vector<std::uint32_t> sizes;
    const auto common = random_tokens(random, 50);
    for (std::size_t i = random() % 60; i > 0; --i) {
      auto tokens = random_tokens(random, random() % 60);
      if (random() % 2 == 0) tokens.insert(tokens.end(), common.begin(), common.end());
      sizes.push_back(static_cast<std::uint32_t>(random() % 400));
      choice.add(tokens, sizes.back());
    }
    const std::uint64_t budget = random() % 5000;
    const auto size_max = static_cast<std::uint32_t>(random() % 500);
    const auto chosen = choice.choose(budget, size_max);
    ASSERT_EQ(chosen.size(), sizes.size());
    EXPECT_LE(taken(chosen, sizes), budget);
    for (std::size_t i = 0; i < sizes.size(); ++i) EXPECT_TRUE(!chosen[i] || sizes[i] <= size_max);
    EXPECT_EQ(choice.choose(budget, size_max), chosen);
  }
}

}  // namespace
}  // namespace tokvault
