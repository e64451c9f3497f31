// The engine behind Vault. Which file has what: vault.cc creates, opens and follows what others
// commit; commit.cc and get.cc are how conversations come in and out; segments.cc keeps segments by
// themselves; rewrite.cc seals logs and makes packs of files, gc.cc and compact.cc say which and
// what stays, leftovers.cc clears up after them; registry.cc keeps artifacts; background_merge.cc
// merges packs beside the writer; near.cc finds near-duplicates; stats.cc sums; explain.cc says
// what was found where; files.cc lists files; check.cc checks; repair.cc rebuilds the catalog.
//
// Locks, in this order: write_mutex_, queue_mutex_, seal_mutex_, state_mutex_; of a reader
// refresh_mutex_, state_mutex_. Only who holds the first changes the state, and may read it without
// the last; a new catalog is made into a state beside it, and exchanged. A commit holds
// write_mutex_ from staging to the end of the sync, and state_mutex_ only while it takes in what is
// durable. Readers hold state_mutex_ shared for one call, or for a page of what is streamed.
// Nothing that they call takes it again, and what takes long to decode is decoded before.
//
// [W1] Nothing is in state_ that is not durable.
// [W2] After a failed append or sync the log's end is unknown: failed_ stays set until the vault is
//      opened again, which cuts the log after its last whole batch.
// [W3] A file leaves storage only after the catalog has committed its removal.
// [W4] A pack is put, and read back, before the catalog names it.
#ifndef TOKVAULT_VAULT_VAULT_IMPL_H_
#define TOKVAULT_VAULT_VAULT_IMPL_H_

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <shared_mutex>
#include <thread>

#include "base/mutex.h"
#include "tokvault/vault.h"
#include "vault/background_merge.h"
#include "vault/cache.h"
#include "vault/dictionaries.h"
#include "vault/log_writer.h"
#include "vault/merge.h"
#include "vault/pack_builder.h"
#include "vault/reader.h"
#include "vault/stager.h"
#include "vault/state.h"
#include "vault/substrings.h"

namespace tokvault {

// A log is sealed when it holds this much text or this many conversations, whatever its size: what
// a seal keeps in memory is bounded, and so is the table of a pack.
inline constexpr std::uint64_t kLogTextBytesMax = 64u << 20;
inline constexpr std::uint64_t kLogRowsMax = 65'536;
// One step of a compaction takes packs of a tenant up to this size, all of them if they are less.
inline constexpr std::uint64_t kMergeBytesMax = 1u << 30;
inline constexpr std::uint64_t kVocabularyBytesMax = 256u << 20;

inline constexpr std::uint64_t kReaderCacheBytes = 384u << 20;
inline constexpr std::uint64_t kWriterCacheBytes = 192u << 20;
inline std::uint64_t cache_bytes_of(const VaultOptions& options) {
  return options.cache_bytes.value_or(options.read_only ? kReaderCacheBytes : kWriterCacheBytes);
}

inline constexpr std::string_view kDefaultTenant = "default";
inline std::string_view tenant_name(std::string_view given) {
  return given.empty() ? kDefaultTenant : given;
}

inline constexpr std::size_t kNameBytesMax = 255;
// `invalid` unless what is to be written can be a tag, or the name of a tenant or holder: text, as
// JSON has it, of at most 255 bytes.
Status check_name(std::string_view what, std::string_view name);
// `invalid` unless it is one of the three.
Status check_level(Level level);

class VaultImpl final : public Vault {
 public:
  VaultImpl(std::unique_ptr<Backend> backend, std::unique_ptr<Catalog> catalog,
            const VaultOptions& options);
  // What `vault` is now. REQUIRES: its state is locked, and can be read.
  explicit VaultImpl(const VaultImpl& vault);
  VaultImpl& operator=(const VaultImpl&) = delete;
  ~VaultImpl() override;
  // What a forked process gives up is not destroyed there: leave_to_parent().
  static void operator delete(VaultImpl* vault, std::destroying_delete_t);
  Status start();

