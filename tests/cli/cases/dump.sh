tokvault init v --tokenizer bytes
tokvault import v "$EXAMPLES/conversations.jsonl" | head -n 1
log=$(find v/log -type f | head -n 1)
tokvault dump "$log" | head -n 1
tokvault dump "$log" --json | head -c 1
echo
tokvault compact v > /dev/null
pack=$(find v/packs -type f | head -n 1)
tokvault dump "$pack" | head -n 1
echo "not of a vault" > file
tokvault dump file
echo "$?"
tokvault dump v
echo "$?"
cp "$pack" my.pack
printf xxxx | dd of=my.pack conv=notrunc 2> written
tokvault dump my.pack
echo "$?"
# What is damaged is described as far as it goes.
cp "$pack" bad.pack
printf xxxx | dd of=bad.pack bs=1 seek=100 conv=notrunc 2> written
tokvault dump bad.pack | grep -c 'BAD CHECKSUM'
tokvault dump bad.pack > described
echo "$?"
tokvault dump v/catalog.db | grep -v -e '^sha256' -e '^vault' -e '^  pack' -e '^  log'
tokvault dump v/catalog.db --json | grep -o '"records":.*'
mkdir other
head -c 1500 v/catalog.db > other/catalog.db
tokvault dump other/catalog.db | head -n 2
tokvault dump other/catalog.db > described
echo "$?"
echo garbage > other/catalog.db
tokvault dump other/catalog.db > described
echo "$?"
: > other/catalog.db
tokvault dump other/catalog.db > described
echo "$?"
printf 'SQLite format 3\0%100s' > other/some.db
tokvault dump other/some.db
echo "$?"
cp "$EXAMPLES/conversations.jsonl" other/00112233445566778899aabbccddeeff.tiktoken
tokvault dump other/00112233445566778899aabbccddeeff.tiktoken | head -n 1
tokvault dump other/00112233445566778899aabbccddeeff.tiktoken > described
echo "$?"
tokvault init w --tokenizer bytes
for i in 1 2; do
  echo '{"messages":[{"role":"user","content":"text '$i'"}]}' | tokvault import w - > imported
done
log=$(find w/log -type f | head -n 1)
tokvault dump "$log" | tail -n 1
size=$(tokvault dump "$log" | sed -n 's/^  at \([0-9]*\):.*/\1/p' | head -n 1)
printf xxxx | dd of="$log" bs=1 seek=$((size + 50)) conv=notrunc 2> written
tokvault dump "$log" > described
echo "$?"
tail -n 1 described
tokvault dump v/lock --json
