#include "vault/log_writer.h"

#include <gtest/gtest.h>

#include "codec/dictionary.h"
#include "tokvault/backend.h"
#include "vault/artifacts.h"

namespace tokvault {
namespace {

// A log on a backend, written batch by batch as the engine does it.
class LogWriterTest : public ::testing::Test {
 protected:
  LogWriterTest() { begin_anew(); }
  // An empty log.
  void begin_anew() {
    backend_ = make_memory_backend();
    next_sequence_ = 1;
    keys_.clear();
    segments_.clear();
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
    EXPECT_TRUE(writer.begin(tenant, next_sequence_, false));
    // In pieces, as a long import hands them in.
    const ByteView body = builder.body();
    EXPECT_TRUE(writer.add(body.substr(0, 3), ""));
    EXPECT_TRUE(writer.add(body.substr(3), ""));
    auto bytes = writer.finish(log_->size_bytes(), same_sync, builder, header);
    EXPECT_TRUE(bytes);
    EXPECT_TRUE(backend_->append(log_name(1), *bytes));
    EXPECT_TRUE(log_->apply(header, bytes->size() - kBatchHeaderBytes, Buffer(body), ""));
    next_sequence_ = builder.counts().next_sequence;
    keys_.push_back(key);
    return header;
  }
  // Writes one batch of a tenant with segments, apart from the body or in it.
  BatchHeader write_segments(LogWriter& writer, std::uint32_t tenant,
                             const std::vector<std::string>& segments, bool apart) {
    BatchBuilder::Counts counts;
    const auto part = log_->parts().find(tenant);
    if (part != log_->parts().end()) counts = part->second->counts();
    counts.next_sequence = next_sequence_;
    BatchBuilder builder(counts);
    for (const std::string& segment : segments) {
      builder.add_segment(kByteStream, segment);
      segments_[tenant].push_back(segment);
    }
    builder.put_record("k" + std::to_string(next_sequence_), "");
    const Buffer body = apart ? builder.body() : builder.body_with_text();
    const Buffer text = apart ? builder.text() : Buffer();
    EXPECT_TRUE(writer.begin(tenant, next_sequence_, apart));
    EXPECT_TRUE(writer.add(ByteView(body).substr(0, 3), ByteView(text).substr(0, text.size() / 2)));
    EXPECT_TRUE(writer.add(ByteView(body).substr(3), ByteView(text).substr(text.size() / 2)));
    BatchHeader header;
    auto bytes = writer.finish(log_->size_bytes(), false, builder, header);
    EXPECT_TRUE(bytes);
    EXPECT_TRUE(backend_->append(log_name(1), *bytes));
    EXPECT_TRUE(log_->apply(header, bytes->size() - kBatchHeaderBytes, body, text));
    next_sequence_ = builder.counts().next_sequence;
    return header;
  }
  void expect_segments(const LogFile& log) {
    Scratch scratch;
    for (const auto& [tenant, segments] : segments_) {
      const LogPart& part = *log.parts().at(tenant);
      ASSERT_EQ(part.table().segment_counts[kByteStream], segments.size());
      for (std::size_t i = segments.size(); i-- > 0;) {
        auto code = part.code(kByteStream, static_cast<std::uint32_t>(i), scratch);
        ASSERT_TRUE(code) << code.error().message();
        EXPECT_EQ(*code, segments[i]);
      }
    }
  }
  // What the writer, and other processes, read.
  void expect_segments() {
    expect_segments(*log_);
    for (const auto when : {DecodeText::at_once, DecodeText::when_read}) {
      auto log = LogFile::open(*backend_, 1, log_->size_bytes(), 0, when);
      ASSERT_TRUE(log) << log.error().message();
      ASSERT_TRUE((*log)->lost().empty()) << (*log)->lost()[0].what;
      expect_segments(**log);
    }
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
  std::map<std::uint32_t, std::vector<std::string>> segments_;
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

TEST_F(LogWriterTest, ManyTenantsTakeTurnsInBoundedMemory) {
  LogWriter writer(*log_, Level::fast);
  for (int round = 0; round < 2; ++round) {
    for (std::uint32_t tenant = 0; tenant < 7; ++tenant) {
      write(writer, tenant, std::to_string(round) + "-" + std::to_string(tenant));
    }
  }
  expect_all_there();
}

// No reader would take the log then.
TEST_F(LogWriterTest, ABatchThatEndsBeyondTheLongestLogIsRefused) {
  for (const bool fits : {true, false}) {
    LogWriter writer(*log_, Level::fast);
    BatchBuilder builder(BatchBuilder::Counts{});
    builder.put_record("key", "value");
    ASSERT_TRUE(writer.begin(0, 1, false));
    ASSERT_TRUE(writer.add(builder.body(), ""));
    BatchHeader header;
    const auto bytes = writer.finish(kLogBytesMax - (fits ? 1000 : 50), false, builder, header);
    EXPECT_EQ(bytes.code(), fits ? Errc::ok : Errc::exhausted);
  }
}

// A section that was there is taken up once, and not each time that its tenant's turn comes.
TEST_F(LogWriterTest, ManyTenantsOfALogThatIsOpenedTakeTurns) {
  constexpr std::uint32_t kTenants = 7;
  {
    LogWriter writer(*log_, Level::fast);
    for (std::uint32_t tenant = 0; tenant < kTenants; ++tenant) {
      write(writer, tenant, "0-" + std::to_string(tenant));
    }
  }
  LogWriter writer(*log_, Level::fast);
  for (int round = 1; round < 4; ++round) {
    for (std::uint32_t tenant = 0; tenant < kTenants; ++tenant) {
      const auto key = std::to_string(round) + "-" + std::to_string(tenant);
      const BatchHeader h = write(writer, tenant, key);
      EXPECT_EQ(h.flags, round == 1 ? kNewFrame | kGuarded : kBegun) << key;
      EXPECT_EQ(h.section, round == 1 ? tenant : log_->sections().size() - 1) << key;
    }
  }
  expect_all_there();
}

// Words that come again, so that a frame without its prefix would not decode.
std::vector<std::string> passages(std::uint64_t seed, std::size_t count) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < count; ++i) {
    std::string text;
    for (std::uint64_t word = 0; word < 20 + i; ++word) {
      text += "word" + std::to_string((seed * 31 + i * 7 + word * word) % 97) + " ";
    }
    out.push_back(i % 5 == 4 ? "" : text);
  }
  return out;
}

TEST_F(LogWriterTest, TextStandsApartOrInTheBody) {
  // Every order of both, within a frame and across frames of later processes.
  for (std::uint64_t order = 0; order < 16; ++order) {
    begin_anew();
    for (int process = 0; process < 2; ++process) {
      LogWriter writer(*log_, Level::fast);
      for (std::uint64_t i = 0; i < 4; ++i) {
        const bool apart = (order >> i & 1) != 0;
        const BatchHeader h = write_segments(writer, 0, passages(order + i, 6), apart);
        EXPECT_EQ((h.flags & kTextApart) != 0, apart);
        EXPECT_EQ((h.flags & kNewFrame) != 0, i == 0);
        EXPECT_EQ(h.section, 0u);
        write_segments(writer, 3, passages(order + 40 + i, 3), !apart);
      }
    }
    expect_segments();
  }
}

TEST_F(LogWriterTest, TextApartCountsForASectionOfAnotherProcess) {
  for (int process = 0; process < 3; ++process) {
    LogWriter writer(*log_, Level::fast);
    const std::string text(kSectionTextBytes / 2, static_cast<char>('a' + process));
    EXPECT_EQ(write_segments(writer, 0, {text}, true).section, 0u) << process;
    if (process == 0) continue;
    EXPECT_EQ(write_segments(writer, 0, {"next"}, true).section, 1u);
    break;
  }
  expect_segments();
}

TEST_F(LogWriterTest, AFollowerReadsTextThatCameLater) {
  LogWriter writer(*log_, Level::fast);
  write_segments(writer, 0, passages(1, 6), true);
  auto reader = LogFile::open(*backend_, 1, 0, 0, DecodeText::when_read);
  ASSERT_TRUE(reader);
  const auto before = (*reader)->copy_for_reading();
  for (std::uint64_t i = 2; i < 5; ++i) {
    write_segments(writer, 0, passages(i, 6), i != 3);
    auto more = (*reader)->follow(*backend_);
    ASSERT_TRUE(more && *more);
  }
  EXPECT_EQ(before->parts().at(0)->table().segment_counts[kByteStream], 6u);
  Scratch scratch;
  EXPECT_EQ(*before->parts().at(0)->code(kByteStream, 5, scratch), segments_[0][5]);
  expect_segments(**reader);
}

TEST_F(LogWriterTest, TextThatDoesNotDecodeIsLostOrAnError) {
  LogWriter writer(*log_, Level::fast);
  write_segments(writer, 0, passages(1, 6), true);
  const std::uint64_t second = log_->size_bytes();
  write_segments(writer, 0, passages(2, 6), true);
  write_segments(writer, 1, passages(3, 6), true);
  // A writer's mistake: the checksums are right, the text is not what it should be.
  Buffer file;
  ASSERT_TRUE(backend_->get(log_name(1), 0, log_->size_bytes(), file));
  BatchHeader header;
  BatchPieces pieces;
  ASSERT_EQ(*read_batch(file, 1, 0, second, header, pieces), BatchState::whole);
  Buffer text(pieces.text);
  for (char& c : text) c = static_cast<char>(c ^ 0x55);
  const Buffer payload = encode_pieces({pieces.body, text}, header.text_size);
  const Buffer batch = encode_batch(header, payload, 1, second);
  const auto bad = make_memory_backend();
  ASSERT_TRUE(bad->put(log_name(1), file.replace(second, batch.size(), batch)));

  auto at_once = LogFile::open(*bad, 1, file.size());
  ASSERT_TRUE(at_once);
  ASSERT_EQ((*at_once)->lost().size(), 1u);
  EXPECT_EQ((*at_once)->lost()[0].tenant, 0u);
  EXPECT_EQ((*at_once)->parts().at(0)->table().segment_counts[kByteStream], 6u);

  auto when_read = LogFile::open(*bad, 1, file.size(), 0, DecodeText::when_read);
  ASSERT_TRUE(when_read);
  EXPECT_TRUE((*when_read)->lost().empty());
  const LogPart& part = *(*when_read)->parts().at(0);
  Scratch scratch;
  EXPECT_EQ(*part.code(kByteStream, 0, scratch), segments_[0][0]);
  for (int twice = 0; twice < 2; ++twice) {
    EXPECT_EQ(part.code(kByteStream, 6, scratch).code(), Errc::corrupt);
  }
  EXPECT_EQ(*part.code(kByteStream, 5, scratch), segments_[0][5]);
  EXPECT_EQ(*(*when_read)->parts().at(1)->code(kByteStream, 0, scratch), segments_[1][0]);
}

// A key that a dictionary knows but for its number.
std::string report(int number) {
  return "ship " + std::to_string(number * 7919) +
         " is at the outer buoy, on course for the harbour, and will be at the pier in an hour";
}

std::string noise(std::size_t size, std::uint64_t seed) {
  std::string out;
  while (out.size() < size) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    out.push_back(static_cast<char>(seed >> 56));
  }
  return out;
}

// Whoever opens a log with little in it compresses as well as who began it.
TEST_F(LogWriterTest, AnotherProcessCompressesAsWell) {
  // Phrases come back far behind, at places that are known to tables of a full size only.
  constexpr std::size_t kPhrase = 40;
  const std::string phrases = noise(6000 * kPhrase, 3);
  std::uint64_t state = 1;
  std::vector<std::string> texts(600);
  for (std::string& text : texts) {
    for (int i = 0; i < 40; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      text += phrases.substr((state >> 33) % 6000 * kPhrase, kPhrase);
    }
  }
  for (const Level level : {Level::fast, Level::balanced, Level::dense}) {
    const auto tenant = static_cast<std::uint32_t>(level) * 2;
    {
      LogWriter writer(*log_, level);
      for (const std::string& text : texts) write(writer, tenant, text);
    }
    for (std::size_t i = 0; i < texts.size();) {
      LogWriter writer(*log_, level);
      const std::size_t end = i == 0 ? 1 : texts.size();
      for (; i < end; ++i) write(writer, tenant + 1, texts[i]);
    }
    const std::uint64_t begun = log_->parts().at(tenant)->size_bytes();
    const std::uint64_t opened = log_->parts().at(tenant + 1)->size_bytes();
    EXPECT_LT(opened, begun + begun / 50) << "level " << static_cast<int>(level);
  }
  expect_all_there();
}

class LogWriterDictionary : public LogWriterTest {
 protected:
  // An artifact of a tenant, whose content is made of reports.
  std::shared_ptr<const Artifact> dictionary(std::uint64_t number, std::uint32_t tenant) {
    std::vector<std::string> samples;
    for (int i = 0; i < 60; ++i) {
      samples.push_back("value of " + report(i + 1000 * static_cast<int>(number)));
    }
    return dictionary_of(samples, 600, number, tenant);
  }
  std::shared_ptr<const Artifact> dictionary_of(const std::vector<std::string>& samples,
                                                std::uint64_t size_bytes, std::uint64_t number,
                                                std::uint32_t tenant) {
    Buffer text;
    std::vector<std::size_t> sizes;
    for (const std::string& sample : samples) {
      text += sample;
      sizes.push_back(sample.size());
    }
    auto content = train_dictionary(text, sizes, size_bytes);
    EXPECT_TRUE(content) << content.error().message();
    auto artifact = std::make_shared<Artifact>();
    artifact->number = number;
    artifact->tenant = tenant;
    artifact->vault_id = Buffer(16, 'v');
    artifact->record.id = *dictionary_id(*content);
    artifact->content = std::move(*content);
    auto file = encode_artifact(*artifact, 3);
    EXPECT_TRUE(file);
    EXPECT_TRUE(backend_->put(artifact_name(number), *file));
    return artifact;
  }
  std::vector<std::uint64_t> named(std::uint32_t tenant) {
    std::vector<std::uint64_t> out;
    for (const std::uint64_t n : log_->parts().at(tenant)->artifacts()) out.push_back(n);
    return out;
  }
};

constexpr int kBegunWithDictionary = kBegun | kDictionary;

TEST_F(LogWriterDictionary, BeginsASectionWhereThatIsSmaller) {
  const auto d = dictionary(7, 0);
  LogWriter writer(*log_, Level::fast,
                   [&](std::uint32_t tenant) { return tenant == 0 ? d : nullptr; });
  const std::uint64_t before = log_->size_bytes();
  const BatchHeader a = write(writer, 0, report(1));
  EXPECT_EQ(a.flags, kBegunWithDictionary);
  EXPECT_EQ(a.dictionary, 7u);
  const BatchHeader b = write(writer, 0, report(2));
  EXPECT_EQ(b.flags, kGuarded);
  EXPECT_EQ(b.section, a.section);
  EXPECT_EQ(b.dictionary, 0u) << "the frame goes on";
  const std::uint64_t both_bytes = log_->size_bytes() - before;
  EXPECT_EQ(write(writer, 5, report(3)).flags, kBegun) << "a tenant that has none";
  EXPECT_EQ(named(0), std::vector<std::uint64_t>{7});
  EXPECT_TRUE(named(5).empty());
  const auto& frames = log_->parts().at(0)->frames();
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames.at(7).count, 1u);
  EXPECT_GT(frames.at(7).text_bytes, report(1).size() * 4) << "keys and values of two batches";
  EXPECT_EQ(frames.at(7).disk_bytes, both_bytes);
  expect_all_there();
}

