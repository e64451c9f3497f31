# What is refused by the commands of the checkpoint store, before anything is made or changed.
try() {
  tokvault kv "$@"
  echo "$?"
}
seq 1 600 > prompt.ids
echo state > state.bin
head -c 600 /dev/zero > 600.bin
echo "-- what is missing"
try
try put
try frobnicate
try put s --payload state.bin
try put s --tokens prompt.ids
try put s --tokens absent.ids --payload state.bin
try get s --tokens prompt.ids
try match s --tokens prompt.ids
try stats s --json
try list s
try check s
try export s --kvc out
try import s
try import s --kvc absent
try get --kvc absent --text prompt.ids
try get s --kvc absent --text prompt.ids
try replay absent.jsonl
try frobnicate s
try get s t u
try get s --colour
try get s --tokens
ls
echo "-- what is no number"
try put s --tokens prompt.ids --payload state.bin
try put s --tokens prompt.ids --payload /dev/null
try put s --tokens prompt.ids --state --payload /dev/null
try put s --text prompt.ids --payload /dev/null
for budget in 10 -1 0 nan 1e3 99999999T 1X ''; do
  try put s --tokens prompt.ids --payload 600.bin --budget "$budget"
done
for size in 0 15 5000 4294967312 -16 16x; do
  try put s --tokens prompt.ids --payload 600.bin --block-tokens "$size"
done
for ids in 'a' '1 2 x' '4294967296' '-1' '1.5' '00000000000000000000001x'; do
  echo "$ids" > wrong.ids
  try put s --tokens wrong.ids --payload 600.bin
done
: > empty.ids
try put s --tokens empty.ids --payload 600.bin
try put s --tokens prompt.ids --text prompt.ids --payload 600.bin
try put s --tokens prompt.ids --payload 600.bin --codec lz4
try put s --tokens prompt.ids --payload 600.bin --eviction fifo
try put s --tokens prompt.ids --payload 600.bin --namespace model=a,colour=b
try put s --tokens prompt.ids --payload 600.bin --namespace model=a,dtype
ls
echo "-- other folders and files"
mkdir home
echo dear > home/letter.tmp
try put home --tokens prompt.ids --payload 600.bin
tokvault init my.vault --tokenizer bytes
try put my.vault --tokens prompt.ids --payload 600.bin
try put prompt.ids --tokens prompt.ids --payload 600.bin
try list home
ls home
echo "-- names that would do something to a terminal"
try put s --namespace "$(printf 'a\033[2Jb\nc\377')" --tokens prompt.ids --payload 600.bin
tokvault kv list s --limit 1 | cut -d ' ' -f 1,3-
tokvault kv list s --limit 1 --json | grep -o '"namespace":.*}'
try list s --limit x
try put s --block-tokens 16 --tokens prompt.ids --payload 600.bin
try evict s --bytes all
echo "-- a field of a namespace twice"
try put s --namespace model=a,model=b --tokens prompt.ids --payload 600.bin
