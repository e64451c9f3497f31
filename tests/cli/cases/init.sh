tokvault init v --tokenizer bytes
tokvault init v --tokenizer bytes
echo "$?"
tokvault init w --tokenizer bytes --json
tokvault init x --tokenizer nothing_like_it 2> /dev/null
echo "$?"
mkdir -p full/of
tokvault init full --tokenizer bytes 2> /dev/null
echo "$?"
mkdir empty
tokvault init empty --tokenizer bytes
touch file
tokvault init file --tokenizer bytes 2> /dev/null
test "$?" != 0 && echo refused
tokvault list v
tokvault stats v --by model
tokvault get v a
