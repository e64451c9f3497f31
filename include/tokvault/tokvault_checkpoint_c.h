/* The checkpoint store for C: what inference engines ask of a storage tier.
 *
 * Functions return 0 or a code of tokvault/result.h (not_found 1, exists 2, invalid 3, corrupt 4,
 * unsupported 5, io 6, busy 7, exhausted 8, denied 9, conflict 10, cancelled 11); the sentence that
 * goes with the last failure of the calling thread is tokvault_kv_last_error(). No function throws,
 * prints or exits. A NULL where none is allowed, and sizes that cannot be, are 3 (invalid). All may
 * be called from any thread at once, but for closing. Memory belongs to the caller; what is passed
 * in is borrowed for the call, for a submitted call until its completion was taken. Where memory
 * is missing a call is 8, and so is the completion of a submitted one.
 *
 * Tokens are ids, sizes and offsets are bytes, and a block has as many tokens as
 * tokvault_kv_block_tokens() says; the last of a prompt may have fewer. checkpoint.h says more of
 * each call. Not to be had from C: a time to live, looking up by text, whole states, touch, expire,
 * evict, explain, list and check, and of CheckpointOptions admission, attention_tokens,
 * segment_bytes and io, which keep their defaults. */
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

/* 0 in a field is the default of CheckpointOptions; 1 switches on what has no number. */
typedef struct tokvault_kv_options {
  uint64_t budget_bytes;   /* on disk; 0: what the store was opened with last, or 64 GiB */
  uint32_t block_tokens;   /* 16 to 4096, fixed when the store is made; 0: what it has, or 256 */
  uint32_t eviction;       /* 0 value, 1 lru, 2 decayed hits */
  uint32_t direct_io;      /* past the page cache */
  uint32_t sync_every_put; /* a put returns when it is durable; 0: flush and close do that */
  uint32_t read_only;      /* beside the one that writes; what changes the store is 9 (denied) */
  uint32_t threads;        /* for submitted calls, 1 to 256; 0: two */
  uint32_t codec;          /* 0 none, 1 zstd, 2 plane8, 3 planes16, 255 by dtype */
} tokvault_kv_options;

typedef struct tokvault_kv_match {
  uint64_t tokens;      /* covered by the blocks, a partial last one included */
  uint32_t blocks;      /* the partial one included */
  uint32_t tail_tokens; /* of the partial last block; 0 if there is none */
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
  uint32_t block;         /* of the prompt, from 0 */
  uint32_t status;        /* 0, not_found (1), or corrupt (4): damaged, and not served again */
  uint64_t offset;        /* in the payload, of the first byte that is wanted */
  void* data;             /* zeroed if the read fails */
  size_t size;            /* of `data`; 0 asks for payload_bytes alone, and counts as no use */
  uint64_t bytes;         /* read; fewer than `size` where the payload ends */
  uint64_t payload_bytes; /* of the whole block */
  uint32_t tokens;        /* of the block that was read */
  uint32_t reserved;
} tokvault_kv_read;

typedef struct tokvault_kv_completion {
  uint64_t id;             /* of the submitted call */
  uint32_t status;         /* the code that the call would have returned; cancelled (11) */
  uint32_t blocks_written; /* of a put that succeeded */
  uint64_t tokens;         /* of a get: what good_tokens is */
} tokvault_kv_completion;

/* The first five are what is there now, the others count since this handle was opened:
 * `lookup_tokens` of prompts that were matched and `hit_tokens` of these that were stored; bytes
 * that were written to the log, and of payloads that were read; records that were evicted, refused
 * for want of room or worth, and found damaged. */
typedef struct tokvault_kv_stats {
  uint64_t blocks, sidecars, states, disk_bytes, budget_bytes, lookup_tokens, hit_tokens,
      bytes_written, bytes_read, evicted, refused, quarantined;
} tokvault_kv_stats;

/* Opens the folder, or makes it (not if read_only). `options` may be NULL; `*store` is NULL unless
 * 0 is returned. busy (7) if another process writes there, invalid (3) for options that cannot be,
 * or a folder with other files in it. */
TOKVAULT_KV_API int tokvault_kv_open(const char* directory, const tokvault_kv_options* options,
                                     tokvault_kv** store);
