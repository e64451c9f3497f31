// Makes the golden vaults: make_golden FOLDER [NAME...] writes one directory for each and, beside
// it, NAME.jsonl with what must be read from it, for ever.
//
// The files under tests/golden/vN are released bytes: they are committed once, when version N of a
// format is released, and never made again. This program stays as the record of how they came to
// be, and makes those of the next version. Ids, times and texts are fixed; keys and ids of vaults
// are random, so that a second run gives other bytes with the same meaning. Afterwards make_bad.py
// damages copies, and examples_test.py --update brings the documents' hex up to date.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "golden.h"
#include "tokvault/directory.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "make_golden: %s\n", what.c_str());
  std::exit(1);
}

template <class T>
void must(const Result<T>& result) {
  if (!result) die(std::string(result.error().message()));
}

Conversation parse(const std::string& line) {
  JsonReader reader;
  auto c = reader.conversation(line);
  must(c);
  return std::move(*c);
}

// A text of some hundred tokens, long enough to be referred to from other files.
std::string long_text(const std::string& subject) {
  std::string text;
  for (int i = 1; i <= 12; ++i) {
    text += "Paragraph " + std::to_string(i) + " of the notes on " + subject +
            ": what was measured on day " + std::to_string(i * 7) +
            ", by whom, and what it means for the harbour. ";
  }
  return text;
}

std::string chat(const std::string& id, std::int64_t created, const std::string& user,
                 const std::string& reply) {
  return "{\"id\":\"" + id +
         "\",\"model\":\"aster-large\",\"application\":\"golden\",\"created\":" +
         std::to_string(created) + ",\"messages\":[{\"role\":\"user\",\"content\":\"" + user +
         "\"},{\"role\":\"assistant\",\"content\":\"" + reply + "\"}]}";
}

// Everything that a conversation can hold, one kind a line.
std::vector<std::string> every_shape() {
  return {
      chat("plain", 1760000000, "What is the depth of the harbour?", "Nine metres at low water."),
      R"({"messages":[{"role":"user","content":"the default fields are absent"}],"id":"ba)"
      R"(re","created":1760000001})",
      R"({"id":"unicode","created":1760000002123,"messages":[{"role":"user","content":"gr)"
      R"(\u00fc\u00dfe \u6e2f\u53e3 \ud83d\ude80 \ud83d alone, \u0000 and \"quotes\" \\ /)"
      R"( end"}]})",
      R"({"id":"tools","model":"aster-small","created_at":"2026-01-05T10:11:12Z","message)"
      R"(s":[{"role":"assistant","content":null,"tool_calls":[{"id":"call_8f2a","type":"f)"
      R"(unction","function":{"name":"find","arguments":"{\"q\": 1}"}}]},{"role":"tool",")"
      R"(tool_call_id":"call_8f2a","content":"{\"found\": [1, 2.50, 1e3, true, null]}"}],)"
      R"("temperature":0.70,"seed":-0,"metadata":{"a":[],"b":{},"n":[0.1,0.25,0.125,1,2,3)"
      R"(,4,5,6,7,8,9]}})",
      R"({"id":"parts","created":1760000003,"messages":[{"role":"user","content":[{"type")"
      R"(:"text","text":"look at this"},{"type":"image_url","image_url":{"url":"data:imag)"
      R"(e/png;base64,iVBORw0KGgo="}}]}]})",
      R"({"id":"arrays","created":1760000004,"messages":[{"role":"assistant","content":[9)"
      R"(906,1917,0,199999,4294967295],"token_arrays":{"logprobs":{"f32":"AAAAAAAAgL8AAIC)"
      R"(/AACAvwAAgL8="},"mask":{"u8":"AQEAAQE="}}}]})",
      R"({"id":"empty","created":1760000005,"messages":[]})",
      R"({"id":"empty text","created":1760000006,"messages":[{"role":"user","content":""})"
      R"(,{"role":"assistant","content":[]}]})",
      R"({"id":4711,"created":-1,"messages":[{"role":"user","content":"an id that is a number"}]})",
  };
}

