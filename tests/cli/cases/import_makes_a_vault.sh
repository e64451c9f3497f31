# With the default tokenizer; nothing is made if there is nothing to import.
tokvault import v absent.jsonl
echo "$?"
ls
echo '{"id":"a","messages":[]}' > a.jsonl
tokvault import v a.jsonl
tokvault get v a
tokvault stats v --json | grep -o '"tokenizer":"[^"]*"'
