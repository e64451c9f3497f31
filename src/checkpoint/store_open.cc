// Opening a checkpoint store: its files, what of them is read, what readers tell the writer.
// Format: docs/format/checkpoint.md.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/bytes.h"
#include "base/checksum.h"
#include "checkpoint/store.h"

namespace tokvault {

using namespace checkpoint;

namespace {

constexpr std::uint32_t kStoreMagic = 0xf17a9cd1;
// The store file, the lock, the directory itself, and the uses of readers.
constexpr std::uint64_t kFixedBytes = (16 << 10) + kUsesBytesMax + kPage;
constexpr std::size_t kOpenFilesMax = 256;
constexpr std::uint64_t kBudgetBytesMin = 1 << 20;
constexpr std::uint64_t kBudgetBytesDefault = std::uint64_t{64} << 30;
constexpr std::uint64_t kSegmentBytesMax = std::uint64_t{128} << 30;
constexpr unsigned kThreadsMax = 256;

}  // namespace

namespace checkpoint {

std::string numbered(const std::string& directory, const char* kind, std::uint64_t n) {
  char name[48];
  std::snprintf(name, sizeof name, "/%s-%08llx", kind, static_cast<unsigned long long>(n));
  return directory + name;
}

std::uint64_t number_of(std::string_view name, std::string_view kind) {
  if (!name.starts_with(kind) || name.size() < kind.size() + 9 || name[kind.size()] != '-')
    return 0;
  std::uint64_t n = 0;
  for (const char c : name.substr(kind.size() + 1)) {
    const auto digit = std::string_view("0123456789abcdef").find(c);
    if (digit == std::string_view::npos || n >> 60 != 0) return 0;
    n = n << 4 | digit;
  }
  return n;
}

Result<std::vector<std::string>> names_in(const std::string& directory) {
  DIR* dir = ::opendir(directory.c_str());
  if (dir == nullptr) return errno_error(errno, "open " + directory);
  std::vector<std::string> names;
  while (const dirent* item = ::readdir(dir)) names.emplace_back(item->d_name);
  ::closedir(dir);
  return names;
}

}  // namespace checkpoint

CheckpointStore::Impl::~Impl() {
  stop_threads();
  if (event_fd >= 0) ::close(event_fd);
}

std::string CheckpointStore::Impl::segment_path(std::uint32_t segment) const {
  return numbered(directory, "log", segment);
}

Result<std::shared_ptr<DiskFile>> CheckpointStore::Impl::segment_file(std::uint32_t segment,
                                                                      bool direct) {
  auto& table = files[direct ? 1 : 0];
  const auto it = table.find(segment);
  if (it != table.end()) return it->second;
  const int mode = options.read_only ? O_RDONLY : O_RDWR;
  auto file = disk_open(segment_path(segment), mode | (direct ? O_DIRECT : 0));
  if (!file && direct && file.error().os_code() == EINVAL) return segment_file(segment, false);
  if (!file) return file;
  if (table.size() >= kOpenFilesMax) table.erase(table.begin());
  table[segment] = *file;
  return file;
}

std::uint64_t CheckpointStore::Impl::disk_bytes() const {
  return allocated + round_up(index_file_bytes, kPage) + round_up(journal_bytes, kPage) +
         kFixedBytes;
}

void CheckpointStore::Impl::reset() {
  index = BlockIndex();
  namespaces.clear();
  namespace_numbers.clear();
  extras.clear();
  sidecars.clear();
  text_sizes.clear();
  text_children.clear();
  state_texts.clear();
  gone.clear();
  gone_order.clear();
  segments.clear();
  files[0].clear();
  files[1].clear();
  blocks = states = namespace_bytes = 0;
  next_expiry_ms = ~std::uint64_t{0};
  journal_bytes = index_file_bytes = 0;
  generation = 0;
  journal.reset();
}

std::int64_t CheckpointStore::Impl::directory_changed() const {
  struct stat st{};
  if (::stat(directory.c_str(), &st) != 0) return 0;
  return std::int64_t{st.st_mtim.tv_sec} * 1000000000 + st.st_mtim.tv_nsec;
}

// The newest index that is whole, and every journal from there on. What they do not know, because
// they are damaged or lost, is looked for in the log.
Status CheckpointStore::Impl::load() {
  std::uint64_t newest = 0;  // generation that has an index, or events
  std::uint64_t last = 0;    // that has any file
  bool whole = false;
  for (int attempt = 0; attempt < 3; ++attempt) {
    directory_time = directory_changed();
    TOKVAULT_ASSIGN(const auto names, names_in(directory));
    std::vector<std::uint64_t> generations;
    newest = last = 0;
    for (const std::string& name : names) {
      struct stat st{};
      const std::uint64_t n = number_of(name, "index");
      const std::uint64_t j = number_of(name, "journal");
      if (n > 0) generations.push_back(n);
      last = std::max({last, n, j});
      // An empty journal is made before its index has a name.
      const bool begun =
          j > 0 && ::stat((directory + "/" + name).c_str(), &st) == 0 && st.st_size > 0;
      newest = std::max({newest, n, begun ? j : 0});
    }
    std::sort(generations.rbegin(), generations.rend());
    reset();
    for (const std::uint64_t n : generations) {
      auto status = load_index(n);
      if (status) break;
      if (status.code() == Errc::unsupported) return status;
      reset();
    }
    for (;;) {
      auto opened = disk_open(numbered(directory, "journal", generation),
                              options.read_only ? O_RDONLY : O_RDWR);
      journal = opened ? *opened : nullptr;
      journal_bytes = 0;
      bool rotated = false;
      TOKVAULT_TRY(follow_journal(rotated));
      if (!rotated) break;
      // The next index is this one and its journal; where it is damaged, its journal may not be.
      ++generation;
    }
    whole = journal && !journal_torn && generation == newest;
    // A reader may have come between two steps of the writer.
    if (whole || !options.read_only) break;
  }
  const bool lost = generation != newest || (generation == 0 && !journal);
  rebuilt = false;
  if (!whole || !options.read_only) {
    if (lost) {
      // What there is belongs to an older generation, or is nothing: all comes from the log.
      reset();
      generation = last;
      rebuilt = options.read_only;
    }
    TOKVAULT_ASSIGN(const std::uint64_t found, roll_forward(lost));
    dirty = dirty || found > 0;
    recovered = found > 0 || (lost && newest > 0);
  }
  if (options.read_only) return {};
  PolicyOptions p;
  p.block_tokens = block_tokens;
  p.attention_tokens = options.attention_tokens;
  policy = make_policy(options.eviction, index, p);
  policy->load();
  return {};
}

Status CheckpointStore::Impl::refresh() {
  if (!options.read_only) return {};
  if (rebuilt) return directory_changed() == directory_time ? Status() : load();
  const std::uint64_t before = journal_bytes;
  for (;;) {
    bool rotated = false;
    auto status = follow_journal(rotated);
    if (!journal || !status) return load();
    if (!rotated) break;
    // What was read so far is the next index: only its journal is new.
    auto next = disk_open(numbered(directory, "journal", generation + 1), O_RDONLY);
    if (!next) return load();
    journal = *next;
    journal_bytes = torn_size = torn_size_known = 0;
    ++generation;
  }
  if (journal_bytes != before) {
    files[0].clear();
    files[1].clear();
    return {};
  }
  if (!journal_is_over()) return {};
  const std::uint64_t torn = torn_size;
  auto status = load();
  torn_size_known = torn;
  return status;
}

// Whether the journal that has nothing new will not go on from here: its writer could not say where
// to read on, or took back what it had half written. REQUIRES: journal
bool CheckpointStore::Impl::journal_is_over() {
  struct stat st{};
  if (::fstat(journal->file.fd(), &st) != 0) return false;
  const auto size = static_cast<std::uint64_t>(st.st_size);
  if (st.st_nlink == 0 || size < journal_bytes) return true;
  if (!journal_torn) return false;
  // What is just being written is whole the next time. What a writer left when it was killed stays
  // until the next one opens: to look at that once is enough.
  const bool stays = size == torn_size;
  torn_size = size;
  return stays && size != torn_size_known;
}

Status CheckpointStore::Impl::sweep() {
  TOKVAULT_ASSIGN(const auto names, names_in(directory));
  allocated = 0;
  for (const std::string& name : names) {
    const std::string path = directory + "/" + name;
    const std::uint64_t log_number = number_of(name, "log");
    if (log_number > 0) {
      next_segment = std::max(next_segment, static_cast<std::uint32_t>(log_number) + 1);
      const auto it = segments.find(static_cast<std::uint32_t>(log_number));
      if (it == segments.end() || it->second.live == 0) {
        TOKVAULT_TRY(disk_unlink(path));
        if (it != segments.end()) segments.erase(it);
      }
      continue;
    }
    const bool stale = (name.starts_with("index-") && number_of(name, "index") != generation) ||
                       (name.starts_with("journal-") && name != "journal-00000000" &&
                        number_of(name, "journal") != generation);
    const bool zero = name == "journal-00000000" && generation != 0;
    const bool unfinished =
        name == "store.tmp" || (name.starts_with("index-") && name.ends_with(".tmp"));
    if (stale || zero || unfinished) TOKVAULT_TRY(disk_unlink(path));
  }
  for (auto it = segments.begin(); it != segments.end();) {
    // The last one, if it is there and has room.
    active = 0;
    auto file = segment_file(it->first, false);
    if (!file) {  // the file is lost: its records are misses, found when they are read
      ++it;
      continue;
    }
    TOKVAULT_ASSIGN(const std::uint64_t size, (*file)->file.size());
    if (size > it->second.size) TOKVAULT_TRY(disk_truncate(**file, it->second.size));
    TOKVAULT_ASSIGN(it->second.allocated, disk_allocated(**file));
    allocated += it->second.allocated;
    if (it->second.size < segment_bytes) active = it->first;
    ++it;
  }
  return {};
}

Status CheckpointStore::Impl::open_files() {
  if (options.budget_bytes != 0 && options.budget_bytes < kBudgetBytesMin) {
    return Error(Errc::invalid, "checkpoint: the budget is below 1 MiB");
  }
  if (options.block_tokens != 0 && (options.block_tokens < 16 || options.block_tokens > 4096)) {
    return Error(Errc::invalid, "checkpoint: block_tokens is not within 16 to 4096");
  }
  if (!(options.attention_tokens > 0)) {
    return Error(Errc::invalid, "checkpoint: attention_tokens is not above 0");
  }
  if (options.segment_bytes > kSegmentBytesMax) {
    return Error(Errc::invalid, "checkpoint: segment_bytes is above 128 GiB");
  }
  if (options.threads == 0 || options.threads > kThreadsMax) {
    return Error(Errc::invalid, "checkpoint: threads is not within 1 to 256");
  }
  reader = std::make_unique<BlockReader>(options.io != CheckpointIo::pread);
  if (options.io == CheckpointIo::uring && !reader->has_uring()) {
    return Error(Errc::unsupported, "checkpoint: the kernel offers no io_uring");
  }
  if (!options.read_only) {
    TOKVAULT_TRY(refuse_other_folder());
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
      return errno_error(errno, "create " + directory);
    }
    TOKVAULT_ASSIGN(lock_file, File::open(directory + "/lock", O_RDWR | O_CREAT, 0600));
    if (::flock(lock_file.fd(), LOCK_EX | LOCK_NB) != 0) {
      char holder[32] = {};
      static_cast<void>(::pread(lock_file.fd(), holder, sizeof holder - 1, 0) < 0);
      return Error(Errc::busy, "checkpoint store " + directory + " is being written by process " +
                                   std::string(holder));
    }
    const std::string pid = std::to_string(::getpid());
    TOKVAULT_TRY(lock_file.truncate(0));
    TOKVAULT_TRY(lock_file.pwrite(0, pid));
  }
  TOKVAULT_TRY(read_store_file());
  segment_bytes = options.segment_bytes != 0
                      ? options.segment_bytes
                      : std::clamp<std::uint64_t>(options.budget_bytes / 8, 1 << 20, 256 << 20);
  TOKVAULT_TRY(load());
  open_uses();
  if (options.read_only) return {};
  TOKVAULT_TRY(sweep());
  if (recovered) {
    std::unique_lock lock(mutex);
    auto written = rotate(lock);
    lock.unlock();
    // What only the log says is found again by the next start; without any index nothing would be.
    if (!written && !journal) return written;
    TOKVAULT_TRY(sweep());
  }
  if (!journal) {
    TOKVAULT_ASSIGN(journal,
                    disk_open(numbered(directory, "journal", generation), O_RDWR | O_CREAT));
  }
  TOKVAULT_ASSIGN(const std::uint64_t size, journal->file.size());
  if (size > journal_bytes) TOKVAULT_TRY(disk_truncate(*journal, journal_bytes));
  take_uses();
  return {};
}

