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
  void put(const std::vector<std::string>& ids) { put_into(*open(), ids); }
  static void put_into(Vault& vault, const std::vector<std::string>& ids) {
    std::vector<Conversation> conversations;
    for (const std::string& id : ids) {
      Conversation& c = conversations.emplace_back();
      c.id = id;
      c.messages.push_back(Message::of_text("user", "the secret of " + id + " is kept in here"));
    }
    auto results = vault.put_batch(conversations, {});
    ASSERT_TRUE(results) << results.error().message();
    for (const auto& r : *results) ASSERT_TRUE(r) << r.error().message();
  }
  void flip(std::uint64_t offset) const { flip(log(), offset); }
  static void flip(const std::string& path, std::uint64_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
  }

  std::string folder_;
  std::string path_;
  std::uint64_t first_end_ = 0;
};

// A copy that somebody made of a file, or a note beside the files, is neither damage nor garbage.
TEST_F(Repair, FilesThatAreNotTheVaultsAreLeftAlone) {
  ASSERT_TRUE(open()->compact(Level::fast));
  std::vector<std::string> own;
  for (const auto& item : fs::directory_iterator(path_ + "/packs")) own.push_back(item.path());
  ASSERT_EQ(own.size(), 1u);
  const std::vector<std::string> foreign = {own[0] + ".bak",         path_ + "/packs/notes.txt",
                                            path_ + "/packs/3.pack", path_ + "/log/00000001.log.1",
                                            path_ + "/log/7",        path_ + "/artifacts/read.me"};
  fs::create_directories(path_ + "/artifacts");
  for (const std::string& file : foreign) fs::copy_file(own[0], file);
  put({"c"});
  // Now the pack that was copied is no longer one of the vault's.
  ASSERT_TRUE(open()->compact(Level::fast));
  ASSERT_FALSE(fs::exists(own[0]));
  put({"d"});
  auto report = open()->check({.read_data = true});
  ASSERT_TRUE(report);
  for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
  for (const bool lost : {false, true}) {
    if (lost) fs::remove(path_ + "/catalog.db");
    auto repaired = repair_vault(path_);
    ASSERT_TRUE(repaired) << repaired.error().message();
    for (const Finding& f : repaired->findings) ADD_FAILURE() << f.file << ": " << f.message;
    for (const char* id : {"a0", "b1", "c", "d"}) EXPECT_TRUE(open()->get(id)) << id;
  }
  ASSERT_TRUE(open()->gc(false));
  for (const std::string& file : foreign) EXPECT_TRUE(fs::exists(file)) << file;
}

// Stopped wherever it asks, it leaves a vault, and the next one ends the work.
TEST_F(Repair, SaysHowFarItIsAndCanBeStopped) {
  ASSERT_TRUE(open()->seal());
  put({"c0"});
  ASSERT_TRUE(open()->seal());
  std::uint64_t calls = 0;
  std::uint64_t last = 0;
  const auto report = repair_vault(path_, {}, [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GE(done, last);
    EXPECT_LE(done, total);
    EXPECT_GT(total, 0u);
    last = done;
    ++calls;
    return true;
  });
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_GT(last, 0u);
  ASSERT_GE(calls, 3u);
  // What the last call says is not asked: all is done.
  for (std::uint64_t stop = 1; stop < calls; ++stop) {
    std::uint64_t call = 0;
    fs::remove(path_ + "/catalog.db");
    const auto stopped =
        repair_vault(path_, {}, [&](std::uint64_t, std::uint64_t) { return ++call < stop; });
    EXPECT_EQ(stopped.code(), Errc::cancelled) << stop;
    EXPECT_EQ(call, stop);
    ASSERT_TRUE(repair_vault(path_));
    EXPECT_EQ(open()->list({}, 10)->conversations.size(), 5u);
  }
}

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

