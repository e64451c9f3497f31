// From the hash of an id to the rows that may have it.
#ifndef TOKVAULT_VAULT_ID_INDEX_H_
#define TOKVAULT_VAULT_ID_INDEX_H_

#include <cstdint>
#include <span>
#include <vector>

#include "format/record.h"

namespace tokvault {

// Open addressing, 8 bytes a slot, at most half full. It answers with every row whose hash agrees
// in 32 bits and more: the caller compares ids. Threads: const methods from any thread at once.
class IdIndex {
 public:
  void reserve(std::size_t count);
  void add(const IdHash& hash, std::uint32_t row);
  // Calls visit(row) for every candidate, in the order of adding.
  template <class F>
  void find(const IdHash& hash, F visit) const {
    if (slots_.empty()) return;
    const std::uint32_t tag = tag_of(hash);
    for (std::size_t i = place_of(hash);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].row_plus_1 == 0) return;
      if (slots_[i].tag == tag) visit(slots_[i].row_plus_1 - 1);
    }
  }
  std::size_t memory_bytes() const { return slots_.capacity() * sizeof(Slot); }

 private:
  struct Slot {
    std::uint32_t tag = 0;
    std::uint32_t row_plus_1 = 0;
  };
  static std::uint32_t tag_of(const IdHash& hash);
  std::size_t place_of(const IdHash& hash) const;
  static std::size_t place_of_tag(std::uint32_t tag, std::size_t slots);
  void grow(std::size_t slots);

  std::vector<Slot> slots_;
  std::size_t count_ = 0;
};

// The same for a pack, whose ids are all known at once: buckets of about four, 9 bytes an id. Of
// each id it has 32 bits besides those that choose its bucket, so that it is wrong for one in some
// hundred million that are not there. It is small enough to stay in memory for every pack: the
// look-up of an id costs two lines of the processor's cache for each pack, and reads the tables of
// the one that has it. Threads: const methods from any thread at once.
class PackIds {
 public:
  explicit PackIds(std::span<const IdHash> hashes);  // of the rows 0, 1, ...
  // Calls visit(row) for every candidate, in ascending order.
  template <class F>
  void find(const IdHash& hash, F visit) const {
    const std::size_t bucket = bucket_of(hash);
    const std::uint32_t tag = tag_of(hash);
    for (std::uint32_t i = begins_[bucket]; i < begins_[bucket + 1]; ++i) {
      if (entries_[i].tag == tag) visit(entries_[i].row);
    }
  }
  std::size_t memory_bytes() const {
    return begins_.capacity() * sizeof(std::uint32_t) + entries_.capacity() * sizeof(Entry);
  }

 private:
  struct Entry {
    std::uint32_t tag;
    std::uint32_t row;
  };
  static std::uint32_t tag_of(const IdHash& hash);
  std::size_t bucket_of(const IdHash& hash) const;

  std::vector<std::uint32_t> begins_;  // of each bucket, and where the last one ends
  std::vector<Entry> entries_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_ID_INDEX_H_
