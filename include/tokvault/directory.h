// The default vault: one directory, SQLite catalog, one engine.
#ifndef TOKVAULT_DIRECTORY_H_
#define TOKVAULT_DIRECTORY_H_

#include <memory>
#include <string>

#include "tokvault/installed.h"
#include "tokvault/vault.h"

namespace tokvault {

struct InitOptions {
  // "o200k_base", "cl100k_base", "bytes", or the path of a .tiktoken rank file.
  std::string tokenizer = "o200k_base";
  // For a rank file: whose splitter it uses.
  std::string pattern = "cl100k_base";
  TokenizerOptions tokenizer_options{};
};

// Makes an empty vault in a directory (made if absent; otherwise it must be empty).
Status create_vault(const std::string& path, const InitOptions& options = {});
Result<std::unique_ptr<Vault>> open_vault(const std::string& path,
                                          const VaultOptions& options = {});
Result<CheckReport> repair_vault(const std::string& path);

}  // namespace tokvault

#endif  // TOKVAULT_DIRECTORY_H_
