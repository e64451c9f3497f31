// Compaction: packs of a tenant are merged step by step, with artifacts trained for them if asked.
#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "base/checksum.h"
#include "vault/artifacts.h"
#include "vault/recovery.h"
#include "vault/retrain.h"
#include "vault/vault_impl.h"

namespace tokvault {

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

namespace {

// What some packs hold together.
struct Held {
  std::array<std::uint64_t, kStreams> text_bytes{};
  std::uint64_t disk_bytes = 0;
  bool is_within(const CompactOptions& options) const {
    return options.pack_bytes_max == 0 || disk_bytes <= options.pack_bytes_max;
  }
};

Held held_by(const std::vector<std::shared_ptr<PackFile>>& packs) {
  Held held;
  for (const auto& pack : packs) {
    for (std::size_t s = 0; s < kStreams; ++s) {
      held.text_bytes[s] += pack->footer().streams[s].text_bytes;
    }
    held.disk_bytes += pack->size_bytes();
  }
  return held;
}

// Whether a smaller cap made these than the one that holds now. Without one, two groups that stand
// next to each other are more than a dictionary together.
bool are_too_many(const std::vector<std::shared_ptr<PackFile>>& packs,
                  const CompactOptions& options) {
  const Held held = held_by(packs);
  const std::uint64_t text = held.text_bytes[kTokenStream] + held.text_bytes[kByteStream];
  return held.is_within(options) && packs.size() > 2 * (text / kDictionaryTextBytes + 1) + 1;
}

// Whether what these packs hold comes into one.
bool fits_one_pack(const std::vector<std::shared_ptr<PackFile>>& packs,
                   const CompactOptions& options) {
  const Held held = held_by(packs);
  return held.text_bytes[kTokenStream] <= kDictionaryTextBytes && held.is_within(options);
}

}  // namespace

// What one compaction made as it would be made now, and nothing has changed since.
bool VaultImpl::is_compact(const std::vector<std::shared_ptr<PackFile>>& packs,
                           const CompactOptions& options) const {
  const TenantState* tenant = state_.tenant(packs.front()->tenant());
  if (tenant == nullptr || packs.front()->footer().set_members.size() != packs.size() ||
      are_too_many(packs, options)) {
    return false;
  }
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
    unsettled_ = true;  // until the swap, what is put is a leftover
    auto put = [&]() -> Result<std::vector<CatalogFile>> {
      TOKVAULT_TRY(retraining.put());
      return merge.run(*backend_, identity, std::move(with), &needed, next_file_, step);
    }();
    if (!put) {
      (void)settle();  // else the next one who writes does it
      return std::move(put).error();
    }
    files = std::move(*put);
    is_made = retraining.pays(merge, files, is_done ? std::optional(bytes_before) : std::nullopt);
    if (is_made) continue;
    TOKVAULT_TRY(merge.undo(*backend_, files));
    TOKVAULT_TRY(retraining.undo());
    unsettled_ = false;
  }
  if (is_made) {
    report.files += packs.size();
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

}  // namespace tokvault
