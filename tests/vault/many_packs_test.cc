// A vault of hundreds of packs: what opening it and finding an id read of them, and that everything
// else works as with one.
#include <algorithm>
#include <map>
#include <set>

#include "format/id_filter.h"
#include "tests/vault/harness.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kPacks = 300;
constexpr std::uint64_t kRows = kFilteredRowsMin;  // of each
const VaultOptions kUnmerged{.level = Level::fast, .merge_bytes_min = UINT64_MAX};

struct Reads {
  std::map<std::string, std::vector<std::pair<std::uint64_t, std::uint64_t>>> extents;  // by blob
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
};

class Counting final : public ForwardingBackend {
 public:
  Counting(const FaultBackend& to, Reads* reads) : ForwardingBackend(to), reads_(reads) {}
  Status get(std::string_view name, std::uint64_t offset, std::uint64_t size,
             Buffer& out) const override {
    reads_->extents[std::string(name)].emplace_back(offset, size);
    ++reads_->count;
    reads_->bytes += size;
    return ForwardingBackend::get(name, offset, size, out);
  }

 private:
  Reads* const reads_;
};

std::string id_of(std::uint64_t pack, std::uint64_t row) {
  return "run-" + std::to_string(pack) + "/" + std::to_string(row);
}

Conversation small(const std::string& id) { return conversation(id, {"of " + id}); }

Status put_pack(Vault& vault, const std::vector<Conversation>& conversations,
                const PutOptions& options = {}) {
  TOKVAULT_ASSIGN(const auto results, vault.put_batch(conversations, options));
  for (const auto& result : results) {
    if (!result) return result.error().clone();
  }
  return vault.seal();
}

// One pack of as many conversations as filters ask for, and then 300 small ones.
class ManyPacks : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new MemoryPlace();
    ASSERT_OK(place_->create());
    auto vault = place_->open(kUnmerged);
    ASSERT_OK(vault);
    std::vector<Conversation> first;
    for (std::uint64_t i = 0; i + 1 < kFilteredTenantRowsMin; ++i) {
      first.push_back(conversation("first-" + std::to_string(i), {"same"}));
    }
    ASSERT_OK(put_pack(**vault, first));
    for (std::uint64_t pack = 0; pack < kPacks; ++pack) {
      std::vector<Conversation> conversations;
      for (std::uint64_t row = 0; row < kRows; ++row) {
        conversations.push_back(small(id_of(pack, row)));
      }
      ASSERT_OK(put_pack(**vault, conversations));
    }
    // Of another tenant, which has no more.
    ASSERT_OK(put_pack(**vault, {small("a"), small("b")}, {.tenant = "other"}));
  }
  static void TearDownTestSuite() { delete place_; }

  static Result<std::unique_ptr<Vault>> open_counted(Reads& reads,
                                                     std::optional<std::uint64_t> cache = {}) {
    return Vault::open(std::make_unique<Counting>(place_->disk, &reads),
                       std::make_unique<SharedCatalog>(place_->catalog),
                       {.read_only = true, .cache_bytes = cache});
  }
  static std::shared_ptr<PackFile> pack(const Backend& backend, const std::string& name) {
    static Cache cache(1 << 20);
    auto pack = PackFile::open(backend, cache, number_of(name));
    EXPECT_OK(pack);
    return pack ? *pack : nullptr;
  }
  static std::vector<std::string> pack_names(const Backend& backend) {
    std::vector<std::string> names;
    const auto blobs = backend.list("packs");
    EXPECT_OK(blobs);
    for (const BlobInfo& blob : *blobs) names.push_back(blob.name);
    return names;
  }
  // Packs of which the ids were read.
  static std::uint64_t ids_read(const Reads& reads) {
    std::uint64_t count = 0;
    for (const auto& [name, extents] : reads.extents) {
      if (!name.starts_with("packs/")) continue;
      const auto file = pack(place_->disk, name);  // the footer lives as long
      const Extent ids = file->footer().tables[static_cast<std::size_t>(TablePart::ids)];
      count += static_cast<std::uint64_t>(
          std::count(extents.begin(), extents.end(), std::pair(ids.offset, ids.size)));
    }
    return count;
  }

  static inline MemoryPlace* place_ = nullptr;
};

