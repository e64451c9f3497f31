#include <gtest/gtest.h>

#include <random>

#include "base/bytes.h"
#include "base/checksum.h"
#include "format/artifact.h"
#include "format/batch.h"
#include "format/column.h"
#include "format/id_filter.h"
#include "format/log.h"
#include "format/pack.h"
#include "format/record.h"
#include "format/tables.h"

namespace tokvault {
namespace {

TEST(Column, IntegersRoundTripInEveryEncoding) {
  std::mt19937_64 random(1);
  std::vector<std::vector<std::uint64_t>> cases = {{}, {7}, std::vector<std::uint64_t>(1000, 5)};
  std::vector<std::uint64_t> small, sequence, wide;
  for (int i = 0; i < 5000; ++i) {
    small.push_back(random() % 200);
    sequence.push_back(1'000'000'000'000 + static_cast<std::uint64_t>(i) * 3);
    wide.push_back(random() >> (random() % 64));
  }
  cases.insert(cases.end(), {small, sequence, wide});
  for (const auto& c : cases) {
    auto column = encode_integers(c, 9);
    ASSERT_TRUE(column);
    std::vector<std::uint64_t> back;
    ASSERT_TRUE(decode_integers(*column, c.size(), back));
    EXPECT_EQ(back, c);
    if (c.size() > 1 && c != cases[2]) {
      EXPECT_FALSE(decode_integers(*column, c.size() + 1, back));
    }
  }
  // A run costs next to nothing.
  EXPECT_LT(encode_integers(sequence, 9)->size(), 60u);
}

TEST(Column, StringsRoundTrip) {
  std::mt19937_64 random(2);
  const char hex[] = "0123456789abcdef";
  std::vector<StringTable> cases(5);
  cases[0].add("");
  for (int i = 0; i < 2000; ++i) {
    cases[1].add("corpus/part-7/" + std::to_string(i));
    cases[2].add("run" + std::to_string(i / 10) + "_" + std::to_string(i % 10) + ".json");
    std::string uuid;
    for (int k = 0; k < 36; ++k) {
      uuid += k == 8 || k == 13 || k == 18 || k == 23 ? '-' : hex[random() % 16];
    }
    cases[3].add(uuid);
    std::string any;
    for (std::uint64_t k = random() % 20; k > 0; --k)
      any += static_cast<char>(random() % 5 ? '0' + random() % 10 : random());
    cases[4].add(any);
  }
  for (const StringTable& c : cases) {
    auto column = encode_strings(c, 9);
    ASSERT_TRUE(column);
    StringTable back;
    ASSERT_TRUE(decode_strings(*column, c.size(), back));
    ASSERT_EQ(back.size(), c.size());
    for (std::size_t i = 0; i < c.size(); ++i) ASSERT_EQ(back[i], c[i]) << i;
    for (std::size_t cut = 0; cut < column->size(); cut += 1 + column->size() / 50) {
      StringTable out;
      EXPECT_FALSE(decode_strings(ByteView(*column).substr(0, cut), c.size(), out));
    }
  }
  EXPECT_LT(encode_strings(cases[1], 19)->size(), 200u);
  EXPECT_LT(encode_strings(cases[3], 19)->size(), 2000u * 17);
}

// Random tables, built as a log builds them.
Tables random_tables(std::mt19937_64& random) {
  Tables t;
  t.add_form("{\"role\":\"user\",\"content\":\x01}");
  t.add_form("{\"role\":\"tool\",\"id\":\x03,\"content\":\x01,\"raw\":\x05}");
  t.add_form("{\"id\":\x11,\"messages\":\x10}");
  t.add_form("{\"id\":\x11,\"n\":\x04,\"system\":\x01,\"messages\":\x10}");
  t.models.add("m1");
  t.applications.add("a1");
  for (int i = 0; i < 3; ++i) t.externals.push_back({kTokenStream, {{1, 2, 3}}, random() % 9});
  auto add_refs = [&](std::uint32_t form) {
    for (std::size_t i = 0; i < t.form_infos[form].ref_count(); ++i) {
      const Stream s = t.form_infos[form].stream_of(i);
      const std::uint32_t n = t.segment_counts[s];
      const auto choice = random() % 4;
      if (choice == 0 && s == kTokenStream) {
        t.refs.push_back(SegmentRef::external(static_cast<std::uint32_t>(random() % 3)));
      } else if (choice == 1 && n > 0) {
        t.refs.push_back(SegmentRef::local(static_cast<std::uint32_t>(random() % n)));
      } else {
        t.refs.push_back(SegmentRef::local(t.segment_counts[s]++));
      }
    }
  };
  const int rows = static_cast<int>(random() % 60);
  for (int i = 0; i < rows; ++i) {
    Row r;
    r.leaf = t.nodes.empty() || random() % 2
                 ? kNoNode
                 : static_cast<std::uint32_t>(random() % t.nodes.size());
    for (std::uint64_t k = random() % 4; k > 0; --k) {
      const std::uint32_t form = random() % 2;
      const std::uint32_t depth = r.leaf == kNoNode ? 1 : t.nodes[r.leaf].depth + 1;
      t.nodes.push_back({r.leaf, form, static_cast<std::uint32_t>(t.refs.size()), depth});
      add_refs(form);
      r.leaf = static_cast<std::uint32_t>(t.nodes.size() - 1);
    }
    r.nodes_end = static_cast<std::uint32_t>(t.nodes.size());
    r.form = 2 + random() % 2;
    r.refs_begin = static_cast<std::uint32_t>(t.refs.size());
    add_refs(r.form);
    r.model = random() % 2;
    r.time_ms = static_cast<std::int64_t>(random() >> 8) * (random() % 2 ? 1 : -1);
    r.sequence = 100 + static_cast<std::uint64_t>(i);
    r.first_sequence = r.sequence - random() % 3;
    r.tokens = random() % 1000;
    r.text_bytes = random() % 9000;
    t.ids.add("id" + std::to_string(random() % 1000));
    t.rows.push_back(r);
  }
  return t;
}

TEST(Tables, RoundTrip) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    const Tables t = random_tables(random);
    auto coded = encode_tables(t, 3);
    ASSERT_TRUE(coded);
    auto back = decode_tables(coded->parts, counts_of(t), coded->references);
    ASSERT_TRUE(back) << seed << back.error().message();
    ASSERT_EQ(back->rows.size(), t.rows.size());
    EXPECT_EQ(back->refs, t.refs);
    for (std::size_t i = 0; i < t.rows.size(); ++i) {
      const Row &a = t.rows[i], &b = back->rows[i];
      EXPECT_EQ(t.ids[i], back->ids[i]);
      EXPECT_EQ(t.path(a), back->path(b));
      EXPECT_EQ(a.refs_begin, b.refs_begin);
      EXPECT_TRUE(a.model == b.model && a.time_ms == b.time_ms && a.sequence == b.sequence &&
                  a.first_sequence == b.first_sequence && a.tokens == b.tokens &&
                  a.text_bytes == b.text_bytes && a.form == b.form);
    }
    for (std::size_t i = 0; i < t.nodes.size(); ++i) {
      EXPECT_EQ(t.nodes[i].parent, back->nodes[i].parent);
      EXPECT_EQ(t.nodes[i].form, back->nodes[i].form);
      EXPECT_EQ(t.nodes[i].depth, back->nodes[i].depth);
    }
    // Damage gives an error or tables whose numbers are in range; never a crash.
    for (int k = 0; k < 50; ++k) {
      auto bad = coded->parts;
      Buffer& part = bad[random() % kTableParts];
      if (part.empty()) continue;
      part[random() % part.size()] ^= static_cast<char>(1 << random() % 8);
      auto result = decode_tables(bad, counts_of(t),
                                  random() % 4 != 0   ? coded->references
                                  : random() % 2 == 0 ? References::behind
                                                      : References::recent);
      if (!result) {
        EXPECT_EQ(result.code(), Errc::corrupt);
      } else {
        for (const Row& r : result->rows) (void)result->path(r);
      }
    }
  }
}

