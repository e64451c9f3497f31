#include "vault/pack_file.h"

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/checksum.h"
#include "codec/token_lz.h"
#include "vault/artifacts.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kPartBytesMax = std::uint64_t{1} << 32;

Cache::Kind dictionary_kind(Stream stream) {
  return stream == kTokenStream ? Cache::Kind::token_dictionary : Cache::Kind::byte_dictionary;
}

}  // namespace

std::uint64_t PackFile::Segments::memory_bytes() const {
  std::uint64_t bytes = map.size() * 24;
  for (std::size_t s = 0; s < kStreams; ++s) {
    bytes += places[s].capacity() * sizeof(Place) + blocks[s].capacity() * sizeof(BlockPlace) +
             fingerprints[s].capacity() * sizeof(Fingerprint);
  }
  return bytes;
}

Error PackFile::damaged(std::string_view what) const {
  return Error(Errc::corrupt, name() + ": " + std::string(what));
}

Result<std::shared_ptr<PackFile>> PackFile::open(const Backend& backend, Cache& cache,
                                                 std::uint64_t number) {
  std::shared_ptr<PackFile> pack(new PackFile(backend, cache, number));
  const std::string name = pack->name();
  auto in_pack = [&](Error e) { return std::move(e).with(name); };
  auto size = backend.size(name);
  if (!size) return std::move(size).error();
  pack->size_ = *size;
  if (*size < kPackHeaderBytes + kPackTrailerBytes) return pack->damaged("it is too short");
  Buffer bytes;
  TOKVAULT_TRY(backend.get(name, 0, kPackHeaderBytes, bytes));
  auto header = decode_pack_header(bytes);
  if (!header) return in_pack(std::move(header).error());
  pack->header_ = std::move(*header);
  if (pack->header_.number != number) return pack->damaged("it is named as another pack");
  TOKVAULT_TRY(backend.get(name, *size - kPackTrailerBytes, kPackTrailerBytes, bytes));
  auto extent = decode_pack_trailer(bytes, *size);
  if (!extent) return in_pack(std::move(extent).error());
  TOKVAULT_TRY(backend.get(name, extent->offset, extent->size, bytes));
  auto footer = decode_pack_footer(bytes, *extent, pack->header_.version);
  if (!footer) return in_pack(std::move(footer).error());
  pack->footer_ = std::move(*footer);
  if (pack->footer_.tenant.number != pack->header_.tenant ||
      pack->footer_.vault.id != pack->header_.vault_id) {
    return pack->damaged("header and footer disagree");
  }
  return pack;
}

Source::Range PackFile::range() const {
  return {footer_.counts.rows, footer_.sequence_first, footer_.sequence_last, footer_.time_first_ms,
          footer_.time_last_ms};
}

Status PackFile::read_extent(const Extent& extent, Buffer& out) const {
  if (extent.size > kPartBytesMax) return damaged("a part is larger than any writer makes it");
  TOKVAULT_TRY(backend_.get(name(), extent.offset, extent.size, out));
  if (checksum32(out) != extent.checksum) {
    return damaged("bad checksum at offset " + std::to_string(extent.offset));
  }
  return {};
}

Result<std::shared_ptr<const PackFile::Index>> PackFile::index() const {
  const Cache::Key key{number_, Cache::Kind::tables};
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const Index>(found);
  auto out = std::make_shared<Index>();
  std::array<Buffer, kTableParts> parts;
  for (std::size_t i = 0; i < kTableParts; ++i) {
    TOKVAULT_TRY(read_extent(footer_.tables[i], parts[i]));
  }
  auto tables = decode_tables(parts, footer_.counts);
  if (!tables) return std::move(tables).error().with(name());
  out->tables = std::move(*tables);
  out->ids.reserve(out->tables.rows.size());
  for (std::uint32_t i = 0; i < out->tables.rows.size(); ++i) {
    out->ids.add(hash_id(footer_.tenant.key, out->tables.ids[i]), i);
  }
  cache_.insert(key, out, out->tables.memory_bytes() + out->ids.memory_bytes());
  return std::shared_ptr<const Index>(std::move(out));
}

