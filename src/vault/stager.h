// Stager: conversations to the records of a batch. Finds what is already there.
//
// Two steps. prepare() hashes and tokenises what is not known yet; many threads do it at once, and
// it is most of the work. stage() runs in the order of commits and gives out numbers.
#ifndef TOKVAULT_VAULT_STAGER_H_
#define TOKVAULT_VAULT_STAGER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "format/batch.h"
#include "tokvault/tokenizer.h"
#include "tokvault/vault.h"
#include "vault/state.h"

namespace tokvault {

// What a segment is looked up by: a digest, and of what.
struct SegmentKey {
  enum class Domain : std::uint8_t { text, tokens, bytes };
  ShortDigest digest{};
  Domain domain = Domain::text;
  bool operator==(const SegmentKey&) const = default;
};
struct SegmentKeyHash {
  std::size_t operator()(const SegmentKey& k) const {
    std::size_t h = static_cast<std::size_t>(k.domain);
    for (int i = 0; i < 8; ++i) {
      h ^= std::size_t{k.digest[static_cast<std::size_t>(i)]} << (8 * i);
    }
    return h;
  }
};

struct PreparedSegment {
  Stream stream = kTokenStream;
  SegmentKey key;         // of the value as it came
  ShortDigest content{};  // of tokens or bytes; with a code
  bool has_code = false;  // else it is known, or came earlier in the same batch
  Buffer code;
  std::uint64_t tokens = 0;           // with a code
  const std::string* text = nullptr;  // to tokenise it after all
};

struct PreparedPart {
  std::string_view form;
  std::vector<PreparedSegment> segments;  // in the order of references
};

struct Prepared {
  const Conversation* conversation = nullptr;
  std::string form;  // of the conversation, written out
  PreparedPart own;
  std::vector<PreparedPart> messages;
  std::uint64_t text_bytes = 0;
  Error error;  // `invalid`, `exhausted`: it cannot be stored
};

// What the writer knows of one tenant beside the tables of the log.
// Threads: see Stager.
class TenantIndex {
 public:
  struct Known {
    std::uint64_t file = 0;
    std::uint32_t number = 0;
    std::uint64_t tokens = 0;
    Stream stream = kTokenStream;
    ShortDigest content{};
  };
  std::unordered_map<SegmentKey, Known, SegmentKeyHash> segments;
  // Of the current log.
  std::unordered_map<std::string, std::uint32_t> models, applications, forms, nodes, externals;
  std::vector<FormInfo> form_infos;
  // Fingerprints of the packs that were read: value -> (pack, segment).
  struct Place {
    std::uint64_t pack;
    std::uint32_t segment;
  };
  std::array<std::unordered_multimap<std::uint32_t, Place>, kStreams> fingerprints;
  std::map<std::uint64_t, bool> packs_read;
};

// Threads: prepare() from any thread at once; the rest from one at a time, which may overlap with
// prepare().
class Stager {
 public:
  // At most this many segments are remembered, at about 100 bytes each; forgetting one costs space
  // in the vault, never truth.
  static constexpr std::size_t kSegmentsKnownMax = 400'000;

  Stager(const State& state, std::shared_ptr<const Tokenizer> tokenizer,
         std::uint64_t conversation_bytes_max);

  // Forgets the numbers of the log before, and takes up those of `log`.
  Status begin_log(const LogFile& log);
  // Forgets what lies in other files than that log, since a rewrite is about to erase some of it.
  void forget_other_files();

  // `conversation` must live until it is staged.
  void prepare(std::uint32_t tenant, const Conversation& conversation, Tokenizer::Encoder& encoder,
               Prepared& out) const;

  // Adds a conversation to `batch`. `first_sequence`: of the version that it replaces, or 0.
  // Returns its sequence number.
  Result<std::uint64_t> stage(std::uint32_t tenant, Prepared& prepared, std::string_view id,
                              std::int64_t time_ms, std::uint64_t first_sequence,
                              BatchBuilder& batch, Tokenizer::Encoder& encoder);

  // The whole form of a conversation: its own, or the default one.
  static std::string form_of(const Conversation& conversation);

 private:
  void prepare_part(const TenantIndex* index, std::string_view form,
                    const std::vector<Value>& values, Tokenizer::Encoder& encoder,
                    std::vector<SegmentKey>& seen, Prepared& whole, PreparedPart& out) const;
  void tokenise(PreparedSegment& segment, Tokenizer::Encoder& encoder) const;
  Result<SegmentRef> reference(TenantIndex& index, std::uint32_t tenant, PreparedSegment& segment,
                               BatchBuilder& batch, Tokenizer::Encoder& encoder,
                               std::uint64_t& tokens);
  Result<std::optional<TenantIndex::Known>> find_in_packs(TenantIndex& index, std::uint32_t tenant,
                                                          const PreparedSegment& segment);
  void remember(TenantIndex& index, const SegmentKey& key, const TenantIndex::Known& known);

  const State& state_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  const std::uint64_t conversation_bytes_max_;
  std::uint64_t log_number_ = 0;
  mutable std::shared_mutex mutex_;  // guards the indexes against prepare()
  std::map<std::uint32_t, TenantIndex> indexes_;
  Scratch scratch_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_STAGER_H_
