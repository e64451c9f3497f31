// The rules of docs/format that no round trip shows: bytes written by hand, right and wrong. If one
// of these fails, either files of released versions are no longer read, or damage passes for data.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/zstd.h"
#include "format/batch.h"
#include "format/column.h"
#include "format/log.h"
#include "format/pack.h"
#include "format/tables.h"

namespace tokvault {
namespace {

Buffer bytes(std::initializer_list<int> values) {
  Buffer out;
  for (const int v : values) out.push_back(static_cast<char>(v));
  return out;
}

TEST(FormatRules, VarintsAreCanonical) {
  const std::pair<Buffer, std::uint64_t> good[] = {
      {bytes({0}), 0},
      {bytes({0x7f}), 127},
      {bytes({0x80, 1}), 128},
      {bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}), ~std::uint64_t{0}}};
  for (const auto& [text, value] : good) {
    ByteReader in(text);
    EXPECT_EQ(in.varint(), value);
    EXPECT_TRUE(in.ok() && in.at_end());
  }
  const Buffer bad[] = {bytes({0x80}), bytes({0x80, 0}), bytes({0xff, 0x80, 0}),
                        bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}),
                        bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80, 1})};
  for (const Buffer& text : bad) {
    ByteReader in(text);
    (void)in.varint();
    EXPECT_FALSE(in.ok()) << to_hex(text);
  }
  EXPECT_EQ(zigzag(-1), 1u);
  EXPECT_EQ(zigzag(1), 2u);
  EXPECT_EQ(unzigzag(3), -2);
}

std::vector<std::uint64_t> integers(const Buffer& column, std::uint64_t count) {
  std::vector<std::uint64_t> out;
  const Status status = decode_integers(column, count, out);
  return status ? out : std::vector<std::uint64_t>{999};
}

std::vector<std::string> strings(const Buffer& column, std::uint64_t count) {
  StringTable table;
  if (!decode_strings(column, count, table)) return {"refused"};
  std::vector<std::string> out;
  for (std::size_t i = 0; i < table.size(); ++i) out.emplace_back(table[i]);
  return out;
}

Buffer fields(const Buffer& ops, const Buffer& numbers, const Buffer& texts) {
  Buffer out(1, '\1');
  for (const Buffer* part : {&ops, &numbers, &texts}) {
    append_varint(out, part->size());
    append_sized(out, Buffer(1, '\0') + *part);
  }
  return out;
}

