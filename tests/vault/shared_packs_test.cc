// Packs that copy from a dictionary or a set of substrings: when they do, what they are without it,
// and how it goes.
#include "tests/vault/harness.h"
#include "tokvault/substrings.h"
#include "vault/artifacts.h"

namespace tokvault {
namespace {

// A conversation of a service whose answers are templates: what differs is short.
Conversation templated(int number) {
  const std::string n = std::to_string(number * 7919);
  return conversation(
      "t" + std::to_string(number),
      {"Please tell me where the parcel with the number " + n + " is, and when it will arrive.",
       "Thank you for your patience. The parcel with the number " + n +
           " has left our distribution centre and will arrive within two working days. Is there "
           "anything else that I can help you with today?"});
}

// 40 letters that stand nowhere else.
std::string canary(Rng& rng) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += static_cast<char>('a' + below(rng, 26));
  return text;
}

std::vector<BlobInfo> blobs(const Backend& disk, const std::string& folder) {
  auto found = disk.list(folder);
  EXPECT_OK(found);
  return found ? std::move(*found) : std::vector<BlobInfo>();
}

struct Case {
  ArtifactKind kind = ArtifactKind::dictionary;
  Level level = Level::fast;
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  static constexpr const char* kLevels[] = {"", "Fast", "Balanced", "Dense"};
  return std::string(info.param.kind == ArtifactKind::dictionary ? "Dictionary" : "Substrings") +
         kLevels[static_cast<std::size_t>(info.param.level)];
}

class SharedPacks : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    ASSERT_OK(place_.create());
    auto vault = open();
    for (int i = 0; i < 40; ++i) put(*vault, templated(i));
    ASSERT_OK(vault->seal());
  }
  std::unique_ptr<Vault> open(bool read_only = false) {
    auto vault = place_.open({.read_only = read_only, .level = GetParam().level});
    EXPECT_OK(vault);
    return vault ? std::move(*vault) : nullptr;
  }
  void put(Vault& vault, const Conversation& c) {
    ASSERT_OK(vault.put(c, {}));
    all_[{"default", c.id}] = c;
  }
  void forget(Vault& vault, const std::string& id) {
    ASSERT_OK(vault.forget(std::vector<std::string>{id}));
    all_.erase({"default", id});
  }
  // Returns the number of its file.
  std::uint64_t train(Vault& vault) {
    if (GetParam().kind == ArtifactKind::dictionary) {
      const auto d = vault.dictionaries().train({}, {.size_bytes = 2000});
      EXPECT_OK(d);
      if (!d) return 0;
      id_ = d->id;
      EXPECT_OK(vault.dictionaries().activate(d->id));
      return d->number;
    }
    SubstringTraining training;
    training.memory_bytes = 1u << 20;
    const auto change = vault.substrings().train(training);
    EXPECT_OK(change);
    EXPECT_GT(change->runs, 0u);
    return change ? change->number : 0;
  }
  void expect_all(const Vault& vault, const std::string& where) {
    const auto seen = contents(vault);
    ASSERT_OK(seen) << where;
    EXPECT_TRUE(*seen == all_) << where;
    const auto report = vault.check({.read_data = true});
    ASSERT_OK(report) << where;
    for (const Finding& f : report->findings) ADD_FAILURE() << where << ": " << f.message;
  }
  // Packs by the artifact that they name; 0: none.
  std::map<std::uint64_t, std::vector<std::string>> packs() const {
    std::map<std::uint64_t, std::vector<std::string>> out;
    Cache cache(1u << 20);
    for (const BlobInfo& blob : blobs(place_.disk, "packs")) {
      const auto pack = PackFile::open(place_.disk, cache, number_of(blob.name));
      EXPECT_OK(pack);
      const auto names = (*pack)->artifacts();
      EXPECT_LE(names.size(), 1u);
      out[names.empty() ? 0 : names[0]].push_back(blob.name);
    }
    return out;
  }
  std::uint64_t pack_bytes() const {
    std::uint64_t bytes = 0;
    for (const BlobInfo& blob : blobs(place_.disk, "packs")) bytes += blob.size_bytes;
    return bytes;
  }
  std::size_t artifacts() const { return blobs(place_.disk, "artifacts").size(); }

  MemoryPlace place_;
  Contents all_;
  std::uint32_t id_ = 0;  // of the dictionary
};

