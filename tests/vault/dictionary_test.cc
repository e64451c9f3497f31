// Dictionaries in the registry: what is refused, what survives which rewrite, who sees what.
#include "tests/vault/harness.h"
#include "vault/artifacts.h"

namespace tokvault {
namespace {

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
  const auto added = d.add(bytes, {.samples = 200});
  ASSERT_TRUE(added) << added.error().message();
  EXPECT_EQ(added->id, *dictionary_id(bytes));
  EXPECT_EQ(added->size_bytes, bytes.size());
  EXPECT_EQ(added->samples, 200u);
  EXPECT_FALSE(added->active);
  EXPECT_EQ(d.add(bytes).code(), Errc::exists);
  Buffer other = dictionary(2);
  other.replace(4, 4, bytes, 4, 4);
  ASSERT_EQ(*dictionary_id(other), added->id);
  EXPECT_EQ(d.add(other).code(), Errc::exists) << "another one under its id";
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
  const auto theirs = d.add(bytes, {}, "acme");
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

// --- what is written with one -------------------------------------------------------------------

// A conversation of a service whose answers are templates: what differs is short.
Conversation templated(int number) {
  const std::string n = std::to_string(number * 7919);
  Conversation c = conversation(
      "t" + std::to_string(number),
      {"Please tell me where the parcel with the number " + n + " is, and when it will arrive.",
       "Thank you for your patience. The parcel with the number " + n +
           " has left our distribution centre and will arrive within two working days. Is there "
           "anything else that I can help you with today?"});
  return c;
}

std::uint64_t log_bytes(const FaultBackend& disk) {
  std::uint64_t bytes = 0;
  const auto blobs = disk.list("log");
  EXPECT_OK(blobs);
  for (const BlobInfo& blob : *blobs) bytes += blob.size_bytes;
  return bytes;
}

class DictionaryUse : public Registry {
 protected:
  void SetUp() override {
    Registry::SetUp();
    auto vault = open();
    for (int i = 0; i < 40; ++i) put(*vault, i);
    ASSERT_OK(vault->seal());
  }
  void put(Vault& vault, int number) {
    const Conversation c = templated(number);
    ASSERT_OK(vault.put(c, {}));
    all_[{"default", c.id}] = c;
  }
  void expect_all(const Vault& vault, const std::string& where) {
    const auto seen = contents(vault);
    ASSERT_OK(seen) << where;
    EXPECT_TRUE(*seen == all_) << where;
    const auto report = vault.check({.read_data = true});
    ASSERT_OK(report) << where;
    for (const Finding& f : report->findings) ADD_FAILURE() << where << ": " << f.message;
  }
  static std::uint64_t files_of(const Vault& vault, std::uint32_t id) {
    const auto list = vault.dictionaries().list();
    EXPECT_OK(list);
    for (const DictionaryInfo& d : *list) {
      if (d.id == id) return d.files;
    }
    return 1000;
  }

