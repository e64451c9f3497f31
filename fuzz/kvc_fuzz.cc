// KVC files: never crashes, and what decodes encodes to the same bytes.
#include <cstdint>
#include <cstdlib>

#include "tokvault/kvc.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const tokvault::ByteView bytes(reinterpret_cast<const char*>(data), size);
  if (const auto file = tokvault::kvc_decode(bytes)) {
    const auto again = tokvault::kvc_encode(*file);
    if (!again || *again != bytes) std::abort();
  }
  if (const auto tools = tokvault::kvc_decode_tools(bytes)) {
    if (!bytes.starts_with(tokvault::kvc_encode_tools(*tools))) std::abort();
  }
  return 0;
}
