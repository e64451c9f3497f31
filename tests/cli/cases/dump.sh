tokvault init v --tokenizer bytes
tokvault import v "$EXAMPLES/conversations.jsonl" | head -n 1
log=$(find v/log -type f | head -n 1)
tokvault dump "$log" | head -n 1 | grep -ci log
tokvault dump "$log" --json | head -c 1
echo
tokvault compact v > /dev/null
pack=$(find v/packs -type f | head -n 1)
tokvault dump "$pack" | head -n 1 | grep -ci pack
echo "not of a vault" > file
tokvault dump file 2> /dev/null
test "$?" != 0 && echo refused
