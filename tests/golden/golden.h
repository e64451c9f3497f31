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

// Every segment that somebody holds, as decode.py --held prints it.
inline Result<std::string> golden_held_lines(const Vault& vault) {
  std::string out;
  TOKVAULT_ASSIGN(const auto tenants, vault.tenants());
  for (const std::string& tenant : tenants) {
    TOKVAULT_ASSIGN(const SegmentPage page, vault.list_segments({.tenant = tenant}, 1000));
    for (const SegmentInfo& info : page.segments) {
      TOKVAULT_ASSIGN(const auto got, vault.get_segments({&info.id, 1}, tenant));
      if (!got[0]) return got[0].error().clone();
      out += "{\"tenant\": \"" + tenant + "\", \"id\": \"" + info.id.to_string() +
             "\", \"holders\": [";
      for (const std::string& h : info.holders) {
        out += (out.ends_with('[') ? "\"" : ", \"") + h + "\"";
      }
      out += "], ";
      if (info.id.kind == SegmentKind::tokens) {
        out += "\"tokens\": [";
        for (const Token t : got[0]->tokens) {
          out += (out.ends_with('[') ? "" : ", ") + std::to_string(t);
        }
        out += "]}\n";
      } else {
        static constexpr char kDigits[] = "0123456789abcdef";
        out += "\"hex\": \"";
        for (const char c : got[0]->bytes) {
          const auto byte = static_cast<unsigned char>(c);
          out += {kDigits[byte >> 4], kDigits[byte & 15]};
        }
        out += "\"}\n";
      }
    }
  }
  return out;
}

}  // namespace tokvault

#endif  // TOKVAULT_TESTS_GOLDEN_GOLDEN_H_
