// Packs of text that was not written by anybody: random digits, ids, base64. As tokens zstd makes
// them larger than their letters; a model that learns little, and small blocks, do not.
#include <gtest/gtest.h>

#include <random>

#include "tests/conformance/temp_dir.h"
#include "tests/vault/harness.h"
#include "tokvault/directory.h"

namespace tokvault {
namespace {

constexpr char kHex[] = "0123456789abcdef";

std::string hex(std::mt19937_64& random, int digits) {
  std::string out;
  for (int i = 0; i < digits; ++i) out += kHex[random() % 16];
  return out;
}

class Digits : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_vault(path_, {.tokenizer = "o200k_base"}));
    auto vault = open_vault(path_);
    ASSERT_TRUE(vault) << vault.error().message();
    vault_ = std::move(*vault);
  }
  // A conversation with one message.
  void put(const std::string& text) {
    Conversation c;
    c.id = "c" + std::to_string(texts_.size());
    c.time_ms = 1'700'000'000'000;
    c.messages = {Message::of_text("user", text)};
    batch_.push_back(std::move(c));
    texts_.push_back(text);
  }
  // Everything that was put comes back from a new reader, one at a time.
  void compact(Level level) {
    auto results = vault_->put_batch(batch_, {});
    ASSERT_TRUE(results);
    for (const auto& r : *results) ASSERT_TRUE(r) << r.error().message();
    batch_.clear();
    ASSERT_TRUE(vault_->compact(level));
    auto reader = open_vault(path_, {.read_only = true});
    ASSERT_TRUE(reader);
    for (std::size_t i = texts_.size(); i-- > 0;) {
      auto c = (*reader)->get("c" + std::to_string(i));
      ASSERT_TRUE(c) << c.error().message();
      ASSERT_EQ(c->messages[0], Message::of_text("user", texts_[i])) << i;
    }
    auto report = vault_->check({.read_data = true});
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->findings.empty());
  }
  StoredStream tokens() const {
    auto explained = vault_->explain();
    EXPECT_TRUE(explained);
    for (const StoredStream& s : explained->streams) {
      if (s.stream == "tokens") return s;
    }
    ADD_FAILURE() << "no tokens";
    return {};
  }

  TempDir folder_;
  const std::string path_ = folder_ / "vault";
  std::unique_ptr<Vault> vault_;
  std::vector<Conversation> batch_;
  std::vector<std::string> texts_;
};

// Lines of a time and 16 digits, of 8 bytes. Under zstd, and as an archive of zstd, a line takes
// 14 to 16 bytes.
TEST_F(Digits, LogsOfIdsAreSmallerThanTheirLetters) {
  std::mt19937_64 random(1);
  std::uint64_t seconds = 0;
  std::size_t lines = 0;
  for (int i = 0; i < 600; ++i) {
    std::string text;
    for (std::uint64_t n = random() % 12 + 1; n > 0; --n, ++lines) {
      seconds += random() % 5;
      auto two = [](std::uint64_t v) { return std::to_string(100 + v % 100).substr(1); };
      text += "2026-03-01T" + two(seconds / 3600 % 24) + ":" + two(seconds / 60 % 60) + ":" +
              two(seconds % 60) + "." + std::to_string(100 + random() % 900) + "Z " +
              hex(random, 16) + "\n";
    }
    put(text);
  }
  compact(Level::fast);
  EXPECT_EQ(tokens().codec, "zstd");
  compact(Level::balanced);
  const StoredStream s = tokens();
  EXPECT_EQ(s.codec, "token_model");
  EXPECT_LT(s.disk_bytes, lines * 13);
  // A reader has little to prepare, and little to decode for a conversation: the dictionary is no
  // more than 48 KB of codes, a block 1.5 KB and a conversation.
  EXPECT_GT(s.frames, (s.code_bytes - (48 << 10)) / 2560);
  compact(Level::fast);
  EXPECT_EQ(tokens().codec, "zstd");
}

TEST_F(Digits, IntegersAndBase64AreSmaller) {
  static constexpr char kLetters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::mt19937_64 random(2);
  std::size_t least = 0;  // bits of all that is random
  for (int i = 0; i < 900; ++i) {
    std::string text;
    for (int k = 0; k < 8; ++k) {
      text += std::to_string(random() % 1'000'000'000 + 1'000'000'000) + " ";
      least += 30;
    }
    for (int k = 0; k < 120; ++k) text += kLetters[random() % 64];
    least += 6 * 120;
    put(text);
  }
  compact(Level::balanced);
  const StoredStream s = tokens();
  EXPECT_EQ(s.codec, "token_model");
  EXPECT_LT(s.disk_bytes, least / 8 * 120 / 100);
}

