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

TEST(GoldenLarge, BlocksBesideADictionary) {
  const TempDir dir;
  const std::string path = dir / "vault";
  ASSERT_TRUE(create_vault(path, {.tokenizer = "bytes"}));
  std::string lines;
  {
    auto vault = open_vault(path, {.level = Level::fast});
    ASSERT_TRUE(vault);
    std::mt19937 random(7);
    std::vector<Conversation> batch;
    for (int i = 0; i < 700; ++i) {
      Conversation c;
      c.id = "c" + std::to_string(i);
      c.time_ms = 1'700'000'000'000 + i;
      c.messages = {Message::of_text("user", random_text(random, random() % 200)),
                    Message::of_text("assistant", random_text(random, random() % 15'000))};
      if (i % 10 == 0) c.messages.push_back(Message::of_text("tool", "{\"reading\": 4}"));
      batch.push_back(std::move(c));
    }
    auto results = (*vault)->put_batch(batch, {});
    ASSERT_TRUE(results);
    ASSERT_TRUE((*vault)->compact(Level::fast));
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

}  // namespace
}  // namespace tokvault
