// Compaction of several packs: nothing changes but sizes, at any cap and level, interrupted or not.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "tests/vault/harness.h"

namespace tokvault {
namespace {

namespace fs = std::filesystem;

// Words of one of several vocabularies, so that there are kinds to tell apart.
std::string words(std::mt19937& random, int kind, std::size_t size) {
  std::string text;
  while (text.size() < size) {
    text += static_cast<char>('a' + kind);
    text += std::to_string(random() % 20'000);
    text += random() % 9 == 0 ? ".\n" : " ";
  }
  return text;
}

std::map<std::string, std::vector<Message>> messages_of(const Vault& vault,
                                                        const std::string& tenant = {}) {
  std::map<std::string, std::vector<Message>> out;
  Filter filter;
  filter.tenant = tenant;
  EXPECT_TRUE(vault.scan(filter, [&](const Summary& s, Result<Conversation> c) {
    EXPECT_TRUE(c) << s.id << ": " << (c ? "" : c.error().message());
    if (c) out[s.id] = c->messages;
    return true;
  }));
  return out;
}

void expect_sound(const Vault& vault) {
  auto report = vault.check({.read_data = true});
  ASSERT_TRUE(report) << report.error().message();
  for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
}

// What the files of a vault take while packs are put and removed, step by step.
class PackMeter final : public ForwardingBackend {
 public:
  struct Step {
    std::uint64_t before = 0;    // when its first pack is put
    std::uint64_t most = 0;      // from then on, until the next step
    std::uint64_t replaced = 0;  // of the packs that it removes
  };
  using Steps = std::vector<Step>;
  PackMeter(const FaultBackend& to, std::shared_ptr<Steps> steps)
      : ForwardingBackend(to), steps_(std::move(steps)) {}

  Status put(std::string_view name, ByteView bytes) override {
    if (steps_->empty() || steps_->back().replaced > 0) steps_->push_back({.before = held()});
    TOKVAULT_TRY(ForwardingBackend::put(name, bytes));
    steps_->back().most = std::max(steps_->back().most, held());
    return {};
  }
  Status remove(std::string_view name) override {
    const std::uint64_t before = held();
    TOKVAULT_TRY(ForwardingBackend::remove(name));
    if (!steps_->empty()) steps_->back().replaced += before - held();
    return {};
  }

 private:
  std::uint64_t held() const {
    const auto bytes = total_bytes();
    EXPECT_OK(bytes);
    return bytes ? *bytes : 0;
  }
  const std::shared_ptr<Steps> steps_;
};

class Merge : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_vault(path_, {.tokenizer = "bytes"}));
    vault_ = open();
  }
  std::unique_ptr<Vault> open() {
    auto vault = open_vault(path_);
    EXPECT_TRUE(vault) << vault.error().message();
    return vault ? std::move(*vault) : nullptr;
  }
  // Packs of conversations of three kinds each, in turn; some texts stand in all packs.
  void fill(int packs, int conversations, std::size_t size, const std::string& tenant = {}) {
    std::mt19937 random(static_cast<unsigned>(packs + conversations));
    for (int p = 0; p < packs; ++p) {
      std::vector<Conversation> batch;
      for (int i = 0; i < conversations; ++i) {
        const int kind = i % 3;
        std::mt19937 same(static_cast<unsigned>(kind));
        Conversation c;
        c.id = "c" + std::to_string(p) + "-" + std::to_string(i);
        c.time_ms = 1'700'000'000'000 + p * 1'000'000 + i;
        c.messages = {Message::of_text("system", words(same, kind, 3000)),
                      Message::of_text("user", words(random, kind, 200 + random() % size)),
                      Message::of_text("assistant", words(random, kind, 200 + random() % size))};
        batch.push_back(std::move(c));
      }
      auto results = vault_->put_batch(batch, {.tenant = tenant});
      ASSERT_TRUE(results);
      for (const auto& r : *results) ASSERT_TRUE(r);
      ASSERT_TRUE(vault_->seal());
    }
  }
  // Of one kind, ids "a<batch>-<i>" and so on.
  void fill_with(int kind, int batch, int conversations) {
    std::mt19937 random(static_cast<unsigned>(batch));
    std::vector<Conversation> all;
    for (int i = 0; i < conversations; ++i) {
      Conversation c;
      c.id = std::string(1, static_cast<char>('a' + kind)) + std::to_string(batch) + "-" +
             std::to_string(i);
      c.messages = {Message::of_text("user", words(random, kind, 200 + random() % 2000))};
      all.push_back(std::move(c));
    }
    ASSERT_TRUE(vault_->put_batch(all, {}));
  }
  // What a step takes of fill_with() in memory, with room for less than a fourth batch.
  static constexpr std::uint64_t kThreePacks = 180'000;
  // Of what fill_with() has put.
  std::map<std::string, std::set<char>> kinds_by_file() const {
    std::map<std::string, std::set<char>> kinds;
    for (const auto& [id, messages] : messages_of(*vault_)) {
      const auto explained = vault_->explain_conversation(id);
      EXPECT_TRUE(explained);
      if (explained) kinds[explained->file].insert(id[0]);
    }
    return kinds;
  }
  void lose_catalog() {
    vault_.reset();
    fs::remove(path_ + "/catalog.db");
    ASSERT_TRUE(repair_vault(path_));
    vault_ = open();
  }
  std::set<std::string> pack_names() const {
    std::set<std::string> names;
    for (const auto& e : fs::directory_iterator(path_ + "/packs")) {
      names.insert(e.path().filename().string());
    }
    return names;
  }

