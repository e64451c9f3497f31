// How conversations come in: staged together, encoded, appended to the log and synced.
#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>

#include "base/checksum.h"
#include "base/clock.h"
#include "tokvault/interchange.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

// put_async() commits by itself when so many conversations wait, or so many bytes of them.
constexpr std::size_t kAsyncMax = 256;
constexpr std::size_t kAsyncBytesMax = 64u << 20;
// Of an import's progress: it becomes a key of the catalog, with a byte that says of which kind.
constexpr std::size_t kProgressBytesMax = 4095;
// Conversations that one thread prepares at a time, in bytes of memory.
constexpr std::size_t kPrepareBytes = 256u << 10;

// Equal in JSON value. An earlier build may have cut the same JSON into other values.
bool same_value(const Message& stored, const Message& given) {
  if (stored == given) return true;
  if (stored.form == given.form) return false;
  const auto before = to_json(stored);
  const auto now = to_json(given);
  return before && now && *before == *now;
}

// All but the messages.
bool same_fields(const Conversation& stored, const Conversation& given) {
  const std::string form = given.form.empty() ? Stager::form_of(given) : given.form;
  if (stored.form == form) return stored.values == given.values;
  const auto json = [&](const Conversation& c, const std::string& its_form) {
    Conversation fields;
    fields.id = c.id;
    fields.model = c.model;
    fields.application = c.application;
    fields.time_ms = stored.time_ms;  // what was given is that, or none
    fields.form = its_form;
    fields.values = c.values;
    return to_json(fields);
  };
  const auto before = json(stored, stored.form);
  const auto now = json(given, form);
  return before && now && *before == *now;
}

// Whether it can be kept; any can be forgotten.
Status check_progress(const ImportProgress& progress) {
  const auto check = [](const char* what, const Buffer& given) -> Status {
    if (given.size() <= kProgressBytesMax) return {};
    return Error(Errc::invalid, std::string("the ") + what + " of an import has " +
                                    std::to_string(given.size()) + " bytes, more than " +
                                    std::to_string(kProgressBytesMax));
  };
  if (progress.finished) return {};
  TOKVAULT_TRY(check("source", progress.source));
  return check("state hash", progress.state_hash);
}

Error one_was_refused() { return Error(Errc::cancelled, "one before it was refused"); }

// Equal as the vault keeps them: a form that is not written out is the default one, and a
// conversation without a time has any.
bool same_content(const Conversation& stored, const Conversation& given) {
  return stored.model == given.model && stored.application == given.application &&
         (given.time_ms == 0 || stored.time_ms == given.time_ms) &&
         stored.messages.size() == given.messages.size() &&
         std::equal(stored.messages.begin(), stored.messages.end(), given.messages.begin(),
                    same_value) &&
         same_fields(stored, given);
}

}  // namespace

Status VaultImpl::check_writer() const {
  if (options_.read_only) return Error(Errc::denied, "the vault is open for reading only");
  if (::getpid() == process_) return {};
  return Error(Errc::denied, "the vault is open for writing in process " +
                                 std::to_string(process_) +
                                 ", of which this is a fork: open one here");
}

Result<std::unique_lock<FairMutex>> VaultImpl::lock_for_writing() {
  TOKVAULT_TRY(check_writer());
  std::unique_lock lock(write_mutex_);
  TOKVAULT_TRY(check_writable());
  return lock;
}

Status VaultImpl::check_writable() const {
  TOKVAULT_TRY(check_writer());
  if (failed_.code() != Errc::ok) return failed_.clone();
  return {};
}

Error VaultImpl::fail(Error error) {
  failed_ =
      Error(error.code(),
            "a write failed before (" + std::string(error.message()) + "): open the vault again",
            error.os_code());
  return error;
}

unsigned VaultImpl::thread_count() const {
  if (options_.threads != 0) return options_.threads;
  return std::max(1u, std::thread::hardware_concurrency());
}

