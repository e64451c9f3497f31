// What people write on a command line, and how numbers are shown to them.
#ifndef TOKVAULT_CLI_VALUES_H_
#define TOKVAULT_CLI_VALUES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/tokvault.h"

namespace tokvault::cli {

// "500", "64K", "64M", "1G", with or without B or iB behind: K is 1024 bytes.
Result<std::uint64_t> parse_size(std::string_view text);

// A decimal number of at most `max`, and nothing else.
Result<std::uint64_t> parse_number(std::string_view text, std::uint64_t max);
// A decimal number from 0 to 1, and nothing else.
Result<double> parse_fraction(std::string_view text);
// The time so long ago: "90m", "36h", "30d" or "4w"; or a time as parse_time_ms() reads it, or YYYY
// for when that begins. Another number below 100000000 (of seconds: 1973) is refused, because it is
// more likely a date in another form.
Result<std::int64_t> parse_past_ms(std::string_view text);
// Whether it is UTF-8.
bool is_text(std::string_view text);

std::string format_count(std::uint64_t count);  // 1,234,567
// "1 line", "2 lines"; `noun` forms its plural with s.
std::string format_counted(std::uint64_t count, std::string_view noun);
std::string format_bytes(std::uint64_t bytes);  // 11.7 MB, with K = 1000
std::string format_rate(double per_second);     // 123.4, 12.3 or 1.23
std::string format_percent(double part, double whole);

// `text` in one line that can do nothing to a terminal: control characters, and bytes that are no
// UTF-8, as \n or \x1b.
std::string printable(std::string_view text);
// The same in as many lines as it has: line ends and tabs stay.
std::string printable_text(std::string_view text);
// The same in quotes.
std::string in_quotes(std::string_view text);

// The whole of a file, or of standard input for "-".
Result<std::string> read_all(const std::string& path);
// Whether a result may be written to `file`: not inside the folder of a vault or a store, where it
// could take the place of a log, a pack or the catalog.
Status outside_of(const std::string& folder_name, const std::string& file);
// The same of files in `folder`, which is not that folder itself either.
Status folder_outside_of(const std::string& folder_name, const std::string& folder);
std::string join_tokens(const std::vector<Token>& tokens, char separator);
// Token ids between anything that is used between numbers: spaces, commas, brackets.
Result<std::vector<Token>> parse_tokens(std::string_view text);
std::string to_hex(std::string_view bytes);

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_VALUES_H_
