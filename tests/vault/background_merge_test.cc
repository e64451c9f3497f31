// Merging in the background: what is forgotten, replaced or tagged while it runs holds afterwards,
// readers go on, and it can be broken off at any time. The model, the crash test and the kill test
// run with it, too.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "tests/vault/harness.h"

namespace tokvault {
namespace {

// Forwards to a backend, and holds up whoever puts a pack, after so many that are let through.
class Gate final : public ForwardingBackend {
 public:
  struct Latch {
    std::mutex mutex;
    std::condition_variable changed;
    bool is_closed = false;
    int through = 0;
    bool is_waiting = false;
    bool fail = false;  // what was held up

    void close_after(int packs) {
      std::lock_guard lock(mutex);
      is_closed = true;
      through = packs;
    }
    void open() {
      std::lock_guard lock(mutex);
      is_closed = false;
      changed.notify_all();
    }
    // One that waits goes on.
    void admit() {
      std::lock_guard lock(mutex);
      through = 1;
      changed.notify_all();
    }
    bool await_merge() {
      std::unique_lock lock(mutex);
      return changed.wait_for(lock, std::chrono::seconds(30), [&] { return is_waiting; });
    }
  };
  Gate(const FaultBackend& to, std::shared_ptr<Latch> latch)
      : ForwardingBackend(to), latch_(std::move(latch)) {}

  Status put(std::string_view name, ByteView bytes) override {
    if (name.starts_with("packs/")) {
      std::unique_lock lock(latch_->mutex);
      if (latch_->is_closed && latch_->through-- <= 0) {
        latch_->is_waiting = true;
        latch_->changed.notify_all();
        latch_->changed.wait(lock, [&] { return !latch_->is_closed || latch_->through > 0; });
        if (latch_->is_closed) --latch_->through;
        latch_->is_waiting = false;
        if (latch_->fail) return Error(Errc::io, "the disk is broken", EIO);
      }
    }
    return ForwardingBackend::put(name, bytes);
  }

 private:
  const std::shared_ptr<Latch> latch_;
};

class VaultMerging : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(place_.create());
    open(0);
  }
  void TearDown() override { latch_->open(); }  // a test that fails must not hang
  void open(std::uint64_t merge_bytes_min) {
    vault_.reset();
    VaultOptions options;
    options.level = Level::fast;
    options.threads = 1;
    options.merge_bytes_min = merge_bytes_min;
    auto vault = Vault::open(std::make_unique<Gate>(place_.disk, latch_),
                             std::make_unique<SharedCatalog>(place_.catalog), options);
    ASSERT_OK(vault);
    vault_ = std::move(*vault);
  }
  // Conversations of one pack, which share text with those of others.
  void put(int from, int to) {
    for (int i = from; i < to; ++i) {
      Conversation c = conversation("c" + std::to_string(i),
                                    {shared_text(static_cast<std::uint64_t>(i) % 5),
                                     "alone " + std::to_string(i), shared_text(100 + i)});
      ASSERT_OK(vault_->put(c, {}));
      model_.put("default", c);
    }
  }
  // Two packs, and a merge of them that waits with its first pack.
  void begin_merge() {
    put(0, 10);
    ASSERT_OK(vault_->seal());
    put(10, 20);
    latch_->close_after(1);  // sealing puts one itself
    ASSERT_OK(vault_->seal());
    ASSERT_TRUE(latch_->await_merge());
  }
  std::uint64_t pack_count() const {
    const auto blobs = place_.disk.list("packs");
    return blobs ? blobs->size() : 0;
  }
  void compare(const std::string& where) {
    model_.compare(*vault_, where);
    if (HasFailure()) return;
    auto reader = place_.open({.read_only = true});
    ASSERT_OK(reader);
    model_.compare(**reader, where + ", reader");
    const auto report = (*reader)->check({.read_data = true});
    ASSERT_OK(report);
    for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
  }
  void expect_repairable() {
    MemoryPlace without{place_.disk.process_kill(), SharedCatalog()};
    FaultBackend disk = without.disk;
    ASSERT_OK(Vault::repair(disk, without.catalog));
    auto vault = without.open({.read_only = true});
    ASSERT_OK(vault);
    model_.compare(**vault, "repaired");
  }
  VaultStats stats() const {
    auto stats = vault_->stats();
    EXPECT_OK(stats);
    return stats ? *stats : VaultStats();
  }

