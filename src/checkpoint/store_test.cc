// The store: what goes in comes out, in the budget, across restarts, beside damage.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>
#include <thread>

#include "base/checksum.h"
#include "base/file.h"
#include "checkpoint/disk.h"
#include "checkpoint/record.h"
#include "checkpoint/test_states.h"
#include "tests/conformance/temp_dir.h"
#include "tokvault/checkpoint.h"

namespace tokvault {
namespace {

using namespace checkpoint_test;

// Whether a thread of this process sleeps: one that does nothing else then waits for a lock.
bool sleeps(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(") ");
  return name_end != std::string::npos && line.substr(name_end + 2, 1) == "S";
}

TEST(CheckpointStore, StoresEachBlockOnceAndFindsTheLongestPrefix) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options());
  const auto a = prompt(1, 100);         // six blocks and a tail of 4
  const auto b = prompt(1, 120, 64, 5);  // shares four blocks
  const Blocks pa = blocks_of(a, 16, 5000);
  auto first = store->put(kModel, a, {.blocks = pa.blocks});
  ASSERT_TRUE(first);
  EXPECT_EQ(first->blocks_written, 7u);
  const Blocks pb = blocks_of(b, 16, 5000);
  auto second = store->put(kModel, b, {.blocks = pb.blocks});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->blocks_written, 4u);
  EXPECT_EQ(second->blocks_known, 4u);
  EXPECT_EQ(read_all(*store, a, 5000), 100u);
  EXPECT_EQ(read_all(*store, b, 5000), 120u);
  EXPECT_EQ(store->match(kModel, prompt(1, 90))->tokens, 80u);
  EXPECT_EQ(store->match(kModel, prompt(2, 90))->tokens, 0u);
  // Another namespace never sees them.
  EXPECT_EQ(store->match({.model = "toy", .dtype = "fp16"}, a)->tokens, 0u);
  EXPECT_EQ(store->explain({.model = "x"}, a)->reason, "other_namespace");
}

// A long put goes to the log in several writes: of many small blocks, of large ones, over the ends
// of segments, with memory that O_DIRECT does not take as it is, and with a full disk in between.
TEST(CheckpointStore, LongPutsAreWrittenInRuns) {
  for (const bool direct : {false, true}) {
    const Folder folder;
    CheckpointOptions o = small_options(256 << 20);
    o.segment_bytes = 5 << 20;
    o.direct_io = direct;
    auto store = open_store(folder / "s", o);
    const auto many = prompt(1, 16 * (direct ? 300 : 1000) + 3);
    const auto large = prompt(2, 16 * 40);
    put_all(*store, large, (1 << 20) + 13);
    put_all(*store, many, 100, true);
    static std::atomic<int> writes;
    writes = 0;
    checkpoint::set_fault_hook([](const char* call, const std::string& path) {
      const bool log = std::string_view(call) == "write" && path.find("log-") != std::string::npos;
      return log && ++writes == 2 ? checkpoint::kShortWrite : 0;
    });
    put_all(*store, prompt(3, 16 * 40), 1 << 20);
    checkpoint::set_fault_hook(nullptr);
    EXPECT_GT(writes, 8);
    for (int round = 0; round < 2; ++round) {
      // The full disk took the end of what came first.
      EXPECT_GE(read_all(*store, large, (1 << 20) + 13), 300u);
      EXPECT_EQ(read_all(*store, many, 100), many.size());
      EXPECT_EQ(read_all(*store, prompt(3, 16 * 40), 1 << 20), 640u);
      EXPECT_EQ(store->check()->bad, 0u);
      store.reset();
      store = open_store(folder / "s", o);
    }
    EXPECT_LE(disk_use(folder / "s"), o.budget_bytes);
  }
}

TEST(CheckpointStore, ReplacesAPartialLastBlock) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options());
  for (const std::size_t size : {20u, 25u, 31u, 32u, 40u}) put_all(*store, prompt(3, size), 300);
  const auto stats = store->stats();
  EXPECT_EQ(stats.blocks, 3u);  // two full ones and the tail of 8
  EXPECT_EQ(store->match(kModel, prompt(3, 47))->tokens, 40u);
  EXPECT_EQ(read_all(*store, prompt(3, 40), 300), 40u);
}

TEST(CheckpointStore, RangesAndOddBuffers) {
  const Folder folder;
  for (const std::size_t bytes : {1u, 4095u, 262144u, 1000003u}) {
    for (const bool direct : {false, true}) {
      CheckpointOptions o = small_options();
      o.direct_io = direct;
      const auto store = open_store(folder / (std::to_string(bytes) + (direct ? "d" : "b")), o);
      const auto tokens = prompt(4, 16);
      put_all(*store, tokens, bytes);
      const Buffer want = payload_of(tokens, 0, 16, bytes);
      for (const auto& [offset, size] : std::vector<std::pair<std::size_t, std::size_t>>{
               {0, bytes}, {0, bytes + 10}, {bytes / 2, bytes}, {bytes, 5}, {bytes / 3, 1}}) {
        Buffer out(size, 'x');
        CheckpointRead read{.block = 0, .offset = offset, .out = out};
        ASSERT_TRUE(store->get(kModel, tokens, {&read, 1}));
        EXPECT_EQ(read.status, Errc::ok);
        EXPECT_EQ(read.payload_bytes, bytes);
        EXPECT_EQ(out.substr(0, read.bytes), want.substr(std::min(offset, bytes), read.bytes));
        EXPECT_EQ(read.bytes, std::min(size, bytes - std::min(offset, bytes)));
      }
      auto aligned = checkpoint::aligned_buffer(bytes);
      CheckpointRead read{.block = 0, .out = {aligned.get(), bytes}};
      ASSERT_TRUE(store->get(kModel, tokens, {&read, 1}));
      EXPECT_EQ(read.status, Errc::ok);
      EXPECT_EQ(ByteView(aligned.get(), bytes), want);
    }
  }
}

// With the ring or without, past the page cache or not, one by one or many at once: the same bytes,
// and the same misses.
TEST(CheckpointStore, ReadsAreTheSameHoweverTheyAreDone) {
  const Folder folder;
  const std::string path = folder / "s";
  const auto tokens = prompt(4, 16 * 80);
  put_all(*open_store(path, small_options(256 << 20)), tokens, 300001);
  {
    std::fstream file(path + "/log-00000001", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(70 * 307200);  // in block 69 or 70
    file << "damage";
  }
  for (const CheckpointIo io :
       {CheckpointIo::automatic, CheckpointIo::pread, CheckpointIo::uring}) {
    for (const bool direct : {false, true}) {
      const auto opened =
          CheckpointStore::open(path, {.io = io, .direct_io = direct, .read_only = true});
      if (!opened && io == CheckpointIo::uring) {
        EXPECT_EQ(opened.code(), Errc::unsupported);  // by this kernel
        continue;
      }
      ASSERT_TRUE(opened);
      CheckpointStore& store = **opened;
      if (io != CheckpointIo::automatic) {
        EXPECT_EQ(store.stats().uring, io == CheckpointIo::uring);
      }
      std::vector<Buffer> outs(80, Buffer(300001, 'x'));
      std::vector<CheckpointRead> reads(80);
      for (std::uint32_t i = 0; i < 80; ++i) {
        reads[i].block = 79 - i;
        reads[i].out = outs[i];
        if (i % 7 == 0) reads[i].offset = 1000 * i;
      }
      ASSERT_TRUE(store.get(kModel, tokens, reads));
      std::size_t bad = 0;
      for (std::uint32_t i = 0; i < 80; ++i) {
        if (reads[i].status != Errc::ok) {
          ++bad;
          EXPECT_TRUE(outs[i] == Buffer(300001, '\0'));
          continue;
        }
        const Buffer want = payload_of(tokens, (79 - i) * 16, 16, 300001).substr(reads[i].offset);
        EXPECT_EQ(reads[i].bytes, want.size());
        EXPECT_TRUE(outs[i].substr(0, want.size()) == want) << i;
      }
      EXPECT_EQ(bad, 1u);
    }
  }
}

// A ring that fails in the middle costs no byte, and is not used again.
TEST(CheckpointStore, ARingThatFailsIsDoneWithout) {
  const Folder folder;
  const auto tokens = prompt(4, 16 * 80);
  put_all(*open_store(folder / "s", small_options(256 << 20)), tokens, 30000);
  static std::atomic<int> submits;
  for (const int failing : {1, 2, 3}) {
    const auto store = open_store(folder / "s", {.read_only = true});
    if (!store->stats().uring) break;  // this kernel has none
    submits = 0;
    static std::atomic<int> fail_at;
    fail_at = failing;
    checkpoint::set_fault_hook([](const char* call, const std::string&) {
      return std::string_view(call) == "submit" && ++submits == fail_at ? EINVAL : 0;
    });
    EXPECT_EQ(read_all(*store, tokens, 30000), tokens.size());
    EXPECT_EQ(submits, failing);
    EXPECT_EQ(read_all(*store, tokens, 30000), tokens.size());
    EXPECT_EQ(submits, failing);
    checkpoint::set_fault_hook(nullptr);
    EXPECT_EQ(store->stats().quarantined, 0u);
  }
}

// What is under way when a caller throws is waited for, and no later call gets it.
TEST(BlockReader, ACallThatThrowsLeavesNothingBehind) {
  constexpr std::size_t kReads = 40;
  constexpr std::size_t kBytes = 1000;
  static std::atomic<int> submits;
  const Folder folder;
  const auto file = checkpoint::disk_open(folder / "file", O_RDWR | O_CREAT);
  ASSERT_TRUE(file);
  Buffer all;
  for (std::size_t i = 0; i < kReads; ++i) all += Buffer(kBytes, static_cast<char>('0' + i));
  const ByteView parts[] = {all};
  ASSERT_TRUE(checkpoint::disk_write(**file, 0, parts));
  checkpoint::BlockReader reader(true);
  if (!reader.has_uring()) GTEST_SKIP() << "this kernel has no io_uring";
  for (const std::size_t throwing : {std::size_t{1}, std::size_t{20}, kReads + 1}) {
    Buffer got(all.size(), 'x');
    std::vector<checkpoint::ReadOp> ops(kReads);
    for (std::size_t i = 0; i < kReads; ++i) {
      ops[i].file = *file;
      ops[i].offset = i * kBytes;
      ops[i].parts[0] = {got.data() + i * kBytes, kBytes};
      ops[i].count = 1;
    }
    std::vector<int> times(kReads);
    std::size_t calls = 0;
    submits = 0;
    checkpoint::set_fault_hook([](const char* call, const std::string&) {
      submits += std::string_view(call) == "submit" ? 1 : 0;
      return 0;
    });
    const auto done = [&](std::size_t i) {
      if (++calls == throwing) throw std::runtime_error("enough");
      ASSERT_LT(i, kReads);
      ++times[i];
      EXPECT_TRUE(ops[i].ok);
      EXPECT_EQ(got.substr(i * kBytes, kBytes), all.substr(i * kBytes, kBytes));
    };
    if (throwing <= kReads) {
      EXPECT_THROW(reader.read_all(ops, done), std::runtime_error);
      EXPECT_EQ(calls, throwing);
    } else {
      reader.read_all(ops, done);
      EXPECT_EQ(times, std::vector<int>(kReads, 1));
    }
    checkpoint::set_fault_hook(nullptr);
    EXPECT_GT(submits, 0);
  }
}

TEST(CheckpointStore, SeveralPromptsAtOnce) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options());
  put_all(*store, prompt(1, 40), 100);
  put_all(*store, prompt(2, 32), 100);
  const auto a = prompt(1, 50);
  const auto b = prompt(2, 20);
  const auto c = prompt(3, 20);
  const TokenView prompts[] = {a, b, {}, c};
  const auto matches = store->match_batch(kModel, prompts);
  ASSERT_EQ(matches.size(), 4u);
  EXPECT_EQ(matches[0]->tokens, 40u);
  EXPECT_EQ(matches[1]->tokens, 16u);
  EXPECT_EQ(matches[2]->tokens, 0u);
  EXPECT_EQ(matches[3]->tokens, 0u);
  EXPECT_TRUE(store->match_batch(kModel, {}).empty());
  // Every state, in no order, as far as the visitor goes.
  for (const std::uint32_t family : {5u, 6u, 7u}) {
    ASSERT_TRUE(store->put_state(kModel, {.tokens = prompt(family, 20)}, std::to_string(family)));
  }
  std::size_t sum = 0;
  const auto visit = [&](const CheckpointState& state, ByteView payload) -> Status {
    EXPECT_EQ(state.tokens, prompt(static_cast<std::uint32_t>(payload[0] - '0'), 20));
    EXPECT_EQ(store->match(kModel, a)->tokens, 40u);  // the visitor may call the store
    sum += static_cast<std::size_t>(payload[0] - '0');
    if (sum > 100) return Error(Errc::cancelled, "enough");
    return {};
  };
  EXPECT_TRUE(store->visit_states(kModel, visit));
  EXPECT_EQ(sum, 18u);
  sum = 100;
  EXPECT_EQ(store->visit_states(kModel, visit).code(), Errc::cancelled);
  EXPECT_TRUE(store->visit_states({.model = "other"}, visit));
}

