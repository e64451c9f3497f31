// Two searches, each for what the other is bad at.
//
// Few edits: the greedy algorithm of Myers finds the shortest script of D insertions and deletions
// in time N + D^2. It is tried first, on what a common beginning and end leave, and given up after
// kEditsMax edits or kStepsPerToken steps a token, so that hopeless and repetitive input costs
// linear time. What it inserts is then looked for elsewhere in the base: a part that moved.
//
// Many edits: every place of the target is looked up in a hash table of the base's runs of
// kRunTokensMin tokens, and the longest match of a few candidates is taken; the place where the
// last match would continue is always one of them. Between those matches that advance in the base
// (the heaviest such chain) Myers aligns the rest, gap by gap.
//
// Turned down: a suffix array (exact longest matches, at 20 times the time, and deltas as small);
// dynamic programming over costs (quadratic); diffing by unique tokens alone (patience), which
// finds nothing in the repetitive text that prompts are.
#include "codec/token_diff.h"

#include <algorithm>
#include <bit>
#include <optional>

namespace tokvault {
namespace {

constexpr std::uint32_t kRunTokensMin = 5;     // a shorter copy from elsewhere costs what it saves
constexpr std::int64_t kEditsMax = 1024;       // D: 2 MB of trace
constexpr std::uint64_t kStepsPerToken = 100;  // about 0.2 us a token before Myers gives up
constexpr std::int64_t kStageEdits = 256;
constexpr std::uint64_t kStageSteps = 1u << 18;
constexpr int kCandidatesMax = 16;  // places of the base tried for one of the target
constexpr std::uint32_t kNone = 0xffffffff;

// How many leading tokens are equal.
std::uint32_t common_prefix(TokenView a, TokenView b) {
  const std::size_t limit = std::min(a.size(), b.size());
  return static_cast<std::uint32_t>(std::mismatch(a.begin(), a.begin() + limit, b.begin()).first -
                                    a.begin());
}

std::uint32_t common_suffix(TokenView a, TokenView b) {
  const std::size_t limit = std::min(a.size(), b.size());
  std::uint32_t n = 0;
  while (n < limit && a[a.size() - 1 - n] == b[b.size() - 1 - n]) ++n;
  return n;
}

// Where in a sequence, so that matches of a part can be said of the whole.
struct Part {
  TokenView tokens;
  std::uint32_t begin = 0;

  Part sub(std::uint32_t from, std::uint32_t limit) const {
    return {tokens.subspan(from - begin, limit - from), from};
  }
  std::uint32_t end() const { return begin + static_cast<std::uint32_t>(tokens.size()); }
};

// Myers's search: what D insertions and deletions reach, for D = 0, 1, 2 and so on.
class Myers {
 public:
  Myers(TokenView a, TokenView b) : a_(a), b_(b) {}

  // Appends the matches of a shortest edit script of the two, which stand at these places; false,
  // and nothing is appended, if that has more than kEditsMax edits or is too hard to find.
  bool shortest(std::uint32_t a_begin, std::uint32_t b_begin, std::vector<TokenMatch>& out) {
    if (a_.empty() || b_.empty()) return true;
    const auto n = static_cast<std::int64_t>(a_.size());
    const auto m = static_cast<std::int64_t>(b_.size());
    if (std::max(n, m) - std::min(n, m) > kEditsMax) return false;
    const Reached end = search(kEditsMax, kStepsPerToken * (a_.size() + b_.size() + 16));
    if (end.x < n || end.x - end.k < m) return false;
    trace_back(end, a_begin, b_begin, out);
    return true;
  }

  // The same for any input, in linear time: the search is cut off every kStageEdits edits, or when
  // little of the shorter sequence can be left, and goes on from where most tokens were found
  // equal.
  void staged(std::uint32_t a_begin, std::uint32_t b_begin, std::vector<TokenMatch>& out) {
    while (!a_.empty() && !b_.empty()) {
      const std::int64_t shorter = std::min(size(a_), size(b_));
      const Reached end = search(std::min(kStageEdits, 2 * shorter + 32), kStageSteps);
      trace_back(end, a_begin, b_begin, out);
      // Where a path left one sequence it has nothing more to find.
      const auto x = static_cast<std::uint32_t>(std::min<std::int64_t>(end.x, size(a_)));
      const auto y = static_cast<std::uint32_t>(std::min<std::int64_t>(end.x - end.k, size(b_)));
      a_ = a_.subspan(x), a_begin += x;
      b_ = b_.subspan(y), b_begin += y;
    }
  }

