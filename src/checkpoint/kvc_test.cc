// KVC v1: the exact bytes, every damage, and a directory shared with others.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "checkpoint/test_states.h"
#include "tokvault/kvc.h"

namespace tokvault {
namespace {

using namespace checkpoint_test;
namespace fs = std::filesystem;

KvcFile sample() {
  KvcFile f;
  f.header = {.quant_bits = 2,
              .reason = KvcReason::agent_session,
              .ext_flags = 0x81,
              .reserved7 = 9,
              .token_count = 17,
              .hit_count = 3,
              .ctx_size = 8192,
              .reserved20 = 77,
              .created_unix = 1700000000,
              .last_used_unix = 1700000001};
  f.text = "<|user|>hi<|assistant|>";
  f.payload = "binary session payload bytes";
  f.trailer = kvc_encode_tools({{"call_1", "<tool>ls</tool>"}, {"call_2", ""}}) + "later bytes";
  f.header.payload_bytes = f.payload.size();
  return f;
}

TEST(Kvc, KeysAreSha1) {
  EXPECT_EQ(kvc_key("hello world"), "2aae6c35c94fcfb415dbe95f408b9ce91ee846ed");
}

TEST(Kvc, GoldenBytes) {
  const Buffer bytes = *kvc_encode(sample());
  const char* const source = std::getenv("TOKVAULT_SOURCE");
  ASSERT_NE(source, nullptr);
  const std::string path = std::string(source) + "/tests/checkpoint/golden/kvc_v1.kv";
  if (std::getenv("TOKVAULT_UPDATE") != nullptr) std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_EQ(*read_file(path, 1 << 20), bytes);
  EXPECT_EQ(*kvc_decode(bytes), sample());
  // 48 bytes of header, the text's size, text, payload, trailer.
  EXPECT_EQ(bytes.substr(0, 8), Buffer("KVC\x01\x02\x06\x81\x09", 8));
  EXPECT_EQ(bytes.size(),
            52 + sample().text.size() + sample().payload.size() + sample().trailer.size());
}

TEST(Kvc, EveryTruncationIsRefused) {
  KvcFile f = sample();
  f.trailer = kvc_encode_tools({{"call_1", "<tool>ls</tool>"}});
  const Buffer bytes = *kvc_encode(f);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(kvc_decode(ByteView(bytes).substr(0, size))) << size;
  }
  Buffer other = bytes;
  other[3] = 2;
  EXPECT_EQ(kvc_decode(other).code(), Errc::unsupported);
  other = bytes;
  other[0] = 'X';
  EXPECT_EQ(kvc_decode(other).code(), Errc::corrupt);
  for (std::size_t at = 40; at < 52; ++at) {  // payload and text sizes beyond the file
    other = bytes;
    other[at] = '\x7f';
    EXPECT_FALSE(kvc_decode(other)) << at;
  }
}

TEST(KvcCache, SavesAndLoads) {
  const Folder folder;
  auto cache = *KvcCache::open(folder / "kvc", 1);
  EXPECT_EQ(cache->budget_bytes(), kKvcBudgetBytesMin);
  const KvcFile f = sample();
  const std::string key = kvc_key(f.text);
  ASSERT_TRUE(cache->save(key, f.header, f.text, f.payload, f.trailer));
  const auto hit = cache->load(key);
  ASSERT_TRUE(hit && hit->has_value());
  EXPECT_EQ((*hit)->header.hit_count, 4u);
  EXPECT_GT((*hit)->header.last_used_unix, f.header.last_used_unix);
  KvcFile same = **hit;
  same.header.hit_count = 3;
  same.header.last_used_unix = f.header.last_used_unix;
  EXPECT_EQ(same, f);  // reserved bytes, unknown bits and the trailer survived the touch
  EXPECT_FALSE((*cache->load(kvc_key("missing"))).has_value());
  for (const char* bad : {"../x", "", "2AAE6C35C94FCFB415DBE95F408B9CE91EE846ED"}) {
    EXPECT_EQ(cache->load(bad).code(), Errc::invalid);
    EXPECT_EQ(cache->save(bad, f.header, f.text, f.payload).code(), Errc::invalid);
  }
  // Saved again without a trailer, the old tool map stays.
  ASSERT_TRUE(cache->save(key, f.header, f.text, "new payload"));
  EXPECT_EQ((*cache->load(key))->trailer, f.trailer);
}

TEST(KvcCache, LongestPrefixFallsBackPastABadFile) {
  const Folder folder;
  auto cache = *KvcCache::open(folder / "kvc", 64);
  for (const char* text : {"a", "abc", "abcdef", "xyz"}) {
    ASSERT_TRUE(cache->save(kvc_key(text), KvcHeader::make(4, KvcReason::cold, 1, 1), text, text));
  }
  EXPECT_EQ((*cache->load_longest("abcdefgh"))->text, "abcdef");
  fs::resize_file(*cache->path_for(kvc_key("abcdef")), 55);
  EXPECT_EQ((*cache->load_longest("abcdefgh"))->text, "abc");
  EXPECT_EQ(cache->stats().bad_files, 1u);
  EXPECT_TRUE(fs::exists(*cache->path_for(kvc_key("abcdef")) + ".bad"));
  EXPECT_FALSE((*cache->load_longest("b")).has_value());
  // A file under another text's name is no hit for that name's text.
  fs::copy(*cache->path_for(kvc_key("xyz")), *cache->path_for(kvc_key("abc")),
           fs::copy_options::overwrite_existing);
  EXPECT_EQ((*cache->load_longest("abcdefgh"))->text, "a");
  cache = *KvcCache::open(folder / "kvc", 64);
  EXPECT_EQ((*cache->load_longest("xyz!"))->payload, "xyz");
}

// A file that another process saves while the bad one before it is being read is not put aside.
TEST(KvcCache, AFileThatReplacesABadOneStays) {
  const Folder folder;
  const std::string directory = folder / "kvc";
  const std::string key = kvc_key("abc");
  const std::string path = directory + "/" + key + ".kv";
  const auto cache = *KvcCache::open(directory, 64);
  const auto header = KvcHeader::make(4, KvcReason::cold, 1, 1);
  ASSERT_TRUE(cache->save(key, header, "abc", "good"));
  fs::rename(path, folder / "good");
  ASSERT_TRUE(cache->save(key, header, "abc", Buffer(40 << 20, 'p')));
  fs::resize_file(path, 39 << 20);
  std::atomic<bool> done{false};
  std::thread saving([&] {
    for (bool replaced = false; !replaced && !done;) {
      for (const auto& fd : fs::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        if (fs::read_symlink(fd.path(), gone) != path) continue;
        fs::rename(folder / "good", path);
        replaced = true;
        break;
      }
    }
  });
  const auto bad = cache->load(key);
  done = true;
  saving.join();
  ASSERT_TRUE(bad);
  EXPECT_FALSE(bad->has_value());
  ASSERT_FALSE(fs::exists(folder / "good"));
  const auto good = cache->load(key);
  ASSERT_TRUE(good && good->has_value());
  EXPECT_EQ((*good)->payload, "good");
}

TEST(KvcCache, FindsByTextAndTouches) {
  const Folder folder;
  auto cache = *KvcCache::open(folder / "kvc", 64);
  KvcHeader h = KvcHeader::make(4, KvcReason::cold, 5, 100);
  h.last_used_unix = 1000;
  ASSERT_TRUE(cache->save(kvc_key("text"), h, "text", "payload"));
  EXPECT_EQ((*cache->load_text("text"))->payload, "payload");
  EXPECT_FALSE((*cache->load_text("tex")).has_value());
  ASSERT_TRUE(cache->touch(kvc_key("text")));
  EXPECT_EQ(cache->touch(kvc_key("other")).code(), Errc::not_found);
  EXPECT_EQ(cache->touch("../x").code(), Errc::invalid);
  const auto file = *cache->load(kvc_key("text"));
  EXPECT_EQ(file->header.hit_count, 3u);
  EXPECT_GT(file->header.last_used_unix, 1000u);
  // Under a name that is not its text's it is no answer to that text, and is set aside.
  fs::copy(*cache->path_for(kvc_key("text")), *cache->path_for(kvc_key("another")));
  EXPECT_FALSE((*cache->load_text("another")).has_value());
  EXPECT_TRUE(fs::exists(*cache->path_for(kvc_key("another")) + ".bad"));
}

// Another process replaces a file: what this one knew of it never gets onto the new one.
TEST(KvcCache, NoOldHeaderOnANewFile) {
  const Folder folder;
  auto ours = *KvcCache::open(folder / "kvc", 64);
  auto theirs = *KvcCache::open(folder / "kvc", 64);
  const std::string key = kvc_key("text");
  ASSERT_TRUE(ours->save(key, KvcHeader::make(2, KvcReason::cold, 5, 100), "text", "short"));
  ASSERT_TRUE(ours->load(key));
  KvcHeader h = KvcHeader::make(4, KvcReason::shutdown, 9, 200);
  ASSERT_TRUE(theirs->save(key, h, "text", "a longer payload", "a trailer"));
  ASSERT_TRUE(ours->touch(key));
  const auto file = *ours->load(key);
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(file->payload, "a longer payload");
  EXPECT_EQ(file->trailer, "a trailer");
  EXPECT_EQ(file->header.reason, KvcReason::shutdown);
  EXPECT_EQ(file->header.quant_bits, 4u);
  EXPECT_EQ(file->header.hit_count, 2u);
  fs::remove(*ours->path_for(key));
  EXPECT_FALSE((*ours->load(key)).has_value());
  EXPECT_TRUE(ours->keys_by_recency().empty());
}

// Every bit of a file, in turn: it is the same text's state, with another value in one field or
// another payload byte (the format has no checksum), or it is a miss and set aside.
TEST(KvcCache, AFlippedBitIsNeverAnotherText) {
  const Folder folder;
  const std::string path = folder / "kvc";
  const KvcFile f = sample();
  const Buffer bytes = *kvc_encode(f);
  const std::string name = path + "/" + kvc_key(f.text) + ".kv";
  std::size_t missed = 0;
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    fs::remove_all(path);
    fs::create_directory(path);
    Buffer other = bytes;
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << bit % 8));
    std::ofstream(name, std::ios::binary) << other;
    auto cache = *KvcCache::open(path, 64);
    const auto hit = cache->load_longest(f.text + " and on");
    ASSERT_TRUE(hit) << bit;
    if (hit->has_value()) {
      EXPECT_EQ((*hit)->text, f.text) << bit;
      EXPECT_EQ((*hit)->payload.size() + (*hit)->trailer.size(),
                f.payload.size() + f.trailer.size());
    } else {
      ++missed;
      // The text's size is how a file is found: with another one it stays, and is never a hit.
      const std::size_t at = bit / 8;
      EXPECT_TRUE(fs::exists(name + ".bad") || (at >= 48 && at < 52)) << bit;
    }
  }
  EXPECT_GT(missed, (4 + f.text.size()) * 8);
}

