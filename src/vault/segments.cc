// Segments by themselves (tokvault/segments.h).
//
// A hold is a record: a key of tenant, stream, digest and holder. Nothing counts: who holds a
// segment are the records of its digest, which conversations have it is in their tables, and a
// rewrite keeps what either names (needed_externals). So a retried call changes nothing, and no
// crash can leave a number that is wrong.
//
// A segment that is large enough to be found by its content in any file lies among those of
// conversations. A shorter one stands in the records of its holds: in a pack it could be found by
// reading the whole pack alone. So what is short is there only as long as it is held.

#include <algorithm>
#include <charconv>

#include "base/bytes.h"
#include "base/checksum.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

static_assert(kSegmentSharedSize == kSharedCodeBytes);
static_assert(static_cast<int>(SegmentKind::tokens) == kTokenStream);
static_assert(static_cast<int>(SegmentKind::bytes) == kByteStream);

constexpr std::uint64_t kPutBytesMax = std::uint64_t{1} << 30;
constexpr std::string_view kTokensPrefix = "tokens:";
constexpr std::string_view kBytesPrefix = "bytes:";

Stream stream_of(const SegmentId& id) { return static_cast<Stream>(id.kind); }

Error no_segment(const SegmentId& id) {
  return Error(Errc::not_found, "no segment " + id.to_string());
}

Buffer hold_key(std::uint32_t tenant, const SegmentId& id, std::string_view holder) {
  return tokvault::hold_key(tenant, static_cast<std::uint8_t>(id.kind), id.sha256, holder);
}

SegmentId id_of(const HoldKey& key) { return {static_cast<SegmentKind>(key.stream), key.digest}; }

// The segment that a code stands for, if it is the one that is asked for.
Result<Segment> decode_segment(const Source* source, ByteView code, const SegmentId& id) {
  Segment s;
  s.kind = id.kind;
  if (id.kind == SegmentKind::bytes) {
    s.bytes = code;
  } else if (source != nullptr) {
    TOKVAULT_TRY(source->decode_tokens(code, s.tokens));
  } else {
    TOKVAULT_TRY(TokenMap().decode(code, s.tokens));
  }
  if (s.id() != id) {
    return Error(Errc::corrupt, (source != nullptr ? source->name() + ": " : "") +
                                    "what is stored is not the segment " + id.to_string());
  }
  return s;
}

// The numbers of all copies of a segment in a file: there may be more than one.
Result<std::vector<std::uint32_t>> copies_in(const Source& source, Stream stream,
                                             const ShortDigest& digest, Scratch& scratch) {
  std::vector<std::uint32_t> out;
  std::vector<Token> tokens;
  if (source.is_pack()) {
    TOKVAULT_ASSIGN(const auto prints, static_cast<const PackFile&>(source).fingerprints(stream));
    for (const auto& f : *prints) {
      if (f.value != fingerprint(digest)) continue;
      TOKVAULT_ASSIGN(const ByteView code, source.code(stream, f.segment, scratch));
      TOKVAULT_ASSIGN(const ShortDigest found, segment_digest(source, stream, code, tokens));
      if (found == digest) out.push_back(f.segment);
    }
    return out;
  }
  TOKVAULT_ASSIGN(const auto first, source.find_segment(stream, digest, scratch));
  if (!first) return out;
  // In a log the code of a segment says what it is.
  TOKVAULT_ASSIGN(const ByteView wanted, source.code(stream, *first, scratch));
  TOKVAULT_ASSIGN(auto tables, source.tables());
  for (std::uint32_t i = 0; i < tables->segment_counts[stream]; ++i) {
    TOKVAULT_ASSIGN(const ByteView code, source.code(stream, i, scratch));
    if (code == wanted) out.push_back(i);
  }
  return out;
}

Result<std::uint64_t> parse_part(std::string_view& text) {
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc()) return Error(Errc::invalid, "not a cursor of list_segments");
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
  if (!text.empty()) text.remove_prefix(1);
  return number;
}

