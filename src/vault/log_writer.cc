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
  if (it == contexts_.end()) {
    // A process that opens the log again goes on with the tenant's last section.
    const auto& sections = log_.sections();
    for (std::size_t i = sections.size(); i-- > 0;) {
      if (sections[i].tenant != tenant) continue;
      if (sections[i].text_bytes >= kSectionTextBytes) break;
      Buffer prefix;
      for (const auto& body : sections[i].bodies) prefix += *body;
      Context c;
      c.section = static_cast<std::uint32_t>(i);
      c.text_bytes = sections[i].text_bytes;
      TOKVAULT_ASSIGN(c.frames, make_frames(prefix, nullptr));
      flags = kNewFrame;
      it = contexts_.emplace(tenant, std::move(c)).first;
      break;
    }
  }
  if (it == contexts_.end() || !it->second.frames || it->second.text_bytes >= kSectionTextBytes) {
    Context c;
    c.section = new_section();
    sections_ = c.section + 1;
    TOKVAULT_ASSIGN(c.frames, make_frames("", nullptr));
    flags = kNewSection | kNewFrame;
    it = contexts_.insert_or_assign(tenant, std::move(c)).first;
  }
  // What is given up leaves its context, which says that the section was this process's: taken up
  // again each time that its tenant comes back, all of it would be a prefix each time.
  std::size_t count = 0;
  Context* oldest = nullptr;
  for (auto& [number, c] : contexts_) {
    if (!c.frames) continue;
    ++count;
    if (number != tenant && (oldest == nullptr || c.last_used < oldest->last_used)) oldest = &c;
  }
  if (count > kContextsMax) oldest->frames = Frames();
  it->second.last_used = ++clock_;
  return &it->second;
}

std::uint32_t LogWriter::new_section() const {
  return std::max(sections_, static_cast<std::uint32_t>(log_.sections().size()));
}

Result<LogWriter::Frames> LogWriter::make_frames(ByteView prefix,
                                                 std::shared_ptr<const Artifact> dictionary) const {
  Frames frames;
  if (dictionary) {
    TOKVAULT_ASSIGN(frames.body, StreamEncoder::make(stream_level(level_), dictionary->content,
                                                     PrefixKind::dictionary));
    frames.dictionary = std::move(dictionary);
  } else {
    TOKVAULT_ASSIGN(frames.body, StreamEncoder::make(stream_level(level_), prefix));
  }
  return frames;
}

Status LogWriter::prepare_text(Frames& frames, std::uint32_t section) const {
  if (frames.text) return {};
  if (frames.dictionary) {
    TOKVAULT_ASSIGN(frames.text,
                    StreamEncoder::make(stream_level(level_), frames.dictionary->content,
                                        PrefixKind::dictionary));
    return {};
  }
  // No batch of this process has text in the section: what is there is all there is.
  Buffer prefix;
  const auto& sections = log_.sections();
  if (section < sections.size()) {
    TOKVAULT_ASSIGN(prefix, sections[section].text->join());
  }
  TOKVAULT_ASSIGN(frames.text, StreamEncoder::make(stream_level(level_), prefix));
  return {};
}

Status LogWriter::write(Frames& frames, ByteView body, ByteView text, bool flush,
                        Pieces& out) const {
  TOKVAULT_TRY(frames.body->write(body, flush, out.body));
  if ((header_.flags & kTextApart) != 0) TOKVAULT_TRY(frames.text->write(text, flush, out.text));
  return {};
}

Status LogWriter::begin_rival(std::uint32_t tenant) {
  rival_ = {};
  if (!find_dictionary_) return {};
  const auto dictionary = find_dictionary_(tenant);
  if (!dictionary || dictionary->number == current_->tried) return {};
  current_->tried = dictionary->number;
  if (current_->text_bytes >= dictionary->content.size()) return {};
  TOKVAULT_ASSIGN(rival_.frames, make_frames("", dictionary));
  if ((header_.flags & kTextApart) == 0) return {};
  return prepare_text(rival_.frames, header_.section);
}

Status LogWriter::decide() {
  TOKVAULT_TRY(write(current_->frames, "", "", true, pieces_));
  TOKVAULT_TRY(write(rival_.frames, "", "", true, rival_.pieces));
  // The number of the artifact goes in front, in a byte or a few.
  if (rival_.pieces.size() + 2 < pieces_.size()) {
    if ((header_.flags & kNewSection) == 0) {
      current_->section = new_section();
      sections_ = current_->section + 1;
    }
    current_->text_bytes = 0;
    current_->frames = std::move(rival_.frames);
    pieces_ = std::move(rival_.pieces);
    header_.section = current_->section;
    header_.flags |= kNewSection | kNewFrame;
    header_.dictionary = current_->frames.dictionary->number;
  }
  rival_ = {};
  return {};
}

Status LogWriter::begin(std::uint32_t tenant, std::uint64_t sequence, bool text_apart) {
  header_ = {};
  TOKVAULT_ASSIGN(current_, context(tenant, header_.flags));
  header_.tenant = tenant;
  header_.section = current_->section;
  header_.sequence = sequence;
  body_size_ = 0;
  text_size_ = 0;
  pieces_ = {};
  if (text_apart) {
    header_.flags |= kTextApart;
    TOKVAULT_TRY(prepare_text(current_->frames, header_.section));
  }
  return begin_rival(tenant);
}

Status LogWriter::add(ByteView body, ByteView text) {
  body_size_ += body.size();
  text_size_ += text.size();
  TOKVAULT_TRY(write(current_->frames, body, text, false, pieces_));
  if (!rival_.frames) return {};
  TOKVAULT_TRY(write(rival_.frames, body, text, false, rival_.pieces));
  return body_size_ + text_size_ < kDecideBytes ? Status() : decide();
}

Result<Buffer> LogWriter::finish(std::uint64_t offset, bool same_sync, const BatchBuilder& builder,
                                 BatchHeader& header) {
  if (rival_.frames) {
    TOKVAULT_TRY(decide());
  } else {
    TOKVAULT_TRY(write(current_->frames, "", "", true, pieces_));
  }
  Buffer payload;
  header_.flags |= kGuarded;
  header_.conversations = static_cast<std::uint16_t>(
      std::min<std::uint64_t>(builder.conversation_count(), kManyConversations));
  if (!builder.changes().empty()) {
    header_.flags |= kChanges;
    payload = encode_changes(builder.changes(), log_.number(), offset);
  }
  if (header_.dictionary != 0) {
    header_.flags |= kDictionary;
    append_varint(payload, header_.dictionary);
  }
  header_.text_size = static_cast<std::uint32_t>(text_size_);
  if ((header_.flags & kTextApart) != 0) {
    payload += encode_pieces({pieces_.body, pieces_.text}, header_.text_size);
  } else {
    payload += pieces_.body;
  }
  if (body_size_ > 0xffffffffu || text_size_ > 0xffffffffu ||
      offset + kBatchHeaderBytes + payload.size() > kLogBytesMax) {
    return Error(Errc::exhausted, "with this batch the log is larger than 4 GB");
  }
  current_->text_bytes += body_size_ + text_size_;
  header_.body_size = static_cast<std::uint32_t>(body_size_);
  if (same_sync) header_.flags |= kSameSync;
  header = header_;
  current_ = nullptr;
  return encode_batch(header, payload, log_.number(), offset);
}

}  // namespace tokvault
