// Blob names: one folder and one file, nothing that a file system could read as more than that.
#ifndef TOKVAULT_STORAGE_NAME_H_
#define TOKVAULT_STORAGE_NAME_H_

#include <string>
#include <string_view>

#include "tokvault/result.h"

namespace tokvault {

// Of a folder or of a file. File systems take 255 bytes; the rest is for the temporary name of a
// put, which holds the name.
inline constexpr std::size_t kNamePartBytesMax = 200;

struct BlobName {
  std::string folder;
  std::string file;
};

// `invalid` unless the name is FOLDER/FILE, each of [A-Za-z0-9._-], not beginning with a dot.
Result<BlobName> parse_name(std::string_view name);
// `invalid` unless it can be the folder of a name.
Status check_folder(std::string_view folder);
// Whether it can be a folder or a file of a name.
bool valid_name_part(std::string_view part);

}  // namespace tokvault

#endif  // TOKVAULT_STORAGE_NAME_H_
