// The command explain: where the bytes are, and what was there already.
#include <algorithm>

#include "commands.h"
#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

constexpr auto kRight = Table::Align::right;
constexpr std::uint64_t kNearest = 3;

std::string numbers_json(const std::vector<std::uint64_t>& numbers) {
  std::vector<std::string> out;
  for (const std::uint64_t n : numbers) out.push_back(std::to_string(n));
  return json_array(out);
}

std::string origins_json(const TokenOrigins& o) {
  return JsonObject()
      .field("tokens", o.tokens)
      .field("prefix", o.prefix)
      .field("exact", o.exact)
      .field("near", o.near)
      .field("substring", o.substring)
      .field("novel", o.novel)
      .text();
}

void print_origins(const TokenOrigins& o) {
  Table table({{""}, {"", kRight}, {"", kRight}, {""}});
  const auto add = [&](const char* name, std::uint64_t tokens, const char* what) {
    table.add({name, format_count(tokens),
               format_percent(static_cast<double>(tokens), static_cast<double>(o.tokens)), what});
  };
  add("tokens", o.tokens, "");
  add("  prefix", o.prefix, "the same messages begin an earlier conversation");
  add("  exact", o.exact, "the same text is stored already");
  add("  near", o.near, "an earlier text has nearly all of it");
  add("  substring", o.substring, "passages of earlier texts");
  add("  novel", o.novel, "seen for the first time");
  table.print();
}

std::string saved_json(const DiskSavings& s) {
  return JsonObject()
      .field("alone", s.alone)
      .field("prefix", s.prefix)
      .field("exact", s.exact)
      .field("near", s.near)
      .field("substring", s.substring)
      .field("context", s.context)
      .field("model", s.model)
      .field("dictionary", s.dictionary)
      .field("substring_set", s.substring_set)
      .field("disk", s.disk)
      .field("pack_dictionary", s.pack_dictionary)
      .field("bases", s.bases)
      .field("code_bytes", s.code_bytes)
      .field("measured_bytes", s.measured_bytes)
      .text();
}

void print_saved(const DiskSavings& s) {
  if (s.alone == 0) return;
  Table table({{"SAVED IN PACKS"}, {"BYTES", kRight}, {"", kRight}, {""}});
  const auto add = [&](const char* name, std::uint64_t bytes, const char* what) {
    table.add({name, format_bytes(bytes),
               format_percent(static_cast<double>(bytes), static_cast<double>(s.alone)), what});
  };
  add("alone", s.alone, "what every text would take by itself");
  add("  prefix", s.prefix, "messages that are not stored again");
  add("  exact", s.exact, "texts that are not stored again");
  add("  near", s.near, "copied from nearly the same texts");
  add("  substring", s.substring, "copied passages");
  add("  context", s.context, "what else texts have in common");
  if (s.pack_dictionary + s.bases > 0) {
    add("    by dictionaries", s.pack_dictionary, "of these three: of packs, to their blocks");
    add("    by bases", s.bases, "of these three: texts that blocks name");
  }
  add("  model", s.model, "token LZ and token models instead of zstd");
  add("  dictionary", s.dictionary, "taken from dictionaries of the vault");
  add("  substrings", s.substring_set, "taken from sets of substrings");
  add("disk", s.disk, "what is left");
  table.print();
}

std::string stream_name(const std::string& codec, const std::vector<std::uint64_t>& artifacts) {
  std::string name = codec;
  for (const std::uint64_t number : artifacts) name += " +artifact " + std::to_string(number);
  return name;
}

