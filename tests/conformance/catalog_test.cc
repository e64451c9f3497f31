// The catalogs of this tree, through the suite that every catalog must pass.
#include "tests/conformance/catalog_conformance.h"
#include "tests/conformance/temp_dir.h"

namespace tokvault {
namespace {

class MemoryHarness final : public CatalogHarness {
 public:
  std::unique_ptr<Catalog> open() override { return make_memory_catalog(); }
};

class SqliteHarness final : public CatalogHarness {
 public:
  std::unique_ptr<Catalog> open() override {
    SqliteOptions options;
    options.create = true;
    return std::move(make_sqlite_catalog(dir_ / "catalog.db", options)).value();
  }
  std::unique_ptr<Catalog> open_again() override { return open(); }

 private:
  TempDir dir_;
};

template <class T>
std::unique_ptr<CatalogHarness> make() {
  return std::make_unique<T>();
}

INSTANTIATE_TEST_SUITE_P(Memory, CatalogConformance, testing::Values(&make<MemoryHarness>));
INSTANTIATE_TEST_SUITE_P(Sqlite, CatalogConformance, testing::Values(&make<SqliteHarness>));
INSTANTIATE_TEST_SUITE_P(Sqlite, CatalogHandles, testing::Values(&make<SqliteHarness>));

}  // namespace
}  // namespace tokvault
