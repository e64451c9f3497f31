// Merging: several packs of a tenant become packs of what is alike.
//
// A pack copies only from its own text, and most of it from its dictionary. So conversations are
// grouped by similarity, and a pack gets as many as its dictionary holds whole: then every text is
// in reach of every other. As long as the dictionaries of all packs fit the cache of a reader that
// is the smallest form of most text; a larger tenant gets fewer and larger packs, whose
// dictionaries hold what is used most (dictionary_choice.h). It gets them earlier if they are no
// larger, which one of them tells: they are read faster, since there is less to decode for all of
// them.
//
// All packs of one step are a set: they are put one after another, and one commit of the catalog
// swaps them for what they were made of. The step reads each text once to find out what is the same
// and what is alike, and once more to encode it.

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/background.h"
#include "dedup/group_joining.h"
#include "vault/merge.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

// Dictionaries of a tenant's packs together stay near 128 MB, decoded.
constexpr std::uint64_t kPacksPerTenant = 32;
// Conversations are near-duplicates if one has this part of the other's anchors.
constexpr double kNear = 0.1;
constexpr std::uint64_t kNearBytesMax = 24u << 20;
constexpr std::uint32_t kAnchorStride = 8;  // of so many anchors one is looked at
// Groups that have this part of their anchors in common come into one wide pack.
constexpr double kJoined = 0.12;
// Packs that are only tried have numbers that no pack has.
constexpr std::uint64_t kTrialNumber = std::uint64_t{1} << 62;
// A wide pack stands for so many of one dictionary at least: fewer are not worth a trial.
constexpr std::uint64_t kWideDictionaries = 3;
// Of short conversations the tables would take more memory, and longer to read, than their text.
constexpr std::size_t kWideRowsMax = 65'536;
// The most text in a pack: encoding holds it in memory a few times.
constexpr std::uint64_t kPackTextBytesMax = 64u << 20;

}  // namespace

std::uint64_t merge_weight(const PackFooter& footer) {
  // Tables of a merge: about so much for each segment and row.
  constexpr std::uint64_t kSegmentBytes = 150, kRowBytes = 300;
  std::uint64_t weight = footer.counts.rows * kRowBytes;
  for (const Stream s : {kTokenStream, kByteStream}) {
    weight += footer.streams[s].text_bytes + footer.counts.segments[s] * kSegmentBytes;
  }
  return weight;
}

Merge::Merge(std::shared_ptr<const Tokenizer> tokenizer, MergeOptions options)
    : tokenizer_(std::move(tokenizer)),
      options_(std::move(options)),
      artifacts_(options_.artifacts) {}

void Merge::reserve(const TableSize& sources) {
  for (const Stream s : {kTokenStream, kByteStream}) {
    segments_.reserve(s, sources.segments[s]);
    code_sizes_[s].reserve(sources.segments[s]);
    directions_[s].reserve(sources.segments[s]);
  }
  rows_.reserve(sources.rows);
}

Status Merge::add(std::shared_ptr<const Source> source, std::vector<bool> dead) {
  auto visit = [&](Stream stream, std::uint32_t id, TokenView tokens, ByteView code) -> Status {
    (void)id;  // ids are given in order
    TOKVAULT_TRY(check_stop(options_.stop));
    code_sizes_[stream].push_back(static_cast<std::uint32_t>(code.size()));
    if (stream == kTokenStream) sample_anchors(tokens);
    const std::size_t size = stream == kTokenStream ? tokens.size() : code.size();
    if (size >= kSharedCodeBytes) ++shareable_count_;
    directions_[stream].push_back(stream == kTokenStream ? direction_of_tokens(tokens)
                                                         : direction_of_bytes(code));
    return {};
  };
  TOKVAULT_TRY(segments_.add(source, visit));
  TOKVAULT_ASSIGN(auto tables, source->tables());
  for (std::uint32_t i = 0; i < tables->rows.size(); ++i) {
    if (!dead.empty() && dead[i]) continue;
    rows_.push_back(
        {static_cast<std::uint32_t>(sources_.size()), i, tables->rows[i].first_sequence});
  }
  sources_size_ += size_of(*tables);
  sources_.push_back(std::move(source));
  return {};
}

