tokvault init v --tokenizer bytes
{
  echo '{"id":"a","messages":[]}'
  printf '{"id":"b","messages":[{"content":"'
  head -c 3000 /dev/zero | tr '\0' x
  echo '"}]}'
  echo '{"id":"c","messages":[]}'
} > a.jsonl
tokvault import v a.jsonl --max-line 2K
echo "$?"
tokvault import v a.jsonl --max-line 2K --skip-bad bad.jsonl
tokvault import v a.jsonl --max-line 4K
# What was put aside is the line as it was.
sed -n 2p a.jsonl | cmp - bad.jsonl && echo same
{ echo bad1; head -c 300000 /dev/zero | tr '\0' y; echo; sed -n 2p a.jsonl; echo bad4; } > b.jsonl
tokvault import v b.jsonl --max-line 2K --skip-bad rest.jsonl | head -n 1
sort b.jsonl > b.sorted
sort rest.jsonl | cmp - b.sorted && echo same
