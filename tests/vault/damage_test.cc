// Damage: every file of a small vault cut at every length, and every byte of it flipped. Whatever
// is asked then is answered rightly or with an error, never with other content, and never by a
// crash; and check() finds it.
#include <functional>

#include "tests/vault/harness.h"

namespace tokvault {
namespace {

// A closed vault of a few conversations, and what it holds.
struct Sample {
  MemoryPlace place;
  Contents contents;
  std::map<std::pair<std::string, std::string>, Summary> summaries;
  // Bytes of a file that was made by hand which nothing refers to.
  std::string unused_in{};
  std::size_t unused_begin = 0;
  std::size_t unused_end = 0;
};

void fill_in(Sample& sample, const Vault& vault) {
  auto seen = contents(vault);
  ASSERT_OK(seen);
  sample.contents = std::move(*seen);
  for (const auto& [key, c] : sample.contents) {
    auto summary = vault.summary(key.second, key.first);
    ASSERT_OK(summary);
    sample.summaries[key] = std::move(*summary);
  }
}

// What the sample is closed with: everything is in packs of that level, or as it is.
void close(Sample& sample, std::unique_ptr<Vault> vault, std::optional<Level> level) {
  if (level) {
    ASSERT_OK(vault->compact(*level));
  }
  fill_in(sample, *vault);
  vault.reset();
  sample.place = MemoryPlace::of(sample.place.disk.process_kill(), sample.place.catalog);
}

Sample make_sample(bool packs) {
  Sample s;
  EXPECT_OK(s.place.create());
  Rng rng(5);
  auto vault = s.place.open({.level = Level::fast});
  EXPECT_OK(vault);
  const std::vector<std::string> tagged{"id-0"}, red{"red"}, none;
  for (int i = 0; i < 4; ++i) {
    EXPECT_OK((*vault)->put(random_conversation(rng, "id-" + std::to_string(i)), {}));
    if (packs && i == 1) {
      EXPECT_OK((*vault)->seal());
    }
  }
  EXPECT_OK((*vault)->put(conversation("long", {shared_text(3), shared_text(4)}), {}));
  EXPECT_OK((*vault)->put(conversation("other", {shared_text(3)}), {.tenant = "b"}));
  EXPECT_OK((*vault)->tag(tagged, red, none));
  EXPECT_OK((*vault)->forget(std::vector<std::string>{"id-3"}));
  if (packs) {
    EXPECT_OK((*vault)->seal());
    // Refers to a segment of the packs before.
    EXPECT_OK((*vault)->put(conversation("last", {shared_text(4), "x"}), {}));
    EXPECT_OK((*vault)->seal());
    EXPECT_GT(count_externals(s.place.disk), 0u);
  }
  fill_in(s, **vault);
  return s;
}

// How the tokens of the packs are coded.
std::set<PackCodec> codecs_of(const Sample& sample) {
  std::set<PackCodec> codecs;
  const auto blobs = sample.place.disk.list("packs");
  EXPECT_OK(blobs);
  Cache cache(0);
  for (const BlobInfo& blob : *blobs) {
    const auto pack = PackFile::open(sample.place.disk, cache, number_of(blob.name));
    EXPECT_OK(pack);
    codecs.insert((*pack)->footer().streams[kTokenStream].codec);
  }
  return codecs;
}

std::size_t every(std::size_t step) { return std::getenv("TOKVAULT_LONG") != nullptr ? 1 : step; }

// What became of one question.
enum class Outcome { right, error, wrong };

struct Probe {
  Outcome outcome = Outcome::right;
  std::size_t served = 0;  // conversations that can be read
  bool checked = false;    // check() found something, or could not be made
  std::string message;
};

std::size_t count_of(std::string_view what, std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += what.size()) ++count;
  return count;
}

// Whether a message names a file of the vault, or a conversation, twice.
bool repeats_itself(std::string_view message) {
  for (const char* kind : {"log/", "packs/", "artifacts/"}) {
    for (std::size_t at = 0; (at = message.find(kind, at)) != message.npos; ++at) {
      if (count_of(message.substr(at, message.find_first_of(":, ", at) - at), message) > 1) {
        return true;
      }
    }
  }
  return count_of("conversation ", message) > 1;
}

// What is wrong with the messages of findings, which stand beside the names of their files.
std::string bad_finding(const std::vector<Finding>& findings) {
  for (const Finding& f : findings) {
    if (repeats_itself(f.message) || count_of(f.file, f.message) > 0) {
      return f.file + ": " + f.message;
    }
  }
  return {};
}

// Asks a damaged vault everything.
Probe probe(const Result<std::unique_ptr<Vault>>& opened, const Sample& sample) {
  const Contents& truth = sample.contents;
  Probe p;
  auto wrong = [&](const std::string& what) {
    p.outcome = Outcome::wrong;
    p.message = what;
  };
  auto error = [&](const auto& result) {
    p.outcome = std::max(p.outcome, Outcome::error);
    if (repeats_itself(why(result))) wrong("it says " + why(result));
  };
  if (!opened) {
    error(opened);
    p.checked = true;
    return p;
  }
  const Vault& vault = **opened;
  for (const auto& [key, c] : truth) {
    const auto got = vault.get(key.second, key.first);
    if (!got) {
      if (got.code() == Errc::not_found) wrong(key.second + " is said not to be there");
      error(got);
    } else if (!(*got == c)) {
      wrong("another content of " + key.second);
    } else {
      ++p.served;
    }
    const auto summary = vault.summary(key.second, key.first);
    if (!summary) {
      error(summary);
    } else {
      const Summary& s = sample.summaries.at(key);
      if (summary->time_ms != s.time_ms || summary->model != s.model ||
          summary->application != s.application || summary->messages != s.messages ||
          summary->tokens != s.tokens || summary->text_bytes != s.text_bytes) {
        wrong("another summary of " + key.second);
      }
      if (summary->tags != s.tags) wrong("another tag");
    }
  }
  if (vault.get("id-3")) wrong("what was forgotten is there");
  std::size_t count = 0;
  bool all = true;
  std::set<std::string> tenants{"default"};
  for (const auto& [key, c] : truth) tenants.insert(key.first);
  for (const std::string& tenant : tenants) {
    Filter filter;
    filter.tenant = tenant;
    const auto scanned = vault.scan(filter, [&](const Summary& s, Result<Conversation> c) {
      const auto it = truth.find({tenant, s.id});
      if (!c) {
        error(c);
      } else if (it == truth.end() || !(*c == it->second)) {
        wrong("scan gives another " + s.id);
      }
      ++count;
      return true;
    });
    if (!scanned) {
      error(scanned);
      all = false;
    }
    const auto page = vault.list(filter, 100);
    if (!page) error(page);
    UsageQuery query;
    query.filter = filter;
    const auto usage = vault.usage(query);
    if (!usage) {
      error(usage);
      continue;
    }
    std::uint64_t conversations = 0;
    for (const UsageRow& row : *usage) conversations += row.conversations;
    const auto there = std::count_if(truth.begin(), truth.end(),
                                     [&](const auto& e) { return e.first.first == tenant; });
    if (conversations != static_cast<std::uint64_t>(there)) wrong("another sum");
  }
  if (all && count != truth.size()) wrong("scan gives " + std::to_string(count));
  if (const auto stats = vault.stats(); !stats) error(stats);
  const auto report = vault.check({.read_data = true});
  p.checked = !report || !report->findings.empty();
  if (!report) {
    error(report);
  } else if (const std::string bad = bad_finding(report->findings); !bad.empty()) {
    wrong("check says " + bad);
  }
  if (const std::string bad = bad_finding(vault.damage()); !bad.empty()) wrong("damage: " + bad);
  return p;
}

// Cut and flipped at each `step`th byte.
void damage_all(const Sample& sample, std::size_t step = 1) {
  const auto blobs = [&] {
    std::vector<BlobInfo> all;
    for (const char* folder : {"log", "packs", "artifacts"}) {
      auto list = sample.place.disk.list(folder);
      EXPECT_OK(list);
      all.insert(all.end(), list->begin(), list->end());
    }
    return all;
  }();
  std::uint64_t tried = 0;
  std::uint64_t partly = 0;
  for (const BlobInfo& blob : blobs) {
    Buffer bytes;
    ASSERT_OK(sample.place.disk.get(blob.name, 0, blob.size_bytes, bytes));
    auto attempt = [&](Buffer damaged, const std::string& what) {
      MemoryPlace place = MemoryPlace::of(sample.place.disk.process_kill(), sample.place.catalog);
      place.disk.overwrite(blob.name, std::move(damaged));
      const Probe p = probe(place.open({.read_only = true, .cache_bytes = 8u << 20}), sample);
      ++tried;
      EXPECT_FALSE(p.outcome == Outcome::right && !p.checked)
          << blob.name << ", " << what << ": check finds nothing";
      if (p.outcome == Outcome::error && p.served > 0) ++partly;
      EXPECT_FALSE(p.outcome == Outcome::wrong) << blob.name << ", " << what << ": " << p.message;
      if (p.outcome == Outcome::error) {
        EXPECT_TRUE(p.checked) << blob.name << ", " << what << ": check finds nothing";
      }
    };
    for (std::size_t at = 0; at < bytes.size(); at += step) {
      attempt(bytes.substr(0, at), "cut at " + std::to_string(at));
      if (blob.name == sample.unused_in && at >= sample.unused_begin && at < sample.unused_end) {
        continue;
      }
      Buffer flipped = bytes;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << (at % 8)));
      attempt(std::move(flipped), "flipped at " + std::to_string(at));
      if (::testing::Test::HasFailure()) return;
    }
  }
  // Where a byte has flipped, what does not depend on it is there.
  EXPECT_GT(partly, tried / 8);
  std::cout << tried << " damaged files, " << partly << " with something to be read\n";
}

