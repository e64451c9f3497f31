# Each get is one use, of every block that it read; match and explain are none. list shows them once
# a command that writes has opened the store.
seq 1 512 > prompt.ids
seq 9001 9256 > other.ids
printf 'You are a helpful assistant.' > prompt.txt
head -c 51200 /dev/zero > state.bin
tokvault kv put kv.store --tokens prompt.ids --payload state.bin --budget 50M
tokvault kv put kv.store --text prompt.txt --payload state.bin
hits() {
  echo "-- $1"
  tokvault kv list kv.store | cut -d ' ' -f 1,4-7,10- | sort
}
for i in 1 2 3 4; do tokvault kv get kv.store --tokens prompt.ids -o got.bin; done
seq 1 300 | tokvault kv get kv.store --tokens - -o got.bin
for i in 1 2 3; do tokvault kv get kv.store --text prompt.txt -o got.bin; done
tokvault kv match kv.store --tokens prompt.ids
tokvault kv match kv.store --text prompt.txt
tokvault kv explain kv.store --tokens prompt.ids
tokvault kv export kv.store --kvc out
hits "before the next command that writes"
tokvault kv put kv.store --tokens other.ids --payload state.bin
hits "after it"
tokvault kv get kv.store --tokens other.ids -o got.bin
tokvault kv evict kv.store --budget 20M
hits "after one that makes room"
