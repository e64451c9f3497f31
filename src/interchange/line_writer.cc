// Lines to a plain or compressed file that appears whole or not at all.
#include <zlib.h>
#include <zstd.h>

#include "interchange/output_file.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

constexpr std::size_t kWriteBytes = 256u << 10;

// Bytes on their way to a file.
class Sink {
 public:
  virtual ~Sink() = default;
  // Takes bytes; `last` ends the stream.
  virtual Status write(std::string_view bytes, bool last, OutputFile& file) = 0;
};

class PlainSink : public Sink {
 public:
  Status write(std::string_view bytes, bool, OutputFile& file) override {
    return file.write(bytes);
  }
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

  Status write(std::string_view bytes, bool last, OutputFile& file) override {
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

  Status write(std::string_view bytes, bool last, OutputFile& file) override {
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

class LineWriterImpl : public LineWriter {
 public:
  LineWriterImpl(const std::string& path, OutputFile file) : out_(std::move(file)) {
    if (path.ends_with(".gz")) {
      sink_ = std::make_unique<GzipSink>();
    } else if (path.ends_with(".zst")) {
      sink_ = std::make_unique<ZstdSink>();
    } else {
      sink_ = std::make_unique<PlainSink>();
    }
  }

  Status write(std::string_view line) override {
    buffer_.append(line);
    buffer_.push_back('\n');
    if (buffer_.size() < kWriteBytes) return {};
    return flush(false);
  }

  Status finish() override {
    TOKVAULT_TRY(flush(true));
    return out_.publish();
  }

 private:
  Status flush(bool last) {
    TOKVAULT_TRY(sink_->write(buffer_, last, out_));
    buffer_.clear();
    return {};
  }

  OutputFile out_;
  std::unique_ptr<Sink> sink_;
  std::string buffer_;
};

}  // namespace

Result<std::unique_ptr<LineWriter>> LineWriter::open(const std::string& path) {
  TOKVAULT_ASSIGN(OutputFile out, OutputFile::open(path));
  return std::unique_ptr<LineWriter>(std::make_unique<LineWriterImpl>(path, std::move(out)));
}

}  // namespace tokvault
