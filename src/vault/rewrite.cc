// Sealing, garbage collection and compaction: all three make packs of what is kept of a file, and
// swap them for it in one commit of the catalog.
//
// Order of a rewrite: build, decode and compare, put the packs (durable), commit the catalog,
// remove the old files. A crash before the commit leaves packs that no catalog names, a crash after
// it leaves files that it names no more; the next writer removes both (remove_leftovers).

#include <algorithm>
#include <map>
#include <optional>

#include "base/checksum.h"
#include "vault/artifacts.h"
#include "vault/recovery.h"
#include "vault/retrain.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

// Segments that visible rows of a source refer to, local and external.
struct Reach {
  std::array<std::vector<bool>, kStreams> local;
  std::vector<bool> externals;
};

Reach reach(const Tables& t, const std::vector<bool>& dead) {
  Reach out;
  for (std::size_t s = 0; s < kStreams; ++s) out.local[s].resize(t.segment_counts[s]);
  out.externals.resize(t.externals.size());
  std::vector<bool> seen(t.nodes.size());
  auto take = [&](std::uint32_t form, std::uint32_t begin) {
    const FormInfo& info = t.form_infos[form];
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      const SegmentRef ref = t.refs[begin + i];
      if (ref.is_external()) {
        out.externals[ref.number()] = true;
      } else {
        out.local[info.stream_of(i)][ref.number()] = true;
      }
    }
  };
  for (std::uint32_t i = 0; i < t.rows.size(); ++i) {
    if (!dead.empty() && dead[i]) continue;
    take(t.rows[i].form, t.rows[i].refs_begin);
    for (std::uint32_t n = t.rows[i].leaf; n != kNoNode && !seen[n]; n = t.nodes[n].parent) {
      seen[n] = true;
      take(t.nodes[n].form, t.nodes[n].refs_begin);
    }
  }
  return out;
}

bool is_kind(const Record& r, RecordKind kind) {
  return !r.key.empty() && r.key[0] == static_cast<char>(kind);
}

// Records whose keys hold words of people's: what was taken away is erased from files like text.
bool is_worded(const Record& r) {
  return is_kind(r, RecordKind::tag) || is_kind(r, RecordKind::hold);
}
bool is_worded_removal(const Record& r) { return is_worded(r) && !r.value; }

}  // namespace

std::vector<Record> last_of_each(const std::vector<Record>& records) {
  std::map<Buffer, const Record*> last;
  for (const Record& r : records) {
    const Record*& at = last[r.key];
    if (at == nullptr || at->sequence <= r.sequence) at = &r;
  }
  std::vector<Record> out;
  for (const auto& [key, r] : last) out.push_back(*r);
  return out;
}

Result<VaultImpl::Needed> VaultImpl::needed_externals(
    const TenantState& tenant, std::span<const std::uint64_t> without) const {
  Needed needed;
  for (const auto& source : state_.sources(tenant.record.number)) {
    if (std::find(without.begin(), without.end(), source->file()) != without.end()) continue;
    TOKVAULT_ASSIGN(auto tables, source->tables());
    if (tables->externals.empty()) continue;
    TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(tenant, *source));
    const Reach r = reach(*tables, dead);
    for (std::size_t i = 0; i < tables->externals.size(); ++i) {
      const External& e = tables->externals[i];
      if (r.externals[i]) needed[e.stream].insert(e.digest);
    }
  }
  for (const Record& r : state_.find_records(hold_prefix(tenant.record.number))) {
    HoldKey key;
    if (parse_hold_key(r.key, key)) needed[key.stream].insert(shorten(key.digest));
  }
  return needed;
}

std::vector<Record> VaultImpl::kept_records(const std::vector<Record>& records) const {
  std::vector<Record> kept;
  for (const Record& r : records) {
    const auto now = state_.find_record(r.key);
    // A removal stays as long as nothing came after it: an older pack may hold what it removed.
    const bool holds = r.value ? now && now->sequence == r.sequence : !now;
    if (holds) kept.push_back(r);
  }
  return kept;
}

// The key of a removal holds the words of the tag that was taken away, too.
bool VaultImpl::has_erased_words(const std::vector<Record>& records) const {
  return std::any_of(records.begin(), records.end(), [&](const Record& r) {
    if (!is_worded(r)) return false;
    const auto now = state_.find_record(r.key);
    return !r.value || !now || now->sequence != r.sequence;
  });
}

Result<bool> VaultImpl::is_dirty(const TenantState& tenant, const Source& source,
                                 const Needed& needed) const {
  TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(tenant, source));
  if (!dead.empty() || SubstringsImpl::names_retired(tenant, source)) return true;
  if (source.is_pack()) {
    TOKVAULT_ASSIGN(const auto records, static_cast<const PackFile&>(source).records());
    if (has_erased_words(records)) return true;
  } else if (has_erased_words(state_.logs().at(source.file())->records())) {
    return true;
  }
  TOKVAULT_ASSIGN(auto tables, source.tables());
  const Reach r = reach(*tables, dead);
  Scratch scratch;
  std::vector<Token> tokens;
  for (const Stream s : {kTokenStream, kByteStream}) {
    for (std::uint32_t i = 0; i < tables->segment_counts[s]; ++i) {
      if (r.local[s][i]) continue;
      TOKVAULT_ASSIGN(const ByteView code, source.code(s, i, scratch));
      TOKVAULT_ASSIGN(const ShortDigest digest, segment_digest(source, s, code, tokens));
      if (!needed[s].contains(digest)) return true;
    }
  }
  return false;
}

