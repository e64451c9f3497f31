// Rebuilding the catalog. Logs and packs say everything that it says; what they lack is which of
// them are live, and that follows from the sets of rewrites.
//
// A pack names the set of the rewrite that made it: the set's members and the files that they
// replace. If every member is whole, the files that they replace are garbage. If not, and all the
// files that they would replace are there, the rewrite was interrupted and the members are the
// garbage. If neither, something was lost: what is left of the set is kept. Of several sets that
// replace the same file one was done, and the others were interrupted: the last of them is kept, or
// the one that the catalog names.

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

using Packs = std::map<std::uint64_t, std::shared_ptr<PackFile>>;

using Logs = std::map<std::uint64_t, std::shared_ptr<LogFile>>;

// Which vault it is: the catalog says so, or most of the files.
std::optional<VaultRecord> vault_of(const Packs& packs, const Logs& logs,
                                    const CatalogState* before) {
  if (before != nullptr) {
    if (auto said = decode_vault(before->vault_record)) return std::move(*said);
  }
  std::map<Buffer, std::size_t> files;  // by the vault's id
  std::optional<VaultRecord> most;
  auto count = [&](const VaultRecord& vault) {
    const std::size_t n = ++files[vault.id];
    if (!most || n > files[most->id]) most = vault;
  };
  for (const auto& [number, pack] : packs) count(pack->footer().vault);
  for (const auto& [number, log] : logs) {
    if (log->vault()) count(*log->vault());
  }
  return most;
}

// The packs of one rewrite.
struct RewriteSet {
  std::vector<std::uint64_t> members;  // that can be read, ascending
  const PackFooter* footer = nullptr;  // of one of them
  bool is_named = false;               // by the catalog
};

std::vector<RewriteSet> rewrite_sets(const Packs& packs, const CatalogState* before) {
  std::map<Buffer, RewriteSet> by_id;
  for (const auto& [number, pack] : packs) {
    RewriteSet& set = by_id[pack->footer().set_id];
    set.members.push_back(number);
    set.footer = &pack->footer();
    if (before == nullptr) continue;
    set.is_named =
        set.is_named ||
        std::any_of(before->files.begin(), before->files.end(), [&](const CatalogFile& f) {
          return f.kind == CatalogFile::Kind::pack && f.number == number;
        });
  }
  std::vector<RewriteSet> sets;
  for (auto& [id, set] : by_id) sets.push_back(std::move(set));
  return sets;
}

