// Coded chunks of the checkpoint store: decoding garbage never crashes nor writes behind its room,
// and what was encoded decodes to itself.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "checkpoint/block_codec.h"
#include "checkpoint/record.h"

using namespace tokvault;
using namespace tokvault::checkpoint;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const auto codec = static_cast<CheckpointCodec>(1 + data[0] % 3);
  const std::size_t room = data[1] | data[2] << 8;
  const ByteView rest(reinterpret_cast<const char*>(data + 3), size - 3);
  Buffer out(room, '\0');
  static_cast<void>(decode_chunk(codec, rest, {out.data(), room}).has_value());
  // Repeated, so that it is long enough to be coded.
  Buffer payload;
  while (!rest.empty() && payload.size() < 8192) payload += rest;
  const CodedPayload coded = encode_payload(codec, payload);
  if (coded.codec == CheckpointCodec::none) return 0;
  out.resize(std::min<std::size_t>(payload.size(), kChunkBytes));
  const auto decoded = decode_chunk(codec, ByteView(coded.bytes).substr(0, coded.sizes[0]), out);
  if (!decoded || payload.substr(0, out.size()) != out) std::abort();
  return 0;
}
