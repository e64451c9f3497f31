#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "base/bytes.h"
#include "tokvault/substrings.h"

namespace tokvault {
namespace {

using Random = std::mt19937_64;
using Tokens = std::vector<Token>;
constexpr std::uint64_t kMax = 1u << 20;

Tokens noise(Random& random, std::size_t count) {
  Tokens out(count);
  for (Token& t : out) t = static_cast<Token>(random() % 100'000);
  return out;
}

SubstringSet some_set(Random& random, int runs) {
  SubstringSet set;
  for (int i = 0; i < runs; ++i) (void)set.add(noise(random, 16 + random() % 100), {}).has_value();
  return set;
}

TEST(SubstringCodec, SegmentsComeBack) {
  Random random(1);
  const SubstringSet set = some_set(random, 30);
  const auto runs = set.runs();
  for (int i = 0; i < 200; ++i) {
    Tokens segment;
    for (std::size_t part = random() % 8; part > 0; --part) {
      const TokenView run = runs[random() % runs.size()];
      const Tokens between = noise(random, random() % 30);
      segment.insert(segment.end(), between.begin(), between.end());
      // Sometimes cut short, and then no reference.
      segment.insert(segment.end(), run.begin(), run.end() - (random() % 4 == 0 ? 1 : 0));
    }
    const Buffer code = encode_with_substrings(set, segment);
    auto again = decode_with_substrings(set, code, segment.size());
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(*again, segment);
    if (!segment.empty()) {
      EXPECT_EQ(decode_with_substrings(set, code, segment.size() - 1).code(), Errc::exhausted);
    }
  }
}

TEST(SubstringCodec, ARunIsAFewBytes) {
  Random random(2);
  SubstringSet set;
  const Tokens run = noise(random, 500);
  ASSERT_TRUE(set.add(run, {}));
  EXPECT_EQ(encode_with_substrings(set, run).size(), 5u);
  EXPECT_EQ(encode_with_substrings(set, {}).size(), 2u);
  // Twice in a row, and the longest of those that begin alike.
  ASSERT_TRUE(set.add(TokenView(run).first(100), {}));
  Tokens twice = run;
  twice.insert(twice.end(), run.begin(), run.end());
  EXPECT_EQ(encode_with_substrings(set, twice).size(), 7u);
  auto again = decode_with_substrings(set, encode_with_substrings(set, twice), kMax);
  EXPECT_TRUE(again && *again == twice);
}

TEST(SubstringCodec, RefusesDamage) {
  Random random(3);
  const SubstringSet set = some_set(random, 4);
  Tokens segment = noise(random, 10);
  for (const TokenView run : set.runs()) {
    segment.insert(segment.end(), run.begin(), run.end());
    segment.push_back(5);
  }
  const Buffer good = encode_with_substrings(set, segment);
  for (std::size_t n = 0; n < good.size(); ++n) {
    EXPECT_EQ(decode_with_substrings(set, ByteView(good).substr(0, n), kMax).code(), Errc::corrupt);
  }
  EXPECT_EQ(decode_with_substrings(set, good + "x", kMax).code(), Errc::corrupt);
  const SubstringSet empty;
  EXPECT_EQ(decode_with_substrings(empty, good, kMax).code(), Errc::corrupt);
  const auto code = [&](std::initializer_list<std::uint64_t> numbers) {
    Buffer bytes;
    for (std::uint64_t n : numbers) append_varint(bytes, n);
    return decode_with_substrings(set, bytes, UINT64_MAX).code();
  };
  const std::uint64_t run = set.runs()[0].size();
  EXPECT_EQ(code({run, 1, 0, 1}), Errc::ok);
  EXPECT_EQ(code({run - 1, 1, 0, 1}), Errc::corrupt);
  EXPECT_EQ(code({run + 1, 1, 0, 1}), Errc::corrupt);
  EXPECT_EQ(code({UINT64_MAX, 1, 0, 1}), Errc::corrupt);
  EXPECT_EQ(code({UINT64_MAX, 1, UINT64_MAX - 1, 1}), Errc::corrupt);
  EXPECT_EQ(code({5, UINT64_MAX, 0, 1}), Errc::corrupt);
  EXPECT_EQ(code({run, 1, 0, 99}), Errc::corrupt);
  EXPECT_EQ(code({run, 1, 0, std::uint64_t{1} << 32}), Errc::corrupt);
}

// The bytes of a released set and segment, which also stand in docs/format/substrings.md.
TEST(SubstringCodec, GoldenBytesReadAsTheyWereWritten) {
  const char* source = std::getenv("TOKVAULT_SOURCE");
  const std::string folder = std::string(source ? source : ".") + "/tests/golden/substrings/";
  const auto golden = [&](const std::string& name) {
    std::ifstream in(folder + name, std::ios::binary);
    return Buffer(std::istreambuf_iterator<char>(in), {});
  };
  SubstringSet set;
  Tokens squares,
      primes = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 100'000};
  for (Token i = 0; i < 20; ++i) squares.push_back(i * i);
  ASSERT_TRUE(set.add(squares, {12, 4, 1'760'000'000'000}));
  ASSERT_TRUE(set.add(Tokens(16, 1), {}));
  ASSERT_TRUE(set.add(primes, {3, 300, 1'760'000'000'500}));
  const SubstringId kept[] = {1, 3};
  set.retain(kept);
  EXPECT_EQ(to_hex(set.serialize()), to_hex(golden("set.bin")));
  Tokens segment = {7, 8};
  segment.insert(segment.end(), primes.begin(), primes.end());
  segment.insert(segment.end(), squares.begin(), squares.end());
  segment.push_back(70'000);
  EXPECT_EQ(to_hex(encode_with_substrings(set, segment)), to_hex(golden("segment.bin")));
  auto again = SubstringSet::parse(golden("set.bin"));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->next_id(), 4u);
  auto decoded = decode_with_substrings(*again, golden("segment.bin"), 100);
  EXPECT_TRUE(decoded && *decoded == segment);
}

}  // namespace
}  // namespace tokvault
