// Lines of a plain or compressed file.
//
// One buffer holds what was read and not yet returned; it grows only while a line does not fit,
// up to the limit. What a line reader returned is hashed line by line, each seeded with the hash
// before it, so that an import can see that the part it has done is still the same. The hash is of
// lines that are too long as well, and not of where the last one ends, in a newline or not: ids are
// made of it, which must be the same whatever the limit is and when a file has grown.
//
// A pipe may give a few lines and then nothing for hours. Who reads it asks is_idle() before each
// line, and does with what there is what is to be done with it. What a pipe begins with is known
// only if it gives 64 KB, or ends, without such a pause.
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/piecewise_checksum.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

constexpr std::size_t kReadBytes = 256u << 10;
constexpr std::size_t kBufferBytes = 1u << 20;
constexpr std::size_t kSourceBytes = 64u << 10;
constexpr int kWindowLogMax = 27;
constexpr int kIdleMs = 500;
constexpr std::pair<std::string_view, std::string_view> kUnread[] = {
    {"xz", {"\xfd\x37zXZ\0", 6}}, {"lz4", "\x04\x22\x4d\x18"}, {"zip", "PK\x03\x04"}};
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// What compressed a file that begins so, of what is not read; nothing if nobody did.
std::string_view unread_format(std::string_view begin) {
  for (const auto& [name, magic] : kUnread) {
    if (begin.starts_with(magic)) return name;
  }
  // BZh, 1 to 9, and the first digits of pi.
  const bool is_bzip2 = begin.starts_with("BZh") && begin.substr(0, 10).ends_with("1AY&SY");
  return is_bzip2 ? "bzip2" : "";
}

// A stream of bytes.
class Source {
 public:
  virtual ~Source() = default;
  // Reads at least one byte and at most `size`, which is not 0; 0 at the end.
  virtual Result<std::size_t> read(char* out, std::size_t size) = 0;
};

// The bytes of a file as they are.
class FileSource : public Source {
 public:
  // `is_stream`: a pipe, a terminal or a device.
  FileSource(File file, std::uint64_t size, bool is_stream)
      : file_(std::move(file)), size_(size), is_stream_(is_stream) {}

  Result<std::size_t> read(char* out, std::size_t size) override {
    if (!head_.empty()) {
      const std::size_t count = std::min(size, head_.size());
      std::memcpy(out, head_.data(), count);
      head_.erase(0, count);
      return count;
    }
    return read_file_bytes(out, size);
  }
  // The first bytes, up to four, which stay unread.
  Result<std::string_view> peek() {
    char bytes[4];
    while (head_.size() < sizeof bytes) {
      TOKVAULT_ASSIGN(const std::size_t count, read_file_bytes(bytes, sizeof bytes - head_.size()));
      if (count == 0) break;
      head_.append(bytes, count);
    }
    return std::string_view(head_);
  }

  std::uint64_t consumed() const { return consumed_; }
  std::uint64_t size() const { return size_; }
  bool is_stream() const { return is_stream_; }
  // Waits for bytes or the end; false if there is neither after a while.
  bool wait() const {
    if (!is_stream_ || !head_.empty()) return true;
    pollfd ready{file_.fd(), POLLIN, 0};
    return ::poll(&ready, 1, kIdleMs) != 0;
  }

 private:
  Result<std::size_t> read_file_bytes(char* out, std::size_t size) {
    while (true) {
      const ssize_t count = ::read(file_.fd(), out, size);
      if (count >= 0) {
        consumed_ += static_cast<std::uint64_t>(count);
        return static_cast<std::size_t>(count);
      }
      if (errno != EINTR) return errno_error(errno, "read");
    }
  }

  File file_;
  std::uint64_t size_;
  bool is_stream_;
  std::uint64_t consumed_ = 0;
  std::string head_;
};

// Compressed input that the decoders below share.
class Input {
 public:
  explicit Input(FileSource& file) : file_(file), buffer_(kReadBytes, '\0') {}

