// The filter of a pack's ids: whether the pack may hold an id, without its ids being decoded.
//
// A Bloom filter (B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970):
// a byte for each id, and six bits of it set by each id, at places that two hashes give (A. Kirsch,
// M. Mitzenmacher, "Less hashing, same performance", 2006). It is wrong for one in 46 ids that are
// not there, and never for one that is. Format: docs/format/pack.md
#ifndef TOKVAULT_FORMAT_ID_FILTER_H_
#define TOKVAULT_FORMAT_ID_FILTER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "format/column.h"
#include "format/record.h"
#include "tokvault/types.h"

namespace tokvault {

// A pack has a filter if it has so many conversations, and its tenant so many in packs. With fewer,
// decoding ids costs less than a filter takes on disk (docs/decisions/0019-filters-of-ids.md).
inline constexpr std::uint64_t kFilteredRowsMin = 256;
inline constexpr std::uint64_t kFilteredTenantRowsMin = 65'536;

// The hashes of all ids, in their order.
std::vector<IdHash> hash_ids(ByteView tenant_key, const StringTable& ids);
// As many bytes as there are ids; they are the same whatever the order of the ids.
Buffer make_id_filter(std::span<const IdHash> ids);
// False only if the id is not there. REQUIRES: filter is not empty
bool may_hold(ByteView filter, const IdHash& id);

}  // namespace tokvault

#endif  // TOKVAULT_FORMAT_ID_FILTER_H_