ExitStatus explain_one(const ExplainCommand& command, const Vault& vault) {
  ProgressLine progress("explain");
  TOKVAULT_ASSIGN(const auto one, vault.explain_conversation(command.id, command.tenant));
  NearOptions options;
  options.filter.tenant = command.tenant;
  options.method = Likeness::anchors;
  options.limit = kNearest;
  std::vector<NearConversation> near;
  if (command.families > 0) {
    TOKVAULT_ASSIGN(near, vault.find_near(command.id, options, progress.callback()));
  }
  if (command.json) {
    std::vector<std::string> nearest;
    for (const NearConversation& n : near) {
      nearest.push_back(JsonObject()
                            .field("id", n.summary.id)
                            .field("similarity", n.similarity)
                            .field("tokens", n.summary.tokens)
                            .text());
    }
    print_line(JsonObject()
                   .field("id", one.summary.id)
                   .field("file", one.file)
                   .field("messages", one.summary.messages)
                   .field("text_bytes", one.summary.text_bytes)
                   .raw("origins", origins_json(one.origins))
                   .field("codec", one.codec)
                   .raw("artifacts", numbers_json(one.artifacts))
                   .field("code_bytes", one.code_bytes)
                   .field("disk_bytes", one.disk_bytes)
                   .raw("saved", saved_json(one.saved))
                   .raw("nearest", json_array(nearest))
                   .text());
    return 0;
  }
  print_line(printable(one.summary.id) + ": " + format_counted(one.summary.messages, "message") +
             ", " + format_bytes(one.summary.text_bytes) + " of text, in " + one.file);
  print_origins(one.origins);
  if (!one.codec.empty()) {
    print_line("on disk about " + format_bytes(one.disk_bytes) + " of " +
               stream_name(one.codec, one.artifacts));
  }
  print_saved(one.saved);
  for (const NearConversation& n : near) {
    print_line("near " + printable(n.summary.id) + "  " + format_percent(n.similarity, 1));
  }
  return 0;
}

// What is near, and why it is not there.
struct Families {
  std::vector<DuplicateGroup> largest;
  DuplicateReport report;
  std::string missing;  // empty: nothing is
};

// A vault is explained without its families if they do not fit the memory.
Result<Families> find_families(const ExplainCommand& command, const Vault& vault,
                               const Progress& progress) {
  Families out;
  if (command.families == 0) return out;
  DuplicateOptions options;
  options.filter.tenant = command.tenant;
  options.memory_bytes_max = command.memory_bytes_max;
  const auto visit = [&](const DuplicateGroup& group) {
    out.largest.push_back(group);
    return out.largest.size() < command.families;
  };
  auto found = vault.find_duplicates(options, visit, progress);
  if (!found && found.code() == Errc::exhausted) {
    out.missing = found.error().message();
    return out;
  }
  TOKVAULT_ASSIGN(out.report, std::move(found));
  return out;
}

void print_all_json(const Explanation& all, const VaultStats& stats, const Families& families) {
  std::vector<std::string> streams;
  for (const StoredStream& s : all.streams) {
    streams.push_back(JsonObject()
                          .field("stream", s.stream)
                          .field("codec", s.codec)
                          .raw("artifacts", numbers_json(s.artifacts))
                          .field("files", s.files)
                          .field("frames", s.frames)
                          .field("code_bytes", s.code_bytes)
                          .field("disk_bytes", s.disk_bytes)
                          .text());
  }
  std::vector<std::string> groups;
  for (const DuplicateGroup& group : families.largest) {
    groups.push_back(JsonObject()
                         .field("representative", group.representative.id)
                         .field("conversations", group.duplicates.size() + 1)
                         .field("duplicate_tokens", group.duplicate_tokens)
                         .text());
  }
  JsonObject out;
  out.field("conversations", all.conversations)
      .field("text_bytes", stats.text_bytes)
      .raw("origins", origins_json(all.origins))
      .raw("streams", json_array(streams))
      .field("pack_bytes", stats.pack_bytes)
      .field("pack_table_bytes", stats.pack_table_bytes)
      .field("log_bytes", stats.log_bytes)
      .field("artifact_bytes", stats.artifact_bytes)
      .field("catalog_bytes", stats.catalog_bytes)
      .field("leftover_bytes", stats.leftover_bytes)
      .field("damaged_bytes", stats.damaged_bytes)
      .field("total_bytes", stats.total_bytes)
      .field("groups", families.report.groups)
      .field("duplicates", families.report.duplicates)
      .raw("families", json_array(groups))
      .raw("saved", saved_json(all.saved));
  if (!families.missing.empty()) out.field("families_missing", families.missing);
  print_line(out.text());
}

