// The public class: arguments, locks, upkeep, inspection and asynchronous calls.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "checkpoint/store.h"

namespace tokvault {

using namespace checkpoint;

namespace {

Error closed_error() { return Error(Errc::invalid, "the checkpoint store is closed"); }

// What a reader says of a directory that another process writes.
std::uint64_t bytes_on_disk(const std::string& directory) {
  std::uint64_t bytes = 0;
  const auto names = names_in(directory);
  if (!names) return 0;
  for (const std::string& name : *names) {
    struct stat st{};
    if (name == ".." || ::stat((directory + "/" + name).c_str(), &st) != 0) continue;
    bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
  }
  return bytes;
}

std::string hex(Hash128 h) {
  Buffer bytes;
  append_le(bytes, h.lo);
  append_le(bytes, h.hi);
  return to_hex(bytes);
}

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::block:
      return "block";
    case Kind::tail:
      return "tail";
    case Kind::sidecar:
      return "sidecar";
    case Kind::state:
      return "state";
    case Kind::free:
    case Kind::name_space:
      break;
  }
  return "free";
}

const char* gone_name(Gone reason) {
  switch (reason) {
    case Gone::evicted:
      return "evicted";
    case Gone::removed:
      return "removed";
    case Gone::expired:
      return "expired";
    case Gone::quarantined:
      return "quarantined";
    case Gone::no_room:
      return "no_room";
    case Gone::replaced:
    case Gone::none:
      break;
  }
  return "never_stored";
}

}  // namespace

CheckpointStore::CheckpointStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

CheckpointStore::~CheckpointStore() { static_cast<void>(close().has_value()); }

Result<std::unique_ptr<CheckpointStore>> CheckpointStore::open(const std::string& directory,
                                                               const CheckpointOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  impl->directory = directory;
  impl->event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (impl->event_fd < 0) return errno_error(errno, "eventfd");
  auto status = impl->open_files();
  if (!status) return std::move(status).error();
  if (!options.read_only) {
    const std::lock_guard writing(impl->write_mutex);
    Impl::Lock lock(impl->mutex);
    std::uint32_t evicted = 0;
    impl->evict_oversized(lock, 0, evicted);
    static_cast<void>(impl->make_room(0, nullptr, evicted));
  }
  return std::unique_ptr<CheckpointStore>(new CheckpointStore(std::move(impl)));
}

std::uint32_t CheckpointStore::block_tokens() const { return impl_->block_tokens; }

Result<CheckpointMatch> CheckpointStore::match(const Namespace& name_space, TokenView tokens) {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  TOKVAULT_TRY(impl_->refresh());
  ++impl_->counters.lookups;
  impl_->counters.lookup_tokens += tokens.size();
  const auto number = impl_->namespace_number(name_space, false);
  if (!number) return CheckpointMatch{};
  const Chain chain = impl_->walk(*number, tokens);
  impl_->counters.hit_tokens += chain.tokens;
  return CheckpointMatch{chain.tokens, static_cast<std::uint32_t>(chain.records.size()),
                         chain.tail_tokens};
}

std::vector<Result<CheckpointMatch>> CheckpointStore::match_batch(
    const Namespace& name_space, std::span<const TokenView> prompts) {
  std::vector<Result<CheckpointMatch>> out;
  out.reserve(prompts.size());
  for (const TokenView prompt : prompts) out.push_back(match(name_space, prompt));
  return out;
}

Result<std::uint64_t> CheckpointStore::get(const Namespace& name_space, TokenView tokens,
                                           std::span<CheckpointRead> reads) {
  return impl_->get(name_space, tokens, reads);
}

Result<CheckpointPutReport> CheckpointStore::put(const Namespace& name_space, TokenView tokens,
                                                 const CheckpointPut& put) {
  return impl_->put(name_space, tokens, put);
}

