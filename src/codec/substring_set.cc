// SubstringSet: runs in one array, found through a radix tree over it.
//
// The tree makes the longest match take time for the tokens that match and nothing else, whoever
// chose the runs: a table of hashes of the first 16 tokens, which comes to mind first, compares
// with every run that begins alike. Most places of a text begin no run; a bit for the hash of the
// first four tokens says so before the tree is asked.
//
// Format: docs/format/substrings.md
#include <algorithm>

#include "base/bytes.h"
#include "codec/substring_columns.h"
#include "codec/token_code.h"

namespace tokvault {
namespace {

constexpr int kStartBits = 20;  // 128 KB: runs of a full set begin in less than a tenth of them
constexpr std::size_t kStartTokens = 4;
constexpr std::uint64_t kFormatVersion = 1;

std::size_t start_of(TokenView text) {
  std::uint64_t h = 0;
  for (std::size_t i = 0; i < kStartTokens; ++i) h = (h ^ text[i]) * 0x9e3779b97f4a7c15u;
  return static_cast<std::size_t>(h >> (64 - kStartBits));
}

std::uint64_t child_key(std::size_t node, Token first) { return std::uint64_t{node} << 32 | first; }

Error damaged(std::string_view what) {
  return Error(Errc::corrupt, "substring set: " + std::string(what));
}

Error not_there(SubstringId id) {
  return Error(Errc::not_found, "substring " + std::to_string(id) + " is not in the set");
}

}  // namespace

TokenView SubstringSet::view(const Entry& entry) const {
  return TokenView(arena_).subspan(entry.begin, entry.info.tokens);
}

std::size_t SubstringSet::index_of(SubstringId id) const {
  const auto at = std::lower_bound(entries_.begin(), entries_.end(), id,
                                   [](const Entry& e, SubstringId i) { return e.info.id < i; });
  return at != entries_.end() && at->info.id == id ? static_cast<std::size_t>(at - entries_.begin())
                                                   : entries_.size();
}

std::size_t SubstringSet::add_node(std::size_t parent, Token first, const Node& node) {
  nodes_.push_back(node);
  children_[child_key(parent, first)] = static_cast<std::uint32_t>(nodes_.size() - 1);
  return nodes_.size() - 1;
}

// The id at the end of the path of a run, which is made if it is not there; `begin` is where the
// run stands, or is going to stand, in arena_.
SubstringId& SubstringSet::leaf(TokenView run, std::size_t begin) {
  if (nodes_.empty()) nodes_.emplace_back();
  std::size_t node = 0;
  for (std::size_t at = 0; at < run.size();) {
    const auto child = children_.find(child_key(node, run[at]));
    if (child == children_.end()) {
      return nodes_[add_node(node, run[at], {begin + at, run.size() - at, 0})].id;
    }
    const std::size_t next = child->second;
    const Node edge = nodes_[next];
    const TokenView tokens = TokenView(arena_).subspan(edge.edge_begin, edge.edge_size);
    const TokenView rest = run.subspan(at);
    const std::size_t limit = std::min(tokens.size(), rest.size());
    std::size_t same = 0;
    while (same < limit && tokens[same] == rest[same]) ++same;
    if (same < edge.edge_size) {
      // The edge is split: what was its end becomes a child of the part that is shared.
      const std::size_t middle = add_node(node, run[at], {edge.edge_begin, same, 0});
      nodes_[next].edge_begin += same;
      nodes_[next].edge_size -= same;
      children_[child_key(middle, arena_[edge.edge_begin + same])] =
          static_cast<std::uint32_t>(next);
      node = middle;
    } else {
      node = next;
    }
    at += same;
  }
  return nodes_[node].id;
}

Status SubstringSet::add_as(SubstringId id, TokenView run, const SubstringCounts& counts) {
  if (id == 0 || id == UINT32_MAX) return Error(Errc::invalid, "substring: no run has this id");
  if (run.size() < kSubstringTokensMin || run.size() > kSubstringTokensMax) {
    return Error(Errc::invalid, "substring: a run of " + std::to_string(run.size()) +
                                    " tokens; it may have 16 to 65,536");
  }
  if (arena_.size() + run.size() > kSubstringSetTokensMax) {
    return Error(Errc::exhausted, "substring set: more than 2^25 tokens");
  }
  if (index_of(id) < size()) {
    return Error(Errc::exists, "substring " + std::to_string(id) + " is there already");
  }
  // First the tokens, as the tree may come to point at them.
  const std::size_t begin = arena_.size();
  arena_.insert(arena_.end(), run.begin(), run.end());
  SubstringId& place = leaf(TokenView(arena_).subspan(begin), begin);
  if (place != 0) {
    arena_.resize(begin);
    return Error(Errc::exists, "substring " + std::to_string(place) + " is the same run");
  }
  place = id;
  if (starts_.empty()) starts_.resize((std::size_t{1} << kStartBits) / 64);
  const std::size_t start = start_of(run);
  starts_[start / 64] |= std::uint64_t{1} << start % 64;
  Entry entry;
  static_cast<SubstringCounts&>(entry.info) = counts;
  entry.info.id = id;
  entry.info.tokens = run.size();
  entry.begin = begin;
  const auto at = std::lower_bound(entries_.begin(), entries_.end(), id,
                                   [](const Entry& e, SubstringId i) { return e.info.id < i; });
  entries_.insert(at, entry);
  next_id_ = std::max(next_id_, id + 1);
  return {};
}

Result<SubstringId> SubstringSet::add(TokenView run, const SubstringCounts& counts) {
  const auto match = longest_match(run);
  if (match && match->tokens == run.size()) {
    SubstringInfo& info = entries_[index_of(match->id)].info;
    info.segments = std::max(info.segments, counts.segments);
    info.conversations = std::max(info.conversations, counts.conversations);
    return match->id;
  }
  if (next_id_ == UINT32_MAX) return Error(Errc::exhausted, "substring set: no more ids");
  const SubstringId id = next_id_;
  TOKVAULT_TRY(add_as(id, run, counts));
  return id;
}

Status SubstringSet::set_counts(SubstringId id, const SubstringCounts& counts) {
  const std::size_t index = index_of(id);
  if (index == size()) return not_there(id);
  static_cast<SubstringCounts&>(entries_[index].info) = counts;
  return {};
}

std::uint64_t SubstringSet::retain(std::span<const SubstringId> ids) {
  std::vector<SubstringId> wanted(ids.begin(), ids.end());
  std::sort(wanted.begin(), wanted.end());
  SubstringSet kept;
  for (const Entry& e : entries_) {
    if (!std::binary_search(wanted.begin(), wanted.end(), e.info.id)) continue;
    (void)kept.add_as(e.info.id, view(e), e.info).has_value();
  }
  kept.next_id_ = next_id_;
  const std::uint64_t dropped = entries_.size() - kept.entries_.size();
  if (dropped > 0) *this = std::move(kept);
  return dropped;
}

template <class Use>
void SubstringSet::walk(TokenView text, const Use& use) const {
  if (entries_.empty() || text.size() < kSubstringTokensMin) return;
  const std::size_t start = start_of(text);
  if ((starts_[start / 64] >> start % 64 & 1) == 0) return;
  std::size_t node = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto child = children_.find(child_key(node, text[at]));
    if (child == children_.end()) return;
    node = child->second;
    const Node& edge = nodes_[node];
    if (edge.edge_size > text.size() - at ||
        !std::equal(arena_.begin() + static_cast<std::ptrdiff_t>(edge.edge_begin),
                    arena_.begin() + static_cast<std::ptrdiff_t>(edge.edge_begin + edge.edge_size),
                    text.begin() + static_cast<std::ptrdiff_t>(at))) {
      return;
    }
    at += edge.edge_size;
    if (edge.id != 0) use(Match{edge.id, at});
  }
}

