// A reader of a vault that lacks a pack, for each pack and each way in which it can be lost: what
// another file proves is served, nothing wrong is, and nothing that was lost is said not to be
// there.
#include <algorithm>
#include <functional>

#include "tests/vault/harness.h"

namespace tokvault {
namespace {

struct Loss {
  std::string name;
  bool opens = false;  // it is seen only when its tables are read
  std::function<void(FaultBackend&, const std::string&)> happen;
};

Buffer bytes_of(const FaultBackend& disk, const std::string& name) {
  Buffer bytes;
  const auto size = disk.size(name);
  EXPECT_OK(size);
  EXPECT_OK(disk.get(name, 0, *size, bytes));
  return bytes;
}

std::vector<Loss> losses() {
  auto flip = [](FaultBackend& disk, const std::string& name, auto where) {
    Buffer bytes = bytes_of(disk, name);
    bytes[where(bytes.size())] ^= 0x20;
    disk.overwrite(name, bytes);
  };
  return {
      {"missing", false, [](auto& disk, auto& name) { EXPECT_OK(disk.remove(name)); }},
      {"half", false,
       [](auto& disk, auto& name) {
         const Buffer bytes = bytes_of(disk, name);
         disk.overwrite(name, bytes.substr(0, bytes.size() / 2));
       }},
      {"empty", false, [](auto& disk, auto& name) { disk.overwrite(name, Buffer()); }},
      {"header", false,
       [=](auto& disk, auto& name) { flip(disk, name, [](std::size_t) { return 9; }); }},
      {"footer", false,
       [=](auto& disk, auto& name) { flip(disk, name, [](std::size_t n) { return n - 40; }); }},
      {"ids", true,
       [=](auto& disk, auto& name) {
         Cache cache(1 << 20);
         const auto pack = PackFile::open(disk, cache, number_of(name));
         ASSERT_OK(pack);
         const auto part = static_cast<std::size_t>(TablePart::ids);
         const std::uint64_t at = (*pack)->footer().tables[part].offset + 1;
         flip(disk, name, [=](std::size_t) { return at; });
       }},
  };
}

TEST(DamagedPack, IsCountedAsThatAndNotAsTheCatalog) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  {
    auto vault = place.open();
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(conversation("c", {shared_text(1)}), {}));
    ASSERT_OK((*vault)->seal());
  }
  const auto packs = place.disk.list("packs");
  ASSERT_OK(packs);
  ASSERT_EQ(packs->size(), 1u);
  Buffer bytes = bytes_of(place.disk, (*packs)[0].name);
  bytes.pop_back();
  place.disk.overwrite((*packs)[0].name, bytes);
  for (const bool repaired : {false, true}) {
    if (repaired) {
      ASSERT_OK(Vault::repair(place.disk, place.catalog));
    }
    auto vault = place.open({.read_only = true});
    ASSERT_OK(vault);
    const auto stats = (*vault)->stats();
    ASSERT_OK(stats);
    EXPECT_EQ(stats->pack_bytes, 0u) << repaired;
    EXPECT_EQ(stats->damaged_bytes, bytes.size()) << repaired;
    EXPECT_EQ(stats->total_bytes, stats->damaged_bytes + stats->log_bytes + stats->artifact_bytes +
                                      stats->catalog_bytes);
  }
}

// The tables of a pack are sound, and its text is damaged: it can be stored again, and what is
// forgotten goes with gc.
enum class Trained { nothing, dictionary, substrings };

class DamagedText : public testing::TestWithParam<Trained> {};

