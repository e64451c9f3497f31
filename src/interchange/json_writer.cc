// From conversations to JSON text: the form with its holes filled.
#include <charconv>

#include "interchange/form.h"
#include "interchange/json_text.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

template <class Integer>
void append_integer(Integer v, std::string& out) {
  char text[24];
  out.append(text, std::to_chars(text, text + sizeof text, v).ptr);
}

void append_tokens(const std::vector<Token>& tokens, std::string& out) {
  out.push_back('[');
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out.push_back(',');
    append_integer(tokens[i], out);
  }
  out.push_back(']');
}

Status append_value(char hole, const Value& value, std::string& out) {
  switch (static_cast<Hole>(hole)) {
    case Hole::text:
    case Hole::string:
      return append_json_string(value.bytes, out);
    case Hole::tokens:
      append_tokens(value.tokens, out);
      return {};
    case Hole::binary:
      out.push_back('"');
      json::append_base64(value.bytes, out);
      out.push_back('"');
      return {};
    default:  // scalar and json: as they are
      out.append(value.bytes);
      return {};
  }
}

Status append_message(const Message& message, std::string& out) {
  TOKVAULT_TRY(message.check());
  std::size_t next = 0;
  for (char c : message.form) {
    if (is_value_hole(c)) {
      TOKVAULT_TRY(append_value(c, message.values[next++], out));
    } else {
      out.push_back(c);
    }
  }
  return {};
}

Status append_member(char hole, const Conversation& conversation, std::string& out) {
  switch (static_cast<Hole>(hole)) {
    case Hole::messages: {
      out.push_back('[');
      for (std::size_t i = 0; i < conversation.messages.size(); ++i) {
        if (i > 0) out.push_back(',');
        auto status = append_message(conversation.messages[i], out);
        if (!status) return std::move(status).error().with("message " + std::to_string(i));
      }
      out.push_back(']');
      return {};
    }
    case Hole::id:
      return append_json_string(conversation.id, out);
    case Hole::model:
      return append_json_string(conversation.model, out);
    case Hole::application:
      return append_json_string(conversation.application, out);
    case Hole::time_s:
      if (conversation.time_ms % 1000 != 0) {
        return Error(Errc::invalid, "the time is not a whole number of seconds");
      }
      append_integer(conversation.time_ms / 1000, out);
      return {};
    default:
      append_integer(conversation.time_ms, out);
      return {};
  }
}

}  // namespace

Result<std::string> to_json(const Message& message) {
  std::string out;
  TOKVAULT_TRY(append_message(message, out));
  return out;
}

Result<std::string> to_json(const Conversation& conversation) {
  TOKVAULT_TRY(conversation.check());
  const std::string form =
      conversation.form.empty() ? default_form(conversation) : conversation.form;
  std::size_t size = form.size();
  for (const Message& message : conversation.messages) {
    size += message.form.size() + 1;
    for (const Value& value : message.values) size += value.bytes.size() + 8;
  }
  std::string out;
  out.reserve(size + size / 16);
  std::size_t next = 0;
  for (char c : form) {
    if (is_value_hole(c)) {
      TOKVAULT_TRY(append_value(c, conversation.values[next++], out));
    } else if (static_cast<unsigned char>(c) < 0x20) {
      TOKVAULT_TRY(append_member(c, conversation, out));
    } else {
      out.push_back(c);
    }
  }
  return out;
}

Status append_json_string(std::string_view text, std::string& out) {
  if (json::append_string(text, out)) return {};
  return Error(Errc::invalid, "a text is neither UTF-8 nor UTF-8 with lone surrogates");
}

}  // namespace tokvault
