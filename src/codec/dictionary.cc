#include "codec/dictionary.h"

#include <string>

#define ZDICT_STATIC_LINKING_ONLY
#include <zdict.h>

#include "base/bytes.h"
#include "base/zstd.h"

namespace tokvault {

Result<Buffer> train_dictionary(ByteView samples, std::span<const std::size_t> sample_sizes,
                                std::uint64_t size_bytes) {
  if (size_bytes < ZDICT_DICTSIZE_MIN || size_bytes > kDictionaryBytesMax) {
    return Error(Errc::invalid, "a dictionary has 256 bytes to 16 MB");
  }
  Buffer out(size_bytes, '\0');
  ZDICT_fastCover_params_t p{};
  p.d = 8;
  p.steps = 4;  // lengths of a stretch that are tried; more find little more
  p.zParams.compressionLevel = 6;
  const std::size_t n = ZDICT_optimizeTrainFromBuffer_fastCover(
      out.data(), out.size(), samples.data(), sample_sizes.data(),
      static_cast<unsigned>(sample_sizes.size()), &p);
  if (ZDICT_isError(n)) {
    return Error(Errc::invalid, "too little to train a dictionary on: " +
                                    std::to_string(samples.size()) + " bytes that are shared, in " +
                                    std::to_string(sample_sizes.size()) + " samples");
  }
  out.resize(n);
  return out;
}

// RFC 8878, section 6: magic number, id, entropy tables, content.
Result<std::uint32_t> dictionary_id(ByteView dictionary) {
  constexpr std::uint32_t kMagic = 0xec30a437u;
  if (dictionary.size() > kDictionaryBytesMax) {
    return Error(Errc::exhausted,
                 "a dictionary has at most " + std::to_string(kDictionaryBytesMax >> 20) + " MB");
  }
  ByteReader in(dictionary);
  const auto magic = in.le<std::uint32_t>();
  const auto id = in.le<std::uint32_t>();
  if (!in.ok() || magic != kMagic) {
    return Error(Errc::invalid, "no dictionary: it does not begin as those of zstd do");
  }
  if (id == 0) return Error(Errc::invalid, "a dictionary without an id cannot be named by a frame");
  // The magic number alone says nothing about the tables behind it.
  if (!is_zstd_dictionary(dictionary)) {
    return Error(Errc::invalid, "a damaged dictionary: the tables at its beginning cannot be read");
  }
  return id;
}

}  // namespace tokvault
