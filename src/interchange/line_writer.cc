// Lines to a plain or compressed file that appears whole or not at all.
//
// What is written has no name until it is whole (O_TMPFILE), so that a process that is killed
// leaves nothing; where there are no such files, it lies beside its place meanwhile. A symbolic
// link stays, and what it leads to is replaced; a file that is replaced hands on its permissions.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>

#include "base/file.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

constexpr std::size_t kWriteBytes = 256u << 10;

// With the slash at its end.
std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "./" : path.substr(0, slash + 1);
}

// Bytes on their way to a file.
class Sink {
 public:
  virtual ~Sink() = default;
  // Takes bytes; `last` ends the stream.
  virtual Status write(std::string_view bytes, bool last, File& file) = 0;
};

class PlainSink : public Sink {
 public:
  Status write(std::string_view bytes, bool, File& file) override { return file.write(bytes); }
};

class GzipSink : public Sink {
 public:
  GzipSink() {
    constexpr int kGzip = 16;
    ok_ = deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzip + MAX_WBITS, 8,
                       Z_DEFAULT_STRATEGY) == Z_OK;
  }
  ~GzipSink() override {
    if (ok_) deflateEnd(&stream_);
  }

  Status write(std::string_view bytes, bool last, File& file) override {
    if (!ok_) return Error(Errc::exhausted, "no memory for gzip");
    // zlib does not write to its input, but does not say so in this version's types.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(out_.data());
      stream_.avail_out = static_cast<uInt>(out_.size());
      (void)deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH);
      TOKVAULT_TRY(file.write({out_.data(), out_.size() - stream_.avail_out}));
    } while (stream_.avail_out == 0);
    return {};
  }

 private:
  z_stream stream_{};
  std::string out_ = std::string(kWriteBytes, '\0');
  bool ok_;
};

class ZstdSink : public Sink {
 public:
  ZstdSink() : context_(ZSTD_createCCtx()) {
    if (context_ != nullptr) ZSTD_CCtx_setParameter(context_, ZSTD_c_checksumFlag, 1);
  }
  ~ZstdSink() override { ZSTD_freeCCtx(context_); }
  ZstdSink(const ZstdSink&) = delete;
  ZstdSink& operator=(const ZstdSink&) = delete;

  Status write(std::string_view bytes, bool last, File& file) override {
    if (context_ == nullptr) return Error(Errc::exhausted, "no memory for zstd");
    ZSTD_inBuffer from{bytes.data(), bytes.size(), 0};
    while (true) {
      ZSTD_outBuffer to{out_.data(), out_.size(), 0};
      const std::size_t left =
          ZSTD_compressStream2(context_, &to, &from, last ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left)) return Error(Errc::exhausted, ZSTD_getErrorName(left));
      TOKVAULT_TRY(file.write({out_.data(), to.pos}));
      if (last ? left == 0 : from.pos == from.size) return {};
    }
  }

 private:
  ZSTD_CCtx* context_;
  std::string out_ = std::string(kWriteBytes, '\0');
};

std::string descriptor_path(const File& file) {
  return "/proc/self/fd/" + std::to_string(file.fd());
}

// A file that is to appear under `path`.
struct NewFile {
  File file;
  std::string path;            // without symbolic links; empty: it is where it belongs
  std::string temporary_path;  // beside it
  bool is_named = false;       // it lies there already
};

class LineWriterImpl : public LineWriter {
 public:
  // `path` is what the caller calls it.
  LineWriterImpl(std::string path, NewFile file) : path_(std::move(path)), out_(std::move(file)) {
    if (path_.ends_with(".gz")) {
      sink_ = std::make_unique<GzipSink>();
    } else if (path_.ends_with(".zst")) {
      sink_ = std::make_unique<ZstdSink>();
    } else {
      sink_ = std::make_unique<PlainSink>();
    }
  }
  ~LineWriterImpl() override {
    if (out_.is_named) ::unlink(out_.temporary_path.c_str());
  }

