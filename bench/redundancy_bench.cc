// redundancy_bench delta [file=A.jsonl] [tokenizer=cl100k_base] [texts=N]
// redundancy_bench substrings file=A.jsonl,B.jsonl [tokens=N] [memory_mb=256] [tokens_max=1048576]
//
// delta: every text of at least 64 tokens against the one before it with the most pairs of adjacent
// tokens in common among the last 32 of its corpus (at least three tenths of its own). Prints bytes
// of the delta, of the same edits as tags and varints, of an edit list that never resynchronises
// (which copies equal tokens at equal distance only), of zstd -19 with the base as prefix, and the
// speed in tokens a second of processor time. Without a file: one token inserted in 2,000.
//
// substrings: the runs that recur in different texts of the corpora, each text once. Prints how
// many were found, the share of all tokens that they cover, what they save, seconds of processor
// time and memory. With tokens=N the corpora are taken again and again, each time with other token
// ids, until there are N tokens: as much new text that repeats itself as the corpora do.
#include <time.h>
#include <zstd.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <unordered_map>

#include "bench/bench_tools.h"
#include "tokvault/delta.h"
#include "tokvault/interchange.h"
#include "tokvault/substrings.h"
#include "tokvault/tokenizer.h"

namespace {

using namespace tokvault;
using namespace tokvault::bench;
using Tokens = std::vector<Token>;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

std::uint64_t varint_bytes(std::uint64_t v) {
  std::uint64_t n = 1;
  for (; v >= 0x80; v >>= 7) ++n;
  return n;
}

std::uint64_t varint_bytes(TokenView tokens) {
  std::uint64_t n = 0;
  for (Token t : tokens) n += varint_bytes(t);
  return n;
}

// A tag byte, a varint, and a varint for each inserted token.
std::uint64_t plain_bytes(const std::vector<DeltaOp>& ops) {
  std::uint64_t n = 0;
  for (const DeltaOp& op : ops) {
    const auto count = static_cast<std::uint64_t>(op.count < 0 ? -op.count : op.count);
    n += 1 + varint_bytes(count) + varint_bytes(op.tokens);
  }
  return n;
}

// The same for edits that compare token i with token i and never look further.
std::uint64_t lockstep_bytes(TokenView base, TokenView target) {
  std::uint64_t n = 0, run = 0;
  const std::size_t both = std::min(base.size(), target.size());
  for (std::size_t i = 0; i < both; ++i) {
    if (base[i] == target[i]) {
      ++run;
      continue;
    }
    if (run > 0) n += 1 + varint_bytes(run);
    run = 0;
    n += 2 + 2 + varint_bytes(target[i]);  // a skip of one and an insert of one
  }
  if (run > 0) n += 1 + varint_bytes(run);
  if (base.size() > both) n += 1 + varint_bytes(base.size() - both);
  if (target.size() > both) n += 1 + varint_bytes(target.size() - both);
  return n + varint_bytes(target.subspan(both));
}

std::uint64_t zstd_bytes(ZSTD_CCtx* context, TokenView base, TokenView target) {
  const auto bytes_of = [](TokenView tokens) {
    std::string out;
    for (Token t : tokens) {
      for (int i = 0; i < 3; ++i) out.push_back(static_cast<char>(t >> (8 * i)));
    }
    return out;
  };
  const std::string prefix = bytes_of(base), text = bytes_of(target);
  std::string out(ZSTD_compressBound(text.size()), '\0');
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 19);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  ZSTD_CCtx_refPrefix(context, prefix.data(), prefix.size());
  const std::size_t size =
      ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size());
  if (ZSTD_isError(size)) die("zstd", ZSTD_getErrorName(size));
  return size - 4;  // without the magic number
}

struct Text {
  Tokens tokens;
  std::vector<std::uint64_t> conversations;  // the first four that have it
  std::uint64_t conversation_count = 0;
};

