// tokvault import: JSON lines into a vault.
//
// One thread reads and parses a chunk of lines while the vault stores the chunk before it, which it
// does with threads of its own; so two chunks are in memory, of 4 MB of input or one larger line
// each. What a chunk ends at is committed with it. An import that was killed therefore goes on
// where it stopped, provided that the part it has done is still the same; and importing a file once
// more changes nothing, because a line without an id gets one that follows from its place and from
// the first line, or, where another line has that one, from all lines up to it. (A hash of its own
// for each line is 8 bytes that no codec makes smaller: a fifth of a vault of short conversations.)
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <utility>

#include "commands.h"
#include "fields.h"
#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

// So many reasons of bad lines are shown.
constexpr std::size_t kReasonsMax = 10;
// What packs take after the last line is said from here on.
constexpr double kShownSeconds = 0.5;
// After so much input memory is given back: it takes some milliseconds.
constexpr std::uint64_t kTrimBytes = 16u << 20;
// A batch comes into one pack, of which a log leaves half: lines of a few bytes must not be more
// than its tables hold.
constexpr std::uint64_t kChunkValuesMax = 1u << 17;

struct BadLine {
  std::uint64_t number = 0;
  std::string reason;
  std::string raw;       // without its newline
  bool is_kept = false;  // put aside while it was read: it is too long for memory
};

// What became of a run of lines.
struct Chunk {
  std::vector<Conversation> conversations;
  std::uint64_t values = 0;            // of them and of their messages, with these counted
  std::vector<std::uint64_t> numbers;  // of their lines
  std::vector<bool> untimed;           // those whose line has a time that is not understood
  // Of those whose line has no id: the id that they get if another line has theirs. Else empty.
  std::vector<std::string> second_ids;
  std::vector<std::string> raw;  // the lines themselves, if bad ones are to be kept
  std::vector<BadLine> bad;
  std::uint64_t blank = 0;           // lines
  ImportProgress progress;           // behind this chunk
  std::uint64_t consumed_bytes = 0;  // of the file
  bool last = false;
  Status status;                  // an error ended the reading, behind the conversations above
  std::uint64_t failed_line = 0;  // then; 0: the file could not be read
};

struct Totals {
  std::uint64_t lines = 0;
  std::uint64_t bytes = 0;
  std::uint64_t resumed = 0;
  std::uint64_t stored = 0;
  std::uint64_t unchanged = 0;
  std::uint64_t replaced = 0;
  std::uint64_t bad = 0;
  std::uint64_t blank = 0;
  std::uint64_t untimed = 0;
  std::vector<std::string> reasons;
};

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

