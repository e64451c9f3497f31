// Many threads in one process: nobody waits for long for what another does, and nobody is told of
// damage that is none.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "tests/vault/harness.h"

namespace tokvault {
namespace {

// Something that happens once, and that others wait for: long enough for the slowest machine, and
// not for ever, so that a test which deadlocks fails.
class Moment {
 public:
  void come() {
    {
      std::lock_guard lock(mutex_);
      has_come_ = true;
    }
    came_.notify_all();
  }
  bool wait(std::chrono::milliseconds most = std::chrono::seconds(30)) {
    std::unique_lock lock(mutex_);
    return came_.wait_for(lock, most, [&] { return has_come_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  bool has_come_ = false;
};

// Calls a function before every read.
class Watched final : public ForwardingBackend {
 public:
  using Visit = std::function<void(std::string_view name, std::uint64_t offset)>;
  Watched(const FaultBackend& to, Visit visit) : ForwardingBackend(to), visit_(std::move(visit)) {}
  Status get(std::string_view name, std::uint64_t offset, std::uint64_t size,
             Buffer& out) const override {
    visit_(name, offset);
    return ForwardingBackend::get(name, offset, size, out);
  }

 private:
  const Visit visit_;
};

class CountedCatalog final : public SharedCatalog {
 public:
  CountedCatalog(const SharedCatalog& to, std::atomic<std::uint64_t>* loads)
      : SharedCatalog(to), loads_(loads) {}
  Result<CatalogState> load() const override {
    ++*loads_;
    return SharedCatalog::load();
  }

 private:
  std::atomic<std::uint64_t>* const loads_;
};

class Threads : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(place_.create()); }
  Result<std::unique_ptr<Vault>> open_watched(Watched::Visit visit, const VaultOptions& options) {
    return Vault::open(std::make_unique<Watched>(place_.disk, std::move(visit)),
                       std::make_unique<SharedCatalog>(place_.catalog), options);
  }

  MemoryPlace place_;
};

// Each commit of the catalog takes a log away and adds a pack. A thread that has read the catalog
// before must not take what went since for lost, and one thread reads it for all.
TEST_F(Threads, ReadersWhoFollowAWriterSeeNoDamage) {
  constexpr int kSeals = 150;
  constexpr int kReaders = 8;
  auto writer = place_.open({.merge_bytes_min = UINT64_MAX});
  ASSERT_OK(writer);
  ASSERT_OK((*writer)->put(conversation("first", {"text"}), {}));
  std::atomic<std::uint64_t> loads = 0;
  auto reader =
      Vault::open(std::make_unique<FaultBackend>(place_.disk),
                  std::make_unique<CountedCatalog>(place_.catalog, &loads), {.read_only = true});
  ASSERT_OK(reader);
  const std::uint64_t generation_before = *place_.catalog.generation();
  std::atomic<bool> is_over = false;
  std::atomic<std::uint64_t> newest = 0;  // put and acknowledged
  std::mutex mutex;
  std::map<std::string, int> errors;
  {
    std::vector<std::jthread> readers;
    for (int i = 0; i < kReaders; ++i) {
      readers.emplace_back([&, i] {
        while (!is_over) {
          const std::uint64_t n = newest;
          const std::string id = n == 0 ? "first" : "c" + std::to_string(n);
          auto one = (*reader)->get(id);
          Result<Page> page = Page();
          if (i % 4 == 0) page = (*reader)->list({}, 10, "");
          if (one && page) continue;
          std::lock_guard lock(mutex);
          ++errors[one ? why(page) : why(one)];
        }
      });
    }
    for (int i = 1; i <= kSeals; ++i) {
      ASSERT_OK((*writer)->put(conversation("c" + std::to_string(i), {"text"}), {}));
      newest = static_cast<std::uint64_t>(i);
      ASSERT_OK((*writer)->seal());
    }
    is_over = true;
  }
  for (const auto& [error, count] : errors) ADD_FAILURE() << count << " times: " << error;
  const std::uint64_t commits = *place_.catalog.generation() - generation_before;
  EXPECT_GT(loads, 1u);
  // Once more where a file went between the catalog and its opening.
  EXPECT_LE(loads, 3 * commits + 3);
}

TEST_F(Threads, AReadNeedNotWaitUntilANewCatalogIsTakenIn) {
  Moment is_reading, was_read;
  std::atomic<bool> is_armed = false;
  std::atomic<bool> was_held_up = false;
  auto vault = open_watched(
      [&](std::string_view name, std::uint64_t offset) {
        if (!is_armed || offset != 0 || !name.starts_with("packs/")) return;
        // What put() reads back comes before the catalog has it.
        const auto catalog = place_.catalog.load();
        if (std::none_of(catalog->files.begin(), catalog->files.end(),
                         [](const CatalogFile& f) { return f.kind == CatalogFile::Kind::pack; })) {
          return;
        }
        is_armed = false;
        is_reading.come();
        was_held_up = !was_read.wait();
      },
      {.merge_bytes_min = UINT64_MAX});
  ASSERT_OK(vault);
  ASSERT_OK((*vault)->put(conversation("a", {"text"}), {}));
  is_armed = true;
  std::jthread sealer([&] { EXPECT_OK((*vault)->seal()); });
  ASSERT_TRUE(is_reading.wait());
  EXPECT_OK((*vault)->get("a"));
  was_read.come();
  sealer.join();
  EXPECT_FALSE(was_held_up);
}

// What only a model decodes takes up to a second.
TEST_F(Threads, AColdModelHoldsUpNobodyAndIsDecodedOnce) {
  std::vector<Conversation> conversations;
  Rng rng(7);
  for (int i = 0; i < 60; ++i) {
    conversations.push_back(conversation("c" + std::to_string(i), {random_text(rng, 900)}));
  }
  {
    auto vault = place_.open({.merge_bytes_min = UINT64_MAX});
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put_batch(conversations, {}));
    ASSERT_OK((*vault)->compact(Level::dense));
    ASSERT_OK((*vault)->put(conversation("other", {"text"}), {}));
  }
  const auto packs = place_.disk.list("packs");
  ASSERT_OK(packs);
  ASSERT_EQ(packs->size(), 1u);
  Cache cache(1 << 20);
  const auto pack = PackFile::open(place_.disk, cache, number_of(packs->front().name));
  ASSERT_OK(pack);
  const PackStream& stream = (*pack)->footer().streams[kTokenStream];
  ASSERT_EQ(stream.codec, PackCodec::token_model);
  ASSERT_GT(stream.dictionary.size, 0u);

