// PackBuilder: makes a pack of conversations of other files.
#ifndef TOKVAULT_VAULT_PACK_BUILDER_H_
#define TOKVAULT_VAULT_PACK_BUILDER_H_

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "codec/token_model.h"
#include "dedup/dictionary_choice.h"
#include "format/pack.h"
#include "tokvault/tokenizer.h"
#include "vault/artifacts.h"
#include "vault/segment_union.h"
#include "vault/source.h"

namespace tokvault {

// Which pack is made, and by which rewrite.
struct PackIdentity {
  std::uint64_t number = 0;
  VaultRecord vault;
  Buffer set_id;
  std::vector<std::uint64_t> set_members;
  std::vector<std::uint64_t> set_supersedes;
  // How many conversations the tenant has in packs, these included: with many, a pack says by a
  // filter which ids it does not hold.
  std::uint64_t tenant_rows = 0;
};

class PackFile;

// What a pack is made for: sealing, and merging in the background, have to keep pace with writing,
// compaction has not.
enum class PackPurpose : std::uint8_t { seal, compact, merge };

// Threads: one at a time; finish() takes two more for a while. Lifetime: the sources outlive it; a
// log does not change meanwhile.
class PackBuilder {
 public:
  // zstd's levels, and how much work reading a text of the token LZ may be.
  struct Levels {
    int dictionary;
    int blocks;
    int tables;
    std::uint64_t lz_work;
    bool tries_small_model;
  };
  static Levels levels_of(Level level, PackPurpose purpose);

  // `tokenizer` counts the bytes of texts, for statistics. With `merged`, what comes from several
  // sources is stored once, and what another pack of the rewrite holds is referred to there:
  // `number` is the pack's own, and `merged` has all sources and outlives the builder.
  explicit PackBuilder(std::shared_ptr<const Tokenizer> tokenizer, SegmentUnion* merged = nullptr,
                       std::uint64_t number = 0);

  // Adds a conversation, with every segment that it refers to. A segment or a run of messages that
  // is already there is not added again.
  Status add_row(const Source& source, const Tables& tables, std::uint32_t row);
  // Adds a segment that no conversation here refers to, but one of another file does.
  Status add_segment(const Source& source, Stream stream, std::uint32_t number);
  void add_record(Record record) { records_.push_back(std::move(record)); }
  // The highest sequence number of a record, 0 if there is none.
  std::uint64_t last_record() const {
    std::uint64_t last = 0;
    for (const Record& r : records_) last = std::max(last, r.sequence);
    return last;
  }
  // What the tokens of the pack would take by a quick code: first by themselves, then with each of
  // these to copy from. Empty if they are more than one text, and so copy from nothing.
  // REQUIRES: finish() is not called
  Result<std::vector<std::uint64_t>> try_artifacts(
      std::span<const std::shared_ptr<const ArtifactTokens>> artifacts);
  bool empty() const { return tables_.rows.empty() && records_.empty() && orphans_ == 0; }
  TableSize table_size() const { return size_of(tables_); }
  // finish() ends with `cancelled` soon after a stop is requested.
  void set_stop(std::stop_token stop) { stop_ = std::move(stop); }
  // What the pack may copy from, if that makes it smaller.
  void set_artifacts(std::vector<std::shared_ptr<const ArtifactTokens>> artifacts) {
    artifacts_ = std::move(artifacts);
  }
  void set_tenant(TenantRecord tenant) { tenant_ = std::move(tenant); }
  const TenantRecord& tenant() const { return tenant_; }

  // Encodes the pack, decodes it again and compares. The bytes are what goes into the blob.
  Result<Buffer> finish(const PackIdentity& identity, Level level, PackPurpose purpose);
  // What finish() wrote into the footer.
  const PackFooter& footer() const { return footer_; }
  // By how much the artifact that the pack names makes it smaller; 0 if it names none.
  std::uint64_t artifact_saving() const { return artifact_saving_; }

 private:
  struct Origin {
    const Source* source = nullptr;
    std::uint32_t number = 0;
    bool is_text = false;
    std::uint64_t checksum = 0;  // of the tokens or bytes that were encoded
  };
  struct Remap {
    std::array<std::vector<std::uint32_t>, kStreams> segments;  // number there -> here + 1
    std::vector<std::uint32_t> nodes, forms, models, applications;
  };