  const TempDir dir_;
  const std::string path_ = dir_ / "vault";
  std::unique_ptr<Vault> vault_;
};

TEST_F(Merge, PacksBecomeOneAndWhatTheyShareStandsOnce) {
  fill(4, 30, 2000);
  const auto before = messages_of(*vault_);
  const auto stats_before = vault_->stats();
  ASSERT_EQ(pack_names().size(), 4u);
  for (const Level level : {Level::fast, Level::balanced, Level::dense}) {
    auto report = vault_->compact(level);
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_EQ(pack_names().size(), 1u);
    EXPECT_EQ(messages_of(*vault_), before);
    expect_sound(*vault_);
  }
  const auto stats = vault_->stats();
  ASSERT_TRUE(stats && stats_before);
  EXPECT_EQ(stats->conversations, 120u);
  EXPECT_EQ(stats->tokens_logical, stats_before->tokens_logical);
  EXPECT_EQ(stats->segments, 3u + 240u);
  vault_.reset();
  vault_ = open();
  EXPECT_EQ(messages_of(*vault_), before);
}

// What does not fit the memory is merged in steps, of which each is found to be compact later.
TEST_F(Merge, MemoryBoundsAStep) {
  fill(6, 30, 2000);
  const auto before = messages_of(*vault_);
  const CompactOptions options{.level = Level::fast, .memory_bytes = 300'000};
  ASSERT_TRUE(vault_->compact(options));
  const auto packs = pack_names();
  EXPECT_GT(packs.size(), 1u);
  EXPECT_LT(packs.size(), 6u);
  EXPECT_EQ(messages_of(*vault_), before);
  const auto again = vault_->compact(options);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->files, 0u);
  EXPECT_EQ(pack_names(), packs);
  // What came since is merged without those that fill half of a step.
  Conversation late;
  late.id = "late";
  late.messages = {Message::of_text("user", "one more")};
  ASSERT_TRUE(vault_->put(late, {}));
  ASSERT_TRUE(vault_->compact(options));
  const auto more = pack_names();
  EXPECT_TRUE(std::includes(more.begin(), more.end(), packs.begin(), packs.end()));
  EXPECT_EQ(more.size(), packs.size() + 1);
  ASSERT_TRUE(vault_->compact(Level::fast));
  EXPECT_EQ(pack_names().size(), 1u);
  expect_sound(*vault_);
}

// At the level that packs have, a step takes as much room beside them as they do and a tenth, and
// the next one begins when they are gone: of what sealing made, and where something has been
// forgotten of what an earlier compaction made. (Several steps at `dense` take more: what is sorted
// before is written at `fast`.)
TEST_F(Merge, AStepNeedsRoomForItsPacksOnceMore) {
  for (const Level level : {Level::fast, Level::balanced, Level::dense}) {
    for (const bool is_one_step : {true, false}) {
      if (level == Level::dense && !is_one_step) continue;
      const auto steps = std::make_shared<PackMeter::Steps>();
      MemoryPlace place;
      ASSERT_OK(place.create());
      vault_ = nullptr;
      auto vault = Vault::open(std::make_unique<PackMeter>(place.disk, steps),
                               std::make_unique<SharedCatalog>(place.catalog),
                               {.level = level, .merge_bytes_min = UINT64_MAX});
      ASSERT_OK(vault);
      vault_ = std::move(*vault);
      const auto compact_and_weigh = [&](const std::string& when) {
        const std::string where = "level " + std::to_string(static_cast<int>(level)) + ", " + when;
        const auto before = messages_of(*vault_);
        CompactOptions options{.level = level};
        if (!is_one_step) options.memory_bytes = kThreePacks;
        steps->clear();
        const std::uint64_t bytes_before = *place.disk.total_bytes();
        ASSERT_OK(vault_->compact(options));
        if (is_one_step) {
          EXPECT_EQ(steps->size(), 1u) << where;
        } else {
          EXPECT_GE(steps->size(), 3u) << where;
        }
        std::uint64_t largest = 0;
        std::uint64_t most = 0;
        for (const PackMeter::Step& step : *steps) {
          EXPECT_LE(step.most, step.before + step.replaced * 11 / 10) << where;
          largest = std::max(largest, step.replaced);
          most = std::max(most, step.most);
        }
        EXPECT_GT(most, bytes_before) << where;
        EXPECT_LE(most, bytes_before + largest * 11 / 10) << where;
        EXPECT_EQ(messages_of(*vault_), before) << where;
      };
      for (int p = 0; p < 9; ++p) {
        fill_with(p % 3, p, 30);
        ASSERT_OK(vault_->seal());
      }
      compact_and_weigh("as sealed");
      std::vector<std::string> ids;
      for (int p = 0; p < 9; ++p) {
        ids.push_back(std::string(1, static_cast<char>('a' + p % 3)) + std::to_string(p) + "-0");
      }
      ASSERT_OK(vault_->forget(ids));
      ASSERT_OK(vault_->seal());
      compact_and_weigh("one of thirty forgotten");
    }
  }
}