Result<std::vector<SegmentInfo>> VaultImpl::garbage_in(const TenantState& tenant,
                                                       const Source& source,
                                                       const Needed& needed) const {
  std::vector<SegmentInfo> out;
  TOKVAULT_ASSIGN(auto tables, source.tables());
  TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(tenant, source));
  const Reach r = reach(*tables, dead);
  Scratch scratch;
  Segment segment;
  for (const Stream s : {kTokenStream, kByteStream}) {
    segment.kind = static_cast<SegmentKind>(s);
    for (std::uint32_t i = 0; i < tables->segment_counts[s]; ++i) {
      if (r.local[s][i]) continue;
      TOKVAULT_ASSIGN(const ByteView code, source.code(s, i, scratch));
      segment.tokens.clear();
      if (s == kTokenStream) {
        TOKVAULT_TRY(source.decode_tokens(code, segment.tokens));
      } else {
        segment.bytes = code;
      }
      const SegmentId id = segment.id();
      if (!needed[s].contains(shorten(id.sha256))) out.push_back({id, segment.size(), {}, 0});
    }
  }
  std::vector<Record> records;
  if (source.is_pack()) {
    TOKVAULT_ASSIGN(records, static_cast<const PackFile&>(source).records());
  } else {
    records = state_.logs().at(source.file())->records();
  }
  std::set<SegmentId> released;  // by several holders, perhaps
  for (const Record& record : records) {
    HoldKey key;
    if (!record.value || !parse_hold_key(record.key, key) || key.tenant != tenant.record.number) {
      continue;
    }
    const auto hold = decode_hold(*record.value);
    const bool is_held =
        !state_.find_records(hold_key(key.tenant, key.stream, key.digest, "")).empty();
    if (!hold || hold->size >= kSharedCodeBytes || is_held) continue;
    const SegmentId id{static_cast<SegmentKind>(key.stream), key.digest};
    if (released.insert(id).second) out.push_back({id, hold->size, {}, 0});
  }
  return out;
}

Result<std::unique_ptr<PackBuilder>> VaultImpl::gather(const TenantState& tenant,
                                                       const std::shared_ptr<const Source>& source,
                                                       bool drop_dead, const Needed* needed,
                                                       const std::vector<Record>& records) const {
  auto builder = std::make_unique<PackBuilder>(tokenizer_);
  builder->set_tenant(tenant.record);
  builder->set_artifacts(pack_artifacts(tenant.record.number));
  TOKVAULT_ASSIGN(auto tables, source->tables());
  std::vector<bool> dead;
  if (drop_dead) {
    TOKVAULT_ASSIGN(dead, state_.dead_rows(tenant, *source));
  }
  for (std::uint32_t i = 0; i < tables->rows.size(); ++i) {
    if (!dead.empty() && dead[i]) continue;
    TOKVAULT_TRY(builder->add_row(*source, *tables, i));
  }
  // Segments that no row here refers to, but one of another file or a hold. Without `needed` all of
  // them stay: what came after the log that is sealed may rely on them.
  const Reach used = reach(*tables, dead);
  Scratch scratch;
  std::vector<Token> tokens;
  for (const Stream s : {kTokenStream, kByteStream}) {
    // Nothing is read then, so that a pack of which nothing is left goes even if it is damaged.
    if (needed != nullptr && (*needed)[s].empty()) continue;
    for (std::uint32_t i = 0; i < tables->segment_counts[s]; ++i) {
      if (used.local[s][i]) continue;
      if (needed != nullptr) {
        TOKVAULT_ASSIGN(const ByteView code, source->code(s, i, scratch));
        TOKVAULT_ASSIGN(const ShortDigest digest, segment_digest(*source, s, code, tokens));
        if (!(*needed)[s].contains(digest)) continue;
      }
      TOKVAULT_TRY(builder->add_segment(*source, s, i));
    }
  }
  for (const Record& r : records) builder->add_record(r);
  return builder;
}

Result<std::vector<CatalogFile>> VaultImpl::publish(
    const VaultRecord& vault, std::vector<std::unique_ptr<PackBuilder>> builders,
    const std::vector<std::uint64_t>& supersedes, Level level, PackPurpose purpose) {
  std::erase_if(builders, [](const auto& b) { return b->empty(); });
  PackIdentity identity;
  identity.vault = vault;
  identity.set_id = random_bytes(16);
  identity.set_supersedes = supersedes;
  for (std::size_t i = 0; i < builders.size(); ++i) identity.set_members.push_back(next_file_++);
  std::vector<CatalogFile> files;
  for (std::size_t i = 0; i < builders.size(); ++i) {
    identity.number = identity.set_members[i];
    identity.tenant_rows = builders[i]->table_size().rows;
    {
      std::shared_lock lock(state_mutex_);
      identity.tenant_rows += state_.rows_in_packs(builders[i]->tenant().number, supersedes);
    }
    TOKVAULT_ASSIGN(CatalogFile file,
                    put_pack(*backend_, *builders[i], identity, level, purpose, encoding_));
    files.push_back(std::move(file));
    builders[i].reset();
  }
  return files;
}

