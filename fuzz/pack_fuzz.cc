// A pack, as its bytes are and with its checksums put right: never crashes, and what was read can
// be used. The artifact that it copies from is the dictionary that the input brings, or else a set
// of substrings.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "fuzz/with_dictionary.h"
#include "tokvault/substrings.h"
#include "vault/cache.h"
#include "vault/pack_file.h"

namespace {

using namespace tokvault;

// Checksums as a writer would have left them around these bytes; what has no footer stays as it is.
Buffer mended(Buffer file) {
  if (file.size() < kPackHeaderBytes + kPackTrailerBytes) return file;
  char* p = file.data();
  store_le(kPackMagic, p);
  PackHeader header;
  header.version = load_le<std::uint16_t>(p + 4) == 1 ? 1 : kPackVersion;
  const bool has_filter =
      header.version > 1 && (load_le<std::uint16_t>(p + 6) & kPackHasIdFilter) != 0;
  header.features = has_filter ? kPackHasIdFilter : 0;
  store_le(kPackVersion, p + 4);
  store_le(header.features, p + 6);
  store_le(std::uint64_t{1}, p + 8);
  store_le(checksum64(ByteView(file).substr(0, 56)), p + 56);
  char* trailer = p + file.size() - kPackTrailerBytes;
  const std::uint64_t room = file.size() - kPackHeaderBytes - kPackTrailerBytes;
  Extent e;
  e.size = std::min<std::uint64_t>(load_le<std::uint32_t>(trailer + 8), room);
  e.offset = file.size() - kPackTrailerBytes - e.size;
  e.raw_size = std::min<std::uint64_t>(load_le<std::uint32_t>(trailer + 12), 1u << 20);
  const ByteView packed = ByteView(file).substr(e.offset, e.size);
  e.checksum = checksum32(packed);
  auto footer = decode_pack_footer(packed, e, header);
  if (!footer) return file;
  footer->vault.id = file.substr(28, 16);
  footer->tenant.number = load_le<std::uint32_t>(p + 16);
  auto mend = [&](Extent& extent) {
    extent.checksum = checksum32(ByteView(file).substr(extent.offset, extent.size));
  };
  for (std::size_t s = 0; s < kStreams; ++s) {
    PackStream& stream = footer->streams[s];
    const ByteView table = ByteView(file).substr(stream.table.offset, stream.table.size);
    const auto count = std::min<std::uint64_t>(footer->counts.segments[s], 1u << 16);
    std::vector<std::uint32_t> sizes;
    if (stream.ended) {
      auto blocks = decode_pack_blocks(table, count, stream);
      if (blocks) sizes = std::move(blocks->sizes);
    } else {
      auto segments = decode_pack_segments(table, count, stream);
      if (segments) sizes = std::move(segments->block_sizes);
    }
    std::uint64_t at = stream.blocks.offset;
    for (const std::uint32_t size : sizes) {
      store_le(checksum32(ByteView(file).substr(at + 4, size)), file.data() + at);
      at += size + 4;
    }
  }
  for (PackStream& stream : footer->streams) {
    mend(stream.dictionary);
    mend(stream.table);
  }
  mend(footer->token_map);
  for (Extent& table : footer->tables) mend(table);
  mend(footer->records);
  mend(footer->id_filter);
  // So that an input of a few bytes does not ask for gigabytes.
  footer->counts.rows = std::min<std::uint64_t>(footer->counts.rows, 1u << 16);
  footer->counts.nodes = std::min<std::uint64_t>(footer->counts.nodes, 1u << 16);
  auto end = encode_pack_footer(*footer, e.offset);
  if (!end) std::abort();
  return file.substr(0, e.offset) + *end;
}

// A set of runs of small tokens.
Buffer make_substring_set() {
  SubstringSet set;
  for (Token first = 0; first < 300; first += 50) {
    std::vector<Token> run(40);
    for (std::size_t i = 0; i < run.size(); ++i) run[i] = first + static_cast<Token>(i * i % 99);
    if (!set.add(run, {})) std::abort();
  }
  return set.serialize();
}

void open(const Buffer& file, const std::optional<Buffer>& dictionary) {
  const auto backend = make_memory_backend();
  if (!backend->put(pack_name(1), file)) std::abort();
  Cache cache(64u << 20);
  auto pack = PackFile::open(*backend, cache, 1);
  if (!pack) return;
  // What it copies from is there.
  for (const std::uint64_t number : (*pack)->artifacts()) {
    Artifact artifact;
    artifact.number = number;
    artifact.tenant = (*pack)->tenant();
    artifact.vault_id = (*pack)->footer().vault.id;
    artifact.record.kind = dictionary ? ArtifactKind::dictionary : ArtifactKind::substring_set;
    artifact.content = dictionary ? *dictionary : make_substring_set();
    put_artifact(*backend, artifact);
  }
  (void)(*pack)->records();
  auto tables = (*pack)->tables();
  if (!tables) return;
  const Tables& t = **tables;
  for (const Row& row : t.rows) {
    for (const std::uint32_t node : t.path(row)) {
      if (node >= t.nodes.size()) std::abort();
    }
  }
  Scratch scratch;
  std::vector<Token> tokens;
  for (const Stream stream : {kTokenStream, kByteStream}) {
    for (std::uint32_t i = 0; i < std::min(t.segment_counts[stream], 1000u); ++i) {
      auto code = (*pack)->code(stream, i, scratch);
      tokens.clear();
      if (code && stream == kTokenStream) (void)(*pack)->decode_tokens(*code, tokens);
    }
    (void)(*pack)->find_segment(stream, {}, scratch);
  }
  if (t.rows.empty()) return;
  auto rows = (*pack)->rows_of(hash_id((*pack)->footer().tenant.key, t.ids[0]));
  // A filter may be of other ids.
  if (rows && rows->empty() && (*pack)->footer().id_filter.size > 0) return;
  if (!rows || rows->empty() || rows->front() != 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const FuzzInput input = parse_input(data, size);
  open(input.file, input.dictionary);
  open(mended(input.file), input.dictionary);
  return 0;
}
