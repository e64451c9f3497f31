// The commands over many conversations without their content: list, stats, tenants, tag, forget.
#include <algorithm>
#include <optional>
#include <unordered_set>

#include "commands.h"
#include "ids.h"
#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

// In a vault that was compacted each page reads the tables of all packs.
constexpr std::uint64_t kPageSize = 65'536;

std::string join(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) {
    if (!out.empty()) out += ", ";
    out += printable(text);
  }
  return out;
}

std::string summary_json(const Summary& summary) {
  JsonObject out;
  out.field("id", summary.id);
  if (!summary.model.empty()) out.field("model", summary.model);
  if (!summary.application.empty()) out.field("application", summary.application);
  out.field("time_ms", summary.time_ms)
      .field("messages", summary.messages)
      .field("tokens", summary.tokens)
      .field("text_bytes", summary.text_bytes)
      .field("sequence", summary.sequence)
      .field("first_sequence", summary.first_sequence)
      .field("tags", summary.tags);
  return out.text();
}

Table list_table() {
  return Table({{"ID"},
                {"TIME"},
                {"MODEL"},
                {"APPLICATION"},
                {"MESSAGES", Table::Align::right},
                {"TOKENS", Table::Align::right},
                {"TAGS"}});
}

void print_page(const std::vector<Summary>& page, Table& table) {
  for (const Summary& s : page) {
    table.add({printable(s.id), s.time_ms == 0 ? "" : format_time_ms(s.time_ms), printable(s.model),
               printable(s.application), format_count(s.messages), format_count(s.tokens),
               join(s.tags)});
  }
  table.print();
}

ExitStatus print_usage(const StatsCommand& command, const Vault& vault) {
  UsageQuery query;
  query.filter = command.filter;
  const auto asked = [&](std::string_view name) {
    return std::find(command.by.begin(), command.by.end(), name) != command.by.end();
  };
  query.by_model = asked("model");
  query.by_application = asked("application");
  query.by_day = asked("day");
  TOKVAULT_ASSIGN(const auto rows, vault.usage(query));
  if (command.json) {
    std::vector<std::string> all;
    for (const UsageRow& row : rows) {
      JsonObject out;
      if (query.by_model) out.field("model", row.model);
      if (query.by_application) out.field("application", row.application);
      if (query.by_day) out.field("day", row.day);
      out.field("conversations", row.conversations)
          .field("messages", row.messages)
          .field("tokens", row.tokens);
      all.push_back(out.text());
    }
    print_line(JsonObject().raw("usage", json_array(all)).text());
    return 0;
  }
  std::vector<Table::Column> columns;
  if (query.by_model) columns.push_back({"MODEL"});
  if (query.by_application) columns.push_back({"APPLICATION"});
  if (query.by_day) columns.push_back({"DAY"});
  for (const char* title : {"CONVERSATIONS", "MESSAGES", "TOKENS"}) {
    columns.push_back({title, Table::Align::right});
  }
  Table table(std::move(columns));
  for (const UsageRow& row : rows) {
    std::vector<std::string> cells;
    if (query.by_model) cells.push_back(printable(row.model));
    if (query.by_application) cells.push_back(printable(row.application));
    if (query.by_day) cells.push_back(row.day);
    cells.push_back(format_count(row.conversations));
    cells.push_back(format_count(row.messages));
    cells.push_back(format_count(row.tokens));
    table.add(std::move(cells));
  }
  table.print();
  return 0;
}

void print_stats_json(const VaultStats& s, const std::string& tokenizer,
                      std::optional<std::string_view> tenant) {
  JsonObject saved;
  saved.field("exact", s.saved.exact)
      .field("prefix", s.saved.prefix)
      .field("compression", s.saved.compression);
  JsonObject out;
  out.field("tokenizer", tokenizer);
  if (tenant) out.field("tenant", *tenant);
  out.field("tenants", s.tenants)
      .field("conversations", s.conversations)
      .field("messages", s.messages)
      .field("segments", s.segments)
      .field("tokens_logical", s.tokens_logical)
      .field("tokens_stored", s.tokens_stored)
      .field("text_bytes", s.text_bytes)
      .field("forgotten", s.forgotten)
      .field("held_segments", s.held_segments)
      .field("holds", s.holds)
      .field("logs", s.logs)
      .field("packs", s.packs)
      .field("log_bytes", s.log_bytes)
      .field("pack_bytes", s.pack_bytes)
      .field("pack_text_bytes", s.pack_text_bytes)
      .field("pack_table_bytes", s.pack_table_bytes)
      .field("unmerged_packs", s.unmerged_packs)
      .field("unmerged_bytes", s.unmerged_bytes)
      .field("merge_due_bytes", s.merge_due_bytes)
      .field("catalog_bytes", s.catalog_bytes)
      .field("leftover_bytes", s.leftover_bytes)
      .field("damaged_bytes", s.damaged_bytes)
      .field("artifact_bytes", s.artifact_bytes)
      .field("dictionary_bytes", s.dictionary_bytes)
      .field("substring_set_bytes", s.substring_set_bytes)
      .field("total_bytes", s.total_bytes)
      .raw("saved_bytes", saved.text());
  print_line(out.text());
}

