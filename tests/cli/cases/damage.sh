# A byte of a log has flipped: what does not depend on it is there, the rest is counted.
tokvault init v --tokenizer bytes
for id in a b c; do
  message="{\"role\":\"user\",\"content\":\"of $id\"}"
  echo "{\"id\":\"$id\",\"created\":1,\"messages\":[$message]}" > $id.jsonl
  tokvault import v $id.jsonl > imported
done
log=v/log/00000001.log
size=$(wc -c < $log)
printf '\377' | dd of=$log bs=1 seek=$((size - 3)) conv=notrunc 2> written
tokvault get v a c
echo "$?"
tokvault list v
echo "$?"
tokvault list v --keep-going
echo "$?"
tokvault list v --keep-going --limit 1
echo "$?"
tokvault export v
echo "$?"
tokvault export v --keep-going
echo "$?"
tokvault stats v 2>&1 | grep -E '^(tokvault|conversations)'
tokvault check v
echo "$?"
tokvault gc v
echo "$?"
# What was lost can be imported again.
tokvault import v a.jsonl c.jsonl | head -n 1
tokvault get v c
tokvault repair v | tail -n 1
tokvault list v
tokvault check v --read-data
