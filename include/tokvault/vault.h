// Vault: a durable set of conversations whose text is stored once.
#ifndef TOKVAULT_VAULT_H_
#define TOKVAULT_VAULT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/backend.h"
#include "tokvault/catalog.h"
#include "tokvault/conversation.h"
#include "tokvault/dedup.h"
#include "tokvault/dictionary.h"
#include "tokvault/result.h"
#include "tokvault/segments.h"
#include "tokvault/substrings.h"
#include "tokvault/tokenizer.h"
#include "tokvault/types.h"

namespace tokvault {

// What a vault is made with, for ever.
struct CreateOptions {
  // What text is stored as; required. A vocabulary that does not ship with tokvault is kept in the
  // vault.
  std::shared_ptr<const Tokenizer> tokenizer{};
  // What make_tokenizer() made it of, required for such a vocabulary; empty for one that ships.
  Buffer rank_file{};     // as bytes of a .tiktoken file, up to 256 MB
  std::string pattern{};  // whose splitter it uses: "cl100k_base" or "o200k_base"
};

struct VaultOptions {
  bool read_only = false;                   // any number of readers beside the one writer
  Level level = Level::balanced;            // effort for what this process writes and seals
  std::uint64_t log_bytes_max = 16u << 20;  // a log is sealed into a pack at this size
  std::uint64_t conversation_bytes_max = 64u << 20;  // a larger one is refused: `exhausted`
  // The most that decoded tables, dictionaries and artifacts take. Absent: 384 MB for a reader, 192
  // MB for a writer, which needs memory for sealing and merging too.
  // One entry larger than this, such as the model of a dense pack, is kept beside the others.
  std::optional<std::uint64_t> cache_bytes{};
  // That put_batch() looks up and tokenises with; 0: as many as cores. Nothing else goes by it,
  // making packs neither.
  unsigned threads = 0;
  // Packs of a tenant that sealing made are merged in the background, with those that are like
  // them, once they take this much on disk and weigh a quarter of what was merged before. It writes
  // each byte some five times in all, takes memory for 128 MB of text and room for the packs that
  // it takes. UINT64_MAX: never; then packs stay up to twice as large until they are compacted.
  std::uint64_t merge_bytes_min = 256u << 10;
  // Calls over many conversations leave out what damage has taken, instead of failing with
  // `corrupt`; damage() says what that is.
  bool keep_going = false;
  // Resolves the vault's tokenizer when it is not kept in the vault.
  TokenizerOptions tokenizer_options{};
};

struct PutOptions {
  std::string tenant{};  // a text of up to 255 bytes; empty: the default tenant
  bool replace = false;  // a stored conversation of this id with other content is superseded
  // put_batch() stores nothing that comes after a refused one, nor the progress.
  bool stop_at_refused = false;
};

// What became of one put.
struct PutResult {
  enum class Outcome : std::uint8_t { stored, unchanged, replaced };
  std::string id;
  Outcome outcome = Outcome::stored;
};

// Which conversations: all conditions must hold; an empty one holds always.
struct Filter {
  std::string tenant{};  // empty: the default tenant
  std::string model{};
  std::string application{};
  std::vector<std::string> tags{};         // all of them
  std::int64_t time_from_ms = INT64_MIN;   // since 1970, UTC; inclusive
  std::int64_t time_until_ms = INT64_MAX;  // exclusive
};

// A conversation without its content.
struct Summary {
  std::string id;
  std::string model;
  std::string application;
  std::int64_t time_ms = 0;  // since 1970, UTC
  std::uint64_t messages = 0;
  std::uint64_t tokens = 0;          // of all texts and token arrays
  std::uint64_t text_bytes = 0;      // of all texts
  std::uint64_t sequence = 0;        // order of writing; grows with every version
  std::uint64_t first_sequence = 0;  // of its first version; the order of list and export
  std::vector<std::string> tags;
};

struct Page {
  std::vector<Summary> conversations;
  std::string cursor;  // hand it to the next call; empty at the end
};

// Where an import stands, kept with the data that it has stored.
struct ImportProgress {
  Buffer source;            // identifies the input; like state_hash, of at most 4,095 bytes
  std::uint64_t lines = 0;  // handled so far
  std::uint64_t bytes = 0;  // uncompressed, handled so far
  Buffer state_hash;        // of those bytes, to see that the input is still the same
  bool finished = false;    // forget the record
};

struct SavingBytes {
  std::uint64_t exact = 0;        // text bytes not stored again because the segment was there
  std::uint64_t prefix = 0;       // of these, by sharing a prefix of messages
  std::uint64_t compression = 0;  // text bytes of stored segments less their bytes on disk
};

struct VaultStats {
  std::uint64_t conversations = 0;
  std::uint64_t messages = 0;
  std::uint64_t segments = 0;        // stored
  std::uint64_t tokens_logical = 0;  // of all conversations: counted as often as they occur
  std::uint64_t tokens_stored = 0;   // of all stored segments
  std::uint64_t text_bytes = 0;      // of all conversations
  std::uint64_t forgotten = 0;       // conversations and versions that gc would erase
  std::uint64_t tenants = 0;         // that these numbers are of
  std::uint64_t held_segments = 0;   // that somebody holds by themselves (segments.h)
  std::uint64_t holds = 0;           // of all holders
  // Bytes on disk by kind; `total` is all of them and everything else in the vault.
  std::uint64_t log_bytes = 0;
  std::uint64_t pack_bytes = 0;
  std::uint64_t pack_text_bytes = 0;      // of these, blocks and dictionaries
  std::uint64_t pack_table_bytes = 0;     // of these, tables and framing
  std::uint64_t catalog_bytes = 0;        // and what else is no file of another kind
  std::uint64_t leftover_bytes = 0;       // of interrupted rewrites, or of one that goes on now
  std::uint64_t damaged_bytes = 0;        // packs that cannot be opened, and what repair put aside
  std::uint64_t artifact_bytes = 0;       // the vault's own vocabulary and what follows
  std::uint64_t dictionary_bytes = 0;     // of these, dictionaries
  std::uint64_t substring_set_bytes = 0;  // sets of substrings
  std::uint64_t total_bytes = 0;
  std::uint64_t logs = 0;
  std::uint64_t packs = 0;
  // Merging in the background (VaultOptions::merge_bytes_min).
  std::uint64_t unmerged_packs = 0;       // that stand as sealing made them
  std::uint64_t unmerged_bytes = 0;       // on disk
  std::uint64_t merge_due_bytes = 0;      // of packs that a writer with these options merges next
  std::uint64_t merge_running_bytes = 0;  // of packs that this writer merges now
  std::uint64_t merges = 0;               // that this writer has finished since it was opened
  SavingBytes saved;
};

// One row of a sum over conversations.
struct UsageRow {
  std::string model;
  std::string application;
  std::string day;  // "2026-11-21" UTC, empty if not grouped by day
  std::uint64_t conversations = 0;
  std::uint64_t messages = 0;
  std::uint64_t tokens = 0;
};

struct UsageQuery {
  Filter filter{};
  bool by_model = true;
  bool by_application = false;
  bool by_day = false;
};

// A live file.
struct FileInfo {
  enum class Kind : std::uint8_t { log, pack, artifact };
  std::string name;  // "packs/00000002.pack"
  Kind kind = Kind::log;
  std::optional<std::string> tenant;  // whose; a log is everybody's
  std::uint64_t bytes = 0;            // on disk
  // Of logs and packs. Versions, those included that nobody sees any more and gc would erase.
  std::uint64_t conversations = 0;
  std::uint64_t segments = 0;
  std::uint64_t tokens_stored = 0;
  std::int64_t time_first_ms = 0;  // of its conversations, if there are any; since 1970, UTC
  std::int64_t time_last_ms = 0;
  // Of packs; the first version of the format does not say the level.
  std::optional<Level> level;
  bool is_compacted = false;  // by a compaction, not by sealing
  std::string damage;         // what damage() says of it; empty: nothing
};

// A finding of check().
struct Finding {
  std::string file;
  Errc code = Errc::corrupt;
  std::string message;
};

struct CheckOptions {
  bool read_data = false;  // decode every segment, not only the structures
};

struct RepairOptions {
  // Of a log that lacks an artifact, missing or damaged, packs are made with what can be read, and
  // it is put aside like any damaged log. Otherwise it stays, and is whole once a copy of the
  // artifact is back.
  bool give_up_logs = false;
};

struct CheckReport {
  std::uint64_t files = 0;
  std::uint64_t conversations = 0;
  std::uint64_t segments = 0;
  std::uint64_t holds = 0;        // each of which must have its segment
  std::vector<Finding> findings;  // empty: sound
  // Conversations that cannot be read whole, by id where the tables can be read. Those of a file
  // that the system does not let be read (a finding with `denied` or `io`) are not counted.
  std::vector<std::string> lost_ids;
  std::uint64_t lost_conversations = 0;
};

struct GcReport {
  std::uint64_t files = 0;          // rewritten or removed (or that would be)
  std::uint64_t conversations = 0;  // versions erased
  std::uint64_t bytes_before = 0;   // of all packs, and of logs that hold something
  std::uint64_t bytes_after = 0;    // the same; 0 after a dry run
};

struct CompactOptions {
  Level level = Level::balanced;
  // Packs become no larger than this on disk, but for one conversation alone; 0: as they come, at
  // most 64 MB of text each.
  std::uint64_t pack_bytes_max = 0;
  // Only packs whose conversations are all older than this time (ms since 1970, UTC); what is in
  // logs counts as new.
  std::int64_t older_than_ms = INT64_MAX;
  // Trains a dictionary and a set of substrings on what a tenant has, and uses the one that makes
  // its packs smaller by more than it takes, in place of what was active; if none does, the active
  // set of substrings goes where it does not pay either. Packs that would stay as they are stay.
  bool retrain = false;
  // Packs that together take so much memory, about, are merged in one step, besides some 100 MB for
  // encoding one. More of a tenant takes several steps, each of what is alike, which share no text.
  std::uint64_t memory_bytes = 320u << 20;
};

// What packs may copy from, as compact() with `retrain` found it.
struct RetrainTrial {
  // "active" (what is), "none" (without the active set), "dictionary" or "substrings" (new ones).
  std::string artifact;
  std::uint64_t number = 0;          // of a new one that is used now; 0: it was given up
  std::uint64_t artifact_bytes = 0;  // on disk, of what would be there for its sake
  // What the tokens of the packs would take with it, by a quick code of some of them.
  std::uint64_t token_bytes = 0;
  double seconds = 0;  // of training and trying it
  bool chosen = false;
};

// What retraining did for the packs of one step.
struct RetrainReport {
  std::string tenant;
  std::vector<RetrainTrial> trials;  // empty if there was nothing to try
  // What the packs that were made copy from artifacts of the chosen kind saved, and what those
  // take.
  std::uint64_t saved_bytes = 0;
  std::uint64_t artifact_bytes = 0;
  bool changed = false;  // another artifact is active now, or one less
  std::string reason;    // for people: why so
};

struct CompactReport : GcReport {
  std::vector<RetrainReport> retrained;  // for each step, with CompactOptions::retrain
};

// How likeness of conversations is measured. Both look at the texts of all messages together, as
// token ids, wherever they stand in the conversation.
enum class Likeness : std::uint8_t {
  // The Jaccard similarity of the bigrams of two conversations: they are alike as wholes. Estimated
  // by MinHash, with a standard error of 0.03.
  minhash,
  // The part of the smaller conversation that stands in the larger one: what is repeated with more
  // around it counts. Measured by anchors, which runs of 8 tokens choose by their hashes.
  anchors,
};

struct NearOptions {
  Filter filter{};  // among which; its tenant is that of the id
  Likeness method = Likeness::minhash;
  double threshold = kNearDuplicateThreshold;  // at least so similar
  std::uint64_t limit = 10;                    // at most so many, up to 100,000
  // To remember sketches of segments that several conversations have.
  std::uint64_t memory_bytes_max = 64u << 20;
};

struct NearConversation {
  Summary summary;
  double similarity = 0;  // 0 to 1
};

struct DuplicateOptions {
  Filter filter{};
  Likeness method = Likeness::minhash;
  double threshold = kNearDuplicateThreshold;
  // `exhausted` if it does not suffice: minhash takes 0.75 KB for each conversation that is like no
  // other, and for any of them both take up to 50 bytes and twice its id. With less memory anchors
  // are estimated from a part of them.
  std::uint64_t memory_bytes_max = 256u << 20;
};

struct DuplicateMember {
  std::string id;
  double similarity = 1;     // to the representative
  std::uint64_t tokens = 0;  // of all its texts
};

// Conversations that are each like one of them.
struct DuplicateGroup {
  // The first that came (minhash), or the largest (anchors).
  DuplicateMember representative;
  std::vector<DuplicateMember> duplicates;  // the others, in the order of list()
  std::uint64_t duplicate_tokens = 0;       // of the others
};

struct DuplicateReport {
  std::uint64_t conversations = 0;  // looked at
  std::uint64_t tokens = 0;
  std::uint64_t groups = 0;      // of at least two
  std::uint64_t duplicates = 0;  // conversations that are like the representative of their group
  std::uint64_t duplicate_tokens = 0;
  // So often half of the anchors were left out for want of memory.
  unsigned halvings = 0;
};

// Where the tokens of conversations were found when they came; each is counted once, under the
// first of these that fits. `near` and `substring` are measured by anchors, among the texts of one
// file.
struct TokenOrigins {
  std::uint64_t tokens = 0;     // as often as they occur; the sum of what follows
  std::uint64_t prefix = 0;     // in messages that begin an earlier conversation too
  std::uint64_t exact = 0;      // in texts that were stored already
  std::uint64_t near = 0;       // in texts of which an earlier one has at least 85 %
  std::uint64_t substring = 0;  // in passages of other texts that an earlier one has
  std::uint64_t novel = 0;
};

// What the streams of packs, or the frames of logs, of one kind, codec and artifacts take.
struct StoredStream {
  std::string stream;                    // of packs "tokens" or "bytes", else "log"
  std::string codec;                     // "zstd", "token_model", "token_lz" or "zstd_bases"
  std::vector<std::uint64_t> artifacts;  // numbers of those that decoding needs
  std::uint64_t files = 0;               // packs or logs
  std::uint64_t frames = 0;              // dictionaries and blocks
  std::uint64_t code_bytes = 0;          // before the codec: tokens as bytes
  std::uint64_t disk_bytes = 0;
};

// What each mechanism saves in packs, in bytes on disk. They are steps of one chain: each is what
// the texts would take without it and those after it, less what they take with it and without
// those after it. So `alone` less all of them is `disk`, and the last two are what retiring the
// artifacts would cost.
//
// Measured by coding streams again, each with one mechanism less, at the level of their pack. What
// several mechanisms saved together is shared out by a quick code of each text: by itself, and
// after all texts before it. `prefix` and `exact` are tokens that were not stored again, at what
// the stored ones take by themselves on average. What logs hold is not measured: they become packs.
struct DiskSavings {
  std::uint64_t alone = 0;          // each text of each conversation, coded by itself by zstd
  std::uint64_t prefix = 0;         // by storing the same messages once
  std::uint64_t exact = 0;          // the same text
  std::uint64_t near = 0;           // by copying from texts that are nearly the same
  std::uint64_t substring = 0;      // passages
  std::uint64_t context = 0;        // whatever else texts that are coded together have in common
  std::uint64_t model = 0;          // by the token LZ and token models, instead of zstd
  std::uint64_t dictionary = 0;     // by copying and learning from dictionaries (dictionary.h)
  std::uint64_t substring_set = 0;  // and sets of substrings (substrings.h)
  std::uint64_t disk = 0;           // what the streams take
  // Of near, substring and context: what blocks copy from the dictionary of their pack, and from
  // bases of their own. A pack that is one text has no blocks.
  std::uint64_t pack_dictionary = 0;
  std::uint64_t bases = 0;
  std::uint64_t code_bytes = 0;      // of tokens, in packs
  std::uint64_t measured_bytes = 0;  // of these; the others are taken to be like them
};

struct Explanation {
  std::uint64_t conversations = 0;
  TokenOrigins origins;
  DiskSavings saved;
  std::vector<StoredStream> streams;
  std::uint64_t pack_bytes = 0;
};

struct ConversationExplanation {
  Summary summary;
  std::string file;  // log or pack
  TokenOrigins origins;
  std::uint64_t code_bytes = 0;  // of the texts that are stored for it
  // How the tokens of its file are coded, and the share of these texts in what that takes: in a
  // pack by a quick code of all texts in their order, in a log by the size of their codes. A log
  // names all artifacts that its frames use.
  std::string codec;
  std::vector<std::uint64_t> artifacts;
  std::uint64_t disk_bytes = 0;
  // Of its tokens: its share, in the same way, in what was saved in its pack. Nothing in a log.
  DiskSavings saved;
};

// Called now and then by long operations with (done, total) in bytes; false stops them with
// `cancelled`, at a point where nothing is half done. On the thread of the call, which may hold the
// vault's locks: it must not call the vault, which would wait for itself, and must not throw.
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

// A durable set of conversations.
//
// Threads: all methods may be called from any thread at once. A commit waits for the reads that
// have begun, and reads that begin then wait for it; stats(), usage() and a page of list() are one
// read each.
// Processes: one writing Vault and any number of read-only ones, which see new commits. It writes
// in the process that opened it: in a child that was forked, every call that may write is `denied`,
// and reading is only safe if no other thread was in a call at the fork. Destroying it there is
// always safe: it gives up the child's share of the lock and waits for nothing; memory and open
// files stay until the child ends. The child may open a Vault of its own.
// Lifetime: owns its backend and catalog; everything returned is a copy.
// Damage: a call that needs what cannot be read fails with `corrupt`, and the others do not.
// Reading only: of a read_only vault and a snapshot every call that may write is `denied`; a dry
// run of gc() is none. What can be said of the arguments alone may come first: `invalid` and
// `exhausted` of levels, segments, holders, dictionaries and sets of substrings, `not_found` of
// segments to replace. Failure: after a failed write to the log every further write fails until the
// vault is opened again; reading goes on. What failed may be stored then: nobody can tell whether
// the disk took it (the same put again is `unchanged` or stores it). Limits:
// docs/architecture.md#limits.
class Vault {
 public:
  // Makes an empty vault; durable when it returns. `exists` if there is one, or files of one;
  // `busy` if another process writes there; `invalid` without a tokenizer, or with one that open()
  // could not make again: one that does not ship needs its rank file and pattern. A rank file is
  // read for that, as make_tokenizer() does it.
  static Status create(Backend& backend, Catalog& catalog, const CreateOptions& options);
  // Opens a vault. `busy` if another process writes to it and options.read_only is false,
  // `not_found` if there is none, `unsupported` if a newer version wrote it, `invalid` without a
  // backend or a catalog, or with a level that is none. Without its tokenizer, or with another of
  // that name, a writer fails, and a reader opens and reads no texts.
  static Result<std::unique_ptr<Vault>> open(std::unique_ptr<Backend> backend,
                                             std::unique_ptr<Catalog> catalog,
                                             const VaultOptions& options);
  // Rebuilds the catalog from logs, packs and artifacts, whatever state it is in. Takes the writer
  // lock. The report lists what could not be read. `progress`: bytes of packs that have been read;
  // `cancelled` if it stops that, before anything was changed or when the catalog is made;
  // `unsupported` if a newer version wrote one of the files, before anything was changed. A file
  // that the disk does not give out is not put aside, but an error. After a failure the next one
  // ends the work.
  static Result<CheckReport> repair(Backend& backend, Catalog& catalog,
                                    const RepairOptions& options = {},
                                    const Progress& progress = {});
  // Of a writer: writes what put_async() took, as flush() does but without its report; waits until
  // the log that is being made a pack is one, and breaks off a merge (finish_merging() waits for
  // it). What could not be written is lost with it, so who wants to know calls flush() before. The
  // log stays as it is: seal() makes a pack of it. Then the next writer may open the vault.
  // No call may be running, and snapshots must be gone.
  virtual ~Vault() = default;