  // Reads more if everything was taken; false at the end of the file.
  Result<bool> fill() {
    if (taken_ < size_) return true;
    taken_ = 0;
    TOKVAULT_ASSIGN(size_, file_.read(buffer_.data(), buffer_.size()));
    return size_ > 0;
  }
  char* data() { return buffer_.data() + taken_; }
  std::size_t size() const { return size_ - taken_; }
  void take(std::size_t count) { taken_ += count; }

 private:
  FileSource& file_;
  std::string buffer_;
  std::size_t taken_ = 0;
  std::size_t size_ = 0;
};

// One or more gzip members, padded with zeros or not.
class GzipSource : public Source {
 public:
  explicit GzipSource(FileSource& file) : input_(file) {}
  ~GzipSource() override {
    if (started_) inflateEnd(&stream_);
  }

  Result<std::size_t> read(char* out, std::size_t size) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(size, 1u << 30));
    const uInt room = stream_.avail_out;
    while (stream_.avail_out == room) {
      TOKVAULT_ASSIGN(const bool more, input_.fill());
      if (!more) {
        if (in_member_) return Error(Errc::corrupt, "the gzip data ends too early");
        return std::size_t{0};
      }
      if (!in_member_) {
        if (*input_.data() == '\0' && started_) {
          input_.take(1);
          continue;
        }
        TOKVAULT_TRY(begin_member());
      }
      TOKVAULT_TRY(inflate_some());
    }
    return static_cast<std::size_t>(room - stream_.avail_out);
  }

 private:
  Status begin_member() {
    constexpr int kGzipOnly = 16;
    const int code =
        started_ ? inflateReset(&stream_) : inflateInit2(&stream_, kGzipOnly + MAX_WBITS);
    if (code != Z_OK) return Error(Errc::exhausted, "no memory for gzip");
    started_ = in_member_ = true;
    return {};
  }
  Status inflate_some() {
    stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
    stream_.avail_in = static_cast<uInt>(input_.size());
    const int code = inflate(&stream_, Z_NO_FLUSH);
    input_.take(input_.size() - stream_.avail_in);
    if (code == Z_STREAM_END) in_member_ = false;
    if (code == Z_OK || code == Z_STREAM_END) return {};
    if (code == Z_MEM_ERROR) return Error(Errc::exhausted, "no memory for gzip");
    return Error(Errc::corrupt, "damaged gzip data");
  }

  Input input_;
  z_stream stream_{};
  bool started_ = false;
  bool in_member_ = false;
};

