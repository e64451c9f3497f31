# A pipe whose first line is bad has stored nothing: the same one is imported again, with that line
# put aside or mended.
tokvault init v --tokenizer bytes
for i in 1 2 3; do echo "{\"id\":\"c$i\",\"messages\":[]}"; done > good.jsonl
sed '1s/}$//' good.jsonl > bad.jsonl
tokvault import v - < bad.jsonl
echo "$?"
cat bad.jsonl | tokvault import v -
echo "$?"
cat bad.jsonl | tokvault import v - --skip-bad aside
cat good.jsonl | tokvault import v - | head -n 1
