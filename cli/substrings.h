// tokvault substrings: what the command line asks for, and the functions that do it.
#ifndef TOKVAULT_CLI_SUBSTRINGS_H_
#define TOKVAULT_CLI_SUBSTRINGS_H_

#include <vector>

#include "commands.h"

namespace tokvault::cli {

struct SubstringsCommand : Command {
  std::string tenant;
  SubstringTraining training;
  std::vector<std::string> ids;  // show, retain
  bool none = false;             // retain
  std::string folder;            // import
};

ExitStatus run_substrings_train(const SubstringsCommand& command);
ExitStatus run_substrings_compact(const SubstringsCommand& command);
ExitStatus run_substrings_retain(const SubstringsCommand& command);
ExitStatus run_substrings_import(const SubstringsCommand& command);
ExitStatus run_substrings_list(const SubstringsCommand& command);
ExitStatus run_substrings_show(const SubstringsCommand& command);

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_SUBSTRINGS_H_
