// The version of the library and of the formats that it writes.
#ifndef TOKVAULT_VERSION_H_
#define TOKVAULT_VERSION_H_

#include <cstdint>
#include <string_view>

namespace tokvault {

inline constexpr std::string_view kVersion = "0.1.0";
// It reads every version up to these and writes these (docs/format/README.md).
inline constexpr std::uint16_t kLogVersion = 1;
inline constexpr std::uint16_t kPackVersion = 2;

}  // namespace tokvault

#endif  // TOKVAULT_VERSION_H_