  MemoryPlace place_;
  const std::shared_ptr<Gate::Latch> latch_ = std::make_shared<Gate::Latch>();
  std::unique_ptr<Vault> vault_;
  Model model_;
  Rng rng_{11};
};

TEST_F(VaultMerging, PacksAreMergedWhenTheyComeToAQuarterOfWhatWasMerged) {
  put(0, 20);
  ASSERT_OK(vault_->seal());
  ASSERT_OK(vault_->finish_merging());
  EXPECT_EQ(stats().merges, 0u);  // one pack alone
  EXPECT_EQ(stats().unmerged_packs, 1u);
  put(20, 40);
  ASSERT_OK(vault_->seal());
  ASSERT_OK(vault_->finish_merging());
  EXPECT_EQ(stats().merges, 1u);
  EXPECT_EQ(stats().packs, 1u);
  EXPECT_EQ(stats().unmerged_packs, 0u);
  EXPECT_EQ(stats().merge_due_bytes, 0u);
  EXPECT_EQ(stats().merge_running_bytes, 0u);
  put(40, 42);  // a twentieth
  ASSERT_OK(vault_->seal());
  ASSERT_OK(vault_->finish_merging());
  EXPECT_EQ(stats().merges, 1u);
  EXPECT_EQ(stats().packs, 2u);
  EXPECT_EQ(stats().unmerged_packs, 1u);
  put(42, 60);
  ASSERT_OK(vault_->seal());
  ASSERT_OK(vault_->finish_merging());
  EXPECT_EQ(stats().merges, 2u);
  EXPECT_EQ(stats().packs, 1u);
  compare("merged");
  expect_repairable();
  // Compaction at the same level takes the packs up again, with higher effort.
  ASSERT_OK(vault_->compact(Level::fast));
  compare("compacted");
}

// What was rewritten alone does not stand as sealing made it.
TEST_F(VaultMerging, APackThatACompactionMadeIsNotUnmerged) {
  put(0, 20);
  ASSERT_OK(vault_->seal());
  EXPECT_EQ(stats().unmerged_packs, 1u);
  EXPECT_GT(stats().unmerged_bytes, 0u);
  ASSERT_OK(vault_->compact(Level::fast));
  const auto files = vault_->files();
  ASSERT_OK(files);
  for (const FileInfo& f : *files) {
    EXPECT_EQ(f.is_compacted, f.kind == FileInfo::Kind::pack) << f.name;
  }
  EXPECT_EQ(stats().packs, 1u);
  EXPECT_EQ(stats().unmerged_packs, 0u);
  EXPECT_EQ(stats().unmerged_bytes, 0u);
}

TEST_F(VaultMerging, ItCanBeSwitchedOffAndWaitsForEnough) {
  for (const std::uint64_t merge_bytes_min : {UINT64_MAX, std::uint64_t{1} << 20}) {
    open(merge_bytes_min);
    for (int i = 0; i < 3; ++i) {
      put(i * 5, i * 5 + 5);
      ASSERT_OK(vault_->seal());
    }
    ASSERT_OK(vault_->finish_merging());
    EXPECT_EQ(stats().merges, 0u);
    EXPECT_EQ(stats().merge_due_bytes, 0u);
    EXPECT_EQ(stats().unmerged_packs, stats().packs);
  }
  // A writer that only opens the vault begins nothing; one that waits for it does.
  open(0);
  EXPECT_GT(stats().merge_due_bytes, 0u);
  put(50, 51);
  EXPECT_EQ(stats().merge_running_bytes, 0u);
  ASSERT_OK(vault_->finish_merging());
  EXPECT_EQ(stats().packs, 1u);
  compare("merged");
}

