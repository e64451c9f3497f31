// LogWriter: turns bodies and their texts into batches of one log. It keeps the compression
// contexts of its sections.
//
// A section is a stream with a history, and a dictionary helps it only until the history is as
// long. So a section that has none yet is begun twice, with the tenant's active dictionary and
// without, and what comes out smaller after the first batch (or its first 128 KB) goes on. The same
// is done with a section that is still shorter than a dictionary that was activated since.
#ifndef TOKVAULT_VAULT_LOG_WRITER_H_
#define TOKVAULT_VAULT_LOG_WRITER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "base/zstd.h"
#include "format/artifact.h"
#include "format/log.h"
#include "tokvault/types.h"
#include "vault/log_file.h"

namespace tokvault {

// The dictionary that a tenant's new frames may use, or none.
using FindDictionary = std::function<std::shared_ptr<const Artifact>(std::uint32_t tenant)>;

// Threads: one at a time. Lifetime: the log, and what find_dictionary refers to, outlive it.
class LogWriter {
 public:
  LogWriter(const LogFile& log, Level level, FindDictionary find_dictionary = {})
      : log_(log), level_(level), find_dictionary_(std::move(find_dictionary)) {}

  // Begins the next batch of a tenant; `sequence` is that of its first record. `text_apart`: the
  // codes of its segments are not in its body.
  Status begin(std::uint32_t tenant, std::uint64_t sequence, bool text_apart);
  // Compresses the next piece of its body, and of its text if that stands apart.
  Status add(ByteView body, ByteView text);
  // Ends it. The bytes belong at `offset` of the log's file; `header` is what they begin with.
  // `same_sync`: the batch before it is not synced yet. `builder` made the body.
  Result<Buffer> finish(std::uint64_t offset, bool same_sync, const BatchBuilder& builder,
                        BatchHeader& header);

 private:
  // The frames of a section.
  struct Frames {
    std::unique_ptr<StreamEncoder> body;
    std::unique_ptr<StreamEncoder> text;         // null until a batch has text apart
    std::shared_ptr<const Artifact> dictionary;  // of both, if they have one
    explicit operator bool() const { return body != nullptr; }
  };
  // Pieces of the batch that is being written.
  struct Pieces {
    Buffer body;
    Buffer text;
    std::size_t size() const { return body.size() + text.size(); }
  };
  struct Context {
    std::uint32_t section = 0;
    std::uint64_t text_bytes = 0;
    std::uint64_t last_used = 0;
    std::uint64_t tried = 0;  // number of the dictionary that was compared with it, or that it uses
    Frames frames;            // none: they were given up
  };
  // A new section with a dictionary, beside what the context makes of the same batch.
  struct Rival {
    Frames frames;
    Pieces pieces;
  };
  // Contexts cost 10 to 20 MB each; a tenant beyond these begins a new section when it comes back.
  static constexpr std::size_t kContextsMax = kFrameTenantsMax;

  Result<Context*> context(std::uint32_t tenant, std::uint8_t& flags);
  Result<Frames> make_frames(ByteView prefix, std::shared_ptr<const Artifact> dictionary) const;
  // Makes what is missing for text apart in that section.
  Status prepare_text(Frames& frames, std::uint32_t section) const;
  Status write(Frames& frames, ByteView body, ByteView text, bool flush, Pieces& out) const;
  std::uint32_t new_section() const;
  Status begin_rival(std::uint32_t tenant);
  // Goes on with whichever came out smaller.
  Status decide();

  const LogFile& log_;
  const Level level_;
  const FindDictionary find_dictionary_;
  std::map<std::uint32_t, Context> contexts_;
  std::uint32_t sections_ = 0;  // numbers given out beyond those in the log
  std::uint64_t clock_ = 0;
  Context* current_ = nullptr;
  BatchHeader header_;
  std::uint64_t body_size_ = 0;
  std::uint64_t text_size_ = 0;
  Pieces pieces_;
  Rival rival_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_LOG_WRITER_H_
