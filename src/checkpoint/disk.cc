#include "checkpoint/disk.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

namespace tokvault::checkpoint {
namespace {

std::atomic<FaultHook> fault_hook{nullptr};

int fault(const char* call, const std::string& path) {
  const FaultHook hook = fault_hook.load(std::memory_order_relaxed);
  return hook == nullptr ? 0 : hook(call, path);
}

Status pread_rest(const ReadOp& op, std::size_t done) {
  std::uint64_t offset = op.offset;
  for (unsigned i = 0; i < op.count; ++i) {
    const iovec& part = op.parts[i];
    const std::size_t skip = std::min(done, part.iov_len);
    done -= skip;
    if (skip < part.iov_len) {
      TOKVAULT_TRY(op.file->file.pread(offset + skip, part.iov_len - skip,
                                       static_cast<char*>(part.iov_base) + skip));
    }
    offset += part.iov_len;
  }
  return {};
}

}  // namespace

void set_fault_hook(FaultHook hook) { fault_hook = hook; }

Result<std::shared_ptr<DiskFile>> disk_open(const std::string& path, int flags) {
  const char* const call = (flags & O_CREAT) != 0 ? "create" : "open";
  if (const int e = fault(call, path); e > 0) return errno_error(e, call + (" " + path));
  TOKVAULT_ASSIGN(File file, File::open(path, flags));
  return std::make_shared<DiskFile>(DiskFile{std::move(file), path});
}

Status disk_write(const DiskFile& file, std::uint64_t offset, std::span<const ByteView> parts) {
  std::vector<iovec> list;
  std::size_t left = 0;
  for (const ByteView part : parts) {
    if (part.empty()) continue;
    list.push_back({const_cast<char*>(part.data()), part.size()});
    left += part.size();
  }
  const int injected = fault("write", file.path);
  if (injected > 0) return errno_error(injected, "write " + file.path);
  if (injected == kShortWrite) {
    for (std::size_t half = left / 2; const iovec& part : list) {
      const std::size_t size = std::min(half, part.iov_len);
      static_cast<void>(::pwrite(file.file.fd(), part.iov_base, size, static_cast<off_t>(offset)) <
                        0);
      offset += size;
      half -= size;
    }
    return errno_error(ENOSPC, "write " + file.path);
  }
  iovec* at = list.data();
  std::size_t count = list.size();
  while (left > 0) {
    const ssize_t n =
        ::pwritev(file.file.fd(), at, static_cast<int>(std::min<std::size_t>(count, 512)),
                  static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, "write " + file.path);
    }
    auto done = static_cast<std::size_t>(n);
    offset += done;
    left -= done;
    while (done > 0 && done >= at->iov_len) {
      done -= at->iov_len;
      ++at;
      --count;
    }
    if (done > 0) {
      at->iov_base = static_cast<char*>(at->iov_base) + done;
      at->iov_len -= done;
    }
  }
  return {};
}

void disk_start_writing(const DiskFile& file, std::uint64_t offset, std::uint64_t size) {
  // A hint: where it is refused, sync does all of it.
  static_cast<void>(::sync_file_range(file.file.fd(), static_cast<off_t>(offset),
                                      static_cast<off_t>(size), SYNC_FILE_RANGE_WRITE) != 0);
}

Status disk_sync(const DiskFile& file) {
  if (const int e = fault("sync", file.path); e > 0) return errno_error(e, "sync " + file.path);
  if (::fdatasync(file.file.fd()) != 0) return errno_error(errno, "sync " + file.path);
  return {};
}

Status disk_truncate(const DiskFile& file, std::uint64_t size) {
  if (const int e = fault("truncate", file.path); e > 0) {
    return errno_error(e, "truncate " + file.path);
  }
  if (::ftruncate(file.file.fd(), static_cast<off_t>(size)) != 0) {
    return errno_error(errno, "truncate " + file.path);
  }
  return {};
}

Status disk_rename(const std::string& from, const std::string& to) {
  if (const int e = fault("rename", from); e > 0) return errno_error(e, "rename " + from);
  if (std::rename(from.c_str(), to.c_str()) != 0) return errno_error(errno, "rename " + from);
  return {};
}

Status disk_unlink(const std::string& path) {
  if (const int e = fault("unlink", path); e > 0) return errno_error(e, "remove " + path);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "remove " + path);
  return {};
}

Status disk_punch(const DiskFile& file, std::uint64_t offset, std::uint64_t size) {
  int e = fault("punch", file.path);
  if (e <= 0) {
    e = ::fallocate(file.file.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(offset), static_cast<off_t>(size)) == 0
            ? 0
            : errno;
  }
  if (e == 0) return {};
  if (e == EOPNOTSUPP || e == ENOSYS) {
    return Error(Errc::unsupported, "the file system cannot punch holes", e);
  }
  return errno_error(e, "punch " + file.path);
}

