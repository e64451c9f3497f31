# Substrings: trained, listed, shown, retained, imported, refused.
tokvault init v --tokenizer bytes
for i in 1 2 3 4 5; do
  text="$i$i$i the fare is paid on board, in coins $i"
  echo '{"id":"c'$i'","messages":[{"role":"user","content":"'"$text"'"}]}'
done > a.jsonl
tokvault import v a.jsonl
tokvault substrings list v --json
tokvault substrings train v --memory 1M
tokvault substrings train v --memory 1M --json
tokvault substrings list v
tokvault substrings show v 1
tokvault substrings show v 1 --json
tokvault substrings compact v --min-conversations 6
tokvault substrings train v --memory 1M --min-conversations 6
tokvault substrings train v --memory 1M
tokvault substrings retain v 1
mkdir registry
printf %s 'tickets are sold at the pier' > registry/blobs.dat
echo '[{"id":4,"length":28,"source_occurrences":9,"offset":0,"bytes":28,' > registry/index.json
echo '"created_at":"2026-01-05T10:00:00Z"}]' >> registry/index.json
tokvault substrings import v registry
tokvault substrings list v
tokvault substrings list v --tenant other
tokvault substrings show v 99
tokvault substrings import v absent
printf x >> registry/blobs.dat
sed -i 's/"length":28/"length":27/' registry/index.json
tokvault substrings import v registry
tokvault substrings
# What is no id.
for id in x abc 0x1 1.5 4294967296 18446744073709551616 ''; do
  for action in show retain; do
    tokvault substrings $action v "$id"
    echo "$?"
  done
done
tokvault substrings show v -5
tokvault substrings show v -- -5
tokvault substrings show v 4294967295
