// The tests named Real... need the rank files: without them they fail (docs/tokenizers.md).
#include "tokvault/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/checksum.h"
#include "tokenizer/naive_merge.h"
#include "tokenizer/splitter.h"
#include "tokvault/installed.h"

namespace tokvault {
namespace {

using Tokens = std::vector<Token>;

std::shared_ptr<const Tokenizer> open(std::string_view name, const TokenizerOptions& options = {}) {
  auto opened = open_tokenizer(name, options);
  EXPECT_TRUE(opened) << opened.error().message();
  return opened ? *opened : nullptr;
}

// Of a copy of exactly the text's size, so that a sanitizer sees a byte read too far.
Tokens encode(Tokenizer::Encoder& encoder, std::string_view text) {
  const std::unique_ptr<char[]> copy(new char[text.size()]);
  std::copy(text.begin(), text.end(), copy.get());
  Tokens out;
  encoder.encode({copy.get(), text.size()}, out);
  return out;
}

Tokens encode(const Tokenizer& tokenizer, std::string_view text) {
  return encode(*tokenizer.make_encoder(), text);
}

std::string decode(const Tokenizer& tokenizer, TokenView tokens) {
  std::string out;
  const auto status = tokenizer.decode(tokens, out);
  EXPECT_TRUE(status) << status.error().message();
  return out;
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string random_bytes_text(std::mt19937& random, std::size_t size) {
  std::string text;
  while (text.size() < size) text.push_back(static_cast<char>(random()));
  return text;
}

void append_utf8(std::uint32_t c, std::string& out) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xc0 | c >> 6));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | c >> 12));
  } else {
    out.push_back(static_cast<char>(0xf0 | c >> 18));
    out.push_back(static_cast<char>(0x80 | (c >> 12 & 0x3f)));
  }
  if (c >= 0x800) out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
  if (c >= 0x80) out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
}

std::string random_text(std::mt19937& random, std::size_t points) {
  constexpr std::uint32_t kLimits[] = {0x80, 0x80, 0x250, 0x3000, 0xa000, 0x110000};
  std::string text;
  const std::uint32_t limit = kLimits[random() % std::size(kLimits)];
  for (std::size_t i = 0; i < points; ++i) append_utf8(random() % limit, text);
  return text;
}

TEST(BytesTokenizer, TokenIsByte) {
  const auto t = open("bytes");
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->name(), "bytes");
  EXPECT_EQ(t->id_limit(), 256u);
  EXPECT_EQ(t->vocabulary_sha256(), sha256({}));
  EXPECT_TRUE(t->special_tokens().empty());
  EXPECT_EQ(encode(*t, "a\xff"), (Tokens{'a', 255}));
  EXPECT_EQ(t->token_bytes('a'), "a");
  EXPECT_EQ(t->token_bytes(256), "");
  std::string out;
  const Tokens bad = {'a', 256};
  const auto status = t->decode(bad, out);
  EXPECT_EQ(status.code(), Errc::invalid);
  EXPECT_NE(status.error().message().find("256"), std::string_view::npos);
}

TEST(OpenTokenizer, SaysWhatIsMissingAndWhatToDo) {
  EXPECT_EQ(open_tokenizer("gpt2").code(), Errc::not_found);
  const auto absent =
      open_tokenizer("o200k_base", {.ranks_folder = testing::TempDir() + "nowhere"});
  EXPECT_EQ(absent.code(), Errc::not_found);
  EXPECT_NE(absent.error().message().find("nowhere"), std::string_view::npos);
  EXPECT_NE(absent.error().message().find("fetch_tokenizers"), std::string_view::npos);
}

TEST(OpenTokenizer, RefusesAnotherRankFile) {
  const std::string folder = testing::TempDir() + "tokvault_wrong_ranks";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/cl100k_base.tiktoken") << rank_file(byte_ranks());
  const auto wrong = open_tokenizer("cl100k_base", {.ranks_folder = folder});
  EXPECT_EQ(wrong.code(), Errc::corrupt);
  std::filesystem::remove_all(folder);
}

TEST(MakeTokenizer, RefusesWhatItCannotUse) {
  EXPECT_EQ(make_tokenizer("x", "gpt2", rank_file(byte_ranks())).code(), Errc::invalid);
  const auto bad = make_tokenizer("x", "cl100k_base", "YQ== 0\nYg== b\n");
  EXPECT_EQ(bad.code(), Errc::invalid);
  EXPECT_NE(bad.error().message().find("line 2"), std::string_view::npos);
}

