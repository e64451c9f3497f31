tokvault init v --tokenizer bytes
echo '{"id":"same","messages":[{"role":"user","content":"of the default tenant"}]}' > a.jsonl
echo '{"id":"same","messages":[{"role":"user","content":"of the tenant t"}]}' > b.jsonl
tokvault import v a.jsonl
tokvault import v b.jsonl --tenant t
tokvault get v same
tokvault get v same --tenant t
tokvault tag v same +mine --tenant t
tokvault list v --tag mine
tokvault forget v --all --tenant t
tokvault export v
tokvault export v --tenant t
tokvault import v a.jsonl --tenant t
tokvault import v a.jsonl --tenant u
tokvault forget v same --tenant u
tokvault tenants v | sed 's/  *[0-9.]* K*B$//'
tokvault tenants v --json | sed 's/"total_bytes":[0-9]*/"total_bytes":#/'
tokvault stats v | grep -E '^(tenant|conversations)'
tokvault stats v --tenant t | grep -E '^(tenant|conversations|  catalog)'
tokvault stats v --tenant t --json | grep -oE '"(tenants?|conversations|logs)":[^,]*'
tokvault compact v --json > compacted
# What the tenants have is what the vault has, without its catalog.
for field in packs pack_bytes tokens_logical segments conversations; do
  all=$(tokvault stats v --json | grep -o "\"$field\":[0-9]*" | cut -d : -f 2)
  for tenant in default t u; do
    part=$(tokvault stats v --tenant $tenant --json | grep -o "\"$field\":[0-9]*" | cut -d : -f 2)
    all=$((all - part))
  done
  echo "$field $all"
done
tokvault stats v --tenant nobody
echo "$?"
# A name that is mistyped is not a tenant that has nothing.
for command in "list v" "export v" "stats v --by model" "forget v --all" "forget v same" \
    "get v same" "dupes v" "tag v same +x"; do
  tokvault $command --tenant nobody
  echo "$?"
done
tokvault list v --tenant default --json | grep -c same
