#include "codec/token_model.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "base/checksum.h"
#include "codec/binary_coder.h"
#include "codec/token_code.h"

namespace tokvault {
namespace {

constexpr ModelUnit kUnits[] = {ModelUnit::token_code, ModelUnit::byte};

// Segments of tokens that repeat each other, with codes of every length.
Buffer some_text(std::uint32_t seed, int segments) {
  std::mt19937 random(seed);
  std::vector<Token> tokens;
  Buffer out;
  for (int i = 0; i < segments; ++i) {
    if (random() % 3 == 0) tokens.resize(random() % (tokens.size() + 1));
    const std::uint32_t n = random() % 40;
    for (std::uint32_t k = 0; k < n; ++k) {
      if (tokens.size() > 50 && random() % 2 == 0) {
        const std::size_t from = random() % (tokens.size() - 9);
        for (std::size_t j = 0; j < 8; ++j) tokens.push_back(tokens[from + j]);
      }
      tokens.push_back(static_cast<Token>(random()) >> (12 + random() % 20));
      if (random() % 50 == 0) tokens.push_back(0xffffffffu - random() % 3);
    }
    TokenMap(CodeBytes::below_ff).encode(tokens, out);
    out.push_back('\xff');
  }
  return out;
}

struct Trained {
  Buffer coded;
  std::uint64_t work = 0;
  std::unique_ptr<TokenModel> model;
};

Trained train(ModelUnit unit, const Buffer& text) {
  auto trainer = ModelTrainer::make(unit, text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\xff', at) + 1;
    EXPECT_TRUE(trainer->add(ByteView(text).substr(at, end - at)));
    at = end;
  }
  Trained out;
  out.work = trainer->work();
  out.model = trainer->finish(out.coded);
  return out;
}

TEST(BinaryCoder, AnyBitsUnderAnyProbabilitiesRoundTrip) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> bits(random() % 300);
    for (auto& [bit, p] : bits) {
      p = 1 + random() % 65535;
      if (random() % 3 == 0) p = random() % 2 == 0 ? 1 : 65535;
      bit = round % 4 == 0 ? random() & 1 : random() % 65536 < p;
    }
    Buffer out;
    BinaryEncoder encoder(out);
    for (const auto& [bit, p] : bits) EXPECT_EQ(encoder.code(bit, p), bit);
    encoder.finish();
    EXPECT_EQ(encoder.decisions(), bits.size());
    BinaryDecoder decoder(out);
    for (const auto& [bit, p] : bits) ASSERT_EQ(decoder.code(0, p), bit);
    EXPECT_TRUE(decoder.ok());
    EXPECT_TRUE(decoder.at_end());
    // A byte more or less is not the code of these bits.
    const Buffer longer = out + '\0';
    BinaryDecoder after(longer);
    for (const auto& [bit, p] : bits) after.code(0, p);
    EXPECT_FALSE(after.at_end());
    if (out.empty()) continue;
    BinaryDecoder before(ByteView(out).substr(0, out.size() - 1));
    bool same = true;
    for (const auto& [bit, p] : bits) same = before.code(0, p) == bit && same;
    EXPECT_FALSE(same && before.ok() && before.at_end());
  }
}

TEST(TokenModel, DictionaryAndBlocksRoundTrip) {
  for (const ModelUnit unit : kUnits) {
    const Buffer dictionary = some_text(1, 100);
    const Trained written = train(unit, dictionary);
    EXPECT_LT(written.coded.size(), dictionary.size() / 2);
    Buffer text = "before";
    auto read = TokenModel::decode(unit, written.coded, dictionary.size(), text);
    ASSERT_TRUE(read);
    EXPECT_EQ(text, "before" + dictionary);
    EXPECT_GT((*read)->memory_bytes(), dictionary.size());
    for (std::uint32_t seed = 0; seed < 9; ++seed) {
      const Buffer block = some_text(seed, static_cast<int>(seed));
      auto a = written.model->encode_block(block);
      auto b = (*read)->encode_block(block);
      ASSERT_TRUE(a && b);
      EXPECT_EQ(*a, *b);
      Buffer back = "x";
      ASSERT_TRUE((*read)->decode_block(*a, block.size(), back));
      EXPECT_EQ(back, "x" + block);
    }
  }
}

TEST(TokenModel, NothingIsATextToo) {
  for (const ModelUnit unit : kUnits) {
    const Trained trained = train(unit, "");
    EXPECT_EQ(trained.coded.size(), 1u);
    EXPECT_EQ(trained.work, 0u);
    Buffer text;
    auto model = TokenModel::decode(unit, trained.coded, 0, text);
    ASSERT_TRUE(model);
    for (const char* block : {"", "\xff\xff", "abc\xff"}) {
      auto coded = (*model)->encode_block(block);
      ASSERT_TRUE(coded);
      EXPECT_EQ(coded->empty(), ByteView(block).empty());
      Buffer back;
      ASSERT_TRUE((*model)->decode_block(*coded, ByteView(block).size(), back));
      EXPECT_EQ(back, block);
    }
  }
}

