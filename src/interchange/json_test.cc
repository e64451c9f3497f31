#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "interchange/json_text.h"
#include "interchange/time_text.h"
#include "tests/conformance/temp_dir.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

Conversation read(std::string_view line) {
  JsonReader reader;
  auto conversation = reader.conversation(line);
  EXPECT_TRUE(conversation) << line << ": " << conversation.error().message();
  return conversation ? std::move(*conversation) : Conversation{};
}

std::string write(const Conversation& conversation) {
  auto json = to_json(conversation);
  EXPECT_TRUE(json) << json.error().message();
  return json ? *json : "";
}

std::string reason(std::string_view line) {
  JsonReader reader;
  auto conversation = reader.conversation(line);
  EXPECT_EQ(conversation.code(), Errc::invalid) << line;
  return conversation ? "" : std::string(conversation.error().message());
}

std::string message_reason(std::string_view json) {
  JsonReader reader;
  auto message = reader.message(json);
  EXPECT_EQ(message.code(), Errc::invalid) << json;
  return message ? "" : std::string(message.error().message());
}

Message read_message(std::string_view json) {
  JsonReader reader;
  auto message = reader.message(json);
  EXPECT_TRUE(message) << json << ": " << message.error().message();
  return message ? std::move(*message) : Message{};
}

TEST(JsonReader, SeparatesFormAndValues) {
  const Conversation c =
      read(R"({ "id":"a/1", "model":"m", "x":7, "messages":[ {"role":"user","content":"hi"} ] })");
  EXPECT_EQ(c.id, "a/1");
  EXPECT_EQ(c.model, "m");
  EXPECT_EQ(c.form, "{\"id\":\x11,\"model\":\x12,\"x\":\x04,\"messages\":\x10}");
  ASSERT_EQ(c.values.size(), 1u);
  EXPECT_EQ(c.values[0].bytes, "7");
  ASSERT_EQ(c.messages.size(), 1u);
  EXPECT_EQ(c.messages[0], Message::of_text("user", "hi"));
  EXPECT_EQ(write(c),
            R"({"id":"a/1","model":"m","x":7,"messages":[{"role":"user","content":"hi"}]})");
}

TEST(JsonReader, ChoosesHolesByKeyAndSize) {
  const std::string long_text(40, 'x');
  const std::string name(65, 'n');
  const Message m = read_message(
      R"({"role":"assistant","content":null,"refusal":false,"call_id":"c1","note":")" + long_text +
      R"(","name":")" + name +
      R"(","tool_calls":[{"type":"function","function":{"name":"f","arguments":"{}"}}]})");
  EXPECT_EQ(
      m.form,
      "{\"role\":\"assistant\",\"content\":null,\"refusal\":false,\"call_id\":\x03,\"note\":\x01,"
      "\"name\":\x01,\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
      "\"arguments\":\x01}}]}");
  ASSERT_EQ(m.values.size(), 4u);
  EXPECT_EQ(m.values[3].bytes, "{}");
}

// Base64, hexadecimal digits and ids are larger as tokens than as letters: from 64 letters on they
// are JSON of their own, and below stay strings. Text under any key is text.
TEST(JsonReader, WhatSaysNothingToATokenizerStaysLetters) {
  const std::string base64 =
      "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+"
      "M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
  const std::string digits = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
  const struct {
    std::string text;
    Hole hole;
  } cases[] = {
      {base64, Hole::json},
      {"data:image/png;base64," + base64, Hole::json},
      {"data:application/pdf;name=a.pdf;base64," + std::string(100, 'A'), Hole::json},
      {digits, Hole::json},
      {"sha256:" + digits, Hole::json},
      {"msg_" + digits.substr(0, 48), Hole::string},
      {"550e8400-e29b-41d4-a716-446655440000", Hole::string},
      {"c1", Hole::string},
      {"a sentence of words that is long enough to be a text", Hole::text},
      {"data:text/plain,words that are not in base64 at all", Hole::text},
      {"data:image/png;base64,and then \"words\" that are no base64", Hole::text},
      {"https://example.com/a/path/of/words/that/goes/on?and=on&on", Hole::text},
      {"/usr/share/doc/of/a/program/and/its/Examples/README.md", Hole::text},
      {"AVeryLongNameOfAClassThatIsWrittenInCamelCaseAndSoOnAndOnAndOnForEver", Hole::text},
      {"snake_case_names_are_words_as_well_even_the_long_ones_of_tests", Hole::text},
  };
  for (const auto& c : cases) {
    std::string line = "{\"url\":";
    ASSERT_TRUE(append_json_string(c.text, line));
    const Message m = read_message(line + "}");
    ASSERT_EQ(m.values.size(), 1u) << c.text;
    EXPECT_EQ(m.form, std::string("{\"url\":") + static_cast<char>(c.hole) + "}") << c.text;
    const auto json = to_json(m);
    ASSERT_TRUE(json);
    EXPECT_EQ(*json, line + "}");
    EXPECT_EQ(read_message(line.replace(2, 3, "text") + "}").form, "{\"text\":\x01}") << c.text;
  }
}

TEST(JsonReader, MessagesAreCounted) {
  std::string messages = "{}";
  for (std::size_t i = 1; i < kMessagesMax; ++i) messages += ",{}";
  JsonReader reader;
  EXPECT_TRUE(reader.conversation("{\"messages\":[" + messages + "]}"));
  const auto more = reader.conversation("{\"messages\":[" + messages + ",{}]}");
  EXPECT_EQ(more.code(), Errc::invalid);
  EXPECT_NE(more.error().message().find("at most 262144 messages"), std::string_view::npos);
}

