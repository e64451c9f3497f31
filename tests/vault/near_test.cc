// Near-duplicates through the vault, against what the public MinHash says of each conversation:
// in the log, in packs that refer to one another, through a reader, and after compaction.
#include <algorithm>
#include <cmath>

#include "tests/vault/harness.h"
#include "tokvault/dedup.h"

namespace tokvault {
namespace {

Conversation conversation(std::string id, const std::vector<std::string>& texts) {
  Conversation c;
  c.id = std::move(id);
  c.model = "m";
  for (std::size_t i = 0; i < texts.size(); ++i) {
    c.messages.push_back(Message::of_text(i % 2 == 0 ? "user" : "assistant", texts[i]));
  }
  return c;
}

// Letters, so that two texts have few bigrams of bytes in common.
std::string random_letters(Rng& rng, std::size_t size) {
  std::string text;
  while (text.size() < size) text += static_cast<char>('0' + below(rng, 75));
  return text;
}

MinHash signature_of(const Vault& vault, const std::string& id) {
  MinHash signature;
  auto c = vault.get_tokens(id);
  EXPECT_OK(c);
  for (const Message& m : c->messages) {
    for (const Value& v : m.values) {
      if (!v.tokens.empty()) signature.merge(MinHash::of(v.tokens));
    }
  }
  return signature;
}

// 12 families of 1 to 6 conversations of two texts, one of which they share, and chats that were
// logged request by request; sealed now and then.
class Near : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(place_.create());
    VaultOptions options;
    options.log_bytes_max = 20'000;
    auto vault = place_.open(options);
    ASSERT_OK(vault);
    vault_ = std::move(*vault);
    Rng rng(7);
    for (int round = 0; round < 6; ++round) {
      for (int f = round; f < 12; f += round % 3 + 1) {
        std::string text = random_text_of(f);
        text.replace(100, 6, std::to_string(below(rng, 900'000) + 100'000));
        put(conversation("f" + std::to_string(f) + "-" + std::to_string(round),
                         {text, random_text_of(f + 50)}));
      }
      if (round % 2 == 1) {
        ASSERT_OK(vault_->seal());
      }
    }
    std::vector<std::string> chat;
    for (int request = 0; request < 5; ++request) {
      chat.push_back(random_text_of(100 + request));
      put(conversation("chat-" + std::to_string(request), chat));
    }
    put(conversation("empty", {}));
    put(conversation("no text", {""}));
    put(conversation("short", {"x"}));
  }

  static std::string random_text_of(int seed) {
    Rng rng(static_cast<std::uint64_t>(seed) + 1000);
    return random_letters(rng, 600);
  }
  void put(const Conversation& c) {
    ids_.push_back(c.id);
    ASSERT_OK(vault_->put(c, {}));
  }

  void expect_near(const Vault& vault, const std::string& where) {
    for (const std::string& id :
         {std::string("f3-0"), std::string("chat-2"), std::string("short")}) {
      const MinHash wanted = signature_of(vault, id);
      std::vector<std::pair<double, std::string>> expected;
      for (const std::string& other : ids_) {
        const MinHash signature = signature_of(vault, other);
        if (other == id || signature == MinHash()) continue;
        const double similarity = wanted.jaccard(signature);
        if (similarity >= 0.3) expected.push_back({-similarity, other});
      }
      // Those that are equal come in the order in which they were put.
      const auto place = [&](const std::pair<double, std::string>& e) {
        return std::pair(e.first, std::find(ids_.begin(), ids_.end(), e.second));
      };
      std::sort(expected.begin(), expected.end(),
                [&](const auto& a, const auto& b) { return place(a) < place(b); });
      NearOptions options;
      options.threshold = 0.3;
      options.limit = 1000;
      const auto near = vault.find_near(id, options);
      ASSERT_OK(near) << where;
      ASSERT_EQ(near->size(), expected.size()) << where << " " << id;
      for (std::size_t i = 0; i < near->size(); ++i) {
        EXPECT_EQ((*near)[i].summary.id, expected[i].second) << where;
        EXPECT_EQ((*near)[i].similarity, -expected[i].first) << where;
      }
      options.limit = 2;
      const auto two = vault.find_near(id, options);
      ASSERT_OK(two);
      ASSERT_EQ(two->size(), std::min<std::size_t>(2, expected.size()));
      for (std::size_t i = 0; i < two->size(); ++i) {
        EXPECT_EQ((*two)[i].summary.id, expected[i].second) << where;
      }
    }
  }

