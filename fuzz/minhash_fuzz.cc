// Bytes of a signature: never crashes, 1,024 bytes and nothing else are one, and they come back.
// The same bytes as tokens: every loop finds the same values and the same anchors.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/bytes.h"
#include "dedup/anchors.h"
#include "dedup/minhash.h"
#include "tokvault/dedup.h"

namespace {

using namespace tokvault;

void expect(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView bytes(reinterpret_cast<const char*>(data), size);
  const auto signature = MinHash::from_bytes(bytes);
  expect(signature.has_value() == (size == MinHash::kBytes));
  if (signature) {
    expect(signature->to_bytes() == bytes && signature->jaccard(*signature) == 1);
    LshIndex index;
    expect(index.insert(1, *signature).has_value());
    expect(index.query(*signature).size() == 1 && index.remove(1).has_value());
    expect(index.query(*signature, 0).empty());
  }
  std::vector<Token> tokens;
  for (std::size_t i = 0; i + 4 <= size; i += 4) tokens.push_back(load_le<Token>(bytes.data() + i));
  const MinHash best = MinHash::of(tokens);
  for (const MinHashKernel& kernel : minhash_kernels()) {
    MinHash other;
    if (tokens.size() >= 2) kernel.lower(tokens.data(), tokens.size(), other.values.data());
    if (tokens.size() >= 2) expect(other == best);
  }
  std::vector<Anchor> anchors;
  find_anchors(tokens, anchors);
  expect(anchors.empty() == tokens.empty());
  for (const AnchorKernel& kernel : anchor_kernels()) {
    std::vector<Anchor> other;
    if (tokens.size() >= kAnchorTokens) kernel.find(tokens, other);
    if (tokens.size() >= kAnchorTokens) expect(other == anchors);
  }
  return 0;
}