Result<Buffer> parse_hex(std::string_view text) {
  auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  Buffer out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    if (digit(text[i]) < 0 || digit(text[i + 1]) < 0) break;
    out.push_back(static_cast<char>(digit(text[i]) * 16 + digit(text[i + 1])));
  }
  if (out.size() * 2 != text.size()) return Error(Errc::invalid, "not hexadecimal digits");
  return out;
}

}  // namespace

// --- names -------------------------------------------------------------------------------------

std::string SegmentId::to_string() const {
  const ByteView digest(reinterpret_cast<const char*>(sha256.data()), sha256.size());
  return std::string(kind == SegmentKind::tokens ? kTokensPrefix : kBytesPrefix) + to_hex(digest);
}

Result<SegmentId> parse_segment_id(std::string_view text) {
  SegmentId id;
  std::string_view hex = text;
  if (text.starts_with(kTokensPrefix)) {
    hex.remove_prefix(kTokensPrefix.size());
  } else if (text.starts_with(kBytesPrefix)) {
    id.kind = SegmentKind::bytes;
    hex.remove_prefix(kBytesPrefix.size());
  }
  auto digest = parse_hex(hex);
  if (hex.size() == text.size() || !digest || digest->size() != id.sha256.size()) {
    return Error(Errc::invalid,
                 "the id of a segment is \"tokens:\" or \"bytes:\" and 64 hexadecimal digits");
  }
  std::copy(digest->begin(), digest->end(), id.sha256.begin());
  return id;
}

Segment Segment::of_tokens(TokenView tokens) {
  Segment s;
  s.tokens.assign(tokens.begin(), tokens.end());
  return s;
}

Segment Segment::of_bytes(ByteView bytes) {
  Segment s;
  s.kind = SegmentKind::bytes;
  s.bytes = bytes;
  return s;
}

SegmentId Segment::id() const {
  return {kind, kind == SegmentKind::tokens ? sha256_tokens(tokens) : sha256(bytes)};
}

// --- writing -----------------------------------------------------------------------------------

Result<std::vector<SegmentPut>> VaultImpl::put_segments(std::span<const Segment> segments,
                                                        const HoldOptions& options) {
  TOKVAULT_TRY(check_name("a holder's name", options.holder));
  std::uint64_t all_bytes = 0;
  TableSize size;
  for (const Segment& s : segments) {
    const std::uint64_t bytes = s.tokens.size() * sizeof(Token) + s.bytes.size();
    all_bytes += bytes;
    if (bytes > options_.conversation_bytes_max || all_bytes > kPutBytesMax) {
      return Error(Errc::exhausted, "segments of " + std::to_string(all_bytes) +
                                        " bytes are more than the limit of " +
                                        std::to_string(options_.conversation_bytes_max) +
                                        " for one and " + std::to_string(kPutBytesMax) +
                                        " for all");
    }
    if (s.size() > kSegmentSizeMax) return segment_too_large(s.size());
    if (s.size() >= kSharedCodeBytes) ++size.segments[static_cast<Stream>(s.kind)];
  }
  Prepared prepared;
  prepared.segments.resize(segments.size());
  std::vector<SegmentPut> out(segments.size());
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& s = segments[i];
    out[i].id = s.id();
    PreparedSegment& p = prepared.segments[i];
    p.stream = static_cast<Stream>(s.kind);
    p.content = shorten(out[i].id.sha256);
    if (s.kind == SegmentKind::tokens) {
      p.ids = &s.tokens;
      p.tokens = static_cast<std::uint32_t>(s.tokens.size());
    } else {
      p.bytes = &s.bytes;
      p.has_code = true;
    }
  }

  TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
  TOKVAULT_TRY(prepare_log());
  // What a log has of a tenant becomes one pack, and that has limits.
  if (const TenantState* known = state_.tenant(tenant_name(options.tenant))) {
    const auto part = log_->parts().find(known->record.number);
    if (part != log_->parts().end()) size += tokvault::size_of(part->second->table());
  } else {
    TOKVAULT_TRY(check_name("a tenant's name", options.tenant));
  }
  if (segments.empty()) return out;
  if (!size.fits(kTableSizeMax) || segments.size() > kLogRecordsMax) {
    return Error(Errc::exhausted, "too many segments for one batch: put less at a time");
  }
  TOKVAULT_ASSIGN(const std::uint32_t tenant, tenant_for_writing(options.tenant));
  TOKVAULT_TRY(unless_thrown(
      [&] { return try_put_segments(tenant, segments, prepared, options.holder, out); }));
  return out;
}

