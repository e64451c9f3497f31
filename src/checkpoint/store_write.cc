// Putting, making room, removing: everything that changes a checkpoint store.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <future>

#include "base/checksum.h"
#include "base/clock.h"
#include "checkpoint/store.h"

namespace tokvault {

using namespace checkpoint;

namespace {

constexpr std::size_t kGoneMax = 65536;
constexpr std::uint64_t kJournalSlack = 2 * kPage;  // an event, rounded up, twice
constexpr std::uint64_t kSegmentSlack = 4 * kPage;  // rounding and the file system's extents
constexpr std::uint64_t kJournalBytesMin = 1 << 20;
constexpr std::uint64_t kJournalBytesMax = 64 << 20;
constexpr std::uint64_t kSmallIndexBytes = 16 << 20;

const std::string kZeros(kPage, '\0');

}  // namespace

Status CheckpointStore::Impl::writable() const {
  if (closed) return Error(Errc::invalid, "the checkpoint store is closed");
  if (options.read_only) return Error(Errc::denied, "the checkpoint store is open to read only");
  if (!broken.empty()) return Error(Errc::io, "the checkpoint store must be reopened: " + broken);
  return {};
}

Result<std::uint16_t> CheckpointStore::Impl::namespace_number(const Namespace& n, bool create) {
  Buffer encoded = encode_namespace(n);
  const Hash128 hash = namespace_hash(encoded);
  const auto it = namespace_numbers.find(hash);
  if (it != namespace_numbers.end()) return it->second;
  if (!create) return Error(Errc::not_found, "nothing was ever stored under this namespace");
  if (encoded.size() > 32768) return Error(Errc::invalid, "a namespace of over 32 KiB");
  if (namespaces.size() >= 65535) return Error(Errc::exhausted, "there are 65,535 namespaces");
  JournalEvent e;
  e.event = Event::name_space;
  e.number = static_cast<std::uint16_t>(namespaces.size());
  e.encoded = std::move(encoded);
  TOKVAULT_TRY(log(e));
  TOKVAULT_TRY(apply(e));
  return e.number;
}

void CheckpointStore::Impl::note_gone(Hash128 key, Gone reason) {
  const auto [it, is_new] = gone.try_emplace(key.lo, reason);
  it->second = reason;
  if (!is_new) return;
  gone_order.push_back(key.lo);
  if (gone_order.size() <= kGoneMax) return;
  gone.erase(gone_order.front());
  gone_order.pop_front();
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
    TOKVAULT_TRY(log(e));
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

Status CheckpointStore::Impl::quarantine(RecordId id) {
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
  TOKVAULT_TRY(log(e));
  note_gone(r.key(), Gone::quarantined);
  const BlockRecord old = r;
  r.flags |= kBad;
  r.units = 0;
  void_record(old.segment, old.offset(), old.bytes());
  free_bytes(old.segment, old.offset(), old.bytes());
  return {};
}

// Evicts until `bytes` fit. With a candidate, only what is worth less than it.
Room CheckpointStore::Impl::make_room(std::uint64_t bytes, const Candidate* candidate,
                                      RecordId protect, std::uint32_t& evicted) {
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
    const RecordId victim =
        policy->victim([&](RecordId id) { return id == protect || is_protected(id); });
    if (victim == kNoRecord) return Room::none;
    if (candidate != nullptr && options.admission && !policy->admit(*candidate, victim)) {
      return Room::not_worth;
    }
    if (!erase(victim, Gone::evicted)) return Room::none;
    ++evicted;
    ++counters.evicted;
  }
  return Room::made;
}

std::uint32_t CheckpointStore::Impl::segment_to_clean() const {
  std::uint32_t best = 0;
  double least = 0.5;
  for (const auto& [number, s] : segments) {
    if (number == active || s.size == 0) continue;
    const double share = static_cast<double>(s.live) / static_cast<double>(s.size);
    if (share >= least) continue;
    least = share;
    best = number;
  }
  return best;
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
    if (active == 0 || segments[active].size + bytes > segment_bytes) {
      active = next_segment++;
      new_names = true;
      TOKVAULT_TRY(disk_open(segment_path(active), O_RDWR | O_CREAT | O_EXCL));
    }
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
    TOKVAULT_TRY(log(e));
    target.size = at + bytes;
    target.live += bytes;
    TOKVAULT_ASSIGN(const std::uint64_t now, disk_allocated(*to));
    allocated += now - target.allocated;
    target.allocated = now;
    counters.bytes_written += bytes;
    unsynced[active] = true;
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

Result<Place> CheckpointStore::Impl::write_record(std::unique_lock<std::mutex>& lock,
                                                  const RecordHeader& header, TokenView tokens,
                                                  ByteView payload, const PreparedPayload& ready,
                                                  ByteView text, ByteView meta) {
  const CodedPayload& coded = ready.coded;
  const ByteView stored = coded.codec == CheckpointCodec::none ? payload : ByteView(coded.bytes);
  const std::uint64_t bytes = header.record_bytes();
  if (active == 0 || (segments[active].size > 0 && segments[active].size + bytes > segment_bytes)) {
    const std::uint32_t number = next_segment;
    TOKVAULT_ASSIGN(const auto created, disk_open(segment_path(number), O_RDWR | O_CREAT | O_EXCL));
    ++next_segment;
    new_names = true;
    active = number;
    segments[active] = {};
    files[0][active] = created;
  }
  const std::uint32_t number = active;
  TOKVAULT_ASSIGN(const auto buffered, segment_file(number, false));
  auto named_status = name_in_segment(*buffered, number, namespace_numbers.at(header.name_space));
  const std::uint64_t at = round_up(segments[number].size, header.unit());
  auto direct = buffered;
  if (options.direct_io && header.paged) {
    TOKVAULT_ASSIGN(direct, segment_file(number, true));
  }
  lock.unlock();  // readers go on while the bytes are summed and written
  const Buffer prefix = encode_prefix(header, tokens, ready.sums, coded.sizes);
  const std::uint64_t pad = bytes - prefix.size() - stored.size() - text.size() - meta.size();
  auto write = [&]() -> Status {
    if (direct != buffered) {
      // O_DIRECT wants aligned memory: the parts that are not are copied, a payload that is is not.
      const bool in_place = reinterpret_cast<std::uintptr_t>(stored.data()) % kPage == 0 &&
                            stored.size() % kPage == 0;
      const std::uint64_t copied = in_place ? bytes - stored.size() : bytes;
      AlignedBuffer staging = aligned_buffer(copied);
      char* out = staging.get();
      const auto put_part = [&out](ByteView part) {
        out = std::copy(part.begin(), part.end(), out);
      };
      put_part(prefix);
      if (!in_place) put_part(stored);
      put_part(text);
      put_part(meta);
      std::fill(out, staging.get() + copied, '\0');
      if (!in_place) {
        const ByteView parts[] = {ByteView(staging.get(), bytes)};
        return disk_write(*direct, at, parts);
      }
      const ByteView parts[] = {ByteView(staging.get(), prefix.size()), stored,
                                ByteView(staging.get() + prefix.size(), copied - prefix.size())};
      return disk_write(*direct, at, parts);
    }
    const ByteView parts[] = {prefix, stored, text, meta, ByteView(kZeros).substr(0, pad)};
    return disk_write(*buffered, at, parts);
  };
  auto status = named_status ? write() : std::move(named_status);
  if (status && header.paged && direct == buffered) disk_start_writing(*buffered, at, bytes);
  lock.lock();
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
    if (!cut && segment.live > 0) active = 0;
    return std::move(status).error();
  }
  if (at > segment.size) {  // the gap before a page-aligned record is dead space
    const std::uint64_t key = std::uint64_t{number} << 32 | segment.size / kPage;
    dead_edges[key] += static_cast<std::uint32_t>(at - segment.size);
  }
  segment.size = at + bytes;
  segment.live += bytes;
  unsynced[number] = true;
  counters.bytes_written += bytes;
  return Place{number, at};
}

Result<CheckpointStore::Impl::RecordId> CheckpointStore::Impl::add(
    std::unique_lock<std::mutex>& lock, NewRecord& n, CheckpointPutReport& report, bool optional) {
  if (n.parent != kNoRecord) hold(n.parent);
  const CheckpointCodec codec = codec_for(n.name_space);
  lock.unlock();
  const PreparedPayload ready =
      n.prepared.valid() ? n.prepared.get() : prepare_payload(codec, n.payload);
  lock.lock();
  const CodedPayload& coded = ready.coded;
  n.header.codec = coded.codec;
  n.header.coded_bytes = coded.bytes.size();
  auto added = add_prepared(lock, n, ready, report, optional);
  if (n.parent != kNoRecord) release(n.parent);
  if (added && *added != kNoRecord && coded.codec != CheckpointCodec::none) {
    counters.bytes_coded += n.payload.size();
    counters.bytes_code += coded.bytes.size();
  }
  return added;
}

CheckpointCodec CheckpointStore::Impl::codec_for(std::uint16_t number) const {
  if (options.codec != CheckpointCodec::by_dtype) return options.codec;
  return codec_of_dtype(namespaces[number].value.dtype);
}

Result<CheckpointStore::Impl::RecordId> CheckpointStore::Impl::add_prepared(
    std::unique_lock<std::mutex>& lock, const NewRecord& n, const PreparedPayload& ready,
    CheckpointPutReport& report, bool optional) {
  const std::uint64_t bytes = n.header.record_bytes();
  const std::uint64_t wanted =
      bytes + kSegmentSlack +
      round_up(kRecordHeaderBytes + namespaces[n.name_space].encoded.size(), kPage);
  // What can never fit must not empty the store before it is refused.
  if (wanted + kJournalSlack + index_estimate() + disk_bytes() - allocated > options.budget_bytes) {
    note_gone(n.header.key, Gone::no_room);
    ++counters.refused;
    return Error(Errc::exhausted,
                 "a record of " + std::to_string(bytes) + " bytes does not fit the budget");
  }
  Candidate candidate;
  candidate.key = n.header.key;
  candidate.parent = n.parent;
  candidate.position = n.header.position;
  candidate.tokens = n.worth_tokens;
  candidate.units = static_cast<std::uint32_t>(bytes / 64);
  auto place = Result<Place>(Error(Errc::exhausted, "the budget is full"));
  Room room = Room::none;
  for (int attempt = 0; attempt < 3; ++attempt) {
    room = make_room(wanted, optional ? &candidate : nullptr, n.parent, report.evicted);
    if (room != Room::made) break;
    place = write_record(lock, n.header, n.tokens, n.payload, ready, n.text, n.meta);
    if (place || place.code() != Errc::exhausted) break;
    // A full disk is pressure: as much as the record needs goes, and the write is tried again.
    const std::uint64_t before = allocated;
    while (before - std::min(before, allocated) < wanted) {
      const RecordId victim = policy->victim([&](RecordId id) { return is_protected(id); });
      if (victim == kNoRecord || !erase(victim, Gone::evicted)) break;
      ++report.evicted;
      ++counters.evicted;
    }
  }
  if (room == Room::not_worth) {
    policy->refused(candidate);
    ++counters.refused;
    return kNoRecord;
  }
  if (!place) {
    if (place.code() == Errc::exhausted) {
      note_gone(n.header.key, Gone::no_room);
      ++counters.refused;
    }
    return std::move(place).error();
  }
  JournalEvent e;
  e.event = Event::add;
  e.key = n.header.key;
  e.has_parent = n.parent != kNoRecord;
  e.parent = e.has_parent ? index[n.parent].key() : Hash128{};
  e.record.kind = n.header.kind;
  e.record.name_space = n.name_space;
  e.record.tokens = n.worth_tokens;
  e.record.depth = n.depth;
  e.record.segment = place->segment;
  e.record.offset_units = static_cast<std::uint32_t>(place->offset / 64);
  e.record.units = static_cast<std::uint32_t>(bytes / 64);
  e.extra = n.extra;
  auto logged = log(e);
  if (!logged) {
    void_record(place->segment, place->offset, bytes);
    free_bytes(place->segment, place->offset, bytes);
    return std::move(logged).error();
  }
  // The bytes are counted where they were written; apply counts them again.
  segments[place->segment].live -= bytes;
  const bool was_there = index.find(e.key) != kNoRecord;
  TOKVAULT_TRY(apply(e));
  const RecordId id = index.find(e.key);
  BlockRecord& r = index[id];
  r.last_use = clock;
  if (!was_there) {
    if (n.parent != kNoRecord) policy->ceased_leaf(n.parent);
    policy->inserted(id);
    policy->became_leaf(id);
  }
  report.bytes_written += bytes;
  counters.bytes_admitted += bytes;
  const std::uint64_t journal_limit = std::clamp<std::uint64_t>(
      index_file_bytes / 2, std::min(kJournalBytesMin, options.budget_bytes / 16),
      kJournalBytesMax);
  if (journal_bytes > journal_limit) {
    hold(id);
    static_cast<void>(rotate(lock).has_value());
    release(id);
  }
  return id;
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

Result<CheckpointPutReport> CheckpointStore::Impl::put(const Namespace& n, TokenView tokens,
                                                       const CheckpointPut& p) {
  const std::size_t block_count = (tokens.size() + block_tokens - 1) / block_tokens;
  if (p.first_block + p.blocks.size() != block_count || p.blocks.empty()) {
    return Error(Errc::invalid, "put: " + std::to_string(tokens.size()) + " tokens have " +
                                    std::to_string(block_count) + " blocks, and blocks up to " +
                                    std::to_string(p.first_block + p.blocks.size()) +
                                    " were given");
  }
  if (tokens.size() > 0xffffffffu) return Error(Errc::invalid, "put: over 4 billion tokens");
  for (const CheckpointBlock& b : p.blocks) {
    if (b.payload.size() > kPayloadBytesMax || b.text.size() > 0xffffffffu) {
      return Error(Errc::invalid, "put: a payload of over 3 GiB or a text of over 4 GiB");
    }
  }
  const std::lock_guard writing(write_mutex);
  std::unique_lock lock(mutex);
  TOKVAULT_TRY(writable());
  TOKVAULT_ASSIGN(const std::uint16_t number, namespace_number(n, true));
  policy->begin(++clock);
  TOKVAULT_TRY(expire_locked());
  CheckpointPutReport report;
  RecordId parent = kNoRecord;
  Hash128 hash = namespaces[number].hash;
  const Hash128 root = hash;
  std::vector<RecordId> chain;
  bool refused = false;
  std::optional<Error> failure;
  // While a large block is written, the next one is summed and coded by another thread.
  std::future<PreparedPayload> next;
  std::size_t prepared = 0;  // the block that `next` is of
  const auto prepare = [&](std::size_t i) {
    if (i >= block_count || i < p.first_block) return;
    const ByteView payload = p.blocks[i - p.first_block].payload;
    if (payload.size() < kPagedPayloadBytes) return;
    prepared = i;
    next = std::async(std::launch::async | std::launch::deferred, prepare_payload,
                      codec_for(number), payload);
  };
  for (std::size_t i = 0; i < block_count && !failure; ++i) {
    const TokenView ids = tokens.subspan(
        i * block_tokens, std::min<std::size_t>(block_tokens, tokens.size() - i * block_tokens));
    const bool partial = ids.size() < block_tokens;
    const Hash128 key = block_hash(hash, ids);
    RecordId id = index.find(key);
    const bool there = id != kNoRecord && (index[id].flags & kBad) == 0;
    if (!there && i < p.first_block) {
      failure = Error(Errc::not_found, "put: block " + std::to_string(i) + " is not stored");
      break;
    }
    if (there) {
      index[id].last_use = clock;
      if (i >= p.first_block) ++report.blocks_known;
    } else if (refused) {
      Candidate candidate{key, parent, static_cast<std::uint32_t>(i * block_tokens),
                          static_cast<std::uint32_t>(ids.size()), 1};
      policy->refused(candidate);
      ++report.blocks_refused;
      parent = kNoRecord;
      hash = key;
      continue;
    } else {
      const CheckpointBlock& b = p.blocks[i - p.first_block];
      NewRecord record;
      record.header.kind = partial ? Kind::tail : Kind::block;
      record.header.paged = b.payload.size() >= kPagedPayloadBytes || options.direct_io;
      record.header.key = key;
      record.header.parent = hash;
      record.header.name_space = root;
      record.header.tokens = static_cast<std::uint32_t>(ids.size());
      record.header.position = static_cast<std::uint32_t>(i * block_tokens);
      record.header.payload_bytes = b.payload.size();
      record.header.text_bytes = static_cast<std::uint32_t>(b.text.size());
      record.header.tail_checksum = checksum64(b.text);
      record.header.created_ms = static_cast<std::uint64_t>(now_ms());
      record.tokens = ids;
      record.payload = b.payload;
      record.text = b.text;
      record.parent = parent;
      record.name_space = number;
      record.depth = static_cast<std::uint16_t>(std::min<std::size_t>(i, 65535));
      record.worth_tokens = static_cast<std::uint16_t>(ids.size());
      if (!b.text.empty()) {
        record.extra.text_bytes = static_cast<std::uint32_t>(b.text.size());
        record.extra.text = text_hash(b.text);
      }
      if (p.time_to_live_ms > 0) {
        record.extra.expires_ms = static_cast<std::uint64_t>(now_ms()) + p.time_to_live_ms;
        record.header.expires_ms = record.extra.expires_ms;
      }
      if (next.valid() && prepared == i) record.prepared = std::move(next);
      prepare(i + 1);
      auto added = add(lock, record, report, true);
      if (!added) {
        if (added.code() == Errc::exhausted)
          report.blocks_refused += static_cast<std::uint32_t>(block_count - i);
        failure = std::move(added).error();
        break;
      }
      id = *added;
      if (id == kNoRecord) {
        refused = true;
        ++report.blocks_refused;
        parent = kNoRecord;
        hash = key;
        continue;
      }
      ++report.blocks_written;
      ++counters.blocks_written;
      auto replaced = replace_tails(number, parent, hash, ids, id);
      if (!replaced) failure = std::move(replaced).error();
    }
    chain.push_back(id);
    parent = id;
    hash = key;
  }
  policy->end(chain);
  if (options.sync == CheckpointSync::every_put && report.blocks_written > 0) {
    TOKVAULT_TRY(sync_segments(lock, false));
  }
  if (failure) return std::move(*failure);
  return report;
}

Result<std::uint64_t> CheckpointStore::Impl::expire_locked() {
  const auto now = static_cast<std::uint64_t>(now_ms());
  std::vector<RecordId> old;
  for (const auto& [id, extra] : extras) {
    if (extra.expires_ms != 0 && extra.expires_ms <= now) old.push_back(id);
  }
  // From the ends of the chains: what other blocks stand behind stays until they are gone.
  std::sort(old.begin(), old.end(),
            [this](RecordId a, RecordId b) { return index[a].depth > index[b].depth; });
  std::uint64_t count = 0;
  for (const RecordId id : old) {
    const BlockRecord& r = index[id];
    if (r.kind == Kind::free || is_protected(id)) continue;
    std::vector<RecordId> attached;
    const auto range = sidecars.equal_range(id);
    for (auto it = range.first; it != range.second; ++it) attached.push_back(it->second);
    for (const RecordId s : attached) {
      if (!is_protected(s)) TOKVAULT_TRY(erase(s, Gone::expired));
    }
    if (index[id].children() > 0) continue;
    TOKVAULT_TRY(erase(id, Gone::expired));
    ++count;
  }
  return count;
}

// Makes the log durable. Without the journal what was put is durable all the same: opening finds it
// in the log, behind what the journal knows. With it opening need not look.
Status CheckpointStore::Impl::sync_segments(std::unique_lock<std::mutex>& lock, bool with_journal) {
  std::vector<std::shared_ptr<DiskFile>> to_sync;
  for (const auto& [number, yes] : unsynced) {
    auto file = segment_file(number, false);
    if (file) to_sync.push_back(*file);
  }
  const auto journal_file = journal;
  const bool names = new_names;
  lock.unlock();
  Status status;
  for (const auto& file : to_sync) {
    if (status) status = disk_sync(*file);
  }
  if (status && with_journal) status = disk_sync(*journal_file);
  if (status && names) status = sync_folder(directory);
  lock.lock();
  if (!status) {
    broken = std::string(status.error().message());
    return status;
  }
  new_names = false;
  unsynced.clear();
  return {};
}

Status CheckpointStore::Impl::flush(bool closing) {
  const std::lock_guard writing(write_mutex);
  std::unique_lock lock(mutex);
  if (options.read_only || closed) return {};
  TOKVAULT_TRY(writable());
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
