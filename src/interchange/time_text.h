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

// Milliseconds since 1970 of "2024-05-15T15:00:00.123+02:00" (or a space for the T, or Z for the
// offset, +0200, +02; fractions of a second of any length, cut to milliseconds). Seconds, the time
// of day and the offset may be absent: zero, and UTC. Python's isoformat() writes no offset unless
// it is told one; the time of the import would be further from what is meant. Nothing for any other
// text.
std::optional<std::int64_t> parse_iso8601(std::string_view text);

}  // namespace tokvault

#endif  // TOKVAULT_INTERCHANGE_TIME_TEXT_H_
