tokvault init v --tokenizer bytes
cp "$CASES/forget.jsonl" a.jsonl
tokvault import v a.jsonl
tokvault forget v c0 c1 --dry-run
tokvault forget v c0 c1
tokvault forget v c0 c2 --json
echo "$?"
tokvault get v c0
echo "$?"
tokvault forget v --model m1 --dry-run --json
tokvault forget v --model m1
tokvault list v --json | grep -o '"id":"[^"]*"'
tokvault gc v > /dev/null && tokvault compact v > /dev/null
tokvault check v --read-data > /dev/null && echo sound
tokvault export v
tokvault forget v --all
tokvault export v
echo "-- stored again"
tokvault import v a.jsonl
