// The predictor under token_model.h: what comes next, how likely is it, and learning from the
// answer.
//
// Text is a sequence of *symbols*: token codes (or bytes), and a mark before each segment. A symbol
// is coded in two stages.
//
// 1. *Match.* After the longest earlier run of symbols that equals the last ones (found by a hash
// of
//    the last four, or else of two) stands the symbol that probably comes now. One decision says
//    whether it does. In text that repeats itself most symbols cost this one decision.
// 2. *Literal.* Otherwise the symbol's code is coded bit by bit. For every four bits, each of five
//    contexts (nothing, the last one, two and three symbols, the last but one) has a *line* of 15
//    adaptive probabilities, found by hashing. They, and the symbol that the second best match
//    foretells, are mixed in the logistic domain by weights that learn (PAQ, Mahoney 2005).
//
// A dictionary is coded with one table of lines, which learns. A block looks lines up in a small
// table of its own first, and takes a copy of the dictionary's line when it needs it for the first
// time. So any number of blocks can be decoded at once, each starts from the same state, and
// forgetting a block costs what it touched. The rest of the state is small and copied whole.
#ifndef TOKVAULT_CODEC_TOKEN_PREDICTOR_H_
#define TOKVAULT_CODEC_TOKEN_PREDICTOR_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "codec/token_code.h"
#include "codec/token_model.h"

namespace tokvault {

// Symbols: numbers of token codes or bytes, and these.
using Symbol = std::uint32_t;
inline constexpr Symbol kEscape = kThreeByteCodes;  // the byte FF: five bytes of a code follow
inline constexpr Symbol kRawByte = kEscape + 1;     // the first of 256: those bytes
inline constexpr Symbol kStart = kRawByte + 256;    // before a segment
inline constexpr Symbol kNoSymbol = 0xffffffffu;
inline constexpr int kRawBytes = 5;

inline constexpr int kContexts = 5;
inline constexpr int kInputs = kContexts + 2;  // and the second match, and a constant

// Probabilities of a one in the 15 inner nodes of a tree over four bits: the upper 12 bits; the
// lower four say how often the node was seen. check is 0 for a line that was never used.
struct alignas(32) Line {
  std::uint16_t check = 0;
  std::array<std::uint16_t, 15> nodes{};
};

// Lines by hash: two places for each, side by side.
struct LineTable {
  void resize(int log) {
    lines.assign(std::size_t{1} << log, Line{});
    shift = 64 - log;
  }
  static std::uint16_t check_of(std::uint64_t hash) { return static_cast<std::uint16_t>(hash | 1); }
  const Line* find(std::uint64_t hash) const {
    const std::size_t i = hash >> shift;
    const std::uint16_t check = check_of(hash);
    if (lines[i].check == check) return &lines[i];
    if (lines[i ^ 1].check == check) return &lines[i ^ 1];
    return nullptr;
  }
  // The one of the two places that has learned less.
  Line& victim(std::uint64_t hash) {
    const std::size_t i = hash >> shift;
    return (lines[i].nodes[0] & 15) <= (lines[i ^ 1].nodes[0] & 15) ? lines[i] : lines[i ^ 1];
  }
  std::vector<Line> lines;
  int shift = 63;
};

// Where a run of symbols was seen last: the position after it, or 0.
struct PositionTable {
  void resize(int log) {
    positions.assign(std::size_t{1} << log, 0);
    shift = 64 - log;
  }
  std::uint32_t& at(std::uint64_t hash) { return positions[hash >> shift]; }
  std::uint32_t at(std::uint64_t hash) const { return positions[hash >> shift]; }
  std::vector<std::uint32_t> positions;
  int shift = 63;
};

// The state that is copied for each block.
struct Adaptive {
  Adaptive();
  // By whether a match failed before, position in the code (3 x 8), the longest context that is
  // known here, and whether the second match is still alive.
  std::int32_t bit_weights[2][24][kContexts][2][kInputs];
  // By length of the match, and what the second match says: nothing, another symbol, the same.
  std::int32_t match_weights[20][3][6];
  std::uint16_t match_by_length[20][3][4];
  std::uint16_t match_by_run[64][3];
  std::uint16_t match_by_last[1 << 13];
  std::uint16_t match_by_symbol[1 << 13];
  std::uint16_t match_by_pair[1 << 13];
  std::uint16_t second[8];
};

// What text taught.
struct Learned {
  void resize(int lines_log);
  LineTable lines;
  PositionTable after_four;
  PositionTable after_two;
  std::vector<Symbol> history;
  Adaptive adaptive;
};

// 65536 / (1 + e^(-x / 256)), for x from -2047 to 2047, and its inverse for 12 bits.
struct Logistic {
  Logistic();
  std::array<std::uint16_t, 4096> squashed;  // of x + 2048
  std::array<std::int16_t, 4096> stretched;  // of a probability / 16
};
extern const Logistic kLogistic;

inline std::uint64_t mix_hash(std::uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15u;
  x ^= x >> 29;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= x >> 32;
  return x;
}

// Codes symbols. kBlock: on top of `base`, which is not changed; else `base` is `top`.
// Threads: one at a time. Lifetime: refers to both and to the coder.
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

