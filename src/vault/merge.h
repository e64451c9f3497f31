// Merge: makes packs of similar conversations of several files of one tenant.
#ifndef TOKVAULT_VAULT_MERGE_H_
#define TOKVAULT_VAULT_MERGE_H_

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <vector>

#include "dedup/anchors.h"
#include "dedup/grouping.h"
#include "dedup/groups.h"
#include "tokvault/backend.h"
#include "tokvault/catalog.h"
#include "vault/pack_builder.h"
#include "vault/segment_union.h"

namespace tokvault {

// The text of a *wide* pack, which has its dictionary and blocks.
inline constexpr std::uint64_t kWideTextBytes = 32u << 20;

struct MergeOptions {
  TenantRecord tenant;
  Level level = Level::balanced;
  PackPurpose purpose = PackPurpose::compact;
  std::uint64_t pack_bytes_max = 0;  // 0: no cap
  TableSize table_size_max = kTableSizeMax;
  // Whether packs are wide where there is text for three of one dictionary; absent: if one of them,
  // encoded as a trial, is no larger than those that it stands for.
  std::optional<bool> wide{};
  std::uint64_t wide_text_bytes = kWideTextBytes;
  // Whether those that share passages are tried as one.
  bool joins = true;
  std::uint64_t input_bytes = 0;  // of all sources, on disk
  std::mutex* turn = nullptr;     // see put_pack
  // What the packs may copy from.
  std::vector<std::shared_ptr<const ArtifactTokens>> artifacts{};
  std::stop_token stop{};  // everything ends with `cancelled` soon after a request
};

// What a pack takes in memory while it is merged, in bytes, about.
std::uint64_t merge_weight(const PackFooter& footer);

// Threads: one at a time. Lifetime: holds its sources.
class Merge {
 public:
  // Called before each pack with the bytes of the one before it; an error stops the merge.
  using Step = std::function<Status(std::uint64_t bytes_done)>;

  Merge(std::shared_ptr<const Tokenizer> tokenizer, MergeOptions options);

  // How much the sources have together: before the first of them.
  void reserve(const TableSize& sources);
  // Takes in a source, without the rows that are dead (empty: none is).
  Status add(std::shared_ptr<const Source> source, std::vector<bool> dead);
  // Says which conversations come together, which run() does otherwise. After all sources.
  Status plan(const Step& step);
  // The same: those that are together in a source stay so.
  Status plan_as_it_is();
  // Groups that were planned, each of which becomes a pack unless it does not fit one.
  std::size_t group_count() const { return groups_.size(); }
  // About how large the text of a group is.
  std::uint64_t group_bytes(std::size_t group) const { return group_bytes_[group]; }
  // The texts of a group, each once. `shared`, empty for the first group, takes in what will stand
  // in its pack alone; what is in it is left out.
  Status visit_group(std::size_t group, std::vector<bool>& shared,
                     const std::function<Status(TokenView)>& visit) const;
  // Calls visit(group, sizes) with PackBuilder::try_artifacts of those groups that are `chosen`, by
  // number, as long as it succeeds.
  Status try_artifacts(
      const std::vector<bool>& chosen,
      std::span<const std::shared_ptr<const ArtifactTokens>> artifacts,
      const std::function<Status(std::size_t, const std::vector<std::uint64_t>&)>& visit);
  void set_artifacts(std::vector<std::shared_ptr<const ArtifactTokens>> artifacts) {
    artifacts_ = std::move(artifacts);
  }
  // By how much each artifact that packs of run() name makes them smaller.
  const std::map<std::uint64_t, std::uint64_t>& artifact_savings() const { return savings_; }
  // Removes what run() has put, which may be called again then.
  Status undo(Backend& backend, const std::vector<CatalogFile>& files);

  // Puts the packs and returns them, for the catalog; after an error none is left. `identity` has
  // everything but number and members. `records` go into the first pack. Of segments without a
  // conversation those are kept that are `needed`; null: all that others could refer to.
  // Numbers for packs are taken from `next_number`.
  Result<std::vector<CatalogFile>> run(Backend& backend, PackIdentity identity,
                                       std::vector<Record> records,
                                       const std::array<std::set<ShortDigest>, kStreams>* needed,
                                       std::atomic<std::uint64_t>& next_number, const Step& step);

