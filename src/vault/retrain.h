// Retraining: which artifact the packs of a merge should copy from.
//
// An artifact pays if the packs that copy from it become smaller by more than it takes itself. So
// candidates are trained on what the tenant has, cut down to what several packs would repeat, and
// tried on a sample of the packs that are about to be made, with a quick code. The one that
// promises most is used. What it saves is counted while the packs are encoded, which is done with
// it and without anyhow; if that is less than it takes, they are made again without it.
//
// What is new is put before the packs that copy from it, and registered by records in the first of
// them: so the commit that swaps the packs in is the one step, and what a crash leaves before it
// are files that nobody needs. Packs that are all there replace others for whoever rebuilds the
// catalog, so none may be there before what it names.
#ifndef TOKVAULT_VAULT_RETRAIN_H_
#define TOKVAULT_VAULT_RETRAIN_H_

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/artifact.h"
#include "tokvault/vault.h"
#include "vault/artifacts.h"
#include "vault/merge.h"

namespace tokvault {

class VaultImpl;

// Threads: one at a time, under the vault's write_mutex_. Lifetime: the vault outlives it.
class Retraining {
 public:
  // For a step that replaces these packs. An error of `go_on` ends everything.
  Retraining(VaultImpl& vault, std::uint32_t tenant, std::vector<std::uint64_t> superseded,
             std::function<Status()> go_on);

  // Finds what conversations have in common, unless it will be in one pack anyhow. Before the
  // merge: each of them takes its memory.
  Status train(bool one_pack);
  // Cuts the candidates down and tries them. REQUIRES: the merge is planned
  Status choose(Merge& merge);
  // Whether the packs may copy from what is active now, and from nothing else.
  bool keeps_active() const { return chosen_ == Choice::active; }
  // Whether there is an active set that no pack names and that may go: unless all was larger
  // without it.
  bool is_active_unused() const;
  // What the packs may copy from.
  std::vector<std::shared_ptr<const ArtifactTokens>> artifacts() const;
  // Whether what was chosen saved more than it takes, as the packs were made; if they take the
  // place of packs that would have stayed, also whether all is smaller now. If not, something else
  // is chosen.
  bool pays(const Merge& merge, const std::vector<CatalogFile>& files,
            std::optional<std::uint64_t> bytes_before);
  // What the first pack, and the catalog, have to say of it: what is registered and active, and
  // what is no more. Numbered from `sequence` on.
  Result<std::vector<Record>> records(std::uint64_t sequence);
  // Puts what those records register. REQUIRES: no pack that names it is there yet
  Status put();
  // Takes it away again. REQUIRES: no pack that names it is there any more
  Status undo();
  // What they take away.
  const std::vector<std::uint64_t>& removed() const { return removed_; }
  // Once all is done.
  RetrainReport report() const;

 private:
  enum class Choice : std::uint8_t { active, none, dictionary, substrings };
  // An artifact that is there, or may be.
  struct Candidate {
    std::uint64_t number = 0;  // 0: there is none
    ArtifactRecord record;
    Buffer file;  // of a new one
    std::uint64_t file_bytes = 0;
    std::shared_ptr<const ArtifactTokens> tokens;
    double seconds = 0;
  };

  Status load(ArtifactKind kind, Candidate& candidate);
  Status make(Candidate& candidate, ByteView content);
  Status train_substrings();
  Status train_dictionary();
  Status cut_substrings(const Merge& merge);
  // By Choice; and the time that one trial took.
  struct Sums {
    std::array<double, 4> bytes{};
    double seconds = 0;
  };
  Result<std::optional<Sums>> try_groups(Merge& merge, std::span<const Candidate* const> present);
  Status try_all(Merge& merge);
  std::vector<const Candidate*> copied(Choice choice) const;
  std::uint64_t bytes_of(Choice choice) const;
  bool is_named_elsewhere(std::uint64_t number) const;
  RetrainTrial* trial_of(Choice choice);
  void take(Choice choice, std::string reason);

  VaultImpl& vault_;
  const std::uint32_t tenant_;
  const std::vector<std::uint64_t> superseded_;
  const std::function<Status()> go_on_;

  Candidate old_dictionary_, old_substrings_, new_dictionary_, new_substrings_, empty_substrings_;
  ArtifactRecord trained_;  // what the substrings were found in
  SubstringSet found_;
  Choice chosen_ = Choice::active;
  bool is_none_refused_ = false;
  std::vector<const Candidate*> put_;
  std::vector<std::uint64_t> removed_;
  std::vector<Choice> tried_;  // of report_.trials
  RetrainReport report_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_RETRAIN_H_
