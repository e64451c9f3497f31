// PackFile: a pack, read from a backend. Header and footer stay in memory; tables and dictionaries
// are decoded on first use and kept in the cache.
#ifndef TOKVAULT_VAULT_PACK_FILE_H_
#define TOKVAULT_VAULT_PACK_FILE_H_

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "codec/token_model.h"
#include "dedup/grouping.h"
#include "format/pack.h"
#include "tokvault/backend.h"
#include "vault/cache.h"
#include "vault/id_index.h"
#include "vault/pack_dictionary.h"
#include "vault/source.h"

namespace tokvault {

// What the texts of a stream are made of.
inline ModelUnit unit_of(Stream stream) {
  return stream == kTokenStream ? ModelUnit::token_code : ModelUnit::byte;
}

class PackFile final : public Source {
 public:
  // Reads header, trailer and footer. Lifetime: backend and cache outlive it.
  static Result<std::shared_ptr<PackFile>> open(const Backend& backend, Cache& cache,
                                                std::uint64_t number);

  const PackFooter& footer() const { return footer_; }
  std::uint16_t version() const { return header_.version; }  // of the format
  // Whether what is alike was brought together in it: not as sealing makes packs, nor gc of those.
  bool is_merged() const {
    return footer_.made_by == PackMaker::merging || footer_.set_supersedes.size() > 1;
  }
  // Whether nothing has rewritten it since a log was sealed.
  bool is_as_sealed() const {
    return footer_.made_by == PackMaker::sealing && footer_.set_supersedes.size() <= 1;
  }
  std::uint64_t size_bytes() const { return size_; }

  std::uint64_t file() const override { return number_; }
  bool is_pack() const override { return true; }
  std::uint32_t tenant() const override { return header_.tenant; }
  std::string name() const override { return pack_name(number_); }
  Range range() const override;
  std::vector<std::uint64_t> artifacts() const override;
  Result<std::shared_ptr<const Tables>> tables() const override;
  bool is_ready() const override;
  void prepare() const override;
  Result<std::vector<std::uint32_t>> rows_of(const IdHash& id) const override;
  Result<ByteView> code(Stream stream, std::uint32_t number, Scratch& scratch) const override;
  Status decode_tokens(ByteView code, std::vector<Token>& out) const override;
  Result<std::optional<std::uint32_t>> find_segment(Stream stream, const ShortDigest& digest,
                                                    Scratch& scratch) const override;

  // A stream as it was coded, to code it again: the text of its dictionary, and its blocks.
  Result<Buffer> dictionary_text(Stream stream) const;
  struct Block {
    ByteView text;  // lives until the next call with this scratch
    std::uint64_t disk_bytes = 0;
    bool has_bases = false;
  };
  // REQUIRES: number < footer().streams[stream].block_count
  Result<Block> block(Stream stream, std::uint32_t number, Scratch& scratch) const;

  // Segment number and fingerprint of every segment that may be shared.
  struct Fingerprint {
    std::uint32_t value;
    std::uint32_t segment;
  };
  // Made by decoding the stream if the pack has none, and kept in the cache.
  Result<std::shared_ptr<const std::vector<Fingerprint>>> fingerprints(Stream stream) const;
  // Whether the filter, if there is one, is that of these ids, which are all.
  Status check_filter(const StringTable& ids) const;
  Result<std::vector<Record>> records() const;
  // What the pack is about, by the tokens that are frequent in it.
  Result<Direction> direction() const;
  // Sums by model, application and day, with the names; empty if the pack has none.
  struct Usage {
    std::vector<UsageEntry> entries;
    StringTable models;
    StringTable applications;
  };
  Result<std::shared_ptr<const Usage>> usage() const;

