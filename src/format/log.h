// The framing of a log file: its header and the headers of its batches.
//
// A log is a header and batches. A batch belongs to one tenant and one section; a section is a run
// of batches of one tenant that are compressed as one context of about 16 MB of text. Each checksum
// is seeded with the place of the batch, so that a batch cannot be moved. Format:
// docs/format/log.md
#ifndef TOKVAULT_FORMAT_LOG_H_
#define TOKVAULT_FORMAT_LOG_H_

#include <cstdint>

#include "format/record.h"
#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

inline constexpr std::uint32_t kLogMagic = 0xf7a1c00bu;
inline constexpr std::uint32_t kBatchMagic = 0xb9e2d70fu;
inline constexpr std::size_t kBatchHeaderBytes = 48;
// No section takes another batch once it holds this much text: as far as a compressor looks back.
inline constexpr std::uint64_t kSectionTextBytes = 16u << 20;

struct LogHeader {
  std::uint16_t version = 1;
  std::uint64_t number = 0;
  VaultRecord vault;
};
// The header with its checksum.
Buffer encode_log_header(const LogHeader& header);
// `size`: bytes that the header takes.
Result<LogHeader> decode_log_header(ByteView file, std::uint64_t& size);

// Part of the on-disk format.
enum BatchFlags : std::uint8_t {
  kNewSection = 1,  // the first batch of its section
  kNewFrame = 2,    // a compressed stream begins here, with the section's text so far as prefix
  kSameSync = 4,    // written under one sync with the batch before it, which may be torn without it
};

struct BatchHeader {
  std::uint8_t flags = 0;
  std::uint8_t cipher = 0;  // 0: none
  std::uint32_t key_id = 0;
  std::uint32_t tenant = 0;
  std::uint32_t section = 0;
  std::uint64_t sequence = 0;  // of the first record in it
  std::uint32_t payload_size = 0;
  std::uint32_t body_size = 0;
  std::uint64_t checksum = 0;  // filled in by encode
};

// Header and payload of the batch that will lie at `offset` of log `number`.
Buffer encode_batch(BatchHeader header, ByteView payload, std::uint64_t number,
                    std::uint64_t offset);

enum class BatchState {
  whole,  // `header` and `payload` are good
  end,    // nothing begins here: the file ends
  torn,   // something begins here that is not a whole batch
};
// Looks at the batch at `offset` of `bytes`, which begin at `base` of the file. `unsupported` if it
// is whole but needs a cipher that this version does not have.
Result<BatchState> read_batch(ByteView bytes, std::uint64_t number, std::uint64_t base,
                              std::uint64_t offset, BatchHeader& header, ByteView& payload);
// True if a whole batch begins anywhere after `offset` that was written when what is there had been
// synced: then it is damage and not the end of an interrupted write.
bool has_batch_after(ByteView file, std::uint64_t number, std::uint64_t offset);

}  // namespace tokvault

#endif  // TOKVAULT_FORMAT_LOG_H_