TEST(TokenModel, WhatTheDictionaryHoldsCostsNextToNothing) {
  const Buffer dictionary = some_text(3, 60);
  const Trained trained = train(ModelUnit::token_code, dictionary);
  const ByteView last =
      ByteView(dictionary).substr(dictionary.rfind('\xff', dictionary.size() - 2) + 1);
  ASSERT_GT(last.size(), 1000u);
  auto coded = trained.model->encode_block(last);
  ASSERT_TRUE(coded);
  EXPECT_LT(coded->size(), last.size() / 50);
  // Its time is counted: what was there before takes less.
  auto trainer = ModelTrainer::make(ModelUnit::token_code, 2 * last.size());
  ASSERT_TRUE(trainer->add(last));
  const std::uint64_t first = trainer->work();
  const std::uint64_t first_size = trainer->coded_size();
  ASSERT_TRUE(trainer->add(last));
  EXPECT_LT((trainer->work() - first) * 2, first);
  EXPECT_LT((trainer->coded_size() - first_size) * 20, first_size);
}

// Text that a history holds costs next to nothing, in the dictionary and in blocks; what was coded
// behind one history is not read behind another.
TEST(TokenModel, AHistoryTeachesTheDictionaryAndTheBlocks) {
  for (const ModelUnit unit : kUnits) {
    const Buffer text = some_text(21, 400);
    const Buffer history = text + some_text(22, 50);
    const Buffer block = some_text(22, 50);
    const Trained alone = train(unit, text);
    auto trainer = ModelTrainer::make(unit, history.size() + text.size());
    ASSERT_TRUE(trainer->learn(history));
    const std::uint64_t learned = trainer->work();
    EXPECT_GT(learned, alone.work);
    ASSERT_TRUE(trainer->add(text));
    EXPECT_GT(trainer->work(), learned);
    EXPECT_LT(trainer->work(), learned + alone.work) << "what is foretold is one decision";
    EXPECT_FALSE(trainer->learn(history)) << "it comes first";
    Buffer coded;
    const auto writer = trainer->finish(coded);
    EXPECT_LT(coded.size(), alone.coded.size() / 8);
    const Buffer frame = *writer->encode_block(block);
    EXPECT_LT(frame.size(), alone.model->encode_block(block)->size() / 4);

    Buffer back = "before";
    auto reader = TokenModel::decode(unit, coded, text.size(), back, history);
    ASSERT_TRUE(reader) << reader.error().message();
    EXPECT_EQ(back, "before" + text);
    EXPECT_EQ((*reader)->memory_bytes(), writer->memory_bytes());
    back.clear();
    ASSERT_TRUE((*reader)->decode_block(frame, block.size(), back));
    EXPECT_EQ(back, block);

    for (const Buffer& other : {Buffer(), text, Buffer(history + '\xff')}) {
      back.clear();
      const auto wrong = TokenModel::decode(unit, coded, text.size(), back, other);
      EXPECT_FALSE(wrong && back == text);
    }
  }
  Buffer back;
  const Buffer inside("\xc0", 1);  // of a code of three bytes
  EXPECT_EQ(TokenModel::decode(ModelUnit::token_code, Buffer("\x0a", 1), 0, back, inside).code(),
            Errc::invalid);
  EXPECT_EQ(ModelTrainer::make(ModelUnit::token_code, 1)->learn(inside).code(), Errc::invalid);
}

