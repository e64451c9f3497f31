#include "dedup/group_joining.h"

#include <algorithm>
#include <iterator>
#include <numeric>

namespace tokvault {

std::vector<std::uint32_t> join_groups(std::vector<AnchoredGroup> groups, double part,
                                       std::uint64_t weight_max) {
  const std::size_t count = groups.size();
  std::vector<std::uint32_t> joined(count);
  std::iota(joined.begin(), joined.end(), 0u);
  auto likeness = [&](std::size_t a, std::size_t b) {
    const std::size_t least = std::min(groups[a].anchors.size(), groups[b].anchors.size());
    if (least == 0) return 0.0;
    return static_cast<double>(count_common(groups[a].anchors, groups[b].anchors)) /
           static_cast<double>(least);
  };
  // Of each pair a < b, in a row of a's.
  std::vector<double> like(count * count);
  for (std::size_t a = 0; a < count; ++a) {
    for (std::size_t b = a + 1; b < count; ++b) like[a * count + b] = likeness(a, b);
  }
  for (;;) {
    double most = 0;
    std::size_t first = 0;
    std::size_t second = 0;
    for (std::size_t a = 0; a < count; ++a) {
      for (std::size_t b = a + 1; b < count; ++b) {
        if (like[a * count + b] <= most || groups[a].weight + groups[b].weight > weight_max) {
          continue;
        }
        most = like[a * count + b];
        first = a;
        second = b;
      }
    }
    if (most == 0 || most < part) return joined;
    AnchorSet both;
    std::set_union(groups[first].anchors.begin(), groups[first].anchors.end(),
                   groups[second].anchors.begin(), groups[second].anchors.end(),
                   std::back_inserter(both));
    groups[first].anchors = std::move(both);
    groups[first].weight += groups[second].weight;
    groups[second] = AnchoredGroup();
    std::replace(joined.begin(), joined.end(), static_cast<std::uint32_t>(second),
                 static_cast<std::uint32_t>(first));
    for (std::size_t i = 0; i < count; ++i) {
      like[std::min(i, second) * count + std::max(i, second)] = 0;
      if (i != first) like[std::min(i, first) * count + std::max(i, first)] = likeness(first, i);
    }
  }
}

}  // namespace tokvault
