#include "vault/pack_file.h"

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/checksum.h"
#include "codec/token_lz.h"
#include "format/id_filter.h"
#include "vault/artifacts.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kPartBytesMax = std::uint64_t{1} << 32;

Cache::Kind dictionary_kind(Stream stream) {
  return stream == kTokenStream ? Cache::Kind::token_dictionary : Cache::Kind::byte_dictionary;
}
Cache::Kind block_kind(Stream stream) {
  return stream == kTokenStream ? Cache::Kind::token_block : Cache::Kind::byte_block;
}

}  // namespace

std::uint64_t PackFile::Segments::memory_bytes() const {
  std::uint64_t bytes = map.size() * sizeof(Token);
  for (std::size_t s = 0; s < kStreams; ++s) {
    bytes += places[s].capacity() * sizeof(Place) + blocks[s].capacity() * sizeof(BlockPlace) +
             fingerprints[s].capacity() * sizeof(Fingerprint) +
             (bases[s].capacity() + base_ends[s].capacity()) * sizeof(std::uint32_t);
  }
  return bytes;
}

Error PackFile::damaged(std::string_view what) const {
  return in_pack(Error(Errc::corrupt, std::string(what)));
}

Error PackFile::in_pack(Error error) const { return std::move(error).with(name()); }

Result<std::shared_ptr<PackFile>> PackFile::open(const Backend& backend, Cache& cache,
                                                 std::uint64_t number) {
  std::shared_ptr<PackFile> pack(new PackFile(backend, cache, number));
  const std::string name = pack->name();
  auto size = backend.size(name);
  if (!size) return std::move(size).error();
  pack->size_ = *size;
  if (*size < kPackHeaderBytes + kPackTrailerBytes) return pack->damaged("it is too short");
  Buffer bytes;
  TOKVAULT_TRY(backend.get(name, 0, kPackHeaderBytes, bytes));
  auto header = decode_pack_header(bytes);
  if (!header) return pack->in_pack(std::move(header).error());
  pack->header_ = std::move(*header);
  if (pack->header_.number != number) return pack->damaged("it is named as another pack");
  // Most footers come with the trailer.
  constexpr std::uint64_t kTailBytes = 1024;
  const std::uint64_t tail = std::min(*size, kTailBytes);
  TOKVAULT_TRY(backend.get(name, *size - tail, tail, bytes));
  auto extent = decode_pack_trailer(ByteView(bytes).substr(tail - kPackTrailerBytes), *size);
  if (!extent) return pack->in_pack(std::move(extent).error());
  ByteView coded = ByteView(bytes).substr(0, tail - kPackTrailerBytes);
  if (extent->size <= coded.size()) {
    coded.remove_prefix(coded.size() - extent->size);
  } else {
    TOKVAULT_TRY(backend.get(name, extent->offset, extent->size, bytes));
    coded = bytes;
  }
  auto footer = decode_pack_footer(coded, *extent, pack->header_);
  if (!footer) return pack->in_pack(std::move(footer).error());
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

Result<std::shared_ptr<const Tables>> PackFile::tables() const { return load_tables({}); }

Result<std::shared_ptr<const Tables>> PackFile::load_tables(std::optional<StringTable> ids) const {
  const Cache::Key key{number_, Cache::Kind::tables};
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const Tables>(found);
  std::lock_guard lock(tables_mutex_);  // as dictionary()
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const Tables>(found);
  std::array<Buffer, kTableParts> parts;
  for (std::size_t i = 0; i < kTableParts; ++i) {
    if (ids && i == static_cast<std::size_t>(TablePart::ids)) continue;
    TOKVAULT_TRY(read_extent(footer_.tables[i], parts[i]));
  }
  auto tables = decode_tables(parts, footer_.counts, references(), std::move(ids));
  if (!tables) return in_pack(std::move(tables).error());
  auto out = std::make_shared<const Tables>(std::move(*tables));
  cache_.insert(key, out, out->memory_bytes());
  return out;
}

Result<std::shared_ptr<const PackFile::Segments>> PackFile::segments() const {
  const Cache::Key key{number_, Cache::Kind::segments};
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const Segments>(found);
  std::lock_guard lock(segments_mutex_);  // as dictionary()
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const Segments>(found);
  auto out = std::make_shared<Segments>();
  TOKVAULT_TRY(load_segments(*out));
  cache_.insert(key, out, out->memory_bytes());
  return std::shared_ptr<const Segments>(std::move(out));
}

Status PackFile::load_segments(Segments& out) const {
  Buffer packed, raw;
  TOKVAULT_TRY(read_extent(footer_.token_map, packed));
  if (Status status = decode_bytes(packed, footer_.token_map.raw_size, raw); !status) {
    return in_pack(std::move(status).error());
  }
  auto map = TokenMap::parse(raw, code_bytes());
  if (!map) return in_pack(std::move(map).error());
  out.map = std::move(*map);
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
    auto decoded = decode_pack_blocks(table, segment_count, ps);
    if (!decoded) return in_pack(std::move(decoded).error());
    const PackBlocks& blocks = *decoded;
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
  auto decoded = decode_pack_segments(table, footer_.counts.segments[stream], ps);
  if (!decoded) return in_pack(std::move(decoded).error());
  const PackSegments& segments = *decoded;
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
      if (std::uint64_t{b.text_size} + size > kBlockTextBytesMax) {
        return damaged("a block is larger than any writer makes it");
      }
      out.places[stream].push_back({block, b.text_size, size});
      b.text_size += size;
      ++in_block;
    }
    if (size >= kSharedCodeBytes) {
      out.fingerprints[stream].push_back({segments.fingerprints[print++], i});
    }
  }
  if (ps.codec != PackCodec::zstd_bases) return {};
  std::uint32_t end = 0;
  for (const std::uint32_t n : segments.block_bases) out.base_ends[stream].push_back(end += n);
  for (const std::uint32_t base : segments.bases) {
    const std::uint32_t b = out.places[stream][base].block;
    if (b != kDictionaryBlock && segments.block_bases[b] > 0) {
      return damaged("a base of a block copies from others itself");
    }
  }
  out.bases[stream] = segments.bases;
  return {};
}