  // A segment begins here.
  void start() { learn(kStart); }

  // Codes the next symbol: `symbol` when encoding; returns it.
  Symbol code(Symbol symbol) {
    const Symbol predicted = match_length_ > 0 ? candidate(match_) : kNoSymbol;
    Symbol second = second_ > 0 ? candidate(second_) : kNoSymbol;
    bool failed = false;
    if (predicted != kNoSymbol) {
      if (code_match(symbol == predicted, predicted, second)) {
        learn(predicted);
        return predicted;
      }
      failed = true;
      if (second == predicted) second = kNoSymbol;
    }
    symbol = code_literal(symbol, failed, second);
    learn(symbol);
    return symbol;
  }

  // How many bytes of a code that began with FF are still to come.
  int raw_left() const { return raw_left_; }

 private:
  static constexpr std::uint32_t kMatchMax = 32;

  struct SymbolBytes {
    std::array<std::uint8_t, 3> bytes{};
    int count = 1;
  };
  static SymbolBytes bytes_of(Symbol s, bool is_byte) {
    if (is_byte) return {{static_cast<std::uint8_t>(s)}, 1};
    if (s >= kEscape) return {{static_cast<std::uint8_t>(s == kEscape ? 0xFF : s - kRawByte)}, 1};
    if (s < kOneByteCodes) return {{static_cast<std::uint8_t>(s)}, 1};
    if (s < kTwoByteCodes) {
      s -= kOneByteCodes;
      return {{static_cast<std::uint8_t>(0x80 | s >> 8), static_cast<std::uint8_t>(s)}, 2};
    }
    s -= kTwoByteCodes;
    return {{static_cast<std::uint8_t>(0xC0 | s >> 16), static_cast<std::uint8_t>(s >> 8),
             static_cast<std::uint8_t>(s)},
            3};
  }

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
    if (s == kStart || (s >= kRawByte) != (raw_left_ > 0)) return kNoSymbol;
    return s;
  }
  // How many symbols before `position` equal the last ones, at most kMatchMax.
  std::uint32_t length_at(std::uint32_t position) const {
    const std::uint32_t n = size();
    std::uint32_t length = 0;
    while (length < kMatchMax && length < position &&
           at(position - 1 - length) == at(n - 1 - length)) {
      ++length;
    }
    return length;
  }

  int stretch(std::uint16_t p) const { return kLogistic.stretched[p >> 4]; }

  // Mixes `count` inputs, codes a bit, and moves the weights.
  template <int kCount>
  std::uint32_t code_mixed(std::uint32_t bit, const int* inputs, std::int32_t* weights) {
    std::int64_t dot = 0;
    for (int i = 0; i < kCount; ++i) dot += std::int64_t{inputs[i]} * weights[i];
    const auto x = static_cast<int>(std::clamp<std::int64_t>(dot >> 16, -2047, 2047));
    const std::uint32_t p = kLogistic.squashed[static_cast<std::size_t>(x + 2048)];
    bit = coder_.code(bit, p);
    const int error = static_cast<int>(bit << 16) - static_cast<int>(p);
    for (int i = 0; i < kCount; ++i) {
      const int delta = (inputs[i] * error + (1 << 14)) >> 15;
      weights[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(weights[i]) +
                                             static_cast<std::uint32_t>(delta));
    }
    return bit;
  }

  static void move(std::uint16_t& p, std::uint32_t bit, int rate) {
    const int target = bit != 0 ? 65535 : 0;
    p = static_cast<std::uint16_t>(p + ((target - p) >> rate));
  }

  bool code_match(bool hit, Symbol predicted, Symbol second) {
    const std::uint32_t length = match_length_ < 16   ? match_length_
                                 : match_length_ < 24 ? 16
                                 : match_length_ < 32 ? 17
                                                      : 18;
    const std::uint32_t agrees = second == kNoSymbol ? 0 : second == predicted ? 2 : 1;
    std::uint16_t* const p[5] = {
        &adaptive_.match_by_length[length][agrees][std::min(run_, 3u)],
        &adaptive_.match_by_run[std::min(run_, 63u)][agrees],
        &adaptive_.match_by_last[mix_hash(last_[0] * 77u + predicted * 3u + agrees) >> 51],
        &adaptive_.match_by_symbol[mix_hash(std::uint64_t{predicted} * 19 +
                                            std::min(match_length_, 4u)) >>
                                   51],
        &adaptive_.match_by_pair[(pair_hash_ * 0xD1342543DE82EF95u) >> 51]};
    int inputs[6];
    for (int i = 0; i < 5; ++i) inputs[i] = stretch(*p[i]);
    inputs[5] = 256;
    const std::uint32_t bit =
        code_mixed<6>(hit ? 1 : 0, inputs, adaptive_.match_weights[length][agrees]);
    for (int i = 0; i < 5; ++i) move(*p[i], bit, i < 2 ? 6 : 5);
    return bit != 0;
  }

  Line& line_of(std::uint64_t hash, bool& is_known) {
    if (const Line* found = top_.lines.find(hash)) return const_cast<Line&>(*found);
    Line& line = top_.lines.victim(hash);
    if constexpr (kBlock) {
      if (const Line* found = base_.lines.find(hash)) {
        line = *found;
        return line;
      }
    }
    is_known = false;
    line.check = LineTable::check_of(hash);
    line.nodes.fill(2048 << 4);
    return line;
  }

  static void move_node(std::uint16_t& node, std::uint32_t bit) {
    static constexpr std::array<int, 16> kRates = [] {
      std::array<int, 16> r{};
      for (int n = 0; n < 16; ++n) r[n] = 655360 / (10 * n + 16);
      return r;
    }();
    const int count = node & 15;
    const int p = node >> 4;
    const int moved = p + (((bit != 0 ? 4095 - p : -p) * kRates[count]) >> 16);
    node = static_cast<std::uint16_t>(moved << 4 | std::min(count + 1, 15));
  }

  Symbol code_literal(Symbol symbol, bool failed, Symbol second) {
    const bool is_byte = unit_ == ModelUnit::byte || raw_left_ > 0;
    SymbolBytes code;
    if (!Coder::kDecodes) code = bytes_of(symbol, is_byte && raw_left_ == 0);
    SymbolBytes guess;
    guess.count = 0;
    if (second != kNoSymbol) guess = bytes_of(second, is_byte && raw_left_ == 0);
    const std::uint64_t contexts[kContexts] = {
        raw_left_ > 0 ? 7u : 0u, mix_hash(last_[0] + 1),
        mix_hash((std::uint64_t{last_[1]} << 32 | last_[0]) + 2),
        mix_hash(((last_[2] * 0x9E3779B97F4Au) ^ (std::uint64_t{last_[1]} << 32 | last_[0])) + 3),
        mix_hash(last_[1] + 0x123456789u)};
    std::uint64_t path = 1;
    bool guess_alive = guess.count > 0;
    bool skip_three = false;
    int count = 1;
    for (int j = 0; j < count; ++j) {
      std::uint32_t byte = 0;
      for (int half = 0; half < 2; ++half) {
        Line* lines[kContexts];
        for (int k = 0; k < kContexts; ++k) {
          lines[k] = nullptr;
          if (k == 3 && skip_three) continue;
          bool is_known = true;
          lines[k] =
              &line_of(mix_hash(contexts[k] * 0xD1342543DE82EF95u + path * 0x9E3779B97F4A7C15u + k),
                       is_known);
          if (k == 2 && !is_known) skip_three = true;
        }
        std::uint32_t node = 1;
        for (int i = 0; i < 4; ++i) {
          const int shift = 7 - half * 4 - i;
          const auto index = static_cast<std::size_t>(j);
          int inputs[kInputs];
          int known = 0;
          for (int k = 0; k < kContexts; ++k) {
            inputs[k] = 0;
            if (lines[k] == nullptr) continue;
            const std::uint16_t v = lines[k]->nodes[node - 1];
            if ((v & 15) == 0) continue;
            inputs[k] = stretch(v);
            if (k < 4) known = k;
          }
          std::uint32_t foretold = 0;
          inputs[kContexts] = 0;
          std::uint16_t* trust = nullptr;
          if (guess_alive) {
            foretold = guess.bytes[index] >> shift & 1;
            trust = &adaptive_.second[std::min(j * 2 + half, 7)];
            const int x = stretch(*trust);
            inputs[kContexts] = foretold != 0 ? x : -x;
          }
          inputs[kContexts + 1] = 256;
          const std::size_t position = static_cast<std::size_t>(j * 8 + 7 - shift);
          std::int32_t* weights =
              adaptive_.bit_weights[failed ? 1 : 0][position][known][guess_alive ? 1 : 0];
          std::uint32_t bit =
              Coder::kDecodes ? 0 : static_cast<std::uint32_t>(code.bytes[index]) >> shift & 1;
          bit = code_mixed<kInputs>(bit, inputs, weights);
          for (int k = 0; k < kContexts; ++k) {
            if (lines[k] != nullptr) move_node(lines[k]->nodes[node - 1], bit);
          }
          if (trust != nullptr) {
            move(*trust, bit == foretold ? 1 : 0, 6);
            if (bit != foretold) guess_alive = false;
          }
          node = node << 1 | bit;
          path = path << 1 | bit;
          byte = byte << 1 | bit;
        }
      }
      code.bytes[static_cast<std::size_t>(j)] = static_cast<std::uint8_t>(byte);
      if (j == 0 && !is_byte) count = byte < 0x80 ? 1 : byte < 0xC0 ? 2 : byte < 0xFF ? 3 : 1;
      if (guess_alive && j + 1 >= guess.count) guess_alive = false;
    }
    const std::uint32_t b = code.bytes[0];
    if (raw_left_ > 0) return kRawByte + b;
    if (is_byte || b < 0x80) return b;
    if (b < 0xC0) return kOneByteCodes + ((b & 0x3F) << 8 | code.bytes[1]);
    if (b == 0xFF) return kEscape;
    return kTwoByteCodes + ((b & 0x3F) << 16 | std::uint32_t{code.bytes[1]} << 8 | code.bytes[2]);
  }

  // Takes a symbol into the history and looks for what came after the last ones before.
  void learn(Symbol symbol) {
    if (match_length_ > 0) {
      if (at(match_) == symbol) {
        match_length_ = std::min(match_length_ + 1, 0xffffu);
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
    } else if (symbol == kEscape) {
      raw_left_ = kRawBytes;
    }
    const std::uint32_t n = size();
    pair_hash_ = mix_hash(std::uint64_t{last_[0]} << 32 | last_[1]);
    const std::uint64_t four =
        mix_hash((std::uint64_t{last_[0]} << 40) ^ (std::uint64_t{last_[1]} << 20) ^ last_[2] ^
                 (last_[3] * 0x9E3779B97F4A7C15u));
    if (match_length_ > 0 && match_ >= n) match_length_ = 0;
    std::uint32_t& here_four = top_.after_four.at(four);
    if (match_length_ < 16) {
      const std::uint32_t q = here_four;
      if (q != 0) better(q, 4);
      if constexpr (kBlock) {
        const std::uint32_t r = base_.after_four.at(four);
        if (r != 0) better(r, 4);
      }
    }
    here_four = n;
    std::uint32_t& here_two = top_.after_two.at(pair_hash_);
    second_ = here_two;
    std::uint32_t second_length = second_ != 0 ? length_at(second_) : 0;
    if constexpr (kBlock) {
      if (second_length < 2) {
        second_ = base_.after_two.at(pair_hash_);
        second_length = second_ != 0 ? length_at(second_) : 0;
      }
    }
    if (second_length < 2) second_ = 0;
    if (match_length_ == 0 && second_ != 0) {
      match_ = second_;
      match_length_ = second_length;
    }
    here_two = n;
  }
  void better(std::uint32_t position, std::uint32_t length_min) {
    const std::uint32_t length = length_at(position);
    if (length >= length_min && length > match_length_) {
      match_ = position;
      match_length_ = length;
    }
  }

  const ModelUnit unit_;
  const Learned& base_;
  Learned& top_;
  Coder& coder_;
  Adaptive& adaptive_;
  const std::uint32_t base_size_;
  std::array<Symbol, 4> last_{};
  std::uint64_t pair_hash_ = 0;
  std::uint32_t match_ = 0;
  std::uint32_t match_length_ = 0;
  std::uint32_t second_ = 0;
  std::uint32_t run_ = 0;  // symbols in a row that the match foretold
  int raw_left_ = 0;
};

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_TOKEN_PREDICTOR_H_