// Of what does not fit one step, a step takes what is alike, whenever it was written.
TEST_F(Merge, AStepTakesWhatIsAlike) {
  for (int p = 0; p < 9; ++p) {
    fill_with(p % 3, p, 30);
    ASSERT_TRUE(vault_->seal());
  }
  const auto before = messages_of(*vault_);
  const CompactOptions options{.level = Level::fast, .memory_bytes = kThreePacks};
  ASSERT_TRUE(vault_->compact(options));
  const auto kinds = kinds_by_file();
  EXPECT_EQ(kinds.size(), 3u);
  for (const auto& [file, of_file] : kinds) EXPECT_EQ(of_file.size(), 1u) << file;
  EXPECT_EQ(messages_of(*vault_), before);
  expect_sound(*vault_);
  const auto again = vault_->compact(options);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->files, 0u);
}

// What was sealed has all kinds in each pack. It is sorted first, so that there is something to
// choose from.
TEST_F(Merge, WhatIsMixedIsSortedBeforeStepsAreChosen) {
  for (int p = 0; p < 6; ++p) {
    for (int kind = 0; kind < 3; ++kind) fill_with(kind, p, 15);
    ASSERT_TRUE(vault_->seal());
  }
  ASSERT_EQ(pack_names().size(), 6u);
  const auto before = messages_of(*vault_);
  const CompactOptions options{
      .level = Level::fast, .pack_bytes_max = 12u << 10, .memory_bytes = kThreePacks};
  ASSERT_TRUE(vault_->compact(options));
  const auto kinds = kinds_by_file();
  EXPECT_GE(kinds.size(), 6u);
  const auto mixed = std::count_if(kinds.begin(), kinds.end(),
                                   [](const auto& file) { return file.second.size() > 1; });
  EXPECT_LE(mixed, 1);
  EXPECT_EQ(messages_of(*vault_), before);
  expect_sound(*vault_);
  const auto names = pack_names();
  const auto again = vault_->compact(options);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->files, 0u);
  EXPECT_EQ(pack_names(), names);
  lose_catalog();
  EXPECT_EQ(messages_of(*vault_), before);
}

