#include "vault/state.h"

#include <algorithm>
#include <tuple>

#include "base/bytes.h"

namespace tokvault {
namespace {

bool comes_before(const std::shared_ptr<const Source>& a, const std::shared_ptr<const Source>& b) {
  const auto place = [](const Source& s) {
    return std::tuple(s.range().sequence_first, !s.is_pack(), s.file());
  };
  return place(*a) < place(*b);
}

}  // namespace

State State::copy() const {
  State out(*this);
  for (auto& [number, log] : out.logs_) log = log->copy_for_reading();
  out.rebuild_sources();
  return out;
}

State State::successor() const {
  State out(*backend_, *cache_, decode_text_);
  out.packs_ = packs_;
  out.logs_ = logs_;
  return out;
}

Status State::load(const CatalogState& catalog, Unreadable unreadable,
                   std::vector<std::pair<CatalogFile, Error>>* errors) {
  TOKVAULT_ASSIGN(vault_, decode_vault(catalog.vault_record));
  std::map<std::uint64_t, std::shared_ptr<PackFile>> packs;
  std::map<std::uint64_t, std::shared_ptr<LogFile>> logs;
  std::map<std::uint64_t, LostPack> lost_packs;
  auto failed = [&](const CatalogFile& file, Error error) -> Status {
    if (unreadable == Unreadable::fails) return error;
    if (unreadable == Unreadable::lost_is_noted && !is_lost(error.code())) return error;
    if (file.kind == CatalogFile::Kind::log && is_lost(error.code())) {
      logs[file.number] = LogFile::make_gone(file.number, error, file.sequence_first);
    }
    if (file.kind == CatalogFile::Kind::pack) {
      lost_packs[file.number] = {file, error.code(), without_name(error, pack_name(file.number))};
    }
    if (errors != nullptr) errors->push_back({file, std::move(error)});
    return {};
  };
  for (const CatalogFile& f : catalog.files) {
    if (f.kind == CatalogFile::Kind::pack) {
      if (auto it = packs_.find(f.number); it != packs_.end()) {
        packs.insert(*it);
        continue;
      }
      auto pack = PackFile::open(*backend_, *cache_, f.number);
      if (pack && (*pack)->footer().vault.id != vault_.id) {
        pack = Error(Errc::corrupt, pack_name(f.number) + ": it belongs to another vault");
      }
      if (pack) {
        packs[f.number] = std::move(*pack);
      } else {
        TOKVAULT_TRY(failed(f, std::move(pack).error()));
      }
    } else {
      if (auto it = logs_.find(f.number); it != logs_.end() && !it->second->is_gone()) {
        logs.insert(*it);
        continue;
      }
      auto log = LogFile::open(*backend_, f.number, f.size_bytes, f.sequence_first, decode_text_);
      if (log && (*log)->vault() && (*log)->vault()->id != vault_.id) {
        log = Error(Errc::corrupt, log_name(f.number) + ": it belongs to another vault");
      }
      if (log) {
        logs[f.number] = std::move(*log);
      } else {
        TOKVAULT_TRY(failed(f, std::move(log).error()));
      }
    }
  }
  // The catalog has no removals, since nothing is left there that they could remove. What a log
  // holds is applied anew, so that a removal must be known which was written later and lies in a
  // pack already: [V3]. Logs are sealed in order, and a pack later than a log comes from a rewrite
  // that was interrupted, or from a log that could not be sealed.
  std::vector<Record> removals;
  std::uint64_t first_of_logs = UINT64_MAX;
  for (const auto& [number, log] : logs) {
    if (log->first_sequence() > 0) first_of_logs = std::min(first_of_logs, log->first_sequence());
  }
  for (const CatalogFile& f : catalog.files) {
    const auto pack = packs.find(f.number);
    if (pack == packs.end() || f.sequence_last < first_of_logs) continue;
    auto records = pack->second->records();
    if (!records) {
      packs.erase(pack);
      TOKVAULT_TRY(failed(f, std::move(records).error()));
      continue;
    }
    for (Record& r : *records) {
      if (!r.value) removals.push_back(std::move(r));
    }
  }
  for (const auto& [number, pack] : packs_) {
    if (!packs.contains(number)) cache_->erase_file(number);
  }
  packs_ = std::move(packs);
  logs_ = std::move(logs);
  lost_packs_ = std::move(lost_packs);
  successors_.clear();
  for (const auto& [number, pack] : packs_) {
    for (const std::uint64_t replaced : pack->footer().set_supersedes) {
      successors_[replaced].push_back(number);
    }
  }
  files_ = catalog.files;
  generation_ = catalog.generation;
  records_.clear();
  tenants_.clear();
  numbers_.clear();
  applied_.clear();
  catalog_sequence_ = 0;
  for (const CatalogFile& f : files_) {
    catalog_sequence_ = std::max(catalog_sequence_, f.sequence_last + 1);
  }
  for (const CatalogRecord& r : catalog.records) {
    catalog_sequence_ = std::max(catalog_sequence_, r.sequence + 1);
    apply({r.key, r.value, r.sequence});
  }
  for (const Record& r : removals) apply(r);
  for (const auto& [number, log] : logs_) apply_new_records(*log);
  end_gone_logs();
  apply_losses();
  rebuild_sources();
  return {};
}

// Logs are written one after another: what is in one was numbered before whatever is in the next.
void State::end_gone_logs() {
  // A log is closed at 64 MB of text and what one commit adds, and a number takes a byte of it.
  constexpr std::uint64_t kNumbersMax = std::uint64_t{1} << 40;
  std::uint64_t next = 0;  // the first number of a later log, if that is known
  for (auto it = files_.rbegin(); it != files_.rend(); ++it) {
    const auto log = it->kind == CatalogFile::Kind::log ? logs_.find(it->number) : logs_.end();
    if (log == logs_.end()) continue;
    if (log->second->is_gone()) {
      const std::uint64_t end = it->sequence_last > 0 ? it->sequence_last + 1
                                : next > 0            ? next
                                                      : next_sequence() + kNumbersMax;
      // The last log of its time may have been taken to be as long as that.
      log->second->end_gone(end, end < it->sequence_first + kNumbersMax);
    }
    const std::uint64_t first =
        it->sequence_first > 0 ? it->sequence_first : log->second->first_sequence();
    if (first > 0) next = first;
  }
}

void State::apply_losses() {
  damage_.clear();
  unknown_damage_ = {};
  auto note = [](TenantDamage& d, const LogFile& log, const LostCommits& lost) {
    d.lost_until = std::max(d.lost_until, lost.end);
    d.unheld_until = std::max(d.unheld_until, lost.end);
    if (!lost.changes) {
      d.unproven_until = std::max(d.unproven_until, lost.end);
      d.untagged_until = std::max(d.untagged_until, lost.end);
    } else {
      for (const IdHash& id : lost.changes->tagged) {
        d.tagged[id] = std::max(d.tagged[id], lost.end);
      }
    }
    if (!d.where.empty()) return;
    d.where = log.name() + (lost.code == Errc::not_found ? " is missing" : " is damaged");
  };
  // What a pack replaced or deleted is in the catalog; what it held is not.
  for (const auto& [number, pack] : lost_packs_) {
    TenantDamage& d = damage_[pack.file.tenant];
    d.lost_until = std::max(d.lost_until, pack.file.sequence_last + 1);
    if (d.where.empty()) d.where = pack_name(number) + " cannot be read";
  }
  for (const auto& [log_number, log] : logs_) {
    for (const LostCommits& lost : log->lost()) {
      for (const auto& [number, tenant] : tenants_) {
        if (!lost.tenant || *lost.tenant == number) note(damage_[number], *log, lost);
      }
      const bool is_known = lost.tenant && tenants_.contains(*lost.tenant);
      if (!is_known) note(unknown_damage_, *log, lost);
      if (!is_known || !lost.changes) continue;
      for (const IdHash& id : lost.changes->deleted) {
        apply({deletion_key(*lost.tenant, id), Buffer(), lost.end - 1});
      }
    }
  }
}

const TenantDamage& State::damage(const TenantState* tenant) const {
  static const TenantDamage kNone;
  if (tenant == nullptr) return unknown_damage_;
  const auto it = damage_.find(tenant->record.number);
  return it == damage_.end() ? kNone : it->second;
}

Status State::expect_whole() const {
  for (const auto& [number, log] : logs_) {
    if (!log->lost().empty()) return Error(log->lost()[0].code, log->name());
  }
  for (const auto& [number, pack] : lost_packs_) return Error(pack.code, pack_name(number));
  return {};
}

bool State::has_all_files() const {
  return lost_packs_.empty() && std::none_of(logs_.begin(), logs_.end(),
                                             [](const auto& log) { return log.second->is_gone(); });
}

std::uint64_t State::rows_in_packs(std::uint32_t tenant,
                                   std::span<const std::uint64_t> without) const {
  std::uint64_t rows = 0;
  for (const CatalogFile& f : files_) {
    if (f.kind != CatalogFile::Kind::pack || f.tenant != tenant) continue;
    if (std::find(without.begin(), without.end(), f.number) == without.end()) {
      rows += f.conversations;
    }
  }
  return rows;
}

void State::add_log(std::shared_ptr<LogFile> log) {
  logs_[log->number()] = std::move(log);
  rebuild_sources();
}

Status State::apply_batch(LogFile& log, const BatchHeader& header, std::uint64_t payload_size,
                          Buffer body, Buffer text) {
  TOKVAULT_TRY(log.apply(header, payload_size, std::move(body), std::move(text)));
  apply_new_records(log);
  if (const auto part = log.parts().find(header.tenant); part != log.parts().end()) {
    rebuild_sources(header.tenant, part->second);
  }
  return {};
}

void State::apply_new_records(const LogFile& log) {
  std::size_t& done = applied_[log.number()];
  for (; done < log.records().size(); ++done) apply(log.records()[done]);
}

void State::rebuild_sources() {
  sources_.clear();
  for (const auto& [number, pack] : packs_) sources_[pack->tenant()].push_back(pack);
  for (const auto& [number, log] : logs_) {
    for (const auto& [tenant, part] : log->parts()) sources_[tenant].push_back(part);
  }
  for (auto& [tenant, list] : sources_) std::sort(list.begin(), list.end(), comes_before);
}

// A commit changes one part of a log: the lists of the others are as they were.
void State::rebuild_sources(std::uint32_t tenant, const std::shared_ptr<LogPart>& part) {
  auto& list = sources_[tenant];
  if (std::find(list.begin(), list.end(), part) == list.end()) list.push_back(part);
  if (!std::is_sorted(list.begin(), list.end(), comes_before)) {
    std::sort(list.begin(), list.end(), comes_before);
  }
}

Result<bool> State::follow() {
  bool grown = false;
  Error first_error;
  for (const auto& [number, log] : logs_) {
    auto more = log->follow(*backend_);
    // What came before an error is taken in, and what it deletes must go with it.
    grown = grown || !more || *more;
    apply_new_records(*log);
    if (!more && first_error.code() == Errc::ok) first_error = std::move(more).error();
  }
  if (grown) rebuild_sources();
  if (first_error.code() != Errc::ok) return first_error;
  return grown;
}

void State::apply(const Record& record) {
  RecordState& state = records_[record.key];
  if (state.sequence > record.sequence) return;  // [V3]
  state.sequence = record.sequence;
  state.value = record.value;
  IdKey key;
  if (record.key.empty()) return;
  switch (static_cast<RecordKind>(record.key[0])) {
    case RecordKind::tenant:
      if (record.value) {
        if (auto t = decode_tenant(*record.value)) {
          numbers_[t->name] = t->number;
          tenants_[t->number].record = std::move(*t);
        }
      }
      break;
    case RecordKind::deletion:
      if (parse_id_key(record.key, RecordKind::deletion, key)) {
        auto& deletions = tenants_[key.tenant].deletions;
        if (record.value) {
          deletions[key.id] = record.sequence;
        } else {
          deletions.erase(key.id);
        }
      }
      break;
    case RecordKind::tag:
      if (parse_id_key(record.key, RecordKind::tag, key)) {
        auto& tags = tenants_[key.tenant].tags;
        if (record.value) {
          tags[key.id].insert(std::string(key.tag));
        } else if (auto it = tags.find(key.id); it != tags.end()) {
          it->second.erase(std::string(key.tag));
          if (it->second.empty()) tags.erase(it);
        }
      }
      break;
    case RecordKind::artifact:
      if (ArtifactKey artifact; parse_artifact_key(record.key, artifact)) {
        TenantState& tenant = tenants_[artifact.tenant];
        auto value = record.value ? decode_artifact_record(*record.value)
                                  : Result<ArtifactRecord>(Error(Errc::not_found, "removed"));
        tenant.unknown_artifacts.erase(artifact.number);
        if (value) {
          tenant.artifacts[artifact.number] = *value;
        } else {
          tenant.artifacts.erase(artifact.number);
          if (record.value) tenant.unknown_artifacts.insert(artifact.number);
        }
      }
      break;
    case RecordKind::active:
      if (ArtifactKey active; parse_active_key(record.key, active)) {
        auto& by_kind = tenants_[active.tenant].active;
        auto number = record.value ? decode_active(*record.value)
                                   : Result<std::uint64_t>(Error(Errc::not_found, "removed"));
        if (number) {
          by_kind[active.kind] = *number;
        } else {
          by_kind.erase(active.kind);
        }
      }
      break;
    case RecordKind::progress:
    case RecordKind::hold:  // looked up by key
      break;
  }
}

std::uint64_t State::next_sequence() const {
  // 0 stands for "none", so that numbers begin at 1.
  std::uint64_t next = std::max<std::uint64_t>(1, catalog_sequence_);
  for (const auto& [number, log] : logs_) next = std::max(next, log->next_sequence());
  return next;
}

std::vector<Record> State::live_records() const {
  std::vector<Record> out;
  for (const auto& [key, state] : records_) {
    if (state.value) out.push_back({key, state.value, state.sequence});
  }
  return out;
}

std::optional<Record> State::find_record(ByteView key) const {
  const auto it = records_.find(key);
  if (it == records_.end() || !it->second.value) return std::nullopt;
  return Record{it->first, it->second.value, it->second.sequence};
}

std::vector<Record> State::find_records(ByteView prefix) const {
  std::vector<Record> out;
  visit_records(prefix, prefix, [&](Record r) {
    out.push_back(std::move(r));
    return true;
  });
  return out;
}

std::uint64_t State::record_sequence(ByteView key) const {
  const auto it = records_.find(key);
  return it == records_.end() ? 0 : it->second.sequence;
}

const TenantState* State::tenant(std::string_view name) const {
  const auto it = numbers_.find(name);
  return it == numbers_.end() ? nullptr : tenant(it->second);
}

const TenantState* State::tenant(std::uint32_t number) const {
  const auto it = tenants_.find(number);
  return it == tenants_.end() ? nullptr : &it->second;
}

const std::vector<std::shared_ptr<const Source>>& State::sources(std::uint32_t tenant) const {
  static const std::vector<std::shared_ptr<const Source>> kNone;
  const auto it = sources_.find(tenant);
  return it == sources_.end() ? kNone : it->second;
}

std::shared_ptr<const Source> State::source_in(std::uint64_t file, std::uint32_t tenant) const {
  if (const auto it = packs_.find(file); it != packs_.end() && it->second->tenant() == tenant) {
    return it->second;
  }
  if (const auto it = logs_.find(file); it != logs_.end()) {
    if (const auto part = it->second->parts().find(tenant); part != it->second->parts().end()) {
      return part->second;
    }
  }
  return nullptr;
}

bool State::is_dead(const TenantState& tenant, const IdHash& id, std::uint64_t sequence) {
  const auto it = tenant.deletions.find(id);
  return it != tenant.deletions.end() && it->second > sequence;  // [V1]
}

Result<std::optional<Found>> State::find(const TenantState& tenant, std::string_view id) const {
  const IdHash hash = hash_id(tenant.record.key, id);
  const auto deletion = tenant.deletions.find(hash);
  std::optional<Found> best;
  auto look_in = [&](const std::shared_ptr<const Source>& source) -> Status {
    TOKVAULT_ASSIGN(const auto rows, source->rows_of(hash));
    if (rows.empty()) return {};
    TOKVAULT_ASSIGN(auto tables, source->tables());
    for (std::uint32_t row : rows) {
      const std::uint64_t sequence = tables->rows[row].sequence;
      if (tables->ids[row] != id || is_dead(tenant, hash, sequence)) continue;
      if (!best || best->get().sequence < sequence) best = Found{source, tables, row};  // [V2]
    }
    return {};
  };
  Error unread;
  // A visible row is the conversation [I5], so that the packs before need not be asked.
  const auto& all = sources(tenant.record.number);
  for (auto it = all.rbegin(); it != all.rend() && !best; ++it) {
    const auto& source = *it;
    const Source::Range range = source->range();
    if (range.rows == 0) continue;
    if (Status status = look_in(source); !status) {
      if (status.code() != Errc::corrupt) return std::move(status).error();
      // Whatever it holds of this id is dead.
      if (deletion != tenant.deletions.end() && deletion->second > range.sequence_last) continue;
      if (unread.code() == Errc::ok) unread = std::move(status).error();
    }
  }
  // So it is if what cannot be read may hold another: with a newer version came its deletion.
  if (!best && unread.code() != Errc::ok) return unread;
  return best;
}

Result<std::vector<bool>> State::dead_rows(const TenantState& tenant, const Source& source) const {
  std::vector<bool> dead;
  const Source::Range range = source.range();
  std::shared_ptr<const Tables> tables;
  for (const auto& [id, sequence] : tenant.deletions) {
    if (range.rows == 0 || sequence <= range.sequence_first) continue;
    TOKVAULT_ASSIGN(const auto rows, source.rows_of(id));
    for (std::uint32_t row : rows) {
      if (!tables) {
        TOKVAULT_ASSIGN(tables, source.tables());
      }
      if (tables->rows[row].sequence >= sequence) continue;
      if (dead.empty()) dead.resize(tables->rows.size());
      dead[row] = true;
    }
  }
  return dead;
}

Result<State::Located> State::locate(std::uint32_t tenant, const External& external,
                                     Scratch& scratch) const {
  // The hint is often a log that was sealed since: then it is in that log's packs.
  std::vector<std::shared_ptr<const Source>> hinted;
  auto add = [&](std::uint64_t file) {
    if (auto source = source_in(file, tenant)) hinted.push_back(std::move(source));
  };
  add(external.file_hint);
  if (hinted.empty()) {
    if (const auto it = successors_.find(external.file_hint); it != successors_.end()) {
      for (const std::uint64_t pack : it->second) add(pack);
    }
  }
  for (const auto& source : hinted) {
    TOKVAULT_ASSIGN(const auto number,
                    source->find_segment(external.stream, external.digest, scratch));
    if (number) return Located{source, *number};
  }
  Error first_error;
  const auto& all = sources(tenant);
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    if (std::find(hinted.begin(), hinted.end(), *it) != hinted.end()) continue;
    auto number = (*it)->find_segment(external.stream, external.digest, scratch);
    if (!number) {
      if (first_error.code() == Errc::ok) first_error = std::move(number).error();
      continue;
    }
    if (*number) return Located{*it, **number};
  }
  if (first_error.code() != Errc::ok) return first_error;
  for (const auto& [number, pack] : lost_packs_) {
    if (pack.file.tenant == tenant) {
      return Error(is_lost(pack.code) ? Errc::corrupt : pack.code,
                   "a segment of another file is in none; " + pack_name(number) +
                       " cannot be read: " + pack.what);
    }
  }
  return Error(Errc::corrupt,
               "a segment of another file is in none: " +
                   to_hex(ByteView(reinterpret_cast<const char*>(external.digest.data()),
                                   external.digest.size())));
}

}  // namespace tokvault
