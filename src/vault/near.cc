// Near-duplicates: find_near() and find_duplicates().
//
// The sketch of a conversation is that of the union of its texts: sketches are made for each stored
// segment, and put together for each conversation that refers to it. So a prompt that stands in a
// thousand conversations is decoded and sketched once, as long as its sketch is remembered.
//
// Conversations are read page by page, under the lock for one page at a time, as in scan().
#include <algorithm>

#include "dedup/anchors.h"
#include "dedup/groups.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kPageRows = 512;
constexpr std::uint64_t kPageTextBytes = 16u << 20;
constexpr std::uint64_t kMemoryMin = 1u << 20;

// How a method makes, joins and compares sketches.
struct ByMinHash {
  using Sketch = MinHash;
  using Groups = MinHashGroups;
  static Sketch of(TokenView tokens) { return MinHash::of(tokens); }
  static void merge(Sketch& sketch, const Sketch& other) { sketch.merge(other); }
  static void finish(Sketch& /*sketch*/) {}
  static bool is_empty(const Sketch& sketch) { return sketch == MinHash(); }
  static std::uint64_t bytes(const Sketch& /*sketch*/) { return sizeof(MinHash); }
  static double similarity(const Sketch& a, const Sketch& b) { return a.jaccard(b); }
  static unsigned halvings(const Groups& /*groups*/) { return 0; }
  // Of what is kept, all that the ids leave.
  static std::uint64_t groups_bytes_max(std::uint64_t kept_max) { return kept_max; }
  static std::uint64_t groups_bytes(const Groups& groups, std::uint64_t /*kept_max*/) {
    return groups.memory_bytes();
  }
};
struct ByAnchors {
  using Sketch = AnchorSet;
  using Groups = AnchorGroups;
  static Sketch of(TokenView tokens) {
    std::vector<Anchor> anchors;
    find_anchors(tokens, anchors);
    Sketch sketch;
    sketch.reserve(anchors.size());
    for (const Anchor& anchor : anchors) sketch.push_back(anchor.hash);
    return sketch;
  }
  static void merge(Sketch& sketch, const Sketch& other) {
    sketch.insert(sketch.end(), other.begin(), other.end());
  }
  static void finish(Sketch& sketch) { make_set(sketch); }
  static bool is_empty(const Sketch& sketch) { return sketch.empty(); }
  static std::uint64_t bytes(const Sketch& sketch) { return sketch.capacity() * 4; }
  static double similarity(const Sketch& a, const Sketch& b) {
    return static_cast<double>(count_common(a, b)) /
           static_cast<double>(std::min(a.size(), b.size()));
  }
  static unsigned halvings(const Groups& groups) { return groups.halvings(); }
  // They take what they may, and then fewer anchors.
  static std::uint64_t groups_bytes_max(std::uint64_t kept_max) { return kept_max / 7 * 5; }
  static std::uint64_t groups_bytes(const Groups& /*groups*/, std::uint64_t kept_max) {
    return groups_bytes_max(kept_max);
  }
};

// Sketches of conversations of one tenant; remembers those of segments.
template <class Way>
class Sketcher {
 public:
  using Sketch = typename Way::Sketch;
  explicit Sketcher(std::uint64_t memory_bytes_max) : memory_bytes_max_(memory_bytes_max) {}

  Result<Sketch> sketch(ConversationReader& reader, const Found& found) {
    Sketch sketch;
    const auto add = [&](const Source& source, std::uint32_t number) -> Status {
      auto& known = known_[source.file()];
      auto at = known.find(number);
      if (at == known.end()) {
        TOKVAULT_TRY(reader.read_tokens(source, number, tokens_));
        Sketch own = tokens_.empty() ? Sketch() : Way::of(tokens_);
        bytes_ += Way::bytes(own) + kEntryBytes;
        at = known.emplace(number, std::move(own)).first;
      }
      Way::merge(sketch, at->second);
      // Rarely, and then all: what is needed again is made again.
      if (bytes_ > memory_bytes_max_) {
        known_.clear();
        bytes_ = 0;
      }
      return {};
    };
    TOKVAULT_TRY(reader.visit_texts(*found.source, *found.tables, found.row, add));
    Way::finish(sketch);
    return sketch;
  }

 private:
  static constexpr std::uint64_t kEntryBytes = 64;
  std::uint64_t memory_bytes_max_;
  std::uint64_t bytes_ = 0;
  // By file and number.
  std::unordered_map<std::uint64_t, std::unordered_map<std::uint32_t, Sketch>> known_;
  std::vector<Token> tokens_;
};

