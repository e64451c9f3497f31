// The token model: damaged codes never crash; what decodes is what would be written; any text of
// whole codes comes back, as dictionary and as block. An input is a byte that says what the rest
// is, a sized dictionary (text; or size and code), and a block: text, or its size and code.
#include <cstdint>
#include <cstdlib>

#include "base/bytes.h"
#include "codec/token_model.h"

namespace {

using namespace tokvault;

// Damaged sizes must not make the fuzzer slow.
constexpr std::uint64_t kTextBytesMax = 1 << 14;
constexpr int kLinesLogMax = 14;

void expect(bool condition) {
  if (!condition) std::abort();
}

std::unique_ptr<TokenModel> model_of_text(ModelUnit unit, ByteView text) {
  auto trainer = ModelTrainer::make(unit, text.size());
  if (!trainer->add(text)) return nullptr;
  Buffer coded;
  auto model = trainer->finish(coded);
  Buffer back;
  expect(TokenModel::decode(unit, coded, text.size(), back).has_value() && back == text);
  return model;
}

std::unique_ptr<TokenModel> model_of_code(ModelUnit unit, ByteReader in) {
  const std::uint64_t size = in.varint();
  const ByteView coded = in.rest();
  if (!in.ok() || size > kTextBytesMax) return nullptr;
  if (!coded.empty() && coded[0] > kLinesLogMax) return nullptr;
  Buffer text;
  auto model = TokenModel::decode(unit, coded, size, text);
  expect(text.size() == (model ? size : 0));
  return model ? std::move(*model) : nullptr;
}

void write(const TokenModel& model, ByteView text) {
  auto coded = model.encode_block(text);
  if (!coded) return;
  Buffer back;
  expect(model.decode_block(*coded, text.size(), back).has_value() && back == text);
}

void read(const TokenModel& model, ByteReader in) {
  const std::uint64_t size = in.varint();
  const ByteView coded = in.rest();
  if (!in.ok() || size > kTextBytesMax) return;
  Buffer text;
  if (!model.decode_block(coded, size, text)) {
    expect(text.empty());
    return;
  }
  expect(text.size() == size);
  auto again = model.encode_block(text);
  expect(again && *again == coded);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in(ByteView(reinterpret_cast<const char*>(data), size));
  const auto kind = in.le<std::uint8_t>();
  const ModelUnit unit = (kind & 1) != 0 ? ModelUnit::byte : ModelUnit::token_code;
  const ByteView dictionary = in.sized();
  if (!in.ok() || dictionary.size() > kTextBytesMax) return 0;
  auto model = (kind & 2) != 0 ? model_of_code(unit, ByteReader(dictionary))
                               : model_of_text(unit, dictionary);
  if (!model) return 0;
  if ((kind & 4) != 0) {
    read(*model, in);
  } else {
    write(*model, in.rest());
  }
  return 0;
}
