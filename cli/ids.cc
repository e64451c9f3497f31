#include "ids.h"

#include <unistd.h>

#include "fields.h"
#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

// A line may be a whole conversation: as long as one that an import takes unless it is told.
constexpr std::uint64_t kLineBytesMax = 64u << 20;
// Of all ids with what it takes to keep them: two million of 32 bytes.
constexpr std::uint64_t kIdsBytesMax = 128u << 20;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

Result<std::string> id_of_line(JsonReader& reader, std::string_view line) {
  if (line.starts_with('"')) {
    constexpr std::string_view kBefore = "{\"id\":";
    const auto object = reader.message(std::string(kBefore).append(line) + "}");
    // The string is a hole; more is another field behind it.
    const bool is_string = object && object->form.size() == kBefore.size() + 2;
    if (!is_string) return Error(Errc::invalid, "it begins like a JSON string, and is none");
    return id_of({object->form, object->values}).value_or("");
  }
  if (!line.starts_with('{')) return std::string(line);
  TOKVAULT_ASSIGN(const Message object, reader.message(line));
  auto id = id_of({object.form, object.values});
  if (!id) return Error(Errc::invalid, "the object has no id that is a string or a number");
  return std::move(*id);
}

Status read_ids(const std::string& file, std::vector<std::string>& ids) {
  const bool is_typed = file == "-" && ::isatty(STDIN_FILENO) == 1;
  if (is_typed) allow_progress(false);
  TOKVAULT_ASSIGN(const auto lines, LineReader::open(file, kLineBytesMax));
  JsonReader reader;
  LineReader::Line line;
  std::uint64_t bytes = 0;
  while (true) {
    TOKVAULT_ASSIGN(const bool more, lines->next(line));
    if (!more) break;
    const auto refuse = [&](Errc code, std::string_view why) {
      const std::string path = file == "-" ? "standard input" : file;
      return Error(code, path + ":" + std::to_string(line.number) + ": " + std::string(why));
    };
    if (line.too_long) {
      return refuse(Errc::exhausted,
                    "the line is longer than " + format_count(kLineBytesMax) + " bytes");
    }
    if (line.text.ends_with('\r')) line.text.remove_suffix(1);
    if (line.text.empty()) continue;
    auto id = id_of_line(reader, line.text);
    if (!id) return refuse(id.code(), id.error().message());
    bytes += id->size() + sizeof(std::string);
    if (bytes > kIdsBytesMax) {
      return refuse(Errc::exhausted, "more ids than there is memory for; give them in parts");
    }
    ids.push_back(std::move(*id));
  }
  if (is_typed) allow_progress(true);
  return {};
}

}  // namespace

Result<std::vector<std::string>> all_ids(const std::vector<std::string>& given,
                                         const std::string& file) {
  std::vector<std::string> ids = given;
  if (!file.empty()) TOKVAULT_TRY(read_ids(file, ids));
  return ids;
}

std::string id_line(std::string_view id) {
  const bool is_as_it_is = !id.empty() && id[0] != '{' && id[0] != '"' &&
                           !id.starts_with(kByteOrderMark) && printable(id) == id;
  std::string json;
  if (is_as_it_is || !append_json_string(id, json)) return std::string(id);
  // Control characters that JSON has no need to escape.
  std::string out;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const bool is_pair = json[i] == '\xc2' && json[i + 1] < '\xa0';
    if (is_pair || json[i] == '\x7f') {
      out += "\\u00" + to_hex(std::string_view(json).substr(is_pair ? ++i : i, 1));
    } else {
      out += json[i];
    }
  }
  return out;
}

}  // namespace tokvault::cli