TEST(VaultDamage, EveryByteOfALog) { damage_all(make_sample(false)); }

// A log that begins with a dictionary: what it needs is damaged as it is.
TEST(VaultDamage, EveryByteOfADictionary) {
  Sample s;
  ASSERT_OK(s.place.create());
  auto vault = s.place.open({.level = Level::fast});
  ASSERT_OK(vault);
  for (std::uint64_t i = 0; i < 40; ++i) {
    ASSERT_OK((*vault)->put(conversation("id-" + std::to_string(i + 10), {shared_text(i % 8)}),
                            {.tenant = "b"}));
  }
  const auto d = (*vault)->dictionaries().train({.tenant = "b"}, {.size_bytes = 1000});
  ASSERT_OK(d);
  const auto bytes = (*vault)->dictionaries().get(d->id, "b");
  ASSERT_OK(bytes);
  MemoryPlace place;
  ASSERT_OK(place.create());
  vault = place.open({.level = Level::fast});
  ASSERT_OK(vault);
  ASSERT_OK((*vault)->dictionaries().add(*bytes, {.created_ms = 1}));
  ASSERT_OK((*vault)->dictionaries().activate(d->id));
  for (std::uint64_t i = 0; i < 3; ++i) {
    ASSERT_OK((*vault)->put(conversation("id-" + std::to_string(i + 10), {shared_text(i)}), {}));
  }
  EXPECT_EQ((*vault)->dictionaries().list()->at(0).files, 1u);
  Sample damaged;
  damaged.place = place;
  close(damaged, std::move(*vault), {});
  damage_all(damaged);
}

