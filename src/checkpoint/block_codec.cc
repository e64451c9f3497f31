#include "checkpoint/block_codec.h"

#include <algorithm>
#include <cstring>

#include "base/zstd.h"
#include "checkpoint/record.h"

namespace tokvault::checkpoint {
namespace {

constexpr int kZstdLevel = 1;
constexpr std::size_t kPayloadMin = 4096;  // below, a coded block saves no page

// The upper bytes of numbers rotated left by one bit, then the lower ones; an odd byte at the end
// stays where it is.
void split_planes(ByteView in, char* upper, char* lower) {
  const std::size_t count = in.size() / 2;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint16_t x = 0;
    std::memcpy(&x, in.data() + 2 * i, 2);
    x = static_cast<std::uint16_t>(x << 1 | x >> 15);
    upper[i] = static_cast<char>(x >> 8);
    lower[i] = static_cast<char>(x);
  }
  if (in.size() % 2 != 0) lower[count] = in.back();
}

void join_planes(const char* upper, const char* lower, std::span<char> out) {
  const std::size_t count = out.size() / 2;
  for (std::size_t i = 0; i < count; ++i) {
    auto x = static_cast<std::uint16_t>(static_cast<std::uint8_t>(upper[i]) << 8 |
                                        static_cast<std::uint8_t>(lower[i]));
    x = static_cast<std::uint16_t>(x >> 1 | x << 15);
    std::memcpy(out.data() + 2 * i, &x, 2);
  }
  if (out.size() % 2 != 0) out.back() = lower[count];
}

// Appends a chunk; returns its stored size, which is that of the chunk if it stays raw.
std::uint32_t encode_chunk(CheckpointCodec codec, ByteView chunk, Buffer& out) {
  Result<Buffer> frame = Buffer();
  Buffer planes;
  ByteView raw;
  if (codec == CheckpointCodec::zstd) {
    frame = zstd_compress(chunk, kZstdLevel);
  } else if (codec == CheckpointCodec::plane8) {
    frame = zstd_entropy(chunk);
  } else {
    planes.resize(chunk.size());
    const std::size_t count = chunk.size() / 2;
    split_planes(chunk, planes.data(), planes.data() + count);
    frame = zstd_entropy(ByteView(planes).substr(0, count));
    raw = ByteView(planes).substr(count);
  }
  const std::size_t size = frame ? frame->size() + raw.size() : chunk.size();
  if (size >= chunk.size()) {
    out += chunk;
    return static_cast<std::uint32_t>(chunk.size());
  }
  out += *frame;
  out += raw;
  return static_cast<std::uint32_t>(size);
}

}  // namespace

CheckpointCodec codec_of_dtype(std::string_view dtype) {
  std::string name;
  for (const char c : dtype) {
    name.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  const auto has = [&name](std::string_view part) { return name.find(part) != std::string::npos; };
  if (has("bf16") || has("bfloat16") || has("fp16") || has("float16") || name == "f16" ||
      name == "half") {
    return CheckpointCodec::planes16;
  }
  if (has("fp8") || has("float8") || has("e4m3") || has("e5m2") || has("int8")) {
    return CheckpointCodec::plane8;
  }
  return CheckpointCodec::none;
}

CodedPayload encode_payload(CheckpointCodec codec, ByteView payload) {
  CodedPayload coded;
  if (codec == CheckpointCodec::none || payload.size() < kPayloadMin) return coded;
  coded.bytes.reserve(payload.size());
  for (std::size_t at = 0; at < payload.size(); at += kChunkBytes) {
    const ByteView chunk = payload.substr(at, kChunkBytes);
    coded.sizes.push_back(encode_chunk(codec, chunk, coded.bytes));
    // A first megabyte that does not shrink tells enough.
    const bool judged = coded.sizes.size() == 4;
    if (judged && coded.bytes.size() > (at + chunk.size()) / 16 * 15) break;
  }
  if (coded.bytes.size() > payload.size() / 16 * 15 ||
      coded.sizes.size() != (payload.size() + kChunkBytes - 1) / kChunkBytes) {
    return {};
  }
  coded.codec = codec;
  return coded;
}

PreparedPayload prepare_payload(CheckpointCodec codec, ByteView payload) {
  PreparedPayload out;
  for (std::uint64_t at = 0; at < payload.size(); at += kChunkBytes) {
    out.sums.push_back(chunk_checksum(payload.substr(at, kChunkBytes), at));
  }
  out.coded = encode_payload(codec, payload);
  return out;
}

Status decode_chunk(CheckpointCodec codec, ByteView stored, std::span<char> out) {
  if (stored.size() == out.size()) {
    std::memcpy(out.data(), stored.data(), out.size());
    return {};
  }
  thread_local Buffer plane;
  if (codec != CheckpointCodec::planes16) {
    TOKVAULT_TRY(zstd_decompress(stored, out.size(), plane));
    std::memcpy(out.data(), plane.data(), out.size());
    return {};
  }
  const std::size_t count = out.size() / 2;
  if (stored.size() < out.size() - count) return Error(Errc::corrupt, "a chunk is too short");
  const std::size_t frame = stored.size() - (out.size() - count);
  TOKVAULT_TRY(zstd_decompress(stored.substr(0, frame), count, plane));
  join_planes(plane.data(), stored.data() + frame, out);
  return {};
}

}  // namespace tokvault::checkpoint
