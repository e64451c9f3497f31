#include "dedup/dictionary_choice.h"

#include <algorithm>
#include <bit>

namespace tokvault {
namespace {

constexpr std::uint64_t kManyTokens = 4'000'000;
// An anchor that occurs more often counts as if it occurred so often: past that it is a phrase that
// any text of its kind brings along.
constexpr std::uint32_t kUsesMax = 64;
// What a segment costs beside its text.
constexpr std::uint32_t kSegmentCost = 16;
// 16 uses a byte and more, down to one in a hundred bytes.
constexpr double kWorthMost = 16;
constexpr std::size_t kSteps = 36;

std::uint32_t mix(std::uint32_t hash) { return hash * 0x9e3779b1u; }

}  // namespace

DictionaryChoice::DictionaryChoice(std::uint64_t tokens) : stride_(tokens < kManyTokens ? 1 : 4) {}

void DictionaryChoice::add(TokenView tokens, std::uint32_t size) {
  anchors_.clear();
  find_anchors(tokens, anchors_);
  const std::size_t begin = hashes_.size();
  for (const Anchor& a : anchors_) {
    if (is_sampled(a, stride_)) hashes_.push_back(a.hash);
  }
  const auto first = hashes_.begin() + static_cast<std::ptrdiff_t>(begin);
  std::sort(first, hashes_.end());
  hashes_.erase(std::unique(first, hashes_.end()), hashes_.end());
  sizes_.push_back(size);
  ends_.push_back(static_cast<std::uint32_t>(hashes_.size()));
}

DictionaryChoice::Count& DictionaryChoice::count_of(std::uint32_t hash) {
  const std::size_t mask = counts_.size() - 1;
  std::size_t i = mix(hash) & mask;
  while (counts_[i].segments != 0 && counts_[i].hash != hash) i = (i + 1) & mask;
  return counts_[i];
}

std::uint64_t DictionaryChoice::uses(std::size_t segment) {
  std::uint64_t n = 0;
  for (const std::uint32_t hash : anchors(segment)) {
    n += std::min(count_of(hash).segments - 1, kUsesMax);
  }
  return n;
}

std::vector<bool> DictionaryChoice::choose(std::uint64_t budget, std::uint32_t size_max) {
  counts_.assign(std::bit_ceil(2 * hashes_.size() + 2), {});
  for (const std::uint32_t hash : hashes_) {
    Count& c = count_of(hash);
    c.hash = hash;
    ++c.segments;
  }
  // Candidates by what they are worth, in uses a byte, in steps of a fifth, the best first: what is
  // not worth its step any more, since others have covered it, moves down. So each is looked at
  // once a step at most, and what is taken is within a fifth of the best.
  std::vector<std::vector<std::uint32_t>> steps(kSteps);
  auto step_of = [&](std::size_t segment) {
    const std::uint64_t found = uses(segment);
    if (found == 0) return kSteps;
    const double worth =
        static_cast<double>(found) / static_cast<double>(sizes_[segment] + kSegmentCost);
    std::size_t step = 0;
    for (double least = kWorthMost; worth < least && step + 1 < kSteps; ++step) least *= 0.8;
    return step;
  };
  for (std::uint32_t i = 0; i < sizes_.size(); ++i) {
    if (sizes_[i] > size_max || sizes_[i] > budget) continue;
    if (const std::size_t step = step_of(i); step < kSteps) steps[step].push_back(i);
  }
  std::vector<bool> chosen(sizes_.size());
  std::uint64_t left = budget;
  for (std::size_t step = 0; step < kSteps; ++step) {
    for (const std::uint32_t segment : steps[step]) {
      if (sizes_[segment] > left) continue;
      if (const std::size_t now = step_of(segment); now != step) {
        if (now < kSteps) steps[now].push_back(segment);
        continue;
      }
      chosen[segment] = true;
      left -= sizes_[segment];
      for (const std::uint32_t hash : anchors(segment)) count_of(hash).segments = 1;
    }
    steps[step] = {};
  }
  counts_ = {};
  // The rest evenly: as much of what has passed as there is room.
  std::uint64_t rest = 0;
  for (std::size_t i = 0; i < sizes_.size(); ++i) rest += chosen[i] ? 0 : sizes_[i];
  const std::uint64_t room = left;
  std::uint64_t seen = 0;
  std::uint64_t taken = 0;
  for (std::size_t i = 0; i < sizes_.size() && rest > 0; ++i) {
    if (chosen[i]) continue;
    seen += sizes_[i];
    const auto due = static_cast<std::uint64_t>(
        static_cast<double>(seen) / static_cast<double>(rest) * static_cast<double>(room));
    if (sizes_[i] > size_max || taken + sizes_[i] > std::min(due, room)) continue;
    chosen[i] = true;
    taken += sizes_[i];
  }
  return chosen;
}

}  // namespace tokvault