// Until all of it is done nobody knows what the catalog says: see settle().
Status VaultImpl::swap(std::vector<CatalogFile> add, std::vector<std::uint64_t> remove,
                       const std::vector<Record>& records, const std::vector<Record>& fresh) {
  unsettled_ = true;
  CatalogChange change;
  change.generation = state_.generation();
  change.next_file = next_file_;
  change.add_files = std::move(add);
  change.remove_files = remove;
  // Of a log that is not written to any more it is noted where it ended: if it is lost, what came
  // after it is not in doubt.
  std::uint64_t newest_log = 0;
  for (const CatalogFile& f : change.add_files) {
    if (f.kind == CatalogFile::Kind::log) newest_log = std::max(newest_log, f.number);
  }
  for (CatalogFile f : state_.files()) {
    if (f.kind != CatalogFile::Kind::log || f.number >= newest_log || f.sequence_last > 0 ||
        std::find(remove.begin(), remove.end(), f.number) != remove.end()) {
      continue;
    }
    const LogFile& log = *state_.logs().at(f.number);
    if (log.lost().empty()) f.size_bytes = log.size_bytes();
    f.sequence_last = std::max<std::uint64_t>(1, log.next_sequence()) - 1;
    change.add_files.push_back(f);
  }
  // Of a log that is sealed after a later one, what does not hold any more stays out.
  std::vector<Record> now = kept_records(last_of_each(records));
  now.insert(now.end(), fresh.begin(), fresh.end());
  for (const Record& r : now) {
    if (r.value) {
      change.put_records.push_back({r.key, *r.value, r.sequence});
    } else {
      change.remove_records.push_back(r.key);
    }
  }
  std::vector<std::string> names;
  for (const CatalogFile& f : state_.files()) {
    if (std::find(remove.begin(), remove.end(), f.number) != remove.end()) {
      names.push_back(f.kind == CatalogFile::Kind::log ? log_name(f.number) : pack_name(f.number));
    }
  }
  TOKVAULT_ASSIGN(const std::uint64_t generation, catalog_->commit(change));
  (void)generation;
  TOKVAULT_ASSIGN(const CatalogState catalog, catalog_->load());
  {
    std::unique_lock lock(state_mutex_);
    TOKVAULT_TRY(take(catalog));
  }
  for (const std::string& name : names) TOKVAULT_TRY(backend_->remove(name));  // [W3]
  unsettled_ = false;
  return {};
}

Result<VaultImpl::Sealed> VaultImpl::encode_log(const std::shared_ptr<LogFile>& log, bool drop_dead,
                                                Level level) {
  std::vector<Record> records = last_of_each(log->records());
  std::vector<std::unique_ptr<PackBuilder>> builders;
  bool first = true;
  std::shared_lock lock(state_mutex_);
  for (const auto& [number, part] : log->parts()) {
    const TenantState* tenant = state_.tenant(number);
    if (tenant == nullptr) return Error(Errc::corrupt, "a log of an unknown tenant");
    Needed needed;
    if (drop_dead) {
      TOKVAULT_ASSIGN(needed, needed_externals(*tenant));
    }
    // Every record that the log carried goes along: to its tenant's pack, what belongs to none to
    // the first. A tenant's own record is in its packs' footers.
    std::vector<Record> mine;
    for (const Record& r : kept_records(records)) {
      if (is_kind(r, RecordKind::tenant) || (drop_dead && is_worded_removal(r))) continue;
      const auto owner = tenant_of(r.key);
      if (owner ? *owner == number : first) mine.push_back(r);
    }
    TOKVAULT_ASSIGN(auto builder,
                    gather(*tenant, part, drop_dead, drop_dead ? &needed : nullptr, mine));
    builders.push_back(std::move(builder));
    first = false;
  }
  const VaultRecord vault = state_.vault();
  lock.unlock();
  TOKVAULT_ASSIGN(auto files, publish(vault, std::move(builders), {log->number()}, level,
                                      drop_dead ? PackPurpose::compact : PackPurpose::seal));
  return Sealed{log->number(), std::move(files), std::move(records)};
}

std::vector<std::shared_ptr<LogFile>> VaultImpl::logs_until(std::uint64_t newest) const {
  std::vector<std::shared_ptr<LogFile>> logs;
  for (const auto& [number, log] : state_.logs()) {
    if (number <= newest && log->lost().empty()) logs.push_back(log);
  }
  return logs;
}

Status VaultImpl::seal_log(const std::shared_ptr<LogFile>& log, bool drop_dead, Level level) {
  TOKVAULT_ASSIGN(Sealed sealed, encode_log(log, drop_dead, level));
  return swap(std::move(sealed.files), {sealed.log}, sealed.records);
}

