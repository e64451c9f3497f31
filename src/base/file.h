// The door to the file system: the only place where errno becomes an Error.
#ifndef TOKVAULT_BASE_FILE_H_
#define TOKVAULT_BASE_FILE_H_

#include <cstdint>
#include <string>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// The Error for an errno: ENOENT not_found, EEXIST exists, ENOSPC/EDQUOT/EFBIG/EMFILE exhausted,
// EACCES/EPERM/EROFS denied, EAGAIN/EBUSY/ETXTBSY busy, anything else io.
Error errno_error(int os_code, std::string_view what);

// An open file descriptor.
// Threads: pread from any thread at once; the rest from one at a time.
class File {
 public:
  File() = default;
  explicit File(int fd) : fd_(fd) {}
  File(File&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  File& operator=(File&& other) noexcept;
  ~File();

  // `flags` and `mode` as for open(2); O_CLOEXEC is added.
  static Result<File> open(const std::string& path, int flags, unsigned mode = 0644);

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  Result<std::uint64_t> size() const;
  // Reads exactly `size` bytes; `corrupt` if the file ends before.
  Status pread(std::uint64_t offset, std::uint64_t size, char* out) const;
  // Writes all of it, at the end or at `offset`.
  Status write(ByteView bytes);
  Status pwrite(std::uint64_t offset, ByteView bytes);
  Status datasync();
  Status truncate(std::uint64_t size);
  // Reports what close(2) reports; the destructor cannot.
  Status close();

 private:
  int fd_ = -1;
};

// The whole of a file, refused with `exhausted` above `bytes_max`.
Result<Buffer> read_file(const std::string& path, std::uint64_t bytes_max);
// `invalid` if what is to be made there would be inside the folder of a vault or of a checkpoint
// store, which goes with that.
Status check_is_outside(const std::string& path);
// Makes the names in a folder durable.
Status sync_folder(const std::string& path);

}  // namespace tokvault

#endif  // TOKVAULT_BASE_FILE_H_
