// Substring sets of a vault: what is trained, kept, dropped and erased, and what is never shared.
#include "tokvault/substrings.h"
#include "tests/vault/harness.h"

namespace tokvault {
namespace {

const std::string kPolicy =
    "Refunds are paid within fourteen days to the card that was used for the order. ";
const std::string kGreeting = "Thank you for calling the ferry office, how can I help you today? ";

std::string noise(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string out;
  for (int i = 0; i < 40; ++i) out += static_cast<char>('a' + random() % 26);
  return out;
}

Conversation chat(const std::string& id, const std::vector<std::string>& texts) {
  Conversation c;
  c.id = id;
  c.time_ms = 1'760'000'000'000;
  for (const std::string& t : texts) c.messages.push_back(Message::of_text("user", t));
  return c;
}

class SubstringsOfAVault : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(place_.create());
    open();
  }
  void open() {
    vault_.reset();
    auto vault = place_.open({.level = Level::fast});
    ASSERT_OK(vault);
    vault_ = std::move(*vault);
  }
  // Conversations of their own with a text in the middle of a message.
  void put(const std::string& prefix, const std::string& text, int count,
           const std::string& tenant = {}) {
    for (int i = 0; i < count; ++i) {
      const std::string id = prefix + std::to_string(i);
      const auto seed = std::hash<std::string>()(id);
      // Beside the text stands something else in each of them.
      const std::string digit = std::to_string(i);
      const Conversation c = chat(id, {noise(seed) + digit + text + digit + noise(seed + 1)});
      ASSERT_OK(vault_->put(c, {.tenant = tenant}));
    }
  }
  SubstringTraining training() const {
    SubstringTraining t;
    t.memory_bytes = 1u << 20;
    return t;
  }
  std::set<std::string> texts(const SubstringSet& set) const {
    std::set<std::string> out;
    for (const TokenView run : set.runs()) {
      std::string text;
      EXPECT_OK(vault_->tokenizer()->decode(run, text));
      out.insert(text);
    }
    return out;
  }
  std::set<std::string> active(const std::string& tenant = {}) const {
    auto set = vault_->substrings().active(tenant);
    EXPECT_OK(set);
    return texts(**set);
  }
  std::size_t artifacts() const { return place_.disk.list("artifacts")->size(); }

  MemoryPlace place_;
  std::unique_ptr<Vault> vault_;
};

TEST_F(SubstringsOfAVault, AreTrainedKeptAndGrown) {
  EXPECT_TRUE(active().empty());
  put("a", kPolicy, 6);
  put("mine", kGreeting, 3);  // three hold it
  auto change = vault_->substrings().train(training());
  ASSERT_OK(change);
  EXPECT_EQ(change->added, 1u);
  EXPECT_EQ(change->runs, 1u);
  EXPECT_GT(change->saved_bytes, 0);
  EXPECT_EQ(active(), std::set<std::string>{kPolicy});
  put("more", kGreeting, 3);
  ASSERT_OK(vault_->seal());  // packs and the log alike
  open();
  EXPECT_EQ(active(), std::set<std::string>{kPolicy});
  change = vault_->substrings().train(training());
  ASSERT_OK(change);
  EXPECT_EQ(change->added, 1u);
  EXPECT_EQ(active(), (std::set<std::string>{kPolicy, kGreeting}));
  const auto set = *vault_->substrings().active();
  EXPECT_EQ(set->list()[0].id, 1u);
  EXPECT_EQ(set->list()[1].id, 2u);
  EXPECT_GE(set->list()[1].conversations, 4u);
  // Nothing new: nothing is written.
  const auto again = vault_->substrings().train(training());
  ASSERT_OK(again);
  EXPECT_EQ(again->added, 0u);
  EXPECT_EQ(again->number, change->number);
  // A pack names the state before, until it is rewritten.
  ASSERT_EQ(vault_->substrings().list()->size(), 2u);
  ASSERT_OK(vault_->gc(false));
  const auto list = vault_->substrings().list();
  ASSERT_OK(list);
  ASSERT_EQ(list->size(), 1u);
  EXPECT_TRUE((*list)[0].active);
  EXPECT_EQ((*list)[0].runs, 2u);
  EXPECT_EQ((*list)[0].conversations, 12u);
  EXPECT_EQ(artifacts(), 1u);
  const auto by_number = vault_->substrings().get(change->number);
  ASSERT_OK(by_number);
  EXPECT_EQ((*by_number)->size(), 2u);
  EXPECT_EQ(vault_->substrings().get(99).code(), Errc::not_found);
  EXPECT_TRUE(vault_->check({.read_data = true})->findings.empty());
}

