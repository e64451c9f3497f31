#include "vault/cache.h"

namespace tokvault {

std::shared_ptr<const void> Cache::find(const Key& key) {
  std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->value;
}

void Cache::insert(const Key& key, std::shared_ptr<const void> value, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (by_key_.contains(key)) return;  // another thread decoded it too
  entries_.push_front({key, std::move(value), bytes});
  by_key_[key] = entries_.begin();
  bytes_ += bytes;
  make_room();
}

void Cache::resize(const Key& key, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return;
  bytes_ = bytes_ - it->second->bytes + bytes;
  it->second->bytes = bytes;
  make_room();
}

void Cache::make_room() {
  while (bytes_ > bytes_max_ && entries_.size() > 1) {
    const Entry& last = entries_.back();
    bytes_ -= last.bytes;
    by_key_.erase(last.key);
    entries_.pop_back();
  }
}

void Cache::erase_file(std::uint64_t file) {
  std::lock_guard lock(mutex_);
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (it->key.file == file) {
      bytes_ -= it->bytes;
      by_key_.erase(it->key);
      it = entries_.erase(it);
    } else {
      ++it;
    }
  }
}

}  // namespace tokvault
