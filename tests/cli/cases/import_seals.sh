# What an import leaves in the log becomes a pack, unless it is little, or beside the packs.
digits() {
  awk -v first="$1" -v last="$2" 'BEGIN {
    n = 1
    for (i = first; i <= last; ++i) {
      text = ""
      for (k = 0; k < 12; ++k) { n = (n * 1103 + i + 12345) % 1000003; text = text " " n }
      printf "{\"id\":\"c%d\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}\n", i, text
    }
  }'
}
files() {
  tokvault stats v --json | grep -oE '"packs":[0-9]*'
  log=$(cat v/log/*.log | wc -c)
  if [ "$log" -lt 200 ]; then echo none
  elif [ "$log" -lt 65536 ]; then echo some
  else echo much; fi
}
digits 1 300 > a.jsonl
digits 1 40000 > b.jsonl
digits 40001 41500 > c.jsonl
tokvault init v
tokvault import v a.jsonl && files
tokvault import v b.jsonl && files
tokvault import v c.jsonl && files
tokvault export v > out.jsonl
cat b.jsonl c.jsonl | cmp - out.jsonl && echo same
tokvault check v --read-data > /dev/null && echo sound
