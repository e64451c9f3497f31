# Damage is found: exit status 5.
tokvault init v --tokenizer bytes
tokvault import v "$EXAMPLES/conversations.jsonl" | head -n 1
tokvault check v | grep -o 'conversations.*' | sed 's/[0-9,]* segments/# segments/'
tokvault check v --read-data --json | grep -oE '"(sound|conversations|lost_conversations)":[^,]*'
tokvault compact v > /dev/null
tokvault check v --read-data > /dev/null && echo sound
pack=$(find v/packs -type f | head -n 1)
size=$(wc -c < "$pack")
printf 'damage' | dd of="$pack" bs=1 seek=$((size / 2)) conv=notrunc 2> /dev/null
tokvault check v --read-data > found
echo "$?"
grep -c corrupt found | grep -v '^0$' > /dev/null && echo found
tokvault check v --read-data --json | grep -oE '"(sound|code)":[^,]*' | sort -u
