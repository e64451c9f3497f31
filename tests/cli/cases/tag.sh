tokvault init v --tokenizer bytes
printf '{"id":"%s","messages":[]}\n' a b -c > a.jsonl
tokvault import v a.jsonl
tokvault tag v a b +good +later
tokvault tag v a -later --add "with space" --json
tokvault tag v -h > /dev/null && echo help
tokvault tag v a --remove good
tokvault tag v +odd -- -c
tokvault tag v a missing +never
echo "$?"
tokvault list v --json | grep -o '"id":"[^"]*"\|"tags":.*]'
