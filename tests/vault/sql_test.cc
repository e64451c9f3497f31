// SQL against the model: whatever condition a query has, its rows are those that looking at every
// row would find; nothing but reading is possible; damage is said and not hidden.
#include "tokvault/sql.h"

#include <algorithm>
#include <thread>

#include "tests/vault/harness.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

using Row = std::vector<SqlValue>;

Result<std::vector<Row>> ask(SqlDatabase& database, const std::string& sql,
                             const std::vector<SqlValue>& parameters = {}) {
  TOKVAULT_ASSIGN(const auto statement, database.prepare(sql));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    TOKVAULT_TRY(statement->bind(static_cast<int>(i) + 1, parameters[i]));
  }
  std::vector<Row> rows;
  for (;;) {
    TOKVAULT_ASSIGN(const bool more, statement->next());
    if (!more) return rows;
    Row row;
    for (std::size_t i = 0; i < statement->columns().size(); ++i)
      row.push_back(statement->value(i));
    rows.push_back(std::move(row));
  }
}

SqlValue text(std::string_view v) { return SqlValue::of_text(v); }
SqlValue number(std::uint64_t v) { return SqlValue::of_integer(static_cast<std::int64_t>(v)); }

std::string shown(const std::vector<Row>& rows) {
  std::string out;
  for (const Row& row : rows) {
    for (const SqlValue& v : row) {
      switch (v.type) {
        case SqlValue::Type::null:
          out += "NULL|";
          break;
        case SqlValue::Type::integer:
          out += std::to_string(v.integer) + "|";
          break;
        case SqlValue::Type::real:
          out += std::to_string(v.real) + "|";
          break;
        default:
          out += v.bytes + "|";
      }
    }
    out += "\n";
  }
  return out;
}

std::string shown(const Result<std::vector<Row>>& rows) { return rows ? shown(*rows) : why(rows); }

// A vault with three tenants, in a log and several packs, with deletions, tags and new versions.
class VaultSql : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(place_.create());
    auto vault = place_.open({.log_bytes_max = 64 << 10});
    ASSERT_OK(vault);
    Rng rng(7);
    for (int round = 0; round < 3; ++round) {
      for (const char* tenant : {"", "acme", "zeta"}) {
        for (int i = 0; i < 40; ++i) put(**vault, rng, tenant, round * 30 + i);
      }
      for (const char* tenant : {"", "acme"}) {
        const std::string id = "c" + std::to_string(round * 30 + 3);
        const std::vector<std::string> ids{id};
        ASSERT_OK((*vault)->forget(ids, tenant));
        model_.forget(tenant, id);
        const std::string tagged = "c" + std::to_string(round * 30 + 5);
        const std::vector<std::string> tagged_ids{tagged};
        const std::vector<std::string> tags{"red", "gr\"een"};
        ASSERT_OK((*vault)->tag(tagged_ids, tags, {}, tenant));
        model_.of(tenant)[tagged].tags = {"red", "gr\"een"};
      }
      if (round < 2) {
        ASSERT_OK((*vault)->seal());
      }
    }
    const Segment held = Segment::of_bytes(std::string(200, 'x'));
    ASSERT_OK((*vault)->put_segments({&held, 1}, {.tenant = "acme", .holder = "me"}));
    ASSERT_OK((*vault)->put_segments({&held, 1}, {.tenant = "acme", .holder = "you"}));
    vault->reset();
    auto reader = place_.open({.read_only = true});
    ASSERT_OK(reader);
    vault_ = std::move(*reader);
    auto opened = open_sql(*vault_);
    ASSERT_OK(opened);
    sql_ = std::move(*opened);
  }

  void put(Vault& vault, Rng& rng, const std::string& tenant, int i) {
    Conversation c = random_conversation(rng, "c" + std::to_string(i));
    ASSERT_OK(vault.put(c, {.tenant = tenant, .replace = true}));
    model_.put(tenant, std::move(c));
  }

  std::string answer(const std::string& sql, const std::vector<SqlValue>& parameters = {}) {
    return shown(ask(*sql_, sql, parameters));
  }

  static std::string name(const std::string& tenant) { return tenant.empty() ? "default" : tenant; }

  MemoryPlace place_;
  Model model_;
  std::unique_ptr<Vault> vault_;
  std::unique_ptr<SqlDatabase> sql_;
};

