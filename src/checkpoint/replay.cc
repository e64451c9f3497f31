// Replays a request trace. The cache is the store's own index and policy over blocks of one size;
// no bytes are stored.
#include "tokvault/checkpoint_replay.h"

#include <simdjson.h>

#include <algorithm>
#include <unordered_map>

#include "base/checksum.h"
#include "checkpoint/block_index.h"
#include "checkpoint/eviction_peers.h"

namespace tokvault {
namespace {

using namespace checkpoint;

struct Trace {
  std::vector<std::vector<std::uint32_t>> requests;  // dense block numbers
  std::vector<Hash128> keys;                         // by block number
  std::uint64_t blocks = 0;
  double span_ms = 0;
  std::uint64_t too_short = 0;       // requests
  std::uint64_t partial_blocks = 0;  // of the others
};

Error bad_line(std::size_t line, std::string_view what) {
  return Error(Errc::invalid, "trace line " + std::to_string(line) + ": " + std::string(what));
}

Result<Trace> parse_trace(ByteView text, std::uint32_t block_tokens) {
  Trace trace;
  std::unordered_map<std::uint64_t, std::uint32_t> numbers;
  simdjson::dom::parser parser;
  std::size_t line_number = 0;
  double first_ms = 0;
  while (!text.empty()) {
    ++line_number;
    const std::size_t end = text.find('\n');
    const ByteView line = text.substr(0, end);
    text = end == ByteView::npos ? ByteView() : text.substr(end + 1);
    if (line.find_first_not_of(" \t\r") == ByteView::npos) continue;
    simdjson::dom::element request;
    if (parser.parse(line.data(), line.size()).get(request) != simdjson::SUCCESS) {
      return bad_line(line_number, "no JSON object");
    }
    std::uint64_t input_tokens = 0;
    simdjson::dom::array ids;
    if (request["input_length"].get(input_tokens) != simdjson::SUCCESS ||
        request["hash_ids"].get(ids) != simdjson::SUCCESS) {
      return bad_line(line_number, "input_length or hash_ids is missing");
    }
    double timestamp = 0;
    if (request["timestamp"].get(timestamp) != simdjson::SUCCESS) timestamp = trace.span_ms;
    if (trace.requests.empty()) first_ms = timestamp;
    trace.span_ms = std::max(trace.span_ms, timestamp - first_ms);
    std::vector<std::uint32_t> blocks;
    bool goes_on = false;
    for (const simdjson::dom::element id : ids) {
      goes_on = blocks.size() == input_tokens / block_tokens;
      if (goes_on) break;
      std::uint64_t value = 0;
      std::int64_t negative = 0;
      if (id.get(value) != simdjson::SUCCESS) {
        if (id.get(negative) != simdjson::SUCCESS) {
          return bad_line(line_number, "a hash id is no integer");
        }
        value = static_cast<std::uint64_t>(negative);
      }
      // Equal numbers are equal prefixes; a trace that breaks this is read by prefix all the same.
      const Hash128 parent = blocks.empty() ? Hash128{} : trace.keys[blocks.back()];
      const std::uint64_t fields[] = {parent.lo, parent.hi, value};
      const ByteView bytes(reinterpret_cast<const char*>(fields), sizeof fields);
      const Hash128 key{checksum64(bytes, 1), checksum64(bytes, 2)};
      const auto [it, is_new] =
          numbers.try_emplace(key.lo, static_cast<std::uint32_t>(trace.keys.size()));
      if (is_new) trace.keys.push_back(key);
      blocks.push_back(it->second);
    }
    if (blocks.empty()) {
      ++trace.too_short;
      continue;
    }
    trace.partial_blocks += goes_on ? 1 : 0;
    trace.blocks += blocks.size();
    trace.requests.push_back(std::move(blocks));
  }
  if (trace.requests.empty()) {
    return Error(Errc::invalid, "the trace has no request with a whole block of " +
                                    std::to_string(block_tokens) + " tokens");
  }
  return trace;
}

// The offline optimum: the leaf whose next use is farthest goes, and a block that is used later
// than every cached leaf is not stored.
class Belady final : public PriorityPolicy {
 public:
  Belady(BlockIndex& index, const Trace& trace) : PriorityPolicy(index) {
    std::vector<double> next(trace.keys.size(), 1e18);
    uses_.resize(trace.requests.size());
    for (std::size_t r = trace.requests.size(); r-- > 0;) {
      for (const std::uint32_t block : trace.requests[r]) uses_[r].push_back(next[block]);
      for (const std::uint32_t block : trace.requests[r]) next[block] = static_cast<double>(r);
    }
    for (std::size_t r = 0; r < trace.requests.size(); ++r) {
      requests_.push_back(&trace.requests[r]);
    }
    keys_ = &trace.keys;
  }
  void begin(std::uint32_t clock) override {
    clock_ = clock;
    const std::size_t r = clock - 1;
    for (std::size_t i = 0; i < requests_[r]->size(); ++i) {
      next_[(*keys_)[(*requests_[r])[i]].lo] = uses_[r][i];
    }
  }
  bool admit(const Candidate& c, RecordId victim) override {
    return victim == kNoRecord || -next_[c.key.lo] > priority_of(victim);
  }