// A vault under construction and what ought to be in it.
class Golden {
 public:
  Golden(const std::string& folder, const std::string& name, const InitOptions& init,
         const VaultOptions& options = {})
      : path_(folder + "/" + name), options_(options) {
    must(create_vault(path_, init));
    reopen();
  }

  void reopen() {
    vault_.reset();
    auto vault = open_vault(path_, options_);
    must(vault);
    vault_ = std::move(*vault);
  }
  Vault& vault() { return *vault_; }

  void put(const std::string& line, const std::string& tenant = "") {
    const Conversation c = parse(line);
    must(vault_->put(c, {.tenant = tenant, .replace = true}));
    // What comes back is the conversation as it was read, not its line: numbers of the vault's own
    // (sequences) are added when all is written.
    auto& mine = content_[tenant.empty() ? "default" : tenant];
    mine[c.id] = c;
  }
  // As one commit of several tenants.
  void put_together(const std::vector<std::pair<std::string, std::string>>& lines) {
    for (const auto& [line, tenant] : lines) {
      const Conversation c = parse(line);
      must(vault_->put_async(c, {.tenant = tenant, .replace = true}));
      content_[tenant.empty() ? "default" : tenant][c.id] = c;
    }
    must(vault_->flush());
  }
  void forget(const std::string& id, const std::string& tenant = "") {
    const std::string ids[] = {id};
    must(vault_->forget(ids, tenant));
    content_[tenant.empty() ? "default" : tenant].erase(id);
  }
  void tag(const std::string& id, const std::vector<std::string>& add,
           const std::vector<std::string>& remove = {}) {
    const std::string ids[] = {id};
    must(vault_->tag(ids, add, remove));
  }

  // Writes the expectation and closes the vault.
  void finish() {
    std::ofstream out(path_ + ".jsonl", std::ios::binary);
    auto tenants = vault_->tenants();
    must(tenants);
    for (const std::string& tenant : *tenants) {
      auto page = vault_->list({.tenant = tenant}, 1000);
      must(page);
      auto& mine = content_[tenant];
      if (page->conversations.size() != mine.size()) die("not all that was put is listed");
      for (const Summary& s : page->conversations) {
        auto line = golden_line(tenant, s, mine.at(s.id));
        must(line);
        out << *line << "\n";
      }
    }
    vault_.reset();
    std::filesystem::remove(path_ + "/lock");
  }

 private:
  const std::string path_;
  const VaultOptions options_;
  std::unique_ptr<Vault> vault_;
  std::map<std::string, std::map<std::string, Conversation>> content_;
};

// Only a log: several frames, two tenants (two sections), a replaced version, a deletion, tags, and
// the progress of an import.
void make_log(const std::string& folder) {
  Golden g(folder, "log", {.tokenizer = "o200k_base"});
  for (const std::string& line : every_shape()) g.put(line);
  g.reopen();
  g.put(chat("plain", 1760000010, "What is the depth of the harbour?", "Ten metres, I was wrong."));
  g.put(chat("gone", 1760000011, "Please forget this.", "As soon as you say so."));
  g.put(chat("plain", 1760000012, "Another tenant's id may be the same.", "It is apart."),
        "second");
  g.tag("tools", {"good", "reviewed", "x"});
  g.reopen();
  g.tag("tools", {}, {"x"});
  g.forget("gone");
  g.put(chat("tide", 1760000013, long_text("the tide"), "Noted."), "second");
  g.put_together({{chat("both-1", 1760000015, "Two tenants,", "one sync."), ""},
                  {chat("both-2", 1760000016, "Two tenants,", "one sync."), "second"}});
  ImportProgress progress;
  progress.source = std::string(32, 's');
  progress.lines = 12;
  progress.bytes = 3456;
  progress.state_hash = std::string(16, 'h');
  const Conversation c =
      parse(chat("imported", 1760000014, "From a file.", "Kept with its place."));
  must(g.vault().put_batch({&c, 1}, {}, &progress));
  must(g.vault().forget(std::vector<std::string>{"imported"}, ""));
  g.finish();
}

