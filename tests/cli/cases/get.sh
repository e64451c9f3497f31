tokvault init v --tokenizer bytes
cp "$CASES/get.jsonl" a.jsonl
tokvault import v a.jsonl
tokvault get v a
tokvault get v --format text a
tokvault get v --format tokens -- a -b
tokvault get v --format text -- -b a
echo "-- some that are not there"
tokvault get v a x y
echo "$?"
tokvault get v x --json
echo "$?"
tokvault get v a --tenant other
echo "$?"
