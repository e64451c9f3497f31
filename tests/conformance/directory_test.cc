// What only the directory backend promises: files, folders, the lock, and the order of syncs.
//
// fsync, fdatasync and rename are replaced in this program by functions that write down what they
// were called for, and fail on demand, before they do the real thing; open calls a test back when
// it is done.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/conformance/temp_dir.h"
#include "tokvault/backend.h"

namespace {

std::vector<std::string>* recorded =
    nullptr;            // where calls are written down, while a test wants it
std::string fail_call;  // the call that fails with EIO: "fdatasync"

std::function<void()> after_open;  // called once, after the next open

std::string last_part(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  return name.starts_with(".tmp-") ? "temporary" : name;
}

bool note(const std::string& call, const std::string& path) {
  if (recorded) recorded->push_back(call + " " + last_part(path));
  if (call != fail_call) return true;
  errno = EIO;
  return false;
}

std::string path_of(int fd) {
  char path[4096];
  const ssize_t n = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path);
  return n > 0 ? std::string(path, static_cast<std::size_t>(n)) : "?";
}

}  // namespace

extern "C" {
int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const unsigned mode = (flags & O_CREAT) != 0 ? va_arg(rest, unsigned) : 0;
  va_end(rest);
  const auto fd = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
  if (after_open) std::exchange(after_open, nullptr)();
  return fd;
}
int fsync(int fd) {
  return note("fsync", path_of(fd)) ? static_cast<int>(::syscall(SYS_fsync, fd)) : -1;
}
int fdatasync(int fd) {
  return note("fdatasync", path_of(fd)) ? static_cast<int>(::syscall(SYS_fdatasync, fd)) : -1;
}
int rename(const char* from, const char* to) noexcept {
  if (!note("rename to", to)) return -1;
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
}

namespace tokvault {
namespace {

using Calls = std::vector<std::string>;

class DirectoryTest : public testing::Test {
 protected:
  DirectoryTest() { std::filesystem::create_directory(root_); }
  ~DirectoryTest() override {
    recorded = nullptr;
    fail_call.clear();
  }

  std::unique_ptr<Backend> open(bool read_only = false) {
    DirectoryOptions options;
    options.read_only = read_only;
    auto backend = make_directory_backend(root_, options);
    EXPECT_TRUE(backend);
    return std::move(backend).value();
  }

  // The calls that `f` makes.
  static Calls calls_of(const std::function<void()>& f) {
    Calls calls;
    recorded = &calls;
    f();
    recorded = nullptr;
    return calls;
  }

  // Every file under the root but the lock, with its folder.
  std::vector<std::string> files() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root_)) {
      if (entry.is_regular_file() && entry.path().filename() != "lock") {
        out.push_back(entry.path().parent_path().filename() / entry.path().filename());
      }
    }
    return out;
  }

  // Runs `f` in a child process; what fails there fails here.
  static void in_child(const std::function<void()>& f) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      f();
      std::cout.flush();
      ::_exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child failed: " << status;
  }

  TempDir dir_;
  const std::string root_ = dir_ / "v";
};

// --- the order of what makes a write durable -----------------------------------------------------

TEST_F(DirectoryTest, PutSyncsBytesThenRenamesThenSyncsTheFolder) {
  const auto backend = open();
  EXPECT_EQ(calls_of([&] { EXPECT_TRUE(backend->put("packs/a", "x")); }),
            (Calls{"fsync v", "fdatasync temporary", "rename to a", "fsync packs"}));
  // The folder is known to be durable now.
  EXPECT_EQ(calls_of([&] { EXPECT_TRUE(backend->put("packs/b", "x")); }),
            (Calls{"fdatasync temporary", "rename to b", "fsync packs"}));
}

TEST_F(DirectoryTest, PutOfWhatIsThereMakesItDurableAllTheSame) {
  ASSERT_TRUE(open()->put("packs/a", "x"));
  const auto backend = open();
  EXPECT_EQ(calls_of([&] { EXPECT_TRUE(backend->put("packs/a", "x")); }),
            (Calls{"fsync v", "fdatasync a", "fsync packs"}));
}

