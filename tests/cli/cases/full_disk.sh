# What cannot be written is said.
tokvault version > /dev/full
echo "$?"
tokvault init v --tokenizer bytes
echo '{"id":"a","messages":[]}' | tokvault import v - | head -n 1
tokvault export v > /dev/full
echo "$?"
tokvault export v -o /dev/full
echo "$?"
for command in --help --version help "kv --help" "kv put --help"; do
  tokvault $command > /dev/full
  echo "$?"
done
tokvault kv evict s --budget 1M > /dev/full
echo "$?"
tokvault kv stats s --json > /dev/full
echo "$?"