Status VaultImpl::prepare_log() {
  if (log_) return {};
  // The last log goes on if its writer ended as it should have. A damaged one stays as it is.
  const auto& logs = state_.logs();
  const std::shared_ptr<LogFile> last = logs.empty() ? nullptr : logs.rbegin()->second;
  if (!last || !last->lost().empty()) return rotate();
  // What an interrupted write left after its last whole batch is cut off before anything is written
  // behind it.
  auto size = backend_->size(last->name());
  if (!size) return fail(std::move(size).error());
  if (*size > last->size_bytes()) {
    auto cut = backend_->truncate(last->name(), last->size_bytes());
    if (!cut) return fail(std::move(cut).error());
  }
  if (was_closed(*last)) {
    log_ = last;
    writer_ = make_writer();
    auto begun = stager_->begin_log(*log_);
    if (!begun) return fail(std::move(begun).error());
    return {};
  }
  // [W1] Nobody knows whether all of it was synced, and if a sync failed, the system may hold for
  // written what is not on the disk. So it is given up for writing, and what is in it is written
  // anew before anything relies on it; where there is no room for that, another sync has to do.
  TOKVAULT_TRY(rotate());
  if (Status sealed = seal_log(last, false, Level::fast); !sealed) {
    auto synced = backend_->sync(last->name());
    if (!synced) return fail(std::move(synced).error());
  }
  return {};
}

// Whether the catalog says that all of it was synced.
bool VaultImpl::was_closed(const LogFile& log) const {
  return std::any_of(state_.files().begin(), state_.files().end(), [&](const CatalogFile& f) {
    return f.kind == CatalogFile::Kind::log && f.number == log.number() &&
           f.size_bytes == log.size_bytes();
  });
}

Status VaultImpl::rotate() {
  join_sealing();
  TOKVAULT_TRY(settle());
  const std::uint64_t number = next_file_++;
  const Buffer header =
      encode_log_header({.version = 1, .number = number, .vault = state_.vault()});
  const std::string name = log_name(number);
  TOKVAULT_TRY(backend_->remove(name));  // of a rotation that was interrupted
  TOKVAULT_TRY(backend_->put(name, header));
  CatalogFile file;
  file.kind = CatalogFile::Kind::log;
  file.number = number;
  file.size_bytes = header.size();
  file.sequence_first = next_sequence_;
  TOKVAULT_TRY(swap({file}, {}, {}));
  log_ = state_.logs().at(number);
  writer_ = make_writer();
  auto begun = stager_->begin_log(*log_);
  if (!begun) return fail(std::move(begun).error());
  return {};
}

std::unique_ptr<LogWriter> VaultImpl::make_writer() const {
  return std::make_unique<LogWriter>(
      *log_, options_.level, [this](std::uint32_t tenant) -> std::shared_ptr<const Artifact> {
        auto dictionary = active_artifact(tenant, ArtifactKind::dictionary);
        return dictionary ? *dictionary : nullptr;
      });
}

void VaultImpl::rotate_if_due() {
  if (sealing_done_.exchange(false)) join_sealing();
  tend_merging();
  if (log_->size_bytes() < options_.log_bytes_max && log_->text_bytes() < kLogTextBytesMax &&
      log_->row_count() < kLogRowsMax && log_->records().size() < kLogRecordsMax &&
      std::all_of(log_->parts().begin(), log_->parts().end(), [](const auto& part) {
        return size_of(part.second->table()).fits(kLogTableSize);
      })) {
    return;
  }
  if (Status status = rotate(); !status) return note_seal_error(std::move(status).error());
  start_sealing();
}

Status check_level(Level level) {
  if (level >= Level::fast && level <= Level::dense) return {};
  return Error(Errc::invalid, "the level is 1 (fast), 2 (balanced) or 3 (dense), not " +
                                  std::to_string(static_cast<unsigned>(level)));
}

Status check_name(std::string_view what, std::string_view name) {
  std::string ignored;
  if (name.size() <= kNameBytesMax && append_json_string(name, ignored)) return {};
  std::string why(what);
  why += name.size() > kNameBytesMax ? " has at most 255 bytes"
                                     : " is neither UTF-8 nor UTF-8 with lone surrogates";
  return Error(Errc::invalid, std::move(why));
}

Result<std::uint32_t> VaultImpl::tenant_for_writing(std::string_view given) {
  const std::string_view name = tenant_name(given);
  if (const TenantState* t = state_.tenant(name)) return t->record.number;
  TOKVAULT_TRY(check_name("a tenant's name", name));
  if (Status status = expect_known_tenants(); !status) {
    return std::move(status).error().with("tenant " + std::string(name));
  }
  std::uint32_t number = 0;
  for (const auto& [n, t] : state_.tenants()) number = std::max(number, n + 1);
  const TenantRecord record{number, std::string(name), random_bytes(16)};
  TOKVAULT_TRY(commit_records(number, {{tokvault::tenant_key(number), encode(record)}}));
  return number;
}

