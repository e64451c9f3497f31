// The tokenizers behind the public interface.
//
// Encoding goes batch by batch: the splitter finds the ends of some pieces; then their entries in
// the encoder's cache are fetched ahead; then they are looked at. What costs time here is waiting
// for memory and mispredicted branches, not arithmetic; in batches the waiting overlaps.
//
// A piece of up to 15 bytes goes through the cache (a hit needs one comparison and copies up to
// three ids), then the vocabulary (most words are one token), then merging. Longer pieces have a
// second cache whose entries hold more, then the vocabulary; then they are cut into segments where
// merging cannot cross (in Chinese that is most places), and short segments have the first cache to
// themselves again.
#include "tokvault/tokenizer.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

#include "base/checksum.h"
#include "base/file.h"
#include "tokenizer/known.h"
#include "tokenizer/merge.h"
#include "tokenizer/splitter.h"
#include "tokenizer/vocabulary.h"
#include "tokvault/installed.h"

namespace tokvault {
namespace {

using SpecialTokens = std::vector<std::pair<std::string, Token>>;

// `kCount` elements of zero bytes, of which only those that are touched take memory and time.
template <class T, std::size_t kCount>
class Zeros {
 public:
  static_assert(std::is_trivial_v<T>);
  Zeros() : memory_(std::calloc(kBytes, 1), std::free) {
    // Out of memory: fail (or not) as any container does.
    if (memory_ == nullptr) memory_ = std::make_shared<std::array<char, kBytes>>();
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
    elements_ = reinterpret_cast<T*>((address + alignof(T) - 1) / alignof(T) * alignof(T));
  }
  T& operator[](std::size_t i) { return elements_[i]; }

 private:
  static constexpr std::size_t kBytes = kCount * sizeof(T) + alignof(T);
  std::shared_ptr<void> memory_;
  T* elements_;
};

class BpeEncoder final : public Tokenizer::Encoder {
 public:
  BpeEncoder(std::shared_ptr<const Tokenizer> owner, const Vocabulary& vocabulary, Pattern pattern)
      : owner_(std::move(owner)), vocabulary_(vocabulary), pattern_(pattern), merger_(vocabulary) {}

  void encode(std::string_view text, std::vector<Token>& out) override;
  void encode_with_special(std::string_view text, std::vector<Token>& out) override;

 private:
  static constexpr std::size_t kShortEntries = 1u << 16;
  static constexpr std::size_t kLongEntries = 1u << 12;
  static constexpr std::size_t kShortTokensMax = 3;
  static constexpr std::size_t kLongBytesMax = 40;
  static constexpr std::size_t kLongTokensMax = 5;
  static constexpr std::size_t kBatch = 128;  // pieces

  // All zero is an entry of no piece: a key ends with a length.
  struct alignas(32) ShortEntry {
    PieceKey key;
    Token ids[kShortTokensMax];
    std::uint32_t count;
  };
  struct alignas(64) LongEntry {
    char bytes[kLongBytesMax];
    Token ids[kLongTokensMax];
    std::uint8_t size;
    std::uint8_t count;
  };
  static_assert(sizeof(ShortEntry) == 32 && sizeof(LongEntry) == 64);

  Token* short_miss(std::string_view piece, const PieceKey& key, std::uint64_t hash,
                    ShortEntry& entry, Token* ids);
  void long_piece(std::string_view piece, std::vector<Token>& out);
  // The end of the segment that begins at `begin`: merging of the piece never crosses it.
  std::size_t next_cut(std::string_view piece, std::size_t begin) const;
  void segment(std::string_view bytes, std::vector<Token>& out);
  Token* short_segment(std::string_view bytes, Token* ids);
  // These write ids and return the end of what they wrote.
  Token* merge_short(std::string_view bytes, Token* ids) const;
  static void fill(ShortEntry& entry, const PieceKey& key, const Token* ids, const Token* end);

