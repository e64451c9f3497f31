#include "vault/retrain.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "base/clock.h"
#include "codec/dictionary.h"
#include "vault/shared_runs.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

// Of the search for runs: by the text, and at most this.
constexpr std::uint64_t kTrainingBytesPerTextByte = 16;
constexpr std::uint64_t kTrainingMemoryBytes = 64u << 20;
// What a token of a run takes in an artifact or a pack, and what a run takes besides: in the set,
// and in each pack that copies it. Measured on seven corpora, packs of 512 KB.
constexpr double kTokenBytes = 0.6;
constexpr double kEntryBytes = 4;
constexpr double kCopyBytes = 2;
// Texts that candidates are tried on, together.
constexpr std::uint64_t kTrialTextBytes = 16u << 20;
// What is not smaller by one part in so many is not worth a change.
constexpr std::uint64_t kWorthwhile = 256;
// Artifacts are small and read often; training one costs far more than this.
constexpr int kArtifactLevel = 19;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::string in_bytes(std::uint64_t bytes) { return std::to_string(bytes) + " bytes"; }

}  // namespace

Retraining::Retraining(VaultImpl& vault, std::uint32_t tenant,
                       std::vector<std::uint64_t> superseded, std::function<Status()> go_on)
    : vault_(vault), tenant_(tenant), superseded_(std::move(superseded)), go_on_(std::move(go_on)) {
  report_.tenant = vault_.state_.tenant(tenant_)->record.name;
  report_.reason = "what a pack holds is all that could be shared";
}

// One that cannot be read is used by nothing new, as ever.
Status Retraining::load(ArtifactKind kind, Candidate& candidate) {
  const TenantState& tenant = *vault_.state_.tenant(tenant_);
  const auto active = tenant.active.find(kind);
  if (active == tenant.active.end()) return {};
  auto tokens = cached_tokens(*vault_.backend_, vault_.cache_,
                              {active->second, tenant_, kind, vault_.state_.vault().id});
  if (!tokens || (*tokens)->tokens.empty()) return {};
  TOKVAULT_ASSIGN(candidate.file_bytes, vault_.backend_->size(artifact_name(active->second)));
  candidate.number = active->second;
  candidate.record = tenant.artifacts.at(active->second);
  candidate.tokens = std::move(*tokens);
  return {};
}

Status Retraining::make(Candidate& candidate, ByteView content) {
  candidate.number = vault_.next_file_++;
  candidate.record.created_ms = now_ms();
  candidate.record.size_bytes = content.size();
  Artifact artifact;
  artifact.number = candidate.number;
  artifact.tenant = tenant_;
  artifact.vault_id = vault_.state_.vault().id;
  artifact.record = candidate.record;
  artifact.content = content;
  TOKVAULT_ASSIGN(candidate.file, encode_artifact(artifact, kArtifactLevel));
  candidate.file_bytes = candidate.file.size();
  auto tokens = std::make_shared<ArtifactTokens>();
  tokens->number = candidate.number;
  tokens->tenant = tenant_;
  TOKVAULT_ASSIGN(tokens->tokens, tokens_of(candidate.record.kind, content));
  candidate.tokens = std::move(tokens);
  return {};
}

Status Retraining::train(bool one_pack) {
  TOKVAULT_TRY(load(ArtifactKind::dictionary, old_dictionary_));
  TOKVAULT_TRY(load(ArtifactKind::substring_set, old_substrings_));
  if (one_pack) return {};
  TOKVAULT_TRY(train_substrings());
  return train_dictionary();
}

