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
try() {
  tokvault kv replay "$@"
  echo "$?"
}
try trace.jsonl --budget 0
try trace.jsonl --budget x
try trace.jsonl --budget 10,nan
try trace.jsonl --policy best
try trace.jsonl --block-tokens 0
echo '{"timestamp": 1}' > wrong.jsonl
try wrong.jsonl
: > empty.jsonl
try empty.jsonl --json
