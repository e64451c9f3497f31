// tokvault: from arguments to an exit status.
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <string>
#include <vector>

#include "command_line.h"
#include "output.h"

namespace tokvault::cli {
namespace {

bool asks_for_json(const std::vector<std::string>& args) {
  return std::find(args.begin(), args.end(), "--json") != args.end();
}

// The exit status of a command that is done, when what it printed is written.
int finish(ExitStatus status, bool json) {
  if (status) {
    if (auto written = finish_output(); !written) status = std::move(written).error();
  }
  if (status) return *status;
  print_error(status.error(), json);
  return exit_code(status.code());
}

int run_command(const std::vector<std::string>& given) {
  CommandLine line;
  const bool json = asks_for_json(given);
  auto command = line.named(given);
  if (!command) return finish(std::move(command).error(), json);
  try {
    line.parse(given);
  } catch (const CLI::CallForHelp&) {
    CommandLine::print_help(**command, json);
    return finish(0, json);
  } catch (const CLI::CallForVersion&) {
    print_line(json ? JsonObject().field("version", kVersion).text() : std::string(kVersion));
    return finish(0, json);
  } catch (const CLI::ParseError& e) {
    if (!json && line.is_without_command(e)) {
      std::fputs(CommandLine::help(**command).c_str(), stderr);
    }
    return finish(Error(Errc::invalid, line.explain(e)), json);
  }
  try {
    return finish(line.run(), line.json());
  } catch (const std::bad_alloc&) {
    return finish(Error(Errc::exhausted, "out of memory"), line.json());
  }
}

// A standard stream that is closed would be the number of the next file that is opened, and what is
// printed would be written there: into a log, say. Instead, using it fails.
void keep_standard_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) < 0)
      (void)::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace
}  // namespace tokvault::cli

int main(int argc, char** argv) {
  tokvault::cli::keep_standard_streams();
  // An arena for each of the threads that an import makes anew for every batch held 190 MB of
  // memory that nobody used.
  mallopt(M_ARENA_MAX, 2);
  // Texts and tables of packs go back as soon as they are freed. By default malloc takes the first
  // that is freed as a hint to keep all such: 150 MB of an import that merges.
  mallopt(M_MMAP_THRESHOLD, 2 << 20);
  return tokvault::cli::run_command({argv + 1, argv + argc});
}
