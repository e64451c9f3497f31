// The bytes of a KVC v1 file. Format: docs/format/kvc.md. No I/O here.
#include "tokvault/kvc.h"

#include <openssl/evp.h>

#include "base/bytes.h"
#include "base/clock.h"

namespace tokvault {
namespace {

constexpr std::uint8_t kVersion1 = 1;
constexpr std::uint32_t kToolIdBytesMax = 256;

Error field(std::string_view what) { return Error(Errc::corrupt, "kvc: " + std::string(what)); }

}  // namespace

KvcHeader KvcHeader::make(std::uint8_t quant_bits, KvcReason reason, std::uint32_t token_count,
                          std::uint32_t ctx_size) {
  KvcHeader h;
  h.quant_bits = quant_bits;
  h.reason = reason;
  h.token_count = token_count;
  h.ctx_size = ctx_size;
  h.created_unix = h.last_used_unix = static_cast<std::uint64_t>(now_ms() / 1000);
  return h;
}

Result<KvcHeader> kvc_decode_header(ByteView bytes) {
  ByteReader r(bytes);
  const ByteView magic = r.bytes(3);
  if (!r.ok() || magic != "KVC") return field("the magic is not KVC");
  const auto version = r.le<std::uint8_t>();
  if (!r.ok()) return field("the header is cut short");
  if (version != kVersion1) {
    return Error(Errc::unsupported, "kvc: version " + std::to_string(version));
  }
  KvcHeader h;
  h.quant_bits = r.le<std::uint8_t>();
  h.reason = static_cast<KvcReason>(r.le<std::uint8_t>());
  h.ext_flags = r.le<std::uint8_t>();
  h.reserved7 = r.le<std::uint8_t>();
  h.token_count = r.le<std::uint32_t>();
  h.hit_count = r.le<std::uint32_t>();
  h.ctx_size = r.le<std::uint32_t>();
  h.reserved20 = r.le<std::uint32_t>();
  h.created_unix = r.le<std::uint64_t>();
  h.last_used_unix = r.le<std::uint64_t>();
  h.payload_bytes = r.le<std::uint64_t>();
  if (!r.ok()) return field("the header is cut short");
  return h;
}

Buffer kvc_encode_header(const KvcHeader& h) {
  Buffer out = "KVC";
  append_le<std::uint8_t>(out, kVersion1);
  append_le<std::uint8_t>(out, h.quant_bits);
  append_le<std::uint8_t>(out, static_cast<std::uint8_t>(h.reason));
  append_le<std::uint8_t>(out, h.ext_flags);
  append_le<std::uint8_t>(out, h.reserved7);
  append_le<std::uint32_t>(out, h.token_count);
  append_le<std::uint32_t>(out, h.hit_count);
  append_le<std::uint32_t>(out, h.ctx_size);
  append_le<std::uint32_t>(out, h.reserved20);
  append_le<std::uint64_t>(out, h.created_unix);
  append_le<std::uint64_t>(out, h.last_used_unix);
  append_le<std::uint64_t>(out, h.payload_bytes);
  return out;
}

Result<KvcFile> kvc_decode(ByteView bytes) {
  TOKVAULT_ASSIGN(KvcHeader header, kvc_decode_header(bytes));
  ByteReader r(bytes.substr(kKvcHeaderBytes));
  const auto text_bytes = r.le<std::uint32_t>();
  if (!r.ok()) return field("the text size is cut short");
  const ByteView text = r.bytes(text_bytes);
  if (!r.ok()) return field("the text is longer than the file");
  const ByteView payload = r.bytes(header.payload_bytes);
  if (!r.ok()) return field("the payload is longer than the file");
  const ByteView trailer = r.rest();
  if ((header.ext_flags & kKvcToolMap) != 0) {
    auto tools = kvc_decode_tools(trailer);
    if (!tools) return std::move(tools).error();
  }
  return KvcFile{header, Buffer(text), Buffer(payload), Buffer(trailer)};
}

Result<Buffer> kvc_encode(const KvcFile& file) {
  if (file.text.size() > 0xffffffffu) return Error(Errc::invalid, "kvc: the text has over 4 GiB");
  KvcHeader header = file.header;
  header.payload_bytes = file.payload.size();
  Buffer out = kvc_encode_header(header);
  out.reserve(out.size() + 4 + file.text.size() + file.payload.size() + file.trailer.size());
  append_le<std::uint32_t>(out, static_cast<std::uint32_t>(file.text.size()));
  out += file.text;
  out += file.payload;
  out += file.trailer;
  return out;
}

Result<std::vector<KvcToolCall>> kvc_decode_tools(ByteView trailer) {
  ByteReader r(trailer);
  if (r.bytes(3) != "KTM" || !r.ok()) return field("the tool map has no KTM magic");
  if (r.le<std::uint8_t>() != 1 || !r.ok()) return field("the tool map's version is not 1");
  const auto count = r.le<std::uint32_t>();
  // An entry has at least its two sizes: a count that cannot fit is refused before any allocation.
  if (!r.ok() || count > r.left() / 8) return field("the tool map's count does not fit");
  std::vector<KvcToolCall> tools;
  tools.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto id_bytes = r.le<std::uint32_t>();
    const auto text_bytes = r.le<std::uint32_t>();
    if (id_bytes > kToolIdBytesMax) return field("a tool id is longer than 256 bytes");
    const ByteView id = r.bytes(id_bytes);
    const ByteView text = r.bytes(text_bytes);
    if (!r.ok()) return field("the tool map is cut short");
    tools.push_back({std::string(id), std::string(text)});
  }
  return tools;
}

Buffer kvc_encode_tools(const std::vector<KvcToolCall>& tools) {
  Buffer out = "KTM";
  append_le<std::uint8_t>(out, 1);
  append_le<std::uint32_t>(out, static_cast<std::uint32_t>(tools.size()));
  for (const KvcToolCall& tool : tools) {
    append_le<std::uint32_t>(out, static_cast<std::uint32_t>(tool.id.size()));
    append_le<std::uint32_t>(out, static_cast<std::uint32_t>(tool.text.size()));
    out += tool.id;
    out += tool.text;
  }
  return out;
}

std::string kvc_key(ByteView text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr) != 1) return {};
  return to_hex(ByteView(reinterpret_cast<const char*>(digest), size));
}

}  // namespace tokvault
