#include "codec/token_lz.h"

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/large_allocator.h"
#include "codec/nibble_coder.h"

namespace tokvault {
namespace {

// A unit is what is copied and coded as one: its one to three bytes, the first lowest, and above
// them how many there are; a code of six bytes is two units, which have kinds of their own.
using Unit = std::uint32_t;
constexpr Unit kFirstHalf = 4u << 24;
constexpr Unit kSecondHalf = 5u << 24;
constexpr std::uint32_t kUnitBytesMax = 3;

std::uint32_t size_of(Unit unit) { return std::min(unit >> 24, kUnitBytesMax); }
bool is_first_half(Unit unit) { return unit >> 24 == kFirstHalf >> 24; }

// What comes next: a literal, a copy from a new distance, or one from the last distance, the one
// before it, ...
constexpr std::uint32_t kLiteral = 0;
constexpr std::uint32_t kNewCopy = 1;
constexpr std::uint32_t kOldCopy = 2;
constexpr std::uint32_t kOldDistances = 4;
constexpr std::uint32_t kKinds = kOldCopy + kOldDistances;

// Lengths up to kShortLengths have a symbol each; a longer one has its excess as a power of two
// and bits.
constexpr std::uint32_t kShortLengths = 15;
constexpr std::uint32_t kLengthMax = kShortLengths + 0xffff;
constexpr std::uint32_t kLengthClasses = 4;
std::uint32_t length_class(std::uint32_t length) { return std::min(length, kLengthClasses) - 1; }

// A distance less one is a slot, two for each power of two, and bits.
constexpr std::uint32_t kSlots = 48;
struct Slot {
  static Slot of(std::uint32_t distance) {
    const std::uint32_t v = distance - 1;
    if (v < 4) return {v, 0, 0};
    const int log = static_cast<int>(std::bit_width(v)) - 1;
    return {static_cast<std::uint32_t>(log) * 2 + (v >> (log - 1) & 1), log - 1,
            v & ((1u << (log - 1)) - 1)};
  }
  static int bits_of(std::uint32_t slot) { return slot < 4 ? 0 : static_cast<int>(slot) / 2 - 1; }
  static std::uint32_t distance_of(std::uint32_t slot, std::uint32_t rest) {
    return slot < 4 ? slot + 1 : ((2u | (slot & 1)) << bits_of(slot)) + rest + 1;
  }
  std::uint32_t number;
  int bits;
  std::uint32_t rest;
};

// Where the distributions for the two halves of a byte stand: the place of the upper half is that
// of the byte, the lower half's is one more than that and the upper half.
constexpr std::uint32_t kByteSpan = 17;
constexpr std::uint32_t kFirstByte = 0;
constexpr std::uint32_t kFirstByteAfterCopy = kFirstByte + kByteSpan;  // only in `general`
constexpr std::uint32_t kSecondByte = kFirstByteAfterCopy + kByteSpan;
constexpr std::uint32_t kThirdByte = kSecondByte + (0xfe - 0x80) * kByteSpan;
constexpr std::uint32_t kLongCode = kThirdByte + (0xfe - 0xc0) * kByteSpan;
constexpr std::uint32_t kPlaces = kLongCode + 5 * kByteSpan;

// The least x for which 2^(x/256) is at least `n`, for n up to 2^32: 256 times the binary
// logarithm.
std::uint32_t log2_256(std::uint64_t n) {
  const int whole = static_cast<int>(std::bit_width(n)) - 1;
  std::uint64_t m = n << (31 - std::min(whole, 31));  // 2^31 to 2^32
  std::uint32_t fraction = 0;
  for (int i = 0; i < 8; ++i) {
    m = m * m >> 31;
    fraction <<= 1;
    if (m >= std::uint64_t{1} << 32) {
      m >>= 1;
      fraction |= 1;
    }
  }
  return static_cast<std::uint32_t>(whole) * 256 + fraction;
}

// The table that is looked up by the last unit: at most one distribution for four units.
constexpr int kContextsLogMin = 8;
constexpr int kContextsLogMax = 18;
int contexts_log_of(std::uint64_t units) {
  return std::clamp(static_cast<int>(std::bit_width(units)) - 2, kContextsLogMin, kContextsLogMax);
}

constexpr std::uint32_t kBit = 256;  // prices are in 1/256 bit

// Adds up what symbols would cost; nothing learns.
class NibblePricer {
 public:
  [[maybe_unused]] static constexpr bool kDecodes = false;
  static constexpr bool kLearns = false;
  NibblePricer() {
    for (std::uint32_t i = 1; i <= kNibbleTotal; ++i) {
      prices_[i] = static_cast<std::uint16_t>(kNibbleProbabilityBits * kBit - log2_256(i));
    }
  }
  std::uint32_t code(std::uint32_t symbol, const Nibble& n) {
    price_ += prices_[n.end_of(symbol) - n.begin_of(symbol)];
    return symbol;
  }
  std::uint32_t take() { return std::exchange(price_, 0); }

