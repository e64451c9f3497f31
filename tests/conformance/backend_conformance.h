// What every Backend must do, as a GoogleTest suite. It sees the public headers only, and is
// installed with them as <tokvault/conformance/backend_conformance.h>. To run it over a backend of
// your own, include it in one source file of a test program (find_package(tokvault COMPONENTS
// conformance), target tokvault::conformance) and say
//
//   class MyHarness : public tokvault::BackendHarness { ... };
//   std::unique_ptr<tokvault::BackendHarness> mine() { return std::make_unique<MyHarness>(); }
//
//   namespace tokvault {
//   INSTANTIATE_TEST_SUITE_P(Mine, BackendConformance, testing::Values(&mine));
//   INSTANTIATE_TEST_SUITE_P(Mine, BackendHandles, testing::Values(&mine));     // with
//   open_again() INSTANTIATE_TEST_SUITE_P(Mine, BackendDurability, testing::Values(&mine));  //
//   with power_cut()
//   }
#ifndef TOKVAULT_TESTS_CONFORMANCE_BACKEND_CONFORMANCE_H_
#define TOKVAULT_TESTS_CONFORMANCE_BACKEND_CONFORMANCE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tokvault/backend.h"

namespace tokvault {

// One store, empty at first.
class BackendHarness {
 public:
  virtual ~BackendHarness() = default;
  // A handle to the store. Called once.
  virtual std::unique_ptr<Backend> open() = 0;
  // Another handle to the same store, as another process would have. Only BackendHandles calls it.
  virtual std::unique_ptr<Backend> open_again() { return nullptr; }
  // Another store, as this one could be found if power were lost now: what the contract calls
  // durable is in it, anything else may be. `round` chooses among what may be. Only
  // BackendDurability calls it.
  virtual std::unique_ptr<Backend> power_cut(std::uint64_t round) {
    (void)round;
    return nullptr;
  }
};

using BackendHarnessFactory = std::unique_ptr<BackendHarness> (*)();

class BackendConformance : public testing::TestWithParam<BackendHarnessFactory> {
 protected:
  void SetUp() override {
    harness_ = GetParam()();
    backend_ = harness_->open();
    ASSERT_TRUE(backend_);
  }

  Backend& backend() { return *backend_; }
  bool has_append() { return backend().capabilities().append; }

  // The whole of a blob, or the name of the error.
  static std::string read(const Backend& from, std::string_view name) {
    const auto size = from.size(name);
    if (!size) return "error " + std::string(errc_name(size.code()));
    Buffer out = "what was there before";
    const Status got = from.get(name, 0, *size, out);
    if (!got) return "error " + std::string(errc_name(got.code()));
    return out;
  }
  std::string read(std::string_view name) { return read(backend(), name); }

  std::vector<std::string> names(std::string_view folder) {
    std::vector<std::string> out;
    const auto listed = backend().list(folder);
    EXPECT_TRUE(listed);
    if (listed) {
      for (const BlobInfo& blob : *listed) out.push_back(blob.name);
    }
    return out;
  }

  std::unique_ptr<BackendHarness> harness_;
  std::unique_ptr<Backend> backend_;
};

// For stores that can have several handles at once, as a directory has in several processes.
class BackendHandles : public BackendConformance {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BackendHandles);

// For stores that can show what a loss of power would leave of them.
class BackendDurability : public BackendConformance {
 protected:
  static constexpr std::uint64_t kRounds = 32;
  // Looks at what may be left now, once for each round.
  template <class Look>
  void after_power_cut(Look look) {
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      SCOPED_TRACE("round " + std::to_string(round));
      const auto left = harness_->power_cut(round);
      ASSERT_TRUE(left);
      look(*left);
      if (HasFailure()) return;
    }
  }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BackendDurability);

using Names = std::vector<std::string>;