TEST_F(ManyPacks, OpeningReadsTwiceOfEachAndNoMoreThanItsEnds) {
  Reads reads;
  const auto vault = open_counted(reads);
  ASSERT_OK(vault);
  const std::uint64_t packs = kPacks + 2;
  EXPECT_EQ(reads.extents.size(), packs + 1);  // and the log
  EXPECT_LE(reads.count, 2 * packs + 4);
  EXPECT_LE(reads.bytes, packs * 1200);
}

TEST_F(ManyPacks, AnIdIsFoundWithoutDecodingTheIdsOfOthers) {
  std::uint64_t decoded = 0;
  constexpr std::uint64_t kTries = 20;
  for (std::uint64_t i = 0; i < kTries; ++i) {
    Reads reads;
    const auto vault = open_counted(reads);
    ASSERT_OK(vault);
    const Reads opening = std::exchange(reads, {});
    const std::string id = id_of(i * kPacks / kTries, i);
    const auto got = (*vault)->get(id);
    ASSERT_OK(got);
    EXPECT_EQ(*got, small(id));
    decoded += ids_read(reads);
    // A filter of each pack at the most, and what the pack itself takes.
    EXPECT_LE(reads.bytes, kPacks * kRows + 40'000);
    // The second time it is all there.
    const std::uint64_t before = reads.count;
    ASSERT_OK((*vault)->get(id));
    EXPECT_LE(reads.count, before + 4);
  }
  // Its own, and of half of the others those that their filters do not rule out: one in 46.
  EXPECT_GE(decoded, kTries);
  EXPECT_LE(decoded, kTries * (1 + 2 * kPacks / 46));
}

// Conversations of all times may lie in each pack, so that scan() must not read the tables again
// for each few of them.
TEST_F(ManyPacks, AScanReadsTheTablesOnce) {
  Reads reads;
  const auto vault = open_counted(reads, 1);  // nothing stays
  ASSERT_OK(vault);
  std::uint64_t count = 0;
  ASSERT_OK((*vault)->scan({}, [&](const Summary&, const Result<Conversation>& c) {
    EXPECT_OK(c);
    return ++count < 2000;
  }));
  EXPECT_EQ(count, 2000u);
  Reads first;
  first.extents.insert(*reads.extents.find(pack_names(place_->disk).front()));
  EXPECT_EQ(ids_read(first), 1u);
}

TEST_F(ManyPacks, WhatIsNotThereIsSaidNotToBe) {
  Reads reads;
  const auto vault = open_counted(reads);
  ASSERT_OK(vault);
  // Not of one id alone: of one in a thousand three of the six places are the same, or more, and a
  // seventh of all filters of this size holds it. The tenant's key decides which.
  constexpr std::uint64_t kTries = 20;
  std::uint64_t decoded = 0;
  for (std::uint64_t i = 0; i < kTries; ++i) {
    const auto opened = open_counted(reads);
    ASSERT_OK(opened);
    reads = {};
    EXPECT_EQ((*opened)->get("run-7/" + std::to_string(9000 + i)).code(), Errc::not_found);
    decoded += ids_read(reads);
  }
  EXPECT_LE(decoded, kTries * (1 + 2 * kPacks / 46));
  EXPECT_EQ((*vault)->get("a").code(), Errc::not_found);
  EXPECT_OK((*vault)->get("a", "other"));
}

TEST_F(ManyPacks, AFilterOnlyWhereThereAreManyIds) {
  std::uint64_t filtered = 0;
  for (const std::string& name : pack_names(place_->disk)) {
    const auto p = pack(place_->disk, name);
    ASSERT_NE(p, nullptr);
    const PackFooter& f = p->footer();
    if (f.id_filter.size == 0) {
      // The first, when there were too few yet, and the other tenant's.
      EXPECT_NE(f.counts.rows, kRows) << name;
      continue;
    }
    ++filtered;
    EXPECT_EQ(f.counts.rows, kRows);
    EXPECT_EQ(f.id_filter.size, kRows);
  }
  EXPECT_EQ(filtered, kPacks);
}

TEST_F(ManyPacks, EverythingElseIsAsWithOne) {
  // A copy: this changes it.
  MemoryPlace place = MemoryPlace::of(place_->disk.process_kill(), place_->catalog);
  std::set<std::string> wanted;
  for (std::uint64_t i = 0; i + 1 < kFilteredTenantRowsMin; ++i) {
    wanted.insert("first-" + std::to_string(i));
  }
  for (std::uint64_t pack = 0; pack < kPacks; ++pack) {
    for (std::uint64_t row = 0; row < kRows; ++row) wanted.insert(id_of(pack, row));
  }
  auto expect_all = [&](const Vault& vault) {
    std::vector<std::string> listed;
    std::string cursor;
    do {
      const auto page = vault.list({}, 10'000, cursor);
      ASSERT_OK(page);
      for (const Summary& s : page->conversations) listed.push_back(s.id);
      cursor = page->cursor;
    } while (!cursor.empty());
    EXPECT_EQ(listed.size(), wanted.size());
    EXPECT_EQ(std::set<std::string>(listed.begin(), listed.end()), wanted);
    std::vector<std::string> exported;
    ASSERT_OK(vault.scan({}, [&](const Summary& s, Result<Conversation> c) {
      EXPECT_OK(c);
      exported.push_back(s.id);
      return true;
    }));
    EXPECT_EQ(exported, listed);
    const auto stats = vault.stats("default");
    ASSERT_OK(stats);
    EXPECT_EQ(stats->conversations, wanted.size());
    const auto usage = vault.usage({});
    ASSERT_OK(usage);
    ASSERT_EQ(usage->size(), 1u);
    EXPECT_EQ((*usage)[0].conversations, wanted.size());
    const auto got = vault.get_batch(listed);
    ASSERT_OK(got);
    for (std::size_t i = 0; i < listed.size(); ++i) {
      ASSERT_OK((*got)[i]) << listed[i];
      EXPECT_EQ((*got)[i]->id, listed[i]);
    }
  };
  {
    auto vault = place.open(kUnmerged);
    ASSERT_OK(vault);
    expect_all(**vault);
    EXPECT_EQ((*vault)->put(small(id_of(1, 1)), {})->outcome, PutResult::Outcome::unchanged);
    EXPECT_EQ((*vault)->put(conversation(id_of(1, 1), {"other"}), {}).code(), Errc::exists);
    const std::vector<std::string> gone{"first-0", id_of(0, 3), id_of(150, 200), id_of(299, 255)};
    const auto forgotten = (*vault)->forget(gone);
    ASSERT_OK(forgotten);
    EXPECT_EQ(*forgotten, gone.size());
    for (const std::string& id : gone) {
      wanted.erase(id);
      EXPECT_EQ((*vault)->get(id).code(), Errc::not_found);
    }
    const auto report = (*vault)->gc(false);
    ASSERT_OK(report);
    expect_all(**vault);
  }
  auto vault = place.open({.read_only = true});
  ASSERT_OK(vault);
  expect_all(**vault);
  const auto check = (*vault)->check({.read_data = true});
  ASSERT_OK(check);
  EXPECT_TRUE(check->findings.empty());
}

TEST_F(ManyPacks, ADamagedFilterIsNotBelieved) {
  MemoryPlace place = MemoryPlace::of(place_->disk.process_kill(), place_->catalog);
  const auto names = pack_names(place.disk);
  const std::string& name = names[200];
  const auto p = pack(place.disk, name);
  const auto tables = p->tables();
  ASSERT_OK(tables);
  const std::string id((*tables)->ids[100]);
  Buffer bytes;
  ASSERT_OK(place.disk.get(name, 0, p->size_bytes(), bytes));
  const Extent& filter = p->footer().id_filter;
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(filter.offset), filter.size, '\0');
  place.disk.overwrite(name, bytes);
  const auto vault = place.open({.read_only = true});
  ASSERT_OK(vault);
  const auto got = (*vault)->get(id);
  ASSERT_OK(got);
  EXPECT_EQ(*got, small(id));
  EXPECT_EQ((*vault)->get("nobody").code(), Errc::not_found);
  const auto check = (*vault)->check({});
  ASSERT_OK(check);
  ASSERT_EQ(check->findings.size(), 1u);
  EXPECT_EQ(check->findings[0].file, name);
}

}  // namespace
}  // namespace tokvault
