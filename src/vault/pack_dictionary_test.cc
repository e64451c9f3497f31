#include "vault/pack_dictionary.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "format/pack.h"

namespace tokvault {
namespace {

// Segments of 0 to 1000 bytes that compress, about 2 MB of them.
std::vector<std::string> make_segments() {
  std::mt19937 random(5);
  std::vector<std::string> out(4000);
  for (std::string& s : out) {
    s.resize(random() % 1000);
    for (char& c : s) c = static_cast<char>('a' + random() % 20);
  }
  return out;
}

Buffer ended(const std::vector<std::string>& segments) {
  Buffer out;
  for (const std::string& s : segments) out += s + kSegmentEnd;
  return out;
}

std::shared_ptr<const PackDictionary> read(const Buffer& text, std::optional<std::uint64_t> count) {
  auto d = PackDictionary::read(*zstd_compress(text, 1), text.size(), {}, count);
  EXPECT_TRUE(d);
  return d ? *d : nullptr;
}

TEST(PackDictionary, DecodesAsFarAsIsAsked) {
  const auto segments = make_segments();
  const auto d = read(ended(segments), segments.size());
  const std::uint64_t memory = d->memory_bytes();
  for (const std::uint32_t n : {0u, 1u, 2000u, 5u, 1999u}) EXPECT_EQ(*d->segment(n), segments[n]);
  EXPECT_FALSE(d->is_whole());
  EXPECT_EQ(d->memory_bytes(), memory);
  for (std::uint32_t n = 0; n < segments.size(); ++n) ASSERT_EQ(*d->segment(n), segments[n]);
  EXPECT_TRUE(d->is_whole());
  EXPECT_LT(d->memory_bytes(), memory);  // the frame is gone
}

TEST(PackDictionary, ThreadsReadWhileOthersDecode) {
  const auto segments = make_segments();
  const auto d = read(ended(segments), segments.size());
  std::vector<std::thread> threads;
  for (std::uint32_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      for (std::uint32_t i = 0; i < segments.size(); ++i) {
        const std::uint32_t n = random() % (i + 1);
        ASSERT_EQ(*d->segment(n), segments[n]);
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

TEST(PackDictionary, BytesAndBlocks) {
  const Buffer text = ended(make_segments());
  const auto d = read(text, std::nullopt);
  EXPECT_EQ(*d->bytes(300'000, 1000), ByteView(text).substr(300'000, 1000));
  EXPECT_FALSE(d->is_whole());
  EXPECT_EQ(*d->bytes(10, 20), ByteView(text).substr(10, 20));
  EXPECT_EQ(d->bytes(text.size(), 1).code(), Errc::corrupt);
  EXPECT_EQ(d->bytes(1, text.size()).code(), Errc::corrupt);
  EXPECT_EQ(d->bytes(~std::uint64_t{0}, 2).code(), Errc::corrupt);
  // A block copies from all of it.
  const Buffer block = text.substr(1000, 500) + text.substr(text.size() - 600, 500);
  auto encoder = BlockEncoder::make(text, 5);
  Buffer out;
  ASSERT_TRUE(d->decode_block(*(*encoder)->encode(block), block.size(), out));
  EXPECT_EQ(out, block);
  EXPECT_TRUE(d->is_whole());
}

// Too few ends, or something behind the last one: where it is reached, or at once if the text is
// there.
TEST(PackDictionary, SegmentsThatDoNotEndWhereTheyShould) {
  const auto segments = make_segments();
  const auto count = static_cast<std::uint32_t>(segments.size());
  const Buffer text = ended(segments);
  auto last_of = [&](const Buffer& t, std::uint32_t n) {
    const auto d = read(t, n);
    EXPECT_EQ(*d->segment(0), segments[0]);
    auto last = d->segment(n - 1);
    EXPECT_EQ(PackDictionary::make(t, nullptr, n).code(), last.code());
    return last.code();
  };
  EXPECT_EQ(last_of(text, count), Errc::ok);
  EXPECT_EQ(last_of(text, count - 1), Errc::corrupt);
  EXPECT_EQ(last_of(text, count + 1), Errc::corrupt);
  EXPECT_EQ(last_of(text + "x", count), Errc::corrupt);
  EXPECT_EQ(PackDictionary::read("", 3, {}, 4).code(), Errc::corrupt);
  EXPECT_TRUE(PackDictionary::make({}, nullptr, 0));
  EXPECT_EQ(PackDictionary::make({}, nullptr, 1).code(), Errc::corrupt);
}

}  // namespace
}  // namespace tokvault