  Contents all_;
};

TEST_F(DictionaryUse, ALogIsSmallerWithIt) {
  const MemoryPlace without = MemoryPlace::of(disk_.process_kill(), place_.catalog);
  std::uint64_t plain = 0;
  {
    auto vault = without.open({.level = Level::fast});
    ASSERT_OK(vault);
    const std::uint64_t before = log_bytes(without.disk);
    ASSERT_OK((*vault)->put(templated(100), {}));
    plain = log_bytes(without.disk) - before;
  }
  auto vault = open();
  const auto d = vault->dictionaries().train({});
  ASSERT_OK(d);
  EXPECT_EQ(d->conversations, 40u);
  EXPECT_GT(d->samples, 0u);
  ASSERT_OK(vault->dictionaries().activate(d->id));
  ASSERT_OK(vault->seal());
  EXPECT_EQ(files_of(*vault, d->id), 0u);
  const std::uint64_t before = log_bytes(disk_);
  put(*vault, 100);
  const std::uint64_t used = log_bytes(disk_) - before;
  EXPECT_LT(used * 4, plain * 3) << used << " bytes instead of " << plain;
  EXPECT_EQ(files_of(*vault, d->id), 1u);
  for (int i = 101; i < 110; ++i) put(*vault, i);
  expect_all(*vault, "written");
  expect_all(*open(true), "by a reader");
  vault.reset();
  vault = open();
  put(*vault, 110);
  expect_all(*vault, "reopened");
}

TEST_F(DictionaryUse, AReaderFollowsAnActivation) {
  auto vault = open();
  auto reader = open(true);
  put(*vault, 200);
  expect_all(*reader, "before");
  const auto d = vault->dictionaries().train({});
  ASSERT_OK(d);
  ASSERT_OK(vault->dictionaries().activate(d->id));
  ASSERT_OK(vault->seal());  // a new section, without a history
  for (int i = 201; i < 205; ++i) {
    put(*vault, i);
    expect_all(*reader, "after");
  }
  EXPECT_EQ(files_of(*reader, d->id), 2u) << "the log, and the pack that sealing made";
  ASSERT_OK(vault->dictionaries().retire(d->id, true));
  expect_all(*reader, "retired");
  EXPECT_TRUE(reader->dictionaries().list()->empty());
}

TEST_F(DictionaryUse, EveryOlderOneStaysReadable) {
  auto vault = open();
  std::vector<std::uint32_t> ids;
  const auto trained = vault->dictionaries().train({});
  ASSERT_OK(trained);
  ids.push_back(trained->id);
  const auto smaller = vault->dictionaries().train({}, {.size_bytes = 700});
  ASSERT_OK(smaller);
  ids.push_back(smaller->id);
  ids.push_back(vault->dictionaries().add(dictionary(5))->id);  // of no use here
  for (int round = 0; round < 8; ++round) {
    if (round % 4 < 3) {
      ASSERT_OK(vault->dictionaries().activate(ids[static_cast<std::size_t>(round % 4)]));
    } else {
      ASSERT_OK(vault->dictionaries().activate(std::nullopt));
    }
    for (int i = 0; i < 3; ++i) put(*vault, 300 + 3 * round + i);
    if (round == 4) {
      ASSERT_OK(vault->seal());
    }
    expect_all(*vault, "round " + std::to_string(round));
  }
  vault.reset();
  place_.catalog = SharedCatalog();
  const auto report = Vault::repair(disk_, place_.catalog);
  ASSERT_OK(report);
  EXPECT_TRUE(report->findings.empty());
  expect_all(*open(), "without the catalog");
  ASSERT_OK(open()->compact(Level::balanced));
  expect_all(*open(), "compacted");
}

TEST_F(DictionaryUse, RetiringRewritesOrIsRefused) {
  auto vault = open();
  const auto d = vault->dictionaries().train({});
  ASSERT_OK(d);
  ASSERT_OK(vault->dictionaries().activate(d->id));
  for (int i = 400; i < 404; ++i) put(*vault, i);
  EXPECT_EQ(vault->dictionaries().retire(d->id, false).code(), Errc::conflict);
  EXPECT_TRUE(vault->dictionaries().list()->at(0).active);
  expect_all(*vault, "refused");
  ASSERT_OK(vault->dictionaries().retire(d->id, true));
  EXPECT_TRUE(vault->dictionaries().list()->empty());
  EXPECT_TRUE(artifacts().empty());
  expect_all(*vault, "retired");
  put(*vault, 404);
  expect_all(*open(true), "written on");
}

// A client that sends the whole chat with every request writes many conversations, and they are
// one user's.
TEST_F(Registry, AChatThatIsLoggedRequestByRequestIsOneHolder) {
  auto vault = open();
  Rng rng(7);
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) {
    texts.push_back(random_text(rng, 40));
    ASSERT_OK(vault->put(conversation("request" + std::to_string(i), texts), {}));
  }
  // Two who go on from the same request are two, and two of the same length are, too.
  for (const char* const id : {"branch", "again"}) {
    texts.back() = "and so it ended otherwise";
    ASSERT_OK(vault->put(conversation(id, texts), {}));
  }
  for (const bool sealed : {false, true}) {
    if (sealed) {
      ASSERT_OK(vault->seal());
    }
    const auto none = vault->dictionaries().train({});
    EXPECT_EQ(none.code(), Errc::invalid) << sealed;
  }
  texts.insert(texts.begin(), "somebody else");
  ASSERT_OK(vault->put(conversation("other", texts), {}));
  const auto trained = vault->dictionaries().train({});
  ASSERT_OK(trained);
  EXPECT_EQ(trained->conversations, 4u);
}

// A missing dictionary takes the log that needs it until it is back, through a repair and what is
// written meanwhile.
TEST_F(DictionaryUse, ALogComesBackWithItsDictionary) {
  for (const bool is_damaged : {false, true}) {
    for (const bool is_catalog_lost : {false, true}) {
      const std::string where = std::to_string(is_damaged) + std::to_string(is_catalog_lost);
      const int first = is_damaged * 20 + is_catalog_lost * 10;
      std::uint64_t number = 0;
      {
        auto vault = open();
        ASSERT_OK(vault->seal());  // a pack says which tenants there are
        const auto d = vault->dictionaries().train({}, {.size_bytes = 4096u + 64 * first});
        ASSERT_OK(d);
        number = d->number;
        ASSERT_OK(vault->dictionaries().activate(d->id));
        put(*vault, 500 + first);
        const std::vector<std::string> ids{"t" + std::to_string(500 + first)};
        ASSERT_OK(vault->tag(ids, std::vector<std::string>{"kept"}, {}));
      }
      const std::string name = artifact_name(number);
      Buffer copy;
      ASSERT_OK(disk_.get(name, 0, *disk_.size(name), copy));
      ASSERT_OK(disk_.remove(name));
      if (is_damaged) {
        ASSERT_OK(disk_.put(name, "not an artifact"));
      }
      if (is_catalog_lost) place_.catalog = SharedCatalog();
      for (int round = 0; round < 2; ++round) {
        const auto report = Vault::repair(disk_, place_.catalog);
        ASSERT_OK(report);
        std::string told;
        for (const Finding& f : report->findings) told += f.file + ": " + f.message + "\n";
        EXPECT_NE(told.find("--give-up-logs"), std::string::npos) << where << told;
        EXPECT_NE(told.find(name), std::string::npos) << where << told;
      }
      {
        auto vault = open();
        EXPECT_OK(vault->get("t0"));
        EXPECT_EQ(vault->get("t" + std::to_string(500 + first)).code(), Errc::corrupt) << where;
        EXPECT_EQ(vault->gc(false).code(), Errc::corrupt) << where;
        put(*vault, 501 + first);
      }
      (void)disk_.remove(name);
      ASSERT_OK(disk_.put(name, copy));
      auto vault = open();
      expect_all(*vault, where + ", with it again");
      const auto found = vault->summary("t" + std::to_string(500 + first));
      ASSERT_OK(found);
      EXPECT_EQ(found->tags, std::vector<std::string>{"kept"});
      ASSERT_OK(vault->dictionaries().retire(
          static_cast<std::uint32_t>(vault->dictionaries().list()->back().id), true));
      expect_all(*vault, where + ", without it");
    }
  }
}

// Without a copy the log is given up, and what does not need the dictionary is kept.
TEST_F(DictionaryUse, WithoutItWhatNeedsItIsLostAndNothingElse) {
  std::uint64_t number = 0;
  {
    auto vault = open();
    const auto d = vault->dictionaries().train({});
    ASSERT_OK(d);
    number = d->number;
    ASSERT_OK(vault->dictionaries().activate(d->id));
    ASSERT_OK(vault->put(templated(500), {}));
  }
  ASSERT_OK(disk_.remove(artifact_name(number)));
  EXPECT_EQ(open()->dictionaries().list()->at(0).files, 1u);
  auto reader = place_.open({.read_only = true});
  ASSERT_OK(reader);
  const auto report = (*reader)->check({});
  ASSERT_OK(report);
  std::string told;
  for (const Finding& f : report->findings) told += f.file + ": " + f.message + "\n";
  EXPECT_NE(told.find(artifact_name(number)), std::string::npos) << told;
  ASSERT_OK(Vault::repair(disk_, place_.catalog, {.give_up_logs = true}));
  auto vault = open();
  const auto seen = contents(*vault);
  ASSERT_OK(seen);
  EXPECT_TRUE(*seen == all_);
}

TEST_F(DictionaryUse, OnlyWhatFourConversationsShareEntersOne) {
  auto vault = open();
  Rng rng(1);
  std::vector<std::string> secrets;
  for (int i = 0; i < 6; ++i) {
    std::string secret;
    for (int k = 0; k < 12; ++k) secret += "secret" + std::to_string(rng() % 100000) + " ";
    secrets.push_back(secret);
  }
  // Secret i is in i + 1 conversations, often in each.
  for (int i = 0; i < 6; ++i) {
    for (int k = 0; k <= i; ++k) {
      const std::string id = "s" + std::to_string(i) + std::to_string(k);
      const std::string& s = secrets[static_cast<std::size_t>(i)];
      const Conversation c =
          conversation(id, {id + " tells " + s, s + s + id, id + id + s + " and " + s, s});
      ASSERT_OK(vault->put(c, {}));
      all_[{"default", c.id}] = c;
    }
  }
  const auto d = vault->dictionaries().train({}, {.size_bytes = 16 << 10});
  ASSERT_OK(d);
  const auto bytes = vault->dictionaries().get(d->id);
  ASSERT_OK(bytes);
  // The vocabulary is that of bytes: codes are text.
  auto longest = [&](const std::string& secret) {
    std::size_t most = 0;
    for (std::size_t at = 0; at < secret.size(); ++at) {
      std::size_t size = 0;
      while (at + size < secret.size() &&
             bytes->find(secret.substr(at, size + 1)) != Buffer::npos) {
        ++size;
      }
      most = std::max(most, size);
    }
    return most;
  };
  for (std::size_t i = 0; i < 6; ++i) {
    if (i + 1 < 4) {
      EXPECT_LT(longest(secrets[i]), 16u) << i + 1 << " conversations";
    } else {
      EXPECT_GT(longest(secrets[i]), 16u) << i + 1 << " conversations";
    }
  }
  expect_all(*vault, "trained");
}

// The sample bounds what training takes.
TEST_F(DictionaryUse, AVeryLargeTextIsNotTheWholeSample) {
  auto vault = open();
  Rng rng(5);
  Buffer large(2u << 20, '\0');
  for (char& c : large) c = "0123456789abcdef"[below(rng, 16)];
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK(vault->put(conversation("c" + std::to_string(i), {large, std::to_string(i)}), {}));
  }
  const auto made = vault->dictionaries().train({}, {.sample_bytes_max = 64u << 10});
  ASSERT_OK(made);
  EXPECT_LE(made->sample_bytes, 128u << 10);
}

