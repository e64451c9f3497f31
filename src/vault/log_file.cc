#include "vault/log_file.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/checksum.h"
#include "vault/artifacts.h"

namespace tokvault {
namespace {

// More than a log ever holds: 16 MB and one batch; a bound on what a damaged size may allocate.
constexpr std::uint64_t kHeaderReadBytes = 64 * 1024;

Buffer join(const std::vector<std::shared_ptr<const Buffer>>& bodies) {
  Buffer out;
  for (const auto& b : bodies) out += *b;
  return out;
}

}  // namespace

// --- LogPart -----------------------------------------------------------------------------------

LogPart::LogPart(std::uint64_t file, std::uint32_t tenant) : file_(file), tenant_(tenant) {}

// Digests are found and tokens counted again when they are asked for.
LogPart::LogPart(const LogPart& other)
    : Source(other),
      BatchVisitor(other),
      file_(other.file_),
      tenant_(other.tenant_),
      tenant_key_(other.tenant_key_),
      tables_(other.tables_),
      counts_(other.counts_),
      range_(other.range_),
      ids_(other.ids_),
      size_bytes_(other.size_bytes_),
      frames_(other.frames_),
      codes_(other.codes_),
      places_(other.places_) {}

std::size_t LogPart::DigestHash::operator()(const ShortDigest& d) const {
  return load_le<std::uint64_t>(reinterpret_cast<const char*>(d.data()));
}

Result<std::shared_ptr<const Tables>> LogPart::tables() const {
  return std::shared_ptr<const Tables>(std::shared_ptr<const void>(), &tables_);
}

Result<std::vector<std::uint32_t>> LogPart::rows_of(const IdHash& id) const {
  std::vector<std::uint32_t> rows;
  ids_.find(id, [&](std::uint32_t row) {
    if (hash_id(tenant_key_, tables_.ids[row]) == id) rows.push_back(row);
  });
  return rows;
}

Result<ByteView> LogPart::Codes::read() const {
  if (body) return ByteView(*body);
  return text->piece(piece);
}

Result<ByteView> LogPart::code(Stream stream, std::uint32_t number, Scratch&) const {
  const Place& p = places_[stream][number];
  auto codes = codes_[p.batch].read();
  if (!codes) return std::move(codes).error().with(name());
  return codes->substr(p.offset, p.size);
}

Status LogPart::decode_tokens(ByteView code, std::vector<Token>& out) const {
  return TokenMap().decode(code, out);
}

Result<std::optional<std::uint32_t>> LogPart::find_segment(Stream stream, const ShortDigest& digest,
                                                           Scratch& scratch) const {
  std::lock_guard lock(derived_mutex_);
  std::vector<Token> tokens;
  for (std::uint32_t& i = digests_done_[stream]; i < places_[stream].size(); ++i) {
    TOKVAULT_ASSIGN(const ByteView c, code(stream, i, scratch));
    TOKVAULT_ASSIGN(const ShortDigest d, segment_digest(*this, stream, c, tokens));
    digests_[stream].try_emplace(d, i);
  }
  const auto it = digests_[stream].find(digest);
  if (it == digests_[stream].end()) return std::optional<std::uint32_t>();
  return std::optional<std::uint32_t>(it->second);
}

Result<std::uint64_t> LogPart::tokens_stored() const {
  std::lock_guard lock(derived_mutex_);
  Scratch scratch;
  for (; segments_counted_ < places_[kTokenStream].size(); ++segments_counted_) {
    TOKVAULT_ASSIGN(const ByteView c,
                    code(kTokenStream, static_cast<std::uint32_t>(segments_counted_), scratch));
    tokens_counted_ += TokenMap::count(c);
  }
  return tokens_counted_;
}

void LogPart::on_segment(Stream stream, std::uint64_t offset, std::uint64_t size) {
  places_[stream].push_back({static_cast<std::uint32_t>(codes_.size() - 1),
                             static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(size)});
  ++tables_.segment_counts[stream];
}

void LogPart::on_node(std::uint32_t parent, std::uint32_t form, std::span<const SegmentRef> refs) {
  const std::uint32_t depth = parent == kNoNode ? 1 : tables_.nodes[parent].depth + 1;
  tables_.nodes.push_back({parent, form, static_cast<std::uint32_t>(tables_.refs.size()), depth});
  tables_.refs.insert(tables_.refs.end(), refs.begin(), refs.end());
}

void LogPart::on_conversation(std::string_view id, Row row, std::span<const SegmentRef> refs) {
  row.refs_begin = static_cast<std::uint32_t>(tables_.refs.size());
  row.nodes_end = static_cast<std::uint32_t>(tables_.nodes.size());
  tables_.refs.insert(tables_.refs.end(), refs.begin(), refs.end());
  ids_.add(hash_id(tenant_key_, id), static_cast<std::uint32_t>(tables_.rows.size()));
  tables_.ids.add(id);
  tables_.rows.push_back(row);
  if (range_.rows++ == 0) {
    range_ = {1, row.first_sequence, row.sequence, row.time_ms, row.time_ms};
  } else {
    range_.sequence_first = std::min(range_.sequence_first, row.first_sequence);
    range_.sequence_last = std::max(range_.sequence_last, row.sequence);
    range_.time_first_ms = std::min(range_.time_first_ms, row.time_ms);
    range_.time_last_ms = std::max(range_.time_last_ms, row.time_ms);
  }
}

void LogPart::on_record(Record record) {
  // The tenant's own record comes first in a log: its key is needed for the hashes of ids.
  if (record.key == tokvault::tenant_key(tenant_) && record.value) {
    if (auto tenant = decode_tenant(*record.value)) tenant_key_ = tenant->key;
  }
  records_->push_back(std::move(record));
}

Status LogPart::apply(const Buffer& body, Codes codes, std::uint64_t sequence,
                      std::vector<Record>& records) {
  std::optional<std::uint64_t> text_size;
  if (codes.text) text_size = codes.text_size;
  codes_.push_back(std::move(codes));
  counts_.next_sequence = sequence;
  records_ = &records;
  Status status = parse_batch(body, text_size, counts_, *this);
  records_ = nullptr;
  return status;
}

// --- LogFile -----------------------------------------------------------------------------------

LogFile::LogFile(std::uint64_t number, std::uint64_t header_size)
    : number_(number), size_(header_size) {}

std::uint64_t LogFile::row_count() const {
  std::uint64_t n = 0;
  for (const auto& [tenant, part] : parts_) n += part->table().rows.size();
  return n;
}

std::vector<std::uint64_t> LogPart::artifacts() const {
  std::vector<std::uint64_t> out;
  for (const auto& [number, frames] : frames_) {
    if (number != 0) out.push_back(number);
  }
  return out;
}

Result<std::shared_ptr<LogFile>> LogFile::open(const Backend& backend, std::uint64_t number,
                                               std::uint64_t known_size,
                                               std::uint64_t first_sequence,
                                               DecodeText decode_text) {
  auto log = std::make_shared<LogFile>(number, 0);
  log->next_sequence_ = first_sequence;
  log->decode_text_ = decode_text;
  const std::string name = log->name();
  auto size = backend.size(name);
  if (!size) return std::move(size).error();
  if (*size > kLogBytesMax) return Error(Errc::corrupt, name + ": larger than any log");
  const auto bytes = std::make_shared<Buffer>();
  TOKVAULT_TRY(backend.get(name, 0, *size, *bytes));
  const ByteView file = *bytes;
  log->search_budget_ = search_budget(file);
  auto header = decode_log_header(file.substr(0, kHeaderReadBytes), log->size_);
  if (!header && header.code() != Errc::corrupt) return std::move(header).error().with(name);
  if (!header) {
    log->lose(0, nullptr, std::nullopt, std::string(header.error().message()));
    log->size_ = find_remains(file, number, 0, log->search_budget_);
  } else if (header->number != number) {
    return Error(Errc::corrupt, name + ": it is named as another log");
  } else {
    log->vault_ = std::move(header->vault);
  }
  TOKVAULT_TRY(log->read_tail(backend, bytes, known_size));
  return log;
}

bool LogFile::waits_for(std::uint64_t artifact) const {
  return artifact != 0 && std::any_of(lost_.begin(), lost_.end(), [&](const LostCommits& lost) {
           return lost.artifact == artifact;
         });
}

std::shared_ptr<LogFile> LogFile::make_gone(std::uint64_t number, const Error& error,
                                            std::uint64_t first_sequence) {
  auto log = std::make_shared<LogFile>(number, 0);
  LostCommits lost;
  lost.code = error.code();
  lost.what = without_name(error, log->name());
  lost.first = std::max<std::uint64_t>(1, first_sequence);
  log->lost_.push_back(std::move(lost));
  log->is_gone_ = true;
  log->end_gone(log->lost_.back().first, false);
  return log;
}

std::shared_ptr<LogFile> LogFile::copy_for_reading() const {
  auto log = std::make_shared<LogFile>(number_, size_);
  log->vault_ = vault_;
  log->text_bytes_ = text_bytes_;
  log->next_sequence_ = next_sequence_;
  log->first_sequence_ = first_sequence_;
  for (const auto& [tenant, part] : parts_) log->parts_[tenant] = std::make_shared<LogPart>(*part);
  log->records_ = records_;
  log->lost_ = lost_;
  log->lost_tenants_ = lost_tenants_;
  log->all_lost_ = all_lost_;
  log->is_gone_ = is_gone_;
  return log;
}

void LogFile::end_gone(std::uint64_t sequence, bool is_known) {
  LostCommits& lost = lost_.back();
  lost.end = std::max(sequence, lost.first);
  lost.is_end_known = is_known;
  next_sequence_ = lost.end;
}

Result<bool> LogFile::follow(const Backend& backend) {
  if (is_gone_) return false;
  TOKVAULT_ASSIGN(const std::uint64_t size, backend.size(name()));
  if (size <= size_) return false;
  if (size > kLogBytesMax) return Error(Errc::corrupt, name() + ": larger than any log");
  const auto tail = std::make_shared<Buffer>();
  TOKVAULT_TRY(backend.get(name(), size_, size - size_, *tail));
  const std::uint64_t before = size_;
  for (std::uint64_t at = 0;;) {
    BatchHeader header;
    BatchPieces pieces;
    TOKVAULT_ASSIGN(const BatchState state, read_batch(*tail, number_, before, at, header, pieces));
    if (state != BatchState::whole) break;  // still being written, or cut off later
    auto status = decode_batch(backend, header, pieces, tail);
    if (!status) {
      missing_artifact_ = 0;  // is looked for again
      return std::move(status).error().with(name());
    }
    at += kBatchHeaderBytes + header.payload_size;
    size_ = before + at;
  }
  return size_ > before;
}

Status LogFile::read_tail(const Backend& backend, const File& file, std::uint64_t known_size) {
  for (bool more = true; more;) {
    TOKVAULT_ASSIGN(more, read_next(backend, file, known_size));
  }
  if (is_lost_open_) {
    // Nobody knows how many there were: no more than this, as a number takes bytes of a body.
    const LostCommits& last = lost_.back();
    const std::uint64_t batches =
        (std::max<std::uint64_t>(known_size, file->size()) - last.offset) / kBatchHeaderBytes + 1;
    end_lost(std::max(last.end, last.first + (batches << 32)), false);
  }
  if (!lost_.empty()) next_sequence_ = std::max(next_sequence_, lost_.back().end);
  return {};
}

Result<bool> LogFile::read_next(const Backend& backend, const File& bytes,
                                std::uint64_t known_size) {
  const ByteView file = *bytes;
  const std::uint64_t offset = size_;
  BatchHeader header;
  BatchPieces pieces;
  TOKVAULT_ASSIGN(const BatchState state, read_batch(file, number_, 0, offset, header, pieces));
  if (state == BatchState::whole) {
    end_lost(header.sequence, true);
    size_ += kBatchHeaderBytes + header.payload_size;
    const bool is_lost = all_lost_ || lost_tenants_.contains(header.tenant);
    auto status = is_lost ? Status(Error(Errc::corrupt, "it counts on from what is damaged"))
                          : decode_batch(backend, header, pieces, bytes);
    if (status) return true;
    // A dictionary that this program, or just now nobody, can read is there all the same, and
    // nothing is damaged for want of memory. One that is gone together with the log was retired
    // meanwhile.
    if (status.code() == Errc::not_found) {
      TOKVAULT_TRY(backend.size(name()));
    } else if (status.code() != Errc::corrupt) {
      return std::move(status).error().with(name());
    }
    auto remains = read_remains(file, number_, offset);
    const std::uint64_t artifact = std::exchange(missing_artifact_, 0);
    // What is the matter with the artifact is said of that.
    lose(offset, &header, remains ? std::move(remains->changes) : std::nullopt,
         artifact != 0 ? "it needs " + artifact_name(artifact) + ", which cannot be read"
                       : std::string(status.error().message()));
    lost_.back().artifact = artifact;
    return true;
  }
  if (state == BatchState::end) {
    if (offset >= known_size || (is_lost_open_ && all_lost_)) return false;
    lose(offset, nullptr, std::nullopt,
         "it ends at " + std::to_string(offset) + ", but " + std::to_string(known_size) +
             " bytes were written");
    return false;
  }
  // The end of an interrupted write was never committed.
  if (offset >= known_size && !has_batch_after(file, number_, offset, search_budget_)) {
    return false;
  }
  if (auto remains = read_remains(file, number_, offset)) {
    end_lost(remains->header.sequence, true);
    lose(offset, &remains->header, std::move(remains->changes), "bad checksum");
    size_ += kBatchHeaderBytes + remains->header.payload_size;
  } else {
    lose(offset, nullptr, std::nullopt, "damaged header of a batch");
    size_ = find_remains(file, number_, offset, search_budget_);
  }
  return true;
}

void LogFile::lose(std::uint64_t offset, const BatchHeader* header,
                   std::optional<BatchChanges> changes, std::string what) {
  LostCommits lost;
  lost.offset = offset;
  lost.first = next_sequence_;
  lost.changes = std::move(changes);
  lost.what = "at offset " + std::to_string(offset) + ": " + std::move(what);
  if (header != nullptr) {
    if (first_sequence_ == 0) first_sequence_ = header->sequence;
    lost.tenant = header->tenant;
    lost.first = header->sequence;
    lost.end = header->sequence + header->body_size;  // a number takes a byte at least
    if ((header->flags & kGuarded) != 0 && header->conversations != kManyConversations) {
      lost.conversations = header->conversations;
    }
    lost_tenants_.insert(header->tenant);
  } else {
    all_lost_ = true;
  }
  next_sequence_ = std::max(next_sequence_, lost.first);
  lost_.push_back(std::move(lost));
  is_lost_open_ = true;
}

void LogFile::end_lost(std::uint64_t sequence, bool is_known) {
  if (!is_lost_open_) return;
  LostCommits& last = lost_.back();
  last.end = std::max(sequence, last.first);
  last.is_end_known = is_known;
  is_lost_open_ = false;
  next_sequence_ = std::max(next_sequence_, last.end);
}

Status LogFile::decode_batch(const Backend& backend, const BatchHeader& header,
                             const BatchPieces& pieces, const File& file) {
  const bool begins = (header.flags & kNewSection) != 0;
  // Those between, of which nothing can be read, had a batch each.
  if (begins && (header.section < sections_.size() || header.section > size_ / kBatchHeaderBytes)) {
    return Error(Errc::corrupt, "a section begins out of order");
  }
  if (!begins &&
      (header.section >= sections_.size() || sections_[header.section].tenant != header.tenant)) {
    return Error(Errc::corrupt, "a batch belongs to no section");
  }
  // First what may fail and be tried again: nothing has changed by then.
  std::shared_ptr<const Artifact> artifact;
  std::unique_ptr<StreamDecoder> decoder;
  if ((header.flags & kNewFrame) != 0) {
    if (header.dictionary != 0) {
      if (!vault_) return Error(Errc::corrupt, "nobody knows whose dictionary it names");
      const ArtifactUse use{header.dictionary, header.tenant, ArtifactKind::dictionary, vault_->id};
      auto loaded = load_artifact(backend, use);
      if (!loaded) {
        missing_artifact_ = use.number;
        return std::move(loaded).error();
      }
      artifact = std::move(*loaded);
      TOKVAULT_ASSIGN(decoder, StreamDecoder::make(artifact->content, PrefixKind::dictionary));
    } else {
      TOKVAULT_ASSIGN(
          decoder, StreamDecoder::make(begins ? Buffer() : join(sections_[header.section].bodies)));
    }
  }
  Section& section = section_of(header);
  go_on_with(header.section);
  if (decoder) {
    section.text_begins = true;
    section.artifact = std::move(artifact);
    section.decoder = std::move(decoder);
  }
  if (!section.decoder) {
    return Error(Errc::corrupt, "a section does not begin with a frame, or its frame was over");
  }
  Buffer body;
  TOKVAULT_TRY(section.decoder->read(pieces.body, header.body_size, body));
  std::uint32_t piece = 0;
  if ((header.flags & kTextApart) != 0) {
    piece = section.text->add({pieces.text, file, header.text_size,
                               std::exchange(section.text_begins, false), section.artifact});
    if (decode_text_ == DecodeText::at_once) TOKVAULT_TRY(section.text->piece(piece));
  }
  return take(header, header.payload_size, std::move(body), piece);
}

Status LogFile::apply(const BatchHeader& header, std::uint64_t payload_size, Buffer body,
                      Buffer text) {
  size_ += kBatchHeaderBytes + payload_size;
  std::uint32_t piece = 0;
  if ((header.flags & kTextApart) != 0) piece = section_of(header).text->add(std::move(text));
  return take(header, payload_size, std::move(body), piece);
}

LogFile::Section& LogFile::section_of(const BatchHeader& header) {
  if (header.section >= sections_.size()) {
    sections_.resize(header.section + std::size_t{1});
    sections_.back().tenant = header.tenant;
  }
  return sections_[header.section];
}

void LogFile::go_on_with(std::uint32_t section) {
  auto end = [&](std::uint32_t number) {
    sections_[number].decoder.reset();
    sections_[number].artifact.reset();
    sections_[number].text->end();
  };
  std::erase_if(open_sections_, [&](std::uint32_t number) {
    if (sections_[number].tenant != sections_[section].tenant) return false;
    if (number != section) end(number);
    return true;
  });
  open_sections_.push_back(section);
  if (open_sections_.size() <= kFrameTenantsMax) return;
  end(open_sections_.front());
  open_sections_.erase(open_sections_.begin());
}

Status LogFile::take(const BatchHeader& header, std::uint64_t payload_size, Buffer body,
                     std::uint32_t piece) {
  if (first_sequence_ == 0) first_sequence_ = header.sequence;
  Section& section = section_of(header);
  auto& part = parts_[header.tenant];
  if (!part) part = std::make_shared<LogPart>(number_, header.tenant);
  if ((header.flags & kNewFrame) != 0) {
    section.dictionary = header.dictionary;
    ++part->frames_[section.dictionary].count;
  }
  const std::uint64_t text_bytes = std::uint64_t{header.text_size} + body.size();
  LogPart::Frames& frames = part->frames_[section.dictionary];
  frames.text_bytes += text_bytes;
  frames.disk_bytes += kBatchHeaderBytes + payload_size;
  section.text_bytes += text_bytes;
  text_bytes_ += text_bytes;
  part->size_bytes_ += kBatchHeaderBytes + payload_size;
  const auto shared = std::make_shared<const Buffer>(std::move(body));
  section.bodies.push_back(shared);
  LogPart::Codes codes;
  if ((header.flags & kTextApart) != 0) {
    codes.text = section.text;
    codes.piece = piece;
    codes.text_size = header.text_size;
  } else {
    codes.body = shared;
  }
  TOKVAULT_TRY(part->apply(*shared, std::move(codes), header.sequence, records_));
  next_sequence_ = std::max(next_sequence_, part->counts().next_sequence);
  return {};
}

}  // namespace tokvault