TEST(CheckpointStore, WhatIsTouchedStays) {
  const Folder folder;
  CheckpointOptions o = small_options(4 << 20);
  o.eviction = Eviction::lru;
  const auto store = open_store(folder / "s", o);
  for (std::uint32_t i = 1; i < 60; ++i) {
    put_all(*store, prompt(i, 32), 50000);
    EXPECT_EQ(*store->touch(kModel, prompt(1, 40)), 32u) << i;
  }
  EXPECT_EQ(store->match(kModel, prompt(2, 32))->tokens, 0u);
  EXPECT_EQ(*store->touch(kModel, prompt(2, 32)), 0u);
}

TEST(CheckpointStore, CodedBlocksComeBackWhateverIsSet) {
  const Folder folder;
  int number = 0;
  for (const CheckpointCodec codec : {CheckpointCodec::zstd, CheckpointCodec::plane8,
                                      CheckpointCodec::planes16, CheckpointCodec::by_dtype}) {
    for (const bool direct : {false, true}) {
      CheckpointOptions o = small_options();
      o.direct_io = direct;
      o.codec = codec;
      const std::string path = folder / std::to_string(++number);
      const std::size_t sizes[] = {5000, 262144, 1000003, 300};
      const auto tokens = prompt(4, 60);  // three blocks and a tail
      std::vector<Buffer> payloads;
      std::vector<CheckpointBlock> blocks;
      for (const std::size_t size : sizes) payloads.push_back(numbers_of(size, size));
      for (const Buffer& p : payloads) blocks.push_back({p, "text"});
      auto store = open_store(path, o);
      const auto put = store->put(kModel, tokens, {.blocks = blocks});
      ASSERT_TRUE(put);
      EXPECT_LT(put->bytes_written, 1267447u / 100 * 97);
      EXPECT_GT(store->stats().bytes_coded, store->stats().bytes_code);
      ASSERT_TRUE(store->put_sidecar(kModel, tokens, "logits", payloads[1]));
      store.reset();
      o.codec = CheckpointCodec::none;  // what is set says nothing about what is read
      store = open_store(path, o);
      for (std::uint32_t b = 0; b < 4; ++b) {
        const Buffer& want = payloads[b];
        const std::size_t bytes = want.size();
        for (const auto& [offset, size] : std::vector<std::pair<std::size_t, std::size_t>>{
                 {0, bytes}, {0, bytes + 10}, {bytes / 2, bytes}, {bytes, 5}, {bytes / 3, 1}}) {
          Buffer out(size, 'x');
          CheckpointRead read{.block = b, .offset = offset, .out = out};
          ASSERT_TRUE(store->get(kModel, tokens, {&read, 1}));
          EXPECT_EQ(read.status, Errc::ok);
          EXPECT_EQ(read.payload_bytes, bytes);
          EXPECT_EQ(read.bytes, std::min(size, bytes - offset));
          EXPECT_TRUE(out.substr(0, read.bytes) == want.substr(offset, read.bytes));
        }
      }
      EXPECT_EQ(*store->get_sidecar(kModel, tokens, "logits"), payloads[1]);
      EXPECT_EQ(store->check()->bad, 0u);
    }
  }
}

TEST(CheckpointStore, ADamagedCodedBlockIsAMiss) {
  const Folder folder;
  CheckpointOptions o = small_options();
  o.codec = CheckpointCodec::planes16;
  const auto tokens = prompt(1, 16);
  const Buffer payload = numbers_of(3, 6000);
  const CheckpointBlock block{payload};
  ASSERT_TRUE(open_store(folder / "s", o)->put(kModel, tokens, {.blocks = {&block, 1}}));
  const std::string log = folder / "s/log-00000001";
  for (std::uint64_t at = 0; at < fs::file_size(log); at += 3) {
    std::fstream file(log, std::ios::in | std::ios::out | std::ios::binary);
    const auto flip = [&file, at] {
      file.seekg(static_cast<std::streamoff>(at));
      const char c = static_cast<char>(file.get());
      file.seekp(static_cast<std::streamoff>(at));
      file.put(static_cast<char>(c ^ (1 << at % 8))).flush();
    };
    flip();
    const auto store = open_store(folder / "s", {.read_only = true});
    Buffer out(payload.size(), 'x');
    CheckpointRead read{.block = 0, .out = out};
    ASSERT_TRUE(store->get(kModel, tokens, {&read, 1}));
    EXPECT_TRUE(out == (read.status == Errc::ok ? payload : Buffer(payload.size(), '\0'))) << at;
    flip();
  }
}

TEST(CheckpointStore, TextFindsTheExactTokens) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options());
  const auto tokens = prompt(5, 70);
  put_all(*store, tokens, 100, true);
  Buffer text;
  for (const Token t : tokens) text += std::to_string(t) + " ";
  const auto match = store->match_text(kModel, text + "and more");
  ASSERT_TRUE(match);
  EXPECT_EQ(match->bytes, text.size());
  EXPECT_EQ(match->tokens, tokens);
  EXPECT_EQ(store->match_text(kModel, text.substr(0, text.size() - 1))->tokens.size(), 64u);
  EXPECT_EQ(store->match_text(kModel, "x" + text)->bytes, 0u);
}

TEST(CheckpointStore, SidecarsAndStates) {
  const Folder folder;
  auto store = open_store(folder / "s", small_options());
  const auto tokens = prompt(6, 40);
  put_all(*store, tokens, 100);
  EXPECT_EQ(store->put_sidecar(kModel, prompt(6, 33), "logits", "x").code(), Errc::not_found);
  ASSERT_TRUE(store->put_sidecar(kModel, prompt(6, 32), "logits", "abc"));
  ASSERT_TRUE(store->put_sidecar(kModel, prompt(6, 32), "logits", "abcd"));
  EXPECT_EQ(*store->get_sidecar(kModel, prompt(6, 32), "logits"), "abcd");
  EXPECT_EQ(store->get_sidecar(kModel, tokens, "logits").code(), Errc::not_found);
  const auto why = store->explain(kModel, tokens, "logits");
  EXPECT_TRUE(why->sidecar_missing);
  EXPECT_EQ(why->sidecar_tokens, 32u);

  for (const std::size_t size : {10u, 30u, 35u}) {
    CheckpointState s{
        .tokens = prompt(6, size), .text = "text " + std::to_string(size), .meta = "m"};
    ASSERT_TRUE(store->put_state(kModel, s, Buffer(size * 1000, 's')));
  }
  Buffer payload;
  auto found = store->find_state(kModel, prompt(6, 34), &payload);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->tokens.size(), 30u);
  EXPECT_EQ(payload, Buffer(30000, 's'));
  EXPECT_EQ(store->find_state_text(kModel, "text 35 and so on", &payload)->tokens.size(), 35u);
  EXPECT_EQ(store->find_state(kModel, prompt(7, 34), nullptr).code(), Errc::not_found);
  store.reset();
  store = open_store(folder / "s");
  EXPECT_EQ(store->find_state(kModel, prompt(6, 34), nullptr)->tokens.size(), 30u);
  EXPECT_EQ(*store->get_sidecar(kModel, prompt(6, 32), "logits"), "abcd");
  EXPECT_EQ(store->stats().states, 3u);
}

TEST(CheckpointStore, BudgetHoldsUnderOverloadAndLeavesGoFirst) {
  for (const Eviction eviction : {Eviction::value, Eviction::lru, Eviction::decayed_hits}) {
    const Folder folder;
    CheckpointOptions o = small_options(8 << 20);
    o.eviction = eviction;
    const auto store = open_store(folder / "s", o);
    for (std::uint32_t i = 0; i < 150; ++i) {
      const auto tokens = prompt(i % 40, 64 + i % 3 * 16);
      const Blocks b = blocks_of(tokens, 16, i % 2 == 0 ? 30000 : 300000);
      auto put = store->put(kModel, tokens, {.blocks = b.blocks});
      ASSERT_TRUE(put) << put.error().message();
      ASSERT_LE(disk_use(folder / "s"), o.budget_bytes) << i;
      ASSERT_LE(store->stats().disk_bytes, o.budget_bytes);
    }
    const auto stats = store->stats();
    EXPECT_GT(stats.evicted, 0u);
    EXPECT_GT(stats.live_bytes, o.budget_bytes / 2);
    // Whatever matches has all its blocks: nothing was taken from the middle of a chain.
    std::uint64_t listed = 0;
    std::map<std::string, std::string> parents;
    ASSERT_TRUE(store->list([&](const CheckpointEntry& e) {
      parents[e.key] = e.parent;
      return ++listed > 0;
    }));
    for (const auto& [key, parent] : parents) {
      EXPECT_TRUE(parent.empty() || parents.contains(parent));
    }
    EXPECT_EQ(store->check()->bad, 0u);
  }
}

