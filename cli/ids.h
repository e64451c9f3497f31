// Ids of conversations as lines: what --ids-from reads, and what dupes --ids prints.
#ifndef TOKVAULT_CLI_IDS_H_
#define TOKVAULT_CLI_IDS_H_

#include <string>
#include <string_view>
#include <vector>

#include "tokvault/tokvault.h"

namespace tokvault::cli {

// `given`, and behind them those in a file, or in standard input for "-"; none for "". A line is an
// id as it is; one that begins with `{` is a JSON object that has it as `id`, one that begins with
// `"` is it as a JSON string, and an empty one is nothing. `invalid`, with the file and the line,
// for a line that is none of these, and `exhausted` if they are too many for memory.
Result<std::vector<std::string>> all_ids(const std::vector<std::string>& given,
                                         const std::string& file);

// A line that all_ids() reads as `id`, and that can do nothing to a terminal: a JSON string where
// the id as it is would not be that.
std::string id_line(std::string_view id);

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_IDS_H_