Result<std::uint32_t> VaultImpl::tenant_for(const Conversation& conversation,
                                            std::string_view name) {
  if (state_.tenant(tenant_name(name)) == nullptr) {
    TOKVAULT_TRY(
        stager_->check_whole(conversation, Stager::form_of(conversation), *stage_encoder_));
  }
  return tenant_for_writing(name);
}

VaultImpl::Pending VaultImpl::begin_batch(std::uint32_t tenant) {
  BatchBuilder::Counts counts;
  const auto part = log_->parts().find(tenant);
  if (part != log_->parts().end()) counts = part->second->counts();
  counts.next_sequence = next_sequence_;
  Pending pending{BatchBuilder(counts), next_sequence_, 0, 0, false, {}};
  // A log stands alone: the first batch of a tenant says who it is.
  if (part == log_->parts().end()) {
    if (auto record = state_.find_record(tokvault::tenant_key(tenant))) {
      pending.builder.put_record(record->key, *record->value);
    }
  }
  return pending;
}

void VaultImpl::look_up_and_prepare(Request& request, ConversationReader& reader,
                                    Tokenizer::Encoder& encoder) const {
  const Conversation& c = *request.conversation;
  if (!c.id.empty()) {
    const auto now = standing(*state_.tenant(request.tenant), c.id);
    if (!now || now->is_doubtful) {
      // stage() decides.
    } else if (!now->found) {
      request.before = Request::Before::nothing;
    } else {
      // Reading what is there is cheaper than tokenising what came.
      auto stored = reader.read(*now->found->source, *now->found->tables, now->found->row);
      if (stored && same_content(*stored, c)) {
        request.before = Request::Before::the_same;
        return;
      }
    }
  }
  stager_->prepare(request.tenant, c, encoder, request.prepared);
}

Status VaultImpl::stage(Pending& pending, Request& request) {
  const Conversation& c = *request.conversation;
  const auto in_batch = c.id.empty() ? pending.ids.end() : pending.ids.find(c.id);
  if (request.before == Request::Before::the_same) {
    if (in_batch == pending.ids.end()) {
      request.result = PutResult{c.id, PutResult::Outcome::unchanged};
      return {};
    }
    // It was, but the batch has changed it.
    stager_->prepare(request.tenant, c, *stage_encoder_, request.prepared);
  }
  if (request.prepared.error.code() != Errc::ok) {
    request.result = std::move(request.prepared.error);
    return {};
  }
  // What a log has of a tenant becomes one pack, and that has limits.
  TableSize size = Stager::size_of(request.prepared, c.id);
  size += pending.builder.added();
  if (const auto part = log_->parts().find(request.tenant); part != log_->parts().end()) {
    size += size_of(part->second->table());
  }
  if (!size.fits(kTableSizeMax)) {
    request.result = Error(Errc::exhausted, "too much for one batch: put less at a time");
    return {};
  }
  const TenantState& tenant = *state_.tenant(request.tenant);
  const std::int64_t time = c.time_ms != 0 ? c.time_ms : now_ms();
  std::uint64_t first_sequence = 0;
  PutResult result{c.id, PutResult::Outcome::stored};
  if (c.id.empty()) {
    // Ordered by time, unique by the sequence number, and next to nothing in the id column. One
    // that another vault has made may have come in by an import.
    const std::string made =
        std::to_string(time) + "-" + std::to_string(pending.builder.counts().next_sequence);
    result.id = made;
    auto is_taken = [&] {
      if (pending.ids.contains(result.id)) return true;
      const auto now = standing(tenant, result.id);
      return now && now->found;
    };
    for (int i = 2; is_taken(); ++i) result.id = made + "-" + std::to_string(i);
  } else {
    std::optional<Conversation> stored;
    bool is_doubtful = false;
    bool is_unreadable = false;
    if (in_batch != pending.ids.end()) {
      const Conversation& before = *in_batch->second.conversation;
      first_sequence = in_batch->second.first_sequence;
      // Both are as they were given: compare them as if the first were stored.
      stored = before;
      stored->id = c.id;
      stored->form = Stager::form_of(before);
    } else if (request.before != Request::Before::nothing) {
      auto now = standing(tenant, c.id);
      if (!now) {
        request.result = std::move(now).error();
        return {};
      }
      is_doubtful = now->is_doubtful;
      if (now->found) {
        const Found& found = *now->found;
        ConversationReader reader(state_, *tokenizer_, request.tenant);
        auto read = reader.read(*found.source, *found.tables, found.row);
        is_unreadable = read.code() == Errc::corrupt && request.options->replace;
        if (!read && !is_unreadable) {
          request.result = std::move(read).error();
          return {};
        }
        if (read) stored = std::move(*read);
        first_sequence = found.get().first_sequence;
      }
    }
    const bool is_same = stored && same_content(*stored, c);
    if (is_doubtful && ((!stored && !is_unreadable) || is_same)) {
      // From now on there is no doubt: this is the version, whatever the damaged log held.
      pending.builder.put_record(deletion_key(request.tenant, hash_id(tenant.record.key, c.id)),
                                 "");
    } else if (stored || is_unreadable) {
      if (is_same) {
        request.result = PutResult{c.id, PutResult::Outcome::unchanged};
        return {};
      }
      if (!request.options->replace) {
        request.result =
            Error(Errc::exists, "conversation " + c.id + " is there already, with other content");
        return {};
      }
      result.outcome = PutResult::Outcome::replaced;
      pending.builder.put_record(deletion_key(request.tenant, hash_id(tenant.record.key, c.id)),
                                 "");
    }
  }
  auto sequence = stager_->stage(request.tenant, request.prepared, result.id, time, first_sequence,
                                 pending.builder, *stage_encoder_);
  // Numbers have been given out that will not be written: nothing can follow.
  if (!sequence) return fail(std::move(sequence).error());
  request.result = std::move(result);
  // The request, and its id with it, stays where it is as long as the batch is built.
  pending.ids[request.result->id] = {&c, first_sequence != 0 ? first_sequence : *sequence};
  return {};
}

