// What one pack may hold bounds conversations, batches and logs: nothing is taken in that could not
// be sealed, and what is refused is refused alone. Options and arguments that make no sense are
// refused at once.
#include <gtest/gtest.h>

#include <string>

#include "tests/conformance/temp_dir.h"
#include "tests/vault/harness.h"
#include "tokvault/directory.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

// Chains of messages that differ from the first one on: nothing is shared.
Conversation chain(const std::string& id, std::size_t messages) {
  Conversation c;
  c.id = id;
  c.time_ms = 1'700'000'000'000;
  c.messages.assign(messages, Message::of_text("user", "x"));
  if (!c.messages.empty()) c.messages[0] = Message::of_text("user", id);
  return c;
}

class Limits : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_vault(path_, {.tokenizer = "bytes"}));
    auto vault = open_vault(path_, {.level = Level::fast});
    ASSERT_TRUE(vault);
    vault_ = std::move(*vault);
  }
  void expect_there(const std::string& id, std::size_t messages) const {
    const auto c = vault_->get(id);
    ASSERT_TRUE(c) << id << ": " << c.error().message();
    EXPECT_TRUE(*c == chain(id, messages) || c->messages == chain(id, messages).messages) << id;
  }
  TempDir dir_;
  const std::string path_ = dir_.path() + "/v";
  std::unique_ptr<Vault> vault_;
};

TEST_F(Limits, AConversationOfTooManyMessagesOrValues) {
  EXPECT_EQ(vault_->put(chain("more", kMessagesMax + 1), {}).code(), Errc::exhausted);
  EXPECT_TRUE(vault_->put(chain("most", kMessagesMax), {}));
  Conversation values = chain("values", 1);
  values.messages[0].form = R"({"c":[)";
  for (std::size_t i = 0; i <= kValuesMax; ++i) {
    values.messages[0].form += i == 0 ? "\x04" : ",\x04";
    values.messages[0].values.push_back({"1"});
  }
  values.messages[0].form += "]}";
  EXPECT_EQ(vault_->put(values, {}).code(), Errc::exhausted);
  expect_there("most", kMessagesMax);
  EXPECT_EQ(vault_->get("more").code(), Errc::not_found);
}

TEST_F(Limits, ATimeOutsideTheYearsOneTo9999) {
  Conversation c = chain("time", 1);
  for (const std::int64_t wrong : {INT64_MIN, INT64_MAX, std::int64_t{-62'135'596'800'001},
                                   std::int64_t{253'402'300'800'000}}) {
    c.time_ms = wrong;
    EXPECT_EQ(vault_->put(c, {}).code(), Errc::invalid) << wrong;
  }
  for (const std::int64_t right :
       {std::int64_t{-62'135'596'800'000}, std::int64_t{253'402'300'799'999}}) {
    c.id = std::to_string(right);
    c.time_ms = right;
    EXPECT_TRUE(vault_->put(c, {})) << right;
  }
  const auto page = vault_->list({}, 10);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->conversations.size(), 2u);
}

