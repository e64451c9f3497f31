#include "storage/fault.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

namespace tokvault {
namespace {

std::string read(const Backend& backend, std::string_view name) {
  const auto size = backend.size(name);
  if (!size) return "error " + std::string(errc_name(size.code()));
  Buffer out;
  EXPECT_TRUE(backend.get(name, 0, *size, out));
  return out;
}

std::string cut(const FaultBackend& disk, std::vector<Fate> fates, std::uint64_t seed = 1) {
  return read(disk.power_cut(fates, seed), "log/1");
}

TEST(FaultBackend, WhatIsSyncedSurvives) {
  FaultBackend disk;
  ASSERT_TRUE(disk.put("packs/a", "pack"));
  ASSERT_TRUE(disk.append("log/1", "one"));
  ASSERT_TRUE(disk.sync("log/1"));
  EXPECT_TRUE(disk.pending().empty());
  ASSERT_TRUE(disk.append("log/1", "two"));
  ASSERT_TRUE(disk.append("log/1", "three"));
  ASSERT_EQ(disk.pending().size(), 2u);
  EXPECT_EQ(disk.pending()[1].offset, 6u);
  EXPECT_EQ(cut(disk, {Fate::dropped, Fate::dropped}), "one");
  EXPECT_EQ(cut(disk, {Fate::applied, Fate::dropped}), "onetwo");
  EXPECT_EQ(cut(disk, {Fate::applied, Fate::applied}), "onetwothree");
  EXPECT_EQ(cut(disk, {Fate::dropped, Fate::applied}), std::string("one\0\0\0three", 11));
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const std::string found = read(disk.power_cut(seed), "log/1");
    EXPECT_TRUE(found.starts_with("one"));
    EXPECT_LE(found.size(), 11u);
    EXPECT_EQ(read(disk.power_cut(seed), "log/1"), found) << "a seed says all";
    EXPECT_EQ(read(disk.power_cut(seed), "packs/a"), "pack");
  }
  EXPECT_EQ(read(disk, "log/1"), "onetwothree") << "the disk itself is left as it is";
}

TEST(FaultBackend, TruncatedAndGarbledWrites) {
  FaultBackend disk;
  ASSERT_TRUE(disk.append("log/1", "0123456789"));
  std::set<std::size_t> sizes;
  bool garbage = false;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const std::string part = cut(disk, {Fate::truncated}, seed);
    EXPECT_EQ(part, std::string("0123456789").substr(0, part.size()));
    sizes.insert(part.size());
    const std::string garbled = cut(disk, {Fate::garbled}, seed);
    EXPECT_EQ(garbled.size(), 10u);
    garbage |= garbled != "0123456789";
  }
  EXPECT_EQ(sizes.size(), 10u);
  EXPECT_TRUE(garbage);
}

TEST(FaultBackend, ABlobThatWasNeverSyncedMayBeGone) {
  FaultBackend disk;
  ASSERT_TRUE(disk.append("log/1", "x"));
  std::set<std::string> found;
  for (std::uint64_t seed = 0; seed < 50; ++seed) found.insert(cut(disk, {Fate::dropped}, seed));
  EXPECT_EQ(found, (std::set<std::string>{"", "error not_found"}));
}

TEST(FaultBackend, TruncateAndRemoveAreKept) {
  FaultBackend disk;
  ASSERT_TRUE(disk.append("log/1", "0123"));
  ASSERT_TRUE(disk.sync("log/1"));
  ASSERT_TRUE(disk.append("log/1", "4567"));
  ASSERT_TRUE(disk.truncate("log/1", 6));
  ASSERT_EQ(disk.pending().size(), 1u);
  EXPECT_EQ(disk.pending()[0].size_bytes, 2u);
  EXPECT_EQ(cut(disk, {Fate::applied}), "012345");
  EXPECT_EQ(cut(disk, {Fate::dropped}), "0123");
  ASSERT_TRUE(disk.truncate("log/1", 2));
  EXPECT_TRUE(disk.pending().empty());
  EXPECT_EQ(cut(disk, {}), "01");
  ASSERT_TRUE(disk.append("log/1", "x"));
  ASSERT_TRUE(disk.remove("log/1"));
  EXPECT_EQ(cut(disk, {}), "error not_found");
}