// A vocabulary of our own: ids with gaps, every piece as the definition has it, and a second time
// from the encoder's caches.
TEST(MakeTokenizer, EncodesAsDefined) {
  std::mt19937 random(23);
  Ranks ranks = random_ranks(random, " abcAB\xe4\xb8\xad\xe6\x96\x87\xd0\x96", 400);
  const std::string a = "\u4e2d";
  for (const std::string& more : {a, a + a, "\u6587" + a, a.substr(1) + a}) {
    bool known = false;
    for (const auto& rank : ranks) known = known || rank.first == more;
    if (!known) ranks.emplace_back(more, static_cast<Token>(ranks.size()));
  }
  for (auto& [bytes, id] : ranks) id = id * 3 + 5;
  // A token that merging does not reach, because its parts are none: only as a whole piece.
  ranks.emplace_back("zzzz", 1);
  for (const std::string_view pattern : {"cl100k_base", "o200k_base"}) {
    const auto made = make_tokenizer("mine", pattern, rank_file(ranks));
    ASSERT_TRUE(made) << made.error().message();
    const Tokenizer& t = **made;
    EXPECT_EQ(t.name(), "mine");
    EXPECT_EQ(encode(t, "zzzz zzzzz"), (Tokens{1, ' ' * 3 + 5, 'z' * 3 + 5, 'z' * 3 + 5,
                                               'z' * 3 + 5, 'z' * 3 + 5, 'z' * 3 + 5}));
    const auto encoder = t.make_encoder();
    const std::string parts[] = {" ", "a",      "b",      "ab",     "cA",
                                 "B", "\u4e2d", "\u6587", "\u0416", "\xe4"};
    for (int round = 0; round < 400; ++round) {
      std::string text;
      for (std::size_t n = random() % 60; n > 0; --n) {
        text += parts[random() % (round % 2 == 0 ? 6 : std::size(parts))];
      }
      Tokens expected;
      Splitter splitter(pattern == "cl100k_base" ? Pattern::cl100k : Pattern::o200k, text);
      const char* begin = text.data();
      for (const char* end = nullptr; splitter.next(&end, 1) != 0; begin = end) {
        const std::string_view piece(begin, static_cast<std::size_t>(end - begin));
        Tokens ids = naive_merge(ranks, piece);
        for (const auto& [bytes, id] : ranks) {
          if (bytes == piece) ids = {id};
        }
        expected.insert(expected.end(), ids.begin(), ids.end());
      }
      for (int again = 0; again < 2; ++again) {
        Tokens out{42};
        encoder->encode(text, out);
        EXPECT_EQ(out[0], 42u);
        out.erase(out.begin());
        EXPECT_EQ(out, expected) << text;
      }
      EXPECT_EQ(decode(t, expected), text);
    }
    EXPECT_EQ(t.token_bytes(6), "");
    EXPECT_EQ(t.id_limit(), ranks[ranks.size() - 2].second + 1);
  }
}

TEST(MakeTokenizer, EncoderKeepsItsTokenizerAlive) {
  auto made = make_tokenizer("mine", "o200k_base", rank_file(byte_ranks()));
  ASSERT_TRUE(made);
  const auto encoder = (*made)->make_encoder();
  made = Error(Errc::cancelled, "gone");
  Tokens out;
  encoder->encode("hi", out);
  encoder->encode_with_special("<|endoftext|>", out);
  EXPECT_EQ(out.size(), 2u + 13u);
}

TEST(RealTokenizers, KnownIds) {
  const auto cl100k = open("cl100k_base");
  const auto o200k = open("o200k_base");
  ASSERT_TRUE(cl100k != nullptr && o200k != nullptr);
  EXPECT_EQ(encode(*cl100k, "hello world"), (Tokens{15339, 1917}));
  EXPECT_EQ(encode(*o200k, "hello world"), (Tokens{24912, 2375}));
  EXPECT_EQ(encode(*o200k, ""), Tokens{});
  EXPECT_EQ(cl100k->id_limit(), 100277u);
  EXPECT_EQ(o200k->id_limit(), 200019u);
  EXPECT_EQ(cl100k->token_bytes(15339), "hello");
  EXPECT_EQ(cl100k->token_bytes(100257), "<|endoftext|>");
  EXPECT_EQ(cl100k->token_bytes(100256), "");
  EXPECT_EQ(cl100k->token_bytes(0xffffffff), "");
  EXPECT_EQ(cl100k->special_tokens().size(), 5u);
  std::string out;
  const Tokens bad = {15339, 100256};
  EXPECT_EQ(cl100k->decode(bad, out).code(), Errc::invalid);
}

