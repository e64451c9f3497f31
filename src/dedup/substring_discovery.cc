// Finding runs of tokens that recur, in memory that does not grow with the corpus.
//
// What is exact is expensive, so each pass over the corpus leaves less to look at for the next:
//
//   1. Of each 9 runs of 8 tokens that follow one another the one with the smallest hash is a
//      sample: every run of 16 tokens holds one, and equal runs hold equal ones. A table of fixed
//      size counts in how many segments and conversations each was seen. Two samples may share a
//      cell; that costs work later, never a wrong result.
//   2. Runs of 16 tokens (windows) that hold a sample which was seen often enough are counted the
//      same way, at every position.
//   3. Where windows that were seen often enough follow one another, the tokens under them are a
//      candidate, if they are so a second time; it is cut where the count changes by more than
//      kSteep, since a sentence that all use is not to be stored with what a few of them have
//      behind it.
//   4. Every segment is parsed with the candidates, longest match first. Now tokens are compared:
//      this says exactly which segments and conversations hold a run and where it is used. Runs
//      that pay are kept, the most saving first.
//   5. The same with the runs that were kept, for the numbers that are reported; what no longer has
//      its conversations is dropped.
//
// Speed and memory (redundancy_bench substrings over the corpora, tokens=N): 9.4 million take
// 1.5 s of processor time, 50 million 7.2 s, 100 million 14.6 s; 297, 321 and 346 MB with tables of
// 256 MB, 127 MB with tables of 64 MB for the 50 million, at 1 % less saved.
//
// Turned down: suffix arrays (5 to 9 bytes a byte of corpus in memory); a table of all windows (16
// bytes a token); counting at samples alone, which does not find where a run begins and ends.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tokvault/substrings.h"

namespace tokvault {
namespace {

constexpr std::size_t kSampleTokens = 8;
constexpr std::size_t kWindow = kSubstringTokensMin;
constexpr std::size_t kSampleOf = kWindow - kSampleTokens + 1;  // 9 runs of 8 lie in 16 tokens
constexpr std::uint32_t kSteep = 4;
constexpr std::uint64_t kSegmentsMin = 2;
constexpr std::size_t kSeenBits = std::size_t{1} << 26;  // 8 MB

std::uint64_t mixed(std::uint64_t h) {
  h = (h ^ h >> 32) * 0x9e3779b97f4a7c15u;
  return h ^ h >> 29;
}

// The hash of `kTokens` tokens, moved along a sequence: a polynomial modulo 2^64.
template <std::size_t kTokens>
class RollingHash {
 public:
  // REQUIRES: kTokens tokens
  explicit RollingHash(TokenView tokens) {
    for (std::size_t i = 0; i < kTokens; ++i) sum_ = sum_ * kBase + spread(tokens[i]);
  }
  void move(Token out, Token in) { sum_ = (sum_ - spread(out) * kTop) * kBase + spread(in); }
  std::uint64_t value() const { return mixed(sum_); }

 private:
  static constexpr std::uint64_t kBase = 0xd6e8feb86659fd93u;
  static constexpr std::uint64_t top() {
    std::uint64_t power = 1;
    for (std::size_t i = 1; i < kTokens; ++i) power *= kBase;
    return power;
  }
  static constexpr std::uint64_t kTop = top();
  static std::uint64_t spread(Token t) { return (t + 1u) * 0xff51afd7ed558ccdu; }
  std::uint64_t sum_ = 0;
};

// The two cells of a hash in a table of 2^n of them.
class CellPair {
 public:
  CellPair() = default;
  explicit CellPair(std::size_t size) : shift_(65 - static_cast<int>(std::bit_width(size))) {}
  std::size_t first(std::uint64_t hash) const { return hash >> shift_; }
  std::size_t second(std::uint64_t hash) const { return (hash * 0xc2b2ae3d27d4eb4fu) >> shift_; }

 private:
  int shift_ = 63;
};

// Counts of segments and conversations by hash, in a table of fixed size. A hash has two cells, and
// the lower count is its own: it is never too low, and seldom too high while there are not many
// more hashes than cells.
class Sketch {
 public:
  struct Counts {
    std::uint32_t segments;
    std::uint32_t conversations;  // with repetition, up to 63
  };

