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
if "LABEL" in os.environ:
    drawn = ("\r%s  " % os.environ["LABEL"]).encode() in text
    print(status, os.environ["LABEL"], drawn, text.endswith(b"\r\x1b[K"))
    sys.exit()
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
# Commands that wait: for whoever reads what they print, for a reader of the catalog at their
# commit, and for its writer before they can read it.
cat > while_held.py <<'PYTHON'
import sqlite3, subprocess, sys, time
catalog = sqlite3.connect(sys.argv[1], isolation_level=None)
catalog.execute(sys.argv[2])
catalog.execute("select count(*) from sqlite_master").fetchall()
command = subprocess.Popen(sys.argv[3:])
time.sleep(2.3)
catalog.close()
command.wait()
PYTHON
tokvault import read "$EXAMPLES/conversations.jsonl" > /dev/null 2>&1
for vault in compacted checked; do cp -r read $vault; done
LABEL=export python3 -B on_terminal.py tokvault export read | { sleep 2.3; tail -n 1; } > 1 &
while_held() { # STATEMENT COMMAND VAULT
  python3 -B while_held.py $3/catalog.db "$1" python3 -B on_terminal.py tokvault $2 $3
}
LABEL=compact while_held begin compact compacted > 2 &
LABEL='tokvault check' while_held 'begin exclusive' check checked > 3 &
wait
for seen in 1 2 3; do tail -n 1 $seen; done
