// SubstringsImpl: the substring sets of a vault, which are artifacts.
#ifndef TOKVAULT_VAULT_SUBSTRINGS_H_
#define TOKVAULT_VAULT_SUBSTRINGS_H_

#include <map>

#include "tokvault/substrings.h"
#include "vault/state.h"

namespace tokvault {

class VaultImpl;

// Lifetime: the vault outlives it. Locks are the vault's.
class SubstringsImpl final : public Substrings {
 public:
  explicit SubstringsImpl(VaultImpl& vault) : vault_(vault) {}

  Result<std::shared_ptr<const SubstringSet>> active(std::string_view tenant) const override;
  Result<std::shared_ptr<const SubstringSet>> get(std::uint64_t number,
                                                  std::string_view tenant) const override;
  Result<std::vector<SubstringSetInfo>> list(std::string_view tenant) const override;
  Result<SubstringChange> train(const SubstringTraining& options, std::string_view tenant) override;
  Result<SubstringChange> compact(
      const SubstringTraining& options, std::string_view tenant,
      const std::function<bool(std::uint64_t, std::uint64_t)>& progress) override;
  Result<SubstringChange> retain(std::span<const SubstringId> ids,
                                 std::string_view tenant) override;
  Result<SubstringChange> add(const SubstringSet& set, std::string_view tenant) override;

  // For those who code with a set, and for gc; under the locks of a reader or of the writer.
  Result<std::shared_ptr<const SubstringSet>> load(std::uint64_t number,
                                                   std::uint32_t tenant) const;
  // Takes out of the active sets what no visible conversation holds, before files are rewritten: a
  // crash after that leaves files that name a set that is not active, which gc rewrites.
  Status retire_unheld();
  // Removes the states that are not active and that no live file names any more.
  Status remove_unused();
  struct Trained {
    std::uint64_t conversations = 0;
    std::uint64_t segments = 0;
    std::uint64_t bytes = 0;
  };
  // The segments that visible conversations of a tenant hold, and what it counts of them.
  TrainingSource source_of(std::uint32_t tenant, std::uint64_t conversations_min,
                           Trained& trained) const;
  // By how many visible conversations of a tenant the runs of a set are held that any holds:
  // exactly up to `count_max`.
  Result<std::map<SubstringId, std::uint64_t>> count_holders(std::uint32_t tenant,
                                                             const SubstringSet& set,
                                                             std::uint64_t count_max,
                                                             Trained& trained) const;
  Result<std::shared_ptr<const SubstringSet>> active_of(std::uint32_t tenant) const;
  // True if a file names a state that is not active: it may hold what is in no set any more.
  static bool names_retired(const TenantState& tenant, const Source& source);

 private:
  Status begin_change();
  // The second part of compact().
  Status rewrite_packs(std::uint32_t tenant,
                       const std::function<bool(std::uint64_t, std::uint64_t)>& progress,
                       SubstringChange& change);
  // Makes a set the active one, if it differs from the one that is.
  // An empty set takes the place of an active one that is missing or damaged.
  Result<SubstringChange> replace_unreadable(std::uint32_t tenant);
  Result<SubstringChange> replace(std::uint32_t tenant, const SubstringSet& before,
                                  const SubstringSet& now, const Trained& trained);

  VaultImpl& vault_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_SUBSTRINGS_H_
