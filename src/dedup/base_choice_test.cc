#include "dedup/base_choice.h"

#include <gtest/gtest.h>

#include <random>

namespace tokvault {
namespace {

constexpr BaseLimits kLimits{.bases_max = 2, .bytes_max = 3000, .anchors_max = 100'000};

class BaseChoice : public testing::Test {
 protected:
  std::vector<Token> text(std::size_t tokens) {
    std::vector<Token> out;
    for (std::size_t i = 0; i < tokens; ++i) out.push_back(random_() % 10'000);
    return out;
  }
  // The next segment, in a block of its own or in the dictionary.
  void add(const std::vector<Token>& tokens, bool in_dictionary = false,
           std::uint32_t size = 1000) {
    segments_.add(tokens, size);
    in_dictionary_.push_back(in_dictionary);
    if (!in_dictionary) block_segments_.push_back(1);
  }
  std::vector<std::vector<std::uint32_t>> choose(const BaseLimits& limits = kLimits) const {
    return choose_bases(segments_, in_dictionary_, block_segments_, limits);
  }

  std::mt19937 random_{5};
  DictionaryChoice segments_{1000};
  std::vector<bool> in_dictionary_;
  std::vector<std::uint32_t> block_segments_;
};

using Bases = std::vector<std::vector<std::uint32_t>>;

std::vector<Token> joined(std::vector<Token> a, const std::vector<Token>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_F(BaseChoice, AnEarlierSegmentThatIsAlikeAndNoCopyItself) {
  const auto first = text(400);
  add(text(400));
  add(first);
  add(joined(first, text(30)));
  add(joined(text(40), first));  // of the first again, since the second has a base
  EXPECT_EQ(choose(), (Bases{{}, {}, {1}, {1}}));
}

TEST_F(BaseChoice, NotWhereTheDictionaryHoldsMore) {
  const auto held = text(300);
  const auto other = text(100);
  add(held, true);
  add(other);
  add(joined(held, other));
  EXPECT_EQ(choose(), (Bases{{}, {}}));
  add(joined(other, text(20)));
  EXPECT_EQ(choose(), (Bases{{}, {}, {1}}));
}

TEST_F(BaseChoice, SeveralAsLongAsTheyAddSomethingAndFit) {
  const auto a = text(200), b = text(150), c = text(100);
  add(a);
  add(b);
  add(c);
  add(joined(joined(c, b), a));
  EXPECT_EQ(choose(), (Bases{{}, {}, {}, {0, 1}}));
  EXPECT_EQ(choose({.bases_max = 8, .bytes_max = 3000, .anchors_max = 100'000}),
            (Bases{{}, {}, {}, {0, 1, 2}}));
  EXPECT_EQ(choose({.bases_max = 8, .bytes_max = 1999, .anchors_max = 100'000}),
            (Bases{{}, {}, {}, {0}}));
  EXPECT_EQ(choose({.bases_max = 8, .bytes_max = 3000, .anchors_max = 0}), (Bases{{}, {}, {}, {}}));
}

TEST_F(BaseChoice, SegmentsOfOneBlockBelongTogether) {
  const auto a = text(200), b = text(200);
  add(a);
  add(b);
  block_segments_ = {2};
  add(joined(b, a));
  EXPECT_EQ(choose(), (Bases{{}, {0, 1}}));
}

}  // namespace
}  // namespace tokvault
