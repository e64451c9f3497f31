#include "codec/token_lz.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/zstd.h"
#include "codec/nibble_coder.h"
#include "codec/token_code.h"

namespace tokvault {
namespace {

constexpr ModelUnit kUnits[] = {ModelUnit::token_code, ModelUnit::byte};

// Segments of tokens that repeat each other near and far, with codes of every length.
Buffer some_text(std::uint32_t seed, int segments) {
  std::mt19937 random(seed);
  std::vector<Token> all, segment;
  Buffer out;
  for (int i = 0; i < segments; ++i) {
    segment.clear();
    const std::uint32_t n = random() % 40;
    for (std::uint32_t k = 0; k < n; ++k) {
      if (all.size() > 50 && random() % 3 == 0) {
        const std::size_t from = random() % (all.size() - 30);
        const std::size_t length = 1 + random() % 29;
        for (std::size_t j = 0; j < length; ++j) segment.push_back(all[from + j]);
        if (random() % 2 == 0) segment.back() += 1;
      }
      segment.push_back(static_cast<Token>(random()) >> (12 + random() % 20));
      if (random() % 50 == 0) segment.push_back(0xffffffffu - random() % 3);
    }
    TokenMap(CodeBytes::below_ff).encode(segment, out);
    out.push_back('\xff');
    all.insert(all.end(), segment.begin(), segment.end());
  }
  return out;
}

Buffer code_of(ModelUnit unit, const Buffer& text) {
  auto code = token_lz_encode(unit, text);
  EXPECT_TRUE(code);
  return code ? std::move(code->bytes) : Buffer();
}

Nibble random_nibble(std::mt19937& random) {
  Nibble n;
  const int times = static_cast<int>(random() % 60);
  const std::uint32_t likely = random() % 16;
  for (int i = 0; i < times; ++i) {
    ScalarNibbles::learn(n, random() % 4 == 0 ? random() % 16 : likely);
  }
  return n;
}

TEST(Nibbles, EverySymbolKeepsAnInterval) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const Nibble a = random_nibble(random);
    const Nibble mean = ScalarNibbles::blend(a, random_nibble(random));
    for (std::uint32_t s = 0; s < 16; ++s) {
      ASSERT_LT(a.begin_of(s), a.end_of(s));
      ASSERT_LT(mean.begin_of(s), mean.end_of(s));
      ASSERT_EQ(ScalarNibbles::find(a, a.begin_of(s)), s);
      ASSERT_EQ(ScalarNibbles::find(a, a.end_of(s) - 1), s);
    }
  }
}

TEST(Nibbles, KernelsAgree) {
  std::mt19937 random(2);
  for (int i = 0; i < 5000; ++i) {
    Nibble a = random_nibble(random);
    const Nibble b = random_nibble(random);
    const std::uint32_t slot = random() % kNibbleTotal;
    ASSERT_EQ(Nibbles::find(a, slot), ScalarNibbles::find(a, slot));
    const Nibble mean = Nibbles::blend(a, b);
    const Nibble scalar_mean = ScalarNibbles::blend(a, b);
    for (std::size_t k = 0; k < 15; ++k) ASSERT_EQ(mean.lane[k], scalar_mean.lane[k]);
    Nibble again = a;
    const std::uint32_t symbol = random() % 16;
    Nibbles::learn(a, symbol);
    ScalarNibbles::learn(again, symbol);
    ASSERT_EQ(a.lane, again.lane);
  }
}

TEST(Nibbles, WhatIsCodedIsDecoded) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    Nibble written, read;
    std::vector<std::uint32_t> symbols(random() % 200);
    NibbleEncoder encoder;
    for (std::uint32_t& s : symbols) {
      s = random() % 3 == 0 ? random() % 16 : 7;
      encoder.code(s, written);
      Nibbles::learn(written, s);
      encoder.code_even(s, 4 + round % 12);
    }
    Buffer code;
    encoder.finish(code);
    EXPECT_EQ(encoder.count(), 2 * symbols.size());
    NibbleDecoder decoder(code);
    for (const std::uint32_t s : symbols) {
      ASSERT_EQ(decoder.code(0, read), s);
      Nibbles::learn(read, s);
      ASSERT_EQ(decoder.code_even(0, 4 + round % 12), s);
    }
    EXPECT_TRUE(decoder.at_end());
  }
}

