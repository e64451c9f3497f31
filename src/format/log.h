// The framing of a log file: its header and the headers of its batches.
//
// A log is a header and batches. A batch belongs to one tenant and one section; a section is a run
// of batches of one tenant that are compressed as one context of about 16 MB of text. Each checksum
// is seeded with the place of the batch, so that a batch cannot be moved. Format:
// docs/format/log.md
//
// The header of a batch can be believed by itself, and so can the list of ids that its records
// change. When the rest of it is damaged, it is known whose commits are lost, how many
// conversations, and which ones they deleted.
#ifndef TOKVAULT_FORMAT_LOG_H_
#define TOKVAULT_FORMAT_LOG_H_

#include <cstdint>
#include <optional>

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
  kNewFrame = 2,    // a compressed stream begins here, with the section's bodies so far as prefix
  kSameSync = 4,    // written under one sync with the batch before it, which may be torn without it
  kGuarded = 8,   // the header has a checksum of its own, and says how many conversations there are
  kChanges = 16,  // the payload begins with BatchChanges
  kDictionary = 32,  // the number of the frame's dictionary stands in front of it
  kTextApart = 64,   // the codes of segments are not in the body, but in a piece of a frame of text
};
// Frames of so many tenants go on: of those whose batches were the last, each in its last section.
inline constexpr std::size_t kFrameTenantsMax = 4;
// A batch with less text has it in its body: two pieces cost some bytes more than one.
inline constexpr std::uint64_t kTextApartBytes = 512;
// As many conversations or more.
inline constexpr std::uint16_t kManyConversations = 0xffff;

struct BatchHeader {
  std::uint8_t flags = 0;
  std::uint8_t cipher = 0;          // 0: none
  std::uint16_t conversations = 0;  // with kGuarded
  std::uint32_t key_id = 0;
  std::uint32_t tenant = 0;
  std::uint32_t section = 0;
  std::uint64_t sequence = 0;  // of the first record in it
  std::uint32_t payload_size = 0;
  std::uint32_t body_size = 0;
  std::uint64_t checksum = 0;  // filled in by encode
  // Filled in by read: of the artifact whose dictionary the frames that begin here use, 0: of
  // none.
  std::uint64_t dictionary = 0;
  std::uint32_t text_size = 0;  // filled in by read: what the piece of text decodes to
};

// The pieces of frames in a payload.
struct BatchPieces {
  ByteView body;
  ByteView text;  // with kTextApart
};

// Header and payload of the batch that will lie at `offset` of log `number`. The payload is what
// encode_changes() gives, with kChanges, the number of a dictionary's artifact (varint), with
// kDictionary, and what encode_pieces() gives, with kTextApart, or else a piece of a frame.
Buffer encode_batch(BatchHeader header, ByteView payload, std::uint64_t number,
                    std::uint64_t offset);
Buffer encode_pieces(const BatchPieces& pieces, std::uint32_t text_size);
Buffer encode_changes(const BatchChanges& changes, std::uint64_t number, std::uint64_t offset);

enum class BatchState {
  whole,  // `header` and `pieces` are good
  end,    // nothing begins here: the file ends
  torn,   // something begins here that is not a whole batch
};
// Looks at the batch at `offset` of `bytes`, which begin at `base` of the file. `unsupported` if it
// is whole but needs a cipher or flag that this version does not have, `corrupt` if it is whole but
// breaks a rule. `pieces`: those in its payload, which has header.payload_size bytes.
Result<BatchState> read_batch(ByteView bytes, std::uint64_t number, std::uint64_t base,
                              std::uint64_t offset, BatchHeader& header, BatchPieces& pieces);

// What can be believed of a batch of which not everything can be read.
struct BatchRemains {
  BatchHeader header;
  std::optional<BatchChanges> changes;  // absent: nobody knows
};
// Nothing if not even the header of what begins at `offset` of `file` can be.
std::optional<BatchRemains> read_remains(ByteView file, std::uint64_t number, std::uint64_t offset);
// How many bytes all searches in a file together may take checksums of: without a bound, headers
// that each claim the rest of the file would cost its size squared.
inline std::uint64_t search_budget(ByteView file) { return 16 * std::uint64_t{file.size()} + 4096; }
// Where the next batch after `offset` begins of which anything can be believed; the end of the file
// if there is none.
std::uint64_t find_remains(ByteView file, std::uint64_t number, std::uint64_t offset,
                           std::uint64_t& budget);
// True if a whole batch begins anywhere after `offset` that was written when what is there had been
// synced: then it is damage and not the end of an interrupted write.
bool has_batch_after(ByteView file, std::uint64_t number, std::uint64_t offset,
                     std::uint64_t& budget);

}  // namespace tokvault

#endif  // TOKVAULT_FORMAT_LOG_H_
