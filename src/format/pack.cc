#include "format/pack.h"

#include <map>
#include <tuple>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/clock.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kFooterBytesMax = 16u << 20;
constexpr std::uint64_t kRawBytesMax = std::uint64_t{1} << 40;
constexpr int kFooterLevel = 9;

Error corrupt_pack(const char* what) {
  return Error(Errc::corrupt, std::string("damaged pack: ") + what);
}

void append_extent(Buffer& out, const Extent& e) {
  append_varint(out, e.offset);
  append_varint(out, e.size);
  append_varint(out, e.raw_size);
  append_le(out, e.checksum);
}

// Fails the reader if the extent leaves the part of the file before `limit`.
Extent read_extent(ByteReader& in, std::uint64_t limit) {
  Extent e;
  e.offset = in.varint();
  e.size = in.varint();
  e.raw_size = in.varint();
  e.checksum = in.le<std::uint32_t>();
  if (e.offset > limit || e.size > limit - e.offset || e.raw_size > kRawBytesMax) in.fail();
  return e;
}

void append_numbers(Buffer& out, const std::vector<std::uint64_t>& numbers) {
  append_varint(out, numbers.size());
  for (std::uint64_t n : numbers) append_varint(out, n);
}

std::vector<std::uint64_t> read_numbers(ByteReader& in) {
  const std::uint64_t count = in.varint();
  if (count > in.left()) in.fail();
  std::vector<std::uint64_t> out;
  for (std::uint64_t i = 0; in.ok() && i < count; ++i) out.push_back(in.varint());
  return out;
}

}  // namespace

std::uint32_t fingerprint(const ShortDigest& d) {
  return static_cast<std::uint32_t>(d[0]) << 16 | static_cast<std::uint32_t>(d[1]) << 8 | d[2];
}

//  offset size
//   0     4   magic
//   4     2   version
//   6     2   required features, of kPackFeatures
//   8     8   number
//  16     4   tenant
//  20     1   cipher
//  21     3   zero
//  24     4   key id
//  28    16   vault id
//  44    12   zero
//  56     8   checksum of all before
Buffer encode_pack_header(const PackHeader& h) {
  Buffer out;
  append_le(out, kPackMagic);
  append_le(out, h.version);
  append_le(out, h.features);
  append_le(out, h.number);
  append_le(out, h.tenant);
  append_le(out, h.cipher);
  out.append(3, '\0');
  append_le(out, h.key_id);
  out += h.vault_id;
  out.append(12, '\0');
  append_le(out, checksum64(out));
  return out;
}

Result<PackHeader> decode_pack_header(ByteView bytes) {
  if (bytes.size() < kPackHeaderBytes) return corrupt_pack("it is too short");
  ByteReader in(bytes.substr(0, kPackHeaderBytes));
  PackHeader h;
  const auto magic = in.le<std::uint32_t>();
  h.version = in.le<std::uint16_t>();
  h.features = in.le<std::uint16_t>();
  h.number = in.le<std::uint64_t>();
  h.tenant = in.le<std::uint32_t>();
  h.cipher = in.le<std::uint8_t>();
  const ByteView zero3 = in.bytes(3);
  h.key_id = in.le<std::uint32_t>();
  h.vault_id = in.bytes(16);
  const ByteView zero12 = in.bytes(12);
  const auto checksum = in.le<std::uint64_t>();
  if (magic != kPackMagic) return corrupt_pack("this is no pack");
  if (checksum != checksum64(bytes.substr(0, 56))) return corrupt_pack("header checksum");
  if (h.version == 0 || h.version > kPackVersion || h.cipher != 0 ||
      (h.features & ~(h.version == 1 ? 0 : kPackFeatures)) != 0) {
    return Error(Errc::unsupported, "pack version " + std::to_string(h.version) +
                                        " with features " + std::to_string(h.features) +
                                        " and cipher " + std::to_string(h.cipher) +
                                        " needs a newer program; use the one that wrote it");
  }
  if (zero3.find_first_not_of('\0') != ByteView::npos ||
      zero12.find_first_not_of('\0') != ByteView::npos) {
    return corrupt_pack("reserved bytes");
  }
  return h;
}

