// redundancy_bench delta [file=A.jsonl] [tokenizer=cl100k_base] [texts=N]
// redundancy_bench packs file=A.jsonl [tokenizer=cl100k_base] [texts=N] [model=1]
// redundancy_bench substrings file=A.jsonl,B.jsonl [tokens=N] [memory_mb=256] [tokens_max=1048576]
// redundancy_bench dictionary file=A.jsonl [conversations=100] [size_bytes=N]
//
// delta: every text of at least 64 tokens against the one before it with the most pairs of adjacent
// tokens in common among the last 32 of its corpus (at least three tenths of its own). Prints bytes
// of the delta, of the same edits as tags and varints, of an edit list that never resynchronises
// (which copies equal tokens at equal distance only), of zstd -19 with the base as prefix, and the
// speed in tokens a second of processor time. Without a file: one token inserted in 2,000.
//
// packs: the same targets, as a pack could hold them. Prints bytes of their deltas without the
// checksums, of all of these together under zstd -19, of the plain edits together under zstd -19;
// of zstd -19 and the token LZ of the codes of a target alone behind those of its base; of zstd -19
// of blocks of targets, up to 6 KB of codes with up to 8 bases, behind those; and what they take in
// a pack that is one text: all texts in their order less the others alone, under zstd -19, the
// token LZ and (model=1, slow) the token model. A target's base may be a target itself in all of
// these.
//
// substrings: the runs that recur in different texts of the corpora, each text once. Prints how
// many were found, the share of all tokens that they cover, what they save, seconds of processor
// time and memory. With tokens=N the corpora are taken again and again, each time with other token
// ids, until there are N tokens: as much new text that repeats itself as the corpora do.
//
// dictionary: trained on the second half of a corpus. Prints the seconds that it took, its size,
// and the bytes of a log of so many conversations of the first half, without it and with it; both
// in memory, so that nothing waits for a disk.
#include <time.h>
#include <zstd.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <unordered_map>

#include "base/zstd.h"
#include "bench/bench_tools.h"
#include "codec/token_code.h"
#include "codec/token_lz.h"
#include "codec/token_model.h"
#include "tokvault/delta.h"
#include "tokvault/interchange.h"
#include "tokvault/substrings.h"
#include "tokvault/tokenizer.h"
#include "tokvault/vault.h"

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

// Calls `visit` with every text that has a base, and with its base; with null if it has none.
template <class Visit>
void each_target(const std::vector<Text>& texts, Visit&& visit) {
  constexpr std::size_t kTokensMin = 64, kRecent = 32;
  struct Recent {
    const Tokens* tokens;
    std::vector<std::uint64_t> pairs;
  };
  std::deque<Recent> recent;
  for (const Text& t : texts) {
    const Tokens& text = t.tokens;
    if (text.size() < kTokensMin) {
      visit(text, nullptr);
      continue;
    }
    Recent now{&text, pairs_of(text)};
    const Recent* best = nullptr;
    std::size_t best_common = now.pairs.size() * 3 / 10;
    for (const Recent& r : recent) {
      std::vector<std::uint64_t> common;
      std::set_intersection(r.pairs.begin(), r.pairs.end(), now.pairs.begin(), now.pairs.end(),
                            std::back_inserter(common));
      if (common.size() > best_common) best_common = common.size(), best = &r;
    }
    visit(text, best == nullptr ? nullptr : best->tokens);
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
    const auto texts = texts_of(file, *tokenizer, arguments.count("texts", UINT64_MAX));
    each_target(texts, [&](const Tokens& target, const Tokens* base) {
      if (base != nullptr) add_delta(*base, target, zstd, totals);
    });
  }
  ZSTD_freeCCtx(zstd);
  print(totals);
}

