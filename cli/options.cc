#include "options.h"

#include <memory>

namespace tokvault::cli {
namespace {

// An empty value must never mean any, which is what the filter would take it for.
void check_not_empty(const std::string& name, const std::string& value) {
  if (value.empty()) throw CLI::ValidationError(name, "the value is empty");
}

void add_text_filter(CLI::App* sub, const std::string& name, std::string& text,
                     const std::function<void()>& given, const std::string& what) {
  sub->add_option_function<std::string>(
         name,
         [&text, given, name](const std::string& v) {
           check_not_empty(name, v);
           text = v;
           given();
         },
         what)
      ->type_name("TEXT")
      ->check(kIsText);
}

}  // namespace

const CLI::Validator kIsNamed(
    [](std::string& name) { return std::string(name.empty() ? "the name is empty" : ""); }, "");
const CLI::Validator kIsText(
    [](std::string& text) { return is_text(text) ? std::string() : "the value is not UTF-8"; }, "");

void add_size(CLI::App* sub, const std::string& name, std::uint64_t& size, const std::string& what,
              std::uint64_t least) {
  CLI::Option* const option =
      sub->add_option_function<std::string>(
             name,
             [&size, name, least](const std::string& text) {
               auto parsed = parse_size(text);
               if (!parsed) {
                 throw CLI::ValidationError(name, std::string(parsed.error().message()));
               }
               if (*parsed < least) {
                 throw CLI::ValidationError(
                     name, text + " is too small; it is " + std::to_string(least) + " at least");
               }
               size = *parsed;
             },
             what)
          ->type_name("SIZE");
  if (size != 0) option->default_str(std::to_string(size >> 20) + "M");
}

void add_time(CLI::App* sub, const std::string& name, std::int64_t& time_ms,
              const std::string& what, const std::function<void()>& given) {
  sub->add_option_function<std::string>(
         name,
         [&time_ms, given, name](const std::string& text) {
           auto parsed = parse_past_ms(text);
           if (!parsed) {
             throw CLI::ValidationError(name, std::string(parsed.error().message()));
           }
           time_ms = *parsed;
           given();
         },
         what)
      ->type_name("TIME");
}

void add_tenant(CLI::App* sub, std::string& tenant) {
  // An empty one, such as a variable that is not set, must not put anything to the default
  // tenant.
  sub->add_option("--tenant", tenant, "Whose conversations; the default tenant if absent")
      ->check(kIsText)
      ->check(kIsNamed);
}

void add_filter(CLI::App* sub, Filter& filter, bool* has_filter) {
  const auto given = [has_filter] {
    if (has_filter != nullptr) *has_filter = true;
  };
  add_text_filter(sub, "--model", filter.model, given, "Only of this model");
  add_text_filter(sub, "--application", filter.application, given, "Only of this application");
  sub->add_option_function<std::vector<std::string>>(
         "--tag",
         [&filter, given](const std::vector<std::string>& tags) {
           for (const std::string& tag : tags) check_not_empty("--tag", tag);
           filter.tags = tags;
           given();
         },
         "Only with this tag; may be given more than once: with all of them")
      ->type_name("TAG")
      ->allow_extra_args(false)
      ->check(kIsText);
  add_time(sub, "--since", filter.time_from_ms,
           "Only from this time on: 2026-11-21, 2026-11-21T10:00Z, seconds since 1970, or 7d: "
           "7 days ago",
           given);
  add_time(sub, "--until", filter.time_until_ms, "Only before this time", given);
  add_tenant(sub, filter.tenant);
}

void add_ids_from(CLI::App* sub, std::string& file) {
  sub->add_option(
         "--ids-from", file,
         "Conversations too: an id a line, or a JSON object or string; - is standard input")
      ->type_name("FILE")
      ->check(kIsNamed);
}

void add_keep_going(CLI::App* sub, bool& keep_going) {
  sub->add_flag("--keep-going", keep_going,
                "Pass over conversations that cannot be read; exit status 5 if there are any");
}
void add_level(CLI::App* sub, Level& level) {
  add_choice<Level>(sub, "--level", level,
                    {{"fast", Level::fast}, {"balanced", Level::balanced}, {"dense", Level::dense}},
                    "Effort");
}

void add_likeness(CLI::App* sub, Likeness& method, double& threshold) {
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

void add_tokenizer(CLI::App* sub, std::string& tokenizer, std::string& pattern) {
  sub->add_option("--tokenizer", tokenizer,
                  "o200k_base, cl100k_base, bytes, or the path of a .tiktoken rank file")
      ->capture_default_str();
  sub->add_option("--pattern", pattern, "For a rank file: whose splitter it uses")
      ->default_str(kDefaultPattern);
}

}  // namespace tokvault::cli
