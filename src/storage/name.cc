#include "storage/name.h"

#include <algorithm>

#include "base/bytes.h"

namespace tokvault {
namespace {

bool valid_char(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

// In hexadecimal: a name that is refused may hold anything.
Error refused(std::string_view what, std::string_view name) {
  return Error(Errc::invalid, std::string(what) + " of letters, digits and ._-), in hex: " +
                                  to_hex(name.substr(0, kNamePartBytesMax)));
}

}  // namespace

bool valid_name_part(std::string_view part) {
  return !part.empty() && part.size() <= kNamePartBytesMax && part.front() != '.' &&
         std::all_of(part.begin(), part.end(), valid_char);
}

Result<BlobName> parse_name(std::string_view name) {
  const std::size_t slash = name.find('/');
  if (slash != std::string_view::npos) {
    const std::string_view folder = name.substr(0, slash);
    const std::string_view file = name.substr(slash + 1);
    if (valid_name_part(folder) && valid_name_part(file)) {
      return BlobName{std::string(folder), std::string(file)};
    }
  }
  return refused("not a blob name (folder/file", name);
}

Status check_folder(std::string_view folder) {
  if (!valid_name_part(folder)) return refused("not a folder of blobs (one", folder);
  return {};
}

}  // namespace tokvault
