# An id is a string or a number; null and the empty string are none. What is neither is a bad
# line, and not a line whose id is passed over.
tokvault init v --tokenizer bytes
bad() {
  printf '%s\n' "$1" | tokvault import v -
  echo "$?"
}
bad '{"id":true,"messages":[]}'
bad '{"id":["a"],"messages":[]}'
bad '{"id":{"a":1},"messages":[]}'
bad '{"id":nil,"messages":[]}'
echo "-- as they are written"
cat > good.jsonl <<'END'
{"id":" ","messages":[]}
{"id":"\u0000\ud800/..","messages":[]}
{"id":-0.0,"messages":[]}
{"id":1e400,"messages":[]}
{"id":123456789012345678901234567890,"messages":[]}
{"messages":[],"id":null}
{"messages":[],"id":""}
{"messages":[]}
END
tokvault import v good.jsonl
tokvault export v | cmp - good.jsonl && echo same
tokvault get v -- -0.0 1e400 ' '
tokvault import v good.jsonl | head -n 1
