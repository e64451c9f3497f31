// The predictor under token_model.h: what comes next, how likely is it, and learning from the
// answer. Format: docs/format/token_model.md
//
// Text is a sequence of *symbols*: token codes (or bytes), and a mark before each segment. A symbol
// is coded in two stages.
//
// 1. *Match.* After an earlier run of symbols that equals the last ones (found by a hash of the
// last
//    four, or else of two) stands the symbol that probably comes now. One decision says whether it
//    does. In text that repeats itself most symbols cost this one decision.
// 2. *Literal.* Otherwise the symbol's code is coded bit by bit. For every four bits, each of five
//    contexts (nothing, the last symbol, the last two, the last three, the last but one) has a
//    *line* of 15 adaptive probabilities, found by hashing. They, and the symbol that the second
//    match foretells, are mixed in the logistic domain by weights that learn. (Mahoney, "Adaptive
//    Weighing of Context Models for Lossless Data Compression", 2005; lpaq.)
//
// A dictionary is coded with one table of lines, which learns. A block looks lines up in a small
// table of its own first, and takes a copy of the dictionary's line when it needs it for the first
// time. So any number of blocks can be decoded at once, each starts from the same state, and
// forgetting a block costs what it touched. The rest of the state is small and copied whole.
//
// Time goes into waiting for lines, so all of a step are asked for before the first is looked at,
// and those of a symbol's first step as soon as the symbol before it is known.
#ifndef TOKVAULT_CODEC_TOKEN_PREDICTOR_H_
#define TOKVAULT_CODEC_TOKEN_PREDICTOR_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/large_allocator.h"
#include "codec/token_model.h"
#include "tokvault/types.h"

namespace tokvault {

// A symbol is its code, one to three bytes, left-aligned in 24 bits; FF0000 is the end of a
// segment. Of a code of six bytes each is a symbol.
using Symbol = std::uint32_t;
inline constexpr Symbol kEscape = 0xFE0000;    // the first of them
inline constexpr Symbol kRawByte = 0x1000000;  // added to each of the others
inline constexpr Symbol kNoSymbol = 0xffffffffu;
inline constexpr int kRawBytes = 5;

// How many bytes a symbol has that begins with `byte`.
inline int symbol_bytes(std::uint32_t byte) {
  return byte < 0x80 || byte >= 0xFE ? 1 : byte < 0xC0 ? 2 : 3;
}

inline constexpr int kContexts = 5;
inline constexpr int kInputs = kContexts + 2;       // and the second match, and a constant
inline constexpr int kMatchInputs = 6;              // of the first stage, with a constant
inline constexpr std::uint32_t kMatchMax = 32;      // symbols that a match is followed back
inline constexpr std::uint32_t kMatchSettled = 16;  // from here on no longer one is looked for
inline constexpr int kMatchTableLog = 13;

// Probabilities of a one at the 15 inner nodes of a tree over four bits: the upper 12 bits; the
// lower four say how often the node was seen. check is 0 for a line that was never used.
struct alignas(32) Line {
  std::uint16_t check = 0;
  std::array<std::uint16_t, 15> nodes{};
};
inline constexpr std::uint16_t kNewNode = 2048 << 4;

// Lines by hash: two places for each, side by side.
class LineTable {
 public:
  void resize(int log) {
    lines_.assign(std::size_t{1} << log, Line{});
    shift_ = 64 - log;
  }
  std::size_t size_bytes() const { return lines_.size() * sizeof(Line); }
  void prefetch(std::uint64_t hash) const { __builtin_prefetch(&lines_[hash >> shift_]); }
  // The line for `hash`, or null.
  const Line* find(std::uint64_t hash) const {
    const std::size_t i = hash >> shift_;
    const std::uint16_t check = check_of(hash);
    if (lines_[i].check == check) return &lines_[i];
    if (lines_[i ^ 1].check == check) return &lines_[i ^ 1];
    return nullptr;
  }
  Line* find(std::uint64_t hash) {
    return const_cast<Line*>(static_cast<const LineTable*>(this)->find(hash));
  }
  // Makes `line` the one for `hash`, in the place that has learned less.
  Line* insert(std::uint64_t hash, const Line& line) {
    const std::size_t i = hash >> shift_;
    Line& place = learned(lines_[i]) <= learned(lines_[i ^ 1]) ? lines_[i] : lines_[i ^ 1];
    place = line;
    place.check = check_of(hash);
    return &place;
  }

