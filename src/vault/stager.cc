#include "vault/stager.h"

#include <algorithm>
#include <mutex>

#include "base/bytes.h"
#include "base/checksum.h"
#include "format/pack.h"
#include "vault/pack_file.h"

namespace tokvault {
namespace {

// Texts of one conversation that are looked through for a repetition inside it.
constexpr std::size_t kSeenMax = 64;

// Runs of segments in the index of packs' fingerprints, at about 40 bytes each.
constexpr std::size_t kFingerprintsMax = 2'000'000;

std::string node_key(std::uint32_t parent, std::uint32_t form,
                     const std::vector<SegmentRef>& refs) {
  std::string key;
  append_varint(key, parent);
  append_varint(key, form);
  for (const SegmentRef& r : refs) append_varint(key, r.raw);
  return key;
}

std::string external_key(Stream stream, const ShortDigest& digest) {
  std::string key(1, static_cast<char>(stream));
  return key.append(reinterpret_cast<const char*>(digest.data()), digest.size());
}

std::uint32_t intern(std::unordered_map<std::string, std::uint32_t>& index, std::string_view name,
                     auto add) {
  if (name.empty()) return 0;
  const auto [it, is_new] = index.try_emplace(std::string(name), 0);
  if (is_new) it->second = add(name);
  return it->second;
}

// Arrays with an element for each token fit the tokens of the content, as given or as the vault's
// tokenizer makes them of its text.
Status check_token_arrays(const Message& m, Tokenizer::Encoder& encoder) {
  if (m.form.find(static_cast<char>(Hole::binary)) == std::string::npos) return {};
  TOKVAULT_ASSIGN(const auto arrays, m.token_arrays());
  if (arrays.empty()) return {};
  std::vector<Token> tokens;
  const auto given = std::find_if(m.values.begin(), m.values.end(),
                                  [](const Value& v) { return !v.tokens.empty(); });
  if (given != m.values.end()) {
    tokens = given->tokens;
  } else {
    encoder.encode(m.text(), tokens);
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

SegmentKey::Domain content_domain(Stream stream) {
  return stream == kTokenStream ? SegmentKey::Domain::tokens : SegmentKey::Domain::bytes;
}

}  // namespace

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
  for (auto& [tenant, index] : indexes_) {
    index.models.clear();
    index.applications.clear();
    index.forms.clear();
    index.nodes.clear();
    index.externals.clear();
    index.form_infos.clear();
    if (index.segments.size() > kSegmentsKnownMax / 2) index.segments.clear();
  }
  std::vector<SegmentRef> refs;
  std::vector<Token> tokens;
  for (const auto& [tenant, part] : log.parts()) {
    TenantIndex& index = indexes_[tenant];
    const Tables& t = part->table();
    for (std::uint32_t i = 1; i < t.models.size(); ++i) index.models[std::string(t.models[i])] = i;
    for (std::uint32_t i = 1; i < t.applications.size(); ++i) {
      index.applications[std::string(t.applications[i])] = i;
    }
    for (std::uint32_t i = 0; i < t.forms.size(); ++i) index.forms[std::string(t.forms[i])] = i;
    index.form_infos = t.form_infos;
    for (std::uint32_t i = 0; i < t.nodes.size(); ++i) {
      const Node& n = t.nodes[i];
      refs.assign(t.node_refs(n), t.node_refs(n) + t.form_infos[n.form].ref_count());
      index.nodes.try_emplace(node_key(n.parent, n.form, refs), i);
    }
    for (std::uint32_t i = 0; i < t.externals.size(); ++i) {
      index.externals[external_key(t.externals[i].stream, t.externals[i].digest)] = i;
    }
    for (const Stream s : {kTokenStream, kByteStream}) {
      for (std::uint32_t i = 0; i < t.segment_counts[s]; ++i) {
        TOKVAULT_ASSIGN(const ByteView code, part->code(s, i, scratch_));
        TOKVAULT_ASSIGN(const ShortDigest content, segment_digest(*part, s, code, tokens));
        const std::uint64_t count = s == kTokenStream ? tokens.size() : 0;
        remember(index, {content, content_domain(s)}, {log_number_, i, count, s, content});
      }
    }
  }
  return {};
}

void Stager::forget_other_files() {
  std::unique_lock lock(mutex_);
  for (auto& [tenant, index] : indexes_) {
    std::erase_if(index.segments, [&](const auto& e) { return e.second.file != log_number_; });
    for (auto& prints : index.fingerprints) prints.clear();
    index.packs_read.clear();
  }
}

void Stager::tokenise(PreparedSegment& s, Tokenizer::Encoder& encoder) const {
  thread_local std::vector<Token> tokens;
  tokens.clear();
  encoder.encode(*s.text, tokens);
  s.tokens = tokens.size();
  s.content = token_digest(tokens);
  s.code.clear();
  TokenMap().encode(tokens, s.code);
  s.has_code = true;
}

void Stager::prepare_part(const TenantIndex* index, std::string_view form,
                          const std::vector<Value>& values, Tokenizer::Encoder& encoder,
                          std::vector<SegmentKey>& seen, Prepared& whole, PreparedPart& out) const {
  out.form = form;
  Buffer inline_values;
  bool has_inline = false;
  std::size_t next = 0;
  out.segments.reserve(values.size());
  for (char c : form) {
    if (!is_value_hole(c)) continue;
    const auto hole = static_cast<Hole>(c);
    if (next == values.size()) {
      whole.error = Error(Errc::invalid, "a form has more holes than there are values");
      return;
    }
    const Value& v = values[next++];
    if (hole == Hole::string || hole == Hole::scalar) {
      has_inline = true;
      append_sized(inline_values, v.bytes);
      continue;
    }
    PreparedSegment& s = out.segments.emplace_back();
    if (hole == Hole::tokens) {
      s.key = {token_digest(v.tokens), SegmentKey::Domain::tokens};
      s.content = s.key.digest;
      s.tokens = v.tokens.size();
      TokenMap().encode(v.tokens, s.code);
      s.has_code = true;
    } else if (hole == Hole::text) {
      s.key = {byte_digest(v.bytes), SegmentKey::Domain::text};
      s.text = &v.bytes;
      whole.text_bytes += v.bytes.size();
      // Locked for the look-up alone: stage() adds what it finds while others tokenise.
      const bool known = index != nullptr && [&] {
        std::shared_lock lock(mutex_);
        const auto it = index->segments.find(s.key);
        // What lies in another file and is too short to be referred to there is stored again.
        return it != index->segments.end() &&
               (it->second.file == log_number_ || it->second.tokens >= kSharedCodeBytes);
      }();
      if (!known && std::find(seen.begin(), seen.end(), s.key) == seen.end()) {
        tokenise(s, encoder);
        if (seen.size() < kSeenMax) seen.push_back(s.key);
      }
    } else {
      s.stream = kByteStream;
      s.key = {byte_digest(v.bytes), SegmentKey::Domain::bytes};
      s.content = s.key.digest;
      s.code = v.bytes;
      s.has_code = true;
    }
  }
  if (next != values.size()) {
    whole.error = Error(Errc::invalid, "a form has fewer holes than there are values");
    return;
  }
  if (has_inline) {
    PreparedSegment s;
    s.stream = kByteStream;
    s.key = {byte_digest(inline_values), SegmentKey::Domain::bytes};
    s.content = s.key.digest;
    s.code = std::move(inline_values);
    s.has_code = true;
    out.segments.insert(out.segments.begin(), std::move(s));
  }
}

void Stager::prepare(std::uint32_t tenant, const Conversation& c, Tokenizer::Encoder& encoder,
                     Prepared& out) const {
  out.conversation = &c;
  out.form = form_of(c);
  std::uint64_t bytes = out.form.size() + c.id.size() + c.model.size() + c.application.size();
  auto count = [&](const std::vector<Value>& values) {
    for (const Value& v : values) bytes += v.bytes.size() + v.tokens.size() * 4;
  };
  count(c.values);
  for (const Message& m : c.messages) {
    bytes += m.form.size();
    count(m.values);
  }
  if (bytes > conversation_bytes_max_) {
    out.error = Error(Errc::exhausted, "the conversation holds " + std::to_string(bytes) +
                                           " bytes, more than the limit of " +
                                           std::to_string(conversation_bytes_max_));
    return;
  }
  if (Status form = c.check(); !form) {
    out.error = std::move(form).error();
    return;
  }
  for (const Message& m : c.messages) {
    Status status = m.check();
    if (status) status = check_token_arrays(m, encoder);
    if (status) continue;
    out.error = std::move(status).error();
    return;
  }
  std::vector<SegmentKey> seen;
  const TenantIndex* index = nullptr;
  {
    std::shared_lock lock(mutex_);
    if (const auto it = indexes_.find(tenant); it != indexes_.end()) index = &it->second;
  }
  prepare_part(index, out.form, c.values, encoder, seen, out, out.own);
  out.messages.resize(c.messages.size());
  for (std::size_t i = 0; i < c.messages.size() && out.error.code() == Errc::ok; ++i) {
    prepare_part(index, c.messages[i].form, c.messages[i].values, encoder, seen, out,
                 out.messages[i]);
  }
}

void Stager::remember(TenantIndex& index, const SegmentKey& key, const TenantIndex::Known& known) {
  if (index.segments.size() >= kSegmentsKnownMax) {
    std::erase_if(index.segments, [&](const auto& e) { return e.second.file != log_number_; });
    if (index.segments.size() >= kSegmentsKnownMax) index.segments.clear();
  }
  index.segments.insert_or_assign(key, known);
}

Result<std::optional<TenantIndex::Known>> Stager::find_in_packs(TenantIndex& index,
                                                                std::uint32_t tenant,
                                                                const PreparedSegment& s) {
  for (auto it = state_.packs().rbegin(); it != state_.packs().rend(); ++it) {
    const auto& [number, pack] = *it;
    if (pack->tenant() != tenant || index.packs_read.contains(number)) continue;
    index.packs_read[number] = true;
    for (const Stream stream : {kTokenStream, kByteStream}) {
      TOKVAULT_ASSIGN(const auto prints, pack->fingerprints(stream));
      if (index.fingerprints[stream].size() + prints->size() > kFingerprintsMax) continue;
      for (const auto& f : *prints) {
        index.fingerprints[stream].emplace(f.value, TenantIndex::Place{number, f.segment});
      }
    }
  }
  const auto [begin, end] = index.fingerprints[s.stream].equal_range(fingerprint(s.content));
  std::vector<Token> tokens;
  for (auto it = begin; it != end; ++it) {
    const auto pack = state_.packs().find(it->second.pack);
    if (pack == state_.packs().end()) continue;  // rewritten since; what is there now is read above
    TOKVAULT_ASSIGN(const ByteView code,
                    pack->second->code(s.stream, it->second.segment, scratch_));
    TOKVAULT_ASSIGN(const ShortDigest digest,
                    segment_digest(*pack->second, s.stream, code, tokens));
    if (digest != s.content) continue;
    const std::uint64_t count = s.stream == kTokenStream ? tokens.size() : 0;
    return std::optional(
        TenantIndex::Known{it->second.pack, it->second.segment, count, s.stream, s.content});
  }
  return std::optional<TenantIndex::Known>();
}

Result<SegmentRef> Stager::reference(TenantIndex& index, std::uint32_t tenant, PreparedSegment& s,
                                     BatchBuilder& batch, Tokenizer::Encoder& encoder,
                                     std::uint64_t& tokens) {
  auto refer_to = [&](const TenantIndex::Known& known) {
    tokens += known.tokens;
    if (known.file == log_number_) return SegmentRef::local(known.number);
    const auto [it, is_new] =
        index.externals.try_emplace(external_key(known.stream, known.content), 0);
    if (is_new) {
      it->second = batch.add_external({known.stream, known.content, known.file}).number();
    }
    return SegmentRef::external(it->second);
  };
  auto shareable = [&](const TenantIndex::Known& known, std::uint64_t size) {
    return known.file == log_number_ || size >= kSharedCodeBytes;
  };
  if (const auto it = index.segments.find(s.key); it != index.segments.end()) {
    const std::uint64_t size = s.stream == kTokenStream ? it->second.tokens : s.code.size();
    if (shareable(it->second, size)) return refer_to(it->second);
  }
  if (!s.has_code) tokenise(s, encoder);
  const SegmentKey content_key{s.content, content_domain(s.stream)};
  const std::uint64_t size = s.stream == kTokenStream ? s.tokens : s.code.size();
  std::optional<TenantIndex::Known> known;
  if (const auto it = index.segments.find(content_key);
      it != index.segments.end() && shareable(it->second, size)) {
    known = it->second;
  } else if (size >= kSharedCodeBytes) {
    TOKVAULT_ASSIGN(known, find_in_packs(index, tenant, s));
  }
  if (!known) {
    const SegmentRef ref = batch.add_segment(s.stream, s.code);
    known = TenantIndex::Known{log_number_, ref.number(), s.tokens, s.stream, s.content};
  }
  std::unique_lock lock(mutex_);
  remember(index, content_key, *known);
  if (s.key != content_key) remember(index, s.key, *known);
  lock.unlock();
  return refer_to(*known);
}

Result<std::uint64_t> Stager::stage(std::uint32_t tenant, Prepared& p, std::string_view id,
                                    std::int64_t time_ms, std::uint64_t first_sequence,
                                    BatchBuilder& batch, Tokenizer::Encoder& encoder) {
  TenantIndex* index = nullptr;
  {
    std::unique_lock lock(mutex_);
    index = &indexes_[tenant];
  }
  Row row;
  row.time_ms = time_ms;
  row.first_sequence = first_sequence;
  row.text_bytes = p.text_bytes;
  row.model = intern(index->models, p.conversation->model,
                     [&](std::string_view n) { return batch.add_model(n); });
  row.application = intern(index->applications, p.conversation->application,
                           [&](std::string_view n) { return batch.add_application(n); });
  std::vector<SegmentRef> refs;
  std::uint32_t form = 0;
  auto take = [&](PreparedPart& part) -> Status {
    const auto [it, is_new] = index->forms.try_emplace(std::string(part.form), 0);
    if (is_new) {
      it->second = batch.add_form(part.form);
      index->form_infos.push_back(analyse_form(part.form));
    }
    form = it->second;
    refs.clear();
    for (PreparedSegment& s : part.segments) {
      TOKVAULT_ASSIGN(const SegmentRef ref,
                      reference(*index, tenant, s, batch, encoder, row.tokens));
      refs.push_back(ref);
    }
    return {};
  };
  for (PreparedPart& message : p.messages) {
    TOKVAULT_TRY(take(message));
    const auto [it, is_new] = index->nodes.try_emplace(node_key(row.leaf, form, refs), 0);
    if (is_new) it->second = batch.add_node(row.leaf, form, index->form_infos[form], refs);
    row.leaf = it->second;
  }
  TOKVAULT_TRY(take(p.own));
  row.form = form;
  return batch.add_conversation(id, row, index->form_infos[form], refs);
}

}  // namespace tokvault
