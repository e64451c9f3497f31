#include "interchange/form.h"
#include "interchange/json_text.h"
#include "tokvault/conversation.h"

namespace tokvault {
namespace {

bool is_at(const FormItem& item, std::size_t depth, std::string_view first_key) {
  return item.path.size() == depth && item.path[0].key == first_key;
}

// The string that stands at an item, in the form or in a hole; nothing if it is no string.
std::optional<std::string> item_string(const FormItem& item) {
  if (item.hole == static_cast<char>(Hole::text) || item.hole == static_cast<char>(Hole::string)) {
    return item.value->bytes;
  }
  if (item.hole != 0 || !item.raw.starts_with('"')) return std::nullopt;
  std::string scratch(item.raw.size() + 8, '\0');
  std::string_view text;
  const char* why = nullptr;
  if (json::scan_string(item.raw.data() + 1, item.raw.data() + item.raw.size(), scratch.data(),
                        text, why) == nullptr) {
    return std::nullopt;
  }
  return std::string(text);
}

// A content that is a string; a part of a content; or the text of such a part.
bool is_content_text(const FormItem& item) {
  if (item.path.empty() || item.path[0].key != "content") return false;
  if (item.path.size() == 1) return true;
  if (!item.path[1].in_array) return false;
  return item.path.size() == 2 || (item.path.size() == 3 && item.path[2].key == "text");
}

}  // namespace

Message Message::of_text(std::string_view role, std::string_view text) {
  Message message;
  message.form = "{\"role\":";
  append_string_value(KeyKind::repeats, role, message.form, message.values);
  message.form.append(",\"content\":");
  append_string_value(KeyKind::text, text, message.form, message.values);
  message.form.push_back('}');
  return message;
}

Result<Message> Message::of_tokens(std::string_view role, TokenView tokens,
                                   const std::vector<TokenArray>& arrays) {
  Message message;
  message.form = "{\"role\":";
  append_string_value(KeyKind::repeats, role, message.form, message.values);
  message.form.append(",\"content\":");
  if (tokens.empty()) {
    message.form.append("[]");
  } else {
    append_hole(Hole::tokens, message.form);
    message.values.push_back(Value{{}, {tokens.begin(), tokens.end()}});
  }
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const TokenArray& array = arrays[i];
    if (array.bytes.size() != tokens.size() * element_size(array.type)) {
      return Error(Errc::invalid, "token array \"" + array.name + "\" has " +
                                      std::to_string(array.bytes.size()) + " bytes for " +
                                      std::to_string(tokens.size()) + " tokens of " +
                                      std::to_string(element_size(array.type)));
    }
    for (std::size_t k = 0; k < i; ++k) {
      if (arrays[k].name == array.name) {
        return Error(Errc::invalid, "two token arrays are named \"" + array.name + "\"");
      }
    }
    message.form.append(i == 0 ? ",\"token_arrays\":{" : ",");
    if (!json::append_string(array.name, message.form)) {
      return Error(Errc::invalid, "the name of a token array is not UTF-8");
    }
    message.form.append(":{\"").append(element_name(array.type)).append("\":");
    append_hole(Hole::binary, message.form);
    message.form.push_back('}');
    message.values.push_back(Value{array.bytes, {}});
  }
  message.form.append(arrays.empty() ? "}" : "}}");
  return message;
}

std::string Message::role() const {
  std::string role;
  // A malformed form has no role; check() says what is wrong with it.
  (void)walk_form(form, values, false, [&](const FormItem& item) {
    if (is_at(item, 1, "role")) role = item_string(item).value_or("");
  });
  return role;
}

std::string Message::text() const {
  std::string text;
  (void)walk_form(form, values, false, [&](const FormItem& item) {
    if (is_content_text(item)) text += item_string(item).value_or("");
  });
  return text;
}

TokenView Message::tokens() const {
  TokenView tokens;
  (void)walk_form(form, values, false, [&](const FormItem& item) {
    if (item.hole == static_cast<char>(Hole::tokens) && is_at(item, 1, "content")) {
      tokens = item.value->tokens;
    }
  });
  return tokens;
}

Result<std::vector<TokenArray>> Message::token_arrays() const {
  std::vector<TokenArray> arrays;
  TOKVAULT_TRY(walk_form(form, values, false, [&](const FormItem& item) {
    if (item.hole != static_cast<char>(Hole::binary) || !is_at(item, 3, "token_arrays")) return;
    const auto type = element_type(item.path[2].key);
    if (!type) return;
    std::string quoted("\"");
    quoted.append(item.path[1].key).append("\"");
    FormItem name;
    name.raw = quoted;
    arrays.push_back({item_string(name).value_or(""), *type, item.value->bytes});
  }));
  return arrays;
}

Status Message::check() const { return walk_form(form, values, false, {}); }

Status Conversation::check() const {
  const std::pair<const char*, std::string_view> names[] = {
      {"id", id}, {"model", model}, {"application", application}};
  for (const auto& [what, name] : names) {
    std::string ignored;
    if (json::is_utf8(name) || json::append_string(name, ignored)) continue;
    return Error(Errc::invalid,
                 std::string("the ") + what + " is neither UTF-8 nor UTF-8 with lone surrogates");
  }
  if (form.empty()) {
    if (values.empty()) return {};
    return Error(Errc::invalid, "a conversation has values but no form");
  }
  std::size_t messages_holes = 0;
  TOKVAULT_TRY(walk_form(form, values, true, [&](const FormItem& item) {
    if (item.hole == static_cast<char>(Hole::messages)) ++messages_holes;
  }));
  if (messages_holes == 1) return {};
  return Error(Errc::invalid, "the form of a conversation must have one hole for its messages");
}

}  // namespace tokvault
