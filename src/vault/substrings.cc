// Substring sets: a change makes a new artifact out of the active one, registers it and makes it
// the active one in one commit, and then removes the one before, unless a file still names it.
#include "vault/substrings.h"

#include <algorithm>

#include "base/clock.h"
#include "vault/artifacts.h"
#include "vault/shared_runs.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

// Different conversations that hold something, the first few of them, and how many in all.
struct Holders {
  std::vector<std::uint64_t> named;
  std::uint64_t count = 0;

  void add(std::uint64_t conversation, std::uint64_t named_max) {
    ++count;
    if (named.size() < named_max) named.push_back(conversation);
  }
  // What both hold; their counts may be of the same conversations.
  void join(const Holders& other, std::uint64_t named_max) {
    for (const std::uint64_t c : other.named) {
      if (named.size() >= named_max) break;
      if (std::find(named.begin(), named.end(), c) == named.end()) named.push_back(c);
    }
    count = std::max<std::uint64_t>({count, other.count, named.size()});
  }
};

// Who holds the token segments of one source: its own, and those of others.
struct SourceHolders {
  std::vector<Holders> local;
  std::vector<Holders> externals;
  std::uint64_t conversations = 0;
};

// A row is named by its sequence number. Of a chat that is logged request by request only the
// longest row counts (chats_of).
SourceHolders holders_of(const Tables& t, const std::vector<bool>& dead, std::uint64_t named_max) {
  SourceHolders out;
  out.local.resize(t.segment_counts[kTokenStream]);
  out.externals.resize(t.externals.size());
  const std::vector<std::uint32_t> chats = chats_of(t, dead);
  const auto take = [&](std::uint32_t form, const SegmentRef* refs, const Holders& holders) {
    const FormInfo& info = t.form_infos[form];
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      if (info.stream_of(i) != kTokenStream) continue;
      auto& into = refs[i].is_external() ? out.externals : out.local;
      into[refs[i].number()].join(holders, named_max);
    }
  };
  std::vector<Holders> nodes(t.nodes.size());
  for (std::size_t i = 0; i < t.rows.size(); ++i) {
    const Row& row = t.rows[i];
    if ((!dead.empty() && dead[i]) || chats[i] != i) continue;
    ++out.conversations;
    Holders own;
    own.add(row.sequence, named_max);
    take(row.form, t.row_refs(row), own);
    for (std::uint32_t n = row.leaf; n != kNoNode; n = t.nodes[n].parent) {
      nodes[n].add(row.sequence, named_max);
    }
  }
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    if (nodes[n].count > 0) take(t.nodes[n].form, t.node_refs(t.nodes[n]), nodes[n]);
  }
  return out;
}

Status check_training(const SubstringTraining& options) {
  if (options.conversations_min >= kRunConversationsMin) return {};
  return Error(Errc::invalid, "a vault shares what at least " +
                                  std::to_string(kRunConversationsMin) +
                                  " conversations hold, and not what " +
                                  std::to_string(options.conversations_min) + " may hold");
}

}  // namespace

Result<std::shared_ptr<const SubstringSet>> SubstringsImpl::load(std::uint64_t number,
                                                                 std::uint32_t tenant) const {
  const Cache::Key key{number, Cache::Kind::substrings};
  if (auto found = vault_.cache_.find(key)) {
    return std::static_pointer_cast<const SubstringSet>(found);
  }
  const auto artifact = load_artifact(
      *vault_.backend_, {number, tenant, ArtifactKind::substring_set, vault_.state_.vault().id});
  if (artifact.code() == Errc::not_found) {  // nobody asked for it by name
    return Error(Errc::corrupt, artifact_name(number) + ": it is missing");
  }
  if (!artifact) return artifact.error().clone();
  auto set = SubstringSet::parse((*artifact)->content);
  if (!set) return std::move(set).error().with(artifact_name(number));
  auto shared = std::make_shared<const SubstringSet>(std::move(*set));
  // Tree and filter besides the tokens.
  constexpr std::uint64_t kRunMemoryBytes = 300, kSetMemoryBytes = 1u << 18;
  vault_.cache_.insert(
      key, shared,
      kSetMemoryBytes + shared->tokens_total() * sizeof(Token) + shared->size() * kRunMemoryBytes);
  return shared;
}

Result<std::shared_ptr<const SubstringSet>> SubstringsImpl::active_of(std::uint32_t number) const {
  const TenantState* tenant = vault_.state_.tenant(number);
  if (tenant != nullptr) {
    const auto active = tenant->active.find(ArtifactKind::substring_set);
    if (active != tenant->active.end()) return load(active->second, number);
  }
  return std::make_shared<const SubstringSet>();
}

