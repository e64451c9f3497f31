tokvault init v --tokenizer bytes
tokvault init v --tokenizer bytes
echo "$?"
tokvault init w --tokenizer bytes --json
tokvault init x --tokenizer nothing_like_it 2> /dev/null
echo "$?"
mkdir -p full/of
tokvault init full --tokenizer bytes 2> /dev/null
echo "$?"
mkdir empty
tokvault init empty --tokenizer bytes
touch file
tokvault init file --tokenizer bytes 2> /dev/null
test "$?" != 0 && echo refused
tokvault list v
tokvault stats v --by model
tokvault get v a
echo "-- what is made inside a vault or a store would go with it"
seq 1 600 > prompt.ids
head -c 600 /dev/zero > 600.bin
tokvault kv put s --namespace n --tokens prompt.ids --payload 600.bin > /dev/null
ln -s v/log link
for folder in v/new v/cache ./v/../v/log/new link/new s/new; do
  tokvault init "$folder" --tokenizer bytes
  echo "$?"
done
for folder in v/new v/log/new s/new; do
  tokvault kv put "$folder" --namespace n --tokens prompt.ids --payload 600.bin
  echo "$?"
done
ls v s | grep -c new
touch v/else
tokvault init v --tokenizer bytes
rm v/else
tokvault init s.new --tokenizer bytes
echo "-- what .. means behind a link: log and catalog are those of one folder"
mkdir -p elsewhere/dir
ln -s elsewhere/dir way
for folder in u elsewhere/u; do
  tokvault init "$folder" --tokenizer bytes
  printf '{"id":"of %s","messages":[]}\n' "$folder" | tokvault import "$folder" - > /dev/null
done
tokvault export way/../u
tokvault check way/../u
