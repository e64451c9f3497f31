// The tables as virtual tables of SQLite: what its module interface asks, handed to Table and Rows.
#ifndef TOKVAULT_QUERY_MODULE_H_
#define TOKVAULT_QUERY_MODULE_H_

#include <sqlite3.h>

#include "query/tables.h"

namespace tokvault::query {

// What the tables of one connection share. An error of the vault goes to SQLite as SQLITE_ERROR,
// and is kept here as it is.
struct Connection {
  const Vault& vault;
  Reading* reading = nullptr;  // of the statement that makes a step
  Error error{};
};

// Adds all tables to a connection. Lifetime: `connection` outlives `db`.
int add_tables(sqlite3* db, Connection& connection);

SqlValue value_of(sqlite3_value* value);

}  // namespace tokvault::query

#endif  // TOKVAULT_QUERY_MODULE_H_