// Everything that a damaged log does not cast doubt on is there, and what it does is `corrupt`.
TEST_F(Repair, ADamagedLogIsServedAsFarAsItCanBeProven) {
  flip(fs::file_size(log()) - 5);
  {
    auto reader = open_vault(path_, {.read_only = true});
    ASSERT_TRUE(reader) << reader.error().message();
    EXPECT_TRUE((*reader)->get("a0") && (*reader)->get("a1") && (*reader)->summary("a0"));
    EXPECT_EQ((*reader)->get("b0").code(), Errc::corrupt);
    EXPECT_EQ((*reader)->get("never put").code(), Errc::corrupt);  // nobody can know
    EXPECT_EQ((*reader)->list({}, 10).code(), Errc::corrupt);
    EXPECT_EQ((*reader)->usage({}).code(), Errc::corrupt);
    EXPECT_EQ((*reader)->damage().size(), 1u);
    auto keeps_going = open_vault(path_, {.read_only = true, .keep_going = true});
    ASSERT_TRUE(keeps_going);
    auto page = (*keeps_going)->list({}, 10);
    ASSERT_TRUE(page);
    EXPECT_EQ(page->conversations.size(), 2u);
    auto report = (*reader)->check({.read_data = true});
    ASSERT_TRUE(report);
    EXPECT_EQ(report->lost_conversations, 2u);
    ASSERT_EQ(report->findings.size(), 1u);
    EXPECT_NE(report->findings[0].message.find("sequence numbers 4 to"), std::string::npos)
        << report->findings[0].message;
  }
  {
    auto vault = open();
    EXPECT_EQ(vault->gc(false).code(), Errc::corrupt);
    EXPECT_EQ(vault->compact(Level::fast).code(), Errc::corrupt);
    EXPECT_EQ(vault->forget(Filter{}).code(), Errc::corrupt);
    put_into(*vault, {"a0", "b0", "c0"});  // what was lost can be imported again
    for (const char* const id : {"a0", "a1", "b0", "c0"}) EXPECT_TRUE(vault->get(id)) << id;
    EXPECT_EQ(vault->get("b1").code(), Errc::corrupt);
    ASSERT_TRUE(vault->seal());
    EXPECT_EQ(*vault->forget(std::vector<std::string>{"c0"}), 1u);
    EXPECT_EQ(vault->get("c0").code(), Errc::not_found);
  }
  auto report = repair_vault(path_);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->lost_conversations, 2u);
  EXPECT_EQ(report->conversations, 3u);
  auto vault = open();
  for (const char* const id : {"a0", "a1", "b0"}) EXPECT_TRUE(vault->get(id)) << id;
  EXPECT_EQ(vault->get("b1").code(), Errc::not_found);
  EXPECT_EQ(vault->get("c0").code(), Errc::not_found);
  EXPECT_EQ(vault->list({}, 10)->conversations.size(), 3u);
  auto checked = vault->check({.read_data = true});
  EXPECT_TRUE(checked && checked->findings.empty());
}

// What a lost commit deleted is known all the same, and does not come back, by repair neither.
TEST_F(Repair, ADeletionInADamagedBatchHolds) {
  ASSERT_EQ(*open()->forget(std::vector<std::string>{"a1"}), 1u);
  const auto forgotten_end = fs::file_size(log());
  put({"c0"});
  flip(forgotten_end - 1);
  auto vault = open();
  EXPECT_EQ(vault->get("a1").code(), Errc::corrupt);  // replaced, perhaps
  for (const char* const id : {"a0", "b0", "b1"}) EXPECT_TRUE(vault->get(id)) << id;
  EXPECT_EQ(vault->get("c0").code(), Errc::corrupt);  // its numbers count on from what is lost
  auto report = vault->check({});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->lost_conversations, 1u);
  vault.reset();
  report = repair_vault(path_);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->lost_conversations, 1u);
  EXPECT_EQ(report->conversations, 3u);
  vault = open();
  EXPECT_EQ(vault->get("a1").code(), Errc::not_found);
  EXPECT_TRUE(vault->get("b1"));
}