/* Finishes all submitted calls, those that have not begun too, flushes, and frees, whatever it
 * returns: the code of the flush. Completions that nobody took are lost, and with them the results
 * in `reads`; what was passed in is the caller's again. `store` may be NULL. No call may be running
 * on another thread. */
TOKVAULT_KV_API int tokvault_kv_close(tokvault_kv* store);
TOKVAULT_KV_API uint32_t tokvault_kv_block_tokens(const tokvault_kv* store);
/* Valid until the thread's next failure. */
TOKVAULT_KV_API const char* tokvault_kv_last_error(void);

/* The longest stored prefix of the prompt, from memory; 0 tokens if there is none. */
TOKVAULT_KV_API int tokvault_kv_match_prefix(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                             const uint32_t* tokens, size_t token_count,
                                             tokvault_kv_match* match);
/* Reads states of blocks of the prompt into the caller's memory, verified; `good_tokens` (may be
 * NULL) gets the tokens that the leading run of good reads covers, where they are of blocks 0, 1,
 * 2, ... in order and each has room for all of its payload. A miss or damage shows in the status of
 * a read, not in what is returned. */
TOKVAULT_KV_API int tokvault_kv_get(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                    const uint32_t* tokens, size_t token_count,
                                    tokvault_kv_read* reads, size_t read_count,
                                    uint64_t* good_tokens);
/* Stores the blocks from first_block to the end of the prompt that are not there yet; a block of 0
 * bytes is `invalid` (3). not_found (1): a block before first_block is not stored, or not any more;
 * match, and put from there on. exhausted (8): no room in the budget or on the disk; the blocks
 * before the one that found none may be stored. Blocks that are not worth what would have to go for
 * them are not stored either, which is no failure, but shows in `blocks_written` (may be NULL). */
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
/* Removes the blocks that begin at or behind from_token, with all that stands behind them; busy (7)
 * if one is pinned or being read. `removed` (may be NULL) gets how many records went. */
TOKVAULT_KV_API int tokvault_kv_remove(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                       const uint32_t* tokens, size_t token_count,
                                       uint64_t from_token, uint64_t* removed);
/* Removes everything under a namespace, pinned blocks excepted; `removed` may be NULL. */
TOKVAULT_KV_API int tokvault_kv_remove_namespace(tokvault_kv* store,
                                                 const tokvault_kv_namespace* ns,
                                                 uint64_t* removed);
/* Calls `visit` with the text of every block of the namespace that was put with one, until it
 * returns other than 0, which is no failure; `position` is how many tokens stand before the block.
 * The order is not specified, damaged blocks are passed over. `visit` runs on the calling thread
 * and may call the store, but not close it. The text is valid for the call. */
TOKVAULT_KV_API int tokvault_kv_visit_texts(tokvault_kv* store, const tokvault_kv_namespace* ns,
                                            int (*visit)(void* context, uint64_t position,
                                                         const void* text, size_t text_size),
                                            void* context);
TOKVAULT_KV_API int tokvault_kv_flush(tokvault_kv* store);
TOKVAULT_KV_API int tokvault_kv_get_stats(tokvault_kv* store, tokvault_kv_stats* stats);

/* Asynchronous: `reads`, `tokens` and `blocks`, and the memory that they point to, stay until the
 * completion was taken. The results of a get stand in `reads` once its completion was taken. `id`
 * is never 0. */
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
/* Takes up to `room` completions, 256 at the most, as the calls came to their end, and returns how
 * many. If there is none it waits for the first, up to timeout_ms (0: does not wait; a year at the
 * most), and returns 0 if none came. */
TOKVAULT_KV_API size_t tokvault_kv_take_completions(tokvault_kv* store, tokvault_kv_completion* out,
                                                    size_t room, uint64_t timeout_ms);
/* A descriptor that is readable while completions wait, for poll() and the like. It is the store's:
 * do not read or close it; it goes with the store. */
TOKVAULT_KV_API int tokvault_kv_completion_fd(const tokvault_kv* store);

#ifdef __cplusplus
}
#endif

#endif /* TOKVAULT_TOKVAULT_CHECKPOINT_C_H_ */
