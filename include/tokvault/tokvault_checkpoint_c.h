/* The checkpoint store for C: what inference engines ask of a storage tier.
 *
 * Functions return 0 or a code of tokvault/result.h (not_found 1, exists 2, invalid 3, corrupt 4,
 * unsupported 5, io 6, busy 7, exhausted 8, denied 9, conflict 10, cancelled 11); the sentence that
 * goes with the last failure of the calling thread is tokvault_kv_last_error(). No function throws,
 * prints or exits. A NULL where none is allowed, and sizes that cannot be, are 3 (invalid). All may
 * be called from any thread at once, but for closing. Memory belongs to the caller; what is passed
 * in is borrowed for the call, for a submitted call until its completion was taken. */
#ifndef TOKVAULT_TOKVAULT_CHECKPOINT_C_H_
#define TOKVAULT_TOKVAULT_CHECKPOINT_C_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TOKVAULT_KV_API __attribute__((visibility("default")))
#else
#define TOKVAULT_KV_API
#endif

typedef struct tokvault_kv tokvault_kv;

/* Under which a state is valid; NULL is an empty field. Two states are interchangeable only if all
 * fields are equal. */
typedef struct tokvault_kv_namespace {
  const char* model;
  const char* tokenizer;
  const char* chat_template;
  const char* dtype;
  const char* layout;
  const char* lora;
  const char* tenant;
  const char* extra;
} tokvault_kv_namespace;

/* 0 in a field is the default of CheckpointOptions. */
typedef struct tokvault_kv_options {
  uint64_t budget_bytes;
  uint32_t block_tokens;
  uint32_t eviction; /* 0 value, 1 lru, 2 decayed hits */
  uint32_t direct_io;
  uint32_t sync_every_put;
  uint32_t read_only;
  uint32_t threads;
  uint32_t codec; /* 0 none, 1 zstd, 2 plane8, 3 planes16, 255 by dtype */
} tokvault_kv_options;

typedef struct tokvault_kv_match {
  uint64_t tokens;
  uint32_t blocks;
  uint32_t tail_tokens;
} tokvault_kv_match;

/* A block's state to store, with the rendered text of its tokens (NULL and 0: none). */
typedef struct tokvault_kv_block {
  const void* data;
  size_t size;
  const void* text;
  size_t text_size;
} tokvault_kv_block;
/* Where one goes. `status`, `bytes`, `payload_bytes` and `tokens` are results. */
typedef struct tokvault_kv_read {
  uint32_t block;
  uint32_t status;
  uint64_t offset;
  void* data;
  size_t size;
  uint64_t bytes;
  uint64_t payload_bytes;
  uint32_t tokens; /* of the block that was read */
  uint32_t reserved;
} tokvault_kv_read;

typedef struct tokvault_kv_completion {
  uint64_t id;
  uint32_t status;
  uint32_t blocks_written;
  uint64_t tokens;
} tokvault_kv_completion;

typedef struct tokvault_kv_stats {
  uint64_t blocks, sidecars, states, disk_bytes, budget_bytes, lookup_tokens, hit_tokens,
      bytes_written, bytes_read, evicted, refused, quarantined;
} tokvault_kv_stats;

/* `options` may be NULL. `store` becomes NULL on failure. */
TOKVAULT_KV_API int tokvault_kv_open(const char* directory, const tokvault_kv_options* options,
                                     tokvault_kv** store);
/* Flushes and frees. `store` may be NULL. No call may be running. */
TOKVAULT_KV_API int tokvault_kv_close(tokvault_kv* store);
TOKVAULT_KV_API uint32_t tokvault_kv_block_tokens(const tokvault_kv* store);
/* Valid until the thread's next failure. */
TOKVAULT_KV_API const char* tokvault_kv_last_error(void);

/* The longest stored prefix of the prompt, from memory. */
TOKVAULT_KV_API int tokvault_kv_match_prefix(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                             const uint32_t* tokens, size_t token_count,
                                             tokvault_kv_match* match);
