// The C functions over the C++ class: conversions and the last error, nothing else.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>

#include "tokvault/checkpoint.h"
#include "tokvault/tokvault_checkpoint_c.h"

using tokvault::CheckpointBlock;
using tokvault::CheckpointCompletion;
using tokvault::CheckpointOptions;
using tokvault::CheckpointRead;
using tokvault::CheckpointStore;
using tokvault::Errc;
using tokvault::Error;
using tokvault::Namespace;
using tokvault::TokenView;

// A submitted call's arrays, kept until its completion is taken.
struct Submitted {
  std::vector<CheckpointRead> reads;
  std::vector<CheckpointBlock> blocks;
  tokvault_kv_read* out = nullptr;
};

struct tokvault_kv {
  std::unique_ptr<CheckpointStore> store;
  std::mutex mutex;
  std::unordered_map<std::uint64_t, std::unique_ptr<Submitted>> submitted;  // guarded by mutex
};

namespace {

constexpr std::size_t kListMax = std::size_t{1} << 26;
constexpr std::size_t kTokensMax = 0xffffffffu;

thread_local std::string last_error;

int fail(const Error& error) {
  last_error = error.message();
  return static_cast<int>(error.code());
}
int fail(Errc code, const char* what) {
  last_error = what;
  return static_cast<int>(code);
}

// C knows no exceptions. What the standard library throws here is that memory is missing.
int no_memory() { return fail(Errc::exhausted, "no memory"); }

Namespace from_c(const tokvault_kv_namespace* n) {
  Namespace out;
  if (n == nullptr) return out;
  const std::pair<const char*, std::string*> fields[] = {{n->model, &out.model},
                                                         {n->tokenizer, &out.tokenizer},
                                                         {n->chat_template, &out.chat_template},
                                                         {n->dtype, &out.dtype},
                                                         {n->layout, &out.layout},
                                                         {n->lora, &out.lora},
                                                         {n->tenant, &out.tenant},
                                                         {n->extra, &out.extra}};
  for (const auto& [from, to] : fields) {
    if (from != nullptr) *to = from;
  }
  return out;
}

// What is wrong with the arguments that most functions share: pointers, and sizes that no list has.
const char* wrong(const tokvault_kv* store, const std::uint32_t* tokens, std::size_t token_count) {
  if (store == nullptr) return "the store is NULL";
  if (tokens == nullptr && token_count > 0) return "tokens is NULL";
  if (token_count > kTokensMax) return "over 4 billion tokens";
  return nullptr;
}
const char* wrong(const tokvault_kv_read* reads, std::size_t count) {
  if (reads == nullptr && count > 0) return "reads is NULL";
  if (count > kListMax) return "over 67 million reads";
  for (std::size_t i = 0; i < count; ++i) {
    if (reads[i].data == nullptr && reads[i].size > 0) return "the data of a read is NULL";
  }
  return nullptr;
}
const char* wrong(const tokvault_kv_block* blocks, std::size_t count) {
  if (blocks == nullptr && count > 0) return "blocks is NULL";
  if (count > kListMax) return "over 67 million blocks";
  for (std::size_t i = 0; i < count; ++i) {
    if ((blocks[i].data == nullptr && blocks[i].size > 0) ||
        (blocks[i].text == nullptr && blocks[i].text_size > 0)) {
      return "the data or text of a block is NULL";
    }
  }
  return nullptr;
}

std::vector<CheckpointRead> reads_of(const tokvault_kv_read* reads, std::size_t count) {
  std::vector<CheckpointRead> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    out[i].block = reads[i].block;
    out[i].offset = reads[i].offset;
    out[i].out = {static_cast<char*>(reads[i].data), reads[i].size};
  }
  return out;
}
void give_back(const std::vector<CheckpointRead>& from, tokvault_kv_read* reads) {
  for (std::size_t i = 0; i < from.size(); ++i) {
    reads[i].status = static_cast<std::uint32_t>(from[i].status);
    reads[i].bytes = from[i].bytes;
    reads[i].payload_bytes = from[i].payload_bytes;
    reads[i].tokens = from[i].tokens;
  }
}
std::vector<CheckpointBlock> blocks_of(const tokvault_kv_block* blocks, std::size_t count) {
  std::vector<CheckpointBlock> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    out[i].payload = {static_cast<const char*>(blocks[i].data), blocks[i].size};
    out[i].text = {static_cast<const char*>(blocks[i].text), blocks[i].text_size};
  }
  return out;
}

}  // namespace

