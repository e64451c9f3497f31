// Files of a vault in words, for people who look for what went wrong.

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/file.h"
#include "format/artifact.h"
#include "format/log.h"
#include "format/pack.h"
#include "format/record.h"
#include "tokvault/catalog.h"
#include "tokvault/vault.h"
#include "vault/source.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kDumpBytesMax = std::uint64_t{4} << 30;

// Lines "name: value" or JSON members; names and values are made here and need no escaping.
class Printer {
 public:
  explicit Printer(bool json) : json_(json) { out_ = json ? "{" : ""; }
  void field(const std::string& name, const std::string& value, bool quoted = true) {
    if (json_) {
      out_ += (out_.back() == '{' ? "\"" : ",\"") + name +
              "\":" + (quoted ? "\"" + value + "\"" : value);
    } else {
      out_ += name + ": " + value + "\n";
    }
  }
  void number(const std::string& name, std::uint64_t value) {
    field(name, std::to_string(value), false);
  }
  void begin_list(const std::string& name) {
    if (json_) out_ += ",\"" + name + "\":[";
    first_ = true;
  }
  void item(const std::string& text, const std::string& json) {
    if (json_) {
      out_ += (first_ ? "{" : ",{") + json + "}";
    } else {
      out_ += "  " + text + "\n";
    }
    first_ = false;
  }
  void end_list() {
    if (json_) out_ += "]";
  }
  std::string finish() { return json_ ? out_ + "}\n" : out_; }

 private:
  const bool json_;
  bool first_ = true;
  std::string out_;
};

void describe_vault(Printer& out, const VaultRecord& v) {
  out.field("vault", to_hex(v.id));
  out.field("tokenizer", to_hex(v.tokenizer).empty() ? "" : v.tokenizer);
}

Result<FileDump> dump_log(ByteView file, bool json) {
  std::uint64_t at = 0;
  TOKVAULT_ASSIGN(const LogHeader header, decode_log_header(file, at));
  Printer out(json);
  out.field("kind", "log");
  out.number("version", header.version);
  out.number("number", header.number);
  describe_vault(out, header.vault);
  out.number("bytes", file.size());
  out.begin_list("batches");
  std::string end = "whole", damage;
  std::uint64_t budget = search_budget(file);
  for (;;) {
    BatchHeader h;
    BatchPieces pieces;
    TOKVAULT_ASSIGN(const BatchState state, read_batch(file, header.number, 0, at, h, pieces));
    if (state == BatchState::end) break;
    if (state == BatchState::torn) {
      const bool is_damaged = has_batch_after(file, header.number, at, budget);
      end = (is_damaged ? "damaged at " : "torn at ") + std::to_string(at);
      if (is_damaged) damage = end + ", with whole batches behind it";
      break;
    }
    const std::string o = std::to_string(at), s = std::to_string(h.sequence),
                      p = std::to_string(h.payload_size), b = std::to_string(h.body_size),
                      t = std::to_string(h.tenant), c = std::to_string(h.section);
    const std::string d = h.dictionary == 0 ? "" : std::to_string(h.dictionary);
    const bool apart = (h.flags & kTextApart) != 0;
    const std::string x = std::to_string(h.text_size);
    out.item("at " + o + ": sequence " + s + ", tenant " + t + ", section " + c + ", " + p +
                 " bytes for " + b + (apart ? " and " + x + " of text" : "") +
                 (d.empty() ? "" : ", with the dictionary of artifact " + d),
             "\"offset\":" + o + ",\"sequence\":" + s + ",\"tenant\":" + t + ",\"section\":" + c +
                 ",\"payload_bytes\":" + p + ",\"body_bytes\":" + b +
                 (apart ? ",\"text_bytes\":" + x : "") + (d.empty() ? "" : ",\"dictionary\":" + d));
    at += kBatchHeaderBytes + h.payload_size;
  }
  out.end_list();
  out.field("end", end);
  return FileDump{out.finish(), damage};
}