TEST(CheckpointStore, PinsKeepAndARecordThatCannotFitIsRefused) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options(2 << 20));
  const auto pinned = prompt(1, 32);
  put_all(*store, pinned, 100000);
  EXPECT_EQ(*store->pin(kModel, pinned), 32u);
  for (std::uint32_t i = 2; i < 30; ++i) {
    const auto tokens = prompt(i, 32);
    const Blocks b = blocks_of(tokens, 16, 100000);
    static_cast<void>(store->put(kModel, tokens, {.blocks = b.blocks}).has_value());
  }
  EXPECT_EQ(read_all(*store, pinned, 100000), 32u);
  EXPECT_EQ(store->remove(kModel, pinned).code(), Errc::busy);
  ASSERT_TRUE(store->unpin(kModel, pinned));
  EXPECT_EQ(*store->remove(kModel, pinned, 16), 1u);
  EXPECT_EQ(store->match(kModel, pinned)->tokens, 16u);
  EXPECT_EQ(store->explain(kModel, pinned)->reason, "removed");
  const Buffer huge(3 << 20, 'h');
  const auto tokens = prompt(99, 16);
  const CheckpointBlock block{huge, {}};
  EXPECT_EQ(store->put(kModel, tokens, {.blocks = {&block, 1}}).code(), Errc::exhausted);
  EXPECT_EQ(store->explain(kModel, tokens)->reason, "no_room");
}

// What can never fit is refused, and what it was to replace stays. What is smaller when it is coded
// fits.
TEST(CheckpointStore, ARefusedReplacementLeavesWhatWasThere) {
  const Folder folder;
  CheckpointOptions o = small_options(2 << 20);
  o.codec = CheckpointCodec::zstd;
  const auto store = open_store(folder / "s", o);
  const auto tokens = prompt(1, 16);
  const CheckpointState state{.tokens = tokens};
  const Buffer huge = payload_of(tokens, 0, 16, 3 << 20);
  put_all(*store, tokens, 100);
  ASSERT_TRUE(store->put_state(kModel, state, "a state"));
  ASSERT_TRUE(store->put_sidecar(kModel, tokens, "logits", "a sidecar"));
  EXPECT_EQ(store->put_state(kModel, state, huge).code(), Errc::exhausted);
  EXPECT_EQ(store->put_sidecar(kModel, tokens, "logits", huge).code(), Errc::exhausted);
  Buffer payload;
  EXPECT_TRUE(store->find_state(kModel, tokens, &payload));
  EXPECT_EQ(payload, "a state");
  const auto sidecar = store->get_sidecar(kModel, tokens, "logits");
  EXPECT_TRUE(sidecar && *sidecar == "a sidecar");
  EXPECT_EQ(store->stats().evicted, 0u);
  const Buffer alike(3 << 20, 'a');
  EXPECT_TRUE(store->put_state(kModel, state, alike));
  EXPECT_TRUE(store->find_state(kModel, tokens, &payload));
  EXPECT_TRUE(payload == alike);
  EXPECT_EQ(store->stats().states, 1u);
}

TEST(CheckpointStore, ExpiresAndRemoves) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options());
  const auto tokens = prompt(1, 48);
  const Blocks b = blocks_of(tokens, 16, 100);
  ASSERT_TRUE(store->put(kModel, tokens, {.blocks = b.blocks, .time_to_live_ms = 1}));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(*store->expire(), 3u);
  EXPECT_EQ(store->explain(kModel, tokens)->reason, "expired");
  put_all(*store, tokens, 100);
  put_all(*store, prompt(1, 48, 16, 9), 100);
  EXPECT_EQ(*store->remove_namespace(kModel), 5u);
  EXPECT_EQ(store->stats().blocks, 0u);
}

// What erases many records lets others in between; what these pin stays.
TEST(CheckpointStore, OthersGetInWhileManyRecordsGo) {
  constexpr std::size_t kBlocks = 400;
  constexpr std::size_t kPinned = 200;
  static std::atomic<bool> begun;
  static std::atomic<bool> done;
  static std::atomic<pid_t> other;
  const auto tokens = prompt(1, 16 * kBlocks);
  const Blocks b = blocks_of(tokens, 16, 5000);
  const TokenView half = TokenView(tokens).first(16 * kPinned);
  const CheckpointOptions o = small_options(4 << 20);
  const std::map<std::string, std::function<Result<std::uint64_t>(CheckpointStore&)>> calls = {
      {"evict", [&](CheckpointStore& s) { return s.evict(o.budget_bytes); }},
      {"evict some", [&](CheckpointStore& s) { return s.evict(o.budget_bytes - (1 << 20)); }},
      {"expire", [](CheckpointStore& s) { return s.expire(); }},
      {"put",
       [](CheckpointStore& s) -> Result<std::uint64_t> {
         put_all(s, prompt(2, 16), 100);
         return std::uint64_t{kBlocks - kPinned};
       }},
      {"remove", [&](CheckpointStore& s) { return s.remove(kModel, tokens); }},
      {"remove_namespace", [](CheckpointStore& s) { return s.remove_namespace(kModel); }},
  };
  for (const auto& [name, call] : calls) {
    SCOPED_TRACE(name);
    const Folder folder;
    const auto store = open_store(folder / "s", o);
    const bool expires = name == "expire" || name == "put";
    ASSERT_TRUE(
        store->put(kModel, tokens, {.blocks = b.blocks, .time_to_live_ms = expires ? 1u : 0u}));
    ASSERT_EQ(store->stats().blocks, kBlocks);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    begun = done = false;
    other = 0;
    std::uint64_t left = 0;
    std::uint64_t pinned = 0;
    std::thread meanwhile([&] {
      while (!begun) std::this_thread::yield();
      other = ::gettid();
      left = store->stats().blocks;
      const auto kept = store->pin(kModel, half);
      if (kept) pinned = *kept;
      done = true;
    });
    // No record goes before the other thread waits for the lock, or has all that it wants.
    checkpoint::set_fault_hook([](const char* made, const std::string& path) {
      if (std::string_view(made) != "write" || path.find("journal-") == std::string::npos) return 0;
      begun = true;
      const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(1);
      while (!done && (other == 0 || !sleeps(other)) && std::chrono::steady_clock::now() < until) {
        std::this_thread::yield();
      }
      return 0;
    });
    const auto count = call(*store);
    meanwhile.join();
    checkpoint::set_fault_hook(nullptr);
    EXPECT_GT(left, kPinned);
    EXPECT_LT(left, kBlocks);
    EXPECT_EQ(pinned, half.size());
    EXPECT_EQ(count.code(), name == "remove" ? Errc::busy : Errc::ok);
    if (count) {
      EXPECT_EQ(*count, kBlocks - kPinned);
    }
    EXPECT_EQ(read_all(*store, tokens, 5000), half.size());
  }
}

// Where writing is over because of what others found meanwhile, no more is removed.
TEST(CheckpointStore, ARemovalEndsWithTheJournal) {
  static std::atomic<bool> begun;
  static std::atomic<bool> done;
  static std::atomic<pid_t> other;
  const auto tokens = prompt(1, 16 * 400);
  const Folder folder;
  auto store = open_store(folder / "s", small_options());
  put_all(*store, tokens, 5000);
  {
    std::fstream file(folder / "s/log-00000001", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(40000) << "damage";
  }
  begun = done = false;
  other = 0;
  std::thread meanwhile([&] {
    while (!begun) std::this_thread::yield();
    other = ::gettid();
    EXPECT_LT(read_all(*store, prompt(1, 160), 5000), 160u);
    done = true;
  });
  checkpoint::set_fault_hook([](const char* /*call*/, const std::string& path) {
    if (path.find("journal-") == std::string::npos) return 0;
    if (::gettid() == other) return EIO;
    begun = true;
    const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!done && (other == 0 || !sleeps(other)) && std::chrono::steady_clock::now() < until) {
      std::this_thread::yield();
    }
    return 0;
  });
  const auto removed = store->remove_namespace(kModel);
  meanwhile.join();
  checkpoint::set_fault_hook(nullptr);
  EXPECT_EQ(removed.code(), Errc::io);
  EXPECT_GT(store->stats().blocks, 10u);
  store.reset();
  store = open_store(folder / "s", small_options());
  EXPECT_GT(*store->remove_namespace(kModel), 10u);
}

TEST(CheckpointStore, ExplainKnowsEveryReason) {
  const Folder folder;
  CheckpointOptions o = small_options(2 << 20);
  o.eviction = Eviction::lru;
  auto store = open_store(folder / "s", o);
  const auto why = [&](const std::vector<Token>& tokens, const Namespace& n = kModel) {
    const auto e = store->explain(n, tokens);
    EXPECT_FALSE(e->detail.empty());
    return e->reason;
  };
  EXPECT_EQ(why(prompt(1, 32)), "unknown_namespace");
  put_all(*store, prompt(1, 32), 50000);
  EXPECT_EQ(why(prompt(1, 32)), "complete");
  EXPECT_EQ(why(prompt(1, 48)), "never_stored");
  EXPECT_EQ(why(prompt(1, 32), {.model = "x"}), "other_namespace");
  ASSERT_TRUE(store->remove(kModel, prompt(1, 32), 16));
  EXPECT_EQ(why(prompt(1, 32)), "removed");
  const Blocks b = blocks_of(prompt(2, 16), 16, 100);
  ASSERT_TRUE(store->put(kModel, prompt(2, 16), {.blocks = b.blocks, .time_to_live_ms = 1}));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(store->expire());
  EXPECT_EQ(why(prompt(2, 16)), "expired");
  const Blocks huge = blocks_of(prompt(3, 16), 16, 3 << 20);
  EXPECT_EQ(store->put(kModel, prompt(3, 16), {.blocks = huge.blocks}).code(), Errc::exhausted);
  EXPECT_EQ(why(prompt(3, 16)), "no_room");
  for (std::uint32_t i = 4; i < 40; ++i) put_all(*store, prompt(i, 32), 50000);
  EXPECT_EQ(why(prompt(4, 32)), "evicted");
  // Reasons outlive a restart; damage is one, and so is a sidecar that is not there.
  ASSERT_TRUE(store->put_sidecar(kModel, prompt(39, 16), "logits", "l"));
  store.reset();
  for (const auto& item : fs::directory_iterator(folder / "s")) {
    const std::string name = item.path().filename();
    if (!name.starts_with("log-")) continue;
    std::fstream file(item.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-20000, std::ios::end);
    file << "damage";
  }
  store = open_store(folder / "s", o);
  EXPECT_EQ(why(prompt(4, 32)), "evicted");
  EXPECT_EQ(read_all(*store, prompt(39, 32), 50000), 16u);
  EXPECT_EQ(why(prompt(39, 32)), "quarantined");
  const auto sidecar = store->explain(kModel, prompt(39, 16), "logits");
  EXPECT_EQ(sidecar->reason, "complete");
  EXPECT_FALSE(sidecar->sidecar_missing);
  EXPECT_TRUE(store->explain(kModel, prompt(38, 16), "logits")->sidecar_missing);
}

