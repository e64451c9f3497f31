// State: what is in the vault now: its live files, tenants, deletions, tags and import progress.
//
// It is a function of the catalog and the logs, and of nothing else; a reader rebuilds it when the
// catalog's generation changes, and both reader and writer feed it the records of new batches.
//
// [V1] A row is visible if no deletion of its id has a higher sequence number.
// [V2] Of two visible rows of one id the one with the higher sequence number is the conversation.
//      Writers put a deletion before every new version, so that [V1] alone decides.
// [V3] A record of a key replaces an earlier one by sequence number, not by place.
// [V4] What a damaged log or pack has lost is as if it were there and unknown: nothing is served
// that
//      a lost deletion may have taken, and nothing that may be among what is lost is said not to be
//      there. Packs lose no deletions: the catalog has them as well.
#ifndef TOKVAULT_VAULT_STATE_H_
#define TOKVAULT_VAULT_STATE_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "format/artifact.h"
#include "format/record.h"
#include "tokvault/catalog.h"
#include "vault/log_file.h"
#include "vault/pack_file.h"
#include "vault/source.h"

namespace tokvault {

struct IdHashHash {
  std::size_t operator()(const IdHash& id) const {
    std::size_t h = 0;
    for (int i = 0; i < 8; ++i) h |= std::size_t{id[static_cast<std::size_t>(i)]} << (8 * i);
    return h;
  }
};

struct TenantState {
  TenantRecord record;
  std::unordered_map<IdHash, std::uint64_t, IdHashHash> deletions;  // sequence
  std::unordered_map<IdHash, std::set<std::string, std::less<>>, IdHashHash> tags;
  std::map<std::uint64_t, ArtifactRecord> artifacts;  // registered, by number
  std::set<std::uint64_t> unknown_artifacts;          // registered, by a record that cannot be read
  std::map<ArtifactKind, std::uint64_t> active;       // number of the one that new frames use
};

// What damaged logs and packs have lost of a tenant's commits [V4].
struct TenantDamage {
  std::uint64_t lost_until = 0;            // versions before this number may be missing; 0: none is
  std::uint64_t unproven_until = 0;        // and may have been deleted, which nobody knows
  std::uint64_t untagged_until = 0;        // and may have other tags
  std::uint64_t unheld_until = 0;          // holds before this number may be missing, or released
  std::map<IdHash, std::uint64_t> tagged;  // what is known to have other tags, until when
  std::string where;                       // for messages
};

// Whether what cannot be read for this reason is gone. The rest is of a newer program, or the
// system does not give it out, and may be read another time.
inline bool is_lost(Errc code) { return code == Errc::corrupt || code == Errc::not_found; }

// A pack that cannot be opened, and why.
struct LostPack {
  CatalogFile file;
  Errc code = Errc::corrupt;  // or not_found
  std::string what;
};

// A conversation in a source.
struct Found {
  std::shared_ptr<const Source> source;
  std::shared_ptr<const Tables> tables;
  std::uint32_t row = 0;
  const Row& get() const { return tables->rows[row]; }
};

// Threads: const methods from any thread at once, changes from one alone.
class State {
 public:
  State(const Backend& backend, Cache& cache, DecodeText decode_text)
      : backend_(&backend), cache_(&cache), decode_text_(decode_text) {}
  State(State&&) = default;
  State& operator=(State&&) = default;
  // What it is now, logs included, whatever becomes of it; the two share the packs.
  State copy() const;
  // Nothing but the files that are open, for load() to keep: a later catalog is taken in there
  // while this one is read.
  State successor() const;

  // What becomes of a log or pack that cannot be opened: it is an error, and nothing changes; or it
  // counts as lost [V4] with all that it may have held, if it is missing or damaged, and is an
  // error as before if it could not be read; or it counts as lost in any case.
  enum class Unreadable : std::uint8_t { fails, lost_is_noted, all_is_noted };

  // Takes over what the catalog says, keeping the files that are open. What is noted is put to
  // `errors`, if there is one.
  Status load(const CatalogState& catalog, Unreadable unreadable,
              std::vector<std::pair<CatalogFile, Error>>* errors = nullptr);
  // Reads what has been added to the logs, past a first error too. Returns whether anything was.
  Result<bool> follow();
  void apply(const Record& record);

