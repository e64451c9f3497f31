# YYYY and YYYY-MM are dates too.
tokvault init v --tokenizer bytes
for time in 2025-12-31T23:59:59Z 2026-01-01T00:00:00Z 2026-02-28T10:00:00Z 2026-03-01T00:00:00Z; do
  echo "{\"id\":\"$time\",\"created\":\"$time\",\"messages\":[]}"
done > a.jsonl
tokvault import v a.jsonl | head -n 1
ids() {
  echo "-- $*"
  tokvault list v --json "$@" | grep -o '"id":"[^"]*"'
}
ids --since 2026
ids --until 2026
ids --since 2026-02 --until 2026-03
ids --since 2026-03-01
ids --since 1772000000
ids --until 1772000000000
