#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tokvault/dedup.h"

namespace tokvault {
namespace {

// Some tokens of one of a few texts changed.
MinHash variant(std::mt19937& random, std::size_t edits_max) {
  std::mt19937 text(static_cast<unsigned>(random() % 5));
  std::vector<Token> tokens(100);
  for (Token& token : tokens) token = static_cast<Token>(text() % 1000);
  for (std::size_t edits = random() % (edits_max + 1); edits > 0; --edits) {
    tokens[random() % tokens.size()] = static_cast<Token>(random() % 1'000'000);
  }
  return MinHash::of(tokens);
}

bool shares_a_band(const MinHash& a, const MinHash& b) {
  for (std::size_t i = 0; i < MinHash::kBands; ++i) {
    if (a.band_hash(i) == b.band_hash(i)) return true;
  }
  return false;
}

TEST(LshIndex, FindsWhatAModelFinds) {
  std::mt19937 random(1);
  LshIndex index;
  std::map<std::uint64_t, MinHash> model;
  for (int step = 0; step < 4000; ++step) {
    const std::uint64_t key = random() % 1500;
    if (random() % 3 == 0) {
      EXPECT_EQ(index.remove(key).has_value(), model.erase(key) == 1);
    } else {
      const MinHash signature = variant(random, 30);
      EXPECT_EQ(index.insert(key, signature).has_value(), model.emplace(key, signature).second);
    }
    ASSERT_EQ(index.size(), model.size());
    if (step % 40 != 0) continue;
    const MinHash wanted = variant(random, 30);
    for (double threshold : {0.0, 0.5, 0.85}) {
      std::map<std::uint64_t, double> expected;
      for (const auto& [k, signature] : model) {
        const double similarity = signature.jaccard(wanted);
        if (similarity >= threshold && shares_a_band(signature, wanted)) expected[k] = similarity;
      }
      const auto matches = index.query(wanted, threshold);
      ASSERT_EQ(matches.size(), expected.size()) << "step " << step;
      for (std::size_t i = 0; i < matches.size(); ++i) {
        // 16 bits of a value may agree by chance.
        EXPECT_NEAR(matches[i].similarity, expected.at(matches[i].key), 1.0 / 128);
        if (i > 0) {
          EXPECT_LE(matches[i].similarity, matches[i - 1].similarity);
        }
      }
    }
  }
  EXPECT_GT(index.memory_bytes(), index.size() * 400);
}

TEST(LshIndex, TellsWhatIsWrong) {
  LshIndex index;
  const MinHash signature = MinHash::of(std::vector<Token>{1, 2, 3});
  EXPECT_TRUE(index.query(signature).empty());
  EXPECT_EQ(index.remove(7).code(), Errc::not_found);
  ASSERT_TRUE(index.insert(7, signature));
  EXPECT_EQ(index.insert(7, signature).code(), Errc::exists);
  ASSERT_EQ(index.query(signature).size(), 1u);
  EXPECT_EQ(index.query(signature)[0], (LshIndex::Match{7, 1.0}));
}

TEST(LshIndex, IsBounded) {
  std::mt19937 random(2);
  LshOptions options;
  options.memory_bytes_max = 2u << 20;
  LshIndex index(options);
  std::uint64_t key = 0;
  Status status;
  do {
    std::vector<Token> tokens(20);
    for (Token& token : tokens) token = static_cast<Token>(random());
    status = index.insert(key, MinHash::of(tokens));
    if (status) ++key;
    ASSERT_LE(index.memory_bytes(), options.memory_bytes_max);
    ASSERT_LT(key, 10'000u);
  } while (status);
  EXPECT_EQ(status.code(), Errc::exhausted);
  EXPECT_GT(key, 2'000u);
  EXPECT_EQ(index.size(), key);
  // What goes makes room for what comes.
  ASSERT_TRUE(index.remove(5));
  EXPECT_TRUE(index.insert(99'999, MinHash::of(std::vector<Token>{1, 2})));
}

TEST(LshIndex, LooksAtSoManyCandidatesAndNoMore) {
  LshOptions options;
  options.candidates_max = 10;
  LshIndex index(options);
  const MinHash signature = MinHash::of(std::vector<Token>{1, 2, 3});
  for (std::uint64_t key = 0; key < 100; ++key) ASSERT_TRUE(index.insert(key, signature));
  const auto matches = index.query(signature);
  ASSERT_EQ(matches.size(), 10u);
  EXPECT_EQ(matches[0].key, 90u);  // the last inserted
}

}  // namespace
}  // namespace tokvault
