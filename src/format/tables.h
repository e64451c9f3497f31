// Tables: everything that a log (for one tenant) or a pack knows besides its text.
//
// Conversations, the trie of their messages, forms, segments, external segments. A log grows them
// in memory batch by batch; a pack stores them by column. Format: docs/format/table.md
//
// The trie: a *node* is a message after a certain sequence of messages: its parent node, its form,
// and references to the segments that fill the form's holes. A conversation is a leaf. Request N of
// a chat repeats the nodes of request N-1 by naming its leaf's ancestors, at no cost.
#ifndef TOKVAULT_FORMAT_TABLES_H_
#define TOKVAULT_FORMAT_TABLES_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "format/column.h"
#include "tokvault/conversation.h"
#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// Segments come in two streams, since tokens and bytes compress differently. Part of the on-disk
// format.
enum Stream : std::uint8_t { kTokenStream = 0, kByteStream = 1 };
inline constexpr std::size_t kStreams = 2;

// A reference to a segment of a stream: a local number, or a row of the external table.
struct SegmentRef {
  std::uint32_t raw = 0;
  static constexpr std::uint32_t kExternalBit = 0x80000000u;
  static SegmentRef local(std::uint32_t number) { return {number}; }
  static SegmentRef external(std::uint32_t row) { return {row | kExternalBit}; }
  bool is_external() const { return (raw & kExternalBit) != 0; }
  std::uint32_t number() const { return raw & ~kExternalBit; }
  bool operator==(const SegmentRef&) const = default;
};

// The first 16 bytes of a segment's SHA-256.
using ShortDigest = std::array<std::uint8_t, 16>;
ShortDigest shorten(const Digest& digest);

// A segment that another file of the same tenant holds.
struct External {
  Stream stream = kTokenStream;
  ShortDigest digest{};
  std::uint64_t file_hint = 0;  // number of the file where it was last seen; may be stale
};

// What the holes of a form ask for. References of a node or conversation, in order: first, if the
// form has holes of kind string or scalar, one byte segment that holds all those values (each a
// varint size and the bytes); then one for each hole of kind text, tokens (token stream), json,
// binary (byte stream).
struct FormInfo {
  bool has_inline = false;
  std::vector<Hole> segment_holes;
  std::size_t ref_count() const { return segment_holes.size() + (has_inline ? 1 : 0); }
  Stream stream_of(std::size_t ref) const;
};
FormInfo analyse_form(std::string_view form);
// Whether every control byte in it is a hole.
bool has_known_holes(std::string_view form);

inline constexpr std::uint32_t kNoNode = 0xffffffffu;

struct Node {
  std::uint32_t parent = kNoNode;
  std::uint32_t form = 0;
  std::uint32_t refs_begin = 0;
  std::uint32_t depth = 1;  // messages from the root, this one included
};

struct Row {
  std::uint32_t model = 0;  // numbers of strings; 0 is ""
  std::uint32_t application = 0;
  std::uint32_t form = 0;
  std::uint32_t leaf = kNoNode;
  std::uint32_t refs_begin = 0;
  std::uint32_t nodes_end = 0;  // the nodes that came with rows up to this one
  std::int64_t time_ms = 0;
  std::uint64_t sequence = 0;
  std::uint64_t first_sequence = 0;
  std::uint64_t tokens = 0;
  std::uint64_t text_bytes = 0;
};

// The parts of Tables that a pack stores as frames of their own, so that a sum over conversations
// reads three columns and nothing else. Part of the on-disk format, never renumber.
enum class TablePart : std::uint8_t {
  strings = 0,  // models, applications, forms
  ids = 1,
  model = 2,
  application = 3,
  time = 4,
  sequence = 5,  // sequence, and how far first_sequence lies back
  tokens = 6,
  text_bytes = 7,
  trie = 8,  // form of row, base, added; form of node; references
  externals = 9,
};
inline constexpr std::size_t kTableParts = 10;