Result<FileDump> dump_pack(ByteView file, bool json) {
  TOKVAULT_ASSIGN(const PackHeader header, decode_pack_header(file));
  if (file.size() < kPackHeaderBytes + kPackTrailerBytes) {
    return Error(Errc::corrupt, "damaged pack: it is too short");
  }
  TOKVAULT_ASSIGN(const Extent extent,
                  decode_pack_trailer(file.substr(file.size() - kPackTrailerBytes), file.size()));
  TOKVAULT_ASSIGN(const PackFooter f,
                  decode_pack_footer(file.substr(extent.offset, extent.size), extent, header));
  Printer out(json);
  out.field("kind", "pack");
  out.number("version", header.version);
  out.number("number", header.number);
  describe_vault(out, f.vault);
  out.number("tenant", header.tenant);
  out.number("bytes", file.size());
  out.field("set", to_hex(f.set_id));
  std::string list;
  for (std::uint64_t n : f.set_supersedes) list += (list.empty() ? "" : " ") + std::to_string(n);
  out.field("supersedes", list);
  out.number("conversations", f.counts.rows);
  out.number("messages_stored", f.counts.nodes);
  out.number("externals", f.counts.externals);
  out.number("token_segments", f.counts.segments[kTokenStream]);
  out.number("byte_segments", f.counts.segments[kByteStream]);
  out.number("tokens_stored", f.tokens_stored);
  out.number("sequence_first", f.sequence_first);
  out.number("sequence_last", f.sequence_last);
  out.number("records", f.record_count);
  const std::string streams[] = {"tokens", "bytes"};
  for (std::size_t s = 0; s < kStreams; ++s) {
    const PackStream& stream = f.streams[s];
    if (f.counts.segments[s] == 0) continue;
    out.field(streams[s] + "_codec", codec_name(stream.codec));
    if (!stream.artifacts.empty()) out.number(streams[s] + "_artifact", stream.artifacts[0]);
    if (stream.block_count == 0) continue;
    out.number(streams[s] + "_blocks", stream.block_count);
    if (stream.codec != PackCodec::zstd_bases) continue;
    const auto table = decode_pack_segments(file.substr(stream.table.offset, stream.table.size),
                                            f.counts.segments[s], stream);
    if (!table) continue;  // damaged, as its part below says
    const auto none = std::count(table->block_bases.begin(), table->block_bases.end(), 0u);
    out.number(streams[s] + "_blocks_with_bases",
               stream.block_count - static_cast<std::uint64_t>(none));
  }
  out.begin_list("parts");
  std::string damage;
  auto part = [&](const std::string& name, const Extent& e) {
    const bool good = checksum32(file.substr(e.offset, e.size)) == e.checksum;
    if (!good) damage += (damage.empty() ? "bad checksums: " : ", ") + name;
    const std::string o = std::to_string(e.offset), s = std::to_string(e.size);
    out.item(name + " at " + o + ", " + s + " bytes" + (good ? "" : ", BAD CHECKSUM"),
             "\"part\":\"" + name + "\",\"offset\":" + o + ",\"bytes\":" + s +
                 ",\"good\":" + (good ? "true" : "false"));
  };
  for (std::size_t s = 0; s < kStreams; ++s) {
    const std::string& prefix = streams[s];
    if (f.streams[s].dictionary.size > 0) part(prefix + " dictionary", f.streams[s].dictionary);
    if (f.streams[s].table.size == 0) continue;
    part(prefix + " blocks", f.streams[s].blocks);
    part(prefix + " segments", f.streams[s].table);
  }
  part("token map", f.token_map);
  const char* const tables[kTableParts] = {"strings", "ids",      "model",  "application",
                                           "time",    "sequence", "tokens", "text bytes",
                                           "trie",    "externals"};
  for (std::size_t i = 0; i < kTableParts; ++i) part(tables[i], f.tables[i]);
  if (f.usage_count > 0) part("usage", f.usage);
  if (f.record_count > 0) part("records", f.records);
  if (f.id_filter.size > 0) part("id filter", f.id_filter);
  out.end_list();
  return FileDump{out.finish(), damage};
}

Result<FileDump> dump_artifact(ByteView file, bool json) {
  TOKVAULT_ASSIGN(const Artifact a, decode_artifact(file));
  static constexpr const char* kKinds[] = {"", "dictionary", "substring set", "token model"};
  Printer out(json);
  out.field("kind", "artifact");
  out.number("number", a.number);
  out.field("vault", to_hex(a.vault_id));
  out.number("tenant", a.tenant);
  out.field("artifact", kKinds[static_cast<std::size_t>(a.record.kind)]);
  out.number("id", a.record.id);
  out.field("created_ms", std::to_string(a.record.created_ms), false);
  out.number("bytes", file.size());
  out.number("content_bytes", a.content.size());
  out.number("conversations", a.record.conversations);
  out.number("samples", a.record.samples);
  out.number("sample_bytes", a.record.sample_bytes);
  return FileDump{out.finish(), ""};
}

void describe_bytes(Printer& out, ByteView file) {
  out.number("bytes", file.size());
  const Digest sha = sha256(file);
  out.field("sha256", to_hex(ByteView(reinterpret_cast<const char*>(sha.data()), sha.size())));
}

const char* name_of(RecordKind kind) {
  switch (kind) {
    case RecordKind::tenant:
      return "tenant";
    case RecordKind::deletion:
      return "deletion";
    case RecordKind::tag:
      return "tag";
    case RecordKind::progress:
      return "progress";
    case RecordKind::artifact:
      return "artifact";
    case RecordKind::active:
      return "active";
    case RecordKind::hold:
      return "hold";
  }
  return "unknown";
}

