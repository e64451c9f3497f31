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
tokvault dump v/catalog.db | head -n 1
tokvault dump v/lock --json
