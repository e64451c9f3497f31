// Tokenizers over arbitrary bytes: rank files are taken or refused; pieces cover the text; merging
// is what its definition says; encoding comes back.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/merge.h"
#include "tokenizer/naive_merge.h"
#include "tokenizer/splitter.h"
#include "tokenizer/vocabulary.h"
#include "tokvault/tokenizer.h"

namespace {

using tokvault::Token;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_pieces(tokvault::Pattern pattern, std::string_view text) {
  tokvault::Splitter splitter(pattern, text);
  const char* begin = text.data();
  const char* end = begin;
  while (splitter.next(&end, 1) != 0) {
    require(end > begin);
    begin = end;
  }
  require(begin == text.data() + text.size());
}

void check_text(std::string_view text, unsigned seed) {
  static const tokvault::Ranks ranks = [] {
    std::mt19937 random(1);
    return tokvault::random_ranks(random, " abAB'\xe4\xb8\xad\xd0\x96\xff", 300);
  }();
  static const std::string file = tokvault::rank_file(ranks);
  static const tokvault::Result<std::shared_ptr<const tokvault::Tokenizer>> tokenizers[] = {
      tokvault::make_tokenizer("a", "cl100k_base", file),
      tokvault::make_tokenizer("b", "o200k_base", file)};
  check_pieces(tokvault::Pattern::cl100k, text);
  check_pieces(tokvault::Pattern::o200k, text);
  for (const auto& tokenizer : tokenizers) {
    const auto encoder = (*tokenizer)->make_encoder();
    std::vector<Token> cold, warm;
    encoder->encode(text, cold);
    encoder->encode(text, warm);
    require(cold == warm);
    std::string back;
    require((*tokenizer)->decode(cold, back).has_value() && back == text);
  }
  if (text.empty() || text.size() > 2000) return;
  // As one piece, with a vocabulary that the input chooses.
  std::mt19937 random(seed);
  const tokvault::Ranks own = tokvault::random_ranks(random, text.substr(0, 6), 60);
  const auto vocabulary = tokvault::Vocabulary::parse(tokvault::rank_file(own));
  require(vocabulary.has_value());
  tokvault::Merger merger(**vocabulary);
  std::vector<std::uint32_t> merged;
  merger.merge(text, merged);
  for (std::uint32_t& id : merged) id = (*vocabulary)->id(id);
  require(merged == tokvault::naive_merge(own, text));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The first byte says what to do with the others.
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'r') {
    // Rank lines behind those of the single bytes, or alone.
    static const std::string bytes = tokvault::rank_file(tokvault::byte_ranks());
    (void)tokvault::make_tokenizer("x", "o200k_base", bytes + std::string(text));
    (void)tokvault::make_tokenizer("x", "o200k_base", text);
  } else {
    check_text(text, data[0]);
  }
  return 0;
}