TEST(VaultDamage, EveryByteOfPacks) { damage_all(make_sample(true)); }

// A vault as init, import and compact make it, at a level.
Sample make_compacted(Level level) {
  Sample s;
  EXPECT_OK(s.place.create("o200k_base"));
  auto vault = s.place.open();
  EXPECT_OK(vault);
  Rng rng(6);
  for (int i = 0; i < 4; ++i) {
    EXPECT_OK((*vault)->put(random_conversation(rng, "id-" + std::to_string(i)), {}));
  }
  for (std::uint64_t i = 0; i < 6; ++i) {
    EXPECT_OK((*vault)->put(
        conversation("long" + std::to_string(i), {shared_text(i), shared_text(i + 1)}), {}));
  }
  EXPECT_OK((*vault)->tag(std::vector<std::string>{"id-0"}, std::vector<std::string>{"red"}, {}));
  EXPECT_OK((*vault)->forget(std::vector<std::string>{"id-3"}));
  close(s, std::move(*vault), level);
  return s;
}

TEST(VaultDamage, BytesOfPacksUnderTheTokenLz) {
  const Sample sample = make_compacted(Level::balanced);
  EXPECT_EQ(codecs_of(sample), std::set{PackCodec::token_lz});
  damage_all(sample, every(5));
}

