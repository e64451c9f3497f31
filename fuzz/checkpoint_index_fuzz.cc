// Index files of the checkpoint store: opening one never crashes, nor does what readers and a
// writer do with it, and all of it ends. Checksums are mended where the sizes fit, or nothing
// behind them would be reached.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "base/checksum.h"
#include "checkpoint/record.h"
#include "tokvault/checkpoint.h"

using namespace tokvault;

namespace {

// Outlives the exit handler that removes it.
const std::string& directory() {
  static const auto* const path = new std::string([] {
    std::string name = (std::filesystem::temp_directory_path() / "tokvault-fuzz-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    std::atexit([] { std::filesystem::remove_all(directory()); });
    return name;
  }());
  return *path;
}

// A store that has this index and nothing else, and a reader that used the first block of `prompt`.
void make_store(ByteView index, TokenView prompt) {
  std::filesystem::remove_all(directory());
  std::filesystem::create_directory(directory());
  Buffer store;
  append_le<std::uint32_t>(store, 0xf17a9cd1);
  append_le<std::uint32_t>(store, 1);
  append_le<std::uint32_t>(store, 16);
  append_le<std::uint32_t>(store, 0);
  append_le(store, checksum64(store));
  std::ofstream(directory() + "/store", std::ios::binary) << store;
  std::ofstream(directory() + "/index-00000001", std::ios::binary) << index;
  const checkpoint::Hash128 root =
      checkpoint::namespace_hash(checkpoint::encode_namespace({.model = "toy"}));
  const checkpoint::Hash128 key = checkpoint::block_hash(root, prompt.first(16));
  Buffer use;
  append_le(use, key.lo);
  append_le(use, key.hi);
  std::ofstream(directory() + "/uses", std::ios::binary) << use;
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
  const std::vector<Token> prompt(40, 7);
  const Namespace n{.model = "toy"};
  make_store(bytes, prompt);
  {
    auto store = CheckpointStore::open(directory(), {.read_only = true});
    if (!store) return 0;
    for (const char* model : {"", "toy"}) {
      const Namespace other{.model = model};
      static_cast<void>((*store)->match(other, prompt).has_value());
      static_cast<void>((*store)->explain(other, prompt, "logits").has_value());
      static_cast<void>((*store)->find_state(other, prompt, nullptr).has_value());
      static_cast<void>((*store)->match_text(other, "some text").has_value());
      CheckpointRead reads[] = {{.block = 0}, {.block = 1}, {.block = 2}};
      static_cast<void>((*store)->get(other, prompt, reads).has_value());
    }
    static_cast<void>((*store)->list([](const CheckpointEntry&) { return true; }).has_value());
    // Where the index is not believed, a writer has nothing to go by: it would only cost time.
    const auto match = (*store)->match(n, prompt);
    if (!match || match->tokens == 0) return 0;
  }
  auto store = CheckpointStore::open(directory(), {});
  if (!store) return 0;
  const CheckpointBlock blocks[] = {{.payload = "a"}, {.payload = "b"}, {.payload = "c"}};
  static_cast<void>((*store)->put(n, prompt, {.blocks = blocks}).has_value());
  static_cast<void>((*store)->remove(n, prompt, 16).has_value());
  static_cast<void>((*store)->remove_namespace(n).has_value());
  return 0;
}
