// The tables: their columns, what a condition on them costs, and their rows as the vault gives
// them. Nothing here knows SQLite.
#ifndef TOKVAULT_QUERY_TABLES_H_
#define TOKVAULT_QUERY_TABLES_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "query/condition.h"
#include "tokvault/sql.h"

namespace tokvault::query {

// What the rows of a statement are read from.
struct Reading {
  std::shared_ptr<const Vault> vault{};  // as it was when the statement began to read
  bool keep_going = false;
  std::uint64_t passed_over = 0;
};

// A value of a row. The view lives until the next call.
struct Cell {
  SqlValue::Type type = SqlValue::Type::null;
  std::int64_t integer = 0;
  std::string_view text{};

  static Cell of(std::string_view v) { return {SqlValue::Type::text, 0, v}; }
  static Cell of(std::uint64_t v) {
    return {SqlValue::Type::integer, static_cast<std::int64_t>(v), {}};
  }
  static Cell of_time(std::int64_t v) { return {SqlValue::Type::integer, v, {}}; }
};

// Rows of a table, from the first to the last.
class Rows {
 public:
  virtual ~Rows() = default;
  // Goes to the next row, at first to the first one; false after the last.
  virtual Result<bool> next() = 0;
  virtual Result<Cell> cell(std::size_t column) = 0;
  // A number that this row has and no other row of the table, whatever the condition: SQLite tells
  // by it what it has had when it reads a table twice for an OR.
  virtual std::int64_t number() const = 0;
};

struct Table {
  SqlTable shown;
  std::vector<Role> roles;  // of the columns
  // About how many rows a vault has, how many a conversation, and how much one costs: so that
  // joins begin where few rows are.
  double rows = 0;
  double rows_of_id = 1;
  double row_cost = 1;
  std::uint64_t content_columns = 0;  // bits of those for which texts are read
  // `columns`: bits of those that are asked for.
  std::unique_ptr<Rows> (*open)(Reading& reading, Condition condition, std::uint64_t columns);
};

std::span<const Table> tables();

}  // namespace tokvault::query

#endif  // TOKVAULT_QUERY_TABLES_H_
