// Power loss and failing writes. A script of operations is stopped at every call that changes
// storage, and for each stop everything that a disk may make of what was not synced is tried: what
// was acknowledged is there and whole, nothing half done is seen, and the vault goes on. Then every
// write of the script fails once, and every commit of the catalog.
//
// Commits of the catalog are atomic and durable here; SQLite's own crashes are in kill_test and in
// the catalog's conformance tests.
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <mutex>
#include <new>
#include <optional>
#include <thread>

#include "codec/dictionary.h"
#include "tests/vault/harness.h"

namespace tokvault {
namespace {

// All that a user can see of a vault.
struct Seen {
  Contents conversations;
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> tags;
  std::uint64_t import_lines = 0;
  Held held;
  std::vector<std::tuple<std::uint32_t, bool, Buffer>> dictionaries;  // id, active, bytes
  std::vector<std::vector<Token>> substrings;                         // of the active set
  bool operator==(const Seen&) const = default;
};

constexpr const char* kSource = "the input";

Result<Seen> see(const Vault& vault) {
  Seen seen;
  TOKVAULT_ASSIGN(seen.conversations, contents(vault));
  for (const auto& [key, c] : seen.conversations) {
    TOKVAULT_ASSIGN(const Summary s, vault.summary(key.second, key.first));
    if (!s.tags.empty()) seen.tags[key] = s.tags;
  }
  if (const auto progress = vault.import_progress(kSource)) seen.import_lines = progress->lines;
  TOKVAULT_ASSIGN(seen.held, held(vault));
  TOKVAULT_ASSIGN(const auto list, vault.dictionaries().list());
  for (const DictionaryInfo& d : list) {
    TOKVAULT_ASSIGN(Buffer bytes, vault.dictionaries().get(d.id));
    seen.dictionaries.emplace_back(d.id, d.active, std::move(bytes));
  }
  TOKVAULT_ASSIGN(const auto set, vault.substrings().active());
  for (const TokenView run : set->runs()) seen.substrings.emplace_back(run.begin(), run.end());
  return seen;
}

// Trained on texts like those of the script.
const Buffer& dictionary() {
  static const Buffer bytes = [] {
    Buffer samples;
    std::vector<std::size_t> sizes;
    for (std::uint64_t i = 0; i < 60; ++i) {
      const std::string text = shared_text(i % 30);
      samples += text;
      sizes.push_back(text.size());
    }
    auto trained = train_dictionary(samples, sizes, 1500);
    EXPECT_OK(trained);
    return trained ? *trained : Buffer();
  }();
  return bytes;
}

std::uint32_t dictionary_number() { return *dictionary_id(dictionary()); }

struct Step {
  std::string name;
  std::function<Status(Vault&)> run;
  // Several commits under one sync: a crash may leave the first of them.
  bool several = false;
  // Its last part changes nothing that is seen: if that fails, the rest has taken place.
  bool in_parts = false;
};

template <class T>
Status status_of(Result<T> result) {
  if (result) return {};
  return std::move(result).error();
}

Status put(Vault& vault, const Conversation& c, const PutOptions& options = {}) {
  return status_of(vault.put(c, options));
}

std::vector<Token> tokens_of(const std::string& text) {
  std::vector<Token> tokens;
  for (char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

// Long and short, of tokens that conversations have, too, and of bytes.
std::vector<Segment> some_segments() {
  return {Segment::of_tokens(tokens_of(shared_text(1))), Segment::of_bytes(shared_text(8)),
          Segment::of_bytes("short")};
}

std::vector<SegmentId> some_ids() {
  std::vector<SegmentId> ids;
  for (const Segment& s : some_segments()) ids.push_back(s.id());
  return ids;
}

std::vector<std::string> sharing_ids() { return {"s0", "s1", "s2", "s3"}; }

SubstringTraining training() {
  SubstringTraining options;
  options.memory_bytes = 1u << 20;
  return options;
}

Status retain_first_run(Vault& vault) {
  TOKVAULT_ASSIGN(const auto set, vault.substrings().active());
  const std::vector<SubstringInfo> runs = set->list();
  if (runs.empty()) return Error(Errc::not_found, "there is no run to retain");
  return status_of(vault.substrings().retain({&runs[0].id, 1}));
}

std::vector<Step> main_steps() {
  static const std::vector<std::string> kA{"a"}, kRed{"red"}, kNone, kC{"c"};
  return {
      {"put a", [](Vault& v) { return put(v, conversation("a", {shared_text(1), "short"})); }},
      {"import b, c, d",
       [](Vault& v) {
         const std::vector<Conversation> batch{conversation("b", {shared_text(2)}),
                                               conversation("c", {shared_text(3)}),
                                               conversation("d", {shared_text(1), shared_text(4)})};
         ImportProgress progress;
         progress.source = kSource;
         progress.lines = 3;
         progress.bytes = 300;
         return status_of(v.put_batch(batch, {}, &progress));
       }},
      {"put e of another tenant",
       [](Vault& v) { return put(v, conversation("e", {shared_text(1)}), {.tenant = "acme"}); }},
      {"tag a", [](Vault& v) { return v.tag(kA, kRed, kNone); }},
      {"append to a",
       [](Vault& v) {
         const std::vector<Message> more{Message::of_text("user", "one more")};
         return v.append("a", more);
       }},
      {"replace b",
       [](Vault& v) {
         return put(v, conversation("b", {"another", shared_text(5)}), {.replace = true});
       }},
      {"put segments", [](Vault& v) { return status_of(v.put_segments(some_segments())); }},
      {"seal", [](Vault& v) { return v.seal(); }},
      {"hold segments",
       [](Vault& v) { return status_of(v.hold_segments(some_ids(), {.holder = "x"})); }},
      {"put f, which shares text with a pack",
       [](Vault& v) { return put(v, conversation("f", {shared_text(1), shared_text(4), "x"})); }},
      {"two tenants under one sync",
       [](Vault& v) -> Status {
         TOKVAULT_TRY(v.put_async(conversation("g", {shared_text(6)}), {}));
         TOKVAULT_TRY(v.put_async(conversation("h", {shared_text(6)}), {.tenant = "acme"}));
         return v.flush();
       },
       true},
      {"seal again", [](Vault& v) { return v.seal(); }},
      {"release segments", [](Vault& v) { return status_of(v.release_segments(some_ids())); }},
      {"forget c", [](Vault& v) { return status_of(v.forget(kC)); }},
      {"merge what is due", [](Vault& v) { return v.finish_merging(); }},
      {"gc", [](Vault& v) { return status_of(v.gc(false)); }},
      {"put c again", [](Vault& v) { return put(v, conversation("c", {shared_text(3)})); }},
      {"compact", [](Vault& v) { return status_of(v.compact(Level::fast)); }},
      {"replace a segment",
       [](Vault& v) {
         return status_of(v.replace_segments({some_ids().data() + 1, 1}, Level::balanced));
       }},
      {"release the last",
       [](Vault& v) { return status_of(v.release_segments(some_ids(), {.holder = "x"})); }},
      {"untag a", [](Vault& v) { return v.tag(kA, kNone, kRed); }},
      {"forget a tenant",
       [](Vault& v) {
         Filter filter;
         filter.tenant = "acme";
         return status_of(v.forget(filter));
       }},
      {"add a dictionary",
       [](Vault& v) { return status_of(v.dictionaries().add(dictionary(), {.created_ms = 1})); }},
      {"activate it", [](Vault& v) { return v.dictionaries().activate(dictionary_number()); }},
      {"put j with it", [](Vault& v) { return put(v, conversation("j", {shared_text(8)})); }},
      {"gc again, which retires it", [](Vault& v) { return status_of(v.gc(false)); }, false, true},
      {"finish the import",
       [](Vault& v) {
         const std::vector<Conversation> batch{conversation("i", {shared_text(7)})};
         ImportProgress progress;
         progress.source = kSource;
         progress.finished = true;
         return status_of(v.put_batch(batch, {}, &progress));
       }},
      {"add it again",
       [](Vault& v) { return status_of(v.dictionaries().add(dictionary(), {.created_ms = 1})); }},
      {"activate it again",
       [](Vault& v) { return v.dictionaries().activate(dictionary_number()); }},
      {"put l with it", [](Vault& v) { return put(v, conversation("l", {shared_text(10)})); }},
      {"seal what needs it", [](Vault& v) { return v.seal(); }},
      {"put k with it", [](Vault& v) { return put(v, conversation("k", {shared_text(9)})); }},
      {"retire it", [](Vault& v) { return v.dictionaries().retire(dictionary_number(), true); }},
  };
}

// By themselves, since what a script takes grows with the square of its length.
std::vector<Step> substring_steps() {
  return {
      {"put i", [](Vault& v) { return put(v, conversation("i", {shared_text(7)})); }},
      {"put four that share two passages",
       [](Vault& v) {
         std::vector<Conversation> batch;
         for (const std::string& id : sharing_ids()) {
           batch.push_back(
               conversation(id, {id + shared_text(20) + id + id, id + id + shared_text(21) + id}));
         }
         return status_of(v.put_batch(batch, {}));
       }},
      {"seal what shares them", [](Vault& v) { return v.seal(); }},
      {"train substrings", [](Vault& v) { return status_of(v.substrings().train(training())); }},
      {"compact substrings", [](Vault& v) { return status_of(v.substrings().compact(training())); },
       false, true},
      {"retain one of them", retain_first_run, false, true},
      {"add a run of a conversation",
       [](Vault& v) -> Status {
         SubstringSet set;
         TOKVAULT_TRY(set.add(tokens_of(shared_text(7)), {}));
         return status_of(v.substrings().add(set));
       },
       false, true},
      {"forget what shares a passage", [](Vault& v) { return status_of(v.forget(sharing_ids())); }},
      {"gc, which takes the passage out", [](Vault& v) { return status_of(v.gc(false)); }, false,
       true},
  };
}

VaultOptions options_of(std::uint64_t log_bytes_max, std::uint64_t merge_bytes_min = UINT64_MAX) {
  VaultOptions options;
  options.merge_bytes_min = merge_bytes_min;
  options.level = Level::fast;
  options.threads = 1;
  options.log_bytes_max = log_bytes_max;
  return options;
}

// What is seen after 0, 1, ... steps.
std::vector<Seen> seen_after(const std::vector<Step>& steps) {
  std::vector<Seen> out;
  MemoryPlace place;
  EXPECT_OK(place.create());
  auto vault = place.open(options_of(1 << 20));
  EXPECT_OK(vault);
  out.emplace_back();
  for (const Step& step : steps) {
    EXPECT_OK(step.run(**vault)) << step.name;
    auto seen = see(**vault);
    EXPECT_OK(seen);
    // The script is of no use if these steps do nothing.
    const std::size_t runs_before = out.back().substrings.size();
    const std::size_t runs = seen->substrings.size();
    if (step.name.starts_with("gc again")) {
      EXPECT_FALSE(out.back().dictionaries.empty());
      EXPECT_TRUE(seen->dictionaries.empty());
    } else if (step.name == "compact substrings") {
      EXPECT_GT((*vault)->substrings().list()->at(0).files, 0u) << "no pack copies from the set";
    } else if (step.name.starts_with("retain")) {
      EXPECT_EQ(runs, 1u);
      EXPECT_GT(runs_before, 1u);
    } else if (step.name.starts_with("add a run")) {
      EXPECT_EQ(runs, 2u);
    } else if (step.name.starts_with("gc, which")) {
      EXPECT_EQ(runs, 1u);
      EXPECT_EQ(runs_before, 2u);
    }
    out.push_back(std::move(*seen));
  }
  return out;
}

// Operations, and what is seen after each.
struct Script {
  explicit Script(std::vector<Step> all)
      : steps(std::move(all)), seen(seen_after(steps)), seen_repaired(seen) {
    for (Seen& s : seen_repaired) s.import_lines = 0;
  }
  const std::vector<Step> steps;
  const std::vector<Seen> seen;
  // Without a catalog nobody knows which files are gone: imports begin again.
  std::vector<Seen> seen_repaired;
};

const Script& main_script() {
  static const Script script(main_steps());
  return script;
}

std::vector<const Script*> scripts() {
  static const Script of_substrings(substring_steps());
  return {&main_script(), &of_substrings};
}

bool is_between(const Seen& seen, const Seen& before, const Seen& after) {
  for (const auto& [key, c] : before.conversations) {
    if (!seen.conversations.contains(key)) return false;
  }
  for (const auto& [key, c] : seen.conversations) {
    const auto it = after.conversations.find(key);
    if (it == after.conversations.end() || !(it->second == c)) return false;
  }
  return seen.tags == before.tags && seen.import_lines == before.import_lines &&
         seen.held == before.held && seen.dictionaries == before.dictionaries &&
         seen.substrings == before.substrings;
}

// What may be seen when `done` steps were acknowledged, and another one was under way if `busy`.
std::string compare(const Script& script, const std::vector<Seen>& states, const Seen& seen,
                    std::size_t done, bool busy) {
  if (seen == states[done]) return {};
  if (busy && done + 1 < states.size()) {
    if (seen == states[done + 1]) return {};
    if (script.steps[done].several && is_between(seen, states[done], states[done + 1])) return {};
  }
  std::string ids;
  for (const auto& [key, c] : seen.conversations) ids += " " + key.first + "/" + key.second;
  return "after " + std::to_string(done) + " steps there is:" + ids;
}

// Opens what a crash left, and goes on.
std::string recovered(const Script& script, const std::vector<Seen>& states,
                      const MemoryPlace& place, std::size_t done, bool busy) {
  Seen first;
  {
    auto vault = place.open(options_of(1 << 20));
    if (!vault) return "opening: " + why(vault);
    auto seen = see(**vault);
    if (!seen) return "reading: " + why(seen);
    if (auto problem = compare(script, states, *seen, done, busy); !problem.empty()) return problem;
    const auto report = (*vault)->check({.read_data = true});
    if (!report) return "check: " + why(report);
    if (!report->findings.empty()) {
      return "check finds " + report->findings[0].file + ": " + report->findings[0].message;
    }
    if (auto written = put(**vault, conversation("after", {shared_text(1), "z"})); !written) {
      return "writing: " + why(written);
    }
    first = std::move(*seen);
  }
  auto vault = place.open(options_of(1 << 20));
  if (!vault) return "opening once more: " + why(vault);
  auto seen = see(**vault);
  if (!seen) return "reading once more: " + why(seen);
  if (seen->conversations.erase({"default", "after"}) != 1) return "what was written is not there";
  if (!(*seen == first)) return "writing changed what is seen";
  return {};
}

// The same for a catalog that was lost in the crash.
std::string repaired(const Script& script, const MemoryPlace& place, std::size_t done, bool busy) {
  MemoryPlace without{place.disk, SharedCatalog()};
  {
    FaultBackend disk = without.disk;
    const auto report = Vault::repair(disk, without.catalog);
    if (!report) return "repair: " + why(report);
  }
  auto problem = recovered(script, script.seen_repaired, without, done, busy);
  return problem.empty() ? problem : "after repair, " + problem;
}

// Forwards to a disk, but has sync() do nothing: the canary.
class Unsynced final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  Status sync(std::string_view) override { return {}; }
};

// Forwards to a disk, whose syncs take their time.
class SlowToSync final : public ForwardingBackend {
 public:
  explicit SlowToSync(const FaultBackend& disk) : ForwardingBackend(disk), disk_(disk) {}
  Status append(std::string_view name, ByteView bytes) override {
    std::lock_guard lock(mutex_);
    return ForwardingBackend::append(name, bytes);
  }
  Status sync(std::string_view name) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::lock_guard lock(mutex_);
    return ForwardingBackend::sync(name);
  }
  // As it is found if power is lost now, and nothing was written that no sync has covered.
  FaultBackend power_cut() {
    std::lock_guard lock(mutex_);
    const std::vector<Fate> dropped(disk_.pending().size(), Fate::dropped);
    return disk_.power_cut(dropped, 1);
  }

 private:
  const FaultBackend disk_;
  std::mutex mutex_;  // over what is pending
};

struct Crash {
  std::uint64_t call = 1;
  Fault::Effect effect = Fault::Effect::none;
  std::uint64_t log_bytes_max = 1 << 20;
  bool unsynced = false;
  std::uint64_t merge_bytes_min = UINT64_MAX;
};

// All fates of the writes that wait, while they are few.
std::vector<FaultBackend> outcomes(const FaultBackend& disk, std::uint64_t seed) {
  std::vector<FaultBackend> out{disk.process_kill()};
  const std::size_t n = disk.pending().size();
  if (n == 0) {
    out.push_back(disk.power_cut(seed));
  } else if (n <= 3) {
    for (std::uint64_t i = 0; i < std::uint64_t{1} << (2 * n); ++i) {
      std::vector<Fate> fates;
      for (std::size_t w = 0; w < n; ++w) fates.push_back(static_cast<Fate>(i >> (2 * w) & 3));
      out.push_back(disk.power_cut(fates, seed + i));
    }
  } else {
    for (std::uint64_t i = 0; i < 12; ++i) out.push_back(disk.power_cut(seed + i));
  }
  return out;
}

// Runs the script into a crash. `struck` says whether it came to the call at all.
std::string crash(const Script& script, const Crash& how, bool& struck) {
  MemoryPlace place;
  if (auto made = place.create(); !made) return why(made);
  std::unique_ptr<Backend> backend = std::make_unique<FaultBackend>(place.disk);
  if (how.unsynced) backend = std::make_unique<Unsynced>(place.disk);
  auto vault = Vault::open(std::move(backend), std::make_unique<SharedCatalog>(place.catalog),
                           options_of(how.log_bytes_max, how.merge_bytes_min));
  if (!vault) return why(vault);
  place.disk.fail({.call = how.call, .effect = how.effect, .stay = true});
  std::size_t done = 0;
  bool busy = false;
  const auto& steps = script.steps;
  for (; done < steps.size(); ++done) {
    if (steps[done].run(**vault)) continue;
    busy = true;
    break;
  }
  struck = place.disk.has_failed();
  if (busy && !struck) return "step \"" + steps[done].name + "\" fails without a fault";
  const auto found = outcomes(place.disk, how.call * 1000);
  for (std::size_t i = 0; i < found.size(); ++i) {
    auto in_case = [&](const std::string& problem) {
      return "call " + std::to_string(how.call) + ", effect " +
             std::to_string(static_cast<int>(how.effect)) + ", " +
             (busy ? "in step \"" + steps[done].name + "\"" : "after all steps") + ", outcome " +
             std::to_string(i) + " of " + std::to_string(found.size()) + ": " + problem;
    };
    const MemoryPlace left = MemoryPlace::of(found[i], place.catalog);
    const MemoryPlace copy = MemoryPlace::of(found[i].process_kill(), place.catalog);
    if (auto problem = recovered(script, script.seen, left, done, busy); !problem.empty())
      return in_case(problem);
    if (auto problem = repaired(script, copy, done, busy); !problem.empty())
      return in_case(problem);
  }
  return {};
}

constexpr Fault::Effect kEffects[] = {Fault::Effect::none, Fault::Effect::half,
                                      Fault::Effect::whole};

TEST(VaultCrash, AtEveryCallWithEveryOutcome) {
  for (const Script* script : scripts()) {
    std::uint64_t calls = 0;
    bool struck = true;
    for (std::uint64_t call = 1; struck; ++call) {
      for (const Fault::Effect effect : kEffects) {
        EXPECT_EQ(crash(*script, {.call = call, .effect = effect}, struck), "");
        if (HasFailure()) return;
      }
      calls = call;
    }
    EXPECT_GT(calls, 30u);
    std::cout << calls << " calls\n";
  }
}

// With logs so small that they are sealed in the background.
TEST(VaultCrash, WhileLogsAreSealedInTheBackground) {
  for (const Script* script : scripts()) {
    bool struck = true;
    for (std::uint64_t call = 1; struck; ++call) {
      EXPECT_EQ(crash(*script, {.call = call, .log_bytes_max = 500}, struck), "");
      if (HasFailure()) return;
    }
  }
}

// And packs merged beside what the script does. Which call is the writer's and which the merge's
// differs from run to run; what must be found afterwards does not.
TEST(VaultCrash, WhilePacksAreMergedInTheBackground) {
  for (const Script* script : scripts()) {
    for (const std::uint64_t log_bytes_max : {1u << 20, 500u}) {
      bool struck = true;
      for (std::uint64_t call = 1; struck; ++call) {
        const Crash how{.call = call,
                        .effect = kEffects[call % std::size(kEffects)],
                        .log_bytes_max = log_bytes_max,
                        .merge_bytes_min = 0};
        EXPECT_EQ(crash(*script, how, struck), "");
        if (HasFailure()) return;
      }
    }
  }
}

// The check itself is checked: an engine that does not sync must fail it.
TEST(VaultCrash, ACanaryThatDoesNotSyncIsFound) {
  bool struck = true;
  std::size_t found = 0;
  for (std::uint64_t call = 1; struck; ++call) {
    if (!crash(main_script(), {.call = call, .unsynced = true}, struck).empty()) ++found;
  }
  EXPECT_GT(found, 10u);
}

// --- failing writes ----------------------------------------------------------------------------

// A catalog whose n-th commit fails, before or after it took place.
class FaultyCatalog final : public Catalog {
 public:
  struct Plan {
    std::uint64_t call = 0;  // 0: none
    bool applied = false;
    bool struck = false;
  };
  FaultyCatalog(const SharedCatalog& to, std::shared_ptr<Plan> plan)
      : to_(to), plan_(std::move(plan)) {}
  Result<CatalogState> load() const override { return to_.load(); }
  Result<std::uint64_t> generation() const override { return to_.generation(); }
  Result<std::uint64_t> commit(const CatalogChange& change) override {
    if (plan_->call == 0 || --plan_->call > 0) return to_.commit(change);
    plan_->struck = true;
    if (plan_->applied) TOKVAULT_TRY(to_.commit(change));
    return Error(Errc::io, "injected fault of the catalog", EIO);
  }
  Status reset(const CatalogState& state) override { return to_.reset(state); }
  Status vacuum() override { return to_.vacuum(); }

