// An artifact, as its bytes are and with its checksums put right: never crashes, and what was
// decoded is encoded again and decodes to the same.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/bytes.h"
#include "base/checksum.h"
#include "codec/dictionary.h"
#include "format/artifact.h"

namespace {

using namespace tokvault;

void decode(ByteView file) {
  const auto a = decode_artifact(file);
  if (!a) return;
  (void)dictionary_id(a->content);
  const auto encoded = encode_artifact(*a, 1);
  if (!encoded) std::abort();
  const auto again = decode_artifact(*encoded);
  if (!again || again->record != a->record || again->content != a->content ||
      again->number != a->number || again->tenant != a->tenant || again->vault_id != a->vault_id) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Buffer file(reinterpret_cast<const char*>(data), size);
  decode(file);
  if (file.size() < kArtifactHeaderBytes) return 0;
  store_le(kArtifactMagic, file.data());
  store_le(checksum64(ByteView(file).substr(kArtifactHeaderBytes)), file.data() + 48);
  store_le(checksum64(ByteView(file).substr(0, 56)), file.data() + 56);
  decode(file);
  return 0;
}