 private:
  std::array<std::uint16_t, kNibbleTotal + 1> prices_{};
  std::uint32_t price_ = 0;
};

// All distributions.
struct Tables {
  explicit Tables(int contexts_log)
      : general(kPlaces), special(std::size_t{1} << contexts_log), mask((1u << contexts_log) - 1) {}

  std::array<std::array<std::array<Nibble, 4>, kKinds>, kKinds> kind;
  std::array<Nibble, kKinds> length;
  std::array<Nibble, kKinds> length_log;
  std::array<Nibble, kLengthClasses> slot;
  std::array<std::array<Nibble, 16>, kLengthClasses> slot_low;
  std::vector<Nibble> general;                          // of literals, by place
  std::vector<Nibble, LargeAllocator<Nibble>> special;  // of literals, by place and last unit
  std::uint32_t mask;
};

struct Step {
  std::uint32_t kind = kLiteral;
  std::uint32_t length = 1;
  std::uint32_t distance = 0;
};

// The model, for encoder, decoder and pricer.
// Lifetime: refers to both arguments.
template <class Coder>
class TokenLz {
 public:
  TokenLz(ModelUnit unit, Tables& tables, Coder& coder)
      : is_byte_(unit == ModelUnit::byte), t_(tables), coder_(coder) {}

  // Codes what comes next, but for a literal's unit. While decoding, a distance out of range is 0.
  Step code_step(Step step) {
    step.kind = code(step.kind, t_.kind[last_kinds_[0]][last_kinds_[1]][std::min(literals_, 3u)]);
    if (Coder::kDecodes && step.kind >= kKinds) return {kNewCopy, 1, 0};
    if (step.kind == kLiteral) {
      step.length = 1;
      ++literals_;
    } else {
      literals_ = 0;
      step.length = code_length(step.length, step.kind);
      if (step.kind == kNewCopy) {
        step.distance = code_distance(step.distance, length_class(step.length));
        std::move_backward(distances_.begin(), distances_.end() - 1, distances_.end());
      } else {
        const std::uint32_t k = step.kind - kOldCopy;
        step.distance = distances_[k];
        std::move_backward(distances_.begin(), distances_.begin() + k, distances_.begin() + k + 1);
      }
      distances_[0] = step.distance;
    }
    last_kinds_ = {step.kind, last_kinds_[0]};
    return step;
  }

  // Codes the unit of a literal. `after_copy`: the step before was a copy.
  Unit code_literal(Unit unit, Unit last, bool after_copy) {
    hash_ = mix(last);
    const std::uint32_t b0 = unit & 0xff, b1 = unit >> 8 & 0xff, b2 = unit >> 16 & 0xff;
    if (is_first_half(last)) {
      const std::uint32_t c0 = code_byte(b0, kLongCode + 2 * kByteSpan);
      const std::uint32_t c1 = code_byte(b1, kLongCode + 3 * kByteSpan);
      return c0 | c1 << 8 | code_byte(b2, kLongCode + 4 * kByteSpan) << 16 | kSecondHalf;
    }
    const std::uint32_t first =
        code_byte(b0, kFirstByte, after_copy ? kFirstByteAfterCopy : kFirstByte);
    if (is_byte_ || first < 0x80 || first == 0xff) return first | 1u << 24;
    if (first == 0xfe) {
      const std::uint32_t c1 = code_byte(b1, kLongCode);
      return first | c1 << 8 | code_byte(b2, kLongCode + kByteSpan) << 16 | kFirstHalf;
    }
    const std::uint32_t second = code_byte(b1, kSecondByte + (first - 0x80) * kByteSpan);
    if (first < 0xc0) return first | second << 8 | 2u << 24;
    const std::uint32_t third = code_byte(b2, kThirdByte + (first - 0xc0) * kByteSpan);
    return first | second << 8 | third << 16 | 3u << 24;
  }
  // Asks for what a literal after `last` will be coded with.
  void prefetch(Unit last) const { __builtin_prefetch(&t_.special[mix(last) & t_.mask]); }
  bool after_copy() const { return last_kinds_[1] != kLiteral; }

