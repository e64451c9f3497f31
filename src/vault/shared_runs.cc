#include "vault/shared_runs.h"

#include <algorithm>
#include <bit>
#include <tuple>
#include <utility>

#include "base/bytes.h"
#include "base/checksum.h"

namespace tokvault {
namespace {

// A text, as it is compared: tokens or bytes.
struct Text {
  bool is_tokens = false;
  std::vector<Token> tokens;
  Buffer bytes;
  std::uint32_t conversations = 0;

  std::size_t size() const { return is_tokens ? tokens.size() : bytes.size(); }
  std::size_t run() const { return is_tokens ? kRunTokens : kRunBytes; }
  // Identity of the run that begins at `i`. 64 bits: a few million runs do not collide.
  std::uint64_t run_hash(std::size_t i) const {
    if (!is_tokens) return checksum64(ByteView(bytes).substr(i, kRunBytes));
    return checksum64(ByteView(reinterpret_cast<const char*>(tokens.data() + i), kRunTokens * 4),
                      1);
  }
  std::size_t run_count() const { return size() < run() ? 0 : size() - run() + 1; }
  // The stretch from `begin` as an encoder without a token map would write it.
  void append_code(std::size_t begin, std::size_t count, Buffer& out) const {
    if (is_tokens) {
      TokenMap().encode(TokenView(tokens).subspan(begin, count), out);
    } else {
      out.append(bytes, begin, count);
    }
  }
};

Status read_text(const Source& source, Stream stream, std::uint32_t number, Scratch& scratch,
                 Text& out) {
  TOKVAULT_ASSIGN(const ByteView code, source.code(stream, number, scratch));
  out.is_tokens = stream == kTokenStream;
  out.tokens.clear();
  out.bytes.clear();
  if (!out.is_tokens) {
    out.bytes = code;
    return {};
  }
  return source.decode_tokens(code, out.tokens);
}

// Calls visit(form) and visit(stream, reference) for all that a row is made of.
template <class FormVisitor, class RefVisitor>
Status visit_row(const Tables& t, std::uint32_t row, FormVisitor form_visitor,
                 RefVisitor ref_visitor) {
  auto part = [&](std::uint32_t form, const SegmentRef* refs) -> Status {
    TOKVAULT_TRY(form_visitor(form));
    const FormInfo& info = t.form_infos[form];
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      TOKVAULT_TRY(ref_visitor(info.stream_of(i), refs[i]));
    }
    return {};
  };
  const Row& r = t.rows[row];
  TOKVAULT_TRY(part(r.form, t.row_refs(r)));
  for (const std::uint32_t node : t.path(r)) {
    TOKVAULT_TRY(part(t.nodes[node].form, t.node_refs(t.nodes[node])));
  }
  return {};
}

// Texts of sampled conversations, each once.
class Sample {
 public:
  // A text that is larger than `text_bytes_max` is taken as far as that.
  Sample(const State& state, std::uint32_t tenant, std::uint64_t text_bytes_max)
      : state_(state), tenant_(tenant), text_bytes_max_(text_bytes_max) {}

  // `goes_on`: what was added last is of the same chat, which counts once.
  Status add(const Found& found, bool goes_on) {
    if (!goes_on) conversations_.emplace_back();
    std::vector<std::uint32_t>& mine = conversations_.back();
    for (const std::uint32_t t : mine) --texts_[t].conversations;
    auto add_form = [&](std::uint32_t form) -> Status {
      std::uint32_t& known = slot(found.source->file(), kStreams, form);
      if (known == 0) {
        Text text;
        text.bytes = found.tables->forms[form].substr(0, text_bytes_max_);
        known = intern(std::move(text)) + 1;
      }
      mine.push_back(known - 1);
      return {};
    };
    auto add_segment = [&](Stream stream, SegmentRef ref) -> Status {
      const Source* source = found.source.get();
      std::uint32_t number = ref.number();
      State::Located located;
      if (ref.is_external()) {
        TOKVAULT_ASSIGN(located, state_.locate(tenant_, found.tables->externals[number], scratch_));
        source = located.source.get();
        number = located.number;
      }
      std::uint32_t& known = slot(source->file(), stream, number);
      if (known == 0) {
        Text text;
        TOKVAULT_TRY(read_text(*source, stream, number, scratch_, text));
        cut_short(text);
        known = intern(std::move(text)) + 1;
      }
      mine.push_back(known - 1);
      return {};
    };
    TOKVAULT_TRY(visit_row(*found.tables, found.row, add_form, add_segment));
    std::sort(mine.begin(), mine.end());
    mine.erase(std::unique(mine.begin(), mine.end()), mine.end());
    for (const std::uint32_t t : mine) ++texts_[t].conversations;
    return {};
  }

