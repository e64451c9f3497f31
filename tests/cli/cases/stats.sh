tokvault init v --tokenizer bytes
cat > a.jsonl <<END
{"id":"1","model":"m1","application":"chat","created":"2026-01-01T10:00:00Z","messages":[{"role":"user","content":"hello"}]}
{"id":"2","model":"m2","application":"chat","created":"2026-01-01T11:00:00Z","messages":[{"role":"user","content":"hello"}]}
{"id":"3","model":"m1","application":"agent","created":"2026-01-02T00:00:00Z","messages":[{"role":"user","content":"other"},{"role":"user","content":"more"}]}
END
tokvault import v a.jsonl
tokvault stats v --by model
tokvault stats v --by day,model
tokvault stats v --by application --by day
tokvault stats v --by model --since 2026-01-02
tokvault stats v --by model,application,day --application chat --json
echo "-- all"
tokvault stats v | grep -E '^(tokenizer|conversations|messages|tokens)'
tokvault stats v --json | grep -oE '"(tokenizer|conversations|messages|tokens_logical)":[^,]*'