// Else a reader would look for the number that a segment of one stream has among those of another.
TEST(Tables, AnExternalSegmentIsOfTheStreamOfItsReference) {
  for (const Stream stream : {kTokenStream, kByteStream}) {
    Tables t;
    const std::uint32_t message = t.add_form("{\"content\":\x01}");
    t.nodes.push_back({kNoNode, message, 0, 1});
    t.refs.push_back(SegmentRef::external(0));
    t.externals.push_back({stream, {{1, 2, 3}}, 1});
    Row row;
    row.leaf = 0;
    row.nodes_end = 1;
    row.refs_begin = 1;
    row.form = t.add_form("{}");
    row.sequence = row.first_sequence = 1;
    t.models.add("");
    t.applications.add("");
    t.ids.add("a");
    t.rows.push_back(row);
    const auto coded = encode_tables(t, 3);
    ASSERT_TRUE(coded);
    const auto back = decode_tables(coded->parts, counts_of(t), coded->references);
    EXPECT_EQ(back.code(), stream == kTokenStream ? Errc::ok : Errc::corrupt);
  }
}

// A chain of nodes for each conversation; every node has one segment, `segment(row, node)`.
template <class Segment>
Tables chats(std::uint32_t rows, std::uint32_t messages, Segment segment) {
  Tables t;
  const std::uint32_t message = t.add_form("{\"content\":\x01}");
  const std::uint32_t form = t.add_form("{}");
  for (std::uint32_t i = 0; i < rows; ++i) {
    std::uint32_t parent = kNoNode;
    for (std::uint32_t k = 0; k < messages; ++k) {
      const auto number = static_cast<std::uint32_t>(segment(i, k));
      t.nodes.push_back({parent, message, static_cast<std::uint32_t>(t.refs.size()), k + 1});
      t.refs.push_back(SegmentRef::local(number));
      t.segment_counts[kTokenStream] = std::max(t.segment_counts[kTokenStream], number + 1);
      parent = static_cast<std::uint32_t>(t.nodes.size() - 1);
    }
    Row r;
    r.form = form;
    r.leaf = parent;
    r.nodes_end = static_cast<std::uint32_t>(t.nodes.size());
    r.refs_begin = static_cast<std::uint32_t>(t.refs.size());
    r.sequence = r.first_sequence = i + 1;
    r.tokens = 100 + i * 7919 % 97;
    r.text_bytes = 400;
    t.ids.add(std::to_string(i));
    t.rows.push_back(r);
  }
  return t;
}

