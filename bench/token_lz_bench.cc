// token_lz_bench vault=DIR [dump=DIR] [model=1]: how small and how fast the texts of packs are
// under each codec.
//
// The text of every stream of every pack of the vault, each segment with its end, as dictionaries
// of ended streams have it, coded as one: by zstd at levels 19 and 22, by the token LZ, and
// with model=1 by the token model (slow). Each is decoded again and compared.
// dump=DIR writes the texts as files NUMBER.STREAM, for compressors that are programs. Speeds are
// of processor time of one thread, for reading the best of five.
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>

#include "base/zstd.h"
#include "bench/bench_tools.h"
#include "codec/token_lz.h"
#include "codec/token_model.h"
#include "tokvault/backend.h"
#include "vault/cache.h"
#include "vault/pack_file.h"

namespace {

using namespace tokvault;
using bench::need;

double seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

struct Text {
  Buffer bytes;
  std::uint64_t tokens = 0;
};

Text text_of(const PackFile& pack, Stream stream) {
  Text out;
  Scratch scratch;
  std::vector<Token> tokens;
  for (std::uint64_t i = 0; i < pack.footer().counts.segments[stream]; ++i) {
    const ByteView code =
        need(pack.code(stream, static_cast<std::uint32_t>(i), scratch), "a segment");
    if (stream == kTokenStream) {
      tokens.clear();
      need(pack.decode_tokens(code, tokens), "a segment");
    }
    out.tokens += stream == kTokenStream ? tokens.size() : code.size();
    out.bytes.append(code);
    out.bytes.push_back('\xff');
  }
  return out;
}

void row(const char* name, const Text& text, const std::function<Buffer()>& write,
         const std::function<Status(ByteView, Buffer&)>& read, int rounds) {
  double begin = seconds();
  const Buffer code = write();
  const double write_s = seconds() - begin;
  double read_s = 1e9;
  for (int i = 0; i < rounds; ++i) {
    Buffer back;
    begin = seconds();
    need(read(code, back), name);
    read_s = std::min(read_s, seconds() - begin);
    if (back != text.bytes) bench::die(name, "decodes to another text");
  }
  const auto tokens = static_cast<double>(text.tokens);
  std::printf("  %-14s %9zu bytes  %.4f a token  write %7.2f, read %8.2f M tokens/s, %8.2f ms\n",
              name, code.size(), static_cast<double>(code.size()) / tokens, tokens / write_s / 1e6,
              tokens / read_s / 1e6, read_s * 1e3);
  std::fflush(stdout);
}

void compare(const Text& text, ModelUnit unit, bool with_model) {
  constexpr int kRounds = 5;
  const std::uint64_t size = text.bytes.size();
  auto zstd_read = [&](ByteView code, Buffer& back) { return zstd_decompress(code, size, back); };
  for (const int level : {19, 22}) {
    row(
        level == 19 ? "zstd 19" : "zstd 22", text,
        [&] { return need(zstd_compress(text.bytes, level), "zstd"); }, zstd_read, kRounds);
  }
  std::uint64_t work = 0;
  row(
      "token LZ", text,
      [&] {
        auto code = need(token_lz_encode(unit, text.bytes), "token LZ");
        work = code.work;
        return std::move(code.bytes);
      },
      [&](ByteView code, Buffer& back) { return token_lz_decode(unit, code, size, back); },
      kRounds);
  std::printf("                 %.3f M symbols\n", static_cast<double>(work) / 1e6);
  if (!with_model) return;
  row(
      "token model", text,
      [&] {
        auto trainer = ModelTrainer::make(unit, size);
        need(trainer->add(text.bytes), "token model");
        Buffer code;
        static_cast<void>(trainer->finish(code));
        return code;
      },
      [&](ByteView code, Buffer& back) -> Status {
        auto model = TokenModel::decode(unit, code, size, back);
        if (!model) return std::move(model).error();
        return {};
      },
      1);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const std::string dump = arguments.text("dump", "");
  const auto backend = need(make_directory_backend(arguments.text("vault"), {}), "vault");
  Cache cache(std::uint64_t{1} << 30);
  for (const BlobInfo& blob : need(backend->list("packs"), "packs")) {
    const std::uint64_t number =
        std::strtoull(blob.name.substr(blob.name.rfind('/') + 1).c_str(), nullptr, 10);
    if (number == 0) continue;
    const std::string& name = blob.name;
    const auto pack = need(PackFile::open(*backend, cache, number), name);
    for (const Stream stream : {kTokenStream, kByteStream}) {
      const Text text = text_of(*pack, stream);
      if (text.bytes.empty()) continue;
      const char* unit = stream == kTokenStream ? "tokens" : "bytes";
      std::printf("%s: %llu bytes; %llu %s, %zu bytes of codes\n", name.c_str(),
                  static_cast<unsigned long long>(pack->size_bytes()),
                  static_cast<unsigned long long>(text.tokens), unit, text.bytes.size());
      if (!dump.empty()) {
        std::ofstream(dump + "/" + std::to_string(number) + "." + unit, std::ios::binary)
            << text.bytes;
      }
      compare(text, stream == kTokenStream ? ModelUnit::token_code : ModelUnit::byte,
              arguments.count("model", 0) != 0);
    }
  }
  return 0;
}