void print_stats(const VaultStats& s, const std::string& tokenizer,
                 std::optional<std::string_view> tenant) {
  constexpr auto kRight = Table::Align::right;
  Table counts({{""}, {"", kRight}, {""}});
  counts.add({"tokenizer", "", printable(tokenizer)});
  if (tenant) {
    counts.add({"tenant", "", printable(*tenant)});
  } else if (s.tenants > 1) {
    counts.add({"tenants", format_count(s.tenants), "all together; --tenant NAME for one"});
  }
  counts.add({"conversations", format_count(s.conversations), ""});
  counts.add({"messages", format_count(s.messages), ""});
  counts.add(
      {"tokens", format_count(s.tokens_logical),
       format_count(s.tokens_stored) + " stored, in " + format_counted(s.segments, "segment")});
  if (s.holds > 0) {
    counts.add({"held segments", format_count(s.held_segments), format_counted(s.holds, "hold")});
  }
  if (s.forgotten > 0) counts.add({"forgotten", format_count(s.forgotten), "gc erases them"});
  counts.add({"text", format_bytes(s.text_bytes), ""});
  counts.add(
      {"on disk", format_bytes(s.total_bytes),
       format_percent(static_cast<double>(s.total_bytes), static_cast<double>(s.text_bytes)) +
           " of the text"});
  counts.add({"  logs", format_bytes(s.log_bytes), format_count(s.logs)});
  counts.add({"  packs", format_bytes(s.pack_bytes),
              format_count(s.packs) + "; text " + format_bytes(s.pack_text_bytes) + ", tables " +
                  format_bytes(s.pack_table_bytes)});
  if (s.packs > 1 && s.unmerged_packs > 0) {
    counts.add(
        {"    not merged", format_bytes(s.unmerged_bytes),
         format_count(s.unmerged_packs) +
             (s.merge_due_bytes > 0 ? "; a merge of " + format_bytes(s.merge_due_bytes) + " is due"
                                    : "")});
  }
  counts.add({"  artifacts", format_bytes(s.artifact_bytes), ""});
  if (!tenant) counts.add({"  catalog", format_bytes(s.catalog_bytes), ""});
  if (s.leftover_bytes > 0) {
    counts.add(
        {"  leftovers", format_bytes(s.leftover_bytes),
         "of a rewrite that goes on, or was interrupted: then the next writer removes them"});
  }
  if (s.damaged_bytes > 0) {
    counts.add({"  damaged", format_bytes(s.damaged_bytes),
                "packs that cannot be opened, and what repair put aside in quarantine/"});
  }
  counts.add({"saved by", "", ""});
  counts.add({"  storing once", format_bytes(s.saved.exact),
              "of this " + format_bytes(s.saved.prefix) + " as common beginnings"});
  counts.add({"  compression", format_bytes(s.saved.compression), ""});
  counts.print();
}

// Calls `visit` with every matching summary, page by page.
template <class Visit>
Status for_each(const Vault& vault, const Filter& filter, Visit&& visit) {
  std::string cursor;
  while (true) {
    TOKVAULT_ASSIGN(const Page page, vault.list(filter, kPageSize, cursor));
    for (const Summary& summary : page.conversations) TOKVAULT_TRY(visit(summary));
    if (page.cursor.empty()) return {};
    cursor = page.cursor;
  }
}

