// Segments by themselves: who holds them, what conversations share with them, and what is left of
// them after every kind of rewrite.
#include "tests/vault/harness.h"

namespace tokvault {
namespace {

namespace fs = std::filesystem;
using Outcome = SegmentPut::Outcome;
using Which = SegmentFilter::Which;

Segment tokens_of(const std::string& text) {
  Segment s;
  for (char c : text) s.tokens.push_back(static_cast<unsigned char>(c));
  return s;
}

// Of every kind and size, around the size from which segments are shared.
std::vector<Segment> every_shape() {
  std::vector<Segment> out;
  for (const std::size_t size : {0u, 1u, 95u, 96u, 97u, 5000u}) {
    std::vector<Token> tokens(size, 7);
    for (std::size_t i = 0; i < size; ++i) tokens[i] = static_cast<Token>(i * 2654435761u);
    out.push_back(Segment::of_tokens(tokens));
    out.push_back(Segment::of_bytes(Buffer(size, '\x80')));
  }
  out.push_back(tokens_of(shared_text(1)));
  out.push_back(Segment::of_bytes("short"));
  return out;
}

std::vector<SegmentId> ids_of(const std::vector<Segment>& segments) {
  std::vector<SegmentId> ids;
  for (const Segment& s : segments) ids.push_back(s.id());
  return ids;
}

void expect_there(const Vault& vault, const std::vector<Segment>& segments,
                  const std::string& tenant = "") {
  const auto got = vault.get_segments(ids_of(segments), tenant);
  ASSERT_OK(got);
  const auto has = vault.has_segments(ids_of(segments), tenant);
  ASSERT_OK(has);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const std::string id = segments[i].id().to_string();
    EXPECT_TRUE((*has)[i]) << id;
    ASSERT_OK((*got)[i]) << id;
    EXPECT_TRUE(*(*got)[i] == segments[i]) << id;
  }
}

void expect_absent(const Vault& vault, const std::vector<Segment>& segments,
                   const std::string& tenant = "") {
  const auto got = vault.get_segments(ids_of(segments), tenant);
  ASSERT_OK(got);
  const auto has = vault.has_segments(ids_of(segments), tenant);
  ASSERT_OK(has);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    EXPECT_FALSE((*has)[i]);
    EXPECT_EQ((*got)[i].code(), Errc::not_found);
    EXPECT_EQ(vault.segment_info(segments[i].id(), tenant).code(), Errc::not_found);
  }
}

std::vector<SegmentInfo> list_all(const Vault& vault, const SegmentFilter& filter,
                                  std::uint64_t limit) {
  std::vector<SegmentInfo> out;
  std::string cursor;
  do {
    const auto page = vault.list_segments(filter, limit, cursor);
    EXPECT_OK(page);
    if (!page) break;
    EXPECT_LE(page->segments.size(), limit);
    out.insert(out.end(), page->segments.begin(), page->segments.end());
    cursor = page->cursor;
  } while (!cursor.empty());
  return out;
}

void expect_sound(const Vault& vault, std::uint64_t holds) {
  const auto report = vault.check({.read_data = true});
  ASSERT_OK(report);
  EXPECT_EQ(report->holds, holds);
  for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
}

class VaultSegments : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(place_.create());
    open();
  }
  void open() {
    vault_.reset();
    auto vault = place_.open();
    ASSERT_OK(vault);
    vault_ = std::move(*vault);
  }
  std::vector<Outcome> put(const std::vector<Segment>& segments, const HoldOptions& options = {}) {
    const auto done = vault_->put_segments(segments, options);
    EXPECT_OK(done);
    std::vector<Outcome> out;
    if (!done) return out;
    EXPECT_EQ(done->size(), segments.size());
    for (std::size_t i = 0; i < done->size(); ++i) {
      EXPECT_EQ((*done)[i].id, segments[i].id());
      out.push_back((*done)[i].outcome);
    }
    return out;
  }
  std::uint64_t release(const std::vector<Segment>& segments, const HoldOptions& options = {}) {
    const auto done = vault_->release_segments(ids_of(segments), options);
    EXPECT_OK(done);
    return done ? *done : 0;
  }
  std::uint64_t stored() {
    const auto stats = vault_->stats();
    EXPECT_OK(stats);
    return stats ? stats->segments : 0;
  }
  // Every rewrite there is, and the catalog from the files alone.
  void rewrite_all_ways(const std::function<void(const std::string&)>& look) {
    ASSERT_OK(vault_->seal());
    look("sealed");
    ASSERT_OK(vault_->gc(false));
    look("gc");
    ASSERT_OK(vault_->compact(Level::fast));
    look("compacted");
    open();
    look("opened again");
    vault_.reset();
    ASSERT_OK(place_.catalog.reset({}));
    ASSERT_OK(Vault::repair(place_.disk, place_.catalog));
    open();
    look("repaired");
  }

  MemoryPlace place_;
  std::unique_ptr<Vault> vault_;
};