Result<Buffer> encode_pack_footer(const PackFooter& f, std::uint64_t offset) {
  Buffer out;
  append_sized(out, encode(f.vault));
  append_sized(out, encode(f.tenant));
  append_sized(out, f.set_id);
  append_numbers(out, f.set_members);
  append_numbers(out, f.set_supersedes);
  append_varint(out, f.counts.rows);
  append_varint(out, f.counts.nodes);
  append_varint(out, f.counts.externals);
  for (std::uint64_t n : f.counts.segments) append_varint(out, n);
  append_varint(out, f.tokens_stored);
  append_varint(out, f.sequence_first);
  append_varint(out, f.sequence_last);
  append_varint(out, zigzag(f.time_first_ms));
  append_varint(out, zigzag(f.time_last_ms));
  append_varint(out, f.segment_text_bytes);
  append_varint(out, f.node_text_bytes);
  append_extent(out, f.token_map);
  for (const PackStream& s : f.streams) {
    append_extent(out, s.dictionary);
    append_extent(out, s.blocks);
    append_extent(out, s.table);
    append_varint(out, s.block_count);
    append_varint(out, s.text_bytes);
    out.push_back(static_cast<char>(s.codec));
    out.push_back(s.ended ? 1 : 0);
    append_numbers(out, s.artifacts);
  }
  for (const Extent& e : f.tables) append_extent(out, e);
  append_extent(out, f.usage);
  append_varint(out, f.usage_count);
  append_extent(out, f.records);
  append_varint(out, f.record_count);
  out.push_back(static_cast<char>(f.level));
  out.push_back(static_cast<char>(f.made_by));
  if (f.id_filter.size > 0) append_extent(out, f.id_filter);

  TOKVAULT_ASSIGN(Buffer packed, encode_bytes(out, kFooterLevel));
  // The trailer: offset, size, size decoded, checksum of the footer and of the trailer before it,
  // magic.
  Buffer trailer;
  append_le(trailer, offset);
  append_le(trailer, static_cast<std::uint32_t>(packed.size()));
  append_le(trailer, static_cast<std::uint32_t>(out.size()));
  append_le(trailer, checksum32(packed));
  append_le(trailer, kPackMagic);
  append_le(trailer, checksum64(trailer));
  packed += trailer;
  return packed;
}

Result<Extent> decode_pack_trailer(ByteView trailer, std::uint64_t file_size) {
  ByteReader in(trailer);
  Extent e;
  e.offset = in.le<std::uint64_t>();
  e.size = in.le<std::uint32_t>();
  e.raw_size = in.le<std::uint32_t>();
  e.checksum = in.le<std::uint32_t>();
  const auto magic = in.le<std::uint32_t>();
  const auto checksum = in.le<std::uint64_t>();
  if (!in.ok() || !in.at_end() || magic != kPackMagic ||
      checksum != checksum64(trailer.substr(0, 24))) {
    return corrupt_pack("trailer");
  }
  if (e.raw_size > kFooterBytesMax || e.size > file_size - kPackTrailerBytes ||
      e.offset != file_size - kPackTrailerBytes - e.size) {
    return corrupt_pack("the footer is not where the trailer says");
  }
  return e;
}