Status print_forgotten(const ForgetCommand& command, std::uint64_t count) {
  if (command.json) {
    JsonObject out;
    out.field(command.dry_run ? "would_forget" : "forgotten", count);
    print_line(out.text());
  } else if (command.dry_run) {
    print_line(format_counted(count, "conversation") + " would be forgotten");
  } else {
    print_line(format_counted(count, "conversation") + " forgotten; gc erases their bytes");
  }
  return {};
}

// The ids that a command names, each once: those that are in the vault, and the others.
struct NamedIds {
  std::vector<std::string> found;
  std::vector<std::string> missing;
};

Result<NamedIds> look_up(const Vault& vault, const std::vector<std::string>& named,
                         const std::string& tenant) {
  NamedIds ids;
  std::unordered_set<std::string_view> seen;
  for (const std::string& id : named) {
    if (!seen.insert(id).second) continue;
    const auto summary = vault.summary(id, tenant);
    // What is in doubt is forgotten, too: it may be there.
    if (!summary && summary.code() != Errc::not_found && summary.code() != Errc::corrupt) {
      return summary.error().clone();
    }
    (summary.code() == Errc::not_found ? ids.missing : ids.found).push_back(id);
  }
  return ids;
}

// Says which ids are not in the vault.
Status all_found(const NamedIds& ids) {
  constexpr std::size_t kNamedMax = 10;
  if (ids.missing.empty()) return {};
  std::string message = "not in the vault: ";
  for (std::size_t i = 0; i < std::min(ids.missing.size(), kNamedMax); ++i) {
    message += (i > 0 ? ", " : "") + in_quotes(ids.missing[i]);
  }
  if (ids.missing.size() > kNamedMax) {
    message += " and " + format_count(ids.missing.size() - kNamedMax) + " more";
  }
  return Error(Errc::not_found, std::move(message));
}

Result<std::uint64_t> count_matching(const Vault& vault, const Filter& filter) {
  std::uint64_t count = 0;
  TOKVAULT_TRY(for_each(vault, filter, [&](const Summary&) -> Status {
    ++count;
    return {};
  }));
  return count;
}

// How many conversations the command forgets, or would.
Result<std::uint64_t> forget_ids(Vault& vault, const ForgetCommand& command, const NamedIds& ids) {
  if (command.dry_run || ids.found.empty()) return ids.found.size();
  return vault.forget(ids.found, command.filter.tenant);
}
Result<std::uint64_t> forget_matching(Vault& vault, const ForgetCommand& command) {
  return command.dry_run ? count_matching(vault, command.filter) : vault.forget(command.filter);
}

}  // namespace

ExitStatus run_list(const ListCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command, command.keep_going));
  TOKVAULT_TRY(check_tenant(*vault, command.filter.tenant));
  std::string cursor = command.cursor;
  std::uint64_t left = command.limit == 0 ? UINT64_MAX : command.limit;
  Table table = list_table();
  while (left > 0) {
    TOKVAULT_ASSIGN(const Page page,
                    vault->list(command.filter, std::min(left, kPageSize), cursor));
    left -= std::min<std::uint64_t>(left, page.conversations.size());
    cursor = page.cursor;
    if (command.json) {
      for (const Summary& summary : page.conversations) print_line(summary_json(summary));
    } else {
      print_page(page.conversations, table);
    }
    if (cursor.empty()) break;
  }
  // The last page may be full, too.
  Page rest;
  if (!cursor.empty()) {
    TOKVAULT_ASSIGN(rest, vault->list(command.filter, 1, cursor));
  }
  if (!rest.conversations.empty()) {
    if (command.json) {
      print_line(JsonObject().field("cursor", cursor).text());
    } else {
      TOKVAULT_TRY(finish_output());
      print_note("there are more: --cursor " + cursor);
    }
  }
  return command.keep_going ? report_damage(*vault, command) : 0;
}

ExitStatus run_stats(const StatsCommand& command) {
  if (command.by.empty() && command.has_filter) {
    return Error(Errc::invalid, "stats takes a filter other than --tenant only with --by");
  }
  TOKVAULT_ASSIGN(const auto vault, open_reader(command, command.keep_going));
  TOKVAULT_TRY(check_tenant(*vault, command.filter.tenant));
  if (!command.by.empty()) {
    TOKVAULT_TRY(print_usage(command, *vault));
    return command.keep_going ? report_damage(*vault, command) : 0;
  }
  std::optional<std::string_view> tenant;
  if (!command.filter.tenant.empty()) tenant = command.filter.tenant;
  TOKVAULT_ASSIGN(const VaultStats stats, vault->stats(tenant));
  const auto tokenizer = vault->tokenizer();
  const std::string name = tokenizer ? tokenizer->name() : "";
  if (command.json) {
    print_stats_json(stats, name, tenant);
  } else {
    print_stats(stats, name, tenant);
  }
  return report_damage(*vault, command);
}