void VaultImpl::start_sealing() {
  std::vector<std::shared_ptr<LogFile>> logs;
  for (const auto& [number, log] : state_.logs()) {
    // As a pack, a damaged log would look as if that were all it had held.
    if (log != log_ && log->lost().empty()) logs.push_back(log);
  }
  sealer_ = std::thread([this, logs = std::move(logs)] {
    for (const auto& log : logs) {
      auto sealed = encode_log(log, false, options_.level);
      std::lock_guard lock(seal_mutex_);
      if (!sealed) {
        seal_error_ = std::move(sealed).error();
        break;
      }
      sealed_.push_back(std::move(*sealed));
    }
    sealing_done_ = true;
  });
}

void VaultImpl::join_sealing() {
  if (!sealer_.joinable()) return;
  sealer_.join();
  // The swap belongs to the writer: nobody else changes the state under its hands.
  for (Sealed& s : std::exchange(sealed_, {})) {
    Status status = swap(std::move(s.files), {s.log}, s.records);
    merge_wanted_ = true;
    if (status) continue;
    note_seal_error(std::move(status).error());
    break;
  }
}

void VaultImpl::note_seal_error(Error error) {
  std::lock_guard lock(seal_mutex_);
  if (seal_error_.code() == Errc::ok) seal_error_ = std::move(error);
}

Status VaultImpl::settle() {
  if (!unsettled_) return {};
  if (merge_) {
    // What it has put would look like leftovers.
    merge_->request_stop();
    (void)merge_->finish();
    merge_.reset();
    merging_bytes_ = 0;
  }
  TOKVAULT_ASSIGN(const CatalogState catalog, catalog_->load());
  {
    std::unique_lock lock(state_mutex_);
    TOKVAULT_TRY(take(catalog));
  }
  next_file_ = std::max(next_file_.load(), catalog.next_file);
  TOKVAULT_TRY(remove_leftovers());
  unsettled_ = false;
  return {};
}

Status VaultImpl::seal() {
  std::lock_guard lock(write_mutex_);
  TOKVAULT_TRY(check_writable());
  TOKVAULT_TRY(prepare_log());
  join_sealing();
  TOKVAULT_TRY(settle());
  if (log_->parts().empty() && state_.logs().size() == 1) return {};
  TOKVAULT_TRY(rotate());
  auto take_error = [&] {
    std::lock_guard error_lock(seal_mutex_);
    return std::exchange(seal_error_, Error());
  };
  (void)take_error();  // of earlier attempts: this one takes up what they left
  start_sealing();
  join_sealing();
  if (Error error = take_error(); error.code() != Errc::ok) return error;
  tend_merging();
  return {};
}

// A rewrite would pass off what is left of a damaged log as all that it held, and erase segments of
// which nobody knows that a lost pack needs them.
Status VaultImpl::expect_no_damage() const {
  const Status whole = state_.expect_whole();
  if (whole) return {};
  return Error(Errc::corrupt,
               std::string(whole.error().message()) +
                   (whole.code() == Errc::not_found ? " is missing" : " is damaged") +
                   ", and nobody can say what was in it: `tokvault repair` first");
}

Result<GcReport> VaultImpl::gc(bool dry_run, const Progress& progress) {
  return collect(dry_run, std::nullopt, progress, nullptr);
}

std::uint64_t VaultImpl::data_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [number, log] : state_.logs()) {
    if (!log->parts().empty() || !log->records().empty()) bytes += log->size_bytes();
  }
  for (const auto& [number, pack] : state_.packs()) bytes += pack->size_bytes();
  return bytes;
}

