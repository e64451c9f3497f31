// AnchorGroups takes the items by falling size, so that what may contain an item comes before it,
// and looks for its representative with a prefix filter: one that holds at least the part t of n
// anchors lacks fewer than (1 - t) n + 1 of them, so it is found under any so many; those that the
// fewest representatives have are looked up.
// Source of the filter: R. Bayardo, Y. Ma, R. Srikant, "Scaling up all pairs similarity search",
// 2007.
#include "dedup/groups.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "dedup/anchor_index.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kItemBytes = 32;    // end, order, placement and what vectors leave empty
constexpr std::uint64_t kAnchorBytes = 40;  // its place in a set, and in the index
constexpr std::size_t kSampledMin = 8;      // anchors of an item that is judged by a sample
constexpr std::uint32_t kNone = 0xffffffffu;

}  // namespace

MinHashGroups::MinHashGroups(double threshold, std::uint64_t memory_bytes_max)
    : threshold_(threshold), index_({.memory_bytes_max = memory_bytes_max}) {}

Status MinHashGroups::add(const MinHash& signature) {
  const auto number = static_cast<std::uint32_t>(placements_.size());
  const auto matches = index_.query(signature, threshold_);
  if (matches.empty()) {
    TOKVAULT_TRY(index_.insert(number, signature));
    placements_.push_back({number, 1});
  } else {
    placements_.push_back(
        {static_cast<std::uint32_t>(matches[0].key), static_cast<float>(matches[0].similarity)});
  }
  return {};
}

AnchorGroups::AnchorGroups(double threshold, std::uint64_t memory_bytes_max)
    : threshold_(threshold), memory_bytes_max_(memory_bytes_max) {}

bool AnchorGroups::is_sampled(std::uint32_t hash) const {
  // Anchors have small hashes by choice, so the sample is drawn from other bits.
  return halvings_ == 0 || hash * 0x85ebca6bu >> (32 - halvings_) == 0;
}

void AnchorGroups::halve() {
  ++halvings_;
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  for (std::uint64_t& end : ends_) {
    for (; from < end; ++from) {
      if (is_sampled(anchors_[from])) anchors_[to++] = anchors_[from];
    }
    end = to;
  }
  anchors_.resize(to);
}

Status AnchorGroups::add(const AnchorSet& anchors) {
  if ((ends_.size() + 1) * kItemBytes > memory_bytes_max_ / 2 || ends_.size() >= kNone - 1) {
    return Error(Errc::exhausted, "the memory for sets of anchors is full with " +
                                      std::to_string(ends_.size()) + " items");
  }
  for (const std::uint32_t hash : anchors) {
    if (is_sampled(hash)) anchors_.push_back(hash);
  }
  ends_.push_back(anchors_.size());
  while (anchors_.size() * kAnchorBytes > memory_bytes_max_ / 2 && halvings_ < 31) halve();
  return {};
}

std::span<const std::uint32_t> AnchorGroups::set_of(std::size_t item) const {
  const std::uint64_t begin = item == 0 ? 0 : ends_[item - 1];
  return std::span(anchors_).subspan(begin, ends_[item] - begin);
}

std::vector<Placement> AnchorGroups::finish() {
  std::vector<Placement> placements(ends_.size());
  std::vector<std::uint32_t> order(ends_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const std::size_t size_a = set_of(a).size();
    const std::size_t size_b = set_of(b).size();
    return size_a != size_b ? size_a > size_b : a < b;
  });
  const std::size_t judged_min = halvings_ == 0 ? 1 : kSampledMin;
  AnchorIndex index(anchors_.size());
  for (const std::uint32_t item : order) {
    const auto set = set_of(item);
    Placement& placement = placements[item];
    placement = {item, 1};
    if (set.size() < judged_min) continue;
    const auto needed = std::max<std::size_t>(
        1, static_cast<std::size_t>(std::ceil(threshold_ * static_cast<double>(set.size()))));
    const std::size_t probes = set.size() - std::min(needed, set.size()) + 1;
    std::size_t best = 0;
    for (const AnchorIndex::Candidate& candidate : index.find(set, probes)) {
      const std::size_t common = count_common(set, set_of(candidate.item));
      if (common < needed || common <= best) continue;
      best = common;
      placement = {candidate.item, static_cast<float>(common) / static_cast<float>(set.size())};
      if (common == set.size()) break;
    }
    if (placement.representative == item) index.insert(item, set);
  }
  return placements;
}

}  // namespace tokvault
