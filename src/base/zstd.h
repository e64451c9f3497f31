// zstd as tokvault uses it: frames without magic number, content size or checksum, since sizes and
// checksums stand in the tables around them, and without dictionary id unless one is used. `zstd
// -d` reads such a frame once the four bytes 28 B5 2F FD are put before it (docs/format/frame.md).
#ifndef TOKVAULT_BASE_ZSTD_H_
#define TOKVAULT_BASE_ZSTD_H_

#include <cstdint>
#include <memory>
#include <stop_token>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// The largest window that a frame may ask a reader to hold: 2^27 bytes.
inline constexpr int kWindowLogMax = 27;

// Compresses `text` as one frame at zstd's `level`, which may copy from `prefix`; `cancelled` soon
// after a stop is requested.
Result<Buffer> zstd_compress(ByteView text, int level, const std::stop_token& stop = {},
                             ByteView prefix = {});
// The same without looking for repeats: the bytes are only entropy coded. Several times as fast,
// and no worse where nothing repeats.
Result<Buffer> zstd_entropy(ByteView text);
// Decodes a frame that must give exactly `size` bytes; anything else is `corrupt`. `prefix` is what
// it was compressed with. The caller has bounded `size`.
Status zstd_decompress(ByteView frame, std::uint64_t size, Buffer& out, ByteView prefix = {});

// Reads a frame from its beginning, and no further than somebody asks: what stands in the middle of
// a large text is there after half of the work. Threads: one at a time; text() stays readable while
// more is decoded behind it.
class FrameReader {
 public:
  // The frame must give exactly `size` bytes; `prefix` is what it was compressed with. The caller
  // has bounded `size`.
  static Result<std::unique_ptr<FrameReader>> make(Buffer frame, std::uint64_t size,
                                                   Buffer prefix = {});
  virtual ~FrameReader() = default;
  // Goes on until `bytes` of the text are there, and a block of zstd's more at most; with all of
  // them, the frame must end. `corrupt` if it does not give them.
  virtual Status read_until(std::uint64_t bytes) = 0;
  // What is there. It does not move.
  virtual ByteView text() const = 0;
  // Whether that is all; then only the text is kept.
  virtual bool is_whole() const = 0;
  virtual std::uint64_t memory_bytes() const = 0;
};

// Whether zstd can decode with these bytes as a trained dictionary (RFC 8878, section 6).
bool is_zstd_dictionary(ByteView bytes);

// Compresses many small texts against one dictionary of raw content.
// Threads: one at a time. Lifetime: refers to `dictionary`, which must outlive it.
class BlockEncoder {
 public:
  static Result<std::unique_ptr<BlockEncoder>> make(ByteView dictionary, int level);
  virtual ~BlockEncoder() = default;
  virtual Result<Buffer> encode(ByteView text) = 0;
  // One that gives the same frames, for another thread; the digested dictionary is shared.
  virtual Result<std::unique_ptr<BlockEncoder>> another() const = 0;
};

// Decodes them again.
// Threads: any number at once. Lifetime: refers to `dictionary`, which must outlive it.
class BlockDecoder {
 public:
  static Result<std::unique_ptr<BlockDecoder>> make(ByteView dictionary);
  virtual ~BlockDecoder() = default;
  virtual Status decode(ByteView frame, std::uint64_t size, Buffer& out) const = 0;
};

// What a frame may copy from before its own text.
enum class PrefixKind : std::uint8_t {
  content,     // text, whatever it looks like
  dictionary,  // a trained dictionary, whose id the frame names
};

// One frame written in pieces, each of which can be decoded as soon as it is there: the text of a
// section of the log. What was written before the frame began may be given as `prefix` to copy
// from. Threads: one at a time.
class StreamEncoder {
 public:
  static Result<std::unique_ptr<StreamEncoder>> make(int level, ByteView prefix,
                                                     PrefixKind kind = PrefixKind::content);
  virtual ~StreamEncoder() = default;
  // Appends to `out` what decodes to `text`; with `flush` so that everything so far does.
  virtual Status write(ByteView text, bool flush, Buffer& out) = 0;
};

class StreamDecoder {
 public:
  static Result<std::unique_ptr<StreamDecoder>> make(ByteView prefix,
                                                     PrefixKind kind = PrefixKind::content);
  virtual ~StreamDecoder() = default;
  // Decodes a flushed piece, which must give exactly `size` bytes, and appends them.
  virtual Status read(ByteView piece, std::uint64_t size, Buffer& out) = 0;
};

}  // namespace tokvault

#endif  // TOKVAULT_BASE_ZSTD_H_
