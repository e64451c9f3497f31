# An import that was interrupted and is called again when a pack is gone, or after repair gave it
# up, begins at the beginning, so that what is lost is stored again.
awk 'BEGIN {
  srand(1)
  for (n = 0; n < 2000; ++n) {
    printf "{\"id\":\"c%d\",\"created\":1,\"messages\":[{\"role\":\"user\",\"content\":\"", n
    for (i = 0; i < 12; ++i) printf "%x", int(rand() * 2147483648)
    print "\"}]}"
  }
}' > good.jsonl
sed '1500s/}$//' good.jsonl > a.jsonl
tokvault init v --tokenizer bytes
tokvault import v a.jsonl --batch 8K --log-size 64K --no-merge 2> /dev/null
echo "$?"
rm "$(ls v/packs/*.pack | tail -n 1)"
cp good.jsonl a.jsonl
cp -r v repaired
echo "-- the pack is gone"
tokvault import v a.jsonl --no-merge --json 2> /dev/null | grep -o '"already_imported":[0-9]*'
tokvault repair v > report
echo "$?"
tokvault export v | wc -l
echo "-- and given up"
tokvault repair repaired > report
echo "$?"
tokvault import repaired a.jsonl --no-merge --json | grep -o '"already_imported":[0-9]*'
tokvault export repaired | wc -l
