// Import and export formats: JSON lines to conversations and back.
#ifndef TOKVAULT_INTERCHANGE_H_
#define TOKVAULT_INTERCHANGE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/conversation.h"
#include "tokvault/result.h"

namespace tokvault {

// Parses JSON objects. Keep one and use it again: it owns buffers that are reused.
//
// Threads: one at a time. Lifetime: what it returns is a copy.
class JsonReader {
 public:
  JsonReader();
  ~JsonReader();
  JsonReader(JsonReader&&) noexcept;
  JsonReader& operator=(JsonReader&&) noexcept;

  // One line of JSONL: an object with `messages`, an array of objects. Every field is kept: key
  // order, numbers as written, null against absent. `id` (string or number; 17 and "17" are the
  // same id; null and "" are none), `model`, `application` become the members of that name; the
  // time is `created`, `created_at` or `timestamp` in s, ms or ISO 8601 (UTC if it has no offset),
  // else 0 (as for 1970 itself). `invalid` with a reason for anything else: not an object, no
  // messages, an id that is something else, a duplicate key, bytes that are not UTF-8, nesting
  // deeper than 128, `token_arrays` of another length than the tokens: in a message whose content
  // is an array of token ids, {"NAME": {"f32", "i32" or "u8": base64 of little-endian elements}};
  // of another shape, or beside another content, they are kept as any JSON is.
  Result<Conversation> conversation(std::string_view line);
  // One message.
  Result<Message> message(std::string_view json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// JSON text of a conversation (one line, no newline), equal in JSON value to what was read.
// `invalid` if a form is malformed or a text is neither UTF-8 nor has lone surrogates in it.
Result<std::string> to_json(const Conversation& conversation);
Result<std::string> to_json(const Message& message);
// Appends `text` as a JSON string with quotes, escaping no more than JSON asks for.
Status append_json_string(std::string_view text, std::string& out);

// Reads lines from files or standard input ("-"), plain, gzip or zstd (seen by their first bytes),
// in bounded memory: a line, and for zstd a window of at most 128 MB. A byte order mark at the
// beginning is passed over.
//
// Threads: one at a time.
// Errors: `not_found`, `denied`, `io`; `invalid` for a folder; `corrupt` for compressed data that
// is damaged or ends too early; `exhausted` for a zstd window above 128 MB. Each names the file.
class LineReader {
 public:
  struct Line {
    std::string_view text;         // without the newline; valid until the next call
    std::uint64_t number = 0;      // from 1
    bool too_long = false;         // text is empty: the line exceeds the limit
    std::uint64_t end_offset = 0;  // uncompressed bytes up to and including its newline
  };
  // Takes a line that exceeds the limit, piece by piece and without its newline, while next() reads
  // it; `last` comes with its last piece, which may be empty. An error ends the reading.
  using LongLine = std::function<Status(std::string_view piece, bool last)>;
  static Result<std::unique_ptr<LineReader>> open(const std::string& path,
                                                  std::uint64_t line_bytes_max,
                                                  LongLine long_line = {});
  virtual ~LineReader() = default;
  // The next line, or false at the end. Empty lines are returned as such.
  virtual Result<bool> next(Line& line) = 0;
  // True if next() would wait: the input is a pipe that is not compressed, and for half a second
  // it has given neither the rest of a line nor its end.
  virtual bool is_idle() = 0;
  // Bytes of the file consumed so far, and its size (0 where unknown), for progress.
  virtual std::uint64_t consumed_bytes() const = 0;
  virtual std::uint64_t size_bytes() const = 0;
  // For ImportProgress: what identifies the input, a SHA-256 of its first 64 KB (uncompressed), or
  // nothing for a pipe that paused before it had given as much; and a hash of all lines that next()
  // has returned so far.
  virtual const Buffer& source() const = 0;
  virtual Buffer state_hash() const = 0;
};

// Writes lines to a file or to standard output ("-"); compressed if the name ends in .gz or .zst.
// A file appears in its place by finish(): until then, and for ever if something fails, what stood
// there before stays. It takes over the permissions of the file that it replaces; what a symbolic
// link leads to is replaced, not the link.
//
// Threads: one at a time.
// Errors: those of the file system, naming the file.
class LineWriter {
 public:
  static Result<std::unique_ptr<LineWriter>> open(const std::string& path);
  // Without finish() nothing of a file remains.
  virtual ~LineWriter() = default;
  // Writes `line` and a newline.
  virtual Status write(std::string_view line) = 0;
  // Writes what is buffered; a file is durable under its name when it returns.
  virtual Status finish() = 0;
};

// A file to whose end lines are added, as they are. It is in its place from the first line on, and
// what stood there stays; if that ends within a line, as a process leaves it that was killed, the
// line is ended first.
//
// Threads: one at a time.
// Errors: those of the file system, naming the file.
class LineAppender {
 public:
  // Makes the file if it is not there; a device or a pipe is written to as it is.
  static Result<std::unique_ptr<LineAppender>> open(const std::string& path);
  virtual ~LineAppender() = default;
  // Writes a piece of a line, or its end with the newline, or whole lines: nothing is added.
  virtual Status write(std::string_view bytes) = 0;
  // What was written is durable, under the name of the file, when it returns.
  virtual Status sync() = 0;
};

// Writes a file as LineWriter does, whole or not at all, but its bytes as they are, whatever its
// name.
Status write_file(const std::string& path, ByteView bytes);

// Milliseconds since 1970 of a time as people write it: ISO 8601, such as "2026-11-21",
// "2026-11-21T10:00", "20261121T100000.5+01", "2026-11", "2026-325" or "2026-W47-6" (UTC if there
// is no offset); or an integer of seconds or, from 10^11 on, milliseconds. Of text that is all
// digits the integer is meant. `invalid` for anything else.
Result<std::int64_t> parse_time_ms(std::string_view text);
// "2026-11-21T10:00:00Z", with milliseconds if they are not zero.
std::string format_time_ms(std::int64_t time_ms);

}  // namespace tokvault

#endif  // TOKVAULT_INTERCHANGE_H_
