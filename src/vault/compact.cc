// Compaction: packs of a tenant are merged step by step, with artifacts trained for them if asked.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/checksum.h"
#include "vault/artifacts.h"
#include "vault/merge_plan.h"
#include "vault/recovery.h"
#include "vault/retrain.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

using Packs = std::vector<std::shared_ptr<PackFile>>;

// Whether it is registered, and neither active nor named by a file.
bool is_dictionary_unused(const State& state, std::uint32_t number, std::uint64_t dictionary) {
  const TenantState& tenant = *state.tenant(number);
  const auto active = tenant.active.find(ArtifactKind::dictionary);
  const auto& sources = state.sources(number);
  return tenant.artifacts.contains(dictionary) &&
         (active == tenant.active.end() || active->second != dictionary) &&
         std::none_of(sources.begin(), sources.end(),
                      [&](const auto& source) { return source->names_artifact(dictionary); });
}

}  // namespace

Result<CompactReport> VaultImpl::compact(const CompactOptions& options, const Progress& progress) {
  TOKVAULT_TRY(check_level(options.level));
  TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
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
      if (any_dirty) break;
      TOKVAULT_ASSIGN(any_dirty, is_dirty(tenant, *source, needed));
    }
  }
  TOKVAULT_TRY(erase_quarantine(any_dirty));
  report.bytes_before = data_bytes();
  std::uint64_t done = 0;
  std::uint64_t total = report.bytes_before;
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
  // Dictionaries that were active: a step that takes another one in their place cannot remove what
  // packs of later steps name.
  std::set<std::pair<std::uint32_t, std::uint64_t>> were_active;
  const auto note_active = [&](std::uint32_t number) {
    const auto& active = state_.tenant(number)->active;
    const auto found = active.find(ArtifactKind::dictionary);
    if (options.retrain && found != active.end()) were_active.insert({number, found->second});
  };
  for (const std::uint32_t number : tenants) {
    note_active(number);
    TOKVAULT_ASSIGN(auto steps, merge_steps(number, options, all));
    const auto mixed = [](const MergeStep& what) { return what.is_mixed(); };
    if (std::count_if(steps.begin(), steps.end(), mixed) > 1) {
      for (MergeStep& what : steps) {
        what.is_sorting = what.is_mixed();
        for (const auto& pack : what.packs) total += what.is_sorting ? pack->size_bytes() : 0;
        if (what.is_sorting) TOKVAULT_TRY(merge(number, what, options, step, report));
      }
      TOKVAULT_ASSIGN(steps, merge_steps(number, options, all));
    }
    for (const MergeStep& what : steps) {
      TOKVAULT_TRY(merge(number, what, options, step, report));
      note_active(number);
    }
  }
  for (const auto& [tenant, number] : were_active) {
    if (!is_dictionary_unused(state_, tenant, number)) continue;
    TOKVAULT_TRY(remove_artifact(tenant, number, false));
  }
  TOKVAULT_TRY(drop_settled(options.older_than_ms, options.level));
  TOKVAULT_TRY(substrings_.remove_unused());
  report.bytes_after = data_bytes();
  if (all) TOKVAULT_TRY(forget_deletions());
  if (progress) (void)progress(total, total);
  return report;
}

// Sealing leaves together what came together: of such packs, where the traffic is mixed, no choice
// by similarity can be made.
bool VaultImpl::MergeStep::is_mixed() const {
  return !is_compact && std::any_of(packs.begin(), packs.end(),
                                    [](const auto& pack) { return !pack->is_merged(); });
}