Status Retraining::train_substrings() {
  const auto begin = std::chrono::steady_clock::now();
  SubstringTraining options;
  options.conversations_min = kRunConversationsMin;
  std::uint64_t text_bytes = 0;
  for (const auto& [number, pack] : vault_.state_.packs()) {
    if (pack->tenant() == tenant_) text_bytes += pack->footer().streams[kTokenStream].text_bytes;
  }
  options.memory_bytes = std::clamp<std::uint64_t>(kTrainingBytesPerTextByte * text_bytes, 1u << 20,
                                                   kTrainingMemoryBytes);
  SubstringsImpl::Trained trained;
  const TrainingSource source =
      vault_.substrings_.source_of(tenant_, options.conversations_min, trained);
  std::uint64_t count = 0;
  const TrainingSource watched = [&](const auto& visit) {
    return source([&](const TrainingSegment& segment) -> Status {
      if (++count % 4096 == 0) TOKVAULT_TRY(go_on_());
      return visit(segment);
    });
  };
  TOKVAULT_ASSIGN(const auto found, find_substrings(watched, options));
  const std::int64_t time = now_ms();
  for (const FoundSubstring& f : found) {
    TOKVAULT_ASSIGN(const SubstringId id,
                    found_.add(f.tokens, SubstringCounts{f.segments, f.conversations, time}));
    (void)id;
  }
  trained_.conversations = trained.conversations;
  trained_.samples = trained.segments;
  trained_.sample_bytes = trained.bytes;
  new_substrings_.seconds = seconds_since(begin);
  return {};
}

Status Retraining::train_dictionary() {
  TOKVAULT_TRY(go_on_());
  const auto begin = std::chrono::steady_clock::now();
  Filter all;
  all.tenant = report_.tenant;
  auto made = vault_.dictionaries_.make(all, {});
  if (!made) {
    // Too little that conversations have in common.
    if (made.code() == Errc::invalid) return {};
    return std::move(made).error();
  }
  new_dictionary_.record = made->record;
  TOKVAULT_ASSIGN(const std::uint32_t id, dictionary_id(made->bytes));
  for (const auto& [number, record] : vault_.state_.tenant(tenant_)->artifacts) {
    // The same one, or one that cannot be told from it.
    if (record.kind == ArtifactKind::dictionary && record.id == id) return {};
  }
  new_dictionary_.record.kind = ArtifactKind::dictionary;
  new_dictionary_.record.id = id;
  TOKVAULT_TRY(make(new_dictionary_, made->bytes));
  new_dictionary_.seconds = seconds_since(begin);
  return {};
}

// A pack pays for a run once, however often it stands there. So a set saves what all but one of the
// packs that have a run would pay for it, and costs a copy in each.
Status Retraining::cut_substrings(const Merge& merge) {
  const auto begin = std::chrono::steady_clock::now();
  struct Seen {
    std::size_t last_group = SIZE_MAX;
    std::uint64_t groups = 0;
  };
  std::vector<Seen> seen(found_.next_id());
  std::vector<bool> shared;
  for (std::size_t g = 0; g < merge.group_count(); ++g) {
    TOKVAULT_TRY(go_on_());
    TOKVAULT_TRY(merge.visit_group(g, shared, [&](TokenView tokens) -> Status {
      for (std::size_t i = 0; i + kSubstringTokensMin <= tokens.size();) {
        const auto match = found_.longest_match(tokens.subspan(i));
        if (match && seen[match->id].last_group != g) {
          seen[match->id].last_group = g;
          ++seen[match->id].groups;
        }
        i += match ? match->tokens : 1;
      }
      return {};
    }));
  }
  // Ids that the active set has given out stay taken.
  TOKVAULT_ASSIGN(const auto before, vault_.substrings_.active_of(tenant_));
  SubstringSet now = *before;
  std::vector<SubstringId> kept;
  const auto infos = found_.list();
  const auto runs = found_.runs();
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto groups = static_cast<double>(seen[infos[i].id].groups);
    const double saved = (groups - 1) * static_cast<double>(runs[i].size()) * kTokenBytes;
    if (saved <= groups * kCopyBytes + kEntryBytes) continue;
    TOKVAULT_ASSIGN(const SubstringId id, now.add(runs[i], infos[i]));
    kept.push_back(id);
  }
  found_ = SubstringSet();
  if (!kept.empty()) {
    now.retain(kept);
    new_substrings_.record = trained_;
    new_substrings_.record.kind = ArtifactKind::substring_set;
    TOKVAULT_TRY(make(new_substrings_, now.serialize()));
  }
  new_substrings_.seconds += seconds_since(begin);
  return {};
}

