#include "vault/pack_builder.h"

#include <algorithm>
#include <future>

#include "base/background.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/zstd.h"
#include "codec/token_lz.h"
#include "codec/token_model.h"
#include "dedup/base_choice.h"
#include "format/id_filter.h"
#include "tokvault/backend.h"
#include "vault/cache.h"
#include "vault/pack_file.h"

namespace tokvault {
namespace {

// Larger segments do not go into a dictionary that cannot hold all of them.
constexpr std::uint64_t kSampledCodeBytesMax = 128u << 10;

// What the token LZ may cost a reader, in symbols of some 30 ns: at `balanced` half of the 5 ms
// that a first get may take, at `dense` half a second, which no text of one dictionary reaches
// (docs/decisions/0016-token-lz.md).
constexpr std::uint64_t kBalancedLzWork = 80'000;
constexpr std::uint64_t kDenseLzWork = 16'000'000;

// In another thread; where none can be had, who waits for the result makes it.
constexpr auto kBeside = std::launch::async | std::launch::deferred;

// To name an artifact takes a few bytes of the footer, and holds it.
constexpr std::uint64_t kNameBytes = 16;

std::string node_key(std::uint32_t parent, std::uint32_t form,
                     const std::vector<SegmentRef>& refs) {
  std::string key;
  append_varint(key, parent);
  append_varint(key, form);
  for (const SegmentRef& r : refs) append_varint(key, r.raw);
  return key;
}

std::uint64_t checksum_of(const std::vector<Token>& tokens) {
  return checksum64(ByteView(reinterpret_cast<const char*>(tokens.data()), tokens.size() * 4));
}

// As much of what has passed as the dictionary is of the whole.
std::vector<bool> even_sample(const std::vector<std::uint32_t>& sizes, std::uint64_t total) {
  std::vector<bool> chosen;
  std::uint64_t seen = 0;
  std::uint64_t taken = 0;
  for (const std::uint32_t size : sizes) {
    seen += size;
    const bool take =
        size <= kSampledCodeBytesMax && taken + size <= seen * kDictionaryTextBytes / total;
    if (take) taken += size;
    chosen.push_back(take);
  }
  return chosen;
}

Extent append_part(Buffer& file, ByteView bytes, std::uint64_t raw_size) {
  const Extent e{file.size(), bytes.size(), raw_size, checksum32(bytes)};
  file.append(bytes);
  return e;
}

}  // namespace

// The dictionary is most of a small pack and is encoded once; a block is encoded against it, where
// level 12 is within 2 % of 19 at ten times the speed. Sealing at `balanced` runs beside an import
// and takes lower levels: compaction wins the 2 to 4 % back.
PackBuilder::Levels PackBuilder::levels_of(Level level, PackPurpose purpose) {
  switch (level) {
    case Level::fast:
      return {3, 3, 3, 0, false};
    case Level::balanced:
      break;
    case Level::dense:
      return {22, 19, 22, kDenseLzWork, false};
  }
  if (purpose != PackPurpose::compact) return {15, 9, 12, 0, false};
  return {19, 12, 19, kBalancedLzWork, true};
}

PackBuilder::PackBuilder(std::shared_ptr<const Tokenizer> tokenizer, SegmentUnion* merged,
                         std::uint64_t number)
    : merged_(merged), number_(number), tokenizer_(std::move(tokenizer)) {
  if (merged_ != nullptr) {
    for (const Stream s : {kTokenStream, kByteStream}) merged_here_[s].resize(merged_->size(s));
  }
  model_index_[""] = 0;
  application_index_[""] = 0;
}

PackBuilder::Remap& PackBuilder::remap_of(const Source& source, const Tables& tables) {
  auto [it, is_new] = remaps_.try_emplace(&source);
  Remap& r = it->second;
  if (is_new) {
    for (std::size_t s = 0; s < kStreams; ++s) r.segments[s].resize(tables.segment_counts[s]);
    r.nodes.resize(tables.nodes.size());
    r.forms.resize(tables.forms.size());
    r.models.resize(tables.models.size());
    r.applications.resize(tables.applications.size());
  }
  return r;
}

std::uint32_t PackBuilder::intern(StringTable& table,
                                  std::unordered_map<std::string, std::uint32_t>& index,
                                  std::string_view text) {
  const auto [it, is_new] =
      index.try_emplace(std::string(text), static_cast<std::uint32_t>(table.size()));
  if (is_new) table.add(text);
  return it->second;
}

std::uint32_t PackBuilder::form_number(Remap& remap, const Tables& tables, std::uint32_t form) {
  std::uint32_t& number = remap.forms[form];
  if (number == 0) {
    const auto [it, is_new] = form_index_.try_emplace(
        std::string(tables.forms[form]), static_cast<std::uint32_t>(tables_.forms.size()));
    if (is_new) tables_.add_form(tables.forms[form]);
    number = it->second + 1;
  }
  return number - 1;
}

SegmentRef PackBuilder::local_ref(const Source& source, Remap& remap, Stream stream,
                                  std::uint32_t number, bool is_text) {
  if (merged_ != nullptr) {
    return merged_ref(stream, merged_->id_of(source, stream, number), is_text);
  }
  std::uint32_t& here = remap.segments[stream][number];
  if (here == 0) {
    origins_[stream].push_back({&source, number, is_text});
    here = ++tables_.segment_counts[stream];
  }
  if (is_text) origins_[stream][here - 1].is_text = true;
  return SegmentRef::local(here - 1);
}

// Here, if it is here already or nowhere else; else in the pack of the rewrite that has it.
SegmentRef PackBuilder::merged_ref(Stream stream, std::uint32_t id, bool is_text) {
  std::uint32_t& here = merged_here_[stream][id];
  if (here == 0) {
    SegmentUnion::Segment& s = merged_->at(stream, id);
    if (SegmentUnion::is_shareable(s)) {
      if (s.home != 0 && s.home != number_) return external_ref({stream, s.digest, s.home});
      s.home = number_;
    }
    origins_[stream].push_back({s.source, s.number, is_text});
    here = ++tables_.segment_counts[stream];
  }
  if (is_text) origins_[stream][here - 1].is_text = true;
  return SegmentRef::local(here - 1);
}

SegmentRef PackBuilder::external_ref(const External& e) {
  std::string key(1, static_cast<char>(e.stream));
  key.append(reinterpret_cast<const char*>(e.digest.data()), e.digest.size());
  const auto [it, is_new] = external_index_.try_emplace(
      std::move(key), static_cast<std::uint32_t>(tables_.externals.size()));
  if (is_new) tables_.externals.push_back(e);
  return SegmentRef::external(it->second);
}

void PackBuilder::add_refs(const Source& source, const Tables& tables, Remap& remap,
                           std::uint32_t form, std::uint32_t begin, std::vector<SegmentRef>& out) {
  out.clear();
  const FormInfo& info = tables.form_infos[form];
  for (std::size_t i = 0; i < info.ref_count(); ++i) {
    const Stream stream = info.stream_of(i);
    const SegmentRef ref = tables.refs[begin + i];
    const std::size_t hole = i - (info.has_inline ? 1 : 0);
    const bool is_text = !(info.has_inline && i == 0) && info.segment_holes[hole] == Hole::text;
    if (!ref.is_external()) {
      out.push_back(local_ref(source, remap, stream, ref.number(), is_text));
      continue;
    }
    const External& e = tables.externals[ref.number()];
    const auto id = merged_ == nullptr ? std::nullopt : merged_->find(stream, e.digest);
    out.push_back(id ? merged_ref(stream, *id, is_text) : external_ref(e));
  }
}

Status PackBuilder::add_row(const Source& source, const Tables& tables, std::uint32_t number) {
  Remap& remap = remap_of(source, tables);
  const Row& from = tables.rows[number];
  Row row = from;
  auto string_number = [&](std::vector<std::uint32_t>& map, std::uint32_t n,
                           const StringTable& source_table, StringTable& table, auto& index) {
    if (map[n] == 0) map[n] = intern(table, index, source_table[n]) + 1;
    return map[n] - 1;
  };
  row.model = string_number(remap.models, from.model, tables.models, tables_.models, model_index_);
  row.application = string_number(remap.applications, from.application, tables.applications,
                                  tables_.applications, application_index_);
  std::vector<SegmentRef> refs;
  std::uint32_t parent = kNoNode;
  for (std::uint32_t n : tables.path(from)) {
    std::uint32_t& here = remap.nodes[n];
    if (here == 0) {
      const std::uint32_t form = form_number(remap, tables, tables.nodes[n].form);
      add_refs(source, tables, remap, tables.nodes[n].form, tables.nodes[n].refs_begin, refs);
      const auto [it, is_new] = node_index_.try_emplace(
          node_key(parent, form, refs), static_cast<std::uint32_t>(tables_.nodes.size()));
      if (is_new) {
        const std::uint32_t depth = parent == kNoNode ? 1 : tables_.nodes[parent].depth + 1;
        tables_.nodes.push_back(
            {parent, form, static_cast<std::uint32_t>(tables_.refs.size()), depth});
        tables_.refs.insert(tables_.refs.end(), refs.begin(), refs.end());
      }
      here = it->second + 1;
    }
    parent = here - 1;
  }
  row.leaf = parent;
  row.nodes_end = static_cast<std::uint32_t>(tables_.nodes.size());
  row.form = form_number(remap, tables, from.form);
  add_refs(source, tables, remap, from.form, from.refs_begin, refs);
  row.refs_begin = static_cast<std::uint32_t>(tables_.refs.size());
  tables_.refs.insert(tables_.refs.end(), refs.begin(), refs.end());
  tables_.ids.add(tables.ids[number]);
  tables_.rows.push_back(row);
  return {};
}

Status PackBuilder::add_segment(const Source& source, Stream stream, std::uint32_t number) {
  TOKVAULT_ASSIGN(auto tables, source.tables());
  Remap& remap = remap_of(source, *tables);
  const bool is_here = merged_ == nullptr
                           ? remap.segments[stream][number] != 0
                           : merged_here_[stream][merged_->id_of(source, stream, number)] != 0;
  if (is_here) return {};
  ++orphans_;
  local_ref(source, remap, stream, number, true);
  return {};
}

Status PackBuilder::count_tokens() {
  std::vector<std::uint64_t> counts;
  std::unordered_map<Token, std::uint64_t> rare;
  std::vector<Token> tokens;
  Scratch scratch;
  constexpr Token kDense = 1u << 19;
  constexpr std::uint32_t kUnknown = ~0u;
  std::vector<std::uint32_t> sizes;  // of tokens as text
  for (const Origin& o : origins_[kTokenStream]) {
    TOKVAULT_TRY(check_stop(stop_));
    TOKVAULT_ASSIGN(const ByteView code, o.source->code(kTokenStream, o.number, scratch));
    tokens.clear();
    TOKVAULT_TRY(o.source->decode_tokens(code, tokens));
    footer_.tokens_stored += tokens.size();
    std::uint64_t text_size = 0;
    for (Token t : tokens) {
      if (t >= kDense) {
        ++rare[t];
        if (o.is_text) text_size += tokenizer_->token_bytes(t).size();
        continue;
      }
      if (t >= counts.size()) {
        counts.resize(std::max<std::size_t>(t + 1, 2 * counts.size()));
        sizes.resize(counts.size(), kUnknown);
      }
      ++counts[t];
      if (!o.is_text) continue;
      if (sizes[t] == kUnknown) {
        sizes[t] = static_cast<std::uint32_t>(tokenizer_->token_bytes(t).size());
      }
      text_size += sizes[t];
    }
    footer_.segment_text_bytes += text_size;
    text_sizes_.push_back(text_size);
  }
  footer_.node_text_bytes = node_text_bytes(tables_, text_sizes_);
  std::vector<std::pair<Token, std::uint64_t>> pairs(rare.begin(), rare.end());
  for (Token t = 0; t < counts.size(); ++t) {
    if (counts[t] > 0) pairs.push_back({t, counts[t]});
  }
  map_ = TokenMap::by_frequency(std::move(pairs), CodeBytes::below_ff);
  return {};
}

Buffer PackBuilder::StreamText::ended(std::size_t begin, std::size_t end, std::uint64_t at) const {
  Buffer out;
  for (std::size_t i = begin; i < end; ++i) {
    out.append(text, at, table.code_sizes[i]);
    out.push_back(kSegmentEnd);
    at += table.code_sizes[i];
  }
  return out;
}

Status PackBuilder::encode_stream(Stream stream, const Levels& levels, Level level, Buffer& file) {
  PackStream& out = footer_.streams[stream];
  StreamText all;
  std::vector<Token> tokens;
  Scratch scratch;
  // A token has a code of at least one byte, and of three at most, nearly always.
  std::optional<DictionaryChoice> choice;
  if (stream == kTokenStream && 3 * footer_.tokens_stored > kDictionaryTextBytes) {
    choice.emplace(footer_.tokens_stored);
  }
  for (Origin& o : origins_[stream]) {
    TOKVAULT_TRY(check_stop(stop_));
    TOKVAULT_ASSIGN(const ByteView code, o.source->code(stream, o.number, scratch));
    const std::size_t begin = all.text.size();
    if (stream == kTokenStream) {
      tokens.clear();
      TOKVAULT_TRY(o.source->decode_tokens(code, tokens));
      map_.encode(tokens, all.text);
      o.checksum = checksum_of(tokens);
    } else {
      all.text.append(code);
      o.checksum = checksum64(code);
      all.can_end = all.can_end && code.find(kSegmentEnd) == ByteView::npos;
    }
    const std::size_t size = all.text.size() - begin;
    all.table.code_sizes.push_back(static_cast<std::uint32_t>(size));
    if (choice) choice->add(tokens, static_cast<std::uint32_t>(size));
    if (size >= kSharedCodeBytes) {
      const ShortDigest digest = stream == kTokenStream
                                     ? token_digest(tokens)
                                     : byte_digest(ByteView(all.text).substr(begin));
      all.table.fingerprints.push_back(fingerprint(digest));
    }
  }
  tokens = std::vector<Token>();  // of a very large segment more than its text
  out.text_bytes = all.text.size();
  const std::size_t before = file.size();
  const bool is_one_text = all.can_end && all.text.size() <= kFingerprintlessTextBytes;
  if (all.can_end && level == Level::dense && !all.table.code_sizes.empty() &&
      all.ended_size() <= kModelTextBytesMax) {
    TOKVAULT_TRY(encode_with_model(stream, all, {}, levels, file));
    return is_one_text
               ? improve_one_text(stream, all, levels, level, before, file)
               : improve_blocks(stream, all, choice ? &*choice : nullptr, levels, before, file);
  }
  if (is_one_text) {
    out.ended = true;
    if (all.table.code_sizes.empty()) return {};
    const Buffer ended = all.ended(0, all.table.code_sizes.size(), 0);
    TOKVAULT_ASSIGN(const Buffer frame, zstd_compress(ended, levels.dictionary, stop_));
    out.dictionary = append_part(file, frame, ended.size());
    return improve_one_text(stream, all, levels, level, before, file);
  }
  TOKVAULT_TRY(encode_with_dictionary(stream, all, choice ? &*choice : nullptr, levels, file));
  return levels.tries_small_model && stream == kTokenStream
             ? try_small_model(all, levels, before, file)
             : Status();
}

// Told by zstd at a fast level: coding the text with each of them to find out would take as long as
// all the rest.
Result<PackBuilder::History> PackBuilder::choose_history(ByteView text) const {
  constexpr int kFastLevel = 3;
  History best;
  if (artifacts_.empty()) return best;
  TOKVAULT_ASSIGN(const Buffer alone, zstd_compress(text, kFastLevel, stop_));
  std::size_t least = alone.size();
  for (const auto& artifact : artifacts_) {
    Buffer history;
    map_.encode(artifact->tokens, history);
    TOKVAULT_ASSIGN(const Buffer frame, zstd_compress(text, kFastLevel, stop_, history));
    if (frame.size() >= least) continue;
    least = frame.size();
    best = {artifact->number, std::move(history)};
  }
  return best;
}

Result<std::vector<std::uint64_t>> PackBuilder::try_artifacts(
    std::span<const std::shared_ptr<const ArtifactTokens>> artifacts) {
  // Faster than what packs are coded with, and near enough: of seven corpora in packs of 512 KB it
  // promised 47 KB less where 43 came of it.
  constexpr int kTrialLevel = 9;
  std::vector<std::uint64_t> sizes;
  TOKVAULT_TRY(count_tokens());
  Buffer ended;
  Scratch scratch;
  std::vector<Token> tokens;
  for (const Origin& o : origins_[kTokenStream]) {
    TOKVAULT_TRY(check_stop(stop_));
    TOKVAULT_ASSIGN(const ByteView code, o.source->code(kTokenStream, o.number, scratch));
    tokens.clear();
    TOKVAULT_TRY(o.source->decode_tokens(code, tokens));
    map_.encode(tokens, ended);
    ended.push_back(kSegmentEnd);
  }
  if (ended.size() - origins_[kTokenStream].size() > kFingerprintlessTextBytes) return sizes;
  TOKVAULT_ASSIGN(const Buffer alone, zstd_compress(ended, kTrialLevel, stop_));
  sizes.push_back(alone.size());
  for (const auto& artifact : artifacts) {
    Buffer history;
    map_.encode(artifact->tokens, history);
    TOKVAULT_ASSIGN(const Buffer frame, zstd_compress(ended, kTrialLevel, stop_, history));
    sizes.push_back(frame.size());
  }
  return sizes;
}

// Where there is nothing to foresee, as in digits and base64, or only by counting, a model may lose
// to zstd. Of much text a quick code tells, which is rarely a sixth larger than that of all effort.
Result<bool> PackBuilder::may_zstd_win(ByteView text, std::size_t coded_size) const {
  constexpr std::size_t kTriedBytes = 1u << 20;
  constexpr int kTrialLevel = 9;
  if (text.size() <= kTriedBytes) return true;
  TOKVAULT_ASSIGN(const Buffer quick, zstd_compress(text, kTrialLevel, stop_));
  return quick.size() - quick.size() / 6 < coded_size;
}

Status PackBuilder::replace_if_smaller(Stream stream, std::size_t before, std::size_t below,
                                       Buffer& file, const std::function<Status()>& encode) {
  PackStream other = std::move(footer_.streams[stream]);
  const Buffer code = file.substr(before);
  file.resize(before);
  footer_.streams[stream] = PackStream();
  footer_.streams[stream].text_bytes = other.text_bytes;
  TOKVAULT_TRY(encode());
  const std::size_t size = file.size() - before;
  if (size > 0 && size < below) return {};
  footer_.streams[stream] = std::move(other);
  file.replace(before, size, code);
  return {};
}

Status PackBuilder::improve_blocks(Stream stream, StreamText& all, DictionaryChoice* choice,
                                   const Levels& levels, std::size_t before, Buffer& file) {
  const std::size_t now = file.size() - before;
  TOKVAULT_ASSIGN(const bool may_win, may_zstd_win(all.text, now));
  if (may_win) {
    TOKVAULT_TRY(replace_if_smaller(stream, before, now, file, [&] {
      return encode_with_dictionary(stream, all, choice, levels, file);
    }));
  }
  if (stream != kTokenStream || footer_.streams[stream].codec != PackCodec::token_model) return {};
  const std::size_t without = file.size();
  TOKVAULT_ASSIGN(const History history, choose_history(all.text));
  TOKVAULT_TRY(learn_from_artifact(stream, all, history, levels, before, file));
  artifact_saving_ = without - file.size();
  return {};
}

Status PackBuilder::improve_one_text(Stream stream, const StreamText& all, const Levels& levels,
                                     Level level, std::size_t before, Buffer& file) {
  const Buffer ended = all.ended(0, all.table.code_sizes.size(), 0);
  if (level == Level::dense) {
    TOKVAULT_ASSIGN(const bool may_win, may_zstd_win(ended, file.size() - before));
    if (may_win) {
      TOKVAULT_ASSIGN(const Buffer frame, zstd_compress(ended, levels.dictionary, stop_));
      take_if_smaller(stream, PackCodec::zstd, frame, ended.size(), 0, before, file);
    }
  }
  TOKVAULT_TRY(try_token_lz(stream, ended, {}, levels, before, file));
  if (stream != kTokenStream) return {};
  if (levels.tries_small_model) {
    TOKVAULT_TRY(try_small_model(all, levels, before, file));
    if (footer_.streams[stream].codec == PackCodec::token_model) return {};
  }
  const std::size_t without = file.size();
  TOKVAULT_TRY(copy_from_artifact(stream, all, ended, levels, level, before, file));
  artifact_saving_ = without - file.size();
  return {};
}

Status PackBuilder::copy_from_artifact(Stream stream, const StreamText& all, ByteView ended,
                                       const Levels& levels, Level level, std::size_t before,
                                       Buffer& file) {
  TOKVAULT_ASSIGN(const History history, choose_history(ended));
  if (history.artifact == 0) return {};
  if (level != Level::dense) {  // there the token LZ is smaller
    TOKVAULT_ASSIGN(const Buffer frame,
                    zstd_compress(ended, levels.dictionary, stop_, history.text));
    take_if_smaller(stream, PackCodec::zstd, frame, ended.size(), history.artifact, before, file);
  }
  TOKVAULT_TRY(learn_from_artifact(stream, all, history, levels, before, file));
  return try_token_lz(stream, ended, history, levels, before, file);
}

Status PackBuilder::learn_from_artifact(Stream stream, const StreamText& all,
                                        const History& history, const Levels& levels,
                                        std::size_t before, Buffer& file) {
  const std::size_t now = file.size() - before;
  const bool has_model = footer_.streams[stream].codec == PackCodec::token_model;
  if (history.artifact == 0 || !has_model || now <= kNameBytes) return {};
  return replace_if_smaller(stream, before, now - kNameBytes, file,
                            [&] { return encode_with_model(stream, all, history, levels, file); });
}

// One text has about 2.7 symbols for each byte of code, which is not more than a tenth smaller: if
// there are more bytes than half of the symbols allowed, it is not tried.
Status PackBuilder::try_token_lz(Stream stream, ByteView ended, const History& history,
                                 const Levels& levels, std::size_t before, Buffer& file) {
  if (file.size() - before > levels.lz_work / 2) return {};
  TOKVAULT_ASSIGN(const TokenLzCode code, token_lz_encode(unit_of(stream), ended, history.text));
  if (code.work > levels.lz_work) return {};
  take_if_smaller(stream, PackCodec::token_lz, code.bytes, ended.size(), history.artifact, before,
                  file);
  return {};
}

void PackBuilder::take_if_smaller(Stream stream, PackCodec codec, ByteView code,
                                  std::uint64_t ended_size, std::uint64_t artifact,
                                  std::size_t before, Buffer& file) {
  if (code.size() + (artifact != 0 ? kNameBytes : 0) >= file.size() - before) return;
  PackStream& out = footer_.streams[stream];
  file.resize(before);
  PackStream whole;
  whole.text_bytes = out.text_bytes;
  whole.codec = codec;
  whole.ended = true;
  whole.dictionary = append_part(file, code, ended_size);
  if (artifact != 0) whole.artifacts = {artifact};
  out = std::move(whole);
}

// The dictionary is as much of the beginning as a reader has to wait half a second for, the rest
// blocks of about 8 k tokens: 10 ms (docs/decisions/0009-token-model.md).
Status PackBuilder::encode_with_model(Stream stream, const StreamText& all, const History& history,
                                      const Levels& levels, Buffer& file) {
  constexpr std::uint64_t kDictionaryWork = 5'000'000;
  constexpr std::uint64_t kModelBlockTextBytes = 12u << 10;
  TOKVAULT_ASSIGN(const Learned learned,
                  learn(stream, all, history, kDictionaryWork,
                        std::min<std::uint64_t>(all.ended_size() + history.text.size(),
                                                2 * kDictionaryTextBytes)));
  if (!learned.model) return {};
  TOKVAULT_TRY(write_with_model(stream, all, learned, kModelBlockTextBytes, levels, file));
  if (history.artifact != 0) footer_.streams[stream].artifacts = {history.artifact};
  return {};
}

Result<PackBuilder::Learned> PackBuilder::learn(Stream stream, const StreamText& all,
                                                const History& history, std::uint64_t work,
                                                std::uint64_t text_size) const {
  const auto& sizes = all.table.code_sizes;
  auto trainer = ModelTrainer::make(unit_of(stream), text_size);
  Learned out;
  TOKVAULT_TRY(trainer->learn(history.text));
  if (trainer->work() > work / 2) return out;
  while (out.segments < sizes.size() && trainer->work() < work) {
    TOKVAULT_TRY(check_stop(stop_));
    const Buffer segment = all.ended(out.segments, out.segments + 1, out.at);
    TOKVAULT_TRY(trainer->add(segment));
    out.text_size += segment.size();
    out.at += sizes[out.segments++];
  }
  out.model = trainer->finish(out.code);
  return out;
}

Status PackBuilder::write_with_model(Stream stream, const StreamText& all, const Learned& learned,
                                     std::uint64_t block_bytes, const Levels& levels,
                                     Buffer& file) {
  PackStream& out = footer_.streams[stream];
  const auto& sizes = all.table.code_sizes;
  out.codec = PackCodec::token_model;
  out.ended = true;
  out.dictionary = append_part(file, learned.code, learned.text_size);
  std::size_t next = learned.segments;
  std::uint64_t at = learned.at;
  if (next == sizes.size()) return {};

  PackBlocks table;
  Buffer blocks;
  while (next < sizes.size()) {
    TOKVAULT_TRY(check_stop(stop_));
    const std::size_t begin = next;
    const std::uint64_t begin_at = at;
    while (next < sizes.size() && at - begin_at < block_bytes) at += sizes[next++];
    const Buffer text = all.ended(begin, next, begin_at);
    TOKVAULT_ASSIGN(const Buffer block, learned.model->encode_block(text));
    append_le(blocks, checksum32(block));
    blocks += block;
    table.segments.push_back(static_cast<std::uint32_t>(next - begin));
    table.texts.push_back(static_cast<std::uint32_t>(text.size()));
    table.sizes.push_back(static_cast<std::uint32_t>(block.size()));
  }
  const bool has_fingerprints = out.text_bytes > kFingerprintlessTextBytes;
  for (const std::uint32_t size : sizes) {
    table.has_fingerprint.push_back(has_fingerprints && size >= kSharedCodeBytes);
  }
  if (has_fingerprints) table.fingerprints = all.table.fingerprints;
  out.block_count = table.sizes.size();
  out.blocks = append_part(file, blocks, 0);
  TOKVAULT_ASSIGN(const Buffer encoded, encode_pack_blocks(table, levels.tables));
  out.table = append_part(file, encoded, 0);
  return {};
}

// Tells digits from what was written: tokens of that are smaller than its letters.
Result<bool> PackBuilder::are_letters_smaller(const StreamText& all) const {
  constexpr std::uint64_t kTriedBytes = 1u << 20;
  constexpr int kTrialLevel = 9;
  Buffer letters;
  std::uint64_t at = 0;
  std::vector<Token> tokens;
  Scratch scratch;
  for (std::size_t i = 0; i < all.table.code_sizes.size() && at < kTriedBytes; ++i) {
    TOKVAULT_TRY(check_stop(stop_));
    const Origin& o = origins_[kTokenStream][i];
    TOKVAULT_ASSIGN(const ByteView code, o.source->code(kTokenStream, o.number, scratch));
    tokens.clear();
    TOKVAULT_TRY(o.source->decode_tokens(code, tokens));
    for (const Token t : tokens) letters += tokenizer_->token_bytes(t);
    at += all.table.code_sizes[i];
  }
  TOKVAULT_ASSIGN(const Buffer as_letters, zstd_compress(letters, kTrialLevel, stop_));
  TOKVAULT_ASSIGN(const Buffer as_tokens,
                  zstd_compress(ByteView(all.text).substr(0, at), kTrialLevel, stop_));
  return as_letters.size() + as_letters.size() / 32 < as_tokens.size();
}

// Tokens of random digits, ids and base64 are larger under zstd than their letters are: it counts
// bytes without what stands before them, and which kind of token follows which is all that there is
// to know. A model knows it after some KB, and there is nothing else to copy. So its dictionary is
// short, a reader prepares it in 10 ms, and small blocks lose little: what they will take, a few of
// them tell (docs/decisions/0016-token-lz.md).
Status PackBuilder::try_small_model(const StreamText& all, const Levels& levels, std::size_t before,
                                    Buffer& file) {
  constexpr Stream stream = kTokenStream;
  constexpr std::uint64_t kWork = 200'000;
  // That much work is about 32 KB of text. A sixteenth of the tables for it fits the processor's
  // cache, and holds what is seen again.
  constexpr std::uint64_t kLearnedTextBytes = 2u << 10;
  constexpr std::uint64_t kBlockBytes = 1536;
  // It has a block of its own, which takes as long as the dictionary.
  constexpr std::uint32_t kSegmentBytesMax = 32u << 10;
  constexpr std::size_t kTriedBlocks = 16;
  constexpr std::uint64_t kBlockTableBytes = 7;  // a checksum, and about three of sizes
  const auto& sizes = all.table.code_sizes;
  const std::size_t now = file.size() - before;
  const std::size_t enough = now - now / 16;
  auto is_large = [](std::uint32_t size) { return size > kSegmentBytesMax; };
  if (!all.can_end || now < kBlockBytes || std::any_of(sizes.begin(), sizes.end(), is_large)) {
    return {};
  }
  TOKVAULT_ASSIGN(const bool is_digits, are_letters_smaller(all));
  if (!is_digits) return {};
  TOKVAULT_ASSIGN(const Learned learned, learn(stream, all, {}, kWork, kLearnedTextBytes));
  if (learned.segments == sizes.size()) return {};
  std::uint64_t tried = 0;
  std::uint64_t coded = 0;
  const std::size_t step = (sizes.size() - learned.segments) / kTriedBlocks + 1;
  std::uint64_t at = learned.at;
  for (std::size_t i = learned.segments; i < sizes.size();) {
    std::size_t end = i;
    std::uint64_t end_at = at;
    while (end < sizes.size() && end_at - at < kBlockBytes) end_at += sizes[end++];
    const Buffer text = all.ended(i, end, at);
    TOKVAULT_ASSIGN(const Buffer block, learned.model->encode_block(text));
    tried += text.size();
    coded += block.size() + kBlockTableBytes;
    for (const std::size_t next = std::max(i + step, end); i < next && i < sizes.size(); ++i) {
      at += sizes[i];
    }
  }
  const std::uint64_t left = all.ended_size() - learned.text_size;
  if (learned.code.size() + left * coded / tried > enough) return {};
  return replace_if_smaller(stream, before, enough + 1, file, [&] {
    return write_with_model(stream, all, learned, kBlockBytes, levels, file);
  });
}

std::vector<PackBuilder::Block> PackBuilder::cut_blocks(const PackSegments& table,
                                                        std::uint64_t block_bytes) {
  std::vector<Block> blocks;
  std::uint64_t at = 0;
  std::uint64_t size = 0;
  bool is_open = false;
  for (std::uint32_t i = 0; i < table.code_sizes.size(); ++i) {
    if (!table.in_dictionary[i]) {
      if (!is_open) blocks.push_back({i, i, at});
      blocks.back().end = i + 1;
      size = (is_open ? size : 0) + table.code_sizes[i];
      is_open = size < block_bytes;
    }
    at += table.code_sizes[i];
  }
  return blocks;
}

Status PackBuilder::encode_with_dictionary(Stream stream, StreamText& all, DictionaryChoice* choice,
                                           const Levels& levels, Buffer& file) {
  // An anchor that is kept takes 28 bytes: 14 MB.
  constexpr std::size_t kBaseAnchorsMax = 500'000;
  PackStream& out = footer_.streams[stream];
  PackSegments& table = all.table;
  const Buffer& text = all.text;
  if (text.size() <= kDictionaryTextBytes) {
    table.in_dictionary.assign(table.code_sizes.size(), true);
  } else if (choice != nullptr) {
    table.in_dictionary = choice->choose(kDictionaryTextBytes, kSampledCodeBytesMax);
  } else {
    table.in_dictionary = even_sample(table.code_sizes, text.size());
  }
  Buffer dictionary;
  std::vector<std::uint64_t> places;  // of segments in the text
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < table.code_sizes.size(); ++i) {
    if (table.in_dictionary[i]) dictionary.append(text, seen, table.code_sizes[i]);
    places.push_back(seen);
    seen += table.code_sizes[i];
  }
  // The dictionary's frame is half of the work; blocks need its text only.
  auto dictionary_frame =
      std::async(kBeside, [&] { return zstd_compress(dictionary, levels.dictionary, stop_); });
  std::vector<Block> blocks;
  auto cut = [&](std::uint64_t block_bytes) {
    blocks = cut_blocks(table, block_bytes);
    table.block_segments.clear();
    for (const Block& b : blocks) {
      table.block_segments.push_back(static_cast<std::uint32_t>(std::count(
          table.in_dictionary.begin() + b.begin, table.in_dictionary.begin() + b.end, false)));
    }
    if (choice == nullptr) return std::size_t{0};
    auto bases = choose_bases(*choice, table.in_dictionary, table.block_segments,
                              {kBasesMax, kBaseTextBytesMax, kBaseAnchorsMax});
    std::size_t with_bases = 0;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (!bases[i].empty()) ++with_bases;
      blocks[i].bases = std::move(bases[i]);
    }
    return with_bases;
  };
  // A block names few bases: where many have near-duplicates, smaller blocks find more of them.
  if (4 * cut(kBaseBlockTextBytes) < blocks.size()) cut(kBlockTextBytes);
  TOKVAULT_ASSIGN(auto encoder, BlockEncoder::make(dictionary, levels.blocks));
  auto encode = [&](BlockEncoder& with, Block& b) -> Status {
    TOKVAULT_TRY(check_stop(stop_));
    Buffer own;
    for (std::uint32_t i = b.begin; i < b.end; ++i) {
      if (!table.in_dictionary[i]) own.append(text, places[i], table.code_sizes[i]);
    }
    TOKVAULT_ASSIGN(b.frame, with.encode(own));
    if (b.bases.empty()) return {};
    Buffer prefix;
    for (const std::uint32_t i : b.bases) prefix.append(text, places[i], table.code_sizes[i]);
    TOKVAULT_ASSIGN(Buffer frame, zstd_compress(own, levels.blocks, stop_, prefix));
    // To name a base takes about two bytes.
    if (frame.size() + 2 * b.bases.size() < b.frame.size()) {
      b.frame = std::move(frame);
    } else {
      b.bases.clear();
    }
    return {};
  };
  // Two threads make half of the blocks each.
  TOKVAULT_ASSIGN(auto other_encoder, encoder->another());
  const std::size_t middle = blocks.size() / 2;
  auto other = std::async(kBeside, [&]() -> Status {
    for (std::size_t i = middle; i < blocks.size(); ++i) {
      TOKVAULT_TRY(encode(*other_encoder, blocks[i]));
    }
    return {};
  });
  Status status;
  for (std::size_t i = 0; i < middle && status; ++i) status = encode(*encoder, blocks[i]);
  Status other_status = other.get();
  TOKVAULT_TRY(std::move(status));
  TOKVAULT_TRY(std::move(other_status));
  Buffer frames;
  for (Block& b : blocks) {
    append_le(frames, checksum32(b.frame));
    frames += b.frame;
    table.block_sizes.push_back(static_cast<std::uint32_t>(b.frame.size()));
    table.block_bases.push_back(static_cast<std::uint32_t>(b.bases.size()));
    table.bases.insert(table.bases.end(), b.bases.begin(), b.bases.end());
    b.frame = Buffer();
  }
  if (table.bases.empty()) table.block_bases.clear();
  out.codec = table.bases.empty() ? PackCodec::zstd : PackCodec::zstd_bases;
  if (!dictionary.empty()) {
    TOKVAULT_ASSIGN(const Buffer frame, dictionary_frame.get());
    out.dictionary = append_part(file, frame, dictionary.size());
  }
  out.block_count = table.block_sizes.size();
  out.blocks = append_part(file, frames, 0);
  TOKVAULT_ASSIGN(const Buffer encoded, encode_pack_segments(table, levels.tables));
  out.table = append_part(file, encoded, 0);
  return {};
}