TEST_F(DictionaryUse, ErasingTheLastHolderRetiresIt) {
  auto vault = open();
  // What differs are texts shorter than a run: pieces of a dictionary may by chance meet where a
  // conversation has them side by side, and then it is retired sooner.
  Rng rng(77);
  const std::string shared = random_text(rng, 80);
  std::vector<std::string> ids;
  for (int i = 0; i < 12; ++i) {
    const std::string n = std::to_string(i);
    const Conversation c = conversation("q" + n, {n, "first, " + shared, "then " + shared, shared});
    ids.push_back(c.id);
    ASSERT_OK(vault->put(c, {}));
  }
  const auto d = vault->dictionaries().train({}, {.size_bytes = 16 << 10});
  ASSERT_OK(d);
  ASSERT_OK(vault->dictionaries().activate(d->id));
  EXPECT_NE(vault->dictionaries().get(d->id)->find(shared.substr(100, 40)), Buffer::npos);
  for (int i = 600; i < 603; ++i) put(*vault, i);
  // As long as one is left, it may stay.
  const std::string last = ids.back();
  ids.pop_back();
  ASSERT_OK(vault->forget(ids));
  ASSERT_OK(vault->gc(false));
  EXPECT_EQ(vault->dictionaries().list()->size(), 1u);
  ASSERT_OK(vault->forget(std::vector<std::string>{last}));
  ASSERT_OK(vault->gc(true));
  EXPECT_EQ(vault->dictionaries().list()->size(), 1u) << "a dry run changes nothing";
  ASSERT_OK(vault->gc(false));
  EXPECT_TRUE(vault->dictionaries().list()->empty());
  EXPECT_TRUE(artifacts().empty());
  expect_all(*vault, "erased");
}