// What is written repeats itself: copies are worth more than what a model learns from little.
TEST_F(Digits, WhatRepeatsIsUnderNoModel) {
  std::mt19937_64 random(3);
  std::vector<std::string> sentences;
  for (int i = 0; i < 400; ++i) {
    std::string sentence;
    for (std::uint64_t n = random() % 8 + 4; n > 0; --n) {
      static const char* const kWords[] = {"server", "the",   "request", "of",    "a",     "window",
                                           "light",  "paper", "between", "again", "never", "index"};
      sentence += std::string(kWords[random() % 12]) + " ";
    }
    sentences.push_back(sentence + hex(random, 4) + ". ");
  }
  for (int i = 0; i < 600; ++i) {
    std::string text;
    for (int k = 0; k < 20; ++k) text += sentences[random() % sentences.size()];
    put(text);
  }
  compact(Level::balanced);
  EXPECT_NE(tokens().codec, "token_model");
}

// A conversation is a block of its own if it is long: it would take tens of milliseconds.
TEST_F(Digits, LongTextsStayUnderZstd) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 10; ++i) put(hex(random, 100'000));
  compact(Level::balanced);
  EXPECT_EQ(tokens().codec, "zstd");
}

// Counts reads of packs.
class CountingBackend final : public ForwardingBackend {
 public:
  CountingBackend(const FaultBackend& to, std::shared_ptr<int> reads)
      : ForwardingBackend(to), reads_(std::move(reads)) {}
  Status get(std::string_view name, std::uint64_t offset, std::uint64_t size,
             Buffer& out) const override {
    if (name.starts_with("packs/")) ++*reads_;
    return ForwardingBackend::get(name, offset, size, out);
  }

 private:
  const std::shared_ptr<int> reads_;
};

// 400 conversations of digits in a compacted vault in memory, whose reads of packs are counted.
class DigitsInMemory : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(succeeds(place_.create("o200k_base")));
    auto vault = place_.open();
    ASSERT_TRUE(vault);
    std::mt19937_64 random(6);
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      batch_[i].id = "c" + std::to_string(i);
      batch_[i].messages = {Message::of_text("user", hex(random, 400))};
    }
    ASSERT_TRUE((*vault)->put_batch(batch_, {}));
    ASSERT_TRUE((*vault)->compact(Level::balanced));
    auto explained = (*vault)->explain();
    ASSERT_TRUE(explained);
    ASSERT_EQ(explained->streams[0].codec, "token_model");
  }
  Result<std::unique_ptr<Vault>> open(const VaultOptions& options) {
    return Vault::open(std::make_unique<CountingBackend>(place_.disk, reads_),
                       std::make_unique<SharedCatalog>(place_.catalog), options);
  }
  MemoryPlace place_;
  std::vector<Conversation> batch_ = std::vector<Conversation>(400);
  const std::shared_ptr<int> reads_ = std::make_shared<int>(0);
};

// What was decoded for one get is there for the next.
TEST_F(DigitsInMemory, ABlockIsReadOnce) {
  auto reader = open({.read_only = true});
  ASSERT_TRUE(reader);
  ASSERT_TRUE((*reader)->get("c390"));
  *reads_ = 0;
  ASSERT_TRUE((*reader)->get("c200"));
  EXPECT_EQ(*reads_, 1);
  ASSERT_TRUE((*reader)->get("c200"));
  ASSERT_TRUE((*reader)->get("c390"));
  EXPECT_EQ(*reads_, 1);
}

// A dictionary with its model that is larger than the cache was decoded again for nearly every
// block, so that an import of what is there came to no end.
TEST_F(DigitsInMemory, ADictionaryThatDoesNotFitTheCacheIsReadOnce) {
  VaultOptions options;
  options.cache_bytes = 128u << 10;
  options.threads = 1;
  auto vault = open(options);
  ASSERT_TRUE(vault);
  ASSERT_TRUE((*vault)->get("c390"));
  *reads_ = 0;
  const auto results = (*vault)->put_batch(batch_, {});
  ASSERT_TRUE(results);
  for (const auto& r : *results) {
    ASSERT_TRUE(r);
    EXPECT_EQ(r->outcome, PutResult::Outcome::unchanged);
  }
  EXPECT_LE(*reads_, 100);  // of blocks: 52
}

// The whole of it is learned before there is a block, or nearly.
TEST_F(Digits, FewOfThem) {
  std::mt19937_64 random(5);
  for (const int count : {1, 60, 40, 40, 60}) {
    for (int i = 0; i < count; ++i) put(hex(random, 400));
    compact(Level::balanced);
  }
}

}  // namespace
}  // namespace tokvault
