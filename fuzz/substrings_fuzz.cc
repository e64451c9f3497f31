// Sets of substrings and segments that refer to them: never crash; a set is written again as the
// same set; a segment that was read comes back from its own code.
// An input is the size of a set, the set, and a segment under it or under a set of the fuzzer's; or
// the size of an index of the reference layout, the index, and its blobs.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/bytes.h"
#include "tokvault/substrings.h"

namespace {

using namespace tokvault;

constexpr std::uint64_t kTokensMax = 1 << 20;

void expect(bool condition) {
  if (!condition) std::abort();
}

void segment(const SubstringSet& set, ByteView bytes) {
  auto tokens = decode_with_substrings(set, bytes, kTokensMax);
  if (!tokens) return;
  auto again = decode_with_substrings(set, encode_with_substrings(set, *tokens), kTokensMax);
  expect(again && *again == *tokens);
}

void same(const SubstringSet& a, const SubstringSet& b) {
  expect(a.size() == b.size() && a.next_id() == b.next_id());
  const auto x = a.runs(), y = b.runs();
  const auto p = a.list(), q = b.list();
  for (std::size_t i = 0; i < x.size(); ++i) {
    expect(p[i].id == q[i].id && p[i].segments == q[i].segments &&
           p[i].conversations == q[i].conversations && p[i].created_ms == q[i].created_ms);
    expect(std::vector<Token>(x[i].begin(), x[i].end()) ==
           std::vector<Token>(y[i].begin(), y[i].end()));
    const auto match = a.longest_match(x[i]);
    expect(match && match->id == p[i].id);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in(ByteView(reinterpret_cast<const char*>(data), size));
  const ByteView bytes = in.sized();
  const ByteView rest = in.rest();
  if (auto set = SubstringSet::parse(bytes)) {
    auto again = SubstringSet::parse(set->serialize());
    expect(again.has_value());
    same(*set, *again);
    segment(*set, rest);
  }
  if (auto read = read_reference_substrings(bytes, rest)) {
    auto again = SubstringSet::parse(read->set.serialize());
    expect(again.has_value());
    same(read->set, *again);
  }
  SubstringSet set;
  expect(set.add(std::vector<Token>(16, 1), {}).has_value());
  expect(set.add(std::vector<Token>(17, 1), {}).has_value());
  segment(set, rest);
  return 0;
}