Result<std::shared_ptr<const PackFile::Segments>> PackFile::segments() const {
  const Cache::Key key{number_, Cache::Kind::segments};
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const Segments>(found);
  auto out = std::make_shared<Segments>();
  Status status = load_segments(*out);
  if (!status) return std::move(status).error().with(name());
  cache_.insert(key, out, out->memory_bytes());
  return std::shared_ptr<const Segments>(std::move(out));
}

Status PackFile::load_segments(Segments& out) const {
  Buffer packed, raw;
  TOKVAULT_TRY(read_extent(footer_.token_map, packed));
  TOKVAULT_TRY(decode_bytes(packed, footer_.token_map.raw_size, raw));
  TOKVAULT_ASSIGN(out.map, TokenMap::parse(raw, code_bytes()));
  for (const Stream s : {kTokenStream, kByteStream}) TOKVAULT_TRY(load_stream(s, out));
  return {};
}

Status PackFile::load_stream(Stream stream, Segments& out) const {
  const PackStream& ps = footer_.streams[stream];
  if (ps.ended && ps.block_count == 0) return {};
  Buffer table;
  TOKVAULT_TRY(read_extent(ps.table, table));
  if (ps.ended) {
    const auto segment_count = static_cast<std::uint32_t>(footer_.counts.segments[stream]);
    TOKVAULT_ASSIGN(const PackBlocks blocks, decode_pack_blocks(table, segment_count, ps));
    std::uint64_t at = ps.blocks.offset;
    std::uint32_t first = segment_count;
    for (const std::uint32_t n : blocks.segments) first -= n;
    for (std::size_t i = 0; i < blocks.sizes.size(); ++i) {
      out.blocks[stream].push_back({at, blocks.sizes[i], blocks.texts[i], first});
      at += blocks.sizes[i] + 4;
      first += blocks.segments[i];
    }
    std::size_t print = 0;
    for (std::uint32_t i = 0; i < segment_count; ++i) {
      if (!blocks.has_fingerprint[i]) continue;
      out.fingerprints[stream].push_back({blocks.fingerprints[print++], i});
    }
    return {};
  }
  TOKVAULT_ASSIGN(const PackSegments segments,
                  decode_pack_segments(table, footer_.counts.segments[stream], ps));
  std::uint64_t at = ps.blocks.offset;
  for (std::uint32_t size : segments.block_sizes) {
    out.blocks[stream].push_back({at, size, 0, 0});
    at += size + 4;
  }
  std::uint32_t dictionary_at = 0;
  std::uint32_t block = 0;
  std::uint32_t in_block = 0;
  std::size_t print = 0;
  const auto count = static_cast<std::uint32_t>(segments.code_sizes.size());
  out.places[stream].reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t size = segments.code_sizes[i];
    if (segments.in_dictionary[i]) {
      out.places[stream].push_back({kDictionaryBlock, dictionary_at, size});
      dictionary_at += size;
    } else {
      while (in_block == segments.block_segments[block]) ++block, in_block = 0;
      BlockPlace& b = out.blocks[stream][block];
      out.places[stream].push_back({block, b.text_size, size});
      b.text_size += size;
      ++in_block;
    }
    if (size >= kSharedCodeBytes) {
      out.fingerprints[stream].push_back({segments.fingerprints[print++], i});
    }
  }
  return {};
}