 private:
  static std::uint16_t check_of(std::uint64_t hash) { return static_cast<std::uint16_t>(hash | 1); }
  static int learned(const Line& line) { return line.nodes[0] & 15; }
  std::vector<Line, LargeAllocator<Line>> lines_;
  int shift_ = 63;
};

// Where a run of symbols was seen last: the position after it, or 0.
class PositionTable {
 public:
  void resize(int log) {
    positions_.assign(std::size_t{1} << log, 0);
    shift_ = 64 - log;
  }
  std::size_t size_bytes() const { return positions_.size() * sizeof(std::uint32_t); }
  void prefetch(std::uint64_t hash) const { __builtin_prefetch(&positions_[hash >> shift_]); }
  std::uint32_t& at(std::uint64_t hash) { return positions_[hash >> shift_]; }
  std::uint32_t at(std::uint64_t hash) const { return positions_[hash >> shift_]; }

 private:
  std::vector<std::uint32_t, LargeAllocator<std::uint32_t>> positions_;
  int shift_ = 63;
};

using Weights = std::array<std::int32_t, kInputs>;
using MatchWeights = std::array<std::int32_t, kMatchInputs>;
using MatchTable = std::array<std::uint16_t, std::size_t{1} << kMatchTableLog>;

// The state that is copied for each block. Weights are in 1/65536, probabilities in 1/65536.
struct Adaptive {
  Adaptive();
  // By whether the match failed, four bits of the code, how often each of contexts 1 to 3 was seen
  // (4 classes each), and whether the second match is still alive.
  std::array<std::array<std::array<std::array<Weights, 2>, 64>, 4>, 2> weights;
  // That the symbol of the second match is right so far, by four bits of the code.
  std::array<std::uint16_t, 6> second;
  // By class of length of the match, and whether there is a second one and agrees.
  std::array<std::array<MatchWeights, 3>, 19> match_weights;
  // That the match is right: by class of length, the second one, and its last successes;
  std::array<std::array<std::array<std::uint16_t, 4>, 3>, 19> match_by_length;
  // by successes in a row and the second one; and by hashes of symbols.
  std::array<std::array<std::uint16_t, 3>, 64> match_by_run;
  MatchTable match_by_last;
  MatchTable match_by_symbol;
  MatchTable match_by_pair;
};

// What a text has taught.
struct Learned {
  // Tables of 2^lines_log lines, all empty, and a quarter as many positions.
  void resize(int lines_log);
  LineTable lines;
  PositionTable after_four;
  PositionTable after_two;
  std::vector<Symbol> history;
  Adaptive adaptive;
};

// 65536 / (1 + e^(-x / 256)) for x from -2047 to 2047, and its inverse.
class Logistic {
 public:
  constexpr Logistic() {
    for (std::size_t i = 1; i < squashed_.size(); ++i) {
      const std::uint32_t right = i & 127;
      squashed_[i] = static_cast<std::uint16_t>(
          (kPoints[i >> 7] * (128 - right) + kPoints[(i >> 7) + 1] * right) >> 7);
    }
    std::size_t next = 0;
    for (int x = -2047; x <= 2047; ++x) {
      for (; next <= squash(x) >> 4; ++next) stretched_[next] = static_cast<std::int16_t>(x);
    }
    for (; next < stretched_.size(); ++next) stretched_[next] = 2047;
  }
  // x is -2047 to 2047. Gives 22 to 65514.
  constexpr std::uint32_t squash(int x) const {
    return squashed_[static_cast<std::size_t>(x + 2048)];
  }
  constexpr int stretch(std::uint16_t p) const { return stretched_[p >> 4]; }

 private:
  // Every 128.
  static constexpr std::array<std::uint16_t, 33> kPoints = {
      22,    36,    60,    98,    162,   267,   439,   720,   1179,  1921,  3108,
      4971,  7812,  11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565,
      62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514};
  std::array<std::uint16_t, 4096> squashed_{};  // of x + 2048
  std::array<std::int16_t, 4096> stretched_{};  // of the upper 12 bits
};
inline constexpr Logistic kLogistic;

inline std::uint64_t mix_hash(std::uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15u;
  x ^= x >> 29;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= x >> 32;
  return x;
}

// Codes symbols, by a Coder of binary_coder.h. kBlock: on top of `base`, which is not changed; else
// `base` is of no account.
// Threads: one at a time. Lifetime: refers to base, top and coder.
template <class Coder, bool kBlock>
class Predictor {
 public:
  Predictor(ModelUnit unit, const Learned& base, Learned& top, Coder& coder)
      : unit_(unit),
        base_(base),
        top_(top),
        coder_(coder),
        adaptive_(top.adaptive),
        base_size_(kBlock ? static_cast<std::uint32_t>(base.history.size()) : 0) {}

