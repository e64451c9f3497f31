# What comes through a pipe that pauses is stored before the pipe ends.
tokvault init v --tokenizer bytes
mkfifo pipe
tokvault import v - < pipe > summary &
exec 3> pipe
echo '{"id":"a","messages":[]}' >&3
for i in $(seq 100); do
  tokvault get v a 2> /dev/null && break
  sleep 0.1
done
echo '{"id":"b","messages":[]}' >&3
exec 3>&-
wait
head -n 1 summary
