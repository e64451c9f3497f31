// What repair does with a damaged log, and what is left of it afterwards.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tokvault/tokvault.h"

namespace tokvault {
namespace {

namespace fs = std::filesystem;

class Repair : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string path = fs::temp_directory_path() / "tokvault-repair-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    folder_ = path;
    path_ = folder_ + "/v";
    ASSERT_TRUE(create_vault(path_, {.tokenizer = "bytes"}));
    put({"a0", "a1"});
    first_end_ = fs::file_size(log());
    put({"b0", "b1"});
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string log() const { return path_ + "/log/00000001.log"; }
  std::unique_ptr<Vault> open() const {
    auto vault = open_vault(path_);
    EXPECT_TRUE(vault) << (vault ? "" : vault.error().message());
    return vault ? std::move(*vault) : nullptr;
  }
  // One batch of conversations, in a vault that is opened and closed for it.
  void put(const std::vector<std::string>& ids) {
    auto vault = open();
    std::vector<Conversation> conversations;
    for (const std::string& id : ids) {
      Conversation& c = conversations.emplace_back();
      c.id = id;
      c.messages.push_back(Message::of_text("user", "the secret of " + id + " is kept in here"));
    }
    auto results = vault->put_batch(conversations, {});
    ASSERT_TRUE(results);
    for (const auto& r : *results) ASSERT_TRUE(r) << r.error().message();
  }
  void flip(std::uint64_t offset) const {
    std::fstream file(log(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
  }

  std::string folder_;
  std::string path_;
  std::uint64_t first_end_ = 0;
};

TEST_F(Repair, ADamagedLastBatchIsReportedAndKeptAside) {
  flip(fs::file_size(log()) - 5);
  auto report = repair_vault(path_);
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->findings.empty());
  EXPECT_EQ(report->conversations, 2u);
  EXPECT_TRUE(fs::exists(path_ + "/quarantine/00000001.log"));
  auto vault = open();
  EXPECT_TRUE(vault->get("a0") && vault->get("a1"));
  EXPECT_EQ(vault->get("b0").code(), Errc::not_found);
}

TEST_F(Repair, AVaultOfWhichNothingIsLeftCanBeUsedAgain) {
  flip(first_end_ / 2);
  flip(0);
  auto report = repair_vault(path_);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_FALSE(report->findings.empty());
  put({"c0"});
  EXPECT_TRUE(open()->get("c0"));
}

TEST_F(Repair, CollectingErasesWhatWasPutAsideOnceSomethingWasForgotten) {
  flip(fs::file_size(log()) - 5);
  ASSERT_TRUE(repair_vault(path_));
  auto vault = open();
  ASSERT_TRUE(vault->gc(false));
  EXPECT_TRUE(fs::exists(path_ + "/quarantine/00000001.log"));
  ASSERT_TRUE(vault->forget(std::vector<std::string>{"a0"}));
  ASSERT_TRUE(vault->gc(false));
  EXPECT_FALSE(fs::exists(path_ + "/quarantine/00000001.log"));
}

TEST_F(Repair, CheckSeesADestroyedCatalogAndRepairMakesAnother) {
  std::ofstream(path_ + "/catalog.db", std::ios::trunc) << std::string(4096, 'x');
  {
    auto reader = open_vault(path_, {.read_only = true});
    ASSERT_TRUE(reader);
    auto report = (*reader)->check({});
    ASSERT_TRUE(report);
    EXPECT_FALSE(report->findings.empty());
  }
  auto repaired = repair_vault(path_);
  ASSERT_TRUE(repaired);
  EXPECT_EQ(repaired->conversations, 4u);
  EXPECT_TRUE(open()->get("b1"));
}

TEST_F(Repair, CreateCuresAnInterruptedCreate) {
  const std::string other = folder_ + "/w";
  ASSERT_TRUE(create_vault(other, {.tokenizer = "bytes"}));
  fs::remove(other + "/catalog.db");
  EXPECT_TRUE(create_vault(other, {.tokenizer = "bytes"}));
  fs::remove(path_ + "/catalog.db");  // but not what has conversations in it
  EXPECT_EQ(create_vault(path_, {.tokenizer = "bytes"}).code(), Errc::exists);
}

TEST_F(Repair, ForgettingForgetsHowFarAnImportWas) {
  auto vault = open();
  const ImportProgress progress{.source = "input", .lines = 2, .bytes = 9, .state_hash = "h"};
  ASSERT_TRUE(vault->put_batch({}, {}, &progress));
  ASSERT_TRUE(vault->import_progress("input"));
  ASSERT_TRUE(vault->forget(std::vector<std::string>{"a0"}));
  EXPECT_FALSE(vault->import_progress("input"));
}

}  // namespace
}  // namespace tokvault