TEST_F(LogWriterDictionary, IsLeftAloneWhereItDoesNotHelp) {
  auto d = dictionary(7, 0);
  LogWriter writer(*log_, Level::fast, [&](std::uint32_t) { return d; });
  EXPECT_EQ(write(writer, 0, noise(300, 1)).flags, kBegun);
  // One comparison for each section and dictionary: a section goes on as it began.
  EXPECT_EQ(write(writer, 0, report(1)).flags, kGuarded);
  EXPECT_TRUE(named(0).empty());
  expect_all_there();
}

TEST_F(LogWriterDictionary, RotatesAtAnyTime) {
  std::shared_ptr<const Artifact> active;
  LogWriter writer(*log_, Level::fast, [&](std::uint32_t) { return active; });
  EXPECT_EQ(write(writer, 0, "x").flags, kBegun);
  active = dictionary(7, 0);
  const BatchHeader a = write(writer, 0, report(1));
  EXPECT_EQ(a.flags, kBegunWithDictionary) << "what the section holds is less than it";
  EXPECT_EQ(a.section, 1u);
  EXPECT_EQ(write(writer, 0, report(2)).flags, kGuarded);
  active = dictionary(8, 0);
  for (int i = 3; i < 12; ++i) write(writer, 0, report(i));
  active = nullptr;
  EXPECT_EQ(write(writer, 0, report(12)).flags, kGuarded) << "the section needs none any more";
  expect_all_there();
  // Another process goes on after all text of the section, whatever its frame began with.
  LogWriter next(*log_, Level::fast);
  EXPECT_EQ(write(next, 0, report(13)).flags, kNewFrame | kGuarded);
  EXPECT_EQ(log_->parts().at(0)->frames().at(0).count, 2u);
  expect_all_there();
}