// --- what readers use ---
//
// A reader process appends the key of the deepest block that it read to one small file, and the
// writer takes note of it and empties the file when it opens, before it evicts, and when it
// flushes. Appends of 16 bytes are atomic, and a key that is torn, lost between reading and
// emptying, or made up is no more than a hint that is missing: nothing has to be repaired after a
// crash of either side. A reader that may not write, or finds the file full, is not counted.

void CheckpointStore::Impl::open_uses() {
  const std::string path = directory + "/uses";
  const int flags = options.read_only ? O_WRONLY | O_APPEND : O_RDWR | O_CREAT;
  auto opened = disk_open(path, flags);
  if (opened) uses = std::move(*opened);
}

void CheckpointStore::Impl::tell_use(Hash128 key) {
  if (!uses) return;
  const auto size = uses->file.size();
  if (!size || *size + 16 > kUsesBytesMax) return;
  Buffer bytes;
  append_le(bytes, key.lo);
  append_le(bytes, key.hi);
  const ByteView parts[] = {bytes};
  static_cast<void>(disk_write(*uses, 0, parts).has_value());  // opened to append
}

void CheckpointStore::Impl::take_uses() {
  if (!uses) return;
  const auto size = uses->file.size();
  if (!size || *size < 16) return;
  Buffer bytes(std::min<std::uint64_t>(*size, 2 * kUsesBytesMax) / 16 * 16, '\0');
  if (!uses->file.pread(0, bytes.size(), bytes.data()) || !disk_truncate(*uses, 0)) return;
  for (std::size_t at = 0; at < bytes.size(); at += 16) {
    const Hash128 key{load_le<std::uint64_t>(bytes.data() + at),
                      load_le<std::uint64_t>(bytes.data() + at + 8)};
    std::vector<RecordId> chain;
    for (RecordId id = index.find(key); id != kNoRecord; id = index[id].parent) chain.push_back(id);
    std::reverse(chain.begin(), chain.end());
    if (!chain.empty()) use(chain);
  }
}

