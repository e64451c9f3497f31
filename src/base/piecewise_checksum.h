// A checksum of bytes that are never in memory at once.
#ifndef TOKVAULT_BASE_PIECEWISE_CHECKSUM_H_
#define TOKVAULT_BASE_PIECEWISE_CHECKSUM_H_

#include <cstdint>
#include <memory>

#include "tokvault/types.h"

namespace tokvault {

// What checksum64() makes of all pieces as one, however they are cut.
class PiecewiseChecksum {
 public:
  explicit PiecewiseChecksum(std::uint64_t seed = 0);

  void add(ByteView piece);
  std::uint64_t value() const;

 private:
  std::unique_ptr<void, void (*)(void*)> state_;
};

}  // namespace tokvault

#endif  // TOKVAULT_BASE_PIECEWISE_CHECKSUM_H_
