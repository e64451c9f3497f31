// What every catalog refuses, in one place, so that all of them refuse the same.
#ifndef TOKVAULT_CATALOG_RULES_H_
#define TOKVAULT_CATALOG_RULES_H_

#include "tokvault/catalog.h"

namespace tokvault::catalog {

// Far above any record that the engine writes (a deletion is under 100 bytes); they bound what a
// damaged catalog can make a reader allocate.
inline constexpr std::size_t kKeyBytesMax = 4096;
inline constexpr std::size_t kValueBytesMax = 16 << 20;

// `invalid` if a row of it could not be stored.
Status check(const CatalogChange& change);
Status check(const CatalogState& state);

// Whether a change may follow the current state: `conflict` if it was computed from another one.
Status check_fits(const CatalogChange& change, std::uint64_t generation, std::uint64_t next_file);

// Numbers are unique over both kinds, so a pack cannot take the place of a log.
Error wrong_kind(const CatalogFile& file);
bool removes(const CatalogChange& change, std::uint64_t number);

}  // namespace tokvault::catalog

#endif  // TOKVAULT_CATALOG_RULES_H_
