// A value whose error nobody looked at.
#include "tokvault/backend.h"

void removes(tokvault::Backend& backend) {
#ifdef TOKVAULT_WRONG
  backend.total_bytes();
#else
  if (!backend.total_bytes()) return;
#endif
}