Status VaultImpl::try_put_segments(std::uint32_t tenant, std::span<const Segment> segments,
                                   Prepared& prepared, std::string_view holder,
                                   std::vector<SegmentPut>& out) {
  Pending pending = begin_batch(tenant);
  const std::uint64_t before = pending.builder.counts().next_sequence;
  std::set<Buffer> keys;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Buffer key = hold_key(tenant, out[i].id, holder);
    if (holds_surely(*state_.tenant(tenant), key) || !keys.insert(key).second) {
      out[i].outcome = SegmentPut::Outcome::unchanged;
      continue;
    }
    const bool is_held = !state_.find_records(hold_key(tenant, out[i].id, "")).empty();
    HoldRecord hold{segments[i].size(), {}};
    bool is_new = !is_held;
    if (hold.size < kSharedCodeBytes && segments[i].kind == SegmentKind::tokens) {
      TokenMap().encode(segments[i].tokens, hold.code);
    } else if (hold.size < kSharedCodeBytes) {
      hold.code = segments[i].bytes;
    } else {
      auto added = stager_->store_segment(tenant, prepared, prepared.segments[i], pending.builder,
                                          *stage_encoder_);
      // Numbers have been given out that will not be written: nothing can follow.
      if (!added) return fail(std::move(added).error());
      is_new = *added;
    }
    pending.builder.put_record(key, encode(hold));
    out[i].outcome = is_new ? SegmentPut::Outcome::stored : SegmentPut::Outcome::held;
  }
  if (pending.builder.counts().next_sequence == before) return {};
  std::vector<Written> written;
  TOKVAULT_TRY(finish_batch(pending, tenant, written));
  TOKVAULT_TRY(commit(std::move(written)));
  rotate_if_due();
  return {};
}

Result<std::uint64_t> VaultImpl::hold_segments(std::span<const SegmentId> ids,
                                               const HoldOptions& options) {
  TOKVAULT_TRY(check_name("a holder's name", options.holder));
  TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
  TOKVAULT_TRY(prepare_log());
  const TenantState* tenant = state_.tenant(tenant_name(options.tenant));
  std::vector<RecordChange> changes;
  std::set<Buffer> keys;
  for (const SegmentId& id : ids) {
    if (tenant == nullptr) {
      TOKVAULT_TRY(expect_known_tenants());
      return no_segment(id);
    }
    Buffer key = hold_key(tenant->record.number, id, options.holder);
    if (holds_surely(*tenant, key) || keys.contains(key)) continue;
    TOKVAULT_ASSIGN(const auto hold, find_hold(*tenant, id));
    if (!hold) return no_segment(id);
    keys.insert(key);
    changes.push_back({std::move(key), encode(*hold)});
  }
  const std::uint64_t count = changes.size();
  if (count > 0) TOKVAULT_TRY(commit_records(tenant->record.number, changes));
  return count;
}

