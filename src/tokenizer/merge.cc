// Three ways, by length of the piece.
//
// Up to kShortMax bytes: an array with the merge that each token would make with the next one; the
// smallest entry is found by a scan, which the compiler turns into a few vector instructions, and
// nothing is moved: merged tokens leave a hole. The entry is (index of the merged token, position)
// in one integer, so that the smallest is the right one of equals, too.
//
// Longer: in windows. A sequence of tokens is what merging makes of its bytes if, and only if, each
// two neighbours in it are what merging makes of *their* bytes. (Follow the merging of the whole up
// to the first merge across a boundary that should have stayed. Until then, what happened inside
// the two tokens at that boundary is what happens when these two are merged alone: the best merge
// of all, if it is in there, is also the best in there. So merging the two alone makes that merge,
// too.) So a window is merged, cut at a boundary well before its end, where what follows has no say
// any more; the next window begins at the cut; and that the cut was right is checked by merging the
// two tokens beside it. If it is wrong another cut is tried, then a larger window, in the end the
// whole. This keeps memory small and speed the same for a piece of any length.
//
// Windows that had to grow beyond kShortMax: a heap, n log n.
#include "tokenizer/merge.h"

#include <algorithm>
#include <functional>

namespace tokvault {
namespace {

constexpr std::uint32_t kNone = Vocabulary::kNone;
// Merges of merge_short(): index << kPositionBits | position.
constexpr int kPositionBits = 7;
constexpr std::int32_t kNoMerge = 0x7fffffff;
static_assert(Merger::kShortMax == 1u << kPositionBits);
static_assert(std::uint64_t{Vocabulary::kTokensMax} << kPositionBits < kNoMerge);

// Cuts of one window that are tried before it grows, and the factor by which it grows.
constexpr int kCutsMax = 4;
constexpr std::size_t kWindowGrowth = 4;

inline std::int32_t packed(std::uint32_t merged, std::size_t position) {
  return merged == kNone ? kNoMerge
                         : static_cast<std::int32_t>(merged << kPositionBits |
                                                     static_cast<std::uint32_t>(position));
}

}  // namespace

std::size_t Merger::merge_short(std::string_view piece, std::uint32_t* out) const {
  constexpr std::size_t kLane = 16;
  const std::size_t size = piece.size();
  alignas(64) std::int32_t merges[kShortMax + 1];
  std::uint32_t index[kShortMax];
  std::uint8_t next[kShortMax];
  std::uint8_t previous[kShortMax + 1];
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(piece[i]); };
  const std::size_t scanned = (size + kLane - 1) / kLane * kLane;
  for (std::size_t i = 0; i < size; ++i) {
    index[i] = vocabulary_.byte_index(byte(i));
    next[i] = static_cast<std::uint8_t>(i + 1);
    previous[i] = static_cast<std::uint8_t>(i == 0 ? 0 : i - 1);
  }
  for (std::size_t i = 0; i + 1 < size; ++i) {
    merges[i] = packed(vocabulary_.byte_pair(byte(i), byte(i + 1)), i);
  }
  for (std::size_t i = size - 1; i < scanned; ++i) merges[i] = kNoMerge;

  for (;;) {
    std::int32_t lane[kLane];
    for (std::size_t k = 0; k < kLane; ++k) lane[k] = merges[k];
    for (std::size_t i = kLane; i < scanned; i += kLane) {
      for (std::size_t k = 0; k < kLane; ++k) lane[k] = std::min(lane[k], merges[i + k]);
    }
    std::int32_t best = lane[0];
    for (std::size_t k = 1; k < kLane; ++k) best = std::min(best, lane[k]);
    if (best == kNoMerge) break;
    const std::size_t at = static_cast<std::size_t>(best) & (kShortMax - 1);
    const std::uint32_t merged = static_cast<std::uint32_t>(best) >> kPositionBits;
    const std::size_t gone = next[at];
    const std::size_t behind = next[gone];
    index[at] = merged;
    next[at] = static_cast<std::uint8_t>(behind);
    previous[behind] = static_cast<std::uint8_t>(at);
    merges[gone] = kNoMerge;
    const std::size_t before = previous[at];
    // The two look-ups mostly wait for memory: let them wait together.
    if (at != 0) vocabulary_.prefetch_pair(index[before], merged);
    merges[at] = behind == size ? kNoMerge : packed(vocabulary_.pair(merged, index[behind]), at);
    if (at != 0) {
      merges[before] = packed(vocabulary_.pair(index[before], merged), before);
    }
  }
  std::size_t count = 0;
  for (std::size_t i = 0; i != size; i = next[i]) out[count++] = index[i];
  return count;
}

