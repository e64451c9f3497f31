# Beside a pack that is damaged an import stores what it is given and says that packs were not
# merged, once there are enough of them.
random() {
  awk -v seed="$1" 'BEGIN {
    srand(seed)
    printf "{\"id\":\"r%d\",\"created\":1,\"messages\":[{\"role\":\"user\",\"content\":\"", seed
    for (i = 0; i < 40000; ++i) printf "%x", int(rand() * 2147483648)
    print "\"}]}"
  }'
}
tokvault init v --tokenizer bytes
for i in 1 2; do
  random $i | tokvault import v - --log-size 64K --no-merge | head -n 1
done
pack=$(ls v/packs/*.pack | head -n 1)
printf '\377\377\377\377' | dd of="$pack" bs=1 seek=1000 conv=notrunc 2> written
random 3 > 3.jsonl
tokvault import v 3.jsonl --log-size 64K
echo "$?"
tokvault get v r3 | cmp - 3.jsonl && echo same
tokvault get v r1
echo "$?"