// Every length that was stored against every length that is asked for, around the borders of the
// blocks, of the same prompt and of one that differs behind so many tokens. What did not match was
// never stored, whatever stands before it.
TEST(CheckpointStore, ExplainTakesNoGoodBlockForAMissingOne) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options());
  const std::size_t lengths[] = {1, 2, 14, 15, 16, 17, 20, 30, 31, 32, 33, 40, 47, 48, 49, 63, 64};
  for (const std::size_t stored : lengths) {
    const Namespace n{.model = "m" + std::to_string(stored)};
    const auto family = static_cast<std::uint32_t>(stored);  // of which no other namespace has any
    const Blocks b = blocks_of(prompt(family, stored), 16, 40);
    ASSERT_TRUE(store->put(n, prompt(family, stored), {.blocks = b.blocks}));
    for (const std::size_t asked : lengths) {
      for (const std::size_t branch : {std::size_t{0}, std::size_t{16}, std::size_t{21}, asked}) {
        const std::size_t same = std::min({stored, asked, branch});
        const std::size_t whole = same / 16 * 16;
        const std::size_t want = same == stored ? stored : whole;
        const auto e =
            store->explain(n, prompt(family, asked, static_cast<std::uint32_t>(branch), 1));
        ASSERT_TRUE(e);
        EXPECT_EQ(e->match.tokens, want) << stored << " " << asked << " " << branch;
        EXPECT_EQ(e->reason, want == asked ? "complete" : "never_stored")
            << stored << " " << asked << " " << branch;
      }
    }
  }
}

// A partial block that was lost is told from one that was never there, beside a shorter good one.
TEST(CheckpointStore, ExplainKnowsWhatBecameOfAPartialBlock) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options());
  const Blocks b = blocks_of(prompt(2, 31), 16, 40);
  ASSERT_TRUE(store->put(kModel, prompt(2, 31), {.blocks = b.blocks, .time_to_live_ms = 1}));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(store->expire());
  put_all(*store, prompt(2, 20), 40);
  EXPECT_EQ(store->match(kModel, prompt(2, 31))->tokens, 20u);
  EXPECT_EQ(store->explain(kModel, prompt(2, 31))->reason, "expired");
  EXPECT_EQ(store->explain(kModel, prompt(2, 30))->reason, "never_stored");
}

// An empty block would stand in the way of the real one: what is stored is not written again.
TEST(CheckpointStore, RefusesEmptyPayloads) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options());
  const auto tokens = prompt(1, 40);
  const Blocks b = blocks_of(tokens, 16, 500, true);
  for (std::size_t empty = 0; empty < b.blocks.size(); ++empty) {
    std::vector<CheckpointBlock> blocks = b.blocks;
    blocks[empty].payload = {};
    EXPECT_EQ(store->put(kModel, tokens, {.blocks = blocks}).code(), Errc::invalid) << empty;
  }
  const std::vector<CheckpointBlock> none(3);
  const auto id = store->submit_put(kModel, tokens, {.blocks = none});
  ASSERT_TRUE(id);
  CheckpointCompletion done;
  ASSERT_EQ(store->take_completions({&done, 1}, 10000), 1u);
  EXPECT_EQ(done.status, Errc::invalid);
  EXPECT_EQ(store->put_state(kModel, {.tokens = tokens}, {}).code(), Errc::invalid);
  EXPECT_EQ(store->put_state(kModel, {.text = "text"}, {}).code(), Errc::invalid);
  EXPECT_EQ(store->stats().blocks + store->stats().states + store->stats().namespaces, 0u);
  put_all(*store, tokens, 500, true);
  EXPECT_EQ(read_all(*store, tokens, 500), 40u);
  // A state that was refused does not take the place of the one that is there; a sidecar may be
  // empty: that it is there can be all that it says.
  ASSERT_TRUE(store->put_state(kModel, {.tokens = tokens}, "state"));
  EXPECT_EQ(store->put_state(kModel, {.tokens = tokens}, {}).code(), Errc::invalid);
  EXPECT_EQ(store->find_state(kModel, tokens, nullptr)->payload_bytes, 5u);
  EXPECT_TRUE(store->put_sidecar(kModel, tokens, "seen", {}));
}

// What a build before that stored: the blocks of a prompt without payloads, behind what the log
// has.
void append_empty_blocks(const std::string& log, const std::vector<Token>& tokens, bool text) {
  using namespace checkpoint;
  std::ofstream file(log, std::ios::binary | std::ios::app);
  const Hash128 root = namespace_hash(encode_namespace(kModel));
  RecordHeader h;
  h.parent = h.name_space = root;
  for (std::size_t at = 0; at < tokens.size(); at += 16) {
    const TokenView ids =
        TokenView(tokens).subspan(at, std::min<std::size_t>(16, tokens.size() - at));
    const std::string words = text ? "words of " + std::to_string(at) : "";
    h.kind = ids.size() < 16 ? Kind::tail : Kind::block;
    h.key = block_hash(h.parent, ids);
    h.tokens = static_cast<std::uint32_t>(ids.size());
    h.position = static_cast<std::uint32_t>(at);
    h.text_bytes = static_cast<std::uint32_t>(words.size());
    h.tail_checksum = checksum64(words);
    const Buffer prefix = encode_prefix(h, ids, {});
    file << prefix << words << Buffer(h.record_bytes() - prefix.size() - words.size(), '\0');
    h.parent = h.key;
  }
}

TEST(CheckpointStore, EmptyBlocksOfOldDoNotKeepTheRealOnesOut) {
  const auto tokens = prompt(1, 40);
  for (const bool text : {false, true}) {
    for (const std::string way : {"put", "get", "check"}) {
      SCOPED_TRACE(way);
      const Folder folder;
      const std::string path = folder / "s";
      put_all(*open_store(path, small_options()), prompt(9, 16), 500);
      append_empty_blocks(path + "/log-00000001", tokens, text);
      auto store = open_store(path, small_options());
      ASSERT_EQ(store->match(kModel, tokens)->tokens, 40u);
      if (way == "get") {
        EXPECT_EQ(read_all(*store, tokens, 500), 0u);
        EXPECT_EQ(store->match(kModel, tokens)->tokens, 0u);
      } else if (way == "check") {
        EXPECT_EQ(store->check()->bad, 3u);
        EXPECT_EQ(store->match(kModel, tokens)->tokens, 0u);
      }
      const Blocks b = blocks_of(tokens, 16, 5, true);
      const auto put = store->put(kModel, tokens, {.blocks = b.blocks});
      ASSERT_TRUE(put) << put.error().message();
      EXPECT_EQ(put->blocks_written, 3u);
      // And these stay, as small as they are.
      EXPECT_EQ(store->put(kModel, tokens, {.blocks = b.blocks})->blocks_known, 3u);
      for (int round = 0; round < 2; ++round) {
        EXPECT_EQ(read_all(*store, tokens, 5), 40u);
        EXPECT_EQ(read_all(*store, prompt(9, 16), 500), 16u);
        EXPECT_EQ(store->check()->bad, 0u);
        store.reset();
        store = open_store(path, small_options());
      }
    }
  }
}

TEST(CheckpointStore, FirstBlockMustFollowWhatIsStored) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options());
  const auto tokens = prompt(1, 48);
  const Blocks b = blocks_of(tokens, 16, 100);
  const std::span<const CheckpointBlock> blocks(b.blocks);
  EXPECT_EQ(store->put(kModel, tokens, {.first_block = 1, .blocks = blocks.subspan(1)}).code(),
            Errc::not_found);
  EXPECT_EQ(store->put(kModel, tokens, {.blocks = blocks.first(2)}).code(), Errc::invalid);
  put_all(*store, prompt(1, 16), 100);
  auto put = store->put(kModel, tokens, {.first_block = 1, .blocks = blocks.subspan(1)});
  ASSERT_TRUE(put);
  EXPECT_EQ(put->blocks_written, 2u);
  EXPECT_EQ(read_all(*store, tokens, 100), 48u);
}

TEST(CheckpointStore, OneWriterManyReaders) {
  const Folder folder;
  const auto writer = open_store(folder / "s", small_options());
  EXPECT_EQ(CheckpointStore::open(folder / "s", {}).code(), Errc::busy);
  const auto reader = open_store(folder / "s", {.read_only = true});
  EXPECT_EQ(reader->match(kModel, prompt(1, 64))->tokens, 0u);
  put_all(*writer, prompt(1, 64), 1000);
  EXPECT_EQ(read_all(*reader, prompt(1, 64), 1000), 64u);
  const Blocks b = blocks_of(prompt(2, 16), 16, 10);
  EXPECT_EQ(reader->put(kModel, prompt(2, 16), {.blocks = b.blocks}).code(), Errc::denied);
  ASSERT_TRUE(writer->remove(kModel, prompt(1, 64), 32));
  EXPECT_EQ(read_all(*reader, prompt(1, 64), 1000), 32u);
  for (std::uint32_t i = 0; i < 20; ++i) put_all(*writer, prompt(i + 10, 64), 1000);
  ASSERT_TRUE(writer->close());  // writes a new index: the reader follows
  EXPECT_EQ(read_all(*reader, prompt(29, 64), 1000), 64u);
}

