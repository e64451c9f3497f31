// What a query says of a table's rows, as far as the vault can find them by it.
//
// SQLite offers the terms of a WHERE clause (xBestIndex), a table takes those whose column has a
// *role* here, and gets their values when it is read (xFilter). A condition may let more through
// than the terms do, never less: SQLite looks at every row again. So whatever is not certain
// (another collation, a number compared with a text, an empty text, which a Filter would take for
// any) is left to SQLite.
#ifndef TOKVAULT_QUERY_CONDITION_H_
#define TOKVAULT_QUERY_CONDITION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "tokvault/sql.h"

namespace tokvault::query {

enum class Role : std::uint8_t {
  none,
  tenant,
  id,  // of a conversation
  model,
  application,
  tag,
  holder,
  time_ms,  // milliseconds since 1970
  time,     // time_text()
  day,      // its first ten characters
};
enum class Op : std::uint8_t { equal, less, less_equal, greater, greater_equal };

// Whether a condition can use such a term.
bool takes(Role role, Op op);

struct Condition {
  bool is_empty = false;  // nothing fits
  std::optional<std::string> tenant;
  std::optional<std::string> id;
  std::optional<std::string> holder;
  Filter filter;  // but for its tenant

  // REQUIRES: takes(role, op)
  void add(Role role, Op op, const SqlValue& value);

 private:
  void add_text(std::optional<std::string>& to, const std::string& text);
  void add_filter_text(std::string& to, const std::string& text);
  void add_time(Op op, std::int64_t first_ms, std::int64_t until_ms);
};

// "2026-11-21T10:00:00.000Z", always so many digits, so that texts are ordered as times are, and
// SQLite's functions of dates read it. Nothing for a time before the year 1 or after 9999.
std::optional<std::string> time_text(std::int64_t time_ms);

}  // namespace tokvault::query

#endif  // TOKVAULT_QUERY_CONDITION_H_
