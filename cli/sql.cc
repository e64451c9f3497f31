// The command sql: a statement's rows as a table, as CSV, or as a JSON object each.
#include <signal.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <unordered_set>

#include "commands.h"
#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

// Rows that are aligned together, and text that is kept for it.
constexpr std::size_t kTableRows = 1000;
constexpr std::size_t kTableBytes = 4u << 20;

SqlDatabase* running = nullptr;

extern "C" void stop_running(int) { running->interrupt(); }

// While it lives, the first SIGINT ends the statement with `cancelled`; a second one the process.
class Interruptible {
 public:
  explicit Interruptible(SqlDatabase& database) {
    running = &database;
    struct sigaction action{};
    action.sa_handler = stop_running;
    action.sa_flags = SA_RESTART | SA_RESETHAND;
    ::sigaction(SIGINT, &action, &before_);
  }
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
  ~Interruptible() { ::sigaction(SIGINT, &before_, nullptr); }

 private:
  struct sigaction before_{};
};

// In as few digits as name it, and seen to be no integer.
std::string format_real(double v) {
  if (!std::isfinite(v)) return v > 0 ? "Inf" : "-Inf";
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, v).ptr;
  std::string out(text, end);
  if (out.find_first_of(".e") == std::string::npos) out += ".0";
  return out;
}

std::string as_text(const SqlValue& value) {
  switch (value.type) {
    case SqlValue::Type::null:
      return "";
    case SqlValue::Type::integer:
      return std::to_string(value.integer);
    case SqlValue::Type::real:
      return format_real(value.real);
    case SqlValue::Type::text:
      return value.bytes;
    case SqlValue::Type::blob:
      return to_hex(value.bytes);
  }
  return "";
}