INSTANTIATE_TEST_SUITE_P(Kinds, SharedPacks,
                         ::testing::Values(Case{ArtifactKind::dictionary, Level::fast},
                                           Case{ArtifactKind::dictionary, Level::balanced},
                                           Case{ArtifactKind::dictionary, Level::dense},
                                           Case{ArtifactKind::substring_set, Level::fast},
                                           Case{ArtifactKind::substring_set, Level::balanced},
                                           Case{ArtifactKind::substring_set, Level::dense}),
                         name_of);

TEST_P(SharedPacks, ASealedLogIsSmallerAndSaysWhatItNeeds) {
  const std::uint64_t before = pack_bytes();
  std::uint64_t plain = 0, shared = 0, artifact = 0;
  {
    const MemoryPlace without = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
    auto vault = without.open({.level = GetParam().level});
    ASSERT_OK(vault);
    for (int i = 100; i < 103; ++i) ASSERT_OK((*vault)->put(templated(i), {}));
    ASSERT_OK((*vault)->seal());
    for (const BlobInfo& blob : blobs(without.disk, "packs")) plain += blob.size_bytes;
    plain -= before;
  }
  {
    auto vault = open();
    artifact = train(*vault);
    ASSERT_OK(vault->seal());  // the records that say so
    const std::uint64_t ready = pack_bytes();
    for (int i = 100; i < 103; ++i) put(*vault, templated(i));
    ASSERT_OK(vault->seal());
    shared = pack_bytes() - ready;
    EXPECT_LT(shared, plain) << "instead of";
    ASSERT_EQ(packs()[artifact].size(), 1u);
    expect_all(*vault, "sealed");
    expect_all(*open(true), "by a reader");
    const auto explained = vault->explain();
    ASSERT_OK(explained);
    std::uint64_t frames = 0, bytes = 0;
    for (const StoredStream& s : explained->streams) {
      if (s.artifacts != std::vector<std::uint64_t>{artifact}) continue;
      EXPECT_EQ(s.stream, "tokens");
      frames += s.frames;
      bytes += s.disk_bytes;
    }
    EXPECT_EQ(frames, 1u);
    EXPECT_GT(bytes, 0u);
    EXPECT_LT(bytes, shared);
    const auto one = vault->explain_conversation("t101");
    ASSERT_OK(one);
    EXPECT_EQ(one->artifacts, std::vector<std::uint64_t>{artifact});
  }
  place_.catalog = SharedCatalog();
  const auto report = Vault::repair(place_.disk, place_.catalog);
  ASSERT_OK(report);
  EXPECT_TRUE(report->findings.empty());
  expect_all(*open(), "without the catalog");
  // A rewrite chooses again.
  ASSERT_OK(open()->compact(GetParam().level));
  expect_all(*open(), "compacted");
  EXPECT_EQ(artifacts(), 1u);
}

TEST_P(SharedPacks, CompactionChoosesAgainWhenOneWasActivated) {
  auto vault = open();
  ASSERT_OK(vault->compact(GetParam().level));
  EXPECT_EQ(packs()[0].size(), 1u);
  const std::uint64_t artifact = train(*vault);
  ASSERT_OK(vault->compact(GetParam().level));
  EXPECT_EQ(packs()[artifact].size(), 1u);
  expect_all(*vault, "compacted");
  // What nothing has changed since stays as it is.
  const auto names = packs();
  ASSERT_OK(vault->compact(GetParam().level));
  EXPECT_EQ(packs(), names);
  if (GetParam().kind == ArtifactKind::dictionary) {
    ASSERT_OK(vault->dictionaries().activate(std::nullopt));
    ASSERT_OK(vault->compact(GetParam().level));
    EXPECT_EQ(packs()[0].size(), 1u);
    expect_all(*vault, "without");
  }
}

