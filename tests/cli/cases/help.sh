# The help of every command, so that a change of it is seen.
tokvault --help
for command in init import get list explain near dupes delta tag export stats sql tenants forget \
    gc compact check repair dump tokenize detokenize version; do
  echo "== $command"
  tokvault $command --help
done
for action in train list show compact retain import; do
  echo "== substrings $action"
  tokvault substrings $action --help
done
for command in put get has hold release list garbage replace collect; do
  echo "== segment $command"
  tokvault segment $command --help
done
for command in put get match explain list stats check evict import export replay; do
  echo "== kv $command"
  tokvault kv $command --help
done
for command in train list show activate retire import export; do
  echo "== dict $command"
  tokvault dict $command --help
done
# By the command help as well, and nothing for what is none.
tokvault help kv put > one
tokvault kv put --help | cmp - one && echo same
tokvault help > all
tokvault --help | cmp - all && echo same
for command in frobnicate "dict frobnicate" "kv put x"; do
  tokvault help $command > one
  echo "$?"
done
for command in "frobnicate --help" "dict frobnicate --help"; do
  tokvault $command
  echo "$?"
done
# As JSON, wherever that is said.
tokvault help kv put --json > one
tokvault --json kv put --help | cmp - one && echo same
tokvault kv --json put --help | cmp - one && echo same
tokvault kv put --help > text
python3 -c 'import json; print(json.load(open("one")) == {"help": open("text").read()})'
tokvault --json help frobnicate
echo "$?"
tokvault --json frobnicate
echo "$?"
tokvault --json
echo "$?"
tokvault dict --json list absent
echo "$?"
