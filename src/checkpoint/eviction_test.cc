// The index, and what the policies promise on traces that the test makes.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>

#include "checkpoint/shadow_cache.h"
#include "tokvault/checkpoint_replay.h"

namespace tokvault {
namespace {

using checkpoint::BlockIndex;
using checkpoint::Hash128;
using checkpoint::Kind;
using checkpoint::kNoRecord;
using checkpoint::ShadowBlock;
using checkpoint::ShadowCache;

TEST(BlockIndex, AgreesWithAMap) {
  BlockIndex index;
  std::map<std::uint64_t, std::uint32_t> model;
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) {
    const std::uint64_t n = random() % 30000;
    const Hash128 key{n * 0x9e3779b97f4a7c15u, n};
    const auto it = model.find(n);
    ASSERT_EQ(index.find(key), it == model.end() ? kNoRecord : it->second);
    if (it == model.end()) {
      model[n] = index.insert(key, kNoRecord, Kind::block);
    } else if (random() % 2 == 0) {
      index.erase(it->second);
      model.erase(it);
    }
  }
  EXPECT_EQ(index.size(), model.size());
}

struct TraceMaker {
  std::mt19937 random{3};
  std::uint64_t next = 0;
  std::string text;
  std::uint64_t time = 0;
  std::vector<std::uint64_t> fresh(std::size_t count) {
    std::vector<std::uint64_t> out(count);
    for (auto& id : out) id = next++;
    return out;
  }
  void request(const std::vector<std::uint64_t>& blocks) {
    text += "{\"timestamp\": " + std::to_string(time += 100) +
            ", \"input_length\": " + std::to_string(blocks.size() * 512 + 5) + ", \"hash_ids\": [";
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      text += (i == 0 ? "" : ", ") + std::to_string(blocks[i]);
    }
    text += "]}\n";
  }
};

std::map<std::string, double> averages(const std::string& trace) {
  std::map<std::string, double> sums;
  const auto report = replay_trace(trace, {});
  EXPECT_TRUE(report);
  for (const ReplayRow& row : report->rows) {
    sums[row.policy] += row.hit_percent / 4;
    EXPECT_LE(row.hit_percent, report->unbounded_hit_percent + 1e-9);
  }
  return sums;
}

// A shadow that goes by recency misses what a list in the order of last use misses.
TEST(ShadowCache, AgreesWithAList) {
  ShadowCache shadow(nullptr);
  constexpr std::size_t kCapacity = 60;
  std::list<std::uint64_t> order;  // the oldest first
  std::mt19937 random(3);
  for (std::uint32_t clock = 1; clock < 3000; ++clock) {
    // Prompts of ten families that branch at every block.
    std::vector<ShadowBlock> blocks;
    std::uint64_t key = 1000 + random() % 10;
    for (std::size_t i = 1 + random() % 12; i > 0; --i) {
      key = key * 1000003 + random() % 2 + 1;
      blocks.push_back({{key, ~key}, static_cast<std::uint16_t>(blocks.size()), 0});
    }
    std::size_t leading = 0;
    const auto has = [&order](std::uint64_t k) {
      return std::find(order.begin(), order.end(), k) != order.end();
    };
    while (leading < blocks.size() && has(blocks[leading].key.lo)) ++leading;
    EXPECT_EQ(shadow.request(blocks, clock, kCapacity), blocks.size() - leading) << clock;
    for (std::size_t i = blocks.size(); i-- > 0;) {
      order.remove(blocks[i].key.lo);
      order.push_back(blocks[i].key.lo);
    }
    while (order.size() > kCapacity) order.pop_front();
  }
  shadow.clear();
  const ShadowBlock one{{1, 2}, 0, 0};
  EXPECT_EQ(shadow.request({&one, 1}, 3000, kCapacity), 1u);
  EXPECT_EQ(shadow.request({&one, 1}, 3001, kCapacity), 0u);
}

// Documents of uneven popularity among one-off prompts.
TEST(Replay, ValueBeatsLruOnUnevenPopularity) {
  TraceMaker t;
  std::vector<std::vector<std::uint64_t>> documents;
  for (int i = 0; i < 400; ++i) documents.push_back(t.fresh(5 + t.random() % 20));
  for (int i = 0; i < 2500; ++i) {
    if (t.random() % 3 == 0) {
      t.request(t.fresh(1 + t.random() % 20));
      continue;
    }
    const double u = static_cast<double>(t.random()) / 4294967296.0;
    t.request(documents[static_cast<std::size_t>(400 * u * u * u)]);
  }
  auto hits = averages(t.text);
  EXPECT_GT(hits["value"], hits["lru"] + 2);
  for (const auto& [name, percent] : hits) EXPECT_LE(percent, hits["belady"] + 1e-9) << name;
}

// Conversations whose next turn comes soon or never: recency is all there is to know.
TEST(Replay, ValueIsNoWorseThanLruOnConversations) {
  TraceMaker t;
  std::vector<std::vector<std::uint64_t>> live;
  for (int i = 0; i < 4000; ++i) {
    if (live.empty() || t.random() % 3 == 0) live.push_back(t.fresh(1 + t.random() % 15));
    const std::size_t at = live.size() - 1 - t.random() % std::min<std::size_t>(live.size(), 30);
    for (const std::uint64_t id : t.fresh(1 + t.random() % 4)) live[at].push_back(id);
    t.request(live[at]);
    if (t.random() % 4 == 0) live.erase(live.begin() + static_cast<std::ptrdiff_t>(at));
  }
  auto hits = averages(t.text);
  EXPECT_GT(hits["value"], hits["lru"] - 0.1);
  for (const char* other : {"arc", "2q", "gdsf", "aged_frequency", "decayed_hits"}) {
    EXPECT_GT(hits["value"], hits[other] - 0.5) << other;
  }
}

// A loop longer than the cache: recency keeps nothing of it.
TEST(Replay, ValueHoldsPartOfALoop) {
  TraceMaker t;
  std::vector<std::vector<std::uint64_t>> loop;
  for (int i = 0; i < 100; ++i) loop.push_back(t.fresh(10));
  for (int i = 0; i < 3000; ++i) t.request(loop[static_cast<std::size_t>(i) % 100]);
  auto hits = averages(t.text);
  EXPECT_LT(hits["lru"], 1);
  EXPECT_GT(hits["value"], 5);
}

TEST(Replay, RefusesWhatIsNoTrace) {
  EXPECT_EQ(replay_trace("", {}).code(), Errc::invalid);
  EXPECT_EQ(replay_trace("{}", {}).code(), Errc::invalid);
  EXPECT_EQ(replay_trace("{\"input_length\": 512, \"hash_ids\": [\"x\"]}", {}).code(),
            Errc::invalid);
  EXPECT_EQ(replay_trace("{\"input_length\": 512, \"hash_ids\": [1]}", {.policies = {"x"}}).code(),
            Errc::invalid);
}

}  // namespace
}  // namespace tokvault
