# What damage may have taken is not left out in silence.
tokvault init v --tokenizer bytes
for id in a b c; do
  message="{\"role\":\"user\",\"content\":\"of $id\"}"
  echo "{\"id\":\"$id\",\"created\":1,\"messages\":[$message]}" > $id.jsonl
  tokvault import v $id.jsonl > imported
done
log=v/log/00000001.log
size=$(wc -c < $log)
printf '\377' | dd of=$log bs=1 seek=$((size - 3)) conv=notrunc 2> written
tokvault sql v "select count(*) from conversations"
echo "$?"
tokvault sql v "select conversation, text from messages where conversation = 'a'"
echo "$?"
tokvault sql v "select conversation, text from messages" --keep-going
echo "$?"
tokvault sql v "select name from files where damage is not null"
echo "$?"
