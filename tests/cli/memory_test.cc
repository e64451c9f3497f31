// What the command takes in memory: 512 MB (of 10^6 bytes) for any number of lines, and for one
// very large line six times that line more, at the most, to store it and to get it back; and
// without a larger --max-line such a line is refused.
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "tests/cli/command.h"
#include "tests/conformance/temp_dir.h"

namespace tokvault {
namespace {

// Sanitizers take a multiple of what a program takes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsSanitized = true;
#else
constexpr bool kIsSanitized = false;
#endif
constexpr std::uint64_t kTimes = kIsSanitized ? 8 : 1;
constexpr std::uint64_t kMegabyte = 1'000'000;
constexpr std::uint64_t kMemoryMax = kTimes * 512 * kMegabyte;

// Words of a vocabulary, written piece by piece: this process stays small, since a child's figure
// begins with its parent's.
class Words {
 public:
  Words() {
    std::mt19937 random(5);
    for (std::string& word : words_) {
      for (std::size_t i = 2 + random() % 8; i > 0; --i) {
        word += static_cast<char>('a' + random() % 26);
      }
      word += ' ';
    }
  }
  const std::string& any(std::mt19937& random) const { return words_[random() % words_.size()]; }

 private:
  std::array<std::string, 5000> words_;
};

// What it prints when it is refused.
std::string refused(const std::string& arguments) {
  const std::string command = std::string(std::getenv("TOKVAULT_BIN")) + " " + arguments + " 2>&1";
  FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return "not run";
  std::string text;
  char piece[256];
  while (std::fgets(piece, sizeof piece, pipe) != nullptr) text += piece;
  EXPECT_NE(::pclose(pipe), 0);
  return text;
}

// With TOKVAULT_LONG a message of 300 MB.
TEST(Memory, OfAVeryLargeLineIsBounded) {
  const bool is_long = std::getenv("TOKVAULT_LONG") != nullptr && !kIsSanitized;
  const std::uint64_t line_bytes = (is_long ? 300 : 100) * kMegabyte;
  const std::uint64_t memory_max = kMemoryMax + kTimes * 6 * line_bytes;
  const TempDir dir;
  const std::string input = dir / "line.jsonl", vault = dir / "vault", output = dir / "out.jsonl";
  {
    const Words words;
    std::mt19937 random(6);
    std::ofstream file(input, std::ios::binary);
    file << R"({"id":"small","created":1760000000,"messages":[{"role":"user","content":"one"}]})"
         << '\n'
         << R"({"id":"large","created":1760000001,"messages":[{"role":"user","content":")";
    for (std::uint64_t size = 0; size < line_bytes;) {
      const std::string& word = words.any(random);
      file << word;
      size += word.size();
    }
    file << R"("}]})" << '\n';
    ASSERT_TRUE(file);
  }
  run({"init", vault});
  const std::string why = refused("import " + vault + " " + input);
  EXPECT_NE(why.find("line.jsonl:2: the line is longer than "), std::string::npos) << why;
  const std::uint64_t stored =
      run({"import", vault, input, "--level", "fast", "--max-line", is_long ? "512M" : "128M"});
  EXPECT_GT(stored, line_bytes);
  EXPECT_LE(stored, memory_max);
  const std::uint64_t read = run({"export", vault, "-o", output});
  EXPECT_LE(read, memory_max);
  std::cout << stored / kMegabyte << " MB to store and " << read / kMegabyte
            << " MB to get a line of " << line_bytes / kMegabyte << " MB\n";
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

// Lines of which half the text is new, and half one of a thousand texts. With TOKVAULT_LONG 300 MB
// of them.
TEST(Memory, OfAnImportIsBounded) {
  const std::uint64_t size = (std::getenv("TOKVAULT_LONG") != nullptr ? 300 : 10) * kMegabyte;
  const TempDir dir;
  const std::string input = dir / "lines.jsonl", vault = dir / "vault", output = dir / "out.jsonl";
  {
    constexpr std::size_t kWords = 150;
    std::ofstream file(input, std::ios::binary);
    const Words words;
    std::mt19937 random(7);
    std::uint64_t written = 0;
    for (unsigned number = 0; written < size; ++number) {
      std::mt19937 known(number % 1000);
      std::string line = R"({"messages":[{"role":"user","content":")";
      for (std::size_t i = 0; i < kWords; ++i) line += words.any(known);
      line += R"("},{"role":"assistant","content":")";
      for (std::size_t i = 0; i < kWords; ++i) line += words.any(random);
      line += "\"}]}\n";
      file << line;
      written += line.size();
    }
    ASSERT_TRUE(file.flush());
  }
  run({"init", vault});
  const std::uint64_t taken = run({"import", vault, input, "--level", "balanced"});
  std::cout << taken / kMegabyte << " MB for " << size / kMegabyte << " MB of lines\n";
  EXPECT_LE(taken, kMemoryMax);
  EXPECT_LE(run({"export", vault, "-o", output}), kMemoryMax);
  EXPECT_EQ(std::filesystem::file_size(output), std::filesystem::file_size(input));
}

}  // namespace
}  // namespace tokvault