// A token model learns what is large in one piece, and then nothing is in blocks.
TEST_F(VaultSegments, OneThatAModelLearnsWholeIsFound) {
  Rng rng(5);
  std::vector<std::string> words(2000);
  for (std::string& word : words) {
    for (int i = 0; i < 6; ++i) word += static_cast<char>('a' + below(rng, 26));
  }
  Buffer text;
  while (text.size() <= kFingerprintlessTextBytes) text += words[below(rng, words.size())] + ' ';
  const std::vector<Segment> segments{Segment::of_bytes(text)};
  ASSERT_OK(vault_->put_segments(segments));
  ASSERT_OK(vault_->compact(Level::dense));
  expect_there(*vault_, segments);
  const auto report = vault_->check({.read_data = true});
  ASSERT_OK(report);
  for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
}

TEST_F(VaultSegments, IdsAreSha256AndReadBack) {
  // SHA-256 of "abc", and of the tokens 1, 2 as eight bytes (FIPS 180-2 and sha256sum).
  EXPECT_EQ(Segment::of_bytes("abc").id().to_string(),
            "bytes:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const std::vector<Token> tokens{1, 2};
  const SegmentId id = Segment::of_tokens(tokens).id();
  EXPECT_EQ(id.sha256, Segment::of_bytes(std::string("\1\0\0\0\2\0\0\0", 8)).id().sha256);
  const auto parsed = parse_segment_id(id.to_string());
  ASSERT_OK(parsed);
  EXPECT_EQ(*parsed, id);
  for (const std::string& text :
       {std::string(), id.to_string().substr(7), id.to_string() + "0", id.to_string().substr(0, 70),
        "text:" + id.to_string().substr(7), "tokens:" + std::string(64, 'g'),
        "bytes:" + std::string(64, 'A')}) {
    EXPECT_EQ(parse_segment_id(text).code(), Errc::invalid) << text;
  }
}

TEST_F(VaultSegments, PuttingIsTheSameHoweverOftenItIsTried) {
  const auto segments = every_shape();
  EXPECT_EQ(put(segments), std::vector(segments.size(), Outcome::stored));
  expect_there(*vault_, segments);
  const std::uint64_t once = stored();
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(put(segments), std::vector(segments.size(), Outcome::unchanged));
    if (round == 1) open();
  }
  EXPECT_EQ(put(segments, {.holder = "b"}), std::vector(segments.size(), Outcome::held));
  EXPECT_EQ(put(segments, {.holder = "b"}), std::vector(segments.size(), Outcome::unchanged));
  ASSERT_OK(vault_->seal());
  EXPECT_EQ(put(segments, {.holder = "c"}), std::vector(segments.size(), Outcome::held));
  EXPECT_EQ(stored(), once) << "a copy was written again";
  // Twice in one call.
  const Segment twice = tokens_of(shared_text(9));
  EXPECT_EQ(put({twice, twice}), (std::vector{Outcome::stored, Outcome::unchanged}));
  expect_sound(*vault_, segments.size() * 3 + 1);
  const auto stats = vault_->stats();
  ASSERT_OK(stats);
  EXPECT_EQ(stats->holds, segments.size() * 3 + 1);
  EXPECT_EQ(stats->held_segments, segments.size() + 1);
}

TEST_F(VaultSegments, TheyStayThroughEveryRewriteAndWithoutACatalog) {
  const auto segments = every_shape();
  put(segments);
  put(segments, {.tenant = "acme", .holder = "eval"});
  rewrite_all_ways([&](const std::string& where) {
    SCOPED_TRACE(where);
    expect_there(*vault_, segments);
    expect_there(*vault_, segments, "acme");
    expect_absent(*vault_, {tokens_of("never put")});
    expect_sound(*vault_, segments.size() * 2);
  });
}

