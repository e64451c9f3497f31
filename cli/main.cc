// The command line: what the words mean. The only file that knows CLI11, which takes seconds to
// compile.
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <memory>
#include <string>

#include "commands.h"
#include "kv.h"
#include "output.h"
#include "substrings.h"
#include "values.h"

namespace tokvault::cli {
namespace {

// Stands before a text that CLI11 would take for something else.
constexpr char kTextMark = '\x01';

void unmark(CLI::Option* option);

// The options of every command below one.
void unmark_all(CLI::App& app) {
  for (CLI::App* const sub : app.get_subcommands({})) {
    for (CLI::Option* const option : sub->get_options()) {
      if (option->get_items_expected_max() > 0) unmark(option);
    }
    unmark_all(*sub);
  }
}

void unmark(CLI::Option* option) {
  option->transform(CLI::Validator(
      [](std::string& text) {
        if (text.starts_with(kTextMark)) text.erase(0, 1);
        return std::string();
      },
      ""));
}

// Of a file, a folder or a tenant.
const CLI::Validator kIsNamed(
    [](std::string& name) { return std::string(name.empty() ? "the name is empty" : ""); }, "");
const CLI::Validator kIsText(
    [](std::string& text) { return is_text(text) ? std::string() : "the value is not UTF-8"; }, "");

// The commands, what they are asked to do, and which of them it was.
class CommandLine {
 public:
  CommandLine() {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", std::string(kVersion), "Print the version");
    app_.get_formatter()->label("SUBCOMMAND", "COMMAND");
    app_.set_help_flag("-h,--help", "Print this help");
    app_.footer(
        "Exit status: 0, or what docs/errors.md says of an error.\n"
        "tokvault COMMAND --help explains a command.");
    add_help();
    add_writing();
    add_reading();
    add_segments();
    add_upkeep();
    add_substrings();
    add_dictionaries();
    add_tokenizers();
    add_kv();
    unmark_all(app_);
  }

  void parse(std::vector<std::string> args) { app_.parse(std::move(args)); }

