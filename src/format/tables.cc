#include "format/tables.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"

namespace tokvault {
namespace {

__extension__ using Wide = unsigned __int128;

Error corrupt_tables(const char* what) {
  return Error(Errc::corrupt, std::string("damaged tables: ") + what);
}

Status append_column(Buffer& out, std::span<const std::uint64_t> values, int level) {
  TOKVAULT_ASSIGN(Buffer column, encode_integers(values, level));
  append_sized(out, column);
  return {};
}

Status append_strings(Buffer& out, const StringTable& strings, int level) {
  append_varint(out, strings.size());
  TOKVAULT_ASSIGN(Buffer column, encode_strings(strings, level));
  append_sized(out, column);
  return {};
}

Status read_strings(ByteReader& in, std::uint64_t count_max, StringTable& out) {
  const std::uint64_t count = in.varint();
  const ByteView column = in.sized();
  if (!in.ok() || count > count_max) return corrupt_tables("strings");
  return decode_strings(column, count, out);
}

// References of one stream as integers, in their order: 0 for the next segment not yet referred to,
// even for an external one, odd for one that was: how far it lies behind the last one that was new,
// or its place among the segments referred to last, or else its number. What conversations have in
// common, a system prompt or a "Thank you.", lies further behind with each of them; but it is the
// same place, or number, again.
class RefCoder {
 public:
  RefCoder(References how, std::uint64_t segments, std::uint64_t externals)
      : is_recent_(how == References::recent), segments_(segments), externals_(externals) {}

  std::uint64_t encode(SegmentRef ref) {
    if (ref.is_external()) return 2 * std::uint64_t{ref.number()} + 2;
    const std::uint32_t number = ref.number();
    if (number == next_) {
      ++next_;
      to_front(number, kRecent);
      return 0;
    }
    if (!is_recent_) return 2 * (next_ - 1 - number) + 1;
    const std::size_t place = static_cast<std::size_t>(
        std::find(recent_.begin(), recent_.end(), number) - recent_.begin());
    to_front(number, place);
    return 2 * (place < kRecent ? place : kRecent + std::uint64_t{number}) + 1;
  }

  bool decode(std::uint64_t value, SegmentRef& out) {
    if (value == 0) {
      if (next_ >= segments_) return false;
      const auto number = static_cast<std::uint32_t>(next_++);
      to_front(number, kRecent);
      out = SegmentRef::local(number);
      return true;
    }
    if (value % 2 == 0) {
      const std::uint64_t row = (value - 2) / 2;
      if (row >= externals_) return false;
      out = SegmentRef::external(static_cast<std::uint32_t>(row));
      return true;
    }
    std::uint64_t number = (value - 1) / 2;
    std::size_t place = kRecent;
    if (!is_recent_) {
      number = next_ - 1 - number;  // wraps if it is none
    } else if (number < kRecent) {
      place = number;
      number = recent_[place];
    } else {
      number -= kRecent;
    }
    if (number >= next_) return false;
    if (is_recent_) to_front(static_cast<std::uint32_t>(number), place);
    out = SegmentRef::local(static_cast<std::uint32_t>(number));
    return true;
  }

 private:
  // Part of the on-disk format.
  static constexpr std::size_t kRecent = 16;
  // From `place`, or from outside: then the last one leaves.
  void to_front(std::uint32_t number, std::size_t place) {
    if (!is_recent_) return;
    const auto end = recent_.begin() + std::min(place, kRecent - 1);
    std::move_backward(recent_.begin(), end, end + 1);
    recent_[0] = number;
  }

  const bool is_recent_;
  const std::uint64_t segments_;
  const std::uint64_t externals_;
  std::uint64_t next_ = 0;
  // The newest first; at first none, which no number is.
  std::array<std::uint32_t, kRecent> recent_ = [] {
    std::array<std::uint32_t, kRecent> none;
    none.fill(~0u);
    return none;
  }();
};

// The average of text bytes a token, in 256ths.
std::uint64_t average_ratio(const std::vector<Row>& rows) {
  Wide bytes = 0;
  Wide tokens = 0;
  for (const Row& r : rows) {
    bytes += r.text_bytes;
    tokens += r.tokens;
  }
  return tokens == 0 ? 0 : static_cast<std::uint64_t>(bytes * 256 / tokens);
}

std::uint64_t expected_bytes(std::uint64_t tokens, std::uint64_t ratio) {
  return static_cast<std::uint64_t>(static_cast<Wide>(tokens) * ratio / 256);
}

// Reads integer columns one after another from a part.
class PartReader {
 public:
  explicit PartReader(ByteView part) : in_(part) {}
  Status column(std::uint64_t count, std::vector<std::uint64_t>& out) {
    const ByteView bytes = in_.sized();
    if (!in_.ok()) return corrupt_tables("column");
    return decode_integers(bytes, count, out);
  }
  bool at_end() const { return in_.at_end(); }
  std::uint64_t varint() { return in_.varint(); }

