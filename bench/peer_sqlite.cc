// The same work on SQLite as many do it by hand: a row for each conversation, its JSON line as one
// zstd blob.
//
//   peer_sqlite input=FILE.jsonl database=FILE.db [level=3] [count=5000] [seed=1]
//
// Transactions of 1,000 rows, write-ahead log, synchronous=FULL: as durable as a vault. Pages of
// 16 KB, because pages of 4 KB, the default, waste up to a fifth of the file behind rows of a few
// KB. It stores lines without parsing them and so does less than an import does. Prints one line of
// JSON.
#include <sqlite3.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "bench/bench_tools.h"

namespace tokvault::bench {
namespace {

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close(database); }
};
struct Finalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

void run(const Database& database, const char* sql) {
  if (sqlite3_exec(database.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    die(sql, sqlite3_errmsg(database.get()));
  }
}

Statement prepare(const Database& database, const char* sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database.get(), sql, -1, &statement, nullptr) != SQLITE_OK) {
    die(sql, sqlite3_errmsg(database.get()));
  }
  return Statement(statement);
}

void measure(const Arguments& arguments) {
  const std::string path = arguments.text("database");
  const int level = static_cast<int>(arguments.count("level", 3));
  sqlite3* raw = nullptr;
  if (sqlite3_open(path.c_str(), &raw) != SQLITE_OK) die(path, "cannot be opened");
  Database database(raw);
  run(database,
      "PRAGMA page_size=16384; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
      "CREATE TABLE conversations(number INTEGER PRIMARY KEY, size INTEGER, body BLOB)");

  std::ifstream input(arguments.text("input"), std::ios::binary);
  if (!input) die(arguments.text("input"), "cannot be read");
  std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> compressor(ZSTD_createCCtx(),
                                                                     ZSTD_freeCCtx);
  std::string line;
  std::string blob;
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  const Stopwatch import;
  {
    const Statement insert = prepare(database, "INSERT INTO conversations VALUES(?,?,?)");
    run(database, "BEGIN");
    while (std::getline(input, line)) {
      blob.resize(ZSTD_compressBound(line.size()));
      blob.resize(ZSTD_compressCCtx(compressor.get(), blob.data(), blob.size(), line.data(),
                                    line.size(), level));
      sqlite3_bind_int64(insert.get(), 1, static_cast<sqlite3_int64>(rows));
      sqlite3_bind_int64(insert.get(), 2, static_cast<sqlite3_int64>(line.size()));
      sqlite3_bind_blob(insert.get(), 3, blob.data(), static_cast<int>(blob.size()), SQLITE_STATIC);
      if (sqlite3_step(insert.get()) != SQLITE_DONE) die("insert", sqlite3_errmsg(raw));
      sqlite3_reset(insert.get());
      bytes += line.size() + 1;
      if (++rows % 1000 == 0) run(database, "COMMIT; BEGIN");
    }
    run(database, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
  }
  const double import_seconds = import.seconds();
  if (rows == 0) die(arguments.text("input"), "is empty");

  Random random(arguments.count("seed", 1));
  const Statement select =
      prepare(database, "SELECT size, body FROM conversations WHERE number = ?");
  std::vector<double> micros;
  const std::uint64_t count = arguments.count("count", 5000);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t number = random.below(rows);
    const Stopwatch watch;
    sqlite3_bind_int64(select.get(), 1, static_cast<sqlite3_int64>(number));
    if (sqlite3_step(select.get()) != SQLITE_ROW) die("select", sqlite3_errmsg(raw));
    line.resize(static_cast<std::size_t>(sqlite3_column_int64(select.get(), 0)));
    const std::size_t got =
        ZSTD_decompress(line.data(), line.size(), sqlite3_column_blob(select.get(), 1),
                        static_cast<std::size_t>(sqlite3_column_bytes(select.get(), 1)));
    if (got != line.size()) die("select", "another size came back");
    sqlite3_reset(select.get());
    micros.push_back(watch.micros());
  }
  print_json({{"conversations", static_cast<double>(rows)},
              {"bytes", static_cast<double>(std::filesystem::file_size(path))},
              {"import_mb_per_s", static_cast<double>(bytes) / import_seconds / 1e6},
              {"p50_us", quantile(micros, 0.5)},
              {"p99_us", quantile(micros, 0.99)},
              {"peak_rss_mb", peak_rss_mb()}});
}

}  // namespace
}  // namespace tokvault::bench

int main(int argc, char** argv) {
  tokvault::bench::measure(tokvault::bench::Arguments(argc, argv));
  return 0;
}
