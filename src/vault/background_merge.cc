// Merging in the background: the thread, and what the writer does before and after.
//
// The writer looks whether a merge is due (merge_plan.h) when sealing has given it a pack, so that
// one that opens a vault to put a single conversation does not begin what it would have to break
// off. It hands the packs over and goes on; the first commit after the merge is done swaps them.
// Everything that rewrites packs itself (gc, compact) and whoever closes the vault stops it first:
// its packs are removed, and a later merge begins anew. Nothing is lost by that but work.

#include "vault/background_merge.h"

#include <algorithm>
#include <span>
#include <system_error>

#include "base/background.h"
#include "base/checksum.h"
#include "vault/merge_plan.h"
#include "vault/recovery.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

// Whether most of what was merged before lies in wide packs, as `compact` found it to be best.
bool are_wide(std::span<const std::shared_ptr<PackFile>> packs) {
  std::uint64_t wide = 0, merged = 0;
  for (const auto& pack : packs) {
    if (!pack->is_merged()) continue;
    const std::uint64_t text = pack->footer().streams[kTokenStream].text_bytes;
    merged += text;
    if (text > kWideTextBytes / 2) wide += text;
  }
  return 2 * wide > merged;
}

}  // namespace

BackgroundMerge::BackgroundMerge(Backend& backend, Cache& cache,
                                 std::shared_ptr<const Tokenizer> tokenizer,
                                 std::atomic<std::uint64_t>& next_file, Job job)
    : backend_(backend),
      cache_(cache),
      tokenizer_(std::move(tokenizer)),
      next_file_(next_file),
      job_(std::move(job)) {
  for (const auto& pack : job_.packs) {
    supersedes_.push_back(pack->file());
    size_bytes_ += pack->size_bytes();
  }
  try {
    thread_ = std::thread([this] {
      give_way();
      try {
        result_ = run();
      } catch (const std::exception& e) {
        result_ = Error(Errc::exhausted, e.what());
      }
      job_ = Job();
      std::lock_guard lock(mutex_);
      done_ = true;
      done_changed_.notify_all();
    });
  } catch (const std::system_error& e) {
    result_ = Error(Errc::exhausted, "no thread can be started", e.code().value());
    done_ = true;
  }
}

