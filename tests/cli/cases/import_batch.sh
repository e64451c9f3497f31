# A batch also ends at 131,072 messages and values; the next one may again be as large as there is.
many=$(yes '{},' | head -n 70000 | tr -d '\n')
for i in 1 2 3; do echo "{\"id\":\"c$i\",\"messages\":[$many{}]}"; done > a.jsonl
tokvault init v --tokenizer bytes
timeout 60 tokvault import v a.jsonl --batch 18446744073709551615 | head -n 1
