// A connection to an empty database in memory. What may be asked is decided by an authorizer that
// knows what is allowed and refuses the rest; that a statement only reads is asked of SQLite as
// well.
#include "tokvault/sql.h"

#include <sqlite3.h>

#include <algorithm>
#include <array>

#include "query/module.h"

namespace tokvault {
namespace {

// A value, and so what one row may take.
constexpr int kValueBytesMax = 256 << 20;

bool is_one_of(const char* name, std::span<const std::string_view> names) {
  return name != nullptr && std::find(names.begin(), names.end(), name) != names.end();
}

int authorize(void*, int action, const char* first, const char* second, const char*, const char*) {
  constexpr std::array<std::string_view, 4> kPragmas{"table_info", "table_xinfo", "table_list",
                                                     "function_list"};
  constexpr std::array<std::string_view, 1> kSchema{"sqlite_master"};
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
      return SQLITE_OK;
    case SQLITE_FUNCTION:
      return second != nullptr && sqlite3_stricmp(second, "load_extension") == 0 ? SQLITE_DENY
                                                                                 : SQLITE_OK;
    case SQLITE_UPDATE:
      // Asked when a virtual table says what its columns are. That a statement does it is refused
      // by SQLite (SQLITE_DBCONFIG_DEFENSIVE), and because it does not only read.
      return is_one_of(first, kSchema) ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_PRAGMA:
      return is_one_of(first, kPragmas) ? SQLITE_OK : SQLITE_DENY;
    default:
      return SQLITE_DENY;
  }
}

Error denied() { return Error(Errc::denied, "SQL: only what reads is allowed, such as SELECT"); }

Error error_of(sqlite3* db, int rc) {
  const std::string what = std::string("SQL: ") + sqlite3_errmsg(db);
  switch (rc & 0xff) {
    case SQLITE_INTERRUPT:
      return Error(Errc::cancelled, "SQL: interrupted");
    case SQLITE_AUTH:
      return denied();
    case SQLITE_NOMEM:
    case SQLITE_FULL:
    case SQLITE_TOOBIG:
      return Error(Errc::exhausted, what);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      return Error(Errc::io, what, sqlite3_system_errno(db));
    default:
      return Error(Errc::invalid, what);
  }
}

class StatementImpl final : public SqlStatement {
 public:
  // `passed_over` is added to.
  StatementImpl(sqlite3* db, sqlite3_stmt* statement, query::Connection& connection,
                bool keep_going, std::uint64_t& passed_over)
      : db_(db),
        statement_(statement),
        connection_(connection),
        reading_{.keep_going = keep_going},
        passed_over_(passed_over) {
    for (int i = 0; i < sqlite3_column_count(statement); ++i) {
      const char* const name = sqlite3_column_name(statement, i);
      columns_.emplace_back(name == nullptr ? "" : name);
    }
  }
  StatementImpl(const StatementImpl&) = delete;
  StatementImpl& operator=(const StatementImpl&) = delete;
  ~StatementImpl() override { sqlite3_finalize(statement_); }

  const std::vector<std::string>& columns() const override { return columns_; }

  Status bind(int parameter, const SqlValue& value) override {
    // SQLite would take it once the last row was there, to no effect.
    if (has_begun_) return Error(Errc::invalid, "SQL: a parameter of a statement that has begun");
    int rc = SQLITE_OK;
    const char* const data = value.bytes.empty() ? "" : value.bytes.data();
    switch (value.type) {
      case SqlValue::Type::null:
        rc = sqlite3_bind_null(statement_, parameter);
        break;
      case SqlValue::Type::integer:
        rc = sqlite3_bind_int64(statement_, parameter, value.integer);
        break;
      case SqlValue::Type::real:
        rc = sqlite3_bind_double(statement_, parameter, value.real);
        break;
      case SqlValue::Type::text:
        rc = sqlite3_bind_text64(statement_, parameter, data, value.bytes.size(), SQLITE_TRANSIENT,
                                 SQLITE_UTF8);
        break;
      case SqlValue::Type::blob:
        rc = sqlite3_bind_blob64(statement_, parameter, data, value.bytes.size(), SQLITE_TRANSIENT);
        break;
    }
    if (rc != SQLITE_OK) return error_of(db_, rc);
    return {};
  }

