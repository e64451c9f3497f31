// The catalog in one SQLite file.
// Format: docs/format/catalog.md. Why a rollback journal: docs/decisions/0002-catalog-journal.md.
//
// Three things are ours and not SQLite's:
//   damage    SQLite's pages have no checksums. Every row carries one over its fields, and the one
//             row of `meta` the sum of all others', so that a row that is changed, lost or brought
//             back is found. Any schema but exactly ours is damage too.
//   polling   generation() is asked before every read of a vault. It looks at the change counter
//             that SQLite writes into the file with every commit: a stat and a pread, 1.5 us, where
//             `PRAGMA data_version` takes and drops a lock, 6.5 us. No lock is needed: the counter
//             that is known means that nothing was committed since; any other, even one of a commit
//             that is not finished, only means that the row is read, under a lock.
//   replacing reset() removes the file and makes a new one, because it must work on garbage. Other
//             connections notice that their file has been moved, and open the new one.
//
// The connection is opened when it is first needed: a catalog that is garbage can be made, so that
// it can be reset. Nothing else in the process may open the file: closing any descriptor of it
// drops SQLite's locks (POSIX record locks work like that).
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <mutex>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/file.h"
#include "catalog/rules.h"
#include "catalog/sqlite_connection.h"
#include "tokvault/catalog.h"

namespace tokvault {
namespace {

// Part of the on-disk format, never changed: SQLite's application_id ("tkvc") and user_version.
constexpr std::int64_t kApplicationId = 0x746b7663;
constexpr std::int64_t kFormatVersion = 2;

// Part of the on-disk format: SQLite keeps the text, and a reader compares it. Version 2 says no
// types, so that all of it fits the first page of 512 bytes; what is stored is the same.
using Schema = std::array<const char*, 3>;
constexpr std::array<Schema, kFormatVersion> kSchemas = {{
    {"CREATE TABLE file(number INTEGER PRIMARY KEY,kind INTEGER,tenant INTEGER,"
     "size_bytes INTEGER,conversations INTEGER,sequence_first INTEGER,sequence_last INTEGER,"
     "time_first_ms INTEGER,time_last_ms INTEGER,checksum INTEGER)",
     "CREATE TABLE meta(id INTEGER PRIMARY KEY,generation INTEGER,next_file INTEGER,"
     "vault_record BLOB,rows_sum INTEGER,checksum INTEGER)",
     "CREATE TABLE record(key BLOB PRIMARY KEY,value BLOB,sequence INTEGER,checksum INTEGER)"
     " WITHOUT ROWID"},
    {"CREATE TABLE file(number INTEGER PRIMARY KEY,kind,tenant,size_bytes,conversations,"
     "sequence_first,sequence_last,time_first_ms,time_last_ms,checksum)",
     "CREATE TABLE meta(id INTEGER PRIMARY KEY,generation,next_file,vault_record,rows_sum,"
     "checksum)",
     "CREATE TABLE record(key PRIMARY KEY,value,sequence,checksum)WITHOUT ROWID"},
}};

enum Query : std::size_t {
  kBegin,
  kBeginWrite,
  kCommit,
  kApplication,
  kVersion,
  kReadSchema,
  kReadMeta,
  kReadFiles,
  kReadRecords,
  kWriteMeta,
  kAddFile,
  kRemoveFile,
  kPutRecord,
  kRemoveRecord,
  kQueryCount,
};

constexpr std::array<const char*, kQueryCount> kSql = {
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "PRAGMA application_id",
    "PRAGMA user_version",
    "SELECT sql FROM sqlite_schema ORDER BY name",
    "SELECT generation,next_file,vault_record,rows_sum,checksum FROM meta WHERE id=1",
    "SELECT number,kind,tenant,size_bytes,conversations,sequence_first,sequence_last,"
    "time_first_ms,time_last_ms,checksum FROM file ORDER BY number",
    "SELECT key,value,sequence,checksum FROM record ORDER BY key",
    "INSERT OR REPLACE INTO meta VALUES(1,?1,?2,?3,?4,?5)",
    "INSERT INTO file VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
    "DELETE FROM file WHERE number=?1 RETURNING kind,checksum",
    "INSERT INTO record VALUES(?1,?2,?3,?4)",
    "DELETE FROM record WHERE key=?1 RETURNING checksum",
};

// Seeds of the row checksums, so that a row of one table never passes for one of another. Part of
// the on-disk format.
enum Seed : std::uint64_t { kSeedMeta = 1, kSeedFile = 2, kSeedRecord = 3 };

struct Meta {
  std::uint64_t generation = 0;
  std::uint64_t next_file = 1;
  Buffer vault_record;
  std::uint64_t rows_sum = 0;  // of the checksums of all rows of file and record, modulo 2^64
};

std::uint64_t checksum_of(const Meta& meta) {
  Buffer row;
  append_le(row, meta.generation);
  append_le(row, meta.next_file);
  append_le(row, meta.rows_sum);
  row += meta.vault_record;
  return checksum64(row, kSeedMeta);
}

std::uint64_t checksum_of(const CatalogFile& file) {
  Buffer row;
  append_le(row, file.number);
  append_le(row, static_cast<std::uint64_t>(file.kind));
  append_le(row, std::uint64_t{file.tenant});
  append_le(row, file.size_bytes);
  append_le(row, file.conversations);
  append_le(row, file.sequence_first);
  append_le(row, file.sequence_last);
  append_le(row, static_cast<std::uint64_t>(file.time_first_ms));
  append_le(row, static_cast<std::uint64_t>(file.time_last_ms));
  return checksum64(row, kSeedFile);
}

std::uint64_t checksum_of(const CatalogRecord& record) {
  Buffer row;
  append_le(row, record.sequence);
  append_le(row, std::uint64_t{record.key.size()});
  row += record.key;
  row += record.value;
  return checksum64(row, kSeedRecord);
}

// Threads: as Catalog; one mutex around one connection.
class SqliteCatalog final : public Catalog {
 public:
  SqliteCatalog(std::string path, bool read_only) : path_(std::move(path)), read_only_(read_only) {}

