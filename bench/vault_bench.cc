// Timings of a vault through the public API, but for what get() counts in the tables of packs;
// bench/run prepares the data and prints the tables.
//
//   vault_bench get     vault=DIR [count=5000] [seed=1] [cache_mb=N]
//   vault_bench first   vault=DIR [count=50] [seed=1] [cache_mb=N]
//   vault_bench put     folder=DIR input=FILE.jsonl [clients=1] [seconds=3]
//   vault_bench beside  folder=DIR input=FILE.jsonl [readers=0] [writers=0] [count=300]
//   vault_bench tokens  folder=DIR [tokens=20000000]
//   vault_bench fill    vault=DIR [count=1000000]
//   vault_bench open    vault=DIR
//   vault_bench grow    input=FILE.jsonl output=FILE.jsonl [mb=1000]
//   vault_bench stages  input=FILE.jsonl folder=DIR [level=fast] [mb=32]
//   vault_bench segments input=FILE.jsonl folder=DIR [tokenizer=o200k_base]
//   vault_bench near    vault=DIR [count=5] [seed=1] [method=minhash|anchors]
//   vault_bench dupes   vault=DIR [method=minhash|anchors]
//
// Each prints one line of JSON. Timings of a shared machine say little alone: compare runs of one
// session, and what they are set against (the appends of `put`) is measured in turn with them.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cctype>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <functional>
#include <set>
#include <thread>
#include <unordered_set>

#include "bench/bench_tools.h"
#include "tokvault/tokvault.h"
#include "vault/cache.h"
#include "vault/pack_file.h"

