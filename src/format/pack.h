// The framing of a pack file: header, parts, footer, trailer.
//
// A pack is immutable and stands alone: everything in it is numbered within it, what it needs of
// other packs it names by content, and the artifact that it may copy from by number. Each stream of
// segments is a dictionary (segments that lie whole in one frame, from which blocks may copy) and
// blocks. Format: docs/format/pack.md
//
// Where a segment lies is said in one of two ways. An *ended* stream ends each segment with a byte
// that no code has: lengths then cost next to nothing, because what is alike ends alike (tau_bench:
// 220 bytes instead of 7,481 of 195,447), and segments are found when their text is decoded. If it
// is all dictionary, as in the packs of a vault of moderate size, it has no fingerprints either: 3
// bytes a segment that decoding everything once gives as well. Any other stream has a table of
// segments, so that a dictionary may hold any of them.
#ifndef TOKVAULT_FORMAT_PACK_H_
#define TOKVAULT_FORMAT_PACK_H_

#include <array>
#include <cstdint>
#include <vector>

#include "format/record.h"
#include "format/tables.h"
#include "tokvault/result.h"
#include "tokvault/types.h"
#include "tokvault/version.h"

namespace tokvault {

inline constexpr std::uint32_t kPackMagic = 0xd1a7f3e5u;
inline constexpr std::size_t kPackHeaderBytes = 64;
inline constexpr std::size_t kPackTrailerBytes = 32;
// The most text of a dictionary beside blocks; a whole text: kFingerprintlessTextBytes.
inline constexpr std::uint64_t kDictionaryTextBytes = 4u << 20;
// The most that a dictionary may decode to, with ends: one under the token model has a segment of
// any size, up to the most text that a model takes.
inline constexpr std::uint64_t kPackDictionaryBytesMax = (std::uint64_t{1} << 28) + (1u << 22);
// A block takes segments until it holds this much text: about 10 k tokens.
inline constexpr std::uint64_t kBlockTextBytes = 16u << 10;
// The same where many blocks have bases.
inline constexpr std::uint64_t kBaseBlockTextBytes = 6u << 10;
// No segment has more tokens, or bytes. Its code is then no longer than the second: a token takes
// four bytes at most where it is listed. And a block is no longer than the third, since it ends
// with the segment that fills it, and has an end for each.
inline constexpr std::uint64_t kSegmentSizeMax = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kSegmentCodeBytesMax = 4 * kSegmentSizeMax;
inline constexpr std::uint64_t kBlockTextBytesMax = kSegmentCodeBytesMax + (24u << 10);
// Records of a pack.
inline constexpr std::uint64_t kPackRecordsMax = std::uint64_t{1} << 24;
// When a log has so many it is ended, and one commit brings no more: together they fit a pack.
inline constexpr std::uint64_t kLogRecordsMax = kPackRecordsMax / 4;
// A segment whose code is at least this long has a fingerprint. Only segments of at least as many
// tokens (or bytes) are referred to from other files: whatever the code, they have one.
inline constexpr std::uint64_t kSharedCodeBytes = 96;
inline constexpr std::size_t kFingerprintBytes = 3;
// A block names at most so many segments to copy from in place of the dictionary.
inline constexpr std::size_t kBasesMax = 8;
inline constexpr std::uint64_t kBaseTextBytesMax = 128u << 10;  // of one block
// An ended stream with no more text than this has no fingerprints on disk, nor has one without
// blocks: a model may have learned a large segment whole. It is a quarter more
// than a dictionary holds that is a sample: what was grouped to fit may come out longer.
inline constexpr std::uint64_t kFingerprintlessTextBytes =
    kDictionaryTextBytes + kDictionaryTextBytes / 4;

// What a reader must know to read a pack. Part of the on-disk format, never renumber.
inline constexpr std::uint16_t kPackHasIdFilter = 1;          // it has PackFooter::id_filter
inline constexpr std::uint16_t kPackHasRecentReferences = 2;  // References::recent
inline constexpr std::uint16_t kPackFeatures = kPackHasIdFilter | kPackHasRecentReferences;

struct PackHeader {
  std::uint16_t version = kPackVersion;
  std::uint16_t features = 0;
  std::uint64_t number = 0;
  std::uint32_t tenant = 0;
  std::uint8_t cipher = 0;  // 0: none
  std::uint32_t key_id = 0;
  Buffer vault_id;  // 16 bytes
};
Buffer encode_pack_header(const PackHeader& header);
Result<PackHeader> decode_pack_header(ByteView bytes);

// Where a part of the file lies. The checksum is of the bytes there.
struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint64_t raw_size = 0;  // decoded, where the part is one frame
  std::uint32_t checksum = 0;
};

// How the text of a stream is encoded. Part of the on-disk format, never renumber.
enum class PackCodec : std::uint8_t {
  zstd = 0,  // dictionary: a frame; blocks: frames with the dictionary's text as their prefix
  token_model = 1,  // dictionary and blocks as token_model.h codes them; ended
  token_lz = 2,     // one dictionary and no blocks, as token_lz.h codes it; ended
  zstd_bases = 3,   // as zstd, but blocks may name bases; not ended
};

std::string codec_name(PackCodec codec);

// The byte that ends a segment, where a stream has no table of them.
inline constexpr char kSegmentEnd = '\xff';

