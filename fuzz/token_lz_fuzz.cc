// The token LZ: damaged codes never crash and give a text of the size that was asked for or
// nothing; any text of whole codes comes back. An input is a byte that says what the rest is; a
// history, if it says so; and a text, or a size and a code.
#include <cstdint>
#include <cstdlib>

#include "base/bytes.h"
#include "codec/token_lz.h"

namespace {

using namespace tokvault;

// Damaged sizes must not make the fuzzer slow.
constexpr std::uint64_t kTextBytesMax = 1 << 16;

void expect(bool condition) {
  if (!condition) std::abort();
}

void write(ModelUnit unit, ByteView text, ByteView history) {
  auto coded = token_lz_encode(unit, text, history);
  if (!coded) return;
  Buffer back;
  expect(token_lz_decode(unit, coded->bytes, text.size(), back, history).has_value());
  expect(back == text);
}

void read(ModelUnit unit, ByteReader in, ByteView history) {
  const std::uint64_t size = in.varint();
  const ByteView coded = in.rest();
  if (!in.ok() || size > kTextBytesMax) return;
  Buffer text;
  const bool is_good = token_lz_decode(unit, coded, size, text, history).has_value();
  expect(text.size() == (is_good ? size : 0));
  if (is_good) write(unit, text, history);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in(ByteView(reinterpret_cast<const char*>(data), size));
  const auto kind = in.le<std::uint8_t>();
  if (!in.ok()) return 0;
  const ModelUnit unit = (kind & 1) != 0 ? ModelUnit::byte : ModelUnit::token_code;
  const ByteView history = (kind & 4) != 0 ? in.sized() : ByteView();
  if (!in.ok()) return 0;
  if ((kind & 2) != 0) {
    read(unit, in, history);
  } else {
    write(unit, in.rest(), history);
  }
  return 0;
}