TEST(Kvc, AToolMapSaysWhatItHolds) {
  const std::vector<KvcToolCall> calls = {{"call_1", "<tool>ls</tool>"},
                                          {std::string(256, 'i'), ""}};
  const Buffer map = kvc_encode_tools(calls);
  EXPECT_EQ(*kvc_decode_tools(map), calls);
  EXPECT_EQ(*kvc_decode_tools(map + "later"), calls);
  EXPECT_TRUE(kvc_decode_tools(kvc_encode_tools({}))->empty());
  for (std::size_t size = 0; size < map.size(); ++size) {
    EXPECT_EQ(kvc_decode_tools(ByteView(map).substr(0, size)).code(), Errc::corrupt) << size;
  }
  for (const std::size_t at :
       {0u, 1u, 2u, 3u, 5u, 7u, 9u, 10u, 11u, 15u}) {  // magic, version, sizes
    Buffer other = map;
    other[at] = static_cast<char>(other[at] ^ 0x40);
    EXPECT_FALSE(kvc_decode_tools(other)) << at;
  }
  EXPECT_FALSE(kvc_decode_tools(kvc_encode_tools({{std::string(257, 'i'), "x"}})));
}

TEST(KvcCache, EvictsOldestAndSweepsLeftovers) {
  const Folder folder;
  fs::create_directory(folder / "kvc");
  std::ofstream((folder / "kvc") + "/" + kvc_key("x") + ".999999999-0.kv.tmp") << "left over";
  auto cache = *KvcCache::open(folder / "kvc", 64);
  EXPECT_EQ(cache->stats().leftovers_swept, 1u);
  const Buffer big(8 << 20, 'p');
  for (std::uint32_t i = 0; i < 10; ++i) {
    KvcHeader h = KvcHeader::make(4, KvcReason::cold, i + 1, 1);
    h.last_used_unix = 1000 + i;
    ASSERT_TRUE(cache->save(kvc_key("t" + std::to_string(i)), h, "t" + std::to_string(i), big));
  }
  EXPECT_EQ(*cache->evict_to_budget(), 3u);
  EXPECT_EQ(cache->keys_by_recency().size(), 7u);
  EXPECT_EQ(cache->keys_by_recency()[0], kvc_key("t9"));
  EXPECT_LE(disk_use(folder / "kvc"), 64u << 20);
}

