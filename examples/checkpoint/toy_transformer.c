/* Saves and restores the state of a small transformer.
 *
 * A real forward pass (RMS norm, rotary positions, causal attention over a KV cache, a gated MLP)
 * with random weights. The prompt is run once, its KV cache is put into a checkpoint store block by
 * block, and its logits as a sidecar. A second "process" with an empty cache restores the longest
 * stored prefix of a longer prompt and computes the rest: its logits must be the very same numbers
 * that a full run gives.
 *
 *   cc toy_transformer.c -ltokvault_checkpoint -lm && ./a.out /tmp/toy.kv
 *
 * docs/checkpoint.md says how the library is built and installed.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokvault/tokvault_checkpoint_c.h"

enum { LAYERS = 4, HEADS = 4, HEAD = 16, WIDTH = HEADS * HEAD, HIDDEN = 128, VOCAB = 500 };
enum { CONTEXT = 512, BLOCK = 16, PROMPT = 200, LONGER = 260 };

typedef struct {
  float embed[VOCAB][WIDTH];
  struct {
    float q[WIDTH][WIDTH], k[WIDTH][WIDTH], v[WIDTH][WIDTH], o[WIDTH][WIDTH];
    float gate[HIDDEN][WIDTH], up[HIDDEN][WIDTH], down[WIDTH][HIDDEN];
  } layer[LAYERS];
} Model;

/* The state of one token: keys and values of all layers. Token after token, so the state of a block
 * of tokens is one run of bytes. */
typedef struct {
  float key[LAYERS][WIDTH], value[LAYERS][WIDTH];
} TokenState;

static uint64_t seed = 42;
static float random_weight(float scale) {
  seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  return scale * ((float)(seed >> 40) / 8388608.0f - 1.0f);
}

static void multiply(float* out, const float* matrix, const float* in, int rows, int columns) {
  for (int r = 0; r < rows; ++r) {
    float sum = 0;
    for (int c = 0; c < columns; ++c) sum += matrix[r * columns + c] * in[c];
    out[r] = sum;
  }
}

static void norm(float* out, const float* in) {
  float sum = 0;
  for (int i = 0; i < WIDTH; ++i) sum += in[i] * in[i];
  const float scale = 1.0f / sqrtf(sum / WIDTH + 1e-5f);
  for (int i = 0; i < WIDTH; ++i) out[i] = in[i] * scale;
}

static void rotate(float* x, int position) {
  for (int h = 0; h < HEADS; ++h) {
    for (int i = 0; i < HEAD; i += 2) {
      const float angle = (float)position * powf(10000.0f, -(float)i / HEAD);
      float* pair = x + h * HEAD + i;
      const float a = pair[0], b = pair[1];
      pair[0] = a * cosf(angle) - b * sinf(angle);
      pair[1] = a * sinf(angle) + b * cosf(angle);
    }
  }
}

/* Runs one token at `position`: reads the states before it, writes its own. */
static void forward(const Model* m, TokenState* cache, uint32_t token, int position,
                    float* logits) {
  float x[WIDTH], n[WIDTH], q[WIDTH], mixed[WIDTH], out[WIDTH];
  memcpy(x, m->embed[token], sizeof x);
  for (int l = 0; l < LAYERS; ++l) {
    float* key = cache[position].key[l];
    norm(n, x);
    multiply(q, &m->layer[l].q[0][0], n, WIDTH, WIDTH);
    multiply(key, &m->layer[l].k[0][0], n, WIDTH, WIDTH);
    multiply(cache[position].value[l], &m->layer[l].v[0][0], n, WIDTH, WIDTH);
    rotate(q, position);
    rotate(key, position);
    for (int h = 0; h < HEADS; ++h) {
      float score[CONTEXT], high = -1e30f, total = 0;
      for (int t = 0; t <= position; ++t) {
        float dot = 0;
        for (int i = 0; i < HEAD; ++i) dot += q[h * HEAD + i] * cache[t].key[l][h * HEAD + i];
        score[t] = dot / sqrtf((float)HEAD);
        if (score[t] > high) high = score[t];
      }
      for (int t = 0; t <= position; ++t) total += score[t] = expf(score[t] - high);
      for (int i = 0; i < HEAD; ++i) {
        float sum = 0;
        for (int t = 0; t <= position; ++t) sum += score[t] * cache[t].value[l][h * HEAD + i];
        mixed[h * HEAD + i] = sum / total;
      }
    }
    multiply(out, &m->layer[l].o[0][0], mixed, WIDTH, WIDTH);
    for (int i = 0; i < WIDTH; ++i) x[i] += out[i];
    float gate[HIDDEN], up[HIDDEN];
    norm(n, x);
    multiply(gate, &m->layer[l].gate[0][0], n, HIDDEN, WIDTH);
    multiply(up, &m->layer[l].up[0][0], n, HIDDEN, WIDTH);
    for (int i = 0; i < HIDDEN; ++i) gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
    multiply(out, &m->layer[l].down[0][0], gate, WIDTH, HIDDEN);
    for (int i = 0; i < WIDTH; ++i) x[i] += out[i];
  }
  norm(n, x);
  multiply(logits, &m->embed[0][0], n, VOCAB, WIDTH);
}