Result<std::shared_ptr<const SubstringSet>> SubstringsImpl::active(
    std::string_view tenant_given) const {
  return vault_.reading([&]() -> Result<std::shared_ptr<const SubstringSet>> {
    const TenantState* tenant = vault_.state_.tenant(tenant_name(tenant_given));
    if (tenant == nullptr) return std::make_shared<const SubstringSet>();
    return active_of(tenant->record.number);
  });
}

Result<std::shared_ptr<const SubstringSet>> SubstringsImpl::get(
    std::uint64_t number, std::string_view tenant_given) const {
  return vault_.reading([&]() -> Result<std::shared_ptr<const SubstringSet>> {
    const TenantState* tenant = vault_.state_.tenant(tenant_name(tenant_given));
    if (tenant != nullptr) {
      const auto found = tenant->artifacts.find(number);
      if (found != tenant->artifacts.end() && found->second.kind == ArtifactKind::substring_set) {
        return load(number, tenant->record.number);
      }
    }
    return Error(Errc::not_found, "no substring set " + std::to_string(number));
  });
}

Result<std::vector<SubstringSetInfo>> SubstringsImpl::list(std::string_view tenant_given) const {
  return vault_.reading([&]() -> Result<std::vector<SubstringSetInfo>> {
    std::vector<SubstringSetInfo> out;
    const TenantState* tenant = vault_.state_.tenant(tenant_name(tenant_given));
    if (tenant == nullptr) return out;
    const auto active = tenant->active.find(ArtifactKind::substring_set);
    for (const auto& [number, record] : tenant->artifacts) {
      if (record.kind != ArtifactKind::substring_set) continue;
      TOKVAULT_ASSIGN(const auto set, load(number, tenant->record.number));
      SubstringSetInfo info;
      info.number = number;
      info.created_ms = record.created_ms;
      info.runs = set->size();
      info.tokens = set->tokens_total();
      info.size_bytes = record.size_bytes;
      info.conversations = record.conversations;
      info.segments = record.samples;
      info.active = active != tenant->active.end() && active->second == number;
      for (const auto& source : vault_.state_.sources(tenant->record.number)) {
        info.files += source->names_artifact(number) ? 1 : 0;
      }
      out.push_back(info);
    }
    return out;
  });
}

Status SubstringsImpl::begin_change() {
  TOKVAULT_TRY(vault_.prepare_log());
  vault_.join_sealing();
  return vault_.settle();
}

TrainingSource SubstringsImpl::source_of(std::uint32_t number, std::uint64_t conversations_min,
                                         Trained& trained) const {
  return [this, number, conversations_min, &trained](const auto& visit) -> Status {
    trained = {};
    const TenantState* tenant = vault_.state_.tenant(number);
    if (tenant == nullptr) return {};
    const auto& sources = vault_.state_.sources(number);
    const auto of_source = [&](const Source& source) -> Result<SourceHolders> {
      TOKVAULT_ASSIGN(const auto tables, source.tables());
      TOKVAULT_ASSIGN(const auto dead, vault_.state_.dead_rows(*tenant, source));
      return holders_of(*tables, dead, conversations_min);
    };
    // Segments that are held from other files, by content.
    std::map<ShortDigest, Holders> outside;
    for (const auto& source : sources) {
      TOKVAULT_ASSIGN(const auto tables, source->tables());
      if (tables->externals.empty()) continue;
      TOKVAULT_ASSIGN(const SourceHolders holders, of_source(*source));
      for (std::size_t i = 0; i < holders.externals.size(); ++i) {
        const External& e = tables->externals[i];
        if (e.stream != kTokenStream || holders.externals[i].count == 0) continue;
        outside[e.digest].join(holders.externals[i], conversations_min);
      }
    }
    Scratch scratch;
    std::vector<Token> tokens;
    for (const auto& source : sources) {
      TOKVAULT_ASSIGN(SourceHolders holders, of_source(*source));
      trained.conversations += holders.conversations;
      for (std::uint32_t i = 0; i < holders.local.size(); ++i) {
        Holders& held = holders.local[i];
        if (held.count == 0 && outside.empty()) continue;
        const auto code = source->code(kTokenStream, i, scratch);
        // What nobody holds here and nobody can read is nobody's.
        if (held.count == 0 && code.code() == Errc::corrupt) continue;
        if (!code) return code.error().clone();
        tokens.clear();
        TOKVAULT_TRY(source->decode_tokens(*code, tokens));
        if (!outside.empty() && tokens.size() >= kSubstringTokensMin) {
          const auto more = outside.find(token_digest(tokens));
          if (more != outside.end()) held.join(more->second, conversations_min);
        }
        if (held.count == 0) continue;
        ++trained.segments;
        trained.bytes += tokens.size() * sizeof(Token);
        TOKVAULT_TRY(visit(TrainingSegment{tokens, held.named, held.count}));
      }
    }
    return {};
  };
}

