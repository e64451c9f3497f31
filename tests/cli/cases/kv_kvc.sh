# Directories of KVC files: served in place, imported and exported byte for byte.
kvc() {  # TEXT PAYLOAD: a file as the engine writes it, with a tool map and reserved bytes
  name=$(printf %s "$1" | sha1sum | cut -d ' ' -f 1)
  {
    printf 'KVC\001\002\006\201\011'
    printf '\021\000\000\000\003\000\000\000\000\040\000\000\115\000\000\000'
    printf '\000\361\123\145\000\000\000\000\001\361\123\145\000\000\000\000'
    printf "\\$(printf %03o ${#2})\\000\\000\\000\\000\\000\\000\\000"
    printf "\\$(printf %03o ${#1})\\000\\000\\000"
    printf %s "$1$2"
    printf 'KTM\001\001\000\000\000\002\000\000\000\003\000\000\000idmap'
  } > "$3/$name.kv"
}
mkdir engine
kvc 'You are' 'the state' engine
kvc 'You are a helpful assistant.' 'a longer state' engine
echo rubbish > "engine/$(printf bad | sha1sum | cut -d ' ' -f 1).kv"
mkdir engine/0000000000000000000000000000000000000000.kv
cp -r engine served
printf 'You are a helpful assistant. Who are you?' > prompt.txt
echo "-- import"
tokvault kv import kv.store --kvc engine
tokvault kv import kv.store --kvc engine --json
tokvault kv get kv.store --text prompt.txt --output -
tokvault kv import kv.store --kvc engine --namespace qwen
tokvault kv list kv.store | cut -d ' ' -f 1,3-
echo "-- export"
tokvault kv export kv.store --kvc out
for file in out/*; do
  cmp "$file" "engine/$(basename "$file")" && echo same
done
tokvault kv export kv.store --kvc none --namespace other --json
tokvault kv export kv.store --kvc none --namespace other
echo "-- in place: the longest good one, and its hit counted"
tokvault kv get --kvc served --text prompt.txt --output got.bin
cat got.bin
echo
tokvault kv get --kvc served --text prompt.txt --json
printf 'You' > short.txt
tokvault kv get --kvc served --text short.txt
echo "$?"
ls served | sed 's/^[0-9a-f]*/#/' | sort
echo "-- what does not come from KVC files stays"
seq 1 4 > prompt.ids
tokvault kv put kv.store --text prompt.txt --payload prompt.ids --namespace own
tokvault kv export kv.store --kvc own --namespace own
tokvault kv put kv.store --tokens prompt.ids --payload prompt.ids --namespace blocks
tokvault kv export kv.store --kvc own --namespace blocks
ls own
echo "-- not into the store"
tokvault kv export kv.store --kvc kv.store/own --namespace own
echo "$?"
