// The checkpoint store's figures, each beside what a plain program does with the same bytes.
//
//   checkpoint_bench index DIR=D [BLOCKS=N]   fill a store with N small blocks; then open, match,
//                                             memory a block
//   checkpoint_bench io DIR=D [MIB=N] [BLOCK_KIB=N]   put and restore against plain writes and
//                                             O_DIRECT reads; bytes written
//   checkpoint_bench seed DIR=D [MIB=N]       one file an entry, scan to evict: the same bytes
//
// One line of JSON each. Ratios are of medians of interleaved rounds in one run.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <random>

#include "bench/bench_tools.h"
#include "tokvault/checkpoint.h"

namespace tokvault::bench {
namespace {

using Clock = std::chrono::steady_clock;
double seconds(Clock::time_point from) {
  return std::chrono::duration<double>(Clock::now() - from).count();
}
double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

struct Free {
  void operator()(char* p) const { std::free(p); }
};
using Memory = std::unique_ptr<char[], Free>;
Memory aligned(std::size_t size) {
  Memory memory(static_cast<char*>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096)));
  if (!memory) die("memory", "is not enough");
  return memory;
}

const Namespace kModel{.model = "bench", .dtype = "bf16"};

std::vector<Token> prompt_of(std::uint64_t number, std::size_t tokens) {
  std::vector<Token> out(tokens);
  std::mt19937 random(static_cast<unsigned>(number));
  for (Token& t : out) t = random() % 128000;
  return out;
}

void index(const Arguments& args) {
  const std::string directory = args.text("DIR");
  const std::uint64_t blocks = args.count("BLOCKS", 1'000'000);
  constexpr std::size_t kPromptTokens = 131072;
  constexpr std::size_t kPerPrompt = kPromptTokens / 256;
  std::filesystem::remove_all(directory);
  CheckpointOptions options;
  options.budget_bytes = std::uint64_t{1} << 40;
  options.block_tokens = 256;
  {
    auto store = need(CheckpointStore::open(directory, options), "open");
    const Buffer payload = "p";
    std::vector<CheckpointBlock> states(kPerPrompt);
    for (CheckpointBlock& s : states) s.payload = payload;
    const auto start = Clock::now();
    for (std::uint64_t done = 0; done < blocks; done += kPerPrompt) {
      need(store->put(kModel, prompt_of(done, kPromptTokens), {.blocks = states}), "put");
    }
    std::fprintf(stderr, "filled in %.1f s\n", seconds(start));
    need(store->close(), "close");
  }
  std::vector<double> opens;
  std::vector<double> matches;
  CheckpointStats stats;
  for (int round = 0; round < 3; ++round) {
    const auto start = Clock::now();
    auto store = need(CheckpointStore::open(directory, options), "open");
    opens.push_back(seconds(start));
    for (std::uint64_t i = 0; i < 100; ++i) {
      const auto prompt = prompt_of(i * 7919 % (blocks / kPerPrompt) * kPerPrompt, kPromptTokens);
      const auto before = Clock::now();
      const auto match = need(store->match(kModel, prompt), "match");
      matches.push_back(seconds(before));
      if (match.tokens != kPromptTokens) die("match", "found too little");
    }
    stats = store->stats();
  }
  std::sort(matches.begin(), matches.end());
  std::printf(
      "{\"bench\":\"checkpoint_index\",\"blocks\":%llu,\"open_s\":%.3f,"
      "\"match_128k_p50_ms\":%.3f,\"match_128k_p99_ms\":%.3f,\"memory_bytes_per_block\":%.1f,"
      "\"index_file_bytes_per_block\":%.1f}\n",
      static_cast<unsigned long long>(stats.blocks), median(opens),
      matches[matches.size() / 2] * 1e3, matches[matches.size() * 99 / 100] * 1e3,
      static_cast<double>(stats.memory_bytes) / static_cast<double>(stats.blocks),
      static_cast<double>(stats.index_bytes) / static_cast<double>(stats.blocks));
}

void drop_cache(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY);
  if (fd < 0) return;
  ::fdatasync(fd);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

