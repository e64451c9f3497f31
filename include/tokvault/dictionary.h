// Dictionaries: what many short frames may copy from, trained once and kept in the vault.
//
// A dictionary is one of zstd's (RFC 8878, section 6): statistics and text, under an id of its own.
// While one is active, what is written next uses it where that is smaller; what was written before
// stays readable, as each frame names the dictionary that it needs.
#ifndef TOKVAULT_DICTIONARY_H_
#define TOKVAULT_DICTIONARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

struct DictionaryInfo {
  std::uint32_t id = 0;          // zstd's
  std::uint64_t number = 0;      // of its file: artifacts/NUMBER.artifact
  std::int64_t created_ms = 0;   // since 1970
  std::uint64_t size_bytes = 0;  // as zstd has it; its file is smaller
  // What it was trained on; 0 where nobody knows, as for one that was imported.
  std::uint64_t conversations = 0;
  std::uint64_t samples = 0;
  std::uint64_t sample_bytes = 0;
  bool active = false;
  std::uint64_t files = 0;  // logs and packs that cannot be read without it
};

struct Filter;  // tokvault/vault.h

// What is known of a dictionary that was made elsewhere.
struct DictionaryOrigin {
  std::int64_t created_ms = 0;  // since 1970; 0: now
  std::uint64_t samples = 0;    // that it was trained on; 0: not known
};

struct DictionaryTraining {
  // Of the dictionary; 0: an eighth of what there is to train on, from 1 KB to 110 KB. A larger one
  // is slower to begin with, a smaller one finds less.
  std::uint64_t size_bytes = 0;
  // Text to look at, each counted once; the work takes 20 times as much memory.
  std::uint64_t sample_bytes_max = 8u << 20;
};

// The dictionaries of a vault, by tenant: none is shared between tenants. Every change is one step:
// it is durable when the call returns, and a crash leaves all of it or nothing.
//
// Threads: as the vault. Lifetime: the vault outlives it. `tenant`, if empty, is the default one.
class Dictionaries {
 public:
  virtual ~Dictionaries() = default;

  // Trains a dictionary on conversations that match the filter, whose tenant it belongs to, and
  // adds it. Only runs of 16 tokens (or 32 bytes) that were seen in at least four of them enter it,
  // as it outlives each of them; those that others go on from in the same file (a chat that is
  // logged request by request) count as one. gc() retires it when the last conversation that holds
  // a run is erased. Other writers wait. `invalid` if there is too little that conversations have
  // in common; `exists` if the tenant has the same one already.
  virtual Result<DictionaryInfo> train(const Filter& filter,
                                       const DictionaryTraining& options = {}) = 0;
  // Keeps a dictionary as zstd makes them. `invalid` if the bytes are none or its id is 0, `exists`
  // if the tenant has one of this id, `exhausted` above 16 MB. It is not active yet.
  virtual Result<DictionaryInfo> add(ByteView bytes, const DictionaryOrigin& origin = {},
                                     std::string_view tenant = {}) = 0;
  // What is written from now on uses it, or none without an id. `not_found`.
  virtual Status activate(std::optional<std::uint32_t> id, std::string_view tenant = {}) = 0;
  // By time of creation.
  virtual Result<std::vector<DictionaryInfo>> list(std::string_view tenant = {}) const = 0;
  // The bytes of one, as they were added. `not_found`.
  virtual Result<Buffer> get(std::uint32_t id, std::string_view tenant = {}) const = 0;
  // Removes one for good. If it is active, none is afterwards. `conflict` if a log or pack needs
  // it; with `rewrite`, those are rewritten without it first. `not_found`.
  virtual Status retire(std::uint32_t id, bool rewrite, std::string_view tenant = {}) = 0;
};

// Dictionaries in a folder, as other programs keep them: ID.zstd is one, ID.json says when it was
// made and of how many samples ({"id", "created_at", "sample_count", "size_bytes", "is_active"}),
// and the file `active` has the id of the one that is in use.
struct DictionaryImport {
  std::vector<std::uint32_t> added;
  std::vector<std::uint32_t> present;   // that were there already, with the same bytes
  std::optional<std::uint32_t> active;  // that is active now, because the folder says so
};
// Adds every ID.zstd of a folder (or the one dictionary that `path` is), in the order of their ids,
// and activates the one that the folder has as active. `invalid` if a file is no dictionary, or is
// named or described as another; `exists` if the tenant has another one of its id. What was added
// before an error stays. `not_found`, before anything is added, if an ID.json has no ID.zstd beside
// it, and for a folder with neither a dictionary nor `active`.
Result<DictionaryImport> import_dictionaries(Dictionaries& dictionaries, const std::string& path,
                                             std::string_view tenant = {});
// Writes all dictionaries of a tenant into a folder, which is made if it is absent, and returns
// their ids. The folder holds nothing else then: `exists` if something is in it that is no part of
// what is written, such as a dictionary that was retired since, which an import would bring back.
// The file that says which one is active is the last that is written.
Result<std::vector<std::uint32_t>> export_dictionaries(const Dictionaries& dictionaries,
                                                       const std::string& folder,
                                                       std::string_view tenant = {});

}  // namespace tokvault

#endif  // TOKVAULT_DICTIONARY_H_
