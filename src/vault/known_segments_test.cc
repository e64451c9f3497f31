#include "vault/known_segments.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "base/bytes.h"
#include "vault/source.h"

namespace tokvault {
namespace {

ShortDigest digest(std::string_view text) { return byte_digest(text); }

KnownSegment known(std::uint32_t number, std::uint64_t file, bool has_text) {
  KnownSegment k;
  k.file = file;
  k.number = number;
  k.tokens = 3;
  k.content = digest("content " + std::to_string(number));
  k.has_text = has_text;
  if (has_text) k.text = digest("text " + std::to_string(number));
  return k;
}

TEST(FingerprintIndex, FindsEveryPlaceOfAFingerprintUntilItsPackIsGone) {
  FingerprintIndex index;
  std::multimap<std::uint32_t, std::pair<std::uint64_t, std::uint32_t>> model;
  auto compare = [&] {
    EXPECT_EQ(index.size(), model.size());
    for (std::uint32_t print = 0; print < 5'100; ++print) {
      std::multiset<std::pair<std::uint64_t, std::uint32_t>> found, expected;
      const auto [from, to] = model.equal_range(print);
      for (auto it = from; it != to; ++it) expected.insert(it->second);
      index.find(print, [&](const FingerprintIndex::Place& place) {
        found.insert({place.pack, place.segment});
      });
      ASSERT_EQ(found, expected) << print;
    }
  };
  compare();
  std::mt19937 random(3);
  auto add = [&](std::uint64_t pack, std::uint32_t count) {
    std::uint32_t segment = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      segment += static_cast<std::uint32_t>(random() % 3) + (i == 0 ? 0 : 1);
      const auto print = static_cast<std::uint32_t>(random() % 5'000);
      index.add(pack, print, segment);
      model.insert({print, {pack, segment}});
    }
  };
  auto remove = [&](const std::set<std::uint64_t>& packs) {
    index.remove(packs);
    std::erase_if(model, [&](const auto& e) { return packs.contains(e.second.first); });
  };
  for (const std::uint64_t pack : {7, 3, 9, 12}) add(pack, pack == 9 ? 1 : 4'000);
  compare();
  const std::size_t before = index.memory_bytes();
  remove({3, 4});
  compare();
  add(20, 500);
  add(3, 100);
  compare();
  remove({7, 12});
  compare();
  EXPECT_LT(index.memory_bytes(), before);
  remove({9, 20, 3});
  EXPECT_EQ(index.size(), 0u);
  add((std::uint64_t{1} << 40) + 1, 1'000);
  compare();
  index.clear();
  model.clear();
  compare();
}

TEST(KnownSegments, FindsByContentAndByText) {
  KnownSegments segments;
  EXPECT_EQ(segments.find_text(digest("text 0")), nullptr);
  constexpr std::uint32_t kCount = 5'000;
  for (std::uint32_t i = 0; i < kCount; ++i) segments.put(known(i, 1, i % 3 != 0));
  ASSERT_EQ(segments.size(), kCount);
  for (std::uint32_t i = 0; i < kCount; ++i) {
    const auto* by_content =
        segments.find_content(kTokenStream, digest("content " + std::to_string(i)));
    ASSERT_NE(by_content, nullptr) << i;
    EXPECT_EQ(by_content->number, i);
    EXPECT_EQ(segments.find_content(kByteStream, by_content->content), nullptr);
    const auto* by_text = segments.find_text(digest("text " + std::to_string(i)));
    EXPECT_EQ(by_text, i % 3 != 0 ? by_content : nullptr) << i;
  }
  EXPECT_EQ(segments.find_text(digest("text " + std::to_string(kCount))), nullptr);
}

// What was read back from a log has no text; whoever stores the text again adds it.
TEST(KnownSegments, LearnsATextLaterAndMovesToAnotherFile) {
  KnownSegments segments;
  segments.put(known(7, 1, false));
  EXPECT_EQ(segments.find_text(digest("text 7")), nullptr);
  KnownSegment again = known(7, 2, true);
  again.number = 70;
  segments.put(again);
  EXPECT_EQ(segments.size(), 1u);
  const auto* found = segments.find_text(digest("text 7"));
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->file, 2u);
  EXPECT_EQ(found->number, 70u);
  EXPECT_EQ(found->content, known(7, 1, false).content);
}

TEST(KnownSegments, KeepsOneFile) {
  KnownSegments segments;
  for (std::uint32_t i = 0; i < 1'000; ++i) segments.put(known(i, i % 2, true));
  segments.keep_file(1);
  EXPECT_EQ(segments.size(), 500u);
  EXPECT_EQ(segments.find_text(digest("text 10")), nullptr);
  const auto* found = segments.find_text(digest("text 11"));
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->number, 11u);
  segments.clear();
  EXPECT_EQ(segments.find_text(digest("text 11")), nullptr);
}

TEST(NameIndex, GivesEachNameItsNumber) {
  NameIndex index;
  bool is_new = false;
  for (const std::uint32_t round : {0u, 1u}) {
    for (std::uint32_t i = 0; i < 3'000; ++i) {
      // Names of all sizes, the empty one among them.
      const std::string name = i == 0 ? "" : std::string(i % 40, 'x') + std::to_string(i);
      std::uint32_t& number = index.at(name, is_new);
      EXPECT_EQ(is_new, round == 0) << name;
      if (is_new) number = i + 100;
      EXPECT_EQ(index.at(name, is_new), i + 100);
      EXPECT_FALSE(is_new);
    }
  }
  index.clear();
  (void)index.at("", is_new);
  EXPECT_TRUE(is_new);
}

}  // namespace
}  // namespace tokvault
