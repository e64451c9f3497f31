// A conversation to be read on a terminal.
#ifndef TOKVAULT_CLI_READABLE_H_
#define TOKVAULT_CLI_READABLE_H_

#include <string>

#include "tokvault/tokvault.h"

namespace tokvault::cli {

// Who says what: a heading, then each message with all that it has. Of the conversation's own
// fields only those of the heading; to_json() has them all.
std::string readable(const Conversation& conversation);

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_READABLE_H_
