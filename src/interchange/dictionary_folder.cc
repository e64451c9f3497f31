// Folders of dictionaries, in and out.

#include <simdjson.h>

#include <charconv>
#include <filesystem>
#include <map>
#include <set>

#include "base/file.h"
#include "codec/dictionary.h"
#include "tokvault/dictionary.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kInfoBytesMax = 64u << 10;

std::optional<std::uint32_t> parse_id(std::string_view text) {
  std::uint32_t id = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), id);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return id;
}

Result<DictionaryOrigin> read_info(const std::string& path, std::uint32_t id) {
  DictionaryOrigin origin;
  auto text = read_file(path, kInfoBytesMax);
  if (!text) {
    if (text.code() == Errc::not_found) return origin;
    return std::move(text).error();
  }
  simdjson::dom::parser parser;
  simdjson::dom::object info;
  if (parser.parse(*text).get(info) != simdjson::SUCCESS) {
    return Error(Errc::invalid, path + ": not a JSON object");
  }
  std::uint64_t said = 0;
  if (info["id"].get(said) != simdjson::SUCCESS || said != id) {
    return Error(Errc::invalid, path + ": it describes another dictionary");
  }
  std::uint64_t samples = 0;
  if (info["sample_count"].get(samples) == simdjson::SUCCESS) origin.samples = samples;
  std::string_view created;
  if (info["created_at"].get(created) == simdjson::SUCCESS) {
    auto time = parse_time_ms(created);
    if (!time) return std::move(time).error().with(path);
    origin.created_ms = *time;
  }
  return origin;
}

Status import_one(Dictionaries& dictionaries, const std::string& path, std::string_view tenant,
                  std::optional<std::uint32_t> named, DictionaryImport& out) {
  TOKVAULT_ASSIGN(const Buffer bytes, read_file(path, kDictionaryBytesMax));
  auto id = dictionary_id(bytes);
  if (!id) return std::move(id).error().with(path);
  if (named && *named != *id) {
    return Error(Errc::invalid, path + ": its id is " + std::to_string(*id));
  }
  DictionaryOrigin origin;
  if (named) {
    const std::string info = (fs::path(path).parent_path() / (std::to_string(*id) + ".json"));
    TOKVAULT_ASSIGN(origin, read_info(info, *id));
  }
  auto have = dictionaries.get(*id, tenant);
  if (have && *have == bytes) {
    out.present.push_back(*id);
    return {};
  }
  auto added = dictionaries.add(bytes, origin, tenant);
  if (!added) return std::move(added).error().with(path);
  out.added.push_back(*id);
  return {};
}

}  // namespace

Result<DictionaryImport> import_dictionaries(Dictionaries& dictionaries, const std::string& path,
                                             std::string_view tenant) {
  DictionaryImport out;
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    TOKVAULT_TRY(import_one(dictionaries, path, tenant, std::nullopt, out));
    return out;
  }
  std::map<std::uint32_t, std::string> files;
  std::map<std::uint32_t, std::string> described;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    const fs::path& file = at->path();
    const auto id = parse_id(file.stem().string());
    if (file.extension() == ".json" && id) described.emplace(*id, file.string());
    if (file.extension() != ".zstd") continue;
    if (!id) return Error(Errc::invalid, file.string() + ": its name is no id");
    files.emplace(*id, file.string());
  }
  if (error) return errno_error(error.value(), path);
  // Which dictionaries there are is what the descriptions say: one that is lost is not passed over.
  for (const auto& [id, info] : described) {
    if (files.contains(id)) continue;
    return Error(Errc::not_found, info + ": the dictionary that it describes is not there: no " +
                                      (fs::path(path) / (std::to_string(id) + ".zstd")).string());
  }
  for (const auto& [id, file] : files) {
    TOKVAULT_TRY(import_one(dictionaries, file, tenant, id, out));
  }
  const std::string active = (fs::path(path) / "active").string();
  auto text = read_file(active, kInfoBytesMax);
  if (!text && text.code() == Errc::not_found) {
    if (files.empty()) return Error(Errc::not_found, path + ": no dictionary is in this folder");
    return out;
  }
  if (!text) return std::move(text).error();
  const auto begin = text->find_first_not_of(" \t\r\n");
  const auto end = text->find_last_not_of(" \t\r\n");
  const auto id = begin == Buffer::npos
                      ? std::nullopt
                      : parse_id(std::string_view(*text).substr(begin, end - begin + 1));
  if (!id) return Error(Errc::invalid, active + ": it has no id");
  auto activated = dictionaries.activate(*id, tenant);
  if (!activated) return std::move(activated).error().with(active);
  out.active = *id;
  return out;
}

namespace {

// Whatever else is in the folder would be taken by an import for what was exported: dictionaries
// that were retired since, or which one was active. It may be something else, so it is not removed.
Status check_holds_only(const std::string& folder, const std::vector<DictionaryInfo>& list) {
  std::set<std::string> written;
  for (const DictionaryInfo& info : list) {
    written.insert(std::to_string(info.id) + ".zstd");
    written.insert(std::to_string(info.id) + ".json");
    if (info.active) written.insert("active");
  }
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (written.contains(name)) continue;
    return Error(Errc::exists, at->path().string() +
                                   " is no part of what is exported: remove it, or name another "
                                   "folder");
  }
  if (error) return errno_error(error.value(), folder);
  return {};
}

// Makes the folder, with a name that is durable.
Status make_folder(const std::string& folder) {
  std::error_code error;
  const fs::path path = fs::absolute(folder, error).lexically_normal();
  if (!fs::create_directories(folder, error) || error) {
    return error ? Status(errno_error(error.value(), folder)) : Status();
  }
  return sync_folder((path.has_filename() ? path : path.parent_path()).parent_path().string());
}

}  // namespace

Result<std::vector<std::uint32_t>> export_dictionaries(const Dictionaries& dictionaries,
                                                       const std::string& folder,
                                                       std::string_view tenant) {
  TOKVAULT_ASSIGN(const auto list, dictionaries.list(tenant));
  TOKVAULT_TRY(make_folder(folder));
  TOKVAULT_TRY(check_holds_only(folder, list));
  std::vector<std::uint32_t> ids;
  const fs::path base(folder);
  std::string active;
  for (const DictionaryInfo& info : list) {
    TOKVAULT_ASSIGN(const Buffer bytes, dictionaries.get(info.id, tenant));
    const std::string id = std::to_string(info.id);
    TOKVAULT_TRY(write_file((base / (id + ".zstd")).string(), bytes));
    TOKVAULT_TRY(write_file(
        (base / (id + ".json")).string(),
        "{\n  \"id\": " + id + ",\n  \"created_at\": \"" + format_time_ms(info.created_ms) +
            "\",\n  \"sample_count\": " + std::to_string(info.samples) +
            ",\n  \"size_bytes\": " + std::to_string(info.size_bytes) +
            ",\n  \"is_active\": " + (info.active ? "true" : "false") + "\n}\n"));
    if (info.active) active = id;
    ids.push_back(info.id);
  }
  // Last: it names a file that is there.
  if (!active.empty()) TOKVAULT_TRY(write_file((base / "active").string(), active + "\n"));
  return ids;
}

}  // namespace tokvault
