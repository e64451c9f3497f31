#include "vault/artifacts.h"

#include <algorithm>

#include "codec/substring_columns.h"
#include "codec/token_code.h"
#include "vault/recovery.h"

namespace tokvault {

bool is_artifact_name(std::string_view name) {
  return name.starts_with("artifacts/") && number_of(name) != 0;
}

Result<std::shared_ptr<const Artifact>> load_artifact(const Backend& backend,
                                                      std::uint64_t number) {
  const std::string name = artifact_name(number);
  TOKVAULT_ASSIGN(const std::uint64_t size, backend.size(name));
  // What does not compress grows by less than this.
  if (size > kArtifactBytesMax + (1u << 20)) {
    return Error(Errc::corrupt, name + ": larger than any artifact");
  }
  Buffer file;
  TOKVAULT_TRY(backend.get(name, 0, size, file));
  auto artifact = decode_artifact(file);
  if (!artifact) return std::move(artifact).error().with(name);
  if (artifact->number != number) {
    return Error(Errc::corrupt, name + ": it is named as another artifact");
  }
  return std::make_shared<const Artifact>(std::move(*artifact));
}

Result<std::shared_ptr<const Artifact>> load_artifact(const Backend& backend,
                                                      const ArtifactUse& use) {
  TOKVAULT_ASSIGN(auto artifact, load_artifact(backend, use.number));
  if (artifact->tenant != use.tenant || (use.kind && artifact->record.kind != *use.kind) ||
      artifact->vault_id != use.vault_id) {
    return Error(Errc::corrupt, artifact_name(use.number) +
                                    ": of another vault, tenant or kind than it is needed for");
  }
  return artifact;
}

Result<std::shared_ptr<const Artifact>> cached_artifact(const Backend& backend, Cache& cache,
                                                        const ArtifactUse& use) {
  const Cache::Key key{use.number, Cache::Kind::artifact};
  if (auto found = cache.find(key)) {
    auto artifact = std::static_pointer_cast<const Artifact>(found);
    if (artifact->tenant == use.tenant && use.kind == artifact->record.kind) return artifact;
  }
  TOKVAULT_ASSIGN(auto artifact, load_artifact(backend, use));
  cache.insert(key, artifact, artifact->content.size() + 256);
  return artifact;
}

void keep_tokens(Cache& cache, std::shared_ptr<const ArtifactTokens> tokens) {
  const Cache::Key key{tokens->number, Cache::Kind::artifact_tokens};
  const std::uint64_t size = tokens->tokens.capacity() * sizeof(Token) + 256;
  cache.insert(key, std::move(tokens), size);
}

Result<std::vector<Token>> tokens_of(ArtifactKind kind, ByteView content) {
  std::vector<Token> tokens;
  switch (kind) {
    case ArtifactKind::dictionary:
      TokenMap::read_any(content, kArtifactTokensMax, tokens);
      break;
    case ArtifactKind::substring_set: {
      TOKVAULT_ASSIGN(auto set, parse_substring_columns(content));
      tokens = std::move(set.tokens);
      tokens.resize(std::min(tokens.size(), kArtifactTokensMax));
      break;
    }
    default:
      return Error(Errc::unsupported, "of a kind that packs cannot copy from");
  }
  return tokens;
}

Result<std::shared_ptr<const ArtifactTokens>> cached_tokens(const Backend& backend, Cache& cache,
                                                            const ArtifactUse& use) {
  if (auto found = cache.find({use.number, Cache::Kind::artifact_tokens})) {
    auto tokens = std::static_pointer_cast<const ArtifactTokens>(found);
    if (tokens->tenant == use.tenant) return tokens;
  }
  TOKVAULT_ASSIGN(const auto artifact, load_artifact(backend, use));
  auto out = std::make_shared<ArtifactTokens>();
  out->number = use.number;
  out->tenant = use.tenant;
  auto read = tokens_of(artifact->record.kind, artifact->content);
  if (!read) return std::move(read).error().with(artifact_name(use.number));
  out->tokens = std::move(*read);
  std::shared_ptr<const ArtifactTokens> tokens = std::move(out);
  keep_tokens(cache, tokens);
  return tokens;
}

Status check_artifacts(const Backend& backend, const State& state, bool count_rows,
                       CheckReport& report) {
  for (const auto& [number, tenant] : state.tenants()) {
    std::map<std::uint64_t, std::vector<std::shared_ptr<const Source>>> users;
    for (const auto& [artifact, record] : tenant.artifacts) users[artifact];
    for (const auto& source : state.sources(number)) {
      for (const std::uint64_t named : source->artifacts()) users[named].push_back(source);
    }
    for (const auto& [file, log] : state.logs()) {
      for (const LostCommits& lost : log->lost()) {
        if (lost.artifact != 0 && lost.tenant == number) users[lost.artifact];
      }
    }
    for (const auto& [artifact, sources] : users) {
      const auto registered = tenant.artifacts.find(artifact);
      std::optional<ArtifactKind> kind;
      if (registered != tenant.artifacts.end()) kind = registered->second.kind;
      auto loaded = load_artifact(backend, {artifact, number, kind, state.vault().id});
      const bool is_there = loaded.has_value();
      Error error;
      if (!is_there) {
        error = std::move(loaded).error();
      } else if (registered == tenant.artifacts.end()) {
        error = Error(Errc::conflict, "a file names it, but it is not registered");
      } else if ((*loaded)->record != registered->second) {
        error = Error(Errc::corrupt, "it is not what its record says");
      } else {
        continue;
      }
      std::string needed;
      std::uint64_t rows = 0;
      for (const auto& source : sources) {
        needed += (needed.empty() ? "; needed by " : ", ") + source->name();
        rows += source->range().rows;
      }
      if (rows > 0) needed += ": " + std::to_string(rows) + " conversations";
      for (const auto& [file, log] : state.logs()) {
        if (log->waits_for(artifact)) {
          needed += (needed.empty() ? "; needed by " : ", ") + log->name();
        }
      }
      const std::string name = artifact_name(artifact);
      auto known = std::find_if(report.findings.begin(), report.findings.end(),
                                [&](const Finding& f) { return f.file == name; });
      if (known == report.findings.end()) {
        known = report.findings.insert(known, {name, error.code(), without_name(error, name)});
      }
      known->message += needed;
      if (!count_rows || is_there || !is_lost(error.code())) continue;
      for (const auto& source : sources) {
        auto tables = source->tables();
        auto dead = state.dead_rows(tenant, *source);
        if (!tables || !dead) continue;  // reported where the file is read
        for (std::uint32_t i = 0; i < (*tables)->rows.size(); ++i) {
          if (!dead->empty() && (*dead)[i]) continue;
          ++report.lost_conversations;
          report.lost_ids.emplace_back((*tables)->ids[i]);
        }
      }
    }
  }
  return {};
}

}  // namespace tokvault