  Result<PutResult> put(const Conversation& conversation, const PutOptions& options) override;
  Result<std::vector<Result<PutResult>>> put_batch(std::span<const Conversation> conversations,
                                                   const PutOptions& options,
                                                   const ImportProgress* progress) override;
  Status put_async(Conversation conversation, const PutOptions& options) override;
  Status flush() override;
  Status append(std::string_view id, std::span<const Message> messages,
                std::string_view tenant) override;
  Result<Conversation> get(std::string_view id, std::string_view tenant) const override;
  Result<std::vector<Result<Conversation>>> get_batch(std::span<const std::string> ids,
                                                      std::string_view tenant) const override;
  Result<Conversation> get_tokens(std::string_view id, std::string_view tenant) const override;
  Result<Summary> summary(std::string_view id, std::string_view tenant) const override;
  Result<Page> list(const Filter& filter, std::uint64_t limit,
                    std::string_view cursor) const override;
  Status scan(
      const Filter& filter,
      const std::function<bool(const Summary&, Result<Conversation>)>& visit) const override;
  Result<std::vector<UsageRow>> usage(const UsageQuery& query) const override;
  Result<std::vector<std::string>> tenants() const override;
  Result<std::vector<NearConversation>> find_near(std::string_view id, const NearOptions& options,
                                                  const Progress& progress) const override;
  Result<Explanation> explain(std::string_view tenant, const Progress& progress) const override;
  Result<ConversationExplanation> explain_conversation(std::string_view id,
                                                       std::string_view tenant) const override;
  Result<DuplicateReport> find_duplicates(const DuplicateOptions& options,
                                          const std::function<bool(const DuplicateGroup&)>& visit,
                                          const Progress& progress) const override;
  Status tag(std::span<const std::string> ids, std::span<const std::string> add,
             std::span<const std::string> remove, std::string_view tenant) override;
  Result<std::uint64_t> forget(std::span<const std::string> ids, std::string_view tenant) override;
  Result<std::uint64_t> forget(const Filter& filter) override;
  Result<GcReport> gc(bool dry_run, const Progress& progress) override;
  Result<CompactReport> compact(const CompactOptions& options, const Progress& progress) override;
  Status seal() override;
  Status finish_merging(const Progress& progress) override;
  Result<std::vector<SegmentPut>> put_segments(std::span<const Segment> segments,
                                               const HoldOptions& options) override;
  Result<std::vector<Result<Segment>>> get_segments(std::span<const SegmentId> ids,
                                                    std::string_view tenant) const override;
  Result<std::vector<bool>> has_segments(std::span<const SegmentId> ids,
                                         std::string_view tenant) const override;
  Result<SegmentInfo> segment_info(const SegmentId& id, std::string_view tenant) const override;
  Result<std::uint64_t> hold_segments(std::span<const SegmentId> ids,
                                      const HoldOptions& options) override;
  Result<std::uint64_t> release_segments(std::span<const SegmentId> ids,
                                         const HoldOptions& options) override;
  Result<SegmentPage> list_segments(const SegmentFilter& filter, std::uint64_t limit,
                                    std::string_view cursor) const override;
  Result<GcReport> replace_segments(std::span<const SegmentId> ids, Level level,
                                    std::string_view tenant, const Progress& progress) override;
  Result<VaultStats> stats(std::optional<std::string_view> tenant) const override;
  Result<std::vector<FileInfo>> files() const override;
  std::vector<Finding> damage() const override;
  Result<std::shared_ptr<const Vault>> snapshot() const override;
  Result<CheckReport> check(const CheckOptions& options, const Progress& progress) const override;
  Dictionaries& dictionaries() override { return dictionaries_; }
  const Dictionaries& dictionaries() const override { return dictionaries_; }
  Substrings& substrings() override { return substrings_; }
  const Substrings& substrings() const override { return substrings_; }
  std::optional<ImportProgress> import_progress(ByteView source) const override;
  std::shared_ptr<const Tokenizer> tokenizer() const override {
    return tokenizer_error_.code() == Errc::ok ? tokenizer_ : nullptr;
  }