Result<CheckpointStore::TextMatch> CheckpointStore::match_text(const Namespace& name_space,
                                                               ByteView text) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  TOKVAULT_TRY(impl_->refresh());
  TextMatch out;
  const auto number = impl_->namespace_number(name_space, false);
  if (!number) return out;
  std::uint64_t parent = std::uint64_t{1} << 32 | *number;
  for (;;) {
    const auto sizes = impl_->text_sizes.find(parent);
    if (sizes == impl_->text_sizes.end()) return out;
    RecordId found = kNoRecord;
    ByteView own;  // its text
    // The longest first: a full block before a partial one.
    for (auto it = sizes->second.rbegin(); it != sizes->second.rend(); ++it) {
      if (it->first > text.size() - out.bytes) continue;
      own = text.substr(out.bytes, it->first);
      const Hash128 hash = text_hash(own);
      const std::uint64_t fields[] = {parent, it->first, hash.lo};
      const auto child = impl_->text_children.find(
          checksum64(ByteView(reinterpret_cast<const char*>(fields), sizeof fields)));
      if (child == impl_->text_children.end()) continue;
      const auto extra = impl_->extras.find(child->second);
      if (extra == impl_->extras.end() || extra->second.text != hash ||
          (impl_->index[child->second].flags & kBad) != 0) {
        continue;
      }
      found = child->second;
      break;
    }
    if (found == kNoRecord) return out;
    // Ids and text are read and compared: the hash decides nothing.
    const Impl::Located at = impl_->locate(found);
    Impl::Hold held(*impl_, lock, found);
    lock.unlock();
    auto prefix = impl_->read_prefix(at);
    auto tail = prefix ? impl_->read_tail(at, *prefix) : Result<Buffer>(Error(Errc::corrupt, ""));
    lock.lock();
    held.end();
    if (!tail) impl_->set_aside(at, prefix ? tail.error() : prefix.error());
    if (!tail || *tail != own || impl_->still(found, at.record.key()) == nullptr) return out;
    out.bytes += tail->size();
    out.tokens.insert(out.tokens.end(), prefix->tokens.begin(), prefix->tokens.end());
    parent = found;
  }
}

Status CheckpointStore::visit_texts(
    const Namespace& name_space,
    const std::function<bool(std::uint64_t position, ByteView text)>& visit) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  TOKVAULT_TRY(impl_->refresh());
  const auto number = impl_->namespace_number(name_space, false);
  if (!number) return {};
  // By its hash: numbers are others where a writer rebuilt the index meanwhile.
  const Hash128 root = impl_->namespaces[*number].hash;
  for (RecordId id = 0; id < impl_->index.limit(); ++id) {
    const BlockRecord& r = std::as_const(impl_->index)[id];
    const bool block = r.kind == Kind::block || r.kind == Kind::tail;
    if (!block || (r.flags & (kHasText | kBad)) != kHasText ||
        impl_->namespaces[r.name_space].hash != root) {
      continue;
    }
    const Impl::Located at = impl_->locate(id);
    Impl::Hold held(*impl_, lock, id);
    lock.unlock();
    const auto prefix = impl_->read_prefix(at);
    const auto tail =
        prefix ? impl_->read_tail(at, *prefix) : Result<Buffer>(Error(Errc::corrupt, ""));
    const bool on = !tail || tail->empty() || visit(prefix->header.position, *tail);
    lock.lock();
    held.end();
    if (!on) break;
    if (impl_->closed) return closed_error();
  }
  return {};
}

Status CheckpointStore::put_sidecar(const Namespace& name_space, TokenView tokens,
                                    std::string_view name, ByteView payload) {
  if (name.empty() || name.size() > 255 || payload.size() > kPayloadBytesMax) {
    return Error(Errc::invalid, "a sidecar's name has 1 to 255 bytes, its payload up to 3 GiB");
  }
  const std::lock_guard writing(impl_->write_mutex);
  std::unique_lock lock(impl_->mutex);
  TOKVAULT_TRY(impl_->writable());
  TOKVAULT_ASSIGN(const std::uint16_t number, impl_->namespace_number(name_space, false));
  const Chain chain = impl_->walk(number, tokens);
  if (chain.records.empty() || chain.tokens != tokens.size()) {
    return Error(Errc::not_found, "the boundary of the sidecar is not stored");
  }
  const RecordId boundary = chain.records.back();
  const BlockRecord at = impl_->index[boundary];
  const Hash128 key = sidecar_hash(at.key(), name);
  impl_->policy->begin(++impl_->clock);
  Impl::NewRecord record;
  record.header.kind = Kind::sidecar;
  record.header.paged = payload.size() >= kPagedPayloadBytes || impl_->options.direct_io;
  record.header.key = key;
  record.header.parent = at.key();
  record.header.name_space = impl_->namespaces[number].hash;
  record.header.position = static_cast<std::uint32_t>(tokens.size());
  record.header.payload_bytes = payload.size();
  record.header.meta_bytes = static_cast<std::uint32_t>(name.size());
  record.header.tail_checksum = checksum64(name);
  record.header.created_ms = static_cast<std::uint64_t>(now_ms());
  record.payload = payload;
  record.meta = name;
  record.has_parent = true;
  record.name_space = number;
  record.depth = at.depth;
  record.worth_tokens = at.tokens;  // it is worth what it lets the engine skip
  return impl_->add_single(lock, std::move(record));
}

