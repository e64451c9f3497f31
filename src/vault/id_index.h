// From the hash of an id to the rows that may have it.
#ifndef TOKVAULT_VAULT_ID_INDEX_H_
#define TOKVAULT_VAULT_ID_INDEX_H_

#include <cstdint>
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

// Which ids a pack may hold: 32 bits of the hash of each, open addressing, four fifths full. It is
// wrong for one in some 300 million that are not there. It is small enough to stay in memory for
// every pack, so that the look-up of an id costs a line of the cache or two for each pack and reads
// the tables of the one that has it.
// Threads: const methods from any thread at once.
class IdFilter {
 public:
  explicit IdFilter(std::size_t count);  // how many will be added at most
  void add(const IdHash& hash);
  bool may_hold(const IdHash& hash) const;
  std::size_t memory_bytes() const { return tags_.capacity() * sizeof(std::uint32_t); }

 private:
  std::size_t place_of(const IdHash& hash) const;
  // Where the tag of this hash stands, or the empty place where it belongs.
  std::size_t find(const IdHash& hash, std::uint32_t& tag) const;

  std::vector<std::uint32_t> tags_;  // 0: empty; at least one always is
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_ID_INDEX_H_
