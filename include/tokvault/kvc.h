// KVC v1: one KV-cache state a file, named by the SHA-1 of its rendered text.
//
// The format is another engine's (docs/format/kvc.md); it is read and written exactly here, unknown
// values and trailers included. KvcCache serves a directory of such files as it is; to put many of
// them under one budget without a file each, import them into a CheckpointStore.
#ifndef TOKVAULT_KVC_H_
#define TOKVAULT_KVC_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

inline constexpr std::size_t kKvcHeaderBytes = 48;
inline constexpr std::uint64_t kKvcBudgetBytesMin = 64ull << 20;

// Why a state was saved. Part of the format; a file may hold a value that is not listed, and keeps
// it.
enum class KvcReason : std::uint8_t {
  unknown = 0,
  cold = 1,
  continued = 2,
  evict = 3,
  shutdown = 4,
  agent_system = 5,
  agent_session = 6,
};

// Bits of KvcHeader::ext_flags.
inline constexpr std::uint8_t kKvcToolMap = 1;              // a tool map follows the payload
inline constexpr std::uint8_t kKvcResponsesVisibleKey = 2;  // the text is what a client can replay
inline constexpr std::uint8_t kKvcThinkingVisibleKey = 4;

// The fixed header. Reserved fields are kept as they were read.
struct KvcHeader {
  std::uint8_t quant_bits = 0;
  KvcReason reason = KvcReason::unknown;
  std::uint8_t ext_flags = 0;
  std::uint8_t reserved7 = 0;
  std::uint32_t token_count = 0;
  std::uint32_t hit_count = 0;
  std::uint32_t ctx_size = 0;
  std::uint32_t reserved20 = 0;
  std::uint64_t created_unix = 0;    // seconds
  std::uint64_t last_used_unix = 0;  // seconds
  std::uint64_t payload_bytes = 0;

  // A header for a new state, created now.
  static KvcHeader make(std::uint8_t quant_bits, KvcReason reason, std::uint32_t token_count,
                        std::uint32_t ctx_size);
  bool operator==(const KvcHeader&) const = default;
};

// A whole file. `trailer` is everything after the payload: the tool map where bit 0 of ext_flags is
// set, and any bytes that follow.
struct KvcFile {
  KvcHeader header;
  Buffer text;
  Buffer payload;
  Buffer trailer;
  bool operator==(const KvcFile&) const = default;
};

// One entry of the tool map: the text that the model wrote for a tool call.
struct KvcToolCall {
  std::string id;
  std::string text;
  bool operator==(const KvcToolCall&) const = default;
};

// `corrupt` if the magic is wrong, `unsupported` for another version.
Result<KvcHeader> kvc_decode_header(ByteView bytes);
Buffer kvc_encode_header(const KvcHeader& header);
// The whole file; `corrupt` names the field that does not fit. encode(decode(x)) == x.
Result<KvcFile> kvc_decode(ByteView bytes);
// Sets payload_bytes from the payload. `invalid` if the text has 4 GiB or more.
Result<Buffer> kvc_encode(const KvcFile& file);
// The tool map at the front of a trailer; `corrupt` if it is not one.
Result<std::vector<KvcToolCall>> kvc_decode_tools(ByteView trailer);
Buffer kvc_encode_tools(const std::vector<KvcToolCall>& tools);
// 40 lower-case hexadecimal digits of the SHA-1 of the text: a name for lookup, no proof of
// identity.
std::string kvc_key(ByteView rendered_text);

// What a KvcCache did and found.
struct KvcStats {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;            // of everything in the directory, leftovers and bad files too
  std::uint64_t leftovers_swept = 0;  // temporary files of dead writers
  std::uint64_t bad_files = 0;        // set aside as NAME.kv.bad
};

// A directory of KVC files, used in place.
//
// Threads: all methods from any thread at once. Processes: any number may share a directory; a file
// that another process replaced meanwhile is served as it is now, and never damaged by a touch.
// Lifetime: nothing that it returns points into it.
// Limits: a file is read into memory whole; one above the budget is bad.
class KvcCache {
 public:
  // Creates the directory if need be, reads every header once, and sweeps temporary files whose
  // writer is dead. The budget is budget_mb MiB, and at least 64 MiB.
  static Result<std::unique_ptr<KvcCache>> open(const std::string& directory,
                                                std::uint64_t budget_mb);
  ~KvcCache();

  const std::string& directory() const;
  std::uint64_t budget_bytes() const;
  // `invalid` unless the key is 40 lower-case hexadecimal digits.
  Result<std::string> path_for(std::string_view key) const;

  // Writes the file and makes it durable before its name appears. An existing file of that key is
  // replaced; its trailer is kept if the header's ext_flags ask for one and `trailer` is empty.
  // Does not evict: call evict_to_budget.
  Status save(std::string_view key, const KvcHeader& header, ByteView text, ByteView payload,
              ByteView trailer = {});
  // The file of a key, with its hit counted and its last use set; nothing if there is none, or if
  // it was bad: a bad file is renamed to NAME.kv.bad, so that it is not tried again.
  Result<std::optional<KvcFile>> load(std::string_view key);
  // As load(kvc_key(text)), and the stored text must equal `text`.
  Result<std::optional<KvcFile>> load_text(ByteView text);
  // The file whose text is the longest byte prefix of `prompt`; a bad file is set aside and the
  // next shorter one is tried. Opens no file but the candidates.
  Result<std::optional<KvcFile>> load_longest(ByteView prompt);
  // Counts a hit and sets the last use without reading the payload. `not_found` if there is no
  // file.
  Status touch(std::string_view key);
  // Removes bad files, then files by last use, oldest first, until the directory fits the budget.
  // Returns how many files went.
  Result<std::size_t> evict_to_budget();
  // The keys, most recently used first.
  std::vector<std::string> keys_by_recency() const;
  KvcStats stats() const;

 private:
  struct Impl;
  explicit KvcCache(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tokvault

#endif  // TOKVAULT_KVC_H_