Status VaultImpl::feed(Pending& pending, std::uint32_t tenant) {
  const ByteView body = pending.builder.body();
  const ByteView text = pending.builder.text();
  if (body.size() == pending.body_done) return {};
  if (!pending.begun) {
    if (text.size() < kTextApartBytes) return {};  // it may stay in the body
    auto begun = writer_->begin(tenant, pending.first_sequence, true);
    if (!begun) return fail(std::move(begun).error());
    pending.begun = true;
  }
  auto added = writer_->add(body.substr(pending.body_done), text.substr(pending.text_done));
  if (!added) return fail(std::move(added).error());
  pending.body_done = body.size();
  pending.text_done = text.size();
  return {};
}

Status VaultImpl::finish_batch(Pending& pending, std::uint32_t tenant,
                               std::vector<Written>& written) {
  TOKVAULT_TRY(feed(pending, tenant));
  Written w;
  if (pending.begun) {
    w.body = pending.builder.body();
    w.text = pending.builder.text();
  } else {
    w.body = pending.builder.body_with_text();
    if (w.body.empty()) return {};
    auto begun = writer_->begin(tenant, pending.first_sequence, false);
    if (begun) begun = writer_->add(w.body, "");
    if (!begun) return fail(std::move(begun).error());
  }
  std::uint64_t offset = log_->size_bytes();
  for (const Written& before : written) offset += kBatchHeaderBytes + before.payload_size;
  auto bytes = writer_->finish(offset, !written.empty(), pending.builder, w.header);
  if (!bytes) return fail(std::move(bytes).error());
  auto appended = backend_->append(log_->name(), *bytes);
  if (!appended) return fail(std::move(appended).error());
  w.payload_size = bytes->size() - kBatchHeaderBytes;
  next_sequence_ = pending.builder.counts().next_sequence;
  written.push_back(std::move(w));
  return {};
}

Status VaultImpl::commit(std::vector<Written> written) {
  if (written.empty()) return {};
  auto synced = backend_->sync(log_->name());
  if (!synced) return fail(std::move(synced).error());
  std::unique_lock lock(state_mutex_);
  for (Written& w : written) {
    auto applied =
        state_.apply_batch(*log_, w.header, w.payload_size, std::move(w.body), std::move(w.text));
    if (!applied) return fail(std::move(applied).error());
  }
  return {};
}

Status VaultImpl::commit_requests(std::span<Request*> requests) {
  return unless_thrown([&] { return try_commit(requests); });
}

