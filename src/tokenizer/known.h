// The tokenizers that are known by name: what their rank file must be, and their special tokens.
// Part of the on-disk format: a vault names its tokenizer, so an entry never changes.
#ifndef TOKVAULT_TOKENIZER_KNOWN_H_
#define TOKVAULT_TOKENIZER_KNOWN_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "tokenizer/splitter.h"
#include "tokvault/types.h"

namespace tokvault {

// Larger than any vocabulary that Vocabulary::parse() takes.
inline constexpr std::uint64_t kRankFileBytesMax = std::uint64_t{256} << 20;

struct SpecialToken {
  std::string_view text;
  Token id;
};

struct KnownTokenizer {
  std::string_view name;
  Pattern pattern;
  std::string_view sha256;  // of the rank file, in hex
  std::span<const SpecialToken> special;
};

inline constexpr SpecialToken kCl100kSpecial[] = {{"<|endoftext|>", 100257},
                                                  {"<|fim_prefix|>", 100258},
                                                  {"<|fim_middle|>", 100259},
                                                  {"<|fim_suffix|>", 100260},
                                                  {"<|endofprompt|>", 100276}};
inline constexpr SpecialToken kO200kSpecial[] = {{"<|endoftext|>", 199999},
                                                 {"<|endofprompt|>", 200018}};

inline constexpr KnownTokenizer kKnownTokenizers[] = {
    {"cl100k_base", Pattern::cl100k,
     "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7", kCl100kSpecial},
    {"o200k_base", Pattern::o200k,
     "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d", kO200kSpecial},
};

inline const KnownTokenizer* find_known_tokenizer(std::string_view name) {
  for (const KnownTokenizer& known : kKnownTokenizers) {
    if (known.name == name) return &known;
  }
  return nullptr;
}

inline std::string to_hex(const Digest& digest) {
  return to_hex(ByteView(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

}  // namespace tokvault

#endif  // TOKVAULT_TOKENIZER_KNOWN_H_