Result<std::uint64_t> VaultImpl::release_segments(std::span<const SegmentId> ids,
                                                  const HoldOptions& options) {
  // One that is no text may hold from the time before names had to be.
  if (options.holder.size() > kNameBytesMax) {
    return Error(Errc::invalid, "a holder's name has at most 255 bytes");
  }
  TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
  TOKVAULT_TRY(prepare_log());
  const TenantState* tenant = state_.tenant(tenant_name(options.tenant));
  if (tenant == nullptr) {
    TOKVAULT_TRY(expect_known_tenants());
    return std::uint64_t{0};
  }
  std::vector<RecordChange> changes;
  std::set<Buffer> keys;
  for (const SegmentId& id : ids) {
    Buffer key = hold_key(tenant->record.number, id, options.holder);
    // One that is lost may be there.
    const bool is_lost = state_.record_sequence(key) < state_.damage(tenant).unheld_until;
    if ((!state_.find_record(key) && !is_lost) || !keys.insert(key).second) continue;
    changes.push_back({std::move(key), std::nullopt});
  }
  const std::uint64_t count = changes.size();
  if (count > 0) TOKVAULT_TRY(commit_records(tenant->record.number, changes));
  return count;
}

Result<GcReport> VaultImpl::replace_segments(std::span<const SegmentId> ids, Level level,
                                             std::string_view tenant_given,
                                             const Progress& progress) {
  TOKVAULT_TRY(check_level(level));
  TOKVAULT_ASSIGN(const auto there, has_segments(ids, tenant_given));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!there[i]) return no_segment(ids[i]);
  }
  return collect(false, level, progress, [&](const Source& source) -> Result<bool> {
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    if (tenant == nullptr || source.tenant() != tenant->record.number) return false;
    Scratch scratch;
    for (const SegmentId& id : ids) {
      TOKVAULT_ASSIGN(const auto number,
                      source.find_segment(stream_of(id), shorten(id.sha256), scratch));
      if (number) return true;
    }
    return false;
  });
}

// --- reading -----------------------------------------------------------------------------------

Status VaultImpl::expect_known_tenants() const {
  const TenantDamage& damage = state_.damage(nullptr);
  if (damage.lost_until == 0) return {};
  return Error(Errc::corrupt, damage.where + " and may have held it (`tokvault repair`)");
}

Status VaultImpl::expect_holds(const TenantState& tenant) const {
  const TenantDamage& damage = state_.damage(&tenant);
  if (damage.unheld_until == 0 || options_.keep_going) return {};
  return Error(Errc::corrupt, damage.where +
                                  ": holds of segments may be missing (`tokvault check` says "
                                  "which commits are, `tokvault repair` gives them up)");
}

bool VaultImpl::holds_surely(const TenantState& tenant, ByteView key) const {
  const auto hold = state_.find_record(key);
  return hold && hold->sequence >= state_.damage(&tenant).unheld_until;
}

std::vector<Record> VaultImpl::sure_holds(const TenantState& tenant, const SegmentId& id) const {
  auto holds = state_.find_records(hold_key(tenant.record.number, id, ""));
  const std::uint64_t unheld_until = state_.damage(&tenant).unheld_until;
  std::erase_if(holds, [&](const Record& r) { return r.sequence < unheld_until; });
  return holds;
}