 private:
  SharedCatalog to_;
  std::shared_ptr<Plan> plan_;
};

// Where a step that failed is taken up again.
enum class TakenUp { here, opened_again };

// Runs the script, opening the vault again after a step that failed; the step may have taken place
// by then. Each step is then taken up again: those of the script may be repeated. In the vault that
// it failed in they may fail for good, if the log did: then it is opened again, too.
std::string fail_once(const Script& script, const Fault* fault, const FaultyCatalog::Plan& plan,
                      bool& struck, TakenUp taken_up = TakenUp::opened_again) {
  MemoryPlace place;
  if (auto made = place.create(); !made) return why(made);
  const auto catalog_plan = std::make_shared<FaultyCatalog::Plan>(plan);
  auto open = [&] {
    return Vault::open(std::make_unique<FaultBackend>(place.disk),
                       std::make_unique<FaultyCatalog>(place.catalog, catalog_plan),
                       options_of(1 << 20));
  };
  auto vault = open();
  if (!vault) return why(vault);
  if (fault != nullptr) place.disk.fail(*fault);
  const auto& steps = script.steps;
  for (std::size_t done = 0; done < steps.size(); ++done) {
    auto in_step = [&](const std::string& problem) {
      return "step \"" + steps[done].name + "\": " + problem;
    };
    const Status status = steps[done].run(**vault);
    if (status) continue;
    const Errc wanted = fault != nullptr && fault->os_code == ENOSPC ? Errc::exhausted : Errc::io;
    if (status.code() != wanted) return in_step("fails with " + why(status));
    // In this process nothing of it is seen.
    auto seen = see(**vault);
    if (!seen) return in_step("then reading fails: " + why(seen));
    // A read that fails refuses what needs it, and not what is committed with that.
    const bool in_parts =
        steps[done].in_parts || (fault != nullptr && fault->kind == Fault::Kind::get);
    if (auto problem = compare(script, script.seen, *seen, done, in_parts); !problem.empty()) {
      return in_step("it failed, but " + problem);
    }
    if (taken_up == TakenUp::here && steps[done].run(**vault)) {
      seen = see(**vault);
      if (!seen) return in_step("reading after repeating it here: " + why(seen));
      if (auto problem = compare(script, script.seen, *seen, done + 1, false); !problem.empty()) {
        return in_step("repeated here, " + problem);
      }
      continue;
    }
    vault->reset();
    vault = open();
    if (!vault) return in_step("opening again: " + why(vault));
    seen = see(**vault);
    if (!seen) return in_step("reading after opening again: " + why(seen));
    if (auto problem = compare(script, script.seen, *seen, done, true); !problem.empty()) {
      return in_step("opened again, " + problem);
    }
    if (*seen == script.seen[done + 1]) continue;
    if (auto again = steps[done].run(**vault); !again) return in_step("again: " + why(again));
    seen = see(**vault);
    if (!seen) return in_step("reading after repeating it: " + why(seen));
    if (auto problem = compare(script, script.seen, *seen, done + 1, false); !problem.empty()) {
      return in_step("repeated, " + problem);
    }
  }
  struck = place.disk.has_failed() || catalog_plan->struck;
  place.disk.fail_no_more();
  const auto report = (**vault).check({.read_data = true});
  if (!report) return "check: " + why(report);
  if (!report->findings.empty()) {
    return "check: " + report->findings[0].file + ": " + report->findings[0].message;
  }
  vault->reset();
  const std::size_t all = steps.size();
  const MemoryPlace copy = MemoryPlace::of(place.disk.process_kill(), place.catalog);
  if (auto problem = recovered(script, script.seen, place, all, false); !problem.empty())
    return problem;
  return repaired(script, copy, all, false);
}

TEST(VaultCrash, EveryWriteFailsOnce) {
  for (const Script* script : scripts()) {
    for (const int os_code : {ENOSPC, EIO}) {
      for (const Fault::Effect effect : kEffects) {
        bool struck = true;
        for (std::uint64_t call = 1; struck; ++call) {
          struck = false;
          const Fault fault{.call = call, .os_code = os_code, .effect = effect};
          EXPECT_EQ(fail_once(*script, &fault, {}, struck), "")
              << "call " << call << ", errno " << os_code << ", effect "
              << static_cast<int>(effect);
          if (HasFailure()) return;
        }
      }
    }
  }
}

// What a step had written when it failed, and did not name, is gone before it is taken up again in
// the same process: nothing would ever find it later, until the catalog was lost and it came back.
TEST(VaultCrash, EveryCallFailsOnceAndTheVaultIsNotOpenedAgain) {
  for (const Script* script : scripts()) {
    for (const Fault::Kind kind : {Fault::Kind::mutating, Fault::Kind::get}) {
      for (const Fault::Effect effect : {Fault::Effect::none, Fault::Effect::whole}) {
        if (kind == Fault::Kind::get && effect == Fault::Effect::whole) continue;
        bool struck = true;
        for (std::uint64_t call = 1; struck; ++call) {
          struck = false;
          const Fault fault{.call = call, .effect = effect, .kind = kind};
          EXPECT_EQ(fail_once(*script, &fault, {}, struck, TakenUp::here), "")
              << (kind == Fault::Kind::get ? "read " : "write ") << call << ", effect "
              << static_cast<int>(effect);
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST(VaultCrash, EveryCommitOfTheCatalogFailsOnce) {
  for (const Script* script : scripts()) {
    for (const bool applied : {false, true}) {
      bool struck = true;
      for (std::uint64_t call = 1; struck; ++call) {
        struck = false;
        const FaultyCatalog::Plan plan{.call = call, .applied = applied};
        for (const TakenUp taken_up : {TakenUp::here, TakenUp::opened_again}) {
          EXPECT_EQ(fail_once(*script, nullptr, plan, struck, taken_up), "")
              << "commit " << call << (applied ? ", applied" : "");
        }
        if (HasFailure()) return;
      }
    }
  }
}

// A file that could not be removed when it was rewritten is removed later: left behind, and the
// catalog lost, what was erased from it would come back.
TEST(VaultCrash, AFileThatCouldNotBeRemovedDoesNotComeBack) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  {
    auto vault = place.open(options_of(1 << 20));
    ASSERT_OK(vault);
    ASSERT_OK(put(**vault, conversation("a", {"erased later"})));
    ASSERT_OK(put(**vault, conversation("b", {"stays"})));
    ASSERT_OK((*vault)->seal());
    const std::vector<std::string> ids{"a"};
    ASSERT_OK((*vault)->forget(ids));
    bool struck = false;
    for (std::uint64_t call = 1; !struck; ++call) {
      // The removal is the last call of gc.
      place.disk.fail({.call = call});
      const auto collected = (*vault)->gc(false);
      struck = !collected && place.disk.has_failed() &&
               collected.error().message().find("remove") != std::string_view::npos;
      ASSERT_LT(call, 20u);
      if (collected) break;
    }
    place.disk.fail_no_more();
    ASSERT_TRUE(struck);
    ASSERT_OK((*vault)->compact(Level::fast));
    ASSERT_OK((*vault)->compact(Level::fast));
  }
  MemoryPlace without{place.disk, SharedCatalog()};
  FaultBackend disk = without.disk;
  ASSERT_OK(Vault::repair(disk, without.catalog));
  auto vault = without.open();
  ASSERT_OK(vault);
  EXPECT_OK((*vault)->get("b"));
  EXPECT_EQ((*vault)->get("a").code(), Errc::not_found);
}

// A writer that died between append and sync left a batch that can be read, and that a loss of
// power takes away: the next one must not say that it is stored before it is.
TEST(VaultCrash, WhatNobodySyncedIsNotTakenForStored) {
  const Conversation x = conversation("x", {"put twice"});
  MemoryPlace place;
  ASSERT_OK(place.create());
  {
    auto vault = place.open();
    ASSERT_OK(vault);
    ASSERT_OK(put(**vault, conversation("before", {"of the same log"})));
    place.disk.fail({.call = 2, .os_code = EIO});  // the append succeeds
    ASSERT_EQ(put(**vault, x).code(), Errc::io);
  }
  ASSERT_FALSE(place.disk.pending().empty());
  place.disk.fail_no_more();
  {
    auto vault = place.open();
    ASSERT_OK(vault);
    const auto again = (*vault)->put(x, {});
    ASSERT_OK(again);
    EXPECT_EQ(again->outcome, PutResult::Outcome::unchanged);
    ASSERT_OK(put(**vault, conversation("after", {"behind it"})));
    // Later, too: what the system has forgotten to write no later sync covers.
    const std::vector<Fate> dropped(place.disk.pending().size(), Fate::dropped);
    const MemoryPlace left = MemoryPlace::of(place.disk.power_cut(dropped, 1), place.catalog);
    auto reader = left.open({.read_only = true});
    ASSERT_OK(reader);
    for (const char* id : {"before", "x", "after"}) EXPECT_OK((*reader)->get(id)) << id;
    const auto report = (*reader)->check({.read_data = true});
    ASSERT_OK(report);
    for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
  }
}

// A disk on which a call throws, as if there were no memory.
class Throwing final : public ForwardingBackend {
 public:
  Throwing(const FaultBackend& to, std::atomic<bool>& armed, std::string folder)
      : ForwardingBackend(to), armed_(armed), folder_(std::move(folder)) {}
  Status append(std::string_view name, ByteView bytes) override {
    throw_in(name);
    return ForwardingBackend::append(name, bytes);
  }
  Status put(std::string_view name, ByteView bytes) override {
    throw_in(name);
    return ForwardingBackend::put(name, bytes);
  }

 private:
  void throw_in(std::string_view name) {
    if (name.starts_with(folder_) && armed_.exchange(false)) throw std::bad_alloc();
  }
  std::atomic<bool>& armed_;
  const std::string folder_;
};

// What was staged by then is not written, and nothing that refers to it may be.
TEST(VaultCrash, AfterAnExceptionNothingIsWritten) {
  const std::vector<std::pair<const char*, std::function<Status(Vault&, const std::string&)>>> ways{
      {"put",
       [](Vault& v, const std::string& id) { return put(v, conversation(id, {shared_text(1)})); }},
      {"put_batch",
       [](Vault& v, const std::string& id) -> Status {
         const std::vector<Conversation> batch{conversation(id, {shared_text(1)})};
         TOKVAULT_TRY(v.put_batch(batch, {}));
         return {};
       }},
      {"put_async",
       [](Vault& v, const std::string& id) -> Status {
         TOKVAULT_TRY(v.put_async(conversation(id, {shared_text(1)}), {}));
         return v.flush();
       }},
      {"tag",
       [](Vault& v, const std::string&) -> Status {
         return v.tag(std::vector<std::string>{"first"}, std::vector<std::string>{"t"}, {});
       }},
      {"segments",
       [](Vault& v, const std::string& id) -> Status {
         const std::vector<Segment> one{Segment::of_bytes(id + std::string(200, 's'))};
         TOKVAULT_TRY(v.put_segments(one));
         return {};
       }},
  };
  for (const auto& [name, write] : ways) {
    MemoryPlace place;
    ASSERT_OK(place.create());
    std::atomic<bool> armed{false};
    {
      auto vault = Vault::open(std::make_unique<Throwing>(place.disk, armed, "log/"),
                               std::make_unique<SharedCatalog>(place.catalog), {});
      ASSERT_OK(vault);
      ASSERT_OK(put(**vault, conversation("first", {"of the log"})));
      armed = true;
      EXPECT_EQ(write(**vault, "thrown").code(), Errc::exhausted) << name;
      // As after any other failed write.
      EXPECT_EQ(write(**vault, "next").code(), Errc::exhausted) << name;
    }
    auto vault = place.open();
    ASSERT_OK(vault) << name;
    EXPECT_OK(write(**vault, "next")) << name;
    EXPECT_OK((*vault)->get("first")) << name;
    EXPECT_EQ((*vault)->get("thrown").code(), Errc::not_found) << name;
    const auto report = (*vault)->check({.read_data = true});
    ASSERT_OK(report);
    EXPECT_TRUE(report->findings.empty()) << name;
  }
}

TEST(VaultCrash, AnExceptionInAThreadIsAnError) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  std::atomic<bool> armed{false};
  auto vault = Vault::open(std::make_unique<Throwing>(place.disk, armed, "packs/"),
                           std::make_unique<SharedCatalog>(place.catalog), {});
  ASSERT_OK(vault);
  ASSERT_OK(put(**vault, conversation("a", {"x"})));
  armed = true;
  EXPECT_EQ((*vault)->seal().code(), Errc::exhausted);
  EXPECT_OK((*vault)->seal());
  EXPECT_OK((*vault)->get("a"));
}

// Who puts while another syncs waits for the next sync, together with all who do; and when a put
// returns, a sync has covered it.
TEST(VaultCrash, ConcurrentPutsShareASync) {
  constexpr std::size_t kThreads = 8;
  constexpr std::size_t kEach = 10;
  MemoryPlace place;
  ASSERT_OK(place.create());
  auto backend = std::make_unique<SlowToSync>(place.disk);
  SlowToSync& disk = *backend;
  auto vault = Vault::open(std::move(backend), std::make_unique<SharedCatalog>(place.catalog), {});
  ASSERT_OK(vault);
  ASSERT_OK(put(**vault, conversation("first", {"makes the log"})));
  place.disk.reset_counts();
  std::array<std::vector<std::pair<std::string, FaultBackend>>, kThreads> after;
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < kEach; ++i) {
          const std::string id = std::to_string(t) + "-" + std::to_string(i);
          if (!put(**vault, conversation(id, {"of " + id}))) return;
          after[t].emplace_back(id, disk.power_cut());
        }
      });
    }
  }
  const std::uint64_t syncs = place.disk.counts().sync;
  std::size_t puts = 0;
  for (const auto& one : after) {
    for (const auto& [id, found] : one) {
      auto reader = MemoryPlace::of(found, place.catalog).open({.read_only = true});
      ASSERT_OK(reader);
      EXPECT_OK((*reader)->get(id)) << id;
      ++puts;
    }
  }
  EXPECT_EQ(puts, kThreads * kEach);
  std::cout << syncs << " syncs for " << puts << " puts\n";
  EXPECT_LE(syncs, puts / 2);
}

}  // namespace
}  // namespace tokvault
