# Exit statuses that a script sees seldom: of a newer version, of a change by others, of Ctrl-C.
tokvault init v --tokenizer bytes
line='{"id":"c&","messages":[{"role":"user","content":"this is number & of many"}]}'
seq 0 2999 | sed "s/.*/$line/" > a.jsonl
echo "-- unsupported"
golden=$CASES/../../golden
cp -r $golden/v1/bytes newer
cp $golden/bad/log_version_2 newer/log/00000001.log
tokvault list newer
echo "$?"
tokvault dump newer/log/00000001.log --json
echo "$?"
echo "-- conflict: a pipe that begins as one that was interrupted"
sed '2500s/}$//' a.jsonl | tokvault import v - --batch 16K
echo "$?"
sed '2000s/many/most/' a.jsonl | tokvault import v - --batch 16K
echo "$?"
tokvault get v c1998 c1999
tokvault import v - --batch 16K < a.jsonl | head -n 1
echo "-- conflict: a dictionary that is needed"
id=$(tokvault dict train v --size 1K --activate --json | sed 's/.*"id":\([0-9]*\).*/\1/')
printf '{"id":"d","messages":[{"content":"this is number 3000 of many"}]}\n' > d.jsonl
tokvault import v d.jsonl --log-size 1K | head -n 1
tokvault dict retire v "$id" 2> why
echo "$?"
tokvault dict retire v "$id" --json 2>> why
echo "$?"
sed 's/[0-9]*\.\(artifact\|log\|pack\)/#.\1/g' why
tokvault dict list v --json | grep -c '"files":1'
echo "-- cancelled: a query without an end, of which a row was read"
cat > interrupted.py <<'PYTHON'
import signal, subprocess, sys
query = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
print(query.stdout.readline().strip())
query.send_signal(signal.SIGINT)
for _ in query.stdout:
    pass
print(query.stderr.read().strip())
print(query.wait())
PYTHON
endless='with recursive n(i) as (select 1 union all select i + 1 from n) select i from n'
python3 -B interrupted.py tokvault sql v "$endless" --format csv
python3 -B interrupted.py tokvault sql v "$endless" --json
