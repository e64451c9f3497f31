#include "tokenizer/vocabulary.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/checksum.h"
#include "base/file.h"

namespace tokvault {
namespace {

// "tvvocab" and a version, as one native word. The version grows with every change of the layout or
// of what parse() puts into it; a machine of the other byte order sees another number.
constexpr std::uint64_t kMagic = 0x7476766f63616202u;
constexpr std::size_t kHeaderSize = 128;
constexpr std::size_t kDecodingSumOffset = 64;
constexpr std::size_t kEncodingSumOffset = 72;
constexpr std::size_t kTextPadding = 16;

constexpr std::array<std::int8_t, 256> kBase64 = [] {
  std::array<std::int8_t, 256> table{};
  table.fill(-1);
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < kDigits.size(); ++i) {
    table[static_cast<unsigned char>(kDigits[i])] = static_cast<std::int8_t>(i);
  }
  return table;
}();

// Appends what `in` stands for, or answers false: padded base64 in its canonical form.
bool decode_base64(std::string_view in, Buffer& out) {
  if (in.empty() || in.size() % 4 != 0) return false;
  const std::size_t padding = in.back() != '=' ? 0 : in[in.size() - 2] != '=' ? 1 : 2;
  in.remove_suffix(padding);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : in) {
    const int digit = kBase64[static_cast<unsigned char>(c)];
    if (digit < 0) return false;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count));
      bits &= (1u << count) - 1;
    }
  }
  return bits == 0;
}

bool parse_id(std::string_view digits, Token& id) {
  if (digits.empty() || digits.size() > 10) return false;
  std::uint64_t value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  // The largest u32 is kept free: one more than the largest id must be a Token too.
  if (value >= 0xffffffffu) return false;
  id = static_cast<Token>(value);
  return true;
}

Error line_error(std::uint32_t line, const std::string& what) {
  return Error(Errc::invalid, "rank file: line " + std::to_string(line) + ": " + what);
}

inline std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
  const std::uint64_t h = (hash ^ word) * 0xd6e8feb86659fd93u;
  return h ^ h >> 32;
}

}  // namespace

struct Vocabulary::Entry {
  Token id;
  std::uint32_t offset;
  std::uint32_t size;
  std::uint32_t line;
};

// Where the parts of an image begin.
struct Vocabulary::Layout {
  std::size_t offsets, ids, text, pairs, tokens, joints, byte_pairs, byte_index, end;
  Layout(std::uint64_t count, std::uint64_t text_size, std::uint64_t token_slots,
         std::uint64_t pair_slots)
      : offsets(kHeaderSize),
        ids(offsets + (count + 1) * 4),
        text(ids + count * 4),
        pairs((text + text_size + kTextPadding + 7) / 8 * 8),
        tokens(pairs + pair_slots * 8),
        joints(tokens + token_slots * 8),
        byte_pairs(joints + kJointWords * 8),
        byte_index(byte_pairs + 65536 * 4),
        end(byte_index + 256 * 4) {}
};

std::uint64_t Vocabulary::hash_bytes(std::string_view bytes) {
  const char* p = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t h = left;
  std::uint64_t word = 0;
  for (; left >= 8; left -= 8, p += 8) {
    std::memcpy(&word, p, 8);
    h = mix(h, word);
  }
  word = 0;
  std::memcpy(&word, p, left);
  return mix(h, word);
}

std::uint32_t Vocabulary::find_key(const PieceKey& key, std::uint64_t hash,
                                   std::size_t size) const {
  for (std::uint32_t i = slot_of(hash, token_slots_);;) {
    const std::uint64_t slot = tokens_[i];
    if ((slot ^ hash) << 48 == 0) {
      const auto index = static_cast<std::uint32_t>(slot >> 43);
      const auto offset = static_cast<std::uint32_t>(slot >> 16 & kTextBytesMax);
      if (slot != kEmptyToken && offsets_[index + 1] - offset == size &&
          piece_key_16(text_ + offset, size) == key) {
        return index;
      }
    }
    if (slot == kEmptyToken) return kNone;
    if (++i == token_slots_) i = 0;
  }
}