 private:
  ByteReader in_;
};

// All references, of each stream.
std::array<std::vector<std::uint64_t>, kStreams> encode_refs(const Tables& t, References how) {
  std::array<std::vector<std::uint64_t>, kStreams> refs;
  std::array<RefCoder, kStreams> coders = {RefCoder(how, 0, 0), RefCoder(how, 0, 0)};
  auto add = [&](std::uint32_t form, std::uint32_t begin) {
    const FormInfo& info = t.form_infos[form];
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      const Stream s = info.stream_of(i);
      refs[s].push_back(coders[s].encode(t.refs[begin + i]));
    }
  };
  std::uint32_t node = 0;
  for (const Row& r : t.rows) {
    for (; node < r.nodes_end; ++node) add(t.nodes[node].form, t.nodes[node].refs_begin);
    add(r.form, r.refs_begin);
  }
  return refs;
}

// Text bytes as what they are more than tokens times a ratio: the average, where they follow from
// tokens nearly, or 0, where they do so less than they repeat.
Result<Buffer> encode_text_bytes(const Tables& t, int level) {
  Buffer out;
  std::vector<std::uint64_t> column(t.rows.size());
  for (const std::uint64_t ratio : {average_ratio(t.rows), std::uint64_t{0}}) {
    std::transform(t.rows.begin(), t.rows.end(), column.begin(), [&](const Row& r) {
      return zigzag(static_cast<std::int64_t>(r.text_bytes - expected_bytes(r.tokens, ratio)));
    });
    Buffer part;
    append_varint(part, ratio);
    TOKVAULT_TRY(append_column(part, column, level));
    if (out.empty() || part.size() < out.size()) out = std::move(part);
  }
  return out;
}

}  // namespace

ShortDigest shorten(const Digest& digest) {
  ShortDigest out;
  std::copy_n(digest.begin(), out.size(), out.begin());
  return out;
}

Stream FormInfo::stream_of(std::size_t ref) const {
  if (has_inline) {
    if (ref == 0) return kByteStream;
    --ref;
  }
  const Hole hole = segment_holes[ref];
  return hole == Hole::text || hole == Hole::tokens ? kTokenStream : kByteStream;
}

FormInfo analyse_form(std::string_view form) {
  FormInfo info;
  for (char c : form) {
    if (!is_value_hole(c)) continue;
    const auto hole = static_cast<Hole>(c);
    if (hole == Hole::string || hole == Hole::scalar) {
      info.has_inline = true;
    } else {
      info.segment_holes.push_back(hole);
    }
  }
  return info;
}

bool has_known_holes(std::string_view form) {
  return std::all_of(form.begin(), form.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 || is_value_hole(c) ||
           (byte >= static_cast<unsigned char>(Hole::messages) &&
            byte <= static_cast<unsigned char>(Hole::time_ms));
  });
}

Tables::Tables() {
  models.add("");
  applications.add("");
}

std::uint32_t Tables::add_form(std::string_view form) {
  forms.add(form);
  form_infos.push_back(analyse_form(form));
  return static_cast<std::uint32_t>(forms.size() - 1);
}

std::vector<std::uint32_t> Tables::path(const Row& r) const {
  std::vector<std::uint32_t> out(messages(r));
  std::uint32_t node = r.leaf;
  for (std::size_t i = out.size(); i-- > 0;) {
    out[i] = node;
    node = nodes[node].parent;
  }
  return out;
}

std::size_t Tables::memory_bytes() const {
  return models.memory_bytes() + applications.memory_bytes() + forms.memory_bytes() +
         ids.memory_bytes() + rows.capacity() * sizeof(Row) + nodes.capacity() * sizeof(Node) +
         refs.capacity() * sizeof(SegmentRef) + externals.capacity() * sizeof(External) +
         form_infos.capacity() * 64;
}

bool TableSize::fits(const TableSize& limit) const {
  return rows <= limit.rows && nodes <= limit.nodes && references <= limit.references &&
         externals <= limit.externals && segments[0] <= limit.segments[0] &&
         segments[1] <= limit.segments[1] && forms <= limit.forms &&
         string_bytes <= limit.string_bytes;
}