  Moment is_reading, was_put;
  std::atomic<int> reads = 0;
  std::atomic<bool> was_held_up = false;
  auto vault = open_watched(
      [&](std::string_view name, std::uint64_t offset) {
        if (name != packs->front().name || offset != stream.dictionary.offset) return;
        ++reads;
        is_reading.come();
        if (!was_put.wait()) was_held_up = true;
      },
      {.merge_bytes_min = UINT64_MAX});
  ASSERT_OK(vault);
  std::vector<std::jthread> readers;
  readers.emplace_back([&] { EXPECT_OK((*vault)->get("c1")); });
  readers.emplace_back([&] { EXPECT_OK((*vault)->get_batch(std::vector<std::string>{"c2"})); });
  readers.emplace_back([&] {
    int seen = 0;
    EXPECT_OK((*vault)->scan({}, [&](const Summary&, Result<Conversation> read) {
      EXPECT_OK(read);
      ++seen;
      return true;
    }));
    EXPECT_GE(seen, 61);
  });
  ASSERT_TRUE(is_reading.wait());
  EXPECT_OK((*vault)->get("other"));
  EXPECT_OK((*vault)->put(conversation("new", {"text"}), {}));
  was_put.come();
  readers.clear();
  EXPECT_FALSE(was_held_up);
  EXPECT_EQ(reads, 1);
}

}  // namespace
}  // namespace tokvault