// What conversations have in common lies further behind with each of them, but it is in the same
// place of the list, or has the same number.
TEST(Tables, WhatConversationsShareIsReferredToInTheSameWay) {
  const auto trie = static_cast<std::size_t>(TablePart::trie);
  auto expect_small = [&](const Tables& t, References references) {
    const auto coded = encode_tables(t, 19);
    ASSERT_TRUE(coded);
    EXPECT_EQ(coded->references, references);
    EXPECT_LT(coded->parts[trie].size(), 100u);
    const auto back = decode_tables(coded->parts, counts_of(t), coded->references);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->refs, t.refs);
    // As the other way it is damage, or other references.
    const auto other =
        decode_tables(coded->parts, counts_of(t),
                      references == References::recent ? References::behind : References::recent);
    EXPECT_TRUE(!other || other->refs != t.refs || t.refs.back().number() + 1 == t.refs.size());
  };
  // A new message, then three answers that are always the same.
  expect_small(chats(5000, 4, [](auto i, auto k) { return k == 0 ? (i == 0 ? 0 : i + 3) : k; }),
               References::recent);
  // A system prompt, and 40 messages that are new: it leaves the list of those used last.
  expect_small(chats(500, 41, [](auto i, auto k) { return k == 0 ? 0 : 40 * i + k; }),
               References::recent);
  // The message of the conversation before last.
  expect_small(chats(5000, 1, [](auto i, auto) { return i < 1000 ? i : i % 1000; }),
               References::behind);
  // Nothing is shared: what older programs read.
  expect_small(chats(5000, 2, [](auto i, auto k) { return 2 * i + k; }), References::behind);
}

// A value by hand for each way to refer, and each that is refused.
TEST(Tables, RecentReferencesByHand) {
  const Tables t = chats(2, 20, [](auto i, auto k) { return i == 0 ? k : 0; });
  auto coded = *encode_tables(t, 3);
  Buffer& trie = coded.parts[static_cast<std::size_t>(TablePart::trie)];
  ByteReader in(trie);
  for (int i = 0; i < 4; ++i) (void)in.sized();
  trie.resize(trie.size() - in.left());
  const Buffer head = trie;
  auto decode = [&](std::vector<std::uint64_t> second) {
    std::vector<std::uint64_t> values(20, 0);
    values.insert(values.end(), second.begin(), second.end());
    values.resize(40, 1);  // the one used last
    trie = head;
    for (const auto& v : {values, {}}) {
      append_varint(trie, v.size());
      append_sized(trie, *encode_integers(v, 3));
    }
    return decode_tables(coded.parts, counts_of(t), References::recent);
  };
  // The list has 19 to 4; 0 to 3 are named by their numbers, plus 16.
  const auto back = decode({1, 3, 2 * 15 + 1, 2 * (16 + 2) + 1, 3, 2 * (16 + 19) + 1});
  ASSERT_TRUE(back) << back.error().message();
  const std::vector<std::uint32_t> expected = {19, 18, 4, 2, 4, 19, 19};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(back->refs[20 + i], SegmentRef::local(expected[i])) << i;
  }
  EXPECT_EQ(decode({0}).code(), Errc::corrupt);                  // there are 20
  EXPECT_EQ(decode({2}).code(), Errc::corrupt);                  // no external ones
  EXPECT_EQ(decode({2 * (16 + 20) + 1}).code(), Errc::corrupt);  // not yet there
  EXPECT_EQ(decode({~std::uint64_t{0}}).code(), Errc::corrupt);
  const Tables few = chats(2, 2, [](auto i, auto k) { return i == 0 ? k : 0; });
  auto of_few = *encode_tables(few, 3);
  Buffer& short_trie = of_few.parts[static_cast<std::size_t>(TablePart::trie)];
  ByteReader few_in(short_trie);
  for (int i = 0; i < 4; ++i) (void)few_in.sized();
  short_trie.resize(short_trie.size() - few_in.left());
  for (const auto& v : {std::vector<std::uint64_t>{0, 0, 1, 2 * 2 + 1}, {}}) {
    append_varint(short_trie, v.size());
    append_sized(short_trie, *encode_integers(v, 3));
  }
  // The third place of two.
  EXPECT_EQ(decode_tables(of_few.parts, counts_of(few), References::recent).code(), Errc::corrupt);
}

// Where texts are as long as one another and their tokens are not, bytes follow from no tokens.
TEST(Tables, TextBytesOfOneLengthTakeNothing) {
  const Tables t = chats(5000, 1, [](auto i, auto) { return i; });
  const auto coded = encode_tables(t, 19);
  ASSERT_TRUE(coded);
  EXPECT_LE(coded->parts[static_cast<std::size_t>(TablePart::text_bytes)].size(), 8u);
  const auto back = decode_tables(coded->parts, counts_of(t), coded->references);
  ASSERT_TRUE(back);
  for (const Row& r : back->rows) EXPECT_EQ(r.text_bytes, 400u);
}

