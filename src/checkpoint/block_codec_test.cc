#include "checkpoint/block_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "checkpoint/record.h"
#include "checkpoint/test_states.h"

namespace tokvault::checkpoint {
namespace {

using checkpoint_test::numbers_of;

constexpr CheckpointCodec kCodecs[] = {CheckpointCodec::zstd, CheckpointCodec::plane8,
                                       CheckpointCodec::planes16};

Buffer decode(const CodedPayload& coded, std::size_t size) {
  Buffer out(size, 'x');
  std::size_t at = 0;
  for (std::size_t c = 0; c < coded.sizes.size(); ++c) {
    const std::span<char> chunk =
        std::span<char>(out.data(), size)
            .subspan(c * kChunkBytes, std::min<std::size_t>(kChunkBytes, size - c * kChunkBytes));
    EXPECT_TRUE(decode_chunk(coded.codec, ByteView(coded.bytes).substr(at, coded.sizes[c]), chunk));
    at += coded.sizes[c];
  }
  EXPECT_EQ(at, coded.bytes.size());
  return out;
}

TEST(BlockCodec, NumbersShrinkAndComeBack) {
  for (const std::size_t size : {4096u, 4097u, 262144u, 262147u, 1000001u}) {
    const Buffer payload = numbers_of(1, size);
    for (const CheckpointCodec codec : kCodecs) {
      const CodedPayload coded = encode_payload(codec, payload);
      ASSERT_EQ(coded.codec, codec) << size;
      EXPECT_LT(coded.bytes.size(), size / 100 * 92);
      EXPECT_TRUE(decode(coded, size) == payload) << size;
    }
  }
  // Exponents apart from mantissas are what saves most on such numbers.
  const Buffer payload = numbers_of(1, 1 << 20);
  EXPECT_LT(encode_payload(CheckpointCodec::planes16, payload).bytes.size(),
            encode_payload(CheckpointCodec::zstd, payload).bytes.size() / 100 * 95);
}

TEST(BlockCodec, WhatDoesNotShrinkStaysAsItIs) {
  std::mt19937 random(5);
  Buffer noise(1 << 20, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  for (const CheckpointCodec codec : kCodecs) {
    EXPECT_EQ(encode_payload(codec, noise).codec, CheckpointCodec::none);
    EXPECT_EQ(encode_payload(codec, "short").codec, CheckpointCodec::none);
    // One chunk of noise among others is stored raw and comes back.
    const Buffer mixed = numbers_of(1, 2 * kChunkBytes) + noise.substr(0, kChunkBytes) +
                         Buffer(2 * kChunkBytes, 'z');
    const CodedPayload coded = encode_payload(codec, mixed);
    ASSERT_EQ(coded.codec, codec);
    EXPECT_EQ(coded.sizes[2], kChunkBytes);
    EXPECT_TRUE(decode(coded, mixed.size()) == mixed);
  }
}

// Any damage gives an error or other bytes (which the checksum of the decoded chunk tells), within
// the bounds of the chunk.
TEST(BlockCodec, DamageIsBounded) {
  const Buffer payload = numbers_of(2, 5000);
  for (const CheckpointCodec codec : kCodecs) {
    const CodedPayload coded = encode_payload(codec, payload);
    Buffer out(payload.size() + 8, 'e');
    const std::span<char> room(out.data(), payload.size());
    for (std::size_t size = 0; size < coded.bytes.size(); ++size) {
      EXPECT_FALSE(decode_chunk(codec, ByteView(coded.bytes).substr(0, size), room)) << size;
    }
    for (std::size_t at = 0; at < coded.bytes.size(); ++at) {
      Buffer bad = coded.bytes;
      bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
      static_cast<void>(decode_chunk(codec, bad, room).has_value());
      ASSERT_EQ(out.substr(payload.size()), "eeeeeeee");
    }
  }
}

TEST(BlockCodec, DtypesChoose) {
  EXPECT_EQ(codec_of_dtype("bf16"), CheckpointCodec::planes16);
  EXPECT_EQ(codec_of_dtype("torch.float16"), CheckpointCodec::planes16);
  EXPECT_EQ(codec_of_dtype("FP8_E4M3"), CheckpointCodec::plane8);
  EXPECT_EQ(codec_of_dtype("int8"), CheckpointCodec::plane8);
  EXPECT_EQ(codec_of_dtype("float32"), CheckpointCodec::none);
  EXPECT_EQ(codec_of_dtype(""), CheckpointCodec::none);
}

}  // namespace
}  // namespace tokvault::checkpoint
