#include "command_line.h"

#include <algorithm>
#include <string_view>

#include "values.h"

namespace tokvault::cli {
namespace {

// Stands before a text that CLI11 would take for something else.
constexpr char kTextMark = '\x01';

void unmark(CLI::Option* option) {
  option->transform(CLI::Validator(
      [](std::string& text) {
        if (text.starts_with(kTextMark)) text.erase(0, 1);
        return std::string();
      },
      ""));
}

// The options of every command below one.
void unmark_all(CLI::App& app) {
  for (CLI::App* const sub : app.get_subcommands({})) {
    for (CLI::Option* const option : sub->get_options()) {
      if (option->get_items_expected_max() > 0) unmark(option);
    }
    unmark_all(*sub);
  }
}

// Brackets make CLI11 split a text at its commas.
std::string mark_brackets(const std::string& text) {
  const bool is_misread = text.starts_with('[') || text.starts_with(kTextMark);
  return is_misread ? kTextMark + text : text;
}

// What CLI11 would misread, in its own words: `+TAG` and `-TAG` of the command tag become the
// options that they stand for, and what follows -- is marked as an argument, whatever it begins
// with.
std::vector<std::string> spell_out(const std::vector<std::string>& args) {
  std::vector<std::string> out;
  const auto command =
      std::find_if(args.begin(), args.end(), [](const auto& arg) { return arg != "--json"; });
  const bool is_tag = command != args.end() && *command == "tag";
  bool only_arguments = false;
  for (const std::string& arg : args) {
    const std::string_view before = out.empty() ? std::string_view() : out.back();
    const bool is_value =
        before == "--add" || before == "--remove" || before == "--tenant" || before == "--ids-from";
    const bool is_option = arg.size() < 2 || arg.starts_with("--") || arg == "-h";
    if (only_arguments) {
      out.push_back(kTextMark + arg);
    } else if (arg == "--") {
      only_arguments = true;
    } else if (is_tag && !is_value && !is_option && arg[0] == '+') {
      out.push_back("--add=" + mark_brackets(arg.substr(1)));
    } else if (is_tag && !is_value && !is_option && arg[0] == '-') {
      out.push_back("--remove=" + mark_brackets(arg.substr(1)));
    } else {
      out.push_back(mark_brackets(arg));
    }
  }
  return out;
}

std::string see_help(const std::string& command) { return " (" + command + " --help)"; }

const CLI::App* subcommand(const CLI::App& group, const std::string& name) {
  const auto found =
      group.get_subcommands([&](const CLI::App* sub) { return sub->get_name() == name; });
  return found.empty() ? nullptr : found[0];
}

bool is_group(const CLI::App& command) {
  return !command.get_subcommands([](const CLI::App*) { return true; }).empty();
}
}  // namespace

CommandLine::CommandLine() {
  app_.require_subcommand(1);
  app_.set_version_flag("--version", std::string(kVersion), "Print the version");
  app_.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app_.set_help_flag("-h,--help", "Print this help");
  app_.footer(
      "Exit status: 0, or 2 invalid, 3 not_found, 4 exists, 5 corrupt, 6 unsupported, 7 io,\n"
      "8 busy, 9 exhausted, 10 denied, 11 conflict, 12 cancelled (docs/errors.md).\n"
      "tokvault COMMAND --help explains a command.");
  add_json(app_);
  add_help();
  add_commands(*this);
  unmark_all(app_);
}

CLI::App& CommandLine::add_group(const std::string& name, const std::string& what) {
  CLI::App* const group = app_.add_subcommand(name, what);
  group->require_subcommand(1);
  add_json(*group);
  return *group;
}

void CommandLine::parse(const std::vector<std::string>& args) {
  std::vector<std::string> spelled = spell_out(args);
  std::reverse(spelled.begin(), spelled.end());  // as CLI11 wants them
  app_.parse(std::move(spelled));
}

Result<const CLI::App*> CommandLine::named(const std::vector<std::string>& args) const {
  const CLI::App* command = &app_;
  std::string name = "tokvault";
  for (const std::string& arg : args) {
    if (arg == "--json") continue;
    if (!is_group(*command) || arg.starts_with('-')) break;
    const CLI::App* const sub = subcommand(*command, arg);
    if (sub == nullptr) {
      return Error(Errc::invalid, "there is no command " + in_quotes(arg) + see_help(name));
    }
    command = sub;
    name += " " + arg;
  }
  return command;
}
std::string CommandLine::help(const CLI::App& command) {
  std::string name = command.get_name();
  for (const CLI::App* group = command.get_parent(); group != nullptr;
       group = group->get_parent()) {
    name.insert(0, group->get_name() + " ");
  }
  return command.get_formatter()->make_help(&command, name, CLI::AppFormatMode::Normal);
}

void CommandLine::print_help(const CLI::App& command, bool json) {
  const std::string text = help(command);
  print(json ? JsonObject().field("help", text).text() + "\n" : text);
}

void CommandLine::add_json(CLI::App& app) {
  app.add_flag("--json", json_, "Print JSON, errors as well");
}

bool CommandLine::is_without_command(const CLI::ParseError& error) const {
  return app_.remaining(true).empty() &&
         std::string_view(error.what()) == "A subcommand is required";
}
std::string CommandLine::explain(const CLI::ParseError& error) const {
  std::string message = explain_marked(error);
  std::erase(message, kTextMark);
  return message + see_help(parsed_name());
}

// The command that was meant, as far as it was understood.
std::string CommandLine::parsed_name() const {
  std::string command = "tokvault";
  for (auto under = app_.get_subcommands(); !under.empty();
       under = under.back()->get_subcommands()) {
    command += " " + under.back()->get_name();
  }
  return command;
}

// CLI11 speaks of its own notions; users know commands, options and arguments.
std::string CommandLine::explain_marked(const CLI::ParseError& error) const {
  std::string said = error.what();
  const std::string name = said.substr(0, said.find_first_of(": "));
  if (is_without_command(error)) return "no command is given";
  const std::vector<std::string> unknown = app_.remaining(true);
  if (!unknown.empty()) {
    std::string first = unknown[0];
    std::erase(first, kTextMark);
    const bool is_option = unknown[0].size() > 1 && unknown[0][0] == '-';
    return (is_option ? "there is no option " : "one argument too many: ") + in_quotes(first);
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    return name + (said.ends_with(" missing") ? " needs a value" : " is given more than once");
  }
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {
    const std::size_t flag = said.find(": -");  // "Could not convert: --json = x"
    if (flag == std::string::npos) return said;
    return said.substr(flag + 2, said.find(" = ", flag) - flag - 2) + " takes no value";
  }
  if (dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr) {
    return name + " and " + said.substr(said.rfind(' ') + 1) + " exclude each other";
  }
  return said;
}

void CommandLine::add_help() {
  auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* const sub = app_.add_subcommand("help", "Explain a command");
  sub->add_option("COMMAND", *words, "Such as import, or dict train; if absent, list them");
  add_json(*sub);
  sub->callback([this, words] {
    run_ = [this, words]() -> ExitStatus {
      TOKVAULT_ASSIGN(const CLI::App* const command, named(*words));
      print_help(*command, json_);
      return 0;
    };
  });
}

}  // namespace tokvault::cli
