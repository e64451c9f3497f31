// Registering artifacts, making one active, and removing one.
//
// Order of a registration: reserve the number (catalog), put the file (durable), commit the record
// (log). Order of a removal: commit that it is gone (log), let the catalog's generation move so
// that readers look again, remove the file. A crash between two steps leaves a file that is neither
// registered nor named, which the next writer removes (remove_leftovers).

#include "base/clock.h"
#include "vault/artifacts.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

// Artifacts are small and read often; training one costs far more than this.
constexpr int kArtifactLevel = 19;

}  // namespace

Result<std::uint64_t> VaultImpl::register_artifact(std::uint32_t tenant, ArtifactRecord record,
                                                   ByteView content, bool active) {
  TOKVAULT_TRY(prepare_log());
  join_sealing();
  TOKVAULT_TRY(settle());
  Artifact artifact;
  artifact.number = next_file_;
  artifact.tenant = tenant;
  artifact.vault_id = state_.vault().id;
  if (record.created_ms == 0) record.created_ms = now_ms();
  record.size_bytes = content.size();
  artifact.record = record;
  artifact.content = content;
  TOKVAULT_ASSIGN(const Buffer file, encode_artifact(artifact, kArtifactLevel));
  TOKVAULT_TRY(swap({}, {}, {}, artifact.number + 1));
  TOKVAULT_TRY(backend_->put(artifact_name(artifact.number), file));
  std::vector<RecordChange> changes{
      {artifact_key(tenant, artifact.number), encode(artifact.record)}};
  if (active) {
    changes.push_back({active_key(tenant, record.kind), encode_active(artifact.number)});
  }
  TOKVAULT_TRY(commit_records(tenant, std::move(changes)));
  return artifact.number;
}

Status VaultImpl::activate_artifact(std::uint32_t tenant, ArtifactKind kind,
                                    std::optional<std::uint64_t> number) {
  const TenantState* t = state_.tenant(tenant);
  const auto now = t->active.find(kind);
  if (number ? now != t->active.end() && now->second == *number : now == t->active.end()) return {};
  std::optional<Buffer> value;
  if (number) value = encode_active(*number);
  return commit_records(tenant, {{active_key(tenant, kind), std::move(value)}});
}

Status VaultImpl::remove_artifact(std::uint32_t tenant, std::uint64_t number) {
  TOKVAULT_TRY(prepare_log());
  join_sealing();
  TOKVAULT_TRY(settle());
  for (const auto& source : state_.sources(tenant)) {
    for (const ArtifactRef& ref : source->artifacts()) {
      if (ref.number != number) continue;
      return Error(Errc::conflict, artifact_name(number) + " is needed by " + source->name() +
                                       ": rewrite it first");
    }
  }
  std::vector<RecordChange> changes{{artifact_key(tenant, number), std::nullopt}};
  for (const auto& [kind, active] : state_.tenant(tenant)->active) {
    if (active == number) changes.push_back({active_key(tenant, kind), std::nullopt});
  }
  TOKVAULT_TRY(commit_records(tenant, std::move(changes)));
  join_sealing();
  TOKVAULT_TRY(swap({}, {}, {}, next_file_));
  cache_.erase_file(number);
  return backend_->remove(artifact_name(number));
}

}  // namespace tokvault