  // Codes the next symbol: `symbol` when encoding, of no account when decoding. Returns it.
  Symbol code(Symbol symbol) {
    const Symbol predicted = match_length_ > 0 ? candidate(match_) : kNoSymbol;
    Symbol second = second_ > 0 ? candidate(second_) : kNoSymbol;
    const bool has_match = predicted != kNoSymbol;
    if (has_match) {
      if (code_match(symbol == predicted, predicted, second)) {
        learn(predicted);
        return predicted;
      }
      if (second == predicted) second = kNoSymbol;
    }
    symbol = code_literal(symbol, has_match, second);
    // No encoder says that a match is wrong and then codes what it foretold.
    if (Coder::kDecodes && has_match && symbol == predicted) ok_ = false;
    learn(symbol);
    return symbol;
  }

  // False once something was decoded that no encoder writes.
  bool ok() const { return ok_; }

  // How many bytes of a code that began with FE are still to come.
  int raw_left() const { return raw_left_; }

 private:
  Symbol at(std::uint32_t position) const {
    if (kBlock && position < base_size_) return base_.history[position];
    return top_.history[position - base_size_];
  }
  std::uint32_t size() const {
    return base_size_ + static_cast<std::uint32_t>(top_.history.size());
  }
  // The symbol at `position`, if it can stand here.
  Symbol candidate(std::uint32_t position) const {
    const Symbol s = at(position);
    return (s >= kRawByte) != (raw_left_ > 0) ? kNoSymbol : s;
  }
  // How many symbols before `position` equal the last ones.
  std::uint32_t length_at(std::uint32_t position) const {
    const std::uint32_t n = size();
    const std::uint32_t length_max = std::min(position, kMatchMax);
    std::uint32_t length = 0;
    while (length < length_max && at(position - 1 - length) == at(n - 1 - length)) ++length;
    return length;
  }

