// The checkpoint store's figures, each beside what a plain program does with the same bytes.
//
//   checkpoint_bench index DIR=D [BLOCKS=N]   fill a store with N small blocks; then open, match,
//                                             memory a block
//   checkpoint_bench io DIR=D [MIB=N] [BLOCK_KIB=N]   put and restore against plain writes and
//                                             O_DIRECT reads; bytes written
//   checkpoint_bench seed DIR=D [MIB=N]       one file an entry, scan to evict: the same bytes
//   checkpoint_bench churn DIR=D [MIB=N]      a budget under pressure: bytes written, disk used
//   checkpoint_bench codec DIR=D [MIB=N]      codecs on generated states: sizes, and CPU time
//
// One line of JSON each. Ratios are of medians of interleaved rounds in one run.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <thread>

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
  std::vector<double> beside;  // matches while the index is written anew
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
    if (round > 0) continue;
    // Puts until the journal has grown enough for a new index.
    std::atomic<bool> written{false};
    std::thread writer([&] {
      const Buffer payload = "p";
      std::vector<CheckpointBlock> states(kPerPrompt);
      for (CheckpointBlock& s : states) s.payload = payload;
      for (std::uint64_t i = 1; store->stats().index_bytes_written < stats.blocks * 50; ++i) {
        need(store->put(kModel, prompt_of((1ull << 31) + i, kPromptTokens), {.blocks = states}),
             "put");
      }
      written = true;
    });
    for (std::uint64_t i = 0; !written; ++i) {
      const auto prompt = prompt_of(i * 7919 % (blocks / kPerPrompt) * kPerPrompt, kPromptTokens);
      const auto before = Clock::now();
      static_cast<void>(need(store->match(kModel, prompt), "match"));
      beside.push_back(seconds(before));
    }
    writer.join();
  }
  std::sort(beside.begin(), beside.end());
  std::sort(matches.begin(), matches.end());
  std::printf(
      "{\"bench\":\"checkpoint_index\",\"blocks\":%llu,\"open_s\":%.3f,"
      "\"match_128k_p50_ms\":%.3f,\"match_128k_p99_ms\":%.3f,\"match_beside_rewrite_p50_ms\":%.3f,"
      "\"match_beside_rewrite_p99_ms\":%.3f,\"memory_bytes_per_block\":%.1f,"
      "\"index_file_bytes_per_block\":%.1f}\n",
      static_cast<unsigned long long>(stats.blocks), median(opens),
      matches[matches.size() / 2] * 1e3, matches[matches.size() * 99 / 100] * 1e3,
      beside[beside.size() / 2] * 1e3, beside[beside.size() * 99 / 100] * 1e3,
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
  for (std::uint64_t round = 0; round < args.count("ROUNDS", 8); ++round) {
    // Whoever comes second finds the disk busy with what came first, so they take turns.
    for (const bool direct : {false, true}) {
      for (const bool plain_now : {round % 2 == 0, round % 2 != 0}) {
        if (plain_now) {
          (direct ? write_s : buffered_write_s).push_back(plain_write(direct));
        } else {
          (direct ? put_s : buffered_put_s).push_back(store_put(direct));
        }
      }
    }
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
      static_cast<double>(stats.bytes_written + stats.index_bytes_written) /
          static_cast<double>(std::max<std::uint64_t>(1, stats.bytes_admitted)),
      store_s, file_s);
  store.reset();
  std::filesystem::remove_all(directory);
  std::filesystem::remove_all(directory + ".kvc");
}

