# Blank lines are passed over, and counted by themselves; so is the end of lines of other systems.
tokvault init v --tokenizer bytes
printf '\n{"id":"a","messages":[]}\r\n  \t\r\n{"id":"b","messages":[]}' > a.jsonl
tokvault import v a.jsonl
tokvault import v a.jsonl --json
: > empty.jsonl
tokvault import v empty.jsonl | head -n 1
tokvault export v
