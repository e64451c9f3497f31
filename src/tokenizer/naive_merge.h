// For tests and fuzzing: rank files made up on the spot, and merging done literally as merge.h
// defines it.
#ifndef TOKVAULT_TOKENIZER_NAIVE_MERGE_H_
#define TOKVAULT_TOKENIZER_NAIVE_MERGE_H_

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokvault/types.h"

namespace tokvault {

using Ranks = std::vector<std::pair<std::string, Token>>;

inline std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      out.push_back(i + k <= bytes.size() ? kDigits[bits >> (18 - 6 * k) & 63] : '=');
    }
  }
  return out;
}

// Every byte by itself, as tokens 0 to 255.
inline Ranks byte_ranks() {
  Ranks ranks;
  for (unsigned i = 0; i < 256; ++i) ranks.emplace_back(std::string(1, static_cast<char>(i)), i);
  return ranks;
}

// The bytes, then `count` different tokens that are two earlier ones over `alphabet` put together.
inline Ranks random_ranks(std::mt19937& random, std::string_view alphabet, std::size_t count) {
  Ranks ranks = byte_ranks();
  std::vector<std::string> parts;
  for (const char c : alphabet) parts.emplace_back(1, c);
  std::map<std::string, bool> known;
  for (std::size_t tries = 0; tries < 4 * count && ranks.size() < 256 + count; ++tries) {
    std::string token = parts[random() % parts.size()] + parts[random() % parts.size()];
    if (token.size() > 200 || !known.emplace(token, true).second) continue;
    parts.push_back(token);
    ranks.emplace_back(std::move(token), static_cast<Token>(ranks.size()));
  }
  return ranks;
}

inline std::string rank_file(const Ranks& ranks) {
  std::string out;
  for (const auto& [token, id] : ranks) out += base64(token) + " " + std::to_string(id) + "\n";
  return out;
}

inline std::vector<Token> naive_merge(const Ranks& ranks, std::string_view piece) {
  std::map<std::string, Token, std::less<>> ids;
  for (const auto& [token, id] : ranks) ids.emplace(token, id);
  std::vector<std::string> parts;
  for (const char c : piece) parts.emplace_back(1, c);
  for (;;) {
    std::size_t best = parts.size();
    Token best_id = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ids.find(parts[i] + parts[i + 1]);
      if (found == ids.end() || (best != parts.size() && found->second >= best_id)) continue;
      best = i;
      best_id = found->second;
    }
    if (best == parts.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  std::vector<Token> out;
  for (const std::string& part : parts) out.push_back(ids.find(part)->second);
  return out;
}

}  // namespace tokvault

#endif  // TOKVAULT_TOKENIZER_NAIVE_MERGE_H_
