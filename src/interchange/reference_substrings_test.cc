#include <gtest/gtest.h>

#include <string>

#include "base/bytes.h"
#include "tokvault/substrings.h"

namespace tokvault {
namespace {

std::string entry(int id, std::size_t length, std::size_t offset, std::size_t bytes) {
  return R"({"id":)" + std::to_string(id) + R"(,"length":)" + std::to_string(length) +
         R"(,"created_at":"2026-01-05T10:11:12.5Z","source_occurrences":7,"offset":)" +
         std::to_string(offset) + R"(,"bytes":)" + std::to_string(bytes) + "}";
}

Errc code(const std::string& index, ByteView blobs) {
  return read_reference_substrings(index, blobs).code();
}

TEST(ReferenceSubstrings, AreReadAndCheckedAgainstThemselves) {
  Buffer blobs;
  for (std::uint32_t t = 0; t < 16; ++t) append_varint(blobs, t * 20);
  const std::size_t first = blobs.size();
  for (std::uint32_t t = 0; t < 20; ++t) append_varint(blobs, 0xffffffffu - t);
  const std::size_t second = blobs.size() - first;
  const std::string good = "[" + entry(3, 16, 0, first) + ",\n" + entry(9, 20, first, second) + "]";
  const auto read = read_reference_substrings(good, blobs);
  ASSERT_TRUE(read) << read.error().message();
  const SubstringSet* const set = &read->set;
  EXPECT_EQ(read->too_long, 0u);
  ASSERT_EQ(set->size(), 2u);
  EXPECT_EQ(set->next_id(), 10u);
  EXPECT_EQ(set->list()[0].id, 3u);
  EXPECT_EQ(set->list()[0].segments, 7u);
  EXPECT_EQ(set->list()[0].created_ms, 1767607872500);
  EXPECT_EQ((*set->tokens(9))[19], 0xffffffffu - 19);
  EXPECT_EQ(code("[]", ""), Errc::ok);
  // In whatever order.
  const auto turned = read_reference_substrings(
      "[" + entry(9, 20, first, second) + "," + entry(3, 16, 0, first) + "]", blobs);
  ASSERT_TRUE(turned) << turned.error().message();
  EXPECT_EQ(turned->set.serialize(), set->serialize());

  EXPECT_EQ(code("", blobs), Errc::invalid);
  EXPECT_EQ(code("{}", blobs), Errc::invalid);
  EXPECT_EQ(code("[1]", blobs), Errc::invalid);
  EXPECT_EQ(code(R"([{"id":1}])", blobs), Errc::invalid);
  EXPECT_EQ(code("[" + entry(0, 16, 0, first) + "]", blobs), Errc::invalid);
  EXPECT_EQ(code("[" + entry(1, 17, 0, first) + "]", blobs), Errc::invalid);
  EXPECT_EQ(code("[" + entry(1, 15, 0, first) + "]", blobs), Errc::invalid);
  EXPECT_EQ(code("[" + entry(1, 16, 0, first - 1) + "]", blobs), Errc::invalid);
  EXPECT_EQ(code("[" + entry(1, SIZE_MAX, 0, SIZE_MAX) + "]", blobs), Errc::invalid);
  EXPECT_EQ(code("[" + entry(1, 16, SIZE_MAX, 1) + "]", blobs), Errc::invalid);
  EXPECT_EQ(read_reference_substrings(ByteView(), blobs).code(), Errc::invalid);
  EXPECT_EQ(code("[" + entry(1, 16, 0, first) + "," + entry(1, 20, first, second) + "]", blobs),
            Errc::invalid);
  // What the reference system takes for 0 and for 2^32 - 1.
  const Buffer bits = Buffer("\x80\x80\x80\x80\x10", 5) + Buffer(15, '\1');
  EXPECT_EQ(code("[" + entry(1, 16, 0, bits.size()) + "]", bits), Errc::invalid);
  const Buffer overlong = Buffer("\x80\x00", 2) + Buffer(15, '\1');
  EXPECT_EQ(code("[" + entry(1, 16, 0, overlong.size()) + "]", overlong), Errc::invalid);
}

// The reference system gives a run that it registers again another id.
TEST(ReferenceSubstrings, ARunUnderTwoIdsKeepsTheFirst) {
  Buffer blobs;
  for (std::uint32_t t = 0; t < 16; ++t) append_varint(blobs, t * 20);
  const std::size_t first = blobs.size();
  for (std::uint32_t t = 0; t < 20; ++t) append_varint(blobs, 7 + t);
  const std::size_t second = blobs.size() - first;
  blobs.append(blobs.substr(0, first));
  const auto read =
      read_reference_substrings("[" + entry(1, 16, 0, first) + "," + entry(2, 20, first, second) +
                                    "," + entry(3, 16, first + second, first) + "]",
                                blobs);
  ASSERT_TRUE(read) << read.error().message();
  const SubstringSet* const set = &read->set;
  ASSERT_EQ(set->size(), 2u);
  EXPECT_EQ(set->list()[0].id, 1u);
  EXPECT_EQ(set->list()[1].id, 2u);
  EXPECT_EQ(set->tokens(3).code(), Errc::not_found);
  EXPECT_EQ(set->next_id(), 4u) << "id 3 was given out there";
}

// That registry has no limit; what is too long here is no reason to refuse the rest.
TEST(ReferenceSubstrings, ARunThatIsTooLongIsPassedOver) {
  const Buffer blobs(kSubstringTokensMax + 2, '\1');
  const std::string longest = entry(1, kSubstringTokensMax, 0, kSubstringTokensMax);
  const std::string longer = entry(7, kSubstringTokensMax + 1, 1, kSubstringTokensMax + 1);
  const auto read = read_reference_substrings("[" + longer + "," + longest + "]", blobs);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->too_long, 1u);
  ASSERT_EQ(read->set.size(), 1u);
  EXPECT_EQ(read->set.list()[0].id, 1u);
  EXPECT_EQ(read->set.next_id(), 8u);
  EXPECT_EQ(code("[" + entry(7, kSubstringTokensMax + 2, 1, kSubstringTokensMax + 1) + "]", blobs),
            Errc::invalid)
      << "it is checked all the same";
}

}  // namespace
}  // namespace tokvault
