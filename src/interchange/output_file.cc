// A file that appears whole or not at all.
//
// What is written has no name until it is whole (O_TMPFILE), so that a process that is killed
// leaves nothing; where there are no such files, it lies beside its place meanwhile. A symbolic
// link stays, and what it leads to is replaced; a file that is replaced hands on its permissions.
// And a file that grows in its place.
#include "interchange/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "tokvault/interchange.h"

namespace tokvault {
namespace {

// With the slash at its end.
std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "./" : path.substr(0, slash + 1);
}

std::string descriptor_path(const File& file) {
  return "/proc/self/fd/" + std::to_string(file.fd());
}

// Where symbolic links lead to, whether anything is there or not.
Result<std::string> follow_links(std::string path) {
  constexpr int kLinksMax = 40;
  for (int i = 0; i < kLinksMax; ++i) {
    char target[4096];
    const ssize_t size = ::readlink(path.c_str(), target, sizeof target);
    if (size < 0) return path;  // it is none
    const std::string_view to(target, static_cast<std::size_t>(size));
    path = to.starts_with('/') ? std::string(to) : folder_of(path) + std::string(to);
  }
  return Error(Errc::invalid, path + ": too many symbolic links");
}

}  // namespace

OutputFile::OutputFile(OutputFile&& other) noexcept
    : file_(std::move(other.file_)),
      given_(std::move(other.given_)),
      path_(std::move(other.path_)),
      temporary_path_(std::move(other.temporary_path_)),
      is_named_(std::exchange(other.is_named_, false)) {}

OutputFile::~OutputFile() {
  if (is_named_) ::unlink(temporary_path_.c_str());
}

Result<OutputFile> OutputFile::open(const std::string& path) {
  OutputFile out;
  if (path == "-") {
    out.given_ = "standard output";
    out.file_ = File(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
    if (!out.file_.is_open()) return errno_error(errno, "standard output");
    return out;
  }
  out.given_ = path;
  struct stat st{};
  const bool exists = ::stat(path.c_str(), &st) == 0;
  if (exists && S_ISDIR(st.st_mode)) return Error(Errc::invalid, path + " is a folder");
  if (exists && !S_ISREG(st.st_mode)) {  // a device or a pipe is written to as it is
    TOKVAULT_ASSIGN(out.file_, File::open(path, O_WRONLY));
  } else {
    TOKVAULT_TRY(out.make_new(exists ? &st : nullptr));
  }
  return out;
}

// `replaced`: the file that is there, or null.
Status OutputFile::make_new(const struct stat* replaced) {
  TOKVAULT_ASSIGN(path_, follow_links(given_));
  temporary_path_ = path_ + ".part-" + std::to_string(::getpid());
  constexpr unsigned kMode = 0666;
  auto unnamed = File::open(folder_of(path_), O_WRONLY | O_TMPFILE, kMode);
  if (unnamed && ::access(descriptor_path(*unnamed).c_str(), F_OK) == 0) {
    file_ = std::move(*unnamed);
  } else if (unnamed || unnamed.error().os_code() == EOPNOTSUPP ||
             unnamed.error().os_code() == EISDIR) {
    TOKVAULT_ASSIGN(file_, File::open(temporary_path_, O_WRONLY | O_CREAT | O_TRUNC, kMode));
    is_named_ = true;
  } else {
    return errno_error(unnamed.error().os_code(), "open " + given_);
  }
  if (replaced == nullptr) return {};
  // Only root can hand a file over to another owner.
  if (::fchown(file_.fd(), replaced->st_uid, replaced->st_gid) != 0 && errno != EPERM) {
    return errno_error(errno, given_);
  }
  if (::fchmod(file_.fd(), replaced->st_mode & 07777) != 0) return errno_error(errno, given_);
  return {};
}

Status OutputFile::write(ByteView bytes) {
  auto status = file_.write(bytes);
  if (!status) return std::move(status).error().with(given_);
  return {};
}

Status OutputFile::publish() {
  if (path_.empty()) return {};  // it is where it belongs
  auto status = move_to_its_place();
  if (!status) return std::move(status).error().with(given_);
  return {};
}

Status OutputFile::move_to_its_place() {
  TOKVAULT_TRY(file_.datasync());
  if (!is_named_) TOKVAULT_TRY(name_it());
  TOKVAULT_TRY(file_.close());
  if (std::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    return errno_error(errno, "rename " + temporary_path_);
  }
  is_named_ = false;
  return sync_folder(folder_of(path_));
}

// A name cannot be given to a file where another has it: it gets one beside it, and is moved.
Status OutputFile::name_it() {
  const char* const name = temporary_path_.c_str();
  ::unlink(name);  // of a process that was killed here and had the same number
  if (::linkat(AT_FDCWD, descriptor_path(file_).c_str(), AT_FDCWD, name, AT_SYMLINK_FOLLOW) != 0) {
    return errno_error(errno, "link " + temporary_path_);
  }
  is_named_ = true;
  return {};
}

namespace {

class FileAppender final : public LineAppender {
 public:
  explicit FileAppender(std::string path) : path_(std::move(path)) {}

  Status open() {
    auto opened = File::open(path_, O_WRONLY | O_APPEND | O_CREAT, 0666);
    if (!opened) return std::move(opened).error();  // it names the file
    file_ = std::move(*opened);
    struct stat st{};
    if (::fstat(file_.fd(), &st) != 0) return errno_error(errno, path_);
    is_regular_ = S_ISREG(st.st_mode);
    if (!is_regular_ || st.st_size == 0) return {};
    char last = '\n';
    const auto there = File::open(path_, O_RDONLY);
    if (there) TOKVAULT_TRY(there->pread(static_cast<std::uint64_t>(st.st_size) - 1, 1, &last));
    return last == '\n' ? Status() : write("\n");
  }
  Status write(std::string_view bytes) override {
    auto status = file_.write(bytes);
    if (!status) return std::move(status).error().with(path_);
    return {};
  }
  Status sync() override {
    if (!is_regular_) return {};
    auto status = file_.datasync();
    if (!status) return std::move(status).error().with(path_);
    if (is_named_) return {};
    TOKVAULT_TRY(sync_folder(folder_of(path_)));
    is_named_ = true;
    return {};
  }

 private:
  const std::string path_;
  File file_;
  bool is_regular_ = false;
  bool is_named_ = false;  // its name is durable
};

}  // namespace

Result<std::unique_ptr<LineAppender>> LineAppender::open(const std::string& path) {
  auto file = std::make_unique<FileAppender>(path);
  TOKVAULT_TRY(file->open());
  return std::unique_ptr<LineAppender>(std::move(file));
}

Status write_file(const std::string& path, ByteView bytes) {
  TOKVAULT_ASSIGN(OutputFile file, OutputFile::open(path));
  TOKVAULT_TRY(file.write(bytes));
  return file.publish();
}

}  // namespace tokvault