// A client that sends the whole chat with every request writes many conversations, and they are
// one user's.
TEST_F(SubstringsOfAVault, AChatThatIsLoggedRequestByRequestIsOneHolder) {
  std::vector<std::string> texts;
  for (int i = 0; i < 10; ++i) {
    texts.push_back(noise(static_cast<std::uint64_t>(i)) + std::to_string(i) + kPolicy);
    ASSERT_OK(vault_->put(chat("request" + std::to_string(i), texts), {}));
  }
  auto change = vault_->substrings().train(training());
  ASSERT_OK(change);
  EXPECT_EQ(change->runs, 0u);
  put("others", kPolicy, 3);
  change = vault_->substrings().train(training());
  ASSERT_OK(change);
  EXPECT_EQ(active(), std::set<std::string>{kPolicy});
}

// What is shared must be nobody's own, whatever is asked for, and what became so goes.
TEST_F(SubstringsOfAVault, NothingThatFewerThanFourHoldIsTrainedOrStays) {
  put("a", kPolicy, 6);
  put("b", kGreeting, 3);
  for (const std::uint64_t few : {0, 1, 3}) {
    SubstringTraining options = training();
    options.conversations_min = few;
    EXPECT_EQ(vault_->substrings().train(options).code(), Errc::invalid) << few;
    EXPECT_EQ(vault_->substrings().compact(options).code(), Errc::invalid) << few;
  }
  // As an earlier build may have kept it.
  const std::string nobodys = "No conversation here has ever said this sentence of another vault.";
  SubstringSet set;
  for (const std::string& text : {kGreeting, nobodys}) {
    ASSERT_OK(set.add(std::vector<Token>(text.begin(), text.end()), {3, 3, 5}));
  }
  ASSERT_OK(vault_->substrings().add(set));
  auto change = vault_->substrings().train(training());
  ASSERT_OK(change);
  EXPECT_EQ(change->dropped, 1u);
  EXPECT_EQ(change->added, 1u);
  EXPECT_EQ(active(), (std::set<std::string>{kPolicy, nobodys}));
  // Three of six are forgotten.
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back("a" + std::to_string(i));
  ASSERT_OK(vault_->forget(ids));
  change = vault_->substrings().train(training());
  ASSERT_OK(change);
  EXPECT_EQ(change->dropped, 1u);
  EXPECT_EQ(active(), std::set<std::string>{nobodys});
}

TEST_F(SubstringsOfAVault, AreNotSharedBetweenTenants) {
  put("a", kPolicy, 3, "red");
  put("b", kPolicy, 3, "blue");
  for (const std::string tenant : {"red", "blue"}) {
    const auto change = vault_->substrings().train(training(), tenant);
    ASSERT_OK(change);
    EXPECT_EQ(change->runs, 0u);
  }
  put("c", kPolicy, 3, "red");
  ASSERT_OK(vault_->substrings().train(training(), "red"));
  EXPECT_EQ(active("red").size(), 1u);
  EXPECT_TRUE(active("blue").empty());
  const std::uint64_t number = vault_->substrings().list("red")->at(0).number;
  EXPECT_EQ(vault_->substrings().get(number, "blue").code(), Errc::not_found);
}

TEST_F(SubstringsOfAVault, ATenantThatIsNotThereHasNothingAndIsNotMade) {
  const std::vector<SubstringId> ids{1};
  for (const auto& change : {vault_->substrings().train(training(), "nobody"),
                             vault_->substrings().compact(training(), "nobody"),
                             vault_->substrings().retain(ids, "nobody")}) {
    ASSERT_OK(change);
    EXPECT_EQ(change->runs, 0u);
  }
  const auto tenants = vault_->tenants();
  ASSERT_OK(tenants);
  EXPECT_EQ(*tenants, std::vector<std::string>{"default"});
}