 private:
  // A conversation on its way into the log.
  struct Request {
    const Conversation* conversation = nullptr;
    const PutOptions* options = nullptr;
    std::uint32_t tenant = 0;
    // What was found under its id before it was staged; `unknown`: stage() looks.
    enum class Before : std::uint8_t { unknown, nothing, the_same };
    Before before = Before::unknown;
    Prepared prepared;  // unless `the_same`
    Result<PutResult> result = PutResult{};
    bool no_memory = false;  // there was none to say why it failed
    bool done = false;
  };
  // A change to the records of a tenant: a value puts, none removes.
  struct RecordChange {
    Buffer key;
    std::optional<Buffer> value;
  };
  // A batch that is being built, and the ids in it.
  struct Pending {
    BatchBuilder builder;
    std::uint64_t first_sequence = 0;
    std::size_t body_done = 0;  // handed to the log writer
    std::size_t text_done = 0;
    bool begun = false;
    struct Staged {
      const Conversation* conversation;
      std::uint64_t first_sequence;
    };
    std::unordered_map<std::string_view, Staged> ids;  // of the conversations
  };
  struct Written {
    BatchHeader header;
    std::uint64_t payload_size = 0;
    Buffer body;
    Buffer text;
  };

  // `denied` for a reader, and in a process that was forked from the one that opened the vault.
  Status check_writer() const;
  // What every call that writes begins with; looks at that before it waits for threads that a
  // forked process does not have.
  Result<std::unique_lock<FairMutex>> lock_for_writing();
  // In a forked process, in place of destroying it: gives up its share of the lock, and no more.
  static void leave_to_parent(VaultImpl* vault);

  // --- writing: under write_mutex_ ---
  Status check_writable() const;
  Status prepare_log();  // makes sure that there is a log to write to
  bool was_closed(const LogFile& log) const;
  Status rotate();  // begins a new log; the old one is sealed in the background
  std::unique_ptr<LogWriter> make_writer() const;
  // Makes the tenant if it is not there; for good, whether anything is stored or not.
  Result<std::uint32_t> tenant_for_writing(std::string_view name);
  // The same, but that a conversation which is refused whatever is there makes none.
  Result<std::uint32_t> tenant_for(const Conversation& conversation, std::string_view name);
  Pending begin_batch(std::uint32_t tenant);
  // Looks for a request's id and content, and prepares what is not there. From any thread while
  // nothing is committed; `reader` belongs to the thread.
  void look_up_and_prepare(Request& request, ConversationReader& reader,
                           Tokenizer::Encoder& encoder) const;
  Status stage(Pending& pending, Request& request);
  Status feed(Pending& pending, std::uint32_t tenant);
  Status finish_batch(Pending& pending, std::uint32_t tenant, std::vector<Written>& written);
  // Syncs and takes in what was written.
  Status commit(std::vector<Written> written);
  Status commit_requests(std::span<Request*> requests);
  Status try_commit(std::span<Request*> requests);
  Result<std::vector<Result<PutResult>>> try_put(std::span<const Conversation> conversations,
                                                 const PutOptions& options,
                                                 const ImportProgress* progress);
  Status try_put_segments(std::uint32_t tenant, std::span<const Segment> segments,
                          Prepared& prepared, std::string_view holder,
                          std::vector<SegmentPut>& out);
  // Runs f(). If it throws, nobody knows how far it came: what it gave out and did not write must
  // not be referred to [W2].
  template <class F>
  auto unless_thrown(F f) -> decltype(f()) {
    try {
      return f();
    } catch (const std::exception& e) {
      return fail(Error(Errc::exhausted, e.what()));
    }
  }
  static void add_changes(const std::vector<RecordChange>& changes, BatchBuilder& batch);
  Status commit_records(std::uint32_t tenant, const std::vector<RecordChange>& changes);
  // What keeps the progress of an import, or forgets it.
  std::vector<RecordChange> changes_of(const ImportProgress& progress) const;
  // The results of those before the first that can be stored, of all if none can.
  std::vector<Result<PutResult>> refused_first(std::span<const Conversation> conversations,
                                               const PutOptions& options);
  // What was committed before stays so if it fails: seal() tells the error.
  void rotate_if_due();
  Error fail(Error error);
  Result<PutResult> put_request(Request& request);
  // Commits all that wait in queue_, and tells them. REQUIRES: leader_, set by this thread
  void lead();
  // Commits what waits. What is refused alone is in async_error_ only.
  Status drain_async();
  unsigned thread_count() const;

