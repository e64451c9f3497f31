# An id counts once; those that are not there are named, by --dry-run as well.
tokvault init v --tokenizer bytes
printf '{"id":"%s","messages":[]}\n' a0 a1 a2 > a.jsonl
tokvault import v a.jsonl | head -n 1
for how in --dry-run --json; do
  tokvault forget v a0 a0 "$how"
  echo "$?"
  tokvault forget v a1 nowhere a1 'no
where' nowhere "$how"
  echo "$?"
done
tokvault forget v $(seq 100 115)
echo "$?"
tokvault list v --json | grep -o '"id":"[^"]*"'
