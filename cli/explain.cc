// The command explain: where the bytes are, and what was there already.
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

std::string stream_name(const std::string& codec, const std::vector<std::uint64_t>& artifacts) {
  std::string name = codec;
  for (const std::uint64_t number : artifacts) name += " +" + std::to_string(number);
  return name;
}

ExitStatus explain_one(const ExplainCommand& command, const Vault& vault) {
  TOKVAULT_ASSIGN(const auto one, vault.explain_conversation(command.id, command.tenant));
  NearOptions options;
  options.filter.tenant = command.tenant;
  options.method = Likeness::anchors;
  options.limit = kNearest;
  std::vector<NearConversation> near;
  if (command.families > 0) {
    ProgressLine progress("explain");
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
  for (const NearConversation& n : near) {
    print_line("near " + printable(n.summary.id) + "  " + format_percent(n.similarity, 1));
  }
  return 0;
}

void print_all_json(const Explanation& all, const VaultStats& stats,
                    const std::vector<DuplicateGroup>& families, const DuplicateReport& report) {
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
  for (const DuplicateGroup& group : families) {
    groups.push_back(JsonObject()
                         .field("representative", group.representative.id)
                         .field("conversations", group.duplicates.size() + 1)
                         .field("duplicate_tokens", group.duplicate_tokens)
                         .text());
  }
  print_line(JsonObject()
                 .field("conversations", all.conversations)
                 .field("text_bytes", stats.text_bytes)
                 .raw("origins", origins_json(all.origins))
                 .raw("streams", json_array(streams))
                 .field("pack_bytes", stats.pack_bytes)
                 .field("pack_table_bytes", stats.pack_table_bytes)
                 .field("log_bytes", stats.log_bytes)
                 .field("artifact_bytes", stats.artifact_bytes)
                 .field("groups", report.groups)
                 .field("duplicates", report.duplicates)
                 .raw("families", json_array(groups))
                 .text());
}

void print_all(const Explanation& all, const VaultStats& stats,
               const std::vector<DuplicateGroup>& families, const DuplicateReport& report) {
  print_line(format_counted(all.conversations, "conversation") + ", " +
             format_bytes(stats.text_bytes) + " of text");
  print_origins(all.origins);
  Table table({{"ON DISK"},
               {"CODEC"},
               {"FILES", kRight},
               {"FRAMES", kRight},
               {"CODES", kRight},
               {"BYTES", kRight}});
  for (const StoredStream& s : all.streams) {
    table.add({s.stream, stream_name(s.codec, s.artifacts), format_count(s.files),
               format_count(s.frames), format_bytes(s.code_bytes), format_bytes(s.disk_bytes)});
  }
  table.add({"tables", "", "", "", "", format_bytes(stats.pack_table_bytes)});
  if (stats.artifact_bytes > 0) {
    table.add({"artifacts", "", "", "", "", format_bytes(stats.artifact_bytes)});
  }
  table.print();
  if (families.empty()) return;
  Table largest({{"FAMILY"}, {"CONVERSATIONS", kRight}, {"TOKENS OF THE OTHERS", kRight}});
  for (const DuplicateGroup& group : families) {
    largest.add({printable(group.representative.id), format_count(group.duplicates.size() + 1),
                 format_count(group.duplicate_tokens)});
  }
  largest.print();
  if (report.groups > families.size()) {
    print_note("there are more: " + format_count(report.groups) + " families of near-duplicates");
  }
}

}  // namespace

ExitStatus run_explain(const ExplainCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  if (!command.id.empty()) return explain_one(command, *vault);
  ProgressLine progress("explain");
  TOKVAULT_ASSIGN(const Explanation all, vault->explain(command.tenant, progress.callback()));
  TOKVAULT_ASSIGN(const VaultStats stats, vault->stats(command.tenant));
  DuplicateReport report;
  std::vector<DuplicateGroup> families;
  if (command.families > 0) {
    DuplicateOptions options;
    options.filter.tenant = command.tenant;
    const auto visit = [&](const DuplicateGroup& group) {
      families.push_back(group);
      return families.size() < command.families;
    };
    TOKVAULT_ASSIGN(report, vault->find_duplicates(options, visit, progress.callback()));
  }
  if (command.json) {
    print_all_json(all, stats, families, report);
  } else {
    print_all(all, stats, families, report);
  }
  return 0;
}

}  // namespace tokvault::cli
