// Random operations on a vault and on a model, which must agree: through the vault that writes,
// through a reader that stays open beside it, and after opening again. Logs are tiny, so that
// rotating and sealing happen all the time, in the background and asked for.
//
// TOKVAULT_SEED=N repeats a run.
#include <cerrno>
#include <chrono>
#include <functional>
#include <regex>

#include "tests/vault/harness.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

// Segments by themselves, and what a vault must say of them, given its conversations.
class HeldModel {
 public:
  // A few of each kind: texts that conversations have as well, others, and short ones.
  HeldModel() {
    for (std::uint64_t i = 0; i < 12; ++i) pool_.push_back(tokens_of(shared_text(i)));
    for (std::uint64_t i = 12; i < 16; ++i) {
      pool_.push_back(tokens_of("short " + std::to_string(i)));
      pool_.push_back(Segment::of_bytes(shared_text(i)));
      pool_.push_back(Segment::of_bytes("short " + std::to_string(i)));
    }
  }
  const std::vector<Segment>& pool() const { return pool_; }
  std::set<std::string>& holders(const std::string& tenant, const SegmentId& id) {
    return holders_[tenant][id];
  }
  bool is_there(const std::string& tenant, const Segment& s, const Model& model) {
    return !holders(tenant, s.id()).empty() || conversations_with(tenant, s, model) > 0;
  }

  void compare(const Vault& vault, const Model& model, const std::string& where) {
    std::uint64_t holds = 0;
    for (const auto& [tenant, items] : model.tenants()) {
      std::vector<SegmentId> ids, held;
      for (const Segment& s : pool_) ids.push_back(s.id());
      const auto has = vault.has_segments(ids, tenant);
      const auto got = vault.get_segments(ids, tenant);
      ASSERT_OK(has) << where;
      ASSERT_OK(got) << where;
      for (std::size_t i = 0; i < pool_.size(); ++i) {
        const bool is_wanted = is_there(tenant, pool_[i], model);
        const auto& names = holders(tenant, ids[i]);
        EXPECT_EQ((*has)[i], is_wanted) << where << ": " << tenant << ", segment " << i;
        const auto info = vault.segment_info(ids[i], tenant);
        EXPECT_EQ(info.has_value(), is_wanted) << where << ": segment " << i;
        if (!is_wanted) {
          EXPECT_EQ((*got)[i].code(), Errc::not_found) << where;
          continue;
        }
        ASSERT_OK((*got)[i]) << where << ": " << tenant << ", segment " << i;
        EXPECT_TRUE(*(*got)[i] == pool_[i]) << where << ": " << tenant << ", segment " << i;
        EXPECT_EQ(std::set<std::string>(info->holders.begin(), info->holders.end()), names);
        EXPECT_EQ(info->conversations, conversations_with(tenant, pool_[i], model)) << where;
        EXPECT_EQ(info->size, pool_[i].size());
        if (!names.empty()) held.push_back(ids[i]);
        holds += names.size();
      }
      std::sort(held.begin(), held.end());
      const auto page = vault.list_segments({.tenant = tenant}, 1000);
      ASSERT_OK(page) << where;
      std::vector<SegmentId> listed;
      for (const SegmentInfo& info : page->segments) listed.push_back(info.id);
      EXPECT_EQ(listed, held) << where;
    }
    const auto stats = vault.stats();
    ASSERT_OK(stats);
    EXPECT_EQ(stats->holds, holds) << where;
  }

 private:
  static Segment tokens_of(const std::string& text) {
    Segment s;
    for (char c : text) s.tokens.push_back(static_cast<unsigned char>(c));
    return s;
  }
  // Of a vault whose tokenizer is "bytes". Short segments are not shared with conversations.
  static std::uint64_t conversations_with(const std::string& tenant, const Segment& s,
                                          const Model& model) {
    if (s.kind == SegmentKind::bytes || s.size() < kSegmentSharedSize) return 0;
    const std::string text(s.tokens.begin(), s.tokens.end());
    std::uint64_t count = 0;
    for (const auto& [id, item] : model.tenants().at(tenant)) {
      const auto& messages = item.conversation.messages;
      count += std::any_of(messages.begin(), messages.end(), [&](const Message& m) {
        return std::any_of(m.values.begin(), m.values.end(),
                           [&](const Value& v) { return v.bytes == text || v.tokens == s.tokens; });
      });
    }
    return count;
  }

  std::vector<Segment> pool_;
  std::map<std::string, std::map<SegmentId, std::set<std::string>>> holders_;
};

struct Place {
  std::function<Result<std::unique_ptr<Vault>>(const VaultOptions&)> open;
  std::function<std::uint64_t()> externals;
};

// One run of a place, of a test that was given that seed.
class ModelRun {
 public:
  ModelRun(Place place, std::uint64_t seed, std::uint64_t round,
           std::uint64_t merge_bytes_min = UINT64_MAX)
      : place_(std::move(place)), is_default_(seed == kDefaultSeed), rng_(seed * 1000 + round) {
    options_.merge_bytes_min = merge_bytes_min;
    options_.log_bytes_max = 6'000;
    options_.level = Level::fast;
    options_.threads = 2;
    tenants_ = {"default", "acme", "b"};
    for (const std::string& tenant : tenants_) (void)model_.of(tenant);
  }

