#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace tokvault {

Error errno_error(int os_code, std::string_view what) {
  Errc code = Errc::io;
  switch (os_code) {
    case ENOENT:
    case ENOTDIR:
      code = Errc::not_found;
      break;
    case EEXIST:
    case ENOTEMPTY:
      code = Errc::exists;
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      code = Errc::exhausted;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = Errc::denied;
      break;
    case EAGAIN:
    case EBUSY:
    case ETXTBSY:
      code = Errc::busy;
      break;
    default:
      break;
  }
  return Error(code, std::string(what) + ": " + std::strerror(os_code), os_code);
}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.fd_;
    other.fd_ = -1;
  }
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Result<File> File::open(const std::string& path, int flags, unsigned mode) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return errno_error(errno, "open " + path);
  return File(fd);
}

Result<std::uint64_t> File::size() const {
  struct stat st{};
  if (::fstat(fd_, &st) != 0) return errno_error(errno, "fstat");
  return static_cast<std::uint64_t>(st.st_size);
}

Status File::pread(std::uint64_t offset, std::uint64_t size, char* out) const {
  while (size > 0) {
    const ssize_t n = ::pread(fd_, out, size, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, "pread");
    }
    if (n == 0) {
      return Error(Errc::corrupt, "the file ends at offset " + std::to_string(offset) + ", " +
                                      std::to_string(size) + " bytes too early");
    }
    out += n;
    offset += static_cast<std::uint64_t>(n);
    size -= static_cast<std::uint64_t>(n);
  }
  return {};
}

Status File::write(ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, "write");
    }
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Status File::pwrite(std::uint64_t offset, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, "pwrite");
    }
    bytes.remove_prefix(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Status File::datasync() {
  if (::fdatasync(fd_) != 0) return errno_error(errno, "fdatasync");
  return {};
}

Status File::truncate(std::uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) return errno_error(errno, "ftruncate");
  return {};
}

Status File::close() {
  const int fd = fd_;
  fd_ = -1;
  if (fd >= 0 && ::close(fd) != 0 && errno != EINTR) return errno_error(errno, "close");
  return {};
}

Result<Buffer> read_file(const std::string& path, std::uint64_t bytes_max) {
  TOKVAULT_ASSIGN(File file, File::open(path, O_RDONLY));
  auto size = file.size();
  if (!size) return std::move(size).error().with(path);
  if (*size > bytes_max) {
    return Error(Errc::exhausted, path + " holds " + std::to_string(*size) +
                                      " bytes, more than the limit of " +
                                      std::to_string(bytes_max));
  }
  Buffer out(*size, '\0');
  auto status = file.pread(0, *size, out.data());
  if (!status) return std::move(status).error().with(path);
  return out;
}

Status check_is_outside(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const fs::path whole = fs::weakly_canonical(path, failed);
  if (failed) return {};  // whoever makes it says why not
  for (fs::path inner = whole; inner.has_relative_path(); inner = inner.parent_path()) {
    const fs::path folder = inner.parent_path();
    const bool is_vault = fs::is_regular_file(folder / "catalog.db", failed) &&
                          fs::is_directory(folder / "log", failed);
    const bool is_store = fs::is_regular_file(folder / "store", failed) &&
                          fs::is_regular_file(folder / "lock", failed);
    if (!is_vault && !is_store) continue;
    return Error(Errc::invalid,
                 path + " is inside the " + (is_vault ? "vault " : "store ") + folder.string());
  }
  return {};
}

Status sync_folder(const std::string& path) {
  auto file = File::open(path, O_RDONLY | O_DIRECTORY);
  if (!file) return std::move(file).error();
  if (::fsync(file->fd()) != 0) return errno_error(errno, "fsync " + path);
  return {};
}

}  // namespace tokvault
