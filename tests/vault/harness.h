// What the tests of the vault share: places that a vault can stand in, random conversations, and
// the model that a vault is compared with.
#ifndef TOKVAULT_TESTS_VAULT_HARNESS_H_
#define TOKVAULT_TESTS_VAULT_HARNESS_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "codec/dictionary.h"
#include "storage/fault.h"
#include "tests/conformance/temp_dir.h"
#include "tokvault/directory.h"
#include "tokvault/vault.h"
#include "vault/log_file.h"
#include "vault/pack_file.h"
#include "vault/recovery.h"
#include "vault/stager.h"

// A call that must succeed; says why it did not.
#define ASSERT_OK(expr) ASSERT_TRUE(tokvault::succeeds(expr))
#define EXPECT_OK(expr) EXPECT_TRUE(tokvault::succeeds(expr))

namespace tokvault {

template <class T>
std::string why(const Result<T>& result) {
  if (result) return "ok";
  return std::string(errc_name(result.error().code())) + ": " +
         std::string(result.error().message());
}

template <class T>
::testing::AssertionResult succeeds(const Result<T>& result) {
  if (result) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << why(result) << " ";
}

// Several handles to one catalog in memory, as several connections to a database are.
class SharedCatalog : public Catalog {
 public:
  SharedCatalog() : to_(make_memory_catalog()) {}
  explicit SharedCatalog(const CatalogState& state) : SharedCatalog() { (void)to_->reset(state); }

  Result<CatalogState> load() const override { return to_->load(); }
  Result<std::uint64_t> generation() const override { return to_->generation(); }
  Result<std::uint64_t> commit(const CatalogChange& change) override { return to_->commit(change); }
  Status reset(const CatalogState& state) override { return to_->reset(state); }
  Status vacuum() override { return to_->vacuum(); }

 private:
  std::shared_ptr<Catalog> to_;
};

// Hands every call on: what a test derives from to count, hold up or fail some of them.
class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::shared_ptr<Backend> to) : to_(std::move(to)) {}
  // A handle of its own to that disk.
  explicit ForwardingBackend(const FaultBackend& to) : to_(std::make_shared<FaultBackend>(to)) {}

  Status put(std::string_view name, ByteView bytes) override { return to_->put(name, bytes); }
  Status get(std::string_view name, std::uint64_t offset, std::uint64_t size,
             Buffer& out) const override {
    return to_->get(name, offset, size, out);
  }
  Status append(std::string_view name, ByteView bytes) override { return to_->append(name, bytes); }
  Status truncate(std::string_view name, std::uint64_t size) override {
    return to_->truncate(name, size);
  }
  Status sync(std::string_view name) override { return to_->sync(name); }
  Result<std::uint64_t> size(std::string_view name) const override { return to_->size(name); }
  Result<std::vector<BlobInfo>> list(std::string_view folder) const override {
    return to_->list(folder);
  }
  Status remove(std::string_view name) override { return to_->remove(name); }
  Result<std::shared_ptr<const void>> hold(std::string_view name) const override {
    return to_->hold(name);
  }
  Result<std::uint64_t> sweep() override { return to_->sweep(); }
  Result<std::unique_ptr<WriterLock>> lock_writer() override { return to_->lock_writer(); }
  Result<std::uint64_t> total_bytes() const override { return to_->total_bytes(); }
  Capabilities capabilities() const override { return to_->capabilities(); }

 private:
  std::shared_ptr<Backend> to_;
};

// A vault in memory: a disk that remembers what was synced, and a catalog.
struct MemoryPlace {
  FaultBackend disk;
  SharedCatalog catalog;