 private:
  // How far `d` edits get on diagonal `k` (x - y = k).
  struct Reached {
    std::int64_t d = 0, k = 0, x = 0;
  };

  static std::int64_t size(TokenView tokens) { return static_cast<std::int64_t>(tokens.size()); }

  // Row d holds x for k = -d, -d + 2, ... d.
  std::int32_t& at(std::int64_t d, std::int64_t k) {
    return rows_[static_cast<std::size_t>(d * (d + 1) / 2 + (k + d) / 2)];
  }
  bool comes_down(std::int64_t d, std::int64_t k) {
    return k == -d || (k != d && at(d - 1, k - 1) < at(d - 1, k + 1));
  }
  // Where the run of equal tokens begins that ends row d on diagonal k.
  std::int64_t begin(std::int64_t d, std::int64_t k) {
    if (d == 0) return 0;
    return comes_down(d, k) ? at(d - 1, k + 1) : at(d - 1, k - 1) + 1;
  }

  // The end of both, if it is reached; else the point with the most equal tokens behind it.
  Reached search(std::int64_t edits_max, std::uint64_t steps) {
    const std::int64_t n = size(a_), m = size(b_);
    rows_.clear();
    Reached best;
    for (std::int64_t d = 0; d <= std::min(n + m, edits_max); ++d) {
      rows_.resize(rows_.size() + static_cast<std::size_t>(d) + 1);
      Reached row{d, 0, -1};
      for (std::int64_t k = -d; k <= d; k += 2) {
        const std::int64_t from = begin(d, k);
        std::int64_t x = from;
        while (x < n && x - k < m &&
               a_[static_cast<std::size_t>(x)] == b_[static_cast<std::size_t>(x - k)]) {
          ++x;
        }
        at(d, k) = static_cast<std::int32_t>(x);
        if (x >= n && x - k >= m) return {d, k, x};
        const bool inside = x <= n && x - k <= m;
        if (inside && (row.x < 0 || 2 * x - k > 2 * row.x - row.k)) row = {d, k, x};
        const auto spent = static_cast<std::uint64_t>(x - from) + 1;
        steps -= std::min(steps, spent);
      }
      // Every row reaches one edit further, so the last is the best, if it is inside at all.
      if (row.x >= 0) best = row;
      if (steps == 0) break;
    }
    return best;
  }

  // Appends the runs of equal tokens on the way to a point.
  void trace_back(Reached end, std::uint32_t a_begin, std::uint32_t b_begin,
                  std::vector<TokenMatch>& out) {
    const std::size_t first = out.size();
    auto [d, k, x] = end;
    while (true) {
      const std::int64_t from = begin(d, k);
      if (x > from) {
        out.push_back({a_begin + static_cast<std::uint32_t>(from),
                       b_begin + static_cast<std::uint32_t>(from - k),
                       static_cast<std::uint32_t>(x - from)});
      }
      if (d == 0) break;
      const bool down = comes_down(d, k);
      x = down ? from : from - 1;
      k = down ? k + 1 : k - 1;
      --d;
    }
    std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
  }

  TokenView a_, b_;
  std::vector<std::int32_t> rows_;
};

// The places of every run of kRunTokensMin tokens of the base, newest first.
class RunIndex {
 public:
  explicit RunIndex(TokenView base) : base_(base) {
    if (base.size() < kRunTokensMin) return;
    const std::size_t runs = base.size() - kRunTokensMin + 1;
    bits_ = std::max(8, static_cast<int>(std::bit_width(runs)));
    heads_.assign(std::size_t{1} << bits_, kNone);
    previous_.resize(runs);
    for (std::size_t i = 0; i < runs; ++i) {
      std::uint32_t& head = heads_[slot(base.subspan(i))];
      previous_[i] = head;
      head = static_cast<std::uint32_t>(i);
    }
  }

  std::uint32_t first(TokenView at) const { return heads_.empty() ? kNone : heads_[slot(at)]; }
  std::uint32_t next(std::uint32_t place) const { return previous_[place]; }

