// AnchorIndex: which items have an anchor, to find the one that shares most with another.
#ifndef TOKVAULT_DEDUP_ANCHOR_INDEX_H_
#define TOKVAULT_DEDUP_ANCHOR_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace tokvault {

// Bounded: it takes so many anchors as it was made for, and then those of no further item. 20 to 28
// bytes an anchor.
// Threads: one at a time.
class AnchorIndex {
 public:
  struct Candidate {
    std::uint32_t item = 0;
    std::uint32_t votes = 0;  // anchors that it shares, of those that were looked up
    bool operator==(const Candidate&) const = default;
  };

  explicit AnchorIndex(std::size_t anchors_max);

  // False, and nothing is changed, if there is no room for all of them.
  bool insert(std::uint32_t item, std::span<const std::uint32_t> anchors);
  // The items that share an anchor, at most 64, those with the most votes first, then by number.
  // Looks up the `probes` anchors that the fewest items have, and of each the 256 items that came
  // last. The view lives until the next call.
  // REQUIRES: anchors is a set (dedup/anchors.h)
  std::span<const Candidate> find(std::span<const std::uint32_t> anchors,
                                  std::size_t probes = SIZE_MAX);
  // How many of the anchors some item has.
  std::size_t count_known(std::span<const std::uint32_t> anchors) const;

 private:
  struct Bucket {
    std::uint32_t first;
    std::uint32_t count;
  };
  struct Node {
    std::uint32_t hash;
    std::uint32_t item;
    std::uint32_t next;
  };
  struct Rare {
    std::uint32_t count;
    std::uint32_t hash;
    auto operator<=>(const Rare&) const = default;
  };
  std::size_t place(std::uint32_t hash) const;

  std::size_t anchors_max_;
  std::vector<Bucket> buckets_;  // chains of nodes, a power of two
  std::vector<Node> nodes_;
  std::vector<Rare> rarest_;
  std::unordered_map<std::uint32_t, std::uint32_t> votes_;
  std::vector<Candidate> found_;
};

}  // namespace tokvault

#endif  // TOKVAULT_DEDUP_ANCHOR_INDEX_H_
