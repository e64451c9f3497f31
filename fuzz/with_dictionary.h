// Inputs that bring the dictionary that a log or a pack needs, so that what is decoded with one is
// fuzzed, and so are the bytes of the dictionary. Such an input begins with the magic number of
// artifacts, which no log and no pack does, and the size of the dictionary (2 bytes); then come its
// bytes and the file. tests/golden/make_corpus.py writes the first of them.
#ifndef TOKVAULT_FUZZ_WITH_DICTIONARY_H_
#define TOKVAULT_FUZZ_WITH_DICTIONARY_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "format/artifact.h"
#include "tokvault/backend.h"
#include "vault/source.h"

namespace tokvault {

struct FuzzInput {
  std::optional<Buffer> dictionary;
  Buffer file;
};

inline FuzzInput parse_input(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kHeadBytes = 6;
  const ByteView input(reinterpret_cast<const char*>(data), size);
  if (size < kHeadBytes || load_le<std::uint32_t>(input.data()) != kArtifactMagic) {
    return {{}, Buffer(input)};
  }
  const ByteView rest = input.substr(kHeadBytes);
  const std::size_t end =
      std::min<std::size_t>(load_le<std::uint16_t>(input.data() + 4), rest.size());
  return {Buffer(rest.substr(0, end)), Buffer(rest.substr(end))};
}

// Stores the artifact as a writer would have; under a number that is taken, the first one stays.
inline void put_artifact(Backend& backend, const Artifact& artifact) {
  if (backend.size(artifact_name(artifact.number))) return;
  const auto bytes = encode_artifact(artifact, 1);
  if (!bytes || !backend.put(artifact_name(artifact.number), *bytes)) std::abort();
}

}  // namespace tokvault

#endif  // TOKVAULT_FUZZ_WITH_DICTIONARY_H_
