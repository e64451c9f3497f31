tokvault init v --tokenizer bytes
echo '{"id":"same","messages":[{"role":"user","content":"of the default tenant"}]}' > a.jsonl
echo '{"id":"same","messages":[{"role":"user","content":"of the tenant t"}]}' > b.jsonl
tokvault import v a.jsonl
tokvault import v b.jsonl --tenant t
tokvault get v same
tokvault get v same --tenant t
tokvault tag v same +mine --tenant t
tokvault list v --tag mine
tokvault forget v --all --tenant t
tokvault export v
tokvault export v --tenant t
