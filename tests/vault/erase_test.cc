// Deleted means gone. Random strings are put wherever a conversation has room for them; after
// forget and gc no file of the vault may hold one of them: not in its raw bytes, the catalog's free
// pages included, and not in anything that can be decoded from a log or a pack.
#include <chrono>
#include <functional>
#include <thread>

#include "tests/vault/harness.h"
#include "tokvault/interchange.h"
#include "vault/artifacts.h"

namespace tokvault {
namespace {

namespace fs = std::filesystem;

// 40 letters and digits that stand nowhere else.
std::string canary(Rng& rng) {
  std::string text;
  for (int i = 0; i < 40; ++i) {
    text += "abcdefghijklmnopqrstuvwxyz0123456789"[below(rng, 36)];
  }
  return text;
}

// Every byte string of a vault's files, raw and decoded, one by one.
class Scanner {
 public:
  Scanner(std::string path, std::shared_ptr<const Tokenizer> tokenizer)
      : path_(std::move(path)), tokenizer_(std::move(tokenizer)) {}

  // Where any run of 32 bytes of the canaries is found.
  std::vector<std::string> find(const std::vector<std::string>& canaries) {
    canaries_ = canaries;
    found_.clear();
    looked_at_ = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path_)) {
      if (entry.is_regular_file()) look(slurp(entry.path()), entry.path());
    }
    auto backend = make_directory_backend(path_, {.read_only = true});
    EXPECT_OK(backend);
    Cache cache(64u << 20);
    for (const char* folder : {"packs", "log"}) {
      auto blobs = (*backend)->list(folder);
      EXPECT_OK(blobs);
      for (const BlobInfo& blob : *blobs) {
        if (folder[0] == 'p') {
          auto pack = PackFile::open(**backend, cache, number_of(blob.name));
          EXPECT_OK(pack);
          look_at(**pack);
          auto records = (*pack)->records();
          EXPECT_OK(records);
          look_at(*records, blob.name);
          look((*pack)->footer().tenant.name, blob.name);
        } else {
          auto log = LogFile::open(**backend, number_of(blob.name), 0);
          EXPECT_OK(log);
          for (const auto& [tenant, part] : (*log)->parts()) look_at(*part);
          look_at((*log)->records(), blob.name);
          for (const auto& section : (*log)->sections()) {
            for (const auto& body : section.bodies) look(*body, blob.name + ", body");
            auto text = section.text->join();
            EXPECT_OK(text);
            look(*text, blob.name + ", text");
          }
        }
      }
    }
    auto artifacts = (*backend)->list("artifacts");
    EXPECT_OK(artifacts);
    for (const BlobInfo& blob : *artifacts) {
      auto artifact = load_artifact(**backend, number_of(blob.name));
      EXPECT_OK(artifact);
      look((*artifact)->content, blob.name);
      look_at_codes((*artifact)->content, blob.name);
    }
    auto catalog = make_sqlite_catalog(path_ + "/catalog.db", {.read_only = true});
    EXPECT_OK(catalog);
    const auto state = (*catalog)->load();
    EXPECT_OK(state);
    for (const CatalogRecord& r : state->records) {
      look(r.key, "catalog");
      look(r.value, "catalog");
    }
    return found_;
  }
  std::uint64_t looked_at() const { return looked_at_; }

 private:
  void look(const std::string& bytes, const std::string& where) {
    looked_at_ += bytes.size();
    for (const std::string& c : canaries_) {
      for (std::size_t at = 0; at + 32 <= c.size(); ++at) {
        if (bytes.find(c.substr(at, 32)) == std::string::npos) continue;
        found_.push_back(where + ": " + c);
        break;
      }
    }
  }

