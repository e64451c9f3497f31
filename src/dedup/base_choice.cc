#include "dedup/base_choice.h"

#include <algorithm>

#include "dedup/anchor_index.h"
#include "dedup/anchors.h"

namespace tokvault {
namespace {

// Anchors that a base must hold of what the dictionary does not: one may be chance.
constexpr std::uint32_t kVotesMin = 2;
// Looked up for each base: the rarest tell near-duplicates best.
constexpr std::size_t kProbes = 64;

// `b` is a set, and may be much larger.
AnchorSet without(std::span<const std::uint32_t> a, const AnchorSet& b) {
  AnchorSet out;
  for (const std::uint32_t hash : a) {
    if (!std::binary_search(b.begin(), b.end(), hash)) out.push_back(hash);
  }
  return out;
}

}  // namespace

std::vector<std::vector<std::uint32_t>> choose_bases(const DictionaryChoice& segments,
                                                     const std::vector<bool>& in_dictionary,
                                                     std::span<const std::uint32_t> block_segments,
                                                     const BaseLimits& limits) {
  AnchorSet held;  // by the dictionary
  for (std::uint32_t i = 0; i < in_dictionary.size(); ++i) {
    if (!in_dictionary[i]) continue;
    const auto anchors = segments.anchors(i);
    held.insert(held.end(), anchors.begin(), anchors.end());
  }
  make_set(held);
  AnchorIndex index(limits.anchors_max);
  std::vector<std::vector<std::uint32_t>> out(block_segments.size());
  std::vector<std::uint32_t> members;
  std::uint32_t next = 0;
  for (std::size_t b = 0; b < block_segments.size(); ++b) {
    members.clear();
    for (; members.size() < block_segments[b]; ++next) {
      if (!in_dictionary[next]) members.push_back(next);
    }
    AnchorSet all;
    for (const std::uint32_t m : members) {
      const auto anchors = segments.anchors(m);
      all.insert(all.end(), anchors.begin(), anchors.end());
    }
    make_set(all);
    AnchorSet open = without(all, held);
    const std::size_t by_dictionary = all.size() - open.size();
    AnchorSet covered;
    std::vector<std::uint32_t>& bases = out[b];
    std::uint64_t bytes = 0;
    while (bases.size() < limits.bases_max && open.size() >= kVotesMin) {
      const auto found = index.find(open, kProbes);
      const auto best = std::find_if(found.begin(), found.end(), [&](const auto& c) {
        return bytes + segments.size_of(c.item) <= limits.bytes_max;
      });
      if (best == found.end() || best->votes < kVotesMin) break;
      bases.push_back(best->item);
      bytes += segments.size_of(best->item);
      const auto anchors = segments.anchors(best->item);
      open = without(open, {anchors.begin(), anchors.end()});
      covered.insert(covered.end(), anchors.begin(), anchors.end());
    }
    make_set(covered);
    if (count_common(covered, all) <= by_dictionary) bases.clear();
    std::sort(bases.begin(), bases.end());
    if (!bases.empty()) continue;
    for (const std::uint32_t m : members) {
      (void)index.insert(m, without(segments.anchors(m), held));
    }
  }
  return out;
}

}  // namespace tokvault
