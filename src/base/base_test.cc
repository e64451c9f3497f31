#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <random>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/piecewise_checksum.h"
#include "base/zstd.h"

namespace tokvault {
namespace {

TEST(Varint, RoundTripsAndIsCanonical) {
  for (std::uint64_t v :
       {std::uint64_t{0}, std::uint64_t{127}, std::uint64_t{128}, std::uint64_t{16383},
        std::uint64_t{1} << 32, std::numeric_limits<std::uint64_t>::max()}) {
    Buffer b;
    append_varint(b, v);
    ByteReader r(b);
    EXPECT_EQ(r.varint(), v);
    EXPECT_TRUE(r.ok() && r.at_end());
  }
  // Overlong, overflowing and truncated forms are refused.
  for (const char* bad : {"\x80\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "\x80"}) {
    const Buffer b(bad, bad[1] == 0 && bad[0] == '\x80' ? 2 : std::strlen(bad));
    ByteReader r(b);
    (void)r.varint();
    EXPECT_FALSE(r.ok());
  }
}

TEST(Varint, SignedRoundTrips) {
  for (std::int64_t v :
       {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1},
        std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_EQ(unzigzag(zigzag(v)), v);
  }
}

TEST(ByteReader, StaysFailedAndNeverReadsPastTheEnd) {
  ByteReader r(
      "\x05"
      "ab");
  EXPECT_TRUE(r.sized().empty());
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.le<std::uint32_t>(), 0u);
  EXPECT_FALSE(r.ok());
}

TEST(Checksum, OfPieces) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += std::to_string(i * i);
  for (const std::uint64_t seed : {std::uint64_t{0}, ~std::uint64_t{0}}) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{7}, std::size_t{300}, text.size()}) {
      PiecewiseChecksum checksum(seed);
      for (std::size_t at = 0; at < text.size(); at += size) checksum.add(text.substr(at, size));
      EXPECT_EQ(checksum.value(), checksum64(text, seed)) << size;
    }
    EXPECT_EQ(PiecewiseChecksum(seed).value(), checksum64("", seed));
  }
}

TEST(Checksum, KnownValues) {
  const Digest d = sha256("abc");
  EXPECT_EQ(to_hex(ByteView(reinterpret_cast<const char*>(d.data()), 4)), "ba7816bf");
  const Token tokens[] = {1, 2};
  EXPECT_EQ(sha256_tokens(tokens), sha256(ByteView("\1\0\0\0\2\0\0\0", 8)));
  // XXH3-64 of nothing, from the reference implementation's documentation.
  EXPECT_EQ(checksum64(""), 0x2d06800538d394c2u);
  const Digest mac = hmac_sha256("Jefe", "what do ya want for nothing?");  // RFC 4231, case 2
  EXPECT_EQ(to_hex(ByteView(reinterpret_cast<const char*>(mac.data()), 4)), "5bdcc146");
}

// Random text with repeats, of several blocks of zstd's.
Buffer text_of(std::size_t size, std::uint32_t seed) {
  std::mt19937 random(seed);
  Buffer out;
  while (out.size() < size) {
    if (out.size() > 100 && random() % 3 == 0) {
      const std::size_t from = random() % (out.size() - 50);
      out += out.substr(from, 1 + random() % 50);
    } else {
      for (int i = 0; i < 20; ++i) out.push_back(static_cast<char>(random() % 64));
    }
  }
  out.resize(size);
  return out;
}

