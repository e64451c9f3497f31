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

// Every bit of every file flipped in turn (of a small store, some bits of every byte): never a
// wrong byte, never a crash.
TEST(CheckpointCrash, FlippedBitsAreMisses) {
  const Folder folder;
  const std::string good = folder / "good";
  const auto tokens = prompt(1, 70);
  {
    const auto store = open_store(good, small_options());
    put_all(*store, tokens, 900, true);
    ASSERT_TRUE(store->put_sidecar(kModel, prompt(1, 64), "logits", "abc"));
    ASSERT_TRUE(store->put_state(kModel, {.tokens = prompt(2, 20), .text = "t"}, "payload"));
    ASSERT_TRUE(store->close());
    const auto more = open_store(good, small_options());
    put_all(*more, prompt(1, 90), 900);
    ASSERT_TRUE(more->flush());
    fs::copy(good, folder / "base");  // with a journal behind the index
  }
  std::uint64_t served = 0;
  std::size_t flips = 0;
  for (const auto& item : fs::directory_iterator(folder / "base")) {
    const std::uint64_t size = fs::file_size(item.path());
    const std::uint64_t step = std::max<std::uint64_t>(1, size / 400);
    for (std::uint64_t at = 0; at < size; at += step) {
      const std::string path = folder / "try";
      fs::remove_all(path);
      fs::copy(folder / "base", path);
      {
        std::fstream file(path + "/" + item.path().filename().string(),
                          std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(static_cast<std::streamoff>(at));
        const int c = file.get();
        file.seekp(static_cast<std::streamoff>(at));
        file.put(static_cast<char>(c ^ (1 << at % 8)));
      }
      ++flips;
      auto store = CheckpointStore::open(path, small_options());
      if (!store) {
        EXPECT_TRUE(store.code() == Errc::corrupt || store.code() == Errc::unsupported ||
                    store.code() == Errc::invalid)
            << item.path() << " " << at;
        continue;
      }
      served += read_all(**store, prompt(1, 90), 900);
      Buffer payload;
      const auto state = (*store)->find_state(kModel, prompt(2, 30), &payload);
      EXPECT_TRUE(!state || payload == "payload");
      const auto sidecar = (*store)->get_sidecar(kModel, prompt(1, 64), "logits");
      EXPECT_TRUE(!sidecar || *sidecar == "abc");
      const auto text = (*store)->match_text(kModel, "1 2 3");
      EXPECT_TRUE(text);
    }
  }
  EXPECT_GT(served, flips * 30);  // most flips cost one block
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
