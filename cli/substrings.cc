// tokvault substrings train, compact, retain, import, list, show.
#include "substrings.h"

#include <limits>

#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

int print_change(const SubstringChange& change, bool json) {
  if (json) {
    print_line(JsonObject()
                   .field("set", change.number)
                   .field("added", change.added)
                   .field("dropped", change.dropped)
                   .field("runs", change.runs)
                   .field("tokens", change.tokens)
                   .field("saved_bytes", static_cast<std::uint64_t>(change.saved_bytes))
                   .text());
    return 0;
  }
  print_line(format_count(change.added) + " added, " + format_count(change.dropped) + " dropped: " +
             format_counted(change.runs, "run") + " of " + format_counted(change.tokens, "token"));
  return 0;
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

std::string text_of(const Tokenizer& tokenizer, TokenView tokens) {
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
  TOKVAULT_ASSIGN(const SubstringChange change,
                  vault->substrings().compact(command.training, command.tenant));
  return print_change(change, command.json);
}

ExitStatus run_substrings_retain(const SubstringsCommand& command) {
  TOKVAULT_ASSIGN(const auto ids, parse_ids(command.ids));
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  TOKVAULT_ASSIGN(const SubstringChange change, vault->substrings().retain(ids, command.tenant));
  return print_change(change, command.json);
}

ExitStatus run_substrings_import(const SubstringsCommand& command) {
  TOKVAULT_ASSIGN(const std::string index, read_all(command.folder + "/index.json"));
  TOKVAULT_ASSIGN(const std::string blobs, read_all(command.folder + "/blobs.dat"));
  TOKVAULT_ASSIGN(const SubstringSet set, read_reference_substrings(index, blobs));
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_ASSIGN(const SubstringChange change, vault->substrings().add(set, command.tenant));
  return print_change(change, command.json);
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
  Table table({{"ID", Table::Align::right},
               {"TOKENS", Table::Align::right},
               {"SEGMENTS", Table::Align::right},
               {"CONVERSATIONS", Table::Align::right},
               {"TEXT"}});
  constexpr std::size_t kShownBytes = 40;
  for (const SubstringInfo& i : active->list()) {
    TOKVAULT_ASSIGN(const TokenView tokens, active->tokens(i.id));
    const std::string text = text_of(*vault->tokenizer(), tokens.first(16));
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
    const std::string text = text_of(*vault->tokenizer(), tokens);
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
