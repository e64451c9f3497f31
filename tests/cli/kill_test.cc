// The command is killed while it imports and while it compacts, at points that are spread over the
// time that it takes when nobody kills it, and called again until it comes to an end: what is
// exported then is what went in.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <functional>
#include <iostream>
#include <set>
#include <sstream>
#include <thread>

#include "tests/cli/command.h"
#include "tests/conformance/temp_dir.h"

namespace tokvault {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;
using Seconds = std::chrono::duration<double>;

int kills_wanted() { return std::getenv("TOKVAULT_LONG") != nullptr ? 100 : 10; }

// Kills a command at points that fill evenly the time that it takes when it is left alone.
class Killer {
 public:
  explicit Killer(Seconds seconds) : seconds_(seconds) {}

  // Starts and kills it some times, ever earlier as it has ever less to do, and lets it come to its
  // end; `look` after each kill.
  void run_and_kill(const Arguments& arguments, const std::function<void()>& look) {
    constexpr double kGoldenRatio = 0.6180339887498949;
    double share = 1;
    for (int i = 0; i < 5; ++i, share *= 0.7) {
      point_ = std::fmod(point_ + kGoldenRatio, 1);
      const pid_t child = start(arguments, false);
      std::this_thread::sleep_for(seconds_ * (share * point_));
      ::kill(child, SIGKILL);
      int status = 0;
      EXPECT_EQ(::waitpid(child, &status, 0), child);
      if (!WIFSIGNALED(status)) {
        EXPECT_EQ(status, 0) << arguments[0] << " failed by itself";
        break;
      }
      ++kills_;
      look();
    }
    run(arguments, false);
  }
  int kills() const { return kills_; }

 private:
  const Seconds seconds_;
  double point_ = 0;
  int kills_ = 0;
};

Seconds time_of(const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  run(arguments, false);
  return std::chrono::steady_clock::now() - begin;
}

std::string words(std::uint64_t seed) {
  std::string text;
  for (int i = 0; i < 40; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    text += (i > 0 ? " word" : "word") + std::to_string(seed >> 54);
  }
  return text;
}

// Lines with ids and without, of which some are no conversations.
struct Input {
  std::string good;
  std::set<std::string> bad;
};

Input write_input(const std::string& path, int count) {
  Input input;
  std::ofstream out(path, std::ios::binary);
  for (int i = 0; i < count; ++i) {
    const std::string number = std::to_string(i);
    if (i % 50 == 7) {
      input.bad.insert(R"({"id":"bad)" + number + R"("})");
      out << R"({"id":"bad)" << number << "\"}\n";
      continue;
    }
    std::string line = i % 2 == 0 ? R"({"id":"id)" + number + R"(",)" : "{";
    line += R"("messages":[{"role":"user","content":"line )" + number + R"("},)" +
            R"({"role":"assistant","content":")" + words(static_cast<std::uint64_t>(i % 900)) +
            "\"}]}\n";
    input.good += line;
    out << line;
  }
  EXPECT_TRUE(out.flush());
  return input;
}

std::set<std::string> lines_of(const std::string& path) {
  std::set<std::string> lines;
  std::istringstream in(slurp(path));
  for (std::string line; std::getline(in, line);) lines.insert(line);
  return lines;
}

class CommandKill : public ::testing::Test {
 protected:
  bool is_exported(const std::string& expected) {
    const std::string output = dir_ / "out.jsonl";
    run({"export", vault_, "-o", output}, false);
    const bool is_equal = slurp(output) == expected;
    EXPECT_TRUE(is_equal) << "what is exported is not what went in";
    return is_equal;
  }

  const TempDir dir_;
  const std::string vault_ = dir_ / "vault";
};

TEST_F(CommandKill, AnImportStoresEveryLineOnce) {
  const std::string lines = dir_ / "lines.jsonl", bad = dir_ / "bad.jsonl";
  const Input input = write_input(lines, 3'000);
  // Many commits, and many packs.
  const Arguments import{"import",  vault_, lines,        "--skip-bad", bad,
                         "--batch", "8K",   "--log-size", "200K"};
  const Arguments init{"init", vault_, "--tokenizer", "bytes"};
  run(init, false);
  Killer killer(time_of(import));
  ASSERT_TRUE(is_exported(input.good));
  int rounds = 0;
  while (killer.kills() < kills_wanted() && rounds < 5 * kills_wanted()) {
    ++rounds;
    fs::remove_all(vault_);
    fs::remove(bad);
    run(init, false);
    killer.run_and_kill(import, [] {});
    ASSERT_TRUE(is_exported(input.good));
    EXPECT_EQ(lines_of(bad), input.bad);
    run({"check", vault_, "--read-data"}, false);
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GE(killer.kills(), kills_wanted());
  std::cout << killer.kills() << " kills, " << rounds << " imports\n";
}

TEST_F(CommandKill, ACompactionChangesNoConversation) {
  const std::string lines = dir_ / "lines.jsonl", packs = dir_ / "packs";
  const Input input = write_input(lines, 3'000);
  run({"init", packs, "--tokenizer", "bytes"}, false);
  run({"import", packs, lines, "--skip-bad", dir_ / "bad.jsonl", "--log-size", "100K", "--level",
       "fast", "--no-merge"},
      false);
  const Arguments compact{"compact", vault_};
  auto begin_again = [&] {
    fs::remove_all(vault_);
    fs::copy(packs, vault_, fs::copy_options::recursive);
  };
  begin_again();
  Killer killer(time_of(compact));
  ASSERT_TRUE(is_exported(input.good));
  int rounds = 0;
  while (killer.kills() < kills_wanted() && rounds < 5 * kills_wanted()) {
    ++rounds;
    begin_again();
    killer.run_and_kill(compact, [&] { is_exported(input.good); });
    ASSERT_TRUE(is_exported(input.good));
    run({"check", vault_, "--read-data"}, false);
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GE(killer.kills(), kills_wanted());
  std::cout << killer.kills() << " kills, " << rounds << " compactions\n";
}

}  // namespace
}  // namespace tokvault