  // Stores a conversation; durable when it returns. Concurrent calls share a sync. Without an id
  // one is made, "TIME-NUMBER", ordered by time, with "-2" or so where that is taken; the result
  // says it. `exists` if its id is there with other content and replace is false; the same content
  // is `unchanged`, and what is there stays as it is: that is content that is equal as JSON,
  // however forms and values divide it. `invalid` for an id, model or application that is no text,
  // a tenant that is none or has more than 255 bytes, a time outside the years 1 to 9999, a form
  // that does not fit its values, and arrays that do not fit the tokens of the content. `exhausted`
  // above conversation_bytes_max, kMessagesMax or kValuesMax.
  virtual Result<PutResult> put(const Conversation& conversation, const PutOptions& options) = 0;
  // The same for many, as one commit, in order. One outcome each; a refused one (`exists`,
  // `invalid`, `exhausted`) does not stop the others, unless the options say so: then those after
  // it are `cancelled`. `progress`, if given, is committed with them.
  virtual Result<std::vector<Result<PutResult>>> put_batch(
      std::span<const Conversation> conversations, const PutOptions& options,
      const ImportProgress* progress = nullptr) = 0;
  // Takes a conversation for writing and returns before it is durable. What put() refuses without
  // looking at the vault or the tokens (`invalid`, `exhausted`) is refused at once, and not taken.
  // When 256 wait, or about 64 MB of memory, the call that brings the last of them writes all:
  // then it is as slow as a put_batch() of them, and fails if that write does.
  virtual Status put_async(Conversation conversation, const PutOptions& options) = 0;
  // Makes durable all that put_async() took before it, and reports the first error since the last
  // call: of one that was refused alone (`exists`, say; the message names its id), while the others
  // are stored, or of a failed write. It also reports if a log could not be made a pack, or packs
  // could not be merged, in the background: no write is lost by that, but logs add up. It does not
  // wait for either.
  virtual Status flush() = 0;

