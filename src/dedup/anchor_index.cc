#include "dedup/anchor_index.h"

#include <algorithm>
#include <bit>

namespace tokvault {
namespace {

constexpr std::size_t kNodesMax = 256;      // looked at for one anchor
constexpr std::size_t kCandidatesMax = 64;  // given
constexpr std::uint32_t kNone = 0xffffffffu;

}  // namespace

AnchorIndex::AnchorIndex(std::size_t anchors_max)
    : anchors_max_(std::min<std::size_t>(anchors_max, kNone)),
      buckets_(std::bit_ceil(std::max<std::size_t>(anchors_max_, 1)), Bucket{kNone, 0}) {}

// Anchors have small hashes by choice: the bits that are used here are those of a product.
std::size_t AnchorIndex::place(std::uint32_t hash) const {
  return (hash * 0x9e3779b97f4a7c15u >> 32) & (buckets_.size() - 1);
}

bool AnchorIndex::insert(std::uint32_t item, std::span<const std::uint32_t> anchors) {
  if (anchors.size() > anchors_max_ - nodes_.size()) return false;
  for (const std::uint32_t hash : anchors) {
    Bucket& bucket = buckets_[place(hash)];
    nodes_.push_back({hash, item, bucket.first});
    bucket.first = static_cast<std::uint32_t>(nodes_.size() - 1);
    ++bucket.count;
  }
  return true;
}

std::span<const AnchorIndex::Candidate> AnchorIndex::find(std::span<const std::uint32_t> anchors,
                                                          std::size_t probes) {
  rarest_.clear();
  for (const std::uint32_t hash : anchors) {
    if (const auto count = buckets_[place(hash)].count; count > 0) rarest_.push_back({count, hash});
  }
  // Those that nobody has are the rarest.
  const std::size_t unknown = anchors.size() - rarest_.size();
  probes = std::min(probes - std::min(probes, unknown), rarest_.size());
  if (probes < rarest_.size()) {
    std::nth_element(rarest_.begin(), rarest_.begin() + static_cast<std::ptrdiff_t>(probes),
                     rarest_.end());
  }
  votes_.clear();
  for (std::size_t i = 0; i < probes; ++i) {
    std::size_t left = kNodesMax;
    for (std::uint32_t n = buckets_[place(rarest_[i].hash)].first; n != kNone && left > 0;
         n = nodes_[n].next, --left) {
      if (nodes_[n].hash == rarest_[i].hash) ++votes_[nodes_[n].item];
    }
  }
  found_.clear();
  for (const auto& [item, votes] : votes_) found_.push_back({item, votes});
  const std::size_t given = std::min(found_.size(), kCandidatesMax);
  std::partial_sort(found_.begin(), found_.begin() + static_cast<std::ptrdiff_t>(given),
                    found_.end(), [](const Candidate& a, const Candidate& b) {
                      return a.votes != b.votes ? a.votes > b.votes : a.item < b.item;
                    });
  found_.resize(given);
  return found_;
}

std::size_t AnchorIndex::count_known(std::span<const std::uint32_t> anchors) const {
  std::size_t known = 0;
  for (const std::uint32_t hash : anchors) {
    std::uint32_t n = buckets_[place(hash)].first;
    while (n != kNone && nodes_[n].hash != hash) n = nodes_[n].next;
    known += n != kNone ? 1 : 0;
  }
  return known;
}

}  // namespace tokvault