  // The command that the arguments begin with, or the group if they do not go on with a command;
  // `invalid` if there is none of that name.
  Result<const CLI::App*> named(const std::vector<std::string>& args) const {
    const CLI::App* command = &app_;
    std::string name = "tokvault";
    for (const std::string& arg : args) {
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
  static bool is_group(const CLI::App& command) {
    return !command.get_subcommands([](const CLI::App*) { return true; }).empty();
  }
  // The help of a command under its whole name; help() of a group is that of the command that was
  // parsed.
  static std::string help(const CLI::App& command) {
    std::string name = command.get_name();
    for (const CLI::App* group = command.get_parent(); group != nullptr;
         group = group->get_parent()) {
      name.insert(0, group->get_name() + " ");
    }
    return command.get_formatter()->make_help(&command, name, CLI::AppFormatMode::Normal);
  }

  ExitStatus run() const { return run_(); }
  bool json() const { return json_ != nullptr && *json_; }

  // Whether nothing stands behind the name of a group.
  bool is_without_command(const CLI::ParseError& error) const {
    std::vector<std::string> unknown = app_.remaining(true);
    std::erase(unknown, "--json");
    return unknown.empty() && std::string_view(error.what()) == "A subcommand is required";
  }
  // What is wrong with arguments that could not be parsed.
  std::string explain(const CLI::ParseError& error) const {
    std::string message = explain_marked(error);
    std::erase(message, kTextMark);
    return message + see_help(parsed_name());
  }

 private:
  static std::string see_help(const std::string& command) { return " (" + command + " --help)"; }

  static const CLI::App* subcommand(const CLI::App& group, const std::string& name) {
    const auto found =
        group.get_subcommands([&](const CLI::App* sub) { return sub->get_name() == name; });
    return found.empty() ? nullptr : found[0];
  }

  // The command that was meant, as far as it was understood.
  std::string parsed_name() const {
    std::string command = "tokvault";
    for (auto under = app_.get_subcommands(); !under.empty();
         under = under.back()->get_subcommands()) {
      command += " " + under.back()->get_name();
    }
    return command;
  }

  // CLI11 speaks of its own notions; users know commands, options and arguments.
  std::string explain_marked(const CLI::ParseError& error) const {
    const std::string said = error.what();
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
      return said.substr(0, said.rfind(" = ")).substr(said.find("--")) + " takes no value";
    }
    if (dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr) {
      return name + " and " + said.substr(said.rfind(' ') + 1) + " exclude each other";
    }
    return said;
  }

  // A subcommand that calls `function` with `command` if it is the one that is called.
  template <class Options>
  CLI::App* add(const std::string& name, const std::string& what, std::shared_ptr<Options> command,
                ExitStatus (*function)(const Options&), bool has_vault = true) {
    return add(app_, name, what, std::move(command), function, has_vault);
  }
  template <class Options>
  CLI::App* add(CLI::App& parent, const std::string& name, const std::string& what,
                std::shared_ptr<Options> command, ExitStatus (*function)(const Options&),
                bool has_vault = true) {
    CLI::App* const sub = parent.add_subcommand(name, what);
    if (has_vault) {
      sub->add_option("VAULT", command->vault, "The folder of the vault")
          ->required()
          ->check(kIsNamed);
    }
    sub->add_flag("--json", command->json, "Print JSON, errors as well");
    sub->callback([this, command, function] {
      json_ = &command->json;
      run_ = [command, function] { return function(*command); };
    });
    return sub;
  }

  // A size of 0 is none, whatever it means to the library that there is none.
  static void add_size(CLI::App* sub, const std::string& name, std::uint64_t& size,
                       const std::string& what) {
    CLI::Option* const option =
        sub->add_option_function<std::string>(
               name,
               [&size, name](const std::string& text) {
                 auto parsed = parse_size(text);
                 if (!parsed) {
                   throw CLI::ValidationError(name, std::string(parsed.error().message()));
                 }
                 if (*parsed == 0) throw CLI::ValidationError(name, "0 is too small");
                 size = *parsed;
               },
               what)
            ->type_name("SIZE");
    if (size != 0) option->default_str(std::to_string(size >> 20) + "M");
  }

  static void add_time(CLI::App* sub, const std::string& name, std::int64_t& time_ms,
                       bool& has_filter, const std::string& what) {
    sub->add_option_function<std::string>(
           name,
           [&time_ms, &has_filter, name](const std::string& text) {
             auto parsed = parse_moment_ms(text);
             if (!parsed) {
               throw CLI::ValidationError(name, std::string(parsed.error().message()));
             }
             time_ms = *parsed;
             has_filter = true;
           },
           what)
        ->type_name("TIME");
  }

  static void add_age(CLI::App* sub, const std::string& name, std::int64_t& time_ms,
                      const std::string& what) {
    sub->add_option_function<std::string>(
           name,
           [&time_ms, name](const std::string& text) {
             auto parsed = parse_age_ms(text);
             if (!parsed) {
               throw CLI::ValidationError(name, std::string(parsed.error().message()));
             }
             time_ms = *parsed;
           },
           what)
        ->type_name("AGE");
  }

  static void add_tenant(CLI::App* sub, std::string& tenant) {
    // An empty one, such as a variable that is not set, must not put anything to the default
    // tenant.
    sub->add_option("--tenant", tenant, "Whose conversations; the default tenant if absent")
        ->check(kIsText)
        ->check(kIsNamed);
  }

  static void add_filter(CLI::App* sub, Filter& filter, bool& has_filter) {
    add_text_filter(sub, "--model", filter.model, has_filter, "Only of this model");
    add_text_filter(sub, "--application", filter.application, has_filter,
                    "Only of this application");
    sub->add_option_function<std::vector<std::string>>(
           "--tag",
           [&filter, &has_filter](const std::vector<std::string>& tags) {
             for (const std::string& tag : tags) check_not_empty("--tag", tag);
             filter.tags = tags;
             has_filter = true;
           },
           "Only with this tag; may be given more than once: with all of them")
        ->type_name("TAG")
        ->allow_extra_args(false)
        ->check(kIsText);
    add_time(sub, "--since", filter.time_from_ms, has_filter,
             "Only from this time on: 2026-11-21, 2026-11-21T10:00Z, or seconds since 1970");
    add_time(sub, "--until", filter.time_until_ms, has_filter, "Only before this time");
    add_tenant(sub, filter.tenant);
  }
  static void add_text_filter(CLI::App* sub, const std::string& name, std::string& text,
                              bool& has_filter, const std::string& what) {
    sub->add_option_function<std::string>(
           name,
           [&text, &has_filter, name](const std::string& v) {
             check_not_empty(name, v);
             text = v;
             has_filter = true;
           },
           what)
        ->type_name("TEXT")
        ->check(kIsText);
  }
  // An empty value must never mean any, which is what the filter would take it for.
  static void check_not_empty(const std::string& name, const std::string& value) {
    if (value.empty()) throw CLI::ValidationError(name, "the value is empty");
  }

  // Decimal only: the parser of CLI11 takes other notations too.
  template <class T>
  static void add_number(CLI::App* sub, const std::string& name, T& value,
                         const std::string& what) {
    sub->add_option_function<std::string>(
           name,
           [&value, name](const std::string& text) {
             auto parsed = parse_number(text, std::numeric_limits<T>::max());
             if (!parsed) {
               throw CLI::ValidationError(name, std::string(parsed.error().message()));
             }
             value = static_cast<T>(*parsed);
           },
           what)
        ->type_name("UINT")
        ->default_str(std::to_string(value));
  }

  // An option with a few words to choose from; its value stays what it is if it is absent.
  template <class T>
  static void add_choice(CLI::App* sub, const std::string& name, T& value,
                         const std::vector<std::pair<std::string, T>>& choices,
                         const std::string& what) {
    std::string words;
    for (const auto& [word, meaning] : choices) {
      words += (words.empty() ? "" : ", ") + word + (meaning == value ? " (default)" : "");
    }
    sub->add_option_function<std::string>(
           name,
           [&value, choices, words, name](const std::string& text) {
             for (const auto& [word, meaning] : choices) {
               if (word == text) return void(value = meaning);
             }
             throw CLI::ValidationError(name, in_quotes(text) + " is none of " + words);
           },
           what + ": " + words)
        ->type_name("WORD");
  }
  static void add_keep_going(CLI::App* sub, bool& keep_going) {
    sub->add_flag("--keep-going", keep_going,
                  "Pass over conversations that cannot be read; exit status 5 if there are any");
  }
  static void add_level(CLI::App* sub, Level& level) {
    add_choice<Level>(
        sub, "--level", level,
        {{"fast", Level::fast}, {"balanced", Level::balanced}, {"dense", Level::dense}}, "Effort");
  }

  static void add_likeness(CLI::App* sub, Likeness& method, double& threshold) {
    add_choice<Likeness>(sub, "--method", method,
                         {{"minhash", Likeness::minhash}, {"anchors", Likeness::anchors}},
                         "Alike as wholes, or the smaller one in the larger");
    sub->add_option_function<std::string>(
           "--threshold",
           [&threshold](const std::string& text) {
             const auto parsed = parse_fraction(text);
             if (!parsed) {
               throw CLI::ValidationError("--threshold", std::string(parsed.error().message()));
             }
             threshold = *parsed;
           },
           "At least so similar, 0 to 1")
        ->type_name("FRACTION")
        ->default_str("0.85");
  }

  static void add_tokenizer(CLI::App* sub, std::string& tokenizer, std::string& pattern) {
    sub->add_option("--tokenizer", tokenizer,
                    "o200k_base, cl100k_base, bytes, or the path of a .tiktoken rank file")
        ->capture_default_str();
    sub->add_option("--pattern", pattern, "For a rank file: whose splitter it uses")
        ->default_str(kDefaultPattern);
  }

  void add_writing() {
    auto init = std::make_shared<InitCommand>();
    CLI::App* sub = add("init", "Make an empty vault", init, run_init);
    add_tokenizer(sub, init->tokenizer, init->pattern);

    auto import = std::make_shared<ImportCommand>();
    sub = add("import", "Store conversations from JSON lines, plain, .gz or .zst", import,
              run_import);
    sub->add_option("FILE", import->files, "Files of JSON lines; - is standard input")
        ->required()
        ->check(kIsNamed);
    add_level(sub, import->level);
    add_tenant(sub, import->tenant);
    sub->add_option("--application", import->application, "For lines that name none");
    sub->add_option("--model", import->model, "For lines that name none");
    sub->add_flag("--replace", import->replace,
                  "A line whose id is there with other content takes its place");
    sub->add_option("--skip-bad", import->skip_bad, "Append lines that cannot be stored to FILE")
        ->check(kIsNamed)
        ->type_name("FILE");
    add_size(sub, "--max-line", import->line_bytes_max, "The longest line that is read");
    add_size(sub, "--log-size", import->log_bytes_max, "Seal a log into a pack at this size");
    add_size(sub, "--batch", import->batch_bytes, "Commit after so much input");
    add_number(sub, "--threads", import->threads, "0: as many as cores");
    sub->add_flag("--no-merge", import->no_merge, "Leave packs as sealing makes them");

    auto tag = std::make_shared<TagCommand>();
    sub = add("tag", "Add and remove tags: tokvault tag VAULT ID... +TAG -TAG", tag, run_tag);
    sub->add_option("ID", tag->ids, "Conversations");
    sub->add_option("--add", tag->add, "The same as +TAG")
        ->type_name("TAG")
        ->allow_extra_args(false)
        ->check(kIsText);
    sub->add_option("--remove", tag->remove, "The same as -TAG")
        ->type_name("TAG")
        ->allow_extra_args(false)
        ->check(kIsText);
    add_tenant(sub, tag->tenant);

    auto forget = std::make_shared<ForgetCommand>();
    sub = add("forget", "Make conversations unreadable; gc erases them", forget, run_forget);
    sub->add_option("ID", forget->ids, "Conversations");
    add_filter(sub, forget->filter, forget->has_filter);
    sub->add_flag("--all", forget->all, "Every conversation of the tenant");
    sub->add_flag("--dry-run", forget->dry_run, "Only say how many");
  }

  void add_reading() {
    auto get = std::make_shared<GetCommand>();
    CLI::App* sub = add("get", "Print conversations", get, run_get);
    sub->add_option("ID", get->ids, "Conversations")->required();
    add_choice<Format>(sub, "--format", get->format,
                       {{"json", Format::json}, {"text", Format::text}, {"tokens", Format::tokens}},
                       "As");
    add_tenant(sub, get->tenant);

    auto list = std::make_shared<ListCommand>();
    sub = add("list", "List conversations", list, run_list);
    add_filter(sub, list->filter, ignored_);
    add_number(sub, "--limit", list->limit, "At most so many; 0: all");
    sub->add_option("--cursor", list->cursor, "Go on where a list with --limit ended");
    add_keep_going(sub, list->keep_going);

    auto export_command = std::make_shared<ExportCommand>();
    sub = add("export", "Write conversations as JSON lines, in the order of import", export_command,
              run_export);
    add_filter(sub, export_command->filter, ignored_);
    sub->add_option("-o,--output", export_command->output,
                    "A file, compressed if its name ends in .gz or .zst")
        ->check(kIsNamed)
        ->type_name("FILE")
        ->default_str("standard output");
    add_choice<int>(sub, "--format", export_format_, {{"jsonl", 0}}, "As");
    add_keep_going(sub, export_command->keep_going);

    auto explain = std::make_shared<ExplainCommand>();
    sub = add("explain", "Where the bytes are, and what was there already", explain, run_explain);
    sub->add_option("ID", explain->id, "One conversation; all if absent");
    add_number(sub, "--families", explain->families,
               "The largest families of near-duplicates; 0: do not look for what is near");
    add_tenant(sub, explain->tenant);

    auto near = std::make_shared<NearCommand>();
    sub = add("near", "List conversations that are like one of them", near, run_near);
    sub->add_option("ID", near->id, "The conversation")->required();
    add_likeness(sub, near->options.method, near->options.threshold);
    add_number(sub, "--limit", near->options.limit, "At most so many");
    add_filter(sub, near->options.filter, ignored_);

    auto dupes = std::make_shared<DupesCommand>();
    sub = add("dupes", "Group conversations that are nearly the same", dupes, run_dupes);
    add_likeness(sub, dupes->options.method, dupes->options.threshold);
    add_filter(sub, dupes->options.filter, ignored_);
    add_number(sub, "--limit", dupes->limit, "Print at most so many groups; 0: all");
    CLI::Option* const ids = sub->add_flag(
        "--ids", dupes->ids, "Print only the ids of what each group could do without");
    sub->add_option("-o,--output", dupes->output,
                    "Instead, write all conversations without those as JSON lines to a file")
        ->type_name("FILE")
        ->check(kIsNamed)
        ->excludes(ids);
    add_size(sub, "--memory", dupes->options.memory_bytes_max, "What it may take");

    auto stats = std::make_shared<StatsCommand>();
    sub = add("stats", "What is in a vault, and what it takes", stats, run_stats);
    sub->add_option("--by", stats->by, "Sums by model, application, day, or several of them")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->check([](const std::string& field) {
          if (field == "model" || field == "application" || field == "day") return std::string();
          return in_quotes(field) + " is none of model, application, day";
        })
        ->type_name("FIELD,...");
    add_filter(sub, stats->filter, stats->has_filter);
    add_keep_going(sub, stats->keep_going);

    auto sql = std::make_shared<SqlCommand>();
    sub = add("sql", "Ask for conversations, messages, sums and files with SQL", sql, run_sql);
    sub->add_option("QUERY", sql->sql,
                    "SELECT ...; - reads it from standard input; if absent, list the tables");
    add_choice<SqlCommand::As>(sub, "--format", sql->as,
                               {{"table", SqlCommand::As::table}, {"csv", SqlCommand::As::csv}},
                               "As");
    add_keep_going(sub, sql->keep_going);

    auto tenants = std::make_shared<Command>();
    add("tenants", "List tenants, and what they have", tenants, run_tenants);
  }

  void add_segments() {
    CLI::App* const group = app_.add_subcommand(
        "segment", "Segments by themselves, kept for whoever holds them beside conversations");
    group->require_subcommand(1);
    auto add_one = [&](const std::string& name, const std::string& what,
                       ExitStatus (*function)(const SegmentCommand&)) {
      auto command = std::make_shared<SegmentCommand>();
      CLI::App* const sub = add(*group, name, what, command, function);
      add_tenant(sub, command->tenant);
      return std::pair(sub, command);
    };
    auto add_ids = [](CLI::App* sub, SegmentCommand& command) {
      return sub->add_option("ID", command.ids, "Segments, as put prints them");
    };
    auto add_holder = [](CLI::App* sub, SegmentCommand& command, const std::string& what) {
      sub->add_option_function<std::string>(
             "--holder",
             [&command](const std::string& text) {
               command.holder = text;
               command.has_holder = true;
             },
             what)
          ->type_name("NAME")
          ->check(kIsText);
    };
    const std::vector<std::pair<std::string, SegmentCommand::As>> shapes{
        {"text", SegmentCommand::As::text},
        {"tokens", SegmentCommand::As::tokens},
        {"bytes", SegmentCommand::As::bytes}};
    {
      auto [sub, command] = add_one("put", "Store segments, and hold them", run_segment_put);
      sub->add_option("FILE", command->files, "A segment each; - is standard input")
          ->required()
          ->check(kIsNamed);
      add_choice<SegmentCommand::As>(sub, "--as", command->as, shapes, "What the files hold");
      add_holder(sub, *command, "Who holds them; the empty name if absent");
    }
    {
      auto [sub, command] = add_one("get", "Print segments", run_segment_get);
      add_ids(sub, *command)->required();
      add_choice<SegmentCommand::As>(
          sub, "--as", command->as,
          {{"text", SegmentCommand::As::text}, {"tokens", SegmentCommand::As::tokens}},
          "Tokens as");
    }
    {
      auto [sub, command] =
          add_one("has",
                  "Who holds segments, and how many conversations have them; exit status 3 "
                  "if one is not there",
                  run_segment_has);
      add_ids(sub, *command)->required();
    }
    {
      auto [sub, command] = add_one("hold", "Hold segments that are there", run_segment_hold);
      add_ids(sub, *command)->required();
      add_holder(sub, *command, "Who holds them; the empty name if absent");
    }
    {
      auto [sub, command] =
          add_one("release", "Give up holds; gc erases what nobody needs", run_segment_release);
      add_ids(sub, *command);
      add_holder(sub, *command, "Whose holds; the empty name if absent");
      sub->add_flag("--all", command->all, "Everything that the holder holds");
    }
    {
      auto [sub, command] = add_one("list", "List segments that are held", run_segment_list);
      add_holder(sub, *command, "Only what this one holds");
    }
    add_one("garbage", "List what gc would erase", run_segment_garbage);
    {
      auto [sub, command] =
          add_one("replace", "Encode segments, and what lies in the same files, again",
                  run_segment_replace);
      add_ids(sub, *command)->required();
      add_level(sub, command->level);
    }
    {
      auto [sub, command] = add_one("collect", "Erase garbage: what gc does", run_segment_collect);
      sub->add_flag("--dry-run", command->dry_run, "Only say what would be done");
    }
  }

  void add_upkeep() {
    auto gc = std::make_shared<GcCommand>();
    CLI::App* sub = add("gc", "Erase the bytes of what was forgotten or replaced", gc, run_gc);
    sub->add_flag("--dry-run", gc->dry_run, "Only say what would be done");

    auto compact = std::make_shared<CompactCommand>();
    sub = add("compact", "Rewrite a vault as small as the level makes it", compact, run_compact);
    add_level(sub, compact->options.level);
    add_size(sub, "--pack-size", compact->options.pack_bytes_max,
             "No pack larger than this; if absent, packs of at most 64M of text");
    add_age(sub, "--older-than", compact->options.older_than_ms,
            "Only packs whose conversations are all older: 36h, 30d, or a time");
    sub->add_flag("--retrain", compact->options.retrain,
                  "Train what packs may copy from anew, and use it if it pays");
    add_number(sub, "--threads", compact->threads, "0: as many as cores");

    auto check = std::make_shared<CheckCommand>();
    sub = add("check", "Look for damage; exit status 5 if there is any", check, run_check);
    sub->add_flag("--read-data", check->read_data, "Decode every text too");

    auto repair = std::make_shared<Command>();
    add("repair", "Rebuild the catalog from logs and packs", repair, run_repair);

    auto dump = std::make_shared<DumpCommand>();
    sub = add("dump", "Describe one file of a vault", dump, run_dump, false);
    sub->add_option("FILE", dump->file, "A log, pack, artifact or catalog")
        ->required()
        ->check(kIsNamed);

    auto version = std::make_shared<Command>();
    add("version", "Print the version", version, run_version, false);
  }

  // tokvault substrings ACTION VAULT ...
  void add_substrings() {
    CLI::App* const group =
        app_.add_subcommand("substrings", "Runs of tokens that many conversations share");
    group->require_subcommand(1);
    const auto add_action = [&](const std::string& name, const std::string& what,
                                ExitStatus (*function)(const SubstringsCommand&)) {
      auto command = std::make_shared<SubstringsCommand>();
      CLI::App* const sub = add(*group, name, what, command, function);
      add_tenant(sub, command->tenant);
      return std::pair(sub, command);
    };
    const auto add_training = [](CLI::App* sub, SubstringsCommand& command) {
      add_number(sub, "--min-conversations", command.training.conversations_min,
                 "Keep only what so many conversations hold");
    };
    auto [train, training] =
        add_action("train", "Find runs that recur and add them", run_substrings_train);
    add_training(train, *training);
    add_number(train, "--max-tokens", training->training.tokens_max, "Of all runs that are found");
    add_size(train, "--memory", training->training.memory_bytes, "For the tables of the search");
    auto [compact, compacting] =
        add_action("compact", "Drop the runs that no longer pay", run_substrings_compact);
    add_training(compact, *compacting);
    (void)add_action("list", "List the runs and the states of their set", run_substrings_list);
    auto [show, showing] = add_action("show", "Print runs", run_substrings_show);
    show->add_option("ID", showing->ids, "Numbers of runs")->required();
    auto [retain, retaining] =
        add_action("retain", "Drop all runs but these", run_substrings_retain);
    retain->add_option("ID", retaining->ids, "Numbers of runs")->required();
    auto [import, importing] = add_action(
        "import", "Add the runs of a registry of the reference layout", run_substrings_import);
    import->add_option("FOLDER", importing->folder, "With index.json and blobs.dat")
        ->required()
        ->check(kIsNamed);
  }

  void add_dictionaries() {
    CLI::App* const dict =
        app_.add_subcommand("dict", "Dictionaries: text that conversations have in common");
    dict->require_subcommand(1);

    auto train = std::make_shared<DictTrainCommand>();
    CLI::App* sub = add(*dict, "train", "Train one on what conversations have in common", train,
                        run_dict_train);
    add_size(sub, "--size", train->size_bytes,
             "Of the dictionary; if absent, by how much there is to train on, up to 110K");
    add_size(sub, "--sample", train->sample_bytes_max, "Look at so much text");
    sub->add_flag("--activate", train->activate, "What is written next uses it");
    add_filter(sub, train->filter, train->has_filter);

    auto list = std::make_shared<DictCommand>();
    sub = add(*dict, "list", "List them by time", list, run_dict_list);
    add_tenant(sub, list->tenant);

    auto show = std::make_shared<DictCommand>();
    sub = add(*dict, "show", "What is known of one", show, run_dict_show);
    sub->add_option("ID", show->id, "The dictionary")->required();
    add_tenant(sub, show->tenant);

    auto activate = std::make_shared<DictCommand>();
    sub = add(*dict, "activate", "Have what is written next use one, or none", activate,
              run_dict_activate);
    sub->add_option("ID", activate->id, "The dictionary, or none")->required();
    add_tenant(sub, activate->tenant);

    auto retire = std::make_shared<DictCommand>();
    sub = add(*dict, "retire", "Remove one that no file needs", retire, run_dict_retire);
    sub->add_option("ID", retire->id, "The dictionary")->required();
    sub->add_flag("--rewrite", retire->rewrite, "Rewrite the files that need it first");
    add_tenant(sub, retire->tenant);

    auto import = std::make_shared<DictFolderCommand>();
    sub = add(*dict, "import", "Add the dictionaries of a folder, or of a file", import,
              run_dict_import);
    sub->add_option("PATH", import->path, "ID.zstd, ID.json, active")->required()->check(kIsNamed);
    add_tenant(sub, import->tenant);

    auto export_command = std::make_shared<DictFolderCommand>();
    sub = add(*dict, "export", "Write all of them into a folder", export_command, run_dict_export);
    sub->add_option("FOLDER", export_command->path, "Made if it is absent")
        ->required()
        ->check(kIsNamed);
    add_tenant(sub, export_command->tenant);
  }

  void add_tokenizers() {
    auto tokenize = std::make_shared<TokenizeCommand>();
    CLI::App* sub = add("tokenize", "Print the token ids of a text", tokenize, run_tokenize, false);
    sub->add_option("FILE", tokenize->file, "A text; - is standard input")
        ->capture_default_str()
        ->check(kIsNamed);
    add_tokenizer(sub, tokenize->tokenizer, tokenize->pattern);
    sub->add_flag("--special", tokenize->special, "Special tokens in the text become their ids");
    sub->add_flag("--count", tokenize->count, "Only how many");

    auto detokenize = std::make_shared<TokenizeCommand>();
    sub = add("detokenize", "Print the text of token ids", detokenize, run_detokenize, false);
    sub->add_option("FILE", detokenize->file, "Numbers; - is standard input")
        ->check(kIsNamed)
        ->capture_default_str();
    add_tokenizer(sub, detokenize->tokenizer, detokenize->pattern);
  }

  void add_help() {
    auto words = std::make_shared<std::vector<std::string>>();
    CLI::App* const sub = app_.add_subcommand("help", "Explain a command");
    sub->add_option("COMMAND", *words, "Such as import, or dict train; if absent, list them");
    sub->callback([this, words] {
      run_ = [this, words]() -> ExitStatus {
        TOKVAULT_ASSIGN(const CLI::App* const command, named(*words));
        print(help(*command));
        return 0;
      };
    });
  }

  struct KvOption {
    const char* name;
    const char* type;  // empty: a flag
    const char* what;
  };

  void add_kv_command(CLI::App& group, const std::string& name, const std::string& what,
                      const std::vector<KvOption>& options, const std::string& target = "STORE") {
    auto command = std::make_shared<KvCommand>();
    command->name = name;
    CLI::App* const sub = add(group, name, what, command, run_kv, false);
    CLI::Option* const where =
        sub->add_option(target, command->target,
                        target == "STORE" ? "The folder of the store" : "JSON lines of requests");
    // get needs none with --kvc, and says so.
    if (name == "get") {
      where->check(kIsNamed);
    } else {
      where->required()->check(kIsNamed);
    }
    for (const KvOption& option : options) {
      const std::string long_name =
          std::string(option.name).substr(std::string_view(option.name).starts_with("-o,") ? 3 : 0);
      auto& values = command->values;
      if (*option.type == '\0') {
        sub->add_flag_callback(
            option.name, [&values, long_name] { values[long_name]; }, option.what);
        continue;
      }
      sub->add_option_function<std::string>(
             option.name,
             [&values, long_name](const std::string& value) { values[long_name] = value; },
             option.what)
          ->type_name(option.type);
    }
  }

  void add_kv() {
    CLI::App& group =
        *app_.add_subcommand("kv", "The checkpoint store: KV-cache states by token prefix");
    group.require_subcommand(1);
    const KvOption tokens{"--tokens", "FILE", "Token ids; - is standard input"};
    const KvOption text{"--text", "FILE", "The prompt as text; - is standard input"};
    const KvOption name_space{"--namespace", "NAME=kvc",
                              "The model, or FIELD=VALUE,... of model, tokenizer, chat_template, "
                              "dtype, layout, lora, tenant, extra"};
    const KvOption budget{"--budget", "SIZE",
                          "Bytes on disk; if absent what the store was last given, 64G at first"};
    const KvOption eviction{"--eviction", "NAME=value", "value, lru or decayed_hits"};
    const KvOption codec{"--codec", "NAME=none", "none, zstd, plane8, planes16 or by_dtype"};
    const KvOption block{"--block-tokens", "N=256", "Tokens of a block; counts for a new store"};

    add_kv_command(
        group, "put", "Store the state of a prompt",
        {tokens,
         text,
         {"--payload", "FILE", "The state: as many bytes for each token; - is standard input"},
         {"--state", "", "In one piece instead of in blocks, as always without --tokens"},
         name_space,
         budget,
         eviction,
         codec,
         block});
    add_kv_command(group, "get", "Write the state of the longest stored prefix of a prompt",
                   {tokens,
                    text,
                    {"-o,--output", "FILE", "Where to; - is standard output"},
                    {"--kvc", "FOLDER", "Serve --text from these KVC files, without a store"},
                    name_space});
    add_kv_command(group, "match", "How much of a prompt is stored", {tokens, text, name_space});
    add_kv_command(
        group, "explain", "How much of a prompt is stored, and why no more",
        {tokens, {"--sidecar", "NAME", "Whether the boundary has this one, too"}, name_space});
    add_kv_command(group, "list", "List records", {{"--limit", "N=0", "At most so many; 0: all"}});
    add_kv_command(group, "stats", "Counts and sizes", {});
    add_kv_command(group, "check", "Read and verify everything; exit status 5 if there is damage",
                   {{"--remove", "", "Take out what is damaged"}});
    add_kv_command(group, "evict", "Evict what is worth least, or what outlived its time",
                   {budget,
                    {"--bytes", "SIZE", "Until so much of the budget is free"},
                    {"--expired", "", "What outlived its time"},
                    eviction});
    add_kv_command(
        group, "import", "Take in KVC files, which stay where they are",
        {{"--kvc", "FOLDER", "Of the files"}, name_space, budget, eviction, codec, block});
    add_kv_command(group, "export", "Write the KVC files of a namespace again, byte for byte",
                   {{"--kvc", "FOLDER", "Made if it is absent"}, name_space});
    add_kv_command(group, "replay", "Hits of eviction policies on a trace of requests",
                   {{"--budget", "PERCENT,...=1,5,10,30", "Of the unique blocks"},
                    {"--policy", "NAME,...", "Of these policies; all of them if absent"},
                    {"--block-tokens", "N=512", "Tokens of a block of the trace"}},
                   "TRACE");
  }

  CLI::App app_{"tokvault stores the conversations of language models: durable, compressed, once.",
                "tokvault"};
  std::function<ExitStatus()> run_;
  const bool* json_ = nullptr;
  bool ignored_ = false;
  int export_format_ = 0;  // there is one
};

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
  const bool is_tag = !args.empty() && args[0] == "tag";
  bool only_arguments = false;
  for (const std::string& arg : args) {
    const std::string_view before = out.empty() ? std::string_view() : out.back();
    const bool is_value = before == "--add" || before == "--remove" || before == "--tenant";
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
  std::vector<std::string> args = spell_out(given);
  std::reverse(args.begin(), args.end());  // as CLI11 wants them
  try {
    line.parse(std::move(args));
  } catch (const CLI::CallForHelp&) {
    print(CommandLine::help(**command));
    return finish(0, json);
  } catch (const CLI::CallForVersion&) {
    print_line(kVersion);
    return finish(0, json);
  } catch (const CLI::ParseError& e) {
    if (!json && line.is_without_command(e)) {
      std::fputs(CommandLine::help(**command).c_str(), stderr);
    }
    return finish(Error(Errc::invalid, line.explain(e)), json);
  }
  return finish(line.run(), line.json());
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
