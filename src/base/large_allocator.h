// Memory for tables of megabytes that are read at random places.
#ifndef TOKVAULT_BASE_LARGE_ALLOCATOR_H_
#define TOKVAULT_BASE_LARGE_ALLOCATOR_H_

#include <cstddef>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace tokvault {

// An allocator for containers that asks for pages of 2 MB where the system has them: with pages of
// 4 KB, random reads of a table of 64 MB wait for the page tables as long as for the memory.
template <class T>
struct LargeAllocator {
  using value_type = T;
  LargeAllocator() = default;
  template <class U>
  LargeAllocator(const LargeAllocator<U>&) {}

  T* allocate(std::size_t count) {
    const std::size_t size = count * sizeof(T);
    void* const p = ::operator new(size, std::align_val_t{alignment(size)});
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // It is a wish: without it everything works, slower.
    if (size >= kLargePage) static_cast<void>(::madvise(p, size, MADV_HUGEPAGE));
#endif
    return static_cast<T*>(p);
  }
  void deallocate(T* p, std::size_t count) {
    ::operator delete(p, std::align_val_t{alignment(count * sizeof(T))});
  }
  friend bool operator==(const LargeAllocator&, const LargeAllocator&) { return true; }

 private:
  static constexpr std::size_t kLargePage = std::size_t{2} << 20;
  static constexpr std::size_t alignment(std::size_t size) {
    return size >= kLargePage ? kLargePage : alignof(T) > 64 ? alignof(T) : 64;
  }
};

}  // namespace tokvault

#endif  // TOKVAULT_BASE_LARGE_ALLOCATOR_H_
