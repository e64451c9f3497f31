// Rebuilding the catalog. Logs and packs say everything that it says; what they lack is which of
// them are live, and that follows from the sets of rewrites.
//
// A pack names the set of the rewrite that made it: the set's members and the files that they
// replace. If every member is whole, the files that they replace are garbage. If not, and all the
// files that they would replace are there, the rewrite was interrupted and the members are the
// garbage. If neither, something was lost: what is left of the set is kept.

#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "base/checksum.h"
#include "vault/artifacts.h"
#include "vault/log_file.h"
#include "vault/pack_file.h"
#include "vault/recovery.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kQuarantineChunk = 8u << 20;

void report_or(CheckReport* report, Error error, const std::string& file) {
  if (report != nullptr) {
    report->findings.push_back({file, error.code(), without_name(error, file)});
  }
}

// Copies a damaged file aside before anything replaces it: evidence is kept.
Status quarantine(Backend& backend, const std::string& name, std::uint64_t size) {
  const std::string target = "quarantine/" + name.substr(name.find('/') + 1);
  TOKVAULT_TRY(backend.remove(target));
  Buffer bytes, all;
  for (std::uint64_t at = 0; at < size; at += kQuarantineChunk) {
    TOKVAULT_TRY(backend.get(name, at, std::min(kQuarantineChunk, size - at), bytes));
    all += bytes;
  }
  TOKVAULT_TRY(backend.put(target, all));
  return backend.remove(name);
}

std::uint64_t pack_bytes(const CatalogState& state) {
  std::uint64_t bytes = 0;
  for (const CatalogFile& f : state.files) {
    if (f.kind == CatalogFile::Kind::pack) bytes += f.size_bytes;
  }
  return bytes;
}

// Artifacts of which no record is left are registered again: the log that said so may be lost. A
// removal is a record, so that one that was retired does not come back.
Status register_found(const Backend& backend,
                      const std::map<std::uint64_t, std::shared_ptr<LogFile>>& logs,
                      const std::set<std::uint64_t>& garbage, CatalogState& state,
                      std::map<Buffer, Record>& records, CheckReport* report) {
  TOKVAULT_ASSIGN(const auto blobs, backend.list("artifacts"));
  TOKVAULT_ASSIGN(const VaultRecord vault, decode_vault(state.vault_record));
  std::set<Buffer, std::less<>> known;
  for (const auto& [key, r] : records) known.insert(key);
  for (const auto& [number, log] : logs) {
    if (garbage.contains(number)) continue;
    for (const Record& r : log->records()) known.insert(r.key);
  }
  for (const BlobInfo& blob : blobs) {
    if (!is_artifact_name(blob.name)) continue;
    const std::uint64_t number = number_of(blob.name);
    state.next_file = std::max(state.next_file, number + 1);
    auto artifact = load_artifact(backend, number);
    if (artifact && (*artifact)->vault_id != vault.id) {
      artifact = Error(Errc::corrupt, "of another vault");
    }
    if (!artifact) {
      report_or(report, std::move(artifact).error(), blob.name);
      continue;
    }
    const Buffer key = artifact_key((*artifact)->tenant, number);
    if (!known.contains(key)) records[key] = {key, encode((*artifact)->record), 0};
  }
  return {};
}

// Whether the log lacks an artifact that may be put back, and it is known whose its batches are: a
// tenant that nobody knew would be made a second time.
bool waits_for_artifact(const LogFile& log, const CatalogState& state) {
  bool waits = false;
  for (const LostCommits& lost : log.lost()) {
    if (lost.artifact == 0) continue;
    waits = true;
    const bool is_known = std::any_of(
        state.records.begin(), state.records.end(),
        [&](const CatalogRecord& r) { return r.key == tenant_key(lost.tenant.value_or(0)); });
    if (!is_known) return false;
  }
  return waits;
}

