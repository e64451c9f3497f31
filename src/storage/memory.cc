#include "storage/memory.h"

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <shared_mutex>

#include "storage/name.h"

namespace tokvault {
namespace {

Error absent(std::string_view name) {
  return Error(Errc::not_found, "no blob " + std::string(name), ENOENT);
}

class MemoryLock final : public WriterLock {
 public:
  explicit MemoryLock(std::shared_ptr<std::atomic<bool>> held) : held_(std::move(held)) {}
  ~MemoryLock() override { held_->store(false); }

 private:
  std::shared_ptr<std::atomic<bool>> held_;
};

}  // namespace

Status MemoryBackend::put(std::string_view name, ByteView bytes) {
  TOKVAULT_TRY(parse_name(name));
  const std::unique_lock lock(mutex_);
  const auto [it, added] = blobs_.try_emplace(std::string(name));
  Blob& blob = it->second;
  if (!added && blob.bytes != bytes) {
    return Error(Errc::exists, std::string(name) + " is there with other bytes");
  }
  blob = {Buffer(bytes), bytes.size(), true};
  return {};
}

Status MemoryBackend::get(std::string_view name, std::uint64_t offset, std::uint64_t size,
                          Buffer& out) const {
  TOKVAULT_TRY(parse_name(name));
  const std::shared_lock lock(mutex_);
  const auto it = blobs_.find(name);
  const auto held = it == blobs_.end() ? find_held(name) : nullptr;
  if (it == blobs_.end() && (!held || !held->bytes)) return absent(name);
  const Buffer& bytes = held ? *held->bytes : it->second.bytes;
  if (offset > bytes.size() || size > bytes.size() - offset) {
    return Error(Errc::corrupt, std::string(name) + ": " + std::to_string(size) +
                                    " bytes at offset " + std::to_string(offset) +
                                    " expected, the blob holds " + std::to_string(bytes.size()));
  }
  out.assign(bytes, offset, size);
  return {};
}

Status MemoryBackend::append(std::string_view name, ByteView bytes) {
  TOKVAULT_TRY(parse_name(name));
  const std::unique_lock lock(mutex_);
  blobs_[std::string(name)].bytes.append(bytes);
  return {};
}

Status MemoryBackend::truncate(std::string_view name, std::uint64_t size) {
  TOKVAULT_TRY(parse_name(name));
  const std::unique_lock lock(mutex_);
  const auto it = blobs_.find(name);
  if (it == blobs_.end()) return absent(name);
  Blob& blob = it->second;
  if (size > blob.bytes.size()) {
    return Error(Errc::invalid, std::string(name) + " holds " + std::to_string(blob.bytes.size()) +
                                    " bytes, it cannot be cut to " + std::to_string(size));
  }
  blob.bytes.resize(size);
  blob.synced_bytes = std::min(blob.synced_bytes, size);
  return {};
}

Status MemoryBackend::sync(std::string_view name) {
  TOKVAULT_TRY(parse_name(name));
  const std::unique_lock lock(mutex_);
  const auto it = blobs_.find(name);
  if (it == blobs_.end()) return absent(name);
  it->second.synced_bytes = it->second.bytes.size();
  it->second.name_synced = true;
  return {};
}

Result<std::uint64_t> MemoryBackend::size(std::string_view name) const {
  TOKVAULT_TRY(parse_name(name));
  const std::shared_lock lock(mutex_);
  const auto it = blobs_.find(name);
  if (it == blobs_.end()) return absent(name);
  return std::uint64_t{it->second.bytes.size()};
}

Result<std::vector<BlobInfo>> MemoryBackend::list(std::string_view folder) const {
  TOKVAULT_TRY(check_folder(folder));
  const std::string prefix = std::string(folder) + "/";
  std::vector<BlobInfo> out;
  const std::shared_lock lock(mutex_);
  for (auto it = blobs_.lower_bound(prefix); it != blobs_.end() && it->first.starts_with(prefix);
       ++it) {
    out.push_back({it->first, it->second.bytes.size()});
  }
  return out;
}

Status MemoryBackend::remove(std::string_view name) {
  TOKVAULT_TRY(parse_name(name));
  const std::unique_lock lock(mutex_);
  const auto it = blobs_.find(name);
  if (it == blobs_.end()) return {};
  if (const auto held = find_held(name)) held->bytes = std::move(it->second.bytes);
  blobs_.erase(it);
  return {};
}

Result<std::shared_ptr<const void>> MemoryBackend::hold(std::string_view name) const {
  TOKVAULT_TRY(parse_name(name));
  const std::unique_lock lock(mutex_);
  auto held = find_held(name);
  if (!blobs_.contains(name) && (!held || !held->bytes)) return absent(name);
  if (!held) {
    held = std::make_shared<Held>();
    std::erase_if(held_, [](const auto& other) { return other.second.expired(); });
    held_.insert_or_assign(std::string(name), held);
  }
  return std::shared_ptr<const void>(std::move(held));
}

// REQUIRES: mutex_ is held
std::shared_ptr<MemoryBackend::Held> MemoryBackend::find_held(std::string_view name) const {
  const auto it = held_.find(name);
  return it == held_.end() ? nullptr : it->second.lock();
}

Result<std::uint64_t> MemoryBackend::sweep() { return std::uint64_t{0}; }

Result<std::unique_ptr<WriterLock>> MemoryBackend::lock_writer() {
  if (locked_->exchange(true)) {
    return Error(Errc::busy, "the writer lock is held in this process");
  }
  return std::unique_ptr<WriterLock>(std::make_unique<MemoryLock>(locked_));
}

Result<std::uint64_t> MemoryBackend::total_bytes() const {
  const std::shared_lock lock(mutex_);
  std::uint64_t total = 0;
  for (const auto& [name, blob] : blobs_) total += blob.bytes.size();
  return total;
}

Capabilities MemoryBackend::capabilities() const {
  Capabilities out;
  out.append = true;
  return out;
}

MemoryBackend::Blobs MemoryBackend::snapshot() const {
  const std::shared_lock lock(mutex_);
  return blobs_;
}

std::unique_ptr<Backend> make_memory_backend() { return std::make_unique<MemoryBackend>(); }

}  // namespace tokvault