bool PackFile::is_ready() const {
  const PackStream& tokens = footer_.streams[kTokenStream];
  return tokens.codec != PackCodec::token_model || tokens.dictionary.size == 0 ||
         cache_.find({number_, Cache::Kind::token_dictionary}) != nullptr;
}

void PackFile::prepare() const { (void)dictionary(kTokenStream); }

Result<std::shared_ptr<const PackDictionary>> PackFile::dictionary(Stream stream) const {
  const Cache::Key key{number_, dictionary_kind(stream)};
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const PackDictionary>(found);
  // The first thread decodes it, and who comes meanwhile waits: each would need the same memory.
  std::lock_guard lock(dictionary_mutexes_[stream]);
  if (auto found = cache_.find(key)) return std::static_pointer_cast<const PackDictionary>(found);
  TOKVAULT_ASSIGN(auto out, load_dictionary(stream));
  cache_.insert(key, out, out->memory_bytes());
  return out;
}

Result<std::shared_ptr<const PackDictionary>> PackFile::load_dictionary(Stream stream) const {
  const PackStream& ps = footer_.streams[stream];
  std::optional<std::uint64_t> count;
  if (ps.ended) {
    count = footer_.counts.segments[stream];
    if (ps.block_count > 0) {
      TOKVAULT_ASSIGN(auto l, segments());
      count = l->blocks[stream].front().first_segment;
    }
  }
  Buffer coded, before;
  if (ps.dictionary.size > 0) {
    TOKVAULT_TRY(read_extent(ps.dictionary, coded));
    TOKVAULT_ASSIGN(before, history(stream));
  }
  auto decode = [&]() -> Result<std::shared_ptr<const PackDictionary>> {
    const std::uint64_t size = ps.dictionary.raw_size;
    if (ps.dictionary.size == 0) return PackDictionary::make({}, nullptr, count);
    if (ps.codec == PackCodec::zstd || ps.codec == PackCodec::zstd_bases) {
      return PackDictionary::read(std::move(coded), size, std::move(before), count);
    }
    Buffer text;
    std::unique_ptr<TokenModel> model;
    if (ps.codec == PackCodec::token_model) {
      TOKVAULT_ASSIGN(model, TokenModel::decode(unit_of(stream), coded, size, text, before));
      if (ps.block_count == 0) model.reset();  // nothing is left to decode with it
    } else {
      TOKVAULT_TRY(token_lz_decode(unit_of(stream), coded, size, text, before));
    }
    return PackDictionary::make(std::move(text), std::move(model), count);
  };
  auto out = decode();
  if (!out) return in_pack(std::move(out).error().with("dictionary"));
  return out;
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
  if (!shared) return in_pack(std::move(shared).error().with("it needs an artifact"));
  TOKVAULT_ASSIGN(auto l, segments());
  l->map.encode((*shared)->tokens, out);
  return out;
}