TEST_F(DirectoryTest, AppendAndSyncIsOneDatasync) {
  const auto backend = open();
  const auto append = [&] { EXPECT_TRUE(backend->append("log/1", "x")); };
  const auto sync = [&] { EXPECT_TRUE(backend->sync("log/1")); };
  EXPECT_EQ(calls_of(append), Calls{"fsync v"});
  EXPECT_EQ(calls_of(sync), (Calls{"fdatasync 1", "fsync log"}));
  EXPECT_EQ(calls_of(append), Calls{});
  EXPECT_EQ(calls_of(append), Calls{});
  EXPECT_EQ(calls_of(sync), Calls{"fdatasync 1"});
}

TEST_F(DirectoryTest, TheNameOfALogIsSyncedByWhoeverFindsIt) {
  ASSERT_TRUE(open()->append("log/1", "x"));  // and died
  const auto backend = open();
  EXPECT_EQ(calls_of([&] { EXPECT_TRUE(backend->sync("log/1")); }),
            (Calls{"fsync v", "fdatasync 1", "fsync log"}));
}

TEST_F(DirectoryTest, TruncateAndRemoveAreDurable) {
  const auto backend = open();
  ASSERT_TRUE(backend->append("log/1", "0123"));
  ASSERT_TRUE(backend->sync("log/1"));
  EXPECT_EQ(calls_of([&] { EXPECT_TRUE(backend->truncate("log/1", 2)); }), Calls{"fdatasync 1"});
  EXPECT_EQ(calls_of([&] { EXPECT_TRUE(backend->remove("log/1")); }), Calls{"fsync log"});
  // Whoever removed it may have died before it was durable.
  EXPECT_EQ(calls_of([&] { EXPECT_TRUE(backend->remove("log/1")); }), Calls{"fsync log"});
}

TEST_F(DirectoryTest, CreateMakesTheDirectoryDurable) {
  DirectoryOptions options;
  options.create = true;
  const std::string parent = std::filesystem::path(dir_.path()).filename();
  EXPECT_EQ(calls_of([&] { EXPECT_TRUE(make_directory_backend(dir_ / "new", options)); }),
            Calls{"fsync " + parent});
  EXPECT_TRUE(std::filesystem::is_directory(dir_ / "new"));
}

// --- failures ------------------------------------------------------------------------------------

TEST_F(DirectoryTest, APutThatFailsLeavesNothing) {
  const auto backend = open();
  ASSERT_TRUE(backend->put("packs/kept", "x"));
  for (const char* call : {"fdatasync", "rename to", "fsync"}) {
    SCOPED_TRACE(call);
    fail_call = call;
    const Status failed = backend->put("packs/a", "bytes");
    fail_call.clear();
    EXPECT_EQ(failed.code(), Errc::io);
    EXPECT_EQ(failed.error().os_code(), EIO);
    EXPECT_EQ(files(), std::vector<std::string>{"packs/kept"});
  }
  EXPECT_TRUE(backend->put("packs/a", "bytes"));
}

TEST_F(DirectoryTest, ASyncThatFailedGoesOnFailing) {
  const auto backend = open();
  ASSERT_TRUE(backend->append("log/1", "x"));
  fail_call = "fdatasync";
  EXPECT_EQ(backend->sync("log/1").code(), Errc::io);
  fail_call.clear();
  // The kernel would say yes now, without having written the pages that it gave up.
  EXPECT_EQ(backend->sync("log/1").code(), Errc::io);
  EXPECT_EQ(backend->truncate("log/1", 0).code(), Errc::io);
  EXPECT_TRUE(open()->sync("log/1"));
}

TEST_F(DirectoryTest, ALogWhoseNameCouldNotBeSyncedIsNotAcknowledged) {
  const auto backend = open();
  ASSERT_TRUE(backend->append("log/1", "x"));
  fail_call = "fsync";
  EXPECT_EQ(backend->sync("log/1").code(), Errc::io);
}

