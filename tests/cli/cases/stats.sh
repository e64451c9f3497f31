tokvault init v --tokenizer bytes
cp "$CASES/stats.jsonl" a.jsonl
tokvault import v a.jsonl
tokvault stats v --by model
tokvault stats v --by day,model
tokvault stats v --by application --by day
tokvault stats v --by model --since 2026-01-02
tokvault stats v --by model,application,day --application chat --json
echo "-- all"
tokvault stats v | grep -E '^(tokenizer|conversations|messages|tokens)'
tokvault stats v --json | grep -oE '"(tokenizer|conversations|messages|tokens_logical)":[^,]*'