  std::vector<DuplicateGroup> groups_of(const Vault& vault, const DuplicateOptions& options,
                                        DuplicateReport* report = nullptr) {
    std::vector<DuplicateGroup> groups;
    const auto result = vault.find_duplicates(options, [&](const DuplicateGroup& group) {
      groups.push_back(group);
      return true;
    });
    EXPECT_OK(result);
    if (report != nullptr && result) *report = *result;
    return groups;
  }

  void expect_groups(const Vault& vault, const std::string& where) {
    DuplicateReport report;
    const auto groups = groups_of(vault, {.threshold = 0.7}, &report);
    EXPECT_EQ(report.groups, groups.size());
    EXPECT_GE(groups.size(), 8u) << where;
    std::set<std::string> seen;
    std::uint64_t duplicates = 0;
    std::uint64_t tokens = 0;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const DuplicateGroup& group = groups[i];
      EXPECT_TRUE(i == 0 || groups[i - 1].duplicates.size() >= group.duplicates.size());
      EXPECT_TRUE(seen.insert(group.representative.id).second);
      const MinHash signature = signature_of(vault, group.representative.id);
      ASSERT_FALSE(group.duplicates.empty());
      std::uint64_t own = 0;
      for (const DuplicateMember& member : group.duplicates) {
        EXPECT_TRUE(seen.insert(member.id).second);
        EXPECT_GE(member.similarity, 0.7);
        EXPECT_NEAR(member.similarity, signature.jaccard(signature_of(vault, member.id)), 0.009);
        const auto summary = vault.summary(member.id);
        ASSERT_OK(summary);
        EXPECT_EQ(member.tokens, summary->tokens);
        own += member.tokens;
        ++duplicates;
      }
      EXPECT_EQ(group.duplicate_tokens, own);
      tokens += own;
    }
    EXPECT_EQ(report.duplicates, duplicates);
    EXPECT_EQ(report.duplicate_tokens, tokens);
    // A family is in one group.
    for (const DuplicateGroup& group : groups) {
      const std::string name = group.representative.id.substr(0, group.representative.id.find('-'));
      if (name == "chat") continue;
      for (const DuplicateMember& member : group.duplicates) {
        EXPECT_EQ(member.id.substr(0, member.id.find('-')), name);
      }
    }
  }

  MemoryPlace place_;
  std::unique_ptr<Vault> vault_;
  std::vector<std::string> ids_;
};

TEST_F(Near, IsWhatTheSignaturesSay) {
  expect_near(*vault_, "writer");
  expect_groups(*vault_, "writer");
  VaultOptions reading;
  reading.read_only = true;
  const auto reader = place_.open(reading);
  ASSERT_OK(reader);
  expect_near(**reader, "reader");
  ASSERT_OK(vault_->compact(Level::balanced));
  expect_near(*vault_, "compacted");
  expect_near(**reader, "reader, compacted");
  expect_groups(**reader, "reader, compacted");
}