// What could not be written as JSON again is refused before it is stored; a lone surrogate can be.
TEST_F(Limits, ANameThatIsNoText) {
  const std::string surrogate = "a\xed\xa0\xbd";
  for (const std::string bad : {"\xff", "a\xc3", "\xed\xa0\xbd\xed\xb8\x80"}) {
    Conversation c = chain("id", 1);
    std::string Conversation::* const names[] = {&Conversation::id, &Conversation::model,
                                                 &Conversation::application};
    for (std::string Conversation::* const name : names) {
      Conversation odd = c;
      odd.*name = bad;
      EXPECT_EQ(vault_->put(odd, {}).code(), Errc::invalid);
      EXPECT_EQ(to_json(odd).code(), Errc::invalid);
      const std::vector<Conversation> both{odd, chain("beside", 1)};
      const auto results = vault_->put_batch(both, {}, nullptr);
      ASSERT_TRUE(results);
      EXPECT_EQ((*results)[0].code(), Errc::invalid);
      EXPECT_TRUE((*results)[1]);
    }
    EXPECT_EQ(vault_->put(c, {.tenant = bad}).code(), Errc::invalid);
    ASSERT_TRUE(vault_->put(c, {}));
    EXPECT_EQ(vault_->tag(std::vector{c.id}, std::vector{bad}, {}).code(), Errc::invalid);
    const Segment segment = Segment::of_bytes(std::string(96, 'x'));
    EXPECT_EQ(vault_->put_segments({&segment, 1}, {.holder = bad}).code(), Errc::invalid);
    ASSERT_TRUE(vault_->put_segments({&segment, 1}));
    EXPECT_EQ(vault_->hold_segments(std::vector{segment.id()}, {.holder = bad}).code(),
              Errc::invalid);
  }
  Conversation c = chain(surrogate, 1);
  c.model = c.application = surrogate;
  ASSERT_TRUE(vault_->put(c, {.tenant = surrogate}));
  ASSERT_TRUE(vault_->tag(std::vector{c.id}, std::vector{surrogate}, {}, surrogate));
  const auto back = vault_->get(c.id, surrogate);
  ASSERT_TRUE(back);
  EXPECT_TRUE(to_json(*back));
  EXPECT_EQ(vault_->tenants()->size(), 2u);
}

// A log is sealed when its tables are half of a pack's; what comes in one batch has the other half.
TEST_F(Limits, ABatchBringsNoMoreThanOnePackHolds) {
  constexpr std::size_t kMessages = 250'000;
  constexpr std::size_t kFit = (std::size_t{1} << 21) / kMessages;  // kTableSizeMax.nodes
  std::vector<Conversation> batch;
  for (std::size_t i = 0; i < kFit + 2; ++i) {
    batch.push_back(chain("c" + std::to_string(i), i == kFit + 1 ? 5 : kMessages));
  }
  auto results = vault_->put_batch(batch, {}, nullptr);
  ASSERT_TRUE(results);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    EXPECT_EQ((*results)[i].code(), i == kFit ? Errc::exhausted : Errc::ok) << i;
  }
  ASSERT_TRUE(vault_->flush());
  ASSERT_TRUE(vault_->seal());
  EXPECT_EQ(vault_->stats()->packs, 1u);
  expect_there("c0", kMessages);
  expect_there("c" + std::to_string(kFit - 1), kMessages);
  expect_there("c" + std::to_string(kFit + 1), 5);
  // By itself there is room for it: in the next log.
  EXPECT_TRUE(vault_->put(batch[kFit], {}));
  expect_there("c" + std::to_string(kFit), kMessages);
}

// A refused conversation is refused alone, also among those that wait together.
TEST_F(Limits, WhatPutAsyncRefusesTakesNothingElseAlong) {
  EXPECT_TRUE(vault_->put_async(chain("before", 3), {}));
  EXPECT_EQ(vault_->put_async(chain("tenant", 3), {.tenant = "\xff"}).code(), Errc::invalid);
  EXPECT_EQ(vault_->put_async(chain("long", 3), {.tenant = std::string(256, 't')}).code(),
            Errc::invalid);
  EXPECT_EQ(vault_->put_async(chain("more", kMessagesMax + 1), {}).code(), Errc::exhausted);
  Conversation late = chain("time", 1);
  late.time_ms = INT64_MAX;
  EXPECT_EQ(vault_->put_async(late, {}).code(), Errc::invalid);
  // Only the vault knows that this one cannot be.
  EXPECT_TRUE(vault_->put(chain("other", 1), {}));
  Conversation other = chain("other", 2);
  EXPECT_TRUE(vault_->put_async(other, {}));
  EXPECT_TRUE(vault_->put_async(chain("after", 3), {}));
  EXPECT_TRUE(vault_->put_async(chain("elsewhere", 3), {.tenant = "acme"}));
  const Status refused = vault_->flush();
  EXPECT_EQ(refused.code(), Errc::exists);
  EXPECT_NE(refused.error().message().find("other"), std::string::npos);
  EXPECT_TRUE(vault_->flush());
  expect_there("before", 3);
  expect_there("after", 3);
  expect_there("other", 1);
  EXPECT_TRUE(vault_->get("elsewhere", "acme"));
  EXPECT_EQ(vault_->list({}, 10)->conversations.size(), 3u);
  EXPECT_EQ(vault_->tenants()->size(), 2u);
}

