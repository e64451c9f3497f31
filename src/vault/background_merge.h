// BackgroundMerge: one merge of packs, on a thread of its own.
//
// It takes everything that its packs hold, whether it is visible or not: so whatever is forgotten,
// replaced or tagged while it runs holds afterwards as well, by its sequence number, and gc erases
// what it has to. Only the commit, which the writer makes, puts the new packs in the place of the
// old ones.
#ifndef TOKVAULT_VAULT_BACKGROUND_MERGE_H_
#define TOKVAULT_VAULT_BACKGROUND_MERGE_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "tokvault/backend.h"
#include "tokvault/catalog.h"
#include "tokvault/tokenizer.h"
#include "vault/merge.h"
#include "vault/pack_file.h"

namespace tokvault {

// Threads: the writer's. Lifetime: backend, cache and the counter outlive it.
class BackgroundMerge {
 public:
  struct Job {
    TenantRecord tenant;
    VaultRecord vault;
    std::mutex* encoding = nullptr;  // see put_pack; outlives it
    Level level = Level::balanced;
    std::uint64_t tenant_rows = 0;  // PackIdentity
    std::vector<std::shared_ptr<PackFile>> packs;
    std::vector<Record> records;  // of theirs that still say what holds
    // What the new packs may copy from.
    std::vector<std::shared_ptr<const ArtifactTokens>> artifacts{};
  };
  BackgroundMerge(Backend& backend, Cache& cache, std::shared_ptr<const Tokenizer> tokenizer,
                  std::atomic<std::uint64_t>& next_file, Job job);
  // Stops it.
  ~BackgroundMerge();

  const std::vector<std::uint64_t>& supersedes() const { return supersedes_; }
  std::uint64_t size_bytes() const { return size_bytes_; }  // of those, on disk
  bool is_done() const { return done_; }
  // Waits until it is done, or for so long. From any thread.
  void wait_for(std::chrono::milliseconds time) const;
  // The packs that it has put, for the catalog; after an error none is left, if the backend could
  // remove them. Once.
  Result<std::vector<CatalogFile>> finish();
  void request_stop() { stop_.request_stop(); }

 private:
  Result<std::vector<CatalogFile>> run();

  Backend& backend_;
  Cache& cache_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  std::atomic<std::uint64_t>& next_file_;
  Job job_;
  std::vector<std::uint64_t> supersedes_;
  std::uint64_t size_bytes_ = 0;
  std::stop_source stop_;
  Result<std::vector<CatalogFile>> result_ =
      std::vector<CatalogFile>();  // of the thread until done_
  std::atomic<bool> done_{false};
  mutable std::mutex mutex_;
  mutable std::condition_variable done_changed_;  // done_ is set under mutex_
  std::thread thread_;                            // last: it uses all of the above
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_BACKGROUND_MERGE_H_
