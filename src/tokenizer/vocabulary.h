// Vocabulary: the tokens of a byte-pair encoding and the tables that merging needs.
//
// A token is known inside by its *index*: its place in the order of ids, which is the order in
// which merges are preferred. Ids come in and go out at the edges only.
//
// All tables live in one block of memory, the *image*. It is built from a rank file, or mapped from
// a file that was written at set-up time (tokvault_make_vocab): building takes 0.1 to 0.2 s,
// mapping and checking a ms. The image is a cache of the rank file, not a format: it is only
// read by the version and byte order that wrote it, and whoever cannot read it builds it anew.
// What turns ids into text has a checksum of its own, since most who open a vault only read: the
// rest, four fifths, is looked at when somebody encodes.
//
//   header        kHeaderSize bytes: magic, version, SHA-256 of the rank file, counts, checksums
//   offsets       u32 for each token and one more: where its bytes begin in text
//   ids           u32 for each token: its id, ascending
//   text          the bytes of all tokens, and 16 bytes of zero
//   pairs         u64 a slot: left index << 42 | right index << 21 | index of both together
//   tokens        u64 a slot: index << 43 | offset in text << 16 | tag (some bits of the hash)
//   joints        bits: which bytes on both sides of a character's edge are inside a token
//   (joined()) byte pairs    u32 for each two bytes: the index of both together, or kNone bytes u32
//   for each byte: its index
//
// The two hash tables are open, with linear probing, at most half full.
#ifndef TOKVAULT_TOKENIZER_VOCABULARY_H_
#define TOKVAULT_TOKENIZER_VOCABULARY_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// Up to 15 bytes as two words: the bytes, zeros, and the length in the last one.
struct PieceKey {
  std::uint64_t a;
  std::uint64_t b;
  bool operator==(const PieceKey&) const = default;
};

inline constexpr std::size_t kKeyBytesMax = 15;

struct PieceMasks {
  std::uint64_t a[16];
  std::uint64_t b[16];
  constexpr PieceMasks() : a(), b() {
    for (unsigned n = 0; n < 16; ++n) {
      for (unsigned i = 0; i < n; ++i) {
        const unsigned shift =
            std::endian::native == std::endian::little ? 8 * (i % 8) : 56 - 8 * (i % 8);
        (i < 8 ? a[n] : b[n]) |= std::uint64_t{0xff} << shift;
      }
    }
  }
};
inline constexpr PieceMasks kPieceMasks;

// The key of the `size` <= 15 bytes at p, of which 16 must be readable.
inline PieceKey piece_key_16(const char* p, std::size_t size) {
  constexpr int kSizeShift = std::endian::native == std::endian::little ? 56 : 0;
  PieceKey key;
  std::memcpy(&key.a, p, 8);
  std::memcpy(&key.b, p + 8, 8);
  key.a &= kPieceMasks.a[size % 16];
  key.b = (key.b & kPieceMasks.b[size % 16]) | std::uint64_t{size} << kSizeShift;
  return key;
}

// The same where only up to `limit` is readable.
inline PieceKey piece_key(const char* p, std::size_t size, const char* limit) {
  if (limit - p >= 16) return piece_key_16(p, size);
  char padded[16] = {};
  std::memcpy(padded, p, size);
  return piece_key_16(padded, size);
}

// Set in b, where no length has it, it makes another key of the same bytes.
inline constexpr std::uint64_t kSegmentBit =
    std::endian::native == std::endian::little ? std::uint64_t{1} << 63 : 0x80;

