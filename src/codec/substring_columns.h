// What the bytes of a set of substrings say, before anything can be searched for in it: those who
// only copy from its runs need no more, and the tree would be near half of what loading it takes.
#ifndef TOKVAULT_CODEC_SUBSTRING_COLUMNS_H_
#define TOKVAULT_CODEC_SUBSTRING_COLUMNS_H_

#include <vector>

#include "tokvault/substrings.h"

namespace tokvault {

struct SubstringColumns {
  SubstringId next_id = 1;
  std::vector<SubstringInfo> infos;  // of each run, by id
  std::vector<Token> tokens;         // of all runs, one after another
};

// `corrupt` if the bytes are no set, `unsupported` if they are of a newer version. That no run is
// there twice is not looked at; SubstringSet::parse does. Format: docs/format/substrings.md
Result<SubstringColumns> parse_substring_columns(ByteView bytes);

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_SUBSTRING_COLUMNS_H_
