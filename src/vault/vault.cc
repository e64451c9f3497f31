#include "vault/vault_impl.h"

#include <algorithm>
#include <atomic>
#include <charconv>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "vault/artifacts.h"
#include "vault/recovery.h"

namespace tokvault {
namespace {

// put_async() commits by itself when this much waits.
constexpr std::size_t kAsyncMax = 256;
// Conversations that one thread prepares at a time, in bytes of their values.
constexpr std::size_t kPrepareBytes = 256u << 10;
constexpr std::uint64_t kPageRows = 512;

Error no_conversation(std::string_view id) {
  return Error(Errc::not_found, "no conversation " + std::string(id));
}

std::size_t value_bytes(const Conversation& c) {
  std::size_t bytes = 64;
  for (const Message& m : c.messages) {
    for (const Value& v : m.values) bytes += v.bytes.size() + v.tokens.size() * 4;
  }
  return bytes;
}

// Equal as the vault keeps them: a form that is not written out is the default one, and a
// conversation without a time has any.
bool same_content(const Conversation& stored, const Conversation& given) {
  return stored.messages == given.messages && stored.values == given.values &&
         stored.model == given.model && stored.application == given.application &&
         stored.form == (given.form.empty() ? Stager::form_of(given) : given.form) &&
         (given.time_ms == 0 || stored.time_ms == given.time_ms);
}

bool matches(const TenantState& tenant, const Filter& f, const Tables& t, std::uint32_t number) {
  const Row& row = t.rows[number];
  if (row.time_ms < f.time_from_ms || row.time_ms >= f.time_until_ms) return false;
  if (!f.model.empty() && t.models[row.model] != f.model) return false;
  if (!f.application.empty() && t.applications[row.application] != f.application) return false;
  if (f.tags.empty()) return true;
  const auto it = tenant.tags.find(hash_id(tenant.record.key, t.ids[number]));
  if (it == tenant.tags.end()) return false;
  return std::all_of(f.tags.begin(), f.tags.end(),
                     [&](const std::string& tag) { return it->second.contains(tag); });
}

constexpr std::int64_t day_start_ms(std::int64_t day) { return day * 86'400'000; }

// True if a filter's times cut no day in two that lies in the range.
bool whole_days(const Filter& f, const Source::Range& range) {
  auto cuts = [&](std::int64_t time) {
    return time > range.time_first_ms && time <= range.time_last_ms &&
           day_start_ms(day_of_ms(time)) != time;
  };
  return !cuts(f.time_from_ms) && !cuts(f.time_until_ms);
}

Result<std::shared_ptr<const Tokenizer>> find_tokenizer(const Backend& backend,
                                                        const VaultRecord& vault,
                                                        const TokenizerOptions& options) {
  Result<std::shared_ptr<const Tokenizer>> found = std::shared_ptr<const Tokenizer>();
  if (vault.vocabulary.empty()) {
    found = open_tokenizer(vault.tokenizer, options);
  } else {
    TOKVAULT_ASSIGN(const std::uint64_t size, backend.size(vault.vocabulary));
    if (size > kVocabularyBytesMax) return Error(Errc::corrupt, "vocabulary: absurd size");
    Buffer ranks;
    TOKVAULT_TRY(backend.get(vault.vocabulary, 0, size, ranks));
    if (sha256(ranks) != vault.vocabulary_sha256) {
      return Error(Errc::corrupt, vault.vocabulary + ": not the vocabulary of this vault");
    }
    found = make_tokenizer(vault.tokenizer, vault.pattern, ranks);
  }
  if (!found) return found;
  if ((*found)->vocabulary_sha256() != vault.vocabulary_sha256) {
    return Error(Errc::invalid, "the installed vocabulary of " + vault.tokenizer +
                                    " is not the one this vault was made with");
  }
  return found;
}

}  // namespace

// --- creating and opening ----------------------------------------------------------------------

Status Vault::create(Backend& backend, Catalog& catalog, const CreateOptions& options) {
  if (!options.tokenizer) return Error(Errc::invalid, "a vault needs a tokenizer");
  TOKVAULT_ASSIGN(auto lock, backend.lock_writer());
  auto existing = catalog.load();
  if (existing && !existing->vault_record.empty()) {
    return Error(Errc::exists, "there is a vault already");
  }
  TOKVAULT_ASSIGN(const bool in_use, holds_anything_written(backend));
  if (in_use) {
    return Error(Errc::exists, "there are files of a vault without a catalog: `tokvault repair`");
  }
  TOKVAULT_ASSIGN(const auto logs, backend.list("log"));  // of an interrupted create
  for (const BlobInfo& blob : logs) TOKVAULT_TRY(backend.remove(blob.name));
  VaultRecord vault;
  vault.id = random_bytes(16);
  vault.tokenizer = options.tokenizer->name();
  vault.vocabulary_sha256 = options.tokenizer->vocabulary_sha256();
  if (!options.rank_file.empty()) {
    vault.pattern = options.pattern;
    vault.vocabulary =
        "artifacts/" +
        to_hex(ByteView(reinterpret_cast<const char*>(vault.vocabulary_sha256.data()), 16)) +
        ".tiktoken";
    TOKVAULT_TRY(backend.put(vault.vocabulary, options.rank_file));
  }
  const TenantRecord tenant{0, std::string(kDefaultTenant), random_bytes(16)};
  // The log stands before the catalog names it, and keeps what a lost catalog knew.
  const Buffer header = encode_log_header({.version = 1, .number = 1, .vault = vault});
  TOKVAULT_TRY(backend.put(log_name(1), header));
  CatalogState state;
  state.next_file = 2;
  state.vault_record = encode(vault);
  CatalogFile log;
  log.kind = CatalogFile::Kind::log;
  log.number = 1;
  log.size_bytes = header.size();
  log.sequence_first = 1;
  state.files.push_back(log);
  state.records.push_back({tokvault::tenant_key(0), encode(tenant), 0});
  return catalog.reset(state);
}

Result<std::unique_ptr<Vault>> Vault::open(std::unique_ptr<Backend> backend,
                                           std::unique_ptr<Catalog> catalog,
                                           const VaultOptions& options) {
  auto vault = std::make_unique<VaultImpl>(std::move(backend), std::move(catalog), options);
  TOKVAULT_TRY(vault->start());
  return std::unique_ptr<Vault>(std::move(vault));
}

VaultImpl::VaultImpl(std::unique_ptr<Backend> backend, std::unique_ptr<Catalog> catalog,
                     const VaultOptions& options)
    : backend_(std::move(backend)),
      catalog_(std::move(catalog)),
      options_(options),
      cache_(cache_bytes_of(options)),
      state_(*backend_, cache_),
      passed_over_(std::make_shared<PassedOver>()) {}

VaultImpl::~VaultImpl() {
  if (options_.read_only || !lock_) return;
  (void)flush();  // the caller who wants to know has called it
  std::lock_guard lock(write_mutex_);
  if (merge_) merge_->request_stop();
  join_sealing();
  take_merged();  // if it was done
  if (!log_ || failed_.code() != Errc::ok) return;
  // Says how much of the log is known to be written, so that damage at its end is seen as such.
  for (CatalogFile f : state_.files()) {
    if (f.kind != CatalogFile::Kind::log || f.number != log_->number() ||
        f.size_bytes == log_->size_bytes()) {
      continue;
    }
    f.size_bytes = log_->size_bytes();
    CatalogChange change;
    change.generation = state_.generation();
    change.add_files.push_back(f);
    (void)catalog_->commit(change);  // only a better diagnosis hangs on it
  }
}

Result<CatalogState> VaultImpl::load_catalog() const {
  auto catalog = catalog_->load();
  // A reader that cannot read the catalog (a writer died in the middle of a commit and this process
  // may not write) takes logs and packs alone.
  if (!catalog && options_.read_only && catalog.code() != Errc::not_found) {
    auto rebuilt = rebuild_catalog(*backend_, nullptr);
    if (rebuilt) return rebuilt;
  }
  if (!catalog) {
    if (catalog.code() == Errc::not_found) return catalog;
    return std::move(catalog).error().with("catalog (`tokvault repair` rebuilds it)");
  }
  if (catalog->vault_record.empty()) return Error(Errc::not_found, "no vault here");
  return catalog;
}

Status VaultImpl::start() {
  if (!options_.read_only) {
    TOKVAULT_ASSIGN(lock_, backend_->lock_writer());
  }
  for (int attempt = 0;; ++attempt) {
    TOKVAULT_ASSIGN(const CatalogState catalog, load_catalog());
    next_file_ = catalog.next_file;
    Status status = take(catalog);
    if (status) break;
    if (!options_.read_only) return status;
    // A reader may have read the catalog just before a rewrite removed a file.
    if (status.code() == Errc::not_found && attempt < 2) continue;
    unreadable_ = true;
    break;
  }
  auto tokenizer = find_tokenizer(*backend_, state_.vault(), options_.tokenizer_options);
  if (!tokenizer && options_.read_only) {
    tokenizer_error_ = std::move(tokenizer).error();
    tokenizer = open_tokenizer("bytes");
  }
  TOKVAULT_ASSIGN(tokenizer_, std::move(tokenizer));
  if (options_.read_only) return {};
  TOKVAULT_ASSIGN(const std::uint64_t swept, backend_->sweep());
  (void)swept;
  TOKVAULT_TRY(remove_leftovers());
  next_sequence_ = state_.next_sequence();
  stage_encoder_ = tokenizer_->make_encoder();
  stager_ = std::make_unique<Stager>(state_, tokenizer_, options_.conversation_bytes_max);
  return {};
}

// --- writing -----------------------------------------------------------------------------------

Status VaultImpl::check_writable() {
  if (options_.read_only) return Error(Errc::denied, "the vault is open for reading only");
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
  // The last log goes on; what an interrupted write left after its last whole batch is cut off
  // before anything is written behind it. A damaged one stays as it is.
  const auto& logs = state_.logs();
  if (!logs.empty() && logs.rbegin()->second->lost().empty()) {
    log_ = logs.rbegin()->second;
    auto size = backend_->size(log_->name());
    if (!size) return fail(std::move(size).error());
    if (*size > log_->size_bytes()) {
      auto cut = backend_->truncate(log_->name(), log_->size_bytes());
      if (!cut) return fail(std::move(cut).error());
    }
    writer_ = make_writer();
    auto begun = stager_->begin_log(*log_);
    if (!begun) return fail(std::move(begun).error());
    return {};
  }
  return rotate();
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

Result<std::uint32_t> VaultImpl::tenant_for_writing(std::string_view given) {
  const std::string_view name = tenant_name(given);
  if (const TenantState* t = state_.tenant(name)) return t->record.number;
  if (name.size() > 255) return Error(Errc::invalid, "a tenant's name has at most 255 bytes");
  if (Status status = expect_known_tenants(); !status) {
    return std::move(status).error().with("tenant " + std::string(name));
  }
  std::uint32_t number = 0;
  for (const auto& [n, t] : state_.tenants()) number = std::max(number, n + 1);
  const TenantRecord record{number, std::string(name), random_bytes(16)};
  TOKVAULT_TRY(commit_records(number, {{tokvault::tenant_key(number), encode(record)}}));
  return number;
}

VaultImpl::Pending VaultImpl::begin_batch(std::uint32_t tenant) {
  BatchBuilder::Counts counts;
  const auto part = log_->parts().find(tenant);
  if (part != log_->parts().end()) counts = part->second->counts();
  counts.next_sequence = next_sequence_;
  Pending pending{BatchBuilder(counts), next_sequence_, 0, false, {}};
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
    // Ordered by time, unique by the sequence number, and next to nothing in the id column.
    result.id = std::to_string(time) + "-" + std::to_string(pending.builder.counts().next_sequence);
  } else {
    std::optional<Conversation> stored;
    bool is_doubtful = false;
    bool is_unreadable = false;
    if (in_batch != pending.ids.end()) {
      const Conversation& before = *in_batch->second.conversation;
      first_sequence = in_batch->second.first_sequence;
      // Both are as they were given: compare them as if the first were stored.
      stored = before;
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
  if (!c.id.empty()) {
    pending.ids[c.id] = {&c, first_sequence != 0 ? first_sequence : *sequence};
  }
  request.result = std::move(result);
  return {};
}

Status VaultImpl::feed(Pending& pending, std::uint32_t tenant) {
  const ByteView body = pending.builder.body();
  if (body.size() == pending.body_done) return {};
  if (!pending.begun) {
    auto begun = writer_->begin(tenant, pending.first_sequence);
    if (!begun) return fail(std::move(begun).error());
    pending.begun = true;
  }
  auto added = writer_->add(body.substr(pending.body_done));
  if (!added) return fail(std::move(added).error());
  pending.body_done = body.size();
  return {};
}

Status VaultImpl::finish_batch(Pending& pending, std::uint32_t tenant,
                               std::vector<Written>& written) {
  TOKVAULT_TRY(feed(pending, tenant));
  if (!pending.begun) return {};
  std::uint64_t offset = log_->size_bytes();
  for (const Written& w : written) offset += kBatchHeaderBytes + w.payload_size;
  Written w;
  auto bytes = writer_->finish(offset, !written.empty(), pending.builder, w.header);
  if (!bytes) return fail(std::move(bytes).error());
  auto appended = backend_->append(log_->name(), *bytes);
  if (!appended) return fail(std::move(appended).error());
  w.payload_size = bytes->size() - kBatchHeaderBytes;
  w.body = pending.builder.body();
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
    auto applied = state_.apply_batch(*log_, w.header, w.payload_size, std::move(w.body));
    if (!applied) return fail(std::move(applied).error());
  }
  return {};
}

Status VaultImpl::commit_requests(std::span<Request*> requests) {
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

Status VaultImpl::commit_records(std::uint32_t tenant, std::vector<RecordChange> changes) {
  if (changes.size() > kLogRecordsMax) {
    return Error(Errc::exhausted, std::to_string(changes.size()) +
                                      " changes are too many for one commit: at most " +
                                      std::to_string(kLogRecordsMax));
  }
  TOKVAULT_TRY(prepare_log());
  Pending pending = begin_batch(tenant);
  for (const RecordChange& c : changes) {
    if (c.value) {
      pending.builder.put_record(c.key, *c.value);
    } else {
      pending.builder.remove_record(c.key);
    }
  }
  std::vector<Written> written;
  TOKVAULT_TRY(finish_batch(pending, tenant, written));
  TOKVAULT_TRY(commit(std::move(written)));
  rotate_if_due();
  return {};
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
    std::vector<Request*> group;
    queue_lock.unlock();
    {
      std::lock_guard write_lock(write_mutex_);
      queue_lock.lock();
      group.assign(queue_.begin(), queue_.end());
      queue_.clear();
      queue_lock.unlock();
      Status status = check_writable();
      if (status) status = commit_requests(group);
      if (!status) {
        for (Request* r : group) r->result = status.error().clone();
      }
    }
    queue_lock.lock();
    for (Request* r : group) r->done = true;
    leader_ = false;
    queue_done_.notify_all();
  }
  return std::move(request.result);
}

Result<PutResult> VaultImpl::put(const Conversation& conversation, const PutOptions& options) {
  Request request;
  request.conversation = &conversation;
  request.options = &options;
  {
    std::lock_guard lock(write_mutex_);
    TOKVAULT_TRY(check_writable());
    TOKVAULT_TRY(prepare_log());
    TOKVAULT_ASSIGN(request.tenant, tenant_for_writing(options.tenant));
  }
  return put_request(request);
}

Result<std::vector<Result<PutResult>>> VaultImpl::put_batch(
    std::span<const Conversation> conversations, const PutOptions& options,
    const ImportProgress* progress) {
  std::lock_guard lock(write_mutex_);
  TOKVAULT_TRY(check_writable());
  TOKVAULT_TRY(prepare_log());
  TOKVAULT_ASSIGN(const std::uint32_t tenant, tenant_for_writing(options.tenant));
  std::vector<Request> requests(conversations.size());
  std::vector<std::size_t> ends;  // of the pieces that threads take
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].conversation = &conversations[i];
    requests[i].options = &options;
    requests[i].tenant = tenant;
    bytes += value_bytes(conversations[i]);
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
        look_up_and_prepare(requests[i], reader, *encoder);
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
      threads.emplace_back(work, encoders_[i].get());
    }
  } else {
    work(stage_encoder_.get());
  }

  Pending pending = begin_batch(tenant);
  pending.ids.reserve(requests.size());
  const std::uint64_t sequence_before = pending.builder.counts().next_sequence;
  Status status;
  for (std::size_t piece = 0; piece < ends.size() && status; ++piece) {
    {
      std::unique_lock wait(mutex);
      ready.wait(wait, [&] { return prepared[piece]; });
    }
    for (std::size_t i = piece == 0 ? 0 : ends[piece - 1]; i < ends[piece] && status; ++i) {
      status = stage(pending, requests[i]);
      requests[i].prepared = Prepared();  // its codes are in the body now
    }
    if (status && pending.builder.counts().next_sequence != sequence_before) {
      status = feed(pending, tenant);
    }
  }
  next = ends.size();
  threads.clear();
  TOKVAULT_TRY(std::move(status));
  if (progress != nullptr) {
    const Buffer key = progress_key(progress->source);
    if (!progress->finished) {
      pending.builder.put_record(
          key, encode(ProgressRecord{progress->lines, progress->bytes, progress->state_hash}));
    } else if (state_.find_record(key)) {
      pending.builder.remove_record(key);
    }
  }
  std::vector<Written> written;
  if (pending.builder.counts().next_sequence != sequence_before) {
    TOKVAULT_TRY(finish_batch(pending, tenant, written));
  }
  TOKVAULT_TRY(commit(std::move(written)));
  rotate_if_due();
  std::vector<Result<PutResult>> results;
  results.reserve(requests.size());
  for (Request& r : requests) results.push_back(std::move(r.result));
  return results;
}

