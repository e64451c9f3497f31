# Substrings: trained, listed, shown, retained, imported, refused.
tokvault init v --tokenizer bytes
for i in 1 2 3 4 5; do
  text="$i$i$i the fare is paid on board, in coins $i"
  echo '{"id":"c'$i'","messages":[{"role":"user","content":"'"$text"'"}]}'
done > a.jsonl
tokvault import v a.jsonl
tokvault substrings list v --json
tokvault substrings train v --memory 1M
tokvault substrings train v --memory 1M --json
tokvault substrings list v
tokvault substrings show v 1
tokvault substrings show v 1 --json
for action in train compact; do
  tokvault substrings $action v --min-conversations 1
  echo "$?"
done
tokvault substrings compact v --min-conversations 6
tokvault substrings train v --memory 1M --min-conversations 6
tokvault substrings train v --memory 1M
tokvault substrings compact v --json
tokvault substrings retain v --none
mkdir registry
printf %s 'tickets are sold at the pier' > registry/blobs.dat
echo '[{"id":4,"length":28,"source_occurrences":9,"offset":0,"bytes":28,' > registry/index.json
echo '"created_at":"2026-01-05T10:00:00Z"}]' >> registry/index.json
tokvault substrings import v registry
tokvault substrings list v
tokvault substrings list v --tenant other
tokvault substrings show v 99
tokvault substrings import v absent
printf x >> registry/blobs.dat
sed -i 's/"length":28/"length":27/' registry/index.json
tokvault substrings import v registry
tokvault substrings
# A registry that has nothing yet, or has lost its index.
tokvault init e --tokenizer bytes
mkdir empty
tokvault substrings import e empty
echo '[]' > empty/index.json
tokvault substrings import e empty --json
: > empty/index.json
tokvault substrings import e empty
rm empty/index.json
printf x > empty/blobs.dat
tokvault substrings import e empty
tokvault substrings import e a.jsonl
# A run that is too long, and one under two ids: neither of these ids is given out again.
python3 - <<'END'
import json
run, long = b'tickets are sold at the pier', b'7' * 65537
def entry(i, at, run):
    size = len(run)
    return {'id': i, 'length': size, 'source_occurrences': 2, 'offset': at, 'bytes': size}
open('registry/blobs.dat', 'wb').write(run + long)
index = [entry(2, 0, run), entry(5, len(run), long), entry(9, 0, run)]
open('registry/index.json', 'w').write(json.dumps(index))
END
tokvault substrings import e registry
tokvault substrings import e registry --json
tokvault substrings list e --json | grep -o '"id":[0-9]*\|"next_id".*'
# What is not there is not retained; of nothing, --none says so. A set that is lost can be given up.
tokvault substrings retain v 99
tokvault substrings retain v
tokvault substrings retain v 4 --none
tokvault substrings train v --memory 300G
tokvault substrings train v --max-tokens 0
rm v/artifacts/*
tokvault substrings list v
tokvault substrings train v
tokvault substrings retain v --none
tokvault check v
# What is no id.
for id in x abc 0x1 1.5 4294967296 18446744073709551616 ''; do
  for action in show retain; do
    tokvault substrings $action v "$id"
    echo "$?"
  done
done
tokvault substrings show v -5
tokvault substrings show v -- -5
tokvault substrings show v 4294967295
