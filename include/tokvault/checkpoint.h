// The checkpoint store: KV-cache states by token prefix, on disk, in a budget that holds.
//
// An inference engine asks "what is the longest prefix of this prompt that I need not compute
// again", and gets it back at disk speed. The store is a cache: everything in it can be computed
// again, so it evicts when the budget is full, and a damaged block is a miss, never a wrong byte.
// docs/checkpoint.md is the guide, docs/format/checkpoint.md the format.
#ifndef TOKVAULT_CHECKPOINT_H_
#define TOKVAULT_CHECKPOINT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tokvault/kvc.h"
#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// Under which a checkpoint is valid. Two states are interchangeable only if every field is equal;
// nothing is ever served across namespaces. Put here what changes the bytes of a state, and nothing
// that differs between runs of the same engine (context size, device, free memory, random seeds):
// that would make every lookup after a restart a miss.
struct Namespace {
  std::string model = {};          // weights: name and revision, or a hash
  std::string tokenizer = {};      // name and hash
  std::string chat_template = {};  // where text lookup is used
  std::string dtype = {};          // of the state: "bf16"
  std::string layout = {};  // "layers-first", rank and world size of tensor parallelism, page shape
  std::string lora = {};    // name and version
  std::string tenant = {};  // salt: tenants never see each other's states
  std::string extra = {};   // anything else
  bool operator==(const Namespace&) const = default;
};

enum class Eviction : std::uint8_t {
  value = 0,         // expected recompute cost saved per byte, learned from the traffic
  lru = 1,           // least recently used; 12 bytes a block more memory
  decayed_hits = 2,  // (hits halved every 6 h + 1) x tokens / bytes
};

enum class CheckpointSync : std::uint8_t {
  on_flush =
      0,  // flush() and closing make durable; a crash of the machine may lose what came after
  every_put = 1,  // a put returns when it is durable
};

enum class CheckpointIo : std::uint8_t {
  automatic = 0,  // io_uring where the kernel offers it, else pread
  pread = 1,
  uring = 2,  // `unsupported` where the kernel does not offer it
};

// How payloads are stored. Part of the on-disk format, never renumber (but by_dtype is no codec).
enum class CheckpointCodec : std::uint8_t {
  none = 0,
  zstd = 1,        // for states with repeats: padding, sparse or quantised ones
  plane8 = 2,      // bytes, entropy coded: fp8, int8
  planes16 = 3,    // numbers of two bytes, exponents entropy coded: bf16, fp16
  by_dtype = 255,  // plane8 or planes16 by the namespace's dtype, none if it names neither
};

struct CheckpointOptions {
  // Everything on disk together: states, index, journal, dead space, what is being written. At
  // least 1 MiB. A store that is above it when opened evicts. 0: what it was opened with last by a
  // process that writes; 64 GiB for a new one.
  std::uint64_t budget_bytes = 0;
  // Tokens of a block; fixed when the store is created (0: what the store has, or 256). 16 to 4096.
  std::uint32_t block_tokens = 0;
  Eviction eviction = Eviction::value;
  // Under the budget's pressure, store a block only if it is worth more than what must go for it.
  // Off: everything is stored, and the least valuable goes.
  bool admission = true;
  // The position in the prompt at which computing a token costs twice what it costs at the start.
  // The default is mild: weighing depth as a large dense model does (32,768) saves more computing,
  // and hits fewer blocks.
  double attention_tokens = 1048576;
  CheckpointSync sync = CheckpointSync::on_flush;
  CheckpointIo io = CheckpointIo::automatic;
  // Reads and writes past the page cache. Buffers that are not aligned to 4096 bytes cost a copy.
  bool direct_io = false;
  // How new payloads are stored; one that does not shrink by a sixteenth is stored as it is.
  // Whatever it is, everything that is stored is read. Costs time: docs/checkpoint.md has what it
  // saves.
  CheckpointCodec codec = CheckpointCodec::none;
  // Size of a file of the packed log, bytes, up to 128 GiB; 0: an eighth of the budget, 1 MiB to
  // 256 MiB. A larger record gets a file of its own.
  std::uint64_t segment_bytes = 0;
  // Any number of processes may open a store to read while one writes.
  bool read_only = false;
  // Threads for submit_get and submit_put; started with the first. 1 to 256.
  unsigned threads = 2;
};

// One block (or part of one) for put.
struct CheckpointBlock {
  ByteView payload;    // the state of the block's tokens; 1 byte to 3 GiB
  ByteView text = {};  // rendered bytes of the block's tokens; may be empty
};