Status PackFile::find_ends(std::uint64_t count, BlockText& d) {
  const auto bad_ends = [] {
    return Error(Errc::corrupt, "its segments do not end where they should");
  };
  if (d.text.size() > 0xffffffffu) {
    return Error(Errc::corrupt, "it is larger than any writer makes it");
  }
  if (count > d.text.size()) return bad_ends();
  d.ends.reserve(count);
  for (std::size_t at = 0; (at = d.text.find(kSegmentEnd, at)) != Buffer::npos; ++at) {
    if (d.ends.size() == count) break;
    d.ends.push_back(static_cast<std::uint32_t>(at));
  }
  if (d.ends.size() != count || d.text.size() != (count == 0 ? 0 : d.ends.back() + 1)) {
    return bad_ends();
  }
  return {};
}

Result<bool> PackFile::filter_admits(const IdHash& id) const {
  if (footer_.id_filter.size == 0) return true;
  if (id_filter_.empty()) {
    Buffer filter;
    TOKVAULT_TRY(read_extent(footer_.id_filter, filter));
    id_filter_ = std::move(filter);
  }
  return may_hold(id_filter_, id);
}

Status PackFile::check_filter(const StringTable& ids) const {
  if (footer_.id_filter.size == 0) return {};
  Buffer filter;
  TOKVAULT_TRY(read_extent(footer_.id_filter, filter));
  if (filter != make_id_filter(hash_ids(footer_.tenant.key, ids))) {
    return damaged("its filter is not that of its ids");
  }
  return {};
}

Result<const PackIds*> PackFile::pack_ids(const IdHash& id,
                                          std::optional<StringTable>& column) const {
  std::lock_guard lock(ids_mutex_);
  if (ids_) return ids_.get();
  // A filter that is damaged rules nothing out.
  const auto admitted = filter_admits(id);
  if (!admitted && admitted.code() != Errc::corrupt) return admitted.error().clone();
  if (admitted && !*admitted) return nullptr;
  Buffer coded;
  StringTable ids;
  TOKVAULT_TRY(read_extent(footer_.tables[static_cast<std::size_t>(TablePart::ids)], coded));
  auto status = decode_strings(coded, footer_.counts.rows, ids);
  if (!status) return in_pack(std::move(status).error());
  ids_ = std::make_unique<const PackIds>(hash_ids(footer_.tenant.key, ids));
  id_filter_ = Buffer();
  column = std::move(ids);
  return ids_.get();
}

Result<std::vector<std::uint32_t>> PackFile::rows_of(const IdHash& id) const {
  std::optional<StringTable> column;
  TOKVAULT_ASSIGN(const PackIds* const ids, pack_ids(id, column));
  std::vector<std::uint32_t> rows;
  if (ids == nullptr) return rows;
  ids->find(id, [&](std::uint32_t row) { rows.push_back(row); });
  if (rows.empty()) return rows;
  TOKVAULT_ASSIGN(const auto tables, load_tables(std::move(column)));
  std::erase_if(
      rows, [&](std::uint32_t row) { return hash_id(footer_.tenant.key, tables->ids[row]) != id; });
  return rows;
}