// Tokens are bytes; nothing but this vault is needed to read it.
void make_bytes(const std::string& folder) {
  Golden g(folder, "bytes", {.tokenizer = "bytes"});
  g.put(chat("a", 1760000000, "one", "two"));
  g.put(chat("b", 1760000001, "one", "two"));
  g.finish();
}

// A log whose batches can each be believed in part: deletions, tags, versions, two tenants.
void make_guard(const std::string& folder) {
  Golden g(folder, "guard", {.tokenizer = "bytes"});
  g.put(chat("a", 1760000000, "one", "two"));
  g.put(chat("b", 1760000001, "one", "three"));
  g.put(chat("gone", 1760000002, "four", "five"));
  g.tag("a", {"good"});
  g.forget("gone");
  g.put(chat("a", 1760000003, "another", "version"));
  g.put(chat("a", 1760000004, "of another", "tenant"), "second");
  g.finish();
}

// Packs, with a log behind them: one compaction that made several, and what was sealed after it;
// segments of other packs in a pack and in the log, records in packs, a deletion and a version in
// the log that end ones in packs.
void make_packs(const std::string& folder) {
  Golden g(folder, "packs", {.tokenizer = "o200k_base"});
  for (const std::string& line : every_shape()) g.put(line);
  g.put(chat("notes-1", 1760000100, long_text("currents"), long_text("sand")));
  g.put(chat("gone", 1760000101, "Please forget this.", "As soon as you say so."));
  g.put(chat("other", 1760000102, "Another tenant.", long_text("currents")), "second");
  g.tag("plain", {"good", "shallow"});
  // Bytes that a stream cannot end segments with.
  g.put(R"({"id":"lowest","created":1760000106,"messages":[{"role":"assistant","content":[7,8],)"
        R"("token_arrays":{"logprobs":{"f32":"AACA/wAAgP8="}}}]})");
  must(g.vault().seal());
  g.put(chat("notes-2", 1760000103, long_text("currents"), "The same notes, once more."));
  for (int i = 0; i < 40; ++i) {
    g.put(chat("run" + std::to_string(i / 10) + "_" + std::to_string(i % 10), 1760000200 + i * 60,
               "Reading number " + std::to_string(i) + "?",
               "It was " + std::to_string(i * i) + "."));
  }
  g.put(R"({"id":"json","created":1760000104,"messages":[{"role":"user","content":"q","scores":)"
        R"([0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1.0,1.1,1.2,1.3,1.4,1.5,1.6]}]})");
  must(g.vault().seal());
  must(g.vault().compact({.level = Level::balanced, .pack_bytes_max = 700}));
  g.put(chat("notes-4", 1760000107, long_text("sand"), long_text("wrecks")));
  must(g.vault().seal());
  g.put(chat("notes-3", 1760000105, long_text("sand"), "And these."));
  g.put(chat("run0_0", 1760000200, "Reading number 0?", "It was measured again."));
  g.put(chat("other", 1760000102, "Another tenant.", "Replaced."), "second");
  g.forget("gone");
  g.tag("plain", {"deep"}, {"shallow"});
  g.finish();
}

// A pack whose text is under a model that it teaches.
void make_dense(const std::string& folder) {
  Golden g(folder, "dense", {.tokenizer = "o200k_base"});
  for (const std::string& line : every_shape()) g.put(line);
  g.put(chat("notes-1", 1760000100, long_text("currents"), long_text("sand")));
  must(g.vault().compact(Level::dense));
  g.put(chat("notes-2", 1760000103, long_text("currents"), "The same notes, once more."));
  g.finish();
}

