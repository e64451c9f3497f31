// Columns: how a table of integers or strings lies on disk.
//
// Each column is written in whichever of a few encodings comes out smallest, so the caller need not
// know what its data looks like. Format: docs/format/table.md
#ifndef TOKVAULT_FORMAT_COLUMN_H_
#define TOKVAULT_FORMAT_COLUMN_H_

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// The largest count of a column, and the most text in one of strings: what a damaged count may
// allocate. More than any table has (TableSize).
inline constexpr std::uint64_t kColumnValuesMax = 1u << 22;
inline constexpr std::uint64_t kColumnTextBytesMax = 128u << 20;
// A string of more fields than this is not written as fields.
inline constexpr std::uint64_t kColumnFieldsMax = 1u << 20;

// Strings in one buffer, of less than 4 GB: 4 bytes of overhead each.
class StringTable {
 public:
  std::size_t size() const { return ends_.size(); }
  std::string_view operator[](std::size_t i) const {
    const std::uint32_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(bytes_).substr(begin, ends_[i] - begin);
  }
  void add(std::string_view text) {
    append(text);
    finish();
  }
  // A string in pieces: what is appended belongs to the one that finish() ends.
  void append(std::string_view piece) { bytes_.append(piece); }
  void finish() { ends_.push_back(static_cast<std::uint32_t>(bytes_.size())); }
  // Appends a copy of bytes that are there already.
  void append_again(std::size_t offset, std::size_t size) { bytes_.append(bytes_, offset, size); }
  std::string_view view(std::size_t offset, std::size_t size) const {
    return std::string_view(bytes_).substr(offset, size);
  }
  std::size_t bytes() const { return bytes_.size(); }
  void reserve(std::size_t count, std::size_t bytes) {
    ends_.reserve(count);
    bytes_.reserve(bytes);
  }
  // Gives back what it has room for.
  void shrink() {
    bytes_.shrink_to_fit();
    ends_.shrink_to_fit();
  }
  std::size_t memory_bytes() const {
    return bytes_.capacity() + ends_.capacity() * sizeof(std::uint32_t);
  }

 private:
  Buffer bytes_;
  std::vector<std::uint32_t> ends_;
};

// `level` is zstd's.
Result<Buffer> encode_integers(std::span<const std::uint64_t> values, int level);
Status decode_integers(ByteView column, std::uint64_t count, std::vector<std::uint64_t>& out);

Result<Buffer> encode_strings(const StringTable& strings, int level);
// `corrupt` if they have more than `text_bytes_max` together.
Status decode_strings(ByteView column, std::uint64_t count, StringTable& out,
                      std::uint64_t text_bytes_max = kColumnTextBytesMax);

// Bytes, compressed where that helps. The reader knows the size.
Result<Buffer> encode_bytes(ByteView bytes, int level);
Status decode_bytes(ByteView column, std::uint64_t size, Buffer& out);

}  // namespace tokvault

#endif  // TOKVAULT_FORMAT_COLUMN_H_