TEST_F(Near, AnchorsFindWhatIsContained) {
  const auto groups = groups_of(*vault_, {.method = Likeness::anchors});
  const auto chat = std::find_if(groups.begin(), groups.end(), [](const DuplicateGroup& group) {
    return group.representative.id == "chat-4";
  });
  ASSERT_NE(chat, groups.end()) << "the last request represents the chat";
  ASSERT_EQ(chat->duplicates.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(chat->duplicates[static_cast<std::size_t>(i)].id, "chat-" + std::to_string(i));
    EXPECT_EQ(chat->duplicates[static_cast<std::size_t>(i)].similarity, 1);
  }
  NearOptions options;
  options.method = Likeness::anchors;
  const auto near = vault_->find_near("chat-1", options);
  ASSERT_OK(near);
  ASSERT_EQ(near->size(), 4u);
  EXPECT_EQ((*near)[0].summary.id, "chat-0");
  EXPECT_EQ((*near)[3].summary.id, "chat-4");
  // By its bigrams the first request is not like the last.
  const auto whole = vault_->find_near("chat-0", {});
  ASSERT_OK(whole);
  EXPECT_TRUE(whole->empty());
}

TEST_F(Near, KeepsToFilterTenantAndWhatIsThere) {
  const auto before = vault_->find_near("f3-0", {.threshold = 0.5});
  ASSERT_OK(before);
  ASSERT_FALSE(before->empty());
  const std::vector<std::string> first = {(*before)[0].summary.id};
  ASSERT_OK(vault_->tag(first, std::vector<std::string>{"yes"}, {}));
  NearOptions options;
  options.threshold = 0.5;
  options.filter.tags = {"yes"};
  const auto tagged = vault_->find_near("f3-0", options);
  ASSERT_OK(tagged);
  ASSERT_EQ(tagged->size(), 1u);
  EXPECT_EQ((*tagged)[0].summary.id, first[0]);
  ASSERT_OK(vault_->forget(first));
  const auto after = vault_->find_near("f3-0", {.threshold = 0.5});
  ASSERT_OK(after);
  EXPECT_EQ(after->size(), before->size() - 1);
  EXPECT_EQ(vault_->find_near(first[0], {}).code(), Errc::not_found);

  NearOptions other;
  other.filter.tenant = "other";
  EXPECT_EQ(vault_->find_near("f3-0", other).code(), Errc::not_found);
  DuplicateOptions of_other;
  of_other.filter.tenant = "other";
  DuplicateReport report;
  EXPECT_TRUE(groups_of(*vault_, of_other, &report).empty());
  EXPECT_EQ(report.conversations, 0u);
  ASSERT_OK(vault_->put(conversation("f3-0", {random_text_of(3)}), {.tenant = "other"}));
  const auto alone = vault_->find_near("f3-0", other);
  ASSERT_OK(alone);
  EXPECT_TRUE(alone->empty());
}

TEST_F(Near, SaysWhatIsWrong) {
  EXPECT_EQ(vault_->find_near("nobody", {}).code(), Errc::not_found);
  EXPECT_EQ(vault_->find_near("f3-0", {.threshold = 1.5}).code(), Errc::invalid);
  EXPECT_EQ(vault_->find_near("f3-0", {.threshold = std::nan("")}).code(), Errc::invalid);
  EXPECT_EQ(vault_->find_near("f3-0", {.limit = 0}).code(), Errc::invalid);
  const auto none = vault_->find_near("empty", {.threshold = 0});
  ASSERT_OK(none);
  EXPECT_TRUE(none->empty());
  const auto stop = [](std::uint64_t, std::uint64_t) { return false; };
  EXPECT_EQ(vault_->find_near("f3-0", {}, stop).code(), Errc::cancelled);
  const auto all = [](const DuplicateGroup&) { return true; };
  EXPECT_EQ(vault_->find_duplicates({}, all, stop).code(), Errc::cancelled);
  EXPECT_EQ(vault_->find_duplicates({.threshold = -1}, all).code(), Errc::invalid);
  EXPECT_EQ(vault_->find_duplicates({.memory_bytes_max = 1}, all).code(), Errc::invalid);
  // A visit that has enough does not change the sums.
  DuplicateReport whole;
  groups_of(*vault_, {}, &whole);
  int visits = 0;
  const auto report = vault_->find_duplicates({}, [&](const DuplicateGroup&) {
    ++visits;
    return false;
  });
  ASSERT_OK(report);
  EXPECT_EQ(visits, 1);
  EXPECT_GT(whole.groups, 1u);
  EXPECT_EQ(report->groups, whole.groups);
  EXPECT_EQ(report->duplicate_tokens, whole.duplicate_tokens);
}

