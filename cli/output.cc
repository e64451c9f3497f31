#include "output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <utility>

#include "values.h"

namespace tokvault::cli {
namespace {

int write_errno = 0;  // of the first write to standard output that failed

// No column is made wider than this for the sake of a few long cells.
constexpr std::size_t kPaddedMax = 40;

// What stands on the terminal below all that was printed: a line of progress, or nothing.
struct Screen {
  using Clock = std::chrono::steady_clock;

  std::mutex mutex;  // of all below, and of what lines have to say
  ProgressLine* line = nullptr;
  std::string drawn;  // empty: nothing
  Clock::time_point quiet_until;
  bool is_allowed = true;

  // With the mutex.
  void draw(std::string text) {
    if (!is_allowed || text == drawn) return;
    drawn = std::move(text);
    std::fprintf(stderr, "\r%s\033[K", drawn.c_str());
    std::fflush(stderr);
  }
  void erase() {
    if (drawn.empty()) return;
    drawn.clear();
    std::fprintf(stderr, "\r\033[K");
    std::fflush(stderr);
  }
  // Without it: something is printed now.
  void give_way() {
    const std::lock_guard lock(mutex);
    if (line == nullptr) return;
    erase();
    quiet_until = std::max(quiet_until, Clock::now() + std::chrono::seconds(1));
  }
};
Screen screen;

// Columns of a text on a terminal, near enough: its characters.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & '\xc0') != '\x80'; }));
}

// What the cells of a column are filled up to. Those that are far longer than the others stand out
// of it, instead of pushing everything to the right.
std::size_t padded_width(std::vector<std::size_t> widths) {
  std::sort(widths.begin(), widths.end());
  const std::size_t most = std::max(kPaddedMax, widths[widths.size() / 2]);
  return *std::prev(std::upper_bound(widths.begin() + 1, widths.end(), most));
}

// Bytes that are no text are readable at least.
std::string json_string(std::string_view text) {
  std::string json;
  if (append_json_string(text, json)) return json;
  json.clear();
  std::string ascii;
  for (char c : text) ascii += static_cast<unsigned char>(c) < 0x80 ? c : '?';
  if (!append_json_string(ascii, json)) json = "\"\"";
  return json;
}

}  // namespace

void print(std::string_view text) {
  hide_progress();
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() && write_errno == 0) {
    write_errno = errno;
  }
}

void print_line(std::string_view line) {
  print(line);
  print("\n");
}

Status finish_output() {
  if (std::fflush(stdout) != 0 && write_errno == 0) write_errno = errno;
  if (write_errno == 0) return {};
  const Errc code = write_errno == ENOSPC || write_errno == EDQUOT ? Errc::exhausted : Errc::io;
  return Error(code, std::string("standard output: ") + std::strerror(write_errno), write_errno);
}

void print_error(const Error& error, bool json) {
  // What was printed before comes first where both go to the same place.
  std::fflush(stdout);
  screen.give_way();
  if (!json) return print_note(error.message());
  JsonObject inner;
  inner.field("code", errc_name(error.code())).field("message", error.message());
  if (error.os_code() != 0) inner.field("os_code", error.os_code());
  std::fprintf(stderr, "%s\n", JsonObject().raw("error", inner.text()).text().c_str());
}

void print_note(std::string_view message, bool json) {
  screen.give_way();
  const std::string text =
      json ? JsonObject().field("note", message).text() : "tokvault: " + printable(message);
  std::fprintf(stderr, "%s\n", text.c_str());
}

JsonObject& JsonObject::field(std::string_view name, std::string_view text) {
  return raw(name, json_string(text));
}

JsonObject& JsonObject::field(std::string_view name, double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", std::isfinite(v) ? v : 0.0);
  return raw(name, text);
}

JsonObject& JsonObject::field(std::string_view name, const std::vector<std::string>& texts) {
  std::vector<std::string> values;
  for (const std::string& text : texts) values.push_back(json_string(text));
  return raw(name, json_array(values));
}

JsonObject& JsonObject::raw(std::string_view name, std::string_view json) {
  if (text_.size() > 1) text_ += ',';
  text_ += '"';
  text_ += name;
  text_ += "\":";
  text_ += json;
  return *this;
}

std::string json_array(const std::vector<std::string>& json_values) {
  std::string out = "[";
  for (const std::string& value : json_values) {
    if (out.size() > 1) out += ',';
    out += value;
  }
  return out + "]";
}

void Table::print() {
  const bool is_first = widths_.empty();
  widths_.resize(columns_.size());
  std::vector<std::string> titles;
  bool has_titles = false;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::vector<std::size_t> cells{width(columns_[i].title)};
    for (const auto& row : rows_) cells.push_back(i < row.size() ? width(row[i]) : 0);
    widths_[i] = std::max(widths_[i], padded_width(std::move(cells)));
    titles.push_back(columns_[i].title);
    has_titles = has_titles || !columns_[i].title.empty();
  }
  const auto print_row = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths_[i] - std::min(widths_[i], width(row[i])), ' ');
      if (i > 0) line += "  ";
      line += columns_[i].align == Align::right ? space + row[i] : row[i] + space;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    print_line(line);
  };
  if (is_first && has_titles) print_row(titles);
  for (const auto& row : rows_) print_row(row);
  rows_.clear();
}

ProgressLine::ProgressLine(std::string_view label) : label_(printable(label)) {
  if (::isatty(STDERR_FILENO) != 1) return;
  const std::lock_guard lock(screen.mutex);
  outer_ = std::exchange(screen.line, this);
  if (outer_ == nullptr) screen.quiet_until = started_ + std::chrono::seconds(1);
  thread_ = std::thread([this] { draw_until_done(); });
}

ProgressLine::~ProgressLine() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(screen.mutex);
    is_over_ = true;
    screen.line = outer_;
    screen.erase();
  }
  over_.notify_all();
  thread_.join();
}

void ProgressLine::show(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  if (!thread_.joinable()) return;
  const std::lock_guard lock(screen.mutex);
  done_bytes_ = done_bytes;
  total_bytes_ = total_bytes;
}

Progress ProgressLine::callback() {
  return [this](std::uint64_t done, std::uint64_t total) {
    show(done, total);
    return true;
  };
}

void ProgressLine::draw_until_done() {
  std::unique_lock lock(screen.mutex);
  while (!over_.wait_for(lock, std::chrono::milliseconds(100), [this] { return is_over_; })) {
    const Clock::time_point now = Clock::now();
    if (screen.line != this || now < screen.quiet_until) continue;
    screen.draw(text(std::chrono::duration<double>(now - started_).count()));
  }
}

std::string ProgressLine::text(double seconds) const {
  std::string line = label_;
  const auto done = static_cast<double>(done_bytes_);
  if (done_bytes_ > 0 || total_bytes_ > 0) line += "  " + format_bytes(done_bytes_);
  if (total_bytes_ > 0) {
    line += " of " + format_bytes(total_bytes_) + "  " +
            format_percent(done, static_cast<double>(total_bytes_));
  }
  if (done_bytes_ > 0 && seconds >= 1) {
    line += "  " + format_bytes(static_cast<std::uint64_t>(done / seconds)) + "/s";
  }
  return line + "  " + std::to_string(static_cast<std::uint64_t>(seconds)) + " s";
}

void hide_progress() {
  static const bool shares_screen = ::isatty(STDOUT_FILENO) == 1;
  if (shares_screen) screen.give_way();
}

void allow_progress(bool is_allowed) {
  const std::lock_guard lock(screen.mutex);
  screen.is_allowed = is_allowed;
  if (!is_allowed) screen.erase();
}

}  // namespace tokvault::cli