// A writer may be stopped, or out of space, before it can tell readers where to read on, or take
// back what it has half written: they notice, and begin anew.
TEST(CheckpointStore, AReaderNoticesThatItsJournalIsOver) {
  const Folder folder;
  const std::string path = folder / "s";
  auto writer = open_store(path, small_options());
  put_all(*writer, prompt(1, 64), 1000);
  const auto reader = open_store(path, {.read_only = true});
  ASSERT_EQ(reader->match(kModel, prompt(1, 64))->tokens, 64u);
  checkpoint::set_fault_hook([](const char* call, const std::string& file) {
    const bool told = std::string_view(call) == "write" && file.find("journal-") != file.npos;
    return told ? ENOSPC : 0;
  });
  ASSERT_TRUE(writer->close());
  checkpoint::set_fault_hook(nullptr);
  writer = open_store(path, small_options());
  put_all(*writer, prompt(2, 64), 1000);
  EXPECT_EQ(reader->match(kModel, prompt(2, 64))->tokens, 64u);
  EXPECT_EQ(read_all(*reader, prompt(1, 64), 1000), 64u);

  const std::string journal = path + "/journal-00000001";
  checkpoint::JournalEvent taken_back;
  taken_back.event = checkpoint::Event::remove;
  taken_back.key = checkpoint::namespace_hash(checkpoint::encode_namespace(kModel));
  for (const std::size_t at : {0, 16, 32, 48}) {
    const auto all = prompt(1, 64);
    taken_back.key = checkpoint::block_hash(taken_back.key, TokenView(all).subspan(at, 16));
  }
  for (const bool at_once : {true, false}) {
    SCOPED_TRACE(at_once);
    const std::uint64_t size = fs::file_size(journal);
    Buffer bytes;
    append_event(bytes, taken_back);
    std::ofstream(journal, std::ios::binary | std::ios::app) << bytes;
    const auto known =
        reader->match(kModel, prompt(1, 64))->tokens + reader->match(kModel, prompt(2, 64))->tokens;
    EXPECT_EQ(known, 112u);
    fs::resize_file(journal, size);
    if (at_once) {
      EXPECT_EQ(reader->match(kModel, prompt(1, 64))->tokens, 64u);
    }
    const auto next = prompt(at_once ? 3 : 4, 64);
    put_all(*writer, next, 1000);
    EXPECT_LE(reader->match(kModel, next)->tokens, 64u);
    EXPECT_EQ(reader->match(kModel, next)->tokens, 64u);
    EXPECT_EQ(read_all(*reader, prompt(1, 64), 1000), 64u);
    EXPECT_EQ(read_all(*reader, prompt(2, 64), 1000), 64u);
  }
  // What nobody takes back is looked at once, not with every call.
  std::ofstream(journal, std::ios::binary | std::ios::app) << "half an event";
  for (int i = 0; i < 3; ++i) EXPECT_EQ(reader->match(kModel, prompt(1, 64))->tokens, 64u);
  for (const auto& item : fs::directory_iterator(path)) {
    if (item.path() != journal) fs::remove(item.path());
  }
  EXPECT_EQ(reader->match(kModel, prompt(1, 64))->tokens, 64u);
}

TEST(CheckpointStore, WhatReadersUseStays) {
  const Folder folder;
  CheckpointOptions o = small_options(4 << 20);
  o.eviction = Eviction::lru;
  const auto writer = open_store(folder / "s", o);
  const auto reader = open_store(folder / "s", {.read_only = true});
  const auto used = prompt(1, 32);
  put_all(*writer, used, 50000);
  put_all(*writer, prompt(2, 32), 50000);
  for (std::uint32_t i = 3; i < 100; ++i) {
    put_all(*writer, prompt(i, 32), 50000);
    EXPECT_EQ(read_all(*reader, used, 50000), 32u) << i;
    ASSERT_LE(disk_use(folder / "s"), o.budget_bytes);
  }
  EXPECT_EQ(writer->match(kModel, prompt(2, 32))->tokens, 0u);
  // Without room for more uses, and with rubbish among them, all goes on.
  std::ofstream(folder / "s/uses", std::ios::app) << std::string(20000, 'r') << "odd";
  EXPECT_EQ(*reader->touch(kModel, used), 32u);
  for (std::uint32_t i = 100; i < 110; ++i) put_all(*writer, prompt(i, 32), 50000);
  EXPECT_LT(fs::file_size(folder / "s/uses"), 100u);
  EXPECT_EQ(*reader->touch(kModel, used), 32u);
  EXPECT_EQ(fs::file_size(folder / "s/uses"), 16u);
}

// What asks for sizes or for what a state is, reads no payload, and is no use of it.
TEST(CheckpointStore, EachReadOfAPayloadIsOneUse) {
  const Folder folder;
  const auto tokens = prompt(1, 40);
  auto writer = open_store(folder / "s", small_options());
  put_all(*writer, tokens, 500);
  ASSERT_TRUE(writer->put_state(kModel, {.tokens = tokens, .text = "a prompt"}, "its state"));
  const auto hits = [&](const CheckpointStore& store) {
    std::map<std::string, std::vector<std::uint32_t>> out;
    EXPECT_TRUE(store.list([&](const CheckpointEntry& e) {
      out[e.kind].push_back(e.hits);
      return true;
    }));
    return out;
  };
  const auto use = [&](CheckpointStore& store) {
    CheckpointRead sizes[] = {{.block = 0}, {.block = 1}, {.block = 2}};
    EXPECT_EQ(*store.get(kModel, tokens, sizes), 0u);
    EXPECT_EQ(sizes[2].payload_bytes, 500u);
    EXPECT_EQ(read_all(store, tokens, 500), 40u);
    EXPECT_EQ(read_all(store, prompt(1, 16), 500), 16u);
    Buffer payload;
    EXPECT_TRUE(store.find_state(kModel, tokens, nullptr));
    EXPECT_TRUE(store.find_state(kModel, tokens, &payload));
    EXPECT_TRUE(store.find_state_text(kModel, "a prompt", nullptr));
    EXPECT_TRUE(store.find_state_text(kModel, "a prompt, and more", &payload));
    EXPECT_TRUE(store.visit_states(kModel, [](const auto&, ByteView) { return Status(); }));
  };
  using Hits = std::map<std::string, std::vector<std::uint32_t>>;
  use(*writer);
  EXPECT_EQ(hits(*writer), (Hits{{"block", {2, 1}}, {"tail", {1}}, {"state", {2}}}));
  const auto reader = open_store(folder / "s", {.read_only = true});
  use(*reader);
  ASSERT_TRUE(writer->flush());
  EXPECT_EQ(hits(*writer), (Hits{{"block", {4, 2}}, {"tail", {2}}, {"state", {4}}}));
  use(*reader);
  ASSERT_TRUE(writer->close());
  use(*reader);
  const auto again = open_store(folder / "s", small_options());
  EXPECT_EQ(hits(*again), (Hits{{"block", {8, 4}}, {"tail", {4}}, {"state", {8}}}));
}

// A new index is written while others match and read: they never wait for all of it, and what they
// find bad meanwhile is set aside.
TEST(CheckpointStore, AnIndexIsWrittenBesideReads) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options(512 << 20));
  const auto tokens = prompt(1, 64);
  put_all(*store, tokens, 200);
  std::atomic<bool> done{false};
  std::thread reads([&] {
    while (!done) EXPECT_EQ(read_all(*store, tokens, 200), 64u);
  });
  // Events of over a megabyte of journal, a few times.
  for (std::uint32_t i = 2; i < 1200; ++i) put_all(*store, prompt(i, 480), 10);
  done = true;
  reads.join();
  EXPECT_GT(store->stats().index_bytes_written, 3u << 20);
  EXPECT_EQ(store->check()->bad, 0u);
  ASSERT_TRUE(store->close());
  const auto again = open_store(folder / "s", small_options(512 << 20));
  EXPECT_EQ(again->stats().blocks, 1198u * 30 + 4);
  EXPECT_EQ(read_all(*again, tokens, 200), 64u);
}

// A durable put syncs one file, as a plain write would; what it wrote is there without the journal.
TEST(CheckpointStore, ADurablePutSyncsOnce) {
  static std::atomic<int> syncs{0};
  checkpoint::set_fault_hook([](const char* call, const std::string&) {
    syncs += std::string_view(call) == "sync" ? 1 : 0;
    return 0;
  });
  const Folder folder;
  CheckpointOptions o = small_options();
  o.sync = CheckpointSync::every_put;
  const auto store = open_store(folder / "s", o);
  put_all(*store, prompt(1, 32), 5000);
  const int before = syncs;
  for (std::uint32_t i = 2; i < 10; ++i) put_all(*store, prompt(i, 32), 5000);
  EXPECT_EQ(syncs - before, 8);
  checkpoint::set_fault_hook(nullptr);
  // Power is lost before the journal was written out.
  fs::copy(folder / "s", folder / "t");
  fs::resize_file(folder / "t/journal-00000000", 40);
  const auto again = open_store(folder / "t", o);
  for (std::uint32_t i = 1; i < 10; ++i) {
    EXPECT_EQ(read_all(*again, prompt(i, 32), 5000), 32u) << i;
  }
}

// More files wait for a sync than are kept open: one that cannot be opened is no success, and is
// synced when it can be.
TEST(CheckpointStore, AFlushThatCannotOpenAFileSaysSo) {
  static std::atomic<int> opens{0};
  static std::atomic<int> syncs{0};
  static std::atomic<bool> failing{false};
  const Folder folder;
  CheckpointOptions o = small_options();
  o.segment_bytes = 4096;
  const auto store = open_store(folder / "s", o);
  constexpr int kFiles = 300;
  for (std::uint32_t i = 0; i < kFiles; ++i) put_all(*store, prompt(i, 16), 4000);
  ASSERT_EQ(store->stats().segments, std::size_t{kFiles});
  EXPECT_LT(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()),
            kFiles);
  checkpoint::set_fault_hook([](const char* call, const std::string& path) {
    if (path.find("log-") == std::string::npos) return 0;
    syncs += std::string_view(call) == "sync" ? 1 : 0;
    if (std::string_view(call) != "open") return 0;
    ++opens;
    return failing ? EMFILE : 0;
  });
  failing = true;
  EXPECT_EQ(store->flush().code(), Errc::exhausted);
  EXPECT_GT(opens, 0);
  EXPECT_LT(syncs, kFiles);
  failing = false;
  const auto flushed = store->flush();
  checkpoint::set_fault_hook(nullptr);
  EXPECT_TRUE(flushed);
  EXPECT_EQ(syncs, kFiles);
}

TEST(CheckpointStore, AsyncCompletesAndCancels) {
  const Folder folder;
  CheckpointOptions o = small_options();
  o.threads = 1;
  const auto store = open_store(folder / "s", o);
  std::vector<std::vector<Token>> prompts;
  std::vector<Blocks> blocks;
  for (std::uint32_t i = 0; i < 20; ++i) {
    prompts.push_back(prompt(i, 64));
    blocks.push_back(blocks_of(prompts.back(), 16, 200000));
  }
  std::map<std::uint64_t, bool> cancelled;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto id = store->submit_put(kModel, prompts[i], {.blocks = blocks[i].blocks});
    ASSERT_TRUE(id);
    cancelled[*id] = false;
  }
  cancelled.rbegin()->second = store->cancel(cancelled.rbegin()->first);
  std::size_t taken = 0;
  while (taken < prompts.size()) {
    CheckpointCompletion c[8];
    const std::size_t count = store->take_completions(c, 10000);
    ASSERT_GT(count, 0u);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(c[i].status, cancelled.at(c[i].id) ? Errc::cancelled : Errc::ok);
    }
    taken += count;
  }
  EXPECT_EQ(read_all(*store, prompts[0], 200000), 64u);
  EXPECT_FALSE(store->cancel(1));
}

