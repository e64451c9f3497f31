# 17 and "17" are one id; the line keeps what it had.
tokvault init v --tokenizer bytes
echo '{"id":17,"messages":[]}' | tokvault import v - | head -n 1
tokvault get v 17
echo '{"id":"17","messages":[]}' | tokvault import v -
