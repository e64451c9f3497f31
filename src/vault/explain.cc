// explain(): where the tokens of conversations went, what the streams of packs take, and what each
// mechanism saved.
//
// The files of a tenant are walked in the order of their conversations, and each file for itself,
// as a pack stands alone. A token of a conversation is counted under the first of these that fits:
//
//   prefix     its message stands, after the same messages, in an earlier conversation
//   exact      its segment is stored already, in this file or in another
//   near       an earlier segment has at least 85 % of its segment's anchors
//   substring  the part of the other segments' anchors that an earlier segment has
//   novel      the rest
//
// The first two are facts of the file. The next two say what its codec had to copy from, which is
// not what it did copy; what came of it is in the bytes of the streams, and those that were saved
// are measured by coding them again (savings.h). Of a vault too large for that, evenly chosen packs
// stand for others of the same codec and artifacts.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "dedup/anchor_index.h"
#include "dedup/anchors.h"
#include "vault/savings.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

// Codes of tokens that are coded again: of all packs, and of one stream.
constexpr std::uint64_t kTriedBytes = 8u << 20;

// Of one file; with more only a part of them is looked at, chosen by their hashes.
constexpr std::uint64_t kAnchorsMax = 2u << 20;
constexpr double kNear = 0.85;

void add(TokenOrigins& sum, const TokenOrigins& part) {
  sum.tokens += part.tokens;
  sum.prefix += part.prefix;
  sum.exact += part.exact;
  sum.near += part.near;
  sum.substring += part.substring;
  sum.novel += part.novel;
}

// Walks the conversations of one file.
class FileWalk {
 public:
  // `meter`, if given, codes the texts as they come.
  FileWalk(const Source& source, const Tables& tables, std::uint64_t tokens_stored,
           TextMeter* meter)
      : source_(source),
        tables_(tables),
        meter_(meter),
        index_(std::min(kAnchorsMax, tokens_stored / 4 + 64)),
        seen_node_(tables.nodes.size()),
        node_tokens_(tables.nodes.size()),
        segment_tokens_(tables.segment_counts[kTokenStream], kUnseen) {
    // One token in 8.5 is an anchor.
    const std::uint64_t expected = tokens_stored / 7;
    if (expected > kAnchorsMax) {
      sample_bits_ = static_cast<unsigned>(std::bit_width((expected - 1) / kAnchorsMax));
    }
  }

  // The next conversation. `sums` gets what the texts that are stored for it take, `each` of them
  // coded by itself or some.
  Result<TokenOrigins> next(const Row& row, TextSums& sums, bool each) {
    TokenOrigins origins;
    sums_ = &sums;
    each_ = each;
    origins.tokens = row.tokens;
    std::uint32_t node = row.leaf;
    std::vector<std::uint32_t> fresh;
    for (; node != kNoNode && !seen_node_[node]; node = tables_.nodes[node].parent) {
      fresh.push_back(node);
    }
    std::uint64_t counted = node == kNoNode ? 0 : node_tokens_[node];
    origins.prefix = std::min(counted, row.tokens);
    for (auto it = fresh.rbegin(); it != fresh.rend(); ++it) {
      const Node& n = tables_.nodes[*it];
      TOKVAULT_ASSIGN(const std::uint64_t own,
                      take(tables_.form_infos[n.form], tables_.node_refs(n), origins));
      counted += own;
      seen_node_[*it] = true;
      node_tokens_[*it] = counted;
    }
    TOKVAULT_ASSIGN(const std::uint64_t own,
                    take(tables_.form_infos[row.form], tables_.row_refs(row), origins));
    counted += own;
    // The rest is in other files, and is not decoded for this. It goes on the account of the last
    // message, so that a longer conversation finds it in its prefix.
    if (counted < row.tokens) {
      origins.exact += row.tokens - counted;
      if (row.leaf != kNoNode) node_tokens_[row.leaf] += row.tokens - counted;
    }
    return origins;
  }

 private:
  static constexpr std::uint32_t kUnseen = 0xffffffffu;

