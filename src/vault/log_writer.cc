#include "vault/log_writer.h"

#include <algorithm>

#include "base/bytes.h"

namespace tokvault {
namespace {

// So much of a batch says whether a dictionary helps.
constexpr std::uint64_t kDecideBytes = 128u << 10;

// Levels of zstd for the log: `fast` keeps pace with tokenising, `balanced` takes about as long.
int stream_level(Level level) {
  return level == Level::fast ? 3 : level == Level::balanced ? 6 : 9;
}

}  // namespace

Result<LogWriter::Context*> LogWriter::context(std::uint32_t tenant, std::uint8_t& flags) {
  flags = 0;
  auto it = contexts_.find(tenant);
  if (it != contexts_.end() && it->second.text_bytes >= kSectionTextBytes) {
    contexts_.erase(it);
    it = contexts_.end();
  } else if (it == contexts_.end()) {
    // A process that opens the log again goes on with the tenant's last section.
    const auto& sections = log_.sections();
    for (std::size_t i = sections.size(); i-- > 0;) {
      if (sections[i].tenant != tenant) continue;
      if (sections[i].text_bytes >= kSectionTextBytes || i < sections_) break;
      Buffer prefix;
      for (const auto& body : sections[i].bodies) prefix += *body;
      Context c;
      c.section = static_cast<std::uint32_t>(i);
      c.text_bytes = prefix.size();
      TOKVAULT_ASSIGN(c.encoder, StreamEncoder::make(stream_level(level_), prefix));
      flags = kNewFrame;
      it = contexts_.emplace(tenant, std::move(c)).first;
      break;
    }
  }
  if (it == contexts_.end()) {
    Context c;
    c.section = new_section();
    sections_ = c.section + 1;
    TOKVAULT_ASSIGN(c.encoder, StreamEncoder::make(stream_level(level_), ""));
    flags = kNewSection | kNewFrame;
    it = contexts_.emplace(tenant, std::move(c)).first;
  }
  while (contexts_.size() > kContextsMax) {
    auto oldest = contexts_.end();
    for (auto c = contexts_.begin(); c != contexts_.end(); ++c) {
      if (c == it) continue;
      if (oldest == contexts_.end() || c->second.last_used < oldest->second.last_used) oldest = c;
    }
    contexts_.erase(oldest);
  }
  it->second.last_used = ++clock_;
  return &it->second;
}

std::uint32_t LogWriter::new_section() const {
  return std::max(sections_, static_cast<std::uint32_t>(log_.sections().size()));
}

Status LogWriter::begin_rival(std::uint32_t tenant) {
  rival_ = {};
  if (!find_dictionary_) return {};
  const auto dictionary = find_dictionary_(tenant);
  if (!dictionary || dictionary->number == current_->tried) return {};
  current_->tried = dictionary->number;
  if (current_->text_bytes >= dictionary->content.size()) return {};
  rival_.dictionary = dictionary->number;
  TOKVAULT_ASSIGN(rival_.encoder, StreamEncoder::make(stream_level(level_), dictionary->content,
                                                      PrefixKind::dictionary));
  return {};
}

Status LogWriter::decide() {
  TOKVAULT_TRY(current_->encoder->write("", true, payload_));
  TOKVAULT_TRY(rival_.encoder->write("", true, rival_.payload));
  // The number of the artifact goes in front, in a byte or a few.
  if (rival_.payload.size() + 2 < payload_.size()) {
    if ((header_.flags & kNewSection) == 0) {
      current_->section = new_section();
      sections_ = current_->section + 1;
    }
    current_->text_bytes = 0;
    current_->encoder = std::move(rival_.encoder);
    payload_ = std::move(rival_.payload);
    header_.section = current_->section;
    header_.flags = kNewSection | kNewFrame;
    header_.dictionary = rival_.dictionary;
  }
  rival_ = {};
  return {};
}

Status LogWriter::begin(std::uint32_t tenant, std::uint64_t sequence) {
  header_ = {};
  TOKVAULT_ASSIGN(current_, context(tenant, header_.flags));
  header_.tenant = tenant;
  header_.section = current_->section;
  header_.sequence = sequence;
  body_size_ = 0;
  payload_.clear();
  return begin_rival(tenant);
}

Status LogWriter::add(ByteView piece) {
  body_size_ += piece.size();
  TOKVAULT_TRY(current_->encoder->write(piece, false, payload_));
  if (!rival_.encoder) return {};
  TOKVAULT_TRY(rival_.encoder->write(piece, false, rival_.payload));
  return body_size_ < kDecideBytes ? Status() : decide();
}

Result<Buffer> LogWriter::finish(std::uint64_t offset, bool same_sync, const BatchBuilder& builder,
                                 BatchHeader& header) {
  if (rival_.encoder) {
    TOKVAULT_TRY(decide());
  } else {
    TOKVAULT_TRY(current_->encoder->write("", true, payload_));
  }
  Buffer front;
  header_.flags |= kGuarded;
  header_.conversations = static_cast<std::uint16_t>(
      std::min<std::uint64_t>(builder.conversation_count(), kManyConversations));
  if (!builder.changes().empty()) {
    header_.flags |= kChanges;
    front = encode_changes(builder.changes(), log_.number(), offset);
  }
  if (header_.dictionary != 0) {
    header_.flags |= kDictionary;
    append_varint(front, header_.dictionary);
  }
  payload_.insert(0, front);
  if (body_size_ > 0xffffffffu || payload_.size() > 0xffffffffu) {
    return Error(Errc::exhausted, "a batch of the log is larger than 4 GB");
  }
  current_->text_bytes += body_size_;
  header_.body_size = static_cast<std::uint32_t>(body_size_);
  if (same_sync) header_.flags |= kSameSync;
  header = header_;
  current_ = nullptr;
  return encode_batch(header, payload_, log_.number(), offset);
}

void LogWriter::abandon() {
  if (current_ != nullptr) contexts_.erase(header_.tenant);
  current_ = nullptr;
  rival_ = {};
  // The section that was begun is not in the log: its number is free again.
  sections_ = static_cast<std::uint32_t>(log_.sections().size());
}

}  // namespace tokvault