  void run(int phases) {
    open();
    VaultOptions reading = options_;
    reading.read_only = true;
    auto reader = place_.open(reading);
    ASSERT_OK(reader);
    reader_ = std::move(*reader);
    for (int phase = 0; phase < phases; ++phase) {
      for (int i = 0; i < 8; ++i) {
        step();
        if (::testing::Test::HasFatalFailure()) return;
      }
      if (below(rng_, 4) == 0) upkeep();
      if (::testing::Test::HasFatalFailure()) return;
      compare("phase " + std::to_string(phase) + " after " + last_);
      if (::testing::Test::HasFailure()) return;
    }
    // At the end whole and, after everything was compacted, still the same.
    ASSERT_OK(vault_->compact(Level::balanced));
    compare("compacted");
    const auto report = vault_->check({.read_data = true});
    ASSERT_OK(report);
    for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
    const auto stats = vault_->stats();
    ASSERT_OK(stats);
    EXPECT_EQ(stats->forgotten, 0u);
    // Not every seed comes to all of this.
    if (!is_default_) return;
    EXPECT_GT(externals_seen_, 0u) << "no conversation referred to a segment of another pack";
    EXPECT_GT(packs_seen_, 3u);
    if (options_.merge_bytes_min == 0) {
      EXPECT_GT(merges_seen_, 3u);
    }
  }

 private:
  void open() {
    vault_.reset();
    auto vault = place_.open(options_);
    ASSERT_OK(vault);
    vault_ = std::move(*vault);
  }

  void compare(const std::string& where) {
    model_.compare(*vault_, where + ", writer");
    held_.compare(*vault_, model_, where + ", writer");
    if (::testing::Test::HasFailure()) return;
    model_.compare(*reader_, where + ", reader");
    held_.compare(*reader_, model_, where + ", reader");
  }

  std::string some_id() { return "id-" + std::to_string(below(rng_, 40)); }
  // An id that is there, if any is.
  std::string old_id(const std::string& tenant) {
    const auto& items = model_.of(tenant);
    if (items.empty()) return some_id();
    return std::next(items.begin(), static_cast<std::ptrdiff_t>(below(rng_, items.size())))->first;
  }

  void take(const std::string& tenant, const Conversation& c, const PutOptions& options,
            const Result<PutResult>& result) {
    const auto& items = model_.of(tenant);
    const auto it = items.find(c.id);
    if (c.id.empty()) {
      ASSERT_OK(result);
      EXPECT_EQ(result->outcome, PutResult::Outcome::stored);
      Conversation stored = c;
      stored.id = result->id;
      EXPECT_FALSE(items.contains(stored.id)) << "an id was made twice: " << stored.id;
      model_.put(tenant, stored);
    } else if (it == items.end()) {
      ASSERT_OK(result);
      EXPECT_EQ(result->outcome, PutResult::Outcome::stored) << c.id;
      model_.put(tenant, c);
    } else if (it->second.conversation == c) {
      ASSERT_OK(result);
      EXPECT_EQ(result->outcome, PutResult::Outcome::unchanged) << c.id;
    } else if (options.replace) {
      ASSERT_OK(result);
      EXPECT_EQ(result->outcome, PutResult::Outcome::replaced) << c.id;
      model_.put(tenant, c);
    } else {
      EXPECT_EQ(result.code(), Errc::exists) << c.id;
    }
  }

  Conversation candidate(const std::string& tenant) {
    const std::uint64_t kind = below(rng_, 10);
    if (kind == 0 && !model_.of(tenant).empty()) {
      return model_.of(tenant).at(old_id(tenant)).conversation;  // the same content again
    }
    return random_conversation(rng_, kind <= 2 ? "" : some_id());
  }

