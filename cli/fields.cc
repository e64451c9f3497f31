#include "fields.h"

namespace tokvault::cli {

std::vector<Piece> split(const Piece& whole) {
  std::vector<Piece> parts;
  std::size_t begin = 1;
  std::size_t value_begin = 0;
  std::size_t value = 0;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 1; i < whole.form.size(); ++i) {
    const char c = whole.form[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    const bool is_last = i + 1 == whole.form.size();
    if (is_last || (c == ',' && depth == 0)) {
      if (i > begin) {
        parts.push_back({whole.form.substr(begin, i - begin),
                         whole.values.subspan(value_begin, value - value_begin)});
      }
      begin = i + 1;
      value_begin = value;
    }
    if (c == '"') in_string = true;
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (is_value_hole(c)) ++value;
  }
  return parts;
}

std::pair<std::string_view, Piece> member(const Piece& part) {
  std::size_t end = 1;
  while (part.form[end] != '"') end += part.form[end] == '\\' ? 2 : 1;
  return {part.form.substr(0, end + 1), {part.form.substr(end + 2), part.values}};
}

bool is_string(const Piece& piece) {
  return piece.form.size() == 1 && (piece.form[0] == static_cast<char>(Hole::text) ||
                                    piece.form[0] == static_cast<char>(Hole::string));
}

std::optional<std::string> id_of(const Piece& object) {
  for (const Piece& part : split(object)) {
    const auto [name, value] = member(part);
    if (name != "\"id\"" || value.form.size() != 1) continue;
    const char hole = value.form[0];
    if (is_string(value) || hole == static_cast<char>(Hole::scalar)) return value.values[0].bytes;
    if (hole != static_cast<char>(Hole::json)) continue;
    // A long string without words, with its quotes and nothing to escape.
    const std::string_view json = value.values[0].bytes;
    if (json.starts_with('"')) return std::string(json.substr(1, json.size() - 2));
  }
  return std::nullopt;
}

bool has_unknown_time(const Conversation& conversation) {
  if (conversation.time_ms != 0) return false;
  for (const Piece& part : split({conversation.form, conversation.values})) {
    const auto [name, value] = member(part);
    if (name != "\"created\"" && name != "\"created_at\"" && name != "\"timestamp\"") continue;
    const bool is_empty = is_string(value) && value.values[0].bytes.empty();
    const bool is_zero = value.form.size() == 1 &&
                         value.form[0] == static_cast<char>(Hole::scalar) &&
                         value.values[0].bytes == "0";
    if (value.form != "null" && !is_empty && !is_zero) return true;
  }
  return false;
}

}  // namespace tokvault::cli