 private:
  double priority(RecordId id) override { return -next_[index_[id].key().lo]; }
  std::vector<std::vector<double>> uses_;
  std::vector<const std::vector<std::uint32_t>*> requests_;
  const std::vector<Hash128>* keys_ = nullptr;
  std::unordered_map<std::uint64_t, double> next_;
};

std::unique_ptr<EvictionPolicy> policy_for(std::string_view name, BlockIndex& index,
                                           const Trace& trace, std::uint64_t capacity,
                                           const ReplayOptions& options) {
  PolicyOptions p;
  p.block_tokens = options.block_tokens;
  p.attention_tokens = options.attention_tokens;
  p.half_life_requests =
      static_cast<double>(trace.requests.size()) * (6 * 3.6e6 / std::max(trace.span_ms, 1.0));
  if (name == "value") return make_policy(Eviction::value, index, p);
  if (name == "lru") return make_policy(Eviction::lru, index, p);
  if (name == "decayed_hits") return make_policy(Eviction::decayed_hits, index, p);
  if (name == "belady") return std::make_unique<Belady>(index, trace);
  return make_peer_policy(name, index, capacity);
}

ReplayRow run(const Trace& trace, std::string_view name, std::uint64_t capacity,
              const ReplayOptions& options) {
  BlockIndex index;
  const auto policy = policy_for(name, index, trace, capacity, options);
  ReplayRow row;
  row.policy = name;
  row.budget_blocks = capacity;
  std::uint64_t hits = 0;
  double cost = 0;
  double cost_hits = 0;
  std::vector<RecordId> chain;
  for (std::size_t r = 0; r < trace.requests.size(); ++r) {
    const auto clock = static_cast<std::uint32_t>(r + 1);
    const auto& blocks = trace.requests[r];
    policy->begin(clock);
    chain.clear();
    while (chain.size() < blocks.size()) {
      const RecordId id = index.find(trace.keys[blocks[chain.size()]]);
      if (id == kNoRecord) break;
      chain.push_back(id);
    }
    hits += chain.size();
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const double c = 1 + static_cast<double>(i) * options.block_tokens / options.attention_tokens;
      cost += c;
      if (i < chain.size()) cost_hits += c;
    }
    for (const RecordId id : chain) {
      index[id].last_use = clock;
      index[id].set_hits(index[id].hits() + 1);
      policy->touched(id);
    }
    std::size_t i = chain.size();
    for (; i < blocks.size(); ++i) {
      const RecordId parent = chain.empty() ? kNoRecord : chain.back();
      const Hash128 key = trace.keys[blocks[i]];
      const auto protect = [parent](RecordId id) { return id == parent; };
      const Candidate candidate{.key = key,
                                .parent = i == 0 ? Hash128{} : trace.keys[blocks[i - 1]],
                                .has_parent = i > 0,
                                .position = static_cast<std::uint32_t>(i * options.block_tokens),
                                .tokens = options.block_tokens};
      if (index.size() >= capacity) {
        const RecordId victim = policy->victim(protect);
        if (victim == kNoRecord || !policy->admit(candidate, victim)) break;
        const RecordId above = index[victim].parent;
        policy->ceased_leaf(victim);
        policy->erased(victim, true);
        index.erase(victim);
        if (above != kNoRecord && index[above].children() == 0) policy->became_leaf(above);
        ++row.evictions;
      }
      const RecordId id = index.insert(key, parent, Kind::block);
      BlockRecord& record = index[id];
      record.last_use = clock;
      record.units = 1;
      record.tokens = static_cast<std::uint16_t>(std::min(options.block_tokens, 65535u));
      record.depth = static_cast<std::uint16_t>(std::min<std::size_t>(i, 65535));
      if (parent != kNoRecord) policy->ceased_leaf(parent);
      policy->inserted(id);
      policy->became_leaf(id);
      chain.push_back(id);
      ++row.blocks_written;
    }
    for (std::size_t first = i; i < blocks.size(); ++i) {
      const bool follows = i == first && i > 0;  // one that is stored
      policy->refused({.key = trace.keys[blocks[i]],
                       .parent = follows ? trace.keys[blocks[i - 1]] : Hash128{},
                       .has_parent = follows,
                       .position = static_cast<std::uint32_t>(i * options.block_tokens),
                       .tokens = options.block_tokens});
    }
    policy->end(chain);
  }
  row.hit_percent = 100.0 * static_cast<double>(hits) / static_cast<double>(trace.blocks);
  row.cost_hit_percent = 100.0 * cost_hits / cost;
  row.tokens_saved = hits * options.block_tokens;
  row.written_ratio =
      static_cast<double>(row.blocks_written) / static_cast<double>(trace.keys.size());
  return row;
}

}  // namespace