// Where the deletions of a batch are damaged, nothing that it may have deleted is served.
TEST_F(Repair, UnknownDeletionsMakeEverythingBeforeThemDoubtful) {
  const auto before = fs::file_size(log());
  ASSERT_EQ(*open()->forget(std::vector<std::string>{"a1"}), 1u);
  for (const std::uint64_t offset : {std::uint64_t{50}, std::uint64_t{9}}) {  // changes, header
    flip(before + offset);
    auto vault = open();
    for (const char* const id : {"a0", "a1", "b0"}) {
      EXPECT_EQ(vault->get(id).code(), Errc::corrupt) << id;
    }
    auto keeps_going = open_vault(path_, {.read_only = true, .keep_going = true});
    EXPECT_TRUE((*keeps_going)->list({}, 10)->conversations.empty());
    auto report = vault->check({});
    ASSERT_TRUE(report);
    EXPECT_EQ(report->lost_ids, (std::vector<std::string>{"a0", "a1", "b0", "b1"}));
    flip(before + offset);
  }
  flip(before + 9);
  put({"a0", "d0"});
  {
    auto vault = open();
    EXPECT_TRUE(vault->get("a0") && vault->get("d0"));
  }
  ASSERT_TRUE(repair_vault(path_));  // gives up the doubt, and says so
  EXPECT_TRUE(open()->get("b1"));
}

TEST_F(Repair, DamageToOneTenantLeavesTheOthers) {
  auto vault = open();
  Conversation c;
  c.id = "x";
  c.messages.push_back(Message::of_text("user", "of the tenant t"));
  ASSERT_TRUE(vault->put(c, {.tenant = "t"}));
  vault.reset();
  flip(first_end_ + 60);
  vault = open();
  EXPECT_TRUE(vault->get("x", "t") && vault->list({.tenant = "t"}, 9) && vault->get("a0"));
  EXPECT_EQ(vault->get("y", "t").code(), Errc::not_found);
  EXPECT_EQ(vault->get("b0").code(), Errc::corrupt);
}