// Steps are not in the order of writing, so that a tag may stand in a later one than its removal,
// in both ways here. Stopped anywhere and without its catalog, the vault knows that they are gone;
// and in the end nothing says their words.
TEST_F(Merge, RemovalsLastUntilTheLastStep) {
  const std::vector<std::string> ids{"a0-0", "b1-0"};
  const std::vector<std::string> tags{"wordofone", "wordofother"};
  for (int p = 0; p < 6; ++p) {
    fill_with(p % 2, p, 30);
    for (std::size_t k = 0; k < 2; ++k) {
      const std::vector<std::string> id{ids[k]}, tag{tags[k]};
      if (p == static_cast<int>(k)) {
        ASSERT_TRUE(vault_->tag(id, tag, {}));
      }
      if (p == 2 + static_cast<int>(1 - k)) {
        ASSERT_TRUE(vault_->tag(id, {}, tag));
      }
    }
    ASSERT_TRUE(vault_->seal());
  }
  ASSERT_EQ(pack_names().size(), 6u);
  vault_.reset();
  auto files_with = [&](const std::string& word) {
    int count = 0;
    for (const auto& e : fs::recursive_directory_iterator(path_)) {
      if (!e.is_regular_file()) continue;
      std::ifstream file(e.path(), std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), {}};
      if (bytes.find(word) != std::string::npos) ++count;
    }
    return count;
  };
  for (const std::string& tag : tags) EXPECT_EQ(files_with(tag), 2) << "a tag and its removal";
  const std::string start = dir_ / "start", copy = dir_ / "copy";
  fs::copy(path_, start, fs::copy_options::recursive);
  CompactOptions options{.level = Level::fast, .memory_bytes = kThreePacks};
  int stopped = 0;
  for (int stop = 1;; ++stop) {
    fs::remove_all(path_);
    fs::copy(start, path_, fs::copy_options::recursive);
    vault_ = open();
    int calls = 0;
    const auto report =
        vault_->compact(options, [&](std::uint64_t, std::uint64_t) { return ++calls < stop; });
    vault_.reset();
    fs::remove_all(copy);
    fs::copy(path_, copy, fs::copy_options::recursive);
    for (const auto& e : fs::directory_iterator(copy)) {
      if (e.path().filename().string().starts_with("catalog.db")) fs::remove(e.path());
    }
    ASSERT_TRUE(repair_vault(copy));
    const auto repaired = open_vault(copy);
    ASSERT_TRUE(repaired);
    for (const std::string& tag : tags) {
      const auto tagged = (*repaired)->list({.tags = {tag}}, 10);
      ASSERT_TRUE(tagged);
      EXPECT_TRUE(tagged->conversations.empty()) << tag << " is back, stopped at " << stop;
    }
    if (report) break;
    ++stopped;
  }
  EXPECT_GT(stopped, 4);
  EXPECT_EQ(pack_names().size(), 2u) << "in two steps";
  for (const std::string& tag : tags) EXPECT_EQ(files_with(tag), 0) << tag;
  vault_ = open();
  expect_sound(*vault_);
}

// Letters that stand nowhere else.
std::string letters(std::mt19937& random, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += static_cast<char>('a' + random() % 26);
  return text;
}

// Documents of passages that others have, too, in another choice: no dictionary holds all
// documents, but one holds all passages. Without passages in common a pack for each dictionary is
// smaller.
TEST_F(Merge, GroupsThatSharePassagesBecomeOnePackAndOthersDoNot) {
  vault_.reset();
  for (const bool shared : {true, false}) {
    const std::string path = dir_ / (shared ? "shared" : "own");
    ASSERT_TRUE(create_vault(path, {.tokenizer = "bytes"}));
    auto vault = open_vault(path, {.level = Level::fast, .merge_bytes_min = UINT64_MAX});
    ASSERT_TRUE(vault);
    std::mt19937 random(11);
    std::vector<std::string> passages;
    for (int i = 0; i < 600; ++i) passages.push_back(letters(random, 2000));
    for (int batch = 0; batch < 4; ++batch) {
      std::vector<Conversation> documents(120);
      for (std::size_t d = 0; d < documents.size(); ++d) {
        std::string text = "document ";
        for (int i = 0; i < 8; ++i) {
          text += shared ? passages[random() % passages.size()] : letters(random, 2000);
        }
        documents[d].id = std::to_string(batch) + "-" + std::to_string(d);
        documents[d].messages = {Message::of_text("tool", text)};
      }
      ASSERT_TRUE((*vault)->put_batch(documents, {}));
      ASSERT_TRUE((*vault)->seal());
    }
    const auto before = messages_of(**vault);
    const auto report = (*vault)->compact(Level::fast);
    ASSERT_TRUE(report) << report.error().message();
    const auto stats = (*vault)->stats();
    ASSERT_TRUE(stats);
    if (shared) {
      EXPECT_EQ(stats->packs, 1u);
      // 1.2 MB of passages, of 4.7 bits a letter; in two packs they would stand twice.
      EXPECT_LT(stats->pack_bytes, 1'000'000u);
    } else {
      EXPECT_GT(stats->packs, 1u);
    }
    EXPECT_EQ(messages_of(**vault), before);
    expect_sound(**vault);
  }
}

TEST_F(Merge, NoPackIsLargerThanTheCapAndWhatIsAlikeIsTogether) {
  fill(3, 90, 3000);
  const auto before = messages_of(*vault_);
  CompactOptions options;
  options.level = Level::fast;
  options.pack_bytes_max = 96u << 10;
  auto report = vault_->compact(options);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_GE(pack_names().size(), 3u);
  for (const std::string& name : pack_names()) {
    EXPECT_LE(fs::file_size(path_ + "/packs/" + name), options.pack_bytes_max) << name;
  }
  EXPECT_EQ(messages_of(*vault_), before);
  expect_sound(*vault_);
  // A second time there is nothing to do.
  const auto names = pack_names();
  report = vault_->compact(options);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->files, 0u);
  EXPECT_EQ(pack_names(), names);
  // What one pack holds for others outlives the conversation that brought it.
  ASSERT_TRUE(vault_->forget(std::vector<std::string>{"c0-0", "c0-1", "c0-2"}));
  ASSERT_TRUE(vault_->gc(false));
  auto after = before;
  for (const char* id : {"c0-0", "c0-1", "c0-2"}) after.erase(id);
  EXPECT_EQ(messages_of(*vault_), after);
  expect_sound(*vault_);
  // Without the cap it is one again, and without the catalog the same.
  ASSERT_TRUE(vault_->compact(Level::fast));
  EXPECT_EQ(pack_names().size(), 1u);
  // And many again, as it is asked for; and one.
  options.pack_bytes_max = 24u << 10;
  ASSERT_TRUE(vault_->compact(options));
  EXPECT_GE(pack_names().size(), 6u);
  ASSERT_TRUE(vault_->compact(Level::fast));
  EXPECT_EQ(pack_names().size(), 1u);
  lose_catalog();
  EXPECT_EQ(messages_of(*vault_), after);
}

