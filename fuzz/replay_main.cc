// Runs a fuzz program over files and folders of inputs, without a fuzzer: `log_replay corpus/log`.
//
// Besides each file it runs every prefix that is shorter by up to 16 bytes and every file with one
// bit flipped in each of its first 64 bytes: the cheapest mutations find the commonest mistakes,
// and a test that replays nothing (an absent folder) still runs the empty input.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(const std::string& input) {
  // A copy of exactly this size, so that a sanitizer sees one byte read too far.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

void run_with_neighbours(const std::string& input) {
  run(input);
  for (std::size_t cut = 1; cut <= 16 && cut <= input.size(); ++cut) {
    run(input.substr(0, input.size() - cut));
  }
  for (std::size_t i = 0; i < 64 && i < input.size(); ++i) {
    std::string flipped = input;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    run(flipped);
  }
}

bool run_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    return false;
  }
  run_with_neighbours(std::string(std::istreambuf_iterator<char>(file), {}));
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t count = 0;
  run("");
  for (int i = 1; i < argc; ++i) {
    const std::filesystem::path path = argv[i];
    if (std::filesystem::is_directory(path)) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
        if (!entry.is_regular_file()) continue;
        if (!run_file(entry.path())) return 1;
        ++count;
      }
    } else if (std::filesystem::exists(path)) {
      if (!run_file(path)) return 1;
      ++count;
    }
  }
  std::printf("%zu inputs\n", count);
  return 0;
}
