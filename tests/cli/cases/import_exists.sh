# The same id with other content stops the import, takes its place, or is put aside.
tokvault init v --tokenizer bytes
cat > a.jsonl <<END
{"id":"a","messages":[]}
{"id":"b","messages":[{"role":"user","content":"first"}]}
END
cat > b.jsonl <<END
{"id":"b","messages":[{"role":"user","content":"second"}]}
{"id":"c","messages":[]}
END
tokvault import v a.jsonl
tokvault import v b.jsonl
echo "$?"
tokvault get v b
echo "-- what comes after it is not stored"
tokvault list v | grep -c '^c'
tokvault import v b.jsonl --skip-bad bad.jsonl
cat bad.jsonl
tokvault import v b.jsonl --replace
tokvault get v b
echo "-- the order is that of the first version"
tokvault export v
