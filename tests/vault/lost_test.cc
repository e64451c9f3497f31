// Lost packs, and segments that look alike. A lost pack takes its own conversations and those of
// other packs that need its segments, and check() says which; nothing else.
#include <unordered_map>

#include "base/checksum.h"
#include "tests/vault/harness.h"

namespace tokvault {
namespace {

// Packs p0..p3, of three conversations each; those of later packs need text of earlier ones. Each
// long text is stored where it came first.
class VaultLost : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(place_.create());
    auto vault = place_.open({.level = Level::fast});
    ASSERT_OK(vault);
    for (int pack = 0; pack < 4; ++pack) {
      for (int i = 0; i < 3; ++i) {
        const std::string id = "c" + std::to_string(pack) + std::to_string(i);
        std::vector<std::string> texts{"own text of " + id, shared_text(100 + 10 * pack + i)};
        std::set<int>& needs = needs_[id];
        needs.insert(pack);
        if (pack > 0 && i > 0) {
          const int from = i == 1 ? pack - 1 : 0;
          texts.push_back(shared_text(100 + 10 * from));
          needs.insert(from);
        }
        const Conversation c = conversation(id, texts);
        const auto put = (*vault)->put(c, {});
        ASSERT_OK(put);
        all_[id] = c;
        const auto summary = (*vault)->summary(id);
        ASSERT_OK(summary);
        sequence_[id] = summary->sequence;
      }
      ASSERT_OK((*vault)->seal());
    }
    const auto packs = place_.disk.list("packs");
    ASSERT_OK(packs);
    ASSERT_EQ(packs->size(), 4u);
    for (const BlobInfo& blob : *packs) packs_.push_back(blob.name);
    ASSERT_EQ(count_externals(place_.disk), 5u);  // c11 and c12 need the same one
  }

  MemoryPlace without(int pack) const {
    MemoryPlace place = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
    EXPECT_OK(place.disk.remove(packs_[static_cast<std::size_t>(pack)]));
    return place;
  }

  MemoryPlace place_;
  std::vector<std::string> packs_;
  std::map<std::string, Conversation> all_;
  std::map<std::string, std::set<int>> needs_;  // packs that a conversation is read from
  std::map<std::string, std::uint64_t> sequence_;
};

TEST_F(VaultLost, CheckSaysWhatIsGone) {
  for (int lost = 0; lost < 4; ++lost) {
    SCOPED_TRACE("pack " + std::to_string(lost));
    const MemoryPlace place = without(lost);
    auto vault = place.open({.read_only = true});
    ASSERT_OK(vault);
    const auto report = (*vault)->check({});
    ASSERT_OK(report);
    // Those elsewhere that need it, by id.
    std::set<std::string> elsewhere;
    std::uint64_t first = ~std::uint64_t{0};
    std::uint64_t last = 0;
    for (const auto& [id, needs] : needs_) {
      if (id[1] == '0' + lost) {
        first = std::min(first, sequence_[id]);
        last = std::max(last, sequence_[id]);
      } else if (needs.contains(lost)) {
        elsewhere.insert(id);
      }
    }
    EXPECT_EQ(std::set<std::string>(report->lost_ids.begin(), report->lost_ids.end()), elsewhere);
    EXPECT_EQ(report->lost_conversations, 3 + elsewhere.size());
    const auto finding = std::find_if(
        report->findings.begin(), report->findings.end(),
        [&](const Finding& f) { return f.file == packs_[static_cast<std::size_t>(lost)]; });
    ASSERT_NE(finding, report->findings.end());
    EXPECT_EQ(finding->code, Errc::not_found);
    const std::string range = "3 conversations, sequence numbers " + std::to_string(first) +
                              " to " + std::to_string(last);
    EXPECT_NE(finding->message.find(range), std::string::npos) << finding->message;
    // What needs no lost pack is read; the rest is not said not to be there.
    for (const auto& [id, conversation] : all_) {
      const auto got = (*vault)->get(id);
      if (needs_[id].contains(lost)) {
        EXPECT_EQ(got.code(), Errc::corrupt) << id << ": " << why(got);
      } else {
        EXPECT_TRUE(got && *got == conversation) << id << ": " << why(got);
      }
    }
    EXPECT_EQ((*vault)->get("nobody").code(), Errc::corrupt);
  }
}

