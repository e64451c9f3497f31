# A vault has one writer; readers do not wait for it.
tokvault init v --tokenizer bytes
echo '{"id":"a","messages":[]}' | tokvault import v - | head -n 1
mkfifo pipe
tokvault import v - < pipe > /dev/null &
exec 3> pipe
i=0
while tokvault tag v a +x > /dev/null 2> message; do
  i=$((i + 1))
  test $i -gt 100 && break
  sleep 0.1
done
tokvault tag v a +x 2> /dev/null
echo "$?"
grep -c '^tokvault: ' message
tokvault get v a
exec 3>&-
wait
tokvault tag v a +x
