// Splits text into the pieces that byte-pair merging never crosses.
//
// The original tokenizers split with a regular expression (with look-ahead, over Unicode classes);
// here the two expressions are written out by hand (splitter.cc quotes them). The splitter is
// total: it takes any bytes. A byte that is not part of well-formed UTF-8 counts as one code point
// of the class "other" (like an emoji); so do the three bytes of a lone surrogate, each by itself.
#ifndef TOKVAULT_TOKENIZER_SPLITTER_H_
#define TOKVAULT_TOKENIZER_SPLITTER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tokvault {

enum class Pattern : std::uint8_t { cl100k, o200k };

// Walks over one text. The pieces lie one behind another: each begins where the one before ended.
// Threads: one at a time. Lifetime: borrows the text.
class Splitter {
 public:
  Splitter(Pattern pattern, std::string_view text)
      : pattern_(pattern), position_(text.data()), end_(text.data() + text.size()) {}

  // Writes the ends of the next pieces, at most `capacity`, and returns how many; 0 at the end of
  // the text. No piece is empty.
  std::size_t next(const char** ends, std::size_t capacity);

 private:
  Pattern pattern_;
  const char* position_;
  const char* end_;
};

}  // namespace tokvault

#endif  // TOKVAULT_TOKENIZER_SPLITTER_H_