Result<Buffer> PackBuilder::finish(const PackIdentity& identity, Level level, PackPurpose purpose) {
  identity_ = identity;
  const Levels levels = levels_of(level, purpose);
  PackHeader header;
  header.number = identity_.number;
  header.tenant = tenant_.number;
  header.vault_id = identity_.vault.id;
  const bool has_filter =
      tables_.rows.size() >= kFilteredRowsMin && identity_.tenant_rows >= kFilteredTenantRowsMin;
  if (has_filter) header.features |= kPackHasIdFilter;
  TOKVAULT_ASSIGN(const EncodedTables tables, encode_tables(tables_, levels.tables));
  if (tables.references == References::recent) header.features |= kPackHasRecentReferences;
  Buffer file = encode_pack_header(header);
  TOKVAULT_TRY(count_tokens());
  TOKVAULT_TRY(encode_stream(kTokenStream, levels, level, file));
  TOKVAULT_TRY(encode_stream(kByteStream, levels, level, file));
  const Buffer map = map_.serialize();
  TOKVAULT_ASSIGN(const Buffer packed_map, encode_bytes(map, levels.tables));
  footer_.token_map = append_part(file, packed_map, map.size());
  for (std::size_t i = 0; i < kTableParts; ++i) {
    footer_.tables[i] = append_part(file, tables.parts[i], 0);
  }
  const std::vector<UsageEntry> usage = usage_of(tables_);
  if (!usage.empty()) {
    TOKVAULT_ASSIGN(const Buffer sums, encode_usage(usage, levels.tables));
    footer_.usage = append_part(file, sums, 0);
    footer_.usage_count = usage.size();
  }
  if (!records_.empty()) {
    TOKVAULT_ASSIGN(const Buffer records, encode_records(records_, levels.tables));
    footer_.records = append_part(file, records, 0);
    footer_.record_count = records_.size();
  }
  if (has_filter) {
    const Buffer filter = make_id_filter(hash_ids(tenant_.key, tables_.ids));
    footer_.id_filter = append_part(file, filter, 0);
  }
  footer_.vault = identity_.vault;
  footer_.tenant = tenant_;
  footer_.set_id = identity_.set_id;
  footer_.set_members = identity_.set_members;
  footer_.set_supersedes = identity_.set_supersedes;
  footer_.counts = counts_of(tables_);
  footer_.level = level;
  footer_.made_by = purpose == PackPurpose::seal      ? PackMaker::sealing
                    : purpose == PackPurpose::compact ? PackMaker::compaction
                                                      : PackMaker::merging;
  bool first = true;
  for (const Row& r : tables_.rows) {
    footer_.sequence_first =
        first ? r.first_sequence : std::min(footer_.sequence_first, r.first_sequence);
    footer_.sequence_last = std::max(footer_.sequence_last, r.sequence);
    footer_.time_first_ms = first ? r.time_ms : std::min(footer_.time_first_ms, r.time_ms);
    footer_.time_last_ms = first ? r.time_ms : std::max(footer_.time_last_ms, r.time_ms);
    first = false;
  }
  TOKVAULT_ASSIGN(const Buffer footer, encode_pack_footer(footer_, file.size()));
  file += footer;
  auto status = verify(file);
  if (!status) return std::move(status).error().with("the new pack does not read back");
  return file;
}

