// Columns and tables: never crashes; tables that were decoded are encoded again and decode to the
// same. The first byte of an input says what the rest is.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/bytes.h"
#include "format/pack.h"
#include "format/tables.h"

namespace {

using namespace tokvault;

constexpr std::uint64_t kCountMax = 4096;

void expect(bool condition) {
  if (!condition) std::abort();
}

void integers(ByteReader& in) {
  const std::uint64_t count = in.varint() % kCountMax;
  std::vector<std::uint64_t> values, again;
  if (!decode_integers(in.rest(), count, values)) return;
  auto column = encode_integers(values, 1);
  expect(column && decode_integers(*column, count, again) && values == again);
}

bool equal(const StringTable& a, const StringTable& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

void strings(ByteReader& in) {
  const std::uint64_t count = in.varint() % kCountMax;
  StringTable values, again;
  if (!decode_strings(in.rest(), count, values)) return;
  auto column = encode_strings(values, 1);
  expect(column && decode_strings(*column, count, again) && equal(values, again));
}

bool equal(const Row& a, const Row& b) {
  return a.model == b.model && a.application == b.application && a.form == b.form &&
         a.leaf == b.leaf && a.refs_begin == b.refs_begin && a.nodes_end == b.nodes_end &&
         a.time_ms == b.time_ms && a.sequence == b.sequence &&
         a.first_sequence == b.first_sequence && a.tokens == b.tokens &&
         a.text_bytes == b.text_bytes;
}

void tables(ByteReader& in, References references) {
  TableCounts counts;
  counts.rows = in.varint() % kCountMax;
  counts.nodes = in.varint() % kCountMax;
  counts.externals = in.varint() % kCountMax;
  for (std::uint64_t& n : counts.segments) n = in.varint();
  std::array<Buffer, kTableParts> parts;
  for (Buffer& part : parts) part = in.sized();
  auto decoded = decode_tables(parts, counts, references);
  if (!decoded) return;
  const Tables& t = *decoded;
  for (const Row& row : t.rows) (void)t.path(row);
  auto encoded = encode_tables(t, 1);
  expect(encoded.has_value());
  auto again = decode_tables(encoded->parts, counts, encoded->references);
  expect(again && equal(again->ids, t.ids) && equal(again->forms, t.forms) &&
         again->refs == t.refs && again->rows.size() == t.rows.size() &&
         again->nodes.size() == t.nodes.size());
  for (std::size_t i = 0; i < t.rows.size(); ++i) expect(equal(t.rows[i], again->rows[i]));
  for (std::size_t i = 0; i < t.nodes.size(); ++i) {
    expect(t.nodes[i].parent == again->nodes[i].parent && t.nodes[i].form == again->nodes[i].form &&
           t.nodes[i].depth == again->nodes[i].depth);
  }
}

void segments(ByteReader& in, PackCodec codec) {
  PackStream stream;
  stream.codec = codec;
  const std::uint64_t count = in.varint() % kCountMax;
  stream.block_count = in.varint() % kCountMax;
  stream.text_bytes = in.varint();
  stream.blocks.size = in.varint();
  stream.dictionary.raw_size = in.varint();
  if (codec == PackCodec::zstd_bases && stream.block_count == 0) return;  // no footer says that
  auto table = decode_pack_segments(in.rest(), count, stream);
  if (!table) return;
  auto encoded = encode_pack_segments(*table, 1);
  expect(encoded.has_value());
  auto again = decode_pack_segments(*encoded, count, stream);
  expect(
      again && again->code_sizes == table->code_sizes &&
      again->in_dictionary == table->in_dictionary && again->fingerprints == table->fingerprints &&
      again->block_segments == table->block_segments && again->block_sizes == table->block_sizes &&
      again->block_bases == table->block_bases && again->bases == table->bases);
}

void blocks(ByteReader& in) {
  const std::uint64_t count = in.varint() % kCountMax;
  PackStream stream;
  stream.block_count = in.varint() % kCountMax;
  stream.text_bytes = in.varint();
  stream.blocks.size = in.varint();
  stream.dictionary.raw_size = in.varint();
  auto table = decode_pack_blocks(in.rest(), count, stream);
  if (!table) return;
  auto encoded = encode_pack_blocks(*table, 1);
  expect(encoded.has_value());
  auto again = decode_pack_blocks(*encoded, count, stream);
  expect(again && again->segments == table->segments && again->texts == table->texts &&
         again->sizes == table->sizes && again->has_fingerprint == table->has_fingerprint &&
         again->fingerprints == table->fingerprints);
}

void records(ByteReader& in) {
  const std::uint64_t count = in.varint() % kCountMax;
  auto decoded = decode_records(in.rest(), count);
  if (!decoded) return;
  for (const Record& r : *decoded) {
    IdKey key;
    (void)parse_id_key(r.key, RecordKind::tag, key);
    HoldKey hold_of;
    if (parse_hold_key(r.key, hold_of)) {
      expect(hold_key(hold_of.tenant, hold_of.stream, hold_of.digest, hold_of.holder) == r.key);
      expect(tenant_of(r.key) == hold_of.tenant);
    }
    if (r.value) {
      if (auto hold = decode_hold(*r.value)) expect(encode(*hold) == *r.value);
      (void)decode_tenant(*r.value);
      (void)decode_progress(*r.value);
      (void)decode_vault(*r.value);
    }
  }
  auto encoded = encode_records(*decoded, 1);
  expect(encoded.has_value());
  auto again = decode_records(*encoded, count);
  expect(again && again->size() == decoded->size());
  for (std::size_t i = 0; i < decoded->size(); ++i) {
    const Record &a = (*decoded)[i], &b = (*again)[i];
    expect(a.key == b.key && a.value == b.value && a.sequence == b.sequence);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in(ByteView(reinterpret_cast<const char*>(data), size));
  switch (in.le<std::uint8_t>() % 8) {
    case 0:
      integers(in);
      break;
    case 1:
      strings(in);
      break;
    case 2:
      tables(in, References::behind);
      break;
    case 3:
      segments(in, PackCodec::zstd);
      break;
    case 4:
      records(in);
      break;
    case 6:
      segments(in, PackCodec::zstd_bases);
      break;
    case 7:
      tables(in, References::recent);
      break;
    default:
      blocks(in);
  }
  return 0;
}