// What counts and sizes claim is refused before memory is taken for it.
TEST(Tables, LimitsComeBeforeMemory) {
  std::mt19937_64 random(3);
  Tables t;
  while (t.rows.empty() || t.refs.empty()) t = random_tables(random);
  const auto parts = encode_tables(t, 3)->parts;
  const TableCounts counts = counts_of(t);
  auto refused = [&](TableCounts c) {
    EXPECT_EQ(decode_tables(parts, c, References::behind).code(), Errc::corrupt);
    PackFooter f;
    f.vault.id = Buffer(16, 'v');
    f.tenant.key = Buffer(16, 'k');
    f.counts = c;
    const Buffer bytes = *encode_pack_footer(f, 1000);
    const auto extent = decode_pack_trailer(
        ByteView(bytes).substr(bytes.size() - kPackTrailerBytes), 1000 + bytes.size());
    ASSERT_TRUE(extent);
    EXPECT_EQ(
        decode_pack_footer(ByteView(bytes).substr(0, extent->size), *extent, PackHeader()).code(),
        Errc::corrupt);
  };
  TableCounts c = counts;
  refused((c.rows = kTableSizeMax.rows + 1, c));
  c = counts;
  refused((c.nodes = kTableSizeMax.nodes + 1, c));
  c = counts;
  refused((c.externals = kTableSizeMax.externals + 1, c));
  for (const Stream s : {kTokenStream, kByteStream}) {
    c = counts;
    refused((c.segments[s] = kTableSizeMax.segments[s] + 1, c));
  }
  // References: so many in each stream, in a constant column of three bytes.
  Buffer column(1, '\0');
  append_varint(column, 1);
  auto many = parts;
  Buffer& trie = many[static_cast<std::size_t>(TablePart::trie)];
  ByteReader in(trie);
  for (int i = 0; i < 4; ++i) (void)in.sized();
  trie.resize(trie.size() - in.left());
  for (int s = 0; s < 2; ++s) {
    append_varint(trie, kTableSizeMax.references / 2 + 1);
    append_sized(trie, column);
  }
  const auto too_many = decode_tables(many, counts, References::behind);
  ASSERT_EQ(too_many.code(), Errc::corrupt);
  EXPECT_NE(too_many.error().message().find("references"), std::string_view::npos);
}

