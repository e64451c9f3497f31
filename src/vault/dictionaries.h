// DictionariesImpl: the dictionaries of a vault, which are artifacts.
#ifndef TOKVAULT_VAULT_DICTIONARIES_H_
#define TOKVAULT_VAULT_DICTIONARIES_H_

#include "format/artifact.h"
#include "tokvault/dictionary.h"

namespace tokvault {

class VaultImpl;
struct TenantState;

// Lifetime: the vault outlives it. Locks are the vault's.
class DictionariesImpl final : public Dictionaries {
 public:
  explicit DictionariesImpl(VaultImpl& vault) : vault_(vault) {}

  Result<DictionaryInfo> train(const Filter& filter, const DictionaryTraining& options) override;
  Result<DictionaryInfo> add(ByteView bytes, const DictionaryOrigin& origin,
                             std::string_view tenant) override;
  Status activate(std::optional<std::uint32_t> id, std::string_view tenant) override;
  Result<std::vector<DictionaryInfo>> list(std::string_view tenant) const override;
  Result<Buffer> get(std::uint32_t id, std::string_view tenant) const override;
  Status retire(std::uint32_t id, bool rewrite, std::string_view tenant) override;

  // A trained dictionary that is not registered.
  struct Made {
    ArtifactRecord record;
    Buffer bytes;
  };
  // Under the vault's write_mutex_. `invalid` as train().
  Result<Made> make(const Filter& filter, const DictionaryTraining& options) const;

 private:
  // Under the vault's write_mutex_.
  Result<DictionaryInfo> add_locked(ByteView bytes, ArtifactRecord record, std::uint32_t tenant);
  DictionaryInfo info_of(const TenantState& tenant, std::uint64_t number) const;

  VaultImpl& vault_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_DICTIONARIES_H_