 private:
  static std::uint32_t mix(Unit unit) {
    std::uint64_t x = (std::uint64_t{unit} + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 32) * 0xD6E8FEB86659FD93u;
    return static_cast<std::uint32_t>(x >> 32);
  }
  std::uint32_t code(std::uint32_t symbol, Nibble& n) {
    symbol = coder_.code(symbol, n);
    if constexpr (Coder::kLearns) Nibbles::learn(n, symbol);
    return symbol;
  }
  std::uint32_t code_special(std::uint32_t symbol, Nibble& general, std::uint32_t place) {
    Nibble& special = t_.special[place & t_.mask];
    symbol = coder_.code(symbol, Nibbles::blend(general, special));
    if constexpr (Coder::kLearns) {
      Nibbles::learn(general, symbol);
      Nibbles::learn(special, symbol);
    }
    return symbol;
  }
  std::uint32_t code_byte(std::uint32_t byte, std::uint32_t place) {
    return code_byte(byte, place, place);
  }
  std::uint32_t code_byte(std::uint32_t byte, std::uint32_t place, std::uint32_t general) {
    const std::uint32_t special = hash_ + place * 0x9E3779B1u;
    const std::uint32_t high = code_special(byte >> 4, t_.general[general], special);
    return high << 4 | code_special(byte & 15, t_.general[general + 1 + high], special + 1 + high);
  }
  std::uint32_t code_even(std::uint32_t value, int bits) {
    std::uint32_t out = 0;
    while (bits > 0) {
      const int now = std::min(bits, kNibbleProbabilityBits);
      bits -= now;
      out = out << now | coder_.code_even(value >> bits & ((1u << now) - 1), now);
    }
    return out;
  }
  std::uint32_t code_length(std::uint32_t length, std::uint32_t kind) {
    const std::uint32_t symbol = code(std::min(length - 1, kShortLengths), t_.length[kind]);
    if (symbol < kShortLengths) return symbol + 1;
    const std::uint32_t excess = length - kShortLengths;
    const std::uint32_t log =
        code(Coder::kDecodes ? 0 : static_cast<std::uint32_t>(std::bit_width(excess)) - 1,
             t_.length_log[kind]);
    return kShortLengths +
           (1u << log | code_even(excess & ((1u << log) - 1), static_cast<int>(log)));
  }
  std::uint32_t code_distance(std::uint32_t distance, std::uint32_t length_class) {
    Slot slot{};
    if constexpr (!Coder::kDecodes) slot = Slot::of(distance);
    const std::uint32_t high = code(slot.number >> 4, t_.slot[length_class]);
    const std::uint32_t number =
        high << 4 | code(slot.number & 15, t_.slot_low[length_class][high]);
    if (number >= kSlots) return 0;
    return Slot::distance_of(number, code_even(slot.rest, Slot::bits_of(number)));
  }

  const bool is_byte_;
  Tables& t_;
  Coder& coder_;
  std::array<std::uint32_t, 2> last_kinds_{};
  std::uint32_t literals_ = 0;  // since the last copy
  std::array<std::uint32_t, kOldDistances> distances_ = {1, 2, 3, 4};
  std::uint32_t hash_ = 0;
};

// Appends the units of a text.
Status append_units(ModelUnit unit, ByteView text, std::vector<Unit>& units) {
  units.reserve(units.size() + text.size() / 3 * 2);
  auto at = [&](std::size_t i) { return Unit{static_cast<std::uint8_t>(text[i])}; };
  for (std::size_t i = 0; i < text.size();) {
    const Unit b = at(i);
    const std::size_t size = unit == ModelUnit::byte || b < 0x80 || b == 0xff ? 1
                             : b < 0xc0                                       ? 2
                             : b < 0xfe                                       ? 3
                                                                              : 6;
    if (size > text.size() - i) return Error(Errc::invalid, "a text ends inside a token's code");
    switch (size) {
      case 1:
        units.push_back(b | 1u << 24);
        break;
      case 2:
        units.push_back(b | at(i + 1) << 8 | 2u << 24);
        break;
      case 3:
        units.push_back(b | at(i + 1) << 8 | at(i + 2) << 16 | 3u << 24);
        break;
      default:
        units.push_back(b | at(i + 1) << 8 | at(i + 2) << 16 | kFirstHalf);
        units.push_back(at(i + 3) | at(i + 4) << 8 | at(i + 5) << 16 | kSecondHalf);
    }
    i += size;
  }
  return {};
}

// Finds, for each position in turn, the nearest earlier place for each length that is longer than
// what a nearer place has: a binary tree for each pair of units, sorted by what follows (as in
// LZMA, Pavlov), newest at the root.
class MatchFinder {
 public:
  static constexpr std::uint32_t kLengthMax = 96;
  struct Match {
    std::uint32_t length;
    std::uint32_t distance;
  };

