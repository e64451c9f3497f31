// Times as text.
#ifndef TOKVAULT_INTERCHANGE_TIME_TEXT_H_
#define TOKVAULT_INTERCHANGE_TIME_TEXT_H_

#include <cstdint>
#include <optional>
#include <string_view>

namespace tokvault {

// Integers from here on are milliseconds: as seconds they would lie after the year 5138.
inline constexpr std::int64_t kFirstMs = 100'000'000'000;
// Milliseconds of an integer that is one or the other.
constexpr std::int64_t ms_of_integer(std::int64_t v) {
  return v >= kFirstMs || v <= -kFirstMs ? v : v * 1000;
}

// Milliseconds since 1970 of an ISO 8601 date, or date and time of day, in the years 0 to 9999.
//   date: 2026-11-21, 20261121; day of the year 2026-325, 2026325; week and day 2026-W47-6,
//     2026W476. A year, a month (2026-11) or a week (2026-W47) is when it begins, and has no time.
//   time of day, behind T or a space: 10:00:00, 100000, without seconds or without minutes; the
//     last part may have a decimal fraction of any length, cut to milliseconds. 24:00 is the end of
//     the day, and a second may be 60.
//   offset: Z, +02:00, +0200 or +02; if absent, UTC. Python's isoformat() writes none unless it is
//     told one; the time of the import would be further from what is meant.
// Nothing for any other text.
std::optional<std::int64_t> parse_iso8601(std::string_view text);

}  // namespace tokvault

#endif  // TOKVAULT_INTERCHANGE_TIME_TEXT_H_