Result<PackFooter> decode_pack_footer(ByteView bytes, const Extent& extent,
                                      const PackHeader& header) {
  if (checksum32(bytes) != extent.checksum) return corrupt_pack("footer checksum");
  Buffer raw;
  TOKVAULT_TRY(decode_bytes(bytes, extent.raw_size, raw));
  ByteReader in(raw);
  PackFooter f;
  const ByteView vault = in.sized();
  const ByteView tenant = in.sized();
  f.set_id = in.sized();
  f.set_members = read_numbers(in);
  f.set_supersedes = read_numbers(in);
  f.counts.rows = in.varint();
  f.counts.nodes = in.varint();
  f.counts.externals = in.varint();
  for (std::uint64_t& n : f.counts.segments) n = in.varint();
  if (!size_of(f.counts).fits(kTableSizeMax)) {
    return corrupt_pack("it says that it has more than a pack holds");
  }
  f.tokens_stored = in.varint();
  f.sequence_first = in.varint();
  f.sequence_last = in.varint();
  f.time_first_ms = in.svarint();
  f.time_last_ms = in.svarint();
  f.segment_text_bytes = in.varint();
  f.node_text_bytes = in.varint();
  const std::uint64_t limit = extent.offset;
  f.token_map = read_extent(in, limit);
  for (PackStream& s : f.streams) {
    s.dictionary = read_extent(in, limit);
    s.blocks = read_extent(in, limit);
    s.table = read_extent(in, limit);
    s.block_count = in.varint();
    s.text_bytes = in.varint();
    // A block has a segment, and a dictionary what the writer of any version puts there.
    if (s.block_count > kTableSizeMax.segments[0] ||
        s.dictionary.raw_size > kPackDictionaryBytesMax) {
      return corrupt_pack("it says that it has more than a pack holds");
    }
    if (header.version < 2) continue;
    const auto codec = in.le<std::uint8_t>();
    const auto ended = in.le<std::uint8_t>();
    s.artifacts = read_numbers(in);
    const auto number = static_cast<std::size_t>(&s - f.streams.data());
    if (codec > static_cast<std::uint8_t>(PackCodec::zstd_bases)) {
      return Error(Errc::unsupported, "a codec of a newer program; use the one that wrote it");
    }
    s.codec = static_cast<PackCodec>(codec);
    s.ended = ended == 1;
    if (ended > 1) in.fail();
    const std::uint64_t segments = f.counts.segments[number];
    const bool is_dictionary = s.table.size == 0 && s.blocks.size == 0 && s.block_count == 0;
    if (s.ended && is_dictionary &&
        (s.dictionary.raw_size < segments || s.dictionary.raw_size - segments != s.text_bytes)) {
      return corrupt_pack("a stream does not add up");
    }
    if ((s.ended && !is_dictionary && s.block_count == 0) ||
        (s.codec != PackCodec::zstd && s.codec != PackCodec::zstd_bases && !s.ended) ||
        (s.codec == PackCodec::zstd_bases && (s.ended || s.block_count == 0)) ||
        (s.codec == PackCodec::token_lz && !is_dictionary)) {
      return corrupt_pack("a stream does not add up");
    }
    const bool may_copy = is_dictionary || s.codec == PackCodec::token_model;
    if (!s.artifacts.empty() &&
        (s.artifacts.size() > 1 || number != kTokenStream || !s.ended || !may_copy)) {
      return Error(Errc::unsupported,
                   "it copies from artifacts as a newer program does; use the one that wrote it");
    }
  }
  for (Extent& e : f.tables) e = read_extent(in, limit);
  f.usage = read_extent(in, limit);
  f.usage_count = in.varint();
  f.records = read_extent(in, limit);
  f.record_count = in.varint();
  if (header.version >= 2) {
    const auto level = in.le<std::uint8_t>();
    const auto made_by = in.le<std::uint8_t>();
    if (level < 1 || level > 3 || made_by > 2) in.fail();
    f.level = static_cast<Level>(level);
    f.made_by = static_cast<PackMaker>(made_by);
  }
  if ((header.features & kPackHasIdFilter) != 0) {
    f.id_filter = read_extent(in, limit);
    if (f.id_filter.size == 0 || f.id_filter.size != f.counts.rows) in.fail();
  }
  if (!in.ok() || !in.at_end()) return corrupt_pack("footer");
  TOKVAULT_ASSIGN(f.vault, decode_vault(vault));
  TOKVAULT_ASSIGN(f.tenant, decode_tenant(tenant));
  return f;
}

std::vector<UsageEntry> usage_of(const Tables& t) {
  using Key = std::tuple<std::uint32_t, std::uint32_t, std::int64_t>;
  std::map<Key, UsageEntry> sums;
  for (const Row& r : t.rows) {
    const std::int64_t day = day_of_ms(r.time_ms);
    UsageEntry& e = sums[{r.model, r.application, day}];
    if (sums.size() > kUsageEntriesMax) return {};
    e.model = r.model;
    e.application = r.application;
    e.day = day;
    ++e.conversations;
    e.messages += t.messages(r);
    e.tokens += r.tokens;
  }
  std::vector<UsageEntry> out;
  for (const auto& [key, e] : sums) out.push_back(e);
  return out;
}

