#include "format/artifact.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "format/column.h"

namespace tokvault {
namespace {

constexpr std::uint16_t kVersion = 1;
constexpr std::uint32_t kRecordBytesMax = 4096;

Error damaged(const char* what) {
  return Error(Errc::corrupt, std::string("damaged artifact: ") + what);
}

}  // namespace

Buffer encode(const ArtifactRecord& r) {
  Buffer out;
  append_le(out, static_cast<std::uint8_t>(r.kind));
  append_varint(out, r.id);
  append_varint(out, zigzag(r.created_ms));
  append_varint(out, r.size_bytes);
  append_varint(out, r.conversations);
  append_varint(out, r.samples);
  append_varint(out, r.sample_bytes);
  return out;
}

Result<ArtifactRecord> decode_artifact_record(ByteView value) {
  ByteReader in(value);
  ArtifactRecord r;
  r.kind = static_cast<ArtifactKind>(in.le<std::uint8_t>());
  r.id = in.varint();
  r.created_ms = in.svarint();
  r.size_bytes = in.varint();
  r.conversations = in.varint();
  r.samples = in.varint();
  r.sample_bytes = in.varint();
  if (!in.ok() || !in.at_end()) return Error(Errc::corrupt, "damaged record: artifact");
  if (!is_artifact_kind(static_cast<std::uint8_t>(r.kind))) {
    return Error(Errc::unsupported, "an artifact of a kind that this program does not know");
  }
  if (r.size_bytes > kArtifactBytesMax) return Error(Errc::corrupt, "damaged record: artifact");
  return r;
}

//  offset size
//   0     4   magic
//   4     2   version
//   6     2   required features, 0
//   8     8   number
//  16     4   tenant
//  20     1   cipher, 0
//  21     3   zero
//  24     4   key id, 0
//  28    16   vault id
//  44     4   size of the record, n
//  48     8   checksum of all that follows the header
//  56     8   checksum of all before
//  64     n   record
//  64+n       packed content
Result<Buffer> encode_artifact(const Artifact& artifact, int level) {
  if (artifact.content.size() > kArtifactBytesMax) {
    return Error(Errc::exhausted,
                 "an artifact has at most " + std::to_string(kArtifactBytesMax >> 20) + " MB");
  }
  ArtifactRecord record = artifact.record;
  record.size_bytes = artifact.content.size();
  Buffer body = encode(record);
  const auto record_size = static_cast<std::uint32_t>(body.size());
  TOKVAULT_ASSIGN(const Buffer packed, encode_bytes(artifact.content, level));
  body += packed;
  Buffer out;
  append_le(out, kArtifactMagic);
  append_le(out, kVersion);
  append_le(out, std::uint16_t{0});
  append_le(out, artifact.number);
  append_le(out, artifact.tenant);
  append_le(out, std::uint64_t{0});  // cipher, zero, key id
  out += artifact.vault_id;
  append_le(out, record_size);
  append_le(out, checksum64(body));
  append_le(out, checksum64(out));
  return out + body;
}

Result<Artifact> decode_artifact(ByteView file) {
  ByteReader in(file);
  Artifact a;
  const auto magic = in.le<std::uint32_t>();
  const auto version = in.le<std::uint16_t>();
  const auto features = in.le<std::uint16_t>();
  a.number = in.le<std::uint64_t>();
  a.tenant = in.le<std::uint32_t>();
  const auto cipher = in.le<std::uint8_t>();
  const auto zero8 = in.le<std::uint8_t>();
  const auto zero16 = in.le<std::uint16_t>();
  const auto key_id = in.le<std::uint32_t>();
  a.vault_id = in.bytes(16);
  const auto record_size = in.le<std::uint32_t>();
  const auto body_checksum = in.le<std::uint64_t>();
  const auto header_checksum = in.le<std::uint64_t>();
  if (!in.ok() || magic != kArtifactMagic) return damaged("the header");
  if (header_checksum != checksum64(file.substr(0, kArtifactHeaderBytes - 8))) {
    return damaged("bad checksum of the header");
  }
  if (version != kVersion || features != 0 || cipher != 0) {
    return Error(Errc::unsupported, "artifact version " + std::to_string(version) +
                                        " with features " + std::to_string(features) +
                                        " and cipher " + std::to_string(cipher) +
                                        " needs a newer program; use the one that wrote it");
  }
  if (zero8 != 0 || zero16 != 0 || key_id != 0) return damaged("reserved bytes are not zero");
  if (body_checksum != checksum64(file.substr(kArtifactHeaderBytes))) {
    return damaged("bad checksum of the content");
  }
  if (record_size > kRecordBytesMax) return damaged("the size of its record");
  const ByteView record = in.bytes(record_size);
  if (!in.ok()) return damaged("it ends too early");
  TOKVAULT_ASSIGN(a.record, decode_artifact_record(record));
  TOKVAULT_TRY(decode_bytes(in.rest(), a.record.size_bytes, a.content));
  return a;
}

}  // namespace tokvault