  // The tokens of the local segments that a form refers to.
  Result<std::uint64_t> take(const FormInfo& info, const SegmentRef* refs, TokenOrigins& origins) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      if (info.stream_of(i) != kTokenStream || refs[i].is_external()) continue;
      std::uint32_t& tokens = segment_tokens_[refs[i].number()];
      if (tokens == kUnseen) {
        TOKVAULT_TRY(read(refs[i].number(), origins));
        tokens = static_cast<std::uint32_t>(tokens_.size());
      } else {
        origins.exact += tokens;
      }
      sum += tokens;
    }
    return sum;
  }

  // A segment that is stored for the conversation at hand.
  Status read(std::uint32_t number, TokenOrigins& origins) {
    TOKVAULT_ASSIGN(const ByteView code, source_.code(kTokenStream, number, scratch_));
    tokens_.clear();
    TOKVAULT_TRY(source_.decode_tokens(code, tokens_));
    anchors_.clear();
    find_anchors(tokens_, anchors_);
    AnchorSet set;
    for (const Anchor& anchor : anchors_) {
      const std::uint32_t sample = anchor.hash * 0x85ebca6bu;
      if (sample_bits_ == 0 || sample >> (32 - sample_bits_) == 0) set.push_back(anchor.hash);
    }
    make_set(set);
    const auto size = static_cast<double>(set.size());
    const auto count = static_cast<std::uint64_t>(tokens_.size());
    const auto found = index_.find(set);
    const bool is_near = !set.empty() && !found.empty() && found[0].votes >= kNear * size;
    const double known =
        is_near || set.empty() ? 0 : static_cast<double>(index_.count_known(set)) / size;
    if (meter_ != nullptr) {
      TOKVAULT_TRY(meter_->add(code, is_near, known, each_, *sums_));
    } else {
      sums_->code_bytes += code.size();
    }
    // Of what is near to an earlier segment nothing has to be remembered.
    if (is_near) {
      origins.near += count;
      return {};
    }
    const auto copied = static_cast<std::uint64_t>(static_cast<double>(count) * known);
    origins.substring += copied;
    origins.novel += count - copied;
    index_.insert(item_++, set);
    return {};
  }

  const Source& source_;
  const Tables& tables_;
  TextMeter* const meter_;
  AnchorIndex index_;
  std::vector<bool> seen_node_;
  std::vector<std::uint64_t> node_tokens_;  // from the first message to this one
  std::vector<std::uint32_t> segment_tokens_;
  unsigned sample_bits_ = 0;
  std::uint32_t item_ = 0;
  TextSums* sums_ = nullptr;
  bool each_ = false;
  Scratch scratch_;
  std::vector<Token> tokens_;
  std::vector<Anchor> anchors_;
};

Result<std::uint64_t> tokens_stored(const Source& source) {
  if (source.is_pack()) return static_cast<const PackFile&>(source).footer().tokens_stored;
  return static_cast<const LogPart&>(source).tokens_stored();
}

// Every how manieth text of a pack is coded by itself.
std::uint64_t meter_step(const PackFile& pack) {
  return pack.footer().streams[kTokenStream].text_bytes / kTriedBytes + 1;
}

// What the texts of all segments of a stream take by themselves, told by those that were tried.
double alone_bytes(const PackFile& pack, const TextSums& sums) {
  if (sums.tried_bytes == 0) return 0;
  return sums.alone * static_cast<double>(pack.footer().streams[kTokenStream].text_bytes) /
         static_cast<double>(sums.tried_bytes);
}

// What was saved in packs of the same codec and artifacts, some of which were measured.
struct PackGroup {
  std::uint64_t code_bytes = 0;
  std::uint64_t measured_bytes = 0;
  std::uint64_t measured_tokens = 0;  // stored
  TokenOrigins origins;               // of all packs
  StreamSavings tokens;
  double other_disk = 0;  // of bytes, which nothing but the model is measured of
  double other_model = 0;
};
using PackGroups = std::map<std::pair<PackCodec, std::vector<std::uint64_t>>, PackGroup>;

// Which packs are measured: the first of each group, and evenly chosen ones until there is enough.
class PackSample {
 public:
  explicit PackSample(std::uint64_t code_bytes)
      : part_(std::min(1.0, static_cast<double>(kTriedBytes) /
                                static_cast<double>(std::max<std::uint64_t>(1, code_bytes)))) {}
  bool take(const PackGroup& group, std::uint64_t code_bytes) {
    due_ += part_ * static_cast<double>(code_bytes);
    if (group.measured_bytes > 0 && due_ < static_cast<double>(code_bytes)) return false;
    due_ -= static_cast<double>(code_bytes);
    return true;
  }

 private:
  double part_;
  double due_ = 0;
};

// A pack that is damaged, or was replaced a moment ago, is not measured.
bool is_passed(Errc code) {
  return code == Errc::corrupt || code == Errc::not_found || code == Errc::conflict;
}

