// What only the SQLite catalog promises: damage is found, commits survive kill -9, a reader needs
// no right to write, and what is removed is gone from the file.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "tests/conformance/catalog_states.h"
#include "tests/conformance/temp_dir.h"

namespace tokvault {
namespace {

class SqliteTest : public testing::Test {
 protected:
  std::unique_ptr<Catalog> open(bool read_only = false) {
    SqliteOptions options;
    options.create = !read_only;
    options.read_only = read_only;
    auto catalog = make_sqlite_catalog(path_, options);
    EXPECT_TRUE(catalog);
    return std::move(catalog).value();
  }

  // The bytes of a catalog that holds small_catalog(), and nothing else in its directory.
  std::string small_file() {
    EXPECT_TRUE(open()->reset(small_catalog()));
    return slurp(path_);
  }

  std::vector<std::string> entries() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      out.push_back(entry.path().filename());
    }
    return out;
  }

  // Runs SQL behind the catalog's back.
  void sql(const std::string& text) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    char* message = nullptr;
    EXPECT_EQ(sqlite3_exec(db, text.c_str(), nullptr, nullptr, &message), SQLITE_OK) << message;
    sqlite3_free(message);
    sqlite3_close(db);
  }

  TempDir dir_;
  const std::string path_ = dir_ / "catalog.db";
};

TEST_F(SqliteTest, AnEmptyVaultsCatalogIsSmallAndAlone) {
  CatalogState state;
  state.vault_record = std::string(200, 'v');
  ASSERT_TRUE(open()->reset(state));
  EXPECT_EQ(std::filesystem::file_size(path_), 2048u);
  EXPECT_EQ(entries(), std::vector<std::string>{"catalog.db"});
}

// The document spells three rows out, with their checksums; they must be what is stored.
TEST_F(SqliteTest, TheExampleOfTheFormatDocument) {
  CatalogState state;
  state.generation = 7;
  state.next_file = 3;
  state.vault_record = "vault";
  CatalogFile file;
  file.kind = CatalogFile::Kind::log;
  file.number = 2;
  file.size_bytes = 4096;
  file.conversations = 3;
  file.sequence_first = 10;
  file.sequence_last = 12;
  file.time_first_ms = 1'700'000'000'000;
  file.time_last_ms = 1'700'000'000'999;
  state.files = {file};
  state.records = {{"tag", "value", 11}};
  ASSERT_TRUE(open()->reset(state));

  const char* source = std::getenv("TOKVAULT_SOURCE");
  ASSERT_TRUE(source) << "ctest sets TOKVAULT_SOURCE";
  const std::string document = slurp(std::string(source) + "/docs/format/catalog.md");
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open_v2(path_.c_str(), &db, SQLITE_OPEN_READONLY, nullptr), SQLITE_OK);
  for (const char* table : {"file", "record", "meta"}) {
    SCOPED_TRACE(table);
    sqlite3_stmt* stmt = nullptr;
    const std::string query = std::string("SELECT printf('%016x',checksum) FROM ") + table;
    ASSERT_EQ(sqlite3_prepare_v2(db, query.c_str(), -1, &stmt, nullptr), SQLITE_OK);
    ASSERT_EQ(sqlite3_step(stmt), SQLITE_ROW);
    const std::string line = std::string("checksum of ") + table + "  " +
                             reinterpret_cast<const char*>(sqlite3_column_text(stmt, 0)) + "\n";
    EXPECT_NE(document.find(line), std::string::npos) << line;
    sqlite3_finalize(stmt);
    ASSERT_EQ(
        sqlite3_prepare_v2(db, "SELECT sql FROM sqlite_schema WHERE name=?1", -1, &stmt, nullptr),
        SQLITE_OK);
    sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
    ASSERT_EQ(sqlite3_step(stmt), SQLITE_ROW);
    // The document breaks the lines of the statements.
    std::string sql_text = reinterpret_cast<const char*>(sqlite3_column_text(stmt, 0));
    std::string unbroken = document;
    std::erase(unbroken, '\n');
    std::erase(unbroken, ' ');
    std::erase(sql_text, ' ');
    EXPECT_NE(unbroken.find(sql_text), std::string::npos) << sql_text;
    sqlite3_finalize(stmt);
  }
  sqlite3_close(db);
}