Result<Buffer> encode_usage(const std::vector<UsageEntry>& entries, int level) {
  Buffer out;
  auto add = [&](auto value) -> Status {
    std::vector<std::uint64_t> values;
    for (const UsageEntry& e : entries) values.push_back(value(e));
    TOKVAULT_ASSIGN(Buffer column, encode_integers(values, level));
    append_sized(out, column);
    return {};
  };
  TOKVAULT_TRY(add([](const UsageEntry& e) { return e.model; }));
  TOKVAULT_TRY(add([](const UsageEntry& e) { return e.application; }));
  TOKVAULT_TRY(add([](const UsageEntry& e) { return zigzag(e.day); }));
  TOKVAULT_TRY(add([](const UsageEntry& e) { return e.conversations; }));
  TOKVAULT_TRY(add([](const UsageEntry& e) { return e.messages; }));
  TOKVAULT_TRY(add([](const UsageEntry& e) { return e.tokens; }));
  return out;
}

Result<std::vector<UsageEntry>> decode_usage(ByteView bytes, std::uint64_t count) {
  if (count > kUsageEntriesMax) return corrupt_pack("usage");
  std::vector<UsageEntry> out(count);
  ByteReader in(bytes);
  auto take = [&](auto set) -> Status {
    const ByteView column = in.sized();
    std::vector<std::uint64_t> values;
    if (!in.ok()) return corrupt_pack("usage");
    TOKVAULT_TRY(decode_integers(column, count, values));
    for (std::size_t i = 0; i < count; ++i) set(out[i], values[i]);
    return {};
  };
  TOKVAULT_TRY(
      take([](UsageEntry& e, std::uint64_t v) { e.model = static_cast<std::uint32_t>(v); }));
  TOKVAULT_TRY(
      take([](UsageEntry& e, std::uint64_t v) { e.application = static_cast<std::uint32_t>(v); }));
  TOKVAULT_TRY(take([](UsageEntry& e, std::uint64_t v) { e.day = unzigzag(v); }));
  TOKVAULT_TRY(take([](UsageEntry& e, std::uint64_t v) { e.conversations = v; }));
  TOKVAULT_TRY(take([](UsageEntry& e, std::uint64_t v) { e.messages = v; }));
  TOKVAULT_TRY(take([](UsageEntry& e, std::uint64_t v) { e.tokens = v; }));
  if (!in.at_end()) return corrupt_pack("usage");
  return out;
}

namespace {

template <class Values>
Status append_column(Buffer& out, const Values& values, int level) {
  const std::vector<std::uint64_t> wide(values.begin(), values.end());
  TOKVAULT_ASSIGN(Buffer column, encode_integers(wide, level));
  append_sized(out, column);
  return {};
}

void append_fingerprints(Buffer& out, const std::vector<std::uint32_t>& fingerprints) {
  for (std::uint32_t f : fingerprints) {
    out.push_back(static_cast<char>(f >> 16));
    out.push_back(static_cast<char>(f >> 8));
    out.push_back(static_cast<char>(f));
  }
}

std::vector<std::uint32_t> parse_fingerprints(ByteView prints) {
  std::vector<std::uint32_t> out;
  for (std::size_t i = 0; i < prints.size(); i += kFingerprintBytes) {
    out.push_back(static_cast<std::uint32_t>(static_cast<std::uint8_t>(prints[i])) << 16 |
                  static_cast<std::uint32_t>(static_cast<std::uint8_t>(prints[i + 1])) << 8 |
                  static_cast<std::uint8_t>(prints[i + 2]));
  }
  return out;
}

}  // namespace

std::string codec_name(PackCodec codec) {
  switch (codec) {
    case PackCodec::zstd:
      return "zstd";
    case PackCodec::token_model:
      return "token_model";
    case PackCodec::token_lz:
      return "token_lz";
    case PackCodec::zstd_bases:
      return "zstd_bases";
  }
  return "codec " + std::to_string(static_cast<unsigned>(codec));
}

