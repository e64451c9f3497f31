# A bad line stops the import; what came before it is stored.
tokvault init v --tokenizer bytes
cat > a.jsonl <<END
{"id":"a","messages":[]}
{"id":"b","messages":[]}
{"id":"c","messages":
{"id":"d","messages":[]}
END
tokvault import v a.jsonl
echo "$?"
tokvault list v --json | grep -c '"id"'
echo "-- put aside"
tokvault import v a.jsonl --skip-bad bad.jsonl
cat bad.jsonl
echo "-- not to standard output; - is no file of this name"
tokvault import v a.jsonl --skip-bad -
echo "$?"
ls
tokvault import v a.jsonl --skip-bad /dev/null > /dev/null
echo "$?"
echo "-- as JSON"
tokvault import v a.jsonl --skip-bad bad.jsonl --json
wc -l < bad.jsonl
echo "-- mended"
sed -i 's/"messages":$/"messages":[]}/' a.jsonl
tokvault import v a.jsonl
echo "-- not into what is read"
echo bad > b.jsonl
tokvault import v b.jsonl --skip-bad ./b.jsonl
echo "$?"
tokvault import v - --skip-bad b.jsonl < b.jsonl
echo "$?"
cat b.jsonl
# What is no text is shown as far as it is one.
name=$(printf 'x\377.jsonl')
echo junk > "$name"
tokvault import v "$name" --skip-bad aside.jsonl --json | grep -o '"bad_lines":.*'
