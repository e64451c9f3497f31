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
echo "-- a passage that moved far"
python3 - <<'END'
import random
r = random.Random(1)
words = 'amber birch cedar delta ember fjord grove heath inlet'.split()
parts = [' '.join(r.choice(words) for _ in range(600)) for _ in range(4)]
open('three', 'w').write('\n'.join(parts))
open('four', 'w').write('\n'.join([parts[3], parts[0], parts[2], parts[1]]))
END
tokvault delta v three four --of text-files | cut -c 1-120
tokvault delta v three four --of text-files --json | python3 -c '
import json, sys
for op in json.load(sys.stdin)["ops"]:
    print(op["op"], op["count"], "text" in op)'
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
