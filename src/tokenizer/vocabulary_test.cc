#include "tokenizer/vocabulary.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "tokenizer/merge.h"
#include "tokenizer/naive_merge.h"

namespace tokvault {
namespace {

std::unique_ptr<const Vocabulary> vocabulary_of(const Ranks& ranks) {
  auto parsed = Vocabulary::parse(rank_file(ranks));
  EXPECT_TRUE(parsed) << parsed.error().message();
  return parsed ? std::move(*parsed) : nullptr;
}

std::string refusal(const std::string& file) {
  const auto parsed = Vocabulary::parse(file);
  EXPECT_FALSE(parsed);
  if (parsed) return "";
  EXPECT_EQ(parsed.code(), Errc::invalid);
  return std::string(parsed.error().message());
}

TEST(Vocabulary, FindsTokensOfEveryLength) {
  Ranks ranks = byte_ranks();
  std::string token;
  for (Token id = 1000; id < 1060; id += 3) {
    token += static_cast<char>(id);
    if (token.size() > 1) ranks.emplace_back(token, id);
  }
  const auto v = vocabulary_of(ranks);
  ASSERT_NE(v, nullptr);
  EXPECT_EQ(v->count(), ranks.size());
  EXPECT_EQ(v->bytes_max(), 20u);
  EXPECT_EQ(v->rank_file_sha256(), sha256(rank_file(ranks)));
  for (const auto& [bytes, id] : ranks) {
    const std::uint32_t index = v->find(bytes);
    ASSERT_NE(index, Vocabulary::kNone);
    EXPECT_EQ(v->id(index), id);
    EXPECT_EQ(v->bytes(index), bytes);
    EXPECT_EQ(v->index_of(id), index);
    EXPECT_EQ(v->find(bytes + "x"), Vocabulary::kNone);
  }
  EXPECT_EQ(v->index_of(256), Vocabulary::kNone);
  EXPECT_EQ(v->index_of(1001), Vocabulary::kNone);
  EXPECT_EQ(v->index_of(0xffffffff), Vocabulary::kNone);
  EXPECT_EQ(v->find(std::string(100, 'y')), Vocabulary::kNone);
}

TEST(Vocabulary, AcceptsOtherLineEndsAndAnyOrder) {
  Ranks ranks = byte_ranks();
  std::reverse(ranks.begin(), ranks.end());
  std::string file;
  for (const auto& [bytes, id] : ranks) file += base64(bytes) + " " + std::to_string(id) + "\r\n\n";
  const auto parsed = Vocabulary::parse(file.substr(0, file.size() - 3));
  ASSERT_TRUE(parsed);
  EXPECT_EQ((*parsed)->bytes(7), "\x07");
}

TEST(Vocabulary, RefusesMalformedRankFilesAndNamesTheLine) {
  const std::string good = rank_file(byte_ranks());
  EXPECT_NE(refusal("").find("no token for the single byte 0"), std::string::npos);
  EXPECT_NE(refusal(good.substr(good.find('\n') + 1)).find("single byte 0"), std::string::npos);
  const auto line_257 = [&](const std::string& line) { return refusal(good + line + "\n"); };
  EXPECT_NE(line_257("YWI=").find("line 257: no space"), std::string::npos);
  for (const char* const token : {"", "YWI", "YW=I", "Y===", "====", "YWJ=", "YW!=", "YWI=YWI="}) {
    EXPECT_NE(line_257(std::string(token) + " 300").find("line 257: the token is not base64"),
              std::string::npos)
        << token;
  }
  for (const char* const rank : {"", "x", "-1", "4294967295", "99999999999", "3 4", "3 "}) {
    EXPECT_NE(line_257(std::string("YWI= ") + rank).find("line 257: the rank"), std::string::npos)
        << rank;
  }
  EXPECT_NE(line_257("YWI= 9").find("line 257: rank 9 is already that of line 10"),
            std::string::npos);
  EXPECT_NE(line_257("YQ== 300").find("line 257: the token is already that of line 98"),
            std::string::npos);
}

class ImageTest : public testing::Test {
 protected:
  void SetUp() override {
    std::mt19937 random(3);
    ranks_ = random_ranks(random, "abc", 50);
    vocabulary_ = vocabulary_of(ranks_);
    ASSERT_NE(vocabulary_, nullptr);
    path_ = testing::TempDir() + "tokvault_image_test.vocab";
  }
  void TearDown() override { std::filesystem::remove(path_); }
  void write(std::string_view bytes) const {
    std::ofstream(path_, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

  Ranks ranks_;
  std::unique_ptr<const Vocabulary> vocabulary_;
  std::string path_;
};

TEST_F(ImageTest, IsTheSameVocabulary) {
  write(vocabulary_->image());
  const auto mapped = Vocabulary::map(path_);
  ASSERT_TRUE(mapped) << mapped.error().message();
  EXPECT_EQ((*mapped)->image(), vocabulary_->image());
  EXPECT_EQ((*mapped)->rank_file_sha256(), vocabulary_->rank_file_sha256());
  EXPECT_EQ((*mapped)->bytes_max(), vocabulary_->bytes_max());
  for (const auto& [bytes, id] : ranks_)
    EXPECT_EQ((*mapped)->find(bytes), vocabulary_->find(bytes));
}

TEST_F(ImageTest, DamageIsSeen) {
  EXPECT_EQ(Vocabulary::map(path_).code(), Errc::not_found);
  const std::string good(vocabulary_->image());
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{127}, std::size_t{128}, good.size() - 8, good.size() - 1}) {
    write(good.substr(0, size));
    EXPECT_EQ(Vocabulary::map(path_).code(), Errc::corrupt) << size;
  }
  write(good + "x");
  EXPECT_EQ(Vocabulary::map(path_).code(), Errc::corrupt);
  bool for_encoding_only = false;
  for (std::size_t at = 0; at < good.size(); at += at < 200 ? 1 : 4999) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    write(bad);
    const auto mapped = Vocabulary::map(path_);
    if (!mapped) {
      EXPECT_EQ(mapped.code(), at < 8 ? Errc::unsupported : Errc::corrupt) << at;
      EXPECT_FALSE(for_encoding_only) << at;
      continue;
    }
    // What is needed to decode stands in front, and gives the rest again.
    for_encoding_only = true;
    EXPECT_FALSE((*mapped)->can_encode()) << at;
    if (at % 3 != 0) continue;
    const auto rebuilt = (*mapped)->rebuild();
    ASSERT_TRUE(rebuilt) << at;
    EXPECT_EQ((*rebuilt)->image(), good) << at;
  }
  EXPECT_TRUE(for_encoding_only);
  EXPECT_TRUE(vocabulary_->can_encode());
}

std::vector<Token> merged(const Vocabulary& v, Merger& merger, std::string_view piece) {
  std::vector<std::uint32_t> out{7};  // merge() appends
  merger.merge(piece, out);
  EXPECT_EQ(out[0], 7u);
  out.erase(out.begin());
  for (std::uint32_t& id : out) id = v.id(id);
  return out;
}

TEST(Merge, OrderIsOfIdsThenLeftToRight) {
  Ranks ranks = byte_ranks();
  ranks.insert(ranks.end(), {{"ab", 300}, {"bc", 299}, {"aa", 301}, {"aab", 305}});
  const auto v = vocabulary_of(ranks);
  Merger merger(*v);
  EXPECT_EQ(merged(*v, merger, "abc"), (std::vector<Token>{'a', 299}));
  EXPECT_EQ(merged(*v, merger, "aaa"), (std::vector<Token>{301, 'a'}));
  EXPECT_EQ(merged(*v, merger, "aab"), (std::vector<Token>{305}));
  EXPECT_EQ(merged(*v, merger, "x"), (std::vector<Token>{'x'}));
}

// Short pieces, windows and the heap against the definition, with vocabularies in which everything
// merges with everything.
TEST(Merge, IsTheDefinition) {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    const std::string_view alphabet = std::string_view("abcdefgh").substr(0, 1 + random() % 5);
    Ranks ranks = random_ranks(random, alphabet, 5 + random() % 150);
    if (round % 3 == 0) {
      // Ids in another order: tokens that merging prefers to their parts, or never reaches.
      for (std::size_t i = ranks.size() - 1; i > 256; --i) {
        std::swap(ranks[i].second, ranks[256 + random() % (i - 255)].second);
      }
    }
    const auto v = vocabulary_of(ranks);
    ASSERT_NE(v, nullptr);
    Merger merger(*v);
    for (const std::size_t size : {1u, 2u, 3u, 15u, 16u, 17u, 100u, 127u, 128u, 129u, 300u, 700u}) {
      std::string piece;
      const std::size_t period = 1 + random() % 40;
      for (std::size_t i = 0; i < size; ++i) {
        const bool again = i >= period && random() % 30 != 0;
        piece.push_back(again ? piece[i - period] : alphabet[random() % alphabet.size()]);
      }
      EXPECT_EQ(merged(*v, merger, piece), naive_merge(ranks, piece)) << piece;
    }
  }
}

