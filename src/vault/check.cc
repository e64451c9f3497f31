#include <algorithm>
#include <set>

#include "base/checksum.h"
#include "vault/artifacts.h"
#include "vault/recovery.h"
#include "vault/vault_impl.h"

namespace tokvault {

std::string contents_of(const CatalogFile& pack) {
  return std::to_string(pack.conversations) +
         (pack.conversations == 1 ? " conversation" : " conversations") + ", sequence numbers " +
         std::to_string(pack.sequence_first) + " to " + std::to_string(pack.sequence_last);
}

void report_lost(const LogFile& log, CheckReport& report) {
  for (const LostCommits& lost : log.lost()) {
    std::string what = lost.what;
    if (lost.is_end_known && lost.end == lost.first) {
      report.findings.push_back({log.name(), lost.code, what + "; nothing is lost"});
      continue;
    }
    what += "; sequence numbers " + std::to_string(lost.first) + " to ";
    what += lost.is_end_known ? std::to_string(lost.end - 1) : "unknown";
    what += lost.artifact == 0 ? " are lost: "
                               : " are lost until it is put back (`tokvault repair "
                                 "--give-up-logs` does without them): ";
    if (lost.conversations) {
      what += std::to_string(*lost.conversations) +
              (*lost.conversations == 1 ? " conversation" : " conversations");
      report.lost_conversations += *lost.conversations;
    } else if (lost.is_end_known) {
      // Each number was a conversation's or a record's.
      what += "at most " + std::to_string(lost.end - lost.first) + " conversations";
      report.lost_conversations += lost.end - lost.first;
    } else {
      what += "nobody knows how many conversations";
    }
    if (!lost.changes) {
      what += "; what they deleted or tagged is unknown";
    } else if (!lost.changes->empty()) {
      what += "; they deleted or replaced " + std::to_string(lost.changes->deleted.size()) +
              " and tagged " + std::to_string(lost.changes->tagged.size());
    }
    report.findings.push_back({log.name(), lost.code, std::move(what)});
  }
}

bool check_vocabulary(const Backend& backend, const VaultRecord& vault, CheckReport& report) {
  if (vault.vocabulary.empty()) return true;
  auto status = [&]() -> Status {
    TOKVAULT_ASSIGN(const std::uint64_t size, backend.size(vault.vocabulary));
    if (size > kVocabularyBytesMax) return Error(Errc::corrupt, "absurd size");
    Buffer ranks;
    TOKVAULT_TRY(backend.get(vault.vocabulary, 0, size, ranks));
    if (sha256(ranks) == vault.vocabulary_sha256) return {};
    return Error(Errc::corrupt, "not the vocabulary of this vault");
  }();
  if (status) return true;
  report.findings.push_back(
      {vault.vocabulary, status.code(),
       without_name(status.error(), vault.vocabulary) +
           ": texts cannot be read, only their tokens; the rank file that the vault was made with "
           "can be put back under this name"});
  return false;
}

Status check_source(const State& state, const TenantState& tenant,
                    const std::shared_ptr<const Source>& source, const SourceCheck& options,
                    CheckReport& report) {
  std::set<std::string, std::less<>> told;  // a damaged dictionary holds many segments
  auto finding = [&](const Error& e) {
    std::string what = without_name(e, source->name());
    if (!told.insert(what).second) return;
    report.findings.push_back({source->name(), e.code(), std::move(what)});
  };
  auto tables = source->tables();
  if (!tables) {
    finding(tables.error());
    if (is_lost(tables.code())) report.lost_conversations += source->range().rows;
    return {};
  }
  const Tables& t = **tables;
  auto dead = state.dead_rows(tenant, *source);
  if (!dead) return std::move(dead).error();
  for (std::uint32_t n : t.segment_counts) report.segments += n;
  if (source->is_pack()) {
    const auto& pack = static_cast<const PackFile&>(*source);
    if (auto records = pack.records(); !records) finding(records.error());
    auto usage = pack.usage();
    if (!usage) {
      finding(usage.error());
    } else if (!(*usage)->entries.empty() && (*usage)->entries != usage_of(t)) {
      finding(Error(Errc::corrupt, "its sums are not those of its conversations"));
    }
    if (Status status = pack.check_filter(t.ids); !status) finding(status.error());
  }

  // External segments: each must be somewhere.
  Scratch scratch;
  std::vector<bool> missing(t.externals.size());
  std::vector<Error> missing_errors;
  for (std::size_t i = 0; i < t.externals.size(); ++i) {
    auto found = state.locate(tenant.record.number, t.externals[i], scratch);
    if (found || !is_lost(found.code())) continue;  // its own file is told of
    missing[i] = true;
    missing_errors.push_back(std::move(found).error());
  }
  // Local segments: every block decodes, every token is in the vocabulary where it is text, and
  // fingerprints fit.
  std::array<std::vector<bool>, kStreams> unread, broken;
  if (options.read_data) {
    std::vector<Token> tokens;
    for (const Stream s : {kTokenStream, kByteStream}) {
      unread[s].resize(t.segment_counts[s]);
      broken[s].resize(t.segment_counts[s]);
      for (std::uint32_t i = 0; i < t.segment_counts[s]; ++i) {
        auto code = source->code(s, i, scratch);
        Status status;
        if (!code) {
          status = std::move(code).error();
        } else if (s == kTokenStream) {
          tokens.clear();
          status = source->decode_tokens(*code, tokens);
        }
        if (status) continue;
        unread[s][i] = true;
        broken[s][i] = is_lost(status.code());
        finding(status.error());
      }
    }
    if (source->is_pack()) {
      const auto& pack = static_cast<const PackFile&>(*source);
      for (const Stream s : {kTokenStream, kByteStream}) {
        const PackStream& stream = pack.footer().streams[s];
        // Without fingerprints on disk there is nothing to compare.
        if (!stream.has_fingerprints()) continue;
        const auto prints = pack.fingerprints(s);
        if (!prints) {
          finding(prints.error());
          continue;
        }
        for (const auto& f : **prints) {
          if (unread[s][f.segment]) continue;
          TOKVAULT_ASSIGN(const ByteView code, source->code(s, f.segment, scratch));
          TOKVAULT_ASSIGN(const ShortDigest digest, segment_digest(*source, s, code, tokens));
          if (fingerprint(digest) == f.value) continue;
          broken[s][f.segment] = true;
          finding(Error(Errc::corrupt,
                        "segment " + std::to_string(f.segment) + " does not fit its fingerprint"));
        }
      }
    }
  }
  auto refs_whole = [&](std::uint32_t form, std::uint32_t begin) {
    const FormInfo& info = t.form_infos[form];
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      const SegmentRef ref = t.refs[begin + i];
      const auto& local = broken[info.stream_of(i)];
      if (ref.is_external() ? missing[ref.number()] : !local.empty() && local[ref.number()]) {
        return false;
      }
    }
    return true;
  };
  std::vector<bool> node_whole(t.nodes.size());
  for (std::size_t i = 0; i < t.nodes.size(); ++i) {
    const Node& n = t.nodes[i];
    node_whole[i] =
        (n.parent == kNoNode || node_whole[n.parent]) && refs_whole(n.form, n.refs_begin);
  }
  const std::uint64_t lost_before = report.lost_conversations;
  for (std::uint32_t i = 0; i < t.rows.size(); ++i) {
    if (!dead->empty() && (*dead)[i]) continue;
    const Row& r = t.rows[i];
    ++report.conversations;
    const bool is_proven = r.sequence >= state.damage(&tenant).unproven_until;
    const bool is_text = options.has_vocabulary || r.text_bytes == 0;
    if (is_proven && is_text && (r.leaf == kNoNode || node_whole[r.leaf]) &&
        refs_whole(r.form, r.refs_begin)) {
      continue;
    }
    ++report.lost_conversations;
    report.lost_ids.emplace_back(t.ids[i]);
  }
  // What only forgotten conversations need may be gone already, where gc was interrupted.
  if (report.lost_conversations != lost_before) {
    for (const Error& e : missing_errors) finding(e);
  }
  return {};
}

