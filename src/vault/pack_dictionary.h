// PackDictionary: the text at the head of a stream of a pack, which holds segments whole and which
// blocks copy from.
//
// Under zstd it is decoded as far as a segment that is asked for needs, and goes on from there: the
// first conversation that a process reads waits for half of the dictionary on average.
#ifndef TOKVAULT_VAULT_PACK_DICTIONARY_H_
#define TOKVAULT_VAULT_PACK_DICTIONARY_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "base/zstd.h"
#include "codec/token_model.h"
#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// Threads: any number at once. Lifetime: views live as long as it does.
class PackDictionary {
 public:
  // With `segments`, so many are in it, each with its end, and nothing after the last one. What is
  // not so is `corrupt`, when it is reached.
  static Result<std::shared_ptr<const PackDictionary>> read(Buffer frame, std::uint64_t size,
                                                            Buffer history,
                                                            std::optional<std::uint64_t> segments);
  // The same of a text that another codec gave, with what its blocks are decoded with, if any are.
  static Result<std::shared_ptr<const PackDictionary>> make(Buffer text,
                                                            std::unique_ptr<TokenModel> model,
                                                            std::optional<std::uint64_t> segments);

  // A segment without its end. REQUIRES: number < segments
  Result<ByteView> segment(std::uint32_t number) const;
  Result<ByteView> bytes(std::uint64_t offset, std::uint64_t size) const;
  // A block of the token model, if there is one, or of zstd.
  Status decode_block(ByteView block, std::uint64_t size, Buffer& out) const;

  bool has_model() const { return model_ != nullptr; }
  // Whether all of it is decoded, which it stays.
  bool is_whole() const { return is_whole_.load(std::memory_order_acquire); }
  std::uint64_t memory_bytes() const;

 private:
  PackDictionary(std::unique_ptr<FrameReader> reader, std::uint64_t size, Buffer text,
                 std::unique_ptr<TokenModel> model, std::optional<std::uint64_t> segments);
  // Under mutex_: decodes `bytes` of the text at least.
  Status read_until(std::uint64_t bytes) const;
  Status take(ByteView text, bool is_whole) const;

  const std::unique_ptr<FrameReader> reader_;  // guarded by mutex_; null with another codec
  const Buffer text_;                          // of another codec
  const std::unique_ptr<TokenModel> model_;
  const std::optional<std::uint64_t> segments_;
  const char* const data_;  // the text, of which there_ bytes are there
  const std::uint64_t size_;
  // Where each segment ends. What there_ and ends_found_ say is there may be read by anybody.
  const std::unique_ptr<std::uint32_t[]> ends_;
  mutable std::atomic<std::uint64_t> there_{0};
  mutable std::atomic<std::uint64_t> ends_found_{0};
  mutable std::atomic<bool> is_whole_{false};
  mutable std::mutex mutex_;
  mutable std::unique_ptr<BlockDecoder> decoder_;  // guarded by mutex_ until it is there
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_PACK_DICTIONARY_H_