void Merge::sample_anchors(TokenView tokens) {
  found_.clear();
  find_anchors(tokens, found_);
  for (const Anchor& a : found_) {
    if (is_sampled(a, kAnchorStride)) anchors_.push_back(a.hash);
  }
  anchor_ends_.push_back(static_cast<std::uint32_t>(anchors_.size()));
}

// Calls use(stream, id) for all that a row and its messages refer to, without an id for what none
// of the sources has.
template <class Use>
Status Merge::each_reference(const RowRef& which, Use use) const {
  const Source& source = *sources_[which.source];
  TOKVAULT_ASSIGN(const auto tables, source.tables());
  const Tables& t = *tables;
  auto take = [&](std::uint32_t form, std::uint32_t begin) -> Status {
    const FormInfo& info = t.form_infos[form];
    for (std::size_t k = 0; k < info.ref_count(); ++k) {
      const SegmentRef ref = t.refs[begin + k];
      const Stream stream = info.stream_of(k);
      std::optional<std::uint32_t> id;
      if (!ref.is_external()) {
        id = segments_.id_of(source, stream, ref.number());
      } else {
        id = segments_.find(stream, t.externals[ref.number()].digest);
      }
      TOKVAULT_TRY(use(stream, id));
    }
    return {};
  };
  const Row& row = t.rows[which.row];
  for (std::uint32_t n = row.leaf; n != kNoNode; n = t.nodes[n].parent) {
    TOKVAULT_TRY(take(t.nodes[n].form, t.nodes[n].refs_begin));
  }
  return take(row.form, row.refs_begin);
}

Result<Merge::Novelty> Merge::novelty() {
  std::sort(rows_.begin(), rows_.end(),
            [](const RowRef& a, const RowRef& b) { return a.first_sequence < b.first_sequence; });
  Novelty out{std::vector<GroupItem>(rows_.size()), AnchorGroups(kNear, kNearBytesMax)};
  std::array<std::vector<bool>, kStreams> seen;
  for (const Stream s : {kTokenStream, kByteStream}) seen[s].resize(segments_.size(s));
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    TOKVAULT_TRY(check_stop(options_.stop));
    DirectionSum sum;
    AnchorSet anchors;
    RowRef& row = rows_[i];
    auto take = [&](Stream stream, std::optional<std::uint32_t> id) -> Status {
      ++row.references;
      if (!id) return {};
      sum.add(directions_[stream][*id], segments_.at(stream, *id).size);
      if (seen[stream][*id]) return {};
      seen[stream][*id] = true;
      out.items[i].weight += code_sizes_[stream][*id] + 1;
      if (stream != kTokenStream) return {};
      anchors.insert(anchors.end(), anchors_.begin() + (*id == 0 ? 0 : anchor_ends_[*id - 1]),
                     anchors_.begin() + anchor_ends_[*id]);
      return {};
    };
    TOKVAULT_TRY(each_reference(row, take));
    TOKVAULT_ASSIGN(const auto tables, sources_[row.source]->tables());
    row.nodes = tables->messages(tables->rows[row.row]);
    out.items[i].direction = sum.direction();
    make_set(anchors);
    // Too many conversations for the memory: those that are left are told by their direction alone.
    Status added = out.near.add(anchors);
    if (!added && added.code() != Errc::exhausted) return std::move(added).error();
  }
  directions_ = {};
  anchors_ = {};
  anchor_ends_ = {};
  return out;
}