TEST_F(Repair, AMissingVocabularyIsCounted) {
  const char* const source = std::getenv("TOKVAULT_SOURCE");
  ASSERT_NE(source, nullptr) << "TOKVAULT_SOURCE names the source tree; ctest sets it";
  const fs::path golden = fs::path(source) / "tests/golden/v1/artifact";
  const std::string copy = folder_ + "/artifact";
  fs::copy(golden, copy, fs::copy_options::recursive);
  std::uint64_t conversations = 0;
  std::string id;
  {
    auto vault = open_vault(copy, {.read_only = true});
    ASSERT_TRUE(vault) << vault.error().message();
    auto page = (*vault)->list({}, 100);
    ASSERT_TRUE(page);
    for (const Summary& s : page->conversations) conversations += s.text_bytes > 0 ? 1 : 0;
    id = page->conversations[0].id;
  }
  ASSERT_GT(conversations, 0u);
  for (const auto& file : fs::directory_iterator(copy + "/artifacts")) {
    if (file.path().extension() == ".tiktoken") fs::resize_file(file.path(), 10);
  }
  auto vault = open_vault(copy, {.read_only = true});
  ASSERT_TRUE(vault) << vault.error().message();
  EXPECT_EQ((*vault)->get(id).code(), Errc::corrupt);
  EXPECT_TRUE((*vault)->get_tokens(id) && (*vault)->summary(id));
  auto checked = (*vault)->check({});
  ASSERT_TRUE(checked);
  auto repaired = repair_vault(copy);
  ASSERT_TRUE(repaired) << repaired.error().message();
  for (const CheckReport* const report : {&*checked, &*repaired}) {
    EXPECT_EQ(report->lost_conversations, conversations);
    EXPECT_EQ(report->lost_ids.size(), conversations);
    ASSERT_EQ(report->findings.size(), 1u);
    EXPECT_NE(report->findings[0].file.find("artifacts/"), std::string::npos);
  }
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

// The catalog as well: the log says only whose vault it is.
TEST_F(Repair, AVaultOfWhichNoFileIsLeftCanBeUsedAgain) {
  flip(100);  // in the header of the first batch
  fs::remove(path_ + "/catalog.db");
  auto report = repair_vault(path_);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_FALSE(report->findings.empty());
  EXPECT_TRUE(repair_vault(path_));
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

// It does so before it rewrites anything, after which nothing would say that it is due.
TEST_F(Repair, CollectingThatIsStoppedHasErasedWhatWasPutAside) {
  flip(fs::file_size(log()) - 5);
  ASSERT_TRUE(repair_vault(path_));
  auto vault = open();
  ASSERT_TRUE(vault->forget(std::vector<std::string>{"a0"}));
  const auto stopped = vault->gc(false, [](std::uint64_t, std::uint64_t) { return false; });
  ASSERT_EQ(stopped.code(), Errc::cancelled);
  EXPECT_FALSE(fs::exists(path_ + "/quarantine/00000001.log"));
}

// Nothing that is dead stands in a file then, and no catalog has heard of the deletion.
TEST_F(Repair, CollectingErasesAPackThatWasPutAsideWhereADeletionIsInALogAlone) {
  for (const bool compacts : {false, true}) {
    auto vault = open();
    ASSERT_TRUE(vault->seal());
    const auto files = vault->files();
    ASSERT_TRUE(files);
    std::string pack;
    for (const FileInfo& f : *files) {
      if (f.name.starts_with("packs/")) pack = f.name;
    }
    ASSERT_FALSE(pack.empty());
    put_into(*vault, {compacts ? "d0" : "c0"});
    ASSERT_TRUE(vault->forget(std::vector<std::string>{"b0"}));
    vault.reset();
    flip(path_ + "/" + pack, fs::file_size(path_ + "/" + pack) - 20);
    ASSERT_TRUE(repair_vault(path_));
    const std::string aside = path_ + "/quarantine/" + pack.substr(pack.find('/') + 1);
    ASSERT_TRUE(fs::exists(aside));
    vault = open();
    if (compacts) {
      ASSERT_TRUE(vault->compact(Level::fast));
    } else {
      ASSERT_TRUE(vault->gc(false));
    }
    EXPECT_FALSE(fs::exists(aside));
    put_into(*vault, {"b0"});  // for the next round
  }
}

// Packs and logs are its work.
TEST_F(Repair, CheckSaysHowFarItIsUntilItIsDone) {
  const auto vault = open();
  ASSERT_TRUE(vault->seal());
  put_into(*vault, {"logged"});
  std::vector<std::pair<std::uint64_t, std::uint64_t>> said;
  ASSERT_TRUE(vault->check({.read_data = true}, [&](std::uint64_t done, std::uint64_t total) {
    said.emplace_back(done, total);
    return true;
  }));
  ASSERT_GT(said.size(), 2u);
  EXPECT_TRUE(std::is_sorted(said.begin(), said.end()));
  EXPECT_EQ(said.front().first, 0u);
  EXPECT_EQ(said.back().first, said.back().second);
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

// What a process leaves that is killed while it makes a vault, call by call. None of it is a vault;
// whoever is asked says so and what to do, and init makes one there.
TEST_F(Repair, AnInterruptedCreateIsSaidAndBegunAgain) {
  const std::string made = folder_ + "/made";
  ASSERT_TRUE(create_vault(made, {.tokenizer = "bytes"}));
  const std::string log = "log/00000001.log";
  const std::vector<std::vector<std::string>> states = {
      {"lock"},
      {"lock", "log/"},
      {"lock", "log/", "log/.tmp-00000001.log-17-1"},
      {"lock", log},
      {"lock", log, "catalog.db"},
      {"lock", log, "catalog.db", "catalog.db-journal"}};
  int number = 0;
  for (const auto& state : states) {
    const std::string path = folder_ + "/killed" + std::to_string(++number);
    fs::create_directories(path + "/log");
    if (state.size() == 1) fs::remove(path + "/log");
    for (const std::string& name : state) {
      if (name == log) {
        fs::copy_file(made + "/" + log, path + "/" + log);
      } else if (!name.ends_with('/')) {
        std::ofstream(path + "/" + name);  // empty
      }
    }
    for (const bool read_only : {true, false}) {
      const auto opened = open_vault(path, {.read_only = read_only});
      EXPECT_EQ(opened.code(), Errc::not_found) << number;
      EXPECT_NE(opened.error().message().find("`tokvault init`"), std::string::npos)
          << number << ": " << opened.error().message();
    }
    const bool has_log = std::find(state.begin(), state.end(), log) != state.end();
    if (!has_log) {
      const auto repaired = repair_vault(path);
      EXPECT_EQ(repaired.code(), Errc::not_found) << number;
      EXPECT_NE(repaired.error().message().find("`tokvault init`"), std::string::npos) << number;
    }
    ASSERT_TRUE(create_vault(path, {.tokenizer = "bytes"})) << number;
    auto vault = open_vault(path);
    ASSERT_TRUE(vault) << number;
    Conversation c;
    c.id = "a";
    ASSERT_TRUE((*vault)->put(c, {})) << number;
    EXPECT_TRUE((*vault)->get("a")) << number;
  }
}

TEST_F(Repair, WithoutACatalogConversationsAreSaidToBeRepairable) {
  for (const bool truncated : {false, true}) {
    if (truncated) {
      std::ofstream(path_ + "/catalog.db", std::ios::trunc);
    } else {
      fs::remove(path_ + "/catalog.db");
    }
    const auto opened = open_vault(path_);
    EXPECT_EQ(opened.code(), Errc::not_found);
    EXPECT_NE(opened.error().message().find("`tokvault repair`"), std::string::npos)
        << opened.error().message();
  }
}

TEST_F(Repair, ForgettingForgetsHowFarAnImportWas) {
  auto vault = open();
  const ImportProgress progress{.source = "input", .lines = 2, .bytes = 9, .state_hash = "h"};
  ASSERT_TRUE(vault->put_batch({}, {}, &progress));
  ASSERT_TRUE(vault->import_progress("input"));
  ASSERT_TRUE(vault->forget(std::vector<std::string>{"a0"}));
  EXPECT_FALSE(vault->import_progress("input"));
}

// Files of one vault as interrupted rewrites leave them: a hold that was released, in a log and in
// the pack it was sealed to, and a pack that has nothing but the release.
class ReleasedHold : public Repair {
 protected:
  void SetUp() override {
    Repair::SetUp();
    {
      auto vault = open();
      ASSERT_TRUE(vault->put_segments({&segment_, 1}, {}));
    }
    fs::copy_file(log(), folder_ + "/log");
    auto vault = open();
    ASSERT_TRUE(vault->seal());
    held_ = newest_pack();
    fs::copy_file(held_, folder_ + "/pack");
    const SegmentId id = segment_.id();
    ASSERT_EQ(vault->release_segments({&id, 1}, {}).value(), 1u);
    // The next pack has a conversation, so that what is written last is not just the release.
    put_into(*vault, {"c0"});
    ASSERT_TRUE(vault->seal());
  }
  std::string newest_pack() const {
    std::string newest;
    for (const auto& entry : fs::directory_iterator(path_ + "/packs")) {
      newest = std::max(newest, entry.path().string());
    }
    return newest;
  }
  void expect_released() const {
    auto vault = open();
    EXPECT_EQ(vault->stats({}).value().held_segments, 0u);
    EXPECT_FALSE(vault->get_segments({&id_, 1}, {}).value()[0]);
  }
  void lose_catalog() const {
    fs::remove(path_ + "/catalog.db");
    ASSERT_TRUE(repair_vault(path_));
  }

  const Segment segment_ = Segment::of_bytes("short");
  const SegmentId id_ = segment_.id();
  std::string held_;
};

TEST_F(ReleasedHold, AReleaseInAPackHoldsAgainstAnOlderLog) {
  // As if the log had been sealed to nothing and a later one to a pack, when the process was killed
  // before the catalog knew of either.
  fs::remove(held_);
  fs::copy_file(folder_ + "/log", log());
  lose_catalog();
  expect_released();
  EXPECT_TRUE(open()->get("a0"));
  ASSERT_TRUE(open()->gc(false));
  lose_catalog();
  expect_released();
}

TEST_F(ReleasedHold, APackOfWhichNothingIsLeftDoesNotOutliveTheRelease) {
  {
    auto vault = open();
    ASSERT_TRUE(vault->forget(std::vector<std::string>{"a0", "a1", "b0", "b1"}));
    // Stopped after the pack of which nothing is left was taken out of the catalog.
    int steps = 0;
    auto stopped = vault->gc(false, [&](std::uint64_t, std::uint64_t) { return ++steps < 2; });
    ASSERT_EQ(stopped.code(), Errc::cancelled);
  }
  ASSERT_FALSE(fs::exists(held_));
  fs::copy_file(folder_ + "/pack", held_);  // killed before the file was removed, too
  ASSERT_TRUE(open()->gc(false));
  expect_released();
  lose_catalog();
  expect_released();
}

}  // namespace
}  // namespace tokvault
