// tokvault_make_vocab SOURCE TARGET: installs the rank files of the known tokenizers from one
// folder into another, each with the image that opening a tokenizer maps (tokenizer/vocabulary.h).
//
// Part of every build. A rank file that SOURCE does not have is said on stderr and is no failure:
// the library builds without; the tests that need it fail.
#include <fcntl.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "base/checksum.h"
#include "base/file.h"
#include "tokenizer/known.h"
#include "tokenizer/vocabulary.h"

namespace tokvault {
namespace {

Status write_whole(const std::string& path, ByteView bytes) {
  const std::string temporary = path + ".new";
  TOKVAULT_ASSIGN(File file, File::open(temporary, O_WRONLY | O_CREAT | O_TRUNC));
  TOKVAULT_TRY(file.write(bytes));
  TOKVAULT_TRY(file.close());
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) return errno_error(error.value(), "rename " + temporary);
  return {};
}

bool is_image_of(const std::string& path, std::string_view sha256_hex) {
  const auto image = Vocabulary::map(path);
  return image && to_hex((*image)->rank_file_sha256()) == sha256_hex;
}

Status install(const KnownTokenizer& known, const std::string& source, const std::string& target) {
  const std::string name(known.name);
  const std::string given = source + "/" + name + ".tiktoken";
  const std::string installed = target + "/" + name + ".tiktoken";
  const std::string image = target + "/" + name + ".vocab";
  auto ranks = read_file(given, kRankFileBytesMax);
  if (!ranks && ranks.code() == Errc::not_found) {
    std::fprintf(stderr, "%s is not there: run scripts/fetch_tokenizers\n", given.c_str());
    return {};
  }
  TOKVAULT_TRY(ranks);
  if (to_hex(sha256(*ranks)) != known.sha256) {
    return Error(Errc::corrupt, given + ": its SHA-256 is not " + std::string(known.sha256));
  }
  const auto there = read_file(installed, kRankFileBytesMax);
  if (!there || *there != *ranks) TOKVAULT_TRY(write_whole(installed, *ranks));
  if (is_image_of(image, known.sha256)) return {};
  TOKVAULT_ASSIGN(const auto vocabulary, Vocabulary::parse(*ranks));
  return write_whole(image, vocabulary->image());
}

}  // namespace
}  // namespace tokvault

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: tokvault_make_vocab SOURCE TARGET\n");
    return 2;
  }
  std::error_code error;
  std::filesystem::create_directories(argv[2], error);
  for (const tokvault::KnownTokenizer& known : tokvault::kKnownTokenizers) {
    const auto status = tokvault::install(known, argv[1], argv[2]);
    if (!status) {
      std::fprintf(stderr, "%s\n", std::string(status.error().message()).c_str());
      return 1;
    }
  }
  return 0;
}
