// The store under crashes, failing writes, flipped bits and several processes at once.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "checkpoint/disk.h"
#include "checkpoint/test_states.h"

namespace tokvault {
namespace {

using namespace checkpoint_test;
namespace fs = std::filesystem;

int fail_at = -1;
int calls = 0;
int fault_kind = 0;

TEST(CheckpointFaults, EveryWriteMayFail) {
  // A short script, with each of its file operations failed in turn.
  for (const int kind : {ENOSPC, EIO, checkpoint::kShortWrite}) {
    fault_kind = kind;
    for (fail_at = 0;; ++fail_at) {
      const Folder folder;
      calls = 0;
      checkpoint::set_fault_hook([](const char* call, const std::string&) {
        if (fault_kind == checkpoint::kShortWrite && std::string_view(call) != "write") return 0;
        return calls++ == fail_at ? fault_kind : 0;
      });
      std::vector<std::vector<Token>> stored;
      {
        auto store = CheckpointStore::open(folder / "s", small_options(4 << 20));
        if (store) {
          for (std::uint32_t i = 0; i < 4; ++i) {
            const auto tokens = prompt(i, 40);
            const Blocks b = blocks_of(tokens, 16, 20000);
            if ((*store)->put(kModel, tokens, {.blocks = b.blocks})) stored.push_back(tokens);
            if (i == 2) static_cast<void>((*store)->flush().has_value());
          }
          static_cast<void>((*store)->evict(3 << 20).has_value());
          const auto tokens = prompt(9, 40);
          const Blocks b = blocks_of(tokens, 16, 20000);
          static_cast<void>((*store)->put(kModel, tokens, {.blocks = b.blocks}).has_value());
          for (const auto& t : stored) read_all(**store, t, 20000);
        }
      }
      checkpoint::set_fault_hook(nullptr);
      const auto again = open_store(folder / "s", small_options(4 << 20));
      ASSERT_NE(again, nullptr);
      for (const auto& t : stored) read_all(*again, t, 20000);
      put_all(*again, prompt(50, 40), 20000);
      EXPECT_EQ(read_all(*again, prompt(50, 40), 20000), 40u);
      ASSERT_LE(disk_use(folder / "s"), 4u << 20);
      if (calls <= fail_at) break;
    }
    EXPECT_GT(fail_at, 10);
  }
}

// A writer under load is killed at 200 points. What was flushed before is there, every byte that is
// served is right, and the store opens and goes on.
TEST(CheckpointCrash, KilledAtTwoHundredPoints) {
  const Folder folder;
  const std::string path = folder / "s";
  CheckpointOptions o = small_options(6 << 20);
  o.eviction = Eviction::lru;
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    int progress[2];
    ASSERT_EQ(::pipe(progress), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(progress[0]);
      auto store = CheckpointStore::open(path, o);
      if (!store) ::_exit(3);
      for (std::uint32_t i = 0;; ++i) {
        const std::uint32_t family = static_cast<std::uint32_t>(round) * 100000 + i;
        const auto tokens = prompt(family, 40);
        const Blocks b = blocks_of(tokens, 16, i % 4 == 0 ? 300000 : 9000);
        if (!(*store)->put(kModel, tokens, {.blocks = b.blocks})) ::_exit(4);
        if (i % 3 != 2) continue;
        if (!(*store)->flush()) ::_exit(5);
        if (::write(progress[1], &family, sizeof family) != sizeof family) ::_exit(6);
      }
    }
    ::close(progress[1]);
    std::uint32_t flushed = 0;
    bool any = ::read(progress[0], &flushed, sizeof flushed) == sizeof flushed;
    ::usleep(random() % 20000);
    ::kill(child, SIGKILL);
    std::uint32_t next = 0;
    while (::read(progress[0], &next, sizeof next) == sizeof next) flushed = next;
    ::close(progress[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(any && WIFSIGNALED(status)) << WEXITSTATUS(status);
    const auto store = open_store(path, o);
    ASSERT_NE(store, nullptr);
    ASSERT_LE(disk_use(path), o.budget_bytes);
    EXPECT_EQ(store->check()->bad, 0u) << round;
    // The last put that was flushed is there, or was evicted for what came after it.
    const std::uint32_t i = flushed - static_cast<std::uint32_t>(round) * 100000;
    const auto tokens = prompt(flushed, 40);
    if (read_all(*store, tokens, i % 4 == 0 ? 300000 : 9000) < 40) {
      EXPECT_EQ(store->explain(kModel, tokens)->reason, "evicted") << round;
    }
  }
}

// A small store of every kind of record, with a journal behind its index, to be damaged.
class DamageTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = 130;
  const Folder folder_;
  const std::string base_ = folder_ / "base";
  const std::vector<Token> chain_ = prompt(1, 90);  // five blocks, and a tail of ten
  const std::vector<Token> other_ = prompt(7, 48);  // three blocks, in the journal only
  const Namespace second_{.model = "second"};

  void SetUp() override {
    const std::string good = folder_ / "good";
    {
      const auto store = open_store(good, small_options());
      put_all(*store, prompt(1, 70), kBytes, true);
      ASSERT_TRUE(store->put_sidecar(kModel, prompt(1, 64), "logits", "abc"));
      ASSERT_TRUE(store->put_state(kModel, {.tokens = prompt(2, 20), .text = "t"}, "payload"));
      put_all(*store, prompt(3, 48), kBytes);
      EXPECT_EQ(*store->remove(kModel, prompt(3, 48), 16), 2u);
      ASSERT_TRUE(store->close());
      const auto more = open_store(good, small_options());
      put_all(*more, chain_, kBytes);
      const Blocks b = blocks_of(other_, 16, kBytes);
      ASSERT_TRUE(more->put(second_, other_, {.blocks = b.blocks}));
      ASSERT_TRUE(more->flush());
      fs::copy(good, base_);
    }
  }

  // How many of the records are served: of 6 blocks, 1 sidecar, 1 state, 1 and 3 blocks. Fails if
  // one is served wrongly, or one that was removed is.
  static constexpr std::uint64_t kAll = 12;
  std::uint64_t served(CheckpointStore& store) {
    std::uint64_t count = (read_all(store, chain_, kBytes) + 15) / 16;
    Buffer payload;
    const auto state = store.find_state(kModel, prompt(2, 30), &payload);
    EXPECT_TRUE(!state || payload == "payload");
    const auto text = store.find_state_text(kModel, "the", &payload);
    EXPECT_EQ(state.has_value(), text.has_value());
    count += state ? 1 : 0;
    const auto sidecar = store.get_sidecar(kModel, prompt(1, 64), "logits");
    EXPECT_TRUE(!sidecar || *sidecar == "abc");
    count += sidecar ? 1 : 0;
    const std::uint64_t third = read_all(store, prompt(3, 48), kBytes);
    EXPECT_LE(third, 16u);
    count += third / 16;
    for (std::uint32_t i = 0; i < 3; ++i) {
      Buffer out(kBytes, 'x');
      CheckpointRead read{.block = i, .out = out};
      EXPECT_TRUE(store.get(second_, other_, {&read, 1}));
      if (read.status != Errc::ok) continue;
      EXPECT_TRUE(out == payload_of(other_, i * 16, 16, kBytes));
      ++count;
    }
    return count;
  }
  static void flip(const std::string& path, std::uint64_t at, unsigned bit) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const int c = file.get();
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(c ^ (1 << bit)));
  }
};