Result<std::uint64_t> VaultImpl::conversations_with(const TenantState& tenant, const SegmentId& id,
                                                    bool any) const {
  const Stream stream = stream_of(id);
  const ShortDigest digest = shorten(id.sha256);
  const std::uint64_t unproven_until = state_.damage(&tenant).unproven_until;
  std::uint64_t count = 0;
  Scratch scratch;
  for (const auto& source : state_.sources(tenant.record.number)) {
    TOKVAULT_ASSIGN(auto tables, source->tables());
    const Tables& t = *tables;
    TOKVAULT_ASSIGN(const auto copies, copies_in(*source, stream, digest, scratch));
    std::vector<SegmentRef> refs;
    for (std::uint32_t number : copies) refs.push_back(SegmentRef::local(number));
    for (std::uint32_t i = 0; i < t.externals.size(); ++i) {
      if (t.externals[i].stream == stream && t.externals[i].digest == digest) {
        refs.push_back(SegmentRef::external(i));
      }
    }
    if (refs.empty()) continue;
    auto refers = [&](std::uint32_t form, std::uint32_t begin) {
      const FormInfo& info = t.form_infos[form];
      for (std::size_t i = 0; i < info.ref_count(); ++i) {
        if (info.stream_of(i) == stream &&
            std::find(refs.begin(), refs.end(), t.refs[begin + i]) != refs.end()) {
          return true;
        }
      }
      return false;
    };
    // Parents come before their children.
    std::vector<bool> has(t.nodes.size());
    for (std::size_t i = 0; i < t.nodes.size(); ++i) {
      const Node& n = t.nodes[i];
      has[i] = (n.parent != kNoNode && has[n.parent]) || refers(n.form, n.refs_begin);
    }
    TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(tenant, *source));
    for (std::uint32_t i = 0; i < t.rows.size(); ++i) {
      if (!dead.empty() && dead[i]) continue;
      const Row& row = t.rows[i];
      if (row.sequence < unproven_until) continue;
      const bool in_messages = row.leaf != kNoNode && has[row.leaf];
      if (!in_messages && !refers(row.form, row.refs_begin)) continue;
      ++count;
      if (any) return count;
    }
  }
  return count;
}

Result<std::optional<HoldRecord>> VaultImpl::find_hold(const TenantState& tenant,
                                                       const SegmentId& id) const {
  const auto holds = sure_holds(tenant, id);
  if (!holds.empty()) {
    TOKVAULT_ASSIGN(HoldRecord hold, decode_hold(*holds[0].value));
    return std::optional(std::move(hold));
  }
  TOKVAULT_ASSIGN(const bool there, is_there(tenant, id));
  if (!there) return std::optional<HoldRecord>();
  Scratch scratch;
  TOKVAULT_ASSIGN(const Segment segment, read_segment(state_, tenant, id, scratch));
  return std::optional(HoldRecord{segment.size(), {}});
}

Result<bool> VaultImpl::is_there(const TenantState& tenant, const SegmentId& id) const {
  if (!sure_holds(tenant, id).empty()) return true;
  TOKVAULT_ASSIGN(const std::uint64_t in, conversations_with(tenant, id, true));
  if (in == 0) {
    const TenantDamage& damage = state_.damage(&tenant);
    if (damage.lost_until == 0) return false;
    return Error(Errc::corrupt, "segment " + id.to_string() + ": " + damage.where +
                                    " and may have held it (`tokvault repair`)");
  }
  // Short ones are found in some files and not in others: they are not there by themselves.
  Scratch scratch;
  TOKVAULT_ASSIGN(const Segment segment, read_segment(state_, tenant, id, scratch));
  return segment.size() >= kSharedCodeBytes;
}

Result<Segment> VaultImpl::read_segment(const State& state, const TenantState& tenant,
                                        const SegmentId& id, Scratch& scratch) const {
  const auto holds = state.find_records(hold_key(tenant.record.number, id, ""));
  if (!holds.empty()) {
    TOKVAULT_ASSIGN(const HoldRecord hold, decode_hold(*holds[0].value));
    if (hold.size < kSharedCodeBytes) return decode_segment(nullptr, hold.code, id);
  }
  TOKVAULT_ASSIGN(const auto found, state.locate(tenant.record.number,
                                                 {stream_of(id), shorten(id.sha256), 0}, scratch));
  TOKVAULT_ASSIGN(const ByteView code, found.source->code(stream_of(id), found.number, scratch));
  return decode_segment(found.source.get(), code, id);
}

