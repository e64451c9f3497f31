// Compares the tokenizers with the originals, and writes the golden file from the originals.
//
//   npm install --no-save tiktoken@1.0.22
//   node scripts/tokenizer_oracle.mjs compare build/bench/tokenizer_ids [FILE...]
//   node scripts/tokenizer_oracle.mjs golden > tests/golden/tokenizer/ids.txt
//
// `compare` goes through every code point that Unicode 16.0 assigns (and samples of the others) in
// several contexts, through random texts, through the cases of the golden file, and through the given
// files: .jsonl by the strings in it, others as one text. It prints the number of texts that differ
// and the first of them, and fails if there is one. TOKVAULT_TOKENIZERS must name the folder of the
// rank files. Options: --seed N, --random N (texts, 40000), --no-sweep.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(process.cwd() + '/');
const { get_encoding } = require('tiktoken');
const kNames = ['cl100k_base', 'o200k_base'];

// Texts with a name, for the golden file. Each is about something that a splitter may get wrong.
const kCases = {
  empty: '',
  english: 'The quick brown fox jumps over the lazy dog. It cost $1,234.56 in 2024 (about 3%).',
  contractions: "I'm we're they'd he'll you've it's don't I'M WE'RE THEY'D HE'LL YOU'VE IT'S 'tis",
  contraction_case: "a'S a'T a'RE a'rE a'Ve a'vE a'M a'LL a'lL a'D a'x 're're 's's '' 'S 'll'",
  long_s: "it'\u017f x'\u017fy '\u017f A'\u017fB '\u017f'\u017f k'\u212a a'\u017f's",
  apostrophe: 'don\u2019t it\u2019s \u2018quoted\u2019 o\u2019clock',
  camel: 'parseHTMLDocument XMLHttpRequest aBC ABc ABC aB iPhone getURLForID',
  titlecase: '\u01c5abc \u01c8 ABC\u01c5d \u01f2X',
  spaces: 'a b  c   d    e \t\tf \t g\n h\n\ni \n \n j\r\n\r\nk   \n   l   ',
  newlines: '\n\n\n\r\r\n \n\t\n  \n!!\n\n??\r\n//\n/\n--/\n/ x\n',
  unicode_space: 'a\u00a0b\u00a0\u00a0c\u3000d \u3000 e\u2028f\u2029\u0085g\u200bh\ufeffi\u180ej',
  trailing_spaces: 'end   ',
  trailing_newline: 'end \n',
  digits: '1 12 123 1234 12345678901 3.14159 0x1F \u0661\u0662\u0663\u0664 \u2160\u2161 \u00bd\u00b2',
  punctuation: '!!!...,,,;;;--- (a)[b]{c}<d> "e" `f` a+b=c*d/e a_b #h @u ~/x\\y ^z |p| &q;',
  code: 'int main(int argc, char** argv) {\n\treturn argv[0] ? 0 : 1;  // ok\n}\n\n#define X(a) a##_t\n',
  python: "def f(x: int) -> str:\n    if x > 0:\n        return f'{x!r}'\n    return None\n",
  json: '{"role":"user","content":"a\\nb","n":[1,2.5,-3e10,null,true]}\n',
  url: 'https://example.org/a/b?c=d&e=%20f#g mailto:x@y.z 192.168.0.1:8080',
  base64: 'QWxhZGRpbjpvcGVuIHNlc2FtZQ==/+aZ09kLmNoPqRsTuVwXyZ0123456789abcdefghijklmnop',
  hex: 'deadbeef 0123456789abcdef 5f4dcc3b5aa765d61d8327deb882cf99',
  german: '\u00dcber stra\u00dfe Gr\u00f6\u00dfe \u00c4\u00d6\u00dc stra\u1e9ee',
  french: "L'\u00e9t\u00e9 n'est pas l\u00e0 : \u00ab o\u00f9 ? \u00bb \u0152uvre",
  combining: 'e\u0301 E\u0301a \u0301a  \u0301 A\u0301\u0302B !\u0301! 1\u0301 \u0301\u0301A\n\u0301',
  russian: '\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u041c\u0413\u0423 \u0438' +
      ' \u041d\u0430\u0443\u043a\u0430',
  greek: '\u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u03ba\u03cc\u03c3\u03bc\u03b5 \u03a3\u03c2',
  chinese: '\u4f60\u597d\uff0c\u4e16\u754c\u3002\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff01\n' +
      '\u6211\u4eec2024\u5e74\u53bb\u5317\u4eac\u3001\u4e0a\u6d77',
  japanese: '\u3053\u3093\u306b\u3061\u306f\u4e16\u754c\u3001\u30ab\u30bf\u30ab\u30ca\u30fc',
  korean: '\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4 \u1112\u1161\u11ab',
  arabic: '\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645' +
      ' \u0627\u0644\u0633\u0651\u064e\u0644\u0627\u0645',
  hebrew: '\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd',
  hindi: '\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0967\u0968',
  thai: '\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01',
  mixed: 'Hello\u4e16\u754c ABC\u4e2d\u6587abc \u0416abc A\u0431B 1\u4e002 x\u00b2 \u00b5m',
  emoji: '\u{1f600}\u{1f44d}\u{1f3fd} \u{1f468}\u200d\u{1f469}\u200d\u{1f467} \u2764\ufe0f a\u{1f600}b' +
      ' \u{1f1e9}\u{1f1ea}',
  astral_letters: '\u{1d400}\u{1d41a} \u{10400}\u{10428} \u{20000}\u{20001} \u{1e900}\u{1e922}',
  unicode_16: '\u{10d50}\u{10d70} \u{105c0}a \u{1e5d0}\u{1e5f1} \u1c89\u1c8a \ua7cb',
  unicode_17: '\u{16ea0}\u{16ebb} \ua7ce \u{323b0}x',
  variation_selectors: 'a\u{e0100}b \u8fba\u{e0100} \u{e01ef} \u{e01f0}a',
  private_use: '\ue000a \u{f0000}b \u{10ffff}c \ufffd \ufffe',
  control: 'a\u0000b\u0001 \u001b[31mred\u001b[0m \u001c\u001d\u007f',
  special_as_text: '<|endoftext|> <|fim_prefix|><|endofprompt|> <|im_start|>user',
  long_word: 'pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism',
  long_letters: 'a'.repeat(1000) + 'b'.repeat(333) + 'ab'.repeat(300),
  long_capitals: 'A'.repeat(517) + ' ' + 'Z'.repeat(129) + 'z',
  long_spaces: 'x' + ' '.repeat(700) + 'y' + '\t'.repeat(300) + '\n'.repeat(200) + ' '.repeat(129),
  long_punctuation: '='.repeat(400) + '-'.repeat(129) + '*-'.repeat(100) + '\u2500'.repeat(200),
  long_chinese: '\u5929\u5730\u7384\u9ec4\u5b87\u5b99\u6d2a\u8352'.repeat(40),
  long_mixed: 'aAbBcCdD\u00e9'.repeat(60),
};

