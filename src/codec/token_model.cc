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

// Reads the symbols of a text.
class SymbolReader {
 public:
  SymbolReader(ModelUnit unit, ByteView text)
      : unit_(unit), p_(text.data()), end_(text.data() + text.size()) {}
  // False at the end, or where the text stops inside a symbol.
  bool next(Symbol& symbol) {
    if (p_ == end_) return false;
    auto byte = [&](std::size_t i) { return std::uint32_t{static_cast<std::uint8_t>(p_[i])}; };
    symbol = byte(0) << 16;
    std::size_t size = 1;
    if (raw_left_ > 0) {
      --raw_left_;
      symbol |= kRawByte;
    } else if (unit_ == ModelUnit::token_code) {
      size = static_cast<std::size_t>(symbol_bytes(byte(0)));
      if (static_cast<std::size_t>(end_ - p_) < size) return false;
      if (size > 1) symbol |= byte(1) << 8;
      if (size > 2) symbol |= byte(2);
      if (symbol == kEscape) raw_left_ = kRawBytes;
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
  const int size = unit == ModelUnit::byte || s >= kRawByte ? 1 : symbol_bytes(b);
  out.push_back(static_cast<char>(b));
  if (size > 1) out.push_back(static_cast<char>(s >> 8));
  if (size > 2) out.push_back(static_cast<char>(s));
}

Status check_text(ModelUnit unit, ByteView text) {
  SymbolReader in(unit, text);
  Symbol s = 0;
  while (in.next(s)) {
  }
  if (!in.is_whole()) return Error(Errc::invalid, "token model: the text ends inside a code");
  return {};
}

template <class Coder, bool kBlock>
void encode_text(Predictor<Coder, kBlock>& predictor, ModelUnit unit, ByteView text) {
  SymbolReader in(unit, text);
  Symbol s = 0;
  while (in.next(s)) predictor.code(s);
}

// How many decisions it took.
Result<std::uint64_t> learn_history(ModelUnit unit, ByteView history, Learned& learned) {
  if (history.size() > kModelTextBytesMax) {
    return Error(Errc::invalid, "token model: too much text");
  }
  TOKVAULT_TRY(check_text(unit, history));
  BinaryLearner learner;
  Predictor<BinaryLearner, false> predictor(unit, learned, learned, learner);
  encode_text(predictor, unit, history);
  return learner.decisions();
}

// Appends `size` bytes to `text`; nothing if it fails.
template <bool kBlock>
Status decode_text(Predictor<BinaryDecoder, kBlock>& predictor, BinaryDecoder& coder,
                   ModelUnit unit, std::uint64_t size, Buffer& text) {
  const std::size_t begin = text.size();
  auto refuse = [&](const char* why) {
    text.resize(begin);
    return Error(Errc::corrupt, why);
  };
  const std::size_t end = begin + size;
  while (text.size() < end) {
    append_symbol(text, unit, predictor.code(0));
    if (!coder.ok() || !predictor.ok()) return refuse("token model: not the code of a text");
  }
  if (text.size() > end || predictor.raw_left() > 0) {
    return refuse("token model: the text ends inside a code");
  }
  if (!coder.at_end()) return refuse("token model: the code ends elsewhere");
  return {};
}

class Model final : public TokenModel {
 public:
  Model(ModelUnit unit, std::unique_ptr<Learned> base) : unit_(unit), base_(std::move(base)) {}

  Result<Buffer> encode_block(ByteView text) const override {
    if (text.size() > kModelTextBytesMax) {
      return Error(Errc::invalid, "token model: too much text");
    }
    TOKVAULT_TRY(check_text(unit_, text));
    auto top = borrow(text.size());
    Buffer out;
    BinaryEncoder coder(out);
    Predictor<BinaryEncoder, true> predictor(unit_, *base_, *top, coder);
    encode_text(predictor, unit_, text);
    coder.finish();
    give_back(std::move(top));
    return out;
  }

  Status decode_block(ByteView coded, std::uint64_t size, Buffer& text) const override {
    if (size > kModelTextBytesMax) return Error(Errc::corrupt, "token model: too much text");
    auto top = borrow(size);
    BinaryDecoder coder(coded);
    Predictor<BinaryDecoder, true> predictor(unit_, *base_, *top, coder);
    TOKVAULT_TRY(decode_text(predictor, coder, unit_, size, text));
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
  Status learn(ByteView history) override {
    if (text_size_ > 0) return Error(Errc::invalid, "token model: a history comes first");
    TOKVAULT_ASSIGN(history_work_, learn_history(unit_, history, *learned_));
    return {};
  }
  Status add(ByteView text) override {
    if (text.size() > kModelTextBytesMax - text_size_) {
      return Error(Errc::invalid, "token model: too much text");
    }
    TOKVAULT_TRY(check_text(unit_, text));
    text_size_ += text.size();
    encode_text(predictor_, unit_, text);
    return {};
  }
  std::uint64_t work() const override { return history_work_ + coder_.decisions(); }
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
  std::uint64_t history_work_ = 0;
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
                                                       std::uint64_t size, Buffer& text,
                                                       ByteView history) {
  if (size > kModelTextBytesMax) return Error(Errc::corrupt, "token model: too much text");
  ByteReader in(coded);
  const int lines_log = in.le<std::uint8_t>();
  if (!in.ok() || lines_log < kModelLinesLogMin || lines_log > kModelLinesLogMax) {
    return Error(Errc::corrupt, "token model: bad header");
  }
  auto learned = std::make_unique<Learned>();
  learned->resize(lines_log);
  TOKVAULT_TRY(learn_history(unit, history, *learned));
  BinaryDecoder coder(in.rest());
  Predictor<BinaryDecoder, false> predictor(unit, *learned, *learned, coder);
  TOKVAULT_TRY(decode_text(predictor, coder, unit, size, text));
  return std::unique_ptr<TokenModel>(std::make_unique<Model>(unit, std::move(learned)));
}

std::unique_ptr<ModelTrainer> ModelTrainer::make(ModelUnit unit, std::uint64_t text_size) {
  return std::make_unique<Trainer>(unit, lines_log_of(text_size));
}

}  // namespace tokvault
