// From the hash of an id to the rows that may have it.
#ifndef TOKVAULT_VAULT_ID_INDEX_H_
#define TOKVAULT_VAULT_ID_INDEX_H_

#include <array>
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

// Which ids a pack may hold, in 32 bits each: a Bloom filter whose probes for an id lie in one line
// of the cache, wrong for one id in 30,000 that is not there. It is small enough to stay in memory
// for every pack, so that the look-up of an id costs a line for each pack and reads the tables of
// the one that has it. (With 16 bits, wrong for one in 1,000, an import of short conversations into
// a vault of ten packs spent most of its time decoding the tables of packs for nothing, once those
// did not fit the cache together.) Threads: const methods from any thread at once.
class IdFilter {
 public:
  explicit IdFilter(std::size_t count);
  void add(const IdHash& hash);
  bool may_hold(const IdHash& hash) const;
  std::size_t memory_bytes() const { return lines_.capacity() * sizeof(Line); }

 private:
  static constexpr unsigned kProbes = 7;  // of 9 bits each, from 64
  static constexpr std::size_t kBitsPerId = 32;
  struct alignas(64) Line {
    std::array<std::uint64_t, 8> words{};
  };
  std::size_t line_of(const IdHash& hash) const;
  std::vector<Line> lines_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_ID_INDEX_H_
