#include "vault/pack_builder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <random>

#include "tokvault/vault.h"
#include "vault/log_file.h"
#include "vault/merge.h"
#include "vault/recovery.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kArtifact = 5;
constexpr std::uint64_t kPack = 7;

// A vault whose log has a conversation of letters at random, and builders of packs of it.
class PackBuilding : public ::testing::Test {
 protected:
  void SetUp() override {
    auto backend = make_memory_backend();
    auto catalog = make_memory_catalog();
    Backend& blobs = *backend;
    tokenizer_ = *open_tokenizer("bytes");
    ASSERT_TRUE(Vault::create(blobs, *catalog, {.tokenizer = tokenizer_}));
    auto vault = Vault::open(std::move(backend), std::move(catalog), {});
    ASSERT_TRUE(vault);
    std::mt19937 random(1);
    Conversation c;
    for (int i = 0; i < 20; ++i) {
      std::string text;
      for (int k = 0; k < 300; ++k) text += static_cast<char>('A' + random() % 60);
      text_ += text;
      c.messages.push_back(Message::of_text("user", text));
    }
    ASSERT_TRUE((*vault)->put(c, {}));
    const auto logs = blobs.list("log");
    ASSERT_TRUE(logs);
    auto log = LogFile::open(blobs, number_of((*logs)[0].name), 0);
    ASSERT_TRUE(log);
    log_ = *log;
  }

  std::unique_ptr<PackBuilder> gather() const {
    auto builder = std::make_unique<PackBuilder>(tokenizer_);
    builder->set_tenant({0, "default", Buffer(16, 'k')});
    const Source& source = *log_->parts().at(0);
    EXPECT_TRUE(builder->add_row(source, **source.tables(), 0));
    return builder;
  }
  PackIdentity identity() const {
    return {kPack, *log_->vault(), Buffer(16, 's'), {kPack}, {log_->number()}};
  }
  static std::shared_ptr<const ArtifactTokens> artifact(std::string_view text) {
    ArtifactTokens out{.number = kArtifact, .tenant = 0, .tokens = {}};
    for (const char c : text) out.tokens.push_back(static_cast<unsigned char>(c));
    return std::make_shared<const ArtifactTokens>(std::move(out));
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::string text_;
  std::shared_ptr<LogFile> log_;
};

// Of two artifacts of one number the pack copies from the one that helps, and its reader from the
// first: it decodes, to other tokens.
TEST_F(PackBuilding, APackThatDoesNotReadBackIsNotPublished) {
  const auto same = artifact(text_);
  const auto other = artifact(std::string(text_.rbegin(), text_.rend()));
  for (const Level level : {Level::fast, Level::balanced, Level::dense}) {
    for (const bool is_wrong : {false, true}) {
      SCOPED_TRACE("level " + std::to_string(static_cast<int>(level)) +
                   (is_wrong ? ", wrong" : ""));
      const auto builder = gather();
      builder->set_artifacts(is_wrong ? std::vector{other, same} : std::vector{same, other});
      const auto disk = make_memory_backend();
      std::mutex turn;
      const auto made = put_pack(*disk, *builder, identity(), level, PackPurpose::compact, turn);
      EXPECT_EQ(builder->footer().streams[kTokenStream].artifacts, std::vector{kArtifact});
      EXPECT_EQ(disk->list("packs")->size(), is_wrong ? 0u : 1u);
      if (!is_wrong) {
        EXPECT_TRUE(made);
        continue;
      }
      ASSERT_EQ(made.code(), Errc::corrupt);
      const std::string_view message = made.error().message();
      EXPECT_TRUE(message.starts_with("the new pack does not read back: ")) << message;
      if (level == Level::fast) {
        EXPECT_TRUE(message.ends_with("after decoding, another segment")) << message;
      }
    }
  }
}

}  // namespace
}  // namespace tokvault