Result<std::shared_ptr<const PackFile::Dictionary>> PackFile::dictionary(Stream stream) const {
  const Cache::Key key{number_, dictionary_kind(stream)};
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const Dictionary>(found);
  const PackStream& ps = footer_.streams[stream];
  auto out = std::make_shared<Dictionary>();
  if (ps.dictionary.size > 0) {
    Buffer coded;
    TOKVAULT_TRY(read_extent(ps.dictionary, coded));
    TOKVAULT_ASSIGN(const Buffer before, history(stream));
    Status status;
    if (ps.codec == PackCodec::token_model) {
      auto model = TokenModel::decode(unit_of(stream), coded, ps.dictionary.raw_size, out->text);
      if (model) out->model = std::move(*model);
      if (!model) status = std::move(model).error();
    } else if (ps.codec == PackCodec::token_lz) {
      status = token_lz_decode(unit_of(stream), coded, ps.dictionary.raw_size, out->text, before);
    } else {
      status = zstd_decompress(coded, ps.dictionary.raw_size, out->text, before);
    }
    if (!status) return std::move(status).error().with(name() + ": dictionary");
  }
  if (ps.ended) {
    std::uint64_t count = footer_.counts.segments[stream];
    if (ps.block_count > 0) {
      TOKVAULT_ASSIGN(auto l, segments());
      count = l->blocks[stream].front().first_segment;
    }
    TOKVAULT_TRY(find_ends(count, *out));
  }
  if (ps.codec == PackCodec::zstd && ps.block_count > 0) {
    TOKVAULT_ASSIGN(out->decoder, BlockDecoder::make(out->text));
  }
  if (ps.block_count == 0) out->model.reset();  // nothing is left to decode with it
  cache_.insert(key, out,
                out->text.size() + out->ends.size() * 4 + 64 * 1024 +
                    (out->model ? out->model->memory_bytes() : 0));
  return std::shared_ptr<const Dictionary>(std::move(out));
}

std::vector<std::uint64_t> PackFile::artifacts() const {
  std::set<std::uint64_t> numbers;
  for (const PackStream& stream : footer_.streams) {
    numbers.insert(stream.artifacts.begin(), stream.artifacts.end());
  }
  return {numbers.begin(), numbers.end()};
}

Result<Buffer> PackFile::history(Stream stream) const {
  Buffer out;
  const PackStream& ps = footer_.streams[stream];
  if (ps.artifacts.empty()) return out;
  const std::uint64_t number = ps.artifacts.front();
  auto shared = cached_tokens(backend_, cache_, {number, header_.tenant, {}, footer_.vault.id});
  if (shared.code() == Errc::not_found) {
    // One that is gone together with the pack was retired meanwhile.
    TOKVAULT_TRY(backend_.size(name()));
    return damaged("it needs " + artifact_name(number) + ", which is not there");
  }
  if (!shared) return std::move(shared).error().with(name() + " needs an artifact");
  TOKVAULT_ASSIGN(auto l, segments());
  l->map.encode((*shared)->tokens, out);
  return out;
}

Status PackFile::find_ends(std::uint64_t count, BlockText& d) const {
  if (d.text.size() > 0xffffffffu)
    return damaged("a dictionary is larger than any writer makes it");
  if (count > d.text.size()) return damaged("its segments do not end where they should");
  d.ends.reserve(count);
  for (std::size_t at = 0; (at = d.text.find(kSegmentEnd, at)) != Buffer::npos; ++at) {
    if (d.ends.size() == count) break;
    d.ends.push_back(static_cast<std::uint32_t>(at));
  }
  if (d.ends.size() != count || d.text.size() != (count == 0 ? 0 : d.ends.back() + 1)) {
    return damaged("its segments do not end where they should");
  }
  return {};
}

Result<std::shared_ptr<const Tables>> PackFile::tables() const {
  TOKVAULT_ASSIGN(auto i, index());
  return std::shared_ptr<const Tables>(i, &i->tables);
}

Result<const IdFilter*> PackFile::id_filter() const {
  std::lock_guard lock(filter_mutex_);
  if (filter_) return filter_.get();
  Buffer column;
  StringTable ids;
  TOKVAULT_TRY(read_extent(footer_.tables[static_cast<std::size_t>(TablePart::ids)], column));
  auto status = decode_strings(column, footer_.counts.rows, ids);
  if (!status) return std::move(status).error().with(name());
  auto filter = std::make_unique<IdFilter>(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    filter->add(hash_id(footer_.tenant.key, ids[i]));
  }
  filter_ = std::move(filter);
  return filter_.get();
}

Result<std::vector<std::uint32_t>> PackFile::rows_of(const IdHash& id) const {
  TOKVAULT_ASSIGN(const IdFilter* filter, id_filter());
  if (!filter->may_hold(id)) return std::vector<std::uint32_t>();
  TOKVAULT_ASSIGN(auto i, index());
  std::vector<std::uint32_t> rows;
  i->ids.find(id, [&](std::uint32_t row) {
    if (hash_id(footer_.tenant.key, i->tables.ids[row]) == id) rows.push_back(row);
  });
  return rows;
}