TEST(Merge, TokensLongerThanAnyWindow) {
  Ranks ranks = byte_ranks();
  std::string token = "ab";
  for (Token id = 256; token.size() <= 1024; ++id, token += token) ranks.emplace_back(token, id);
  const auto v = vocabulary_of(ranks);
  ASSERT_NE(v, nullptr);
  Merger merger(*v);
  for (const std::size_t count : {63u, 64u, 65u, 512u, 700u, 1023u, 1500u}) {
    std::string piece = "b";
    for (std::size_t i = 0; i < count; ++i) piece += "ab";
    EXPECT_EQ(merged(*v, merger, piece), naive_merge(ranks, piece)) << count;
  }
}

// Pairs that are merged from right to left, so that the parity of a chain's length decides about
// its beginning, beyond any window; and a token that shows, behind a cut that was already made,
// that the cut was wrong.
TEST(Merge, WrongCutsAreTakenBack) {
  Ranks ranks = byte_ranks();
  std::string chain;
  for (int i = 0; i < 199; ++i) chain.push_back(static_cast<char>(i < 'x' ? i : i + 1));
  for (std::size_t i = 0; i + 1 < chain.size(); ++i) {
    ranks.emplace_back(chain.substr(i, 2), static_cast<Token>(1000 - i));
  }
  ranks.emplace_back("x" + chain.substr(0, 1), 2000);
  const auto v = vocabulary_of(ranks);
  ASSERT_NE(v, nullptr);
  Merger merger(*v);
  for (std::size_t before = 90; before < 100; ++before) {
    for (const std::size_t size : {198u, 199u}) {
      const std::string piece = std::string(before, 'x') + chain.substr(0, size);
      EXPECT_EQ(merged(*v, merger, piece), naive_merge(ranks, piece)) << before << " " << size;
    }
  }
}

