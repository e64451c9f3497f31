// Matching and reading.
//
// A block is read in one go where its shape can be told from the caller's buffer: the prefix (ids
// and checksums) to a scratch buffer and the payload to where the caller wants it. Ids and
// checksums are then compared; a read that fails any of it is zeroed. Everything else takes the
// slow path: prefix first, then the chunks that the range touches.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/checksum.h"
#include "checkpoint/store.h"

namespace tokvault {

using namespace checkpoint;

namespace checkpoint {

Result<Buffer> read_tail_at(const DiskFile& file, std::uint64_t offset,
                            const RecordPrefix& prefix) {
  const RecordHeader& h = prefix.header;
  Buffer out(std::uint64_t{h.text_bytes} + h.meta_bytes, '\0');
  TOKVAULT_TRY(
      file.file.pread(offset + h.prefix_bytes() + h.stored_bytes(), out.size(), out.data()));
  if (checksum64(out) != h.tail_checksum) {
    return Error(Errc::corrupt, "the checksum of a record's text is wrong");
  }
  return out;
}

Status read_chunk_at(const DiskFile& file, std::uint64_t offset, const RecordPrefix& prefix,
                     std::uint64_t chunk, char* out) {
  const RecordHeader& h = prefix.header;
  const std::uint64_t size = prefix.chunk_bytes(chunk);
  const std::uint64_t at = offset + h.prefix_bytes() + prefix.stored_at(chunk);
  if (h.codec == CheckpointCodec::none) {
    TOKVAULT_TRY(file.file.pread(at, size, out));
  } else {
    Buffer stored(prefix.stored_at(chunk + 1) - prefix.stored_at(chunk), '\0');
    TOKVAULT_TRY(file.file.pread(at, stored.size(), stored.data()));
    TOKVAULT_TRY(decode_chunk(h.codec, stored, {out, size}));
  }
  if (!chunk_matches(prefix, chunk, ByteView(out, size))) {
    return Error(Errc::corrupt, "the checksum of a chunk is wrong");
  }
  return {};
}

bool is_damage(const Error& error) {
  return error.code() == Errc::corrupt || error.code() == Errc::not_found ||
         (error.code() == Errc::io && error.os_code() == EIO);
}

Status check_payload_at(const DiskFile& file, std::uint64_t offset, const RecordPrefix& prefix) {
  Buffer bytes(std::min(kChunkBytes, prefix.header.payload_bytes), '\0');
  for (std::uint64_t c = 0; c < prefix.header.chunks(); ++c) {
    TOKVAULT_TRY(read_chunk_at(file, offset, prefix, c, bytes.data()));
  }
  return {};
}

}  // namespace checkpoint

Chain CheckpointStore::Impl::walk(std::uint16_t number, TokenView tokens) const {
  Chain chain;
  Hash128 hash = namespaces[number].hash;
  RecordId parent = kNoRecord;
  while (tokens.size() - chain.tokens >= block_tokens) {
    chain.next = block_hash(hash, tokens.subspan(chain.tokens, block_tokens));
    const RecordId id = index.find(chain.next);
    if (id == kNoRecord || (index[id].flags & kBad) != 0) break;
    hash = chain.next;
    parent = id;
    chain.records.push_back(id);
    chain.tokens += block_tokens;
  }
  const TokenView rest = tokens.subspan(
      chain.tokens, std::min<std::size_t>(block_tokens - 1, tokens.size() - chain.tokens));
  // All full blocks are good: what may be missing is the partial one that the prompt ends in, also
  // where a shorter one matches.
  if (tokens.size() - chain.tokens < block_tokens) chain.next = block_hash(hash, rest);
  const bool any =
      parent == kNoRecord ? namespaces[number].has_tails : (index[parent].flags & kHasTails) != 0;
  if (any) {
    for (std::size_t size = rest.size(); size > 0; --size) {
      const Hash128 key = block_hash(hash, rest.first(size));
      const RecordId id = index.find(key);
      if (id == kNoRecord || (index[id].flags & kBad) != 0) continue;
      chain.records.push_back(id);
      chain.tokens += size;
      chain.tail_tokens = static_cast<std::uint32_t>(size);
      break;
    }
  }
  return chain;
}

void CheckpointStore::Impl::use(const std::vector<RecordId>& records) {
  if (records.empty()) return;
  if (!policy) {  // a reader: the writer will count it
    tell_use(index[records.back()].key());
    return;
  }
  policy->begin(++clock);
  for (const RecordId id : records) {
    BlockRecord& r = index[id];
    r.last_use = clock;
    r.set_hits(r.hits() + 1);
    policy->touched(id);
  }
  policy->end(records);
  dirty = true;
}

bool CheckpointStore::Impl::is_protected(RecordId id) const {
  return (!pins.empty() && pins.contains(id)) || (!reading.empty() && reading.contains(id));
}

const BlockRecord* CheckpointStore::Impl::still(RecordId id, Hash128 key) const {
  if (id >= index.limit() || index[id].kind == Kind::free || index[id].key() != key) return nullptr;
  return &index[id];
}

CheckpointStore::Impl::Hold::Hold(Impl& impl, Lock& lock, RecordId id)
    : impl_(impl), lock_(lock), id_(id) {
  if (id != kNoRecord) ++impl_.reading[id];
}

void CheckpointStore::Impl::Hold::end() {
  if (id_ == kNoRecord) return;
  if (!lock_.owns_lock()) lock_.lock();
  const auto it = impl_.reading.find(id_);
  if (--it->second == 0) impl_.reading.erase(it);
  id_ = kNoRecord;
}

CheckpointStore::Impl::Located CheckpointStore::Impl::locate(RecordId id) const {
  Located at;
  at.id = id;
  at.record = index[id];
  at.name_space = namespaces[at.record.name_space].hash;
  at.parent = at.record.parent == kNoRecord ? at.name_space : index[at.record.parent].key();
  return at;
}

void CheckpointStore::Impl::set_aside(const Located& at, const Error& error) {
  if (!is_damage(error) || !is_there(at) || reading.contains(at.id)) return;
  static_cast<void>(quarantine(at.id).has_value());
}

bool CheckpointStore::Impl::is_there(const Located& at) {
  if (closed || !refresh()) return false;
  const BlockRecord* const now = still(at.id, at.record.key());
  return now != nullptr && now->segment == at.record.segment &&
         now->offset_units == at.record.offset_units;
}

Result<std::shared_ptr<DiskFile>> CheckpointStore::Impl::file_of(std::uint32_t segment,
                                                                 bool direct) {
  const std::lock_guard lock(mutex);
  return segment_file(segment, direct);
}

Result<RecordPrefix> CheckpointStore::Impl::read_prefix(const Located& at) {
  TOKVAULT_ASSIGN(const auto file, file_of(at.record.segment, false));
  const std::uint64_t bytes = at.record.bytes();
  if (bytes < kRecordHeaderBytes) return Error(Errc::corrupt, "a record without bytes");
  Buffer head(std::min<std::uint64_t>(kPage, bytes), '\0');
  TOKVAULT_TRY(file->file.pread(at.record.offset(), head.size(), head.data()));
  const auto header = peek_header(head);
  if (!header || header->record_bytes() != bytes) {
    return Error(Errc::corrupt, "no record of this size stands here");
  }
  const std::uint64_t prefix_bytes = header->prefix_bytes();
  if (prefix_bytes > head.size()) {
    const std::size_t have = head.size();
    head.resize(prefix_bytes);
    TOKVAULT_TRY(
        file->file.pread(at.record.offset() + have, prefix_bytes - have, head.data() + have));
  }
  TOKVAULT_ASSIGN(RecordPrefix prefix, decode_prefix(head));
  const RecordHeader& h = prefix.header;
  if (h.key != at.record.key() || h.parent != at.parent || h.name_space != at.name_space ||
      h.kind != at.record.kind) {
    return Error(Errc::corrupt, "another record stands here");
  }
  // From the time before it was refused: set aside, it does not keep the real one out.
  if (h.payload_bytes == 0 && (h.kind == Kind::block || h.kind == Kind::tail)) {
    return Error(Errc::corrupt, "a block without a payload stands here");
  }
  return prefix;
}

Status CheckpointStore::Impl::read_payload(const Located& at, const RecordPrefix& prefix,
                                           std::uint64_t offset, std::span<char> out) {
  if (out.empty()) return {};
  TOKVAULT_ASSIGN(const auto file, file_of(at.record.segment, false));
  Buffer partial;
  while (!out.empty()) {
    const std::uint64_t chunk = offset / kChunkBytes;
    const std::uint64_t chunk_bytes = prefix.chunk_bytes(chunk);
    const std::uint64_t skip = offset - chunk * kChunkBytes;
    const std::uint64_t wanted = std::min<std::uint64_t>(out.size(), chunk_bytes - skip);
    char* place = out.data();
    if (wanted != chunk_bytes) {
      partial.resize(chunk_bytes);
      place = partial.data();
    }
    TOKVAULT_TRY(read_chunk_at(*file, at.record.offset(), prefix, chunk, place));
    if (wanted != chunk_bytes) std::memcpy(out.data(), partial.data() + skip, wanted);
    out = out.subspan(wanted);
    offset += wanted;
  }
  return {};
}

Result<Buffer> CheckpointStore::Impl::read_tail(const Located& at, const RecordPrefix& prefix) {
  if (prefix.header.record_bytes() != at.record.bytes()) {
    return Error(Errc::corrupt, "a record's size is wrong");
  }
  TOKVAULT_ASSIGN(const auto file, file_of(at.record.segment, false));
  return read_tail_at(*file, at.record.offset(), prefix);
}

namespace {

bool is_aligned(std::span<char> out) {
  return reinterpret_cast<std::uintptr_t>(out.data()) % kPage == 0 && out.size() % 512 == 0;
}

}  // namespace

Result<std::uint64_t> CheckpointStore::Impl::get(const Namespace& n, TokenView tokens,
                                                 std::span<CheckpointRead> reads) {
  struct Item {
    Located at;
    TokenView ids;
    std::optional<Hold> held;  // if it was found
    bool done = false;
    std::uint64_t scratch = 0;  // where its prefix goes
    std::uint64_t prefix_bytes = 0;
    bool whole = false;  // the scratch has all of it
  };
  Lock lock(mutex, std::defer_lock);
  std::vector<Item> items(reads.size());
  std::vector<ReadOp> ops;
  std::vector<std::size_t> op_items;
  std::uint64_t scratch_bytes = 0;
  for (CheckpointRead& r : reads) {
    r.status = Errc::not_found;
    r.bytes = r.payload_bytes = 0;
    r.tokens = 0;
  }
  {
    lock.lock();
    if (closed) return Error(Errc::invalid, "the checkpoint store is closed");
    TOKVAULT_TRY(refresh());
    auto number = namespace_number(n, false);
    if (!number) return std::uint64_t{0};
    Chain chain = walk(*number, tokens);
    std::size_t used = 0;
    for (std::size_t i = 0; i < reads.size(); ++i) {
      if (reads[i].block >= chain.records.size()) continue;
      Item& item = items[i];
      item.at = locate(chain.records[reads[i].block]);
      const TokenView rest = tokens.subspan(std::size_t{reads[i].block} * block_tokens);
      // The record decides whether these are its ids: the index may say anything.
      item.ids = rest.first(std::min<std::size_t>(rest.size(), item.at.record.tokens));
      item.held.emplace(*this, lock, item.at.id);
      // Who asks for a size is about to read.
      if (!reads[i].out.empty()) used = std::max<std::size_t>(used, reads[i].block + 1);
      // Guess the shape from the caller's buffer; a wrong guess costs a second read.
      RecordHeader guess;
      guess.tokens = item.at.record.tokens;
      guess.payload_bytes = reads[i].out.size();
      guess.paged = reads[i].out.size() >= kPagedPayloadBytes || options.direct_io;
      if (reads[i].offset != 0 || reads[i].out.empty()) continue;
      // A record that is smaller than the buffer is coded, most likely: it is read whole.
      item.whole = guess.record_bytes() > item.at.record.bytes();
      item.prefix_bytes = item.whole ? item.at.record.bytes() : guess.prefix_bytes();
      const bool aligned =
          item.at.record.offset() % kPage == 0 &&
          (item.whole ? item.prefix_bytes % kPage == 0 : guess.paged && is_aligned(reads[i].out));
      auto file = segment_file(item.at.record.segment, options.direct_io && aligned);
      if (!file) continue;
      item.scratch = scratch_bytes;
      scratch_bytes += round_up(item.prefix_bytes, kPage);
      ReadOp op;
      op.file = *file;
      op.offset = item.at.record.offset();
      op.parts[0] = {nullptr, item.prefix_bytes};
      op.parts[1] = {reads[i].out.data(), reads[i].out.size()};
      op.count = item.whole ? 1 : 2;
      ops.push_back(std::move(op));
      op_items.push_back(i);
    }
    chain.records.resize(used);
    use(chain.records);
    lock.unlock();
  }
  const AlignedBuffer scratch = aligned_buffer(scratch_bytes);
  for (std::size_t k = 0; k < ops.size(); ++k) {
    ops[k].parts[0].iov_base = scratch.get() + items[op_items[k]].scratch;
  }
  reader->read_all(ops, [&](std::size_t k) {
    const std::size_t i = op_items[k];
    Item& item = items[i];
    CheckpointRead& r = reads[i];
    if (!ops[k].ok) return;
    const ByteView got(scratch.get() + item.scratch, item.prefix_bytes);
    auto prefix = decode_prefix(got);
    if (!prefix) return;
    const RecordHeader& h = prefix->header;
    if (h.key != item.at.record.key() || h.parent != item.at.parent ||
        h.name_space != item.at.name_space || h.record_bytes() != item.at.record.bytes() ||
        !std::equal(item.ids.begin(), item.ids.end(), prefix->tokens.begin(),
                    prefix->tokens.end())) {
      return;
    }
    const bool fits = item.whole
                          ? h.payload_bytes <= r.out.size()
                          : h.codec == CheckpointCodec::none && h.payload_bytes == r.out.size() &&
                                h.prefix_bytes() == item.prefix_bytes;
    if (!fits || h.payload_bytes == 0) return;
    for (std::uint64_t c = 0; c < h.chunks(); ++c) {
      const auto chunk = r.out.subspan(c * kChunkBytes, prefix->chunk_bytes(c));
      if (item.whole) {
        const std::uint64_t at = prefix->stored_at(c);
        const ByteView stored = got.substr(h.prefix_bytes() + at, prefix->stored_at(c + 1) - at);
        if (!decode_chunk(h.codec, stored, chunk)) return;
      }
      if (!chunk_matches(*prefix, c, ByteView(chunk.data(), chunk.size()))) return;
    }
    item.done = true;
    r.status = Errc::ok;
    r.bytes = r.payload_bytes = h.payload_bytes;
  });
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    Item& item = items[i];
    CheckpointRead& r = reads[i];
    if (item.held && !item.done) {
      auto prefix = read_prefix(item.at);
      Status status;
      if (!prefix) {
        status = std::move(prefix).error();
      } else if (!std::equal(item.ids.begin(), item.ids.end(), prefix->tokens.begin(),
                             prefix->tokens.end())) {
        status = Error(Errc::corrupt, "the stored token ids are others");
      } else {
        const std::uint64_t payload = prefix->header.payload_bytes;
        r.payload_bytes = payload;
        const std::uint64_t size =
            r.offset >= payload ? 0 : std::min<std::uint64_t>(r.out.size(), payload - r.offset);
        status = read_payload(item.at, *prefix, r.offset, r.out.first(size));
        r.bytes = size;
      }
      r.status = status ? Errc::ok : is_damage(status.error()) ? Errc::corrupt : Errc::not_found;
    }
    if (r.status != Errc::ok) {
      std::fill(r.out.begin(), r.out.end(), '\0');
      r.bytes = 0;
    }
    if (r.status == Errc::ok) r.tokens = static_cast<std::uint32_t>(item.ids.size());
    bytes += r.bytes;
  }
  lock.lock();
  counters.bytes_read += bytes;
  for (Item& item : items) {
    if (item.held) item.held->end();
  }
  std::uint64_t good = 0;
  bool leading = true;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    CheckpointRead& r = reads[i];
    const Item& item = items[i];
    if (r.status == Errc::corrupt && item.held) {
      if (!is_there(item.at)) {
        r.status = Errc::not_found;
      } else if (!reading.contains(item.at.id)) {
        static_cast<void>(quarantine(item.at.id).has_value());
      }
    }
    leading = leading && r.block == i && r.status == Errc::ok && r.offset == 0 &&
              r.bytes == r.payload_bytes;
    if (leading) good += item.ids.size();
  }
  return good;
}

