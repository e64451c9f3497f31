#include "catalog/sqlite_connection.h"

#include <cerrno>

#include "base/bytes.h"
#include "catalog/rules.h"

namespace tokvault {
namespace {

// How long a reader waits for a commit to end, and a commit for readers.
constexpr int kBusyTimeoutMs = 5000;
// The longest row: a key, a value and the numbers.
constexpr std::size_t kRowBytesMax = catalog::kKeyBytesMax + catalog::kValueBytesMax + 1024;
constexpr int kChangeCounterOffset = 24;

Errc code_of(int rc, int os_code) {
  const bool denied_by_os = os_code == EACCES || os_code == EPERM || os_code == EROFS;
  const bool no_room = os_code == ENOSPC || os_code == EDQUOT || os_code == EFBIG;
  switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return Errc::exhausted;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Errc::busy;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR:   // no such table or column: not our schema
    case SQLITE_TOOBIG:  // a value over the limit, which was never written
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
      return Errc::corrupt;
    case SQLITE_READONLY:
      // A commit was interrupted, and this reader may not roll it back. To a reader that is the
      // same as a commit that takes too long: it can wait for a writer, or do without.
      if (rc == SQLITE_READONLY_ROLLBACK || rc == SQLITE_READONLY_RECOVERY) return Errc::busy;
      if (rc == SQLITE_READONLY_DBMOVED) return Errc::conflict;
      return Errc::denied;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return Errc::denied;
    case SQLITE_CANTOPEN:
      if (denied_by_os) return Errc::denied;
      return os_code == ENOENT ? Errc::not_found : Errc::io;
    case SQLITE_IOERR:
      if (no_room) return Errc::exhausted;
      return denied_by_os ? Errc::denied : Errc::io;
    default:
      return Errc::io;
  }
}

// The only place where a code of SQLite becomes an Error.
Error sqlite_error(sqlite3* db, int rc, const std::string& path) {
  const int os_code = db ? sqlite3_system_errno(db) : 0;
  const char* what = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
  if (rc == SQLITE_READONLY_ROLLBACK) {
    what = "a commit was interrupted; the next writer that opens it rolls it back";
  }
  return Error(code_of(rc, os_code), path + ": " + what, os_code);
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_), stmt_(other.stmt_), path_(other.path_), bound_(other.bound_) {
  other.stmt_ = nullptr;
}

Statement::~Statement() {
  if (!stmt_) return;
  sqlite3_reset(stmt_);
  sqlite3_clear_bindings(stmt_);
}

void Statement::bind(std::uint64_t v) {
  sqlite3_bind_int64(stmt_, ++bound_, static_cast<std::int64_t>(v));
}

void Statement::bind(ByteView bytes) {
  // A null pointer would bind NULL.
  const char* data = bytes.empty() ? "" : bytes.data();
  sqlite3_bind_blob64(stmt_, ++bound_, data, bytes.size(), SQLITE_STATIC);
}

Result<bool> Statement::step() {
  const int rc = sqlite3_step(stmt_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  return sqlite_error(db_, rc, path_);
}

Status Statement::run() {
  for (;;) {
    TOKVAULT_ASSIGN(const bool row, step());
    if (!row) return {};
  }
}

std::uint64_t Statement::number(int column) {
  return static_cast<std::uint64_t>(sqlite3_column_int64(stmt_, column));
}

Buffer Statement::blob(int column) {
  const void* data = sqlite3_column_blob(stmt_, column);
  const int size = sqlite3_column_bytes(stmt_, column);
  if (!data || size <= 0) return {};
  return Buffer(static_cast<const char*>(data), static_cast<std::size_t>(size));
}

Status SqliteConnection::open(const std::string& path, int flags) {
  close();
  path_ = path;
  int rc = sqlite3_open_v2(path.c_str(), &db_, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                           nullptr);
  if (rc == SQLITE_OK) rc = set_up();
  if (rc == SQLITE_OK) return {};
  Error failed = sqlite_error(db_, rc, path_);
  close();
  return failed;
}

int SqliteConnection::set_up() {
  sqlite3_busy_timeout(db_, kBusyTimeoutMs);
  // Bounds what a damaged file can make a reader allocate.
  sqlite3_limit(db_, SQLITE_LIMIT_LENGTH, static_cast<int>(kRowBytesMax));
  // A damaged or hostile schema runs nothing.
  sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  // The journal is SQLite's default, DELETE. EXTRA: fsync of the folder after the journal is
  // removed, without which power loss can bring it back and undo an acknowledged commit.
  return sqlite3_exec(db_,
                      "PRAGMA page_size=512;PRAGMA temp_store=MEMORY;PRAGMA secure_delete=ON;"
                      "PRAGMA synchronous=EXTRA;PRAGMA cell_size_check=ON",
                      nullptr, nullptr, nullptr);
}

void SqliteConnection::close() {
  for (sqlite3_stmt*& stmt : prepared_) {
    sqlite3_finalize(stmt);
    stmt = nullptr;
  }
  sqlite3_close(db_);
  db_ = nullptr;
}

Result<Statement> SqliteConnection::use(std::size_t index) {
  sqlite3_stmt*& stmt = prepared_[index];
  if (!stmt) {
    const int rc =
        sqlite3_prepare_v3(db_, sql_[index], -1, SQLITE_PREPARE_PERSISTENT, &stmt, nullptr);
    if (rc != SQLITE_OK) return sqlite_error(db_, rc, path_);
  }
  return Statement(db_, stmt, path_);
}

Status SqliteConnection::run(std::size_t index) {
  TOKVAULT_ASSIGN(Statement statement, use(index));
  return statement.run();
}

Status SqliteConnection::execute(const std::string& sql) {
  const int rc = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return sqlite_error(db_, rc, path_);
  return {};
}

void SqliteConnection::roll_back() {
  if (db_ && sqlite3_get_autocommit(db_) == 0) {
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

bool SqliteConnection::was_moved() const {
  int moved = 0;
  return sqlite3_file_control(db_, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
         moved != 0;
}

std::uint32_t SqliteConnection::change_counter() const {
  sqlite3_file* file = nullptr;
  char bytes[4] = {};
  if (sqlite3_file_control(db_, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
      !file->pMethods ||
      file->pMethods->xRead(file, bytes, sizeof bytes, kChangeCounterOffset) != SQLITE_OK) {
    return 0;
  }
  return load_le<std::uint32_t>(bytes);
}

}  // namespace tokvault