Status VaultImpl::put_async(Conversation conversation, const PutOptions& options) {
  if (options_.read_only) return Error(Errc::denied, "the vault is open for reading only");
  std::size_t waiting = 0;
  {
    std::lock_guard lock(queue_mutex_);
    async_.push_back(std::make_unique<Async>(Async{std::move(conversation), options}));
    waiting = async_.size();
  }
  return waiting >= kAsyncMax ? drain_async() : Status();
}

Status VaultImpl::drain_async() {
  std::lock_guard write_lock(write_mutex_);
  std::vector<std::unique_ptr<Async>> taken;
  {
    std::lock_guard lock(queue_mutex_);
    std::swap(taken, async_);
  }
  if (taken.empty()) return {};
  auto run = [&]() -> Status {
    TOKVAULT_TRY(check_writable());
    TOKVAULT_TRY(prepare_log());
    std::vector<Request> requests(taken.size());
    std::vector<Request*> pointers;
    for (std::size_t i = 0; i < taken.size(); ++i) {
      requests[i].conversation = &taken[i]->conversation;
      requests[i].options = &taken[i]->options;
      TOKVAULT_ASSIGN(requests[i].tenant, tenant_for_writing(taken[i]->options.tenant));
      stager_->prepare(requests[i].tenant, taken[i]->conversation, *stage_encoder_,
                       requests[i].prepared);
      pointers.push_back(&requests[i]);
    }
    TOKVAULT_TRY(commit_requests(pointers));
    for (Request& r : requests) {
      if (!r.result) return std::move(r.result).error();
    }
    return {};
  };
  Status status = run();
  if (!status) {
    std::lock_guard lock(queue_mutex_);
    if (async_error_.code() == Errc::ok) async_error_ = status.error().clone();
  }
  return status;
}

