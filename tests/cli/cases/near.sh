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
for limit in 0 1 2; do tokvault near v same-a --threshold 0 --limit $limit --json | wc -l; done
for i in $(seq 12); do
  echo "{\"id\":\"twin $i\",\"messages\":[{\"content\":\"one two three four five six\"}]}"
done | tokvault import v - --tenant many > /dev/null
tokvault near v "twin 1" --tenant many --json | wc -l
tokvault near v "twin 1" --tenant many --json --limit 0 | wc -l
tokvault near v alone --limit 100001
echo "$?"
for limit in 0 1; do tokvault dupes v --limit $limit --json | grep -c representative; done
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
