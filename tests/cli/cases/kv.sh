# The checkpoint store: every command that works on one, in the order of a state's life.
seq 1 600 > prompt.ids
seq 1 700 > longer.ids
(seq 1 300; seq 9001 9400) > branch.ids
head -c 38400 /dev/zero | tr '\0' s > state.bin
echo "-- put: new, known, extended"
tokvault kv put kv.store --namespace qwen --tokens prompt.ids --payload state.bin --budget 50M
tokvault kv put kv.store --namespace qwen --tokens prompt.ids --payload state.bin --json
head -c 44800 /dev/zero | tr '\0' s > longer.bin
tokvault kv put kv.store --namespace qwen --tokens longer.ids --payload longer.bin --codec zstd
echo "-- match and get"
tokvault kv match kv.store --namespace qwen --tokens branch.ids
tokvault kv match kv.store --namespace qwen --tokens - --json < longer.ids
tokvault kv get kv.store --namespace qwen --tokens longer.ids --output prefix.bin
cmp longer.bin prefix.bin && echo same
tokvault kv get kv.store --namespace qwen --tokens branch.ids --output - | wc -c
tokvault kv get kv.store --namespace other --tokens longer.ids
echo "$?"
echo "-- explain"
tokvault kv explain kv.store --namespace qwen --tokens branch.ids
seq 1 710 | tokvault kv explain kv.store --namespace qwen --tokens -
tokvault kv explain kv.store --namespace model=qwen,dtype=fp8 --tokens prompt.ids
tokvault kv explain kv.store --namespace qwen --tokens longer.ids --sidecar logits --json
echo "-- a state in one piece, by text and by tokens"
printf 'You are a helpful assistant.' > prompt.txt
printf 'You are a helpful assistant. Who are you?' > longer.txt
tokvault kv put kv.store --text prompt.txt --payload state.bin --json
tokvault kv put kv.store --text prompt.txt --tokens prompt.ids --state --payload longer.bin
tokvault kv match kv.store --text longer.txt
tokvault kv match kv.store --text longer.txt --json
tokvault kv get kv.store --text longer.txt --output - | head -n 1 | wc -c
tokvault kv get kv.store --tokens longer.ids --output got.bin --json
cmp longer.bin got.bin && echo same
echo "-- list, stats, check"
tokvault kv list kv.store | cut -d ' ' -f 1,3-
tokvault kv list kv.store --limit 1 --json
tokvault kv list kv.store --limit 0 | wc -l
tokvault kv stats kv.store --json | grep -o '"[a-z]*":[0-9]*,"segments"\|"budget_bytes":[0-9]*'
tokvault kv stats kv.store | grep blocks
tokvault kv check kv.store
tokvault kv check kv.store --json
echo "-- a smaller budget stays"
tokvault kv evict kv.store --budget 1M --bytes 1M
tokvault kv explain kv.store --namespace qwen --tokens prompt.ids
tokvault kv evict kv.store --expired --json
tokvault kv stats kv.store | grep budget
echo "-- where a payload cannot be written"
tokvault kv put kv.store --namespace qwen --tokens prompt.ids --payload state.bin
for file in kv.store/store kv.store/new /dev/full; do
  tokvault kv get kv.store --namespace qwen --tokens prompt.ids --output "$file"
  echo "$?"
done
# What stood there stays if something fails.
echo before > kept.bin
(ulimit -f 8; trap '' XFSZ
 tokvault kv get kv.store --namespace qwen --tokens prompt.ids --output kept.bin)
echo "$?"
cat kept.bin
ls | grep -c part
tokvault kv get kv.store --namespace qwen --tokens prompt.ids -o kept.bin
cmp state.bin kept.bin && echo same