class SharedModels : public SharedPacks {};

INSTANTIATE_TEST_SUITE_P(Kinds, SharedModels,
                         ::testing::Values(Case{ArtifactKind::dictionary, Level::dense},
                                           Case{ArtifactKind::substring_set, Level::dense}),
                         name_of);

// Beside what is copied there is text that only a model makes smaller. The model learns from the
// artifact first, and is made anew, without it, when the artifact is retired.
TEST_P(SharedModels, AModelLearnsFromIt) {
  auto vault = open();
  Rng rng(7);
  for (int i = 0; i < 12; ++i) {
    Conversation c = templated(200 + i);
    c.messages.push_back(Message::of_text("user", canary(rng) + canary(rng) + canary(rng)));
    put(*vault, c);
  }
  ASSERT_OK(vault->compact(Level::dense));
  const std::uint64_t alone = pack_bytes();
  const std::uint64_t artifact = train(*vault);
  ASSERT_OK(vault->compact(Level::dense));
  ASSERT_EQ(packs()[artifact].size(), 1u);
  EXPECT_LT(pack_bytes(), alone);
  const auto tokens = [&] {
    const auto explained = vault->explain();
    EXPECT_OK(explained);
    for (const StoredStream& s : explained->streams) {
      if (s.stream == "tokens") return s;
    }
    return StoredStream();
  };
  EXPECT_EQ(tokens().codec, "token_model");
  EXPECT_EQ(tokens().artifacts, std::vector<std::uint64_t>{artifact});
  expect_all(*vault, "compacted");
  expect_all(*open(true), "by a reader");
  const auto with = vault->explain();
  ASSERT_OK(with);
  if (GetParam().kind == ArtifactKind::dictionary) {
    ASSERT_OK(vault->dictionaries().retire(id_, true));
  } else {
    ASSERT_OK(vault->substrings().retain({}));
    ASSERT_OK(vault->gc(false));
  }
  EXPECT_TRUE(tokens().artifacts.empty());
  const auto without = vault->explain();
  ASSERT_OK(without);
  EXPECT_GT(with->saved.dictionary + with->saved.substring_set, 20u);
  EXPECT_EQ(with->saved.disk + with->saved.dictionary + with->saved.substring_set,
            without->saved.disk);
  EXPECT_EQ(with->saved.model, without->saved.model);
  EXPECT_FALSE(place_.disk.size(artifact_name(artifact)));
  expect_all(*vault, "retired");
}

// What it saves is what packs grow by when it goes.
TEST_P(SharedPacks, ExplainSaysWhatItSaves) {
  auto vault = open();
  const std::uint64_t artifact = train(*vault);
  ASSERT_OK(vault->compact(GetParam().level));
  ASSERT_EQ(packs()[artifact].size(), 1u);
  const auto with = vault->explain();
  ASSERT_OK(with);
  const bool is_set = GetParam().kind == ArtifactKind::substring_set;
  const std::uint64_t saved = is_set ? with->saved.substring_set : with->saved.dictionary;
  EXPECT_EQ(is_set ? with->saved.dictionary : with->saved.substring_set, 0u);
  EXPECT_GT(saved, 20u);
  std::uint64_t shares = 0;
  for (const auto& [key, c] : all_) {
    const auto one = vault->explain_conversation(c.id);
    ASSERT_OK(one);
    shares += is_set ? one->saved.substring_set : one->saved.dictionary;
  }
  EXPECT_NEAR(static_cast<double>(shares), static_cast<double>(saved), 40) << "rounded";
  const std::uint64_t before = pack_bytes();
  if (is_set) {
    ASSERT_OK(vault->substrings().retain({}));
    ASSERT_OK(vault->compact(GetParam().level));
  } else {
    ASSERT_OK(vault->dictionaries().retire(id_, true));
  }
  ASSERT_EQ(packs()[artifact].size(), 0u);
  // The footer names it no more, and has a record of it.
  EXPECT_NEAR(static_cast<double>(pack_bytes() - before), static_cast<double>(saved), 60);
  const auto without = vault->explain();
  ASSERT_OK(without);
  EXPECT_EQ(without->saved.dictionary + without->saved.substring_set, 0u);
  EXPECT_EQ(without->saved.disk, with->saved.disk + saved);
}