// Edits as tags and varints, for a compressor to find what repeats in them.
void append_plain(const std::vector<DeltaOp>& ops, Buffer& out) {
  const auto append = [&](std::uint64_t v) {
    for (; v >= 0x80; v >>= 7) out.push_back(static_cast<char>(v | 0x80));
    out.push_back(static_cast<char>(v));
  };
  for (const DeltaOp& op : ops) {
    out.push_back(static_cast<char>(op.count < 0 ? 3 : static_cast<int>(op.kind)));
    append(static_cast<std::uint64_t>(op.count < 0 ? -op.count : op.count));
    for (const Token t : op.tokens) append(t);
  }
}

// Blocks of targets behind their bases, as packs have them.
class BlocksWithBases {
 public:
  explicit BlocksWithBases(const TokenMap& map) : map_(map) {}
  void add(const Tokens& target, const Tokens& base) {
    constexpr std::size_t kBases = 8, kBlockBytes = 6u << 10;
    if (std::find(bases_.begin(), bases_.end(), &base) == bases_.end()) {
      if (bases_.size() == kBases) end();
      bases_.push_back(&base);
    }
    map_.encode(target, text_);
    if (text_.size() >= kBlockBytes) end();
  }
  double finish() {
    end();
    return bytes_;
  }

 private:
  void end() {
    Buffer prefix;
    for (const Tokens* base : bases_) map_.encode(*base, prefix);
    if (!text_.empty()) {
      bytes_ += static_cast<double>(need(zstd_compress(text_, 19, {}, prefix), "zstd").size());
    }
    text_.clear();
    bases_.clear();
  }

  const TokenMap& map_;
  Buffer text_;
  std::vector<const Tokens*> bases_;
  double bytes_ = 0;
};

double model_bytes(ByteView text) {
  const auto trainer = ModelTrainer::make(ModelUnit::token_code, text.size());
  need(trainer->add(text), "token model");
  Buffer code;
  static_cast<void>(trainer->finish(code));
  return static_cast<double>(code.size());
}