TEST(Merge, LongPiecesTakeLinearTime) {
  std::mt19937 random(5);
  const auto v = vocabulary_of(random_ranks(random, "ab", 300));
  ASSERT_NE(v, nullptr);
  Merger merger(*v);
  std::string piece;
  for (int i = 0; i < 1'000'000; ++i) piece.push_back("ab"[random() % 2]);
  std::string back;
  for (const Token id : merged(*v, merger, piece)) back += v->bytes(v->index_of(id));
  EXPECT_EQ(back, piece);
}

// No token crosses where joined() says so.
TEST(Vocabulary, JoinedIsNeverWronglyFalse) {
  Ranks ranks = byte_ranks();
  const std::string a = "\u4e2d", b = "\u6587", c = "\u0416", d = "\U0001f600";
  const std::vector<std::string> tokens = {a,     b,    a + b, b.substr(2) + a, a + b.substr(0, 1),
                                           c + a, d + c};
  for (const std::string& token : tokens) {
    ranks.emplace_back(token, static_cast<Token>(ranks.size()));
  }
  const auto v = vocabulary_of(ranks);
  ASSERT_NE(v, nullptr);
  const auto joined = [&](const std::string& left, const std::string& right) {
    const std::string text = left + right;
    return v->joined(text.data() + left.size());
  };
  EXPECT_TRUE(joined(a, b));
  EXPECT_TRUE(joined(b, a));
  EXPECT_TRUE(joined(c, a));
  EXPECT_TRUE(joined(d, c));
  EXPECT_FALSE(joined(a, c));
  EXPECT_FALSE(joined(c, d));
  EXPECT_FALSE(joined(c, c));
}

}  // namespace
}  // namespace tokvault
