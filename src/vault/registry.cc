// Registering artifacts, making one active, and removing one.
//
// Order of a registration: reserve the number (catalog), put the file (durable), commit the record
// (log). Order of a removal: commit that it is gone (log), let the catalog's generation move so
// that readers look again, remove the file. A crash between two steps leaves a file that is neither
// registered nor named, which the next writer removes (remove_leftovers).

#include <algorithm>

#include "base/clock.h"
#include "vault/artifacts.h"
#include "vault/shared_runs.h"
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
  artifact.number = next_file_++;
  artifact.tenant = tenant;
  artifact.vault_id = state_.vault().id;
  if (record.created_ms == 0) record.created_ms = now_ms();
  record.size_bytes = content.size();
  artifact.record = record;
  artifact.content = content;
  TOKVAULT_ASSIGN(const Buffer file, encode_artifact(artifact, kArtifactLevel));
  TOKVAULT_TRY(swap({}, {}, {}));
  auto put = backend_->put(artifact_name(artifact.number), file);
  if (!put) {
    unsettled_ = true;  // it may be there all the same
    return std::move(put).error();
  }
  std::vector<RecordChange> changes{
      {artifact_key(tenant, artifact.number), encode(artifact.record)}};
  if (active) {
    changes.push_back({active_key(tenant, record.kind), encode_active(artifact.number)});
  }
  TOKVAULT_TRY(commit_records(tenant, changes));
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

Result<std::shared_ptr<const Artifact>> VaultImpl::active_artifact(std::uint32_t tenant,
                                                                   ArtifactKind kind) const {
  const TenantState* t = state_.tenant(tenant);
  if (t == nullptr) return std::shared_ptr<const Artifact>();
  const auto it = t->active.find(kind);
  if (it == t->active.end() || it->second == retiring_) return std::shared_ptr<const Artifact>();
  return cached_artifact(*backend_, cache_, {it->second, tenant, kind, state_.vault().id});
}

std::vector<std::shared_ptr<const ArtifactTokens>> VaultImpl::pack_artifacts(
    std::uint32_t tenant) const {
  std::vector<std::shared_ptr<const ArtifactTokens>> out;
  const TenantState* t = state_.tenant(tenant);
  if (t == nullptr) return out;
  for (const auto& [kind, number] : t->active) {
    if (number == retiring_) continue;
    auto tokens = cached_tokens(*backend_, cache_, {number, tenant, kind, state_.vault().id});
    if (tokens && !(*tokens)->tokens.empty()) out.push_back(std::move(*tokens));
  }
  return out;
}

Status VaultImpl::rewrite_without(std::uint64_t number) {
  TOKVAULT_TRY(prepare_log());
  join_sealing();
  TOKVAULT_TRY(settle());
  std::uint64_t newest = 0;
  for (const auto& [n, log] : state_.logs()) {
    const bool names = std::any_of(log->parts().begin(), log->parts().end(), [&](const auto& part) {
      return part.second->names_artifact(number);
    });
    if (names) newest = n;
  }
  const auto logs = logs_until(newest);
  if (std::find(logs.begin(), logs.end(), log_) != logs.end()) TOKVAULT_TRY(rotate());
  for (const auto& log : logs) TOKVAULT_TRY(seal_log(log, false, options_.level));
  std::vector<std::shared_ptr<PackFile>> packs;
  for (const auto& [n, pack] : state_.packs()) {
    if (pack->names_artifact(number)) packs.push_back(pack);
  }
  if (!packs.empty()) stager_->forget_other_files();
  for (const auto& pack : packs) TOKVAULT_TRY(rewrite_pack(pack));
  return {};
}

Status VaultImpl::retire_erased() {
  struct Due {
    std::uint32_t tenant;
    std::uint64_t number;
  };
  std::vector<Due> due;
  std::vector<Record> compared;
  for (const auto& [number, tenant] : state_.tenants()) {
    for (const auto& [artifact, record] : tenant.artifacts) {
      if (record.kind != ArtifactKind::dictionary) continue;
      auto loaded = load_artifact(*backend_, {artifact, number, record.kind, state_.vault().id});
      if (loaded.code() == Errc::not_found) continue;
      const Buffer key = artifact_key(number, artifact);
      const std::uint64_t compared_until = state_.record_sequence(key);
      bool holds = true;  // of one that is damaged, or of what is erased, nobody knows
      if (loaded) {
        auto found = holds_erased_run(state_, tenant, (*loaded)->content);
        if (!found && found.code() != Errc::corrupt) return std::move(found).error();
        holds = !found || *found;
      }
      const bool is_trained_here = record.conversations > 0;
      if (!holds && is_trained_here) {
        TOKVAULT_ASSIGN(holds, is_erased_unseen(state_, tenant, compared_until));
      }
      if (holds) {
        due.push_back({number, artifact});
      } else if (is_trained_here && is_deletion_after(tenant, compared_until)) {
        compared.push_back({key, encode(record), next_sequence_ + compared.size()});
      }
    }
  }
  if (!compared.empty()) {
    next_sequence_ += compared.size();
    TOKVAULT_TRY(swap({}, {}, {}, compared));
  }
  for (const Due& d : due) TOKVAULT_TRY(remove_artifact(d.tenant, d.number, true));
  return settle();  // what could not be removed must be, or the gc fails
}

Status VaultImpl::remove_artifact(std::uint32_t tenant, std::uint64_t number, bool rewrite) {
  TOKVAULT_TRY(expect_no_damage());  // what is lost may name it
  TOKVAULT_TRY(prepare_log());
  const MergePause pause(*this);  // what is being merged may name it
  // From here on nothing new may name it, the batch with its removal least of all. That it is
  // active changes in the same batch, so that a crash leaves it as it was, or gone.
  retiring_ = number;
  Status status = rewrite ? rewrite_without(number) : Status();
  if (status) status = commit_removal(tenant, number);
  retiring_ = 0;
  return status;
}

Status VaultImpl::commit_removal(std::uint32_t tenant, std::uint64_t number) {
  join_sealing();
  TOKVAULT_TRY(settle());
  for (const auto& source : state_.sources(tenant)) {
    if (!source->names_artifact(number)) continue;
    return Error(Errc::conflict,
                 artifact_name(number) + " is needed by " + source->name() + ": rewrite it first");
  }
  std::vector<RecordChange> changes{{artifact_key(tenant, number), std::nullopt}};
  for (const auto& [kind, active] : state_.tenant(tenant)->active) {
    if (active == number) changes.push_back({active_key(tenant, kind), std::nullopt});
  }
  TOKVAULT_TRY(commit_records(tenant, changes));
  join_sealing();
  cache_.erase_file(number);
  // It is gone now. What fails from here on is done by the next settle(), or the next writer.
  Status cleared = swap({}, {}, {});
  if (cleared) cleared = backend_->remove(artifact_name(number));
  if (!cleared) unsettled_ = true;
  return {};
}

}  // namespace tokvault
