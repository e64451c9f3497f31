// The default strategy of the store, value.
//
// It learns from the traffic how likely blocks are to be used again, and keeps what saves the
// most computing per byte and unit of time. Every block is in a class: how often it was used (seven
// buckets), whether what it continues had been used before, and how deep in the prompt it stands.
// For every class the policy counts, by age in half-octaves of requests, how many blocks were used
// again at that age and how many had the chance. Evicted blocks are followed as ghosts, so reuse
// that came too late is learned too. From the counts follows for a block of a class and age the
// index
//     max over horizons t of  P(used again within t) / E(time it occupies until then),
// which is what a unit of cache time spent on the block returns at best (the Gittins index of the
// stopping problem "how long to keep it"). It is recency where recency predicts, frequency where
// frequency does, and keeps what returns after a long loop; nothing in it is tuned to a workload.
// Two estimates, one by use count alone and one by all features with fewer count buckets, are
// averaged: each is noisy in its own way. Without data both are 1/age: LRU. A bin without data
// takes the hazard of the bin before it; a class without data that of all classes.
//
// A block is admitted under pressure only if its index is not below that of the victim; a refused
// block is followed as a ghost, so its second sight counts as a use.
//
// What is learned is noise where recency is all there is to know, and there LRU is better. So two
// caches of keys are simulated beside the store (of all blocks, or of a sample of some thousands):
// one evicts what was used longest ago, one by the index. The store does what the one with the
// fewer misses does, counted over the last thousands of requests; the index has to be better by a
// 128th. docs/decisions/0010-eviction.md has what was measured, and what was tried instead.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "checkpoint/shadow_cache.h"

namespace tokvault::checkpoint {
namespace {

class ValuePolicy final : public LeafPolicy, private ShadowCache::Judge {
 public:
  ValuePolicy(BlockIndex& index, const PolicyOptions& options)
      : LeafPolicy(index), options_(options) {
    learn();
  }

  void begin(std::uint32_t clock) override {
    clock_ = clock;
    refused_.clear();
    if (++requests_ < learn_at_) return;
    learn();
    learn_at_ = requests_ + std::clamp<std::uint32_t>(requests_ / 64, 64, 4096);
  }
  void touched(RecordId id) override {
    BlockRecord& r = index_[id];
    classify_continuation(index_, r);
    follow(r.key(), class_of(r), true, true);
  }
  void inserted(RecordId id) override {
    BlockRecord& r = index_[id];
    if (const Ghost* ghost = find(r.key())) r.set_hits(ghost->hits + 1u);
    classify_continuation(index_, r);
    follow(r.key(), class_of(r), false, true);
  }
  void erased(RecordId id, bool evicted) override {
    Ghost* ghost = find(index_[id].key());
    if (ghost == nullptr) return;
    ghost->cached = false;
    if (!evicted) ghost->ended = true;  // removed on purpose: says nothing about reuse
  }
  bool admit(const Candidate& c, RecordId victim) override {
    if (victim == kNoRecord || by_recency_) return true;
    const double worth = cost(c.position, c.tokens) * index_of(class_of(c), 1) / c.units;
    return worth >= value(victim);
  }
  void refused(const Candidate& c) override {
    follow(c.key, class_of(c), false, false);
    if (c.tokens == options_.block_tokens) {
      refused_.push_back({.key = c.key, .depth = depth_of(c.position / options_.block_tokens)});
    }
  }
  void end(std::span<const RecordId> chain) override {
    while (index_.size() / (shadow_mask_ + 1) > kShadowBlocks) {
      shadow_mask_ = shadow_mask_ * 2 + 1;
      shadow_of_recency_.clear();
      shadow_of_worth_.clear();
    }
    std::vector<ShadowBlock> request;
    const auto want = [&](Hash128 key, std::uint16_t depth) {
      if ((key.lo >> 32 & shadow_mask_) != 0) return;
      const Ghost* ghost = find(key);
      request.push_back({key, depth, ghost != nullptr ? ghost->hits : 0u});
    };
    for (const RecordId id : chain) {
      if (index_[id].kind == Kind::block) want(index_[id].key(), index_[id].depth);
    }
    for (const ShadowBlock& block : refused_) want(block.key, block.depth);
    refused_.clear();
    if (request.empty()) return;
    const std::uint64_t capacity = std::max<std::uint64_t>(1, index_.size() / (shadow_mask_ + 1));
    const auto count = [&](double& misses, ShadowCache& shadow) {
      misses =
          misses * kForgetMisses + static_cast<double>(shadow.request(request, clock_, capacity));
    };
    count(misses_of_recency_, shadow_of_recency_);
    count(misses_of_worth_, shadow_of_worth_);
    by_recency_ = misses_of_worth_ >= misses_of_recency_ * kMustBeBetter;
  }
  std::uint64_t memory_bytes() const override {
    return LeafPolicy::memory_bytes() + ghosts_.capacity() * sizeof(Ghost) +
           shadow_of_recency_.memory_bytes() + shadow_of_worth_.memory_bytes();
  }

