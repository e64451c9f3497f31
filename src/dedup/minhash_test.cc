#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "base/bytes.h"
#include "base/checksum.h"
#include "dedup/minhash.h"
#include "tokvault/dedup.h"

namespace tokvault {
namespace {

// The specification, line by line (docs/format/minhash.md).
std::uint64_t rotate(std::uint64_t x, unsigned n) { return (x << n) | (x >> (64 - n)); }
std::uint64_t shingle_hash(std::span<const Token> shingle, std::uint64_t function) {
  std::uint64_t h = function + 0x9e3779b97f4a7c15u;
  for (const Token token : shingle) {
    h ^= std::uint64_t{token} * 0x6c62272e07bb0142u;
    h = rotate(h, 27) * 0x94d049bb133111ebu;
  }
  return h ^ (h >> 31);
}
std::array<std::uint64_t, 128> signature_by_the_book(std::span<const Token> tokens) {
  std::array<std::uint64_t, 128> values;
  for (std::uint64_t i = 0; i < 128; ++i) {
    values[i] = tokens.size() < 2 ? shingle_hash(tokens, i) : ~std::uint64_t{0};
    for (std::size_t j = 0; j + 2 <= tokens.size(); ++j) {
      values[i] = std::min(values[i], shingle_hash(tokens.subspan(j, 2), i));
    }
  }
  return values;
}
std::uint64_t band_by_the_book(const std::array<std::uint64_t, 128>& values, std::uint64_t band) {
  std::uint64_t h = band * 0x517cc1b727220a95u;
  for (std::size_t i = 0; i < 8; ++i) {
    h = rotate(h + values[band * 8 + i], 17) * 0x6c62272e07bb0142u;
  }
  return h;
}

std::vector<Token> random_tokens(std::mt19937& random, std::size_t count) {
  std::vector<Token> tokens(count);
  for (Token& token : tokens) token = static_cast<Token>(random()) >> (random() % 32);
  return tokens;
}

double exact_jaccard(const std::vector<Token>& a, const std::vector<Token>& b) {
  const auto bigrams = [](const std::vector<Token>& t) {
    std::set<std::pair<Token, Token>> out;
    for (std::size_t i = 0; i + 1 < t.size(); ++i) out.insert({t[i], t[i + 1]});
    return out;
  };
  const auto x = bigrams(a);
  const auto y = bigrams(b);
  std::size_t common = 0;
  for (const auto& bigram : x) common += y.count(bigram);
  return static_cast<double>(common) / static_cast<double>(x.size() + y.size() - common);
}

TEST(MinHash, IsTheSpecified) {
  std::mt19937 random(1);
  for (std::size_t count : {0u, 1u, 2u, 3u, 7u, 64u, 1000u}) {
    const auto tokens = random_tokens(random, count);
    const MinHash signature = MinHash::of(tokens);
    const auto expected = signature_by_the_book(tokens);
    EXPECT_EQ(signature.values, expected) << count;
    for (std::size_t b = 0; b < MinHash::kBands; ++b) {
      EXPECT_EQ(signature.band_hash(b), band_by_the_book(expected, b));
    }
  }
}

TEST(MinHash, EveryKernelGivesTheSame) {
  std::mt19937 random(2);
  ASSERT_GE(minhash_kernels().size(), 1u);
  for (const MinHashKernel& kernel : minhash_kernels()) {
    for (std::size_t count = 2; count < 40; ++count) {
      auto tokens = random_tokens(random, count);
      if (count % 5 == 0) tokens.assign(count, 0xffffffffu);
      MinHash signature;
      kernel.lower(tokens.data(), tokens.size(), signature.values.data());
      EXPECT_EQ(signature.values, signature_by_the_book(tokens)) << kernel.name << " " << count;
      // It goes on from what is there.
      const auto more = random_tokens(random, 5);
      kernel.lower(more.data(), more.size(), signature.values.data());
      MinHash both = MinHash::of(tokens);
      both.merge(MinHash::of(more));
      EXPECT_EQ(signature, both) << kernel.name;
    }
  }
}

// Each line: tokens separated by commas; SHA-256 of the 1,024 bytes; the first value; the band
// hashes. Written by tests/dedup/minhash_reference.py.
TEST(MinHash, FixedVectors) {
  const char* const source = std::getenv("TOKVAULT_SOURCE");
  ASSERT_NE(source, nullptr);
  std::ifstream file(std::string(source) + "/tests/dedup/minhash_vectors.txt");
  std::string line;
  int count = 0;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string list;
    std::string digest;
    std::string word;
    fields >> list >> digest >> word;
    std::vector<Token> tokens;
    std::istringstream numbers(list == "-" ? "" : list);
    for (std::string number; std::getline(numbers, number, ',');) {
      tokens.push_back(static_cast<Token>(std::stoul(number)));
    }
    const MinHash signature = MinHash::of(tokens);
    const Digest hash = sha256(signature.to_bytes());
    EXPECT_EQ(to_hex(ByteView(reinterpret_cast<const char*>(hash.data()), hash.size())), digest);
    EXPECT_EQ(signature.values[0], std::stoull(word, nullptr, 16)) << list;
    for (std::size_t b = 0; b < MinHash::kBands; ++b) {
      fields >> word;
      EXPECT_EQ(signature.band_hash(b), std::stoull(word, nullptr, 16)) << list;
    }
    ++count;
  }
  EXPECT_GE(count, 8);
}

TEST(MinHash, BytesRoundTrip) {
  const std::vector<Token> tokens = {1, 2, 3, 2, 1};
  const MinHash signature = MinHash::of(tokens);
  const Buffer bytes = signature.to_bytes();
  ASSERT_EQ(bytes.size(), 1024u);
  EXPECT_EQ(load_le<std::uint64_t>(bytes.data() + 8 * 127), signature.values[127]);
  const auto back = MinHash::from_bytes(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, signature);
  EXPECT_EQ(MinHash::from_bytes(bytes.substr(1)).code(), Errc::corrupt);
  EXPECT_EQ(MinHash::from_bytes(bytes + "x").code(), Errc::corrupt);
  EXPECT_EQ(MinHash::from_bytes("").code(), Errc::corrupt);
}

TEST(MinHash, GoldenBytes) {
  const char* const source = std::getenv("TOKVAULT_SOURCE");
  ASSERT_NE(source, nullptr);
  std::ifstream file(std::string(source) + "/tests/golden/minhash/signature.bin", std::ios::binary);
  const Buffer bytes(std::istreambuf_iterator<char>(file), {});
  const auto signature = MinHash::from_bytes(bytes);
  ASSERT_TRUE(signature);
  EXPECT_EQ(*signature, MinHash::of(std::vector<Token>{1, 2}));
  EXPECT_EQ(signature->to_bytes(), bytes);
}

TEST(MinHash, EstimatesJaccard) {
  std::mt19937 random(3);
  double square_sum = 0;
  double error_sum = 0;
  constexpr int kPairs = 300;
  for (int i = 0; i < kPairs; ++i) {
    std::vector<Token> a(200);
    for (Token& token : a) token = static_cast<Token>(random() % 100'000);
    std::vector<Token> b = a;
    for (int edits = i % 40; edits > 0; --edits) b[random() % b.size()] += 200'000;
    const double error = MinHash::of(a).jaccard(MinHash::of(b)) - exact_jaccard(a, b);
    error_sum += error;
    square_sum += error * error;
  }
  EXPECT_LT(std::abs(error_sum / kPairs), 0.01);
  EXPECT_LT(square_sum / kPairs, 0.044 * 0.044);
}

TEST(MinHash, MergeIsOfTheUnion) {
  std::mt19937 random(4);
  const auto a = random_tokens(random, 50);
  const auto b = random_tokens(random, 60);
  MinHash merged;
  merged.merge(MinHash::of(a));
  EXPECT_EQ(merged, MinHash::of(a));
  merged.merge(MinHash::of(b));
  for (std::size_t i = 0; i < MinHash::kValues; ++i) {
    EXPECT_EQ(merged.values[i], std::min(MinHash::of(a).values[i], MinHash::of(b).values[i]));
  }
}

}  // namespace
}  // namespace tokvault