TEST(VaultDamage, BytesOfPacksUnderATokenModel) {
  const Sample sample = make_compacted(Level::dense);
  EXPECT_EQ(codecs_of(sample), std::set{PackCodec::token_model});
  damage_all(sample, every(5));
}

// What `balanced` makes of digits: a model that learns little.
TEST(VaultDamage, BytesOfPacksOfDigits) {
  Sample s;
  ASSERT_OK(s.place.create("o200k_base"));
  auto vault = s.place.open();
  ASSERT_OK(vault);
  Rng rng(7);
  for (int i = 0; i < 600; ++i) {
    std::string text;
    for (int k = 0; k < 64; ++k) text += "0123456789abcdef"[below(rng, 16)];
    ASSERT_OK((*vault)->put(conversation("c" + std::to_string(i), {text}), {}));
  }
  ASSERT_OK((*vault)->compact(Level::balanced));
  ASSERT_OK((*vault)->put(conversation("in the log", {"no digits"}), {}));
  close(s, std::move(*vault), {});
  EXPECT_EQ(codecs_of(s), std::set{PackCodec::token_model});
  damage_all(s, 5 * every(20));
}

// Packs have bases only where there is more than a dictionary holds: this one was made by hand.
TEST(VaultDamage, BytesOfAPackWithBases) {
  const char* const source = std::getenv("TOKVAULT_SOURCE");
  ASSERT_NE(source, nullptr) << "run by ctest, or set TOKVAULT_SOURCE";
  const std::string golden = std::string(source) + "/tests/golden/";
  Sample s;
  for (const char* name : {"packs/00000003.pack", "packs/00000006.pack", "packs/00000007.pack",
                           "log/00000005.log", "artifacts/00000004.artifact"}) {
    const bool has_bases = std::string_view(name) == "packs/00000003.pack";
    const std::string file =
        golden + (has_bases ? "bad/v2_bases" : std::string("v2/shared/") + name);
    ASSERT_OK(s.place.disk.put(name, slurp(file)));
    ASSERT_OK(s.place.disk.sync(name));
  }
  ASSERT_OK(Vault::repair(s.place.disk, s.place.catalog));
  auto vault = s.place.open();
  ASSERT_OK(vault);
  close(s, std::move(*vault), {});
  EXPECT_TRUE(codecs_of(s).contains(PackCodec::zstd_bases));
  // What its tokens were before lies behind its header.
  Cache cache(0);
  const auto pack = PackFile::open(s.place.disk, cache, 3);
  ASSERT_OK(pack);
  s.unused_in = "packs/00000003.pack";
  s.unused_begin = kPackHeaderBytes;
  s.unused_end = (*pack)->footer().token_map.offset;
  damage_all(s, every(5));
}

// A vocabulary that does not ship with tokvault, and a set of substrings that packs copy from.
TEST(VaultDamage, BytesOfArtifacts) {
  Sample s;
  CreateOptions options;
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (unsigned byte = 0; byte < 256; ++byte) {
    options.rank_file += kDigits[byte >> 2];
    options.rank_file += kDigits[(byte & 3) << 4];
    options.rank_file += "== " + std::to_string(byte) + "\n";
  }
  options.rank_file += "dGhl 256\n";  // "the"
  options.pattern = "cl100k_base";
  auto tokenizer = make_tokenizer("own", options.pattern, options.rank_file);
  ASSERT_OK(tokenizer);
  options.tokenizer = *tokenizer;
  ASSERT_OK(Vault::create(s.place.disk, s.place.catalog, options));
  auto vault = s.place.open();
  ASSERT_OK(vault);
  for (std::uint64_t i = 0; i < 40; ++i) {
    ASSERT_OK((*vault)->put(
        conversation("c" + std::to_string(i), {std::to_string(i) + shared_text(i % 2)}), {}));
  }
  ASSERT_OK((*vault)->substrings().train({}));
  ASSERT_OK((*vault)->compact(Level::balanced));
  ASSERT_OK((*vault)->put(conversation("in the log", {"without a substring"}), {}));
  close(s, std::move(*vault), {});
  const auto artifacts = s.place.disk.list("artifacts");
  ASSERT_OK(artifacts);
  EXPECT_EQ(artifacts->size(), 2u);
  damage_all(s, every(5));
}

