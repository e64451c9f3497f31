// Sums over a vault: what is in it, and what it takes on disk.
#include <algorithm>

#include "vault/artifacts.h"
#include "vault/recovery.h"
#include "vault/vault_impl.h"

namespace tokvault {

Result<VaultStats> VaultImpl::stats(std::optional<std::string_view> tenant_given) const {
  return reading([&]() -> Result<VaultStats> {
    VaultStats s;
    if (tokenizer_error_.code() != Errc::ok) return tokenizer_error_.clone();
    const TenantState* only = nullptr;
    if (tenant_given) {
      only = state_.tenant(tenant_name(*tenant_given));
      if (only == nullptr) {
        return Error(Errc::not_found, "no tenant " + std::string(tenant_name(*tenant_given)));
      }
    }
    std::uint64_t segment_text = 0;
    std::uint64_t node_text = 0;
    auto text_sizes = [&](const Source& source,
                          const Tables& tables) -> Result<std::vector<std::uint64_t>> {
      std::vector<std::uint64_t> sizes;
      std::vector<Token> tokens;
      Scratch scratch;
      for (std::uint32_t i = 0; i < tables.segment_counts[kTokenStream]; ++i) {
        TOKVAULT_ASSIGN(const ByteView code, source.code(kTokenStream, i, scratch));
        tokens.clear();
        TOKVAULT_TRY(source.decode_tokens(code, tokens));
        std::uint64_t bytes = 0;
        for (Token t : tokens) bytes += tokenizer_->token_bytes(t).size();
        sizes.push_back(bytes);
      }
      return sizes;
    };
    for (const auto& [number, tenant] : state_.tenants()) {
      if (only != nullptr && only != &tenant) continue;
      count_holds(tenant, s);
      ++s.tenants;
      TOKVAULT_ASSIGN(const auto due, merge_due(number));
      for (const auto& pack : due) s.merge_due_bytes += pack->size_bytes();
      for (const auto& source : state_.sources(number)) {
        auto read = source->tables();
        if (!read && passes_over(*source, read.error())) continue;
        TOKVAULT_ASSIGN(auto tables, std::move(read));
        TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(tenant, *source));
        for (std::uint32_t i = 0; i < tables->rows.size(); ++i) {
          const Row& row = tables->rows[i];
          if (!dead.empty() && dead[i]) {
            ++s.forgotten;
            continue;
          }
          if (row.sequence < state_.damage(&tenant).unproven_until) continue;
          ++s.conversations;
          s.messages += tables->messages(row);
          s.tokens_logical += row.tokens;
          s.text_bytes += row.text_bytes;
        }
        for (std::uint32_t n : tables->segment_counts) s.segments += n;
        if (source->is_pack()) {
          const PackFooter& f = static_cast<const PackFile&>(*source).footer();
          ++s.packs;
          if (static_cast<const PackFile&>(*source).is_as_sealed()) {
            ++s.unmerged_packs;
            s.unmerged_bytes += static_cast<const PackFile&>(*source).size_bytes();
          }
          s.pack_bytes += static_cast<const PackFile&>(*source).size_bytes();
          s.tokens_stored += f.tokens_stored;
          segment_text += f.segment_text_bytes;
          node_text += f.node_text_bytes;
          for (const PackStream& stream : f.streams) {
            s.pack_text_bytes += stream.dictionary.size + stream.blocks.size;
          }
        } else {
          const auto& part = static_cast<const LogPart&>(*source);
          if (only != nullptr) ++s.logs;
          s.log_bytes += part.size_bytes();
          TOKVAULT_ASSIGN(const std::uint64_t tokens, part.tokens_stored());
          s.tokens_stored += tokens;
          TOKVAULT_ASSIGN(const auto sizes, text_sizes(*source, *tables));
          for (std::uint64_t bytes : sizes) segment_text += bytes;
          node_text += node_text_bytes(*tables, sizes);
        }
      }
    }
    s.merge_running_bytes = merging_bytes_;
    s.merges = merges_done_;
    s.pack_table_bytes = s.pack_bytes - s.pack_text_bytes;
    if (only == nullptr) {
      s.log_bytes = 0;
      for (const auto& [number, log] : state_.logs()) s.log_bytes += log->size_bytes();
      s.logs = state_.logs().size();
    }
    TOKVAULT_ASSIGN(const auto artifacts, backend_->list("artifacts"));
    for (const BlobInfo& a : artifacts) {
      if (only == nullptr) s.artifact_bytes += a.size_bytes;
      if (!is_artifact_name(a.name)) continue;
      for (const auto& [number, tenant] : state_.tenants()) {
        const auto it = tenant.artifacts.find(number_of(a.name));
        if (it == tenant.artifacts.end() || (only != nullptr && only != &tenant)) continue;
        if (only != nullptr) s.artifact_bytes += a.size_bytes;
        switch (it->second.kind) {
          case ArtifactKind::dictionary:
            s.dictionary_bytes += a.size_bytes;
            break;
          case ArtifactKind::substring_set:
            s.substring_set_bytes += a.size_bytes;
            break;
          case ArtifactKind::reserved:
            break;
        }
      }
    }
    if (only != nullptr) {
      s.total_bytes = s.pack_bytes + s.log_bytes + s.artifact_bytes;
    } else {
      const Leftovers leftovers(*backend_, state_);
      for (const char* folder : {"packs", "log"}) {
        TOKVAULT_ASSIGN(const auto blobs, backend_->list(folder));
        for (const BlobInfo& blob : blobs) {
          if (!leftovers.is_live(blob.name)) {
            s.leftover_bytes += blob.size_bytes;
          } else if (!state_.packs().contains(number_of(blob.name)) &&
                     !state_.logs().contains(number_of(blob.name))) {
            s.damaged_bytes += blob.size_bytes;
          }
        }
      }
      TOKVAULT_ASSIGN(const auto aside, backend_->list("quarantine"));
      for (const BlobInfo& blob : aside) s.damaged_bytes += blob.size_bytes;
      TOKVAULT_ASSIGN(s.total_bytes, backend_->total_bytes());
      const std::uint64_t named =
          s.pack_bytes + s.log_bytes + s.artifact_bytes + s.leftover_bytes + s.damaged_bytes;
      s.catalog_bytes = s.total_bytes - std::min(s.total_bytes, named);
    }
    s.saved.exact = s.text_bytes - std::min(s.text_bytes, segment_text);
    s.saved.prefix = s.text_bytes - std::min(s.text_bytes, node_text);
    s.saved.compression = segment_text - std::min(segment_text, s.pack_text_bytes + s.log_bytes);
    return s;
  });
}

}  // namespace tokvault
