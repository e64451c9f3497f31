// Blobs as files: ROOT/folder/file.
//
// What makes a write durable, and where each step is:
//   put       temporary file in the same folder, write, fdatasync, close, rename, fsync of the
//             folder: publish(). Nothing else renames.
//   append    a write at the end; sync() is one fdatasync, and at the first time an fsync of the
//             folder, because a file whose name is lost is lost.
//   folders   made when first needed; ROOT is fsynced once per folder and process, even if the
//             folder is there, because whoever made it may have died before doing so. The same
//             reasoning makes remove() fsync a folder in which it found nothing.
//
// A failed fdatasync is final for that blob in this process: Linux marks the pages clean, so that a
// second fdatasync would succeed without having written them. sync() goes on failing.
//
// Reading goes through a bounded cache of open files. A blob never changes what is before its end
// (truncate cuts what was never acknowledged), so a cached file is right as long as its name is
// not removed; remove() in this process drops it, unless somebody holds it. A reader in another
// process may read a removed blob a little longer, which is harmless: names are not reused for
// other bytes.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>

#include "base/clock.h"
#include "base/file.h"
#include "storage/name.h"
#include "tokvault/backend.h"

namespace tokvault {
namespace {

constexpr std::string_view kLeftoverPrefix = ".tmp-";
constexpr std::string_view kLockFile = "lock";
// Open files kept for reading and for appending; a vault appends to one or two blobs at a time.
constexpr std::size_t kReadersMax = 128;
// And so many for those who hold blobs: well below the 1,024 that a process may have.
constexpr std::size_t kHeldMax = 256;
constexpr std::size_t kAppendersMax = 8;
constexpr std::size_t kCompareBytes = 1 << 16;
constexpr std::size_t kHolderBytesMax = 256;

// The names in a folder but "." and "..", in no order. A folder that is not there has none.
Result<std::vector<std::string>> entries_of(const std::string& path) {
  struct Closer {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  std::vector<std::string> out;
  const std::unique_ptr<DIR, Closer> dir(::opendir(path.c_str()));
  if (!dir && errno == ENOENT) return out;
  if (!dir) return errno_error(errno, "list " + path);
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (!entry && errno != 0) return errno_error(errno, "list " + path);
    if (!entry) return out;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") out.emplace_back(name);
  }
}

// What is at a path (not followed if it is a link), or nothing.
Result<std::optional<struct stat>> look_at(const std::string& path) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) == 0) return std::optional(st);
  if (errno == ENOENT || errno == ENOTDIR) return std::optional<struct stat>();
  return errno_error(errno, "stat " + path);
}

std::uint64_t size_of(const struct stat& st) { return static_cast<std::uint64_t>(st.st_size); }

Result<std::uint64_t> tree_bytes(const std::string& path) {
  std::uint64_t total = 0;
  TOKVAULT_ASSIGN(const auto names, entries_of(path));
  for (const std::string& name : names) {
    const std::string child = path + "/" + name;
    TOKVAULT_ASSIGN(const auto st, look_at(child));
    if (!st) continue;  // removed since
    if (S_ISDIR(st->st_mode)) {
      TOKVAULT_ASSIGN(const std::uint64_t inner, tree_bytes(child));
      total += inner;
    } else if (S_ISREG(st->st_mode)) {
      total += size_of(*st);
    }
  }
  return total;
}

// Removes the leftovers of puts from one folder, durably, and counts them.
Result<std::uint64_t> sweep_folder(const std::string& path) {
  std::uint64_t swept = 0;
  TOKVAULT_ASSIGN(const auto names, entries_of(path));
  for (const std::string& name : names) {
    if (!name.starts_with(kLeftoverPrefix)) continue;
    const std::string leftover = path + "/" + name;
    if (::unlink(leftover.c_str()) != 0) return errno_error(errno, "remove " + leftover);
    ++swept;
  }
  if (swept > 0) TOKVAULT_TRY(sync_folder(path));
  return swept;
}