Result<Buffer> encode_pack_segments(const PackSegments& s, int level) {
  Buffer out;
  TOKVAULT_TRY(append_column(out, s.code_sizes, level));
  TOKVAULT_TRY(append_column(out, s.in_dictionary, level));
  TOKVAULT_TRY(append_column(out, s.block_segments, level));
  TOKVAULT_TRY(append_column(out, s.block_sizes, level));
  if (!s.block_bases.empty()) {
    std::vector<std::uint32_t> steps;
    auto base = s.bases.begin();
    for (const std::uint32_t n : s.block_bases) {
      std::uint32_t next = 0;
      for (std::uint32_t i = 0; i < n; ++i) {
        steps.push_back(*base - next);
        next = *base++ + 1;
      }
    }
    TOKVAULT_TRY(append_column(out, s.block_bases, level));
    TOKVAULT_TRY(append_column(out, steps, level));
  }
  append_fingerprints(out, s.fingerprints);
  return out;
}

Result<Buffer> encode_pack_blocks(const PackBlocks& b, int level) {
  Buffer out;
  TOKVAULT_TRY(append_column(out, b.segments, level));
  TOKVAULT_TRY(append_column(out, b.texts, level));
  TOKVAULT_TRY(append_column(out, b.sizes, level));
  TOKVAULT_TRY(append_column(out, b.has_fingerprint, level));
  append_fingerprints(out, b.fingerprints);
  return out;
}

Result<PackBlocks> decode_pack_blocks(ByteView bytes, std::uint64_t segment_count,
                                      const PackStream& stream) {
  ByteReader in(bytes);
  PackBlocks b;
  std::vector<std::uint64_t> wide;
  // Each value is below 2^32 and their sum, plus `more` a value, at most `limit`.
  auto take = [&](std::uint64_t count, std::uint64_t more, std::uint64_t limit,
                  std::vector<std::uint32_t>& out) -> Result<std::uint64_t> {
    const ByteView column = in.sized();
    if (!in.ok()) return corrupt_pack("block table");
    TOKVAULT_TRY(decode_integers(column, count, wide));
    std::uint64_t sum = 0;
    for (std::uint64_t v : wide) {
      if (v > kBlockTextBytesMax) return corrupt_pack("block table");
      sum += v + more;
      if (sum > limit) return corrupt_pack("block table");
      out.push_back(static_cast<std::uint32_t>(v));
    }
    return sum;
  };
  TOKVAULT_TRY(take(stream.block_count, 0, segment_count, b.segments));
  TOKVAULT_ASSIGN(const std::uint64_t text,
                  take(stream.block_count, 0, stream.text_bytes + segment_count, b.texts));
  TOKVAULT_ASSIGN(const std::uint64_t size,
                  take(stream.block_count, 4, stream.blocks.size, b.sizes));
  const ByteView column = in.sized();
  if (!in.ok()) return corrupt_pack("block table");
  TOKVAULT_TRY(decode_integers(column, segment_count, wide));
  std::uint64_t prints = 0;
  for (std::uint64_t v : wide) {
    if (v > 1) return corrupt_pack("block table");
    b.has_fingerprint.push_back(v == 1);
    prints += v;
  }
  const ByteView rest = in.rest();
  if (size != stream.blocks.size || rest.size() != prints * kFingerprintBytes ||
      text + stream.dictionary.raw_size != stream.text_bytes + segment_count) {
    return corrupt_pack("block table does not add up");
  }
  b.fingerprints = parse_fingerprints(rest);
  return b;
}