  Status create(const std::string& tokenizer = "bytes") {
    TOKVAULT_ASSIGN(auto t, open_tokenizer(tokenizer));
    CreateOptions options;
    options.tokenizer = t;
    return Vault::create(disk, catalog, options);
  }
  Result<std::unique_ptr<Vault>> open(const VaultOptions& options = {}) const {
    return Vault::open(std::make_unique<FaultBackend>(disk),
                       std::make_unique<SharedCatalog>(catalog), options);
  }
  // The catalog as it is now, which later commits do not change.
  static MemoryPlace of(const FaultBackend& disk, const Catalog& catalog) {
    MemoryPlace place{disk, SharedCatalog()};
    if (auto state = catalog.load()) place.catalog = SharedCatalog(*state);
    return place;
  }
};

using Rng = std::mt19937_64;

inline std::uint64_t below(Rng& rng, std::uint64_t n) { return rng() % n; }

// Text of about `words` words, some of which repeat.
inline std::string random_text(Rng& rng, std::size_t words) {
  static constexpr const char* kWords[] = {
      "the", "order",         "of",   "flight",  "please", "cancel", "agent", "tool", "\n",
      "42",  "Z\xc3\xbcrich", "true", "{\"a\":", "null}",  "user",   "refund"};
  std::string text;
  for (std::size_t i = 0; i < words; ++i) {
    if (below(rng, 5) == 0) {
      text += std::to_string(rng());
    } else {
      text += kWords[below(rng, std::size(kWords))];
    }
    text += ' ';
  }
  return text;
}

// One of a few long texts, so that the same ones come back in other logs and packs.
inline std::string shared_text(std::uint64_t number) {
  Rng rng(number * 7919 + 13);
  return random_text(rng, 60);
}

inline Message random_message(Rng& rng) {
  static constexpr const char* kRoles[] = {"system", "user", "assistant", "tool"};
  const char* role = kRoles[below(rng, 4)];
  switch (below(rng, 10)) {
    case 0:
      return Message::of_text(role, "");
    case 1: {
      std::string bytes = "not UTF-8: \xff\xfe\xed\xa0\x80";
      for (int i = 0; i < 40; ++i) bytes += static_cast<char>(rng());
      return Message::of_text(role, bytes);
    }
    case 2: {
      std::vector<Token> tokens(below(rng, 200));
      for (Token& t : tokens)
        t = static_cast<Token>(below(rng, 300) == 0 ? rng() : below(rng, 256));
      TokenArray logprobs{"logprobs", TokenArray::Type::f32, {}};
      TokenArray mask{"mask", TokenArray::Type::u8, {}};
      for (std::size_t i = 0; i < tokens.size() * 4; ++i) {
        logprobs.bytes += static_cast<char>(rng());
      }
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        mask.bytes += static_cast<char>(below(rng, 2));
      }
      auto message = Message::of_tokens(role, tokens, {logprobs, mask});
      EXPECT_OK(message);
      return std::move(*message);
    }
    case 3: {  // a field that is no text, as a reader of JSON leaves it
      Message m;
      m.form = "{\"role\":\"tool\",\"content\":\x01,\"n\":\x04,\"x\":\x03,\"list\":\x05}";
      m.values.resize(4);
      m.values[0].bytes = random_text(rng, below(rng, 30));
      m.values[1].bytes = std::to_string(below(rng, 1000));
      m.values[2].bytes = "short";
      m.values[3].bytes = "[" + std::to_string(rng()) + "]";
      return m;
    }
    case 4:
    case 5:
    case 6:
      return Message::of_text(role, shared_text(below(rng, 12)));
    default:
      return Message::of_text(role, random_text(rng, below(rng, 40)));
  }
}

