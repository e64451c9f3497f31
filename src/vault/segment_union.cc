#include "vault/segment_union.h"

#include "base/bytes.h"
#include "format/pack.h"

namespace tokvault {

Status SegmentUnion::add(std::shared_ptr<const Source> source, const Visit& visit) {
  static_assert(kSharedSize == kSharedCodeBytes);
  TOKVAULT_ASSIGN(const auto tables, source->tables());
  auto& ids = ids_[source.get()];
  Scratch scratch;
  std::vector<Token> tokens;
  for (const Stream stream : {kTokenStream, kByteStream}) {
    ids[stream].reserve(tables->segment_counts[stream]);
    for (std::uint32_t number = 0; number < tables->segment_counts[stream]; ++number) {
      TOKVAULT_ASSIGN(const ByteView code, source->code(stream, number, scratch));
      tokens.clear();
      TOKVAULT_ASSIGN(const ShortDigest digest, segment_digest(*source, stream, code, tokens));
      std::uint32_t& slot = slot_of(stream, digest);
      if (slot == 0) {
        const std::size_t size = stream == kTokenStream ? tokens.size() : code.size();
        segments_[stream].push_back(
            {source.get(), number, static_cast<std::uint32_t>(size), digest, 0});
        slot = static_cast<std::uint32_t>(segments_[stream].size());
        if (visit) TOKVAULT_TRY(visit(stream, slot - 1, tokens, code));
      }
      ids[stream].push_back(slot - 1);
    }
  }
  sources_.push_back(std::move(source));
  return {};
}

// Open addressing; the digest is its own hash.
std::uint32_t& SegmentUnion::slot_of(Stream stream, const ShortDigest& digest) {
  if (segments_[stream].size() * 2 >= slots_[stream].size()) grow(stream);
  auto& slots = slots_[stream];
  const auto* bytes = reinterpret_cast<const char*>(digest.data());
  for (std::size_t at = load_le<std::uint64_t>(bytes);; ++at) {
    std::uint32_t& slot = slots[at & (slots.size() - 1)];
    if (slot == 0 || segments_[stream][slot - 1].digest == digest) return slot;
  }
}

void SegmentUnion::grow(Stream stream) {
  slots_[stream].assign(std::max<std::size_t>(1024, slots_[stream].size() * 2), 0);
  auto& slots = slots_[stream];
  for (std::size_t i = 0; i < segments_[stream].size(); ++i) {
    const auto* bytes = reinterpret_cast<const char*>(segments_[stream][i].digest.data());
    std::size_t at = load_le<std::uint64_t>(bytes);
    while (slots[at & (slots.size() - 1)] != 0) ++at;
    slots[at & (slots.size() - 1)] = static_cast<std::uint32_t>(i + 1);
  }
}

std::optional<std::uint32_t> SegmentUnion::find(Stream stream, const ShortDigest& digest) const {
  const auto& slots = slots_[stream];
  if (slots.empty()) return std::nullopt;
  for (std::size_t at = load_le<std::uint64_t>(reinterpret_cast<const char*>(digest.data()));;
       ++at) {
    const std::uint32_t slot = slots[at & (slots.size() - 1)];
    if (slot == 0) return std::nullopt;
    if (segments_[stream][slot - 1].digest == digest) return slot - 1;
  }
}

void SegmentUnion::release(std::uint64_t first, std::uint64_t last) {
  for (auto& segments : segments_) {
    for (Segment& s : segments) {
      if (s.home >= first && s.home <= last) s.home = 0;
    }
  }
}

}  // namespace tokvault