std::vector<std::string> replay_policies() {
  return {"value", "lru", "decayed_hits", "arc", "2q", "gdsf", "aged_frequency", "belady"};
}

Result<ReplayReport> replay_trace(ByteView trace_jsonl, const ReplayOptions& options) {
  if (options.block_tokens == 0) return Error(Errc::invalid, "replay: block_tokens is 0");
  if (!(options.attention_tokens > 0)) {
    return Error(Errc::invalid, "replay: attention_tokens is not above 0");
  }
  const std::vector<std::string> known = replay_policies();
  const std::vector<std::string>& names = options.policies.empty() ? known : options.policies;
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      std::string there_are;
      for (const std::string& k : known) there_are += (there_are.empty() ? "" : ", ") + k;
      return Error(Errc::invalid, "replay: no policy '" + name + "'; there are " + there_are);
    }
  }
  for (const double percent : options.budgets_percent) {
    if (!(percent > 0 && percent <= 1e6)) {
      return Error(Errc::invalid, "replay: a budget is a percentage above 0");
    }
  }
  TOKVAULT_ASSIGN(const Trace trace, parse_trace(trace_jsonl, options.block_tokens));
  ReplayReport report;
  report.requests = trace.requests.size();
  report.requests_too_short = trace.too_short;
  report.partial_blocks = trace.partial_blocks;
  report.blocks = trace.blocks;
  report.unique_blocks = trace.keys.size();
  report.unbounded_hit_percent = run(trace, "lru", trace.keys.size() + 1, options).hit_percent;
  for (const double percent : options.budgets_percent) {
    const auto capacity = std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(static_cast<double>(trace.keys.size()) * percent / 100));
    for (const std::string& name : names) {
      ReplayRow row = run(trace, name, capacity, options);
      row.budget_percent = percent;
      report.rows.push_back(std::move(row));
    }
  }
  return report;
}

}  // namespace tokvault