  std::uint64_t bytes() const { return bytes_; }
  const std::vector<Text>& texts() const { return texts_; }
  const std::vector<std::vector<std::uint32_t>>& conversations() const { return conversations_; }

 private:
  // Where the number of a text of a file, plus 1, is remembered.
  std::uint32_t& slot(std::uint64_t file, std::size_t kind, std::uint32_t number) {
    auto& numbers = slots_[file][kind];
    if (numbers.size() <= number) numbers.resize(number + 1);
    return numbers[number];
  }
  void cut_short(Text& text) const {
    if (text.tokens.size() > text_bytes_max_ / kTokenBytes) {
      text.tokens.resize(text_bytes_max_ / kTokenBytes);
      text.tokens.shrink_to_fit();
    }
    if (text.bytes.size() > text_bytes_max_) {
      text.bytes.resize(text_bytes_max_);
      text.bytes.shrink_to_fit();
    }
  }
  std::uint32_t intern(Text text) {
    const ShortDigest digest = text.is_tokens ? token_digest(text.tokens) : byte_digest(text.bytes);
    Buffer key(1, text.is_tokens ? 't' : 'b');
    key.append(reinterpret_cast<const char*>(digest.data()), digest.size());
    const auto [it, is_new] = by_digest_.try_emplace(std::move(key), texts_.size());
    if (is_new) {
      bytes_ += text.is_tokens ? text.tokens.size() * kTokenBytes : text.bytes.size();
      texts_.push_back(std::move(text));
    }
    return it->second;
  }

  static constexpr std::size_t kTokenBytes = 2;  // of code, about

  const State& state_;
  const std::uint32_t tenant_;
  const std::uint64_t text_bytes_max_;
  Scratch scratch_;
  std::map<std::uint64_t, std::array<std::vector<std::uint32_t>, kStreams + 1>> slots_;
  std::unordered_map<Buffer, std::uint32_t> by_digest_;
  std::vector<Text> texts_;
  std::vector<std::vector<std::uint32_t>> conversations_;
  std::uint64_t bytes_ = 0;
};

// In how many conversations each run is, up to kRunConversationsMin. Open addressing: a few million
// runs in one array.
class RunCounts {
 public:
  explicit RunCounts(std::uint64_t runs) : entries_(std::bit_ceil(runs * 3 / 2 + 64)) {}

  // `conversation` is from 1, in growing order.
  void add(std::uint64_t hash, std::uint32_t conversation) {
    Entry& e = find(hash);
    e.hash = hash;
    if (e.last == conversation || e.count == kRunConversationsMin) return;
    e.last = conversation;
    ++e.count;
  }
  bool is_shared(std::uint64_t hash) { return find(hash).count == kRunConversationsMin; }

 private:
  struct Entry {
    std::uint64_t hash = 0;
    std::uint32_t last = 0;
    std::uint32_t count = 0;  // 0: free
  };
  Entry& find(std::uint64_t hash) {
    std::size_t at = hash & (entries_.size() - 1);
    while (entries_[at].count != 0 && entries_[at].hash != hash) {
      at = (at + 1) & (entries_.size() - 1);
    }
    return entries_[at];
  }
  std::vector<Entry> entries_;
};

// Stretches of a text of which every run is shared.
void cut(const Text& text, RunCounts& counts, SharedRuns& out) {
  auto take = [&](std::size_t begin, std::size_t end) {
    const std::size_t before = out.text.size();
    text.append_code(begin, end - begin, out.text);
    out.sizes.push_back(out.text.size() - before);
  };
  if (text.run_count() == 0) {
    // 8 bytes are the least that zstd looks at.
    if (text.conversations >= kRunConversationsMin && text.size() >= 8) take(0, text.size());
    return;
  }
  std::size_t begin = 0;
  bool open = false;
  for (std::size_t i = 0; i < text.run_count(); ++i) {
    const bool shared = counts.is_shared(text.run_hash(i));
    if (shared && !open) begin = i;
    if (!shared && open) take(begin, i + text.run() - 1);
    open = shared;
  }
  if (open) take(begin, text.size());
}

}  // namespace

