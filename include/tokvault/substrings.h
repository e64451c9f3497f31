// Substrings: runs of tokens that recur in many texts, each under an id of its own.
//
//   SubstringSet set;
//   auto found = find_substrings(source, {});             // runs that pay, from any token data
//   for (const auto& f : *found) (void)set.add(f.tokens, f);
//   auto match = set.longest_match(text.subspan(i));       // the longest run that stands here
//
// A vault keeps such sets (Substrings, below): what many of its packs may copy from.
#ifndef TOKVAULT_SUBSTRINGS_H_
#define TOKVAULT_SUBSTRINGS_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

using SubstringId = std::uint32_t;

// A run is this long at least, since a reference to a shorter one saves little; and at most.
inline constexpr std::size_t kSubstringTokensMin = 16;
inline constexpr std::size_t kSubstringTokensMax = 65'536;
// The most tokens of all runs of a set.
inline constexpr std::size_t kSubstringSetTokensMax = std::size_t{1} << 25;

// Where a run was seen.
struct SubstringCounts {
  std::uint64_t segments = 0;       // different segments that hold it
  std::uint64_t conversations = 0;  // at least so many hold it
  std::int64_t created_ms = 0;      // when it was registered, since 1970
};

struct SubstringInfo : SubstringCounts {
  SubstringId id = 0;
  std::uint64_t tokens = 0;  // how long it is
};

// Runs of tokens with ids from 1 on. An id is never given out twice, even after its run was
// dropped, and no run is there twice.
//
// Threads: const methods from any thread at once. A copy is a set of its own.
class SubstringSet {
 public:
  struct Match {
    SubstringId id = 0;
    std::uint64_t tokens = 0;
    bool operator==(const Match&) const = default;
  };

  // Adds a run and returns its id; of a run that is there, the id that it has, with the larger
  // counts. Takes time and memory for the tokens of the run, however large the set is. `invalid` if
  // it is too short or too long, `exhausted` if the set is full or there are no more ids.
  Result<SubstringId> add(TokenView run, const SubstringCounts& counts);
  // Adds a run under the id that it had elsewhere. `exists` if another run has the id.
  Status add_as(SubstringId id, TokenView run, const SubstringCounts& counts);
  // Drops all others; returns how many. Ids that are not there are of no account.
  std::uint64_t retain(std::span<const SubstringId> ids);
  // Sets what is known of where a run is. `not_found`.
  Status set_counts(SubstringId id, const SubstringCounts& counts);

  // The longest run that `text` begins with. Takes time for the tokens that match, whatever the set
  // holds.
  std::optional<Match> longest_match(TokenView text) const;
  // Every run that `text` begins with, the shortest first, into `out`.
  void all_matches(TokenView text, std::vector<Match>& out) const;
  // The tokens of a run, which live until the set changes. `not_found`.
  Result<TokenView> tokens(SubstringId id) const;
  // By id.
  std::vector<SubstringInfo> list() const;
  // The runs of list(), in its order. They live until the set changes.
  std::vector<TokenView> runs() const;
  std::size_t size() const { return entries_.size(); }
  std::size_t tokens_total() const { return arena_.size(); }
  // The id that the next new run gets.
  SubstringId next_id() const { return next_id_; }
  // No new run gets `id` or one below it: it was given out elsewhere. At most 2^32 - 2.
  void pass_over_ids(SubstringId id) { next_id_ = std::max(next_id_, id + 1); }

  // All of it as bytes, and back. Format: docs/format/substrings.md. `corrupt` if the bytes are no
  // set.
  Buffer serialize() const;
  static Result<SubstringSet> parse(ByteView bytes);