// What is no file, cannot be read or does not decode is counted, and stops nothing.
TEST(KvcTransfer, BadFilesStopNothing) {
  const Folder folder;
  const std::string in = folder / "in";
  fs::create_directory(in);
  std::size_t good = 0;
  for (int i = 0; i < 400; ++i) {
    const std::string text = "text " + std::to_string(i);
    const std::string path = in + "/" + kvc_key(text) + ".kv";
    Buffer bytes =
        *kvc_encode({KvcHeader::make(4, KvcReason::cold, 1, 1), text, Buffer(3000, 'p'), ""});
    switch (i % 8) {
      case 0:
        bytes.resize(bytes.size() / 2);
        break;
      case 1:
        bytes[0] = 'X';
        break;
      case 2:
        bytes.clear();
        break;
      case 3:
        fs::create_directory(path);
        continue;
      case 4:
        fs::create_symlink("nowhere", path);
        continue;
      default:
        ++good;
    }
    std::ofstream(path, std::ios::binary) << bytes;
  }
  const std::string large = "a large one";
  std::ofstream(in + "/" + kvc_key(large) + ".kv", std::ios::binary)
      << *kvc_encode({KvcHeader::make(4, KvcReason::cold, 1, 1), large, Buffer(5 << 20, 'l'), ""});
  std::ofstream(in + "/README") << "no KVC";
  const Namespace n{.model = "kvc"};
  const auto store = open_store(folder / "s", small_options(4 << 20));
  const auto done = import_kvc(*store, n, in);
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(done->files, good);
  EXPECT_EQ(done->bad, 250u);
  EXPECT_EQ(done->refused, 1u);
  EXPECT_EQ(store->find_state_text(n, "text 399 and on", nullptr)->text, "text 399");
  // A file without a state does not stop the others.
  const std::string hollow = folder / "hollow";
  fs::create_directories(hollow);
  for (const std::string text : {"a", "b", "c"}) {
    std::ofstream(hollow + "/" + kvc_key(text) + ".kv", std::ios::binary) << *kvc_encode(
        {KvcHeader::make(4, KvcReason::cold, 1, 1), text, text == "b" ? "" : "state", ""});
  }
  const auto without = import_kvc(*store, n, hollow);
  ASSERT_TRUE(without) << without.error().message();
  EXPECT_EQ(without->files, 2u);
  EXPECT_EQ(without->bad, 1u);
  // The same text and header with another payload is another state.
  const std::string path = in + "/" + kvc_key("text 399") + ".kv";
  Buffer bytes = *read_file(path, 1 << 20);
  bytes.back() = 'q';
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_EQ(import_kvc(*store, n, in)->files, 1u);
  Buffer payload;
  ASSERT_TRUE(store->find_state_text(n, "text 399 and on", &payload));
  EXPECT_EQ(payload.back(), 'q');
  // An export that cannot write leaves nothing half done.
  fs::create_directories((folder / "out") + "/" + kvc_key("text 399") + ".kv");
  EXPECT_FALSE(export_kvc(*store, n, folder / "out"));
  for (const auto& item : fs::directory_iterator(folder / "out")) {
    EXPECT_NE(item.path().extension(), ".tmp");
  }
  // Served in place, too, and what cannot be read does not hide the next shorter.
  auto cache = *KvcCache::open(in, 64);
  EXPECT_EQ((*cache->load_longest("text 399 and on"))->text, "text 399");
  ASSERT_TRUE(cache->save(kvc_key("text 39"), KvcHeader::make(4, KvcReason::cold, 1, 1), "text 39",
                          "short"));
  fs::remove(path);
  fs::create_directory(path);
  const auto shorter = cache->load_longest("text 399 and on");
  ASSERT_TRUE(shorter);
  ASSERT_TRUE(shorter->has_value());
  EXPECT_EQ((*shorter)->text, "text 39");
}

