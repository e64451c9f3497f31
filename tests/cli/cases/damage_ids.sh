# A damaged log has lost a tag: what is not known stops `tag` before it changes anything, and
# `forget` takes what is in doubt with the rest.
tokvault init v --tokenizer bytes
for id in a b c d; do
  message="{\"role\":\"user\",\"content\":\"of $id\"}"
  echo "{\"id\":\"$id\",\"created\":1,\"messages\":[$message]}" > $id.jsonl
  tokvault import v $id.jsonl > imported
done
cp -r v w
tokvault tag v a +lost > tagged
log=v/log/00000001.log
size=$(wc -c < $log)
printf '\377' | dd of=$log bs=1 seek=$((size - 3)) conv=notrunc 2> written
tokvault tag v b a +reviewed
echo "$?"
tokvault list v --keep-going --json 2> /dev/null | grep -o '"id":"[^"]*"\|"tags":.*]'
echo "-- and a conversation"
size=$(wc -c < w/log/00000001.log)
printf '\377' | dd of=w/log/00000001.log bs=1 seek=$((size - 3)) conv=notrunc 2> written
tokvault get w d > got 2> /dev/null
echo "$?"
for how in --dry-run --json; do
  tokvault forget w a d "$how"
  echo "$?"
done
for id in a b d; do
  tokvault get w $id 2> /dev/null
  echo "$?"
done