// What put_async() holds in memory is bounded by bytes too.
TEST_F(Limits, WhatWaitsIsWrittenWhenItIsMuch) {
  const auto put = [&](const std::string& id) {
    Conversation c = chain(id, 2);
    c.messages[1].values.at(0).bytes.assign(std::size_t{24} << 20, 'x');
    EXPECT_TRUE(vault_->put_async(std::move(c), {}));
    return vault_->list({}, 10)->conversations.size();
  };
  EXPECT_EQ(put("a"), 0u);
  EXPECT_EQ(put("b"), 0u);
  EXPECT_EQ(put("c"), 3u);
  EXPECT_EQ(put("d"), 3u);
  EXPECT_TRUE(vault_->flush());
  EXPECT_EQ(vault_->list({}, 10)->conversations.size(), 4u);
}

// What a segment may be at most, whatever a conversation may be.
TEST_F(Limits, ASegmentOfTooManyBytes) {
  vault_.reset();
  auto vault = open_vault(path_, {.conversation_bytes_max = std::uint64_t{1} << 40});
  ASSERT_TRUE(vault);
  Segment segment;
  segment.kind = SegmentKind::bytes;
  segment.bytes.resize((std::size_t{1} << 29) + 1);
  EXPECT_EQ((*vault)->put_segments({&segment, 1}).code(), Errc::exhausted);
  Conversation c = chain("large", 1);
  c.messages[0].values.at(0).bytes = std::move(segment.bytes);
  EXPECT_EQ((*vault)->put(c, {}).code(), Errc::exhausted);
  EXPECT_TRUE((*vault)->put(chain("small", 1), {}));
}

// As for conversations: a call has the other half of what a pack holds, and is refused whole.
TEST_F(Limits, ACallBringsNoMoreSegmentsThanOnePackHolds) {
  std::vector<Segment> segments((std::size_t{1} << 21) + 1,
                                Segment::of_bytes(std::string(96, 'x')));
  EXPECT_EQ(vault_->put_segments(segments).code(), Errc::exhausted);
  EXPECT_EQ(vault_->get_segments(std::vector{segments[0].id()})->at(0).code(), Errc::not_found);
  segments.resize(2);
  EXPECT_TRUE(vault_->put_segments(segments));
}

