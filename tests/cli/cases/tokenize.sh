printf 'a\xc3\xa9\n' > text
tokvault tokenize --tokenizer bytes text
tokvault tokenize --tokenizer bytes text --json
tokvault tokenize --tokenizer bytes text --count
tokvault tokenize --tokenizer bytes < text > ids
tokvault detokenize --tokenizer bytes ids | cmp - text && echo same
echo '[104, 105]' | tokvault detokenize --tokenizer bytes --json
echo '1 2 x' | tokvault detokenize --tokenizer bytes
echo "$?"
echo 256 | tokvault detokenize --tokenizer bytes
echo "$?"
tokvault tokenize --tokenizer bytes absent
echo "$?"
tokvault tokenize --tokenizer bytes .
echo "$?"
: > empty
tokvault tokenize --tokenizer bytes empty --count
printf 'IQ== 0\nIg== 1\n' > tiny.tiktoken
printf '!"' | tokvault tokenize --tokenizer tiny.tiktoken --json