Result<GcReport> VaultImpl::collect(bool dry_run, std::optional<Level> level,
                                    const Progress& progress, const Chooser& also) {
  std::lock_guard lock(write_mutex_);
  TOKVAULT_TRY(check_writable());
  TOKVAULT_TRY(prepare_log());
  join_sealing();
  std::optional<MergePause> pause;
  if (!dry_run) pause.emplace(*this);
  TOKVAULT_TRY(settle());
  TOKVAULT_TRY(expect_no_damage());
  GcReport report;
  if (!dry_run) {
    TOKVAULT_TRY(retire_erased());
    TOKVAULT_TRY(substrings_.retire_unheld());
  }
  std::vector<std::shared_ptr<LogFile>> logs;
  std::uint64_t newest_log = 0;
  std::vector<std::shared_ptr<PackFile>> packs;
  std::uint64_t total = 0;
  bool any_dirty = false;
  for (const auto& [number, tenant] : state_.tenants()) {
    TOKVAULT_ASSIGN(const Needed needed, needed_externals(tenant));
    for (const auto& source : state_.sources(number)) {
      TOKVAULT_ASSIGN(const bool dirty, is_dirty(tenant, *source, needed));
      TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(tenant, *source));
      report.conversations +=
          static_cast<std::uint64_t>(std::count(dead.begin(), dead.end(), true));
      any_dirty = any_dirty || dirty;
      bool is_chosen = dirty;
      if (!is_chosen && also) {
        TOKVAULT_ASSIGN(is_chosen, also(*source));
      }
      if (!is_chosen) continue;
      if (source->is_pack()) {
        packs.push_back(state_.packs().at(source->file()));
        total += packs.back()->size_bytes();
        continue;
      }
      newest_log = std::max(newest_log, source->file());
    }
  }
  logs = logs_until(newest_log);
  for (const auto& log : logs) total += log->size_bytes();
  report.files = logs.size() + packs.size();
  report.bytes_before = data_bytes();
  if (dry_run) return report;

  if (std::find(logs.begin(), logs.end(), log_) != logs.end()) TOKVAULT_TRY(rotate());
  stager_->forget_other_files();
  std::uint64_t done = 0;
  auto go_on = [&]() -> Status {
    if (progress && !progress(done, total)) {
      return Error(Errc::cancelled, "stopped after " + std::to_string(done) + " bytes");
    }
    return {};
  };
  // In the order in which they were written: a removal goes when nothing older is left of what it
  // removed.
  std::map<std::uint64_t, std::uint64_t> last_sequence;
  for (const CatalogFile& f : state_.files()) last_sequence[f.number] = f.sequence_last;
  std::sort(packs.begin(), packs.end(), [&](const auto& a, const auto& b) {
    return last_sequence[a->file()] < last_sequence[b->file()];
  });
  auto seal_until = [&](std::uint64_t sequence) -> Status {
    while (!logs.empty() && logs.front()->next_sequence() <= sequence) {
      TOKVAULT_TRY(go_on());
      const std::uint64_t before = logs.front()->size_bytes();
      TOKVAULT_TRY(seal_log(logs.front(), true, level.value_or(options_.level)));
      logs.erase(logs.begin());
      done += before;
    }
    return {};
  };
  for (const auto& pack : packs) {
    TOKVAULT_TRY(seal_until(last_sequence[pack->file()]));
    TOKVAULT_TRY(go_on());
    const TenantState* tenant = state_.tenant(pack->tenant());
    if (tenant == nullptr) return Error(Errc::corrupt, pack->name() + ": of an unknown tenant");
    TOKVAULT_ASSIGN(const Needed needed, needed_externals(*tenant));
    TOKVAULT_ASSIGN(const auto all, pack->records());
    std::vector<Record> records = kept_records(all);
    std::erase_if(records, is_worded_removal);
    TOKVAULT_ASSIGN(auto builder, gather(*tenant, pack, true, &needed, records));
    std::vector<std::unique_ptr<PackBuilder>> builders;
    builders.push_back(std::move(builder));
    TOKVAULT_ASSIGN(auto files,
                    publish(state_.vault(), std::move(builders), {pack->file()},
                            level.value_or(std::max(options_.level, pack->footer().level)),
                            PackPurpose::compact));
    TOKVAULT_TRY(swap(std::move(files), {pack->file()}, {}));
    done += pack->size_bytes();
  }
  TOKVAULT_TRY(seal_until(~std::uint64_t{0}));
  TOKVAULT_TRY(substrings_.remove_unused());
  report.bytes_after = data_bytes();
  TOKVAULT_TRY(forget_deletions(any_dirty));
  if (progress) (void)progress(total, total);
  return report;
}

Status VaultImpl::rewrite_pack(const std::shared_ptr<PackFile>& pack) {
  const TenantState* tenant = state_.tenant(pack->tenant());
  if (tenant == nullptr) return Error(Errc::corrupt, pack->name() + ": of an unknown tenant");
  TOKVAULT_ASSIGN(const auto records, pack->records());
  TOKVAULT_ASSIGN(auto builder, gather(*tenant, pack, false, nullptr, kept_records(records)));
  std::vector<std::unique_ptr<PackBuilder>> builders;
  builders.push_back(std::move(builder));
  TOKVAULT_ASSIGN(auto files,
                  publish(state_.vault(), std::move(builders), {pack->file()},
                          std::max(options_.level, pack->footer().level), PackPurpose::compact));
  return swap(std::move(files), {pack->file()}, {});
}

// REQUIRES: no file has dead rows
Status VaultImpl::forget_deletions(bool any_erased) {
  CatalogChange change;
  change.generation = state_.generation();
  TOKVAULT_ASSIGN(const CatalogState catalog, catalog_->load());
  for (const CatalogRecord& r : catalog.records) {
    if (!r.key.empty() && r.key[0] == static_cast<char>(RecordKind::deletion)) {
      change.remove_records.push_back(r.key);
    }
  }
  any_erased = any_erased || !change.remove_records.empty();
  if (!change.remove_records.empty()) {
    TOKVAULT_ASSIGN(const std::uint64_t generation, catalog_->commit(change));
    (void)generation;
    TOKVAULT_ASSIGN(const CatalogState now, catalog_->load());
    std::unique_lock state_lock(state_mutex_);
    TOKVAULT_TRY(take(now));
  }
  TOKVAULT_TRY(catalog_->vacuum());
  // What repair put aside may hold what was forgotten. As long as nothing was, it is evidence.
  if (any_erased) {
    TOKVAULT_ASSIGN(const auto aside, backend_->list("quarantine"));
    for (const BlobInfo& blob : aside) TOKVAULT_TRY(backend_->remove(blob.name));
  }
  return {};
}