TEST_P(DamagedText, IsStoredAgainAndCollected) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  std::vector<Conversation> all;
  {
    auto vault = place.open();
    ASSERT_OK(vault);
    for (int i = 0; i < 6; ++i) {
      all.push_back(conversation("c" + std::to_string(i), {shared_text(static_cast<unsigned>(i))}));
      ASSERT_OK((*vault)->put(all.back(), {}));
    }
    ASSERT_OK((*vault)->seal());
    // What gc looks at before it erases, and which the damaged text may have been part of.
    if (GetParam() == Trained::dictionary) {
      ASSERT_OK((*vault)->dictionaries().add(dictionary(1)));
    } else if (GetParam() == Trained::substrings) {
      SubstringSet set;
      ASSERT_OK(set.add(std::vector<Token>(20, 7), {1, 1, 1}));
      ASSERT_OK((*vault)->substrings().add(set));
    }
  }
  const auto packs = place.disk.list("packs");
  ASSERT_OK(packs);
  ASSERT_EQ(packs->size(), 1u);
  const std::string name = (*packs)[0].name;
  Buffer bytes = bytes_of(place.disk, name);
  {
    Cache cache(1 << 20);
    const auto pack = PackFile::open(place.disk, cache, number_of(name));
    ASSERT_OK(pack);
    const PackStream& s = (*pack)->footer().streams[kTokenStream];
    bytes[s.dictionary.offset + s.dictionary.size / 2] ^= 0x20;
  }
  place.disk.overwrite(name, bytes);

  auto vault = place.open();
  ASSERT_OK(vault);
  EXPECT_EQ((*vault)->get("c0").code(), Errc::corrupt);
  // Under another id, and in the place of what cannot be read.
  Conversation again = all[1];
  again.id = "other";
  ASSERT_OK((*vault)->put(again, {}));
  ASSERT_OK((*vault)->put(all[0], {.replace = true}));
  for (const Conversation* c : {&again, &all[0]}) {
    const auto got = (*vault)->get(c->id);
    ASSERT_OK(got);
    EXPECT_EQ(*got, *c);
  }
  const std::vector<std::string> rest{"c1", "c2", "c3", "c4", "c5"};
  ASSERT_OK((*vault)->forget(rest));
  ASSERT_OK((*vault)->gc(false));
  const auto left = place.disk.list("packs");
  ASSERT_OK(left);
  for (const BlobInfo& b : *left) EXPECT_NE(b.name, name);
  const auto report = (*vault)->check({.read_data = true});
  ASSERT_OK(report);
  for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
}

INSTANTIATE_TEST_SUITE_P(Beside, DamagedText,
                         testing::Values(Trained::nothing, Trained::dictionary,
                                         Trained::substrings),
                         [](const auto& param) {
                           switch (param.param) {
                             case Trained::dictionary:
                               return "ADictionary";
                             case Trained::substrings:
                               return "Substrings";
                             default:
                               return "Nothing";
                           }
                         });

// Records of a pack are read where a log is older, to know what they took away. One whose records
// are damaged is then a lost pack, and no more: the vault opens, and others are read.
TEST(DamagedRecords, BesideAnOlderLogCostThatPackAlone) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  std::vector<Conversation> all;
  for (unsigned i = 0; i < 4; ++i) all.push_back(conversation("c" + std::to_string(i), {"a", "b"}));
  {
    auto vault = place.open();
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(all[0], {}));
    ASSERT_OK((*vault)->put(all[1], {}));
  }
  // A log whose last batch is damaged is not sealed; what comes next is.
  const auto logs = place.disk.list("log");
  ASSERT_OK(logs);
  ASSERT_EQ(logs->size(), 1u);
  Buffer bytes = bytes_of(place.disk, (*logs)[0].name);
  bytes.back() ^= 0x20;
  place.disk.overwrite((*logs)[0].name, bytes);
  {
    auto vault = place.open();
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(all[2], {}));
    const std::vector<std::string> ids{"c2"}, tags{"red"};
    ASSERT_OK((*vault)->tag(ids, tags, {}));
    ASSERT_OK((*vault)->tag(ids, {}, tags));
    ASSERT_OK((*vault)->seal());
    ASSERT_OK((*vault)->put(all[3], {}));
    EXPECT_TRUE((*vault)->get("c2").has_value());
  }
  const auto packs = place.disk.list("packs");
  ASSERT_OK(packs);
  ASSERT_EQ(packs->size(), 1u);
  const std::string name = (*packs)[0].name;
  {
    Cache cache(1 << 20);
    const auto pack = PackFile::open(place.disk, cache, number_of(name));
    ASSERT_OK(pack);
    ASSERT_GT((*pack)->footer().record_count, 0u);
    bytes = bytes_of(place.disk, name);
    bytes[(*pack)->footer().records.offset] ^= 0x20;
  }
  place.disk.overwrite(name, bytes);
  for (const bool read_only : {true, false}) {
    const std::string where = read_only ? "reader" : "writer";
    const auto vault = place.open({.read_only = read_only});
    ASSERT_OK(vault) << where;
    for (const unsigned i : {0u, 3u}) {
      const auto got = (*vault)->get(all[i].id);
      ASSERT_OK(got) << where << " " << i;
      EXPECT_EQ(*got, all[i]);
    }
    for (const char* id : {"c1", "c2", "nobody"}) {
      EXPECT_EQ((*vault)->get(id).code(), Errc::corrupt) << where << " " << id;
    }
    const auto damage = (*vault)->damage();
    EXPECT_TRUE(std::any_of(damage.begin(), damage.end(), [&](const Finding& f) {
      return f.file == name;
    })) << where;
  }
}

