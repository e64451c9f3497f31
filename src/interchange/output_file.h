// A file that appears in its place when it is whole.
#ifndef TOKVAULT_INTERCHANGE_OUTPUT_FILE_H_
#define TOKVAULT_INTERCHANGE_OUTPUT_FILE_H_

#include <string>

#include "base/file.h"

struct stat;

namespace tokvault {

// Threads: one at a time.
class OutputFile {
 public:
  // "-" is standard output; it, a device and a pipe are written to as they are.
  static Result<OutputFile> open(const std::string& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  // Without publish() nothing remains, and what stood there before stays.
  ~OutputFile();

  Status write(ByteView bytes);
  // Makes the file durable, under its name.
  Status publish();

 private:
  OutputFile() = default;
  Status make_new(const struct stat* replaced);
  Status move_to_its_place();
  Status name_it();

  File file_;
  std::string given_;           // what the caller calls it
  std::string path_;            // without symbolic links; empty: it is where it belongs
  std::string temporary_path_;  // beside it
  bool is_named_ = false;       // it lies there already
};

}  // namespace tokvault

#endif  // TOKVAULT_INTERCHANGE_OUTPUT_FILE_H_
