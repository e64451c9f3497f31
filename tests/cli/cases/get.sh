tokvault init v --tokenizer bytes
cat > a.jsonl <<END
{"id":"a","model":"m","application":"app","created":1700000000,"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"h\u00e9 \ud83d\ude00\n"},{"role":"assistant","content":null,"tool_calls":[{"id":"t1","function":{"name":"f","arguments":"{}"}}]}],"usage":{"total":1.50,"x":1e400}}
{"id":"-b","messages":[{"content":[1,2,3]}]}
END
tokvault import v a.jsonl
tokvault get v a
tokvault get v --format text a
tokvault get v --format tokens -- a -b
tokvault get v --format text -- -b a
echo "-- some that are not there"
tokvault get v a x y
echo "$?"
tokvault get v x --json
echo "$?"
tokvault get v a --tenant other
echo "$?"
