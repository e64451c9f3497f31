#include <gtest/gtest.h>

#include <limits>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/clock.h"

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

}  // namespace
}  // namespace tokvault
