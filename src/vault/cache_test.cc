#include "vault/cache.h"

#include <gtest/gtest.h>

namespace tokvault {
namespace {

using Kind = Cache::Kind;

std::shared_ptr<const void> value(int n) { return std::make_shared<const int>(n); }
int number(const std::shared_ptr<const void>& p) {
  return p ? *static_cast<const int*>(p.get()) : -1;
}

TEST(Cache, DropsWhatWasUsedLongestAgo) {
  Cache cache(300);
  for (std::uint64_t file = 1; file <= 3; ++file) {
    cache.insert({file, Kind::tables}, value(static_cast<int>(file)), 100);
  }
  EXPECT_EQ(number(cache.find({1, Kind::tables})), 1);
  cache.insert({4, Kind::tables}, value(4), 100);
  EXPECT_EQ(number(cache.find({2, Kind::tables})), -1);
  EXPECT_EQ(number(cache.find({1, Kind::tables})), 1);
  EXPECT_EQ(number(cache.find({3, Kind::tables})), 3);
  EXPECT_EQ(number(cache.find({4, Kind::tables})), 4);
}

// It would drop all others and then be dropped by whatever comes next: each would be decoded again
// for the other.
TEST(Cache, TheLastThatIsTooLargeStaysBesideTheOthers) {
  Cache cache(10);
  cache.insert({1, Kind::tables}, value(1), 5);
  cache.insert({2, Kind::tables}, value(2), 1'000);
  EXPECT_EQ(number(cache.find({1, Kind::tables})), 1);
  EXPECT_EQ(number(cache.find({2, Kind::tables})), 2);
  for (std::uint64_t file = 3; file <= 9; ++file) {
    cache.insert({file, Kind::tables}, value(static_cast<int>(file)), 5);
  }
  EXPECT_EQ(number(cache.find({2, Kind::tables})), 2);
  EXPECT_EQ(number(cache.find({7, Kind::tables})), -1);
  EXPECT_EQ(number(cache.find({8, Kind::tables})), 8);
  // One of them, whether it came so or has grown.
  cache.resize({8, Kind::tables}, 11);
  EXPECT_EQ(number(cache.find({2, Kind::tables})), -1);
  EXPECT_EQ(number(cache.find({8, Kind::tables})), 8);
  cache.insert({10, Kind::tables}, value(10), 2'000);
  EXPECT_EQ(number(cache.find({8, Kind::tables})), -1);
  EXPECT_EQ(number(cache.find({9, Kind::tables})), 9);
  // What has shrunk is one of the others.
  EXPECT_EQ(number(cache.find({10, Kind::tables})), 10);
  cache.resize({10, Kind::tables}, 6);
  EXPECT_EQ(number(cache.find({9, Kind::tables})), -1);
  EXPECT_EQ(number(cache.find({10, Kind::tables})), 10);
  cache.erase_file(10);
  cache.insert({11, Kind::tables}, value(11), 10);
  EXPECT_EQ(number(cache.find({11, Kind::tables})), 11);
}

TEST(Cache, WhatGrowsMakesRoomAndWhatShrinksGivesIt) {
  Cache cache(300);
  for (std::uint64_t file = 1; file <= 3; ++file) {
    cache.insert({file, Kind::tables}, value(static_cast<int>(file)), 100);
  }
  cache.resize({9, Kind::tables}, 1'000);  // not there any more
  cache.resize({3, Kind::tables}, 50);
  cache.insert({4, Kind::tables}, value(4), 50);
  EXPECT_EQ(number(cache.find({1, Kind::tables})), 1);
  cache.resize({4, Kind::tables}, 51);
  EXPECT_EQ(number(cache.find({2, Kind::tables})), -1);
  EXPECT_EQ(number(cache.find({1, Kind::tables})), 1);
}

TEST(Cache, TheFirstOfTwoThatDecodedTheSameStays) {
  Cache cache(100);
  cache.insert({1, Kind::tables}, value(1), 60);
  cache.insert({1, Kind::tables}, value(2), 60);
  EXPECT_EQ(number(cache.find({1, Kind::tables})), 1);
  cache.insert({1, Kind::token_dictionary}, value(3), 40);
  EXPECT_EQ(number(cache.find({1, Kind::tables})), 1);
  EXPECT_EQ(number(cache.find({1, Kind::token_dictionary})), 3);
}

TEST(Cache, WhatIsHeldOutlivesItsFile) {
  Cache cache(100);
  cache.insert({1, Kind::tables}, value(1), 10);
  cache.insert({1, Kind::byte_dictionary}, value(2), 10);
  cache.insert({2, Kind::tables}, value(3), 10);
  const auto held = cache.find({1, Kind::tables});
  cache.erase_file(1);
  EXPECT_EQ(number(held), 1);
  EXPECT_EQ(number(cache.find({1, Kind::tables})), -1);
  EXPECT_EQ(number(cache.find({1, Kind::byte_dictionary})), -1);
  EXPECT_EQ(number(cache.find({2, Kind::tables})), 3);
  // Its bytes are free again.
  cache.insert({3, Kind::tables}, value(4), 90);
  EXPECT_EQ(number(cache.find({2, Kind::tables})), 3);
}

}  // namespace
}  // namespace tokvault
