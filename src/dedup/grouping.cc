#include "dedup/grouping.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>

namespace tokvault {
namespace {

constexpr std::size_t kDims = kDirectionSize;
// 2-means looks at this many items of a group, evenly chosen, and so often.
constexpr std::size_t kSampleMax = 2048;
constexpr int kRounds = 8;

using Center = std::array<float, kDims>;

// Tokens are counted in this many classes, by their hash.
constexpr std::size_t kClasses = 1024;

std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

template <class Sums>
Direction normalise(const Sums& sums) {
  double squares = 0;
  for (const auto s : sums) squares += static_cast<double>(s) * static_cast<double>(s);
  Direction out{};
  if (squares == 0) return out;
  const double scale = 127 / std::sqrt(squares);
  for (std::size_t i = 0; i < kDims; ++i) {
    out[i] = static_cast<std::int8_t>(std::lround(static_cast<double>(sums[i]) * scale));
  }
  return out;
}

// The square root of each count, so that what is everywhere does not outweigh all else, times a
// corner of the cube that belongs to its class.
using Corner = std::array<float, kDims>;
const std::array<Corner, kClasses>& corners() {
  static const auto all = [] {
    auto out = std::make_unique<std::array<Corner, kClasses>>();
    for (std::size_t c = 0; c < kClasses; ++c) {
      const std::uint64_t signs = mix(c);
      for (std::size_t i = 0; i < kDims; ++i) (*out)[c][i] = (signs >> i & 1) != 0 ? 1.f : -1.f;
    }
    return out;
  }();
  return *all;
}

template <class Count>
Direction project_counts(const std::array<Count, kClasses>& counts) {
  const auto& all = corners();
  std::array<float, kDims> sums{};
  for (std::size_t c = 0; c < kClasses; ++c) {
    if (counts[c] == 0) continue;
    const float weight = std::sqrt(static_cast<float>(counts[c]));
    const Corner& corner = all[c];
    for (std::size_t i = 0; i < kDims; ++i) sums[i] += corner[i] * weight;
  }
  return normalise(sums);
}

std::size_t class_of(std::uint32_t unit) {
  return (unit * 0x9e3779b1u) >> (32 - std::bit_width(kClasses - 1));
}

template <class Units>
Direction project(const Units& units) {
  std::array<std::uint32_t, kClasses> counts{};
  for (const auto u : units) ++counts[class_of(static_cast<std::uint32_t>(u))];
  return project_counts(counts);
}

float dot(const Direction& a, const Center& b) {
  float sum = 0;
  for (std::size_t i = 0; i < kDims; ++i) sum += static_cast<float>(a[i]) * b[i];
  return sum;
}

class Grouping {
 public:
  Grouping(std::span<const GroupItem> items, std::uint64_t weight_max)
      : items_(items), weight_max_(weight_max), order_(items.size()) {
    for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<std::uint32_t>(i);
  }

  std::vector<std::vector<std::uint32_t>> run() {
    split();
    // Leaves that are neighbours in the tree, together as long as there is room.
    std::vector<std::vector<std::uint32_t>> out;
    std::uint64_t weight = 0;
    for (const auto& [begin, end] : leaves_) {
      const std::uint64_t more = weight_of(begin, end);
      if (out.empty() || weight + more > weight_max_) {
        out.emplace_back();
        weight = 0;
      }
      out.back().insert(out.back().end(), order_.begin() + offset(begin),
                        order_.begin() + offset(end));
      weight += more;
    }
    for (auto& group : out) std::sort(group.begin(), group.end());
    return out;
  }

 private:
  static std::ptrdiff_t offset(std::size_t i) { return static_cast<std::ptrdiff_t>(i); }
  const Direction& at(std::size_t i) const { return items_[order_[i]].direction; }
  std::uint64_t weight_of(std::size_t begin, std::size_t end) const {
    std::uint64_t sum = 0;
    for (std::size_t i = begin; i < end; ++i) sum += items_[order_[i]].weight;
    return sum;
  }

