// The catalog from logs and packs alone.
#ifndef TOKVAULT_VAULT_RECOVERY_H_
#define TOKVAULT_VAULT_RECOVERY_H_

#include <cstdint>
#include <set>

#include "format/pack.h"
#include "tokvault/backend.h"
#include "tokvault/catalog.h"
#include "tokvault/vault.h"

namespace tokvault {

// What the packs and logs under a backend say is live: sets that are whole supersede what they name.
// What cannot be read goes into `report`; without a report it is an error. `not_found` if there is
// neither log nor pack.
Result<CatalogState> rebuild_catalog(const Backend& backend, CheckReport* report);

// Whether a file that the catalog does not name was made by a rewrite that has not been committed: all
// that it would replace is live.
bool is_uncommitted(const Backend& backend, std::string_view name,
                    const std::set<std::uint64_t>& live);

// The number in a name of log_name() or pack_name(); 0 if it is none.
std::uint64_t number_of(std::string_view name);

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_RECOVERY_H_