// Which conversations come into which pack. Near-duplicates count as one item as long as they fit a
// pack, since to split them costs their whole text; what is alike otherwise comes together by
// direction.
Status Merge::plan(const Step& step) {
  is_planned_ = true;
  TOKVAULT_ASSIGN(Novelty novel, novelty());
  std::uint64_t total = 0;
  for (const GroupItem& item : novel.items) total += item.weight;
  std::uint64_t most = std::clamp(total / kPacksPerTenant, kDictionaryTextBytes, kPackTextBytesMax);
  if (options_.pack_bytes_max > 0 && options_.input_bytes > 0) {
    // What fits the cap at the rate of what is merged; trials decide (fit()).
    const double rate = static_cast<double>(total) / static_cast<double>(options_.input_bytes);
    const double text = static_cast<double>(options_.pack_bytes_max) * std::max(rate, 1.0);
    if (text < static_cast<double>(most)) most = static_cast<std::uint64_t>(text);
  }
  most = std::max<std::uint64_t>(most, 1);
  const std::vector<Placement> placements = novel.near.finish();
  Groups families;
  std::vector<std::uint64_t> weights;
  std::vector<std::uint32_t> family_of(rows_.size(), UINT32_MAX);  // of a representative, now
  for (std::uint32_t i = 0; i < rows_.size(); ++i) {
    const GroupItem& item = novel.items[i];
    const std::uint32_t representative = i < placements.size() ? placements[i].representative : i;
    std::uint32_t& family = family_of[representative];
    if (family == UINT32_MAX || weights[family] + item.weight > most) {
      family = static_cast<std::uint32_t>(families.size());
      families.emplace_back();
      weights.push_back(0);
    }
    families[family].push_back(i);
    weights[family] += item.weight;
  }
  std::vector<GroupItem> items(families.size());
  for (std::size_t f = 0; f < families.size(); ++f) {
    const auto& family = families[f];
    items[f] = {novel.items[family[0]].direction, weights[f]};
    if (family.size() == 1) continue;
    DirectionSum sum;
    for (const std::uint32_t i : family) sum.add(novel.items[i].direction, novel.items[i].weight);
    items[f].direction = sum.direction();
  }
  const bool can_be_wide = options_.pack_bytes_max == 0 && options_.level != Level::dense &&
                           most < options_.wide_text_bytes && total >= kWideDictionaries * most;
  Groups groups;
  if (can_be_wide && options_.wide != false) {
    groups = group_similar(items, options_.wide_text_bytes);
    if (!options_.wide) {
      TOKVAULT_ASSIGN(const bool pays, wide_pays(groups, items, families, most, step));
      if (!pays) groups.clear();
    }
  }
  const bool is_wide = !groups.empty();
  if (!is_wide) groups = group_similar(items, most);
  groups_ = conversations_of(groups, families);
  for (const auto& group : groups) group_bytes_.push_back(weight_of(group, items));
  if (options_.pack_bytes_max == 0 && options_.joins && !is_wide) {
    TOKVAULT_TRY(join_alike(novel.near, step));
  }
  if (groups_.empty()) {  // records and what others need
    groups_.emplace_back();
    group_bytes_.push_back(0);
  }
  return {};
}

std::uint64_t Merge::weight_of(const std::vector<std::uint32_t>& group,
                               std::span<const GroupItem> items) {
  std::uint64_t sum = 0;
  for (const std::uint32_t i : group) sum += items[i].weight;
  return sum;
}

// Groups of families become groups of conversations.
Merge::Groups Merge::conversations_of(const Groups& groups, const Groups& families) {
  Groups out;
  for (const auto& group : groups) {
    std::vector<std::uint32_t>& rows = out.emplace_back();
    for (const std::uint32_t f : group) {
      rows.insert(rows.end(), families[f].begin(), families[f].end());
    }
    std::sort(rows.begin(), rows.end());
  }
  return out;
}

// Told by the heaviest of them, encoded as one pack and as packs of at most `narrow_bytes` of text,
// with all effort: with that of sealing small dictionaries come out better than they are.
Result<bool> Merge::wide_pays(const Groups& wide, std::span<const GroupItem> items,
                              const Groups& families, std::uint64_t narrow_bytes,
                              const Step& step) {
  const auto& sample = *std::max_element(
      wide.begin(), wide.end(),
      [&](const auto& a, const auto& b) { return weight_of(a, items) < weight_of(b, items); });
  for (const auto& group : conversations_of(wide, families)) {
    if (group.size() > kWideRowsMax || !size_at_most(group).fits(options_.table_size_max)) {
      return false;
    }
  }
  const Groups whole = conversations_of({sample}, families);
  std::vector<GroupItem> sampled;
  for (const std::uint32_t f : sample) sampled.push_back(items[f]);
  Groups narrow = group_similar(sampled, narrow_bytes);
  for (auto& group : narrow) {
    for (std::uint32_t& i : group) i = sample[i];
  }
  TOKVAULT_ASSIGN(const std::uint64_t narrow_size,
                  trial_bytes(conversations_of(narrow, families), options_.purpose, step));
  TOKVAULT_ASSIGN(const std::uint64_t wide_size, trial_bytes(whole, options_.purpose, step));
  return wide_size <= narrow_size;
}

