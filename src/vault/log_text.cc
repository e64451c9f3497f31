#include "vault/log_text.h"

#include <utility>

namespace tokvault {
namespace {

// What decodes takes memory for 16 MB, and holds pages of it for what it has decoded. The rest of
// so short a text takes less.
constexpr std::uint64_t kShortBytes = 1u << 20;

}  // namespace

std::uint32_t LogText::add(Encoded encoded) {
  std::lock_guard lock(mutex_);
  is_ended_ = false;
  encoded_bytes_ += encoded.size;
  pieces_.push_back({nullptr, std::move(encoded)});
  return static_cast<std::uint32_t>(pieces_.size() - 1);
}

std::uint32_t LogText::add(Buffer text) {
  std::lock_guard lock(mutex_);
  pieces_.push_back({std::make_shared<const Buffer>(std::move(text)), {}});
  return static_cast<std::uint32_t>(pieces_.size() - 1);
}

void LogText::end() {
  std::lock_guard lock(mutex_);
  is_ended_ = true;
  drop_decoder();
}

void LogText::drop_decoder() const {
  if (error_ || (is_ended_ && decoded_ == pieces_.size())) decoder_.reset();
}

Status LogText::decode(std::size_t end) const {
  for (; decoded_ < end; ++decoded_) {
    if (error_) return error_->clone();
    Piece& piece = pieces_[decoded_];
    if (piece.text) continue;
    const Encoded& e = piece.encoded;
    auto text = [&]() -> Result<Buffer> {
      if (e.begins_frame && e.dictionary) {
        TOKVAULT_ASSIGN(decoder_,
                        StreamDecoder::make(e.dictionary->content, PrefixKind::dictionary));
      } else if (e.begins_frame) {
        Buffer prefix;
        for (std::size_t i = 0; i < decoded_; ++i) prefix += *pieces_[i].text;
        TOKVAULT_ASSIGN(decoder_, StreamDecoder::make(prefix));
      }
      if (!decoder_) return Error(Errc::corrupt, "its text does not begin with a frame");
      Buffer out;
      TOKVAULT_TRY(decoder_->read(e.piece, e.size, out));
      return out;
    }();
    if (!text) {
      error_ = std::move(text).error();
      return error_->clone();
    }
    piece.text = std::make_shared<const Buffer>(std::move(*text));
    piece.encoded = {};
  }
  return {};
}

Result<ByteView> LogText::piece(std::uint32_t number) const {
  std::lock_guard lock(mutex_);
  TOKVAULT_TRY(decode(number + std::size_t{1}));
  if (is_ended_ && encoded_bytes_ <= kShortBytes) (void)decode(pieces_.size());  // keeps its error
  drop_decoder();
  return ByteView(*pieces_[number].text);
}

Result<Buffer> LogText::join() const {
  std::lock_guard lock(mutex_);
  TOKVAULT_TRY(decode(pieces_.size()));
  Buffer out;
  for (const Piece& piece : pieces_) out += *piece.text;
  return out;
}

}  // namespace tokvault