TEST_F(VaultSql, ConversationsAreThoseOfTheModel) {
  std::size_t count = 0;
  for (const auto& [tenant, items] : model_.tenants()) {
    for (const auto& [id, item] : items) {
      const Conversation& c = item.conversation;
      const auto [tokens, bytes] = Model::tokens_and_bytes(c);
      const auto rows =
          ask(*sql_,
              "select tenant, id, model, application, time, time_ms, messages, tokens, text_bytes, "
              "tags from conversations where tenant = ? and id = ?",
              {text(name(tenant)), text(id)});
      ASSERT_OK(rows);
      std::string tags;
      for (const std::string& tag : item.tags) {
        tags += tags.empty() ? "" : ",";
        ASSERT_OK(append_json_string(tag, tags));
      }
      std::string time = format_time_ms(c.time_ms);
      if (time.size() == 20) time.insert(19, ".000");
      const std::vector<Row> expected{{text(name(tenant)), text(id), text(c.model),
                                       text(c.application), text(time),
                                       SqlValue::of_integer(c.time_ms), number(c.messages.size()),
                                       number(tokens), number(bytes), text("[" + tags + "]")}};
      EXPECT_EQ(shown(*rows), shown(expected));
      ++count;
    }
  }
  EXPECT_EQ(answer("select count(*) from conversations"), std::to_string(count) + "|\n");
  EXPECT_EQ(answer("select count(*) from conversations where id = 'c3'"), "1|\n");  // of zeta
}

TEST_F(VaultSql, ConditionsFindWhatLookingAtEveryRowFinds) {
  // In each the term may be used to find rows; `+` before a column, and a CASE, keep SQLite from
  // handing it over.
  const char* kTerms[] = {
      "model = 'model-1'",
      "model = ''",
      "model = 'MODEL-1' collate nocase",
      "model in ('model-1', 'model-2', 'none')",
      "model is 'model-2'",
      "model > 'model-1'",
      "application = 'app-1' and model = 'model-2'",
      "model = 'model-1' and model = 'model-2'",
      "tenant = 'acme'",
      "tenant = 'ACME' collate nocase",
      "tenant = ''",
      "tenant = 'acme' or id = 'c7'",
      "tenant in ('zeta', 'default') and id in ('c1', 'c2', 'nobody')",
      "id = 'c11'",
      "id = null",
      "id = 11",
      "id = x'633131'",
      "id >= 'c2' and id < 'c3'",
      "time_ms = 1700000000000",
      "time_ms >= 1700100000000",
      "time_ms > 1700100000000 and time_ms <= 1700200000000",
      "time_ms between 1700100000000 and 1700200000000.5",
      "time_ms < '1700200000000'",
      "time_ms > 9223372036854775807",
      "time_ms <= 9223372036854775807",
      "time_ms >= -9223372036854775808",
      "time < '2023-11-16'",
      "time >= '2023-11-16'",
      "time > '2023-11-16' and time <= '2023-11-17T08:00:00.000Z'",
      "time >= '2023-11-16T12' and time < '2023-11-18 05'",
      "time between '2023-11' and '2023-12'",
      "time > '2023' and time < '2024'",
      "time = '2023-11-16'",
      "time < '2023-11-31'",
      "time < 'no time' and time > 17",
      "time like '2023-11-16%'",
      "messages = 2 or model = 'model-1' or id = 'c9'",
      "tokens > 50 and tenant <> 'zeta'",
      "tags like '%red%'",
  };
  for (const std::string where : kTerms) {
    for (const std::string what : {"*", "id", "count(*), sum(tokens), max(time)"}) {
      const std::string order = what[0] == 'c' ? "" : " order by tenant, id";
      const std::string direct =
          answer("select " + what + " from conversations where " + where + order);
      const std::string copied = answer(
          "with c as materialized (select * from conversations) "
          "select " +
          what + " from c where " + where + order);
      EXPECT_EQ(direct, copied) << where;
    }
  }
  EXPECT_EQ(answer("select count(*) from conversations where time > '2023'"),
            answer("select count(*) from conversations"));
  // What is used is used: of these nothing else is looked at.
  const std::string plan = answer(
      "explain query plan select * from conversations where tenant = 'acme' and id = 'c1' "
      "and time_ms > 5");
  EXPECT_NE(plan.find(":AaBaFd"), std::string::npos) << plan;
}