  std::uint64_t generation() const { return generation_; }
  const VaultRecord& vault() const { return vault_; }
  const std::vector<CatalogFile>& files() const { return files_; }
  const std::map<std::uint64_t, std::shared_ptr<PackFile>>& packs() const { return packs_; }
  const std::map<std::uint64_t, std::shared_ptr<LogFile>>& logs() const { return logs_; }
  const std::map<std::uint64_t, LostPack>& lost_packs() const { return lost_packs_; }
  void add_log(std::shared_ptr<LogFile> log);
  // Takes in a batch that this process has written.
  Status apply_batch(LogFile& log, const BatchHeader& header, std::uint64_t payload_size,
                     Buffer body, Buffer text);
  std::uint64_t next_sequence() const;
  // What is lost of a tenant. Of no tenant: of those that nobody knows any more.
  const TenantDamage& damage(const TenantState* tenant) const;
  // Names a log or pack that is missing (`not_found`) or damaged (`corrupt`), if there is one.
  Status expect_whole() const;
  // Whether every log and pack could be opened.
  bool has_all_files() const;
  // Conversations of a tenant in packs but those `without`, as the catalog counts them: dead ones,
  // too.
  std::uint64_t rows_in_packs(std::uint32_t tenant,
                              std::span<const std::uint64_t> without = {}) const;
  // Every record that holds, tombstones left out.
  std::vector<Record> live_records() const;
  std::optional<Record> find_record(ByteView key) const;
  // Those that hold and whose keys begin like this, ordered by key.
  std::vector<Record> find_records(ByteView prefix) const;
  // The same one by one, from the key `from` on; `visit` returns false to stop.
  template <class Visit>
  void visit_records(ByteView prefix, ByteView from, Visit visit) const {
    for (auto it = records_.lower_bound(std::max(prefix, from));
         it != records_.end() && it->first.starts_with(prefix); ++it) {
      const RecordState& r = it->second;
      if (r.value && !visit(Record{it->first, r.value, r.sequence})) return;
    }
  }
  // The number of the last record or removal of a key, 0 if there was none.
  std::uint64_t record_sequence(ByteView key) const;

  const TenantState* tenant(std::string_view name) const;
  const TenantState* tenant(std::uint32_t number) const;
  const std::map<std::uint32_t, TenantState>& tenants() const { return tenants_; }

  // Packs and log parts of a tenant, ordered by their first sequence number.
  const std::vector<std::shared_ptr<const Source>>& sources(std::uint32_t tenant) const;
  // The conversation, whatever file it lies in. A pack that is `corrupt` is passed over if it does
  // not matter [V4]: if the conversation is in another one, or was deleted after all that is in it.
  Result<std::optional<Found>> find(const TenantState& tenant, std::string_view id) const;
  static bool is_dead(const TenantState& tenant, const IdHash& id, std::uint64_t sequence);
  // Which rows of a source are not visible; empty if all are.
  Result<std::vector<bool>> dead_rows(const TenantState& tenant, const Source& source) const;
  // The source that holds a segment of another file; `corrupt` if none does.
  struct Located {
    std::shared_ptr<const Source> source;
    std::uint32_t number = 0;
  };
  Result<Located> locate(std::uint32_t tenant, const External& external, Scratch& scratch) const;

 private:
  struct RecordState {
    std::uint64_t sequence = 0;
    std::optional<Buffer> value;
  };
  State(const State&) = default;  // but the logs go on: copy()
  void rebuild_sources();
  void rebuild_sources(std::uint32_t tenant, const std::shared_ptr<LogPart>& part);
  // Until when logs were written of which nothing can be read.
  void end_gone_logs();
  // Takes over what is known of the commits that logs have lost, and notes what is not.
  void apply_losses();
  void apply_new_records(const LogFile& log);
  std::shared_ptr<const Source> source_in(std::uint64_t file, std::uint32_t tenant) const;

  const Backend* backend_;
  Cache* cache_;
  DecodeText decode_text_;  // of logs
  std::uint64_t generation_ = 0;
  std::uint64_t catalog_sequence_ = 0;
  VaultRecord vault_;
  std::vector<CatalogFile> files_;
  std::map<std::uint64_t, std::shared_ptr<PackFile>> packs_;
  std::map<std::uint64_t, std::shared_ptr<LogFile>> logs_;
  std::map<Buffer, RecordState, std::less<>> records_;
  std::map<std::uint32_t, TenantState> tenants_;
  std::map<std::string, std::uint32_t, std::less<>> numbers_;  // of tenants, by their names
  std::map<std::uint32_t, std::vector<std::shared_ptr<const Source>>> sources_;
  // Packs that the catalog names and that could not be opened.
  std::map<std::uint64_t, LostPack> lost_packs_;
  // Packs by the files that they replaced: where to look for what a stale hint names.
  std::map<std::uint64_t, std::vector<std::uint64_t>> successors_;
  // Records of each log that have been applied.
  std::map<std::uint64_t, std::size_t> applied_;
  std::map<std::uint32_t, TenantDamage> damage_;
  TenantDamage unknown_damage_;  // of tenants that nobody knows
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_STATE_H_
