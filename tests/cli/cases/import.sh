tokvault init v --tokenizer bytes
cp "$CASES/import.jsonl" a.jsonl
tokvault import v a.jsonl
echo "-- once more"
tokvault import v a.jsonl
echo "-- together with another"
printf '{"id":"c","messages":[],"created":1700000003.25}' > b.jsonl
tokvault import v a.jsonl b.jsonl --json
tokvault list v
echo "-- as it was"
tokvault export v
