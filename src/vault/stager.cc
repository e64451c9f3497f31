#include "vault/stager.h"

#include <algorithm>
#include <mutex>
#include <shared_mutex>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "format/pack.h"
#include "vault/pack_file.h"

namespace tokvault {
namespace {

// Texts of one conversation that are looked through for a repetition inside it.
constexpr std::size_t kSeenMax = 64;

// Segments in the index of packs' fingerprints, at 11 to 22 bytes each.
constexpr std::size_t kFingerprintsMax = 2'000'000;

void node_key(std::uint32_t parent, std::uint32_t form, const std::vector<SegmentRef>& refs,
              Buffer& key) {
  key.clear();
  append_varint(key, parent);
  append_varint(key, form);
  for (const SegmentRef& r : refs) append_varint(key, r.raw);
}

Buffer external_key(Stream stream, const ShortDigest& digest) {
  Buffer key(1, static_cast<char>(stream));
  return key.append(reinterpret_cast<const char*>(digest.data()), digest.size());
}

std::uint32_t intern(NameIndex& index, std::string_view name, auto add) {
  if (name.empty()) return 0;
  bool is_new = false;
  std::uint32_t& number = index.at(name, is_new);
  if (is_new) number = add(name);
  return number;
}

// Arrays with an element for each token fit the tokens of the content, as given or as the vault's
// tokenizer makes them of its text.
Status check_token_arrays(const Message& m, Tokenizer::Encoder& encoder) {
  if (m.form.find(static_cast<char>(Hole::binary)) == std::string::npos) return {};
  TOKVAULT_ASSIGN(const auto arrays, m.token_arrays());
  if (arrays.empty()) return {};
  std::vector<Token> encoded;
  TokenView tokens = m.tokens();
  if (tokens.empty()) {
    encoder.encode(m.text(), encoded);
    tokens = encoded;
  }
  for (const TokenArray& a : arrays) {
    const std::size_t width = a.type == TokenArray::Type::u8 ? 1 : 4;
    if (a.bytes.size() == tokens.size() * width) continue;
    return Error(Errc::invalid, "token array " + a.name + " has " +
                                    std::to_string(a.bytes.size() / width) + " elements for " +
                                    std::to_string(tokens.size()) + " tokens");
  }
  return {};
}

}  // namespace

Error segment_too_large(std::uint64_t size) {
  return Error(Errc::exhausted, "a segment of " + std::to_string(size) +
                                    " tokens or bytes is more than the limit of " +
                                    std::to_string(kSegmentSizeMax));
}

Stager::Stager(const State& state, std::shared_ptr<const Tokenizer> tokenizer,
               std::uint64_t conversation_bytes_max)
    : state_(state),
      tokenizer_(std::move(tokenizer)),
      conversation_bytes_max_(conversation_bytes_max) {}

std::string Stager::form_of(const Conversation& c) {
  if (!c.form.empty()) return c.form;
  std::string form = "{";
  if (!c.id.empty()) form += "\"id\":\x11,";
  if (!c.model.empty()) form += "\"model\":\x12,";
  if (!c.application.empty()) form += "\"application\":\x13,";
  return form + "\"messages\":\x10}";
}

Status Stager::begin_log(const LogFile& log) {
  std::unique_lock lock(mutex_);
  log_number_ = log.number();
  std::size_t segments = 0, fingerprints = 0;  // of all tenants
  for (const auto& [tenant, index] : indexes_) {
    segments += index.segments.size();
    for (const FingerprintIndex& of_stream : index.fingerprints) fingerprints += of_stream.size();
  }
  for (auto& [tenant, index] : indexes_) {
    index.models.clear();
    index.applications.clear();
    index.forms.clear();
    index.nodes.clear();
    index.externals.clear();
    index.form_infos.clear();
    if (index.segments.size() > kSegmentsKnownMax / 2 || segments > kSegmentsKnownMax) {
      index.segments.clear();
    }
    if (fingerprints > kStreams * kFingerprintsMax) {
      for (FingerprintIndex& of_stream : index.fingerprints) of_stream.clear();
      index.packs_read.clear();
    }
  }
  bool is_new = false;
  Buffer key;
  std::vector<SegmentRef> refs;
  std::vector<Token> tokens;
  for (const auto& [tenant, part] : log.parts()) {
    TenantIndex& index = indexes_[tenant];
    const Tables& t = part->table();
    for (std::uint32_t i = 1; i < t.models.size(); ++i) index.models.at(t.models[i], is_new) = i;
    for (std::uint32_t i = 1; i < t.applications.size(); ++i) {
      index.applications.at(t.applications[i], is_new) = i;
    }
    for (std::uint32_t i = 0; i < t.forms.size(); ++i) index.forms.at(t.forms[i], is_new) = i;
    index.form_infos = t.form_infos;
    for (std::uint32_t i = 0; i < t.nodes.size(); ++i) {
      const Node& n = t.nodes[i];
      refs.assign(t.node_refs(n), t.node_refs(n) + t.form_infos[n.form].ref_count());
      node_key(n.parent, n.form, refs, key);
      std::uint32_t& number = index.nodes.at(key, is_new);
      if (is_new) number = i;
    }
    for (std::uint32_t i = 0; i < t.externals.size(); ++i) {
      index.externals.at(external_key(t.externals[i].stream, t.externals[i].digest), is_new) = i;
    }
    for (const Stream s : {kTokenStream, kByteStream}) {
      for (std::uint32_t i = 0; i < t.segment_counts[s]; ++i) {
        TOKVAULT_ASSIGN(const ByteView code, part->code(s, i, scratch_));
        TOKVAULT_ASSIGN(const ShortDigest content, segment_digest(*part, s, code, tokens));
        KnownSegment known;
        known.file = log_number_;
        known.number = i;
        known.tokens = s == kTokenStream ? static_cast<std::uint32_t>(tokens.size()) : 0;
        known.stream = s;
        known.content = content;
        remember(index, known);
      }
    }
  }
  return {};
}

void Stager::forget_other_files() {
  std::unique_lock lock(mutex_);
  for (auto& [tenant, index] : indexes_) {
    index.segments.keep_file(log_number_);
    for (auto& prints : index.fingerprints) prints.clear();
    index.packs_read.clear();
  }
}

void Stager::forget_packs(std::span<const std::uint64_t> packs) {
  const std::set<std::uint64_t> gone(packs.begin(), packs.end());
  std::unique_lock lock(mutex_);
  for (auto& [tenant, index] : indexes_) {
    index.segments.forget_files(gone);
    for (auto& prints : index.fingerprints) prints.remove(gone);
    for (const std::uint64_t pack : packs) index.packs_read.erase(pack);
  }
}

void Stager::encode(Prepared& p, PreparedSegment& s, Tokenizer::Encoder& encoder) {
  constexpr std::size_t kTokensKept = 1u << 20;  // memory of a thread, for its next text
  thread_local std::vector<Token> encoded;
  TokenView tokens;
  if (s.ids != nullptr) {
    tokens = *s.ids;
  } else {
    encoded.clear();
    encoder.encode(*s.text, encoded);
    s.tokens = static_cast<std::uint32_t>(encoded.size());
    s.content = token_digest(encoded);
    tokens = encoded;
  }
  s.code_begin = p.codes.size();
  TokenMap().encode(tokens, p.codes);
  s.code_size = p.codes.size() - s.code_begin;
  s.has_code = true;
  if (encoded.capacity() > kTokensKept) encoded = std::vector<Token>();
}

// Hashes the values of a part. Texts and token ids get their codes later, if they are not known.
void Stager::prepare_part(std::string_view form, const std::vector<Value>& values, Prepared& whole,
                          PreparedPart& out) {
  out.form = form;
  out.begin = whole.segments.size();
  const std::size_t inline_begin = whole.codes.size();
  std::size_t next = 0;
  // Short values share a segment, which comes before the others.
  for (const char c : form) {
    if (!is_value_hole(c)) continue;
    if (next == values.size()) {
      whole.error = Error(Errc::invalid, "a form has more holes than there are values");
      return;
    }
    const auto hole = static_cast<Hole>(c);
    const Value& v = values[next++];
    if (hole == Hole::string || hole == Hole::scalar) append_sized(whole.codes, v.bytes);
  }
  if (next != values.size()) {
    whole.error = Error(Errc::invalid, "a form has fewer holes than there are values");
    return;
  }
  if (whole.codes.size() > inline_begin) {
    PreparedSegment& s = whole.segments.emplace_back();
    s.stream = kByteStream;
    s.code_begin = inline_begin;
    s.code_size = whole.codes.size() - inline_begin;
    s.content = byte_digest(whole.code(s));
    s.has_code = true;
  }
  next = 0;
  for (const char c : form) {
    if (!is_value_hole(c)) continue;
    const auto hole = static_cast<Hole>(c);
    const Value& v = values[next++];
    if (hole == Hole::string || hole == Hole::scalar) continue;
    PreparedSegment& s = whole.segments.emplace_back();
    if (hole == Hole::text) {
      s.text = &v.bytes;
      s.text_digest = byte_digest(v.bytes);
      whole.text_bytes += v.bytes.size();
    } else if (hole == Hole::tokens) {
      s.ids = &v.tokens;
      s.tokens = static_cast<std::uint32_t>(v.tokens.size());
      s.content = token_digest(v.tokens);
    } else {
      s.stream = kByteStream;
      s.bytes = &v.bytes;
      s.content = byte_digest(v.bytes);
      s.has_code = true;
    }
  }
  out.end = whole.segments.size();
}

Status Stager::check(const Conversation& c, std::string_view form) const {
  std::uint64_t bytes = form.size() + c.id.size() + c.model.size() + c.application.size();
  std::uint64_t largest = 0;
  std::size_t value_count = 0;
  auto count = [&](const std::vector<Value>& values) {
    value_count += values.size();
    for (const Value& v : values) {
      bytes += v.bytes.size() + v.tokens.size() * 4;
      largest = std::max<std::uint64_t>({largest, v.bytes.size(), v.tokens.size()});
    }
  };
  count(c.values);
  for (const Message& m : c.messages) {
    bytes += m.form.size();
    count(m.values);
  }
  if (bytes > conversation_bytes_max_) {
    return Error(Errc::exhausted, "the conversation holds " + std::to_string(bytes) +
                                      " bytes, more than the limit of " +
                                      std::to_string(conversation_bytes_max_));
  }
  if (largest > kSegmentSizeMax) return segment_too_large(largest);
  if (c.messages.size() > kMessagesMax || value_count > kValuesMax) {
    return Error(Errc::exhausted, "the conversation has " + std::to_string(c.messages.size()) +
                                      " messages and " + std::to_string(value_count) +
                                      " values, and may have " + std::to_string(kMessagesMax) +
                                      " and " + std::to_string(kValuesMax));
  }
  // The largest would lie behind every filter, and have no name as text.
  if (c.time_ms < kTimeMsMin || c.time_ms > kTimeMsMax) {
    return Error(Errc::invalid,
                 "the time " + std::to_string(c.time_ms) + " ms is not within the years 1 to 9999");
  }
  for (const Message& m : c.messages) TOKVAULT_TRY(m.check());
  return c.check();
}

Status Stager::check_whole(const Conversation& c, std::string_view form,
                           Tokenizer::Encoder& encoder) const {
  TOKVAULT_TRY(check(c, form));
  for (const Message& m : c.messages) TOKVAULT_TRY(check_token_arrays(m, encoder));
  return {};
}

void Stager::prepare(std::uint32_t tenant, const Conversation& c, Tokenizer::Encoder& encoder,
                     Prepared& out) const {
  out.conversation = &c;
  if (c.form.empty()) out.default_form = form_of(c);
  const std::string_view form = c.form.empty() ? out.default_form : c.form;
  if (Status checked = check_whole(c, form, encoder); !checked) {
    out.error = std::move(checked).error();
    return;
  }
  std::size_t value_count = c.values.size();
  for (const Message& m : c.messages) value_count += m.values.size();
  out.segments.reserve(value_count);
  out.messages.resize(c.messages.size());
  prepare_part(form, c.values, out, out.own);
  for (std::size_t i = 0; i < c.messages.size() && out.error.code() == Errc::ok; ++i) {
    prepare_part(c.messages[i].form, c.messages[i].values, out, out.messages[i]);
  }
  if (out.error.code() == Errc::ok) encode_unknown(tenant, out, encoder);
}

void Stager::encode_unknown(std::uint32_t tenant, Prepared& p, Tokenizer::Encoder& encoder) const {
  std::vector<PreparedSegment*> unknown;
  {
    // Locked for the look-up alone: stage() adds what it finds while others tokenise.
    std::shared_lock lock(mutex_);
    const auto it = indexes_.find(tenant);
    const TenantIndex* index = it == indexes_.end() ? nullptr : &it->second;
    if (index != nullptr) {
      for (const PreparedSegment& s : p.segments) {
        if (s.text != nullptr) index->segments.prefetch_text(s.text_digest);
      }
    }
    for (PreparedSegment& s : p.segments) {
      if (s.has_code || (index != nullptr && find_known(*index, p, s) != nullptr)) continue;
      unknown.push_back(&s);
    }
  }
  for (std::size_t i = 0; i < unknown.size(); ++i) {
    PreparedSegment& s = *unknown[i];
    const std::size_t first = i > kSeenMax ? i - kSeenMax : 0;
    const bool seen =
        s.text != nullptr && std::any_of(unknown.begin() + static_cast<std::ptrdiff_t>(first),
                                         unknown.begin() + static_cast<std::ptrdiff_t>(i),
                                         [&](const PreparedSegment* before) {
                                           return before->text != nullptr &&
                                                  before->text_digest == s.text_digest;
                                         });
    if (!seen) encode(p, s, encoder);
  }
}

// What lies in another file and is too short to be referred to there is stored again.
const KnownSegment* Stager::find_known(const TenantIndex& index, const Prepared& p,
                                       const PreparedSegment& s) const {
  const KnownSegment* const known = s.text != nullptr
                                        ? index.segments.find_text(s.text_digest)
                                        : index.segments.find_content(s.stream, s.content);
  if (known == nullptr || known->file == log_number_) return known;
  const std::uint64_t size = s.stream == kTokenStream ? known->tokens : p.code(s).size();
  return size >= kSharedCodeBytes ? known : nullptr;
}

void Stager::remember(TenantIndex& index, const KnownSegment& known) {
  if (index.segments.size() >= kSegmentsKnownMax) {
    index.segments.keep_file(log_number_);
    if (index.segments.size() >= kSegmentsKnownMax) index.segments.clear();
  }
  index.segments.put(known);
}

Result<std::optional<KnownSegment>> Stager::find_in_packs(TenantIndex& index, std::uint32_t tenant,
                                                          const PreparedSegment& s) {
  for (auto it = state_.packs().rbegin(); it != state_.packs().rend(); ++it) {
    const auto& [number, pack] = *it;
    if (pack->tenant() != tenant || !index.packs_read.insert(number).second) continue;
    for (const Stream stream : {kTokenStream, kByteStream}) {
      auto prints = pack->fingerprints(stream);
      // What is damaged is not found; so its text is stored again.
      if (!prints && prints.code() == Errc::corrupt) continue;
      if (!prints) return std::move(prints).error();
      if (index.fingerprints[stream].size() + (*prints)->size() > kFingerprintsMax) continue;
      for (const auto& f : **prints) index.fingerprints[stream].add(number, f.value, f.segment);
    }
  }
  std::vector<FingerprintIndex::Place> places;
  index.fingerprints[s.stream].find(
      fingerprint(s.content),
      [&](const FingerprintIndex::Place& place) { places.push_back(place); });
  std::vector<Token> tokens;
  for (const FingerprintIndex::Place& place : places) {
    const auto pack = state_.packs().find(place.pack);
    if (pack == state_.packs().end()) continue;  // rewritten since; what is there now is read above
    auto code = pack->second->code(s.stream, place.segment, scratch_);
    if (!code && code.code() == Errc::corrupt) continue;
    if (!code) return std::move(code).error();
    auto digest = segment_digest(*pack->second, s.stream, *code, tokens);
    if (!digest && digest.code() == Errc::corrupt) continue;
    if (!digest) return std::move(digest).error();
    if (*digest != s.content) continue;
    KnownSegment known;
    known.file = place.pack;
    known.number = place.segment;
    known.tokens = s.tokens;
    known.stream = s.stream;
    known.content = s.content;
    return std::optional(known);
  }
  return std::optional<KnownSegment>();
}

Result<SegmentRef> Stager::reference(TenantIndex& index, std::uint32_t tenant, Prepared& p,
                                     PreparedSegment& s, BatchBuilder& batch,
                                     Tokenizer::Encoder& encoder, std::uint64_t& tokens) {
  auto refer_to = [&](const KnownSegment& known) {
    tokens += known.tokens;
    if (known.file == log_number_) return SegmentRef::local(known.number);
    bool is_new = false;
    std::uint32_t& row = index.externals.at(external_key(known.stream, known.content), is_new);
    if (is_new) row = batch.add_external({known.stream, known.content, known.file}).number();
    return SegmentRef::external(row);
  };
  if (const KnownSegment* known = find_known(index, p, s)) return refer_to(*known);
  if (!s.has_code) encode(p, s, encoder);
  TOKVAULT_ASSIGN(const KnownSegment known, find_or_add(index, tenant, p, s, batch));
  return refer_to(known);
}

Result<KnownSegment> Stager::find_or_add(TenantIndex& index, std::uint32_t tenant,
                                         const Prepared& p, const PreparedSegment& s,
                                         BatchBuilder& batch) {
  const std::uint64_t size = s.stream == kTokenStream ? s.tokens : p.code(s).size();
  std::optional<KnownSegment> known;
  if (s.text != nullptr) {
    const KnownSegment* same = index.segments.find_content(s.stream, s.content);
    if (same != nullptr && (same->file == log_number_ || size >= kSharedCodeBytes)) known = *same;
  }
  if (!known && size >= kSharedCodeBytes) {
    TOKVAULT_ASSIGN(known, find_in_packs(index, tenant, s));
  }
  if (!known) {
    const SegmentRef ref = batch.add_segment(s.stream, p.code(s));
    known.emplace();
    known->file = log_number_;
    known->number = ref.number();
    known->tokens = s.tokens;
    known->stream = s.stream;
    known->content = s.content;
  }
  known->has_text = s.text != nullptr;
  known->text = s.text_digest;
  std::unique_lock lock(mutex_);
  remember(index, *known);
  return *known;
}

Result<bool> Stager::store_segment(std::uint32_t tenant, Prepared& p, PreparedSegment& s,
                                   BatchBuilder& batch, Tokenizer::Encoder& encoder) {
  TenantIndex& index = index_of(tenant);
  if (find_known(index, p, s) != nullptr) return false;
  if (!s.has_code) encode(p, s, encoder);
  const std::uint32_t before = batch.counts().segments[s.stream];
  TOKVAULT_TRY(find_or_add(index, tenant, p, s, batch));
  return batch.counts().segments[s.stream] != before;
}

TenantIndex& Stager::index_of(std::uint32_t tenant) {
  auto known = indexes_.find(tenant);
  if (known == indexes_.end()) {
    std::unique_lock lock(mutex_);
    known = indexes_.try_emplace(tenant).first;
  }
  return known->second;
}

TableSize Stager::size_of(const Prepared& p, std::string_view id) {
  // It may refer to each of its segments here, and have it in either stream or in another file.
  const std::uint64_t segments = p.segments.size();
  TableSize size{.rows = 1,
                 .nodes = p.messages.size(),
                 .references = segments,
                 .externals = segments,
                 .segments = {segments, segments},
                 .forms = p.messages.size() + 1,
                 .string_bytes = id.size() + p.own.form.size() + p.conversation->model.size() +
                                 p.conversation->application.size()};
  for (const PreparedPart& part : p.messages) size.string_bytes += part.form.size();
  return size;
}

Result<std::uint64_t> Stager::stage(std::uint32_t tenant, Prepared& p, std::string_view id,
                                    std::int64_t time_ms, std::uint64_t first_sequence,
                                    BatchBuilder& batch, Tokenizer::Encoder& encoder) {
  TenantIndex* const index = &index_of(tenant);
  Row row;
  row.time_ms = time_ms;
  row.first_sequence = first_sequence;
  row.text_bytes = p.text_bytes;
  row.model = intern(index->models, p.conversation->model,
                     [&](std::string_view n) { return batch.add_model(n); });
  row.application = intern(index->applications, p.conversation->application,
                           [&](std::string_view n) { return batch.add_application(n); });
  std::uint32_t form = 0;
  bool is_new = false;
  auto take = [&](const PreparedPart& part) -> Status {
    std::uint32_t& number = index->forms.at(part.form, is_new);
    if (is_new) {
      number = batch.add_form(part.form);
      index->form_infos.push_back(analyse_form(part.form));
    }
    form = number;
    refs_.clear();
    for (std::size_t i = part.begin; i < part.end; ++i) {
      TOKVAULT_ASSIGN(const SegmentRef ref,
                      reference(*index, tenant, p, p.segments[i], batch, encoder, row.tokens));
      refs_.push_back(ref);
    }
    return {};
  };
  for (const PreparedPart& message : p.messages) {
    TOKVAULT_TRY(take(message));
    node_key(row.leaf, form, refs_, key_);
    std::uint32_t& node = index->nodes.at(key_, is_new);
    if (is_new) node = batch.add_node(row.leaf, form, index->form_infos[form], refs_);
    row.leaf = node;
  }
  TOKVAULT_TRY(take(p.own));
  row.form = form;
  return batch.add_conversation(id, row, index->form_infos[form], refs_);
}

}  // namespace tokvault