TEST_F(SqliteTest, NothingIsMadeBeforeTheFirstReset) {
  const auto catalog = open();
  EXPECT_EQ(catalog->load().code(), Errc::not_found);
  EXPECT_TRUE(entries().empty());
  EXPECT_EQ(make_sqlite_catalog(path_, {}).code(), Errc::not_found);
  EXPECT_EQ(make_sqlite_catalog("", {}).code(), Errc::invalid);
  EXPECT_EQ(make_sqlite_catalog(path_, {.create = true, .read_only = true}).code(), Errc::invalid);
}

TEST_F(SqliteTest, CommitsAreThereAfterReopening) {
  ASSERT_TRUE(open()->reset(small_catalog()));
  CatalogChange change;
  change.generation = 5;
  change.add_files = {catalog_file(9, CatalogFile::Kind::pack)};
  ASSERT_TRUE(open()->commit(change));
  CatalogState expected = small_catalog();
  expected.generation = 6;
  expected.files.push_back(change.add_files[0]);
  EXPECT_EQ(describe(open()->load()), describe(expected));
  EXPECT_EQ(describe(open(true)->load()), describe(expected));
}

// --- damage --------------------------------------------------------------------------------------

TEST_F(SqliteTest, EveryFlippedByteIsFoundOrHarmless) {
  const std::string good = small_file();
  const std::string expected = describe(small_catalog());
  std::size_t found = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
    spill(path_, bad);
    const auto catalog = open(at % 2 == 0);
    const auto state = catalog->load();
    if (!state) {
      ++found;
      EXPECT_TRUE(state.code() == Errc::corrupt || state.code() == Errc::unsupported ||
                  state.code() == Errc::io || state.code() == Errc::busy)
          << "byte " << at << ": " << state.error().message();
    } else {
      ASSERT_EQ(describe(*state), expected) << "byte " << at;
    }
    for (const char* suffix : {"-journal", "-wal", "-shm"}) {
      std::filesystem::remove(path_ + suffix);
    }
  }
  // Most bytes of a small catalog are unused, but not this many.
  EXPECT_GT(found, 500u);
}

TEST_F(SqliteTest, EveryTruncationIsFoundAndCanBeReset) {
  const std::string good = small_file();
  for (std::size_t size = 0; size < good.size(); ++size) {
    spill(path_, good.substr(0, size));
    const auto catalog = open(size % 2 == 0);
    const auto state = catalog->load();
    if (state) {  // where only zeros of the last page were cut
      EXPECT_GT(size, good.size() - 512);
      EXPECT_EQ(describe(*state), describe(small_catalog()));
    } else {
      // Up to 15 bytes SQLite takes the file for a new one.
      EXPECT_TRUE(state.code() == Errc::corrupt || (size < 16 && state.code() == Errc::not_found))
          << size << " bytes: " << state.error().message();
    }
    if (size % 512 == 0) {
      const auto writer = open();
      ASSERT_TRUE(writer->reset(small_catalog()));
      EXPECT_EQ(describe(writer->load()), describe(small_catalog()));
    }
  }
}

TEST_F(SqliteTest, GarbageIsCorruptAndCanBeReset) {
  std::mt19937_64 random(test_seed());
  for (const std::size_t size : {512u, 600u, 1000u, 1024u, 5000u}) {
    std::string garbage(size, '\0');
    for (char& c : garbage) c = static_cast<char>(random());
    for (const bool with_header : {false, true}) {
      if (with_header) garbage.replace(0, 16, std::string("SQLite format 3\0", 16));
      spill(path_, garbage);
      spill(path_ + "-journal", garbage);
      const auto catalog = open();
      EXPECT_EQ(catalog->load().code(), Errc::corrupt) << size << with_header;
      EXPECT_FALSE(catalog->generation());
      EXPECT_FALSE(catalog->commit({}));
      EXPECT_FALSE(catalog->vacuum());
      ASSERT_TRUE(catalog->reset(small_catalog()));
      EXPECT_EQ(describe(catalog->load()), describe(small_catalog()));
      EXPECT_EQ(entries(), std::vector<std::string>{"catalog.db"});
    }
  }
}

