// Everything that the command prints: results to standard output, progress and errors to standard
// error.
#ifndef TOKVAULT_CLI_OUTPUT_H_
#define TOKVAULT_CLI_OUTPUT_H_

#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tokvault/tokvault.h"

namespace tokvault::cli {

// Text to standard output; failures are seen by finish_output().
void print(std::string_view text);
void print_line(std::string_view line);
// `io` or `exhausted` if not everything could be written.
Status finish_output();

// "tokvault: message" or {"error":{...}} on standard error.
void print_error(const Error& error, bool json);
// A remark on standard error, "tokvault: message" or {"note":"message"}.
void print_note(std::string_view message, bool json = false);

// A JSON object that is being written.
class JsonObject {
 public:
  JsonObject& field(std::string_view name, std::string_view text);
  JsonObject& field(std::string_view name, const char* text) {
    return field(name, std::string_view(text));
  }
  JsonObject& field(std::string_view name, const std::string& text) {
    return field(name, std::string_view(text));
  }
  JsonObject& field(std::string_view name, std::same_as<bool> auto v) {
    return raw(name, v ? "true" : "false");
  }
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  JsonObject& field(std::string_view name, T v) {
    return raw(name, std::to_string(v));
  }
  JsonObject& field(std::string_view name, double v);
  JsonObject& field(std::string_view name, const std::vector<std::string>& texts);
  // `json` is JSON text.
  JsonObject& raw(std::string_view name, std::string_view json);
  std::string text() const { return text_ + "}"; }

 private:
  std::string text_ = "{";
};
std::string json_array(const std::vector<std::string>& json_values);

// Aligned columns: text to the left, numbers to the right.
class Table {
 public:
  enum class Align : std::uint8_t { left, right };
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // Prints the rows that were added since the last call; the first call also prints the titles, if
  // there are any. A long table is printed in parts: its columns may become wider, not narrower.
  void print();

 private:
  std::vector<Column> columns_;
  std::vector<std::size_t> widths_;  // as they were printed
  std::vector<std::vector<std::string>> rows_;
};

// One line on a terminal that says how far a long operation is, and how long it takes already.
// Every command has one; a part of it that says how far it is, or has a name of its own, has
// another, which is shown instead while it lives. A thread draws it, from the second second of the
// command on, whether anything is reported or not. It gives way to what is printed, and comes back
// a second later. Nothing where standard error is no terminal.
//
// Threads: show() from any. Lifetime: the last that is made goes first.
class ProgressLine {
 public:
  explicit ProgressLine(std::string_view label);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // What the line says from now on. `total` may be 0: unknown.
  void show(std::uint64_t done_bytes, std::uint64_t total_bytes);
  // For the library's long operations: shows and goes on.
  Progress callback();

 private:
  using Clock = std::chrono::steady_clock;
  void draw_until_done();
  std::string text(double seconds) const;

  const std::string label_;
  const Clock::time_point started_ = Clock::now();
  std::uint64_t done_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
  ProgressLine* outer_ = nullptr;
  bool is_over_ = false;
  std::condition_variable over_;
  std::thread thread_;  // none where standard error is no terminal
};

// Before something else than print() writes to standard output: a line of progress gives way.
void hide_progress();
// Whether lines of progress may be drawn: not over what somebody types.
void allow_progress(bool is_allowed);

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_OUTPUT_H_
