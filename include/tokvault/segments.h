// Segments by themselves: runs of tokens, or of bytes, that a vault keeps for whoever *holds* them,
// beside those of its conversations.
//
// A segment of a tenant is stored once, whether it was put by itself, stands in conversations, or
// both. There is no count of references that could drift: a hold is a record of one name's claim
// (the *holder*), so that putting, holding and releasing are the same however often they are tried
// again, and the conversations that have a segment are those whose messages name it. A segment is
// there as long as somebody holds it or a conversation that can be read has it; what neither is
// left of is garbage, which gc() erases.
//
// Only segments of at least kSegmentSharedSize tokens (or bytes) are shared: a shorter one costs
// less than to find it. It is there as long as it is held, whatever stands in conversations.
#ifndef TOKVAULT_SEGMENTS_H_
#define TOKVAULT_SEGMENTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

inline constexpr std::uint64_t kSegmentSharedSize = 96;

enum class SegmentKind : std::uint8_t { tokens = 0, bytes = 1 };

// What a segment is called: the SHA-256 of its tokens as little-endian u32, or of its bytes. A run
// of bytes that spells tokens is another segment than these tokens.
struct SegmentId {
  SegmentKind kind = SegmentKind::tokens;
  Digest sha256{};
  auto operator<=>(const SegmentId&) const = default;
  // "tokens:" or "bytes:" and 64 hexadecimal digits.
  std::string to_string() const;
};
// The other way round; `invalid` if it is none.
Result<SegmentId> parse_segment_id(std::string_view text);

struct Segment {
  SegmentKind kind = SegmentKind::tokens;
  std::vector<Token> tokens{};  // of kind tokens; any u32
  Buffer bytes{};               // of kind bytes
  bool operator==(const Segment&) const = default;

  static Segment of_tokens(TokenView tokens);
  static Segment of_bytes(ByteView bytes);
  SegmentId id() const;
  // In tokens, or in bytes.
  std::uint64_t size() const { return kind == SegmentKind::tokens ? tokens.size() : bytes.size(); }
};

struct HoldOptions {
  std::string tenant{};  // empty: the default tenant
  std::string holder{};  // text, up to 255 bytes; the empty name is one, too
};

// What became of one segment that was put.
struct SegmentPut {
  enum class Outcome : std::uint8_t {
    stored,     // it was not there
    held,       // it was there, and this holder did not hold it
    unchanged,  // this holder held it
  };
  SegmentId id;
  Outcome outcome = Outcome::stored;
};

struct SegmentInfo {
  SegmentId id;
  std::uint64_t size = 0;            // in tokens, or in bytes
  std::vector<std::string> holders;  // in order
  std::uint64_t conversations = 0;   // that can be read and have it; segment_info() counts them
};

struct SegmentFilter {
  enum class Which : std::uint8_t {
    held,     // by somebody
    garbage,  // copies of what nobody holds and no conversation has: gc() erases them
  };
  Which which = Which::held;
  std::string tenant{};                 // empty: the default tenant
  std::optional<std::string> holder{};  // of held ones: only what this one holds
};

struct SegmentPage {
  std::vector<SegmentInfo> segments;
  std::string cursor;  // hand it to the next call; empty at the end
};

}  // namespace tokvault

#endif  // TOKVAULT_SEGMENTS_H_
