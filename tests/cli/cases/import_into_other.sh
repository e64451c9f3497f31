# A folder of something else is not made a vault.
mkdir v
echo text > v/notes
echo '{"id":"a","messages":[]}' > a.jsonl
tokvault import v a.jsonl
echo "$?"
ls v