// Who waits for a completion comes back when there is none to come any more, and not before.
TEST(CheckpointStore, ClosingWakesWhoWaitsForCompletions) {
  static CheckpointStore* closing;
  static const auto tokens = prompt(1, 64);
  static std::atomic<std::size_t> submitted;
  const Folder folder;
  for (const bool busy : {false, true}) {
    CheckpointOptions o = small_options();
    o.threads = 1;
    const auto store = open_store(folder / (busy ? "busy" : "idle"), o);
    closing = store.get();
    submitted = 0;
    const Blocks b = blocks_of(tokens, 16, 3000);
    // The first put is not done before the store takes no more calls.
    checkpoint::set_fault_hook([](const char* call, const std::string& path) {
      if (std::string_view(call) != "write" || path.find("log-") == std::string::npos) return 0;
      while (closing->submit_get(kModel, tokens, {})) {
        ++submitted;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      return 0;
    });
    for (int i = 0; busy && i < 3; ++i) {
      ASSERT_TRUE(store->submit_put(kModel, tokens, {.blocks = b.blocks}));
      ++submitted;
    }
    const auto begun = std::chrono::steady_clock::now();
    std::size_t taken = 0;
    std::atomic<pid_t> waiter{0};
    std::thread waits([&] {
      CheckpointCompletion c[2];
      waiter = ::gettid();
      while (const std::size_t count = store->take_completions(c, 60000)) {
        for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(c[i].status, Errc::ok);
        taken += count;
      }
    });
    while ((waiter == 0 || !sleeps(waiter)) &&
           std::chrono::steady_clock::now() - begun < std::chrono::minutes(1)) {
      std::this_thread::yield();
    }
    EXPECT_TRUE(store->close());
    waits.join();
    checkpoint::set_fault_hook(nullptr);
    EXPECT_EQ(taken, submitted);
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(60));
  }
}

TEST(CheckpointStore, ADamagedBlockIsAMissAndIsMended) {
  const Folder folder;
  const auto tokens = prompt(1, 64);
  {
    const auto store = open_store(folder / "s", small_options());
    put_all(*store, tokens, 3000);
  }
  // Flips one byte inside the second block's record.
  std::string log;
  for (const auto& item : fs::directory_iterator(folder / "s")) {
    if (item.path().filename().string().starts_with("log-")) log = item.path();
  }
  {
    std::fstream file(log, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(5000);
    const char c = static_cast<char>(file.get());
    file.seekp(5000);
    file.put(static_cast<char>(c ^ 1));
  }
  const auto store = open_store(folder / "s");
  EXPECT_EQ(store->match(kModel, tokens)->tokens, 64u);
  EXPECT_EQ(read_all(*store, tokens, 3000), 16u);
  EXPECT_EQ(store->stats().quarantined, 1u);
  EXPECT_EQ(store->match(kModel, tokens)->tokens, 16u);
  EXPECT_EQ(store->explain(kModel, tokens)->reason, "quarantined");
  put_all(*store, tokens, 3000);  // the hole is filled, and what stood behind it is found again
  EXPECT_EQ(read_all(*store, tokens, 3000), 64u);
}

// What a put writes behind stays, though the only record before it is found damaged meanwhile.
TEST(CheckpointStore, DamageFoundDuringAPutCostsThePutNothing) {
  static CheckpointStore* reading;
  static int writes;
  for (const int failing : {0, ENOSPC}) {
    static int fault;
    fault = failing;
    const Folder folder;
    put_all(*open_store(folder / "s", small_options()), prompt(1, 16), 5000);
    {
      std::fstream file(folder / "s/log-00000001", std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(3000) << "damage";
    }
    auto store = open_store(folder / "s", small_options());
    reading = store.get();
    writes = 0;
    checkpoint::set_fault_hook([](const char* call, const std::string& path) {
      const bool log = std::string_view(call) == "write" && path.find("log-") != std::string::npos;
      // The first write is of the namespace.
      if (!log || ++writes != 2) return 0;
      EXPECT_EQ(read_all(*reading, prompt(1, 16), 5000), 0u);
      return fault;
    });
    put_all(*store, prompt(2, 32), 5000);
    checkpoint::set_fault_hook(nullptr);
    EXPECT_EQ(store->stats().quarantined, 1u);
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(read_all(*store, prompt(2, 32), 5000), 32u);
      EXPECT_EQ(store->match(kModel, prompt(1, 16))->tokens, 0u);
      EXPECT_EQ(store->stats().segments, 1u);
      store.reset();
      store = open_store(folder / "s", small_options());
    }
  }
}

// What fills a hole has what it was put with: its text, and no end to its life.
TEST(CheckpointStore, AMendedBlockHasWhatItWasPutWith) {
  const Folder folder;
  const std::string path = folder / "s";
  CheckpointOptions o = small_options();
  auto store = open_store(path, o);
  const auto tokens = prompt(1, 32);
  const Blocks plain = blocks_of(tokens, 16, 1000);
  const Blocks texts = blocks_of(tokens, 16, 1000, true);
  ASSERT_TRUE(store->put(kModel, TokenView(tokens).first(16),
                         {.blocks = std::span(plain.blocks).first(1), .time_to_live_ms = 300}));
  ASSERT_TRUE(store->put(kModel, tokens, {.blocks = plain.blocks}));
  {
    std::fstream file(path + "/log-00000001", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(fs::file_size(path + "/log-00000001")) - 2500);
    file << "damage";
  }
  ASSERT_EQ(read_all(*store, tokens, 1000), 0u);
  ASSERT_EQ(store->stats().quarantined, 1u);
  ASSERT_TRUE(store->put(kModel, tokens, {.blocks = texts.blocks}));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(store->match_text(kModel, texts.texts[0] + "and more")->tokens.size(), 16u);
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    EXPECT_EQ(store->expire().value(), 0u);
    EXPECT_EQ(read_all(*store, tokens, 1000), 32u);
    EXPECT_EQ(store->stats().blocks, 2u);
    store.reset();
    store = open_store(path, o);
  }
}

TEST(CheckpointStore, CleansWhereHolesCannotBePunched) {
  const Folder folder;
  checkpoint::set_fault_hook([](const char* call, const std::string&) {
    return std::string_view(call) == "punch" ? EOPNOTSUPP : 0;
  });
  CheckpointOptions o = small_options(16 << 20);
  const auto store = open_store(folder / "s", o);
  for (std::uint32_t i = 0; i < 200; ++i) {
    const auto tokens = prompt(i % 110, 64);
    const Blocks b = blocks_of(tokens, 16, 60000);
    ASSERT_TRUE(store->put(kModel, tokens, {.blocks = b.blocks}));
    ASSERT_LE(disk_use(folder / "s"), o.budget_bytes);
  }
  EXPECT_FALSE(store->stats().hole_punching);
  EXPECT_EQ(store->check()->bad, 0u);
  EXPECT_GT(store->stats().live_bytes, o.budget_bytes / 4);
  checkpoint::set_fault_hook(nullptr);
}

// A put that finds the disk full takes the place of about as much as it needs, also where that does
// not come free; one that fails for another reason takes nothing with it.
TEST(CheckpointStore, AFullDiskDoesNotEmptyTheStore) {
  static int fault;
  static const char* failing;
  for (const bool no_file : {false, true}) {
    fault = no_file ? EMFILE : ENOSPC;
    failing = no_file ? "create" : "write";
    const Folder folder;
    CheckpointOptions o = small_options();
    o.segment_bytes = 8 << 20;
    const auto store = open_store(folder / "s", o);
    for (std::uint32_t i = 0; i < 100; ++i) put_all(*store, prompt(i, 16), 80000);
    static bool full;
    full = false;
    checkpoint::set_fault_hook([](const char* made, const std::string& path) {
      if (std::string_view(made) == "punch") return EOPNOTSUPP;
      const bool log = path.find("log-") != std::string::npos;
      return full && log && std::string_view(made) == failing ? fault : 0;
    });
    ASSERT_TRUE(store->remove(kModel, prompt(0, 16)));  // sees that there are no holes
    full = true;
    const Buffer payload(1 << 20, 'b');
    const CheckpointBlock large{payload, {}};
    EXPECT_EQ(store->put(kModel, prompt(200, 16), {.blocks = {&large, 1}}).code(), Errc::exhausted);
    checkpoint::set_fault_hook(nullptr);
    const std::uint64_t evicted = store->stats().evicted;
    if (fault == ENOSPC) {
      EXPECT_GT(evicted, 12u);
      EXPECT_LT(evicted, 40u);
    } else {
      EXPECT_EQ(evicted, 0u);
    }
    EXPECT_EQ(store->stats().blocks, 99 - evicted);
  }
}

// What is larger than a smaller budget, or stands behind such, can never stay: it goes first,
// however much it was used, and the rest is kept as if it had not been there.
TEST(CheckpointStore, WhatCannotStayDoesNotTakeTheRestWithIt) {
  constexpr std::size_t kMegabyte = 1 << 20;
  for (const Eviction eviction : {Eviction::value, Eviction::lru, Eviction::decayed_hits}) {
    for (const bool by_bytes : {false, true}) {
      SCOPED_TRACE(by_bytes);
      const Folder folder;
      CheckpointOptions o = small_options();
      o.eviction = eviction;
      const auto large = prompt(1, 40);
      const auto small = prompt(2, 72);
      auto store = open_store(folder / "s", o);
      put_all(*store, small, kMegabyte);
      // Blocks of which only the last two would fit, and a state.
      const Buffer first(6 * kMegabyte, 'f');
      const CheckpointBlock blocks[] = {{first}, {"second"}, {"tail"}};
      ASSERT_TRUE(store->put(kModel, large, {.blocks = blocks}));
      ASSERT_TRUE(store->put_sidecar(kModel, large, "logits", "of the end"));
      ASSERT_TRUE(store->put_state(kModel, {.text = "a prompt"}, first));
      for (int i = 0; i < 2; ++i) {
        Buffer payload;
        ASSERT_TRUE(store->find_state_text(kModel, "a prompt", &payload));
        EXPECT_EQ(*store->touch(kModel, large), 40u);
      }
      std::uint64_t evicted = 0;
      if (by_bytes) {
        evicted = *store->evict(o.budget_bytes - 5 * kMegabyte);
      } else {
        store.reset();
        o.budget_bytes = 5 * kMegabyte;
        store = open_store(folder / "s", o);
        evicted = store->stats().evicted;
      }
      EXPECT_EQ(evicted, 6u);
      EXPECT_EQ(store->match(kModel, small)->tokens, 64u);
      EXPECT_EQ(store->match(kModel, large)->tokens, 0u);
      EXPECT_EQ(store->stats().states, 0u);
      EXPECT_EQ(store->explain(kModel, large)->reason, "evicted");
    }
  }
}

