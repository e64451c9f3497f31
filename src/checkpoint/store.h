// The state of an open checkpoint store, shared by the files that implement it: store_open.cc
// (files), store_index.cc (index, journal), store_recover.cc (what only the log knows),
// store_write.cc (put, eviction, removal), store_read.cc (match, get, explain), store.cc (the
// public class, upkeep, asynchronous calls).
//
// Locks, in this order:
//   write_mutex  one change at a time: put, evict, remove, flush. Held over the writes.
//   mutex        the index and all tables. Never held over the I/O of payloads, nor, but while the
//                store is opened, over the removal of more than kErasedAtOnce records.
//
// Invariants:
//   [S1] a record is in the index only after its bytes and its journal entry were written;
//   [S2] bytes that are being read (reading) or pinned are not given back;
//   [S3] what is on disk, with what a rewrite of the index would add, fits the budget;
//   [S4] a segment number is never used twice, so a stale location finds nothing or a record with
//        another key, never another record's bytes under its own key.
#ifndef TOKVAULT_CHECKPOINT_STORE_H_
#define TOKVAULT_CHECKPOINT_STORE_H_

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>

#include "checkpoint/block_codec.h"
#include "checkpoint/disk.h"
#include "checkpoint/eviction.h"
#include "checkpoint/record.h"
#include "tokvault/checkpoint.h"

namespace tokvault {

namespace checkpoint {

inline constexpr std::uint8_t kBad =
    8;  // BlockRecord::flags: quarantined; a hole under its children

// The file to which readers tell what they use; a few more may be appended at once.
inline constexpr std::uint64_t kUsesBytesMax = 12 << 10;

struct Segment {
  std::uint64_t size = 0;       // where the next record would start
  std::uint64_t live = 0;       // bytes of records
  std::uint64_t allocated = 0;  // bytes on disk
};

struct NamespaceEntry {
  Namespace value;
  Buffer encoded;
  Hash128 hash;
  bool has_tails = false;
  std::map<std::uint64_t, std::uint32_t> state_tokens;  // length -> how many states
  std::map<std::uint64_t, std::uint32_t> state_texts;
};

struct Hash128Hash {
  std::size_t operator()(const Hash128& h) const { return h.lo; }
};

// The stored blocks of a prompt, first to last.
struct Chain {
  std::vector<RecordId> records;
  std::uint64_t tokens = 0;
  std::uint32_t tail_tokens = 0;
  // Key of the block that was not found: the first full one, or the partial one that the prompt
  // ends in. Means nothing if the whole prompt was.
  Hash128 next;
};

struct Place {
  std::uint32_t segment = 0;
  std::uint64_t offset = 0;
};

enum class Room : std::uint8_t { made, not_worth, none, not_yet };

// How many records go before others have the lock for a moment: each costs a write to the journal
// and a hole in the log.
inline constexpr std::uint32_t kErasedAtOnce = 64;

// A mutex that can be handed over. Who unlocks a std::mutex and locks it again has it back before
// one who waits for it has woken up; who locks this one in turn comes behind one who waits.
class TurnMutex {
 public:
  void lock() {
    if (!mutex_.try_lock()) lock_in_turn();
  }
  void lock_in_turn() {
    const std::lock_guard next(next_);
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex next_;  // held by the one who waits, and has the mutex next
  std::mutex mutex_;
};

constexpr std::uint32_t kFormatVersion = 1;  // of the store file and the index

// The path of "KIND-xxxxxxxx".
std::string numbered(const std::string& directory, const char* kind, std::uint64_t n);
// The number in such a name; 0 if it is not of that kind.
std::uint64_t number_of(std::string_view name, std::string_view kind);
Result<std::vector<std::string>> names_in(const std::string& directory);
// What an index file says of itself, if its header is whole; else 0.
std::uint32_t index_block_tokens(const std::string& path);

// Reads of a record at `offset` of a file; nothing of it is trusted but the prefix.
// Reads a chunk, decodes and verifies it: to `out`, which has its size.
Status read_chunk_at(const DiskFile& file, std::uint64_t offset, const RecordPrefix& prefix,
                     std::uint64_t chunk, char* out);
Result<Buffer> read_tail_at(const DiskFile& file, std::uint64_t offset, const RecordPrefix& prefix);
Status check_payload_at(const DiskFile& file, std::uint64_t offset, const RecordPrefix& prefix);
// Whether a read that failed so says something of what was to be read. A process that is out of
// file descriptors must not lose what it has stored.
bool is_damage(const Error& error);

}  // namespace checkpoint

struct CheckpointStore::Impl {
  using RecordId = checkpoint::RecordId;
  using Hash128 = checkpoint::Hash128;
  using BlockRecord = checkpoint::BlockRecord;

