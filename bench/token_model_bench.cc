// token_model_bench file=FILE.jsonl [tokenizer=NAME] [dictionary=TOKENS] [work=DECISIONS]
// [block=TOKENS]: how small and how fast the token model is, beside zstd.
//
// The texts of the file ("content" and "text" at any depth), tokenised, each different one once. A
// dictionary is an even sample of them, up to `dictionary` tokens or until its reader has `work`
// decisions to make; the others stand in blocks of `block` tokens. zstd at level 19 gets the same
// dictionary and blocks, blocks with the dictionary before them. Every block is decoded again.
// Tables, and where a text stands, are not counted. Speeds are of processor time of one thread.
#include <simdjson.h>
#include <time.h>

#include <cstdint>
#include <cstdio>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/zstd.h"
#include "bench/bench_tools.h"
#include "codec/token_code.h"
#include "codec/token_model.h"
#include "tokvault/tokenizer.h"

namespace {

using namespace tokvault;
using bench::need;

double seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

void collect(simdjson::dom::element element, bool wanted, std::vector<std::string>& texts) {
  if (element.is_object()) {
    for (const auto& field : simdjson::dom::object(element)) {
      collect(field.value, field.key == "content" || field.key == "text", texts);
    }
  } else if (element.is_array()) {
    for (const auto& item : simdjson::dom::array(element)) collect(item, false, texts);
  } else if (wanted && element.is_string()) {
    texts.emplace_back(std::string_view(element));
  }
}

std::vector<std::string> texts_of(const std::string& path) {
  std::vector<std::string> texts;
  simdjson::dom::parser parser;
  simdjson::dom::document_stream documents;
  if (parser.load_many(path, 64 << 20).get(documents) != simdjson::SUCCESS) {
    bench::die(path, "cannot be read");
  }
  for (auto document : documents) {
    simdjson::dom::element element;
    if (document.get(element) == simdjson::SUCCESS) collect(element, false, texts);
  }
  return texts;
}

struct Part {
  void print(const char* name) const {
    std::printf("%-10s %9llu tokens  %9llu bytes  zstd %9llu  %.4f bytes/token (zstd %.4f)", name,
                static_cast<unsigned long long>(tokens), static_cast<unsigned long long>(bytes),
                static_cast<unsigned long long>(zstd_bytes), per_token(bytes),
                per_token(zstd_bytes));
    std::printf("  write %.2f read %.2f M tokens/s\n", speed(write), speed(read));
  }
  double per_token(std::uint64_t n) const {
    return tokens == 0 ? 0 : static_cast<double>(n) / static_cast<double>(tokens);
  }
  double speed(double time) const {
    return time == 0 ? 0 : static_cast<double>(tokens) / time / 1e6;
  }
  std::uint64_t tokens = 0, bytes = 0, zstd_bytes = 0;
  double write = 0, read = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const std::uint64_t tokens_max = arguments.count("dictionary", 4'000'000);
  const std::uint64_t work_max = arguments.count("work", 5'000'000);
  const std::uint64_t block_tokens = arguments.count("block", 8192);

  const auto tokenizer =
      need(open_tokenizer(arguments.text("tokenizer", "o200k_base")), "tokenizer");
  const auto encoder = tokenizer->make_encoder();
  std::vector<std::vector<Token>> segments;
  std::set<std::string> known;
  std::unordered_map<Token, std::uint64_t> counts;
  std::uint64_t total = 0;
  for (std::string& text : texts_of(arguments.text("file"))) {
    std::vector<Token> tokens;
    encoder->encode(text, tokens);
    if (!known.insert(std::move(text)).second) continue;
    total += tokens.size();
    for (const Token t : tokens) ++counts[t];
    segments.push_back(std::move(tokens));
  }
  const TokenMap map = TokenMap::by_frequency({counts.begin(), counts.end()}, CodeBytes::below_ff);

  // The dictionary.
  Part dictionary;
  Buffer text, coded;
  std::vector<bool> taken(segments.size());
  auto trainer = ModelTrainer::make(ModelUnit::token_code, std::min(total, tokens_max) * 3 / 2);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < segments.size() && trainer->work() < work_max; ++i) {
    seen += segments[i].size();
    const double due = std::min(1.0, static_cast<double>(tokens_max) / static_cast<double>(total));
    if (static_cast<double>(dictionary.tokens + segments[i].size()) >
        due * static_cast<double>(seen)) {
      continue;
    }
    taken[i] = true;
    dictionary.tokens += segments[i].size();
    Buffer segment;
    map.encode(segments[i], segment);
    segment.push_back('\xff');
    const double begin = seconds();
    need(trainer->add(segment), "add");
    dictionary.write += seconds() - begin;
    text += segment;
  }
  const std::uint64_t work = trainer->work();
  trainer->finish(coded);
  dictionary.bytes = coded.size();
  dictionary.zstd_bytes = need(zstd_compress(text, 19), "zstd").size();
  Buffer back;
  double begin = seconds();
  const auto model =
      need(TokenModel::decode(ModelUnit::token_code, coded, text.size(), back), "decode");
  dictionary.read = seconds() - begin;
  if (back != text) bench::die("dictionary", "differs");

  // The blocks.
  Part blocks;
  std::vector<double> times;
  const auto zstd = need(BlockEncoder::make(text, 19), "zstd");
  Buffer block;
  std::uint64_t in_block = 0;
  auto end_block = [&] {
    if (block.empty()) return;
    begin = seconds();
    const Buffer code = need(model->encode_block(block), "encode a block");
    blocks.write += seconds() - begin;
    back.clear();
    begin = seconds();
    need(model->decode_block(code, block.size(), back), "decode a block");
    times.push_back(seconds() - begin);
    blocks.read += times.back();
    if (back != block) bench::die("a block", "differs");
    blocks.tokens += in_block;
    blocks.bytes += code.size();
    blocks.zstd_bytes += need(zstd->encode(block), "zstd").size();
    block.clear();
    in_block = 0;
  };
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (taken[i]) continue;
    map.encode(segments[i], block);
    block.push_back('\xff');
    in_block += segments[i].size();
    if (in_block >= block_tokens) end_block();
  }
  end_block();

  dictionary.print("dictionary");
  blocks.print("blocks");
  std::printf(
      "%.2f M decisions, %.1f ns each; preparing the model %.0f ms, %.0f MB; a block p50 "
      "%.1f ms, p99 %.1f ms; sum %llu, zstd %llu\n",
      static_cast<double>(work) / 1e6,
      work == 0 ? 0 : dictionary.read * 1e9 / static_cast<double>(work), dictionary.read * 1e3,
      static_cast<double>(model->memory_bytes()) / 1e6, bench::quantile(times, 0.5) * 1e3,
      bench::quantile(times, 0.99) * 1e3,
      static_cast<unsigned long long>(dictionary.bytes + blocks.bytes),
      static_cast<unsigned long long>(dictionary.zstd_bytes + blocks.zstd_bytes));
  return 0;
}