  // The text of tokens whose codes stand anywhere in some bytes.
  void look_at_codes(ByteView bytes, const std::string& where) {
    constexpr std::size_t kCodeBytesMax = 6;
    constexpr std::size_t kTokens = 40;
    // The token that begins at each byte, and how long its code is.
    std::vector<std::pair<std::size_t, Token>> codes(bytes.size());
    std::vector<Token> tokens;
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (std::size_t size = 1; size <= kCodeBytesMax && at + size <= bytes.size(); ++size) {
        tokens.clear();
        if (!TokenMap().decode(bytes.substr(at, size), tokens) || tokens.size() != 1) continue;
        codes[at] = {size, tokens[0]};
        break;
      }
    }
    std::set<std::string, std::less<>> windows;
    for (const std::string& c : canaries_) {
      for (std::size_t at = 0; at + 32 <= c.size(); ++at) windows.insert(c.substr(at, 32));
    }
    for (std::size_t begin = 0; begin < bytes.size(); ++begin) {
      std::string text;
      std::size_t at = begin;
      for (std::size_t i = 0; i < kTokens && at < bytes.size() && codes[at].first > 0; ++i) {
        text += tokenizer_->token_bytes(codes[at].second);
        at += codes[at].first;
      }
      for (std::size_t i = 0; i + 32 <= text.size(); ++i) {
        const auto found = windows.find(std::string_view(text).substr(i, 32));
        if (found == windows.end()) continue;
        found_.push_back(where + ", codes: " + *found);
        return;
      }
    }
  }

  void look_at(const std::vector<Record>& records, const std::string& where) {
    for (const Record& r : records) {
      look(r.key, where + ", record");
      if (r.value) look(*r.value, where + ", record");
    }
  }

  void look_at(const Source& source) {
    auto tables = source.tables();
    EXPECT_OK(tables);
    const Tables& t = **tables;
    for (const StringTable* strings : {&t.ids, &t.models, &t.applications, &t.forms}) {
      for (std::uint32_t i = 0; i < strings->size(); ++i) {
        look(std::string((*strings)[i]), source.name() + ", table");
      }
    }
    Scratch scratch;
    for (const Stream stream : {kTokenStream, kByteStream}) {
      for (std::uint32_t i = 0; i < t.segment_counts[stream]; ++i) {
        const auto code = source.code(stream, i, scratch);
        EXPECT_OK(code);
        std::string text(*code);
        if (stream == kTokenStream) {
          std::vector<Token> tokens;
          EXPECT_OK(source.decode_tokens(*code, tokens));
          text.clear();
          for (Token token : tokens) text += tokenizer_->token_bytes(token);
        }
        look(text, source.name() + ", segment " + std::to_string(i));
      }
    }
  }

  const std::string path_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::string> canaries_;
  std::vector<std::string> found_;
  std::uint64_t looked_at_ = 0;
};

class Erasing : public ::testing::Test {
 protected:
  void create(const char* name) {
    auto tokenizer = open_tokenizer(name);
    ASSERT_TRUE(tokenizer) << "scripts/fetch_tokenizers installs the rank files";
    tokenizer_ = *tokenizer;
    ASSERT_OK(create_vault(path_, {.tokenizer = name}));
    open();
  }
  void open(std::uint64_t merge_bytes_min = UINT64_MAX, Level level = Level::balanced) {
    vault_.reset();
    auto vault = open_vault(path_, {.level = level, .merge_bytes_min = merge_bytes_min});
    ASSERT_OK(vault);
    vault_ = std::move(*vault);
  }
  std::string fresh() {
    canaries_.push_back(canary(rng_));
    return canaries_.back();
  }
  // A conversation that is full of canaries.
  Conversation marked(const std::string& id) {
    std::string long_text;
    EXPECT_OK(append_json_string(shared_text(1) + fresh() + shared_text(2), long_text));
    const std::string line =
        "{\"id\":\"" + id + "\",\"model\":\"" + fresh() + "\",\"application\":\"" + fresh() +
        "\",\"created\":1700000000,\"messages\":[{\"role\":\"user\",\"content\":\"" + fresh() +
        "\",\"name\":\"" + fresh() +
        "\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call\","
        "\"function\":{"
        "\"name\":\"f\",\"arguments\":\"{\\\"key\\\":\\\"" +
        fresh() + "\\\"}\"}}],\"" + fresh() + "\":{\"deep\":[1,\"" + fresh() +
        "\"]}},{\"role\":\"tool\",\"content\":" + long_text + "}],\"metadata\":{\"user\":\"" +
        fresh() + "\"},\"" + fresh() + "\":[\"" + fresh() + "\",1.50]}";
    JsonReader reader;
    auto c = reader.conversation(line);
    EXPECT_OK(c);
    return c ? std::move(*c) : Conversation();
  }
  std::vector<std::string> find() {
    Scanner scanner(path_, tokenizer_);
    auto found = scanner.find(canaries_);
    EXPECT_GT(scanner.looked_at(), 1000u);
    return found;
  }
  void expect_gone() {
    for (const std::string& where : find()) ADD_FAILURE() << where;
  }
  // Calls `look` with the only pack.
  void look_at_pack(const std::function<void(const PackFile&)>& look) {
    const auto backend = make_directory_backend(path_, {.read_only = true});
    ASSERT_OK(backend);
    const auto packs = (*backend)->list("packs");
    ASSERT_OK(packs);
    ASSERT_EQ(packs->size(), 1u);
    Cache cache(64u << 20);
    const auto pack = PackFile::open(**backend, cache, number_of((*packs)[0].name));
    ASSERT_OK(pack);
    look(**pack);
  }

