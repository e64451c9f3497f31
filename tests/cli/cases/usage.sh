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