TEST(RealTokenizers, SpecialTokensAreTextUnlessAskedFor) {
  const auto t = open("cl100k_base");
  ASSERT_NE(t, nullptr);
  const std::string text = "<|endoftext|>a<|<|fim_prefix|><|fim_prefix";
  EXPECT_EQ(decode(*t, encode(*t, text)), text);
  for (const Token id : encode(*t, text)) EXPECT_LT(id, 100256u);
  Tokens out;
  t->make_encoder()->encode_with_special(text, out);
  ASSERT_GE(out.size(), 4u);
  EXPECT_EQ(out[0], 100257u);
  EXPECT_EQ(out[1], 64u);
  EXPECT_EQ(std::count(out.begin(), out.end(), 100258u), 1);
  EXPECT_EQ(decode(*t, out), text);
}

// The file was written by the original tokenizers (scripts/tokenizer_oracle.mjs).
TEST(RealTokenizers, Golden) {
  const char* const source = std::getenv("TOKVAULT_SOURCE");
  ASSERT_NE(source, nullptr);
  const std::shared_ptr<const Tokenizer> tokenizers[] = {open("cl100k_base"), open("o200k_base")};
  ASSERT_TRUE(tokenizers[0] != nullptr && tokenizers[1] != nullptr);
  const std::unique_ptr<Tokenizer::Encoder> encoders[] = {tokenizers[0]->make_encoder(),
                                                          tokenizers[1]->make_encoder()};
  std::istringstream lines(read(std::string(source) + "/tests/golden/tokenizer/ids.txt"));
  std::size_t cases = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream fields(line);
    std::string name, hex, text;
    std::getline(fields, name, '\t');
    std::getline(fields, hex, '\t');
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      text.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    for (std::size_t which = 0; which < 2; ++which) {
      const auto& tokenizer = tokenizers[which];
      std::string list;
      std::getline(fields, list, '\t');
      std::istringstream numbers(list);
      const Tokens expected(std::istream_iterator<Token>(numbers), {});
      // The second time from the encoder's caches.
      EXPECT_EQ(encode(*encoders[which], text), expected) << tokenizer->name() << " " << name;
      EXPECT_EQ(encode(*encoders[which], text), expected) << tokenizer->name() << " " << name;
      EXPECT_EQ(decode(*tokenizer, expected), text) << tokenizer->name() << " " << name;
    }
    ++cases;
  }
  EXPECT_GT(cases, 40u);
}

// Pieces of every length at the very end of a text, from the caches and not.
TEST(RealTokenizers, NothingIsReadBehindTheText) {
  const auto t = open("o200k_base");
  ASSERT_NE(t, nullptr);
  const auto encoder = t->make_encoder();
  for (const std::string unit : {"q", "ab", "\u4e2d", "\u0416", " ", "=-", "\xe4"}) {
    std::string text;
    for (int n = 0; n < 200; ++n, text += unit) {
      const Tokens cold = encode(*encoder, text);
      EXPECT_EQ(encode(*encoder, text), cold);
      EXPECT_EQ(decode(*t, cold), text);
    }
  }
}

TEST(RealTokenizers, AnyBytesComeBack) {
  std::mt19937 random(2);
  for (const std::string_view name : {"cl100k_base", "o200k_base"}) {
    const auto t = open(name);
    ASSERT_NE(t, nullptr);
    const auto encoder = t->make_encoder();
    for (int i = 0; i < 2000; ++i) {
      const std::string text = i % 2 == 0 ? random_bytes_text(random, random() % 300)
                                          : random_text(random, random() % 200);
      Tokens warm;
      encoder->encode(text, warm);
      EXPECT_EQ(decode(*t, warm), text);
      if (i % 50 == 0) {
        EXPECT_EQ(encode(*t, text), warm);
      }
    }
  }
}