  explicit Sketch(std::uint64_t memory_bytes) {
    cells_.assign(std::bit_floor(memory_bytes / sizeof(std::uint32_t)), 0);
    places_ = CellPair(cells_.size());
  }
  // Counts one segment, which `tag` stands for, unless it was the last that was counted here.
  void add(std::uint64_t hash, std::uint32_t tag, std::uint32_t conversations) {
    add(cells_[places_.first(hash)], tag & kTagMask, conversations);
    add(cells_[places_.second(hash)], tag & kTagMask, conversations);
  }
  Counts at(std::uint64_t hash) const {
    const Counts a = split(cells_[places_.first(hash)]), b = split(cells_[places_.second(hash)]);
    return {std::min(a.segments, b.segments), std::min(a.conversations, b.conversations)};
  }
  const CellPair& places() const { return places_; }
  std::size_t size() const { return cells_.size(); }
  Counts cell(std::size_t index) const { return split(cells_[index]); }

 private:
  static constexpr int kConversationsShift = 14, kSegmentsShift = 20;
  static constexpr std::uint32_t kTagMask = (1u << kConversationsShift) - 1;
  static constexpr std::uint32_t kConversationsMax = 63, kSegmentsMax = (1u << 12) - 1;
  static void add(std::uint32_t& cell, std::uint32_t tag, std::uint32_t conversations) {
    if (cell != 0 && (cell & kTagMask) == tag) return;
    const Counts seen = split(cell);
    const std::uint32_t c = std::min(kConversationsMax, seen.conversations + conversations);
    const std::uint32_t s = std::min(kSegmentsMax, seen.segments + 1);
    cell = s << kSegmentsShift | c << kConversationsShift | tag;
  }
  static Counts split(std::uint32_t cell) {
    return {cell >> kSegmentsShift, cell >> kConversationsShift & kConversationsMax};
  }

  CellPair places_;
  std::vector<std::uint32_t> cells_;
};

// What is left of a sketch when only "often or not" is asked: a bit a cell.
class Often {
 public:
  template <class IsOften>
  Often(const Sketch& sketch, const IsOften& is_often) : places_(sketch.places()) {
    bits_.assign(sketch.size() / 64, 0);
    for (std::size_t i = 0; i < sketch.size(); ++i) {
      if (is_often(sketch.cell(i))) bits_[i / 64] |= std::uint64_t{1} << i % 64;
    }
  }
  bool at(std::uint64_t hash) const {
    return bit(places_.first(hash)) && bit(places_.second(hash));
  }

 private:
  bool bit(std::size_t index) const { return (bits_[index / 64] >> index % 64 & 1) != 0; }

  CellPair places_;
  std::vector<std::uint64_t> bits_;
};

// Calls `use(position, hash)` for the samples of a sequence, in order.
// REQUIRES: tokens.size() >= kWindow
template <class Use>
void for_samples(TokenView tokens, std::vector<std::uint64_t>& hashes, const Use& use) {
  hashes.resize(tokens.size() - kSampleTokens + 1);
  RollingHash<kSampleTokens> rolling(tokens);
  for (std::size_t i = 0;; ++i) {
    hashes[i] = rolling.value();
    if (i + 1 == hashes.size()) break;
    rolling.move(tokens[i], tokens[i + kSampleTokens]);
  }
  std::size_t least = 0;
  for (std::size_t i = 1; i < kSampleOf; ++i) {
    if (hashes[i] < hashes[least]) least = i;
  }
  use(least, hashes[least]);
  for (std::size_t i = kSampleOf; i < hashes.size(); ++i) {
    const std::size_t before = least;
    if (least + kSampleOf <= i) {
      for (least = i + 1 - kSampleOf; std::size_t j : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u}) {
        const std::size_t at = i + 1 - kSampleOf + j;
        if (hashes[at] < hashes[least]) least = at;
      }
    } else if (hashes[i] < hashes[least]) {
      least = i;
    }
    if (least != before) use(least, hashes[least]);
  }
}

// What a run was seen in, exactly, as far as it matters.
struct Use {
  std::uint64_t uses = 0;
  std::uint64_t segments = 0;
  std::uint64_t last_segment = 0;  // counted from 1
  std::uint64_t conversation_count = 0;
  std::vector<std::uint64_t> conversations;  // different ones, up to the minimum
};

class Discovery {
 public:
  Discovery(const TrainingSource& source, const SubstringTraining& options)
      : source_(source), options_(options) {}

