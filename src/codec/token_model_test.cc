#include "codec/token_model.h"

#include <gtest/gtest.h>

#include <random>

#include "codec/token_code.h"

namespace tokvault {
namespace {

struct Text {
  Buffer text;
  std::vector<std::uint32_t> sizes;
  void add(ByteView segment) {
    text += segment;
    sizes.push_back(static_cast<std::uint32_t>(segment.size()));
  }
};

// Segments that repeat each other, with tokens of every class of codes.
Text some_text(std::uint32_t seed, int count) {
  std::mt19937 random(seed);
  std::vector<Token> tokens;
  const TokenMap map;
  Text out;
  for (int i = 0; i < count; ++i) {
    if (tokens.size() > 30 && random() % 3 == 0) tokens.resize(random() % tokens.size());
    const std::uint32_t n = random() % 40;
    for (std::uint32_t k = 0; k < n; ++k) {
      if (tokens.size() > 50 && random() % 2 == 0) {
        const std::size_t from = random() % (tokens.size() - 9);
        for (std::size_t j = 0; j < 8; ++j) tokens.push_back(tokens[from + j]);
      }
      tokens.push_back(static_cast<Token>(random()) >> (12 + random() % 20));
      if (random() % 50 == 0) tokens.push_back(0xffffffffu - random() % 3);
    }
    Buffer code;
    map.encode(tokens, code);
    out.add(code);
  }
  return out;
}

Result<Buffer> train(ModelUnit unit, const Text& text, std::unique_ptr<TokenModel>& model) {
  auto trainer = ModelTrainer::make(unit, text.text.size());
  std::size_t at = 0;
  for (std::uint32_t size : text.sizes) {
    TOKVAULT_TRY(trainer->add(ByteView(text.text).substr(at, size)));
    at += size;
  }
  Buffer coded;
  model = trainer->finish(coded);
  return coded;
}

TEST(TokenModel, DictionaryAndBlocksRoundTrip) {
  for (const ModelUnit unit : {ModelUnit::token_code, ModelUnit::byte}) {
    const Text dictionary = some_text(1, 100);
    std::unique_ptr<TokenModel> written;
    auto coded = train(unit, dictionary, written);
    ASSERT_TRUE(coded);
    EXPECT_LT(coded->size(), dictionary.text.size() / 2);
    Buffer text = "before";
    auto read = TokenModel::decode(unit, *coded, dictionary.sizes, text);
    ASSERT_TRUE(read);
    EXPECT_EQ(text, "before" + dictionary.text);
    for (std::uint32_t seed = 1; seed < 9; ++seed) {
      const Text block = some_text(seed, 4);
      auto a = written->encode_block(block.text, block.sizes);
      auto b = (*read)->encode_block(block.text, block.sizes);
      ASSERT_TRUE(a && b);
      EXPECT_EQ(*a, *b);
      Buffer back = "x";
      ASSERT_TRUE((*read)->decode_block(*a, block.sizes, back));
      EXPECT_EQ(back, "x" + block.text);
    }
  }
}

}  // namespace
}  // namespace tokvault