  const std::shared_ptr<const Tokenizer> owner_;
  const Vocabulary& vocabulary_;
  const Pattern pattern_;
  Merger merger_;
  std::vector<std::uint32_t> merged_;
  Zeros<ShortEntry, kShortEntries> short_;
  Zeros<LongEntry, kLongEntries> long_;
};

class BpeTokenizer final : public Tokenizer, public std::enable_shared_from_this<BpeTokenizer> {
 public:
  BpeTokenizer(std::string name, Pattern pattern, std::unique_ptr<const Vocabulary> vocabulary,
               SpecialTokens special)
      : name_(std::move(name)),
        pattern_(pattern),
        vocabulary_(std::move(vocabulary)),
        special_(std::move(special)),
        id_limit_(vocabulary_->id(vocabulary_->count() - 1) + 1) {
    for (const auto& [text, id] : special_) id_limit_ = std::max(id_limit_, id + 1);
  }

  const std::string& name() const override { return name_; }
  const Digest& vocabulary_sha256() const override { return vocabulary_->rank_file_sha256(); }
  Token id_limit() const override { return id_limit_; }
  const SpecialTokens& special_tokens() const override { return special_; }

  std::string_view token_bytes(Token id) const override {
    const std::uint32_t index = vocabulary_->index_of(id);
    if (index != Vocabulary::kNone) return vocabulary_->bytes(index);
    for (const auto& [text, special] : special_) {
      if (special == id) return text;
    }
    return {};
  }

  Status decode(TokenView tokens, std::string& out) const override {
    for (const Token id : tokens) {
      const std::string_view bytes = token_bytes(id);
      if (bytes.empty()) {
        return Error(Errc::invalid,
                     "token " + std::to_string(id) + " is not in the vocabulary of " + name_);
      }
      out.append(bytes);
    }
    return {};
  }

  std::unique_ptr<Encoder> make_encoder() const override {
    std::call_once(encoding_once_, [this] {
      if (vocabulary_->can_encode()) return;
      // A damaged image, of which what was checked is enough: it was built from nothing else.
      rebuilt_ = std::move(vocabulary_->rebuild()).value();
    });
    return std::make_unique<BpeEncoder>(shared_from_this(), rebuilt_ ? *rebuilt_ : *vocabulary_,
                                        pattern_);
  }

