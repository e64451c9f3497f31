#include "checkpoint/record.h"

#include <algorithm>
#include <bit>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/checksum.h"

namespace tokvault::checkpoint {
namespace {

constexpr std::uint16_t kRecordVersion = 1;
constexpr std::uint16_t kRecordVersion2 = 2;  // the fields behind `created`
constexpr std::uint64_t kVersion1Bytes = 104;
constexpr std::uint64_t kCheckedFrom = 16;  // the header checksum covers everything behind itself
constexpr std::uint64_t kNamespaceBytesMax = 64 << 10;

static_assert(std::endian::native == std::endian::little,
              "token arrays and index words are used as they stand on disk");

Hash128 from_xxh(XXH128_hash_t h) { return {h.low64, h.high64}; }

Hash128 hash_tagged(Hash128 parent, std::uint8_t tag, ByteView bytes) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  char head[17];
  store_le(parent.lo, head);
  store_le(parent.hi, head + 8);
  head[16] = static_cast<char>(tag);
  XXH3_128bits_update(&state, head, sizeof head);
  XXH3_128bits_update(&state, bytes.data(), bytes.size());
  return from_xxh(XXH3_128bits_digest(&state));
}

void append_hash(Buffer& out, Hash128 h) {
  append_le(out, h.lo);
  append_le(out, h.hi);
}

Hash128 take_hash(ByteReader& r) {
  Hash128 h;
  h.lo = r.le<std::uint64_t>();
  h.hi = r.le<std::uint64_t>();
  return h;
}

// What can be put. A reader makes room for as much as a record claims.
bool can_be_put(const RecordHeader& h) {
  switch (h.kind) {
    case Kind::block:
    case Kind::tail:
    case Kind::sidecar:
      return h.tokens <= kBlockTokensMax && h.payload_bytes <= kPayloadBytesMax;
    case Kind::state:
      return h.tokens <= kStateTokensMax && h.payload_bytes <= kStateBytesMax;
    case Kind::name_space:
    case Kind::free:
      break;
  }
  return h.tokens == 0 && h.payload_bytes == 0;
}

std::uint64_t padded(std::uint64_t n, std::uint64_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

ByteView token_bytes(TokenView tokens) {
  return {reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes()};
}

Buffer encode_namespace(const Namespace& n) {
  Buffer out;
  std::uint8_t tag = 0;
  for (const std::string* field : {&n.model, &n.tokenizer, &n.chat_template, &n.dtype, &n.layout,
                                   &n.lora, &n.tenant, &n.extra}) {
    ++tag;
    if (field->empty()) continue;
    out.push_back(static_cast<char>(tag));
    append_sized(out, *field);
  }
  return out;
}

Result<Namespace> decode_namespace(ByteView bytes) {
  Namespace n;
  std::string* const fields[] = {&n.model,  &n.tokenizer, &n.chat_template, &n.dtype,
                                 &n.layout, &n.lora,      &n.tenant,        &n.extra};
  ByteReader r(bytes.size() <= kNamespaceBytesMax ? bytes : ByteView());
  unsigned last = 0;
  while (r.left() > 0) {
    const unsigned tag = r.le<std::uint8_t>();
    const ByteView value = r.sized();
    if (!r.ok() || tag <= last || tag > std::size(fields)) {
      return Error(Errc::corrupt, "a namespace is damaged");
    }
    *fields[tag - 1] = value;
    last = tag;
  }
  if (bytes.size() > kNamespaceBytesMax) return Error(Errc::corrupt, "a namespace is too long");
  return n;
}

Hash128 namespace_hash(ByteView encoded) {
  const Digest d = sha256(encoded);
  const char* p = reinterpret_cast<const char*>(d.data());
  return {load_le<std::uint64_t>(p), load_le<std::uint64_t>(p + 8)};
}

Hash128 block_hash(Hash128 parent, TokenView tokens) {
  return hash_tagged(parent, 0, token_bytes(tokens));
}
Hash128 sidecar_hash(Hash128 boundary, std::string_view name) {
  return hash_tagged(boundary, 3, name);
}
Hash128 text_hash(ByteView text) { return from_xxh(XXH3_128bits(text.data(), text.size())); }

PrefixHasher::PrefixHasher(Hash128 name_space, std::uint8_t tag) : state_(XXH3_createState()) {
  auto* state = static_cast<XXH3_state_t*>(state_);
  XXH3_128bits_reset(state);
  char head[17];
  store_le(name_space.lo, head);
  store_le(name_space.hi, head + 8);
  head[16] = static_cast<char>(tag);
  XXH3_128bits_update(state, head, sizeof head);
}
PrefixHasher::~PrefixHasher() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }
void PrefixHasher::update(ByteView bytes) {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}
Hash128 PrefixHasher::digest() const {
  return from_xxh(XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_)));
}