TEST(FormatRules, ColumnsByHand) {
  using Numbers = std::vector<std::uint64_t>;
  using Strings = std::vector<std::string>;
  const Numbers refused = {999};
  EXPECT_EQ(integers(bytes({0, 7}), 3), (Numbers{7, 7, 7}));
  EXPECT_EQ(integers(bytes({0, 7, 7}), 3), refused);  // a byte after the end
  EXPECT_EQ(integers(bytes({1, 3, 0, 5, 0x80, 1}), 2), (Numbers{5, 128}));
  EXPECT_EQ(integers(bytes({1, 3, 0, 5, 0x80, 1}), 3), refused);  // one value is missing
  EXPECT_EQ(integers(bytes({1, 3, 0, 5, 0x80, 1}), 1), refused);  // one is too many
  EXPECT_EQ(integers(bytes({1, 2, 0, 5, 0x80, 1}), 2), refused);  // another size than stands there
  EXPECT_EQ(integers(bytes({2, 3, 0, 20, 1, 4}), 3), (Numbers{10, 9, 11}));
  EXPECT_EQ(integers(bytes({2, 2, 0, 1, 2}), 2), (Numbers{~std::uint64_t{0}, 0}));  // modulo 2^64
  EXPECT_EQ(integers(bytes({3, 2, 0, 255, 0}), 2), (Numbers{255, 0}));
  EXPECT_EQ(integers(bytes({4, 2, 0, 1, 2}), 2), refused);  // an unknown encoding
  EXPECT_EQ(integers(bytes({1, 2, 2, 1, 2}), 2), refused);  // neither plain nor a frame

  EXPECT_EQ(strings(bytes({0, 6, 3, 2, 0, 2, 1, 0, 0, 'a', 'b', 'c'}), 2), (Strings{"refused"}));
  EXPECT_EQ(strings(bytes({0, 5, 3, 2, 0, 2, 1, 0, 'a', 'b', 'c'}), 2), (Strings{"ab", "c"}));
  // Every operation: "run9" as text and number, then its neighbours.
  const Buffer ops = bytes({5, 4, 5, 6, 0, 1, 2, 1, 1, 0, 1, 3, 0});
  const Buffer numbers = bytes({3, 9, 1, 2, 5});
  EXPECT_EQ(strings(fields(ops, numbers, bytes({'r', 'u', 'n', '-', 0xab, 0x01})), 3),
            (Strings{"run9-ab01", "run10-ab01", "run7"}));
  const Strings none = {"refused"};
  EXPECT_EQ(strings(fields(bytes({1, 0}), "", ""), 1), none);  // nothing stands before it
  const Buffer same =
      fields(bytes({5, 5, 5, 0, 1, 1, 5, 0, 1, 1, 1, 0, 1, 0, 0}), bytes({1, 1, 2, 1}), "ab--c");
  EXPECT_EQ(strings(same, 5), (Strings{"ab--", "abc", "abc", "a", ""}));
  EXPECT_EQ(strings(fields(bytes({5, 0, 1, 1, 0}), bytes({1}), "a"), 2), none);  // one more
  EXPECT_EQ(strings(fields(bytes({5, 0, 1}), bytes({1}), "a"), 2), none);        // without an end
  EXPECT_EQ(strings(fields(bytes({5, 0, 2, 0}), bytes({1}), "a"), 2), none);     // not a number
  EXPECT_EQ(strings(fields(bytes({5, 0, 2, 0}), bytes({2}), "07"), 2), none);    // a leading zero
  EXPECT_EQ(strings(fields(bytes({7, 0}), "", ""), 1), none);                    // no operation
  EXPECT_EQ(strings(fields(bytes({0}), bytes({1}), ""), 1), none);   // a number that nobody reads
  EXPECT_EQ(strings(fields(bytes({0}), "", "x"), 1), none);          // a text that nobody reads
  EXPECT_EQ(strings(fields(bytes({0, 0}), "", ""), 1), none);        // more strings than there are
  EXPECT_EQ(strings(fields(bytes({5}), bytes({1}), "a"), 1), none);  // a string without an end
}

// Keeps what parse_batch found in words.
class Words final : public BatchVisitor {
 public:
  void on_model(std::string_view name) override { add("model " + std::string(name)); }
  void on_application(std::string_view name) override { add("application " + std::string(name)); }
  void on_form(std::string_view form) override {
    forms_.push_back(analyse_form(form));
    add("form");
  }
  void on_segment(Stream stream, std::uint64_t offset, std::uint64_t size) override {
    add((stream == kTokenStream ? "tokens " : "bytes ") + std::string(codes.substr(offset, size)));
  }
  void on_external(const External& e) override {
    externals_.push_back(e.stream);
    add("external " + std::to_string(e.file_hint));
  }
  Stream external_stream(std::uint32_t number) const override { return externals_[number]; }
  void on_node(std::uint32_t parent, std::uint32_t form,
               std::span<const SegmentRef> refs) override {
    add("node " + std::to_string(static_cast<std::int32_t>(parent)) + " " + std::to_string(form) +
        words(refs));
  }
  void on_conversation(std::string_view id, Row row, std::span<const SegmentRef> refs) override {
    add(std::string(id) + " " + std::to_string(row.sequence) + " " +
        std::to_string(row.first_sequence) + " " +
        std::to_string(static_cast<std::int32_t>(row.leaf)) + words(refs));
  }
  void on_record(Record r) override {
    add(r.key + (r.value ? "=" + *r.value : " removed") + " " + std::to_string(r.sequence));
  }
  const FormInfo& form_info(std::uint32_t form) const override { return forms_[form]; }

