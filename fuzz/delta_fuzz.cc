// Deltas: damaged ones never crash and take no memory that their bytes do not call for; what is
// read is written again as the same bytes; a diff of any two sequences gives the second back.
// An input is a byte that says what the rest is: the size of the base in bytes, the base, the delta
// or the target; tokens of one, two or four bytes. Or both are made of few bytes, and long: what
// needs many edits is searched for in another way.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/bytes.h"
#include "tokvault/delta.h"

namespace {

using namespace tokvault;

constexpr std::uint64_t kTokensMax = 1 << 20;
constexpr std::size_t kGrownMax = 1 << 14;

void expect(bool condition) {
  if (!condition) std::abort();
}

std::vector<Token> tokens_of(ByteView bytes, unsigned size) {
  std::vector<Token> out;
  ByteReader in(bytes);
  while (in.left() >= size) {
    out.push_back(size == 1   ? in.le<std::uint8_t>()
                  : size == 2 ? in.le<std::uint16_t>()
                              : in.le<std::uint32_t>());
  }
  return out;
}

// Four bytes make up to 8,161 tokens: new ones, or a copy out of `base` or of those before.
std::vector<Token> grown(ByteView bytes, TokenView base) {
  std::vector<Token> out;
  ByteReader in(bytes);
  while (in.left() >= 4) {
    const auto what = in.le<std::uint8_t>();
    std::size_t count = in.le<std::uint8_t>();
    const std::uint32_t place = in.le<std::uint16_t>();
    count = 1 + count * ((what & 4) != 0 ? 32 : 1);
    for (std::size_t i = 0; i < count && out.size() < kGrownMax; ++i) {
      const TokenView from = (what & 1) != 0 ? base : TokenView(out);
      const bool is_new = (what & 2) != 0 || from.empty();
      const auto number = static_cast<std::uint32_t>(i);
      out.push_back(is_new ? ((place + number) * 0x9e3779b1u) >> 12
                           : from[(place + i) % from.size()]);
    }
  }
  return out;
}

void read(TokenView base, ByteView delta) {
  auto target = apply_delta(base, delta, kTokensMax);
  auto ops = read_delta(base, delta, kTokensMax);
  expect(target.has_value() == ops.has_value());
  if (!target) return;
  auto applied = apply_ops(base, *ops, kTokensMax);
  expect(applied && *applied == *target);
  auto encoded = encode_ops(base, *ops);
  expect(encoded.has_value());
  auto again = apply_delta(base, *encoded, kTokensMax);
  expect(again && *again == *target);
}

void write(TokenView base, const std::vector<Token>& target) {
  auto delta = encode_delta(base, target);
  expect(delta.has_value());
  auto again = apply_delta(base, *delta, target.size());
  expect(again && *again == target);
  auto ops = diff_tokens(base, target);
  auto read = read_delta(base, *delta, target.size());
  expect(ops && read && *ops == *read);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in(ByteView(reinterpret_cast<const char*>(data), size));
  const auto kind = in.le<std::uint8_t>();
  const unsigned token_bytes = 1u << (kind & 3) % 3;
  const ByteView first = in.sized();
  if ((kind & 8) != 0) {
    const std::vector<Token> base = grown(first, {});
    write(base, grown(in.rest(), base));
    return 0;
  }
  const std::vector<Token> base = tokens_of(first, token_bytes);
  if ((kind & 4) != 0) {
    read(base, in.rest());
  } else {
    write(base, tokens_of(in.rest(), token_bytes));
  }
  return 0;
}