Result<Buffer> CheckpointStore::get_sidecar(const Namespace& name_space, TokenView tokens,
                                            std::string_view name) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  TOKVAULT_TRY(impl_->refresh());
  TOKVAULT_ASSIGN(const std::uint16_t number, impl_->namespace_number(name_space, false));
  const Chain chain = impl_->walk(number, tokens);
  if (chain.records.empty() || chain.tokens != tokens.size()) {
    return Error(Errc::not_found, "the boundary of the sidecar is not stored");
  }
  const RecordId id = impl_->index.find(
      sidecar_hash(std::as_const(impl_->index)[chain.records.back()].key(), name));
  if (id == kNoRecord) return Error(Errc::not_found, "the boundary has no such sidecar");
  const Impl::Located at = impl_->locate(id);
  Impl::Hold held(*impl_, lock, id);
  lock.unlock();
  Buffer payload;
  const auto read = [&]() -> Status {
    TOKVAULT_ASSIGN(const RecordPrefix prefix, impl_->read_prefix(at));
    TOKVAULT_ASSIGN(const Buffer stored_name, impl_->read_tail(at, prefix));
    if (stored_name != name) return Error(Errc::corrupt, "the sidecar has another name");
    payload.resize(prefix.header.payload_bytes);
    return impl_->read_payload(at, prefix, 0, std::span<char>(payload.data(), payload.size()));
  };
  auto status = read();
  lock.lock();
  held.end();
  if (!status) {
    impl_->set_aside(at, status.error());
    return Error(Errc::not_found,
                 "the sidecar could not be read: " + std::string(status.error().message()));
  }
  impl_->counters.bytes_read += payload.size();
  if (impl_->still(id, at.record.key()) != nullptr) impl_->use({id});
  return payload;
}

Status CheckpointStore::put_state(const Namespace& name_space, const CheckpointState& state,
                                  ByteView payload) {
  if (state.tokens.empty() && state.text.empty()) {
    return Error(Errc::invalid, "a state needs tokens or text");
  }
  if (payload.empty()) return Error(Errc::invalid, "the payload of a state is empty");
  if (state.text.size() > 0xffffffffu || state.meta.size() > 0xffffffffu ||
      state.tokens.size() > std::size_t{1} << 28 || payload.size() > std::uint64_t{1} << 37) {
    return Error(Errc::invalid, "a state's text, meta, tokens or payload are too large");
  }
  const std::lock_guard writing(impl_->write_mutex);
  std::unique_lock lock(impl_->mutex);
  TOKVAULT_TRY(impl_->writable());
  TOKVAULT_ASSIGN(const std::uint16_t number, impl_->namespace_number(name_space, true));
  const Hash128 root = impl_->namespaces[number].hash;
  PrefixHasher by_text(root, 2);
  by_text.update(state.text);
  Hash128 key = by_text.digest();
  const Hash128 text = key;
  if (!state.tokens.empty()) {
    PrefixHasher by_tokens(root, 1);
    by_tokens.update(token_bytes(state.tokens));
    key = by_tokens.digest();
  }
  impl_->policy->begin(++impl_->clock);
  Buffer tail = state.text;
  tail += state.meta;
  Impl::NewRecord record;
  record.header.kind = Kind::state;
  record.header.paged = payload.size() >= kPagedPayloadBytes || impl_->options.direct_io;
  record.header.key = key;
  record.header.parent = root;
  record.header.name_space = root;
  record.header.tokens = static_cast<std::uint32_t>(state.tokens.size());
  record.header.payload_bytes = payload.size();
  record.header.text_bytes = static_cast<std::uint32_t>(state.text.size());
  record.header.meta_bytes = static_cast<std::uint32_t>(state.meta.size());
  record.header.tail_checksum = checksum64(tail);
  record.header.created_ms = static_cast<std::uint64_t>(now_ms());
  record.tokens = state.tokens;
  record.payload = payload;
  record.text = state.text;
  record.meta = state.meta;
  record.name_space = number;
  const std::size_t worth = state.tokens.empty() ? state.text.size() / 4 : state.tokens.size();
  record.worth_tokens = static_cast<std::uint16_t>(std::clamp<std::size_t>(worth, 1, 65535));
  record.extra.state_tokens = state.tokens.size();
  record.extra.text_bytes = record.header.text_bytes;
  record.extra.text = text;
  return impl_->add_single(lock, std::move(record));
}

