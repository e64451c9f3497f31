// A repair that does not come to its end, and files of rewrites that did not: whatever is left, the
// next repair makes the vault of it that an undisturbed one would have made, with every
// conversation once.
#include <functional>

#include "base/checksum.h"
#include "tests/vault/harness.h"

namespace tokvault {
namespace {

VaultOptions options() {
  VaultOptions o;
  o.merge_bytes_min = UINT64_MAX;
  o.level = Level::fast;
  o.threads = 1;
  return o;
}

void put(MemoryPlace& place, const std::vector<std::string>& ids, const std::string& tenant) {
  auto vault = place.open(options());
  ASSERT_OK(vault);
  std::vector<Conversation> batch;
  for (const std::string& id : ids) {
    batch.push_back(conversation(id, {shared_text(1), shared_text(id.size()), id}));
  }
  PutOptions to;
  to.tenant = tenant;
  const auto results = (*vault)->put_batch(batch, to);
  ASSERT_OK(results);
  for (const auto& result : *results) ASSERT_OK(result);
}

void seal(MemoryPlace& place) {
  auto vault = place.open(options());
  ASSERT_OK(vault);
  ASSERT_OK((*vault)->seal());
}

Buffer read(const Backend& disk, const std::string& name) {
  Buffer bytes;
  const auto size = disk.size(name);
  EXPECT_OK(size);
  if (!size) return bytes;
  EXPECT_OK(disk.get(name, 0, *size, bytes));
  return bytes;
}

std::vector<std::string> names(const Backend& disk, const std::string& folder) {
  std::vector<std::string> out;
  const auto blobs = disk.list(folder);
  EXPECT_OK(blobs);
  if (!blobs) return out;
  for (const BlobInfo& blob : *blobs) out.push_back(blob.name);
  return out;
}

// Packs of two tenants, and a log of both of which the last batch is damaged.
MemoryPlace damaged_log() {
  MemoryPlace place;
  EXPECT_OK(place.create());
  put(place, {"a", "b"}, "default");
  put(place, {"c"}, "acme");
  seal(place);
  put(place, {"dd", "ee"}, "default");
  put(place, {"ff"}, "acme");
  put(place, {"gone"}, "default");
  const std::string log = names(place.disk, "log").back();
  Buffer bytes = read(place.disk, log);
  bytes[bytes.size() - 3] ^= 1;
  place.disk.overwrite(log, bytes);
  return place;
}

// Of a pack only the records are damaged.
MemoryPlace damaged_records() {
  MemoryPlace place;
  EXPECT_OK(place.create());
  put(place, {"a", "b"}, "default");
  const std::vector<std::string> ids{"a"};
  const std::vector<std::string> red{"red"};
  {
    auto vault = place.open(options());
    EXPECT_OK(vault);
    EXPECT_OK((*vault)->tag(ids, red, {}));
  }
  seal(place);
  put(place, {"cc"}, "acme");
  const std::string name = names(place.disk, "packs").back();
  Buffer bytes = read(place.disk, name);
  Cache cache(1u << 20);
  const auto pack = PackFile::open(place.disk, cache, number_of(name));
  EXPECT_OK(pack);
  if (pack) bytes[(*pack)->footer().records.offset] ^= 0x20;
  place.disk.overwrite(name, bytes);
  return place;
}

Status repair(MemoryPlace& place) {
  TOKVAULT_TRY(Vault::repair(place.disk, place.catalog));
  return {};
}

Result<Contents> seen(const MemoryPlace& place) {
  TOKVAULT_ASSIGN(const auto vault, place.open(options()));
  TOKVAULT_ASSIGN(const CheckReport report, vault->check({.read_data = true}));
  if (!report.findings.empty()) {
    return Error(Errc::corrupt, report.findings[0].file + ": " + report.findings[0].message);
  }
  return contents(*vault);
}

struct Damage {
  std::string name;
  std::function<MemoryPlace()> make;
};

class RepairCrash : public ::testing::TestWithParam<bool> {
 protected:
  static std::vector<Damage> damages() {
    return {{"a damaged log", damaged_log}, {"a pack without its records", damaged_records}};
  }
  // GetParam(): whether the catalog is lost as well.
  static MemoryPlace copy_of(const MemoryPlace& place) {
    MemoryPlace copy = MemoryPlace::of(place.disk.process_kill(), place.catalog);
    if (GetParam()) copy.catalog = SharedCatalog();
    return copy;
  }
};

TEST_P(RepairCrash, TheNextOneEndsTheWork) {
  for (const Damage& damage : damages()) {
    const MemoryPlace place = damage.make();
    MemoryPlace whole = copy_of(place);
    ASSERT_OK(repair(whole));
    const auto expected = seen(whole);
    ASSERT_OK(expected);
    ASSERT_GE(expected->size(), 3u);
    std::uint64_t failed = 0;
    for (const Fault::Kind kind : {Fault::Kind::mutating, Fault::Kind::get}) {
      for (const auto effect : {Fault::Effect::none, Fault::Effect::half, Fault::Effect::whole}) {
        for (const bool stay : {true, false}) {
          bool struck = true;
          for (std::uint64_t call = 1; struck; ++call) {
            MemoryPlace left = copy_of(place);
            left.disk.fail({.call = call, .effect = effect, .stay = stay, .kind = kind});
            if (!repair(left)) ++failed;
            struck = left.disk.has_failed();
            left.disk.fail_no_more();
            for (std::uint64_t cut = 0; cut < 3; ++cut) {
              const FaultBackend disk =
                  cut == 0 ? left.disk.process_kill() : left.disk.power_cut(call * 10 + cut);
              MemoryPlace next = MemoryPlace::of(disk, left.catalog);
              const std::string where = damage.name + ", call " + std::to_string(call) +
                                        ", effect " + std::to_string(static_cast<int>(effect)) +
                                        ", cut " + std::to_string(cut);
              ASSERT_OK(repair(next)) << where;
              const auto now = seen(next);
              ASSERT_OK(now) << where;
              ASSERT_TRUE(*now == *expected) << where;
            }
          }
        }
      }
    }
    EXPECT_GT(failed, 10u) << damage.name;
  }
}

// A log was sealed and the process killed before the catalog knew of it; nothing was cleared away,
// since another pack is missing, and it was sealed again.
TEST_P(RepairCrash, OfTwoPacksOfOneLogOneIsKept) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  put(place, {"a"}, "acme");
  seal(place);
  const std::string missing = names(place.disk, "packs").back();
  put(place, {"bb", "cc"}, "default");
  MemoryPlace earlier = MemoryPlace::of(place.disk.process_kill(), place.catalog);
  seal(earlier);
  const std::string leftover = names(earlier.disk, "packs").back();
  ASSERT_NE(leftover, missing);
  ASSERT_OK(place.disk.put(leftover, read(earlier.disk, leftover)));
  ASSERT_OK(place.disk.remove(missing));
  seal(place);
  const auto packs = names(place.disk, "packs");
  ASSERT_EQ(packs.size(), 2u);
  ASSERT_EQ(packs.front(), leftover);
  MemoryPlace left = copy_of(place);
  ASSERT_OK(repair(left));
  const auto now = seen(left);
  ASSERT_OK(now);
  EXPECT_EQ(now->size(), 2u);
  // With the next writer the other one is gone.
  put(left, {"dd"}, "default");
  EXPECT_EQ(names(left.disk, "packs"), std::vector<std::string>{packs.back()});
}

// What a newer program wrote is no damage, and it stays where it is.
TEST_P(RepairCrash, WhatANewerProgramWroteIsNotPutAside) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  put(place, {"a"}, "default");
  seal(place);
  put(place, {"b"}, "default");
  for (const std::string folder : {"packs", "log"}) {
    MemoryPlace newer = copy_of(place);
    const std::string name = names(newer.disk, folder).back();
    Buffer bytes = read(newer.disk, name);
    bytes[4] = 99;  // the version
    // Its checksum, of what stands before it: docs/format/pack.md, docs/format/log.md.
    const std::size_t checked = folder == "packs" ? 56 : 20 + static_cast<unsigned char>(bytes[8]);
    const std::uint64_t checksum = checksum64(ByteView(bytes).substr(0, checked));
    for (std::size_t i = 0; i < 8; ++i) bytes[checked + i] = static_cast<char>(checksum >> 8 * i);
    newer.disk.overwrite(name, bytes);
    EXPECT_EQ(repair(newer).code(), Errc::unsupported) << name;
    EXPECT_TRUE(read(newer.disk, name) == bytes) << name;
    EXPECT_TRUE(names(newer.disk, "quarantine").empty());
  }
}

