// Catalog: the small transactional record of which logs and packs are live.
//
// Nothing in it is the only copy of anything: `tokvault repair` rebuilds it from log, packs and
// artifacts. It exists so that a rewrite (sealing, gc, compaction) swaps many files in one step.
#ifndef TOKVAULT_CATALOG_H_
#define TOKVAULT_CATALOG_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// One live file of a vault.
struct CatalogFile {
  enum class Kind : std::uint8_t { log = 1, pack = 2 };
  Kind kind = Kind::log;
  std::uint64_t number = 0;      // unique over both kinds, never reused
  std::uint32_t tenant = 0;      // a log may hold several: 0
  std::uint64_t size_bytes = 0;  // as published; a log grows after it
  std::uint64_t conversations = 0;
  std::uint64_t sequence_first = 0;
  std::uint64_t sequence_last = 0;
  std::int64_t time_first_ms = 0;
  std::int64_t time_last_ms = 0;
};

// A live record that sealed packs carry (a deletion, a tag, import progress, a tenant), as bytes of
// docs/format/record.md, with the key under which a later one replaces it.
struct CatalogRecord {
  Buffer key;
  Buffer value;
  std::uint64_t sequence = 0;
};

struct CatalogState {
  std::uint64_t generation = 0;  // grows with every commit
  std::uint64_t next_file = 1;   // number of the next log or pack
  Buffer vault_record;           // docs/format/record.md: identity, tokenizer
  std::vector<CatalogFile> files;
  std::vector<CatalogRecord> records;
};

// One atomic change: everything in it, or nothing. Removals come before additions; removing what is
// absent is no error.
struct CatalogChange {
  std::uint64_t generation = 0;  // that the change was computed from
  std::uint64_t next_file = 0;   // 0: unchanged
  std::optional<Buffer> vault_record;
  std::vector<CatalogFile> add_files;  // replaces a file of the same kind and number
  std::vector<std::uint64_t> remove_files;
  std::vector<CatalogRecord> put_records;  // replaces the record of the same key
  std::vector<Buffer> remove_records;
};

// Threads: all methods may be called from any thread at once.
// Lifetime: whoever opens a vault hands it over; what is returned is a copy.
class Catalog {
 public:
  virtual ~Catalog() = default;

  // Everything, files ordered by number and records by key. `corrupt` if a row fails its checksum;
  // `not_found` if there is no catalog yet, or while it is being reset; `busy` if a commit takes
  // too long, or was interrupted and this handle is for reading only: a reader may then wait, or
  // build its view from log and packs.
  virtual Result<CatalogState> load() const = 0;

  // The current generation; cheap, so that readers may ask before every operation.
  virtual Result<std::uint64_t> generation() const = 0;

  // Applies a change durably and returns the new generation; `conflict` if the catalog has moved on
  // from change.generation; `invalid`, with nothing changed, if next_file would go back, a number
  // is taken by the other kind, or a key (1 to 4,096 bytes) or value (up to 16 MB) is too long.
  virtual Result<std::uint64_t> commit(const CatalogChange& change) = 0;

  // Replaces everything by `state`: creation and repair. Works on a catalog that is damaged, too.
  // state.generation should be one that was never used before, so that readers notice.
  virtual Status reset(const CatalogState& state) = 0;

  // Writes free space back and erases the bytes of removed rows.
  virtual Status vacuum() = 0;
};

// A catalog in memory, for tests and for vaults that need not last: with make_memory_backend().
// There is none in it until reset().
std::unique_ptr<Catalog> make_memory_catalog();

struct SqliteOptions {
  bool create = false;     // the file may be absent: reset() makes it
  bool read_only = false;  // what writes is `denied`
};
// A catalog in one SQLite file, which is opened when it is first needed: damage shows then. One
// handle for a file in a process. `not_found` if the file is absent and create is false; `invalid`
// for no path, or for both options; `denied` or `io` if the file system says so.
Result<std::unique_ptr<Catalog>> make_sqlite_catalog(const std::string& path,
                                                     const SqliteOptions& options);

}  // namespace tokvault

#endif  // TOKVAULT_CATALOG_H_
