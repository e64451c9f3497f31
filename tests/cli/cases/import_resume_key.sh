# How far an import has come holds for the same tenant, defaults and --replace only.
line='{"messages":[{"role":"user","content":"this is number & of many"}]}'
seq 0 2999 | sed "s/.*/$line/" > good.jsonl
sed '2500s/}$//' good.jsonl > bad.jsonl
for other in "--tenant t" "--model m" "--application m" --replace; do
  echo "-- $other"
  tokvault init v --tokenizer bytes
  cp bad.jsonl a.jsonl
  tokvault import v a.jsonl --batch 16K 2> /dev/null
  cp good.jsonl a.jsonl
  tokvault import v a.jsonl --batch 16K $other --json | grep -o '"already_imported":[0-9]*'
  tokvault import v a.jsonl --batch 16K --json | grep -o '"already_imported":[0-9]*'
  rm -r v
done
tokvault init v --tokenizer bytes
cp bad.jsonl a.jsonl
tokvault import v a.jsonl --batch 16K 2> /dev/null
tokvault import v good.jsonl --batch 16K --tenant t > /dev/null
tokvault export v --tenant t | wc -l