struct Tables {
  StringTable models;        // [0] is ""
  StringTable applications;  // [0] is ""
  StringTable forms;
  std::vector<FormInfo> form_infos;
  StringTable ids;
  std::vector<Row> rows;
  std::vector<Node> nodes;
  std::vector<SegmentRef> refs;
  std::vector<External> externals;
  std::array<std::uint32_t, kStreams> segment_counts{};  // local segments

  Tables();
  std::uint32_t add_form(std::string_view form);
  const SegmentRef* node_refs(const Node& n) const { return refs.data() + n.refs_begin; }
  const SegmentRef* row_refs(const Row& r) const { return refs.data() + r.refs_begin; }
  std::uint32_t messages(const Row& r) const { return r.leaf == kNoNode ? 0 : nodes[r.leaf].depth; }
  // Nodes from the first message to the last.
  std::vector<std::uint32_t> path(const Row& r) const;
  std::size_t memory_bytes() const;
};

// How much tables hold. A pack has at most kTableSizeMax of each, so that what a file claims is
// bounded before memory is taken for it: tables that are as large as they may be take 450 MB with
// all that decoding them needs. What a writer makes stays below it: a log ends at half of it, which
// leaves room for a conversation; one batch brings no more than fits; and merging makes more packs.
struct TableSize {
  std::uint64_t rows = 0;
  std::uint64_t nodes = 0;
  std::uint64_t references = 0;
  std::uint64_t externals = 0;
  std::array<std::uint64_t, kStreams> segments{};
  std::uint64_t forms = 0;
  std::uint64_t string_bytes = 0;  // of ids, forms, and names of models and applications
  bool fits(const TableSize& limit) const;
  TableSize& operator+=(const TableSize& more);
};
inline constexpr TableSize kTableSizeMax{
    .rows = 1u << 20,
    .nodes = 1u << 21,
    .references = 1u << 22,
    .externals = 1u << 20,
    .segments = {1u << 21, 1u << 21},
    .forms = 1u << 19,
    .string_bytes = kColumnTextBytesMax,
};
// What a log has when it is ended.
inline constexpr TableSize kLogTableSize{
    .rows = kTableSizeMax.rows / 2,
    .nodes = kTableSizeMax.nodes / 2,
    .references = kTableSizeMax.references / 2,
    .externals = kTableSizeMax.externals / 2,
    .segments = {kTableSizeMax.segments[0] / 2, kTableSizeMax.segments[1] / 2},
    .forms = kTableSizeMax.forms / 2,
    .string_bytes = kTableSizeMax.string_bytes / 2,
};
TableSize size_of(const Tables& tables);

// How references to segments are written, which a pack's header says.
enum class References : std::uint8_t { behind, recent };

struct EncodedTables {
  std::array<Buffer, kTableParts> parts;
  References references = References::behind;  // what makes the trie smaller
};
// REQUIRES: local segments are numbered in the order of their first reference, nodes are in the
// order of the rows that brought them.
Result<EncodedTables> encode_tables(const Tables& tables, int level);

// What must be known to decode parts; stands in the pack's footer.
struct TableCounts {
  std::uint64_t rows = 0;
  std::uint64_t nodes = 0;
  std::uint64_t externals = 0;
  std::array<std::uint64_t, kStreams> segments{};
};
TableCounts counts_of(const Tables& tables);
TableSize size_of(const TableCounts& counts);  // without references, forms and strings
// The bytes of text in all nodes and conversations, each counted once, from the bytes of each local
// token segment. What a repeated message costs less than its text is the gain of sharing prefixes.
std::uint64_t node_text_bytes(const Tables& tables, const std::vector<std::uint64_t>& text_sizes);

// Decodes all parts; every number in the result is in range. `corrupt` otherwise. With `ids`, which
// are those of TablePart::ids, decoded, that part is not looked at.
Result<Tables> decode_tables(const std::array<Buffer, kTableParts>& parts,
                             const TableCounts& counts, References references,
                             std::optional<StringTable> ids = std::nullopt);
// The names in TablePart::strings alone, for sums.
Status decode_names(ByteView part, StringTable& models, StringTable& applications);

}  // namespace tokvault

#endif  // TOKVAULT_FORMAT_TABLES_H_