// One finding for one pack that cannot be opened: what it is, where it is now, what is lost.
TEST_F(VaultLost, RepairReportsAPackOnce) {
  MemoryPlace place = without(3);
  ASSERT_OK(place.disk.put(packs_[3], "no pack"));
  FaultBackend disk = place.disk;
  const auto report = Vault::repair(disk, place.catalog);
  ASSERT_OK(report);
  std::vector<Finding> of_pack;
  for (const Finding& f : report->findings) {
    if (f.file == packs_[3]) of_pack.push_back(f);
  }
  ASSERT_EQ(of_pack.size(), 1u);
  EXPECT_EQ(of_pack[0].code, Errc::corrupt);
  EXPECT_NE(of_pack[0].message.find("put aside, and lost: 3 conversations"), std::string::npos)
      << of_pack[0].message;
  EXPECT_EQ(report->lost_conversations, 3u);
  EXPECT_EQ(disk.list("quarantine")->size(), 1u);
}

// An import that is called again must store what is lost, wherever the record of how far it was
// stands, and whatever becomes of the files.
TEST_F(VaultLost, NoImportGoesOnBehindIt) {
  const ImportProgress progress{.source = "input", .lines = 12, .bytes = 99, .state_hash = "h"};
  const auto counts = [](const MemoryPlace& place) {
    const auto vault = place.open({.read_only = true});
    EXPECT_OK(vault);
    return (*vault)->import_progress("input").has_value();
  };
  for (const bool sealed : {false, true}) {
    for (const bool catalog_too : {false, true}) {
      SCOPED_TRACE(std::string(sealed ? "sealed" : "in the log") +
                   (catalog_too ? ", the catalog is lost, too" : ""));
      {
        auto vault = place_.open();
        ASSERT_OK(vault);
        ASSERT_OK((*vault)->put_batch({}, {}, &progress));
        if (sealed) {
          ASSERT_OK((*vault)->seal());
        }
      }
      ASSERT_TRUE(counts(place_));
      MemoryPlace place = without(2);
      EXPECT_FALSE(counts(place));
      if (catalog_too) place.catalog = SharedCatalog();
      ASSERT_OK(Vault::repair(place.disk, place.catalog));
      EXPECT_FALSE(counts(place));
      {
        auto vault = place.open();
        ASSERT_OK(vault);
        ASSERT_OK((*vault)->put(conversation("later", {"text"}), {}));
        ASSERT_OK((*vault)->forget(std::vector<std::string>{"c00"}));
        ASSERT_OK((*vault)->seal());
        ASSERT_OK((*vault)->gc(false));
      }
      EXPECT_FALSE(counts(place));
      ASSERT_OK(Vault::repair(place.disk, place.catalog));
      EXPECT_FALSE(counts(place));
      {
        auto vault = place.open();
        ASSERT_OK(vault);
        ASSERT_OK((*vault)->put_batch({}, {}, &progress));
      }
      EXPECT_TRUE(counts(place));
      // One that lost nothing leaves it.
      ASSERT_OK((*place.open())->compact(Level::fast));
      ASSERT_OK(Vault::repair(place.disk, place.catalog));
      EXPECT_TRUE(counts(place));
    }
  }
}

TEST_F(VaultLost, RepairKeepsTheRest) {
  for (int lost = 0; lost < 4; ++lost) {
    for (const bool catalog_too : {false, true}) {
      SCOPED_TRACE("pack " + std::to_string(lost) + (catalog_too ? " and the catalog" : ""));
      MemoryPlace place = without(lost);
      if (catalog_too) place.catalog = SharedCatalog();
      FaultBackend disk = place.disk;
      const auto report = Vault::repair(disk, place.catalog);
      ASSERT_OK(report);
      if (!catalog_too) {
        std::set<std::string> elsewhere;
        for (const auto& [id, needs] : needs_) {
          if (id[1] != '0' + lost && needs.contains(lost)) elsewhere.insert(id);
        }
        EXPECT_EQ(std::set<std::string>(report->lost_ids.begin(), report->lost_ids.end()),
                  elsewhere);
        EXPECT_EQ(report->lost_conversations, 3u + elsewhere.size());
        ASSERT_FALSE(report->findings.empty());
        EXPECT_NE(report->findings[0].message.find("3 conversations"), std::string::npos);
      }
      auto vault = place.open();
      ASSERT_OK(vault);
      for (const auto& [id, c] : all_) {
        const auto got = (*vault)->get(id);
        if (id[1] == '0' + lost) {
          EXPECT_EQ(got.code(), Errc::not_found) << id;
        } else if (needs_[id].contains(lost)) {
          EXPECT_EQ(got.code(), Errc::corrupt) << id;
        } else {
          ASSERT_OK(got) << id;
          EXPECT_TRUE(*got == c) << id;
        }
      }
      // The text comes back, and with it those that need it.
      const Conversation again =
          conversation("again", {shared_text(100 + 10 * lost), shared_text(100)});
      ASSERT_OK((*vault)->put(again, {}));
      for (const auto& [id, c] : all_) {
        if (id[1] == '0' + lost) continue;
        const auto got = (*vault)->get(id);
        ASSERT_OK(got) << id;
        EXPECT_TRUE(*got == c) << id;
      }
    }
  }
}

