#include "tokvault/delta.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <tuple>

#include "base/bytes.h"
#include "codec/token_diff.h"

namespace tokvault {
namespace {

using Random = std::mt19937_64;
using Tokens = std::vector<Token>;

constexpr std::uint64_t kMax = 1u << 22;

std::size_t below(Random& random, std::size_t limit) { return random() % limit; }

// Tokens with the frequencies of language: few are common, most are rare.
Tokens language(Random& random, std::size_t count, std::uint32_t vocabulary = 100'000) {
  Tokens out(count);
  for (Token& t : out) {
    const double u = static_cast<double>(random() >> 11) * 0x1p-53;
    t = static_cast<Token>(std::min<double>(vocabulary - 1, std::exp(u * std::log(vocabulary))));
  }
  return out;
}

Tokens edited(Random& random, Tokens tokens, int edits) {
  for (int i = 0; i < edits; ++i) {
    const std::size_t at = below(random, tokens.size() + 1);
    const auto place = tokens.begin() + static_cast<std::ptrdiff_t>(at);
    const std::size_t count = 1 + below(random, 5);
    const std::size_t there = std::min(count, tokens.size() - at);
    switch (random() % 4) {
      case 0: {
        const Tokens more = language(random, count);
        tokens.insert(place, more.begin(), more.end());
        break;
      }
      case 1:
        tokens.erase(place, place + static_cast<std::ptrdiff_t>(there));
        break;
      case 2:
        for (std::size_t j = 0; j < there; ++j) tokens[at + j] = language(random, 1)[0];
        break;
      default: {  // a part moves
        const std::size_t size = std::min<std::size_t>(20 + below(random, 60), tokens.size() - at);
        const Tokens part(place, place + static_cast<std::ptrdiff_t>(size));
        tokens.erase(place, place + static_cast<std::ptrdiff_t>(size));
        const auto to = static_cast<std::ptrdiff_t>(below(random, tokens.size() + 1));
        tokens.insert(tokens.begin() + to, part.begin(), part.end());
      }
    }
  }
  return tokens;
}

Buffer round_trip(const Tokens& base, const Tokens& target) {
  auto ops = diff_tokens(base, target);
  EXPECT_TRUE(ops.has_value());
  auto applied = apply_ops(base, *ops, target.size());
  EXPECT_TRUE(applied && *applied == target);
  auto delta = encode_delta(base, target);
  EXPECT_TRUE(delta.has_value());
  auto again = apply_delta(base, *delta, target.size());
  EXPECT_TRUE(again && *again == target) << (again ? "" : again.error().message());
  auto read = read_delta(base, *delta, target.size());
  EXPECT_TRUE(read && *read == *ops);
  auto encoded = encode_ops(base, *ops);
  EXPECT_TRUE(encoded && *encoded == *delta);
  return *delta;
}

std::size_t inserted(const std::vector<DeltaOp>& ops) {
  std::size_t n = 0;
  for (const DeltaOp& op : ops) n += op.tokens.size();
  return n;
}

// A shortest edit script by the textbook: it copies a longest common subsequence.
std::vector<DeltaOp> shortest_script(const Tokens& a, const Tokens& b) {
  std::vector<std::vector<std::size_t>> common(a.size() + 1,
                                               std::vector<std::size_t>(b.size() + 1, 0));
  for (std::size_t i = a.size(); i-- > 0;) {
    for (std::size_t j = b.size(); j-- > 0;) {
      common[i][j] =
          a[i] == b[j] ? common[i + 1][j + 1] + 1 : std::max(common[i + 1][j], common[i][j + 1]);
    }
  }
  std::vector<DeltaOp> ops;
  for (std::size_t i = 0, j = 0; j < b.size();) {
    if (i < a.size() && a[i] == b[j]) {
      ops.push_back(DeltaOp::copy(1));
      ++i, ++j;
    } else if (i < a.size() && common[i + 1][j] >= common[i][j + 1]) {
      ops.push_back(DeltaOp::skip(1));
      ++i;
    } else {
      ops.push_back(DeltaOp::insert(TokenView(b).subspan(j, 1)));
      ++j;
    }
  }
  return ops;
}

TEST(Delta, OneInsertedTokenIsAFewBytes) {
  Random random(1);
  const Tokens base = language(random, 2000);
  Tokens target = base;
  target.insert(target.begin() + 5, 77'777);
  EXPECT_LE(round_trip(base, target).size(), 14u);
  EXPECT_LE(round_trip(target, base).size(), 14u);  // and one deleted
  for (std::size_t at : {0u, 1u, 1000u, 1999u, 2000u}) {
    target = base;
    target.insert(target.begin() + static_cast<std::ptrdiff_t>(at), 99'999);
    EXPECT_LE(round_trip(base, target).size(), 14u) << at;
  }
}

TEST(Delta, TheSameIsOneCopy) {
  Random random(2);
  const Tokens base = language(random, 100);
  auto ops = diff_tokens(base, base);
  ASSERT_TRUE(ops);
  EXPECT_EQ(*ops, std::vector<DeltaOp>{DeltaOp::copy(100)});
  EXPECT_LE(round_trip(base, base).size(), 6u);
  EXPECT_LE(round_trip({}, {}).size(), 6u);
}

TEST(Delta, AnythingBecomesAnything) {
  Random random(3);
  round_trip({}, language(random, 50));
  round_trip(language(random, 50), {});
  round_trip(language(random, 500), language(random, 700));
  round_trip({0, 0xffffffff}, {0xffffffff, 0, 0xffffffff, 0x80000000});
  round_trip({}, {0xffffffff, 0});
}

TEST(Delta, RandomEditsComeBack) {
  Random random(4);
  for (int i = 0; i < 300; ++i) {
    const Tokens base = language(random, 1 + below(random, 400), i % 3 == 0 ? 4 : 50'000);
    round_trip(base, edited(random, base, static_cast<int>(below(random, 30))));
  }
  for (int i = 0; i < 5; ++i) {
    const Tokens base = language(random, 20'000);
    round_trip(base, edited(random, base, 2000));  // more than Myers is given
  }
}

TEST(Delta, FewEditsAreFoundAsAShortestScript) {
  Random random(5);
  std::size_t bytes = 0, shortest_bytes = 0;
  for (int i = 0; i < 400; ++i) {
    const Tokens base = language(random, 1 + below(random, 100), i % 2 == 0 ? 3 : 300);
    const Tokens target = edited(random, base, static_cast<int>(below(random, 6)));
    auto delta = encode_delta(base, target);
    auto shortest = encode_ops(base, shortest_script(base, target));
    ASSERT_TRUE(delta && shortest);
    EXPECT_LE(delta->size(), shortest->size() + shortest->size() / 5 + 2) << i;
    bytes += delta->size();
    shortest_bytes += shortest->size();
  }
  EXPECT_LE(bytes, shortest_bytes);
  // No token more than the shortest where edits stand alone.
  for (int i = 0; i < 100; ++i) {
    const Tokens base = language(random, 300);
    Tokens target = base;
    for (std::size_t at : {250u, 200u, 130u, 90u, 20u}) {
      const auto place = target.begin() + static_cast<std::ptrdiff_t>(at);
      if (random() % 2 == 0) {
        target.insert(place, 200'000 + static_cast<Token>(at));
      } else {
        target.erase(place);
      }
    }
    auto ops = diff_tokens(base, target);
    ASSERT_TRUE(ops);
    EXPECT_EQ(inserted(*ops), inserted(shortest_script(base, target)));
  }
}

TEST(Delta, AMovedPartIsCopied) {
  Random random(6);
  const Tokens base = language(random, 1000);
  Tokens target = base;
  std::rotate(target.begin() + 100, target.begin() + 400, target.begin() + 800);
  auto ops = diff_tokens(base, target);
  ASSERT_TRUE(ops);
  EXPECT_EQ(inserted(*ops), 0u);
  EXPECT_LE(round_trip(base, target).size(), 24u);
}

TEST(Delta, ANameThatChangesEverywhereIsSpelledOnce) {
  Random random(7);
  Tokens base = language(random, 3000);
  Tokens target;
  for (std::size_t i = 0; i < base.size(); ++i) {
    target.push_back(base[i]);
    if (i % 100 == 50) {
      base[i] = 400'000;
      target.back() = 500'001;  // two tokens become three
      target.push_back(500'002);
      target.push_back(500'003);
    }
  }
  // 30 places: each costs a distance of about 100 and little else.
  EXPECT_LE(round_trip(base, target).size(), 60u);
}

TEST(Delta, LargeAndRepetitiveInputIsDoneInTime) {
  Random random(8);
  constexpr std::size_t kLarge = 100'000;
  const Tokens a = language(random, kLarge), b = language(random, kLarge);
  round_trip(a, b);                                      // nothing in common
  round_trip(Tokens(kLarge, 7), Tokens(kLarge / 2, 7));  // one token
  Tokens two(kLarge), other(kLarge);
  for (std::size_t i = 0; i < kLarge; ++i) two[i] = i % 2, other[i] = i % 3;
  round_trip(two, other);
  round_trip(language(random, kLarge, 2), language(random, kLarge, 2));  // noise of two tokens
  Tokens fifth = a;
  for (std::size_t i = 0; i < kLarge; i += 5) fifth[i] = 300'000 + static_cast<Token>(i);
  const Buffer delta = round_trip(a, fifth);  // no 6 tokens in a row stay
  EXPECT_LT(delta.size(), kLarge / 5 * 4);
}

TEST(Delta, RefusesDamage) {
  Random random(9);
  const Tokens base = language(random, 300);
  const Tokens target = edited(random, base, 8);
  const Buffer good = round_trip(base, target);
  for (std::size_t n = 0; n < good.size(); ++n) {
    auto cut = apply_delta(base, ByteView(good).substr(0, n), kMax);
    EXPECT_EQ(cut.code(), Errc::corrupt) << n;
  }
  EXPECT_EQ(apply_delta(base, good + '\0', kMax).code(), Errc::corrupt);
  EXPECT_EQ(apply_delta(base, good + "x", kMax).code(), Errc::corrupt);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Buffer bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    auto read = apply_delta(base, bad, kMax);
    EXPECT_FALSE(read.has_value()) << bit;
  }
  EXPECT_EQ(apply_delta(target, good, kMax).code(), Errc::corrupt);  // another base
  EXPECT_EQ(apply_delta(base, good, target.size() - 1).code(), Errc::exhausted);
}

TEST(Delta, AbsurdSizesAreErrorsBeforeMemoryIsTaken) {
  const Tokens base = {1, 2, 3};
  const auto delta = [](ByteView size) { return Buffer(size) + "sum." + "some code"; };
  // Overlong, overflowing and endless varints.
  EXPECT_EQ(apply_delta(base, delta(ByteView("\x80\x00", 2)), kMax).code(), Errc::corrupt);
  EXPECT_EQ(apply_delta(base, delta("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), kMax).code(),
            Errc::corrupt);
  EXPECT_EQ(apply_delta(base, Buffer(20, '\xff'), kMax).code(), Errc::corrupt);
  // Targets of 2^31 and of -1 tokens.
  Buffer size;
  append_varint(size, zigzag(std::int64_t{1} << 31));
  EXPECT_EQ(apply_delta(base, delta(size), UINT64_MAX).code(), Errc::corrupt);
  size.clear();
  append_varint(size, zigzag(-4));
  EXPECT_EQ(apply_delta(base, delta(size), UINT64_MAX).code(), Errc::corrupt);
  // 2^31 - 1 tokens are possible, but not in nine bytes.
  size.clear();
  append_varint(size, zigzag((std::int64_t{1} << 31) - 4));
  EXPECT_EQ(apply_delta(base, delta(size), UINT64_MAX).code(), Errc::corrupt);
  EXPECT_EQ(apply_delta(base, delta(size), kMax).code(), Errc::exhausted);
}

TEST(Delta, EditsThatCannotBeAreRefused) {
  const Tokens base = {1, 2, 3};
  const auto code = [&](std::vector<DeltaOp> ops) {
    const Errc applied = apply_ops(base, ops, 10).code();
    if (applied == Errc::invalid) {
      EXPECT_EQ(encode_ops(base, ops).code(), Errc::invalid);
    }
    return applied;
  };
  EXPECT_EQ(code({DeltaOp::copy(3)}), Errc::ok);
  EXPECT_EQ(code({DeltaOp::copy(4)}), Errc::invalid);
  EXPECT_EQ(code({DeltaOp::copy(0)}), Errc::invalid);
  EXPECT_EQ(code({DeltaOp::skip(3), DeltaOp::copy(1)}), Errc::invalid);
  EXPECT_EQ(code({DeltaOp::skip(-1)}), Errc::invalid);
  EXPECT_EQ(code({DeltaOp::skip(INT64_MIN)}), Errc::invalid);
  EXPECT_EQ(code({DeltaOp::copy(1), DeltaOp::skip(INT64_MAX)}), Errc::invalid);
  EXPECT_EQ(code({{DeltaOp::Kind::insert, 2, {5}}}), Errc::invalid);
  EXPECT_EQ(code({{static_cast<DeltaOp::Kind>(9), 1, {}}}), Errc::invalid);
  EXPECT_EQ(code({DeltaOp::insert(Tokens(11))}), Errc::exhausted);
  EXPECT_EQ(code({DeltaOp::copy(3), DeltaOp::skip(-3), DeltaOp::copy(3), DeltaOp::skip(-3),
                  DeltaOp::copy(3), DeltaOp::skip(-3), DeltaOp::copy(3)}),
            Errc::exhausted);
}

TEST(Delta, EditsInAnyFormAreCodedInTheirNormalForm) {
  const Tokens base = {1, 2, 3, 4, 5, 6};
  const std::vector<DeltaOp> ops = {
      DeltaOp::skip(0),           DeltaOp::copy(1),  DeltaOp::copy(1),  DeltaOp::insert({}),
      DeltaOp::insert(Tokens{9}), DeltaOp::skip(3),  DeltaOp::skip(-1), DeltaOp::insert(Tokens{8}),
      DeltaOp::copy(2),           DeltaOp::skip(-6), DeltaOp::skip(6)};
  auto delta = encode_ops(base, ops);
  ASSERT_TRUE(delta);
  auto read = read_delta(base, *delta, 100);
  ASSERT_TRUE(read);
  const std::vector<DeltaOp> normal = {DeltaOp::copy(2), DeltaOp::skip(2),
                                       DeltaOp::insert(Tokens{9, 8}), DeltaOp::copy(2)};
  EXPECT_EQ(*read, normal);
  EXPECT_EQ(*apply_delta(base, *delta, 100), (Tokens{1, 2, 9, 8, 5, 6}));
}

TEST(TokenDiff, MatchesAreEqualAndInOrder) {
  Random random(10);
  for (int i = 0; i < 200; ++i) {
    const Tokens base = language(random, below(random, 3000), i % 2 == 0 ? 5 : 5000);
    const Tokens target = base.empty() ? language(random, 10) : edited(random, base, 100);
    std::uint32_t at = 0;
    for (const TokenMatch& m : match_tokens(base, target)) {
      ASSERT_GT(m.count, 0u);
      ASSERT_GE(m.target, at);
      at = m.target + m.count;
      ASSERT_LE(at, target.size());
      ASSERT_LE(m.base + m.count, base.size());
      ASSERT_TRUE(std::equal(base.begin() + m.base, base.begin() + m.base + m.count,
                             target.begin() + m.target));
    }
  }
}

// Parts that stand in what the two have in common at their ends are found there, too.
TEST(TokenDiff, PartsOfTheCommonEndsAreCopied) {
  Random random(11);
  for (int i = 0; i < 60; ++i) {
    const Tokens head = language(random, 500 + below(random, 2000));
    const Tokens tail = language(random, 500 + below(random, 2000));
    Tokens base = head, target = head;
    // What stands between needs more edits than the shortest script is looked for with.
    const Tokens between = language(random, 3000);
    base.insert(base.end(), between.begin(), between.end());
    for (int part = 0; part < 200; ++part) {
      const Tokens& from = random() % 3 == 0 ? between : random() % 2 == 0 ? head : tail;
      const auto at = from.begin() + static_cast<std::ptrdiff_t>(below(random, from.size() - 30));
      target.insert(target.end(), at, at + 8 + static_cast<std::ptrdiff_t>(below(random, 20)));
      const Tokens more = language(random, 1 + below(random, 8));
      target.insert(target.end(), more.begin(), more.end());
    }
    base.insert(base.end(), tail.begin(), tail.end());
    target.insert(target.end(), tail.begin(), tail.end());
    const auto delta = encode_delta(base, target);
    ASSERT_TRUE(delta);
    const auto back = apply_delta(base, *delta, kMax);
    ASSERT_TRUE(back);
    ASSERT_EQ(*back, target);
    // 3,500 tokens of parts in 200 copies, and 900 tokens that are new.
    EXPECT_LT(delta->size(), 3000u);
  }
}

// The bytes of a released delta, which also stand in docs/format/delta.md.
TEST(Delta, GoldenBytesReadAsTheyWereWritten) {
  const char* source = std::getenv("TOKVAULT_SOURCE");
  const std::string folder = std::string(source ? source : ".") + "/tests/golden/delta/";
  const auto golden = [&](const std::string& name) {
    std::ifstream in(folder + name, std::ios::binary);
    return Buffer(std::istreambuf_iterator<char>(in), {});
  };
  Tokens base(12);
  std::iota(base.begin(), base.end(), 1);
  Tokens replaced = base;
  replaced[6] = 70'000;
  replaced.insert(replaced.begin() + 7, 70'001);
  // A part that moved, a name that changes twice, a token of the base, and an end that is cut off.
  Tokens text(60), moved;
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<Token>(1000 + i * i % 97);
  text[10] = text[50] = 5;
  moved.insert(moved.end(), text.begin() + 30, text.begin() + 55);
  moved.insert(moved.end(), text.begin(), text.begin() + 30);
  for (Token& t : moved) t = t == 5 ? 0xffffffff : t;
  moved.insert(moved.begin() + 40, text[3]);
  for (const auto& [name, from, to] :
       {std::tuple("replaced.delta", base, replaced), std::tuple("moved.delta", text, moved)}) {
    auto target = apply_delta(from, golden(name), 100);
    ASSERT_TRUE(target) << name << ": " << target.error().message();
    EXPECT_EQ(*target, to) << name;
    auto ops = read_delta(from, golden(name), 100);
    ASSERT_TRUE(ops);
    auto again = encode_ops(from, *ops);
    EXPECT_TRUE(again && *again == golden(name)) << name << " " << to_hex(*encode_delta(from, to));
  }
}

}  // namespace
}  // namespace tokvault
