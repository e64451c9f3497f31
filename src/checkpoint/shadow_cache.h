// A cache of keys that is simulated beside the store: how often would a policy have missed?
//
// Sampling is by block, not by prompt: a system prompt that everybody shares would put all or
// nothing of the traffic into a sample of prompts. The parent of a sampled block is the nearest
// sampled one before it, so that leaves still go first.
#ifndef TOKVAULT_CHECKPOINT_SHADOW_CACHE_H_
#define TOKVAULT_CHECKPOINT_SHADOW_CACHE_H_

#include <memory>
#include <span>

#include "checkpoint/eviction.h"

namespace tokvault::checkpoint {

// A block of a request.
struct ShadowBlock {
  Hash128 key;
  std::uint16_t depth = 0;
  std::uint32_t hits = 0;  // if it has to be added: what is known of it
};

// Threads: none.
class ShadowCache {
 public:
  // What a block is worth now, and what it would be worth if it were added; null: what was used
  // last, and everything is added.
  struct Judge {
    virtual ~Judge() = default;
    virtual double worth(const BlockRecord& r) const = 0;
    virtual double worth_if_added(const BlockRecord& r) const = 0;
  };
  // Keeps a pointer to the judge, which must outlive it.
  explicit ShadowCache(const Judge* judge) : judge_(judge) {}

  // A request for the blocks of a prompt, in order. Returns how many of them were not there behind
  // the leading ones that were; those are added, in at most `capacity` blocks.
  std::size_t request(std::span<const ShadowBlock> blocks, std::uint32_t clock,
                      std::uint64_t capacity);
  void clear();
  std::uint64_t memory_bytes() const;

 private:
  // The victim among the leaves, as the store finds it.
  class Leaves final : public LeafPolicy {
   public:
    Leaves(BlockIndex& index, const Judge* judge) : LeafPolicy(index), judge_(judge) {}
    double value(RecordId id) const override {
      const BlockRecord& r = index_[id];
      return judge_ == nullptr ? r.last_use : judge_->worth(r);
    }

   private:
    const Judge* judge_;
  };
  bool make_room(const BlockRecord& wanted, RecordId parent, std::uint64_t capacity);

  const Judge* judge_;
  BlockIndex index_;
  Leaves leaves_{index_, judge_};
};

// Whether what stands behind a used block was used less: it is the continuation of what others use.
inline void classify_continuation(const BlockIndex& index, BlockRecord& r) {
  const bool continuation = r.parent != kNoRecord && index[r.parent].hits() > r.hits();
  r.flags =
      static_cast<std::uint8_t>((r.flags & ~kContinuation) | (continuation ? kContinuation : 0));
}

}  // namespace tokvault::checkpoint

#endif  // TOKVAULT_CHECKPOINT_SHADOW_CACHE_H_
