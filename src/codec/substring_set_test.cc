#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "base/bytes.h"
#include "codec/substring_columns.h"

namespace tokvault {
namespace {

using Random = std::mt19937_64;
using Tokens = std::vector<Token>;

// Tokens of a small vocabulary, so that runs share beginnings.
Tokens some(Random& random, std::size_t count, std::uint32_t vocabulary = 3) {
  Tokens out(count);
  for (Token& t : out) t = static_cast<Token>(random() % vocabulary);
  return out;
}

Tokens numbered(Token first, std::size_t count) {
  Tokens out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = first + static_cast<Token>(i);
  return out;
}

TEST(SubstringSet, IdsAreSequentialAndNoRunIsThereTwice) {
  SubstringSet set;
  EXPECT_EQ(*set.add(numbered(100, 16), {2, 4, 7}), 1u);
  EXPECT_EQ(*set.add(numbered(200, 40), {}), 2u);
  EXPECT_EQ(*set.add(numbered(100, 16), {5, 3, 9}), 1u);
  EXPECT_EQ(*set.add(numbered(100, 17), {}), 3u);
  EXPECT_EQ(set.size(), 3u);
  EXPECT_EQ(set.tokens_total(), 73u);
  const auto list = set.list();
  EXPECT_EQ(list[0].segments, 5u);
  EXPECT_EQ(list[0].conversations, 4u);
  EXPECT_EQ(list[0].created_ms, 7);
  EXPECT_EQ(set.runs()[1].size(), 40u);
  auto tokens = set.tokens(3);
  ASSERT_TRUE(tokens);
  EXPECT_TRUE(std::ranges::equal(*tokens, numbered(100, 17)));
  EXPECT_EQ(set.tokens(4).code(), Errc::not_found);
  EXPECT_EQ(set.add(numbered(1, 15), {}).code(), Errc::invalid);
  EXPECT_EQ(set.add(Tokens(kSubstringTokensMax + 1), {}).code(), Errc::invalid);
  EXPECT_EQ(set.add_as(2, numbered(900, 20), {}).code(), Errc::exists);
  EXPECT_EQ(set.add_as(9, numbered(200, 40), {}).code(), Errc::exists);
  EXPECT_EQ(set.add_as(0, numbered(900, 20), {}).code(), Errc::invalid);
  EXPECT_EQ(set.set_counts(4, {}).code(), Errc::not_found);
}

TEST(SubstringSet, IdsAreNotUsedAgain) {
  SubstringSet set;
  for (Token i = 0; i < 10; ++i) ASSERT_TRUE(set.add(numbered(i * 1000, 20), {}));
  const SubstringId kept[] = {2, 5, 77};
  EXPECT_EQ(set.retain(kept), 8u);
  EXPECT_EQ(set.retain(kept), 0u);
  EXPECT_EQ(set.size(), 2u);
  EXPECT_EQ(set.tokens_total(), 40u);
  EXPECT_EQ(set.longest_match(numbered(9000, 20)), std::nullopt);
  EXPECT_EQ(set.longest_match(numbered(4000, 20)), (SubstringSet::Match{5, 20}));
  EXPECT_EQ(*set.add(numbered(9000, 20), {}), 11u);
  EXPECT_EQ(set.retain({}), 3u);
  auto again = SubstringSet::parse(set.serialize());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->size(), 0u);
  EXPECT_EQ(*again->add(numbered(1, 20), {}), 12u);
  // The last id is not given out.
  ASSERT_TRUE(again->add_as(UINT32_MAX - 1, numbered(7, 20), {}));
  EXPECT_EQ(again->add(numbered(8, 20), {}).code(), Errc::exhausted);
}

// Against a map, over random operations.
TEST(SubstringSet, LongestMatchIsThatOfASearchOverAll) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Random random(seed);
    SubstringSet set;
    std::map<SubstringId, Tokens> model;
    SubstringId next = 1;
    for (int step = 0; step < 400; ++step) {
      if (random() % 60 == 0) {
        std::vector<SubstringId> kept;
        for (const auto& [id, run] : model) {
          if (random() % 4 != 0) kept.push_back(id);
        }
        EXPECT_EQ(set.retain(kept), model.size() - kept.size());
        std::erase_if(model, [&](const auto& e) {
          return !std::binary_search(kept.begin(), kept.end(), e.first);
        });
        continue;
      }
      // Often a run that shares its beginning with another, or is the beginning of one.
      Tokens run = some(random, 16 + random() % 30, 2);
      if (!model.empty() && random() % 2 == 0) {
        const Tokens& other =
            std::next(model.begin(), static_cast<std::ptrdiff_t>(random() % model.size()))->second;
        const std::size_t same = random() % (other.size() + 1);
        std::copy_n(other.begin(), std::min(same, run.size()), run.begin());
        if (random() % 4 == 0) run.assign(other.begin(), other.begin() + 16);
      }
      const auto known = std::ranges::find_if(model, [&](auto& e) { return e.second == run; });
      auto id = set.add(run, {});
      ASSERT_TRUE(id);
      if (known != model.end()) {
        EXPECT_EQ(*id, known->first);
      } else {
        EXPECT_EQ(*id, next);
        model[next++] = run;
      }
    }
    for (int i = 0; i < 400; ++i) {
      Tokens text = some(random, random() % 60, 2);
      if (!model.empty() && i % 2 == 0) {
        const Tokens& run =
            std::next(model.begin(), static_cast<std::ptrdiff_t>(random() % model.size()))->second;
        text.insert(text.begin(), run.begin(),
                    run.end() - static_cast<std::ptrdiff_t>(random() % 3));
      }
      std::optional<SubstringSet::Match> best;
      for (const auto& [id, run] : model) {
        if (run.size() <= text.size() && std::equal(run.begin(), run.end(), text.begin()) &&
            (!best || run.size() > best->tokens)) {
          best = SubstringSet::Match{id, run.size()};
        }
      }
      EXPECT_EQ(set.longest_match(text), best);
    }
    auto again = SubstringSet::parse(set.serialize());
    ASSERT_TRUE(again);
    EXPECT_EQ(again->next_id(), set.next_id());
    EXPECT_EQ(again->serialize(), set.serialize());
  }
}

