// Segments as references to substrings. The references come first, the tokens between them behind,
// so that a compressor that packs many such segments sees one kind at a time.
//
// Format: docs/format/substrings.md
#include "base/bytes.h"
#include "codec/token_code.h"
#include "tokvault/substrings.h"

namespace tokvault {
namespace {

Error damaged(std::string_view what) {
  return Error(Errc::corrupt, "segment with substrings: " + std::string(what));
}

}  // namespace

Buffer encode_with_substrings(const SubstringSet& set, TokenView tokens) {
  Buffer references;
  std::vector<Token> literals;
  std::uint64_t count = 0, between = 0;
  for (std::size_t i = 0; i < tokens.size();) {
    const auto match = set.longest_match(tokens.subspan(i));
    if (!match) {
      literals.push_back(tokens[i++]);
      ++between;
      continue;
    }
    append_varint(references, between);
    append_varint(references, match->id);
    between = 0;
    ++count;
    i += match->tokens;
  }
  Buffer out;
  append_varint(out, tokens.size());
  append_varint(out, count);
  out += references;
  TokenMap().encode(literals, out);
  return out;
}

Result<std::vector<Token>> decode_with_substrings(const SubstringSet& set, ByteView bytes,
                                                  std::uint64_t tokens_max) {
  struct Reference {
    std::uint64_t between = 0;  // tokens before it that are no part of a run
    TokenView run;
  };
  ByteReader in(bytes);
  const std::uint64_t tokens = in.varint();
  const std::uint64_t count = in.varint();
  if (!in.ok() || count > in.left() / 2) return damaged("it is cut short");
  if (tokens > tokens_max) {
    return Error(Errc::exhausted, "segment with substrings: it has " + std::to_string(tokens) +
                                      " tokens, more than " + std::to_string(tokens_max));
  }
  // All sizes are added up before memory is taken for what they say.
  std::vector<Reference> references(count);
  std::uint64_t left = tokens, literal_count = 0;
  for (Reference& r : references) {
    r.between = in.varint();
    const std::uint32_t id = in.varint32();
    if (!in.ok()) return damaged("it is cut short");
    auto run = set.tokens(id);
    if (!run) return damaged(run.error().message());
    r.run = *run;
    if (r.between > left || r.run.size() > left - r.between) return damaged("it is too long");
    left -= r.between + r.run.size();
    literal_count += r.between;
  }
  literal_count += left;
  if (literal_count > in.left()) return damaged("it is cut short");
  std::vector<Token> literals;
  TOKVAULT_TRY(TokenMap().decode(in.rest(), literals));
  if (literals.size() != literal_count) return damaged("it has other tokens than it says");
  std::vector<Token> out;
  out.reserve(tokens);
  auto next = literals.begin();
  for (const Reference& r : references) {
    const auto limit = next + static_cast<std::ptrdiff_t>(r.between);
    out.insert(out.end(), next, limit);
    out.insert(out.end(), r.run.begin(), r.run.end());
    next = limit;
  }
  out.insert(out.end(), next, literals.end());
  return out;
}

}  // namespace tokvault
