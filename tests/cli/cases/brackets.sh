# Ids, tags and files are what they are, with brackets as well.
tokvault init v --tokenizer bytes
mark=$(printf '\001')
printf '{"id":"%s","messages":[]}\n' a1 a2 '[a1,a2]' '[]' '{}' '\u0001x' > '[a,b].jsonl'
tokvault import v '[a,b].jsonl' | head -n 1
tokvault get v '[a1,a2]' '[]' '{}' "${mark}x"
tokvault tag v '[a1,a2]' '+[x,y]' --add '[z]'
tokvault list v --tag '[x,y]' --tag='[z]' --json | grep -o '"id":"[^"]*"'
tokvault tag v '[a1,a2]' '-[x,y]' --remove='[z]'
tokvault get v -- '[a1,a3]' "${mark}y"
echo "$?"
tokvault forget v '[a1,a2]'
tokvault list v --json | grep -o '"id":"[^"]*"'
