# All of a message, and nothing that a terminal would obey.
tokvault init v --tokenizer bytes
tokvault import v "$CASES/get_text.jsonl" | head -n 1
tokvault get v a --format text
tokvault get v "$(printf 'b\033[2J')" --format text
