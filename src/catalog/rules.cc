#include "catalog/rules.h"

#include <algorithm>
#include <limits>
#include <set>

namespace tokvault::catalog {
namespace {

Error invalid(const std::string& what) { return Error(Errc::invalid, "catalog: " + what); }

Status check_files(const std::vector<CatalogFile>& files) {
  constexpr std::uint64_t kNumberMax = std::numeric_limits<std::int64_t>::max();
  std::set<std::uint64_t> numbers;
  for (const CatalogFile& file : files) {
    if (file.kind != CatalogFile::Kind::log && file.kind != CatalogFile::Kind::pack) {
      return invalid("a file that is neither log nor pack");
    }
    if (file.number == 0 || file.number > kNumberMax) {
      return invalid("file number " + std::to_string(file.number));
    }
    if (!numbers.insert(file.number).second) {
      return invalid("file " + std::to_string(file.number) + " twice");
    }
  }
  return {};
}

Status check_value(const Buffer& value) {
  if (value.size() > kValueBytesMax) {
    return invalid("a value of " + std::to_string(value.size()) + " bytes, the limit is " +
                   std::to_string(kValueBytesMax));
  }
  return {};
}

Status check_records(const std::vector<CatalogRecord>& records) {
  for (const CatalogRecord& record : records) {
    if (record.key.empty() || record.key.size() > kKeyBytesMax) {
      return invalid("a key of " + std::to_string(record.key.size()) + " bytes, from 1 to " +
                     std::to_string(kKeyBytesMax) + " are allowed");
    }
    TOKVAULT_TRY(check_value(record.value));
  }
  return {};
}

}  // namespace

Status check(const CatalogChange& change) {
  if (change.vault_record) TOKVAULT_TRY(check_value(*change.vault_record));
  TOKVAULT_TRY(check_files(change.add_files));
  return check_records(change.put_records);
}

Status check(const CatalogState& state) {
  TOKVAULT_TRY(check_value(state.vault_record));
  TOKVAULT_TRY(check_files(state.files));
  std::set<std::string_view> keys;
  for (const CatalogRecord& record : state.records) {
    if (!keys.insert(record.key).second) return invalid("a record key twice");
  }
  return check_records(state.records);
}

Status check_fits(const CatalogChange& change, std::uint64_t generation, std::uint64_t next_file) {
  if (change.generation != generation) {
    return Error(Errc::conflict, "the catalog is at generation " + std::to_string(generation) +
                                     ", the change was computed from " +
                                     std::to_string(change.generation));
  }
  if (change.next_file != 0 && change.next_file < next_file) {
    return invalid("next file " + std::to_string(change.next_file) + ", but " +
                   std::to_string(next_file - 1) + " may be taken already");
  }
  return {};
}

Error wrong_kind(const CatalogFile& file) {
  return invalid("file " + std::to_string(file.number) + " is there as another kind");
}

bool removes(const CatalogChange& change, std::uint64_t number) {
  return std::find(change.remove_files.begin(), change.remove_files.end(), number) !=
         change.remove_files.end();
}

}  // namespace tokvault::catalog
