# A pack is gone: readers answer what the others prove, writers say so and go on, nothing is
# rewritten, and repair gives it up.
tokvault init v --tokenizer bytes
for n in 1 2 3; do
  message="{\"role\":\"user\",\"content\":\"$(seq ${n}000 ${n}999 | tr '\n' ' ')\"}"
  printf '%s\n' "{\"id\":\"c$n\",\"created\":1,\"messages\":[$message]}" > $n.jsonl
  tokvault import v $n.jsonl --log-size 1K > imported
done
tokvault sql v "select kind, conversations from files where kind = 'pack'"
rm "$(ls v/packs/*.pack | sed -n 2p)"
for id in c1 c2 c3 c4; do
  tokvault get v $id --format text | cut -c 1-40
  tokvault get v $id > got
  echo "$?"
done
tokvault list v
echo "$?"
tokvault list v --keep-going
echo "$?"
tokvault stats v --by day --keep-going --json
echo "$?"
tokvault sql v "select id from conversations" --keep-going
echo "$?"
tokvault sql v "select kind, conversations, damage from files where kind = 'pack'"
echo "-- check says what is lost, and repair what it gives up"
tokvault check v
echo "$?"
tokvault check v --json
echo "$?"
cp -r v given_up
tokvault repair given_up
echo "$?"
tokvault check given_up
echo "$?"
tokvault get given_up c2
echo "$?"
echo "-- it is stored again"
tokvault import v 2.jsonl | head -n 1
tokvault get v c2 --format text | cut -c 1-40
tokvault gc v
echo "$?"
tokvault repair v
echo "$?"
tokvault list v
tokvault import v 2.jsonl | head -n 1
tokvault get v c2 --format text | cut -c 1-40
echo "-- what needs a text of it has an id"
tokvault init shared --tokenizer bytes
tokvault import shared 1.jsonl --log-size 1K > imported
sed 's/"id":"c1"/"id":"of the same text"/' 1.jsonl | tokvault import shared - > imported
rm shared/packs/*.pack
tokvault check shared
echo "$?"
tokvault check shared --json | grep -o '"lost.*'
tokvault repair shared
echo "$?"
