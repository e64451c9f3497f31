// Between a directory of KVC files and a checkpoint store. A file becomes a state: its text and
// payload as they are, its header and trailer as the state's meta, so that export writes the same
// bytes.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/checksum.h"
#include "base/file.h"
#include "checkpoint/disk.h"
#include "tokvault/checkpoint.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 36;

}  // namespace

Result<KvcTransfer> import_kvc(CheckpointStore& store, const Namespace& name_space,
                               const std::string& directory) {
  DIR* dir = ::opendir(directory.c_str());
  if (dir == nullptr) return errno_error(errno, "open " + directory);
  std::vector<std::string> names;
  while (const dirent* item = ::readdir(dir)) {
    const std::string_view name = item->d_name;
    if (name.ends_with(".kv")) names.emplace_back(name);
  }
  ::closedir(dir);
  std::sort(names.begin(), names.end());
  KvcTransfer done;
  for (const std::string& name : names) {
    auto bytes = read_file(directory + "/" + name, kFileBytesMax);
    auto file = bytes ? kvc_decode(*bytes) : Result<KvcFile>(std::move(bytes).error());
    if (!file || file->text.empty() || file->payload.empty()) {
      ++done.bad;
      continue;
    }
    CheckpointState state;
    state.text = std::move(file->text);
    state.meta = kvc_encode_header(file->header) + file->trailer;
    Buffer stored;
    auto old = store.find_state_text(name_space, state.text, nullptr);
    if (old && old->text == state.text && old->meta == state.meta) {
      old = store.find_state_text(name_space, state.text, &stored);
    }
    if (old && old->text == state.text && old->meta == state.meta && stored == file->payload) {
      ++done.skipped;
      continue;
    }
    auto status = store.put_state(name_space, state, file->payload);
    if (!status && status.code() != Errc::exhausted) return status.error().clone();
    ++(status ? done.files : done.refused);
  }
  TOKVAULT_TRY(store.flush());
  return done;
}

Result<KvcTransfer> export_kvc(CheckpointStore& store, const Namespace& name_space,
                               const std::string& directory) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return errno_error(errno, "create " + directory);
  }
  KvcTransfer done;
  const auto write_file = [&](const CheckpointState& state, ByteView payload) -> Status {
    auto header = kvc_decode_header(state.meta);
    if (!header || state.text.empty()) {
      ++done.skipped;
      return {};
    }
    KvcFile file;
    file.header = *header;
    file.text = state.text;
    file.payload = payload;
    file.trailer = state.meta.substr(kKvcHeaderBytes);
    TOKVAULT_ASSIGN(const Buffer bytes, kvc_encode(file));
    const std::string path = directory + "/" + kvc_key(state.text) + ".kv";
    const auto write = [&]() -> Status {
      TOKVAULT_ASSIGN(const auto out,
                      checkpoint::disk_open(path + ".tmp", O_WRONLY | O_CREAT | O_TRUNC));
      const ByteView parts[] = {bytes};
      TOKVAULT_TRY(checkpoint::disk_write(*out, 0, parts));
      TOKVAULT_TRY(checkpoint::disk_sync(*out));
      return checkpoint::disk_rename(path + ".tmp", path);
    };
    auto status = write();
    if (!status) {
      static_cast<void>(::unlink((path + ".tmp").c_str()));
      return status;
    }
    ++done.files;
    return {};
  };
  TOKVAULT_TRY(store.visit_states(name_space, write_file));
  TOKVAULT_TRY(sync_folder(directory));
  return done;
}

}  // namespace tokvault
