// An error has one owner; a copy is asked for by name (Error::clone).
#include "tokvault/result.h"

tokvault::Error keeps(const tokvault::Status& status) {
#ifdef TOKVAULT_WRONG
  return status.error();
#else
  return status.error().clone();
#endif
}