Result<CheckpointState> CheckpointStore::find_state(const Namespace& name_space, TokenView prompt,
                                                    Buffer* payload) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  TOKVAULT_TRY(impl_->refresh());
  TOKVAULT_ASSIGN(const std::uint16_t number, impl_->namespace_number(name_space, false));
  const Hash128 root = impl_->namespaces[number].hash;
  PrefixHasher hasher(root, 1);
  std::vector<std::pair<Hash128, std::size_t>> candidates;  // hash and length of a prefix
  std::size_t done = 0;
  for (const auto& [size, count] : impl_->namespaces[number].state_tokens) {
    if (size > prompt.size()) break;
    hasher.update(token_bytes(prompt.subspan(done, size - done)));
    done = size;
    const Hash128 hash = hasher.digest();
    if (impl_->index.find(hash) != kNoRecord) candidates.emplace_back(hash, size);
  }
  for (std::size_t i = candidates.size(); i-- > 0;) {
    // Looked up again: the lock is released while one is read.
    const RecordId id = impl_->index.find(candidates[i].first);
    if (id == kNoRecord) continue;
    const TokenView prefix = prompt.first(candidates[i].second);
    auto state = impl_->read_state(lock, id, root, &prefix, nullptr, payload);
    if (state) return state;
  }
  return Error(Errc::not_found, "no state of a prefix of this prompt is stored");
}

Result<CheckpointState> CheckpointStore::find_state_text(const Namespace& name_space,
                                                         ByteView prompt, Buffer* payload) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  TOKVAULT_TRY(impl_->refresh());
  TOKVAULT_ASSIGN(const std::uint16_t number, impl_->namespace_number(name_space, false));
  const Hash128 root = impl_->namespaces[number].hash;
  PrefixHasher hasher(root, 2);
  std::vector<std::pair<Hash128, std::size_t>> candidates;  // hash and length of a prefix
  std::size_t done = 0;
  for (const auto& [size, count] : impl_->namespaces[number].state_texts) {
    if (size > prompt.size()) break;
    hasher.update(prompt.substr(done, size - done));
    done = size;
    const Hash128 hash = hasher.digest();
    if (impl_->state_texts.contains(hash)) candidates.emplace_back(hash, size);
  }
  for (std::size_t i = candidates.size(); i-- > 0;) {
    // Looked up again: the lock is released while one is read.
    const auto it = impl_->state_texts.find(candidates[i].first);
    if (it == impl_->state_texts.end()) continue;
    const ByteView prefix = prompt.substr(0, candidates[i].second);
    auto state = impl_->read_state(lock, it->second, root, nullptr, &prefix, payload);
    if (state) return state;
  }
  return Error(Errc::not_found, "no state of a prefix of this text is stored");
}

Status CheckpointStore::visit_states(
    const Namespace& name_space,
    const std::function<Status(const CheckpointState&, ByteView payload)>& visit) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  TOKVAULT_TRY(impl_->refresh());
  const auto number = impl_->namespace_number(name_space, false);
  if (!number) return {};
  // By its hash: numbers are others where a writer rebuilt the index meanwhile.
  const Hash128 root = impl_->namespaces[*number].hash;
  for (RecordId id = 0; id < impl_->index.limit(); ++id) {
    const BlockRecord& r = std::as_const(impl_->index)[id];
    if (r.kind != Kind::state || impl_->namespaces[r.name_space].hash != root) continue;
    Buffer payload;
    auto state = impl_->read_state(lock, id, root, nullptr, nullptr, &payload);
    if (!state) continue;
    lock.unlock();
    auto status = visit(*state, payload);
    if (!status) return status;
    lock.lock();
    if (impl_->closed) return closed_error();
  }
  return {};
}

Result<std::uint64_t> CheckpointStore::pin(const Namespace& name_space, TokenView tokens) {
  const std::lock_guard lock(impl_->mutex);
  TOKVAULT_TRY(impl_->writable());
  TOKVAULT_ASSIGN(const std::uint16_t number, impl_->namespace_number(name_space, false));
  const Chain chain = impl_->walk(number, tokens);
  if (chain.records.empty()) return std::uint64_t{0};
  // The last block is enough: what has a descendant is never evicted.
  ++impl_->pins[chain.records.back()];
  return chain.tokens;
}

