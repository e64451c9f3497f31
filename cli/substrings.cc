// tokvault substrings train, compact, retain, import, list, show.
#include "substrings.h"

#include <filesystem>
#include <limits>

#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

JsonObject json_of(const SubstringChange& change) {
  return JsonObject()
      .field("set", change.number)
      .field("added", change.added)
      .field("dropped", change.dropped)
      .field("runs", change.runs)
      .field("tokens", change.tokens)
      .field("saved_bytes", static_cast<std::uint64_t>(change.saved_bytes));
}

std::string text_of(const SubstringChange& change) {
  return format_count(change.added) + " added, " + format_count(change.dropped) +
         " dropped: " + format_counted(change.runs, "run") + " of " +
         format_counted(change.tokens, "token");
}

int print_change(const SubstringChange& change, bool json) {
  print_line(json ? json_of(change).text() : text_of(change));
  return 0;
}

// A file of the reference layout, which it makes when it is first needed.
Result<std::string> read_if_there(const std::string& path, std::string_view otherwise) {
  auto bytes = read_all(path);
  if (bytes.code() == Errc::not_found) return std::string(otherwise);
  return bytes;
}

Result<std::vector<SubstringId>> parse_ids(const std::vector<std::string>& texts) {
  std::vector<SubstringId> ids;
  for (const std::string& text : texts) {
    TOKVAULT_ASSIGN(const std::uint64_t id,
                    parse_number(text, std::numeric_limits<SubstringId>::max()));
    ids.push_back(static_cast<SubstringId>(id));
  }
  return ids;
}

std::string text_of_run(const Tokenizer& tokenizer, TokenView tokens) {
  std::string text;
  if (!tokenizer.decode(tokens, text)) text.clear();
  return text;
}

}  // namespace

ExitStatus run_substrings_train(const SubstringsCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  TOKVAULT_ASSIGN(const SubstringChange change,
                  vault->substrings().train(command.training, command.tenant));
  return print_change(change, command.json);
}

ExitStatus run_substrings_compact(const SubstringsCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  ProgressLine progress("substrings compact");
  TOKVAULT_ASSIGN(
      const SubstringChange change,
      vault->substrings().compact(command.training, command.tenant, progress.callback()));
  if (command.json) {
    print_line(json_of(change)
                   .field("packs", change.packs)
                   .field("bytes_before", change.bytes_before)
                   .field("bytes_after", change.bytes_after)
                   .text());
    return 0;
  }
  print_line(text_of(change));
  if (change.packs > 0) {
    print_line(format_counted(change.packs, "pack") +
               " rewritten: " + format_bytes(change.bytes_before) + " before, " +
               format_bytes(change.bytes_after) + " now");
  }
  return 0;
}

ExitStatus run_substrings_retain(const SubstringsCommand& command) {
  TOKVAULT_ASSIGN(const auto ids, parse_ids(command.ids));
  if (ids.empty() && !command.none) {
    return Error(Errc::invalid, "name runs that shall stay, or --none");
  }
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  TOKVAULT_ASSIGN(const SubstringChange change, vault->substrings().retain(ids, command.tenant));
  return print_change(change, command.json);
}

ExitStatus run_substrings_import(const SubstringsCommand& command) {
  if (std::error_code failed; !std::filesystem::is_directory(command.folder, failed)) {
    return Error(Errc::not_found, "no folder " + command.folder);
  }
  TOKVAULT_ASSIGN(const std::string blobs, read_if_there(command.folder + "/blobs.dat", ""));
  // Tokens without their index are what is left of a registry, not an empty one.
  const std::string index_path = command.folder + "/index.json";
  TOKVAULT_ASSIGN(const std::string index,
                  blobs.empty() ? read_if_there(index_path, "[]") : read_all(index_path));
  TOKVAULT_ASSIGN(const ReferenceSubstrings read, read_reference_substrings(index, blobs));
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_ASSIGN(const SubstringChange change, vault->substrings().add(read.set, command.tenant));
  if (command.json) {
    print_line(json_of(change).field("too_long", read.too_long).text());
  } else {
    print_line(text_of(change) +
               (read.too_long > 0 ? "; " + format_counted(read.too_long, "run") + " of more than " +
                                        format_count(kSubstringTokensMax) + " tokens passed over"
                                  : ""));
  }
  return 0;
}

ExitStatus run_substrings_list(const SubstringsCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  TOKVAULT_ASSIGN(const auto sets, vault->substrings().list(command.tenant));
  TOKVAULT_ASSIGN(const auto active, vault->substrings().active(command.tenant));
  if (command.json) {
    std::vector<std::string> set_texts, run_texts;
    for (const SubstringSetInfo& s : sets) {
      set_texts.push_back(JsonObject()
                              .field("set", s.number)
                              .field("active", s.active)
                              .field("created_ms", s.created_ms)
                              .field("runs", s.runs)
                              .field("tokens", s.tokens)
                              .field("size_bytes", s.size_bytes)
                              .field("conversations", s.conversations)
                              .field("segments", s.segments)
                              .field("files", s.files)
                              .text());
    }
    for (const SubstringInfo& i : active->list()) {
      run_texts.push_back(JsonObject()
                              .field("id", i.id)
                              .field("tokens", i.tokens)
                              .field("segments", i.segments)
                              .field("conversations", i.conversations)
                              .field("created_ms", i.created_ms)
                              .text());
    }
    print_line(JsonObject()
                   .raw("sets", json_array(set_texts))
                   .raw("runs", json_array(run_texts))
                   .field("next_id", active->next_id())
                   .text());
    return 0;
  }
  for (const SubstringSetInfo& s : sets) {
    print_line("artifact " + std::to_string(s.number) + (s.active ? ", active: " : ": ") +
               format_counted(s.runs, "run") + ", " + format_bytes(s.size_bytes) + ", needed by " +
               format_counted(s.files, "file"));
  }
  Table table({{"ID", Table::Align::right},
               {"TOKENS", Table::Align::right},
               {"SEGMENTS", Table::Align::right},
               {"CONVERSATIONS", Table::Align::right},
               {"TEXT"}});
  constexpr std::size_t kShownBytes = 40;
  for (const SubstringInfo& i : active->list()) {
    TOKVAULT_ASSIGN(const TokenView tokens, active->tokens(i.id));
    const std::string text = text_of_run(*vault->tokenizer(), tokens.first(16));
    table.add({std::to_string(i.id), format_count(i.tokens), format_count(i.segments),
               format_count(i.conversations), printable(text.substr(0, kShownBytes))});
  }
  table.print();
  return 0;
}

ExitStatus run_substrings_show(const SubstringsCommand& command) {
  TOKVAULT_ASSIGN(const auto ids, parse_ids(command.ids));
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  TOKVAULT_ASSIGN(const auto active, vault->substrings().active(command.tenant));
  for (const SubstringId id : ids) {
    TOKVAULT_ASSIGN(const TokenView tokens, active->tokens(id));
    const std::string text = text_of_run(*vault->tokenizer(), tokens);
    if (!command.json) {
      print_line("# " + std::to_string(id) + "  " + format_counted(tokens.size(), "token"));
      print_line(printable(text));
      continue;
    }
    std::vector<std::string> numbers;
    for (const Token t : tokens) numbers.push_back(std::to_string(t));
    JsonObject object;
    object.field("id", id).raw("tokens", json_array(numbers));
    if (is_text(text)) object.field("text", text);
    print_line(object.text());
  }
  return 0;
}

}  // namespace tokvault::cli