  Rng rng_{17};
  TempDir dir_;
  const std::string path_ = dir_ / "v";
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::string> canaries_;
  std::unique_ptr<Vault> vault_;
};

class VaultErase : public Erasing, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override { create(GetParam()); }
};

// In a log, in a pack whose dictionary holds all, and in a log beside it.
TEST_P(VaultErase, NothingOfAForgottenConversationStays) {
  std::vector<std::string> ids;
  for (int i = 0; i < 6; ++i) {
    const std::string id = i % 2 == 0 ? fresh() : "plain" + std::to_string(i);
    ids.push_back(id);
    ASSERT_OK(vault_->put(marked(id), {}));
    ASSERT_OK(vault_->tag(std::vector<std::string>{id}, std::vector<std::string>{fresh()}, {}));
    ASSERT_OK(vault_->put(conversation("live" + std::to_string(i), {shared_text(30 + i)}), {}));
    if (i == 1 || i == 3) {
      ASSERT_OK(vault_->seal());
    }
  }
  ASSERT_FALSE(find().empty()) << "the scan finds nothing even before";
  const auto count = vault_->forget(ids);
  ASSERT_OK(count);
  EXPECT_EQ(*count, ids.size());
  const auto report = vault_->gc(false);
  ASSERT_OK(report);
  EXPECT_EQ(report->conversations, ids.size());
  expect_gone();
  open();
  expect_gone();
  for (int i = 0; i < 6; ++i) {
    const auto got = vault_->get("live" + std::to_string(i));
    ASSERT_OK(got);
    EXPECT_TRUE(*got == conversation("live" + std::to_string(i), {shared_text(30 + i)}));
  }
}

TEST_P(VaultErase, NothingOfAReplacedVersionStays) {
  for (const bool sealed : {false, true}) {
    ASSERT_OK(vault_->put(marked("c"), {.replace = true}));
    ASSERT_OK(vault_->tag(std::vector<std::string>{"c"}, std::vector<std::string>{fresh()}, {}));
    if (sealed) {
      ASSERT_OK(vault_->seal());
    }
    const std::string tag = canaries_.back();
    ASSERT_OK(vault_->tag(std::vector<std::string>{"c"}, {}, std::vector<std::string>{tag}));
    const Conversation now = conversation("c", {"now this", shared_text(1)});
    ASSERT_OK(vault_->put(now, {.replace = true}));
    ASSERT_FALSE(find().empty());
    ASSERT_OK(vault_->gc(false));
    expect_gone();
    const auto got = vault_->get("c");
    ASSERT_OK(got);
    EXPECT_TRUE(*got == now);
  }
}

