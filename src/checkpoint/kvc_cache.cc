// A directory of KVC files, used in place.
//
// What makes it safe beside other processes and crashes:
//   [K1] a file's bytes are durable before its name appears, and the name before save returns;
//   [K2] a touch writes through the descriptor that the header was read from, and only the two
//        fields that it changes: a file that was replaced meanwhile never gets an older header;
//   [K3] a file that does not decode is renamed, so it is tried once; not one that replaced it;
//   [K4] everything in the directory counts against the budget: bad files and leftovers too.
#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "tokvault/kvc.h"

namespace tokvault {
namespace {

constexpr std::string_view kSuffix = ".kv";
constexpr std::string_view kBadSuffix = ".kv.bad";
constexpr std::size_t kKeyDigits = 40;

bool is_key(std::string_view key) {
  return key.size() == kKeyDigits &&
         key.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_temporary(std::string_view name) {
  return name.ends_with(".kv.tmp") || name.find(".kv.tmp.") != std::string_view::npos;
}

// The writer's process id: "KEY.PID-SEQ.kv.tmp", or "KEY.kv.tmp.PID" of the original engine.
long writer_of(std::string_view name) {
  const std::size_t dot = name.find('.');
  std::string_view rest = dot == std::string_view::npos ? "" : name.substr(dot + 1);
  if (rest.starts_with("kv.tmp.")) rest.remove_prefix(7);
  return std::strtol(std::string(rest).c_str(), nullptr, 10);
}

struct FolderClose {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

std::uint64_t now_unix() { return static_cast<std::uint64_t>(now_ms() / 1000); }

}  // namespace

struct KvcCache::Impl {
  struct Entry {
    std::uint64_t bytes = 0;
    std::uint64_t last_used = 0;
    std::uint32_t text_bytes = 0;
  };

  std::string directory;
  std::uint64_t budget = 0;
  mutable std::mutex mutex;
  std::unordered_map<std::string, Entry> entries;           // guarded by mutex
  std::map<std::uint32_t, std::uint32_t> text_sizes;        // size -> how many entries
  std::unordered_map<std::string, std::uint64_t> bad;       // file name -> bytes
  std::unordered_map<std::string, std::uint64_t> leftover;  // of living writers
  std::uint64_t unreadable = 0;                             // bytes of files that are not ours
  std::uint64_t swept = 0;
  std::uint64_t bad_total = 0;
  std::uint64_t sequence = 0;

  std::string path(std::string_view key) const {
    return directory + "/" + std::string(key) + std::string(kSuffix);
  }
  void forget(const std::string& key) {
    const auto it = entries.find(key);
    if (it == entries.end()) return;
    const auto size = text_sizes.find(it->second.text_bytes);
    if (size != text_sizes.end() && --size->second == 0) text_sizes.erase(size);
    entries.erase(it);
  }
  void learn(const std::string& key, const Entry& entry) {
    forget(key);
    entries[key] = entry;
    ++text_sizes[entry.text_bytes];
  }
  // Renames a file that was found bad, unless another process has saved another one meanwhile.
  void set_aside(const std::string& key, const File& found) {
    struct stat was{};
    struct stat now{};
    if (::fstat(found.fd(), &was) == 0 && ::stat(path(key).c_str(), &now) == 0 &&
        (was.st_ino != now.st_ino || was.st_dev != now.st_dev)) {
      return;
    }
    const auto it = entries.find(key);
    const std::uint64_t bytes = it == entries.end() ? 0 : it->second.bytes;
    const std::string name = key + std::string(kBadSuffix);
    if (std::rename(path(key).c_str(), (directory + "/" + name).c_str()) == 0) bad[name] = bytes;
    ++bad_total;
    forget(key);
  }
  Status scan();
  Status write_file(const std::string& key, ByteView head, ByteView text, ByteView payload,
                    ByteView trailer);
  // Reads a file, counts the hit in it, and updates the entry. Nothing if it is absent or bad.
  Result<std::optional<KvcFile>> read(const std::string& key, const ByteView* text);
};

Status KvcCache::Impl::scan() {
  const std::unique_ptr<DIR, FolderClose> dir(::opendir(directory.c_str()));
  if (!dir) return errno_error(errno, "open " + directory);
  while (const dirent* item = ::readdir(dir.get())) {
    const std::string name = item->d_name;
    const std::string full = directory + "/" + name;
    struct stat st{};
    if (::stat(full.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
    const auto bytes = static_cast<std::uint64_t>(st.st_size);
    if (is_temporary(name)) {
      const long pid = writer_of(name);
      const bool alive = pid > 0 && pid != ::getpid() &&
                         (::kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM);
      if (alive) {
        leftover[name] = bytes;
      } else if (::unlink(full.c_str()) == 0) {
        ++swept;
      }
      continue;
    }
    if (name.ends_with(kBadSuffix)) {
      bad[name] = bytes;
      continue;
    }
    if (!name.ends_with(kSuffix)) continue;
    const std::string key = name.substr(0, name.size() - kSuffix.size());
    if (!is_key(key)) continue;
    auto file = File::open(full, O_RDONLY);
    char head[kKvcHeaderBytes + 4];
    Entry entry{.bytes = bytes};
    if (!file) {  // it may be readable later; until then it only counts
      unreadable += bytes;
      continue;
    }
    if (file->pread(0, sizeof head, head)) {
      const auto header = kvc_decode_header(ByteView(head, kKvcHeaderBytes));
      if (header) {
        entry.last_used = header->last_used_unix;
        entry.text_bytes = load_le<std::uint32_t>(head + kKvcHeaderBytes);
        learn(key, entry);
        continue;
      }
    }
    entries[key] = entry;
    ++text_sizes[0];
    set_aside(key, *file);
  }
  return {};
}

Status KvcCache::Impl::write_file(const std::string& key, ByteView head, ByteView text,
                                  ByteView payload, ByteView trailer) {
  const std::string temporary = directory + "/" + key + "." + std::to_string(::getpid()) + "-" +
                                std::to_string(++sequence) + ".kv.tmp";
  auto write = [&]() -> Status {
    TOKVAULT_ASSIGN(File file, File::open(temporary, O_WRONLY | O_CREAT | O_EXCL));
    for (const ByteView part : {head, text, payload, trailer}) TOKVAULT_TRY(file.write(part));
    TOKVAULT_TRY(file.datasync());
    TOKVAULT_TRY(file.close());
    if (std::rename(temporary.c_str(), path(key).c_str()) != 0) {
      return errno_error(errno, "rename " + temporary);
    }
    return sync_folder(directory);
  };
  auto status = write();
  if (!status) ::unlink(temporary.c_str());
  return status;
}

Result<std::optional<KvcFile>> KvcCache::Impl::read(const std::string& key, const ByteView* text) {
  auto opened = File::open(path(key), O_RDWR);
  if (!opened && opened.code() == Errc::denied) opened = File::open(path(key), O_RDONLY);
  if (!opened) {
    if (opened.code() != Errc::not_found) return std::move(opened).error();
    forget(key);
    return std::optional<KvcFile>();
  }
  TOKVAULT_ASSIGN(const std::uint64_t size, opened->size());
  if (size > budget) {
    set_aside(key, *opened);
    return std::optional<KvcFile>();
  }
  Buffer bytes(size, '\0');
  TOKVAULT_TRY(opened->pread(0, size, bytes.data()));
  auto file = kvc_decode(bytes);
  if (!file) {
    set_aside(key, *opened);
    return std::optional<KvcFile>();
  }
  if (text != nullptr && file->text != *text) {
    // Another text under this name: the name is no proof. Where the name does not even belong to
    // the text it holds, the file is bad; else it is a collision and stays.
    if (kvc_key(file->text) != key) set_aside(key, *opened);
    return std::optional<KvcFile>();
  }
  if (file->header.hit_count != 0xffffffffu) ++file->header.hit_count;
  file->header.last_used_unix = now_unix();
  char field[8];
  store_le<std::uint32_t>(file->header.hit_count, field);
  // [K2] A touch that fails (a read-only directory) costs recency, not the hit.
  if (opened->pwrite(12, ByteView(field, 4))) {
    store_le<std::uint64_t>(file->header.last_used_unix, field);
    static_cast<void>(opened->pwrite(32, ByteView(field, 8)).has_value());
  }
  learn(key, {size, file->header.last_used_unix, static_cast<std::uint32_t>(file->text.size())});
  return std::optional<KvcFile>(std::move(*file));
}

KvcCache::KvcCache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KvcCache::~KvcCache() = default;

Result<std::unique_ptr<KvcCache>> KvcCache::open(const std::string& directory,
                                                 std::uint64_t budget_mb) {
  if (budget_mb > (std::uint64_t{1} << 43)) {
    return Error(Errc::invalid, "kvc: a budget of " + std::to_string(budget_mb) + " MiB");
  }
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return errno_error(errno, "create " + directory);
  }
  auto impl = std::make_unique<Impl>();
  impl->directory = directory;
  impl->budget = std::max(budget_mb << 20, kKvcBudgetBytesMin);
  TOKVAULT_TRY(impl->scan());
  return std::unique_ptr<KvcCache>(new KvcCache(std::move(impl)));
}

const std::string& KvcCache::directory() const { return impl_->directory; }
std::uint64_t KvcCache::budget_bytes() const { return impl_->budget; }

Result<std::string> KvcCache::path_for(std::string_view key) const {
  if (!is_key(key)) {
    return Error(Errc::invalid, "kvc: a key has 40 lower-case hexadecimal digits");
  }
  return impl_->path(key);
}

Status KvcCache::save(std::string_view key, const KvcHeader& header, ByteView text,
                      ByteView payload, ByteView trailer) {
  if (!is_key(key)) {
    return Error(Errc::invalid, "kvc: a key has 40 lower-case hexadecimal digits");
  }
  if (text.size() > 0xffffffffu) return Error(Errc::invalid, "kvc: the text has over 4 GiB");
  const std::uint64_t bytes = kKvcHeaderBytes + 4 + text.size() + payload.size() + trailer.size();
  if (bytes > impl_->budget) return Error(Errc::exhausted, "kvc: the file is above the budget");
  const std::lock_guard lock(impl_->mutex);
  const std::string name(key);
  KvcHeader out = header;
  out.payload_bytes = payload.size();
  Buffer kept;
  if ((out.ext_flags & kKvcToolMap) != 0 && trailer.empty()) {
    auto old = read_file(impl_->path(name), impl_->budget);
    auto file = old ? kvc_decode(*old) : Result<KvcFile>(Error(Errc::not_found, ""));
    if (file && (file->header.ext_flags & kKvcToolMap) != 0) {
      kept = std::move(file->trailer);
    } else {
      kept = kvc_encode_tools({});
    }
    trailer = kept;
  }
  Buffer head = kvc_encode_header(out);
  append_le<std::uint32_t>(head, static_cast<std::uint32_t>(text.size()));
  TOKVAULT_TRY(impl_->write_file(name, head, text, payload, trailer));
  impl_->learn(name, {head.size() + text.size() + payload.size() + trailer.size(),
                      out.last_used_unix, static_cast<std::uint32_t>(text.size())});
  return {};
}

Result<std::optional<KvcFile>> KvcCache::load(std::string_view key) {
  TOKVAULT_TRY(path_for(key));
  const std::lock_guard lock(impl_->mutex);
  return impl_->read(std::string(key), nullptr);
}

Result<std::optional<KvcFile>> KvcCache::load_text(ByteView text) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->read(kvc_key(text), &text);
}

Result<std::optional<KvcFile>> KvcCache::load_longest(ByteView prompt) {
  const std::lock_guard lock(impl_->mutex);
  // One pass of SHA-1 over the prompt, with a tap at every text size that the directory holds.
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> running(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> tap(EVP_MD_CTX_new(),
                                                                    EVP_MD_CTX_free);
  if (!running || !tap || EVP_DigestInit_ex(running.get(), EVP_sha1(), nullptr) != 1) {
    return Error(Errc::exhausted, "kvc: no memory for a hash");
  }
  std::vector<std::pair<std::size_t, std::string>> candidates;
  std::size_t done = 0;
  for (const auto& [size, count] : impl_->text_sizes) {
    if (size > prompt.size()) break;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_bytes = 0;
    if (EVP_DigestUpdate(running.get(), prompt.data() + done, size - done) != 1 ||
        EVP_MD_CTX_copy_ex(tap.get(), running.get()) != 1 ||
        EVP_DigestFinal_ex(tap.get(), digest, &digest_bytes) != 1) {
      return Error(Errc::exhausted, "kvc: no memory for a hash");
    }
    done = size;
    std::string key = to_hex(ByteView(reinterpret_cast<const char*>(digest), digest_bytes));
    if (impl_->entries.contains(key)) candidates.emplace_back(size, std::move(key));
  }
  for (auto it = candidates.rbegin(); it != candidates.rend(); ++it) {
    const ByteView text = prompt.substr(0, it->first);
    auto file = impl_->read(it->second, &text);
    if (file && file->has_value()) return file;
    // One that cannot be read must not hide the shorter ones.
  }
  return std::optional<KvcFile>();
}

Status KvcCache::touch(std::string_view key) {
  TOKVAULT_TRY(path_for(key));
  const std::lock_guard lock(impl_->mutex);
  TOKVAULT_ASSIGN(File file, File::open(impl_->path(key), O_RDWR));
  char head[kKvcHeaderBytes];
  TOKVAULT_TRY(file.pread(0, sizeof head, head));
  TOKVAULT_ASSIGN(const KvcHeader header, kvc_decode_header(ByteView(head, sizeof head)));
  const std::uint64_t now = now_unix();
  char field[8];
  store_le<std::uint32_t>(header.hit_count + (header.hit_count != 0xffffffffu ? 1 : 0), field);
  TOKVAULT_TRY(file.pwrite(12, ByteView(field, 4)));
  store_le<std::uint64_t>(now, field);
  TOKVAULT_TRY(file.pwrite(32, ByteView(field, 8)));
  const auto it = impl_->entries.find(std::string(key));
  if (it != impl_->entries.end()) it->second.last_used = now;
  return {};
}

Result<std::size_t> KvcCache::evict_to_budget() {
  const std::lock_guard lock(impl_->mutex);
  std::uint64_t total = impl_->unreadable;
  for (const auto& [name, bytes] : impl_->bad) total += bytes;
  for (const auto& [name, bytes] : impl_->leftover) total += bytes;
  std::vector<std::pair<std::uint64_t, std::string>> order;
  for (const auto& [key, entry] : impl_->entries) {
    total += entry.bytes;
    order.emplace_back(entry.last_used, key);
  }
  std::size_t removed = 0;
  for (auto it = impl_->bad.begin(); it != impl_->bad.end() && total > impl_->budget;) {
    if (::unlink((impl_->directory + "/" + it->first).c_str()) != 0 && errno != ENOENT) {
      ++it;
      continue;
    }
    total -= it->second;
    ++removed;
    it = impl_->bad.erase(it);
  }
  std::sort(order.begin(), order.end());
  for (const auto& [last_used, key] : order) {
    if (total <= impl_->budget) break;
    if (::unlink(impl_->path(key).c_str()) != 0 && errno != ENOENT) continue;
    total -= impl_->entries[key].bytes;
    impl_->forget(key);
    ++removed;
  }
  return removed;
}

std::vector<std::string> KvcCache::keys_by_recency() const {
  const std::lock_guard lock(impl_->mutex);
  std::vector<std::pair<std::uint64_t, std::string>> order;
  for (const auto& [key, entry] : impl_->entries) order.emplace_back(entry.last_used, key);
  std::sort(order.rbegin(), order.rend());
  std::vector<std::string> keys;
  for (auto& [last_used, key] : order) keys.push_back(std::move(key));
  return keys;
}

KvcStats KvcCache::stats() const {
  const std::lock_guard lock(impl_->mutex);
  KvcStats s;
  s.files = impl_->entries.size();
  s.leftovers_swept = impl_->swept;
  s.bad_files = impl_->bad_total;
  s.bytes = impl_->unreadable;
  for (const auto& [key, entry] : impl_->entries) s.bytes += entry.bytes;
  for (const auto& [name, bytes] : impl_->bad) s.bytes += bytes;
  for (const auto& [name, bytes] : impl_->leftover) s.bytes += bytes;
  return s;
}

}  // namespace tokvault