inline std::uint64_t hash_key(const PieceKey& key) {
  const std::uint64_t h = (key.a ^ key.b * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
  return h ^ h >> 32;
}

// Threads: const methods from any thread at once.
class Vocabulary {
 public:
  static constexpr std::uint32_t kNone = 0xffffffff;
  // Limits of the packed slots.
  static constexpr std::uint32_t kTokensMax = (1u << 21) - 1;
  static constexpr std::uint32_t kTextBytesMax = (1u << 27) - 1;

  // From the bytes of a .tiktoken rank file: lines of base64, a space and the id. `invalid` names
  // the first bad line; every single byte must be a token.
  static Result<std::unique_ptr<const Vocabulary>> parse(ByteView rank_file);

  // Maps the file that was written from image(). `corrupt` if what is needed to decode fails its
  // checks, `unsupported` if another version or kind of machine wrote it. REQUIRES of whoever
  // encodes: can_encode()
  static Result<std::unique_ptr<const Vocabulary>> map(const std::string& path);
  // Whether the rest of an image is whole, too. Reads it all.
  bool can_encode() const;
  // The same vocabulary, built from what is needed to decode.
  Result<std::unique_ptr<const Vocabulary>> rebuild() const;

  ~Vocabulary();
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  ByteView image() const { return {base_, size_}; }
  const Digest& rank_file_sha256() const { return digest_; }
  std::uint32_t count() const { return count_; }
  // The length of the longest token.
  std::size_t bytes_max() const { return bytes_max_; }

  Token id(std::uint32_t index) const { return ids_[index]; }
  // kNone if there is no such id.
  std::uint32_t index_of(Token id) const;
  std::string_view bytes(std::uint32_t index) const {
    return {text_ + offsets_[index], offsets_[index + 1] - offsets_[index]};
  }

  std::uint32_t byte_index(unsigned char byte) const { return byte_index_[byte]; }
  // The token of two bytes, of two tokens one behind the other, of any bytes; or kNone.
  std::uint32_t byte_pair(unsigned char left, unsigned char right) const {
    return byte_pairs_[left << 8 | right];
  }
  void prefetch_pair(std::uint32_t left, std::uint32_t right) const {
    const std::uint64_t key = std::uint64_t{left} << 21 | right;
    __builtin_prefetch(pairs_ + slot_of(hash_pair(key), pair_slots_));
  }
  std::uint32_t pair(std::uint32_t left, std::uint32_t right) const {
    const std::uint64_t key = std::uint64_t{left} << 21 | right;
    for (std::uint32_t i = slot_of(hash_pair(key), pair_slots_);;) {
      const std::uint64_t slot = pairs_[i];
      if (slot >> 21 == key) return static_cast<std::uint32_t>(slot & kTokensMax);
      if (slot == kEmptyPair) return kNone;
      if (++i == pair_slots_) i = 0;
    }
  }
  // False if no token holds both the byte at p and the one before it with what is around them: then
  // merging never crosses this place, and what is left and right of it can be merged by itself.
  // Only for the edge between two characters beyond ASCII: REQUIRES p[-1] >= 0x80, p[0] >= 0xc0,
  // and two bytes of the piece on either side. True may be wrong, false is not.
  bool joined(const char* p) const { return has_joint(four_joint(p)) || has_joint(two_joint(p)); }
  std::uint32_t find(std::string_view piece) const;
  // The same for a piece of which the key and its hash are known.
  std::uint32_t find_key(const PieceKey& key, std::uint64_t hash, std::size_t size) const;

 private:
  struct Entry;
  struct Layout;
  Vocabulary() = default;

  static constexpr std::uint64_t kEmptyPair = ~std::uint64_t{0};
  static constexpr std::uint64_t kEmptyToken = ~std::uint64_t{0};

  static std::uint64_t hash_pair(std::uint64_t key) { return key * 0x9e3779b97f4a7c15u; }
  static std::uint32_t slot_of(std::uint64_t hash, std::uint32_t slots) {
    return static_cast<std::uint32_t>((hash >> 32) * slots >> 32);
  }
  // Joints are kept by the two bytes on either side; by one where a token has no more there.
  static constexpr std::uint32_t kFourJoints = 1u << 20;
  static constexpr std::uint32_t kJointWords = (kFourJoints + 65536) / 64;
  static std::uint32_t byte_at(const char* p) { return static_cast<unsigned char>(*p); }
  static std::uint32_t four_joint(const char* p) {
    const std::uint32_t bytes =
        byte_at(p - 2) << 24 | byte_at(p - 1) << 16 | byte_at(p) << 8 | byte_at(p + 1);
    return bytes * 0x9e3779b1u >> 12;
  }
  static std::uint32_t two_joint(const char* p) {
    return kFourJoints + (byte_at(p - 1) << 8 | byte_at(p));
  }
  bool has_joint(std::uint32_t joint) const { return (joints_[joint / 64] >> joint % 64 & 1) != 0; }

  static std::uint64_t hash_bytes(std::string_view bytes);

  static Result<std::vector<Entry>> read_ranks(ByteView rank_file, Buffer& text);
  static Result<std::unique_ptr<const Vocabulary>> build(const std::vector<Entry>& entries,
                                                         ByteView text, const Digest& digest);
  std::uint64_t decoding_sum() const;
  std::uint64_t encoding_sum() const;
  Status check_header();
  void point(char* base);
  Status fill_tokens(const std::vector<Entry>& entries);
  std::vector<std::uint64_t> find_pairs() const;
  void fill_joints();
  void fill_pairs(const std::vector<std::uint64_t>& pairs);

  const char* base_ = nullptr;
  std::size_t size_ = 0;
  bool mapped_ = false;
  std::vector<std::uint64_t> owned_;

  Digest digest_{};
  std::uint32_t count_ = 0;
  std::uint32_t bytes_max_ = 0;
  std::uint32_t text_size_ = 0;
  std::uint32_t token_slots_ = 0;
  std::uint32_t pair_slots_ = 0;
  std::uint64_t* pairs_ = nullptr;
  std::uint64_t* tokens_ = nullptr;
  std::uint64_t* joints_ = nullptr;
  std::uint32_t* byte_pairs_ = nullptr;
  std::uint32_t* byte_index_ = nullptr;
  std::uint32_t* offsets_ = nullptr;
  std::uint32_t* ids_ = nullptr;
  char* text_ = nullptr;
};

}  // namespace tokvault

#endif  // TOKVAULT_TOKENIZER_VOCABULARY_H_