  explicit MatchFinder(const std::vector<Unit>& units)
      : units_(units),
        log_(std::clamp(static_cast<int>(std::bit_width(units.size())), 8, 20)),
        roots_(std::size_t{1} << log_),
        last_(std::size_t{1} << log_),
        children_(2 * units.size()) {}

  // Appends the matches of `position`, which is one more than at the last call.
  void find(std::uint32_t position, std::vector<Match>& out) {
    std::uint32_t& single = last_[hash(units_[position], 0)];
    if (single != 0 && units_[single - 1] == units_[position]) {
      out.push_back({1, position - (single - 1)});
    }
    single = position + 1;
    const std::uint32_t length_max =
        std::min(kLengthMax, static_cast<std::uint32_t>(units_.size()) - position);
    if (length_max >= 2) descend(position, length_max, out);
  }

 private:
  static constexpr int kDepthMax = 128;
  std::size_t hash(Unit a, Unit b) const {
    std::uint64_t x = a * 0x9E3779B97F4A7C15u ^ b * 0xD1342543DE82EF95u;
    x = (x ^ x >> 29) * 0xBF58476D1CE4E5B9u;
    return static_cast<std::size_t>(x >> (64 - log_));
  }
  // The tree's node of a position is a pair of children: those that sort after it, those before.
  // Nodes are numbers of positions plus one. The new position becomes the root, and what is met on
  // the way down is hung below it.
  void descend(std::uint32_t position, std::uint32_t length_max, std::vector<Match>& out) {
    std::uint32_t& root = roots_[hash(units_[position], units_[position + 1])];
    std::uint32_t node = std::exchange(root, position + 1);
    std::uint32_t* before = &children_[2 * std::size_t{position}];
    std::uint32_t* after = before + 1;
    std::uint32_t length_before = 0, length_after = 0, longest = 1;
    for (int depth = 0; node != 0 && depth < kDepthMax; ++depth) {
      const std::uint32_t there = node - 1;
      std::uint32_t* const children = &children_[2 * std::size_t{there}];
      std::uint32_t length = std::min(length_before, length_after);
      while (length < length_max && units_[there + length] == units_[position + length]) ++length;
      if (length > longest) {
        longest = length;
        out.push_back({length, position - there});
      }
      if (length == length_max) {  // it takes this one's place
        *before = children[0];
        *after = children[1];
        return;
      }
      if (units_[there + length] < units_[position + length]) {
        *before = node;
        before = &children[1];
        node = *before;
        length_before = length;
      } else {
        *after = node;
        after = &children[0];
        node = *after;
        length_after = length;
      }
    }
    *before = *after = 0;
  }

  const std::vector<Unit>& units_;
  const int log_;
  std::vector<std::uint32_t> roots_;
  std::vector<std::uint32_t> last_;
  std::vector<std::uint32_t> children_;
};

// What choices are expected to cost.
struct Prices {
  static constexpr std::uint32_t kLengthSymbols = kShortLengths + 16;
  static std::uint32_t length_symbol(std::uint32_t length) {
    if (length <= kShortLengths) return length - 1;
    return kShortLengths - 1 + static_cast<std::uint32_t>(std::bit_width(length - kShortLengths));
  }
  static std::uint32_t length_bits(std::uint32_t length) {
    if (length <= kShortLengths) return 0;
    return static_cast<std::uint32_t>(std::bit_width(length - kShortLengths)) - 1;
  }
  std::uint32_t of_length(std::uint32_t kind_of, std::uint32_t n) const {
    return length[kind_of][length_symbol(n)] + length_bits(n) * kBit;
  }
  std::uint32_t of_distance(std::uint32_t distance, std::uint32_t n) const {
    const Slot s = Slot::of(distance);
    return slot[length_class(n)][s.number] + static_cast<std::uint32_t>(s.bits) * kBit;
  }