TEST_P(SharedPacks, WhatIsOfNoUseIsNotNamed) {
  auto vault = open();
  (void)train(*vault);
  ASSERT_OK(vault->seal());
  const auto before = packs();
  Rng rng(5);
  put(*vault, conversation("other", {canary(rng) + canary(rng), canary(rng)}));
  ASSERT_OK(vault->seal());
  EXPECT_EQ(packs()[0].size(), before.at(0).size() + 1);
  expect_all(*vault, "sealed");
}

TEST_P(SharedPacks, WithoutItNobodyGetsOtherTokens) {
  std::uint64_t artifact = 0;
  {
    auto vault = open();
    artifact = train(*vault);
    for (int i = 100; i < 103; ++i) put(*vault, templated(i));
    ASSERT_OK(vault->seal());
    ASSERT_EQ(packs()[artifact].size(), 1u);
  }
  const std::string name = artifact_name(artifact);
  Buffer file;
  ASSERT_OK(place_.disk.get(name, 0, *place_.disk.size(name), file));
  auto expect_lost = [&](const std::string& where) {
    auto vault = open(true);
    ASSERT_NE(vault, nullptr) << where;
    for (int i = 0; i < 40; i += 13) {
      const auto c = vault->get("t" + std::to_string(i));
      ASSERT_OK(c) << where;
      EXPECT_TRUE(*c == templated(i)) << where;
    }
    const auto c = vault->get("t101");
    ASSERT_FALSE(c) << where;
    EXPECT_EQ(c.code(), Errc::corrupt) << where;
    EXPECT_NE(c.error().message().find(name), std::string::npos) << c.error().message();
    for (const bool data : {false, true}) {
      const auto report = vault->check({.read_data = data});
      ASSERT_OK(report) << where;
      EXPECT_EQ(report->lost_conversations, 3u) << where;
      std::string told;
      for (const Finding& f : report->findings) told += f.file + ": " + f.message + "\n";
      EXPECT_NE(told.find(name), std::string::npos) << told;
      EXPECT_NE(told.find("packs/"), std::string::npos) << told;
    }
  };
  ASSERT_OK(place_.disk.remove(name));
  expect_lost("gone");
  Buffer bad = file;
  bad[bad.size() - 1] = static_cast<char>(bad[bad.size() - 1] ^ 1);
  ASSERT_OK(place_.disk.put(name, bad));
  expect_lost("damaged");
  ASSERT_OK(place_.disk.remove(name));
  Artifact other = *decode_artifact(file);
  other.tenant = 5;
  ASSERT_OK(place_.disk.put(name, *encode_artifact(other, 3)));
  expect_lost("of another tenant");
  ASSERT_OK(place_.disk.remove(name));
  other = *decode_artifact(file);
  other.record.kind = ArtifactKind::reserved;
  ASSERT_OK(place_.disk.put(name, *encode_artifact(other, 3)));
  EXPECT_EQ(open(true)->get("t101").code(), Errc::unsupported) << "of another kind";
  // Nothing passes what is lost off as nothing.
  ASSERT_OK(place_.disk.remove(name));
  {
    auto vault = open();
    EXPECT_EQ(vault->compact(GetParam().level).code(), Errc::corrupt);
  }
  const auto repaired = Vault::repair(place_.disk, place_.catalog);
  ASSERT_OK(repaired);
  EXPECT_EQ(repaired->lost_conversations, 3u);
  EXPECT_EQ(packs()[artifact].size(), 1u) << "what needs it stays, in case it comes back";
  ASSERT_OK(place_.disk.put(name, file));
  expect_all(*open(), "it is back");
}

