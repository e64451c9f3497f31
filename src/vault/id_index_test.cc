#include "vault/id_index.h"

#include <gtest/gtest.h>

#include <vector>

#include "format/record.h"

namespace tokvault {
namespace {

std::vector<std::uint32_t> rows(const IdIndex& index, const IdHash& hash) {
  std::vector<std::uint32_t> out;
  index.find(hash, [&](std::uint32_t row) { out.push_back(row); });
  return out;
}

TEST(IdIndex, AnEmptyOneFindsNothing) {
  EXPECT_TRUE(rows(IdIndex(), hash_id(Buffer(16, 'k'), "a")).empty());
}

TEST(IdIndex, FindsEveryRowAndLittleElse) {
  const Buffer key(16, 'k');
  IdIndex index;
  constexpr std::uint32_t kCount = 20'000;
  for (std::uint32_t i = 0; i < kCount; ++i) index.add(hash_id(key, std::to_string(i)), i);
  std::size_t candidates = 0;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    const auto found = rows(index, hash_id(key, std::to_string(i)));
    candidates += found.size();
    EXPECT_NE(std::find(found.begin(), found.end(), i), found.end()) << i;
  }
  EXPECT_LT(candidates, kCount + 10);
  std::size_t wrong = 0;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    wrong += rows(index, hash_id(key, "not " + std::to_string(i))).size();
  }
  EXPECT_LT(wrong, 10u);
}

// Versions of one id are found in the order in which they were added, however often the table grew
// in between, and although others lie on their way.
TEST(IdIndex, KeepsTheOrderOfEqualHashes) {
  const Buffer key(16, 'k');
  const IdHash same = hash_id(key, "same");
  IdIndex index;
  std::vector<std::uint32_t> expected;
  for (std::uint32_t i = 0; i < 3'000; ++i) {
    if (i % 7 == 0) {
      index.add(same, i);
      expected.push_back(i);
    } else {
      index.add(hash_id(key, std::to_string(i)), i);
    }
    if (i % 500 == 0) {
      EXPECT_EQ(rows(index, same), expected);
    }
  }
  EXPECT_EQ(rows(index, same), expected);
}

TEST(IdFilter, NeverMissesAndIsHardlyEverWrong) {
  const Buffer key(16, 'k');
  constexpr int kCount = 20'000;
  IdFilter filter(kCount);
  for (int i = 0; i < kCount; ++i) filter.add(hash_id(key, std::to_string(i)));
  for (int i = 0; i < kCount; ++i) {
    ASSERT_TRUE(filter.may_hold(hash_id(key, std::to_string(i)))) << i;
  }
  constexpr int kOthers = 200'000;
  int wrong = 0;
  for (int i = 0; i < kOthers; ++i) {
    wrong += filter.may_hold(hash_id(key, "not " + std::to_string(i))) ? 1 : 0;
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(filter.memory_bytes(), 5u * kCount + 64);
  EXPECT_FALSE(IdFilter(0).may_hold(hash_id(key, "a")));
}

TEST(IdFilter, ManyVersionsOfOneIdTakeOnePlace) {
  const Buffer key(16, 'k');
  constexpr int kCount = 100'000;
  IdFilter filter(kCount);
  for (int i = 0; i < kCount; ++i) filter.add(hash_id(key, "again"));  // quadratic otherwise
  EXPECT_TRUE(filter.may_hold(hash_id(key, "again")));
  EXPECT_FALSE(filter.may_hold(hash_id(key, "other")));
}

}  // namespace
}  // namespace tokvault
