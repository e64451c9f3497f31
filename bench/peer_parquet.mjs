// The same conversations in a Parquet file that DuckDB writes, and a conversation by id out of it.
//
//   node bench/peer_parquet.mjs FILE.jsonl OUT.parquet lines|nested [COUNT]
//
// lines    id (the line's number) and json (the line): the same information as in a vault
// nested   id and the columns that DuckDB finds in the JSON: smaller and good for queries, but not the
//          same lines: absent and null, numbers as written and the order of keys are lost
//
// zstd level 19, Parquet version 2, row groups of 122,880 (the default): the file is as small as it
// gets, and a query by id decodes a row group. DuckDB comes from npm (scripts/install bench). Prints
// one line of JSON: bytes, MB/s of writing, and the median of COUNT queries by id.
import fs from 'node:fs';
import { DuckDBInstance } from '@duckdb/node-api';

const [input, output, shape, count = '40'] = process.argv.slice(2);
if (!['lines', 'nested'].includes(shape)) {
  console.error('usage: node bench/peer_parquet.mjs FILE.jsonl OUT.parquet lines|nested [COUNT]');
  process.exit(2);
}
const quoted = (text) => `'${text.replaceAll("'", "''")}'`;
const largest = 1 << 29;
const source = shape === 'lines' ?
    `SELECT (row_number() OVER ()) - 1 AS id, json::VARCHAR AS json
       FROM read_ndjson_objects(${quoted(input)}, maximum_object_size = ${largest})` :
    `SELECT (row_number() OVER ()) - 1 AS number, * FROM read_json(${quoted(input)},
       format = 'newline_delimited', sample_size = -1, maximum_object_size = ${largest})`;
const key = shape === 'lines' ? 'id' : 'number';

const instance = await DuckDBInstance.create(':memory:');
const connection = await instance.connect();
const seconds = (since) => Number(process.hrtime.bigint() - since) / 1e9;

let start = process.hrtime.bigint();
await connection.run(`COPY (${source}) TO ${quoted(output)}
    (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 19, PARQUET_VERSION v2)`);
const written = seconds(start);

const rows = Number((await connection.runAndReadAll(
    `SELECT count(*) FROM ${quoted(output)}`)).getRows()[0][0]);
const lines = fs.readFileSync(input, 'utf8').trimEnd().split('\n');
if (rows !== lines.length) throw new Error(`${rows} rows of ${lines.length} lines`);
const query = await connection.prepare(`SELECT * FROM ${quoted(output)} WHERE ${key} = $1`);
const times = [];
let random = 1n;
for (let i = 0; i < Number(count); ++i) {
  random = (random * 6364136223846793005n + 1442695040888963407n) & ((1n << 64n) - 1n);
  const wanted = Number((random >> 33n) % BigInt(rows));
  query.bindBigInt(1, BigInt(wanted));
  start = process.hrtime.bigint();
  const found = (await query.runAndReadAll()).getRows();
  times.push(seconds(start) * 1e6);
  if (found.length !== 1 || (shape === 'lines' && found[0][1] !== lines[wanted])) {
    throw new Error(`another row than ${wanted} came back`);
  }
}
times.sort((a, b) => a - b);
console.log(JSON.stringify({
  conversations: rows,
  bytes: fs.statSync(output).size,
  import_mb_per_s: fs.statSync(input).size / written / 1e6,
  p50_us: times[Math.floor((times.length - 1) / 2)],
}));
process.exit(0);