Result<CompactReport> VaultImpl::compact(const CompactOptions& options, const Progress& progress) {
  std::lock_guard lock(write_mutex_);
  TOKVAULT_TRY(check_writable());
  TOKVAULT_TRY(prepare_log());
  join_sealing();
  const MergePause pause(*this);
  TOKVAULT_TRY(settle());
  TOKVAULT_TRY(expect_no_damage());
  CompactReport report;
  TOKVAULT_TRY(retire_erased());
  TOKVAULT_TRY(substrings_.retire_unheld());
  bool any_dirty = false;
  for (const auto& [number, tenant] : state_.tenants()) {
    TOKVAULT_ASSIGN(const Needed needed, needed_externals(tenant));
    for (const auto& source : state_.sources(number)) {
      TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(tenant, *source));
      report.conversations +=
          static_cast<std::uint64_t>(std::count(dead.begin(), dead.end(), true));
      if (any_dirty) continue;
      TOKVAULT_ASSIGN(any_dirty, is_dirty(tenant, *source, needed));
    }
  }
  report.bytes_before = data_bytes();
  std::uint64_t done = 0;
  const std::uint64_t total = report.bytes_before;
  auto step = [&](std::uint64_t bytes) -> Status {
    done = std::min(total, done + bytes);
    if (progress && !progress(done, total)) {
      return Error(Errc::cancelled, "stopped after " + std::to_string(done) + " bytes");
    }
    return {};
  };
  // Logs become packs first, fast, with all that they hold: what is merged does not change.
  if (!log_->parts().empty() || !log_->records().empty()) TOKVAULT_TRY(rotate());
  stager_->forget_other_files();
  std::vector<std::shared_ptr<LogFile>> logs;
  for (const auto& [number, log] : state_.logs()) {
    if (log != log_) logs.push_back(log);
  }
  report.files = logs.size();
  for (const auto& log : logs) {
    TOKVAULT_TRY(step(0));
    TOKVAULT_TRY(seal_log(log, false, Level::fast));
  }
  bool all = true;
  std::vector<std::uint32_t> tenants;
  for (const auto& [number, tenant] : state_.tenants()) tenants.push_back(number);
  for (const std::uint32_t number : tenants) {
    for (auto& packs : merge_steps(number, options, all)) {
      TOKVAULT_TRY(merge(number, packs, options, step, report));
    }
  }
  TOKVAULT_TRY(substrings_.remove_unused());
  report.bytes_after = data_bytes();
  if (all) TOKVAULT_TRY(forget_deletions(any_dirty));
  if (progress) (void)progress(total, total);
  return report;
}

// A tenant's packs in the order in which they were written (a removal goes when nothing older is
// left of what it removed), in steps of bounded size and memory.
std::vector<std::vector<std::shared_ptr<PackFile>>> VaultImpl::merge_steps(
    std::uint32_t tenant, const CompactOptions& options, bool& all) const {
  std::vector<const CatalogFile*> files;
  for (const CatalogFile& f : state_.files()) {
    if (f.kind != CatalogFile::Kind::pack || f.tenant != tenant) continue;
    if (f.time_last_ms >= options.older_than_ms) {
      all = false;
      continue;
    }
    files.push_back(&f);
  }
  std::sort(files.begin(), files.end(), [](const CatalogFile* a, const CatalogFile* b) {
    return a->sequence_last != b->sequence_last ? a->sequence_last < b->sequence_last
                                                : a->number < b->number;
  });
  using Packs = std::vector<std::shared_ptr<PackFile>>;
  struct Size {
    std::uint64_t bytes = 0;
    std::uint64_t weight = 0;
  };
  auto exceeds = [&](const Size& size, std::uint64_t parts) {
    return size.bytes > kMergeBytesMax / parts || size.weight > options.memory_bytes / parts;
  };
  auto add = [](Packs& to, Size& size, const std::shared_ptr<PackFile>& pack) {
    to.push_back(pack);
    size.bytes += pack->size_bytes();
    size.weight += merge_weight(pack->footer());
  };
  // What one compaction made stays together, so that it is found to be compact.
  std::vector<std::pair<Packs, Size>> units;
  std::map<Buffer, std::size_t> unit_of;
  Size total;
  for (const CatalogFile* f : files) {
    const auto& pack = state_.packs().at(f->number);
    std::size_t unit = units.size();
    if (pack->footer().made_by == PackMaker::compaction) {
      unit = unit_of.try_emplace(pack->footer().set_id, unit).first->second;
    }
    if (unit == units.size()) units.emplace_back();
    add(units[unit].first, units[unit].second, pack);
    total.bytes += pack->size_bytes();
    total.weight += merge_weight(pack->footer());
  }
  std::vector<Packs> steps;
  Size size;
  bool is_open = false;
  auto put = [&](const Packs& packs, const Size& unit, bool alone) {
    const Size both{size.bytes + unit.bytes, size.weight + unit.weight};
    if (!is_open || alone || exceeds(both, 1)) {
      steps.emplace_back();
      size = {};
    }
    for (const auto& pack : packs) add(steps.back(), size, pack);
    is_open = !alone;
  };
  for (const auto& [packs, unit] : units) {
    // Half of a step gains little by another.
    const bool alone = exceeds(total, 1) && exceeds(unit, 2) && is_compact(packs, options);
    if (alone || !exceeds(unit, 1)) {
      put(packs, unit, alone);
      continue;
    }
    for (const auto& pack : packs) {
      put({pack}, {pack->size_bytes(), merge_weight(pack->footer())}, false);
    }
  }
  return steps;
}

