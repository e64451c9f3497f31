tokvault init v --tokenizer bytes
echo '{"id":"plain","messages":[{"role":"user","content":"1"}]}' > plain
echo '{"id":"gzip","messages":[{"role":"user","content":"2"}]}' | gzip > gzip
echo '{"id":"zstd","messages":[{"role":"user","content":"3"}]}' | zstd -q > zstd
tokvault import v plain gzip zstd
zstd -q < plain | tokvault import v -
sed s/plain/pipe/ plain | tokvault import v -
head -c 20 gzip > cut
tokvault import v cut
echo "$?"
tokvault export v -o out.gz
gzip -dc out.gz
tokvault export v -o out.zst
zstd -dcq out.zst | tail -n 1
ls