  // Adds messages to the end of a conversation, as a new version of it; durable when it returns.
  // `not_found` if the id is not there; `invalid` and `exhausted` as put() says, of the whole. It
  // reads and stores all of the conversation: its cost grows with what is there.
  virtual Status append(std::string_view id, std::span<const Message> messages,
                        std::string_view tenant = {}) = 0;

  // The conversation, or `not_found`. Equal to what was put, but that its form is never empty, and
  // its id and time are those that were made if it had none. After a put that was `unchanged`, with
  // replace or not, it is what the first one put: equal as JSON, perhaps in other forms and values.
  virtual Result<Conversation> get(std::string_view id, std::string_view tenant = {}) const = 0;
  // The same for many, in order.
  virtual Result<std::vector<Result<Conversation>>> get_batch(
      std::span<const std::string> ids, std::string_view tenant = {}) const = 0;
  // The conversation with every text as token ids (Hole::text becomes Hole::tokens).
  virtual Result<Conversation> get_tokens(std::string_view id,
                                          std::string_view tenant = {}) const = 0;
  // All but the content, from tables alone: no text is decoded. `not_found`.
  virtual Result<Summary> summary(std::string_view id, std::string_view tenant = {}) const = 0;

  // A page of at most `limit` (1 to 100,000) conversations in the order in which they first came;
  // an empty one for a tenant that is not there. `invalid` for a cursor that list() did not give.
  // `corrupt` if a damaged log or pack may have held more of the tenant, for this and the next two,
  // unless VaultOptions::keep_going.
  virtual Result<Page> list(const Filter& filter, std::uint64_t limit,
                            std::string_view cursor = {}) const = 0;
  // Calls `visit` with every matching conversation in the order of list(), decoding each block once
  // where neighbours share it; `visit` returns false to stop. It may call the vault, and must not
  // throw. `invalid` without it.
  virtual Status scan(
      const Filter& filter,
      const std::function<bool(const Summary&, Result<Conversation>)>& visit) const = 0;
  // Sums over the conversations of a filter, a row for each group, ordered by model, application
  // and day; none for a tenant that is not there. Packs keep such sums, so that it costs little
  // unless a filter of time or tags cuts through them.
  virtual Result<std::vector<UsageRow>> usage(const UsageQuery& query) const = 0;
  // The names of all tenants that ever stored something, and of the default one. A put that is
  // refused for what it is (`invalid`, `exhausted`), or of nothing, makes none.
  virtual Result<std::vector<std::string>> tenants() const = 0;

