# Nothing is there: exit status 3, and nothing is made.
try() {
  tokvault "$@"
  echo "$?"
}
try get v a
try list v
try export v
try export v -o out.jsonl
try stats v
try tag v a +b
try forget v a
try forget v a --dry-run
try gc v
try compact v
try check v
try repair v
try dump v/log/1
try import v absent.jsonl
try get v a --json
ls
