# A vault has one writer; readers do not wait for it.
tokvault init v --tokenizer bytes
line='{"id":"c&","messages":[{"role":"user","content":"this is number & of many"}]}'
seq 0 1999 | sed "s/.*/$line/" > a.jsonl
mkfifo pipe
tokvault import v - --batch 1K < pipe > summary &
exec 3> pipe
cat a.jsonl >&3
# The import has stored something and waits for more.
i=0
until tokvault get v c0 2> /dev/null; do
  i=$((i + 1))
  test $i -gt 100 && break
  sleep 0.1
done
tokvault tag v c0 +x 2> message
echo "$?"
grep -c '^tokvault: ' message
tokvault tag v c0 +x --json 2>&1 | grep -o '"code":"[a-z]*"'
tokvault list v --limit 1 --json 2>&1 | grep -o '"id":"c0"'
tokvault gc v --dry-run
tokvault gc v 2>&1 | grep -c '^tokvault: '
exec 3>&-
wait
head -n 1 summary
tokvault tag v c0 +x
