// A process is killed at a random moment while it writes, and the vault is opened again without any
// step by hand: every conversation that was acknowledged is there, whole and once, and so is every
// segment that somebody holds, every tag, and the order of export. With the catalog deleted as
// well, repair finds the same.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <functional>
#include <thread>

#include "codec/dictionary.h"
#include "tests/vault/harness.h"

namespace tokvault {
namespace {

namespace fs = std::filesystem;

// Numbers that the child sets and the parent reads after its death.
struct Shared {
  std::atomic<std::uint64_t> acknowledged;
  std::atomic<std::uint64_t> started;
};

class VaultKill : public ::testing::Test {
 protected:
  VaultKill() : rng_(test_seed()) {
    void* memory =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    shared_ = new (memory) Shared;
  }
  ~VaultKill() override { ::munmap(shared_, sizeof(Shared)); }

  // Runs `work` in a child that is killed after a random time, unless it is done before; after step
  // `from` began, if that is given. Returns whether it was killed.
  bool kill_during(const std::function<void()>& work, std::uint64_t microseconds_max,
                   std::uint64_t from = 0) {
    const pid_t child = ::fork();
    if (child == 0) {
      work();
      ::_exit(0);
    }
    int status = 0;
    pid_t ended = 0;
    while (shared_->started < from && ended == 0) {
      std::this_thread::yield();
      ended = ::waitpid(child, &status, WNOHANG);
    }
    if (ended == 0) {
      ::usleep(static_cast<useconds_t>(below(rng_, microseconds_max)));
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
    }
    if (!WIFSIGNALED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0) << "the child failed by itself";
    }
    return WIFSIGNALED(status);
  }

  static VaultOptions options() {
    VaultOptions o;
    o.level = Level::fast;
    o.log_bytes_max = 8'000;
    o.merge_bytes_min = 0;  // packs are merged beside it
    o.threads = 2;
    return o;
  }