std::uint64_t sum_of(const TokenOrigins& o) {
  return o.prefix + o.exact + o.near + o.substring + o.novel;
}

// What was put together of known parts is taken apart into them.
TEST(Explain, SaysWhereTokensComeFrom) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  VaultOptions options;
  options.log_bytes_max = 64u << 20;
  const auto opened = place.open(options);
  ASSERT_OK(opened);
  Vault& vault = **opened;
  Rng rng(3);
  const std::string a = random_letters(rng, 4000);
  const std::string b = random_letters(rng, 2000);
  const std::string c = random_letters(rng, 4000);
  std::string changed = a;
  changed[2000] = '!';
  const auto explained = [&](const std::string& id) {
    const auto one = vault.explain_conversation(id);
    EXPECT_OK(one);
    EXPECT_EQ(sum_of(one->origins), one->origins.tokens);
    EXPECT_EQ(one->origins.tokens, one->summary.tokens);
    return one->origins;
  };
  const auto all = [&] {
    const auto explanation = vault.explain();
    EXPECT_OK(explanation);
    EXPECT_EQ(sum_of(explanation->origins), explanation->origins.tokens);
    return *explanation;
  };
  EXPECT_EQ(all().origins.tokens, 0u);
  ASSERT_OK(vault.put(conversation("novel", {a}), {}));
  ASSERT_OK(vault.put(conversation("prefix", {a, b}), {}));
  ASSERT_OK(vault.put(conversation("exact", {b}), {}));
  ASSERT_OK(vault.put(conversation("near", {changed}), {}));
  ASSERT_OK(vault.put(conversation("substring", {c.substr(0, 1000) + b + c.substr(1000)}), {}));
  ASSERT_OK(vault.put(conversation("again", {a, b}), {}));
  const auto expect_origins = [&](const std::string& where) {
    EXPECT_EQ(explained("novel").novel, 4000u) << where;
    EXPECT_EQ(explained("prefix").prefix, 4000u) << where;
    EXPECT_EQ(explained("prefix").novel, 2000u) << where;
    EXPECT_EQ(explained("exact").exact, 2000u) << where;
    EXPECT_EQ(explained("near").near, 4000u) << where;
    // Two thirds are new; a passage's ends have no anchors of their own.
    EXPECT_NEAR(static_cast<double>(explained("substring").substring), 2000, 100) << where;
    EXPECT_EQ(explained("again").prefix, 6000u) << where;
    TokenOrigins sum;
    for (const char* id : {"novel", "prefix", "exact", "near", "substring", "again"}) {
      const TokenOrigins o = explained(id);
      sum.tokens += o.tokens;
      sum.prefix += o.prefix;
      sum.exact += o.exact;
      sum.near += o.near;
      sum.substring += o.substring;
      sum.novel += o.novel;
    }
    const TokenOrigins total = all().origins;
    EXPECT_EQ(total.tokens, sum.tokens) << where;
    EXPECT_EQ(total.prefix, sum.prefix) << where;
    EXPECT_EQ(total.exact, sum.exact) << where;
    EXPECT_EQ(total.near, sum.near) << where;
    EXPECT_EQ(total.substring, sum.substring) << where;
    EXPECT_EQ(total.novel, sum.novel) << where;
  };
  expect_origins("log");
  const Explanation logged = all();
  ASSERT_EQ(logged.streams.size(), 1u);
  EXPECT_EQ(logged.streams[0].stream, "log");
  EXPECT_TRUE(logged.streams[0].artifacts.empty());
  EXPECT_EQ(logged.streams[0].frames, 1u);
  EXPECT_GT(logged.streams[0].code_bytes, logged.streams[0].disk_bytes);
  EXPECT_EQ(logged.saved.measured_bytes, 0u);
  const auto in_log = vault.explain_conversation("novel");
  EXPECT_EQ(in_log->codec, "zstd");
  EXPECT_GT(in_log->disk_bytes, 1500u);
  EXPECT_LT(in_log->disk_bytes, 3500u);
  EXPECT_EQ(vault.explain_conversation("again")->disk_bytes, 0u);
  ASSERT_OK(vault.seal());
  expect_origins("pack");
  const Explanation packed = all();
  const auto stats = vault.stats();
  ASSERT_OK(stats);
  EXPECT_EQ(packed.pack_bytes, stats->pack_bytes);
  std::uint64_t disk = 0;
  for (const StoredStream& stream : packed.streams) {
    EXPECT_EQ(stream.files, 1u);
    EXPECT_GT(stream.frames, 0u);
    disk += stream.disk_bytes;
  }
  EXPECT_EQ(disk, stats->pack_text_bytes);
  EXPECT_GT(vault.explain_conversation("novel")->disk_bytes, 1000u);
  EXPECT_EQ(vault.explain_conversation("again")->disk_bytes, 0u);

  // What is forgotten is nobody's prefix; what lies in an older pack is stored already.
  ASSERT_OK(vault.put(conversation("later", {b, a}), {}));
  ASSERT_OK(vault.seal());
  EXPECT_EQ(explained("later").exact, 6000u);
  EXPECT_EQ(all().origins.exact, 8000u);
  ASSERT_OK(vault.forget(std::vector<std::string>{"novel"}));
  EXPECT_EQ(all().origins.tokens, 6000u * 3 + 2000 + 4000 + 6000);
  EXPECT_EQ(vault.explain_conversation("novel").code(), Errc::not_found);
  EXPECT_EQ(vault.explain("nobody").code(), Errc::not_found);
  for (const Level level : {Level::balanced, Level::dense}) {
    ASSERT_OK(vault.compact(level));
    for (const StoredStream& stream : all().streams) {
      EXPECT_TRUE(stream.codec == "zstd" || stream.codec == "token_model" ||
                  stream.codec == "token_lz")
          << stream.codec;
    }
  }
  const auto stop = [](std::uint64_t, std::uint64_t) { return false; };
  EXPECT_EQ(vault.explain({}, stop).code(), Errc::cancelled);
}

