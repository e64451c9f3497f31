// Items lie in slots. For each band there is a table of chains: a power of two of heads, by the low
// bits of the band hash, and in each slot the next slot of its chain and 32 bits of its band hash.
// A chain begins with the item that was inserted last. Nothing is allocated for a single item, and
// a slot that was given up is used again.
#include <algorithm>
#include <array>
#include <bit>
#include <unordered_map>

#include "tokvault/dedup.h"

namespace tokvault {
namespace {

constexpr std::uint32_t kNone = 0xffffffffu;

struct Slot {
  std::uint64_t key = 0;
  std::array<std::uint16_t, MinHash::kValues> low;  // bits of the values
  std::array<std::uint32_t, MinHash::kBands> band;  // bits of the band hashes
  std::array<std::uint32_t, MinHash::kBands> next;
};

constexpr std::uint32_t kChunk = 1024;  // slots

// What an entry of the map from keys to slots takes, with its share of the buckets.
constexpr std::uint64_t kMapBytes = 48;

std::array<std::uint16_t, MinHash::kValues> low_bits(const MinHash& signature) {
  std::array<std::uint16_t, MinHash::kValues> low;
  for (std::size_t i = 0; i < low.size(); ++i) {
    low[i] = static_cast<std::uint16_t>(signature.values[i]);
  }
  return low;
}

std::uint32_t band_bits(const MinHash& signature, std::size_t band) {
  return static_cast<std::uint32_t>(signature.band_hash(band) >> 32);
}

std::uint32_t count_equal(const std::array<std::uint16_t, MinHash::kValues>& a,
                          const std::array<std::uint16_t, MinHash::kValues>& b) {
  std::uint16_t equal = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    equal = static_cast<std::uint16_t>(equal + (a[i] == b[i] ? 1 : 0));
  }
  return equal;
}

}  // namespace

struct LshIndex::Impl {
  LshOptions options;
  std::vector<std::unique_ptr<Slot[]>> chunks;  // so that growing moves nothing
  std::uint32_t slots_used = 0;                 // those given up included
  std::uint32_t free = kNone;                   // the slots given up, chained by next[0]
  std::array<std::vector<std::uint32_t>, MinHash::kBands> heads;
  std::unordered_map<std::uint64_t, std::uint32_t> slot_of;

  Slot& slot(std::uint32_t number) { return chunks[number / kChunk][number % kChunk]; }
  const Slot& slot(std::uint32_t number) const { return chunks[number / kChunk][number % kChunk]; }
  std::uint32_t& head(std::size_t band, std::uint32_t hash) {
    return heads[band][hash & (heads[band].size() - 1)];
  }
  std::uint32_t head(std::size_t band, std::uint32_t hash) const {
    return heads[band].empty() ? kNone : heads[band][hash & (heads[band].size() - 1)];
  }

  static std::uint64_t bytes_of(std::size_t chunk_count, std::size_t head_count) {
    return chunk_count * kChunk * (sizeof(Slot) + kMapBytes) + head_count * MinHash::kBands * 4;
  }

  // Makes room for another chunk. REQUIRES: no slot is free
  Status grow() {
    const std::size_t wanted = (chunks.size() + 1) * kChunk;
    const std::size_t head_count = std::bit_ceil(wanted);
    const std::size_t memory = bytes_of(chunks.size() + 1, head_count);
    if (memory > options.memory_bytes_max || wanted > kNone / 2) {
      return Error(Errc::exhausted, "the index of signatures is full with " +
                                        std::to_string(slot_of.size()) + " items");
    }
    chunks.push_back(std::make_unique<Slot[]>(kChunk));
    if (head_count == heads[0].size()) return {};
    for (auto& of_band : heads) of_band.assign(head_count, kNone);
    for (std::uint32_t i = 0; i < slots_used; ++i) chain(i);
    return {};
  }

  void chain(std::uint32_t number) {
    Slot& s = slot(number);
    for (std::size_t b = 0; b < MinHash::kBands; ++b) {
      std::uint32_t& first = head(b, s.band[b]);
      s.next[b] = first;
      first = number;
    }
  }
};

LshIndex::LshIndex(const LshOptions& options) : impl_(std::make_unique<Impl>()) {
  impl_->options = options;
}
LshIndex::~LshIndex() = default;
LshIndex::LshIndex(LshIndex&&) noexcept = default;
LshIndex& LshIndex::operator=(LshIndex&&) noexcept = default;

Status LshIndex::insert(std::uint64_t key, const MinHash& signature) {
  Impl& index = *impl_;
  if (index.slot_of.contains(key)) return Error(Errc::exists, "there is a signature of this key");
  std::uint32_t number = index.free;
  if (number == kNone) {
    if (index.slots_used == index.chunks.size() * kChunk) TOKVAULT_TRY(index.grow());
    number = index.slots_used++;
  } else {
    index.free = index.slot(number).next[0];
  }
  Slot& slot = index.slot(number);
  slot.key = key;
  slot.low = low_bits(signature);
  for (std::size_t b = 0; b < MinHash::kBands; ++b) slot.band[b] = band_bits(signature, b);
  index.chain(number);
  index.slot_of.emplace(key, number);
  return {};
}

Status LshIndex::remove(std::uint64_t key) {
  Impl& index = *impl_;
  const auto found = index.slot_of.find(key);
  if (found == index.slot_of.end()) return Error(Errc::not_found, "no signature of this key");
  const std::uint32_t number = found->second;
  Slot& slot = index.slot(number);
  for (std::size_t b = 0; b < MinHash::kBands; ++b) {
    std::uint32_t* at = &index.head(b, slot.band[b]);
    while (*at != number) at = &index.slot(*at).next[b];
    *at = slot.next[b];
  }
  slot.next[0] = index.free;
  index.free = number;
  index.slot_of.erase(found);
  return {};
}

std::vector<LshIndex::Match> LshIndex::query(const MinHash& signature, double threshold) const {
  const Impl& index = *impl_;
  const auto low = low_bits(signature);
  std::vector<std::uint32_t> candidates;
  for (std::size_t b = 0; b < MinHash::kBands; ++b) {
    const std::uint32_t hash = band_bits(signature, b);
    std::size_t left = index.options.candidates_max;
    for (std::uint32_t i = index.head(b, hash); i != kNone && left > 0; i = index.slot(i).next[b]) {
      if (index.slot(i).band[b] != hash) continue;
      candidates.push_back(i);
      --left;
    }
  }
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  std::vector<Match> matches;
  for (const std::uint32_t i : candidates) {
    const double similarity = count_equal(low, index.slot(i).low) / double{MinHash::kValues};
    if (similarity >= threshold) matches.push_back({index.slot(i).key, similarity});
  }
  std::sort(matches.begin(), matches.end(), [](const Match& a, const Match& b) {
    return a.similarity != b.similarity ? a.similarity > b.similarity : a.key < b.key;
  });
  return matches;
}

std::size_t LshIndex::size() const { return impl_->slot_of.size(); }

std::uint64_t LshIndex::memory_bytes() const {
  return Impl::bytes_of(impl_->chunks.size(), impl_->heads[0].size());
}

}  // namespace tokvault