// Of what is refused, and of nothing, no tenant is made; the progress of an import is kept.
TEST_F(Limits, WhatIsRefusedMakesNoTenant) {
  Conversation bad = chain("bad", 1);
  bad.messages[0] = Message{"not json", {}};
  const auto arrays = Message::of_tokens("user", {{1, 2}}, {{"mask", TokenArray::Type::u8, "12"}});
  ASSERT_TRUE(arrays);
  Conversation odd = chain("odd", 1);
  odd.messages[0] = *arrays;
  odd.messages[0].values.back().bytes = "1";
  const std::vector<Conversation> both{bad, odd};
  EXPECT_EQ(vault_->put(bad, {.tenant = "a"}).code(), Errc::invalid);
  EXPECT_EQ(vault_->put(odd, {.tenant = "a"}).code(), Errc::invalid);
  EXPECT_TRUE(vault_->put_async(odd, {.tenant = "a"}));
  EXPECT_EQ(vault_->flush().code(), Errc::invalid);
  EXPECT_TRUE(vault_->put_batch({}, {.tenant = "a"}));
  ImportProgress progress;
  progress.source = "s";
  progress.lines = 2;
  auto results = vault_->put_batch(both, {.tenant = "a", .stop_at_refused = true}, &progress);
  ASSERT_TRUE(results);
  ASSERT_EQ(results->size(), 2u);
  EXPECT_EQ(results->at(0).code(), Errc::invalid);
  EXPECT_EQ(results->at(1).code(), Errc::cancelled);
  EXPECT_FALSE(vault_->import_progress("s"));
  results = vault_->put_batch(both, {.tenant = "a"}, &progress);
  ASSERT_TRUE(results);
  ASSERT_EQ(results->size(), 2u);
  for (const auto& result : *results) EXPECT_EQ(result.code(), Errc::invalid);
  ASSERT_TRUE(vault_->import_progress("s"));
  EXPECT_EQ(vault_->import_progress("s")->lines, 2u);
  EXPECT_EQ(vault_->put_batch({}, {.tenant = "\xff"}).code(), Errc::invalid);
  EXPECT_TRUE(vault_->put_segments({}, {.tenant = "a"}));
  EXPECT_EQ(vault_->put_segments({}, {.tenant = "\xff"}).code(), Errc::invalid);
  const std::vector<Segment> many((std::size_t{1} << 21) + 1,
                                  Segment::of_bytes(std::string(96, 'x')));
  EXPECT_EQ(vault_->put_segments(many, {.tenant = "a"}).code(), Errc::exhausted);
  EXPECT_EQ(vault_->dictionaries().add("no dictionary", {}, "a").code(), Errc::invalid);
  EXPECT_TRUE(vault_->substrings().add(SubstringSet(), "a"));
  EXPECT_EQ(*vault_->tenants(), std::vector<std::string>{"default"});
  EXPECT_EQ(vault_->stats("a").code(), Errc::not_found);
  // One that can be stored makes it, wherever it stands.
  const std::vector<Conversation> three{bad, chain("good", 2), odd};
  results = vault_->put_batch(three, {.tenant = "a"});
  ASSERT_TRUE(results);
  EXPECT_EQ(results->at(0).code(), Errc::invalid);
  EXPECT_TRUE(results->at(1));
  EXPECT_EQ(results->at(2).code(), Errc::invalid);
  EXPECT_EQ(*vault_->tenants(), (std::vector<std::string>{"default", "a"}));
}

// What the catalog would not take is not taken into the log, which could not be sealed then.
TEST_F(Limits, AnImportOfATooLongNameOrHash) {
  const std::vector<Conversation> batch{chain("a", 1)};
  for (const bool is_source : {true, false}) {
    ImportProgress progress;
    progress.source = "s";
    Buffer& longest = is_source ? progress.source : progress.state_hash;
    longest = Buffer(4096, 'x');
    EXPECT_EQ(vault_->put_batch(batch, {}, &progress).code(), Errc::invalid);
    EXPECT_EQ(vault_->get("a").code(), Errc::not_found);
    progress.finished = true;
    EXPECT_TRUE(vault_->put_batch({}, {}, &progress));
    progress.finished = false;
    longest.pop_back();
    EXPECT_TRUE(vault_->put_batch({}, {}, &progress));
    EXPECT_TRUE(vault_->seal());
    EXPECT_TRUE(vault_->import_progress(progress.source));
  }
  EXPECT_TRUE(vault_->put_batch(batch, {}));
  EXPECT_TRUE(vault_->gc(false));
}

// Tags go with what is forgotten, and count for the size of a commit as it does.
TEST(ForgetLimits, ConversationsOfManyTagsAreForgottenInSeveralCommits) {
  constexpr std::size_t kTags = 100'000;
  MemoryPlace place;
  ASSERT_OK(place.create());
  auto vault = place.open({.level = Level::fast});
  ASSERT_OK(vault);
  std::vector<std::string> ids, tags;
  for (int i = 0; i < 6; ++i) {
    ids.push_back("c" + std::to_string(i));
    ASSERT_OK((*vault)->put(chain(ids.back(), 1), {}));
  }
  for (std::size_t i = 0; i < kTags; ++i) tags.push_back(std::to_string(i));
  ASSERT_OK((*vault)->tag(ids, tags, {}));
  const std::uint64_t before = place.disk.counts().append;
  const auto count = (*vault)->forget(Filter());
  ASSERT_OK(count);
  EXPECT_EQ(*count, ids.size());
  EXPECT_EQ(place.disk.counts().append - before, 2u);
  EXPECT_TRUE((*vault)->list({}, 10)->conversations.empty());
  ASSERT_OK((*vault)->put(chain(ids[0], 1), {}));
  EXPECT_TRUE((*vault)->summary(ids[0])->tags.empty());
}

