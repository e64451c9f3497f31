# Inputs that are not JSON lines of conversations, and what the error says to do.
tokvault init v --tokenizer bytes
try() {
  tokvault import v "$@"
  echo "$?"
}
cat > pretty.json <<END
{
  "id": "a",
  "messages": []
}
END
try pretty.json
echo '[{"id":"a","messages":[]},{"id":"b","messages":[]}]' > array.json
try array.json
echo '{"id":"a","prompt":"Hello","completion":"Hello"}' | try -
echo 'id,text' | try -
printf '\375\067zXZ\000\000\004' > a.xz
printf 'BZh91AY&SY' > a.bz2
printf '\004\042\115\030d@' > a.lz4
printf 'PK\003\004\024\000' > a.zip
for file in a.xz a.bz2 a.lz4 a.zip; do try $file; done
try - < a.xz
try a.xz --skip-bad bad.jsonl --json
echo 'BZh9' | try - # a line like another
echo "-- in the second line"
{ echo '{"id":"a","messages":[]}'; cat array.json; } | try -
echo "-- which the vault refuses"
echo '{"id":"a","messages":[{"content":"another"}]}' | tee a.jsonl | try -
{ echo '{"id":"b","messages":[]}'; cat a.jsonl; } | try -
tokvault list v --json | grep -c '"id"'
