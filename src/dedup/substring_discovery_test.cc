#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "tokvault/substrings.h"

namespace tokvault {
namespace {

using Random = std::mt19937_64;
using Tokens = std::vector<Token>;

struct Segment {
  Tokens tokens;
  std::vector<std::uint64_t> conversations;
};

TrainingSource source_of(const std::vector<Segment>& segments) {
  return [&segments](const auto& visit) -> Status {
    for (const Segment& s : segments) TOKVAULT_TRY(visit({s.tokens, s.conversations, 0}));
    return {};
  };
}

Tokens noise(Random& random, std::size_t count) {
  Tokens out(count);
  for (Token& t : out) t = static_cast<Token>(random() % 100'000);
  return out;
}

Tokens joined(std::initializer_list<Tokens> parts) {
  Tokens out;
  for (const Tokens& p : parts) out.insert(out.end(), p.begin(), p.end());
  return out;
}

SubstringTraining small_options() {
  SubstringTraining options;
  options.memory_bytes = 4u << 20;
  return options;
}

std::set<Tokens> runs_of(const std::vector<FoundSubstring>& found) {
  std::set<Tokens> out;
  for (const FoundSubstring& f : found) out.insert(f.tokens);
  return out;
}

TEST(FindSubstrings, RunsAreFoundWholeAndExactly) {
  Random random(1);
  for (const std::size_t size : {16u, 17u, 24u, 100u, 1000u}) {
    const Tokens run = noise(random, size), other = noise(random, size + 3);
    std::vector<Segment> segments;
    for (std::uint64_t i = 0; i < 40; ++i) {
      segments.push_back(
          {joined({noise(random, random() % 50), i % 2 ? run : other, noise(random, random() % 50),
                   i % 4 ? run : Tokens(), noise(random, random() % 50)}),
           {i}});
    }
    auto found = find_substrings(source_of(segments), small_options());
    ASSERT_TRUE(found);
    EXPECT_EQ(runs_of(*found), (std::set<Tokens>{run, other})) << size;
    for (const FoundSubstring& f : *found) {
      EXPECT_EQ(f.uses, f.tokens == run ? 50u : 20u);
      EXPECT_EQ(f.segments, f.tokens == run ? 30u : 20u);
      EXPECT_GE(f.conversations, 4u);
      const double run_bytes = static_cast<double>(f.tokens.size());
      EXPECT_DOUBLE_EQ(f.saved_bytes, static_cast<double>(f.uses) * (run_bytes - 3) - run_bytes);
    }
  }
}

// What is shared must be nobody's own: text of one user may be in many of his segments.
TEST(FindSubstrings, OnlyWhatFourConversationsHold) {
  Random random(2);
  const Tokens own = noise(random, 60), three = noise(random, 60), four = noise(random, 60);
  std::vector<Segment> segments;
  for (std::uint64_t i = 0; i < 60; ++i) {
    segments.push_back({joined({noise(random, 20), own, noise(random, 20)}), {1000}});
    segments.push_back({joined({noise(random, 20), three, noise(random, 20)}), {i % 3}});
    segments.push_back({joined({noise(random, 20), four, noise(random, 20)}), {i % 4}});
  }
  auto found = find_substrings(source_of(segments), small_options());
  ASSERT_TRUE(found);
  EXPECT_EQ(runs_of(*found), std::set<Tokens>{four});
  EXPECT_EQ((*found)[0].conversations, 4u);
  SubstringTraining options = small_options();
  options.conversations_min = 5;
  found = find_substrings(source_of(segments), options);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->empty());
  options.conversations_min = 1;
  found = find_substrings(source_of(segments), options);
  ASSERT_TRUE(found);
  EXPECT_EQ(runs_of(*found), (std::set<Tokens>{own, three, four}));
}

// A run whose parts are each in four conversations, while all of it is in one.
TEST(FindSubstrings, NoRunIsPutTogetherFromParts) {
  Random random(3);
  const Tokens a = noise(random, 40), b = noise(random, 40);
  const Tokens middle = joined({Tokens(a.end() - 20, a.end()), Tokens(b.begin(), b.begin() + 20)});
  std::vector<Segment> segments;
  for (std::uint64_t i = 0; i < 12; ++i) {
    segments.push_back({joined({noise(random, 20), a, noise(random, 20)}), {i}});
    segments.push_back({joined({noise(random, 20), b, noise(random, 20)}), {100 + i}});
    segments.push_back({joined({noise(random, 20), middle, noise(random, 20)}), {200 + i}});
  }
  for (int i = 0; i < 4; ++i) segments.push_back({joined({a, b}), {999}});
  auto found = find_substrings(source_of(segments), small_options());
  ASSERT_TRUE(found);
  const Tokens secret = joined({a, b});
  for (const FoundSubstring& f : *found) {
    std::set<std::uint64_t> holders;
    for (const Segment& s : segments) {
      if (std::search(s.tokens.begin(), s.tokens.end(), f.tokens.begin(), f.tokens.end()) !=
          s.tokens.end()) {
        holders.insert(s.conversations.begin(), s.conversations.end());
      }
    }
    EXPECT_GE(holders.size(), 4u);
    EXPECT_LT(f.tokens.size(), secret.size());
  }
}

TEST(FindSubstrings, WhatAFewGoOnWithIsNotStoredWithWhatAllUse) {
  Random random(4);
  const Tokens all = noise(random, 50), few = noise(random, 50);
  std::vector<Segment> segments;
  for (std::uint64_t i = 0; i < 400; ++i) {
    segments.push_back(
        {joined({noise(random, 30), all, i % 50 == 0 ? few : Tokens(), noise(random, 30)}), {i}});
  }
  auto found = find_substrings(source_of(segments), small_options());
  ASSERT_TRUE(found);
  EXPECT_EQ(runs_of(*found), (std::set<Tokens>{all, few}));
}

TEST(FindSubstrings, RandomCorporaGiveRunsThatAreWhatTheySay) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Random random(seed);
    std::vector<Tokens> pieces;
    for (int i = 0; i < 30; ++i) pieces.push_back(noise(random, 1 + random() % 80));
    std::vector<Segment> segments;
    for (int i = 0; i < 300; ++i) {
      Segment s;
      for (int j = 0; j < 6; ++j) {
        const Tokens& p = pieces[random() % pieces.size()];
        const std::size_t from = random() % p.size();
        s.tokens.insert(s.tokens.end(), p.begin() + static_cast<std::ptrdiff_t>(from), p.end());
      }
      s.conversations = {random() % 20};
      segments.push_back(std::move(s));
    }
    SubstringTraining options = small_options();
    options.memory_bytes = 1u << 20;
    options.run_tokens_max = 64;
    options.tokens_max = 1000;
    auto found = find_substrings(source_of(segments), options);
    ASSERT_TRUE(found);
    EXPECT_FALSE(found->empty());
    std::size_t total = 0;
    for (const FoundSubstring& f : *found) {
      total += f.tokens.size();
      EXPECT_GE(f.tokens.size(), kSubstringTokensMin);
      EXPECT_LE(f.tokens.size(), 64u);
      std::set<std::uint64_t> holders;
      std::uint64_t in = 0;
      for (const Segment& s : segments) {
        if (std::search(s.tokens.begin(), s.tokens.end(), f.tokens.begin(), f.tokens.end()) !=
            s.tokens.end()) {
          holders.insert(s.conversations.begin(), s.conversations.end());
          ++in;
        }
      }
      EXPECT_GE(holders.size(), 4u);
      EXPECT_GE(in, f.segments);  // a longer run may stand in its place
      EXPECT_GE(f.saved_bytes, 0);
    }
    EXPECT_LE(total, options.tokens_max);
    auto again = find_substrings(source_of(segments), options);
    ASSERT_TRUE(again);
    EXPECT_EQ(runs_of(*again), runs_of(*found));
  }
}

TEST(FindSubstrings, ErrorsAndOptionsArePassedOn) {
  const TrainingSource broken = [](const auto&) -> Status {
    return Error(Errc::cancelled, "stop");
  };
  EXPECT_EQ(find_substrings(broken, small_options()).code(), Errc::cancelled);
  const std::vector<Segment> none;
  auto found = find_substrings(source_of(none), small_options());
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->empty());
  SubstringTraining options = small_options();
  options.memory_bytes = 1000;
  EXPECT_EQ(find_substrings(source_of(none), options).code(), Errc::invalid);
  options = small_options();
  options.run_tokens_max = 15;
  EXPECT_EQ(find_substrings(source_of(none), options).code(), Errc::invalid);
}

}  // namespace
}  // namespace tokvault
