tokvault init v --tokenizer bytes
cat > a.jsonl <<END
{"id":"a","model":"m1","application":"app","created":1700000000,"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"hi"}]}

{"id":"b","messages":[]}
{"messages":[{"role":"user","content":"no id"}]}
END
tokvault import v a.jsonl
echo "-- once more"
tokvault import v a.jsonl
echo "-- together with another"
printf '{"id":"c","messages":[]}' > b.jsonl
tokvault import v a.jsonl b.jsonl --json
tokvault list v
echo "-- as it was"
tokvault export v
