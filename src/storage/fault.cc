#include "storage/fault.h"

#include <algorithm>
#include <random>
#include <set>

#include "base/file.h"

namespace tokvault {

// The blobs, with the writes that are not synced beside them.
struct FaultBackend::Disk {
  explicit Disk(MemoryBackend::Blobs content) : blobs(std::move(content)) {}

  // What the armed fault makes of the next call of a kind: nothing if the call goes through.
  // REQUIRES: mutex held.
  std::optional<Fault::Effect> strike(Fault::Kind kind) {
    if (!fault || fault->kind != kind) return std::nullopt;
    if (struck) return fault->stay ? std::optional(Fault::Effect::none) : std::nullopt;
    if (--fault->call > 0) return std::nullopt;
    struck = true;
    return fault->effect;
  }
  Error failure(std::string_view what) const {
    return errno_error(fault->os_code, "injected fault, " + std::string(what));
  }

  void forget_pending(std::string_view name, std::uint64_t size_bytes) {
    for (PendingWrite& write : writes) {
      if (write.name != name) continue;
      const std::uint64_t end = std::min(write.offset + write.size_bytes, size_bytes);
      write.size_bytes = end > write.offset ? end - write.offset : 0;
    }
    std::erase_if(writes, [](const PendingWrite& write) { return write.size_bytes == 0; });
  }