BackgroundMerge::~BackgroundMerge() {
  stop_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void BackgroundMerge::wait_for(std::chrono::milliseconds time) const {
  std::unique_lock lock(mutex_);
  done_changed_.wait_for(lock, time, [this] { return done_.load(); });
}

Result<std::vector<CatalogFile>> BackgroundMerge::finish() {
  if (thread_.joinable()) thread_.join();
  return std::move(result_);
}

Result<std::vector<CatalogFile>> BackgroundMerge::run() {
  MergeOptions options;
  options.tenant = job_.tenant;
  options.level = job_.level;
  options.purpose = PackPurpose::merge;
  options.turn = job_.encoding;
  options.input_bytes = size_bytes_;
  options.wide = are_wide(job_.packs);  // a trial would cost as much again
  options.artifacts = job_.artifacts;
  options.stop = stop_.get_token();
  PackIdentity identity;
  identity.vault = job_.vault;
  identity.set_id = random_bytes(16);
  identity.set_supersedes = supersedes_;
  identity.tenant_rows = job_.tenant_rows;
  std::vector<CatalogFile> files;
  {
    Merge merge(tokenizer_, std::move(options));
    TableSize all;
    for (const auto& pack : job_.packs) all += size_of(pack->footer().counts);
    merge.reserve(all);
    for (const auto& pack : job_.packs) TOKVAULT_TRY(merge.add(pack, {}));
    auto step = [this](std::uint64_t) { return check_stop(stop_.get_token()); };
    TOKVAULT_ASSIGN(files, merge.run(backend_, std::move(identity), std::move(job_.records),
                                     nullptr, next_file_, step));
  }
  // The writer looks for duplicates in what is new to it: then it finds that decoded.
  for (const CatalogFile& file : files) {
    auto pack = PackFile::open(backend_, cache_, file.number);
    for (const Stream stream : {kTokenStream, kByteStream}) {
      if (pack && !stop_.stop_requested()) (void)(*pack)->fingerprints(stream);
    }
  }
  return files;
}

// --- of the writer -------------------------------------------------------------------------------

Result<std::vector<std::shared_ptr<PackFile>>> VaultImpl::merge_due(std::uint32_t tenant) const {
  std::vector<std::shared_ptr<PackFile>> packs;
  std::vector<MergeCandidate> candidates;
  for (const auto& [number, pack] : state_.packs()) {
    const PackFooter& f = pack->footer();
    // What somebody has compacted to a higher level stays as it is.
    if (pack->tenant() != tenant || f.level > options_.level) continue;
    if (unmergeable_.contains(number)) continue;
    MergeCandidate c;
    c.size_bytes = pack->size_bytes();
    c.is_fresh = !pack->is_merged();
    c.weight = merge_weight(f);
    c.is_divisible = f.streams[kTokenStream].text_bytes > kFingerprintlessTextBytes;
    candidates.push_back(c);
    packs.push_back(pack);
  }
  TOKVAULT_ASSIGN(const auto chosen,
                  choose_merge(candidates, options_.merge_bytes_min,
                               [&](std::size_t i) { return packs[i]->direction(); }));
  std::vector<std::shared_ptr<PackFile>> out;
  for (const std::size_t i : chosen) out.push_back(packs[i]);
  return out;
}

void VaultImpl::tend_merging() {
  if (merge_ && merge_->is_done()) take_merged();
  if (!merge_wanted_ || merge_paused_ || merge_ || unsettled_) return;
  merge_wanted_ = false;
  if (options_.merge_bytes_min == UINT64_MAX || !state_.expect_whole()) return;
  Status status = start_merging();
  if (!status) note_merge_error(std::move(status).error());
}

// The tenant that has most to merge.
Status VaultImpl::start_merging() {
  BackgroundMerge::Job job;
  std::uint64_t most = 0;
  for (const auto& [number, tenant] : state_.tenants()) {
    auto packs = merge_due(number);
    if (packs.code() == Errc::corrupt) {  // of this tenant alone
      note_merge_error(std::move(packs).error());
      continue;
    }
    if (!packs) return std::move(packs).error();
    std::uint64_t bytes = 0;
    for (const auto& pack : *packs) bytes += pack->size_bytes();
    if (bytes <= most) continue;
    most = bytes;
    job.tenant = tenant.record;
    job.packs = std::move(*packs);
  }
  if (job.packs.empty()) return {};
  for (const auto& pack : job.packs) {
    const auto of_pack = pack->records();
    if (of_pack.code() == Errc::corrupt) {
      std::lock_guard lock(state_mutex_);
      unmergeable_.insert(pack->file());
      merge_wanted_ = true;
    }
    if (!of_pack) return of_pack.error().clone();
    job.records.insert(job.records.end(), of_pack->begin(), of_pack->end());
  }
  job.records = kept_records(last_of_each(job.records));
  job.artifacts = pack_artifacts(job.tenant.number);
  job.vault = state_.vault();
  job.level = options_.level;
  job.tenant_rows = state_.rows_in_packs(job.tenant.number);
  job.encoding = &encoding_;
  merging_bytes_ = most;
  merge_ =
      std::make_shared<BackgroundMerge>(*backend_, cache_, tokenizer_, next_file_, std::move(job));
  return {};
}

void VaultImpl::take_merged() {
  if (!merge_) return;
  auto files = merge_->finish();
  const auto supersedes = merge_->supersedes();
  merge_.reset();
  merging_bytes_ = 0;
  if (!files) {
    // What it has put may be there still: settle() looks.
    unsettled_ = true;
    if (files.code() == Errc::corrupt) {
      // Chosen again they would fail again, and nothing else would ever be merged. Which of them it
      // is does not matter until somebody has repaired it, and opens the vault again.
      std::lock_guard lock(state_mutex_);
      unmergeable_.insert(supersedes.begin(), supersedes.end());
      merge_wanted_ = true;
    }
    if (files.code() != Errc::cancelled) note_merge_error(std::move(files).error());
    return;
  }
  // Nothing is left in them, and no pack would say that it replaces them, so that an interrupted
  // removal could not be told from a loss. They go with what is merged next.
  if (files->empty()) return;
  const bool are_live = std::all_of(supersedes.begin(), supersedes.end(),
                                    [&](std::uint64_t n) { return state_.packs().contains(n); });
  if (!are_live || failed_.code() != Errc::ok) {
    for (const CatalogFile& file : *files) (void)backend_->remove(pack_name(file.number));
    unsettled_ = true;
    return;
  }
  const bool was_unsettled = unsettled_;
  Status status = swap(std::move(*files), supersedes, {});
  unsettled_ = unsettled_ || was_unsettled;  // a swap settles itself alone
  if (!status) return note_merge_error(std::move(status).error());
  stager_->forget_packs(supersedes);
  ++merges_done_;
  merge_wanted_ = true;  // of another tenant, or again
}

void VaultImpl::stop_merging() {
  if (!merge_) return;
  merge_->request_stop();
  take_merged();
}

Status VaultImpl::finish_merging(const Progress& progress) {
  std::uint64_t done = 0;
  for (bool first = true;; first = false) {
    std::shared_ptr<const BackgroundMerge> running;
    {
      TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
      TOKVAULT_TRY(prepare_log());
      join_sealing();
      TOKVAULT_TRY(settle());
      merge_wanted_ = merge_wanted_ || first;
      if (merge_ && merge_->is_done()) done += merge_->size_bytes();
      tend_merging();
      if (!merge_ && !merge_wanted_) break;
      running = merge_;
    }
    if (!running) continue;  // settle() comes first
    if (progress && !progress(done, done + running->size_bytes())) {
      return Error(Errc::cancelled, "stopped waiting for packs to be merged");
    }
    running->wait_for(std::chrono::milliseconds(100));
  }
  std::lock_guard lock(seal_mutex_);
  if (Error error = std::exchange(merge_error_, Error()); error.code() != Errc::ok) return error;
  return {};
}

void VaultImpl::note_merge_error(Error error) {
  std::lock_guard lock(seal_mutex_);
  if (merge_error_.code() == Errc::ok) merge_error_ = std::move(error);
}

}  // namespace tokvault
