// dedup_bench speed|bases vault=DIR [texts=N]: MinHash and anchors on the texts of a vault.
//
//   speed   tokens (10^6) for a second of processor time, the fastest of five runs over all texts:
//           MinHash as the specification says it (`book`), each loop that this processor runs, and
//           the same for anchors
//   bases   for each of N texts (default 4000, of at least 32 tokens, every text once): what of it
//           stands in the best earlier text, in runs of 8 tokens; how much of that the base has
//           that MinHash with LSH finds at 0.85 and at 0.5, and the one that shares most anchors;
//           and how many of the pairs with a Jaccard similarity of at least 0.85, and of those with
//           0.85 contained, each finds
//
// Prints one line of JSON.
#include <time.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <unordered_set>

#include "bench/bench_tools.h"
#include "dedup/anchor_index.h"
#include "dedup/anchors.h"
#include "dedup/minhash.h"
#include "tokvault/tokvault.h"

namespace {

using namespace tokvault;
using namespace tokvault::bench;
using Texts = std::vector<std::vector<Token>>;
using Row = std::vector<std::pair<std::string, double>>;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

// Every text of the messages once.
Texts read_texts(const std::string& folder, std::size_t tokens_min) {
  VaultOptions options;
  options.read_only = true;
  const auto vault = need(open_vault(folder, options), folder);
  std::unordered_set<std::string> seen;
  Texts texts;
  const auto encoder = vault->tokenizer()->make_encoder();
  need(vault->scan({},
                   [&](const Summary&, Result<Conversation> conversation) {
                     for (const Message& m : need(std::move(conversation), folder).messages) {
                       const std::string text = m.text();
                       if (!seen.insert(text).second) continue;
                       std::vector<Token> tokens;
                       encoder->encode(text, tokens);
                       if (tokens.size() >= tokens_min) texts.push_back(std::move(tokens));
                     }
                     return true;
                   }),
       folder);
  return texts;
}

// The loop of the specification, one hash after the other.
void lower_by_the_book(const Token* tokens, std::size_t count, std::uint64_t* values) {
  for (std::size_t j = 0; j + 1 < count; ++j) {
    for (std::uint64_t i = 0; i < MinHash::kValues; ++i) {
      std::uint64_t h = i + kMinHashSeed;
      for (std::size_t k = j; k < j + 2; ++k) {
        h = std::rotl(h ^ tokens[k] * kMinHashToken, 27) * kMinHashMix;
      }
      values[i] = std::min(values[i], h ^ h >> 31);
    }
  }
}

void speed(const Texts& texts) {
  std::size_t tokens = 0;
  for (const auto& text : texts) tokens += text.size();
  Row row = {{"texts", static_cast<double>(texts.size())}, {"tokens", static_cast<double>(tokens)}};
  std::uint64_t sink = 0;
  const auto measure = [&](const std::string& name, const auto& work) {
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
      const double begin = cpu_seconds();
      for (const auto& text : texts) work(text);
      best = std::min(best, cpu_seconds() - begin);
    }
    row.push_back({name + "_mtokens_per_s", static_cast<double>(tokens) / best / 1e6});
  };
  MinHash signature;
  measure("minhash_book", [&](const std::vector<Token>& text) {
    lower_by_the_book(text.data(), text.size(), signature.values.data());
    sink += signature.values[5];
  });
  for (const MinHashKernel& kernel : minhash_kernels()) {
    measure("minhash_" + std::string(kernel.name), [&](const std::vector<Token>& text) {
      MinHash own;
      kernel.lower(text.data(), text.size(), own.values.data());
      sink += own.values[5];
    });
  }
  std::vector<Anchor> anchors;
  std::size_t found = 0;
  for (const AnchorKernel& kernel : anchor_kernels()) {
    found = 0;
    measure("anchors_" + std::string(kernel.name), [&](const std::vector<Token>& text) {
      anchors.clear();
      kernel.find(text, anchors);
      found += anchors.size();
      sink += anchors.back().hash;
    });
  }
  row.push_back(
      {"anchors_per_token", static_cast<double>(found) / 5 / static_cast<double>(tokens)});
  row.push_back({"signature_bytes", static_cast<double>(MinHash::kBytes)});
  if (sink == 1) row.push_back({"sink", 1});
  print_json(row);
}

// Sorted hashes of all runs of `size` tokens.
std::vector<std::uint64_t> runs_of(const std::vector<Token>& text, std::size_t size) {
  std::vector<std::uint64_t> runs;
  for (std::size_t i = 0; i + size <= text.size(); ++i) {
    std::uint64_t h = size;
    for (std::size_t j = i; j < i + size; ++j) {
      h = (h ^ text[j]) * 0x9e3779b97f4a7c15u;
      h ^= h >> 29;
    }
    runs.push_back(h);
  }
  std::sort(runs.begin(), runs.end());
  runs.erase(std::unique(runs.begin(), runs.end()), runs.end());
  return runs;
}

