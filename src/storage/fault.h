// A disk for tests: blobs in memory that remember what was synced, lose power, fail on demand, and
// count what was asked of them.
//
//   FaultBackend disk;                                        // copies share one disk
//   auto vault = open(std::make_unique<FaultBackend>(disk));  // the engine owns a copy
//   disk.fail({.call = 7, .os_code = ENOSPC});
//   ...
//   auto after = disk.power_cut(seed);                        // another disk, as it could be found
//
// A crash test stops at every mutating call in turn (`fail` with `stay`, for call 1, 2, ... until
// a run comes through), and for each tries the fates of what was not synced: all combinations while
// there are few, random ones by seed otherwise (docs/testing.md).
#ifndef TOKVAULT_STORAGE_FAULT_H_
#define TOKVAULT_STORAGE_FAULT_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "storage/memory.h"

namespace tokvault {

// How often a disk was asked what, and how much moved.
struct CallCounts {
  std::uint64_t get = 0;
  std::uint64_t put = 0;
  std::uint64_t append = 0;
  std::uint64_t truncate = 0;
  std::uint64_t sync = 0;
  std::uint64_t size = 0;
  std::uint64_t list = 0;
  std::uint64_t remove = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;  // handed to put and append

  // put, append, truncate, sync and remove: what `Fault::call` counts.
  std::uint64_t mutating() const { return put + append + truncate + sync + remove; }
};

// A call that will fail, and how.
struct Fault {
  enum class Kind { mutating, get };
  // How much of the failed call took place all the same. `half` is a short append; of a put, a
  // remove or a truncate, which are atomic, half is none. `whole` is an answer that was lost.
  enum class Effect { none, half, whole };

  std::uint64_t call = 1;  // the first, second ... call of the kind from now on
  int os_code = 5;         // EIO -> io, ENOSPC -> exhausted: by errno_error
  Effect effect = Effect::none;
  bool stay = false;  // every later call of the kind fails as well, with no effect
  Kind kind = Kind::mutating;
};

// An append, or what is left of it after a truncate, that no sync has covered.
struct PendingWrite {
  std::string name;
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
};

// What power loss made of a pending write.
enum class Fate : std::uint8_t {
  applied,
  dropped,    // not written; zeros, if a later write to the blob was applied
  truncated,  // only a part of it from the front was written
  garbled,    // all of it in size, but random bytes from some byte on
};

// Threads: as Backend. Copies are handles to one disk.
class FaultBackend final : public Backend {
 public:
  FaultBackend();

  Status put(std::string_view name, ByteView bytes) override;
  Status get(std::string_view name, std::uint64_t offset, std::uint64_t size,
             Buffer& out) const override;
  Status append(std::string_view name, ByteView bytes) override;
  Status truncate(std::string_view name, std::uint64_t size) override;
  Status sync(std::string_view name) override;
  Result<std::uint64_t> size(std::string_view name) const override;
  Result<std::vector<BlobInfo>> list(std::string_view folder) const override;
  Status remove(std::string_view name) override;
  Result<std::shared_ptr<const void>> hold(std::string_view name) const override;
  Result<std::uint64_t> sweep() override;
  Result<std::unique_ptr<WriterLock>> lock_writer() override;
  Result<std::uint64_t> total_bytes() const override;
  Capabilities capabilities() const override;

  // Arms one fault, in place of any armed before.
  void fail(const Fault& fault);
  void fail_no_more();
  // Whether the armed fault has struck.
  bool has_failed() const;

  CallCounts counts() const;
  void reset_counts();

  // What is not synced, in the order in which it was written.
  std::vector<PendingWrite> pending() const;

  // Another disk, as this one may be found after power loss; this one is left as it is. Puts,
  // removals and truncations that answered are kept.
  // REQUIRES: as many fates as pending writes. `seed` chooses where a write is cut or garbled, and
  // whether a blob of which nothing was synced or applied is there at all.
  FaultBackend power_cut(std::span<const Fate> fates, std::uint64_t seed) const;
  // The same with fates drawn by the seed.
  FaultBackend power_cut(std::uint64_t seed) const;
  // Another disk, as it is found when only the process died: everything was applied.
  FaultBackend process_kill() const;

  // Damages a stored blob: replaces its bytes, all of them synced.
  void overwrite(const std::string& name, const Buffer& bytes);

 private:
  struct Disk;
  explicit FaultBackend(MemoryBackend::Blobs blobs);
  std::shared_ptr<Disk> disk_;
};

}  // namespace tokvault

#endif  // TOKVAULT_STORAGE_FAULT_H_