bool Retraining::is_named_elsewhere(std::uint64_t number) const {
  const auto& sources = vault_.state_.sources(tenant_);
  return std::any_of(sources.begin(), sources.end(), [&](const auto& source) {
    return source->names_artifact(number) &&
           std::find(superseded_.begin(), superseded_.end(), source->file()) == superseded_.end();
  });
}

bool Retraining::is_active_unused() const {
  const auto& sources = vault_.state_.sources(tenant_);
  return old_substrings_.number != 0 && !is_none_refused_ &&
         std::none_of(sources.begin(), sources.end(), [&](const auto& source) {
           return source->names_artifact(old_substrings_.number);
         });
}

std::vector<const Retraining::Candidate*> Retraining::copied(Choice choice) const {
  switch (choice) {
    case Choice::active:
      return {&old_dictionary_, &old_substrings_};
    case Choice::none:
      return {&old_dictionary_};
    case Choice::dictionary:
      return {&new_dictionary_};
    case Choice::substrings:
      break;
  }
  return {&old_dictionary_, &new_substrings_};
}

std::vector<std::shared_ptr<const ArtifactTokens>> Retraining::artifacts() const {
  std::vector<std::shared_ptr<const ArtifactTokens>> out;
  for (const Candidate* c : copied(chosen_)) {
    if (c->number != 0) out.push_back(c->tokens);
  }
  return out;
}

// What artifacts take that are there for the sake of this choice, or go only with another one. A
// dictionary that is active serves logs as well and stays until another takes its place.
std::uint64_t Retraining::bytes_of(Choice choice) const {
  std::uint64_t bytes = 0;
  for (const Candidate* c : copied(choice)) bytes += c->file_bytes;
  for (const Candidate* old : {&old_dictionary_, &old_substrings_}) {
    const auto used = copied(choice);
    const bool is_used = std::find(used.begin(), used.end(), old) != used.end();
    if (!is_used && is_named_elsewhere(old->number)) bytes += old->file_bytes;
  }
  return bytes;
}

RetrainTrial* Retraining::trial_of(Choice choice) {
  const auto at = std::find(tried_.begin(), tried_.end(), choice);
  return at == tried_.end() ? nullptr
                            : &report_.trials[static_cast<std::size_t>(at - tried_.begin())];
}

void Retraining::take(Choice choice, std::string reason) {
  chosen_ = choice;
  for (RetrainTrial& t : report_.trials) t.chosen = false;
  if (RetrainTrial* t = trial_of(choice)) t->chosen = true;
  report_.artifact_bytes = bytes_of(choice);
  report_.reason = std::move(reason);
}

Status Retraining::choose(Merge& merge) {
  if (merge.group_count() > 1) {
    TOKVAULT_TRY(cut_substrings(merge));
  } else {
    found_ = SubstringSet();
    new_dictionary_ = Candidate();
    if (old_substrings_.number == 0) return {};
  }
  return try_all(merge);
}