  ByteView codes;  // what segments lie in
  std::string out;

 private:
  void add(const std::string& text) { out += text + ";"; }
  static std::string words(std::span<const SegmentRef> refs) {
    std::string text;
    for (const SegmentRef r : refs) {
      text += (r.is_external() ? " e" : " ") + std::to_string(r.number());
    }
    return text;
  }
  std::vector<FormInfo> forms_;
  std::vector<Stream> externals_;
};

std::string parse(const Buffer& body, std::optional<Buffer> text = std::nullopt) {
  BatchBuilder::Counts counts;
  counts.next_sequence = 10;
  Words words;
  words.codes = text ? *text : body;
  std::optional<std::uint64_t> text_size;
  if (text) text_size = text->size();
  return parse_batch(body, text_size, counts, words) ? words.out : "refused";
}

TEST(FormatRules, CodesInTheBodyAndApart) {
  const Buffer in = bytes({4, 2, 'a', 'b', 5, 0, 9, 1, 'k', 1, 'v', 5, 1, 'c'});
  const Buffer apart = bytes({4, 2, 5, 0, 9, 1, 'k', 1, 'v', 5, 1});
  const std::string both = "tokens ab;bytes ;k=v 10;bytes c;";
  EXPECT_EQ(parse(in), both);
  EXPECT_EQ(parse(apart, "abc"), both);
  EXPECT_EQ(parse(apart, "ab"), "refused") << "the last segment has no text";
  EXPECT_EQ(parse(apart, "abcd"), "refused") << "text that no segment has";
  EXPECT_EQ(parse(bytes({4, 2}), "abc"), "refused");
  EXPECT_EQ(parse(bytes({4, 2, 'a'})), "refused");
  EXPECT_EQ(parse("", ""), "");
  EXPECT_EQ(parse(bytes({9, 1, 'k', 1, 'v'}), ""), "k=v 10;");
  // A size that no varint gives, and one beyond every text.
  EXPECT_EQ(parse(bytes({4}) + Buffer(9, '\xff') + bytes({1}), "abc"), "refused");
  EXPECT_EQ(parse(bytes({4}) + Buffer(9, '\xff') + bytes({1})), "refused");
  // As a builder makes both.
  BatchBuilder builder({});
  builder.add_segment(kTokenStream, "ab");
  builder.add_segment(kByteStream, "");
  builder.put_record("k", "v");
  builder.add_segment(kByteStream, "c");
  EXPECT_EQ(builder.body_with_text(), in);
  EXPECT_EQ(builder.body(), apart);
  EXPECT_EQ(builder.text(), "abc");
}

TEST(FormatRules, PiecesOfBatchesWhoseTextStandsApart) {
  BatchHeader h;
  BatchPieces pieces;
  constexpr std::uint8_t kAll = kNewSection | kNewFrame | kTextApart;
  const Buffer file = encode_batch({.flags = kAll}, encode_pieces({"body", "text"}, 300), 1, 0);
  const auto state = read_batch(file, 1, 0, 0, h, pieces);
  ASSERT_TRUE(state);
  EXPECT_EQ(*state, BatchState::whole);
  EXPECT_EQ(pieces.body, "body");
  EXPECT_EQ(pieces.text, "text");
  EXPECT_EQ(h.text_size, 300u);
  Buffer other;  // pieces lie in it
  auto code = [&](std::uint8_t flags, ByteView payload) {
    other = encode_batch({.flags = flags}, payload, 1, 0);
    return read_batch(other, 1, 0, 0, h, pieces).code();
  };
  EXPECT_EQ(code(kAll, bytes({0, 0})), Errc::ok);
  EXPECT_EQ(code(kAll, bytes({5, 1}) + "body"), Errc::corrupt) << "the body's piece is cut";
  EXPECT_EQ(code(kAll, bytes({1})), Errc::corrupt);
  EXPECT_EQ(code(kAll, ""), Errc::corrupt);
  EXPECT_EQ(code(kAll, bytes({0}) + Buffer(5, '\xff')), Errc::corrupt) << "above 4 GB";
  EXPECT_EQ(code(kAll | kDictionary, bytes({7, 1, 1, 'b', 't'})), Errc::ok);
  EXPECT_EQ(h.dictionary, 7u);
  EXPECT_EQ(pieces.body, "b");
  EXPECT_EQ(pieces.text, "t");
  EXPECT_EQ(code(kTextApart, bytes({1, 1, 'b', 't'})), Errc::ok) << "within frames";
  EXPECT_EQ(code(0x80, "frame"), Errc::unsupported);
  EXPECT_EQ(code(0, bytes({1, 1, 'b', 't'})), Errc::ok);
  EXPECT_EQ(h.text_size, 0u);
  EXPECT_EQ(pieces.text, "");
}