TEST_F(DictionaryUse, TrainingSaysWhatItCannot) {
  auto vault = open();
  EXPECT_EQ(vault->dictionaries().train({.tenant = "nobody"}).code(), Errc::invalid);
  EXPECT_EQ(vault->dictionaries().train({.model = "no such model"}).code(), Errc::invalid);
  EXPECT_EQ(vault->dictionaries().train({}, {.size_bytes = 100}).code(), Errc::invalid);
  EXPECT_EQ(vault->dictionaries().train({}, {.size_bytes = 1u << 30}).code(), Errc::invalid);
  ASSERT_OK(vault->dictionaries().train({}));
  EXPECT_EQ(vault->dictionaries().train({}).code(), Errc::exists) << "the same samples again";
}

// --- folders ------------------------------------------------------------------------------------

TEST_F(Registry, AFolderGoesOutAndIn) {
  TempDir dir;
  const std::string folder = dir / "dictionaries";
  std::map<std::uint32_t, Buffer> kept;
  std::uint32_t active = 0;
  {
    auto vault = open();
    Dictionaries& d = vault->dictionaries();
    for (int i = 1; i <= 3; ++i) {
      const Buffer bytes = dictionary(i);
      const auto added = d.add(bytes, {.created_ms = 1'700'000'000'000 + i, .samples = 200});
      ASSERT_OK(added);
      kept[added->id] = bytes;
      active = added->id;
    }
    ASSERT_OK(d.activate(active));
    const auto written = export_dictionaries(d, folder);
    ASSERT_OK(written);
    EXPECT_EQ(written->size(), 3u);
    const auto again = import_dictionaries(d, folder);
    ASSERT_OK(again);
    EXPECT_TRUE(again->added.empty());
    EXPECT_EQ(again->present.size(), 3u);
  }
  EXPECT_EQ(slurp(folder + "/active"), std::to_string(active) + "\n");
  {
    // What an earlier export left is not mixed with what there is now.
    auto vault = open();
    Dictionaries& d = vault->dictionaries();
    ASSERT_OK(d.activate(std::nullopt));
    EXPECT_EQ(export_dictionaries(d, folder).code(), Errc::exists);
    ASSERT_OK(d.activate(kept.begin()->first));
    ASSERT_OK(export_dictionaries(d, folder));
    EXPECT_EQ(slurp(folder + "/active"), std::to_string(kept.begin()->first) + "\n");
    ASSERT_OK(d.activate(active));
    ASSERT_OK(export_dictionaries(d, folder));
    ASSERT_OK(d.retire(kept.begin()->first, false));
    EXPECT_EQ(export_dictionaries(d, folder).code(), Errc::exists);
    EXPECT_EQ(slurp(folder + "/active"), std::to_string(active) + "\n") << "nothing is changed";
  }
  for (const auto& [id, bytes] : kept) {
    EXPECT_EQ(slurp(folder + "/" + std::to_string(id) + ".zstd"), bytes);
  }
  MemoryPlace other;
  ASSERT_OK(other.create());
  auto vault = other.open();
  ASSERT_OK(vault);
  Dictionaries& d = (*vault)->dictionaries();
  const auto done = import_dictionaries(d, folder);
  ASSERT_OK(done);
  EXPECT_EQ(done->added.size(), 3u);
  EXPECT_EQ(done->active, active);
  const auto list = d.list();
  ASSERT_OK(list);
  ASSERT_EQ(list->size(), 3u);
  for (const DictionaryInfo& info : *list) {
    EXPECT_EQ(*d.get(info.id), kept.at(info.id));
    EXPECT_EQ(info.samples, 200u);
    EXPECT_EQ(info.active, info.id == active);
    EXPECT_NEAR(static_cast<double>(info.created_ms), 1.7e12, 10);
  }
  // What is not what it is named, or no dictionary.
  ASSERT_OK(d.retire(active, false));
  const std::string name = folder + "/" + std::to_string(active);
  spill(name + ".json", "{\"id\": 1}");
  EXPECT_EQ(import_dictionaries(d, folder).code(), Errc::invalid);
  spill(name + ".json", "not JSON");
  EXPECT_EQ(import_dictionaries(d, folder).code(), Errc::invalid);
  std::filesystem::remove(name + ".json");
  ASSERT_OK(import_dictionaries(d, folder)) << "nobody knows when it was made";
  const std::uint32_t first = kept.begin()->first;
  spill(folder + "/active", " " + std::to_string(first) + " \r\n");
  const auto spaced = import_dictionaries(d, folder);
  ASSERT_OK(spaced) << "space is no part of an id";
  EXPECT_EQ(spaced->active, first);
  ASSERT_OK(d.activate(std::nullopt));
  spill(folder + "/active", "12");
  EXPECT_EQ(import_dictionaries(d, folder).code(), Errc::not_found);
  spill(folder + "/7.zstd", kept.at(active));
  EXPECT_EQ(import_dictionaries(d, folder).code(), Errc::invalid);
  spill(folder + "/7.zstd", "no dictionary");
  EXPECT_EQ(import_dictionaries(d, folder).code(), Errc::invalid);
  EXPECT_EQ(import_dictionaries(d, folder + "/nothing").code(), Errc::not_found);
  EXPECT_EQ(d.list()->size(), 3u);
}

