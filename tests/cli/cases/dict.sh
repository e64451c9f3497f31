# Dictionaries: trained, active, in a log, exported, imported elsewhere, retired.
masked() {
  sed -e "s/$id/ID/g" -e 's/"created":"[^"]*"/"created":"#"/' -e 's/made [^,]*,/made #,/' \
    -e 's/  20[^ ]*Z/  #/' -e 's/"number":[0-9]*/"number":#/' -e 's/artifact [0-9]*/artifact #/' \
    -e 's/[0-9]*\.\(artifact\|log\)/#.\1/g'
}
user='{"role":"user","content":"Where is ship NUMBER, and when will she be at the pier?"}'
reply='{"role":"assistant","content":"Ship NUMBER is at the outer buoy, an hour from the pier."}'
reports() {
  for i in $(seq "$1" "$2"); do
    echo "{\"id\":\"r$i\",\"messages\":[$user,$reply]}" | sed "s/NUMBER/$((i * 7919))/g"
  done
}
id=none
tokvault init v --tokenizer bytes
tokvault dict train v
echo "exit status $?"
reports 1 40 | tokvault import v - | grep -o '40 stored'
tokvault compact v > /dev/null
id=$(tokvault dict train v --size 1K --json | sed 's/.*"id":\([0-9]*\).*/\1/')
tokvault dict list v | masked
tokvault dict activate v $id | masked
reports 41 42 | tokvault import v - | grep -o '2 stored'
# Frames that the import wrote, by dictionary.
tokvault explain v --families 0 | grep '^log .*zstd' |
    sed 's/ *[0-9.]* K*B//g; s/+artifact [0-9]*/+#/; s/  */ /g'
tokvault dict show v $id --json | masked
tokvault dict show v $id | masked
tokvault get v r41 | grep -o 'ship [0-9]*'
tokvault dict export v folder | masked
ls folder | masked
masked < folder/active
tokvault stats v --json | grep -o '"dictionary_bytes":[1-9]' | tr -d '0-9'
tokvault dict retire v $id 2>&1 | masked
tokvault dict retire v $id --rewrite | masked
tokvault dict list v --json
tokvault check v --read-data | grep -o sound
tokvault dict import v folder --json | masked
tokvault dict import v folder | masked
tokvault dict activate v none
tokvault dict activate v $id --json --tenant acme 2>&1 | masked
tokvault dict show v 77
tokvault dict show v x
tokvault dict import v $CASES/dict.sh 2>&1 | sed 's/.*cases/CASES/'
printf '\067\244\060\354\001\000\000\000 and no tables' > damaged
tokvault dict import v damaged
tokvault dict
echo "exit status $?"
# A folder that holds what is not exported: a dictionary that is retired since, or which was active.
tokvault dict export v folder 2>&1 | masked
tokvault dict activate v $id > /dev/null
tokvault dict export v folder | masked
cp -r folder other
tokvault dict activate v none > /dev/null
tokvault dict retire v $id --rewrite > /dev/null
tokvault dict export v folder 2>&1 | sed 's/[0-9]*\.\(json\|zstd\)/ID.#/; s/active/ID.#/'
ls folder | masked
tokvault dict export v new/folder/
ls new/folder
# What lacks a dictionary, or has none at all, is no folder to import.
cp -r folder lacking
rm lacking/*.zstd
tokvault dict import v lacking > why 2>&1
echo "exit status $?"
masked < why
rm -r lacking/*
tokvault dict import v lacking
echo "exit status $?"
touch new/folder/.hidden
tokvault dict export v new/folder
echo "exit status $?"
# Nothing is written into the vault, where it could take the place of its files.
tokvault dict export v v
tokvault dict export v v/artifacts
echo "exit status $?"
