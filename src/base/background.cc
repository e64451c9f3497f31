#include "base/background.h"

#include <sys/resource.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tokvault {

// Linux counts niceness by thread. Not the lowest: 5 is a third of the share of a thread that has
// 0, so that it comes to an end beside other programs, and soon gives back a mutex that others
// need.
void give_way() {
#ifdef __linux__
  constexpr int kNice = 5;
  const auto self = static_cast<id_t>(::syscall(SYS_gettid));
  const int now = ::getpriority(PRIO_PROCESS, self);
  if (now < kNice) static_cast<void>(::setpriority(PRIO_PROCESS, self, kNice));
#endif
}

}  // namespace tokvault