std::uint32_t Vocabulary::find(std::string_view piece) const {
  if (piece.size() <= kKeyBytesMax) {
    const PieceKey key = piece_key(piece.data(), piece.size(), piece.data() + piece.size());
    return find_key(key, hash_key(key), piece.size());
  }
  if (piece.size() > bytes_max_) return kNone;
  const std::uint64_t hash = hash_bytes(piece);
  for (std::uint32_t i = slot_of(hash, token_slots_);;) {
    const std::uint64_t slot = tokens_[i];
    if (slot == kEmptyToken) return kNone;
    if ((slot ^ hash) << 48 == 0) {
      const auto index = static_cast<std::uint32_t>(slot >> 43);
      if (bytes(index) == piece) return index;
    }
    if (++i == token_slots_) i = 0;
  }
}

std::uint32_t Vocabulary::index_of(Token id) const {
  if (count_ == 0) return kNone;
  // Ids without gaps are their own index.
  if (id < count_ && ids_[id] == id) return id;
  const std::uint32_t* const found = std::lower_bound(ids_, ids_ + count_, id);
  if (found == ids_ + count_ || *found != id) return kNone;
  return static_cast<std::uint32_t>(found - ids_);
}

Result<std::vector<Vocabulary::Entry>> Vocabulary::read_ranks(ByteView rank_file, Buffer& text) {
  std::vector<Entry> entries;
  std::uint32_t line = 0;
  for (std::size_t begin = 0; begin < rank_file.size();) {
    ++line;
    std::size_t end = rank_file.find('\n', begin);
    if (end == ByteView::npos) end = rank_file.size();
    std::string_view row = rank_file.substr(begin, end - begin);
    begin = end + 1;
    if (!row.empty() && row.back() == '\r') row.remove_suffix(1);
    if (row.empty()) continue;
    const std::size_t gap = row.find(' ');
    if (gap == std::string_view::npos) {
      return line_error(line, "no space between token and rank");
    }
    Entry entry{0, static_cast<std::uint32_t>(text.size()), 0, line};
    if (!decode_base64(row.substr(0, gap), text)) {
      return line_error(line, "the token is not base64");
    }
    if (!parse_id(row.substr(gap + 1), entry.id)) {
      return line_error(line, "the rank is not a number below 4294967295");
    }
    if (text.size() > kTextBytesMax) return line_error(line, "more than 128 MiB of tokens");
    if (entries.size() == kTokensMax) {
      return line_error(line, "more than " + std::to_string(kTokensMax) + " tokens");
    }
    entry.size = static_cast<std::uint32_t>(text.size()) - entry.offset;
    entries.push_back(entry);
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& x, const Entry& y) {
    return x.id != y.id ? x.id < y.id : x.line < y.line;
  });
  for (std::size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].id == entries[i - 1].id) {
      return line_error(entries[i].line, "rank " + std::to_string(entries[i].id) +
                                             " is already that of line " +
                                             std::to_string(entries[i - 1].line));
    }
  }
  return entries;
}

void Vocabulary::point(char* base) {
  const Layout at(count_, text_size_, token_slots_, pair_slots_);
  base_ = base;
  size_ = at.end;
  pairs_ = reinterpret_cast<std::uint64_t*>(base + at.pairs);
  tokens_ = reinterpret_cast<std::uint64_t*>(base + at.tokens);
  joints_ = reinterpret_cast<std::uint64_t*>(base + at.joints);
  byte_pairs_ = reinterpret_cast<std::uint32_t*>(base + at.byte_pairs);
  byte_index_ = reinterpret_cast<std::uint32_t*>(base + at.byte_index);
  offsets_ = reinterpret_cast<std::uint32_t*>(base + at.offsets);
  ids_ = reinterpret_cast<std::uint32_t*>(base + at.ids);
  text_ = base + at.text;
}

Status Vocabulary::fill_tokens(const std::vector<Entry>& entries) {
  std::fill_n(tokens_, token_slots_, kEmptyToken);
  std::fill_n(byte_index_, 256, kNone);
  for (std::uint32_t index = 0; index < count_; ++index) {
    const std::string_view token = bytes(index);
    const std::uint32_t same = find(token);
    if (same != kNone) {
      const auto [first, second] = std::minmax(entries[same].line, entries[index].line);
      return line_error(second, "the token is already that of line " + std::to_string(first));
    }
    if (token.size() == 1) byte_index_[static_cast<unsigned char>(token[0])] = index;
    std::uint64_t hash = 0;
    if (token.size() <= kKeyBytesMax) {
      hash = hash_key(piece_key_16(token.data(), token.size()));
    } else {
      hash = hash_bytes(token);
    }
    std::uint32_t i = slot_of(hash, token_slots_);
    while (tokens_[i] != kEmptyToken) {
      if (++i == token_slots_) i = 0;
    }
    tokens_[i] =
        std::uint64_t{index} << 43 | std::uint64_t{offsets_[index]} << 16 | (hash & 0xffff);
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (byte_index_[byte] == kNone) {
      return Error(Errc::invalid,
                   "rank file: no token for the single byte " + std::to_string(byte));
    }
  }
  return {};
}

