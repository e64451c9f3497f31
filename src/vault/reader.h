// ConversationReader: rows and segments back to conversations.
#ifndef TOKVAULT_VAULT_READER_H_
#define TOKVAULT_VAULT_READER_H_

#include <functional>
#include <memory>
#include <unordered_map>

#include "tokvault/conversation.h"
#include "tokvault/tokenizer.h"
#include "vault/state.h"

namespace tokvault {

// What a conversation takes in memory, about.
std::size_t memory_bytes(const Conversation& conversation);

// Reads conversations of one tenant. Blocks that neighbours share are decoded once.
// Threads: one at a time. Lifetime: state and tokenizer outlive it.
class ConversationReader {
 public:
  ConversationReader(const State& state, const Tokenizer& tokenizer, std::uint32_t tenant)
      : state_(state), tokenizer_(tokenizer), tenant_(tenant) {}

  // `as_tokens`: texts stay token ids, and Hole::text becomes Hole::tokens in the forms.
  Result<Conversation> read(const Source& source, const Tables& tables, std::uint32_t row,
                            bool as_tokens = false);

  // Calls `visit` with each token segment of the messages of a conversation, in order: the source
  // that holds it, and its number there.
  using TextVisit = std::function<Status(const Source&, std::uint32_t)>;
  Status visit_texts(const Source& source, const Tables& tables, std::uint32_t row,
                     const TextVisit& visit);
  // The tokens of such a segment.
  Status read_tokens(const Source& source, std::uint32_t number, std::vector<Token>& tokens);

 private:
  // Where a segment is: here, or in another file.
  Status find_segment(const Source& source, const Tables& tables, SegmentRef ref,
                      const Source*& holder, std::uint32_t& number);
  Status read_values(const Source& source, const Tables& tables, std::uint32_t form,
                     const SegmentRef* refs, bool as_tokens, std::string& form_out,
                     std::vector<Value>& values);
  Status read_segment(const Source& source, const Tables& tables, Stream stream, SegmentRef ref,
                      bool as_text, Value& out);

  const State& state_;
  const Tokenizer& tokenizer_;
  const std::uint32_t tenant_;
  Scratch scratch_;
  std::vector<Token> tokens_;
  // External rows that were located, by number of the file that names them and row.
  std::unordered_map<std::uint64_t, std::unordered_map<std::uint32_t, State::Located>> located_;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_READER_H_
