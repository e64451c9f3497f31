// The commands that look after a vault: init, gc, compact, check, repair, dump, version.
#include <algorithm>

#include "commands.h"
#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

// Where nothing is known to be lost, why files could not be read.
int status_of(const CheckReport& report) {
  if (report.findings.empty() && report.lost_conversations == 0) return 0;
  const bool is_unread =
      std::all_of(report.findings.begin(), report.findings.end(), [](const Finding& f) {
        return f.code != Errc::corrupt && f.code != Errc::not_found && f.code != Errc::conflict;
      });
  return exit_code(is_unread && report.lost_conversations == 0 ? report.findings[0].code
                                                               : Errc::corrupt);
}

// Prints a report of check or repair; the exit status says whether anything was found.
int print_report(const CheckReport& report, bool json) {
  const int status = status_of(report);
  if (json) {
    std::vector<std::string> findings;
    for (const Finding& finding : report.findings) {
      findings.push_back(JsonObject()
                             .field("file", finding.file)
                             .field("code", errc_name(finding.code))
                             .field("message", finding.message)
                             .text());
    }
    print_line(JsonObject()
                   .field("sound", status == 0)
                   .field("files", report.files)
                   .field("conversations", report.conversations)
                   .field("segments", report.segments)
                   .field("holds", report.holds)
                   .raw("findings", json_array(findings))
                   .field("lost_conversations", report.lost_conversations)
                   .field("lost_ids", report.lost_ids)
                   .text());
    return status;
  }
  for (const Finding& finding : report.findings) {
    print_line(printable(finding.file) + ": " + std::string(errc_name(finding.code)) + ": " +
               printable(finding.message));
  }
  for (const std::string& id : report.lost_ids) print_line("lost: " + printable(id));
  if (report.lost_conversations > report.lost_ids.size()) {
    print_line("lost: " +
               format_counted(report.lost_conversations - report.lost_ids.size(), "conversation") +
               " whose ids cannot be read");
  }
  print_line(format_counted(report.files, "file") + ", " +
             format_counted(report.conversations, "conversation") + ", " +
             format_counted(report.segments, "segment") +
             (report.holds > 0 ? ", " + format_counted(report.holds, "hold") : "") + ": " +
             (status == 0 ? "sound" : format_counted(report.findings.size(), "finding")) +
             (report.lost_conversations > 0
                  ? ", " + format_counted(report.lost_conversations, "conversation") + " lost"
                  : ""));
  return status;
}

JsonObject json_of_gc(const GcReport& report, bool dry_run) {
  return JsonObject()
      .field("dry_run", dry_run)
      .field("files", report.files)
      .field("conversations", report.conversations)
      .field("bytes_before", report.bytes_before)
      .field("bytes_after", report.bytes_after);
}

std::string json_of_retraining(const RetrainReport& report) {
  std::vector<std::string> trials;
  for (const RetrainTrial& t : report.trials) {
    trials.push_back(JsonObject()
                         .field("artifact", t.artifact)
                         .field("number", t.number)
                         .field("artifact_bytes", t.artifact_bytes)
                         .field("token_bytes", t.token_bytes)
                         .field("seconds", t.seconds)
                         .field("chosen", t.chosen)
                         .text());
  }
  return JsonObject()
      .field("tenant", report.tenant)
      .field("changed", report.changed)
      .field("reason", report.reason)
      .field("saved_bytes", report.saved_bytes)
      .field("artifact_bytes", report.artifact_bytes)
      .raw("trials", json_array(trials))
      .text();
}

void print_retraining(const RetrainReport& report) {
  if (!report.trials.empty()) {
    Table table({{"ARTIFACT", Table::Align::left},
                 {"TAKES", Table::Align::right},
                 {"TOKENS, BY A QUICK CODE", Table::Align::right},
                 {"SECONDS", Table::Align::right},
                 {"", Table::Align::left}});
    for (const RetrainTrial& t : report.trials) {
      table.add({t.artifact, format_bytes(t.artifact_bytes), format_bytes(t.token_bytes),
                 format_rate(t.seconds), t.chosen ? "chosen" : ""});
    }
    table.print();
  }
  std::string line = report.tenant + ": ";
  line += report.changed ? "other artifacts are active, " : "the artifacts stay as they are, ";
  if (report.saved_bytes > 0) {
    line += "packs save " + format_bytes(report.saved_bytes) + " by artifacts of " +
            format_bytes(report.artifact_bytes) + "; ";
  }
  print_line(line + report.reason);
}

}  // namespace

