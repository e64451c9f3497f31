# Folders that are no vault, or none of the kind that is meant: it is said which, and nothing is
# touched.
try() {
  tokvault "$@"
  echo "$?"
}
mkdir empty notes
echo dear > notes/letter
for folder in empty notes absent; do
  try list $folder
  try repair $folder
done
ls empty notes
echo "-- a checkpoint store"
seq 1 4 > prompt.ids
tokvault kv put store --tokens prompt.ids --payload prompt.ids --block-tokens 16
ls store > before
try stats store
try check store
try repair store
try gc store
try import store "$EXAMPLES/conversations.jsonl"
ls store | diff before -
echo "-- a vault"
tokvault init v --tokenizer bytes
tokvault import v "$EXAMPLES/conversations.jsonl" | head -n 1
try kv stats v
try kv evict v
try kv export v --kvc out
echo "-- a file"
try list prompt.ids
try repair prompt.ids
echo "-- a catalog that is none, or gone"
echo rubbish > v/catalog.db
try gc v
rm v/catalog.db
try list v
ls
