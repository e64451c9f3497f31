// Timings of a vault through the public API; bench/run prepares the data and prints the tables.
//
//   vault_bench get     vault=DIR [count=5000] [seed=1] [cache_mb=128]
//   vault_bench put     folder=DIR input=FILE.jsonl [clients=1] [seconds=3]
//   vault_bench tokens  folder=DIR [tokens=20000000]
//   vault_bench fill    vault=DIR [count=1000000]
//   vault_bench open    vault=DIR
//
// Each prints one line of JSON. Timings of a shared machine say little alone: compare runs of one
// session, and what they are set against (the appends of `put`) is measured in turn with them.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "bench/bench_tools.h"
#include "tokvault/tokvault.h"

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

void get(const Arguments& arguments) {
  const std::string path = arguments.text("vault");
  VaultOptions options{.read_only = true};
  options.cache_bytes = arguments.count("cache_mb", 128) << 20;
  const auto all = list_all(*need(open_vault(path, options), "open"));
  if (all.empty()) die(path, "holds no conversation");

  Random random(arguments.count("seed", 1));
  const Stopwatch since_start;
  const auto vault = need(open_vault(path, options), "open");
  const double open_us = since_start.micros();
  need(vault->get(all[random.below(all.size())].id), "get");
  const double first_us = since_start.micros();

  std::vector<double> micros;
  double long_ns = 0;
  double long_tokens = 0;
  double text_bytes = 0;
  const Stopwatch total;
  const std::uint64_t count = arguments.count("count", 5000);
  for (std::uint64_t i = 0; i < count; ++i) {
    const Summary& wanted = all[random.below(all.size())];
    const Stopwatch watch;
    const Conversation found = need(vault->get(wanted.id), "get");
    const double us = watch.micros();
    if (found.id != wanted.id) die(wanted.id, "another conversation came back");
    text_bytes += static_cast<double>(wanted.text_bytes);
    if (wanted.tokens <= kShortTokensMax) {
      micros.push_back(us);
    } else {
      long_ns += us * 1000;
      long_tokens += static_cast<double>(wanted.tokens);
    }
  }
  print_json({{"conversations", static_cast<double>(all.size())},
              {"open_us", open_us},
              {"first_get_us", first_us},
              {"p50_us", quantile(micros, 0.5)},
              {"p99_us", quantile(micros, 0.99)},
              {"max_us", quantile(micros, 1)},
              {"long_ns_per_token", long_tokens == 0 ? 0 : long_ns / long_tokens},
              {"text_mb_per_s", text_bytes / total.seconds() / 1e6},
              {"peak_rss_mb", peak_rss_mb()}});
}

std::vector<Conversation> read_conversations(const std::string& path, std::size_t count_max) {
  const auto lines = need(LineReader::open(path, 64u << 20), path);
  JsonReader reader;
  std::vector<Conversation> all;
  LineReader::Line line;
  while (all.size() < count_max && need(lines->next(line), path)) {
    if (!line.text.empty()) all.push_back(need(reader.conversation(line.text), path));
  }
  if (all.empty()) die(path, "holds no conversation");
  return all;
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

void open(const Arguments& arguments) {
  const std::string path = arguments.text("vault");
  std::vector<double> opens;
  for (int i = 0; i < 11; ++i) {
    const Stopwatch watch;
    const auto vault = need(open_vault(path, {.read_only = true}), "open");
    opens.push_back(watch.micros() / 1000);
  }
  print_json({{"open_ms", quantile(opens, 0.5)},
              {"by_model_first_ms", usage_ms(path, false, false)},
              {"by_model_ms", usage_ms(path, false, true)},
              {"by_model_and_day_first_ms", usage_ms(path, true, false)},
              {"by_model_and_day_ms", usage_ms(path, true, true)},
              {"peak_rss_mb", peak_rss_mb()}});
}

}  // namespace
}  // namespace tokvault::bench

int main(int argc, char** argv) {
  using namespace tokvault::bench;
  const Arguments arguments(argc, argv);
  const std::map<std::string, void (*)(const Arguments&)> commands = {
      {"get", get}, {"put", put}, {"tokens", tokens}, {"fill", fill}, {"open", open}};
  const auto found = commands.find(arguments.command());
  if (found == commands.end()) die("vault_bench", "get, put, tokens, fill or open");
  found->second(arguments);
  return 0;
}