  void step() {
    const std::string& tenant = tenants_[below(rng_, tenants_.size())];
    PutOptions options;
    options.tenant = tenant == "default" && below(rng_, 2) == 0 ? "" : tenant;
    options.replace = below(rng_, 3) == 0;
    switch (below(rng_, 13)) {
      case 10:
      case 11:
      case 12:
        segment_step(tenant, options.tenant);
        break;
      case 0:
      case 1:
      case 2: {
        last_ = "put";
        const Conversation c = candidate(tenant);
        take(tenant, c, options, vault_->put(c, options));
        break;
      }
      case 3:
      case 4: {
        last_ = "put_batch";
        std::vector<Conversation> batch;
        for (std::size_t i = below(rng_, 6); i-- > 0;) batch.push_back(candidate(tenant));
        if (batch.size() > 1) batch.push_back(batch.front());  // twice in one batch
        const auto results = vault_->put_batch(batch, options);
        ASSERT_OK(results);
        ASSERT_EQ(results->size(), batch.size());
        for (std::size_t i = 0; i < batch.size(); ++i) {
          take(tenant, batch[i], options, (*results)[i]);
        }
        break;
      }
      case 5: {
        last_ = "put_async";
        const Conversation c = random_conversation(rng_, "async-" + std::to_string(rng_()));
        const Conversation d = random_conversation(rng_, "async-" + std::to_string(rng_()));
        PutOptions other = options;
        other.tenant = tenants_[below(rng_, tenants_.size())];
        ASSERT_OK(vault_->put_async(c, options));
        ASSERT_OK(vault_->put_async(d, other));
        ASSERT_OK(vault_->flush());
        model_.put(tenant, c);
        model_.put(other.tenant, d);
        break;
      }
      case 6: {
        last_ = "append";
        const std::string id = old_id(tenant);
        const std::vector<Message> more{random_message(rng_), random_message(rng_)};
        const auto appended = vault_->append(id, more, options.tenant);
        auto& items = model_.of(tenant);
        if (!items.contains(id)) {
          EXPECT_EQ(appended.code(), Errc::not_found);
          break;
        }
        ASSERT_OK(appended);
        auto& messages = items.at(id).conversation.messages;
        messages.insert(messages.end(), more.begin(), more.end());
        break;
      }
      case 7: {
        last_ = "forget";
        const std::vector<std::string> ids{old_id(tenant), some_id()};
        const auto count = vault_->forget(ids, options.tenant);
        ASSERT_OK(count);
        std::uint64_t expected = 0;
        for (const std::string& id : ids) expected += model_.forget(tenant, id) ? 1u : 0u;
        EXPECT_EQ(*count, expected);
        break;
      }
      default: {
        last_ = "tag";
        const std::vector<std::string> ids{old_id(tenant)};
        const std::vector<std::string> tags{below(rng_, 2) == 0 ? "red" : "green"};
        const std::vector<std::string> none;
        const bool add = below(rng_, 3) != 0;
        const auto tagged = vault_->tag(ids, add ? tags : none, add ? none : tags, options.tenant);
        auto& items = model_.of(tenant);
        if (!items.contains(ids[0])) {
          EXPECT_EQ(tagged.code(), Errc::not_found);
          break;
        }
        ASSERT_OK(tagged);
        if (add) {
          items.at(ids[0]).tags.insert(tags[0]);
        } else {
          items.at(ids[0]).tags.erase(tags[0]);
        }
      }
    }
  }

  // Segments are put, held and released, by one of two.
  void segment_step(const std::string& tenant, const std::string& given) {
    const HoldOptions options{given, below(rng_, 2) == 0 ? "" : "other"};
    std::vector<Segment> segments;
    std::vector<SegmentId> ids;
    for (std::size_t i = 1 + below(rng_, 3); i-- > 0;) {
      segments.push_back(held_.pool()[below(rng_, held_.pool().size())]);
      ids.push_back(segments.back().id());
    }
    std::uint64_t changed = 0;
    switch (below(rng_, 4)) {
      case 0:
      case 1: {
        last_ = "put_segments";
        const auto done = vault_->put_segments(segments, options);
        ASSERT_OK(done);
        for (std::size_t i = 0; i < ids.size(); ++i) {
          const bool is_new = held_.holders(tenant, ids[i]).insert(options.holder).second;
          EXPECT_EQ((*done)[i].outcome == SegmentPut::Outcome::unchanged, !is_new);
        }
        break;
      }
      case 2: {
        last_ = "hold_segments";
        const bool all_there = std::all_of(segments.begin(), segments.end(), [&](const auto& s) {
          return held_.is_there(tenant, s, model_);
        });
        const auto done = vault_->hold_segments(ids, options);
        EXPECT_EQ(done.has_value(), all_there) << why(done);
        if (!all_there) break;
        for (const SegmentId& id : ids) {
          changed += held_.holders(tenant, id).insert(options.holder).second;
        }
        EXPECT_EQ(*done, changed);
        break;
      }
      default: {
        last_ = "release_segments";
        const auto done = vault_->release_segments(ids, options);
        ASSERT_OK(done);
        for (const SegmentId& id : ids) changed += held_.holders(tenant, id).erase(options.holder);
        EXPECT_EQ(*done, changed);
      }
    }
  }

  void expect_no_garbage() {
    for (const std::string& tenant : tenants_) {
      const auto page =
          vault_->list_segments({.which = SegmentFilter::Which::garbage, .tenant = tenant}, 1000);
      ASSERT_OK(page);
      EXPECT_TRUE(page->segments.empty()) << page->segments.size() << " of " << tenant;
    }
  }