Status VaultImpl::flush() {
  if (options_.read_only) return {};
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
  std::lock_guard lock(write_mutex_);
  TOKVAULT_TRY(check_writable());
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
  std::lock_guard lock(write_mutex_);
  TOKVAULT_TRY(check_writable());
  for (const std::string& t : add) {
    if (t.empty() || t.size() > 255) return Error(Errc::invalid, "a tag has 1 to 255 bytes");
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
  return commit_records(tenant->record.number, std::move(changes));
}

Result<std::uint64_t> VaultImpl::forget(std::span<const std::string> ids,
                                        std::string_view tenant_given) {
  std::lock_guard lock(write_mutex_);
  TOKVAULT_TRY(check_writable());
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
  for (const Record& r : state_.live_records()) {
    if (r.key[0] == static_cast<char>(RecordKind::progress)) changes.push_back({r.key, {}});
  }
  if (count > 0) TOKVAULT_TRY(commit_records(tenant->record.number, std::move(changes)));
  return count;
}

Result<std::uint64_t> VaultImpl::forget(const Filter& filter) {
  // In commits of a size that one log takes.
  constexpr std::size_t kIdsMax = 500'000;
  std::uint64_t count = 0;
  std::vector<std::string> ids;
  std::string cursor;
  do {
    TOKVAULT_ASSIGN(Page page, list(filter, 10'000, cursor));
    for (Summary& s : page.conversations) ids.push_back(std::move(s.id));
    cursor = page.cursor;
    if (cursor.empty() || ids.size() >= kIdsMax) {
      TOKVAULT_ASSIGN(const std::uint64_t gone, forget(ids, filter.tenant));
      count += gone;
      ids.clear();
    }
  } while (!cursor.empty());
  return count;
}

// --- reading -----------------------------------------------------------------------------------

Status VaultImpl::reload() const {
  if (is_snapshot_) {
    return Error(Errc::conflict, "a rewrite took away what was being read: read again");
  }
  TOKVAULT_ASSIGN(const CatalogState catalog, load_catalog());
  std::unique_lock lock(state_mutex_);
  TOKVAULT_TRY(take(catalog));
  unreadable_ = false;
  return {};
}

Status VaultImpl::take(const CatalogState& catalog) const {
  if (options_.read_only) {
    Status status = state_.load(catalog, nullptr);
    if (status) return {};
    if (status.code() == Errc::not_found && missing_in_ != catalog.generation) {
      missing_in_ = catalog.generation;  // the catalog may have moved on
      return status;
    }
  }
  std::vector<std::pair<CatalogFile, Error>> errors;
  unreadable_ = true;  // until it is known what this leaves out
  TOKVAULT_TRY(state_.load(catalog, &errors));
  for (auto& [file, error] : errors) {
    const bool is_lost = error.code() == Errc::corrupt || error.code() == Errc::not_found;
    if (!is_lost) return std::move(error);
  }
  unreadable_ = false;
  return {};
}

Status VaultImpl::refresh() const {
  if (!options_.read_only || is_snapshot_) return {};
  auto generation = catalog_->generation();
  bool changed = false;
  bool grown = false;
  {
    std::shared_lock lock(state_mutex_);
    changed = unreadable_ || (generation && *generation != state_.generation());
    for (const auto& [number, log] : state_.logs()) {
      if (log->is_gone()) continue;
      auto size = backend_->size(log->name());
      if (size && *size > log->size_bytes()) grown = true;
    }
  }
  for (int attempt = 0; changed; ++attempt) {
    Status status = reload();
    if (status) break;
    // The catalog moved on between reading it and opening a file that it named.
    if (status.code() != Errc::not_found || attempt == 4) return status;
  }
  if (grown) {
    std::unique_lock lock(state_mutex_);
    auto result = state_.follow();
    if (!result && result.code() != Errc::not_found) return std::move(result).error();
  }
  return {};
}

// Whether a conversation could not be read for a file that is gone, for the first time: then
// reading() is to look at the catalog again. A conversation that is not there has no os_code.
bool VaultImpl::is_gone(const Result<Conversation>& read, bool& again) const {
  if (read || !options_.read_only || read.code() != Errc::not_found ||
      read.error().os_code() == 0) {
    return false;
  }
  return !std::exchange(again, true);
}

Result<Found> VaultImpl::find_or_error(const TenantState* tenant, std::string_view id) const {
  const TenantDamage& damage = state_.damage(tenant);
  Standing now;
  if (tenant != nullptr) {
    TOKVAULT_ASSIGN(now, standing(*tenant, id));
  } else {
    now.is_doubtful = damage.lost_until > 0;
  }
  if (now.is_doubtful) {
    return Error(Errc::corrupt,
                 "conversation " + std::string(id) + ": " + damage.where +
                     (now.found ? " and may have deleted it" : " and may have held it") +
                     " (`tokvault repair`)");
  }
  if (!now.found) return no_conversation(id);
  return std::move(*now.found);
}

Result<VaultImpl::Standing> VaultImpl::standing(const TenantState& tenant,
                                                std::string_view id) const {
  Standing now;
  TOKVAULT_ASSIGN(now.found, state_.find(tenant, id));
  const TenantDamage& damage = state_.damage(&tenant);
  if (damage.lost_until == 0) return now;
  if (now.found) {
    now.is_doubtful = now.found->get().sequence < damage.unproven_until;
  } else {
    // Unless it was deleted after all that is lost.
    const auto it = tenant.deletions.find(hash_id(tenant.record.key, id));
    now.is_doubtful = it == tenant.deletions.end() || it->second < damage.lost_until;
  }
  return now;
}

Status VaultImpl::expect_complete(const TenantState* tenant) const {
  const TenantDamage& damage = state_.damage(tenant);
  if (damage.lost_until == 0 || options_.keep_going) return {};
  return Error(Errc::corrupt, damage.where +
                                  ": conversations may be missing (`tokvault check` says "
                                  "which, `tokvault repair` gives them up)");
}

std::vector<Finding> VaultImpl::damage() const {
  std::vector<Finding> findings;
  (void)refresh();  // what cannot be read now is said by who reads it
  std::shared_lock lock(state_mutex_);
  for (const auto& [number, log] : state_.logs()) {
    CheckReport report;
    report_lost(*log, report);
    for (Finding& f : report.findings) findings.push_back(std::move(f));
  }
  for (const auto& [number, pack] : state_.lost_packs()) {
    findings.push_back({pack_name(number), pack.code,
                        pack.what + ": " + std::to_string(pack.file.conversations) +
                            " conversations, commits " + std::to_string(pack.file.sequence_first) +
                            " to " + std::to_string(pack.file.sequence_last)});
  }
  std::lock_guard passed_over(passed_over_->mutex);
  for (const auto& [number, pack] : state_.packs()) {
    const auto it = passed_over_->packs.find(pack->name());
    if (it == passed_over_->packs.end()) continue;
    findings.push_back({pack->name(), Errc::corrupt,
                        it->second + ": " + std::to_string(pack->range().rows) + " conversations"});
  }
  return findings;
}

bool VaultImpl::passes_over(const Source& source, const Error& error) const {
  if (!options_.keep_going || error.code() != Errc::corrupt) return false;
  std::string_view what = error.message();
  if (what.starts_with(source.name() + ": ")) what.remove_prefix(source.name().size() + 2);
  std::lock_guard lock(passed_over_->mutex);
  passed_over_->packs[source.name()] = what;
  return true;
}

Result<Conversation> VaultImpl::get_one(std::string_view id, std::string_view tenant_given,
                                        bool tokens) const {
  return reading([&]() -> Result<Conversation> {
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    TOKVAULT_ASSIGN(const Found found, find_or_error(tenant, id));
    if (!tokens && tokenizer_error_.code() != Errc::ok) return tokenizer_error_.clone();
    ConversationReader reader(state_, *tokenizer_, tenant->record.number);
    return reader.read(*found.source, *found.tables, found.row, tokens);
  });
}

Result<Conversation> VaultImpl::get(std::string_view id, std::string_view tenant) const {
  return get_one(id, tenant, false);
}

Result<Conversation> VaultImpl::get_tokens(std::string_view id, std::string_view tenant) const {
  return get_one(id, tenant, true);
}

Result<std::vector<Result<Conversation>>> VaultImpl::get_batch(
    std::span<const std::string> ids, std::string_view tenant_given) const {
  using Results = std::vector<Result<Conversation>>;
  bool again = false;
  return reading([&]() -> Result<Results> {
    Results results;
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    ConversationReader reader(state_, *tokenizer_, tenant ? tenant->record.number : 0);
    for (const std::string& id : ids) {
      auto found = find_or_error(tenant, id);
      if (found && tokenizer_error_.code() != Errc::ok) found = tokenizer_error_.clone();
      if (found) {
        results.push_back(reader.read(*found->source, *found->tables, found->row));
      } else {
        results.push_back(std::move(found).error());
      }
      if (is_gone(results.back(), again)) return std::move(results.back()).error();
    }
    return results;
  });
}

Summary VaultImpl::summary_of(const TenantState& tenant, const Found& found) const {
  const Row& row = found.get();
  const Tables& t = *found.tables;
  Summary s;
  s.id = t.ids[found.row];
  s.model = t.models[row.model];
  s.application = t.applications[row.application];
  s.time_ms = row.time_ms;
  s.messages = t.messages(row);
  s.tokens = row.tokens;
  s.text_bytes = row.text_bytes;
  s.sequence = row.sequence;
  s.first_sequence = row.first_sequence;
  if (!tenant.tags.empty()) {
    if (const auto it = tenant.tags.find(hash_id(tenant.record.key, s.id));
        it != tenant.tags.end()) {
      s.tags.assign(it->second.begin(), it->second.end());
    }
  }
  return s;
}

Result<Summary> VaultImpl::summary(std::string_view id, std::string_view tenant_given) const {
  return reading([&]() -> Result<Summary> {
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    TOKVAULT_ASSIGN(const Found found, find_or_error(tenant, id));
    const TenantDamage& damage = state_.damage(tenant);
    const auto tagged = damage.tagged.find(hash_id(tenant->record.key, id));
    if (!options_.keep_going &&
        (found.get().sequence < damage.untagged_until ||
         (tagged != damage.tagged.end() && found.get().sequence < tagged->second))) {
      return Error(Errc::corrupt, "conversation " + std::string(id) + ": " + damage.where +
                                      " and may have tagged it (`tokvault repair`)");
    }
    return summary_of(*tenant, found);
  });
}

Result<std::vector<Found>> VaultImpl::collect_page(const TenantState& tenant, const Filter& filter,
                                                   std::uint64_t after, std::uint64_t limit) const {
  // Sources are ordered by their first sequence number: once the page is full and its last row
  // comes before a source, so do all that follow.
  std::vector<Found> page;
  const std::uint64_t unproven_until = state_.damage(&tenant).unproven_until;
  auto earlier = [](const Found& a, const Found& b) {
    return a.get().first_sequence < b.get().first_sequence;
  };
  for (const auto& source : state_.sources(tenant.record.number)) {
    const Source::Range range = source->range();
    if (range.rows == 0 || range.sequence_last <= after) continue;
    if (range.time_last_ms < filter.time_from_ms || range.time_first_ms >= filter.time_until_ms) {
      continue;
    }
    if (page.size() == limit && range.sequence_first > page.front().get().first_sequence) break;
    auto read = source->tables();
    if (!read && passes_over(*source, read.error())) continue;
    TOKVAULT_ASSIGN(auto tables, std::move(read));
    TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(tenant, *source));
    for (std::uint32_t i = 0; i < tables->rows.size(); ++i) {
      const std::uint64_t first = tables->rows[i].first_sequence;
      if (first <= after || (!dead.empty() && dead[i])) continue;
      if (tables->rows[i].sequence < unproven_until) continue;
      if (page.size() == limit && first > page.front().get().first_sequence) continue;
      if (!matches(tenant, filter, *tables, i)) continue;
      page.push_back({source, tables, i});
      std::push_heap(page.begin(), page.end(), earlier);
      if (page.size() > limit) {
        std::pop_heap(page.begin(), page.end(), earlier);
        page.pop_back();
      }
    }
  }
  std::sort_heap(page.begin(), page.end(), earlier);
  return page;
}

Result<Page> VaultImpl::list(const Filter& filter, std::uint64_t limit,
                             std::string_view cursor) const {
  std::uint64_t after = 0;
  if (!cursor.empty()) {
    const auto parsed = std::from_chars(cursor.data(), cursor.data() + cursor.size(), after);
    if (parsed.ec != std::errc() || parsed.ptr != cursor.data() + cursor.size()) {
      return Error(Errc::invalid, "not a cursor of list");
    }
  }
  if (limit == 0 || limit > 100'000) return Error(Errc::invalid, "limit is 1 to 100,000");
  return reading([&]() -> Result<Page> {
    Page page;
    const TenantState* tenant = state_.tenant(tenant_name(filter.tenant));
    TOKVAULT_TRY(expect_complete(tenant));
    if (tenant == nullptr) return page;
    TOKVAULT_ASSIGN(const auto found, collect_page(*tenant, filter, after, limit));
    for (const Found& f : found) page.conversations.push_back(summary_of(*tenant, f));
    if (found.size() == limit) page.cursor = std::to_string(found.back().get().first_sequence);
    return page;
  });
}

Status VaultImpl::scan(
    const Filter& filter,
    const std::function<bool(const Summary&, Result<Conversation>)>& visit) const {
  std::uint64_t after = 0;
  for (;;) {
    struct Item {
      Summary summary;
      Result<Conversation> conversation;
    };
    std::vector<Item> items;
    bool more = false;
    bool again = false;
    auto read = reading([&]() -> Status {
      items.clear();
      if (tokenizer_error_.code() != Errc::ok) return tokenizer_error_.clone();
      const TenantState* tenant = state_.tenant(tenant_name(filter.tenant));
      TOKVAULT_TRY(expect_complete(tenant));
      if (tenant == nullptr) return {};
      // One for each page: it remembers files that a rewrite may have removed by the next.
      ConversationReader reader(state_, *tokenizer_, tenant->record.number);
      TOKVAULT_ASSIGN(const auto found, collect_page(*tenant, filter, after, kPageRows));
      more = found.size() == kPageRows;
      std::uint64_t bytes = 0;
      for (const Found& f : found) {
        items.push_back({summary_of(*tenant, f), reader.read(*f.source, *f.tables, f.row)});
        auto& conversation = items.back().conversation;
        if (is_gone(conversation, again)) return std::move(conversation).error();
        bytes += items.back().summary.text_bytes;
        // Large conversations one by one, so that a page is bounded by its bytes.
        if (bytes >= (16u << 20)) {
          more = true;
          break;
        }
      }
      return {};
    });
    TOKVAULT_TRY(std::move(read));
    for (Item& item : items) {
      after = item.summary.first_sequence;
      if (!visit(item.summary, std::move(item.conversation))) return {};
    }
    if (!more) return {};
  }
}

Result<std::vector<UsageRow>> VaultImpl::usage(const UsageQuery& query) const {
  using Key = std::tuple<std::string, std::string, std::int64_t>;
  const Filter& filter = query.filter;
  return reading([&]() -> Result<std::vector<UsageRow>> {
    std::map<Key, UsageRow> sums;
    const TenantState* tenant = state_.tenant(tenant_name(filter.tenant));
    TOKVAULT_TRY(expect_complete(tenant));
    if (tenant == nullptr) return std::vector<UsageRow>();
    const std::uint64_t unproven_until = state_.damage(tenant).unproven_until;
    auto add = [&](std::string_view model, std::string_view application, std::int64_t day,
                   std::uint64_t conversations, std::uint64_t messages, std::uint64_t tokens) {
      Key key{query.by_model ? model : "", query.by_application ? application : "",
              query.by_day ? day : 0};
      UsageRow& row = sums[key];
      if (row.conversations == 0) {
        row.model = std::get<0>(key);
        row.application = std::get<1>(key);
        if (query.by_day) row.day = day_name(day);
      }
      row.conversations += conversations;
      row.messages += messages;
      row.tokens += tokens;
    };
    auto add_source = [&](const Source& source, const Source::Range& range) -> Status {
      TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(*tenant, source));
      // A pack's own sums serve where the filter takes or leaves whole days and nothing is dead.
      if (source.is_pack() && dead.empty() && filter.tags.empty() && whole_days(filter, range) &&
          range.sequence_first >= unproven_until) {
        TOKVAULT_ASSIGN(const auto usage, static_cast<const PackFile&>(source).usage());
        for (const UsageEntry& e : usage->entries) {
          const std::string_view model = usage->models[e.model];
          const std::string_view application = usage->applications[e.application];
          const bool in_time = day_start_ms(e.day) >= filter.time_from_ms ||
                               range.time_first_ms >= filter.time_from_ms;
          const bool before_end = day_start_ms(e.day) < filter.time_until_ms;
          if (!in_time || !before_end || (!filter.model.empty() && filter.model != model) ||
              (!filter.application.empty() && filter.application != application)) {
            continue;
          }
          add(model, application, e.day, e.conversations, e.messages, e.tokens);
        }
        if (!usage->entries.empty()) return {};
      }
      TOKVAULT_ASSIGN(auto tables, source.tables());
      for (std::uint32_t i = 0; i < tables->rows.size(); ++i) {
        if ((!dead.empty() && dead[i]) || !matches(*tenant, filter, *tables, i)) continue;
        const Row& row = tables->rows[i];
        if (row.sequence < unproven_until) continue;
        add(tables->models[row.model], tables->applications[row.application],
            day_of_ms(row.time_ms), 1, tables->messages(row), row.tokens);
      }
      return {};
    };
    for (const auto& source : state_.sources(tenant->record.number)) {
      const Source::Range range = source->range();
      if (range.rows == 0 || range.time_last_ms < filter.time_from_ms ||
          range.time_first_ms >= filter.time_until_ms) {
        continue;
      }
      // It fails before it adds anything.
      auto added = add_source(*source, range);
      if (!added && !passes_over(*source, added.error())) return std::move(added).error();
    }
    std::vector<UsageRow> rows;
    for (auto& [key, row] : sums) rows.push_back(std::move(row));
    return rows;
  });
}

Result<std::vector<std::string>> VaultImpl::tenants() const {
  return reading([&]() -> Result<std::vector<std::string>> {
    std::vector<std::string> names;
    for (const auto& [number, t] : state_.tenants()) names.push_back(t.record.name);
    return names;
  });
}

std::optional<ImportProgress> VaultImpl::import_progress(ByteView source) const {
  if (!refresh()) return std::nullopt;
  std::shared_lock lock(state_mutex_);
  const auto record = state_.find_record(progress_key(source));
  if (!record) return std::nullopt;
  auto progress = decode_progress(*record->value);
  if (!progress) return std::nullopt;
  return ImportProgress{Buffer(source), progress->lines, progress->bytes, progress->state_hash,
                        false};
}

Result<VaultStats> VaultImpl::stats(std::optional<std::string_view> tenant_given) const {
  return reading([&]() -> Result<VaultStats> {
    VaultStats s;
    if (tokenizer_error_.code() != Errc::ok) return tokenizer_error_.clone();
    const TenantState* only = nullptr;
    if (tenant_given) {
      only = state_.tenant(tenant_name(*tenant_given));
      if (only == nullptr) {
        return Error(Errc::not_found, "no tenant " + std::string(tenant_name(*tenant_given)));
      }
    }
    std::uint64_t segment_text = 0;
    std::uint64_t node_text = 0;
    auto text_sizes = [&](const Source& source,
                          const Tables& tables) -> Result<std::vector<std::uint64_t>> {
      std::vector<std::uint64_t> sizes;
      std::vector<Token> tokens;
      Scratch scratch;
      for (std::uint32_t i = 0; i < tables.segment_counts[kTokenStream]; ++i) {
        TOKVAULT_ASSIGN(const ByteView code, source.code(kTokenStream, i, scratch));
        tokens.clear();
        TOKVAULT_TRY(source.decode_tokens(code, tokens));
        std::uint64_t bytes = 0;
        for (Token t : tokens) bytes += tokenizer_->token_bytes(t).size();
        sizes.push_back(bytes);
      }
      return sizes;
    };
    for (const auto& [number, tenant] : state_.tenants()) {
      if (only != nullptr && only != &tenant) continue;
      count_holds(tenant, s);
      ++s.tenants;
      TOKVAULT_ASSIGN(const auto due, merge_due(number));
      for (const auto& pack : due) s.merge_due_bytes += pack->size_bytes();
      for (const auto& source : state_.sources(number)) {
        auto read = source->tables();
        if (!read && passes_over(*source, read.error())) continue;
        TOKVAULT_ASSIGN(auto tables, std::move(read));
        TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(tenant, *source));
        for (std::uint32_t i = 0; i < tables->rows.size(); ++i) {
          const Row& row = tables->rows[i];
          if (!dead.empty() && dead[i]) {
            ++s.forgotten;
            continue;
          }
          if (row.sequence < state_.damage(&tenant).unproven_until) continue;
          ++s.conversations;
          s.messages += tables->messages(row);
          s.tokens_logical += row.tokens;
          s.text_bytes += row.text_bytes;
        }
        for (std::uint32_t n : tables->segment_counts) s.segments += n;
        if (source->is_pack()) {
          const PackFooter& f = static_cast<const PackFile&>(*source).footer();
          ++s.packs;
          if (!static_cast<const PackFile&>(*source).is_merged()) {
            ++s.unmerged_packs;
            s.unmerged_bytes += static_cast<const PackFile&>(*source).size_bytes();
          }
          s.pack_bytes += static_cast<const PackFile&>(*source).size_bytes();
          s.tokens_stored += f.tokens_stored;
          segment_text += f.segment_text_bytes;
          node_text += f.node_text_bytes;
          for (const PackStream& stream : f.streams) {
            s.pack_text_bytes += stream.dictionary.size + stream.blocks.size;
          }
        } else {
          const auto& part = static_cast<const LogPart&>(*source);
          if (only != nullptr) ++s.logs;
          s.log_bytes += part.size_bytes();
          s.tokens_stored += part.tokens_stored();
          TOKVAULT_ASSIGN(const auto sizes, text_sizes(*source, *tables));
          for (std::uint64_t bytes : sizes) segment_text += bytes;
          node_text += node_text_bytes(*tables, sizes);
        }
      }
    }
    s.merge_running_bytes = merging_bytes_;
    s.merges = merges_done_;
    s.pack_table_bytes = s.pack_bytes - s.pack_text_bytes;
    if (only == nullptr) {
      s.log_bytes = 0;
      for (const auto& [number, log] : state_.logs()) s.log_bytes += log->size_bytes();
      s.logs = state_.logs().size();
    }
    TOKVAULT_ASSIGN(const auto artifacts, backend_->list("artifacts"));
    for (const BlobInfo& a : artifacts) {
      if (only == nullptr) s.artifact_bytes += a.size_bytes;
      if (!is_artifact_name(a.name)) continue;
      for (const auto& [number, tenant] : state_.tenants()) {
        const auto it = tenant.artifacts.find(number_of(a.name));
        if (it == tenant.artifacts.end() || (only != nullptr && only != &tenant)) continue;
        if (only != nullptr) s.artifact_bytes += a.size_bytes;
        switch (it->second.kind) {
          case ArtifactKind::dictionary:
            s.dictionary_bytes += a.size_bytes;
            break;
          case ArtifactKind::substring_set:
            s.substring_set_bytes += a.size_bytes;
            break;
          case ArtifactKind::token_model:
            s.token_model_bytes += a.size_bytes;
            break;
        }
      }
    }
    if (only != nullptr) {
      s.total_bytes = s.pack_bytes + s.log_bytes + s.artifact_bytes;
    } else {
      TOKVAULT_ASSIGN(s.total_bytes, backend_->total_bytes());
      s.catalog_bytes =
          s.total_bytes - std::min(s.total_bytes, s.pack_bytes + s.log_bytes + s.artifact_bytes);
    }
    s.saved.exact = s.text_bytes - std::min(s.text_bytes, segment_text);
    s.saved.prefix = s.text_bytes - std::min(s.text_bytes, node_text);
    s.saved.compression = segment_text - std::min(segment_text, s.pack_text_bytes + s.log_bytes);
    return s;
  });
}

}  // namespace tokvault
