# --ids-from of get, tag and forget: ids of a file or of standard input, as other commands print
# them.
tokvault init v --tokenizer bytes > /dev/null
odd=$(printf '%0100d' 7)
same='"messages":[{"role":"user","content":"same same same same same same same"}]'
for id in '"a"' '"b\u0007\n\u007f\u0085\u00e9"' '"{c"' '"\"d"' '"\ufeffe\\"' '" f \\n"' 17 \
    "\"$odd\""; do
  printf '{"id":%s,%s}\n' "$id" "$same"
done > a.jsonl
echo '{"id":"last","messages":[{"role":"user","content":"another"}]}' >> a.jsonl
tokvault import v a.jsonl | head -n 1
tokvault dupes v --ids > ids
cat ids
echo "-- what is printed is read"
tokvault dupes v --ids | tokvault get v --ids-from - | cut -d , -f 1
tokvault dupes v --ids --json | tokvault get v last --ids-from - | wc -l
tokvault export v | tokvault tag v --ids-from - +all --json | wc -l
tokvault list v --json --tag all | tokvault get v --ids-from - > all
tokvault export v | cmp - all && echo same
tokvault forget v --ids-from ids --dry-run --json
gzip ids
tokvault forget v --ids-from ids.gz last
tokvault list v --json | grep -o '"id":"[^"]*"'
echo "-- forms of lines"
printf '\n\r\n"\\u0061"\r\na' > forms
tokvault get v --ids-from forms | cut -d , -f 1
echo "$?"
tokvault tag v --ids-from forms +odd
echo "-- lines that are no ids: nothing is done"
try() {
  tokvault forget v --ids-from "$@"
  echo "$?"
}
for line in '"a","x":1' '"a' '{"model":"a"}' '{"id":[1]}' '{"id":"a"' '"a"}'; do
  printf 'a\n%s\n' "$line" | try -
done
printf 'a\n{' > bad
try bad --json
try nowhere
try .
{
  echo a
  head -c 70000000 /dev/zero | tr '\0' x
} | try -
yes 12345678901234567890123456789012 | head -n 3000000 | try -
echo "-- no ids are not all of them"
: > none
try none
try none --all
try none --model m
tokvault get v --ids-from none
tokvault tag v --ids-from none +x
tokvault get v
echo "$?"
tokvault get v --ids-from none --ids-from none
tokvault list v --json | grep -c '"id"'