std::vector<std::uint32_t> chats_of(const Tables& t, const std::vector<bool>& dead) {
  constexpr std::uint32_t kNone = UINT32_MAX;
  const auto is_live = [&](std::size_t row) { return dead.empty() || !dead[row]; };
  // Of each node, a row that goes on from it.
  std::vector<std::uint32_t> next(t.nodes.size(), kNone);
  for (std::uint32_t i = 0; i < t.rows.size(); ++i) {
    if (!is_live(i) || t.rows[i].leaf == kNoNode) continue;
    std::uint32_t n = t.nodes[t.rows[i].leaf].parent;
    for (; n != kNoNode && next[n] == kNone; n = t.nodes[n].parent) next[n] = i;
  }
  std::vector<std::uint32_t> chats(t.rows.size());
  for (std::uint32_t i = 0; i < chats.size(); ++i) {
    const std::uint32_t leaf = t.rows[i].leaf;
    const bool is_last = !is_live(i) || leaf == kNoNode || next[leaf] == kNone;
    chats[i] = is_last ? i : next[leaf];
  }
  // To the last of them, each of which is longer than the one before; those that were passed are
  // led there at once.
  for (std::uint32_t i = 0; i < chats.size(); ++i) {
    std::uint32_t last = i;
    while (chats[last] != last) last = chats[last];
    for (std::uint32_t at = i; at != last;) at = std::exchange(chats[at], last);
  }
  return chats;
}

Result<SharedRuns> shared_runs(const State& state, const TenantState& tenant,
                               std::vector<Found> conversations, std::uint64_t bytes_max) {
  // By a checksum of the sequence number that names its chat; the rows of a chat together.
  struct Choice {
    std::uint64_t order = 0;
    std::uint64_t chat = 0;
    Found found;
  };
  std::vector<Choice> choices;
  choices.reserve(conversations.size());
  std::map<std::uint64_t, std::vector<std::uint32_t>> chats;  // by file
  for (Found& f : conversations) {
    const auto [of_file, is_new] = chats.try_emplace(f.source->file());
    if (is_new) {
      TOKVAULT_ASSIGN(const auto dead, state.dead_rows(tenant, *f.source));
      of_file->second = chats_of(*f.tables, dead);
    }
    Choice& c = choices.emplace_back();
    c.chat = f.tables->rows[of_file->second[f.row]].sequence;
    char bytes[8];
    store_le(c.chat, bytes);
    c.order = checksum64(ByteView(bytes, sizeof bytes));
    c.found = std::move(f);
  }
  std::sort(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) {
    const auto sequence = [](const Choice& c) { return c.found.get().sequence; };
    return std::tuple(a.order, a.chat, sequence(a)) < std::tuple(b.order, b.chat, sequence(b));
  });
  Sample sample(state, tenant.record.number, bytes_max);
  for (std::size_t i = 0; i < choices.size() && sample.bytes() < bytes_max; ++i) {
    TOKVAULT_TRY(sample.add(choices[i].found, i > 0 && choices[i].chat == choices[i - 1].chat));
  }
  std::uint64_t runs = 0;
  for (const Text& t : sample.texts()) runs += t.run_count();
  RunCounts counts(runs);
  std::vector<std::uint32_t> seen(sample.texts().size());
  std::uint32_t number = 0;
  for (const auto& texts : sample.conversations()) {
    ++number;
    for (const std::uint32_t t : texts) {
      // A text that so many conversations have is shared whole.
      if (seen[t]++ >= kRunConversationsMin) continue;
      const Text& text = sample.texts()[t];
      for (std::size_t i = 0; i < text.run_count(); ++i) counts.add(text.run_hash(i), number);
    }
  }
  SharedRuns out;
  out.conversations = number;
  for (const Text& t : sample.texts()) cut(t, counts, out);
  return out;
}

