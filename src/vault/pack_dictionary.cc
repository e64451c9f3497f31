#include "vault/pack_dictionary.h"

#include <algorithm>
#include <utility>

#include "format/pack.h"

namespace tokvault {
namespace {

Error bad_ends() { return Error(Errc::corrupt, "its segments do not end where they should"); }

Status check_counts(std::uint64_t size, std::optional<std::uint64_t> segments) {
  if (size > 0xffffffffu) return Error(Errc::corrupt, "it is larger than any writer makes it");
  if (segments && *segments > size) return bad_ends();
  return {};
}

}  // namespace

PackDictionary::PackDictionary(std::unique_ptr<FrameReader> reader, std::uint64_t size, Buffer text,
                               std::unique_ptr<TokenModel> model,
                               std::optional<std::uint64_t> segments)
    : reader_(std::move(reader)),
      text_(std::move(text)),
      model_(std::move(model)),
      segments_(segments),
      data_(reader_ ? reader_->text().data() : text_.data()),
      size_(size),
      ends_(segments ? std::make_unique_for_overwrite<std::uint32_t[]>(*segments) : nullptr) {}

Result<std::shared_ptr<const PackDictionary>> PackDictionary::read(
    Buffer frame, std::uint64_t size, Buffer history, std::optional<std::uint64_t> segments) {
  TOKVAULT_TRY(check_counts(size, segments));
  TOKVAULT_ASSIGN(auto reader, FrameReader::make(std::move(frame), size, std::move(history)));
  return std::shared_ptr<const PackDictionary>(
      new PackDictionary(std::move(reader), size, {}, nullptr, segments));
}

Result<std::shared_ptr<const PackDictionary>> PackDictionary::make(
    Buffer text, std::unique_ptr<TokenModel> model, std::optional<std::uint64_t> segments) {
  const std::uint64_t size = text.size();
  TOKVAULT_TRY(check_counts(size, segments));
  std::shared_ptr<PackDictionary> out(
      new PackDictionary(nullptr, size, std::move(text), std::move(model), segments));
  TOKVAULT_TRY(out->take(out->text_, true));
  return std::shared_ptr<const PackDictionary>(std::move(out));
}

Result<ByteView> PackDictionary::segment(std::uint32_t number) const {
  if (number >= ends_found_.load(std::memory_order_acquire)) {
    std::lock_guard lock(mutex_);
    // With the last one, all of it, so that what stands behind it is found.
    const bool is_last = number + std::uint64_t{1} == *segments_;
    while (!is_whole() && (is_last || number >= ends_found_.load(std::memory_order_relaxed))) {
      const std::uint64_t there = there_.load(std::memory_order_relaxed);
      TOKVAULT_TRY(read_until(is_last ? size_ : std::min(size_, there + 1)));
    }
  }
  const std::uint32_t begin = number == 0 ? 0 : ends_[number - 1] + 1;
  return ByteView(data_ + begin, ends_[number] - begin);
}

Result<ByteView> PackDictionary::bytes(std::uint64_t offset, std::uint64_t size) const {
  if (offset > size_ || size > size_ - offset) return bad_ends();
  if (offset + size > there_.load(std::memory_order_acquire)) {
    std::lock_guard lock(mutex_);
    TOKVAULT_TRY(read_until(offset + size));
  }
  return ByteView(data_ + offset, size);
}

Status PackDictionary::decode_block(ByteView block, std::uint64_t size, Buffer& out) const {
  if (model_) return model_->decode_block(block, size, out);
  const BlockDecoder* decoder = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (!decoder_) {
      TOKVAULT_TRY(read_until(size_));
      TOKVAULT_ASSIGN(decoder_, BlockDecoder::make({data_, size_}));
    }
    decoder = decoder_.get();
  }
  return decoder->decode(block, size, out);
}

Status PackDictionary::read_until(std::uint64_t bytes) const {
  if (is_whole()) return {};
  TOKVAULT_TRY(reader_->read_until(bytes));
  return take(reader_->text(), reader_->is_whole());
}

// Makes known what is there, and the ends in what is new of it.
Status PackDictionary::take(ByteView text, bool is_whole) const {
  if (segments_) {
    std::uint64_t found = ends_found_.load(std::memory_order_relaxed);
    std::uint64_t at = there_.load(std::memory_order_relaxed);
    for (; found < *segments_ && (at = text.find(kSegmentEnd, at)) != ByteView::npos; ++at) {
      ends_[found++] = static_cast<std::uint32_t>(at);
    }
    const std::uint64_t used = found == 0 ? 0 : std::uint64_t{ends_[found - 1]} + 1;
    if (found == *segments_ ? text.size() > used : is_whole) return bad_ends();
    ends_found_.store(found, std::memory_order_release);
  }
  there_.store(text.size(), std::memory_order_release);
  if (is_whole) is_whole_.store(true, std::memory_order_release);
  return {};
}

std::uint64_t PackDictionary::memory_bytes() const {
  std::lock_guard lock(mutex_);
  return (reader_ ? reader_->memory_bytes() : text_.size()) +
         (model_ ? model_->memory_bytes() : 0) + segments_.value_or(0) * sizeof(std::uint32_t) +
         sizeof *this;
}

}  // namespace tokvault