// Makes packs of what can be read of a damaged log, one for each tenant. They also carry what is
// known of the deletions that it has lost, so that nothing comes back that was forgotten.
Status salvage(Backend& backend, const LogFile& log, CatalogState& state) {
  TOKVAULT_ASSIGN(const VaultRecord vault, decode_vault(state.vault_record));
  TOKVAULT_ASSIGN(auto bytes_tokenizer, open_tokenizer("bytes"));
  std::map<std::uint32_t, std::vector<Record>> deletions;
  for (const LostCommits& lost : log.lost()) {
    if (!lost.tenant || !lost.changes) continue;
    for (const IdHash& id : lost.changes->deleted) {
      deletions[*lost.tenant].push_back({deletion_key(*lost.tenant, id), Buffer(), lost.end - 1});
    }
  }
  std::vector<std::unique_ptr<PackBuilder>> builders;
  for (const CatalogRecord& r : state.records) {
    if (!is_kind(r.key, RecordKind::tenant)) continue;
    TOKVAULT_ASSIGN(TenantRecord tenant, decode_tenant(r.value));
    const auto part = log.parts().find(tenant.number);
    auto& lost = deletions[tenant.number];
    auto builder = std::make_unique<PackBuilder>(bytes_tokenizer);
    builder->set_tenant(std::move(tenant));
    if (part != log.parts().end()) {
      const Tables& tables = part->second->table();
      for (std::uint32_t row = 0; row < tables.rows.size(); ++row) {
        TOKVAULT_TRY(builder->add_row(*part->second, tables, row));
      }
      // Those that no row here refers to: other files or holds may.
      for (const Stream s : {kTokenStream, kByteStream}) {
        for (std::uint32_t n = 0; n < tables.segment_counts[s]; ++n) {
          TOKVAULT_TRY(builder->add_segment(*part->second, s, n));
        }
      }
    }
    if (builders.empty()) {
      for (const Record& record : log.records()) builder->add_record(record);
    }
    for (Record& record : lost) builder->add_record(std::move(record));
    if (!builder->empty()) builders.push_back(std::move(builder));
  }
  PackIdentity identity{0, vault, random_bytes(16), {}, {log.number()}};
  for (std::size_t i = 0; i < builders.size(); ++i) {
    identity.set_members.push_back(state.next_file++);
  }
  for (std::size_t i = 0; i < builders.size(); ++i) {
    identity.number = identity.set_members[i];
    TOKVAULT_ASSIGN(const Buffer pack,
                    builders[i]->finish(identity, Level::balanced, PackPurpose::compact));
    TOKVAULT_TRY(backend.put(pack_name(identity.number), pack));
  }
  return {};
}

// Makes a pack anew whose records cannot be read, with those that the state has. Returns whether it
// did: not where other parts of it are damaged as well.
Result<bool> renew(Backend& backend, const PackFile& pack, CatalogState& state) {
  auto tables = pack.tables();
  if (!tables) return false;
  TOKVAULT_ASSIGN(auto bytes_tokenizer, open_tokenizer("bytes"));
  PackBuilder builder(bytes_tokenizer);
  builder.set_tenant(pack.footer().tenant);
  for (std::uint32_t row = 0; row < (*tables)->rows.size(); ++row) {
    if (!builder.add_row(pack, **tables, row)) return false;
  }
  for (const Stream s : {kTokenStream, kByteStream}) {
    for (std::uint32_t n = 0; n < (*tables)->segment_counts[s]; ++n) {
      if (!builder.add_segment(pack, s, n)) return false;
    }
  }
  for (const CatalogRecord& r : state.records) {
    if (!is_kind(r.key, RecordKind::tenant)) builder.add_record({r.key, r.value, r.sequence});
  }
  PackIdentity identity{state.next_file, pack.footer().vault, random_bytes(16), {}, {pack.file()}};
  identity.set_members.push_back(state.next_file++);
  const auto made = builder.finish(identity, Level::balanced, PackPurpose::compact);
  if (!made) return false;
  TOKVAULT_TRY(backend.put(pack_name(identity.number), *made));
  return true;
}

}  // namespace

std::uint64_t number_of(std::string_view name) {
  const std::size_t slash = name.find('/');
  std::uint64_t number = 0;
  for (std::size_t i = slash + 1; i < name.size() && name[i] != '.'; ++i) {
    if (name[i] < '0' || name[i] > '9' || number > (std::uint64_t{1} << 50)) return 0;
    number = number * 10 + static_cast<std::uint64_t>(name[i] - '0');
  }
  const bool is_own =
      name == pack_name(number) || name == log_name(number) || name == artifact_name(number);
  return is_own ? number : 0;
}