extern "C" {

int tokvault_kv_open(const char* directory, const tokvault_kv_options* options,
                     tokvault_kv** store) try {
  if (store != nullptr) *store = nullptr;
  if (directory == nullptr || store == nullptr) return fail(Errc::invalid, "a null argument");
  CheckpointOptions o;
  if (options != nullptr) {
    if (options->budget_bytes != 0) o.budget_bytes = options->budget_bytes;
    o.block_tokens = options->block_tokens;
    if (options->eviction > 2) return fail(Errc::invalid, "eviction is 0, 1 or 2");
    o.eviction = static_cast<tokvault::Eviction>(options->eviction);
    o.direct_io = options->direct_io != 0;
    if (options->codec > 3 && options->codec != 255) {
      return fail(Errc::invalid, "codec is 0 to 3, or 255");
    }
    o.codec = static_cast<tokvault::CheckpointCodec>(options->codec);
    o.read_only = options->read_only != 0;
    if (options->sync_every_put != 0) o.sync = tokvault::CheckpointSync::every_put;
    if (options->threads != 0) o.threads = options->threads;
  }
  auto opened = CheckpointStore::open(directory, o);
  if (!opened) return fail(opened.error());
  *store = new (std::nothrow) tokvault_kv;
  if (*store == nullptr) return fail(Errc::exhausted, "no memory");
  (*store)->store = std::move(*opened);
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_close(tokvault_kv* store) try {
  const std::unique_ptr<tokvault_kv> closing(store);
  if (store == nullptr) return 0;
  auto status = store->store->close();
  return status ? 0 : fail(status.error());
} catch (...) {
  return no_memory();
}

uint32_t tokvault_kv_block_tokens(const tokvault_kv* store) {
  return store == nullptr ? 0 : store->store->block_tokens();
}
const char* tokvault_kv_last_error(void) { return last_error.c_str(); }

int tokvault_kv_match_prefix(tokvault_kv* store, const tokvault_kv_namespace* ns,
                             const uint32_t* tokens, size_t token_count,
                             tokvault_kv_match* match) try {
  if (const char* what = wrong(store, tokens, token_count)) return fail(Errc::invalid, what);
  if (match == nullptr) return fail(Errc::invalid, "match is NULL");
  auto found = store->store->match(from_c(ns), TokenView(tokens, token_count));
  if (!found) return fail(found.error());
  *match = {found->tokens, found->blocks, found->tail_tokens};
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_get(tokvault_kv* store, const tokvault_kv_namespace* ns, const uint32_t* tokens,
                    size_t token_count, tokvault_kv_read* reads, size_t read_count,
                    uint64_t* good_tokens) try {
  if (const char* what = wrong(store, tokens, token_count)) return fail(Errc::invalid, what);
  if (const char* what = wrong(reads, read_count)) return fail(Errc::invalid, what);
  std::vector<CheckpointRead> list = reads_of(reads, read_count);
  auto got = store->store->get(from_c(ns), TokenView(tokens, token_count), list);
  if (!got) return fail(got.error());
  give_back(list, reads);
  if (good_tokens != nullptr) *good_tokens = *got;
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_put(tokvault_kv* store, const tokvault_kv_namespace* ns, const uint32_t* tokens,
                    size_t token_count, size_t first_block, const tokvault_kv_block* blocks,
                    size_t block_count, uint32_t* blocks_written) try {
  if (const char* what = wrong(store, tokens, token_count)) return fail(Errc::invalid, what);
  if (const char* what = wrong(blocks, block_count)) return fail(Errc::invalid, what);
  const std::vector<CheckpointBlock> list = blocks_of(blocks, block_count);
  auto put = store->store->put(from_c(ns), TokenView(tokens, token_count),
                               {.first_block = first_block, .blocks = list});
  if (!put) return fail(put.error());
  if (blocks_written != nullptr) *blocks_written = put->blocks_written;
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_put_sidecar(tokvault_kv* store, const tokvault_kv_namespace* ns,
                            const uint32_t* tokens, size_t token_count, const char* name,
                            const void* data, size_t size) try {
  if (const char* what = wrong(store, tokens, token_count)) return fail(Errc::invalid, what);
  if (data == nullptr && size > 0) return fail(Errc::invalid, "data is NULL");
  if (name == nullptr) return fail(Errc::invalid, "name is NULL");
  auto status = store->store->put_sidecar(from_c(ns), TokenView(tokens, token_count), name,
                                          {static_cast<const char*>(data), size});
  return status ? 0 : fail(status.error());
} catch (...) {
  return no_memory();
}

int tokvault_kv_get_sidecar(tokvault_kv* store, const tokvault_kv_namespace* ns,
                            const uint32_t* tokens, size_t token_count, const char* name,
                            void* data, size_t* size) try {
  if (const char* what = wrong(store, tokens, token_count)) return fail(Errc::invalid, what);
  if (name == nullptr || size == nullptr) return fail(Errc::invalid, "a null argument");
  auto got = store->store->get_sidecar(from_c(ns), TokenView(tokens, token_count), name);
  if (!got) return fail(got.error());
  const std::size_t room = *size;
  *size = got->size();
  if (got->size() > room || (data == nullptr && !got->empty())) {
    return fail(Errc::exhausted, "the room for the sidecar is too small");
  }
  if (!got->empty()) std::memcpy(data, got->data(), got->size());
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_pin(tokvault_kv* store, const tokvault_kv_namespace* ns, const uint32_t* tokens,
                    size_t token_count, uint64_t* pinned) try {
  if (const char* what = wrong(store, tokens, token_count)) return fail(Errc::invalid, what);
  auto done = store->store->pin(from_c(ns), TokenView(tokens, token_count));
  if (!done) return fail(done.error());
  if (pinned != nullptr) *pinned = *done;
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_unpin(tokvault_kv* store, const tokvault_kv_namespace* ns, const uint32_t* tokens,
                      size_t token_count) try {
  if (const char* what = wrong(store, tokens, token_count)) return fail(Errc::invalid, what);
  auto done = store->store->unpin(from_c(ns), TokenView(tokens, token_count));
  return done ? 0 : fail(done.error());
} catch (...) {
  return no_memory();
}

int tokvault_kv_remove(tokvault_kv* store, const tokvault_kv_namespace* ns, const uint32_t* tokens,
                       size_t token_count, uint64_t from_token, uint64_t* removed) try {
  if (const char* what = wrong(store, tokens, token_count)) return fail(Errc::invalid, what);
  auto done = store->store->remove(from_c(ns), TokenView(tokens, token_count), from_token);
  if (!done) return fail(done.error());
  if (removed != nullptr) *removed = *done;
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_remove_namespace(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                 uint64_t* removed) try {
  if (store == nullptr) return fail(Errc::invalid, "the store is NULL");
  auto count = store->store->remove_namespace(from_c(ns));
  if (!count) return fail(count.error());
  if (removed != nullptr) *removed = *count;
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_visit_texts(tokvault_kv* store, const tokvault_kv_namespace* ns,
                            int (*visit)(void*, uint64_t, const void*, size_t), void* context) try {
  if (store == nullptr) return fail(Errc::invalid, "the store is NULL");
  if (visit == nullptr) return fail(Errc::invalid, "a null argument");
  auto status =
      store->store->visit_texts(from_c(ns), [&](std::uint64_t position, tokvault::ByteView text) {
        return visit(context, position, text.data(), text.size()) == 0;
      });
  return status ? 0 : fail(status.error());
} catch (...) {
  return no_memory();
}

int tokvault_kv_flush(tokvault_kv* store) try {
  if (store == nullptr) return fail(Errc::invalid, "the store is NULL");
  auto status = store->store->flush();
  return status ? 0 : fail(status.error());
} catch (...) {
  return no_memory();
}

int tokvault_kv_get_stats(tokvault_kv* store, tokvault_kv_stats* stats) try {
  if (store == nullptr || stats == nullptr) return fail(Errc::invalid, "a null argument");
  const auto s = store->store->stats();
  *stats = {s.blocks,       s.sidecars,      s.states,     s.disk_bytes,
            s.budget_bytes, s.lookup_tokens, s.hit_tokens, s.bytes_written,
            s.bytes_read,   s.evicted,       s.refused,    s.quarantined};
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_submit_get(tokvault_kv* store, const tokvault_kv_namespace* ns,
                           const uint32_t* tokens, size_t token_count, tokvault_kv_read* reads,
                           size_t read_count, uint64_t* id) try {
  if (const char* what = wrong(store, tokens, token_count)) return fail(Errc::invalid, what);
  if (const char* what = wrong(reads, read_count)) return fail(Errc::invalid, what);
  if (id == nullptr) return fail(Errc::invalid, "id is NULL");
  auto kept = std::make_unique<Submitted>();
  kept->reads = reads_of(reads, read_count);
  kept->out = reads;
  // Held while submitting: the completion cannot be taken before the arrays are on record.
  const std::lock_guard lock(store->mutex);
  auto submitted =
      store->store->submit_get(from_c(ns), TokenView(tokens, token_count), kept->reads);
  if (!submitted) return fail(submitted.error());
  *id = *submitted;
  store->submitted[*id] = std::move(kept);
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_submit_put(tokvault_kv* store, const tokvault_kv_namespace* ns,
                           const uint32_t* tokens, size_t token_count, size_t first_block,
                           const tokvault_kv_block* blocks, size_t block_count, uint64_t* id) try {
  if (const char* what = wrong(store, tokens, token_count)) return fail(Errc::invalid, what);
  if (const char* what = wrong(blocks, block_count)) return fail(Errc::invalid, what);
  if (id == nullptr) return fail(Errc::invalid, "id is NULL");
  auto kept = std::make_unique<Submitted>();
  kept->blocks = blocks_of(blocks, block_count);
  const std::lock_guard lock(store->mutex);
  auto submitted = store->store->submit_put(from_c(ns), TokenView(tokens, token_count),
                                            {.first_block = first_block, .blocks = kept->blocks});
  if (!submitted) return fail(submitted.error());
  *id = *submitted;
  store->submitted[*id] = std::move(kept);
  return 0;
} catch (...) {
  return no_memory();
}

int tokvault_kv_cancel(tokvault_kv* store, uint64_t id) {
  if (store == nullptr) return fail(Errc::invalid, "the store is NULL");
  return store->store->cancel(id) ? 0 : fail(Errc::busy, "the call runs or is done");
}

size_t tokvault_kv_take_completions(tokvault_kv* store, tokvault_kv_completion* out, size_t room,
                                    uint64_t timeout_ms) try {
  if (store == nullptr || out == nullptr || room == 0) return 0;
  std::vector<CheckpointCompletion> taken(std::min<std::size_t>(room, 256));
  const std::size_t count = store->store->take_completions(taken, timeout_ms);
  const std::lock_guard lock(store->mutex);
  for (std::size_t i = 0; i < count; ++i) {
    const CheckpointCompletion& c = taken[i];
    out[i] = {c.id, static_cast<std::uint32_t>(c.status), c.put.blocks_written, c.tokens};
    const auto it = store->submitted.find(c.id);
    if (it == store->submitted.end()) continue;
    if (it->second->out != nullptr) give_back(it->second->reads, it->second->out);
    store->submitted.erase(it);
  }
  return count;
} catch (...) {
  return 0;
}

int tokvault_kv_completion_fd(const tokvault_kv* store) {
  return store == nullptr ? -1 : store->store->completion_fd();
}

}  // extern "C"
