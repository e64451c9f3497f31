// What is alike: MinHash signatures of token sequences, and an index that finds similar ones.
//
// MinHash and band hashes are those of stowken 0.7 bit for bit, so that signatures which were
// computed elsewhere stay comparable. docs/format/minhash.md has the algorithm and the bytes. The
// vault answers the common questions itself: Vault::find_near, Vault::find_duplicates.
#ifndef TOKVAULT_DEDUP_H_
#define TOKVAULT_DEDUP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// Two texts with at least this Jaccard similarity count as near-duplicates.
inline constexpr double kNearDuplicateThreshold = 0.85;

// The signature of a set of token bigrams: under each of 128 hash functions the smallest hash of
// all bigrams. The share of equal values estimates the Jaccard similarity of two sets; its standard
// error is 0.032 at 0.85 and at most 0.044.
//
// A sequence of fewer than two tokens has itself as its only shingle.
// Threads: a value; `of` may be called from any thread at once.
struct MinHash {
  static constexpr std::size_t kValues = 128;
  static constexpr std::size_t kBands = 16;
  static constexpr std::size_t kRows = kValues / kBands;
  static constexpr std::size_t kBytes = kValues * 8;

  std::array<std::uint64_t, kValues> values;

  // Of no shingle at all; merge() with it changes nothing.
  MinHash() { values.fill(~std::uint64_t{0}); }
  // Of the bigrams of `tokens`. Uses AVX-512 or AVX2 where the processor has it; the values are the
  // same everywhere.
  static MinHash of(TokenView tokens);
  // Makes this the signature of the union of both sets.
  void merge(const MinHash& other);

  // The estimated similarity, 0 to 1 in steps of 1/128.
  double jaccard(const MinHash& other) const;
  // A hash of the 8 values of a band, and of the band's number. Of two sets with similarity s at
  // least one band is equal with probability 1 - (1 - s^8)^16: 0.994 at 0.85, 0.5 at 0.675.
  // REQUIRES: band < kBands
  std::uint64_t band_hash(std::size_t band) const;

  // 1,024 bytes: the values in order, little-endian.
  Buffer to_bytes() const;
  // `corrupt` unless there are exactly 1,024 bytes.
  static Result<MinHash> from_bytes(ByteView bytes);

  bool operator==(const MinHash&) const = default;
};

struct LshOptions {
  // What the index may take; an insertion that needs more is `exhausted`. 0.5 KB an item.
  std::uint64_t memory_bytes_max = 256u << 20;
  // In each band a query looks at so many items that share it, the last inserted first: sets that
  // are all somewhat alike must not make every query a walk through all of them.
  std::size_t candidates_max = 1024;
};

// Finds sets whose signatures share a band with a given one: 16 bands of 8 values.
//
// It keeps the low 16 bits of each value, so an estimate may be 1/128 too high once in some hundred
// comparisons of sets that are not equal.
// Threads: const methods from any thread at once, changes from one alone.
// Lifetime: in memory only; whoever fills it can fill it again.
class LshIndex {
 public:
  struct Match {
    std::uint64_t key = 0;
    double similarity = 0;  // estimated
    bool operator==(const Match&) const = default;
  };

  explicit LshIndex(const LshOptions& options = {});
  ~LshIndex();
  LshIndex(LshIndex&&) noexcept;
  LshIndex& operator=(LshIndex&&) noexcept;

  // Remembers a signature under a key of the caller. `exists` if the key is there, `exhausted` if
  // there is no memory left for it; then nothing is changed.
  Status insert(std::uint64_t key, const MinHash& signature);
  // Forgets a key. `not_found` if it is not there. Takes time in proportion to the items that share
  // a band with it.
  Status remove(std::uint64_t key);

  // The items with at least this estimated similarity, most similar first, then by key. One that
  // shares no band is not found, however low the threshold.
  std::vector<Match> query(const MinHash& signature,
                           double threshold = kNearDuplicateThreshold) const;

  std::size_t size() const;
  std::uint64_t memory_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tokvault

#endif  // TOKVAULT_DEDUP_H_