TEST_F(SqliteTest, AnotherDatabaseIsNotACatalog) {
  sql("CREATE TABLE file(number INTEGER PRIMARY KEY)");
  EXPECT_EQ(open()->load().code(), Errc::corrupt);
}

TEST_F(SqliteTest, ANewerFormatIsUnsupported) {
  small_file();
  sql("PRAGMA user_version=3");
  const auto state = open()->load();
  EXPECT_EQ(state.code(), Errc::unsupported);
  EXPECT_NE(state.error().message().find("format 3"), std::string_view::npos);
}

// One of version 1 is read and written as it is; its schema under another number is damage.
TEST_F(SqliteTest, ACatalogOfVersion1IsReadAndWritten) {
  small_file();
  sql("CREATE TABLE f AS SELECT * FROM file; CREATE TABLE m AS SELECT * FROM meta;"
      "CREATE TABLE r AS SELECT * FROM record;"
      "DROP TABLE file; DROP TABLE meta; DROP TABLE record;"
      "CREATE TABLE file(number INTEGER PRIMARY KEY,kind INTEGER,tenant INTEGER,"
      "size_bytes INTEGER,conversations INTEGER,sequence_first INTEGER,sequence_last INTEGER,"
      "time_first_ms INTEGER,time_last_ms INTEGER,checksum INTEGER);"
      "CREATE TABLE meta(id INTEGER PRIMARY KEY,generation INTEGER,next_file INTEGER,"
      "vault_record BLOB,rows_sum INTEGER,checksum INTEGER);"
      "CREATE TABLE record(key BLOB PRIMARY KEY,value BLOB,sequence INTEGER,checksum INTEGER)"
      " WITHOUT ROWID;"
      "INSERT INTO file SELECT * FROM f; INSERT INTO meta SELECT * FROM m;"
      "INSERT INTO record SELECT * FROM r; DROP TABLE f; DROP TABLE m; DROP TABLE r");
  EXPECT_EQ(open()->load().code(), Errc::corrupt);
  sql("PRAGMA user_version=1");
  EXPECT_EQ(describe(open(true)->load()), describe(small_catalog()));
  CatalogChange change;
  change.generation = small_catalog().generation;
  change.put_records = {{"a new key", "of an old catalog", 77}};
  ASSERT_TRUE(open()->commit(change));
  ASSERT_TRUE(open()->vacuum());
  const auto state = open()->load();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->records.size(), small_catalog().records.size() + 1);
}

// Changes that SQLite itself takes for good: each must be found, and named.
TEST_F(SqliteTest, RowsThatWereChangedLostOrAddedAreCorrupt) {
  const std::string good = small_file();
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"UPDATE file SET size_bytes=size_bytes+1 WHERE number=2", "table file, number 2"},
      {"UPDATE file SET kind=1 WHERE number=2", "table file, number 2"},
      {"UPDATE file SET tenant=tenant+4294967296 WHERE number=2", "table file, number 2"},
      {"UPDATE file SET number=20 WHERE number=2", "table file, number 20"},
      {"UPDATE file SET time_last_ms=NULL WHERE number=3", "table file, number 3"},
      {"UPDATE record SET value=x'00' WHERE key=x'616c706861'", "table record, key 616c706861"},
      {"UPDATE record SET sequence=4 WHERE key=x'616c706861'", "table record, key 616c706861"},
      {"UPDATE record SET key=x'61' WHERE key=x'616c706861'", "table record, key 61"},
      {"UPDATE meta SET generation=6", "table meta"},
      {"UPDATE meta SET next_file=2", "table meta"},
      {"UPDATE meta SET vault_record=x'00'", "table meta"},
      {"UPDATE meta SET rows_sum=rows_sum+1", "table meta"},
      {"DELETE FROM file WHERE number=3", "missing or stale"},
      {"DELETE FROM record", "missing or stale"},
      {"DELETE FROM meta", "table meta"},
      {"INSERT INTO record SELECT x'00',value,sequence,checksum FROM record LIMIT 1",
       "table record, key 00"},
      {"CREATE INDEX extra ON file(tenant)", "not as it was made"},
      {"CREATE TRIGGER zz AFTER INSERT ON file BEGIN DELETE FROM record; END",
       "not as it was made"},
      {"DROP TABLE record", "missing"},
      {"ALTER TABLE record ADD COLUMN more", "not as it was made"},
      {"PRAGMA application_id=1", "not a catalog"},
  };
  for (const auto& [change, expected] : changes) {
    SCOPED_TRACE(change);
    spill(path_, good);
    sql(change);
    const auto catalog = open();
    const auto state = catalog->load();
    EXPECT_EQ(state.code(), Errc::corrupt);
    if (!state) {
      EXPECT_NE(state.error().message().find(expected), std::string_view::npos)
          << state.error().message();
    }
    EXPECT_EQ(catalog->vacuum().code(), Errc::corrupt) << "damage is kept as it is";
  }
}

