// The store's door to the disk: every call that opens or changes a file goes through here, so that
// tests can fail each of them in turn, and reads of many ranges go to io_uring or preadv with the
// same results.
#ifndef TOKVAULT_CHECKPOINT_DISK_H_
#define TOKVAULT_CHECKPOINT_DISK_H_

#include <sys/uio.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/file.h"
#include "tokvault/result.h"

namespace tokvault::checkpoint {

// What a test hook may do to a call: nothing (0), make it fail with an errno (> 0), or, for a
// write, write half of the bytes and then fail with ENOSPC (kShortWrite).
inline constexpr int kShortWrite = -1;
using FaultHook = int (*)(const char* call, const std::string& path);
// Null (the default) for none. Tests only; not synchronised with running calls.
void set_fault_hook(FaultHook hook);

// A file of the store, with its name for messages and faults.
struct DiskFile {
  File file;
  std::string path;
};
Result<std::shared_ptr<DiskFile>> disk_open(const std::string& path, int flags);
Status disk_write(const DiskFile& file, std::uint64_t offset, std::span<const ByteView> parts);
// Tells the kernel to start writing the range out, so that a later sync has less to wait for.
void disk_start_writing(const DiskFile& file, std::uint64_t offset, std::uint64_t size);
Status disk_sync(const DiskFile& file);
Status disk_truncate(const DiskFile& file, std::uint64_t size);
Status disk_rename(const std::string& from, const std::string& to);
Status disk_unlink(const std::string& path);  // absent is fine
// Gives the range back to the file system; `unsupported` where it cannot.
Status disk_punch(const DiskFile& file, std::uint64_t offset, std::uint64_t size);
// Bytes that the file occupies.
Result<std::uint64_t> disk_allocated(const DiskFile& file);

// One read into up to three places. `ok` is set by read_all: every byte arrived.
struct ReadOp {
  std::shared_ptr<DiskFile> file;
  std::uint64_t offset = 0;
  iovec parts[3] = {};
  unsigned count = 0;
  bool ok = false;
  std::size_t size() const;
};

// Reads many ranges. Threads: from any thread at once.
class BlockReader {
 public:
  // `uring`: use io_uring if the kernel offers it.
  explicit BlockReader(bool uring);
  ~BlockReader();
  bool has_uring() const;
  // Runs all reads; calls done(i) as each is finished, on the calling thread. Where that throws, no
  // read is under way any more once the exception comes out.
  void read_all(std::span<ReadOp> ops, const std::function<void(std::size_t)>& done);

 private:
  struct Ring;
  std::unique_ptr<Ring> ring_;
};

// A buffer aligned to 4096 bytes, for O_DIRECT. Where memory is missing, as operator new.
struct AlignedFree {
  void operator()(char* p) const;
};
using AlignedBuffer = std::unique_ptr<char[], AlignedFree>;
AlignedBuffer aligned_buffer(std::size_t size);

inline constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) {
  return (n + unit - 1) / unit * unit;
}

}  // namespace tokvault::checkpoint

#endif  // TOKVAULT_CHECKPOINT_DISK_H_