 private:
  struct Entry {
    SubstringInfo info;
    std::size_t begin = 0;  // in arena_
  };
  // A node of a radix tree over the runs: its edge is a piece of arena_.
  struct Node {
    std::size_t edge_begin = 0;
    std::size_t edge_size = 0;
    SubstringId id = 0;  // of the run that ends here; 0: none does
  };
  // Calls `use` with every run that `text` begins with, the shortest first.
  template <class Use>
  void walk(TokenView text, const Use& use) const;
  TokenView view(const Entry& entry) const;
  std::size_t index_of(SubstringId id) const;  // size() if it is not there
  SubstringId& leaf(TokenView run, std::size_t begin);
  std::size_t add_node(std::size_t parent, Token first, const Node& node);

  SubstringId next_id_ = 1;
  std::vector<Entry> entries_;  // by id
  std::vector<Token> arena_;    // all runs
  std::vector<Node> nodes_;
  std::unordered_map<std::uint64_t, std::uint32_t> children_;  // (node, first token) to node
  std::vector<std::uint64_t> starts_;  // bits of hashes of the first tokens of runs: a filter
};

// A segment as references to runs of a set, the longest that stands at each place, and the tokens
// between them. Decoding needs a set that has those ids with the same runs. Format:
// docs/format/substrings.md
Buffer encode_with_substrings(const SubstringSet& set, TokenView tokens);
// `corrupt` if the bytes are damaged or name an id that the set does not have; `exhausted` if the
// segment has more than `tokens_max` tokens. Neither takes memory for tokens that are not there.
Result<std::vector<Token>> decode_with_substrings(const SubstringSet& set, ByteView bytes,
                                                  std::uint64_t tokens_max);

// What find_substrings() is given: the segments of a corpus, each once.
struct TrainingSegment {
  TokenView tokens;
  // Different conversations that hold it: all, or so many that the minimum is reached.
  std::span<const std::uint64_t> conversations;
  // How many hold it, if more than are named.
  std::uint64_t conversation_count = 0;
};
// Calls `visit` with every segment, and the same in the same order at each call. Stops at the first
// error and returns it.
using TrainingSource =
    std::function<Status(const std::function<Status(const TrainingSegment&)>& visit)>;

struct SubstringTraining {
  // A run is kept only if so many conversations hold it, so that what is shared is nobody's own.
  std::uint64_t conversations_min = 4;
  std::uint64_t tokens_max = 1u << 20;      // of all runs that are found
  std::uint64_t run_tokens_max = 4096;      // of one run; longer ones are cut
  std::uint64_t memory_bytes = 256u << 20;  // of tables; less misses more
  double token_bytes = 1.0;                 // what a token costs where it is not shared
  double reference_bytes = 3.0;             // what a reference costs instead
  const SubstringSet* known = nullptr;      // runs that need not be found again
};

struct FoundSubstring : SubstringCounts {
  SubstringId id = 0;  // where a set was measured
  std::vector<Token> tokens;
  std::uint64_t uses = 0;  // places where it is the longest run of those that were found
  double saved_bytes = 0;  // by them, the run itself taken off
};

// Finds runs of at least 16 tokens that recur in different segments and pay, the most saving first.
// Memory is bounded by the options: about memory_bytes and 100 bytes for each token of tokens_max.
// Reads the source five times; see src/dedup/substring_discovery.cc for how and how fast. The same
// source and options give the same runs. `invalid` if an option is.
Result<std::vector<FoundSubstring>> find_substrings(const TrainingSource& source,
                                                    const SubstringTraining& options);

// What the runs of a set do for a corpus: those that still pay and have their conversations, as
// find_substrings() would give them, with their ids.
Result<std::vector<FoundSubstring>> measure_substrings(const TrainingSource& source,
                                                       const SubstringSet& set,
                                                       const SubstringTraining& options);

// A set from the two files of the registry of the reference system (stowken 0.7): an index, which
// is a JSON array of objects with id, length, source_occurrences, offset, bytes and created_at (ISO
// 8601, optional), and the tokens of all runs as varints. `invalid` says which entry is wrong and
// why: it reaches beyond the tokens, they are cut short, overlong, not as many as `length` says, or
// it has the id of another run. A run that is there under several ids, which that registry does not
// prevent, keeps the first of them. Runs above kSubstringTokensMax are passed over. New runs of the
// set get ids above all that the index has.
struct ReferenceSubstrings {
  SubstringSet set;
  std::uint64_t too_long = 0;  // runs that were passed over
};
Result<ReferenceSubstrings> read_reference_substrings(ByteView index_json, ByteView blobs);