Result<std::vector<Result<Segment>>> VaultImpl::get_segments(std::span<const SegmentId> ids,
                                                             std::string_view tenant_given) const {
  using Results = std::vector<Result<Segment>>;
  return reading([&]() -> Result<Results> {
    Results results;
    Scratch scratch;
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    auto read = [&](const SegmentId& id) -> Result<Segment> {
      if (tenant == nullptr) TOKVAULT_TRY(expect_known_tenants());
      if (tenant == nullptr) return no_segment(id);
      TOKVAULT_ASSIGN(const bool there, is_there(*tenant, id));
      if (!there) return no_segment(id);
      return read_segment(state_, *tenant, id, scratch);
    };
    for (const SegmentId& id : ids) {
      results.push_back(read(id));
      // A file that is gone: reading() looks at the catalog again.
      if (!results.back() && results.back().error().os_code() != 0) {
        return std::move(results.back()).error();
      }
    }
    return results;
  });
}

Result<std::vector<bool>> VaultImpl::has_segments(std::span<const SegmentId> ids,
                                                  std::string_view tenant_given) const {
  return reading([&]() -> Result<std::vector<bool>> {
    std::vector<bool> out(ids.size());
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    if (tenant == nullptr) TOKVAULT_TRY(expect_known_tenants());
    for (std::size_t i = 0; tenant != nullptr && i < ids.size(); ++i) {
      TOKVAULT_ASSIGN(const bool there, is_there(*tenant, ids[i]));
      out[i] = there;
    }
    return out;
  });
}

Result<SegmentInfo> VaultImpl::segment_info(const SegmentId& id,
                                            std::string_view tenant_given) const {
  return reading([&]() -> Result<SegmentInfo> {
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    if (tenant == nullptr) TOKVAULT_TRY(expect_known_tenants());
    if (tenant == nullptr) return no_segment(id);
    TOKVAULT_ASSIGN(const auto hold, find_hold(*tenant, id));
    if (!hold) return no_segment(id);
    TOKVAULT_TRY(expect_holds(*tenant));
    SegmentInfo info{id, hold->size, {}, 0};
    for (const Record& r : sure_holds(*tenant, id)) {
      HoldKey key;
      if (parse_hold_key(r.key, key)) info.holders.emplace_back(key.holder);
    }
    if (hold->size < kSharedCodeBytes) return info;
    TOKVAULT_TRY(expect_complete(tenant));
    TOKVAULT_ASSIGN(info.conversations, conversations_with(*tenant, id, false));
    return info;
  });
}

