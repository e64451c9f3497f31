// What the command takes in memory for one very large line: 512 MB and six times the line, at the
// most, to store it and to get it back.
#include <array>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/cli/command.h"
#include "tests/conformance/temp_dir.h"

namespace tokvault {
namespace {

// Sanitizers take a multiple of what a program takes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kTimes = 8;
#else
constexpr std::uint64_t kTimes = 1;
#endif
constexpr std::uint64_t kMegabyte = 1'000'000;
constexpr std::uint64_t kLineBytes = 100 * kMegabyte;
constexpr std::uint64_t kMemoryMax = kTimes * (512 * kMegabyte + 6 * kLineBytes);

TEST(Memory, OfAVeryLargeLineIsBounded) {
  const TempDir dir;
  const std::string input = dir / "line.jsonl", vault = dir / "vault", output = dir / "out.jsonl";
  {
    // Words of a vocabulary, written piece by piece: this process stays small, since a child's
    // figure begins with its parent's.
    std::mt19937 random(5);
    std::array<std::string, 5000> words;
    for (std::string& word : words) {
      for (std::size_t i = 2 + random() % 8; i > 0; --i) {
        word += static_cast<char>('a' + random() % 26);
      }
      word += ' ';
    }
    std::ofstream file(input, std::ios::binary);
    file << R"({"id":"small","created":1760000000,"messages":[{"role":"user","content":"one"}]})"
         << '\n'
         << R"({"id":"large","created":1760000001,"messages":[{"role":"user","content":")";
    for (std::uint64_t size = 0; size < kLineBytes;) {
      const std::string& word = words[random() % words.size()];
      file << word;
      size += word.size();
    }
    file << R"("}]})" << '\n';
    ASSERT_TRUE(file);
  }
  run({"init", vault});
  const std::uint64_t stored =
      run({"import", vault, input, "--level", "fast", "--max-line", "128M"});
  EXPECT_GT(stored, kLineBytes);
  EXPECT_LE(stored, kMemoryMax);
  EXPECT_LE(run({"export", vault, "-o", output}), kMemoryMax);
  // The same bytes.
  std::ifstream before(input, std::ios::binary), after(output, std::ios::binary);
  std::vector<char> a(1 << 20), b(a.size());
  for (std::streamsize n = 1; n > 0;) {
    before.read(a.data(), static_cast<std::streamsize>(a.size()));
    after.read(b.data(), static_cast<std::streamsize>(b.size()));
    n = before.gcount();
    ASSERT_EQ(n, after.gcount());
    ASSERT_TRUE(std::equal(a.begin(), a.begin() + n, b.begin()));
  }
}

}  // namespace
}  // namespace tokvault
