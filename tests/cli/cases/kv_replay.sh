# Request traces against eviction policies.
i=0
while [ $i -lt 60 ]; do
  printf '{"timestamp": %d, "input_length": 1600, "hash_ids": [1, %d, %d]}\n' \
    $((i * 1000)) $((i % 4 + 2)) $((i + 100))
  i=$((i + 1))
done > trace.jsonl
tokvault kv replay trace.jsonl
tokvault kv replay trace.jsonl --budget 10 --policy lru,belady --json
tokvault kv replay trace.jsonl --budget 50 --policy value --block-tokens 800
# What is no whole block is left out, and said; a compressed trace is the same one.
(cat trace.jsonl
 echo '{"timestamp": 60000, "input_length": 511, "hash_ids": [7]}'
 echo '{"timestamp": 61000, "input_length": 0, "hash_ids": []}'
 echo '{"timestamp": 62000, "input_length": 1536, "hash_ids": [1, 2, 100]}'
 echo '{"timestamp": 63000, "input_length": 1537, "hash_ids": [1, 2, 100, 8]}') > longer.jsonl
tokvault kv replay longer.jsonl --budget 5 --policy lru
gzip < longer.jsonl > longer.gz
zstd -q < longer.jsonl > longer.zst
tokvault kv replay longer.gz --budget 5 --policy lru
tokvault kv replay - --budget 5 --policy lru --json < longer.zst
head -c 40 longer.gz > cut.gz
try() {
  tokvault kv replay "$@"
  echo "$?"
}
try cut.gz
try trace.jsonl --budget 0
try trace.jsonl --budget x
try trace.jsonl --budget 10,nan
try trace.jsonl --policy best
try trace.jsonl --block-tokens 0
echo '{"timestamp": 1}' > wrong.jsonl
try wrong.jsonl
try - < wrong.jsonl
: > empty.jsonl
try empty.jsonl --json