double common(const std::vector<std::uint64_t>& a, const std::vector<std::uint64_t>& b) {
  std::size_t count = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    count += a[i] == b[j] ? 1 : 0;
    const bool first_is_less = a[i] < b[j];
    const bool second_is_less = b[j] < a[i];
    i += second_is_less ? 0 : 1;
    j += first_is_less ? 0 : 1;
  }
  return static_cast<double>(count);
}

struct Way {
  std::string name;
  // The base of text i, the most similar first; those that it takes for similar.
  std::function<std::vector<std::size_t>(std::size_t)> find;
  double gain = 0;
  double similar = 0;
  double contained = 0;
};

void bases(Texts texts, std::size_t texts_max) {
  // Evenly from all of them, in their order.
  if (texts.size() > texts_max) {
    for (std::size_t i = 0; i < texts_max; ++i) {
      texts[i] = std::move(texts[i * texts.size() / texts_max]);
    }
    texts.resize(texts_max);
  }
  std::vector<std::vector<std::uint64_t>> runs;
  std::vector<std::vector<std::uint64_t>> bigrams;
  std::vector<MinHash> signatures;
  std::vector<AnchorSet> anchors;
  std::size_t anchor_count = 0;
  for (const auto& text : texts) {
    runs.push_back(runs_of(text, 8));
    bigrams.push_back(runs_of(text, 2));
    signatures.push_back(MinHash::of(text));
    std::vector<Anchor> found;
    find_anchors(text, found);
    anchors.emplace_back();
    for (const Anchor& a : found) anchors.back().push_back(a.hash);
    make_set(anchors.back());
    anchor_count += anchors.back().size();
  }
  LshIndex lsh;
  AnchorIndex index(anchor_count);
  const auto by_minhash = [&](std::size_t i, double threshold) {
    std::vector<std::size_t> found;
    for (const auto& match : lsh.query(signatures[i], threshold)) found.push_back(match.key);
    return found;
  };
  std::vector<Way> ways(3);
  ways[0] = {"minhash_85", [&](std::size_t i) { return by_minhash(i, 0.85); }};
  ways[1] = {"minhash_50", [&](std::size_t i) { return by_minhash(i, 0.5); }};
  ways[2] = {"anchors", [&](std::size_t i) {
               std::vector<std::size_t> found;
               for (const auto& c : index.find(anchors[i])) found.push_back(c.item);
               return found;
             }};
  double all = 0;
  double best_gain = 0;
  double similar = 0;
  double contained = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    all += static_cast<double>(runs[i].size());
    std::vector<double> gains(i);
    std::vector<bool> is_similar(i);
    std::vector<bool> is_contained(i);
    double best = 0;
    for (std::size_t j = 0; j < i; ++j) {
      gains[j] = common(runs[i], runs[j]);
      best = std::max(best, gains[j]);
      is_contained[j] = gains[j] >= 0.85 * static_cast<double>(runs[i].size());
      const auto sum = static_cast<double>(bigrams[i].size() + bigrams[j].size());
      const double both = common(bigrams[i], bigrams[j]);
      is_similar[j] = both >= 0.85 * (sum - both);
    }
    best_gain += best;
    similar += std::count(is_similar.begin(), is_similar.end(), true) > 0 ? 1 : 0;
    contained += std::count(is_contained.begin(), is_contained.end(), true) > 0 ? 1 : 0;
    for (Way& way : ways) {
      const auto found = way.find(i);
      if (!found.empty()) way.gain += gains[found[0]];
      const auto any = [&](const std::vector<bool>& wanted) {
        return std::any_of(found.begin(), found.end(), [&](std::size_t j) { return wanted[j]; });
      };
      way.similar += any(is_similar) ? 1 : 0;
      way.contained += any(is_contained) ? 1 : 0;
    }
    need(lsh.insert(i, signatures[i]), "insert");
    if (!index.insert(static_cast<std::uint32_t>(i), anchors[i])) die("insert", "no room");
  }
  Row row = {{"texts", static_cast<double>(texts.size())},
             {"in_best_base", best_gain / all},
             {"texts_with_similar", similar},
             {"texts_with_containing", contained}};
  for (const Way& way : ways) {
    row.push_back({way.name + "_gain", best_gain > 0 ? way.gain / best_gain : 1});
    row.push_back({way.name + "_similar", similar > 0 ? way.similar / similar : 1});
    row.push_back({way.name + "_contained", contained > 0 ? way.contained / contained : 1});
  }
  print_json(row);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const std::string vault = arguments.text("vault");
  if (arguments.command() == "speed") {
    speed(read_texts(vault, kAnchorTokens));
  } else if (arguments.command() == "bases") {
    bases(read_texts(vault, 32), arguments.count("texts", 4000));
  } else {
    die("dedup_bench", "speed or bases?");
  }
  return 0;
}