  explicit Impl(CheckpointOptions o) : options(o) {}
  ~Impl();

  std::string directory;
  CheckpointOptions options;
  std::uint32_t block_tokens = 256;
  std::uint64_t segment_bytes = 0;
  File lock_file;
  std::shared_ptr<checkpoint::DiskFile> uses;
  std::unique_ptr<checkpoint::BlockReader> reader;

  std::mutex write_mutex;
  mutable checkpoint::TurnMutex mutex;
  using Lock = std::unique_lock<checkpoint::TurnMutex>;
  // --- guarded by mutex ---
  bool closed = false;
  std::string broken;  // why writing is over until the store is reopened
  checkpoint::BlockIndex index;
  std::unique_ptr<checkpoint::EvictionPolicy> policy;
  std::uint32_t clock = 0;
  std::vector<checkpoint::NamespaceEntry> namespaces;
  std::unordered_map<Hash128, std::uint16_t, checkpoint::Hash128Hash> namespace_numbers;
  std::unordered_map<RecordId, checkpoint::Extra> extras;
  std::unordered_multimap<RecordId, RecordId> sidecars;  // boundary -> sidecar
  // Text children: parent -> size -> how many, and (parent, text) -> record.
  std::unordered_map<std::uint64_t, std::map<std::uint32_t, std::uint32_t>> text_sizes;
  std::unordered_map<std::uint64_t, RecordId> text_children;
  std::unordered_map<Hash128, RecordId, checkpoint::Hash128Hash> state_texts;
  std::unordered_map<RecordId, std::uint32_t> pins;
  std::unordered_map<RecordId, std::uint32_t> reading;
  std::unordered_map<std::uint64_t, checkpoint::Gone> gone;
  std::deque<std::uint64_t> gone_order;
  std::map<std::uint32_t, checkpoint::Segment> segments;
  std::uint32_t active = 0;  // 0: none
  std::uint32_t next_segment = 1;
  std::uint32_t named_segment = 0;  // in which the records of these namespaces stand
  std::set<std::uint16_t> named;
  std::uint64_t allocated = 0;                                  // of all segments
  std::unordered_map<std::uint64_t, std::uint32_t> dead_edges;  // page -> dead bytes of a live page
  bool punching = true;
  std::set<std::uint32_t> unsynced;
  bool new_names = true;  // of files, since the directory was synced
  std::unordered_map<std::uint32_t, std::shared_ptr<checkpoint::DiskFile>> files[2];  // [direct]
  std::uint64_t generation = 0;
  std::shared_ptr<checkpoint::DiskFile> journal;
  std::uint64_t journal_bytes = 0;
  bool journal_torn = false;          // it goes on behind journal_bytes with what is no event
  std::uint64_t torn_size = 0;        // read-only: of the journal when that was last seen
  std::uint64_t torn_size_known = 0;  // and when all was loaded anew because of it
  bool recovered = false;             // the log knew more: a new index is due
  bool rebuilt = false;  // read-only: the index came from the log; no journal continues it
  std::int64_t directory_time = 0;  // of the directory when it was rebuilt
  std::uint64_t index_file_bytes = 0;
  bool dirty = false;
  bool rotating = false;  // the index is being written: only uses may change it
  std::vector<std::pair<RecordId, Hash128>> bad_meanwhile;  // to be set aside when it is written
  std::uint64_t blocks = 0;
  std::uint64_t states = 0;
  std::uint64_t namespace_bytes = 0;
  std::uint64_t next_expiry_ms = ~std::uint64_t{0};  // nothing expires before
  CheckpointStats counters;

  // --- asynchronous calls, guarded by async_mutex ---
  struct Task {
    std::uint64_t id;
    std::function<CheckpointCompletion()> run;
  };
  std::mutex async_mutex;
  std::condition_variable async_work;
  std::condition_variable async_done;
  std::deque<Task> tasks;
  std::deque<CheckpointCompletion> completions;
  std::vector<std::thread> threads;
  std::uint64_t next_task = 1;
  std::size_t running = 0;  // threads that may still complete a call
  bool stopping = false;
  int event_fd = -1;
  Result<std::uint64_t> submit(std::function<CheckpointCompletion()> run);
  void complete(CheckpointCompletion c);  // REQUIRES: async_mutex
  void stop_threads();

