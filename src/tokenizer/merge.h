// Byte-pair merging: from the bytes of one piece to its tokens.
//
// The definition: begin with one token a byte; as long as two neighbours together are a token,
// merge those whose token comes first in the order of ids (of equals the leftmost). Done literally
// that is quadratic; merge.cc says what is done instead.
#ifndef TOKVAULT_TOKENIZER_MERGE_H_
#define TOKVAULT_TOKENIZER_MERGE_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace tokvault {

// Threads: one at a time. Lifetime: borrows the vocabulary. Memory: a few KB; for a piece in which
// every cut is far from the one before (merge.cc), up to 40 bytes for each byte of it.
class Merger {
 public:
  explicit Merger(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  // Appends the indexes of the piece's tokens.
  void merge(std::string_view piece, std::vector<std::uint32_t>& out);

  // As merge() for up to kShortMax bytes; returns how many tokens it wrote.
  static constexpr std::size_t kShortMax = 128;
  std::size_t merge_short(std::string_view piece, std::uint32_t* out) const;

 private:
  struct Node {
    std::uint32_t index;   // the token that begins here
    std::uint32_t merged;  // with the token behind it, or kNone
    std::uint32_t previous;
    std::uint32_t next;
  };

  void merge_whole(std::string_view piece, std::vector<std::uint32_t>& out);
  void merge_heap(std::string_view piece, std::vector<std::uint32_t>& out);
  bool stand_apart(std::uint32_t left, std::uint32_t right);

  const Vocabulary& vocabulary_;
  std::vector<Node> nodes_;
  std::vector<std::uint64_t> heap_;
  std::vector<std::uint32_t> window_;
  std::vector<std::uint32_t> ahead_;
  std::vector<std::uint32_t> two_;
  std::string two_bytes_;
};

}  // namespace tokvault

#endif  // TOKVAULT_TOKENIZER_MERGE_H_
