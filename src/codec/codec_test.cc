#include <gtest/gtest.h>

#include <random>

#include "base/zstd.h"
#include "codec/dictionary.h"
#include "codec/token_code.h"

namespace tokvault {
namespace {

class TokenMaps : public testing::TestWithParam<CodeBytes> {};
INSTANTIATE_TEST_SUITE_P(, TokenMaps, testing::Values(CodeBytes::all, CodeBytes::below_ff));

TEST_P(TokenMaps, EveryClassOfCodesRoundTrips) {
  std::vector<std::pair<Token, std::uint64_t>> counts;
  for (Token t = 0; t < 20000; ++t) counts.push_back({t * 7, 1 + 1000000 / (t + 1)});
  const TokenMap map = TokenMap::by_frequency(counts, GetParam());
  const Token listed = TokenMap::tokens_max(GetParam());
  EXPECT_EQ(map.size(), listed);
  std::vector<Token> tokens = {0, 1, 7, 128 * 7, (listed - 1) * 7, 19999 * 7, 4145280, 0xffffffff};
  for (Token t = 4030000; t < 4050000; t += 7) tokens.push_back(t);  // where six bytes begin
  std::mt19937 random(1);
  for (int i = 0; i < 10000; ++i) tokens.push_back(static_cast<Token>(random()) >> (i % 32));
  for (const TokenMap& m : {map, TokenMap(GetParam())}) {
    Buffer code;
    m.encode(tokens, code);
    std::vector<Token> back;
    ASSERT_TRUE(m.decode(code, back));
    EXPECT_EQ(back, tokens);
    if (GetParam() == CodeBytes::all) {
      EXPECT_EQ(TokenMap::count(code), tokens.size());
    } else {
      EXPECT_EQ(code.find('\xff'), Buffer::npos);
    }
    auto parsed = TokenMap::parse(m.serialize(), GetParam());
    ASSERT_TRUE(parsed);
    Buffer again;
    parsed->encode(tokens, again);
    EXPECT_EQ(again, code);
  }
  // The most frequent tokens are one byte.
  Buffer code;
  map.encode(std::vector<Token>{0, 7, 14}, code);
  EXPECT_EQ(code.size(), 3u);
}

TEST(TokenMap, AnyBytesAreReadAsTokens) {
  const std::vector<Token> tokens{0, 127, 128, 16511, 16512, 200018, kThreeByteCodes - 1};
  Buffer code;
  TokenMap().encode(tokens, code);
  std::vector<Token> back;
  TokenMap::read_any(code, 100, back);
  EXPECT_EQ(back, tokens);
  // Neither ff at the beginning of a code nor what is cut short stands for a token.
  back = {9};
  TokenMap::read_any("\xff" + code + "\xff\xff" + code + "\xc0\x01", 100, back);
  std::vector<Token> expected{9};
  for (int i = 0; i < 2; ++i) expected.insert(expected.end(), tokens.begin(), tokens.end());
  EXPECT_EQ(back, expected);
  back.clear();
  TokenMap::read_any(code, 3, back);
  EXPECT_EQ(back, (std::vector<Token>{0, 127, 128}));
  // Whatever the bytes are, each token has a code under every map.
  std::mt19937 random(4);
  for (int round = 0; round < 100; ++round) {
    Buffer bytes(random() % 300, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    back.clear();
    TokenMap::read_any(bytes, 1000, back);
    code.clear();
    const TokenMap map = TokenMap::by_frequency({{5, 10}, {900, 4}}, CodeBytes::below_ff);
    map.encode(back, code);
    std::vector<Token> again;
    ASSERT_TRUE(map.decode(code, again));
    EXPECT_EQ(again, back);
  }
}

TEST_P(TokenMaps, RefuseDamage) {
  const TokenMap map = TokenMap::by_frequency({{5, 10}, {900, 4}, {7, 4}}, GetParam());
  const Buffer good = map.serialize();
  auto parse = [](ByteView bytes) { return TokenMap::parse(bytes, GetParam()); };
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(parse(good.substr(0, n))) << n;
  EXPECT_FALSE(parse(good + "x"));
  EXPECT_EQ(parse(Buffer("\x02\x00\x01", 3)).code(), Errc::corrupt);  // 0 twice
  std::vector<Token> out;
  EXPECT_EQ(map.decode("\x80", out).code(), Errc::corrupt);
  EXPECT_EQ(map.decode("\xfe\x01\x01\x01\x01", out).code(),
            GetParam() == CodeBytes::all ? Errc::ok : Errc::corrupt);
  EXPECT_EQ(map.decode("\xff\x01\x01\x01\x01", out).code(), Errc::corrupt);
  EXPECT_EQ(map.decode(Buffer("\xff\0\0\0\0\0", 6), out).code(), Errc::corrupt);  // overlong
  EXPECT_EQ(map.decode("\xff\xff\xff\xff\xff\xff", out).code(), Errc::corrupt);   // out of range
  if (GetParam() == CodeBytes::below_ff) {
    EXPECT_EQ(map.decode("\x80\xff", out).code(), Errc::corrupt);
    EXPECT_EQ(map.decode("\xc0\xff\x01", out).code(), Errc::corrupt);
    EXPECT_EQ(map.decode("\xc0\x01\xff", out).code(), Errc::corrupt);
    EXPECT_EQ(map.decode(Buffer("\xfe\0\0\0\0\0", 6), out).code(), Errc::corrupt);  // overlong
    EXPECT_EQ(map.decode("\xfe\xfe\xfe\xfe\xfe\xfe", out).code(), Errc::corrupt);
  }
}

TEST(Zstd, AFrameAfterAPrefix) {
  std::mt19937 random(8);
  for (const std::size_t size : {0u, 1u, 7u, 8u, 4'000u, 600'000u}) {
    Buffer prefix(size, '\0');
    for (char& c : prefix) c = static_cast<char>(random());
    const Buffer text = prefix + "new" + prefix;
    for (const int level : {3, 19}) {
      const auto frame = zstd_compress(text, level, {}, prefix);
      ASSERT_TRUE(frame);
      EXPECT_LT(frame->size(), 200u) << size;
      Buffer back;
      ASSERT_TRUE(zstd_decompress(*frame, text.size(), back, prefix));
      EXPECT_EQ(back, text);
      if (size < 4'000) continue;
      // For this frame only, and never without it.
      EXPECT_FALSE(zstd_decompress(*frame, text.size(), back) && back == text);
      EXPECT_FALSE(zstd_decompress(*frame, text.size(), back, "another") && back == text);
    }
  }
}

TEST(Zstd, BlocksAgainstADictionary) {
  Buffer dictionary;
  for (int i = 0; i < 3000; ++i) dictionary += "conversation " + std::to_string(i * 7919) + "\n";
  const Buffer text = dictionary.substr(5000, 4000) + "something new";
  auto encoder = BlockEncoder::make(dictionary, 12);
  auto decoder = BlockDecoder::make(dictionary);
  ASSERT_TRUE(encoder && decoder);
  auto frame = (*encoder)->encode(text);
  ASSERT_TRUE(frame);
  EXPECT_LT(frame->size(), 60u);
  Buffer back;
  ASSERT_TRUE((*decoder)->decode(*frame, text.size(), back));
  EXPECT_EQ(back, text);
  EXPECT_EQ((*decoder)->decode(*frame, text.size() + 1, back).code(), Errc::corrupt);
  EXPECT_EQ((*decoder)->decode(*frame, text.size() - 1, back).code(), Errc::corrupt);
  // The thread's context forgets the dictionary: a plain frame still decodes.
  auto plain = zstd_compress(text, 3);
  ASSERT_TRUE(plain);
  ASSERT_TRUE(zstd_decompress(*plain, text.size(), back));
  EXPECT_EQ(back, text);
}

TEST(Zstd, StreamPiecesDecodeOneByOneAndContinueFromAPrefix) {
  std::mt19937 random(3);
  auto encoder = StreamEncoder::make(3, "");
  auto decoder = StreamDecoder::make("");
  ASSERT_TRUE(encoder && decoder);
  Buffer text, decoded;
  for (int i = 0; i < 200; ++i) {
    const Buffer piece = i % 7 == 6 ? Buffer()
                                    : Buffer("piece " + std::to_string(random() % 100)) +
                                          text.substr(text.size() / 2, 50);
    Buffer out;
    ASSERT_TRUE((*encoder)->write(piece, true, out));
    ASSERT_TRUE((*decoder)->read(out, piece.size(), decoded));
    text += piece;
    ASSERT_EQ(decoded, text);
  }
  auto next = StreamEncoder::make(3, text);
  ASSERT_TRUE(next);
  Buffer out;
  ASSERT_TRUE((*next)->write(text, true, out));
  auto alone = StreamEncoder::make(3, "");
  ASSERT_TRUE(alone);
  Buffer without;
  ASSERT_TRUE((*alone)->write(text, true, without));
  EXPECT_LT(3 * out.size(), without.size());
  auto next_decoder = StreamDecoder::make(text);
  ASSERT_TRUE(next_decoder);
  Buffer again;
  ASSERT_TRUE((*next_decoder)->read(out, text.size(), again));
  EXPECT_EQ(again, text);
}

// Samples that share phrases, as messages do.
Buffer samples(std::vector<std::size_t>& sizes) {
  std::mt19937_64 random(3);
  Buffer all;
  for (int i = 0; i < 400; ++i) {
    const std::size_t before = all.size();
    for (int k = 0; k < 20; ++k) {
      const std::uint64_t phrase = random() % 50;
      all += "phrase number " + std::to_string(phrase * phrase) + " of the samples; ";
    }
    sizes.push_back(all.size() - before);
  }
  return all;
}

TEST(Dictionary, IsTrainedTheSameEveryTimeAndHasAnId) {
  std::vector<std::size_t> sizes;
  const Buffer all = samples(sizes);
  const auto trained = train_dictionary(all, sizes, 4096);
  ASSERT_TRUE(trained);
  EXPECT_LE(trained->size(), 4096u);
  const auto again = train_dictionary(all, sizes, 4096);
  ASSERT_TRUE(again);
  EXPECT_EQ(*trained, *again);
  const auto id = dictionary_id(*trained);
  ASSERT_TRUE(id);
  EXPECT_NE(*id, 0u);
}

TEST(Dictionary, WhatIsNoneIsRefused) {
  std::vector<std::size_t> sizes;
  const Buffer all = samples(sizes);
  EXPECT_EQ(train_dictionary("ab", std::vector<std::size_t>{2}, 4096).code(), Errc::invalid);
  EXPECT_EQ(train_dictionary(all, sizes, 100).code(), Errc::invalid);
  EXPECT_EQ(train_dictionary(all, sizes, kDictionaryBytesMax + 1).code(), Errc::invalid);
  const auto trained = train_dictionary(all, sizes, 4096);
  ASSERT_TRUE(trained);
  EXPECT_EQ(dictionary_id("").code(), Errc::invalid);
  EXPECT_EQ(dictionary_id(Buffer(4096, 'x')).code(), Errc::invalid);
  for (std::size_t size = 0; size < 64; ++size) {
    EXPECT_EQ(dictionary_id(ByteView(*trained).substr(0, size)).code(), Errc::invalid) << size;
  }
  Buffer no_id = *trained;
  for (std::size_t i = 4; i < 8; ++i) no_id[i] = 0;
  EXPECT_EQ(dictionary_id(no_id).code(), Errc::invalid);
  EXPECT_EQ(dictionary_id(Buffer(kDictionaryBytesMax + 1, 'x')).code(), Errc::exhausted);
}

// What follows a dictionary is longer than it: repeats must be found as far back as without one.
TEST(Dictionary, DoesNotMakeALongStreamLarger) {
  std::vector<std::size_t> sizes;
  const Buffer sampled = samples(sizes);
  const auto dictionary = train_dictionary(sampled, sizes, 2000);
  ASSERT_TRUE(dictionary);
  std::mt19937_64 random(5);
  std::vector<Buffer> passages(6000);
  for (Buffer& passage : passages) {
    for (int i = 0; i < 64; ++i) passage.push_back(static_cast<char>('a' + random() % 26));
  }
  Buffer text;
  for (int i = 0; i < 30'000; ++i) text += passages[random() % passages.size()];
  const auto size_after = [&](const Buffer& prefix) {
    auto encoder = StreamEncoder::make(
        3, prefix, prefix.empty() ? PrefixKind::content : PrefixKind::dictionary);
    EXPECT_TRUE(encoder);
    Buffer out;
    EXPECT_TRUE((*encoder)->write(text, true, out));
    return out.size();
  };
  const std::size_t alone = size_after("");
  EXPECT_LT(size_after(*dictionary), alone + alone / 50);
}

}  // namespace
}  // namespace tokvault