class LostPack : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(place_.create());
    auto vault = place_.open();
    ASSERT_OK(vault);
    Rng rng(11);
    // Ids come again in later packs; some are forgotten at once, others after all.
    for (int round = 0; round < 4; ++round) {
      for (const char* tenant : {"", "acme"}) {
        for (int i = 0; i < 14; ++i) {
          const std::string id = "c" + std::to_string(round * 8 + i);
          Conversation c = random_conversation(rng, id);
          c.messages.push_back(Message::of_text("user", shared_text(static_cast<unsigned>(i % 4))));
          ASSERT_OK((*vault)->put(c, {.tenant = tenant, .replace = true}));
          ids_.insert(id);
          model_.put(tenant, std::move(c));
        }
        forget(**vault, tenant, "c" + std::to_string(round * 8 + 2));
      }
      if (round < 3) {
        ASSERT_OK((*vault)->seal());
      }
    }
    forget(**vault, "", "c3");
    const std::vector<std::string> one{"c1"};
    const std::vector<std::string> tags{"red"};
    ASSERT_OK((*vault)->tag(one, tags, {}));
    for (const auto& [tenant, items] : model_.tenants()) {
      for (const auto& [id, item] : items) {
        const auto place = (*vault)->explain_conversation(id, tenant);
        ASSERT_OK(place);
        file_[{tenant, id}] = place->file;
      }
    }
    vault->reset();
    const auto packs = place_.disk.list("packs");
    ASSERT_OK(packs);
    for (const BlobInfo& blob : *packs) packs_.push_back(blob.name);
    ASSERT_GE(packs_.size(), 6u);
    Cache cache(1 << 20);
    for (const std::string& name : packs_) {
      const auto pack = PackFile::open(place_.disk, cache, number_of(name));
      ASSERT_OK(pack);
      owner_[name] = (*pack)->tenant() == 0 ? "" : "acme";
    }
  }

  void forget(Vault& vault, const std::string& tenant, const std::string& id) {
    const std::vector<std::string> ids{id};
    ASSERT_OK(vault.forget(ids, tenant));
    model_.forget(tenant, id);
  }

  // Whether a conversation lies in a lost pack.
  bool is_in(const std::string& pack, const std::string& tenant, const std::string& id) const {
    return file_.at({tenant, id}) == pack;
  }

  void look_up(const Vault& vault, const std::string& pack, const std::string& where) {
    for (const auto& [tenant, items] : model_.tenants()) {
      const bool is_owner = owner_.at(pack) == tenant;
      for (const std::string& id : ids_) {
        const std::string what = where + ", " + tenant + " " + id;
        const auto got = vault.get(id, tenant);
        const auto summary = vault.summary(id, tenant);
        const auto it = items.find(id);
        if (it == items.end()) {
          // Forgotten: nobody may read it; that it is not there is said where it is known.
          EXPECT_TRUE(got.code() == Errc::not_found || (is_owner && got.code() == Errc::corrupt))
              << what << why(got);
          if (!is_owner || id == "c3") {
            EXPECT_EQ(got.code(), Errc::not_found) << what << why(got);
          }
        } else if (is_in(pack, tenant, id)) {
          EXPECT_EQ(got.code(), Errc::corrupt) << what << why(got);
          EXPECT_EQ(summary.code(), Errc::corrupt) << what << why(summary);
        } else {
          ASSERT_OK(summary) << what;
          EXPECT_EQ(summary->messages, it->second.conversation.messages.size()) << what;
          if (got) {
            EXPECT_TRUE(*got == it->second.conversation) << what;
            ++served_;
          } else {  // a segment of the lost pack
            EXPECT_TRUE(is_owner) << what << why(got);
            EXPECT_EQ(got.code(), Errc::corrupt) << what << why(got);
          }
        }
      }
      EXPECT_EQ(vault.get("never there", tenant).code(),
                is_owner ? Errc::corrupt : Errc::not_found);
    }
  }

  MemoryPlace place_;
  Model model_;
  std::set<std::string> ids_;
  std::map<std::pair<std::string, std::string>, std::string> file_;
  std::vector<std::string> packs_;
  std::map<std::string, std::string> owner_;
  int served_ = 0;
};

