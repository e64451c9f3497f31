#include "vault/id_index.h"

#include <gtest/gtest.h>

#include <vector>

#include "format/record.h"

namespace tokvault {
namespace {

template <class Index>
std::vector<std::uint32_t> rows(const Index& index, const IdHash& hash) {
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

std::vector<IdHash> hashes_of(const std::vector<std::string>& ids) {
  std::vector<IdHash> out;
  for (const std::string& id : ids) out.push_back(hash_id(Buffer(16, 'k'), id));
  return out;
}

TEST(PackIds, FindsEveryRowAndHardlyAnythingElse) {
  constexpr std::uint32_t kCount = 20'000;
  std::vector<std::string> ids;
  for (std::uint32_t i = 0; i < kCount; ++i) ids.push_back(std::to_string(i));
  const auto hashes = hashes_of(ids);
  const PackIds index(hashes);
  for (std::uint32_t i = 0; i < kCount; ++i) {
    ASSERT_EQ(rows(index, hashes[i]), std::vector<std::uint32_t>{i});
  }
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    const IdHash other = hash_id(Buffer(16, 'k'), "not " + std::to_string(i));
    ASSERT_TRUE(rows(index, other).empty()) << i;
  }
  EXPECT_LE(index.memory_bytes(), 9u * kCount + 64);
}

TEST(PackIds, OfFewIds) {
  EXPECT_TRUE(rows(PackIds({}), hash_id(Buffer(16, 'k'), "a")).empty());
  for (std::size_t count = 1; count < 20; ++count) {
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < count; ++i) ids.push_back(std::to_string(i));
    const auto hashes = hashes_of(ids);
    const PackIds index(hashes);
    for (std::uint32_t i = 0; i < count; ++i) {
      EXPECT_EQ(rows(index, hashes[i]), std::vector<std::uint32_t>{i});
    }
  }
}

TEST(PackIds, ManyVersionsOfOneIdAreFoundInOrder) {
  constexpr std::uint32_t kCount = 100'000;  // placing them one after another would be quadratic
  std::vector<std::string> ids(kCount, "again");
  for (std::uint32_t i = 0; i < kCount; i += 7) ids[i] = std::to_string(i);
  const PackIds index(hashes_of(ids));
  std::vector<std::uint32_t> expected;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    if (i % 7 != 0) expected.push_back(i);
  }
  EXPECT_EQ(rows(index, hash_id(Buffer(16, 'k'), "again")), expected);
  EXPECT_TRUE(rows(index, hash_id(Buffer(16, 'k'), "other")).empty());
}

}  // namespace
}  // namespace tokvault
