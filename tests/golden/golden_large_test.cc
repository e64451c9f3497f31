// A vault of more text than a dictionary holds, so that most segments lie in blocks beside it: too
// large to be committed, so it is made here and read by the library and by decode.py.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/conformance/temp_dir.h"
#include "tests/golden/golden.h"
#include "tokvault/directory.h"

namespace tokvault {
namespace {

// Words from a vocabulary that is as wide as the text is long, so that it does not compress to
// nothing.
std::string random_text(std::mt19937& random, std::size_t size) {
  std::string text;
  while (text.size() < size) {
    text += std::to_string(random() % 100'000);
    text += random() % 9 == 0 ? ".\n" : " ";
  }
  return text;
}

Conversation of_messages(std::size_t number, std::vector<Message> messages) {
  Conversation c;
  c.id = "c" + std::to_string(number);
  c.time_ms = 1'700'000'000'000 + static_cast<std::int64_t>(number);
  c.messages = std::move(messages);
  return c;
}

// Stores them and makes a pack of them; the library and decode.py must give them back. Returns how
// many bytes the vault's packs have.
void expect_read_by_both(const std::vector<Conversation>& batch, std::uint64_t& pack_bytes) {
  const TempDir dir;
  const std::string path = dir / "vault";
  ASSERT_TRUE(create_vault(path, {.tokenizer = "bytes"}));
  std::string lines;
  {
    auto vault = open_vault(path, {.level = Level::fast});
    ASSERT_TRUE(vault);
    auto results = (*vault)->put_batch(batch, {});
    ASSERT_TRUE(results);
    ASSERT_TRUE((*vault)->seal());
    auto read = golden_lines(**vault);
    ASSERT_TRUE(read) << read.error().message();
    lines = std::move(*read);
    std::size_t at = 0;
    ASSERT_TRUE((*vault)->scan({}, [&](const Summary&, Result<Conversation> c) {
      EXPECT_TRUE(c && c->messages == batch[at].messages) << at;
      ++at;
      return true;
    }));
    EXPECT_EQ(at, batch.size());
    auto report = (*vault)->check({.read_data = true});
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->findings.empty());
    auto stats = (*vault)->stats();
    ASSERT_TRUE(stats);
    EXPECT_GT(stats->text_bytes, 5u << 20);  // more than a dictionary holds
    pack_bytes = stats->pack_bytes;
  }
  const char* source = std::getenv("TOKVAULT_SOURCE");
  const std::string decode = std::string(source ? source : ".") + "/docs/format/decode.py";
  const std::string out = dir / "out.jsonl";
  const std::string command =
      "python3 -B '" + decode + "' --all '" + path + "' > '" + out + "' 2> '" + out + ".err'";
  ASSERT_EQ(std::system(command.c_str()), 0) << slurp(out + ".err");
  // Both are ASCII, with the same spelling of everything that occurs here.
  EXPECT_EQ(slurp(out), lines);
}

TEST(GoldenLarge, BlocksBesideADictionary) {
  std::mt19937 random(7);
  std::vector<Conversation> batch;
  for (std::size_t i = 0; i < 700; ++i) {
    std::vector<Message> messages = {
        Message::of_text("user", random_text(random, random() % 200)),
        Message::of_text("assistant", random_text(random, random() % 15'000))};
    if (i % 10 == 0) messages.push_back(Message::of_text("tool", "{\"reading\": 4}"));
    batch.push_back(of_messages(i, std::move(messages)));
  }
  std::uint64_t bytes = 0;
  expect_read_by_both(batch, bytes);
}

// Texts that are seen again with an edit, and together are more than a dictionary holds.
TEST(GoldenLarge, BlocksCopyFromBases) {
  std::mt19937 random(11);
  std::vector<Conversation> batch;
  std::uint64_t unique = 0;
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 170; ++i) {
    texts.push_back(random_text(random, 40'000));
    unique += texts.back().size();
    batch.push_back(of_messages(i, {Message::of_text("tool", texts.back())}));
  }
  for (std::string& text : texts) {
    text.replace(random() % 39'000, 20, "edited " + std::to_string(random()));
    batch.push_back(of_messages(batch.size(), {Message::of_text("tool", text)}));
  }
  std::uint64_t bytes = 0;
  expect_read_by_both(batch, bytes);
  EXPECT_LT(bytes, unique * 60 / 100);  // without bases .70
}

}  // namespace
}  // namespace tokvault