  // Conversations that are like the one with this id, the most similar first; not itself.
  // `not_found` if there is none. Reads every text of the filter once, the dearest thing that a
  // reader can ask for.
  virtual Result<std::vector<NearConversation>> find_near(std::string_view id,
                                                          const NearOptions& options,
                                                          const Progress& progress = {}) const = 0;
  // Groups of near-duplicates, the largest first. `visit` is called with each of them until it
  // returns false, as that of scan() is; the report counts all. A conversation is in one group at
  // most, and at least as similar to its representative as the threshold says. Of conversations
  // that hover about the threshold some are missed: MinHash finds a partner of 0.85 with
  // probability 0.99.
  virtual Result<DuplicateReport> find_duplicates(
      const DuplicateOptions& options, const std::function<bool(const DuplicateGroup&)>& visit,
      const Progress& progress = {}) const = 0;

  // Where the tokens of a tenant's conversations come from, what its packs take, by codec, and what
  // each mechanism saves. Decodes every text once, and codes up to some 8 MB of tokens again.
  // `not_found` if there is no such tenant.
  virtual Result<Explanation> explain(std::string_view tenant = {},
                                      const Progress& progress = {}) const = 0;
  // The same for one of them; decodes its file, and codes up to 8 MB of its tokens again.
  virtual Result<ConversationExplanation> explain_conversation(
      std::string_view id, std::string_view tenant = {}) const = 0;