TEST_F(SubstringsOfAVault, RetainKeepsWhatIsAskedForAndIdsAreNotUsedAgain) {
  put("a", kPolicy, 6);
  put("b", kGreeting, 6);
  ASSERT_OK(vault_->substrings().train(training()));
  const auto set = *vault_->substrings().active();
  ASSERT_EQ(set->size(), 2u);
  const SubstringId kept[] = {1};
  auto change = vault_->substrings().retain(kept);
  ASSERT_OK(change);
  EXPECT_EQ(change->dropped, 1u);
  open();
  change = vault_->substrings().train(training());
  ASSERT_OK(change);
  const auto now = *vault_->substrings().active();
  ASSERT_EQ(now->size(), 2u);
  EXPECT_EQ(now->list()[0].id, 1u);
  EXPECT_EQ(now->list()[1].id, 3u);
  change = vault_->substrings().retain({});
  ASSERT_OK(change);
  EXPECT_EQ(change->dropped, 2u);
  open();
  ASSERT_OK(vault_->substrings().train(training()));
  EXPECT_EQ((*vault_->substrings().active())->list()[0].id, 4u);
}

TEST_F(SubstringsOfAVault, CompactDropsWhatNoLongerPays) {
  put("a", kPolicy, 6);
  put("b", kGreeting, 6);
  ASSERT_OK(vault_->substrings().train(training()));
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back("b" + std::to_string(i));
  ASSERT_OK(vault_->forget(ids));
  const auto change = vault_->substrings().compact(training());
  ASSERT_OK(change);
  EXPECT_EQ(change->dropped, 1u);
  EXPECT_EQ(active(), std::set<std::string>{kPolicy});
}

// What was stored before the training copies from the set afterwards, where that is smaller.
TEST_F(SubstringsOfAVault, CompactRewritesThePacksThatBecomeSmaller) {
  Rng rng(5);
  const std::string terms = random_text(rng, 300);
  for (int i = 0; i < 6; ++i) {
    put("c" + std::to_string(i) + "-", terms, 1);
    ASSERT_OK(vault_->seal());
  }
  ASSERT_OK(vault_->put(chat("alone", {noise(1) + "has nothing in common with them"}), {}));
  ASSERT_OK(vault_->seal());
  ASSERT_EQ(vault_->stats()->packs, 7u);
  const auto before = contents(*vault_);
  ASSERT_OK(before);
  const auto trained = vault_->substrings().train(training());
  ASSERT_OK(trained);
  EXPECT_EQ(trained->packs, 0u);
  const auto names_set = [&] {
    const auto explained = vault_->explain();
    EXPECT_OK(explained);
    std::uint64_t files = 0;
    for (const StoredStream& s : explained->streams) {
      const bool does = std::find(s.artifacts.begin(), s.artifacts.end(),
                                  (*vault_->substrings().list())[0].number) != s.artifacts.end();
      if (does) files += s.files;
    }
    return files;
  };
  EXPECT_EQ(names_set(), 0u);
  // Stopped after two, it has done two.
  int calls = 0;
  const auto stopped = vault_->substrings().compact(
      training(), {}, [&](std::uint64_t, std::uint64_t) { return ++calls <= 2; });
  EXPECT_EQ(stopped.code(), Errc::cancelled);
  EXPECT_EQ(names_set(), 2u);
  const std::uint64_t pack_bytes = vault_->stats()->pack_bytes;
  const auto change = vault_->substrings().compact(training());
  ASSERT_OK(change);
  EXPECT_EQ(change->dropped, 0u);
  EXPECT_EQ(change->packs, 4u);
  EXPECT_LT(change->bytes_after, change->bytes_before);
  EXPECT_EQ(vault_->stats()->pack_bytes, pack_bytes + change->bytes_after - change->bytes_before);
  EXPECT_EQ(names_set(), 6u);
  const auto again = vault_->substrings().compact(training());
  ASSERT_OK(again);
  EXPECT_EQ(again->packs, 0u);
  EXPECT_EQ(place_.disk.list("packs")->size(), 7u);
  open();
  const auto after = contents(*vault_);
  ASSERT_OK(after);
  EXPECT_TRUE(*after == *before);
  EXPECT_TRUE(vault_->check({.read_data = true})->findings.empty());
}