// Groups that share passages come into one pack, though its dictionary does not hold them whole, if
// that is smaller. They are few, so that both can be tried.
Status Merge::join_alike(const AnchorGroups& anchors, const Step& step) {
  std::vector<AnchoredGroup> groups(groups_.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    groups[g].weight = group_bytes_[g];
    for (const std::uint32_t i : groups_[g]) {
      if (i >= anchors.size()) continue;
      const auto set = anchors.set_of(i);
      groups[g].anchors.insert(groups[g].anchors.end(), set.begin(), set.end());
    }
    make_set(groups[g].anchors);
  }
  const auto joined = join_groups(std::move(groups), kJoined, kWideTextBytes);
  for (std::size_t first = 0; first < joined.size(); ++first) {
    std::vector<std::vector<std::uint32_t>> apart;
    std::vector<std::uint32_t> together;
    for (std::size_t g = first; g < joined.size(); ++g) {
      if (joined[g] != first) continue;
      apart.push_back(groups_[g]);
      together.insert(together.end(), groups_[g].begin(), groups_[g].end());
    }
    if (apart.size() < 2) continue;
    if (!size_at_most(together).fits(options_.table_size_max)) continue;
    std::sort(together.begin(), together.end());
    TOKVAULT_ASSIGN(const std::uint64_t bytes_apart, trial_bytes(apart, PackPurpose::seal, step));
    TOKVAULT_ASSIGN(const std::uint64_t bytes_together,
                    trial_bytes({&together, 1}, PackPurpose::seal, step));
    if (bytes_together >= bytes_apart) continue;
    for (std::size_t g = first + 1; g < joined.size(); ++g) {
      if (joined[g] != first) continue;
      groups_[g].clear();
      group_bytes_[first] += std::exchange(group_bytes_[g], 0);
    }
    groups_[first] = std::move(together);
  }
  std::size_t left = 0;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    if (groups_[g].empty()) continue;
    std::swap(groups_[left], groups_[g]);
    group_bytes_[left++] = group_bytes_[g];
  }
  groups_.resize(left);
  group_bytes_.resize(left);
  return {};
}

// What packs of these groups take.
Result<std::uint64_t> Merge::trial_bytes(std::span<const std::vector<std::uint32_t>> groups,
                                         PackPurpose purpose, const Step& step) {
  PackIdentity identity;
  identity.vault.id = Buffer(16, '\0');
  identity.set_id = Buffer(16, '\0');
  identity.number = kTrialNumber;
  std::uint64_t bytes = 0;
  auto try_all = [&]() -> Status {
    for (const auto& group : groups) {
      TOKVAULT_TRY(step(0));
      TOKVAULT_ASSIGN(auto builder, build(group, identity.number));
      std::lock_guard lock(*options_.turn);
      TOKVAULT_ASSIGN(const Buffer pack, builder->finish(identity, options_.level, purpose));
      bytes += pack.size();
      ++identity.number;
    }
    return {};
  };
  Status tried = try_all();
  segments_.release(kTrialNumber, UINT64_MAX);
  if (!tried) return std::move(tried).error();
  return bytes;
}

Status Merge::plan_as_it_is() {
  is_planned_ = true;
  Groups groups(sources_.size());
  for (std::uint32_t i = 0; i < rows_.size(); ++i) groups[rows_[i].source].push_back(i);
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (groups[i].empty()) continue;  // of segments alone
    std::uint64_t& bytes = group_bytes_.emplace_back();
    TOKVAULT_ASSIGN(const auto tables, sources_[i]->tables());
    for (std::uint32_t id = 0; id < tables->segment_counts[kTokenStream]; ++id) {
      bytes += code_sizes_[kTokenStream][segments_.id_of(*sources_[i], kTokenStream, id)] + 1;
    }
    groups_.push_back(std::move(groups[i]));
  }
  if (groups_.empty()) {  // records and what others need
    groups_.emplace_back();
    group_bytes_.push_back(0);
  }
  return {};
}