// Refused as soon as there are too many, since each takes more memory than text.
TEST(JsonReader, ValuesAreCounted) {
  auto values = [](std::size_t count) {
    std::string text = "[null";
    for (std::size_t i = 0; i < count; ++i) text += ",0,null";
    return text + "]";
  };
  JsonReader reader;
  const std::string half = "{\"v\":" + values(kValuesMax / 4) + "}";
  const std::string messages = "\"messages\":[" + half + "," + half + "]";
  const std::string own = "\"v\":" + values(kValuesMax / 2);
  const auto most = reader.conversation("{" + own + "," + messages + "}");
  ASSERT_TRUE(most) << most.error().message();
  EXPECT_EQ(most->values.size(), kValuesMax / 2);
  const std::string more[] = {"{" + own + "," + messages + ",\"more\":0}",
                              "{\"more\":0," + messages + "," + own + "}",
                              "{\"messages\":[{\"v\":" + values(kValuesMax) + "},{\"v\":0}]}",
                              "{\"messages\":[{\"v\":" + values(kValuesMax + 1) + "}]}"};
  for (const std::string& line : more) {
    const auto refused = reader.conversation(line);
    ASSERT_EQ(refused.code(), Errc::invalid);
    EXPECT_NE(refused.error().message().find("at most 524288 values"), std::string_view::npos);
  }
  const auto early = reader.conversation("{\"v\":" + values(2 * kValuesMax) + "}");
  ASSERT_EQ(early.code(), Errc::invalid);
  const std::string_view message = early.error().message();
  const std::size_t at = message.find("at byte ");
  ASSERT_NE(at, std::string_view::npos);
  EXPECT_LT(std::stoul(std::string(message.substr(at + 8))), 8 * kValuesMax);  // of 14 * kValuesMax
}

TEST(JsonReader, ArraysOfNumbers) {
  // From eight on an array is one value; a content is from one on.
  EXPECT_EQ(read_message(R"({"content":[ 1, 2 ]})").form, "{\"content\":\x02}");
  EXPECT_EQ(read_message(R"({"content":[1,2.5]})").form, "{\"content\":[\x04,\x04]}");
  EXPECT_EQ(read_message(R"({"content":[]})").form, "{\"content\":[]}");
  EXPECT_EQ(read_message(R"({"ids":[1,2,3,4,5,6,7]})").values.size(), 7u);
  const Message tokens = read_message(R"({"ids":[0,1,2,3,4,5,6,4294967295]})");
  EXPECT_EQ(tokens.form, "{\"ids\":\x02}");
  EXPECT_EQ(tokens.values[0].tokens, (std::vector<Token>{0, 1, 2, 3, 4, 5, 6, 4294967295u}));
  for (const char* odd : {"4294967296", "-1", "1.0", "1e3", "-0"}) {
    const Message m = read_message("{\"ids\":[0 ,1,2,\t3,4,5,6," + std::string(odd) + "]}");
    EXPECT_EQ(m.form, "{\"ids\":\x05}") << odd;
    EXPECT_EQ(m.values[0].bytes, "[0,1,2,3,4,5,6," + std::string(odd) + "]");
  }
}

TEST(JsonReader, MembersThatAreNotStringsAreKept) {
  for (const char* line : {R"({"id":12,"messages":[]})", R"({"id":-1.50e3,"messages":[]})",
                           R"({"id":null,"model":["a"],"application":{"b":1},"messages":[]})",
                           R"({"id":"","model":"","application":"","messages":[]})"}) {
    EXPECT_EQ(write(read(line)), line);
  }
  EXPECT_EQ(read(R"({"id":12,"messages":[]})").id, "12");
  // A vault gives such a conversation an id; the line that comes out has none, as before.
  for (const char* line : {R"({"id":null,"messages":[]})", R"({"id":"","messages":[]})"}) {
    Conversation c = read(line);
    EXPECT_EQ(c.id, "");
    c.id = "made";
    EXPECT_EQ(write(c), line);
  }
}

TEST(JsonReader, IdsThatAreNone) {
  const auto why = [](const std::string& id) {
    auto read = JsonReader().conversation("{\"id\": " + id + ",\"messages\":[]}");
    EXPECT_EQ(read.code(), Errc::invalid) << id;
    return read ? std::string() : std::string(read.error().message());
  };
  for (const char* id : {"true", "false", "[]", "[1,2,3,4,5,6,7,8]", "{}", R"(["a"])"}) {
    EXPECT_EQ(why(id), "the id is neither a string nor a number, at byte 8");
  }
  EXPECT_EQ(why("-"), "not a JSON value, at byte 8");
}

TEST(JsonReader, Time) {
  struct Case {
    const char* fields;
    std::int64_t time_ms;
    char hole;
  };
  const Case cases[] = {
      {R"("created":1700000000)", 1'700'000'000'000, '\x14'},
      {R"("created_at":1700000000123)", 1'700'000'000'123, '\x15'},
      {R"("timestamp":1700000000.1239)", 1'700'000'000'124, '\x04'},
      {R"("timestamp":1.7e9)", 1'700'000'000'000, '\x04'},
      {R"("timestamp":-5)", -5000, '\x14'},
      {R"("created":"2024-05-15T15:00:00Z")", 1'715'785'200'000, '\x03'},
      {R"("created":0)", 0, '\x04'},
      {R"("created":-0)", 0, '\x04'},
      {R"("created":"2024-05-15 15:00")", 1'715'785'200'000, '\x03'},
      {R"("created_at":"2024-05-15T15:00:00.123456")", 1'715'785'200'123, '\x03'},
      {R"("timestamp":"2024-05-15")", 1'715'731'200'000, '\x03'},
      {R"("timestamp":"15.05.2024")", 0, '\x03'},
      {R"("created":99999999999999999999)", 0, '\x04'},
      {R"("created":1700000000000000000)", 0, '\x04'},  // nanoseconds: no time of ours
      {R"("created":1e400)", 0, '\x04'},
  };
  for (const Case& c : cases) {
    const std::string line = std::string("{") + c.fields + R"(,"messages":[]})";
    const Conversation conversation = read(line);
    EXPECT_EQ(conversation.time_ms, c.time_ms) << line;
    EXPECT_NE(conversation.form.find(c.hole), std::string::npos) << line;
    EXPECT_EQ(write(conversation), line);
  }
  // The preferred one of several, whatever their order; the others stay what they are.
  const char* several =
      R"({"timestamp":1,"a":2,"created_at":1600000000,"created":null,"b":3,"messages":[]})";
  const Conversation c = read(several);
  EXPECT_EQ(c.time_ms, 1'600'000'000'000);
  EXPECT_EQ(c.form,
            "{\"timestamp\":\x04,\"a\":\x04,\"created_at\":\x14,\"created\":null,\"b\":\x04,"
            "\"messages\":\x10}");
  EXPECT_EQ(write(c), several);
}