TEST(FrameReader, GivesWhatIsAskedForAndLittleMore) {
  constexpr std::uint64_t kBlock = 128u << 10;
  const Buffer text = text_of(1'000'000, 1);
  const Buffer prefix = text_of(5000, 1);  // how the text begins
  for (const bool with_prefix : {false, true}) {
    const Buffer before = with_prefix ? prefix : Buffer();
    const Buffer frame = *zstd_compress(text, 5, {}, before);
    auto reader = FrameReader::make(frame, text.size(), before);
    ASSERT_TRUE(reader);
    const char* const start = (*reader)->text().data();
    for (const std::uint64_t until : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{200'000},
                                      std::uint64_t{100'000}, std::uint64_t{999'999}}) {
      ASSERT_TRUE((*reader)->read_until(until));
      const ByteView there = (*reader)->text();
      EXPECT_EQ(there.data(), start);
      EXPECT_GE(there.size(), until);
      EXPECT_LE(there.size(), std::max<std::uint64_t>(until, 200'000) + kBlock);
      EXPECT_EQ(there, ByteView(text).substr(0, there.size()));
    }
    EXPECT_EQ((*reader)->read_until(text.size() + 1).code(), Errc::corrupt);
    ASSERT_TRUE((*reader)->read_until(text.size()));
    EXPECT_TRUE((*reader)->is_whole());
    EXPECT_EQ((*reader)->text(), text);
    EXPECT_EQ((*reader)->memory_bytes(), text.size());
  }
  auto empty = FrameReader::make(*zstd_compress("", 5), 0);
  ASSERT_TRUE(empty);
  EXPECT_TRUE((*empty)->read_until(0));
  EXPECT_TRUE((*empty)->is_whole());
}

TEST(FrameReader, RefusesWhatIsNotOneFrameOfTheSize) {
  const Buffer text = text_of(300'000, 2);
  const Buffer frame = *zstd_compress(text, 3);
  auto read = [](const Buffer& bytes, std::uint64_t size) {
    auto reader = FrameReader::make(bytes, size);
    if (!reader) return reader.code();
    const Errc code = (*reader)->read_until(size).code();
    if (code != Errc::ok) {
      EXPECT_EQ((*reader)->read_until(size).code(), Errc::corrupt);
    }
    return code;
  };
  EXPECT_EQ(read(frame, text.size()), Errc::ok);
  EXPECT_EQ(read(frame + "x", text.size()), Errc::corrupt);
  EXPECT_EQ(read(frame, text.size() + 1), Errc::corrupt);
  EXPECT_EQ(read(frame, text.size() - 1), Errc::corrupt);
  EXPECT_EQ(read(frame, std::uint64_t{1} << 40), Errc::corrupt);
  EXPECT_EQ(read({}, 0), Errc::corrupt);
  for (std::size_t n = 0; n < frame.size(); n += 1 + n / 20) {
    EXPECT_EQ(read(frame.substr(0, n), text.size()), Errc::corrupt) << n;
  }
  // Damage is found, or gives other text of the same size: frames have checksums around them.
  for (std::size_t n = 0; n < frame.size(); n += 1 + n / 20) {
    Buffer damaged = frame;
    damaged[n] = static_cast<char>(damaged[n] ^ 0x41);
    const Errc code = read(damaged, text.size());
    EXPECT_TRUE(code == Errc::ok || code == Errc::corrupt) << n;
  }
}

TEST(Clock, Days) {
  EXPECT_EQ(day_name(day_of_ms(0)), "1970-01-01");
  EXPECT_EQ(day_name(day_of_ms(-1)), "1969-12-31");
  EXPECT_EQ(day_name(day_of_ms(1'709'164'800'000)), "2024-02-29");
}

TEST(Error, ContextKeepsTheCode) {
  Error e = Error(Errc::corrupt, "bad checksum").with("open pack 3");
  EXPECT_EQ(e.code(), Errc::corrupt);
  EXPECT_EQ(e.message(), "open pack 3: bad checksum");
  EXPECT_EQ(exit_code(Errc::not_found), 3);
  EXPECT_EQ(exit_code(Errc::invalid), 2);
  EXPECT_EQ(exit_code(Errc::cancelled), 12);
}

TEST(FairMutex, GoesToThoseWhoWaitInTheirOrder) {
  FairMutex mutex;
  std::vector<int> order;
  std::vector<std::jthread> threads;
  mutex.lock();
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      std::lock_guard lock(mutex);
      order.push_back(i);
    });
    while (mutex.waiting() != static_cast<std::uint64_t>(i) + 1) std::this_thread::yield();
  }
  mutex.unlock();
  // Who has just given it up comes last.
  mutex.lock();
  order.push_back(4);
  mutex.unlock();
  threads.clear();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_EQ(mutex.waiting(), 0u);
}

TEST(SharedMutex, WhoWaitsToHaveItAloneIsNotPassedBy) {
  SharedMutex mutex;
  std::shared_lock first(mutex);
  std::atomic<bool> had_it = false;
  std::thread writer([&] {
    std::unique_lock alone(mutex);
    had_it = true;
  });
  // Others may share it until the writer waits, and no longer.
  bool is_held_back = false;
  std::thread([&] {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!is_held_back && std::chrono::steady_clock::now() < give_up) {
      is_held_back = !mutex.try_lock_shared();
      if (!is_held_back) mutex.unlock_shared();
    }
  }).join();
  EXPECT_TRUE(is_held_back);
  EXPECT_FALSE(had_it);
  first.unlock();
  writer.join();
  EXPECT_TRUE(had_it);
  std::shared_lock again(mutex);
  EXPECT_TRUE(again.owns_lock());
}

}  // namespace
}  // namespace tokvault
