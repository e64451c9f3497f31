# Calls that are wrong: exit status 2 and one line.
try() {
  tokvault "$@"
  echo "$?"
}
try
try frobnicate
try --frobnicate
try init
try init a b
try get v
try get v x --format xml
try list v --since yesterday
try list v --limit many
try import v
try import v f --level hard
try import v f --max-line 0
try import v f --log-size 12Q
try compact v --level 3
try tag v
try tag v a
try tag v a --ad x
try stats v --by colour
try forget v
try forget v --tenant t
try forget v a --model m
try forget v a --all
try stats v --model m
try export v --format csv
try tokenize --tokenizer bytes a b
try list v --since yesterday --json
try compact v --pack-size 0
try compact v --pack-size 1K
try dict train v --size 0
try forget v --all --model m
# What only the parser sees.
try list v --limit
try list v --limit=
try list v --limit 1 --limit 2
try list v w
try list v --json=x
try dupes v --ids -o x
try dupes v -o ''
try import v ''
try import v - --skip-bad ''
try list ''
try dump ''
try kv put
try kv frobnicate
try kv put '' --payload x
try kv stats s --limit 1
try kv
try dict --json