TEST_F(VaultMerging, ADictionaryIsUsedAndCanBeRetiredMeanwhile) {
  put(0, 30);
  ASSERT_OK(vault_->seal());
  const auto d = vault_->dictionaries().train({}, {.size_bytes = 2000});
  ASSERT_OK(d);
  ASSERT_OK(vault_->dictionaries().activate(d->id));
  put(30, 60);
  ASSERT_OK(vault_->seal());
  ASSERT_OK(vault_->finish_merging());
  EXPECT_EQ(stats().packs, 1u);
  EXPECT_EQ(vault_->dictionaries().list()->at(0).files, 1u) << "the merged pack";
  compare("merged");
  put(60, 100);
  latch_->close_after(1);  // sealing puts one itself
  ASSERT_OK(vault_->seal());
  ASSERT_TRUE(latch_->await_merge());
  std::thread opener([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    latch_->open();
  });
  const Status retired = vault_->dictionaries().retire(d->id, true);
  opener.join();
  ASSERT_OK(retired);
  EXPECT_TRUE(vault_->dictionaries().list()->empty());
  EXPECT_TRUE(place_.disk.list("artifacts")->empty());
  compare("retired");
  put(100, 130);
  ASSERT_OK(vault_->seal());
  ASSERT_OK(vault_->finish_merging());
  compare("merged without it");
  expect_repairable();
}

TEST_F(VaultMerging, WhatIsWrittenMeanwhileHolds) {
  ASSERT_NO_FATAL_FAILURE(begin_merge());
  EXPECT_GT(stats().merge_running_bytes, 0u);
  compare("while it waits");
  const std::vector<std::string> red{"red"}, none, c2{"c2"}, c3{"c3"}, c12{"c12"};
  ASSERT_OK(vault_->forget(c2));
  model_.forget("default", "c2");
  const Conversation other = conversation("c13", {"another", shared_text(2)});
  ASSERT_OK(vault_->put(other, {.replace = true}));
  model_.put("default", other);
  const std::vector<Message> more{Message::of_text("user", "one more")};
  ASSERT_OK(vault_->append("c14", more));
  auto& messages = model_.of("default").at("c14").conversation.messages;
  messages.insert(messages.end(), more.begin(), more.end());
  ASSERT_OK(vault_->tag(c3, red, none));
  model_.of("default").at("c3").tags.insert("red");
  ASSERT_OK(vault_->tag(c12, red, none));
  ASSERT_OK(vault_->tag(c12, none, red));
  put(20, 30);  // refers to text of the packs that are merged
  compare("before the merge is done");
  latch_->open();
  ASSERT_OK(vault_->finish_merging());
  EXPECT_EQ(stats().merges, 1u);
  compare("after it");
  expect_repairable();
  // In the pack there is what was forgotten, until it is collected.
  EXPECT_GE(stats().forgotten, 3u);
  ASSERT_OK(vault_->gc(false));
  EXPECT_EQ(stats().forgotten, 0u);
  compare("collected");
  expect_repairable();
}

// What gc rewrites is not merged under its hands.
TEST_F(VaultMerging, RewritesBreakItOff) {
  ASSERT_NO_FATAL_FAILURE(begin_merge());
  const std::vector<std::string> c2{"c2"};
  ASSERT_OK(vault_->forget(c2));
  model_.forget("default", "c2");
  std::thread opener([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    latch_->open();
  });
  ASSERT_OK(vault_->gc(false));
  opener.join();
  EXPECT_EQ(stats().forgotten, 0u);
  EXPECT_EQ(stats().merge_running_bytes, 0u);
  EXPECT_EQ(pack_count(), stats().packs) << "a pack was left behind";
  compare("collected");
  expect_repairable();
}

TEST_F(VaultMerging, ClosingBreaksItOff) {
  ASSERT_NO_FATAL_FAILURE(begin_merge());
  std::thread opener([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    latch_->open();
  });
  vault_.reset();
  opener.join();
  // It may have been done by then; either way nothing is left over.
  const std::uint64_t packs = pack_count();
  open(0);
  EXPECT_EQ(stats().packs, packs);
  compare("opened again");
  ASSERT_OK(vault_->finish_merging());
  EXPECT_EQ(stats().packs, 1u);
  compare("merged then");
}