// A text that a live conversation shares with a forgotten one stays, in the same file or another.
TEST_P(VaultErase, WhatIsSharedWithTheLivingStays) {
  const std::string text = shared_text(50);
  const Conversation gone = conversation("gone", {text, "x " + fresh()});
  const Conversation here = conversation("here", {text, "y"});
  const Conversation there = conversation("there", {text, "z"});
  ASSERT_OK(vault_->put(gone, {}));
  ASSERT_OK(vault_->put(here, {}));
  ASSERT_OK(vault_->seal());
  ASSERT_OK(vault_->put(there, {}));
  ASSERT_OK(vault_->seal());
  {
    auto backend = make_directory_backend(path_, {.read_only = true});
    ASSERT_OK(backend);
    ASSERT_EQ(count_externals(**backend), 1u);
  }
  ASSERT_OK(vault_->forget(std::vector<std::string>{"gone", "here"}));
  for (int round = 0; round < 3; ++round) {
    if (round == 1) {
      ASSERT_OK(vault_->compact(Level::fast));
    } else {
      ASSERT_OK(vault_->gc(false));
    }
    expect_gone();
    open();
    const auto got = vault_->get("there");
    ASSERT_OK(got);
    EXPECT_TRUE(*got == there);
    EXPECT_EQ(vault_->get("here").code(), Errc::not_found);
  }
  // Nobody needs it any more: now it goes, out of both packs.
  ASSERT_OK(vault_->forget(std::vector<std::string>{"there"}));
  ASSERT_OK(vault_->gc(false));
  canaries_.push_back(text.substr(0, 60));
  expect_gone();
}

// An id that came back and went again, a tenant of its own, and a catalog that was rebuilt between.
TEST_P(VaultErase, NothingComesBack) {
  const std::string id = fresh();
  for (int round = 0; round < 3; ++round) {
    ASSERT_OK(vault_->put(marked(id), {.tenant = "acme"}));
    if (round == 1) {
      ASSERT_OK(vault_->seal());
    }
    const auto count = vault_->forget(std::vector<std::string>{id}, "acme");
    ASSERT_OK(count);
    EXPECT_EQ(*count, 1u);
    ASSERT_OK(vault_->gc(false));
    expect_gone();
    vault_.reset();
    fs::remove(path_ + "/catalog.db");
    ASSERT_OK(repair_vault(path_));
    open();
    EXPECT_EQ(vault_->get(id, "acme").code(), Errc::not_found);
    expect_gone();
  }
}

// What is forgotten while packs that hold it are merged: before the merge is done, at its end, or
// after it. Where it stands when gc begins differs from run to run.
TEST_P(VaultErase, NothingStaysOfAMergeInTheBackground) {
  open(0);
  for (int round = 0; round < 4; ++round) {
    std::vector<std::string> ids;
    for (int i = 0; i < 6; ++i) {
      const std::string id = fresh();
      ids.push_back(id);
      ASSERT_OK(vault_->put(marked(id), {}));
      ASSERT_OK(vault_->tag(std::vector<std::string>{id}, std::vector<std::string>{fresh()}, {}));
      const std::string live = "live" + std::to_string(round * 6 + i);
      ASSERT_OK(vault_->put(conversation(live, {shared_text(30 + i), live}), {}));
      if (i % 2 == 1) {
        ASSERT_OK(vault_->seal());
      }
    }
    if (round == 1) {
      ASSERT_OK(vault_->finish_merging());
    }
    if (round == 2) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ASSERT_OK(vault_->forget(ids));
    ASSERT_OK(vault_->gc(false));
    expect_gone();
    if (round == 3) open(0);
    ASSERT_OK(vault_->finish_merging());
    expect_gone();
  }
  for (int i = 0; i < 24; ++i) {
    const std::string live = "live" + std::to_string(i);
    const auto got = vault_->get(live);
    ASSERT_OK(got);
    EXPECT_TRUE(*got == conversation(live, {shared_text(30 + i % 6), live}));
  }
}