void io(const Arguments& args) {
  const std::string directory = args.text("DIR");
  const std::size_t block = args.count("BLOCK_KIB", 4096) << 10;
  const std::size_t count = (args.count("MIB", 1024) << 20) / block;
  const std::size_t bytes = block * count;
  Memory data = aligned(bytes);
  std::mt19937_64 random(1);
  for (std::size_t i = 0; i < bytes; i += 8) {
    const std::uint64_t word = random();
    std::memcpy(data.get() + i, &word, 8);
  }
  Memory out = aligned(bytes);
  const auto prompt = prompt_of(5, count * 256);
  std::vector<CheckpointBlock> states(count);
  for (std::size_t i = 0; i < count; ++i) {
    states[i].payload = ByteView(data.get() + i * block, block);
  }
  std::vector<double> put_s, write_s, get_s, read_s, buffered_put_s, buffered_write_s;
  double ratio = 0;
  const std::string plain = directory + ".plain";
  const auto plain_write = [&](bool direct) {
    std::filesystem::remove(plain);
    const auto start = Clock::now();
    const int fd = ::open(plain.c_str(), O_RDWR | O_CREAT | (direct ? O_DIRECT : 0), 0600);
    if (fd < 0) die("plain file", std::strerror(errno));
    for (std::size_t i = 0; i < count; ++i) {
      if (::pwrite(fd, data.get() + i * block, block, static_cast<off_t>(i * block)) !=
          static_cast<ssize_t>(block)) {
        die("plain write", std::strerror(errno));
      }
    }
    ::fdatasync(fd);
    ::close(fd);
    return seconds(start);
  };
  const auto store_put = [&](bool direct) {
    std::filesystem::remove_all(directory);
    CheckpointOptions options;
    options.budget_bytes = std::uint64_t{1} << 40;
    options.block_tokens = 256;
    options.direct_io = direct;
    auto store = need(CheckpointStore::open(directory, options), "open");
    const auto start = Clock::now();
    need(store->put(kModel, prompt, {.blocks = states}), "put");
    need(store->flush(), "flush");
    const double took = seconds(start);
    ratio = static_cast<double>(store->stats().bytes_written) / static_cast<double>(bytes);
    return took;
  };
  for (std::uint64_t round = 0; round < args.count("ROUNDS", 5); ++round) {
    buffered_write_s.push_back(plain_write(false));
    buffered_put_s.push_back(store_put(false));
    write_s.push_back(plain_write(true));
    put_s.push_back(store_put(true));
    drop_cache(plain);
    {
      const int fd = ::open(plain.c_str(), O_RDONLY | O_DIRECT);
      const auto start = Clock::now();
      for (std::size_t i = 0; i < count; ++i) {
        if (::pread(fd, out.get() + i * block, block, static_cast<off_t>(i * block)) !=
            static_cast<ssize_t>(block)) {
          die("plain read", std::strerror(errno));
        }
      }
      read_s.push_back(seconds(start));
      ::close(fd);
    }
    {
      CheckpointOptions options;
      options.budget_bytes = std::uint64_t{1} << 40;
      options.direct_io = true;
      auto store = need(CheckpointStore::open(directory, options), "open");
      std::vector<CheckpointRead> reads(count);
      for (std::size_t i = 0; i < count; ++i) {
        reads[i].block = static_cast<std::uint32_t>(i);
        reads[i].out = {out.get() + i * block, block};
      }
      const auto start = Clock::now();
      const auto got = need(store->get(kModel, prompt, reads), "get");
      get_s.push_back(seconds(start));
      if (got != prompt.size() || std::memcmp(out.get(), data.get(), bytes) != 0) {
        die("get", "did not bring everything back");
      }
    }
  }
  const double mb = static_cast<double>(bytes) / 1e6;
  std::printf(
      "{\"bench\":\"checkpoint_io\",\"mib\":%zu,\"block_kib\":%zu,"
      "\"plain_direct_read_mb_s\":%.0f,\"restore_mb_s\":%.0f,\"restore_ratio\":%.3f,"
      "\"plain_write_mb_s\":%.0f,\"put_mb_s\":%.0f,\"put_ratio\":%.3f,"
      "\"plain_direct_write_mb_s\":%.0f,\"direct_put_mb_s\":%.0f,\"direct_put_ratio\":%.3f,"
      "\"written_ratio\":%.4f}\n",
      bytes >> 20, block >> 10, mb / median(read_s), mb / median(get_s),
      median(read_s) / median(get_s), mb / median(buffered_write_s), mb / median(buffered_put_s),
      median(buffered_write_s) / median(buffered_put_s), mb / median(write_s), mb / median(put_s),
      median(write_s) / median(put_s), ratio);
  std::filesystem::remove(plain);
  std::filesystem::remove_all(directory);
}