  Result<bool> next() override {
    if (error_.code() != Errc::ok) return error_.clone();
    if (is_done_) return false;
    has_begun_ = true;
    connection_.error = Error();
    connection_.reading = &reading_;
    const int rc = sqlite3_step(statement_);
    connection_.reading = nullptr;
    passed_over_ += std::exchange(reading_.passed_over, 0);
    if (rc == SQLITE_ROW) return true;
    is_done_ = true;
    if (rc != SQLITE_DONE) {
      // What the vault said, rather than what SQLite made of it.
      const bool is_vaults = connection_.error.code() != Errc::ok && (rc & 0xff) == SQLITE_ERROR;
      error_ = is_vaults ? std::move(connection_.error) : error_of(db_, rc);
    }
    // Closes the cursors; then nobody needs the vault as it was.
    (void)sqlite3_reset(statement_);
    reading_.vault.reset();
    if (error_.code() != Errc::ok) return error_.clone();
    return false;
  }

  SqlValue value(std::size_t column) const override {
    return query::value_of(sqlite3_column_value(statement_, static_cast<int>(column)));
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_;
  query::Connection& connection_;
  query::Reading reading_;  // cursors read from it until the statement is reset
  std::uint64_t& passed_over_;
  std::vector<std::string> columns_;
  bool has_begun_ = false;
  bool is_done_ = false;
  Error error_;
};

class DatabaseImpl final : public SqlDatabase {
 public:
  DatabaseImpl(const Vault& vault, const SqlOptions& options)
      : connection_{vault}, keep_going_(options.keep_going) {}
  DatabaseImpl(const DatabaseImpl&) = delete;
  DatabaseImpl& operator=(const DatabaseImpl&) = delete;
  ~DatabaseImpl() override { sqlite3_close_v2(db_); }

  Status open() {
    constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY |
                           SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(":memory:", &db_, kFlags, nullptr);
    if (rc == SQLITE_OK) rc = query::add_tables(db_, connection_);
    if (rc == SQLITE_OK) {
      rc = sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, static_cast<int*>(nullptr));
    }
    if (rc == SQLITE_OK) rc = sqlite3_set_authorizer(db_, authorize, nullptr);
    if (rc != SQLITE_OK) return error_of(db_, rc);
    sqlite3_limit(db_, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_limit(db_, SQLITE_LIMIT_LENGTH, kValueBytesMax);
    return {};
  }

  Result<std::unique_ptr<SqlStatement>> prepare(std::string_view sql) override {
    if (sql.find('\0') != std::string_view::npos) {
      return Error(Errc::invalid, "SQL: a zero byte in the statement");
    }
    // SQLite measures in int, and refuses more than a million anyway.
    if (sql.size() > 1'000'000) {
      return Error(Errc::invalid, "SQL: a statement of more than 1,000,000 bytes");
    }
    const std::string text(sql);
    const char* tail = nullptr;
    sqlite3_stmt* first = nullptr;
    int rc = sqlite3_prepare_v2(db_, text.c_str(), -1, &first, &tail);
    if (rc != SQLITE_OK) return error_of(db_, rc);
    if (first == nullptr) return Error(Errc::invalid, "SQL: there is no statement");
    auto statement =
        std::make_unique<StatementImpl>(db_, first, connection_, keep_going_, passed_over_);
    if (sqlite3_stmt_readonly(first) == 0) return denied();
    while (*tail != '\0') {
      sqlite3_stmt* more = nullptr;
      rc = sqlite3_prepare_v2(db_, tail, -1, &more, &tail);
      sqlite3_finalize(more);
      if (more != nullptr || rc != SQLITE_OK) {
        return Error(Errc::invalid, "SQL: more than one statement");
      }
    }
    return std::unique_ptr<SqlStatement>(std::move(statement));
  }

  void interrupt() override { sqlite3_interrupt(db_); }
  std::uint64_t passed_over() const override { return passed_over_; }

 private:
  query::Connection connection_;
  const bool keep_going_;
  std::uint64_t passed_over_ = 0;
  sqlite3* db_ = nullptr;
};

}  // namespace

SqlValue SqlValue::of_integer(std::int64_t v) { return {Type::integer, v, 0, {}}; }
SqlValue SqlValue::of_real(double v) { return {Type::real, 0, v, {}}; }
SqlValue SqlValue::of_text(std::string_view text) { return {Type::text, 0, 0, std::string(text)}; }
SqlValue SqlValue::of_blob(std::string_view bytes) {
  return {Type::blob, 0, 0, std::string(bytes)};
}

std::span<const SqlTable> sql_tables() {
  static const std::vector<SqlTable> kShown = [] {
    std::vector<SqlTable> shown;
    for (const query::Table& table : query::tables()) shown.push_back(table.shown);
    return shown;
  }();
  return kShown;
}

Result<std::unique_ptr<SqlDatabase>> open_sql(const Vault& vault, const SqlOptions& options) {
  auto database = std::make_unique<DatabaseImpl>(vault, options);
  TOKVAULT_TRY(database->open());
  return std::unique_ptr<SqlDatabase>(std::move(database));
}

}  // namespace tokvault