// Arrays have an element for each token of the content, whatever tokens stand beside it.
TEST_F(Limits, ArraysThatDoNotFitTheContent) {
  Conversation c = chain("arrays", 1);
  Message& m = c.messages[0];
  for (const char* const form :
       {"{\"other\":\x02,\"content\":\x02,\"token_arrays\":{\"a\":{\"u8\":\x06}}}",
        "{\"other\":\x02,\"content\":\x01,\"token_arrays\":{\"a\":{\"u8\":\x06}}}"}) {
    m.form = form;
    const bool is_text = m.form.find('\x01') != std::string::npos;
    m.values = {Value{"", {1, 2}}, is_text ? Value{"xyz", {}} : Value{"", {1, 2, 3}},
                Value{"ab", {}}};
    EXPECT_EQ(vault_->put(c, {}).code(), Errc::invalid);
    m.values[2].bytes = "abc";
    EXPECT_TRUE(vault_->put(c, {.replace = true}));
    const auto back = vault_->get(c.id);
    ASSERT_TRUE(back);
    EXPECT_TRUE(back->messages == c.messages);
  }
  m.form = "{\"other\":\x02,\"content\":[],\"token_arrays\":{\"a\":{\"u8\":\x06}}}";
  m.values = {Value{"", {1, 2}}, Value{"ab", {}}};
  EXPECT_EQ(vault_->put(c, {.replace = true}).code(), Errc::invalid);
  m.values[1].bytes.clear();
  EXPECT_TRUE(vault_->put(c, {.replace = true}));
}

// What JsonReader takes is stored and comes back, arrays that are of no token ids among it.
TEST_F(Limits, ArraysBesideTextAreJsonLikeAnyOther) {
  JsonReader reader;
  for (const std::string message :
       {R"({"content":"abc","token_arrays":{"m":{"u8":"AAAA"}}})",
        R"({"token_arrays":{"m":{"u8":"AA=="}},"content":"abc"})",
        R"({"content":[{"type":"text","text":"abc"}],"token_arrays":{"m":{"f32":"AA=="}}})",
        R"({"token_arrays":{"m":{"u8":"AAAA"}},"role":"user"})",
        R"({"ids":[1,2],"content":null,"token_arrays":{"m":{"u8":"AAA="}}})",
        R"({"ids":[1,2],"content":[5],"token_arrays":{"m":{"u8":"AA=="}}})"}) {
    const std::string line = R"({"id":"x","messages":[)" + message + "]}";
    const auto c = reader.conversation(line);
    ASSERT_TRUE(c) << line << ": " << c.error().message();
    const auto put = vault_->put(*c, {.replace = true});
    ASSERT_TRUE(put) << line << ": " << put.error().message();
    const auto back = vault_->get("x");
    ASSERT_TRUE(back);
    EXPECT_TRUE(back->messages == c->messages) << line;
    EXPECT_EQ(*to_json(*back), line);
  }
}

TEST_F(Limits, ALevelThatIsNone) {
  for (const int wrong : {0, 4, 255}) {
    const auto level = static_cast<Level>(wrong);
    EXPECT_EQ(vault_->compact(level).code(), Errc::invalid) << wrong;
    EXPECT_EQ(vault_->replace_segments({}, level).code(), Errc::invalid) << wrong;
    EXPECT_EQ(open_vault(path_, {.read_only = true, .level = level}).code(), Errc::invalid);
  }
  vault_.reset();
  EXPECT_EQ(open_vault(path_, {.level = static_cast<Level>(9)}).code(), Errc::invalid);
  EXPECT_TRUE(open_vault(path_));
}