struct CheckpointPut {
  // blocks[i] is block first_block + i of the tokens; the last may be partial. Blocks that are
  // stored already are not read, but none may be empty. The blocks before first_block must be
  // stored.
  std::size_t first_block = 0;
  std::span<const CheckpointBlock> blocks = {};
  std::uint64_t time_to_live_ms = 0;  // 0: until evicted
};

struct CheckpointPutReport {
  std::uint32_t blocks_written = 0;
  std::uint32_t blocks_known = 0;    // were there already
  std::uint32_t blocks_refused = 0;  // no room, or not worth what would have to go
  std::uint64_t bytes_written = 0;   // to the log, framing counted
  std::uint32_t evicted = 0;         // blocks that made room
};

// The longest stored prefix of a prompt.
struct CheckpointMatch {
  std::uint64_t tokens = 0;       // covered by the blocks, the partial last one included
  std::uint32_t blocks = 0;       // the partial one included
  std::uint32_t tail_tokens = 0;  // of the partial last block; 0 if there is none
};

// One read: `out` gets the payload from `offset` on.
struct CheckpointRead {
  std::uint32_t block = 0;
  std::uint64_t offset = 0;
  std::span<char> out = {};
  // Results:
  // ok, not_found or corrupt (never served, now set aside). Where the machine is short of file
  // descriptors or memory, what could not be read is not_found, and stays.
  Errc status = Errc::not_found;
  std::uint64_t bytes = 0;          // written to `out`: less than out.size() at the payload's end
  std::uint64_t payload_bytes = 0;  // of the whole block
  // Of the block that was read: a partial one may have been replaced since match().
  std::uint32_t tokens = 0;
};

// A state in one piece, for a prefix of any length: KVC files, recurrent states, llama.cpp
// sequences.
struct CheckpointState {
  std::vector<Token> tokens = {};  // may be empty if there is text
  Buffer text = {};                // rendered bytes; may be empty if there are tokens
  Buffer meta = {};                // kept as it is; for KVC the header and the trailer
  std::uint64_t payload_bytes = 0;
};

struct CheckpointStats {
  std::uint64_t blocks = 0;  // full and partial
  std::uint64_t sidecars = 0;
  std::uint64_t states = 0;
  std::uint64_t namespaces = 0;
  std::uint64_t budget_bytes = 0;
  std::uint64_t disk_bytes = 0;    // everything in the folder
  std::uint64_t live_bytes = 0;    // records that can be read
  std::uint64_t index_bytes = 0;   // index files and journal
  std::uint64_t memory_bytes = 0;  // of the index and the eviction policy
  std::uint64_t segments = 0;      // files of the log
  // Since it was opened:
  std::uint64_t lookups = 0;
  std::uint64_t lookup_tokens = 0;
  std::uint64_t hit_tokens = 0;
  std::uint64_t blocks_written = 0;
  std::uint64_t bytes_written = 0;        // to the log, cleaning included
  std::uint64_t index_bytes_written = 0;  // index files and journals
  std::uint64_t bytes_admitted = 0;       // records that were put; cleaning writes some again
  std::uint64_t bytes_coded = 0;          // payloads that were stored coded, before
  std::uint64_t bytes_code = 0;           // and after
  std::uint64_t bytes_read = 0;
  std::uint64_t evicted = 0;
  std::uint64_t refused = 0;
  std::uint64_t quarantined = 0;
  bool uring = false;  // io_uring serves the reads
  bool hole_punching = true;
};

// How much of a prompt matched, and why no more.
struct CheckpointExplanation {
  CheckpointMatch match;
  std::uint64_t prompt_tokens = 0;
  // Why the match ended. "complete": it did not, the whole prompt is stored. Otherwise the first of
  // these that is true of the block at which it ended (of a last one that is partial, with exactly
  // the tokens that the prompt has). What became of it, which is remembered of the last 65,536 or
  // fewer: "quarantined" (damaged), "evicted", "removed", "expired", "no_room" (refused, because
  // budget or disk was full). "other_namespace": another one has more of the prompt, whether
  // anything was ever put under this one or not. "never_stored": never put, or not worth what would
  // have had to go for it, or nobody remembers. "unknown_namespace": nothing was ever put under it.
  std::string reason;
  std::string detail;            // a sentence
  bool sidecar_missing = false;  // the sidecar that was asked for is not at the matched boundary
  std::uint64_t sidecar_tokens = 0;  // the longest boundary that has it
};

struct CheckpointEntry {
  std::string kind;  // "block", "tail", "sidecar", "state"
  std::string key;   // 32 hexadecimal digits
  std::string parent;
  Namespace name_space;
  std::uint64_t position = 0;  // tokens before it
  std::uint64_t tokens = 0;
  std::uint64_t disk_bytes = 0;
  std::uint32_t hits = 0;
  std::uint32_t children = 0;
};

