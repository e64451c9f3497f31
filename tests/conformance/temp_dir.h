// What tests of files need: a directory for one test, whole files, and the seed of random tests.
#ifndef TOKVAULT_TESTS_CONFORMANCE_TEMP_DIR_H_
#define TOKVAULT_TESTS_CONFORMANCE_TEMP_DIR_H_

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>

namespace tokvault {

// Under TMPDIR or /tmp; removed with all that is in it.
class TempDir {
 public:
  TempDir() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base && *base ? base : "/tmp") + "/tokvault-test-XXXXXX";
    if (!::mkdtemp(path_.data())) std::abort();
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Replaces a file. It is removed first: ext4 writes a file out that is cut to nothing and filled
// again, and thousands of those take seconds.
inline void spill(const std::string& path, const std::string& bytes) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  std::ofstream(path, std::ios::binary) << bytes;
}

inline constexpr std::uint64_t kDefaultSeed = 1;

// The seed of a random test: TOKVAULT_SEED; else with TOKVAULT_LONG, which looks further, another
// one in every run; else the default. Printed, so that a run can be repeated.
inline std::uint64_t test_seed() {
  const char* given = std::getenv("TOKVAULT_SEED");
  const bool is_long = std::getenv("TOKVAULT_LONG") != nullptr;
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10)
                             : is_long        ? std::random_device()()
                                              : kDefaultSeed;
  std::cout << "TOKVAULT_SEED=" << seed << "\n";
  return seed;
}

}  // namespace tokvault

#endif  // TOKVAULT_TESTS_CONFORMANCE_TEMP_DIR_H_