std::uint64_t RecordHeader::prefix_bytes() const {
  const std::uint64_t a_chunk = codec == CheckpointCodec::none ? 8 : 12;
  return padded(kRecordHeaderBytes + std::uint64_t{tokens} * 4 + chunks() * a_chunk, unit());
}
std::uint64_t RecordHeader::record_bytes() const {
  return padded(prefix_bytes() + stored_bytes() + text_bytes + meta_bytes, unit());
}

std::uint64_t chunk_checksum(ByteView chunk, std::uint64_t offset) {
  return checksum64(chunk, offset);
}

Buffer encode_prefix(const RecordHeader& h, TokenView tokens, std::span<const std::uint64_t> sums,
                     std::span<const std::uint32_t> sizes) {
  Buffer out;
  out.reserve(h.prefix_bytes());
  append_le(out, kRecordMagic);
  const bool version2 = h.expires_ms != 0 || h.codec != CheckpointCodec::none;
  append_le(out, version2 ? kRecordVersion2 : kRecordVersion);
  append_le(out, static_cast<std::uint8_t>(h.kind));
  append_le<std::uint8_t>(out, h.paged ? 1 : 0);
  append_le<std::uint64_t>(out, 0);  // the checksum
  append_hash(out, h.key);
  append_hash(out, h.parent);
  append_hash(out, h.name_space);
  append_le(out, h.tokens);
  append_le(out, h.position);
  append_le(out, h.payload_bytes);
  append_le(out, h.text_bytes);
  append_le(out, h.meta_bytes);
  append_le(out, h.tail_checksum);
  append_le(out, h.created_ms);
  append_le(out, h.expires_ms);
  append_le(out, h.coded_bytes);
  append_le(out, static_cast<std::uint8_t>(h.codec));
  out.resize(kRecordHeaderBytes, '\0');
  out.append(token_bytes(tokens));
  for (const std::uint64_t sum : sums) append_le(out, sum);
  for (const std::uint32_t size : sizes) append_le(out, size);
  out.resize(h.prefix_bytes(), '\0');
  store_le(checksum64(ByteView(out).substr(kCheckedFrom)), out.data() + 8);
  return out;
}