Status measure(const PackFile& pack, const TextSums& sums, PackGroup& group) {
  auto tokens = try_stream(pack, kTokenStream, kTriedBytes);
  if (!tokens) return is_passed(tokens.code()) ? Status() : std::move(tokens).error();
  auto other = try_stream(pack, kByteStream, kTriedBytes);
  if (!other) return is_passed(other.code()) ? Status() : std::move(other).error();
  group.tokens.add(StreamSavings::of(*tokens, alone_bytes(pack, sums), sums), 1);
  group.other_disk += other->stored;
  group.other_model += other->zstd - other->stored;
  group.measured_bytes += pack.footer().streams[kTokenStream].text_bytes;
  group.measured_tokens += pack.footer().tokens_stored;
  return {};
}

// Puts the steps together; `is_set` says whether an artifact is a set of substrings.
class SavingsSum {
 public:
  void add(const StreamSavings& s, double times, bool is_set) {
    sum_.add(s, times);
    (is_set ? sets_ : dictionaries_) += s.artifact * times;
  }
  // Texts that are not stored again, at what a stored token takes by itself.
  void add_origins(const TokenOrigins& o, double token_bytes) {
    prefix_ += static_cast<double>(o.prefix) * token_bytes;
    exact_ += static_cast<double>(o.exact) * token_bytes;
  }
  // The sum is that of the rounded steps.
  DiskSavings finish() const {
    const auto round = [](double x) { return static_cast<std::uint64_t>(std::llround(x)); };
    DiskSavings out;
    out.prefix = round(prefix_);
    out.exact = round(exact_);
    out.near = round(sum_.near);
    out.substring = round(sum_.substring);
    out.context = round(sum_.context);
    out.model = round(sum_.model);
    out.dictionary = round(dictionaries_);
    out.substring_set = round(sets_);
    out.disk = round(sum_.disk);
    out.alone = out.prefix + out.exact + out.near + out.substring + out.context + out.model +
                out.dictionary + out.substring_set + out.disk;
    out.pack_dictionary = round(sum_.pack_dictionary);
    out.bases = round(sum_.bases);
    return out;
  }

 private:
  StreamSavings sum_;
  double prefix_ = 0, exact_ = 0, dictionaries_ = 0, sets_ = 0;
};

bool is_substring_set(const TenantState& tenant, const std::vector<std::uint64_t>& artifacts) {
  if (artifacts.empty()) return false;
  const auto at = tenant.artifacts.find(artifacts.front());
  return at != tenant.artifacts.end() && at->second.kind == ArtifactKind::substring_set;
}

DiskSavings sum_of(const PackGroups& groups, const std::set<std::uint64_t>& sets) {
  SavingsSum sum;
  std::uint64_t code_bytes = 0;
  std::uint64_t measured_bytes = 0;
  for (const auto& [key, group] : groups) {
    code_bytes += group.code_bytes;
    measured_bytes += group.measured_bytes;
    if (group.measured_bytes == 0) continue;
    const double times =
        static_cast<double>(group.code_bytes) / static_cast<double>(group.measured_bytes);
    const bool is_set = !key.second.empty() && sets.contains(key.second.front());
    sum.add(group.tokens, times, is_set);
    StreamSavings other;
    other.model = group.other_model;
    other.disk = group.other_disk;
    sum.add(other, times, is_set);
    sum.add_origins(group.origins, group.tokens.alone / static_cast<double>(std::max<std::uint64_t>(
                                                            1, group.measured_tokens)));
  }
  DiskSavings out = sum.finish();
  out.code_bytes = code_bytes;
  out.measured_bytes = measured_bytes;
  return out;
}

using StreamKey = std::tuple<std::size_t, std::string, std::vector<std::uint64_t>>;
using StreamMap = std::map<StreamKey, StoredStream>;

void add_streams(const LogPart& log, StreamMap& streams) {
  for (const auto& [dictionary, frames] : log.frames()) {
    StreamKey key{kStreams, codec_name(PackCodec::zstd), {}};
    if (dictionary != 0) std::get<2>(key).push_back(dictionary);
    StoredStream& sum = streams[key];
    sum.frames += frames.count;
    sum.files += 1;
    sum.code_bytes += frames.text_bytes;
    sum.disk_bytes += frames.disk_bytes;
  }
}

