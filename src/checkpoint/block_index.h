// The index of the checkpoint store: which blocks are there, in 62 bytes a block.
//
// A record is thirteen 32-bit words; records stand in chunks of 65,536 (growing never copies them),
// and an open-addressing table of record numbers, at most 0.85 full, finds them by their 128-bit
// chain hash. Both go to the index file as they are (index_file.h), so opening ten million blocks
// is reading, not rebuilding.
//
// Invariants:
//   [I1] a record's parent is present, and counts it as a child: the blocks form trees whose roots
//        have no parent, so a block that is found has every block before it;
//   [I2] only a record without children is erased.
#ifndef TOKVAULT_CHECKPOINT_BLOCK_INDEX_H_
#define TOKVAULT_CHECKPOINT_BLOCK_INDEX_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "tokvault/result.h"

namespace tokvault::checkpoint {

struct Hash128 {
  std::uint64_t lo = 0;
  std::uint64_t hi = 0;
  bool operator==(const Hash128&) const = default;
};

using RecordId = std::uint32_t;
inline constexpr RecordId kNoRecord = 0xffffffffu;

// Part of the on-disk format, never renumber.
enum class Kind : std::uint8_t {
  free = 0,
  block = 1,
  tail = 2,
  sidecar = 3,
  state = 4,
  name_space = 5,  // in the log only: the fields of a namespace, for rebuilding the index
};

inline constexpr std::uint8_t kHasTails = 1;      // some child is a partial last block
inline constexpr std::uint8_t kContinuation = 2;  // stored behind a block that had been used before
inline constexpr std::uint8_t kHasText = 4;       // extras has an entry for it

struct BlockRecord {
  std::uint32_t hash[4];
  RecordId parent;  // kNoRecord at a root; the next free record if kind is free
  std::uint32_t segment;
  std::uint32_t offset_units;   // where in the segment, in units of 64 bytes
  std::uint32_t units;          // size on disk in units of 64 bytes
  std::uint32_t last_use;       // the request clock
  std::uint32_t children_hits;  // children << 8 | hits (saturating)
  std::uint16_t depth;          // full blocks before it, saturating
  std::uint16_t name_space;
  Kind kind;
  std::uint8_t flags;
  std::uint16_t tokens;  // of this block; 0 for a state or sidecar
  std::uint32_t link;    // of the eviction policy: position among the leaves

  std::uint32_t children() const { return children_hits >> 8; }
  std::uint32_t hits() const { return children_hits & 0xff; }
  void set_hits(std::uint32_t n) { children_hits = (children_hits & ~0xffu) | (n > 255 ? 255 : n); }
  Hash128 key() const {
    return {hash[0] | std::uint64_t{hash[1]} << 32, hash[2] | std::uint64_t{hash[3]} << 32};
  }
  std::uint64_t offset() const { return std::uint64_t{offset_units} * 64; }
  std::uint64_t bytes() const { return std::uint64_t{units} * 64; }
};
static_assert(sizeof(BlockRecord) == 52, "13 words, as docs/format/checkpoint.md says");

class BlockIndex {
 public:
  static constexpr unsigned kChunkBits = 16;
  static constexpr std::uint32_t kRecordsMax = 0xfffffff0u;

  RecordId find(Hash128 key) const;
  BlockRecord& operator[](RecordId id) { return chunks_[id >> kChunkBits][id & kChunkMask]; }
  const BlockRecord& operator[](RecordId id) const {
    return chunks_[id >> kChunkBits][id & kChunkMask];
  }
  // Adds a record with this key, parent and kind, and counts it at its parent; the rest is zero.
  // REQUIRES: find(key) == kNoRecord, size() < kRecordsMax
  RecordId insert(Hash128 key, RecordId parent, Kind kind);
  // REQUIRES: no children. The parent loses a child.
  void erase(RecordId id);

  std::uint32_t size() const { return size_; }
  // Record numbers are below this.
  std::uint32_t limit() const { return limit_; }
  std::uint64_t memory_bytes() const;

  // For the index file: the words of the records and of the table.
  const BlockRecord* chunk(std::uint32_t i) const { return chunks_[i].get(); }
  const std::vector<RecordId>& slots() const { return slots_; }
  RecordId free_head() const { return free_; }
  // Makes room for records that load() fills: `limit` records and `slot_count` slots.
  void prepare(std::uint32_t limit, std::uint64_t slot_count, std::uint32_t size, RecordId free);
  BlockRecord* chunk(std::uint32_t i) { return chunks_[i].get(); }
  std::vector<RecordId>& slots() { return slots_; }

 private:
  static constexpr std::uint32_t kChunkMask = (1u << kChunkBits) - 1;
  std::uint64_t home(Hash128 key) const { return key.lo & (slots_.size() - 1); }
  void grow();

  std::vector<std::unique_ptr<BlockRecord[]>> chunks_;
  std::vector<RecordId> slots_;
  std::uint32_t limit_ = 0;
  std::uint32_t size_ = 0;
  RecordId free_ = kNoRecord;
};

}  // namespace tokvault::checkpoint

#endif  // TOKVAULT_CHECKPOINT_BLOCK_INDEX_H_
