// What is in the golden checkpoint store: the program that made it and the test that reads it agree
// here.
#ifndef TOKVAULT_TESTS_GOLDEN_GOLDEN_CHECKPOINT_H_
#define TOKVAULT_TESTS_GOLDEN_GOLDEN_CHECKPOINT_H_

#include <cstdint>
#include <vector>

#include "tokvault/checkpoint.h"

namespace tokvault::golden {

inline std::vector<Token> kv_prompt(std::uint32_t family, std::size_t size) {
  std::vector<Token> tokens(size);
  for (std::size_t i = 0; i < size; ++i) tokens[i] = static_cast<Token>(family * 1000 + i);
  return tokens;
}

// Numbers of two bytes with few exponents, so that every codec has something to do.
inline Buffer kv_payload(std::uint32_t family, std::size_t block, std::size_t size) {
  Buffer out(size, '\0');
  std::uint32_t x = family * 2654435761u + static_cast<std::uint32_t>(block) + 1;
  for (std::size_t i = 0; i < size; ++i) {
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    out[i] = static_cast<char>(i % 2 == 0 ? x : 0x3c + (x >> 8) % 4);
  }
  return out;
}

inline const Namespace kKvModel{
    .model = "aster-large@7", .tokenizer = "o200k_base", .dtype = "bf16", .layout = "tp1"};
inline const Namespace kKvOther{.model = "aster-small", .tenant = "north"};

// One prompt of 16-token blocks for each codec: number, tokens, bytes a block.
struct KvChain {
  CheckpointCodec codec;
  std::uint32_t family;
  std::size_t tokens;
  std::size_t bytes;
};
inline const std::vector<KvChain> kKvChains = {
    {CheckpointCodec::none, 1, 40, 500},       // two blocks and a tail of eight
    {CheckpointCodec::zstd, 2, 16, 6001},      //
    {CheckpointCodec::plane8, 3, 16, 6000},    //
    {CheckpointCodec::planes16, 4, 32, 6001},  // odd sizes keep their last byte
};

}  // namespace tokvault::golden

#endif  // TOKVAULT_TESTS_GOLDEN_GOLDEN_CHECKPOINT_H_