TEST_F(SqliteTest, ARowOfAnOldCopyIsStale) {
  // A page that was not written in time: every row of it has a checksum that is right.
  const auto catalog = open();
  ASSERT_TRUE(catalog->reset(small_catalog()));
  CatalogChange change;
  change.generation = 5;
  change.put_records = {{"alpha", "newer", 4}};
  ASSERT_TRUE(catalog->commit(change));
  sql("ATTACH '" + (dir_ / "old.db") + "' AS old; CREATE TABLE old.kept AS SELECT * FROM record");
  change.generation = 6;
  change.put_records = {{"alpha", "newest", 5}};
  ASSERT_TRUE(catalog->commit(change));
  sql("ATTACH '" + (dir_ / "old.db") +
      "' AS old;"
      "DELETE FROM record; INSERT INTO record SELECT * FROM old.kept");
  const auto state = open()->load();
  EXPECT_EQ(state.code(), Errc::corrupt);
}

TEST_F(SqliteTest, ACommitOnDamageIsRefused) {
  small_file();
  sql("UPDATE meta SET next_file=2");
  CatalogChange change;
  change.generation = 5;
  EXPECT_EQ(open()->commit(change).code(), Errc::corrupt);
}

// --- processes -----------------------------------------------------------------------------------

// Commit i replaces records "a" and "b" and file 1 by what says i: a mixture shows.
CatalogChange numbered_change(std::uint64_t generation) {
  CatalogChange change;
  change.generation = generation;
  const std::string value(700, static_cast<char>('a' + generation % 26));
  change.put_records = {{"a", value, generation}, {"b", value, generation}};
  CatalogFile file = catalog_file(1, CatalogFile::Kind::log);
  file.size_bytes = generation;
  change.add_files = {file};
  return change;
}

