# A pipe is read once, by whatever name.
line='{"id":"&","messages":[]}'
seq 0 999 | sed "s/.*/$line/" > a.jsonl
mkfifo pipe
cat a.jsonl > pipe &
tokvault import v pipe --json | grep -o '"created":[a-z]*\|"stored":[0-9]*'
cat a.jsonl | tokvault import v /dev/stdin | head -n 1
tokvault import v . && echo imported
echo "$?"
tokvault import v absent.jsonl --json
echo "$?"
