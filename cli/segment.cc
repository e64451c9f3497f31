// The commands of segments by themselves: put, get, has, hold, release, list, garbage, replace and
// collect.
#include <span>

#include "commands.h"
#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

constexpr std::uint64_t kPageSize = 1000;
// So many segments of a long list are in memory at once.
constexpr std::size_t kBatch = 64;

std::string_view kind_name(SegmentKind kind) {
  return kind == SegmentKind::tokens ? "tokens" : "bytes";
}

std::string size_text(const SegmentInfo& info) {
  return format_counted(info.size, info.id.kind == SegmentKind::tokens ? "token" : "byte");
}

Result<std::vector<SegmentId>> parse_ids(const std::vector<std::string>& texts) {
  std::vector<SegmentId> ids;
  for (const std::string& text : texts) {
    auto id = parse_segment_id(text);
    if (!id) return std::move(id).error().with(in_quotes(text));
    ids.push_back(*id);
  }
  return ids;
}

HoldOptions hold_options(const SegmentCommand& command) {
  return {.tenant = command.tenant, .holder = command.holder};
}

JsonObject info_json(const SegmentInfo& info) {
  JsonObject out;
  out.field("id", info.id.to_string())
      .field("kind", kind_name(info.id.kind))
      .field("size", info.size);
  return out;
}

std::string holders_text(const std::vector<std::string>& holders) {
  std::string out;
  for (const std::string& h : holders) {
    out += (out.empty() ? "" : ", ") + (h.empty() ? std::string("\"\"") : printable(h));
  }
  return out;
}

Result<Segment> read_one(const std::string& path, const SegmentCommand& command,
                         Tokenizer::Encoder& encoder) {
  TOKVAULT_ASSIGN(const std::string content, read_all(path));
  if (command.as == SegmentCommand::As::bytes) return Segment::of_bytes(content);
  Segment s;
  if (command.as == SegmentCommand::As::text) {
    encoder.encode(content, s.tokens);
    return s;
  }
  auto tokens = parse_tokens(content);
  if (!tokens) return std::move(tokens).error().with(path);
  s.tokens = std::move(*tokens);
  return s;
}

Status print_segment(const Vault& vault, const Segment& s, const SegmentCommand& command) {
  const std::string tokens = "[" + join_tokens(s.tokens, ',') + "]";
  if (command.json) {
    JsonObject out = info_json({s.id(), s.size(), {}, 0});
    if (s.kind == SegmentKind::bytes) {
      out.field("hex", to_hex(s.bytes));
    } else {
      out.raw("tokens", tokens);
    }
    print_line(out.text());
  } else if (s.kind == SegmentKind::bytes) {
    print(s.bytes);
  } else if (command.as == SegmentCommand::As::tokens) {
    print_line(tokens);
  } else {
    std::string text;
    TOKVAULT_TRY(vault.tokenizer()->decode(s.tokens, text));
    print(text);
  }
  return {};
}

// Calls `visit` with every segment that matches, page by page.
template <class Visit>
Status for_each(const Vault& vault, const SegmentFilter& filter, Visit visit) {
  std::string cursor;
  do {
    TOKVAULT_ASSIGN(const SegmentPage page, vault.list_segments(filter, kPageSize, cursor));
    for (const SegmentInfo& info : page.segments) visit(info);
    cursor = page.cursor;
  } while (!cursor.empty());
  return {};
}

ExitStatus print_changed(const SegmentCommand& command, const char* verb, std::uint64_t count) {
  if (command.json) {
    print_line(JsonObject().field(verb, count).text());
  } else {
    print_line(format_counted(count, "hold") + " " + verb);
  }
  return 0;
}

SegmentFilter garbage_of(const std::string& tenant) {
  return {.which = SegmentFilter::Which::garbage, .tenant = tenant, .holder = {}};
}

}  // namespace

ExitStatus run_segment_put(const SegmentCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  const auto encoder = vault->tokenizer()->make_encoder();
  const std::span<const std::string> files(command.files);
  for (std::size_t at = 0; at < files.size(); at += kBatch) {
    const auto some = files.subspan(at, std::min(kBatch, files.size() - at));
    std::vector<Segment> segments;
    for (const std::string& file : some) {
      TOKVAULT_ASSIGN(Segment s, read_one(file, command, *encoder));
      segments.push_back(std::move(s));
    }
    TOKVAULT_ASSIGN(const auto results, vault->put_segments(segments, hold_options(command)));
    static constexpr const char* kOutcomes[] = {"stored", "held", "unchanged"};
    for (std::size_t i = 0; i < results.size(); ++i) {
      const char* const outcome = kOutcomes[static_cast<int>(results[i].outcome)];
      const SegmentInfo info{results[i].id, segments[i].size(), {}, 0};
      if (command.json) {
        print_line(info_json(info).field("file", some[i]).field("outcome", outcome).text());
      } else {
        print_line(results[i].id.to_string() + "  " + outcome + ", " + size_text(info) + "  " +
                   printable(some[i]));
      }
    }
  }
  return 0;
}