  Result<CatalogState> load() const override {
    const std::lock_guard lock(mutex_);
    TOKVAULT_TRY(connect());
    auto state = in_transaction(kBegin, [&]() { return read_all(); });
    return state;
  }

  Result<std::uint64_t> generation() const override {
    const std::lock_guard lock(mutex_);
    TOKVAULT_TRY(connect());
    if (known_counter_ != 0 && db_.change_counter() == known_counter_) return known_generation_;
    return in_transaction(kBegin, [&]() -> Result<std::uint64_t> {
      TOKVAULT_ASSIGN(const Meta meta, read_meta());
      // Nobody writes while this transaction reads, so the two belong together.
      known_counter_ = db_.change_counter();
      known_generation_ = meta.generation;
      return meta.generation;
    });
  }

  Result<std::uint64_t> commit(const CatalogChange& change) override {
    TOKVAULT_TRY(catalog::check(change));
    const std::lock_guard lock(mutex_);
    TOKVAULT_TRY(check_writable());
    TOKVAULT_TRY(connect());
    known_counter_ = 0;
    return in_transaction(kBeginWrite, [&]() { return apply(change); });
  }

  Status reset(const CatalogState& state) override {
    TOKVAULT_TRY(catalog::check(state));
    const std::lock_guard lock(mutex_);
    TOKVAULT_TRY(check_writable());
    db_.close();
    known_counter_ = 0;
    // The database goes first: a journal without it is ignored, it without its journal is not.
    TOKVAULT_TRY(remove_file(path_));
    TOKVAULT_TRY(remove_file(path_ + "-journal"));
    TOKVAULT_TRY(db_.open(path_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
    auto done = in_transaction(kBeginWrite, [&]() { return create(state); });
    if (!done) return std::move(done).error();
    return sync_folder(std::filesystem::path(path_).parent_path().string());
  }

  Status vacuum() override {
    const std::lock_guard lock(mutex_);
    TOKVAULT_TRY(check_writable());
    TOKVAULT_TRY(connect());
    // What is damaged is kept as it is, for whoever looks at it.
    TOKVAULT_TRY(in_transaction(kBegin, [&]() { return read_all(); }));
    return db_.execute("VACUUM");
  }

 private:
  Status check_writable() const {
    if (read_only_) return Error(Errc::denied, path_ + " is open for reading only");
    return {};
  }

  static Status remove_file(const std::string& path) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "remove " + path);
    return {};
  }