  mutable std::mutex mutex;
  MemoryBackend blobs;  // changed only with mutex held, so that blobs and writes agree
  std::vector<PendingWrite> writes;
  CallCounts counts;
  std::optional<Fault> fault;
  bool struck = false;
};

FaultBackend::FaultBackend() : FaultBackend(MemoryBackend::Blobs{}) {}
FaultBackend::FaultBackend(MemoryBackend::Blobs blobs)
    : disk_(std::make_shared<Disk>(std::move(blobs))) {}

Status FaultBackend::put(std::string_view name, ByteView bytes) {
  const std::lock_guard lock(disk_->mutex);
  ++disk_->counts.put;
  disk_->counts.bytes_written += bytes.size();
  const auto effect = disk_->strike(Fault::Kind::mutating);
  if (!effect || effect == Fault::Effect::whole) {
    TOKVAULT_TRY(disk_->blobs.put(name, bytes));
    disk_->forget_pending(name, 0);
  }
  if (effect) return disk_->failure("put");
  return {};
}

Status FaultBackend::get(std::string_view name, std::uint64_t offset, std::uint64_t size,
                         Buffer& out) const {
  const std::lock_guard lock(disk_->mutex);
  ++disk_->counts.get;
  if (disk_->strike(Fault::Kind::get)) return disk_->failure("get");
  TOKVAULT_TRY(disk_->blobs.get(name, offset, size, out));
  disk_->counts.bytes_read += size;
  return {};
}

Status FaultBackend::append(std::string_view name, ByteView bytes) {
  const std::lock_guard lock(disk_->mutex);
  ++disk_->counts.append;
  disk_->counts.bytes_written += bytes.size();
  const auto effect = disk_->strike(Fault::Kind::mutating);
  if (effect == Fault::Effect::half) bytes = bytes.substr(0, bytes.size() / 2);
  if (effect != Fault::Effect::none) {
    const auto before = disk_->blobs.size(name);
    TOKVAULT_TRY(disk_->blobs.append(name, bytes));
    const std::uint64_t offset = before ? *before : 0;
    if (!bytes.empty()) disk_->writes.push_back({std::string(name), offset, bytes.size()});
  }
  if (effect) return disk_->failure("append");
  return {};
}

Status FaultBackend::truncate(std::string_view name, std::uint64_t size) {
  const std::lock_guard lock(disk_->mutex);
  ++disk_->counts.truncate;
  const auto effect = disk_->strike(Fault::Kind::mutating);
  if (!effect || effect == Fault::Effect::whole) {
    TOKVAULT_TRY(disk_->blobs.truncate(name, size));
    disk_->forget_pending(name, size);
  }
  if (effect) return disk_->failure("truncate");
  return {};
}

Status FaultBackend::sync(std::string_view name) {
  const std::lock_guard lock(disk_->mutex);
  ++disk_->counts.sync;
  const auto effect = disk_->strike(Fault::Kind::mutating);
  if (!effect || effect == Fault::Effect::whole) {
    TOKVAULT_TRY(disk_->blobs.sync(name));
    disk_->forget_pending(name, 0);
  }
  if (effect) return disk_->failure("sync");
  return {};
}

Result<std::uint64_t> FaultBackend::size(std::string_view name) const {
  const std::lock_guard lock(disk_->mutex);
  ++disk_->counts.size;
  return disk_->blobs.size(name);
}

Result<std::vector<BlobInfo>> FaultBackend::list(std::string_view folder) const {
  const std::lock_guard lock(disk_->mutex);
  ++disk_->counts.list;
  return disk_->blobs.list(folder);
}

Result<std::shared_ptr<const void>> FaultBackend::hold(std::string_view name) const {
  const std::lock_guard lock(disk_->mutex);
  return disk_->blobs.hold(name);
}

Status FaultBackend::remove(std::string_view name) {
  const std::lock_guard lock(disk_->mutex);
  ++disk_->counts.remove;
  const auto effect = disk_->strike(Fault::Kind::mutating);
  if (!effect || effect == Fault::Effect::whole) {
    TOKVAULT_TRY(disk_->blobs.remove(name));
    disk_->forget_pending(name, 0);
  }
  if (effect) return disk_->failure("remove");
  return {};
}

Result<std::uint64_t> FaultBackend::sweep() { return disk_->blobs.sweep(); }

Result<std::unique_ptr<WriterLock>> FaultBackend::lock_writer() {
  return disk_->blobs.lock_writer();
}

Result<std::uint64_t> FaultBackend::total_bytes() const { return disk_->blobs.total_bytes(); }

Capabilities FaultBackend::capabilities() const { return disk_->blobs.capabilities(); }

void FaultBackend::fail(const Fault& fault) {
  const std::lock_guard lock(disk_->mutex);
  disk_->fault = fault;
  disk_->fault->call = std::max<std::uint64_t>(fault.call, 1);
  disk_->struck = false;
}

void FaultBackend::fail_no_more() {
  const std::lock_guard lock(disk_->mutex);
  disk_->fault.reset();
  disk_->struck = false;
}

bool FaultBackend::has_failed() const {
  const std::lock_guard lock(disk_->mutex);
  return disk_->struck;
}

CallCounts FaultBackend::counts() const {
  const std::lock_guard lock(disk_->mutex);
  return disk_->counts;
}

void FaultBackend::reset_counts() {
  const std::lock_guard lock(disk_->mutex);
  disk_->counts = {};
}

std::vector<PendingWrite> FaultBackend::pending() const {
  const std::lock_guard lock(disk_->mutex);
  return disk_->writes;
}

FaultBackend FaultBackend::power_cut(std::span<const Fate> fates, std::uint64_t seed) const {
  const std::lock_guard lock(disk_->mutex);
  std::mt19937_64 random(seed);
  const MemoryBackend::Blobs before = disk_->blobs.snapshot();
  MemoryBackend::Blobs after = before;
  std::set<std::string> touched;  // blobs of which something beyond the synced part was written
  for (auto& [name, blob] : after) blob.bytes.resize(blob.synced_bytes);
  for (std::size_t i = 0; i < disk_->writes.size(); ++i) {
    const PendingWrite& write = disk_->writes[i];
    const Fate fate = i < fates.size() ? fates[i] : Fate::dropped;
    if (fate == Fate::dropped) continue;
    const std::uint64_t cut = random() % write.size_bytes;
    const std::uint64_t size = fate == Fate::truncated ? cut : write.size_bytes;
    Buffer bytes = before.at(write.name).bytes.substr(write.offset, size);
    if (fate == Fate::garbled) {
      for (std::size_t at = cut; at < bytes.size(); ++at) bytes[at] = static_cast<char>(random());
    }
    Buffer& target = after.at(write.name).bytes;
    if (target.size() < write.offset + size) target.resize(write.offset + size);
    target.replace(write.offset, size, bytes);
    touched.insert(write.name);
  }
  for (auto it = after.begin(); it != after.end();) {
    const bool lost = !it->second.name_synced && !touched.contains(it->first) && random() % 2 == 0;
    it = lost ? after.erase(it) : std::next(it);
  }
  for (auto& [name, blob] : after) blob = {blob.bytes, blob.bytes.size(), true};
  return FaultBackend(std::move(after));
}

FaultBackend FaultBackend::power_cut(std::uint64_t seed) const {
  std::mt19937_64 random(seed);
  std::vector<Fate> fates(pending().size());
  for (Fate& fate : fates) fate = static_cast<Fate>(random() % 4);
  return power_cut(fates, random());
}

FaultBackend FaultBackend::process_kill() const {
  MemoryBackend::Blobs blobs = disk_->blobs.snapshot();
  for (auto& [name, blob] : blobs) blob = {blob.bytes, blob.bytes.size(), true};
  return FaultBackend(std::move(blobs));
}

void FaultBackend::overwrite(const std::string& name, const Buffer& bytes) {
  const std::lock_guard lock(disk_->mutex);
  static_cast<void>(disk_->blobs.remove(name).has_value());
  disk_->forget_pending(name, 0);
  static_cast<void>(disk_->blobs.put(name, bytes).has_value());
}

}  // namespace tokvault