TEST_P(BackendConformance, PutThenGetAndSize) {
  Buffer bytes;
  for (int i = 0; i < 100'000; ++i) bytes.push_back(static_cast<char>(i * 7));
  ASSERT_TRUE(backend().put("packs/a.pack", bytes));
  EXPECT_EQ(read("packs/a.pack"), bytes);
  EXPECT_EQ(*backend().size("packs/a.pack"), bytes.size());
}

TEST_P(BackendConformance, EmptyBlob) {
  ASSERT_TRUE(backend().put("packs/empty", ""));
  EXPECT_EQ(read("packs/empty"), "");
  EXPECT_EQ(names("packs"), Names{"packs/empty"});
}

TEST_P(BackendConformance, PutOfTheSameBytesSucceedsOfOthersExists) {
  ASSERT_TRUE(backend().put("packs/a", "first"));
  EXPECT_TRUE(backend().put("packs/a", "first"));
  EXPECT_EQ(backend().put("packs/a", "other").code(), Errc::exists);
  EXPECT_EQ(backend().put("packs/a", "firs").code(), Errc::exists);
  EXPECT_EQ(backend().put("packs/a", "first and more").code(), Errc::exists);
  EXPECT_EQ(read("packs/a"), "first");
}

TEST_P(BackendConformance, PutDiffersOnlyInTheLastByte) {
  Buffer bytes(200'000, 'x');
  ASSERT_TRUE(backend().put("packs/a", bytes));
  bytes.back() = 'y';
  EXPECT_EQ(backend().put("packs/a", bytes).code(), Errc::exists);
}

TEST_P(BackendConformance, GetOfAPart) {
  ASSERT_TRUE(backend().put("packs/a", "0123456789"));
  Buffer out;
  ASSERT_TRUE(backend().get("packs/a", 3, 4, out));
  EXPECT_EQ(out, "3456");
  ASSERT_TRUE(backend().get("packs/a", 10, 0, out));
  EXPECT_EQ(out, "");
}

TEST_P(BackendConformance, GetIsNeverShort) {
  ASSERT_TRUE(backend().put("packs/a", "0123456789"));
  Buffer out;
  EXPECT_EQ(backend().get("packs/a", 3, 8, out).code(), Errc::corrupt);
  EXPECT_EQ(backend().get("packs/a", 11, 0, out).code(), Errc::corrupt);
  EXPECT_EQ(backend().get("packs/a", 10, 1, out).code(), Errc::corrupt);
  // Sizes as a damaged file may name them: refused before anything is allocated.
  EXPECT_EQ(backend().get("packs/a", 0, ~std::uint64_t{0}, out).code(), Errc::corrupt);
  EXPECT_EQ(backend().get("packs/a", ~std::uint64_t{0}, 2, out).code(), Errc::corrupt);
  EXPECT_EQ(backend().get("packs/a", 5, ~std::uint64_t{0} - 4, out).code(), Errc::corrupt);
}

TEST_P(BackendConformance, WhatIsAbsentIsNotFound) {
  Buffer out;
  EXPECT_EQ(backend().get("packs/a", 0, 0, out).code(), Errc::not_found);
  EXPECT_EQ(backend().size("packs/a").code(), Errc::not_found);
  // By which the engine tells a file that went away from a conversation that is not there.
  EXPECT_NE(backend().size("packs/a").error().os_code(), 0);
  EXPECT_NE(backend().get("packs/a", 0, 0, out).error().os_code(), 0);
  EXPECT_TRUE(backend().remove("packs/a"));
  EXPECT_EQ(names("packs"), Names{});
  ASSERT_TRUE(backend().put("packs/b", "x"));
  EXPECT_EQ(backend().get("packs/a", 0, 0, out).code(), Errc::not_found);
  EXPECT_TRUE(backend().remove("packs/a"));
}

TEST_P(BackendConformance, NamesAreOneFolderAndOneFile) {
  const std::vector<std::string> refused = {"",
                                            "a",
                                            "/a",
                                            "a/",
                                            "a/b/c",
                                            "../x",
                                            "x/..",
                                            "./x",
                                            "x/.",
                                            "a//b",
                                            "a/b ",
                                            "a/\xc3\xa4",
                                            "a/b\n",
                                            "a\\b/c",
                                            "a/.tmp-b-1",
                                            ".a/b",
                                            "/etc/passwd",
                                            "a/" + std::string(1000, 'x'),
                                            std::string("a/b\0c", 5)};
  Buffer out;
  for (const std::string& name : refused) {
    SCOPED_TRACE(testing::PrintToString(name));
    EXPECT_EQ(backend().put(name, "x").code(), Errc::invalid);
    EXPECT_EQ(backend().get(name, 0, 0, out).code(), Errc::invalid);
    EXPECT_EQ(backend().size(name).code(), Errc::invalid);
    EXPECT_EQ(backend().remove(name).code(), Errc::invalid);
    if (has_append()) {
      EXPECT_EQ(backend().append(name, "x").code(), Errc::invalid);
      EXPECT_EQ(backend().truncate(name, 0).code(), Errc::invalid);
      EXPECT_EQ(backend().sync(name).code(), Errc::invalid);
    }
  }
  EXPECT_EQ(backend().list("").code(), Errc::invalid);
  EXPECT_EQ(backend().list("..").code(), Errc::invalid);
  EXPECT_EQ(backend().list("a/b").code(), Errc::invalid);
  EXPECT_TRUE(backend().put("AZaz09._-/09azAZ-_.", "x"));
}

TEST_P(BackendConformance, ListIsOrderedAndOfOneFolder) {
  for (const char* name :
       {"packs/b", "packs/a", "packs/a-b", "packs/a.b", "packs/B", "packs0/x", "log/1"}) {
    ASSERT_TRUE(backend().put(name, name));
  }
  EXPECT_EQ(names("packs"), (Names{"packs/B", "packs/a", "packs/a-b", "packs/a.b", "packs/b"}));
  const auto listed = backend().list("packs");
  ASSERT_TRUE(listed);
  EXPECT_EQ((*listed)[2].size_bytes, std::string("packs/a-b").size());
}

TEST_P(BackendConformance, RemovedIsAbsentAndTheNameIsFree) {
  ASSERT_TRUE(backend().put("packs/a", "first"));
  EXPECT_EQ(read("packs/a"), "first");
  ASSERT_TRUE(backend().remove("packs/a"));
  EXPECT_EQ(read("packs/a"), "error not_found");
  EXPECT_EQ(names("packs"), Names{});
  ASSERT_TRUE(backend().put("packs/a", "second"));
  EXPECT_EQ(read("packs/a"), "second");
}

TEST_P(BackendConformance, AHeldBlobIsReadAfterItIsRemoved) {
  const auto absent = backend().hold("packs/a");
  if (absent) {  // a backend that does not hold
    EXPECT_EQ(*absent, nullptr);
    return;
  }
  EXPECT_EQ(absent.code(), Errc::not_found);
  ASSERT_TRUE(backend().put("packs/a", "first"));
  ASSERT_TRUE(backend().put("packs/b", "other"));
  auto held = backend().hold("packs/a");
  ASSERT_TRUE(held);
  ASSERT_NE(*held, nullptr);
  auto again = backend().hold("packs/a");
  ASSERT_TRUE(again);
  ASSERT_TRUE(backend().remove("packs/a"));
  ASSERT_TRUE(backend().remove("packs/b"));
  EXPECT_EQ(names("packs"), Names{});
  EXPECT_EQ(backend().size("packs/a").code(), Errc::not_found);
  Buffer bytes;
  EXPECT_TRUE(backend().get("packs/a", 1, 3, bytes));
  EXPECT_EQ(bytes, "irs");
  EXPECT_EQ(read("packs/b"), "error not_found");
  held = std::shared_ptr<const void>();
  EXPECT_TRUE(backend().get("packs/a", 0, 5, bytes));  // somebody else has it still
  again = std::shared_ptr<const void>();
  EXPECT_EQ(backend().get("packs/a", 0, 5, bytes).code(), Errc::not_found);
}

TEST_P(BackendConformance, AppendGrowsABlob) {
  if (!has_append()) {
    EXPECT_EQ(backend().append("log/1", "x").code(), Errc::unsupported);
    return;
  }
  EXPECT_EQ(backend().sync("log/1").code(), Errc::not_found);
  EXPECT_EQ(backend().truncate("log/1", 0).code(), Errc::not_found);
  ASSERT_TRUE(backend().append("log/1", "one"));
  EXPECT_EQ(read("log/1"), "one");
  ASSERT_TRUE(backend().append("log/1", "two"));
  EXPECT_EQ(read("log/1"), "onetwo");
  ASSERT_TRUE(backend().sync("log/1"));
  ASSERT_TRUE(backend().append("log/1", ""));
  ASSERT_TRUE(backend().append("log/1", "three"));
  EXPECT_EQ(read("log/1"), "onetwothree");
  EXPECT_EQ(*backend().size("log/1"), 11u);
  EXPECT_EQ(names("log"), Names{"log/1"});
}

TEST_P(BackendConformance, TruncateCutsAndAppendGoesOnThere) {
  if (!has_append()) return;
  ASSERT_TRUE(backend().append("log/1", "0123456789"));
  ASSERT_TRUE(backend().sync("log/1"));
  EXPECT_EQ(read("log/1"), "0123456789");
  EXPECT_EQ(backend().truncate("log/1", 11).code(), Errc::invalid);
  ASSERT_TRUE(backend().truncate("log/1", 4));
  EXPECT_EQ(read("log/1"), "0123");
  Buffer out;
  EXPECT_EQ(backend().get("log/1", 0, 10, out).code(), Errc::corrupt);
  ASSERT_TRUE(backend().append("log/1", "xy"));
  EXPECT_EQ(read("log/1"), "0123xy");
  ASSERT_TRUE(backend().truncate("log/1", 0));
  EXPECT_EQ(read("log/1"), "");
}

TEST_P(BackendConformance, ManyAppendedBlobsAtOnce) {
  if (!has_append()) return;
  const auto name = [](int i) { return "log/" + std::to_string(100 + i); };
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(backend().append(name(i), name(i)));
      if (i % 3 == 0) {
        ASSERT_TRUE(backend().sync(name(i)));
      }
    }
  }
  for (int i = 0; i < 40; ++i) {
    EXPECT_TRUE(backend().sync(name(i)));
    EXPECT_EQ(read(name(i)), name(i) + name(i) + name(i));
  }
}