// A pack at `balanced` whose text is a code of the token LZ.
void make_token_lz(const std::string& folder) {
  Golden g(folder, "token_lz", {.tokenizer = "o200k_base"});
  for (const std::string& line : every_shape()) g.put(line);
  g.put(chat("tide", 1760000020, long_text("the tide"), long_text("the moon")));
  must(g.vault().compact(Level::balanced));
  g.finish();
}

// A registered dictionary: its file, and its records in a pack and in the log.
void make_dictionary(const std::string& folder) {
  const std::filesystem::path samples = folder + "/samples";
  std::filesystem::create_directory(samples);
  for (int i = 0; i < 400; ++i) {
    std::ofstream(samples / std::to_string(i), std::ios::binary)
        << "Reading " << i << " of the gauge at pier " << i * 7919 % 90 << " was "
        << i * 104729 % 1000 << " millimetres, taken by hand.";
  }
  const std::string file = samples / "dictionary";
  const std::string command = "zstd -q -1 --train '" + samples.string() +
                              "'/[0-9]* --maxdict=512 --dictID=7000 -o '" + file + "'";
  if (std::system(command.c_str()) != 0) die("zstd --train failed");
  std::ifstream in(file, std::ios::binary);
  const Buffer bytes(std::istreambuf_iterator<char>(in), {});
  std::filesystem::remove_all(samples);
  Golden g(folder, "dictionary", {.tokenizer = "bytes"});
  auto added = g.vault().dictionaries().add(bytes, {.samples = 400});
  must(added);
  g.put(chat("a", 1760000000, "Reading 9 of the gauge?", "Not taken."));
  must(g.vault().seal());
  must(g.vault().dictionaries().activate(added->id));
  g.put(chat("b", 1760000001, "Reading 10 of the gauge?", "401 millimetres, taken by hand."));
  g.finish();
}

// A vocabulary of its own, kept in the vault.
void make_artifact(const std::string& folder) {
  const std::string ranks = folder + "/ranks.tiktoken";
  {
    static constexpr char kDigits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::ofstream out(ranks, std::ios::binary);
    for (int b = 0; b < 256; ++b) {
      out << kDigits[b >> 2] << kDigits[(b & 3) << 4] << "== " << b << "\n";
    }
    out << "dGg= 256\n" << "dGhl 257\n" << "IHQ= 258\n";  // "th", "the", " t"
  }
  Golden g(folder, "artifact", {.tokenizer = ranks, .pattern = "cl100k_base"});
  g.put(chat("a", 1760000000, "the theory of the thing", "that"));
  must(g.vault().compact(Level::fast));
  g.put(chat("b", 1760000001, "then the other", "there"));
  g.finish();
  std::filesystem::remove(ranks);
}

// Segments that somebody holds: in a pack and in a log, long and short, alone and with
// conversations, of two tenants; one that was released, and one whose conversation is forgotten.
void make_segments(const std::string& folder) {
  Golden g(folder, "segments", {.tokenizer = "bytes"});
  auto tokens_of = [](const std::string& text) {
    Segment s;
    for (const char c : text) s.tokens.push_back(static_cast<unsigned char>(c));
    return s;
  };
  const Segment prompt = tokens_of("A prompt that is held and stands in conversations, too. " +
                                   long_text("moorings").substr(0, 100));
  const std::vector<Segment> first{
      prompt,
      tokens_of("short"),
      Segment::of_tokens({}),
      Segment::of_tokens(std::vector<Token>{0, 127, 128, 16511, 16512, 4145279, 4294967295u}),
      Segment::of_bytes(std::string("\0\xff binary", 9)),
      tokens_of(long_text("released"))};
  must(g.vault().put_segments(first, {.tenant = {}, .holder = "eval"}));
  must(g.vault().put_segments({first.data(), 2}));
  g.put(chat("gone", 1760000000, "x", std::string(prompt.tokens.begin(), prompt.tokens.end())));
  must(g.vault().seal());
  g.put(chat("here", 1760000001, std::string(prompt.tokens.begin(), prompt.tokens.end()), "y"));
  g.forget("gone");
  const std::vector<Segment> second{Segment::of_bytes(long_text("bytes").substr(0, 120)),
                                    tokens_of("short")};
  must(g.vault().put_segments(second, {.tenant = "second", .holder = "audit"}));
  const SegmentId released[] = {first[5].id()};
  must(g.vault().release_segments(released, {.tenant = {}, .holder = "eval"}));
  const SegmentId held[] = {first[4].id()};
  must(g.vault().hold_segments(held, {.tenant = {}, .holder = "second name"}));
  auto lines = golden_held_lines(g.vault());
  must(lines);
  std::ofstream(folder + "/segments.held", std::ios::binary) << *lines;
  g.finish();
}