// The streams, and beside them all that is no stream.
void print_disk(const Explanation& all, const VaultStats& stats) {
  Table table({{"ON DISK"},
               {"CODEC"},
               {"FILES", kRight},
               {"FRAMES", kRight},
               {"CODES", kRight},
               {"BYTES", kRight}});
  std::uint64_t frame_bytes = 0;  // of logs
  for (const StoredStream& s : all.streams) {
    if (s.stream == "log") frame_bytes += s.disk_bytes;
    table.add({s.stream, stream_name(s.codec, s.artifacts), format_count(s.files),
               format_count(s.frames), format_bytes(s.code_bytes), format_bytes(s.disk_bytes)});
  }
  const auto add = [&](const char* name, std::uint64_t bytes) {
    if (bytes > 0) table.add({name, "", "", "", "", format_bytes(bytes)});
  };
  add("tables", stats.pack_table_bytes);
  // Frames are counted with the headers of their batches; a log may have been sealed since then.
  add("log headers", stats.log_bytes - std::min(stats.log_bytes, frame_bytes));
  add("artifacts", stats.artifact_bytes);
  add("catalog", stats.catalog_bytes);
  add("leftovers", stats.leftover_bytes);
  add("damaged", stats.damaged_bytes);
  table.add({"total", "", "", "", "", format_bytes(stats.total_bytes)});
  table.print();
}

void print_all(const Explanation& all, const VaultStats& stats, const Families& families) {
  print_line(format_counted(all.conversations, "conversation") + ", " +
             format_bytes(stats.text_bytes) + " of text");
  print_origins(all.origins);
  print_disk(all, stats);
  print_saved(all.saved);
  if (all.saved.measured_bytes > 0 && all.saved.measured_bytes < all.saved.code_bytes) {
    print_note("what was saved is measured on " + format_bytes(all.saved.measured_bytes) + " of " +
               format_bytes(all.saved.code_bytes) + " of codes of tokens");
  }
  if (!families.missing.empty()) {
    print_note("no families of near-duplicates: " + printable(families.missing) + " (--memory)");
  }
  if (families.largest.empty()) return;
  Table largest({{"FAMILY"}, {"CONVERSATIONS", kRight}, {"TOKENS OF THE OTHERS", kRight}});
  for (const DuplicateGroup& group : families.largest) {
    largest.add({printable(group.representative.id), format_count(group.duplicates.size() + 1),
                 format_count(group.duplicate_tokens)});
  }
  largest.print();
  if (families.report.groups > families.largest.size()) {
    print_note("there are more: " + format_count(families.report.groups) +
               " families of near-duplicates");
  }
}

// What a tenant takes on disk. The only one takes all, with the catalog and whatever else is in the
// vault; of several nobody can say whose that is.
Result<VaultStats> stats_of(const Vault& vault, const std::string& tenant) {
  TOKVAULT_ASSIGN(const auto tenants, vault.tenants());
  return tenants.size() == 1 ? vault.stats() : vault.stats(tenant);
}

}  // namespace

ExitStatus run_explain(const ExplainCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  if (!command.id.empty()) return explain_one(command, *vault);
  ProgressLine progress("explain");
  TOKVAULT_ASSIGN(const Explanation all, vault->explain(command.tenant, progress.callback()));
  TOKVAULT_ASSIGN(const VaultStats stats, stats_of(*vault, command.tenant));
  TOKVAULT_ASSIGN(const Families families, find_families(command, *vault, progress.callback()));
  if (command.json) {
    print_all_json(all, stats, families);
  } else {
    print_all(all, stats, families);
  }
  return 0;
}

}  // namespace tokvault::cli
