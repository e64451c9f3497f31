// Which segments a dictionary should hold so that the others find in it what they repeat.
#ifndef TOKVAULT_DEDUP_DICTIONARY_CHOICE_H_
#define TOKVAULT_DEDUP_DICTIONARY_CHOICE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "dedup/anchors.h"
#include "tokvault/types.h"

namespace tokvault {

// Takes in segments one by one, by their anchors, and then chooses those of which most is found
// again in others, for each byte that they take: a greedy cover, as it is used to choose the text
// that a relative Lempel-Ziv code refers to. What one chosen segment holds does not count for the
// next. If everything that repeats is in, an even sample of the rest fills the dictionary.
//
// Source: K. Liao, M. Petri, A. Moffat, A. Wirth, "Effective Construction of Relative Lempel-Ziv
// Dictionaries", 2016, there for pieces of fixed size.
//
// Memory: 1 to 5 bytes a token; from 4 M tokens on it looks at a quarter of the anchors.
// Threads: one at a time.
class DictionaryChoice {
 public:
  // `tokens`: about how many will come in all.
  explicit DictionaryChoice(std::uint64_t tokens);

  // The next segment, which takes `size` bytes in the dictionary.
  void add(TokenView tokens, std::uint32_t size);
  // For each segment whether it is in; together they take at most `budget` bytes, and none of them
  // more than `size_max`.
  std::vector<bool> choose(std::uint64_t budget, std::uint32_t size_max);
  // The anchors that were looked at of a segment, a set, and its size, as they were added.
  std::span<const std::uint32_t> anchors(std::size_t segment) const {
    const std::size_t begin = segment == 0 ? 0 : ends_[segment - 1];
    return std::span(hashes_).subspan(begin, ends_[segment] - begin);
  }
  std::uint32_t size_of(std::size_t segment) const { return sizes_[segment]; }

 private:
  // How often an anchor occurs, in different segments.
  struct Count {
    std::uint32_t hash = 0;
    std::uint32_t segments = 0;  // 0: the slot is empty
  };
  Count& count_of(std::uint32_t hash);
  std::uint64_t uses(std::size_t segment);

  const std::uint32_t stride_;         // of so many hashes one is looked at
  std::vector<std::uint32_t> sizes_;   // of segments
  std::vector<std::uint32_t> hashes_;  // of their anchors, each once in a segment
  std::vector<std::uint32_t> ends_;    // of segments, in hashes_
  std::vector<Count> counts_;          // a power of two of them, at most half full
  std::vector<Anchor> anchors_;        // of add(), kept for their memory
};

}  // namespace tokvault

#endif  // TOKVAULT_DEDUP_DICTIONARY_CHOICE_H_