TEST(KvcTransfer, ImportAndExportAreByteForByte) {
  const Folder folder;
  fs::create_directory(folder / "in");
  const KvcFile f = sample();
  const Buffer bytes = *kvc_encode(f);
  std::ofstream((folder / "in") + "/" + kvc_key(f.text) + ".kv", std::ios::binary) << bytes;
  std::ofstream((folder / "in") + "/" + kvc_key("bad") + ".kv", std::ios::binary) << "KVC";
  const Namespace n{.model = "kvc"};
  const auto store = open_store(folder / "s", small_options());
  auto done = import_kvc(*store, n, folder / "in");
  ASSERT_TRUE(done);
  EXPECT_EQ(done->files, 1u);
  EXPECT_EQ(done->bad, 1u);
  EXPECT_EQ(import_kvc(*store, n, folder / "in")->skipped, 1u);
  Buffer payload;
  EXPECT_EQ(store->find_state_text(n, f.text + " more", &payload)->text, f.text);
  EXPECT_EQ(payload, f.payload);
  ASSERT_TRUE(export_kvc(*store, n, folder / "out"));
  EXPECT_EQ(*read_file((folder / "out") + "/" + kvc_key(f.text) + ".kv", 1 << 20), bytes);
}

}  // namespace
}  // namespace tokvault
