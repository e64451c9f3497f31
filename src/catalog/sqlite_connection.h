// A connection to an SQLite file, its prepared statements, and the door from SQLite's codes to
// Error.
#ifndef TOKVAULT_CATALOG_SQLITE_CONNECTION_H_
#define TOKVAULT_CATALOG_SQLITE_CONNECTION_H_

#include <sqlite3.h>

#include <span>
#include <string>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// One use of a prepared statement: bind in order, step, read; the end of its life makes the
// statement ready for the next use. At most one use of a statement at a time.
// Threads: one at a time, like its connection.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  void bind(std::uint64_t v);
  // Lifetime: `bytes` as long as the statement is used.
  void bind(ByteView bytes);
  // Goes to the next row; false after the last.
  Result<bool> step();
  // Steps through all rows.
  Status run();

  std::uint64_t number(int column);
  Buffer blob(int column);

 private:
  friend class SqliteConnection;
  Statement(sqlite3* db, sqlite3_stmt* stmt, const std::string& path)
      : db_(db), stmt_(stmt), path_(path) {}

  sqlite3* db_;
  sqlite3_stmt* stmt_;
  const std::string& path_;
  int bound_ = 0;
};

// Threads: one at a time.
class SqliteConnection {
 public:
  // `statements`: SQL that is prepared when it is first used.
  explicit SqliteConnection(std::span<const char* const> statements)
      : sql_(statements), prepared_(statements.size()) {}
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;
  ~SqliteConnection() { close(); }

  // `flags`: SQLITE_OPEN_READONLY, SQLITE_OPEN_READWRITE, SQLITE_OPEN_CREATE.
  Status open(const std::string& path, int flags);
  void close();
  bool is_open() const { return db_ != nullptr; }

  Result<Statement> use(std::size_t index);
  // Runs a statement to its end.
  Status run(std::size_t index);
  // The same for SQL that is used once in the life of a file.
  Status execute(const std::string& sql);
  // Ends a transaction that failed, unless SQLite has ended it already.
  void roll_back();

  // Whether the file of this connection is no longer the one under its name.
  bool was_moved() const;
  // The counter in bytes 24..27 of the file, which every commit changes, as it is now, read without
  // a lock; 0, which no database with a table has, if it cannot be read.
  std::uint32_t change_counter() const;

 private:
  int set_up();

  std::string path_;
  sqlite3* db_ = nullptr;
  std::span<const char* const> sql_;
  std::vector<sqlite3_stmt*> prepared_;
};

}  // namespace tokvault

#endif  // TOKVAULT_CATALOG_SQLITE_CONNECTION_H_
