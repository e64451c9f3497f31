// Tokenizer: text to token ids and back, ids equal to the original tokenizer's on any text.
#ifndef TOKVAULT_TOKENIZER_H_
#define TOKVAULT_TOKENIZER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

struct TokenizerOptions {
  // Folder with the rank files that are installed beside the binary; empty: the default search
  // (docs/tokenizers.md).
  std::string ranks_folder{};
};

// A byte-level BPE vocabulary with its splitter: cl100k_base, o200k_base, a rank file of your own,
// or "bytes" (token = byte).
//
// Threads: const methods from any thread at once; each Encoder belongs to one thread at a time.
// Lifetime: shared and immutable; an Encoder keeps its Tokenizer alive.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual const std::string& name() const = 0;
  // SHA-256 of the vocabulary: of the rank file's bytes; of nothing for "bytes".
  virtual const Digest& vocabulary_sha256() const = 0;
  // One more than the largest id, special tokens included.
  virtual Token id_limit() const = 0;

  // The bytes of one token; empty if the id is not in the vocabulary.
  virtual std::string_view token_bytes(Token id) const = 0;
  // Appends the bytes of all tokens; `invalid` names the first id that is not in the vocabulary.
  virtual Status decode(TokenView tokens, std::string& out) const = 0;

  // Special tokens by name, as (text, id).
  virtual const std::vector<std::pair<std::string, Token>>& special_tokens() const = 0;

  // The state that makes encoding fast (a cache of pieces). One per thread, about 2 MB; making one
  // costs microseconds.
  class Encoder {
   public:
    virtual ~Encoder() = default;
    // Appends the ids of `text`. Special tokens in the text are text. Any bytes are accepted:
    // decode() of the result gives exactly `text` back, valid UTF-8 or not.
    virtual void encode(std::string_view text, std::vector<Token>& out) = 0;
    // The same, but special tokens in the text become their ids.
    virtual void encode_with_special(std::string_view text, std::vector<Token>& out) = 0;
  };
  virtual std::unique_ptr<Encoder> make_encoder() const = 0;
};

// "cl100k_base", "o200k_base" or "bytes". `not_found` for another name, or where the rank file is
// not installed (the message says where it was looked for and how to install it).
Result<std::shared_ptr<const Tokenizer>> open_tokenizer(std::string_view name,
                                                        const TokenizerOptions& options = {});

// A vocabulary from the bytes of a .tiktoken rank file. `pattern` is the name of the tokenizer
// whose splitter is to be used ("cl100k_base" or "o200k_base"). `invalid` names the first bad line.
Result<std::shared_ptr<const Tokenizer>> make_tokenizer(std::string name, std::string_view pattern,
                                                        ByteView rank_file);

}  // namespace tokvault

#endif  // TOKVAULT_TOKENIZER_H_