// A budget belongs to the store: who opens it without one (the command, a script) neither empties
// it nor lets it grow.
TEST(CheckpointStore, TheBudgetIsRemembered) {
  const Folder folder;
  const std::string path = folder / "s";
  {
    const auto store = open_store(path, small_options(8 << 20));
    for (std::uint32_t i = 0; i < 30; ++i) put_all(*store, prompt(i, 32), 100000);
  }
  EXPECT_EQ(open_store(path, {.read_only = true})->stats().budget_bytes, 8u << 20);
  auto store = open_store(path);
  EXPECT_EQ(store->stats().budget_bytes, 8u << 20);
  EXPECT_EQ(store->stats().evicted, 0u);
  for (std::uint32_t i = 30; i < 90; ++i) put_all(*store, prompt(i, 32), 100000);
  EXPECT_LE(disk_use(path), 8u << 20);
  store.reset();
  store =
      open_store(path, {.budget_bytes = 4 << 20});  // a smaller one evicts, and counts from then
  EXPECT_LE(disk_use(path), 4u << 20);
  EXPECT_GT(store->stats().evicted, 0u);
  store.reset();
  EXPECT_EQ(open_store(path)->stats().budget_bytes, 4u << 20);
  fs::resize_file(path + "/store", 24);  // as stores were before
  EXPECT_EQ(open_store(path)->stats().budget_bytes, 64ull << 30);
  EXPECT_EQ(CheckpointStore::open(path, {.budget_bytes = 1000}).code(), Errc::invalid);
}

// What only names something, or says why it went, must not take the room of states.
TEST(CheckpointStore, NamesAndReasonsStayWithinTheBudget) {
  const Folder folder;
  CheckpointOptions o = small_options(1 << 20);
  o.eviction = Eviction::lru;
  const auto store = open_store(folder / "s", o);
  const auto tokens = prompt(1, 16);
  const Blocks b = blocks_of(tokens, 16, 3000);
  std::size_t refused = 0;
  for (int i = 0; i < 100; ++i) {
    const Namespace n{.model = std::to_string(i), .extra = std::string(30000, 'x')};
    const auto put = store->put(n, tokens, {.blocks = b.blocks});
    EXPECT_TRUE(put || put.code() == Errc::exhausted);
    refused += put ? 0 : 1;
    ASSERT_LE(disk_use(folder / "s"), o.budget_bytes) << i;
  }
  EXPECT_GT(refused, 90u);
  put_all(*store, tokens, 3000);
  for (std::uint32_t i = 2; i < 3000; ++i) {
    put_all(*store, prompt(i, 256), 3000);
    if (i % 100 == 0) {
      ASSERT_LE(disk_use(folder / "s"), o.budget_bytes) << i;
    }
  }
  EXPECT_GT(store->stats().live_bytes, o.budget_bytes / 2);
}

TEST(CheckpointStore, OtherFoldersAreLeftAlone) {
  const Folder folder;
  const std::string path = folder / "home";
  fs::create_directory(path);
  std::ofstream(path + "/letter.tmp") << "dear";
  std::ofstream(path + "/lock") << "another's";
  EXPECT_EQ(CheckpointStore::open(path, {}).code(), Errc::invalid);
  EXPECT_EQ(*read_file(path + "/lock", 100), "another's");
  EXPECT_EQ(std::distance(fs::directory_iterator(path), fs::directory_iterator()), 2);
  // In a store, too, what is not its own stays. A fresh disk is no other folder.
  const std::string own = folder / "s";
  fs::create_directories(own + "/lost+found");
  put_all(*open_store(own, small_options()), prompt(1, 40), 100);
  std::ofstream(own + "/notes.tmp") << "mine";
  std::ofstream(own + "/store.tmp") << "cut short";
  const auto store = open_store(own);
  EXPECT_EQ(read_all(*store, prompt(1, 40), 100), 40u);
  EXPECT_TRUE(fs::exists(own + "/notes.tmp"));
  EXPECT_FALSE(fs::exists(own + "/store.tmp"));
}

TEST(CheckpointStore, ArgumentsThatCannotBe) {
  const Folder folder;
  for (const CheckpointOptions& o :
       {CheckpointOptions{.segment_bytes = 129ull << 30}, CheckpointOptions{.threads = 0},
        CheckpointOptions{.threads = 4000000000u}, CheckpointOptions{.block_tokens = 15},
        CheckpointOptions{.block_tokens = 4097},
        CheckpointOptions{.attention_tokens = std::nan("")}}) {
    EXPECT_EQ(CheckpointStore::open(folder / "no", o).code(), Errc::invalid);
  }
  EXPECT_FALSE(fs::exists(folder / "no"));
  const auto store = open_store(folder / "s", small_options());
  const auto tokens = prompt(1, 16);
  const Blocks b = blocks_of(prompt(1, 32), 16, 100);
  const std::span<const CheckpointBlock> blocks(b.blocks);
  // first_block + 2 blocks is 1, modulo 2^64.
  EXPECT_EQ(store->put(kModel, tokens, {.first_block = ~std::size_t{0}, .blocks = blocks}).code(),
            Errc::invalid);
  EXPECT_EQ(store->put(kModel, {}, {}).code(), Errc::invalid);
  ASSERT_TRUE(store->put(kModel, tokens,
                         {.blocks = blocks.first(1), .time_to_live_ms = ~std::uint64_t{0} - 5}));
  EXPECT_EQ(*store->expire(), 0u);
  EXPECT_EQ(read_all(*store, tokens, 100), 16u);
  CheckpointRead read{.block = 0xffffffffu};
  EXPECT_EQ(*store->get(kModel, tokens, {&read, 1}), 0u);
  EXPECT_EQ(read.status, Errc::not_found);
  Buffer out(10, 'x');
  read = {.block = 0, .offset = ~std::uint64_t{0}, .out = out};
  ASSERT_TRUE(store->get(kModel, tokens, {&read, 1}));
  EXPECT_EQ(read.status, Errc::ok);
  EXPECT_EQ(read.bytes, 0u);
  EXPECT_EQ(*store->remove(kModel, tokens, ~std::uint64_t{0}), 0u);
  EXPECT_EQ(*store->evict(~std::uint64_t{0}), 1u);
  // Whatever bytes a name has, it is that name and no other.
  const Namespace odd{.model = std::string("a\0b\n\xff", 5), .tenant = "../../x"};
  const Namespace cut{.model = "a"};
  ASSERT_TRUE(store->put(odd, tokens, {.blocks = blocks.first(1)}));
  EXPECT_EQ(store->match(odd, tokens)->tokens, 16u);
  EXPECT_EQ(store->match(cut, tokens)->tokens, 0u);
  const Namespace large{.extra = std::string(40000, 'x')};
  EXPECT_EQ(store->put(large, tokens, {.blocks = blocks.first(1)}).code(), Errc::invalid);
  EXPECT_EQ(store->match(large, tokens)->tokens, 0u);
}

// A process that is out of file descriptors misses, and loses nothing.
TEST(CheckpointStore, WithoutFileDescriptorsNothingIsLost) {
  const Folder folder;
  put_all(*open_store(folder / "s", small_options()), prompt(1, 32), 5000);
  const auto store = open_store(folder / "s", {.read_only = true});
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{3, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  Buffer out(5000, 'x');
  CheckpointRead read{.block = 1, .out = out};
  const auto got = store->get(kModel, prompt(1, 32), {&read, 1});
  const auto text = store->match_text(kModel, "1 ");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(got);
  EXPECT_TRUE(text);
  EXPECT_EQ(read.status, Errc::not_found);
  EXPECT_EQ(store->stats().quarantined, 0u);
  EXPECT_EQ(read_all(*store, prompt(1, 32), 5000), 32u);
}

TEST(CheckpointStore, AFileUnderTheNextNameIsPassedOver) {
  const Folder folder;
  CheckpointOptions o = small_options();
  o.segment_bytes = 1 << 20;
  const auto store = open_store(folder / "s", o);
  put_all(*store, prompt(1, 16), 900000);
  std::ofstream(folder / "s/log-00000002") << "another's";
  put_all(*store, prompt(2, 16), 900000);
  EXPECT_EQ(read_all(*store, prompt(2, 16), 900000), 16u);
  EXPECT_EQ(*read_file(folder / "s/log-00000002", 100), "another's");
  // Files that are lost while the store is open are misses after it was opened again.
  fs::remove(folder / "s/log-00000001");
  put_all(*store, prompt(3, 16), 900000);
  ASSERT_TRUE(store->close());
  const auto again = open_store(folder / "s", o);
  EXPECT_EQ(read_all(*again, prompt(1, 16), 900000), 0u);
  EXPECT_EQ(read_all(*again, prompt(3, 16), 900000), 16u);
  EXPECT_EQ(again->check()->bad, 0u);
}

// The newest file of the log is lost: what it had is missed, and a new one is written, under a
// number that no record that is still known has.
TEST(CheckpointStore, TheNewestLogFileMayBeLost) {
  const Folder folder;
  auto store = open_store(folder / "s", small_options());
  put_all(*store, prompt(1, 40), 5000);
  ASSERT_TRUE(store->flush());
  fs::copy(folder / "s", folder / "journal");  // knows what it knows by its journal
  store.reset();
  for (const std::string& path : {folder / "s", folder / "journal"}) {
    fs::remove(path + "/log-00000001");
    store = open_store(path, small_options());
    put_all(*store, prompt(2, 40), 5000);
    EXPECT_FALSE(fs::exists(path + "/log-00000001"));
    EXPECT_EQ(read_all(*store, prompt(1, 40), 5000), 0u);
    put_all(*store, prompt(1, 40), 5000);
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(read_all(*store, prompt(1, 40), 5000), 40u);
      EXPECT_EQ(read_all(*store, prompt(2, 40), 5000), 40u);
      store.reset();
      store = open_store(path, small_options());
    }
  }
}

// Readers go on while writers fill the store, empty it and write new indexes, so that what they
// looked up is gone when they come back from reading.
TEST(CheckpointStore, ReadersOutliveEveryIndex) {
  const Folder folder;
  const std::string path = folder / "s";
  open_store(path, small_options()).reset();
  const auto reader = open_store(path, {.read_only = true});
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      while (!done) {
        read_all(*reader, prompt(1, 70), 3000);
        Buffer payload;
        const auto state = reader->find_state(kModel, prompt(2, 30), &payload);
        EXPECT_TRUE(!state || payload == "payload");
        const auto sidecar = reader->get_sidecar(kModel, prompt(1, 64), "logits");
        EXPECT_TRUE(!sidecar || *sidecar == "abc");
        if (t == 0) {
          EXPECT_TRUE(reader->check());
        }
        const auto text = reader->match_text(kModel, "100003 100010 100017 and more");
        EXPECT_TRUE(text);
      }
    });
  }
  for (int round = 0; round < 25; ++round) {
    const auto writer = open_store(path, small_options());
    put_all(*writer, prompt(1, 70), 3000, true);
    EXPECT_TRUE(writer->put_sidecar(kModel, prompt(1, 64), "logits", "abc"));
    EXPECT_TRUE(writer->put_state(kModel, {.tokens = prompt(2, 20), .text = "t"}, "payload"));
    EXPECT_TRUE(writer->flush());
    if (round % 2 == 1) {
      EXPECT_TRUE(writer->remove_namespace(kModel));
    }
  }
  done = true;
  for (std::thread& t : threads) t.join();
}