// A tenant's packs in steps of bounded size and memory, each of what is alike (merge_plan.h).
Result<std::vector<VaultImpl::MergeStep>> VaultImpl::merge_steps(std::uint32_t tenant,
                                                                 const CompactOptions& options,
                                                                 bool& all) const {
  std::vector<const CatalogFile*> files;
  for (const CatalogFile& f : state_.files()) {
    if (f.kind != CatalogFile::Kind::pack || f.tenant != tenant) continue;
    if (f.time_last_ms >= options.older_than_ms) {
      all = false;
      continue;
    }
    files.push_back(&f);
  }
  if (files.empty()) return std::vector<MergeStep>();
  std::sort(files.begin(), files.end(), [](const CatalogFile* a, const CatalogFile* b) {
    return a->sequence_last != b->sequence_last ? a->sequence_last < b->sequence_last
                                                : a->number < b->number;
  });
  // What one compaction made stays together, so that it is found to be compact.
  std::vector<Packs> sets;
  std::map<Buffer, std::size_t> set_of;
  for (const CatalogFile* f : files) {
    const auto& pack = state_.packs().at(f->number);
    std::size_t set = sets.size();
    if (pack->footer().made_by == PackMaker::compaction) {
      set = set_of.try_emplace(pack->footer().set_id, set).first->second;
    }
    if (set == sets.size()) sets.emplace_back();
    sets[set].push_back(pack);
  }
  auto share = [&](const Packs& packs) {
    double bytes = 0, weight = 0;
    for (const auto& pack : packs) {
      bytes += static_cast<double>(pack->size_bytes());
      weight += static_cast<double>(merge_weight(pack->footer()));
    }
    const double part =
        std::max(bytes / static_cast<double>(kMergeBytesMax),
                 weight / static_cast<double>(std::max<std::uint64_t>(1, options.memory_bytes)));
    return static_cast<std::uint64_t>(std::min(part, 1e6) * static_cast<double>(kStepShare));
  };
  TOKVAULT_ASSIGN(const Needed needed, needed_externals(*state_.tenant(tenant)));
  std::vector<Packs> parts;
  std::vector<StepUnit> units;  // of which each is such a part
  for (Packs& set : sets) {
    TOKVAULT_ASSIGN(const bool is_done, is_compact(set, options, needed));
    if (is_done || share(set) <= kStepShare) {
      units.push_back({share(set), is_done});
      parts.push_back(std::move(set));
      continue;
    }
    for (const auto& pack : set) {
      parts.push_back({pack});
      units.push_back({share(parts.back()), false});
    }
  }
  auto direction_of = [&](std::size_t i) -> Result<Direction> {
    DirectionSum sum;
    for (const auto& pack : parts[i]) {
      TOKVAULT_ASSIGN(const Direction direction, pack->direction());
      sum.add(direction, merge_weight(pack->footer()));
    }
    return sum.direction();
  };
  TOKVAULT_ASSIGN(const auto chosen, choose_steps(units, direction_of));
  std::vector<MergeStep> steps;
  std::vector<std::pair<std::uint64_t, std::size_t>> order;  // by the last removal in it
  for (const auto& step : chosen) {
    std::uint64_t last_removal = 0;
    MergeStep& what = steps.emplace_back();
    what.is_compact = step.size() == 1 && units[step[0]].is_compact;
    for (const std::size_t i : step) {
      what.packs.insert(what.packs.end(), parts[i].begin(), parts[i].end());
    }
    for (const auto& pack : what.packs) {
      TOKVAULT_ASSIGN(const auto records, pack->records());
      for (const Record& r : records) {
        if (is_worded_removal(r) || is_kind(r, RecordKind::deletion)) {
          last_removal = std::max(last_removal, r.sequence);
        }
      }
    }
    order.emplace_back(last_removal, order.size());
  }
  // Removals last: then nothing may be left of what they remove, and they need not be carried on.
  std::sort(order.begin(), order.end());
  std::vector<MergeStep> out;
  for (const auto& [last_removal, step] : order) out.push_back(std::move(steps[step]));
  return out;
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

Held held_by(const Packs& packs) {
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
bool are_too_many(const Packs& packs, const CompactOptions& options) {
  const Held held = held_by(packs);
  const std::uint64_t text = held.text_bytes[kTokenStream] + held.text_bytes[kByteStream];
  return held.is_within(options) && packs.size() > 2 * (text / kDictionaryTextBytes + 1) + 1;
}

// Whether what these packs hold comes into one.
bool fits_one_pack(const Packs& packs, const CompactOptions& options) {
  const Held held = held_by(packs);
  return held.text_bytes[kTokenStream] <= kDictionaryTextBytes && held.is_within(options);
}

}  // namespace

// What one compaction made as it would be made now, and nothing has changed since.
Result<bool> VaultImpl::is_compact(const Packs& packs, const CompactOptions& options,
                                   const Needed& needed) const {
  if (packs.front()->footer().set_members.size() != packs.size() || are_too_many(packs, options)) {
    return false;
  }
  for (const auto& pack : packs) {
    const PackFooter& f = pack->footer();
    if (f.set_id != packs.front()->footer().set_id || f.level != options.level ||
        f.made_by != PackMaker::compaction ||
        (options.pack_bytes_max > 0 && pack->size_bytes() > options.pack_bytes_max)) {
      return false;
    }
  }
  for (const auto& pack : packs) {
    TOKVAULT_ASSIGN(const bool dirty, is_dirty(*state_.tenant(pack->tenant()), *pack, needed));
    if (dirty) return false;
  }
  return true;
}

Status VaultImpl::merge(std::uint32_t number, const MergeStep& what, const CompactOptions& options,
                        const Merge::Step& step, CompactReport& report) {
  const Packs& packs = what.packs;
  const bool is_done = what.is_compact;
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
  if (what.is_sorting) {
    merge_options.level = Level::fast;
    merge_options.purpose = PackPurpose::merge;
    merge_options.wide = false;
    merge_options.joins = false;
  }
  const bool retrain = options.retrain && !what.is_sorting;
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
  TOKVAULT_TRY(drop_settled(records, identity.set_supersedes));
  // What files outside of this step need of it.
  const auto supersedes = identity.set_supersedes;
  TOKVAULT_ASSIGN(const Needed needed, needed_externals(*tenant, supersedes));
  Retraining retraining(*this, number, supersedes, [&] { return step(0); });
  if (retrain) TOKVAULT_TRY(retraining.train(fits_one_pack(packs, options)));
  const std::uint64_t bytes_before = merge_options.input_bytes;
  Merge merge(tokenizer_, std::move(merge_options));
  TableSize all;
  for (const auto& pack : packs) all += size_of(pack->footer().counts);
  merge.reserve(all);
  for (const auto& pack : packs) {
    TOKVAULT_TRY(step(0));
    TOKVAULT_ASSIGN(auto dead, state_.dead_rows(*tenant, *pack));
    report.conversations += static_cast<std::uint64_t>(std::count(dead.begin(), dead.end(), true));
    TOKVAULT_TRY(merge.add(pack, std::move(dead)));
  }
  if (!retrain) {
    unsettled_ = true;  // until the swap, what is put is a leftover
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