  Remap& remap_of(const Source& source, const Tables& tables);
  std::uint32_t intern(StringTable& table, std::unordered_map<std::string, std::uint32_t>& index,
                       std::string_view text);
  std::uint32_t form_number(Remap& remap, const Tables& tables, std::uint32_t form);
  void add_refs(const Source& source, const Tables& tables, Remap& remap, std::uint32_t form,
                std::uint32_t begin, std::vector<SegmentRef>& out);
  SegmentRef local_ref(const Source& source, Remap& remap, Stream stream, std::uint32_t number,
                       bool is_text);
  SegmentRef merged_ref(Stream stream, std::uint32_t id, bool is_text);
  SegmentRef external_ref(const External& external);
  Status count_tokens();
  // A stream's segments one after another, with what its table says of them.
  struct StreamText {
    Buffer text;
    PackSegments table;  // sizes and fingerprints
    bool can_end = true;
    std::uint64_t ended_size() const { return text.size() + table.code_sizes.size(); }
    // Segments from `begin` to `end`, which stand at `at`, each with its end.
    Buffer ended(std::size_t begin, std::size_t end, std::uint64_t at) const;
  };
  Status encode_stream(Stream stream, const Levels& levels, Level level, Buffer& file);
  // What a text is coded with besides itself: an artifact in the pack's codes, or nothing.
  struct History {
    std::uint64_t artifact = 0;
    Buffer text;
  };
  // Nothing is appended if to learn from the history would take too long.
  Status encode_with_model(Stream stream, const StreamText& all, const History& history,
                           const Levels& levels, Buffer& file);
  // A model that has learned the history, and the first segments.
  struct Learned {
    std::unique_ptr<TokenModel> model;
    Buffer code;
    std::size_t segments = 0;
    std::uint64_t at = 0;         // where the next one stands in the text
    std::uint64_t text_size = 0;  // with ends
  };
  Result<Learned> learn(Stream stream, const StreamText& all, const History& history,
                        std::uint64_t work, std::uint64_t text_size) const;
  Status write_with_model(Stream stream, const StreamText& all, const Learned& learned,
                          std::uint64_t block_bytes, const Levels& levels, Buffer& file);
  Result<bool> are_letters_smaller(const StreamText& all) const;
  // Tokens of digits and the like are in blocks behind a model that is soon prepared, where that is
  // smaller by a sixteenth.
  Status try_small_model(const StreamText& all, const Levels& levels, std::size_t before,
                         Buffer& file);
  // What comes into one block: segments from `begin` to `end`, but for those of the dictionary.
  struct Block {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::uint64_t at = 0;  // of the first of them in the text
    std::vector<std::uint32_t> bases{};
    Buffer frame{};
  };
  static std::vector<Block> cut_blocks(const PackSegments& table, std::uint64_t block_bytes);
  // `choice`: what the dictionary was chosen by, or null.
  Status encode_with_dictionary(Stream stream, StreamText& all, DictionaryChoice* choice,
                                const Levels& levels, Buffer& file);
  Result<History> choose_history(ByteView text) const;
  // What `encode` appends to `file` takes the place of the stream that begins at `before`, if it is
  // something, and of fewer than `below` bytes.
  Status replace_if_smaller(Stream stream, std::size_t before, std::size_t below, Buffer& file,
                            const std::function<Status()>& encode);
  // A stream that is one text has tokens copied from an artifact, or is under the token LZ, where
  // that is smaller than what `file` has of it, which begins at `before`.
  Status improve_one_text(Stream stream, const StreamText& all, const Levels& levels, Level level,
                          std::size_t before, Buffer& file);
  // A stream under a model that has blocks is under zstd, where that is smaller.
  Status improve_blocks(Stream stream, StreamText& all, DictionaryChoice* choice,
                        const Levels& levels, std::size_t before, Buffer& file);
  Result<bool> may_zstd_win(ByteView text, std::size_t coded_size) const;
  Status copy_from_artifact(Stream stream, const StreamText& all, ByteView ended,
                            const Levels& levels, Level level, std::size_t before, Buffer& file);
  // A stream under a model has one that has learned from an artifact, where that is smaller.
  Status learn_from_artifact(Stream stream, const StreamText& all, const History& history,
                             const Levels& levels, std::size_t before, Buffer& file);
  // If it is not too much work to read.
  Status try_token_lz(Stream stream, ByteView ended, const History& history, const Levels& levels,
                      std::size_t before, Buffer& file);
  void take_if_smaller(Stream stream, PackCodec codec, ByteView code, std::uint64_t ended_size,
                       std::uint64_t artifact, std::size_t before, Buffer& file);
  Status verify(const Buffer& file) const;
  Status verify_segments(const PackFile& pack, Stream stream, std::uint32_t begin,
                         std::uint32_t end) const;

  SegmentUnion* const merged_;
  const std::uint64_t number_;
  std::array<std::vector<std::uint32_t>, kStreams> merged_here_;  // number here + 1, by id

  PackIdentity identity_;
  std::stop_token stop_;
  std::vector<std::shared_ptr<const ArtifactTokens>> artifacts_;
  TenantRecord tenant_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Tables tables_;
  std::array<std::vector<Origin>, kStreams> origins_;
  std::map<const Source*, Remap> remaps_;
  std::unordered_map<std::string, std::uint32_t> form_index_, model_index_, application_index_;
  std::unordered_map<std::string, std::uint32_t> node_index_, external_index_;
  std::uint32_t orphans_ = 0;
  std::vector<Record> records_;
  std::vector<std::uint64_t> text_sizes_;  // of each token segment, as bytes of text
  TokenMap map_;
  PackFooter footer_;
  std::uint64_t artifact_saving_ = 0;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_PACK_BUILDER_H_