// What one compaction made, and nothing has changed since.
bool VaultImpl::is_compact(const std::vector<std::shared_ptr<PackFile>>& packs,
                           const CompactOptions& options) const {
  const TenantState* tenant = state_.tenant(packs.front()->tenant());
  if (tenant == nullptr || packs.front()->footer().set_members.size() != packs.size()) return false;
  auto needed = needed_externals(*tenant);
  if (!needed) return false;
  for (const auto& pack : packs) {
    const PackFooter& f = pack->footer();
    if (f.set_id != packs.front()->footer().set_id || f.level != options.level ||
        f.made_by != PackMaker::compaction ||
        (options.pack_bytes_max > 0 && pack->size_bytes() > options.pack_bytes_max)) {
      return false;
    }
    auto dirty = is_dirty(*tenant, *pack, *needed);
    if (!dirty || *dirty) return false;
  }
  return true;
}

namespace {

// Whether what these packs hold comes into one.
bool fits_one_pack(const std::vector<std::shared_ptr<PackFile>>& packs,
                   const CompactOptions& options) {
  std::uint64_t text = 0;
  std::uint64_t disk = 0;
  for (const auto& pack : packs) {
    text += pack->footer().streams[kTokenStream].text_bytes;
    disk += pack->size_bytes();
  }
  return text <= kDictionaryTextBytes &&
         (options.pack_bytes_max == 0 || disk <= options.pack_bytes_max);
}

}  // namespace

Status VaultImpl::merge(std::uint32_t number, const std::vector<std::shared_ptr<PackFile>>& packs,
                        const CompactOptions& options, const Merge::Step& step,
                        CompactReport& report) {
  const bool is_done = is_compact(packs, options);
  if (is_done && !options.retrain) return {};
  const TenantState* tenant = state_.tenant(number);
  if (tenant == nullptr) {
    return Error(Errc::corrupt, packs.front()->name() + ": of an unknown tenant");
  }
  MergeOptions merge_options;
  merge_options.turn = &encoding_;
  merge_options.tenant = tenant->record;
  merge_options.level = options.level;
  merge_options.pack_bytes_max = options.pack_bytes_max;
  merge_options.artifacts = pack_artifacts(number);
  PackIdentity identity;
  identity.vault = state_.vault();
  identity.set_id = random_bytes(16);
  identity.tenant_rows = state_.rows_in_packs(number);
  std::vector<Record> records;
  for (const auto& pack : packs) {
    merge_options.input_bytes += pack->size_bytes();
    identity.set_supersedes.push_back(pack->file());
    TOKVAULT_ASSIGN(const auto of_pack, pack->records());
    records.insert(records.end(), of_pack.begin(), of_pack.end());
  }
  records = kept_records(last_of_each(records));
  std::erase_if(records, is_worded_removal);
  // What files outside of this step need of it.
  const auto supersedes = identity.set_supersedes;
  TOKVAULT_ASSIGN(const Needed needed, needed_externals(*tenant, supersedes));
  Retraining retraining(*this, number, supersedes, [&] { return step(0); });
  if (options.retrain) TOKVAULT_TRY(retraining.train(fits_one_pack(packs, options)));
  const std::uint64_t bytes_before = merge_options.input_bytes;
  Merge merge(tokenizer_, std::move(merge_options));
  TableSize all;
  for (const auto& pack : packs) all += size_of(pack->footer().counts);
  merge.reserve(all);
  for (const auto& pack : packs) {
    TOKVAULT_TRY(step(0));
    TOKVAULT_ASSIGN(auto dead, state_.dead_rows(*tenant, *pack));
    TOKVAULT_TRY(merge.add(pack, std::move(dead)));
  }
  if (!options.retrain) {
    TOKVAULT_ASSIGN(auto files, merge.run(*backend_, std::move(identity), std::move(records),
                                          &needed, next_file_, step));
    report.files += packs.size();
    return swap(std::move(files), supersedes, {});
  }
  TOKVAULT_TRY(is_done ? merge.plan_as_it_is() : merge.plan(step));
  TOKVAULT_TRY(retraining.choose(merge));
  const auto stays = [&] {
    return is_done && retraining.keeps_active() && !retraining.is_active_unused();
  };
  std::vector<CatalogFile> files;
  std::vector<Record> fresh;
  bool is_made = false;
  while (!is_made && !stays()) {
    TOKVAULT_ASSIGN(fresh, retraining.records(next_sequence_));
    std::vector<Record> with = records;
    with.insert(with.end(), fresh.begin(), fresh.end());
    merge.set_artifacts(retraining.artifacts());
    TOKVAULT_ASSIGN(files,
                    merge.run(*backend_, identity, std::move(with), &needed, next_file_, step));
    is_made = retraining.pays(merge, files, is_done ? std::optional(bytes_before) : std::nullopt);
    if (!is_made) TOKVAULT_TRY(merge.undo(*backend_, files));
  }
  if (is_made) {
    report.files += packs.size();
    unsettled_ = true;  // until the swap, what is put is a leftover
    TOKVAULT_TRY(retraining.put());
    next_sequence_ += fresh.size();
    TOKVAULT_TRY(swap(std::move(files), supersedes, {}, fresh));
    for (const std::uint64_t gone : retraining.removed()) {
      cache_.erase_file(gone);
      if (!backend_->remove(artifact_name(gone))) unsettled_ = true;
    }
  }
  report.retrained.push_back(retraining.report());
  return {};
}

