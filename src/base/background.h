// What belongs to work in the background: it gives way to other threads, and stops when it is told.
#ifndef TOKVAULT_BASE_BACKGROUND_H_
#define TOKVAULT_BASE_BACKGROUND_H_

#include <stop_token>

#include "tokvault/result.h"

namespace tokvault {

// Lets the calling thread, and those that it starts, run where other threads leave a core idle, as
// far as the system knows such a thing; for as long as they live.
void give_way();

// `cancelled` once a stop was requested.
inline Status check_stop(const std::stop_token& stop) {
  if (stop.stop_requested()) return Error(Errc::cancelled, "stopped");
  return {};
}

}  // namespace tokvault

#endif  // TOKVAULT_BASE_BACKGROUND_H_