// Adds every text of a corpus, each once. `conversation` is counted up.
void read_texts(const std::string& path, const Tokenizer& tokenizer, std::uint64_t texts_max,
                std::uint64_t& conversation, std::vector<Text>& texts) {
  constexpr std::size_t kNamed = 4;
  auto lines = need(LineReader::open(path, 1u << 30), path);
  auto encoder = tokenizer.make_encoder();
  JsonReader reader;
  std::unordered_map<std::string, std::size_t> seen;
  LineReader::Line line;
  while (texts.size() < texts_max && need(lines->next(line), path)) {
    auto parsed = reader.conversation(line.text);
    if (!parsed) continue;
    ++conversation;
    for (const Message& message : parsed->messages) {
      for (const Value& value : message.values) {
        const auto [place, is_new] = seen.try_emplace(value.bytes, texts.size());
        if (is_new) {
          texts.emplace_back();
          encoder->encode(value.bytes, texts.back().tokens);
        }
        Text& text = texts[place->second];
        if (!text.conversations.empty() && text.conversations.back() == conversation) continue;
        ++text.conversation_count;
        if (text.conversations.size() < kNamed) text.conversations.push_back(conversation);
      }
    }
  }
}

std::vector<Text> texts_of(const std::string& paths, const Tokenizer& tokenizer,
                           std::uint64_t texts_max) {
  std::vector<Text> texts;
  std::uint64_t conversation = 0;
  for (std::size_t at = 0; at <= paths.size();) {
    const std::size_t comma = std::min(paths.find(',', at), paths.size());
    read_texts(paths.substr(at, comma - at), tokenizer, texts_max, conversation, texts);
    at = comma + 1;
  }
  return texts;
}