TEST(FormatRules, BatchesByHand) {
  const Buffer form = bytes({3, 1, 1});  // one text
  const Buffer segments = bytes({4, 1, 'a', 4, 1, 'b'});
  const Buffer external = bytes({6, 0}) + Buffer(16, 'd') + bytes({9});
  const Buffer node = form + segments + bytes({7, 0, 0, 0});
  EXPECT_EQ(parse(node), "form;tokens a;tokens b;node -1 0 1;");
  EXPECT_EQ(parse(form + segments + external + bytes({7, 0, 0, 2, 7, 1, 0, 1})),
            "form;tokens a;tokens b;external 9;node -1 0 0;node 0 0 e0;");
  EXPECT_EQ(parse(form + segments + bytes({7, 0, 0, 4})), "refused");  // two back of two
  EXPECT_EQ(parse(form + segments + bytes({7, 0, 0, 1})), "refused");  // no external is there
  const Buffer other = bytes({6, 1}) + Buffer(16, 'd') + bytes({9});   // of bytes
  EXPECT_EQ(parse(form + segments + other + bytes({7, 0, 0, 1})), "refused");
  EXPECT_EQ(parse(form + segments + bytes({7, 1, 0, 0})), "refused");         // no parent is there
  EXPECT_EQ(parse(segments + bytes({7, 0, 0, 0})), "refused");                // no form is there
  EXPECT_EQ(parse(bytes({6, 2}) + Buffer(16, 'd') + bytes({9})), "refused");  // a third stream
  EXPECT_EQ(parse(bytes({5, 1, 'x', 9, 1, 'k', 1, 'v', 10, 1, 'k'})),
            "bytes x;k=v 10;k removed 11;");

  // id, model, application, time, back, form, leaf, tokens, text bytes, references
  auto conversation = [&](int model, int application, int back, int use, int leaf) {
    return node + bytes({8, 1, 'c', model, application, 0, back, use, leaf, 0, 0, 0});
  };
  const std::string before = "form;tokens a;tokens b;node -1 0 1;";
  EXPECT_EQ(parse(conversation(0, 0, 0, 0, 1)), before + "c 10 10 0 1;");
  EXPECT_EQ(parse(conversation(0, 0, 9, 0, 0)), before + "c 10 1 -1 1;");
  EXPECT_EQ(parse(conversation(0, 0, 10, 0, 1)), "refused");  // a first version of number 0
  EXPECT_EQ(parse(conversation(1, 0, 0, 0, 1)), "refused");   // no model 1
  EXPECT_EQ(parse(conversation(0, 1, 0, 0, 1)), "refused");   // no application 1
  EXPECT_EQ(parse(conversation(0, 0, 0, 1, 1)), "refused");   // no form 1
  EXPECT_EQ(parse(conversation(0, 0, 0, 0, 2)), "refused");   // no second node
  EXPECT_EQ(parse(bytes({1, 1, 'm', 2, 1, 'n'}) + conversation(1, 1, 0, 0, 1)),
            "model m;application n;" + before + "c 10 10 0 1;");
  EXPECT_EQ(parse(bytes({0})), "refused");
  EXPECT_EQ(parse(bytes({11})), "refused");
  for (const int hole : {0, 7, 0x0f, 0x16, 0x1f}) EXPECT_EQ(parse(bytes({3, 1, hole})), "refused");
  for (const int hole : {1, 6, 0x10, 0x15}) EXPECT_EQ(parse(bytes({3, 1, hole})), "form;");
  for (std::size_t n = 1; n < node.size(); ++n) {
    const std::string cut = parse(node.substr(0, n));
    EXPECT_TRUE(cut == "refused" || before.starts_with(cut)) << n;
  }
}