// --- erasing -----------------------------------------------------------------------------------

namespace {

// Where the runs of texts are in some content.
class Content {
 public:
  explicit Content(ByteView content) : content_(content) {
    if (content.size() < kKeyBytes) return;
    for (std::size_t i = 0; i + kKeyBytes <= content.size(); ++i) {
      by_key_[checksum64(content.substr(i, kKeyBytes))].push_back(static_cast<std::uint32_t>(i));
    }
  }
  // Calls visit(hash) for each run of the text that is in the content.
  template <class F>
  void runs_of(const Text& text, F visit) const {
    Buffer code;
    std::vector<std::uint32_t> starts;  // of each token or byte in its code
    for (std::size_t i = 0; i < text.size(); ++i) {
      starts.push_back(static_cast<std::uint32_t>(code.size()));
      text.append_code(i, 1, code);
    }
    starts.push_back(static_cast<std::uint32_t>(code.size()));
    for (std::size_t i = 0; i < text.run_count(); ++i) {
      const ByteView run =
          ByteView(code).substr(starts[i], starts[i + text.run()] - std::size_t{starts[i]});
      const auto found = by_key_.find(checksum64(run.substr(0, kKeyBytes)));
      if (found == by_key_.end()) continue;
      if (std::any_of(found->second.begin(), found->second.end(),
                      [&](std::uint32_t at) { return content_.substr(at, run.size()) == run; })) {
        visit(text.run_hash(i));
      }
    }
  }

 private:
  // 16 tokens take at least as many bytes.
  static constexpr std::size_t kKeyBytes = kRunTokens;
  const ByteView content_;
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> by_key_;
};

// What of a source visible conversations and holds need: of each stream, and the forms.
struct Live {
  std::array<std::vector<bool>, kStreams + 1> parts;
};

// Short segments that stand in the records of their holds: those that are held, or those that were
// and still are in a file.
Result<std::vector<Text>> short_held(const State& state, const TenantState& tenant, bool held) {
  std::vector<Record> records;
  if (held) {
    records = state.find_records(hold_prefix(tenant.record.number));
  } else {
    std::vector<Record> all;
    for (const auto& [number, log] : state.logs()) {
      all.insert(all.end(), log->records().begin(), log->records().end());
    }
    for (const auto& [number, pack] : state.packs()) {
      TOKVAULT_ASSIGN(const auto of_pack, pack->records());
      all.insert(all.end(), of_pack.begin(), of_pack.end());
    }
    for (Record& r : all) {
      if (r.value && !state.find_record(r.key)) records.push_back(std::move(r));
    }
  }
  std::vector<Text> out;
  for (const Record& r : records) {
    HoldKey key;
    if (!parse_hold_key(r.key, key) || key.tenant != tenant.record.number) continue;
    TOKVAULT_ASSIGN(const HoldRecord hold, decode_hold(*r.value));
    if (hold.size >= kSharedCodeBytes) continue;
    Text text;
    text.is_tokens = key.stream == kTokenStream;
    if (text.is_tokens) {
      TOKVAULT_TRY(TokenMap().decode(hold.code, text.tokens));
    } else {
      text.bytes = hold.code;
    }
    out.push_back(std::move(text));
  }
  return out;
}

}  // namespace