Result<bool> holds_anything_written(const Backend& backend) {
  TOKVAULT_ASSIGN(const auto packs, backend.list("packs"));
  if (!packs.empty()) return true;
  TOKVAULT_ASSIGN(const auto logs, backend.list("log"));
  for (const BlobInfo& blob : logs) {
    auto log = LogFile::open(backend, number_of(blob.name), 0);
    if (!log || !(*log)->parts().empty() || !(*log)->lost().empty() ||
        (*log)->size_bytes() != blob.size_bytes) {
      return true;
    }
  }
  return false;
}

Result<CatalogState> rebuild_catalog(const Backend& backend, CheckReport* report,
                                     const CatalogState* before) {
  auto known_size = [&](std::uint64_t number) -> std::uint64_t {
    if (before == nullptr) return 0;
    for (const CatalogFile& f : before->files) {
      if (f.number == number && f.kind == CatalogFile::Kind::log) return f.size_bytes;
    }
    return 0;
  };
  Cache cache(64u << 20);
  CatalogState state;
  std::map<std::uint64_t, std::shared_ptr<PackFile>> packs;
  std::map<std::uint64_t, std::shared_ptr<LogFile>> logs;
  std::set<std::uint64_t> there;
  TOKVAULT_ASSIGN(const auto pack_blobs, backend.list("packs"));
  TOKVAULT_ASSIGN(const auto log_blobs, backend.list("log"));
  for (const BlobInfo& blob : pack_blobs) {
    const std::uint64_t number = number_of(blob.name);
    if (number == 0) continue;
    state.next_file = std::max(state.next_file, number + 1);
    auto pack = PackFile::open(backend, cache, number);
    if (!pack) {
      if (report == nullptr) return std::move(pack).error();
      report_or(report, std::move(pack).error(), blob.name);
      if (before == nullptr)
        report->findings.back().message += "; what it held and deleted is unknown";
      continue;
    }
    packs[number] = std::move(*pack);
    there.insert(number);
  }
  for (const BlobInfo& blob : log_blobs) {
    const std::uint64_t number = number_of(blob.name);
    if (number == 0) continue;
    state.next_file = std::max(state.next_file, number + 1);
    auto log = LogFile::open(backend, number, known_size(number));
    if (!log) {
      if (report == nullptr) return std::move(log).error();
      report_or(report, std::move(log).error(), blob.name);
      continue;
    }
    if (report != nullptr) report_lost(**log, *report);
    logs[number] = std::move(*log);
    there.insert(number);
  }
  if (packs.empty() && logs.empty() && (before == nullptr || before->vault_record.empty())) {
    return Error(Errc::not_found, "no log and no pack that can be read");
  }

  std::set<std::uint64_t> garbage;
  for (const auto& [number, pack] : packs) {
    const PackFooter& f = pack->footer();
    const bool whole = std::all_of(f.set_members.begin(), f.set_members.end(),
                                   [&](std::uint64_t n) { return packs.contains(n); });
    const bool originals = std::all_of(f.set_supersedes.begin(), f.set_supersedes.end(),
                                       [&](std::uint64_t n) { return there.contains(n); });
    if (whole) {
      garbage.insert(f.set_supersedes.begin(), f.set_supersedes.end());
    } else if (originals && !f.set_supersedes.empty()) {
      garbage.insert(number);
    }
  }

  std::map<Buffer, Record> records;
  bool records_lost = false;
  auto take = [&](const Record& r) {
    Record& at = records[r.key];
    if (at.key.empty() || at.sequence <= r.sequence) at = r;
  };
  auto same_vault = [&](const VaultRecord& vault) {
    if (state.vault_record.empty()) state.vault_record = encode(vault);
    auto first = decode_vault(state.vault_record);
    return first && first->id == vault.id;
  };
  for (const auto& [number, pack] : packs) {
    if (garbage.contains(number)) continue;
    const PackFooter& f = pack->footer();
    if (!same_vault(f.vault)) {
      report_or(report, Error(Errc::corrupt, "of another vault"), pack->name());
      continue;
    }
    CatalogFile file;
    file.kind = CatalogFile::Kind::pack;
    file.number = number;
    file.tenant = f.tenant.number;
    file.size_bytes = pack->size_bytes();
    file.conversations = f.counts.rows;
    file.sequence_first = f.sequence_first;
    file.sequence_last = f.sequence_last;
    file.time_first_ms = f.time_first_ms;
    file.time_last_ms = f.time_last_ms;
    state.files.push_back(file);
    take({tenant_key(f.tenant.number), encode(f.tenant), 0});
    auto found = pack->records();
    if (!found) {
      if (report == nullptr) return std::move(found).error();
      report_or(report, std::move(found).error(), pack->name());
      if (before == nullptr) {
        report->findings.back().message += "; what it says of deletions, tags and holds is unknown";
      }
      records_lost = true;
      continue;
    }
    // Numbers that were given out stay so, whatever holds: a removal is not in the catalog.
    for (const Record& r : *found) {
      take(r);
      state.files.back().sequence_last = std::max(state.files.back().sequence_last, r.sequence);
    }
  }
  for (const auto& [number, log] : logs) {
    if (garbage.contains(number)) continue;
    if (!log->vault()) {
      // Whose it is nobody knows, but only of damage is it said.
    } else if (!same_vault(*log->vault())) {
      report_or(report, Error(Errc::corrupt, "of another vault"), log->name());
      continue;
    }
    CatalogFile file;
    file.kind = CatalogFile::Kind::log;
    file.number = number;
    file.size_bytes = log->size_bytes();
    if (log->lost().empty()) file.sequence_first = log->first_sequence();
    state.files.push_back(file);
    // The tenants' records are needed before the log is read again; the others stay in the log.
    for (const Record& r : log->records()) {
      if (is_kind(r, RecordKind::tenant)) take(r);
    }
  }
  if (state.vault_record.empty() && before == nullptr) {
    return Error(Errc::not_found, "no log and no pack that says which vault it is of");
  }
  if (state.vault_record.empty()) state.vault_record = before->vault_record;
  if (before != nullptr) {
    // The names and keys of tenants of which no file is left that says them, and all that held when
    // a pack has lost what it says.
    for (const CatalogRecord& r : before->records) {
      const bool is_tenant = is_kind(r.key, RecordKind::tenant) && !records.contains(r.key);
      if (is_tenant || records_lost) take({r.key, r.value, r.sequence});
    }
  }
  TOKVAULT_TRY(register_found(backend, logs, garbage, state, records, report));
  for (const auto& [key, r] : records) {
    if (r.value) state.records.push_back({key, *r.value, r.sequence});
  }
  return state;
}