  // --- rewriting: rewrite.cc ---
  // Digests of segments that live conversations of other files need, by stream.
  using Needed = std::array<std::set<ShortDigest>, kStreams>;
  // Of all files but those `without`.
  Result<Needed> needed_externals(const TenantState& tenant,
                                  std::span<const std::uint64_t> without = {}) const;
  bool has_erased_words(const std::vector<Record>& records) const;
  Result<bool> is_dirty(const TenantState& tenant, const Source& source,
                        const Needed& needed) const;
  // A builder with what is kept of a source; it may be empty.
  Result<std::unique_ptr<PackBuilder>> gather(const TenantState& tenant,
                                              const std::shared_ptr<const Source>& source,
                                              bool drop_dead, const Needed* needed,
                                              const std::vector<Record>& records) const;
  // Encodes, verifies and puts the packs of one set; builders without content make none.
  Result<std::vector<CatalogFile>> publish(const VaultRecord& vault,
                                           std::vector<std::unique_ptr<PackBuilder>> builders,
                                           const std::vector<std::uint64_t>& supersedes,
                                           Level level, PackPurpose purpose);
  // A log whose packs are in storage, but not in the catalog.
  struct Sealed {
    std::uint64_t log = 0;
    std::vector<CatalogFile> files;
    std::vector<Record> records;
  };
  Result<Sealed> encode_log(const std::shared_ptr<LogFile>& log, bool drop_dead, Level level);
  // The undamaged logs up to that number, oldest first. Whoever seals one seals those before it,
  // too: a log that goes first takes along what it says of their records, which then would be back.
  std::vector<std::shared_ptr<LogFile>> logs_until(std::uint64_t newest) const;
  Status seal_log(const std::shared_ptr<LogFile>& log, bool drop_dead, Level level);
  // `records`: of logs that go, as far as they hold. `fresh`: that the new packs are the first to
  // say.
  Status swap(std::vector<CatalogFile> add, std::vector<std::uint64_t> remove,
              const std::vector<Record>& records, const std::vector<Record>& fresh = {});
  Status forget_deletions();
  Status erase_quarantine(bool is_anything_erased);
  struct MergeStep {
    std::vector<std::shared_ptr<PackFile>> packs;
    bool is_compact = false;
    bool is_sorting = false;  // quickly, so that later steps can choose what is alike
    bool is_mixed() const;
  };
  // Sets `all` to false if some are left alone.
  Result<std::vector<MergeStep>> merge_steps(std::uint32_t tenant, const CompactOptions& options,
                                             bool& all) const;
  Result<bool> is_compact(const std::vector<std::shared_ptr<PackFile>>& packs,
                          const CompactOptions& options, const Needed& needed) const;
  // One step of compact().
  Status merge(std::uint32_t tenant, const MergeStep& what, const CompactOptions& options,
               const Merge::Step& step, CompactReport& report);
  // Takes the removals of tags and holds out of the packs in which no file needs them any more, and
  // deletions where they are a good part of a pack or log.
  Status drop_settled(std::int64_t older_than_ms, std::optional<Level> level);
  // Which files a rewrite takes beside those that it must.
  using Chooser = std::function<Result<bool>(const Source&)>;
  // What such a rewrite takes.
  struct Garbage {
    GcReport report;  // of a dry run
    std::vector<std::shared_ptr<LogFile>> logs;
    std::vector<std::shared_ptr<PackFile>> packs;
    std::uint64_t bytes = 0;  // of these
    bool any_dirty = false;
  };
  Result<Garbage> find_garbage(const Chooser& also) const;
  // Without a level: that of the vault, or that of a pack if it is denser.
  Result<GcReport> collect(bool dry_run, std::optional<Level> level, const Progress& progress,
                           const Chooser& also);
  std::uint64_t data_bytes() const;  // of packs, and of logs that hold something
  void start_sealing();
  void join_sealing();  // and swaps
  void note_seal_error(Error error);
  // After a swap that failed half way: takes in what the catalog says, removes what it does not
  // know.
  Status settle();
  Status remove_leftovers();
  // Which of a pack's records still say what holds.
  std::vector<Record> kept_records(const std::vector<Record>& records) const;

  // The same for the packs that replace the files `without`: a removal of a tag or a hold, which
  // says its words, goes if no other file holds an older record of it, and a deletion if none holds
  // a row that it hides.
  Status drop_settled(std::vector<Record>& records, std::span<const std::uint64_t> without) const;
  Result<bool> hides_something(const Record& deletion,
                               std::span<const std::uint64_t> without) const;
  // Makes a pack anew with what is needed of it.
  Status collect_pack(const std::shared_ptr<PackFile>& pack, Level level);
  // Makes a pack anew with all that it holds. With the number of an artifact, only if the new one
  // copies from that and is smaller; returns its size then, and else none.
  Result<std::optional<std::uint64_t>> rewrite_pack(const std::shared_ptr<PackFile>& pack,
                                                    std::uint64_t artifact = 0);

