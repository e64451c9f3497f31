#include "format/id_filter.h"

#include "base/bytes.h"

namespace tokvault {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr int kBitsPerId = 6;

// Calls visit(bit) for each place of an id among `bits` until it returns false; whether none did.
template <class Visit>
bool for_each_place(const IdHash& id, std::uint64_t bits, Visit visit) {
  const char* const bytes = reinterpret_cast<const char*>(id.data());
  std::uint64_t hash = load_le<std::uint64_t>(bytes);
  const std::uint64_t step = load_le<std::uint64_t>(bytes + 8) | 1;
  for (int i = 0; i < kBitsPerId; ++i, hash += step) {
    if (!visit(static_cast<std::uint64_t>(Wide{hash} * bits >> 64))) return false;
  }
  return true;
}

}  // namespace

std::vector<IdHash> hash_ids(ByteView tenant_key, const StringTable& ids) {
  std::vector<IdHash> out(ids.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = hash_id(tenant_key, ids[i]);
  return out;
}

Buffer make_id_filter(std::span<const IdHash> ids) {
  Buffer filter(ids.size(), '\0');
  for (const IdHash& id : ids) {
    for_each_place(id, 8 * filter.size(), [&](std::uint64_t bit) {
      filter[bit / 8] = static_cast<char>(filter[bit / 8] | 1 << bit % 8);
      return true;
    });
  }
  return filter;
}

bool may_hold(ByteView filter, const IdHash& id) {
  return for_each_place(id, 8 * filter.size(),
                        [&](std::uint64_t bit) { return (filter[bit / 8] >> bit % 8 & 1) != 0; });
}

}  // namespace tokvault
