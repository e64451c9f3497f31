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
  const int minutes = take(text, ":") || !text.empty() ? take_number(text, 2) : 0;
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59 || !text.empty()) return std::nullopt;
  const std::int64_t ms = (hours * 60 + minutes) * 60'000;
  return west ? -ms : ms;
}

std::size_t count_digits(std::string_view text) {
  std::size_t count = 0;
  while (count < text.size() && is_digit(text[count])) ++count;
  return count;
}

using Days = std::chrono::sys_days;

// What a date says: the day that it begins with, and whether it is a day.
struct Date {
  Days begin;
  bool is_day = true;
};

std::optional<Date> date_of(int year, int month, int day, bool is_day = true) {
  if (month < 0 || day < 0) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{year},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok()) return std::nullopt;
  return Date{Days{date}, is_day};
}

Days new_year(int year) { return Days{std::chrono::year{year} / 1 / 1}; }

std::optional<Date> date_of_ordinal(int year, int day) {
  const Days begin = new_year(year) + std::chrono::days{day - 1};
  if (day < 1 || begin >= new_year(year + 1)) return std::nullopt;
  return Date{begin};
}

// The Monday of the week that has January 4, which is week 1.
Days first_week(int year) {
  const Days fourth{std::chrono::year{year} / 1 / 4};
  return fourth - (std::chrono::weekday{fourth} - std::chrono::Monday);
}

// "47-6", or "47" for the week, behind "2026-W".
std::optional<Date> take_week(std::string_view& text, int year, bool is_extended) {
  const int week = take_number(text, 2);
  const bool is_day = is_extended ? take(text, "-") : count_digits(text) > 0;
  const int day = is_day ? take_number(text, 1) : 1;
  if (week < 1 || day < 1 || day > 7) return std::nullopt;
  const Days monday = first_week(year) + std::chrono::weeks{week - 1};
  if (monday >= first_week(year + 1)) return std::nullopt;
  return Date{monday + std::chrono::days{day - 1}, is_day};
}

// A date from the front: a calendar date, an ordinal date or a week date, in the extended or the
// basic format, or a year, a month or a week. 202611 is none, because 261121 once was a date.
std::optional<Date> take_date(std::string_view& text) {
  const int year = take_number(text, 4);
  if (year < 0) return std::nullopt;
  if (text.empty()) return date_of(year, 1, 1, false);
  const bool is_extended = take(text, "-");
  if (take(text, "W")) return take_week(text, year, is_extended);
  const std::size_t digits = count_digits(text);
  if (digits == 3) return date_of_ordinal(year, take_number(text, 3));
  if (digits != (is_extended ? 2 : 4)) return std::nullopt;
  const int month = take_number(text, 2);
  if (is_extended && !take(text, "-")) return date_of(year, month, 1, false);
  return date_of(year, month, take_number(text, 2));
}

// ".5" or ",5" from the front, of a unit; nothing is 0, and -1 a point without digits.
std::int64_t take_fraction(std::string_view& text, std::int64_t unit_ms) {
  constexpr std::int64_t kScaleMax = 1'000'000'000;
  if (!take(text, ".,")) return 0;
  if (count_digits(text) == 0) return -1;
  std::int64_t numerator = 0;
  std::int64_t scale = 1;
  for (; !text.empty() && is_digit(text[0]); text.remove_prefix(1)) {
    if (scale == kScaleMax) continue;
    numerator = numerator * 10 + (text[0] - '0');
    scale *= 10;
  }
  return unit_ms * numerator / scale;
}

// "10:00:00.123" or "100000.123" from the front, as milliseconds. Seconds, and minutes too, may be
// left out; the last that is there may have a fraction.
std::optional<std::int64_t> take_time_of_day(std::string_view& text) {
  constexpr std::int64_t kUnitsMs[] = {3'600'000, 60'000, 1000};
  constexpr int kMax[] = {24, 59, 60};  // 60 is a leap second
  const bool is_extended = count_digits(text) == 2 && text.substr(2).starts_with(':');
  const bool is_24 = text.starts_with("24");
  std::int64_t ms = 0;
  for (std::size_t i = 0; i < std::size(kUnitsMs); ++i) {
    const int number = take_number(text, 2);
    if (number < 0 || number > kMax[i]) return std::nullopt;
    ms += number * kUnitsMs[i];
    const bool goes_on =
        i + 1 < std::size(kUnitsMs) && (is_extended ? take(text, ":") : count_digits(text) > 0);
    if (goes_on) continue;
    const std::int64_t fraction = take_fraction(text, kUnitsMs[i]);
    if (fraction < 0) return std::nullopt;
    ms += fraction;
    break;
  }
  // 24:00 is the end of the day, and nothing comes after it.
  if (is_24 && ms != kDayMs) return std::nullopt;
  return ms;
}

}  // namespace

std::optional<std::int64_t> parse_iso8601(std::string_view text) {
  const auto date = take_date(text);
  if (!date) return std::nullopt;
  const std::int64_t day_ms = date->begin.time_since_epoch().count() * kDayMs;
  if (text.empty()) return day_ms;
  if (!date->is_day || !take(text, "Tt ")) return std::nullopt;
  const auto ms = take_time_of_day(text);
  if (!ms) return std::nullopt;
  const auto zone_ms = text.empty() ? std::optional<std::int64_t>(0) : parse_zone(text);
  if (!zone_ms) return std::nullopt;
  return day_ms + *ms - *zone_ms;
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
