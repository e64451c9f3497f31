// The command line: which commands there are, what they are asked to do, and which of them it was.
#ifndef TOKVAULT_CLI_COMMAND_LINE_H_
#define TOKVAULT_CLI_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "options.h"
#include "output.h"

namespace tokvault::cli {

class CommandLine {
 public:
  // With the commands of grammar.cc.
  CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // A command that calls `function` with `command` if it is the one that is called.
  template <class Options>
  CLI::App* add(const std::string& name, const std::string& what,
                const std::shared_ptr<Options>& command, ExitStatus (*function)(const Options&),
                bool has_vault = true) {
    return add(app_, name, what, command, function, has_vault);
  }
  // The same below a group.
  template <class Options>
  CLI::App* add(CLI::App& group, const std::string& name, const std::string& what,
                const std::shared_ptr<Options>& command, ExitStatus (*function)(const Options&),
                bool has_vault = true) {
    CLI::App* const sub = group.add_subcommand(name, what);
    if (has_vault) {
      sub->add_option("VAULT", command->vault, "The folder of the vault")
          ->required()
          ->check(kIsNamed);
    }
    add_json(*sub);
    sub->callback([this, command, function] {
      command->json = json_;
      run_ = [command, function] { return function(*command); };
    });
    return sub;
  }
  CLI::App& add_group(const std::string& name, const std::string& what);

  // Takes the arguments behind the name of the program. A CLI::ParseError says what is wrong with
  // them, or that help or the version is asked for.
  void parse(const std::vector<std::string>& args);
  // Such an error in a sentence for a user.
  std::string explain(const CLI::ParseError& error) const;
  // Whether it is that nothing stands behind the name of a group.
  bool is_without_command(const CLI::ParseError& error) const;

  // The command that the arguments begin with, or the group if they do not go on with a command;
  // `invalid` if there is none of that name.
  Result<const CLI::App*> named(const std::vector<std::string>& args) const;
  // The help of a command under its whole name; help() of a group is that of the command that was
  // parsed.
  static std::string help(const CLI::App& command);
  // What prints it.
  static void print_help(const CLI::App& command, bool json);

  // The command that was parsed, and whether it is to print JSON.
  ExitStatus run() const {
    const ProgressLine progress(parsed_name());
    return run_();
  }
  bool json() const { return json_; }

 private:
  void add_help();
  void add_json(CLI::App& app);
  std::string parsed_name() const;
  std::string explain_marked(const CLI::ParseError& error) const;

  CLI::App app_{"tokvault stores the conversations of language models: durable, compressed, once.",
                "tokvault"};
  std::function<ExitStatus()> run_;
  bool json_ = false;  // said before or after the name of the command
};

// What there is to call; grammar.cc.
void add_commands(CommandLine& line);

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_COMMAND_LINE_H_
