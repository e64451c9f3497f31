// A conversation to be read on a terminal: who says what.
//
// The text of each message stands as it is; whatever else a message has (tool calls, reasoning,
// parts that are no text) follows as `name: value`, and what the conversation has stands before the
// messages, so that nothing is left out. What could do something to a terminal is escaped.
#include "readable.h"

#include <vector>

#include "fields.h"
#include "values.h"

namespace tokvault::cli {
namespace {

// A value as it is shown: a string as its text, anything else as JSON.
std::string shown(const Piece& p) {
  if (is_string(p)) return printable_text(p.values[0].bytes);
  constexpr std::string_view kBefore = "{\"x\":";
  const Message alone{std::string(kBefore).append(p.form) + "}",
                      {p.values.begin(), p.values.end()}};
  const auto json = to_json(alone);
  if (!json) return "(" + printable(json.error().message()) + ")";
  return printable(
      std::string_view(*json).substr(kBefore.size(), json->size() - kBefore.size() - 1));
}

// A part of a content that is a text and nothing else.
bool is_text_part(const Piece& part) {
  return is_string(part) || part.form == "{\"type\":\"text\",\"text\":\x01}";
}

void append_line(std::string& out, std::string_view text) {
  out += text;
  if (!text.ends_with('\n')) out += '\n';
}

void append_field(const Piece& part, std::string& out) {
  const auto [name, value] = member(part);
  append_line(out, printable(name.substr(1, name.size() - 2)) + ": " + shown(value));
}

void append_content(const Piece& content, const Message& message, std::string& out) {
  const std::string text = message.text();
  if (!text.empty() || is_string(content)) append_line(out, printable_text(text));
  if (content.form == "null" || is_string(content)) return;
  if (!content.form.starts_with('[')) {
    if (text.empty()) append_line(out, "content: " + shown(content));
    return;
  }
  for (const Piece& part : split(content)) {
    if (!is_text_part(part)) append_line(out, "content: " + shown(part));
  }
}

void append_message(const Message& message, std::string& out) {
  const std::string role = message.role();
  out += "\n[" + (role.empty() ? "no role" : printable(role)) + "]\n";
  const std::vector<Piece> parts = split({message.form, message.values});
  for (const bool is_content : {true, false}) {  // the content first
    for (const Piece& part : parts) {
      const auto [name, value] = member(part);
      if ((name == "\"content\"") != is_content || (name == "\"role\"" && !role.empty())) continue;
      if (is_content) {
        append_content(value, message, out);
      } else {
        append_field(part, out);
      }
    }
  }
}

// What the first line shows, and the messages.
bool is_shown_elsewhere(const Piece& value) {
  return value.form.size() == 1 && value.form[0] >= static_cast<char>(Hole::messages) &&
         value.form[0] <= static_cast<char>(Hole::time_ms);
}

}  // namespace

std::string readable(const Conversation& conversation) {
  std::string out = "# " + printable(conversation.id);
  for (const std::string& part : {conversation.model, conversation.application}) {
    if (!part.empty()) out += "  " + printable(part);
  }
  if (conversation.time_ms != 0) out += "  " + format_time_ms(conversation.time_ms);
  out += "\n";
  for (const Piece& part : split({conversation.form, conversation.values})) {
    if (!is_shown_elsewhere(member(part).second)) append_field(part, out);
  }
  for (const Message& message : conversation.messages) append_message(message, out);
  return out;
}

}  // namespace tokvault::cli