Result<PackSegments> decode_pack_segments(ByteView bytes, std::uint64_t segment_count,
                                          const PackStream& stream) {
  ByteReader in(bytes);
  PackSegments s;
  std::vector<std::uint64_t> wide;
  auto take = [&](std::uint64_t count) -> Status {
    const ByteView column = in.sized();
    if (!in.ok()) return corrupt_pack("segment table");
    return decode_integers(column, count, wide);
  };
  TOKVAULT_TRY(take(segment_count));
  std::uint64_t text = 0;
  std::uint64_t shared = 0;
  for (std::uint64_t v : wide) {
    text += v;
    if (v > kSegmentCodeBytesMax || text > stream.text_bytes) return corrupt_pack("segment sizes");
    if (v >= kSharedCodeBytes) ++shared;
    s.code_sizes.push_back(static_cast<std::uint32_t>(v));
  }
  TOKVAULT_TRY(take(segment_count));
  std::uint64_t outside = 0;
  std::uint64_t dictionary = 0;
  for (std::size_t i = 0; i < wide.size(); ++i) {
    if (wide[i] > 1) return corrupt_pack("segment places");
    s.in_dictionary.push_back(wide[i] == 1);
    if (wide[i] == 0) ++outside;
    if (wide[i] == 1) dictionary += s.code_sizes[i];
  }
  TOKVAULT_TRY(take(stream.block_count));
  std::uint64_t in_blocks = 0;
  for (std::uint64_t v : wide) {
    in_blocks += v;
    if (v > segment_count || in_blocks > segment_count) return corrupt_pack("block table");
    s.block_segments.push_back(static_cast<std::uint32_t>(v));
  }
  TOKVAULT_TRY(take(stream.block_count));
  std::uint64_t block_bytes = 0;
  for (std::uint64_t v : wide) {
    block_bytes += v + 4;
    if (v > 0xffffffffu || block_bytes > stream.blocks.size) return corrupt_pack("block sizes");
    s.block_sizes.push_back(static_cast<std::uint32_t>(v));
  }
  if (stream.codec == PackCodec::zstd_bases) {
    TOKVAULT_TRY(take(stream.block_count));
    std::uint64_t sum = 0;
    for (const std::uint64_t n : wide) {
      if (n > kBasesMax) return corrupt_pack("bases of a block");
      sum += n;
      s.block_bases.push_back(static_cast<std::uint32_t>(n));
    }
    TOKVAULT_TRY(take(sum));
    auto step = wide.begin();
    for (const std::uint32_t n : s.block_bases) {
      std::uint64_t next = 0;
      for (std::uint32_t i = 0; i < n; ++i) {
        next += std::min(*step++, segment_count);
        if (next >= segment_count) return corrupt_pack("bases of a block");
        s.bases.push_back(static_cast<std::uint32_t>(next++));
      }
    }
  }
  const ByteView prints = in.rest();
  if (text != stream.text_bytes || in_blocks != outside || block_bytes != stream.blocks.size ||
      dictionary != stream.dictionary.raw_size || prints.size() != shared * kFingerprintBytes) {
    return corrupt_pack("segment table does not add up");
  }
  s.fingerprints = parse_fingerprints(prints);
  return s;
}

Result<Buffer> encode_records(const std::vector<Record>& records, int level) {
  if (records.size() > kPackRecordsMax) {
    return Error(Errc::exhausted, "more records (deletions, tags, holds) than a pack holds");
  }
  Buffer raw;
  for (const Record& r : records) {
    append_sized(raw, r.key);
    append_varint(raw, r.sequence);
    raw.push_back(r.value ? 1 : 0);
    if (r.value) append_sized(raw, *r.value);
  }
  Buffer out;
  append_varint(out, raw.size());
  TOKVAULT_ASSIGN(Buffer packed, encode_bytes(raw, level));
  return out + packed;
}

Result<std::vector<Record>> decode_records(ByteView bytes, std::uint64_t count) {
  ByteReader head(bytes);
  const std::uint64_t size = head.varint();
  if (!head.ok() || size < count || count > kPackRecordsMax) return corrupt_pack("records");
  Buffer raw;
  TOKVAULT_TRY(decode_bytes(head.rest(), size, raw));
  ByteReader in(raw);
  std::vector<Record> out;
  for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
    Record r;
    r.key = in.sized();
    r.sequence = in.varint();
    const auto has_value = in.le<std::uint8_t>();
    if (has_value == 1) r.value = Buffer(in.sized());
    if (has_value > 1) in.fail();
    out.push_back(std::move(r));
  }
  if (!in.ok() || !in.at_end()) return corrupt_pack("records");
  return out;
}

}  // namespace tokvault