// Every bit of the headers of records and of all files but the log, in turn, and a bit of every
// other byte (every bit, with TOKVAULT_LONG). Outside the log nothing is lost; in it what was hit,
// and what stands behind that.
TEST_F(DamageTest, AFlippedBitCostsItsRecordOnly) {
  ASSERT_EQ(served(*open_store(base_, {.read_only = true})), kAll);
  for (const auto& item : fs::directory_iterator(base_)) {
    const std::string name = item.path().filename();
    const bool log = name.starts_with("log-");
    std::ifstream file(item.path(), std::ios::binary);
    const Buffer bytes{std::istreambuf_iterator<char>(file), {}};
    std::uint64_t all = 0;
    std::uint64_t flipped = 0;
    std::uint64_t header = 0;  // where the last one began
    for (std::uint64_t at = 0; at < bytes.size(); ++at) {
      if (log && at % 64 == 0 && bytes.substr(at, 4) == "\xd3\x9c\x7a\xf1") header = at;
      const bool every = !log || at < header + 128 || std::getenv("TOKVAULT_LONG") != nullptr;
      for (unsigned bit = every ? 0 : at % 8; bit <= (every ? 7 : at % 8); ++bit) {
        flip(item.path(), at, bit);
        const auto store = open_store(base_, {.read_only = true});
        ASSERT_NE(store, nullptr) << name << " " << at << " " << bit;
        const std::uint64_t count = served(*store);
        flip(item.path(), at, bit);
        ++flipped;
        all += count == kAll ? 1 : 0;
        ASSERT_GE(count, log ? kAll - 7 : kAll) << name << " " << at << " " << bit;
      }
    }
    if (log) {
      EXPECT_LT(all, flipped / 2);
    }
  }
}

