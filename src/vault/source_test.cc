#include "vault/source.h"

#include <gtest/gtest.h>

namespace tokvault {
namespace {

std::shared_ptr<const BlockText> text(std::uint64_t n) {
  return std::make_shared<const BlockText>(BlockText{std::to_string(n), {}});
}

TEST(Scratch, HoldsTheBlocksThatWereUsedLast) {
  Scratch scratch;
  EXPECT_EQ(scratch.find(1, kTokenStream, 0), nullptr);
  for (std::uint64_t n = 0; n < 16; ++n) scratch.replace_oldest(1, kTokenStream, n).pin = text(n);
  ASSERT_NE(scratch.find(1, kTokenStream, 0), nullptr);  // used again: not the oldest any more
  EXPECT_EQ(scratch.find(1, kTokenStream, 0)->pin->text, "0");
  scratch.replace_oldest(1, kTokenStream, 16).pin = text(16);
  EXPECT_EQ(scratch.find(1, kTokenStream, 1), nullptr);
  EXPECT_NE(scratch.find(1, kTokenStream, 0), nullptr);
  EXPECT_NE(scratch.find(1, kTokenStream, 2), nullptr);
  EXPECT_EQ(scratch.find(1, kTokenStream, 16)->pin->text, "16");
}

TEST(Scratch, FilesAndStreamsAreApart) {
  Scratch scratch;
  scratch.replace_oldest(1, kTokenStream, 3).pin = text(1);
  scratch.replace_oldest(1, kByteStream, 3).pin = text(2);
  scratch.replace_oldest(2, kTokenStream, 3).pin = text(3);
  EXPECT_EQ(scratch.find(1, kTokenStream, 3)->pin->text, "1");
  EXPECT_EQ(scratch.find(1, kByteStream, 3)->pin->text, "2");
  EXPECT_EQ(scratch.find(2, kTokenStream, 3)->pin->text, "3");
  EXPECT_EQ(scratch.find(2, kByteStream, 3), nullptr);
}

TEST(Source, NamesSortAsNumbersDo) {
  EXPECT_EQ(log_name(7), "log/00000007.log");
  EXPECT_EQ(pack_name(123'456'789), "packs/123456789.pack");
  EXPECT_LT(pack_name(9), pack_name(10));
}

}  // namespace
}  // namespace tokvault
