// The memory backend, with what the fault wrapper needs to see of it.
#ifndef TOKVAULT_STORAGE_MEMORY_H_
#define TOKVAULT_STORAGE_MEMORY_H_

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "tokvault/backend.h"

namespace tokvault {

// Threads: as Backend; one shared mutex over all blobs.
class MemoryBackend final : public Backend {
 public:
  struct Blob {
    Buffer bytes;
    std::uint64_t synced_bytes = 0;  // how much of it a power loss must leave
    bool name_synced = false;        // whether the blob itself must survive
  };
  using Blobs = std::map<std::string, Blob, std::less<>>;

  MemoryBackend() = default;
  explicit MemoryBackend(Blobs blobs) : blobs_(std::move(blobs)) {}

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

  // A copy of all blobs with what is known to be durable of each.
  Blobs snapshot() const;

 private:
  // The bytes of a blob that was removed while it was held.
  struct Held {
    std::optional<Buffer> bytes;
  };
  std::shared_ptr<Held> find_held(std::string_view name) const;

  mutable SharedMutex mutex_;
  Blobs blobs_;                                                           // guarded by mutex_
  mutable std::map<std::string, std::weak_ptr<Held>, std::less<>> held_;  // guarded by mutex_
  // Shared with the lock that was handed out, which may outlive the backend.
  std::shared_ptr<std::atomic<bool>> locked_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace tokvault

#endif  // TOKVAULT_STORAGE_MEMORY_H_