 private:
  std::size_t slot(TokenView at) const {
    std::uint64_t h = 0;
    for (std::uint32_t i = 0; i < kRunTokensMin; ++i) {
      h = (h ^ at[i]) * 0x9e3779b97f4a7c15u;
      h ^= h >> 29;
    }
    return static_cast<std::size_t>((h * 0x9e3779b97f4a7c15u) >> (64 - bits_));
  }

  TokenView base_;
  int bits_ = 8;
  std::vector<std::uint32_t> heads_;
  std::vector<std::uint32_t> previous_;
};

class Matcher {
 public:
  Matcher(TokenView base, TokenView target) : base_(base), target_(target) {}

  std::vector<TokenMatch> run() {
    const std::uint32_t head = common_prefix(base_, target_);
    const std::uint32_t tail = common_suffix(base_.subspan(head), target_.subspan(head));
    const Part a{base_.subspan(head, base_.size() - head - tail), head};
    const Part b{target_.subspan(head, target_.size() - head - tail), head};
    add({0, 0, head});
    std::vector<TokenMatch> middle;
    if (Myers(a.tokens, b.tokens).shortest(a.begin, b.begin, middle)) {
      fill_gaps(middle, b, a.begin);
    } else {
      middle = align(a, b);
    }
    for (const TokenMatch& m : middle) add(m);
    add({a.end(), b.end(), tail});
    drop_costly();
    return std::move(out_);
  }

 private:
  // Appends a match, to the last one if it continues that.
  void add(const TokenMatch& m) {
    if (m.count == 0) return;
    if (!out_.empty()) {
      TokenMatch& last = out_.back();
      if (last.base + last.count == m.base && last.target + last.count == m.target) {
        last.count += m.count;
        return;
      }
    }
    out_.push_back(m);
  }

  std::uint32_t length_at(std::uint32_t b, std::uint32_t t, std::uint32_t t_limit) const {
    return common_prefix(base_.subspan(b), target_.subspan(t, t_limit - t));
  }

  // Finds runs of the target's [from, limit) anywhere in the base. `cursor` is where in the base a
  // copy at `from` would continue the one before.
  void find_runs(std::uint32_t from, std::uint32_t limit, std::uint32_t cursor,
                 std::vector<TokenMatch>& found) {
    if (limit - from < kRunTokensMin || base_.size() < kRunTokensMin) return;
    if (!index_) index_.emplace(base_);
    std::uint32_t covered = from;
    for (std::uint32_t t = from; limit - t >= kRunTokensMin;) {
      TokenMatch best;
      const auto consider = [&](std::uint32_t place) {
        const std::uint32_t n = length_at(place, t, limit);
        const std::uint32_t far = place > cursor ? place - cursor : cursor - place;
        const std::uint32_t best_far = best.base > cursor ? best.base - cursor : cursor - best.base;
        if (n > best.count || (n == best.count && far < best_far)) best = {place, t, n};
      };
      const std::uint64_t same = std::uint64_t{cursor} + (t - covered);  // same length replaced
      if (same < base_.size()) consider(static_cast<std::uint32_t>(same));
      if (cursor < base_.size()) consider(cursor);
      std::uint32_t place = index_->first(target_.subspan(t));
      for (int i = 0; place != kNone && i < kCandidatesMax; ++i, place = index_->next(place)) {
        consider(place);
      }
      if (best.count < kRunTokensMin) {
        ++t;
        continue;
      }
      while (best.target > covered && best.base > 0 &&
             base_[best.base - 1] == target_[best.target - 1]) {
        --best.base, --best.target, ++best.count;
      }
      found.push_back(best);
      cursor = best.base + best.count;
      t = covered = best.target + best.count;
    }
  }

  // Adds to `matches` the runs of what they leave of `b`.
  void fill_gaps(std::vector<TokenMatch>& matches, const Part& b, std::uint32_t cursor) {
    std::vector<TokenMatch> all;
    std::uint32_t t = b.begin;
    for (const TokenMatch& m : matches) {
      find_runs(t, m.target, cursor, all);
      all.push_back(m);
      t = m.target + m.count;
      cursor = m.base + m.count;
    }
    find_runs(t, b.end(), cursor, all);
    matches = std::move(all);
  }

