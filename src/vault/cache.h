// What has been decoded and may be needed again: tables, dictionaries and some blocks of packs,
// artifacts, in bounded memory.
#ifndef TOKVAULT_VAULT_CACHE_H_
#define TOKVAULT_VAULT_CACHE_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace tokvault {

// Least recently used goes first. What is handed out stays alive as long as somebody holds it, also
// after it has left the cache.
// Threads: any number at once.
class Cache {
 public:
  enum class Kind : std::uint8_t {
    tables,
    segments,
    token_dictionary,
    byte_dictionary,
    token_block,
    byte_block,
    token_fingerprints,
    byte_fingerprints,
    usage,
    artifact,
    artifact_tokens,
    substrings
  };
  struct Key {
    std::uint64_t file = 0;
    Kind kind = Kind::tables;
    std::uint32_t number = 0;  // of a block
    auto operator<=>(const Key&) const = default;
  };

  // What is larger than `bytes_max` would drop everything, and be dropped by whatever comes next:
  // the last of these is kept beside the others, and is not counted.
  explicit Cache(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

  std::shared_ptr<const void> find(const Key& key);
  void insert(const Key& key, std::shared_ptr<const void> value, std::uint64_t bytes);
  // Something that is in the cache, or was, takes another amount now.
  void resize(const Key& key, std::uint64_t bytes);
  void erase_file(std::uint64_t file);

 private:
  struct Entry {
    Key key;
    std::shared_ptr<const void> value;
    std::uint64_t bytes;
  };
  // All under mutex_.
  std::uint64_t counted(std::uint64_t bytes) const { return bytes > bytes_max_ ? 0 : bytes; }
  void keep_as_large(const Key& key);
  void erase(std::list<Entry>::iterator entry);
  void make_room();

  std::mutex mutex_;
  const std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;                           // counted; guarded by mutex_
  std::optional<Key> large_;                          // guarded by mutex_
  std::list<Entry> entries_;                          // newest first; guarded by mutex_
  std::map<Key, std::list<Entry>::iterator> by_key_;  // guarded by mutex_
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_CACHE_H_
