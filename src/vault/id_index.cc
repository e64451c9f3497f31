#include "vault/id_index.h"

#include <bit>

#include "base/bytes.h"

namespace tokvault {

std::uint32_t IdIndex::tag_of(const IdHash& hash) {
  return load_le<std::uint32_t>(reinterpret_cast<const char*>(hash.data()));
}

std::size_t IdIndex::place_of_tag(std::uint32_t tag, std::size_t slots) {
  return (std::uint64_t{tag} * 0x9e3779b97f4a7c15u >> 32) & (slots - 1);
}

std::size_t IdIndex::place_of(const IdHash& hash) const {
  return place_of_tag(tag_of(hash), slots_.size());
}

void IdIndex::reserve(std::size_t count) {
  if (count * 2 > slots_.size()) grow(std::bit_ceil(count * 2 + 16));
}

void IdIndex::grow(std::size_t slots) {
  std::vector<Slot> old(slots);
  std::swap(old, slots_);
  // The order of equal tags must stay: start where a run begins, at an empty slot.
  std::size_t start = 0;
  while (start < old.size() && old[start].row_plus_1 != 0) ++start;
  for (std::size_t k = 0; k < old.size(); ++k) {
    const Slot& s = old[(start + k) % old.size()];
    if (s.row_plus_1 == 0) continue;
    std::size_t i = place_of_tag(s.tag, slots_.size());
    while (slots_[i].row_plus_1 != 0) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = s;
  }
}

void IdIndex::add(const IdHash& hash, std::uint32_t row) {
  reserve(++count_);
  std::size_t i = place_of(hash);
  while (slots_[i].row_plus_1 != 0) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = {tag_of(hash), row + 1};
}

std::uint32_t PackIds::tag_of(const IdHash& hash) {
  return load_le<std::uint32_t>(reinterpret_cast<const char*>(hash.data()) + 8);
}

std::size_t PackIds::bucket_of(const IdHash& hash) const {
  const std::uint32_t h = load_le<std::uint32_t>(reinterpret_cast<const char*>(hash.data()));
  return static_cast<std::size_t>(std::uint64_t{h} * (begins_.size() - 1) >> 32);
}

PackIds::PackIds(std::span<const IdHash> hashes)
    : begins_(hashes.size() / 4 + 2), entries_(hashes.size()) {
  // Each bucket is counted where the next one begins, and filled from its end.
  for (const IdHash& hash : hashes) ++begins_[bucket_of(hash)];
  for (std::size_t i = 1; i < begins_.size(); ++i) begins_[i] += begins_[i - 1];
  for (std::size_t row = hashes.size(); row-- > 0;) {
    entries_[--begins_[bucket_of(hashes[row])]] = {tag_of(hashes[row]),
                                                   static_cast<std::uint32_t>(row)};
  }
}

}  // namespace tokvault
