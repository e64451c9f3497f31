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
ids --since 20260301T000000Z
ids --since 2026-060
ids --since 2026-W09-6T24:00
for time in 20260301 2026-02-29 2026-366 2025-W53-1; do
  tokvault list v --since $time
done
# What a line may say, and what is no time.
for time in 20261121T100000Z 2026-11-20T34:00:00Z 2026-11-20T24:00:00Z 2026-11 2026-325 \
    2026-W47-6 2026-W54-1; do
  echo "{\"id\":\"$time\",\"created\":\"$time\",\"timestamp\":1,\"messages\":[]}"
done > b.jsonl
tokvault import v b.jsonl --tenant b > /dev/null
tokvault list v --tenant b
echo "-- so long ago"
now=$(date +%s)
for minutes in 80 100 $((40 * 60)) $((10 * 24 * 60)) $((35 * 24 * 60)); do
  echo "{\"id\":\"$minutes\",\"created\":$((now - 60 * minutes)),\"messages\":[]}"
done > c.jsonl
tokvault import v c.jsonl --tenant c > /dev/null
for age in 90m 36h 7d 4w 1000000w; do
  tokvault list v --tenant c --since $age --json | wc -l
  tokvault export v --tenant c --until $age | wc -l
done
tokvault stats v --tenant c --since 2d --until 1h --by application
for age in 5x -3d 1.5h d 1000001d 17h30m; do
  tokvault list v --since=$age
done
tokvault forget v --tenant c --until 7d --dry-run