// The dictionary is block 0 of the scratch, block n is n + 1.
template <class Get>
Result<ByteView> PackFile::in_dictionary(Stream stream, Scratch& scratch, Get get) const {
  const Scratch::Block* b = scratch.find(number_, stream, 0);
  if (b == nullptr) {
    TOKVAULT_ASSIGN(auto loaded, dictionary(stream));
    Scratch::Block& slot = scratch.replace_oldest(number_, stream, 0);
    slot.dictionary = std::move(loaded);
    b = &slot;
  }
  const PackDictionary& d = *b->dictionary;
  const bool was_whole = d.is_whole();
  Result<ByteView> view = get(d);
  if (!view) return in_pack(std::move(view).error().with("dictionary"));
  // What it was decoded from is let go.
  if (!was_whole && d.is_whole()) {
    cache_.resize({number_, dictionary_kind(stream)}, d.memory_bytes());
  }
  return view;
}

Result<const BlockText*> PackFile::block_text(Stream stream, const Segments& l, std::uint32_t block,
                                              Scratch& scratch) const {
  // A block under a model takes a hundred times as long as one of zstd, and is kept: but not those
  // of somebody who reads one after another.
  constexpr std::uint64_t kKeptBlocksOfOneRead = 8;
  const Scratch::Block* b = scratch.find(number_, stream, std::uint64_t{block} + 1);
  if (b != nullptr) return b->pin.get();
  const bool has_model = footer_.streams[stream].codec == PackCodec::token_model;
  const Cache::Key key{number_, block_kind(stream), block};
  if (auto kept = has_model ? cache_.find(key) : nullptr) {
    Scratch::Block& slot = scratch.replace_oldest(number_, stream, std::uint64_t{block} + 1);
    slot.pin = std::static_pointer_cast<const BlockText>(kept);
    return slot.pin.get();
  }
  TOKVAULT_ASSIGN(const std::optional<Buffer> bases, base_text(stream, l, block, scratch));
  std::shared_ptr<const PackDictionary> d;
  if (!bases) {
    TOKVAULT_ASSIGN(d, dictionary(stream));
  }
  const BlockPlace& where = l.blocks[stream][block];
  Buffer frame;
  TOKVAULT_TRY(backend_.get(name(), where.offset, std::uint64_t{where.size} + 4, frame));
  const ByteView payload = ByteView(frame).substr(4);
  if (load_le<std::uint32_t>(frame.data()) != checksum32(payload)) {
    return damaged("bad checksum of the block at offset " + std::to_string(where.offset));
  }
  auto out = std::make_shared<BlockText>();
  Status status;
  if (bases) {
    status = zstd_decompress(payload, where.text_size, out->text, *bases);
  } else if (has_model && !d->has_model()) {
    status = Error(Errc::corrupt, "nothing is there to decode it with");
  } else {
    status = d->decode_block(payload, where.text_size, out->text);
  }
  if (status && footer_.streams[stream].ended) {
    const auto& blocks = l.blocks[stream];
    const std::uint64_t end = block + 1 < blocks.size() ? blocks[block + 1].first_segment
                                                        : footer_.counts.segments[stream];
    status = find_ends(end - where.first_segment, *out);
  }
  if (!status) {
    return in_pack(
        std::move(status).error().with("block at offset " + std::to_string(where.offset)));
  }
  Scratch::Block& slot = scratch.replace_oldest(number_, stream, std::uint64_t{block} + 1);
  slot.pin = std::move(out);
  if (has_model && scratch.blocks_decoded < kKeptBlocksOfOneRead) {
    cache_.insert(key, slot.pin, slot.pin->memory_bytes());
  }
  ++scratch.blocks_decoded;
  return slot.pin.get();
}

Result<Buffer> PackFile::dictionary_text(Stream stream) const {
  const std::uint64_t size = footer_.streams[stream].dictionary.raw_size;
  if (footer_.streams[stream].dictionary.size == 0) return Buffer();
  TOKVAULT_ASSIGN(const auto d, dictionary(stream));
  auto text = d->bytes(0, size);
  if (!text) return in_pack(std::move(text).error().with("dictionary"));
  return Buffer(*text);
}

