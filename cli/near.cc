// The commands about what is alike: near, dupes.
#include <unordered_set>

#include "commands.h"
#include "ids.h"
#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

constexpr auto kRight = Table::Align::right;

std::string format_similarity(double similarity) { return format_percent(similarity, 1); }

std::string member_json(const DuplicateMember& member) {
  return JsonObject()
      .field("id", member.id)
      .field("similarity", member.similarity)
      .field("tokens", member.tokens)
      .text();
}

std::string group_json(const DuplicateGroup& group) {
  std::vector<std::string> duplicates;
  for (const DuplicateMember& member : group.duplicates) duplicates.push_back(member_json(member));
  return JsonObject()
      .field("representative", group.representative.id)
      .field("tokens", group.representative.tokens)
      .field("duplicate_tokens", group.duplicate_tokens)
      .raw("duplicates", json_array(duplicates))
      .text();
}

void print_group(const DuplicateGroup& group) {
  print_line(printable(group.representative.id) + "  " +
             format_counted(group.representative.tokens, "token"));
  for (const DuplicateMember& member : group.duplicates) {
    print_line("  " + printable(member.id) + "  " + format_similarity(member.similarity));
  }
}

std::string report_json(const DuplicateReport& report) {
  return JsonObject()
      .field("conversations", report.conversations)
      .field("tokens", report.tokens)
      .field("groups", report.groups)
      .field("duplicates", report.duplicates)
      .field("duplicate_tokens", report.duplicate_tokens)
      .field("halvings", report.halvings)
      .text();
}

std::string report_text(const DuplicateReport& report) {
  std::string text = format_counted(report.groups, "group") + ": " +
                     format_count(report.duplicates) + " of " +
                     format_counted(report.conversations, "conversation") + " and " +
                     format_percent(static_cast<double>(report.duplicate_tokens),
                                    static_cast<double>(report.tokens)) +
                     " of the tokens are near-duplicates";
  if (report.halvings > 0) {
    text += "; estimated from 1 of " + format_count(1u << report.halvings) +
            " anchors, for want of memory";
  }
  return text;
}

}  // namespace

ExitStatus run_near(const NearCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  ProgressLine progress("near");
  NearOptions options = command.options;
  if (options.limit == 0) options.limit = kNearMax;
  TOKVAULT_ASSIGN(const auto near, vault->find_near(command.id, options, progress.callback()));
  if (command.json) {
    for (const NearConversation& n : near) {
      print_line(JsonObject()
                     .field("id", n.summary.id)
                     .field("similarity", n.similarity)
                     .field("tokens", n.summary.tokens)
                     .field("messages", n.summary.messages)
                     .field("time_ms", n.summary.time_ms)
                     .text());
    }
    return 0;
  }
  if (near.empty()) {
    print_note("nothing is as similar as " + format_similarity(command.options.threshold));
    return 0;
  }
  Table table({{"ID"}, {"SIMILARITY", kRight}, {"MESSAGES", kRight}, {"TOKENS", kRight}});
  for (const NearConversation& n : near) {
    table.add({printable(n.summary.id), format_similarity(n.similarity),
               format_count(n.summary.messages), format_count(n.summary.tokens)});
  }
  table.print();
  return 0;
}

ExitStatus run_dupes(const DupesCommand& command) {
  TOKVAULT_TRY(outside_of(command.vault, command.output));  // before the work
  std::unordered_set<std::string> drop;
  DuplicateReport report;
  {
    TOKVAULT_ASSIGN(const auto vault, open_reader(command));
    TOKVAULT_TRY(check_tenant(*vault, command.options.filter.tenant));
    ProgressLine progress("dupes");
    std::uint64_t groups = 0;
    const auto visit = [&](const DuplicateGroup& group) {
      if (!command.output.empty()) {
        for (const DuplicateMember& member : group.duplicates) drop.insert(member.id);
        return true;
      }
      if (command.limit > 0 && groups++ == command.limit) return false;
      if (command.ids) {
        for (const DuplicateMember& member : group.duplicates) {
          print_line(command.json ? member_json(member) : id_line(member.id));
        }
      } else if (command.json) {
        print_line(group_json(group));
      } else {
        print_group(group);
      }
      return true;
    };
    auto found = vault->find_duplicates(command.options, visit, progress.callback());
    if (!found && found.code() == Errc::exhausted) {
      return Error(Errc::exhausted, std::string(found.error().message()) + " (--memory)");
    }
    TOKVAULT_ASSIGN(report, std::move(found));
  }
  if (command.output.empty()) {
    // The ids alone are for other programs, the sums for people.
    if (command.json && !command.ids) {
      print_line(report_json(report));
    } else {
      print_note(report_text(report), command.json);
    }
    return 0;
  }
  ExportCommand rest;
  rest.vault = command.vault;
  rest.json = command.json;
  rest.filter = command.options.filter;
  rest.output = command.output;
  rest.leave_out = std::move(drop);
  print_note(report_text(report), command.json);
  return run_export(rest);
}

}  // namespace tokvault::cli