// As another program makes it: times have nanoseconds, and nothing is active.
class ForeignFolder : public Registry {
 protected:
  void SetUp() override {
    Registry::SetUp();
    for (int i = 1; i <= 2; ++i) {
      const Buffer bytes = dictionary(i);
      const std::uint32_t id = *dictionary_id(bytes);
      bytes_[id] = bytes;
      spill(file(id, ".zstd"), bytes);
      spill(file(id, ".json"), "{\"id\":" + std::to_string(id) +
                                   ",\"created_at\":\"2024-05-06T07:08:12.123456789Z\","
                                   "\"sample_count\":200,\"size_bytes\":" +
                                   std::to_string(bytes.size()) + ",\"is_active\":false}");
    }
  }
  std::string file(std::uint32_t id, const char* end) const {
    return dir_ / (std::to_string(id) + end);
  }

  TempDir dir_;
  std::map<std::uint32_t, Buffer> bytes_;
};

TEST_F(ForeignFolder, IsAddedWithItsTimes) {
  auto vault = open();
  Dictionaries& d = vault->dictionaries();
  const auto done = import_dictionaries(d, dir_.path());
  ASSERT_OK(done);
  EXPECT_EQ(done->added.size(), 2u);
  EXPECT_FALSE(done->active);
  const auto list = d.list();
  ASSERT_OK(list);
  for (const DictionaryInfo& info : *list) {
    EXPECT_EQ(info.created_ms, 1'714'979'292'123);
    EXPECT_EQ(*d.get(info.id), bytes_.at(info.id));
  }
}