  void upkeep() {
    externals_seen_ += place_.externals();
    const auto stats = vault_->stats();
    ASSERT_OK(stats);
    packs_seen_ = std::max(packs_seen_, stats->packs);
    merges_seen_ += stats->merges;
    switch (below(rng_, 8)) {
      case 0:
        last_ = "seal";
        ASSERT_OK(vault_->seal());
        break;
      case 1:
        last_ = "compact";
        ASSERT_OK(vault_->compact({.level = below(rng_, 2) == 0 ? Level::fast : Level::balanced,
                                   .memory_bytes = below(rng_, 2) == 0 ? 10'000u : 320u << 20}));
        break;
      case 2:
      case 3: {
        last_ = "gc";
        const auto dry = vault_->gc(true);
        ASSERT_OK(dry);
        // A reader sees the same, beside the writer.
        const auto asked = reader_->gc(true);
        ASSERT_OK(asked);
        EXPECT_EQ(asked->conversations, dry->conversations);
        EXPECT_EQ(asked->files, dry->files);
        EXPECT_EQ(asked->bytes_before, dry->bytes_before);
        const auto done = vault_->gc(false);
        ASSERT_OK(done);
        EXPECT_EQ(done->conversations, dry->conversations);
        expect_no_garbage();
        const auto after = vault_->stats();
        ASSERT_OK(after);
        EXPECT_EQ(after->forgotten, 0u);
        break;
      }
      case 4:
        last_ = "finish_merging";
        ASSERT_OK(vault_->finish_merging());
        break;
      default:
        last_ = "open";
        open();
    }
  }

  Place place_;
  const bool is_default_;
  Rng rng_;
  VaultOptions options_;
  std::vector<std::string> tenants_;
  Model model_;
  HeldModel held_;
  std::unique_ptr<Vault> vault_, reader_;
  std::uint64_t externals_seen_ = 0;
  std::uint64_t packs_seen_ = 0;
  std::uint64_t merges_seen_ = 0;
  std::string last_;
};

TEST(VaultModel, InMemory) {
  const std::uint64_t seed = test_seed();
  for (std::uint64_t round = 0; round < 6; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    MemoryPlace memory;
    ASSERT_OK(memory.create());
    ModelRun run({[&](const VaultOptions& o) { return memory.open(o); },
                  [&] { return count_externals(memory.disk); }},
                 seed, round);
    run.run(40);
    if (HasFailure()) return;
  }
}

// Packs are merged beside everything else, as soon as there are two.
TEST(VaultModel, WithMergesInTheBackground) {
  const std::uint64_t seed = test_seed();
  for (std::uint64_t round = 0; round < 4; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    MemoryPlace memory;
    ASSERT_OK(memory.create());
    ModelRun run({[&](const VaultOptions& o) { return memory.open(o); },
                  [&] { return count_externals(memory.disk); }},
                 seed, 500 + round, 0);
    run.run(40);
    if (HasFailure()) return;
  }
}

// The backend and the catalog that a program has for a vault that need not last.
TEST(VaultModel, OnTheBackendInMemory) {
  const std::shared_ptr<Backend> backend = make_memory_backend();
  SharedCatalog catalog;
  const auto tokenizer = open_tokenizer("bytes");
  ASSERT_OK(tokenizer);
  CreateOptions create;
  create.tokenizer = *tokenizer;
  ASSERT_OK(Vault::create(*backend, catalog, create));
  EXPECT_EQ(Vault::create(*backend, catalog, create).code(), Errc::exists);
  ModelRun run({[&](const VaultOptions& o) {
                  return Vault::open(std::make_unique<ForwardingBackend>(backend),
                                     std::make_unique<SharedCatalog>(catalog), o);
                },
                [&] { return count_externals(*backend); }},
               test_seed(), 900);
  run.run(40);
}

TEST(VaultModel, InADirectory) {
  const std::uint64_t seed = test_seed();
  for (std::uint64_t round = 0; round < 2; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    TempDir dir;
    const std::string path = dir / "v";
    ASSERT_OK(create_vault(path, {.tokenizer = "bytes"}));
    ModelRun run({[&](const VaultOptions& o) { return open_vault(path, o); },
                  [&] {
                    const auto backend = make_directory_backend(path, {.read_only = true});
                    EXPECT_OK(backend);
                    return backend ? count_externals(**backend) : 0;
                  }},
                 seed, 500 + round);
    run.run(30);
    if (HasFailure()) return;
  }
}

// Text goes through a real vocabulary too, invalid bytes and all.
TEST(VaultModel, OfTextInAVocabulary) {
  auto tokenizer = open_tokenizer("o200k_base");
  ASSERT_TRUE(tokenizer) << "scripts/fetch_tokenizers installs the rank files";
  Rng rng(test_seed());
  MemoryPlace memory;
  ASSERT_OK(memory.create("o200k_base"));
  auto vault = memory.open();
  ASSERT_OK(vault);
  std::map<std::string, Conversation> model;
  for (int i = 0; i < 60; ++i) {
    const Conversation c = random_conversation(rng, "id-" + std::to_string(i));
    ASSERT_OK((*vault)->put(c, {}));
    model[c.id] = c;
    if (i % 20 == 19) {
      ASSERT_OK((*vault)->seal());
    }
  }
  for (int pass = 0; pass < 2; ++pass) {
    for (const auto& [id, c] : model) {
      const auto got = (*vault)->get(id);
      ASSERT_OK(got);
      EXPECT_TRUE(*got == c) << id;
      // As tokens: each text is what the tokenizer makes of it.
      const auto tokens = (*vault)->get_tokens(id);
      ASSERT_OK(tokens);
      ASSERT_EQ(tokens->messages.size(), c.messages.size());
      const auto encoder = (*tokenizer)->make_encoder();
      for (std::size_t m = 0; m < c.messages.size(); ++m) {
        std::size_t v = 0;
        for (char ch : c.messages[m].form) {
          if (!is_value_hole(ch)) continue;
          const std::size_t at = v++;
          if (ch != static_cast<char>(Hole::text)) continue;
          std::vector<Token> expected;
          encoder->encode(c.messages[m].values[at].bytes, expected);
          EXPECT_EQ(tokens->messages[m].values[at].tokens, expected);
        }
      }
    }
    ASSERT_OK((*vault)->compact(Level::dense));
  }
}

// What gc has erased is not referred to by what is written later, in the same process.
TEST(VaultModel, ATextThatWasErasedIsStoredAgain) {
  MemoryPlace memory;
  ASSERT_OK(memory.create());
  auto vault = memory.open();
  ASSERT_OK(vault);
  const std::string text = shared_text(1);
  for (int round = 0; round < 3; ++round) {
    const Conversation c = conversation("c" + std::to_string(round), {text, "and more"});
    ASSERT_OK((*vault)->put(c, {}));
    if (round == 1) {
      ASSERT_OK((*vault)->seal());
    }
    const std::vector<std::string> ids{c.id};
    ASSERT_OK((*vault)->forget(ids));
    ASSERT_OK((*vault)->gc(false));
  }
  const Conversation c = conversation("last", {text, "and more"});
  ASSERT_OK((*vault)->put(c, {}));
  const auto got = (*vault)->get("last");
  ASSERT_OK(got);
  EXPECT_TRUE(*got == c);
}

// A batch that is seen in part or twice would break the order of export.
TEST(VaultModel, AReaderFollowsALogThatGrewWhileTheCatalogChanged) {
  MemoryPlace memory;
  ASSERT_OK(memory.create());
  auto vault = memory.open();
  auto reader = memory.open({.read_only = true});
  ASSERT_OK(vault);
  ASSERT_OK(reader);
  ASSERT_OK((*vault)->put(conversation("a", {"one"}), {}));
  ASSERT_OK((*vault)->put(conversation("b", {"two"}), {}));
  ASSERT_OK((*vault)->seal());
  const std::vector<std::string> ids{"a"};
  ASSERT_OK((*vault)->put(conversation("c", {"three"}), {}));
  ASSERT_OK((*vault)->forget(ids));
  EXPECT_OK((*reader)->get("c"));
  ASSERT_OK((*vault)->put(conversation("d", {"four"}), {}));
  ASSERT_OK((*vault)->gc(false));  // rewrites the pack alone: the log stays
  EXPECT_OK((*reader)->get("d"));
  EXPECT_OK((*reader)->get("b"));
  EXPECT_EQ((*reader)->get("a").code(), Errc::not_found);
}

// A catalog beside which something happens just before it is read.
class HookedCatalog final : public Catalog {
 public:
  HookedCatalog(const SharedCatalog& to, std::function<void()>* hook) : to_(to), hook_(hook) {}
  Result<CatalogState> load() const override {
    if (*hook_) std::exchange(*hook_, nullptr)();
    return to_.load();
  }
  Result<std::uint64_t> generation() const override { return to_.generation(); }
  Result<std::uint64_t> commit(const CatalogChange& change) override { return to_.commit(change); }
  Status reset(const CatalogState& state) override { return to_.reset(state); }
  Status vacuum() override { return to_.vacuum(); }

 private:
  SharedCatalog to_;
  std::function<void()>* hook_;
};

// A disk that takes no packs: logs stay that should be sealed.
class WithoutPacks final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  Status put(std::string_view name, ByteView bytes) override {
    if (name.starts_with("packs/")) return Error(Errc::io, "the disk is broken", EIO);
    return ForwardingBackend::put(name, bytes);
  }
};

// Between its look whether the log has grown and its reading of a catalog that has changed, the log
// grows, and another one begins.
TEST(VaultModel, AReaderReadsALogToItsEndBeforeTheNextOne) {
  MemoryPlace memory;
  ASSERT_OK(memory.create());
  std::function<void()> hook;
  auto reader =
      Vault::open(std::make_unique<FaultBackend>(memory.disk),
                  std::make_unique<HookedCatalog>(memory.catalog, &hook), {.read_only = true});
  ASSERT_OK(reader);
  {
    auto vault = memory.open();
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(conversation("a", {"one"}), {}));
    ASSERT_OK((*reader)->get("a"));
  }  // tells the catalog where the log ends
  auto vault = Vault::open(std::make_unique<WithoutPacks>(memory.disk),
                           std::make_unique<SharedCatalog>(memory.catalog), {});
  ASSERT_OK(vault);
  const Conversation same = conversation("same", {shared_text(1), "y"});
  bool struck = false;
  hook = [&] {
    struck = true;
    ASSERT_OK((*vault)->forget(std::vector<std::string>{"a"}));
    ASSERT_OK((*vault)->put(conversation("text", {shared_text(1), "x"}), {}));
    ASSERT_EQ((*vault)->seal().code(), Errc::io);
    ASSERT_OK((*vault)->put(same, {}));  // whose text is in the log before
  };
  const auto got = (*reader)->get_batch(std::vector<std::string>{"same", "a"});
  EXPECT_TRUE(struck);
  ASSERT_OK(got);
  ASSERT_OK((*got)[0]);
  EXPECT_TRUE(*(*got)[0] == same);
  EXPECT_EQ((*got)[1].code(), Errc::not_found);
}

// A disk on which something happens just before a pack is read.
class HookedBackend final : public ForwardingBackend {
 public:
  HookedBackend(const FaultBackend& to, std::function<void()>* hook)
      : ForwardingBackend(to), hook_(hook) {}
  Status get(std::string_view name, std::uint64_t offset, std::uint64_t size,
             Buffer& out) const override {
    if (*hook_ && name.starts_with("packs/")) std::exchange(*hook_, nullptr)();
    return ForwardingBackend::get(name, offset, size, out);
  }