// What only its catalog says would be gone.
TEST_P(RepairCrash, ACatalogOfANewerProgramIsNotReplaced) {
  class Newer final : public SharedCatalog {
   public:
    explicit Newer(const SharedCatalog& to) : SharedCatalog(to) {}
    Result<CatalogState> load() const override {
      return Error(Errc::unsupported, "a newer program wrote it");
    }
  };
  MemoryPlace place;
  ASSERT_OK(place.create());
  put(place, {"a"}, "default");
  seal(place);
  Newer newer(place.catalog);
  EXPECT_EQ(Vault::repair(place.disk, newer).code(), Errc::unsupported);
  EXPECT_OK(place.catalog.load());
  const auto reader = Vault::open(std::make_unique<FaultBackend>(place.disk),
                                  std::make_unique<Newer>(place.catalog), {.read_only = true});
  EXPECT_EQ(reader.code(), Errc::unsupported);
}

// Such an artifact is of a newer program: who does not know it keeps it.
TEST_P(RepairCrash, AnArtifactOfAnUnknownKindStays) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  put(place, {"a"}, "default");
  auto state = place.catalog.load();
  ASSERT_OK(state);
  const std::string name = "artifacts/00000040.artifact";
  ASSERT_OK(place.disk.put(name, "of a kind to come"));
  // docs/format/record.md: A, the tenant, the number; the kind, and six zeros.
  const Buffer key("A\0\0\0\0\x28\0\0\0\0\0\0\0", 13);
  CatalogChange change;
  change.generation = state->generation;
  change.put_records.push_back({key, Buffer("\4\0\0\0\0\0\0", 7), 2});
  ASSERT_OK(place.catalog.commit(change));
  for (int i = 0; i < 2; ++i) {
    put(place, {"b" + std::to_string(i)}, "default");
    seal(place);
    EXPECT_OK(place.disk.size(name)) << i;
  }
  auto vault = place.open(options());
  ASSERT_OK(vault);
  ASSERT_OK((*vault)->gc(false));
  ASSERT_OK((*vault)->compact(Level::fast));
  EXPECT_OK(place.disk.size(name));
}

// A pack of another vault that lies among this one's says nothing of them, though its number is the
// lowest and it says that it replaces what they are called.
TEST_P(RepairCrash, APackOfAnotherVaultReplacesNothing) {
  MemoryPlace other;
  ASSERT_OK(other.create());
  put(other, {"foreign"}, "default");
  seal(other);
  const std::string foreign = names(other.disk, "packs").back();
  MemoryPlace place;
  ASSERT_OK(place.create());
  put(place, {"a"}, "default");
  MemoryPlace left = copy_of(place);
  ASSERT_OK(left.disk.put(foreign, read(other.disk, foreign)));
  ASSERT_OK(Vault::repair(left.disk, left.catalog));
  if (GetParam()) return;  // one file of each: nobody knows which vault it is
  auto vault = left.open(options());
  ASSERT_OK(vault);
  EXPECT_OK((*vault)->get("a"));
  EXPECT_EQ((*vault)->get("foreign").code(), Errc::not_found);
}

INSTANTIATE_TEST_SUITE_P(Catalog, RepairCrash, ::testing::Bool(), [](const auto& parameter) {
  return std::string(parameter.param ? "Lost" : "There");
});

}  // namespace
}  // namespace tokvault
