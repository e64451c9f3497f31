#include "vault/vault_impl.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "tokenizer/known.h"
#include "vault/recovery.h"

namespace tokvault {
namespace {

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

// Whether find_tokenizer() will find the same one again.
Status check_vocabulary(const CreateOptions& options) {
  if (!options.tokenizer) return Error(Errc::invalid, "a vault needs a tokenizer");
  const std::string& name = options.tokenizer->name();
  const Digest& digest = options.tokenizer->vocabulary_sha256();
  if (options.rank_file.empty()) {
    const KnownTokenizer* known = find_known_tokenizer(name);
    const bool ships = known ? to_hex(digest) == known->sha256 : name == "bytes";
    if (ships) return {};
    return Error(Errc::invalid, "the tokenizer \"" + name +
                                    "\" does not ship with tokvault: a vault needs the rank file "
                                    "and the pattern that it was made of");
  }
  if (options.rank_file.size() > kVocabularyBytesMax) {
    return Error(Errc::invalid, "the rank file has " + std::to_string(options.rank_file.size()) +
                                    " bytes, more than the limit of " +
                                    std::to_string(kVocabularyBytesMax));
  }
  if (sha256(options.rank_file) != digest) {
    return Error(Errc::invalid, "the rank file is not that of the tokenizer \"" + name + "\"");
  }
  auto made = make_tokenizer(name, options.pattern, options.rank_file);
  if (!made) return std::move(made).error();
  return {};
}

}  // namespace

// --- creating and opening ----------------------------------------------------------------------

Status Vault::create(Backend& backend, Catalog& catalog, const CreateOptions& options) {
  TOKVAULT_TRY(check_vocabulary(options));
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
  if (!backend || !catalog) return Error(Errc::invalid, "a vault needs a backend and a catalog");
  TOKVAULT_TRY(check_level(options.level));
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
      state_(*backend_, cache_, options.read_only ? DecodeText::when_read : DecodeText::at_once),
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
    (void)catalog_->commit(change);  // else the next writer seals this log first
  }
}

void VaultImpl::operator delete(VaultImpl* vault, std::destroying_delete_t) {
  if (!vault->options_.read_only && ::getpid() != vault->process_) {
    leave_to_parent(vault);
    return;
  }
  vault->~VaultImpl();
  ::operator delete(vault);
}

// The threads are not here, and who waits for them, or for whom they wait, would wait for ever;
// what one of them was changing at the fork is half changed. A connection of SQLite must not even
// be closed: it would roll back what the parent is writing.
void VaultImpl::leave_to_parent(VaultImpl* vault) {
  vault->lock_.reset();
  static std::mutex mutex;
  static auto* const left = new std::vector<VaultImpl*>();  // never destroyed
  std::lock_guard lock(mutex);
  left->push_back(vault);
}

Result<CatalogState> VaultImpl::load_catalog() const {
  auto catalog = catalog_->load();
  // A reader that cannot read the catalog (a writer died in the middle of a commit and this process
  // may not write) takes logs and packs alone. What a newer program wrote may say more than they.
  if (!catalog && options_.read_only && catalog.code() != Errc::not_found &&
      catalog.code() != Errc::unsupported) {
    auto rebuilt = rebuild_catalog(*backend_, nullptr);
    if (rebuilt) return rebuilt;
  }
  if (!catalog) {
    if (catalog.code() == Errc::not_found) return catalog;
    const bool is_damaged = catalog.code() == Errc::corrupt;
    return std::move(catalog).error().with(is_damaged ? "catalog (`tokvault repair` rebuilds it)"
                                                      : "catalog");
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

// --- what is there now
// ----------------------------------------------------------------------------

VaultImpl::News VaultImpl::news() const {
  News news;
  std::shared_lock lock(state_mutex_);
  for (const auto& [number, log] : state_.logs()) {
    if (log->is_gone()) continue;
    auto size = backend_->size(log->name());
    if (size && *size > log->size_bytes()) news.of_logs = true;
  }
  // Asked last: a log that was not there any more had left the catalog before.
  auto generation = catalog_->generation();
  news.of_catalog = unreadable_ || (generation && *generation != state_.generation());
  return news;
}

Status VaultImpl::refresh() const {
  if (!options_.read_only || is_snapshot_ || !news().any()) return {};
  // One thread at a time: what another has taken in meanwhile need not be read again, and a catalog
  // that was read earlier is not taken for what came after it.
  std::lock_guard turn(refresh_mutex_);
  const News now = news();
  if (now.of_logs && !now.of_catalog) {
    std::unique_lock lock(state_mutex_);
    auto followed = state_.follow();
    if (followed) return {};
    if (followed.code() != Errc::not_found) return std::move(followed).error();
    lock.unlock();
    return take_newest();  // it has just been sealed
  }
  return now.of_catalog ? take_newest() : Status();
}

Status VaultImpl::reload(std::uint64_t generation) const {
  if (is_snapshot_) {
    return Error(Errc::conflict, "a rewrite took away what was being read: read again");
  }
  std::lock_guard turn(refresh_mutex_);
  const bool is_done = [&] {
    std::shared_lock lock(state_mutex_);
    return state_.generation() != generation;
  }();
  if (is_done && !news().any()) return {};
  return take_newest();
}

Status VaultImpl::take_newest() const {
  auto once = [&]() -> Status {
    TOKVAULT_ASSIGN(const CatalogState catalog, load_catalog());
    return take(catalog);
  };
  Status status = once();
  // The catalog moved on between reading it and opening a file that it named.
  for (int i = 0; i < 4 && status.code() == Errc::not_found; ++i) status = once();
  return status;
}

Status VaultImpl::take(const CatalogState& catalog) const {
  // Made beside those who read, and exchanged when it is ready: no other thread changes the state.
  State next = state_.successor();
  Status status(Error(Errc::not_found, "nothing is loaded"));
  if (options_.read_only) {
    status = next.load(catalog, State::Unreadable::fails);
    if (status.code() == Errc::not_found && missing_in_ != catalog.generation) {
      missing_in_ = catalog.generation;  // the catalog may have moved on
      return status;
    }
  }
  if (!status) status = next.load(catalog, State::Unreadable::lost_is_noted);
  std::unique_lock lock(state_mutex_);
  unreadable_ = !status;  // as long as it is not known what is left out
  if (!status) return status;
  std::swap(state_, next);
  if (!options_.read_only) return {};
  // A log that was open already may have grown, and what the catalog has now relies on all of it.
  auto followed = state_.follow();
  if (followed) return {};
  if (followed.code() == Errc::not_found) {
    // Missing for good: what was read of it stays.
    if (missing_in_ == catalog.generation) return {};
    missing_in_ = catalog.generation;
  }
  return std::move(followed).error();
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
  // What is lost may be of the lines that it counts.
  if (!state_.expect_whole()) return std::nullopt;
  const auto record = state_.find_record(progress_key(source));
  if (!record) return std::nullopt;
  auto progress = decode_progress(*record->value);
  if (!progress) return std::nullopt;
  return ImportProgress{Buffer(source), progress->lines, progress->bytes, progress->state_hash,
                        false};
}

}  // namespace tokvault