  // Adds and removes tags, texts of 1 to 255 bytes; what is there is not added again, what is not
  // there not removed. `not_found` if an id is not there, `invalid` for a tag that is both added
  // and removed; then nothing is changed.
  virtual Status tag(std::span<const std::string> ids, std::span<const std::string> add,
                     std::span<const std::string> remove, std::string_view tenant = {}) = 0;

  // Makes conversations unreadable at once and durably; gc() erases their bytes. Returns how many;
  // ids that are not there are passed over, and none of a filter is 0.
  virtual Result<std::uint64_t> forget(std::span<const std::string> ids,
                                       std::string_view tenant = {}) = 0;
  virtual Result<std::uint64_t> forget(const Filter& filter) = 0;

  // Segments by themselves (segments.h). Each call is one commit: all of it or nothing.
  //
  // Stores segments and holds them; durable when it returns. What is there is not written again.
  // `exhausted`, with nothing stored, if one is larger than conversation_bytes_max or all are
  // larger than 1 GB.
  virtual Result<std::vector<SegmentPut>> put_segments(std::span<const Segment> segments,
                                                       const HoldOptions& options = {}) = 0;
  // The segments in order, or `not_found` for each that is not there.
  virtual Result<std::vector<Result<Segment>>> get_segments(std::span<const SegmentId> ids,
                                                            std::string_view tenant = {}) const = 0;
  // Whether they are there. One that somebody holds is found at once; any other is looked for in
  // the tables of every file, which a call with many does once for each of them.
  virtual Result<std::vector<bool>> has_segments(std::span<const SegmentId> ids,
                                                 std::string_view tenant = {}) const = 0;
  // Who holds a segment, and how many conversations have it: reads the tables of all files.
  virtual Result<SegmentInfo> segment_info(const SegmentId& id,
                                           std::string_view tenant = {}) const = 0;
  // Holds segments that are there, of conversations for instance. Returns how many this holder did
  // not hold before. `not_found` if one is not there; then nothing is changed. Looks for each that
  // nobody holds as has_segments() does.
  virtual Result<std::uint64_t> hold_segments(std::span<const SegmentId> ids,
                                              const HoldOptions& options = {}) = 0;
  // Gives up holds; those that are none are passed over. Returns how many there were. What nobody
  // holds and no conversation has cannot be read from then on; gc() erases its bytes.
  virtual Result<std::uint64_t> release_segments(std::span<const SegmentId> ids,
                                                 const HoldOptions& options = {}) = 0;
  // A page of at most `limit` segments: held ones in the order of their ids, garbage in the order
  // of files, a copy each. `corrupt` if more may be lost, unless VaultOptions::keep_going.
  virtual Result<SegmentPage> list_segments(const SegmentFilter& filter, std::uint64_t limit,
                                            std::string_view cursor = {}) const = 0;
  // Encodes the files in which segments lie again at `level`, so that new frames take the place of
  // the old ones in one step; their ids and who refers to them stay as they are. Does what gc()
  // does as well. `not_found` if one is not there, `invalid` for a level that is none; then nothing
  // is done.
  virtual Result<GcReport> replace_segments(std::span<const SegmentId> ids, Level level,
                                            std::string_view tenant = {},
                                            const Progress& progress = {}) = 0;

