#include "output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "values.h"

namespace tokvault::cli {
namespace {

int write_errno = 0;  // of the first write to standard output that failed

// No column is made wider than this for the sake of a few long cells.
constexpr std::size_t kPaddedMax = 40;

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
  if (!json) {
    print_note(error.message());
    return;
  }
  JsonObject inner;
  inner.field("code", errc_name(error.code())).field("message", error.message());
  if (error.os_code() != 0) inner.field("os_code", error.os_code());
  std::fprintf(stderr, "%s\n", JsonObject().raw("error", inner.text()).text().c_str());
}

void print_note(std::string_view message) {
  std::fprintf(stderr, "tokvault: %s\n", printable(message).c_str());
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

ProgressLine::ProgressLine(std::string label)
    : label_(std::move(label)),
      is_terminal_(::isatty(STDERR_FILENO) == 1),
      started_(Clock::now()),
      next_(started_ + std::chrono::seconds(1)) {}

void ProgressLine::show(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  if (!is_terminal_) return;
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  is_shown_ = true;
  const double seconds = std::chrono::duration<double>(now - started_).count();
  std::string line = label_ + "  " + format_bytes(done_bytes);
  if (total_bytes > 0) {
    line += " of " + format_bytes(total_bytes) + "  " +
            format_percent(static_cast<double>(done_bytes), static_cast<double>(total_bytes));
  }
  line +=
      "  " + format_bytes(static_cast<std::uint64_t>(static_cast<double>(done_bytes) / seconds));
  std::fprintf(stderr, "\r%s/s\033[K", line.c_str());
  std::fflush(stderr);
}

void ProgressLine::clear() {
  if (!is_shown_) return;
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
  is_shown_ = false;
}

Progress ProgressLine::callback() {
  return [this](std::uint64_t done, std::uint64_t total) {
    show(done, total);
    return true;
  };
}

WaitingLine::WaitingLine(std::string label) : label_(std::move(label)) {
  if (::isatty(STDERR_FILENO) == 1) thread_ = std::thread([this] { show_until_done(); });
}

WaitingLine::~WaitingLine() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    is_done_ = true;
  }
  done_.notify_all();
  thread_.join();
}

void WaitingLine::show_until_done() {
  std::unique_lock lock(mutex_);
  for (int seconds = 1;; ++seconds) {
    if (done_.wait_for(lock, std::chrono::seconds(1), [this] { return is_done_; })) {
      if (seconds > 1) std::fprintf(stderr, "\r\033[K");
      return;
    }
    std::fprintf(stderr, "\r%s  %d s\033[K", label_.c_str(), seconds);
    std::fflush(stderr);
  }
}

}  // namespace tokvault::cli