// A flipped bit in a dictionary takes what lies in it, and repair counts that by id.
TEST_F(VaultLost, ADamagedDictionaryIsCountedById) {
  for (int lost = 0; lost < 4; ++lost) {
    MemoryPlace place = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
    const std::string& name = packs_[static_cast<std::size_t>(lost)];
    Buffer bytes;
    {
      Cache cache(8u << 20);
      const auto pack = PackFile::open(place.disk, cache, number_of(name));
      ASSERT_OK(pack);
      const Extent dictionary = (*pack)->footer().streams[kTokenStream].dictionary;
      ASSERT_GT(dictionary.size, 10u);
      ASSERT_OK(place.disk.get(name, 0, (*pack)->size_bytes(), bytes));
      bytes[dictionary.offset + dictionary.size / 2] ^= 1;
    }
    place.disk.overwrite(name, std::move(bytes));
    std::set<std::string> expected;
    for (const auto& [id, needs] : needs_) {
      if (needs.contains(lost)) expected.insert(id);
    }
    auto vault = place.open({.read_only = true});
    ASSERT_OK(vault);
    const auto checked = (*vault)->check({.read_data = true});
    ASSERT_OK(checked);
    FaultBackend disk = place.disk;
    const auto repaired = Vault::repair(disk, place.catalog);
    ASSERT_OK(repaired);
    for (const CheckReport* const report : {&*checked, &*repaired}) {
      EXPECT_EQ(std::set<std::string>(report->lost_ids.begin(), report->lost_ids.end()), expected);
      EXPECT_EQ(report->lost_conversations, expected.size());
      EXPECT_LE(report->findings.size(), 4u);  // not one for each segment
    }
  }
}

// Two texts whose fingerprints are equal, found by trying: a few thousand suffice for 24 bits.
std::pair<std::string, std::string> equal_fingerprints() {
  auto tokenizer = open_tokenizer("bytes");
  auto encoder = (*tokenizer)->make_encoder();
  std::unordered_map<std::uint32_t, std::string> seen;
  std::vector<Token> tokens;
  for (int i = 0;; ++i) {
    const std::string text = std::string(100, 'x') + " number " + std::to_string(i);
    tokens.clear();
    encoder->encode(text, tokens);
    const auto [it, is_new] = seen.try_emplace(fingerprint(token_digest(tokens)), text);
    if (!is_new) return {it->second, text};
  }
}

TEST(VaultFingerprint, EqualOnesDoNotMakeEqualSegments) {
  const auto [one, other] = equal_fingerprints();
  ASSERT_NE(one, other);
  MemoryPlace place;
  ASSERT_OK(place.create());
  std::map<std::string, Conversation> all;
  // In packs of their own, in one pack, and in a log beside a pack, by a writer that has just been
  // opened and knows the packs by their fingerprints alone.
  const std::vector<std::vector<std::string>> rounds{{one}, {other}, {one, other}, {other, one}};
  for (std::size_t i = 0; i < rounds.size(); ++i) {
    auto vault = place.open({.level = Level::fast});
    ASSERT_OK(vault);
    for (const std::string& text : rounds[i]) {
      const Conversation c = conversation("c" + std::to_string(all.size()), {text, "end"});
      ASSERT_OK((*vault)->put(c, {}));
      all[c.id] = c;
    }
    if (i + 1 < rounds.size()) {
      ASSERT_OK((*vault)->seal());
    }
    for (const auto& [id, c] : all) {
      const auto got = (*vault)->get(id);
      ASSERT_OK(got);
      EXPECT_TRUE(*got == c) << id;
    }
  }
  EXPECT_GT(count_externals(place.disk), 0u);
  auto vault = place.open({.level = Level::fast});
  ASSERT_OK(vault);
  // What is erased of one does not touch the other.
  ASSERT_OK((*vault)->forget(std::vector<std::string>{"c0"}));
  ASSERT_OK((*vault)->gc(false));
  ASSERT_OK((*vault)->compact(Level::fast));
  all.erase("c0");
  for (const auto& [id, c] : all) {
    const auto got = (*vault)->get(id);
    ASSERT_OK(got);
    EXPECT_TRUE(*got == c) << id;
  }
  const auto report = (*vault)->check({.read_data = true});
  ASSERT_OK(report);
  EXPECT_TRUE(report->findings.empty());
}

}  // namespace
}  // namespace tokvault