namespace {

// Leaves what was found before, too: damage stays, and what a rewrite has moved is elsewhere by
// then.
void keep_what_stays(const CheckReport& before, CheckReport& report) {
  std::erase_if(report.findings, [&](const Finding& f) {
    return std::none_of(before.findings.begin(), before.findings.end(), [&](const Finding& b) {
      return b.file == f.file && b.code == f.code && b.message == f.message;
    });
  });
  if (!report.findings.empty()) return;
  report.lost_ids.clear();
  report.lost_conversations = 0;
}

}  // namespace

Result<CheckReport> VaultImpl::check(const CheckOptions& options, const Progress& progress) const {
  // It is about the files as they are, not as they were.
  if (is_snapshot_) return Error(Errc::invalid, "a snapshot is not checked, but its vault");
  CheckReport before;
  for (int attempt = 0;; ++attempt) {
    TOKVAULT_ASSIGN(const CatalogState catalog, load_catalog());
    TOKVAULT_ASSIGN(CheckReport report, check_once(catalog, options, progress));
    if (auto own = catalog_->load(); !own && own.code() != Errc::busy) {
      // A reader does without it, but nobody knows what it says.
      report.findings.push_back(
          {"catalog.db", own.code(),
           without_name(own.error(), "catalog.db") +
               (is_lost(own.code()) ? "; `tokvault repair` makes a new one from the files"
                                    : "; logs and packs were checked without it")});
    }
    // A rewrite beside it removes files that it looks for.
    auto generation = catalog_->generation();
    if (report.findings.empty() || !generation || *generation == catalog.generation) return report;
    if (attempt > 0) keep_what_stays(before, report);
    if (report.findings.empty() || attempt == 2) return report;
    before = std::move(report);
  }
}