  Result<std::vector<FoundSubstring>> run() {
    TOKVAULT_ASSIGN(const Often samples, count_samples());
    SubstringSet candidates;
    {
      Sketch windows(options_.memory_bytes);
      TOKVAULT_TRY(count_windows(samples, windows));
      TOKVAULT_TRY(collect(samples, windows, candidates));
    }
    TOKVAULT_TRY(measure(candidates));
    SubstringSet kept = choose(candidates);
    return measured(kept);
  }
  Result<std::vector<FoundSubstring>> measured(const SubstringSet& set) {
    TOKVAULT_TRY(measure(set));
    return report(set);
  }

 private:
  // Calls `use(segment, number)` with every segment that can hold a run; numbers are from 1.
  template <class Fn>
  Status for_segments(const Fn& use) {
    std::uint64_t number = 0;
    return source_([&](const TrainingSegment& segment) -> Status {
      ++number;
      if (segment.tokens.size() >= kWindow) TOKVAULT_TRY(use(segment, number));
      return {};
    });
  }

  static std::uint32_t tag_of(std::uint64_t number) {
    return static_cast<std::uint32_t>(mixed(number) >> 32);
  }
  static std::uint32_t holders(const TrainingSegment& segment) {
    const std::uint64_t count =
        std::max<std::uint64_t>(segment.conversation_count, segment.conversations.size());
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(count, 63));
  }
  bool is_often(Sketch::Counts counts) const {
    return counts.segments >= kSegmentsMin &&
           counts.conversations >= std::min<std::uint64_t>(options_.conversations_min, 63);
  }

  Result<Often> count_samples() {
    Sketch samples(options_.memory_bytes);
    const auto count = [&](const TrainingSegment& segment, std::uint64_t number) -> Status {
      const std::uint32_t tag = tag_of(number), held_by = holders(segment);
      for_samples(segment.tokens, hashes_,
                  [&](std::size_t, std::uint64_t hash) { samples.add(hash, tag, held_by); });
      return {};
    };
    TOKVAULT_TRY(for_segments(count));
    return Often(samples, [&](Sketch::Counts counts) { return is_often(counts); });
  }

  // Calls `use(first, limit)` for the stretches of windows that hold a sample seen often: windows
  // begin at first, first + 1, ... limit - 1.
  template <class Fn>
  void for_stretches(TokenView tokens, const Often& samples, const Fn& use) {
    const std::size_t windows = tokens.size() - kWindow + 1;
    std::size_t first = 0, limit = 0;
    for_samples(tokens, hashes_, [&](std::size_t at, std::uint64_t hash) {
      if (!samples.at(hash)) return;
      const std::size_t from = at < kSampleOf ? 0 : at - (kSampleOf - 1);
      const std::size_t to = std::min(at + 1, windows);
      if (from > limit) {
        if (limit > first) use(first, limit);
        first = from;
      }
      if (limit == 0) first = from;
      limit = std::max(limit, to);
    });
    if (limit > first) use(first, limit);
  }

  Status count_windows(const Often& samples, Sketch& windows) {
    return for_segments([&](const TrainingSegment& segment, std::uint64_t number) -> Status {
      const std::uint32_t tag = tag_of(number), count = holders(segment);
      const TokenView tokens = segment.tokens;
      for_stretches(tokens, samples, [&](std::size_t first, std::size_t limit) {
        RollingHash<kWindow> rolling(tokens.subspan(first));
        for (std::size_t i = first;; ++i) {
          windows.add(rolling.value(), tag, count);
          if (i + 1 == limit) break;
          rolling.move(tokens[i], tokens[i + kWindow]);
        }
      });
      return {};
    });
  }

  Status collect(const Often& samples, const Sketch& windows, SubstringSet& candidates) {
    // Candidates that turn out not to pay are many; they get eight times the room.
    const std::uint64_t tokens_max =
        std::min<std::uint64_t>(kSubstringSetTokensMax / 2, options_.tokens_max * 8);
    return for_segments([&](const TrainingSegment& segment, std::uint64_t) -> Status {
      const TokenView tokens = segment.tokens;
      for_stretches(tokens, samples, [&](std::size_t first, std::size_t limit) {
        counts_.clear();
        RollingHash<kWindow> rolling(tokens.subspan(first));
        for (std::size_t i = first;; ++i) {
          const Sketch::Counts c = windows.at(rolling.value());
          counts_.push_back(is_often(c) ? c.segments : 0);
          if (i + 1 == limit) break;
          rolling.move(tokens[i], tokens[i + kWindow]);
        }
        cut(tokens.subspan(first, limit - first + kWindow - 1), tokens_max, candidates);
      });
      return {};
    });
  }

