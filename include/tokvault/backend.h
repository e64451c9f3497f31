// Backend: where the bytes of a vault or checkpoint store are kept, as named blobs.
//
// All durability rests on this contract; tests/conformance runs it against every backend, and a
// backend of your own can run the same suite (docs/testing.md).
#ifndef TOKVAULT_BACKEND_H_
#define TOKVAULT_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// What a backend can do beyond the minimum.
struct Capabilities {
  bool append = false;      // append() and truncate() work
  bool range_read = true;   // get() of a part costs about that part
  bool strong_list = true;  // list() sees every finished put
  std::uint64_t blob_bytes_max = ~std::uint64_t{0};
};

struct BlobInfo {
  std::string name;
  std::uint64_t size_bytes = 0;
};

// Held by the one process that may write. Released by the destructor, and by the operating system
// when the process dies.
class WriterLock {
 public:
  virtual ~WriterLock() = default;
};

// Named blobs. A name is a relative path of one folder and one file: "packs/00000001.pack", made of
// [A-Za-z0-9._-], neither part over 200 bytes or beginning with a dot; other names are `invalid`.
// Folders need not be made. A name that was removed may be put again, but a reader in another
// process may see the old bytes for a while: the engine never does it.
//
// Threads: all methods may be called from any thread at once, except that appends to one name must
// not race with each other.
// Lifetime: whoever opens a vault hands it over; locks and holds that it gives out must go first.
class Backend {
 public:
  virtual ~Backend() = default;

  // Stores a new blob, all or nothing: after success every reader sees all of it and it survives
  // power loss; after failure or crash nobody sees part of it. `exists` if the name is there with
  // other bytes; the same bytes succeed.
  virtual Status put(std::string_view name, ByteView bytes) = 0;

  // Reads exactly `size` bytes from `offset` into `out`; `corrupt` if the blob is shorter than
  // that, never a short read. `not_found`, with a code of the system, if there is no such blob.
  virtual Status get(std::string_view name, std::uint64_t offset, std::uint64_t size,
                     Buffer& out) const = 0;

  // Adds bytes to the end of a blob, creating it where absent. Durable only after sync().
  // `unsupported` without capabilities().append. After a failed append the end of the blob is
  // unknown: size() and truncate() it, or give up the blob.
  virtual Status append(std::string_view name, ByteView bytes) = 0;

  // Cuts an appended blob to `size` bytes, durably; `invalid` if it is shorter than that.
  virtual Status truncate(std::string_view name, std::uint64_t size) = 0;

  // When it returns, every earlier append to `name` survives power loss. After a failed sync the
  // blob must be given up for writing: later syncs of it may go on failing.
  virtual Status sync(std::string_view name) = 0;

  // The size of a blob, or `not_found` as of get(). An appended blob grows between two calls.
  virtual Result<std::uint64_t> size(std::string_view name) const = 0;

  // Every blob of a folder ("packs") whose put finished before the call, ordered by name.
  // Leftovers of interrupted puts are not blobs and are not listed. A folder in which nothing was
  // put is empty.
  virtual Result<std::vector<BlobInfo>> list(std::string_view folder) const = 0;

  // Absent afterwards, durably; removing what is absent succeeds.
  virtual Status remove(std::string_view name) = 0;

  // Keeps a blob for reading: as long as what it returns lives, get() of this handle reads the blob
  // even after it was removed, though it takes room until then. `not_found` if it is not there.
  // Null, which is what a backend answers that does not do this, if it cannot or not now: then
  // a removed blob is gone.
  virtual Result<std::shared_ptr<const void>> hold(std::string_view name) const {
    (void)name;
    return std::shared_ptr<const void>();
  }

  // Removes leftovers of interrupted puts. Only the holder of the writer lock calls it.
  virtual Result<std::uint64_t> sweep() = 0;

  // Takes the writer lock, or fails with `busy` and a message that names the holder. It also
  // excludes other handles of this process. A child that is forked while it is held holds it too.
  virtual Result<std::unique_ptr<WriterLock>> lock_writer() = 0;

  // Every byte under the backend, leftovers and lock included.
  virtual Result<std::uint64_t> total_bytes() const = 0;

  virtual Capabilities capabilities() const = 0;
};

// Blobs in memory, for tests and for vaults that need not last: with make_memory_catalog() for
// Vault::create() and Vault::open(), which takes both over.
std::unique_ptr<Backend> make_memory_backend();

struct DirectoryOptions {
  bool create = false;     // make the directory if it is absent
  bool read_only = false;  // never write, not even a lock
};
// Blobs as files under one directory. Appends and puts are durable by fdatasync, and renames by
// fsync of the folder. `not_found` if the directory is absent and create is false.
Result<std::unique_ptr<Backend>> make_directory_backend(const std::string& path,
                                                        const DirectoryOptions& options);

}  // namespace tokvault

#endif  // TOKVAULT_BACKEND_H_
