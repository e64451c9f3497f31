// Makes the golden checkpoint store: make_golden_checkpoint FOLDER. Run once for each version of
// the format; what it wrote is committed and never made again.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "golden_checkpoint.h"

using namespace tokvault;
using namespace tokvault::golden;

namespace {

template <class R>
void need(const R& result, const char* what) {
  if (result) return;
  std::fprintf(stderr, "%s: %s\n", what, std::string(result.error().message()).c_str());
  std::exit(1);
}

void put(const std::string& path, const Namespace& n, const KvChain& chain, std::uint64_t ttl) {
  CheckpointOptions o;
  o.block_tokens = 16;
  o.codec = chain.codec;
  auto store = CheckpointStore::open(path, o);
  need(store, "open");
  const auto tokens = kv_prompt(chain.family, chain.tokens);
  std::vector<Buffer> payloads;
  std::vector<CheckpointBlock> blocks;
  for (std::size_t at = 0; at < tokens.size(); at += 16) {
    payloads.push_back(kv_payload(chain.family, at / 16, chain.bytes));
  }
  for (const Buffer& p : payloads) {
    blocks.push_back({p, chain.family == 1 ? ByteView("some text ") : ByteView()});
  }
  need((*store)->put(n, tokens, {.blocks = blocks, .time_to_live_ms = ttl}), "put");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::string path = argv[1];
  put(path, kKvModel, {CheckpointCodec::none, 9, 16, 100}, 0);
  for (const KvChain& chain : kKvChains) {
    // A hundred years.
    put(path, kKvModel, chain, chain.family == 2 ? std::uint64_t{3155760000} * 1000 : 0);
  }
  CheckpointOptions o;
  o.codec = CheckpointCodec::by_dtype;
  auto store = CheckpointStore::open(path, o);
  need(store, "open");
  need((*store)->put_sidecar(kKvModel, kv_prompt(1, 32), "logits", kv_payload(5, 0, 5000)),
       "sidecar");
  need((*store)->close(), "close");
  // What follows stands in the journal: the store is not closed.
  store = CheckpointStore::open(path, o);
  need(store, "open");
  CheckpointState state;
  state.tokens = kv_prompt(6, 20);
  state.text = "a state with text";
  state.meta = "kept";
  need((*store)->put_state(kKvOther, state, kv_payload(6, 0, 700)), "state");
  need((*store)->remove(kKvModel, kv_prompt(9, 16)), "remove");
  need((*store)->flush(), "flush");
  std::_Exit(0);
}