TableSize& TableSize::operator+=(const TableSize& more) {
  rows += more.rows;
  nodes += more.nodes;
  references += more.references;
  externals += more.externals;
  for (std::size_t s = 0; s < kStreams; ++s) segments[s] += more.segments[s];
  forms += more.forms;
  string_bytes += more.string_bytes;
  return *this;
}

TableSize size_of(const Tables& t) {
  return {
      .rows = t.rows.size(),
      .nodes = t.nodes.size(),
      .references = t.refs.size(),
      .externals = t.externals.size(),
      .segments = {t.segment_counts[kTokenStream], t.segment_counts[kByteStream]},
      .forms = t.forms.size(),
      .string_bytes = t.ids.bytes() + t.forms.bytes() + t.models.bytes() + t.applications.bytes()};
}

TableSize size_of(const TableCounts& c) {
  TableSize size;
  size.rows = c.rows;
  size.nodes = c.nodes;
  size.externals = c.externals;
  size.segments = c.segments;
  return size;
}

TableCounts counts_of(const Tables& t) {
  return {t.rows.size(),
          t.nodes.size(),
          t.externals.size(),
          {t.segment_counts[kTokenStream], t.segment_counts[kByteStream]}};
}

std::uint64_t node_text_bytes(const Tables& t, const std::vector<std::uint64_t>& text_sizes) {
  std::uint64_t total = 0;
  auto add = [&](std::uint32_t form, std::uint32_t begin) {
    const FormInfo& info = t.form_infos[form];
    for (std::size_t i = info.has_inline ? 1 : 0; i < info.ref_count(); ++i) {
      const SegmentRef ref = t.refs[begin + i];
      if (info.segment_holes[i - (info.has_inline ? 1 : 0)] == Hole::text && !ref.is_external()) {
        total += text_sizes[ref.number()];
      }
    }
  };
  for (const Node& n : t.nodes) add(n.form, n.refs_begin);
  for (const Row& r : t.rows) add(r.form, r.refs_begin);
  return total;
}

Result<EncodedTables> encode_tables(const Tables& t, int level) {
  EncodedTables out;
  auto& parts = out.parts;
  auto part = [&](TablePart p) -> Buffer& { return parts[static_cast<std::size_t>(p)]; };
  for (const StringTable* strings : {&t.models, &t.applications, &t.forms}) {
    TOKVAULT_TRY(append_strings(part(TablePart::strings), *strings, level));
  }
  TOKVAULT_ASSIGN(part(TablePart::ids), encode_strings(t.ids, level));

  std::vector<std::uint64_t> column;
  auto rows_column = [&](TablePart p, auto value) -> Status {
    column.clear();
    for (const Row& r : t.rows) column.push_back(value(r));
    return append_column(part(p), column, level);
  };
  TOKVAULT_TRY(rows_column(TablePart::model, [](const Row& r) { return r.model; }));
  TOKVAULT_TRY(rows_column(TablePart::application, [](const Row& r) { return r.application; }));
  TOKVAULT_TRY(rows_column(TablePart::time, [](const Row& r) { return zigzag(r.time_ms); }));
  TOKVAULT_TRY(rows_column(TablePart::sequence, [](const Row& r) { return r.sequence; }));
  TOKVAULT_TRY(
      rows_column(TablePart::sequence, [](const Row& r) { return r.sequence - r.first_sequence; }));
  TOKVAULT_TRY(rows_column(TablePart::tokens, [](const Row& r) { return r.tokens; }));
  TOKVAULT_ASSIGN(part(TablePart::text_bytes), encode_text_bytes(t, level));

  // The trie. A row brings `added` nodes, a chain that hangs on `base`; with none, its leaf is
  // base.
  TOKVAULT_TRY(rows_column(TablePart::trie, [](const Row& r) { return r.form; }));
  std::vector<std::uint64_t> bases, added, node_forms;
  std::uint32_t node = 0;
  for (const Row& r : t.rows) {
    const std::uint32_t first = node;
    added.push_back(r.nodes_end - first);
    const std::uint32_t base = first == r.nodes_end ? r.leaf : t.nodes[first].parent;
    // Counted back from the newest node: the chat that goes on is near.
    bases.push_back(base == kNoNode ? 0 : std::uint64_t{first} - base);
    for (; node < r.nodes_end; ++node) node_forms.push_back(t.nodes[node].form);
  }
  Buffer& trie = part(TablePart::trie);
  for (const auto* c : {&bases, &added, &node_forms}) {
    TOKVAULT_TRY(append_column(trie, *c, level));
  }
  Buffer references;
  for (const References how : {References::behind, References::recent}) {
    Buffer coded;
    for (const auto& c : encode_refs(t, how)) {
      append_varint(coded, c.size());
      TOKVAULT_TRY(append_column(coded, c, level));
    }
    if (!references.empty() && coded.size() >= references.size()) continue;
    references = std::move(coded);
    out.references = how;
  }
  trie += references;

  Buffer digests;
  std::vector<std::uint64_t> hints, streams;
  for (const External& e : t.externals) {
    digests.append(reinterpret_cast<const char*>(e.digest.data()), e.digest.size());
    hints.push_back(e.file_hint);
    streams.push_back(e.stream);
  }
  Buffer& externals = part(TablePart::externals);
  TOKVAULT_TRY(append_column(externals, hints, level));
  TOKVAULT_TRY(append_column(externals, streams, level));
  externals += digests;
  return out;
}