Status Merge::visit_group(std::size_t group, std::vector<bool>& shared,
                          const std::function<Status(TokenView)>& visit) const {
  shared.resize(segments_.size(kTokenStream));
  std::vector<bool> seen(shared.size());
  Scratch scratch;
  std::vector<Token> tokens;
  auto take = [&](Stream stream, std::optional<std::uint32_t> id) -> Status {
    if (stream != kTokenStream || !id || seen[*id]) return {};
    seen[*id] = true;
    const SegmentUnion::Segment& s = segments_.at(stream, *id);
    if (SegmentUnion::is_shareable(s)) {
      if (shared[*id]) return {};
      shared[*id] = true;
    }
    TOKVAULT_ASSIGN(const ByteView code, s.source->code(stream, s.number, scratch));
    tokens.clear();
    TOKVAULT_TRY(s.source->decode_tokens(code, tokens));
    return visit(tokens);
  };
  for (const std::uint32_t i : groups_[group]) TOKVAULT_TRY(each_reference(rows_[i], take));
  return {};
}

// All groups are built, so that each has what only its pack will have.
Status Merge::try_artifacts(
    const std::vector<bool>& chosen,
    std::span<const std::shared_ptr<const ArtifactTokens>> artifacts,
    const std::function<Status(std::size_t, const std::vector<std::uint64_t>&)>& visit) {
  auto try_all = [&]() -> Status {
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      TOKVAULT_ASSIGN(auto builder, build(groups_[g], kTrialNumber + g));
      if (!chosen[g]) continue;
      TOKVAULT_ASSIGN(const auto sizes, builder->try_artifacts(artifacts));
      TOKVAULT_TRY(visit(g, sizes));
    }
    return {};
  };
  Status tried = try_all();
  segments_.release(kTrialNumber, UINT64_MAX);
  return tried;
}

Status Merge::undo(Backend& backend, const std::vector<CatalogFile>& files) {
  for (const CatalogFile& file : files) {
    TOKVAULT_TRY(backend.remove(pack_name(file.number)));
    segments_.release(file.number);
  }
  savings_.clear();
  return {};
}

Result<std::unique_ptr<PackBuilder>> Merge::build(const std::vector<std::uint32_t>& group,
                                                  std::uint64_t number) {
  auto builder = std::make_unique<PackBuilder>(tokenizer_, &segments_, number);
  builder->set_tenant(options_.tenant);
  builder->set_stop(options_.stop);
  builder->set_artifacts(artifacts_);
  for (const std::uint32_t i : group) {
    TOKVAULT_TRY(check_stop(options_.stop));
    const Source& source = *sources_[rows_[i].source];
    TOKVAULT_ASSIGN(auto tables, source.tables());
    TOKVAULT_TRY(builder->add_row(source, *tables, rows_[i].row));
  }
  return builder;
}

TableSize Merge::size_at_most(const std::vector<std::uint32_t>& group) const {
  TableSize size{.rows = group.size(),
                 .forms = sources_size_.forms,
                 .string_bytes = sources_size_.string_bytes};
  for (const std::uint32_t i : group) {
    size.nodes += rows_[i].nodes;
    size.references += rows_[i].references;
  }
  size.externals = std::min(size.references, sources_size_.externals + shareable_count_);
  for (const Stream s : {kTokenStream, kByteStream}) {
    size.segments[s] = std::min<std::uint64_t>(size.references, segments_.size(s));
  }
  return size;
}

// With room for the records and the numbers of the set, which a trial does not have.
bool Merge::fits_cap(ByteView pack) const {
  return pack.size() + 4096 <= options_.pack_bytes_max || pack.size() <= 16384;
}