  // --- merging in the background: background_merge.cc, under write_mutex_ ---
  // The packs of a tenant that are to be merged next, with their state locked.
  Result<std::vector<std::shared_ptr<PackFile>>> merge_due(std::uint32_t tenant) const;
  // Takes in a merge that is done, and begins one that is due.
  void tend_merging();
  Status start_merging();
  void take_merged();   // waits, and swaps
  void stop_merging();  // takes in one that is done, and breaks off any other
  // As long as it lives nothing is merged: packs are about to be rewritten.
  struct MergePause {
    explicit MergePause(VaultImpl& v) : vault(v), before(v.merge_paused_) {
      vault.stop_merging();
      vault.merge_paused_ = true;
    }
    ~MergePause() { vault.merge_paused_ = before; }
    MergePause(const MergePause&) = delete;
    MergePause& operator=(const MergePause&) = delete;
    VaultImpl& vault;
    const bool before;
  };
  void note_merge_error(Error error);

  // --- artifacts: registry.cc, under write_mutex_ ---
  friend class DictionariesImpl;
  friend class Retraining;
  friend class SubstringsImpl;
  // Puts an artifact and registers it; with `active`, in the same commit new frames are to use it.
  // Returns its number.
  Result<std::uint64_t> register_artifact(std::uint32_t tenant, ArtifactRecord record,
                                          ByteView content, bool active = false);
  // What new frames use, or nothing. REQUIRES: a number is registered
  Status activate_artifact(std::uint32_t tenant, ArtifactKind kind,
                           std::optional<std::uint64_t> number);
  // The active one, or null. One that cannot be read is used by nothing new; check() reports it.
  Result<std::shared_ptr<const Artifact>> active_artifact(std::uint32_t tenant,
                                                          ArtifactKind kind) const;
  // What new packs may copy from: the active dictionary and the active set of substrings. One that
  // cannot be read is left out; check() reports it.
  std::vector<std::shared_ptr<const ArtifactTokens>> pack_artifacts(std::uint32_t tenant) const;
  // Rewrites every log and pack that names an artifact, so that no file does.
  // REQUIRES: retiring_ is its number
  Status rewrite_without(std::uint64_t number);
  // Before a gc: retires every artifact that holds what it is about to erase.
  Status retire_erased();
  // Removes an artifact for good. `conflict` if a live file names it; with `rewrite`, those are
  // rewritten first.
  Status remove_artifact(std::uint32_t tenant, std::uint64_t number, bool rewrite);
  Status commit_removal(std::uint32_t tenant, std::uint64_t number);

  // --- segments by themselves: segments.cc ---
  // What a hold says of a segment that is there; none if it is not.
  Result<std::optional<HoldRecord>> find_hold(const TenantState& tenant, const SegmentId& id) const;
  // `corrupt` if a tenant that is not known may have stood in what is lost.
  Status expect_known_tenants() const;
  // `corrupt` if holds of a tenant may be missing, and nobody said to keep going.
  Status expect_holds(const TenantState& tenant) const;
  // Whether a hold is there and nothing that is lost can have taken it away; all such of a segment.
  bool holds_surely(const TenantState& tenant, ByteView key) const;
  std::vector<Record> sure_holds(const TenantState& tenant, const SegmentId& id) const;
  // In how many visible conversations a segment stands; with `any`, 1 if in any.
  Result<std::uint64_t> conversations_with(const TenantState& tenant, const SegmentId& id,
                                           bool any) const;
  Result<bool> is_there(const TenantState& tenant, const SegmentId& id) const;
  Result<Segment> read_segment(const State& state, const TenantState& tenant, const SegmentId& id,
                               Scratch& scratch) const;
  Result<SegmentPage> held_page(const TenantState& tenant, const SegmentFilter& filter,
                                std::uint64_t limit, std::string_view cursor) const;
  Result<SegmentPage> garbage_page(const TenantState& tenant, std::uint64_t limit,
                                   std::string_view cursor) const;
  // Every hold has its segment.
  void check_holds(const State& state, CheckReport& report) const;
  void count_holds(const TenantState& tenant, VaultStats& stats) const;
  // What gc() would erase of a source: segments that nobody needs, and short ones that were
  // released. In rewrite.cc.
  Result<std::vector<SegmentInfo>> garbage_in(const TenantState& tenant, const Source& source,
                                              const Needed& needed) const;