TEST_F(ForeignFolder, WithAnotherDictionaryUnderATakenIdIsRefused) {
  auto vault = open();
  Dictionaries& d = vault->dictionaries();
  const auto& [id, bytes] = *bytes_.begin();
  Buffer other = dictionary(3);
  other.replace(4, 4, bytes, 4, 4);
  ASSERT_OK(d.add(other));
  const auto refused = import_dictionaries(d, dir_.path());
  ASSERT_EQ(refused.code(), Errc::exists);
  EXPECT_NE(refused.error().message().find(file(id, ".zstd")), std::string_view::npos);
  EXPECT_EQ(*d.get(id), other);
}

TEST_F(ForeignFolder, ThatLacksADictionaryIsRefused) {
  auto vault = open();
  Dictionaries& d = vault->dictionaries();
  const std::uint32_t last = bytes_.rbegin()->first;
  std::filesystem::remove(file(last, ".zstd"));
  const auto refused = import_dictionaries(d, dir_.path());
  ASSERT_EQ(refused.code(), Errc::not_found);
  for (const char* end : {".zstd", ".json"}) {
    EXPECT_NE(refused.error().message().find(file(last, end)), std::string_view::npos);
  }
  EXPECT_TRUE(d.list()->empty()) << "what is lost is seen before the others are added";
  std::filesystem::remove(file(last, ".json"));
  ASSERT_OK(import_dictionaries(d, dir_.path())) << "it is not in the folder any more";
}

TEST_F(ForeignFolder, WithoutAnyIsRefused) {
  auto vault = open();
  Dictionaries& d = vault->dictionaries();
  const std::string folder = dir_ / "empty";
  std::filesystem::create_directory(folder);
  EXPECT_EQ(import_dictionaries(d, folder).code(), Errc::not_found);
  spill(folder + "/notes.json", "{}");
  EXPECT_EQ(import_dictionaries(d, folder).code(), Errc::not_found) << "of something else";
}

}  // namespace
}  // namespace tokvault
