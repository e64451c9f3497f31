// Source: a file that conversations are read from, seen from one tenant: a pack, or its part of a
// log.
#ifndef TOKVAULT_VAULT_SOURCE_H_
#define TOKVAULT_VAULT_SOURCE_H_

#include <algorithm>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codec/token_code.h"
#include "format/record.h"
#include "format/tables.h"
#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

class PackDictionary;

// A block, decoded.
struct BlockText {
  Buffer text;
  // Where each segment ends, if the text says that itself (PackStream::ended).
  std::vector<std::uint32_t> ends;

  std::uint64_t memory_bytes() const {
    return sizeof(*this) + text.capacity() + ends.capacity() * sizeof(std::uint32_t);
  }
};

// Blocks that were decoded a moment ago, since neighbours share them. One per thread or call.
class Scratch {
 public:
  struct Block {
    std::uint64_t file = 0;
    Stream stream = kTokenStream;
    std::uint64_t number = 0;
    std::shared_ptr<const BlockText> pin;
    std::shared_ptr<const PackDictionary> dictionary{};  // instead, if it is not a block
  };
  const Block* find(std::uint64_t file, Stream stream, std::uint64_t number);
  // A slot to decode a block into.
  Block& replace_oldest(std::uint64_t file, Stream stream, std::uint64_t number);

  std::uint64_t blocks_decoded = 0;

 private:
  static constexpr std::size_t kBlocks = 16;
  std::list<Block> blocks_;  // newest first
};

// Where the files of a vault lie.
std::string log_name(std::uint64_t number);
std::string pack_name(std::uint64_t number);
std::string artifact_name(std::uint64_t number);
// What an error of reading a file says, without its name: for whoever names the file beside it.
std::string without_name(const Error& error, std::string_view file);

// Threads: const methods from any thread at once, for a log under the engine's state lock.
class Source {
 public:
  virtual ~Source() = default;
  virtual std::uint64_t file() const = 0;  // number of the log or pack
  virtual bool is_pack() const = 0;
  virtual std::uint32_t tenant() const = 0;
  virtual std::string name() const = 0;

  // Ranges over all rows: of first_sequence (from) and sequence (to), and of times.
  struct Range {
    std::uint64_t rows = 0;
    std::uint64_t sequence_first = 0;
    std::uint64_t sequence_last = 0;
    std::int64_t time_first_ms = 0;
    std::int64_t time_last_ms = 0;
  };
  virtual Range range() const = 0;
  // Numbers of the artifacts that the file cannot be decoded without, each once.
  virtual std::vector<std::uint64_t> artifacts() const = 0;
  bool names_artifact(std::uint64_t number) const {
    const auto named = artifacts();
    return std::find(named.begin(), named.end(), number) != named.end();
  }

  // The tables; they stay as they are as long as they are held (for a log: and locked).
  virtual Result<std::shared_ptr<const Tables>> tables() const = 0;
  // Whether code() is quick; if it is not, because something has to be decoded first that takes a
  // model (up to a second), prepare() does that. What goes wrong there is said by code().
  virtual bool is_ready() const { return true; }
  virtual void prepare() const {}
  // Rows whose id has this hash, oldest first.
  virtual Result<std::vector<std::uint32_t>> rows_of(const IdHash& id) const = 0;

  // The code of a local segment. The view lives until the next call with this scratch.
  // REQUIRES: number < segment_counts[stream]
  virtual Result<ByteView> code(Stream stream, std::uint32_t number, Scratch& scratch) const = 0;
  // Appends the tokens that a code stands for.
  virtual Status decode_tokens(ByteView code, std::vector<Token>& out) const = 0;

  // The local segment with this digest, compared by content.
  virtual Result<std::optional<std::uint32_t>> find_segment(Stream stream,
                                                            const ShortDigest& digest,
                                                            Scratch& scratch) const = 0;
};

// The identity of a segment: of its tokens, or of its bytes.
ShortDigest token_digest(TokenView tokens);
ShortDigest byte_digest(ByteView bytes);
Result<ShortDigest> segment_digest(const Source& source, Stream stream, ByteView code,
                                   std::vector<Token>& tokens);

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_SOURCE_H_
