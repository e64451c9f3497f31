#include "format/log.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/checksum.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kLogHeaderBytesMax = 64 * 1024;

std::uint64_t place_seed(std::uint64_t number, std::uint64_t offset) {
  return (number << 40) ^ offset;
}

std::uint64_t batch_checksum(ByteView head, ByteView payload, std::uint64_t seed) {
  return checksum64(payload, checksum64(head, seed));
}

std::uint32_t short_checksum(ByteView bytes, std::uint64_t seed) {
  return static_cast<std::uint32_t>(checksum64(bytes, seed));
}

constexpr unsigned kBatchFlagsKnown =
    kNewSection | kNewFrame | kSameSync | kGuarded | kChanges | kDictionary | kTextApart;

// False if it is none, or damaged as far as it says itself.
bool read_header(ByteView head, std::uint64_t seed, BatchHeader& h) {
  ByteReader in(head);
  const auto magic = in.le<std::uint32_t>();
  h.flags = in.le<std::uint8_t>();
  h.cipher = in.le<std::uint8_t>();
  h.conversations = in.le<std::uint16_t>();
  h.key_id = in.le<std::uint32_t>();
  h.tenant = in.le<std::uint32_t>();
  h.section = in.le<std::uint32_t>();
  h.sequence = in.le<std::uint64_t>();
  h.payload_size = in.le<std::uint32_t>();
  h.body_size = in.le<std::uint32_t>();
  const auto check = in.le<std::uint32_t>();
  h.checksum = in.le<std::uint64_t>();
  if (!in.ok() || magic != kBatchMagic) return false;
  if ((h.flags & kGuarded) != 0) return check == short_checksum(head.substr(0, 36), seed);
  return check == 0 && h.conversations == 0;
}

// Takes the changes off the beginning of a payload; nothing if they are damaged.
std::optional<BatchChanges> take_changes(ByteView& payload, std::uint64_t seed) {
  ByteReader in(payload);
  const std::uint64_t deleted = in.le<std::uint32_t>();
  const std::uint64_t tagged = in.le<std::uint32_t>();
  BatchChanges out;
  const std::uint64_t size = (deleted + tagged) * sizeof(IdHash);
  if (!in.ok() || size > in.left()) return std::nullopt;
  const ByteView ids = in.bytes(size);
  const auto check = in.le<std::uint32_t>();
  if (!in.ok() || check != short_checksum(payload.substr(0, 8 + size), seed)) return std::nullopt;
  for (std::uint64_t i = 0; i < deleted + tagged; ++i) {
    IdHash id;
    std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(i * id.size()), id.size(), id.begin());
    (i < deleted ? out.deleted : out.tagged).push_back(id);
  }
  payload = in.rest();
  return out;
}

std::size_t find_magic(ByteView file, std::size_t from) {
  char magic[4];
  store_le(kBatchMagic, magic);
  return file.find(ByteView(magic, 4), from);
}

bool is_whole(ByteView file, std::uint64_t number, std::uint64_t at, std::uint64_t& budget,
              BatchHeader* header = nullptr) {
  BatchHeader own;
  BatchHeader& h = header != nullptr ? *header : own;
  if (!read_header(file.substr(at), place_seed(number, at), h) ||
      h.payload_size > file.size() - at - kBatchHeaderBytes) {
    return false;
  }
  if (budget < h.payload_size) {
    budget = 0;
    return false;
  }
  budget -= h.payload_size;
  BatchPieces pieces;
  auto state = read_batch(file, number, 0, at, h, pieces);
  return !state || *state == BatchState::whole;
}

}  // namespace

//  offset size
//   0     4   magic
//   4     2   version
//   6     2   required features, 0
//   8     4   size of the vault record, n
//  12     8   number
//  20     n   vault record
//  20+n   8   checksum of all before
Buffer encode_log_header(const LogHeader& header) {
  const Buffer vault = encode(header.vault);
  Buffer out;
  append_le(out, kLogMagic);
  append_le(out, header.version);
  append_le(out, std::uint16_t{0});
  append_le(out, static_cast<std::uint32_t>(vault.size()));
  append_le(out, header.number);
  out += vault;
  append_le(out, checksum64(out));
  return out;
}

Result<LogHeader> decode_log_header(ByteView file, std::uint64_t& size) {
  ByteReader in(file);
  LogHeader header;
  const auto magic = in.le<std::uint32_t>();
  header.version = in.le<std::uint16_t>();
  const auto features = in.le<std::uint16_t>();
  const auto vault_size = in.le<std::uint32_t>();
  header.number = in.le<std::uint64_t>();
  if (!in.ok() || magic != kLogMagic || vault_size > kLogHeaderBytesMax) {
    return Error(Errc::corrupt, "not a log: the header is damaged");
  }
  const ByteView vault = in.bytes(vault_size);
  const auto checksum = in.le<std::uint64_t>();
  size = 28 + std::uint64_t{vault_size};
  if (!in.ok() || checksum != checksum64(file.substr(0, size - 8))) {
    return Error(Errc::corrupt, "log header: bad checksum");
  }
  if (header.version != 1 || features != 0) {
    return Error(Errc::unsupported, "log version " + std::to_string(header.version) +
                                        " with features " + std::to_string(features) +
                                        " needs a newer program; use the one that wrote it");
  }
  TOKVAULT_ASSIGN(header.vault, decode_vault(vault));
  return header;
}