// Text of a segment that was released, short and long, and the names of its holders: in the log, in
// a pack, and where its conversation was forgotten.
TEST_P(VaultErase, NothingOfAReleasedSegmentStays) {
  const auto encoder = tokenizer_->make_encoder();
  for (const bool sealed : {false, true}) {
    std::vector<Segment> segments;
    const std::string text = shared_text(60) + fresh() + shared_text(61);
    for (const std::string& t : {text, fresh()}) {
      std::vector<Token> tokens;
      encoder->encode(t, tokens);
      segments.push_back(Segment::of_tokens(tokens));
    }
    segments.push_back(Segment::of_bytes(shared_text(62) + fresh()));
    segments.push_back(Segment::of_bytes(fresh()));
    std::vector<SegmentId> ids;
    for (const Segment& s : segments) ids.push_back(s.id());
    const std::string id = fresh();
    ASSERT_OK(vault_->put(conversation(id, {text, fresh()}), {}));
    const HoldOptions first{.tenant = {}, .holder = fresh()};
    const HoldOptions second{.tenant = {}, .holder = fresh()};
    ASSERT_OK(vault_->put_segments(segments, first));
    ASSERT_OK(vault_->put_segments({&segments[0], 1}));
    if (sealed) {
      ASSERT_OK(vault_->seal());
    }
    ASSERT_OK(vault_->hold_segments(ids, second));
    ASSERT_FALSE(find().empty());
    ASSERT_OK(vault_->forget(std::vector<std::string>{id}));
    ASSERT_OK(vault_->release_segments(ids, first));
    if (sealed) {
      ASSERT_OK(vault_->seal());
    }
    ASSERT_OK(vault_->release_segments(ids, second));
    ASSERT_OK(vault_->release_segments({ids.data(), 1}));
    ASSERT_OK(vault_->gc(false));
    expect_gone();
    open();
    expect_gone();
    const auto has = vault_->has_segments(ids);
    ASSERT_OK(has);
    EXPECT_EQ(*has, std::vector<bool>(ids.size()));
  }
}

// A dictionary that was trained on what is forgotten or released goes, as an artifact and as what
// logs need: it outlives each conversation that it was trained on, and not all of them.
TEST_P(VaultErase, NothingThatADictionaryWasTrainedOnStays) {
  for (const bool held : {false, true}) {
    // A held segment of fewer than 96 tokens stands in a record, a longer one in a stream.
    const std::string short_text = fresh() + fresh();
    const std::string long_text = shared_text(70) + fresh() + shared_text(71) + fresh();
    std::vector<std::string> ids;
    for (int i = 0; i < 6; ++i) {
      const std::string n = std::to_string(i);
      ids.push_back("gone" + n);
      ASSERT_OK(vault_->put(conversation(ids.back(), {"a" + n, short_text, long_text}), {}));
    }
    for (int i = 0; i < 40; ++i) {
      const std::string n = std::to_string(i * 7919);
      // As many messages: what is not text is shared, too.
      const std::string report = "Ship " + n + " is at the outer buoy, an hour from the pier, " +
                                 "and asks for a pilot and two tugs.";
      ASSERT_OK(vault_->put(conversation("stays" + n, {"c", "d", report}), {.replace = true}));
    }
    ASSERT_OK(vault_->seal());
    const auto d = vault_->dictionaries().train({}, {.size_bytes = 16 << 10});
    ASSERT_OK(d);
    ASSERT_OK(vault_->dictionaries().activate(d->id));
    std::vector<Segment> segments;
    const auto encoder = tokenizer_->make_encoder();
    for (const std::string& text : {short_text, long_text}) {
      std::vector<Token> tokens;
      encoder->encode(text, tokens);
      segments.push_back(Segment::of_tokens(tokens));
    }
    ASSERT_LT(segments[0].size(), kSegmentSharedSize);
    ASSERT_GT(segments[1].size(), kSegmentSharedSize);
    if (held) {
      ASSERT_OK(vault_->put_segments(segments));
    }
    // In a log that needs the dictionary, too.
    const Conversation logged = conversation("logged", {short_text, "b", long_text});
    ASSERT_OK(vault_->put(logged, {}));
    ASSERT_EQ(vault_->dictionaries().list()->at(0).files, 1u);
    const auto before = find();
    ASSERT_TRUE(std::any_of(before.begin(), before.end(), [](const std::string& where) {
      return where.find("artifacts/") != std::string::npos;
    })) << "the dictionary holds none of it";
    ASSERT_OK(vault_->forget(ids));
    ASSERT_OK(vault_->gc(false));
    ASSERT_EQ(vault_->dictionaries().list()->size(), 1u) << "somebody has it still";
    ASSERT_OK(vault_->forget(std::vector<std::string>{"logged"}));
    if (held) {
      ASSERT_OK(vault_->gc(false));
      ASSERT_EQ(vault_->dictionaries().list()->size(), 1u) << "it is held";
      for (const Segment& s : segments) {
        const SegmentId id[] = {s.id()};
        ASSERT_OK(vault_->release_segments(id));
        if (&s == &segments[0]) {
          ASSERT_OK(vault_->seal());
        }
      }
    }
    ASSERT_OK(vault_->gc(false));
    EXPECT_TRUE(vault_->dictionaries().list()->empty());
    expect_gone();
    open();
    expect_gone();
    EXPECT_OK(vault_->get("stays7919"));
  }
}