TEST(TokenModel, BlocksDoNotDependOnEachOther) {
  const Trained trained = train(ModelUnit::token_code, some_text(1, 50));
  std::vector<Buffer> blocks;
  std::vector<Buffer> codes;
  for (std::uint32_t seed = 0; seed < 8; ++seed) {
    blocks.push_back(some_text(seed, seed % 4 == 0 ? 100 : 5));
    auto coded = trained.model->encode_block(blocks.back());
    ASSERT_TRUE(coded);
    codes.push_back(*coded);
  }
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 2 * blocks.size(); ++i) {
        const std::size_t k = (i * (t + 1) + t) % blocks.size();
        Buffer text;
        const Status status = trained.model->decode_block(codes[k], blocks[k].size(), text);
        if (!status || text != blocks[k]) ++wrong[t];
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(TokenModel, RefusesWhatIsNoText) {
  auto trainer = ModelTrainer::make(ModelUnit::token_code, 100);
  for (const char* bad : {"\x80", "a\xc0\x01", "\xfe", "\xfe\x01\x02\x03\x04"}) {
    EXPECT_EQ(trainer->add(bad).code(), Errc::invalid);
  }
  ASSERT_TRUE(trainer->add("abc"));
  Buffer coded;
  const auto model = trainer->finish(coded);
  Buffer text;
  ASSERT_TRUE(TokenModel::decode(ModelUnit::token_code, coded, 3, text));
  EXPECT_EQ(text, "abc");
  EXPECT_EQ(model->encode_block("a\x80").code(), Errc::invalid);
  EXPECT_EQ(model->decode_block("abc", kModelTextBytesMax + 1, text).code(), Errc::corrupt);
  EXPECT_EQ(TokenModel::decode(ModelUnit::byte, coded, kModelTextBytesMax + 1, text).code(),
            Errc::corrupt);
  // Refused before it is looked at.
  const std::unique_ptr<char[]> memory(new char[kModelTextBytesMax + 1]);
  const ByteView much(memory.get(), kModelTextBytesMax + 1);
  EXPECT_EQ(model->encode_block(much).code(), Errc::invalid);
  EXPECT_EQ(ModelTrainer::make(ModelUnit::byte, 1)->add(much).code(), Errc::invalid);
  EXPECT_EQ(text, "abc");
}

// A text has one code: what decodes is what would be written. (Some damage gives the code of
// another text; the checksums of the file find that.)
TEST(TokenModel, DamageIsRefusedOrTheCodeOfAnotherText) {
  for (const ModelUnit unit : kUnits) {
    const Buffer dictionary = some_text(1, 10);
    const Buffer block = some_text(2, 3);
    const Trained trained = train(unit, dictionary);
    auto coded = trained.model->encode_block(block);
    ASSERT_TRUE(coded);
    std::vector<Buffer> damaged = {*coded + "x"};
    for (std::size_t n = 0; n < coded->size(); ++n) damaged.push_back(coded->substr(0, n));
    for (std::size_t i = 0; i < coded->size() * 8; i += 3) {
      damaged.push_back(*coded);
      char& byte = damaged.back()[i / 8];
      byte = static_cast<char>(byte ^ 1 << i % 8);
    }
    std::size_t refused = 0;
    std::size_t wrong = 0;
    for (const Buffer& bad : damaged) {
      Buffer text = "kept";
      const Status status = trained.model->decode_block(bad, block.size(), text);
      if (!status) {
        ++refused;
        if (status.code() != Errc::corrupt || text != "kept") ++wrong;
        continue;
      }
      text.erase(0, 4);
      auto again = trained.model->encode_block(text);
      if (text == block || !again || *again != bad) ++wrong;
    }
    EXPECT_EQ(wrong, 0u);
    EXPECT_GT(refused, damaged.size() / 2);
    for (const int log : {0, kModelLinesLogMin - 1, kModelLinesLogMax + 1, 255}) {
      Buffer bad = trained.coded;
      bad[0] = static_cast<char>(log);
      Buffer text = "kept";
      EXPECT_EQ(TokenModel::decode(unit, bad, dictionary.size(), text).code(), Errc::corrupt);
      EXPECT_EQ(text, "kept");
    }
    Buffer text;
    EXPECT_EQ(TokenModel::decode(unit, "", dictionary.size(), text).code(), Errc::corrupt);
    EXPECT_EQ(TokenModel::decode(unit, trained.coded + "x", dictionary.size(), text).code(),
              Errc::corrupt);
  }
}

TEST(TokenModel, GoldenBytesReadAsTheyWereWritten) {
  const char* source = std::getenv("TOKVAULT_SOURCE");
  const std::string folder = std::string(source ? source : ".") + "/tests/golden/token_model/";
  const auto golden = [&](const std::string& name) {
    std::ifstream file(folder + name, std::ios::binary);
    EXPECT_TRUE(file) << folder + name;
    return Buffer(std::istreambuf_iterator<char>(file), {});
  };
  const Buffer dictionary = golden("dictionary.text");
  const Buffer block = golden("block.text");
  Buffer text;
  auto model =
      TokenModel::decode(ModelUnit::token_code, golden("dictionary.bin"), dictionary.size(), text);
  ASSERT_TRUE(model);
  EXPECT_EQ(text, dictionary);
  text.clear();
  ASSERT_TRUE((*model)->decode_block(golden("block.bin"), block.size(), text));
  EXPECT_EQ(text, block);
  EXPECT_EQ(train(ModelUnit::token_code, dictionary).coded, golden("dictionary.bin"));
  EXPECT_EQ(*(*model)->encode_block(block), golden("block.bin"));
}

// The same bytes from every compiler, machine and version.
TEST(TokenModel, CodesAreAlwaysTheSame) {
  auto code_of = [](ModelUnit unit, const Buffer& dictionary, const Buffer& block) {
    const Trained trained = train(unit, dictionary);
    auto coded = trained.model->encode_block(block);
    EXPECT_TRUE(coded);
    return std::pair(checksum64(trained.coded), checksum64(*coded));
  };
  const auto tokens = code_of(ModelUnit::token_code, some_text(1, 200), some_text(2, 30));
  EXPECT_EQ(tokens.first, 0xf1220d0b9236d681u);
  EXPECT_EQ(tokens.second, 0x658cb509e5329e18u);
  const auto bytes = code_of(ModelUnit::byte, some_text(1, 200), some_text(2, 30));
  EXPECT_EQ(bytes.first, 0xfff8123f2ac003c7u);
  EXPECT_EQ(bytes.second, 0xee1db3f6b0b46e46u);
}

}  // namespace
}  // namespace tokvault