  Status write(std::string_view line) override {
    buffer_.append(line);
    buffer_.push_back('\n');
    if (buffer_.size() < kWriteBytes) return {};
    return flush(false);
  }

  Status finish() override {
    TOKVAULT_TRY(flush(true));
    if (out_.path.empty()) return {};
    auto status = publish();
    if (!status) return std::move(status).error().with(path_);
    return {};
  }

 private:
  Status flush(bool last) {
    auto status = sink_->write(buffer_, last, out_.file);
    if (!status) return std::move(status).error().with(path_);
    buffer_.clear();
    return {};
  }

  Status publish() {
    TOKVAULT_TRY(out_.file.datasync());
    if (!out_.is_named) TOKVAULT_TRY(name_it());
    TOKVAULT_TRY(out_.file.close());
    if (std::rename(out_.temporary_path.c_str(), out_.path.c_str()) != 0) {
      return errno_error(errno, "rename " + out_.temporary_path);
    }
    out_.is_named = false;
    return sync_folder(folder_of(out_.path));
  }
  // A name cannot be given to a file where another has it: it gets one beside it, and is moved.
  Status name_it() {
    const char* const name = out_.temporary_path.c_str();
    ::unlink(name);  // of a process that was killed here and had the same number
    if (::linkat(AT_FDCWD, descriptor_path(out_.file).c_str(), AT_FDCWD, name, AT_SYMLINK_FOLLOW) !=
        0) {
      return errno_error(errno, "link " + out_.temporary_path);
    }
    out_.is_named = true;
    return {};
  }

  std::string path_;
  NewFile out_;
  std::unique_ptr<Sink> sink_;
  std::string buffer_;
};

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

// `replaced`: the file that is there, or null.
Result<NewFile> make_new_file(const std::string& given, const struct stat* replaced) {
  NewFile out;
  TOKVAULT_ASSIGN(out.path, follow_links(given));
  out.temporary_path = out.path + ".part-" + std::to_string(::getpid());
  constexpr unsigned kMode = 0666;
  auto unnamed = File::open(folder_of(out.path), O_WRONLY | O_TMPFILE, kMode);
  if (unnamed && ::access(descriptor_path(*unnamed).c_str(), F_OK) == 0) {
    out.file = std::move(*unnamed);
  } else if (unnamed || unnamed.error().os_code() == EOPNOTSUPP ||
             unnamed.error().os_code() == EISDIR) {
    TOKVAULT_ASSIGN(out.file, File::open(out.temporary_path, O_WRONLY | O_CREAT | O_TRUNC, kMode));
    out.is_named = true;
  } else {
    return errno_error(unnamed.error().os_code(), "open " + given);
  }
  if (replaced != nullptr) {
    // Only root can hand a file over to another owner.
    if (::fchown(out.file.fd(), replaced->st_uid, replaced->st_gid) != 0 && errno != EPERM) {
      return errno_error(errno, given);
    }
    if (::fchmod(out.file.fd(), replaced->st_mode & 07777) != 0) return errno_error(errno, given);
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<LineWriter>> LineWriter::open(const std::string& path) {
  NewFile out;
  if (path == "-") {
    out.file = File(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
    if (!out.file.is_open()) return errno_error(errno, "standard output");
    return std::unique_ptr<LineWriter>(
        std::make_unique<LineWriterImpl>("standard output", std::move(out)));
  }
  struct stat st{};
  const bool exists = ::stat(path.c_str(), &st) == 0;
  if (exists && S_ISDIR(st.st_mode)) return Error(Errc::invalid, path + " is a folder");
  if (exists && !S_ISREG(st.st_mode)) {  // a device or a pipe is written to as it is
    TOKVAULT_ASSIGN(out.file, File::open(path, O_WRONLY));
  } else {
    TOKVAULT_ASSIGN(out, make_new_file(path, exists ? &st : nullptr));
  }
  return std::unique_ptr<LineWriter>(std::make_unique<LineWriterImpl>(path, std::move(out)));
}

}  // namespace tokvault