ExitStatus run_segment_get(const SegmentCommand& command) {
  if (command.ids.size() > 1 && !command.json) {
    return Error(Errc::invalid, "more than one segment is printed with --json only");
  }
  TOKVAULT_ASSIGN(const auto ids, parse_ids(command.ids));
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  Errc first_failure = Errc::ok;
  const std::span<const SegmentId> all(ids);
  for (std::size_t at = 0; at < ids.size(); at += kBatch) {
    const auto some = all.subspan(at, std::min(kBatch, ids.size() - at));
    TOKVAULT_ASSIGN(const auto found, vault->get_segments(some, command.tenant));
    for (const auto& segment : found) {
      if (segment) {
        TOKVAULT_TRY(print_segment(*vault, *segment, command));
        continue;
      }
      if (first_failure == Errc::ok) first_failure = segment.code();
      print_error(segment.error(), command.json);
    }
  }
  return exit_code(first_failure);
}

ExitStatus run_segment_has(const SegmentCommand& command) {
  TOKVAULT_ASSIGN(const auto ids, parse_ids(command.ids));
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  Errc first_failure = Errc::ok;
  for (const SegmentId& id : ids) {
    const auto info = vault->segment_info(id, command.tenant);
    if (!info && info.code() != Errc::not_found) return info.error().clone();
    if (!info) first_failure = Errc::not_found;
    if (command.json) {
      JsonObject out = info ? info_json(*info) : JsonObject().field("id", id.to_string());
      out.field("there", info.has_value());
      if (info) out.field("holders", info->holders).field("conversations", info->conversations);
      print_line(out.text());
    } else if (!info) {
      print_line(id.to_string() + "  not there");
    } else {
      print_line(
          id.to_string() + "  " + size_text(*info) + ", in " +
          format_counted(info->conversations, "conversation") +
          (info->holders.empty() ? ", not held" : ", held by " + holders_text(info->holders)));
    }
  }
  return exit_code(first_failure);
}

ExitStatus run_segment_hold(const SegmentCommand& command) {
  TOKVAULT_ASSIGN(const auto ids, parse_ids(command.ids));
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_ASSIGN(const std::uint64_t count, vault->hold_segments(ids, hold_options(command)));
  return print_changed(command, "taken", count);
}

ExitStatus run_segment_release(const SegmentCommand& command) {
  if (command.ids.empty() != command.all) {
    return Error(Errc::invalid, "release needs ids, or --all for everything that the holder holds");
  }
  TOKVAULT_ASSIGN(auto ids, parse_ids(command.ids));
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  if (command.all) {
    TOKVAULT_TRY(for_each(*vault, {.tenant = command.tenant, .holder = command.holder},
                          [&](const SegmentInfo& info) { ids.push_back(info.id); }));
  }
  TOKVAULT_ASSIGN(const std::uint64_t count, vault->release_segments(ids, hold_options(command)));
  return print_changed(command, "released", count);
}

ExitStatus run_segment_list(const SegmentCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  SegmentFilter filter{.tenant = command.tenant};
  if (command.has_holder) filter.holder = command.holder;
  TOKVAULT_TRY(for_each(*vault, filter, [&](const SegmentInfo& info) {
    if (command.json) {
      print_line(info_json(info).field("holders", info.holders).text());
    } else {
      print_line(info.id.to_string() + "  " + size_text(info) + "  " + holders_text(info.holders));
    }
  }));
  return 0;
}

ExitStatus run_segment_garbage(const SegmentCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  TOKVAULT_TRY(for_each(*vault, garbage_of(command.tenant), [&](const SegmentInfo& info) {
    if (command.json) {
      print_line(info_json(info).text());
    } else {
      print_line(info.id.to_string() + "  " + size_text(info));
    }
  }));
  return 0;
}

ExitStatus run_segment_replace(const SegmentCommand& command) {
  TOKVAULT_ASSIGN(const auto ids, parse_ids(command.ids));
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  ProgressLine progress("replace");
  TOKVAULT_ASSIGN(const GcReport report,
                  vault->replace_segments(ids, command.level, command.tenant, progress.callback()));
  print_gc(report, false, command.json);
  return 0;
}

ExitStatus run_segment_collect(const SegmentCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, command.dry_run ? open_reader(command) : open_writer(command));
  std::uint64_t segments = 0;
  TOKVAULT_ASSIGN(const auto tenants, vault->tenants());
  for (const std::string& tenant : tenants) {
    TOKVAULT_TRY(for_each(*vault, garbage_of(tenant), [&](const SegmentInfo&) { ++segments; }));
  }
  ProgressLine progress("collect");
  TOKVAULT_ASSIGN(const GcReport report, vault->gc(command.dry_run, progress.callback()));
  if (command.json) {
    print_line(JsonObject()
                   .field("dry_run", command.dry_run)
                   .field("segments", segments)
                   .field("files", report.files)
                   .field("bytes_before", report.bytes_before)
                   .field("bytes_after", report.bytes_after)
                   .text());
    return 0;
  }
  print_line(format_counted(segments, "segment") +
             (command.dry_run ? " would be erased" : " erased"));
  print_gc(report, command.dry_run, false);
  return 0;
}

}  // namespace tokvault::cli
