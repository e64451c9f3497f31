// The kinds of options that commands have. With command_line.h and grammar.cc all that knows CLI11,
// which takes seconds to compile.
//
// Values are references to what outlives the command line: the structs that commands are called
// with. What is wrong with a value is a CLI::ValidationError.
#ifndef TOKVAULT_CLI_OPTIONS_H_
#define TOKVAULT_CLI_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "commands.h"
#include "values.h"

namespace tokvault::cli {

// Of a file, a folder or a tenant: not empty.
extern const CLI::Validator kIsNamed;
extern const CLI::Validator kIsText;  // UTF-8

// A size of 0 is none, whatever it means to the library that there is none.
void add_size(CLI::App* sub, const std::string& name, std::uint64_t& size, const std::string& what,
              std::uint64_t least = 1);
// A time, or how long ago it was: 36h, 30d.
void add_time(
    CLI::App* sub, const std::string& name, std::int64_t& time_ms, const std::string& what,
    const std::function<void()>& given = [] {});
void add_tenant(CLI::App* sub, std::string& tenant);
// `has_filter`, if there is one, becomes true if any option of a filter is given.
void add_filter(CLI::App* sub, Filter& filter, bool* has_filter = nullptr);
void add_ids_from(CLI::App* sub, std::string& file);
void add_keep_going(CLI::App* sub, bool& keep_going);
void add_level(CLI::App* sub, Level& level);
void add_likeness(CLI::App* sub, Likeness& method, double& threshold);
void add_tokenizer(CLI::App* sub, std::string& tokenizer, std::string& pattern);

// Decimal only: the parser of CLI11 takes other notations too.
template <class T>
void add_number(CLI::App* sub, const std::string& name, T& value, const std::string& what,
                T max = std::numeric_limits<T>::max()) {
  sub->add_option_function<std::string>(
         name,
         [&value, name, max](const std::string& text) {
           auto parsed = parse_number(text, max);
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
void add_choice(CLI::App* sub, const std::string& name, T& value,
                const std::vector<std::pair<std::string, T>>& choices, const std::string& what) {
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

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_OPTIONS_H_