  // Opens the file that is under the name now; `not_found` if there is none.
  Status connect() const {
    if (db_.is_open() && !db_.was_moved()) return {};
    db_.close();
    known_counter_ = 0;
    struct stat st{};
    if (::stat(path_.c_str(), &st) != 0) return errno_error(errno, path_);
    return db_.open(path_, read_only_ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
  }

  // Runs `f` between BEGIN and COMMIT; rolls back if it or the commit fails.
  template <class F>
  auto in_transaction(Query begin, F&& f) const -> decltype(f()) {
    TOKVAULT_TRY(db_.run(begin));
    auto done = f();
    Status ended;
    if (done) ended = db_.run(kCommit);
    if (done && ended) return done;
    db_.roll_back();
    if (!done) return done;
    return std::move(ended).error();
  }

  Error damaged(const std::string& what) const { return Error(Errc::corrupt, path_ + ": " + what); }

  Result<std::uint64_t> one_number(Query query) const {
    TOKVAULT_ASSIGN(Statement use, db_.use(query));
    TOKVAULT_ASSIGN(const bool row, use.step());
    if (!row) return damaged("a header field is missing");
    return use.number(0);
  }

  // That this is a catalog, of a version that this code knows, with the tables that it knows.
  Status check_schema() const {
    TOKVAULT_ASSIGN(Statement use, db_.use(kReadSchema));
    TOKVAULT_ASSIGN(const std::uint64_t application, one_number(kApplication));
    TOKVAULT_ASSIGN(const std::uint64_t version, one_number(kVersion));
    std::size_t tables = 0;
    TOKVAULT_ASSIGN(bool row, use.step());
    if (!row && application == 0) return Error(Errc::not_found, path_ + " holds no catalog yet");
    if (application != kApplicationId) return damaged("not a catalog of tokvault");
    if (version > kFormatVersion) {
      return Error(Errc::unsupported, path_ + ": catalog format " + std::to_string(version) +
                                          ", this release reads up to " +
                                          std::to_string(kFormatVersion));
    }
    if (version < 1) return damaged("catalog format " + std::to_string(version));
    const Schema& schema = kSchemas[version - 1];
    while (row) {
      if (tables == schema.size() || use.blob(0) != schema[tables]) {
        return damaged("table " + std::to_string(tables) + " is not as it was made");
      }
      ++tables;
      TOKVAULT_ASSIGN(row, use.step());
    }
    if (tables != schema.size()) return damaged("a table is missing");
    return {};
  }

  Result<Meta> read_meta() const {
    TOKVAULT_TRY(check_schema());
    TOKVAULT_ASSIGN(Statement use, db_.use(kReadMeta));
    TOKVAULT_ASSIGN(const bool row, use.step());
    if (!row) return damaged("table meta: the row is missing");
    Meta meta;
    meta.generation = use.number(0);
    meta.next_file = use.number(1);
    meta.vault_record = use.blob(2);
    meta.rows_sum = use.number(3);
    if (use.number(4) != checksum_of(meta)) return damaged("table meta: checksum");
    return meta;
  }

  Result<CatalogState> read_all() const {
    TOKVAULT_ASSIGN(Meta meta, read_meta());
    CatalogState state;
    state.generation = meta.generation;
    state.next_file = meta.next_file;
    state.vault_record = std::move(meta.vault_record);
    std::uint64_t sum = 0;
    TOKVAULT_TRY(read_files(state.files, sum));
    TOKVAULT_TRY(read_records(state.records, sum));
    if (sum != meta.rows_sum) return damaged("rows of file or record are missing or stale");
    return state;
  }

  Status read_files(std::vector<CatalogFile>& out, std::uint64_t& sum) const {
    TOKVAULT_ASSIGN(Statement use, db_.use(kReadFiles));
    for (;;) {
      TOKVAULT_ASSIGN(const bool row, use.step());
      if (!row) return {};
      CatalogFile file;
      file.number = use.number(0);
      // What does not fit its field would be cut to a value that the checksum may be right for.
      if (use.number(1) > 0xff || use.number(2) > 0xffffffff) {
        return damaged("table file, number " + std::to_string(file.number) + ": out of range");
      }
      file.kind = static_cast<CatalogFile::Kind>(use.number(1));
      file.tenant = static_cast<std::uint32_t>(use.number(2));
      file.size_bytes = use.number(3);
      file.conversations = use.number(4);
      file.sequence_first = use.number(5);
      file.sequence_last = use.number(6);
      file.time_first_ms = static_cast<std::int64_t>(use.number(7));
      file.time_last_ms = static_cast<std::int64_t>(use.number(8));
      if (use.number(9) != checksum_of(file)) {
        return damaged("table file, number " + std::to_string(file.number) + ": checksum");
      }
      sum += checksum_of(file);
      out.push_back(file);
    }
  }

  Status read_records(std::vector<CatalogRecord>& out, std::uint64_t& sum) const {
    TOKVAULT_ASSIGN(Statement use, db_.use(kReadRecords));
    for (;;) {
      TOKVAULT_ASSIGN(const bool row, use.step());
      if (!row) return {};
      CatalogRecord record;
      record.key = use.blob(0);
      record.value = use.blob(1);
      record.sequence = use.number(2);
      if (use.number(3) != checksum_of(record)) {
        return damaged("table record, key " + to_hex(record.key.substr(0, 64)) + ": checksum");
      }
      sum += checksum_of(record);
      out.push_back(std::move(record));
    }
  }

  Result<std::uint64_t> apply(const CatalogChange& change) {
    TOKVAULT_ASSIGN(Meta meta, read_meta());
    TOKVAULT_TRY(catalog::check_fits(change, meta.generation, meta.next_file));
    for (const std::uint64_t number : change.remove_files) {
      TOKVAULT_TRY(remove_row(number, nullptr, meta.rows_sum));
    }
    for (const CatalogFile& file : change.add_files) {
      TOKVAULT_TRY(remove_row(file.number, &file, meta.rows_sum));
      TOKVAULT_TRY(add(file, meta.rows_sum));
    }
    for (const Buffer& key : change.remove_records) {
      TOKVAULT_TRY(remove_row(key, meta.rows_sum));
    }
    for (const CatalogRecord& record : change.put_records) {
      TOKVAULT_TRY(remove_row(record.key, meta.rows_sum));
      TOKVAULT_TRY(add(record, meta.rows_sum));
    }
    if (change.next_file != 0) meta.next_file = change.next_file;
    if (change.vault_record) meta.vault_record = *change.vault_record;
    ++meta.generation;
    TOKVAULT_TRY(write(meta));
    return meta.generation;
  }

  Result<std::uint64_t> create(const CatalogState& state) {
    for (const char* table : kSchemas.back()) TOKVAULT_TRY(db_.execute(table));
    TOKVAULT_TRY(db_.execute("PRAGMA application_id=" + std::to_string(kApplicationId)));
    TOKVAULT_TRY(db_.execute("PRAGMA user_version=" + std::to_string(kFormatVersion)));
    Meta meta;
    meta.generation = state.generation;
    meta.next_file = state.next_file;
    meta.vault_record = state.vault_record;
    for (const CatalogFile& file : state.files) TOKVAULT_TRY(add(file, meta.rows_sum));
    for (const CatalogRecord& record : state.records) TOKVAULT_TRY(add(record, meta.rows_sum));
    TOKVAULT_TRY(write(meta));
    return meta.generation;
  }

  Status write(const Meta& meta) {
    TOKVAULT_ASSIGN(Statement use, db_.use(kWriteMeta));
    use.bind(meta.generation);
    use.bind(meta.next_file);
    use.bind(meta.vault_record);
    use.bind(meta.rows_sum);
    use.bind(checksum_of(meta));
    return use.run();
  }

  Status add(const CatalogFile& file, std::uint64_t& sum) {
    TOKVAULT_ASSIGN(Statement use, db_.use(kAddFile));
    use.bind(file.number);
    use.bind(static_cast<std::uint64_t>(file.kind));
    use.bind(std::uint64_t{file.tenant});
    use.bind(file.size_bytes);
    use.bind(file.conversations);
    use.bind(file.sequence_first);
    use.bind(file.sequence_last);
    use.bind(static_cast<std::uint64_t>(file.time_first_ms));
    use.bind(static_cast<std::uint64_t>(file.time_last_ms));
    use.bind(checksum_of(file));
    sum += checksum_of(file);
    return use.run();
  }

  Status add(const CatalogRecord& record, std::uint64_t& sum) {
    TOKVAULT_ASSIGN(Statement use, db_.use(kPutRecord));
    use.bind(record.key);
    use.bind(record.value);
    use.bind(record.sequence);
    use.bind(checksum_of(record));
    sum += checksum_of(record);
    return use.run();
  }

  // Removes a file if it is there; `replacement`, if any, must be of the same kind.
  Status remove_row(std::uint64_t number, const CatalogFile* replacement, std::uint64_t& sum) {
    TOKVAULT_ASSIGN(Statement use, db_.use(kRemoveFile));
    use.bind(number);
    TOKVAULT_ASSIGN(const bool row, use.step());
    if (!row) return {};
    if (replacement && use.number(0) != static_cast<std::uint64_t>(replacement->kind)) {
      return catalog::wrong_kind(*replacement);
    }
    sum -= use.number(1);
    return use.run();
  }

  Status remove_row(ByteView key, std::uint64_t& sum) {
    TOKVAULT_ASSIGN(Statement use, db_.use(kRemoveRecord));
    use.bind(key);
    TOKVAULT_ASSIGN(const bool row, use.step());
    if (!row) return {};
    sum -= use.number(0);
    return use.run();
  }

  const std::string path_;
  const bool read_only_;
  mutable std::mutex mutex_;
  // All guarded by mutex_. The generation is known while the file's change counter is the one
  // that it was read with; 0, which no catalog has, if it is not known.
  mutable SqliteConnection db_{kSql};
  mutable std::uint64_t known_generation_ = 0;
  mutable std::uint32_t known_counter_ = 0;
};

}  // namespace

Result<std::unique_ptr<Catalog>> make_sqlite_catalog(const std::string& path,
                                                     const SqliteOptions& options) {
  if (options.create && options.read_only) {
    return Error(Errc::invalid, "a catalog cannot be created for reading only");
  }
  std::error_code failed;
  const std::string absolute = std::filesystem::absolute(path, failed).string();
  if (failed || path.empty()) return Error(Errc::invalid, "not a path: " + path);
  struct stat st{};
  if (::stat(absolute.c_str(), &st) != 0 && !(options.create && errno == ENOENT)) {
    return errno_error(errno, absolute);
  }
  return std::unique_ptr<Catalog>(std::make_unique<SqliteCatalog>(absolute, options.read_only));
}

}  // namespace tokvault
