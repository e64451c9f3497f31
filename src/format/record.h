// Live records: what a log or pack says about conversations that lie elsewhere, and about the
// vault.
//
// A record is a key and a value, or a removal of a key; the one with the highest sequence number
// holds. Format: docs/format/record.md
#ifndef TOKVAULT_FORMAT_RECORD_H_
#define TOKVAULT_FORMAT_RECORD_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// The first byte of a key. Part of the on-disk format, never renumber.
enum class RecordKind : char {
  tenant = 'T',    // + tenant; value: TenantRecord
  deletion = 'D',  // + tenant + id hash; every version with a lower sequence number is gone
  tag = 'G',       // + tenant + id hash + tag
  progress = 'P',  // + source; value: ProgressRecord
  artifact = 'A',  // + tenant + number; value: ArtifactRecord (format/artifact.h)
  active = 'C',    // + tenant + kind; value: number of the artifact that new frames use
  hold = 'H',      // + tenant + stream + SHA-256 + holder; value: HoldRecord
};

// What an artifact is. Part of the on-disk format, never renumber.
// Nothing writes the third, and no pack or log names one.
enum class ArtifactKind : std::uint8_t { dictionary = 1, substring_set = 2, reserved = 3 };
inline constexpr bool is_artifact_kind(std::uint8_t kind) { return kind >= 1 && kind <= 3; }

// An id, hashed under the tenant's key, so that a record outlives the text of the id that it names.
using IdHash = std::array<std::uint8_t, 16>;

struct Record {
  Buffer key;
  std::optional<Buffer> value;  // absent: the key is removed
  std::uint64_t sequence = 0;
};
bool is_kind(const Record& record, RecordKind kind);
bool is_kind(ByteView key, RecordKind kind);
// Whether its key holds words of people's: what was taken away of these is erased from files like
// text.
bool is_worded(const Record& record);
bool is_worded_removal(const Record& record);

// Whose deletions and tags a batch of a log changes, by id. It stands there once more beside the
// records, so that damage to the one leaves the other.
struct BatchChanges {
  std::vector<IdHash> deleted;
  std::vector<IdHash> tagged;
  bool empty() const { return deleted.empty() && tagged.empty(); }
};

struct TenantRecord {
  std::uint32_t number = 0;
  std::string name;
  Buffer key;  // 16 random bytes
};

struct ProgressRecord {
  std::uint64_t lines = 0;
  std::uint64_t bytes = 0;
  Buffer state_hash;
};

// A name's claim on a segment, which keeps it alive without a conversation that has it.
struct HoldRecord {
  std::uint64_t size = 0;  // of the segment, in tokens or bytes
  // The segment itself, if it is too short to be found by its content in other files
  // (kSharedCodeBytes of pack.h): its tokens as codes without a list, or its bytes.
  Buffer code;
};

// Which vault this is and how its text is turned into tokens.
struct VaultRecord {
  Buffer id;  // 16 random bytes
  std::string tokenizer;
  Digest vocabulary_sha256{};
  std::string pattern;     // of a vocabulary that is kept in the vault
  std::string vocabulary;  // name of its artifact; empty: it ships with tokvault
  bool operator==(const VaultRecord&) const = default;
};

IdHash hash_id(ByteView tenant_key, std::string_view id);

Buffer tenant_key(std::uint32_t tenant);
Buffer deletion_key(std::uint32_t tenant, const IdHash& id);
Buffer tag_key(std::uint32_t tenant, const IdHash& id, std::string_view tag);
Buffer progress_key(ByteView source);
Buffer artifact_key(std::uint32_t tenant, std::uint64_t number);
Buffer active_key(std::uint32_t tenant, ArtifactKind kind);
Buffer encode_active(std::uint64_t number);
Result<std::uint64_t> decode_active(ByteView value);

// The parts of a deletion's or tag's key. False if the key is of another kind.
struct IdKey {
  std::uint32_t tenant = 0;
  IdHash id{};
  std::string_view tag;
};
bool parse_id_key(ByteView key, RecordKind kind, IdKey& out);
// The parts of an artifact's key, or of the key of the active one. False if it is of another kind.
struct ArtifactKey {
  std::uint32_t tenant = 0;
  std::uint64_t number = 0;                      // of an artifact's key
  ArtifactKind kind = ArtifactKind::dictionary;  // of the active one's
};
bool parse_artifact_key(ByteView key, ArtifactKey& out);
bool parse_active_key(ByteView key, ArtifactKey& out);
// Whose packs carry a record on; none for what belongs to the vault, or is not known here.
std::optional<std::uint32_t> tenant_of(ByteView key);

// The key of a hold, and what the keys of all holds of a tenant, or of a segment, begin with.
Buffer hold_key(std::uint32_t tenant, std::uint8_t stream, const Digest& digest,
                std::string_view holder);
Buffer hold_prefix(std::uint32_t tenant);
struct HoldKey {
  std::uint32_t tenant = 0;
  std::uint8_t stream = 0;  // as Stream of tables.h
  Digest digest{};
  std::string_view holder;
};
bool parse_hold_key(ByteView key, HoldKey& out);

Buffer encode(const TenantRecord& record);
Buffer encode(const ProgressRecord& record);
Buffer encode(const HoldRecord& record);
Buffer encode(const VaultRecord& record);
Result<TenantRecord> decode_tenant(ByteView value);
Result<ProgressRecord> decode_progress(ByteView value);
// Does not look into the code; `corrupt` if it is there for a segment that is not short, or absent
// for one that is.
Result<HoldRecord> decode_hold(ByteView value);
Result<VaultRecord> decode_vault(ByteView value);

}  // namespace tokvault

#endif  // TOKVAULT_FORMAT_RECORD_H_