// What the tokens of groups take with each choice, by the trial of some of them; nothing if none is
// one text.
Result<std::optional<Retraining::Sums>> Retraining::try_groups(
    Merge& merge, std::span<const Candidate* const> present) {
  std::vector<std::shared_ptr<const ArtifactTokens>> tokens;
  for (const Candidate* c : present) tokens.push_back(c->tokens);
  std::uint64_t all_bytes = 0;
  for (std::size_t g = 0; g < merge.group_count(); ++g) {
    if (merge.group_bytes(g) <= kFingerprintlessTextBytes) all_bytes += merge.group_bytes(g);
  }
  // Groups evenly chosen, until they hold enough text.
  const double part = std::min(1.0, static_cast<double>(kTrialTextBytes) /
                                        static_cast<double>(std::max<std::uint64_t>(1, all_bytes)));
  std::vector<bool> chosen(merge.group_count());
  double due = 0;
  for (std::size_t g = 0; g < chosen.size(); ++g) {
    if (merge.group_bytes(g) > kFingerprintlessTextBytes) continue;
    due += part;
    if (due < 1) continue;
    due -= 1;
    chosen[g] = true;
  }
  Sums sums;
  std::uint64_t tried_bytes = 0;
  const auto begin = std::chrono::steady_clock::now();
  auto count = [&](std::size_t g, const std::vector<std::uint64_t>& sizes) -> Status {
    if (sizes.empty()) return go_on_();
    tried_bytes += merge.group_bytes(g);
    for (std::size_t choice = 0; choice < sums.bytes.size(); ++choice) {
      std::uint64_t least = sizes[0];
      for (const Candidate* c : copied(static_cast<Choice>(choice))) {
        for (std::size_t i = 0; i < present.size(); ++i) {
          if (present[i] == c) least = std::min(least, sizes[i + 1]);
        }
      }
      sums.bytes[choice] += static_cast<double>(least);
    }
    return go_on_();
  };
  TOKVAULT_TRY(merge.try_artifacts(chosen, tokens, count));
  sums.seconds = seconds_since(begin) / static_cast<double>(1 + present.size());
  if (tried_bytes == 0) return std::optional<Sums>();
  for (double& bytes : sums.bytes) {
    bytes *= static_cast<double>(all_bytes) / static_cast<double>(tried_bytes);
  }
  return std::optional(sums);
}

Status Retraining::try_all(Merge& merge) {
  std::vector<const Candidate*> present;
  for (const Candidate* c :
       {&old_dictionary_, &old_substrings_, &new_dictionary_, &new_substrings_}) {
    if (c->number != 0) present.push_back(c);
  }
  if (present.empty()) {
    report_.reason = "no run of four conversations stands in several packs";
    return {};
  }
  TOKVAULT_ASSIGN(const auto sums, try_groups(merge, present));
  if (!sums) {
    report_.reason = "packs of more than 5 MB of tokens copy from their own text only";
    return {};
  }
  auto add = [&](Choice choice, const char* name, double training) {
    RetrainTrial t;
    t.artifact = name;
    t.artifact_bytes = bytes_of(choice);
    t.token_bytes = static_cast<std::uint64_t>(sums->bytes[static_cast<std::size_t>(choice)]);
    t.seconds = training + sums->seconds;
    tried_.push_back(choice);
    report_.trials.push_back(std::move(t));
  };
  add(Choice::active, "active", 0);
  if (old_substrings_.number != 0) add(Choice::none, "none", 0);
  if (new_dictionary_.number != 0) add(Choice::dictionary, "dictionary", new_dictionary_.seconds);
  if (new_substrings_.number != 0) add(Choice::substrings, "substrings", new_substrings_.seconds);
  auto total = [](const RetrainTrial& t) { return t.token_bytes + t.artifact_bytes; };
  std::size_t best = 0;
  for (std::size_t i = 1; i < report_.trials.size(); ++i) {
    if (total(report_.trials[i]) < total(report_.trials[best])) best = i;
  }
  const std::uint64_t gain = total(report_.trials[0]) - total(report_.trials[best]);
  if (gain * kWorthwhile <= total(report_.trials[0])) {
    take(Choice::active, "nothing would make the packs smaller by more than it takes itself");
  } else {
    take(tried_[best], "it promised " + in_bytes(gain) + " less");
  }
  return {};
}