Status decode_names(ByteView part, StringTable& models, StringTable& applications) {
  ByteReader in(part);
  TOKVAULT_TRY(read_strings(in, kTableSizeMax.rows + 1, models));
  TOKVAULT_TRY(read_strings(in, kTableSizeMax.rows + 1, applications));
  if (models.size() == 0 || applications.size() == 0) return corrupt_tables("strings");
  return {};
}

Result<Tables> decode_tables(const std::array<Buffer, kTableParts>& parts,
                             const TableCounts& counts, References references,
                             std::optional<StringTable> ids) {
  Tables t;
  if (!size_of(counts).fits(kTableSizeMax)) return corrupt_tables("more than a pack holds");
  auto part = [&](TablePart p) -> const Buffer& { return parts[static_cast<std::size_t>(p)]; };
  t.models = StringTable();
  t.applications = StringTable();
  ByteReader strings(part(TablePart::strings));
  TOKVAULT_TRY(read_strings(strings, kTableSizeMax.rows + 1, t.models));
  TOKVAULT_TRY(read_strings(strings, kTableSizeMax.rows + 1, t.applications));
  TOKVAULT_TRY(read_strings(strings, kTableSizeMax.forms, t.forms));
  if (!strings.at_end() || t.models.size() == 0 || t.applications.size() == 0) {
    return corrupt_tables("strings");
  }
  t.form_infos.reserve(t.forms.size());
  for (std::size_t i = 0; i < t.forms.size(); ++i) {
    if (!has_known_holes(t.forms[i])) return corrupt_tables("an unknown hole");
    t.form_infos.push_back(analyse_form(t.forms[i]));
  }
  for (std::size_t s = 0; s < kStreams; ++s) {
    t.segment_counts[s] = static_cast<std::uint32_t>(counts.segments[s]);
  }
  if (ids) {
    t.ids = std::move(*ids);
  } else {
    TOKVAULT_TRY(decode_strings(part(TablePart::ids), counts.rows, t.ids));
  }
  if (size_of(t).string_bytes > kTableSizeMax.string_bytes) return corrupt_tables("strings");

  t.rows.resize(counts.rows);
  std::vector<std::uint64_t> column;
  auto fill = [&](PartReader& in, auto set) -> Status {
    TOKVAULT_TRY(in.column(counts.rows, column));
    for (std::size_t i = 0; i < column.size(); ++i) {
      if (!set(t.rows[i], column[i])) return corrupt_tables("a value is out of range");
    }
    return {};
  };
  {
    PartReader in(part(TablePart::model));
    TOKVAULT_TRY(fill(in, [&](Row& r, std::uint64_t v) {
      r.model = static_cast<std::uint32_t>(v);
      return v < t.models.size();
    }));
  }
  {
    PartReader in(part(TablePart::application));
    TOKVAULT_TRY(fill(in, [&](Row& r, std::uint64_t v) {
      r.application = static_cast<std::uint32_t>(v);
      return v < t.applications.size();
    }));
  }
  {
    PartReader in(part(TablePart::time));
    TOKVAULT_TRY(fill(in, [](Row& r, std::uint64_t v) { return r.time_ms = unzigzag(v), true; }));
  }
  {
    PartReader in(part(TablePart::sequence));
    TOKVAULT_TRY(fill(in, [](Row& r, std::uint64_t v) { return r.sequence = v, v > 0; }));
    TOKVAULT_TRY(fill(in, [](Row& r, std::uint64_t v) {
      r.first_sequence = r.sequence - v;
      return v <= r.sequence;
    }));
  }
  {
    PartReader in(part(TablePart::tokens));
    TOKVAULT_TRY(fill(in, [](Row& r, std::uint64_t v) { return r.tokens = v, true; }));
  }
  {
    PartReader in(part(TablePart::text_bytes));
    const std::uint64_t ratio = in.varint();
    TOKVAULT_TRY(fill(in, [&](Row& r, std::uint64_t v) {
      r.text_bytes = expected_bytes(r.tokens, ratio) + static_cast<std::uint64_t>(unzigzag(v));
      return true;
    }));
  }

  ByteReader ext(part(TablePart::externals));
  const ByteView hints_column = ext.sized();
  const ByteView streams_column = ext.sized();
  const ByteView digests = ext.rest();
  std::vector<std::uint64_t> hints, streams;
  if (!ext.ok() || digests.size() != counts.externals * 16) return corrupt_tables("externals");
  TOKVAULT_TRY(decode_integers(hints_column, counts.externals, hints));
  TOKVAULT_TRY(decode_integers(streams_column, counts.externals, streams));
  for (std::size_t i = 0; i < counts.externals; ++i) {
    if (streams[i] >= kStreams) return corrupt_tables("externals");
    External e{static_cast<Stream>(streams[i]), {}, hints[i]};
    for (std::size_t k = 0; k < 16; ++k) {
      e.digest[k] = static_cast<std::uint8_t>(digests[i * 16 + k]);
    }
    t.externals.push_back(e);
  }

  PartReader in(part(TablePart::trie));
  TOKVAULT_TRY(fill(in, [&](Row& r, std::uint64_t v) {
    r.form = static_cast<std::uint32_t>(v);
    return v < t.forms.size();
  }));
  std::vector<std::uint64_t> bases, added, node_forms;
  TOKVAULT_TRY(in.column(counts.rows, bases));
  TOKVAULT_TRY(in.column(counts.rows, added));
  TOKVAULT_TRY(in.column(counts.nodes, node_forms));
  std::array<std::vector<std::uint64_t>, kStreams> refs;
  std::uint64_t ref_total = 0;
  for (auto& r : refs) {
    const std::uint64_t count = in.varint();
    ref_total += std::min(count, kTableSizeMax.references + 1);
    if (ref_total > kTableSizeMax.references) return corrupt_tables("references");
    TOKVAULT_TRY(in.column(count, r));
  }
  if (!in.at_end()) return corrupt_tables("trie");
  t.refs.reserve(ref_total);
  t.nodes.reserve(counts.nodes);
  std::array<std::size_t, kStreams> at{};
  std::array<RefCoder, kStreams> coders = {
      RefCoder(references, counts.segments[0], counts.externals),
      RefCoder(references, counts.segments[1], counts.externals)};
  auto take_refs = [&](std::uint32_t form) {
    const FormInfo& info = t.form_infos[form];
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      const Stream s = info.stream_of(i);
      SegmentRef ref;
      if (at[s] >= refs[s].size() || !coders[s].decode(refs[s][at[s]++], ref)) return false;
      if (ref.is_external() && t.externals[ref.number()].stream != s) return false;
      t.refs.push_back(ref);
    }
    return true;
  };
  for (std::size_t i = 0; i < t.rows.size(); ++i) {
    Row& r = t.rows[i];
    const std::uint64_t first = t.nodes.size();
    if (added[i] > counts.nodes - first || bases[i] > first) return corrupt_tables("trie");
    std::uint32_t parent = bases[i] == 0 ? kNoNode : static_cast<std::uint32_t>(first - bases[i]);
    for (std::uint64_t k = 0; k < added[i]; ++k) {
      const std::uint64_t form = node_forms[t.nodes.size()];
      if (form >= t.forms.size()) return corrupt_tables("trie");
      const auto f = static_cast<std::uint32_t>(form);
      const std::uint32_t depth = parent == kNoNode ? 1 : t.nodes[parent].depth + 1;
      t.nodes.push_back({parent, f, static_cast<std::uint32_t>(t.refs.size()), depth});
      if (!take_refs(f)) return corrupt_tables("references");
      parent = static_cast<std::uint32_t>(t.nodes.size() - 1);
    }
    r.leaf = parent;
    r.nodes_end = static_cast<std::uint32_t>(t.nodes.size());
    r.refs_begin = static_cast<std::uint32_t>(t.refs.size());
    if (!take_refs(r.form)) return corrupt_tables("references");
  }
  if (t.nodes.size() != counts.nodes || at[0] != refs[0].size() || at[1] != refs[1].size()) {
    return corrupt_tables("trie");
  }
  return t;
}

}  // namespace tokvault
