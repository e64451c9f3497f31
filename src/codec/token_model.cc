#include "codec/token_model.h"

#include <bit>
#include <mutex>

#include "base/bytes.h"
#include "codec/binary_coder.h"
#include "codec/token_predictor.h"

namespace tokvault {
namespace {

// Points of the logistic function, every 128.
constexpr std::array<std::uint16_t, 33> kLogisticPoints = {
    22,    36,    60,    98,    162,   267,   439,   720,   1179,  1921,  3108,
    4971,  7812,  11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565,
    62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514};

int lines_log_of(std::uint64_t text_size) {
  return std::clamp(static_cast<int>(std::bit_width(text_size)) + 1, kModelLinesLogMin,
                    kModelLinesLogMax);
}
// A block touches at most a few lines for each byte.
int block_lines_log_of(std::uint64_t text_size) {
  return std::clamp(static_cast<int>(std::bit_width(text_size)) + 2, kModelLinesLogMin,
                    kModelLinesLogMax - 1);
}

Result<std::uint64_t> total_of(std::span<const std::uint32_t> sizes) {
  std::uint64_t total = 0;
  for (std::uint32_t s : sizes) total += s;
  if (total > kModelTextBytesMax) return Error(Errc::corrupt, "token model: too much text");
  return total;
}

// Reads the next symbol of a segment; false at its end or if it stops inside a code.
class SymbolReader {
 public:
  SymbolReader(ModelUnit unit, ByteView text)
      : unit_(unit), p_(text.data()), end_(text.data() + text.size()) {}
  bool next(Symbol& symbol) {
    if (p_ == end_) return false;
    const auto left = static_cast<std::size_t>(end_ - p_);
    auto byte = [&](std::size_t i) { return std::uint32_t{static_cast<std::uint8_t>(p_[i])}; };
    const std::uint32_t b = byte(0);
    std::size_t size = 1;
    if (unit_ == ModelUnit::byte) {
      symbol = b;
    } else if (raw_left_ > 0) {
      --raw_left_;
      symbol = kRawByte + b;
    } else if (b < 0x80) {
      symbol = b;
    } else if (b == 0xFF) {
      raw_left_ = kRawBytes;
      symbol = kEscape;
    } else {
      size = b < 0xC0 ? 2 : 3;
      if (left < size) return false;
      symbol = size == 2 ? kOneByteCodes + ((b & 0x3F) << 8 | byte(1))
                         : kTwoByteCodes + ((b & 0x3F) << 16 | byte(1) << 8 | byte(2));
    }
    p_ += size;
    return true;
  }
  bool is_whole() const { return p_ == end_ && raw_left_ == 0; }

 private:
  ModelUnit unit_;
  const char* p_;
  const char* end_;
  int raw_left_ = 0;
};

void append_symbol(Buffer& out, ModelUnit unit, Symbol s) {
  if (unit == ModelUnit::byte || s < kOneByteCodes) {
    out.push_back(static_cast<char>(s));
  } else if (s < kTwoByteCodes) {
    s -= kOneByteCodes;
    out.push_back(static_cast<char>(0x80 | s >> 8));
    out.push_back(static_cast<char>(s));
  } else if (s < kThreeByteCodes) {
    s -= kTwoByteCodes;
    out.push_back(static_cast<char>(0xC0 | s >> 16));
    out.push_back(static_cast<char>(s >> 8));
    out.push_back(static_cast<char>(s));
  } else {
    out.push_back(static_cast<char>(s == kEscape ? 0xFF : s - kRawByte));
  }
}

template <bool kBlock>
Status encode_segment(Predictor<BinaryEncoder, kBlock>& predictor, ModelUnit unit, ByteView text) {
  SymbolReader check(unit, text);
  Symbol s = 0;
  while (check.next(s)) {
  }
  if (!check.is_whole()) return Error(Errc::invalid, "token model: a segment ends inside a code");
  predictor.start();
  SymbolReader in(unit, text);
  while (in.next(s)) predictor.code(s);
  return {};
}

template <bool kBlock>
Status decode_segments(Predictor<BinaryDecoder, kBlock>& predictor, BinaryDecoder& coder,
                       ModelUnit unit, std::span<const std::uint32_t> sizes, Buffer& text) {
  for (std::uint32_t size : sizes) {
    predictor.start();
    const std::size_t end = text.size() + size;
    while (text.size() < end) {
      append_symbol(text, unit, predictor.code(0));
      if (!coder.ok()) return Error(Errc::corrupt, "token model: the code is cut short");
    }
    if (text.size() > end || predictor.raw_left() > 0) {
      return Error(Errc::corrupt, "token model: a segment ends inside a code");
    }
  }
  if (!coder.at_end()) return Error(Errc::corrupt, "token model: the code has another size");
  return {};
}

class Model final : public TokenModel {
 public:
  Model(ModelUnit unit, std::unique_ptr<Learned> base) : unit_(unit), base_(std::move(base)) {}