  // With a stack of its own: a tree of splits may be deep.
  void split() {
    std::vector<std::pair<std::size_t, std::size_t>> todo;
    if (!order_.empty()) todo.push_back({0, order_.size()});
    while (!todo.empty()) {
      const auto [begin, end] = todo.back();
      todo.pop_back();
      if (end - begin == 1 || weight_of(begin, end) <= weight_max_) {
        leaves_.push_back({begin, end});
        continue;
      }
      const std::size_t middle = bisect(begin, end);
      todo.push_back({middle, end});
      todo.push_back({begin, middle});
    }
  }

  // Puts the two halves of [begin, end) side by side and returns where the second begins.
  std::size_t bisect(std::size_t begin, std::size_t end) {
    const std::size_t step = (end - begin + kSampleMax - 1) / kSampleMax;
    std::array<Center, 2> centers{};
    // From two items that are far from each other.
    auto farthest = [&](const Direction& from) {
      std::size_t best = begin;
      int least = INT32_MAX;
      for (std::size_t i = begin; i < end; i += step) {
        int product = 0;
        for (std::size_t k = 0; k < kDims; ++k) product += int{from[k]} * int{at(i)[k]};
        if (product < least) least = product, best = i;
      }
      return best;
    };
    const std::size_t first = farthest(at(begin));
    const std::size_t second = farthest(at(first));
    for (std::size_t k = 0; k < kDims; ++k) {
      centers[0][k] = at(first)[k];
      centers[1][k] = at(second)[k];
    }
    Center axis{};
    float limit = 0;
    for (int round = 0; round < kRounds; ++round) {
      float squares = 0;
      for (std::size_t k = 0; k < kDims; ++k) {
        axis[k] = centers[1][k] - centers[0][k];
        squares += centers[1][k] * centers[1][k] - centers[0][k] * centers[0][k];
      }
      limit = squares / 2;
      std::array<Center, 2> sums{};
      std::array<float, 2> counts{};
      for (std::size_t i = begin; i < end; i += step) {
        const std::size_t side = dot(at(i), axis) > limit ? 1 : 0;
        counts[side] += 1;
        for (std::size_t k = 0; k < kDims; ++k) sums[side][k] += static_cast<float>(at(i)[k]);
      }
      if (counts[0] == 0 || counts[1] == 0) break;
      for (std::size_t side = 0; side < 2; ++side) {
        for (std::size_t k = 0; k < kDims; ++k) centers[side][k] = sums[side][k] / counts[side];
      }
    }
    // Each side stays in the order in which it came.
    std::vector<std::uint32_t> second_side;
    std::size_t at_middle = begin;
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint32_t item = order_[i];
      if (dot(items_[item].direction, axis) <= limit) {
        order_[at_middle++] = item;
      } else {
        second_side.push_back(item);
      }
    }
    std::copy(second_side.begin(), second_side.end(), order_.begin() + offset(at_middle));
    // All alike: in halves, as they came.
    if (at_middle == begin || at_middle == end) return begin + (end - begin) / 2;
    return at_middle;
  }

  const std::span<const GroupItem> items_;
  const std::uint64_t weight_max_;
  std::vector<std::uint32_t> order_;
  std::vector<std::pair<std::size_t, std::size_t>> leaves_;
};

}  // namespace

Direction direction_of_tokens(TokenView tokens) { return project(tokens); }

Direction direction_of_bytes(ByteView bytes) {
  return project(std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
}

Direction direction_of_ranked(TokenView tokens) {
  std::array<float, kClasses> counts{};
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    counts[class_of(tokens[i])] += 1 / static_cast<float>(i + 1);
  }
  return project_counts(counts);
}

void DirectionSum::add(const Direction& direction, std::uint64_t size) {
  const auto weight = static_cast<std::int32_t>(std::bit_width(size));
  for (std::size_t i = 0; i < kDims; ++i) sums_[i] += weight * direction[i];
}

Direction DirectionSum::direction() const { return normalise(sums_); }

std::vector<std::vector<std::uint32_t>> group_similar(std::span<const GroupItem> items,
                                                      std::uint64_t weight_max) {
  return Grouping(items, weight_max).run();
}

}  // namespace tokvault
