// A log, as its bytes are and with its checksums put right: never crashes, and what was read can be
// used: every path ends, every segment decodes or is refused. An input that brings a dictionary has
// it under every number that a batch names.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/bytes.h"
#include "base/checksum.h"
#include "fuzz/with_dictionary.h"
#include "vault/log_file.h"

namespace {

using namespace tokvault;

// Magic numbers, sizes and checksums as a writer would have left them around these bytes.
Buffer mended(Buffer file) {
  if (file.size() < 28) return file;
  store_le(kLogMagic, file.data());
  store_le(std::uint32_t{1}, file.data() + 4);
  const auto vault_size =
      std::min<std::uint64_t>(load_le<std::uint32_t>(file.data() + 8), file.size() - 28);
  store_le(static_cast<std::uint32_t>(vault_size), file.data() + 8);
  store_le(std::uint64_t{1}, file.data() + 12);
  store_le(checksum64(ByteView(file).substr(0, 20 + vault_size)), file.data() + 20 + vault_size);
  for (std::uint64_t at = 28 + vault_size; file.size() - at >= kBatchHeaderBytes;) {
    char* p = file.data() + at;
    store_le(kBatchMagic, p);
    const bool guarded = (p[4] & kGuarded) != 0;
    if (!guarded) store_le(std::uint16_t{0}, p + 6);
    const auto size = std::min<std::uint64_t>(load_le<std::uint32_t>(p + 28),
                                              file.size() - at - kBatchHeaderBytes);
    store_le(static_cast<std::uint32_t>(size), p + 28);
    const std::uint64_t seed = (std::uint64_t{1} << 40) ^ at;
    const std::uint64_t check = guarded ? checksum64(ByteView(p, 36), seed) : 0;
    store_le(static_cast<std::uint32_t>(check), p + 36);
    const std::uint64_t head = checksum64(ByteView(p, 40), seed);
    store_le(checksum64(ByteView(p + kBatchHeaderBytes, size), head), p + 40);
    at += kBatchHeaderBytes + size;
  }
  return file;
}

void put_dictionary(Backend& backend, const Buffer& dictionary, ByteView file) {
  std::uint64_t at = 0;
  const auto log = decode_log_header(file, at);
  if (!log) return;
  BatchHeader header;
  for (BatchPieces pieces;; at += kBatchHeaderBytes + header.payload_size) {
    const auto state = read_batch(file, 1, 0, at, header, pieces);
    if (!state || *state != BatchState::whole) return;
    if (header.dictionary == 0) continue;
    Artifact artifact;
    artifact.number = header.dictionary;
    artifact.tenant = header.tenant;
    artifact.vault_id = log->vault.id;
    artifact.content = dictionary;
    put_artifact(backend, artifact);
  }
}

void open(const Buffer& file, const std::optional<Buffer>& dictionary, DecodeText decode_text) {
  const auto backend = make_memory_backend();
  if (!backend->put(log_name(1), file)) std::abort();
  if (dictionary) put_dictionary(*backend, *dictionary, file);
  auto log = LogFile::open(*backend, 1, 0, 0, decode_text);
  if (!log) return;
  Scratch scratch;
  std::vector<Token> tokens;
  for (const auto& [tenant, part] : (*log)->parts()) {
    const Tables& t = part->table();
    for (const Row& row : t.rows) {
      for (const std::uint32_t node : t.path(row)) {
        if (node >= t.nodes.size()) std::abort();
      }
    }
    for (const Stream stream : {kTokenStream, kByteStream}) {
      for (std::uint32_t i = 0; i < t.segment_counts[stream]; ++i) {
        auto code = part->code(stream, i, scratch);
        if (!code && decode_text == DecodeText::when_read) continue;
        if (!code) std::abort();
        tokens.clear();
        if (stream == kTokenStream) (void)part->decode_tokens(*code, tokens);
      }
    }
    (void)part->find_segment(kTokenStream, {}, scratch);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const FuzzInput input = parse_input(data, size);
  for (const auto when : {DecodeText::at_once, DecodeText::when_read}) {
    open(input.file, input.dictionary, when);
    open(mended(input.file), input.dictionary, when);
  }
  return 0;
}