  Result<Buffer> encode_block(ByteView text, std::span<const std::uint32_t> sizes) const override {
    TOKVAULT_ASSIGN(const std::uint64_t total, total_of(sizes));
    if (total != text.size()) return Error(Errc::invalid, "token model: sizes and text differ");
    auto top = borrow(total);
    Buffer out;
    BinaryEncoder coder(out);
    Predictor<BinaryEncoder, true> predictor(unit_, *base_, *top, coder);
    for (std::uint32_t size : sizes) {
      TOKVAULT_TRY(encode_segment(predictor, unit_, text.substr(0, size)));
      text.remove_prefix(size);
    }
    coder.finish();
    give_back(std::move(top));
    return out;
  }

  Status decode_block(ByteView coded, std::span<const std::uint32_t> sizes,
                      Buffer& text) const override {
    TOKVAULT_ASSIGN(const std::uint64_t total, total_of(sizes));
    auto top = borrow(total);
    BinaryDecoder coder(coded);
    Predictor<BinaryDecoder, true> predictor(unit_, *base_, *top, coder);
    TOKVAULT_TRY(decode_segments(predictor, coder, unit_, sizes, text));
    give_back(std::move(top));
    return {};
  }

  std::uint64_t memory_bytes() const override {
    return sizeof(Learned) + base_->lines.lines.size() * sizeof(Line) +
           (base_->after_four.positions.size() + base_->after_two.positions.size() +
            base_->history.capacity()) *
               4;
  }

 private:
  std::unique_ptr<Learned> borrow(std::uint64_t text_size) const {
    std::unique_ptr<Learned> top;
    {
      std::lock_guard lock(mutex_);
      if (!spare_.empty()) {
        top = std::move(spare_.back());
        spare_.pop_back();
      }
    }
    if (!top) top = std::make_unique<Learned>();
    top->resize(block_lines_log_of(text_size));
    top->history.clear();
    top->adaptive = base_->adaptive;
    return top;
  }
  void give_back(std::unique_ptr<Learned> top) const {
    std::lock_guard lock(mutex_);
    spare_.push_back(std::move(top));
  }

  const ModelUnit unit_;
  const std::unique_ptr<const Learned> base_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Learned>> spare_;  // guarded by mutex_
};

class Trainer final : public ModelTrainer {
 public:
  Trainer(ModelUnit unit, int lines_log)
      : unit_(unit),
        learned_(std::make_unique<Learned>()),
        coder_(coded_),
        predictor_(unit, *learned_, *learned_, coder_) {
    learned_->resize(lines_log);
    coded_.push_back(static_cast<char>(lines_log));
  }
  Status add(ByteView segment) override {
    if (segment.size() > kModelTextBytesMax - text_size_) {
      return Error(Errc::invalid, "token model: too much text");
    }
    text_size_ += segment.size();
    return encode_segment(predictor_, unit_, segment);
  }
  std::uint64_t work() const override { return coder_.decisions(); }
  std::uint64_t coded_size() const override { return coded_.size(); }
  std::unique_ptr<TokenModel> finish(Buffer& coded) override {
    coder_.finish();
    coded += coded_;
    return std::make_unique<Model>(unit_, std::move(learned_));
  }