Result<std::uint64_t> disk_allocated(const DiskFile& file) {
  struct stat st{};
  if (::fstat(file.file.fd(), &st) != 0) return errno_error(errno, "stat " + file.path);
  return static_cast<std::uint64_t>(st.st_blocks) * 512;
}

std::size_t ReadOp::size() const {
  std::size_t n = 0;
  for (unsigned i = 0; i < count; ++i) n += parts[i].iov_len;
  return n;
}

void AlignedFree::operator()(char* p) const { ::operator delete(p, std::align_val_t(kPage)); }
AlignedBuffer aligned_buffer(std::size_t size) {
  return AlignedBuffer(static_cast<char*>(
      ::operator new(round_up(std::max<std::size_t>(size, 1), kPage), std::align_val_t(kPage))));
}

struct BlockReader::Ring {
  static constexpr unsigned kDepth = 32;
  io_uring ring{};
  std::mutex mutex;
  bool usable = true;  // guarded by mutex
  struct Flight;
};

// How many reads of a call are in flight. The call may end before they do: because the kernel
// refused, or because who is told of a read threw. What the kernel has taken goes on writing to the
// caller's memory, so it is waited for; what it has not must not be submitted with a later call's,
// so then the ring has served.
struct BlockReader::Ring::Flight {
  Ring& of;
  std::size_t count = 0;
  ~Flight() {
    if (count == 0) return;
    if (const std::size_t left = io_uring_sq_ready(&of.ring); left > 0) {
      of.usable = false;
      count -= std::min(count, left);
    }
    io_uring_cqe* completion = nullptr;
    while (count > 0) {
      const int waited = io_uring_wait_cqe(&of.ring, &completion);
      if (waited == -EINTR) continue;
      if (waited != 0) {
        of.usable = false;
        return;
      }
      io_uring_cqe_seen(&of.ring, completion);
      --count;
    }
  }
};

BlockReader::BlockReader(bool uring) {
  if (!uring) return;
  auto ring = std::make_unique<Ring>();
  if (io_uring_queue_init(Ring::kDepth, &ring->ring, 0) == 0) ring_ = std::move(ring);
}

BlockReader::~BlockReader() {
  if (ring_) io_uring_queue_exit(&ring_->ring);
}

bool BlockReader::has_uring() const { return ring_ != nullptr; }

void BlockReader::read_all(std::span<ReadOp> ops, const std::function<void(std::size_t)>& done) {
  // One ring, one user at a time: a second thread reads with preadv meanwhile, which is as good.
  std::unique_lock<std::mutex> lock;
  if (ring_ && ops.size() > 1) lock = std::unique_lock(ring_->mutex, std::try_to_lock);
  if (!lock.owns_lock() || !ring_->usable) {
    for (std::size_t i = 0; i < ops.size(); ++i) {
      ssize_t n = -1;
      do {
        n = ::preadv(ops[i].file->file.fd(), ops[i].parts, static_cast<int>(ops[i].count),
                     static_cast<off_t>(ops[i].offset));
      } while (n < 0 && errno == EINTR);
      ops[i].ok = n >= 0 && pread_rest(ops[i], static_cast<std::size_t>(n)).has_value();
      done(i);
    }
    return;
  }
  io_uring& ring = ring_->ring;
  std::size_t next = 0;
  Ring::Flight in_flight{*ring_};
  while (next < ops.size() || in_flight.count > 0) {
    while (next < ops.size() && in_flight.count < Ring::kDepth) {
      io_uring_sqe* entry = io_uring_get_sqe(&ring);
      if (entry == nullptr) break;
      io_uring_prep_readv(entry, ops[next].file->file.fd(), ops[next].parts, ops[next].count,
                          ops[next].offset);
      io_uring_sqe_set_data64(entry, next);
      ++next;
      ++in_flight.count;
    }
    const int injected = fault("submit", "");
    const int submitted = injected > 0 ? -injected : io_uring_submit_and_wait(&ring, 1);
    if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN && submitted != -EBUSY) {
      ring_->usable = false;
      return;
    }
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring, &completion) == 0) {
      const auto i = static_cast<std::size_t>(io_uring_cqe_get_data64(completion));
      const int n = completion->res;
      io_uring_cqe_seen(&ring, completion);
      --in_flight.count;
      // What the ring could not do whole (a short read, an error), pread finishes or fails.
      ops[i].ok = pread_rest(ops[i], n < 0 ? 0 : static_cast<std::size_t>(n)).has_value();
      done(i);
    }
  }
}

}  // namespace tokvault::checkpoint