// Reads the pack as any reader would and compares every segment and every table with what went in.
Status PackBuilder::verify(const Buffer& file) const {
  auto backend = make_memory_backend();
  Cache cache(std::uint64_t{1} << 30);
  for (const auto& artifact : artifacts_) keep_tokens(cache, artifact);
  TOKVAULT_TRY(backend->put(pack_name(identity_.number), file));
  TOKVAULT_ASSIGN(auto pack, PackFile::open(*backend, cache, identity_.number));
  TOKVAULT_ASSIGN(auto got, pack->tables());
  auto differs = [](const char* what) {
    return Error(Errc::corrupt, std::string("after decoding, another ") + what);
  };
  if (got->rows.size() != tables_.rows.size() || got->nodes.size() != tables_.nodes.size() ||
      got->refs != tables_.refs || got->externals.size() != tables_.externals.size() ||
      got->segment_counts != tables_.segment_counts) {
    return differs("count");
  }
  for (std::size_t i = 0; i < tables_.rows.size(); ++i) {
    const Row& a = tables_.rows[i];
    const Row& b = got->rows[i];
    if (tables_.ids[i] != got->ids[i] || tables_.models[a.model] != got->models[b.model] ||
        tables_.applications[a.application] != got->applications[b.application] ||
        tables_.forms[a.form] != got->forms[b.form] || a.leaf != b.leaf ||
        a.refs_begin != b.refs_begin || a.time_ms != b.time_ms || a.sequence != b.sequence ||
        a.first_sequence != b.first_sequence || a.tokens != b.tokens ||
        a.text_bytes != b.text_bytes) {
      return differs("conversation");
    }
  }
  for (std::size_t i = 0; i < tables_.nodes.size(); ++i) {
    const Node& a = tables_.nodes[i];
    const Node& b = got->nodes[i];
    if (a.parent != b.parent || a.refs_begin != b.refs_begin ||
        tables_.forms[a.form] != got->forms[b.form]) {
      return differs("message");
    }
  }
  for (std::size_t i = 0; i < tables_.externals.size(); ++i) {
    if (tables_.externals[i].digest != got->externals[i].digest) return differs("external");
  }
  TOKVAULT_TRY(pack->check_filter(tables_.ids));
  for (const Stream stream : {kTokenStream, kByteStream}) {
    const auto count = static_cast<std::uint32_t>(origins_[stream].size());
    auto other =
        std::async(kBeside, [&] { return verify_segments(*pack, stream, count / 2, count); });
    Status status = verify_segments(*pack, stream, 0, count / 2);
    Status other_status = other.get();
    TOKVAULT_TRY(std::move(status));
    TOKVAULT_TRY(std::move(other_status));
  }
  TOKVAULT_ASSIGN(const auto records, pack->records());
  if (records.size() != records_.size()) return differs("record count");
  return {};
}

Status PackBuilder::verify_segments(const PackFile& pack, Stream stream, std::uint32_t begin,
                                    std::uint32_t end) const {
  Scratch scratch;
  std::vector<Token> tokens;
  for (std::uint32_t i = begin; i < end; ++i) {
    TOKVAULT_TRY(check_stop(stop_));
    TOKVAULT_ASSIGN(const ByteView code, pack.code(stream, i, scratch));
    std::uint64_t checksum = 0;
    if (stream == kTokenStream) {
      tokens.clear();
      TOKVAULT_TRY(pack.decode_tokens(code, tokens));
      checksum = checksum_of(tokens);
    } else {
      checksum = checksum64(code);
    }
    if (checksum != origins_[stream][i].checksum) {
      return Error(Errc::corrupt, "after decoding, another segment");
    }
  }
  return {};
}

}  // namespace tokvault
