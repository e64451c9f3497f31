# On a terminal what takes longer than a second says how far it is, in one line that goes again;
# elsewhere nothing is said.
python3 -c 'import pty; pty.openpty()' 2> why || {
  tail -n 1 why >&2
  exit 77
}
cat > on_terminal.py <<'END'
import os, pty, subprocess, sys, threading
ours, theirs = pty.openpty()
seen = []
def read():
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            return
        if not part:
            return
        seen.append(part)
reader = threading.Thread(target=read)
reader.start()
status = subprocess.run(sys.argv[1:], stderr=theirs).returncode
os.close(theirs)
reader.join()
text = b"".join(seen)
print(status, text.count(b"\r") > 1, text[:text.find(b"  ")], text.endswith(b"\r\x1b[K"))
END
tokvault init v --tokenizer bytes
slowly() {
  echo '{"id":"a","messages":[]}'
  sleep 4
  echo '{"id":"b","messages":[]}'
  sleep 0.1
}
slowly | tee lines | python3 -B on_terminal.py tokvault import v - | sed 's/ in .*//'
tokvault import v lines --json | grep -o '"unchanged":2'
python3 -B on_terminal.py tokvault list v --json | grep -c '"id"'
# A step that says nothing for long, and a query.
mkfifo slow
slow_text() {
  {
    sleep 2.3
    echo "$1"
  } > slow &
}
slow_text ab
python3 -B on_terminal.py tokvault tokenize --tokenizer bytes slow
slow_text '{"id":"c","messages":[]}'
python3 -B on_terminal.py tokvault import v slow | sed 's/ in .*//'
{
  sleep 2.3
  echo 'select 1 as one'
} | python3 -B on_terminal.py tokvault sql v - --json
