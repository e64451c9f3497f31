tokvault init v --tokenizer bytes
tokvault import v "$EXAMPLES/conversations.jsonl" | head -n 1
tokvault export v -o out.jsonl
cmp out.jsonl "$EXAMPLES/conversations.jsonl" && echo same
tokvault export v | cmp - out.jsonl && echo same
tokvault compact v > /dev/null
tokvault export v | cmp - out.jsonl && echo "same after compact"
echo before > kept
tokvault export v --model none -o kept --json
wc -c < kept
tokvault export v -o absent/out.jsonl
echo "$?"
tokvault export v -o .
echo "$?"
for file in v/catalog.db v/new ./v/log/../packs/new; do
  tokvault export v -o "$file"
  echo "$?"
done
ln -s v/catalog.db link
tokvault dupes v -o link --json
echo "$?"
tokvault import v "$EXAMPLES/conversations.jsonl" --skip-bad v/bad.jsonl
echo "$?"
tokvault export v | cmp - out.jsonl && echo "still the same"
ls
echo "-- names of files are shown as others are"
name=$(printf 'a\nb\033[2J')
tokvault export v -o "$name" | sed 's/, .* to/ to/'
tokvault init "$name-v" --tokenizer bytes
