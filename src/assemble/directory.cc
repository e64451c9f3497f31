// A vault in one directory: where the backend, the catalog and the engine are put together.
#include "tokvault/directory.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "vault/recovery.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kRankFileBytesMax = 256u << 20;

std::string catalog_path(const std::string& path) { return path + "/catalog.db"; }

// A folder with something else in it is nobody's wish for a vault. What create_vault itself may
// have left there when it was killed does not count.
Status check_is_free(const std::string& path) {
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(path, failed)) {
    const std::string name = entry.path().filename();
    if (name == "lock" || name == "log" || name == "packs" || name == "artifacts" ||
        name == "cache" || name.starts_with("catalog.db")) {
      continue;
    }
    return Error(Errc::exists, path + " holds \"" + name + "\", which is not of a vault");
  }
  return {};
}

// Whether create_vault was interrupted here: what it makes first is there, and nothing was written.
bool is_unfinished(const std::string& path) {
  std::error_code failed;
  const bool is_begun = std::filesystem::exists(path + "/lock", failed) ||
                        std::filesystem::exists(path + "/log", failed);
  if (!is_begun) return false;
  auto backend = make_directory_backend(path, {.read_only = true});
  if (!backend) return false;
  const auto written = holds_anything_written(**backend);
  return written && !*written;
}

bool has(const std::string& path, const char* name) {
  std::error_code failed;
  return std::filesystem::exists(path + "/" + name, failed);
}

// `why`: what is missing, if the folder is there. `may_repair`: from logs, if there are any.
Error no_vault(const std::string& path, const std::string& why, bool may_repair) {
  std::string message = "no vault at " + path + ": ";
  if (!has(path, "")) {
    message += "there is no such folder";
  } else if (has(path, "store")) {
    message += "it is a checkpoint store (tokvault kv)";
  } else if (is_unfinished(path)) {
    message +=
        why + "; making it was interrupted: `tokvault init` or `tokvault import` begins again";
  } else if (may_repair && has(path, "log")) {
    message += why + "; `tokvault repair` makes a catalog from the files that are there";
  } else {
    message += why;
  }
  return Error(Errc::not_found, std::move(message));
}

// Says which vault it is about, unless the message names a file of it by its whole path.
Error of_vault(Error error, const std::string& path) {
  std::error_code failed;
  const std::string whole = std::filesystem::absolute(path, failed);
  if (!failed && error.message().find(whole) != std::string_view::npos) return error;
  return std::move(error).with(path);
}

}  // namespace

Status create_vault(const std::string& path, const InitOptions& options) {
  const bool is_vault = has(path, "catalog.db") && has(path, "log");  // which is said below
  if (!is_vault) TOKVAULT_TRY(check_is_free(path));
  TOKVAULT_TRY(check_is_outside(path));
  CreateOptions create;
  auto known = open_tokenizer(options.tokenizer, options.tokenizer_options);
  if (known) {
    create.tokenizer = std::move(*known);
  } else if (options.tokenizer.find('/') != std::string::npos ||
             options.tokenizer.ends_with(".tiktoken")) {
    TOKVAULT_ASSIGN(create.rank_file, read_file(options.tokenizer, kRankFileBytesMax));
    std::string name = options.tokenizer.substr(options.tokenizer.rfind('/') + 1);
    if (name.ends_with(".tiktoken")) name.resize(name.size() - 9);
    create.pattern = options.pattern;
    TOKVAULT_ASSIGN(create.tokenizer, make_tokenizer(name, options.pattern, create.rank_file));
  } else {
    return std::move(known).error();
  }
  TOKVAULT_ASSIGN(auto backend, make_directory_backend(path, {.create = true}));
  TOKVAULT_ASSIGN(auto catalog, make_sqlite_catalog(catalog_path(path), {.create = true}));
  auto status = Vault::create(*backend, *catalog, create);
  if (!status) return of_vault(std::move(status).error(), path);
  return {};
}

Result<std::unique_ptr<Vault>> open_vault(const std::string& path, const VaultOptions& options) {
  const auto no_catalog = [&] { return no_vault(path, "it has no catalog.db", true); };
  auto backend = make_directory_backend(path, {.read_only = options.read_only});
  if (!backend && backend.code() == Errc::not_found) return no_catalog();
  if (!backend) return of_vault(std::move(backend).error(), path);
  auto open_catalog = [&] {
    return make_sqlite_catalog(catalog_path(path), {.read_only = options.read_only});
  };
  auto catalog = open_catalog();
  if (!catalog && catalog.code() == Errc::not_found) return no_catalog();
  if (!catalog) return of_vault(std::move(catalog).error(), path);
  auto vault = Vault::open(std::move(*backend), std::move(*catalog), options);
  if (vault) return vault;
  // Other things may be missing, too.
  if (vault.code() == Errc::not_found) {
    auto again = open_catalog();
    if (again && (*again)->load().code() == Errc::not_found) {
      return no_vault(path, std::string(vault.error().message()), true);
    }
  }
  return of_vault(std::move(vault).error(), path);
}

Result<CheckReport> repair_vault(const std::string& path, const RepairOptions& options,
                                 const Progress& progress) {
  auto backend = make_directory_backend(path, {});
  if (!backend && backend.code() != Errc::not_found)
    return of_vault(std::move(backend).error(), path);
  // Of another folder nothing is touched.
  if (!backend || !(has(path, "log") || has(path, "packs"))) {
    return no_vault(path, "it has neither logs nor packs", false);
  }
  TOKVAULT_ASSIGN(auto catalog, make_sqlite_catalog(catalog_path(path), {.create = true}));
  auto report = Vault::repair(**backend, *catalog, options, progress);
  if (!report && report.code() == Errc::not_found) {
    return no_vault(path, std::string(report.error().message()), false);
  }
  if (!report) return of_vault(std::move(report).error(), path);
  return report;
}

}  // namespace tokvault
