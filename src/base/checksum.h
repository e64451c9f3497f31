// Checksums against damage (XXH3-64) and identities (SHA-256).
#ifndef TOKVAULT_BASE_CHECKSUM_H_
#define TOKVAULT_BASE_CHECKSUM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tokvault/types.h"

namespace tokvault {

// XXH3 with 64 bits, as on disk.
std::uint64_t checksum64(ByteView bytes, std::uint64_t seed = 0);
// Its low 32 bits, for small records.
inline std::uint32_t checksum32(ByteView bytes) {
  return static_cast<std::uint32_t>(checksum64(bytes));
}

Digest sha256(ByteView bytes);
// Of the tokens as little-endian u32: the identity of a token segment.
Digest sha256_tokens(TokenView tokens);
// HMAC-SHA-256 (RFC 2104).
Digest hmac_sha256(ByteView key, ByteView message);

// Bytes of the operating system's random generator.
Buffer random_bytes(std::size_t count);

}  // namespace tokvault

#endif  // TOKVAULT_BASE_CHECKSUM_H_