// One state of a tenant's set; each is a file.
struct SubstringSetInfo {
  std::uint64_t number = 0;  // of its file: artifacts/NUMBER.artifact
  std::int64_t created_ms = 0;
  std::uint64_t runs = 0;
  std::uint64_t tokens = 0;
  std::uint64_t size_bytes = 0;     // decoded; its file is smaller
  std::uint64_t conversations = 0;  // that it was trained on
  std::uint64_t segments = 0;       // that it was trained on
  bool active = false;
  std::uint64_t files = 0;  // logs and packs that cannot be read without it
};

// What a change did to the set.
struct SubstringChange {
  std::uint64_t number = 0;  // of the set that is active now; 0: there is none
  std::uint64_t added = 0;
  std::uint64_t dropped = 0;
  std::uint64_t runs = 0;  // now
  std::uint64_t tokens = 0;
  double saved_bytes = 0;  // of what was measured, an estimate by the options
  // Of compact(): packs that were rewritten, since they are smaller with the set, and what these
  // took and take on disk.
  std::uint64_t packs = 0;
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
};

// The substrings of a vault, one set for each tenant. A change writes the set anew and makes that
// the active one in one commit; a crash leaves the one before. What was coded with an older state
// stays readable until it is rewritten, and the older state is kept as long.
//
// Threads: as the vault; writes wait for a change, reads go on. Lifetime: the vault outlives it.
// `tenant`, if empty, is the default one.
class Substrings {
 public:
  virtual ~Substrings() = default;

  // The active set; an empty one if there is none.
  virtual Result<std::shared_ptr<const SubstringSet>> active(
      std::string_view tenant = {}) const = 0;
  // The one with this number, active or not. `not_found`.
  virtual Result<std::shared_ptr<const SubstringSet>> get(std::uint64_t number,
                                                          std::string_view tenant = {}) const = 0;
  virtual Result<std::vector<SubstringSetInfo>> list(std::string_view tenant = {}) const = 0;

  // Finds runs in what the tenant has stored and adds them; drops those that some conversations
  // hold, but fewer than four. options.known is the active set. Conversations that others go on
  // from in the same file (a chat that is logged request by request) count as one. `invalid` for
  // options.conversations_min below 4, for this and the next: what a vault shares is nobody's own.
  virtual Result<SubstringChange> train(const SubstringTraining& options,
                                        std::string_view tenant = {}) = 0;
  // Drops what no longer pays, and brings the counts up to date. Then rewrites, each by itself, the
  // sealed packs of up to 5 MB of tokens that become smaller by copying from the set; each is a
  // commit of its own. None is while something is known to be damaged. `progress`: bytes of packs
  // that were tried; `cancelled` if it stops that: what was done stays done.
  virtual Result<SubstringChange> compact(
      const SubstringTraining& options, std::string_view tenant = {},
      const std::function<bool(std::uint64_t done, std::uint64_t total)>& progress = {}) = 0;
  // Drops all runs but these. `not_found` if one is not there; then nothing is dropped. Of none, it
  // drops all, also of a set that is missing or damaged: packs that copy from it stay unreadable.
  virtual Result<SubstringChange> retain(std::span<const SubstringId> ids,
                                         std::string_view tenant = {}) = 0;
  // Adds the runs of another set: under their own ids if the tenant has never had a set, under new
  // ones otherwise. gc() drops those that no conversation of the tenant holds.
  virtual Result<SubstringChange> add(const SubstringSet& set, std::string_view tenant = {}) = 0;
};

}  // namespace tokvault

#endif  // TOKVAULT_SUBSTRINGS_H_
