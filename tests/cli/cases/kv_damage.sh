# A damaged block is a miss, and so is what stands behind it, until it is taken out and put again.
seq 1 600 > prompt.ids
i=0
while [ $i -lt 600 ]; do
  printf '%064d' $i
  i=$((i + 1))
done > state.bin
tokvault kv put kv.store --tokens prompt.ids --payload state.bin
printf damage | dd of=kv.store/log-00000001 bs=1 seek=25000 conv=notrunc 2>/dev/null
tokvault kv match kv.store --tokens prompt.ids
tokvault kv get kv.store --tokens prompt.ids --output got.bin
head -c 16384 state.bin | cmp - got.bin && echo same
tokvault kv check kv.store
echo "$?"
tokvault kv put kv.store --tokens prompt.ids --payload state.bin
tokvault kv check kv.store --remove --json
tokvault kv match kv.store --tokens prompt.ids
tokvault kv explain kv.store --tokens prompt.ids
tokvault kv put kv.store --tokens prompt.ids --payload state.bin
tokvault kv get kv.store --tokens prompt.ids --output got.bin
cmp state.bin got.bin && echo same
tokvault kv check kv.store
tokvault kv check absent --remove
echo "$?"
ls
