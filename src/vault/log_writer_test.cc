#include "vault/log_writer.h"

#include <gtest/gtest.h>

#include "tokvault/backend.h"

namespace tokvault {
namespace {

// A log on a backend, written batch by batch as the engine does it.
class LogWriterTest : public ::testing::Test {
 protected:
  LogWriterTest() {
    VaultRecord vault;
    vault.id = Buffer(16, 'v');
    vault.tokenizer = "bytes";
    const Buffer header = encode_log_header({.version = 1, .number = 1, .vault = vault});
    EXPECT_TRUE(backend_->put(log_name(1), header));
    log_ = *LogFile::open(*backend_, 1, 0);
  }

  // Writes one batch of a tenant with one record and returns its header.
  BatchHeader write(LogWriter& writer, std::uint32_t tenant, const std::string& key,
                    bool same_sync = false) {
    BatchBuilder::Counts counts;
    const auto part = log_->parts().find(tenant);
    if (part != log_->parts().end()) counts = part->second->counts();
    counts.next_sequence = next_sequence_;
    BatchBuilder builder(counts);
    builder.put_record(key, "value of " + key);
    BatchHeader header;
    EXPECT_TRUE(writer.begin(tenant, next_sequence_));
    // In pieces, as a long import hands them in.
    const ByteView body = builder.body();
    EXPECT_TRUE(writer.add(body.substr(0, 3)));
    EXPECT_TRUE(writer.add(body.substr(3)));
    auto bytes = writer.finish(log_->size_bytes(), same_sync, builder, header);
    EXPECT_TRUE(bytes);
    EXPECT_TRUE(backend_->append(log_name(1), *bytes));
    EXPECT_TRUE(log_->apply(header, bytes->size() - kBatchHeaderBytes, Buffer(body)));
    next_sequence_ = builder.counts().next_sequence;
    keys_.push_back(key);
    return header;
  }
  // What another process reads.
  void expect_all_there() {
    auto log = LogFile::open(*backend_, 1, log_->size_bytes());
    ASSERT_TRUE(log) << log.error().message();
    ASSERT_EQ((*log)->records().size(), keys_.size());
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      EXPECT_EQ((*log)->records()[i].key, keys_[i]);
      EXPECT_EQ((*log)->records()[i].value, "value of " + keys_[i]);
    }
    EXPECT_EQ((*log)->size_bytes(), log_->size_bytes());
  }

  std::unique_ptr<Backend> backend_ = make_memory_backend();
  std::shared_ptr<LogFile> log_;
  std::uint64_t next_sequence_ = 1;
  std::vector<std::string> keys_;
};

constexpr int kBegun = kNewSection | kNewFrame | kGuarded;

TEST_F(LogWriterTest, EveryTenantHasASection) {
  LogWriter writer(*log_, Level::fast);
  const BatchHeader a = write(writer, 0, "a");
  const BatchHeader b = write(writer, 5, "b");
  const BatchHeader c = write(writer, 0, "c");
  EXPECT_EQ(a.flags, kBegun);
  EXPECT_EQ(a.section, 0u);
  EXPECT_EQ(b.flags, kBegun);
  EXPECT_EQ(b.section, 1u);
  EXPECT_EQ(c.flags, kGuarded);
  EXPECT_EQ(c.section, 0u);
  EXPECT_EQ(c.sequence, 3u);
  expect_all_there();
}

TEST_F(LogWriterTest, AnotherProcessGoesOnWithTheSection) {
  {
    LogWriter writer(*log_, Level::fast);
    write(writer, 0, "a");
  }
  LogWriter writer(*log_, Level::fast);
  const BatchHeader b = write(writer, 0, "b");
  EXPECT_EQ(b.flags, kNewFrame | kGuarded);
  EXPECT_EQ(b.section, 0u);
  EXPECT_EQ(write(writer, 0, "c").flags, kGuarded);
  expect_all_there();
}

TEST_F(LogWriterTest, WhatWasGivenUpLeavesNothing) {
  LogWriter writer(*log_, Level::fast);
  ASSERT_TRUE(writer.begin(0, 1));
  ASSERT_TRUE(writer.add("never written"));
  writer.abandon();
  // The section that was begun never came into being.
  const BatchHeader a = write(writer, 0, "a");
  EXPECT_EQ(a.flags, kBegun);
  EXPECT_EQ(a.section, 0u);
  // The compressor has seen what is not in the log: its section cannot go on.
  ASSERT_TRUE(writer.begin(0, 2));
  ASSERT_TRUE(writer.add("never written"));
  writer.abandon();
  const BatchHeader b = write(writer, 0, "b");
  EXPECT_EQ(b.flags, kBegun);
  EXPECT_EQ(b.section, 1u);
  expect_all_there();
}

TEST_F(LogWriterTest, ManyTenantsTakeTurnsInBoundedMemory) {
  LogWriter writer(*log_, Level::fast);
  for (int round = 0; round < 2; ++round) {
    for (std::uint32_t tenant = 0; tenant < 7; ++tenant) {
      write(writer, tenant, std::to_string(round) + "-" + std::to_string(tenant));
    }
  }
  expect_all_there();
}

TEST_F(LogWriterTest, ATornBatchHidesOnlyThoseOfItsSync) {
  LogWriter writer(*log_, Level::fast);
  write(writer, 0, "a");
  const std::uint64_t torn_at = log_->size_bytes();
  write(writer, 0, "b");
  const BatchHeader c = write(writer, 1, "c", true);
  EXPECT_EQ(c.flags, kBegun | kSameSync);
  const std::uint64_t end = log_->size_bytes();
  write(writer, 1, "d");
  Buffer file;
  ASSERT_TRUE(backend_->get(log_name(1), 0, log_->size_bytes(), file));
  file[torn_at + kBatchHeaderBytes] ^= 1;
  auto open = [&](ByteView bytes) {
    auto backend = make_memory_backend();
    EXPECT_TRUE(backend->put(log_name(1), bytes));
    return LogFile::open(*backend, 1, 0);
  };
  // b and c were never synced: an interrupted write.
  auto interrupted = open(ByteView(file).substr(0, end));
  ASSERT_TRUE(interrupted);
  EXPECT_EQ((*interrupted)->size_bytes(), torn_at);
  EXPECT_EQ((*interrupted)->records().size(), 1u);
  // With d after them they were: damage, of the tenant 0 alone.
  auto damaged = open(file);
  ASSERT_TRUE(damaged);
  ASSERT_EQ((*damaged)->lost().size(), 1u);
  EXPECT_EQ((*damaged)->lost()[0].tenant, 0u);
  EXPECT_EQ((*damaged)->records().size(), 3u);
}

}  // namespace
}  // namespace tokvault