Status VaultImpl::try_commit(std::span<Request*> requests) {
  TOKVAULT_TRY(prepare_log());
  std::vector<Written> written;
  std::vector<std::uint32_t> tenants;
  for (const Request* r : requests) {
    if (std::find(tenants.begin(), tenants.end(), r->tenant) == tenants.end()) {
      tenants.push_back(r->tenant);
    }
  }
  for (std::uint32_t tenant : tenants) {
    Pending pending = begin_batch(tenant);
    const std::uint64_t before = pending.builder.counts().next_sequence;
    for (Request* r : requests) {
      if (r->tenant == tenant) TOKVAULT_TRY(stage(pending, *r));
    }
    // Only its tenant's record: nothing to write.
    if (pending.builder.counts().next_sequence == before) continue;
    TOKVAULT_TRY(finish_batch(pending, tenant, written));
  }
  TOKVAULT_TRY(commit(std::move(written)));
  rotate_if_due();
  return {};
}

void VaultImpl::add_changes(const std::vector<RecordChange>& changes, BatchBuilder& batch) {
  for (const RecordChange& c : changes) {
    if (c.value) {
      batch.put_record(c.key, *c.value);
    } else {
      batch.remove_record(c.key);
    }
  }
}

Status VaultImpl::commit_records(std::uint32_t tenant, const std::vector<RecordChange>& changes) {
  if (changes.empty()) return {};
  if (changes.size() > kLogRecordsMax) {
    return Error(Errc::exhausted, std::to_string(changes.size()) +
                                      " changes are too many for one commit: at most " +
                                      std::to_string(kLogRecordsMax));
  }
  return unless_thrown([&]() -> Status {
    TOKVAULT_TRY(prepare_log());
    Pending pending = begin_batch(tenant);
    add_changes(changes, pending.builder);
    std::vector<Written> written;
    TOKVAULT_TRY(finish_batch(pending, tenant, written));
    TOKVAULT_TRY(commit(std::move(written)));
    rotate_if_due();
    return {};
  });
}

void VaultImpl::lead() {
  std::lock_guard write_lock(write_mutex_);
  std::vector<Request*> group;
  {
    std::lock_guard queue_lock(queue_mutex_);
    group.swap(queue_);
  }
  // Whatever is thrown, nobody of the group may wait for ever.
  bool no_memory = false;
  try {
    Status status = check_writable();
    if (status) status = commit_requests(group);
    if (!status) {
      for (Request* r : group) r->result = status.error().clone();
    }
  } catch (const std::exception&) {
    no_memory = true;  // not even for an error
  }
  std::lock_guard queue_lock(queue_mutex_);
  for (Request* r : group) {
    r->no_memory = no_memory;
    r->done = true;
  }
  leader_ = false;
  queue_done_.notify_all();
}

Result<PutResult> VaultImpl::put_request(Request& request) {
  {
    thread_local std::shared_ptr<const Tokenizer> encoder_of;
    thread_local std::unique_ptr<Tokenizer::Encoder> encoder;
    if (encoder_of != tokenizer_) {
      encoder = tokenizer_->make_encoder();
      encoder_of = tokenizer_;
    }
    stager_->prepare(request.tenant, *request.conversation, *encoder, request.prepared);
  }
  // Whoever finds no leader commits for all who wait: they share a sync.
  std::unique_lock queue_lock(queue_mutex_);
  queue_.push_back(&request);
  while (!request.done) {
    if (leader_) {
      queue_done_.wait(queue_lock);
      continue;
    }
    leader_ = true;
    queue_lock.unlock();
    lead();
    queue_lock.lock();
  }
  if (request.no_memory) return Error(Errc::exhausted, "no memory");
  return std::move(request.result);
}

Result<PutResult> VaultImpl::put(const Conversation& conversation, const PutOptions& options) {
  TOKVAULT_TRY(check_writer());
  Request request;
  request.conversation = &conversation;
  request.options = &options;
  // write_mutex_ is held while another's sync lasts: who waits for it would not be in the queue
  // when the next one begins.
  const auto known = [&]() -> std::optional<std::uint32_t> {
    std::shared_lock lock(state_mutex_);
    const TenantState* tenant = state_.tenant(tenant_name(options.tenant));
    if (tenant == nullptr) return {};
    return tenant->record.number;
  }();
  if (known) {
    request.tenant = *known;
  } else {
    TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
    TOKVAULT_TRY(prepare_log());
    TOKVAULT_ASSIGN(request.tenant, tenant_for(conversation, options.tenant));
  }
  return put_request(request);
}

std::vector<VaultImpl::RecordChange> VaultImpl::changes_of(const ImportProgress& progress) const {
  Buffer key = progress_key(progress.source);
  std::optional<Buffer> value;
  if (!progress.finished) {
    value = encode(ProgressRecord{progress.lines, progress.bytes, progress.state_hash});
  } else if (!state_.find_record(key)) {
    return {};
  }
  return {{std::move(key), std::move(value)}};
}