TEST(TimeText, Iso8601) {
  EXPECT_EQ(parse_iso8601("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(parse_iso8601("1969-12-31T23:59:59.999Z"), -1);
  EXPECT_EQ(parse_iso8601("2023-08-04 08:14:00+00:00"), 1'691'136'840'000);
  EXPECT_EQ(parse_iso8601("2023-08-04T10:14:00.5+0200"), 1'691'136'840'500);
  EXPECT_EQ(parse_iso8601("2023-08-04T05:44:00.123456789-02:30"), 1'691'136'840'123);
  EXPECT_EQ(parse_iso8601("2024-02-29T00:00:00+00"), 1'709'164'800'000);
  EXPECT_EQ(parse_iso8601("2023-08-04"), 1'691'107'200'000);
  EXPECT_EQ(parse_iso8601("2023-08-04T08:14"), 1'691'136'840'000);
  EXPECT_EQ(parse_iso8601("2023-08-04T08:14:00.5"), 1'691'136'840'500);
  EXPECT_EQ(parse_iso8601("2023-08-04T08:14Z"), 1'691'136'840'000);
  EXPECT_EQ(parse_iso8601("2016-12-31T23:59:60Z"), 1'483'228'800'000);  // a leap second
  for (const char* bad : {"", "2023-08-04T", "2023-08-04Z", "2023-02-29T08:14:00Z",
                          "2023-13-01T08:14:00Z", "2023-08-04T24:14:00Z", "2023-08-04T08:60:00Z",
                          "2023-08-04T08:14:00.Z", "2023-08-04T08:14:00+2", "2023-08-04T08:14:00Zx",
                          "23-08-04T08:14:00Z", "2023-08-04T08:14:00+25:00"}) {
    EXPECT_EQ(parse_iso8601(bad), std::nullopt) << bad;
  }
}

TEST(TimeText, Iso8601InItsOtherForms) {
  constexpr std::int64_t kNov21 = 1'795'219'200'000;  // 2026-11-21, a Saturday
  for (const char* day :
       {"2026-11-21", "20261121", "2026-325", "2026325", "2026-W47-6", "2026W476"}) {
    const std::string date = day;
    EXPECT_EQ(parse_iso8601(date), kNov21) << date;
    for (const char* ten :
         {"T10:00:00Z", "T100000Z", "T1000Z", "T10Z", "T10", " 10:00", "t1000z",
          "T09:59.999999999999", "T10:00,0", "T12+02", "T12:00+0200", "T053000.0-04:30"}) {
      const std::int64_t ms =
          std::string_view(ten) == "T09:59.999999999999" ? 35'999'999 : 36'000'000;
      EXPECT_EQ(parse_iso8601(date + ten), kNov21 + ms) << date << ten;
    }
    EXPECT_EQ(parse_iso8601(date + "T24:00:00Z"), kNov21 + 86'400'000) << date;
    EXPECT_EQ(parse_iso8601(date + "T24"), kNov21 + 86'400'000) << date;
    EXPECT_EQ(parse_iso8601(date + "T23:59:60"), kNov21 + 86'400'000) << date;
    EXPECT_EQ(parse_iso8601(date + "T2400.0+0100"), kNov21 + 23 * 3'600'000) << date;
    EXPECT_EQ(parse_iso8601(date + "T10.5"), kNov21 + 37'800'000) << date;
    EXPECT_EQ(parse_iso8601(date + "T10:30,25"), kNov21 + 37'815'000) << date;
    for (const char* bad : {"T",          "T1",           "T100",     "T10000",     "T24:00:01",
                            "T24:01",     "T24.5",        "T25",      "T24:00:60",  "T10:60",
                            "T10:00:61",  "T10:",         "T10:0000", "T1000:00",   "T10.",
                            "T10:00Z+01", "T10:00+",      "T10:00+1", "T10:00+01:", "T10:00+01:0",
                            "T10:00+24",  "T10:00+01:60", "-",        "-1",         "1",
                            "Z",          "X10"}) {
      EXPECT_EQ(parse_iso8601(date + bad), std::nullopt) << date << bad;
    }
  }
  // What is longer than a day is when it begins.
  EXPECT_EQ(parse_iso8601("2026"), parse_iso8601("2026-01-01"));
  EXPECT_EQ(parse_iso8601("2026-11"), parse_iso8601("2026-11-01"));
  EXPECT_EQ(parse_iso8601("2026-W47"), parse_iso8601("2026-11-16"));
  EXPECT_EQ(parse_iso8601("2026W47"), parse_iso8601("2026-11-16"));
  // Weeks of one year have days of another; leap years, and years of 53 weeks.
  EXPECT_EQ(parse_iso8601("2026-W01-1"), parse_iso8601("2025-12-29"));
  EXPECT_EQ(parse_iso8601("2020-W53-7"), parse_iso8601("2021-01-03"));
  EXPECT_EQ(parse_iso8601("2021-W01-1"), parse_iso8601("2021-01-04"));
  EXPECT_EQ(parse_iso8601("2024-366"), parse_iso8601("2024-12-31"));
  EXPECT_EQ(parse_iso8601("2000-060"), parse_iso8601("2000-02-29"));
  EXPECT_EQ(parse_iso8601("1900-060"), parse_iso8601("1900-03-01"));
  for (const char* bad :
       {"202611",         "2026-00",     "2026-13",    "2026-1",     "2026-11-",   "2026-11-00",
        "2026-11-31",     "2026-11-1",   "2026-1121",  "202611-21",  "20261131",   "20260229",
        "20261301",       "2026-000",    "2026-366",   "2024-367",   "2026000",    "2026366",
        "2026-W00",       "2026-W00-1",  "2025-W53",   "2025-W53-1", "2025W531",   "2026-W54-1",
        "2026-W47-0",     "2026-W47-8",  "2026W478",   "2026-W4",    "2026-W476",  "2026W47-6",
        "2026-W47-",      "2026-W",      "2026W",      "2026-",      "2026T10:00", "2026-11T10:00",
        "2026-W47T10:00", "12026-11-21", "1700000000", "+2026-11-21"}) {
    EXPECT_EQ(parse_iso8601(bad), std::nullopt) << bad;
  }
}

TEST(TimeText, AsPeopleWriteIt) {
  EXPECT_EQ(*parse_time_ms("2024-05-15"), 1'715'731'200'000);
  EXPECT_EQ(*parse_time_ms("2024-05-15T15:00"), 1'715'785'200'000);
  EXPECT_EQ(*parse_time_ms("2024-05-15 15:00:00.5"), 1'715'785'200'500);
  EXPECT_EQ(*parse_time_ms("2024-05-15T17:00+02:00"), 1'715'785'200'000);
  EXPECT_EQ(*parse_time_ms("20240515T15"), 1'715'785'200'000);
  EXPECT_EQ(*parse_time_ms("2024-05"), 1'714'521'600'000);
  EXPECT_EQ(*parse_time_ms("20240515"), 20'240'515'000);  // a number, not a date
  EXPECT_EQ(*parse_time_ms("1715785200"), 1'715'785'200'000);
  EXPECT_EQ(*parse_time_ms("1715785200123"), 1'715'785'200'123);
  for (const char* bad : {"", "yesterday", "2024-05-15T", "2024-05-15T1", "2024-5-15", "12 ", "1e9",
                          "9000000000000000000", "2024-05-15T15:00:"}) {
    EXPECT_EQ(parse_time_ms(bad).code(), Errc::invalid) << bad;
  }
  EXPECT_EQ(format_time_ms(1'715'785'200'000), "2024-05-15T15:00:00Z");
  EXPECT_EQ(format_time_ms(-1), "1969-12-31T23:59:59.999Z");
}

TEST(JsonReader, Strings) {
  const auto content = [](const std::string& raw) {
    return read_message("{\"content\":\"" + raw + "\"}").values.at(0).bytes;
  };
  EXPECT_EQ(content(R"(a\"\\\/\b\f\n\r\tz)"), "a\"\\/\b\f\n\r\tz");
  EXPECT_EQ(content(R"(\u0041\u00e9\u20AC\ud83d\ude00)"), "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(content(R"(\u0000)"), std::string(1, '\0'));
  // Lone surrogates, the second time before a pair.
  EXPECT_EQ(content(R"(\ud83d.)"), "\xed\xa0\xbd.");
  EXPECT_EQ(content(R"(\ud83d\ud83d\ude00)"), "\xed\xa0\xbd\xf0\x9f\x98\x80");
  EXPECT_EQ(content(R"(\ude00\ud83d)"), "\xed\xb8\x80\xed\xa0\xbd");
  EXPECT_EQ(content(R"(\ud83d\n)"), "\xed\xa0\xbd\n");
  // Each place of an escape and of the end within the eight bytes that are looked at together.
  for (std::size_t head = 0; head < 20; ++head) {
    for (std::size_t tail = 0; tail < 20; ++tail) {
      const std::string a(head, 'a'), b(tail, 'b');
      EXPECT_EQ(content(a + "\\n" + b + "\\\"" + b), a + "\n" + b + "\"" + b);
    }
  }
}

TEST(JsonReader, KeysAreComparedUnescaped) {
  const Conversation c = read(R"({"\u006dessages":[],"i\u0064":"x","\n\ud800":1})");
  EXPECT_EQ(c.id, "x");
  EXPECT_EQ(write(c), R"({"messages":[],"id":"x","\n\ud800":1})");
  EXPECT_NE(reason(R"({"messages":[],"a":1,"\u0061":2})").find("\"a\" stands twice"),
            std::string::npos);
  EXPECT_NE(reason(R"({"messages":[{"x":{"k":1,"k":1}}]})").find("\"k\" stands twice"),
            std::string::npos);
  // With so many keys that they are looked up in a table.
  std::string many = R"({"messages":[])";
  for (int i = 0; i < 100; ++i) many += ",\"k" + std::to_string(i) + "\":" + std::to_string(i);
  EXPECT_EQ(write(read(many + "}")), many + "}");
  EXPECT_NE(reason(many + ",\"k57\":0}").find("\"k57\" stands twice"), std::string::npos);
  EXPECT_NE(reason(many + ",\"messages\":[]}").find("\"messages\" stands twice"),
            std::string::npos);
}

TEST(JsonReader, RefusesWhatIsNotOneConversation) {
  EXPECT_EQ(reason(""), "not a JSON object");
  EXPECT_EQ(reason("[]"), "an array, where an object is expected: jq -c '.[]'");
  EXPECT_EQ(reason("1"), "not a JSON object");
  EXPECT_EQ(reason("\xff{}"), "not valid UTF-8");
  EXPECT_EQ(reason("{\"messages\":[],\"a\":\"\xed\xa0\x80\"}"), "not valid UTF-8");
  for (const char* object : {"{}", "{} ", R"({"id":"a","x":{"messages":[]}})"}) {
    EXPECT_EQ(reason(object),
              R"(the object has no "messages", such as [{"role":"user","content":"Hello"}])");
  }
  for (const char* line :
       {"{", "{ ", R"({"id")", R"({"id":)", R"({"id": 1)", R"({"id":"a",)", R"({"messages":)",
        R"({"messages": [)", R"({"messages":[{})", R"({"messages":[],"x":[1)",
        R"({"messages":[{"content":[1],"token_arrays":{"p":{"u8":"AQ=="})"}) {
    EXPECT_EQ(reason(line), "the object does not end on this line: one object a line (jq -c .)")
        << line;
  }
  // What is wrong is something else.
  EXPECT_EQ(reason(R"({"messages":[],)"
                   "}"),
            "expected a key, at byte 16");
  EXPECT_EQ(reason(R"({"messages":[]} {)"), "something follows the object, at byte 17");
  auto arrays = JsonReader().message(R"({"content":[1],"token_arrays":{"p":{"u8":"AQI="}}})");
  ASSERT_EQ(arrays.code(), Errc::invalid);
  EXPECT_EQ(arrays.error().message(), "token array \"p\" has 2 elements for 1 tokens, at byte 51");
  EXPECT_EQ(reason(R"({"messages":{}})"), "messages is not an array, at byte 13");
  EXPECT_EQ(reason(R"({"messages":["a"]})"), "a message is not an object, at byte 14");
  EXPECT_EQ(reason(R"({"messages":[]} x)"), "something follows the object, at byte 17");
  for (const char* value : {"NaN",
                            "Infinity",
                            "-",
                            "01",
                            "+1",
                            "1.",
                            ".5",
                            "1e",
                            "1e+",
                            "tru",
                            "nul",
                            "'a'",
                            "\"a",
                            "\"\\x\"",
                            "\"\\u12g4\"",
                            "\"\\u123",
                            "\"\\",
                            "[1",
                            "[1,",
                            "[1,]",
                            "[,]",
                            "{",
                            "{\"a\"",
                            "{\"a\":",
                            "{\"a\":1",
                            "{\"a\":1,",
                            "{\"a\":1,}",
                            "{a:1}",
                            "{1:1}",
                            "\"a\tb\"",
                            "\"a\nb\"",
                            "",
                            ",",
                            "[1 2]",
                            "{\"a\":1 \"b\":2}",
                            "[1,2,3,4,5,6,7,8,]",
                            "[1,2,3,4,5,6,7,08]"}) {
    EXPECT_NE(reason("{\"messages\":[],\"a\":" + std::string(value) + "}"), "") << value;
    EXPECT_NE(reason("{\"messages\":[],\"a\":" + std::string(value)), "") << value;
    EXPECT_NE(message_reason("{\"a\":" + std::string(value) + "}"), "") << value;
  }
  EXPECT_NE(reason(std::string("{\"messages\":[],\"a\":\"\0\"}", 23)), "");
}

TEST(JsonReader, Depth) {
  const auto nested = [](int depth) {  // the outermost object counts
    return "{\"messages\":[],\"a\":" + std::string(static_cast<std::size_t>(depth - 1), '[') + "1" +
           std::string(static_cast<std::size_t>(depth - 1), ']') + "}";
  };
  EXPECT_EQ(write(read(nested(128))), nested(128));
  EXPECT_NE(reason(nested(129)).find("nested too deeply"), std::string::npos);
  EXPECT_NE(reason(std::string(1'000'000, '[')), "");
  EXPECT_NE(reason("{\"messages\":" + std::string(1'000'000, '[')), "");
}

TEST(JsonReader, TokenArrays) {
  const char* line =
      R"({"content":[5,6],"token_arrays":{"p":{"f32":"AACAPwAAAEA="},"mask":{"u8":"AAE="}}})";
  const Message m = read_message(line);
  EXPECT_EQ(m.form,
            "{\"content\":\x02,\"token_arrays\":{\"p\":{\"f32\":\x06},\"mask\":{\"u8\":\x06}}}");
  auto arrays = m.token_arrays();
  ASSERT_TRUE(arrays);
  ASSERT_EQ(arrays->size(), 2u);
  EXPECT_EQ((*arrays)[0].name, "p");
  EXPECT_EQ((*arrays)[0].type, TokenArray::Type::f32);
  EXPECT_EQ((*arrays)[0].bytes, std::string("\0\0\x80\x3f\0\0\0\x40", 8));
  EXPECT_EQ((*arrays)[1].bytes, std::string("\0\1", 2));
  EXPECT_EQ(*to_json(m), line);
  EXPECT_EQ(*Message::of_tokens("r", {{5, 6}}, *arrays)->token_arrays(), *arrays);

  // The right shape and the wrong length, wherever the content stands.
  EXPECT_NE(message_reason(R"({"content":[5,6],"token_arrays":{"m":{"u8":"AA=="}}})"), "");
  EXPECT_NE(message_reason(R"({"token_arrays":{"m":{"u8":"AA=="}},"content":[5,6]})"), "");
  EXPECT_NE(message_reason(R"({"content":[],"token_arrays":{"m":{"u8":"AA=="}}})"), "");
  // Any other shape is ordinary JSON, and so is what stands beside no token ids.
  for (const char* other :
       {R"({"content":[5,6],"token_arrays":{"m":{"u8":"AB=="}}})",
        R"({"content":[5,6],"token_arrays":{"m":{"u8":"AA"}}})",
        R"({"content":[5,6],"token_arrays":{"m":{"u8":"AA==","i32":""}}})",
        R"({"content":[5,6],"token_arrays":{"m":{"f64":"AA=="}}})",
        R"({"content":[5,6],"token_arrays":{"m":{"u8":"AAE="},"n":{}}})",
        R"({"content":[5,6],"token_arrays":{"m":{"u8":"AAE="},"n":3}})",
        R"({"content":[5,6],"token_arrays":{}})", R"({"content":[5,6],"token_arrays":[1]})",
        R"({"content":[5,6],"x":{"token_arrays":{"m":{"u8":"AA=="}}}})",
        R"({"content":"x","token_arrays":{"m":{"u8":"AA=="}}})",
        R"({"token_arrays":{"m":{"f32":"AA=="}},"content":"x"})",
        R"({"token_arrays":{"m":{"u8":"AA=="},"n":{"u8":"AA=="}},"ids":[5]})",
        R"({"content":[1.5],"token_arrays":{"m":{"u8":"AA=="}}})"}) {
    const Message message = read_message(other);
    EXPECT_EQ(message.form.find('\x06'), std::string::npos) << other;
    EXPECT_EQ(*to_json(message), other);
    EXPECT_TRUE(message.token_arrays()->empty());
  }
  EXPECT_NE(message_reason(R"({"token_arrays":{"m":{"u8":"AA=="},"m":{"u8":"AA=="}}})"), "");
}

TEST(Base64, IsStrict) {
  std::string bytes;
  for (const char* good : {"", "AA==", "AAA=", "AAAA", "+/+/", "Zm9vYmFy", "Zg=="}) {
    ASSERT_TRUE(json::decode_base64(good, bytes)) << good;
    std::string again;
    json::append_base64(bytes, again);
    EXPECT_EQ(again, good);
  }
  for (const char* bad : {"A", "AA", "AAA", "AB==", "AAB=", "A===", "====", "=AAA", "AA=A",
                          "A A=", "AA==AA==", "-_-_", "AAAA\n"}) {
    EXPECT_FALSE(json::decode_base64(bad, bytes)) << bad;
  }
}

TEST(Message, Constructors) {
  EXPECT_EQ(Message::of_text("user", "a\nb"), read_message(R"({"role":"user","content":"a\nb"})"));
  const std::string long_role(100, 'r');
  EXPECT_EQ(Message::of_text(long_role, ""),
            read_message("{\"role\":\"" + long_role + "\",\"content\":\"\"}"));
  EXPECT_EQ(Message::of_text(long_role, "").role(), long_role);
  const Token tokens[] = {1, 2, 3};
  EXPECT_EQ(*Message::of_tokens("user", tokens),
            read_message(R"({"role":"user","content":[1,2,3]})"));
  EXPECT_EQ(*Message::of_tokens("user", {}), read_message(R"({"role":"user","content":[]})"));
  EXPECT_EQ(Message::of_tokens("user", tokens, {{"a", TokenArray::Type::u8, "12"}}).code(),
            Errc::invalid);
  EXPECT_EQ(
      Message::of_tokens("user", tokens,
                         {{"a", TokenArray::Type::u8, "123"}, {"a", TokenArray::Type::u8, "123"}})
          .code(),
      Errc::invalid);
  EXPECT_EQ(Message::of_tokens("user", tokens, {{"\xff", TokenArray::Type::u8, "123"}}).code(),
            Errc::invalid);
  const std::vector<TokenArray> arrays = {{"a\n\"b", TokenArray::Type::i32, "123412341234"}};
  EXPECT_EQ(*Message::of_tokens("user", tokens, arrays)->token_arrays(), arrays);
  // A role that is not text can be stored, and is refused where JSON is asked for.
  EXPECT_TRUE(Message::of_text("\xff", "x").check());
  EXPECT_EQ(to_json(Message::of_text("\xff", "x")).code(), Errc::invalid);
}

TEST(Message, RoleAndText) {
  EXPECT_EQ(read_message(R"({"role":"a\n\"b","content":"x"})").role(), "a\n\"b");
  EXPECT_EQ(read_message(R"({"content":"x"})").role(), "");
  EXPECT_EQ(read_message(R"({"role":7})").role(), "");
  EXPECT_EQ(read_message(R"({"a":{"role":"no"}})").role(), "");
  EXPECT_EQ(read_message(R"({"role":"user","content":"one"})").text(), "one");
  EXPECT_EQ(read_message(R"({"content":null})").text(), "");
  EXPECT_EQ(read_message(R"({"content":[7,8]})").text(), "");
  EXPECT_EQ(read_message(R"({"content":[{"type":"text","text":"a"},"b",{"type":"image","url":"u"},)"
                         R"({"type":"text","text":"c"}],"text":"no"})")
                .text(),
            "abc");
}

TEST(ToJson, RefusesMalformedForms) {
  const Value text{"x", {}};
  const Value tokens{{}, {1}};
  const std::pair<const char*, std::vector<Value>> bad[] = {
      {"", {}},
      {"{", {}},
      {"{}x", {}},
      {"[]", {}},
      {"\x01", {text}},
      {"{\"a\":\x01}", {}},
      {"{\"a\":\x01}", {text, text}},
      {"{\"a\":\x07}", {text}},
      {"{\"a\":\x10}", {}},
      {"{\x01:1}", {text}},
      {"{\"a\x01\":1}", {text}},
      {"{\"a\":1,\"a\":2}", {}},
      {"{ \"a\":1}", {}},
      {"{\"a\":\"\\u0041\"}", {}},  // escaped as JsonReader never does
      {"{\"a\":\x02}", {text}},
      {"{\"a\":\x01}", {tokens}},
      {"{\"a\":\x04}", {text}},
      {"{\"a\":\x05}", {{"[1, 2]", {}}}},
      {"{\"a\":\x05}", {{"1,\"b\":2", {}}}},
      {"{\"a\":\x05}", {{"", {}}}},
      {"{\"a\":01}", {}},
      {"{\"a\":\"\xff\"}", {}},
  };
  for (const auto& [form, values] : bad) {
    const Message message{form, values};
    EXPECT_EQ(message.check().code(), Errc::invalid) << form;
    EXPECT_EQ(to_json(message).code(), Errc::invalid) << form;
  }
  Conversation c;
  c.form = "{\"id\":\x11}";
  EXPECT_EQ(to_json(c).code(), Errc::invalid);  // no place for messages
  c.form = "{\"a\":{\"b\":\x10}}";
  EXPECT_EQ(to_json(c).code(), Errc::invalid);
  c.form = "{\"t\":\x14,\"messages\":\x10}";
  c.time_ms = 1001;
  EXPECT_EQ(to_json(c).code(), Errc::invalid);
  c.form = "";
  c.values = {text};
  EXPECT_EQ(to_json(c).code(), Errc::invalid);
}

TEST(ToJson, DefaultForm) {
  Conversation c;
  EXPECT_EQ(write(c), R"({"messages":[]})");
  c.id = "i\n";
  c.application = "a";
  c.messages = {Message::of_text("user", "x"), Message::of_text("assistant", "y")};
  EXPECT_EQ(write(c), R"({"id":"i\n","application":"a","messages":[{"role":"user","content":"x"},)"
                      R"({"role":"assistant","content":"y"}]})");
}

TEST(AppendJsonString, Surrogates) {
  const auto json = [](std::string_view text) {
    std::string out;
    return append_json_string(text, out) ? out : "invalid";
  };
  EXPECT_EQ(json("\x7f/\xc3\xa9"), "\"\x7f/\xc3\xa9\"");
  EXPECT_EQ(json("\x01\x1f\n"), "\"\\u0001\\u001f\\n\"");
  EXPECT_EQ(json("a\xed\xa0\xbd"), "\"a\\ud83d\"");
  EXPECT_EQ(json("\xed\x9f\xbf\xed\xb8\x80\"\xed\x80\x80"),
            "\"\xed\x9f\xbf\\ude00\\\"\xed\x80\x80\"");
  EXPECT_EQ(json("\xed\xb8\x80\xed\xa0\xbd"), "\"\\ude00\\ud83d\"");
  // Written one after the other these two would be read as one character.
  EXPECT_EQ(json("\xed\xa0\xbd\xed\xb8\x80"), "invalid");
  for (const char* bad : {"\xff", "\xc0\x80", "\xed\xa0", "a\xed\xa0\xbd\xed", "\xf4\x90\x80\x80",
                          "\xed\xa0\xbd\x80"}) {
    EXPECT_EQ(json(bad), "invalid");
  }
}

// Random JSON: `source` is written in some way, `canonical` in the one way that is written back.
class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  void conversation() {
    open('{');
    const std::size_t fields = below(5);
    const std::size_t place = below(fields + 1);
    for (std::size_t i = 0; i <= fields; ++i) {
      if (i > 0) both(',');
      if (i == place) {
        both("\"messages\":");
        open('[');
        const std::size_t messages = below(4);
        for (std::size_t k = 0; k < messages; ++k) {
          if (k > 0) both(',');
          object(3);
        }
        both(']');
      } else {
        key(i) == "id" ? id() : value(1);
      }
    }
    both('}');
  }

  std::string source;
  std::string canonical;

 private:
  std::size_t below(std::size_t limit) { return random_() % limit; }
  void space() {
    while (below(6) == 0) source.push_back(" \n\r\t"[below(4)]);
  }
  void both(std::string_view text) {
    space();
    source += text;
    canonical += text;
    space();
  }
  void both(char c) { both(std::string_view(&c, 1)); }
  void open(char c) { both(c); }

  // What an id may be.
  void id() {
    switch (below(3)) {
      case 0:
        return both("null");
      case 1:
        return both(number());
      default:
        return string("i");
    }
  }

  std::string_view key(std::size_t index) {
    static constexpr const char* kKnown[] = {"id",        "model", "application", "created",
                                             "timestamp", "role",  "content",     "name",
                                             "arguments", "x"};
    // The index makes it different from the others of the same object.
    const char* known = "";
    if (below(2) == 0) {
      known = kKnown[(index * 2 + below(2)) % 10];
      both('"' + std::string(known) + '"');
    } else {
      string(std::to_string(index));
    }
    both(':');
    return known;
  }

  void value(int depth) {
    switch (below(depth > 8 ? 4 : 7)) {
      case 0:
        static constexpr const char* kLiterals[] = {"true", "false", "null"};
        return both(kLiterals[below(3)]);
      case 1:
        return both(number());
      case 2:
      case 3:
        return string("");
      case 4:
        return object(depth + 1);
      default:
        both('[');
        const std::size_t count = below(12);
        const bool numbers = below(2) == 0;
        for (std::size_t i = 0; i < count; ++i) {
          if (i > 0) both(',');
          numbers ? both(number()) : value(depth + 1);
        }
        return both(']');
    }
  }

  void object(int depth) {
    both('{');
    const std::size_t count = below(5);
    for (std::size_t i = 0; i < count; ++i) {
      if (i > 0) both(',');
      key(i);
      value(depth + 1);
    }
    both('}');
  }

  std::string number() {
    static constexpr const char* kOdd[] = {"-0",
                                           "1.0",
                                           "1e400",
                                           "10000000000000000000000",
                                           "0e-0",
                                           "1E+2",
                                           "-0.000000000000000000000000001",
                                           "4294967295",
                                           "4294967296",
                                           "1700000000"};
    return below(3) == 0 ? kOdd[below(10)] : std::to_string(random_() % 100000);
  }

  void string(std::string_view prefix) {
    space();
    const std::string start(1, '"');
    source += start + std::string(prefix);
    canonical += start + std::string(prefix);
    std::size_t count = below(4) == 0 ? below(200) : below(12);
    bool after_high = false;
    while (count-- > 0) {
      static constexpr unsigned kLimits[] = {0x20, 0x80, 0x80, 0x80, 0x800, 0x10000, 0x110000};
      unsigned c = static_cast<unsigned>(below(kLimits[below(7)]));
      if (below(20) == 0) c = 0xd800 + static_cast<unsigned>(below(0x800));
      if (after_high && c >= 0xdc00 && c < 0xe000) c = 'x';
      after_high = c >= 0xd800 && c < 0xdc00;
      character(c);
    }
    source.push_back('"');
    canonical.push_back('"');
    space();
  }

  void character(unsigned c) {
    static constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
    static constexpr std::string_view kLetters = "\"\\bfnrt";
    const std::size_t place = c < 0x80 ? kShort.find(static_cast<char>(c)) : std::string::npos;
    const bool is_surrogate = c >= 0xd800 && c < 0xe000;
    if (place != std::string::npos) {
      const std::string escape = {'\\', kLetters[place]};
      canonical += escape;
      source += below(2) == 0 ? escape : escaped(c, true);
    } else if (c < 0x20 || is_surrogate) {
      canonical += escaped(c, false);
      source += escaped(c, true);
    } else {
      const std::string raw = utf8(c);
      canonical += raw;
      source += below(4) == 0 ? escaped(c, true) : c == '/' && below(2) == 0 ? "\\/" : raw;
    }
  }
  std::string escaped(unsigned c, bool any_case) {
    if (c >= 0x10000) {
      c -= 0x10000;
      return escaped(0xd800 + (c >> 10), any_case) + escaped(0xdc00 + (c & 0x3ff), any_case);
    }
    char text[8];
    std::snprintf(text, sizeof text, any_case && below(2) == 0 ? "\\u%04X" : "\\u%04x", c);
    return text;
  }
  static std::string utf8(unsigned c) {
    const auto byte = [](unsigned v) { return static_cast<char>(v); };
    if (c < 0x80) return {byte(c)};
    if (c < 0x800) return {byte(0xc0 | c >> 6), byte(0x80 | (c & 63))};
    if (c < 0x10000) {
      return {byte(0xe0 | c >> 12), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
    }
    return {byte(0xf0 | c >> 18), byte(0x80 | (c >> 12 & 63)), byte(0x80 | (c >> 6 & 63)),
            byte(0x80 | (c & 63))};
  }

  std::mt19937 random_;
};

TEST(Json, RandomConversationsComeBackAsTheyWere) {
  JsonReader reader;
  const std::uint64_t first = test_seed();
  const std::uint64_t count = std::getenv("TOKVAULT_LONG") != nullptr ? 100'000 : 4000;
  for (std::uint64_t seed = first; seed - first < count; ++seed) {
    Generator generator(static_cast<unsigned>(seed));
    generator.conversation();
    auto conversation = reader.conversation(generator.source);
    ASSERT_TRUE(conversation) << "seed " << seed << ": " << conversation.error().message() << "\n"
                              << generator.source;
    auto json = to_json(*conversation);
    ASSERT_TRUE(json) << "seed " << seed << ": " << json.error().message();
    ASSERT_EQ(*json, generator.canonical) << "seed " << seed;
    // Written in another way, it is the same.
    auto again = reader.conversation(*json);
    ASSERT_TRUE(again);
    ASSERT_EQ(*again, *conversation) << "seed " << seed;
    for (const Message& message : conversation->messages) {
      for (char c : message.form) {
        ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 || is_value_hole(c));
      }
    }
  }
}

TEST(Json, EveryTruncationIsRefusedAndNoChangedByteIsFatal) {
  const std::string line =
      R"({"id":"\u00e9","t":[1,2,3,4,5,6,7,8],"messages":[{"role":"u","content":"\ud83d\ude00 x"},)"
      R"({"content":[5,6],"token_arrays":{"m":{"u8":"AAE="}},"n":null,"f":-1.5e-3}],"created":17})";
  JsonReader reader;
  ASSERT_TRUE(reader.conversation(line));
  for (std::size_t size = 0; size < line.size(); ++size) {
    // A copy of its own, so that reading past the end is seen by the sanitizers.
    const std::string part = line.substr(0, size);
    EXPECT_EQ(reader.conversation(part).code(), Errc::invalid) << part;
  }
  for (std::size_t i = 0; i < line.size(); ++i) {
    for (char c : {'"', '\\', '{', '}', '[', ']', ',', ':', '0', 'u', '\0', '\x01', '\xff'}) {
      std::string changed = line;
      changed[i] = c;
      auto conversation = reader.conversation(changed);
      if (!conversation) continue;
      auto json = to_json(*conversation);
      ASSERT_TRUE(json) << changed;
      EXPECT_EQ(*reader.conversation(*json), *conversation) << changed;
    }
  }
}

}  // namespace
}  // namespace tokvault