  Rng rng_;
  TempDir dir_;
  const std::string path_ = dir_ / "v";
  Shared* shared_ = nullptr;
};

// An import of lines without id, as the command makes it: each batch commits where it stands. Taken
// up again after every kill, it stores each line once.
TEST_F(VaultKill, AnImportStoresEveryLineOnce) {
  constexpr std::uint64_t kLines = 6'000;
  constexpr std::uint64_t kBatch = 15;
  auto line = [](std::uint64_t number) {
    Conversation c = conversation("", {"line " + std::to_string(number), shared_text(number % 20)});
    c.form = "{\"messages\":\x10}";
    return c;
  };
  ASSERT_OK(create_vault(path_, {.tokenizer = "bytes"}));
  int kills = 0;
  std::uint64_t within_us = 25'000;
  for (int round = 0; round < 400; ++round) {
    const std::uint64_t before = shared_->acknowledged;
    const bool killed = kill_during(
        [&] {
          auto vault = open_vault(path_, options());
          if (!vault) ::_exit(1);
          ImportProgress progress;
          progress.source = "lines";
          if (const auto stood = (*vault)->import_progress("lines")) progress.lines = stood->lines;
          // An import that was acknowledged is not forgotten.
          if (progress.lines < shared_->acknowledged) ::_exit(2);
          while (progress.lines < kLines) {
            std::vector<Conversation> batch;
            for (std::uint64_t i = 0; i < kBatch; ++i) batch.push_back(line(progress.lines + i));
            progress.lines += kBatch;
            auto put = (*vault)->put_batch(batch, {}, &progress);
            if (!put) ::_exit(3);
            shared_->acknowledged = progress.lines;
          }
        },
        within_us);
    if (HasFailure() || !killed) break;
    ++kills;
    // So that it comes to an end, however slow the machine is.
    if (shared_->acknowledged < before + kLines / 100) within_us += within_us / 4;
  }
  EXPECT_GT(kills, 3);
  auto vault = open_vault(path_, options());
  ASSERT_OK(vault);
  std::uint64_t next = 0;
  ASSERT_OK((*vault)->scan({}, [&](const Summary&, Result<Conversation> c) {
    EXPECT_OK(c);
    EXPECT_EQ(c->messages, line(next).messages) << "in place of line " << next;
    ++next;
    return !HasFailure();
  }));
  EXPECT_EQ(next, kLines);
  const auto report = (*vault)->check({.read_data = true});
  ASSERT_OK(report);
  EXPECT_TRUE(report->findings.empty());
  std::cout << kills << " kills\n";
}

struct Everything {
  Contents conversations;
  Held held;
  std::vector<std::string> order;  // ids, as they are exported
  std::map<std::string, std::set<std::string>> tags;
  bool operator==(const Everything&) const = default;
};

Result<Everything> everything(const Vault& vault) {
  Everything out;
  TOKVAULT_ASSIGN(out.conversations, contents(vault));
  TOKVAULT_ASSIGN(out.held, held(vault));
  TOKVAULT_TRY(vault.scan({}, [&](const Summary& s, const Result<Conversation>&) {
    out.order.push_back(s.id);
    if (!s.tags.empty()) out.tags[s.id] = {s.tags.begin(), s.tags.end()};
    return true;
  }));
  return out;
}

// In words, for a failure.
std::string describe(const Everything& e) {
  std::string text = std::to_string(e.conversations.size()) + " conversations";
  for (const std::string& id : e.order) {
    text += ' ' + id;
    if (const auto tags = e.tags.find(id); tags != e.tags.end()) {
      for (const std::string& tag : tags->second) text += '+' + tag;
    }
  }
  return text + ", " + std::to_string(e.held.size()) + " holds";
}

// What a step must come to. Steps are numbered; the child says which it began and which was
// acknowledged, so that one of two states is to be seen.
struct Plan {
  std::vector<std::function<Status(Vault&)>> steps;
  std::vector<std::string> kinds;  // of the steps
  std::vector<Everything> states;  // before the first step, after it, ...
};

// Two dictionaries, trained on texts like those of the plan.
const Buffer& dictionary(std::size_t which) {
  static const auto all = [] {
    std::array<Buffer, 2> out;
    for (std::size_t d = 0; d < out.size(); ++d) {
      Buffer samples;
      std::vector<std::size_t> sizes;
      for (std::uint64_t i = 0; i < 60; ++i) {
        samples += shared_text(i % 20);
        sizes.push_back(shared_text(i % 20).size());
      }
      auto trained = train_dictionary(samples, sizes, 1500 + 700 * d);
      EXPECT_OK(trained);
      if (trained) out[d] = std::move(*trained);
    }
    return out;
  }();
  return all[which];
}

// Which of them is there is not foreseen: a gc retires one that holds what it erases.
Status use_dictionary(Vault& v, std::size_t which) {
  Dictionaries& d = v.dictionaries();
  auto added = d.add(dictionary(which));
  if (!added && added.code() != Errc::exists) return std::move(added).error();
  return d.activate(*dictionary_id(dictionary(which)));
}
Status retire_dictionary(Vault& v, std::size_t which) {
  Status retired = v.dictionaries().retire(*dictionary_id(dictionary(which)), true);
  return retired.code() == Errc::not_found ? Status() : std::move(retired);
}

// Every one that is listed is there, whole.
void expect_dictionaries(const Vault& vault) {
  const auto list = vault.dictionaries().list();
  ASSERT_OK(list);
  for (const DictionaryInfo& info : *list) {
    const auto bytes = vault.dictionaries().get(info.id);
    ASSERT_OK(bytes);
    const bool is_given = *bytes == dictionary(0) || *bytes == dictionary(1);
    EXPECT_TRUE(is_given || info.conversations > 0) << "neither added nor trained";
    EXPECT_EQ(*dictionary_id(*bytes), info.id);
  }
}

// Appends, replacements, tags, forgetting, gc and compaction, at random, on a few conversations,
// with one dictionary or another.
Plan make_plan(Rng& rng, Everything all, int count) {
  Plan plan;
  plan.states.push_back(all);
  Contents& state = all.conversations;
  std::string kind;
  for (int i = 0; i < count; ++i) {
    const std::string id = "c" + std::to_string(below(rng, 12));
    const std::pair<std::string, std::string> key{"default", id};
    const auto it = state.find(key);
    switch (below(rng, 13)) {
      case 10:
        kind = "dictionary";
        plan.steps.push_back(
            [which = below(rng, 2)](Vault& v) { return use_dictionary(v, which); });
        break;
      case 11:
        kind = "dictionary";
        plan.steps.push_back([which = below(rng, 4)](Vault& v) {
          return which < 2 ? retire_dictionary(v, which) : v.dictionaries().activate({});
        });
        break;
      case 8: {
        kind = "hold";
        // Of text that conversations have, too.
        Segment s;
        for (char c : shared_text(below(rng, 20))) {
          s.tokens.push_back(static_cast<unsigned char>(c));
        }
        if (below(rng, 3) == 0) s.tokens.resize(50);
        const HoldOptions by{.tenant = {}, .holder = below(rng, 2) == 0 ? "" : "x"};
        plan.steps.push_back([s, by](Vault& v) -> Status {
          auto done = v.put_segments({&s, 1}, by);
          if (!done) return std::move(done).error();
          return {};
        });
        all.held[{"default", s.id(), by.holder}] = s;
        break;
      }
      case 9: {
        if (all.held.empty()) break;
        kind = "release";
        const auto it_held =
            std::next(all.held.begin(), static_cast<std::ptrdiff_t>(below(rng, all.held.size())));
        const auto released = it_held->first;
        plan.steps.push_back([released](Vault& v) -> Status {
          const auto& [tenant, segment, holder] = released;
          auto done = v.release_segments({&segment, 1}, {.tenant = {}, .holder = holder});
          if (!done) return std::move(done).error();
          return {};
        });
        all.held.erase(it_held);
        break;
      }
      case 0:
        kind = "gc";
        plan.steps.push_back([](Vault& v) -> Status {
          auto done = v.gc(false);
          if (!done) return std::move(done).error();
          return {};
        });
        break;
      case 1:
        kind = "compact";
        plan.steps.push_back(
            [retrain = below(rng, 2) == 0, steps = below(rng, 2) == 0](Vault& v) -> Status {
              auto done = v.compact({.level = Level::fast,
                                     .pack_bytes_max = retrain ? std::uint64_t{1000} : 0,
                                     .retrain = retrain,
                                     .memory_bytes = steps ? 5'000u : 320u << 20});
              if (!done) return std::move(done).error();
              return {};
            });
        break;
      case 2:
        kind = "seal";
        plan.steps.push_back([](Vault& v) { return v.seal(); });
        break;
      case 3:
        kind = it != state.end() ? "forget" : "nothing";
        plan.steps.push_back([id](Vault& v) -> Status {
          auto done = v.forget(std::vector<std::string>{id});
          if (!done) return std::move(done).error();
          return {};
        });
        state.erase(key);
        std::erase(all.order, id);
        all.tags.erase(id);
        break;
      case 12:
        if (it != state.end()) {
          kind = "tag";
          const std::vector<std::string> ids{id}, tags{below(rng, 2) == 0 ? "red" : "green"}, none;
          const bool is_new = all.tags[id].insert(tags[0]).second;
          if (!is_new) all.tags[id].erase(tags[0]);
          if (all.tags[id].empty()) all.tags.erase(id);
          plan.steps.push_back([ids, add = is_new ? tags : none, remove = is_new ? none : tags](
                                   Vault& v) { return v.tag(ids, add, remove); });
          break;
        }
        [[fallthrough]];
      case 4:
        if (it != state.end()) {
          kind = "append";
          const std::vector<Message> more{Message::of_text("user", shared_text(below(rng, 20)))};
          plan.steps.push_back([id, more](Vault& v) { return v.append(id, more); });
          it->second.messages.push_back(more[0]);
          break;
        }
        [[fallthrough]];
      default: {
        const Conversation c =
            conversation(id, {shared_text(below(rng, 20)), "step " + std::to_string(rng()),
                              shared_text(below(rng, 20))});
        plan.steps.push_back([c](Vault& v) -> Status {
          auto done = v.put(c, {.replace = true});
          if (!done) return std::move(done).error();
          return {};
        });
        kind = it == state.end() ? "put" : "replace";
        if (it == state.end()) all.order.push_back(id);
        state[key] = c;
      }
    }
    if (plan.steps.size() == plan.states.size()) {
      plan.states.push_back(all);
      plan.kinds.push_back(kind);
    }
  }
  return plan;
}

TEST_F(VaultKill, NothingAcknowledgedIsLostWhateverIsUnderWay) {
  ASSERT_OK(create_vault(path_, {.tokenizer = "bytes"}));
  Everything state;
  constexpr int kKills = 100;
  int kills = 0;
  int repairs = 0;
  // Kills while a step of that kind was under way.
  std::map<std::string, int> within{{"append", 0}, {"compact", 0}, {"forget", 0},
                                    {"gc", 0},     {"replace", 0}, {"tag", 0}};
  const auto rarest = [&] {
    return std::min_element(within.begin(), within.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; });
  };
  for (int round = 0; (kills < kKills || rarest()->second == 0) && round < 4 * kKills; ++round) {
    const Plan plan = make_plan(rng_, state, 40);
    shared_->acknowledged = 0;
    shared_->started = 0;
    // Every other time at any moment; else soon after a step began of the kind that was hit least:
    // what is done in a fraction of a millisecond would hardly ever be.
    const auto aim = std::find(plan.kinds.begin(), plan.kinds.end(), rarest()->first);
    const bool is_aimed = round % 2 == 1 && aim != plan.kinds.end();
    const auto from = static_cast<std::uint64_t>(aim - plan.kinds.begin()) + 1;
    const bool killed = kill_during(
        [&] {
          auto vault = open_vault(path_, options());
          if (!vault) ::_exit(1);
          for (std::size_t i = 0; i < plan.steps.size(); ++i) {
            shared_->started = i + 1;
            if (!plan.steps[i](**vault)) ::_exit(2);
            shared_->acknowledged = i + 1;
          }
        },
        is_aimed ? std::uint64_t{2} << below(rng_, 12) : 150'000, is_aimed ? from : 0);
    if (killed) ++kills;
    if (shared_->started > shared_->acknowledged) ++within[plan.kinds[shared_->acknowledged]];
    SCOPED_TRACE("kill " + std::to_string(kills) + ", after step " +
                 std::to_string(shared_->acknowledged.load()));
    auto look = [&](const std::string& path) {
      auto vault = open_vault(path, options());
      ASSERT_OK(vault) << path;
      const auto seen = everything(**vault);
      ASSERT_OK(seen);
      expect_dictionaries(**vault);
      const Everything& before = plan.states[shared_->acknowledged];
      const Everything& after = plan.states[shared_->started];
      EXPECT_TRUE(*seen == before || *seen == after) << path << ":\n"
                                                     << describe(*seen) << "\nnot\n"
                                                     << describe(before) << "\nor\n"
                                                     << describe(after) << "\nor they are others";
      state = *seen;
    };
    // The catalog is lost too, in a copy: a child in the middle of a commit leaves a journal.
    const std::string copy = dir_ / "copy";
    fs::remove_all(copy);
    fs::copy(path_, copy, fs::copy_options::recursive);
    for (const auto& entry : fs::directory_iterator(copy)) {
      if (entry.path().filename().string().starts_with("catalog.db")) fs::remove(entry.path());
    }
    const auto repaired = repair_vault(copy);
    ASSERT_OK(repaired);
    ++repairs;
    look(copy);
    const Everything from_repair = state;
    look(path_);
    EXPECT_TRUE(from_repair == state) << "repair gives others";
    if (HasFailure()) return;
  }
  EXPECT_GE(kills, kKills);
  std::string counts;
  for (const auto& [kind, count] : within) counts += ", " + std::to_string(count) + " in " + kind;
  EXPECT_GT(rarest()->second, 0) << "kills" << counts;
  auto vault = open_vault(path_, options());
  ASSERT_OK(vault);
  const auto report = (*vault)->check({.read_data = true});
  ASSERT_OK(report);
  for (const Finding& f : report->findings) ADD_FAILURE() << f.file << ": " << f.message;
  std::cout << kills << " kills" << counts << "; " << repairs << " repairs\n";
}

// Killed while it is made, a vault is made by calling again.
TEST_F(VaultKill, AVaultIsMadeInTheEnd) {
  int kills = 0;
  for (int round = 0; round < 30; ++round) {
    fs::remove_all(path_);
    kills += kill_during(
        [&] {
          if (!create_vault(path_, {.tokenizer = "bytes"})) ::_exit(1);
        },
        4'000);
    const auto made = create_vault(path_, {.tokenizer = "bytes"});
    EXPECT_TRUE(made || made.code() == Errc::exists);
    auto vault = open_vault(path_);
    ASSERT_OK(vault);
    ASSERT_OK((*vault)->put(conversation("a", {"text"}), {}));
    ASSERT_OK((*vault)->get("a"));
  }
  EXPECT_GT(kills, 0);
}

}  // namespace
}  // namespace tokvault
