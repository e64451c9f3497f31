tokvault init v
cp "$CASES/near.jsonl" a.jsonl
tokvault import v a.jsonl
tokvault explain v | sed 's/ *[0-9.]* \(B\|KB\)$/ # B/'
tokvault explain v chat-2 | sed "s/0000000[0-9]/N/"
tokvault compact v > /dev/null
tokvault explain v | sed 's/ *[0-9.]* \(B\|KB\)$/ # B/'
tokvault explain v --families 1 --json | sed 's/_bytes":[0-9]*/_bytes":N/g'
tokvault explain v chat-2 --families 0 | sed "s/0000000[0-9]/N/"
tokvault explain v same-b --json | sed 's/_bytes":[0-9]*/_bytes":N/g; s/0000000[0-9]/N/'
tokvault explain v nobody
echo "$?"
tokvault explain v --tenant nobody
echo "$?"
