#include "format/log.h"

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
                                        " is newer than this program; use the one that wrote it");
  }
  TOKVAULT_ASSIGN(header.vault, decode_vault(vault));
  return header;
}

//  offset size
//   0     4   magic
//   4     1   flags
//   5     1   cipher
//   6     2   zero
//   8     4   key id
//  12     4   tenant
//  16     4   section
//  20     8   sequence
//  28     4   payload size
//  32     4   body size
//  36     4   zero
//  40     8   checksum of bytes 0 to 40 and the payload
Buffer encode_batch(BatchHeader h, ByteView payload, std::uint64_t number, std::uint64_t offset) {
  Buffer out;
  out.reserve(kBatchHeaderBytes + payload.size());
  append_le(out, kBatchMagic);
  append_le(out, h.flags);
  append_le(out, h.cipher);
  append_le(out, std::uint16_t{0});
  append_le(out, h.key_id);
  append_le(out, h.tenant);
  append_le(out, h.section);
  append_le(out, h.sequence);
  append_le(out, static_cast<std::uint32_t>(payload.size()));
  append_le(out, h.body_size);
  append_le(out, std::uint32_t{0});
  append_le(out, batch_checksum(out, payload, place_seed(number, offset)));
  out.append(payload);
  return out;
}

Result<BatchState> read_batch(ByteView bytes, std::uint64_t number, std::uint64_t base,
                              std::uint64_t offset, BatchHeader& h, ByteView& payload) {
  if (offset >= bytes.size()) return BatchState::end;
  const ByteView head = bytes.substr(offset);
  ByteReader in(head);
  const auto magic = in.le<std::uint32_t>();
  h.flags = in.le<std::uint8_t>();
  h.cipher = in.le<std::uint8_t>();
  const auto zero16 = in.le<std::uint16_t>();
  h.key_id = in.le<std::uint32_t>();
  h.tenant = in.le<std::uint32_t>();
  h.section = in.le<std::uint32_t>();
  h.sequence = in.le<std::uint64_t>();
  h.payload_size = in.le<std::uint32_t>();
  h.body_size = in.le<std::uint32_t>();
  const auto zero32 = in.le<std::uint32_t>();
  h.checksum = in.le<std::uint64_t>();
  if (!in.ok() || magic != kBatchMagic || h.payload_size > in.left()) return BatchState::torn;
  payload = in.bytes(h.payload_size);
  if (h.checksum !=
          batch_checksum(head.substr(0, 40), payload, place_seed(number, base + offset)) ||
      zero16 != 0 || zero32 != 0) {
    return BatchState::torn;
  }
  if (h.cipher != 0 || (h.flags & ~(kNewSection | kNewFrame | kSameSync)) != 0) {
    return Error(Errc::unsupported, "a batch of the log needs a newer program");
  }
  return BatchState::whole;
}

bool has_batch_after(ByteView file, std::uint64_t number, std::uint64_t offset) {
  char magic[4];
  store_le(kBatchMagic, magic);
  for (std::size_t at = offset + 1;; ++at) {
    at = file.find(ByteView(magic, 4), at);
    if (at == ByteView::npos) return false;
    BatchHeader header;
    ByteView payload;
    auto state = read_batch(file, number, 0, at, header, payload);
    if (!state) return true;
    if (*state == BatchState::whole && (header.flags & kSameSync) == 0) return true;
  }
}

}  // namespace tokvault