  std::array<std::array<std::uint32_t, kKinds>, kKinds> kind{};  // after the one before
  std::array<std::array<std::uint32_t, kLengthSymbols>, kKinds> length{};
  std::array<std::array<std::uint32_t, kSlots>, kLengthClasses> slot{};
  std::vector<std::uint32_t> literal;  // at each position
};

template <std::size_t kCount>
void price_counts(const std::array<std::uint32_t, kCount>& counts,
                  std::array<std::uint32_t, kCount>& prices) {
  // An eighth of a time for what did not occur.
  std::uint64_t sum = kCount;
  for (const std::uint32_t n : counts) sum += std::uint64_t{n} * 8;
  const std::uint32_t whole = log2_256(sum);
  for (std::size_t i = 0; i < kCount; ++i) {
    prices[i] = whole - log2_256(std::uint64_t{counts[i]} * 8 + 1);
  }
}

class Encoder {
 public:
  // The text begins at units[begin]; what stands before is only copied from.
  Encoder(ModelUnit unit, std::vector<Unit> units, std::uint32_t begin)
      : unit_(unit), units_(std::move(units)), begin_(begin) {
    MatchFinder finder(units_);
    matches_begin_.reserve(units_.size() + 1);
    for (std::uint32_t i = 0; i < units_.size(); ++i) {
      matches_begin_.push_back(matches_.size());
      finder.find(i, matches_);
      if (i < begin_) matches_.clear();
    }
    matches_begin_.push_back(matches_.size());
  }

  // The best of a few parses, each with the prices that the one before found.
  TokenLzCode encode() {
    constexpr int kParses = 4;
    TokenLzCode best;
    first_prices();
    for (int i = 0; i < kParses; ++i) {
      std::vector<Step> steps = parse();
      TokenLzCode code = write(steps);
      if (i == 0 || code.bytes.size() < best.bytes.size()) best = std::move(code);
      count(steps);
    }
    return best;
  }

 private:
  // How a position was reached, and what it cost.
  struct Arrival {
    std::uint32_t price = 0xffffffffu;
    Step step;
    std::array<std::uint32_t, kOldDistances> distances{};
  };
  // The shortest path is looked for in so many units at a time.
  static constexpr std::uint32_t kWindow = 1 << 15;
  // A copy of so many units is taken without looking at what else could begin in it.
  static constexpr std::uint32_t kLongEnough = 2 * MatchFinder::kLengthMax;

  static constexpr std::uint32_t kPricedInCopy = 24;

  void first_prices() {
    for (auto& row : prices_.kind) row = {256, 400, 600, 900, 1000, 1000};
    for (auto& row : prices_.length) {
      for (std::uint32_t i = 0; i < row.size(); ++i) row[i] = 300 + i * 60;
    }
    for (auto& row : prices_.slot) row.fill(5 * kBit);
    std::vector<Unit> sorted = units_;
    std::sort(sorted.begin(), sorted.end());
    const std::uint32_t whole = log2_256(units_.size() + 1);
    prices_.literal.resize(units_.size());
    for (std::size_t i = 0; i < units_.size(); ++i) {
      const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), units_[i]);
      prices_.literal[i] =
          whole - std::min(whole, log2_256(static_cast<std::uint64_t>(last - first)));
    }
  }

  std::uint32_t length_at(std::uint32_t position, std::uint32_t distance,
                          std::uint32_t length_max) const {
    std::uint32_t n = 0;
    while (n < length_max && units_[position - distance + n] == units_[position + n]) ++n;
    return n;
  }

