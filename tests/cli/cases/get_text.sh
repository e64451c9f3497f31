# All of a message, and nothing that a terminal would obey.
tokvault init v --tokenizer bytes
tokvault import v "$CASES/get_text.jsonl" | head -n 1
tokvault get v a --format text
tokvault get v "$(printf 'b\033[2J')" --format text
echo "-- a surrogate that JSON has alone is no character for a terminal"
printf '%s\n' '{"id":"\ud800","created":1,"messages":[{"content":"a\udfff"}]}' > s.jsonl
tokvault import v s.jsonl | head -n 1
tokvault get v "$(printf '\355\240\200')" --format text
