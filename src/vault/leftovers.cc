// What interrupted rewrites leave behind, and whether it can go.
#include <algorithm>

#include "vault/artifacts.h"
#include "vault/recovery.h"
#include "vault/vault_impl.h"

namespace tokvault {

Status VaultImpl::remove_leftovers() {
  const Leftovers leftovers(*backend_, state_);
  for (const char* folder : {"packs", "log", "artifacts"}) {
    TOKVAULT_ASSIGN(const auto blobs, backend_->list(folder));
    for (const BlobInfo& blob : blobs) {
      if (number_of(blob.name) == 0) continue;
      next_file_ = std::max(next_file_.load(), number_of(blob.name) + 1);
      // Where a file is lost, one that it replaced may be all that is left of it.
      if (state_.has_all_files() && !leftovers.is_live(blob.name) &&
          leftovers.contains(blob.name)) {
        TOKVAULT_TRY(backend_->remove(blob.name));
      }
    }
  }
  return {};
}

// Whether a file holds segments for somebody, as far as the state knows nothing newer.
bool Leftovers::holds_anything(const std::vector<Record>& records) const {
  const std::vector<Record> last = last_of_each(records);
  return std::any_of(last.begin(), last.end(), [&](const Record& r) {
    return is_kind(r, RecordKind::hold) && r.value && state_.record_sequence(r.key) <= r.sequence &&
           !is_released(r);
  });
}

bool Leftovers::is_released(const Record& hold) const {
  if (!removals_) {
    removals_.emplace();
    for (const auto& [number, pack] : state_.packs()) {
      const auto records = pack->records();
      if (!records) continue;  // then more is held than need be
      for (const Record& r : *records) {
        if (r.value) continue;
        std::uint64_t& last = (*removals_)[r.key];
        last = std::max(last, r.sequence);
      }
    }
  }
  const auto removal = removals_->find(hold.key);
  return removal != removals_->end() && removal->second > hold.sequence;
}

Leftovers::Leftovers(const Backend& backend, const State& state)
    : backend_(backend), state_(state) {
  for (const CatalogFile& f : state.files()) live_.insert(f.number);
  for (const auto& [number, tenant] : state.tenants()) {
    for (const auto& [artifact, record] : tenant.artifacts) live_.insert(artifact);
    live_.insert(tenant.unknown_artifacts.begin(), tenant.unknown_artifacts.end());
    for (const auto& source : state.sources(number)) {
      for (const std::uint64_t artifact : source->artifacts()) live_.insert(artifact);
    }
  }
  for (const auto& [number, log] : state.logs()) {
    for (const LostCommits& lost : log->lost()) live_.insert(lost.artifact);
  }
  for (const auto& [number, pack] : state.packs()) {
    superseded_.insert(pack->footer().set_supersedes.begin(), pack->footer().set_supersedes.end());
  }
}

bool Leftovers::contains(std::string_view name) const {
  const std::uint64_t number = number_of(name);
  // Registered before it was named, retired when it no longer was: either was interrupted.
  if (name.starts_with("artifacts/")) return is_artifact_name(name);
  if (superseded_.contains(number)) return true;
  if (name.starts_with("log/")) {
    // Of a rotation: empty.
    auto log = LogFile::open(backend_, number, 0);
    return log && (*log)->vault() && (*log)->vault()->id == state_.vault().id &&
           (*log)->lost().empty() && !holds_anything((*log)->records()) &&
           std::all_of((*log)->parts().begin(), (*log)->parts().end(),
                       [&](const auto& part) { return is_dead(*part.second); });
  }
  Cache cache(0);
  auto pack = PackFile::open(backend_, cache, number);
  if (!pack || (*pack)->footer().vault.id != state_.vault().id) return false;
  // What it would have replaced stands there still, or others stand in its place.
  const auto& replaces = (*pack)->footer().set_supersedes;
  if (std::all_of(replaces.begin(), replaces.end(),
                  [&](std::uint64_t n) { return live_.contains(n) || superseded_.contains(n); })) {
    return true;
  }
  const auto records = (*pack)->records();
  return records && !holds_anything(*records) && is_dead(**pack);
}

bool Leftovers::is_dead(const Source& source) const {
  const TenantState* tenant = state_.tenant(source.tenant());
  if (tenant == nullptr) return false;
  auto dead = state_.dead_rows(*tenant, source);
  return dead && static_cast<std::uint64_t>(std::count(dead->begin(), dead->end(), true)) ==
                     source.range().rows;
}

}  // namespace tokvault
