// Files that somebody made up: every checksum holds, and what they say cannot be.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/bytes.h"
#include "base/checksum.h"
#include "checkpoint/record.h"
#include "checkpoint/test_states.h"
#include "tokvault/checkpoint.h"

namespace tokvault {
namespace {

using namespace checkpoint;
using namespace checkpoint_test;

Buffer read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string& path, ByteView bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// The index file of fewer than 65,536 records, to be changed.
struct IndexFile {
  explicit IndexFile(Buffer b) : bytes(std::move(b)) {
    records = kSums + 3 * 8 + load_le<std::uint64_t>(bytes.data() + 32);
    slots = records + load_le<std::uint32_t>(bytes.data() + 40) * sizeof(BlockRecord);
  }
  void change(RecordId id, const std::function<void(BlockRecord&)>& how) {
    BlockRecord r;
    char* const at = bytes.data() + records + id * sizeof r;
    std::memcpy(&r, at, sizeof r);
    how(r);
    std::memcpy(at, &r, sizeof r);
  }
  // Where the table names a record.
  char* slot_of(RecordId id) {
    std::uint64_t at = slots;
    while (load_le<RecordId>(bytes.data() + at) != id) at += sizeof id;
    return bytes.data() + at;
  }
  const Buffer& finish() {
    const std::uint64_t parts[] = {kSums + 3 * 8, records, slots, bytes.size()};
    for (int i = 0; i < 3; ++i) {
      const ByteView part = ByteView(bytes).substr(parts[i], parts[i + 1] - parts[i]);
      store_le(checksum64(part), bytes.data() + kSums + i * 8);
    }
    store_le(checksum64(ByteView(bytes).substr(16, kSums + 3 * 8 - 16)), bytes.data() + 8);
    return bytes;
  }

  static constexpr std::uint64_t kSums = 128;
  Buffer bytes;
  std::uint64_t records = 0;
  std::uint64_t slots = 0;
};

std::string index_of(const std::string& store) {
  for (const auto& item : fs::directory_iterator(store)) {
    if (item.path().filename().string().starts_with("index-")) return item.path();
  }
  return "";
}

// What stands in a store, and behind what.
std::vector<std::string> listed(const CheckpointStore& store) {
  std::vector<std::string> out;
  EXPECT_TRUE(store.list([&](const CheckpointEntry& e) {
    out.push_back(e.kind + " " + e.key + " " + e.parent + " " + std::to_string(e.tokens) + " " +
                  std::to_string(e.children));
    return true;
  }));
  std::sort(out.begin(), out.end());
  return out;
}

// Two blocks, a tail of 4, a state of 20 tokens, and a record that was given back.
class ForgedTest : public testing::Test {
 protected:
  static constexpr std::size_t kBytes = 300;
  static constexpr RecordId kFirst = 0, kSecond = 1, kTail = 2, kState = 3, kFree = 4;

  ForgedTest() {
    const auto store = open_store(path_, small_options());
    put_all(*store, tokens_, kBytes);
    EXPECT_TRUE(store->put_state(kModel, {.tokens = prompt(2, 20)}, "payload"));
    put_all(*store, prompt(3, 16), kBytes);
    EXPECT_EQ(store->remove(kModel, prompt(3, 16)).value(), 1u);
    before_ = listed(*store);
  }

