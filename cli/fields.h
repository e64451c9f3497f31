// What JsonReader made of an object, by its fields.
#ifndef TOKVAULT_CLI_FIELDS_H_
#define TOKVAULT_CLI_FIELDS_H_

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokvault/tokvault.h"

namespace tokvault::cli {

// A value in a form, with the values of the holes in it.
struct Piece {
  std::string_view form;
  std::span<const Value> values;
};

// The parts of an object or array, which begins and ends with its brackets; those of an object with
// their names. Forms are valid and minified: the vault checks them.
std::vector<Piece> split(const Piece& whole);
// The name of an object's part in its quotes, and its value.
std::pair<std::string_view, Piece> member(const Piece& part);
// Whether it is a string that may be a text.
bool is_string(const Piece& piece);

// The id that an object has, of whatever it is: a string, or a number as it is written, as an
// import takes it. Nothing if it has none.
std::optional<std::string> id_of(const Piece& object);

// Whether it has a field for its time, but in none of them a time that is understood. null, 0 and
// the empty string say that there is none.
bool has_unknown_time(const Conversation& conversation);

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_FIELDS_H_
