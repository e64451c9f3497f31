// The catalog in memory: for vaults that need not last, and what the tests compare others with.
#include <map>
#include <mutex>

#include "catalog/rules.h"
#include "tokvault/catalog.h"

namespace tokvault {
namespace {

// Threads: as Catalog; one mutex.
class MemoryCatalog final : public Catalog {
 public:
  Result<CatalogState> load() const override {
    const std::lock_guard lock(mutex_);
    if (!there_) return Error(Errc::not_found, "no catalog yet");
    CatalogState out;
    out.generation = generation_;
    out.next_file = next_file_;
    out.vault_record = vault_record_;
    for (const auto& [number, file] : files_) out.files.push_back(file);
    for (const auto& [key, record] : records_) out.records.push_back(record);
    return out;
  }

  Result<std::uint64_t> generation() const override {
    const std::lock_guard lock(mutex_);
    if (!there_) return Error(Errc::not_found, "no catalog yet");
    return generation_;
  }

  Result<std::uint64_t> commit(const CatalogChange& change) override {
    TOKVAULT_TRY(catalog::check(change));
    const std::lock_guard lock(mutex_);
    if (!there_) return Error(Errc::not_found, "no catalog yet");
    TOKVAULT_TRY(catalog::check_fits(change, generation_, next_file_));
    // What can still be refused comes before what changes anything.
    for (const CatalogFile& file : change.add_files) {
      const auto it = files_.find(file.number);
      if (it == files_.end() || it->second.kind == file.kind) continue;
      if (!catalog::removes(change, file.number)) return catalog::wrong_kind(file);
    }
    for (const std::uint64_t number : change.remove_files) files_.erase(number);
    for (const CatalogFile& file : change.add_files) files_[file.number] = file;
    for (const Buffer& key : change.remove_records) records_.erase(key);
    for (const CatalogRecord& record : change.put_records) records_[record.key] = record;
    if (change.next_file != 0) next_file_ = change.next_file;
    if (change.vault_record) vault_record_ = *change.vault_record;
    return ++generation_;
  }

  Status reset(const CatalogState& state) override {
    TOKVAULT_TRY(catalog::check(state));
    const std::lock_guard lock(mutex_);
    there_ = true;
    generation_ = state.generation;
    next_file_ = state.next_file;
    vault_record_ = state.vault_record;
    files_.clear();
    for (const CatalogFile& file : state.files) files_[file.number] = file;
    records_.clear();
    for (const CatalogRecord& record : state.records) records_[record.key] = record;
    return {};
  }

  Status vacuum() override { return {}; }

 private:
  mutable std::mutex mutex_;
  // All guarded by mutex_.
  bool there_ = false;
  std::uint64_t generation_ = 0;
  std::uint64_t next_file_ = 1;
  Buffer vault_record_;
  std::map<std::uint64_t, CatalogFile> files_;
  std::map<Buffer, CatalogRecord> records_;
};

}  // namespace

std::unique_ptr<Catalog> make_memory_catalog() { return std::make_unique<MemoryCatalog>(); }

}  // namespace tokvault