// What is erased cannot be compared with an artifact when it stood in a pack that is lost. What a
// collection has compared it need not compare again, and it stays.
TEST_P(VaultErase, NothingOfALostPackStaysInADictionaryOrASet) {
  enum class Pack : std::uint8_t { missing, damaged, stays };
  for (const Pack pack : {Pack::missing, Pack::damaged, Pack::stays}) {
    fs::remove_all(path_);
    canaries_.clear();
    create(GetParam());
    const std::string text = shared_text(70) + fresh() + shared_text(71) + fresh();
    std::vector<std::string> ids;
    for (int i = 0; i < 6; ++i) {
      ids.push_back("gone" + std::to_string(i));
      // A set has what stands in several segments.
      const std::string around = canary(rng_) + std::to_string(i);
      ASSERT_OK(vault_->put(conversation(ids.back(), {around + text + around}), {}));
    }
    ASSERT_OK(vault_->seal());
    const auto files = vault_->files();
    ASSERT_OK(files);
    const auto file = std::find_if(files->begin(), files->end(), [](const FileInfo& f) {
      return f.kind == FileInfo::Kind::pack;
    });
    ASSERT_NE(file, files->end());
    const std::string path = path_ + "/" + file->name;
    for (int i = 0; i < 40; ++i) {
      const std::string n = std::to_string(i * 7919);
      const std::string report = "Ship " + n + " is at the outer buoy, an hour from the pier, " +
                                 "and asks for a pilot and two tugs.";
      ASSERT_OK(vault_->put(conversation("stays" + n, {"c", report}), {}));
    }
    ASSERT_OK(vault_->seal());
    ASSERT_OK(vault_->dictionaries().train({}, {.size_bytes = 16 << 10}));
    ASSERT_OK(vault_->substrings().train({}));
    const auto is_in_set = [&] {
      const auto set = vault_->substrings().active();
      EXPECT_OK(set);
      const auto runs = (*set)->runs();
      return std::any_of(runs.begin(), runs.end(), [&](TokenView run) {
        std::string said;
        EXPECT_OK(tokenizer_->decode(run, said));
        return said.find(canaries_[0].substr(4, 32)) != std::string::npos;
      });
    };
    ASSERT_TRUE(is_in_set());
    const auto before = find();
    ASSERT_TRUE(std::any_of(before.begin(), before.end(), [](const std::string& where) {
      return where.find("artifacts/") != std::string::npos;
    })) << "the dictionary holds none of it";
    if (pack == Pack::stays) ids.resize(1);
    ASSERT_OK(vault_->forget(ids));
    vault_.reset();
    if (pack == Pack::missing) fs::remove(path);
    if (pack == Pack::damaged) fs::resize_file(path, fs::file_size(path) - 1);
    ASSERT_OK(repair_vault(path_));
    open();
    ASSERT_OK(vault_->gc(false));
    EXPECT_EQ(is_in_set(), pack == Pack::stays);
    if (pack != Pack::stays) {
      EXPECT_TRUE(vault_->dictionaries().list()->empty());
      expect_gone();
      continue;
    }
    const auto backend = make_directory_backend(path_, {.read_only = true});
    ASSERT_OK(backend);
    const auto artifacts = (*backend)->list("artifacts");
    ASSERT_EQ(artifacts->size(), 2u) << "others have the text still";
    open();
    ASSERT_OK(vault_->gc(false));
    ASSERT_OK(vault_->compact(Level::fast));
    const auto now = (*backend)->list("artifacts");
    ASSERT_EQ(now->size(), 2u);
    for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ((*now)[i].name, (*artifacts)[i].name);
  }
}

