// A model of a pack's text: what `dense` codes tokens with.
//
// A pack's stream is a dictionary and blocks (docs/format/pack.md). Here the dictionary is coded as
// one text by a model that learns from what it has coded; what it has learned at the end is the
// model from which every block starts. So a model costs no bytes but those of the text that it was
// learned from, and a block is decoded with the dictionary alone. Method, constants and what was
// turned down: token_predictor.h and docs/decisions/0009-token-model.md. Format:
// docs/format/token_model.md
//
// Before the dictionary it may learn from a history, which every reader has already: the tokens of
// an artifact.
//
// All of it is integer arithmetic: every machine and compiler decodes the same text.
#ifndef TOKVAULT_CODEC_TOKEN_MODEL_H_
#define TOKVAULT_CODEC_TOKEN_MODEL_H_

#include <cstdint>
#include <memory>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// What a text is made of: codes of tokens without the byte FF (token_code.h), which ends a segment;
// or bytes.
enum class ModelUnit { token_code, byte };

// The longest dictionary and the longest block, in bytes of text.
inline constexpr std::uint64_t kModelTextBytesMax = std::uint64_t{1} << 28;
// How many lines of 32 bytes a model has for what it learns, as powers of two.
inline constexpr int kModelLinesLogMin = 10;
inline constexpr int kModelLinesLogMax = 21;

// What a dictionary has taught.
// Threads: any number at once; each call works in memory of its own.
class TokenModel {
 public:
  // Decodes a dictionary: `coded` is what ModelTrainer::finish() gave, `size` how many bytes of
  // text it stands for, `history` what the trainer learned from before. Appends the text to `text`;
  // nothing if it fails. `corrupt` if `coded` is not the code of a text of that size; `invalid` if
  // the history ends inside a code. Its time is that of ModelTrainer::work(); memory:
  // memory_bytes().
  static Result<std::unique_ptr<TokenModel>> decode(ModelUnit unit, ByteView coded,
                                                    std::uint64_t size, Buffer& text,
                                                    ByteView history = {});
  virtual ~TokenModel() = default;

  // Codes a block. `invalid` if it ends inside a code, or is too much.
  virtual Result<Buffer> encode_block(ByteView text) const = 0;
  // Appends the `size` bytes that `coded` stands for; nothing if it fails. `corrupt` if it is not
  // what encode_block() gives for a text of that size. (Damage can make it that of another text:
  // checksums are the caller's.)
  virtual Status decode_block(ByteView coded, std::uint64_t size, Buffer& text) const = 0;
  // What the model occupies while it is kept: 4 bytes for each token (byte) of history and
  // dictionary, and 76 MB at most. A call takes about 200 bytes for each byte of its block, 38 MB
  // at most, and 4 for each token; a few of those are kept for the next calls and not counted here.
  virtual std::uint64_t memory_bytes() const = 0;
};

// Codes a dictionary, piece by piece, and learns from it.
// Threads: one at a time.
class ModelTrainer {
 public:
  // `text_size` is about how much text there will be, in bytes, history included; the memory for
  // statistics depends on it.
  static std::unique_ptr<ModelTrainer> make(ModelUnit unit, std::uint64_t text_size);
  virtual ~ModelTrainer() = default;

  // Learns from text that is not part of the dictionary, before any is added. `invalid` if it ends
  // inside a code, or is too much; then nothing is learned.
  virtual Status learn(ByteView history) = 0;
  // Adds text. `invalid` if it ends inside a code, or is too much; then nothing is added.
  virtual Status add(ByteView text) = 0;
  // Binary decisions so far, those of the history too: what decoding the dictionary takes is
  // proportional to them. A token that was predicted is one, another about ten. Stop adding when it
  // is as much as a reader shall wait for.
  virtual std::uint64_t work() const = 0;
  // Bytes of code so far.
  virtual std::uint64_t coded_size() const = 0;

  // The coded dictionary, appended to `coded`, and the model. Nothing may be added afterwards.
  virtual std::unique_ptr<TokenModel> finish(Buffer& coded) = 0;
};

}  // namespace tokvault

#endif  // TOKVAULT_CODEC_TOKEN_MODEL_H_
