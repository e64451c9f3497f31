// Finding records in the log that index and journal do not know: behind a damaged or lost journal
// from where it ended, and everywhere if the index is gone. A record proves itself: its prefix has
// a checksum, and its key is the hash of what stands in it. So a scan hops from record to record,
// and where there is none goes on in steps of 64 bytes until there is one.
//
// The payload of what the index would have known is not read: damage there shows when it is read
// as a block. It is read where it may not be whole: behind the end of a journal, and where the
// record has holes (it was evicted, and its first page, which it shares, was not given back).
//
// What was removed on purpose is not found: its header was overwritten (void_record). What was
// evicted and not overwritten by a hole yet is found again, and is as good as it was.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <tuple>

#include "base/bytes.h"
#include "base/checksum.h"
#include "checkpoint/store.h"

namespace tokvault {

using namespace checkpoint;

namespace {

constexpr std::uint64_t kWindowBytes = 64 << 10;

// Where bytes stand at or behind `from`; the size of the file if nowhere.
std::uint64_t next_data(const DiskFile& file, std::uint64_t from, std::uint64_t size) {
  const off_t at = ::lseek(file.file.fd(), static_cast<off_t>(from), SEEK_DATA);
  if (at >= 0) return std::max(from, static_cast<std::uint64_t>(at) / 64 * 64);
  return errno == ENXIO ? size : from;
}

bool has_hole(const DiskFile& file, std::uint64_t offset, std::uint64_t size) {
  const off_t at = ::lseek(file.file.fd(), static_cast<off_t>(offset), SEEK_HOLE);
  return at >= 0 && static_cast<std::uint64_t>(at) < offset + size;
}

}  // namespace

// The record at `offset`, if a whole one stands there.
std::optional<CheckpointStore::Impl::Found> CheckpointStore::Impl::record_at(
    const DiskFile& file, std::uint32_t segment, std::uint64_t offset, std::uint64_t size,
    ByteView seen, bool verify) const {
  const auto header = peek_header(seen);
  if (!header || offset % header->unit() != 0 || header->record_bytes() > size - offset) {
    return std::nullopt;
  }
  Buffer bytes(header->prefix_bytes(), '\0');
  if (!file.file.pread(offset, bytes.size(), bytes.data())) return std::nullopt;
  auto prefix = decode_prefix(bytes);
  if (!prefix) return std::nullopt;
  const RecordHeader& h = prefix->header;
  Buffer tail;
  if (h.text_bytes > 0 || h.meta_bytes > 0) {
    auto read = read_tail_at(file, offset, *prefix);
    if (!read) return std::nullopt;
    tail = std::move(*read);
  }
  if (!key_matches(*prefix, tail)) return std::nullopt;
  const std::uint64_t record_bytes = h.record_bytes();
  Found found;
  found.header = h;
  found.segment = segment;
  found.offset = offset;
  if (block_tokens != 0 && (h.kind == Kind::block || h.kind == Kind::tail)) {
    const bool full = h.tokens == block_tokens;
    if (full != (h.kind == Kind::block) || h.tokens > block_tokens ||
        h.position % block_tokens != 0) {
      found.usable = false;
    }
  }
  if (verify || has_hole(file, offset, record_bytes)) {
    found.usable = found.usable && check_payload_at(file, offset, *prefix).has_value();
  }
  found.extra.expires_ms = h.expires_ms;
  const ByteView text = ByteView(tail).substr(0, h.text_bytes);
  if (h.kind == Kind::state) {
    found.extra.state_tokens = h.tokens;
    PrefixHasher hasher(h.name_space, 2);
    hasher.update(text);
    found.extra.text = hasher.digest();
    found.extra.text_bytes = h.text_bytes;
  } else if (!text.empty()) {
    found.extra.text = text_hash(text);
    found.extra.text_bytes = h.text_bytes;
  }
  if (h.kind == Kind::name_space) found.encoded = std::move(tail);
  return found;
}

Status CheckpointStore::Impl::scan_segment(std::uint32_t number, std::uint64_t from, bool verify,
                                           const std::function<void(Found&&)>& visit) {
  auto opened = segment_file(number, false);
  if (!opened) return {};  // lost: nothing to find
  const std::shared_ptr<DiskFile>& file = *opened;
  TOKVAULT_ASSIGN(const std::uint64_t size, file->file.size());
  std::uint64_t at = round_up(from, 64);
  Buffer window;
  std::uint64_t wanted = kPage;  // does where a record stands; more is read where none does
  while (at + kRecordHeaderBytes <= size) {
    at = next_data(*file, at, size);
    if (at + kRecordHeaderBytes > size) break;
    window.resize(std::min(wanted, size - at));
    if (!file->file.pread(at, window.size(), window.data())) break;
    std::uint64_t skip = 0;
    wanted = kWindowBytes;
    for (; skip + kRecordHeaderBytes <= window.size(); skip += 64) {
      if (load_le<std::uint32_t>(window.data() + skip) != kRecordMagic) continue;
      auto found = record_at(*file, number, at + skip, size, ByteView(window).substr(skip), verify);
      if (!found) continue;
      skip += found->header.record_bytes();
      wanted = kPage;
      if (found->usable) visit(std::move(*found));
      break;
    }
    at += skip;
  }
  return {};
}

// Takes a record into the index, unless a later one of its key is there or its parent is not.
CheckpointStore::Impl::Taken CheckpointStore::Impl::take_found(const Found& f) {
  const RecordHeader& h = f.header;
  JournalEvent e;
  if (h.kind == Kind::name_space) {
    if (namespace_numbers.contains(h.key) || namespaces.size() >= 65535) return Taken::no;
    e.event = Event::name_space;
    e.number = static_cast<std::uint16_t>(namespaces.size());
    e.encoded = f.encoded;
    return apply(e) ? Taken::yes : Taken::no;
  }
  const auto number = namespace_numbers.find(h.name_space);
  if (number == namespace_numbers.end()) return Taken::no_parent;
  if (const RecordId id = index.find(h.key); id != kNoRecord) {
    const BlockRecord& there = std::as_const(index)[id];
    const bool bad = (there.flags & kBad) != 0;
    if (!bad && std::pair(there.segment, there.offset()) >= std::pair(f.segment, f.offset)) {
      return Taken::no;
    }
  }
  e.event = Event::add;
  e.key = h.key;
  e.parent = h.parent;
  e.has_parent = h.parent != h.name_space;
  e.record.kind = h.kind;
  e.record.name_space = number->second;
  e.record.tokens = static_cast<std::uint16_t>(h.tokens);
  if (e.has_parent) {
    const RecordId parent = index.find(h.parent);
    if (parent == kNoRecord) return Taken::no_parent;
    const BlockRecord& above = std::as_const(index)[parent];
    if (above.name_space != number->second || above.kind > Kind::tail) return Taken::no;
    if (h.kind == Kind::sidecar) {
      e.record.depth = above.depth;
      e.record.tokens = above.tokens;
    } else {
      const std::uint64_t depth = std::min<std::uint64_t>(h.position / block_tokens, 65535);
      if (above.kind != Kind::block || std::min(above.depth + 1, 65535) != static_cast<int>(depth))
        return Taken::no;
      e.record.depth = static_cast<std::uint16_t>(depth);
    }
  } else if (h.kind == Kind::state) {
    const std::uint64_t worth = h.tokens > 0 ? h.tokens : h.text_bytes / 4;
    e.record.tokens = static_cast<std::uint16_t>(std::clamp<std::uint64_t>(worth, 1, 65535));
  } else if (h.kind == Kind::sidecar || h.position != 0) {
    return Taken::no;
  }
  e.record.segment = f.segment;
  e.record.offset_units = static_cast<std::uint32_t>(f.offset / 64);
  e.record.units = static_cast<std::uint32_t>(h.record_bytes() / 64);
  e.extra = f.extra;
  return apply(e) ? Taken::yes : Taken::no;
}

// Gives back what lies between the records that were found behind `scanned[segment]`. `names` are
// the places of the records of namespaces, which no index knows.
void CheckpointStore::Impl::punch_gaps(const std::map<std::uint32_t, std::uint64_t>& scanned,
                                       std::map<std::uint32_t, Ranges>& kept) {
  for (RecordId id = 0; id < index.limit(); ++id) {
    const BlockRecord& r = std::as_const(index)[id];
    if (r.kind == Kind::free || (r.flags & kBad) != 0 || !scanned.contains(r.segment)) continue;
    kept[r.segment].emplace_back(r.offset(), r.offset() + r.bytes());
  }
  for (auto& [number, ranges] : kept) {
    auto file = segment_file(number, false);
    if (!file) continue;
    std::sort(ranges.begin(), ranges.end());
    std::uint64_t end = scanned.at(number);
    for (const auto& [first, limit] : ranges) {
      const std::uint64_t from = round_up(end, kPage);
      const std::uint64_t to = first / kPage * kPage;
      if (from < to && punching) {
        auto status = disk_punch(**file, from, to - from);
        if (!status && status.code() == Errc::unsupported) punching = false;
      }
      end = std::max(end, limit);
    }
  }
}

Result<std::uint64_t> CheckpointStore::Impl::roll_forward(bool everything) {
  TOKVAULT_ASSIGN(const auto names, names_in(directory));
  std::map<std::uint32_t, std::uint64_t> scanned;  // segment -> from where
  for (const std::string& name : names) {
    const std::uint64_t n = number_of(name, "log");
    if (n == 0 || n > 0xffffffffu) continue;
    const auto known = segments.find(static_cast<std::uint32_t>(n));
    const std::uint64_t from = known == segments.end() ? 0 : known->second.size;
    struct stat st{};
    if (::stat((directory + "/" + name).c_str(), &st) != 0) continue;
    if (static_cast<std::uint64_t>(st.st_size) <= from) continue;
    scanned[static_cast<std::uint32_t>(n)] = from;
  }
  std::uint64_t count = 0;
  std::map<std::uint32_t, Ranges> kept;
  std::vector<Found> waiting;  // a parent that was moved stands behind its children
  const auto take = [&](Found&& f) {
    if (f.header.kind == Kind::name_space) {
      kept[f.segment].emplace_back(f.offset, f.offset + f.header.record_bytes());
    }
    const Taken taken = take_found(f);
    if (taken == Taken::yes) ++count;
    if (taken == Taken::no_parent) waiting.push_back(std::move(f));
  };
  for (const auto& [number, from] : scanned) {
    TOKVAULT_TRY(scan_segment(number, from, !everything, take));
  }
  const auto turn = [](const Found& f) {
    return std::tuple(f.header.kind == Kind::sidecar, f.header.position, f.segment, f.offset);
  };
  std::sort(waiting.begin(), waiting.end(),
            [&](const Found& a, const Found& b) { return turn(a) < turn(b); });
  for (const Found& f : waiting) count += take_found(f) == Taken::yes ? 1 : 0;
  if (!options.read_only && count > 0) punch_gaps(scanned, kept);
  return count;
}

// What is gone on purpose must not come back from a scan. An evicted record may.
void CheckpointStore::Impl::void_record(std::uint32_t number, std::uint64_t offset,
                                        std::uint64_t bytes) {
  if (punching && offset % kPage == 0 && bytes >= kPage) return;  // its header goes with its pages
  auto file = segment_file(number, false);
  if (!file) return;
  static constexpr char kNothing[8] = {};
  const ByteView parts[] = {ByteView(kNothing, sizeof kNothing)};
  // A failure leaves a record that may come back; that is a block that is right.
  static_cast<void>(disk_write(**file, offset, parts).has_value());
}

// The block size that the files were made with, if the store file does not say.
std::uint32_t CheckpointStore::Impl::block_tokens_of_files() {
  const auto names = names_in(directory);
  if (!names) return 0;
  for (const std::string& name : *names) {
    if (number_of(name, "index") == 0) continue;
    if (const std::uint32_t n = index_block_tokens(directory + "/" + name); n != 0) return n;
  }
  for (const std::string& name : *names) {
    const std::uint64_t number = number_of(name, "log");
    if (number == 0 || number > 0xffffffffu) continue;
    std::uint32_t tokens = 0;
    const auto look = [&tokens](Found&& f) {
      if (f.header.kind == Kind::block && tokens == 0) tokens = f.header.tokens;
    };
    static_cast<void>(scan_segment(static_cast<std::uint32_t>(number), 0, false, look).has_value());
    files[0].clear();
    if (tokens != 0) return tokens;
  }
  return 0;
}

}  // namespace tokvault
