// What every Catalog must do, as a GoogleTest suite over the public headers: to run it over a
// catalog of your own, do as backend_conformance.h says.
#ifndef TOKVAULT_TESTS_CONFORMANCE_CATALOG_CONFORMANCE_H_
#define TOKVAULT_TESTS_CONFORMANCE_CATALOG_CONFORMANCE_H_

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "catalog_states.h"
#include "tokvault/catalog.h"

namespace tokvault {

class CatalogHarness {
 public:
  virtual ~CatalogHarness() = default;
  // A handle to a catalog that is not there yet. Called once.
  virtual std::unique_ptr<Catalog> open() = 0;
  // Another handle to the same catalog, as another process would have. Only CatalogHandles calls
  // it.
  virtual std::unique_ptr<Catalog> open_again() { return nullptr; }
};

using CatalogHarnessFactory = std::unique_ptr<CatalogHarness> (*)();

class CatalogConformance : public testing::TestWithParam<CatalogHarnessFactory> {
 protected:
  void SetUp() override {
    harness_ = GetParam()();
    catalog_ = harness_->open();
    ASSERT_TRUE(catalog_);
  }

  Catalog& catalog() { return *catalog_; }
  void fill() { ASSERT_TRUE(catalog().reset(small_catalog())); }
  std::string content() { return describe(catalog().load()); }

  std::unique_ptr<CatalogHarness> harness_;
  std::unique_ptr<Catalog> catalog_;
};

// For catalogs that can have several handles at once.
class CatalogHandles : public CatalogConformance {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CatalogHandles);

TEST_P(CatalogConformance, ThereIsNoneBeforeTheFirstReset) {
  EXPECT_EQ(catalog().load().code(), Errc::not_found);
  EXPECT_EQ(catalog().generation().code(), Errc::not_found);
  EXPECT_EQ(catalog().commit({}).code(), Errc::not_found);
  EXPECT_TRUE(catalog().reset({}));
  EXPECT_EQ(content(), describe(CatalogState{}));
}

TEST_P(CatalogConformance, WhatIsResetIsLoaded) {
  fill();
  EXPECT_EQ(content(), describe(small_catalog()));
  EXPECT_EQ(*catalog().generation(), 5u);
  // Replaces everything.
  CatalogState other;
  other.generation = 77;
  other.next_file = 9;
  other.records = {{"only", "this", 1}};
  ASSERT_TRUE(catalog().reset(other));
  EXPECT_EQ(content(), describe(other));
  EXPECT_EQ(*catalog().generation(), 77u);
}

TEST_P(CatalogConformance, EveryFieldKeepsItsExtremes) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  CatalogState state;
  state.generation = kMost - 1;
  state.next_file = kMost;
  CatalogFile file;
  file.kind = CatalogFile::Kind::pack;
  file.number = std::numeric_limits<std::int64_t>::max();
  file.tenant = std::numeric_limits<std::uint32_t>::max();
  file.size_bytes = file.conversations = file.sequence_first = file.sequence_last = kMost;
  file.time_first_ms = std::numeric_limits<std::int64_t>::min();
  file.time_last_ms = std::numeric_limits<std::int64_t>::max();
  state.files = {file};
  state.records = {{std::string(4096, 'k'), Buffer(1 << 20, 'v'), kMost}};
  ASSERT_TRUE(catalog().reset(state));
  EXPECT_EQ(content(), describe(state));
}

TEST_P(CatalogConformance, CommitAppliesEverythingAndCountsUp) {
  fill();
  CatalogChange change;
  change.generation = 5;
  change.next_file = 6;
  change.vault_record = "new vault";
  change.remove_files = {1, 3, 99};
  change.add_files = {catalog_file(5, CatalogFile::Kind::pack),
                      catalog_file(4, CatalogFile::Kind::log)};
  change.put_records = {{"alpha", "replaced", 10}, {"gamma", "new", 11}};
  change.remove_records = {std::string("b\0\xff", 3), "absent"};
  const auto generation = catalog().commit(change);
  ASSERT_TRUE(generation) << generation.error().message();
  EXPECT_EQ(*generation, 6u);
  EXPECT_EQ(*catalog().generation(), 6u);

  CatalogState expected;
  expected.generation = 6;
  expected.next_file = 6;
  expected.vault_record = "new vault";
  expected.files = {catalog_file(2, CatalogFile::Kind::pack),
                    catalog_file(4, CatalogFile::Kind::log),
                    catalog_file(5, CatalogFile::Kind::pack)};
  expected.records = {{"alpha", "replaced", 10}, {"gamma", "new", 11}};
  EXPECT_EQ(content(), describe(expected));
}

TEST_P(CatalogConformance, AFileOfTheSameKindAndNumberIsReplaced) {
  fill();
  CatalogFile grown = catalog_file(3, CatalogFile::Kind::log);
  grown.size_bytes = 123'456;
  CatalogChange change;
  change.generation = 5;
  change.add_files = {grown};
  ASSERT_TRUE(catalog().commit(change));
  CatalogState expected = small_catalog();
  expected.generation = 6;
  expected.files[2] = grown;
  EXPECT_EQ(content(), describe(expected));
}