void print_gc(const GcReport& report, bool dry_run, bool json) {
  if (json) {
    print_line(json_of_gc(report, dry_run).text());
    return;
  }
  const std::string verb = dry_run ? " would be " : " ";
  print_line(format_counted(report.files, "file") + verb + "rewritten or removed, " +
             format_counted(report.conversations, "forgotten version") + verb + "erased");
  if (!dry_run) {
    print_line(format_bytes(report.bytes_before) + " before, " + format_bytes(report.bytes_after) +
               " now");
  }
}

Result<std::unique_ptr<Vault>> open_reader(const Command& command, bool keep_going) {
  VaultOptions options;
  options.read_only = true;
  options.keep_going = keep_going;
  return open_vault(command.vault, options);
}

Status check_tenant(const Vault& vault, const std::string& tenant) {
  if (tenant.empty()) return {};
  TOKVAULT_ASSIGN(const auto names, vault.tenants());
  if (std::find(names.begin(), names.end(), tenant) != names.end()) return {};
  return Error(Errc::not_found,
               "no tenant " + in_quotes(tenant) + " (tokvault tenants lists them)");
}

int report_damage(const Vault& vault, const Command& command) {
  const std::vector<Finding> findings = vault.damage();
  for (const Finding& f : findings) {
    print_error(Error(f.code, f.file + ": " + f.message), command.json);
  }
  return findings.empty() ? 0 : exit_code(Errc::corrupt);
}

Result<std::unique_ptr<Vault>> open_writer(const Command& command, const VaultOptions& options) {
  TOKVAULT_ASSIGN(auto vault, open_vault(command.vault, options));
  // It goes on with the rest, and says so.
  for (const Finding& f : vault->damage()) print_note(f.file + ": " + f.message, command.json);
  return vault;
}

ExitStatus run_init(const InitCommand& command) {
  InitOptions options;
  options.tokenizer = command.tokenizer;
  TOKVAULT_ASSIGN(options.pattern, pattern_of(command.tokenizer, command.pattern));
  TOKVAULT_TRY(create_vault(command.vault, options));
  if (command.json) {
    print_line(
        JsonObject().field("vault", command.vault).field("tokenizer", command.tokenizer).text());
  } else {
    print_line("made the vault " + printable(command.vault) + " with the tokenizer " +
               printable(command.tokenizer));
  }
  return 0;
}

ExitStatus run_gc(const GcCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, command.dry_run ? open_reader(command) : open_writer(command));
  ProgressLine progress("gc");
  TOKVAULT_ASSIGN(const GcReport report, vault->gc(command.dry_run, progress.callback()));
  print_gc(report, command.dry_run, command.json);
  return 0;
}

ExitStatus run_compact(const CompactCommand& command) {
  VaultOptions options;
  options.level = command.options.level;
  TOKVAULT_ASSIGN(const auto vault, open_writer(command, options));
  ProgressLine progress("compact");
  TOKVAULT_ASSIGN(const CompactReport report, vault->compact(command.options, progress.callback()));
  if (!command.json) {
    for (const RetrainReport& r : report.retrained) print_retraining(r);
    print_gc(report, false, false);
    return 0;
  }
  JsonObject out = json_of_gc(report, false);
  if (command.options.retrain) {
    std::vector<std::string> steps;
    for (const RetrainReport& r : report.retrained) steps.push_back(json_of_retraining(r));
    out.raw("retrained", json_array(steps));
  }
  print_line(out.text());
  return 0;
}

ExitStatus run_check(const CheckCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  CheckOptions options;
  options.read_data = command.read_data;
  ProgressLine progress("check");
  TOKVAULT_ASSIGN(const CheckReport report, vault->check(options, progress.callback()));
  return print_report(report, command.json);
}

ExitStatus run_repair(const RepairCommand& command) {
  ProgressLine progress("repair");
  TOKVAULT_ASSIGN(const CheckReport report,
                  repair_vault(command.vault, command.options, progress.callback()));
  return print_report(report, command.json);
}

ExitStatus run_dump(const DumpCommand& command) {
  TOKVAULT_ASSIGN(const FileDump dump, dump_file(command.file, command.json));
  print(dump.text);
  if (dump.damage.empty()) return 0;
  const Error damage(Errc::corrupt, command.file + ": " + dump.damage);
  print_error(damage, command.json);
  return exit_code(damage.code());
}

ExitStatus run_version(const Command& command) {
  if (command.json) {
    print_line(JsonObject()
                   .field("version", kVersion)
                   .field("log_version", kLogVersion)
                   .field("pack_version", kPackVersion)
                   .text());
  } else {
    print_line("tokvault " + std::string(kVersion) + " (log format " + std::to_string(kLogVersion) +
               ", pack format " + std::to_string(kPackVersion) + ")");
  }
  return 0;
}

}  // namespace tokvault::cli