TEST_F(VaultSql, MessagesAreReadAsTheyAre) {
  std::uint64_t count = 0;
  std::uint64_t tokens = 0;
  std::map<std::tuple<std::string, std::string, std::int64_t>, const Message*> expected;
  for (const auto& [tenant, items] : model_.tenants()) {
    for (const auto& [id, item] : items) {
      for (std::size_t i = 0; i < item.conversation.messages.size(); ++i) {
        const Message& m = item.conversation.messages[i];
        expected[{name(tenant), id, static_cast<std::int64_t>(i)}] = &m;
        ++count;
        std::size_t next = 0;
        for (const char c : m.form) {
          if (!is_value_hole(c)) continue;
          const Value& v = m.values[next++];
          if (c == static_cast<char>(Hole::text)) tokens += v.bytes.size();
          tokens += v.tokens.size();
        }
      }
    }
  }
  EXPECT_EQ(answer("select count(*), sum(tokens) from messages"),
            std::to_string(count) + "|" + std::to_string(tokens) + "|\n");
  const auto rows = ask(*sql_, "select tenant, conversation, position, role, text from messages");
  ASSERT_OK(rows);
  ASSERT_EQ(rows->size(), count);
  for (const Row& row : *rows) {
    const auto it = expected.find({row[0].bytes, row[1].bytes, row[2].integer});
    ASSERT_NE(it, expected.end()) << shown({row});
    EXPECT_EQ(row[3].bytes, it->second->role());
    EXPECT_EQ(row[4].bytes, it->second->text());
    expected.erase(it);
  }
  // One by one, and joined.
  for (const auto& [id, item] : model_.of("acme")) {
    const auto some =
        ask(*sql_,
            "select text, tokens from messages where tenant = 'acme' and conversation = ? "
            "order by position",
            {text(id)});
    ASSERT_OK(some);
    ASSERT_EQ(some->size(), item.conversation.messages.size());
    for (std::size_t i = 0; i < some->size(); ++i) {
      EXPECT_EQ((*some)[i][0].bytes, item.conversation.messages[i].text());
    }
  }
  EXPECT_EQ(answer("select c.tenant, c.id, count(m.position) from conversations c left join "
                   "messages m on m.tenant = c.tenant and m.conversation = c.id group by 1, 2"),
            answer("select tenant, id, messages from conversations order by 1, 2"));
  // Some have a text that is not UTF-8, which is no JSON.
  Conversation c;
  c.id = "plain";
  c.messages = {Message::of_text("user", "hello \"you\"")};
  auto writer = place_.open();
  ASSERT_OK(writer);
  ASSERT_OK((*writer)->put(c, {}));
  EXPECT_EQ(answer("select json, json_extract(json, '$.content') from messages where "
                   "conversation = 'plain'"),
            "{\"role\":\"user\",\"content\":\"hello \\\"you\\\"\"}|hello \"you\"|\n");
}

TEST_F(VaultSql, TagsSumsSegmentsAndFiles) {
  EXPECT_EQ(answer("select tenant, conversation, tag from tags order by 1, 2, 3"),
            "acme|c35|gr\"een|\nacme|c35|red|\nacme|c5|gr\"een|\nacme|c5|red|\nacme|c65|gr\"een|\n"
            "acme|c65|red|\ndefault|c35|gr\"een|\ndefault|c35|red|\ndefault|c5|gr\"een|\n"
            "default|c5|red|\ndefault|c65|gr\"een|\ndefault|c65|red|\n");
  EXPECT_EQ(answer("select count(*) from tags where tag = 'red' and tenant = 'acme'"), "3|\n");
  EXPECT_EQ(answer("select count(*) from tags where tag = 'red' or conversation = 'c5'"), "8|\n");

  EXPECT_EQ(answer("select tenant, model, application, day, conversations, messages, tokens from "
                   "usage order by 1, 2, 3, 4"),
            answer("select tenant, model, application, substr(time, 1, 10), count(*), "
                   "sum(messages), sum(tokens) from conversations group by 1, 2, 3, 4 "
                   "order by 1, 2, 3, 4"));
  for (const std::string where :
       {"day = '2023-11-16'", "day > '2023-11-16'", "day <= '2023-11-16'", "day < '2023-11-16T'",
        "day > '2023-11' and day < '2023-11-17'", "model = 'model-1' and tenant = 'zeta'",
        "model = 'model-1' or day = '2023-11-17'"}) {
    const std::string sums = "select sum(conversations), sum(messages), sum(tokens) from ";
    EXPECT_EQ(answer(sums + "usage where " + where),
              answer("with u as materialized (select * from usage) " + sums + "u where " + where))
        << where;
  }

  EXPECT_EQ(answer("select tenant, size, holder from holds"), "acme|200|me|\nacme|200|you|\n");
  EXPECT_EQ(answer("select segment from holds where holder = 'me'"),
            Segment::of_bytes(std::string(200, 'x')).id().to_string() + "|\n");

  const auto stats = vault_->stats();
  ASSERT_OK(stats);
  EXPECT_EQ(answer("select kind, count(*), sum(bytes) from files group by kind"),
            "log|" + std::to_string(stats->logs) + "|" + std::to_string(stats->log_bytes) +
                "|\npack|" + std::to_string(stats->packs) + "|" +
                std::to_string(stats->pack_bytes) + "|\n");
  EXPECT_EQ(answer("select sum(conversations), sum(segments), sum(tokens_stored) from files"),
            std::to_string(stats->conversations + stats->forgotten) + "|" +
                std::to_string(stats->segments) + "|" + std::to_string(stats->tokens_stored) +
                "|\n");
  EXPECT_EQ(answer("select distinct level, compacted, damage from files where kind = 'pack'"),
            "balanced|0|NULL|\n");
  EXPECT_EQ(answer("select count(distinct tenant) from files"), "3|\n");
}

