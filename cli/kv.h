// tokvault kv: the checkpoint store from the command line.
#ifndef TOKVAULT_CLI_KV_H_
#define TOKVAULT_CLI_KV_H_

#include <map>
#include <string>

#include "commands.h"

namespace tokvault::cli {

struct KvCommand : Command {
  std::string name;                           // put, get, ...
  std::string target;                         // the folder of the store, or the trace of replay
  std::map<std::string, std::string> values;  // of the options that are given; empty of a flag

  bool has(const std::string& option) const { return values.contains(option); }
  std::string text(const std::string& option, const std::string& otherwise = "") const {
    const auto it = values.find(option);
    return it == values.end() ? otherwise : it->second;
  }
};

ExitStatus run_kv(const KvCommand& command);

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_KV_H_