TEST_F(VaultSegments, TheLastHolderDecides) {
  const auto segments = every_shape();
  const std::uint64_t n = segments.size();
  put(segments, {.holder = "a"});
  const auto held = vault_->hold_segments(ids_of(segments), {.holder = "b"});
  ASSERT_OK(held);
  EXPECT_EQ(*held, n);
  const auto again = vault_->hold_segments(ids_of(segments), {.holder = "b"});
  ASSERT_OK(again);
  EXPECT_EQ(*again, 0u);
  const auto info = vault_->segment_info(segments[6].id());
  ASSERT_OK(info);
  EXPECT_EQ(info->holders, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(info->size, segments[6].size());
  EXPECT_EQ(info->conversations, 0u);

  EXPECT_EQ(release(segments, {.holder = "a"}), n);
  EXPECT_EQ(release(segments, {.holder = "a"}), 0u) << "a retry gave up more";
  EXPECT_EQ(release(segments, {.holder = "nobody"}), 0u);
  ASSERT_OK(vault_->gc(false));
  expect_there(*vault_, segments);
  EXPECT_EQ(release(segments, {.holder = "b"}), n);
  expect_absent(*vault_, segments);  // at once
  EXPECT_EQ(vault_->hold_segments(ids_of({segments[6]}), {}).code(), Errc::not_found);
  // Until gc the bytes are there, and one that is wanted after all is not written again.
  EXPECT_EQ(put({segments[6]}), std::vector{Outcome::held});
  EXPECT_EQ(release({segments[6]}), 1u);
  ASSERT_OK(vault_->gc(false));
  EXPECT_EQ(stored(), 0u);
  EXPECT_EQ(put({segments[6]}), std::vector{Outcome::stored});
  expect_there(*vault_, {segments[6]});
}

TEST_F(VaultSegments, HoldingIsAllOrNothing) {
  const auto segments = every_shape();
  put(segments, {.holder = "a"});
  auto ids = ids_of(segments);
  ids.push_back(tokens_of("never put").id());
  EXPECT_EQ(vault_->hold_segments(ids, {.holder = "b"}).code(), Errc::not_found);
  const auto info = vault_->segment_info(ids[0]);
  ASSERT_OK(info);
  EXPECT_EQ(info->holders, std::vector<std::string>{"a"});
}

// Whoever came first, the text is stored once, and stays as long as one of the two needs it.
TEST_F(VaultSegments, ConversationsShareThem) {
  for (const bool conversation_first : {true, false}) {
    for (const bool sealed : {false, true}) {
      SCOPED_TRACE(std::to_string(conversation_first) + std::to_string(sealed));
      const std::string text = shared_text(20 + conversation_first * 2u + sealed);
      const Segment segment = tokens_of(text);
      const Conversation c = conversation("c", {text, "and more"});
      if (conversation_first) {
        ASSERT_OK(vault_->put(c, {}));
      } else {
        put({segment});
      }
      if (sealed) {
        ASSERT_OK(vault_->seal());
      }
      const std::uint64_t before = stored();
      if (conversation_first) {
        expect_there(*vault_, {segment});
        const auto held = vault_->hold_segments(ids_of({segment}), {.holder = "me"});
        ASSERT_OK(held);
        EXPECT_EQ(*held, 1u);
        EXPECT_EQ(stored(), before);
        const auto info = vault_->segment_info(segment.id());
        ASSERT_OK(info);
        EXPECT_EQ(info->holders, std::vector<std::string>{"me"});
        EXPECT_EQ(info->conversations, 1u);
        ASSERT_OK(vault_->forget(std::vector<std::string>{"c"}));
        for (int round = 0; round < 2; ++round) {
          if (round == 0) {
            ASSERT_OK(vault_->gc(false));
          } else {
            ASSERT_OK(vault_->compact(Level::fast));
          }
          EXPECT_EQ(vault_->get("c").code(), Errc::not_found);
          expect_there(*vault_, {segment});
          EXPECT_EQ(vault_->segment_info(segment.id())->conversations, 0u);
        }
        EXPECT_EQ(release({segment}, {.holder = "me"}), 1u);
      } else {
        ASSERT_OK(vault_->put(c, {}));
        EXPECT_EQ(stored(), before + 1) << "\"and more\", but not the text";
        EXPECT_EQ(release({segment}), 1u);
        for (int round = 0; round < 2; ++round) {
          if (round == 0) {
            ASSERT_OK(vault_->gc(false));
          } else {
            ASSERT_OK(vault_->compact(Level::fast));
          }
          expect_there(*vault_, {segment});
          const auto got = vault_->get("c");
          ASSERT_OK(got);
          EXPECT_TRUE(*got == c);
        }
        ASSERT_OK(vault_->forget(std::vector<std::string>{"c"}));
      }
      expect_absent(*vault_, {segment});
      ASSERT_OK(vault_->gc(false));
      EXPECT_EQ(stored(), 0u);
      expect_sound(*vault_, 0);
    }
  }
}

// In files of their own: the hold in one, the conversation that came later in the next.
TEST_F(VaultSegments, SealingKeepsWhatALaterFileRefersTo) {
  const std::string text = shared_text(5);
  put({tokens_of(text)});
  const Conversation c = conversation("c", {text});
  ASSERT_OK(vault_->seal());
  ASSERT_OK(vault_->put(c, {}));
  EXPECT_EQ(release({tokens_of(text)}), 1u);
  rewrite_all_ways([&](const std::string& where) {
    SCOPED_TRACE(where);
    const auto got = vault_->get("c");
    ASSERT_OK(got);
    EXPECT_TRUE(*got == c);
    expect_there(*vault_, {tokens_of(text)});
    expect_sound(*vault_, 0);
  });
}

// A short text is there by its hold alone.
// Packs of segments alone end where those of conversations do, and stay as they are then.
TEST_F(VaultSegments, PacksOfThemKeepToTheCap) {
  Rng rng(7);
  std::vector<Segment> segments;
  for (int i = 0; i < 60; ++i) {
    std::string bytes(20'000, '\0');
    for (char& c : bytes) c = static_cast<char>(below(rng, 64));
    segments.push_back(i % 2 == 0 ? Segment::of_bytes(bytes) : tokens_of(bytes));
  }
  put(segments);
  for (const bool beside_conversations : {false, true}) {
    if (beside_conversations) {
      for (int i = 0; i < 10; ++i) {
        const std::string n = std::to_string(i);
        ASSERT_OK(vault_->put(conversation("c" + n, {random_text(rng, 1000)}), {}));
      }
    }
    CompactOptions options;
    options.level = Level::fast;
    options.pack_bytes_max = 64'000;
    ASSERT_OK(vault_->compact(options));
    const auto files = vault_->files();
    ASSERT_OK(files);
    std::uint64_t bytes = 0;
    std::uint64_t packs = 0;
    for (const FileInfo& f : *files) {
      if (f.kind != FileInfo::Kind::pack) continue;
      EXPECT_LE(f.bytes, options.pack_bytes_max) << f.name;
      bytes += f.bytes;
      ++packs;
    }
    EXPECT_LE(packs, bytes / (options.pack_bytes_max / 2)) << "they are half full";
    const auto again = vault_->compact(options);
    ASSERT_OK(again);
    EXPECT_EQ(again->files, 0u);
    options.retrain = true;
    ASSERT_OK(vault_->compact(options));
    expect_there(*vault_, segments);
    expect_sound(*vault_, segments.size());
  }
}

TEST_F(VaultSegments, PacksOfThemHoldNoMoreTextThanOthers) {
  constexpr std::uint64_t kPackTextBytesMax = 64u << 20;
  Rng rng(8);
  std::vector<Segment> segments;
  for (int i = 0; i < 36; ++i) {
    std::string bytes(2u << 20, '\0');
    for (std::size_t at = 0; at < bytes.size(); at += 64) bytes[at] = static_cast<char>(rng());
    segments.push_back(Segment::of_bytes(bytes));
    put({segments.back()});
  }
  ASSERT_OK(vault_->compact(Level::fast));
  Cache cache(1u << 20);
  const auto packs = place_.disk.list("packs");
  ASSERT_OK(packs);
  EXPECT_EQ(packs->size(), 2u);
  for (const BlobInfo& blob : *packs) {
    const auto pack = PackFile::open(place_.disk, cache, number_of(blob.name));
    ASSERT_OK(pack);
    EXPECT_LE((*pack)->footer().streams[kByteStream].text_bytes, kPackTextBytesMax);
  }
  const auto again = vault_->compact(Level::fast);
  ASSERT_OK(again);
  EXPECT_EQ(again->files, 0u);
  expect_sound(*vault_, segments.size());
}

TEST_F(VaultSegments, ShortOnesAreNotShared) {
  ASSERT_OK(vault_->put(conversation("c", {"hello"}), {}));
  expect_absent(*vault_, {tokens_of("hello")});
  put({tokens_of("hello")});
  expect_there(*vault_, {tokens_of("hello")});
  ASSERT_OK(vault_->forget(std::vector<std::string>{"c"}));
  ASSERT_OK(vault_->gc(false));
  expect_there(*vault_, {tokens_of("hello")});
  release({tokens_of("hello")});
  expect_absent(*vault_, {tokens_of("hello")});
}

TEST_F(VaultSegments, TenantsAreApart) {
  const Segment segment = tokens_of(shared_text(3));
  put({segment}, {.tenant = "acme"});
  expect_absent(*vault_, {segment});
  expect_absent(*vault_, {segment}, "nobody");
  EXPECT_EQ(release({segment}), 0u);
  EXPECT_EQ(release({segment}, {.tenant = "nobody"}), 0u);
  EXPECT_EQ(put({segment}), std::vector{Outcome::stored}) << "shared across tenants";
  EXPECT_EQ(release({segment}), 1u);
  ASSERT_OK(vault_->gc(false));
  expect_there(*vault_, {segment}, "acme");
}

TEST_F(VaultSegments, ListsArePagedAndFiltered) {
  std::vector<Segment> segments = every_shape();
  put(segments, {.holder = "a"});
  std::vector<Segment> some(segments.begin() + 3, segments.begin() + 8);
  put(some, {.holder = "b"});
  auto sorted = [](std::vector<SegmentId> ids) {
    std::sort(ids.begin(), ids.end());
    return ids;
  };
  for (const std::uint64_t limit : {1u, 2u, 5u, 100u}) {
    std::vector<SegmentId> ids, of_b;
    for (const SegmentInfo& i : list_all(*vault_, {}, limit)) ids.push_back(i.id);
    EXPECT_EQ(ids, sorted(ids_of(segments)));
    for (const SegmentInfo& i : list_all(*vault_, {.holder = "b"}, limit)) {
      of_b.push_back(i.id);
      EXPECT_EQ(i.holders, (std::vector<std::string>{"a", "b"}));
    }
    EXPECT_EQ(of_b, sorted(ids_of(some)));
    EXPECT_TRUE(list_all(*vault_, {.holder = "c"}, limit).empty());
    EXPECT_TRUE(list_all(*vault_, {.tenant = "acme"}, limit).empty());
    EXPECT_TRUE(list_all(*vault_, {.which = Which::garbage}, limit).empty());
  }
  EXPECT_EQ(vault_->list_segments({}, 0).code(), Errc::invalid);
  EXPECT_EQ(vault_->list_segments({}, 1, "x").code(), Errc::invalid);
  EXPECT_EQ(vault_->list_segments({.which = Which::garbage}, 1, "x").code(), Errc::invalid);

  // Garbage: what was released, and what a forgotten conversation leaves.
  ASSERT_OK(vault_->seal());
  ASSERT_OK(vault_->put(conversation("c", {shared_text(40)}), {}));
  ASSERT_OK(vault_->forget(std::vector<std::string>{"c"}));
  release(segments, {.holder = "a"});
  for (const std::uint64_t limit : {1u, 3u, 100u}) {
    std::vector<SegmentId> garbage;
    for (const SegmentInfo& i : list_all(*vault_, {.which = Which::garbage}, limit)) {
      garbage.push_back(i.id);
    }
    for (const Segment& s : segments) {
      const bool is_held = std::find(some.begin(), some.end(), s) != some.end();
      EXPECT_EQ(std::count(garbage.begin(), garbage.end(), s.id()), is_held ? 0 : 1)
          << s.id().to_string();
    }
    EXPECT_EQ(std::count(garbage.begin(), garbage.end(), tokens_of(shared_text(40)).id()), 1);
  }
  ASSERT_OK(vault_->gc(false));
  EXPECT_TRUE(list_all(*vault_, {.which = Which::garbage}, 10).empty());
  expect_there(*vault_, some);
}

TEST_F(VaultSegments, AReplacedFrameHoldsTheSame) {
  std::string text;
  for (std::uint64_t i = 0; i < 40; ++i) text += shared_text(i % 7) + std::to_string(i);
  const std::vector<Segment> segments{tokens_of(text), Segment::of_bytes(text)};
  put(segments);
  ASSERT_OK(vault_->seal());
  ASSERT_OK(vault_->put(conversation("c", {shared_text(50)}), {}));
  ASSERT_OK(vault_->seal());
  auto packs = [&] {
    std::vector<std::string> names;
    const auto listed = place_.disk.list("packs");
    EXPECT_OK(listed);
    for (const BlobInfo& b : *listed) names.push_back(b.name);
    return names;
  };
  const auto before = packs();
  ASSERT_EQ(before.size(), 2u);
  const auto report = vault_->replace_segments(ids_of(segments), Level::dense);
  ASSERT_OK(report);
  EXPECT_EQ(report->files, 1u);
  const auto after = packs();
  ASSERT_EQ(after.size(), 2u);
  EXPECT_NE(after, before);
  EXPECT_EQ(after[0], before[1]) << "the other pack was rewritten, too";
  expect_there(*vault_, segments);
  EXPECT_OK(vault_->get("c"));
  EXPECT_EQ(vault_->replace_segments(ids_of({tokens_of("no")}), Level::fast).code(),
            Errc::not_found);
  EXPECT_EQ(packs(), after);
  // In a log, too.
  put({tokens_of(shared_text(51))});
  ASSERT_OK(vault_->replace_segments(ids_of({tokens_of(shared_text(51))}), Level::fast));
  expect_there(*vault_, {tokens_of(shared_text(51))});
  expect_sound(*vault_, 3);
}

TEST_F(VaultSegments, AReaderSeesThemAndCannotChangeThem) {
  auto reader = place_.open({.read_only = true});
  ASSERT_OK(reader);
  const auto segments = every_shape();
  put(segments);
  expect_there(**reader, segments);
  ASSERT_OK(vault_->seal());
  expect_there(**reader, segments);
  const auto ids = ids_of(segments);
  EXPECT_EQ((*reader)->put_segments(segments).code(), Errc::denied);
  EXPECT_EQ((*reader)->hold_segments(ids, {.holder = "x"}).code(), Errc::denied);
  EXPECT_EQ((*reader)->release_segments(ids).code(), Errc::denied);
  EXPECT_EQ((*reader)->replace_segments(ids, Level::fast).code(), Errc::denied);
  release(segments);
  expect_absent(**reader, segments);
}

TEST_F(VaultSegments, LimitsAreKept) {
  vault_.reset();
  auto vault = place_.open({.conversation_bytes_max = 1000});
  ASSERT_OK(vault);
  vault_ = std::move(*vault);
  const std::vector<Segment> segments{Segment::of_bytes(Buffer(1000, 'x')),
                                      Segment::of_tokens(std::vector<Token>(251))};
  EXPECT_EQ(vault_->put_segments(segments).code(), Errc::exhausted);
  expect_absent(*vault_, segments);
  EXPECT_EQ(put({segments[0]}), std::vector{Outcome::stored});
  const HoldOptions long_name{.tenant = {}, .holder = std::string(256, 'h')};
  EXPECT_EQ(vault_->put_segments(segments, long_name).code(), Errc::invalid);
  EXPECT_EQ(vault_->hold_segments({}, long_name).code(), Errc::invalid);
  EXPECT_EQ(vault_->release_segments({}, long_name).code(), Errc::invalid);
  EXPECT_EQ(put({segments[0]}, {.holder = std::string(255, 'h')}), std::vector{Outcome::held});
}

// --- what check and repair say -----------------------------------------------------------------

TEST_F(VaultSegments, CheckFindsAHoldWithoutItsSegment) {
  const auto segments = every_shape();
  put(segments);
  vault_.reset();
  auto state = place_.catalog.load();
  ASSERT_OK(state);
  // Holds of what was never stored, with another segment's text, of another size, and no hold.
  auto hold = [](const Segment& s, HoldRecord record) {
    return CatalogRecord{hold_key(0, static_cast<std::uint8_t>(s.kind), s.id().sha256, "x"),
                         encode(record), 1000};
  };
  state->records.push_back(hold(tokens_of(shared_text(60)), {shared_text(60).size(), {}}));
  state->records.push_back(hold(Segment::of_bytes("abc"), {3, "abd"}));
  state->records.push_back(hold(Segment::of_bytes("abcd"), {5, "abcd"}));
  state->records.push_back({hold_prefix(0) + "x", "", 1000});
  CatalogRecord unreadable = hold(Segment::of_bytes("abcde"), {});
  unreadable.value = "\x05";
  state->records.push_back(unreadable);
  ++state->generation;
  ASSERT_OK(place_.catalog.reset(*state));
  open();
  const auto report = vault_->check({});
  ASSERT_OK(report);
  EXPECT_EQ(report->holds, segments.size() + 5);
  EXPECT_EQ(report->findings.size(), 5u);
  for (const Finding& f : report->findings) EXPECT_EQ(f.code, Errc::corrupt) << f.message;
  expect_there(*vault_, segments);
  const auto lost = vault_->get_segments(ids_of({tokens_of(shared_text(60))}));
  ASSERT_OK(lost);
  EXPECT_EQ((*lost)[0].code(), Errc::corrupt);
}

// A file with nothing in it but what somebody holds is not taken for the leftover of a rewrite.
TEST_F(VaultSegments, AFileOfHoldsThatTheCatalogDoesNotKnowStays) {
  const auto segments = every_shape();
  put(segments);
  for (const bool sealed : {false, true}) {
    if (sealed) {
      ASSERT_OK(vault_->seal());
    }
    vault_.reset();
    auto state = place_.catalog.load();
    ASSERT_OK(state);
    std::erase_if(state->files, [&](const CatalogFile& f) {
      return f.kind == (sealed ? CatalogFile::Kind::pack : CatalogFile::Kind::log);
    });
    if (sealed) {
      std::erase_if(state->records, [](const CatalogRecord& r) { return r.key[0] == 'H'; });
    }
    ++state->generation;
    ASSERT_OK(place_.catalog.reset(*state));
    open();
    const auto report = vault_->check({});
    ASSERT_OK(report);
    ASSERT_EQ(report->findings.size(), 1u);
    EXPECT_EQ(report->findings[0].code, Errc::conflict);
    vault_.reset();
    ASSERT_OK(Vault::repair(place_.disk, place_.catalog));
    open();
    expect_there(*vault_, segments);
    expect_sound(*vault_, segments.size());
  }
}

// Of a damaged log what lies before the damage comes back, and holds with it.
TEST(VaultSegmentsOnDisk, RepairSalvagesThemFromADamagedLog) {
  TempDir dir;
  const std::string path = dir / "v";
  ASSERT_OK(create_vault(path, {.tokenizer = "bytes"}));
  const auto segments = every_shape();
  const Segment last = tokens_of(shared_text(70));
  {
    auto vault = open_vault(path);
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put_segments(segments));
    ASSERT_OK((*vault)->put_segments({&last, 1}));
    ASSERT_OK((*vault)->put(conversation("c", {"x"}), {}));
  }
  const std::string log = path + "/log/00000001.log";
  std::string bytes = slurp(log);
  bytes[bytes.size() - 400] ^= 1;  // in the batch of `last`, or the one after it
  spill(log, bytes);
  const auto repaired = repair_vault(path);
  ASSERT_OK(repaired);
  EXPECT_FALSE(repaired->findings.empty());
  auto vault = open_vault(path);
  ASSERT_OK(vault);
  expect_there(**vault, segments);
  const auto report = (*vault)->check({.read_data = true});
  ASSERT_OK(report);
  EXPECT_TRUE(report->findings.empty());
  EXPECT_GE(report->holds, segments.size());
}

}  // namespace
}  // namespace tokvault
