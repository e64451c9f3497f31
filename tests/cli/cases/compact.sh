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
