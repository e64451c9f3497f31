// The index of a checkpoint store and what it lives in: side tables, the journal, the index file.
// Format: docs/format/checkpoint.md.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/checksum.h"
#include "checkpoint/store.h"

namespace tokvault {

using namespace checkpoint;

namespace {

constexpr std::uint32_t kIndexMagic = 0xf17a9cd2;
constexpr std::uint64_t kIndexHeaderBytes = 128;
constexpr std::uint64_t kSmallTablesMax = std::uint64_t{1} << 32;

std::uint64_t index_sums_bytes(std::uint32_t records) {
  constexpr std::uint64_t kChunk = 1u << BlockIndex::kChunkBits;
  return ((records + kChunk - 1) / kChunk + 2) * 8;
}

std::uint64_t text_key(std::uint64_t parent, std::uint32_t size, Hash128 text) {
  const std::uint64_t fields[] = {parent, size, text.lo};
  return checksum64(ByteView(reinterpret_cast<const char*>(fields), sizeof fields));
}

Error damaged(const char* what) { return Error(Errc::corrupt, std::string("index file: ") + what); }

// Whether a record of this kind and size can stand behind `parent` (nullptr: behind none). A writer
// makes no other; who made the file up may.
bool can_stand(const BlockRecord& r, const BlockRecord* parent, std::uint32_t block_tokens) {
  switch (r.kind) {
    case Kind::block:
      return r.tokens == block_tokens && (parent == nullptr || parent->kind == Kind::block);
    case Kind::tail:
      return r.tokens > 0 && r.tokens < block_tokens &&
             (parent == nullptr || parent->kind == Kind::block);
    case Kind::sidecar:
      return parent != nullptr && (parent->kind == Kind::block || parent->kind == Kind::tail);
    case Kind::state:
      return parent == nullptr;
    case Kind::free:
    case Kind::name_space:
      break;
  }
  return false;
}

}  // namespace

namespace checkpoint {

std::uint32_t index_block_tokens(const std::string& path) {
  const auto file = disk_open(path, O_RDONLY);
  char head[kIndexHeaderBytes];
  if (!file || !(*file)->file.pread(0, sizeof head, head)) return 0;
  ByteReader r(ByteView(head, sizeof head));
  if (r.le<std::uint32_t>() != kIndexMagic || r.le<std::uint32_t>() != kFormatVersion) return 0;
  const auto header_sum = r.le<std::uint64_t>();
  static_cast<void>(r.le<std::uint64_t>());
  const auto tokens = r.le<std::uint32_t>();
  const auto limit = load_le<std::uint32_t>(head + 40);
  Buffer checked(head + 16, sizeof head - 16);
  Buffer sums(index_sums_bytes(limit), '\0');
  if (!(*file)->file.pread(kIndexHeaderBytes, sums.size(), sums.data())) return 0;
  checked += sums;
  return checksum64(checked) == header_sum ? tokens : 0;
}

}  // namespace checkpoint

std::uint64_t CheckpointStore::Impl::index_estimate() const {
  std::uint64_t bytes = kIndexHeaderBytes + std::uint64_t{index.limit()} * sizeof(BlockRecord) +
                        index.slots().size() * sizeof(RecordId);
  bytes += extras.size() * 40 + segments.size() * 20 + gone.size() * 9 + 64;
  for (const NamespaceEntry& n : namespaces) bytes += n.encoded.size() + 8;
  // Growth until the next look: the table doubles, a chunk of records is added.
  return round_up(bytes + bytes / 8, kPage);
}

// --- side tables ---

void CheckpointStore::Impl::link_record(RecordId id) {
  BlockRecord& r = index[id];
  if (r.kind == Kind::tail) {
    if (r.parent == kNoRecord) {
      namespaces[r.name_space].has_tails = true;
    } else {
      index[r.parent].flags |= kHasTails;
    }
  }
  if (r.kind == Kind::block || r.kind == Kind::tail) ++blocks;
  if (r.kind == Kind::sidecar) sidecars.emplace(r.parent, id);
  if (r.kind == Kind::state) ++states;
  const auto extra = extras.find(id);
  if (extra == extras.end()) return;
  const Extra& e = extra->second;
  if (r.kind == Kind::state) {
    NamespaceEntry& n = namespaces[r.name_space];
    if (e.state_tokens > 0) ++n.state_tokens[e.state_tokens];
    if (e.text_bytes > 0) {
      ++n.state_texts[e.text_bytes];
      state_texts[e.text] = id;
    }
  } else if (e.text_bytes > 0) {
    const std::uint64_t parent =
        r.parent == kNoRecord ? std::uint64_t{1} << 32 | r.name_space : r.parent;
    ++text_sizes[parent][e.text_bytes];
    text_children[text_key(parent, e.text_bytes, e.text)] = id;
  }
}

void CheckpointStore::Impl::unlink_record(RecordId id) {
  const BlockRecord& r = index[id];
  if (r.kind == Kind::block || r.kind == Kind::tail) --blocks;
  if (r.kind == Kind::state) --states;
  if (r.kind == Kind::sidecar) {
    const auto range = sidecars.equal_range(r.parent);
    for (auto it = range.first; it != range.second; ++it) {
      if (it->second != id) continue;
      sidecars.erase(it);
      break;
    }
  }
  const auto extra = extras.find(id);
  if (extra == extras.end()) return;
  const Extra& e = extra->second;
  const auto drop = [](auto& sizes, auto size) {
    const auto it = sizes.find(size);
    if (it != sizes.end() && --it->second == 0) sizes.erase(it);
  };
  if (r.kind == Kind::state) {
    NamespaceEntry& n = namespaces[r.name_space];
    if (e.state_tokens > 0) drop(n.state_tokens, e.state_tokens);
    if (e.text_bytes > 0) {
      drop(n.state_texts, std::uint64_t{e.text_bytes});
      const auto it = state_texts.find(e.text);
      if (it != state_texts.end() && it->second == id) state_texts.erase(it);
    }
  } else if (e.text_bytes > 0) {
    const std::uint64_t parent =
        r.parent == kNoRecord ? std::uint64_t{1} << 32 | r.name_space : r.parent;
    const auto sizes = text_sizes.find(parent);
    if (sizes != text_sizes.end()) {
      drop(sizes->second, e.text_bytes);
      if (sizes->second.empty()) text_sizes.erase(sizes);
    }
    const auto it = text_children.find(text_key(parent, e.text_bytes, e.text));
    if (it != text_children.end() && it->second == id) text_children.erase(it);
  }
  extras.erase(extra);
}

// --- the journal ---

Status CheckpointStore::Impl::log(std::span<const JournalEvent> events) {
  Buffer bytes;
  for (const JournalEvent& event : events) append_event(bytes, event);
  const ByteView parts[] = {bytes};
  auto status = disk_write(*journal, journal_bytes, parts);
  if (!status) {
    // Half an event at the end would hide the ones behind it from the next start.
    auto cut = disk_truncate(*journal, journal_bytes);
    if (!cut) broken = std::string(cut.error().message());
    return status;
  }
  journal_bytes += bytes.size();
  counters.index_bytes_written += bytes.size();
  dirty = true;
  return {};
}

Status CheckpointStore::Impl::apply(const JournalEvent& e) {
  const auto damaged = [](const char* what) {
    return Error(Errc::corrupt, std::string("journal: ") + what);
  };
  switch (e.event) {
    case Event::name_space: {
      auto value = decode_namespace(e.encoded);
      if (!value) return std::move(value).error();
      if (e.number != namespaces.size()) return damaged("a namespace out of order");
      const Hash128 hash = namespace_hash(e.encoded);
      namespace_numbers[hash] = e.number;
      namespace_bytes += e.encoded.size();
      namespaces.push_back({std::move(*value), e.encoded, hash, false, {}, {}});
      return {};
    }
    case Event::add: {
      if (e.record.name_space >= namespaces.size()) return damaged("an unknown namespace");
      RecordId parent = kNoRecord;
      if (e.has_parent) {
        parent = index.find(e.parent);
        if (parent == kNoRecord) return damaged("an unknown parent");
      }
      if (!can_stand(e.record, e.has_parent ? &index[parent] : nullptr, block_tokens)) {
        return damaged("a record that cannot be");
      }
      RecordId id = index.find(e.key);
      bool is_new = id == kNoRecord;
      if (!is_new) {
        BlockRecord& old = index[id];
        if ((old.flags & kBad) == 0) segments[old.segment].live -= old.bytes();
        // What fills a hole has what it was put with; what was only moved keeps what it has.
        if ((old.flags & kBad) != 0 && old.units == 0) {
          is_new = true;
          unlink_record(id);
          old.flags &= static_cast<std::uint8_t>(~kHasText);
        }
      } else {
        id = index.insert(e.key, parent, e.record.kind);
        BlockRecord& r = index[id];
        r.name_space = e.record.name_space;
        r.tokens = e.record.tokens;
        r.depth = e.record.depth;
        r.last_use = clock;
      }
      BlockRecord& r = index[id];
      if (is_new) {
        if (!e.extra.empty()) {
          extras[id] = e.extra;
          r.flags |= kHasText;
          if (e.extra.expires_ms != 0)
            next_expiry_ms = std::min(next_expiry_ms, e.extra.expires_ms);
        }
        link_record(id);
      }
      r.segment = e.record.segment;
      r.offset_units = e.record.offset_units;
      r.units = e.record.units;
      r.flags &= static_cast<std::uint8_t>(~kBad);
      Segment& segment = segments[r.segment];
      segment.live += r.bytes();
      segment.size = std::max(segment.size, r.offset() + r.bytes());
      next_segment = std::max(next_segment, r.segment + 1);  // [S4], also where its file is lost
      return {};
    }
    case Event::remove: {
      const RecordId id = index.find(e.key);
      if (id == kNoRecord) return damaged("a removal of nothing");
      BlockRecord& r = index[id];
      if ((r.flags & kBad) == 0) segments[r.segment].live -= r.bytes();
      note_gone(e.key, e.reason);
      if (r.children() > 0) {
        r.flags |= kBad;
        r.units = 0;
      } else {
        unlink_record(id);
        index.erase(id);
      }
      return {};
    }
    case Event::rotate:
      return {};
  }
  return damaged("an unknown event");
}

Status CheckpointStore::Impl::follow_journal(bool& rotated) {
  rotated = journal_torn = false;
  if (!journal) return {};
  TOKVAULT_ASSIGN(const std::uint64_t size, journal->file.size());
  if (size <= journal_bytes) return {};
  Buffer bytes(size - journal_bytes, '\0');
  TOKVAULT_TRY(journal->file.pread(journal_bytes, bytes.size(), bytes.data()));
  ByteView left = bytes;
  while (!left.empty()) {
    ByteView rest = left;
    const auto event = take_event(rest);
    // A torn end is not there: a reader comes back for it, a writer cuts it off.
    if (!event || !apply(*event)) break;
    journal_bytes += left.size() - rest.size();
    left = rest;
    if (event->event == Event::rotate) {
      rotated = true;
      break;
    }
  }
  journal_torn = !rotated && !left.empty();
  return {};
}

// --- the index file ---

// Everything but records and slots.
Buffer CheckpointStore::Impl::encode_small_tables() const {
  Buffer small;
  append_le<std::uint32_t>(small, static_cast<std::uint32_t>(namespaces.size()));
  for (const NamespaceEntry& n : namespaces) append_sized(small, n.encoded);
  append_le<std::uint32_t>(small, static_cast<std::uint32_t>(segments.size()));
  for (const auto& [number, s] : segments) {
    append_le(small, number);
    append_le(small, s.size);
    append_le(small, s.live);
  }
  append_le<std::uint32_t>(small, static_cast<std::uint32_t>(extras.size()));
  for (const auto& [id, e] : extras) {
    append_le(small, id);
    append_le(small, e.expires_ms);
    append_le(small, e.state_tokens);
    append_le(small, e.text_bytes);
    append_le(small, e.text.lo);
    append_le(small, e.text.hi);
  }
  append_le<std::uint32_t>(small, static_cast<std::uint32_t>(gone_order.size()));
  for (const std::uint64_t key : gone_order) {
    append_le(small, key);
    append_le(small, static_cast<std::uint8_t>(gone.at(key)));
  }
  return small;
}

// Writes records and slots behind `at`, and returns their checksums. The lock is held only while
// 65,536 records are copied, so that readers go on: what they change meanwhile (uses) may be of
// either time, and what would change the shape of the index (quarantine) waits.
Result<Buffer> CheckpointStore::Impl::write_index_body(Lock& lock, const DiskFile& file,
                                                       std::uint64_t& at) {
  constexpr std::uint64_t kSlotsAtOnce = std::uint64_t{1} << 20;
  Buffer sums;
  const auto part = [&](ByteView bytes) -> Status {
    const ByteView parts[] = {bytes};
    TOKVAULT_TRY(disk_write(file, at, parts));
    at += bytes.size();
    return {};
  };
  const std::uint32_t limit = index.limit();
  std::vector<BlockRecord> copy;
  Status status;
  for (std::uint32_t first = 0; status && first < limit; first += 1u << BlockIndex::kChunkBits) {
    const std::uint32_t count = std::min(limit - first, 1u << BlockIndex::kChunkBits);
    const BlockRecord* const from = std::as_const(index).chunk(first >> BlockIndex::kChunkBits);
    copy.assign(from, from + count);
    lock.unlock();
    for (BlockRecord& r : copy) {
      // Found bad since the rewrite began: the new journal will say so.
      if ((r.flags & kBad) != 0 && r.units != 0) r.flags &= static_cast<std::uint8_t>(~kBad);
    }
    const ByteView bytes(reinterpret_cast<const char*>(copy.data()), count * sizeof(BlockRecord));
    append_le(sums, checksum64(bytes));
    status = part(bytes);
    lock.lock();
  }
  // Nothing changes the slots while write_mutex is held and quarantine waits.
  const std::vector<RecordId>& slots = std::as_const(index).slots();
  lock.unlock();
  const ByteView all(reinterpret_cast<const char*>(slots.data()), slots.size() * sizeof(RecordId));
  append_le(sums, checksum64(all));
  for (std::uint64_t done = 0; status && done < all.size(); done += kSlotsAtOnce) {
    status = part(all.substr(done, kSlotsAtOnce));
  }
  lock.lock();
  if (!status) return std::move(status).error();
  return sums;
}

Status CheckpointStore::Impl::rotate(Lock& lock) {
  rotating = true;
  auto status = write_index(lock);
  rotating = false;
  for (const auto& [id, key] : bad_meanwhile) {
    BlockRecord& r = index[id];
    if (r.kind == Kind::free || r.key() != key || (r.flags & kBad) == 0 || r.units == 0) continue;
    r.flags &= static_cast<std::uint8_t>(~kBad);
    --counters.quarantined;
    if (!reading.contains(id)) static_cast<void>(quarantine(id).has_value());
  }
  bad_meanwhile.clear();
  return status;
}

Status CheckpointStore::Impl::write_index(Lock& lock) {
  const Buffer small = encode_small_tables();
  Buffer header;
  append_le(header, kIndexMagic);
  append_le(header, kFormatVersion);
  append_le<std::uint64_t>(header, 0);  // checksum of the rest of the header and of the sums
  append_le<std::uint64_t>(header, generation + 1);
  append_le(header, block_tokens);
  append_le(header, clock);
  append_le<std::uint64_t>(header, small.size());
  append_le(header, index.limit());
  append_le(header, index.size());
  append_le(header, index.free_head());
  append_le(header, next_segment);
  append_le<std::uint64_t>(header, std::as_const(index).slots().size());
  header.resize(kIndexHeaderBytes, '\0');
  const std::uint64_t front = kIndexHeaderBytes + index_sums_bytes(index.limit());

  const std::string path = numbered(directory, "index", generation + 1);
  const std::string temporary = path + ".tmp";
  std::uint64_t at = front;
  std::shared_ptr<DiskFile> new_journal;
  const auto write = [&]() -> Status {
    TOKVAULT_ASSIGN(const auto file, disk_open(temporary, O_RDWR | O_CREAT | O_TRUNC));
    const ByteView tables[] = {small};
    TOKVAULT_TRY(disk_write(*file, at, tables));
    at += small.size();
    TOKVAULT_ASSIGN(const Buffer sums, write_index_body(lock, *file, at));
    append_le(header, checksum64(small));
    header += sums;
    store_le(checksum64(ByteView(header).substr(16)), header.data() + 8);
    const auto publish = [&]() -> Status {
      const ByteView parts[] = {header};
      TOKVAULT_TRY(disk_write(*file, 0, parts));
      TOKVAULT_TRY(disk_sync(*file));
      // The journal that goes with the new index exists before the index has its name.
      TOKVAULT_ASSIGN(new_journal, disk_open(numbered(directory, "journal", generation + 1),
                                             O_RDWR | O_CREAT | O_TRUNC));
      TOKVAULT_TRY(disk_rename(temporary, path));
      return sync_folder(directory);
    };
    lock.unlock();
    auto published = publish();
    lock.lock();
    return published;
  };
  auto status = write();
  if (!status) {
    static_cast<void>(::unlink(temporary.c_str()));
    if (::access(path.c_str(), F_OK) == 0) {
      broken = "the new index file could not be made durable";
    } else {
      static_cast<void>(::unlink(numbered(directory, "journal", generation + 1).c_str()));
    }
    return status;
  }
  JournalEvent end;
  end.event = Event::rotate;
  end.generation = generation + 1;
  // Readers that follow the old journal go to the new one. After a rebuild there is none.
  Status told;
  if (journal) told = log({&end, 1});
  journal = std::move(new_journal);
  const std::uint64_t old = generation++;
  journal_bytes = 0;
  index_file_bytes = at;
  counters.index_bytes_written += at;
  dirty = false;
  broken.clear();
  static_cast<void>(told.has_value());
  // What cannot be removed now is swept at the next start.
  static_cast<void>(disk_unlink(numbered(directory, "index", old)).has_value());
  static_cast<void>(disk_unlink(numbered(directory, "journal", old)).has_value());
  return {};
}

// What encode_small_tables() wrote.
Status CheckpointStore::Impl::decode_small_tables(ByteView small, std::uint32_t limit) {
  ByteReader t(small);
  const auto namespace_count = t.le<std::uint32_t>();
  for (std::uint32_t i = 0; i < namespace_count && t.ok(); ++i) {
    JournalEvent e;
    e.event = Event::name_space;
    e.number = static_cast<std::uint16_t>(i);
    e.encoded = Buffer(t.sized());
    TOKVAULT_TRY(apply(e));
  }
  const auto segment_count = t.le<std::uint32_t>();
  for (std::uint32_t i = 0; i < segment_count && t.ok(); ++i) {
    const auto n = t.le<std::uint32_t>();
    Segment s;
    s.size = t.le<std::uint64_t>();
    s.live = t.le<std::uint64_t>();
    segments[n] = s;
  }
  const auto extra_count = t.le<std::uint32_t>();
  for (std::uint32_t i = 0; i < extra_count && t.ok(); ++i) {
    const auto id = t.le<RecordId>();
    Extra e;
    e.expires_ms = t.le<std::uint64_t>();
    e.state_tokens = t.le<std::uint64_t>();
    e.text_bytes = t.le<std::uint32_t>();
    e.text.lo = t.le<std::uint64_t>();
    e.text.hi = t.le<std::uint64_t>();
    if (id >= limit) return damaged("an extra of no record");
    extras[id] = e;
    if (e.expires_ms != 0) next_expiry_ms = std::min(next_expiry_ms, e.expires_ms);
  }
  const auto gone_count = t.le<std::uint32_t>();
  for (std::uint32_t i = 0; i < gone_count && t.ok(); ++i) {
    const auto key = t.le<std::uint64_t>();
    gone[key] = static_cast<Gone>(t.le<std::uint8_t>());
    gone_order.push_back(key);
  }
  if (!t.ok() || !t.at_end()) return damaged("the small tables are cut short");
  return {};
}

// The checksums held, so what is wrong here was written so. Still nothing is followed that is out
// of range, leads round in a circle, or would hand out what is in use.
Status CheckpointStore::Impl::link_records(std::uint32_t limit, std::uint32_t size,
                                           RecordId free_head) {
  const BlockIndex& records = index;
  std::vector<bool> used(limit);
  std::vector<std::uint32_t> children(limit);
  std::uint32_t in_use = 0;
  for (RecordId id = 0; id < limit; ++id) {
    const BlockRecord& record = records[id];
    if (record.kind == Kind::free) continue;
    used[id] = true;
    ++in_use;
    const bool root = record.parent == kNoRecord;
    if (record.name_space >= namespaces.size() || (!root && record.parent >= limit) ||
        !can_stand(record, root ? nullptr : &records[record.parent], block_tokens)) {
      return damaged("a record that cannot be");
    }
    if (!root) ++children[record.parent];
    // Only records with something beside them need their side tables linked.
    if (record.kind == Kind::block && (record.flags & kHasText) == 0) {
      ++blocks;
    } else {
      link_record(id);
    }
  }
  for (const auto& [id, extra] : extras) {
    if (!used[id]) return damaged("an extra of no record");
  }
  // The table has each record once, and the free ones are in one list.
  std::uint32_t filled = 0;
  std::vector<bool> missing = used;
  for (const RecordId id : records.slots()) {
    if (id == kNoRecord) continue;
    if (id >= limit || !missing[id]) return damaged("a slot names no record, or one twice");
    missing[id] = false;
    ++filled;
  }
  if (in_use != size || filled != size) return damaged("the counts are wrong");
  std::uint32_t free = limit - in_use;
  for (RecordId id = free_head; id != kNoRecord; id = records[id].parent, --free) {
    if (id >= limit || used[id] || free == 0) return damaged("the free records are no list");
  }
  // Taking away what has no children, again and again, takes all there is.
  for (RecordId id = 0; id < limit; ++id) {
    if (used[id] && records[id].children() != children[id]) return damaged("a count of children");
  }
  for (RecordId id = 0; id < limit; ++id) {
    RecordId at = id;
    while (at != kNoRecord && used[at] && children[at] == 0) {
      used[at] = false;
      --in_use;
      at = records[at].parent;
      if (at != kNoRecord) --children[at];
    }
  }
  return in_use == 0 ? Status() : damaged("parents in a circle");
}

Status CheckpointStore::Impl::load_index(std::uint64_t from_generation) {
  TOKVAULT_ASSIGN(const auto file,
                  disk_open(numbered(directory, "index", from_generation), O_RDONLY));
  TOKVAULT_ASSIGN(const std::uint64_t file_bytes, file->file.size());
  char head[kIndexHeaderBytes];
  TOKVAULT_TRY(file->file.pread(0, sizeof head, head));
  ByteReader r(ByteView(head, sizeof head));
  if (r.le<std::uint32_t>() != kIndexMagic) return damaged("wrong magic");
  const auto version = r.le<std::uint32_t>();
  const Error newer(Errc::unsupported, "the index file is of a newer version");
  const auto header_sum = r.le<std::uint64_t>();
  const auto number = r.le<std::uint64_t>();
  const auto tokens = r.le<std::uint32_t>();
  const auto new_clock = r.le<std::uint32_t>();
  const auto small_bytes = r.le<std::uint64_t>();
  const auto limit = r.le<std::uint32_t>();
  const auto size = r.le<std::uint32_t>();
  const auto free_head = r.le<RecordId>();
  const auto first_segment = r.le<std::uint32_t>();
  const auto slot_count = r.le<std::uint64_t>();
  const std::uint32_t chunks = static_cast<std::uint32_t>(
      (std::uint64_t{limit} + (1u << BlockIndex::kChunkBits) - 1) >> BlockIndex::kChunkBits);
  const std::uint64_t sums_bytes = index_sums_bytes(limit);
  // Sizes are checked against the file before anything is allocated.
  if (small_bytes > kSmallTablesMax || slot_count > std::uint64_t{1} << 33 ||
      kIndexHeaderBytes + sums_bytes + small_bytes + std::uint64_t{limit} * sizeof(BlockRecord) +
              slot_count * sizeof(RecordId) !=
          file_bytes ||
      (slot_count & (slot_count - 1)) != 0 || size > limit || (size > 0 && slot_count <= size)) {
    if (version != kFormatVersion) return newer.clone();
    return damaged("the sizes do not fit the file");
  }
  Buffer sums(sums_bytes, '\0');
  TOKVAULT_TRY(file->file.pread(kIndexHeaderBytes, sums_bytes, sums.data()));
  Buffer checked(head + 16, sizeof head - 16);
  checked += sums;
  const bool whole = checksum64(checked) == header_sum;
  // A version whose header has the checksum of this one is a damaged number.
  if (version != kFormatVersion && !whole) return newer.clone();
  if (version != kFormatVersion || !whole || number != from_generation || tokens != block_tokens) {
    return damaged("the header is wrong");
  }
  const auto sum_of = [&](std::uint64_t i) { return load_le<std::uint64_t>(sums.data() + i * 8); };
  std::uint64_t at = kIndexHeaderBytes + sums_bytes;
  Buffer small(small_bytes, '\0');
  TOKVAULT_TRY(file->file.pread(at, small_bytes, small.data()));
  if (checksum64(small) != sum_of(0)) return damaged("the small tables are wrong");
  at += small_bytes;
  index.prepare(limit, slot_count, size, free_head);
  for (std::uint32_t i = 0; i < chunks; ++i) {
    const std::uint64_t first = std::uint64_t{i} << BlockIndex::kChunkBits;
    const std::uint64_t bytes =
        std::min<std::uint64_t>(limit - first, 1u << BlockIndex::kChunkBits) * sizeof(BlockRecord);
    char* out = reinterpret_cast<char*>(index.chunk(i));
    TOKVAULT_TRY(file->file.pread(at, bytes, out));
    if (checksum64(ByteView(out, bytes)) != sum_of(1 + i)) return damaged("records are wrong");
    at += bytes;
  }
  char* slots = reinterpret_cast<char*>(index.slots().data());
  TOKVAULT_TRY(file->file.pread(at, slot_count * sizeof(RecordId), slots));
  if (checksum64(ByteView(slots, slot_count * sizeof(RecordId))) != sum_of(1 + chunks)) {
    return damaged("the table is wrong");
  }
  clock = new_clock;
  next_segment = first_segment;
  TOKVAULT_TRY(decode_small_tables(small, limit));
  TOKVAULT_TRY(link_records(limit, size, free_head));
  generation = from_generation;
  index_file_bytes = file_bytes;
  return {};
}

}  // namespace tokvault
