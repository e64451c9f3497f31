// Garbage collection: what nobody can see any more leaves the files.
#include <algorithm>
#include <map>
#include <optional>

#include "vault/recovery.h"
#include "vault/vault_impl.h"

namespace tokvault {

Result<GcReport> VaultImpl::gc(bool dry_run, const Progress& progress) {
  if (!dry_run || !options_.read_only) return collect(dry_run, std::nullopt, progress, nullptr);
  return reading([&]() -> Result<GcReport> {
    TOKVAULT_TRY(expect_no_damage());
    TOKVAULT_ASSIGN(Garbage garbage, find_garbage(nullptr));
    return garbage.report;
  });
}

std::uint64_t VaultImpl::data_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [number, log] : state_.logs()) {
    if (!log->parts().empty() || !log->records().empty()) bytes += log->size_bytes();
  }
  for (const auto& [number, pack] : state_.packs()) bytes += pack->size_bytes();
  return bytes;
}

Result<VaultImpl::Garbage> VaultImpl::find_garbage(const Chooser& also) const {
  Garbage out;
  std::uint64_t newest_log = 0;
  for (const auto& [number, tenant] : state_.tenants()) {
    TOKVAULT_ASSIGN(const Needed needed, needed_externals(tenant));
    for (const auto& source : state_.sources(number)) {
      TOKVAULT_ASSIGN(const bool dirty, is_dirty(tenant, *source, needed));
      TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(tenant, *source));
      out.report.conversations +=
          static_cast<std::uint64_t>(std::count(dead.begin(), dead.end(), true));
      out.any_dirty = out.any_dirty || dirty;
      bool is_chosen = dirty;
      if (!is_chosen && also) {
        TOKVAULT_ASSIGN(is_chosen, also(*source));
      }
      if (!is_chosen) continue;
      if (source->is_pack()) {
        out.packs.push_back(state_.packs().at(source->file()));
        out.bytes += out.packs.back()->size_bytes();
        continue;
      }
      newest_log = std::max(newest_log, source->file());
    }
  }
  out.logs = logs_until(newest_log);
  for (const auto& log : out.logs) out.bytes += log->size_bytes();
  out.report.files = out.logs.size() + out.packs.size();
  out.report.bytes_before = data_bytes();
  return out;
}

Result<GcReport> VaultImpl::collect(bool dry_run, std::optional<Level> level,
                                    const Progress& progress, const Chooser& also) {
  TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
  TOKVAULT_TRY(prepare_log());
  join_sealing();
  std::optional<MergePause> pause;
  if (!dry_run) pause.emplace(*this);
  TOKVAULT_TRY(settle());
  TOKVAULT_TRY(expect_no_damage());
  if (!dry_run) {
    TOKVAULT_TRY(retire_erased());
    TOKVAULT_TRY(substrings_.retire_unheld());
  }
  TOKVAULT_ASSIGN(auto garbage, find_garbage(also));
  auto& [report, logs, packs, total, any_dirty] = garbage;
  if (dry_run) return report;

  TOKVAULT_TRY(erase_quarantine(any_dirty));
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
    TOKVAULT_TRY(
        collect_pack(pack, level.value_or(std::max(options_.level, pack->footer().level))));
    done += pack->size_bytes();
  }
  TOKVAULT_TRY(seal_until(~std::uint64_t{0}));
  TOKVAULT_TRY(drop_settled(INT64_MAX, level));
  TOKVAULT_TRY(substrings_.remove_unused());
  report.bytes_after = data_bytes();
  TOKVAULT_TRY(forget_deletions());
  if (progress) (void)progress(total, total);
  return report;
}

Status VaultImpl::collect_pack(const std::shared_ptr<PackFile>& pack, Level level) {
  const TenantState* tenant = state_.tenant(pack->tenant());
  if (tenant == nullptr) return Error(Errc::corrupt, pack->name() + ": of an unknown tenant");
  const std::vector<std::uint64_t> replaced{pack->file()};
  TOKVAULT_ASSIGN(const Needed needed, needed_externals(*tenant));
  TOKVAULT_ASSIGN(const auto all, pack->records());
  std::vector<Record> records = kept_records(all);
  TOKVAULT_TRY(drop_settled(records, replaced));
  TOKVAULT_ASSIGN(auto builder, gather(*tenant, pack, true, &needed, records));
  std::vector<std::unique_ptr<PackBuilder>> builders;
  builders.push_back(std::move(builder));
  unsettled_ = true;  // until the swap, what is put is a leftover
  TOKVAULT_ASSIGN(auto files, publish(state_.vault(), std::move(builders), replaced, level,
                                      PackPurpose::compact));
  return swap(std::move(files), replaced, {});
}