void add_streams(const PackFile& pack, StreamMap& streams) {
  for (std::size_t s = 0; s < kStreams; ++s) {
    const PackStream& stream = pack.footer().streams[s];
    const std::uint64_t frames = stream.block_count + (stream.dictionary.size > 0 ? 1 : 0);
    if (frames == 0) continue;
    StoredStream& sum = streams[{s, codec_name(stream.codec), stream.artifacts}];
    sum.frames += frames;
    sum.files += 1;
    sum.code_bytes += stream.text_bytes;
    sum.disk_bytes += stream.dictionary.size + stream.blocks.size;
  }
}

// How the tokens of a file are coded, and what that takes: the part `share` of all.
void say_codec(const PackFile& pack, double share, ConversationExplanation& out) {
  const PackStream& s = pack.footer().streams[kTokenStream];
  out.codec = codec_name(s.codec);
  out.artifacts = s.artifacts;
  out.disk_bytes = static_cast<std::uint64_t>(
      std::llround(share * static_cast<double>(s.dictionary.size + s.blocks.size)));
}

// In a log, what so many bytes of codes take.
void say_codec(const LogPart& log, ConversationExplanation& out) {
  out.codec = codec_name(PackCodec::zstd);
  out.artifacts = log.artifacts();
  std::uint64_t text_bytes = 0;
  std::uint64_t disk_bytes = 0;
  for (const auto& [dictionary, frames] : log.frames()) {
    text_bytes += frames.text_bytes;
    disk_bytes += frames.disk_bytes;
  }
  if (text_bytes == 0) return;
  out.disk_bytes =
      static_cast<std::uint64_t>(static_cast<double>(out.code_bytes) *
                                 static_cast<double>(disk_bytes) / static_cast<double>(text_bytes));
}

}  // namespace

Result<Explanation> VaultImpl::explain_once(std::string_view tenant_given,
                                            const Progress& progress) const {
  Explanation out;
  StreamMap streams;
  std::vector<std::shared_ptr<const Source>> sources;
  std::uint64_t total = 0;
  std::uint64_t code_bytes = 0;
  std::set<std::uint64_t> sets;  // of substrings
  auto listed = reading([&]() -> Status {
    sources.clear();
    total = 0;
    code_bytes = 0;
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    if (tenant == nullptr) {
      return Error(Errc::not_found, "no tenant " + std::string(tenant_name(tenant_given)));
    }
    TOKVAULT_TRY(expect_complete(tenant));
    sources = state_.sources(tenant->record.number);
    for (const auto& [number, artifact] : tenant->artifacts) {
      if (artifact.kind == ArtifactKind::substring_set) sets.insert(number);
    }
    for (const auto& source : sources) {
      TOKVAULT_ASSIGN(const std::uint64_t tokens, tokens_stored(*source));
      total += tokens * sizeof(Token);
      if (!source->is_pack()) continue;
      const auto& pack = static_cast<const PackFile&>(*source);
      code_bytes += pack.footer().streams[kTokenStream].text_bytes;
    }
    return {};
  });
  TOKVAULT_TRY(std::move(listed));
  // The lock is held for one file at a time, and not while its text is coded again.
  std::uint64_t done = 0;
  PackGroups groups;
  PackSample sample(code_bytes);
  for (const auto& source : sources) {
    if (progress && !progress(done, total)) return Error(Errc::cancelled, "stopped as asked");
    const PackFile* const pack =
        source->is_pack() ? static_cast<const PackFile*>(source.get()) : nullptr;
    PackGroup* group = nullptr;
    std::optional<TextMeter> meter;
    if (pack != nullptr) {
      const PackStream& stream = pack->footer().streams[kTokenStream];
      group = &groups[{stream.codec, stream.artifacts}];
      group->code_bytes += stream.text_bytes;
      if (sample.take(*group, stream.text_bytes)) {
        TOKVAULT_ASSIGN(meter, TextMeter::make(meter_step(*pack)));
      }
    }
    TokenOrigins origins;
    TextSums sums;
    std::uint64_t tokens = 0;
    auto walked = reading([&]() -> Status {
      const TenantState* tenant = state_.tenant(source->tenant());
      TOKVAULT_ASSIGN(tokens, tokens_stored(*source));
      auto read = source->tables();
      if (!read && passes_over(*source, read.error())) return {};
      TOKVAULT_ASSIGN(const auto tables, std::move(read));
      TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(*tenant, *source));
      FileWalk walk(*source, *tables, tokens, meter ? &*meter : nullptr);
      std::uint64_t conversations = 0;
      for (std::size_t i = 0; i < tables->rows.size(); ++i) {
        if (!dead.empty() && dead[i]) continue;
        TOKVAULT_ASSIGN(const TokenOrigins own, walk.next(tables->rows[i], sums, false));
        add(origins, own);
        ++conversations;
      }
      add(out.origins, origins);
      out.conversations += conversations;
      // A log may grow once the lock is given up.
      if (pack == nullptr) add_streams(static_cast<const LogPart&>(*source), streams);
      return {};
    });
    TOKVAULT_TRY(std::move(walked));
    done += tokens * sizeof(Token);
    if (pack == nullptr) continue;
    out.pack_bytes += pack->size_bytes();
    add_streams(*pack, streams);
    add(group->origins, origins);
    if (meter) TOKVAULT_TRY(measure(*pack, sums, *group));
  }
  out.saved = sum_of(groups, sets);
  for (auto& [key, stream] : streams) {
    const std::size_t kind = std::get<0>(key);
    stream.stream = kind == kTokenStream ? "tokens" : kind == kByteStream ? "bytes" : "log";
    stream.codec = std::get<1>(key);
    stream.artifacts = std::get<2>(key);
    out.streams.push_back(std::move(stream));
  }
  return out;
}

