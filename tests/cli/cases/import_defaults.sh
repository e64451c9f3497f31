# What lines do not say, the command line does; what comes out is what went in.
tokvault init v --tokenizer bytes
cat > a.jsonl <<END
{"id":"says","model":"own","application":"its own","messages":[]}
{"id":"silent","messages":[]}
END
tokvault import v a.jsonl --model given --application "given too" --tenant t
tokvault list v --tenant t --json | grep -o '"id".*"application":"[^"]*"'
tokvault list v
tokvault export v --tenant t