// The image that set-up writes and the rank file are the same tokenizer.
TEST(RealTokenizers, RankFileWithoutImage) {
  const char* const installed = std::getenv("TOKVAULT_TOKENIZERS");
  ASSERT_NE(installed, nullptr);
  const auto mapped = open("cl100k_base");
  ASSERT_NE(mapped, nullptr);
  const std::string folder = testing::TempDir() + "tokvault_ranks";
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(std::string(installed) + "/cl100k_base.tiktoken",
                             folder + "/cl100k_base.tiktoken",
                             std::filesystem::copy_options::overwrite_existing);
  // An image that is damaged is as good as none.
  std::ofstream(folder + "/cl100k_base.vocab") << "damaged";
  const auto parsed = open("cl100k_base", {.ranks_folder = folder});
  // One that is damaged where only encoding looks needs no rank file.
  std::ifstream whole(std::string(installed) + "/cl100k_base.vocab", std::ios::binary);
  std::string image{std::istreambuf_iterator<char>(whole), {}};
  image[image.size() / 2] = static_cast<char>(image[image.size() / 2] ^ 1);
  std::filesystem::remove(folder + "/cl100k_base.tiktoken");
  std::ofstream(folder + "/cl100k_base.vocab", std::ios::binary) << image;
  const auto damaged = open("cl100k_base", {.ranks_folder = folder});
  std::filesystem::remove_all(folder);
  ASSERT_NE(parsed, nullptr);
  ASSERT_NE(damaged, nullptr);
  EXPECT_EQ(parsed->vocabulary_sha256(), mapped->vocabulary_sha256());
  EXPECT_EQ(damaged->vocabulary_sha256(), mapped->vocabulary_sha256());
  std::mt19937 random(9);
  for (int i = 0; i < 200; ++i) {
    const std::string text = random_text(random, 100);
    const auto tokens = encode(*mapped, text);
    EXPECT_EQ(encode(*parsed, text), tokens);
    EXPECT_EQ(encode(*damaged, text), tokens);
    EXPECT_EQ(decode(*damaged, tokens), text);
  }
}

// The error for a vocabulary that is nowhere names each folder once.
TEST(RealTokenizers, AMissingRankFileSaysWhereItWasLookedFor) {
  const char* const installed = std::getenv("TOKVAULT_TOKENIZERS");
  ASSERT_NE(installed, nullptr);
  const std::string before = installed;
  const std::string added = testing::TempDir() + "tokvault_no_such_folder";
  ASSERT_EQ(::setenv("TOKVAULT_TOKENIZERS", (added + "/../tokvault_nor_this").c_str(), 1), 0);
  EXPECT_TRUE(add_tokenizer_folder(added));
  EXPECT_TRUE(add_tokenizer_folder(added));
  const auto opened = open_tokenizer("cl100k_base");
  ASSERT_EQ(::setenv("TOKVAULT_TOKENIZERS", before.c_str(), 1), 0);
  ASSERT_EQ(opened.code(), Errc::not_found);
  std::istringstream words{std::string(opened.error().message())};
  std::multiset<std::string> folders;
  for (std::string word; words >> word;) {
    if (word.back() == ';') word.pop_back();
    if (word.front() == '/') folders.insert(word);
  }
  EXPECT_GE(folders.size(), 4u) << opened.error().message();
  for (const std::string& folder : folders) EXPECT_EQ(folders.count(folder), 1u) << folder;
  EXPECT_EQ(folders.count(added), 1u) << opened.error().message();
  EXPECT_EQ(folders.count(testing::TempDir() + "tokvault_nor_this"), 1u)
      << opened.error().message();
}

TEST(RealTokenizers, ThreadsShareATokenizer) {
  const auto t = open("o200k_base");
  ASSERT_NE(t, nullptr);
  std::mt19937 random(4);
  const std::string text = random_text(random, 20000) + random_text(random, 20000);
  const Tokens expected = encode(*t, text);
  std::vector<Tokens> results(4);
  std::vector<std::thread> threads;
  for (Tokens& result : results) threads.emplace_back([&] { result = encode(*t, text); });
  for (std::thread& thread : threads) thread.join();
  for (const Tokens& result : results) EXPECT_EQ(result, expected);
}

}  // namespace
}  // namespace tokvault