// A writer mends what it finds: it serves the same, and so does the store when opened once more.
TEST_F(DamageTest, AWriterRebuildsTheIndexFromTheLog) {
  std::vector<std::pair<std::string, std::uint64_t>> damage;  // file, byte; ~0: the file is lost
  for (const auto& item : fs::directory_iterator(base_)) {
    const std::string name = item.path().filename();
    for (std::uint64_t at = 3; at < fs::file_size(item.path()); at += 61) {
      damage.emplace_back(name, at);
    }
    if (!name.starts_with("log-")) damage.emplace_back(name, ~0ull);
  }
  for (const auto& [name, at] : damage) {
    const std::string path = folder_ / "try";
    fs::remove_all(path);
    fs::copy(base_, path);
    if (at == ~0ull) {
      fs::remove(path + "/" + name);
    } else {
      flip(path + "/" + name, at, at % 8);
    }
    const std::uint64_t least = name.starts_with("log-") ? kAll - 7 : kAll;
    auto store = open_store(path, small_options());
    ASSERT_NE(store, nullptr) << name << " " << at;
    EXPECT_GE(served(*store), least) << name << " " << at;
    put_all(*store, chain_, kBytes, true);
    EXPECT_EQ(read_all(*store, chain_, kBytes), chain_.size()) << name << " " << at;
    store.reset();
    store = open_store(path, small_options());
    ASSERT_NE(store, nullptr) << name << " " << at;
    EXPECT_GE(served(*store), least) << name << " " << at;
    // A text may be damaged that nothing has read yet, and a journal may have lost a removal.
    const bool clean = !name.starts_with("log-") && !name.starts_with("journal-");
    EXPECT_LE(store->check()->bad, clean ? 0u : 1u) << name << " " << at;
    EXPECT_EQ(store->check()->bad, 0u) << name << " " << at;
  }
}

// Every file but the log is lost: the log alone says everything, but for what goes with time.
TEST_F(DamageTest, TheLogAloneSaysEverything) {
  for (const auto& item : fs::directory_iterator(base_)) {
    if (!item.path().filename().string().starts_with("log-")) fs::remove(item.path());
  }
  EXPECT_EQ(served(*open_store(base_, {.read_only = true})), kAll);
  const auto store = open_store(base_, {.budget_bytes = 64 << 20});
  EXPECT_EQ(store->block_tokens(), 16u);
  EXPECT_EQ(served(*store), kAll);
  EXPECT_LE(disk_use(base_), store->stats().disk_bytes);
}

