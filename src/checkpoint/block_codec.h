// How a payload is stored: chunk by chunk, so that a range can be decoded without the rest. Format:
// docs/format/checkpoint.md.
//
// States of a model are numbers, and what can be saved on them are mostly their exponents:
// mantissas are noise. So numbers of two bytes are rotated left by one bit (sign to the end), which
// makes the upper byte hold all of the exponent; the upper bytes are entropy coded, the lower ones
// stored as they are. Measured on generated states (docs/checkpoint.md), that takes 30 % off bf16
// at over 2 GB/s of decoding a core; matching strings saves nothing more. Nibbles of fp8 and
// differences to the token before were tried: both are worse than coding whole bytes.
#ifndef TOKVAULT_CHECKPOINT_BLOCK_CODEC_H_
#define TOKVAULT_CHECKPOINT_BLOCK_CODEC_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokvault/checkpoint.h"

namespace tokvault::checkpoint {

// The codec for states of a namespace's dtype, where by_dtype is asked for.
CheckpointCodec codec_of_dtype(std::string_view dtype);

struct CodedPayload {
  CheckpointCodec codec = CheckpointCodec::none;  // none if it did not pay
  Buffer bytes;                                   // all chunks, one behind the other
  std::vector<std::uint32_t> sizes;               // of each; that of the chunk itself: stored raw
};
// Payloads that do not shrink by a sixteenth are not coded.
CodedPayload encode_payload(CheckpointCodec codec, ByteView payload);
// What writing a payload takes beside the writing: its code and the checksums of its chunks.
struct PreparedPayload {
  CodedPayload coded;
  std::vector<std::uint64_t> sums;
};
PreparedPayload prepare_payload(CheckpointCodec codec, ByteView payload);
// Decodes one chunk to exactly out.size() bytes; `corrupt` if it does not give them.
Status decode_chunk(CheckpointCodec codec, ByteView stored, std::span<char> out);

}  // namespace tokvault::checkpoint

#endif  // TOKVAULT_CHECKPOINT_BLOCK_CODEC_H_