struct PackStream {
  Extent dictionary;  // size 0: none
  Extent blocks;      // all blocks, one after another, each with its checksum in front (4 bytes)
  Extent table;       // PackSegments, or PackBlocks of an ended stream; size 0: all dictionary
  std::uint64_t block_count = 0;
  std::uint64_t text_bytes = 0;  // of all segments, decoded, without ends
  PackCodec codec = PackCodec::zstd;
  // Each segment has kSegmentEnd after it, and no other byte is that. The dictionary holds the
  // first segments, blocks the others in order.
  bool ended = false;
  // Numbers of what decoding needs besides the pack: none, or the one artifact that a stream of
  // tokens which is ended and all dictionary copies from (not under the token model).
  std::vector<std::uint64_t> artifacts;
  // Whether fingerprints of its segments are on disk; they follow from its text where not.
  bool has_fingerprints() const {
    return !ended || (block_count > 0 && text_bytes > kFingerprintlessTextBytes);
  }
};

// What a pack's conversations of one model, application and day (since 1970, UTC) come to, so that
// a sum over a vault reads a few hundred bytes of each pack. A pack has these, or none at all where
// they would be more than kUsageEntriesMax; numbers are those of its tables.
struct UsageEntry {
  std::uint32_t model = 0;
  std::uint32_t application = 0;
  std::int64_t day = 0;
  std::uint64_t conversations = 0;
  std::uint64_t messages = 0;
  std::uint64_t tokens = 0;
  bool operator==(const UsageEntry&) const = default;
};
inline constexpr std::size_t kUsageEntriesMax = 512;
std::vector<UsageEntry> usage_of(const Tables& tables);
Result<Buffer> encode_usage(const std::vector<UsageEntry>& entries, int level);
Result<std::vector<UsageEntry>> decode_usage(ByteView bytes, std::uint64_t count);

// What a pack was made by. Part of the on-disk format, never renumber.
enum class PackMaker : std::uint8_t {
  sealing = 0,     // one log's part of a tenant; also whatever made a pack of version 1
  compaction = 1,  // gc() and compact(), with all effort that the level knows
  merging = 2,     // in the background, with the effort of sealing
};

struct PackFooter {
  VaultRecord vault;
  TenantRecord tenant;
  // The rewrite that made this pack: packs of one set supersede files only together.
  Buffer set_id;                              // 16 random bytes
  std::vector<std::uint64_t> set_members;     // numbers of its packs, this one included
  std::vector<std::uint64_t> set_supersedes;  // numbers of the files that they replace
  TableCounts counts;
  std::uint64_t tokens_stored = 0;  // of all token segments
  std::uint64_t sequence_first = 0;
  std::uint64_t sequence_last = 0;
  std::int64_t time_first_ms = 0;
  std::int64_t time_last_ms = 0;
  std::uint64_t segment_text_bytes = 0;  // of stored texts, as bytes of text
  std::uint64_t node_text_bytes = 0;     // of the texts of all nodes
  Extent token_map;
  std::array<PackStream, kStreams> streams;
  std::array<Extent, kTableParts> tables;
  Extent usage;
  std::uint64_t usage_count = 0;
  Extent records;
  std::uint64_t record_count = 0;
  Level level = Level::balanced;  // version 1 does not say it
  PackMaker made_by = PackMaker::sealing;
  Extent id_filter{};  // id_filter.h; size 0: none
};
// The footer and the trailer that ends the file; `offset` is where they begin.
Result<Buffer> encode_pack_footer(const PackFooter& footer, std::uint64_t offset);
// Where the footer lies, from the last kPackTrailerBytes of the file.
Result<Extent> decode_pack_trailer(ByteView trailer, std::uint64_t file_size);
// `bytes`: what lies at that extent; `header`: its version and features count. Every extent in the
// result is within the file, and an ended stream is all dictionary.
Result<PackFooter> decode_pack_footer(ByteView bytes, const Extent& extent,
                                      const PackHeader& header);

// Where the segments of a stream that are not ended lie.
struct PackSegments {
  std::vector<std::uint32_t> code_sizes;  // of each segment, in bytes
  std::vector<bool> in_dictionary;        // whether it lies there or in a block
  std::vector<std::uint32_t>
      fingerprints;  // of the segments of at least kSharedCodeBytes, in order
  std::vector<std::uint32_t> block_segments;  // how many segments each block holds
  std::vector<std::uint32_t> block_sizes;     // bytes of each block's frame, without its checksum
  // Under zstd_bases, else empty: how many segments each block copies from in place of the
  // dictionary, and which, of each block ascending.
  std::vector<std::uint32_t> block_bases;
  std::vector<std::uint32_t> bases;
};
// Has the columns of bases if `block_bases` is not empty.
Result<Buffer> encode_pack_segments(const PackSegments& segments, int level);
// Sums are checked against `stream`.
Result<PackSegments> decode_pack_segments(ByteView bytes, std::uint64_t segment_count,
                                          const PackStream& stream);

// The blocks of an ended stream.
struct PackBlocks {
  std::vector<std::uint32_t> segments;      // how many each holds
  std::vector<std::uint32_t> texts;         // bytes of each, decoded, with ends
  std::vector<std::uint32_t> sizes;         // bytes of each, without its checksum
  std::vector<bool> has_fingerprint;        // of each segment of the stream
  std::vector<std::uint32_t> fingerprints;  // of those, in order
};
Result<Buffer> encode_pack_blocks(const PackBlocks& blocks, int level);
// Sums are checked against `stream`.
Result<PackBlocks> decode_pack_blocks(ByteView bytes, std::uint64_t segment_count,
                                      const PackStream& stream);

// `exhausted` if there are more than kPackRecordsMax.
Result<Buffer> encode_records(const std::vector<Record>& records, int level);
Result<std::vector<Record>> decode_records(ByteView bytes, std::uint64_t count);

// The leading bits of a segment's digest.
std::uint32_t fingerprint(const ShortDigest& digest);

}  // namespace tokvault

#endif  // TOKVAULT_FORMAT_PACK_H_