Status CheckpointStore::unpin(const Namespace& name_space, TokenView tokens) {
  const std::lock_guard lock(impl_->mutex);
  TOKVAULT_TRY(impl_->writable());
  TOKVAULT_ASSIGN(const std::uint16_t number, impl_->namespace_number(name_space, false));
  const Chain chain = impl_->walk(number, tokens);
  const auto it = chain.records.empty() || chain.tokens != tokens.size()
                      ? impl_->pins.end()
                      : impl_->pins.find(chain.records.back());
  if (it == impl_->pins.end()) return Error(Errc::not_found, "this prefix is not pinned");
  if (--it->second == 0) impl_->pins.erase(it);
  return {};
}

Result<std::uint64_t> CheckpointStore::touch(const Namespace& name_space, TokenView tokens) {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  if (!impl_->options.read_only) TOKVAULT_TRY(impl_->writable());
  TOKVAULT_TRY(impl_->refresh());
  const auto number = impl_->namespace_number(name_space, false);
  if (!number) return std::uint64_t{0};
  const Chain chain = impl_->walk(*number, tokens);
  impl_->use(chain.records);
  return chain.tokens;
}

// Parents do not list their children, so one pass follows every record up to an answer that is
// known.
std::vector<RecordId> CheckpointStore::Impl::descendants(const std::vector<RecordId>& roots) const {
  constexpr std::uint8_t kUnknown = 0, kStays = 1, kGoes = 2;
  std::vector<std::uint8_t> fate(index.limit(), kUnknown);
  for (const RecordId id : roots) fate[id] = kGoes;
  std::vector<RecordId> out;
  std::vector<RecordId> path;
  for (RecordId id = 0; id < index.limit(); ++id) {
    if (index[id].kind == Kind::free) continue;
    path.clear();
    RecordId at = id;
    while (at != kNoRecord && fate[at] == kUnknown) {
      path.push_back(at);
      at = index[at].parent;
    }
    const std::uint8_t known = at == kNoRecord ? kStays : fate[at];
    for (const RecordId p : path) fate[p] = known;
    if (fate[id] == kGoes) out.push_back(id);
  }
  return out;
}

Result<std::uint64_t> CheckpointStore::remove(const Namespace& name_space, TokenView tokens,
                                              std::uint64_t from_tokens) {
  const std::lock_guard writing(impl_->write_mutex);
  Impl::Lock lock(impl_->mutex);
  TOKVAULT_TRY(impl_->writable());
  const auto number = impl_->namespace_number(name_space, false);
  if (!number) return std::uint64_t{0};
  const Chain chain = impl_->walk(*number, tokens);
  const std::uint64_t first =
      from_tokens / impl_->block_tokens + (from_tokens % impl_->block_tokens != 0 ? 1 : 0);
  if (first >= chain.records.size()) return std::uint64_t{0};
  // Everything that descends from the first block that goes.
  const BlockIndex& index = impl_->index;
  std::vector<RecordId> roots = {chain.records[first]};
  // Partial blocks of several sizes may stand at the boundary.
  const Hash128 boundary =
      first == 0 ? impl_->namespaces[*number].hash : index[chain.records[first - 1]].key();
  const TokenView rest = tokens.subspan(first * impl_->block_tokens);
  for (std::size_t size = 1; size <= std::min<std::size_t>(impl_->block_tokens - 1, rest.size());
       ++size) {
    const RecordId id = index.find(block_hash(boundary, rest.first(size)));
    if (id != kNoRecord && id != roots.front()) roots.push_back(id);
  }
  // Most often that is the rest of the prompt and nothing else.
  std::vector<RecordId> ids = roots;
  bool alone = true;
  for (std::size_t i = 1; i < roots.size(); ++i) alone = alone && index[roots[i]].children() == 0;
  for (std::size_t i = first; i < chain.records.size(); ++i) {
    const bool last = i + 1 == chain.records.size();
    alone = alone && index[chain.records[i]].children() == (last ? 0u : 1u);
    if (i > first) ids.push_back(chain.records[i]);
  }
  if (!alone) ids = impl_->descendants(roots);
  for (const RecordId id : ids) {
    if (impl_->is_protected(id)) return Error(Errc::busy, "a block is pinned or being read");
  }
  std::vector<std::pair<RecordId, Hash128>> all;
  for (const RecordId id : ids) all.emplace_back(id, index[id].key());
  TOKVAULT_ASSIGN(const std::uint32_t count, impl_->erase_all(lock, ids, Gone::removed));
  // Others were let in: what they pinned or began to read is there still.
  for (const auto& [id, key] : all) {
    if (impl_->still(id, key) != nullptr) {
      return Error(Errc::busy, "a block was pinned, or read, while others were removed");
    }
  }
  return std::uint64_t{count};
}

