// Journal events and record prefixes of the checkpoint store: never crash, and encode to what they
// were decoded from. Checksums are mended first, or nothing behind them would be reached.
#include <cstdint>
#include <cstdlib>

#include "base/bytes.h"
#include "base/checksum.h"
#include "checkpoint/record.h"

using namespace tokvault;
using namespace tokvault::checkpoint;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Buffer bytes(reinterpret_cast<const char*>(data), size);
  if (size >= 7) {
    const std::size_t event_size = 7 + load_le<std::uint16_t>(bytes.data() + 4);
    if (event_size <= size) {
      const ByteView rest = ByteView(bytes).substr(4, event_size - 4);
      store_le(checksum32(rest), bytes.data());
    }
    ByteView left = bytes;
    if (const auto event = take_event(left)) {
      Buffer again;
      append_event(again, *event);
      const ByteView was = ByteView(bytes).substr(0, bytes.size() - left.size());
      // An add may spell out extras that are all zero: the shorter form is written.
      if (again != was && !(event->event == Event::add && again.size() < was.size())) std::abort();
    }
    if (const auto n = decode_namespace(bytes)) static_cast<void>(encode_namespace(*n).size());
  }
  bytes.assign(reinterpret_cast<const char*>(data), size);
  if (const auto header = peek_header(bytes)) {
    const std::uint64_t prefix = header->prefix_bytes();
    if (prefix <= bytes.size()) {
      store_le(checksum64(ByteView(bytes).substr(16, prefix - 16)), bytes.data() + 8);
    }
    if (const auto decoded = decode_prefix(bytes)) {
      if (decoded->tokens.size() != header->tokens || decoded->sums.size() != header->chunks()) {
        std::abort();
      }
      static_cast<void>(chunk_matches(*decoded, 0, "x"));
    }
  }
  return 0;
}
