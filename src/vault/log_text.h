// LogText: the text of a section of the log whose codes stand apart from the bodies. It is decoded
// piece by piece, in order, no further than somebody reads.
#ifndef TOKVAULT_VAULT_LOG_TEXT_H_
#define TOKVAULT_VAULT_LOG_TEXT_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/zstd.h"
#include "format/artifact.h"
#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// Threads: any number at once. What piece() gave stays as long as this does.
class LogText {
 public:
  // A piece of a frame, and what decoding it needs.
  struct Encoded {
    ByteView piece;
    std::shared_ptr<const Buffer> file;  // that `piece` lies in
    std::uint64_t size = 0;              // that it decodes to
    bool begins_frame = false;           // of which all text before is the prefix, or this:
    std::shared_ptr<const Artifact> dictionary;
  };
  // Each gives the number of its piece; from 0, one after another.
  std::uint32_t add(Encoded encoded);
  std::uint32_t add(Buffer text);
  // No piece goes on with the frame: what decodes it is not kept, if it is not needed any more.
  void end();

  // `corrupt` if it does not decode to what it should, or one before it does not.
  Result<ByteView> piece(std::uint32_t number) const;
  // All pieces, one after another.
  Result<Buffer> join() const;

 private:
  struct Piece {
    std::shared_ptr<const Buffer> text;  // null: not decoded yet
    Encoded encoded;                     // until then
  };
  Status decode(std::size_t end) const;
  void drop_decoder() const;

  mutable std::mutex mutex_;  // over everything below
  mutable std::vector<Piece> pieces_;
  mutable std::size_t decoded_ = 0;  // the first so many
  mutable std::unique_ptr<StreamDecoder> decoder_;
  bool is_ended_ = false;
  std::uint64_t encoded_bytes_ = 0;  // what pieces decode to that were added encoded
  mutable std::optional<Error> error_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_LOG_TEXT_H_