TEST_P(SharedPacks, ItGoesWhenNothingNeedsItAnyMore) {
  auto vault = open();
  const std::uint64_t artifact = train(*vault);
  for (int i = 100; i < 103; ++i) put(*vault, templated(i));
  ASSERT_OK(vault->tag(std::vector<std::string>{"t101"}, std::vector<std::string>{"red"}, {}));
  ASSERT_OK(vault->seal());
  forget(*vault, "t102");
  ASSERT_EQ(packs()[artifact].size(), 1u);
  if (GetParam().kind == ArtifactKind::dictionary) {
    EXPECT_EQ(vault->dictionaries().list()->at(0).files, 1u);
    EXPECT_EQ(vault->dictionaries().retire(id_, false).code(), Errc::conflict);
    ASSERT_OK(vault->dictionaries().retire(id_, true));
  } else {
    // The state that packs name stays beside the one that is active, until gc.
    EXPECT_EQ(vault->substrings().list()->at(0).files, 1u);
    ASSERT_OK(vault->substrings().retain({}));
    EXPECT_EQ(artifacts(), 2u);
    expect_all(*vault, "replaced");
    ASSERT_OK(vault->gc(false));
    EXPECT_EQ(artifacts(), 1u);
  }
  EXPECT_EQ(packs().count(artifact), 0u);
  EXPECT_FALSE(place_.disk.size(artifact_name(artifact)));
  expect_all(*vault, "rewritten");
  expect_all(*open(true), "by a reader");
  EXPECT_EQ(vault->list({.tags = {"red"}}, 10)->conversations.size(), 1u);
  vault.reset();
  place_.catalog = SharedCatalog();
  ASSERT_OK(Vault::repair(place_.disk, place_.catalog));
  expect_all(*open(), "without the catalog");
}

TEST_P(SharedPacks, WhatIsErasedIsNotInIt) {
  auto vault = open();
  Rng rng(3);
  const std::string secret = canary(rng);
  std::vector<std::string> ids;
  for (int i = 0; i < 6; ++i) {
    const std::string n = std::to_string(i);
    put(*vault, conversation("s" + n, {n, n + secret + n, "and " + n + secret}));
    ids.push_back("s" + n);
  }
  const std::uint64_t artifact = train(*vault);
  auto holds = [&] {
    for (const BlobInfo& blob : blobs(place_.disk, "artifacts")) {
      const auto a = load_artifact(place_.disk, number_of(blob.name));
      EXPECT_OK(a);
      Cache cache(1u << 20);
      const auto t = cached_tokens(place_.disk, cache,
                                   {number_of(blob.name), (*a)->tenant, {}, (*a)->vault_id});
      EXPECT_OK(t);
      const std::string text((*t)->tokens.begin(), (*t)->tokens.end());  // tokens are bytes
      for (std::size_t at = 0; at + 32 <= secret.size(); ++at) {
        if (text.find(secret.substr(at, 32)) != std::string::npos) return true;
      }
    }
    return false;
  };
  EXPECT_TRUE(holds());
  put(*vault, conversation("last", {secret + secret}));
  for (int i = 100; i < 103; ++i) put(*vault, templated(i));
  ASSERT_OK(vault->seal());
  ASSERT_EQ(packs()[artifact].size(), 1u);
  for (const std::string& id : ids) forget(*vault, id);
  forget(*vault, "last");
  ASSERT_OK(vault->gc(false));
  EXPECT_FALSE(holds());
  EXPECT_EQ(packs().count(artifact), 0u);
  expect_all(*vault, "erased");
}

}  // namespace
}  // namespace tokvault
