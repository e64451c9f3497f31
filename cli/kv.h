// tokvault kv: the checkpoint store from the command line.
#ifndef TOKVAULT_CLI_KV_H_
#define TOKVAULT_CLI_KV_H_

#include <string>
#include <vector>

namespace tokvault::cli {

// Runs `tokvault kv ARGS...`; `args` starts behind "kv". Prints its result or error, and returns
// the exit status.
int run_kv(const std::vector<std::string>& args);

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_KV_H_
