// tokenizer_ids TOKENIZER [special]: what scripts/tokenizer_oracle.mjs compares with the original.
//
// Reads texts from stdin, each as u32 size and bytes, and writes for each u32 count and the ids;
// all in the machine's byte order.
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/tokenizer.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenizer_ids TOKENIZER [special]\n");
    return 2;
  }
  const auto tokenizer = tokvault::open_tokenizer(argv[1]);
  if (!tokenizer) {
    std::fprintf(stderr, "%s\n", std::string(tokenizer.error().message()).c_str());
    return 1;
  }
  const bool special = argc > 2 && std::string_view(argv[2]) == "special";
  const auto encoder = (*tokenizer)->make_encoder();
  std::uint32_t size = 0;
  std::string text;
  std::vector<tokvault::Token> ids;
  while (std::fread(&size, 4, 1, stdin) == 1) {
    text.resize(size);
    if (std::fread(text.data(), 1, text.size(), stdin) != text.size()) return 1;
    ids.clear();
    if (special) {
      encoder->encode_with_special(text, ids);
    } else {
      encoder->encode(text, ids);
    }
    const auto count = static_cast<std::uint32_t>(ids.size());
    if (std::fwrite(&count, 4, 1, stdout) != 1) return 1;
    if (std::fwrite(ids.data(), 4, ids.size(), stdout) != ids.size()) return 1;
  }
  return 0;
}
