# Standard streams that are closed: nothing of the vault takes their place.
tokvault init v --tokenizer bytes
echo '{"id":"a","messages":[]}' > a.jsonl
tokvault import v - <&-
echo "$?"
tokvault import v a.jsonl >&-
echo "$?"
tokvault tag v a +x >&-
echo "$?"
tokvault tag v a +y 2>&- <&-
tokvault tag v a +z >&- 2>&- <&-
echo "$?"
tokvault import v - 2>&- <&-
echo "$?"
tokvault list v --json | grep -o '"tags":.*]'
tokvault check v --read-data