static void need(int code, const char* what) {
  if (code == 0) return;
  fprintf(stderr, "%s: %s (%d)\n", what, tokvault_kv_last_error(), code);
  exit(1);
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s STORE\n", argv[0]);
    return 2;
  }
  Model* model = malloc(sizeof *model);
  TokenState* cache = calloc(CONTEXT, sizeof *cache);
  TokenState* restored = calloc(CONTEXT, sizeof *restored);
  if (model == NULL || cache == NULL || restored == NULL) return 1;
  float* weights = (float*)model;
  for (size_t i = 0; i < sizeof *model / sizeof(float); ++i) weights[i] = random_weight(0.2f);
  uint32_t tokens[LONGER];
  for (int i = 0; i < LONGER; ++i) tokens[i] = (uint32_t)(i * 37 + i * i) % VOCAB;

  const tokvault_kv_namespace ns = {.model = "toy-42", .dtype = "f32", .layout = "token-major"};
  const tokvault_kv_options options = {.budget_bytes = 64u << 20, .block_tokens = BLOCK};
  tokvault_kv* store = NULL;
  need(tokvault_kv_open(argv[1], &options, &store), "open");

  /* The first run: prefill, then save every block and the logits. */
  float logits[VOCAB], expected[VOCAB], first[VOCAB];
  for (int i = 0; i < PROMPT; ++i) forward(model, cache, tokens[i], i, first);
  tokvault_kv_block blocks[(PROMPT + BLOCK - 1) / BLOCK] = {{0}};
  const size_t count = sizeof blocks / sizeof blocks[0];
  for (size_t b = 0; b < count; ++b) {
    const size_t at = b * BLOCK, size = at + BLOCK <= PROMPT ? BLOCK : PROMPT - at;
    blocks[b].data = cache + at;
    blocks[b].size = size * sizeof(TokenState);
  }
  uint32_t written = 0;
  need(tokvault_kv_put(store, &ns, tokens, PROMPT, 0, blocks, count, &written), "put");
  need(tokvault_kv_put_sidecar(store, &ns, tokens, PROMPT, "logits", first, sizeof first),
       "put logits");
  need(tokvault_kv_close(store), "close");

  /* What a run without the store gives for the longer prompt. */
  for (int i = PROMPT; i < LONGER; ++i) forward(model, cache, tokens[i], i, expected);

  /* The second run: restore what there is, compute the rest. */
  need(tokvault_kv_open(argv[1], NULL, &store), "open again");
  tokvault_kv_match match;
  need(tokvault_kv_match_prefix(store, &ns, tokens, LONGER, &match), "match");
  tokvault_kv_read reads[(LONGER + BLOCK - 1) / BLOCK] = {{0}};
  for (uint32_t b = 0; b < match.blocks; ++b) {
    const size_t at = (size_t)b * BLOCK;
    const size_t size = at + BLOCK <= match.tokens ? BLOCK : match.tokens - at;
    reads[b].block = b;
    reads[b].data = restored + at;
    reads[b].size = size * sizeof(TokenState);
  }
  uint64_t good = 0;
  need(tokvault_kv_get(store, &ns, tokens, LONGER, reads, match.blocks, &good), "get");
  size_t size = sizeof logits;
  need(tokvault_kv_get_sidecar(store, &ns, tokens, PROMPT, "logits", logits, &size), "get logits");
  const int same_first = size == sizeof first && memcmp(logits, first, sizeof first) == 0;
  for (int i = (int)good; i < LONGER; ++i) forward(model, restored, tokens[i], i, logits);
  const int same = good == PROMPT && memcmp(logits, expected, sizeof expected) == 0;
  need(tokvault_kv_close(store), "close");

  printf("%u blocks written, %llu of %d tokens restored, logits %s\n", written,
         (unsigned long long)good, LONGER, same && same_first ? "equal" : "DIFFER");
  free(model);
  free(cache);
  free(restored);
  return same && same_first ? 0 : 1;
}
