// A token map and a code under it: never crashes; a map has one form only; a code without a list is
// the one that the encoder writes; a code under a list decodes to what its re-encoding decodes to.
// An input is the size of the map, the map, and the code.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/bytes.h"
#include "codec/token_code.h"

namespace {

using namespace tokvault;

void expect(bool condition) {
  if (!condition) std::abort();
}

void code(const TokenMap& map, ByteView bytes, CodeBytes way, bool is_unique) {
  std::vector<Token> tokens, again;
  if (!map.decode(bytes, tokens)) return;
  if (way == CodeBytes::all) expect(TokenMap::count(bytes) == tokens.size());
  if (way == CodeBytes::below_ff) expect(bytes.find('\xff') == ByteView::npos);
  Buffer encoded;
  map.encode(tokens, encoded);
  expect(map.decode(encoded, again).has_value() && again == tokens);
  if (is_unique) expect(encoded == bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in(ByteView(reinterpret_cast<const char*>(data), size));
  const ByteView bytes = in.sized();
  const ByteView rest = in.rest();
  for (const CodeBytes way : {CodeBytes::all, CodeBytes::below_ff}) {
    code(TokenMap(way), rest, way, true);
    if (auto map = TokenMap::parse(bytes, way)) {
      expect(map->serialize() == bytes);
      code(*map, rest, way, false);
    }
  }
  return 0;
}