  // Mixes inputs to a probability, codes `bit` with it, and moves the weights towards what would
  // have been better.
  template <std::size_t kCount>
  std::uint32_t code_mixed(std::uint32_t bit, const std::array<int, kCount>& inputs,
                           std::array<std::int32_t, kCount>& weights) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < kCount; ++i) sum += std::int64_t{inputs[i]} * weights[i];
    const auto x = static_cast<int>(std::clamp<std::int64_t>(sum >> 16, -2047, 2047));
    const std::uint32_t p = kLogistic.squash(x);
    bit = coder_.code(bit, p);
    const int error = static_cast<int>(bit << 16) - static_cast<int>(p);
    for (std::size_t i = 0; i < kCount; ++i) {
      const int step = (inputs[i] * error + (1 << 14)) >> 15;
      // Unsigned: a damaged file may make it wrap around.
      weights[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(weights[i]) +
                                             static_cast<std::uint32_t>(step));
    }
    return bit;
  }

  static void move(std::uint16_t& p, bool is_one, int rate) {
    p = static_cast<std::uint16_t>(p + (((is_one ? 65535 : 0) - p) >> rate));
  }
  static void move_node(std::uint16_t& node, std::uint32_t bit) {
    // 65536 / (seen + 1.3)
    static constexpr std::array<int, 16> kRates = {50412, 28493, 19859, 15240, 12365, 10402,
                                                   8977,  7895,  7046,  6362,  5799,  5328,
                                                   4927,  4582,  4283,  4020};
    const int seen = node & 15;
    const int p = node >> 4;
    const int step = ((bit != 0 ? 4095 - p : -p) * kRates[static_cast<std::size_t>(seen)]) >> 16;
    node = static_cast<std::uint16_t>((p + step) << 4 | std::min(seen + 1, 15));
  }

  bool code_match(bool is_right, Symbol predicted, Symbol second) {
    const std::size_t length = match_length_ <= 16  ? match_length_ - 1
                               : match_length_ < 24 ? 16
                               : match_length_ < 32 ? 17
                                                    : 18;
    const std::size_t agrees = second == kNoSymbol ? 0 : second == predicted ? 2 : 1;
    constexpr int kShift = 64 - kMatchTableLog;
    const std::uint64_t last =
        std::uint64_t{last_[0]} << 34 | std::uint64_t{predicted} << 2 | agrees;
    const std::uint64_t symbol = std::uint64_t{predicted} << 2 | (std::min(match_length_, 4u) - 1);
    const std::array<std::uint16_t*, kMatchInputs - 1> p = {
        &adaptive_.match_by_length[length][agrees][std::min(run_, 3u)],
        &adaptive_.match_by_run[std::min(run_, 63u)][agrees],
        &adaptive_.match_by_last[mix_hash(last) >> kShift],
        &adaptive_.match_by_symbol[mix_hash(symbol) >> kShift],
        &adaptive_.match_by_pair[pair_hash_ >> kShift]};
    std::array<int, kMatchInputs> inputs;
    for (std::size_t i = 0; i < p.size(); ++i) inputs[i] = kLogistic.stretch(*p[i]);
    inputs[kMatchInputs - 1] = 256;
    const bool bit =
        code_mixed(is_right ? 1 : 0, inputs, adaptive_.match_weights[length][agrees]) != 0;
    for (std::size_t i = 0; i < p.size(); ++i) move(*p[i], bit, i < 2 ? 6 : 5);
    return bit;
  }

  // The line of context `k` for the four bits after `path`, the bits so far behind a one.
  static std::uint64_t line_hash(std::uint64_t context, std::uint32_t path, std::size_t k) {
    return mix_hash(context * 0xD1342543DE82EF95u + path * 0x9E3779B97F4A7C15u + k);
  }
  void prefetch(std::uint64_t hash) const {
    top_.lines.prefetch(hash);
    if constexpr (kBlock) base_.lines.prefetch(hash);
  }
  // The line for `hash`, taken from the dictionary or new if there is none yet.
  Line* line_at(std::uint64_t hash, bool& is_new) {
    is_new = false;
    if (Line* line = top_.lines.find(hash)) return line;
    if constexpr (kBlock) {
      if (const Line* line = base_.lines.find(hash)) return top_.lines.insert(hash, *line);
    }
    is_new = true;
    Line line;
    line.nodes.fill(kNewNode);
    return top_.lines.insert(hash, line);
  }

  // Finds the lines for the next four bits. Three symbols are looked at only where two were seen
  // before: `skips_three` is set when they were not.
  void find_lines(std::uint32_t path, bool& skips_three) {
    std::array<std::uint64_t, kContexts> hashes;
    for (std::size_t k = 0; k < kContexts; ++k) {
      hashes[k] = line_hash(contexts_[k], path, k);
      prefetch(hashes[k]);
    }
    for (std::size_t k = 0; k < kContexts; ++k) {
      lines_[k] = nullptr;
      if (k == 3 && skips_three) continue;
      bool is_new = false;
      lines_[k] = line_at(hashes[k], is_new);
      if (k == 2 && is_new) skips_three = true;
    }
  }

  static std::size_t seen_class(int seen) {
    return seen == 0 ? 0 : seen < 3 ? 1 : seen < 8 ? 2 : 3;
  }

  // Codes one bit of a literal: number `t` of the code, at `node` of the lines. `second` is what
  // the second match foretells, 0 or 1, or 2 if nothing.
  std::uint32_t code_bit(std::uint32_t bit, int t, std::size_t node, bool failed,
                         std::uint32_t second) {
    std::array<int, kInputs> inputs;
    std::size_t seen = 0;
    for (std::size_t k = 0; k < kContexts; ++k) {
      const std::uint16_t v = lines_[k] != nullptr ? lines_[k]->nodes[node - 1] : 0;
      inputs[k] = (v & 15) != 0 ? kLogistic.stretch(v) : 0;
      if (k >= 1 && k <= 3) seen = seen * 4 + seen_class(v & 15);
    }
    std::uint16_t& trust = adaptive_.second[static_cast<std::size_t>(t / 4)];
    const int x = kLogistic.stretch(trust);
    inputs[kContexts] = second == 2 ? 0 : second == 1 ? x : -x;
    inputs[kInputs - 1] = 256;
    Weights& weights =
        adaptive_.weights[failed ? 1 : 0][static_cast<std::size_t>(std::min(t / 4, 3))][seen]
                         [second == 2 ? 0 : 1];
    bit = code_mixed(bit, inputs, weights);
    for (std::size_t k = 0; k < kContexts; ++k) {
      if (lines_[k] != nullptr) move_node(lines_[k]->nodes[node - 1], bit);
    }
    if (second != 2) move(trust, bit == second, 6);
    return bit;
  }

  // Codes a symbol bit by bit. `failed`: a match foretold another one.
  Symbol code_literal(Symbol symbol, bool failed, Symbol second) {
    const bool is_byte = unit_ == ModelUnit::byte || raw_left_ > 0;
    std::uint32_t path = 1;
    bool skips_three = false;
    bool second_lives = second != kNoSymbol;
    int bits = 8;
    std::size_t node = 1;
    for (int t = 0; t < bits; ++t) {
      if (t % 4 == 0) {
        find_lines(path, skips_three);
        node = 1;
      }
      const int shift = 23 - t;
      const std::uint32_t foretold = second_lives ? second >> shift & 1 : 2;
      const std::uint32_t bit = code_bit(symbol >> shift & 1, t, node, failed, foretold);
      if (bit != foretold) second_lives = false;
      node = node << 1 | bit;
      path = path << 1 | bit;
      if (t == 7 && !is_byte) bits = 8 * symbol_bytes(path & 0xff);
    }
    symbol = path << (24 - bits) & 0xffffff;
    return raw_left_ > 0 ? kRawByte | symbol : symbol;
  }

  // Takes a symbol into the history.
  void learn(Symbol symbol) {
    if (match_length_ > 0) {
      if (at(match_) == symbol) {
        match_length_ = std::min(match_length_ + 1, kMatchMax);
        ++match_;
        ++run_;
      } else {
        match_length_ = 0;
        run_ = 0;
      }
    }
    top_.history.push_back(symbol);
    last_ = {symbol, last_[0], last_[1], last_[2]};
    if (raw_left_ > 0) {
      --raw_left_;
    } else if (symbol == kEscape && unit_ == ModelUnit::token_code) {
      raw_left_ = kRawBytes;
    }
    const std::uint64_t two = std::uint64_t{last_[1]} << 32 | last_[0];
    const std::uint64_t four = std::uint64_t{last_[3]} << 32 | last_[2];
    pair_hash_ = mix_hash(two + 1);
    find_matches(mix_hash(pair_hash_ + four));
    contexts_ = {raw_left_ > 0 ? 1u : 0u, mix_hash(last_[0] + 2u), pair_hash_,
                 mix_hash(pair_hash_ + last_[2]),
                 unit_ == ModelUnit::byte ? mix_hash(pair_hash_ + four) : mix_hash(last_[1] + 3u)};
    if (match_length_ >= kMatchSettled) return;
    for (std::size_t k = 1; k < kContexts; ++k) prefetch(line_hash(contexts_[k], 1, k));
  }

  // Looks for earlier places where the last symbols stood.
  void find_matches(std::uint64_t four_hash) {
    top_.after_four.prefetch(four_hash);
    top_.after_two.prefetch(pair_hash_);
    if constexpr (kBlock) {
      base_.after_four.prefetch(four_hash);
      base_.after_two.prefetch(pair_hash_);
    }
    std::uint32_t& after_four = top_.after_four.at(four_hash);
    std::uint32_t& after_two = top_.after_two.at(pair_hash_);
    if (match_length_ < kMatchSettled) {
      take_longer(after_four);
      if constexpr (kBlock) take_longer(base_.after_four.at(four_hash));
    }
    second_ = after_two;
    std::uint32_t length = length_at(second_);
    if constexpr (kBlock) {
      if (length < 2) {
        second_ = base_.after_two.at(pair_hash_);
        length = length_at(second_);
      }
    }
    if (length < 2) second_ = 0;
    if (match_length_ == 0 && second_ != 0) {
      match_ = second_;
      match_length_ = length;
    }
    after_four = after_two = size();
  }
  void take_longer(std::uint32_t position) {
    const std::uint32_t length = length_at(position);
    if (length >= 4 && length > match_length_) {
      match_ = position;
      match_length_ = length;
    }
  }

  const ModelUnit unit_;
  const Learned& base_;
  Learned& top_;
  Coder& coder_;
  Adaptive& adaptive_;
  const std::uint32_t base_size_;  // positions below it are in base_
  std::array<Symbol, 4> last_{};   // the last one first
  std::uint64_t pair_hash_ = 0;
  std::array<std::uint64_t, kContexts> contexts_{};
  std::array<Line*, kContexts> lines_{};
  std::uint32_t match_ = 0;         // where the foretold symbol stands
  std::uint32_t match_length_ = 0;  // symbols before it that are equal; 0: none
  std::uint32_t second_ = 0;        // the same for the last two symbols; 0: none
  std::uint32_t run_ = 0;           // symbols in a row that the match foretold
  int raw_left_ = 0;
  bool ok_ = true;
};

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_TOKEN_PREDICTOR_H_