// Promise: what only forgotten conversations held is in no file after gc.
TEST_F(SubstringsOfAVault, GcTakesOutWhatNoConversationHoldsAnyMore) {
  put("a", kPolicy, 6);
  put("b", kGreeting, 6);
  ASSERT_OK(vault_->substrings().train(training()));
  ASSERT_EQ(active(), (std::set<std::string>{kPolicy, kGreeting}));
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back("b" + std::to_string(i));
  ASSERT_OK(vault_->forget(ids));
  ASSERT_OK(vault_->gc(false));
  EXPECT_EQ(active(), (std::set<std::string>{kPolicy, kGreeting}));  // one still holds it
  const std::string last[] = {"b5"};
  ASSERT_OK(vault_->forget(last));
  ASSERT_OK(vault_->gc(true));  // only says what it would do
  EXPECT_EQ(active().size(), 2u);
  ASSERT_OK(vault_->gc(false));
  EXPECT_EQ(active(), std::set<std::string>{kPolicy});
  EXPECT_EQ(artifacts(), 1u);
  open();
  EXPECT_EQ(active(), std::set<std::string>{kPolicy});
  EXPECT_EQ((*vault_->substrings().active())->next_id(), 3u);
  EXPECT_TRUE(vault_->check({.read_data = true})->findings.empty());
}

// That the set is another one may be what fills the log: nobody seals it beside gc or compact,
// which would bring back what they leave out.
TEST_F(SubstringsOfAVault, AFullLogIsNotSealedBesideTheRewrite) {
  for (const bool compacts : {false, true}) {
    place_ = MemoryPlace();
    SetUp();
    put("policy", kPolicy, 6);
    put("greeting", kGreeting, 4);
    ASSERT_OK(vault_->substrings().train(training()));
    ASSERT_EQ(active().size(), 2u);
    ASSERT_OK(vault_->compact(Level::fast));
    put("late", kGreeting, 1);
    put("other", "", 3);
    ASSERT_OK(vault_->forget(
        std::vector<std::string>{"greeting0", "greeting1", "greeting2", "greeting3"}));
    ASSERT_OK(vault_->gc(false));
    ASSERT_EQ(active().size(), 2u) << "late0 holds it";
    ASSERT_OK(vault_->forget(std::vector<std::string>{"late0"}));
    auto expected = contents(*vault_);
    ASSERT_OK(expected);
    vault_.reset();
    auto full = place_.open({.level = Level::fast, .log_bytes_max = 1});
    ASSERT_OK(full);
    vault_ = std::move(*full);
    if (compacts) {
      ASSERT_OK(vault_->compact(Level::fast));
    } else {
      ASSERT_OK(vault_->gc(false));
    }
    EXPECT_EQ(active().size(), 1u);
    ASSERT_OK(vault_->seal());
    for (int opened = 0; opened < 2; ++opened) {
      EXPECT_EQ(vault_->get("late0").code(), Errc::not_found);
      const auto now = contents(*vault_);
      ASSERT_OK(now);
      EXPECT_TRUE(*now == *expected);
      const auto report = vault_->check({.read_data = true});
      ASSERT_OK(report);
      EXPECT_TRUE(report->findings.empty());
      open();
    }
  }
}

TEST_F(SubstringsOfAVault, CompactingTheVaultDoesSoToo) {
  put("a", kPolicy, 6);
  put("b", kGreeting, 6);
  ASSERT_OK(vault_->substrings().train(training()));
  std::vector<std::string> ids;
  for (int i = 0; i < 6; ++i) ids.push_back("b" + std::to_string(i));
  ASSERT_OK(vault_->forget(ids));
  ASSERT_OK(vault_->compact(CompactOptions{}));
  EXPECT_EQ(active(), std::set<std::string>{kPolicy});
  EXPECT_EQ(artifacts(), 1u);
  open();
  EXPECT_EQ(active(), std::set<std::string>{kPolicy});
}

