#include "interchange/time_text.h"

#include <charconv>
#include <chrono>
#include <cstdio>
#include <string>

#include "base/clock.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

constexpr std::int64_t kDayMs = 86'400'000;

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

// "2026-11-21" from the front, as milliseconds.
std::optional<std::int64_t> take_date(std::string_view& text) {
  const int year = take_number(text, 4);
  if (year < 0 || !take(text, "-")) return std::nullopt;
  const int month = take_number(text, 2);
  if (month < 0 || !take(text, "-")) return std::nullopt;
  const int day = take_number(text, 2);
  if (day < 0) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{year},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days{date}.time_since_epoch().count() * kDayMs;
}

// "10:00:00.123" from the front, as milliseconds; seconds may be left out.
std::optional<std::int64_t> take_time_of_day(std::string_view& text) {
  const int hour = take_number(text, 2);
  if (hour < 0 || hour > 23 || !take(text, ":")) return std::nullopt;
  const int minute = take_number(text, 2);
  if (minute < 0 || minute > 59) return std::nullopt;
  int second = 0;
  int ms = 0;
  if (take(text, ":")) {
    second = take_number(text, 2);
    if (second < 0 || second > 60) return std::nullopt;  // 60 is a leap second
    if (take(text, ".,")) {
      if (text.empty() || !is_digit(text[0])) return std::nullopt;
      for (int scale = 100; !text.empty() && is_digit(text[0]); scale /= 10) {
        ms += scale * (text[0] - '0');
        text.remove_prefix(1);
      }
    }
  }
  return ((hour * 60 + minute) * 60 + second) * std::int64_t{1000} + ms;
}

}  // namespace

std::optional<std::int64_t> parse_iso8601(std::string_view text) {
  const auto day_ms = take_date(text);
  if (!day_ms || text.empty()) return day_ms;
  if (!take(text, "Tt ")) return std::nullopt;
  const auto ms = take_time_of_day(text);
  if (!ms) return std::nullopt;
  const auto zone_ms = text.empty() ? std::optional<std::int64_t>(0) : parse_zone(text);
  if (!zone_ms) return std::nullopt;
  return *day_ms + *ms - *zone_ms;
}

Result<std::int64_t> parse_time_ms(std::string_view text) {
  const auto refuse = [whole = std::string(text)] {
    return Error(Errc::invalid, "\"" + whole +
                                    "\" is not a time (2026-11-21, 2026-11-21T10:00:00Z, or "
                                    "seconds or milliseconds since 1970)");
  };
  std::int64_t integer = 0;
  const char* const end = text.data() + text.size();
  if (const auto [after, failed] = std::from_chars(text.data(), end, integer);
      failed == std::errc() && after == end) {
    const std::int64_t ms = ms_of_integer(integer);
    if (ms < kTimeMsMin || ms > kTimeMsMax) return refuse();
    return ms;
  }
  const auto ms = parse_iso8601(text);
  if (!ms) return refuse();
  return *ms;
}

std::string format_time_ms(std::int64_t time_ms) {
  const std::int64_t day = day_of_ms(time_ms);
  const int ms = static_cast<int>(time_ms - day * kDayMs);
  char text[32];
  std::snprintf(text, sizeof text, "T%02d:%02d:%02d", ms / 3'600'000, ms / 60'000 % 60,
                ms / 1000 % 60);
  std::string out = day_name(day) + text;
  if (ms % 1000 != 0) {
    std::snprintf(text, sizeof text, ".%03d", ms % 1000);
    out += text;
  }
  return out + "Z";
}

}  // namespace tokvault
