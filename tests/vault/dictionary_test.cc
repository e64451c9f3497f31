// Dictionaries in the registry: what is refused, what survives which rewrite, who sees what.
#include "codec/dictionary.h"
#include "tests/vault/harness.h"
#include "vault/artifacts.h"

namespace tokvault {
namespace {

// A dictionary of its own for every number.
Buffer dictionary(int number) {
  std::mt19937_64 random(static_cast<std::uint64_t>(number));
  Buffer all;
  std::vector<std::size_t> sizes;
  for (int i = 0; i < 200; ++i) {
    const std::size_t before = all.size();
    for (int k = 0; k < 12; ++k) {
      all += "order " + std::to_string(random() % 90 * 7919) + " of dictionary " +
             std::to_string(number) + ". ";
    }
    sizes.push_back(all.size() - before);
  }
  auto trained = train_dictionary(all, sizes, 1024);
  EXPECT_TRUE(trained);
  return trained ? *trained : Buffer();
}

class Registry : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(place_.create()); }
  std::unique_ptr<Vault> open(bool read_only = false) {
    auto vault = place_.open({.read_only = read_only, .level = Level::fast});
    EXPECT_OK(vault);
    return vault ? std::move(*vault) : nullptr;
  }
  std::vector<std::string> artifacts() const {
    std::vector<std::string> names;
    const auto blobs = place_.disk.list("artifacts");
    EXPECT_OK(blobs);
    for (const BlobInfo& blob : *blobs) names.push_back(blob.name);
    return names;
  }

  MemoryPlace place_;
  FaultBackend& disk_ = place_.disk;
};

TEST_F(Registry, AddListGetActivateRetire) {
  const Buffer bytes = dictionary(1);
  auto vault = open();
  Dictionaries& d = vault->dictionaries();
  EXPECT_TRUE(d.list()->empty());
  EXPECT_EQ(d.add("not one").code(), Errc::invalid);
  Buffer no_id = bytes;
  for (std::size_t i = 4; i < 8; ++i) no_id[i] = 0;
  EXPECT_EQ(d.add(no_id).code(), Errc::invalid);
  const auto added = d.add(bytes, 200);
  ASSERT_TRUE(added) << added.error().message();
  EXPECT_EQ(added->id, *dictionary_id(bytes));
  EXPECT_EQ(added->size_bytes, bytes.size());
  EXPECT_EQ(added->samples, 200u);
  EXPECT_FALSE(added->active);
  EXPECT_EQ(d.add(bytes).code(), Errc::exists);
  EXPECT_EQ(*d.get(added->id), bytes);
  EXPECT_EQ(d.get(added->id + 1).code(), Errc::not_found);
  EXPECT_EQ(d.activate(added->id + 1).code(), Errc::not_found);
  ASSERT_OK(d.activate(added->id));
  EXPECT_TRUE(d.list()->at(0).active);
  ASSERT_OK(d.activate(std::nullopt));
  EXPECT_FALSE(d.list()->at(0).active);
  ASSERT_OK(d.activate(added->id));
  const auto stats = vault->stats();
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->dictionary_bytes, *disk_.size(artifacts().at(0)));
  EXPECT_EQ(stats->artifact_bytes, stats->dictionary_bytes);
  EXPECT_EQ(d.retire(added->id + 1, false).code(), Errc::not_found);
  ASSERT_OK(d.retire(added->id, false));
  EXPECT_TRUE(d.list()->empty());
  EXPECT_EQ(d.get(added->id).code(), Errc::not_found);
  EXPECT_TRUE(artifacts().empty());
  // Its id is free again, its number is not.
  const auto back = d.add(bytes);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_GT(back->number, added->number);
  EXPECT_FALSE(back->active);
}

TEST_F(Registry, WhatWasDoneIsThereAfterEveryRewriteAndWithoutTheCatalog) {
  const Buffer first = dictionary(1), second = dictionary(2);
  std::uint32_t a = 0, b = 0;
  {
    auto vault = open();
    a = vault->dictionaries().add(first)->id;
    b = vault->dictionaries().add(second)->id;
    ASSERT_OK(vault->dictionaries().activate(a));
    ASSERT_OK(vault->dictionaries().activate(b));
    ASSERT_OK(vault->put(conversation("x", {"the text of x"}), {}));
  }
  auto look = [&](Vault& vault, const std::string& where) {
    const auto list = vault.dictionaries().list();
    ASSERT_TRUE(list) << where;
    ASSERT_EQ(list->size(), 2u) << where;
    for (const DictionaryInfo& info : *list) {
      EXPECT_EQ(info.active, info.id == b) << where;
      EXPECT_EQ(*vault.dictionaries().get(info.id), info.id == a ? first : second) << where;
    }
    const auto report = vault.check({.read_data = true});
    ASSERT_TRUE(report);
    for (const Finding& f : report->findings) ADD_FAILURE() << where << ": " << f.message;
  };
  look(*open(), "reopened");
  ASSERT_OK(open()->seal());
  look(*open(), "sealed");
  ASSERT_OK(open()->compact(Level::fast));
  look(*open(), "compacted");
  {
    auto vault = open();
    ASSERT_OK(vault->forget(std::vector<std::string>{"x"}));
    ASSERT_OK(vault->gc(false));
  }
  look(*open(), "without a conversation");
  place_.catalog = SharedCatalog();
  const auto report = Vault::repair(disk_, place_.catalog);
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->findings.empty());
  look(*open(), "without the catalog");
  look(*open(true), "by a reader");
}

