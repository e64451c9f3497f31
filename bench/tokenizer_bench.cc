// tokenizer_bench [--tokenizer NAME] [--repeat N] FILE...: speed of opening, encoding and decoding.
//
// A FILE that ends in .jsonl gives the strings under "content", "text" and "arguments" at any
// depth, one text each; another file is one text. "letters:N", "base64:N", "chinese:N", "words:N",
// "spaces:N" are N bytes of what is slow. Speeds are MB of text (10^6 bytes) for a second of one
// thread's processor time, the fastest of N: cold with a new encoder, warm in the pass after that.
#include <simdjson.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/tokenizer.h"

namespace {

using tokvault::Token;

// Of processor time, so that a busy machine matters less.
double seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

double time_of(const std::function<void()>& work) {
  const double begin = seconds();
  work();
  return seconds() - begin;
}

void collect(simdjson::dom::element element, bool wanted, std::vector<std::string>& texts) {
  if (element.is_object()) {
    for (const auto& field : simdjson::dom::object(element)) {
      collect(field.value,
              field.key == "content" || field.key == "text" || field.key == "arguments", texts);
    }
  } else if (element.is_array()) {
    for (const auto& item : simdjson::dom::array(element)) collect(item, false, texts);
  } else if (wanted && element.is_string()) {
    texts.emplace_back(std::string_view(element));
  }
}

void append_code_point(std::uint32_t c, std::string& out) {
  out.push_back(static_cast<char>(0xe0 | c >> 12));
  out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
  out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
}

std::string synthetic(const std::string& kind, std::size_t size) {
  std::mt19937 random(1);
  std::string out;
  if (kind == "letters") return std::string(size, 'a');
  if (kind == "spaces") return std::string(size, ' ') + "x";
  while (out.size() < size) {
    if (kind == "chinese") {
      append_code_point(0x4e00 + random() % 0x5200, out);
    } else if (kind == "base64") {
      out.push_back(
          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[random() % 64]);
    } else {
      out.push_back(' ');
      for (std::size_t n = 2 + random() % 10; n > 0; --n) {
        out.push_back(static_cast<char>('a' + random() % 26));
      }
    }
  }
  return out;
}

std::vector<std::string> read_texts(const std::string& path) {
  const std::size_t colon = path.find(':');
  if (colon != std::string::npos) {
    return {synthetic(path.substr(0, colon), std::strtoull(path.c_str() + colon + 1, nullptr, 10))};
  }
  std::vector<std::string> texts;
  if (!path.ends_with(".jsonl")) {
    std::ifstream file(path, std::ios::binary);
    texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    return texts;
  }
  simdjson::dom::parser parser;
  simdjson::dom::document_stream documents;
  if (parser.load_many(path, 64 << 20).get(documents) == simdjson::SUCCESS) {
    for (auto document : documents) {
      simdjson::dom::element element;
      if (document.get(element) == simdjson::SUCCESS) collect(element, false, texts);
    }
  }
  return texts;
}

void measure(const tokvault::Tokenizer& tokenizer, const std::string& path, int repeat,
             double& bytes_sum, double& cold_sum, double& warm_sum) {
  const std::vector<std::string> texts = read_texts(path);
  double bytes = 0;
  for (const std::string& text : texts) bytes += static_cast<double>(text.size());
  std::vector<Token> tokens;
  std::size_t count = 0;
  auto encoder = tokenizer.make_encoder();
  const auto pass = [&] {
    count = 0;
    for (const std::string& text : texts) {
      tokens.clear();
      encoder->encode(text, tokens);
      count += tokens.size();
    }
  };
  pass();  // text and tables into the processor's caches
  double cold = 1e9;
  double warm = 1e9;
  for (int i = 0; i < repeat; ++i) {
    encoder = tokenizer.make_encoder();
    cold = std::min(cold, time_of(pass));
    warm = std::min(warm, time_of(pass));
  }
  std::vector<Token> all;
  for (const std::string& text : texts) encoder->encode(text, all);
  std::string back;
  back.reserve(static_cast<std::size_t>(bytes));
  bool right = true;
  const double decode = time_of([&] { right = tokenizer.decode(all, back).has_value(); });
  std::printf("%-28s %8zu texts %7.2f MB %9zu tokens  cold %6.1f  warm %6.1f  decode %6.1f%s\n",
              path.substr(path.rfind('/') + 1).c_str(), texts.size(), bytes / 1e6, count,
              bytes / cold / 1e6, bytes / warm / 1e6, bytes / decode / 1e6,
              right ? "" : "  DECODE FAILED");
  bytes_sum += bytes;
  cold_sum += cold;
  warm_sum += warm;
}

}  // namespace

int main(int argc, char** argv) {
  std::string name = "o200k_base";
  int repeat = 5;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--tokenizer" && i + 1 < argc) {
      name = argv[++i];
    } else if (argument == "--repeat" && i + 1 < argc) {
      repeat = std::atoi(argv[++i]);
    } else {
      files.push_back(argument);
    }
  }
  const double begin = seconds();
  auto tokenizer = tokvault::open_tokenizer(name);
  const double opened = seconds();
  if (!tokenizer) {
    std::fprintf(stderr, "%s\n", std::string(tokenizer.error().message()).c_str());
    return 1;
  }
  const double encoder = time_of([&] { (*tokenizer)->make_encoder(); });
  std::printf("%s: open %.1f ms, make_encoder %.2f ms\n", name.c_str(), (opened - begin) * 1e3,
              encoder * 1e3);
  double bytes = 0;
  double cold = 0;
  double warm = 0;
  for (const std::string& file : files) measure(**tokenizer, file, repeat, bytes, cold, warm);
  if (files.size() > 1) {
    std::printf("all: cold %.1f  warm %.1f MB/s\n", bytes / cold / 1e6, bytes / warm / 1e6);
  }
  return 0;
}