TEST_F(VaultMerging, ItsErrorIsReportedOnce) {
  latch_->fail = true;
  ASSERT_NO_FATAL_FAILURE(begin_merge());
  latch_->open();
  const auto failed = vault_->finish_merging();
  EXPECT_EQ(failed.code(), Errc::io);
  EXPECT_OK(vault_->flush());
  compare("after the error");
  // The next packs give it another chance.
  latch_->fail = false;
  ASSERT_OK(vault_->finish_merging());
  EXPECT_EQ(stats().packs, 1u);
  compare("merged then");
}

TEST_F(VaultMerging, ExplainBeginsAgainWhenOneIsTakenIn) {
  ASSERT_NO_FATAL_FAILURE(begin_merge());
  const auto alone = vault_->explain();
  ASSERT_OK(alone);
  int calls = 0;
  const auto explained = vault_->explain({}, [&](std::uint64_t, std::uint64_t) {
    if (++calls == 2) {  // one file was walked
      latch_->open();
      EXPECT_OK(vault_->finish_merging());
    }
    return true;
  });
  ASSERT_OK(explained);
  EXPECT_EQ(stats().merges, 1u);
  EXPECT_EQ(explained->conversations, alone->conversations);
  EXPECT_EQ(explained->origins.tokens, alone->origins.tokens);
}

// Until somebody repairs the vault: its packs are passed over, and those of others are merged.
TEST_F(VaultMerging, ADamagedPackHoldsUpNoOther) {
  put(0, 10);
  ASSERT_OK(vault_->seal());
  const auto packs = place_.disk.list("packs");
  ASSERT_OK(packs);
  ASSERT_EQ(packs->size(), 1u);
  const std::string name = (*packs)[0].name;
  vault_.reset();
  {
    Cache cache(1u << 20);
    const auto pack = PackFile::open(place_.disk, cache, number_of(name));
    ASSERT_OK(pack);
    const PackStream& s = (*pack)->footer().streams[kTokenStream];
    Buffer bytes;
    ASSERT_OK(place_.disk.get(name, 0, (*pack)->size_bytes(), bytes));
    bytes[s.dictionary.offset + s.dictionary.size / 2] ^= 0x20;
    place_.disk.overwrite(name, bytes);
  }
  open(0);
  const auto put_into = [&](const std::string& tenant, int from) {
    for (int i = from; i < from + 10; ++i) {
      const Conversation c = conversation(tenant + std::to_string(i), {random_text(rng_, 20)});
      ASSERT_OK(vault_->put(c, {.tenant = tenant}));
    }
    ASSERT_OK(vault_->seal());
  };
  put_into("", 0);  // which makes a merge due that is the largest
  EXPECT_EQ(vault_->finish_merging().code(), Errc::corrupt);
  for (int i = 0; i < 3; ++i) put_into("other", 10 * i);
  EXPECT_OK(vault_->finish_merging());
  const std::uint64_t merges = stats().merges;
  EXPECT_GT(merges, 0u) << "of the other tenant";
  // What came later to the tenant itself is merged as well.
  for (int i = 1; i < 3; ++i) put_into("", 10 * i);
  EXPECT_OK(vault_->finish_merging());
  EXPECT_GT(stats().merges, merges);
}

TEST_F(VaultMerging, FlushReportsItsErrorAndDoesNotWait) {
  latch_->fail = true;
  ASSERT_NO_FATAL_FAILURE(begin_merge());
  EXPECT_OK(vault_->flush());  // while it waits
  latch_->open();
  Status flushed;
  for (int i = 0; i < 1000 && flushed; ++i) {
    put(100 + i, 101 + i);  // takes in what is done
    flushed = vault_->flush();
  }
  EXPECT_EQ(flushed.code(), Errc::io);
  EXPECT_OK(vault_->flush());
}

TEST_F(VaultMerging, WaitingCanBeStopped) {
  ASSERT_NO_FATAL_FAILURE(begin_merge());
  const auto stopped = vault_->finish_merging([](std::uint64_t, std::uint64_t) { return false; });
  EXPECT_EQ(stopped.code(), Errc::cancelled);
  EXPECT_GT(stats().merge_running_bytes, 0u);
  latch_->open();
  ASSERT_OK(vault_->finish_merging());
  EXPECT_EQ(stats().merges, 1u);
  EXPECT_EQ(vault_->finish_merging().code(), Errc::ok);
  auto reader = place_.open({.read_only = true});
  ASSERT_OK(reader);
  EXPECT_EQ((*reader)->finish_merging().code(), Errc::denied);
}

