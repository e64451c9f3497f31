// What conversations have in common: what may enter an artifact, and what an artifact must lose.
//
// A run is kRunTokens tokens of a text, or kRunBytes bytes of anything else. An artifact outlives
// the conversations that it was trained on, so that it may hold only runs that were seen in at
// least four of them; and when the last conversation that holds one of its runs is erased, it goes,
// too. Nothing shorter than a run says whose it was.
#ifndef TOKVAULT_VAULT_SHARED_RUNS_H_
#define TOKVAULT_VAULT_SHARED_RUNS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "vault/state.h"

namespace tokvault {

inline constexpr std::size_t kRunTokens = 16;
inline constexpr std::size_t kRunBytes = 32;
inline constexpr std::uint32_t kRunConversationsMin = 4;

// The rows of a source that are one chat: of each row the one that names its chat. A row that goes
// on from another has all of its messages and more: a client that sends the whole chat with every
// request writes many conversations, and what stands in them is one user's. Where several go on
// from one, it belongs to one of them. Rows that are `dead` (none if that is empty) stand alone.
std::vector<std::uint32_t> chats_of(const Tables& tables, const std::vector<bool>& dead);

// Samples for training, one after another: stretches of texts (as their code without a token map),
// of other values and of forms, of which every run is in kRunConversationsMin conversations, and
// shorter texts that are whole in as many. What chats_of() finds to be one counts as one.
struct SharedRuns {
  Buffer text;
  std::vector<std::size_t> sizes;
  std::uint64_t conversations = 0;  // that were looked at
};
// Looks at conversations of one tenant, in an order that a checksum gives, until their texts, each
// counted once, are `bytes_max`; of a text that is larger by itself at so much of it. Takes about
// 20 times as much memory.
Result<SharedRuns> shared_runs(const State& state, const TenantState& tenant,
                               std::vector<Found> conversations, std::uint64_t bytes_max);

// Whether some run of `content`, which holds codes without a token map or bytes, is in text that
// no visible conversation has and nobody holds any more: then erasing it must erase the content.
Result<bool> holds_erased_run(const State& state, const TenantState& tenant, ByteView content);

// What is erased can be compared only while it is in a file. An artifact's record is therefore said
// again, with a new number, once nothing is in the artifact of what was deleted before: a later gc
// need not look at that, whatever becomes of the files.
//
// Whether something was deleted since an artifact was compared with what is erased.
bool is_deletion_after(const TenantState& tenant, std::uint64_t sequence);
// Whether of something that was deleted since then no version is in any file: in one that was lost
// it stood, so that nobody can say what it was.
Result<bool> is_erased_unseen(const State& state, const TenantState& tenant,
                              std::uint64_t sequence);

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_SHARED_RUNS_H_
