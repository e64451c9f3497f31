// A user's own backend: blobs in a map, on a disk that forgets what was not synced when its power
// is cut. It runs the suites that are installed with tokvault, and a vault stands on it.
#include <gtest/gtest.h>
#include <tokvault/conformance/backend_conformance.h>
#include <tokvault/conformance/catalog_conformance.h>
#include <tokvault/tokvault.h>

#include <map>
#include <mutex>

namespace {

using namespace tokvault;

bool is_part(std::string_view part) {
  return !part.empty() && part.size() <= 200 && part[0] != '.' &&
         part.find_first_not_of(
             "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
             std::string_view::npos;
}

bool is_name(std::string_view name) {
  const std::size_t slash = name.find('/');
  return slash != std::string_view::npos && is_part(name.substr(0, slash)) &&
         is_part(name.substr(slash + 1));
}

Error refused(std::string_view name) {
  return Error(Errc::invalid, "no name of a blob: " + std::string(name));
}
Error absent(std::string_view name) {
  return Error(Errc::not_found, "no blob " + std::string(name), ENOENT);
}

struct Disk {
  struct Blob {
    Buffer bytes;
    std::size_t synced = 0;  // how much of it power loss leaves
  };
  std::mutex mutex;
  std::map<std::string, Blob, std::less<>> blobs;
  bool locked = false;
};

class Lock final : public WriterLock {
 public:
  explicit Lock(std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {}
  ~Lock() override {
    const std::lock_guard lock(disk_->mutex);
    disk_->locked = false;
  }

 private:
  std::shared_ptr<Disk> disk_;
};

class MapBackend final : public Backend {
 public:
  explicit MapBackend(std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {}

  Status put(std::string_view name, ByteView bytes) override {
    if (!is_name(name)) return refused(name);
    const std::lock_guard lock(disk_->mutex);
    const auto it = disk_->blobs.find(name);
    if (it == disk_->blobs.end()) {
      disk_->blobs[std::string(name)] = {Buffer(bytes), bytes.size()};
    } else if (it->second.bytes != bytes) {
      return Error(Errc::exists, std::string(name) + " has other bytes");
    } else {
      it->second.synced = bytes.size();
    }
    return {};
  }
  Status get(std::string_view name, std::uint64_t offset, std::uint64_t size,
             Buffer& out) const override {
    if (!is_name(name)) return refused(name);
    const std::lock_guard lock(disk_->mutex);
    const auto it = disk_->blobs.find(name);
    if (it == disk_->blobs.end()) return absent(name);
    const Buffer& bytes = it->second.bytes;
    if (offset > bytes.size() || size > bytes.size() - offset) {
      return Error(Errc::corrupt, std::string(name) + " is shorter");
    }
    out = bytes.substr(offset, size);
    return {};
  }
  Status append(std::string_view name, ByteView bytes) override {
    if (!is_name(name)) return refused(name);
    const std::lock_guard lock(disk_->mutex);
    disk_->blobs[std::string(name)].bytes += bytes;
    return {};
  }
  Status truncate(std::string_view name, std::uint64_t size) override {
    if (!is_name(name)) return refused(name);
    const std::lock_guard lock(disk_->mutex);
    const auto it = disk_->blobs.find(name);
    if (it == disk_->blobs.end()) return absent(name);
    if (size > it->second.bytes.size()) return Error(Errc::invalid, "it is shorter");
    it->second.bytes.resize(size);
    it->second.synced = size;
    return {};
  }
  Status sync(std::string_view name) override {
    if (!is_name(name)) return refused(name);
    const std::lock_guard lock(disk_->mutex);
    const auto it = disk_->blobs.find(name);
    if (it == disk_->blobs.end()) return absent(name);
    it->second.synced = it->second.bytes.size();
    return {};
  }
  Result<std::uint64_t> size(std::string_view name) const override {
    if (!is_name(name)) return refused(name);
    const std::lock_guard lock(disk_->mutex);
    const auto it = disk_->blobs.find(name);
    if (it == disk_->blobs.end()) return absent(name);
    return std::uint64_t{it->second.bytes.size()};
  }
  Result<std::vector<BlobInfo>> list(std::string_view folder) const override {
    if (!is_part(folder)) return refused(folder);
    const std::lock_guard lock(disk_->mutex);
    const std::string prefix = std::string(folder) + "/";
    std::vector<BlobInfo> out;
    for (const auto& [name, blob] : disk_->blobs) {
      if (name.starts_with(prefix)) out.push_back({name, blob.bytes.size()});
    }
    return out;
  }
  Status remove(std::string_view name) override {
    if (!is_name(name)) return refused(name);
    const std::lock_guard lock(disk_->mutex);
    disk_->blobs.erase(std::string(name));
    return {};
  }
  Result<std::uint64_t> sweep() override { return std::uint64_t{0}; }
  Result<std::unique_ptr<WriterLock>> lock_writer() override {
    const std::lock_guard lock(disk_->mutex);
    if (disk_->locked) return Error(Errc::busy, "another handle of this program writes");
    disk_->locked = true;
    return std::unique_ptr<WriterLock>(std::make_unique<Lock>(disk_));
  }
  Result<std::uint64_t> total_bytes() const override {
    const std::lock_guard lock(disk_->mutex);
    std::uint64_t total = 0;
    for (const auto& [name, blob] : disk_->blobs) total += blob.bytes.size();
    return total;
  }
  Capabilities capabilities() const override { return {.append = true}; }

 private:
  std::shared_ptr<Disk> disk_;
};

class MapHarness final : public BackendHarness {
 public:
  std::unique_ptr<Backend> open() override { return std::make_unique<MapBackend>(disk_); }
  std::unique_ptr<Backend> open_again() override { return open(); }
  // Of what was not synced, more is left from round to round, and whole blobs vanish.
  std::unique_ptr<Backend> power_cut(std::uint64_t round) override {
    auto left = std::make_shared<Disk>();
    const std::lock_guard lock(disk_->mutex);
    for (const auto& [name, blob] : disk_->blobs) {
      const std::size_t pending = blob.bytes.size() - blob.synced;
      if (blob.synced == 0 && pending > 0 && round == 0) continue;
      const std::size_t size = blob.synced + pending * (round % 4) / 3;
      left->blobs[name] = {blob.bytes.substr(0, size), size};
    }
    return std::make_unique<MapBackend>(left);
  }

 private:
  std::shared_ptr<Disk> disk_ = std::make_shared<Disk>();
};

std::unique_ptr<BackendHarness> map_backend() { return std::make_unique<MapHarness>(); }

class MemoryCatalogHarness final : public CatalogHarness {
 public:
  std::unique_ptr<Catalog> open() override { return make_memory_catalog(); }
};

std::unique_ptr<CatalogHarness> memory_catalog() {
  return std::make_unique<MemoryCatalogHarness>();
}

TEST(OwnBackend, AVaultStandsOnIt) {
  const auto disk = std::make_shared<Disk>();
  auto catalog = make_memory_catalog();
  auto tokenizer = open_tokenizer("bytes");
  ASSERT_TRUE(tokenizer);
  MapBackend first(disk);
  ASSERT_TRUE(Vault::create(first, *catalog, {.tokenizer = *tokenizer}));
  auto vault = Vault::open(std::make_unique<MapBackend>(disk), std::move(catalog), {});
  ASSERT_TRUE(vault);
  Conversation c;
  c.id = "first";
  c.messages.push_back(Message::of_text("user", "Is it there?"));
  ASSERT_TRUE((*vault)->put(c, {}));
  ASSERT_TRUE((*vault)->compact(Level::fast));
  const auto got = (*vault)->get("first");
  ASSERT_TRUE(got);
  EXPECT_EQ(got->messages, c.messages);
  const auto report = (*vault)->check({.read_data = true});
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->findings.empty());
}

}  // namespace

namespace tokvault {

INSTANTIATE_TEST_SUITE_P(Map, BackendConformance, testing::Values(&map_backend));
INSTANTIATE_TEST_SUITE_P(Map, BackendHandles, testing::Values(&map_backend));
INSTANTIATE_TEST_SUITE_P(Map, BackendDurability, testing::Values(&map_backend));
INSTANTIATE_TEST_SUITE_P(Memory, CatalogConformance, testing::Values(&memory_catalog));

}  // namespace tokvault