 private:
  std::function<void()>* hook_;
};

// Every pack is rewritten while a reader is about to read one, at each read in turn.
TEST(VaultModel, AReaderWhoseFilesGoAwayLooksAgain) {
  using Ask = std::function<Status(const Vault&)>;
  auto all_of = [](std::vector<Result<Conversation>> results) -> Status {
    for (auto& r : results) TOKVAULT_TRY(std::move(r));
    return {};
  };
  const std::vector<std::pair<std::string, Ask>> asks{
      {"get",
       [](const Vault& v) -> Status {
         TOKVAULT_TRY(v.get("a"));
         TOKVAULT_TRY(v.get("b"));
         return {};
       }},
      {"get_batch",
       [&](const Vault& v) -> Status {
         TOKVAULT_ASSIGN(auto results, v.get_batch(std::vector<std::string>{"a", "b"}));
         return all_of(std::move(results));
       }},
      {"scan",
       [&](const Vault& v) -> Status {
         std::vector<Result<Conversation>> results;
         TOKVAULT_TRY(v.scan({}, [&](const Summary&, Result<Conversation> c) {
           results.push_back(std::move(c));
           return true;
         }));
         if (results.size() != 2) return Error(Errc::corrupt, "not two");
         return all_of(std::move(results));
       }},
      {"stats", [](const Vault& v) -> Status {
         TOKVAULT_TRY(v.stats());
         return {};
       }}};
  for (const auto& [name, ask] : asks) {
    bool struck = true;
    for (int at = 1; struck; ++at) {
      MemoryPlace memory;
      ASSERT_OK(memory.create());
      auto vault = memory.open();
      ASSERT_OK(vault);
      ASSERT_OK((*vault)->put(conversation("a", {shared_text(1), "x"}), {}));
      ASSERT_OK((*vault)->seal());
      ASSERT_OK((*vault)->put(conversation("b", {shared_text(1), "y"}), {}));
      ASSERT_OK((*vault)->seal());
      std::function<void()> hook;
      auto reader = Vault::open(std::make_unique<HookedBackend>(memory.disk, &hook),
                                std::make_unique<SharedCatalog>(memory.catalog),
                                {.read_only = true, .cache_bytes = 1});
      ASSERT_OK(reader);
      struck = false;
      int left = at;
      std::function<void()> strike = [&] {
        if (--left > 0) {
          hook = strike;
        } else {
          struck = true;
          EXPECT_OK((*vault)->compact(Level::fast));
        }
      };
      hook = strike;
      EXPECT_OK(ask(**reader)) << name << ", read " << at;
      hook = nullptr;
    }
  }
}

// A catalog that is rebuilt must not bring old deletions and removals back over what came later.
TEST(VaultModel, SequenceNumbersAreNotGivenOutAgain) {
  TempDir dir;
  const std::string path = dir / "v";
  ASSERT_OK(create_vault(path, {.tokenizer = "bytes"}));
  const Conversation kept = conversation("kept", {"stays"});
  const Conversation again = conversation("again", {"comes back"});
  const std::vector<std::string> ids{"again"}, tagged{"kept"}, tags{"red"}, none;
  {
    auto vault = open_vault(path);
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(kept, {}));
    ASSERT_OK((*vault)->put(again, {}));
    ASSERT_OK((*vault)->tag(tagged, tags, none));
    ASSERT_OK((*vault)->tag(tagged, none, tags));
    ASSERT_OK((*vault)->forget(ids));
    ASSERT_OK((*vault)->compact(Level::fast));
  }
  {
    auto vault = open_vault(path);
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(again, {}));
    ASSERT_OK((*vault)->tag(tagged, tags, none));
  }
  std::filesystem::remove(path + "/catalog.db");
  ASSERT_OK(repair_vault(path));
  auto vault = open_vault(path);
  ASSERT_OK(vault);
  EXPECT_OK((*vault)->get("kept"));
  EXPECT_OK((*vault)->get("again"));
  const auto summary = (*vault)->summary("kept");
  ASSERT_OK(summary);
  EXPECT_EQ(summary->tags, tags);
}