std::optional<RecordHeader> peek_header(ByteView bytes) {
  if (bytes.size() < kRecordHeaderBytes) return std::nullopt;
  ByteReader r(bytes.substr(0, kRecordHeaderBytes));
  if (r.le<std::uint32_t>() != kRecordMagic) return std::nullopt;
  const auto version = r.le<std::uint16_t>();
  if (version != kRecordVersion && version != kRecordVersion2) return std::nullopt;
  RecordHeader h;
  const auto kind = r.le<std::uint8_t>();
  const auto paged = r.le<std::uint8_t>();
  if (kind < 1 || kind > 5 || paged > 1) return std::nullopt;
  h.kind = static_cast<Kind>(kind);
  h.paged = paged == 1;
  static_cast<void>(r.le<std::uint64_t>());
  h.key = take_hash(r);
  h.parent = take_hash(r);
  h.name_space = take_hash(r);
  h.tokens = r.le<std::uint32_t>();
  h.position = r.le<std::uint32_t>();
  h.payload_bytes = r.le<std::uint64_t>();
  h.text_bytes = r.le<std::uint32_t>();
  h.meta_bytes = r.le<std::uint32_t>();
  h.tail_checksum = r.le<std::uint64_t>();
  h.created_ms = r.le<std::uint64_t>();
  ByteView rest = bytes.substr(kVersion1Bytes, kRecordHeaderBytes - kVersion1Bytes);
  if (version == kRecordVersion2) {
    h.expires_ms = r.le<std::uint64_t>();
    h.coded_bytes = r.le<std::uint64_t>();
    h.codec = static_cast<CheckpointCodec>(r.le<std::uint8_t>());
    rest.remove_prefix(17);
    if (h.codec > CheckpointCodec::planes16 || h.coded_bytes > h.payload_bytes ||
        (h.codec == CheckpointCodec::none && h.coded_bytes != 0)) {
      return std::nullopt;
    }
  }
  if (rest.find_first_not_of('\0') != ByteView::npos) return std::nullopt;
  if (!can_be_put(h)) return std::nullopt;
  return h;
}

Result<RecordPrefix> decode_prefix(ByteView bytes) {
  const auto header = peek_header(bytes);
  if (!header) return Error(Errc::corrupt, "no record starts here");
  if (header->prefix_bytes() > bytes.size()) {
    return Error(Errc::corrupt, "a record's prefix is cut short");
  }
  bytes = bytes.substr(0, header->prefix_bytes());
  if (checksum64(bytes.substr(kCheckedFrom)) != load_le<std::uint64_t>(bytes.data() + 8)) {
    return Error(Errc::corrupt, "a record's header checksum is wrong");
  }
  RecordPrefix out;
  out.header = *header;
  out.tokens.resize(header->tokens);
  if (header->tokens > 0) {
    std::memcpy(out.tokens.data(), bytes.data() + kRecordHeaderBytes, header->tokens * 4ull);
  }
  out.sums.resize(header->chunks());
  ByteReader r(bytes.substr(kRecordHeaderBytes + header->tokens * 4ull));
  for (std::uint64_t& sum : out.sums) sum = r.le<std::uint64_t>();
  if (header->codec != CheckpointCodec::none) {
    out.starts.push_back(0);
    for (std::uint64_t c = 0; c < out.sums.size(); ++c) {
      const auto size = r.le<std::uint32_t>();
      if (size == 0 || size > out.chunk_bytes(c)) return Error(Errc::corrupt, "a chunk's size");
      out.starts.push_back(out.starts.back() + size);
    }
    if (out.starts.back() != header->coded_bytes) return Error(Errc::corrupt, "a payload's size");
  }
  if (!r.ok()) return Error(Errc::corrupt, "a record's prefix is cut short");
  return out;
}

std::uint64_t RecordPrefix::chunk_bytes(std::uint64_t chunk) const {
  return std::min(kChunkBytes, header.payload_bytes - chunk * kChunkBytes);
}
std::uint64_t RecordPrefix::stored_at(std::uint64_t chunk) const {
  return starts.empty() ? std::min(chunk * kChunkBytes, header.payload_bytes) : starts[chunk];
}

bool chunk_matches(const RecordPrefix& prefix, std::uint64_t chunk, ByteView bytes) {
  return chunk < prefix.sums.size() &&
         chunk_checksum(bytes, chunk * kChunkBytes) == prefix.sums[chunk];
}

bool key_matches(const RecordPrefix& prefix, ByteView tail) {
  const RecordHeader& h = prefix.header;
  const ByteView text = tail.substr(0, h.text_bytes);
  switch (h.kind) {
    case Kind::block:
    case Kind::tail:
      return h.tokens > 0 && block_hash(h.parent, prefix.tokens) == h.key;
    case Kind::sidecar:
      return sidecar_hash(h.parent, tail) == h.key;
    case Kind::state: {
      PrefixHasher hasher(h.name_space, h.tokens > 0 ? 1 : 2);
      hasher.update(h.tokens > 0 ? token_bytes(prefix.tokens) : text);
      return hasher.digest() == h.key;
    }
    case Kind::name_space:
      return namespace_hash(tail) == h.key;
    case Kind::free:
      break;
  }
  return false;
}

