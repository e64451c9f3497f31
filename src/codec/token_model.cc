#include "codec/token_model.h"

#include <bit>
#include <mutex>

#include "base/bytes.h"
#include "codec/binary_coder.h"
#include "codec/token_predictor.h"

namespace tokvault {
namespace {

int lines_log_of(std::uint64_t text_size) {
  return std::clamp(static_cast<int>(std::bit_width(text_size)) + 1, kModelLinesLogMin,
                    kModelLinesLogMax);
}
// A token touches up to 30 lines, in practice 6 that no other of its block has touched.
int block_lines_log_of(std::uint64_t text_size) {
  return std::clamp(static_cast<int>(std::bit_width(text_size)) + 2, kModelLinesLogMin,
                    kModelLinesLogMax - 1);
}

// How much text segments of these sizes have; an error of `code` if it is too much.
Result<std::uint64_t> total_of(std::span<const std::uint32_t> sizes, Errc code) {
  std::uint64_t total = 0;
  for (std::uint32_t s : sizes) total += s;
  if (total > kModelTextBytesMax) return Error(code, "token model: too much text");
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
    symbol = b << 16;
    if (raw_left_ > 0) {
      --raw_left_;
      symbol |= kRawByte;
    } else if (unit_ == ModelUnit::byte || b < 0x80) {
    } else if (b == 0xFF) {
      raw_left_ = kRawBytes;
    } else {
      size = static_cast<std::size_t>(code_bytes(b));
      if (left < size) return false;
      symbol |= byte(1) << 8;
      if (size == 3) symbol |= byte(2);
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
  const std::uint32_t b = s >> 16 & 0xff;
  out.push_back(static_cast<char>(b));
  if (unit == ModelUnit::byte || s >= kRawByte || b < 0x80 || b == 0xFF) return;
  out.push_back(static_cast<char>(s >> 8));
  if (b >= 0xC0) out.push_back(static_cast<char>(s));
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

// Appends the segments to `text`; nothing if it fails.
template <bool kBlock>
Status decode_segments(Predictor<BinaryDecoder, kBlock>& predictor, BinaryDecoder& coder,
                       ModelUnit unit, std::span<const std::uint32_t> sizes, Buffer& text) {
  const std::size_t begin = text.size();
  auto refuse = [&](const char* why) {
    text.resize(begin);
    return Error(Errc::corrupt, why);
  };
  for (std::uint32_t size : sizes) {
    predictor.start();
    const std::size_t end = text.size() + size;
    while (text.size() < end) {
      append_symbol(text, unit, predictor.code(0));
      if (!coder.ok() || !predictor.ok()) return refuse("token model: not the code of a text");
    }
    if (text.size() > end || predictor.raw_left() > 0) {
      return refuse("token model: a segment ends inside a code");
    }
  }
  if (!coder.at_end()) return refuse("token model: the code ends elsewhere");
  return {};
}

class Model final : public TokenModel {
 public:
  Model(ModelUnit unit, std::unique_ptr<Learned> base) : unit_(unit), base_(std::move(base)) {}

  Result<Buffer> encode_block(ByteView text, std::span<const std::uint32_t> sizes) const override {
    TOKVAULT_ASSIGN(const std::uint64_t total, total_of(sizes, Errc::invalid));
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
    TOKVAULT_ASSIGN(const std::uint64_t total, total_of(sizes, Errc::corrupt));
    auto top = borrow(total);
    BinaryDecoder coder(coded);
    Predictor<BinaryDecoder, true> predictor(unit_, *base_, *top, coder);
    TOKVAULT_TRY(decode_segments(predictor, coder, unit_, sizes, text));
    give_back(std::move(top));
    return {};
  }

  std::uint64_t memory_bytes() const override {
    return sizeof(Learned) + base_->lines.size_bytes() + base_->after_four.size_bytes() +
           base_->after_two.size_bytes() + base_->history.capacity() * sizeof(Symbol);
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
    if (top->lines.size_bytes() > kSpareLinesBytesMax) return;
    std::lock_guard lock(mutex_);
    if (spare_.size() < kSparesMax) spare_.push_back(std::move(top));
  }

  static constexpr std::size_t kSparesMax = 4;
  static constexpr std::size_t kSpareLinesBytesMax = 4u << 20;

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

Adaptive::Adaptive() {
  for (auto& a : weights) {
    for (auto& b : a) {
      for (auto& c : b) c.fill({20000, 20000, 20000, 20000, 10000, 10000, 0});
    }
  }
  second.fill(50000);
  for (auto& a : match_weights) a.fill({22000, 22000, 22000, 22000, 22000, 0});
  for (auto& a : match_by_length) {
    for (auto& b : a) b.fill(32768);
  }
  for (auto& a : match_by_run) a.fill(32768);
  match_by_last.fill(40000);
  match_by_symbol.fill(40000);
  match_by_pair.fill(40000);
}

void Learned::resize(int lines_log) {
  lines.resize(lines_log);
  after_four.resize(lines_log - 2);
  after_two.resize(lines_log - 2);
}

Result<std::unique_ptr<TokenModel>> TokenModel::decode(ModelUnit unit, ByteView coded,
                                                       std::span<const std::uint32_t> sizes,
                                                       Buffer& text) {
  TOKVAULT_TRY(total_of(sizes, Errc::corrupt));
  ByteReader in(coded);
  const int lines_log = in.le<std::uint8_t>();
  if (!in.ok() || lines_log < kModelLinesLogMin || lines_log > kModelLinesLogMax) {
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