namespace tokvault::bench {
namespace {

// p50 and p99 are promised for conversations up to this size; longer ones are judged by the token.
constexpr std::uint64_t kShortTokensMax = 8192;

std::vector<Summary> list_all(const Vault& vault) {
  std::vector<Summary> all;
  std::string cursor;
  do {
    Page page = need(vault.list({}, 10'000, cursor), "list");
    for (Summary& summary : page.conversations) all.push_back(std::move(summary));
    cursor = std::move(page.cursor);
  } while (!cursor.empty());
  return all;
}

double cpu_seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// Calls f(descriptor) in a process of its own, and returns what it writes there.
std::string in_child(const std::function<void(int)>& f) {
  int ends[2];
  if (::pipe(ends) != 0) die("pipe", "failed");
  const pid_t child = ::fork();
  if (child < 0) die("fork", "failed");
  if (child == 0) {
    ::close(ends[0]);
    f(ends[1]);
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string out;
  char buffer[65536];
  for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    out.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  if (::waitpid(child, &status, 0) != child || status != 0) die("child", "failed");
  return out;
}

void write_all(int descriptor, const void* bytes, std::size_t size) {
  for (const char* p = static_cast<const char*>(bytes); size > 0;) {
    const ssize_t n = ::write(descriptor, p, size);
    if (n <= 0) die("pipe", "cannot be written");
    p += n;
    size -= static_cast<std::size_t>(n);
  }
}

// A conversation to be read.
struct Wanted {
  std::string id;
  std::uint64_t tokens = 0;
  std::uint64_t text_bytes = 0;
};

VaultOptions reader_options(const Arguments& arguments) {
  VaultOptions options{.read_only = true};
  if (const std::uint64_t mb = arguments.count("cache_mb", 0); mb > 0) {
    options.cache_bytes = mb << 20;
  }
  return options;
}

// So many at random, listed by a process of its own: here nothing is warm but the files, and no
// memory was taken.
std::vector<Wanted> sample(const Arguments& arguments, std::uint64_t count) {
  const std::string path = arguments.text("vault");
  const std::string listed = in_child([&](int out) {
    const auto all = list_all(*need(open_vault(path, reader_options(arguments)), "open"));
    if (all.empty()) die(path, "holds no conversation");
    Random random(arguments.count("seed", 1));
    std::string chosen;
    for (std::uint64_t i = 0; i < count; ++i) {
      const Summary& s = all[random.below(all.size())];
      const std::uint64_t numbers[] = {s.tokens, s.text_bytes, s.id.size()};
      chosen.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
      chosen += s.id;
    }
    write_all(out, chosen.data(), chosen.size());
  });
  std::vector<Wanted> out;
  for (std::size_t at = 0; at < listed.size();) {
    std::uint64_t numbers[3];
    std::memcpy(numbers, listed.data() + at, sizeof numbers);
    at += sizeof numbers;
    out.push_back({listed.substr(at, numbers[2]), numbers[0], numbers[1]});
    at += numbers[2];
  }
  return out;
}

// Of every conversation in packs: how many packs hold it, its own and those that the external table
// names for its segments. Where a hint is stale, get() reads another one in its place.
std::vector<double> packs_of_each(const std::string& vault) {
  const auto backend = need(make_directory_backend(vault, {.read_only = true}), vault);
  Cache cache(1u << 30);
  std::vector<double> counts;
  for (const BlobInfo& blob : need(backend->list("packs"), "list")) {
    const std::uint64_t own = std::stoull(blob.name.substr(blob.name.find('/') + 1));
    const auto pack = need(PackFile::open(*backend, cache, own), blob.name);
    const auto tables = need(pack->tables(), blob.name);
    for (const Row& row : tables->rows) {
      std::set<std::uint64_t> files{own};
      const auto take = [&](std::uint32_t form, const SegmentRef* refs) {
        for (std::size_t i = 0; i < tables->form_infos[form].ref_count(); ++i) {
          if (refs[i].is_external()) files.insert(tables->externals[refs[i].number()].file_hint);
        }
      };
      take(row.form, tables->row_refs(row));
      for (const std::uint32_t at : tables->path(row)) {
        take(tables->nodes[at].form, tables->node_refs(tables->nodes[at]));
      }
      counts.push_back(static_cast<double>(files.size()));
    }
  }
  return counts;
}

void get(const Arguments& arguments) {
  const auto wanted = sample(arguments, arguments.count("count", 5000) + 1);
  const Stopwatch since_start;
  const auto vault = need(open_vault(arguments.text("vault"), reader_options(arguments)), "open");
  const double open_us = since_start.micros();
  need(vault->get(wanted[0].id), "get");
  const double first_us = since_start.micros();

  std::vector<double> micros;
  double long_ns = 0;
  double long_tokens = 0;
  double text_bytes = 0;
  const Stopwatch total;
  for (std::size_t i = 1; i < wanted.size(); ++i) {
    const Stopwatch watch;
    const Conversation found = need(vault->get(wanted[i].id), "get");
    const double us = watch.micros();
    if (found.id != wanted[i].id) die(wanted[i].id, "another conversation came back");
    text_bytes += static_cast<double>(wanted[i].text_bytes);
    if (wanted[i].tokens <= kShortTokensMax) {
      micros.push_back(us);
    } else {
      long_ns += us * 1000;
      long_tokens += static_cast<double>(wanted[i].tokens);
    }
  }
  const double seconds = total.seconds();
  const double rss_mb = peak_rss_mb();
  const auto packs = packs_of_each(arguments.text("vault"));
  const auto few = std::count_if(packs.begin(), packs.end(), [](double n) { return n <= 2; });
  print_json({{"open_us", open_us},
              {"first_get_us", first_us},
              {"p50_us", quantile(micros, 0.5)},
              {"p99_us", quantile(micros, 0.99)},
              {"max_us", quantile(micros, 1)},
              {"long_tokens", long_tokens},
              {"long_ns_per_token", long_tokens == 0 ? 0 : long_ns / long_tokens},
              {"text_mb_per_s", text_bytes / seconds / 1e6},
              {"peak_rss_mb", rss_mb},
              {"packs_p50", quantile(packs, 0.5)},
              {"packs_p99", quantile(packs, 0.99)},
              {"packs_max", quantile(packs, 1)},
              {"packs_at_most_2",
               packs.empty() ? 0 : static_cast<double>(few) / static_cast<double>(packs.size())}});
}

// What the first get of a process costs: each in a process of its own.
void first(const Arguments& arguments) {
  enum { kOpen, kFirst, kCpu, kFigures };
  std::array<std::vector<double>, kFigures> samples;
  for (const Wanted& wanted : sample(arguments, arguments.count("count", 50))) {
    const std::string answer = in_child([&](int out) {
      double took[kFigures];
      const Stopwatch watch;
      took[kCpu] = -cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
      const auto vault =
          need(open_vault(arguments.text("vault"), reader_options(arguments)), "open");
      took[kOpen] = watch.micros();
      need(vault->get(wanted.id), "get");
      took[kFirst] = watch.micros();
      took[kCpu] = (took[kCpu] + cpu_seconds(CLOCK_PROCESS_CPUTIME_ID)) * 1e6;
      write_all(out, took, sizeof took);
    });
    double took[kFigures];
    if (answer.size() != sizeof took) die("child", "gave no figures");
    std::memcpy(took, answer.data(), sizeof took);
    for (std::size_t k = 0; k < kFigures; ++k) samples[k].push_back(took[k]);
  }
  print_json({{"open_us", quantile(samples[kOpen], 0.5)},
              {"first_get_us", quantile(samples[kFirst], 0.5)},
              {"first_get_p10_us", quantile(samples[kFirst], 0.1)},
              {"first_get_p90_us", quantile(samples[kFirst], 0.9)},
              {"cpu_us", quantile(samples[kCpu], 0.5)},
              {"cpu_p90_us", quantile(samples[kCpu], 0.9)}});
}

// Appends of 1 KB, each synced, to a file that grows: what durability costs here at the least.
double appends_per_second(const std::string& path, double seconds) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) die(path, "cannot be written");
  const std::string block(1024, 'a');
  std::uint64_t count = 0;
  const Stopwatch watch;
  while (watch.seconds() < seconds) {
    if (::write(fd, block.data(), block.size()) != 1024 || ::fdatasync(fd) != 0) {
      die(path, "a write failed");
    }
    ++count;
  }
  const double rate = static_cast<double>(count) / watch.seconds();
  ::close(fd);
  return rate;
}

double puts_per_second(Vault& vault, const std::vector<Conversation>& input, unsigned clients,
                       double seconds, std::atomic<std::uint64_t>& next_id) {
  std::atomic<std::uint64_t> done = 0;
  const Stopwatch watch;
  std::vector<std::thread> threads;
  threads.reserve(clients);
  for (unsigned client = 0; client < clients; ++client) {
    threads.emplace_back([&] {
      while (watch.seconds() < seconds) {
        const std::uint64_t number = next_id++;
        Conversation conversation = input[number % input.size()];
        conversation.id = "put-" + std::to_string(number);
        need(vault.put(conversation, {}), "put");
        ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(done) / watch.seconds();
}

void put(const Arguments& arguments) {
  const std::string folder = arguments.text("folder");
  const auto clients = static_cast<unsigned>(arguments.count("clients", 1));
  const double seconds = static_cast<double>(arguments.count("seconds", 3));
  const auto input = read_conversations(arguments.text("input"), 10'000);
  need(
      create_vault(folder + "/put.vault", {.tokenizer = arguments.text("tokenizer", "o200k_base")}),
      "create");
  const auto vault = need(open_vault(folder + "/put.vault", {}), "open");
  std::atomic<std::uint64_t> next_id = 0;
  puts_per_second(*vault, input, clients, 0.3, next_id);  // warms the caches

  // In turn, so that a neighbour's load falls on both.
  double appends = 0;
  double puts = 0;
  constexpr int kRounds = 3;
  for (int round = 0; round < kRounds; ++round) {
    appends += appends_per_second(folder + "/append.bin", seconds / kRounds) / kRounds;
    puts += puts_per_second(*vault, input, clients, seconds / kRounds, next_id) / kRounds;
  }
  print_json({{"clients", clients},
              {"appends_per_s", appends},
              {"puts_per_s", puts},
              {"percent", 100 * puts / appends},
              {"peak_rss_mb", peak_rss_mb()}});
}

// One put after another, beside threads that get without a pause, and threads that put batches of
// ten.
void beside(const Arguments& arguments) {
  constexpr std::size_t kStored = 200;
  constexpr std::size_t kBatch = 10;
  constexpr double kSecondsMax = 60;
  const std::string path = arguments.text("folder") + "/beside.vault";
  const auto input = read_conversations(arguments.text("input"), kStored);
  need(create_vault(path, {.tokenizer = arguments.text("tokenizer", "o200k_base")}), "create");
  const auto vault = need(open_vault(path, {}), "open");
  std::atomic<std::uint64_t> next_id = 0;
  const auto fresh = [&](const char* kind) {
    const std::uint64_t n = next_id++;
    Conversation one = input[n % input.size()];
    one.id = kind + std::to_string(n);
    return one;
  };
  std::vector<std::string> ids;
  for (const Conversation& c : input) {
    ids.push_back("stored-" + std::to_string(ids.size()));
    Conversation one = c;
    one.id = ids.back();
    need(vault->put(one, {}), "put");
  }
  std::atomic<bool> is_over = false;
  std::atomic<std::uint64_t> gets = 0, batches = 0;
  std::vector<std::jthread> threads;
  for (std::uint64_t i = 0; i < arguments.count("readers", 0); ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t n = i; !is_over; ++n, ++gets) need(vault->get(ids[n % ids.size()]), "get");
    });
  }
  for (std::uint64_t i = 0; i < arguments.count("writers", 0); ++i) {
    threads.emplace_back([&] {
      for (; !is_over; ++batches) {
        std::vector<Conversation> batch;
        while (batch.size() < kBatch) batch.push_back(fresh("batch-"));
        need(vault->put_batch(batch, {}), "put_batch");
      }
    });
  }
  std::vector<double> millis;
  const Stopwatch watch;
  while (millis.size() < arguments.count("count", 300) && watch.seconds() < kSecondsMax) {
    const Conversation one = fresh("put-");
    const Stopwatch put;
    need(vault->put(one, {}), "put");
    millis.push_back(put.micros() / 1000);
  }
  const double seconds = watch.seconds();
  is_over = true;
  threads.clear();
  print_json({{"puts", static_cast<double>(millis.size())},
              {"p50_ms", quantile(millis, 0.5)},
              {"p99_ms", quantile(millis, 0.99)},
              {"max_ms", quantile(millis, 1)},
              {"gets_per_s", static_cast<double>(gets) / seconds},
              {"batches_per_s", static_cast<double>(batches) / seconds}});
}

void tokens(const Arguments& arguments) {
  const std::string folder = arguments.text("folder");
  const std::uint64_t wanted = arguments.count("tokens", 20'000'000);
  constexpr std::uint64_t kMessageTokens = 1000;
  constexpr std::uint64_t kMessages = 4;

  // Words drawn by a skewed law, half of the messages of one conversation seen before: no easier
  // for the codec than text, and made before the clock starts.
  Random random(7);
  std::vector<Conversation> input;
  std::vector<Token> ids(kMessageTokens);
  std::vector<Message> seen;
  std::uint64_t made = 0;
  while (made < wanted) {
    Conversation conversation;
    conversation.id = "tokens-" + std::to_string(input.size());
    conversation.model = "policy";
    for (std::uint64_t m = 0; m < kMessages; ++m) {
      if (m % 2 == 0 && seen.size() > 100) {
        conversation.messages.push_back(seen[random.below(seen.size())]);
      } else {
        for (Token& id : ids) {
          const std::uint64_t bits = 1 + random.below(17);
          id = static_cast<Token>(random.next() >> (64 - bits));
        }
        conversation.messages.push_back(need(Message::of_tokens("assistant", ids), "of_tokens"));
        seen.push_back(conversation.messages.back());
      }
      made += kMessageTokens;
    }
    input.push_back(std::move(conversation));
  }

  need(create_vault(folder + "/tokens.vault", {.tokenizer = arguments.text("tokenizer", "bytes")}),
       "create");
  const auto vault = need(open_vault(folder + "/tokens.vault", {.level = Level::fast}), "open");
  const Stopwatch watch;
  constexpr std::size_t kBatch = 256;
  for (std::size_t i = 0; i < input.size(); i += kBatch) {
    const std::size_t count = std::min(kBatch, input.size() - i);
    for (const auto& outcome : need(vault->put_batch({input.data() + i, count}, {}), "put_batch")) {
      if (!outcome) die("put_batch", outcome.error().message());
    }
  }
  need(vault->flush(), "flush");
  const double seconds = watch.seconds();
  const VaultStats stats = need(vault->stats(), "stats");
  print_json(
      {{"tokens", static_cast<double>(made)},
       {"seconds", seconds},
       {"tokens_per_s", static_cast<double>(made) / seconds},
       {"bytes_per_token", static_cast<double>(stats.total_bytes) / static_cast<double>(made)},
       {"peak_rss_mb", peak_rss_mb()}});
}

// A vault of many small conversations: 20 models, 60 days, a few texts.
void fill(const Arguments& arguments) {
  const std::string path = arguments.text("vault");
  const std::uint64_t count = arguments.count("count", 1'000'000);
  need(create_vault(path, {.tokenizer = "bytes"}), "create");
  const auto vault = need(open_vault(path, {.level = Level::fast}), "open");
  Random random(11);
  const Stopwatch watch;
  constexpr std::uint64_t kBatch = 2000;
  constexpr std::int64_t kStartMs = 1'767'607'200'000;
  for (std::uint64_t first = 0; first < count; first += kBatch) {
    std::vector<Conversation> batch(std::min(kBatch, count - first));
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const std::uint64_t number = first + i;
      batch[i].id = "request-" + std::to_string(number);
      batch[i].model = "model-" + std::to_string(random.below(20));
      batch[i].application = "application-" + std::to_string(random.below(5));
      batch[i].time_ms = kStartMs + static_cast<std::int64_t>(number * 5184);
      batch[i].messages = {
          Message::of_text("user", "Is parcel " + std::to_string(random.below(5000)) + " there?"),
          Message::of_text("assistant", number % 3 == 0 ? "Not yet." : "Yes, since this morning.")};
    }
    for (const auto& outcome : need(vault->put_batch(batch, {}), "put_batch")) {
      if (!outcome) die("put_batch", outcome.error().message());
    }
  }
  need(vault->seal(), "seal");
  const VaultStats stats = need(vault->stats(), "stats");
  print_json({{"conversations", static_cast<double>(stats.conversations)},
              {"seconds", watch.seconds()},
              {"bytes", static_cast<double>(stats.total_bytes)},
              {"bytes_per_conversation",
               static_cast<double>(stats.total_bytes) / static_cast<double>(stats.conversations)},
              {"packs", static_cast<double>(stats.packs)},
              {"peak_rss_mb", peak_rss_mb()}});
}

double usage_ms(const std::string& path, bool by_day, bool warm) {
  const auto vault = need(open_vault(path, {.read_only = true}), "open");
  if (warm) need(vault->usage({.by_model = true, .by_day = by_day}), "usage");
  const Stopwatch watch;
  const auto rows = need(vault->usage({.by_model = true, .by_day = by_day}), "usage");
  if (rows.empty()) die(path, "usage is empty");
  return watch.micros() / 1000;
}

// Of a statement by itself; `warm`: after it was run once.
double sql_ms(const std::string& path, const std::string& text, bool warm = true) {
  const auto vault = need(open_vault(path, {.read_only = true}), "open");
  const auto sql = need(open_sql(*vault), "sql");
  double ms = 0;
  for (int i = 0; i < (warm ? 2 : 1); ++i) {
    const Stopwatch watch;
    const auto statement = need(sql->prepare(text), text);
    while (need(statement->next(), text)) continue;
    ms = watch.micros() / 1000;
  }
  return ms;
}

void open(const Arguments& arguments) {
  const std::string path = arguments.text("vault");
  const std::string sums = "select model, count(*), sum(tokens) from ";
  std::vector<double> opens;
  for (int i = 0; i < 11; ++i) {
    const Stopwatch watch;
    const auto vault = need(open_vault(path, {.read_only = true}), "open");
    opens.push_back(watch.micros() / 1000);
  }
  print_json(
      {{"open_ms", quantile(opens, 0.5)},
       {"by_model_first_ms", usage_ms(path, false, false)},
       {"by_model_ms", usage_ms(path, false, true)},
       {"by_model_and_day_first_ms", usage_ms(path, true, false)},
       {"by_model_and_day_ms", usage_ms(path, true, true)},
       {"sql_id_ms", sql_ms(path, "select * from conversations where id = 'request-500000'")},
       {"sql_usage_by_model_ms", sql_ms(path, sums + "usage group by model")},
       {"sql_count_ms", sql_ms(path, "select count(*) from conversations")},
       {"sql_one_model_ms", sql_ms(path, sums + "conversations where model = 'model-7'")},
       {"sql_one_day_ms", sql_ms(path, sums + "conversations where time >= '2026-01-21' "
                                              "and time < '2026-01-22'")},
       {"sql_by_model_first_ms", sql_ms(path, sums + "conversations group by model", false)},
       {"sql_by_model_ms", sql_ms(path, sums + "conversations group by model")},
       {"peak_rss_mb", peak_rss_mb()}});
}

// --- import in the steady state ----------------------------------------------------------------

// Makes a text another one of the same kind: about one word in six, chosen by the word before it,
// becomes another word of the corpus of the same length. What is alike within a repetition of the
// corpus stays alike; across repetitions no run of more than some dozen words is, so that a corpus
// of a few megabytes does not become a vault of duplicates by being repeated.
class WordChanger {
 public:
  void learn(std::string_view text) {
    each_word(text, [&](std::size_t begin, std::size_t size) {
      auto& words = pool(text[begin], size);
      if (words.size() < kPoolMax) words.emplace_back(text.substr(begin, size));
    });
  }
  void change(std::uint64_t repetition, std::string& text) {
    std::size_t before = 0;
    each_word(text, [&](std::size_t begin, std::size_t size) {
      const std::string_view word(text.data() + begin, size);
      const std::size_t hash = std::hash<std::string_view>()(word);
      Random random(before ^ (hash + repetition));
      before = hash;
      const auto& words = pool(word[0], size);
      if (random.below(6) != 0 || words.empty()) return;
      text.replace(begin, size, words[random.below(words.size())]);
    });
  }

 private:
  static constexpr std::size_t kWordMin = 4;
  static constexpr std::size_t kWordMax = 16;
  static constexpr std::size_t kPoolMax = 5000;

  template <class F>
  static void each_word(std::string_view text, F visit) {
    auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    for (std::size_t i = 0; i < text.size();) {
      if (!is_letter(text[i])) {
        ++i;
        continue;
      }
      const std::size_t begin = i;
      while (i < text.size() && is_letter(text[i])) ++i;
      if (i - begin >= kWordMin && i - begin <= kWordMax) visit(begin, i - begin);
    }
  }
  std::vector<std::string>& pool(char first, std::size_t size) {
    return pools_[first <= 'Z' ? 1 : 0][size];
  }

  std::array<std::array<std::vector<std::string>, kWordMax + 1>, 2> pools_;
};

template <class F>
void each_text(Conversation& conversation, F visit) {
  for (Message& message : conversation.messages) {
    std::size_t next = 0;
    for (const char c : message.form) {
      if (!is_value_hole(c)) continue;
      Value& value = message.values[next++];
      if (c == static_cast<char>(Hole::text)) visit(value.bytes);
    }
  }
}

// The corpus, then as many changed repetitions of it under other ids as it takes.
void grow(const Arguments& arguments) {
  const std::string input = arguments.text("input");
  const std::uint64_t wanted = arguments.count("mb", 1000) * 1'000'000;
  auto corpus = read_conversations(input, SIZE_MAX);
  WordChanger changer;
  for (Conversation& conversation : corpus) {
    each_text(conversation, [&](const std::string& text) { changer.learn(text); });
  }
  const auto out = need(LineWriter::open(arguments.text("output")), "output");
  std::uint64_t written = 0;
  std::uint64_t repetition = 0;
  for (; written < wanted; ++repetition) {
    for (std::size_t i = 0; i < corpus.size() && written < wanted; ++i) {
      Conversation conversation = corpus[i];
      if (repetition > 0) {
        if (!conversation.id.empty()) conversation.id += "/" + std::to_string(repetition);
        each_text(conversation, [&](std::string& text) { changer.change(repetition, text); });
      }
      const std::string line = need(to_json(conversation), "to_json");
      need(out->write(line), "output");
      written += line.size() + 1;
    }
  }
  need(out->finish(), "output");
  print_json(
      {{"bytes", static_cast<double>(written)}, {"repetitions", static_cast<double>(repetition)}});
}

Level level_of(const std::string& name) {
  if (name == "fast") return Level::fast;
  if (name == "balanced") return Level::balanced;
  if (name == "dense") return Level::dense;
  die(name, "no such level");
}

// What the stages of an import cost, in seconds of CPU for each GB of input. They overlap in a real
// import; here one is measured after the other, over an input that fits one log.
//
//   parse      lines to conversations
//   tokenise   texts that did not occur before; a part of prepare
//   prepare    put_batch but for its calling thread: checking, hashing, tokenising
//   stage      put_batch's calling thread: numbers, the log's zstd, writing, sync
//   seal       log to pack, with its verification
//   again      put_batch of what is all there, every thread
void stages(const Arguments& arguments) {
  const std::string path = arguments.text("folder") + "/stages.vault";
  const std::uint64_t wanted = arguments.count("mb", 32) * 1'000'000;
  constexpr std::uint64_t kBatchBytes = 4u << 20;
  const auto lines = need(LineReader::open(arguments.text("input"), 64u << 20), "input");
  JsonReader reader;
  std::vector<std::vector<Conversation>> batches;
  std::uint64_t bytes = 0;
  std::uint64_t batch_end = 0;
  double parse = -cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
  LineReader::Line line;
  while (bytes < wanted && need(lines->next(line), "input")) {
    if (line.text.empty()) continue;
    bytes = line.end_offset;
    if (bytes > batch_end) {
      batches.emplace_back();
      batch_end = bytes + kBatchBytes;
    }
    batches.back().push_back(need(reader.conversation(line.text), "input"));
    Conversation& conversation = batches.back().back();
    if (conversation.id.empty()) conversation.id = "line-" + std::to_string(line.number);
  }
  parse += cpu_seconds(CLOCK_THREAD_CPUTIME_ID);

  const std::string name = arguments.text("tokenizer", "o200k_base");
  std::vector<const std::string*> texts;
  std::unordered_set<std::string_view> seen;
  for (auto& batch : batches) {
    for (Conversation& conversation : batch) {
      each_text(conversation, [&](const std::string& text) {
        if (seen.insert(text).second) texts.push_back(&text);
      });
    }
  }
  const auto encoder = need(open_tokenizer(name), name)->make_encoder();
  std::vector<Token> ids;
  double tokenise = -cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
  for (const std::string* text : texts) {
    ids.clear();
    encoder->encode(*text, ids);
  }
  tokenise += cpu_seconds(CLOCK_THREAD_CPUTIME_ID);

  need(create_vault(path, {.tokenizer = name}), "create");
  VaultOptions options;
  options.level = level_of(arguments.text("level", "fast"));
  options.log_bytes_max = UINT64_MAX;
  const auto vault = need(open_vault(path, options), "open");
  auto put_all = [&](double& calling, double& process) {
    calling = -cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    process = -cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (const auto& batch : batches) {
      for (const auto& outcome : need(vault->put_batch(batch, {}), "put_batch")) {
        if (!outcome) die("put_batch", outcome.error().message());
      }
    }
    calling += cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    process += cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
  };
  double stage = 0;
  double put = 0;
  put_all(stage, put);
  double stage_again = 0;
  double again = 0;
  put_all(stage_again, again);
  double seal = -cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
  need(vault->seal(), "seal");
  seal += cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
  const double gb = static_cast<double>(bytes) / 1e9;
  print_json({{"bytes", static_cast<double>(bytes)},
              {"parse", parse / gb},
              {"tokenise", tokenise / gb},
              {"prepare", (put - stage) / gb},
              {"stage", stage / gb},
              {"seal", seal / gb},
              {"again", again / gb},
              {"pack_bytes", static_cast<double>(need(vault->stats(), "stats").pack_bytes)},
              {"peak_rss_mb", peak_rss_mb()}});
}

// --- segments by themselves --------------------------------------------------------------------

// Every text of a corpus once, as tokens.
std::vector<Segment> segments_of(const std::string& path, const std::string& tokenizer) {
  const auto encoder = need(open_tokenizer(tokenizer), tokenizer)->make_encoder();
  std::unordered_set<std::string> seen;
  std::vector<Segment> segments;
  for (Conversation& conversation : read_conversations(path, SIZE_MAX)) {
    each_text(conversation, [&](const std::string& text) {
      if (text.empty() || !seen.insert(text).second) return;
      std::vector<Token> ids;
      encoder->encode(text, ids);
      segments.push_back(Segment::of_tokens(ids));
    });
  }
  return segments;
}

// What a caller does with segments: 256 in a call and a sync, but `get`, which is also asked for
// one at a time; then all of one holder are released, and the writer collects what nobody holds.
void segments(const Arguments& arguments) {
  const std::string path = arguments.text("folder") + "/segments.vault";
  const std::string tokenizer = arguments.text("tokenizer", "o200k_base");
  const auto input = segments_of(arguments.text("input"), tokenizer);
  std::vector<SegmentId> ids;
  double tokens = 0;
  for (const Segment& segment : input) {
    ids.push_back(segment.id());
    tokens += static_cast<double>(segment.tokens.size());
  }
  need(create_vault(path, {.tokenizer = tokenizer}), "create");
  const auto vault = need(open_vault(path, {}), "open");
  // Segments a second.
  auto rate = [&](auto&& call) {
    constexpr std::size_t kBatch = 256;
    const Stopwatch watch;
    for (std::size_t i = 0; i < input.size(); i += kBatch) {
      call(i, std::min(kBatch, input.size() - i));
    }
    return static_cast<double>(input.size()) / watch.seconds();
  };
  auto put_all = [&] {
    return rate([&](std::size_t i, std::size_t count) {
      need(vault->put_segments({input.data() + i, count}, {.tenant = {}, .holder = "first"}),
           "put_segments");
    });
  };
  const double put = put_all();
  const double put_again = put_all();
  const double get = rate([&](std::size_t i, std::size_t count) {
    for (const auto& got : need(vault->get_segments({ids.data() + i, count}), "get_segments")) {
      if (!got) die("get_segments", got.error().message());
    }
  });
  const double hold = rate([&](std::size_t i, std::size_t count) {
    need(vault->hold_segments({ids.data() + i, count}, {.tenant = {}, .holder = "second"}),
         "hold_segments");
  });
  const double release = rate([&](std::size_t i, std::size_t count) {
    need(vault->release_segments({ids.data() + i, count}, {.tenant = {}, .holder = "second"}),
         "release_segments");
  });
  need(vault->compact(Level::balanced), "compact");
  const VaultStats stats = need(vault->stats(), "stats");
  Random random(1);
  std::vector<double> one_us;
  for (int i = 0; i < 3000; ++i) {
    const std::size_t number = random.below(ids.size());
    const Stopwatch watch;
    const auto got = need(vault->get_segments({&ids[number], 1}), "get_segments");
    one_us.push_back(watch.micros());
    if (!got[0] || !(*got[0] == input[number])) die("get_segments", "another one came back");
  }
  // Every second one is garbage.
  std::vector<SegmentId> released;
  for (std::size_t i = 0; i < ids.size(); i += 2) released.push_back(ids[i]);
  need(vault->release_segments(released, {.tenant = {}, .holder = "first"}), "release_segments");
  const Stopwatch watch;
  const GcReport collected = need(vault->gc(false), "gc");
  const double collect = static_cast<double>(released.size()) / watch.seconds();
  print_json(
      {{"segments", static_cast<double>(input.size())},
       {"tokens", tokens},
       {"put_per_s", put},
       {"put_again_per_s", put_again},
       {"get_per_s", get},
       {"get_one_p50_us", quantile(one_us, 0.5)},
       {"get_one_p99_us", quantile(one_us, 0.99)},
       {"hold_per_s", hold},
       {"release_per_s", release},
       {"collect_per_s", collect},
       {"bytes", static_cast<double>(stats.total_bytes)},
       {"pack_text_bytes", static_cast<double>(stats.pack_text_bytes)},
       {"pack_table_bytes", static_cast<double>(stats.pack_table_bytes)},
       {"catalog_bytes", static_cast<double>(stats.catalog_bytes)},
       {"bytes_collected", static_cast<double>(collected.bytes_before - collected.bytes_after)},
       {"peak_rss_mb", peak_rss_mb()}});
}

// --- near-duplicates ---------------------------------------------------------------------------

Likeness likeness_of(const std::string& name) {
  if (name == "minhash") return Likeness::minhash;
  if (name == "anchors") return Likeness::anchors;
  die(name, "no such method");
}

void near(const Arguments& arguments) {
  const auto wanted = sample(arguments, arguments.count("count", 5));
  const auto vault = need(open_vault(arguments.text("vault"), reader_options(arguments)), "open");
  NearOptions options;
  options.method = likeness_of(arguments.text("method", "minhash"));
  std::vector<double> seconds;
  double found = 0;
  const double cpu = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
  for (const Wanted& one : wanted) {
    const Stopwatch watch;
    found += static_cast<double>(need(vault->find_near(one.id, options), "find_near").size());
    seconds.push_back(watch.seconds());
  }
  const double each = static_cast<double>(wanted.size());
  print_json({{"conversations", static_cast<double>(need(vault->stats(), "stats").conversations)},
              {"seconds", quantile(seconds, 0.5)},
              {"cpu_seconds", (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / each},
              {"found", found / each},
              {"peak_rss_mb", peak_rss_mb()}});
}

void dupes(const Arguments& arguments) {
  const auto vault = need(open_vault(arguments.text("vault"), reader_options(arguments)), "open");
  DuplicateOptions options;
  options.method = likeness_of(arguments.text("method", "minhash"));
  const double cpu = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
  const Stopwatch watch;
  const DuplicateReport report = need(
      vault->find_duplicates(options, [](const DuplicateGroup&) { return true; }), "duplicates");
  print_json({{"conversations", static_cast<double>(report.conversations)},
              {"tokens", static_cast<double>(report.tokens)},
              {"groups", static_cast<double>(report.groups)},
              {"duplicates", static_cast<double>(report.duplicates)},
              {"seconds", watch.seconds()},
              {"cpu_seconds", cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu},
              {"peak_rss_mb", peak_rss_mb()}});
}

}  // namespace
}  // namespace tokvault::bench

int main(int argc, char** argv) {
  using namespace tokvault::bench;
  const Arguments arguments(argc, argv);
  const std::map<std::string, void (*)(const Arguments&)> commands = {
      {"get", get},       {"first", first},       {"put", put},   {"beside", beside},
      {"tokens", tokens}, {"fill", fill},         {"open", open}, {"grow", grow},
      {"stages", stages}, {"segments", segments}, {"near", near}, {"dupes", dupes}};
  const auto found = commands.find(arguments.command());
  if (found == commands.end()) {
    die("vault_bench",
        "get, first, put, beside, tokens, fill, open, grow, stages, segments, near or dupes");
  }
  found->second(arguments);
  return 0;
}