  std::vector<Step> parse() {
    std::vector<Step> steps;
    Arrival from;
    from.price = 0;
    from.distances = {1, 2, 3, 4};
    const auto count = static_cast<std::uint32_t>(units_.size());
    for (std::uint32_t begin = begin_; begin < count; begin += kWindow) {
      const std::uint32_t end = std::min(count, begin + kWindow);
      arrivals_.assign(end - begin + 1, Arrival());
      arrivals_[0] = from;
      arrivals_[0].price = 0;
      std::uint32_t next = begin;
      while (next < end) next = look(begin, next, end);
      const std::size_t steps_before = steps.size();
      for (std::uint32_t i = end - begin; i > 0; i -= arrivals_[i].step.length) {
        steps.push_back(arrivals_[i].step);
      }
      std::reverse(steps.begin() + static_cast<std::ptrdiff_t>(steps_before), steps.end());
      from = arrivals_[end - begin];
    }
    return steps;
  }

  void arrive(const Arrival& from, std::uint32_t to, const Step& step, std::uint32_t price) {
    Arrival& there = arrivals_[to];
    if (price >= there.price) return;
    there.price = price;
    there.step = step;
    there.distances = from.distances;
    if (step.kind == kLiteral) return;
    auto& d = there.distances;
    const std::uint32_t k = step.kind == kNewCopy ? kOldDistances - 1 : step.kind - kOldCopy;
    std::move_backward(d.begin(), d.begin() + k, d.begin() + k + 1);
    d[0] = step.distance;
  }

  // Copies of every length up to `length`; of a long one only the whole. `price` without length
  // and distance.
  void copies(const Arrival& from, std::uint32_t at, std::uint32_t kind, std::uint32_t distance,
              std::uint32_t shortest, std::uint32_t length, std::uint32_t price) {
    if (length >= MatchFinder::kLengthMax) shortest = length;
    for (std::uint32_t n = shortest; n <= length; ++n) {
      const std::uint32_t where = kind == kNewCopy ? prices_.of_distance(distance, n) : 0;
      arrive(from, at + n, {kind, n, distance}, price + where + prices_.of_length(kind, n));
    }
  }

  // Takes every step from `position`; returns the next position to look from.
  std::uint32_t look(std::uint32_t begin, std::uint32_t position, std::uint32_t end) {
    const Arrival from = arrivals_[position - begin];
    const std::uint32_t at = position - begin;
    const std::uint32_t length_max = std::min(end - position, kLengthMax);
    const auto& kinds = prices_.kind[from.step.kind];
    arrive(from, at + 1, {}, from.price + kinds[kLiteral] + prices_.literal[position]);
    std::uint32_t longest = 0;
    for (std::uint32_t k = 0; k < kOldDistances; ++k) {
      const std::uint32_t distance = from.distances[k];
      if (distance > position) continue;
      const std::uint32_t length = length_at(position, distance, length_max);
      copies(from, at, kOldCopy + k, distance, 1, length, from.price + kinds[kOldCopy + k]);
      longest = std::max(longest, length);
    }
    std::uint32_t shortest = 1;
    for (std::size_t i = matches_begin_[position]; i < matches_begin_[position + 1]; ++i) {
      const MatchFinder::Match& m = matches_[i];
      const std::uint32_t length = m.length < MatchFinder::kLengthMax
                                       ? std::min(m.length, length_max)
                                       : length_at(position, m.distance, length_max);
      copies(from, at, kNewCopy, m.distance, shortest, length, from.price + kinds[kNewCopy]);
      shortest = std::min(m.length, length_max) + 1;
      longest = std::max(longest, length);
    }
    if (longest < kLongEnough) return position + 1;
    for (std::uint32_t i = at + 1; i < at + longest; ++i) arrivals_[i].price = 0xffffffffu;
    return position + longest;
  }

  // Codes the steps, and notes what each unit would have cost as a literal; far inside a copy the
  // older price will do.
  TokenLzCode write(const std::vector<Step>& steps) {
    Tables tables(contexts_log_of(units_.size() - begin_));
    NibbleEncoder coder;
    TokenLz<NibbleEncoder> lz(unit_, tables, coder);
    TokenLz<NibblePricer> pricer(unit_, tables, pricer_);
    std::uint32_t at = begin_;
    for (const Step& step : steps) {
      lz.code_step(step);
      const std::uint32_t priced_end = at + std::min(step.length, kPricedInCopy);
      for (std::uint32_t i = at; i < priced_end; ++i) {
        static_cast<void>(
            pricer.code_literal(units_[i], i == 0 ? 0 : units_[i - 1], i == at && lz.after_copy()));
        prices_.literal[i] = pricer_.take();
      }
      if (step.kind == kLiteral) {
        lz.code_literal(units_[at], at == 0 ? 0 : units_[at - 1], lz.after_copy());
      }
      at += step.length;
    }
    TokenLzCode out;
    append_varint(out.bytes, units_.size() - begin_);
    coder.finish(out.bytes);
    out.work = coder.count();
    return out;
  }

