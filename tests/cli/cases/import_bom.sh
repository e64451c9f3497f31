# Some programs begin text with a byte order mark.
printf '\357\273\277{"id":"a","messages":[]}\n{"id":"b","messages":[]}\n' > a.jsonl
tokvault import v a.jsonl --json 2> /dev/null | grep -o '"stored":[0-9]*'
tokvault get v a
# Elsewhere it is no white space.
printf '{"id":"c","messages":[]}\n\357\273\277{"id":"d","messages":[]}\n' > b.jsonl
tokvault import v b.jsonl
