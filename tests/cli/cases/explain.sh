tokvault init v
cp "$CASES/near.jsonl" a.jsonl
tokvault import v a.jsonl
bytes() { sed 's/ *[0-9.]* \(B\|KB\)$/ # B/; s/ *[0-9.]* \(B\|KB\)  *[0-9.]* %/  # B  # %/'; }
tokvault explain v | bytes
tokvault explain v chat-2 | sed "s/0000000[0-9]/N/; s/about .* B/about # B/"
tokvault compact v > /dev/null
tokvault explain v | bytes
numbers() { sed 's/_bytes":[0-9]*/_bytes":N/g; :a; s/\("saved":{[^}]*\):[0-9][0-9]*/\1:N/; ta'; }
tokvault explain v --families 1 --json | numbers
tokvault explain v chat-2 --families 0 | bytes | sed "s/0000000[0-9]/N/; s/about .* B/about # B/"
tokvault explain v same-b --json | numbers | sed 's/0000000[0-9]/N/'
tokvault explain v nobody
echo "$?"
tokvault explain v --tenant nobody
echo "$?"
echo "-- what is too much for the memory is left out"
seq 1 1100 | awk '{ printf "{\"id\":\"n%d\",\"messages\":[{\"content\":\"%d %d %d\"}]}\n", \
    $1, $1 * 7919, $1 * 104729, $1 * 1299709 }' > many.jsonl
tokvault import w many.jsonl > /dev/null
tokvault explain w --memory 1M | sed -n 1p
tokvault explain w --memory 1M --json | grep -o '"families.*' | sed 's/"saved":{[^}]*}/S/'
tokvault explain w --families 1 | sed -n 1p
