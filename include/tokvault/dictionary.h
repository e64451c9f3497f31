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

// The dictionaries of a vault, by tenant: none is shared between tenants. Every change is one step:
// it is durable when the call returns, and a crash leaves all of it or nothing.
//
// Threads: as the vault. Lifetime: the vault outlives it. `tenant`, if empty, is the default one.
class Dictionaries {
 public:
  virtual ~Dictionaries() = default;

  // Keeps a dictionary as zstd makes them. `invalid` if the bytes are none or its id is 0, `exists`
  // if the tenant has one of this id, `exhausted` above 16 MB. It is not active yet. `samples`: of
  // how many it was trained, if the caller knows.
  virtual Result<DictionaryInfo> add(ByteView bytes, std::uint64_t samples = 0,
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

}  // namespace tokvault

#endif  // TOKVAULT_DICTIONARY_H_