 private:
  struct RowRef {
    std::uint32_t source = 0;
    std::uint32_t row = 0;
    std::uint64_t first_sequence = 0;
    // Of all its messages and its own, once plan() has been there.
    std::uint32_t nodes = 0;
    std::uint32_t references = 0;
  };
  struct Orphan {
    Stream stream = kTokenStream;
    std::uint32_t id = 0;  // in segments_
  };
  struct Part {
    std::uint64_t number = 0;
    std::vector<std::uint32_t> group;  // positions in rows_
    std::vector<Orphan> orphans{};     // segments that no conversation has
  };
  // What the conversations have that none before them has, to tell which of them are alike.
  struct Novelty {
    std::vector<GroupItem> items;
    // Anchors of each, by which near-duplicates are found.
    AnchorGroups near;
  };
  using Groups = std::vector<std::vector<std::uint32_t>>;
  static std::uint64_t weight_of(const std::vector<std::uint32_t>& group,
                                 std::span<const GroupItem> items);
  static Groups conversations_of(const Groups& groups, const Groups& families);
  Result<bool> wide_pays(const Groups& wide, std::span<const GroupItem> items,
                         const Groups& families, std::uint64_t narrow_bytes, const Step& step);
  void sample_anchors(TokenView tokens);
  Result<Novelty> novelty();
  Status join_alike(const AnchorGroups& anchors, const Step& step);
  Result<std::uint64_t> trial_bytes(std::span<const std::vector<std::uint32_t>> groups,
                                    PackPurpose purpose, const Step& step);
  template <class Use>
  Status each_reference(const RowRef& row, Use use) const;
  Result<std::unique_ptr<PackBuilder>> build(const std::vector<std::uint32_t>& group,
                                             std::uint64_t number);
  // What the tables of a pack with these conversations hold at most.
  TableSize size_at_most(const std::vector<std::uint32_t>& group) const;
  Result<std::vector<Part>> fit(std::vector<std::vector<std::uint32_t>> groups,
                                const PackIdentity& identity,
                                std::atomic<std::uint64_t>& next_number, const Step& step);
  // Segments that no conversation here refers to and another file may, or of these the `needed`.
  // `last` takes in what the last part holds besides, and so many bytes of codes.
  Result<std::vector<Orphan>> orphans(const std::array<std::set<ShortDigest>, kStreams>* needed,
                                      std::span<const Part> parts, TableSize& last,
                                      std::uint64_t& last_bytes) const;
  // Gives them to the last part and, as far as it has no room for them, to more.
  Status place_orphans(const std::array<std::set<ShortDigest>, kStreams>* needed,
                       const PackIdentity& identity, std::span<const Record> records,
                       std::atomic<std::uint64_t>& next_number, const Step& step,
                       std::vector<Part>& parts);
  Status add_orphans(const Part& part, PackBuilder& builder) const;
  // Whether a pack that was encoded as a trial is no larger than the cap.
  bool fits_cap(ByteView pack) const;

  const std::shared_ptr<const Tokenizer> tokenizer_;
  const MergeOptions options_;
  SegmentUnion segments_;
  std::array<std::vector<std::uint32_t>, kStreams> code_sizes_;
  std::array<std::vector<Direction>, kStreams> directions_;
  // Some anchors of each token segment, and where they end.
  std::vector<std::uint32_t> anchors_;
  std::vector<std::uint32_t> anchor_ends_;
  std::vector<Anchor> found_;  // of sample_anchors(), kept for its memory
  std::vector<std::shared_ptr<const Source>> sources_;
  std::vector<RowRef> rows_;
  Groups groups_;  // positions in rows_
  std::vector<std::uint64_t> group_bytes_;
  bool is_planned_ = false;
  std::vector<std::shared_ptr<const ArtifactTokens>> artifacts_;
  std::map<std::uint64_t, std::uint64_t> savings_;
  TableSize sources_size_;             // sum of all sources
  std::uint64_t shareable_count_ = 0;  // segments that other packs may refer to
};

// Encodes a pack and puts it; the entry for the catalog. `turn` is held while it is encoded, which
// takes most of the memory: sealing and a merge beside it take turns.
Result<CatalogFile> put_pack(Backend& backend, PackBuilder& builder, const PackIdentity& identity,
                             Level level, PackPurpose purpose, std::mutex& turn);

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_MERGE_H_