TEST(TokenLz, AHistoryIsCopiedFrom) {
  for (const ModelUnit unit : kUnits) {
    const Buffer history = some_text(8, 60);
    // What stands in the history, all or half of it, and what does not.
    const Buffer half = history.substr(history.find('\xff', history.size() / 2) + 1);
    for (const Buffer& text :
         {history, half + some_text(9, 5) + half, some_text(9, 30), Buffer()}) {
      const auto alone = token_lz_encode(unit, text);
      const auto code = token_lz_encode(unit, text, history);
      ASSERT_TRUE(alone);
      ASSERT_TRUE(code);
      EXPECT_LE(code->bytes.size(), alone->bytes.size() + 20);
      if (text == history) {
        EXPECT_LT(code->bytes.size(), 40u);
      }
      Buffer back = "before";
      ASSERT_TRUE(token_lz_decode(unit, code->bytes, text.size(), back, history));
      EXPECT_EQ(back, "before" + text);
      // With another history it is another text, or none.
      back.clear();
      const auto other = token_lz_decode(unit, code->bytes, text.size(), back, some_text(10, 60));
      if (text == history) {
        EXPECT_TRUE(!other || back != text);
      }
    }
    const Buffer text = some_text(9, 30);
    const auto alone = token_lz_encode(unit, text);
    const auto none = token_lz_encode(unit, text, "");
    EXPECT_EQ(alone->bytes, none->bytes);
  }
  // Half a code is no history.
  const Buffer cut = Buffer("\x81", 1);
  EXPECT_EQ(token_lz_encode(ModelUnit::token_code, "\xff", cut).code(), Errc::invalid);
  Buffer back;
  EXPECT_FALSE(
      token_lz_decode(ModelUnit::token_code, code_of(ModelUnit::token_code, "\xff"), 1, back, cut));
  // Both together are bounded.
  const Buffer most(kTokenLzTextBytesMax, 'x');
  EXPECT_EQ(token_lz_encode(ModelUnit::byte, "a", most).code(), Errc::invalid);
  EXPECT_EQ(token_lz_decode(ModelUnit::byte, code_of(ModelUnit::byte, "a"), 1, back, most).code(),
            Errc::corrupt);
}

TEST(TokenLz, TextsComeBack) {
  std::vector<Buffer> texts = {"", "\xff", Buffer(5, '\xff'), some_text(1, 1)};
  for (std::uint32_t seed = 2; seed < 20; ++seed) {
    texts.push_back(some_text(seed, static_cast<int>(seed * 3)));
  }
  for (const Buffer& text : texts) {
    for (const ModelUnit unit : kUnits) {
      const Buffer code = code_of(unit, text);
      Buffer back = "kept";
      ASSERT_TRUE(token_lz_decode(unit, code, text.size(), back));
      EXPECT_EQ(back, "kept" + text);
    }
  }
}

// Copies longer than a length can say, across the encoder's windows, and from far away.
TEST(TokenLz, LongAndDistantCopies) {
  Buffer text = some_text(1, 200);
  for (int i = 0; i < 3; ++i) text += text.substr(text.rfind('\xff', text.size() / 3) + 1);
  text += Buffer(90000, 'x') + '\xff' + some_text(2, 20) + text;
  for (const ModelUnit unit : kUnits) {
    const Buffer code = code_of(unit, text);
    Buffer back;
    ASSERT_TRUE(token_lz_decode(unit, code, text.size(), back));
    EXPECT_EQ(back, text);
    EXPECT_LT(code.size(), some_text(1, 200).size());
  }
}

// The first two halves of what was copied may end inside a code of six bytes.
TEST(TokenLz, CopiesThatEndInsideALongCode) {
  Buffer text;
  std::mt19937 random(5);
  for (int i = 0; i < 300; ++i) {
    const Token t = 0xfffffff0u + random() % 4;
    const std::vector<Token> tokens = {t, 5, t + 3, t, t - 255 * 255 * 255};
    TokenMap(CodeBytes::below_ff).encode(tokens, text);
  }
  const Buffer code = code_of(ModelUnit::token_code, text);
  Buffer back;
  ASSERT_TRUE(token_lz_decode(ModelUnit::token_code, code, text.size(), back));
  EXPECT_EQ(back, text);
}

