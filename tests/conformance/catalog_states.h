// Catalog states for tests, and how to compare them.
#ifndef TOKVAULT_TESTS_CONFORMANCE_CATALOG_STATES_H_
#define TOKVAULT_TESTS_CONFORMANCE_CATALOG_STATES_H_

#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "tokvault/catalog.h"

namespace tokvault {

// A state as text, so that a test that fails shows the difference.
inline std::string describe(const CatalogState& state) {
  std::ostringstream out;
  out << "generation " << state.generation << " next " << state.next_file << " vault "
      << testing::PrintToString(state.vault_record) << "\n";
  for (const CatalogFile& file : state.files) {
    out << "file " << static_cast<int>(file.kind) << " " << file.number << " " << file.tenant << " "
        << file.size_bytes << " " << file.conversations << " " << file.sequence_first << " "
        << file.sequence_last << " " << file.time_first_ms << " " << file.time_last_ms << "\n";
  }
  for (const CatalogRecord& record : state.records) {
    out << "record " << testing::PrintToString(record.key) << " "
        << testing::PrintToString(record.value) << " " << record.sequence << "\n";
  }
  return out.str();
}

// The same, or "error busy".
inline std::string describe(const Result<CatalogState>& state) {
  return state ? describe(*state) : "error " + std::string(errc_name(state.code()));
}

inline CatalogFile catalog_file(std::uint64_t number, CatalogFile::Kind kind) {
  CatalogFile file;
  file.kind = kind;
  file.number = number;
  file.tenant = static_cast<std::uint32_t>(number * 3);
  file.size_bytes = number * 1000 + 1;
  file.conversations = number * 7;
  file.sequence_first = number * 10;
  file.sequence_last = number * 10 + 9;
  file.time_first_ms = static_cast<std::int64_t>(number) - 5;
  file.time_last_ms = static_cast<std::int64_t>(number) + 5;
  return file;
}

// Two logs, a pack, two records; one with bytes that are not text.
inline CatalogState small_catalog() {
  CatalogState state;
  state.generation = 5;
  state.next_file = 4;
  state.vault_record = std::string("vault\0record\xff", 13);
  state.files = {catalog_file(1, CatalogFile::Kind::log), catalog_file(2, CatalogFile::Kind::pack),
                 catalog_file(3, CatalogFile::Kind::log)};
  state.records = {{"alpha", "", 3}, {std::string("b\0\xff", 3), std::string(300, '\0'), 9}};
  return state;
}

}  // namespace tokvault

#endif  // TOKVAULT_TESTS_CONFORMANCE_CATALOG_STATES_H_
