// What the tests of the checkpoint store share: prompts, states that tell what they are of, a
// folder.
#ifndef TOKVAULT_CHECKPOINT_TEST_STATES_H_
#define TOKVAULT_CHECKPOINT_TEST_STATES_H_

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tokvault/checkpoint.h"

namespace tokvault::checkpoint_test {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "tokvault-kv-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::uint64_t disk_use(const std::string& directory) {
  std::uint64_t bytes = 4096;
  for (const auto& item : fs::directory_iterator(directory)) {
    struct stat st{};
    if (::stat(item.path().c_str(), &st) == 0) {
      bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
    }
  }
  return bytes;
}

inline std::vector<Token> prompt(std::uint32_t family, std::size_t size,
                                 std::uint32_t branch_at = ~0u, std::uint32_t branch = 0) {
  std::vector<Token> tokens(size);
  for (std::size_t i = 0; i < size; ++i) {
    tokens[i] =
        static_cast<Token>(family * 100003 + i * 7 + (i >= branch_at ? branch * 999331 : 0));
  }
  return tokens;
}

// A payload that tells which tokens it is of.
inline Buffer payload_of(TokenView tokens, std::size_t first, std::size_t count,
                         std::size_t bytes) {
  std::uint64_t seed = 17;
  for (std::size_t i = 0; i < first + count; ++i) seed = seed * 0x9e3779b97f4a7c15u + tokens[i];
  std::mt19937_64 random(seed);
  Buffer out(bytes, '\0');
  for (std::size_t i = 0; i < bytes; i += 8) {
    const std::uint64_t word = random();
    std::memcpy(out.data() + i, &word, std::min<std::size_t>(8, bytes - i));
  }
  return out;
}

// Numbers of two bytes (the upper half of a float) of channels of different scale.
inline Buffer numbers_of(std::uint64_t seed, std::size_t bytes) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> scales(128);
  for (float& s : scales) s = std::exp(0.7f * normal(random));
  Buffer out(bytes, '\0');
  for (std::size_t i = 0; i < bytes; i += 2) {
    const float value = normal(random) * scales[i / 2 % scales.size()];
    std::uint32_t word = 0;
    std::memcpy(&word, &value, 4);
    word >>= 16;
    std::memcpy(out.data() + i, &word, std::min<std::size_t>(2, bytes - i));
  }
  return out;
}

struct Blocks {
  std::vector<Buffer> payloads;
  std::vector<Buffer> texts;
  std::vector<CheckpointBlock> blocks;
};

inline Blocks blocks_of(const std::vector<Token>& tokens, std::uint32_t block_tokens,
                        std::size_t bytes, bool text = false) {
  Blocks b;
  for (std::size_t at = 0; at < tokens.size(); at += block_tokens) {
    const std::size_t count = std::min<std::size_t>(block_tokens, tokens.size() - at);
    b.payloads.push_back(payload_of(tokens, at, count, bytes));
    Buffer t;
    for (std::size_t i = at; text && i < at + count; ++i) t += std::to_string(tokens[i]) + " ";
    b.texts.push_back(t);
  }
  for (std::size_t i = 0; i < b.payloads.size(); ++i) {
    b.blocks.push_back({b.payloads[i], b.texts[i]});
  }
  return b;
}

inline const Namespace kModel{.model = "toy", .dtype = "bf16"};

inline std::unique_ptr<CheckpointStore> open_store(const std::string& path,
                                                   CheckpointOptions o = {}) {
  auto store = CheckpointStore::open(path, o);
  EXPECT_TRUE(store) << (store ? "" : store.error().message());
  return store ? std::move(*store) : nullptr;
}

inline CheckpointOptions small_options(std::uint64_t budget = 64 << 20) {
  CheckpointOptions o;
  o.budget_bytes = budget;
  o.block_tokens = 16;
  return o;
}

inline void put_all(CheckpointStore& store, const std::vector<Token>& tokens, std::size_t bytes,
                    bool text = false) {
  const Blocks b = blocks_of(tokens, store.block_tokens(), bytes, text);
  auto put = store.put(kModel, tokens, {.blocks = b.blocks});
  ASSERT_TRUE(put) << put.error().message();
}

// Reads every matched block and compares it; returns the tokens that came back.
inline std::uint64_t read_all(CheckpointStore& store, const std::vector<Token>& tokens,
                              std::size_t bytes) {
  const auto match = store.match(kModel, tokens);
  EXPECT_TRUE(match);
  std::vector<Buffer> outs(match->blocks, Buffer(bytes, 'x'));
  std::vector<CheckpointRead> reads(match->blocks);
  for (std::uint32_t i = 0; i < match->blocks; ++i) {
    reads[i].block = i;
    reads[i].out = outs[i];
  }
  const auto got = store.get(kModel, tokens, reads);
  EXPECT_TRUE(got);
  for (std::uint32_t i = 0; i < match->blocks; ++i) {
    if (reads[i].status != Errc::ok) {
      EXPECT_TRUE(outs[i] == Buffer(bytes, '\0'));
      continue;
    }
    const std::size_t at = std::size_t{i} * store.block_tokens();
    EXPECT_TRUE(outs[i] == payload_of(tokens, at, reads[i].tokens, bytes)) << i;
  }
  return *got;
}

}  // namespace tokvault::checkpoint_test

#endif  // TOKVAULT_CHECKPOINT_TEST_STATES_H_
