#include "interchange/time_text.h"

#include <chrono>

namespace tokvault {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes `count` digits from the front; -1 if they are not there.
int take_number(std::string_view& text, std::size_t count) {
  if (text.size() < count) return -1;
  int v = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!is_digit(text[i])) return -1;
    v = v * 10 + (text[i] - '0');
  }
  text.remove_prefix(count);
  return v;
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text[0]) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// "Z" or an offset, as milliseconds east of Greenwich, up to the end of the text.
std::optional<std::int64_t> parse_zone(std::string_view text) {
  if (text == "Z" || text == "z") return 0;
  const bool west = text.starts_with('-');
  if (!take(text, "+-")) return std::nullopt;
  const int hours = take_number(text, 2);
  (void)take(text, ":");
  const int minutes = text.empty() ? 0 : take_number(text, 2);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59 || !text.empty()) return std::nullopt;
  const std::int64_t ms = (hours * 60 + minutes) * 60'000;
  return west ? -ms : ms;
}

}  // namespace

std::optional<std::int64_t> parse_iso8601(std::string_view text) {
  using std::chrono::year_month_day, std::chrono::sys_days;
  const int year = take_number(text, 4);
  if (year < 0 || !take(text, "-")) return std::nullopt;
  const int month = take_number(text, 2);
  if (month < 0 || !take(text, "-")) return std::nullopt;
  const int day = take_number(text, 2);
  if (day < 0 || !take(text, "Tt ")) return std::nullopt;
  const int hour = take_number(text, 2);
  if (hour < 0 || hour > 23 || !take(text, ":")) return std::nullopt;
  const int minute = take_number(text, 2);
  if (minute < 0 || minute > 59 || !take(text, ":")) return std::nullopt;
  const int second = take_number(text, 2);  // 60 is a leap second
  if (second < 0 || second > 60) return std::nullopt;
  int ms = 0;
  if (take(text, ".,")) {
    int scale = 100;
    if (text.empty() || !is_digit(text[0])) return std::nullopt;
    for (; !text.empty() && is_digit(text[0]); text.remove_prefix(1), scale /= 10) {
      ms += scale * (text[0] - '0');
    }
  }
  const auto zone_ms = parse_zone(text);
  const year_month_day date{std::chrono::year{year},
                            std::chrono::month{static_cast<unsigned>(month)},
                            std::chrono::day{static_cast<unsigned>(day)}};
  if (!zone_ms || !date.ok()) return std::nullopt;
  const std::int64_t days = sys_days{date}.time_since_epoch().count();
  const std::int64_t seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
  return seconds * 1000 + ms - *zone_ms;
}

}  // namespace tokvault
