tokvault init v --tokenizer bytes
cp "$CASES/list.jsonl" a.jsonl
tokvault import v a.jsonl
tokvault tag v one +x +y
tokvault tag v two +x
tokvault list v
tokvault list v --json | sed 's/"\(sequence\|first_sequence\)":[0-9]*,//g'
for filter in "--model m1" "--application chat" "--model m1 --application chat" "--tag x" \
    "--tag x --tag y" "--tag z" "--since 2026-01-02" "--until 2026-01-02" \
    "--since 2026-01-01T00:00:01+00:00 --until 1767312001" "--tenant t"; do
  echo "-- $filter"
  tokvault list v $filter --json | grep -o '"id":"[^"]*"'
done
echo "-- in pages"
tokvault list v --limit 2 --json > page
grep -o '"id":"[^"]*"' page
cursor=$(sed -n 's/^{"cursor":"\(.*\)"}$/\1/p' page)
tokvault list v --limit 2 --cursor "$cursor" --json | grep -o '"id":"[^"]*"'
tokvault list v --limit 3 | wc -l
tokvault list v --limit 0 --json | wc -l
echo "-- a limit of as many as there are, and of all but one"
count=$(tokvault list v --json | wc -l)
tokvault list v --limit "$count" --json | grep -c cursor
tokvault list v --limit $((count - 1)) --json | grep -c cursor
tokvault list v --limit "$count" 2>&1 | grep -c "there are more"
tokvault list v --cursor nonsense
echo "$?"
echo "-- one long id does not push the others to the right"
long=$(printf '%0300d' 7)
printf '{"id":"%s","messages":[]}\n' "$long" | tokvault import v - | head -n 1
tokvault list v | cut -d ' ' -f 1 | awk '{ print length($0) }'
tokvault list v | grep -v "$long" | awk '{ if (length($0) > 120) print length($0) }'
tokvault list v --json | grep -c "\"$long\""
echo "-- a long list has one line of titles"
tokvault init long --tokenizer bytes > made
seq 2500 | sed 's/.*/{"id":"n&","created":1,"messages":[]}/' | tokvault import long - | head -n 1
tokvault list long > listed
wc -l < listed
grep -c '^ID' listed
tokvault sql long "select id, tokens from conversations order by sequence" > rows
wc -l < rows
grep -c '^id' rows
tail -n 1 rows