Result<std::map<SubstringId, std::uint64_t>> SubstringsImpl::count_holders(std::uint32_t number,
                                                                           const SubstringSet& set,
                                                                           std::uint64_t count_max,
                                                                           Trained& trained) const {
  std::map<SubstringId, std::uint64_t> counts;
  if (set.size() == 0) return counts;
  std::map<SubstringId, Holders> holders;
  std::vector<SubstringId> here;
  std::vector<SubstringSet::Match> matches;
  const TrainingSource source = source_of(number, count_max, trained);
  TOKVAULT_TRY(source([&](const TrainingSegment& segment) -> Status {
    here.clear();
    for (std::size_t i = 0; i + kSubstringTokensMin <= segment.tokens.size(); ++i) {
      set.all_matches(segment.tokens.subspan(i), matches);
      for (const auto& match : matches) here.push_back(match.id);
    }
    std::sort(here.begin(), here.end());
    here.erase(std::unique(here.begin(), here.end()), here.end());
    const Holders of_segment{{segment.conversations.begin(), segment.conversations.end()},
                             segment.conversation_count};
    for (const SubstringId id : here) holders[id].join(of_segment, count_max);
    return {};
  }));
  for (const auto& [id, of_run] : holders) counts[id] = of_run.count;
  return counts;
}

Result<SubstringChange> SubstringsImpl::replace(std::uint32_t number, const SubstringSet& before,
                                                const SubstringSet& now, const Trained& trained) {
  SubstringChange change;
  change.runs = now.size();
  change.tokens = now.tokens_total();
  const TenantState* tenant = vault_.state_.tenant(number);
  const auto active = tenant->active.find(ArtifactKind::substring_set);
  if (active != tenant->active.end()) change.number = active->second;
  const Buffer content = now.serialize();
  if (content == before.serialize()) return change;
  // An empty set is kept, too: it knows which ids were given out.
  ArtifactRecord record;
  record.kind = ArtifactKind::substring_set;
  record.created_ms = now_ms();
  record.conversations = trained.conversations;
  record.samples = trained.segments;
  record.sample_bytes = trained.bytes;
  TOKVAULT_ASSIGN(change.number, vault_.register_artifact(number, record, content, true));
  TOKVAULT_TRY(remove_unused());
  return change;
}

Result<SubstringChange> SubstringsImpl::train(const SubstringTraining& given,
                                              std::string_view tenant_given) {
  TOKVAULT_TRY(check_training(given));
  TOKVAULT_ASSIGN(const auto lock, vault_.lock_for_writing());
  TOKVAULT_TRY(begin_change());
  const TenantState* tenant = vault_.state_.tenant(tenant_name(tenant_given));
  if (tenant == nullptr) return SubstringChange{};  // there is nothing, and no tenant to make
  const std::uint32_t number = tenant->record.number;
  TOKVAULT_ASSIGN(const auto before, active_of(number));
  Trained trained;
  // What too few hold goes: some of them were forgotten, or it came from elsewhere. What nobody
  // holds is nobody's own.
  TOKVAULT_ASSIGN(const auto holders,
                  count_holders(number, *before, kRunConversationsMin, trained));
  std::vector<SubstringId> kept;
  for (const SubstringInfo& run : before->list()) {
    const auto count = holders.find(run.id);
    if (count == holders.end() || count->second >= kRunConversationsMin) kept.push_back(run.id);
  }
  SubstringSet now = *before;
  const std::uint64_t dropped = now.retain(kept);
  SubstringTraining options = given;
  options.known = &now;
  TOKVAULT_ASSIGN(const auto found,
                  find_substrings(source_of(number, options.conversations_min, trained), options));
  const std::int64_t time = now_ms();
  double saved = 0;
  for (const FoundSubstring& f : found) {
    TOKVAULT_ASSIGN(const SubstringId id,
                    now.add(f.tokens, SubstringCounts{f.segments, f.conversations, time}));
    (void)id;
    saved += f.saved_bytes;
  }
  TOKVAULT_ASSIGN(SubstringChange change, replace(number, *before, now, trained));
  change.added = now.size() - kept.size();
  change.dropped = dropped;
  change.saved_bytes = saved;
  return change;
}

