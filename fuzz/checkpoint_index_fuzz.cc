// Index files of the checkpoint store: opening one never crashes. Checksums are mended where the
// sizes fit, or nothing behind them would be reached.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "base/checksum.h"
#include "tokvault/checkpoint.h"

using namespace tokvault;

namespace {

// Outlives the exit handler that removes it.
const std::string& directory() {
  static const auto* const path = new std::string([] {
    std::string name = (std::filesystem::temp_directory_path() / "tokvault-fuzz-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    Buffer store;
    append_le<std::uint32_t>(store, 0xf17a9cd1);
    append_le<std::uint32_t>(store, 1);
    append_le<std::uint32_t>(store, 16);
    append_le<std::uint32_t>(store, 0);
    append_le(store, checksum64(store));
    std::ofstream(name + "/store", std::ios::binary) << store;
    std::atexit([] { std::filesystem::remove_all(directory()); });
    return name;
  }());
  return *path;
}

void mend(Buffer& b) {
  constexpr std::uint64_t kHeader = 128;
  if (b.size() < kHeader + 16) return;
  const auto small = load_le<std::uint64_t>(b.data() + 32);
  const auto records = load_le<std::uint32_t>(b.data() + 40);
  const auto slots = load_le<std::uint64_t>(b.data() + 56);
  const std::uint64_t chunks = (std::uint64_t{records} + 65535) / 65536;
  if (small > b.size() || slots > b.size() ||
      kHeader + (chunks + 2) * 8 + small + std::uint64_t{records} * 52 + slots * 4 != b.size()) {
    return;
  }
  std::uint64_t at = kHeader + (chunks + 2) * 8;
  std::uint64_t sum = kHeader;
  const auto part = [&](std::uint64_t size) {
    store_le(checksum64(ByteView(b).substr(at, size)), b.data() + sum);
    at += size;
    sum += 8;
  };
  part(small);
  for (std::uint64_t i = 0; i < chunks; ++i) {
    part(std::min<std::uint64_t>(65536, records - i * 65536) * 52);
  }
  part(slots * 4);
  store_le(checksum64(ByteView(b).substr(16, sum - 16)), b.data() + 8);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Buffer bytes(reinterpret_cast<const char*>(data), size);
  mend(bytes);
  std::ofstream(directory() + "/index-00000001", std::ios::binary | std::ios::trunc) << bytes;
  auto store = CheckpointStore::open(directory(), {.read_only = true});
  if (!store) return 0;
  std::vector<Token> prompt(40, 7);
  for (const char* model : {"", "toy"}) {
    const Namespace n{.model = model};
    static_cast<void>((*store)->match(n, prompt).has_value());
    static_cast<void>((*store)->explain(n, prompt, "logits").has_value());
    static_cast<void>((*store)->find_state(n, prompt, nullptr).has_value());
    static_cast<void>((*store)->match_text(n, "some text").has_value());
  }
  static_cast<void>((*store)->list([](const CheckpointEntry&) { return true; }).has_value());
  return 0;
}
