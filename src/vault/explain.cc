// explain(): where the tokens of conversations went, and what the streams of packs take.
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
// not what it did copy; what came of it is in the bytes of the streams.
#include <algorithm>
#include <bit>
#include <map>
#include <tuple>

#include "dedup/anchor_index.h"
#include "dedup/anchors.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

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
  FileWalk(const Source& source, const Tables& tables, std::uint64_t tokens_stored)
      : source_(source),
        tables_(tables),
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

  // The next conversation. `codes`, if given, gets the bytes of the codes of the segments that are
  // stored for it.
  Result<TokenOrigins> next(const Row& row, std::uint64_t* codes) {
    TokenOrigins origins;
    codes_ = codes;
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
    if (codes_ != nullptr) *codes_ += code.size();
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
    if (!set.empty() && !found.empty() && found[0].votes >= kNear * size) {
      origins.near += count;
      return {};
    }
    // Of what is near to an earlier segment nothing has to be remembered.
    const double known = static_cast<double>(index_.count_known(set));
    const auto copied =
        set.empty() ? 0 : static_cast<std::uint64_t>(static_cast<double>(count) * known / size);
    origins.substring += copied;
    origins.novel += count - copied;
    index_.insert(item_++, set);
    return {};
  }

  const Source& source_;
  const Tables& tables_;
  AnchorIndex index_;
  std::vector<bool> seen_node_;
  std::vector<std::uint64_t> node_tokens_;  // from the first message to this one
  std::vector<std::uint32_t> segment_tokens_;
  unsigned sample_bits_ = 0;
  std::uint32_t item_ = 0;
  std::uint64_t* codes_ = nullptr;
  Scratch scratch_;
  std::vector<Token> tokens_;
  std::vector<Anchor> anchors_;
};

Result<std::uint64_t> tokens_stored(const Source& source) {
  if (source.is_pack()) return static_cast<const PackFile&>(source).footer().tokens_stored;
  return static_cast<const LogPart&>(source).tokens_stored();
}

}  // namespace

Result<Explanation> VaultImpl::explain_once(std::string_view tenant_given,
                                            const Progress& progress) const {
  Explanation out;
  using Key = std::tuple<std::size_t, std::string, std::vector<std::uint64_t>>;
  std::map<Key, StoredStream> streams;
  std::vector<std::shared_ptr<const Source>> sources;
  std::uint64_t total = 0;
  auto listed = reading([&]() -> Status {
    sources.clear();
    total = 0;
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    if (tenant == nullptr) {
      return Error(Errc::not_found, "no tenant " + std::string(tenant_name(tenant_given)));
    }
    TOKVAULT_TRY(expect_complete(tenant));
    sources = state_.sources(tenant->record.number);
    for (const auto& source : sources) {
      TOKVAULT_ASSIGN(const std::uint64_t tokens, tokens_stored(*source));
      total += tokens * sizeof(Token);
    }
    return {};
  });
  TOKVAULT_TRY(std::move(listed));
  // The lock is held for one file at a time.
  std::uint64_t done = 0;
  for (const auto& source : sources) {
    if (progress && !progress(done, total)) return Error(Errc::cancelled, "stopped as asked");
    auto walked = reading([&]() -> Status {
      const TenantState* tenant = state_.tenant(source->tenant());
      auto read = source->tables();
      if (!read && passes_over(*source, read.error())) return {};
      TOKVAULT_ASSIGN(const auto tables, std::move(read));
      TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(*tenant, *source));
      TOKVAULT_ASSIGN(const std::uint64_t tokens, tokens_stored(*source));
      FileWalk walk(*source, *tables, tokens);
      TokenOrigins origins;
      std::uint64_t conversations = 0;
      for (std::size_t i = 0; i < tables->rows.size(); ++i) {
        if (!dead.empty() && dead[i]) continue;
        TOKVAULT_ASSIGN(const TokenOrigins own, walk.next(tables->rows[i], nullptr));
        add(origins, own);
        ++conversations;
      }
      add(out.origins, origins);
      out.conversations += conversations;
      return {};
    });
    TOKVAULT_TRY(std::move(walked));
    TOKVAULT_ASSIGN(const std::uint64_t tokens, tokens_stored(*source));
    done += tokens * sizeof(Token);
    if (!source->is_pack()) {
      for (const auto& [dictionary, frames] : static_cast<const LogPart&>(*source).frames()) {
        Key key{kStreams, codec_name(PackCodec::zstd), {}};
        if (dictionary != 0) std::get<2>(key).push_back(dictionary);
        StoredStream& sum = streams[key];
        sum.frames += frames.count;
        sum.files += 1;
        sum.code_bytes += frames.text_bytes;
        sum.disk_bytes += frames.disk_bytes;
      }
      continue;
    }
    const auto& pack = static_cast<const PackFile&>(*source);
    out.pack_bytes += pack.size_bytes();
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
  auto result = explain_once(tenant, progress);
  // A rewrite by another process has removed a file that was to be walked.
  const bool is_gone = !result && options_.read_only && result.code() == Errc::not_found &&
                       result.error().os_code() != 0;
  return is_gone ? explain_once(tenant, progress) : std::move(result);
}

Result<ConversationExplanation> VaultImpl::explain_conversation(
    std::string_view id, std::string_view tenant_given) const {
  return reading([&]() -> Result<ConversationExplanation> {
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    TOKVAULT_ASSIGN(const Found found, find_or_error(tenant, id));
    const Source& source = *found.source;
    TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(*tenant, source));
    ConversationExplanation out;
    out.summary = summary_of(*tenant, found);
    out.file = source.name();
    TOKVAULT_ASSIGN(const std::uint64_t tokens, tokens_stored(source));
    FileWalk walk(source, *found.tables, tokens);
    for (std::uint32_t i = 0; i < found.row; ++i) {
      if (!dead.empty() && dead[i]) continue;
      TOKVAULT_TRY(walk.next(found.tables->rows[i], nullptr));
    }
    std::uint64_t codes = 0;
    TOKVAULT_ASSIGN(out.origins, walk.next(found.get(), &codes));
    out.code_bytes = codes;
    // Its share of what its stream takes.
    if (source.is_pack()) {
      const PackStream& s = static_cast<const PackFile&>(source).footer().streams[kTokenStream];
      out.codec = codec_name(s.codec);
      out.artifacts = s.artifacts;
      const auto disk = static_cast<double>(s.dictionary.size + s.blocks.size);
      if (s.text_bytes > 0) {
        out.disk_bytes = static_cast<std::uint64_t>(static_cast<double>(codes) * disk /
                                                    static_cast<double>(s.text_bytes));
      }
    }
    return out;
  });
}

}  // namespace tokvault
