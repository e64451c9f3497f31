// Locks that keep nobody out for long.
#ifndef TOKVAULT_BASE_MUTEX_H_
#define TOKVAULT_BASE_MUTEX_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <shared_mutex>

namespace tokvault {

// Goes to those who wait for it in the order in which they came. std::mutex may go to a thread that
// has just given it up, again and again: one that wrote batch after batch held up another's single
// write for a hundred of them. For what is held for milliseconds: it costs a switch of threads.
class FairMutex {
 public:
  void lock() {
    std::unique_lock guard(mutex_);
    if (!is_taken_) {
      is_taken_ = true;
      return;
    }
    Waiting self;
    *(last_ == nullptr ? &first_ : &last_->next) = &self;
    last_ = &self;
    ++waiting_;
    self.wake.wait(guard, [&] { return self.is_next; });
  }
  void unlock() {
    std::lock_guard guard(mutex_);
    Waiting* const next = first_;
    if (next == nullptr) {
      is_taken_ = false;
      return;
    }
    first_ = next->next;
    if (first_ == nullptr) last_ = nullptr;
    --waiting_;
    next->is_next = true;
    next->wake.notify_one();  // it is there as long as mutex_ is held
  }
  // How many threads wait for it.
  std::uint64_t waiting() const {
    std::lock_guard guard(mutex_);
    return waiting_;
  }

 private:
  // On the stack of the thread that waits, so that no memory is needed.
  struct Waiting {
    std::condition_variable wake;
    bool is_next = false;
    Waiting* next = nullptr;
  };

  mutable std::mutex mutex_;
  // All guarded by mutex_.
  bool is_taken_ = false;
  Waiting* first_ = nullptr;
  Waiting* last_ = nullptr;
  std::uint64_t waiting_ = 0;
};

// For many readers and one writer. While a thread waits to have it alone, threads that want to
// share it wait behind that one: std::shared_mutex lets them in, and four threads that read without
// a pause hold up a writer for seconds. (The lock of pthreads that prefers writers spins.)
// A thread that shares it must therefore not ask to share it again (asserted): a writer between the
// two would wait for it, and it for the writer.
class SharedMutex {
 public:
  SharedMutex() = default;

  void lock() {
    assert(!is_shared_here());
    waiting_.fetch_add(1, std::memory_order_relaxed);
    std::lock_guard gate(gate_);
    mutex_.lock();
    waiting_.fetch_sub(1, std::memory_order_relaxed);
  }
  void unlock() { mutex_.unlock(); }
  void lock_shared() {
    assert(!is_shared_here());
    if (waiting_.load(std::memory_order_relaxed) != 0) {
      std::lock_guard gate(gate_);
    }
    mutex_.lock_shared();
    note_shared();
  }
  // False if a thread has it alone or waits to.
  bool try_lock_shared() {
    if (waiting_.load(std::memory_order_relaxed) != 0 || !mutex_.try_lock_shared()) return false;
    note_shared();
    return true;
  }
  void unlock_shared() {
    note_given_back();
    mutex_.unlock_shared();
  }

 private:
#ifdef NDEBUG
  void note_shared() {}
  void note_given_back() {}
#else
  bool is_shared_here() const { return std::count(shared_.begin(), shared_.end(), this) != 0; }
  void note_shared() { *std::find(shared_.begin(), shared_.end() - 1, nullptr) = this; }
  void note_given_back() {
    const SharedMutex* const self = this;
    std::replace(shared_.begin(), shared_.end(), self, kNone);
  }

  // Those that this thread shares, as far as there is room. An array, because a lock may still be
  // used when the thread's own objects are gone.
  static constexpr const SharedMutex* kNone = nullptr;
  static inline thread_local std::array<const SharedMutex*, 8> shared_{};
#endif
  std::atomic<int> waiting_ = 0;  // to have it alone
  std::mutex gate_;               // held by the next of them until it has
  std::shared_mutex mutex_;
};

}  // namespace tokvault

#endif  // TOKVAULT_BASE_MUTEX_H_