// Documents of one kind, each seen again with an edit: to split them up would store each twice.
TEST_F(Merge, NearDuplicatesComeIntoOnePack) {
  std::mt19937 random(21);
  std::vector<std::string> documents;
  for (int i = 0; i < 80; ++i) documents.push_back(words(random, 0, 12'000));
  const auto put_all = [&](int version) {
    std::shuffle(documents.begin(), documents.end(), random);
    for (std::size_t i = 0; i < documents.size(); ++i) {
      Conversation c;
      c.id = "v" + std::to_string(version) + "-" + std::to_string(i);
      c.messages = {Message::of_text("tool", documents[i])};
      ASSERT_TRUE(vault_->put(c, {}));
      documents[i].replace(random() % 10'000, 10, "an edit of it " + std::to_string(random()));
    }
    ASSERT_TRUE(vault_->seal());
    CompactOptions options;
    options.level = Level::fast;
    options.pack_bytes_max = 96u << 10;
    ASSERT_TRUE(vault_->compact(options));
  };
  put_all(0);
  const auto once = vault_->stats();
  ASSERT_GT(pack_names().size(), 3u);
  put_all(1);
  const auto twice = vault_->stats();
  ASSERT_TRUE(once && twice);
  EXPECT_LT(twice->pack_bytes, once->pack_bytes * 5 / 4);
  expect_sound(*vault_);
}

TEST_F(Merge, StoppedAtAnyPointItLeavesWhatWasThere) {
  fill(3, 30, 2000);
  const auto before = messages_of(*vault_);
  const auto names = pack_names();
  CompactOptions options;
  options.level = Level::fast;
  options.pack_bytes_max = 64u << 10;
  for (int stop = 1;; ++stop) {
    int calls = 0;
    auto report =
        vault_->compact(options, [&](std::uint64_t, std::uint64_t) { return ++calls < stop; });
    EXPECT_EQ(messages_of(*vault_), before);
    if (report) {
      EXPECT_GT(stop, 5);
      break;
    }
    EXPECT_EQ(report.error().code(), Errc::cancelled);
    EXPECT_EQ(pack_names(), names) << stop;
    ASSERT_LT(stop, 1000);
  }
  EXPECT_NE(pack_names(), names);
  expect_sound(*vault_);
}

// Killed between the swap and the removal of what it replaced.
TEST_F(Merge, WhatAKilledCompactionLeavesIsCountedAndGoes) {
  fill(2, 30, 2000);
  const std::string old = *pack_names().begin();
  fs::copy_file(path_ + "/packs/" + old, dir_ / "old");
  ASSERT_TRUE(vault_->compact(Level::fast));
  EXPECT_EQ(vault_->stats()->leftover_bytes, 0u);
  const std::uint64_t catalog = vault_->stats()->catalog_bytes;
  vault_.reset();
  fs::copy_file(dir_ / "old", path_ + "/packs/" + old);
  auto reader = open_vault(path_, {.read_only = true});
  ASSERT_TRUE(reader);
  const auto stats = (*reader)->stats();
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->leftover_bytes, fs::file_size(dir_ / "old"));
  EXPECT_LE(stats->catalog_bytes, catalog);  // with what the lock says
  vault_ = open();
  EXPECT_EQ(vault_->stats()->leftover_bytes, 0u);
  EXPECT_FALSE(pack_names().contains(old));
}

TEST_F(Merge, TenantsStayApart) {
  fill(2, 9, 1000);
  fill(2, 12, 1000, "other");
  const auto mine = messages_of(*vault_), others = messages_of(*vault_, "other");
  ASSERT_TRUE(vault_->compact(Level::fast));
  EXPECT_EQ(pack_names().size(), 2u);
  EXPECT_EQ(messages_of(*vault_), mine);
  EXPECT_EQ(messages_of(*vault_, "other"), others);
}

TEST_F(Merge, NewerPacksAreLeftAlone) {
  fill(3, 9, 1000);
  const auto before = messages_of(*vault_);
  const auto names = pack_names();
  CompactOptions options;
  options.level = Level::fast;
  options.older_than_ms = 1'700'000'000'000 + 2 * 1'000'000;
  ASSERT_TRUE(vault_->compact(options));
  const auto after = pack_names();
  EXPECT_EQ(after.size(), 2u);
  EXPECT_TRUE(after.contains(*names.rbegin()));
  EXPECT_EQ(messages_of(*vault_), before);
  expect_sound(*vault_);
}

TEST_F(Merge, OnlyWhatIsErasedIsReportedToBe) {
  fill(3, 9, 1000);
  ASSERT_OK(vault_->forget(std::vector<std::string>{"c0-1", "c2-1", "c2-2"}));
  CompactOptions options;
  options.level = Level::fast;
  options.older_than_ms = 1'700'000'000'000 + 2 * 1'000'000;
  const auto older = vault_->compact(options);
  ASSERT_OK(older);
  EXPECT_EQ(older->conversations, 1u);
  const auto all = vault_->compact(Level::fast);
  ASSERT_OK(all);
  EXPECT_EQ(all->conversations, 2u);
  const auto none = vault_->compact(Level::fast);
  ASSERT_OK(none);
  EXPECT_EQ(none->conversations, 0u);
}

// A pass that sorts erases, too: what it has erased is not counted again.
TEST_F(Merge, WhatASortingPassErasesIsReportedOnce) {
  for (int p = 0; p < 12; ++p) {
    fill_with(p % 3, p, 30);
    ASSERT_TRUE(vault_->seal());
  }
  ASSERT_OK(vault_->forget(std::vector<std::string>{"a0-1", "b1-2"}));
  CompactOptions options;
  options.level = Level::fast;
  options.memory_bytes = kThreePacks;
  const auto report = vault_->compact(options);
  ASSERT_OK(report);
  EXPECT_GT(report->files, 12u) << "nothing was sorted before";
  EXPECT_EQ(report->conversations, 2u);
}

// What was removed stays removed, although its pack is left alone, and the catalog is lost.
TEST_F(Merge, ARemovalStaysAsLongAsAnOtherPackHoldsWhatItRemoved) {
  auto put = [&](const std::string& id, std::int64_t time_ms) {
    Conversation c;
    c.id = id;
    c.time_ms = time_ms;
    c.messages = {Message::of_text("user", "text of " + id)};
    ASSERT_TRUE(vault_->put(c, {}));
  };
  const std::vector<std::string> late{"late"}, red{"red"};
  put("late", 2'000'000);
  ASSERT_TRUE(vault_->tag(late, red, {}));
  ASSERT_TRUE(vault_->seal());
  put("early", 1'000'000);
  ASSERT_TRUE(vault_->tag(late, {}, red));
  ASSERT_TRUE(vault_->seal());
  ASSERT_EQ(pack_names().size(), 2u);
  CompactOptions options{.level = Level::fast, .retrain = false};
  options.older_than_ms = 1'500'000;
  ASSERT_TRUE(vault_->compact(options));
  ASSERT_EQ(pack_names().size(), 2u);
  vault_.reset();
  for (const auto& e : fs::directory_iterator(path_)) {
    if (e.path().filename().string().starts_with("catalog.db")) fs::remove(e.path());
  }
  ASSERT_TRUE(repair_vault(path_));
  vault_ = open();
  const auto tagged = vault_->list({.tags = red}, 10);
  ASSERT_TRUE(tagged);
  EXPECT_TRUE(tagged->conversations.empty()) << "the tag is back";
}

// A deletion is some 18 bytes in a pack: after many, they were most of what a vault took.
TEST_F(Merge, DeletionsGoWithWhatTheyHid) {
  constexpr int kAll = 2000;
  std::vector<std::string> gone;
  auto fill_and_forget = [&](std::int64_t time_ms) {
    std::vector<Conversation> batch(kAll);
    gone.clear();
    for (int i = 0; i < kAll; ++i) {
      batch[i].id = std::to_string(time_ms) + "-" + std::to_string(i);
      batch[i].time_ms = time_ms;
      batch[i].messages = {Message::of_text("user", "text")};
      if (i >= 10) gone.push_back(batch[i].id);
    }
    ASSERT_TRUE(vault_->put_batch(batch, {}));
    ASSERT_TRUE(vault_->seal());
    ASSERT_TRUE(vault_->forget(gone));
  };
  const auto bytes = [&] {
    const auto stats = vault_->stats();
    EXPECT_TRUE(stats);
    return stats ? stats->pack_bytes + stats->log_bytes : 0;
  };
  const CompactOptions fast{.level = Level::fast, .retrain = false};
  // The deletions are in the log, in a pack of their own, or merged with what they hide.
  fill_and_forget(1'000'000);
  ASSERT_TRUE(vault_->gc(false));
  EXPECT_LT(bytes(), 4000u);
  fill_and_forget(2'000'000);
  ASSERT_TRUE(vault_->seal());
  ASSERT_TRUE(vault_->gc(false));
  EXPECT_LT(bytes(), 8000u);
  fill_and_forget(3'000'000);
  ASSERT_TRUE(vault_->compact(fast));
  EXPECT_LT(bytes(), 8000u);
  // They stay while what they hide is left alone, and go from a compact pack when that is gone.
  fill_and_forget(9'000'000);
  Conversation early;
  early.id = "early";
  early.time_ms = 1'000'000;
  early.messages = {Message::of_text("user", "text")};
  ASSERT_TRUE(vault_->put(early, {}));
  CompactOptions older = fast;
  older.older_than_ms = 8'000'000;
  ASSERT_TRUE(vault_->compact(older));
  EXPECT_GT(bytes(), 30'000u);
  vault_.reset();
  for (const auto& e : fs::directory_iterator(path_)) {
    if (e.path().filename().string().starts_with("catalog.db")) fs::remove(e.path());
  }
  ASSERT_TRUE(repair_vault(path_));
  vault_ = open();
  EXPECT_EQ(messages_of(*vault_).size(), 41u);
  ASSERT_TRUE(vault_->compact(fast));
  EXPECT_LT(bytes(), 10'000u);
  EXPECT_EQ(messages_of(*vault_).size(), 41u);
  expect_sound(*vault_);
}

TEST_F(Merge, CollectingKeepsTheLevelAndReportsWhatTheFilesTake) {
  const auto bytes = [&] {
    const auto stats = vault_->stats();
    EXPECT_TRUE(stats);
    return stats ? stats->pack_bytes + stats->log_bytes : 0;
  };
  fill(2, 30, 2000);
  fill(1, 30, 2000, "other");
  ASSERT_TRUE(vault_->compact(Level::dense));
  ASSERT_TRUE(vault_->forget(std::vector<std::string>{"c0-0"}));
  const std::uint64_t before = bytes();
  auto report = vault_->gc(false);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->conversations, 1u);
  EXPECT_NEAR(static_cast<double>(report->bytes_before), static_cast<double>(before), 100);
  EXPECT_NEAR(static_cast<double>(report->bytes_after), static_cast<double>(bytes()), 100);
  EXPECT_LT(report->bytes_after, report->bytes_before);
  const std::uint64_t collected = report->bytes_after;
  report = vault_->gc(false);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->files, 0u);
  EXPECT_EQ(report->bytes_before, report->bytes_after);
  // What gc rewrote is as dense as it was; at the level of the vault it would be larger by a tenth.
  auto compacted = vault_->compact(Level::dense);
  ASSERT_TRUE(compacted);
  EXPECT_LT(static_cast<double>(collected),
            1.02 * static_cast<double>(compacted->bytes_after) + 1000);
  compacted = vault_->compact(Level::balanced);
  ASSERT_TRUE(compacted);
  EXPECT_GT(static_cast<double>(compacted->bytes_after), 1.04 * static_cast<double>(collected));
}

// More text than one dictionary is taught by: blocks beside it.
TEST_F(Merge, DensePacksHaveBlocks) {
  fill(1, 240, 12'000);
  const auto before = messages_of(*vault_);
  ASSERT_TRUE(vault_->compact(Level::dense));
  EXPECT_EQ(messages_of(*vault_), before);
  expect_sound(*vault_);
  auto dump = dump_file(path_ + "/packs/" + *pack_names().begin(), false);
  ASSERT_TRUE(dump);
  EXPECT_NE(dump->text.find("tokens segments at"), std::string::npos) << dump->text;
  // One conversation by itself, by another reader.
  auto reader = open_vault(path_, {.read_only = true});
  ASSERT_TRUE(reader);
  auto c = (*reader)->get("c0-239");
  ASSERT_TRUE(c) << c.error().message();
  EXPECT_EQ(c->messages, before.at("c0-239"));
}

// What is little work to read is coded by the token LZ, and read by every level's reader.
TEST_F(Merge, SmallTextsTakeTheTokenLz) {
  fill(2, 12, 300);
  const auto known = messages_of(*vault_);
  const auto codec = [&] {
    auto explained = vault_->explain();
    EXPECT_TRUE(explained);
    std::string name;
    for (const StoredStream& s : explained->streams) {
      if (s.stream == "tokens") name = s.codec;
    }
    return name;
  };
  std::uint64_t before = 0;
  for (const auto& [level, wanted] :
       {std::pair(Level::fast, "zstd"), std::pair(Level::balanced, "token_lz"),
        std::pair(Level::fast, "zstd")}) {
    ASSERT_TRUE(vault_->compact(level));
    EXPECT_EQ(codec(), wanted);
    EXPECT_EQ(messages_of(*vault_), known);
    expect_sound(*vault_);
    auto stats = vault_->stats();
    ASSERT_TRUE(stats);
    if (level == Level::balanced) {
      EXPECT_LT(stats->total_bytes, before * 95 / 100);
    }
    before = stats->total_bytes;
  }
}

// In digits of random numbers there is nothing to foresee: a model of them loses to zstd.
TEST_F(Merge, DensePacksAreNoLargerThanBalancedOnes) {
  std::mt19937 random(11);
  std::vector<Conversation> conversations(300);
  for (std::size_t i = 0; i < conversations.size(); ++i) {
    Conversation& c = conversations[i];
    c.id = "n" + std::to_string(i);
    c.time_ms = 1'700'000'000'000;
    c.messages = {Message::of_text("user", "embed this")};
    std::string numbers = "[0";
    for (int k = 0; k < 64; ++k) {
      numbers += ",0." + std::to_string(random() % 100'000'000) + std::to_string(random());
    }
    c.form = "{\"id\":\x11,\"messages\":\x10,\"embedding\":\x05}";
    c.values = {Value{numbers + "]", {}}};
  }
  auto results = vault_->put_batch(conversations, {});
  ASSERT_TRUE(results);
  for (const auto& r : *results) ASSERT_TRUE(r) << r.error().message();
  const auto known = messages_of(*vault_);
  const auto pack_bytes = [&](Level level) {
    EXPECT_TRUE(vault_->compact(level));
    EXPECT_EQ(messages_of(*vault_), known);
    expect_sound(*vault_);
    auto stats = vault_->stats();
    EXPECT_TRUE(stats);
    return stats ? stats->pack_bytes : 0;
  };
  const std::uint64_t balanced = pack_bytes(Level::balanced);
  EXPECT_LE(pack_bytes(Level::dense), balanced);
}

// Numbers that count are copies that only zstd's best parse finds.
TEST_F(Merge, DensePacksOfNumbersThatCountAreNoLarger) {
  std::vector<Conversation> conversations(12'000);
  for (std::size_t i = 0; i < conversations.size(); ++i) {
    Conversation& c = conversations[i];
    c.id = "n" + std::to_string(i);
    c.time_ms = 1'700'000'000'000;
    c.messages = {Message::of_text("user", "the same")};
    c.form = "{\"id\":\x11,\"messages\":\x10,\"seed\":\x04}";
    c.values = {Value{std::to_string(i), {}}};
  }
  ASSERT_TRUE(vault_->put_batch(conversations, {}));
  const auto pack_bytes = [&](Level level) {
    EXPECT_TRUE(vault_->compact(level));
    expect_sound(*vault_);
    auto stats = vault_->stats();
    EXPECT_TRUE(stats);
    return stats ? stats->pack_bytes : 0;
  };
  const std::uint64_t balanced = pack_bytes(Level::balanced);
  EXPECT_LE(pack_bytes(Level::dense), balanced);
}

// The same text makes the same packs, whatever the threads: but for the number of the set, which is
// random, and the two checksums over it.
TEST_F(Merge, PacksAreTheSameBytesWithAnyNumberOfThreads) {
  constexpr std::size_t kRandomBytes = 16 + 8 + 4;
  fill(3, 30, 1000);
  vault_.reset();
  const auto packs_after = [&](Level level, unsigned threads) {
    const std::string copy = path_ + "-copy";
    fs::copy(path_, copy, fs::copy_options::recursive);
    std::vector<std::string> packs;
    {
      VaultOptions options;
      options.threads = threads;
      auto vault = open_vault(copy, options);
      EXPECT_TRUE(vault && (*vault)->compact(level));
    }
    std::set<fs::path> files;
    for (const auto& file : fs::directory_iterator(copy + "/packs")) files.insert(file.path());
    for (const fs::path& file : files) packs.push_back(slurp(file));
    fs::remove_all(copy);
    return packs;
  };
  for (const Level level : {Level::fast, Level::balanced, Level::dense}) {
    const auto one = packs_after(level, 1);
    const auto two = packs_after(level, 2);
    EXPECT_FALSE(one.empty());
    ASSERT_EQ(one.size(), two.size());
    for (std::size_t i = 0; i < one.size(); ++i) {
      ASSERT_EQ(one[i].size(), two[i].size());
      std::size_t different = 0;
      for (std::size_t k = 0; k < one[i].size(); ++k) different += one[i][k] != two[i][k];
      EXPECT_LE(different, kRandomBytes);
    }
  }
}

}  // namespace
}  // namespace tokvault