std::uint64_t sum_of(const DiskSavings& s) {
  return s.prefix + s.exact + s.near + s.substring + s.context + s.model + s.dictionary +
         s.substring_set + s.disk;
}

// What letters take of which nobody knows more than that there are 75 of them.
double bytes_of_letters(double letters) { return letters * std::log2(75.0) / 8; }

// Of parts whose sizes are known it is known what storing them once, and copying, saves.
TEST(Explain, SaysWhatEachMechanismSaved) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  const auto opened = place.open();
  ASSERT_OK(opened);
  Vault& vault = **opened;
  Rng rng(4);
  const std::string a = random_letters(rng, 4000);
  const std::string b = random_letters(rng, 2000);
  const std::string c = random_letters(rng, 4000);
  std::string changed = a;
  changed[2000] = '!';
  const std::vector<Conversation> all{
      conversation("novel", {a}),
      conversation("prefix", {a, b}),
      conversation("exact", {b}),
      conversation("near", {changed}),
      conversation("substring", {c.substr(0, 1000) + b + c.substr(1000)}),
      conversation("again", {a, b})};
  ASSERT_OK(vault.put_batch(all, {}));
  for (const Level level : {Level::fast, Level::balanced, Level::dense}) {
    ASSERT_OK(vault.compact(level));
    const auto whole = vault.explain();
    ASSERT_OK(whole);
    DiskSavings sum;
    std::map<std::string, DiskSavings> saved;
    for (const Conversation& conversation : all) {
      const auto one = vault.explain_conversation(conversation.id);
      ASSERT_OK(one);
      const DiskSavings& s = saved[conversation.id] = one->saved;
      EXPECT_EQ(s.alone, sum_of(s)) << conversation.id;
      EXPECT_EQ(s.disk, one->disk_bytes) << conversation.id;
      sum.alone += s.alone;
      sum.disk += s.disk;
    }
    // Each within a tenth, for what headers and tables take.
    const auto expect = [&](std::uint64_t bytes, double letters, const char* what) {
      const double expected = bytes_of_letters(letters);
      EXPECT_NEAR(static_cast<double>(bytes), expected, 20 + expected / 10)
          << what << " at level " << static_cast<int>(level);
    };
    expect(saved["novel"].disk, 4000, "novel");
    expect(saved["prefix"].prefix, 4000, "prefix");
    expect(saved["prefix"].disk, 2000, "the rest of prefix");
    expect(saved["exact"].exact, 2000, "exact");
    expect(saved["near"].near, 4000, "near");
    expect(saved["substring"].substring, 2000, "substring");
    expect(saved["again"].prefix, 6000, "again");
    const DiskSavings& total = whole->saved;
    EXPECT_EQ(total.alone, sum_of(total));
    expect(total.prefix, 10'000, "all of prefix");
    expect(total.exact, 2000, "all of exact");
    expect(total.near, 4000, "all of near");
    expect(total.substring, 2000, "all of substring");
    expect(total.alone, 28'000, "alone");
    EXPECT_EQ(total.dictionary + total.substring_set, 0u);
    EXPECT_EQ(total.measured_bytes, total.code_bytes);
    std::uint64_t disk = 0;
    for (const StoredStream& stream : whole->streams) disk += stream.disk_bytes;
    EXPECT_EQ(total.disk, disk);
  }
}

// The same text under zstd takes what the model saved more.
TEST(Explain, SaysWhatAModelSaved) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  const auto opened = place.open();
  ASSERT_OK(opened);
  Vault& vault = **opened;
  Rng rng(6);
  for (int i = 0; i < 10; ++i) {
    ASSERT_OK(vault.put(conversation(std::to_string(i), {random_text(rng, 3000)}), {}));
  }
  ASSERT_OK(vault.compact(Level::balanced));
  const auto quick = vault.explain();
  ASSERT_OK(quick);
  EXPECT_EQ(quick->streams[0].codec, "zstd");
  EXPECT_EQ(quick->saved.model, 0u);
  ASSERT_OK(vault.compact(Level::dense));
  const auto dense = vault.explain();
  ASSERT_OK(dense);
  EXPECT_EQ(dense->streams[0].codec, "token_model");
  EXPECT_GT(dense->saved.model, dense->saved.disk / 20);
  const auto one = vault.explain_conversation("3");
  ASSERT_OK(one);
  EXPECT_NEAR(static_cast<double>(one->saved.model), static_cast<double>(dense->saved.model) / 10,
              static_cast<double>(dense->saved.model) / 30);
  const auto zstd = static_cast<double>(quick->saved.disk);
  EXPECT_NEAR(static_cast<double>(dense->saved.model + dense->saved.disk), zstd, zstd / 30);
}

TEST(NearMemory, IsBounded) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  const auto vault = place.open();
  ASSERT_OK(vault);
  std::vector<Conversation> batch;
  Rng rng(1);
  for (int i = 0; i < 2800; ++i) {
    batch.push_back(conversation("c" + std::to_string(i), {random_letters(rng, 200)}));
  }
  ASSERT_OK((*vault)->put_batch(batch, {}));
  const auto all = [](const DuplicateGroup&) { return true; };
  const auto too_much = (*vault)->find_duplicates({.memory_bytes_max = 1u << 20}, all);
  EXPECT_EQ(too_much.code(), Errc::exhausted);
  // 0.75 KB for each, as it is said.
  EXPECT_OK((*vault)->find_duplicates({.memory_bytes_max = 2800u * 768}, all));
  // Anchors are halved until they fit.
  const auto sampled =
      (*vault)->find_duplicates({.method = Likeness::anchors, .memory_bytes_max = 1u << 20}, all);
  ASSERT_OK(sampled);
  EXPECT_GT(sampled->halvings, 0u);
}

}  // namespace
}  // namespace tokvault