TEST_P(BackendConformance, MoreBlobsThanAnyCacheHolds) {
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 300; ++i) {
      const std::string name = "packs/" + std::to_string(1000 + i);
      if (round == 0) {
        // An append that is not synced costs less than a put, where there is one.
        ASSERT_TRUE(has_append() ? backend().append(name, name) : backend().put(name, name));
      }
      EXPECT_EQ(read(name), name);
    }
  }
}

TEST_P(BackendHandles, AnotherHandleSeesWhatIsWritten) {
  ASSERT_TRUE(backend().put("packs/a", "pack"));
  const auto other = harness_->open_again();
  ASSERT_TRUE(other);
  EXPECT_EQ(read(*other, "packs/a"), "pack");
  ASSERT_TRUE(backend().put("packs/b", "later"));
  EXPECT_EQ(read(*other, "packs/b"), "later");
  if (!has_append()) return;
  ASSERT_TRUE(backend().append("log/1", "one"));
  EXPECT_EQ(read(*other, "log/1"), "one");
  ASSERT_TRUE(backend().append("log/1", "two"));
  EXPECT_EQ(read(*other, "log/1"), "onetwo");
  ASSERT_TRUE(backend().truncate("log/1", 2));
  EXPECT_EQ(read(*other, "log/1"), "on");
  ASSERT_TRUE(backend().append("log/1", "!!!!!"));
  EXPECT_EQ(read(*other, "log/1"), "on!!!!!");
}

