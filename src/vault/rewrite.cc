// Sealing, garbage collection and compaction: all three make packs of what is kept of a file, and
// swap them for it in one commit of the catalog.
//
// Order of a rewrite: build, decode and compare, put the packs (durable), commit the catalog,
// remove the old files. A crash before the commit leaves packs that no catalog names, a crash after
// it leaves files that it names no more; the next writer removes both (remove_leftovers).
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <system_error>

#include "base/checksum.h"
#include "vault/recovery.h"
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

Result<bool> VaultImpl::hides_something(const Record& deletion,
                                        std::span<const std::uint64_t> without) const {
  IdKey key;
  if (!parse_id_key(deletion.key, RecordKind::deletion, key)) return true;
  for (const auto& source : state_.sources(key.tenant)) {
    const Source::Range range = source->range();
    if (range.rows == 0 || range.sequence_first >= deletion.sequence ||
        std::find(without.begin(), without.end(), source->file()) != without.end()) {
      continue;
    }
    TOKVAULT_ASSIGN(const auto rows, source->rows_of(key.id));
    if (rows.empty()) continue;
    TOKVAULT_ASSIGN(const auto tables, source->tables());
    for (const std::uint32_t row : rows) {
      if (tables->rows[row].sequence < deletion.sequence) return true;
    }
  }
  return false;
}

Status VaultImpl::drop_settled(std::vector<Record>& records,
                               std::span<const std::uint64_t> without) const {
  std::map<Buffer, std::uint64_t> oldest;  // by key, of what other files hold
  for (const Record& r : records) {
    if (is_worded_removal(r)) oldest[r.key] = UINT64_MAX;
  }
  auto look = [&](std::uint64_t file, const std::vector<Record>& others) {
    if (std::find(without.begin(), without.end(), file) != without.end()) return;
    for (const Record& r : others) {
      const auto removed = r.value ? oldest.find(r.key) : oldest.end();
      if (removed != oldest.end()) removed->second = std::min(removed->second, r.sequence);
    }
  };
  if (!oldest.empty()) {
    for (const auto& [number, log] : state_.logs()) look(number, log->records());
    for (const auto& [number, pack] : state_.packs()) {
      TOKVAULT_ASSIGN(const auto of_pack, pack->records());
      look(number, of_pack);
    }
  }
  std::vector<Record> kept;
  for (Record& r : records) {
    if (is_worded_removal(r)) {
      if (oldest.at(r.key) > r.sequence) continue;
    } else if (is_kind(r, RecordKind::deletion)) {
      TOKVAULT_ASSIGN(const bool hides, hides_something(r, without));
      if (!hides) continue;
    }
    kept.push_back(std::move(r));
  }
  records = std::move(kept);
  return {};
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
    TOKVAULT_ASSIGN(const CatalogFile file,
                    put_pack(*backend_, *builders[i], identity, level, purpose, encoding_));
    files.push_back(file);
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
  TOKVAULT_TRY(take(catalog));
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
  std::vector<Record> carried = kept_records(records);
  if (drop_dead) {
    const std::uint64_t replaced[]{log->number()};
    TOKVAULT_TRY(drop_settled(carried, replaced));
    // The catalog needs to know of what was removed, but not of what is gone: on a full disk there
    // may be no room for it.
    std::set<ByteView> hiding;
    for (const Record& r : carried) hiding.insert(r.key);
    std::erase_if(records, [&](const Record& r) {
      return is_kind(r, RecordKind::deletion) && !hiding.contains(r.key);
    });
  }
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
    for (const Record& r : carried) {
      if (is_kind(r, RecordKind::tenant)) continue;
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
  unsettled_ = true;  // until the swap, what is put is a leftover
  TOKVAULT_ASSIGN(Sealed sealed, encode_log(log, drop_dead, level));
  return swap(std::move(sealed.files), {sealed.log}, sealed.records);
}

void VaultImpl::start_sealing() {
  std::vector<std::shared_ptr<LogFile>> logs;
  for (const auto& [number, log] : state_.logs()) {
    // As a pack, a damaged log would look as if that were all it had held.
    if (log != log_ && log->lost().empty()) logs.push_back(log);
  }
  auto work = [this, logs = std::move(logs)] {
    for (const auto& log : logs) {
      auto sealed = [&]() -> Result<Sealed> {
        try {
          return encode_log(log, false, options_.level);
        } catch (const std::exception& e) {
          return Error(Errc::exhausted, e.what());
        }
      }();
      std::lock_guard lock(seal_mutex_);
      if (!sealed) {
        has_seal_leftovers_ = true;
        seal_error_ = std::move(sealed).error();
        break;
      }
      sealed_.push_back(std::move(*sealed));
    }
    sealing_done_ = true;
  };
  try {
    sealer_ = std::thread(std::move(work));
  } catch (const std::system_error& e) {  // the next one takes these logs, too
    note_seal_error(Error(Errc::exhausted, "no thread can be started", e.code().value()));
  }
}

void VaultImpl::join_sealing() {
  if (!sealer_.joinable()) return;
  sealer_.join();
  sealing_done_ = false;  // else the next one would be waited for at once
  // A swap settles itself alone.
  bool is_unsettled = std::exchange(has_seal_leftovers_, false) || unsettled_;
  // The swap belongs to the writer: nobody else changes the state under its hands.
  for (Sealed& s : std::exchange(sealed_, {})) {
    Status status = swap(std::move(s.files), {s.log}, s.records);
    merge_wanted_ = true;
    if (status) continue;
    is_unsettled = true;
    note_seal_error(std::move(status).error());
    break;
  }
  unsettled_ = is_unsettled;
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
  TOKVAULT_TRY(take(catalog));
  next_file_ = std::max(next_file_.load(), catalog.next_file);
  TOKVAULT_TRY(remove_leftovers());
  unsettled_ = false;
  return {};
}

Status VaultImpl::seal() {
  TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
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

}  // namespace tokvault