Result<bool> holds_erased_run(const State& state, const TenantState& tenant, ByteView content) {
  const auto& sources = state.sources(tenant.record.number);
  std::map<const Source*, Live> live;
  for (const auto& source : sources) {
    TOKVAULT_ASSIGN(auto tables, source->tables());
    Live& l = live[source.get()];
    for (std::size_t s = 0; s < kStreams; ++s) l.parts[s].resize(tables->segment_counts[s]);
    l.parts[kStreams].resize(tables->forms.size());
  }
  Scratch scratch;
  for (const auto& source : sources) {
    TOKVAULT_ASSIGN(auto tables, source->tables());
    TOKVAULT_ASSIGN(const auto dead, state.dead_rows(tenant, *source));
    Live& l = live.at(source.get());
    std::vector<bool> externals(tables->externals.size());
    for (std::uint32_t row = 0; row < tables->rows.size(); ++row) {
      if (!dead.empty() && dead[row]) continue;
      auto mark_form = [&](std::uint32_t form) -> Status {
        l.parts[kStreams][form] = true;
        return {};
      };
      auto mark_segment = [&](Stream stream, SegmentRef ref) -> Status {
        if (ref.is_external()) {
          externals[ref.number()] = true;
        } else {
          l.parts[stream][ref.number()] = true;
        }
        return {};
      };
      TOKVAULT_TRY(visit_row(*tables, row, mark_form, mark_segment));
    }
    for (std::size_t i = 0; i < externals.size(); ++i) {
      if (!externals[i]) continue;
      TOKVAULT_ASSIGN(const State::Located at,
                      state.locate(tenant.record.number, tables->externals[i], scratch));
      live.at(at.source.get()).parts[tables->externals[i].stream][at.number] = true;
    }
  }
  for (const Record& r : state.find_records(hold_prefix(tenant.record.number))) {
    HoldKey key;
    if (!parse_hold_key(r.key, key)) continue;
    TOKVAULT_ASSIGN(const HoldRecord hold, decode_hold(*r.value));
    if (hold.size < kSharedCodeBytes) continue;
    const auto stream = static_cast<Stream>(key.stream);
    TOKVAULT_ASSIGN(const State::Located at,
                    state.locate(tenant.record.number, {stream, shorten(key.digest), 0}, scratch));
    live.at(at.source.get()).parts[stream][at.number] = true;
  }
  // First what is about to go, then, if any of it is in the content, what stays.
  const Content index(content);
  std::set<std::uint64_t> erased;
  for (const bool stays : {false, true}) {
    if (stays && erased.empty()) return false;
    auto look = [&](const Text& text) {
      index.runs_of(text, [&](std::uint64_t hash) {
        if (stays) {
          erased.erase(hash);
        } else {
          erased.insert(hash);
        }
      });
    };
    TOKVAULT_ASSIGN(const std::vector<Text> held, short_held(state, tenant, stays));
    for (const Text& text : held) look(text);
    for (const auto& source : sources) {
      TOKVAULT_ASSIGN(auto tables, source->tables());
      const Live& l = live.at(source.get());
      Text text;
      for (const Stream s : {kTokenStream, kByteStream}) {
        for (std::uint32_t i = 0; i < tables->segment_counts[s]; ++i) {
          if (l.parts[s][i] != stays) continue;
          TOKVAULT_TRY(read_text(*source, s, i, scratch, text));
          look(text);
        }
      }
      text = {};
      for (std::uint32_t i = 0; i < tables->forms.size(); ++i) {
        if (l.parts[kStreams][i] != stays) continue;
        text.bytes = tables->forms[i];
        look(text);
      }
    }
  }
  return !erased.empty();
}

bool is_deletion_after(const TenantState& tenant, std::uint64_t sequence) {
  return std::any_of(tenant.deletions.begin(), tenant.deletions.end(),
                     [&](const auto& deletion) { return deletion.second > sequence; });
}

Result<bool> is_erased_unseen(const State& state, const TenantState& tenant,
                              std::uint64_t sequence) {
  for (const auto& [id, deleted] : tenant.deletions) {
    if (deleted <= sequence) continue;
    bool is_seen = false;
    for (const auto& source : state.sources(tenant.record.number)) {
      if (is_seen) break;
      if (source->range().rows == 0 || source->range().sequence_first >= deleted) continue;
      TOKVAULT_ASSIGN(const auto rows, source->rows_of(id));
      if (rows.empty()) continue;
      TOKVAULT_ASSIGN(const auto tables, source->tables());
      is_seen = std::any_of(rows.begin(), rows.end(), [&](std::uint32_t row) {
        return tables->rows[row].sequence < deleted;
      });
    }
    if (!is_seen) return true;
  }
  return false;
}

}  // namespace tokvault
