# SQL over a vault: tables, CSV and JSON, several tenants, and what is refused.
tokvault init v --tokenizer bytes
line() {
  message="{\"role\":\"user\",\"content\":\"$4\"}"
  printf '%s\n' "{\"id\":\"$1\",\"model\":\"$2\",\"created_at\":\"$3\",\"messages\":[$message]}"
}
{
  line a one 2026-01-05T10:00:00Z "of a, b"
  line b two 2026-01-05T11:00:00.5Z 'of \"b\"'
  line c one 2026-01-06T10:00:00Z 'two\nlines'
} | tokvault import v - > imported
line a one 2026-01-07T10:00:00Z theirs | tokvault import v - --tenant acme > imported
tokvault tag v a +red > tagged
tokvault sql v "select model, count(*) as n, sum(tokens) / 2.0 as half from conversations
  where tenant = 'default' group by model"
tokvault sql v "select * from conversations where id = 'a' order by tenant" | cut -c 1-92
tokvault sql v "select c.time, m.role, m.text from conversations c
  join messages m on m.tenant = c.tenant and m.conversation = c.id
  where c.time >= '2026-01-05T11' and c.time < '2026-01-07' order by c.time"
echo "select id, tags, null as nil, 0.5 as half, x'00ff' as bytes from conversations
  where id in ('a', 'b') and tenant = 'default'" | tokvault sql v - --json
tokvault sql v "select conversation as id, text, null from messages where tenant = 'default'" \
  --format csv
tokvault sql v "select id from conversations where id = 'nobody'"
tokvault sql v "select id from conversations where id = 'nobody'" --json
tokvault sql v "select kind, count(*), sum(conversations) from files group by kind"
tokvault sql v --json | cut -c 1-60
echo '--- refused'
tokvault sql v "select colour from conversations"
echo "$?"
tokvault sql v "delete from conversations"
echo "$?"
tokvault sql v "attach 'other.db' as other" --json
echo "$?"
tokvault sql v "select 1; select 2"
echo "$?"
tokvault sql v "select 1 as a, 2 as a" --json
echo "$?"
tokvault sql v "select 1" --json --format csv
echo "$?"
tokvault sql w "select 1"
echo "$?"
ls