struct CheckpointCheck {
  std::uint64_t checked = 0;
  std::uint64_t bad = 0;  // set aside, unless read-only
  std::vector<std::string> findings;
};

// The completion of an asynchronous call.
struct CheckpointCompletion {
  std::uint64_t id = 0;
  Errc status = Errc::ok;    // cancelled if cancel() came first
  std::uint64_t tokens = 0;  // get: tokens of the leading blocks that were read whole
  CheckpointPutReport put;
};

// Threads: all methods from any thread at once. Puts are taken one at a time.
// Processes: one may write (a second gets `busy`, which names the holder), any number may read; a
// reader sees what the writer published when the reader's call began; its uses count for eviction
// if it may write to the folder, but what it reads may go meanwhile, which is a miss. Lifetime:
// buffers that are handed in are borrowed for the call; for an asynchronous call until its
// completion was taken. Nothing that is returned points into the store. Errors: a damaged block is
// a miss, not an error. A full disk or budget makes put evict, and then refuse (`exhausted`); the
// store goes on. A write that fails otherwise fails that put (`io`). Limits: 4 billion blocks,
// 65,535 namespaces in at most an eighth of the budget (their names are never forgotten; one more
// is `exhausted`), 3 GiB a block; docs/format/checkpoint.md.
class CheckpointStore {
 public:
  // Opens the folder, or creates it (not if read-only). `invalid` if there are files in it that
  // are no store's.
  static Result<std::unique_ptr<CheckpointStore>> open(const std::string& directory,
                                                       const CheckpointOptions& options = {});
  // Flushes, as close() without its report.
  ~CheckpointStore();
  CheckpointStore(const CheckpointStore&) = delete;
  CheckpointStore& operator=(const CheckpointStore&) = delete;

  std::uint32_t block_tokens() const;

  // --- blocks ---
  // The longest stored prefix. Answers from memory; damage shows when the blocks are read.
  // Counts as a lookup in the statistics, not as a use: get and touch do.
  Result<CheckpointMatch> match(const Namespace& name_space, TokenView tokens);
  // Reads payloads of blocks of this prompt. Stored token ids and checksums are compared before a
  // byte counts as read; `out` of a read that failed is zeroed. A damaged block is removed with all
  // that stands behind it. Returns how many tokens the leading run of good reads covers, where the
  // reads are of blocks 0, 1, 2, ... in order (0 if they are not). A call is one use of the blocks
  // up to the last one with an `out`: without any it asks for sizes, which is none.
  Result<std::uint64_t> get(const Namespace& name_space, TokenView tokens,
                            std::span<CheckpointRead> reads);
  // Stores what is not there yet. A partial last block replaces the one that it extends.
  // `not_found` if the blocks before first_block are not stored; `invalid` if blocks and tokens do
  // not fit together, or a payload is empty or too large: then nothing is stored. What is refused
  // for want of worth is no error; for want of room `exhausted`.
  Result<CheckpointPutReport> put(const Namespace& name_space, TokenView tokens,
                                  const CheckpointPut& put);

  // Several prompts in one call, in order; a failure does not stop the ones behind it.
  std::vector<Result<CheckpointMatch>> match_batch(const Namespace& name_space,
                                                   std::span<const TokenView> prompts);

  // --- by rendered text ---
  // The longest stored prefix by bytes: the blocks' exact tokens, and how many bytes they cover.
  // Cut between two bytes of text, not inside a block. Blocks stored without text are not found.
  struct TextMatch {
    std::uint64_t bytes = 0;
    std::vector<Token> tokens;
  };
  Result<TextMatch> match_text(const Namespace& name_space, ByteView text);

  // Reads the text of every block of the namespace that was put with one, and hands it to `visit`
  // with the tokens before it, until that returns false. The order is not specified; damaged blocks
  // are passed over. The callback may call the store.
  Status visit_texts(const Namespace& name_space,
                     const std::function<bool(std::uint64_t position, ByteView text)>& visit);

  // --- sidecars: what belongs to a boundary (recurrent state, logits) ---
  // Attached to the end of the stored prefix `tokens`, which must match whole (`not_found` if not).
  // Replaces one of the same name.
  Status put_sidecar(const Namespace& name_space, TokenView tokens, std::string_view name,
                     ByteView payload);
  // The sidecar at exactly this boundary; `not_found` if it is missing or damaged.
  Result<Buffer> get_sidecar(const Namespace& name_space, TokenView tokens, std::string_view name);