TEST(FormatRules, DictionariesOfBatches) {
  auto read = [](const Buffer& file, BatchHeader& header, Buffer& payload) {
    BatchPieces pieces;
    auto state = read_batch(file, 1, 0, 0, header, pieces);
    payload = pieces.body;
    return state;
  };
  BatchHeader h;
  Buffer frame;
  constexpr std::uint8_t kAll = kNewSection | kNewFrame | kDictionary;
  const Buffer file = encode_batch({.flags = kAll}, bytes({0xac, 0x02}) + "frame", 1, 0);
  const auto state = read(file, h, frame);
  ASSERT_TRUE(state);
  EXPECT_EQ(*state, BatchState::whole);
  EXPECT_EQ(h.dictionary, 300u);
  EXPECT_EQ(frame, "frame");
  EXPECT_EQ(h.payload_size, 7u) << "the number is part of it";
  auto code = [&](std::uint8_t flags, ByteView payload) {
    return read(encode_batch({.flags = flags}, payload, 1, 0), h, frame).code();
  };
  EXPECT_EQ(code(kAll, "\x05 frame"), Errc::ok);
  EXPECT_EQ(h.dictionary, 5u);
  EXPECT_EQ(code(kNewFrame | kDictionary, "\x05 frame"), Errc::corrupt) << "no new section";
  EXPECT_EQ(code(kDictionary, "\x05 frame"), Errc::corrupt) << "no new frame";
  EXPECT_EQ(code(kAll, bytes({0, 'f'})), Errc::corrupt) << "none is named";
  EXPECT_EQ(code(kAll, ""), Errc::corrupt);
  EXPECT_EQ(code(kAll, "\x80"), Errc::corrupt) << "the number is cut";
  EXPECT_EQ(code(kNewSection | kNewFrame, "\x05 frame"), Errc::ok);
  EXPECT_EQ(h.dictionary, 0u);
  EXPECT_EQ(frame, "\x05 frame");
  // Behind changes, of a header that can be believed alone.
  BatchChanges changes;
  changes.deleted.emplace_back();
  const Buffer both = encode_batch({.flags = kAll | kGuarded | kChanges},
                                   encode_changes(changes, 1, 0) + bytes({7}) + "frame", 1, 0);
  ASSERT_TRUE(read(both, h, frame));
  EXPECT_EQ(h.dictionary, 7u);
  EXPECT_EQ(frame, "frame");
  EXPECT_EQ(code(kAll | 128, "\x05 frame"), Errc::unsupported);
}

TEST(FormatRules, WhatIsTornBeforeABatchOfTheSameSyncIsNoDamage) {
  for (const bool same_sync : {true, false}) {
    Buffer file = encode_batch({.flags = kNewSection | kNewFrame}, "first", 1, 0);
    const std::uint64_t second = file.size();
    const auto flags = static_cast<std::uint8_t>(same_sync ? kSameSync : 0);
    file += encode_batch({.flags = flags, .sequence = 1}, "second", 1, second);
    file[second - 1] ^= 1;
    BatchHeader header;
    BatchPieces pieces;
    EXPECT_EQ(*read_batch(file, 1, 0, 0, header, pieces), BatchState::torn);
    EXPECT_EQ(*read_batch(file, 1, 0, second, header, pieces), BatchState::whole);
    std::uint64_t budget = search_budget(file);
    EXPECT_EQ(has_batch_after(file, 1, 0, budget), !same_sync);
  }
}

