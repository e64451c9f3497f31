// SQL over a vault: read-only tables of its conversations, messages, tags, sums, segments and
// files, answered by SQLite from the vault's own columns.
//
//   TOKVAULT_ASSIGN(const auto sql, open_sql(*vault));
//   TOKVAULT_ASSIGN(const auto statement,
//                   sql->prepare("select id, tokens from conversations where model = ?"));
//   TOKVAULT_TRY(statement->bind(1, SqlValue::of_text("gpt-4o")));
//   for (;;) {
//     TOKVAULT_ASSIGN(const bool row, statement->next());
//     if (!row) break;
//     use(statement->value(0), statement->value(1));
//   }
//
// Nothing is copied into a database first: the tables are SQLite's *virtual tables*
// (https://sqlite.org/vtab.html), and what a query says of tenant, id, model, application, time or
// tag is handed to the vault, as a Filter is. docs/cli.md describes the tables; sql_tables() lists
// them.
#ifndef TOKVAULT_SQL_H_
#define TOKVAULT_SQL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/vault.h"

namespace tokvault {

// A value of SQL: what a statement gives, and what takes the place of a parameter.
struct SqlValue {
  enum class Type : std::uint8_t { null, integer, real, text, blob };
  Type type = Type::null;
  std::int64_t integer = 0;
  double real = 0;
  std::string bytes{};  // of text and blob

  static SqlValue of_integer(std::int64_t v);
  static SqlValue of_real(double v);
  static SqlValue of_text(std::string_view text);
  static SqlValue of_blob(std::string_view bytes);
  bool operator==(const SqlValue&) const = default;
};

struct SqlColumn {
  std::string_view name;
  std::string_view type;  // "TEXT" or "INTEGER"
  std::string_view what;  // a few words
};
struct SqlTable {
  std::string_view name;
  std::string_view what;
  std::vector<SqlColumn> columns;
};
// The tables that every vault has. Lifetime: of the program.
std::span<const SqlTable> sql_tables();

struct SqlOptions {
  // Conversations that cannot be read for damage have no rows, instead of failing the statement
  // with `corrupt`. For a vault that was opened with VaultOptions::keep_going.
  bool keep_going = false;
};

// A statement, and where it stands in its rows.
// Threads: one at a time, together with its SqlDatabase. Lifetime: the SqlDatabase outlives it.
class SqlStatement {
 public:
  virtual ~SqlStatement() = default;
  // Names of the columns of its rows.
  virtual const std::vector<std::string>& columns() const = 0;
  // Gives a parameter (`?`, `?2`, `:name`) its value; the first is 1. `invalid` if there is no such
  // parameter, or next() was called before.
  virtual Status bind(int parameter, const SqlValue& value) = 0;
  // Goes to the next row, at first to the first one; false after the last, and from then on.
  // `cancelled` after interrupt(); `invalid` for what SQL finds wrong; `exhausted` for a value
  // above 256 MB; `conflict` if a rewrite took away what was being read and could not be held; what
  // the vault answers. After an error, that error.
  virtual Result<bool> next() = 0;
  // A value of the row. REQUIRES: next() was true, column < columns().size()
  virtual SqlValue value(std::size_t column) const = 0;
};

// A connection to a database in memory in which the tables of one vault are.
//
// Reads only: anything but SELECT (with WITH, VALUES and EXPLAIN), and the pragmas table_info,
// table_xinfo, table_list and function_list, is `denied`, and no file is opened or written, except
// temporary ones of SQLite where a sort does not fit into memory.
// A statement reads the vault as it is when its first table is opened, in its first next(),
// whatever is committed or rewritten until its last row (Vault::snapshot(), which it keeps until
// then, or until it is destroyed). Another statement reads the vault as it is when that one begins.
// Threads: one at a time, but for interrupt().
class SqlDatabase {
 public:
  virtual ~SqlDatabase() = default;
  // `invalid` unless it is one statement of SQL that the tables allow.
  virtual Result<std::unique_ptr<SqlStatement>> prepare(std::string_view sql) = 0;
  // The statements that run fail with `cancelled`. From any thread, and from a signal handler.
  virtual void interrupt() = 0;
  // With SqlOptions::keep_going: how often a conversation was passed over since it was opened, not
  // counting those that the vault itself leaves out and says by damage().
  virtual std::uint64_t passed_over() const = 0;
};

// Lifetime: the vault outlives it.
Result<std::unique_ptr<SqlDatabase>> open_sql(const Vault& vault, const SqlOptions& options = {});

}  // namespace tokvault

#endif  // TOKVAULT_SQL_H_