// The dictionary is block 0 of the scratch, block n is n + 1.
Result<const BlockText*> PackFile::dictionary_text(Stream stream, Scratch& scratch) const {
  const Scratch::Block* b = scratch.find(number_, stream, 0);
  if (b == nullptr) {
    TOKVAULT_ASSIGN(auto d, dictionary(stream));
    Scratch::Block& slot = scratch.replace_oldest(number_, stream, 0);
    slot.pin = std::move(d);
    b = &slot;
  }
  return b->pin.get();
}

Result<const BlockText*> PackFile::block_text(Stream stream, const Segments& l, std::uint32_t block,
                                              Scratch& scratch) const {
  const Scratch::Block* b = scratch.find(number_, stream, std::uint64_t{block} + 1);
  if (b != nullptr) return b->pin.get();
  TOKVAULT_ASSIGN(auto d, dictionary(stream));
  const BlockPlace& where = l.blocks[stream][block];
  Buffer frame;
  TOKVAULT_TRY(backend_.get(name(), where.offset, std::uint64_t{where.size} + 4, frame));
  const ByteView payload = ByteView(frame).substr(4);
  if (load_le<std::uint32_t>(frame.data()) != checksum32(payload)) {
    return damaged("bad checksum of the block at offset " + std::to_string(where.offset));
  }
  auto out = std::make_shared<BlockText>();
  Status status;
  if (d->model) {
    status = d->model->decode_block(payload, where.text_size, out->text);
  } else if (d->decoder) {
    status = d->decoder->decode(payload, where.text_size, out->text);
  } else {
    status = damaged("a block has nothing to be decoded with");
  }
  if (status && footer_.streams[stream].ended) {
    const auto& blocks = l.blocks[stream];
    const std::uint64_t end = block + 1 < blocks.size() ? blocks[block + 1].first_segment
                                                        : footer_.counts.segments[stream];
    status = find_ends(end - where.first_segment, *out);
  }
  if (!status) {
    return std::move(status).error().with(name() + ": block at offset " +
                                          std::to_string(where.offset));
  }
  Scratch::Block& slot = scratch.replace_oldest(number_, stream, std::uint64_t{block} + 1);
  slot.pin = std::move(out);
  ++scratch.blocks_decoded;
  return slot.pin.get();
}

Result<ByteView> PackFile::code(Stream stream, std::uint32_t number, Scratch& scratch) const {
  auto segment = [](const BlockText& t, std::uint32_t i) {
    const std::uint32_t begin = i == 0 ? 0 : t.ends[i - 1] + 1;
    return ByteView(t.text).substr(begin, t.ends[i] - begin);
  };
  const PackStream& ps = footer_.streams[stream];
  if (ps.ended && ps.block_count == 0) {
    TOKVAULT_ASSIGN(const BlockText* const d, dictionary_text(stream, scratch));
    return segment(*d, number);
  }
  TOKVAULT_ASSIGN(auto l, segments());
  if (ps.ended) {
    const auto& blocks = l->blocks[stream];
    if (number < blocks.front().first_segment) {
      TOKVAULT_ASSIGN(const BlockText* const d, dictionary_text(stream, scratch));
      return segment(*d, number);
    }
    const auto after =
        std::upper_bound(blocks.begin(), blocks.end(), number,
                         [](std::uint32_t n, const BlockPlace& b) { return n < b.first_segment; });
    const auto block = static_cast<std::uint32_t>(after - blocks.begin()) - 1;
    TOKVAULT_ASSIGN(const BlockText* const text, block_text(stream, *l, block, scratch));
    return segment(*text, number - blocks[block].first_segment);
  }
  const Place& place = l->places[stream][number];
  if (place.size == 0) return ByteView();
  const BlockText* text = nullptr;
  if (place.block == kDictionaryBlock) {
    TOKVAULT_ASSIGN(text, dictionary_text(stream, scratch));
  } else {
    TOKVAULT_ASSIGN(text, block_text(stream, *l, place.block, scratch));
  }
  return ByteView(text->text).substr(place.offset, place.size);
}

