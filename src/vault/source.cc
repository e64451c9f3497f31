#include "vault/source.h"

#include <cstdio>

#include "base/checksum.h"

namespace tokvault {
namespace {

std::string numbered(const char* folder, std::uint64_t number, const char* suffix) {
  char text[64];
  std::snprintf(text, sizeof text, "%s/%08llu.%s", folder, static_cast<unsigned long long>(number),
                suffix);
  return text;
}

}  // namespace

std::string log_name(std::uint64_t number) { return numbered("log", number, "log"); }
std::string pack_name(std::uint64_t number) { return numbered("packs", number, "pack"); }
std::string artifact_name(std::uint64_t number) {
  return numbered("artifacts", number, "artifact");
}

std::string without_name(const Error& error, std::string_view file) {
  const std::string_view what = error.message();
  const std::size_t at = what.find(file);
  if (at == what.npos) return std::string(what);
  if (error.code() == Errc::not_found) return "it is missing";
  // A catalog's begins with its path.
  const std::string_view rest = what.substr(at + file.size());
  const bool is_named = (at == 0 || what[at - 1] == '/') && rest.starts_with(": ");
  return std::string(is_named ? rest.substr(2) : what);
}

const Scratch::Block* Scratch::find(std::uint64_t file, Stream stream, std::uint64_t number) {
  for (auto it = blocks_.begin(); it != blocks_.end(); ++it) {
    if (it->number == number && it->file == file && it->stream == stream) {
      if (it != blocks_.begin()) blocks_.splice(blocks_.begin(), blocks_, it);
      return &blocks_.front();
    }
  }
  return nullptr;
}

Scratch::Block& Scratch::replace_oldest(std::uint64_t file, Stream stream, std::uint64_t number) {
  if (blocks_.size() < kBlocks) {
    blocks_.emplace_front();
  } else {
    blocks_.splice(blocks_.begin(), blocks_, std::prev(blocks_.end()));
  }
  blocks_.front() = {file, stream, number, nullptr, nullptr};
  return blocks_.front();
}

ShortDigest token_digest(TokenView tokens) { return shorten(sha256_tokens(tokens)); }
ShortDigest byte_digest(ByteView bytes) { return shorten(sha256(bytes)); }

Result<ShortDigest> segment_digest(const Source& source, Stream stream, ByteView code,
                                   std::vector<Token>& tokens) {
  if (stream == kByteStream) return byte_digest(code);
  tokens.clear();
  TOKVAULT_TRY(source.decode_tokens(code, tokens));
  return token_digest(tokens);
}

}  // namespace tokvault