Result<std::uint64_t> CheckpointStore::remove_namespace(const Namespace& name_space) {
  const std::lock_guard writing(impl_->write_mutex);
  Impl::Lock lock(impl_->mutex);
  TOKVAULT_TRY(impl_->writable());
  const auto number = impl_->namespace_number(name_space, false);
  if (!number) return std::uint64_t{0};
  std::uint64_t count = 0;
  for (bool again = true; again;) {
    again = false;
    for (RecordId id = 0; id < impl_->index.limit(); ++id) {
      const BlockRecord& r = std::as_const(impl_->index)[id];
      if (r.kind == Kind::free || r.name_space != *number || r.children() > 0 ||
          impl_->is_protected(id)) {
        continue;
      }
      // Up the chain while the parents become leaves.
      RecordId at = id;
      while (at != kNoRecord && impl_->index[at].kind != Kind::free &&
             impl_->index[at].children() == 0 && !impl_->is_protected(at)) {
        const RecordId parent = impl_->index[at].parent;
        TOKVAULT_TRY(impl_->erase(at, Gone::removed));
        at = parent;
        again = true;
        if (++count % kErasedAtOnce == 0) TOKVAULT_TRY(impl_->let_others_in(lock));
      }
    }
  }
  return count;
}

Result<std::uint64_t> CheckpointStore::expire() {
  const std::lock_guard writing(impl_->write_mutex);
  Impl::Lock lock(impl_->mutex);
  TOKVAULT_TRY(impl_->writable());
  return impl_->expire(lock);
}

Result<std::uint64_t> CheckpointStore::evict(std::uint64_t bytes) {
  const std::lock_guard writing(impl_->write_mutex);
  Impl::Lock lock(impl_->mutex);
  TOKVAULT_TRY(impl_->writable());
  std::uint32_t evicted = 0;
  bytes = std::min(bytes, impl_->options.budget_bytes);
  impl_->evict_oversized(lock, bytes, evicted);
  TOKVAULT_TRY(impl_->writable());
  while (impl_->make_room(bytes, nullptr, evicted, kErasedAtOnce) == Room::not_yet) {
    TOKVAULT_TRY(impl_->let_others_in(lock));
  }
  return std::uint64_t{evicted};
}

Result<CheckpointExplanation> CheckpointStore::explain(const Namespace& name_space,
                                                       TokenView tokens, std::string_view sidecar) {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  TOKVAULT_TRY(impl_->refresh());
  CheckpointExplanation out;
  out.prompt_tokens = tokens.size();
  const auto number = impl_->namespace_number(name_space, false);
  Chain chain;
  if (number) {
    chain = impl_->walk(*number, tokens);
    out.match = {chain.tokens, static_cast<std::uint32_t>(chain.records.size()), chain.tail_tokens};
  }
  std::uint64_t elsewhere = 0;
  const Namespace* other = nullptr;
  for (std::size_t i = 0; i < impl_->namespaces.size(); ++i) {
    if (number && i == *number) continue;
    const Chain c = impl_->walk(static_cast<std::uint16_t>(i), tokens);
    if (c.tokens <= std::max(elsewhere, chain.tokens)) continue;
    elsewhere = c.tokens;
    other = &impl_->namespaces[i].value;
  }
  const std::string at = " at token " + std::to_string(chain.tokens);
  if (number && chain.tokens == tokens.size()) {
    out.reason = "complete";
    out.detail = "the whole prompt is stored";
  } else {
    const auto it = number ? impl_->gone.find(chain.next.lo) : impl_->gone.end();
    const RecordId bad = number ? impl_->index.find(chain.next) : kNoRecord;
    out.reason = bad != kNoRecord          ? "quarantined"
                 : it != impl_->gone.end() ? gone_name(it->second)
                 : other != nullptr        ? "other_namespace"
                 : number                  ? "never_stored"
                                           : "unknown_namespace";
    if (out.reason == "other_namespace") {
      out.detail = std::to_string(elsewhere) +
                   " tokens are stored under another namespace (model '" + other->model + "')";
    } else if (out.reason == "unknown_namespace") {
      out.detail = "nothing was ever stored under this namespace";
    } else if (out.reason == "never_stored") {
      out.detail = "the block" + at + " was never stored";
    } else if (out.reason == "no_room") {
      out.detail = "the block" + at + " found no room when it was put";
    } else {
      out.detail = "the block" + at + " was " + out.reason;
    }
  }
  if (!sidecar.empty()) {
    for (std::size_t i = chain.records.size(); i-- > 0;) {
      const BlockRecord& r = std::as_const(impl_->index)[chain.records[i]];
      if (impl_->index.find(sidecar_hash(r.key(), sidecar)) == kNoRecord) continue;
      out.sidecar_tokens = std::uint64_t{r.depth} * impl_->block_tokens + r.tokens;
      break;
    }
    out.sidecar_missing = out.sidecar_tokens != chain.tokens;
  }
  return out;
}