Status compare(const File& file, ByteView bytes, std::string_view name) {
  TOKVAULT_ASSIGN(const std::uint64_t size, file.size());
  bool same = size == bytes.size();
  Buffer chunk;
  for (std::size_t at = 0; same && at < bytes.size(); at += chunk.size()) {
    chunk.resize(std::min(kCompareBytes, bytes.size() - at));
    TOKVAULT_TRY(file.pread(at, chunk.size(), chunk.data()));
    same = bytes.substr(at, chunk.size()) == chunk;
  }
  if (!same) return Error(Errc::exists, std::string(name) + " is there with other bytes");
  return {};
}

// Open files for reading, the least recently used given up first.
// Threads: any.
class ReaderCache {
 public:
  struct Reader {
    explicit Reader(File f) : file(std::move(f)) {}
    File file;
    // The blob was seen to be at least this long, so that most reads need no fstat.
    std::atomic<std::uint64_t> size_seen{0};
  };

  Result<std::shared_ptr<Reader>> open(std::string_view name, const std::string& path) {
    std::uint64_t removals = 0;
    {
      const std::lock_guard lock(mutex_);
      const auto it = entries_.find(name);
      if (it != entries_.end()) {
        it->second.used = ++clock_;
        return it->second.reader;
      }
      if (auto held = find_held(name)) return held;
      removals = removals_;
    }
    TOKVAULT_ASSIGN(File file, File::open(path, O_RDONLY));
    auto reader = std::make_shared<Reader>(std::move(file));
    const std::lock_guard lock(mutex_);
    // After a removal that this open may have preceded, the file is good for this read only.
    if (removals != removals_) return reader;
    if (entries_.size() >= kReadersMax) {
      entries_.erase(std::min_element(
          entries_.begin(), entries_.end(),
          [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
    }
    entries_.insert_or_assign(std::string(name), Entry{reader, ++clock_});
    return reader;
  }

  // The blob, open for as long as what is returned lives; null if too many are held.
  Result<std::shared_ptr<const void>> hold(std::string_view name, const std::string& path) {
    TOKVAULT_ASSIGN(auto reader, open(name, path));
    const std::lock_guard lock(mutex_);
    if (auto held = find_held(name)) return std::shared_ptr<const void>(std::move(held));
    if (held_.size() >= kHeldMax) {
      std::erase_if(held_, [](const auto& held) { return held.second.expired(); });
    }
    if (held_.size() >= kHeldMax) return std::shared_ptr<const void>();
    held_.insert_or_assign(std::string(name), reader);
    return std::shared_ptr<const void>(std::move(reader));
  }

  void drop(std::string_view name) {
    const std::lock_guard lock(mutex_);
    ++removals_;
    const auto it = entries_.find(name);
    if (it != entries_.end()) entries_.erase(it);
  }

 private:
  struct Entry {
    std::shared_ptr<Reader> reader;
    std::uint64_t used = 0;
  };
  // REQUIRES: mutex_ is held
  std::shared_ptr<Reader> find_held(std::string_view name) const {
    const auto it = held_.find(name);
    return it == held_.end() ? nullptr : it->second.lock();
  }

  std::mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_;  // guarded by mutex_, like what follows
  std::map<std::string, std::weak_ptr<Reader>, std::less<>> held_;
  std::uint64_t clock_ = 0;
  std::uint64_t removals_ = 0;
};

class DirectoryLock final : public WriterLock {
 public:
  explicit DirectoryLock(File file) : file_(std::move(file)) {}
  // The kernel lets go when the descriptor is closed, and those of forked children are. The name is
  // wiped first, so that whoever is refused next is never told of this holder, unless it is a child
  // that closes its own; nothing depends on it.
  ~DirectoryLock() override {
    if (::getpid() == process_) static_cast<void>(file_.truncate(0).has_value());
  }

 private:
  File file_;
  const pid_t process_ = ::getpid();
};

std::string describe_this_process() {
  char host[256] = "";
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  const std::int64_t now = now_ms();
  const auto second = static_cast<int>(now / 1000 % 86'400);
  char text[kHolderBytesMax];
  std::snprintf(text, sizeof text, "process %ld on %.128s since %sT%02d:%02d:%02dZ",
                static_cast<long>(::getpid()), host, day_name(day_of_ms(now)).c_str(),
                second / 3600, second / 60 % 60, second % 60);
  return text;
}

std::string describe_holder(const File& file) {
  char text[kHolderBytesMax];
  const ssize_t n = ::pread(file.fd(), text, sizeof text, 0);
  std::string out;
  for (ssize_t i = 0; i < n && text[i] >= ' ' && text[i] <= '~'; ++i) out.push_back(text[i]);
  return out.empty() ? "a process that has not named itself yet" : out;
}

class DirectoryBackend final : public Backend {
 public:
  DirectoryBackend(std::string root, bool read_only)
      : root_(std::move(root)), read_only_(read_only) {}

  Status put(std::string_view name, ByteView bytes) override {
    TOKVAULT_ASSIGN(const BlobName parts, parse_name(name));
    TOKVAULT_TRY(check_writable());
    Status done = put_parts(name, parts, bytes);
    if (!done) return std::move(done).error().with("put " + std::string(name));
    return {};
  }

  Status get(std::string_view name, std::uint64_t offset, std::uint64_t size,
             Buffer& out) const override {
    TOKVAULT_TRY(parse_name(name));
    TOKVAULT_ASSIGN(const auto reader, readers_.open(name, path_of(name)));
    // Compared with the size before anything is allocated: `size` may come from a damaged file.
    std::uint64_t seen = reader->size_seen.load(std::memory_order_relaxed);
    if (offset > seen || size > seen - offset || seen == 0) {
      TOKVAULT_ASSIGN(seen, reader->file.size());
      reader->size_seen.store(seen, std::memory_order_relaxed);
      if (offset > seen || size > seen - offset) {
        return Error(Errc::corrupt, std::string(name) + ": " + std::to_string(size) +
                                        " bytes at offset " + std::to_string(offset) +
                                        " expected, the blob holds " + std::to_string(seen));
      }
    }
    out.resize(size);
    Status done = reader->file.pread(offset, size, out.data());
    if (!done) return std::move(done).error().with("get " + std::string(name));
    return {};
  }

  Status append(std::string_view name, ByteView bytes) override {
    TOKVAULT_ASSIGN(const auto appender, open_appender(name, true));
    {
      // Counted before it is written, so that the appender is not given up with unsynced bytes.
      const std::lock_guard lock(appenders_mutex_);
      ++appender->appends;
    }
    Status done = appender->file.write(bytes);
    if (!done) return std::move(done).error().with("append to " + std::string(name));
    return {};
  }

  Status truncate(std::string_view name, std::uint64_t size) override {
    TOKVAULT_ASSIGN(const auto appender, open_appender(name, false));
    TOKVAULT_ASSIGN(const std::uint64_t now, appender->file.size());
    if (size > now) {
      return Error(Errc::invalid, std::string(name) + " holds " + std::to_string(now) +
                                      " bytes, it cannot be cut to " + std::to_string(size));
    }
    Status done = appender->file.truncate(size);
    if (!done) return std::move(done).error().with("truncate " + std::string(name));
    readers_.drop(name);
    // fdatasync writes a changed size: the data could not be read without it.
    return sync_appender(name, *appender);
  }

  Status sync(std::string_view name) override {
    TOKVAULT_ASSIGN(const auto appender, open_appender(name, false));
    return sync_appender(name, *appender);
  }

  Result<std::uint64_t> size(std::string_view name) const override {
    TOKVAULT_TRY(parse_name(name));
    TOKVAULT_ASSIGN(const auto st, look_at(path_of(name)));
    if (!st || !S_ISREG(st->st_mode)) {
      return Error(Errc::not_found, "no blob " + std::string(name), ENOENT);
    }
    return size_of(*st);
  }

  Result<std::vector<BlobInfo>> list(std::string_view folder) const override {
    TOKVAULT_TRY(check_folder(folder));
    const std::string path = path_of(folder);
    std::vector<BlobInfo> out;
    TOKVAULT_ASSIGN(const auto files, entries_of(path));
    for (const std::string& file : files) {
      if (!valid_name_part(file)) continue;
      TOKVAULT_ASSIGN(const auto st, look_at(path + "/" + file));
      if (st && S_ISREG(st->st_mode)) {
        out.push_back({std::string(folder) + "/" + file, size_of(*st)});
      }
    }
    std::sort(out.begin(), out.end(),
              [](const BlobInfo& a, const BlobInfo& b) { return a.name < b.name; });
    return out;
  }

  Status remove(std::string_view name) override {
    TOKVAULT_ASSIGN(const BlobName parts, parse_name(name));
    TOKVAULT_TRY(check_writable());
    TOKVAULT_TRY(unlink_blob(name));
    Status done = sync_folder(path_of(parts.folder));
    // No folder, no blob.
    if (!done && done.code() != Errc::not_found) {
      return std::move(done).error().with("remove " + std::string(name));
    }
    return {};
  }

  Result<std::shared_ptr<const void>> hold(std::string_view name) const override {
    TOKVAULT_TRY(parse_name(name));
    auto held = readers_.hold(name, path_of(name));
    if (!held && held.code() == Errc::exhausted) return std::shared_ptr<const void>();
    return held;
  }

  Result<std::uint64_t> sweep() override {
    TOKVAULT_TRY(check_writable());
    const std::unique_lock lock(leftovers_mutex_);
    std::uint64_t swept = 0;
    TOKVAULT_ASSIGN(const auto folders, entries_of(root_));
    for (const std::string& folder : folders) {
      TOKVAULT_ASSIGN(const auto st, look_at(path_of(folder)));
      if (!valid_name_part(folder) || !st || !S_ISDIR(st->st_mode)) continue;
      TOKVAULT_ASSIGN(const std::uint64_t here, sweep_folder(path_of(folder)));
      swept += here;
    }
    return swept;
  }

  // An open-file-description lock: unlike a POSIX record lock it also excludes this process, and
  // closing another descriptor of the file does not lose it. The file is never removed: a lock on
  // a name that somebody else may unlink excludes nobody.
  Result<std::unique_ptr<WriterLock>> lock_writer() override {
    TOKVAULT_TRY(check_writable());
    const std::string path = path_of(kLockFile);
    TOKVAULT_ASSIGN(File file, File::open(path, O_RDWR | O_CREAT));
    struct flock whole{};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (::fcntl(file.fd(), F_OFD_SETLK, &whole) != 0) {
      if (errno != EAGAIN && errno != EACCES) return errno_error(errno, "lock " + path);
      return Error(Errc::busy, path + " is held by " + describe_holder(file) +
                                   "; one process writes at a time");
    }
    // Nothing depends on the name, and on a full disk a writer is what makes room.
    Status named = file.truncate(0);
    if (named) named = file.pwrite(0, describe_this_process() + "\n");
    if (!named && named.code() != Errc::exhausted) return std::move(named).error().with(path);
    return std::unique_ptr<WriterLock>(std::make_unique<DirectoryLock>(std::move(file)));
  }

  Result<std::uint64_t> total_bytes() const override { return tree_bytes(root_); }

  Capabilities capabilities() const override {
    Capabilities out;
    out.append = true;
    return out;
  }

 private:
  struct Appender {
    explicit Appender(File f) : file(std::move(f)) {}
    File file;
    // Guarded by appenders_mutex_.
    std::uint64_t appends = 0;
    std::uint64_t appends_synced = 0;
    std::uint64_t used = 0;
    bool name_synced = false;
    bool failed = false;

    bool idle() const { return appends == appends_synced && !failed; }
  };

  std::string path_of(std::string_view name) const { return root_ + "/" + std::string(name); }

  Status check_writable() const {
    if (read_only_) return Error(Errc::denied, root_ + " is open for reading only");
    return {};
  }

  // Makes the folder, and its name durable, once in the life of this object.
  Status ensure_folder(const std::string& folder) {
    const std::lock_guard lock(folders_mutex_);
    if (folders_.contains(folder)) return {};
    const std::string path = path_of(folder);
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
      return errno_error(errno, "mkdir " + path);
    }
    TOKVAULT_TRY(sync_folder(root_));
    folders_.insert(folder);
    return {};
  }

  Status put_parts(std::string_view name, const BlobName& parts, ByteView bytes) {
    TOKVAULT_TRY(ensure_folder(parts.folder));
    auto there = File::open(path_of(name), O_RDONLY);
    if (there) {
      TOKVAULT_TRY(compare(*there, bytes, name));
      // Whoever wrote it may have died before it was durable.
      TOKVAULT_TRY(there->datasync());
      return sync_folder(path_of(parts.folder));
    }
    if (there.code() != Errc::not_found) return std::move(there).error();
    return publish(name, parts, bytes);
  }

  // The one place that renames.
  Status publish(std::string_view name, const BlobName& parts, ByteView bytes) {
    const std::shared_lock no_sweep(leftovers_mutex_);
    const std::string folder = path_of(parts.folder);
    std::string leftover;
    File file;
    do {  // A leftover of an earlier process may have the same number.
      leftover = folder + "/" + std::string(kLeftoverPrefix) + parts.file + "-" +
                 std::to_string(::getpid()) + "-" + std::to_string(++puts_);
      auto opened = File::open(leftover, O_WRONLY | O_CREAT | O_EXCL);
      if (opened) {
        file = std::move(*opened);
      } else if (opened.code() != Errc::exists) {
        return std::move(opened).error();
      }
    } while (!file.is_open());

    Status done = file.write(bytes);
    if (done) done = file.datasync();
    if (done) done = file.close();
    if (!done) {
      ::unlink(leftover.c_str());
      return done;
    }
    const std::string path = path_of(name);
    // rename() replaces what is there; the writer lock keeps other processes away, this mutex
    // other threads.
    const std::lock_guard lock(publish_mutex_);
    auto there = File::open(path, O_RDONLY);
    if (there) {
      ::unlink(leftover.c_str());
      return compare(*there, bytes, name);
    }
    if (::rename(leftover.c_str(), path.c_str()) != 0) {
      done = errno_error(errno, "rename to " + path);
      ::unlink(leftover.c_str());
      return done;
    }
    done = sync_folder(folder);
    if (!done) static_cast<void>(unlink_blob(name).has_value());
    return done;
  }

  Status unlink_blob(std::string_view name) {
    const std::string path = path_of(name);
    const int rc = ::unlink(path.c_str());
    const int os_code = errno;
    readers_.drop(name);
    const std::lock_guard lock(appenders_mutex_);
    const auto it = appenders_.find(name);
    if (it != appenders_.end()) appenders_.erase(it);
    if (rc != 0 && os_code != ENOENT && os_code != ENOTDIR) {
      return errno_error(os_code, "remove " + path);
    }
    return {};
  }

  Result<std::shared_ptr<Appender>> open_appender(std::string_view name, bool create) {
    TOKVAULT_ASSIGN(const BlobName parts, parse_name(name));
    TOKVAULT_TRY(check_writable());
    const std::lock_guard lock(appenders_mutex_);
    const auto it = appenders_.find(name);
    if (it != appenders_.end()) {
      it->second->used = ++appender_clock_;
      return it->second;
    }
    if (create) TOKVAULT_TRY(ensure_folder(parts.folder));
    TOKVAULT_ASSIGN(File file,
                    File::open(path_of(name), O_WRONLY | O_APPEND | (create ? O_CREAT : 0)));
    // The folder is there; this makes its name durable.
    TOKVAULT_TRY(ensure_folder(parts.folder));
    auto appender = std::make_shared<Appender>(std::move(file));
    appender->used = ++appender_clock_;
    if (appenders_.size() >= kAppendersMax) give_up_an_appender();
    appenders_.emplace(std::string(name), appender);
    return appender;
  }

  // The least recently used of those that have nothing to sync; none if all have.
  // REQUIRES: appenders_mutex_ held.
  void give_up_an_appender() {
    auto oldest = appenders_.end();
    for (auto it = appenders_.begin(); it != appenders_.end(); ++it) {
      if (!it->second->idle()) continue;
      if (oldest == appenders_.end() || it->second->used < oldest->second->used) oldest = it;
    }
    if (oldest != appenders_.end()) appenders_.erase(oldest);
  }

  Status sync_appender(std::string_view name, Appender& appender) {
    std::uint64_t appends = 0;
    bool name_synced = false;
    {
      const std::lock_guard lock(appenders_mutex_);
      if (appender.failed) {
        return Error(Errc::io, "sync " + std::string(name) +
                                   ": an earlier sync failed, what it covered may be lost");
      }
      appends = appender.appends;
      name_synced = appender.name_synced;
    }
    Status done = appender.file.datasync();
    if (done && !name_synced) {
      done = sync_folder(path_of(name.substr(0, name.find('/'))));
    }
    const std::lock_guard lock(appenders_mutex_);
    if (!done) {
      appender.failed = true;
      return std::move(done).error().with("sync " + std::string(name));
    }
    appender.appends_synced = std::max(appender.appends_synced, appends);
    appender.name_synced = true;
    return {};
  }

  // Lock order: leftovers, publish, appenders, folders.
  const std::string root_;
  const bool read_only_;
  std::shared_mutex leftovers_mutex_;  // shared: a put has a temporary file; exclusive: sweep()
  std::mutex publish_mutex_;           // from the last look at a name to its rename
  std::atomic<std::uint64_t> puts_{0};
  std::mutex appenders_mutex_;
  std::map<std::string, std::shared_ptr<Appender>, std::less<>> appenders_;
  std::uint64_t appender_clock_ = 0;
  std::mutex folders_mutex_;
  std::set<std::string> folders_;  // durable ones; guarded by folders_mutex_
  mutable ReaderCache readers_;
};

// Makes ROOT and its name durable. A parent that this process may not read can be synced by
// nobody here; that matters only if ROOT is new.
Status create_root(const std::string& root) {
  const bool is_new = ::mkdir(root.c_str(), 0755) == 0;
  if (!is_new && errno != EEXIST) return errno_error(errno, "mkdir " + root);
  Status done = sync_folder(std::filesystem::path(root).parent_path().string());
  if (!done && (is_new || done.code() != Errc::denied)) return done;
  return {};
}

}  // namespace

Result<std::unique_ptr<Backend>> make_directory_backend(const std::string& path,
                                                        const DirectoryOptions& options) {
  if (options.create && options.read_only) {
    return Error(Errc::invalid, "a directory cannot be created for reading only");
  }
  // Absolute and without a trailing slash: the caller may change its working directory. What ".."
  // means behind a link, the system says, as it does of every other file of the caller's.
  std::error_code failed;
  auto absolute = std::filesystem::absolute(path, failed);
  if (failed || path.empty()) return Error(Errc::invalid, "not a path: " + path);
  if (!absolute.has_filename()) absolute = absolute.parent_path();
  const std::string root = absolute.string();
  if (options.create) TOKVAULT_TRY(create_root(root));
  struct stat st{};
  if (::stat(root.c_str(), &st) != 0) return errno_error(errno, root);
  if (!S_ISDIR(st.st_mode)) return Error(Errc::invalid, root + " is not a directory");
  return std::unique_ptr<Backend>(std::make_unique<DirectoryBackend>(root, options.read_only));
}

}  // namespace tokvault
