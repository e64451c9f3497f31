// Text of the log that stands apart from what is known of it (docs/format/log.md, rule 13).
#include <gtest/gtest.h>
#include <malloc.h>

#include "tests/conformance/temp_dir.h"
#include "tokvault/directory.h"

namespace tokvault {
namespace {

Conversation chat(const std::string& id, const std::string& text) {
  Conversation c;
  c.id = id;
  c.time_ms = 1'700'000'000'000;
  c.messages = {Message::of_text("user", text)};
  return c;
}

class Apart : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_vault(path_, {.tokenizer = "bytes"}));
    auto vault = open_vault(path_);
    ASSERT_TRUE(vault) << vault.error().message();
    vault_ = std::move(*vault);
  }
  // Of each batch of the log: the bytes of text that stand apart, or -1.
  std::vector<int> texts() const {
    auto dump = dump_file(path_ + "/log/00000001.log", true);
    EXPECT_TRUE(dump);
    std::vector<int> out;
    for (std::size_t at = dump->text.find("{\"offset\""); at != std::string::npos;) {
      const std::size_t end = dump->text.find("{\"offset\"", at + 1);
      const std::string batch = dump->text.substr(at, end - at);
      const std::string name = "\"text_bytes\":";
      const std::size_t text = batch.find(name);
      out.push_back(text == std::string::npos ? -1 : std::stoi(batch.substr(text + name.size())));
      at = end;
    }
    return out;
  }

  TempDir folder_;
  const std::string path_ = folder_ / "vault";
  std::unique_ptr<Vault> vault_;
};

TEST_F(Apart, OnlyTextOfSomeLengthStandsApart) {
  ASSERT_TRUE(vault_->put(chat("short", std::string(511, 'a')), {}));
  ASSERT_TRUE(vault_->put(chat("long", std::string(512, 'b')), {}));
  std::vector<Conversation> batch;
  for (int i = 0; i < 40; ++i) batch.push_back(chat(std::to_string(i), std::to_string(i * i)));
  ASSERT_TRUE(vault_->put_batch(batch, {}));
  batch.clear();
  for (int i = 0; i < 40; ++i) {
    batch.push_back(chat("n" + std::to_string(i), "the number " + std::to_string(i * 1001)));
  }
  ASSERT_TRUE(vault_->put_batch(batch, {}));
  ASSERT_EQ(*vault_->forget(std::vector<std::string>{"n1"}), 1u);
  const std::vector<int> found = texts();
  ASSERT_EQ(found.size(), 5u);
  EXPECT_EQ(found[0], -1) << "511 bytes";
  EXPECT_EQ(found[1], 512);
  EXPECT_EQ(found[2], -1) << "40 texts, of 114 bytes together";
  EXPECT_EQ(found[3], 627) << "40 texts";
  EXPECT_EQ(found[4], -1) << "a deletion";
}

// What is in use of malloc's memory.
std::uint64_t in_use() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

TEST_F(Apart, AReaderDecodesNoTextThatNobodyReads) {
  // 15 MB of text that compresses well, in one section.
  constexpr int kCount = 150;
  auto text = [](int i) {
    std::string out;
    while (out.size() < 100'000) out += "line " + std::to_string(i) + " of a long protocol\n";
    return out;
  };
  std::vector<Conversation> batch;
  for (int i = 0; i < kCount; ++i) batch.push_back(chat(std::to_string(i), text(i)));
  ASSERT_TRUE(vault_->put_batch(batch, {}));
  batch.clear();
  vault_.reset();
  const std::uint64_t before = in_use();
  auto reader = open_vault(path_, {.read_only = true});
  ASSERT_TRUE(reader);
  auto page = (*reader)->list({}, 10, "");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->conversations.size(), 10u);
  auto usage = (*reader)->usage({});
  ASSERT_TRUE(usage);
  // What decodes the stream beside it has a window of 16 MB; the text's would be another one.
  EXPECT_LT(in_use() - before, std::uint64_t{20} << 20);
  for (const int i : {5, kCount - 1, 0}) {
    auto c = (*reader)->get(std::to_string(i));
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_EQ(c->messages[0], Message::of_text("user", text(i)));
  }
}

// More tenants than frames go on of: every batch begins a section, and what decodes one takes 16
// MB.
TEST_F(Apart, SectionsThatAreOverTakeNoDecoder) {
  constexpr int kCount = 600;
  auto tenant = [](int i) { return "tenant" + std::to_string(i % 6); };
  auto text = [](int i) {
    std::string out;
    while (out.size() < 600) out += "word " + std::to_string(out.size() * 7919 + unsigned(i)) + " ";
    return out;
  };
  for (int i = 0; i < kCount; ++i) {
    ASSERT_TRUE(vault_->put(chat(std::to_string(i), text(i)), {.tenant = tenant(i)}));
  }
  auto expect_bounded = [&](bool read_only) {
    const std::uint64_t before = in_use();
    auto vault = open_vault(path_, {.read_only = read_only});
    ASSERT_TRUE(vault);
    for (const int i : {5, kCount - 1, 0}) {
      auto c = (*vault)->get(std::to_string(i), tenant(i));
      ASSERT_TRUE(c) << c.error().message();
      EXPECT_EQ(c->messages[0], Message::of_text("user", text(i)));
    }
    ASSERT_TRUE((*vault)->stats());  // decodes all
    EXPECT_LT(in_use() - before, std::uint64_t{200} << 20);
  };
  vault_.reset();
  expect_bounded(true);
  expect_bounded(false);
}

}  // namespace
}  // namespace tokvault