// What a run costs is not what the set costs: runs that all begin alike, and one in the other.
TEST(SubstringSet, HostileRunsCostNoMoreThanOthers) {
  SubstringSet set;
  const Tokens long_run = numbered(1, 4000);
  for (std::size_t n = 4000; n >= 16; n -= 2)
    ASSERT_TRUE(set.add(TokenView(long_run).first(n), {}));
  Tokens alike(40, 7);
  for (Token i = 0; i < 20'000; ++i) {
    alike[20] = i;
    ASSERT_TRUE(set.add(alike, {}));
  }
  std::uint64_t found = 0;
  for (std::size_t i = 0; i + 1 < 1000; ++i) found += set.longest_match(alike)->tokens;
  EXPECT_EQ(found, 999u * 40);
  EXPECT_EQ(set.longest_match(long_run)->tokens, 4000u);
}

TEST(SubstringSet, SerializesWhatItHolds) {
  Random random(3);
  SubstringSet set;
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(set.add(some(random, 16 + random() % 100, i % 2 ? 50'000 : 0xffffffff),
                        {random() % 1000, random() % 100, INT64_MIN + static_cast<int>(i)}));
  }
  const SubstringId kept[] = {3, 4, 40};
  set.retain(kept);
  ASSERT_TRUE(set.set_counts(4, {UINT64_MAX, 0, INT64_MAX}));
  auto again = SubstringSet::parse(set.serialize());
  ASSERT_TRUE(again) << again.error().message();
  ASSERT_EQ(again->size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    const SubstringInfo a = set.list()[i], b = again->list()[i];
    EXPECT_EQ(a.id, b.id);
    EXPECT_EQ(a.segments, b.segments);
    EXPECT_EQ(a.conversations, b.conversations);
    EXPECT_EQ(a.created_ms, b.created_ms);
    EXPECT_TRUE(std::ranges::equal(set.runs()[i], again->runs()[i]));
  }
  const auto columns = parse_substring_columns(set.serialize());
  ASSERT_TRUE(columns);
  Tokens all;
  for (const TokenView run : set.runs()) all.insert(all.end(), run.begin(), run.end());
  EXPECT_EQ(columns->tokens, all) << "what packs copy from";
}

TEST(SubstringSet, RefusesDamage) {
  SubstringSet set;
  ASSERT_TRUE(set.add(numbered(100, 16), {}));
  ASSERT_TRUE(set.add(numbered(300, 20), {}));
  const Buffer good = set.serialize();
  for (std::size_t n = 0; n < good.size(); ++n) {
    EXPECT_EQ(SubstringSet::parse(ByteView(good).substr(0, n)).code(), Errc::corrupt) << n;
  }
  EXPECT_EQ(SubstringSet::parse(good + "x").code(), Errc::corrupt);
  Buffer bad = good;
  bad[0] = 2;
  EXPECT_EQ(SubstringSet::parse(bad).code(), Errc::unsupported);
  bad = good;
  bad[1] = 2;  // the next id is one that is taken
  EXPECT_EQ(SubstringSet::parse(bad).code(), Errc::corrupt);
  // More runs, and longer ones, than there are bytes.
  for (const std::uint64_t size : {std::uint64_t{1} << 20, UINT64_MAX}) {
    Buffer head;
    append_varint(head, 1);
    append_varint(head, 1000);
    append_varint(head, size);
    EXPECT_EQ(SubstringSet::parse(head + Buffer(100, '\0')).code(), Errc::corrupt);
    head.resize(3);
    append_varint(head, 1);
    append_varint(head, 0);
    append_varint(head, size);
    EXPECT_EQ(SubstringSet::parse(head + Buffer(100, '\0')).code(), Errc::corrupt);
  }
  // More tokens than its runs have: none of them is decoded.
  const auto long_tail = SubstringSet::parse(Buffer("\1\1\0\1\0", 5) + Buffer(1000, '\0'));
  EXPECT_EQ(long_tail.code(), Errc::corrupt);
  EXPECT_NE(long_tail.error().message().find("more tokens than a set has"), std::string::npos);
  // The same run twice.
  Buffer twice;
  for (const std::uint64_t v : {1, 9, 2, 0, 0, 0, 0, 1, 1, 4, 4, 0, 0, 1, 0})
    append_varint(twice, v);
  EXPECT_EQ(SubstringSet::parse(twice + Buffer(32, '\5')).code(), Errc::corrupt);
  EXPECT_TRUE(SubstringSet::parse(twice + Buffer(16, '\5') + Buffer(16, '\6')));
}

}  // namespace
}  // namespace tokvault