// One or more zstd frames.
class ZstdSource : public Source {
 public:
  explicit ZstdSource(FileSource& file) : input_(file), context_(ZSTD_createDCtx()) {
    if (context_ != nullptr) {
      ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, kWindowLogMax);
    }
  }
  ~ZstdSource() override { ZSTD_freeDCtx(context_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  Result<std::size_t> read(char* out, std::size_t size) override {
    if (context_ == nullptr) return Error(Errc::exhausted, "no memory for zstd");
    ZSTD_outBuffer to{out, size, 0};
    while (to.pos == 0) {
      TOKVAULT_ASSIGN(const bool more, input_.fill());
      // Without input, what the decoder still holds is asked for once.
      ZSTD_inBuffer from{input_.data(), input_.size(), 0};
      if (!more && !in_frame_) return std::size_t{0};
      const std::size_t code = ZSTD_decompressStream(context_, &to, &from);
      if (ZSTD_isError(code)) return decode_error(code);
      input_.take(from.pos);
      in_frame_ = code != 0;
      if (!more && to.pos == 0 && in_frame_) {
        return Error(Errc::corrupt, "the zstd data ends too early");
      }
    }
    return to.pos;
  }

 private:
  static Error decode_error(std::size_t code) {
    switch (ZSTD_getErrorCode(code)) {
      case ZSTD_error_frameParameter_windowTooLarge:
        return Error(
            Errc::exhausted,
            "the zstd data needs a window above 128 MB; compress it with --long=27 or less");
      case ZSTD_error_memory_allocation:
        return Error(Errc::exhausted, "no memory for zstd");
      default:
        return Error(Errc::corrupt, std::string("damaged zstd data: ") + ZSTD_getErrorName(code));
    }
  }

  Input input_;
  ZSTD_DCtx* context_;
  bool in_frame_ = false;
};

class LineReaderImpl : public LineReader {
 public:
  LineReaderImpl(std::string path, FileSource file, std::uint64_t line_bytes_max,
                 LongLine long_line)
      : path_(std::move(path)),
        file_(std::move(file)),
        line_bytes_max_(line_bytes_max),
        long_line_(std::move(long_line)) {}

  Status start() {
    auto status = start_unnamed();
    if (!status) return std::move(status).error().with(path_);
    return {};
  }

  Result<bool> next(Line& line) override {
    auto result = next_unnamed(line);
    if (!result) return std::move(result).error().with(path_);
    return result;
  }
  bool is_idle() override {
    if (!file_.is_stream()) return false;
    while (!at_end_ && !find_newline()) {
      if (!is_decoded() && !file_.wait()) return true;
      if (!make_room() || !fill()) break;  // next() will see it, too
    }
    return false;
  }
  std::uint64_t consumed_bytes() const override { return file_.consumed(); }
  std::uint64_t size_bytes() const override { return file_.size(); }
  const Buffer& source() const override { return source_id_; }
  Buffer state_hash() const override {
    Buffer bytes;
    append_le(bytes, state_);
    return bytes;
  }

 private:
  Status start_unnamed() {
    TOKVAULT_ASSIGN(const std::string_view magic, file_.peek());
    if (magic.starts_with("\x1f\x8b")) {
      source_ = std::make_unique<GzipSource>(file_);
    } else if (magic == "\x28\xb5\x2f\xfd" ||
               (magic.size() == 4 && (magic[0] & '\xf0') == '\x50' &&
                magic.substr(1) == "\x2a\x4d\x18")) {  // a skippable frame comes first
      source_ = std::make_unique<ZstdSource>(file_);
    }
    buffer_.resize(kBufferBytes);
    bool is_known = true;
    while (is_known && end_ < kSourceBytes && !at_end_) {
      is_known = is_decoded() || file_.wait();
      if (is_known) TOKVAULT_TRY(fill());
    }
    const std::string_view unread =
        is_decoded() ? "" : unread_format({buffer_.data(), std::min(end_, kSourceBytes)});
    if (!unread.empty()) {
      return Error(Errc::invalid, "compressed with " + std::string(unread) +
                                      ", which is not read; gzip and zstd are");
    }
    if (is_known) {
      const Digest digest = sha256(ByteView(buffer_.data(), std::min(end_, kSourceBytes)));
      source_id_.assign(reinterpret_cast<const char*>(digest.data()), digest.size());
    }
    if (std::string_view(buffer_.data(), end_).starts_with(kByteOrderMark)) {
      begin_ = kByteOrderMark.size();
      offset_ = begin_;
    }
    return {};
  }
  // A decoder may hold bytes back that have come in: it is asked for more at any time.
  bool is_decoded() const { return source_ != nullptr; }

  // Reads what there is room for. REQUIRES: end_ < buffer_.size()
  Status fill() {
    const std::size_t room = std::min(buffer_.size() - end_, kReadBytes);
    Source& source = source_ ? *source_ : file_;
    TOKVAULT_ASSIGN(const std::size_t count, source.read(buffer_.data() + end_, room));
    end_ += count;
    at_end_ = count == 0;
    return {};
  }

  // The room that a very long line took, once it is over.
  void give_back() {
    constexpr std::size_t kKeptBytes = 4 * kBufferBytes;
    if (buffer_.size() <= kKeptBytes || end_ - begin_ >= kBufferBytes) return;
    std::string smaller(kBufferBytes, '\0');
    std::memcpy(smaller.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    buffer_ = std::move(smaller);
  }

  // Makes room behind what is not yet returned; false if the line exceeds the limit.
  bool make_room() {
    if (end_ < buffer_.size()) return true;
    if (end_ - begin_ > line_bytes_max_) return false;
    if (begin_ > buffer_.size() / 2) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    } else {
      buffer_.resize(buffer_.size() * 2);
    }
    return true;
  }

  // Searches what was not searched before, which is up to the newline then: a long line comes in
  // many reads.
  bool find_newline() {
    const char* const from = buffer_.data() + begin_ + searched_;
    const std::size_t size = end_ - begin_ - searched_;
    const void* const newline = size == 0 ? nullptr : std::memchr(from, '\n', size);
    searched_ += newline == nullptr
                     ? size
                     : static_cast<std::size_t>(static_cast<const char*>(newline) - from);
    return newline != nullptr;
  }

  Result<bool> next_unnamed(Line& line) {
    give_back();
    std::uint64_t passed_over = 0;  // of a line that is too long
    while (true) {
      if (find_newline()) {
        TOKVAULT_TRY(give(line, 1, passed_over));
        return true;
      }
      if (at_end_) {
        if (searched_ == 0 && passed_over == 0) return false;
        TOKVAULT_TRY(give(line, 0, passed_over));
        return true;
      }
      if (!make_room()) {
        const std::string_view piece(buffer_.data() + begin_, searched_);
        if (passed_over == 0) long_hash_ = PiecewiseChecksum(state_);
        long_hash_.add(piece);
        TOKVAULT_TRY(hand_on(piece, false));
        passed_over += searched_;
        begin_ = end_ = searched_ = 0;
      }
      TOKVAULT_TRY(fill());
    }
  }

  Status hand_on(std::string_view piece, bool last) {
    return long_line_ ? long_line_(piece, last) : Status();
  }

  // What was searched is the line, or the end of one that is too long.
  Status give(Line& line, std::size_t newline, std::uint64_t passed_over) {
    const std::string_view text(buffer_.data() + begin_, searched_);
    begin_ += searched_ + newline;
    offset_ += passed_over + searched_ + newline;
    searched_ = 0;
    line.number = ++number_;
    line.too_long = passed_over + text.size() > line_bytes_max_;
    if (passed_over > 0) {
      long_hash_.add(text);
      state_ = long_hash_.value();
    } else {
      state_ = checksum64(text, state_);
    }
    if (line.too_long) TOKVAULT_TRY(hand_on(text, true));
    line.text = line.too_long ? std::string_view() : text;
    line.end_offset = offset_;
    if (begin_ == end_) begin_ = end_ = 0;
    return {};
  }

  std::string path_;
  FileSource file_;
  std::unique_ptr<Source> source_;  // null: the file itself
  std::uint64_t line_bytes_max_;
  LongLine long_line_;
  Buffer source_id_;

  std::string buffer_;
  std::size_t begin_ = 0;  // of what is not yet returned
  std::size_t end_ = 0;
  std::size_t searched_ = 0;  // of that, without a newline
  bool at_end_ = false;

  std::uint64_t number_ = 0;
  std::uint64_t offset_ = 0;
  std::uint64_t state_ = 0;
  PiecewiseChecksum long_hash_;  // of a line that is too long
};

Result<FileSource> open_file(const std::string& path) {
  File file;
  if (path == "-") {
    file = File(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0));
    if (!file.is_open()) return errno_error(errno, "standard input");
  } else {
    TOKVAULT_ASSIGN(file, File::open(path, O_RDONLY));
  }
  struct stat st{};
  if (::fstat(file.fd(), &st) != 0) return errno_error(errno, path);
  if (S_ISDIR(st.st_mode)) return Error(Errc::invalid, path + " is a folder, not a file");
  const bool is_stream = !S_ISREG(st.st_mode);
  return FileSource(std::move(file), is_stream ? 0 : static_cast<std::uint64_t>(st.st_size),
                    is_stream);
}

}  // namespace

Result<std::unique_ptr<LineReader>> LineReader::open(const std::string& path,
                                                     std::uint64_t line_bytes_max,
                                                     LongLine long_line) {
  TOKVAULT_ASSIGN(FileSource file, open_file(path));
  auto reader = std::make_unique<LineReaderImpl>(
      path == "-" ? "standard input" : path, std::move(file), line_bytes_max, std::move(long_line));
  TOKVAULT_TRY(reader->start());
  return std::unique_ptr<LineReader>(std::move(reader));
}

}  // namespace tokvault
