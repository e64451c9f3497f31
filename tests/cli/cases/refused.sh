# What could mean something else than it says is refused, and nothing is changed.
tokvault init v --tokenizer bytes
printf '{"id":"%s","model":"m","messages":[]}\n' a b > a.jsonl
tokvault import v a.jsonl | head -n 1
try() {
  tokvault "$@"
  echo "$?"
}
echo "-- empty values are not any value"
for option in --model --application --tag; do
  try forget v $option ''
  try list v $option ''
done
try export v --model=
try stats v --by model --tag ''
try list v --tenant ''
try import v a.jsonl --tenant ''
echo "-- numbers that are no times"
try list v --since 20261121
try list v --since 202611
try list v --until -1
try list v --until 0
echo "-- bytes that are no text"
bad=$(printf 'x\377')
try tag v a "+$bad"
try tag v a --remove "$bad"
try list v --tag "$bad"
try import v a.jsonl --tenant "$bad"
try list v --tenant "$bad" --json
echo "-- contradictions"
mkdir folder
try import v a.jsonl --skip-bad folder
rmdir folder
try tag v a +z +y -z
try init w --tokenizer o200k_base --pattern o200k_base
try tokenize --tokenizer bytes --pattern o200k_base
try get v a --format text --json
echo "-- numbers"
try list v --limit -1
try list v --limit 0x10
try list v --limit 18446744073709551616
try import v a.jsonl --threads 1e3
try compact v --older-than 5x
try compact v --older-than -3d
echo "-- shown as they were given"
try list -- v '[x'
try list v '[x'
try '[x]'
ls
tokvault list v --json | grep -o '"id":"[^"]*"\|"tags":.*]'
