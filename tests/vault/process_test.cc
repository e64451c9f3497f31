// Several processes on one vault in a directory: who may write, what readers see while it is being
// rewritten, and what a disk that is full or may not be written to means.
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <functional>
#include <thread>

#include "tests/vault/harness.h"

namespace tokvault {
namespace {

namespace fs = std::filesystem;

// A child process that runs until it is told to end.
class Child {
 public:
  // `work` is given a function that says "I am there" and waits for release().
  explicit Child(const std::function<void(const std::function<void()>&)>& work) {
    int there[2];
    int go[2];
    if (::pipe(there) != 0 || ::pipe(go) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(there[0]);
      ::close(go[1]);
      work([&] {
        char c = 'x';
        if (::write(there[1], &c, 1) != 1) ::_exit(90);
        if (::read(go[0], &c, 1) < 0) ::_exit(91);
      });
      ::_exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    ::close(there[1]);
    ::close(go[0]);
    there_ = there[0];
    go_ = go[1];
  }
  ~Child() {
    if (pid_ > 0) kill();
    ::close(there_);
    if (go_ >= 0) ::close(go_);
  }
  pid_t pid() const { return pid_; }
  void wait_until_there() {
    char c = 0;
    EXPECT_EQ(::read(there_, &c, 1), 1) << "the child ended before it was there";
  }
  void release() {
    ::close(go_);
    go_ = -1;
  }
  void kill() {
    ::kill(pid_, SIGKILL);
    (void)join();
  }
  int join() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_ = -1;
  int there_ = -1;
  int go_ = -1;
};

constexpr int kCannotRun = 77;

// Runs a test body in a child, which may change its user, mounts and limits. Skips the test if the
// child ends with kCannotRun: where nobody may mount anything there is no small disk to fill. The
// last line of scripts/test counts such tests.
void in_child(const std::function<void()>& body) {
  Child child([&](const std::function<void()>&) { body(); });
  const int status = child.join();
  if (WIFEXITED(status) && WEXITSTATUS(status) == kCannotRun) {
    GTEST_SKIP()
        << "this process may not mount anything, or become another user, as it would have to";
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

// Gives a child mounts of its own: root by itself, anybody else in a namespace of users, where that
// is permitted.
bool own_mounts() {
  if (::unshare(CLONE_NEWNS) != 0) {
    const std::string user = std::to_string(::geteuid()), group = std::to_string(::getegid());
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " + user + " 1";
    std::ofstream("/proc/self/gid_map") << "0 " + group + " 1";
  }
  return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

// Makes a folder that is a disk of 2 MB.
void mount_disk(const std::string& disk) {
  fs::create_directory(disk);
  if (own_mounts() && ::mount("tokvault-test", disk.c_str(), "tmpfs", 0, "size=2m") == 0) return;
  ::_exit(kCannotRun);
}

// Of a child that is root, whom neither permissions nor limits stop.
void become_nobody() {
  constexpr uid_t kNobody = 65534;
  if (::geteuid() != 0) return;
  if (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) {
    ::_exit(kCannotRun);
  }
}

class VaultProcess : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(create_vault(path_, {.tokenizer = "bytes"})); }

  TempDir dir_;
  const std::string path_ = dir_ / "v";
};

TEST_F(VaultProcess, ASecondWriterIsToldWhoWrites) {
  Child writer([&](const std::function<void()>& there) {
    auto vault = open_vault(path_);
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(conversation("a", {"of the first"}), {}));
    there();
  });
  writer.wait_until_there();
  const auto second = open_vault(path_);
  ASSERT_EQ(second.code(), Errc::busy);
  EXPECT_NE(second.error().message().find(std::to_string(writer.pid())), std::string_view::npos)
      << second.error().message();
  EXPECT_EQ(repair_vault(path_).code(), Errc::busy);
  {
    auto reader = open_vault(path_, {.read_only = true});
    ASSERT_OK(reader);
    EXPECT_OK((*reader)->get("a"));
    EXPECT_EQ((*reader)->put(conversation("b", {"x"}), {}).code(), Errc::denied);
    EXPECT_EQ((*reader)->gc(false).code(), Errc::denied);
    EXPECT_OK((*reader)->gc(true));
  }
  // A lock dies with its process.
  writer.kill();
  auto next = open_vault(path_);
  ASSERT_OK(next);
  EXPECT_OK((*next)->get("a"));
  EXPECT_OK((*next)->put(conversation("b", {"of the second"}), {}));
  // Nor may one process open it twice for writing.
  EXPECT_EQ(open_vault(path_).code(), Errc::busy);
}

// A child has a copy of what waits to be written, and of a log that goes on without it.
TEST_F(VaultProcess, AForkedChildWritesNothing) {
  std::vector<std::string> ids{"before", "waiting"};
  {
    auto vault = open_vault(path_, {.level = Level::fast, .log_bytes_max = 4'000});
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(conversation(ids[0], {"x"}), {}));
    ASSERT_OK((*vault)->put_async(conversation(ids[1], {"x"}), {}));
    Child child([&](const std::function<void()>&) {
      const std::vector<Conversation> batch{conversation("of the child", {"x"})};
      const std::vector<std::string> before{ids[0]};
      const std::vector<std::string> tags{"tag"};
      const std::vector<Segment> segments{Segment::of_bytes(std::string(200, 's'))};
      const std::vector<SegmentId> segment_ids{segments[0].id()};
      const auto put = (*vault)->put(batch[0], {});
      EXPECT_EQ(put.code(), Errc::denied);
      EXPECT_NE(put.error().message().find(std::to_string(::getppid())), std::string_view::npos)
          << put.error().message();
      EXPECT_EQ((*vault)->put_batch(batch, {}).code(), Errc::denied);
      EXPECT_EQ((*vault)->put_async(batch[0], {}).code(), Errc::denied);
      EXPECT_EQ((*vault)->flush().code(), Errc::denied);
      EXPECT_EQ((*vault)->append(ids[0], batch[0].messages).code(), Errc::denied);
      EXPECT_EQ((*vault)->tag(before, tags, {}).code(), Errc::denied);
      EXPECT_EQ((*vault)->forget(before).code(), Errc::denied);
      EXPECT_EQ((*vault)->forget(Filter()).code(), Errc::denied);
      EXPECT_EQ((*vault)->put_segments(segments).code(), Errc::denied);
      EXPECT_EQ((*vault)->hold_segments(segment_ids).code(), Errc::denied);
      EXPECT_EQ((*vault)->release_segments(segment_ids).code(), Errc::denied);
      EXPECT_EQ((*vault)->gc(false).code(), Errc::denied);
      EXPECT_EQ((*vault)->compact(Level::fast).code(), Errc::denied);
      EXPECT_EQ((*vault)->seal().code(), Errc::denied);
      EXPECT_EQ((*vault)->finish_merging().code(), Errc::denied);
      EXPECT_EQ((*vault)->dictionaries().train({}).code(), Errc::denied);
      EXPECT_EQ((*vault)->substrings().train({}).code(), Errc::denied);
      EXPECT_OK((*vault)->get(ids[0]));
      vault->reset();
      EXPECT_OK(open_vault(path_, {.read_only = true}));
    });
    EXPECT_EQ(child.join(), 0);
    // The lock is held, by whom it says.
    const auto second = open_vault(path_);
    ASSERT_EQ(second.code(), Errc::busy);
    EXPECT_NE(second.error().message().find(std::to_string(::getpid())), std::string_view::npos)
        << second.error().message();
    for (int i = 0; i < 20; ++i) {
      ids.push_back("after" + std::to_string(i));
      ASSERT_OK((*vault)->put(conversation(ids.back(), {shared_text(i)}), {}));
    }
    EXPECT_OK((*vault)->seal());
  }
  auto vault = open_vault(path_);
  ASSERT_OK(vault);
  for (const std::string& id : ids) EXPECT_OK((*vault)->get(id)) << id;
  EXPECT_EQ((*vault)->get("of the child").code(), Errc::not_found);
  const auto report = (*vault)->check({.read_data = true});
  ASSERT_OK(report);
  for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
}

// Counts, in the process that destroys it.
class Mortal final : public ForwardingBackend {
 public:
  Mortal(std::shared_ptr<Backend> to, int& destroyed)
      : ForwardingBackend(std::move(to)), destroyed_(destroyed) {}
  ~Mortal() override { ++destroyed_; }
  Mortal(const Mortal&) = delete;
  Mortal& operator=(const Mortal&) = delete;

 private:
  int& destroyed_;
};

// A thread of the parent may have been changing any of it at the fork.
TEST_F(VaultProcess, AForkedChildGivesUpTheLockAndDestroysNothing) {
  int destroyed = 0;
  auto directory = make_directory_backend(path_, {});
  ASSERT_OK(directory);
  auto catalog = make_sqlite_catalog(path_ + "/catalog.db", {});
  ASSERT_OK(catalog);
  auto vault = Vault::open(std::make_unique<Mortal>(std::move(*directory), destroyed),
                           std::move(*catalog), {});
  ASSERT_OK(vault);
  ASSERT_OK((*vault)->put(conversation("a", {"x"}), {}));
  Child child([&](const std::function<void()>& there) {
    vault->reset();
    EXPECT_EQ(destroyed, 0);
    there();
  });
  child.wait_until_there();
  EXPECT_EQ(open_vault(path_).code(), Errc::busy);
  vault->reset();
  EXPECT_EQ(destroyed, 1);
  EXPECT_OK(open_vault(path_));
  child.release();
  EXPECT_EQ(child.join(), 0);
}

// Threads of the parent put, seal and merge at the fork: a child has their locks and not them.
TEST_F(VaultProcess, AForkedChildWaitsForNoThreadOfItsParent) {
  constexpr int kThreads = 3;
  std::array<int, kThreads> counts{};
  {
    auto vault =
        open_vault(path_, {.level = Level::fast, .log_bytes_max = 4'000, .merge_bytes_min = 4'000});
    ASSERT_OK(vault);
    std::atomic<bool> stop{false};
    std::vector<std::jthread> writers;
    for (int t = 0; t < kThreads; ++t) {
      writers.emplace_back([&, t] {
        for (; !stop; ++counts[t]) {
          const std::string id = std::to_string(t) + "-" + std::to_string(counts[t]);
          const auto put = (*vault)->put(conversation(id, {shared_text(counts[t] % 11), id}), {});
          if (!put) break;
        }
      });
    }
    for (int i = 0; i < 20; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      Child child([&](const std::function<void()>&) {
        ::alarm(60);
        const bool is_denied = (*vault)->put(conversation("c", {"x"}), {}).code() == Errc::denied;
        vault->reset();
        ::_exit(is_denied ? 0 : 1);
      });
      EXPECT_EQ(child.join(), 0);
    }
    stop = true;
    writers.clear();
    EXPECT_OK((*vault)->flush());
  }
  auto vault = open_vault(path_);
  ASSERT_OK(vault);
  for (int t = 0; t < kThreads; ++t) {
    EXPECT_GT(counts[t], 0);
    for (int i = 0; i < counts[t]; ++i) {
      EXPECT_OK((*vault)->get(std::to_string(t) + "-" + std::to_string(i)));
    }
  }
  const auto report = (*vault)->check({.read_data = true});
  ASSERT_OK(report);
  for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
}

// A writer that seals, collects and compacts all the time never shows a reader an error, a gap, or
// less than it showed before.
TEST_F(VaultProcess, AReaderBesideAWriterThatRewritesAllTheTime) {
  constexpr int kStable = 30;
  {
    auto vault = open_vault(path_);
    ASSERT_OK(vault);
    for (int i = 0; i < kStable; ++i) {
      ASSERT_OK((*vault)->put(
          conversation("stable" + std::to_string(i), {shared_text(i % 7), std::to_string(i)}), {}));
    }
  }
  Child writer([&](const std::function<void()>& there) {
    VaultOptions options;
    options.level = Level::fast;
    options.log_bytes_max = 4'000;
    auto vault = open_vault(path_, options);
    ASSERT_OK(vault);
    there();
    for (int i = 0;; ++i) {
      const std::string id = "moving" + std::to_string(i % 10);
      ASSERT_OK((*vault)->put(conversation(id, {shared_text(i % 9), std::to_string(i)}),
                              {.replace = true}));
      ASSERT_OK((*vault)->put(conversation("new" + std::to_string(i), {std::to_string(i)}), {}));
      if (i % 3 == 0) {
        ASSERT_OK((*vault)->gc(false));
      }
      if (i % 7 == 0) {
        ASSERT_OK((*vault)->compact(Level::fast));
      }
    }
  });
  writer.wait_until_there();
  auto reader = open_vault(path_, {.read_only = true, .cache_bytes = 1});
  ASSERT_OK(reader);
  writer.release();
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  int scans = 0;
  std::size_t news = 0;
  while (std::chrono::steady_clock::now() < until && !HasFailure()) {
    int stable = 0;
    std::size_t seen_news = 0;
    ASSERT_OK((*reader)->scan({}, [&](const Summary& s, Result<Conversation> c) {
      EXPECT_OK(c) << s.id;
      if (s.id.starts_with("stable")) {
        EXPECT_EQ(s.id, "stable" + std::to_string(stable));
        if (c) {
          EXPECT_EQ(c->messages[1].values[0].bytes, std::to_string(stable));
          EXPECT_EQ(c->messages[0].values[0].bytes, shared_text(stable % 7));
        }
        ++stable;
      }
      if (s.id.starts_with("new")) {
        EXPECT_EQ(s.id, "new" + std::to_string(seen_news));
        ++seen_news;
      }
      return true;
    }));
    EXPECT_EQ(stable, kStable);
    EXPECT_GE(seen_news, news);
    news = seen_news;
    std::vector<std::string> ids;
    for (int i = 0; i < kStable; ++i) ids.push_back("stable" + std::to_string(i));
    const auto batch = (*reader)->get_batch(ids);
    ASSERT_OK(batch);
    for (const auto& one : *batch) EXPECT_OK(one);
    for (int i = 0; i < kStable; i += 5) EXPECT_OK((*reader)->get("stable" + std::to_string(i)));
    // Also one that is opened now.
    auto fresh = open_vault(path_, {.read_only = true});
    ASSERT_OK(fresh);
    EXPECT_OK((*fresh)->get("stable3"));
    const auto report = (*fresh)->check({});
    ASSERT_OK(report);
    for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
    ++scans;
  }
  EXPECT_EQ(::kill(writer.pid(), 0), 0) << "the writer failed";
  writer.kill();
  EXPECT_GT(scans, 3);
  EXPECT_GT(news, 3u);
  std::cout << scans << " scans beside " << news << " commits\n";
}

// Threads of one process: put() from several at once, beside reading, explaining and sealing.
TEST_F(VaultProcess, ThreadsThatPutAndReadAtOnce) {
  VaultOptions options;
  options.level = Level::fast;
  options.log_bytes_max = 20'000;
  auto vault = open_vault(path_, options);
  ASSERT_OK(vault);
  constexpr int kThreads = 4;
  constexpr int kEach = 60;
  std::atomic<int> failures{0};
  std::atomic<bool> stop{false};
  {
    std::jthread reader([&] {
      while (!stop) {
        const auto seen = contents(**vault);
        if (!seen) ++failures;
        // The logs that it walks grow meanwhile.
        if (!(*vault)->explain()) ++failures;
        const auto explained = (*vault)->explain_conversation("0-0");
        if (!explained && explained.code() != Errc::not_found) ++failures;
      }
    });
    std::vector<std::jthread> writers;
    for (int t = 0; t < kThreads; ++t) {
      writers.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          const std::string id = std::to_string(t) + "-" + std::to_string(i);
          const Conversation c = conversation(id, {shared_text(i % 11), id});
          PutOptions put;
          if (t == 1) put.tenant = "acme";
          if (!(*vault)->put(c, put)) ++failures;
          const auto got = (*vault)->get(id, put.tenant);
          if (!got || !(*got == c)) ++failures;
        }
      });
    }
    for (int i = 0; i < 5; ++i) {
      if (!(*vault)->gc(false)) ++failures;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    writers.clear();
    stop = true;
  }
  EXPECT_EQ(failures, 0);
  const auto all = contents(**vault);
  ASSERT_OK(all);
  EXPECT_EQ(all->size(), static_cast<std::size_t>(kThreads * kEach));
}

// A disk that throws, as a standard library does that is out of memory.
class ThrowingBackend final : public ForwardingBackend {
 public:
  ThrowingBackend(const FaultBackend& to, const std::atomic<bool>& throws)
      : ForwardingBackend(to), throws_(throws) {}
  Status append(std::string_view name, ByteView bytes) override {
    if (throws_) (void)std::string().at(bytes.size());
    return ForwardingBackend::append(name, bytes);
  }