 protected:
  double value(RecordId id) const override {
    const BlockRecord& r = index_[id];
    if (by_recency_) return r.last_use;
    const double worth = index_of(class_of(r), clock_ - r.last_use);
    return worth * cost(std::uint32_t{r.depth} * options_.block_tokens, r.tokens) / r.units;
  }

 private:
  static constexpr int kUses = 7;
  static constexpr int kDepths = 3;
  static constexpr int kClasses = kUses * 2 * kDepths;
  static constexpr int kBins = 44;
  static constexpr double kPriorWeight = 20;   // blocks' worth of evidence
  static constexpr double kPriorHazard = 0.1;  // of reuse within half an octave of age
  static constexpr double kForget = 0.99;
  static constexpr std::size_t kGhostsMin = 8192;
  static constexpr std::size_t kGhostsMax = std::size_t{1} << 18;
  static constexpr std::size_t kShadowBlocks = std::size_t{1} << 14;
  static constexpr double kForgetMisses = 0.9995;
  static constexpr double kMustBeBetter = 1 - 1.0 / 128;
  using Histogram = std::array<double, kBins>;

  // A key that is followed, cached or not.
  struct Ghost {
    std::uint64_t key = 0;  // 0: empty
    std::uint32_t last = 0;
    std::uint8_t hits = 0;
    std::uint8_t kind = 0;  // class
    bool cached = false;
    bool ended = false;
  };

  static int bin_of(std::uint32_t age) {
    if (age == 0) age = 1;
    const int octave = std::bit_width(age) - 1;
    const int half = octave > 0 ? static_cast<int>(age >> (octave - 1)) & 1 : 0;
    return std::min(kBins - 1, 2 * octave + half);
  }
  static double bin_start(int bin) { return std::exp2(bin / 2) * ((bin & 1) != 0 ? 1.5 : 1.0); }

  static int make_class(std::uint32_t hits, bool continuation, std::uint32_t position) {
    const int uses = hits < 3    ? static_cast<int>(hits)
                     : hits < 5  ? 3
                     : hits < 9  ? 4
                     : hits < 17 ? 5
                                 : 6;
    const int depth = position < 1024 ? 0 : position < 6144 ? 1 : 2;
    return (uses * 2 + (continuation ? 1 : 0)) * kDepths + depth;
  }
  int class_of(const BlockRecord& r) const {
    return make_class(r.hits(), (r.flags & kContinuation) != 0,
                      std::uint32_t{r.depth} * options_.block_tokens);
  }
  int class_of(const Candidate& c) const {
    const std::uint32_t hits = hits_if_stored(c.key);
    bool continuation = false;
    if (c.has_parent) {
      const RecordId parent = index_.find(c.parent);
      continuation =
          (parent != kNoRecord ? index_[parent].hits() : hits_if_stored(c.parent)) > hits;
    }
    return make_class(hits, continuation, c.position);
  }
  std::uint32_t hits_if_stored(Hash128 key) const {
    const Ghost* ghost = find(key);
    return ghost != nullptr ? ghost->hits + 1u : 0;
  }
  double cost(std::uint32_t position, std::uint32_t tokens) const {
    return std::max<double>(tokens, 1) * (1 + position / options_.attention_tokens);
  }
  double index_of(int kind, std::uint32_t age) const {
    return table_[static_cast<std::size_t>(kind)][static_cast<std::size_t>(bin_of(age))];
  }

  // --- the shadows: all blocks have one size, and a whole block's tokens ---
  static std::uint16_t depth_of(std::uint32_t blocks) {
    return static_cast<std::uint16_t>(std::min(blocks, 65535u));
  }
  double worth_at(const BlockRecord& r, std::uint32_t age) const {
    const std::uint32_t position = std::uint32_t{r.depth} * options_.block_tokens;
    return index_of(class_of(r), age) * cost(position, options_.block_tokens);
  }
  double worth(const BlockRecord& r) const override { return worth_at(r, clock_ - r.last_use); }
  double worth_if_added(const BlockRecord& r) const override { return worth_at(r, 1); }