Result<SubstringChange> SubstringsImpl::compact(
    const SubstringTraining& options, std::string_view tenant_given,
    const std::function<bool(std::uint64_t, std::uint64_t)>& progress) {
  TOKVAULT_TRY(check_training(options));
  TOKVAULT_ASSIGN(const auto lock, vault_.lock_for_writing());
  TOKVAULT_TRY(begin_change());
  const TenantState* tenant = vault_.state_.tenant(tenant_name(tenant_given));
  if (tenant == nullptr) return SubstringChange{};  // there is nothing, and no tenant to make
  const std::uint32_t number = tenant->record.number;
  TOKVAULT_ASSIGN(const auto before, active_of(number));
  Trained trained;
  TOKVAULT_ASSIGN(
      const auto worth,
      measure_substrings(source_of(number, options.conversations_min, trained), *before, options));
  SubstringSet now = *before;
  std::vector<SubstringId> kept;
  double saved = 0;
  for (const FoundSubstring& f : worth) {
    kept.push_back(f.id);
    saved += f.saved_bytes;
    TOKVAULT_TRY(now.set_counts(f.id, f));
  }
  const std::uint64_t dropped = now.retain(kept);
  TOKVAULT_ASSIGN(SubstringChange change, replace(number, *before, now, trained));
  change.dropped = dropped;
  change.saved_bytes = saved;
  TOKVAULT_TRY(rewrite_packs(number, progress, change));
  return change;
}

Status SubstringsImpl::rewrite_packs(
    std::uint32_t number, const std::function<bool(std::uint64_t, std::uint64_t)>& progress,
    SubstringChange& change) {
  if (change.runs == 0 || !vault_.expect_no_damage()) return {};
  const VaultImpl::MergePause pause(vault_);
  std::vector<std::shared_ptr<PackFile>> packs;
  std::uint64_t done = 0, total = 0;
  for (const auto& [file, pack] : vault_.state_.packs()) {
    const std::uint64_t text = pack->footer().streams[kTokenStream].text_bytes;
    // Others copy from their own text only.
    if (pack->tenant() != number || text == 0 || text > kFingerprintlessTextBytes) continue;
    if (pack->names_artifact(change.number)) continue;
    packs.push_back(pack);
    total += pack->size_bytes();
  }
  for (const auto& pack : packs) {
    if (progress && !progress(done, total)) {
      return Error(Errc::cancelled, "stopped after " + std::to_string(done) + " bytes of packs");
    }
    TOKVAULT_ASSIGN(const auto size, vault_.rewrite_pack(pack, change.number));
    done += pack->size_bytes();
    if (!size) continue;
    ++change.packs;
    change.bytes_before += pack->size_bytes();
    change.bytes_after += *size;
    const std::uint64_t replaced[]{pack->file()};
    vault_.stager_->forget_packs(replaced);
  }
  if (progress) (void)progress(total, total);
  return remove_unused();
}

Result<SubstringChange> SubstringsImpl::retain(std::span<const SubstringId> ids,
                                               std::string_view tenant_given) {
  TOKVAULT_ASSIGN(const auto lock, vault_.lock_for_writing());
  TOKVAULT_TRY(begin_change());
  const TenantState* tenant = vault_.state_.tenant(tenant_name(tenant_given));
  if (tenant == nullptr) return SubstringChange{};  // there is nothing, and no tenant to make
  const std::uint32_t number = tenant->record.number;
  const auto before = active_of(number);
  if (!before && ids.empty()) return replace_unreadable(number);
  if (!before) return before.error().clone();
  SubstringSet now = **before;
  for (const SubstringId id : ids) {
    if (!now.tokens(id)) return Error(Errc::not_found, "the set has no run " + std::to_string(id));
  }
  const std::uint64_t dropped = now.retain(ids);
  TOKVAULT_ASSIGN(SubstringChange change, replace(number, **before, now, {}));
  change.dropped = dropped;
  return change;
}

// Nobody knows which ids it had given out. Each state had a file of its own, and a training of the
// usual size adds at most so many runs, so new ids begin above what these come to.
Result<SubstringChange> SubstringsImpl::replace_unreadable(std::uint32_t number) {
  constexpr std::uint64_t kRunsMax = SubstringTraining().tokens_max / kSubstringTokensMin;
  const std::uint64_t file = vault_.state_.tenant(number)->active.at(ArtifactKind::substring_set);
  SubstringSet empty;
  empty.pass_over_ids(
      static_cast<SubstringId>(std::min<std::uint64_t>(file * kRunsMax, UINT32_MAX / 2)));
  return replace(number, SubstringSet(), empty, {});
}