TEST_P(BackendDurability, APutThatSucceededIsThereWhole) {
  const Buffer bytes(50'000, 'x');
  ASSERT_TRUE(backend().put("packs/a", bytes));
  ASSERT_TRUE(backend().put("packs/b", ""));
  after_power_cut([&](const Backend& left) {
    EXPECT_EQ(read(left, "packs/a"), bytes);
    EXPECT_EQ(read(left, "packs/b"), "");
  });
}

TEST_P(BackendDurability, WhatWasSyncedStaysAndNothingStandsBeforeIt) {
  if (!has_append()) return;
  ASSERT_TRUE(backend().append("log/1", "one"));
  ASSERT_TRUE(backend().append("log/1", "two"));
  ASSERT_TRUE(backend().sync("log/1"));
  ASSERT_TRUE(backend().append("log/1", "three"));
  after_power_cut([&](const Backend& left) {
    const std::string found = read(left, "log/1");
    EXPECT_TRUE(found.starts_with("onetwo")) << found;
    EXPECT_LE(found.size(), 11u);
  });
  ASSERT_TRUE(backend().sync("log/1"));
  after_power_cut([&](const Backend& left) { EXPECT_EQ(read(left, "log/1"), "onetwothree"); });
}

// The engine puts a pack after the batches that it was made of were synced, and never relies on the
// order of what was not: each blob for itself.
TEST_P(BackendDurability, EachBlobIsDurableByItself) {
  if (!has_append()) return;
  ASSERT_TRUE(backend().append("log/1", "one"));
  ASSERT_TRUE(backend().append("log/2", "two"));
  ASSERT_TRUE(backend().sync("log/2"));
  ASSERT_TRUE(backend().put("packs/a", "pack"));
  after_power_cut([&](const Backend& left) {
    EXPECT_EQ(read(left, "log/2"), "two");
    EXPECT_EQ(read(left, "packs/a"), "pack");
  });
  ASSERT_TRUE(backend().sync("log/1"));
  after_power_cut([&](const Backend& left) { EXPECT_EQ(read(left, "log/1"), "one"); });
}

TEST_P(BackendDurability, WhatWasCutOrRemovedDoesNotComeBack) {
  ASSERT_TRUE(backend().put("packs/a", "pack"));
  ASSERT_TRUE(backend().remove("packs/a"));
  after_power_cut(
      [&](const Backend& left) { EXPECT_EQ(read(left, "packs/a"), "error not_found"); });
  ASSERT_TRUE(backend().put("packs/a", "again"));
  after_power_cut([&](const Backend& left) { EXPECT_EQ(read(left, "packs/a"), "again"); });
  if (!has_append()) return;
  ASSERT_TRUE(backend().append("log/1", "0123456789"));
  ASSERT_TRUE(backend().sync("log/1"));
  ASSERT_TRUE(backend().truncate("log/1", 4));
  after_power_cut([&](const Backend& left) { EXPECT_EQ(read(left, "log/1"), "0123"); });
  ASSERT_TRUE(backend().append("log/1", "xyz"));
  after_power_cut([&](const Backend& left) {
    EXPECT_TRUE(read(left, "log/1").starts_with("0123")) << read(left, "log/1");
  });
  ASSERT_TRUE(backend().remove("log/1"));
  after_power_cut([&](const Backend& left) { EXPECT_EQ(read(left, "log/1"), "error not_found"); });
}

// A list after the loss names what is there and nothing else.
TEST_P(BackendDurability, ListAndTotalAreOfWhatIsLeft) {
  ASSERT_TRUE(backend().put("packs/a", "pack"));
  ASSERT_TRUE(backend().put("packs/b", "pack b"));
  ASSERT_TRUE(backend().remove("packs/a"));
  after_power_cut([&](const Backend& left) {
    const auto listed = left.list("packs");
    ASSERT_TRUE(listed);
    ASSERT_EQ(listed->size(), 1u);
    EXPECT_EQ((*listed)[0].name, "packs/b");
    EXPECT_EQ((*listed)[0].size_bytes, 6u);
  });
}

// The writer lock of a process that is gone does not stay.
TEST_P(BackendDurability, TheLockIsNotDurable) {
  auto lock = backend().lock_writer();
  ASSERT_TRUE(lock);
  const auto left = harness_->power_cut(0);
  ASSERT_TRUE(left);
  EXPECT_TRUE(left->lock_writer());
}

TEST_P(BackendConformance, OneWriter) {
  auto lock = backend().lock_writer();
  ASSERT_TRUE(lock);
  const auto second = backend().lock_writer();
  EXPECT_EQ(second.code(), Errc::busy);
  EXPECT_FALSE(second.error().message().empty());
  lock->reset();
  EXPECT_TRUE(backend().lock_writer());
  EXPECT_TRUE(backend().lock_writer());  // the one before was let go at once
}

TEST_P(BackendHandles, OneWriterOverAllHandles) {
  const auto other = harness_->open_again();
  ASSERT_TRUE(other);
  auto lock = backend().lock_writer();
  ASSERT_TRUE(lock);
  EXPECT_EQ(other->lock_writer().code(), Errc::busy);
  lock->reset();
  EXPECT_TRUE(other->lock_writer());
}

TEST_P(BackendConformance, TheLockOutlivesTheHandle) {
  auto lock = backend().lock_writer();
  ASSERT_TRUE(lock);
  backend_.reset();
  lock->reset();
}

TEST_P(BackendConformance, TotalBytesCountsEveryBlob) {
  const std::uint64_t before = *backend().total_bytes();
  ASSERT_TRUE(backend().put("packs/a", Buffer(1000, 'x')));
  ASSERT_TRUE(backend().put("artifacts/b", Buffer(50, 'x')));
  EXPECT_EQ(*backend().total_bytes(), before + 1050);
  ASSERT_TRUE(backend().remove("packs/a"));
  EXPECT_EQ(*backend().total_bytes(), before + 50);
}

TEST_P(BackendConformance, SweepLeavesBlobsAlone) {
  ASSERT_TRUE(backend().put("packs/a", "x"));
  EXPECT_EQ(*backend().sweep(), 0u);
  EXPECT_EQ(read("packs/a"), "x");
}

// A blob whose bytes say what they should be: a reader that sees a part, or another blob's bytes,
// knows it.
TEST_P(BackendConformance, ReadersDuringPutsAppendsAndRemovals) {
  constexpr int kRounds = 60;
  const auto content = [](int i) { return Buffer(20'000, static_cast<char>('a' + i % 26)); };
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  const auto reader = [&] {
    Buffer out;
    for (int i = 0; !done; i = (i + 1) % kRounds) {
      const std::string name = "packs/" + std::to_string(i);
      if (const auto size = backend().size(name)) {
        const Status got = backend().get(name, 0, *size, out);
        if (got ? out != content(i) : got.code() != Errc::not_found) ++wrong;
      }
      if (const auto size = backend().size("log/1")) {
        if (!backend().get("log/1", 0, *size, out)) ++wrong;
        for (std::size_t at = 0; at < out.size(); ++at) wrong += out[at] != "0123456789"[at % 10];
      }
    }
  };
  std::thread first(reader), second(reader);
  for (int i = 0; i < kRounds; ++i) {
    EXPECT_TRUE(backend().put("packs/" + std::to_string(i), content(i)));
    if (has_append()) {
      EXPECT_TRUE(backend().append("log/1", "0123456789"));
    }
    if (has_append() && i % 4 == 0) {
      EXPECT_TRUE(backend().sync("log/1"));
    }
    if (i % 3 == 2) {
      EXPECT_TRUE(backend().remove("packs/" + std::to_string(i - 1)));
    }
  }
  done = true;
  first.join();
  second.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(BackendConformance, SweepDuringPutsIsInNobodysWay) {
  std::atomic<bool> done{false};
  std::thread sweeper([&] {
    while (!done) EXPECT_EQ(*backend().sweep(), 0u);
  });
  for (int i = 0; i < 40; ++i) {
    const std::string name = "packs/" + std::to_string(i);
    EXPECT_TRUE(backend().put(name, Buffer(100'000, 'x')));
    EXPECT_EQ(*backend().size(name), 100'000u);
  }
  done = true;
  sweeper.join();
}

TEST_P(BackendConformance, PutsOfOneNameAtOnceHaveOneWinner) {
  for (int round = 0; round < 10; ++round) {
    const std::string name = "packs/" + std::to_string(round);
    std::atomic<int> winners{0}, refused{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        const Status done = backend().put(name, Buffer(1000, static_cast<char>('a' + i)));
        winners += done.has_value();
        refused += done.code() == Errc::exists;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(refused, 3);
    EXPECT_EQ(*backend().size(name), 1000u);
  }
}

}  // namespace tokvault

#endif  // TOKVAULT_TESTS_CONFORMANCE_BACKEND_CONFORMANCE_H_