// While a reader reads one state, the writer may put another where the next one stood that would be
// tried: of another namespace, of other tokens, without any text. What was asked for is a miss.
TEST(CheckpointStore, WhatTookThePlaceOfAStateIsNotServed) {
  static CheckpointStore* writing;
  static bool by_text;
  static const Namespace other{.model = "toy", .dtype = "bf16", .lora = "other"};
  for (const bool text : {false, true}) {
    by_text = text;
    const Folder folder;
    const auto writer = open_store(folder / "s", small_options());
    for (const std::size_t size : {16u, 32u}) {
      const CheckpointState state{.tokens = prompt(1, size), .text = Buffer(size, 't')};
      ASSERT_TRUE(writer->put_state(kModel, state, Buffer(size, 'p')));
    }
    const auto reader = open_store(folder / "s", {.read_only = true});
    writing = writer.get();
    checkpoint::set_fault_hook([](const char* call, const std::string& path) {
      const bool log = std::string_view(call) == "open" && path.find("log-") != std::string::npos;
      if (!log || writing == nullptr) return 0;
      CheckpointStore& store = *writing;
      writing = nullptr;
      EXPECT_EQ(*store.remove_namespace(kModel), 2u);
      for (const std::uint32_t family : {2u, 3u}) {
        const CheckpointState state = by_text ? CheckpointState{.tokens = prompt(family, 16)}
                                              : CheckpointState{.text = std::to_string(family)};
        EXPECT_TRUE(store.put_state(other, state, "another's"));
      }
      return EIO;
    });
    Buffer payload;
    const auto found = by_text ? reader->find_state_text(kModel, Buffer(40, 't'), &payload)
                               : reader->find_state(kModel, prompt(1, 40), &payload);
    checkpoint::set_fault_hook(nullptr);
    EXPECT_EQ(writing, nullptr);
    EXPECT_EQ(found.code(), Errc::not_found) << payload;
    EXPECT_EQ(payload, "");
  }
}

// A rebuilt index may number the namespaces otherwise: who is visiting one stays in it.
TEST(CheckpointStore, AVisitStaysInItsNamespace) {
  const Namespace other{.model = "toy", .dtype = "bf16", .tenant = "other"};
  for (const bool texts : {false, true}) {
    const Folder folder;
    CheckpointOptions o = small_options();
    o.segment_bytes = 1 << 20;
    auto writer = open_store(folder / "s", o);
    const auto put = [&](const Namespace& n, std::uint32_t family, const Buffer& payload) {
      if (!texts) return writer->put_state(n, {.tokens = prompt(family, 16)}, payload);
      const Buffer text = n.tenant + "'s";
      const CheckpointBlock block{payload, text};
      EXPECT_TRUE(writer->remove(n, prompt(family, 16)));
      auto done = writer->put(n, prompt(family, 16), {.blocks = {&block, 1}});
      return done ? Status() : std::move(done).error();
    };
    ASSERT_TRUE(put(kModel, 1, Buffer(900000, 'm')));
    for (const std::uint32_t family : {2u, 3u, 4u}) {
      ASSERT_TRUE(put(other, family, Buffer(200000, 'o')));
    }
    ASSERT_TRUE(put(kModel, 1, "mine"));  // the first namespace stands last in the log from now on
    ASSERT_FALSE(fs::exists(folder / "s/log-00000001"));
    const auto reader = open_store(folder / "s", {.read_only = true});
    std::size_t visited = 0;
    const auto rebuild = [&] {
      if (++visited > 1) return;
      writer.reset();
      fs::resize_file(folder / "s/index-00000001", 100);
      writer = open_store(folder / "s", o);
      EXPECT_TRUE(reader->match(kModel, prompt(1, 16)));
    };
    if (texts) {
      EXPECT_TRUE(reader->visit_texts(kModel, [&](std::uint64_t, ByteView text) {
        EXPECT_EQ(text, "'s");
        rebuild();
        return true;
      }));
    } else {
      EXPECT_TRUE(reader->visit_states(kModel, [&](const CheckpointState&, ByteView payload) {
        EXPECT_TRUE(payload == "mine");
        rebuild();
        return Status();
      }));
    }
    EXPECT_GE(visited, 1u);
  }
}

TEST(CheckpointStore, AVisitThatThrowsHoldsNothing) {
  const Folder folder;
  const auto store = open_store(folder / "s", small_options());
  put_all(*store, prompt(1, 48), 3000, true);
  ASSERT_TRUE(store->put_state(kModel, {.tokens = prompt(2, 20)}, "state"));
  const auto texts = [](std::uint64_t, ByteView) -> bool { throw std::runtime_error("enough"); };
  EXPECT_THROW(static_cast<void>(store->visit_texts(kModel, texts).has_value()),
               std::runtime_error);
  const auto states = [](const CheckpointState&, ByteView) -> Status {
    throw std::runtime_error("enough");
  };
  EXPECT_THROW(static_cast<void>(store->visit_states(kModel, states).has_value()),
               std::runtime_error);
  EXPECT_EQ(store->remove(kModel, prompt(1, 48)).code(), Errc::ok);
  EXPECT_EQ(*store->remove_namespace(kModel), 1u);
}

// Text that a block was put with once says nothing of what was put in its place without.
TEST(CheckpointStore, TextOfWhatWasReplacedFindsNothing) {
  const Folder folder;
  const auto tokens = prompt(1, 32);
  put_all(*open_store(folder / "s", small_options()), tokens, 100, true);
  {
    std::fstream file(folder / "s/log-00000001", std::ios::in | std::ios::out | std::ios::binary);
    const Buffer bytes{std::istreambuf_iterator<char>(file), {}};
    const auto at = bytes.find(payload_of(tokens, 0, 16, 100));
    ASSERT_NE(at, Buffer::npos);
    file.seekp(static_cast<std::streamoff>(at)) << "damage";
  }
  const auto store = open_store(folder / "s", small_options());
  EXPECT_EQ(read_all(*store, tokens, 100), 0u);
  put_all(*store, tokens, 100);
  EXPECT_EQ(read_all(*store, tokens, 100), 32u);
  Buffer text;
  for (const Token t : tokens) text += std::to_string(t) + " ";
  EXPECT_EQ(store->match_text(kModel, text)->tokens.size(), 0u);
}

// What a writer evicts under a reader is a miss, and no damage.
TEST(CheckpointStore, EvictionIsNoDamageToReaders) {
  const Folder folder;
  const auto writer = open_store(folder / "s", small_options(2 << 20));
  put_all(*writer, prompt(0, 64), 20000);
  const auto reader = open_store(folder / "s", {.read_only = true});
  std::atomic<bool> done{false};
  std::thread evicting([&] {
    for (std::uint32_t i = 1; i < 400; ++i) put_all(*writer, prompt(i, 64), 20000);
    done = true;
  });
  std::uint32_t i = 0;
  while (!done) {
    const auto checked = reader->check();
    EXPECT_TRUE(checked);
    if (checked) {
      EXPECT_EQ(checked->bad, 0u);
    }
    Buffer out(20000, 'x');
    CheckpointRead read{.block = i % 4, .out = out};
    EXPECT_TRUE(reader->get(kModel, prompt(++i % 400, 64), {&read, 1}));
    EXPECT_NE(read.status, Errc::corrupt);
  }
  evicting.join();
  EXPECT_EQ(reader->stats().quarantined, 0u);
  EXPECT_EQ(writer->stats().quarantined, 0u);
}

// A store may be closed while others use it, and while what they read turns out to be damaged.
TEST(CheckpointStore, ClosesUnderItsUsers) {
  const Folder folder;
  {
    const auto store = open_store(folder / "base", small_options());
    for (std::uint32_t i = 0; i < 40; ++i) put_all(*store, prompt(i, 32), 3000, true);
    for (const std::uint32_t i : {1u, 2u}) {
      ASSERT_TRUE(store->put_state(kModel, {.tokens = prompt(i, 20)}, Buffer(5000, 's')));
    }
  }
  {
    std::fstream file(folder / "base/log-00000001",
                      std::ios::in | std::ios::out | std::ios::binary);
    for (int i = 0; i < 40; ++i) file.seekp(2500 + i * 6800) << "damage";
    file.seekp(-3000, std::ios::end) << "damage";  // in the second state
  }
  for (int round = 0; round < 40; ++round) {
    const std::string path = folder / "s";
    fs::remove_all(path);
    fs::copy(folder / "base", path);
    const auto store = open_store(path, small_options());
    if (round == 0) {
      std::size_t visited = 0;
      const auto close = [&](const CheckpointState&, ByteView) {
        ++visited;
        return store->close();
      };
      EXPECT_EQ(store->visit_states(kModel, close).code(), Errc::invalid);
      EXPECT_EQ(visited, 1u);
      continue;
    }
    std::atomic<int> started{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        Buffer out(3000, 'x');
        for (std::uint32_t i = 0; i < 200; ++i) {
          const auto tokens = prompt((i + static_cast<std::uint32_t>(t) * 13) % 40, 32);
          CheckpointRead read{.block = i % 2, .out = out};
          const auto got = store->get(kModel, tokens, {&read, 1});
          EXPECT_TRUE(got || got.code() == Errc::invalid);
          if (t == 1) static_cast<void>(store->match_text(kModel, "1 2 3").has_value());
          if (t == 2) static_cast<void>(store->check().has_value());
          ++started;
          if (!got) break;
        }
      });
    }
    while (started < round % 10 + 1) std::this_thread::yield();
    EXPECT_TRUE(store->close());
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(store->match(kModel, prompt(1, 32)).code(), Errc::invalid);
  }
}

TEST(CheckpointStore, RandomOperationsAgainstAModel) {
  std::mt19937_64 random(test_seed());
  const Folder folder;
  auto store = open_store(folder / "s", small_options(256 << 20));
  std::map<std::uint32_t, std::size_t> sizes;  // family -> longest stored
  for (int step = 0; step < 1500; ++step) {
    const auto family = static_cast<std::uint32_t>(random() % 12);
    const std::size_t size = 1 + random() % 200;
    switch (random() % 8) {
      case 0:
      case 1:
      case 2:
        put_all(*store, prompt(family, size), 700);
        sizes[family] = std::max(sizes[family], size);
        break;
      case 3: {
        const std::size_t from = size / 16 * 16;
        ASSERT_TRUE(store->remove(kModel, prompt(family, 400), from));
        sizes[family] = std::min(sizes[family], from);
        break;
      }
      case 4:
        if (random() % 20 == 0) {
          store.reset();
          store = open_store(folder / "s", small_options(256 << 20));
        }
        break;
      default: {
        const std::size_t have = sizes[family];
        const auto tokens = prompt(family, size);
        std::size_t want = std::min(have, size) / 16 * 16;
        // The tail that ends the longest is there unless the prompt is shorter than it.
        const std::uint64_t got = read_all(*store, tokens, 700);
        EXPECT_GE(got, want);
        EXPECT_LE(got, std::max(have, want));
        if (size >= have) {
          EXPECT_EQ(got, have);
        }
      }
    }
  }
  EXPECT_EQ(store->check()->bad, 0u);
}

}  // namespace
}  // namespace tokvault