Status VaultImpl::remove_leftovers() {
  const Leftovers leftovers(*backend_, state_);
  for (const char* folder : {"packs", "log", "artifacts"}) {
    TOKVAULT_ASSIGN(const auto blobs, backend_->list(folder));
    for (const BlobInfo& blob : blobs) {
      if (folder == std::string_view("artifacts") && !is_artifact_name(blob.name)) continue;
      next_file_ = std::max(next_file_.load(), number_of(blob.name) + 1);
      // Where a file is lost, one that it replaced may be all that is left of it.
      if (state_.has_all_files() && !leftovers.is_live(blob.name) &&
          leftovers.contains(blob.name)) {
        TOKVAULT_TRY(backend_->remove(blob.name));
      }
    }
  }
  return {};
}

// Whether a file holds segments for somebody, as far as the state knows nothing newer.
bool Leftovers::holds_anything(const std::vector<Record>& records) const {
  const std::vector<Record> last = last_of_each(records);
  return std::any_of(last.begin(), last.end(), [&](const Record& r) {
    return is_kind(r, RecordKind::hold) && r.value && state_.record_sequence(r.key) <= r.sequence &&
           !is_released(r);
  });
}

bool Leftovers::is_released(const Record& hold) const {
  if (!removals_) {
    removals_.emplace();
    for (const auto& [number, pack] : state_.packs()) {
      const auto records = pack->records();
      if (!records) continue;  // then more is held than need be
      for (const Record& r : *records) {
        if (r.value) continue;
        std::uint64_t& last = (*removals_)[r.key];
        last = std::max(last, r.sequence);
      }
    }
  }
  const auto removal = removals_->find(hold.key);
  return removal != removals_->end() && removal->second > hold.sequence;
}

Leftovers::Leftovers(const Backend& backend, const State& state)
    : backend_(backend), state_(state) {
  for (const CatalogFile& f : state.files()) live_.insert(f.number);
  for (const auto& [number, tenant] : state.tenants()) {
    for (const auto& [artifact, record] : tenant.artifacts) live_.insert(artifact);
    for (const auto& source : state.sources(number)) {
      for (const std::uint64_t artifact : source->artifacts()) live_.insert(artifact);
    }
  }
  for (const auto& [number, pack] : state.packs()) {
    superseded_.insert(pack->footer().set_supersedes.begin(), pack->footer().set_supersedes.end());
  }
}

bool Leftovers::contains(std::string_view name) const {
  const std::uint64_t number = number_of(name);
  // Registered before it was named, retired when it no longer was: either was interrupted.
  if (name.starts_with("artifacts/")) return is_artifact_name(name);
  if (superseded_.contains(number)) return true;
  if (name.starts_with("log/")) {
    // Of a rotation: empty.
    auto log = LogFile::open(backend_, number, 0);
    return log && (*log)->vault() && (*log)->vault()->id == state_.vault().id &&
           (*log)->lost().empty() && !holds_anything((*log)->records()) &&
           std::all_of((*log)->parts().begin(), (*log)->parts().end(),
                       [&](const auto& part) { return is_dead(*part.second); });
  }
  Cache cache(0);
  auto pack = PackFile::open(backend_, cache, number);
  if (!pack || (*pack)->footer().vault.id != state_.vault().id) return false;
  const auto& replaces = (*pack)->footer().set_supersedes;
  if (std::all_of(replaces.begin(), replaces.end(),
                  [&](std::uint64_t n) { return live_.contains(n); })) {
    return true;
  }
  const auto records = (*pack)->records();
  return records && !holds_anything(*records) && is_dead(**pack);
}

bool Leftovers::is_dead(const Source& source) const {
  const TenantState* tenant = state_.tenant(source.tenant());
  if (tenant == nullptr) return false;
  auto dead = state_.dead_rows(*tenant, source);
  return dead && static_cast<std::uint64_t>(std::count(dead->begin(), dead->end(), true)) ==
                     source.range().rows;
}

}  // namespace tokvault
