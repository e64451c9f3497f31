// Files of a vault in words, for people who look for what went wrong.

#include <fcntl.h>

#include <algorithm>
#include <filesystem>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/file.h"
#include "format/artifact.h"
#include "format/log.h"
#include "format/pack.h"
#include "tokvault/vault.h"

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

Result<std::string> dump_log(ByteView file, bool json) {
  std::uint64_t at = 0;
  TOKVAULT_ASSIGN(const LogHeader header, decode_log_header(file, at));
  Printer out(json);
  out.field("kind", "log");
  out.number("version", header.version);
  out.number("number", header.number);
  describe_vault(out, header.vault);
  out.number("bytes", file.size());
  out.begin_list("batches");
  std::string end = "whole";
  std::uint64_t budget = search_budget(file);
  for (;;) {
    BatchHeader h;
    BatchPieces pieces;
    TOKVAULT_ASSIGN(const BatchState state, read_batch(file, header.number, 0, at, h, pieces));
    if (state == BatchState::end) break;
    if (state == BatchState::torn) {
      end = has_batch_after(file, header.number, at, budget) ? "damaged at " : "torn at ";
      end += std::to_string(at);
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
  return out.finish();
}

Result<std::string> dump_pack(ByteView file, bool json) {
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
  auto part = [&](const std::string& name, const Extent& e) {
    const bool good = checksum32(file.substr(e.offset, e.size)) == e.checksum;
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
  return out.finish();
}

Result<std::string> dump_artifact(ByteView file, bool json) {
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
  return out.finish();
}

// A file that begins like none of a vault's: one that is called like them is damaged.
Error not_ours(const std::string& path) {
  for (const char* const ending : {".log", ".pack", ".artifact"}) {
    if (path.ends_with(ending)) return Error(Errc::corrupt, "it does not begin as its name says");
  }
  return Error(Errc::invalid, "no log, pack, artifact or catalog of a vault");
}

}  // namespace

Result<std::string> dump_file(const std::string& path, bool json) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) {
    return Error(Errc::invalid, path + " is a folder, not a file of a vault");
  }
  auto bytes = read_file(path, kDumpBytesMax);
  if (!bytes) return std::move(bytes).error();
  const std::uint32_t magic = bytes->size() < 4 ? 0 : load_le<std::uint32_t>(bytes->data());
  auto text = [&]() -> Result<std::string> {
    if (magic == kLogMagic) return dump_log(*bytes, json);
    if (magic == kPackMagic) return dump_pack(*bytes, json);
    if (magic == kArtifactMagic) return dump_artifact(*bytes, json);
    const bool is_catalog = bytes->starts_with("SQLite format 3");
    if (!is_catalog && !path.ends_with(".tiktoken")) return not_ours(path);
    Printer out(json);
    out.field("kind", is_catalog ? "catalog (SQLite)" : "vocabulary");
    out.number("bytes", bytes->size());
    const Digest sha = sha256(*bytes);
    out.field("sha256", to_hex(ByteView(reinterpret_cast<const char*>(sha.data()), sha.size())));
    return out.finish();
  }();
  if (!text) return std::move(text).error().with(path);
  return text;
}

}  // namespace tokvault
