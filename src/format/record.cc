#include "format/record.h"

#include <algorithm>
#include <array>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "format/pack.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kTenantKeyBytes = 16;

Error corrupt_record(const char* what) {
  return Error(Errc::corrupt, std::string("damaged record: ") + what);
}

Buffer id_key(RecordKind kind, std::uint32_t tenant, const IdHash& id) {
  Buffer key(1, static_cast<char>(kind));
  append_le(key, tenant);
  key.append(reinterpret_cast<const char*>(id.data()), id.size());
  return key;
}

}  // namespace

// XXH3-128 with 64 bits of the key as seed and the rest after the id: without the key nobody can
// test whether an id was here. It need not resist someone who has the key: he has the vault.
IdHash hash_id(ByteView key, std::string_view id) {
  std::uint64_t seed = 0;
  ByteView tail;
  if (key.size() == kTenantKeyBytes) {
    seed = load_le<std::uint64_t>(key.data());
    tail = key.substr(8);
  }
  // Most ids are short, and all those of a pack are hashed for the first of them that is looked up.
  std::array<char, 256> near;
  Buffer far;
  const std::size_t size = id.size() + tail.size();
  char* text = near.data();
  if (size > near.size()) {
    far.resize(size);
    text = far.data();
  }
  std::copy(tail.begin(), tail.end(), std::copy(id.begin(), id.end(), text));
  const XXH128_hash_t h = XXH3_128bits_withSeed(text, size, seed);
  IdHash out;
  store_le(h.low64, reinterpret_cast<char*>(out.data()));
  store_le(h.high64, reinterpret_cast<char*>(out.data()) + 8);
  return out;
}

bool is_kind(ByteView key, RecordKind kind) {
  return !key.empty() && key[0] == static_cast<char>(kind);
}

bool is_kind(const Record& record, RecordKind kind) { return is_kind(record.key, kind); }

bool is_worded(const Record& record) {
  return is_kind(record, RecordKind::tag) || is_kind(record, RecordKind::hold);
}

bool is_worded_removal(const Record& record) { return is_worded(record) && !record.value; }

Buffer tenant_key(std::uint32_t tenant) {
  Buffer key(1, static_cast<char>(RecordKind::tenant));
  append_le(key, tenant);
  return key;
}

Buffer deletion_key(std::uint32_t tenant, const IdHash& id) {
  return id_key(RecordKind::deletion, tenant, id);
}

Buffer tag_key(std::uint32_t tenant, const IdHash& id, std::string_view tag) {
  return id_key(RecordKind::tag, tenant, id).append(tag);
}

Buffer progress_key(ByteView source) {
  return Buffer(1, static_cast<char>(RecordKind::progress)).append(source);
}

Buffer artifact_key(std::uint32_t tenant, std::uint64_t number) {
  Buffer key(1, static_cast<char>(RecordKind::artifact));
  append_le(key, tenant);
  append_le(key, number);
  return key;
}

Buffer active_key(std::uint32_t tenant, ArtifactKind kind) {
  Buffer key(1, static_cast<char>(RecordKind::active));
  append_le(key, tenant);
  append_le(key, static_cast<std::uint8_t>(kind));
  return key;
}

Buffer encode_active(std::uint64_t number) {
  Buffer out;
  append_varint(out, number);
  return out;
}

Result<std::uint64_t> decode_active(ByteView value) {
  ByteReader in(value);
  const std::uint64_t number = in.varint();
  if (!in.ok() || !in.at_end()) return corrupt_record("active artifact");
  return number;
}

bool parse_artifact_key(ByteView key, ArtifactKey& out) {
  ByteReader in(key);
  const auto letter = in.le<char>();
  out.tenant = in.le<std::uint32_t>();
  out.number = in.le<std::uint64_t>();
  return in.ok() && in.at_end() && letter == static_cast<char>(RecordKind::artifact);
}

bool parse_active_key(ByteView key, ArtifactKey& out) {
  ByteReader in(key);
  const auto letter = in.le<char>();
  out.tenant = in.le<std::uint32_t>();
  const auto kind = in.le<std::uint8_t>();
  out.kind = static_cast<ArtifactKind>(kind);
  return in.ok() && in.at_end() && letter == static_cast<char>(RecordKind::active) &&
         is_artifact_kind(kind);
}