// An id that the vault makes is TIME-NUMBER: the conversation's time, or when it came if it has
// none, in milliseconds. The number is higher than any before it, so that those of one millisecond
// are in order, too, whoever made them and whatever has become of them.
TEST(VaultModel, IdsThatAreMadeAreInOrder) {
  MemoryPlace memory;
  ASSERT_OK(memory.create());
  std::uint64_t last = 0;
  const auto now_ms = [] {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  };
  for (int round = 0; round < 4; ++round) {
    auto vault = memory.open();
    ASSERT_OK(vault);
    for (const std::int64_t given : {std::int64_t{0}, std::int64_t{1'700'000'000'000}}) {
      const std::int64_t before = given != 0 ? given : now_ms();
      std::vector<Conversation> batch(8, conversation("", {"x"}));
      for (Conversation& c : batch) c.time_ms = given;
      std::vector<Result<PutResult>> made;
      for (int i = 0; i < 8; ++i) made.push_back((*vault)->put(batch[0], {}));
      auto results = (*vault)->put_batch(batch, {});
      ASSERT_OK(results);
      for (auto& result : *results) made.push_back(std::move(result));
      const std::int64_t after = given != 0 ? given : now_ms();
      for (const auto& result : made) {
        ASSERT_OK(result);
        std::smatch parts;
        ASSERT_TRUE(std::regex_match(result->id, parts, std::regex("([0-9]+)-([0-9]+)")))
            << result->id;
        const std::int64_t time = std::stoll(parts[1]);
        const std::uint64_t number = std::stoull(parts[2]);
        EXPECT_EQ(result->id, std::to_string(time) + "-" + std::to_string(number));
        EXPECT_GE(time, before);
        EXPECT_LE(time, after);
        EXPECT_GT(number, last);
        last = number;
        const auto summary = (*vault)->summary(result->id);
        ASSERT_OK(summary);
        EXPECT_EQ(summary->time_ms, time);
      }
    }
    if (round == 1) {
      ASSERT_OK((*vault)->seal());
    } else if (round == 2) {
      ASSERT_OK((*vault)->forget(Filter{}));
      ASSERT_OK((*vault)->gc(false));
    }
  }
}