// Each token is often followed by the same one, and nothing is long enough to be copied well.
TEST(TokenLz, SmallerThanZstdWhereTokensForetellEachOther) {
  std::mt19937 random(7);
  std::vector<Token> tokens(40000);
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    tokens[i] = (tokens[i - 1] * 31 + random() % 3 * 57) % 700;
  }
  Buffer text;
  TokenMap(CodeBytes::below_ff).encode(tokens, text);
  auto zstd = zstd_compress(text, 19);
  ASSERT_TRUE(zstd);
  EXPECT_LT(code_of(ModelUnit::token_code, text).size(), zstd->size() * 95 / 100);
}

TEST(TokenLz, RefusesWhatIsNoText) {
  for (const Buffer text : {"\x80", "a\xc0\x01", "\xfe\x01\x02\x03\x04"}) {
    EXPECT_EQ(token_lz_encode(ModelUnit::token_code, text).code(), Errc::invalid);
    EXPECT_TRUE(token_lz_encode(ModelUnit::byte, text));
  }
  EXPECT_EQ(token_lz_encode(ModelUnit::byte, Buffer(kTokenLzTextBytesMax + 1, 'a')).code(),
            Errc::invalid);
}

// Damage is refused, or is the code of another text of the same size; checksums find that.
TEST(TokenLz, DamageIsRefusedOrTheCodeOfAnotherText) {
  for (const ModelUnit unit : kUnits) {
    const Buffer text = some_text(4, 20);
    const Buffer code = code_of(unit, text);
    std::vector<Buffer> damaged = {code + "x", code + "wxyz", ""};
    for (std::size_t n = 0; n < code.size(); ++n) damaged.push_back(code.substr(0, n));
    for (std::size_t i = 0; i < code.size() * 8; i += 3) {
      damaged.push_back(code);
      damaged.back()[i / 8] = static_cast<char>(damaged.back()[i / 8] ^ 1 << i % 8);
    }
    std::size_t refused = 0;
    for (const Buffer& bad : damaged) {
      Buffer back = "kept";
      const Status status = token_lz_decode(unit, bad, text.size(), back);
      if (status) {
        EXPECT_EQ(back.size(), text.size() + 4);
        EXPECT_NE(back, "kept" + text);
        continue;
      }
      ++refused;
      EXPECT_EQ(status.code(), Errc::corrupt);
      EXPECT_EQ(back, "kept");
    }
    EXPECT_GT(refused, damaged.size() * 9 / 10);
  }
}

TEST(TokenLz, SizesAreCheckedBeforeMemoryIsTaken) {
  const Buffer text = some_text(4, 20);
  const Buffer code = code_of(ModelUnit::token_code, text);
  for (const std::uint64_t size : {std::uint64_t{0}, text.size() - 1, text.size() + 1,
                                   kTokenLzTextBytesMax + 1, ~std::uint64_t{0}}) {
    Buffer back;
    EXPECT_EQ(token_lz_decode(ModelUnit::token_code, code, size, back).code(), Errc::corrupt);
    EXPECT_TRUE(back.empty());
  }
  Buffer huge;
  append_varint(huge, ~std::uint64_t{0} >> 1);
  Buffer back;
  EXPECT_EQ(token_lz_decode(ModelUnit::byte, huge + code, ~std::uint64_t{0}, back).code(),
            Errc::corrupt);
}

TEST(TokenLz, GoldenBytesReadAsTheyWereWritten) {
  const char* source = std::getenv("TOKVAULT_SOURCE");
  const std::string folder = std::string(source ? source : ".") + "/tests/golden/token_lz/";
  const auto golden = [&](const std::string& name) {
    std::ifstream file(folder + name, std::ios::binary);
    EXPECT_TRUE(file) << folder + name;
    return Buffer(std::istreambuf_iterator<char>(file), {});
  };
  for (const ModelUnit unit : kUnits) {
    const std::string name = unit == ModelUnit::byte ? "bytes" : "tokens";
    const Buffer known = golden(name + ".text");
    Buffer text;
    ASSERT_TRUE(token_lz_decode(unit, golden(name + ".bin"), known.size(), text));
    EXPECT_EQ(text, known);
    EXPECT_EQ(code_of(unit, known), golden(name + ".bin"));
  }
}

// The same bytes from every compiler, machine and version.
TEST(TokenLz, CodesAreAlwaysTheSame) {
  EXPECT_EQ(checksum64(code_of(ModelUnit::token_code, some_text(1, 500))), 0x54056c1d151ee080u);
  EXPECT_EQ(checksum64(code_of(ModelUnit::byte, some_text(1, 500))), 0xc908b0b3c058a8bcu);
}

}  // namespace
}  // namespace tokvault