  void count(const std::vector<Step>& steps) {
    Prices counts;
    std::uint32_t last = kLiteral;
    for (const Step& step : steps) {
      ++counts.kind[last][step.kind];
      last = step.kind;
      if (step.kind == kLiteral) continue;
      ++counts.length[step.kind][Prices::length_symbol(step.length)];
      if (step.kind == kNewCopy) {
        ++counts.slot[length_class(step.length)][Slot::of(step.distance).number];
      }
    }
    for (std::size_t i = 0; i < kKinds; ++i) {
      price_counts(counts.kind[i], prices_.kind[i]);
      price_counts(counts.length[i], prices_.length[i]);
    }
    for (std::size_t i = 0; i < kLengthClasses; ++i) price_counts(counts.slot[i], prices_.slot[i]);
  }

  const ModelUnit unit_;
  const std::vector<Unit> units_;
  const std::uint32_t begin_;
  std::vector<MatchFinder::Match> matches_;  // of the text
  std::vector<std::size_t> matches_begin_;
  Prices prices_;
  NibblePricer pricer_;
  std::vector<Arrival> arrivals_;
};

Error damaged(const char* what) { return Error(Errc::corrupt, std::string("token LZ: ") + what); }

}  // namespace

Result<TokenLzCode> token_lz_encode(ModelUnit unit, ByteView text, ByteView history) {
  if (text.size() > kTokenLzTextBytesMax || history.size() > kTokenLzTextBytesMax - text.size()) {
    return Error(Errc::invalid, "a text is too long for the token LZ");
  }
  std::vector<Unit> units;
  TOKVAULT_TRY(append_units(unit, history, units));
  const auto begin = static_cast<std::uint32_t>(units.size());
  TOKVAULT_TRY(append_units(unit, text, units));
  return std::make_unique<Encoder>(unit, std::move(units), begin)->encode();
}

Status token_lz_decode(ModelUnit unit, ByteView coded, std::uint64_t size, Buffer& text,
                       ByteView history) {
  ByteReader in(coded);
  const std::uint64_t count = in.varint();
  if (!in.ok() || size > kTokenLzTextBytesMax || history.size() > kTokenLzTextBytesMax - size ||
      count > size) {
    return damaged("a size that no writer makes");
  }
  std::vector<Unit> before_it;
  TOKVAULT_TRY(append_units(unit, history, before_it));
  Tables tables(contexts_log_of(count));
  NibbleDecoder coder(in.rest());
  TokenLz<NibbleDecoder> lz(unit, tables, coder);
  const std::uint64_t begin = before_it.size();
  const std::uint64_t end = begin + count;
  const auto units = std::make_unique_for_overwrite<Unit[]>(end);
  std::copy(before_it.begin(), before_it.end(), units.get());
  std::uint64_t at = begin;
  while (at < end) {
    if (at > 0) lz.prefetch(units[at - 1]);
    const Step step = lz.code_step({});
    if (step.kind == kLiteral) {
      units[at] = lz.code_literal(0, at == 0 ? 0 : units[at - 1], lz.after_copy());
      ++at;
      continue;
    }
    if (step.distance == 0 || step.distance > at || step.length > end - at) {
      return damaged("a copy from where nothing is");
    }
    const Unit* const from = units.get() + at - step.distance;
    for (std::uint32_t i = 0; i < step.length; ++i) units[at + i] = from[i];
    at += step.length;
  }
  if (!coder.at_end()) return damaged("it does not end where its text does");
  const std::size_t before = text.size();
  text.resize(before + size + 3);
  char* to = text.data() + before;
  char* const text_end = to + size;
  for (std::uint64_t i = begin; i < end; ++i) {
    const std::uint32_t n = size_of(units[i]);
    if (n > static_cast<std::uint64_t>(text_end - to)) {
      text.resize(before);
      return damaged("its text is longer than it should be");
    }
    store_le(units[i] & 0xffffff, to);
    to += n;
  }
  if (to != text_end) {
    text.resize(before);
    return damaged("its text is shorter than it should be");
  }
  text.resize(before + size);
  return {};
}

}  // namespace tokvault