std::string report(int number) {
  const std::string n = std::to_string(number * 7919);
  return chat("report" + std::to_string(number), 1760000000 + number,
              "Report of ship " + n + ": position, course and speed, please.",
              "Ship " + n + " is at the outer buoy, on course for the harbour, at nine knots. " +
                  "The next report is due in one hour.");
}

// A dictionary that was trained elsewhere.
Buffer trained(std::uint64_t size_bytes) {
  auto backend = make_memory_backend();
  auto catalog = make_memory_catalog();
  CreateOptions options;
  auto tokenizer = open_tokenizer("bytes");
  must(tokenizer);
  options.tokenizer = *tokenizer;
  must(Vault::create(*backend, *catalog, options));
  auto vault = Vault::open(std::move(backend), std::move(catalog), {});
  must(vault);
  for (int i = 0; i < 40; ++i) must((*vault)->put(parse(report(i)), {}));
  auto made = (*vault)->dictionaries().train({}, {.size_bytes = size_bytes});
  must(made);
  auto bytes = (*vault)->dictionaries().get(made->id);
  must(bytes);
  return *bytes;
}

// Dictionaries: one that nothing names, one that a section of the log begins with, which goes on
// after the log was opened again; and a tenant that has neither.
void make_trained(const std::string& folder) {
  Golden g(folder, "trained", {.tokenizer = "bytes"});
  Dictionaries& d = g.vault().dictionaries();
  must(d.add(trained(600), {.created_ms = 1760000000000, .samples = 40}));
  auto used = d.add(trained(2000), {.created_ms = 1760000001000});
  must(used);
  must(d.activate(used->id));
  g.put(report(100));
  g.put(report(101));
  g.put(report(101), "second");
  g.reopen();
  g.put(report(102));
  g.finish();
}

// A sealed pack, and a log, that copy from a dictionary; a pack from before it; another tenant.
void make_shared(const std::string& folder) {
  Golden g(folder, "shared", {.tokenizer = "o200k_base"}, {.level = Level::fast});
  for (int i = 0; i < 40; ++i) g.put(report(i));
  must(g.vault().seal());
  auto made = g.vault().dictionaries().train({}, {.size_bytes = 2000});
  must(made);
  must(g.vault().dictionaries().activate(made->id));
  g.put(report(100));
  g.put(report(101));
  g.put(report(101), "second");
  must(g.vault().seal());
  g.put(report(102));
  g.finish();
}

// A pack under the token LZ that copies from a set of substrings.
void make_shared_lz(const std::string& folder) {
  Golden g(folder, "shared_lz", {.tokenizer = "o200k_base"});
  for (int i = 0; i < 40; ++i) g.put(report(i));
  for (const std::string& line : every_shape()) g.put(line);
  must(g.vault().substrings().train({}));
  must(g.vault().compact(Level::balanced));
  g.finish();
}

