# The catalog can be lost.
tokvault init v --tokenizer bytes
tokvault import v "$EXAMPLES/conversations.jsonl" | head -n 1
tokvault tag v support-0001 +kept > /dev/null
tokvault compact v > /dev/null
printf '{"id":"late","messages":[]}\n' | tokvault import v - | head -n 1
tokvault export v > before
rm -f v/catalog.db*
tokvault repair v | grep -o 'sound'
tokvault export v | cmp - before && echo same
tokvault list v --tag kept --json | grep -o '"id":"[^"]*"'
tokvault repair v --json | grep -o '"sound":true'