  // Runs of `b` anywhere, and between those that advance in the base what Myers finds.
  std::vector<TokenMatch> align(const Part& a, const Part& b) {
    std::vector<TokenMatch> runs;
    find_runs(b.begin, b.end(), a.begin, runs);
    const std::vector<bool> advances = heaviest_chain(runs);
    std::vector<TokenMatch> all;
    const Part whole{base_, 0};  // a run may stand outside of `a`
    std::uint32_t base_at = a.begin, target_at = b.begin;
    std::size_t next = 0;  // the next run that advances
    for (std::size_t i = 0; i <= runs.size(); ++i) {
      const bool last = i == runs.size();
      const std::uint32_t target_limit = last ? b.end() : runs[i].target;
      while (next < runs.size() && (next < i || !advances[next])) ++next;
      const std::uint32_t base_limit = next < runs.size() ? runs[next].base : a.end();
      if (target_at < target_limit && base_at < base_limit) {
        align_gap(whole.sub(base_at, base_limit), b.sub(target_at, target_limit), all);
        if (!all.empty() && all.back().target >= target_at) {
          base_at = all.back().base + all.back().count;
        }
      }
      if (last) break;
      all.push_back(runs[i]);
      target_at = runs[i].target + runs[i].count;
      if (advances[i]) base_at = runs[i].base + runs[i].count;
    }
    return all;
  }

  void align_gap(const Part& a, const Part& b, std::vector<TokenMatch>& out) {
    const std::uint32_t head = common_prefix(a.tokens, b.tokens);
    if (head > 0) out.push_back({a.begin, b.begin, head});
    const Part a_rest = a.sub(a.begin + head, a.end());
    const Part b_rest = b.sub(b.begin + head, b.end());
    const std::uint32_t tail = common_suffix(a_rest.tokens, b_rest.tokens);
    Myers(a_rest.tokens.first(a_rest.tokens.size() - tail),
          b_rest.tokens.first(b_rest.tokens.size() - tail))
        .staged(a_rest.begin, b_rest.begin, out);
    if (tail > 0) out.push_back({a.end() - tail, b.end() - tail, tail});
  }

  // Which of the runs are of the set with the most tokens in which each stands behind the one
  // before in the base too. A Fenwick tree over places of the base holds the best chain up to each.
  std::vector<bool> heaviest_chain(const std::vector<TokenMatch>& runs) const {
    std::vector<bool> chosen(runs.size(), false);
    std::vector<std::uint32_t> tree(base_.size() + 2, kNone);  // the run that ends the best chain
    std::vector<std::uint32_t> before(runs.size(), kNone);
    std::vector<std::uint64_t> weight(runs.size(), 0);
    std::uint32_t best = kNone;
    for (std::uint32_t i = 0; i < runs.size(); ++i) {
      for (std::size_t at = runs[i].base + 1; at > 0; at &= at - 1) {
        const std::uint32_t r = tree[at];
        if (r != kNone && (before[i] == kNone || weight[r] > weight[before[i]])) before[i] = r;
      }
      weight[i] = runs[i].count + (before[i] == kNone ? 0 : weight[before[i]]);
      for (std::size_t at = runs[i].base + runs[i].count + 1; at < tree.size(); at += at & -at) {
        if (tree[at] == kNone || weight[i] > weight[tree[at]]) tree[at] = i;
      }
      if (best == kNone || weight[i] > weight[best]) best = i;
    }
    for (; best != kNone; best = before[best]) chosen[best] = true;
    return chosen;
  }

  // A copy of one token beside tokens that are inserted costs more than inserting that too.
  void drop_costly() {
    std::vector<TokenMatch> kept;
    for (std::size_t i = 0; i < out_.size(); ++i) {
      const TokenMatch& m = out_[i];
      const std::uint32_t before = kept.empty() ? 0 : kept.back().target + kept.back().count;
      const std::uint32_t behind =
          i + 1 < out_.size() ? out_[i + 1].target : static_cast<std::uint32_t>(target_.size());
      if (m.count == 1 && (m.target > before || behind > m.target + 1)) continue;
      kept.push_back(m);
    }
    out_ = std::move(kept);
  }

  TokenView base_, target_;
  std::optional<RunIndex> index_;
  std::vector<TokenMatch> out_;
};

}  // namespace

std::vector<TokenMatch> match_tokens(TokenView base, TokenView target) {
  return Matcher(base, target).run();
}

}  // namespace tokvault