TEST_P(CatalogConformance, RemovalComesBeforeAddition) {
  fill();
  CatalogChange change;
  change.generation = 5;
  change.remove_files = {3};
  change.add_files = {catalog_file(3, CatalogFile::Kind::pack)};
  change.remove_records = {"alpha"};
  change.put_records = {{"alpha", "first", 1}, {"alpha", "last", 2}};
  ASSERT_TRUE(catalog().commit(change));
  CatalogState expected = small_catalog();
  expected.generation = 6;
  expected.files[2].kind = CatalogFile::Kind::pack;
  expected.records[0] = {"alpha", "last", 2};
  EXPECT_EQ(content(), describe(expected));
}

TEST_P(CatalogConformance, AnEmptyChangeIsACommit) {
  fill();
  CatalogChange change;
  change.generation = 5;
  EXPECT_EQ(*catalog().commit(change), 6u);
  EXPECT_EQ(*catalog().generation(), 6u);
}

TEST_P(CatalogConformance, AChangeOfAnotherGenerationIsAConflict) {
  fill();
  for (const std::uint64_t generation : {0u, 4u, 6u}) {
    CatalogChange change;
    change.generation = generation;
    change.remove_files = {1};
    EXPECT_EQ(catalog().commit(change).code(), Errc::conflict);
  }
  EXPECT_EQ(content(), describe(small_catalog()));
}

TEST_P(CatalogConformance, AChangeThatIsRefusedChangesNothing) {
  fill();
  const auto refused = [&](auto&& mistake) {
    CatalogChange change;
    change.generation = 5;
    change.next_file = 10;
    change.vault_record = "no";
    change.remove_files = {1};
    change.remove_records = {"alpha"};
    change.put_records = {{"beta", "no", 1}};
    change.add_files = {catalog_file(7, CatalogFile::Kind::pack)};
    mistake(change);
    const auto result = catalog().commit(change);
    EXPECT_EQ(result.code(), Errc::invalid);
    EXPECT_EQ(content(), describe(small_catalog()));
  };
  using Kind = CatalogFile::Kind;
  refused([](CatalogChange& c) { c.next_file = 3; });
  refused([](CatalogChange& c) { c.add_files.push_back(catalog_file(2, Kind::log)); });
  refused([](CatalogChange& c) { c.add_files.push_back(catalog_file(7, Kind::pack)); });
  refused([](CatalogChange& c) { c.add_files.push_back(catalog_file(0, Kind::pack)); });
  refused([](CatalogChange& c) { c.add_files[0].number = ~std::uint64_t{0}; });
  refused([](CatalogChange& c) { c.add_files[0].kind = static_cast<Kind>(3); });
  refused([](CatalogChange& c) { c.put_records.push_back({"", "no key", 1}); });
  refused([](CatalogChange& c) { c.put_records.push_back({Buffer(4097, 'k'), "", 1}); });
  refused([](CatalogChange& c) { c.put_records[0].value.resize((16 << 20) + 1); });
  refused([](CatalogChange& c) { c.vault_record->resize((16 << 20) + 1); });
}

TEST_P(CatalogConformance, AStateThatIsRefusedChangesNothing) {
  fill();
  CatalogState twice = small_catalog();
  twice.records.push_back(twice.records[0]);
  EXPECT_EQ(catalog().reset(twice).code(), Errc::invalid);
  twice = small_catalog();
  twice.files.push_back(twice.files[0]);
  EXPECT_EQ(catalog().reset(twice).code(), Errc::invalid);
  EXPECT_EQ(content(), describe(small_catalog()));
}

TEST_P(CatalogConformance, VacuumKeepsEverything) {
  fill();
  ASSERT_TRUE(catalog().vacuum());
  EXPECT_EQ(content(), describe(small_catalog()));
  EXPECT_EQ(*catalog().generation(), 5u);
}

TEST_P(CatalogHandles, AnotherHandleSeesCommitsAndResets) {
  fill();
  const auto other = harness_->open_again();
  ASSERT_TRUE(other);
  EXPECT_EQ(*other->generation(), 5u);
  CatalogChange change;
  change.generation = 5;
  change.put_records = {{"beta", "x", 1}};
  ASSERT_TRUE(catalog().commit(change));
  EXPECT_EQ(*other->generation(), 6u);
  EXPECT_EQ(describe(other->load()), content());
  change.generation = 5;
  EXPECT_EQ(other->commit(change).code(), Errc::conflict);
  change.generation = 6;
  ASSERT_TRUE(other->commit(change));
  EXPECT_EQ(*catalog().generation(), 7u);

  CatalogState replaced = small_catalog();
  replaced.generation = 100;
  ASSERT_TRUE(catalog().reset(replaced));
  EXPECT_EQ(*other->generation(), 100u);
  EXPECT_EQ(describe(other->load()), describe(replaced));
}

TEST_P(CatalogConformance, CommittersAtOnceLoseNothing) {
  ASSERT_TRUE(catalog().reset({}));
  constexpr int kEach = 10;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach;) {
        CatalogChange change;
        change.generation = *catalog().generation();
        change.put_records = {{std::to_string(t) + "-" + std::to_string(i), "x", 1}};
        const auto done = catalog().commit(change);
        if (done) ++i;
        if (!done && done.code() != Errc::conflict) return;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto state = catalog().load();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->generation, 3u * kEach);
  EXPECT_EQ(state->records.size(), 3u * kEach);
}

}  // namespace tokvault

#endif  // TOKVAULT_TESTS_CONFORMANCE_CATALOG_CONFORMANCE_H_