// A conversation with its form written out, so that it comes back as it is.
inline Conversation random_conversation(Rng& rng, std::string id) {
  Conversation c;
  c.id = std::move(id);
  const std::uint64_t model = below(rng, 3);
  if (model != 0) c.model = "model-" + std::to_string(model);
  if (below(rng, 2) != 0) c.application = "app-" + std::to_string(below(rng, 2));
  c.time_ms = 1'700'000'000'000 + static_cast<std::int64_t>(below(rng, 5 * 86'400'000));
  const std::size_t messages = below(rng, 5);
  for (std::size_t i = 0; i < messages; ++i) c.messages.push_back(random_message(rng));
  if (below(rng, 4) == 0) {
    c.form = "{\"id\":\x11,\"messages\":\x10,\"extra\":\x01,\"n\":\x04}";
    c.values.resize(2);
    c.values[0].bytes = random_text(rng, 5);
    c.values[1].bytes = "1.50";
  }
  c.form = Stager::form_of(c);
  return c;
}

// What a vault must answer.
class Model {
 public:
  struct Item {
    Conversation conversation;
    std::uint64_t first = 0;  // its place in the order of export
    std::set<std::string> tags;
  };
  using Items = std::map<std::string, Item>;

  void put(const std::string& tenant, Conversation c) {
    Items& items = tenants_[tenant];
    const auto it = items.find(c.id);
    if (it != items.end()) {
      it->second.conversation = std::move(c);
      return;
    }
    const std::string id = c.id;
    items[id] = {std::move(c), ++clock_, {}};
  }
  bool forget(const std::string& tenant, const std::string& id) {
    return tenants_[tenant].erase(id) != 0;
  }
  Items& of(const std::string& tenant) { return tenants_[tenant]; }
  const std::map<std::string, Items>& tenants() const { return tenants_; }

  // Of a vault whose tokenizer is "bytes".
  static std::pair<std::uint64_t, std::uint64_t> tokens_and_bytes(const Conversation& c) {
    std::uint64_t tokens = 0;
    std::uint64_t bytes = 0;
    auto add = [&](const std::string& form, const std::vector<Value>& values) {
      std::size_t next = 0;
      for (char ch : form) {
        if (!is_value_hole(ch)) continue;
        const Value& v = values[next++];
        if (ch == static_cast<char>(Hole::text)) {
          tokens += v.bytes.size();
          bytes += v.bytes.size();
        } else if (ch == static_cast<char>(Hole::tokens)) {
          tokens += v.tokens.size();
        }
      }
    };
    add(c.form, c.values);
    for (const Message& m : c.messages) add(m.form, m.values);
    return {tokens, bytes};
  }

  // Every way of reading must agree with the model.
  void compare(const Vault& vault, const std::string& where) const {
    VaultStats sums;
    for (const auto& [tenant, items] : tenants_) {
      compare_tenant(vault, tenant, items, where + ", tenant " + tenant, sums);
    }
    const auto stats = vault.stats();
    ASSERT_OK(stats);
    EXPECT_EQ(stats->conversations, sums.conversations) << where;
    EXPECT_EQ(stats->messages, sums.messages) << where;
    EXPECT_EQ(stats->tokens_logical, sums.tokens_logical) << where;
    EXPECT_EQ(stats->text_bytes, sums.text_bytes) << where;
  }

 private:
  static std::vector<const Item*> ordered(const Items& items) {
    std::vector<const Item*> out;
    for (const auto& [id, item] : items) out.push_back(&item);
    std::sort(out.begin(), out.end(),
              [](const Item* a, const Item* b) { return a->first < b->first; });
    return out;
  }

  static void compare_filter(const Vault& vault, const Filter& filter,
                             const std::vector<const Item*>& order, const std::string& where) {
    std::vector<std::string> expected;
    for (const Item* item : order) {
      const Conversation& c = item->conversation;
      if ((!filter.model.empty() && c.model != filter.model) ||
          (!filter.application.empty() && c.application != filter.application) ||
          c.time_ms < filter.time_from_ms || c.time_ms >= filter.time_until_ms) {
        continue;
      }
      if (!std::all_of(filter.tags.begin(), filter.tags.end(),
                       [&](const std::string& t) { return item->tags.contains(t); })) {
        continue;
      }
      expected.push_back(c.id);
    }
    std::vector<std::string> got;
    std::string cursor;
    do {
      const auto page = vault.list(filter, 7, cursor);
      ASSERT_OK(page);
      for (const Summary& s : page->conversations) got.push_back(s.id);
      cursor = page->cursor;
    } while (!cursor.empty());
    EXPECT_EQ(got, expected) << where;
  }