TEST_F(VaultSql, OnlyReadingIsAllowed) {
  const TempDir dir;
  const std::string file = dir.path() + "/other.db";
  const std::vector<std::string> kWriting{
      "create table t(a)",
      "create temp table t(a)",
      "create view v as select 1",
      "create virtual table t using conversations",
      "insert into conversations(id) values ('x')",
      "drop table usage",
      "attach '" + file + "' as o",
      "detach main",
      "vacuum into '" + file + "'",
      "vacuum",
      "begin",
      "savepoint s",
      "commit",
      "analyze",
      "pragma writable_schema = 1",
      "pragma journal_mode = wal",
      "pragma temp_store_directory = '/'",
      "insert into sqlite_schema values (1, 2, 3, 4, 5)",
  };
  for (const std::string& sql : kWriting) {
    EXPECT_EQ(ask(*sql_, sql).code(), Errc::denied) << sql;
    EXPECT_FALSE(std::filesystem::exists(file));
  }
  // SQLite finds more in these than that they do not read.
  for (const std::string& sql :
       {std::string("update conversations set model = 'x'"), std::string("delete from messages"),
        std::string("with x as (select 1) delete from tags"),
        std::string("update sqlite_schema set sql = 'x'"), std::string("alter table tags add x"),
        "select load_extension('" + file + "')"}) {
    const Errc code = ask(*sql_, sql).code();
    EXPECT_TRUE(code == Errc::denied || code == Errc::invalid) << sql;
  }
  for (const std::string sql :
       {"", " ", "-- nothing", ";", "selec 1", "select 1; select 2", "select 1; x", "select",
        "select * from nobody", "select nothing from conversations", "select count(", "select ?2 +",
        "select * from conversations('x')", "select 'a' regexp 'b'", "select max()",
        "select json('{')", "select abs(-9223372036854775808)", "select x'0"}) {
    EXPECT_EQ(ask(*sql_, sql).code(), Errc::invalid) << sql;
  }
  EXPECT_EQ(ask(*sql_, std::string("select 1\0, 2", 12)).code(), Errc::invalid);
  EXPECT_EQ(ask(*sql_, std::string(2'000'000, ' ')).code(), Errc::invalid);
  EXPECT_EQ(ask(*sql_, "select length(zeroblob(300000000))").code(), Errc::exhausted);
  EXPECT_EQ(ask(*sql_, "select 1", {number(1)}).code(), Errc::invalid);  // there is no parameter
  auto begun = sql_->prepare("select ?");
  ASSERT_OK(begun);
  for (const bool more : {true, false, false}) {
    EXPECT_EQ((*begun)->next().value(), more);
    EXPECT_EQ((*begun)->bind(1, number(1)).code(), Errc::invalid);
  }
  // And what reads is.
  EXPECT_EQ(answer("select 1; -- the end"), "1|\n");
  EXPECT_EQ(answer("values (1, 'a', x'62', null, 0.5)"), "1|a|b|NULL|0.500000|\n");
  EXPECT_EQ(answer("with recursive n(i) as (select 1 union all select i + 1 from n where i < 4) "
                   "select sum(i) from n"),
            "10|\n");
  EXPECT_EQ(answer("select name from pragma_table_info('tags')"), "tenant|\nconversation|\ntag|\n");
  EXPECT_EQ(answer("select sum(value) from json_each('[1, 2]')"), "3|\n");
  EXPECT_EQ(answer("select ?, ?2", {text(""), SqlValue::of_blob("\1")}), "|\1|\n");
}

