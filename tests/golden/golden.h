// What the golden files say of a conversation: one JSON object a line, as decode.py --all prints
// it.
#ifndef TOKVAULT_TESTS_GOLDEN_GOLDEN_H_
#define TOKVAULT_TESTS_GOLDEN_GOLDEN_H_

#include <string>

#include "tokvault/interchange.h"
#include "tokvault/vault.h"

namespace tokvault {

inline Result<std::string> golden_line(const std::string& tenant, const Summary& s,
                                       const Conversation& c) {
  std::string out = "{\"tenant\":";
  TOKVAULT_TRY(append_json_string(tenant, out));
  out += ",\"id\":";
  TOKVAULT_TRY(append_json_string(s.id, out));
  out += ",\"time_ms\":" + std::to_string(s.time_ms) +
         ",\"sequence\":" + std::to_string(s.sequence) +
         ",\"first_sequence\":" + std::to_string(s.first_sequence) +
         ",\"tokens\":" + std::to_string(s.tokens) +
         ",\"text_bytes\":" + std::to_string(s.text_bytes) + ",\"tags\":[";
  for (std::size_t i = 0; i < s.tags.size(); ++i) {
    if (i > 0) out += ",";
    TOKVAULT_TRY(append_json_string(s.tags[i], out));
  }
  TOKVAULT_ASSIGN(const std::string json, to_json(c));
  return out + "],\"conversation\":" + json + "}";
}

// Every visible conversation of a vault, or the first error. Lines end with a newline.
inline Result<std::string> golden_lines(const Vault& vault) {
  std::string out;
  Error error;
  TOKVAULT_ASSIGN(const auto tenants, vault.tenants());
  for (const std::string& tenant : tenants) {
    TOKVAULT_TRY(vault.scan({.tenant = tenant}, [&](const Summary& s, Result<Conversation> c) {
      auto line = c ? golden_line(tenant, s, *c) : Result<std::string>(std::move(c).error());
      if (!line) error = std::move(line).error();
      if (line) out += *line + "\n";
      return error.code() == Errc::ok;
    }));
    if (error.code() != Errc::ok) return error;
  }
  return out;
}

}  // namespace tokvault

#endif  // TOKVAULT_TESTS_GOLDEN_GOLDEN_H_