TEST_F(Registry, NothingIsSharedBetweenTenants) {
  const Buffer bytes = dictionary(1);
  auto vault = open();
  Dictionaries& d = vault->dictionaries();
  const auto mine = d.add(bytes);
  ASSERT_TRUE(mine);
  EXPECT_TRUE(d.list("acme")->empty());
  EXPECT_EQ(d.get(mine->id, "acme").code(), Errc::not_found);
  EXPECT_EQ(d.activate(mine->id, "acme").code(), Errc::not_found);
  EXPECT_EQ(d.retire(mine->id, true, "acme").code(), Errc::not_found);
  const auto theirs = d.add(bytes, 0, "acme");
  ASSERT_TRUE(theirs) << "the same dictionary may be theirs, too";
  ASSERT_OK(d.activate(theirs->id, "acme"));
  EXPECT_FALSE(d.list()->at(0).active);
  ASSERT_OK(d.retire(mine->id, false));
  EXPECT_EQ(*d.get(theirs->id, "acme"), bytes);
}

TEST_F(Registry, AReaderSeesEveryStep) {
  auto writer = open();
  auto reader = open(true);
  EXPECT_TRUE(reader->dictionaries().list()->empty());
  const Buffer bytes = dictionary(1);
  const auto added = writer->dictionaries().add(bytes);
  ASSERT_TRUE(added);
  ASSERT_EQ(reader->dictionaries().list()->size(), 1u);
  EXPECT_EQ(*reader->dictionaries().get(added->id), bytes);
  ASSERT_TRUE(writer->dictionaries().activate(added->id));
  EXPECT_TRUE(reader->dictionaries().list()->at(0).active);
  EXPECT_EQ(reader->dictionaries().activate(added->id).code(), Errc::denied);
  EXPECT_EQ(reader->dictionaries().add(bytes).code(), Errc::denied);
  EXPECT_EQ(reader->dictionaries().retire(added->id, false).code(), Errc::denied);
  ASSERT_TRUE(writer->dictionaries().retire(added->id, false));
  EXPECT_TRUE(reader->dictionaries().list()->empty());
}

TEST_F(Registry, ADamagedOrMissingFileIsFoundAndCanBeRetired) {
  const Buffer bytes = dictionary(1);
  const auto added = open()->dictionaries().add(bytes);
  ASSERT_TRUE(added);
  const std::string name = artifact_name(added->number);
  EXPECT_EQ(artifacts(), std::vector<std::string>{name});
  Buffer file;
  ASSERT_OK(disk_.get(name, 0, *disk_.size(name), file));
  ASSERT_OK(disk_.remove(name));
  auto findings = [&](Errc code) {
    auto vault = open();
    const auto report = vault->check({});
    ASSERT_TRUE(report);
    ASSERT_EQ(report->findings.size(), 1u);
    EXPECT_EQ(report->findings[0].file, name);
    EXPECT_EQ(report->findings[0].code, code);
    EXPECT_EQ(vault->dictionaries().get(added->id).code(), code);
    EXPECT_EQ(vault->dictionaries().activate(added->id).code(), code);
  };
  findings(Errc::not_found);
  Buffer bad = file;
  bad[70] = static_cast<char>(bad[70] ^ 1);
  ASSERT_OK(disk_.put(name, bad));
  findings(Errc::corrupt);
  // The same file under another number is not it.
  ASSERT_OK(disk_.remove(name));
  Artifact other = *decode_artifact(file);
  ++other.number;
  ASSERT_OK(disk_.put(name, *encode_artifact(other, 3)));
  findings(Errc::corrupt);
  // Repair puts it aside and says so.
  const auto report = Vault::repair(disk_, place_.catalog);
  ASSERT_TRUE(report);
  ASSERT_EQ(report->findings.size(), 1u);
  EXPECT_EQ(report->findings[0].file, name);
  EXPECT_TRUE(artifacts().empty());
  auto vault = open();
  ASSERT_OK(vault->dictionaries().retire(added->id, false));
  EXPECT_TRUE(vault->check({})->findings.empty());
  EXPECT_TRUE(vault->dictionaries().add(bytes));
}

TEST_F(Registry, LeftoversGoAndWhatIsNoArtifactStays) {
  const auto added = open()->dictionaries().add(dictionary(1));
  ASSERT_TRUE(added);
  Buffer file;
  const std::string name = artifact_name(added->number);
  ASSERT_OK(disk_.get(name, 0, *disk_.size(name), file));
  Artifact left = *decode_artifact(file);
  left.number = 90;
  ASSERT_OK(disk_.put(artifact_name(90), *encode_artifact(left, 3)));
  ASSERT_OK(disk_.put("artifacts/abc.tiktoken", "ranks"));
  ASSERT_OK(disk_.put("artifacts/91.artifact", "of somebody else"));
  EXPECT_TRUE(open(true)->check({})->findings.empty()) << "a registration may be under way";
  auto vault = open();
  EXPECT_EQ(artifacts(),
            (std::vector<std::string>{name, "artifacts/91.artifact", "artifacts/abc.tiktoken"}));
  EXPECT_GT(vault->dictionaries().add(dictionary(2))->number, 90u);
}

// The log that registered it is lost: repair finds the file.
TEST_F(Registry, AFileWithoutARecordIsRegisteredAgainByRepair) {
  const Buffer bytes = dictionary(1);
  const auto added = open()->dictionaries().add(bytes);
  ASSERT_TRUE(added);
  const CatalogState before = *place_.catalog.load();
  for (const CatalogFile& f : before.files) {
    if (f.kind != CatalogFile::Kind::log) continue;
    ASSERT_OK(disk_.remove(log_name(f.number)));
  }
  ASSERT_OK(Vault::repair(disk_, place_.catalog));
  auto vault = open();
  ASSERT_EQ(vault->dictionaries().list()->size(), 1u);
  EXPECT_EQ(*vault->dictionaries().get(added->id), bytes);
}

}  // namespace
}  // namespace tokvault