// An event: u32 checksum of the rest, u16 size of the body, u8 event, body.
void append_event(Buffer& out, const JournalEvent& e) {
  Buffer body;
  switch (e.event) {
    case Event::name_space:
      append_le(body, e.number);
      body += e.encoded;
      break;
    case Event::add:
      append_hash(body, e.key);
      append_hash(body, e.parent);
      append_le<std::uint8_t>(body, e.has_parent ? 1 : 0);
      append_le(body, static_cast<std::uint8_t>(e.record.kind));
      append_le(body, e.record.name_space);
      append_le(body, e.record.tokens);
      append_le(body, e.record.depth);
      append_le(body, e.record.segment);
      append_le(body, e.record.offset_units);
      append_le(body, e.record.units);
      if (!e.extra.empty()) {
        append_le(body, e.extra.expires_ms);
        append_le(body, e.extra.state_tokens);
        append_le(body, e.extra.text_bytes);
        append_hash(body, e.extra.text);
      }
      break;
    case Event::remove:
      append_hash(body, e.key);
      append_le(body, static_cast<std::uint8_t>(e.reason));
      break;
    case Event::rotate:
      append_le(body, e.generation);
      break;
  }
  Buffer rest;
  append_le(rest, static_cast<std::uint16_t>(body.size()));
  append_le(rest, static_cast<std::uint8_t>(e.event));
  rest += body;
  append_le(out, checksum32(rest));
  out += rest;
}

std::optional<JournalEvent> take_event(ByteView& bytes) {
  constexpr std::size_t kHead = 7;
  if (bytes.size() < kHead) return std::nullopt;
  const std::size_t size = kHead + load_le<std::uint16_t>(bytes.data() + 4);
  if (bytes.size() < size) return std::nullopt;
  if (checksum32(bytes.substr(4, size - 4)) != load_le<std::uint32_t>(bytes.data())) {
    return std::nullopt;
  }
  ByteReader r(bytes.substr(kHead, size - kHead));
  JournalEvent e;
  e.event = static_cast<Event>(bytes[6]);
  switch (e.event) {
    case Event::name_space:
      e.number = r.le<std::uint16_t>();
      e.encoded = Buffer(r.rest());
      break;
    case Event::add: {
      e.key = take_hash(r);
      e.parent = take_hash(r);
      const auto has_parent = r.le<std::uint8_t>();
      const auto kind = r.le<std::uint8_t>();
      if (has_parent > 1 || kind < 1 || kind > 4) return std::nullopt;
      e.has_parent = has_parent == 1;
      e.record.kind = static_cast<Kind>(kind);
      e.record.name_space = r.le<std::uint16_t>();
      e.record.tokens = r.le<std::uint16_t>();
      e.record.depth = r.le<std::uint16_t>();
      e.record.segment = r.le<std::uint32_t>();
      e.record.offset_units = r.le<std::uint32_t>();
      e.record.units = r.le<std::uint32_t>();
      if (r.left() > 0) {
        e.extra.expires_ms = r.le<std::uint64_t>();
        e.extra.state_tokens = r.le<std::uint64_t>();
        e.extra.text_bytes = r.le<std::uint32_t>();
        e.extra.text = take_hash(r);
      }
      break;
    }
    case Event::remove:
      e.key = take_hash(r);
      e.reason = static_cast<Gone>(r.le<std::uint8_t>());
      break;
    case Event::rotate:
      e.generation = r.le<std::uint64_t>();
      break;
    default:
      return std::nullopt;
  }
  if (!r.ok() || !r.at_end()) return std::nullopt;
  bytes.remove_prefix(size);
  return e;
}

}  // namespace tokvault::checkpoint
