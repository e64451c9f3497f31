// Stager: conversations to the records of a batch. Finds what is already there.
//
// Two steps. prepare() hashes and tokenises what is not known yet; many threads do it at once, and
// it is most of the work. stage() runs in the order of commits and gives out numbers.
#ifndef TOKVAULT_VAULT_STAGER_H_
#define TOKVAULT_VAULT_STAGER_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "format/batch.h"
#include "tokvault/tokenizer.h"
#include "tokvault/vault.h"
#include "vault/known_segments.h"
#include "vault/state.h"

namespace tokvault {

// A value that is stored as a segment. What it refers to belongs to its Prepared.
struct PreparedSegment {
  Stream stream = kTokenStream;
  bool has_code = false;      // else it is known, or came earlier in the same conversation
  ShortDigest text_digest{};  // of *text
  ShortDigest content{};      // of tokens or bytes; for a text once it has a code
  std::uint32_t tokens = 0;   // the same
  // What it is made of: one of these, or the values of a part that share a segment.
  const std::string* text = nullptr;
  const std::vector<Token>* ids = nullptr;
  const std::string* bytes = nullptr;  // are their own code
  std::size_t code_begin = 0;          // else it is in Prepared::codes
  std::size_t code_size = 0;
};

struct PreparedPart {
  std::string_view form;
  std::size_t begin = 0;  // segments, in the order of references
  std::size_t end = 0;
};

// A conversation, hashed and tokenised. One buffer of each kind, since this is made and thrown away
// for every conversation, by different threads.
struct Prepared {
  const Conversation* conversation = nullptr;
  std::string default_form;  // of a conversation that has none written out
  PreparedPart own;
  std::vector<PreparedPart> messages;
  std::vector<PreparedSegment> segments;
  Buffer codes;
  std::uint64_t text_bytes = 0;
  Error error;  // `invalid`, `exhausted`: it cannot be stored

  ByteView code(const PreparedSegment& s) const {
    return s.bytes != nullptr ? ByteView(*s.bytes)
                              : ByteView(codes).substr(s.code_begin, s.code_size);
  }
};

// What the writer knows of one tenant beside the tables of the log.
// Threads: see Stager.
struct TenantIndex {
  KnownSegments segments;
  // Of the current log.
  NameIndex models, applications, forms, nodes, externals;
  std::vector<FormInfo> form_infos;
  // Of the packs that were read.
  std::array<FingerprintIndex, kStreams> fingerprints;
  std::set<std::uint64_t> packs_read;
};

// `exhausted`: a segment of so many tokens or bytes is more than a pack holds.
Error segment_too_large(std::uint64_t size);

// Threads: prepare() from any thread at once; the rest from one at a time, which may overlap with
// prepare().
class Stager {
 public:
  // At most this many segments are remembered of a tenant, at about 90 bytes each, and of all when
  // a log begins; forgetting one costs space in the vault, never truth.
  static constexpr std::size_t kSegmentsKnownMax = 300'000;

  Stager(const State& state, std::shared_ptr<const Tokenizer> tokenizer,
         std::uint64_t conversation_bytes_max);

  // Forgets the numbers of the log before, and takes up those of `log`.
  Status begin_log(const LogFile& log);
  // Forgets what lies in other files than that log, since a rewrite is about to erase some of it.
  void forget_other_files();
  // Forgets what lies in packs that are no more; it is found again where it is now.
  void forget_packs(std::span<const std::uint64_t> packs);

  // What needs no look at the vault or the tokens: `exhausted` for a conversation that is too large
  // or has too many messages or values, `invalid` for a time, name or form that cannot be. `form`:
  // form_of(it).
  Status check(const Conversation& conversation, std::string_view form) const;
  // What needs no look at the vault: the same, and `invalid` for arrays that do not fit the tokens.
  Status check_whole(const Conversation& conversation, std::string_view form,
                     Tokenizer::Encoder& encoder) const;
  // `conversation` must live until it is staged.
  void prepare(std::uint32_t tenant, const Conversation& conversation, Tokenizer::Encoder& encoder,
               Prepared& out) const;

  // What stage() adds to the tables of a log at most.
  static TableSize size_of(const Prepared& prepared, std::string_view id);
  // Adds a conversation to `batch`. `first_sequence`: of the version that it replaces, or 0.
  // Returns its sequence number.
  Result<std::uint64_t> stage(std::uint32_t tenant, Prepared& prepared, std::string_view id,
                              std::int64_t time_ms, std::uint64_t first_sequence,
                              BatchBuilder& batch, Tokenizer::Encoder& encoder);

  // Makes sure that a segment which no conversation brings is in a file of the tenant: adds it to
  // `batch` if it is in none. Returns whether it did.
  // REQUIRES: it is of ids or bytes, and at least kSharedCodeBytes of them
  Result<bool> store_segment(std::uint32_t tenant, Prepared& whole, PreparedSegment& segment,
                             BatchBuilder& batch, Tokenizer::Encoder& encoder);

  // The whole form of a conversation: its own, or the default one.
  static std::string form_of(const Conversation& conversation);

 private:
  static void prepare_part(std::string_view form, const std::vector<Value>& values, Prepared& whole,
                           PreparedPart& out);
  void encode_unknown(std::uint32_t tenant, Prepared& whole, Tokenizer::Encoder& encoder) const;
  // Gives a text or token ids their code.
  static void encode(Prepared& whole, PreparedSegment& segment, Tokenizer::Encoder& encoder);
  // What is known of a segment and can be referred to from the current log, or null.
  const KnownSegment* find_known(const TenantIndex& index, const Prepared& whole,
                                 const PreparedSegment& segment) const;
  Result<SegmentRef> reference(TenantIndex& index, std::uint32_t tenant, Prepared& whole,
                               PreparedSegment& segment, BatchBuilder& batch,
                               Tokenizer::Encoder& encoder, std::uint64_t& tokens);
  // Of a segment that find_known() does not find and that has its code: where it is; it is added to
  // `batch` if it is in no file that can be referred to.
  Result<KnownSegment> find_or_add(TenantIndex& index, std::uint32_t tenant, const Prepared& whole,
                                   const PreparedSegment& segment, BatchBuilder& batch);
  // The tenant's own; changed by the writing thread alone.
  TenantIndex& index_of(std::uint32_t tenant);
  Result<std::optional<KnownSegment>> find_in_packs(TenantIndex& index, std::uint32_t tenant,
                                                    const PreparedSegment& segment);
  void remember(TenantIndex& index, const KnownSegment& known);

  const State& state_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  const std::uint64_t conversation_bytes_max_;
  std::uint64_t log_number_ = 0;
  mutable SharedMutex mutex_;  // guards the indexes against prepare()
  std::map<std::uint32_t, TenantIndex> indexes_;
  Scratch scratch_;
  std::vector<SegmentRef> refs_;  // of stage(), kept for their memory
  Buffer key_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_STAGER_H_
