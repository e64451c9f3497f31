// Conversation and Message: what goes into a vault and comes out of it, without loss.
//
// A message is a JSON object. Its *form* is that object's JSON text, minified, in which control
// bytes (which cannot stand in JSON text) mark places of values that are kept aside:
//
//   {"role":"user","content":\x01}        values: one text
//
// Forms repeat from message to message and are stored once; the values are what is stored as
// segments. interchange.h turns JSON lines into this and back; the constructors below make the
// common shapes.
#ifndef TOKVAULT_CONVERSATION_H_
#define TOKVAULT_CONVERSATION_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// The most messages of a conversation, and values of all its messages and its own. A vault refuses
// what has more, with `exhausted`: 64 MB of JSON could hold 22 million empty messages.
inline constexpr std::size_t kMessagesMax = std::size_t{1} << 18;
inline constexpr std::size_t kValuesMax = std::size_t{1} << 19;

// What a control byte in a form stands for. Part of the on-disk format (docs/format/manifest.md),
// never renumber.
enum class Hole : std::uint8_t {
  text = 0x01,    // JSON string, stored as the tokens of its bytes
  tokens = 0x02,  // JSON array of integers below 2^32, stored as token ids
  string = 0x03,  // JSON string, stored as its bytes
  scalar = 0x04,  // a number, as written
  json = 0x05,    // any other JSON value, as minified JSON text (long arrays of numbers, base64)
  binary = 0x06,  // JSON string in base64, stored as the bytes that it stands for
  // Only in a conversation's form:
  messages = 0x10,     // the array of messages
  id = 0x11,           // the id, a JSON string
  model = 0x12,        // the model, a JSON string
  application = 0x13,  // the application, a JSON string
  time_s = 0x14,       // the time as an integer of seconds
  time_ms = 0x15,      // the time as an integer of milliseconds
};

// The value of one hole. `tokens` for Hole::tokens, `bytes` for the others that take a value. A
// text may hold any bytes; JSON's lone surrogates are in it as three bytes each (ED A0 80 to ED BF
// BF).
struct Value {
  std::string bytes{};
  std::vector<Token> tokens{};
  bool operator==(const Value&) const = default;
};

// An array with one element for each token of a message's content: log-probabilities, masks.
struct TokenArray {
  enum class Type : std::uint8_t { f32, i32, u8 };
  std::string name;
  Type type = Type::f32;
  std::string bytes;  // little-endian elements, kept bit for bit
  bool operator==(const TokenArray&) const = default;
};

struct Message {
  std::string form;           // JSON object text with holes
  std::vector<Value> values;  // one for each hole, in order
  bool operator==(const Message&) const = default;

  // {"role": role, "content": text}
  static Message of_text(std::string_view role, std::string_view text);
  // {"role": role, "content": [ids]}, optionally with "token_arrays"; `invalid` if an array's
  // length differs from the number of tokens or a name repeats.
  static Result<Message> of_tokens(std::string_view role, TokenView tokens,
                                   const std::vector<TokenArray>& arrays = {});

  // The role, or "" if there is none.
  std::string role() const;
  // The text of the content: the string, or the text parts joined; "" if it has none.
  std::string text() const;
  // The token ids of the content; none if it is no array of them. Lifetime: of `values`.
  TokenView tokens() const;
  // The arrays beside the tokens.
  Result<std::vector<TokenArray>> token_arrays() const;
  // `invalid` unless the form is a JSON object with holes, escaped and minified as JsonReader does
  // it, and the values fit the holes. Messages that JsonReader and the functions above made do.
  Status check() const;
};

// The id, the model and the application are text as JSON has it: UTF-8, or with lone surrogates as
// above. Values may be any bytes for a vault; those of strings that are not such text it keeps, but
// to_json() refuses them.
struct Conversation {
  std::string id{};           // empty: the vault makes one, ordered by time
  std::string model{};        // empty: none
  std::string application{};  // empty: none
  std::int64_t time_ms = 0;   // ms since 1970, years 1 to 9999; 0: the time of storing
  std::vector<Message> messages{};
  // The whole JSON object with holes; empty means {"id","model","application","messages"} in this
  // order, without those that are empty.
  std::string form{};
  std::vector<Value> values{};  // of the holes text to binary in `form`

  bool operator==(const Conversation&) const = default;

  // The same for `form` and `values`, and `invalid` for an id, model or application that is no
  // text; the messages have their own check().
  Status check() const;
};

// True if `byte` marks a hole that takes a Value (text to binary).
constexpr bool is_value_hole(char byte) { return byte >= 0x01 && byte <= 0x06; }

}  // namespace tokvault

#endif  // TOKVAULT_CONVERSATION_H_
