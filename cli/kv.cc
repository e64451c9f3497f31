// tokvault kv: the checkpoint store from the command line.
#include "kv.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <span>

#include "output.h"
#include "tokvault/checkpoint.h"
#include "tokvault/checkpoint_replay.h"
#include "tokvault/interchange.h"
#include "values.h"

namespace tokvault::cli {
namespace {

// What is wrong with the call of a command.
Error usage(const KvCommand& o, const std::string& what) {
  return Error(Errc::invalid, what + " (tokvault kv " + o.name + " --help)");
}

// An option's value, or what is wrong with it.
template <class T>
Result<T> named(const KvCommand& o, const char* option, Result<T> parsed) {
  if (parsed) return parsed;
  return usage(o, std::string(option) + ": " + std::string(parsed.error().message()));
}

Result<std::uint64_t> size_of(const KvCommand& o, const char* option) {
  return named(o, option, parse_size(o.text(option)));
}

// 0 if the option is not given.
Result<std::uint64_t> number_of(const KvCommand& o, const char* option, std::uint64_t max) {
  if (!o.has(option)) return std::uint64_t{0};
  return named(o, option, parse_number(o.text(option), max));
}

// As --namespace names them, in the order in which they are printed.
constexpr std::pair<const char*, std::string Namespace::*> kNamespaceFields[] = {
    {"model", &Namespace::model},
    {"tokenizer", &Namespace::tokenizer},
    {"chat_template", &Namespace::chat_template},
    {"dtype", &Namespace::dtype},
    {"layout", &Namespace::layout},
    {"lora", &Namespace::lora},
    {"tenant", &Namespace::tenant},
    {"extra", &Namespace::extra}};

Result<Namespace> namespace_of(const KvCommand& o) {
  const std::string text = o.text("--namespace", "kvc");
  Namespace n;
  if (text.find('=') == std::string::npos) {
    n.model = text;
    return n;
  }
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string field = text.substr(at, end - at);
    const std::size_t equals = field.find('=');
    if (equals == std::string::npos) {
      return usage(o, "'" + field + "' of the namespace is not FIELD=VALUE");
    }
    const std::string name = field.substr(0, equals);
    const auto* const it = std::find_if(std::begin(kNamespaceFields), std::end(kNamespaceFields),
                                        [&name](const auto& known) { return known.first == name; });
    if (it == std::end(kNamespaceFields)) {
      std::string what = "a namespace has no field '" + name + "'";
      const char* before = "; there are ";
      for (const auto& [known, member] : kNamespaceFields) {
        what += std::string(before) + known;
        before = ", ";
      }
      return usage(o, what);
    }
    if (!(n.*it->second).empty()) return usage(o, "the namespace has '" + name + "' twice");
    n.*it->second = field.substr(equals + 1);
    at = end + 1;
  }
  return n;
}

Result<std::vector<Token>> tokens_of(const KvCommand& o) {
  TOKVAULT_ASSIGN(const Buffer text, read_all(o.text("--tokens")));
  return named(o, "--tokens", parse_tokens(text));
}

Status write_output(const KvCommand& o, ByteView bytes) {
  const std::string path = o.text("--output");
  if (path.empty()) return {};
  if (!o.target.empty()) TOKVAULT_TRY(outside_of(o.target, path));
  if (path != "-") return write_file(path, bytes);
  print(bytes);
  return {};
}

Result<std::unique_ptr<CheckpointStore>> open_store(const KvCommand& o, bool write) {
  CheckpointOptions options;
  options.read_only = !write;
  if (o.has("--budget")) {
    TOKVAULT_ASSIGN(options.budget_bytes, size_of(o, "--budget"));
    // 0 would be the budget that the store has.
    if (options.budget_bytes == 0) return usage(o, "--budget is 0");
  }
  if (write && o.has("--block-tokens")) {
    TOKVAULT_ASSIGN(const std::uint64_t tokens, number_of(o, "--block-tokens", 4096));
    if (tokens == 0) return usage(o, "--block-tokens is 0");
    options.block_tokens = static_cast<std::uint32_t>(tokens);
  }
  const std::string eviction = o.text("--eviction", "value");
  if (eviction == "lru") {
    options.eviction = Eviction::lru;
  } else if (eviction == "decayed_hits") {
    options.eviction = Eviction::decayed_hits;
  } else if (eviction != "value") {
    return usage(o, "there is no eviction '" + eviction + "'");
  }
  const std::map<std::string, CheckpointCodec> codecs = {{"none", CheckpointCodec::none},
                                                         {"zstd", CheckpointCodec::zstd},
                                                         {"plane8", CheckpointCodec::plane8},
                                                         {"planes16", CheckpointCodec::planes16},
                                                         {"by_dtype", CheckpointCodec::by_dtype}};
  const auto codec = codecs.find(o.text("--codec", "none"));
  if (codec == codecs.end()) return usage(o, "there is no codec '" + o.text("--codec") + "'");
  options.codec = codec->second;
  auto store = CheckpointStore::open(o.target, options);
  std::error_code failed;
  if (!store && std::filesystem::exists(o.target + "/catalog.db", failed)) {
    return Error(store.code(), o.target + " is a vault and no checkpoint store");
  }
  return store;
}

std::string namespace_json(const Namespace& n) {
  JsonObject json;
  for (const auto& [name, member] : kNamespaceFields) {
    if (!(n.*member).empty()) json.field(name, n.*member);
  }
  return json.text();
}

// A namespace in a line: its model alone, or as --namespace takes it.
std::string name_of(const Namespace& n) {
  std::string out;
  for (const auto& [name, member] : kNamespaceFields) {
    if ((n.*member).empty()) continue;
    if (!out.empty()) out += ',';
    out += std::string(name) + "=" + n.*member;
  }
  return out == "model=" + n.model ? n.model : out;
}

// Prints a line of JSON, or the text.
void answer(const KvCommand& o, const JsonObject& json, const std::string& text) {
  print_line(o.json ? json.text() : text);
}

Status kv_put(const KvCommand& o) {
  TOKVAULT_ASSIGN(const Namespace n, namespace_of(o));
  if (!o.has("--payload")) return usage(o, "--payload is required");
  if (!o.has("--tokens") && !o.has("--text")) return usage(o, "--tokens or --text is required");
  TOKVAULT_ASSIGN(const Buffer payload, read_all(o.text("--payload")));
  CheckpointState state;
  if (o.has("--tokens")) {
    TOKVAULT_ASSIGN(state.tokens, tokens_of(o));
  }
  if (o.has("--text")) {
    TOKVAULT_ASSIGN(state.text, read_all(o.text("--text")));
  }
  // All that can be wrong is said before a store is made.
  const bool whole = o.has("--state") || !o.has("--tokens");
  if (state.tokens.empty() && state.text.empty()) return usage(o, "the prompt is empty");
  if (payload.empty()) return usage(o, "the payload is empty");
  if (!whole && o.has("--text")) {
    return usage(o,
                 "which bytes of --text are of which block cannot be told; --state stores "
                 "the prompt in one piece, with its text");
  }
  if (!whole && payload.size() % state.tokens.size() != 0) {
    return usage(
        o, "" + std::to_string(payload.size()) + " bytes are not a whole number for each of " +
               std::to_string(state.tokens.size()) + " tokens; --state stores them in one piece");
  }
  TOKVAULT_ASSIGN(const auto store, open_store(o, true));
  if (whole) {
    TOKVAULT_TRY(store->put_state(n, state, payload));
    TOKVAULT_TRY(store->close());
    answer(o, JsonObject().field("states", 1).field("bytes", payload.size()),
           "1 state of " + std::to_string(payload.size()) + " bytes");
    return {};
  }
  // In blocks: every token has as many bytes.
  const std::size_t per_token = payload.size() / state.tokens.size();
  std::vector<CheckpointBlock> blocks;
  for (std::size_t at = 0; at < state.tokens.size(); at += store->block_tokens()) {
    const std::size_t count =
        std::min<std::size_t>(store->block_tokens(), state.tokens.size() - at);
    blocks.push_back({ByteView(payload).substr(at * per_token, count * per_token)});
  }
  TOKVAULT_ASSIGN(const CheckpointPutReport r, store->put(n, state.tokens, {.blocks = blocks}));
  TOKVAULT_TRY(store->close());
  answer(o,
         JsonObject()
             .field("blocks_written", r.blocks_written)
             .field("blocks_known", r.blocks_known)
             .field("blocks_refused", r.blocks_refused)
             .field("bytes_written", r.bytes_written)
             .field("evicted", r.evicted),
         format_counted(r.blocks_written, "block") + " written, " + std::to_string(r.blocks_known) +
             " known, " + std::to_string(r.blocks_refused) + " refused, " +
             std::to_string(r.evicted) + " evicted");
  return {};
}

// What is only read is not made.
Status need_kvc_folder(const KvCommand& o) {
  std::error_code failed;
  if (std::filesystem::is_directory(o.text("--kvc"), failed)) return {};
  return Error(Errc::not_found, "no folder " + o.text("--kvc"));
}

Status get_kvc(const KvCommand& o) {
  if (!o.has("--text")) return usage(o, "--text is required");
  TOKVAULT_ASSIGN(const Buffer prompt, read_all(o.text("--text")));
  TOKVAULT_TRY(need_kvc_folder(o));
  TOKVAULT_ASSIGN(const auto cache, KvcCache::open(o.text("--kvc"), 1 << 20));
  TOKVAULT_ASSIGN(const auto file, cache->load_longest(prompt));
  if (!file) return Error(Errc::not_found, "no file's text is a prefix of this prompt");
  TOKVAULT_TRY(write_output(o, file->payload));
  answer(o,
         JsonObject()
             .field("text_bytes", file->text.size())
             .field("tokens", file->header.token_count)
             .field("payload_bytes", file->payload.size())
             .field("hits", file->header.hit_count),
         std::to_string(file->text.size()) + " bytes of text, " +
             std::to_string(file->header.token_count) + " tokens, " +
             std::to_string(file->payload.size()) + " bytes of state");
  return {};
}

Status kv_get(const KvCommand& o) {
  if (o.has("--kvc") && !o.target.empty()) return usage(o, "it takes STORE or --kvc, not both");
  if (o.has("--kvc")) return get_kvc(o);
  if (o.target.empty()) return usage(o, "STORE is required");
  TOKVAULT_ASSIGN(const Namespace n, namespace_of(o));
  // A reader's uses are counted by the next writer, so eviction knows them all the same.
  TOKVAULT_ASSIGN(const auto opened, open_store(o, false));
  CheckpointStore& store = *opened;
  Buffer payload;
  Result<CheckpointState> state = Error(Errc::not_found, "nothing is stored");
  std::vector<Token> tokens;
  std::uint64_t covered = 0;
  if (o.has("--text")) {
    TOKVAULT_ASSIGN(const Buffer text, read_all(o.text("--text")));
    TOKVAULT_ASSIGN(const auto match, store.match_text(n, text));
    tokens = match.tokens;
    state = store.find_state_text(n, text, nullptr);
    if (state && state->text.size() >= match.bytes) {
      state = store.find_state_text(n, text, &payload);
    } else if (!tokens.empty()) {
      state = Error(Errc::not_found, "");
    }
  } else if (o.has("--tokens")) {
    TOKVAULT_ASSIGN(tokens, tokens_of(o));
    TOKVAULT_ASSIGN(const auto match, store.match(n, tokens));
    state = store.find_state(n, tokens, nullptr);
    if (state && state->tokens.size() >= match.tokens) {
      state = store.find_state(n, tokens, &payload);
    } else {
      state = Error(Errc::not_found, "");
    }
  } else {
    return usage(o, "--tokens or --text is required");
  }
  if (state) {
    TOKVAULT_TRY(write_output(o, payload));
    answer(o,
           JsonObject()
               .field("kind", "state")
               .field("tokens", state->tokens.size())
               .field("text_bytes", state->text.size())
               .field("payload_bytes", payload.size()),
           "a state of " + std::to_string(state->tokens.size()) + " tokens, " +
               std::to_string(state->text.size()) + " bytes of text, " +
               std::to_string(payload.size()) + " bytes");
    return {};
  }
  // Two passes: how large each block is, then all of them at once. Again, if a writer replaced one
  // by one of another size in between.
  std::vector<CheckpointRead> reads;
  const auto is_other = [](const CheckpointRead& r) {
    return r.status == Errc::ok && r.payload_bytes != r.out.size();
  };
  do {
    TOKVAULT_ASSIGN(const auto match, store.match(n, tokens));
    reads.assign(match.blocks, {});
    for (std::uint32_t i = 0; i < match.blocks; ++i) reads[i].block = i;
    TOKVAULT_TRY(store.get(n, tokens, reads));
    std::uint64_t all = 0;
    for (const CheckpointRead& r : reads) all += r.payload_bytes;
    payload.assign(all, '\0');
    std::span<char> room(payload.data(), payload.size());
    for (CheckpointRead& r : reads) {
      r.out = room.first(r.payload_bytes);
      room = room.subspan(r.payload_bytes);
    }
    TOKVAULT_ASSIGN(covered, store.get(n, tokens, reads));
  } while (std::any_of(reads.begin(), reads.end(), is_other));
  std::uint64_t bytes = 0;
  for (const CheckpointRead& r : reads) {
    if (r.status != Errc::ok) break;
    bytes += r.payload_bytes;
  }
  payload.resize(bytes);
  if (covered == 0) return Error(Errc::not_found, "no prefix of this prompt is stored");
  TOKVAULT_TRY(write_output(o, payload));
  answer(o,
         JsonObject()
             .field("kind", "blocks")
             .field("tokens", covered)
             .field("payload_bytes", payload.size()),
         std::to_string(covered) + " tokens, " + std::to_string(payload.size()) + " bytes");
  return {};
}

Status kv_match(const KvCommand& o) {
  TOKVAULT_ASSIGN(const Namespace n, namespace_of(o));
  TOKVAULT_ASSIGN(const auto store, open_store(o, false));
  if (o.has("--text")) {
    TOKVAULT_ASSIGN(const Buffer text, read_all(o.text("--text")));
    TOKVAULT_ASSIGN(const auto match, store->match_text(n, text));
    const auto state = store->find_state_text(n, text, nullptr);
    const std::uint64_t state_bytes = state ? state->text.size() : 0;
    answer(o,
           JsonObject()
               .field("text_bytes", match.bytes)
               .field("tokens", match.tokens.size())
               .field("state_text_bytes", state_bytes)
               .field("prompt_bytes", text.size()),
           std::to_string(std::max(match.bytes, state_bytes)) + " of " +
               std::to_string(text.size()) + " bytes");
    return {};
  }
  if (!o.has("--tokens")) return usage(o, "--tokens or --text is required");
  TOKVAULT_ASSIGN(const auto tokens, tokens_of(o));
  TOKVAULT_ASSIGN(const auto match, store->match(n, tokens));
  const auto state = store->find_state(n, tokens, nullptr);
  const std::uint64_t state_tokens = state ? state->tokens.size() : 0;
  answer(o,
         JsonObject()
             .field("tokens", match.tokens)
             .field("blocks", match.blocks)
             .field("tail_tokens", match.tail_tokens)
             .field("state_tokens", state_tokens)
             .field("prompt_tokens", tokens.size()),
         std::to_string(std::max(match.tokens, state_tokens)) + " of " +
             std::to_string(tokens.size()) + " tokens");
  return {};
}

Status kv_explain(const KvCommand& o) {
  TOKVAULT_ASSIGN(const Namespace n, namespace_of(o));
  TOKVAULT_ASSIGN(const auto store, open_store(o, false));
  if (!o.has("--tokens")) return usage(o, "--tokens is required");
  TOKVAULT_ASSIGN(const auto tokens, tokens_of(o));
  const std::string sidecar = o.text("--sidecar");
  TOKVAULT_ASSIGN(const auto e, store->explain(n, tokens, sidecar));
  JsonObject json;
  json.field("tokens", e.match.tokens)
      .field("blocks", e.match.blocks)
      .field("prompt_tokens", e.prompt_tokens)
      .field("reason", e.reason)
      .field("detail", e.detail);
  std::string text = std::to_string(e.match.tokens) + " of " + std::to_string(e.prompt_tokens) +
                     " tokens; " + e.reason + ": " + e.detail;
  if (!sidecar.empty()) {
    json.field("sidecar_missing", e.sidecar_missing).field("sidecar_tokens", e.sidecar_tokens);
    if (e.sidecar_missing) {
      text += "; sidecar_missing: the longest boundary with '" + sidecar + "' is at token " +
              std::to_string(e.sidecar_tokens);
    }
  }
  answer(o, json, text);
  return {};
}

Status kv_list(const KvCommand& o) {
  TOKVAULT_ASSIGN(std::uint64_t left, number_of(o, "--limit", ~std::uint64_t{0}));
  TOKVAULT_ASSIGN(const auto store, open_store(o, false));
  if (left == 0) left = ~std::uint64_t{0};
  return store->list([&](const CheckpointEntry& e) {
    if (left-- == 0) return false;
    JsonObject json;
    json.field("kind", e.kind).field("key", e.key).field("parent", e.parent);
    json.raw("namespace", namespace_json(e.name_space));
    json.field("position", e.position).field("tokens", e.tokens).field("bytes", e.disk_bytes);
    json.field("hits", e.hits).field("children", e.children);
    answer(o, json,
           e.kind + " " + e.key + " " + printable(name_of(e.name_space)) + " at " +
               std::to_string(e.position) + " tokens " + std::to_string(e.tokens) + " bytes " +
               std::to_string(e.disk_bytes) + " hits " + std::to_string(e.hits));
    return true;
  });
}

Status kv_stats(const KvCommand& o) {
  TOKVAULT_ASSIGN(const auto store, open_store(o, false));
  const CheckpointStats s = store->stats();
  const std::pair<const char*, std::uint64_t> rows[] = {{"blocks", s.blocks},
                                                        {"sidecars", s.sidecars},
                                                        {"states", s.states},
                                                        {"namespaces", s.namespaces},
                                                        {"segments", s.segments},
                                                        {"budget_bytes", s.budget_bytes},
                                                        {"disk_bytes", s.disk_bytes},
                                                        {"live_bytes", s.live_bytes},
                                                        {"index_bytes", s.index_bytes},
                                                        {"memory_bytes", s.memory_bytes},
                                                        {"block_tokens", store->block_tokens()}};
  JsonObject json;
  for (const auto& [name, value] : rows) {
    json.field(name, value);
    if (!o.json) print_line(std::string(name) + " " + std::to_string(value));
  }
  if (o.json) print_line(json.text());
  return {};
}

Status kv_check(const KvCommand& o) {
  TOKVAULT_ASSIGN(auto store, open_store(o, false));
  if (o.has("--remove")) {  // there is a store, and none is made
    store.reset();
    TOKVAULT_ASSIGN(store, open_store(o, true));
  }
  TOKVAULT_ASSIGN(const CheckpointCheck c, store->check());
  TOKVAULT_TRY(store->close());
  answer(o,
         JsonObject().field("checked", c.checked).field("bad", c.bad).field("findings", c.findings),
         format_counted(c.checked, "record") + " checked, " + format_count(c.bad) + " bad");
  if (!o.json) {
    for (const std::string& finding : c.findings) print_line("  " + finding);
  }
  if (c.bad > 0 && !o.has("--remove")) {
    const bool one = c.bad == 1;
    return Error(Errc::corrupt, format_counted(c.bad, "record") +
                                    (one ? " is damaged; it is a miss until --remove takes it out "
                                           "and it is put again"
                                         : " are damaged; they are misses until --remove takes "
                                           "them out and they are put again"));
  }
  return {};
}

Status kv_evict(const KvCommand& o) {
  TOKVAULT_ASSIGN(const auto store, open_store(o, true));
  std::uint64_t gone = 0;
  if (o.has("--expired")) {
    TOKVAULT_ASSIGN(gone, store->expire());
  }
  if (o.has("--bytes")) {
    TOKVAULT_ASSIGN(const std::uint64_t bytes, size_of(o, "--bytes"));
    TOKVAULT_TRY(store->evict(bytes));
  }
  gone += store->stats().evicted;  // what a smaller --budget evicted at once counts too
  TOKVAULT_TRY(store->close());
  answer(o, JsonObject().field("evicted", gone), std::to_string(gone) + " records");
  return {};
}

// Why an export wrote less than the store has.
void note_not_exported(const KvCommand& o, const KvcTransfer& done, const CheckpointStats& stats) {
  if (done.skipped > 0) {
    print_note(format_counted(done.skipped, "state") +
               " skipped: not from KVC files, but stored by kv put or an engine");
  } else if (done.files == 0 && stats.states + stats.blocks > 0) {
    print_note("no state is in the namespace " + in_quotes(o.text("--namespace", "kvc")) +
               "; --namespace names another, and kv list shows them" +
               (stats.blocks > 0 ? " (blocks are not exported)" : ""));
  }
}

Status kv_transfer(const KvCommand& o, bool import) {
  if (!o.has("--kvc")) return usage(o, "--kvc is required");
  TOKVAULT_ASSIGN(const Namespace n, namespace_of(o));
  if (import) {
    TOKVAULT_TRY(need_kvc_folder(o));
  } else {
    TOKVAULT_TRY(folder_outside_of(o.target, o.text("--kvc")));
  }
  TOKVAULT_ASSIGN(const auto store, open_store(o, import));
  const std::string folder = o.text("--kvc");
  auto done = import ? import_kvc(*store, n, folder) : export_kvc(*store, n, folder);
  if (!done) return std::move(done).error();
  const CheckpointStats stats = store->stats();
  TOKVAULT_TRY(store->close());
  if (!import && !o.json) note_not_exported(o, *done, stats);
  answer(o,
         JsonObject()
             .field("files", done->files)
             .field("skipped", done->skipped)
             .field("bad", done->bad)
             .field("refused", done->refused),
         std::to_string(done->files) + " files, " + std::to_string(done->skipped) + " skipped, " +
             std::to_string(done->bad) + " bad, " + std::to_string(done->refused) + " refused");
  return {};
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

Status kv_import(const KvCommand& o) { return kv_transfer(o, true); }

Status kv_export(const KvCommand& o) { return kv_transfer(o, false); }

// What messages call a file that is read.
std::string name_of_input(const std::string& path) { return path == "-" ? "standard input" : path; }

// The text of a trace, plain or compressed.
Result<Buffer> trace_of(const std::string& path) {
  constexpr std::uint64_t kLineBytesMax = 1 << 30;
  TOKVAULT_ASSIGN(const auto lines, LineReader::open(path, kLineBytesMax));
  Buffer text;
  for (LineReader::Line line;;) {
    TOKVAULT_ASSIGN(const bool more, lines->next(line));
    if (!more) return text;
    if (line.too_long) {
      return Error(Errc::invalid, name_of_input(path) + ": trace line " +
                                      std::to_string(line.number) + ": over 1 GiB");
    }
    text += line.text;
    text += '\n';
  }
}

Status kv_replay(const KvCommand& o) {
  TOKVAULT_ASSIGN(const Buffer trace, trace_of(o.target));
  ReplayOptions options;
  if (o.has("--budget")) {
    options.budgets_percent.clear();
    for (const std::string& part : split(o.text("--budget"))) {
      double percent = 0;
      const char* const end = part.data() + part.size();
      const auto [after, failed] = std::from_chars(part.data(), end, percent);
      if (failed != std::errc() || after != end) {
        return usage(o, in_quotes(part) + " is no percentage");
      }
      options.budgets_percent.push_back(percent);
    }
  }
  if (o.has("--policy")) options.policies = split(o.text("--policy"));
  if (o.has("--block-tokens")) {
    TOKVAULT_ASSIGN(const std::uint64_t tokens, number_of(o, "--block-tokens", 1u << 20));
    options.block_tokens = static_cast<std::uint32_t>(tokens);
  }
  auto replayed = replay_trace(trace, options);
  if (!replayed) return std::move(replayed).error().with(name_of_input(o.target));
  const ReplayReport r = std::move(*replayed);
  std::vector<std::string> rows;
  if (!o.json) {
    char line[160];
    std::snprintf(
        line, sizeof line, "%llu requests, %llu blocks, %llu unique, %.2f %% hit unbounded",
        static_cast<unsigned long long>(r.requests), static_cast<unsigned long long>(r.blocks),
        static_cast<unsigned long long>(r.unique_blocks), r.unbounded_hit_percent);
    print_line(line);
    if (r.requests_too_short + r.partial_blocks > 0) {
      print_line("left out: " + format_counted(r.requests_too_short, "request") +
                 " without a whole block of " + format_count(options.block_tokens) + " tokens, " +
                 format_counted(r.partial_blocks, "partial last block"));
    }
    print_line("budget %  policy           hit %  cost hit %   tokens saved  written   evictions");
  }
  for (const ReplayRow& row : r.rows) {
    if (o.json) {
      rows.push_back(JsonObject()
                         .field("policy", row.policy)
                         .field("budget_percent", row.budget_percent)
                         .field("budget_blocks", row.budget_blocks)
                         .field("hit_percent", row.hit_percent)
                         .field("cost_hit_percent", row.cost_hit_percent)
                         .field("tokens_saved", row.tokens_saved)
                         .field("blocks_written", row.blocks_written)
                         .field("written_ratio", row.written_ratio)
                         .field("evictions", row.evictions)
                         .text());
      continue;
    }
    char line[160];
    std::snprintf(line, sizeof line, "%8.1f  %-14s %7.2f %11.2f %14llu %8.2f %11llu",
                  row.budget_percent, row.policy.c_str(), row.hit_percent, row.cost_hit_percent,
                  static_cast<unsigned long long>(row.tokens_saved), row.written_ratio,
                  static_cast<unsigned long long>(row.evictions));
    print_line(line);
  }
  if (o.json) {
    print_line(JsonObject()
                   .field("requests", r.requests)
                   .field("requests_too_short", r.requests_too_short)
                   .field("partial_blocks", r.partial_blocks)
                   .field("blocks", r.blocks)
                   .field("unique_blocks", r.unique_blocks)
                   .field("unbounded_hit_percent", r.unbounded_hit_percent)
                   .raw("rows", json_array(rows))
                   .text());
  }
  return {};
}

Status run(const KvCommand& o) {
  static const std::map<std::string, Status (*)(const KvCommand&)> kCommands = {
      {"put", kv_put},       {"get", kv_get},       {"match", kv_match},  {"explain", kv_explain},
      {"list", kv_list},     {"stats", kv_stats},   {"check", kv_check},  {"evict", kv_evict},
      {"import", kv_import}, {"export", kv_export}, {"replay", kv_replay}};
  return kCommands.at(o.name)(o);
}

}  // namespace

ExitStatus run_kv(const KvCommand& command) {
  TOKVAULT_TRY(run(command));
  return 0;
}

}  // namespace tokvault::cli