// A growing conversation and a budget: snapshots of the whole prefix in a file each against blocks.
void seed(const Arguments& args) {
  const std::string directory = args.text("DIR");
  constexpr std::size_t kTurns = 24;
  constexpr std::size_t kTurnTokens = 512;
  constexpr std::size_t kBytesPerToken = 2048;
  const std::uint64_t chats = args.count("CHATS", 12);
  const std::uint64_t budget_mib = args.count("MIB", 128);
  std::filesystem::remove_all(directory);
  std::filesystem::remove_all(directory + ".kvc");
  CheckpointOptions options;
  options.budget_bytes = budget_mib << 20;
  options.block_tokens = 256;
  auto store = need(CheckpointStore::open(directory, options), "open");
  auto files = need(KvcCache::open(directory + ".kvc", budget_mib), "open");
  Buffer state(kTurns * kTurnTokens * kBytesPerToken, 's');
  std::mt19937_64 random(3);
  for (std::size_t i = 0; i + 8 <= state.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(state.data() + i, &word, 8);
  }
  std::uint64_t store_hit = 0, file_hit = 0, asked = 0, file_written = 0;
  double store_s = 0, file_s = 0;
  for (std::size_t turn = 1; turn <= kTurns; ++turn) {
    for (std::uint64_t chat = 0; chat < chats; ++chat) {
      auto prompt = prompt_of(chat, kTurns * kTurnTokens);
      prompt.resize(turn * kTurnTokens);
      asked += prompt.size();
      auto start = Clock::now();
      const auto match = need(store->match(kModel, prompt), "match");
      store_hit += match.tokens;
      need(store->touch(kModel, prompt), "touch");
      std::vector<CheckpointBlock> blocks(prompt.size() / 256);
      for (std::size_t i = 0; i < blocks.size(); ++i) {
        blocks[i].payload = ByteView(state).substr(i * 256 * kBytesPerToken, 256 * kBytesPerToken);
      }
      need(store->put(kModel, prompt, {.blocks = blocks}), "put");
      store_s += seconds(start);
      start = Clock::now();
      Buffer text(reinterpret_cast<const char*>(prompt.data()), prompt.size() * 4);
      const auto hit = need(files->load_longest(text), "load");
      if (hit) file_hit += hit->text.size() / 4;
      const ByteView payload = ByteView(state).substr(0, prompt.size() * kBytesPerToken);
      need(files->save(kvc_key(text),
                       KvcHeader::make(4, KvcReason::continued,
                                       static_cast<std::uint32_t>(prompt.size()), 0),
                       text, payload),
           "save");
      file_written += payload.size();
      need(files->evict_to_budget(), "evict");
      file_s += seconds(start);
    }
  }
  const auto stats = store->stats();
  std::printf(
      "{\"bench\":\"checkpoint_seed\",\"budget_mib\":%llu,\"hit_percent\":%.1f,"
      "\"files_hit_percent\":%.1f,\"written_mib\":%llu,\"files_written_mib\":%llu,"
      "\"written_per_admitted\":%.3f,\"seconds\":%.2f,\"files_seconds\":%.2f}\n",
      static_cast<unsigned long long>(budget_mib),
      100.0 * static_cast<double>(store_hit) / static_cast<double>(asked),
      100.0 * static_cast<double>(file_hit) / static_cast<double>(asked),
      static_cast<unsigned long long>(stats.bytes_written >> 20),
      static_cast<unsigned long long>(file_written >> 20),
      static_cast<double>(stats.bytes_written) /
          static_cast<double>(std::max<std::uint64_t>(1, stats.bytes_admitted)),
      store_s, file_s);
  store.reset();
  std::filesystem::remove_all(directory);
  std::filesystem::remove_all(directory + ".kvc");
}

}  // namespace
}  // namespace tokvault::bench

int main(int argc, char** argv) {
  const tokvault::bench::Arguments args(argc, argv);
  if (args.command() == "index") {
    tokvault::bench::index(args);
  } else if (args.command() == "io") {
    tokvault::bench::io(args);
  } else if (args.command() == "seed") {
    tokvault::bench::seed(args);
  } else {
    tokvault::bench::die("checkpoint_bench", "index, io or seed, and DIR=D");
  }
  return 0;
}