// Under the codecs of packs that take most effort, where text is learned and not copied.
TEST_P(VaultErase, NothingStaysOfADensePack) {
  open(UINT64_MAX, Level::dense);
  std::vector<std::string> ids;
  for (int i = 0; i < 6; ++i) {
    ids.push_back(fresh());
    ASSERT_OK(vault_->put(marked(ids.back()), {}));
    ASSERT_OK(vault_->put(conversation("live" + std::to_string(i), {shared_text(30 + i)}), {}));
  }
  ASSERT_OK(vault_->compact(Level::dense));
  const auto expect_dense = [](const PackFile& pack) {
    EXPECT_EQ(pack.footer().level, Level::dense);
    EXPECT_NE(pack.footer().streams[kTokenStream].codec, PackCodec::zstd);
  };
  look_at_pack(expect_dense);
  ASSERT_FALSE(find().empty());
  ASSERT_OK(vault_->forget(ids));
  ASSERT_OK(vault_->gc(false));
  look_at_pack(expect_dense);
  expect_gone();
  open();
  for (int i = 0; i < 6; ++i) {
    const auto got = vault_->get("live" + std::to_string(i));
    ASSERT_OK(got);
    EXPECT_TRUE(*got == conversation("live" + std::to_string(i), {shared_text(30 + i)}));
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, VaultErase, ::testing::Values("bytes", "o200k_base"));

// A pack of more text than a dictionary holds: what is forgotten stands in the segments that were
// chosen for it because others have most of them too, so that their blocks copy from there.
TEST_F(Erasing, NothingStaysOfADictionaryThatWasChosen) {
  create("bytes");
  open(UINT64_MAX, Level::fast);
  constexpr int kConversations = 1'500;
  constexpr int kPassages = 40;
  std::vector<std::string> passages;
  for (int i = 0; i < kPassages; ++i) passages.push_back(random_text(rng_, 60));
  std::vector<Conversation> all;
  std::vector<std::string> ids;
  std::uint64_t text_bytes = 0;
  for (int i = 0; i < kConversations; ++i) {
    std::string text;
    if (i % 300 == 100) {
      for (int p = 0; p < kPassages; p += 8) text += passages[below(rng_, kPassages)];
      text += fresh() + passages[0];
      ids.push_back("c" + std::to_string(i));
    } else {
      text = random_text(rng_, 400) + passages[below(rng_, kPassages)] + random_text(rng_, 100);
    }
    text_bytes += text.size();
    all.push_back(conversation("c" + std::to_string(i), {text}));
  }
  ASSERT_GT(text_bytes, kFingerprintlessTextBytes);
  ASSERT_OK(vault_->put_batch(all, {}));
  ASSERT_OK(vault_->seal());
  look_at_pack([&](const PackFile& pack) {
    EXPECT_GT(pack.footer().streams[kTokenStream].block_count, 10u);
    const auto codes = pack.dictionary_text(kTokenStream);
    ASSERT_OK(codes);
    EXPECT_GT(codes->size(), kDictionaryTextBytes / 2);
    std::vector<Token> tokens;
    ASSERT_OK(pack.decode_tokens(*codes, tokens));
    const std::string text(tokens.begin(), tokens.end());
    EXPECT_TRUE(std::any_of(canaries_.begin(), canaries_.end(), [&](const std::string& c) {
      return text.find(c) != std::string::npos;
    }));
  });
  ASSERT_FALSE(find().empty());
  ASSERT_OK(vault_->forget(ids));
  ASSERT_OK(vault_->gc(false));
  look_at_pack([](const PackFile& pack) {
    EXPECT_GT(pack.footer().streams[kTokenStream].block_count, 10u);
  });
  expect_gone();
  open();
  for (int i = 0; i < kConversations; i += 7) {
    const auto got = vault_->get(all[static_cast<std::size_t>(i)].id);
    if (i % 300 == 100) {
      EXPECT_EQ(got.code(), Errc::not_found);
      continue;
    }
    ASSERT_OK(got);
    EXPECT_TRUE(*got == all[static_cast<std::size_t>(i)]) << i;
  }
}

}  // namespace
}  // namespace tokvault