  // --- reading ---
  // What others have committed and a reader does not know yet.
  struct News {
    bool of_logs = false;
    bool of_catalog = false;
    bool any() const { return of_logs || of_catalog; }
  };
  News news() const;
  Status refresh() const;  // a reader takes them in
  // The same, because a file was gone with the state of this generation.
  Status reload(std::uint64_t generation) const;
  Status take_newest() const;  // REQUIRES: refresh_mutex_
  // Holds the files that the state is read from; `not_found` if one is not there any more.
  Status hold_files();
  // Takes over what a catalog says, without the logs and packs that are damaged or gone; of a
  // reader they are gone if the catalog, read again, still names them.
  // REQUIRES: write_mutex_, of a reader refresh_mutex_; and not state_mutex_
  Status take(const CatalogState& catalog) const;
  Result<CatalogState> load_catalog() const;
  template <class F>
  auto reading(F f) const -> decltype(f());
  // A source that is_cold() told f() to give up for: it is prepared without the lock, once, and f()
  // is called again.
  struct Preparing {
    std::shared_ptr<const Source> source;
    std::set<std::uint64_t> done;
    bool is_cold(const std::shared_ptr<const Source>& s) {
      if (s->is_ready() || done.contains(s->file())) return false;
      source = s;
      return true;
    }
  };
  // reading(f(preparing))
  template <class F>
  auto reading_prepared(F f) const -> decltype(f(std::declval<Preparing&>()));
  bool is_gone(const Result<Conversation>& read, bool& again) const;
  Result<Conversation> get_one(std::string_view id, std::string_view tenant, bool tokens) const;
  Result<Found> find_or_error(const TenantState* tenant, std::string_view id) const;
  // What is there of an id, proven or not, for a writer that puts something in its place.
  struct Standing {
    std::optional<Found> found;
    bool is_doubtful = false;  // deleted perhaps, or lost: [V4]
  };
  Result<Standing> standing(const TenantState& tenant, std::string_view id) const;
  // `corrupt` if conversations of a tenant may be missing, and nobody said to keep going.
  Status expect_complete(const TenantState* tenant) const;
  Status expect_no_damage() const;
  // With keep_going: a source that is damaged is passed over, and damage() says so.
  bool passes_over(const Source& source, const Error& error) const;
  Summary summary_of(const TenantState& tenant, const Found& found) const;
  // Rows after `after` (a first_sequence), in order, at most `limit`.
  Result<std::vector<Found>> collect_page(const TenantState& tenant, const Filter& filter,
                                          std::uint64_t after, std::uint64_t limit) const;
  Result<Explanation> explain_once(std::string_view tenant, const Progress& progress) const;
  // near.cc: calls visit(Summary, sketch) with every conversation.
  template <class Way, class Visit>
  Status each_sketch(const Filter& filter, std::uint64_t memory_bytes_max, const Progress& progress,
                     Visit&& visit) const;
  template <class Way>
  Result<std::vector<NearConversation>> find_near_by(std::string_view id,
                                                     const NearOptions& options,
                                                     const Progress& progress) const;
  template <class Way>
  Result<DuplicateReport> find_duplicates_by(
      const DuplicateOptions& options, const std::function<bool(const DuplicateGroup&)>& visit,
      const Progress& progress) const;
  Result<CheckReport> check_once(const CatalogState& catalog, const CheckOptions& options,
                                 const Progress& progress) const;