Result<Explanation> VaultImpl::explain(std::string_view tenant, const Progress& progress) const {
  constexpr int kTries = 4;
  for (int tries = 1;; ++tries) {
    auto result = explain_once(tenant, progress);
    // A rewrite, or a merge that a commit beside this took in, has removed a file that was to be
    // walked.
    const bool is_gone =
        !result && result.code() == Errc::not_found && result.error().os_code() != 0;
    if (!is_gone || tries == kTries) return result;
  }
}

Result<ConversationExplanation> VaultImpl::explain_conversation(
    std::string_view id, std::string_view tenant_given) const {
  ConversationExplanation out;
  std::shared_ptr<const Source> source;
  TextSums own, others;
  bool is_set = false;
  auto walked = reading([&]() -> Status {
    out = {};
    own = others = {};
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    TOKVAULT_ASSIGN(const Found found, find_or_error(tenant, id));
    source = found.source;
    TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(*tenant, *source));
    out.summary = summary_of(*tenant, found);
    out.file = source->name();
    std::optional<TextMeter> meter;
    if (source->is_pack()) {
      const auto& pack = static_cast<const PackFile&>(*source);
      is_set = is_substring_set(*tenant, pack.footer().streams[kTokenStream].artifacts);
      TOKVAULT_ASSIGN(meter, TextMeter::make(meter_step(pack)));
    }
    TOKVAULT_ASSIGN(const std::uint64_t tokens, tokens_stored(*source));
    FileWalk walk(*source, *found.tables, tokens, meter ? &*meter : nullptr);
    // In a log, what comes after it is of no interest.
    const auto end = meter ? static_cast<std::uint32_t>(found.tables->rows.size()) : found.row + 1;
    for (std::uint32_t i = 0; i < end; ++i) {
      if (!dead.empty() && dead[i]) continue;
      const bool is_it = i == found.row;
      TOKVAULT_ASSIGN(const TokenOrigins origins,
                      walk.next(found.tables->rows[i], is_it ? own : others, is_it));
      if (is_it) out.origins = origins;
    }
    out.code_bytes = own.code_bytes;
    // A log may grow once the lock is given up.
    if (!source->is_pack()) say_codec(static_cast<const LogPart&>(*source), out);
    return {};
  });
  TOKVAULT_TRY(std::move(walked));
  if (!source->is_pack()) return out;
  const auto& pack = static_cast<const PackFile&>(*source);
  const double all = own.in_sequence + others.in_sequence;
  const double share = all > 0 ? own.in_sequence / all : 0;
  say_codec(pack, share, out);
  auto trial = try_stream(pack, kTokenStream, kTriedBytes);
  if (!trial && is_passed(trial.code())) return out;
  TOKVAULT_ASSIGN(StreamTrial mine, std::move(trial));
  mine.scale(share);
  TextSums sums = own;
  sums.tried_bytes += others.tried_bytes;
  sums.alone += others.alone;
  const std::uint64_t stored = std::max<std::uint64_t>(1, pack.footer().tokens_stored);
  SavingsSum sum;
  sum.add(StreamSavings::of(mine, own.alone, own), 1, is_set);
  sum.add_origins(out.origins, alone_bytes(pack, sums) / static_cast<double>(stored));
  out.saved = sum.finish();
  out.saved.code_bytes = own.code_bytes;
  out.saved.measured_bytes = own.code_bytes;
  return out;
}

}  // namespace tokvault
