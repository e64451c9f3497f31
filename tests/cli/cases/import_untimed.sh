# Lines whose time is not understood get the time of the import, and are counted.
tokvault init v --tokenizer bytes
n=0
for time in '"created":"21.11.2026"' '"created_at":{"s":1}' '"timestamp":"1760000000"' \
    '"created":1760000000000000000' '"timestamp":true' '"created":[1,2,3,4,5,6,7,8,9]' \
    '"created":"yesterday","created_at":0,"timestamp":null'; do
  n=$((n + 1))
  echo "{\"id\":\"unknown $n\",$time,\"messages\":[]}"
done > unknown.jsonl
for time in '"created":1760000000' '"created":"?","created_at":"?","timestamp":"2026-11-21"' \
    '"created":0' '"created_at":null' '"timestamp":""' '"time":"?"' '"x":{"created":"?"}' \
    '"created":"2026-11-21","timestamp":"?"' '"x":"\"created\":"'; do
  n=$((n + 1))
  echo "{\"id\":\"none or known $n\",$time,\"messages\":[]}"
done > known.jsonl
counts() {
  tokvault import v "$@" | grep -v " MB/s"
}
counts known.jsonl
counts unknown.jsonl
head -n 1 unknown.jsonl > one.jsonl
counts one.jsonl
echo '{"id":"unknown 1","created":"?","messages":[]}' >> one.jsonl
tokvault import v one.jsonl known.jsonl --skip-bad bad --json | grep -o '"bad":1\|"untimed":[0-9]*'
tokvault export v > out.jsonl
cat known.jsonl unknown.jsonl | cmp - out.jsonl && echo "stored as they are"