  // A snapshot has the backend and the catalog of its vault.
  const std::shared_ptr<Backend> backend_;
  const std::shared_ptr<Catalog> catalog_;
  const VaultOptions options_;
  const pid_t process_ = ::getpid();  // that opened it
  std::unique_ptr<WriterLock> lock_;
  mutable Cache cache_;
  mutable SharedMutex state_mutex_;
  mutable State state_;
  // A reader could not read all files: it can check(), and answers every read with the error.
  mutable bool unreadable_ = false;
  // A state that never changes, and the files that it is read from.
  const bool is_snapshot_ = false;
  std::vector<std::shared_ptr<const void>> held_;
  std::vector<BlobInfo> artifacts_;   // that were there
  mutable std::mutex refresh_mutex_;  // of a reader; before state_mutex_
  // The generation of a catalog that named a file which was not there; guarded by refresh_mutex_.
  mutable std::optional<std::uint64_t> missing_in_;
  struct PassedOver {
    std::mutex mutex;
    std::map<std::string, std::string> packs;  // and why; guarded by mutex
  };
  const std::shared_ptr<PassedOver> passed_over_;  // a snapshot's are its vault's
  std::shared_ptr<const Tokenizer> tokenizer_;
  // A reader without the vault's vocabulary: it reads no texts, and has another one meanwhile.
  Error tokenizer_error_;

  DictionariesImpl dictionaries_{*this};
  SubstringsImpl substrings_{*this};

  FairMutex write_mutex_;
  Error failed_;                  // [W2]
  std::shared_ptr<LogFile> log_;  // that is written to
  std::unique_ptr<LogWriter> writer_;
  std::unique_ptr<Stager> stager_;
  std::unique_ptr<Tokenizer::Encoder> stage_encoder_;
  std::vector<std::unique_ptr<Tokenizer::Encoder>> encoders_;  // of put_batch's threads, warm
  std::uint64_t next_sequence_ = 1;
  std::atomic<std::uint64_t> next_file_{1};  // sealing and merging take numbers, too
  // An artifact that nothing new may use; sealing looks, too.
  std::atomic<std::uint64_t> retiring_{0};

  std::mutex queue_mutex_;
  std::condition_variable queue_done_;
  std::vector<Request*> queue_;  // of put(), guarded by queue_mutex_
  bool leader_ = false;          // a put() is committing the queue
  struct Async {
    Conversation conversation;
    PutOptions options;
  };
  std::vector<std::unique_ptr<Async>> async_;  // guarded by queue_mutex_
  std::size_t async_bytes_ = 0;                // of memory, of these
  Error async_error_;                          // the first one since the last flush

  std::mutex encoding_;  // one pack at a time: see put_pack
  std::mutex seal_mutex_;
  std::thread sealer_;  // guarded by write_mutex_
  std::atomic<bool> sealing_done_{false};
  // Packs may be there that no catalog knows, or the catalog may be another one: settle() looks.
  bool unsettled_ = false;           // guarded by write_mutex_
  bool has_seal_leftovers_ = false;  // set by the sealer, read when it is joined
  std::vector<Sealed> sealed_;       // guarded by seal_mutex_
  Error seal_error_;                 // guarded by seal_mutex_

  std::shared_ptr<BackgroundMerge> merge_;  // guarded by write_mutex_
  bool merge_wanted_ = false;               // guarded by write_mutex_: look whether one is due
  // Changed under write_mutex_ and state_mutex_, so that either is enough to read it: see
  // take_merged().
  std::set<std::uint64_t> unmergeable_;
  bool merge_paused_ = false;  // guarded by write_mutex_
  Error merge_error_;          // guarded by seal_mutex_
  std::atomic<std::uint64_t> merges_done_{0};
  std::atomic<std::uint64_t> merging_bytes_{0};  // on disk, of what is being merged
};

// Runs f() under the lock; if a file was gone, which a rewrite by another process makes possible,
// once more with the catalog of now.
template <class F>
auto VaultImpl::reading(F f) const -> decltype(f()) {
  if (auto fresh = refresh(); !fresh) return std::move(fresh).error();
  std::uint64_t generation = 0;
  {
    std::shared_lock lock(state_mutex_);
    auto result = f();
    if (result || !options_.read_only || result.error().os_code() == 0 ||
        result.code() != Errc::not_found) {
      return result;
    }
    generation = state_.generation();
  }
  if (auto again = reload(generation); !again) return std::move(again).error();
  std::shared_lock lock(state_mutex_);
  return f();
}

template <class F>
auto VaultImpl::reading_prepared(F f) const -> decltype(f(std::declval<Preparing&>())) {
  Preparing preparing;
  for (;;) {
    auto result = reading([&] {
      preparing.source.reset();
      return f(preparing);
    });
    if (!preparing.source) return result;
    preparing.source->prepare();
    preparing.done.insert(preparing.source->file());
  }
}

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_VAULT_IMPL_H_