TEST_F(DamageTest, ARebuiltStoreKeepsItsBudgetAndItsTimes) {
  const std::string path = folder_ / "s";
  CheckpointOptions o = small_options(6 << 20);
  {
    const auto store = open_store(path, o);
    const Blocks b = blocks_of(prompt(1, 16), 16, 5000);
    ASSERT_TRUE(store->put(kModel, prompt(1, 16), {.blocks = b.blocks, .time_to_live_ms = 50}));
    for (std::uint32_t i = 2; i < 60; ++i)
      put_all(*store, prompt(i, 40), i % 2 == 0 ? 9000 : 300000);
  }
  for (const auto& item : fs::directory_iterator(path)) {
    if (item.path().filename().string().starts_with("index-")) fs::resize_file(item.path(), 100);
  }
  const auto store = open_store(path, o);
  ASSERT_NE(store, nullptr);
  EXPECT_GT(store->stats().blocks, 10u);
  EXPECT_LE(disk_use(path), o.budget_bytes);
  EXPECT_EQ(store->check()->bad, 0u);
  ::usleep(60000);
  ASSERT_TRUE(store->expire());
  EXPECT_EQ(store->match(kModel, prompt(1, 16))->tokens, 0u);
  for (std::uint32_t i = 60; i < 90; ++i) put_all(*store, prompt(i, 40), 300000);
  EXPECT_LE(disk_use(path), o.budget_bytes);
}

// A reader beside a writer whose index file is damaged serves what the log proves, and follows the
// next index.
TEST_F(DamageTest, AReaderRebuildsForItself) {
  const auto writer = open_store(base_, small_options());
  for (const auto& item : fs::directory_iterator(base_)) {
    const std::string name = item.path().filename();
    if (name.starts_with("index-")) flip(item.path(), 200, 0);
  }
  const auto reader = open_store(base_, {.read_only = true});
  EXPECT_EQ(served(*reader), kAll);
  put_all(*writer, prompt(20, 40), kBytes);
  ASSERT_TRUE(writer->close());
  EXPECT_EQ(read_all(*reader, prompt(20, 40), kBytes), 40u);
}

TEST(CheckpointConcurrency, EightThreadsInTwoProcesses) {
  const Folder folder;
  const std::string path = folder / "s";
  const CheckpointOptions o = small_options(12 << 20);
  const auto store = open_store(path, o);
  put_all(*store, prompt(0, 40), 20000);
  const pid_t reader = ::fork();
  if (reader == 0) {
    // Another process, reading only; it must not use the parent's store.
    auto mine = CheckpointStore::open(path, {.read_only = true});
    if (!mine) ::_exit(2);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random(t);
        for (int i = 0; i < 150; ++i) read_all(**mine, prompt(random() % 40, 70), 20000);
      });
    }
    for (std::thread& t : threads) t.join();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  std::vector<std::thread> threads;
  std::atomic<bool> over{false};
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t + 100);
      for (int i = 0; i < 120; ++i) {
        const auto tokens = prompt(random() % 40, 40 + random() % 3 * 16);
        switch (random() % 4) {
          case 0:
          case 1: {
            const Blocks b = blocks_of(tokens, 16, 20000);
            const auto put = store->put(kModel, tokens, {.blocks = b.blocks});
            EXPECT_TRUE(put || put.code() == Errc::exhausted);
            break;
          }
          case 2:
            read_all(*store, tokens, 20000);
            break;
          default:
            if (random() % 8 == 0) {
              static_cast<void>(store->remove(kModel, tokens, 16).has_value());
            } else {
              static_cast<void>(store->explain(kModel, tokens).has_value());
            }
        }
        if (disk_use(path) > o.budget_bytes) over = true;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  int status = 0;
  ::waitpid(reader, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_FALSE(over);
  EXPECT_EQ(store->check()->bad, 0u);
  EXPECT_EQ(store->stats().quarantined, 0u);
}

}  // namespace
}  // namespace tokvault