TEST(FormatRules, ASizeThatNoFrameGivesIsRefusedBeforeMemoryIsTaken) {
  const Buffer text(5'000'000, 'x');  // as small as frames get: a block of one repeated byte
  auto frame = zstd_compress(text, 3);
  ASSERT_TRUE(frame);
  Buffer out;
  ASSERT_TRUE(zstd_decompress(*frame, text.size(), out));
  EXPECT_EQ(out, text);
  const std::uint64_t absurd = std::uint64_t{1} << 60;
  EXPECT_EQ(zstd_decompress(*frame, absurd, out).code(), Errc::corrupt);
  auto decoder = StreamDecoder::make("");
  auto blocks = BlockDecoder::make("");
  ASSERT_TRUE(decoder && blocks);
  EXPECT_EQ((*decoder)->read(*frame, absurd, out).code(), Errc::corrupt);
  EXPECT_EQ((*blocks)->decode(*frame, absurd, out).code(), Errc::corrupt);
}

TEST(FormatRules, FormsAskForTheirSegments) {
  const FormInfo info =
      analyse_form("{\"a\":\x03,\"b\":\x01,\"c\":\x04,\"d\":\x06,\"e\":\x02}\x10\x15");
  ASSERT_EQ(info.ref_count(), 4u);
  EXPECT_EQ(info.stream_of(0), kByteStream);   // the inline values
  EXPECT_EQ(info.stream_of(1), kTokenStream);  // text
  EXPECT_EQ(info.stream_of(2), kByteStream);   // binary
  EXPECT_EQ(info.stream_of(3), kTokenStream);  // tokens
  EXPECT_EQ(analyse_form("{\"messages\":\x10,\"id\":\x11}").ref_count(), 0u);
  EXPECT_EQ(analyse_form("\x05").stream_of(0), kByteStream);
}

TEST(FormatRules, UsageIsSummedByModelApplicationAndDay) {
  Tables t;
  t.models.add("m");
  constexpr std::int64_t kDay = 86'400'000;
  for (const std::int64_t time : {std::int64_t{-1}, std::int64_t{0}, kDay - 1, kDay}) {
    Row row;
    row.model = 1;
    row.time_ms = time;
    row.tokens = 5;
    t.rows.push_back(row);
  }
  t.rows.back().model = 0;
  const auto usage = usage_of(t);
  ASSERT_EQ(usage.size(), 3u);
  EXPECT_TRUE(usage[0].model == 0 && usage[0].day == 1 && usage[0].conversations == 1);
  EXPECT_TRUE(usage[1].model == 1 && usage[1].day == -1 && usage[1].tokens == 5);
  EXPECT_TRUE(usage[2].model == 1 && usage[2].day == 0 && usage[2].conversations == 2 &&
              usage[2].tokens == 10);
  auto encoded = encode_usage(usage, 3);
  ASSERT_TRUE(encoded);
  auto back = decode_usage(*encoded, usage.size());
  ASSERT_TRUE(back);
  EXPECT_EQ((*back)[1].day, -1);
  EXPECT_FALSE(decode_usage(*encoded, usage.size() + 1));
  EXPECT_FALSE(decode_usage(*encoded + "x", usage.size()));
  // One day too many: then there is none.
  t.rows.clear();
  for (std::int64_t day = 0; day <= static_cast<std::int64_t>(kUsageEntriesMax); ++day) {
    Row row;
    row.time_ms = day * kDay;
    t.rows.push_back(row);
  }
  EXPECT_TRUE(usage_of(t).empty());
  t.rows.pop_back();
  EXPECT_EQ(usage_of(t).size(), kUsageEntriesMax);
}

}  // namespace
}  // namespace tokvault