// An earlier build kept as text what is letters now: the same line is not another conversation.
TEST(VaultModel, TheSameJsonInOtherValuesIsUnchanged) {
  MemoryPlace memory;
  ASSERT_OK(memory.create());
  auto vault = memory.open();
  ASSERT_OK(vault);
  const std::string digits = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
  JsonReader reader;
  const std::string line = R"({"id":"a","digest":")" + digits +
                           R"(","messages":[{"role":"user","content":"hi","etag":")" + digits +
                           R"("}]})";
  const auto now = reader.conversation(line);
  ASSERT_OK(now);
  ASSERT_EQ(now->values[0].bytes, '"' + digits + '"');
  Conversation before = *now;
  auto as_text = [&](std::string& form, std::vector<Value>& values) {
    const std::size_t hole = form.find(static_cast<char>(Hole::json));
    ASSERT_NE(hole, std::string::npos);
    form[hole] = static_cast<char>(Hole::text);
    values.back().bytes = digits;
  };
  as_text(before.form, before.values);
  as_text(before.messages[0].form, before.messages[0].values);
  ASSERT_OK((*vault)->put(before, {}));
  const auto again = (*vault)->put(*now, {});
  ASSERT_OK(again);
  EXPECT_EQ(again->outcome, PutResult::Outcome::unchanged);
  Conversation other = *now;
  other.messages[0].values.back().bytes[5] = 'x';
  EXPECT_EQ((*vault)->put(other, {}).code(), Errc::exists);
  other = *now;
  other.values[0].bytes[5] = 'x';
  EXPECT_EQ((*vault)->put(other, {}).code(), Errc::exists);
}