Status PackFile::decode_tokens(ByteView code, std::vector<Token>& out) const {
  TOKVAULT_ASSIGN(auto l, segments());
  auto status = l->map.decode(code, out);
  if (!status) return std::move(status).error().with(name());
  return {};
}

Result<std::optional<std::uint32_t>> PackFile::find_segment(Stream stream,
                                                            const ShortDigest& digest,
                                                            Scratch& scratch) const {
  TOKVAULT_ASSIGN(const auto prints, fingerprints(stream));
  const std::uint32_t wanted = fingerprint(digest);
  std::vector<Token> tokens;
  for (const Fingerprint& f : *prints) {
    if (f.value != wanted) continue;
    TOKVAULT_ASSIGN(const ByteView c, code(stream, f.segment, scratch));
    TOKVAULT_ASSIGN(const ShortDigest found, segment_digest(*this, stream, c, tokens));
    if (found == digest) return std::optional<std::uint32_t>(f.segment);
  }
  return std::optional<std::uint32_t>();
}

Result<std::shared_ptr<const std::vector<PackFile::Fingerprint>>> PackFile::fingerprints(
    Stream stream) const {
  using Prints = std::vector<Fingerprint>;
  const PackStream& ps = footer_.streams[stream];
  if (!ps.ended || ps.text_bytes > kFingerprintlessTextBytes) {
    TOKVAULT_ASSIGN(auto l, segments());
    return std::shared_ptr<const Prints>(l, &l->fingerprints[stream]);
  }
  const Cache::Key key{number_, stream == kTokenStream ? Cache::Kind::token_fingerprints
                                                       : Cache::Kind::byte_fingerprints};
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const Prints>(found);
  auto out = std::make_shared<Prints>();
  Scratch scratch;
  std::vector<Token> tokens;
  for (std::uint32_t i = 0; i < footer_.counts.segments[stream]; ++i) {
    TOKVAULT_ASSIGN(const ByteView c, code(stream, i, scratch));
    if (c.size() < kSharedCodeBytes) continue;
    TOKVAULT_ASSIGN(const ShortDigest digest, segment_digest(*this, stream, c, tokens));
    out->push_back({fingerprint(digest), i});
  }
  cache_.insert(key, out, out->capacity() * sizeof(Fingerprint) + 64);
  return std::shared_ptr<const Prints>(std::move(out));
}

Result<std::vector<Record>> PackFile::records() const {
  if (footer_.record_count == 0) return std::vector<Record>();
  Buffer bytes;
  TOKVAULT_TRY(read_extent(footer_.records, bytes));
  auto records = decode_records(bytes, footer_.record_count);
  if (!records) return std::move(records).error().with(name());
  return records;
}

Result<Direction> PackFile::direction() const {
  TOKVAULT_ASSIGN(const auto l, segments());
  return direction_of_ranked(l->map.tokens());
}

Result<std::shared_ptr<const PackFile::Usage>> PackFile::usage() const {
  const Cache::Key key{number_, Cache::Kind::usage};
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const Usage>(found);
  auto out = std::make_shared<Usage>();
  if (footer_.usage_count > 0) {
    Buffer bytes;
    TOKVAULT_TRY(read_extent(footer_.usage, bytes));
    TOKVAULT_ASSIGN(out->entries, decode_usage(bytes, footer_.usage_count));
    TOKVAULT_TRY(read_extent(footer_.tables[static_cast<std::size_t>(TablePart::strings)], bytes));
    TOKVAULT_TRY(decode_names(bytes, out->models, out->applications));
    for (const UsageEntry& e : out->entries) {
      if (e.model >= out->models.size() || e.application >= out->applications.size()) {
        return damaged("usage names what is not there");
      }
    }
  }
  const std::uint64_t bytes = out->entries.capacity() * sizeof(UsageEntry) +
                              out->models.memory_bytes() + out->applications.memory_bytes();
  cache_.insert(key, out, bytes + 256);
  return std::shared_ptr<const Usage>(std::move(out));
}

}  // namespace tokvault
