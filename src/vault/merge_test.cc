#include "vault/merge.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/checksum.h"
#include "tokvault/vault.h"
#include "vault/pack_file.h"

namespace tokvault {
namespace {

Conversation conversation(std::mt19937& random, int number) {
  Conversation c;
  c.id = "id" + std::to_string(number);
  c.time_ms = 1'700'000'000'000 + number;
  std::string shared(150, static_cast<char>('a' + number % 20));
  std::string own;
  for (int i = 0; i < 120; ++i) own += static_cast<char>('a' + random() % 26);
  c.messages = {Message::of_text("user", shared), Message::of_text("assistant", own)};
  return c;
}

// Packs of so many conversations, messages or external segments at most: everything is in one of
// them, and what stands in several is referred to.
TEST(Merge, EndsAPackBeforeItHoldsTooMuch) {
  constexpr int kCount = 300;
  auto backend = make_memory_backend();
  auto catalog = make_memory_catalog();
  Backend& blobs = *backend;
  const auto tokenizer = *open_tokenizer("bytes");
  ASSERT_TRUE(Vault::create(blobs, *catalog, {.tokenizer = tokenizer}));
  auto vault = Vault::open(std::move(backend), std::move(catalog), {.merge_bytes_min = UINT64_MAX});
  ASSERT_TRUE(vault);
  std::mt19937 random(1);
  std::vector<SegmentId> held;
  for (int i = 0; i < kCount; ++i) {
    if (i % 3 == 0) {
      std::string bytes = "held " + std::to_string(i);
      while (bytes.size() < 120) bytes += static_cast<char>(random());
      const Segment segment = Segment::of_bytes(bytes);
      held.push_back(segment.id());
      ASSERT_TRUE((*vault)->put_segments({&segment, 1}, {}));
    }
    ASSERT_TRUE((*vault)->put(conversation(random, i), {}));
    if (i % 100 == 99) {
      ASSERT_TRUE((*vault)->seal());
    }
  }
  Cache cache(64u << 20);
  std::vector<std::shared_ptr<PackFile>> packs;
  const auto listed = blobs.list("packs");
  ASSERT_TRUE(listed);
  for (const BlobInfo& blob : *listed) {
    const auto number = std::stoull(blob.name.substr(blob.name.find('/') + 1));
    auto pack = PackFile::open(blobs, cache, number);
    ASSERT_TRUE(pack);
    packs.push_back(*pack);
  }
  ASSERT_EQ(packs.size(), 3u);
  std::mutex turn;
  std::atomic<std::uint64_t> next_number{1000};
  auto merged = [&](const TableSize& limit) {
    MergeOptions options;
    options.tenant = packs[0]->footer().tenant;
    options.level = Level::fast;
    options.turn = &turn;
    options.table_size_max = limit;
    Merge merge(tokenizer, std::move(options));
    for (const auto& pack : packs) EXPECT_TRUE(merge.add(pack, {}));
    PackIdentity identity;
    identity.vault = packs[0]->footer().vault;
    identity.set_id = random_bytes(16);
    auto files = merge.run(blobs, std::move(identity), {}, nullptr, next_number,
                           [](std::uint64_t) { return Status(); });
    EXPECT_TRUE(files);
    std::uint64_t conversations = 0;
    for (const CatalogFile& file : *files) {
      auto pack = PackFile::open(blobs, cache, file.number);
      EXPECT_TRUE(pack);
      EXPECT_TRUE(size_of(**(*pack)->tables()).fits(limit));
      conversations += file.conversations;
    }
    EXPECT_EQ(conversations, static_cast<std::uint64_t>(kCount));
    // What no conversation has is kept, too.
    Scratch scratch;
    for (const SegmentId& id : held) {
      int found = 0;
      for (const CatalogFile& file : *files) {
        auto pack = PackFile::open(blobs, cache, file.number);
        EXPECT_TRUE(pack);
        const auto number = (*pack)->find_segment(kByteStream, shorten(id.sha256), scratch);
        EXPECT_TRUE(number);
        if (number && *number) ++found;
      }
      EXPECT_EQ(found, 1);
    }
    return files->size();
  };
  EXPECT_EQ(merged(kTableSizeMax), 1u);
  TableSize limit = kTableSizeMax;
  limit.rows = 70;
  EXPECT_GE(merged(limit), 5u);
  limit = kTableSizeMax;
  limit.nodes = 100;
  EXPECT_GE(merged(limit), 4u);
  limit = kTableSizeMax;
  limit.references = 200;  // of 320: the first messages are shared
  EXPECT_GE(merged(limit), 2u);
  limit = kTableSizeMax;
  limit.segments[kTokenStream] = 50;
  EXPECT_GE(merged(limit), 6u);
  limit = kTableSizeMax;
  limit.segments[kByteStream] = 40;  // of 100, and those that conversations have
  EXPECT_GE(merged(limit), 3u);
}

// Messages of one pool of passages, of which every conversation has some: what one dictionary holds
// of them serves all. Or kinds that have nothing in common.
std::vector<Conversation> of_passages(std::size_t kinds) {
  constexpr std::size_t kPassageBytes = 1000;
  constexpr std::size_t kPassages = 2400;
  std::mt19937 random(7);
  std::vector<std::string> passages(kPassages);
  for (std::size_t i = 0; i < kPassages; ++i) {
    // The letters of a kind are its own, so that they are told apart.
    const auto first = static_cast<char>('0' + 16 * (i % kinds));
    for (std::size_t k = 0; k < kPassageBytes; ++k) {
      passages[i] += static_cast<char>(first + static_cast<char>(random() % 16));
    }
  }
  std::vector<Conversation> out(1600);
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::string text;
    for (int k = 0; k < 8; ++k) {
      text += passages[random() % (kPassages / kinds) * kinds + i % kinds];
      text += std::to_string(random());
    }
    out[i].id = std::to_string(i);
    out[i].messages = {Message::of_text("user", text)};
  }
  return out;
}

// Packs of one dictionary each, or wide ones: a merge takes the smaller ones.
TEST(Merge, PacksAreWideWhereThatIsSmaller) {
  for (const std::size_t kinds : {std::size_t{1}, std::size_t{5}}) {
    auto backend = make_memory_backend();
    auto catalog = make_memory_catalog();
    Backend& blobs = *backend;
    const auto tokenizer = *open_tokenizer("bytes");
    ASSERT_TRUE(Vault::create(blobs, *catalog, {.tokenizer = tokenizer}));
    auto vault = Vault::open(std::move(backend), std::move(catalog),
                             {.level = Level::fast, .merge_bytes_min = UINT64_MAX});
    ASSERT_TRUE(vault);
    ASSERT_TRUE((*vault)->put_batch(of_passages(kinds), {}, nullptr));
    ASSERT_TRUE((*vault)->seal());
    Cache cache(64u << 20);
    const auto listed = blobs.list("packs");
    ASSERT_TRUE(listed);
    std::mutex turn;
    std::atomic<std::uint64_t> next_number{1000};
    auto merged = [&](std::optional<bool> wide) {
      MergeOptions options;
      options.level = Level::fast;
      options.turn = &turn;
      options.wide = wide;
      options.wide_text_bytes = 5u << 20;
      options.joins = false;
      PackIdentity identity;
      identity.set_id = random_bytes(16);
      std::vector<std::shared_ptr<PackFile>> packs;
      for (const BlobInfo& blob : *listed) {
        auto pack =
            PackFile::open(blobs, cache, std::stoull(blob.name.substr(blob.name.find('/') + 1)));
        EXPECT_TRUE(pack);
        packs.push_back(*pack);
        options.tenant = packs[0]->footer().tenant;
        identity.vault = packs[0]->footer().vault;
      }
      Merge merge(tokenizer, std::move(options));
      for (const auto& pack : packs) EXPECT_TRUE(merge.add(pack, {}));
      auto files = merge.run(blobs, std::move(identity), {}, nullptr, next_number,
                             [](std::uint64_t) { return Status(); });
      EXPECT_TRUE(files);
      std::uint64_t bytes = 0, conversations = 0;
      for (const CatalogFile& file : *files) {
        bytes += file.size_bytes;
        conversations += file.conversations;
      }
      EXPECT_EQ(conversations, 1600u);
      return bytes;
    };
    const std::uint64_t narrow = merged(false);
    const std::uint64_t wide = merged(true);
    // Far enough from each other that numbers and times of the packs make no difference.
    EXPECT_GT(std::max(narrow, wide), std::min(narrow, wide) + 10'000) << narrow << " " << wide;
    EXPECT_EQ(kinds == 1, wide < narrow) << narrow << " " << wide;
    EXPECT_NEAR(static_cast<double>(merged(std::nullopt)),
                static_cast<double>(std::min(narrow, wide)), 1000);
  }
}

}  // namespace
}  // namespace tokvault