std::string hex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (char c : bytes) {
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

// Where bad lines are put aside, each whole before the next. A line that is longer than a line may
// be is never in memory: the reader hands it on in pieces, while another thread may keep other
// lines.
class BadLineFile {
 public:
  explicit BadLineFile(std::string path) : path_(std::move(path)) {}
  BadLineFile(const BadLineFile&) = delete;
  BadLineFile& operator=(const BadLineFile&) = delete;

  bool is_wanted() const { return !path_.empty(); }
  Status keep(std::string line) {
    std::lock_guard lock(mutex_);
    return write(line += '\n');
  }
  // The pieces of a line, from one thread.
  Status keep_piece(std::string_view piece, bool last) {
    if (!piecewise_.owns_lock()) piecewise_ = std::unique_lock(mutex_);
    TOKVAULT_TRY(write(piece));
    return last ? write("\n") : Status();
  }
  // From that thread, when the line is over, whole or not.
  void end_pieces() {
    if (piecewise_.owns_lock()) piecewise_.unlock();
  }
  // What is kept so far is durable when it returns.
  Status sync() {
    std::lock_guard lock(mutex_);
    if (std::exchange(is_synced_, true)) return {};
    return file_->sync();
  }

 private:
  Status write(std::string_view bytes) {
    if (file_ == nullptr) {
      TOKVAULT_ASSIGN(file_, LineAppender::open(path_));
    }
    is_synced_ = false;
    return file_->write(bytes);
  }

  const std::string path_;
  std::mutex mutex_;
  std::unique_lock<std::mutex> piecewise_;  // held while a line comes in pieces
  std::unique_ptr<LineAppender> file_;      // from the first bad line on
  bool is_synced_ = true;
};

// Turns lines into chunks. Used by one thread at a time.
class ChunkReader {
 public:
  ChunkReader(const ImportCommand& command, std::unique_ptr<LineReader> lines, Buffer first_hash,
              ImportProgress progress, BadLineFile& bad_file)
      : command_(command),
        lines_(std::move(lines)),
        first_hash_(std::move(first_hash)),
        progress_(std::move(progress)),
        bad_file_(bad_file) {}

  Chunk next() {
    Chunk chunk;
    const std::uint64_t before = progress_.bytes;
    while (progress_.bytes - before < command_.batch_bytes && chunk.values < kChunkValuesMax) {
      // What a pipe gave before it paused is stored meanwhile.
      if (progress_.bytes > before && lines_->is_idle()) break;
      LineReader::Line line;
      auto more = lines_->next(line);
      bad_file_.end_pieces();
      if (!more) {
        chunk.status = std::move(more).error();
        break;
      }
      if (!*more) {
        chunk.progress.finished = true;
        break;
      }
      if (first_hash_.empty()) first_hash_ = lines_->state_hash();
      chunk.status = take(line, chunk);
      if (!chunk.status) {
        chunk.failed_line = line.number;
        break;
      }
      progress_.lines = line.number;
      progress_.bytes = line.end_offset;
      progress_.state_hash = lines_->state_hash();
    }
    chunk.last = chunk.progress.finished || !chunk.status;
    progress_.finished = chunk.progress.finished;
    chunk.progress = progress_;
    chunk.consumed_bytes = lines_->consumed_bytes();
    return chunk;
  }

 private:
  Status take(const LineReader::Line& line, Chunk& chunk) {
    if (is_blank(line.text) && !line.too_long) {
      ++chunk.blank;
      return {};
    }
    Error why;
    if (line.too_long) {
      why =
          Error(Errc::exhausted, "the line is longer than " +
                                     format_count(command_.line_bytes_max) + " bytes (--max-line)");
    } else {
      auto conversation = reader_.conversation(line.text);
      if (conversation) {
        chunk.second_ids.push_back(complete(*conversation, line));
        chunk.values += 1 + conversation->values.size();
        for (const Message& m : conversation->messages) chunk.values += 1 + m.values.size();
        chunk.untimed.push_back(has_unknown_time(*conversation));
        chunk.conversations.push_back(std::move(*conversation));
        chunk.numbers.push_back(line.number);
        if (!command_.skip_bad.empty()) chunk.raw.emplace_back(line.text);
        return {};
      }
      why = std::move(conversation).error();
    }
    if (command_.skip_bad.empty()) return why;
    chunk.bad.push_back(
        {line.number, std::string(why.message()), std::string(line.text), line.too_long});
    return {};
  }

  // What the command line says of conversations that do not say it themselves. Returns the second
  // id.
  std::string complete(Conversation& conversation, const LineReader::Line& line) const {
    if (conversation.application.empty()) conversation.application = command_.application;
    if (conversation.model.empty()) conversation.model = command_.model;
    if (!conversation.id.empty()) return {};
    const std::string place = "line-" + std::to_string(line.number) + "-";
    conversation.id = place + hex(first_hash_);
    return place + hex(lines_->state_hash());
  }

  const ImportCommand& command_;
  std::unique_ptr<LineReader> lines_;
  Buffer first_hash_;  // of the first line, once it is read
  ImportProgress progress_;
  BadLineFile& bad_file_;
  JsonReader reader_;
};

class Importer {
 public:
  Importer(const ImportCommand& command, Vault& vault)
      : command_(command), vault_(vault), bad_file_(command.skip_bad) {}

  Status import_file(const std::string& file) {
    const std::string path = file == "-" ? "standard input" : file;
    TOKVAULT_ASSIGN(auto lines, open_lines(file));
    const std::uint64_t size = lines->size_bytes();
    ImportProgress start;
    start.source = record_key(lines->source());
    has_record_ = false;
    // Of a pipe that is slow nobody knows whether it is what was imported before.
    may_have_record_ = !lines->source().empty();
    const auto earlier = may_have_record_ ? vault_.import_progress(start.source) : std::nullopt;
    if (earlier) {
      has_record_ = true;
      TOKVAULT_ASSIGN(const bool same, pass_over(path, *lines, *earlier));
      if (same) {
        start = *earlier;
        totals_.resumed += earlier->lines;
      } else if (!is_readable_twice(file)) {
        return Error(Errc::conflict,
                     path +
                         " is not what an import that was interrupted has stored a part "
                         "of, though it begins like it; import it from a file");
      } else {
        TOKVAULT_ASSIGN(lines, open_lines(file));
      }
    }
    return import_lines(path, size, std::move(lines), std::move(start));
  }

  const Totals& totals() const { return totals_; }

 private:
  // Lines that are too long go aside as they are read, once what was imported before is passed
  // over.
  Result<std::unique_ptr<LineReader>> open_lines(const std::string& file) {
    passing_over_ = true;
    first_hash_.clear();
    if (file == "-" && ::isatty(STDIN_FILENO) == 1) allow_progress(false);
    LineReader::LongLine keep;
    if (bad_file_.is_wanted()) {
      keep = [this](std::string_view piece, bool last) -> Status {
        return passing_over_ ? Status() : bad_file_.keep_piece(piece, last);
      };
    }
    return LineReader::open(file, command_.line_bytes_max, std::move(keep));
  }

  // What a record of progress belongs to: the input, and everything that decides what becomes of
  // its lines. For another tenant nothing of it is done.
  Buffer record_key(ByteView source) const {
    Buffer key(source);
    for (const std::string* const part :
         {&command_.tenant, &command_.model, &command_.application}) {
      key += std::to_string(part->size());
      key += ':';
      key += *part;
    }
    key += command_.replace ? '1' : '0';
    return key;
  }

  static bool is_readable_twice(const std::string& file) {
    std::error_code failed;
    return file != "-" && std::filesystem::is_regular_file(file, failed);
  }

  // Reads the lines that `earlier` counts. True if they are the same as then.
  Result<bool> pass_over(const std::string& path, LineReader& lines,
                         const ImportProgress& earlier) {
    if (earlier.lines == 0) return true;  // its first line was bad
    ProgressLine progress(path);
    LineReader::Line line;
    while (line.number < earlier.lines) {
      TOKVAULT_ASSIGN(const bool more, lines.next(line));
      if (!more) return false;
      if (first_hash_.empty()) first_hash_ = lines.state_hash();
      if (line.number % 1024 == 0) progress.show(lines.consumed_bytes(), lines.size_bytes());
    }
    return line.end_offset == earlier.bytes && lines.state_hash() == earlier.state_hash;
  }

  Status import_lines(const std::string& path, std::uint64_t size,
                      std::unique_ptr<LineReader> lines, ImportProgress start) {
    passing_over_ = false;
    ProgressLine progress_line(path);
    ImportProgress before = start;
    ChunkReader reader(command_, std::move(lines), first_hash_, std::move(start), bad_file_);
    Chunk stored;
    // What was stored is freed by the thread that reads on: it is a good part of reading.
    const auto read_on = [&] {
      return std::async(std::launch::async, [&reader, gone = std::exchange(stored, {})]() mutable {
        gone = Chunk();
        return reader.next();
      });
    };
    std::future<Chunk> next = read_on();
    while (true) {
      Chunk chunk = next.get();
      if (!chunk.last) next = read_on();
      TOKVAULT_TRY(store(path, chunk));
      give_memory_back(chunk.progress.bytes - before.bytes);
      totals_.lines += chunk.progress.lines - before.lines;
      totals_.bytes += chunk.progress.bytes - before.bytes;
      totals_.blank += chunk.blank;
      before = chunk.progress;
      progress_line.show(chunk.consumed_bytes, size);
      if (!chunk.status) return failure(path, chunk);
      if (chunk.last) return {};
      stored = std::move(chunk);
    }
  }

  // Lines, texts and segments of all sizes leave holes between what stays; their pages count as
  // memory of the process until malloc is told to look for them.
  void give_memory_back(std::uint64_t bytes_read) {
    kept_bytes_ += bytes_read;
    if (kept_bytes_ < kTrimBytes) return;
    kept_bytes_ = 0;
    ::malloc_trim(0);
  }

  // What is said behind what stopped the import after so many lines of the file: that these are
  // stored, and what else there is to say.
  static std::string remarks(std::uint64_t lines, const std::string& more) {
    std::string text = lines > 0 ? "the lines before it are stored" : "";
    if (!text.empty() && !more.empty()) text += "; ";
    text += more;
    return text.empty() ? text : " (" + text + ")";
  }

  static Error failure(const std::string& path, const Chunk& chunk) {
    const Error& error = chunk.status.error();
    const std::uint64_t lines = chunk.progress.lines;
    if (chunk.failed_line == 0) {
      return Error(error.code(),  // the message names the file
                   std::string(error.message()) + remarks(lines, {}), error.os_code());
    }
    return Error(error.code(), path + ":" + std::to_string(chunk.failed_line) + ": " +
                                   std::string(error.message()) +
                                   remarks(lines, "--skip-bad FILE puts such lines aside"));
  }

  Status store(const std::string& path, Chunk& chunk) {
    for (BadLine& bad : chunk.bad) TOKVAULT_TRY(pass_by(path, std::move(bad)));
    // A file of one chunk needs no record of how far it has come.
    const bool needs_record = may_have_record_ && (has_record_ || !chunk.progress.finished);
    // What the vault refuses is kept before the record passes over it.
    const bool is_recorded_last = bad_file_.is_wanted();
    TOKVAULT_ASSIGN(auto results,
                    put(chunk, needs_record && !is_recorded_last ? &chunk.progress : nullptr));
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (results[i]) {
        count(results[i]->outcome);
        if (chunk.untimed[i]) ++totals_.untimed;
      } else if (stops_at_refused()) {
        return refused(path, chunk.numbers[i], results[i].error());
      } else {
        TOKVAULT_TRY(pass_by(path, {chunk.numbers[i], std::string(results[i].error().message()),
                                    std::move(chunk.raw[i]), false}));
      }
    }
    TOKVAULT_TRY(bad_file_.sync());
    if (needs_record && is_recorded_last) {
      TOKVAULT_TRY(vault_.put_batch({}, put_options(), &chunk.progress));
    }
    has_record_ = needs_record;
    return {};
  }

  PutOptions put_options() const {
    PutOptions options;
    options.tenant = command_.tenant;
    options.replace = command_.replace;
    options.stop_at_refused = stops_at_refused();
    return options;
  }

  bool stops_at_refused() const { return command_.skip_bad.empty(); }

  // One outcome for each conversation, until one is refused where that stops the import.
  // `progress` is committed with the last of them.
  Result<std::vector<Result<PutResult>>> put(Chunk& chunk, const ImportProgress* progress) {
    // Which id a line gets is known before, so that all of them are one commit. One that has its
    // second id keeps it, whatever became of the line that had the first.
    for (std::size_t i = 0; i < chunk.conversations.size(); ++i) {
      Conversation& conversation = chunk.conversations[i];
      const std::string& second = chunk.second_ids[i];
      if (second.empty() || second == conversation.id) continue;
      if (vault_.summary(second, command_.tenant) || !is_of_this_line(conversation)) {
        conversation.id = second;
      }
    }
    return vault_.put_batch(chunk.conversations, put_options(), progress);
  }

  // Whether what the vault has under this id was made of the same line, though the command may have
  // said another model or application for it. If it is not there, or cannot be read, it may be.
  bool is_of_this_line(const Conversation& conversation) const {
    const auto there = vault_.get(conversation.id, command_.tenant);
    return !there || (there->form == conversation.form && there->values == conversation.values &&
                      there->messages == conversation.messages);
  }

  void count(PutResult::Outcome outcome) {
    switch (outcome) {
      case PutResult::Outcome::stored:
        ++totals_.stored;
        break;
      case PutResult::Outcome::unchanged:
        ++totals_.unchanged;
        break;
      case PutResult::Outcome::replaced:
        ++totals_.replaced;
        break;
    }
  }

  // The vault would not take a line. The record of progress is that of the chunk before: what is
  // stored of this one is found unchanged by the next import.
  static Error refused(const std::string& path, std::uint64_t line, const Error& why) {
    std::string more;
    if (why.code() == Errc::exists) more = "--replace stores this one in its place";
    if (why.code() == Errc::corrupt) {
      more = "what is stored under its id cannot be read: --replace puts this in its place";
    }
    return Error(why.code(), path + ":" + std::to_string(line) + ": " + std::string(why.message()) +
                                 remarks(line - 1, more));
  }

  // Keeps a bad line before anything is committed that counts it as done.
  Status pass_by(const std::string& path, BadLine bad) {
    if (!bad.is_kept) TOKVAULT_TRY(bad_file_.keep(std::move(bad.raw)));
    ++totals_.bad;
    if (totals_.reasons.size() < kReasonsMax) {
      totals_.reasons.push_back(path + ":" + std::to_string(bad.number) + ": " + bad.reason);
    }
    return {};
  }

  const ImportCommand& command_;
  Vault& vault_;
  Totals totals_;
  BadLineFile bad_file_;
  bool passing_over_ = false;     // lines that were imported before
  Buffer first_hash_;             // of the first line of what is passed over
  bool may_have_record_ = false;  // the input is known by what it begins with
  bool has_record_ = false;
  std::uint64_t kept_bytes_ = 0;  // read since memory was given back
};

