// The built command, run by a test.
#ifndef TOKVAULT_TESTS_CLI_COMMAND_H_
#define TOKVAULT_TESTS_CLI_COMMAND_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

extern char** environ;

namespace tokvault {

// Starts it; what it prints goes to where the test's output goes, or nowhere.
inline pid_t start(std::vector<std::string> arguments, bool is_shown = true) {
  const char* const binary = std::getenv("TOKVAULT_BIN");
  if (binary == nullptr) {
    ADD_FAILURE() << "run by ctest, or set TOKVAULT_BIN";
    std::abort();
  }
  arguments.insert(arguments.begin(), binary);
  std::vector<char*> argv;
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (!is_shown) {
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  pid_t child = 0;
  EXPECT_EQ(::posix_spawn(&child, binary, &actions, nullptr, argv.data(), environ), 0);
  ::posix_spawn_file_actions_destroy(&actions);
  return child;
}

// Runs it to its end, which must be a success. Returns the most memory that it took, in bytes.
inline std::uint64_t run(const std::vector<std::string>& arguments, bool is_shown = true) {
  const pid_t child = start(arguments, is_shown);
  int status = -1;
  rusage usage{};
  EXPECT_EQ(::wait4(child, &status, 0, &usage), child);
  EXPECT_EQ(status, 0) << arguments[0];
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace tokvault

#endif  // TOKVAULT_TESTS_CLI_COMMAND_H_
