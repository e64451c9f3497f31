// Artifacts as the engine reads them: by number, checked against who asks for them.
//
// An artifact is put, durably, before the record that registers it is committed, and removed after
// its removal is, when no live log or pack names it. So what a file names is there, and a blob that
// is neither registered nor named is the leftover of an interrupted registration or retirement.
#ifndef TOKVAULT_VAULT_ARTIFACTS_H_
#define TOKVAULT_VAULT_ARTIFACTS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/artifact.h"
#include "tokvault/backend.h"
#include "tokvault/vault.h"
#include "vault/cache.h"
#include "vault/state.h"

namespace tokvault {

// True if a blob of the folder of artifacts is one: vocabularies lie there, too.
bool is_artifact_name(std::string_view name);

// Who asks for an artifact. Nothing is shared between tenants.
struct ArtifactUse {
  std::uint64_t number = 0;
  std::uint32_t tenant = 0;
  std::optional<ArtifactKind> kind;  // none: whatever packs may copy from
  ByteView vault_id;
};

// Reads and decodes an artifact. `not_found` with an os_code, as the backend has it, if it is gone;
// `corrupt` if it is damaged or not what it is asked to be. The error names its file.
Result<std::shared_ptr<const Artifact>> load_artifact(const Backend& backend,
                                                      const ArtifactUse& use);
// Whosever it is.
Result<std::shared_ptr<const Artifact>> load_artifact(const Backend& backend, std::uint64_t number);
// The first, kept in the cache.
Result<std::shared_ptr<const Artifact>> cached_artifact(const Backend& backend, Cache& cache,
                                                        const ArtifactUse& use);

// What packs may copy from an artifact: tokens, which each pack codes in its own way.
struct ArtifactTokens {
  std::uint64_t number = 0;
  std::uint32_t tenant = 0;
  std::vector<Token> tokens;
};
// The most that is taken of one: its first tokens.
inline constexpr std::size_t kArtifactTokensMax = std::size_t{1} << 20;
// Of a set of substrings the tokens of all its runs, by id; of a dictionary its bytes, read as
// codes of tokens (docs/format/artifact.md). `corrupt` as above; `unsupported` if nothing can be
// copied from its kind. Kept in the cache.
Result<std::shared_ptr<const ArtifactTokens>> cached_tokens(const Backend& backend, Cache& cache,
                                                            const ArtifactUse& use);
// The same of an artifact that is not stored.
Result<std::vector<Token>> tokens_of(ArtifactKind kind, ByteView content);
void keep_tokens(Cache& cache, std::shared_ptr<const ArtifactTokens> tokens);

// Reads every artifact that is registered or named by a live file, and reports what is wrong with
// the file names that need it. With `count_rows` their conversations are reported as lost; without,
// whoever decodes their data finds those that really are.
Status check_artifacts(const Backend& backend, const State& state, bool count_rows,
                       CheckReport& report);

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_ARTIFACTS_H_