// The decision falls when enough of a large batch is there, not when all of it is.
TEST_F(LogWriterDictionary, DecidesWithinALargeBatch) {
  std::vector<std::string> passages;
  std::string value;
  for (std::uint64_t i = 0; i < 40; ++i) {
    passages.insert(passages.end(), 4, noise(1000, i));
    value += passages.back();
  }
  auto d = dictionary_of(passages, 48 << 10, 7, 0);
  LogWriter writer(*log_, Level::fast, [&](std::uint32_t) { return d; });
  BatchBuilder builder({});
  value += noise(400'000, 100);
  builder.put_record("large", value);
  ASSERT_TRUE(writer.begin(0, 1, false));
  const ByteView body = builder.body();
  for (std::size_t at = 0; at < body.size(); at += 50'000) {
    ASSERT_TRUE(writer.add(body.substr(at, 50'000), ""));
  }
  BatchHeader header;
  auto bytes = writer.finish(log_->size_bytes(), false, builder, header);
  ASSERT_TRUE(bytes);
  EXPECT_EQ(header.flags, kBegunWithDictionary);
  ASSERT_TRUE(backend_->append(log_name(1), *bytes));
  auto log = LogFile::open(*backend_, 1, 0);
  ASSERT_TRUE(log) << log.error().message();
  ASSERT_EQ((*log)->records().size(), 1u);
  EXPECT_EQ((*log)->records()[0].value, value);
}

TEST_F(LogWriterDictionary, ALogWithoutItsDictionaryLosesWhatNeedsIt) {
  const auto d = dictionary(7, 0);
  {
    LogWriter writer(*log_, Level::fast,
                     [&](std::uint32_t tenant) { return tenant == 0 ? d : nullptr; });
    write(writer, 0, report(1));
    write(writer, 5, report(2));
  }
  // Another tenant's is not taken for it, either.
  ASSERT_TRUE(backend_->remove(artifact_name(7)));
  for (const bool is_there : {false, true}) {
    if (is_there) dictionary(7, 5);
    auto log = LogFile::open(*backend_, 1, log_->size_bytes());
    ASSERT_TRUE(log) << log.error().message();
    ASSERT_EQ((*log)->lost().size(), 1u);
    EXPECT_EQ((*log)->lost()[0].tenant, 0u);
    ASSERT_EQ((*log)->records().size(), 1u);
    EXPECT_EQ((*log)->records()[0].key, report(2));
  }
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