// The rows of catalog.db; docs/format/catalog.md.
Result<FileDump> dump_catalog(const std::string& path, ByteView file, bool json) {
  Printer out(json);
  out.field("kind", "catalog (SQLite)");
  describe_bytes(out, file);
  TOKVAULT_ASSIGN(const auto catalog, make_sqlite_catalog(path, {.read_only = true}));
  const auto state = catalog->load();
  if (!state) {
    if (state.code() == Errc::not_found) return FileDump{out.finish(), "it holds no catalog"};
    if (state.code() != Errc::corrupt) return state.error().clone();
    return FileDump{out.finish(), without_name(state.error(), path)};
  }
  out.number("generation", state->generation);
  out.number("next_file", state->next_file);
  const auto vault = decode_vault(state->vault_record);
  if (vault) describe_vault(out, *vault);
  out.begin_list("files");
  for (const CatalogFile& f : state->files) {
    const std::string kind = f.kind == CatalogFile::Kind::log ? "log" : "pack";
    const std::string n = std::to_string(f.number), t = std::to_string(f.tenant),
                      b = std::to_string(f.size_bytes), c = std::to_string(f.conversations),
                      s = std::to_string(f.sequence_first), e = std::to_string(f.sequence_last),
                      from = std::to_string(f.time_first_ms), to = std::to_string(f.time_last_ms);
    out.item(
        kind + " " + n + ": tenant " + t + ", " + b + " bytes, " + c + " conversations, sequence " +
            s + " to " + e + ", time " + from + " to " + to + " ms",
        "\"kind\":\"" + kind + "\",\"number\":" + n + ",\"tenant\":" + t + ",\"bytes\":" + b +
            ",\"conversations\":" + c + ",\"sequence_first\":" + s + ",\"sequence_last\":" + e +
            ",\"time_first_ms\":" + from + ",\"time_last_ms\":" + to);
  }
  out.end_list();
  std::map<std::string, std::uint64_t> records;
  for (const CatalogRecord& r : state->records) {
    ++records[name_of(r.key.empty() ? RecordKind() : static_cast<RecordKind>(r.key[0]))];
  }
  out.begin_list("records");
  for (const auto& [kind, count] : records) {
    const std::string n = std::to_string(count);
    out.item("records of kind " + kind + ": " + n, "\"kind\":\"" + kind + "\",\"count\":" + n);
  }
  out.end_list();
  return FileDump{out.finish(), vault ? "" : "what it says of the vault cannot be decoded"};
}

// A vault's vocabulary is named by half of its SHA-256.
FileDump dump_vocabulary(const std::string& path, ByteView file, bool json) {
  Printer out(json);
  out.field("kind", "vocabulary");
  describe_bytes(out, file);
  const std::string stem = std::filesystem::path(path).stem();
  const bool is_hash =
      stem.size() == 32 && stem.find_first_not_of("0123456789abcdef") == std::string::npos;
  const Digest sha = sha256(file);
  const std::string hash = to_hex(ByteView(reinterpret_cast<const char*>(sha.data()), 16));
  return {out.finish(), is_hash && stem != hash ? "its SHA-256 begins with " + hash : ""};
}

bool is_called_catalog(const std::string& path) {
  return std::filesystem::path(path).filename() == "catalog.db";
}

// A file that begins like none of a vault's: one that is called like them is damaged.
Error not_ours(const std::string& path) {
  for (const char* const ending : {".log", ".pack", ".artifact"}) {
    if (path.ends_with(ending)) return Error(Errc::corrupt, "it does not begin as its name says");
  }
  return Error(Errc::invalid, "no log, pack, artifact or catalog of a vault");
}

}  // namespace

Result<FileDump> dump_file(const std::string& path, bool json) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) {
    return Error(Errc::invalid, path + " is a folder, not a file of a vault");
  }
  auto bytes = read_file(path, kDumpBytesMax);
  if (!bytes) return std::move(bytes).error();
  const std::uint32_t magic = bytes->size() < 4 ? 0 : load_le<std::uint32_t>(bytes->data());
  auto dump = [&]() -> Result<FileDump> {
    if (magic == kLogMagic) return dump_log(*bytes, json);
    if (magic == kPackMagic) return dump_pack(*bytes, json);
    if (magic == kArtifactMagic) return dump_artifact(*bytes, json);
    // SQLite's header, and the application in it.
    const bool is_catalog = bytes->starts_with("SQLite format 3") && bytes->size() >= 72 &&
                            bytes->substr(68, 4) == "tkvc";
    if (is_catalog || is_called_catalog(path)) return dump_catalog(path, *bytes, json);
    if (path.ends_with(".tiktoken")) return dump_vocabulary(path, *bytes, json);
    return not_ours(path);
  }();
  if (!dump) {
    const std::string what = without_name(dump.error(), path);
    return Error(dump.code(), path + ": " + what, dump.error().os_code());
  }
  return dump;
}

}  // namespace tokvault
