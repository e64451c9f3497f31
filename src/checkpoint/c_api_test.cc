// The C functions: what they pass on, and what they refuse.
#include <gtest/gtest.h>
#include <poll.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <span>

#include "checkpoint/test_states.h"
#include "tokvault/tokvault_checkpoint_c.h"

namespace {

// What this thread may have in one piece.
thread_local std::size_t piece_bytes_max = std::size_t{1} << 40;

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  void* const p = size > piece_bytes_max ? nullptr : std::malloc(size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
[[gnu::noinline]] void* operator new(std::size_t size,
                                     const std::nothrow_t& /*no throw*/) noexcept {
  return size > piece_bytes_max ? nullptr : std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t /*size*/) noexcept { std::free(p); }

namespace tokvault {
namespace {

using namespace checkpoint_test;

constexpr int kInvalid = 3;
constexpr std::size_t kHuge = std::numeric_limits<std::size_t>::max();
const tokvault_kv_namespace kName = {"toy",   nullptr, nullptr, "bf16",
                                     nullptr, nullptr, nullptr, nullptr};

class CheckpointC : public ::testing::Test {
 protected:
  const Folder folder_;
  tokvault_kv* store_ = nullptr;
  const std::vector<std::uint32_t> tokens_ = prompt(1, 40);
  Buffer payload_ = Buffer(3000, 'p');
  const tokvault_kv_block block_ = {payload_.data(), payload_.size(), "text", 4};
  const std::vector<tokvault_kv_block> blocks_ = {block_, block_, block_};

  void SetUp() override {
    tokvault_kv_options o = {};
    o.block_tokens = 16;
    o.budget_bytes = 64 << 20;
    ASSERT_EQ(tokvault_kv_open((folder_ / "s").c_str(), &o, &store_), 0);
    ASSERT_EQ(tokvault_kv_put(store_, &kName, tokens_.data(), 40, 0, blocks_.data(), 3, nullptr),
              0);
  }
  void TearDown() override { EXPECT_EQ(tokvault_kv_close(store_), 0); }
};

TEST_F(CheckpointC, StoresAndFinds) {
  EXPECT_EQ(tokvault_kv_block_tokens(store_), 16u);
  tokvault_kv_match match = {};
  ASSERT_EQ(tokvault_kv_match_prefix(store_, &kName, tokens_.data(), 40, &match), 0);
  EXPECT_EQ(match.tokens, 40u);
  EXPECT_EQ(match.blocks, 3u);
  EXPECT_EQ(match.tail_tokens, 8u);
  Buffer out(3000, 'x');
  tokvault_kv_read reads[4] = {};
  for (std::uint32_t i = 0; i < 4; ++i) {
    reads[i].block = i;
    reads[i].data = i == 2 ? out.data() : nullptr;
    reads[i].size = i == 2 ? out.size() : 0;
  }
  std::uint64_t good = 7;
  ASSERT_EQ(tokvault_kv_get(store_, &kName, tokens_.data(), 40, reads, 4, &good), 0);
  EXPECT_EQ(out, payload_);
  EXPECT_EQ(reads[0].payload_bytes, 3000u);
  EXPECT_EQ(reads[2].tokens, 8u);
  EXPECT_EQ(reads[3].status, 1u);
  char logits[8];
  std::size_t size = sizeof logits;
  ASSERT_EQ(tokvault_kv_put_sidecar(store_, &kName, tokens_.data(), 32, "logits", "abc", 3), 0);
  ASSERT_EQ(tokvault_kv_get_sidecar(store_, &kName, tokens_.data(), 32, "logits", logits, &size),
            0);
  EXPECT_EQ(ByteView(logits, size), "abc");
  size = 2;
  EXPECT_EQ(tokvault_kv_get_sidecar(store_, &kName, tokens_.data(), 32, "logits", logits, &size),
            8);
  EXPECT_EQ(size, 3u);
  size = 10;
  EXPECT_EQ(tokvault_kv_get_sidecar(store_, &kName, tokens_.data(), 32, "logits", nullptr, &size),
            8);
  ASSERT_EQ(tokvault_kv_put_sidecar(store_, &kName, tokens_.data(), 32, "empty", nullptr, 0), 0);
  EXPECT_EQ(tokvault_kv_get_sidecar(store_, &kName, tokens_.data(), 32, "empty", nullptr, &size),
            0);
  EXPECT_EQ(tokvault_kv_get_sidecar(store_, &kName, tokens_.data(), 16, "logits", logits, &size),
            1);
  std::uint64_t count = 0;
  ASSERT_EQ(tokvault_kv_pin(store_, &kName, tokens_.data(), 40, &count), 0);
  EXPECT_EQ(count, 40u);
  EXPECT_EQ(tokvault_kv_remove(store_, &kName, tokens_.data(), 40, 0, nullptr), 7);
  EXPECT_EQ(tokvault_kv_unpin(store_, &kName, tokens_.data(), 40), 0);
  EXPECT_EQ(tokvault_kv_unpin(store_, &kName, tokens_.data(), 40), 1);
  const auto visit = [](void* seen, std::uint64_t position, const void* text, std::size_t bytes) {
    *static_cast<std::uint64_t*>(seen) += position + bytes + (std::memcmp(text, "text", 4) == 0);
    return 0;
  };
  count = 0;
  ASSERT_EQ(tokvault_kv_visit_texts(store_, &kName, visit, &count), 0);
  EXPECT_EQ(count, 0u + 16 + 32 + 3 * 5);
  tokvault_kv_stats stats = {};
  ASSERT_EQ(tokvault_kv_get_stats(store_, &stats), 0);
  EXPECT_EQ(stats.blocks, 3u);
  EXPECT_EQ(stats.sidecars, 2u);
  EXPECT_EQ(tokvault_kv_flush(store_), 0);
  ASSERT_EQ(tokvault_kv_remove_namespace(store_, &kName, &count), 0);
  EXPECT_EQ(count, 5u);
}

TEST_F(CheckpointC, CompletesAndCancels) {
  const auto other = prompt(2, 16);
  std::uint64_t put = 0;
  std::uint64_t get = 0;
  Buffer out(3000, 'x');
  tokvault_kv_read read = {};
  read.data = out.data();
  read.size = out.size();
  ASSERT_EQ(tokvault_kv_submit_put(store_, &kName, other.data(), 16, 0, blocks_.data(), 1, &put),
            0);
  ASSERT_EQ(tokvault_kv_submit_get(store_, &kName, tokens_.data(), 40, &read, 1, &get), 0);
  std::size_t taken = 0;
  while (taken < 2) {
    pollfd ready = {tokvault_kv_completion_fd(store_), POLLIN, 0};
    ASSERT_EQ(::poll(&ready, 1, 10000), 1);
    tokvault_kv_completion c[2];
    const std::size_t count = tokvault_kv_take_completions(store_, c, 2, kHuge);
    ASSERT_GT(count, 0u);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(c[i].status, 0u);
      EXPECT_EQ(c[i].id == put ? c[i].blocks_written : c[i].tokens, c[i].id == put ? 1u : 16u);
    }
    taken += count;
  }
  EXPECT_EQ(out, payload_);
  EXPECT_EQ(read.bytes, 3000u);
  EXPECT_EQ(tokvault_kv_cancel(store_, get), 7);
  EXPECT_EQ(tokvault_kv_cancel(store_, 0), 7);
}

// Memory that is missing is an error like any other: C knows no exceptions.
TEST_F(CheckpointC, SaysThatThereIsNoMemory) {
  const Buffer logits(1 << 20, 'l');
  Buffer out = logits;
  std::size_t size = out.size();
  ASSERT_EQ(tokvault_kv_put_sidecar(store_, &kName, tokens_.data(), 32, "logits", logits.data(),
                                    logits.size()),
            0);
  std::vector<tokvault_kv_read> reads(10000);
  std::uint64_t id = 0;
  const std::string name(100000, 'n');
  tokvault_kv_namespace named = {};
  named.model = name.c_str();
  tokvault_kv_match match = {};
  tokvault_kv* other = nullptr;
  piece_bytes_max = 50000;
  const int codes[] = {
      tokvault_kv_open(name.c_str(), nullptr, &other),
      tokvault_kv_match_prefix(store_, &named, tokens_.data(), 32, &match),
      tokvault_kv_get(store_, &kName, tokens_.data(), 32, reads.data(), 10000, nullptr),
      tokvault_kv_put(store_, &named, tokens_.data(), 40, 0, blocks_.data(), 3, nullptr),
      tokvault_kv_put_sidecar(store_, &named, tokens_.data(), 32, "x", "y", 1),
      tokvault_kv_get_sidecar(store_, &kName, tokens_.data(), 32, "logits", out.data(), &size),
      tokvault_kv_pin(store_, &named, tokens_.data(), 32, nullptr),
      tokvault_kv_unpin(store_, &named, tokens_.data(), 32),
      tokvault_kv_remove(store_, &named, tokens_.data(), 32, 0, nullptr),
      tokvault_kv_remove_namespace(store_, &named, nullptr),
      tokvault_kv_visit_texts(
          store_, &named, [](void*, std::uint64_t, const void*, std::size_t) { return 0; },
          nullptr),
      tokvault_kv_submit_get(store_, &kName, tokens_.data(), 32, reads.data(), 10000, &id),
      tokvault_kv_submit_put(store_, &named, tokens_.data(), 40, 0, blocks_.data(), 3, &id),
  };
  piece_bytes_max = std::size_t{1} << 40;
  for (std::size_t i = 0; i < std::size(codes); ++i) EXPECT_EQ(codes[i], 8) << i;
  EXPECT_STREQ(tokvault_kv_last_error(), "no memory");
  ASSERT_EQ(
      tokvault_kv_get_sidecar(store_, &kName, tokens_.data(), 32, "logits", out.data(), &size), 0);
  EXPECT_EQ(out, logits);
}

// Nor does it keep anything: what was being read or written can go.
TEST(CheckpointMemory, WhatFindsNoneHoldsNothing) {
  const auto tokens = prompt(1, 48);
  const auto longer = prompt(1, 64);
  const Namespace plain{.model = "toy"};
  const Buffer payload = payload_of(tokens, 0, 16, 5000);
  const Buffer text(600000, 't');
  const std::vector<CheckpointBlock> blocks(4, {payload, text});
  const std::span<const CheckpointBlock> three(blocks.data(), 3);
  const std::span<const CheckpointBlock> last(blocks.data(), 1);
  const CheckpointState state{.tokens = prompt(2, 20), .text = "a state"};
  Buffer out(5000, 'x');
  const struct {
    const char* name;
    std::size_t bytes_max;
    std::function<void(CheckpointStore&)> call;
  } calls[] = {
      {"get", 3000,
       [&](CheckpointStore& s) {
         CheckpointRead read{.block = 0, .offset = 1, .out = out};
         static_cast<void>(s.get(kModel, tokens, {&read, 1}).has_value());
       }},
      {"get_sidecar", 3000,
       [&](CheckpointStore& s) {
         static_cast<void>(s.get_sidecar(kModel, tokens, "logits").has_value());
       }},
      {"match_text", 3000,
       [&](CheckpointStore& s) { static_cast<void>(s.match_text(kModel, text).has_value()); }},
      {"visit_texts", 3000,
       [&](CheckpointStore& s) {
         const auto on = [](std::uint64_t, ByteView) { return true; };
         static_cast<void>(s.visit_texts(kModel, on).has_value());
       }},
      {"find_state", 3000,
       [&](CheckpointStore& s) {
         static_cast<void>(s.find_state(kModel, state.tokens, nullptr).has_value());
       }},
      {"check", 300000, [&](CheckpointStore& s) { static_cast<void>(s.check().has_value()); }},
      {"put, coding", 3000,
       [&](CheckpointStore& s) {
         const CheckpointPut put{.first_block = 3, .blocks = last};
         static_cast<void>(s.put(kModel, longer, put).has_value());
       }},
      {"put, writing", 3000,
       [&](CheckpointStore& s) {
         const CheckpointPut put{.first_block = 3, .blocks = last};
         static_cast<void>(s.put(plain, longer, put).has_value());
       }},
      {"put_sidecar", 3000,
       [&](CheckpointStore& s) {
         static_cast<void>(s.put_sidecar(kModel, tokens, "more", payload).has_value());
       }},
  };
  CheckpointOptions o = small_options();
  o.codec = CheckpointCodec::by_dtype;
  o.direct_io = true;  // what is written is then staged, and its prefix is a page
  for (const auto& [name, bytes_max, call] : calls) {
    SCOPED_TRACE(name);
    const Folder folder;
    const auto store = open_store(folder / "s", o);
    for (const Namespace& n : {kModel, plain}) {
      ASSERT_TRUE(store->put(n, tokens, {.blocks = three}));
      ASSERT_TRUE(store->put_sidecar(n, tokens, "logits", payload));
      ASSERT_TRUE(store->put_state(n, state, payload));
    }
    const std::uint64_t live = store->stats().live_bytes;
    piece_bytes_max = bytes_max;
    EXPECT_THROW(call(*store), std::bad_alloc);
    piece_bytes_max = std::size_t{1} << 40;
    EXPECT_EQ(store->stats().live_bytes, live);
    EXPECT_EQ(*store->remove_namespace(kModel), 5u);
    EXPECT_EQ(*store->remove_namespace(plain), 5u);
    EXPECT_EQ(store->stats().segments, 0u);
  }
}

TEST_F(CheckpointC, RefusesWhatCannotBe) {
  const std::uint32_t* const t = tokens_.data();
  tokvault_kv_match match = {};
  tokvault_kv_read read = {};
  tokvault_kv_read no_data = {};
  no_data.size = 100;
  const tokvault_kv_block no_payload = {nullptr, 100, nullptr, 0};
  const tokvault_kv_block empty = {payload_.data(), 0, nullptr, 0};
  const tokvault_kv_block no_text = {payload_.data(), 100, nullptr, 5};
  std::uint64_t id = 0;
  std::size_t size = 0;
  tokvault_kv_stats stats = {};
  const auto visit = [](void*, std::uint64_t, const void*, std::size_t) { return 0; };
  const int codes[] = {
      tokvault_kv_match_prefix(nullptr, &kName, t, 40, &match),
      tokvault_kv_match_prefix(store_, &kName, nullptr, 40, &match),
      tokvault_kv_match_prefix(store_, &kName, t, kHuge, &match),
      tokvault_kv_match_prefix(store_, &kName, t, 40, nullptr),
      tokvault_kv_get(nullptr, &kName, t, 40, &read, 1, nullptr),
      tokvault_kv_get(store_, &kName, nullptr, 40, &read, 1, nullptr),
      tokvault_kv_get(store_, &kName, t, 40, nullptr, 1, nullptr),
      tokvault_kv_get(store_, &kName, t, 40, &read, kHuge, nullptr),
      tokvault_kv_get(store_, &kName, t, 40, &no_data, 1, nullptr),
      tokvault_kv_put(nullptr, &kName, t, 40, 0, blocks_.data(), 3, nullptr),
      tokvault_kv_put(store_, &kName, t, 40, 0, nullptr, 3, nullptr),
      tokvault_kv_put(store_, &kName, t, 40, 0, blocks_.data(), kHuge, nullptr),
      tokvault_kv_put(store_, &kName, t, 40, kHuge, blocks_.data(), 3, nullptr),
      tokvault_kv_put(store_, &kName, t, 16, 0, &no_payload, 1, nullptr),
      tokvault_kv_put(store_, &kName, t, 16, 0, &empty, 1, nullptr),
      tokvault_kv_put(store_, &kName, t, 16, 0, &no_text, 1, nullptr),
      tokvault_kv_put(store_, &kName, t, 0, 0, nullptr, 0, nullptr),
      tokvault_kv_put_sidecar(nullptr, &kName, t, 16, "x", "y", 1),
      tokvault_kv_put_sidecar(store_, &kName, t, 16, nullptr, "y", 1),
      tokvault_kv_put_sidecar(store_, &kName, t, 16, "", "y", 1),
      tokvault_kv_put_sidecar(store_, &kName, t, 16, "x", nullptr, 1),
      tokvault_kv_put_sidecar(store_, &kName, t, 16, "x", "y", kHuge),
      tokvault_kv_get_sidecar(nullptr, &kName, t, 16, "x", nullptr, &size),
      tokvault_kv_get_sidecar(store_, &kName, t, 16, nullptr, nullptr, &size),
      tokvault_kv_get_sidecar(store_, &kName, t, 16, "x", nullptr, nullptr),
      tokvault_kv_pin(nullptr, &kName, t, 40, &id),
      tokvault_kv_pin(store_, &kName, nullptr, 40, &id),
      tokvault_kv_unpin(nullptr, &kName, t, 40),
      tokvault_kv_remove(nullptr, &kName, t, 40, 0, nullptr),
      tokvault_kv_remove(store_, &kName, nullptr, 40, 0, nullptr),
      tokvault_kv_remove_namespace(nullptr, &kName, nullptr),
      tokvault_kv_visit_texts(nullptr, &kName, visit, nullptr),
      tokvault_kv_visit_texts(store_, &kName, nullptr, nullptr),
      tokvault_kv_flush(nullptr),
      tokvault_kv_get_stats(nullptr, &stats),
      tokvault_kv_get_stats(store_, nullptr),
      tokvault_kv_submit_get(store_, &kName, t, 40, nullptr, 1, &id),
      tokvault_kv_submit_get(store_, &kName, t, 40, &read, 1, nullptr),
      tokvault_kv_submit_put(store_, &kName, t, 40, 0, nullptr, 3, &id),
      tokvault_kv_submit_put(nullptr, &kName, t, 40, 0, blocks_.data(), 3, &id),
      tokvault_kv_cancel(nullptr, 1),
  };
  for (std::size_t i = 0; i < std::size(codes); ++i) EXPECT_EQ(codes[i], kInvalid) << i;
  EXPECT_NE(std::string(tokvault_kv_last_error()), "");
  EXPECT_EQ(tokvault_kv_block_tokens(nullptr), 0u);
  EXPECT_EQ(tokvault_kv_completion_fd(nullptr), -1);
  tokvault_kv_completion completion;
  EXPECT_EQ(tokvault_kv_take_completions(nullptr, &completion, 1, 0), 0u);
  EXPECT_EQ(tokvault_kv_take_completions(store_, nullptr, 1, 0), 0u);
  EXPECT_EQ(tokvault_kv_close(nullptr), 0);
  // Nothing of it changed anything; NULL where the header allows it is nothing wrong.
  EXPECT_EQ(tokvault_kv_match_prefix(store_, nullptr, nullptr, 0, &match), 0);
  EXPECT_EQ(match.tokens, 0u);
  EXPECT_EQ(tokvault_kv_match_prefix(store_, &kName, t, 40, &match), 0);
  EXPECT_EQ(match.tokens, 40u);
  EXPECT_EQ(tokvault_kv_pin(store_, &kName, t, 40, nullptr), 0);

  tokvault_kv* other = store_;
  tokvault_kv_options o = {};
  const std::string path = folder_ / "other";
  EXPECT_EQ(tokvault_kv_open(nullptr, nullptr, &other), kInvalid);
  EXPECT_EQ(tokvault_kv_open(path.c_str(), nullptr, nullptr), kInvalid);
  EXPECT_EQ(tokvault_kv_open((folder_ / "s").c_str(), nullptr, &other), 7);
  EXPECT_EQ(other, nullptr);
  for (std::uint32_t tokvault_kv_options::* field :
       {&tokvault_kv_options::block_tokens, &tokvault_kv_options::eviction,
        &tokvault_kv_options::threads, &tokvault_kv_options::codec}) {
    o = {};
    o.*field = 0xfffffff0u;
    other = store_;
    EXPECT_EQ(tokvault_kv_open(path.c_str(), &o, &other), kInvalid);
    EXPECT_EQ(other, nullptr);
  }
  o = {};
  o.budget_bytes = 1;
  EXPECT_EQ(tokvault_kv_open(path.c_str(), &o, &other), kInvalid);
  o = {};
  o.read_only = 1;
  EXPECT_EQ(tokvault_kv_open(path.c_str(), &o, &other), 1);
  EXPECT_EQ(other, nullptr);
}

}  // namespace
}  // namespace tokvault