  // Adds the runs of a stretch, counts_[i] being the segments that have the window at i.
  void cut(TokenView tokens, std::uint64_t tokens_max, SubstringSet& candidates) {
    for (std::size_t i = 0; i < counts_.size();) {
      if (counts_[i] == 0) {
        ++i;
        continue;
      }
      std::size_t j = i + 1;
      while (j < counts_.size() && counts_[j] != 0 && counts_[j] <= counts_[j - 1] * kSteep &&
             counts_[j] * kSteep >= counts_[j - 1]) {
        ++j;
      }
      // Windows from i to j - 1: where the count rises, the next run begins at its first window;
      // where it falls, behind the tokens of this one's last.
      const bool rises = j < counts_.size() && counts_[j] > counts_[j - 1];
      const std::size_t limit = rises ? j : j - 1 + kWindow;
      for (std::size_t at = i; at + kWindow <= limit;) {
        const std::size_t size = std::min<std::size_t>(limit - at, options_.run_tokens_max);
        if (candidates.tokens_total() + size > tokens_max) return;
        const TokenView run = tokens.subspan(at, size);
        if (was_seen(run) && !is_known(run)) (void)candidates.add(run, {}).has_value();
        at += size;
      }
      i = rises || j == counts_.size() || counts_[j] == 0 ? j : j - 1 + kWindow;
    }
  }
  // Whether a run was a candidate before: one that is not again, such as what two neighbours in the
  // sketch made longer, would take the room of those that are.
  bool was_seen(TokenView run) {
    if (seen_.empty()) seen_.assign(kSeenBits / 64, 0);
    std::uint64_t hash = run.size();
    for (Token t : run) hash = (hash ^ t) * 0x9e3779b97f4a7c15u, hash ^= hash >> 32;
    const std::size_t bit = mixed(hash) % kSeenBits;
    const std::uint64_t mask = std::uint64_t{1} << bit % 64;
    const bool seen = (seen_[bit / 64] & mask) != 0;
    seen_[bit / 64] |= mask;
    return seen;
  }
  bool is_known(TokenView run) const {
    if (options_.known == nullptr) return false;
    const auto match = options_.known->longest_match(run);
    return match && match->tokens == run.size();
  }

  // Parses every segment with a set and says in uses_ what became of its runs.
  Status measure(const SubstringSet& set) {
    uses_.clear();
    if (set.size() == 0) return {};
    return for_segments([&](const TrainingSegment& segment, std::uint64_t number) -> Status {
      for (std::size_t i = 0; i + kWindow <= segment.tokens.size();) {
        const auto match = set.longest_match(segment.tokens.subspan(i));
        if (match) count_use(uses_[match->id], segment, number);
        i += match ? match->tokens : 1;
      }
      return {};
    });
  }

  void count_use(Use& use, const TrainingSegment& segment, std::uint64_t number) {
    ++use.uses;
    if (use.last_segment == number) return;
    use.last_segment = number;
    ++use.segments;
    use.conversation_count = std::max(use.conversation_count, segment.conversation_count);
    for (std::uint64_t c : segment.conversations) {
      if (use.conversations.size() >= options_.conversations_min) break;
      if (std::find(use.conversations.begin(), use.conversations.end(), c) ==
          use.conversations.end()) {
        use.conversations.push_back(c);
      }
    }
  }

  double saved_bytes(const Use& use, std::uint64_t tokens) const {
    const double run = static_cast<double>(tokens) * options_.token_bytes;
    return static_cast<double>(use.uses) * (run - options_.reference_bytes) - run;
  }
  // The use of a run that is worth keeping.
  const Use* worthy(const SubstringInfo& info) const {
    const auto found = uses_.find(info.id);
    if (found == uses_.end()) return nullptr;
    const Use& use = found->second;
    const bool is_shared =
        use.segments >= kSegmentsMin && use.conversations.size() >= options_.conversations_min;
    return is_shared && saved_bytes(use, info.tokens) > 0 ? &use : nullptr;
  }

