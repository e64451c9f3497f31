tokvault init v --tokenizer bytes
printf 'a long prompt that several evaluations share, word for word, ' > prompt
printf 'because each of them begins with it.' >> prompt
printf 'short' > short
printf '[7, 8, 9]' > ids
printf '\001\002' > blob
tokvault segment put v prompt short --holder eval-1
tokvault segment put v prompt short --holder eval-1
tokvault segment put v ids --as tokens --json
tokvault segment put v blob --as bytes
P=$(tokvault segment put v prompt --holder eval-2 --json | sed 's/.*"id":"\([^"]*\)".*/\1/')
S=$(tokvault segment list v --holder eval-1 | sed -n 's/\(tokens:[0-9a-f]*\)  5 tokens.*/\1/p')
tokvault segment get v $P; echo
tokvault segment get v $S --as tokens
tokvault segment get v $S $P --json | cut -c 1-150
tokvault segment has v $S
tokvault segment has v $S tokens:$(printf '%064d' 0) --json; echo "exit $?"
printf '{"id":"c","messages":[{"role":"user","content":"%s"}]}\n' "$(cat prompt)" > c.jsonl
tokvault import v c.jsonl
tokvault segment has v $P
tokvault segment list v
tokvault segment list v --holder eval-2 --json
tokvault segment hold v $S --holder eval-2
tokvault segment hold v $S --holder eval-2 --json
tokvault segment release v --all --holder eval-1
tokvault segment release v $S --holder eval-2
tokvault segment garbage v
tokvault segment collect v --dry-run
tokvault segment collect v --json | sed 's/"bytes_.*//'
tokvault segment garbage v --json
tokvault segment get v $S; echo "exit $?"
tokvault segment replace v $P --level dense > /dev/null && echo replaced
tokvault segment has v $P
tokvault stats v | grep held
tokvault check v
tokvault segment list v --tenant acme
# Of another tenant, and of none; collect is for all of them, as gc is.
tokvault segment put v prompt short --tenant acme --holder x > /dev/null
tokvault segment release v --all --tenant acme --holder x
tokvault segment garbage v --tenant acme | wc -l
tokvault segment collect v --dry-run | head -n 1
for action in list garbage 'release --all' 'has bytes:0' 'collect'; do
  tokvault segment ${action%% *} v $(echo "$action" | sed -n 's/^[a-z]* //p') --tenant nope
  echo "exit $?"
done