  // --- ghosts: an open-addressing table, a sample of the keys once the store is large ---
  bool sampled(std::uint64_t key) const { return (key >> 40 & sample_mask_) == 0; }
  const Ghost* find(Hash128 key) const {
    const std::uint64_t wanted = key.hi | 1;
    if (ghosts_.empty() || !sampled(wanted)) return nullptr;
    const std::size_t mask = ghosts_.size() - 1;
    for (std::size_t i = wanted >> 1 & mask; ghosts_[i].key != 0; i = (i + 1) & mask) {
      if (ghosts_[i].key == wanted) return &ghosts_[i];
    }
    return nullptr;
  }
  Ghost* find(Hash128 key) { return const_cast<Ghost*>(std::as_const(*this).find(key)); }
  Ghost& place(std::uint64_t key) {
    const std::size_t mask = ghosts_.size() - 1;
    std::size_t i = key >> 1 & mask;
    while (ghosts_[i].key != 0 && ghosts_[i].key != key) i = (i + 1) & mask;
    return ghosts_[i];
  }
  void resize(std::size_t count) {
    std::vector<Ghost> old(count);
    old.swap(ghosts_);
    for (const Ghost& g : old) {
      if (g.key != 0 && sampled(g.key)) place(g.key) = g;
    }
  }
  void follow(Hash128 key, int kind, bool hit, bool cached) {
    const std::uint64_t wanted = key.hi | 1;
    if (!sampled(wanted)) return;
    if ((followed_ + 1) * 5 > ghosts_.size() * 3) {
      if (ghosts_.size() >= kGhostsMax * 2) expire();
      resize(std::clamp<std::size_t>(ghosts_.size() * 2, 2048, kGhostsMax * 2));
    }
    Ghost& g = place(wanted);
    if (g.key == 0) {
      g = Ghost{.key = wanted, .last = clock_};
      ++followed_;
    } else if (!g.ended) {
      ended_[g.kind][static_cast<std::size_t>(bin_of(clock_ - g.last))] += 1;
      if (g.hits < 255) ++g.hits;
    }
    if (hit && g.hits == 0) g.hits = 1;
    g.last = clock_;
    g.kind = static_cast<std::uint8_t>(kind);
    g.cached = cached || g.cached;
    g.ended = false;
  }
  // Keeps the number of keys that are followed in bounds: the longest unused ghosts go. A store
  // with more blocks than can be followed follows a sample.
  void expire() {
    const std::size_t limit =
        std::clamp<std::size_t>(std::size_t{index_.size()} * 30, kGhostsMin, kGhostsMax);
    if (followed_ <= limit) return;
    while (index_.size() / (sample_mask_ + 1) > kGhostsMax / 10)
      sample_mask_ = sample_mask_ * 2 + 1;
    std::vector<std::uint32_t> ages;
    for (const Ghost& g : ghosts_) {
      if (g.key != 0 && !g.cached && sampled(g.key)) ages.push_back(clock_ - g.last);
    }
    std::uint32_t oldest = 0xffffffffu;
    const std::size_t drop = followed_ - limit * 3 / 4;
    if (drop < ages.size()) {
      const auto at = ages.begin() + static_cast<std::ptrdiff_t>(ages.size() - drop);
      std::nth_element(ages.begin(), at, ages.end());
      oldest = *at;
    } else {
      oldest = 0;
    }
    followed_ = 0;
    for (Ghost& g : ghosts_) {
      if (g.key == 0) continue;
      const std::uint32_t age = clock_ - g.last;
      if ((!g.cached && age >= oldest) || !sampled(g.key)) {
        if (!g.ended) waited_[g.kind][static_cast<std::size_t>(bin_of(age))] += 1;
        g.key = 0;
      } else {
        ++followed_;
      }
    }
    resize(ghosts_.size());
  }