// Blocks of odd sizes in a budget that holds a fifth of what comes: documents of uneven popularity
// among prompts that come once, so that eviction takes blocks out of the middle of every segment.
void churn(const Arguments& args) {
  const std::string directory = args.text("DIR");
  const std::uint64_t budget_mib = args.count("MIB", 256);
  std::filesystem::remove_all(directory);
  CheckpointOptions options;
  options.budget_bytes = budget_mib << 20;
  options.block_tokens = 256;
  auto store = need(CheckpointStore::open(directory, options), "open");
  constexpr std::size_t kBlocks = 8;
  constexpr std::size_t kBytesMax = 60000;
  Buffer state(kBytesMax, 's');
  std::mt19937_64 random(3);
  for (char& c : state) c = static_cast<char>(random());
  const std::uint64_t prompts =
      budget_mib * 5 * 2;  // of 1/4 MiB each on average, half of them anew
  std::uint64_t most = 0;
  for (std::uint64_t i = 0; i < prompts * 4; ++i) {
    const double u = static_cast<double>(random() >> 11) * 0x1p-53;
    const std::uint64_t number =
        random() % 2 == 0 ? 1'000'000 + i
                          : static_cast<std::uint64_t>(static_cast<double>(prompts) * u * u);
    const auto prompt = prompt_of(number, kBlocks * 256);
    std::vector<CheckpointBlock> blocks(kBlocks);
    for (std::size_t k = 0; k < kBlocks; ++k) {
      blocks[k].payload = ByteView(state).substr(0, 1 + (number * 7919 + k * 104729) % kBytesMax);
    }
    need(store->touch(kModel, prompt), "touch");
    need(store->put(kModel, prompt, {.blocks = blocks}), "put");
    if (i % 64 != 0) continue;
    std::uint64_t used = 4096;
    for (const auto& file : std::filesystem::directory_iterator(directory)) {
      struct stat st{};
      if (::stat(file.path().c_str(), &st) == 0) {
        used += static_cast<std::uint64_t>(st.st_blocks) * 512;
      }
    }
    most = std::max(most, used);
  }
  need(store->flush(), "flush");
  const auto stats = store->stats();
  std::printf(
      "{\"bench\":\"checkpoint_churn\",\"budget_mib\":%llu,\"admitted_mib\":%llu,"
      "\"evicted\":%llu,\"hole_punching\":%s,\"written_per_admitted\":%.3f,"
      "\"most_disk_of_budget\":%.3f,\"live_of_budget\":%.3f}\n",
      static_cast<unsigned long long>(budget_mib),
      static_cast<unsigned long long>(stats.bytes_admitted >> 20),
      static_cast<unsigned long long>(stats.evicted), stats.hole_punching ? "true" : "false",
      static_cast<double>(stats.bytes_written + stats.index_bytes_written) /
          static_cast<double>(std::max<std::uint64_t>(1, stats.bytes_admitted)),
      static_cast<double>(most) / static_cast<double>(options.budget_bytes),
      static_cast<double>(stats.live_bytes) / static_cast<double>(options.budget_bytes));
  store.reset();
  std::filesystem::remove_all(directory);
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

// Keys and values as a transformer makes them, in the shape that published measurements of caches
// agree on: each channel has a scale of its own, a few key channels have a large mean; along
// positions a channel is smooth (an autoregressive process of 0.8 for keys, 0.3 for values); keys
// are rotated by position. Layers x {K, V} x 256 positions x 8 heads x 128.
std::vector<float> generated_states(std::size_t count) {
  constexpr std::size_t kHeads = 8, kDim = 128, kPositions = 256;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> out;
  for (bool values = false; out.size() < count; values = !values) {
    const float rho = values ? 0.3f : 0.8f;
    const float step = std::sqrt(1 - rho * rho);
    std::vector<float> scale(kHeads * kDim), mean(kHeads * kDim), state(kHeads * kDim);
    for (std::size_t c = 0; c < scale.size(); ++c) {
      scale[c] = std::exp(0.7f * normal(random)) * (values ? 0.3f : 1.0f);
      if (!values) mean[c] = normal(random) * (normal(random) > 1.8f ? 3.0f : 0.3f);
    }
    for (std::size_t t = 0; t < kPositions; ++t) {
      for (std::size_t h = 0; h < kHeads; ++h) {
        float x[kDim];
        for (std::size_t d = 0; d < kDim; ++d) {
          const std::size_t c = h * kDim + d;
          state[c] = rho * state[c] + step * normal(random);
          x[d] = scale[c] * (state[c] + mean[c]);
        }
        for (std::size_t d = 0; !values && d < kDim / 2; ++d) {
          const float phase =
              static_cast<float>(t) * std::pow(10000.0f, -2.0f * static_cast<float>(d) / kDim);
          const float a = x[d];
          const float b = x[d + kDim / 2];
          x[d] = a * std::cos(phase) - b * std::sin(phase);
          x[d + kDim / 2] = a * std::sin(phase) + b * std::cos(phase);
        }
        out.insert(out.end(), x, x + kDim);
      }
    }
  }
  out.resize(count);
  return out;
}

std::uint32_t bits_of(float f) {
  std::uint32_t word = 0;
  std::memcpy(&word, &f, 4);
  return word;
}

// A float with `mantissa` bits and `exponent` bits (its bias half their range), rounded to nearest.
std::uint32_t narrow(float f, int exponent, int mantissa) {
  const std::uint32_t sign = bits_of(f) >> 31 << (exponent + mantissa);
  const int bias = (1 << (exponent - 1)) - 1;
  int e = 0;
  const float m = std::frexp(std::fabs(f), &e);  // in [0.5, 1)
  const int lowest = 1 - bias;
  if (m == 0 || e - 1 < lowest - mantissa) return sign;
  const int shift = std::max(e - 1, lowest) - mantissa;
  auto q = static_cast<std::uint32_t>(std::lrint(std::ldexp(m, e - shift)));
  const std::uint32_t largest = (1u << (exponent + mantissa)) - 1;
  const int base = std::max(e - 1, lowest) + bias - 1;
  return sign | std::min(largest, q + (static_cast<std::uint32_t>(base) << mantissa));
}

void codec(const Arguments& args) {
  const std::string directory = args.text("DIR");
  const std::size_t mib = args.count("MIB", 64);
  const std::vector<float> floats = generated_states(mib << 19);
  struct Dtype {
    const char* name;
    int bits, exponent, mantissa;
  };
  for (const Dtype& dtype : {Dtype{"bf16", 16, 8, 7}, Dtype{"fp16", 16, 5, 10},
                             Dtype{"fp8_e4m3", 8, 4, 3}, Dtype{"fp8_e5m2", 8, 5, 2}}) {
    Buffer payload;
    for (const float f : floats) {
      const std::uint32_t word = narrow(f, dtype.exponent, dtype.mantissa);
      payload.push_back(static_cast<char>(word));
      if (dtype.bits == 16) payload.push_back(static_cast<char>(word >> 8));
    }
    constexpr std::size_t kBlock = 4 << 20;
    const std::size_t count = payload.size() / kBlock;
    const auto prompt = prompt_of(5, count * 256);
    std::vector<CheckpointBlock> states(count);
    for (std::size_t i = 0; i < count; ++i) {
      states[i].payload = ByteView(payload).substr(i * kBlock, kBlock);
    }
    double bytes = static_cast<double>(count * kBlock);
    double none_put = 0;
    double none_get = 0;
    for (const auto& [name, kind] :
         {std::pair("none", CheckpointCodec::none), std::pair("zstd", CheckpointCodec::zstd),
          std::pair("by_dtype", CheckpointCodec::by_dtype)}) {
      std::filesystem::remove_all(directory);
      CheckpointOptions options;
      options.block_tokens = 256;
      options.codec = kind;
      Namespace model = kModel;
      model.dtype = dtype.name;
      auto store = need(CheckpointStore::open(directory, options), "open");
      const double start = cpu_seconds();
      const auto put = need(store->put(model, prompt, {.blocks = states}), "put");
      const double put_s = cpu_seconds() - start;
      double get_s = 1e9;
      Buffer out(count * kBlock, '\0');
      for (int round = 0; round < 3; ++round) {
        std::vector<CheckpointRead> reads(count);
        for (std::size_t i = 0; i < count; ++i) {
          reads[i].block = static_cast<std::uint32_t>(i);
          reads[i].out = {out.data() + i * kBlock, kBlock};
        }
        const double from = cpu_seconds();
        if (need(store->get(model, prompt, reads), "get") != prompt.size()) die("get", "a miss");
        get_s = std::min(get_s, cpu_seconds() - from);
      }
      if (ByteView(out) != ByteView(payload).substr(0, out.size())) die("get", "other bytes");
      if (kind == CheckpointCodec::none) {
        none_put = put_s;
        none_get = get_s;
      }
      const auto rate = [bytes](double s) { return s > 0 ? bytes / s / 1e9 : 0; };
      std::printf(
          "{\"bench\":\"checkpoint_codec\",\"dtype\":\"%s\",\"codec\":\"%s\",\"ratio\":%.3f,"
          "\"put_gb_per_cpu_s\":%.2f,\"get_gb_per_cpu_s\":%.2f,\"encode_gb_s\":%.2f,"
          "\"decode_gb_s\":%.2f}\n",
          dtype.name, name, bytes / static_cast<double>(put.bytes_written), rate(put_s),
          rate(get_s), rate(put_s - none_put), rate(get_s - none_get));
      store.reset();
    }
    std::filesystem::remove_all(directory);
  }
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
  } else if (args.command() == "churn") {
    tokvault::bench::churn(args);
  } else if (args.command() == "codec") {
    tokvault::bench::codec(args);
  } else {
    tokvault::bench::die("checkpoint_bench", "index, io, seed, churn or codec, and DIR=D");
  }
  return 0;
}