TEST_F(VaultSql, TablesAreListedAsTheyAre) {
  for (const SqlTable& table : sql_tables()) {
    const std::string name(table.name);
    const auto statement = sql_->prepare("select * from " + name);
    ASSERT_OK(statement);
    std::vector<std::string> columns;
    for (const SqlColumn& column : table.columns) columns.emplace_back(column.name);
    EXPECT_EQ((*statement)->columns(), columns);
    // A column has a number or a text, or NULL, as its type says.
    for (;;) {
      const auto more = (*statement)->next();
      if (name == "messages" && !more) break;  // a text that is no JSON
      ASSERT_OK(more);
      if (!*more) break;
      for (std::size_t i = 0; i < columns.size(); ++i) {
        const SqlValue v = (*statement)->value(i);
        if (v.type == SqlValue::Type::null) continue;
        EXPECT_EQ(v.type == SqlValue::Type::text, table.columns[i].type == "TEXT") << columns[i];
      }
    }
  }
}

TEST_F(VaultSql, AnEndlessStatementCanBeStopped) {
  const auto statement = sql_->prepare(
      "with recursive n(i) as (select 1 union all select i + 1 from n) "
      "select count(*) from n");
  ASSERT_OK(statement);
  std::atomic<bool> done = false;
  std::thread stopper([&] {
    while (!done) {
      sql_->interrupt();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  EXPECT_EQ((*statement)->next().code(), Errc::cancelled);
  done = true;
  stopper.join();
  EXPECT_EQ((*statement)->next().code(), Errc::cancelled);
  EXPECT_EQ(answer("select 1"), "1|\n");
}

TEST_F(VaultSql, SeesWhatAWriterCommits) {
  const auto before = ask(*sql_, "select count(*) from conversations");
  ASSERT_OK(before);
  auto writer = place_.open();
  ASSERT_OK(writer);
  Conversation c;
  c.id = "new";
  c.messages = {Message::of_text("user", "x")};
  ASSERT_OK((*writer)->put(c, {.tenant = "fourth"}));
  EXPECT_EQ(answer("select tenant, id from conversations where id = 'new'"), "fourth|new|\n");
  EXPECT_EQ(answer("select count(*) from conversations"),
            std::to_string((*before)[0][0].integer + 1) + "|\n");
}

// One statement is of one moment: what a writer commits between two of its steps is not in it, and
// what a rewrite removes still is.
TEST_F(VaultSql, AStatementReadsTheVaultOfItsFirstStep) {
  auto writer = place_.open();
  ASSERT_OK(writer);
  std::vector<Conversation> many;
  for (int i = 0; i < 600; ++i) {  // more than a page of list()
    Conversation c = Conversation();
    c.id = "many" + std::to_string(i);
    for (int m = 0; m <= i % 3; ++m) c.messages.push_back(Message::of_text("user", shared_text(9)));
    many.push_back(std::move(c));
  }
  ASSERT_OK((*writer)->put_batch(many, {}));
  const std::vector<std::string> queries{
      "select tenant, id, messages, sequence, tags from conversations",
      "select tenant, conversation, position, role, text, tokens from messages",
      "select tenant, conversation, tag from tags", "select tenant, segment, holder from holds",
      "select tenant, model, day, conversations from usage",
      "select name, conversations from files",
      // A join, whose second table is opened again for each row of the first.
      "select c.id, c.messages, m.position, m.text from conversations c "
      "join messages m on m.tenant = c.tenant and m.conversation = c.id",
      "select id, (select count(*) from messages m where m.conversation = c.id and m.tenant = "
      "c.tenant) = messages from conversations c"};
  int commits = 0;
  for (const bool by_writer : {false, true}) {
    const auto sql = open_sql(by_writer ? **writer : *vault_);
    ASSERT_OK(sql);
    for (const std::string& query : queries) {
      const auto before = ask(**sql, query);
      ASSERT_OK(before);
      const auto statement = (*sql)->prepare(query);
      ASSERT_OK(statement);
      std::vector<Row> rows;
      for (;;) {
        const auto more = (*statement)->next();
        ASSERT_OK(more) << query;
        if (!*more) break;
        Row row;
        for (std::size_t i = 0; i < (*statement)->columns().size(); ++i) {
          row.push_back((*statement)->value(i));
        }
        rows.push_back(std::move(row));
        if (rows.size() > 3) continue;
        // Two new ones, a new version of one with more messages, one forgotten, a tag, a hold; and
        // all of it in other files.
        const std::string number = std::to_string(++commits);
        Conversation c = Conversation();
        c.id = "new" + number;
        c.messages = {Message::of_text("user", shared_text(commits % 30))};
        ASSERT_OK((*writer)->put(c, {}));
        c.id = "new too" + number;
        ASSERT_OK((*writer)->put(c, {}));
        c.id = "many" + std::to_string(599 - commits);
        for (int m = 0; m < 5; ++m) c.messages.push_back(Message::of_text("user", "more"));
        ASSERT_OK((*writer)->put(c, {.replace = true}));
        const std::vector<std::string> gone{"many" + std::to_string(200 + commits)};
        ASSERT_OK((*writer)->forget(gone));
        const std::vector<std::string> tagged{"many" + std::to_string(300 + commits)};
        const std::vector<std::string> tags{"tag" + number};
        ASSERT_OK((*writer)->tag(tagged, tags, {}));
        const Segment held = Segment::of_bytes(std::string(100, 'y') + number);
        ASSERT_OK((*writer)->put_segments({&held, 1}, {.holder = "h" + number}));
        const Buffer set = "a file of artifacts/ that is not there yet";
        ASSERT_OK(place_.disk.put("artifacts/" + number + ".tiktoken", set));
        if (rows.size() == 2) {
          ASSERT_OK((*writer)->gc(false));
        } else {
          ASSERT_OK((*writer)->compact(Level::fast));
        }
      }
      EXPECT_TRUE(rows == *before) << query << ": " << rows.size() << " and " << before->size();
      const auto after = ask(**sql, query);
      ASSERT_OK(after);
      EXPECT_FALSE(*after == *before) << query;
    }
  }
}

// A disk that does not hold what is removed.
class Unheld final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  Result<std::shared_ptr<const void>> hold(std::string_view) const override {
    return std::shared_ptr<const void>();
  }
};

// It is said that the rest cannot be read as it was: rows of another moment are not given instead.
TEST_F(VaultSql, WhatARewriteTakesAwayIsAConflict) {
  auto writer = place_.open();
  ASSERT_OK(writer);
  ASSERT_OK((*writer)->seal());
  const auto reader = Vault::open(std::make_unique<Unheld>(place_.disk),
                                  std::make_unique<SharedCatalog>(place_.catalog),
                                  {.read_only = true, .cache_bytes = 0});
  ASSERT_OK(reader);
  const auto sql = open_sql(**reader);
  ASSERT_OK(sql);
  const auto statement = (*sql)->prepare("select conversation, text from messages");
  ASSERT_OK(statement);
  ASSERT_TRUE(*(*statement)->next());
  ASSERT_OK((*writer)->compact(Level::fast));
  Errc code = Errc::ok;
  for (bool more = true; more;) {
    const auto next = (*statement)->next();
    code = next.code();
    more = next && *next;
  }
  EXPECT_EQ(code, Errc::conflict);
  EXPECT_EQ((*statement)->next().code(), Errc::conflict);
  // Another one reads what is there now.
  EXPECT_EQ(shown(ask(**sql, "select conversation, text from messages order by 1, 2")),
            answer("select conversation, text from messages order by 1, 2"));
}

TEST_F(VaultSql, StatementsSideBySideAreOfTheirOwnMoments) {
  const auto count = [](SqlStatement& statement) { return statement.value(0).integer; };
  const std::string query =
      "select (select count(*) from conversations c where c.messages + u.tokens >= 0) from usage u";
  const auto first = sql_->prepare(query);
  ASSERT_OK(first);
  ASSERT_TRUE(*(*first)->next());
  const std::int64_t before = count(**first);
  auto writer = place_.open();
  ASSERT_OK(writer);
  Conversation c;
  c.id = "new";
  ASSERT_OK((*writer)->put(c, {}));
  const auto second = sql_->prepare(query);
  ASSERT_OK(second);
  ASSERT_TRUE(*(*second)->next());
  EXPECT_EQ(count(**second), before + 1);
  ASSERT_TRUE(*(*first)->next());
  EXPECT_EQ(count(**first), before);
}

// A block of a pack is damaged: what needs it fails, or is passed over and counted.
TEST_F(VaultSql, DamageIsSaid) {
  const auto whole = ask(*sql_, "select tenant, conversation, position, text from messages");
  ASSERT_OK(whole);
  std::set<std::string> sound;
  for (const Row& row : *whole) sound.insert(shown({row}));
  const auto count = answer("select count(*), sum(tokens) from conversations");
  int failed = 0;
  const auto packs = place_.disk.list("packs");
  ASSERT_OK(packs);
  ASSERT_FALSE(packs->empty());
  for (const BlobInfo& blob : *packs) {
    MemoryPlace damaged = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
    Cache cache(1 << 20);
    const auto pack = PackFile::open(damaged.disk, cache, number_of(blob.name));
    ASSERT_OK(pack);
    const Extent dictionary = (*pack)->footer().streams[kTokenStream].dictionary;
    ASSERT_GT(dictionary.size, 0u);
    Buffer bytes;
    ASSERT_OK(damaged.disk.get(blob.name, 0, blob.size_bytes, bytes));
    bytes[dictionary.offset + dictionary.size / 2] ^= 0x40;
    damaged.disk.overwrite(blob.name, bytes);

    const auto reader = damaged.open({.read_only = true});
    ASSERT_OK(reader);
    const auto strict = open_sql(**reader);
    ASSERT_OK(strict);
    EXPECT_EQ(shown(ask(**strict, "select count(*), sum(tokens) from conversations")), count);
    const auto texts = ask(**strict, "select text from messages");
    if (!texts) {
      EXPECT_EQ(texts.code(), Errc::corrupt) << why(texts);
      ++failed;
    }

    const auto going_reader = damaged.open({.read_only = true, .keep_going = true});
    ASSERT_OK(going_reader);
    const auto going = open_sql(**going_reader, {.keep_going = true});
    ASSERT_OK(going);
    const auto rest = ask(**going, "select tenant, conversation, position, text from messages");
    ASSERT_OK(rest);
    EXPECT_EQ(!texts, (*going)->passed_over() > 0);
    EXPECT_EQ(!texts, rest->size() < whole->size());
    for (const Row& row : *rest) EXPECT_TRUE(sound.contains(shown({row}))) << shown({row});
  }
  EXPECT_GT(failed, 0);
}

// A log has lost a batch: sums fail, what is surely there is found.
TEST_F(VaultSql, WhatALogHasLostIsNotPassedOverInSilence) {
  MemoryPlace damaged = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
  const auto logs = damaged.disk.list("log");
  ASSERT_OK(logs);
  const BlobInfo& blob = logs->back();
  Buffer bytes;
  ASSERT_OK(damaged.disk.get(blob.name, 0, blob.size_bytes, bytes));
  bytes[blob.size_bytes * 3 / 4] ^= 0x40;
  damaged.disk.overwrite(blob.name, bytes);
  const auto reader = damaged.open({.read_only = true});
  ASSERT_OK(reader);
  ASSERT_FALSE((*reader)->damage().empty());
  const auto strict = open_sql(**reader);
  ASSERT_OK(strict);
  EXPECT_EQ(ask(**strict, "select count(*) from conversations").code(), Errc::corrupt);
  EXPECT_EQ(ask(**strict, "select sum(tokens) from usage").code(), Errc::corrupt);
  EXPECT_EQ(shown(ask(**strict, "select count(*) from files where damage is not null")), "1|\n");
  const auto going_reader = damaged.open({.read_only = true, .keep_going = true});
  ASSERT_OK(going_reader);
  const auto going = open_sql(**going_reader, {.keep_going = true});
  ASSERT_OK(going);
  const auto ids = ask(**going, "select tenant, id from conversations");
  ASSERT_OK(ids);
  EXPECT_FALSE(ids->empty());
  for (const Row& row : *ids) {
    const std::string tenant = row[0].bytes == "default" ? "" : row[0].bytes;
    EXPECT_TRUE(model_.of(tenant).contains(row[1].bytes)) << shown({row});
  }
  EXPECT_OK(ask(**going, "select count(*) from conversations where id = 'never there'"));
}

}  // namespace
}  // namespace tokvault