// The catalog is no truth: damaged, it is an error, or harmless, and can be rebuilt.
TEST(VaultDamage, EveryByteOfTheCatalog) {
  TempDir dir;
  const std::string path = dir / "v";
  ASSERT_OK(create_vault(path, {.tokenizer = "bytes"}));
  Sample truth;
  {
    auto vault = open_vault(path);
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(conversation("long", {shared_text(3)}), {}));
    ASSERT_OK((*vault)->put(conversation("id-0", {"short"}), {}));
    ASSERT_OK((*vault)->put(conversation("id-3", {"forgotten"}), {}));
    ASSERT_OK((*vault)->tag(std::vector<std::string>{"id-0"}, std::vector<std::string>{"red"},
                            std::vector<std::string>{}));
    ASSERT_OK((*vault)->forget(std::vector<std::string>{"id-3"}));
    ASSERT_OK((*vault)->seal());
    ASSERT_OK((*vault)->put(conversation("other", {shared_text(3)}), {.tenant = "b"}));
    fill_in(truth, **vault);
  }
  const std::string file = path + "/catalog.db";
  const std::string bytes = slurp(file);
  std::uint64_t tried = 0;
  auto attempt = [&](const std::string& damaged, const std::string& what) {
    spill(file, damaged);
    const Probe p = probe(open_vault(path, {.read_only = true, .cache_bytes = 8u << 20}), truth);
    EXPECT_FALSE(p.outcome == Outcome::wrong) << what << ": " << p.message;
    ++tried;
  };
  Rng rng(9);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << below(rng, 8)));
    attempt(flipped, "flipped at " + std::to_string(at));
    if (HasFailure()) return;
  }
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    attempt(bytes.substr(0, size), "cut at " + std::to_string(size));
    if (HasFailure()) return;
  }
  std::cout << tried << " damaged catalogs of " << bytes.size() << " bytes\n";
  spill(file, "garbage");
  ASSERT_OK(repair_vault(path));
  EXPECT_EQ(probe(open_vault(path), truth).outcome, Outcome::right);
}

