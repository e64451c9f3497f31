# Lines with and without ids in turn are one commit, whatever is replaced or refused.
messages() { echo "\"created\":1,\"messages\":[{\"role\":\"user\",\"content\":\"$1\"}]"; }
id() { echo "{\"id\":\"c$1\",$(messages "$2 $1")}"; }
none() { echo "{$(messages "of line $1")}"; }
batches() { tokvault dump $1/log/*.log | grep -c '^  at '; }
for i in $(seq 1 20); do id $i old; none $i; done > old.jsonl
for i in $(seq 1 20); do id $i new; none $i; done > new.jsonl
for v in replaced refused; do
  tokvault init $v --tokenizer bytes
  head -n 20 old.jsonl | tokvault import $v - | head -n 1
  batches $v
done
echo "-- replaced"
tokvault import replaced new.jsonl --replace | head -n 1
batches replaced
echo "-- refused"
tokvault import refused new.jsonl --skip-bad aside | head -n 1
wc -l < aside
batches refused
tokvault import refused new.jsonl
echo "$?"
echo "-- a line keeps its second id when the other file is forgotten"
for i in 1 2 3; do none $i; done > a.jsonl
sed 's/line 3/another/' a.jsonl > b.jsonl
tokvault init v --tokenizer bytes
tokvault import v a.jsonl b.jsonl | head -n 1
tokvault forget v "$(tokvault list v --json | grep -o 'line-3-[0-9a-f]*' | head -n 1)"
tokvault import v b.jsonl | head -n 1
tokvault import v b.jsonl | head -n 1
echo "-- a file that grows, and another --max-line"
(none 1; none "2, and it is long: $(seq -s ' ' 9999)"; none 3) > grown.jsonl
printf %s "$(head -n 1 grown.jsonl)" > one.jsonl
tokvault init w --tokenizer bytes
tokvault import w one.jsonl | head -n 1
tokvault import w grown.jsonl | head -n 1
sed 's/line 1/another/' grown.jsonl | tokvault import w - | head -n 1
(sed -n 2p grown.jsonl; none 3) > long.jsonl
for size in 1K 1M 1K; do
  tokvault import w long.jsonl --max-line $size --skip-bad bad | head -n 1
done