Result<CheckReport> VaultImpl::check_once(const CatalogState& catalog, const CheckOptions& options,
                                          const Progress& progress) const {
  CheckReport report;
  // A state of its own, which leaves out what cannot be opened instead of failing.
  Cache cache(cache_bytes_of(options_));
  State state(*backend_, cache, DecodeText::at_once);
  std::vector<std::pair<CatalogFile, Error>> errors;
  TOKVAULT_TRY(state.load(catalog, State::Unreadable::all_is_noted, &errors));
  for (const auto& [file, error] : errors) {
    if (file.kind == CatalogFile::Kind::log && state.logs().contains(file.number)) continue;
    const std::string name =
        file.kind == CatalogFile::Kind::log ? log_name(file.number) : pack_name(file.number);
    const bool is_gone = is_lost(error.code());
    report.findings.push_back({name, error.code(),
                               without_name(error, name) +
                                   (file.conversations == 0 ? "" : ": " + contents_of(file)) +
                                   (is_gone ? "" : "; what is in it was not checked")});
    if (is_gone) report.lost_conversations += file.conversations;
  }
  for (const auto& [number, log] : state.logs()) report_lost(*log, report);
  const SourceCheck source_check{options.read_data,
                                 check_vocabulary(*backend_, state.vault(), report)};
  std::uint64_t total = 0;
  std::uint64_t done = 0;
  for (const auto& [number, pack] : state.packs()) total += pack->size_bytes();
  for (const auto& [number, log] : state.logs()) total += log->size_bytes();
  report.files = catalog.files.size();
  for (const auto& [number, tenant] : state.tenants()) {
    for (const auto& source : state.sources(number)) {
      if (progress && !progress(done, total)) return Error(Errc::cancelled, "check was stopped");
      TOKVAULT_TRY(check_source(state, tenant, source, source_check, report));
      done += source->is_pack() ? state.packs().at(source->file())->size_bytes() : 0;
    }
  }
  TOKVAULT_TRY(check_artifacts(*backend_, state, !options.read_data, report));
  check_holds(state, report);
  const Leftovers leftovers(*backend_, state);
  for (const char* folder : {"packs", "log"}) {
    TOKVAULT_ASSIGN(const auto blobs, backend_->list(folder));
    for (const BlobInfo& blob : blobs) {
      if (number_of(blob.name) == 0) continue;
      // What a rewrite is about to commit, or left when it was killed, is no damage.
      if (!leftovers.is_live(blob.name) && !leftovers.contains(blob.name)) {
        report.findings.push_back({blob.name, Errc::conflict, "the catalog does not know it"});
      }
    }
  }
  if (progress) (void)progress(total, total);
  return report;
}

}  // namespace tokvault
