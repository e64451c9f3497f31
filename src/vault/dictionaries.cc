#include "vault/dictionaries.h"

#include <algorithm>

#include "codec/dictionary.h"
#include "vault/artifacts.h"
#include "vault/shared_runs.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

Error no_dictionary(std::uint32_t id) {
  return Error(Errc::not_found, "no dictionary " + std::to_string(id));
}

// The number of a tenant's dictionary, or 0.
std::uint64_t number_of_id(const TenantState* tenant, std::uint32_t id) {
  if (tenant == nullptr) return 0;
  for (const auto& [number, record] : tenant->artifacts) {
    if (record.kind == ArtifactKind::dictionary && record.id == id) return number;
  }
  return 0;
}

}  // namespace

DictionaryInfo DictionariesImpl::info_of(const TenantState& tenant, std::uint64_t number) const {
  const ArtifactRecord& r = tenant.artifacts.at(number);
  const auto active = tenant.active.find(ArtifactKind::dictionary);
  DictionaryInfo info;
  info.id = static_cast<std::uint32_t>(r.id);
  info.number = number;
  info.created_ms = r.created_ms;
  info.size_bytes = r.size_bytes;
  info.conversations = r.conversations;
  info.samples = r.samples;
  info.sample_bytes = r.sample_bytes;
  info.active = active != tenant.active.end() && active->second == number;
  std::set<std::uint64_t> files;
  for (const auto& source : vault_.state_.sources(tenant.record.number)) {
    if (source->names_artifact(number)) files.insert(source->file());
  }
  for (const auto& [file, log] : vault_.state_.logs()) {
    if (log->waits_for(number)) files.insert(file);
  }
  info.files = files.size();
  return info;
}

Result<DictionaryInfo> DictionariesImpl::add(ByteView bytes, const DictionaryOrigin& origin,
                                             std::string_view tenant_given) {
  TOKVAULT_TRY(dictionary_id(bytes));
  TOKVAULT_ASSIGN(const auto lock, vault_.lock_for_writing());
  TOKVAULT_TRY(vault_.prepare_log());
  TOKVAULT_ASSIGN(const std::uint32_t tenant, vault_.tenant_for_writing(tenant_given));
  ArtifactRecord record;
  record.created_ms = origin.created_ms;
  record.samples = origin.samples;
  return add_locked(bytes, record, tenant);
}

Result<DictionaryInfo> DictionariesImpl::add_locked(ByteView bytes, ArtifactRecord record,
                                                    std::uint32_t tenant) {
  TOKVAULT_ASSIGN(const std::uint32_t id, dictionary_id(bytes));
  if (number_of_id(vault_.state_.tenant(tenant), id) != 0) {
    return Error(Errc::exists, "there is a dictionary " + std::to_string(id) + " already");
  }
  record.kind = ArtifactKind::dictionary;
  record.id = id;
  TOKVAULT_ASSIGN(const std::uint64_t number, vault_.register_artifact(tenant, record, bytes));
  return info_of(*vault_.state_.tenant(tenant), number);
}

Result<DictionariesImpl::Made> DictionariesImpl::make(const Filter& filter,
                                                      const DictionaryTraining& options) const {
  // Conversations that one training chooses from.
  constexpr std::uint64_t kChoiceMax = 1u << 20;
  const TenantState* tenant = vault_.state_.tenant(tenant_name(filter.tenant));
  if (tenant == nullptr) return Error(Errc::invalid, "there is nothing to train a dictionary on");
  TOKVAULT_ASSIGN(auto found, vault_.collect_page(*tenant, filter, 0, kChoiceMax));
  TOKVAULT_ASSIGN(const SharedRuns runs,
                  shared_runs(vault_.state_, *tenant, std::move(found), options.sample_bytes_max));
  const std::uint64_t size =
      options.size_bytes != 0 ? options.size_bytes
                              : std::clamp<std::uint64_t>(runs.text.size() / 8, 1024, 110 * 1024);
  Made made;
  TOKVAULT_ASSIGN(made.bytes, train_dictionary(runs.text, runs.sizes, size));
  made.record.conversations = runs.conversations;
  made.record.samples = runs.sizes.size();
  made.record.sample_bytes = runs.text.size();
  return made;
}

Result<DictionaryInfo> DictionariesImpl::train(const Filter& filter,
                                               const DictionaryTraining& options) {
  TOKVAULT_ASSIGN(const auto lock, vault_.lock_for_writing());
  TOKVAULT_ASSIGN(const Made made, make(filter, options));
  const TenantState* tenant = vault_.state_.tenant(tenant_name(filter.tenant));
  return add_locked(made.bytes, made.record, tenant->record.number);
}

Status DictionariesImpl::activate(std::optional<std::uint32_t> id, std::string_view tenant_given) {
  TOKVAULT_ASSIGN(const auto lock, vault_.lock_for_writing());
  const TenantState* tenant = vault_.state_.tenant(tenant_name(tenant_given));
  if (tenant == nullptr) return id ? Status(no_dictionary(*id)) : Status();
  std::optional<std::uint64_t> number;
  if (id) {
    number = number_of_id(tenant, *id);
    if (*number == 0) return no_dictionary(*id);
    // Nothing may be written that cannot be read: the file must be there and whole.
    TOKVAULT_ASSIGN(
        const auto artifact,
        load_artifact(*vault_.backend_, {*number, tenant->record.number, ArtifactKind::dictionary,
                                         vault_.state_.vault().id}));
    TOKVAULT_TRY(dictionary_id(artifact->content));
  }
  return vault_.activate_artifact(tenant->record.number, ArtifactKind::dictionary, number);
}

Result<std::vector<DictionaryInfo>> DictionariesImpl::list(std::string_view tenant_given) const {
  return vault_.reading([&]() -> Result<std::vector<DictionaryInfo>> {
    std::vector<DictionaryInfo> out;
    const TenantState* tenant = vault_.state_.tenant(tenant_name(tenant_given));
    if (tenant == nullptr) return out;
    for (const auto& [number, record] : tenant->artifacts) {
      if (record.kind == ArtifactKind::dictionary) out.push_back(info_of(*tenant, number));
    }
    std::sort(out.begin(), out.end(), [](const DictionaryInfo& a, const DictionaryInfo& b) {
      return std::pair(a.created_ms, a.number) < std::pair(b.created_ms, b.number);
    });
    return out;
  });
}

Result<Buffer> DictionariesImpl::get(std::uint32_t id, std::string_view tenant_given) const {
  return vault_.reading([&]() -> Result<Buffer> {
    const TenantState* tenant = vault_.state_.tenant(tenant_name(tenant_given));
    const std::uint64_t number = number_of_id(tenant, id);
    if (number == 0) return no_dictionary(id);
    TOKVAULT_ASSIGN(const auto artifact,
                    cached_artifact(*vault_.backend_, vault_.cache_,
                                    {number, tenant->record.number, ArtifactKind::dictionary,
                                     vault_.state_.vault().id}));
    return artifact->content;
  });
}

Status DictionariesImpl::retire(std::uint32_t id, bool rewrite, std::string_view tenant_given) {
  TOKVAULT_ASSIGN(const auto lock, vault_.lock_for_writing());
  const TenantState* tenant = vault_.state_.tenant(tenant_name(tenant_given));
  const std::uint64_t number = number_of_id(tenant, id);
  if (number == 0) return no_dictionary(id);
  return vault_.remove_artifact(tenant->record.number, number, rewrite);
}

}  // namespace tokvault
