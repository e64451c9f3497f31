# An import that stopped goes on behind what it had stored, if that is still the same.
tokvault init v --tokenizer bytes
line='{"id":"c&","messages":[{"role":"user","content":"this is number & of many"}]}'
seq 0 2999 | sed "s/.*/$line/" > good.jsonl
sed '2500s/}$//' good.jsonl > a.jsonl
tokvault import v a.jsonl --batch 16K
echo "$?"
cp good.jsonl a.jsonl
echo "-- goes on"
tokvault import v a.jsonl --batch 16K
echo "-- and is done: the next one starts anew"
tokvault import v a.jsonl --batch 16K
echo "-- changed behind its beginning"
tokvault init w --tokenizer bytes
sed '2500s/}$//' good.jsonl > a.jsonl
tokvault import w a.jsonl --batch 16K 2> /dev/null
sed '2000s/many/most/' good.jsonl > a.jsonl
tokvault import w a.jsonl --batch 16K
echo "$?"
tokvault import w a.jsonl --batch 16K --replace
tokvault export w | cmp - a.jsonl && echo same