// A vault, a home directory or anything else that was named by mistake is left as it is. What a
// lost store file leaves behind is a store; so is an empty disk.
Status CheckpointStore::Impl::refuse_other_folder() const {
  if (::access((directory + "/store").c_str(), F_OK) == 0) return {};
  auto names = names_in(directory);
  if (!names) return check_is_outside(directory);  // to be made, or what opening says of it
  for (const std::string& name : *names) {
    if (number_of(name, "log") > 0 || number_of(name, "index") > 0) return {};
  }
  std::sort(names->begin(), names->end());
  for (const std::string& name : *names) {
    const bool own = name.starts_with(".") || name == "lock" || name == "uses" ||
                     name == "store.tmp" || name == "lost+found" || name.starts_with("index-") ||
                     name.starts_with("journal-");
    if (own) continue;
    return Error(Errc::invalid,
                 directory + " is no checkpoint store, and not empty: it has " + name);
  }
  return check_is_outside(directory);
}

// The store file: which format, the block size that all hashes rest on, and the budget. Where it is
// damaged or lost, index and log say the block size too.
Status CheckpointStore::Impl::read_store_file() {
  const std::string path = directory + "/store";
  auto store = read_file(path, 4096);
  if (!store && store.code() != Errc::not_found) return std::move(store).error();
  const Buffer bytes = store ? std::move(*store) : Buffer();
  std::uint64_t known_budget = 0;
  if (bytes.size() >= 24 &&
      load_le<std::uint64_t>(bytes.data() + 16) == checksum64(ByteView(bytes).substr(0, 16)) &&
      load_le<std::uint32_t>(bytes.data()) == kStoreMagic) {
    const auto version = load_le<std::uint32_t>(bytes.data() + 4);
    if (version != kFormatVersion) {
      return Error(Errc::unsupported, path + " is of format " + std::to_string(version));
    }
    block_tokens = load_le<std::uint32_t>(bytes.data() + 8);
    if (block_tokens < 16 || block_tokens > 4096) {
      return Error(Errc::corrupt, path + " has a wrong block size");
    }
    if (bytes.size() >= 40 &&
        load_le<std::uint64_t>(bytes.data() + 32) == checksum64(ByteView(bytes).substr(24, 8))) {
      known_budget = load_le<std::uint64_t>(bytes.data() + 24);
    }
  } else {
    block_tokens = 0;
    const std::uint32_t found = block_tokens_of_files();
    if (found < 16 || found > 4096) {
      if (!bytes.empty()) return Error(Errc::corrupt, path + " is no checkpoint store");
      if (options.read_only) {
        const bool folder = ::access(directory.c_str(), F_OK) == 0;
        return Error(Errc::not_found,
                     "no store at " + directory +
                         (folder ? ": its file store is not there" : ": there is no such folder"));
      }
      block_tokens = options.block_tokens == 0 ? 256 : options.block_tokens;
    } else {
      block_tokens = found;
    }
  }
  if (options.budget_bytes == 0) {
    options.budget_bytes = known_budget >= kBudgetBytesMin ? known_budget : kBudgetBytesDefault;
  }
  if (options.block_tokens != 0 && options.block_tokens != block_tokens) {
    return Error(Errc::invalid,
                 "checkpoint: the store has blocks of " + std::to_string(block_tokens) + " tokens");
  }
  if (options.read_only || known_budget == options.budget_bytes) return {};
  auto written = write_store_file();
  // A budget that could not be noted is only not known the next time.
  return written || known_budget == 0 ? std::move(written) : Status();
}

Status CheckpointStore::Impl::write_store_file() {
  const std::string path = directory + "/store";
  Buffer bytes;
  append_le(bytes, kStoreMagic);
  append_le(bytes, kFormatVersion);
  append_le(bytes, block_tokens);
  append_le<std::uint32_t>(bytes, 0);
  append_le(bytes, checksum64(bytes));
  append_le(bytes, options.budget_bytes);
  append_le(bytes, checksum64(ByteView(bytes).substr(24)));
  TOKVAULT_ASSIGN(const auto file, disk_open(path + ".tmp", O_RDWR | O_CREAT | O_TRUNC));
  const ByteView parts[] = {bytes};
  TOKVAULT_TRY(disk_write(*file, 0, parts));
  TOKVAULT_TRY(disk_sync(*file));
  TOKVAULT_TRY(disk_rename(path + ".tmp", path));
  return sync_folder(directory);
}

}  // namespace tokvault
