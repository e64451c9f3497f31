# What cannot be written is said.
tokvault version > /dev/full
echo "$?"
tokvault init v --tokenizer bytes
echo '{"id":"a","messages":[]}' | tokvault import v - | head -n 1
tokvault export v > /dev/full
echo "$?"
tokvault export v -o /dev/full
echo "$?"
