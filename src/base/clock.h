// The clock, the only one: tests may set it.
#ifndef TOKVAULT_BASE_CLOCK_H_
#define TOKVAULT_BASE_CLOCK_H_

#include <cstdint>
#include <string>

namespace tokvault {

// Milliseconds since 1970, UTC.
std::int64_t now_ms();
// The first and last millisecond of the years 1 to 9999: all that a conversation may have.
inline constexpr std::int64_t kTimeMsMin = -62'135'596'800'000;
inline constexpr std::int64_t kTimeMsMax = 253'402'300'799'999;
// Days since 1970 of a time, rounded down.
constexpr std::int64_t day_of_ms(std::int64_t ms) {
  return ms >= 0 ? ms / 86'400'000 : (ms - 86'399'999) / 86'400'000;
}
// "2026-11-21" of days since 1970 (proleptic Gregorian).
std::string day_name(std::int64_t day);

}  // namespace tokvault

#endif  // TOKVAULT_BASE_CLOCK_H_
