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