  // --- store_open.cc ---
  Status open_files();
  void open_uses();
  void tell_use(Hash128 key);  // read-only
  void take_uses();            // writer
  Status load();
  Status read_store_file();
  Status write_store_file();
  Status refuse_other_folder() const;
  std::int64_t directory_changed() const;
  Status refresh();  // read-only: what the writer published since
  bool journal_is_over();
  Status sweep();
  void reset();
  std::uint64_t disk_bytes() const;  // what the budget counts
  std::string segment_path(std::uint32_t segment) const;
  Result<std::shared_ptr<checkpoint::DiskFile>> segment_file(std::uint32_t segment, bool direct);

  // --- store_index.cc ---
  void link_record(RecordId id);    // the side tables of a record that was added
  void unlink_record(RecordId id);  // of one that goes
  Status log(std::span<const checkpoint::JournalEvent> events);
  Status apply(const checkpoint::JournalEvent& event);
  Status follow_journal(bool& rotated);
  Status load_index(std::uint64_t from_generation);
  // A new index and an empty journal. REQUIRES: write_mutex and `lock` on mutex, which is released
  // for most of the time.
  Status rotate(Lock& lock);
  Status write_index(Lock& lock);
  Buffer encode_small_tables() const;
  Status decode_small_tables(ByteView small, std::uint32_t limit);
  Status link_records(std::uint32_t limit, std::uint32_t size, RecordId free_head);
  Result<Buffer> write_index_body(Lock& lock, const checkpoint::DiskFile& file, std::uint64_t& at);
  std::uint64_t index_estimate() const;

  // --- store_recover.cc ---
  struct Found {
    checkpoint::RecordHeader header;
    checkpoint::Extra extra;
    Buffer encoded;  // of a namespace
    std::uint32_t segment = 0;
    std::uint64_t offset = 0;
    bool usable = true;
  };
  enum class Taken : std::uint8_t { yes, no, no_parent };
  using Ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
  // Takes in what the log has behind what is known of it. Returns how many records that were.
  Result<std::uint64_t> roll_forward(bool everything);
  Status scan_segment(std::uint32_t number, std::uint64_t from, bool verify,
                      const std::function<void(Found&&)>& visit);
  std::optional<Found> record_at(const checkpoint::DiskFile& file, std::uint32_t segment,
                                 std::uint64_t offset, std::uint64_t size, ByteView seen,
                                 bool verify) const;
  Taken take_found(const Found& found);
  void punch_gaps(const std::map<std::uint32_t, std::uint64_t>& scanned,
                  std::map<std::uint32_t, Ranges>& kept);
  void void_record(std::uint32_t segment, std::uint64_t offset, std::uint64_t bytes);
  std::uint32_t block_tokens_of_files();

