#include "vault/merge_plan.h"

#include <algorithm>

namespace tokvault {
namespace {

int product(const Direction& a, const Direction& b) {
  int sum = 0;
  for (std::size_t i = 0; i < kDirectionSize; ++i) sum += int{a[i]} * int{b[i]};
  return sum;
}

}  // namespace

Result<std::vector<std::size_t>> choose_merge(std::span<const MergeCandidate> candidates,
                                              std::uint64_t bytes_min,
                                              const DirectionOf& direction_of,
                                              std::uint64_t weight_max) {
  std::vector<std::size_t> fresh, merged;
  std::uint64_t fresh_bytes = 0, fresh_weight = 0, merged_weight = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const MergeCandidate& c = candidates[i];
    // What fills half of a step gains little by another.
    if (c.weight > weight_max / 2) continue;
    if (!c.is_fresh) {
      merged.push_back(i);
      merged_weight += c.weight;
      continue;
    }
    fresh_bytes += c.size_bytes;
    fresh_weight += c.weight;
    fresh.push_back(i);
  }
  std::vector<std::size_t> chosen;
  if (fresh.empty() || fresh_bytes < bytes_min ||
      (fresh_weight < merged_weight / kMergedPerFresh &&
       fresh_weight < weight_max / (kMergedPerFresh + 1))) {
    return chosen;
  }
  // What has to wait comes into a later step.
  std::uint64_t weight = 0;
  for (const std::size_t i : fresh) {
    if (!chosen.empty() && weight + candidates[i].weight > weight_max) break;
    chosen.push_back(i);
    weight += candidates[i].weight;
  }
  const std::uint64_t limit = std::min(weight_max, weight + kMergedPerFresh * weight);
  if (weight + merged_weight <= limit) {
    chosen.insert(chosen.end(), merged.begin(), merged.end());
  } else {
    DirectionSum sum;
    for (const std::size_t i : chosen) {
      TOKVAULT_ASSIGN(const Direction direction, direction_of(i));
      sum.add(direction, candidates[i].weight);
    }
    const Direction wanted = sum.direction();
    std::vector<std::pair<int, std::size_t>> order;
    for (const std::size_t i : merged) {
      TOKVAULT_ASSIGN(const Direction direction, direction_of(i));
      order.push_back({-product(direction, wanted), i});
    }
    std::sort(order.begin(), order.end());
    for (const auto& [distance, i] : order) {
      if (weight + candidates[i].weight > limit) continue;
      chosen.push_back(i);
      weight += candidates[i].weight;
    }
  }
  if (chosen.size() == 1 && !candidates[chosen[0]].is_divisible) chosen.clear();
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

Result<std::vector<std::vector<std::size_t>>> choose_steps(std::span<const StepUnit> units,
                                                           const DirectionOf& direction_of) {
  std::vector<std::vector<std::size_t>> steps;
  std::uint64_t total = 0;
  for (const StepUnit& unit : units) total += unit.share;
  if (total <= kStepShare) {
    if (!units.empty()) steps.emplace_back();
    for (std::size_t i = 0; i < units.size(); ++i) steps[0].push_back(i);
    return steps;
  }
  const bool any_new = std::any_of(units.begin(), units.end(),
                                   [](const StepUnit& unit) { return !unit.is_compact; });
  std::vector<GroupItem> items;
  std::vector<std::size_t> unit_of;  // of each item
  for (std::size_t i = 0; i < units.size(); ++i) {
    // Half of a step gains little by another.
    if (units[i].is_compact && (!any_new || units[i].share > kStepShare / 2)) {
      steps.push_back({i});
      continue;
    }
    TOKVAULT_ASSIGN(const Direction direction, direction_of(i));
    items.push_back({direction, units[i].share});
    unit_of.push_back(i);
  }
  for (const auto& group : group_similar(items, kStepShare)) {
    std::vector<std::size_t> step;
    for (const std::uint32_t item : group) step.push_back(unit_of[item]);
    const bool is_new =
        std::any_of(step.begin(), step.end(), [&](std::size_t i) { return !units[i].is_compact; });
    if (is_new) {
      steps.push_back(std::move(step));
    } else {
      for (const std::size_t i : step) steps.push_back({i});
    }
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

}  // namespace tokvault