// Halves what does not fit the cap, or what a pack may hold, by trial; the last trial of a group
// gives its segments their home for good.
Result<std::vector<Merge::Part>> Merge::fit(std::vector<std::vector<std::uint32_t>> groups,
                                            const PackIdentity& identity,
                                            std::atomic<std::uint64_t>& next_number,
                                            const Step& step) {
  std::vector<Part> parts;
  std::uint64_t number = 0;                    // of the next part, once it has one
  std::reverse(groups.begin(), groups.end());  // a stack
  while (!groups.empty()) {
    std::vector<std::uint32_t> group = std::move(groups.back());
    groups.pop_back();
    if (number == 0) number = next_number++;
    const bool is_capped = options_.pack_bytes_max > 0;
    if (group.size() > 1 && (is_capped || !size_at_most(group).fits(options_.table_size_max))) {
      TOKVAULT_TRY(step(0));
      TOKVAULT_ASSIGN(auto builder, build(group, number));
      bool fits = builder->table_size().fits(options_.table_size_max);
      if (fits && is_capped) {
        PackIdentity trial = identity;
        trial.number = number;
        TOKVAULT_ASSIGN(const Buffer pack,
                        builder->finish(trial, options_.level, options_.purpose));
        fits = fits_cap(pack);
      }
      if (!fits) {
        segments_.release(number);
        const auto middle = group.begin() + static_cast<std::ptrdiff_t>(group.size() / 2);
        groups.emplace_back(middle, group.end());
        groups.emplace_back(group.begin(), middle);
        continue;
      }
    }
    parts.push_back({std::exchange(number, 0), std::move(group)});
  }
  return parts;
}

Result<std::vector<CatalogFile>> Merge::run(
    Backend& backend, PackIdentity identity, std::vector<Record> records,
    const std::array<std::set<ShortDigest>, kStreams>* needed,
    std::atomic<std::uint64_t>& next_number, const Step& step) {
  if (!is_planned_) TOKVAULT_TRY(plan(step));
  TOKVAULT_ASSIGN(auto parts, fit(groups_, identity, next_number, step));
  TOKVAULT_TRY(place_orphans(needed, identity, records, next_number, step, parts));
  for (const Part& part : parts) identity.set_members.push_back(part.number);
  std::vector<CatalogFile> files;
  auto make = [&]() -> Status {
    for (const Part& part : parts) {
      TOKVAULT_TRY(step(files.empty() ? 0 : files.back().size_bytes));
      TOKVAULT_ASSIGN(auto builder, build(part.group, part.number));
      if (&part == &parts.front()) {
        for (Record& r : records) builder->add_record(std::move(r));
      }
      TOKVAULT_TRY(add_orphans(part, *builder));
      identity.number = part.number;
      if (builder->empty()) {
        // Nothing is left of it all; a set names only packs that are there.
        return parts.size() == 1 ? Status() : Error(Errc::corrupt, "a group without conversations");
      }
      TOKVAULT_ASSIGN(const CatalogFile file, put_pack(backend, *builder, identity, options_.level,
                                                       options_.purpose, *options_.turn));
      files.push_back(file);
      for (const std::uint64_t artifact : builder->footer().streams[kTokenStream].artifacts) {
        savings_[artifact] += builder->artifact_saving();
      }
    }
    return {};
  };
  auto status = make();
  if (!status) {
    // They are of no use, and the next writer would remove them.
    for (const Part& part : parts) (void)backend.remove(pack_name(part.number));
    return std::move(status).error();
  }
  return files;
}

Status Merge::add_orphans(const Part& part, PackBuilder& builder) const {
  for (const Orphan& orphan : part.orphans) {
    const SegmentUnion::Segment& s = segments_.at(orphan.stream, orphan.id);
    TOKVAULT_TRY(builder.add_segment(*s.source, orphan.stream, s.number));
  }
  return {};
}

Result<std::vector<Merge::Orphan>> Merge::orphans(
    const std::array<std::set<ShortDigest>, kStreams>* needed, std::span<const Part> parts,
    TableSize& last, std::uint64_t& last_bytes) const {
  std::array<std::vector<bool>, kStreams> used, in_last;
  for (const Stream s : {kTokenStream, kByteStream}) {
    used[s].resize(segments_.size(s));
    in_last[s].resize(segments_.size(s));
  }
  for (const Part& part : parts) {
    const bool is_last = &part == &parts.back();
    auto take = [&](Stream stream, std::optional<std::uint32_t> id) -> Status {
      if (!id) return {};
      const SegmentUnion::Segment& s = segments_.at(stream, *id);
      const bool is_elsewhere = used[stream][*id] && SegmentUnion::is_shareable(s);
      used[stream][*id] = true;
      if (!is_last || is_elsewhere || in_last[stream][*id]) return {};
      in_last[stream][*id] = true;
      ++last.segments[stream];
      last_bytes += code_sizes_[stream][*id];
      return {};
    };
    for (const std::uint32_t i : part.group) TOKVAULT_TRY(each_reference(rows_[i], take));
  }
  std::vector<Orphan> out;
  for (const Stream stream : {kTokenStream, kByteStream}) {
    for (std::uint32_t id = 0; id < segments_.size(stream); ++id) {
      const SegmentUnion::Segment& s = segments_.at(stream, id);
      if (used[stream][id] || !SegmentUnion::is_shareable(s)) continue;
      if (needed != nullptr && !(*needed)[stream].contains(s.digest)) continue;
      out.push_back({stream, id});
    }
  }
  return out;
}