// The ids of many conversations, one after the other.
class IdList {
 public:
  void add(std::string_view id) {
    text_ += id;
    ends_.push_back(text_.size());
  }
  std::string at(std::size_t i) const {
    const std::uint64_t begin = i == 0 ? 0 : ends_[i - 1];
    return text_.substr(begin, ends_[i] - begin);
  }
  std::size_t size() const { return ends_.size(); }
  std::uint64_t memory_bytes() const { return text_.capacity() + ends_.capacity() * 8; }

 private:
  std::string text_;
  std::vector<std::uint64_t> ends_;
};

Status check_threshold(double threshold) {
  if (threshold >= 0 && threshold <= 1) return {};
  return Error(Errc::invalid, "the threshold is 0 to 1");
}

}  // namespace

template <class Way, class Visit>
Status VaultImpl::each_sketch(const Filter& filter, std::uint64_t memory_bytes_max,
                              const Progress& progress, Visit&& visit) const {
  UsageQuery everything{.filter = filter};
  everything.by_model = false;
  TOKVAULT_ASSIGN(const auto sums, usage(everything));
  const std::uint64_t total = sums.empty() ? 0 : sums[0].tokens * sizeof(Token);
  std::uint64_t done = 0;
  std::uint64_t after = 0;
  Sketcher<Way> sketcher(memory_bytes_max);
  struct Item {
    Summary summary;
    typename Way::Sketch sketch;
  };
  for (bool more = true; more;) {
    if (progress && !progress(done, total)) return Error(Errc::cancelled, "stopped as asked");
    std::vector<Item> items;
    auto read = reading([&]() -> Status {
      items.clear();
      const TenantState* tenant = state_.tenant(tenant_name(filter.tenant));
      if (tenant == nullptr) {
        more = false;
        return {};
      }
      ConversationReader reader(state_, *tokenizer_, tenant->record.number);
      TOKVAULT_ASSIGN(const auto page, collect_page(*tenant, filter, after, kPageRows));
      more = page.size() == kPageRows;
      std::uint64_t bytes = 0;
      for (const Found& found : page) {
        TOKVAULT_ASSIGN(auto sketch, sketcher.sketch(reader, found));
        items.push_back({summary_of(*tenant, found), std::move(sketch)});
        bytes += items.back().summary.text_bytes;
        if (bytes >= kPageTextBytes) {
          more = true;
          break;
        }
      }
      return {};
    });
    TOKVAULT_TRY(std::move(read));
    for (Item& item : items) {
      after = item.summary.first_sequence;
      done += item.summary.tokens * sizeof(Token);
      TOKVAULT_TRY(visit(std::move(item.summary), std::move(item.sketch)));
    }
  }
  return {};
}

template <class Way>
Result<std::vector<NearConversation>> VaultImpl::find_near_by(std::string_view id,
                                                              const NearOptions& options,
                                                              const Progress& progress) const {
  typename Way::Sketch wanted;
  auto read = reading([&]() -> Status {
    const TenantState* tenant = state_.tenant(tenant_name(options.filter.tenant));
    TOKVAULT_ASSIGN(const Found found, find_or_error(tenant, id));
    ConversationReader reader(state_, *tokenizer_, tenant->record.number);
    TOKVAULT_ASSIGN(wanted, Sketcher<Way>(kMemoryMin).sketch(reader, found));
    return {};
  });
  TOKVAULT_TRY(std::move(read));
  std::vector<NearConversation> near;
  if (Way::is_empty(wanted)) return near;
  // A heap with the least similar first; of equally similar ones the earlier are kept.
  const auto is_better = [](const NearConversation& a, const NearConversation& b) {
    return a.similarity != b.similarity ? a.similarity > b.similarity
                                        : a.summary.first_sequence < b.summary.first_sequence;
  };
  const auto compare = [&](Summary&& summary, typename Way::Sketch&& sketch) -> Status {
    if (summary.id == id || Way::is_empty(sketch)) return {};
    NearConversation item{std::move(summary), Way::similarity(wanted, sketch)};
    if (item.similarity < options.threshold) return {};
    near.push_back(std::move(item));
    std::push_heap(near.begin(), near.end(), is_better);
    if (near.size() > options.limit) {
      std::pop_heap(near.begin(), near.end(), is_better);
      near.pop_back();
    }
    return {};
  };
  TOKVAULT_TRY(each_sketch<Way>(options.filter, options.memory_bytes_max, progress, compare));
  std::sort_heap(near.begin(), near.end(), is_better);
  return near;
}