double rate(const Totals& totals, double seconds) {
  return seconds > 0 ? static_cast<double>(totals.bytes) / 1e6 / seconds : 0;
}

void print_json(const ImportCommand& command, bool created, const Totals& totals, double seconds,
                double merge_seconds) {
  JsonObject out;
  out.field("vault", command.vault)
      .field("created", created)
      .field("files", command.files.size())
      .field("lines", totals.lines)
      .field("stored", totals.stored)
      .field("unchanged", totals.unchanged)
      .field("replaced", totals.replaced)
      .field("already_imported", totals.resumed)
      .field("bad", totals.bad)
      .field("blank", totals.blank)
      .field("untimed", totals.untimed)
      .field("bytes", totals.bytes)
      .field("seconds", seconds)
      .field("mb_per_second", rate(totals, seconds))
      .field("merge_seconds", merge_seconds);
  print_line(out.field("bad_lines", totals.reasons).text());
}

void print_human(const ImportCommand& command, const Totals& totals, double seconds,
                 double merge_seconds) {
  std::string line = format_counted(totals.lines, "line") + ": " + format_count(totals.stored) +
                     " stored, " + format_count(totals.unchanged) + " unchanged, " +
                     format_count(totals.replaced) + " replaced, " + format_count(totals.bad) +
                     " bad";
  if (totals.blank > 0) line += ", " + format_count(totals.blank) + " blank";
  print_line(line);
  if (totals.resumed > 0) {
    print_line(format_counted(totals.resumed, "line") + " imported before");
  }
  if (totals.untimed > 0) {
    print_line(format_counted(totals.untimed, "line") +
               " with a time that is not understood, stored with the time of the import");
  }
  print_line(format_bytes(totals.bytes) + " in " + format_rate(seconds) + " s, " +
             format_rate(rate(totals, seconds)) + " MB/s" +
             (merge_seconds < kShownSeconds
                  ? ""
                  : "; then " + format_rate(merge_seconds) + " s of sealing and merging"));
  if (totals.bad == 0) return;
  print_line("bad lines are in " + printable(command.skip_bad) + ":");
  for (const std::string& reason : totals.reasons) print_line("  " + printable(reason));
  if (totals.bad > totals.reasons.size()) {
    print_line("  and " + format_count(totals.bad - totals.reasons.size()) + " more");
  }
}

