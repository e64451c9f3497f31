// The catalog from logs and packs alone.
#ifndef TOKVAULT_VAULT_RECOVERY_H_
#define TOKVAULT_VAULT_RECOVERY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "format/pack.h"
#include "tokvault/backend.h"
#include "tokvault/catalog.h"
#include "tokvault/vault.h"
#include "vault/state.h"

namespace tokvault {

// The number in a name of log_name(), pack_name() or artifact_name(); 0 if it is none of these, and
// the file so named is somebody else's.
std::uint64_t number_of(std::string_view name);

// Whether anything was ever written: a pack is there, or a log that is more than its header or that
// cannot be read. An interrupted Vault::create leaves nothing of the kind.
Result<bool> holds_anything_written(const Backend& backend);

// What the packs and logs under a backend say is live: sets that are whole supersede what they
// name. What is damaged or of another vault goes into `report`; without a report damage is an
// error, and what a newer program wrote, or the disk does not give out, always is. An older
// catalog, if there is one, says how much of a log was acknowledged, so that a damaged end is not
// taken for an interrupted write, which vault it is, and which of two sets that replace the same
// file was swapped in. `not_found` if nothing says which vault it is.
Result<CatalogState> rebuild_catalog(const Backend& backend, CheckReport* report,
                                     const CatalogState* before = nullptr);

// What a pack had: "2 conversations, sequence numbers 3 to 5".
std::string contents_of(const CatalogFile& pack);
// What a damaged log has lost, as findings, and how many conversations as far as that is known.
void report_lost(const LogFile& log, CheckReport& report);
// The vocabulary that a vault keeps itself. Returns whether its texts can be read.
bool check_vocabulary(const Backend& backend, const VaultRecord& vault, CheckReport& report);
struct SourceCheck {
  bool read_data = false;
  bool has_vocabulary = true;
};
// One source of a state: structures, references, and what is asked for.
Status check_source(const State& state, const TenantState& tenant,
                    const std::shared_ptr<const Source>& source, const SourceCheck& options,
                    CheckReport& report);

// The last record of each key, in order.
std::vector<Record> last_of_each(const std::vector<Record>& records);

// Files that interrupted rewrites leave behind, as seen from a state.
class Leftovers {
 public:
  // Lifetime: backend and state outlive it.
  Leftovers(const Backend& backend, const State& state);
  // Whether the state names a file, or has an artifact that is registered or that a file names.
  bool is_live(std::string_view name) const { return live_.contains(number_of(name)); }
  // Whether a file that is not live can go: a live pack replaces it; or it is of a rewrite that was
  // not committed, and all that it would replace is live, or replaced by others; or nothing in it
  // is visible. Anything else that the catalog does not know is for `check` to report.
  bool contains(std::string_view name) const;

 private:
  bool is_dead(const Source& source) const;
  bool holds_anything(const std::vector<Record>& records) const;
  // Whether somebody let go of it later, as a pack says: the state does not know of that.
  bool is_released(const Record& hold) const;

  const Backend& backend_;
  const State& state_;
  std::set<std::uint64_t> live_;
  std::set<std::uint64_t> superseded_;
  // Removals that lie in packs, by key, and their numbers; read when first asked for.
  mutable std::optional<std::map<Buffer, std::uint64_t>> removals_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_RECOVERY_H_