// Readers of this process and of another, while one merge follows the other.
TEST_F(VaultMerging, ReadersGoOn) {
  put(0, 10);
  ASSERT_OK(vault_->seal());
  auto reader = place_.open({.read_only = true});
  ASSERT_OK(reader);
  std::atomic<bool> is_over{false};
  std::atomic<std::uint64_t> reads{0};
  auto read = [&](const Vault& vault) {
    while (!is_over) {
      for (int i = 0; i < 10; ++i) {
        const auto c = vault.get("c" + std::to_string(i));
        EXPECT_OK(c) << i;
        if (c) {
          EXPECT_EQ(c->messages.size(), 3u);
        }
        ++reads;
      }
    }
  };
  std::thread same([&] { read(*vault_); });
  std::thread other([&] { read(**reader); });
  for (int i = 1; i < 12; ++i) {
    put(i * 10, i * 10 + 10);
    ASSERT_OK(vault_->seal());
    if (i % 3 == 0) {
      ASSERT_OK(vault_->finish_merging());
    }
  }
  ASSERT_OK(vault_->finish_merging());
  is_over = true;
  same.join();
  other.join();
  EXPECT_GT(stats().merges, 2u);
  EXPECT_GT(reads, 0u);
  compare("at the end");
}

// What applications send: words by a skewed law under a few long instructions; calls of tools and
// what they answer; documents that come again with an edit; and chats that are logged request by
// request, each with all that was said before.
class Traffic {
 public:
  Traffic() {
    for (int i = 0; i < 3000; ++i) {
      std::string word;
      for (std::uint64_t k = 2 + below(random_, 7); k > 0; --k) {
        word += static_cast<char>('a' + below(random_, 26));
      }
      words_.push_back(std::move(word));
    }
    for (int i = 0; i < 6; ++i) instructions_.push_back(text(250));
    for (int i = 0; i < 60; ++i) documents_.push_back(text(400));
  }

  Conversation next() {
    Conversation c;
    c.id = "conversation-" + std::to_string(++count_);
    c.model = "model-" + std::to_string(below(random_, 3));
    c.time_ms = 1'760'000'000'000 + static_cast<std::int64_t>(count_ * 5000);
    const auto say = [&](const char* role, const std::string& said) {
      c.messages.push_back(Message::of_text(role, said));
    };
    if (count_ % 3 == 0) {
      if (chat_.size() > 8) chat_.clear();
      chat_.push_back(Message::of_text("user", text(15)));
      chat_.push_back(Message::of_text("assistant", text(40)));
      c.messages = chat_;
      return c;
    }
    say("system", instructions_[below(random_, instructions_.size())]);
    if (count_ % 3 == 1) {
      say("user", text(20));
      say("assistant", "{\"name\":\"find_order\",\"arguments\":{\"order\":" + number() + "}}");
      say("tool", "{\"order\":" + number() + ",\"status\":\"delivered\",\"customer\":{\"name\":\"" +
                      text(2) + "\"},\"items\":[{\"price\":" + number() + "}]}");
      say("assistant", text(30));
    } else {
      std::string& document = documents_[below(random_, documents_.size())];
      const std::string edit = text(3);
      document.replace(below(random_, document.size() - edit.size()), edit.size(), edit);
      say("user", document + "\n\n" + text(12));
      say("assistant", text(25));
    }
    return c;
  }

 private:
  std::string text(std::size_t count) {
    std::string out;
    for (std::size_t i = 0; i < count; ++i) {
      const double at = static_cast<double>(below(random_, 1u << 20)) / (1u << 20);
      out += words_[static_cast<std::size_t>(at * at * at * static_cast<double>(words_.size()))];
      out += below(random_, 12) == 0 ? ". " : " ";
    }
    return out;
  }
  std::string number() { return std::to_string(below(random_, 10'000'000)); }