// One that is missing or damaged, and that no file needs, can be given up; ids are not given out
// again.
TEST_F(SubstringsOfAVault, ASetThatCannotBeReadCanBeGivenUp) {
  for (const bool missing : {true, false}) {
    const std::string prefix = missing ? "m" : "d";
    put(prefix, kPolicy + prefix, 5);
    const auto trained = vault_->substrings().train(training());
    ASSERT_OK(trained);
    const SubstringId first = (*vault_->substrings().active())->list().front().id;
    const std::string name = artifact_name(trained->number);
    vault_.reset();
    Buffer bytes;
    ASSERT_OK(place_.disk.get(name, 0, *place_.disk.size(name), bytes));
    ASSERT_OK(place_.disk.remove(name));
    bytes[bytes.size() - 2] ^= 4;
    if (!missing) {
      ASSERT_OK(place_.disk.put(name, bytes));
    }
    open();
    EXPECT_EQ(vault_->substrings().active().code(), Errc::corrupt);
    EXPECT_EQ(vault_->substrings().retain(std::vector<SubstringId>{first}).code(), Errc::corrupt);
    EXPECT_EQ(vault_->substrings().train(training()).code(), Errc::corrupt);
    EXPECT_FALSE(vault_->check({})->findings.empty());
    ASSERT_OK(vault_->substrings().retain({}));
    ASSERT_OK(vault_->gc(false));
    const auto report = vault_->check({.read_data = true});
    ASSERT_OK(report);
    for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
    const auto again = vault_->substrings().train(training());
    ASSERT_OK(again);
    EXPECT_GT(again->runs, 0u);
    EXPECT_GT((*vault_->substrings().active())->list().front().id, trained->runs);
  }
}

TEST_F(SubstringsOfAVault, ARunThatIsNotThereIsNotRetained) {
  put("p", kPolicy, 5);
  const auto trained = vault_->substrings().train(training());
  ASSERT_OK(trained);
  const auto runs = (*vault_->substrings().active())->list();
  ASSERT_FALSE(runs.empty());
  const std::vector<SubstringId> ids{runs.front().id, 9999};
  EXPECT_EQ(vault_->substrings().retain(ids).code(), Errc::not_found);
  EXPECT_EQ((*vault_->substrings().active())->size(), runs.size());
}

TEST_F(SubstringsOfAVault, SetsFromElsewhereAreAdded) {
  const auto run = [&](const std::string& text) {
    return std::vector<Token>(text.begin(), text.end());
  };
  SubstringSet set;
  ASSERT_OK(set.add_as(7, run(kPolicy), {3, 0, 5}));
  auto change = vault_->substrings().add(set);
  ASSERT_OK(change);
  EXPECT_EQ(change->added, 1u);
  EXPECT_EQ((*vault_->substrings().active())->list()[0].id, 7u);
  SubstringSet more;
  ASSERT_OK(more.add(run(kPolicy), {}));
  ASSERT_OK(more.add(run(kGreeting), {}));
  change = vault_->substrings().add(more);
  ASSERT_OK(change);
  EXPECT_EQ(change->added, 1u);
  const auto infos = (*vault_->substrings().active())->list();
  ASSERT_EQ(infos.size(), 2u);
  EXPECT_EQ(infos[1].id, 8u);
}

TEST_F(SubstringsOfAVault, TheCatalogCanBeLost) {
  put("a", kPolicy, 6);
  ASSERT_OK(vault_->substrings().train(training()));
  ASSERT_OK(vault_->seal());
  vault_.reset();
  MemoryPlace without{place_.disk, SharedCatalog()};
  ASSERT_OK(Vault::repair(without.disk, without.catalog));
  auto vault = without.open({.level = Level::fast});
  ASSERT_OK(vault);
  vault_ = std::move(*vault);
  EXPECT_EQ(active(), std::set<std::string>{kPolicy});
}

}  // namespace
}  // namespace tokvault
