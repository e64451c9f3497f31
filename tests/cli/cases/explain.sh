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
tokvault dupes w --memory 1M
echo "$?"
tokvault explain w --memory 100K
echo "$?"
echo "-- the parts are the whole"
adds_up() { # VAULT [OPTIONS]
  tokvault explain "$@" --families 0 > all.txt
  tokvault explain "$@" --families 0 --json > all.json
  python3 -B - "$1" <<'PYTHON'
import json, os, re, sys
all = json.load(open("all.json"))
parts = ("pack", "log", "artifact", "catalog", "leftover", "damaged")
total = all["total_bytes"]
assert total == sum(all[part + "_bytes"] for part in parts), all
streams = sum(s["disk_bytes"] for s in all["streams"] if s["stream"] != "log")
assert all["pack_bytes"] == streams + all["pack_table_bytes"], all
files = sum(os.path.getsize(os.path.join(folder, name))
            for folder, _, names in os.walk(sys.argv[1]) for name in names)
# What is printed is rounded.
unit = {"B": 1, "KB": 1000}
table = open("all.txt").read().split("ON DISK")[1].split("SAVED")[0].splitlines()[1:]
rows = [(row.split("  ")[0], float(size) * unit[u])
        for row in table for size, u in re.findall(r"([0-9.]+) (\w+)$", row)]
assert rows[-1] == ("total", rows[-1][1]) and len(rows) == len(table), table
assert abs(sum(size for _, size in rows[:-1]) - total) < 5 * len(rows), rows
print(", ".join(name for name, _ in rows), "= the vault" if total == files else "< the vault")
PYTHON
}
tokvault init parts --tokenizer bytes
adds_up parts
for n in 1 2 3 4 5 6; do
  echo '{"id":"p'$n'","messages":[{"content":"'"$n$n"' what many of them say, and more of it"}]}'
done > parts.jsonl
tokvault import parts parts.jsonl > /dev/null
adds_up parts
tokvault compact parts > /dev/null
tokvault dict train parts --size 256 > /dev/null
tokvault forget parts p6 > /dev/null
mkdir parts/quarantine
echo 'what nobody names' | tee parts/packs/00000099.pack > parts/quarantine/00000001.log
adds_up parts
rm parts/packs/00000099.pack
tokvault import parts parts.jsonl --tenant acme > /dev/null
adds_up parts
adds_up parts --tenant acme
tokvault forget parts --all --tenant acme > /dev/null
tokvault compact parts > /dev/null
tokvault explain parts --tenant acme --families 0 | tail -n 2
