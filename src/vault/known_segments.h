// What the writer remembers: where a segment lies, by its content and by the text it came from; and
// numbers of names.
//
// Both are looked up for every message that is written, by several threads beside each other, so
// they are flat: 8 bytes a slot, at most three quarters full, over entries in one array. A hash map
// with a node for each entry was a fifth of the time of storing short messages, most of it misses
// of the cache and the allocator.
#ifndef TOKVAULT_VAULT_KNOWN_SEGMENTS_H_
#define TOKVAULT_VAULT_KNOWN_SEGMENTS_H_

#include <cstdint>
#include <set>
#include <vector>

#include "format/tables.h"
#include "tokvault/types.h"

namespace tokvault {

// From 64 bits of a hash to positions of entries. Not more than 2^32 - 2 entries.
// Threads: const methods from any thread at once.
class SlotTable {
 public:
  // The position of the entry with this hash of which is(position) is true, or -1.
  template <class F>
  std::int64_t find(std::uint64_t hash, F is) const {
    if (slots_.empty()) return -1;
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    for (std::size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      const Slot& s = slots_[i];
      if (s.position_plus_1 == 0) return -1;
      if (s.tag == tag && is(s.position_plus_1 - 1)) return s.position_plus_1 - 1;
    }
  }
  // Adds an entry; `hash_of(position)` gives the hash of any that was added before.
  template <class F>
  void add(std::uint64_t hash, std::uint32_t position, F hash_of) {
    if (4 * (count_ + 1) > 3 * slots_.size()) grow(hash_of);
    ++count_;
    place(hash, position);
  }
  void prefetch(std::uint64_t hash) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]);
  }
  void clear() {
    slots_ = {};
    count_ = 0;
  }

 private:
  struct Slot {
    std::uint32_t tag = 0;
    std::uint32_t position_plus_1 = 0;
  };
  void place(std::uint64_t hash, std::uint32_t position);
  template <class F>
  void grow(F hash_of) {
    std::vector<Slot> old(slots_.empty() ? 64 : 2 * slots_.size());
    std::swap(old, slots_);
    for (const Slot& s : old) {
      if (s.position_plus_1 != 0) place(hash_of(s.position_plus_1 - 1), s.position_plus_1 - 1);
    }
  }

  std::vector<Slot> slots_;  // a power of two of them, or none
  std::size_t count_ = 0;
};

struct KnownSegment {
  std::uint64_t file = 0;
  std::uint32_t number = 0;
  std::uint32_t tokens = 0;  // 0 in the byte stream
  Stream stream = kTokenStream;
  bool has_text = false;  // `text` is set
  ShortDigest content{};  // of tokens or bytes
  ShortDigest text{};     // of what was tokenised
};

// Threads: const methods from any thread at once.
class KnownSegments {
 public:
  // Both answer with null, or with what lives until the next put().
  const KnownSegment* find_text(const ShortDigest& text) const;
  const KnownSegment* find_content(Stream stream, const ShortDigest& content) const;
  void prefetch_text(const ShortDigest& text) const;

  // Takes in where a content lies, in the place of what was known of it. With has_text it is found
  // by that text from now on, too.
  void put(const KnownSegment& known);
  // Forgets everything that lies in another file.
  void keep_file(std::uint64_t file);
  // Forgets everything that lies in one of these.
  void forget_files(const std::set<std::uint64_t>& files);
  void clear();
  std::size_t size() const { return entries_.size(); }

 private:
  template <class F>
  void keep_if(F is_kept);

  std::vector<KnownSegment> entries_;
  SlotTable by_content_;
  SlotTable by_text_;
};

// Which segments of packs have a fingerprint: 8 bytes a slot, at most three quarters full.
// Threads: const methods from any thread at once.
class FingerprintIndex {
 public:
  struct Place {
    std::uint64_t pack = 0;
    std::uint32_t segment = 0;
  };
  // REQUIRES: fingerprint < 2^24; all segments of a pack come one after another
  void add(std::uint64_t pack, std::uint32_t fingerprint, std::uint32_t segment);
  template <class F>
  void find(std::uint32_t fingerprint, F visit) const {
    if (slots_.empty()) return;
    for (std::size_t i = slot_of(fingerprint); slots_[i] != 0; i = (i + 1) & (slots_.size() - 1)) {
      if ((slots_[i] & kFingerprintMask) != fingerprint) continue;
      const Pack& pack = packs_[pack_of(slots_[i])];
      visit(Place{pack.number, static_cast<std::uint32_t>(place_in(slots_[i]) - pack.begin)});
    }
  }
  std::size_t size() const { return count_; }
  // Forgets what lies in these.
  void remove(const std::set<std::uint64_t>& packs);
  void clear();
  std::size_t memory_bytes() const { return slots_.capacity() * sizeof(std::uint64_t); }

 private:
  // Places are numbered over all packs: `begin` is that of a pack's segment 0.
  struct Pack {
    std::uint64_t number = 0;
    std::uint64_t begin = 0;
  };
  static constexpr std::size_t kSlotsMin = 1024;
  static constexpr int kFingerprintBits = 24;
  static constexpr std::uint64_t kFingerprintMask = (1u << kFingerprintBits) - 1;
  std::size_t slot_of(std::uint64_t fingerprint) const {
    return (fingerprint * 0x9e3779b97f4a7c15u >> 32) & (slots_.size() - 1);
  }
  static std::uint64_t place_in(std::uint64_t slot) { return (slot >> kFingerprintBits) - 1; }
  std::size_t pack_of(std::uint64_t slot) const;  // in packs_
  void put(std::uint64_t slot);
  void resize(std::size_t slots);

  std::vector<Pack> packs_;
  std::uint64_t end_ = 0;  // of all places
  // The fingerprint and above it the place plus 1; 0: empty. A power of two of them, or none.
  std::vector<std::uint64_t> slots_;
  std::size_t count_ = 0;
};

// Numbers of byte strings.
// Threads: one at a time.
class NameIndex {
 public:
  // The number of a name, to be set if it `is_new`. The reference lives until the next call.
  std::uint32_t& at(ByteView name, bool& is_new);
  void clear();

 private:
  struct Entry {
    std::uint64_t hash = 0;
    std::uint64_t offset = 0;  // in names_
    std::uint32_t size = 0;
    std::uint32_t number = 0;
  };
  std::vector<Entry> entries_;
  Buffer names_;
  SlotTable slots_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_KNOWN_SEGMENTS_H_
