# The file of bad lines: what it cannot be, and that no bad line is lost when an import is killed.
tokvault init v --tokenizer bytes > /dev/null
echo nonsense > a.jsonl
mkdir shut
chmod a-w shut
try() {
  tokvault import v a.jsonl --skip-bad "$1"
  echo "$?"
}
try /dev/full
try absent/bad
try a.jsonl/bad
try a.jsonl
try shut
# Only root may write there in spite of it.
if [ "$(id -u)" = 0 ]; then shut=/sys/bad; else shut=shut/bad; fi
tokvault import v a.jsonl --skip-bad $shut --json 2>&1 | sed "s,$shut,SHUT,"
try /dev/null | head -n 1
# A line that a killed import left unfinished is one by itself.
printf 'half a li' > bad
try bad > /dev/null
cat bad
# Nobody reads the pipe: the import waits, and is killed, before it counts as done what the vault
# refused.
echo '{"id":"a","messages":[]}' | tokvault import v - > /dev/null
{
  echo '{"id":"a","messages":[{"role":"user"}]}'
  for i in $(seq 100); do echo "{\"id\":\"b$i\",\"messages\":[]}"; done
} > b.jsonl
mkfifo pipe
tokvault import v b.jsonl --batch 1K --skip-bad pipe &
for attempt in $(seq 100); do
  sleep 0.1
  tokvault get v b1 > /dev/null 2>&1 && break
done
sleep 0.2
kill -9 $!
wait 2> /dev/null
tokvault import v b.jsonl --batch 1K --skip-bad refused > /dev/null
cat refused
tokvault list v --json | wc -l