Result<CheckpointState> CheckpointStore::Impl::read_state(Lock& lock, RecordId id,
                                                          Hash128 name_space,
                                                          const TokenView* tokens,
                                                          const ByteView* text, Buffer* payload) {
  const Located at = locate(id);
  if (at.record.kind != Kind::state || at.name_space != name_space) {
    return Error(Errc::not_found, "no state of this namespace stands here");
  }
  Hold held(*this, lock, id);
  lock.unlock();
  CheckpointState state;
  const auto read = [&]() -> Status {
    TOKVAULT_ASSIGN(RecordPrefix prefix, read_prefix(at));
    TOKVAULT_ASSIGN(const Buffer tail, read_tail(at, prefix));
    state.tokens = std::move(prefix.tokens);
    state.text = tail.substr(0, prefix.header.text_bytes);
    state.meta = tail.substr(prefix.header.text_bytes);
    state.payload_bytes = prefix.header.payload_bytes;
    // The hash found it; the bytes decide.
    const bool same = (text == nullptr || *text == state.text) &&
                      (tokens == nullptr || token_bytes(*tokens) == token_bytes(state.tokens));
    if (!same) return Error(Errc::conflict, "another state has the same hash");
    if (payload != nullptr) {
      payload->resize(state.payload_bytes);
      TOKVAULT_TRY(read_payload(at, prefix, 0, std::span<char>(payload->data(), payload->size())));
    }
    return {};
  };
  auto status = read();
  lock.lock();
  held.end();
  if (!status) {
    if (payload != nullptr) payload->clear();
    set_aside(at, status.error());
    return std::move(status).error();
  }
  const bool used = payload != nullptr && (tokens != nullptr || text != nullptr);
  if (used && still(id, at.record.key()) != nullptr) use({id});
  return state;
}

}  // namespace tokvault