CheckpointStats CheckpointStore::stats() const {
  const std::lock_guard lock(impl_->mutex);
  static_cast<void>(impl_->refresh().has_value());
  CheckpointStats s = impl_->counters;
  s.blocks = impl_->blocks;
  s.sidecars = impl_->sidecars.size();
  s.states = impl_->states;
  s.namespaces = impl_->namespaces.size();
  s.budget_bytes = impl_->options.budget_bytes;
  s.disk_bytes = impl_->options.read_only ? bytes_on_disk(impl_->directory) : impl_->disk_bytes();
  for (const auto& [number, segment] : impl_->segments) s.live_bytes += segment.live;
  s.index_bytes = impl_->index_file_bytes + impl_->journal_bytes;
  s.memory_bytes =
      impl_->index.memory_bytes() + (impl_->policy ? impl_->policy->memory_bytes() : 0);
  s.segments = impl_->segments.size();
  s.uring = impl_->reader->has_uring();
  s.hole_punching = impl_->punching;
  return s;
}

Status CheckpointStore::list(const std::function<bool(const CheckpointEntry&)>& visit) const {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  TOKVAULT_TRY(impl_->refresh());
  const BlockIndex& index = impl_->index;
  for (RecordId id = 0; id < index.limit(); ++id) {
    const BlockRecord& r = index[id];
    if (r.kind == Kind::free || (r.flags & kBad) != 0) continue;
    CheckpointEntry e;
    e.kind = kind_name(r.kind);
    e.key = hex(r.key());
    if (r.parent != kNoRecord) e.parent = hex(index[r.parent].key());
    e.name_space = impl_->namespaces[r.name_space].value;
    e.position = std::uint64_t{r.depth} * impl_->block_tokens;
    e.tokens = r.kind == Kind::sidecar ? 0 : r.tokens;
    const auto extra = impl_->extras.find(id);
    if (r.kind == Kind::state && extra != impl_->extras.end()) {
      e.tokens = extra->second.state_tokens;
    }
    e.disk_bytes = r.bytes();
    e.hits = r.hits();
    e.children = r.children();
    if (!visit(e)) break;
  }
  return {};
}

Result<CheckpointCheck> CheckpointStore::check() {
  CheckpointCheck out;
  std::vector<char> chunk(kChunkBytes);
  Impl::Lock lock(impl_->mutex);
  if (impl_->closed) return closed_error();
  TOKVAULT_TRY(impl_->refresh());
  const RecordId limit = impl_->index.limit();
  for (RecordId id = 0; id < limit; ++id) {
    if (impl_->closed) return closed_error();
    if (id >= impl_->index.limit()) break;  // a reader's index was loaded anew
    const BlockRecord& r = std::as_const(impl_->index)[id];
    if (r.kind == Kind::free || (r.flags & kBad) != 0) continue;
    const Impl::Located at = impl_->locate(id);
    Impl::Hold held(*impl_, lock, id);
    lock.unlock();
    const auto verify = [&]() -> Status {
      TOKVAULT_ASSIGN(const RecordPrefix prefix, impl_->read_prefix(at));
      TOKVAULT_TRY(impl_->read_tail(at, prefix));
      const std::uint64_t bytes = prefix.header.payload_bytes;
      for (std::uint64_t offset = 0; offset < bytes; offset += kChunkBytes) {
        const std::uint64_t size = std::min<std::uint64_t>(kChunkBytes, bytes - offset);
        TOKVAULT_TRY(impl_->read_payload(at, prefix, offset, std::span<char>(chunk.data(), size)));
      }
      return {};
    };
    auto status = verify();
    lock.lock();
    held.end();
    ++out.checked;
    if (status || !is_damage(status.error()) || !impl_->is_there(at)) continue;
    ++out.bad;
    out.findings.push_back(hex(at.record.key()) + " in log " + std::to_string(at.record.segment) +
                           " at " + std::to_string(at.record.offset()) + ": " +
                           std::string(status.error().message()));
    impl_->set_aside(at, status.error());
  }
  return out;
}

Status CheckpointStore::flush() { return impl_->flush(false); }

