// Forms: JSON text with holes, and the rules by which a JSON value becomes one or the other.
//
// A form is minified and its strings are escaped in one way only, so that equal messages have equal
// forms. Strings that repeat from message to message (a role, a type) stay in it; everything else
// is a hole, so that forms are few.
#ifndef TOKVAULT_INTERCHANGE_FORM_H_
#define TOKVAULT_INTERCHANGE_FORM_H_

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/conversation.h"
#include "tokvault/result.h"

namespace tokvault {

// What the key that a string stands under says of it.
enum class KeyKind : std::uint8_t {
  other,
  text,     // written to be read: always stored as text, however short
  repeats,  // one of few: stays in the form if it is short
};
KeyKind key_kind(std::string_view key);

// Appends a string to a form, in it or as a hole.
void append_string_value(KeyKind kind, std::string_view text, std::string& form,
                         std::vector<Value>& values);
inline void append_hole(Hole hole, std::string& form) { form.push_back(static_cast<char>(hole)); }

// Size in bytes of an element, and the name that JSON has for it.
std::size_t element_size(TokenArray::Type type);
std::string_view element_name(TokenArray::Type type);
std::optional<TokenArray::Type> element_type(std::string_view name);

// The form of a conversation whose own is empty.
std::string default_form(const Conversation& conversation);

// A value in a form that is neither object nor array.
struct FormItem {
  struct Step {
    bool in_array = false;
    std::string_view key;  // as in the form, escaped
  };
  std::span<const Step> path;    // from the outermost object inwards
  char hole = 0;                 // 0: written in the form itself
  std::string_view raw;          // then its JSON text
  const Value* value = nullptr;  // of a hole that has one
};

// Calls `visit` with every item of a form, in order. `invalid` if the form is not JSON with holes,
// repeats a key, or has another number of holes than there are values, or if a value does not fit
// its hole. `in_conversation` admits the holes that only a conversation's form has.
Status walk_form(std::string_view form, std::span<const Value> values, bool in_conversation,
                 const std::function<void(const FormItem&)>& visit);

}  // namespace tokvault

#endif  // TOKVAULT_INTERCHANGE_FORM_H_