bool Retraining::pays(const Merge& merge, const std::vector<CatalogFile>& files,
                      std::optional<std::uint64_t> bytes_before) {
  const Candidate* judged = nullptr;
  if (chosen_ == Choice::active) judged = &old_substrings_;
  if (chosen_ == Choice::dictionary) judged = &new_dictionary_;
  if (chosen_ == Choice::substrings) judged = &new_substrings_;
  auto saved_by = [&](const Candidate& c) {
    const auto found = merge.artifact_savings().find(c.number);
    return found == merge.artifact_savings().end() ? 0 : found->second;
  };
  report_.saved_bytes = 0;
  for (const Candidate* c : copied(chosen_)) {
    if (c->number != 0) report_.saved_bytes += saved_by(*c);
  }
  if (judged != nullptr && judged->number != 0) {
    const std::uint64_t saved = saved_by(*judged);
    if (saved <= judged->file_bytes && !is_named_elsewhere(judged->number)) {
      take(
          chosen_ == Choice::active ? Choice::none : Choice::active,
          "packs would save " + in_bytes(saved) + " by what takes " + in_bytes(judged->file_bytes));
      return false;
    }
  }
  if (!bytes_before || chosen_ == Choice::active) return true;
  std::uint64_t now = bytes_of(chosen_);
  for (const CatalogFile& file : files) now += file.size_bytes;
  const std::uint64_t before = *bytes_before + bytes_of(Choice::active);
  if (now < before) return true;
  is_none_refused_ = is_none_refused_ || chosen_ == Choice::none;
  take(Choice::active, "all would take " + in_bytes(now) + " in place of " + in_bytes(before));
  return false;
}

Result<std::vector<Record>> Retraining::records(std::uint64_t sequence) {
  std::vector<Record> out;
  put_.clear();
  removed_.clear();
  if (chosen_ == Choice::active) return out;
  auto say = [&](Buffer key, std::optional<Buffer> value) {
    out.push_back({std::move(key), std::move(value), sequence++});
  };
  auto use = [&](const Candidate& c) {
    say(artifact_key(tenant_, c.number), encode(c.record));
    say(active_key(tenant_, c.record.kind), encode_active(c.number));
    put_.push_back(&c);
  };
  auto drop = [&](const Candidate& c) {
    if (c.number == 0 || is_named_elsewhere(c.number)) return;
    say(artifact_key(tenant_, c.number), std::nullopt);
    removed_.push_back(c.number);
  };
  if (chosen_ != Choice::substrings && old_substrings_.number != 0) {
    // An empty set takes its place: it knows which ids were given out.
    TOKVAULT_ASSIGN(const auto before, vault_.substrings_.active_of(tenant_));
    SubstringSet none = *before;
    none.retain({});
    empty_substrings_.record.kind = ArtifactKind::substring_set;
    TOKVAULT_TRY(make(empty_substrings_, none.serialize()));
    use(empty_substrings_);
  }
  if (chosen_ == Choice::dictionary) {
    use(new_dictionary_);
    drop(old_dictionary_);
  }
  if (chosen_ == Choice::substrings) use(new_substrings_);
  drop(old_substrings_);
  return out;
}

Status Retraining::put() {
  for (const Candidate* c : put_) {
    TOKVAULT_TRY(vault_.backend_->put(artifact_name(c->number), c->file));
  }
  return {};
}

Status Retraining::undo() {
  for (const Candidate* c : put_) TOKVAULT_TRY(vault_.backend_->remove(artifact_name(c->number)));
  return {};
}

RetrainReport Retraining::report() const {
  RetrainReport report = report_;
  report.changed = chosen_ != Choice::active;
  for (std::size_t i = 0; i < tried_.size(); ++i) {
    if (tried_[i] != chosen_) continue;
    if (chosen_ == Choice::dictionary) report.trials[i].number = new_dictionary_.number;
    if (chosen_ == Choice::substrings) report.trials[i].number = new_substrings_.number;
  }
  return report;
}

}  // namespace tokvault