std::vector<Result<PutResult>> VaultImpl::refused_first(std::span<const Conversation> conversations,
                                                        const PutOptions& options) {
  std::vector<Result<PutResult>> refused;
  for (const Conversation& c : conversations) {
    if (options.stop_at_refused && !refused.empty()) {
      refused.push_back(one_was_refused());
      continue;
    }
    Status checked = stager_->check_whole(c, Stager::form_of(c), *stage_encoder_);
    if (checked) break;
    refused.push_back(std::move(checked).error());
  }
  return refused;
}

Result<std::vector<Result<PutResult>>> VaultImpl::put_batch(
    std::span<const Conversation> conversations, const PutOptions& options,
    const ImportProgress* progress) {
  TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
  if (progress != nullptr) TOKVAULT_TRY(check_progress(*progress));
  return unless_thrown([&] { return try_put(conversations, options, progress); });
}

Result<std::vector<Result<PutResult>>> VaultImpl::try_put(
    std::span<const Conversation> conversations, const PutOptions& options,
    const ImportProgress* progress) {
  TOKVAULT_TRY(prepare_log());
  std::vector<Result<PutResult>> results;
  if (state_.tenant(tenant_name(options.tenant)) == nullptr) {
    TOKVAULT_TRY(check_name("a tenant's name", options.tenant));
    results = refused_first(conversations, options);
    if (results.size() == conversations.size()) {
      const bool stopped = options.stop_at_refused && !results.empty();
      if (progress != nullptr && !stopped) TOKVAULT_TRY(commit_records(0, changes_of(*progress)));
      return results;
    }
    results.clear();
  }
  TOKVAULT_ASSIGN(const std::uint32_t tenant, tenant_for_writing(options.tenant));
  std::vector<Request> requests(conversations.size());
  std::vector<std::size_t> ends;  // of the pieces that threads take
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].conversation = &conversations[i];
    requests[i].options = &options;
    requests[i].tenant = tenant;
    bytes += memory_bytes(conversations[i]);
    if (bytes >= kPrepareBytes || i + 1 == requests.size()) {
      ends.push_back(i + 1);
      bytes = 0;
    }
  }

  // Threads prepare pieces in order, this one stages them as they become ready.
  std::mutex mutex;
  std::condition_variable ready;
  std::vector<bool> prepared(ends.size());
  std::atomic<std::size_t> next{0};
  auto work = [&](Tokenizer::Encoder* encoder) {
    ConversationReader reader(state_, *tokenizer_, tenant);
    for (std::size_t piece = next++; piece < ends.size(); piece = next++) {
      for (std::size_t i = piece == 0 ? 0 : ends[piece - 1]; i < ends[piece]; ++i) {
        try {
          look_up_and_prepare(requests[i], reader, *encoder);
        } catch (const std::exception& e) {  // of this one; an encoder is as good as new
          requests[i].prepared.error = Error(Errc::exhausted, e.what());
        }
      }
      std::lock_guard done(mutex);
      prepared[piece] = true;
      ready.notify_one();
    }
  };
  std::vector<std::jthread> threads;
  if (ends.size() > 1) {
    for (unsigned i = 0; i < std::min<std::size_t>(thread_count(), ends.size()); ++i) {
      if (i == encoders_.size()) encoders_.push_back(tokenizer_->make_encoder());
      try {
        threads.emplace_back(work, encoders_[i].get());
      } catch (const std::system_error&) {  // fewer will do
        break;
      }
    }
  }
  if (threads.empty()) work(stage_encoder_.get());

  Pending pending = begin_batch(tenant);
  pending.ids.reserve(requests.size());
  const std::uint64_t sequence_before = pending.builder.counts().next_sequence;
  Status status;
  bool stopped = false;
  std::size_t staged = 0;
  for (std::size_t piece = 0; piece < ends.size() && status && !stopped; ++piece) {
    {
      std::unique_lock wait(mutex);
      ready.wait(wait, [&] { return prepared[piece]; });
    }
    for (std::size_t i = piece == 0 ? 0 : ends[piece - 1]; i < ends[piece] && status; ++i) {
      if (stopped) break;
      status = stage(pending, requests[i]);
      requests[i].prepared = Prepared();  // its codes are in the body now
      stopped = options.stop_at_refused && !requests[i].result;
      staged = i + 1;
    }
    if (status && pending.builder.counts().next_sequence != sequence_before) {
      status = feed(pending, tenant);
    }
  }
  next = ends.size();
  threads.clear();
  TOKVAULT_TRY(std::move(status));
  for (std::size_t i = staged; i < requests.size(); ++i) {
    requests[i].result = one_was_refused();
  }
  if (progress != nullptr && !stopped) add_changes(changes_of(*progress), pending.builder);
  std::vector<Written> written;
  if (pending.builder.counts().next_sequence != sequence_before) {
    TOKVAULT_TRY(finish_batch(pending, tenant, written));
  }
  TOKVAULT_TRY(commit(std::move(written)));
  rotate_if_due();
  results.reserve(requests.size());
  for (Request& r : requests) results.push_back(std::move(r.result));
  return results;
}