// A vault that is not there is made: the first import is the first thing that anyone does.
Status make_vault(const ImportCommand& command) {
  const InitOptions options;
  TOKVAULT_TRY(create_vault(command.vault, options));
  if (!command.json) {
    print_note("made the vault " + command.vault + " with the tokenizer " + options.tokenizer);
  }
  return {};
}

// Looks at a file without opening it, which would take from a pipe what is meant for the import.
Status check_readable(const std::string& file) {
  std::error_code failed;
  const auto status = std::filesystem::status(file, failed);
  int os_code = 0;
  if (status.type() == std::filesystem::file_type::directory) {
    return Error(Errc::invalid, file + " is a folder, not a file");
  }
  if (status.type() == std::filesystem::file_type::not_found) {
    os_code = ENOENT;
  } else if (failed) {
    os_code = failed.value();
  } else if (::access(file.c_str(), R_OK) != 0) {
    os_code = errno;
  }
  if (os_code == 0) return {};
  const Errc code = os_code == ENOENT   ? Errc::not_found
                    : os_code == EACCES ? Errc::denied
                                        : Errc::io;
  return Error(code, "open " + file + ": " + std::strerror(os_code), os_code);
}

// Bad lines that were appended to what is read would be read again, without end.
Status check_is_not_input(const std::string& skip_bad, const std::string& input) {
  struct stat bad{};
  struct stat read{};
  if (skip_bad.empty() || ::stat(skip_bad.c_str(), &bad) != 0) return {};
  const int failed = input == "-" ? ::fstat(STDIN_FILENO, &read) : ::stat(input.c_str(), &read);
  if (failed != 0 || bad.st_dev != read.st_dev || bad.st_ino != read.st_ino) return {};
  return Error(Errc::invalid, "--skip-bad " + skip_bad + " is a file that is imported");
}