 private:
  const std::atomic<bool>& throws_;
};

// Whoever commits for the others tells them, and the next one that it is over.
TEST_F(VaultProcess, ThreadsThatPutHearOfAnException) {
  std::atomic<bool> throws{false};
  MemoryPlace place;
  ASSERT_OK(place.create());
  {
    auto vault = Vault::open(std::make_unique<ThrowingBackend>(place.disk, throws),
                             std::make_unique<SharedCatalog>(place.catalog), {});
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(conversation("a", {"x"}), {}));
    throws = true;
    std::vector<std::jthread> writers;
    std::atomic<int> refused{0};
    for (int t = 0; t < 4; ++t) {
      writers.emplace_back([&, t] {
        if (!(*vault)->put(conversation(std::to_string(t), {"x"}), {})) ++refused;
      });
    }
    writers.clear();
    EXPECT_EQ(refused, 4);
    EXPECT_EQ((*vault)->put(conversation("b", {"x"}), {}).code(), Errc::exhausted);
    EXPECT_OK((*vault)->get("a"));
  }
  auto vault = place.open();
  ASSERT_OK(vault);
  EXPECT_EQ(contents(**vault)->size(), 1u);
  EXPECT_OK((*vault)->put(conversation("b", {"x"}), {}));
}

void read_without_writing(const std::string& path) {
  EXPECT_EQ(open_vault(path).code(), Errc::denied);
  auto reader = open_vault(path, {.read_only = true});
  ASSERT_OK(reader);
  for (const std::string id : {"a", "b"}) {
    const auto got = (*reader)->get(id);
    ASSERT_OK(got);
    EXPECT_TRUE(*got == conversation(id, {shared_text(1)}));
  }
  EXPECT_OK((*reader)->stats());
  const auto report = (*reader)->check({.read_data = true});
  ASSERT_OK(report);
  EXPECT_TRUE(report->findings.empty());
}

void fill_for_reading(const std::string& path) {
  auto vault = open_vault(path);
  ASSERT_OK(vault);
  ASSERT_OK((*vault)->put(conversation("a", {shared_text(1)}), {}));
  ASSERT_OK((*vault)->seal());
  ASSERT_OK((*vault)->put(conversation("b", {shared_text(1)}), {}));
}

// Permissions do not stop root, who becomes nobody here.
TEST_F(VaultProcess, AReadOnlyDirectoryIsRead) {
  fill_for_reading(path_);
  fs::permissions(dir_.path(), fs::perms(0755));
  for (const auto& entry : fs::recursive_directory_iterator(path_)) {
    fs::permissions(entry.path(), entry.is_directory() ? fs::perms(0555) : fs::perms(0444));
  }
  fs::permissions(path_, fs::perms(0555));
  in_child([&] {
    become_nobody();
    if (::access(path_.c_str(), R_OK | X_OK) != 0) ::_exit(kCannotRun);  // TMPDIR is root's alone
    read_without_writing(path_);
  });
  fs::permissions(path_, fs::perms::owner_all, fs::perm_options::add);
  for (const auto& entry : fs::recursive_directory_iterator(path_)) {
    fs::permissions(entry.path(), fs::perms::owner_all, fs::perm_options::add);
  }
}

// What may not be read may be sound.
TEST_F(VaultProcess, WhatMayNotBeReadIsNotLost) {
  fill_for_reading(path_);
  fs::permissions(dir_.path(), fs::perms(0755));
  std::string pack;
  for (const auto& entry : fs::recursive_directory_iterator(path_)) {
    fs::permissions(entry.path(), entry.is_directory() ? fs::perms(0555) : fs::perms(0444));
    if (entry.path().extension() == ".pack") pack = entry.path();
  }
  fs::permissions(path_, fs::perms(0555));
  for (const std::string& file : {pack, path_ + "/catalog.db"}) {
    fs::permissions(file, fs::perms(0));
    in_child([&] {
      become_nobody();
      if (::access(path_.c_str(), R_OK | X_OK) != 0) ::_exit(kCannotRun);
      auto reader = open_vault(path_, {.read_only = true});
      ASSERT_OK(reader);
      const auto report = (*reader)->check({.read_data = true});
      ASSERT_OK(report);
      EXPECT_EQ(report->lost_conversations, 0u);
      EXPECT_TRUE(report->lost_ids.empty());
      ASSERT_EQ(report->findings.size(), 1u);
      EXPECT_EQ(report->findings[0].code, Errc::denied) << report->findings[0].message;
      EXPECT_TRUE(file.ends_with(report->findings[0].file)) << report->findings[0].file;
    });
    fs::permissions(file, fs::perms(0444));
  }
  fs::permissions(path_, fs::perms::owner_all, fs::perm_options::add);
  for (const auto& entry : fs::recursive_directory_iterator(path_)) {
    fs::permissions(entry.path(), fs::perms::owner_all, fs::perm_options::add);
  }
}

TEST_F(VaultProcess, AReadOnlyMountIsRead) {
  in_child([&] {
    const std::string disk = dir_ / "disk";
    mount_disk(disk);
    const std::string path = disk + "/v";
    ASSERT_OK(create_vault(path, {.tokenizer = "bytes"}));
    fill_for_reading(path);
    ASSERT_EQ(::mount(nullptr, disk.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
    read_without_writing(path);
  });
}

// Puts until there is no room, and goes on when `make_room` made some.
void fill_and_go_on(const std::string& path, std::uint64_t log_bytes_max,
                    const std::function<void()>& make_room) {
  Rng rng(3);
  std::map<std::string, Conversation> model;
  {
    VaultOptions options;
    options.level = Level::fast;
    options.log_bytes_max = log_bytes_max;
    auto vault = open_vault(path, options);
    ASSERT_OK(vault);
    Status status;
    for (int i = 0; status && i < 2'000; ++i) {
      std::string noise;
      for (int b = 0; b < 3'000; ++b) noise += static_cast<char>(rng());
      const Conversation c = conversation("c" + std::to_string(i), {noise});
      auto put = (*vault)->put(c, {});
      if (put) {
        model[c.id] = c;
      } else {
        status = std::move(put).error();
      }
    }
    ASSERT_EQ(status.code(), Errc::exhausted) << why(status);
    EXPECT_GT(model.size(), 10u);
    for (const auto& [id, c] : model) {
      const auto got = (*vault)->get(id);
      ASSERT_OK(got);
      EXPECT_TRUE(*got == c);
    }
  }
  {
    auto reader = open_vault(path, {.read_only = true});
    ASSERT_OK(reader);
    EXPECT_OK((*reader)->get("c0"));
  }
  make_room();
  auto vault = open_vault(path);
  ASSERT_OK(vault);
  const Conversation after = conversation("after", {"there is room again"});
  ASSERT_OK((*vault)->put(after, {}));
  model["after"] = after;
  ASSERT_OK((*vault)->compact(Level::fast));
  auto seen = contents(**vault);
  ASSERT_OK(seen);
  EXPECT_EQ(seen->size(), model.size());
  for (const auto& [id, c] : model) EXPECT_TRUE((seen->at({"default", id}) == c)) << id;
  const auto report = (*vault)->check({.read_data = true});
  ASSERT_OK(report);
  for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
}

TEST_F(VaultProcess, AFullDiskIsToldAndSurvived) {
  in_child([&] {
    const std::string disk = dir_ / "disk";
    mount_disk(disk);
    const std::string path = disk + "/v";
    ASSERT_OK(create_vault(path, {.tokenizer = "bytes"}));
    // A filler leaves some room, so that the vault fills the rest.
    spill(disk + "/filler", std::string(1'500'000, 'f'));
    fill_and_go_on(path, 50'000, [&] { fs::remove(disk + "/filler"); });
  });
}

// A limit on the size of files, which anybody may set, in place of a disk that is full.
TEST_F(VaultProcess, AFileThatMayNotGrowIsToldAndSurvived) {
  in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
    const rlimit before = limit;
    limit.rlim_cur = 60'000;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    fill_and_go_on(path_, 200'000, [&] { ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0); });
  });
}

// What threads would have done is done without them, or later, and said.
TEST_F(VaultProcess, WhereNoThreadCanBeHadNothingIsLost) {
  in_child([&] {
    MemoryPlace place;
    ASSERT_OK(place.create());
    VaultOptions options{.level = Level::fast, .log_bytes_max = 4'000, .threads = 4};
    options.merge_bytes_min = UINT64_MAX;
    auto vault = place.open(options);
    ASSERT_OK(vault);
    become_nobody();
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_NPROC, &limit), 0);
    const rlimit before = limit;
    limit.rlim_cur = 0;
    ASSERT_EQ(::setrlimit(RLIMIT_NPROC, &limit), 0);
    try {
      std::thread([] {}).join();
      ::_exit(kCannotRun);
    } catch (const std::system_error&) {  // as it is to be
    }
    Contents all;
    Rng rng(7);
    auto next = [&] {
      const auto c = conversation("c" + std::to_string(all.size()), {random_text(rng, 400)});
      all[{"default", c.id}] = c;
      return c;
    };
    auto expect_all = [&] {
      const auto seen = contents(**vault);
      ASSERT_OK(seen);
      EXPECT_TRUE(*seen == all);
    };
    for (int i = 0; i < 30; ++i) EXPECT_OK((*vault)->put(next(), {}));
    EXPECT_EQ((*vault)->flush().code(), Errc::exhausted);
    EXPECT_OK((*vault)->flush());
    std::vector<Conversation> batch;
    for (int i = 0; i < 300; ++i) batch.push_back(next());
    const auto results = (*vault)->put_batch(batch, {});
    ASSERT_OK(results);
    for (const auto& result : *results) EXPECT_OK(result);
    EXPECT_EQ((*vault)->seal().code(), Errc::exhausted);
    expect_all();
    // Packs are made all the same, but not beside the writer.
    ASSERT_OK((*vault)->compact(Level::balanced));
    EXPECT_EQ((*vault)->stats()->logs, 1u);
    expect_all();
    ASSERT_EQ(::setrlimit(RLIMIT_NPROC, &before), 0);
    for (int i = 0; i < 30; ++i) EXPECT_OK((*vault)->put(next(), {}));
    EXPECT_OK((*vault)->seal());
    vault->reset();
    options.merge_bytes_min = 0;
    vault = place.open(options);
    ASSERT_OK(vault);
    ASSERT_EQ(::setrlimit(RLIMIT_NPROC, &limit), 0);
    EXPECT_EQ((*vault)->finish_merging().code(), Errc::exhausted);
    expect_all();
    ASSERT_EQ(::setrlimit(RLIMIT_NPROC, &before), 0);
    EXPECT_OK((*vault)->finish_merging());
    EXPECT_OK((*vault)->flush());
    expect_all();
    const auto report = (*vault)->check({.read_data = true});
    ASSERT_OK(report);
    for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
  });
}

