// Putting, making room, removing: everything that changes a checkpoint store.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>

#include "base/checksum.h"
#include "base/clock.h"
#include "checkpoint/store.h"

namespace tokvault {

using namespace checkpoint;

namespace {

constexpr std::uint64_t kGoneMax = 65536;
constexpr std::uint64_t kGoneMin = 1024;
constexpr std::uint64_t kJournalSlack = 2 * kPage;  // an event, rounded up, twice
constexpr std::uint64_t kSegmentSlack = 4 * kPage;  // rounding and the file system's extents
constexpr std::uint64_t kJournalBytesMin = 1 << 20;
constexpr std::uint64_t kJournalBytesMax = 64 << 20;
constexpr std::uint64_t kSmallIndexBytes = 16 << 20;
constexpr std::uint64_t kEventBytesMax = 96;
constexpr std::uint64_t kRunBytesMax = 16 << 20;  // of payload in one write
constexpr std::size_t kRunRecordsMax = 256;

const std::string kZeros(kPage, '\0');

}  // namespace

Status CheckpointStore::Impl::writable() const {
  if (closed) return Error(Errc::invalid, "the checkpoint store is closed");
  if (options.read_only) return Error(Errc::denied, "the checkpoint store is open to read only");
  if (!broken.empty()) return Error(Errc::io, "the checkpoint store must be reopened: " + broken);
  return {};
}

Status CheckpointStore::Impl::let_others_in(Lock& lock) {
  lock.unlock();
  mutex.lock_in_turn();
  lock = Lock(mutex, std::adopt_lock);
  return writable();
}

Result<std::uint16_t> CheckpointStore::Impl::namespace_number(const Namespace& n, bool create) {
  Buffer encoded = encode_namespace(n);
  const Hash128 hash = namespace_hash(encoded);
  const auto it = namespace_numbers.find(hash);
  if (it != namespace_numbers.end()) return it->second;
  if (!create) return Error(Errc::not_found, "nothing was ever stored under this namespace");
  if (encoded.size() > 32768) return Error(Errc::invalid, "a namespace of over 32 KiB");
  if (namespaces.size() >= 65535) return Error(Errc::exhausted, "there are 65,535 namespaces");
  // Their names stay, so many of them must not take the place of what is stored under them.
  if (namespace_bytes + encoded.size() > options.budget_bytes / 8) {
    return Error(Errc::exhausted, "the names of namespaces take an eighth of the budget");
  }
  std::uint32_t evicted = 0;
  if (make_room(3 * encoded.size() + kEventBytesMax, nullptr, evicted) != Room::made) {
    return Error(Errc::exhausted, "the budget is full");
  }
  JournalEvent e;
  e.event = Event::name_space;
  e.number = static_cast<std::uint16_t>(namespaces.size());
  e.encoded = std::move(encoded);
  TOKVAULT_TRY(log({&e, 1}));
  TOKVAULT_TRY(apply(e));
  return e.number;
}

void CheckpointStore::Impl::note_gone(Hash128 key, Gone reason) {
  const auto [it, is_new] = gone.try_emplace(key.lo, reason);
  it->second = reason;
  if (!is_new) return;
  gone_order.push_back(key.lo);
  // Why something is gone must not take the room of what is there: a 113th of the budget.
  const std::uint64_t most = std::clamp(options.budget_bytes / 1024, kGoneMin, kGoneMax);
  while (gone_order.size() > most) {
    gone.erase(gone_order.front());
    gone_order.pop_front();
  }
}

// Gives a record's bytes back. Pages that it shares with a neighbour go when the neighbour went
// too.
void CheckpointStore::Impl::free_bytes(std::uint32_t number, std::uint64_t offset,
                                       std::uint64_t bytes) {
  const auto it = segments.find(number);
  if (it == segments.end()) return;
  Segment& segment = it->second;
  segment.live -= std::min(segment.live, bytes);
  if (segment.live == 0) {
    // Also the active segment: the next record starts a new one.
    if (!disk_unlink(segment_path(number))) return;
    files[0].erase(number);
    files[1].erase(number);
    unsynced.erase(number);
    allocated -= segment.allocated;
    if (active == number) active = 0;
    segments.erase(it);
    return;
  }
  if (!punching) return;
  std::uint64_t first = round_up(offset, kPage);
  std::uint64_t limit = (offset + bytes) / kPage * kPage;
  const auto edge_is_dead = [&](std::uint64_t page, std::uint64_t dead) {
    const std::uint64_t key = std::uint64_t{number} << 32 | page / kPage;
    std::uint32_t& sum = dead_edges[key];
    sum += static_cast<std::uint32_t>(dead);
    if (sum < kPage) return false;
    dead_edges.erase(key);
    return true;
  };
  if (first > limit) {  // inside one page
    if (!edge_is_dead(offset / kPage * kPage, bytes)) return;
    first = offset / kPage * kPage;
    limit = first + kPage;
  } else {
    if (offset < first && edge_is_dead(first - kPage, first - offset)) first -= kPage;
    if (offset + bytes > limit && edge_is_dead(limit, offset + bytes - limit)) limit += kPage;
  }
  if (first >= limit) return;
  auto file = segment_file(number, false);
  if (!file) return;
  const auto status = disk_punch(**file, first, limit - first);
  if (!status) {
    if (status.code() == Errc::unsupported) punching = false;
    return;
  }
  const auto now = disk_allocated(**file);
  if (!now) return;
  allocated += *now - segment.allocated;
  segment.allocated = *now;
}

// REQUIRES: no children. A parent that was only held for its children goes with the last of them.
Status CheckpointStore::Impl::erase(RecordId id, Gone reason) {
  while (id != kNoRecord) {
    const BlockRecord r = index[id];
    JournalEvent e;
    e.event = Event::remove;
    e.key = r.key();
    e.reason = reason;
    TOKVAULT_TRY(log({&e, 1}));
    note_gone(r.key(), reason);
    policy->ceased_leaf(id);
    policy->erased(id, reason == Gone::evicted);
    unlink_record(id);
    index.erase(id);
    pins.erase(id);
    if ((r.flags & kBad) == 0) {
      if (reason != Gone::evicted) void_record(r.segment, r.offset(), r.bytes());
      free_bytes(r.segment, r.offset(), r.bytes());
    }
    id = kNoRecord;
    if (r.parent != kNoRecord && index[r.parent].children() == 0) {
      if ((index[r.parent].flags & kBad) != 0) {
        id = r.parent;
        reason = Gone::quarantined;
      } else {
        policy->became_leaf(r.parent);
      }
    }
  }
  return {};
}

Result<std::uint32_t> CheckpointStore::Impl::erase_all(Lock& lock, std::span<const RecordId> ids,
                                                       Gone reason) {
  std::vector<std::pair<std::uint32_t, RecordId>> going;
  for (const RecordId id : ids) {
    going.emplace_back(index[id].depth * 2u + (index[id].kind == Kind::sidecar ? 1 : 0), id);
  }
  // Deepest first; depth saturates, so what still has children waits for another round.
  std::sort(going.rbegin(), going.rend());
  std::uint32_t count = 0;
  while (!going.empty()) {
    std::vector<std::pair<std::uint32_t, RecordId>> waiting;
    for (const auto& item : going) {
      const BlockRecord& r = index[item.second];
      if (r.kind == Kind::free) continue;  // went with its last child
      if (r.children() > 0 || is_protected(item.second)) {
        waiting.push_back(item);
        continue;
      }
      TOKVAULT_TRY(erase(item.second, reason));
      if (++count % kErasedAtOnce == 0) TOKVAULT_TRY(let_others_in(lock));
    }
    if (waiting.size() == going.size()) break;
    going.swap(waiting);
  }
  return count;
}

Status CheckpointStore::Impl::quarantine(RecordId id) {
  if (closed) return {};  // while it was being read; the next who reads it will find it
  BlockRecord& r = index[id];
  if (r.kind == Kind::free || (r.flags & kBad) != 0) return {};
  ++counters.quarantined;
  if (options.read_only || rotating) {  // for this process only, or until it can be written
    r.flags |= kBad;
    if (rotating) bad_meanwhile.emplace_back(id, r.key());
    return {};
  }
  if (r.children() == 0) return erase(id, Gone::quarantined);
  JournalEvent e;
  e.event = Event::remove;
  e.key = r.key();
  e.reason = Gone::quarantined;
  TOKVAULT_TRY(log({&e, 1}));
  note_gone(r.key(), Gone::quarantined);
  const BlockRecord old = r;
  r.flags |= kBad;
  r.units = 0;
  void_record(old.segment, old.offset(), old.bytes());
  free_bytes(old.segment, old.offset(), old.bytes());
  return {};
}

// What is larger than all the room there is, besides `bytes`, goes before anything is weighed: else
// all that is worth less would go first, and it after all the same. A put lets nothing in that does
// not fit, so this is for a budget that became smaller.
void CheckpointStore::Impl::evict_oversized(Lock& lock, std::uint64_t bytes,
                                            std::uint32_t& evicted) {
  const std::uint64_t other = disk_bytes() - allocated + index_estimate() + kJournalSlack + bytes;
  if (other + allocated <= options.budget_bytes) return;
  std::vector<RecordId> roots;
  for (RecordId id = 0; id < index.limit(); ++id) {
    const BlockRecord& r = std::as_const(index)[id];
    if (r.kind != Kind::free && other + r.bytes() > options.budget_bytes) roots.push_back(id);
  }
  if (roots.empty()) return;
  const auto gone_now = erase_all(lock, descendants(roots), Gone::evicted);
  if (!gone_now) return;  // what evicts next says why
  evicted += *gone_now;
  counters.evicted += *gone_now;
}

// Evicts until `bytes` fit. With a candidate, only what is worth less than it.
Room CheckpointStore::Impl::make_room(std::uint64_t bytes, const Candidate* candidate,
                                      std::uint32_t& evicted, std::uint32_t erased_max) {
  // The index is rewritten while the old one is still there, and so is a segment that is cleaned.
  const std::uint64_t reserve =
      index_estimate() + kJournalSlack + (punching ? 0 : segment_bytes + kSegmentSlack);
  const auto fits = [&] { return disk_bytes() + reserve + bytes <= options.budget_bytes; };
  if (!fits()) take_uses();
  while (!fits()) {
    if (!punching) {
      if (const std::uint32_t segment = segment_to_clean(); segment != 0 && clean(segment)) {
        continue;
      }
    }
    const RecordId victim = policy->victim([&](RecordId id) { return is_protected(id); });
    if (victim == kNoRecord) return Room::none;
    if (erased_max == 0) return Room::not_yet;
    if (candidate != nullptr && options.admission && !policy->admit(*candidate, victim)) {
      return Room::not_worth;
    }
    if (!erase(victim, Gone::evicted)) return Room::none;
    --erased_max;
    ++evicted;
    ++counters.evicted;
  }
  return Room::made;
}

std::uint32_t CheckpointStore::Impl::segment_to_clean() const {
  std::uint32_t best = 0;
  double least = 0.5;
  for (const auto& [number, s] : segments) {
    if (number == active || s.live == 0) continue;  // nothing to move
    const double share = static_cast<double>(s.live) / static_cast<double>(s.size);
    if (share >= least) continue;
    least = share;
    best = number;
  }
  return best;
}

// Starts a segment. A number whose file is there already, of whomever, is passed over.
Status CheckpointStore::Impl::new_segment() {
  for (;;) {
    auto created = disk_open(segment_path(next_segment), O_RDWR | O_CREAT | O_EXCL);
    if (!created && created.code() != Errc::exists) return std::move(created).error();
    const std::uint32_t number = next_segment++;
    if (!created) continue;
    new_names = true;
    active = number;
    segments[active] = {};
    return {};  // segment_file opens it, and keeps no more open than it may
  }
}

// Where holes cannot be punched: moves what lives in a segment to the active one.
Status CheckpointStore::Impl::clean(std::uint32_t number) {
  for (RecordId id = 0; id < index.limit(); ++id) {
    BlockRecord& r = index[id];
    if (r.kind == Kind::free || r.segment != number || (r.flags & kBad) != 0) continue;
    if (reading.contains(id)) return Error(Errc::busy, "a record is being read");
    const std::uint64_t bytes = r.bytes();
    TOKVAULT_ASSIGN(const auto from, segment_file(number, false));
    AlignedBuffer buffer = aligned_buffer(bytes);
    TOKVAULT_TRY(from->file.pread(r.offset(), bytes, buffer.get()));
    if (active == 0 || segments[active].size + bytes > segment_bytes) TOKVAULT_TRY(new_segment());
    TOKVAULT_ASSIGN(const auto to, segment_file(active, false));
    TOKVAULT_TRY(name_in_segment(*to, active, r.name_space));
    Segment& target = segments[active];
    const std::uint64_t unit = r.offset() % kPage == 0 ? kPage : 64;
    const std::uint64_t at = round_up(target.size, unit);
    const ByteView parts[] = {ByteView(buffer.get(), bytes)};
    TOKVAULT_TRY(disk_write(*to, at, parts));
    JournalEvent e;
    e.event = Event::add;
    e.key = r.key();
    e.has_parent = r.parent != kNoRecord;
    if (e.has_parent) e.parent = index[r.parent].key();
    e.record = r;
    e.record.segment = active;
    e.record.offset_units = static_cast<std::uint32_t>(at / 64);
    TOKVAULT_TRY(log({&e, 1}));
    target.size = at + bytes;
    target.live += bytes;
    TOKVAULT_ASSIGN(const std::uint64_t now, disk_allocated(*to));
    allocated += now - target.allocated;
    target.allocated = now;
    counters.bytes_written += bytes;
    unsynced.insert(active);
    const std::uint64_t old = r.offset();
    r.segment = active;
    r.offset_units = e.record.offset_units;
    free_bytes(number, old, bytes);
  }
  return {};
}

// Every segment says the fields of the namespaces of its records, so that it proves them alone.
Status CheckpointStore::Impl::name_in_segment(const DiskFile& file, std::uint32_t number,
                                              std::uint16_t n) {
  if (named_segment != number) named.clear();
  named_segment = number;
  if (named.contains(n)) return {};
  RecordHeader header;
  header.kind = Kind::name_space;
  header.key = header.parent = header.name_space = namespaces[n].hash;
  header.meta_bytes = static_cast<std::uint32_t>(namespaces[n].encoded.size());
  header.tail_checksum = checksum64(namespaces[n].encoded);
  header.created_ms = static_cast<std::uint64_t>(now_ms());
  const Buffer prefix = encode_prefix(header, {}, {});
  const std::uint64_t bytes = header.record_bytes();
  const std::uint64_t pad = bytes - prefix.size() - header.meta_bytes;
  const std::uint64_t at = round_up(segments[number].size, header.unit());
  const ByteView parts[] = {prefix, namespaces[n].encoded, ByteView(kZeros).substr(0, pad)};
  TOKVAULT_TRY(disk_write(file, at, parts));
  segments[number].size = at + bytes;
  counters.bytes_written += bytes;
  named.insert(n);
  return {};
}

// Writes the records one behind the other, in one call as far as the file lets: the kernel keeps
// several requests of a large write in flight, which is what makes it fast past the page cache.
Result<std::vector<Place>> CheckpointStore::Impl::write_run(Lock& lock,
                                                            std::span<const NewRecord> run) {
  std::uint64_t wanted = 0;
  for (const NewRecord& r : run) wanted += r.header.record_bytes();
  if (active == 0 ||
      (segments[active].size > 0 && segments[active].size + wanted > segment_bytes)) {
    TOKVAULT_TRY(new_segment());
  }
  const std::uint32_t number = active;
  TOKVAULT_ASSIGN(const auto buffered, segment_file(number, false));
  auto named_status = name_in_segment(*buffered, number, run.front().name_space);
  const std::uint64_t start = round_up(segments[number].size, run.front().header.unit());
  const bool paged = run.front().header.paged;
  auto target = buffered;
  if (options.direct_io && paged) {
    TOKVAULT_ASSIGN(target, segment_file(number, true));
  }
  // Readers go on while the bytes are written. They may set aside what they find damaged: counted
  // from now on, the new records keep the file when the last of the others goes.
  segments[number].live += wanted;
  struct Counted {  // and no more where there is no memory to write them
    Impl& store;
    Lock& lock;
    std::uint32_t segment;
    std::uint64_t bytes;
    ~Counted() {
      if (bytes == 0) return;
      if (!lock.owns_lock()) lock.lock();
      store.segments.find(segment)->second.live -= bytes;
    }
  } counted{*this, lock, number, wanted};
  lock.unlock();
  std::vector<Place> places;
  auto write = [&]() -> Status {
    // O_DIRECT wants aligned memory: what is not is copied, a payload that is is not.
    const bool direct = target != buffered;
    const auto stays = [direct](ByteView part) {
      return !direct || (reinterpret_cast<std::uintptr_t>(part.data()) % kPage == 0 &&
                         part.size() % kPage == 0);
    };
    std::vector<Buffer> prefixes;
    std::uint64_t copied = 0;
    for (const NewRecord& r : run) {
      prefixes.push_back(encode_prefix(r.header, r.tokens, r.ready.sums, r.ready.coded.sizes));
      const ByteView stored = r.stored();
      copied += r.header.record_bytes() - (stays(stored) ? stored.size() : 0);
    }
    AlignedBuffer staging = direct ? aligned_buffer(copied) : nullptr;
    char* out = staging.get();
    std::vector<ByteView> parts;
    const auto add_part = [&](ByteView part) {
      if (direct) {
        std::copy(part.begin(), part.end(), out);
        part = ByteView(out, part.size());
        out += part.size();
        if (!parts.empty() && parts.back().data() + parts.back().size() == part.data()) {
          parts.back() = ByteView(parts.back().data(), parts.back().size() + part.size());
          return;
        }
      }
      parts.push_back(part);
    };
    std::uint64_t at = start;
    for (std::size_t i = 0; i < run.size(); ++i) {
      const NewRecord& r = run[i];
      const ByteView stored = r.stored();
      add_part(ByteView(kZeros).substr(0, round_up(at, r.header.unit()) - at));
      at = round_up(at, r.header.unit());
      places.push_back({number, at});
      add_part(prefixes[i]);
      if (stays(stored)) {
        parts.push_back(stored);
      } else {
        add_part(stored);
      }
      add_part(r.text);
      add_part(r.meta);
      const std::uint64_t bytes = r.header.record_bytes();
      add_part(ByteView(kZeros).substr(
          0, bytes - prefixes[i].size() - stored.size() - r.text.size() - r.meta.size()));
      at += bytes;
    }
    return disk_write(*target, start, parts);
  };
  auto status = named_status ? write() : std::move(named_status);
  const std::uint64_t end =
      status ? places.back().offset + run.back().header.record_bytes() : start;
  if (status && paged && target == buffered) disk_start_writing(*buffered, start, end - start);
  lock.lock();
  counted.bytes = 0;
  Segment& segment = segments[number];
  const auto now = disk_allocated(*buffered);
  if (now) {
    allocated += *now - segment.allocated;
    segment.allocated = *now;
  }
  if (!status) {
    // What was written of it is cut off, so that it takes no space.
    auto cut = disk_truncate(*buffered, segment.size);
    const auto after = disk_allocated(*buffered);
    if (cut && after) {
      allocated += *after - segment.allocated;
      segment.allocated = *after;
    }
    segment.live -= wanted;
    if (!cut && segment.live > 0) active = 0;
    if (segment.live == 0) free_bytes(number, 0, 0);
    return std::move(status).error();
  }
  for (std::size_t i = 0; i < run.size(); ++i) {
    if (places[i].offset > segment.size) {  // the gap before a page-aligned record is dead space
      const std::uint64_t key = std::uint64_t{number} << 32 | segment.size / kPage;
      dead_edges[key] += static_cast<std::uint32_t>(places[i].offset - segment.size);
    }
    const std::uint64_t bytes = run[i].header.record_bytes();
    segment.size = places[i].offset + bytes;
    counters.bytes_written += bytes;
  }
  unsynced.insert(number);
  return places;
}

CheckpointCodec CheckpointStore::Impl::codec_for(std::uint16_t number) const {
  if (options.codec != CheckpointCodec::by_dtype) return options.codec;
  return codec_of_dtype(namespaces[number].value.dtype);
}

namespace {

Candidate candidate_of(const RecordHeader& header, bool has_parent, std::uint32_t tokens) {
  return {.key = header.key,
          .parent = header.parent,
          .has_parent = has_parent,
          .position = header.position,
          .tokens = tokens,
          .units = static_cast<std::uint32_t>(header.record_bytes() / 64)};
}

}  // namespace

// How many of the records go into the next write: what is left of the segment.
std::size_t CheckpointStore::Impl::run_size(std::span<const NewRecord> records) const {
  const auto it = segments.find(active);
  const std::uint64_t used = active == 0 || it == segments.end() ? 0 : it->second.size;
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  for (const std::uint64_t left : {segment_bytes - std::min(segment_bytes, used), segment_bytes}) {
    while (count < records.size()) {
      bytes += round_up(records[count].header.record_bytes(), records[count].header.unit());
      if (bytes > left) break;
      ++count;
    }
    if (count > 0) return count;
    bytes = 0;
  }
  return 1;
}

CheckpointStore::Impl::Added CheckpointStore::Impl::add(Lock& lock, std::span<NewRecord> records,
                                                        CheckpointPutReport& report,
                                                        bool optional) {
  Added out;
  while (out.ids.size() < records.size() && !out.failure && !out.not_worth) {
    const auto left = records.subspan(out.ids.size());
    RecordId parent = kNoRecord;
    if (left.front().has_parent) {
      parent = index.find(left.front().header.parent);
      if (parent == kNoRecord) {
        out.failure = Error(Errc::not_found, "the block before this one is not there any more");
        break;
      }
    }
    const Hold held(*this, lock, parent);
    add_run(lock, left.first(run_size(left)), report, optional, out);
  }
  return out;
}

Status CheckpointStore::Impl::add_single(Lock& lock, NewRecord record) {
  const RecordId parent = record.has_parent ? index.find(record.header.parent) : kNoRecord;
  const CheckpointCodec codec = codec_for(record.name_space);
  {
    const Hold held(*this, lock, parent);
    lock.unlock();
    record.set_ready(prepare_payload(codec, record.payload));
    lock.lock();
  }
  const RecordId old = index.find(record.header.key);
  if (old != kNoRecord && can_fit(record)) {
    if (is_protected(old)) return Error(Errc::busy, "what would be replaced is being read");
    TOKVAULT_TRY(erase(old, Gone::replaced));
  }
  CheckpointPutReport report;
  Added added = add(lock, {&record, 1}, report, false);
  if (added.failure) return std::move(*added.failure);
  if (options.sync == CheckpointSync::every_put) return sync_segments(lock, false);
  return {};
}

std::uint64_t CheckpointStore::Impl::framing_bytes(std::uint16_t name_space) const {
  return kSegmentSlack +
         round_up(kRecordHeaderBytes + namespaces[name_space].encoded.size(), kPage);
}

bool CheckpointStore::Impl::can_fit(const NewRecord& record) const {
  return framing_bytes(record.name_space) + record.header.record_bytes() + kJournalSlack +
             index_estimate() + disk_bytes() - allocated <=
         options.budget_bytes;
}

// Makes room, writes, journals and publishes. What does not fit with the ones before it is left to
// the next run, unless it is the first.
void CheckpointStore::Impl::add_run(Lock& lock, std::span<const NewRecord> run,
                                    CheckpointPutReport& report, bool optional, Added& out) {
  const auto no_room = [&](const NewRecord& n, Error error) {
    if (error.code() == Errc::exhausted) {
      note_gone(n.header.key, Gone::no_room);
      ++counters.refused;
    }
    out.failure = std::move(error);
  };
  std::uint64_t wanted = framing_bytes(run.front().name_space);
  std::size_t count = 0;
  for (; count < run.size(); ++count) {
    const NewRecord& n = run[count];
    const std::uint64_t bytes = n.header.record_bytes();
    // What can never fit must not empty the store before it is refused.
    if (!can_fit(n)) {
      if (count > 0) break;
      return no_room(n, Error(Errc::exhausted, "a record of " + std::to_string(bytes) +
                                                   " bytes does not fit the budget"));
    }
    const Candidate candidate = candidate_of(n.header, n.has_parent, n.worth_tokens);
    const auto make = [&] {
      return make_room(wanted + bytes + (count + 1) * kEventBytesMax,
                       optional ? &candidate : nullptr, report.evicted, kErasedAtOnce);
    };
    Room room = make();
    for (; room == Room::not_yet; room = make()) {
      auto on = let_others_in(lock);
      if (!on) {
        out.failure = std::move(on).error();
        return;
      }
    }
    if (room != Room::made && count > 0) break;
    if (room == Room::none) return no_room(n, Error(Errc::exhausted, "the budget is full"));
    if (room == Room::not_worth) {
      policy->refused(candidate);
      ++counters.refused;
      out.not_worth = true;
      return;
    }
    wanted += round_up(bytes, n.header.unit());
  }
  run = run.first(count);
  auto places = write_run(lock, run);
  const auto disk_full = [](const Error& e) {
    return e.os_code() == ENOSPC || e.os_code() == EDQUOT;
  };
  for (int attempt = 1; attempt < 3 && !places && disk_full(places.error()); ++attempt) {
    // A full disk is pressure: records of as many bytes go, whatever the file system gives back
    // for them, and the write is tried again.
    for (std::uint64_t gone_bytes = 0; gone_bytes < wanted;) {
      const RecordId victim = policy->victim([&](RecordId id) { return is_protected(id); });
      if (victim == kNoRecord) break;
      gone_bytes += index[victim].bytes();
      if (!erase(victim, Gone::evicted)) break;
      ++report.evicted;
      ++counters.evicted;
    }
    places = write_run(lock, run);
  }
  if (!places && places.code() == Errc::exhausted && run.size() > 1) {
    // Perhaps there is room for one.
    return add_run(lock, run.first(1), report, optional, out);
  }
  if (!places) return no_room(run.front(), std::move(places).error());
  std::vector<JournalEvent> events(run.size());
  for (std::size_t i = 0; i < run.size(); ++i) {
    const NewRecord& n = run[i];
    JournalEvent& e = events[i];
    e.event = Event::add;
    e.key = n.header.key;
    e.has_parent = n.has_parent;
    if (n.has_parent) e.parent = n.header.parent;
    e.record.kind = n.header.kind;
    e.record.name_space = n.name_space;
    e.record.tokens = n.worth_tokens;
    e.record.depth = n.depth;
    e.record.segment = (*places)[i].segment;
    e.record.offset_units = static_cast<std::uint32_t>((*places)[i].offset / 64);
    e.record.units = static_cast<std::uint32_t>(n.header.record_bytes() / 64);
    e.extra = n.extra;
  }
  auto logged = log(events);
  if (!logged) {
    for (std::size_t i = 0; i < run.size(); ++i) {
      const std::uint64_t bytes = run[i].header.record_bytes();
      void_record((*places)[i].segment, (*places)[i].offset, bytes);
      free_bytes((*places)[i].segment, (*places)[i].offset, bytes);
    }
    out.failure = std::move(logged).error();
    return;
  }
  for (std::size_t i = 0; i < run.size(); ++i) {
    const NewRecord& n = run[i];
    const std::uint64_t bytes = n.header.record_bytes();
    // The bytes are counted where they were written; apply counts them again.
    segments[(*places)[i].segment].live -= bytes;
    const bool was_there = index.find(n.header.key) != kNoRecord;
    auto applied = apply(events[i]);
    if (!applied) {
      out.failure = std::move(applied).error();
      return;
    }
    const RecordId id = index.find(n.header.key);
    index[id].last_use = clock;
    if (!was_there) {
      if (n.has_parent) policy->ceased_leaf(index[id].parent);
      policy->inserted(id);
      policy->became_leaf(id);
    }
    report.bytes_written += bytes;
    counters.bytes_admitted += bytes;
    if (n.header.codec != CheckpointCodec::none) {
      counters.bytes_coded += n.payload.size();
      counters.bytes_code += n.header.coded_bytes;
    }
    out.ids.push_back(id);
  }
  const std::uint64_t journal_limit = std::clamp<std::uint64_t>(
      index_file_bytes / 2, std::min(kJournalBytesMin, options.budget_bytes / 16),
      kJournalBytesMax);
  if (journal_bytes > journal_limit) {
    const Hold held(*this, lock, out.ids.back());
    static_cast<void>(rotate(lock).has_value());
  }
}

// Partial blocks that the new block extends are not needed any more.
Status CheckpointStore::Impl::replace_tails(std::uint16_t number, RecordId parent, Hash128 hash,
                                            TokenView rest, RecordId keep) {
  const bool any =
      parent == kNoRecord ? namespaces[number].has_tails : (index[parent].flags & kHasTails) != 0;
  if (!any) return {};
  for (std::size_t size = 1; size < rest.size(); ++size) {
    const RecordId id = index.find(block_hash(hash, rest.first(size)));
    if (id == kNoRecord || id == keep || index[id].kind != Kind::tail || is_protected(id)) continue;
    std::vector<RecordId> attached;
    const auto range = sidecars.equal_range(id);
    for (auto it = range.first; it != range.second; ++it) attached.push_back(it->second);
    if (std::any_of(attached.begin(), attached.end(),
                    [this](RecordId s) { return is_protected(s); })) {
      continue;
    }
    for (const RecordId s : attached) TOKVAULT_TRY(erase(s, Gone::replaced));
    TOKVAULT_TRY(erase(id, Gone::replaced));
  }
  return {};
}

// Whether a block takes no more than one without a payload would, which earlier builds stored.
bool CheckpointStore::Impl::may_be_empty(RecordId id) const {
  const BlockRecord& r = index[id];
  RecordHeader empty;
  empty.tokens = r.tokens;
  empty.paged = r.offset() % kPage == 0 && r.bytes() % kPage == 0;
  if ((r.flags & kHasText) != 0) {
    if (const auto extra = extras.find(id); extra != extras.end()) {
      empty.text_bytes = extra->second.text_bytes;
    }
  }
  return r.bytes() <= empty.record_bytes();
}

Result<CheckpointPutReport> CheckpointStore::Impl::put(const Namespace& n, TokenView tokens,
                                                       const CheckpointPut& p) {
  const std::size_t block_count = (tokens.size() + block_tokens - 1) / block_tokens;
  if (p.first_block >= block_count || p.blocks.size() != block_count - p.first_block) {
    return Error(Errc::invalid, "put: " + std::to_string(tokens.size()) + " tokens have " +
                                    std::to_string(block_count) + " blocks, and " +
                                    std::to_string(p.blocks.size()) + " from block " +
                                    std::to_string(p.first_block) + " on were given");
  }
  if (tokens.size() > 0xffffffffu) return Error(Errc::invalid, "put: over 4 billion tokens");
  for (const CheckpointBlock& b : p.blocks) {
    // What is stored is not written again: an empty block would keep the real one out.
    if (b.payload.empty()) return Error(Errc::invalid, "put: the payload of a block is empty");
    if (b.payload.size() > kPayloadBytesMax || b.text.size() > 0xffffffffu) {
      return Error(Errc::invalid, "put: a payload of over 3 GiB or a text of over 4 GiB");
    }
  }
  const std::lock_guard writing(write_mutex);
  std::future<std::vector<PreparedPayload>> next;  // goes, and is waited for, after `lock`
  std::unique_lock lock(mutex);
  TOKVAULT_TRY(writable());
  TOKVAULT_ASSIGN(const std::uint16_t number, namespace_number(n, true));
  policy->begin(++clock);
  TOKVAULT_TRY(expire(lock));
  CheckpointPutReport report;
  const Hash128 root = namespaces[number].hash;
  const CheckpointCodec codec = codec_for(number);
  const auto ids_of = [&](std::size_t i) {
    return tokens.subspan(i * block_tokens,
                          std::min<std::size_t>(block_tokens, tokens.size() - i * block_tokens));
  };
  std::vector<Hash128> keys;
  for (std::size_t i = 0; i < block_count; ++i) {
    keys.push_back(block_hash(i == 0 ? root : keys.back(), ids_of(i)));
  }
  const auto stored = [&](std::size_t i) {
    const RecordId id = index.find(keys[i]);
    return id == kNoRecord || (index[id].flags & kBad) != 0 ? kNoRecord : id;
  };
  // Blocks that are not there are written in runs. While one is written, another thread sums and
  // codes the next; the first, which is waited for, is short.
  const auto run_end = [&](std::size_t first, std::uint64_t bytes_max) {
    std::size_t i = first;
    for (std::uint64_t bytes = 0; i < block_count && i - first < kRunRecordsMax; ++i) {
      bytes += p.blocks[i - p.first_block].payload.size();
      if (i > first && (bytes > bytes_max || stored(i) != kNoRecord)) break;
    }
    return i;
  };
  const auto prepare = [codec, p](std::size_t first, std::size_t limit) {
    std::vector<PreparedPayload> out;
    for (std::size_t i = first; i < limit; ++i) {
      out.push_back(prepare_payload(codec, p.blocks[i - p.first_block].payload));
    }
    return out;
  };
  std::size_t next_first = 0;
  std::size_t next_limit = 0;
  std::vector<RecordId> chain;
  std::optional<Error> failure;
  std::size_t i = 0;
  while (i < block_count && !failure) {
    if (const RecordId id = stored(i); id != kNoRecord) {
      if (i >= p.first_block && may_be_empty(id)) {
        const Located at = locate(id);
        Hold held(*this, lock, id);
        lock.unlock();
        const auto prefix = read_prefix(at);
        lock.lock();
        held.end();
        if (!prefix) set_aside(at, prefix.error());
        if (stored(i) != id) continue;
      }
      index[id].last_use = clock;
      if (i >= p.first_block) ++report.blocks_known;
      chain.push_back(id);
      ++i;
      continue;
    }
    if (i < p.first_block) {
      failure = Error(Errc::not_found, "put: block " + std::to_string(i) + " is not stored");
      break;
    }
    const bool under_way = next.valid() && next_first == i;
    const std::size_t limit = under_way ? next_limit : run_end(i, kRunBytesMax / 4);
    Hold held(*this, lock, chain.empty() ? kNoRecord : chain.back());
    lock.unlock();
    std::vector<PreparedPayload> ready = under_way ? next.get() : prepare(i, limit);
    lock.lock();
    held.end();
    next_first = next_limit = limit;
    if (limit < block_count && stored(limit) == kNoRecord) {
      next_limit = run_end(limit, kRunBytesMax);
      next =
          std::async(std::launch::async | std::launch::deferred, prepare, next_first, next_limit);
    }
    std::vector<NewRecord> records;
    const auto now = static_cast<std::uint64_t>(now_ms());
    for (std::size_t k = i; k < limit; ++k) {
      const CheckpointBlock& b = p.blocks[k - p.first_block];
      NewRecord& record = records.emplace_back();
      record.tokens = ids_of(k);
      record.header.kind = record.tokens.size() < block_tokens ? Kind::tail : Kind::block;
      record.header.paged = b.payload.size() >= kPagedPayloadBytes || options.direct_io;
      record.header.key = keys[k];
      record.header.parent = k == 0 ? root : keys[k - 1];
      record.header.name_space = root;
      record.header.tokens = static_cast<std::uint32_t>(record.tokens.size());
      record.header.position = static_cast<std::uint32_t>(k * block_tokens);
      record.header.payload_bytes = b.payload.size();
      record.header.text_bytes = static_cast<std::uint32_t>(b.text.size());
      record.header.tail_checksum = checksum64(b.text);
      record.header.created_ms = now;
      record.has_parent = k > 0;
      record.payload = b.payload;
      record.set_ready(std::move(ready[k - i]));
      record.text = b.text;
      record.name_space = number;
      record.depth = static_cast<std::uint16_t>(std::min<std::size_t>(k, 65535));
      record.worth_tokens = static_cast<std::uint16_t>(record.tokens.size());
      if (!b.text.empty()) {
        record.extra.text_bytes = record.header.text_bytes;
        record.extra.text = text_hash(b.text);
      }
      if (p.time_to_live_ms > 0) {
        record.extra.expires_ms = record.header.expires_ms =
            now + std::min(p.time_to_live_ms, ~std::uint64_t{0} - now);
      }
    }
    Added added = add(lock, records, report, true);
    for (const RecordId id : added.ids) {
      const std::size_t k = i++;
      chain.push_back(id);
      ++report.blocks_written;
      ++counters.blocks_written;
      auto replaced =
          replace_tails(number, index[id].parent, k == 0 ? root : keys[k - 1], ids_of(k), id);
      if (!replaced) failure = std::move(replaced).error();
    }
    if (added.failure) {
      if (added.failure->code() == Errc::exhausted) {
        report.blocks_refused += static_cast<std::uint32_t>(block_count - i);
      }
      failure = std::move(added.failure);
    }
    if (!added.not_worth) continue;
    // What stands behind a refused block is refused with it: nothing could find it.
    ++report.blocks_refused;
    for (std::size_t k = i + 1; k < block_count; ++k) {
      policy->refused({.key = keys[k],
                       .position = static_cast<std::uint32_t>(k * block_tokens),
                       .tokens = static_cast<std::uint32_t>(ids_of(k).size())});
      ++report.blocks_refused;
    }
    break;
  }
  policy->end(chain);
  if (options.sync == CheckpointSync::every_put && report.blocks_written > 0) {
    TOKVAULT_TRY(sync_segments(lock, false));
  }
  if (failure) return std::move(*failure);
  return report;
}

Result<std::uint64_t> CheckpointStore::Impl::expire(Lock& lock) {
  const auto now = static_cast<std::uint64_t>(now_ms());
  if (now < next_expiry_ms) return std::uint64_t{0};
  std::vector<RecordId> old;
  next_expiry_ms = ~std::uint64_t{0};
  for (const auto& [id, extra] : extras) {
    if (extra.expires_ms == 0) continue;
    // What is in use, or has what does not expire behind it, is looked at again in a second.
    next_expiry_ms = std::min(next_expiry_ms, std::max(extra.expires_ms, now + 1000));
    if (extra.expires_ms <= now) old.push_back(id);
  }
  // From the ends of the chains: what other blocks stand behind stays until they are gone.
  std::sort(old.begin(), old.end(),
            [this](RecordId a, RecordId b) { return index[a].depth > index[b].depth; });
  std::uint64_t count = 0;
  std::uint32_t erased = 0;  // since others were let in
  for (const RecordId id : old) {
    if (erased >= kErasedAtOnce) {
      TOKVAULT_TRY(let_others_in(lock));
      erased = 0;
    }
    if (index[id].kind == Kind::free || is_protected(id)) continue;
    std::vector<RecordId> attached;
    const auto range = sidecars.equal_range(id);
    for (auto it = range.first; it != range.second; ++it) attached.push_back(it->second);
    for (const RecordId s : attached) {
      if (is_protected(s)) continue;
      TOKVAULT_TRY(erase(s, Gone::expired));
      ++erased;
    }
    if (index[id].children() > 0) continue;
    TOKVAULT_TRY(erase(id, Gone::expired));
    ++erased;
    ++count;
  }
  return count;
}

// Makes the log durable. Without the journal what was put is durable all the same: opening finds it
// in the log, behind what the journal knows. With it opening need not look.
Status CheckpointStore::Impl::sync_segments(Lock& lock, bool with_journal) {
  const auto sync = [&](const auto& how) {
    lock.unlock();
    auto status = how();
    lock.lock();
    if (!status) broken = std::string(status.error().message());
    return status;
  };
  // One at a time: there may be more of them than a process may have open. One that cannot be
  // opened now is due the next time.
  while (!unsynced.empty()) {
    const std::uint32_t number = *unsynced.begin();
    TOKVAULT_ASSIGN(const auto file, segment_file(number, false));
    unsynced.erase(number);
    TOKVAULT_TRY(sync([&] { return disk_sync(*file); }));
  }
  const auto journal_file = journal;
  if (with_journal) TOKVAULT_TRY(sync([&] { return disk_sync(*journal_file); }));
  if (new_names) TOKVAULT_TRY(sync([&] { return sync_folder(directory); }));
  new_names = false;
  return {};
}

Status CheckpointStore::Impl::flush(bool closing) {
  const std::lock_guard writing(write_mutex);
  std::unique_lock lock(mutex);
  if (options.read_only || closed) return {};
  TOKVAULT_TRY(writable());
  take_uses();
  TOKVAULT_TRY(sync_segments(lock, true));
  const bool small = index_estimate() < kSmallIndexBytes;
  const bool grown = journal_bytes > std::max(kJournalBytesMin, index_file_bytes / 4);
  if (dirty && (grown || (closing && small))) {
    auto status = rotate(lock);
    // No room for a new index is no loss: the journal has everything.
    if (!status && status.code() != Errc::exhausted) return status;
  }
  return {};
}

}  // namespace tokvault