// Packs of them end where those of conversations do: at so much text, and by trial at the cap.
Status Merge::place_orphans(const std::array<std::set<ShortDigest>, kStreams>* needed,
                            const PackIdentity& identity, std::span<const Record> records,
                            std::atomic<std::uint64_t>& next_number, const Step& step,
                            std::vector<Part>& parts) {
  TableSize size;
  std::uint64_t bytes = 0;
  TOKVAULT_ASSIGN(const std::vector<Orphan> all, orphans(needed, parts, size, bytes));
  const TableSize& limit = options_.table_size_max;
  const bool is_capped = options_.pack_bytes_max > 0;
  bool is_open = !is_capped || parts.back().group.empty();  // else it is as large as it may be
  std::size_t first = is_open ? parts.size() - 1 : parts.size();
  for (const Orphan& orphan : all) {
    const std::uint64_t code = code_sizes_[orphan.stream][orphan.id];
    if (!is_open || size.segments[orphan.stream] >= limit.segments[orphan.stream] ||
        (bytes > 0 && bytes + code > kPackTextBytesMax)) {
      parts.push_back({next_number++, {}});
      size = TableSize();
      bytes = 0;
      is_open = true;
    }
    ++size.segments[orphan.stream];
    bytes += code;
    parts.back().orphans.push_back(orphan);
  }
  for (; is_capped && first < parts.size(); ++first) {
    while (parts[first].orphans.size() > 1) {
      TOKVAULT_TRY(step(0));
      const std::uint64_t number = parts[first].number;
      TOKVAULT_ASSIGN(auto builder, build({}, number));
      if (first == 0) {
        for (const Record& r : records) builder->add_record(r);
      }
      TOKVAULT_TRY(add_orphans(parts[first], *builder));
      PackIdentity trial = identity;
      trial.number = number;
      TOKVAULT_ASSIGN(const Buffer pack, builder->finish(trial, options_.level, options_.purpose));
      segments_.release(number);
      if (fits_cap(pack)) break;
      // As many as fit at this rate, less some since it is one: halving would leave packs half
      // full.
      auto& mine = parts[first].orphans;
      const double part =
          0.9 * static_cast<double>(options_.pack_bytes_max) / static_cast<double>(pack.size());
      const auto kept = std::clamp<std::size_t>(
          static_cast<std::size_t>(part * static_cast<double>(mine.size())), 1, mine.size() - 1);
      Part rest{next_number++, {}};
      rest.orphans.assign(mine.begin() + static_cast<std::ptrdiff_t>(kept), mine.end());
      mine.resize(kept);
      parts.insert(parts.begin() + static_cast<std::ptrdiff_t>(first) + 1, std::move(rest));
    }
  }
  return {};
}

Result<CatalogFile> put_pack(Backend& backend, PackBuilder& builder, const PackIdentity& identity,
                             Level level, PackPurpose purpose, std::mutex& turn) {
  Buffer pack;
  {
    std::lock_guard lock(turn);
    TOKVAULT_ASSIGN(pack, builder.finish(identity, level, purpose));
  }
  TOKVAULT_TRY(backend.put(pack_name(identity.number), pack));
  const PackFooter& f = builder.footer();
  CatalogFile file;
  file.kind = CatalogFile::Kind::pack;
  file.number = identity.number;
  file.tenant = builder.tenant().number;
  file.size_bytes = pack.size();
  file.conversations = f.counts.rows;
  file.sequence_first = f.sequence_first;
  file.sequence_last = std::max(f.sequence_last, builder.last_record());
  file.time_first_ms = f.time_first_ms;
  file.time_last_ms = f.time_last_ms;
  return file;
}

}  // namespace tokvault