//  offset size
//   0     4   magic
//   4     1   flags
//   5     1   cipher
//   6     2   conversations, or zero
//   8     4   key id
//  12     4   tenant
//  16     4   section
//  20     8   sequence
//  28     4   payload size
//  32     4   body size
//  36     4   checksum of bytes 0 to 36, or zero
//  40     8   checksum of bytes 0 to 40 and the payload
Buffer encode_batch(BatchHeader h, ByteView payload, std::uint64_t number, std::uint64_t offset) {
  const std::uint64_t seed = place_seed(number, offset);
  const bool guarded = (h.flags & kGuarded) != 0;
  Buffer out;
  out.reserve(kBatchHeaderBytes + payload.size());
  append_le(out, kBatchMagic);
  append_le(out, h.flags);
  append_le(out, h.cipher);
  append_le(out, guarded ? h.conversations : std::uint16_t{0});
  append_le(out, h.key_id);
  append_le(out, h.tenant);
  append_le(out, h.section);
  append_le(out, h.sequence);
  append_le(out, static_cast<std::uint32_t>(payload.size()));
  append_le(out, h.body_size);
  append_le(out, guarded ? short_checksum(out, seed) : 0);
  append_le(out, batch_checksum(out, payload, seed));
  out.append(payload);
  return out;
}

//  offset size
//   0     4   deleted, d
//   4     4   tagged, t
//   8   16 (d + t)   id hashes
//   ...   4   checksum of all before
Buffer encode_changes(const BatchChanges& changes, std::uint64_t number, std::uint64_t offset) {
  Buffer out;
  append_le(out, static_cast<std::uint32_t>(changes.deleted.size()));
  append_le(out, static_cast<std::uint32_t>(changes.tagged.size()));
  for (const auto* const list : {&changes.deleted, &changes.tagged}) {
    for (const IdHash& id : *list) out.append(reinterpret_cast<const char*>(id.data()), id.size());
  }
  append_le(out, short_checksum(out, place_seed(number, offset)));
  return out;
}

//  varint   size of the piece of the body
//  varint   what the piece of text decodes to
//  ...      the piece of the body, then that of the text
Buffer encode_pieces(const BatchPieces& pieces, std::uint32_t text_size) {
  Buffer out;
  append_varint(out, pieces.body.size());
  append_varint(out, text_size);
  out.append(pieces.body).append(pieces.text);
  return out;
}

Result<BatchState> read_batch(ByteView bytes, std::uint64_t number, std::uint64_t base,
                              std::uint64_t offset, BatchHeader& h, BatchPieces& pieces) {
  if (offset >= bytes.size()) return BatchState::end;
  const ByteView head = bytes.substr(offset);
  const std::uint64_t seed = place_seed(number, base + offset);
  if (!read_header(head, seed, h) || h.payload_size > head.size() - kBatchHeaderBytes) {
    return BatchState::torn;
  }
  const ByteView payload = head.substr(kBatchHeaderBytes, h.payload_size);
  if (h.checksum != batch_checksum(head.substr(0, kBatchHeaderBytes - 8), payload, seed)) {
    return BatchState::torn;
  }
  if (h.cipher != 0 || (h.flags & ~kBatchFlagsKnown) != 0) {
    return Error(Errc::unsupported, "a batch of the log needs a newer program");
  }
  ByteView rest = payload;
  if ((h.flags & kChanges) != 0 && !take_changes(rest, seed)) return BatchState::torn;
  h.dictionary = 0;
  if ((h.flags & kDictionary) != 0) {
    ByteReader front(rest);
    h.dictionary = front.varint();
    rest = front.rest();
    constexpr std::uint8_t kBegins = kNewSection | kNewFrame;
    if (!front.ok() || h.dictionary == 0 || (h.flags & kBegins) != kBegins) {
      return Error(Errc::corrupt, "a batch names no dictionary, or has no use for one");
    }
  }
  h.text_size = 0;
  pieces = {rest, {}};
  if ((h.flags & kTextApart) != 0) {
    ByteReader front(rest);
    const std::uint64_t size = front.varint();
    h.text_size = front.varint32();
    if (!front.ok() || size > front.left()) {
      return Error(Errc::corrupt, "a batch whose text stands apart does not say where");
    }
    pieces.body = front.bytes(size);
    pieces.text = front.rest();
  }
  return BatchState::whole;
}

std::optional<BatchRemains> read_remains(ByteView file, std::uint64_t number,
                                         std::uint64_t offset) {
  if (offset >= file.size()) return std::nullopt;
  const std::uint64_t seed = place_seed(number, offset);
  BatchRemains out;
  const ByteView head = file.substr(offset);
  if (!read_header(head, seed, out.header) || (out.header.flags & kGuarded) == 0 ||
      out.header.cipher != 0 || (out.header.flags & ~kBatchFlagsKnown) != 0) {
    return std::nullopt;
  }
  ByteView payload = head.substr(kBatchHeaderBytes).substr(0, out.header.payload_size);
  if ((out.header.flags & kChanges) == 0) {
    out.changes = BatchChanges();
  } else {
    out.changes = take_changes(payload, seed);
  }
  return out;
}

std::uint64_t find_remains(ByteView file, std::uint64_t number, std::uint64_t offset,
                           std::uint64_t& budget) {
  for (std::size_t at = offset + 1;; ++at) {
    at = find_magic(file, at);
    if (at == ByteView::npos) return file.size();
    if (read_remains(file, number, at)) return at;
    if (is_whole(file, number, at, budget)) return at;
  }
}

bool has_batch_after(ByteView file, std::uint64_t number, std::uint64_t offset,
                     std::uint64_t& budget) {
  for (std::size_t at = offset + 1;; ++at) {
    at = find_magic(file, at);
    if (at == ByteView::npos) return false;
    BatchHeader header;
    // What looks like a batch so often was not written by an interruption.
    if (budget == 0) return true;
    if (is_whole(file, number, at, budget, &header) && (header.flags & kSameSync) == 0) return true;
  }
}

}  // namespace tokvault