TEST_F(LostPack, NothingWrongIsServed) {
  for (const std::string& pack : packs_) {
    for (const Loss& loss : losses()) {
      const std::string where = pack + " " + loss.name;
      MemoryPlace place = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
      loss.happen(place.disk, pack);

      const auto strict = place.open({.read_only = true});
      ASSERT_OK(strict) << where;
      look_up(**strict, pack, where);
      const auto going = place.open({.read_only = true, .keep_going = true});
      ASSERT_OK(going) << where;
      look_up(**going, pack, where);
      for (const auto& [tenant, items] : model_.tenants()) {
        const bool is_owner = owner_.at(pack) == tenant;
        Filter filter;
        filter.tenant = tenant;
        UsageQuery sums;
        sums.filter.tenant = tenant;
        sums.by_model = false;
        EXPECT_EQ((*strict)->list(filter, 1000).code(), is_owner ? Errc::corrupt : Errc::ok);
        if (!loss.opens) {
          EXPECT_EQ((*strict)->usage(sums).code(), is_owner ? Errc::corrupt : Errc::ok);
        }
        std::set<std::string> expected;
        std::uint64_t messages = 0;
        for (const auto& [id, item] : items) {
          if (is_in(pack, tenant, id)) continue;
          expected.insert(id);
          messages += item.conversation.messages.size();
        }
        if (is_owner) {
          EXPECT_LT(expected.size(), items.size()) << where;
        }
        const auto page = (*going)->list(filter, 1000);
        ASSERT_OK(page) << where;
        std::set<std::string> listed;
        for (const Summary& s : page->conversations) listed.insert(s.id);
        EXPECT_EQ(listed, expected) << where;
        std::set<std::string> scanned;
        ASSERT_OK((*going)->scan(filter, [&](const Summary& s, Result<Conversation> c) {
          scanned.insert(s.id);
          EXPECT_TRUE(!c || *c == items.at(s.id).conversation) << where;
          return true;
        }));
        EXPECT_EQ(scanned, expected) << where;
        const auto usage = (*going)->usage(sums);
        ASSERT_OK(usage) << where;
        ASSERT_EQ(usage->size(), 1u);
        // Sums that the pack keeps beside its tables may still be read.
        if (!loss.opens) {
          EXPECT_EQ((*usage)[0].conversations, expected.size()) << where;
          EXPECT_EQ((*usage)[0].messages, messages) << where;
        }
        const SegmentId nobody = Segment::of_bytes(std::string(300, 'n')).id();
        if (!loss.opens) {
          EXPECT_EQ((*strict)->has_segments({&nobody, 1}, tenant).code(),
                    is_owner ? Errc::corrupt : Errc::ok);
          const auto segments = (*strict)->get_segments({&nobody, 1}, tenant);
          ASSERT_OK(segments);
          EXPECT_EQ((*segments)[0].code(), is_owner ? Errc::corrupt : Errc::not_found);
        }
      }
      for (const Vault* vault : {strict->get(), going->get()}) {
        if (loss.opens && vault == strict->get()) continue;
        const auto damage = vault->damage();
        ASSERT_EQ(damage.size(), 1u) << where;
        EXPECT_EQ(damage[0].file, pack);
        EXPECT_EQ(damage[0].code, loss.name == "missing" ? Errc::not_found : Errc::corrupt);
      }
      const auto files = (*strict)->files();
      ASSERT_OK(files);
      EXPECT_EQ(std::count_if(files->begin(), files->end(),
                              [&](const FileInfo& f) {
                                return f.name == pack && f.damage.empty() == loss.opens;
                              }),
                1)
          << where;
      // A writer answers the same, and collects nothing.
      if (!loss.opens) {
        const auto writer = place.open();
        ASSERT_OK(writer) << where;
        look_up(**writer, pack, where + ", writer");
        EXPECT_EQ((*writer)->gc(false).code(), Errc::corrupt) << where;
      }

      // After repair a reader that was open all the time knows what is left.
      if (pack != packs_[1] || loss.opens) continue;
      FaultBackend disk(place.disk);
      ASSERT_OK(Vault::repair(disk, place.catalog)) << where;
      EXPECT_TRUE((*strict)->damage().empty()) << where;
      EXPECT_OK((*strict)->list({}, 1000)) << where;
      EXPECT_EQ((*strict)->get("never there").code(), Errc::not_found) << where;
    }
  }
  EXPECT_GT(served_, 1000);
}

// A pack that a rewrite replaced between the catalog's reading and its own is not lost.
TEST_F(LostPack, AReaderFollowsARewrite) {
  const auto reader = place_.open({.read_only = true});
  ASSERT_OK(reader);
  auto writer = place_.open();
  ASSERT_OK(writer);
  ASSERT_OK((*writer)->compact(Level::fast));
  EXPECT_TRUE((*reader)->damage().empty());
  for (const auto& [tenant, items] : model_.tenants()) {
    for (const auto& [id, item] : items) {
      const auto got = (*reader)->get(id, tenant);
      ASSERT_OK(got);
      EXPECT_TRUE(*got == item.conversation);
    }
  }
}

}  // namespace
}  // namespace tokvault