Status VaultImpl::put_async(Conversation conversation, const PutOptions& options) {
  TOKVAULT_TRY(check_writer());
  TOKVAULT_TRY(check_name("a tenant's name", tenant_name(options.tenant)));
  TOKVAULT_TRY(stager_->check(conversation, Stager::form_of(conversation)));
  bool is_much = false;
  {
    std::lock_guard lock(queue_mutex_);
    async_bytes_ += memory_bytes(conversation);
    async_.push_back(std::make_unique<Async>(Async{std::move(conversation), options}));
    is_much = async_.size() >= kAsyncMax || async_bytes_ >= kAsyncBytesMax;
  }
  return is_much ? drain_async() : Status();
}

Status VaultImpl::drain_async() {
  std::lock_guard write_lock(write_mutex_);
  std::vector<std::unique_ptr<Async>> taken;
  {
    std::lock_guard lock(queue_mutex_);
    std::swap(taken, async_);
    async_bytes_ = 0;
  }
  if (taken.empty()) return {};
  Error refused;  // the first one
  auto run = [&]() -> Status {
    TOKVAULT_TRY(check_writable());
    TOKVAULT_TRY(prepare_log());
    std::vector<Request> requests(taken.size());
    std::vector<Request*> pointers;
    for (std::size_t i = 0; i < taken.size(); ++i) {
      Request& r = requests[i];
      r.conversation = &taken[i]->conversation;
      r.options = &taken[i]->options;
      auto tenant = tenant_for(*r.conversation, r.options->tenant);
      TOKVAULT_TRY(check_writable());
      if (!tenant) {
        r.result = std::move(tenant).error();
        continue;
      }
      r.tenant = *tenant;
      stager_->prepare(r.tenant, *r.conversation, *stage_encoder_, r.prepared);
      pointers.push_back(&r);
    }
    TOKVAULT_TRY(commit_requests(pointers));
    const auto first =
        std::find_if(requests.begin(), requests.end(), [](const Request& r) { return !r.result; });
    if (first != requests.end()) {
      refused = std::move(first->result).error();
      // `exists` says it.
      const std::string& id = first->conversation->id;
      if (!id.empty() && refused.code() != Errc::exists) {
        refused = std::move(refused).with("conversation " + id);
      }
    }
    return {};
  };
  Status status = unless_thrown(run);
  std::lock_guard lock(queue_mutex_);
  if (!status) refused = status.error().clone();
  if (async_error_.code() == Errc::ok) async_error_ = std::move(refused);
  return status;
}

Status VaultImpl::flush() {
  if (options_.read_only) return {};
  TOKVAULT_TRY(check_writer());
  (void)drain_async();  // its error is in async_error_
  {
    std::lock_guard lock(queue_mutex_);
    if (Error error = std::exchange(async_error_, Error()); error.code() != Errc::ok) return error;
  }
  std::lock_guard lock(seal_mutex_);
  if (Error error = std::exchange(seal_error_, Error()); error.code() != Errc::ok) {
    return std::move(error).with("what was written is safe, but a log could not be made a pack");
  }
  if (Error error = std::exchange(merge_error_, Error()); error.code() != Errc::ok) {
    return std::move(error).with("what was written is safe, but packs could not be merged");
  }
  return {};
}