/* Reads states of blocks of the prompt into the caller's memory, verified; `good_tokens` (may be
 * NULL) gets what the leading run of whole blocks covers. A miss or damage shows in status. */
TOKVAULT_KV_API int tokvault_kv_get(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                    const uint32_t* tokens, size_t token_count,
                                    tokvault_kv_read* reads, size_t read_count,
                                    uint64_t* good_tokens);
/* Stores the blocks from first_block to the end of the prompt that are not there yet; a block of 0
 * bytes is `invalid` (3). `blocks_written` may be NULL. */
TOKVAULT_KV_API int tokvault_kv_put(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                    const uint32_t* tokens, size_t token_count, size_t first_block,
                                    const tokvault_kv_block* blocks, size_t block_count,
                                    uint32_t* blocks_written);
/* What belongs to the end of a stored prefix: logits, recurrent state. get: `size` is the room at
 * `data`, and becomes the size of the sidecar; `exhausted` if the room is too small. */
TOKVAULT_KV_API int tokvault_kv_put_sidecar(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                            const uint32_t* tokens, size_t token_count,
                                            const char* name, const void* data, size_t size);
TOKVAULT_KV_API int tokvault_kv_get_sidecar(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                            const uint32_t* tokens, size_t token_count,
                                            const char* name, void* data, size_t* size);
/* Keeps the stored prefix from eviction; `pinned` (may be NULL) gets its tokens, to unpin with. */
TOKVAULT_KV_API int tokvault_kv_pin(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                    const uint32_t* tokens, size_t token_count, uint64_t* pinned);
TOKVAULT_KV_API int tokvault_kv_unpin(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                      const uint32_t* tokens, size_t token_count);
/* Removes the blocks at or behind from_token; `removed` may be NULL. */
TOKVAULT_KV_API int tokvault_kv_remove(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                       const uint32_t* tokens, size_t token_count,
                                       uint64_t from_token, uint64_t* removed);
/* Removes everything under a namespace, pinned blocks excepted; `removed` may be NULL. */
TOKVAULT_KV_API int tokvault_kv_remove_namespace(tokvault_kv* store,
                                                 const tokvault_kv_namespace* ns,
                                                 uint64_t* removed);
/* Calls `visit` with the text of every block of the namespace that was put with one, until it
 * returns other than 0; `position` is how many tokens stand before the block. The text is valid for
 * the call. */
TOKVAULT_KV_API int tokvault_kv_visit_texts(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                            int (*visit)(void* context, uint64_t position,
                                                         const void* text, size_t text_size),
                                            void* context);
TOKVAULT_KV_API int tokvault_kv_flush(tokvault_kv* store);
TOKVAULT_KV_API int tokvault_kv_get_stats(tokvault_kv* store, tokvault_kv_stats* stats);

/* Asynchronous: `reads`, `tokens` and `blocks` stay until the completion was taken. For a submitted
 * get the results stand in `reads` once its completion was taken. The descriptor is readable while
 * completions wait. */
TOKVAULT_KV_API int tokvault_kv_submit_get(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                           const uint32_t* tokens, size_t token_count,
                                           tokvault_kv_read* reads, size_t read_count,
                                           uint64_t* id);
TOKVAULT_KV_API int tokvault_kv_submit_put(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                           const uint32_t* tokens, size_t token_count,
                                           size_t first_block, const tokvault_kv_block* blocks,
                                           size_t block_count, uint64_t* id);
/* 0 if it will complete as cancelled, busy (7) if it runs or is done. */
TOKVAULT_KV_API int tokvault_kv_cancel(tokvault_kv* store, uint64_t id);
TOKVAULT_KV_API size_t tokvault_kv_take_completions(tokvault_kv* store, tokvault_kv_completion* out,
                                                    size_t room, uint64_t timeout_ms);
TOKVAULT_KV_API int tokvault_kv_completion_fd(const tokvault_kv* store);

#ifdef __cplusplus
}
#endif

#endif /* TOKVAULT_TOKVAULT_CHECKPOINT_C_H_ */
