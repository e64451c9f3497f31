# Lines without ids: importing them again, grown or from another file that begins alike.
line() { echo "{\"messages\":[{\"role\":\"user\",\"content\":\"$1\"}]}"; }
ids() { tokvault list v --json | sed 's/.*"id":"line-\([0-9]*\)-\([^"]*\)".*/\1 \2/'; }
for i in 1 2 3; do line "text $i"; done > a.jsonl
tokvault import v a.jsonl
ids
echo "-- again, and grown"
line "text 4" >> a.jsonl
tokvault import v a.jsonl
echo "-- another that begins alike: one id of its own"
sed 's/text 3/other/' a.jsonl > b.jsonl
tokvault import v b.jsonl
tokvault import v b.jsonl --batch 1
tokvault import v a.jsonl --replace
ids
echo "-- the first line is another"
sed 's/text 1/other/' a.jsonl > c.jsonl
tokvault import v c.jsonl
ids | cut -d' ' -f2 | sort | uniq -c
echo "-- of another model: the same lines"
tokvault import v a.jsonl --model m; echo $?
tokvault import v a.jsonl --model m --replace
tokvault list v --model m | wc -l
echo "-- with and without, interrupted"
(line "text 1"; echo '{"id":"x","messages":[]}'; line "other still"; line "end") > d.jsonl
sed '4s/}$//' d.jsonl > e.jsonl
tokvault import v e.jsonl --batch 1 --tenant t 2> /dev/null
cp d.jsonl e.jsonl
tokvault import v e.jsonl --batch 1 --tenant t --json | grep -o '"already_imported":[0-9]*'
tokvault import v d.jsonl --tenant t
tokvault export v --tenant t | wc -l