// What an import leaves in the log is a quarter larger than as a pack, and up to twice as large
// where it is digits or very short texts. It may wait while it is small beside the packs: so their
// number grows with the logarithm of what they hold (docs/decisions/0021-the-end-of-an-import.md).
Status seal_what_is_left(Vault& vault) {
  constexpr std::uint64_t kLogBytesMin = 64u << 10;
  constexpr std::uint64_t kPackBytesPerLogByte = 8;
  std::uint64_t log_bytes = 0;
  std::uint64_t pack_bytes = 0;
  TOKVAULT_ASSIGN(const auto files, vault.files());
  for (const FileInfo& file : files) {
    if (file.kind == FileInfo::Kind::log) log_bytes += file.bytes;
    if (file.kind == FileInfo::Kind::pack) pack_bytes += file.bytes;
  }
  if (log_bytes < std::max(kLogBytesMin, pack_bytes / kPackBytesPerLogByte)) return {};
  return vault.seal();
}

}  // namespace

ExitStatus run_import(const ImportCommand& command) {
  // Before a vault is made for it.
  for (const std::string& file : command.files) {
    if (file != "-") TOKVAULT_TRY(check_readable(file));
    TOKVAULT_TRY(check_is_not_input(command.skip_bad, file));
  }
  TOKVAULT_TRY(outside_of(command.vault, command.skip_bad));
  if (std::error_code failed; std::filesystem::is_directory(command.skip_bad, failed)) {
    return Error(Errc::invalid, "--skip-bad " + command.skip_bad + " is a folder");
  }
  VaultOptions options;
  options.level = command.level;
  options.log_bytes_max = command.log_bytes_max;
  options.conversation_bytes_max = command.line_bytes_max;
  options.threads = command.threads;
  // Who asks for `fast` would wait for merging three times as long as for the rest.
  const bool merges = !command.no_merge && command.level != Level::fast;
  if (!merges) options.merge_bytes_min = UINT64_MAX;
  // Fingerprints agree by chance, and then what a pack says of its segments is read: of 1 GB of
  // short conversations 160 MB of that. A merge needs the memory more, and so does encoding at
  // `balanced`, where 128 MB are as fast.
  const std::uint64_t cache_mb = merges ? 64 : command.level == Level::fast ? 160 : 128;
  options.cache_bytes = cache_mb << 20;
  auto opened = open_writer(command, options);
  const bool created = opened.code() == Errc::not_found;
  if (created) {
    TOKVAULT_TRY(make_vault(command));
    opened = open_writer(command, options);
  }
  TOKVAULT_ASSIGN(const auto vault, std::move(opened));
  const auto started = std::chrono::steady_clock::now();
  Importer importer(command, *vault);
  for (const std::string& file : command.files) TOKVAULT_TRY(importer.import_file(file));
  TOKVAULT_TRY(vault->flush());
  auto seconds_since = [](std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const double seconds = seconds_since(started);
  // Everything is stored. A vault that is only ever imported into would otherwise break off every
  // merge that it begins.
  const auto imported = std::chrono::steady_clock::now();
  // What is damaged stays as it is, as all does on a full disk; what was imported is stored.
  auto expect_rewritten = [&](const char* what, Status status) -> Status {
    if (status.code() != Errc::corrupt && status.code() != Errc::exhausted) return status;
    print_note(std::string("what was imported is stored, but ") + what + ": " +
                   std::string(status.error().message()),
               command.json);
    return {};
  };
  {
    const ProgressLine progress("sealing the log");
    TOKVAULT_TRY(expect_rewritten("the log was not made a pack", seal_what_is_left(*vault)));
  }
  if (merges) {
    ProgressLine progress("merging packs");
    TOKVAULT_TRY(
        expect_rewritten("packs were not merged", vault->finish_merging(progress.callback())));
  }
  const double merge_seconds = seconds_since(imported);
  if (command.json) {
    print_json(command, created, importer.totals(), seconds, merge_seconds);
  } else {
    print_human(command, importer.totals(), seconds, merge_seconds);
  }
  return 0;
}

}  // namespace tokvault::cli
