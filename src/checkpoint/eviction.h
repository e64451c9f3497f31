// Which block goes when the budget is full: one interface, three strategies for the store.
//
// The store tells the policy what happens; the policy names a victim, always a block without cached
// descendants: a block in the middle of a chain is worth nothing without the ones before it, and
// the ones behind it nothing without it. So the leaves are all that a policy ranks.
#ifndef TOKVAULT_CHECKPOINT_EVICTION_H_
#define TOKVAULT_CHECKPOINT_EVICTION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/block_index.h"
#include "tokvault/checkpoint.h"

namespace tokvault::checkpoint {

// A block that is not stored yet, for the question whether it should be.
struct Candidate {
  Hash128 key = {};
  Hash128 parent = {};  // may not be stored yet either
  bool has_parent = false;
  std::uint32_t position = 0;  // tokens before it
  std::uint32_t tokens = 0;
  std::uint32_t units = 1;
};

// Threads: none; the store calls it under its lock.
class EvictionPolicy {
 public:
  using Protected = std::function<bool(RecordId)>;
  virtual ~EvictionPolicy() = default;

  // A request begins; `clock` counts them. Records that it touches or adds get last_use = clock.
  virtual void begin(std::uint32_t clock) { clock_ = clock; }
  // The request hit this record; its hits are counted already.
  virtual void touched(RecordId) {}
  // The record was added.
  virtual void inserted(RecordId) {}
  // The request is complete; `chain` is what it touched and added, from the first block to the
  // last.
  virtual void end(std::span<const RecordId> /*chain*/) {}
  // The index was loaded from a file: take stock of it. Called once, before anything else.
  virtual void load() = 0;
  // The record will be erased from the index.
  virtual void erased(RecordId, bool /*evicted*/) {}
  virtual void became_leaf(RecordId) = 0;
  virtual void ceased_leaf(RecordId) = 0;
  // The leaf to evict, or kNoRecord if every leaf is protected.
  virtual RecordId victim(const Protected& is_protected) = 0;
  // Whether the candidate is worth more than the victim that it would displace.
  virtual bool admit(const Candidate&, RecordId /*victim*/) { return true; }
  // The request wanted this block stored, and admit refused it.
  virtual void refused(const Candidate&) {}
  virtual std::uint64_t memory_bytes() const { return 0; }

 protected:
  std::uint32_t clock_ = 0;
};

// Block size in tokens, and where cost per token has doubled (CheckpointOptions).
struct PolicyOptions {
  std::uint32_t block_tokens = 256;
  double attention_tokens = 1048576;
  double half_life_requests = 0;  // of decayed hits; 0: six hours by the clock
};

std::unique_ptr<EvictionPolicy> make_policy(Eviction kind, BlockIndex& index,
                                            const PolicyOptions& options);
std::unique_ptr<EvictionPolicy> make_value_policy(BlockIndex& index, const PolicyOptions& options);

// The leaves in an array, for policies that rank a sample of them (every one, if there are few).
class LeafPolicy : public EvictionPolicy {
 public:
  explicit LeafPolicy(BlockIndex& index) : index_(index) {}
  void load() override;
  void became_leaf(RecordId id) override;
  void ceased_leaf(RecordId id) override;
  RecordId victim(const Protected& is_protected) override;
  std::uint64_t memory_bytes() const override { return leaves_.capacity() * sizeof(RecordId); }

 protected:
  // What keeping the record is worth, now; higher stays.
  virtual double value(RecordId id) const = 0;
  BlockIndex& index_;

 private:
  std::uint64_t random();
  std::vector<RecordId> leaves_;
  std::uint64_t random_ = 0x9e3779b97f4a7c15u;
};

}  // namespace tokvault::checkpoint

#endif  // TOKVAULT_CHECKPOINT_EVICTION_H_