// What interrupted rewrites left: packs, and the files in whose place others stand already.
// `there` is everything that can be read.
std::set<std::uint64_t> garbage_of(const Packs& packs, const std::set<std::uint64_t>& there,
                                   const CatalogState* before) {
  std::vector<RewriteSet> sets = rewrite_sets(packs, before);
  std::sort(sets.begin(), sets.end(), [](const RewriteSet& a, const RewriteSet& b) {
    return a.is_named != b.is_named ? a.is_named : a.members.back() > b.members.back();
  });
  std::set<std::uint64_t> garbage;
  std::set<std::uint64_t> replaced;
  for (const RewriteSet& set : sets) {
    const std::vector<std::uint64_t>& originals = set.footer->set_supersedes;
    const auto is_in = [](const std::set<std::uint64_t>& numbers) {
      return [&numbers](std::uint64_t n) { return numbers.contains(n); };
    };
    const bool is_whole = set.members.size() == set.footer->set_members.size();
    const bool is_interrupted = !is_whole && !originals.empty() &&
                                std::all_of(originals.begin(), originals.end(), is_in(there));
    if (is_interrupted || std::any_of(originals.begin(), originals.end(), is_in(replaced))) {
      garbage.insert(set.members.begin(), set.members.end());
      continue;
    }
    replaced.insert(originals.begin(), originals.end());
    if (is_whole) garbage.insert(originals.begin(), originals.end());
  }
  return garbage;
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

// What the catalog says of a pack whose records say nothing.
CatalogFile file_of(const PackFile& pack) {
  const PackFooter& f = pack.footer();
  CatalogFile file;
  file.kind = CatalogFile::Kind::pack;
  file.number = pack.file();
  file.tenant = f.tenant.number;
  file.size_bytes = pack.size_bytes();
  file.conversations = f.counts.rows;
  file.sequence_first = f.sequence_first;
  file.sequence_last = f.sequence_last;
  file.time_first_ms = f.time_first_ms;
  file.time_last_ms = f.time_last_ms;
  return file;
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
Status register_found(const Backend& backend, const Logs& logs,
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
      if (!is_lost(artifact.code())) return std::move(artifact).error();
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

// An import that went on would pass over what is lost: let it begin again, as after `forget`. A
// record may stand in any log and pack, and is read again whenever one of these is: so a pack with
// later removals is put beside them.
Status end_imports(Backend& backend, Cache& cache, CatalogState& state) {
  State now(backend, cache, DecodeText::when_read);
  std::vector<std::pair<CatalogFile, Error>> errors;  // are reported elsewhere
  TOKVAULT_TRY(now.load(state, State::Unreadable::all_is_noted, &errors));
  const std::vector<Record> records = now.find_records(progress_key(""));
  const auto tenant =
      std::find_if(state.records.begin(), state.records.end(),
                   [](const CatalogRecord& r) { return is_kind(r.key, RecordKind::tenant); });
  if (records.empty() || tenant == state.records.end()) return {};
  TOKVAULT_ASSIGN(auto bytes_tokenizer, open_tokenizer("bytes"));
  PackBuilder builder(bytes_tokenizer);
  TOKVAULT_ASSIGN(TenantRecord owner, decode_tenant(tenant->value));  // any: it has no rows
  builder.set_tenant(std::move(owner));
  const std::uint64_t sequence = now.next_sequence();
  for (const Record& r : records) builder.add_record({r.key, std::nullopt, sequence});
  PackIdentity identity{state.next_file++, now.vault(), random_bytes(16), {}, {}};
  identity.set_members.push_back(identity.number);
  TOKVAULT_ASSIGN(const Buffer bytes,
                  builder.finish(identity, Level::balanced, PackPurpose::compact));
  TOKVAULT_TRY(backend.put(pack_name(identity.number), bytes));
  TOKVAULT_ASSIGN(const auto pack, PackFile::open(backend, cache, identity.number));
  state.files.push_back(file_of(*pack));
  state.files.back().sequence_last = sequence;
  std::erase_if(state.records,
                [](const CatalogRecord& r) { return is_kind(r.key, RecordKind::progress); });
  return {};
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
  Packs packs;
  Logs logs;
  std::set<std::uint64_t> there;
  TOKVAULT_ASSIGN(const auto pack_blobs, backend.list("packs"));
  TOKVAULT_ASSIGN(const auto log_blobs, backend.list("log"));
  for (const BlobInfo& blob : pack_blobs) {
    const std::uint64_t number = number_of(blob.name);
    if (number == 0) continue;
    state.next_file = std::max(state.next_file, number + 1);
    auto pack = PackFile::open(backend, cache, number);
    if (!pack) {
      if (report == nullptr || !is_lost(pack.code())) return std::move(pack).error();
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
      if (report == nullptr || !is_lost(log.code())) return std::move(log).error();
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

  // What is of another vault says nothing of this one's.
  const auto vault = vault_of(packs, logs, before);
  if (vault) state.vault_record = encode(*vault);
  std::erase_if(packs, [&](const auto& item) {
    const auto& [number, pack] = item;
    if (pack->footer().vault.id == vault->id) return false;
    report_or(report, Error(Errc::corrupt, "of another vault"), pack->name());
    there.erase(number);
    return true;
  });
  std::erase_if(logs, [&](const auto& item) {
    const auto& [number, log] = item;
    // Whose it is nobody knows, but only of damage is it said.
    if (!log->vault() || log->vault()->id == vault->id) return false;
    report_or(report, Error(Errc::corrupt, "of another vault"), log->name());
    there.erase(number);
    return true;
  });
  const std::set<std::uint64_t> garbage = garbage_of(packs, there, before);
  std::map<Buffer, Record> records;
  bool records_lost = false;
  auto take = [&](const Record& r) {
    Record& at = records[r.key];
    if (at.key.empty() || at.sequence <= r.sequence) at = r;
  };
  for (const auto& [number, pack] : packs) {
    if (garbage.contains(number)) continue;
    const TenantRecord& tenant = pack->footer().tenant;
    state.files.push_back(file_of(*pack));
    take({tenant_key(tenant.number), encode(tenant), 0});
    auto found = pack->records();
    if (!found) {
      if (report == nullptr || !is_lost(found.code())) return std::move(found).error();
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
  if (!vault) {
    return Error(Errc::not_found, "no log and no pack that says which vault it is of");
  }
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
  if (!loaded && !is_lost(loaded.code())) return std::move(loaded).error();
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
      const std::string lost = f.kind == CatalogFile::Kind::log
                                   ? "lost, as far as it could not be read"
                                   : "lost: " + contents_of(f);
      const auto told = std::find_if(report.findings.begin(), report.findings.end(),
                                     [&](const Finding& known) { return known.file == name; });
      if (told == report.findings.end()) {
        report.findings.push_back({name, Errc::not_found, lost});
      } else {
        told->message += "; put aside, and " + lost;
      }
    }
  }
  // Without the catalog nobody knows which files are gone.
  if (before == nullptr || !report.findings.empty()) {
    TOKVAULT_TRY(end_imports(backend, cache, state));
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