 private:
  struct Place {
    std::uint32_t block = 0;  // kDictionaryBlock or the number of a block
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
  };
  static constexpr std::uint32_t kDictionaryBlock = 0xffffffffu;
  struct BlockPlace {
    std::uint64_t offset = 0;  // in the file, of the checksum in front
    std::uint32_t size = 0;    // of the frame
    std::uint32_t text_size = 0;
    std::uint32_t first_segment = 0;  // of an ended stream
  };
  // Apart from the tables, because most of what looks for a segment needs no row, and listing needs
  // no segment.
  struct Segments {
    std::array<std::vector<Place>, kStreams> places;  // empty if the stream is ended
    std::array<std::vector<BlockPlace>, kStreams> blocks;
    std::array<std::vector<Fingerprint>, kStreams> fingerprints;
    // Segments that blocks copy from in place of the dictionary, and where those of each block end;
    // empty unless the stream's codec has them.
    std::array<std::vector<std::uint32_t>, kStreams> bases;
    std::array<std::vector<std::uint32_t>, kStreams> base_ends;
    TokenMap map;
    std::uint64_t memory_bytes() const;
  };

  PackFile(const Backend& backend, Cache& cache, std::uint64_t number)
      : backend_(backend), cache_(cache), number_(number) {}
  // Whatever this file says is wrong begins with the name of the pack, once: these two put it
  // there, `in_pack` where something below says what it is.
  Error damaged(std::string_view what) const;
  Error in_pack(Error error) const;
  Status read_extent(const Extent& extent, Buffer& out) const;
  // With `ids`, that is what the id column gives.
  Result<std::shared_ptr<const Tables>> load_tables(std::optional<StringTable> ids) const;
  Result<std::shared_ptr<const Segments>> segments() const;
  // Made from the id column when an id is first looked up that the filter does not rule out (then
  // it is null), and kept as long as the pack is open. If that is now, `column` is what was decoded
  // for it.
  Result<const PackIds*> pack_ids(const IdHash& id, std::optional<StringTable>& column) const;
  // False only if no conversation has an id with this hash; true without a filter.
  // REQUIRES: ids_mutex_ is held
  Result<bool> filter_admits(const IdHash& id) const;
  Status load_segments(Segments& out) const;
  Status load_stream(Stream stream, Segments& out) const;
  Result<std::shared_ptr<const PackDictionary>> dictionary(Stream stream) const;
  Result<std::shared_ptr<const PackDictionary>> load_dictionary(Stream stream) const;
  // What the text of a stream may copy from besides itself: its artifact, in the pack's own codes.
  Result<Buffer> history(Stream stream) const;
  // Finds the ends of `count` segments, after which nothing stands.
  static Status find_ends(std::uint64_t count, BlockText& text);
  // A view of the dictionary, given by `get`; the dictionary stays in `scratch`.
  template <class Get>
  Result<ByteView> in_dictionary(Stream stream, Scratch& scratch, Get get) const;
  // The text of a block; it stays in `scratch`.
  Result<const BlockText*> block_text(Stream stream, const Segments& l, std::uint32_t block,
                                      Scratch& scratch) const;
  // The texts of a block's bases, one after another, if it has any.
  Result<std::optional<Buffer>> base_text(Stream stream, const Segments& l, std::uint32_t block,
                                          Scratch& scratch) const;
  Result<ByteView> placed(Stream stream, const Segments& l, const Place& place,
                          Scratch& scratch) const;
  CodeBytes code_bytes() const {
    return header_.version == 1 ? CodeBytes::all : CodeBytes::below_ff;
  }

  References references() const {
    const bool is_recent = (header_.features & kPackHasRecentReferences) != 0;
    return is_recent ? References::recent : References::behind;
  }

  const Backend& backend_;
  Cache& cache_;
  const std::uint64_t number_;
  std::uint64_t size_ = 0;
  PackHeader header_;
  PackFooter footer_;
  // Each held while one of what the cache keeps is decoded, in this order.
  mutable std::array<std::mutex, kStreams> dictionary_mutexes_;
  mutable std::mutex segments_mutex_;
  mutable std::mutex tables_mutex_;
  mutable std::mutex ids_mutex_;
  mutable std::unique_ptr<const PackIds> ids_;  // guarded by ids_mutex_ until it is there
  mutable Buffer id_filter_;  // guarded by ids_mutex_; empty until somebody asks, and beside ids_
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_PACK_FILE_H_
