// The live files, as the state has them open.
#include <algorithm>
#include <numeric>

#include "vault/artifacts.h"
#include "vault/recovery.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

Result<FileInfo> info_of(const LogFile& log) {
  FileInfo info;
  info.name = log.name();
  info.kind = FileInfo::Kind::log;
  info.bytes = log.size_bytes();
  for (const auto& [tenant, part] : log.parts()) {
    const Source::Range range = part->range();
    if (range.rows > 0) {
      const bool is_first = info.conversations == 0;
      info.time_first_ms =
          is_first ? range.time_first_ms : std::min(info.time_first_ms, range.time_first_ms);
      info.time_last_ms =
          is_first ? range.time_last_ms : std::max(info.time_last_ms, range.time_last_ms);
    }
    info.conversations += range.rows;
    for (const std::uint32_t n : part->table().segment_counts) info.segments += n;
    TOKVAULT_ASSIGN(const std::uint64_t tokens, part->tokens_stored());
    info.tokens_stored += tokens;
  }
  CheckReport report;
  report_lost(log, report);
  if (!report.findings.empty()) info.damage = report.findings.front().message;
  return info;
}

FileInfo info_of(const PackFile& pack) {
  const PackFooter& footer = pack.footer();
  FileInfo info;
  info.name = pack.name();
  info.kind = FileInfo::Kind::pack;
  info.tenant = footer.tenant.name;
  info.bytes = pack.size_bytes();
  info.conversations = footer.counts.rows;
  info.segments = std::accumulate(footer.counts.segments.begin(), footer.counts.segments.end(),
                                  std::uint64_t{0});
  info.tokens_stored = footer.tokens_stored;
  info.time_first_ms = footer.time_first_ms;
  info.time_last_ms = footer.time_last_ms;
  if (pack.version() > 1) info.level = footer.level;
  info.is_compacted = footer.made_by == PackMaker::compaction;
  return info;
}

}  // namespace

Result<std::vector<FileInfo>> VaultImpl::files() const {
  return reading([&]() -> Result<std::vector<FileInfo>> {
    std::vector<FileInfo> files;
    for (const auto& [number, log] : state_.logs()) {
      TOKVAULT_ASSIGN(FileInfo info, info_of(*log));
      files.push_back(std::move(info));
    }
    for (const auto& [number, pack] : state_.packs()) files.push_back(info_of(*pack));
    for (const auto& [number, pack] : state_.lost_packs()) {
      FileInfo info;
      info.name = pack_name(number);
      info.kind = FileInfo::Kind::pack;
      if (const TenantState* tenant = state_.tenant(pack.file.tenant)) {
        info.tenant = tenant->record.name;
      }
      const auto size = backend_->size(info.name);
      info.bytes = size ? *size : 0;
      info.damage = pack.what;
      files.push_back(std::move(info));
    }
    std::vector<BlobInfo> blobs = artifacts_;
    if (!is_snapshot_) {
      TOKVAULT_ASSIGN(blobs, backend_->list("artifacts"));
    }
    for (const BlobInfo& blob : blobs) {
      FileInfo info;
      info.name = blob.name;
      info.kind = FileInfo::Kind::artifact;
      info.bytes = blob.size_bytes;
      // The vault's own vocabulary is nobody's.
      for (const auto& [number, tenant] : state_.tenants()) {
        if (is_artifact_name(blob.name) && tenant.artifacts.contains(number_of(blob.name))) {
          info.tenant = tenant.record.name;
        }
      }
      files.push_back(std::move(info));
    }
    return files;
  });
}

}  // namespace tokvault