Result<std::optional<std::uint64_t>> VaultImpl::rewrite_pack(const std::shared_ptr<PackFile>& pack,
                                                             std::uint64_t artifact) {
  const TenantState* tenant = state_.tenant(pack->tenant());
  if (tenant == nullptr) return Error(Errc::corrupt, pack->name() + ": of an unknown tenant");
  TOKVAULT_ASSIGN(const auto records, pack->records());
  TOKVAULT_ASSIGN(auto builder, gather(*tenant, pack, false, nullptr, kept_records(records)));
  std::vector<std::unique_ptr<PackBuilder>> builders;
  builders.push_back(std::move(builder));
  unsettled_ = true;  // until the swap, what is put is a leftover
  TOKVAULT_ASSIGN(auto files,
                  publish(state_.vault(), std::move(builders), {pack->file()},
                          std::max(options_.level, pack->footer().level), PackPurpose::compact));
  std::uint64_t size = 0;
  bool is_wanted = true;
  for (const CatalogFile& file : files) {
    size += file.size_bytes;
    if (artifact == 0) continue;
    TOKVAULT_ASSIGN(const auto made, PackFile::open(*backend_, cache_, file.number));
    is_wanted = made->names_artifact(artifact) && size < pack->size_bytes();
  }
  if (is_wanted) {
    TOKVAULT_TRY(swap(std::move(files), {pack->file()}, {}));
    return std::optional(size);
  }
  for (const CatalogFile& file : files) TOKVAULT_TRY(backend_->remove(pack_name(file.number)));
  unsettled_ = false;
  return std::optional<std::uint64_t>();
}

// Rewriting one file after another keeps the removals and deletions of what stands in later ones.
// What is erased says nothing of its words in a deletion: those wait for a file that is rewritten
// anyway, unless they are a good part of it.
Status VaultImpl::drop_settled(std::int64_t older_than_ms, std::optional<Level> level) {
  constexpr std::uint64_t kDeletionBytes = 18;  // in a pack, about
  constexpr std::uint64_t kGoodPart = 16;
  constexpr std::uint64_t kLogDeletionsMin = 256;  // that are worth a pack
  const auto deletions = [](const std::vector<Record>& records) {
    return static_cast<std::uint64_t>(
        std::count_if(records.begin(), records.end(),
                      [](const Record& r) { return is_kind(r, RecordKind::deletion); }));
  };
  std::uint64_t newest_log = 0;
  for (const auto& log : logs_until(UINT64_MAX)) {
    const std::vector<Record> records = last_of_each(log->records());
    std::vector<Record> needed = records;
    const std::uint64_t without[]{log->number()};
    TOKVAULT_TRY(drop_settled(needed, without));
    const std::uint64_t settled = deletions(records) - deletions(needed);
    if (settled < kLogDeletionsMin || settled * kDeletionBytes < log->size_bytes() / kGoodPart) {
      continue;
    }
    newest_log = log->number();
  }
  for (const auto& log : logs_until(newest_log)) {
    if (log == log_) {
      TOKVAULT_TRY(rotate());
      stager_->forget_other_files();
    }
    TOKVAULT_TRY(seal_log(log, true, level.value_or(options_.level)));
  }
  const std::map<std::uint64_t, std::shared_ptr<PackFile>> packs = state_.packs();
  for (const auto& [number, pack] : packs) {
    if (pack->footer().time_last_ms >= older_than_ms) continue;
    TOKVAULT_ASSIGN(const auto records, pack->records());
    std::vector<Record> needed = records;
    const std::uint64_t without[]{number};
    TOKVAULT_TRY(drop_settled(needed, without));
    const std::uint64_t settled = deletions(records) - deletions(needed);
    if (records.size() - needed.size() > settled ||
        settled * kDeletionBytes > pack->size_bytes() / kGoodPart) {
      TOKVAULT_TRY(
          collect_pack(pack, level.value_or(std::max(options_.level, pack->footer().level))));
    }
  }
  return {};
}

// What repair put aside may hold what was forgotten; as long as nothing was, it is evidence. Before
// anything is rewritten: afterwards nothing may be left that says so. Of a pack that went aside
// there is no dead row, and that something was deleted may stand in a log alone.
Status VaultImpl::erase_quarantine(bool is_anything_erased) {
  const auto& tenants = state_.tenants();
  is_anything_erased = is_anything_erased ||
                       std::any_of(tenants.begin(), tenants.end(),
                                   [](const auto& item) { return !item.second.deletions.empty(); });
  if (!is_anything_erased) return {};
  TOKVAULT_ASSIGN(const auto aside, backend_->list("quarantine"));
  for (const BlobInfo& blob : aside) TOKVAULT_TRY(backend_->remove(blob.name));
  return {};
}

// REQUIRES: no file has dead rows
Status VaultImpl::forget_deletions() {
  CatalogChange change;
  change.generation = state_.generation();
  TOKVAULT_ASSIGN(const CatalogState catalog, catalog_->load());
  for (const CatalogRecord& r : catalog.records) {
    if (is_kind(r.key, RecordKind::deletion)) {
      change.remove_records.push_back(r.key);
    }
  }
  if (!change.remove_records.empty()) {
    unsettled_ = true;  // until it is known what the catalog says
    TOKVAULT_ASSIGN(const std::uint64_t generation, catalog_->commit(change));
    (void)generation;
    TOKVAULT_ASSIGN(const CatalogState now, catalog_->load());
    TOKVAULT_TRY(take(now));
    unsettled_ = false;
  }
  return catalog_->vacuum();
}

}  // namespace tokvault
