tokvault init v --tokenizer bytes
tokvault import v "$EXAMPLES/conversations.jsonl" --level fast | head -n 1
for level in fast balanced dense; do
  tokvault compact v --level $level > /dev/null && echo $level
  tokvault export v | cmp - "$EXAMPLES/conversations.jsonl" && echo same
done
tokvault compact v --json | grep -oE '"(files|dry_run|bytes_before|bytes_after)":' | sort
tokvault stats v --json | grep -oE '"packs":[1-9]' > /dev/null && echo packed
tokvault compact v --retrain --json |
  grep -oE '"(retrained|tenant|changed|reason|trials|saved_bytes)":' | sort
tokvault compact v --pack-size 16K --retrain --json |
  grep -oE '"artifact":"[a-z]*"|"chosen":true' | sort
tokvault compact v --pack-size 16K --retrain | head -n 1
tokvault check v --read-data > /dev/null && echo sound
echo "-- by age: packs of conversations of 80 and 100 minutes, 40 hours, 10 and 35 days"
tokvault init aged --tokenizer bytes
now=$(date +%s)
for minutes in 80 100 $((40 * 60)) $((10 * 24 * 60)) $((35 * 24 * 60)); do
  message="{\"content\":\"written $minutes minutes ago\"}"
  echo "{\"id\":\"$minutes\",\"created\":$((now - 60 * minutes)),\"messages\":[$message]}" |
    tokvault import aged - > /dev/null
  tokvault compact aged --older-than 2000 > /dev/null # the log alone
done
for age in 6w 4w 8d 30h 90m; do
  tokvault compact aged --older-than $age > /dev/null
  tokvault sql aged "select compacted, count(*) as packs, sum(conversations) as conversations
    from files where kind = 'pack' group by compacted" --json
done
