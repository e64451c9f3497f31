// A write that may have failed: the mistake that loses data.
#include "tokvault/backend.h"

tokvault::Status writes(tokvault::Backend& backend) {
#ifdef TOKVAULT_WRONG
  backend.sync("log/0001.log");
#else
  TOKVAULT_TRY(backend.sync("log/0001.log"));
#endif
  return {};
}
