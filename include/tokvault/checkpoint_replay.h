// Replaying request traces against eviction policies: what a budget and a policy would have saved.
#ifndef TOKVAULT_CHECKPOINT_REPLAY_H_
#define TOKVAULT_CHECKPOINT_REPLAY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

struct ReplayOptions {
  // Budgets, in percent of the trace's unique blocks.
  std::vector<double> budgets_percent = {1, 5, 10, 30};
  // Of replay_policies(); all of them if empty.
  std::vector<std::string> policies;
  // Tokens of a block of the trace, above 0; only whole blocks of the prompt count.
  std::uint32_t block_tokens = 512;
  // As CheckpointOptions::attention_tokens; also weighs the cost-weighted hits.
  double attention_tokens = 1048576;
};

struct ReplayRow {
  std::string policy;
  double budget_percent = 0;
  std::uint64_t budget_blocks = 0;
  double hit_percent = 0;       // of all prompt blocks, those that a cached prefix covered
  double cost_hit_percent = 0;  // the same, weighted with what computing the block costs
  std::uint64_t tokens_saved = 0;
  std::uint64_t blocks_written = 0;
  double written_ratio = 0;  // blocks written / unique blocks
  std::uint64_t evictions = 0;
};

struct ReplayReport {
  std::uint64_t requests = 0;  // those with a whole block
  std::uint64_t blocks = 0;    // their whole blocks
  // Left out:
  std::uint64_t requests_too_short = 0;  // without a whole block
  std::uint64_t partial_blocks = 0;      // of the others, the last one, if it is not whole
  std::uint64_t unique_blocks = 0;
  double unbounded_hit_percent = 0;
  std::vector<ReplayRow> rows;  // by budget, then policy
};

// "value" (the default of the store), "lru", "decayed_hits"; for comparison "arc", "2q", "gdsf" and
// "aged_frequency"; and "belady", the offline optimum on blocks, which is the ceiling. All of them
// evict leaves of the prefix tree only.
std::vector<std::string> replay_policies();

// Replays a trace: JSON lines with "timestamp" (ms), "input_length" (tokens) and "hash_ids" (one
// number a block of the prompt; equal numbers are equal prefix blocks). A block is a hit if it and
// every block before it are cached. `invalid` names the line that is not of this shape.
Result<ReplayReport> replay_trace(ByteView trace_jsonl, const ReplayOptions& options);

}  // namespace tokvault

#endif  // TOKVAULT_CHECKPOINT_REPLAY_H_
