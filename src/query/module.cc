// The tables are *eponymous*: they are there in every schema without CREATE VIRTUAL TABLE, so that
// an authorizer can refuse everything that creates. A plan is a text with two letters for each term
// that the table takes: 'A' + column and 'a' + Op, in the order of the values that xFilter gets.
// The columns that are asked for are the number of the plan.
#include "query/module.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>

namespace tokvault::query {
namespace {

struct Module {
  const Table& table;
  Connection& connection;
};

struct VirtualTable : sqlite3_vtab {
  Module* module = nullptr;
};

struct Cursor : sqlite3_vtab_cursor {
  std::unique_ptr<Rows> rows;
  bool is_at_end = true;

  Module& module() const { return *static_cast<const VirtualTable*>(pVtab)->module; }
};

Cursor& cursor_of(sqlite3_vtab_cursor* cursor) { return *static_cast<Cursor*>(cursor); }

int fail(sqlite3_vtab* table, Connection& connection, Error error) {
  sqlite3_free(table->zErrMsg);
  table->zErrMsg = sqlite3_mprintf("%s", std::string(error.message()).c_str());
  connection.error = std::move(error);
  return SQLITE_ERROR;
}

int connect(sqlite3* db, void* aux, int, const char* const*, sqlite3_vtab** out, char**) {
  auto* const module = static_cast<Module*>(aux);
  std::string sql = "CREATE TABLE t(";
  for (const SqlColumn& column : module->table.shown.columns) {
    if (sql.back() != '(') sql += ", ";
    sql.append(column.name).append(" ").append(column.type);
  }
  if (const int rc = sqlite3_declare_vtab(db, (sql + ")").c_str()); rc != SQLITE_OK) return rc;
  auto* const table = new (std::nothrow) VirtualTable();
  if (table == nullptr) return SQLITE_NOMEM;
  table->module = module;
  *out = table;
  return SQLITE_OK;
}

int disconnect(sqlite3_vtab* table) {
  delete static_cast<VirtualTable*>(table);
  return SQLITE_OK;
}

std::optional<Op> op_of(unsigned char op) {
  switch (op) {
    case SQLITE_INDEX_CONSTRAINT_EQ:
      return Op::equal;
    case SQLITE_INDEX_CONSTRAINT_LT:
      return Op::less;
    case SQLITE_INDEX_CONSTRAINT_LE:
      return Op::less_equal;
    case SQLITE_INDEX_CONSTRAINT_GT:
      return Op::greater;
    case SQLITE_INDEX_CONSTRAINT_GE:
      return Op::greater_equal;
    default:
      return std::nullopt;
  }
}

// Which part of the rows a term leaves.
double share_of(Role role) {
  switch (role) {
    case Role::tenant:
      return 0.5;
    case Role::time_ms:
    case Role::time:
    case Role::day:
      return 0.25;
    default:
      return 0.1;
  }
}

int best_index(sqlite3_vtab* vtab, sqlite3_index_info* info) {
  const Table& table = static_cast<VirtualTable*>(vtab)->module->table;
  std::string plan;
  double rows = table.rows;
  bool has_id = false;
  bool has_tenant = false;
  for (int i = 0; i < info->nConstraint; ++i) {
    const auto& term = info->aConstraint[i];
    const auto op = op_of(term.op);
    if (term.usable == 0 || !op || term.iColumn < 0) continue;
    const Role role = table.roles[static_cast<std::size_t>(term.iColumn)];
    if (!takes(role, *op)) continue;
    if (sqlite3_stricmp(sqlite3_vtab_collation(info, i), "BINARY") != 0) continue;
    plan += static_cast<char>('A' + term.iColumn);
    plan += static_cast<char>('a' + static_cast<int>(*op));
    info->aConstraintUsage[i].argvIndex = static_cast<int>(plan.size() / 2);
    has_id = has_id || role == Role::id;
    has_tenant = has_tenant || role == Role::tenant;
    rows *= share_of(role);
  }
  const bool reads_content = (info->colUsed & table.content_columns) != 0;
  if (has_id) rows = table.rows_of_id;
  rows = std::max(rows, 1.0);
  // A look-up reads a file's filter and tables; without a tenant, for each of them.
  const double look_up = has_id ? (has_tenant ? 10 : 20) : 1000;
  info->estimatedCost = look_up + rows * table.row_cost * (reads_content ? 50 : 1);
  info->estimatedRows = static_cast<sqlite3_int64>(rows);
  info->idxNum = static_cast<int>(info->colUsed & 0x7fffffff);
  info->idxStr = sqlite3_mprintf("%s", plan.c_str());
  info->needToFreeIdxStr = 1;
  return info->idxStr == nullptr ? SQLITE_NOMEM : SQLITE_OK;
}

int open(sqlite3_vtab*, sqlite3_vtab_cursor** out) {
  *out = new (std::nothrow) Cursor();
  return *out == nullptr ? SQLITE_NOMEM : SQLITE_OK;
}

int close(sqlite3_vtab_cursor* cursor) {
  delete static_cast<Cursor*>(cursor);
  return SQLITE_OK;
}

int next(sqlite3_vtab_cursor* at) {
  Cursor& cursor = cursor_of(at);
  auto more = cursor.rows->next();
  cursor.is_at_end = !more || !*more;
  if (!more) return fail(at->pVtab, cursor.module().connection, std::move(more).error());
  return SQLITE_OK;
}

int filter(sqlite3_vtab_cursor* at, int columns, const char* plan, int count,
           sqlite3_value** values) {
  Cursor& cursor = cursor_of(at);
  const Table& table = cursor.module().table;
  Condition condition;
  for (int i = 0; i < count; ++i) {
    const auto column = static_cast<std::size_t>(plan[2 * i] - 'A');
    condition.add(table.roles[column], static_cast<Op>(plan[2 * i + 1] - 'a'), value_of(values[i]));
  }
  Connection& connection = cursor.module().connection;
  Reading& reading = *connection.reading;
  if (!reading.vault) {  // the first table of the statement
    auto snapshot = connection.vault.snapshot();
    if (!snapshot) return fail(at->pVtab, connection, std::move(snapshot).error());
    reading.vault = std::move(*snapshot);
  }
  cursor.rows = table.open(reading, std::move(condition), static_cast<std::uint64_t>(columns));
  return next(at);
}

int eof(sqlite3_vtab_cursor* cursor) { return cursor_of(cursor).is_at_end ? 1 : 0; }

int column(sqlite3_vtab_cursor* at, sqlite3_context* context, int number) {
  Cursor& cursor = cursor_of(at);
  const auto cell = cursor.rows->cell(static_cast<std::size_t>(number));
  if (!cell) return fail(at->pVtab, cursor.module().connection, cell.error().clone());
  switch (cell->type) {
    case SqlValue::Type::integer:
      sqlite3_result_int64(context, cell->integer);
      break;
    case SqlValue::Type::text:
      // A null pointer would be NULL.
      sqlite3_result_text64(context, cell->text.empty() ? "" : cell->text.data(), cell->text.size(),
                            SQLITE_TRANSIENT, SQLITE_UTF8);
      break;
    default:
      sqlite3_result_null(context);
  }
  return SQLITE_OK;
}

int rowid(sqlite3_vtab_cursor* cursor, sqlite3_int64* out) {
  *out = cursor_of(cursor).rows->number();
  return SQLITE_OK;
}

// Never called, because the authorizer refuses what writes. Without it SQLite says of a table that
// it may not be modified before it asks the authorizer, and that would be `invalid`, not `denied`.
int update(sqlite3_vtab* /*table*/, int /*count*/, sqlite3_value** /*values*/,
           sqlite3_int64* /*row*/) {
  return SQLITE_READONLY;
}

sqlite3_module make_module() {
  sqlite3_module m{};
  m.xConnect = connect;
  m.xBestIndex = best_index;
  m.xDisconnect = disconnect;
  m.xOpen = open;
  m.xClose = close;
  m.xFilter = filter;
  m.xNext = next;
  m.xEof = eof;
  m.xColumn = column;
  m.xRowid = rowid;
  m.xUpdate = update;
  return m;
}

}  // namespace

SqlValue value_of(sqlite3_value* value) {
  const auto bytes = [&](const void* data) {
    return std::string_view(static_cast<const char*>(data),
                            static_cast<std::size_t>(sqlite3_value_bytes(value)));
  };
  switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER:
      return SqlValue::of_integer(sqlite3_value_int64(value));
    case SQLITE_FLOAT:
      return SqlValue::of_real(sqlite3_value_double(value));
    case SQLITE_TEXT:
      return SqlValue::of_text(bytes(sqlite3_value_text(value)));
    case SQLITE_BLOB:
      return SqlValue::of_blob(bytes(sqlite3_value_blob(value)));
    default:
      return {};
  }
}

int add_tables(sqlite3* db, Connection& connection) {
  static const sqlite3_module kModule = make_module();
  for (const Table& table : tables()) {
    auto* const module = new (std::nothrow) Module{table, connection};
    if (module == nullptr) return SQLITE_NOMEM;
    const int rc =
        sqlite3_create_module_v2(db, std::string(table.shown.name).c_str(), &kModule, module,
                                 [](void* aux) { delete static_cast<Module*>(aux); });
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

}  // namespace tokvault::query