std::optional<SubstringSet::Match> SubstringSet::longest_match(TokenView text) const {
  std::optional<Match> best;
  walk(text, [&](const Match& match) { best = match; });
  return best;
}

void SubstringSet::all_matches(TokenView text, std::vector<Match>& out) const {
  out.clear();
  walk(text, [&](const Match& match) { out.push_back(match); });
}

Result<TokenView> SubstringSet::tokens(SubstringId id) const {
  const std::size_t index = index_of(id);
  if (index == size()) return not_there(id);
  return view(entries_[index]);
}

std::vector<SubstringInfo> SubstringSet::list() const {
  std::vector<SubstringInfo> out;
  out.reserve(entries_.size());
  for (const Entry& e : entries_) out.push_back(e.info);
  return out;
}

std::vector<TokenView> SubstringSet::runs() const {
  std::vector<TokenView> out;
  out.reserve(entries_.size());
  for (const Entry& e : entries_) out.push_back(view(e));
  return out;
}

Buffer SubstringSet::serialize() const {
  Buffer out;
  append_varint(out, kFormatVersion);
  append_varint(out, next_id_);
  append_varint(out, entries_.size());
  SubstringId previous = 0;
  for (const Entry& e : entries_)
    append_varint(out, e.info.id - previous - 1), previous = e.info.id;
  for (const Entry& e : entries_) append_varint(out, e.info.tokens - kSubstringTokensMin);
  for (const Entry& e : entries_) append_varint(out, e.info.segments);
  for (const Entry& e : entries_) append_varint(out, e.info.conversations);
  std::int64_t time = 0;
  for (const Entry& e : entries_) {
    append_varint(out,
                  zigzag(static_cast<std::int64_t>(static_cast<std::uint64_t>(e.info.created_ms) -
                                                   static_cast<std::uint64_t>(time))));
    time = e.info.created_ms;
  }
  std::unordered_map<Token, std::uint64_t> counts;
  for (Token t : arena_) ++counts[t];
  const TokenMap map = TokenMap::by_frequency({counts.begin(), counts.end()}, CodeBytes::all);
  append_sized(out, map.serialize());
  for (const Entry& e : entries_) map.encode(view(e), out);
  return out;
}