 private:
  const std::string name_;
  const Pattern pattern_;
  const std::unique_ptr<const Vocabulary> vocabulary_;
  const SpecialTokens special_;
  Token id_limit_;
  mutable std::once_flag encoding_once_;
  mutable std::unique_ptr<const Vocabulary> rebuilt_;  // of encoders, instead of a damaged image
};

void BpeEncoder::encode(std::string_view text, std::vector<Token>& out) {
  Splitter splitter(pattern_, text);
  const char* const limit = text.data() + text.size();
  const char* begin = text.data();
  const char* ends[kBatch];
  PieceKey keys[kBatch];
  std::uint64_t hashes[kBatch];
  // A short miss writes at most kKeyBytesMax ids, a hit always all of an entry's.
  Token ids[kBatch * kKeyBytesMax];
  static_assert(kKeyBytesMax > kShortTokensMax);
  while (const std::size_t count = splitter.next(ends, kBatch)) {
    const char* p = begin;
    for (std::size_t i = 0; i < count; p = ends[i++]) {
      const auto size = static_cast<std::size_t>(ends[i] - p);
      if (size > kKeyBytesMax) continue;
      keys[i] = piece_key(p, size, limit);
      hashes[i] = hash_key(keys[i]);
      __builtin_prefetch(&short_[hashes[i] % kShortEntries]);
    }
    Token* end = ids;
    for (std::size_t i = 0; i < count; begin = ends[i++]) {
      const auto size = static_cast<std::size_t>(ends[i] - begin);
      if (size > kKeyBytesMax) {
        out.insert(out.end(), ids, end);
        end = ids;
        long_piece({begin, size}, out);
        continue;
      }
      ShortEntry& entry = short_[hashes[i] % kShortEntries];
      if (entry.key == keys[i]) {
        std::memcpy(end, entry.ids, sizeof entry.ids);
        end += entry.count;
      } else {
        end = short_miss({begin, size}, keys[i], hashes[i], entry, end);
      }
    }
    out.insert(out.end(), ids, end);
  }
}

[[gnu::noinline]] Token* BpeEncoder::short_miss(std::string_view piece, const PieceKey& key,
                                                std::uint64_t hash, ShortEntry& entry, Token* ids) {
  const std::uint32_t index = vocabulary_.find_key(key, hash, piece.size());
  Token* end = ids;
  if (index != Vocabulary::kNone) {
    *end++ = vocabulary_.id(index);
  } else if (std::size_t cut = next_cut(piece, 0); cut == piece.size()) {
    end = merge_short(piece, end);
  } else {
    for (std::size_t begin = 0; begin != piece.size(); cut = next_cut(piece, begin)) {
      end = short_segment(piece.substr(begin, cut - begin), end);
      begin = cut;
    }
  }
  fill(entry, key, ids, end);
  return end;
}

[[gnu::noinline]] void BpeEncoder::long_piece(std::string_view piece, std::vector<Token>& out) {
  LongEntry* entry = nullptr;
  if (piece.size() <= kLongBytesMax) {
    // Both ends of the piece: what begins alike seldom ends alike.
    PieceKey head;
    PieceKey tail;
    std::memcpy(&head, piece.data(), sizeof head);
    std::memcpy(&tail, piece.data() + piece.size() - sizeof tail, sizeof tail);
    const std::uint64_t hash = hash_key({hash_key(head), hash_key(tail) + piece.size()});
    entry = &long_[hash % kLongEntries];
    if (entry->size == piece.size() && std::memcmp(entry->bytes, piece.data(), piece.size()) == 0) {
      out.insert(out.end(), entry->ids, entry->ids + entry->count);
      return;
    }
  }
  const std::size_t out_size = out.size();
  const std::uint32_t index = vocabulary_.find(piece);
  if (index != Vocabulary::kNone) {
    out.push_back(vocabulary_.id(index));
  } else {
    for (std::size_t begin = 0; begin != piece.size();) {
      const std::size_t cut = next_cut(piece, begin);
      segment(piece.substr(begin, cut - begin), out);
      begin = cut;
    }
  }
  const std::size_t count = out.size() - out_size;
  if (entry != nullptr && count <= kLongTokensMax) {
    std::copy(piece.begin(), piece.end(), entry->bytes);
    std::copy_n(out.begin() + static_cast<std::ptrdiff_t>(out_size), count, entry->ids);
    entry->size = static_cast<std::uint8_t>(piece.size());
    entry->count = static_cast<std::uint8_t>(count);
  }
}

std::size_t BpeEncoder::next_cut(std::string_view piece, std::size_t begin) const {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(piece[i]); };
  for (std::size_t at = std::max<std::size_t>(begin + 1, 2); at + 2 <= piece.size(); ++at) {
    if (byte(at) >= 0xc0 && byte(at - 1) >= 0x80 && !vocabulary_.joined(&piece[at])) return at;
  }
  return piece.size();
}

void BpeEncoder::segment(std::string_view bytes, std::vector<Token>& out) {
  if (bytes.size() <= kKeyBytesMax) {
    Token ids[kKeyBytesMax];
    out.insert(out.end(), ids, short_segment(bytes, ids));
    return;
  }
  merged_.clear();
  merger_.merge(bytes, merged_);
  for (const std::uint32_t index : merged_) out.push_back(vocabulary_.id(index));
}

Token* BpeEncoder::short_segment(std::string_view bytes, Token* ids) {
  // Not the key of the same bytes as a piece: a piece may be a token that merging does not reach.
  PieceKey key = piece_key(bytes.data(), bytes.size(), bytes.data() + bytes.size());
  key.b |= kSegmentBit;
  ShortEntry& entry = short_[hash_key(key) % kShortEntries];
  if (entry.key == key) return std::copy_n(entry.ids, entry.count, ids);
  Token* const end = merge_short(bytes, ids);
  fill(entry, key, ids, end);
  return end;
}

Token* BpeEncoder::merge_short(std::string_view bytes, Token* ids) const {
  const std::size_t count = merger_.merge_short(bytes, ids);
  for (std::size_t i = 0; i < count; ++i) ids[i] = vocabulary_.id(ids[i]);
  return ids + count;
}

void BpeEncoder::fill(ShortEntry& entry, const PieceKey& key, const Token* ids, const Token* end) {
  const auto count = static_cast<std::size_t>(end - ids);
  if (count > kShortTokensMax) return;
  entry.key = key;
  entry.count = static_cast<std::uint32_t>(count);
  std::copy(ids, end, entry.ids);
}

void BpeEncoder::encode_with_special(std::string_view text, std::vector<Token>& out) {
  // All special tokens that are known begin with '<', and none is the beginning of another.
  std::size_t begin = 0;
  for (std::size_t at = text.find('<'); at != std::string_view::npos;) {
    const std::pair<std::string, Token>* found = nullptr;
    for (const auto& special : owner_->special_tokens()) {
      if (text.substr(at).starts_with(special.first)) found = &special;
    }
    if (found == nullptr) {
      at = text.find('<', at + 1);
      continue;
    }
    encode(text.substr(begin, at - begin), out);
    out.push_back(found->second);
    begin = at + found->first.size();
    at = text.find('<', begin);
  }
  encode(text.substr(begin), out);
}

// Token = byte.
class BytesTokenizer final : public Tokenizer {
 public:
  BytesTokenizer() : sha256_(sha256({})) {
    for (std::size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<char>(i);
  }

  const std::string& name() const override { return name_; }
  const Digest& vocabulary_sha256() const override { return sha256_; }
  Token id_limit() const override { return 256; }
  const SpecialTokens& special_tokens() const override { return special_; }

  std::string_view token_bytes(Token id) const override {
    return id < 256 ? std::string_view(&bytes_[id], 1) : std::string_view();
  }

  Status decode(TokenView tokens, std::string& out) const override {
    for (const Token id : tokens) {
      if (id >= 256) {
        return Error(Errc::invalid,
                     "token " + std::to_string(id) + " is not in the vocabulary of bytes");
      }
      out.push_back(static_cast<char>(id));
    }
    return {};
  }

  std::unique_ptr<Encoder> make_encoder() const override {
    return std::make_unique<BytesEncoder>();
  }

 private:
  class BytesEncoder final : public Encoder {
   public:
    void encode(std::string_view text, std::vector<Token>& out) override {
      const auto* const bytes = reinterpret_cast<const unsigned char*>(text.data());
      out.insert(out.end(), bytes, bytes + text.size());
    }
    void encode_with_special(std::string_view text, std::vector<Token>& out) override {
      encode(text, out);
    }
  };

  const std::string name_ = "bytes";
  const Digest sha256_;
  const SpecialTokens special_;
  std::array<char, 256> bytes_;
};

// What add_tokenizer_folder() was told, in that order.
struct AddedFolders {
  std::mutex mutex;
  std::vector<std::string> folders;
};
AddedFolders& added_folders() {
  static AddedFolders folders;
  return folders;
}

std::vector<std::string> search_folders(const TokenizerOptions& options) {
  if (!options.ranks_folder.empty()) return {options.ranks_folder};
  std::vector<std::string> folders;
  const char* const variable = std::getenv("TOKVAULT_TOKENIZERS");
  if (variable != nullptr && *variable != '\0') folders.emplace_back(variable);
  char path[4096];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
  if (size > 0 && size < static_cast<ssize_t>(sizeof path)) {
    const std::string_view exe(path, static_cast<std::size_t>(size));
    const std::string folder(exe.substr(0, exe.rfind('/')));
    folders.push_back(folder + "/tokenizers");
    folders.push_back(folder + "/../share/tokvault/tokenizers");
  }
  // As a shared library, tokvault knows where it was put, wherever the program is.
  Dl_info self{};
  if (::dladdr(reinterpret_cast<const void*>(&open_tokenizer), &self) != 0 &&
      self.dli_fname != nullptr) {
    const std::string library(self.dli_fname);
    const std::string folder = library.substr(0, library.rfind('/') + 1);
    // PREFIX/lib, or PREFIX/lib/x86_64-linux-gnu as Debian has it.
    for (const char* const up : {"../", "../../"}) {
      folders.push_back(folder + up + "share/tokvault/tokenizers");
    }
  }
  {
    AddedFolders& added = added_folders();
    std::lock_guard lock(added.mutex);
    folders.insert(folders.end(), added.folders.begin(), added.folders.end());
  }
  folders.emplace_back(TOKVAULT_TOKENIZERS_DIR);
  // In a static program, what lies beside the executable lies beside the library.
  std::vector<std::string> different;
  for (const std::string& folder : folders) {
    std::error_code ignored;
    const auto full = std::filesystem::absolute(folder, ignored).lexically_normal();
    std::string name = full.empty() ? folder : full.string();
    if (std::find(different.begin(), different.end(), name) == different.end()) {
      different.push_back(std::move(name));
    }
  }
  return different;
}

// The vocabulary in a folder, or null if it has neither its image nor its rank file.
Result<std::unique_ptr<const Vocabulary>> load(const KnownTokenizer& known,
                                               const std::string& folder) {
  const std::string path = folder + "/" + std::string(known.name);
  auto mapped = Vocabulary::map(path + ".vocab");
  // The image is only a cache: whatever is wrong with it, the rank file decides.
  if (mapped && to_hex((*mapped)->rank_file_sha256()) == known.sha256) return mapped;
  auto file = read_file(path + ".tiktoken", kRankFileBytesMax);
  if (!file) {
    if (file.code() == Errc::not_found) return std::unique_ptr<const Vocabulary>();
    return std::move(file).error();
  }
  if (to_hex(sha256(*file)) != known.sha256) {
    return Error(Errc::corrupt, path + ".tiktoken: its SHA-256 is " + to_hex(sha256(*file)) +
                                    ", not " + std::string(known.sha256));
  }
  return Vocabulary::parse(*file);
}

}  // namespace

bool add_tokenizer_folder(std::string_view folder) {
  AddedFolders& added = added_folders();
  std::lock_guard lock(added.mutex);
  if (std::find(added.folders.begin(), added.folders.end(), folder) == added.folders.end()) {
    added.folders.emplace_back(folder);
  }
  return true;
}

bool add_installed_tokenizers(std::string_view header) {
  constexpr std::string_view kName = "/tokvault/installed.h";
  if (!header.starts_with('/') || !header.ends_with(kName)) return false;
  header.remove_suffix(kName.size());
  const std::string folder =
      std::string(header) + "/" TOKVAULT_DATA_FROM_INCLUDE "/tokvault/tokenizers";
  std::error_code unknown;
  return std::filesystem::is_directory(folder, unknown) && add_tokenizer_folder(folder);
}

Result<std::shared_ptr<const Tokenizer>> open_tokenizer(std::string_view name,
                                                        const TokenizerOptions& options) {
  if (name == "bytes") return std::shared_ptr<const Tokenizer>(new BytesTokenizer);
  const KnownTokenizer* const known = find_known_tokenizer(name);
  if (known == nullptr) {
    return Error(Errc::not_found, "no tokenizer \"" + std::string(name) +
                                      "\": there are cl100k_base, o200k_base and bytes");
  }
  const std::vector<std::string> folders = search_folders(options);
  for (const std::string& folder : folders) {
    TOKVAULT_ASSIGN(auto vocabulary, load(*known, folder));
    if (vocabulary == nullptr) continue;
    SpecialTokens special;
    for (const SpecialToken& token : known->special) special.emplace_back(token.text, token.id);
    return std::shared_ptr<const Tokenizer>(std::make_shared<BpeTokenizer>(
        std::string(name), known->pattern, std::move(vocabulary), std::move(special)));
  }
  std::string message = "the rank file of " + std::string(name) + " is not installed: no " +
                        std::string(name) + ".tiktoken in";
  for (const std::string& folder : folders) message += " " + folder;
  return Error(Errc::not_found,
               message +
                   "; scripts/fetch_tokenizers fetches it, and TOKVAULT_TOKENIZERS may name "
                   "its folder (docs/tokenizers.md)");
}

Result<std::shared_ptr<const Tokenizer>> make_tokenizer(std::string name, std::string_view pattern,
                                                        ByteView rank_file) {
  const KnownTokenizer* const known = find_known_tokenizer(pattern);
  if (known == nullptr) {
    return Error(Errc::invalid, "no pattern \"" + std::string(pattern) +
                                    "\": there are cl100k_base and o200k_base");
  }
  TOKVAULT_ASSIGN(auto vocabulary, Vocabulary::parse(rank_file));
  return std::shared_ptr<const Tokenizer>(std::make_shared<BpeTokenizer>(
      std::move(name), known->pattern, std::move(vocabulary), SpecialTokens()));
}

}  // namespace tokvault