  // --- whole states ---
  // Keyed by the tokens if there are any, and found by the text too if there is some. Replaces one
  // of the same key. `invalid` if there are neither tokens nor text, or the payload is empty.
  Status put_state(const Namespace& name_space, const CheckpointState& state, ByteView payload);
  // The state of the longest prefix of the prompt, by tokens, or by rendered bytes. A damaged one
  // is set aside and the next shorter one is tried. `not_found` if there is none. With `payload`
  // the payload is read too, which is a use.
  Result<CheckpointState> find_state(const Namespace& name_space, TokenView prompt,
                                     Buffer* payload);
  Result<CheckpointState> find_state_text(const Namespace& name_space, ByteView prompt,
                                          Buffer* payload);
  // Reads every state of the namespace and hands it to `visit`, until that fails; damaged ones are
  // set aside and passed over. The callback may call the store.
  Status visit_states(const Namespace& name_space,
                      const std::function<Status(const CheckpointState&, ByteView payload)>& visit);

  // --- upkeep ---
  // Keeps the longest stored prefix of `tokens` from eviction until unpin or close; pins nest.
  // Returns how many tokens are kept; the caller unpins with the same number of tokens. A pinned
  // budget is still a budget: puts are refused when nothing else can go.
  Result<std::uint64_t> pin(const Namespace& name_space, TokenView tokens);
  Status unpin(const Namespace& name_space, TokenView tokens);
  // Counts a use of the stored prefix without reading it. Returns its tokens.
  Result<std::uint64_t> touch(const Namespace& name_space, TokenView tokens);
  // Removes the blocks of the prompt that start at or behind `from_tokens`, with everything behind
  // them. Returns how many records went; `busy` if one is pinned or being read: then nothing went,
  // or, where that began while records were removed, what stood behind it.
  Result<std::uint64_t> remove(const Namespace& name_space, TokenView tokens,
                               std::uint64_t from_tokens = 0);
  // Removes everything under a namespace, pinned blocks excepted. These three calls and remove()
  // let others in between: what those pin before it went stays.
  Result<std::uint64_t> remove_namespace(const Namespace& name_space);
  // Removes what outlived its time to live. Also done as part of put.
  Result<std::uint64_t> expire();
  // Evicts until `bytes` are free below the budget. Returns how many records went.
  Result<std::uint64_t> evict(std::uint64_t bytes);

  // --- looking in ---
  Result<CheckpointExplanation> explain(const Namespace& name_space, TokenView tokens,
                                        std::string_view sidecar = {});
  CheckpointStats stats() const;
  // Calls `visit` for every record until it returns false. The store is locked meanwhile: the
  // callback must not call it.
  Status list(const std::function<bool(const CheckpointEntry&)>& visit) const;
  // Reads and verifies every record; bad ones are removed (not if read-only).
  Result<CheckpointCheck> check();

  // --- asynchronous ---
  // As get and put, on the store's threads. Everything that is pointed to must stay until the
  // completion was taken. The id is never 0.
  Result<std::uint64_t> submit_get(const Namespace& name_space, TokenView tokens,
                                   std::span<CheckpointRead> reads);
  Result<std::uint64_t> submit_put(const Namespace& name_space, TokenView tokens,
                                   const CheckpointPut& put);
  // A call that has not started completes as `cancelled` (true); one that runs goes on (false).
  bool cancel(std::uint64_t id);
  // Takes completions; waits up to timeout_ms for the first (0: does not wait). close() ends the
  // wait once every call that was submitted has completed: these are still taken, then none comes,
  // without waiting. Who waits here must be back before the store is destroyed.
  std::size_t take_completions(std::span<CheckpointCompletion> out, std::uint64_t timeout_ms);
  // An eventfd that is readable while completions wait. Owned by the store.
  int completion_fd() const;

  // Makes everything durable, and writes the index if the journal has grown.
  Status flush();
  // Waits for asynchronous calls, flushes, and lets go of the folder. Further calls fail.
  Status close();

  // Part of the implementation, visible to its own files only.
  struct Impl;

 private:
  explicit CheckpointStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Imports every good file of a KVC folder (*.kv) as a state of the namespace. Files are left
// where they are, and one that cannot be read or stored does not stop the ones behind it.
struct KvcTransfer {
  std::uint64_t files = 0;    // came
  std::uint64_t skipped = 0;  // import: were there already; export: states that are no KVC
  std::uint64_t bad = 0;      // do not decode, cannot be read, or have no text or no payload
  std::uint64_t refused = 0;  // did not fit the budget
};
Result<KvcTransfer> import_kvc(CheckpointStore& store, const Namespace& name_space,
                               const std::string& directory);
// Writes every state of the namespace that came from KVC as the file that it was, byte for byte.
Result<KvcTransfer> export_kvc(CheckpointStore& store, const Namespace& name_space,
                               const std::string& directory);

}  // namespace tokvault

#endif  // TOKVAULT_CHECKPOINT_H_