Result<SubstringColumns> parse_substring_columns(ByteView bytes) {
  ByteReader in(bytes);
  if (in.varint() != kFormatVersion) {
    if (!in.ok()) return damaged("it is cut short");
    return Error(Errc::unsupported, "substring set: written by a newer version of tokvault");
  }
  SubstringColumns out;
  out.next_id = in.varint32();
  const std::uint64_t count = in.varint();
  // Each run takes a byte in every column and one for every token.
  if (!in.ok() || out.next_id == 0) return damaged("its next id");
  if (count > in.left() / (5 + kSubstringTokensMin)) return damaged("too many runs");
  out.infos.resize(count);
  std::uint64_t id = 0, tokens_total = 0;
  for (SubstringInfo& i : out.infos) {
    const std::uint64_t step = in.varint();
    if (!in.ok() || step >= out.next_id || id + step + 1 >= out.next_id) return damaged("an id");
    id += step + 1;
    i.id = static_cast<SubstringId>(id);
  }
  for (SubstringInfo& i : out.infos) {
    i.tokens = in.varint();
    if (!in.ok() || i.tokens > kSubstringTokensMax - kSubstringTokensMin)
      return damaged("a length");
    i.tokens += kSubstringTokensMin;
    tokens_total += i.tokens;
  }
  for (SubstringInfo& i : out.infos) i.segments = in.varint();
  for (SubstringInfo& i : out.infos) i.conversations = in.varint();
  std::uint64_t time = 0;
  for (SubstringInfo& i : out.infos) {
    time += static_cast<std::uint64_t>(in.svarint());
    i.created_ms = static_cast<std::int64_t>(time);
  }
  const ByteView map_bytes = in.sized();
  if (!in.ok() || tokens_total > in.left()) return damaged("it is cut short");
  if (tokens_total > kSubstringSetTokensMax || in.left() > kTokenCodeBytesMax * tokens_total) {
    return damaged("more tokens than a set has");
  }
  TOKVAULT_ASSIGN(const TokenMap map, TokenMap::parse(map_bytes, CodeBytes::all));
  TOKVAULT_TRY(map.decode(in.rest(), out.tokens));
  if (out.tokens.size() != tokens_total) return damaged("its runs are not as long as it says");
  return out;
}

Result<SubstringSet> SubstringSet::parse(ByteView bytes) {
  TOKVAULT_ASSIGN(const SubstringColumns columns, parse_substring_columns(bytes));
  SubstringSet set;
  std::size_t at = 0;
  for (const SubstringInfo& i : columns.infos) {
    auto added = set.add_as(i.id, TokenView(columns.tokens).subspan(at, i.tokens), i);
    if (!added) return damaged(added.error().message());
    at += i.tokens;
  }
  set.next_id_ = columns.next_id;
  return set;
}

}  // namespace tokvault
