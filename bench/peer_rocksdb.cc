// The same work on RocksDB: a key for each conversation (the number of its line, 8 bytes), its JSON
// line as the value, blocks under zstd with a dictionary that RocksDB trains for each file.
//
//   peer_rocksdb input=FILE.jsonl database=FOLDER [level=19] [block=262144] [dictionary=112640]
//                [count=5000] [seed=1]
//
// Batches of 1,000 rows, each synced: as durable as a vault. Written as it comes, uncompressed in
// the first levels; then CompactRange rewrites everything into the last level, where the dictionary
// is; import ends with that.
//
// The defaults are what came out smallest: blocks of 64 KB make the files of our corpora up to 17 %
// larger; dictionaries of 512 KB, which RocksDB does not compress, 1 to 30 %. The whole folder
// counts; RocksDB's own log of messages, which would add to it, is switched off. Prints one line of
// JSON.
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "bench/bench_tools.h"

namespace tokvault::bench {
namespace {

void need(const rocksdb::Status& status, const char* what) {
  if (!status.ok()) die(what, status.ToString());
}

// Says nothing: its file is of no use to a reader, and as large as a small database.
class Silent : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

std::string key_of(std::uint64_t number) {
  std::string key(8, '\0');
  for (int i = 0; i < 8; ++i) key[i] = static_cast<char>(number >> (56 - 8 * i));
  return key;
}

rocksdb::Options options_of(const Arguments& arguments) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.info_log = std::make_shared<Silent>();
  options.compression = rocksdb::kNoCompression;
  options.bottommost_compression = rocksdb::kZSTD;
  auto& zstd = options.bottommost_compression_opts;
  zstd.enabled = true;
  zstd.level = static_cast<int>(arguments.count("level", 19));
  zstd.max_dict_bytes = static_cast<std::uint32_t>(arguments.count("dictionary", 110 << 10));
  // A hundred times the dictionary, as its documentation advises; a file holds no more than that.
  zstd.zstd_max_train_bytes = 100 * zstd.max_dict_bytes;
  zstd.window_bits = 27;
  rocksdb::BlockBasedTableOptions table;
  table.block_size = arguments.count("block", 256 << 10);
  table.format_version = 5;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.target_file_size_base = 256u << 20;
  return options;
}

std::uint64_t folder_bytes(const std::string& folder) {
  std::uint64_t bytes = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
    if (file.is_regular_file()) bytes += file.file_size();
  }
  return bytes;
}

void measure(const Arguments& arguments) {
  const std::string path = arguments.text("database");
  const rocksdb::Options options = options_of(arguments);
  const auto open = [&] {
    rocksdb::DB* raw = nullptr;
    need(rocksdb::DB::Open(options, path, &raw), "open");
    return std::unique_ptr<rocksdb::DB>(raw);
  };
  std::unique_ptr<rocksdb::DB> database = open();
  std::ifstream input(arguments.text("input"), std::ios::binary);
  if (!input) die(arguments.text("input"), "cannot be read");

  std::string line;
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  const Stopwatch import;
  rocksdb::WriteBatch batch;
  rocksdb::WriteOptions synced;
  synced.sync = true;
  const auto commit = [&] {
    need(database->Write(synced, &batch), "write");
    batch.Clear();
  };
  while (std::getline(input, line)) {
    need(batch.Put(key_of(rows), line), "put");
    bytes += line.size() + 1;
    if (++rows % 1000 == 0) commit();
  }
  commit();
  if (rows == 0) die(arguments.text("input"), "is empty");
  need(database->Flush({}), "flush");
  rocksdb::CompactRangeOptions all;
  all.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  need(database->CompactRange(all, nullptr, nullptr), "compact");
  const double import_seconds = import.seconds();
  need(database->Close(), "close");
  database = open();  // so that what is obsolete is gone, and caches are empty

  Random random(arguments.count("seed", 1));
  std::vector<double> micros;
  const std::uint64_t count = arguments.count("count", 5000);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string key = key_of(random.below(rows));
    const Stopwatch watch;
    need(database->Get({}, key, &line), "get");
    micros.push_back(watch.micros());
  }
  need(database->Close(), "close");
  print_json({{"conversations", static_cast<double>(rows)},
              {"bytes", static_cast<double>(folder_bytes(path))},
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