class Random {
  constructor(seed) { this.state = seed >>> 0; }
  below(n) {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  }
  of(list) { return list[this.below(list.length)]; }
}

const kInteresting = Array.from(
    " \t\n\r\u000b\u000c\u0085\u00a0\u1680\u2003\u2028\u202f\u3000''''sStTdDmMrReEvVlLkK\u017f\u212a" +
    'aZbYxQ019/\\.,!-_+$<>|"\u2019\u00e9\u00c9\u01c5\u02b0\u00aa\u0301\u0903\u20dd\u00b2\u0663\u2167' +
    '\u4e2d\u6587\u3042\uac00\u0416\u0436\u0391\u03b1\u05d0\u0627\u0e01\u200b\u200d\ufeff\ufe0f\u180e' +
    '\u{1f600}\u{1d400}\u{1d41a}\u{20000}\u{1e900}\u{e0100}\u{10ffff}\u0000\u001c\u007f');

function randomText(random) {
  const length = 1 + random.below(random.below(8) === 0 ? 300 : 24);
  const pool = [];
  for (let i = 1 + random.below(12); i > 0; --i) pool.push(random.of(kInteresting));
  let text = '';
  for (let i = 0; i < length; ++i) {
    switch (random.below(10)) {
      case 0: text += random.of(kInteresting); break;
      case 1: text += String.fromCharCode(32 + random.below(95)); break;
      case 2: text += random.of([' the', 'ing', " don't", '\n\n', '    ', '://', 'ABC', '123']); break;
      case 3: {
        const c = random.below(random.below(3) === 0 ? 0x110000 : 0x3000);
        text += c >= 0xd800 && c < 0xe000 ? '?' : String.fromCodePoint(c);
        break;
      }
      default: text += random.of(pool);
    }
  }
  return text;
}

const kContexts = [
  c => `a${c}b`, c => `A${c}b`, c => `A${c}B`, c => ` ${c} `, c => `  ${c}`, c => `1${c}2`,
  c => `!${c}!`, c => `\n${c}\n`, c => `a'${c} `, c => `'${c}s`, c => ` ${c}'s`, c => `\u4e2d${c}\u6587`,
  c => `${c}${c}a`, c => `${c} ${c}  ${c}\t`, c => `\u0416${c}\u0436`, c => `\u0301${c}\u0301`,
];

function* sweep() {
  const points = [];
  for (let c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    if (c >= 0x33000 && !(c >= 0xe0000 && c < 0xe0200) && c % 1021 !== 0) continue;
    points.push(String.fromCodePoint(c));
  }
  for (const context of kContexts) {
    for (let i = 0; i < points.length; i += 16) {
      yield points.slice(i, i + 16).map(context).join('|');
    }
  }
}

function stringsOf(value, out) {
  if (typeof value === 'string') out.push(value);
  else if (value && typeof value === 'object') for (const v of Object.values(value)) stringsOf(v, out);
}

