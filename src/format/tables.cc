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

// A reference as an integer: 0 for the next segment not yet referred to, odd for one that lies so
// many behind it, even for an external one.
std::uint64_t encode_ref(SegmentRef ref, std::uint64_t& next) {
  if (ref.is_external()) return 2 * std::uint64_t{ref.number()} + 2;
  if (ref.number() == next) return ++next, 0;
  return 2 * (next - 1 - ref.number()) + 1;
}

bool decode_ref(std::uint64_t value, std::uint64_t& next, const TableCounts& counts,
                std::uint8_t stream, SegmentRef& out) {
  if (value == 0) {
    if (next >= counts.segments[stream]) return false;
    out = SegmentRef::local(static_cast<std::uint32_t>(next++));
    return true;
  }
  if (value % 2 == 1) {
    const std::uint64_t back = (value - 1) / 2;
    if (back >= next) return false;
    out = SegmentRef::local(static_cast<std::uint32_t>(next - 1 - back));
    return true;
  }
  const std::uint64_t row = (value - 2) / 2;
  if (row >= counts.externals) return false;
  out = SegmentRef::external(static_cast<std::uint32_t>(row));
  return true;
}

// The average of text bytes a token, in 256ths.
std::uint64_t bytes_per_token(const std::vector<Row>& rows) {
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

Result<std::array<Buffer, kTableParts>> encode_tables(const Tables& t, int level) {
  std::array<Buffer, kTableParts> parts;
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
  // Bytes follow from tokens nearly: what is stored is the distance from the pack's average.
  const std::uint64_t ratio = bytes_per_token(t.rows);
  append_varint(part(TablePart::text_bytes), ratio);
  TOKVAULT_TRY(rows_column(TablePart::text_bytes, [&](const Row& r) {
    return zigzag(static_cast<std::int64_t>(r.text_bytes - expected_bytes(r.tokens, ratio)));
  }));

  // The trie. A row brings `added` nodes, a chain that hangs on `base`; with none, its leaf is
  // base.
  TOKVAULT_TRY(rows_column(TablePart::trie, [](const Row& r) { return r.form; }));
  std::vector<std::uint64_t> bases, added, node_forms;
  std::array<std::vector<std::uint64_t>, kStreams> refs;
  std::array<std::uint64_t, kStreams> next{};
  auto add_refs = [&](std::uint32_t form, std::uint32_t begin) {
    const FormInfo& info = t.form_infos[form];
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      const Stream s = info.stream_of(i);
      refs[s].push_back(encode_ref(t.refs[begin + i], next[s]));
    }
  };
  std::uint32_t node = 0;
  for (const Row& r : t.rows) {
    const std::uint32_t first = node;
    added.push_back(r.nodes_end - first);
    const std::uint32_t base = first == r.nodes_end ? r.leaf : t.nodes[first].parent;
    // Counted back from the newest node: the chat that goes on is near.
    bases.push_back(base == kNoNode ? 0 : std::uint64_t{first} - base);
    for (; node < r.nodes_end; ++node) {
      node_forms.push_back(t.nodes[node].form);
      add_refs(t.nodes[node].form, t.nodes[node].refs_begin);
    }
    add_refs(r.form, r.refs_begin);
  }
  Buffer& trie = part(TablePart::trie);
  for (const auto* c : {&bases, &added, &node_forms}) {
    TOKVAULT_TRY(append_column(trie, *c, level));
  }
  for (const auto& c : refs) {
    append_varint(trie, c.size());
    TOKVAULT_TRY(append_column(trie, c, level));
  }

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
  return parts;
}

Status decode_names(ByteView part, StringTable& models, StringTable& applications) {
  ByteReader in(part);
  TOKVAULT_TRY(read_strings(in, kTableSizeMax.rows + 1, models));
  TOKVAULT_TRY(read_strings(in, kTableSizeMax.rows + 1, applications));
  if (models.size() == 0 || applications.size() == 0) return corrupt_tables("strings");
  return {};
}

Result<Tables> decode_tables(const std::array<Buffer, kTableParts>& parts,
                             const TableCounts& counts, std::optional<StringTable> ids) {
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
    TOKVAULT_TRY(fill(in, [](Row& r, std::uint64_t v) { return r.sequence = v, true; }));
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
  std::array<std::uint64_t, kStreams> next{};
  auto take_refs = [&](std::uint32_t form) {
    const FormInfo& info = t.form_infos[form];
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      const Stream s = info.stream_of(i);
      SegmentRef ref;
      if (at[s] >= refs[s].size() || !decode_ref(refs[s][at[s]++], next[s], counts, s, ref)) {
        return false;
      }
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
  return t;
}

}  // namespace tokvault