  Rng random_{17};
  std::vector<std::string> words_;
  std::vector<std::string> instructions_;
  std::vector<std::string> documents_;
  std::vector<Message> chat_;
  std::uint64_t count_ = 0;
};

std::uint64_t pack_bytes(const Vault& vault) {
  const auto stats = vault.stats();
  EXPECT_OK(stats);
  return stats ? stats->pack_bytes : 0;
}

// The packs of a vault that nobody tends are at most 1.2 times what compaction makes of them at its
// level, and those of sealing alone are not. Up to a fifth of them waits for the next merge, as
// sealing made it: so the bound is that of text of which sealing makes twice as much, like this.
TEST(VaultMergingOfTraffic, UntendedPacksAreAtMostAFifthLargerThanCompactedOnes) {
  for (const Level level : {Level::fast, Level::balanced}) {
    const auto open = [&](const MemoryPlace& place, std::uint64_t merge_bytes_min) {
      auto vault = place.open({.level = level,
                               .log_bytes_max = 96u << 10,
                               .threads = 1,
                               .merge_bytes_min = merge_bytes_min});
      EXPECT_OK(vault);
      return std::move(*vault);
    };
    MemoryPlace place, sealed_place;
    ASSERT_OK(place.create());
    ASSERT_OK(sealed_place.create());
    const auto untended = open(place, 16u << 10);
    const auto sealed = open(sealed_place, UINT64_MAX);
    Traffic traffic;
    for (int part = 1; part <= 3; ++part) {
      for (int i = 0; i < 30; ++i) {
        std::vector<Conversation> batch(30);
        for (Conversation& c : batch) c = traffic.next();
        ASSERT_OK(untended->put_batch(batch, {}));
        ASSERT_OK(untended->finish_merging());  // so that it is the same in every run
        ASSERT_OK(sealed->put_batch(batch, {}));
      }
      ASSERT_OK(untended->seal());
      ASSERT_OK(sealed->seal());
      ASSERT_OK(untended->finish_merging());
      const MemoryPlace copy = MemoryPlace::of(place.disk.process_kill(), place.catalog);
      const auto compacted = open(copy, UINT64_MAX);
      ASSERT_OK(compacted->compact(level));
      const auto least = static_cast<double>(pack_bytes(*compacted));
      const auto ratio = [&](const Vault& vault) {
        return static_cast<double>(pack_bytes(vault)) / least;
      };
      const std::string where =
          "level " + std::to_string(static_cast<int>(level)) + ", part " + std::to_string(part);
      EXPECT_LE(ratio(*untended), 1.2) << where;
      EXPECT_GT(ratio(*sealed), 1.2) << where;
    }
    EXPECT_GE(untended->stats()->merges, 5u);
  }
}

// A log that fills up while the one before it is being sealed is waited with; its own sealing is
// not waited for by whoever writes next.
TEST_F(VaultMerging, WhoWaitedForOneSealingDoesNotWaitForTheNext) {
  vault_.reset();
  auto vault = Vault::open(
      std::make_unique<Gate>(place_.disk, latch_), std::make_unique<SharedCatalog>(place_.catalog),
      {.level = Level::fast, .log_bytes_max = 4'000, .merge_bytes_min = UINT64_MAX});
  ASSERT_OK(vault);
  latch_->close_after(0);
  std::atomic<int> stored{0};
  std::atomic<bool> stop{false};
  {
    std::jthread writer([&] {
      for (int i = 0; !stop; ++i) {
        if (!(*vault)->put(conversation("s" + std::to_string(i), {"x"}), {})) return;
        ++stored;
      }
    });
    EXPECT_TRUE(latch_->await_merge());
    // Until the second log is full, and the writer waits for the first.
    int before = -1;
    while (before != stored) {
      before = stored;
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
    }
    latch_->admit();
    for (int i = 0; i < 2'000 && stored < before + 3; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_GE(stored, before + 3) << "held up by the second sealing";
    stop = true;
    latch_->open();
  }
  ASSERT_OK((*vault)->flush());
}

}  // namespace
}  // namespace tokvault
