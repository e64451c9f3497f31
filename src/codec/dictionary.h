// Dictionaries of zstd: what many frames share.
#ifndef TOKVAULT_CODEC_DICTIONARY_H_
#define TOKVAULT_CODEC_DICTIONARY_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

inline constexpr std::uint64_t kDictionaryBytesMax = 16u << 20;

// Trains a dictionary of at most `size_bytes` on samples that lie one after another, by zstd's
// "fast cover" (which runs of 6 to 8 bytes occur often, and which stretches cover most of them).
// The id is taken from the content. The same samples give the same bytes. `invalid` if the samples
// are too few for zstd to find anything in, or if the size is under 256 bytes or above
// kDictionaryBytesMax.
Result<Buffer> train_dictionary(ByteView samples, std::span<const std::size_t> sample_sizes,
                                std::uint64_t size_bytes);

// The id that a dictionary has in it, which frames that use it name. `invalid` if the bytes are no
// dictionary that zstd can use, or if the id is 0, which stands for none in a frame; `exhausted` if
// they are more than kDictionaryBytesMax.
Result<std::uint32_t> dictionary_id(ByteView dictionary);

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_DICTIONARY_H_