// Several threads may have prepared what comes after it.
TEST(VaultModel, NothingAfterARefusedOneIsStoredIfAskedFor) {
  MemoryPlace memory;
  ASSERT_OK(memory.create());
  auto vault = memory.open({.threads = 3});
  ASSERT_OK(vault);
  ASSERT_OK((*vault)->put(conversation("c20", {"other"}), {}));
  std::vector<Conversation> batch;
  for (int i = 0; i < 40; ++i) {
    batch.push_back(conversation("c" + std::to_string(i), {std::string(100'000, 'x')}));
  }
  const ImportProgress progress{.source = "s", .lines = 40, .bytes = 1, .state_hash = "h"};
  const auto results = (*vault)->put_batch(batch, {.stop_at_refused = true}, &progress);
  ASSERT_OK(results);
  ASSERT_EQ(results->size(), 40u);
  for (int i = 0; i < 40; ++i) {
    const Errc wanted = i < 20 ? Errc::ok : i == 20 ? Errc::exists : Errc::cancelled;
    EXPECT_EQ((*results)[static_cast<std::size_t>(i)].code(), wanted) << i;
    const Errc there = i <= 20 ? Errc::ok : Errc::not_found;
    EXPECT_EQ((*vault)->get("c" + std::to_string(i)).code(), there) << i;
  }
  EXPECT_FALSE((*vault)->import_progress("s"));
}

// Of a limit, a name or an id that is refused nothing remains.
TEST(VaultModel, WhatIsRefusedIsRefusedAlone) {
  MemoryPlace memory;
  ASSERT_OK(memory.create());
  auto vault = memory.open({.conversation_bytes_max = 2'000});
  ASSERT_OK(vault);
  const std::vector<Conversation> batch{conversation("small", {"a"}),
                                        conversation("large", {std::string(3'000, 'x')}),
                                        conversation("small", {"b"}), conversation("other", {"c"})};
  const auto results = (*vault)->put_batch(batch, {});
  ASSERT_OK(results);
  EXPECT_OK((*results)[0]);
  EXPECT_EQ((*results)[1].code(), Errc::exhausted);
  EXPECT_EQ((*results)[2].code(), Errc::exists);
  EXPECT_OK((*results)[3]);
  EXPECT_EQ((*vault)->get("large").code(), Errc::not_found);
  const auto small = (*vault)->get("small");
  ASSERT_OK(small);
  EXPECT_TRUE(*small == batch[0]);
  EXPECT_EQ((*vault)->put(conversation("x", {"y"}), {.tenant = std::string(300, 't')}).code(),
            Errc::invalid);
  Conversation broken = conversation("broken", {"y"});
  broken.messages[0].values.clear();
  EXPECT_EQ((*vault)->put(broken, {}).code(), Errc::invalid);
  EXPECT_OK((*vault)->put(conversation("x", {"y"}), {}));
  const std::vector<std::string> tag_ids{"x", "not there"}, tags{"red"}, none;
  EXPECT_EQ((*vault)->tag(tag_ids, tags, none).code(), Errc::not_found);
  EXPECT_EQ((*vault)->tag(std::span(tag_ids).first(1), tags, tags).code(), Errc::invalid);
  const auto summary = (*vault)->summary("x");
  ASSERT_OK(summary);
  EXPECT_TRUE(summary->tags.empty());
}

// What another vault has made up is an id like any other.
TEST(VaultModel, AnIdThatIsMadeUpIsNoneThatIsThere) {
  MemoryPlace memory;
  ASSERT_OK(memory.create());
  auto vault = memory.open();
  ASSERT_OK(vault);
  auto unnamed = [](const std::string& text) {
    Conversation c = conversation("", {text});
    c.form.clear();
    return c;
  };
  const std::string time = std::to_string(unnamed("").time_ms) + "-";
  std::vector<Conversation> imported;
  for (int i = 100; i < 200; ++i) {
    imported.push_back(conversation(time + std::to_string(i), {"imported"}));
  }
  ASSERT_OK((*vault)->put_batch(imported, {}));
  std::set<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    const auto put = (*vault)->put(unnamed("new"), {});
    ASSERT_OK(put);
    EXPECT_EQ(put->outcome, PutResult::Outcome::stored);
    EXPECT_TRUE(ids.insert(put->id).second) << put->id;
    const auto got = (*vault)->get(put->id);
    ASSERT_OK(got);
    EXPECT_EQ(got->messages.at(0).values.at(0).bytes, "new") << put->id;
  }
  for (const Conversation& c : imported) {
    const auto got = (*vault)->get(c.id);
    ASSERT_OK(got);
    EXPECT_TRUE(*got == c) << c.id;
  }
  EXPECT_EQ((*vault)->list({}, 1000)->conversations.size(), imported.size() + 5);

  // The same within a batch, in either order.
  ASSERT_OK((*vault)->put(conversation("a", {"x"}), {}));
  const std::uint64_t last = (*vault)->summary("a")->sequence;
  std::vector<Conversation> batch{unnamed("first"), conversation("", {"second"}),
                                  conversation("", {"third"}), unnamed("fourth")};
  for (Conversation& c : batch) ++c.time_ms;
  const std::string later = std::to_string(batch[0].time_ms) + "-";
  batch[1].id = later + std::to_string(last + 1);
  batch[2].id = later + std::to_string(last + 3);
  const auto results = (*vault)->put_batch(batch, {});
  ASSERT_OK(results);
  ASSERT_OK((*results)[0]);
  EXPECT_EQ((*results)[0]->id, batch[1].id);
  EXPECT_EQ((*results)[1].code(), Errc::exists);
  ASSERT_OK((*results)[2]);
  ASSERT_OK((*results)[3]);
  EXPECT_EQ((*results)[3]->id, batch[2].id + "-2");
  EXPECT_EQ((*vault)->list({}, 1000)->conversations.size(), imported.size() + 9);
}

}  // namespace
}  // namespace tokvault
