#include "vault/cache.h"

#include <iterator>

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
  if (bytes > bytes_max_) keep_as_large(key);
  entries_.push_front({key, std::move(value), bytes});
  by_key_[key] = entries_.begin();
  bytes_ += counted(bytes);
  make_room();
}

void Cache::resize(const Key& key, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return;
  Entry& entry = *it->second;
  bytes_ = bytes_ - counted(entry.bytes) + counted(bytes);
  entry.bytes = bytes;
  if (bytes > bytes_max_) {
    keep_as_large(key);
  } else if (large_ == key) {
    large_.reset();
  }
  make_room();
}

void Cache::keep_as_large(const Key& key) {
  if (large_ && *large_ != key) erase(by_key_.at(*large_));
  large_ = key;
}

void Cache::erase(std::list<Entry>::iterator entry) {
  bytes_ -= counted(entry->bytes);
  if (large_ == entry->key) large_.reset();
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

void Cache::make_room() {
  while (bytes_ > bytes_max_) {
    const auto last = std::prev(entries_.end());
    if (large_ == last->key) {
      entries_.splice(entries_.begin(), entries_, last);
    } else {
      erase(last);
    }
  }
}

void Cache::erase_file(std::uint64_t file) {
  std::lock_guard lock(mutex_);
  for (auto it = entries_.begin(); it != entries_.end();) {
    const auto entry = it++;
    if (entry->key.file == file) erase(entry);
  }
}

}  // namespace tokvault