function* textsOfFile(path) {
  if (!path.endsWith('.jsonl')) return yield fs.readFileSync(path, 'utf8');
  const seen = new Set();
  for (const line of fs.readFileSync(path, 'utf8').split('\n')) {
    if (!line) continue;
    const strings = [];
    stringsOf(JSON.parse(line), strings);
    for (const text of strings) {
      if (seen.has(text)) continue;
      seen.add(text);
      yield text;
    }
  }
}

function ours(program, name, mode, texts) {
  const parts = [];
  for (const text of texts) {
    const bytes = Buffer.from(text, 'utf8');
    const size = Buffer.alloc(4);
    size.writeUInt32LE(bytes.length);
    parts.push(size, bytes);
  }
  const run = spawnSync(program, [name, mode], {
    input: Buffer.concat(parts), maxBuffer: 1 << 30, stdio: ['pipe', 'pipe', 'inherit'],
  });
  if (run.status !== 0) throw new Error(`${program} failed`);
  const words = new Uint32Array(run.stdout.buffer.slice(
      run.stdout.byteOffset, run.stdout.byteOffset + run.stdout.length));
  const all = [];
  for (let i = 0; i < words.length; i += words[i] + 1) all.push(words.subarray(i + 1, i + 1 + words[i]));
  return all;
}

function equal(a, b) {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; ++i) if (a[i] !== b[i]) return false;
  return true;
}

function compare(program, label, texts, mode = 'ordinary') {
  let failures = 0;
  for (const name of kNames) {
    const encoding = get_encoding(name);
    let count = 0, bytes = 0, different = 0, refused = 0;
    let batch = [], batchSize = 0;
    const flush = () => {
      const got = ours(program, name, mode, batch);
      batch.forEach((text, i) => {
        ++count;
        bytes += Buffer.byteLength(text);
        let expected;
        try {
          expected = mode === 'special' ? encoding.encode(text, 'all') : encoding.encode_ordinary(text);
        } catch { ++refused; return; }
        if (equal(expected, got[i])) return;
        if (++different <= 3) {
          console.log(`${name}: ${JSON.stringify(text.slice(0, 300))}\n  expected ${expected.slice(0, 40)}` +
                      `\n  got      ${got[i].slice(0, 40)}`);
        }
      });
      batch = [];
      batchSize = 0;
    };
    for (const text of texts()) {
      if (!text.isWellFormed()) continue;
      batch.push(text);
      batchSize += text.length;
      if (batchSize > 4e6) flush();
    }
    flush();
    encoding.free();
    failures += different;
    console.log(`${label} ${name}: ${count} texts, ${(bytes / 1e6).toFixed(2)} MB, ${different} differ` +
                (refused ? `, ${refused} refused by the original` : ''));
  }
  return failures;
}

function golden() {
  console.log('# Ids of the original tokenizers. Written by scripts/tokenizer_oracle.mjs golden; do not edit.');
  console.log('# name, text as UTF-8 in hex, then the ids of ' + kNames.join(' and of ') +
              '; separated by tabs.');
  const encodings = kNames.map(name => get_encoding(name));
  for (const [name, text] of Object.entries(kCases)) {
    const ids = encodings.map(e => Array.from(e.encode_ordinary(text)).join(' '));
    console.log([name, Buffer.from(text, 'utf8').toString('hex'), ...ids].join('\t'));
  }
}

function main() {
  const args = process.argv.slice(2);
  const take = (option, otherwise) => {
    const at = args.indexOf(option);
    return at < 0 ? otherwise : Number(args.splice(at, 2)[1]);
  };
  const seed = take('--seed', 1), count = take('--random', 40000);
  const noSweep = args.indexOf('--no-sweep');
  if (noSweep >= 0) args.splice(noSweep, 1);
  const [command, program, ...files] = args;
  if (command === 'golden') return golden();
  if (command !== 'compare' || !program) {
    console.error('usage: tokenizer_oracle.mjs golden | compare PROGRAM [FILE...]');
    process.exit(2);
  }
  let failures = compare(program, 'cases', () => Object.values(kCases));
  function* randomTexts() {
    const random = new Random(seed);
    for (let i = 0; i < count; ++i) yield randomText(random);
  }
  function* specialTexts() {
    const random = new Random(seed);
    const special = ['<|endoftext|>', '<|fim_prefix|>', '<|fim_middle|>', '<|fim_suffix|>',
                     '<|endofprompt|>', '<|', '|>', '<', '<|endoftext'];
    for (let i = 0; i < count / 20; ++i) {
      let text = '';
      for (let k = random.below(6); k >= 0; --k) text += randomText(random) + random.of(special);
      yield text;
    }
  }
  failures += compare(program, `random (seed ${seed})`, randomTexts);
  failures += compare(program, 'special', specialTexts, 'special');
  if (noSweep < 0) failures += compare(program, 'sweep', sweep);
  for (const file of files) failures += compare(program, file.split('/').pop(), () => textsOfFile(file));
  process.exit(failures === 0 ? 0 : 1);
}

main();
