// compact() with `retrain`: what pays is trained, used and counted; what does not leaves the vault
// as it is; and it may be stopped, or die, anywhere.
#include <cerrno>

#include "tests/vault/harness.h"
#include "vault/artifacts.h"

namespace tokvault {
namespace {

std::string letters(Rng& rng, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += static_cast<char>('a' + below(rng, 26));
  return text;
}

// By their names, with their bytes.
std::map<std::string, Buffer> blobs(const Backend& disk, const std::string& folder) {
  std::map<std::string, Buffer> out;
  auto found = disk.list(folder);
  EXPECT_OK(found);
  for (const BlobInfo& blob : *found) {
    EXPECT_OK(disk.get(blob.name, 0, blob.size_bytes, out[blob.name]));
  }
  return out;
}

class Retrain : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(place_.create()); }
  static std::unique_ptr<Vault> open(const MemoryPlace& place, bool read_only = false) {
    auto vault = place.open({.read_only = read_only, .level = Level::fast});
    EXPECT_OK(vault);
    return vault ? std::move(*vault) : nullptr;
  }
  std::unique_ptr<Vault> open() const { return open(place_); }
  // Conversations of which each has text of its own, and three of `passages` in the midst of it.
  void fill(Vault& vault, int count, std::size_t passages, std::uint64_t seed = 5) {
    Rng of_passages(seed);
    std::vector<std::string> shared;
    for (std::size_t i = 0; i < passages; ++i) shared.push_back(letters(of_passages, 160));
    Rng rng(seed + 1000 * all_.size());
    for (int i = 0; i < count; ++i) {
      std::string text;
      for (int k = 0; k < 3; ++k) {
        text += letters(rng, 50);
        if (!shared.empty()) text += shared[below(rng, shared.size())];
      }
      put(vault, conversation("c" + std::to_string(all_.size()), {text + letters(rng, 20)}));
    }
    ASSERT_OK(vault.seal());
  }
  void put(Vault& vault, const Conversation& c) {
    ASSERT_OK(vault.put(c, {}));
    all_[{"default", c.id}] = c;
  }
  static CompactOptions options(bool retrain) {
    return {.level = Level::fast, .pack_bytes_max = 24'000, .retrain = retrain};
  }
  void expect_all(const Vault& vault, const std::string& where) const {
    const auto seen = contents(vault);
    ASSERT_OK(seen) << where;
    EXPECT_TRUE(*seen == all_) << where;
    const auto report = vault.check({.read_data = true});
    ASSERT_OK(report) << where;
    for (const Finding& f : report->findings) ADD_FAILURE() << where << ": " << f.message;
  }
  static std::uint64_t bytes_of(const Backend& disk) {
    std::uint64_t bytes = 0;
    for (const char* folder : {"packs", "artifacts"}) {
      for (const auto& [name, content] : blobs(disk, folder)) bytes += content.size();
    }
    return bytes;
  }

  MemoryPlace place_;
  Contents all_;
};

TEST_F(Retrain, WhatPaysIsUsedAndCounted) {
  auto vault = open();
  fill(*vault, 500, 60);
  ASSERT_OK(vault->compact(options(false)));
  const std::uint64_t before = bytes_of(place_.disk);
  const auto report = vault->compact(options(true));
  ASSERT_OK(report);
  ASSERT_EQ(report->retrained.size(), 1u);
  const RetrainReport& r = report->retrained[0];
  EXPECT_TRUE(r.changed) << r.reason;
  EXPECT_EQ(r.tenant, "default");
  const RetrainTrial* chosen = nullptr;
  for (const RetrainTrial& t : r.trials) {
    if (t.chosen) chosen = &t;
  }
  ASSERT_NE(chosen, nullptr);
  EXPECT_EQ(chosen->artifact, "substrings");
  const auto artifacts = blobs(place_.disk, "artifacts");
  ASSERT_EQ(artifacts.size(), 1u);
  EXPECT_EQ(artifacts.begin()->first, artifact_name(chosen->number));
  EXPECT_EQ(artifacts.begin()->second.size(), r.artifact_bytes);
  EXPECT_GT(r.saved_bytes, r.artifact_bytes);
  const std::uint64_t after = bytes_of(place_.disk);
  EXPECT_LT(after, before * 9 / 10) << "a third of the text stands in several packs";
  const auto set = vault->substrings().list();
  ASSERT_OK(set);
  ASSERT_EQ(set->size(), 1u);
  EXPECT_EQ(set->at(0).number, chosen->number);
  EXPECT_TRUE(set->at(0).active);
  EXPECT_GT(set->at(0).files, 1u);
  EXPECT_EQ(set->at(0).conversations, 500u);
  EXPECT_EQ(vault->stats()->substring_set_bytes, r.artifact_bytes);
  std::uint64_t files = 0;
  const auto explained = vault->explain();
  ASSERT_OK(explained);
  for (const StoredStream& s : explained->streams) {
    if (s.artifacts == std::vector<std::uint64_t>{chosen->number}) files += s.files;
  }
  EXPECT_EQ(files, set->at(0).files);
  expect_all(*vault, "compacted");
  expect_all(*open(place_, true), "by a reader");

  // Nothing has changed since, so that nothing better is found.
  const auto packs = blobs(place_.disk, "packs");
  const auto again = vault->compact(options(true));
  ASSERT_OK(again);
  ASSERT_EQ(again->retrained.size(), 1u);
  EXPECT_FALSE(again->retrained[0].changed);
  EXPECT_EQ(again->files, 0u);
  EXPECT_TRUE(blobs(place_.disk, "packs") == packs);
  EXPECT_TRUE(blobs(place_.disk, "artifacts") == artifacts);
  ASSERT_OK(vault->compact(options(false)));
  EXPECT_TRUE(blobs(place_.disk, "packs") == packs) << "without retraining they stay, too";

  // Packs say all that the catalog says.
  vault.reset();
  place_.catalog = SharedCatalog();
  ASSERT_OK(Vault::repair(place_.disk, place_.catalog));
  vault = open();
  ASSERT_EQ(vault->substrings().list()->size(), 1u);
  EXPECT_TRUE(vault->substrings().list()->at(0).active);
  expect_all(*vault, "without the catalog");
  // What comes later copies from it as well, and goes on behind the records that packs have.
  fill(*vault, 30, 60);
  expect_all(*vault, "more");
  vault.reset();
  vault = open();
  ASSERT_OK(vault->compact(options(true)));
  expect_all(*vault, "all");
}

TEST_F(Retrain, WhatDoesNotPayLeavesTheVaultAsItIs) {
  auto vault = open();
  fill(*vault, 400, 0);
  ASSERT_OK(vault->compact(options(false)));
  const auto packs = blobs(place_.disk, "packs");
  ASSERT_GT(packs.size(), 1u);
  auto report = vault->compact(options(true));
  ASSERT_OK(report);
  ASSERT_EQ(report->retrained.size(), 1u);
  EXPECT_FALSE(report->retrained[0].changed) << report->retrained[0].reason;
  EXPECT_TRUE(blobs(place_.disk, "packs") == packs);
  EXPECT_TRUE(blobs(place_.disk, "artifacts").empty());
  EXPECT_TRUE(vault->substrings().list()->empty());
  EXPECT_TRUE(vault->dictionaries().list()->empty());
  // One pack has all that could be shared.
  fill(*vault, 1, 0);
  const CompactOptions uncapped{.level = Level::fast, .retrain = true};
  report = vault->compact(uncapped);
  ASSERT_OK(report);
  EXPECT_EQ(blobs(place_.disk, "packs").size(), 1u);
  EXPECT_FALSE(report->retrained[0].changed);
  EXPECT_TRUE(report->retrained[0].trials.empty());
  EXPECT_TRUE(blobs(place_.disk, "artifacts").empty());
  expect_all(*vault, "as it was");
}

TEST_F(Retrain, ASetThatDoesNotPayAnyMoreGoes) {
  auto vault = open();
  fill(*vault, 500, 60);
  ASSERT_OK(vault->compact(options(true)));
  const SubstringId next = (*vault->substrings().active())->next_id();
  EXPECT_GT(next, 1u);
  const std::uint64_t before = bytes_of(place_.disk);
  fill(*vault, 1, 60);
  const auto report = vault->compact({.level = Level::fast, .retrain = true});
  ASSERT_OK(report);
  ASSERT_EQ(report->retrained.size(), 1u);
  EXPECT_TRUE(report->retrained[0].changed);
  EXPECT_LT(bytes_of(place_.disk), before);
  const auto set = vault->substrings().active();
  ASSERT_OK(set);
  EXPECT_EQ((*set)->size(), 0u);
  EXPECT_EQ((*set)->next_id(), next) << "ids are not given out again";
  EXPECT_EQ(blobs(place_.disk, "artifacts").size(), 1u) << "the empty set, which says so";
  expect_all(*vault, "one pack");
  ASSERT_OK(vault->compact(options(true)));
  EXPECT_GE((*vault->substrings().active())->list().at(0).id, next);
  expect_all(*vault, "many again");
}

// Packs that would be larger now, as another release may have made them, and a set that none uses:
// neither with it nor without it is anything gained.
TEST_F(Retrain, AnUnusedSetStaysWhereAllWouldBeLargerWithoutIt) {
  {
    auto vault = open();
    Rng rng(99);
    for (int i = 0; i < 60; ++i) {
      put(*vault, conversation("w" + std::to_string(i), {random_text(rng, 300)}));
    }
    const std::string run = letters(rng, 32);
    SubstringSet set;
    ASSERT_OK(set.add(std::vector<Token>(run.begin(), run.end()), SubstringCounts{}));
    ASSERT_OK(vault->substrings().add(set));
    ASSERT_OK(vault->compact(Level::dense));
  }
  // Dense packs that say they are fast.
  for (const auto& [name, bytes] : blobs(place_.disk, "packs")) {
    const auto header = decode_pack_header(bytes);
    const auto extent =
        decode_pack_trailer(ByteView(bytes).substr(bytes.size() - kPackTrailerBytes), bytes.size());
    ASSERT_OK(header);
    ASSERT_OK(extent);
    auto footer =
        decode_pack_footer(ByteView(bytes).substr(extent->offset, extent->size), *extent, *header);
    ASSERT_OK(footer);
    footer->level = Level::fast;
    const auto end = encode_pack_footer(*footer, extent->offset);
    ASSERT_OK(end);
    place_.disk.overwrite(name, bytes.substr(0, extent->offset) + *end);
  }
  auto vault = open();
  const auto packs = blobs(place_.disk, "packs");
  const auto artifacts = blobs(place_.disk, "artifacts");
  ASSERT_EQ(packs.size(), 1u);
  ASSERT_EQ(artifacts.size(), 1u);
  int calls = 0;
  const auto report = vault->compact({.level = Level::fast, .retrain = true},
                                     [&](auto, auto) { return ++calls < 1000; });
  ASSERT_OK(report);
  ASSERT_EQ(report->retrained.size(), 1u);
  EXPECT_FALSE(report->retrained[0].changed) << report->retrained[0].reason;
  ASSERT_EQ(report->retrained[0].trials.size(), 2u);
  EXPECT_NE(report->retrained[0].reason.find("in place of"), std::string::npos)
      << report->retrained[0].reason;
  EXPECT_EQ(report->files, 0u);
  EXPECT_TRUE(blobs(place_.disk, "packs") == packs);
  EXPECT_TRUE(blobs(place_.disk, "artifacts") == artifacts);
  expect_all(*vault, "as it was");
}

// Values of fewer than 16 tokens are in no set, but in a dictionary.
TEST_F(Retrain, ADictionaryTakesThePlaceOfTheOneBefore) {
  auto vault = open();
  Rng of_texts(5);
  std::vector<std::string> texts;
  for (int i = 0; i < 1000; ++i) texts.push_back(letters(of_texts, 15));
  Rng rng(3);
  for (int i = 0; i < 1200; ++i) {
    std::vector<std::string> messages{letters(rng, 60)};
    for (int k = 0; k < 8; ++k) messages.push_back(texts[below(rng, texts.size())]);
    put(*vault, conversation("d" + std::to_string(i), messages));
  }
  ASSERT_OK(vault->seal());
  const auto old = vault->dictionaries().train({}, {.size_bytes = 1024});
  ASSERT_OK(old);
  ASSERT_OK(vault->dictionaries().activate(old->id));
  const auto other = vault->dictionaries().train({}, {.size_bytes = 1100});
  ASSERT_OK(other);
  const auto report = vault->compact(options(true));
  ASSERT_OK(report);
  ASSERT_EQ(report->retrained.size(), 1u);
  ASSERT_TRUE(report->retrained[0].changed) << report->retrained[0].reason;
  const auto list = vault->dictionaries().list();
  ASSERT_OK(list);
  ASSERT_EQ(list->size(), 2u) << "the one that was active is gone, what nobody used stays";
  for (const DictionaryInfo& d : *list) {
    EXPECT_NE(d.id, old->id);
    EXPECT_EQ(d.active, d.id != other->id);
    if (d.active) {
      EXPECT_GT(d.files, 1u);
    }
  }
  expect_all(*vault, "compacted");
  vault.reset();
  expect_all(*open(), "opened again");
}

// The first step cannot remove it, because packs of the others name it.
TEST_F(Retrain, ADictionaryGoesAfterTheLastOfSeveralSteps) {
  auto vault = open();
  Rng of_texts(5);
  std::vector<std::string> texts;
  for (int i = 0; i < 1000; ++i) texts.push_back(letters(of_texts, 15));
  Rng rng(3);
  std::optional<DictionaryInfo> old;
  for (int i = 0; i < 4800; ++i) {
    std::vector<std::string> messages{letters(rng, 60)};
    for (int k = 0; k < 8; ++k) messages.push_back(texts[below(rng, texts.size())]);
    put(*vault, conversation("d" + std::to_string(i), messages));
    if (i % 2400 != 2399) continue;
    ASSERT_OK(vault->seal());
    if (old) continue;
    const auto trained = vault->dictionaries().train({}, {.size_bytes = 1024});
    ASSERT_OK(trained);
    old = *trained;
    ASSERT_OK(vault->dictionaries().activate(old->id));
  }
  CompactOptions in_steps = options(true);
  in_steps.memory_bytes = 2'200'000;
  in_steps.pack_bytes_max = 16'384;
  const auto report = vault->compact(in_steps);
  ASSERT_OK(report);
  ASSERT_GT(report->retrained.size(), 1u);
  ASSERT_TRUE(report->retrained[0].changed) << report->retrained[0].reason;
  const auto list = vault->dictionaries().list();
  ASSERT_OK(list);
  for (const DictionaryInfo& d : *list) {
    EXPECT_NE(d.id, old->id);
    EXPECT_TRUE(d.active || d.files > 0) << d.id;
  }
  EXPECT_EQ(blobs(place_.disk, "artifacts").size(), list->size());
  expect_all(*vault, "compacted");
}

TEST_F(Retrain, WhatIsErasedIsNotInIt) {
  auto vault = open();
  fill(*vault, 500, 60);
  Rng rng(11);
  const std::string secret = letters(rng, 100);
  std::vector<std::string> ids;
  for (int i = 0; i < 40; ++i) {
    ids.push_back("s" + std::to_string(i));
    put(*vault, conversation(ids.back(), {letters(rng, 600) + secret + letters(rng, 600)}));
  }
  ASSERT_OK(vault->compact(options(true)));
  auto holds = [&] {
    const auto set = vault->substrings().active();
    EXPECT_OK(set);
    for (const TokenView run : (*set)->runs()) {
      const std::string text(run.begin(), run.end());  // tokens are bytes
      for (std::size_t at = 0; at + 16 <= secret.size(); ++at) {
        if (text.find(secret.substr(at, 16)) != std::string::npos) return true;
      }
    }
    return false;
  };
  EXPECT_TRUE(holds());
  for (const std::string& id : ids) {
    ASSERT_OK(vault->forget(std::vector<std::string>{id}));
    all_.erase({"default", id});
  }
  ASSERT_OK(vault->compact(options(true)));
  EXPECT_FALSE(holds());
  EXPECT_GT((*vault->substrings().active())->size(), 0u);
  EXPECT_EQ(blobs(place_.disk, "artifacts").size(), 1u);
  expect_all(*vault, "erased");
}

TEST_F(Retrain, OnlyWhatATenantHasIsShared) {
  auto vault = open();
  fill(*vault, 500, 60);
  for (const auto& [key, c] : Contents(all_)) {
    ASSERT_OK(vault->put(c, {.tenant = "acme"}));
    all_[{"acme", c.id}] = c;
  }
  const auto report = vault->compact(options(true));
  ASSERT_OK(report);
  for (const RetrainReport& r : report->retrained) {
    const auto sets = vault->substrings().list(r.tenant);
    ASSERT_OK(sets);
    EXPECT_EQ(sets->size(), r.changed ? 1u : 0u) << r.tenant;
  }
  expect_all(*vault, "both");
}

// Stopped by its caller at every step that asks, it leaves all in place; the next call goes on.
TEST_F(Retrain, ItCanBeStopped) {
  {
    auto vault = open();
    fill(*vault, 250, 30);
  }
  const MemoryPlace start = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
  for (int stop = 1;; ++stop) {
    const MemoryPlace place = MemoryPlace::of(start.disk.process_kill(), start.catalog);
    auto vault = open(place);
    int calls = 0;
    const auto report = vault->compact(options(true), [&](auto, auto) { return ++calls != stop; });
    if (report) {
      EXPECT_GT(stop, 5);
      EXPECT_TRUE(report->retrained.at(0).changed);
      break;
    }
    ASSERT_EQ(report.code(), Errc::cancelled);
    EXPECT_TRUE(blobs(place.disk, "artifacts").empty());
    expect_all(*vault, "stopped at " + std::to_string(stop));
    ASSERT_OK(vault->compact(options(true)));
    EXPECT_EQ(blobs(place.disk, "artifacts").size(), 1u);
    expect_all(*vault, "taken up after " + std::to_string(stop));
  }
}

// The process, or the power, is gone at every call that changes storage in turn: while the first
// set is trained, and while another takes its place.
TEST_F(Retrain, ItMayDieAnywhere) {
  for (const bool is_first : {true, false}) {
    {
      auto vault = open();
      if (is_first) {
        fill(*vault, 250, 30);
      } else {
        ASSERT_OK(vault->compact(options(true)));
        fill(*vault, 250, 30, 6);  // other passages
      }
    }
    const MemoryPlace start = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
    bool came_through = false;
    for (std::uint64_t call = 1; !came_through; ++call) {
      for (const auto effect : {Fault::Effect::none, Fault::Effect::whole}) {
        MemoryPlace place = MemoryPlace::of(start.disk.process_kill(), start.catalog);
        auto vault = open(place);
        place.disk.fail({.call = call, .os_code = EIO, .effect = effect, .stay = true});
        const auto report = vault->compact(options(true));
        came_through = !place.disk.has_failed();
        const std::string where = "call " + std::to_string(call) + (is_first ? "" : ", with a set");
        if (came_through) {
          ASSERT_OK(report) << where;
          EXPECT_TRUE(report->retrained.at(0).changed) << "else it tries nothing";
        }
        const MemoryPlace after = MemoryPlace::of(place.disk.power_cut(call), place.catalog);
        vault.reset();
        {
          auto again = open(after);
          ASSERT_NE(again, nullptr) << where;
          expect_all(*again, where);
          const auto sets = again->substrings().list();
          ASSERT_OK(sets);
          EXPECT_EQ(blobs(after.disk, "artifacts").size(), sets->size()) << where;
          ASSERT_OK(again->compact(options(true))) << where;
          expect_all(*again, where + ", taken up");
          EXPECT_EQ(blobs(after.disk, "artifacts").size(), 1u) << where;
        }
        MemoryPlace lost{place.disk.process_kill(), SharedCatalog()};
        ASSERT_OK(Vault::repair(lost.disk, lost.catalog)) << where;
        expect_all(*open(lost, true), where + ", without the catalog");
        if (HasFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace tokvault