// Repair comes to an end wherever the damage lies, with the catalog and without it, and what it
// leaves is right. What was forgotten comes back only where nobody can know, and then it says so.
TEST(VaultDamage, RepairOfEveryPart) {
  const Sample sample = make_sample(true);
  bool any_records_lost = false;
  for (const char* folder : {"log", "packs"}) {
    const auto blobs = sample.place.disk.list(folder);
    ASSERT_OK(blobs);
    for (const BlobInfo& blob : *blobs) {
      Buffer bytes;
      ASSERT_OK(sample.place.disk.get(blob.name, 0, blob.size_bytes, bytes));
      for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const bool has_catalog = at % 2 == 0;
        SCOPED_TRACE(blob.name + " at " + std::to_string(at) + (has_catalog ? "" : ", no catalog"));
        Buffer damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] ^ 1);
        MemoryPlace place = MemoryPlace::of(sample.place.disk.process_kill(), sample.place.catalog);
        if (!has_catalog) place.catalog = SharedCatalog();
        place.disk.overwrite(blob.name, std::move(damaged));
        Cache cache(0);
        const auto pack = PackFile::open(place.disk, cache, number_of(blob.name));
        const bool records_lost = pack && !(*pack)->records();
        any_records_lost = any_records_lost || records_lost;
        const auto report = Vault::repair(place.disk, place.catalog);
        ASSERT_OK(report);
        ASSERT_FALSE(report->findings.empty());
        ASSERT_EQ(bad_finding(report->findings), "");
        if (records_lost) {
          ASSERT_FALSE(place.disk.size(blob.name));
          const auto again = place.open();
          ASSERT_OK(again);
          EXPECT_EQ((*again)->check({.read_data = true})->findings.size(), 0u);
          ASSERT_OK((*again)->compact(Level::fast));
        }
        const auto vault = place.open({.read_only = true});
        ASSERT_OK(vault);
        const bool nobody_knows = std::any_of(
            report->findings.begin(), report->findings.end(),
            [](const Finding& f) { return f.message.find("unknown") != std::string::npos; });
        if (has_catalog && blob.name.starts_with("packs/")) {
          ASSERT_FALSE(nobody_knows);  // the catalog has what a pack deleted
        }
        if (!nobody_knows) {
          ASSERT_FALSE((*vault)->get("id-3"));
        }
        for (const auto& [key, c] : sample.contents) {
          const auto got = (*vault)->get(key.second, key.first);
          if (got) {
            ASSERT_EQ(*got, c);
          } else if (got.code() != Errc::corrupt && has_catalog) {
            ASSERT_GT(report->lost_conversations, 0u) << why(got);
          }
        }
      }
    }
  }
  EXPECT_TRUE(any_records_lost);
}

// Runs something before it lists the packs.
class ListingBackend final : public ForwardingBackend {
 public:
  ListingBackend(const FaultBackend& to, std::function<void()> first)
      : ForwardingBackend(to), first_(std::move(first)) {}
  Result<std::vector<BlobInfo>> list(std::string_view folder) const override {
    if (folder == "packs") first_();
    return ForwardingBackend::list(folder);
  }

 private:
  const std::function<void()> first_;
};

// What a writer moves while it is looked for is no damage, however often it does so; damage is.
TEST(VaultDamage, CheckBesideAWriterThatRewritesAllTheTime) {
  for (const bool is_damaged : {false, true}) {
    MemoryPlace place;
    ASSERT_OK(place.create());
    auto writer = place.open();
    ASSERT_OK(writer);
    int round = 0;
    auto rewrite = [&] {
      const std::string id = std::to_string(round++);
      ASSERT_OK((*writer)->put(conversation(id, {shared_text(5)}), {}));
      ASSERT_OK((*writer)->seal());
      ASSERT_OK((*writer)->compact(Level::fast));
    };
    rewrite();
    auto reader = Vault::open(std::make_unique<ListingBackend>(place.disk, rewrite),
                              std::make_unique<SharedCatalog>(place.catalog), {.read_only = true});
    ASSERT_OK(reader);
    if (is_damaged) place.disk.overwrite("packs/00000099.pack", "no pack");
    const auto report = (*reader)->check({});
    ASSERT_OK(report);
    EXPECT_GE(round, 3);
    ASSERT_EQ(report->findings.size(), is_damaged ? 1u : 0u);
    for (const Finding& f : report->findings) EXPECT_EQ(f.file, "packs/00000099.pack");
    EXPECT_EQ(report->lost_conversations, 0u);
  }
}

// A file under another's name is another file, whatever its checksums say.
TEST(VaultDamage, FilesThatChangedPlaces) {
  const Sample sample = make_sample(true);
  const auto packs = sample.place.disk.list("packs");
  ASSERT_OK(packs);
  ASSERT_GE(packs->size(), 2u);
  Buffer first;
  ASSERT_OK(sample.place.disk.get((*packs)[0].name, 0, (*packs)[0].size_bytes, first));
  MemoryPlace place = MemoryPlace::of(sample.place.disk.process_kill(), sample.place.catalog);
  place.disk.overwrite((*packs)[1].name, first);
  const Probe p = probe(place.open({.read_only = true}), sample);
  EXPECT_EQ(p.outcome, Outcome::error);
  EXPECT_TRUE(p.checked);
}

}  // namespace
}  // namespace tokvault
