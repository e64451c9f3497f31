# The newest log is gone: what it may have deleted is not served, what is written is, and repair
# gives it up.
tokvault init v --tokenizer bytes
for n in 1 2; do
  message="{\"role\":\"user\",\"content\":\"$(seq ${n}000 ${n}999 | tr '\n' ' ')\"}"
  printf '%s\n' "{\"id\":\"c$n\",\"created\":1,\"messages\":[$message]}" > $n.jsonl
  tokvault import v $n.jsonl --log-size 1K > imported
done
rm "$(ls v/log/*.log | tail -n 1)"
tokvault get v c1
echo "$?"
tokvault list v
echo "$?"
tokvault list v --keep-going
echo "$?"
tokvault segment list v
echo "$?"
tokvault check v
echo "$?"
tokvault import v 2.jsonl | head -n 1
tokvault get v c2 --format text | cut -c 1-40
tokvault compact v
echo "$?"
tokvault repair v
echo "$?"
tokvault list v
tokvault check v --read-data