  SubstringSet choose(const SubstringSet& candidates) const {
    struct Ranked {
      double saved;  // bytes for each of its tokens
      SubstringInfo info;
    };
    std::vector<Ranked> ranked;
    for (const SubstringInfo& info : candidates.list()) {
      const Use* const use = worthy(info);
      if (use == nullptr) continue;
      const double saved = saved_bytes(*use, info.tokens) / static_cast<double>(info.tokens);
      ranked.push_back({saved, info});
    }
    // By what a token of the set saves, as those are what there is room for.
    std::sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) {
      return a.saved != b.saved ? a.saved > b.saved : a.info.id < b.info.id;
    });
    SubstringSet kept;
    for (const Ranked& r : ranked) {
      if (kept.tokens_total() + r.info.tokens > options_.tokens_max) continue;
      const auto run = candidates.tokens(r.info.id);
      if (run) (void)kept.add(*run, {}).has_value();
    }
    return kept;
  }

  std::vector<FoundSubstring> report(const SubstringSet& kept) const {
    std::vector<FoundSubstring> out;
    for (const SubstringInfo& info : kept.list()) {
      const Use* use = worthy(info);
      const auto run = kept.tokens(info.id);
      if (use == nullptr || !run) continue;
      FoundSubstring found;
      found.id = info.id;
      found.created_ms = info.created_ms;
      found.segments = use->segments;
      found.conversations =
          std::max<std::uint64_t>(use->conversation_count, use->conversations.size());
      found.tokens.assign(run->begin(), run->end());
      found.uses = use->uses;
      found.saved_bytes = saved_bytes(*use, info.tokens);
      out.push_back(std::move(found));
    }
    std::sort(out.begin(), out.end(), [](const FoundSubstring& a, const FoundSubstring& b) {
      return a.saved_bytes != b.saved_bytes ? a.saved_bytes > b.saved_bytes : a.id < b.id;
    });
    return out;
  }

  const TrainingSource& source_;
  const SubstringTraining& options_;
  std::vector<std::uint64_t> hashes_;
  std::vector<std::uint32_t> counts_;
  std::vector<std::uint64_t> seen_;
  std::unordered_map<SubstringId, Use> uses_;
};

Status check_options(const SubstringTraining& options) {
  constexpr std::uint64_t kMemoryMin = 1u << 20;
  constexpr std::uint64_t kMemoryMax = std::uint64_t{1} << 32;
  const auto refuse = [](const std::string& what) { return Error(Errc::invalid, what); };
  if (options.conversations_min == 0) return refuse("a run is in at least one conversation");
  if (options.memory_bytes < kMemoryMin || options.memory_bytes > kMemoryMax) {
    return refuse("the memory of a search is from 1 MiB to 4 GiB, and not " +
                  std::to_string(options.memory_bytes) + " bytes");
  }
  if (options.run_tokens_max < kSubstringTokensMin ||
      options.run_tokens_max > kSubstringTokensMax) {
    return refuse("a run has from " + std::to_string(kSubstringTokensMin) + " to " +
                  std::to_string(kSubstringTokensMax) + " tokens");
  }
  if (options.token_bytes <= 0 || options.reference_bytes < 0) {
    return refuse("a token costs something, and a reference no less than nothing");
  }
  if (options.tokens_max == 0 || options.tokens_max > kSubstringSetTokensMax) {
    return refuse("the runs that are found have from 1 to " +
                  std::to_string(kSubstringSetTokensMax) + " tokens, and not " +
                  std::to_string(options.tokens_max));
  }
  return {};
}

}  // namespace

Result<std::vector<FoundSubstring>> find_substrings(const TrainingSource& source,
                                                    const SubstringTraining& options) {
  TOKVAULT_TRY(check_options(options));
  return Discovery(source, options).run();
}

Result<std::vector<FoundSubstring>> measure_substrings(const TrainingSource& source,
                                                       const SubstringSet& set,
                                                       const SubstringTraining& options) {
  TOKVAULT_TRY(check_options(options));
  return Discovery(source, options).measured(set);
}

}  // namespace tokvault
