// The checkpoint store of every released version serves what was put into it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "golden_checkpoint.h"

namespace tokvault::golden {
namespace {

namespace fs = std::filesystem;

void serves_everything(CheckpointStore& store) {
  EXPECT_EQ(store.block_tokens(), 16u);
  for (const KvChain& chain : kKvChains) {
    const auto tokens = kv_prompt(chain.family, chain.tokens);
    EXPECT_EQ(store.match(kKvModel, tokens)->tokens, tokens.size());
    for (std::uint32_t b = 0; b * 16 < tokens.size(); ++b) {
      Buffer out(chain.bytes, 'x');
      CheckpointRead read{.block = b, .out = out};
      ASSERT_TRUE(store.get(kKvModel, tokens, {&read, 1}));
      EXPECT_EQ(read.status, Errc::ok);
      EXPECT_TRUE(out == kv_payload(chain.family, b, chain.bytes)) << chain.family << " " << b;
    }
  }
  EXPECT_EQ(store.match(kKvModel, kv_prompt(9, 16))->tokens, 0u);
  EXPECT_TRUE(*store.get_sidecar(kKvModel, kv_prompt(1, 32), "logits") == kv_payload(5, 0, 5000));
  EXPECT_EQ(store.match_text(kKvModel, "some text some text and more")->tokens, kv_prompt(1, 32));
  Buffer payload;
  const auto state = store.find_state_text(kKvOther, "a state with text, continued", &payload);
  ASSERT_TRUE(state);
  EXPECT_EQ(state->tokens, kv_prompt(6, 20));
  EXPECT_EQ(state->meta, "kept");
  EXPECT_TRUE(payload == kv_payload(6, 0, 700));
  EXPECT_EQ(store.check()->bad, 0u);
}

TEST(GoldenCheckpoint, StoresOfVersion1ServeWhatWasPut) {
  const fs::path golden = fs::path(std::getenv("TOKVAULT_SOURCE")) / "tests/golden/checkpoint/v1";
  std::string name = (fs::temp_directory_path() / "tokvault-golden-XXXXXX").string();
  const fs::path folder = ::mkdtemp(name.data());
  for (const bool log_alone : {false, true}) {
    fs::create_directory(folder / "s");
    for (const auto& item : fs::directory_iterator(golden)) {
      const bool is_log = item.path().filename().string().starts_with("log-");
      if (is_log || !log_alone) fs::copy(item.path(), folder / "s" / item.path().filename());
    }
    for (const bool read_only : {true, false}) {
      CheckpointOptions o;
      o.read_only = read_only;
      auto store = CheckpointStore::open(folder / "s", o);
      ASSERT_TRUE(store) << store.error().message();
      serves_everything(**store);
      EXPECT_EQ((*store)->explain(kKvModel, kv_prompt(9, 16))->reason,
                log_alone ? "never_stored" : "removed");
    }
    fs::remove_all(folder / "s");
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace tokvault::golden