void Vocabulary::fill_joints() {
  std::fill_n(joints_, kJointWords, 0);
  for (std::uint32_t index = 0; index < count_; ++index) {
    const std::string_view token = bytes(index);
    for (std::size_t k = 1; k < token.size(); ++k) {
      const char* const p = token.data() + k;
      if (byte_at(p - 1) < 0x80 || byte_at(p) < 0xc0) continue;
      const bool wide = k >= 2 && token.size() - k >= 2;
      const std::uint32_t joint = wide ? four_joint(p) : two_joint(p);
      joints_[joint / 64] |= std::uint64_t{1} << joint % 64;
    }
  }
}

std::vector<std::uint64_t> Vocabulary::find_pairs() const {
  std::vector<std::uint64_t> pairs;
  // What has the size of no token is none: a long token is not hashed up to every place.
  std::vector<bool> is_size(std::size_t{bytes_max_} + 1);
  for (std::uint32_t index = 0; index < count_; ++index) is_size[bytes(index).size()] = true;
  for (std::uint32_t index = 0; index < count_; ++index) {
    const std::string_view token = bytes(index);
    for (std::size_t k = 1; k < token.size(); ++k) {
      if (!is_size[k] || !is_size[token.size() - k]) continue;
      const std::uint32_t left = find(token.substr(0, k));
      if (left == kNone) continue;
      const std::uint32_t right = find(token.substr(k));
      if (right == kNone) continue;
      pairs.push_back(std::uint64_t{left} << 42 | std::uint64_t{right} << 21 | index);
    }
  }
  return pairs;
}

void Vocabulary::fill_pairs(const std::vector<std::uint64_t>& pairs) {
  std::fill_n(pairs_, pair_slots_, kEmptyPair);
  std::fill_n(byte_pairs_, 65536, kNone);
  for (const std::uint64_t pair : pairs) {
    std::uint32_t i = slot_of(hash_pair(pair >> 21), pair_slots_);
    while (pairs_[i] != kEmptyPair) {
      if (++i == pair_slots_) i = 0;
    }
    pairs_[i] = pair;
    const auto index = static_cast<std::uint32_t>(pair & kTokensMax);
    const std::string_view token = bytes(index);
    if (token.size() == 2) {
      byte_pairs_[static_cast<unsigned char>(token[0]) << 8 |
                  static_cast<unsigned char>(token[1])] = index;
    }
  }
}

Result<std::unique_ptr<const Vocabulary>> Vocabulary::parse(ByteView rank_file) {
  Buffer text;
  TOKVAULT_ASSIGN(const std::vector<Entry> entries, read_ranks(rank_file, text));
  return build(entries, text, sha256(rank_file));
}

Result<std::unique_ptr<const Vocabulary>> Vocabulary::rebuild() const {
  std::vector<Entry> entries(count_);
  for (std::uint32_t i = 0; i < count_; ++i) {
    entries[i] = {ids_[i], offsets_[i], offsets_[i + 1] - offsets_[i], i};
  }
  return build(entries, {text_, text_size_}, digest_);
}