std::optional<std::uint32_t> tenant_of(ByteView key) {
  ByteReader in(key);
  const auto letter = in.le<char>();
  const auto tenant = in.le<std::uint32_t>();
  if (!in.ok()) return std::nullopt;
  switch (static_cast<RecordKind>(letter)) {
    case RecordKind::tenant:
    case RecordKind::deletion:
    case RecordKind::tag:
    case RecordKind::artifact:
    case RecordKind::active:
    case RecordKind::hold:
      return tenant;
    case RecordKind::progress:
      break;
  }
  return std::nullopt;
}

bool parse_id_key(ByteView key, RecordKind kind, IdKey& out) {
  ByteReader in(key);
  const ByteView tag = in.bytes(1);
  out.tenant = in.le<std::uint32_t>();
  const ByteView id = in.bytes(out.id.size());
  if (!in.ok() || tag[0] != static_cast<char>(kind)) return false;
  std::copy(id.begin(), id.end(), out.id.begin());
  out.tag = in.rest();
  return true;
}

Buffer hold_prefix(std::uint32_t tenant) {
  Buffer key(1, static_cast<char>(RecordKind::hold));
  append_le(key, tenant);
  return key;
}

Buffer hold_key(std::uint32_t tenant, std::uint8_t stream, const Digest& digest,
                std::string_view holder) {
  Buffer key = hold_prefix(tenant);
  append_le(key, stream);
  key.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  return key.append(holder);
}

bool parse_hold_key(ByteView key, HoldKey& out) {
  ByteReader in(key);
  const ByteView kind = in.bytes(1);
  out.tenant = in.le<std::uint32_t>();
  out.stream = in.le<std::uint8_t>();
  const ByteView digest = in.bytes(out.digest.size());
  if (!in.ok() || kind[0] != static_cast<char>(RecordKind::hold) || out.stream >= kStreams) {
    return false;
  }
  std::copy(digest.begin(), digest.end(), out.digest.begin());
  out.holder = in.rest();
  return true;
}

Buffer encode(const TenantRecord& r) {
  Buffer out;
  append_varint(out, r.number);
  append_sized(out, r.name);
  append_sized(out, r.key);
  return out;
}

Result<TenantRecord> decode_tenant(ByteView value) {
  ByteReader in(value);
  TenantRecord r;
  r.number = in.varint32();
  r.name = in.sized();
  r.key = in.sized();
  if (!in.ok() || !in.at_end() || r.key.size() != kTenantKeyBytes) {
    return corrupt_record("tenant");
  }
  return r;
}

Buffer encode(const ProgressRecord& r) {
  Buffer out;
  append_varint(out, r.lines);
  append_varint(out, r.bytes);
  append_sized(out, r.state_hash);
  return out;
}

Result<ProgressRecord> decode_progress(ByteView value) {
  ByteReader in(value);
  ProgressRecord r;
  r.lines = in.varint();
  r.bytes = in.varint();
  r.state_hash = in.sized();
  if (!in.ok() || !in.at_end()) return corrupt_record("import progress");
  return r;
}

Buffer encode(const HoldRecord& r) {
  Buffer out;
  append_varint(out, r.size);
  return out.append(r.code);
}

Result<HoldRecord> decode_hold(ByteView value) {
  ByteReader in(value);
  HoldRecord r;
  r.size = in.varint();
  r.code = in.rest();
  const bool has_code = r.size > 0 && r.size < kSharedCodeBytes;
  if (!in.ok() || has_code == r.code.empty()) return corrupt_record("hold");
  return r;
}

Buffer encode(const VaultRecord& r) {
  Buffer out;
  append_sized(out, r.id);
  append_sized(out, r.tokenizer);
  out.append(reinterpret_cast<const char*>(r.vocabulary_sha256.data()), r.vocabulary_sha256.size());
  append_sized(out, r.pattern);
  append_sized(out, r.vocabulary);
  return out;
}

Result<VaultRecord> decode_vault(ByteView value) {
  ByteReader in(value);
  VaultRecord r;
  r.id = in.sized();
  r.tokenizer = in.sized();
  const ByteView sha = in.bytes(r.vocabulary_sha256.size());
  r.pattern = in.sized();
  r.vocabulary = in.sized();
  if (!in.ok() || !in.at_end() || r.id.size() != 16) return corrupt_record("vault");
  std::copy(sha.begin(), sha.end(), r.vocabulary_sha256.begin());
  return r;
}

}  // namespace tokvault