  // --- the estimate ---
  using Hazard = std::array<double, kBins>;
  // The probability of reuse in each bin, given that the block got there: counted reuse over those
  // that were in the bin (half of those that are in it still), smoothed with a prior.
  static Hazard estimate(const Histogram& ended, const Histogram& waiting, const Hazard* prior) {
    Hazard hazard{};
    std::array<double, kBins> reached{};
    double n = 0;
    for (std::size_t b = kBins; b-- > 0;) {
      n += ended[b] + waiting[b];
      reached[b] = n;
    }
    for (std::size_t b = 0; b < kBins; ++b) {
      const double expected = prior != nullptr ? (*prior)[b] : b > 0 ? hazard[b - 1] : kPriorHazard;
      const double risk = reached[b] - 0.5 * waiting[b];
      hazard[b] = std::min(0.999, (ended[b] + kPriorWeight * expected) / (risk + kPriorWeight));
    }
    return hazard;
  }
  static Hazard returns(const Hazard& hazard) {
    Hazard out{};
    for (std::size_t b = 0; b < kBins; ++b) {
      double best = 0;
      double survives = 1;
      double used = 0;
      double time = 0;
      for (std::size_t k = b; k < kBins; ++k) {
        const int bin = static_cast<int>(k);
        double width = bin_start(bin + 1) - bin_start(bin);
        double p = hazard[k];
        if (k == b) {  // on average the block is half way through its bin
          width *= 0.5;
          p = 1 - std::sqrt(1 - p);
        }
        used += survives * p;
        time += survives * width * (1 - 0.5 * p);
        survives *= 1 - p;
        best = std::max(best, used / time);
      }
      out[b] = best;
    }
    return out;
  }
  void learn() {
    expire();
    std::array<Histogram, kClasses> waiting = waited_;
    for (const Ghost& g : ghosts_) {
      if (g.key == 0 || g.ended) continue;
      waiting[g.kind][static_cast<std::size_t>(bin_of(clock_ - g.last))] += 1;
    }
    Histogram all_ended{};
    Histogram all_waiting{};
    std::array<Histogram, kUses> use_ended{};
    std::array<Histogram, kUses> use_waiting{};
    std::array<Histogram, kClasses> mixed_ended{};
    std::array<Histogram, kClasses> mixed_waiting{};
    for (std::size_t c = 0; c < kClasses; ++c) {
      const std::size_t uses = c / (2 * kDepths);
      const std::size_t few = std::min<std::size_t>(uses, 3) * 2 * kDepths + c % (2 * kDepths);
      for (std::size_t b = 0; b < kBins; ++b) {
        all_ended[b] += ended_[c][b];
        all_waiting[b] += waiting[c][b];
        use_ended[uses][b] += ended_[c][b];
        use_waiting[uses][b] += waiting[c][b];
        mixed_ended[few][b] += ended_[c][b];
        mixed_waiting[few][b] += waiting[c][b];
        ended_[c][b] *= kForget;
        waited_[c][b] *= kForget;
      }
    }
    const Hazard pooled = estimate(all_ended, all_waiting, nullptr);
    for (std::size_t c = 0; c < kClasses; ++c) {
      const std::size_t uses = c / (2 * kDepths);
      const std::size_t few = std::min<std::size_t>(uses, 3) * 2 * kDepths + c % (2 * kDepths);
      const Hazard by_use = returns(estimate(use_ended[uses], use_waiting[uses], &pooled));
      const Hazard by_all = returns(estimate(mixed_ended[few], mixed_waiting[few], &pooled));
      for (std::size_t b = 0; b < kBins; ++b) table_[c][b] = std::sqrt(by_use[b] * by_all[b]);
    }
  }

  PolicyOptions options_;
  std::uint32_t requests_ = 0;
  std::uint32_t learn_at_ = 64;
  std::vector<Ghost> ghosts_;
  std::size_t followed_ = 0;
  std::uint64_t sample_mask_ = 0;
  std::array<Histogram, kClasses> ended_{};   // used again at this age
  std::array<Histogram, kClasses> waited_{};  // given up at this age
  std::array<Hazard, kClasses> table_{};

  std::vector<ShadowBlock> refused_;  // by the request that is under way
  std::uint64_t shadow_mask_ = 0;     // of keys that the shadows hold; 0: all
  ShadowCache shadow_of_recency_{nullptr};
  ShadowCache shadow_of_worth_{this};
  double misses_of_recency_ = 0;
  double misses_of_worth_ = 0;
  bool by_recency_ = true;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_value_policy(BlockIndex& index, const PolicyOptions& options) {
  return std::make_unique<ValuePolicy>(index, options);
}

}  // namespace tokvault::checkpoint