  // Rewrites every file that holds bytes of forgotten conversations, replaced versions or segments
  // that were released. A dry run says what that would be, and changes nothing.
  virtual Result<GcReport> gc(bool dry_run, const Progress& progress = {}) = 0;
  // Seals the log and rewrites a tenant's packs together: what is alike comes into one pack, what
  // is there twice is stored once, and what gc() erases is erased. Packs that a compaction made and
  // that nothing has changed stay. Works in steps of up to 1 GB, each of which is committed by
  // itself: after an interruption the next call goes on. Needs room for the packs of one step.
  // `invalid` for a level that is none.
  virtual Result<CompactReport> compact(const CompactOptions& options,
                                        const Progress& progress = {}) = 0;
  Result<CompactReport> compact(Level level, const Progress& progress = {}) {
    return compact(CompactOptions{.level = level}, progress);
  }
  // Rewrites what is in logs as packs now, one of each tenant or more, and begins a new log; packs
  // and catalog are durable when it returns. What put_async() has taken and nobody has written is
  // not in it: flush() first. Does nothing if the log is empty; a damaged log stays. Nothing is
  // lost by a failure: what could not be made a pack stays in its log, and the next seal() tries
  // again.
  virtual Status seal() = 0;
  // Waits until what is sealed and merged in the background is done, and begins with what is due
  // (VaultOptions::merge_bytes_min); others may write meanwhile. Without it, closing the vault
  // breaks off a merge, and a later one takes it up from its beginning. `progress`: bytes of packs
  // that have been merged; `cancelled` if it stops the waiting, while the merge goes on.
  virtual Status finish_merging(const Progress& progress = {}) = 0;