// A pack under a token model that has learned from a set of substrings.
void make_shared_dense(const std::string& folder) {
  Golden g(folder, "shared_dense", {.tokenizer = "o200k_base"});
  for (int i = 0; i < 40; ++i) g.put(report(i));
  for (const std::string& line : every_shape()) g.put(line);
  for (int i = 0; i < 12; ++i) {
    std::string letters;
    for (int k = 0; k < 60; ++k) letters += static_cast<char>('a' + (i * i + k * k * (7 + i)) % 26);
    g.put(
        chat("letters" + std::to_string(i), 1760000100, letters, long_text(letters.substr(0, 6))));
  }
  must(g.vault().substrings().train({}));
  must(g.vault().compact(Level::dense));
  g.finish();
}

// A compacted pack whose conversations have messages in common: references are recent.
void make_recent(const std::string& folder) {
  Golden g(folder, "recent", {.tokenizer = "o200k_base"});
  for (int i = 0; i < 60; ++i) {
    std::string line = R"({"id":"chat-)" + std::to_string(i) +
                       R"(","messages":[{"role":"system","content":"Answer in one word."})";
    for (int k = 0; k <= i % 3; ++k) {
      line += R"(,{"role":"user","content":"Is )" + std::to_string(i * 977 + k) +
              R"( even?"},{"role":"assistant","content":")" + ((i + k) % 2 == 0 ? "Yes" : "No") +
              R"("},{"role":"user","content":"Thanks."})";
    }
    g.put(line + "]}");
  }
  must(g.vault().compact(Level::balanced));
  g.finish();
}

// A log with text in bodies and apart from them, in frames that begin with a dictionary, with
// nothing, and with what the section held.
void make_apart(const std::string& folder) {
  Golden g(folder, "apart", {.tokenizer = "bytes"});
  auto used = g.vault().dictionaries().add(trained(2000), {.created_ms = 1760000000000});
  must(used);
  must(g.vault().dictionaries().activate(used->id));
  for (const std::string tenant : {"", "second"}) {
    g.put(report(100), tenant);
    g.put(chat("long-1", 1760000001, long_text("currents"), "Noted."), tenant);
    g.put(chat("short-1", 1760000002, "And at the pier?", "Seven metres."), tenant);
    g.put(chat("long-2", 1760000003, long_text("currents"), long_text("sand")), tenant);
  }
  for (const std::string& line : every_shape()) g.put(line, "second");
  g.reopen();
  for (const std::string tenant : {"", "second"}) {
    g.put(chat("short-2", 1760000004, "Until when?", "Until noon."), tenant);
    g.put(chat("long-3", 1760000005, long_text("wrecks"), long_text("sand")), tenant);
  }
  g.finish();
}

}  // namespace
}  // namespace tokvault

int main(int argc, char** argv) {
  static const std::map<std::string, void (*)(const std::string&)> kVaults = {
      {"log", tokvault::make_log},
      {"bytes", tokvault::make_bytes},
      {"guard", tokvault::make_guard},
      {"packs", tokvault::make_packs},
      {"dense", tokvault::make_dense},
      {"dictionary", tokvault::make_dictionary},
      {"artifact", tokvault::make_artifact},
      {"segments", tokvault::make_segments},
      {"trained", tokvault::make_trained},
      {"token_lz", tokvault::make_token_lz},
      {"shared", tokvault::make_shared},
      {"shared_lz", tokvault::make_shared_lz},
      {"recent", tokvault::make_recent},
      {"apart", tokvault::make_apart},
      {"shared_dense", tokvault::make_shared_dense}};
  if (argc < 2) {
    std::fprintf(stderr, "usage: make_golden FOLDER [NAME...]\n");
    return 2;
  }
  std::filesystem::create_directories(argv[1]);
  for (const auto& [name, make] : kVaults) {
    const bool is_asked = argc == 2 || std::find(argv + 2, argv + argc, name) != argv + argc;
    if (is_asked) make(argv[1]);
  }
  return 0;
}