  static void compare_tenant(const Vault& vault, const std::string& tenant, const Items& items,
                             const std::string& where, VaultStats& sums) {
    const auto order = ordered(items);
    // scan(): everything, in the order in which it first came.
    std::size_t at = 0;
    Filter all;
    all.tenant = tenant;
    const auto scanned = vault.scan(all, [&](const Summary& s, Result<Conversation> c) {
      EXPECT_OK(c) << where << ": " << s.id;
      if (at >= order.size()) {
        ADD_FAILURE() << where << ": more than was put: " << s.id;
        return false;
      }
      const Item& item = *order[at++];
      EXPECT_TRUE(c && *c == item.conversation) << where << ": scan, " << s.id;
      const auto [tokens, bytes] = tokens_and_bytes(item.conversation);
      EXPECT_EQ(s.id, item.conversation.id) << where;
      EXPECT_EQ(s.model, item.conversation.model) << where;
      EXPECT_EQ(s.application, item.conversation.application) << where;
      EXPECT_EQ(s.time_ms, item.conversation.time_ms) << where;
      EXPECT_EQ(s.messages, item.conversation.messages.size()) << where;
      EXPECT_EQ(s.tokens, tokens) << where << ": " << s.id;
      EXPECT_EQ(s.text_bytes, bytes) << where << ": " << s.id;
      EXPECT_EQ(std::set<std::string>(s.tags.begin(), s.tags.end()), item.tags) << where;
      ++sums.conversations;
      sums.messages += s.messages;
      sums.tokens_logical += tokens;
      sums.text_bytes += bytes;
      return !::testing::Test::HasFailure();
    });
    ASSERT_OK(scanned) << where;
    EXPECT_EQ(at, order.size()) << where << ": less than was put";
    if (::testing::Test::HasFailure()) return;

    std::vector<std::string> ids{"never put"};
    for (const Item* item : order) ids.push_back(item->conversation.id);
    const auto batch = vault.get_batch(ids, tenant);
    ASSERT_OK(batch) << where;
    EXPECT_EQ((*batch)[0].code(), Errc::not_found);
    for (std::size_t i = 1; i < ids.size(); ++i) {
      const auto one = vault.get(ids[i], tenant);
      ASSERT_OK(one) << where;
      EXPECT_TRUE(*one == order[i - 1]->conversation) << where << ": get, " << ids[i];
      ASSERT_OK((*batch)[i]) << where;
      EXPECT_TRUE(*(*batch)[i] == *one) << where << ": get_batch, " << ids[i];
      const auto summary = vault.summary(ids[i], tenant);
      ASSERT_OK(summary) << where;
      EXPECT_EQ(summary->id, ids[i]);
    }

    Filter filter;
    filter.tenant = tenant;
    compare_filter(vault, filter, order, where + ", all");
    filter.model = "model-1";
    compare_filter(vault, filter, order, where + ", by model");
    filter.application = "app-1";
    filter.time_from_ms = 1'700'000'000'000 + 86'400'000;
    filter.time_until_ms = filter.time_from_ms + 2 * 86'400'000;
    compare_filter(vault, filter, order, where + ", by time");
    filter = Filter();
    filter.tenant = tenant;
    filter.tags = {"red"};
    compare_filter(vault, filter, order, where + ", by tag");
    filter.tags = {"red", "green"};
    compare_filter(vault, filter, order, where + ", by two tags");

    UsageQuery query;
    query.filter.tenant = tenant;
    query.by_application = true;
    query.by_day = true;
    const auto usage = vault.usage(query);
    ASSERT_OK(usage) << where;
    std::map<std::tuple<std::string, std::string, std::int64_t>, std::array<std::uint64_t, 3>> sum;
    for (const Item* item : order) {
      const Conversation& c = item->conversation;
      auto& s = sum[{c.model, c.application, c.time_ms / 86'400'000}];
      ++s[0];
      s[1] += c.messages.size();
      s[2] += tokens_and_bytes(c).first;
    }
    ASSERT_EQ(usage->size(), sum.size()) << where;
    std::size_t row = 0;
    for (const auto& [key, s] : sum) {
      const UsageRow& u = (*usage)[row++];
      EXPECT_EQ(u.model, std::get<0>(key)) << where;
      EXPECT_EQ(u.application, std::get<1>(key)) << where;
      EXPECT_EQ(u.conversations, s[0]) << where;
      EXPECT_EQ(u.messages, s[1]) << where;
      EXPECT_EQ(u.tokens, s[2]) << where;
    }
  }

