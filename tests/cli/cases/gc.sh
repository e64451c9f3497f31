# What was forgotten is in no file any more.
tokvault init v --tokenizer bytes
cat > a.jsonl <<END
{"id":"a","messages":[{"role":"user","content":"xylophones are what nobody may know of"}]}
{"id":"b","messages":[{"role":"user","content":"this one stays where it is, for good"}]}
END
tokvault import v a.jsonl
tokvault gc v --dry-run | head -n 1 | grep -o '0 forgotten.*'
tokvault forget v a
tokvault gc v --dry-run --json | grep -o '"dry_run":true'
tokvault gc v --json | grep -o '"conversations":[0-9]*'
tokvault get v b
grep -rl xylophones v
tokvault gc v --json | grep -o '"conversations":[0-9]*'
tokvault check v --read-data | grep -o sound