TEST_F(Limits, WhatIsMissing) {
  EXPECT_EQ(vault_->scan({}, nullptr).code(), Errc::invalid);
  EXPECT_EQ(vault_->find_duplicates({}, nullptr).code(), Errc::invalid);
  EXPECT_EQ(Vault::open(make_memory_backend(), nullptr, {}).code(), Errc::invalid);
  EXPECT_EQ(Vault::open(nullptr, make_memory_catalog(), {}).code(), Errc::invalid);
}

// The rank file of a vocabulary of the bytes alone.
std::string rank_file() {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (unsigned byte = 0; byte < 256; ++byte) {
    out += {kDigits[byte >> 2], kDigits[(byte & 3) << 4], '=', '=', ' '};
    out += std::to_string(byte) + "\n";
  }
  return out;
}

// Nothing is made that could not be opened, and nothing is left of what was refused.
TEST(CreateVault, RefusesAVocabularyThatCouldNotBeOpened) {
  const std::string ranks = rank_file();
  const auto own = make_tokenizer("own", "cl100k_base", ranks);
  const auto of_that_name = make_tokenizer("o200k_base", "o200k_base", ranks);
  ASSERT_TRUE(own && of_that_name);
  const auto bytes = *open_tokenizer("bytes");
  auto backend = make_memory_backend();
  auto catalog = make_memory_catalog();
  const CreateOptions wrong[] = {
      {},
      {.tokenizer = *own},
      {.tokenizer = *of_that_name},
      {.tokenizer = *own, .rank_file = ranks},
      {.tokenizer = *own, .rank_file = ranks, .pattern = "nope"},
      {.tokenizer = *own, .rank_file = ranks + "AAA= 256\n", .pattern = "cl100k_base"},
      {.tokenizer = *own,
       .rank_file = std::string((std::size_t{256} << 20) + 1, 'x'),
       .pattern = "cl100k_base"},
      {.tokenizer = bytes, .rank_file = ranks, .pattern = "cl100k_base"},
  };
  for (const CreateOptions& options : wrong) {
    EXPECT_EQ(Vault::create(*backend, *catalog, options).code(), Errc::invalid);
    EXPECT_EQ(backend->total_bytes().value(), 0u);
  }
  for (const auto& tokenizer : {*own, *of_that_name}) {
    auto blobs = make_memory_backend();
    auto list = make_memory_catalog();
    ASSERT_TRUE(Vault::create(
        *blobs, *list, {.tokenizer = tokenizer, .rank_file = ranks, .pattern = "cl100k_base"}));
    EXPECT_TRUE(Vault::open(std::move(blobs), std::move(list), {}));
  }
  ASSERT_TRUE(Vault::create(*backend, *catalog, {.tokenizer = bytes}));
  EXPECT_TRUE(Vault::open(std::move(backend), std::move(catalog), {}));
}

// A scan is bounded by its bytes, whatever they are: not only texts.
TEST(ScanLimits, PicturesAreNotReadAllAtOnce) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  {
    auto vault = place.open({.level = Level::fast});
    ASSERT_OK(vault);
    Rng rng(9);
    for (int i = 0; i < 40; ++i) {
      Conversation c;
      c.id = "c" + std::to_string(i);
      Message m{"{\"role\":\"user\",\"picture\":\x06}", {Value{}}};
      for (int k = 0; k < 1 << 20; ++k) m.values[0].bytes += static_cast<char>(rng());
      c.messages.push_back(std::move(m));
      ASSERT_OK((*vault)->put(c, {}));
    }
    ASSERT_OK((*vault)->seal());
  }
  auto vault = place.open({.read_only = true, .cache_bytes = 4u << 20});
  ASSERT_OK(vault);
  const std::uint64_t before = place.disk.counts().bytes_read;
  int visited = 0;
  const auto stop = [&](const Summary&, const Result<Conversation>& c) {
    EXPECT_OK(c);
    return ++visited < 1;
  };
  ASSERT_OK((*vault)->scan({}, stop));
  EXPECT_LT(place.disk.counts().bytes_read - before, 24u << 20);
  visited = -1000;
  ASSERT_OK((*vault)->scan({}, stop));
  EXPECT_EQ(visited, -960);
}

}  // namespace
}  // namespace tokvault