TEST_F(SqliteTest, KilledInTheMiddleOfCommits) {
  ASSERT_TRUE(open()->reset({}));
  std::mt19937_64 random(test_seed());
  std::uint64_t generation = 0;
  for (int round = 0; round < 20; ++round) {
    int acknowledged[2];
    ASSERT_EQ(::pipe(acknowledged), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto catalog = open();
      for (std::uint64_t g = generation;; ++g) {
        if (!catalog->commit(numbered_change(g))) ::_exit(1);
        const std::uint64_t done = g + 1;
        if (::write(acknowledged[1], &done, sizeof done) != sizeof done) ::_exit(1);
      }
    }
    ::close(acknowledged[1]);
    // After its first commit at the earliest, however slow the disk; then at any time.
    std::uint64_t last = 0;
    ASSERT_EQ(::read(acknowledged[0], &last, sizeof last), static_cast<ssize_t>(sizeof last));
    ::usleep(random() % 10'000);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
    while (::read(acknowledged[0], &last, sizeof last) == sizeof last) {
    }
    ::close(acknowledged[0]);

    const auto state = open()->load();
    ASSERT_TRUE(state) << state.error().message();
    // All that was acknowledged, and at most the one commit that was under way.
    EXPECT_GE(state->generation, last);
    EXPECT_LE(state->generation, last + 1);
    generation = state->generation;
    const CatalogChange expected = numbered_change(generation - 1);
    ASSERT_EQ(state->records.size(), 2u);
    EXPECT_EQ(state->records[0].value, expected.put_records[0].value);
    EXPECT_EQ(state->records[1].value, expected.put_records[1].value);
    ASSERT_EQ(state->files.size(), 1u);
    EXPECT_EQ(state->files[0].size_bytes, generation - 1);
  }
}

TEST_F(SqliteTest, AReaderInAnotherProcessSeesEachCommit) {
  ASSERT_TRUE(open()->reset({}));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto catalog = open();
    for (std::uint64_t g = 0; g < 50; ++g) {
      if (!catalog->commit(numbered_change(g))) ::_exit(1);
    }
    ::_exit(0);
  }
  const auto reader = open(true);
  std::uint64_t seen = 0;
  std::size_t steps = 0;
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (seen < 50 && std::chrono::steady_clock::now() < limit) {
    const auto generation = reader->generation();
    ASSERT_TRUE(generation) << generation.error().message();
    ASSERT_GE(*generation, seen);
    steps += *generation != seen;
    seen = *generation;
    if (steps % 5 != 1) continue;
    const auto state = reader->load();
    ASSERT_TRUE(state) << state.error().message();
    ASSERT_EQ(state->files.size(), state->generation > 0 ? 1u : 0u);
    if (state->generation > 0) {
      EXPECT_EQ(state->files[0].size_bytes, state->generation - 1);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(seen, 50u);
}

// --- readers that may not write ------------------------------------------------------------------

TEST_F(SqliteTest, ReadOnlyNeverWrites) {
  small_file();
  const auto catalog = open(true);
  EXPECT_TRUE(catalog->load());
  CatalogChange change;
  change.generation = 5;
  EXPECT_EQ(catalog->commit(change).code(), Errc::denied);
  EXPECT_EQ(catalog->reset({}).code(), Errc::denied);
  EXPECT_EQ(catalog->vacuum().code(), Errc::denied);
  EXPECT_EQ(describe(catalog->load()), describe(small_catalog()));
}

class SqliteReadOnlyDirectory : public SqliteTest {
 protected:
  // Runs `f` where this user may not write; what fails there fails here.
  void in_read_only_directory(const std::function<void()>& f) {
    for (const std::string& name : entries()) ASSERT_EQ(::chmod((dir_ / name).c_str(), 0444), 0);
    ASSERT_EQ(::chmod(dir_.path().c_str(), 0555), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(2);  // root may always write
      f();
      std::cout.flush();
      ::_exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child failed: " << status;
    ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
    for (const std::string& name : entries()) ASSERT_EQ(::chmod((dir_ / name).c_str(), 0644), 0);
  }

  // Leaves the journal of a commit that was killed after it had begun to write the database.
  void leave_hot_journal() {
    small_file();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      sqlite3* db = nullptr;
      // A cache of one page spills into the file before the commit.
      if (sqlite3_open(path_.c_str(), &db) != SQLITE_OK) ::_exit(1);
      sqlite3_exec(db,
                   "PRAGMA cache_size=1;BEGIN IMMEDIATE;UPDATE file SET size_bytes=0;"
                   "UPDATE meta SET vault_record=zeroblob(100000);"
                   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500) "
                   "INSERT INTO record SELECT CAST(i AS BLOB),zeroblob(500),i,0 FROM n",
                   nullptr, nullptr, nullptr);
      ::kill(::getpid(), SIGKILL);
    }
    ::waitpid(child, nullptr, 0);
    ASSERT_TRUE(std::filesystem::exists(path_ + "-journal"));
    ASSERT_GT(std::filesystem::file_size(path_ + "-journal"), 0u);
  }
};

TEST_F(SqliteReadOnlyDirectory, IsReadAsUsual) {
  small_file();
  in_read_only_directory([&] {
    const auto catalog = open(true);
    EXPECT_EQ(describe(catalog->load()), describe(small_catalog()));
    EXPECT_EQ(*catalog->generation(), 5u);
    EXPECT_EQ(open()->reset({}).code(), Errc::denied);
    CatalogChange change;
    change.generation = 5;
    EXPECT_EQ(open()->commit(change).code(), Errc::denied);
    EXPECT_EQ(describe(catalog->load()), describe(small_catalog()));
  });
}

TEST_F(SqliteReadOnlyDirectory, AnInterruptedCommitIsBusyUntilAWriterComes) {
  leave_hot_journal();
  in_read_only_directory([&] {
    const auto catalog = open(true);
    const auto state = catalog->load();
    EXPECT_EQ(state.code(), Errc::busy);
    EXPECT_NE(state.error().message().find("interrupted"), std::string_view::npos)
        << state.error().message();
    EXPECT_EQ(catalog->generation().code(), Errc::busy);
  });
  // A reader that may write, but was opened for reading only, is in the same place.
  const auto reader = open(true);
  EXPECT_EQ(reader->load().code(), Errc::busy);
  EXPECT_EQ(describe(open()->load()), describe(small_catalog()));
  EXPECT_EQ(describe(reader->load()), describe(small_catalog()));
}

TEST_F(SqliteReadOnlyDirectory, AnUnreadableFileIsDenied) {
  small_file();
  in_read_only_directory([&] {});
  ASSERT_EQ(::chmod(path_.c_str(), 0000), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::chmod(dir_.path().c_str(), 0755) != 0) ::_exit(2);
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(2);
    ::_exit(open(true)->load().code() == Errc::denied ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// --- what is removed is gone ---------------------------------------------------------------------

TEST_F(SqliteTest, RemovedBytesAreInNoFile) {
  const std::string secret = "the name of somebody who asked to be forgotten";
  const std::string key = std::string("key ").append(secret);
  const auto catalog = open();
  ASSERT_TRUE(catalog->reset(small_catalog()));
  CatalogChange change;
  change.generation = 5;
  // In a row, over several pages, and in a key.
  change.put_records = {{"short", secret, 1}, {"long", {}, 2}, {key, "x", 3}};
  for (int i = 0; i < 200; ++i) change.put_records[1].value += secret;
  for (int i = 0; i < 50; ++i) change.put_records.push_back({std::to_string(i) + "f", "fill", 4});
  ASSERT_TRUE(catalog->commit(change));
  ASSERT_NE(slurp(path_).find(secret), std::string::npos);

  CatalogChange removal;
  removal.generation = 6;
  removal.remove_records = {"short", "long", key};
  ASSERT_TRUE(catalog->commit(removal));
  EXPECT_EQ(slurp(path_).find(secret), std::string::npos);
  EXPECT_EQ(entries(), std::vector<std::string>{"catalog.db"});

  const auto before = std::filesystem::file_size(path_);
  const std::string expected = describe(catalog->load());
  ASSERT_TRUE(catalog->vacuum());
  EXPECT_LT(std::filesystem::file_size(path_), before);
  EXPECT_EQ(slurp(path_).find(secret), std::string::npos);
  EXPECT_EQ(describe(open()->load()), expected);
  EXPECT_EQ(entries(), std::vector<std::string>{"catalog.db"});
}

TEST_F(SqliteTest, AReplacedRecordIsGoneToo) {
  const std::string secret = "an old value that must not stay";
  const auto catalog = open();
  CatalogState state = small_catalog();
  state.records[0].value = secret;
  state.vault_record = secret;
  ASSERT_TRUE(catalog->reset(state));
  CatalogChange change;
  change.generation = 5;
  change.vault_record = "v";
  change.put_records = {{"alpha", "new", 4}};
  ASSERT_TRUE(catalog->commit(change));
  EXPECT_EQ(slurp(path_).find(secret), std::string::npos);
}

}  // namespace
}  // namespace tokvault