Result<std::unique_ptr<const Vocabulary>> Vocabulary::build(const std::vector<Entry>& entries,
                                                            ByteView text, const Digest& digest) {
  std::unique_ptr<Vocabulary> v(new Vocabulary);
  v->digest_ = digest;
  v->count_ = static_cast<std::uint32_t>(entries.size());
  v->text_size_ = static_cast<std::uint32_t>(text.size());
  v->token_slots_ = 2 * v->count_ + 1;
  // Without the pairs at first: finding them needs the tokens.
  v->owned_.resize(Layout(v->count_, v->text_size_, v->token_slots_, 0).end / 8);
  v->point(reinterpret_cast<char*>(v->owned_.data()));
  std::uint32_t offset = 0;
  for (std::uint32_t index = 0; index < v->count_; ++index) {
    const Entry& entry = entries[index];
    v->offsets_[index] = offset;
    v->ids_[index] = entry.id;
    std::memcpy(v->text_ + offset, text.data() + entry.offset, entry.size);
    offset += entry.size;
    v->bytes_max_ = std::max(v->bytes_max_, entry.size);
  }
  v->offsets_[v->count_] = offset;
  TOKVAULT_TRY(v->fill_tokens(entries));

  const std::vector<std::uint64_t> pairs = v->find_pairs();
  if (pairs.size() > 0x7ffffff0u) return Error(Errc::exhausted, "rank file: too many pairs");
  const std::size_t gap = (2 * pairs.size() + 1);
  const std::size_t before = Layout(v->count_, v->text_size_, v->token_slots_, 0).pairs / 8;
  v->owned_.insert(v->owned_.begin() + static_cast<std::ptrdiff_t>(before), gap, 0);
  v->pair_slots_ = static_cast<std::uint32_t>(gap);
  v->point(reinterpret_cast<char*>(v->owned_.data()));
  v->fill_pairs(pairs);
  v->fill_joints();

  char* const header = reinterpret_cast<char*>(v->owned_.data());
  const std::uint32_t fields[] = {v->count_, v->text_size_, v->token_slots_, v->pair_slots_,
                                  v->bytes_max_};
  std::memcpy(header, &kMagic, 8);
  std::memcpy(header + 8, fields, sizeof fields);
  std::memcpy(header + 32, v->digest_.data(), 32);
  const std::uint64_t encoding = v->encoding_sum();
  std::memcpy(header + kEncodingSumOffset, &encoding, 8);
  const std::uint64_t decoding = v->decoding_sum();
  std::memcpy(header + kDecodingSumOffset, &decoding, 8);
  return std::unique_ptr<const Vocabulary>(std::move(v));
}

// Of the header, too, but for itself.
std::uint64_t Vocabulary::decoding_sum() const {
  const std::size_t end = Layout(count_, text_size_, token_slots_, pair_slots_).pairs;
  return checksum64({base_ + kEncodingSumOffset, end - kEncodingSumOffset},
                    checksum64({base_, kDecodingSumOffset}));
}

std::uint64_t Vocabulary::encoding_sum() const {
  const std::size_t begin = Layout(count_, text_size_, token_slots_, pair_slots_).pairs;
  return checksum64({base_ + begin, size_ - begin});
}

bool Vocabulary::can_encode() const {
  std::uint64_t sum = 0;
  std::memcpy(&sum, base_ + kEncodingSumOffset, 8);
  return sum == encoding_sum();
}

Status Vocabulary::check_header() {
  std::uint64_t magic = 0;
  std::memcpy(&magic, base_, 8);
  if (magic != kMagic) {
    return Error(Errc::unsupported, "not a vocabulary image of this version and byte order");
  }
  std::uint32_t fields[5];
  std::memcpy(fields, base_ + 8, sizeof fields);
  std::memcpy(digest_.data(), base_ + 32, 32);
  count_ = fields[0];
  text_size_ = fields[1];
  token_slots_ = fields[2];
  pair_slots_ = fields[3];
  bytes_max_ = fields[4];
  if (Layout(count_, text_size_, token_slots_, pair_slots_).end != size_) {
    return Error(Errc::corrupt, "vocabulary image: its size does not fit its header");
  }
  std::uint64_t sum = 0;
  std::memcpy(&sum, base_ + kDecodingSumOffset, 8);
  if (sum != decoding_sum()) {
    return Error(Errc::corrupt, "vocabulary image: its checksum is wrong");
  }
  return {};
}

Result<std::unique_ptr<const Vocabulary>> Vocabulary::map(const std::string& path) {
  TOKVAULT_ASSIGN(const File file, File::open(path, O_RDONLY));
  TOKVAULT_ASSIGN(const std::uint64_t size, file.size());
  if (size < kHeaderSize) return Error(Errc::corrupt, path + ": too short for a vocabulary image");
  void* const base = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (base == MAP_FAILED) return errno_error(errno, "map " + path);
  std::unique_ptr<Vocabulary> v(new Vocabulary);
  v->mapped_ = true;
  v->base_ = static_cast<char*>(base);
  v->size_ = size;
  auto status = v->check_header();
  if (!status) return std::move(status).error().with(path);
  v->point(static_cast<char*>(base));
  return std::unique_ptr<const Vocabulary>(std::move(v));
}

Vocabulary::~Vocabulary() {
  if (mapped_) ::munmap(const_cast<char*>(base_), size_);
}

}  // namespace tokvault