Status CheckpointStore::close() {
  impl_->stop_threads();
  auto status = impl_->flush(true);
  const std::lock_guard writing(impl_->write_mutex);
  const std::lock_guard lock(impl_->mutex);
  impl_->closed = true;
  impl_->files[0].clear();
  impl_->files[1].clear();
  impl_->journal.reset();
  impl_->lock_file = File();
  impl_->uses.reset();
  return status;
}

// --- asynchronous calls ---

void CheckpointStore::Impl::complete(CheckpointCompletion c) {
  completions.push_back(c);
  const std::uint64_t one = 1;
  static_cast<void>(::write(event_fd, &one, sizeof one) < 0);
  async_done.notify_all();
}

Result<std::uint64_t> CheckpointStore::Impl::submit(std::function<CheckpointCompletion()> run) {
  const std::lock_guard lock(async_mutex);
  if (stopping) return closed_error();
  const auto work = [this] {
    for (;;) {
      Task task;
      {
        std::unique_lock wait(async_mutex);
        async_work.wait(wait, [this] { return stopping || !tasks.empty(); });
        if (tasks.empty()) {
          --running;
          async_done.notify_all();
          return;
        }
        task = std::move(tasks.front());
        tasks.pop_front();
      }
      CheckpointCompletion c;
      try {
        c = task.run();
      } catch (const std::bad_alloc&) {
        c.status = Errc::exhausted;
      }
      c.id = task.id;
      const std::lock_guard done(async_mutex);
      complete(c);
    }
  };
  while (threads.size() < options.threads) {
    try {
      threads.emplace_back(work);
      ++running;
    } catch (const std::system_error& e) {  // fewer will do
      if (threads.empty())
        return Error(Errc::exhausted, "no thread can be started", e.code().value());
      break;
    }
  }
  const std::uint64_t id = next_task++;
  tasks.push_back({id, std::move(run)});
  async_work.notify_one();
  return id;
}

void CheckpointStore::Impl::stop_threads() {
  std::vector<std::thread> ending;
  {
    const std::lock_guard lock(async_mutex);
    stopping = true;
    ending.swap(threads);
    async_work.notify_all();
    async_done.notify_all();
  }
  for (std::thread& t : ending) t.join();
}

Result<std::uint64_t> CheckpointStore::submit_get(const Namespace& name_space, TokenView tokens,
                                                  std::span<CheckpointRead> reads) {
  return impl_->submit([this, name_space, tokens, reads] {
    CheckpointCompletion c;
    const auto got = impl_->get(name_space, tokens, reads);
    c.status = got.code();
    if (got) c.tokens = *got;
    return c;
  });
}

Result<std::uint64_t> CheckpointStore::submit_put(const Namespace& name_space, TokenView tokens,
                                                  const CheckpointPut& put) {
  return impl_->submit([this, name_space, tokens, put] {
    CheckpointCompletion c;
    auto done = impl_->put(name_space, tokens, put);
    c.status = done.code();
    if (done) c.put = *done;
    return c;
  });
}

bool CheckpointStore::cancel(std::uint64_t id) {
  const std::lock_guard lock(impl_->async_mutex);
  const auto it = std::find_if(impl_->tasks.begin(), impl_->tasks.end(),
                               [id](const Impl::Task& t) { return t.id == id; });
  if (it == impl_->tasks.end()) return false;
  impl_->tasks.erase(it);
  CheckpointCompletion c;
  c.id = id;
  c.status = Errc::cancelled;
  impl_->complete(c);
  return true;
}

std::size_t CheckpointStore::take_completions(std::span<CheckpointCompletion> out,
                                              std::uint64_t timeout_ms) {
  constexpr std::uint64_t kYearMs = 31'536'000'000;  // what is longer is for ever
  std::unique_lock lock(impl_->async_mutex);
  if (impl_->completions.empty() && timeout_ms > 0) {
    // That the store is closing is no end yet: what was submitted before completes.
    impl_->async_done.wait_for(
        lock, std::chrono::milliseconds(std::min(timeout_ms, kYearMs)),
        [this] { return !impl_->completions.empty() || (impl_->stopping && impl_->running == 0); });
  }
  std::size_t count = 0;
  while (count < out.size() && !impl_->completions.empty()) {
    out[count++] = impl_->completions.front();
    impl_->completions.pop_front();
  }
  if (impl_->completions.empty()) {
    std::uint64_t drained = 0;
    static_cast<void>(::read(impl_->event_fd, &drained, sizeof drained) < 0);
  }
  return count;
}

int CheckpointStore::completion_fd() const { return impl_->event_fd; }

}  // namespace tokvault