Result<std::vector<NearConversation>> VaultImpl::find_near(std::string_view id,
                                                           const NearOptions& options,
                                                           const Progress& progress) const {
  TOKVAULT_TRY(check_threshold(options.threshold));
  if (options.limit == 0 || options.limit > 100'000) {
    return Error(Errc::invalid, "limit is 1 to 100,000");
  }
  return options.method == Likeness::minhash ? find_near_by<ByMinHash>(id, options, progress)
                                             : find_near_by<ByAnchors>(id, options, progress);
}

template <class Way>
Result<DuplicateReport> VaultImpl::find_duplicates_by(
    const DuplicateOptions& options, const std::function<bool(const DuplicateGroup&)>& visit,
    const Progress& progress) const {
  // An eighth is to remember sketches of segments, the rest for comparing and for ids and numbers.
  const std::uint64_t memory = options.memory_bytes_max;
  const std::uint64_t kept_max = memory / 8 * 7;
  typename Way::Groups groups(options.threshold, Way::groups_bytes_max(kept_max));
  DuplicateReport report;
  IdList ids;
  std::vector<std::uint64_t> tokens;
  const auto too_much = [&](Error error) {
    return std::move(error).with("the memory of " + std::to_string(memory) +
                                 " bytes is too little for " + std::to_string(ids.size()) +
                                 " conversations and more; give more, or ask for a part of them");
  };
  const auto add = [&](Summary&& summary, typename Way::Sketch&& sketch) -> Status {
    ++report.conversations;
    report.tokens += summary.tokens;
    if (Way::is_empty(sketch)) return {};
    auto added = groups.add(sketch);
    if (!added) return too_much(std::move(added).error());
    ids.add(summary.id);
    tokens.push_back(summary.tokens);
    const std::uint64_t groups_bytes = Way::groups_bytes(groups, kept_max);
    if (groups_bytes + ids.memory_bytes() + tokens.capacity() * 8 > kept_max) {
      return too_much(Error(Errc::exhausted, "the ids do not fit"));
    }
    return {};
  };
  TOKVAULT_TRY(each_sketch<Way>(options.filter, memory / 8, progress, add));
  const std::vector<Placement> placements = groups.finish();
  report.halvings = Way::halvings(groups);

  // Members by group, groups by size.
  std::vector<std::uint32_t> members;
  std::vector<std::uint32_t> sizes(placements.size());
  for (std::uint32_t i = 0; i < placements.size(); ++i) {
    ++sizes[placements[i].representative];
    if (placements[i].representative == i) continue;
    members.push_back(i);
    report.duplicate_tokens += tokens[i];
  }
  report.duplicates = members.size();
  std::sort(members.begin(), members.end(), [&](std::uint32_t a, std::uint32_t b) {
    const std::uint32_t ra = placements[a].representative;
    const std::uint32_t rb = placements[b].representative;
    if (sizes[ra] != sizes[rb]) return sizes[ra] > sizes[rb];
    return ra != rb ? ra < rb : a < b;
  });
  const auto conversation = [&](std::uint32_t i) {
    return DuplicateMember{ids.at(i), placements[i].similarity, tokens[i]};
  };
  bool go_on = true;
  for (std::size_t i = 0; i < members.size();) {
    const std::uint32_t representative = placements[members[i]].representative;
    const std::size_t count = sizes[representative] - 1;
    ++report.groups;
    if (go_on) {
      DuplicateGroup group;
      group.representative = conversation(representative);
      for (std::size_t k = 0; k < count; ++k) {
        group.duplicates.push_back(conversation(members[i + k]));
        group.duplicate_tokens += tokens[members[i + k]];
      }
      go_on = visit(group);
    }
    i += count;
  }
  return report;
}

Result<DuplicateReport> VaultImpl::find_duplicates(
    const DuplicateOptions& options, const std::function<bool(const DuplicateGroup&)>& visit,
    const Progress& progress) const {
  if (!visit) return Error(Errc::invalid, "nothing is there to visit groups");
  TOKVAULT_TRY(check_threshold(options.threshold));
  if (options.memory_bytes_max < kMemoryMin) {
    return Error(Errc::invalid, "less than 1 MB of memory is too little");
  }
  return options.method == Likeness::minhash
             ? find_duplicates_by<ByMinHash>(options, visit, progress)
             : find_duplicates_by<ByAnchors>(options, visit, progress);
}

}  // namespace tokvault