Result<SegmentPage> VaultImpl::list_segments(const SegmentFilter& filter, std::uint64_t limit,
                                             std::string_view cursor) const {
  if (limit == 0 || limit > 100'000) return Error(Errc::invalid, "limit is 1 to 100,000");
  return reading([&]() -> Result<SegmentPage> {
    const TenantState* tenant = state_.tenant(tenant_name(filter.tenant));
    if (tenant == nullptr) {
      TOKVAULT_TRY(expect_complete(tenant));
      return SegmentPage();
    }
    if (filter.which == SegmentFilter::Which::garbage) return garbage_page(*tenant, limit, cursor);
    return held_page(*tenant, filter, limit, cursor);
  });
}

// The cursor is the id of the last one.
Result<SegmentPage> VaultImpl::held_page(const TenantState& tenant, const SegmentFilter& filter,
                                         std::uint64_t limit, std::string_view cursor) const {
  TOKVAULT_TRY(expect_holds(tenant));
  const std::uint64_t unheld_until = state_.damage(&tenant).unheld_until;
  SegmentPage page;
  SegmentId after;
  if (!cursor.empty()) {
    TOKVAULT_ASSIGN(after, parse_segment_id(cursor));
  }
  const std::uint32_t number = tenant.record.number;
  const Buffer prefix = hold_prefix(number);
  SegmentInfo info;  // of which the holds are being gathered
  bool is_wanted = false;
  auto take = [&] {
    if (is_wanted) page.segments.push_back(std::move(info));
    is_wanted = false;
    return page.segments.size() <= limit;
  };
  Status status;
  state_.visit_records(prefix, cursor.empty() ? prefix : hold_key(number, after, ""),
                       [&](const Record& r) {
                         HoldKey key;
                         if (r.sequence < unheld_until) return true;
                         if (!parse_hold_key(r.key, key)) return true;
                         const SegmentId id = id_of(key);
                         if (!cursor.empty() && id == after) return true;
                         if (info.holders.empty() || info.id != id) {
                           if (!take()) return false;
                           auto hold = decode_hold(*r.value);
                           if (!hold) {
                             status = std::move(hold).error();
                             return false;
                           }
                           info = {id, hold->size, {}, 0};
                         }
                         info.holders.emplace_back(key.holder);
                         is_wanted = is_wanted || !filter.holder || *filter.holder == key.holder;
                         return true;
                       });
  TOKVAULT_TRY(std::move(status));
  if (!take()) {
    page.segments.resize(limit);
    page.cursor = page.segments.back().id.to_string();
  }
  return page;
}

// The cursor is the number of a file and how many of its garbage were listed.
Result<SegmentPage> VaultImpl::garbage_page(const TenantState& tenant, std::uint64_t limit,
                                            std::string_view cursor) const {
  TOKVAULT_TRY(expect_complete(&tenant));
  SegmentPage page;
  std::uint64_t file_from = 0;
  std::uint64_t skip = 0;
  if (!cursor.empty()) {
    TOKVAULT_ASSIGN(file_from, parse_part(cursor));
    TOKVAULT_ASSIGN(skip, parse_part(cursor));
  }
  auto sources = state_.sources(tenant.record.number);
  std::sort(sources.begin(), sources.end(),
            [](const auto& a, const auto& b) { return a->file() < b->file(); });
  TOKVAULT_ASSIGN(const Needed needed, needed_externals(tenant));
  for (const auto& source : sources) {
    if (source->file() < file_from) continue;
    TOKVAULT_ASSIGN(const auto found, garbage_in(tenant, *source, needed));
    const std::uint64_t done = source->file() == file_from ? skip : 0;
    for (std::uint64_t i = done; i < found.size(); ++i) {
      if (page.segments.size() == limit) {
        page.cursor = std::to_string(source->file()) + "." + std::to_string(i);
        return page;
      }
      page.segments.push_back(found[i]);
    }
  }
  return page;
}

// --- checking ----------------------------------------------------------------------------------

void VaultImpl::check_holds(const State& state, CheckReport& report) const {
  Scratch scratch;
  for (const auto& [number, tenant] : state.tenants()) {
    std::optional<SegmentId> last;
    const Buffer prefix = hold_prefix(number);
    state.visit_records(prefix, prefix, [&](const Record& r) {
      ++report.holds;
      HoldKey key;
      const bool is_key = parse_hold_key(r.key, key);
      const auto hold = decode_hold(*r.value);
      if (!is_key || !hold) {
        report.findings.push_back({"records", Errc::corrupt, "a hold cannot be read"});
        return true;
      }
      const SegmentId id = id_of(key);
      const bool is_short = hold->size < kSharedCodeBytes;
      // What several hold is read once; a short one stands in each hold.
      if (!is_short && last == id) return true;
      last = id;
      auto segment = is_short ? decode_segment(nullptr, hold->code, id)
                              : read_segment(state, tenant, id, scratch);
      if (segment && segment->size() != hold->size) {
        segment = Error(Errc::corrupt, "a hold says another size");
      }
      if (!segment) {
        report.findings.push_back({id.to_string(), segment.error().code(),
                                   "held, but lost: " + std::string(segment.error().message())});
      }
      return true;
    });
  }
}

void VaultImpl::count_holds(const TenantState& tenant, VaultStats& stats) const {
  std::optional<SegmentId> last;
  const Buffer prefix = hold_prefix(tenant.record.number);
  state_.visit_records(prefix, prefix, [&](const Record& r) {
    HoldKey key;
    if (!parse_hold_key(r.key, key)) return true;
    ++stats.holds;
    if (last != id_of(key)) ++stats.held_segments;
    last = id_of(key);
    return true;
  });
}

}  // namespace tokvault