Result<SubstringChange> SubstringsImpl::add(const SubstringSet& set,
                                            std::string_view tenant_given) {
  TOKVAULT_ASSIGN(const auto lock, vault_.lock_for_writing());
  TOKVAULT_TRY(begin_change());
  const bool is_known = vault_.state_.tenant(tenant_name(tenant_given)) != nullptr;
  if (!is_known && set.next_id() == 1) return SubstringChange{};  // nothing, and no tenant to make
  TOKVAULT_ASSIGN(const std::uint32_t number, vault_.tenant_for_writing(tenant_given));
  TOKVAULT_ASSIGN(const auto before, active_of(number));
  SubstringSet now = *before;
  if (before->next_id() == 1) {
    now = set;
  } else {
    const auto runs = set.runs();
    const auto infos = set.list();
    for (std::size_t i = 0; i < runs.size(); ++i) TOKVAULT_TRY(now.add(runs[i], infos[i]));
  }
  TOKVAULT_ASSIGN(SubstringChange change, replace(number, *before, now, {}));
  change.added = now.size() - before->size();
  return change;
}

bool SubstringsImpl::names_retired(const TenantState& tenant, const Source& source) {
  const auto active = tenant.active.find(ArtifactKind::substring_set);
  const auto named = source.artifacts();
  return std::any_of(named.begin(), named.end(), [&](std::uint64_t number) {
    const auto known = tenant.artifacts.find(number);
    return known != tenant.artifacts.end() && known->second.kind == ArtifactKind::substring_set &&
           (active == tenant.active.end() || number != active->second);
  });
}

Status SubstringsImpl::retire_unheld() {
  // What is visible now was visible when the runs were found, unless something was forgotten, which
  // may have stood in a file that is lost.
  std::vector<std::uint32_t> tenants;
  for (const auto& [number, tenant] : vault_.state_.tenants()) {
    const auto active = tenant.active.find(ArtifactKind::substring_set);
    if (active == tenant.active.end()) continue;
    bool any_dead = is_deletion_after(
        tenant, vault_.state_.record_sequence(artifact_key(number, active->second)));
    for (const auto& source : vault_.state_.sources(number)) {
      if (any_dead) break;
      TOKVAULT_ASSIGN(const auto dead, vault_.state_.dead_rows(tenant, *source));
      any_dead = !dead.empty();
    }
    if (any_dead) tenants.push_back(number);
  }
  std::vector<Record> compared;
  for (const std::uint32_t number : tenants) {
    auto before = active_of(number);
    // A set that is damaged or missing holds nothing back: check() reports it.
    if (before.code() == Errc::corrupt || before.code() == Errc::not_found) continue;
    if (!before) return std::move(before).error();
    if ((*before)->size() == 0) continue;
    Trained trained;
    TOKVAULT_ASSIGN(const auto holders, count_holders(number, **before, 1, trained));
    std::vector<SubstringId> held;
    for (const auto& [id, count] : holders) held.push_back(id);
    SubstringSet now = **before;
    if (now.retain(held) > 0) {
      TOKVAULT_TRY(replace(number, **before, now, trained));
      continue;
    }
    const TenantState& tenant = *vault_.state_.tenant(number);
    const std::uint64_t active = tenant.active.at(ArtifactKind::substring_set);
    compared.push_back({artifact_key(number, active), encode(tenant.artifacts.at(active)), 0});
  }
  // Registering a set may have filled the log. Nobody seals what is about to be rewritten.
  vault_.join_sealing();
  TOKVAULT_TRY(vault_.settle());
  if (compared.empty()) return {};
  for (Record& r : compared) r.sequence = vault_.next_sequence_++;
  return vault_.swap({}, {}, {}, compared);
}

Status SubstringsImpl::remove_unused() {
  if (!vault_.expect_no_damage()) return vault_.settle();  // the next one does it
  // What is being merged may name one of them.
  const VaultImpl::MergePause pause(vault_);
  std::vector<std::pair<std::uint32_t, std::uint64_t>> unused;
  for (const auto& [tenant_number, tenant] : vault_.state_.tenants()) {
    const auto active = tenant.active.find(ArtifactKind::substring_set);
    for (const auto& [number, record] : tenant.artifacts) {
      if (record.kind != ArtifactKind::substring_set) continue;
      if (active != tenant.active.end() && active->second == number) continue;
      bool named = false;
      for (const auto& source : vault_.state_.sources(tenant_number)) {
        named = named || source->names_artifact(number);
      }
      if (!named) unused.push_back({tenant_number, number});
    }
  }
  for (const auto& [tenant, number] : unused) {
    TOKVAULT_TRY(vault_.remove_artifact(tenant, number, false));
  }
  return vault_.settle();
}

}  // namespace tokvault
