// Everything that the command prints: results to standard output, progress and errors to standard
// error.
#ifndef TOKVAULT_CLI_OUTPUT_H_
#define TOKVAULT_CLI_OUTPUT_H_

#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <mutex>
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
// A remark on standard error, "tokvault: message".
void print_note(std::string_view message);

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

// One line on a terminal that says how far a long operation is. Nothing where standard error is no
// terminal, or in the first second.
class ProgressLine {
 public:
  explicit ProgressLine(std::string label);
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // `total` may be 0: unknown.
  void show(std::uint64_t done_bytes, std::uint64_t total_bytes);
  void clear();
  // For the library's long operations: shows and goes on.
  Progress callback();

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  bool is_terminal_;
  bool is_shown_ = false;
  Clock::time_point started_;
  Clock::time_point next_;
};

// The same for a call that does not say how far it is: how long it takes already. A thread shows
// it, from the second second on, until this is destroyed; nothing else may be printed meanwhile.
class WaitingLine {
 public:
  explicit WaitingLine(std::string label);
  ~WaitingLine();
  WaitingLine(const WaitingLine&) = delete;
  WaitingLine& operator=(const WaitingLine&) = delete;

 private:
  void show_until_done();

  std::string label_;
  std::mutex mutex_;
  std::condition_variable done_;
  bool is_done_ = false;
  std::thread thread_;  // none where standard error is no terminal
};

// What `call` returns, with such a line until it does.
template <class Call>
auto waiting_for(std::string label, Call&& call) {
  const WaitingLine line(std::move(label));
  return call();
}

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_OUTPUT_H_
