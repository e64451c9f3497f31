// A vault as it is at one moment.
//
// The state is copied: of the packs only the references, since they never change; logs and records
// as they are. A rewrite (by this process or another) may remove a pack at any time, so the files
// are held. Where the backend cannot hold one, and it goes, reading it is a `conflict`: what was
// committed since cannot be told from what was there.
#include <algorithm>
#include <set>

#include "vault/vault_impl.h"

namespace tokvault {
namespace {

VaultOptions options_of_snapshot(VaultOptions options) {
  options.read_only = true;
  return options;
}

}  // namespace

VaultImpl::VaultImpl(const VaultImpl& vault)
    : Vault(vault),
      backend_(vault.backend_),
      catalog_(vault.catalog_),
      options_(options_of_snapshot(vault.options_)),
      cache_(cache_bytes_of(vault.options_)),
      state_(vault.state_.copy()),
      is_snapshot_(true),
      artifacts_(vault.artifacts_),
      passed_over_(vault.passed_over_),
      tokenizer_(vault.tokenizer_),
      tokenizer_error_(vault.tokenizer_error_.clone()) {}

Status VaultImpl::hold_files() {
  std::set<std::string> names;
  for (const auto& [number, pack] : state_.packs()) names.insert(pack->name());
  for (const auto& [number, tenant] : state_.tenants()) {
    for (const auto& source : state_.sources(number)) {
      for (const std::uint64_t artifact : source->artifacts()) {
        if (tenant.artifacts.contains(artifact)) names.insert(artifact_name(artifact));
      }
    }
  }
  for (const std::string& name : names) {
    auto held = backend_->hold(name);
    if (held) {
      held_.push_back(std::move(*held));
    } else if (held.code() == Errc::not_found) {
      return std::move(held).error();
    }  // any other error is said by whoever reads the file
  }
  return {};
}

Result<std::shared_ptr<const Vault>> VaultImpl::snapshot() const {
  constexpr int kAttempts = 4;
  for (int attempt = 1;; ++attempt) {
    TOKVAULT_TRY(refresh());
    std::shared_ptr<VaultImpl> copy;
    std::uint64_t generation = 0;
    {
      std::shared_lock lock(state_mutex_);
      generation = state_.generation();
      copy = std::make_shared<VaultImpl>(*this);
      if (!is_snapshot_) {
        TOKVAULT_ASSIGN(copy->artifacts_, backend_->list("artifacts"));
      }
      // A file that is missing for good is said by whoever reads it.
      if (copy->hold_files() || is_snapshot_ || attempt == kAttempts) {
        return std::shared_ptr<const Vault>(std::move(copy));
      }
    }
    // A reader may know of packs that a rewrite has just replaced.
    if (options_.read_only) TOKVAULT_TRY(reload(generation));
  }
}

}  // namespace tokvault
