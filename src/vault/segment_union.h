// SegmentUnion: the segments of several files as one list, each content once.
//
// Files that are merged hold the same text more than once, and refer to each other's by content;
// in the pack that becomes of them it stands once, and references are numbers again.
#ifndef TOKVAULT_VAULT_SEGMENT_UNION_H_
#define TOKVAULT_VAULT_SEGMENT_UNION_H_

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "vault/source.h"

namespace tokvault {

// Threads: one at a time. Lifetime: holds its sources.
class SegmentUnion {
 public:
  struct Segment {
    const Source* source = nullptr;  // one that holds it
    std::uint32_t number = 0;        // there
    std::uint32_t size = 0;          // tokens, or bytes
    ShortDigest digest{};
    // The pack of the rewrite that holds it, 0 while there is none. Others refer to it there.
    std::uint64_t home = 0;
  };
  // Called for each content once; an error ends it. `tokens` is empty for a segment of bytes.
  using Visit = std::function<Status(Stream, std::uint32_t id, TokenView tokens, ByteView code)>;

  // How many there will be at most. What is reserved and not used takes no memory, growing step by
  // step takes up to three times as much.
  void reserve(Stream stream, std::uint64_t count) { segments_[stream].reserve(count); }
  // Takes in all segments of a source.
  Status add(std::shared_ptr<const Source> source, const Visit& visit);

  std::uint32_t id_of(const Source& source, Stream stream, std::uint32_t number) const {
    return ids_.at(&source)[stream][number];
  }
  std::optional<std::uint32_t> find(Stream stream, const ShortDigest& digest) const;
  std::size_t size(Stream stream) const { return segments_[stream].size(); }
  Segment& at(Stream stream, std::uint32_t id) { return segments_[stream][id]; }
  const Segment& at(Stream stream, std::uint32_t id) const { return segments_[stream][id]; }
  // Whether a segment may be referred to from other packs: it has a fingerprint whatever its code.
  static bool is_shareable(const Segment& s) { return s.size >= kSharedSize; }
  // Takes back that a pack is any segment's home; all packs with numbers in a range.
  void release(std::uint64_t home) { release(home, home); }
  void release(std::uint64_t first, std::uint64_t last);

 private:
  static constexpr std::uint32_t kSharedSize = 96;  // kSharedCodeBytes of format/pack.h
  std::uint32_t& slot_of(Stream stream, const ShortDigest& digest);
  void grow(Stream stream);

  std::vector<std::shared_ptr<const Source>> sources_;
  std::array<std::vector<Segment>, kStreams> segments_;
  std::array<std::vector<std::uint32_t>, kStreams> slots_;  // id + 1, by the digest's first bytes
  std::map<const Source*, std::array<std::vector<std::uint32_t>, kStreams>> ids_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_SEGMENT_UNION_H_