void Merger::merge_heap(std::string_view piece, std::vector<std::uint32_t>& out) {
  const auto size = static_cast<std::uint32_t>(piece.size());
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(piece[i]); };
  const auto entry = [](std::uint32_t merged, std::uint32_t at) {
    return std::uint64_t{merged} << 32 | at;
  };
  nodes_.resize(size);
  heap_.clear();
  for (std::uint32_t i = 0; i < size; ++i) {
    const std::uint32_t merged = i + 1 < size ? vocabulary_.byte_pair(byte(i), byte(i + 1)) : kNone;
    nodes_[i] = {vocabulary_.byte_index(byte(i)), merged, i - 1, i + 1};
    if (merged != kNone) heap_.push_back(entry(merged, i));
  }
  const std::greater<> later;
  std::make_heap(heap_.begin(), heap_.end(), later);
  const auto set_merge = [&](std::uint32_t at, std::uint32_t merged) {
    nodes_[at].merged = merged;
    if (merged == kNone) return;
    heap_.push_back(entry(merged, at));
    std::push_heap(heap_.begin(), heap_.end(), later);
  };
  while (!heap_.empty()) {
    const auto merged = static_cast<std::uint32_t>(heap_.front() >> 32);
    const auto at = static_cast<std::uint32_t>(heap_.front());
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
    Node& node = nodes_[at];
    // Entries are not removed when they become stale. A token that was merged into the one before
    // it has no merge any more.
    if (node.merged != merged) continue;
    Node& gone = nodes_[node.next];
    gone.merged = kNone;
    node.index = merged;
    node.next = gone.next;
    if (node.next != size) {
      nodes_[node.next].previous = at;
      set_merge(at, vocabulary_.pair(merged, nodes_[node.next].index));
    } else {
      node.merged = kNone;
    }
    if (at != 0) set_merge(node.previous, vocabulary_.pair(nodes_[node.previous].index, merged));
  }
  for (std::uint32_t i = 0; i != size; i = nodes_[i].next) out.push_back(nodes_[i].index);
}

void Merger::merge_whole(std::string_view piece, std::vector<std::uint32_t>& out) {
  out.clear();
  if (piece.size() > kShortMax) return merge_heap(piece, out);
  out.resize(piece.size());
  out.resize(merge_short(piece, out.data()));
}

bool Merger::stand_apart(std::uint32_t left, std::uint32_t right) {
  two_bytes_.assign(vocabulary_.bytes(left)).append(vocabulary_.bytes(right));
  merge_whole(two_bytes_, two_);
  return two_.size() == 2 && two_[0] == left && two_[1] == right;
}

void Merger::merge(std::string_view piece, std::vector<std::uint32_t>& out) {
  const std::string_view all = piece;
  const std::size_t out_size = out.size();
  std::size_t size = kShortMax;  // of the window
  merge_whole(piece.substr(0, size), window_);
  while (size < piece.size()) {
    // Here window_ is what merging makes of piece[0, size), and its first token stands apart from
    // the last one in `out`.
    std::size_t count = window_.size();
    std::size_t cut = size;
    const auto step_back = [&] { cut -= vocabulary_.bytes(window_[--count]).size(); };
    while (count > 0 && cut > size - size / 4) step_back();
    bool found = false;
    for (int tries = 0; tries < kCutsMax && count > 0; ++tries) {
      merge_whole(piece.substr(cut, kShortMax), ahead_);
      found = stand_apart(window_[count - 1], ahead_[0]);
      if (found) break;
      step_back();
    }
    if (found) {
      out.insert(out.end(), window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(count));
      piece.remove_prefix(cut);
      size = kShortMax;
      window_.swap(ahead_);
      continue;
    }
    const std::uint32_t first = window_[0];
    size *= kWindowGrowth;
    merge_whole(piece.substr(0, size), window_);
    if (out.size() > out_size && window_[0] != first && !stand_apart(out.back(), window_[0])) {
      // The cut before this window was right for what the window showed, and is wrong now.
      out.resize(out_size);
      merge_whole(all, window_);
      break;
    }
  }
  out.insert(out.end(), window_.begin(), window_.end());
}

}  // namespace tokvault
