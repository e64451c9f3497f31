// The bytes of the packed log, the journal and the index file. Format: docs/format/checkpoint.md.
// No I/O here.
#ifndef TOKVAULT_CHECKPOINT_RECORD_H_
#define TOKVAULT_CHECKPOINT_RECORD_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "checkpoint/block_index.h"
#include "tokvault/checkpoint.h"

namespace tokvault::checkpoint {

// --- identities ---
// The namespace's fields, each with a tag and a length.
Buffer encode_namespace(const Namespace& n);
Result<Namespace> decode_namespace(ByteView bytes);
// The parent of the first blocks of a namespace: the first 16 bytes of the SHA-256 of the encoding.
Hash128 namespace_hash(ByteView encoded);
// The chain hash of a block (full or tail) behind `parent`.
Hash128 block_hash(Hash128 parent, TokenView tokens);
Hash128 sidecar_hash(Hash128 boundary, std::string_view name);
Hash128 text_hash(ByteView text);

// Hashes of all prefixes of tokens (or text) of given lengths, in one pass.
class PrefixHasher {
 public:
  // `tag` separates states by tokens (1) from states by text (2).
  PrefixHasher(Hash128 name_space, std::uint8_t tag);
  ~PrefixHasher();
  PrefixHasher(const PrefixHasher&) = delete;
  PrefixHasher& operator=(const PrefixHasher&) = delete;
  void update(ByteView bytes);
  Hash128 digest() const;

 private:
  void* state_;
};
ByteView token_bytes(TokenView tokens);

// --- a record of the log ---
inline constexpr std::uint32_t kRecordMagic = 0xf17a9cd3;
inline constexpr std::uint64_t kRecordHeaderBytes = 128;
inline constexpr std::uint64_t kChunkBytes = 256 << 10;  // each chunk of a payload has a checksum
// From this payload size on a record starts at a page and its payload does too.
inline constexpr std::uint64_t kPagedPayloadBytes = 256 << 10;
inline constexpr std::uint64_t kPayloadBytesMax = std::uint64_t{3} << 30;  // not of a state
inline constexpr std::uint64_t kStateBytesMax = std::uint64_t{1} << 37;
inline constexpr std::uint32_t kStateTokensMax = 1u << 28;
inline constexpr std::uint32_t kBlockTokensMax = 4096;

struct RecordHeader {
  Kind kind = Kind::block;
  bool paged = false;
  Hash128 key;
  Hash128 parent;
  Hash128 name_space;
  std::uint32_t tokens = 0;    // ids that stand in the record
  std::uint32_t position = 0;  // tokens before them
  std::uint64_t payload_bytes = 0;
  std::uint32_t text_bytes = 0;
  std::uint32_t meta_bytes = 0;
  std::uint64_t tail_checksum = 0;  // of text and meta
  std::uint64_t created_ms = 0;
  std::uint64_t expires_ms = 0;  // 0: never
  CheckpointCodec codec = CheckpointCodec::none;
  std::uint64_t coded_bytes = 0;  // of the coded payload; 0 if codec is none

  std::uint64_t stored_bytes() const {
    return codec == CheckpointCodec::none ? payload_bytes : coded_bytes;
  }

  std::uint64_t unit() const { return paged ? 4096 : 64; }
  std::uint64_t chunks() const { return (payload_bytes + kChunkBytes - 1) / kChunkBytes; }
  // Header, ids and checksums, with padding: where the payload starts.
  std::uint64_t prefix_bytes() const;
  std::uint64_t record_bytes() const;
};

// Of a chunk of a payload, decoded, that begins at `offset` of it.
std::uint64_t chunk_checksum(ByteView chunk, std::uint64_t offset);
// The prefix of a record: header, ids, the checksum of every chunk of the payload, and what size
// each is stored with (`sizes`, if the payload is coded).
Buffer encode_prefix(const RecordHeader& header, TokenView tokens,
                     std::span<const std::uint64_t> sums,
                     std::span<const std::uint32_t> sizes = {});
// The fields of the first kRecordHeaderBytes bytes, unverified: for finding out the size.
std::optional<RecordHeader> peek_header(ByteView bytes);

struct RecordPrefix {
  RecordHeader header;
  std::vector<Token> tokens;
  std::vector<std::uint64_t> sums;
  std::vector<std::uint64_t> starts;  // of a coded payload's chunks, and its end

  // Size of a chunk decoded, and where it is stored in the payload.
  std::uint64_t chunk_bytes(std::uint64_t chunk) const;
  std::uint64_t stored_at(std::uint64_t chunk) const;
};
// Verifies the checksum over the whole prefix. `corrupt` otherwise.
Result<RecordPrefix> decode_prefix(ByteView bytes);
bool chunk_matches(const RecordPrefix& prefix, std::uint64_t chunk, ByteView bytes);
// Whether the key is what the record's own content gives: what a scan of the log goes by. `tail` is
// its text and meta.
bool key_matches(const RecordPrefix& prefix, ByteView tail);

// --- the journal ---
// Part of the on-disk format, never renumber.
enum class Event : std::uint8_t {
  name_space = 1,  // a namespace got its number
  add = 2,         // a record was published, or moved
  remove = 3,      // a record is gone; why
  rotate = 4,      // the journal ends; the next generation has everything
};

// Why something is gone. Part of the on-disk format, never renumber.
enum class Gone : std::uint8_t {
  none = 0,
  evicted = 1,
  removed = 2,
  expired = 3,
  quarantined = 4,
  replaced = 5,
  no_room = 6,
};

// What few records have.
struct Extra {
  std::uint64_t expires_ms = 0;
  std::uint64_t state_tokens = 0;
  std::uint32_t text_bytes = 0;
  Hash128 text;  // of a block's own text; of a state the PrefixHasher digest
  bool empty() const { return expires_ms == 0 && state_tokens == 0 && text_bytes == 0; }
};

struct JournalEvent {
  Event event = Event::rotate;
  // name_space
  std::uint16_t number = 0;
  Buffer encoded;
  // add
  Hash128 key;
  Hash128 parent;
  bool has_parent = false;
  BlockRecord record = {};  // segment, offset_units, units, depth, name_space, kind, tokens
  Extra extra;
  // remove
  Gone reason = Gone::none;
  // rotate
  std::uint64_t generation = 0;
};

void append_event(Buffer& out, const JournalEvent& event);
// Takes one event off the front; nothing if the bytes end inside it or fail their checksum.
std::optional<JournalEvent> take_event(ByteView& bytes);

}  // namespace tokvault::checkpoint

#endif  // TOKVAULT_CHECKPOINT_RECORD_H_