// What is in a log or in a pack is forgotten, and the disk has 32 KB left: the deletions alone are
// more.
TEST_F(VaultProcess, GarbageIsCollectedOnADiskThatIsFull) {
  for (const bool is_sealed : {false, true}) {
    SCOPED_TRACE(is_sealed);
    in_child([&] {
      const std::string disk = dir_ / (is_sealed ? "pack" : "log");
      mount_disk(disk);
      const std::string path = disk + "/v";
      ASSERT_OK(create_vault(path, {.tokenizer = "bytes"}));
      auto vault = open_vault(path);
      ASSERT_OK(vault);
      std::vector<Conversation> batch;
      std::vector<std::string> ids;
      for (int i = 0; i < 3'000; ++i) {
        ids.push_back("c" + std::to_string(i));
        batch.push_back(conversation(ids.back(), {std::to_string(i * 7'919)}));
      }
      ASSERT_OK((*vault)->put_batch(batch, {}));
      if (is_sealed) {
        ASSERT_OK((*vault)->seal());
      }
      ASSERT_OK((*vault)->forget(ids));
      const std::uint64_t left = fs::space(disk).available;
      ASSERT_GT(left, 32u << 10);
      spill(disk + "/filler", std::string(left - (32u << 10), 'f'));
      const auto report = (*vault)->gc(false);
      ASSERT_OK(report);
      EXPECT_EQ(report->conversations, 3'000u);
      EXPECT_LT(report->bytes_after, 1'000u);
      EXPECT_GT(fs::space(disk).available, 64u << 10);
    });
  }
}

}  // namespace
}  // namespace tokvault