ExitStatus run_tenants(const Command& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  TOKVAULT_ASSIGN(const auto names, vault->tenants());
  constexpr auto kRight = Table::Align::right;
  Table table({{"TENANT"},
               {"CONVERSATIONS", kRight},
               {"MESSAGES", kRight},
               {"TOKENS", kRight},
               {"ON DISK", kRight}});
  for (const std::string& name : names) {
    TOKVAULT_ASSIGN(const VaultStats s, vault->stats(name));
    if (command.json) {
      print_line(JsonObject()
                     .field("tenant", name)
                     .field("conversations", s.conversations)
                     .field("messages", s.messages)
                     .field("tokens_logical", s.tokens_logical)
                     .field("text_bytes", s.text_bytes)
                     .field("total_bytes", s.total_bytes)
                     .text());
    } else {
      table.add({printable(name), format_count(s.conversations), format_count(s.messages),
                 format_count(s.tokens_logical), format_bytes(s.total_bytes)});
    }
  }
  if (!command.json) table.print();
  return 0;
}

ExitStatus run_tag(const TagCommand& command) {
  if (command.ids.empty() && command.ids_from.empty()) {
    return Error(Errc::invalid, "tag needs the id of a conversation");
  }
  if (command.add.empty() && command.remove.empty()) {
    return Error(Errc::invalid, "tag needs +TAG or -TAG");
  }
  for (const std::string& tag : command.add) {
    if (std::find(command.remove.begin(), command.remove.end(), tag) != command.remove.end()) {
      return Error(Errc::invalid, "the tag " + in_quotes(tag) + " is both added and removed");
    }
  }
  TOKVAULT_ASSIGN(const auto ids, all_ids(command.ids, command.ids_from));
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  // Before anything is changed: tags that a damaged log may have changed are not known.
  for (const std::string& id : ids) TOKVAULT_TRY(vault->summary(id, command.tenant));
  TOKVAULT_TRY(vault->tag(ids, command.add, command.remove, command.tenant));
  for (const std::string& id : ids) {
    TOKVAULT_ASSIGN(const Summary summary, vault->summary(id, command.tenant));
    if (command.json) {
      print_line(JsonObject().field("id", id).field("tags", summary.tags).text());
    } else {
      print_line(printable(id) + ": " + (summary.tags.empty() ? "no tags" : join(summary.tags)));
    }
  }
  return 0;
}

ExitStatus run_forget(const ForgetCommand& command) {
  // A file without any names them, too: it must not mean everything.
  const bool names_ids = !command.ids.empty() || !command.ids_from.empty();
  if (!names_ids && !command.has_filter && !command.all) {
    return Error(Errc::invalid,
                 "forget needs ids, a filter, or --all for every conversation of the tenant");
  }
  if (names_ids && (command.has_filter || command.all)) {
    return Error(Errc::invalid, command.all ? "forget takes ids or --all, not both"
                                            : "forget takes ids or a filter, not both");
  }
  if (command.all && command.has_filter) {
    return Error(Errc::invalid, "forget takes a filter or --all, not both");
  }
  TOKVAULT_ASSIGN(const auto named, all_ids(command.ids, command.ids_from));
  TOKVAULT_ASSIGN(const auto vault, command.dry_run ? open_reader(command) : open_writer(command));
  TOKVAULT_TRY(check_tenant(*vault, command.filter.tenant));
  if (!names_ids) {
    TOKVAULT_ASSIGN(const std::uint64_t count, forget_matching(*vault, command));
    TOKVAULT_TRY(print_forgotten(command, count));
    return 0;
  }
  TOKVAULT_ASSIGN(const NamedIds ids, look_up(*vault, named, command.filter.tenant));
  TOKVAULT_ASSIGN(const std::uint64_t count, forget_ids(*vault, command, ids));
  TOKVAULT_TRY(print_forgotten(command, count));
  TOKVAULT_TRY(all_found(ids));
  return 0;
}

}  // namespace tokvault::cli