  std::map<std::string, Items> tenants_;
  std::uint64_t clock_ = 0;
};

// Everything that a vault has, by tenant and id.
using Contents = std::map<std::pair<std::string, std::string>, Conversation>;

inline Result<Contents> contents(const Vault& vault) {
  Contents out;
  TOKVAULT_ASSIGN(const auto tenants, vault.tenants());
  for (const std::string& tenant : tenants) {
    Filter filter;
    filter.tenant = tenant;
    Error error;
    TOKVAULT_TRY(vault.scan(filter, [&](const Summary& s, Result<Conversation> c) {
      if (!c) {
        error = std::move(c).error().with(s.id);
        return false;
      }
      if (out.try_emplace({tenant, s.id}, std::move(*c)).second) return true;
      error = Error(Errc::corrupt, s.id + " is there twice");
      return false;
    }));
    if (error.code() != Errc::ok) return error;
  }
  return out;
}

// Every segment that somebody holds, read, by tenant, id and holder.
using Held = std::map<std::tuple<std::string, SegmentId, std::string>, Segment>;

inline Result<Held> held(const Vault& vault) {
  Held out;
  TOKVAULT_ASSIGN(const auto tenants, vault.tenants());
  for (const std::string& tenant : tenants) {
    TOKVAULT_ASSIGN(const SegmentPage page, vault.list_segments({.tenant = tenant}, 100'000));
    for (const SegmentInfo& info : page.segments) {
      TOKVAULT_ASSIGN(auto got, vault.get_segments({&info.id, 1}, tenant));
      if (!got[0]) return std::move(got[0]).error();
      for (const std::string& holder : info.holders) out[{tenant, info.id, holder}] = *got[0];
    }
  }
  return out;
}

// Rows of the external tables of all packs.
inline std::uint64_t count_externals(const Backend& backend) {
  std::uint64_t count = 0;
  Cache cache(64u << 20);
  const auto blobs = backend.list("packs");
  EXPECT_OK(blobs);
  if (!blobs) return 0;
  for (const BlobInfo& blob : *blobs) {
    const auto pack = PackFile::open(backend, cache, number_of(blob.name));
    EXPECT_OK(pack);
    if (!pack) continue;
    const auto tables = (*pack)->tables();
    EXPECT_OK(tables);
    if (tables) count += (*tables)->externals.size();
  }
  return count;
}

inline Conversation conversation(std::string id, const std::vector<std::string>& texts,
                                 std::string model = "m") {
  Conversation c;
  c.id = std::move(id);
  c.model = std::move(model);
  c.time_ms = 1'700'000'000'000;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    c.messages.push_back(Message::of_text(i % 2 == 0 ? "user" : "assistant", texts[i]));
  }
  c.form = Stager::form_of(c);
  return c;
}

// A dictionary of its own for every number.
inline Buffer dictionary(int number) {
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

}  // namespace tokvault

#endif  // TOKVAULT_TESTS_VAULT_HARNESS_H_