TEST(Column, StringsAreBounded) {
  StringTable strings, out;
  for (int i = 0; i < 1000; ++i) strings.add("text" + std::to_string(i));
  const std::uint64_t size = strings.bytes();
  const Buffer fields = *encode_strings(strings, 3);
  ASSERT_EQ(fields[0], 1);  // encoding
  EXPECT_TRUE(decode_strings(fields, 1000, out, size));
  EXPECT_EQ(decode_strings(fields, 1000, out = {}, size - 1).code(), Errc::corrupt);
  StringTable same;
  for (int i = 0; i < 1000; ++i) same.add("#$%^&"[i % 5] + std::string(99, '!'));
  const Buffer lengths = *encode_strings(same, 3);
  EXPECT_TRUE(decode_strings(lengths, 1000, out = {}, 100'000));
  EXPECT_EQ(decode_strings(lengths, 1000, out = {}, 99'999).code(), Errc::corrupt);
  // A string of more fields than are counted is written whole.
  StringTable long_one;
  std::string text;
  for (std::size_t i = 0; i <= kColumnFieldsMax / 2; ++i) text += "a-";
  long_one.add(text);
  const Buffer whole = *encode_strings(long_one, 1);
  EXPECT_EQ(whole[0], 0);
  ASSERT_TRUE(decode_strings(whole, 1, out = {}));
  EXPECT_EQ(out[0], text);
}

TEST(Log, HeaderAndBatches) {
  LogHeader header{.version = 1, .number = 7, .vault = {}};
  header.vault.id = Buffer(16, 'v');
  header.vault.tokenizer = "bytes";
  Buffer file = encode_log_header(header);
  std::uint64_t size = 0;
  auto back = decode_log_header(file, size);
  ASSERT_TRUE(back);
  EXPECT_EQ(size, file.size());
  EXPECT_EQ(back->vault, header.vault);
  for (std::size_t i = 0; i < file.size(); ++i) {
    Buffer bad = file;
    bad[i] ^= 1;
    EXPECT_FALSE(decode_log_header(bad, size)) << i;
    EXPECT_FALSE(decode_log_header(ByteView(file).substr(0, i), size)) << i;
  }
  BatchHeader h{
      .flags = kNewSection | kNewFrame, .tenant = 3, .section = 1, .sequence = 9, .body_size = 100};
  const std::uint64_t offset = file.size();
  file += encode_batch(h, "payload", 7, offset);
  BatchHeader got;
  BatchPieces pieces;
  EXPECT_EQ(*read_batch(file, 7, 0, offset, got, pieces), BatchState::whole);
  EXPECT_EQ(pieces.body, "payload");
  EXPECT_FALSE(read_remains(file, 7, offset));  // it is not guarded
  EXPECT_EQ(got.sequence, 9u);
  EXPECT_EQ(*read_batch(file, 7, 0, file.size(), got, pieces), BatchState::end);
  for (std::size_t i = offset; i < file.size(); ++i) {
    Buffer bad = file;
    bad[i] ^= 4;
    EXPECT_EQ(*read_batch(bad, 7, 0, offset, got, pieces), BatchState::torn) << i;
    if (i > offset) {
      EXPECT_EQ(*read_batch(ByteView(file).substr(0, i), 7, 0, offset, got, pieces),
                BatchState::torn);
    }
  }
  // A batch does not pass for one at another place or of another log.
  EXPECT_EQ(*read_batch(file, 8, 0, offset, got, pieces), BatchState::torn);
  std::uint64_t budget = search_budget(file);
  EXPECT_TRUE(has_batch_after(file, 7, 0, budget));
  EXPECT_FALSE(has_batch_after(file, 7, offset, budget));
}

TEST(Log, AGuardedHeaderAndItsChangesCanBeBelievedAlone) {
  BatchChanges changes;
  changes.deleted = {IdHash{1, 2}, IdHash{3}};
  changes.tagged = {IdHash{4}};
  const std::uint64_t offset = 5;
  const Buffer front = encode_changes(changes, 7, offset);
  const BatchHeader h{.flags = kGuarded | kChanges,
                      .conversations = 12,
                      .tenant = 3,
                      .section = 1,
                      .sequence = 9,
                      .body_size = 100};
  const Buffer file = Buffer(offset, 'x') + encode_batch(h, front + "frame", 7, offset);
  BatchHeader got;
  BatchPieces pieces;
  ASSERT_EQ(*read_batch(file, 7, 0, offset, got, pieces), BatchState::whole);
  EXPECT_EQ(pieces.body, "frame");
  EXPECT_EQ(got.payload_size, front.size() + 5);
  const std::size_t front_begin = offset + kBatchHeaderBytes;
  for (std::size_t i = offset; i < file.size(); ++i) {
    Buffer bad = file;
    bad[i] ^= 4;
    EXPECT_EQ(*read_batch(bad, 7, 0, offset, got, pieces), BatchState::torn) << i;
    const auto remains = read_remains(bad, 7, offset);
    // The checksum of everything is the one part of a header that may be wrong.
    const bool header_hit = i < front_begin - 8;
    EXPECT_EQ(remains.has_value(), !header_hit) << i;
    if (!remains) continue;
    EXPECT_EQ(remains->header.conversations, 12u);
    EXPECT_EQ(remains->header.sequence, 9u);
    const bool front_hit = i >= front_begin && i < front_begin + front.size();
    ASSERT_EQ(remains->changes.has_value(), !front_hit) << i;
    if (!front_hit) {
      EXPECT_EQ(remains->changes->deleted, changes.deleted);
      EXPECT_EQ(remains->changes->tagged, changes.tagged);
      std::uint64_t budget = search_budget(bad);
      EXPECT_EQ(find_remains(bad, 7, 0, budget), offset);
    }
  }
  // Cut off behind the changes they are still known; at another place nothing is.
  ASSERT_TRUE(read_remains(ByteView(file).substr(0, file.size() - 5), 7, offset)->changes);
  EXPECT_FALSE(read_remains(ByteView(file).substr(0, file.size() - 6), 7, offset)->changes);
  EXPECT_FALSE(read_remains(file, 8, offset));
  EXPECT_FALSE(read_remains(ByteView(file).substr(1), 7, offset - 1));
}

// Headers that each claim the rest of the file: a search that took a checksum of it each time would
// take minutes.
TEST(Log, ASearchForBatchesIsLinear) {
  Buffer file;
  const BatchHeader h{.flags = kNewSection};
  while (file.size() < (8u << 20)) file += encode_batch(h, "", 7, file.size()).substr(0, 40);
  for (std::size_t at = 0; at + 48 < file.size(); at += 40) {
    store_le(static_cast<std::uint32_t>(file.size() - at - 48), file.data() + at + 28);
    store_le(std::uint32_t{0}, file.data() + at + 36);
  }
  std::uint64_t budget = search_budget(file);
  EXPECT_TRUE(has_batch_after(file, 7, 0, budget));  // it gives up, on the safe side
  EXPECT_EQ(budget, 0u);
  EXPECT_EQ(find_remains(file, 7, 0, budget), file.size());
}

TEST(Pack, SizesOfSegmentsAndBlocksAreBounded) {
  PackStream stream;
  stream.block_count = 1;
  stream.text_bytes = std::uint64_t{1} << 40;
  PackBlocks b;
  b.segments = {1};
  b.has_fingerprint = {false};
  b.sizes = {6};
  stream.blocks.size = 10;
  for (const std::uint64_t more : {0, 1}) {
    b.texts = {static_cast<std::uint32_t>(kBlockTextBytesMax + more)};
    stream.dictionary.raw_size = stream.text_bytes + 1 - b.texts[0];
    const auto bytes = encode_pack_blocks(b, 1);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(decode_pack_blocks(*bytes, 1, stream).code(), more == 0 ? Errc::ok : Errc::corrupt);
  }
  PackSegments s;
  s.in_dictionary = {true};
  for (const std::uint64_t more : {0, 1}) {
    s.code_sizes = {static_cast<std::uint32_t>(kSegmentCodeBytesMax + more)};
    s.fingerprints = {7};
    PackStream all;
    all.text_bytes = all.dictionary.raw_size = s.code_sizes[0];
    const auto bytes = encode_pack_segments(s, 1);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(decode_pack_segments(*bytes, 1, all).code(), more == 0 ? Errc::ok : Errc::corrupt);
  }
}

TEST(Pack, RecordsAreBounded) {
  std::vector<Record> records(3);
  for (Record& r : records) r.key = "k";
  const auto bytes = encode_records(records, 1);
  ASSERT_TRUE(bytes);
  EXPECT_TRUE(decode_records(*bytes, 3));
  // A count that its bytes could have, in a few bytes of zeros.
  Buffer raw(4 * (kPackRecordsMax + 1), '\0');
  Buffer many;
  append_varint(many, raw.size());
  many += *encode_bytes(raw, 1);
  EXPECT_EQ(decode_records(many, kPackRecordsMax + 1).code(), Errc::corrupt);
  EXPECT_EQ(encode_records(std::vector<Record>(kPackRecordsMax + 1), 1).code(), Errc::exhausted);
}

TEST(Pack, AFilterOfIdsIsRightForThoseThatAreThereAndSeldomWrongForOthers) {
  const Buffer key(16, 'k');
  StringTable ids;
  for (int i = 0; i < 5000; ++i) ids.add("run/" + std::to_string(i));
  auto hashes = hash_ids(key, ids);
  const Buffer filter = make_id_filter(hashes);
  EXPECT_EQ(filter.size(), ids.size());
  for (const IdHash& id : hashes) EXPECT_TRUE(may_hold(filter, id));
  int wrong = 0;
  constexpr int kOthers = 20'000;
  for (int i = 0; i < kOthers; ++i) wrong += may_hold(filter, hash_id(key, std::to_string(i)));
  EXPECT_LT(wrong, kOthers / 40);  // (1 - e^-.75)^6 is one in 46
  EXPECT_GT(wrong, kOthers / 55);
  // One is enough, and none makes none.
  hashes.resize(1);
  EXPECT_TRUE(may_hold(make_id_filter(hashes), hashes[0]));
  EXPECT_TRUE(make_id_filter({}).empty());
}

TEST(Pack, TheFilterOfIdsHasAByteForEachConversation) {
  PackHeader header;
  header.vault_id = Buffer(16, 'v');
  header.features = kPackHasIdFilter;
  const auto read = decode_pack_header(encode_pack_header(header));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->features, kPackHasIdFilter);
  header.features = kPackFeatures + 1;
  EXPECT_EQ(decode_pack_header(encode_pack_header(header)).code(), Errc::unsupported);
  header.features = kPackHasIdFilter;
  header.version = 1;
  EXPECT_EQ(decode_pack_header(encode_pack_header(header)).code(), Errc::unsupported);

  PackFooter f;
  f.vault.id = Buffer(16, 'v');
  f.tenant.key = Buffer(16, 'k');
  auto decode = [&](std::uint64_t rows, std::uint64_t size, const PackHeader& with) {
    f.counts.rows = rows;
    f.id_filter = {64, size, 0, 7};
    const Buffer bytes = *encode_pack_footer(f, 1000);
    const auto extent = decode_pack_trailer(
        ByteView(bytes).substr(bytes.size() - kPackTrailerBytes), 1000 + bytes.size());
    EXPECT_TRUE(extent);
    return decode_pack_footer(ByteView(bytes).substr(0, extent->size), *extent, with);
  };
  const auto footer = decode(300, 300, *read);
  ASSERT_TRUE(footer);
  EXPECT_EQ(footer->id_filter.size, 300u);
  EXPECT_EQ(footer->id_filter.checksum, 7u);
  EXPECT_EQ(decode(300, 299, *read).code(), Errc::corrupt);
  EXPECT_EQ(decode(300, 301, *read).code(), Errc::corrupt);
  EXPECT_EQ(decode(300, 300, PackHeader()).code(), Errc::corrupt);  // the header says nothing of it
  EXPECT_EQ(decode(300, 0, *read).code(), Errc::corrupt);
  EXPECT_TRUE(decode(300, 0, PackHeader()));
}

TEST(Pack, FooterTrailerAndSegments) {
  PackFooter f;
  f.vault.id = Buffer(16, 'v');
  f.tenant.key = Buffer(16, 'k');
  f.set_members = {4, 5};
  f.set_supersedes = {1};
  f.time_first_ms = -5;
  f.counts.rows = 12;
  f.streams[0].blocks = {70, 9, 0, 1};
  const std::uint64_t offset = 1000;
  auto bytes = encode_pack_footer(f, offset);
  ASSERT_TRUE(bytes);
  const std::uint64_t file_size = offset + bytes->size();
  auto extent =
      decode_pack_trailer(ByteView(*bytes).substr(bytes->size() - kPackTrailerBytes), file_size);
  ASSERT_TRUE(extent);
  EXPECT_EQ(extent->offset, offset);
  auto decode = [&] {
    return decode_pack_footer(ByteView(*bytes).substr(0, extent->size), *extent, PackHeader());
  };
  auto back = decode();
  ASSERT_TRUE(back);
  EXPECT_EQ(back->set_members, f.set_members);
  EXPECT_EQ(back->time_first_ms, -5);
  EXPECT_EQ(back->counts.rows, 12u);
  f.streams[0].blocks.offset = 999;  // leaves the part before the footer
  bytes = encode_pack_footer(f, offset);
  extent = decode_pack_trailer(ByteView(*bytes).substr(bytes->size() - kPackTrailerBytes),
                               offset + bytes->size());
  EXPECT_FALSE(decode());
  // A stream whose segments are ended is all dictionary, and as long as they and their ends.
  f.streams[0].blocks = {};
  f.streams[0].dictionary = {64, 10, 103, 1};
  f.streams[0].artifacts = {300};
  f.streams[0].ended = true;
  f.streams[0].text_bytes = 100;
  f.counts.segments[0] = 3;
  auto encode = [&] {
    bytes = encode_pack_footer(f, offset);
    extent = decode_pack_trailer(ByteView(*bytes).substr(bytes->size() - kPackTrailerBytes),
                                 offset + bytes->size());
  };
  encode();
  back = decode();
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_TRUE(back->streams[0].ended);
  EXPECT_FALSE(back->streams[1].ended);
  EXPECT_EQ(back->streams[0].artifacts, f.streams[0].artifacts);
  // No more than one, of a stream of tokens that is all dictionary or under the model; else this
  // program cannot read it.
  f.streams[0].artifacts = {7, 300};
  encode();
  EXPECT_EQ(decode().code(), Errc::unsupported);
  f.streams[0].artifacts = {300};
  const PackStream one_text = f.streams[0];
  f.streams[0].codec = PackCodec::token_model;
  encode();
  EXPECT_TRUE(decode());
  f.streams[0].block_count = 1;
  f.streams[0].blocks = {74, 20, 0, 1};
  f.streams[0].table = {94, 5, 0, 1};
  encode();
  EXPECT_TRUE(decode());
  f.streams[0].codec = PackCodec::zstd;
  encode();
  EXPECT_EQ(decode().code(), Errc::unsupported);
  f.streams[0] = one_text;
  f.streams[1] = f.streams[0];
  f.counts.segments[1] = 3;
  encode();
  EXPECT_EQ(decode().code(), Errc::unsupported);
  f.streams[1].artifacts.clear();
  encode();
  EXPECT_TRUE(decode());
  f.streams[0].text_bytes = 101;
  encode();
  EXPECT_FALSE(decode());
  f.streams[0].text_bytes = 100;
  f.streams[0].table = {70, 1, 0, 1};
  encode();
  EXPECT_FALSE(decode());

  PackSegments s;
  s.code_sizes = {10, 200, 30};
  s.in_dictionary = {true, false, false};
  s.fingerprints = {0xabcdef};
  s.block_segments = {2};
  s.block_sizes = {77};
  PackStream stream;
  stream.text_bytes = 240;
  stream.block_count = 1;
  stream.blocks.size = 81;
  stream.dictionary.raw_size = 10;
  auto table = encode_pack_segments(s, 3);
  ASSERT_TRUE(table);
  auto segments = decode_pack_segments(*table, 3, stream);
  ASSERT_TRUE(segments) << segments.error().message();
  EXPECT_EQ(segments->fingerprints, s.fingerprints);
  EXPECT_TRUE(segments->block_bases.empty());
  stream.text_bytes = 241;
  EXPECT_FALSE(decode_pack_segments(*table, 3, stream));

  stream.text_bytes = 240;
  stream.codec = PackCodec::zstd_bases;
  EXPECT_FALSE(decode_pack_segments(*table, 3, stream)) << "columns are missing";
  s.block_bases = {2};
  s.bases = {0, 2};
  table = encode_pack_segments(s, 3);
  segments = decode_pack_segments(*table, 3, stream);
  ASSERT_TRUE(segments) << segments.error().message();
  EXPECT_EQ(segments->block_bases, s.block_bases);
  EXPECT_EQ(segments->bases, s.bases);
  EXPECT_EQ(segments->fingerprints, s.fingerprints);
  s.bases = {0, 3};
  EXPECT_FALSE(decode_pack_segments(*encode_pack_segments(s, 3), 3, stream)) << "there are three";
  s.block_bases = {9};
  s.bases = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_FALSE(decode_pack_segments(*encode_pack_segments(s, 3), 3, stream)) << "too many";
}

TEST(Records, RoundTrip) {
  const Buffer key(16, 'k');
  const IdHash id = hash_id(key, "conversation 1");
  EXPECT_NE(id, hash_id(Buffer(16, 'l'), "conversation 1"));
  IdKey parsed;
  const Buffer tag = tag_key(5, id, "good");  // what is parsed refers to it
  ASSERT_TRUE(parse_id_key(tag, RecordKind::tag, parsed));
  EXPECT_EQ(parsed.tenant, 5u);
  EXPECT_EQ(parsed.id, id);
  EXPECT_EQ(parsed.tag, "good");
  EXPECT_FALSE(parse_id_key(tag_key(5, id, "good"), RecordKind::deletion, parsed));
  std::vector<Record> records = {{deletion_key(0, id), Buffer(), 4}, {tag_key(0, id, "x"), {}, 5}};
  auto bytes = encode_records(records, 3);
  ASSERT_TRUE(bytes);
  auto back = decode_records(*bytes, 2);
  ASSERT_TRUE(back);
  EXPECT_EQ((*back)[1].key, records[1].key);
  EXPECT_FALSE((*back)[1].value);
  EXPECT_FALSE(decode_records(*bytes, 3));
}

Artifact some_artifact() {
  Artifact a;
  a.number = 7;
  a.tenant = 3;
  a.vault_id = Buffer(16, 'v');
  a.record = {ArtifactKind::substring_set, 7, 1'700'000'000'000, 0, 12, 34, 5678};
  for (int i = 0; i < 300; ++i) a.content += "content " + std::to_string(i % 7);
  a.record.size_bytes = a.content.size();
  return a;
}

TEST(Artifact, RoundTripAndEveryDamageIsFound) {
  const Artifact a = some_artifact();
  const auto file = encode_artifact(a, 3);
  ASSERT_TRUE(file);
  const auto back = decode_artifact(*file);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->number, a.number);
  EXPECT_EQ(back->tenant, a.tenant);
  EXPECT_EQ(back->vault_id, a.vault_id);
  EXPECT_EQ(back->record, a.record);
  EXPECT_EQ(back->content, a.content);
  EXPECT_LT(file->size(), 250u);
  for (std::size_t size = 0; size < file->size(); ++size) {
    EXPECT_EQ(decode_artifact(ByteView(*file).substr(0, size)).code(), Errc::corrupt) << size;
  }
  EXPECT_EQ(decode_artifact(*file + "x").code(), Errc::corrupt);
  for (std::size_t i = 0; i < file->size(); ++i) {
    for (const int bit : {0, 5}) {
      Buffer bad = *file;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      EXPECT_EQ(decode_artifact(bad).code(), Errc::corrupt) << i;
    }
  }
}

// What checksums that are right do not excuse.
TEST(Artifact, RulesBeyondTheChecksums) {
  const auto good = encode_artifact(some_artifact(), 3);
  ASSERT_TRUE(good);
  auto mended = [&](std::size_t at, char value) {
    Buffer file = *good;
    file[at] = value;
    store_le(checksum64(ByteView(file).substr(kArtifactHeaderBytes)), file.data() + 48);
    store_le(checksum64(ByteView(file).substr(0, 56)), file.data() + 56);
    return decode_artifact(file).code();
  };
  EXPECT_EQ(mended(4, 2), Errc::unsupported) << "version";
  EXPECT_EQ(mended(6, 1), Errc::unsupported) << "feature";
  EXPECT_EQ(mended(20, 1), Errc::unsupported) << "cipher";
  for (std::size_t at : {21, 22, 23, 24, 25, 26, 27}) EXPECT_EQ(mended(at, 1), Errc::corrupt) << at;
  EXPECT_EQ(mended(44, 1), Errc::corrupt) << "a record of one byte";
  EXPECT_EQ(mended(47, 1), Errc::corrupt) << "a record of 16 MB";
  EXPECT_EQ(mended(64, 0), Errc::unsupported) << "kind 0";
  EXPECT_EQ(mended(64, 4), Errc::unsupported) << "kind 4";
  // The size of the content is a varint after kind, id and time.
  ArtifactRecord huge = some_artifact().record;
  huge.size_bytes = kArtifactBytesMax + 1;
  EXPECT_EQ(decode_artifact_record(encode(huge)).code(), Errc::corrupt);
  EXPECT_EQ(decode_artifact_record(encode(huge).substr(0, 4)).code(), Errc::corrupt);
  EXPECT_EQ(decode_artifact_record(encode(some_artifact().record) + "x").code(), Errc::corrupt);
  ArtifactRecord other = some_artifact().record;
  ++other.size_bytes;
  const Buffer was = encode(some_artifact().record);
  const Buffer now = encode(other);
  ASSERT_EQ(was.size(), now.size());
  Buffer file = *good;
  std::copy(now.begin(), now.end(), file.begin() + kArtifactHeaderBytes);
  store_le(checksum64(ByteView(file).substr(kArtifactHeaderBytes)), file.data() + 48);
  store_le(checksum64(ByteView(file).substr(0, 56)), file.data() + 56);
  EXPECT_EQ(decode_artifact(file).code(), Errc::corrupt) << "another size than the content has";
}

TEST(Records, KeysOfArtifacts) {
  ArtifactKey key;
  ASSERT_TRUE(parse_artifact_key(artifact_key(5, 1234567890123), key));
  EXPECT_EQ(key.tenant, 5u);
  EXPECT_EQ(key.number, 1234567890123u);
  ASSERT_TRUE(parse_active_key(active_key(6, ArtifactKind::reserved), key));
  EXPECT_EQ(key.tenant, 6u);
  EXPECT_EQ(key.kind, ArtifactKind::reserved);
  EXPECT_FALSE(parse_active_key(artifact_key(5, 1), key));
  EXPECT_FALSE(parse_artifact_key(active_key(5, ArtifactKind::dictionary), key));
  EXPECT_FALSE(parse_artifact_key(artifact_key(5, 1) + "x", key));
  EXPECT_FALSE(parse_artifact_key("", key));
  EXPECT_EQ(*decode_active(encode_active(300)), 300u);
  EXPECT_EQ(decode_active(encode_active(300) + "x").code(), Errc::corrupt);
  EXPECT_EQ(tenant_of(artifact_key(5, 1)), 5u);
  EXPECT_EQ(tenant_of(tag_key(4, {}, "x")), 4u);
  EXPECT_EQ(tenant_of(progress_key("abcdefgh")), std::nullopt);
  EXPECT_EQ(tenant_of("Zabcdefgh"), std::nullopt);
  EXPECT_EQ(tenant_of(""), std::nullopt);
}

TEST(Records, Holds) {
  Digest digest{};
  digest[0] = 7;
  const Buffer key = hold_key(5, kByteStream, digest, "someone");
  HoldKey parsed;
  ASSERT_TRUE(parse_hold_key(key, parsed));
  EXPECT_EQ(parsed.tenant, 5u);
  EXPECT_EQ(parsed.stream, kByteStream);
  EXPECT_EQ(parsed.digest, digest);
  EXPECT_EQ(parsed.holder, "someone");
  EXPECT_TRUE(key.starts_with(hold_prefix(5)));
  EXPECT_TRUE(key.starts_with(hold_key(5, kByteStream, digest, "")));
  for (std::size_t size = 0; size < 38; ++size) {
    EXPECT_FALSE(parse_hold_key(ByteView(key).substr(0, size), parsed)) << size;
  }
  Buffer other = key;
  other[5] = 2;  // no such stream
  EXPECT_FALSE(parse_hold_key(other, parsed));
  other = key;
  other[0] = 'G';
  EXPECT_FALSE(parse_hold_key(other, parsed));
  EXPECT_EQ(tenant_of(key), 5u);

  for (const std::uint64_t size : {0u, 1u, 95u}) {
    const HoldRecord hold{size, Buffer(size, 'c')};
    const auto back = decode_hold(encode(hold));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->size, size);
    EXPECT_EQ(back->code, hold.code);
  }
  EXPECT_TRUE(decode_hold(encode(HoldRecord{96, {}})));
  EXPECT_EQ(decode_hold(encode(HoldRecord{96, "c"})).code(), Errc::corrupt);
  EXPECT_EQ(decode_hold(encode(HoldRecord{95, {}})).code(), Errc::corrupt);
  EXPECT_EQ(decode_hold(encode(HoldRecord{0, "c"})).code(), Errc::corrupt);
  EXPECT_EQ(decode_hold("").code(), Errc::corrupt);
  EXPECT_EQ(decode_hold("\x80").code(), Errc::corrupt);
}

}  // namespace
}  // namespace tokvault