  // The vault as it is now, for reading: what is committed later, by whomever, is not in it. Takes
  // a copy of the logs and records in memory, and holds the files of the packs, so that those that
  // a rewrite removes take room until it is destroyed; a call that needs one that could not be held
  // (Backend::hold; a directory holds 256) is `conflict`. check() of it is `invalid`.
  // Threads: as the vault.
  // Lifetime: the vault outlives it.
  virtual Result<std::shared_ptr<const Vault>> snapshot() const = 0;

  // Of all tenants together, or of one: then the bytes are those of its packs and of its part of
  // the logs. `not_found` if there is no such tenant.
  // Counts what can be read.
  virtual Result<VaultStats> stats(std::optional<std::string_view> tenant = {}) const = 0;
  // The live logs, packs and artifacts, in this order. Reads nothing that opening has not read.
  virtual Result<std::vector<FileInfo>> files() const = 0;
  // What is known to be damaged: (parts of) logs, packs that opening could not read or a call
  // passed over. Until repair(), or until the artifact is back that a log lacks, what they may have
  // held is `corrupt`; so are gc() and compact().
  virtual std::vector<Finding> damage() const = 0;
  // Looks at every live file: that it is there, and that structures, checksums and holds agree.
  // Damage is a finding and no error; `corrupt` only if there is no catalog and none can be made of
  // the files. Writers may go on. `progress`: bytes of logs and packs; `cancelled` if it stops it.
  virtual Result<CheckReport> check(const CheckOptions& options,
                                    const Progress& progress = {}) const = 0;

  // Lifetime: of the vault.
  virtual Dictionaries& dictionaries() = 0;
  virtual const Dictionaries& dictionaries() const = 0;
  virtual Substrings& substrings() = 0;
  virtual const Substrings& substrings() const = 0;

  // How far put_batch() has come with this ImportProgress::source, as of the last commit; nothing
  // if it never came, was finished, or anything was forgotten since, or lost.
  virtual std::optional<ImportProgress> import_progress(ByteView source) const = 0;
  // Null for a reader where the vocabulary is missing or damaged: then texts cannot be read.
  virtual std::shared_ptr<const Tokenizer> tokenizer() const = 0;
};

struct FileDump {
  std::string text;    // lines, or one JSON object and a newline
  std::string damage;  // what is wrong with the file, for people; empty: nothing was found
};
// A readable description of a file of a vault (log, pack, catalog, artifact, vocabulary), for
// `tokvault dump`. `invalid` for a folder or a file of something else, `corrupt` for one that is
// damaged so that nothing can be said of it, `unsupported` for one of a newer version. Up to 4 GB
// are read into memory. A catalog that is open in this process must not be dumped by it.
Result<FileDump> dump_file(const std::string& path, bool json);

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_H_