  const Folder folder_;
  const std::string path_ = folder_ / "s";
  const std::vector<Token> tokens_ = prompt(1, 36);
  std::vector<std::string> before_;
};

// The index is not believed, and all is found in the log. Who believed it would go round in a
// circle, hand out a record that is in use, or read past the end of a prompt.
TEST_F(ForgedTest, AnIndexThatCannotBeIsMadeAnew) {
  const std::string name = index_of(path_);
  const Buffer good = read_bytes(name);
  ASSERT_EQ(load_le<std::uint32_t>(good.data() + 40), 5u);
  const std::pair<const char*, std::function<void(IndexFile&)>> forgeries[] = {
      {"a circle",
       [](IndexFile& f) {
         f.change(kFirst, [](BlockRecord& r) { r.parent = kSecond; });
         f.change(kSecond, [](BlockRecord& r) { r.children_hits += 256; });
       }},
      {"no children",
       [](IndexFile& f) { f.change(kFirst, [](BlockRecord& r) { r.children_hits = 0; }); }},
      {"a long tail",
       [](IndexFile& f) { f.change(kTail, [](BlockRecord& r) { r.tokens = 999; }); }},
      {"a short block",
       [](IndexFile& f) { f.change(kFirst, [](BlockRecord& r) { r.tokens = 4; }); }},
      {"a state with children",
       [](IndexFile& f) { f.change(kFirst, [](BlockRecord& r) { r.kind = Kind::state; }); }},
      {"a free parent",
       [](IndexFile& f) {
         f.change(kTail, [](BlockRecord& r) { r.parent = kFree; });
         f.change(kSecond, [](BlockRecord& r) { r.children_hits = 0; });
       }},
      {"twice in the table", [](IndexFile& f) { store_le(kFirst, f.slot_of(kSecond)); }},
      {"a free record in the table", [](IndexFile& f) { store_le(kFree, f.slot_of(kSecond)); }},
      {"a free record that is none", [](IndexFile& f) { store_le(kState, f.bytes.data() + 48); }},
      {"a circle of free records",
       [](IndexFile& f) { f.change(kFree, [](BlockRecord& r) { r.parent = kFree; }); }},
  };
  for (const auto& [what, forge] : forgeries) {
    IndexFile file(good);
    forge(file);
    write_bytes(name, file.finish());
    {
      const auto reader = open_store(path_, {.read_only = true});
      EXPECT_EQ(listed(*reader), before_) << what;
      if (HasFailure()) continue;  // a writer may not come back
      EXPECT_EQ(read_all(*reader, tokens_, kBytes), 36u) << what;
    }
    const std::string copy = folder_ / "copy";
    fs::remove_all(copy);
    fs::copy(path_, copy);
    Buffer use;
    const Hash128 root = namespace_hash(encode_namespace(kModel));
    const Hash128 key = block_hash(root, TokenView(tokens_).first(16));
    append_le(use, key.lo);
    append_le(use, key.hi);
    write_bytes(copy + "/uses", use);
    const auto writer = open_store(copy, small_options());
    ASSERT_EQ(listed(*writer), before_) << what;
    put_all(*writer, prompt(4, 100), kBytes);
    EXPECT_EQ(writer->remove(kModel, tokens_).value(), 3u) << what;
    EXPECT_EQ(writer->check()->bad, 0u) << what;
  }
}

// A tail of 15 tokens under the key of one of 4, within the size of a block: nothing is read past
// the end of the prompt.
TEST_F(ForgedTest, ATailThatIsLongerThanThePrompt) {
  const std::string name = index_of(path_);
  IndexFile file(read_bytes(name));
  file.change(kTail, [](BlockRecord& r) { r.tokens = 15; });
  write_bytes(name, file.finish());
  const auto store = open_store(path_, {.read_only = true});
  ASSERT_EQ(store->match(kModel, tokens_)->tokens, 36u);
  EXPECT_EQ(read_all(*store, tokens_, kBytes), 36u);
}

TEST(Forged, AJournalThatCannotBeIsNotFollowed) {
  const Folder folder;
  const std::string path = folder / "s";
  const std::string copy = folder / "copy";
  const auto store = open_store(path, small_options());
  put_all(*store, prompt(1, 36), 300);
  ASSERT_TRUE(store->put_sidecar(kModel, prompt(1, 32), "logits", "abc"));
  const auto before = listed(*store);
  const std::string name = "/journal-00000000";
  const Buffer journal = read_bytes(path + name);
  const std::pair<Kind, std::function<void(JournalEvent&)>> forgeries[] = {
      {Kind::tail, [](JournalEvent& e) { e.record.tokens = 65535; }},
      {Kind::block, [](JournalEvent& e) { e.record.tokens = 65535; }},
      {Kind::sidecar, [](JournalEvent& e) { e.record.kind = Kind::state; }},
      {Kind::sidecar, [](JournalEvent& e) { e.has_parent = false; }},
  };
  for (const auto& [kind, forge] : forgeries) {
    fs::remove_all(copy);
    fs::copy(path, copy);
    Buffer bytes;
    for (ByteView left = journal; !left.empty();) {
      auto event = take_event(left);
      ASSERT_TRUE(event);
      if (event->event == Event::add && event->record.kind == kind) forge(*event);
      append_event(bytes, *event);
    }
    write_bytes(copy + name, bytes);
    const auto reader = open_store(copy, {.read_only = true});
    ASSERT_EQ(listed(*reader), before) << static_cast<int>(kind);
    EXPECT_EQ(read_all(*reader, prompt(1, 36), 300), 36u);
  }
}

// A payload is made room for before it is read: a record says no more than could be put.
TEST(Forged, ARecordIsNoLargerThanWhatCanBePut) {
  const std::pair<Kind, std::uint64_t> limits[] = {{Kind::block, std::uint64_t{3} << 30},
                                                   {Kind::tail, std::uint64_t{3} << 30},
                                                   {Kind::sidecar, std::uint64_t{3} << 30},
                                                   {Kind::state, std::uint64_t{1} << 37},
                                                   {Kind::name_space, 0}};
  for (const auto& [kind, limit] : limits) {
    RecordHeader h;
    h.kind = kind;
    Buffer head = encode_prefix(h, {}, {});
    EXPECT_TRUE(peek_header(head));
    store_le(limit, head.data() + 72);
    EXPECT_TRUE(peek_header(head)) << static_cast<int>(kind);
    store_le(limit + 1, head.data() + 72);
    EXPECT_FALSE(peek_header(head)) << static_cast<int>(kind);
    store_le<std::uint64_t>(0, head.data() + 72);
    store_le<std::uint32_t>((1u << 28) + 1, head.data() + 64);
    EXPECT_FALSE(peek_header(head)) << static_cast<int>(kind);
  }
}

}  // namespace
}  // namespace tokvault
