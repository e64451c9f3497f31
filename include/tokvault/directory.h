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

// Makes an empty vault in a directory, which is made if it is absent; the folder above must be
// there. `exists` if there is a vault, or anything else; `invalid` inside the folder of a vault or
// a checkpoint store; `not_found` or `invalid` for what is wrong with the tokenizer.
Status create_vault(const std::string& path, const InitOptions& options = {});
// Vault::open() with what create_vault() made. `not_found` if there is no vault; a relative path is
// relative to the folder that is current now.
Result<std::unique_ptr<Vault>> open_vault(const std::string& path,
                                          const VaultOptions& options = {});
// Vault::repair() of the same, whose catalog may be gone. `not_found` for a folder without logs and
// packs, in which nothing is touched.
Result<CheckReport> repair_vault(const std::string& path, const RepairOptions& options = {},
                                 const Progress& progress = {});

}  // namespace tokvault

#endif  // TOKVAULT_DIRECTORY_H_