Status VaultImpl::append(std::string_view id, std::span<const Message> messages,
                         std::string_view tenant_given) {
  TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
  TOKVAULT_TRY(prepare_log());
  const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
  TOKVAULT_ASSIGN(const Found found, find_or_error(tenant, id));
  ConversationReader reader(state_, *tokenizer_, tenant->record.number);
  TOKVAULT_ASSIGN(Conversation c, reader.read(*found.source, *found.tables, found.row));
  c.messages.insert(c.messages.end(), messages.begin(), messages.end());
  const PutOptions options{.tenant = tenant->record.name, .replace = true};
  Request request;
  request.conversation = &c;
  request.options = &options;
  request.tenant = tenant->record.number;
  stager_->prepare(request.tenant, c, *stage_encoder_, request.prepared);
  Request* one[] = {&request};
  TOKVAULT_TRY(commit_requests(one));
  if (!request.result) return std::move(request.result).error();
  return {};
}

Status VaultImpl::tag(std::span<const std::string> ids, std::span<const std::string> add,
                      std::span<const std::string> remove, std::string_view tenant_given) {
  TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
  for (const std::string& t : add) {
    if (t.empty()) return Error(Errc::invalid, "a tag has 1 to 255 bytes");
    TOKVAULT_TRY(check_name("a tag", t));
    if (std::find(remove.begin(), remove.end(), t) != remove.end()) {
      return Error(Errc::invalid, "the tag \"" + t + "\" is both added and removed");
    }
  }
  TOKVAULT_TRY(prepare_log());
  const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
  std::vector<RecordChange> changes;
  for (const std::string& id : ids) {
    TOKVAULT_ASSIGN(const Found found, find_or_error(tenant, id));
    (void)found;
    const IdHash hash = hash_id(tenant->record.key, id);
    const auto have = tenant->tags.find(hash);
    auto has = [&](const std::string& t) {
      return have != tenant->tags.end() && have->second.contains(t);
    };
    for (const std::string& t : add) {
      if (!has(t)) changes.push_back({tag_key(tenant->record.number, hash, t), Buffer()});
    }
    for (const std::string& t : remove) {
      if (has(t)) changes.push_back({tag_key(tenant->record.number, hash, t), std::nullopt});
    }
  }
  if (changes.empty()) return {};
  return commit_records(tenant->record.number, changes);
}

Result<std::uint64_t> VaultImpl::forget(std::span<const std::string> ids,
                                        std::string_view tenant_given) {
  TOKVAULT_ASSIGN(const auto lock, lock_for_writing());
  TOKVAULT_TRY(prepare_log());
  const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
  if (tenant == nullptr) return std::uint64_t{0};
  std::vector<RecordChange> changes;
  std::set<std::string_view> seen;
  for (const std::string& id : ids) {
    if (!seen.insert(id).second) continue;
    TOKVAULT_ASSIGN(const Standing now, standing(*tenant, id));
    if (!now.found && !now.is_doubtful) continue;
    const IdHash hash = hash_id(tenant->record.key, id);
    changes.push_back({deletion_key(tenant->record.number, hash), Buffer()});
    if (const auto tags = tenant->tags.find(hash); tags != tenant->tags.end()) {
      for (const std::string& t : tags->second) {
        changes.push_back({tag_key(tenant->record.number, hash, t), std::nullopt});
      }
    }
  }
  const auto count = static_cast<std::uint64_t>(
      std::count_if(changes.begin(), changes.end(), [](const auto& c) { return c.value; }));
  // An import that goes on would not bring back what it had stored before: let it begin again.
  for (const Record& r : state_.find_records(progress_key(""))) changes.push_back({r.key, {}});
  if (count > 0) TOKVAULT_TRY(commit_records(tenant->record.number, changes));
  return count;
}

Result<std::uint64_t> VaultImpl::forget(const Filter& filter) {
  // In commits of a size that one log takes: of conversations, and of tags that go with them.
  constexpr std::size_t kChangesMax = 500'000;
  std::uint64_t count = 0;
  std::vector<std::string> ids;
  std::size_t changes = 0;
  auto forget_these = [&]() -> Status {
    TOKVAULT_ASSIGN(const std::uint64_t gone, forget(ids, filter.tenant));
    count += gone;
    ids.clear();
    changes = 0;
    return {};
  };
  std::string cursor;
  do {
    TOKVAULT_ASSIGN(Page page, list(filter, 10'000, cursor));
    for (Summary& s : page.conversations) {
      if (changes + 1 + s.tags.size() > kChangesMax) TOKVAULT_TRY(forget_these());
      changes += 1 + s.tags.size();
      ids.push_back(std::move(s.id));
    }
    cursor = page.cursor;
  } while (!cursor.empty());
  TOKVAULT_TRY(forget_these());
  return count;
}

}  // namespace tokvault
