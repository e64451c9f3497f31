tokvault init v
cp "$CASES/near.jsonl" a.jsonl
tokvault import v a.jsonl
tokvault near v greet-0
tokvault near v greet-0 --json | sed 's/"time_ms":[0-9]*/"time_ms":T/'
tokvault near v same-a --limit 1
tokvault near v same-a --model m2
tokvault near v alone
tokvault near v chat-1
tokvault near v chat-1 --method anchors
tokvault near v nobody
echo "$?"
tokvault near v alone --threshold 1.5
echo "$?"
tokvault near v alone --threshold nan
echo "$?"
echo "-- dupes"
tokvault dupes v
tokvault dupes v --json
tokvault dupes v --limit 1
tokvault dupes v --method anchors --threshold 0.9
tokvault dupes v --model m1 --ids
tokvault dupes v --ids --json
tokvault dupes v --memory 1K
echo "$?"
echo "-- what is left"
tokvault dupes v --method anchors -o rest.jsonl
grep -o '"id":"[^"]*"' rest.jsonl
tokvault dupes v -o rest.jsonl --json
tokvault dupes v -o - --model m3 | grep -o '"id":"[^"]*"'
tokvault dupes v -o rest.jsonl --ids
echo "$?"
tokvault dupes v --tenant other
echo "$?"