TEST(FaultBackend, ProcessKillKeepsWhatWasWritten) {
  FaultBackend disk;
  const auto lock = disk.lock_writer();
  ASSERT_TRUE(disk.append("log/1", "0123"));
  FaultBackend after = disk.process_kill();
  EXPECT_EQ(read(after, "log/1"), "0123");
  EXPECT_TRUE(after.pending().empty());
  EXPECT_EQ(disk.lock_writer().code(), Errc::busy);
  EXPECT_TRUE(after.lock_writer());
  ASSERT_TRUE(after.append("log/1", "4"));
  EXPECT_EQ(read(disk, "log/1"), "0123");
}

TEST(FaultBackend, TheNthCallFails) {
  FaultBackend disk;
  disk.fail({.call = 2, .os_code = ENOSPC});
  EXPECT_TRUE(disk.put("packs/a", "x"));
  Buffer out;
  EXPECT_TRUE(disk.get("packs/a", 0, 1, out));
  EXPECT_FALSE(disk.has_failed());
  const Status failed = disk.append("log/1", "x");
  EXPECT_EQ(failed.code(), Errc::exhausted);
  EXPECT_EQ(failed.error().os_code(), ENOSPC);
  EXPECT_TRUE(disk.has_failed());
  EXPECT_EQ(read(disk, "log/1"), "error not_found");
  EXPECT_TRUE(disk.append("log/1", "x")) << "one call only";

  disk.fail({.os_code = EIO, .stay = true});
  EXPECT_EQ(disk.sync("log/1").code(), Errc::io);
  EXPECT_EQ(disk.put("packs/b", "x").code(), Errc::io);
  EXPECT_EQ(disk.remove("packs/a").code(), Errc::io);
  EXPECT_EQ(disk.truncate("log/1", 0).code(), Errc::io);
  EXPECT_EQ(disk.pending().size(), 1u);
  disk.fail_no_more();
  EXPECT_TRUE(disk.sync("log/1"));
}

TEST(FaultBackend, ShortAppendsLostAnswersAndReads) {
  FaultBackend disk;
  disk.fail({.os_code = ENOSPC, .effect = Fault::Effect::half});
  EXPECT_EQ(disk.append("log/1", "012345").code(), Errc::exhausted);
  EXPECT_EQ(read(disk, "log/1"), "012");
  disk.fail({.os_code = EIO, .effect = Fault::Effect::whole});
  EXPECT_EQ(disk.put("packs/a", "x").code(), Errc::io);
  EXPECT_EQ(read(disk, "packs/a"), "x");
  disk.fail({.os_code = EIO, .effect = Fault::Effect::half});
  EXPECT_EQ(disk.put("packs/b", "x").code(), Errc::io);
  EXPECT_EQ(read(disk, "packs/b"), "error not_found");
  disk.fail({.os_code = EIO, .kind = Fault::Kind::get});
  Buffer out;
  EXPECT_TRUE(disk.put("packs/c", "x"));
  EXPECT_EQ(disk.get("packs/c", 0, 1, out).code(), Errc::io);
  EXPECT_TRUE(disk.get("packs/c", 0, 1, out));
}

TEST(FaultBackend, CountsCallsOverAllHandles) {
  FaultBackend disk;
  FaultBackend other(disk);
  Buffer out;
  ASSERT_TRUE(disk.put("packs/a", "0123"));
  ASSERT_TRUE(other.get("packs/a", 1, 2, out));
  ASSERT_TRUE(other.append("log/1", "01"));
  ASSERT_TRUE(disk.sync("log/1"));
  ASSERT_TRUE(disk.list("log"));
  ASSERT_TRUE(disk.size("log/1"));
  const CallCounts counts = disk.counts();
  EXPECT_EQ(counts.get, 1u);
  EXPECT_EQ(counts.put, 1u);
  EXPECT_EQ(counts.append, 1u);
  EXPECT_EQ(counts.sync, 1u);
  EXPECT_EQ(counts.list, 1u);
  EXPECT_EQ(counts.size, 1u);
  EXPECT_EQ(counts.mutating(), 3u);
  EXPECT_EQ(counts.bytes_read, 2u);
  EXPECT_EQ(counts.bytes_written, 6u);
  disk.reset_counts();
  EXPECT_EQ(other.counts().mutating(), 0u);
}

TEST(FaultBackend, Overwrite) {
  FaultBackend disk;
  ASSERT_TRUE(disk.append("log/1", "0123"));
  disk.overwrite("log/1", "01X");
  EXPECT_EQ(cut(disk, {}), "01X");
}

}  // namespace
}  // namespace tokvault