  // --- store_write.cc --- REQUIRES: write_mutex and mutex, except where said
  Status writable() const;
  Result<std::uint16_t> namespace_number(const Namespace& n, bool create);
  // Says `not_yet` where more than erased_max would have to go.
  checkpoint::Room make_room(std::uint64_t bytes, const checkpoint::Candidate* candidate,
                             std::uint32_t& evicted, std::uint32_t erased_max = ~0u);
  void evict_oversized(Lock& lock, std::uint64_t bytes, std::uint32_t& evicted);
  // Who waits for `lock` has it before this goes on, whether the store is still writable. Meanwhile
  // records may be pinned, used, or set aside, which erases the last of a chain. None is added.
  Status let_others_in(Lock& lock);
  Status erase(RecordId id, checkpoint::Gone reason);
  // Erases these, the deepest first, and says how many; lets others in meanwhile. What is protected
  // stays, and so does what others still stand behind.
  Result<std::uint32_t> erase_all(Lock& lock, std::span<const RecordId> ids,
                                  checkpoint::Gone reason);
  Status quarantine(RecordId id);  // REQUIRES: mutex
  void free_bytes(std::uint32_t segment, std::uint64_t offset, std::uint64_t bytes);
  Status name_in_segment(const checkpoint::DiskFile& file, std::uint32_t segment, std::uint16_t n);
  void note_gone(Hash128 key, checkpoint::Gone reason);
  Status new_segment();
  Status clean(std::uint32_t segment);
  std::uint32_t segment_to_clean() const;
  struct NewRecord {
    checkpoint::RecordHeader header;
    TokenView tokens;
    ByteView payload;
    checkpoint::PreparedPayload ready;
    ByteView text;
    ByteView meta;
    bool has_parent = false;  // the record header.parent, not the namespace
    std::uint16_t name_space = 0;
    std::uint16_t depth = 0;
    std::uint16_t worth_tokens = 0;
    checkpoint::Extra extra;
    void set_ready(checkpoint::PreparedPayload p) {
      ready = std::move(p);
      header.codec = ready.coded.codec;
      header.coded_bytes = ready.coded.bytes.size();
    }
    ByteView stored() const {
      return ready.coded.codec == CheckpointCodec::none ? payload : ByteView(ready.coded.bytes);
    }
  };
  // What came of records that were to be added: the leading ones are there.
  struct Added {
    std::vector<RecordId> ids;
    bool not_worth = false;  // the next one was not worth what had to go for it
    std::optional<Error> failure;
  };
  // Makes room, writes, journals and publishes, several at once. One namespace; each is the parent
  // of the next, or there is only one. The caller holds the first one's parent, or has not let go
  // of `lock` since it was found. `optional`: only if it is worth what must go for it.
  Added add(Lock& lock, std::span<NewRecord> records, CheckpointPutReport& report, bool optional);
  void add_run(Lock& lock, std::span<const NewRecord> run, CheckpointPutReport& report,
               bool optional, Added& out);
  std::size_t run_size(std::span<const NewRecord> records) const;
  Result<std::vector<checkpoint::Place>> write_run(Lock& lock, std::span<const NewRecord> run);
  std::uint64_t framing_bytes(std::uint16_t name_space) const;  // of a run, beside its records
  bool can_fit(const NewRecord& record) const;                  // if all others went
  // One record that is no block, in the place of the one of its key. The payload is coded
  // meanwhile, so `lock` is released.
  Status add_single(Lock& lock, NewRecord record);
  CheckpointCodec codec_for(std::uint16_t name_space) const;
  bool may_be_empty(RecordId id) const;
  Result<CheckpointPutReport> put(const Namespace& n, TokenView tokens, const CheckpointPut& put);
  Status replace_tails(std::uint16_t number, RecordId parent, Hash128 hash, TokenView rest,
                       RecordId keep);
  std::vector<RecordId> descendants(const std::vector<RecordId>& roots) const;  // and themselves
  Result<std::uint64_t> expire(Lock& lock);  // lets others in meanwhile
  Status sync_segments(Lock& lock, bool with_journal);
  Status flush(bool closing);

  // --- store_read.cc --- REQUIRES: mutex, except where said
  checkpoint::Chain walk(std::uint16_t number, TokenView tokens) const;
  void use(const std::vector<RecordId>& records);  // counts a hit of each
  bool is_protected(RecordId id) const;
  // What stands under a number that was looked up before `lock` was released: what goes leaves its
  // number to what comes, of whichever namespace, and a reader's index may have been loaded anew.
  // nullptr if that is another record, or none.
  const BlockRecord* still(RecordId id, Hash128 key) const;
  struct Located {
    RecordId id = checkpoint::kNoRecord;
    BlockRecord record;
    Hash128 parent;
    Hash128 name_space;
  };
  Located locate(RecordId id) const;
  // A record that is being read, or written behind: while one of these holds it, it stays [S2].
  // `lock` may be let go of meanwhile; where something throws then, it is taken again.
  class Hold {
   public:
    Hold(Impl& impl, Lock& lock, RecordId id);  // kNoRecord: holds nothing. REQUIRES: mutex
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() { end(); }
    void end();

   private:
    Impl& impl_;
    Lock& lock_;
    RecordId id_;
  };
  // These three do I/O and take no lock but for the file table.
  Result<checkpoint::RecordPrefix> read_prefix(const Located& at);
  Status read_payload(const Located& at, const checkpoint::RecordPrefix& prefix,
                      std::uint64_t offset, std::span<char> out);
  Result<Buffer> read_tail(const Located& at, const checkpoint::RecordPrefix& prefix);
  // Quarantines what could not be read, if that says that it is damaged and nobody else reads it.
  // REQUIRES: mutex
  void set_aside(const Located& at, const Error& error);
  // Whether a record that could not be read still stands where it was looked for. A reader's writer
  // may have evicted or moved it meanwhile; that is told before the bytes go. REQUIRES: mutex
  bool is_there(const Located& at);
  Result<std::shared_ptr<checkpoint::DiskFile>> file_of(std::uint32_t segment, bool direct);
  Result<std::uint64_t> get(const Namespace& n, TokenView tokens, std::span<CheckpointRead> reads);
  // With `tokens` or `text`: only a state of exactly these.
  Result<CheckpointState> read_state(Lock& lock, RecordId id, Hash128 name_space,
                                     const TokenView* tokens, const ByteView* text,
                                     Buffer* payload);
};

}  // namespace tokvault

#endif  // TOKVAULT_CHECKPOINT_STORE_H_