std::vector<std::uint64_t> pairs_of(TokenView tokens) {
  std::vector<std::uint64_t> out;
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    out.push_back(std::uint64_t{tokens[i - 1]} << 32 | tokens[i]);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

struct DeltaTotals {
  double texts = 0, tokens = 0, varint = 0, delta = 0, plain = 0, lockstep = 0, zstd = 0;
  double diff_seconds = 0, apply_seconds = 0;
};

void add_delta(TokenView base, const Tokens& target, ZSTD_CCtx* zstd, DeltaTotals& totals) {
  const double begin = cpu_seconds();
  const Buffer delta = need(encode_delta(base, target), "encode");
  const double middle = cpu_seconds();
  if (need(apply_delta(base, delta, target.size()), "apply") != target) die("delta", "differs");
  totals.diff_seconds += middle - begin;
  totals.apply_seconds += cpu_seconds() - middle;
  totals.texts += 1;
  totals.tokens += static_cast<double>(target.size());
  totals.varint += static_cast<double>(varint_bytes(target));
  totals.delta += static_cast<double>(delta.size());
  totals.plain += static_cast<double>(plain_bytes(need(diff_tokens(base, target), "diff")));
  totals.lockstep += static_cast<double>(lockstep_bytes(base, target));
  totals.zstd += static_cast<double>(zstd_bytes(zstd, base, target));
}

void print(const DeltaTotals& t) {
  print_json({{"texts", t.texts},
              {"tokens", t.tokens},
              {"varint_bytes", t.varint},
              {"lockstep_bytes", t.lockstep},
              {"plain_bytes", t.plain},
              {"zstd_bytes", t.zstd},
              {"delta_bytes", t.delta},
              {"encode_tokens_per_s", t.tokens / std::max(1e-9, t.diff_seconds)},
              {"apply_tokens_per_s", t.tokens / std::max(1e-9, t.apply_seconds)}});
}

void delta_of_corpus(const std::vector<Text>& texts, ZSTD_CCtx* zstd, DeltaTotals& totals) {
  constexpr std::size_t kTokensMin = 64, kRecent = 32;
  struct Recent {
    const Tokens* tokens;
    std::vector<std::uint64_t> pairs;
  };
  std::deque<Recent> recent;
  for (const Text& t : texts) {
    const Tokens& text = t.tokens;
    if (text.size() < kTokensMin) continue;
    Recent now{&text, pairs_of(text)};
    const Recent* best = nullptr;
    std::size_t best_common = now.pairs.size() * 3 / 10;
    for (const Recent& r : recent) {
      std::vector<std::uint64_t> common;
      std::set_intersection(r.pairs.begin(), r.pairs.end(), now.pairs.begin(), now.pairs.end(),
                            std::back_inserter(common));
      if (common.size() > best_common) best_common = common.size(), best = &r;
    }
    if (best != nullptr) add_delta(*best->tokens, text, zstd, totals);
    recent.push_back(std::move(now));
    if (recent.size() > kRecent) recent.pop_front();
  }
}

void bench_delta(const Arguments& arguments) {
  ZSTD_CCtx* zstd = ZSTD_createCCtx();
  DeltaTotals totals;
  const std::string file = arguments.text("file", "");
  if (file.empty()) {
    Random random(1);
    Tokens base(2000);
    for (Token& t : base) {
      const double u = static_cast<double>(random.below(1u << 30)) / (1u << 30);
      t = static_cast<Token>(std::exp(u * std::log(100'000.0)));
    }
    Tokens target = base;
    target.insert(target.begin() + 5, 54'321);
    add_delta(base, target, zstd, totals);
  } else {
    const auto tokenizer =
        need(open_tokenizer(arguments.text("tokenizer", "cl100k_base")), "tokenizer");
    delta_of_corpus(texts_of(file, *tokenizer, arguments.count("texts", UINT64_MAX)), zstd, totals);
  }
  ZSTD_freeCCtx(zstd);
  print(totals);
}

void bench_substrings(const Arguments& arguments) {
  const auto tokenizer =
      need(open_tokenizer(arguments.text("tokenizer", "cl100k_base")), "tokenizer");
  const std::vector<Text> texts = texts_of(arguments.text("file"), *tokenizer, UINT64_MAX);
  std::uint64_t tokens = 0;
  for (const Text& t : texts) tokens += t.tokens.size();
  const std::uint64_t wanted = arguments.count("tokens", tokens);
  const double rss_before = peak_rss_mb();
  double source_seconds = 0;
  Tokens shifted;
  const TrainingSource source = [&](const auto& visit) -> Status {
    std::uint64_t given = 0;
    for (std::uint32_t round = 0; given < wanted; ++round) {
      for (const Text& t : texts) {
        TrainingSegment segment{t.tokens, t.conversations, t.conversation_count};
        if (round > 0) {
          const double begin = cpu_seconds();
          shifted.clear();
          for (Token token : t.tokens) shifted.push_back(token + round * 200'000);
          segment.tokens = shifted;
          source_seconds += cpu_seconds() - begin;
        }
        TOKVAULT_TRY(visit(segment));
        given += t.tokens.size();
        if (given >= wanted) break;
      }
    }
    tokens = given;
    return {};
  };
  SubstringTraining options;
  options.memory_bytes = arguments.count("memory_mb", 256) << 20;
  options.tokens_max = arguments.count("tokens_max", options.tokens_max);
  const Stopwatch watch;
  const double begin = cpu_seconds();
  const auto found = need(find_substrings(source, options), "find");
  const double cpu = cpu_seconds() - begin - source_seconds;
  double run_tokens = 0, covered = 0, saved = 0;
  for (const FoundSubstring& f : found) {
    run_tokens += static_cast<double>(f.tokens.size());
    covered += static_cast<double>(f.tokens.size() * f.uses);
    saved += f.saved_bytes;
  }
  print_json({{"texts", static_cast<double>(texts.size())},
              {"tokens", static_cast<double>(tokens)},
              {"runs", static_cast<double>(found.size())},
              {"run_tokens", run_tokens},
              {"covered", covered / static_cast<double>(tokens)},
              {"saved_bytes", saved},
              {"cpu_seconds", cpu},
              {"seconds", watch.seconds()},
              {"memory_mb", peak_rss_mb() - rss_before}});
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  if (arguments.command() == "delta") {
    bench_delta(arguments);
  } else if (arguments.command() == "substrings") {
    bench_substrings(arguments);
  } else {
    die("redundancy_bench", "delta or substrings");
  }
  return 0;
}
