// What the benchmark programs share: arguments as NAME=VALUE, a clock, quantiles, JSON output.
#ifndef TOKVAULT_BENCH_BENCH_TOOLS_H_
#define TOKVAULT_BENCH_BENCH_TOOLS_H_

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokvault/interchange.h"
#include "tokvault/result.h"

namespace tokvault::bench {

// A benchmark that cannot do its work has no result: it says why and ends.
[[noreturn]] inline void die(std::string_view what, std::string_view why) {
  std::fprintf(stderr, "%.*s: %.*s\n", static_cast<int>(what.size()), what.data(),
               static_cast<int>(why.size()), why.data());
  std::exit(1);
}
inline void need(const Status& status, std::string_view what) {
  if (!status) die(what, status.error().message());
}
template <class T>
T need(Result<T> result, std::string_view what) {
  if (!result) die(what, result.error().message());
  return std::move(result).value();
}

class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string_view word = argv[i];
      const auto equals = word.find('=');
      if (equals == std::string_view::npos) {
        command_ = word;
      } else {
        values_[std::string(word.substr(0, equals))] = word.substr(equals + 1);
      }
    }
  }
  const std::string& command() const { return command_; }
  std::string text(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) die(name, "is missing");
    return found->second;
  }
  std::string text(const std::string& name, const std::string& otherwise) const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : found->second;
  }
  std::uint64_t count(const std::string& name, std::uint64_t otherwise) const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : std::strtoull(found->second.c_str(), nullptr, 10);
  }

 private:
  std::string command_;
  std::map<std::string, std::string> values_;
};

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  double micros() const { return seconds() * 1e6; }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// The value below which `part` of them lie; 0 if there are none.
inline double quantile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  const auto index = static_cast<std::size_t>(part * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index),
                   values.end());
  return values[index];
}

// In MB of 10^6 bytes.
inline double peak_rss_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e6;
}

// xorshift64*, so that a run with the same seed asks for the same things everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2685821657736338717u + 1) {}
  std::uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 2685821657736338717u;
  }
  std::uint64_t below(std::uint64_t limit) { return (next() >> 11) % limit; }

 private:
  std::uint64_t state_;
};

inline std::vector<Conversation> read_conversations(const std::string& path,
                                                    std::size_t count_max) {
  const auto lines = need(LineReader::open(path, 64u << 20), path);
  JsonReader reader;
  std::vector<Conversation> all;
  LineReader::Line line;
  while (all.size() < count_max && need(lines->next(line), path)) {
    if (!line.text.empty()) all.push_back(need(reader.conversation(line.text), path));
  }
  if (all.empty()) die(path, "holds no conversation");
  return all;
}

// One line of JSON with numbers only.
inline void print_json(const std::vector<std::pair<std::string, double>>& values) {
  std::printf("{");
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::printf("%s\"%s\":%.12g", i == 0 ? "" : ",", values[i].first.c_str(), values[i].second);
  }
  std::printf("}\n");
}

}  // namespace tokvault::bench

#endif  // TOKVAULT_BENCH_BENCH_TOOLS_H_