void bench_packs(const Arguments& arguments) {
  constexpr std::size_t kChecksumBytes = 4;
  constexpr ModelUnit kUnit = ModelUnit::token_code;
  const auto tokenizer =
      need(open_tokenizer(arguments.text("tokenizer", "cl100k_base")), "tokenizer");
  const auto texts =
      texts_of(arguments.text("file"), *tokenizer, arguments.count("texts", UINT64_MAX));
  std::unordered_map<Token, std::uint64_t> counts;
  for (const Text& t : texts) {
    for (const Token token : t.tokens) ++counts[token];
  }
  const TokenMap map = TokenMap::by_frequency({counts.begin(), counts.end()}, CodeBytes::below_ff);
  const auto size = [](const auto& bytes) { return static_cast<double>(bytes.size()); };
  BlocksWithBases blocks(map);
  Buffer all, others, deltas, edits;
  double targets = 0, tokens = 0, delta = 0, zstd_behind = 0, lz_behind = 0;
  each_target(texts, [&](const Tokens& target, const Tokens* base) {
    Buffer code;
    map.encode(target, code);
    for (Buffer* text : {&all, &others}) {
      if (text == &others && base != nullptr) continue;
      text->append(code).push_back('\xff');
    }
    if (base == nullptr) return;
    const Buffer encoded = need(encode_delta(*base, target), "encode");
    delta += size(encoded) - kChecksumBytes;
    // The checksum stands behind a varint, and would be taken for text that does not repeat.
    const auto growth = static_cast<std::size_t>(
        std::find_if(encoded.begin(), encoded.end(), [](char c) { return (c & 0x80) == 0; }) -
        encoded.begin() + 1);
    deltas += encoded.substr(0, growth) + encoded.substr(growth + kChecksumBytes);
    append_plain(need(diff_tokens(*base, target), "diff"), edits);
    Buffer history;
    map.encode(*base, history);
    zstd_behind += size(need(zstd_compress(code, 19, {}, history), "zstd"));
    lz_behind += size(need(token_lz_encode(kUnit, code, history), "token LZ").bytes);
    blocks.add(target, *base);
    targets += 1;
    tokens += static_cast<double>(target.size());
  });
  const auto zstd_of = [&](ByteView text) { return size(need(zstd_compress(text, 19), "zstd")); };
  const auto lz_of = [&](ByteView text) {
    return size(need(token_lz_encode(kUnit, text), "token LZ").bytes);
  };
  const bool has_model = arguments.count("model", 0) != 0;
  print_json({{"texts", targets},
              {"tokens", tokens},
              {"delta_bytes", delta},
              {"deltas_zstd_bytes", zstd_of(deltas)},
              {"edits_zstd_bytes", zstd_of(edits)},
              {"zstd_behind_base_bytes", zstd_behind},
              {"lz_behind_base_bytes", lz_behind},
              {"zstd_blocks_bytes", blocks.finish()},
              {"zstd_pack_bytes", zstd_of(all) - zstd_of(others)},
              {"lz_pack_bytes", lz_of(all) - lz_of(others)},
              {"model_pack_bytes", has_model ? model_bytes(all) - model_bytes(others) : 0}});
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

std::unique_ptr<Vault> vault_in_memory(const std::string& tokenizer) {
  auto backend = make_memory_backend();
  auto catalog = make_memory_catalog();
  CreateOptions create;
  create.tokenizer = need(open_tokenizer(tokenizer), tokenizer);
  need(Vault::create(*backend, *catalog, create), "create");
  VaultOptions options;
  options.level = Level::fast;
  options.log_bytes_max = UINT64_MAX;
  return need(Vault::open(std::move(backend), std::move(catalog), options), "open");
}

void put_all(Vault& vault, std::span<const Conversation> conversations) {
  for (const auto& outcome : need(vault.put_batch(conversations, {}), "put_batch")) {
    if (!outcome) die("put_batch", outcome.error().message());
  }
}

void bench_dictionary(const Arguments& arguments) {
  const std::string tokenizer = arguments.text("tokenizer", "o200k_base");
  auto all = read_conversations(arguments.text("file"), SIZE_MAX);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].id.empty()) all[i].id = "line-" + std::to_string(i);
  }
  const std::span first = std::span(all).first(all.size() / 2);
  const auto trained = vault_in_memory(tokenizer);
  put_all(*trained, std::span(all).subspan(first.size()));
  DictionaryTraining training;
  training.size_bytes = arguments.count("size_bytes", 0);
  const Stopwatch watch;
  const double begin = cpu_seconds();
  const DictionaryInfo info = need(trained->dictionaries().train({}, training), "train");
  const double cpu = cpu_seconds() - begin, seconds = watch.seconds();
  const Buffer bytes = need(trained->dictionaries().get(info.id), "get");

  const std::size_t count =
      std::min<std::size_t>(arguments.count("conversations", 100), first.size());
  double log_bytes[2] = {};
  for (const bool is_used : {false, true}) {
    const auto vault = vault_in_memory(tokenizer);
    if (is_used) {
      need(vault->dictionaries().add(bytes), "add");
      need(vault->dictionaries().activate(info.id), "activate");
    }
    put_all(*vault, first.first(count));
    log_bytes[is_used ? 1 : 0] = static_cast<double>(need(vault->stats(), "stats").log_bytes);
  }
  print_json(
      {{"conversations", static_cast<double>(info.conversations)},
       {"sample_bytes", static_cast<double>(info.sample_bytes)},
       {"seconds", seconds},
       {"cpu_seconds", cpu},
       {"size_bytes", static_cast<double>(info.size_bytes)},
       {"artifact_bytes", static_cast<double>(need(trained->stats(), "stats").artifact_bytes)},
       {"log_conversations", static_cast<double>(count)},
       {"log_bytes", log_bytes[0]},
       {"log_bytes_with_it", log_bytes[1]},
       {"peak_rss_mb", peak_rss_mb()}});
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  if (arguments.command() == "delta") {
    bench_delta(arguments);
  } else if (arguments.command() == "packs") {
    bench_packs(arguments);
  } else if (arguments.command() == "substrings") {
    bench_substrings(arguments);
  } else if (arguments.command() == "dictionary") {
    bench_dictionary(arguments);
  } else {
    die("redundancy_bench", "delta, packs, substrings or dictionary");
  }
  return 0;
}