Result<PackFile::Block> PackFile::block(Stream stream, std::uint32_t number,
                                        Scratch& scratch) const {
  TOKVAULT_ASSIGN(const auto l, segments());
  TOKVAULT_ASSIGN(const BlockText* const text, block_text(stream, *l, number, scratch));
  const auto& ends = l->base_ends[stream];
  const std::uint32_t begin = number == 0 || ends.empty() ? 0 : ends[number - 1];
  return Block{text->text, std::uint64_t{l->blocks[stream][number].size} + 4,
               !ends.empty() && ends[number] > begin};
}

Result<ByteView> PackFile::code(Stream stream, std::uint32_t number, Scratch& scratch) const {
  const PackStream& ps = footer_.streams[stream];
  auto from_dictionary = [&](const PackDictionary& d) { return d.segment(number); };
  if (ps.ended && ps.block_count == 0) return in_dictionary(stream, scratch, from_dictionary);
  TOKVAULT_ASSIGN(auto l, segments());
  if (ps.ended) {
    const auto& blocks = l->blocks[stream];
    if (number < blocks.front().first_segment) {
      return in_dictionary(stream, scratch, from_dictionary);
    }
    const auto after =
        std::upper_bound(blocks.begin(), blocks.end(), number,
                         [](std::uint32_t n, const BlockPlace& b) { return n < b.first_segment; });
    const auto block = static_cast<std::uint32_t>(after - blocks.begin()) - 1;
    TOKVAULT_ASSIGN(const BlockText* const text, block_text(stream, *l, block, scratch));
    const std::uint32_t i = number - blocks[block].first_segment;
    const std::uint32_t begin = i == 0 ? 0 : text->ends[i - 1] + 1;
    return ByteView(text->text).substr(begin, text->ends[i] - begin);
  }
  return placed(stream, *l, l->places[stream][number], scratch);
}

Result<ByteView> PackFile::placed(Stream stream, const Segments& l, const Place& place,
                                  Scratch& scratch) const {
  if (place.size == 0) return ByteView();
  if (place.block == kDictionaryBlock) {
    return in_dictionary(stream, scratch, [&](const PackDictionary& d) {
      return d.bytes(place.offset, place.size);
    });
  }
  TOKVAULT_ASSIGN(const BlockText* const text, block_text(stream, l, place.block, scratch));
  return ByteView(text->text).substr(place.offset, place.size);
}

// A base is in the dictionary or in a block without bases, so that this goes one step deep.
Result<std::optional<Buffer>> PackFile::base_text(Stream stream, const Segments& l,
                                                  std::uint32_t block, Scratch& scratch) const {
  const auto& ends = l.base_ends[stream];
  std::uint32_t i = block == 0 || ends.empty() ? 0 : ends[block - 1];
  if (ends.empty() || i == ends[block]) return std::optional<Buffer>();
  Buffer out;
  for (; i < ends[block]; ++i) {
    TOKVAULT_ASSIGN(const ByteView base,
                    placed(stream, l, l.places[stream][l.bases[stream][i]], scratch));
    if (out.size() + base.size() > kBaseTextBytesMax) {
      return damaged("the bases of a block are larger than any writer makes them");
    }
    out += base;
  }
  return std::optional<Buffer>(std::move(out));
}

Status PackFile::decode_tokens(ByteView code, std::vector<Token>& out) const {
  TOKVAULT_ASSIGN(auto l, segments());
  auto status = l->map.decode(code, out);
  if (!status) return in_pack(std::move(status).error());
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
  if (ps.has_fingerprints()) {
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
  if (!records) return in_pack(std::move(records).error());
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
    auto entries = decode_usage(bytes, footer_.usage_count);
    if (!entries) return in_pack(std::move(entries).error());
    out->entries = std::move(*entries);
    TOKVAULT_TRY(read_extent(footer_.tables[static_cast<std::size_t>(TablePart::strings)], bytes));
    if (Status status = decode_names(bytes, out->models, out->applications); !status) {
      return in_pack(std::move(status).error());
    }
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