Result<CheckReport> Vault::repair(Backend& backend, Catalog& catalog, const RepairOptions& options,
                                  const Progress& progress) {
  TOKVAULT_ASSIGN(auto lock, backend.lock_writer());
  CheckReport report;
  TOKVAULT_ASSIGN(const std::uint64_t swept, backend.sweep());
  (void)swept;
  // What an old catalog, if it can be read, says of files that are gone.
  auto loaded = catalog.load();
  const CatalogState* before = loaded ? &*loaded : nullptr;
  TOKVAULT_ASSIGN(CatalogState state, rebuild_catalog(backend, &report, before));
  if (before != nullptr) state.next_file = std::max(state.next_file, before->next_file);
  std::uint64_t done = 0;
  std::uint64_t total = pack_bytes(state);
  auto go_on = [&]() -> Status {
    if (!progress || progress(done, total)) return {};
    return Error(Errc::cancelled, "repair was stopped");
  };
  TOKVAULT_TRY(go_on());
  auto is_live = [&](std::uint64_t number) {
    return std::any_of(state.files.begin(), state.files.end(),
                       [&](const CatalogFile& f) { return f.number == number; });
  };

  // Damaged files go aside; what can be read of a damaged log comes back as packs, and so does a
  // pack that has lost only its records.
  Cache cache(256u << 20);
  for (CatalogFile& f : state.files) {
    if (f.kind == CatalogFile::Kind::pack) {
      TOKVAULT_ASSIGN(const auto pack, PackFile::open(backend, cache, f.number));
      if (pack->records().code() != Errc::corrupt) continue;
      TOKVAULT_ASSIGN(const bool is_made, renew(backend, *pack, state));
      if (is_made) TOKVAULT_TRY(quarantine(backend, pack->name(), pack->size_bytes()));
      continue;
    }
    std::uint64_t known = 0;
    if (before != nullptr) {
      for (const CatalogFile& b : before->files) {
        if (b.number == f.number) known = b.size_bytes;
      }
    }
    TOKVAULT_ASSIGN(auto log, LogFile::open(backend, f.number, known));
    if (log->lost().empty()) continue;
    if (!options.give_up_logs && waits_for_artifact(*log, state)) continue;
    TOKVAULT_TRY(salvage(backend, *log, state));
    TOKVAULT_ASSIGN(const std::uint64_t size, backend.size(log->name()));
    TOKVAULT_TRY(quarantine(backend, log->name(), size));
  }
  for (const Finding& finding : report.findings) {
    auto size = backend.size(finding.file);
    if (!size || is_live(number_of(finding.file))) continue;
    TOKVAULT_TRY(quarantine(backend, finding.file, *size));
  }
  // What is damaged now was reported: a pack that stays although its records cannot be read.
  CheckReport left;
  auto rebuilt = rebuild_catalog(backend, &left, before);
  if (rebuilt.code() == Errc::not_found) {
    state.files.clear();  // all went aside: what is left is an empty vault
  } else {
    TOKVAULT_ASSIGN(state, std::move(rebuilt));
  }
  auto expect_known = [&](const std::string& file, const Error& error) -> Status {
    const bool is_known =
        std::any_of(report.findings.begin(), report.findings.end(), [&](const Finding& f) {
          return f.file == file && f.message.starts_with(without_name(error, file));
        });
    if (is_known) return {};
    return error.clone();
  };
  for (const Finding& f : left.findings) {
    TOKVAULT_TRY(expect_known(f.file, Error(f.code, f.file + ": " + f.message)));
  }
  if (before != nullptr) {
    state.next_file = std::max(state.next_file, before->next_file);
    state.generation = before->generation + 1;
    for (const CatalogFile& f : before->files) {
      const bool superseded = [&] {
        for (const CatalogFile& now : state.files) {
          if (now.number == f.number) return true;
          if (now.kind != CatalogFile::Kind::pack) continue;
          auto pack = PackFile::open(backend, cache, now.number);
          if (!pack) continue;
          const auto& names = (*pack)->footer().set_supersedes;
          if (std::find(names.begin(), names.end(), f.number) != names.end()) return true;
        }
        return false;
      }();
      if (superseded) continue;
      const std::string name =
          f.kind == CatalogFile::Kind::log ? log_name(f.number) : pack_name(f.number);
      report.lost_conversations += f.conversations;
      // The catalog counts a pack's conversations, and none of a log: it grows without it.
      const std::string lost =
          f.kind == CatalogFile::Kind::log
              ? "lost, as far as it could not be read"
              : "lost: " + std::to_string(f.conversations) + " conversations, commits " +
                    std::to_string(f.sequence_first) + " to " + std::to_string(f.sequence_last);
      const auto told = std::find_if(report.findings.begin(), report.findings.end(),
                                     [&](const Finding& known) { return known.file == name; });
      if (told == report.findings.end()) {
        report.findings.push_back({name, Errc::not_found, lost});
      } else {
        told->message += "; put aside, and " + lost;
      }
    }
  }
  // A vault needs no log to be opened, but the next writer begins one.
  TOKVAULT_TRY(catalog.reset(state));
  report.files = state.files.size();
  total = pack_bytes(state);
  State now(backend, cache, DecodeText::at_once);
  std::vector<std::pair<CatalogFile, Error>> errors;
  TOKVAULT_TRY(now.load(state, State::Unreadable::all_is_noted, &errors));
  for (const auto& [file, error] : errors)
    TOKVAULT_TRY(expect_known(pack_name(file.number), error));
  // What a repair cannot mend is counted to the last conversation.
  const SourceCheck source_check{true, check_vocabulary(backend, now.vault(), report)};
  for (const auto& [number, tenant] : now.tenants()) {
    for (const auto& source : now.sources(number)) {
      TOKVAULT_TRY(go_on());
      TOKVAULT_TRY(check_source(now, tenant, source, source_check, report));
      if (source->is_pack()) done += now.packs().at(source->file())->size_bytes();
    }
  }
  TOKVAULT_TRY(check_artifacts(backend, now, false, report));
  if (progress) (void)progress(done, total);
  return report;
}

}  // namespace tokvault