void add_field(JsonObject& out, const std::string& name, const SqlValue& value) {
  std::string key;
  if (!append_json_string(name, key)) key = "\"\"";
  const std::string_view inner = std::string_view(key).substr(1, key.size() - 2);
  switch (value.type) {
    case SqlValue::Type::null:
      out.raw(inner, "null");
      break;
    case SqlValue::Type::integer:
      out.field(inner, value.integer);
      break;
    case SqlValue::Type::real:
      out.raw(inner, std::isfinite(value.real) ? format_real(value.real) : "null");
      break;
    case SqlValue::Type::text:
    case SqlValue::Type::blob:
      out.field(inner, as_text(value));
      break;
  }
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

Status print_json(SqlStatement& statement) {
  const auto& names = statement.columns();
  const std::unordered_set<std::string> different(names.begin(), names.end());
  if (different.size() != names.size()) {
    return Error(Errc::invalid, "two columns have the same name: give them others with AS");
  }
  for (;;) {
    TOKVAULT_ASSIGN(const bool row, statement.next());
    if (!row) return {};
    JsonObject out;
    for (std::size_t i = 0; i < names.size(); ++i) add_field(out, names[i], statement.value(i));
    print_line(out.text());
  }
}

Status print_csv(SqlStatement& statement) {
  const auto print_row = [&](auto&& cell) {
    std::string line;
    for (std::size_t i = 0; i < statement.columns().size(); ++i) {
      if (i > 0) line += ',';
      line += csv_cell(cell(i));
    }
    print_line(line);
  };
  print_row([&](std::size_t i) { return statement.columns()[i]; });
  for (;;) {
    TOKVAULT_ASSIGN(const bool row, statement.next());
    if (!row) return {};
    print_row([&](std::size_t i) { return as_text(statement.value(i)); });
  }
}

// Rows that are printed together; columns without a text in the first of them are to the right.
class Rows {
 public:
  explicit Rows(const SqlStatement& statement) : statement_(statement) { clear(); }
  void add() {
    std::vector<std::string> cells;
    for (std::size_t i = 0; i < statement_.columns().size(); ++i) {
      const SqlValue value = statement_.value(i);
      if (value.type == SqlValue::Type::text || value.type == SqlValue::Type::blob) {
        has_text_[i] = true;
      }
      cells.push_back(printable(as_text(value)));
      bytes_ += cells.back().size();
    }
    rows_.push_back(std::move(cells));
  }
  bool is_full() const { return rows_.size() >= kTableRows || bytes_ >= kTableBytes; }
  bool is_empty() const { return rows_.empty(); }
  void print() {
    if (!table_) table_ = titled_table();
    for (auto& row : rows_) table_->add(std::move(row));
    table_->print();
    clear();
  }

 private:
  Table titled_table() const {
    std::vector<Table::Column> columns;
    for (std::size_t i = 0; i < statement_.columns().size(); ++i) {
      const bool is_right = !has_text_[i] && !rows_.empty();
      columns.push_back({printable(statement_.columns()[i]),
                         is_right ? Table::Align::right : Table::Align::left});
    }
    return Table(std::move(columns));
  }
  void clear() {
    rows_.clear();
    bytes_ = 0;
    has_text_.assign(statement_.columns().size(), false);
  }

  const SqlStatement& statement_;
  std::optional<Table> table_;  // once something is printed
  std::vector<std::vector<std::string>> rows_;
  std::vector<bool> has_text_;
  std::size_t bytes_ = 0;
};

Status print_table(SqlStatement& statement) {
  Rows rows(statement);
  bool is_first = true;
  for (;;) {
    auto row = statement.next();
    // The titles alone if there is no row; what there was before it failed as well.
    if (rows.is_empty() ? row && !*row && is_first : !row || !*row || rows.is_full()) {
      rows.print();
      is_first = false;
    }
    if (!row) return std::move(row).error();
    if (!*row) return {};
    rows.add();
  }
}

void print_tables(bool json) {
  Table table({{"TABLE"}, {"COLUMN"}, {"TYPE"}, {""}});
  for (const SqlTable& t : sql_tables()) {
    std::vector<std::string> columns;
    if (!json) table.add({std::string(t.name), "", "", std::string(t.what)});
    for (const SqlColumn& c : t.columns) {
      columns.push_back(
          JsonObject().field("name", c.name).field("type", c.type).field("what", c.what).text());
      if (!json) {
        table.add({"", std::string(c.name), std::string(c.type), std::string(c.what)});
      }
    }
    if (json) {
      print_line(JsonObject()
                     .field("table", t.name)
                     .field("what", t.what)
                     .raw("columns", json_array(columns))
                     .text());
    }
  }
  if (!json) table.print();
}

}  // namespace

ExitStatus run_sql(const SqlCommand& command) {
  if (command.json && command.as != SqlCommand::As::table) {
    return Error(Errc::invalid, "--format csv is not JSON; leave out --json");
  }
  TOKVAULT_ASSIGN(const auto vault, open_reader(command, command.keep_going));
  if (command.sql.empty()) {
    print_tables(command.json);
    return 0;
  }
  std::string sql = command.sql;
  if (sql == "-") {
    TOKVAULT_ASSIGN(sql, read_all("-"));
  }
  TOKVAULT_ASSIGN(const auto database, open_sql(*vault, {.keep_going = command.keep_going}));
  TOKVAULT_ASSIGN(const auto statement, database->prepare(sql));
  {
    const Interruptible guard(*database);
    TOKVAULT_TRY(command.json                        ? print_json(*statement)
                 : command.as == SqlCommand::As::csv ? print_csv(*statement)
                                                     : print_table(*statement));
  }
  if (!command.keep_going) return 0;
  if (database->passed_over() > 0) {
    print_error(Error(Errc::corrupt, format_counted(database->passed_over(), "conversation") +
                                         " that cannot be read passed over"),
                command.json);
  }
  const int damaged = report_damage(*vault, command);
  return database->passed_over() > 0 ? exit_code(Errc::corrupt) : damaged;
}

}  // namespace tokvault::cli
