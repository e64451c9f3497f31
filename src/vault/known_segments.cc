#include "vault/known_segments.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/checksum.h"

namespace tokvault {
namespace {

// A SHA-256 is as good a hash as any.
std::uint64_t hash_of_digest(const ShortDigest& digest) {
  return load_le<std::uint64_t>(reinterpret_cast<const char*>(digest.data()));
}

}  // namespace

void SlotTable::place(std::uint64_t hash, std::uint32_t position) {
  std::size_t i = hash & (slots_.size() - 1);
  while (slots_[i].position_plus_1 != 0) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = {static_cast<std::uint32_t>(hash >> 32), position + 1};
}

const KnownSegment* KnownSegments::find_text(const ShortDigest& text) const {
  const std::int64_t at = by_text_.find(hash_of_digest(text), [&](std::uint32_t position) {
    return entries_[position].text == text;
  });
  return at < 0 ? nullptr : &entries_[static_cast<std::size_t>(at)];
}

const KnownSegment* KnownSegments::find_content(Stream stream, const ShortDigest& content) const {
  const std::int64_t at = by_content_.find(hash_of_digest(content), [&](std::uint32_t position) {
    const KnownSegment& e = entries_[position];
    return e.content == content && e.stream == stream;
  });
  return at < 0 ? nullptr : &entries_[static_cast<std::size_t>(at)];
}

void KnownSegments::prefetch_text(const ShortDigest& text) const {
  by_text_.prefetch(hash_of_digest(text));
}

void KnownSegments::put(const KnownSegment& known) {
  const auto add_text = [&](std::uint32_t position) {
    by_text_.add(hash_of_digest(known.text), position,
                 [&](std::uint32_t p) { return hash_of_digest(entries_[p].text); });
  };
  if (const KnownSegment* before = find_content(known.stream, known.content)) {
    const auto position = static_cast<std::uint32_t>(before - entries_.data());
    KnownSegment& entry = entries_[position];
    entry.file = known.file;
    entry.number = known.number;
    // Tokens stand for one text: what had one before has the same.
    if (!known.has_text || entry.has_text) return;
    entry.has_text = true;
    entry.text = known.text;
    add_text(position);
    return;
  }
  const auto position = static_cast<std::uint32_t>(entries_.size());
  entries_.push_back(known);
  by_content_.add(hash_of_digest(known.content), position,
                  [&](std::uint32_t p) { return hash_of_digest(entries_[p].content); });
  if (known.has_text) add_text(position);
}

template <class F>
void KnownSegments::keep_if(F is_kept) {
  std::vector<KnownSegment> kept;
  for (const KnownSegment& e : entries_) {
    if (is_kept(e)) kept.push_back(e);
  }
  if (kept.size() == entries_.size()) return;
  clear();
  for (const KnownSegment& e : kept) put(e);
}

void KnownSegments::keep_file(std::uint64_t file) {
  keep_if([&](const KnownSegment& s) { return s.file == file; });
}

void KnownSegments::forget_files(const std::set<std::uint64_t>& files) {
  keep_if([&](const KnownSegment& s) { return !files.contains(s.file); });
}

void KnownSegments::clear() {
  entries_ = {};
  by_content_.clear();
  by_text_.clear();
}

std::size_t FingerprintIndex::pack_of(std::uint64_t slot) const {
  const auto after = std::upper_bound(packs_.begin(), packs_.end(), place_in(slot),
                                      [](std::uint64_t n, const Pack& p) { return n < p.begin; });
  return static_cast<std::size_t>(after - packs_.begin()) - 1;
}

void FingerprintIndex::put(std::uint64_t slot) {
  std::size_t i = slot_of(slot & kFingerprintMask);
  while (slots_[i] != 0) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = slot;
}

void FingerprintIndex::resize(std::size_t slots) {
  std::vector<std::uint64_t> old(slots);
  std::swap(old, slots_);
  for (const std::uint64_t slot : old) {
    if (slot != 0) put(slot);
  }
}

void FingerprintIndex::add(std::uint64_t pack, std::uint32_t fingerprint, std::uint32_t segment) {
  if (4 * (count_ + 1) > 3 * slots_.size()) {
    resize(std::max(kSlotsMin, 2 * slots_.size()));
  }
  if (packs_.empty() || packs_.back().number != pack) packs_.push_back({pack, end_});
  const std::uint64_t place = packs_.back().begin + segment;
  end_ = std::max(end_, place + 1);
  ++count_;
  put((place + 1) << kFingerprintBits | fingerprint);
}

void FingerprintIndex::remove(const std::set<std::uint64_t>& packs) {
  constexpr std::uint64_t kGone = UINT64_MAX;
  std::vector<Pack> kept;
  std::vector<std::uint64_t> begins;  // of each of packs_, from now on
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < packs_.size(); ++i) {
    begins.push_back(kGone);
    if (packs.contains(packs_[i].number)) continue;
    kept.push_back({packs_[i].number, end});
    begins.back() = end;
    end += (i + 1 < packs_.size() ? packs_[i + 1].begin : end_) - packs_[i].begin;
  }
  std::vector<std::uint64_t> left;
  for (const std::uint64_t slot : slots_) {
    if (slot == 0) continue;
    const std::size_t pack = pack_of(slot);
    if (begins[pack] == kGone) continue;
    const std::uint64_t place = begins[pack] + place_in(slot) - packs_[pack].begin;
    left.push_back((place + 1) << kFingerprintBits | (slot & kFingerprintMask));
  }
  std::size_t slots = slots_.size();
  while (slots > kSlotsMin && 4 * (left.size() + 1) <= 3 * (slots / 2)) slots /= 2;
  clear();
  packs_ = std::move(kept);
  end_ = end;
  count_ = left.size();
  slots_.resize(slots);
  for (const std::uint64_t slot : left) put(slot);
}

void FingerprintIndex::clear() {
  packs_.clear();
  end_ = 0;
  slots_ = std::vector<std::uint64_t>();  // gives the memory back
  count_ = 0;
}

std::uint32_t& NameIndex::at(ByteView name, bool& is_new) {
  const std::uint64_t hash = checksum64(name);
  const std::int64_t found = slots_.find(hash, [&](std::uint32_t position) {
    const Entry& e = entries_[position];
    return e.hash == hash && ByteView(names_).substr(e.offset, e.size) == name;
  });
  is_new = found < 0;
  if (!is_new) return entries_[static_cast<std::size_t>(found)].number;
  const auto position = static_cast<std::uint32_t>(entries_.size());
  entries_.push_back({hash, names_.size(), static_cast<std::uint32_t>(name.size()), 0});
  names_.append(name);
  slots_.add(hash, position, [&](std::uint32_t p) { return entries_[p].hash; });
  return entries_.back().number;
}

void NameIndex::clear() {
  entries_ = {};
  names_ = {};
  slots_.clear();
}

}  // namespace tokvault
