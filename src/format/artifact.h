// Artifacts: what was trained once and is used by many frames. An artifact is one immutable file,
// and a record that says that it is registered.
//
// A pack or log names an artifact by its number, which is of the count that logs and packs share
// and is never given out twice, so that nothing else is needed to read them. Format:
// docs/format/artifact.md
#ifndef TOKVAULT_FORMAT_ARTIFACT_H_
#define TOKVAULT_FORMAT_ARTIFACT_H_

#include <cstdint>

#include "format/record.h"
#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

inline constexpr std::uint32_t kArtifactMagic = 0xa5d0c98eu;
inline constexpr std::size_t kArtifactHeaderBytes = 64;
// What an artifact may hold, decoded: a bound on what a damaged size may allocate.
inline constexpr std::uint64_t kArtifactBytesMax = 256u << 20;

// What an artifact is and what it was made of: the value of its record, and part of its file.
struct ArtifactRecord {
  ArtifactKind kind = ArtifactKind::dictionary;
  std::uint64_t id = 0;  // of a dictionary: zstd's; otherwise its number
  std::int64_t created_ms = 0;
  std::uint64_t size_bytes = 0;  // of its content
  // What it was trained on; 0 where nobody knows, as for one that was imported.
  std::uint64_t conversations = 0;
  std::uint64_t samples = 0;
  std::uint64_t sample_bytes = 0;
  bool operator==(const ArtifactRecord&) const = default;
};
Buffer encode(const ArtifactRecord& record);
Result<ArtifactRecord> decode_artifact_record(ByteView value);

struct Artifact {
  std::uint64_t number = 0;
  std::uint32_t tenant = 0;
  Buffer vault_id;  // 16 bytes
  ArtifactRecord record;
  Buffer content;
};

// The file of an artifact; record.size_bytes is set from the content. `level` is zstd's.
// `exhausted` if the content is larger than kArtifactBytesMax.
Result<Buffer> encode_artifact(const Artifact& artifact, int level);
// `corrupt` if a checksum or a size is wrong, `unsupported` if a newer program wrote it.
Result<Artifact> decode_artifact(ByteView file);

}  // namespace tokvault

#endif  // TOKVAULT_FORMAT_ARTIFACT_H_