 private:
  const ModelUnit unit_;
  std::unique_ptr<Learned> learned_;
  Buffer coded_;
  BinaryEncoder coder_;
  Predictor<BinaryEncoder, false> predictor_;
  std::uint64_t text_size_ = 0;
};

}  // namespace

Logistic::Logistic() {
  for (int i = 0; i < 4096; ++i) {
    const int x = std::clamp(i - 2048, -2047, 2047) + 2048;
    const int low = kLogisticPoints[static_cast<std::size_t>(x >> 7)];
    const int high = kLogisticPoints[static_cast<std::size_t>((x >> 7) + 1)];
    const int p = (low * (128 - (x & 127)) + high * (x & 127)) >> 7;
    squashed[static_cast<std::size_t>(i)] = static_cast<std::uint16_t>(p);
  }
  std::size_t next = 0;
  for (int x = -2047; x <= 2047; ++x) {
    const std::size_t p = squashed[static_cast<std::size_t>(x + 2048)] >> 4;
    for (; next <= p; ++next) stretched[next] = static_cast<std::int16_t>(x);
  }
  for (; next < stretched.size(); ++next) stretched[next] = 2047;
}
const Logistic kLogistic;

Adaptive::Adaptive() {
  for (auto& a : bit_weights) {
    for (auto& b : a) {
      for (auto& c : b) {
        for (auto& weights : c) {
          for (int i = 0; i < kInputs; ++i) {
            weights[i] = i < 4 ? 20000 : i < kContexts + 1 ? 10000 : 0;
          }
        }
      }
    }
  }
  for (auto& a : match_weights) {
    for (auto& weights : a) {
      for (int i = 0; i < 6; ++i) weights[i] = i < 5 ? 22000 : 0;
    }
  }
  for (auto& a : match_by_length) {
    for (auto& b : a) std::fill(std::begin(b), std::end(b), 32768);
  }
  for (auto& a : match_by_run) std::fill(std::begin(a), std::end(a), 32768);
  std::fill(std::begin(match_by_last), std::end(match_by_last), 40000);
  std::fill(std::begin(match_by_symbol), std::end(match_by_symbol), 40000);
  std::fill(std::begin(match_by_pair), std::end(match_by_pair), 40000);
  std::fill(std::begin(second), std::end(second), 50000);
}

void Learned::resize(int lines_log) {
  lines.resize(lines_log);
  after_four.resize(lines_log - 2);
  after_two.resize(lines_log - 2);
}

Result<std::unique_ptr<TokenModel>> TokenModel::decode(ModelUnit unit, ByteView coded,
                                                       std::span<const std::uint32_t> sizes,
                                                       Buffer& text) {
  TOKVAULT_ASSIGN(const std::uint64_t total, total_of(sizes));
  ByteReader in(coded);
  const int lines_log = in.le<std::uint8_t>();
  if (!in.ok() || lines_log < kModelLinesLogMin || lines_log > kModelLinesLogMax ||
      lines_log > lines_log_of(total)) {
    return Error(Errc::corrupt, "token model: bad header");
  }
  auto learned = std::make_unique<Learned>();
  learned->resize(lines_log);
  BinaryDecoder coder(in.rest());
  Predictor<BinaryDecoder, false> predictor(unit, *learned, *learned, coder);
  TOKVAULT_TRY(decode_segments(predictor, coder, unit, sizes, text));
  return std::unique_ptr<TokenModel>(std::make_unique<Model>(unit, std::move(learned)));
}

std::unique_ptr<ModelTrainer> ModelTrainer::make(ModelUnit unit, std::uint64_t text_size) {
  return std::make_unique<Trainer>(unit, lines_log_of(text_size));
}

}  // namespace tokvault