// Runs on a disk of 1 MB: a tmpfs where the test may mount one, else a limit on the size of files.
TEST_F(DirectoryTest, AFullDiskIsExhaustedAndLeavesNothing) {
  in_child([&] {
    const bool mounted = ::unshare(CLONE_NEWNS) == 0 &&
                         ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         ::mount("tokvault-test", root_.c_str(), "tmpfs", 0, "size=1m") == 0;
    if (!mounted) {
      std::cout << "mounting a tmpfs is not permitted (" << std::strerror(errno)
                << "): RLIMIT_FSIZE stands in for a full disk\n";
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{1 << 20, 1 << 20};
      ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    }
    const auto backend = open();
    ASSERT_TRUE(backend->put("packs/small", "x"));
    EXPECT_EQ(backend->put("packs/big", Buffer(4 << 20, 'x')).code(), Errc::exhausted);
    EXPECT_EQ(files(), std::vector<std::string>{"packs/small"});

    ASSERT_TRUE(backend->append("log/1", Buffer(100'000, 'a')));
    ASSERT_TRUE(backend->sync("log/1"));
    EXPECT_EQ(backend->append("log/1", Buffer(2 << 20, 'b')).code(), Errc::exhausted);
    EXPECT_GE(*backend->size("log/1"), 100'000u);
    ASSERT_TRUE(backend->truncate("log/1", 100'000));
    ASSERT_TRUE(backend->append("log/1", "c"));
    ASSERT_TRUE(backend->sync("log/1"));
    Buffer out;
    ASSERT_TRUE(backend->get("log/1", 99'999, 2, out));
    EXPECT_EQ(out, "ac");
    EXPECT_TRUE(backend->put("packs/later", "x"));
    // A writer that cannot leave its name is the writer all the same: it may make room.
    if (mounted) {
      for (std::size_t size = 1 << 19; size > 0; size /= 2) {
        for (int i = 0; backend->put("fill/" + std::to_string(size) + "-" + std::to_string(i),
                                     Buffer(size, 'x'));
             ++i) {
        }
      }
    } else {
      const rlimit none{0, 1 << 20};
      ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
    }
    {
      const auto lock = backend->lock_writer();
      ASSERT_TRUE(lock) << lock.error().message();
      EXPECT_EQ(open()->lock_writer().code(), Errc::busy);
    }
    EXPECT_TRUE(backend->remove("packs/small"));
    EXPECT_TRUE(backend->lock_writer());
  });
}

TEST_F(DirectoryTest, KilledDuringPutsEveryBlobIsWholeAndTheRestIsSwept) {
  constexpr std::size_t kBytes = 200'000;
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 4; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto backend = open();
      for (int i = 0;; ++i) {
        const std::string name = "packs/" + std::to_string(round) + "-" + std::to_string(i);
        if (!backend->put(name, Buffer(kBytes, static_cast<char>('a' + i % 26)))) ::_exit(1);
      }
    }
    ::usleep(20'000 + random() % 30'000);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
  }
  spill(root_ + "/packs/.tmp-9-1-1", "a leftover, should no child have left one");
  const auto backend = open();
  const auto blobs = backend->list("packs");
  ASSERT_TRUE(blobs);
  for (const BlobInfo& blob : *blobs) {
    EXPECT_EQ(blob.size_bytes, kBytes);
    Buffer out;
    ASSERT_TRUE(backend->get(blob.name, 0, kBytes, out));
    EXPECT_EQ(out, Buffer(kBytes, out[0])) << blob.name;
  }
  const std::size_t before = files().size();
  const auto swept = backend->sweep();
  ASSERT_TRUE(swept);
  EXPECT_GE(*swept, 1u);
  EXPECT_EQ(before, blobs->size() + *swept);
  EXPECT_EQ(files().size(), blobs->size());
}

// --- the lock ------------------------------------------------------------------------------------

TEST_F(DirectoryTest, TheLockNamesItsHolderAndDiesWithIt) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto backend = open();
    const auto lock = backend->lock_writer();
    const char answer = lock ? 'y' : 'n';
    if (::write(ready[1], &answer, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  const auto backend = open();
  const auto refused = backend->lock_writer();
  EXPECT_EQ(refused.code(), Errc::busy);
  EXPECT_NE(refused.error().message().find("process " + std::to_string(child) + " on "),
            std::string_view::npos)
      << refused.error().message();

  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  EXPECT_NE(slurp(root_ + "/lock"), "");  // what it wrote stays, and does not matter
  EXPECT_TRUE(backend->lock_writer());
}

TEST_F(DirectoryTest, TwoLockersInOneProcess) {
  const auto first = open();
  const auto second = open();
  auto lock = first->lock_writer();
  ASSERT_TRUE(lock);
  const auto refused = second->lock_writer();
  EXPECT_EQ(refused.code(), Errc::busy);
  EXPECT_NE(refused.error().message().find("process " + std::to_string(::getpid()) + " on "),
            std::string_view::npos);
  EXPECT_EQ(first->lock_writer().code(), Errc::busy);
  // The attempts that failed have closed the lock file; that must not let go of the lock.
  EXPECT_EQ(second->lock_writer().code(), Errc::busy);
  lock->reset();
  EXPECT_TRUE(second->lock_writer());
}

TEST_F(DirectoryTest, AGarbageLockFileIsNoHolder) {
  spill(root_ + "/lock", std::string(5000, '\x01') + "process 1 on nowhere");
  const auto backend = open();
  const auto lock = backend->lock_writer();
  ASSERT_TRUE(lock);
  EXPECT_EQ(slurp(root_ + "/lock").find("process " + std::to_string(::getpid())), 0u);
}

// --- files and folders ---------------------------------------------------------------------------

TEST_F(DirectoryTest, LeftoversAreHiddenCountedAndSwept) {
  const auto backend = open();
  ASSERT_TRUE(backend->put("packs/a", "x"));
  ASSERT_TRUE(backend->put("log/1", "x"));
  spill(root_ + "/packs/.tmp-b-77-1", "half");
  spill(root_ + "/packs/.tmp-c-77-2", "");
  spill(root_ + "/log/.tmp-2-77-3", "half");
  EXPECT_EQ(backend->list("packs")->size(), 1u);
  EXPECT_EQ(backend->list("log")->size(), 1u);
  EXPECT_EQ(*backend->total_bytes(), 10u);
  EXPECT_EQ(*backend->sweep(), 3u);
  EXPECT_EQ(*backend->sweep(), 0u);
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(DirectoryTest, ALeftoverOfTheSameProcessNumberIsInNobodysWay) {
  ::mkdir((root_ + "/packs").c_str(), 0755);
  const std::string mine = root_ + "/packs/.tmp-a-" + std::to_string(::getpid()) + "-1";
  spill(mine, "an earlier process of this number was killed");
  EXPECT_TRUE(open()->put("packs/a", "x"));
  EXPECT_EQ(slurp(root_ + "/packs/a"), "x");
}

// The file that a read has opened is removed before the read could remember it: it must not be
// remembered then, or it would hide the next blob of that name.
TEST_F(DirectoryTest, ABlobThatIsRemovedWhileItIsOpenedIsForgotten) {
  const auto backend = open();
  ASSERT_TRUE(backend->put("packs/a", "first"));
  after_open = [&] { EXPECT_TRUE(backend->remove("packs/a")); };
  Buffer out;
  EXPECT_TRUE(backend->get("packs/a", 0, 5, out));
  EXPECT_EQ(out, "first");
  EXPECT_EQ(backend->get("packs/a", 0, 5, out).code(), Errc::not_found);
  ASSERT_TRUE(backend->put("packs/a", "other"));
  EXPECT_TRUE(backend->get("packs/a", 0, 5, out));
  EXPECT_EQ(out, "other");
}

TEST_F(DirectoryTest, StrangeEntriesAreNotBlobs) {
  const auto backend = open();
  ASSERT_TRUE(backend->put("packs/a", "x"));
  spill(root_ + "/packs/with space", "x");
  ::mkdir((root_ + "/packs/folder").c_str(), 0755);
  EXPECT_EQ(::symlink("a", (root_ + "/packs/link").c_str()), 0);
  ASSERT_EQ(backend->list("packs")->size(), 1u);
  EXPECT_EQ(backend->size("packs/folder").code(), Errc::not_found);
  EXPECT_EQ(*backend->sweep(), 0u);
}

TEST_F(DirectoryTest, TotalBytesCountsEverything) {
  const auto backend = open();
  ASSERT_TRUE(backend->put("packs/a", Buffer(1000, 'x')));
  spill(root_ + "/catalog.db", Buffer(100, 'x'));
  std::filesystem::create_directories(root_ + "/cache/deep");
  spill(root_ + "/cache/deep/file", Buffer(10, 'x'));
  const auto lock = backend->lock_writer();
  ASSERT_TRUE(lock);
  EXPECT_EQ(*backend->total_bytes(), 1110 + slurp(root_ + "/lock").size());
}

TEST_F(DirectoryTest, WhatIsNotADirectory) {
  DirectoryOptions create;
  create.create = true;
  EXPECT_EQ(make_directory_backend(dir_ / "absent", {}).code(), Errc::not_found);
  EXPECT_EQ(make_directory_backend(dir_ / "absent/deep", create).code(), Errc::not_found);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "absent"));
  EXPECT_EQ(make_directory_backend("", create).code(), Errc::invalid);
  spill(dir_ / "file", "x");
  EXPECT_EQ(make_directory_backend(dir_ / "file", {}).code(), Errc::invalid);
  DirectoryOptions both = create;
  both.read_only = true;
  EXPECT_EQ(make_directory_backend(dir_ / "absent", both).code(), Errc::invalid);
}

TEST_F(DirectoryTest, ARelativePathHoldsWhenTheWorkingDirectoryChanges) {
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir_.path());
  const auto backend = make_directory_backend("v/", {});
  ASSERT_TRUE(backend);
  std::filesystem::current_path(before);
  EXPECT_TRUE((*backend)->put("packs/a", "x"));
  EXPECT_EQ(slurp(root_ + "/packs/a"), "x");
}

TEST_F(DirectoryTest, ReadOnlyReadsAndNeverWrites) {
  ASSERT_TRUE(open()->put("packs/a", "x"));
  ASSERT_TRUE(open()->append("log/1", "x"));
  const auto backend = open(true);
  Buffer out;
  EXPECT_TRUE(backend->get("packs/a", 0, 1, out));
  EXPECT_EQ(backend->list("packs")->size(), 1u);
  EXPECT_EQ(backend->list("artifacts")->size(), 0u);
  EXPECT_EQ(backend->put("packs/a", "x").code(), Errc::denied);
  EXPECT_EQ(backend->put("packs/b", "x").code(), Errc::denied);
  EXPECT_EQ(backend->append("log/1", "x").code(), Errc::denied);
  EXPECT_EQ(backend->truncate("log/1", 0).code(), Errc::denied);
  EXPECT_EQ(backend->sync("log/1").code(), Errc::denied);
  EXPECT_EQ(backend->remove("packs/a").code(), Errc::denied);
  EXPECT_EQ(backend->sweep().code(), Errc::denied);
  EXPECT_EQ(backend->lock_writer().code(), Errc::denied);
  EXPECT_EQ(files().size(), 2u);
  EXPECT_FALSE(std::filesystem::exists(root_ + "/lock"));
}

TEST_F(DirectoryTest, ADirectoryThatIsNotOursIsDenied) {
  ASSERT_TRUE(open()->put("packs/a", "x"));
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod((root_ + "/packs").c_str(), 0555), 0);
  ASSERT_EQ(::chmod(root_.c_str(), 0555), 0);
  in_child([&] {
    if (::geteuid() == 0) {  // root is denied nothing
      ASSERT_EQ(::setuid(65534), 0);
    }
    const auto backend = open();
    Buffer out;
    EXPECT_TRUE(backend->get("packs/a", 0, 1, out));
    EXPECT_EQ(backend->put("packs/b", "x").code(), Errc::denied);
    EXPECT_EQ(backend->append("log/1", "x").code(), Errc::denied);
    EXPECT_EQ(backend->remove("packs/a").code(), Errc::denied);
    EXPECT_EQ(backend->lock_writer().code(), Errc::denied);
  });
  ASSERT_EQ(::chmod(root_.c_str(), 0755), 0);
  ASSERT_EQ(::chmod((root_ + "/packs").c_str(), 0755), 0);
}

}  // namespace
}  // namespace tokvault
