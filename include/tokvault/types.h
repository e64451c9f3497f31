// The small types that every part of tokvault shares.
#ifndef TOKVAULT_TYPES_H_
#define TOKVAULT_TYPES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tokvault {

// A token id. Any u32 is stored; only ids of the vault's vocabulary can be turned into text.
using Token = std::uint32_t;
using TokenView = std::span<const Token>;

// Bytes, borrowed and owned. Not necessarily text.
using ByteView = std::string_view;
using Buffer = std::string;

// SHA-256 of a segment's tokens as little-endian u32 (or of its bytes, for a byte segment).
using Digest = std::array<std::uint8_t, 32>;

// How hard the encoder works. It changes size and speed, never what can be read back.
enum class Level : std::uint8_t {
  fast = 1,      // imports 57 to 197 MB/s of JSONL on two cores (docs/benchmarks.md)
  balanced = 2,  // the default: 32 to 131 MB/s, before packs are merged
  dense = 3,     // smallest, and slow both to write and to read first
};

}  // namespace tokvault

#endif  // TOKVAULT_TYPES_H_
