tokvault init v
cp "$CASES/near.jsonl" a.jsonl
tokvault import v a.jsonl
tokvault delta v greet-0 greet-1
tokvault delta v greet-0 greet-1 --json
tokvault delta v greet-0 greet-0
tokvault delta v chat-1 chat-2
echo "-- files"
printf 'one two three four five six seven\n' > one
printf 'one two three four \033[31mfive six seven\n' > two
tokvault delta v one two --of text-files
echo '[1,2,3,4,5,6,7,8,9,10]' > one.ids
echo '4 5 6 7 8 9 10 1 2 3 999999999' > two.ids
tokvault delta v one.ids two.ids --of token-files --json
: > none
tokvault delta v none none --of text-files
echo "-- refused"
tokvault delta v greet-0 nobody
echo "$?"
tokvault delta v greet-0
echo "$?"
tokvault delta v greet-0 greet-1 --tenant nobody
echo "$?"
tokvault delta v one absent --of text-files
echo "$?"
tokvault delta v one two --of token-files
echo "$?"
