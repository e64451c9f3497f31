#!/usr/bin/env python3
"""Writes the fixed vectors of MinHash, from docs/format/minhash.md alone.

    tests/dedup/minhash_reference.py            print them
    tests/dedup/minhash_reference.py --check    compare them with minhash_vectors.txt

A line: the tokens, or - for none; SHA-256 of the 1,024 bytes; the first value; the 16 band hashes.
"""

import hashlib
import pathlib
import sys

MASK = (1 << 64) - 1

TOKENS = [
    [],
    [0],
    [17],
    [4294967295],
    [1, 2],
    [2, 1],
    [0, 0],
    [7, 7, 7, 7],
    [4294967295, 0, 4294967295, 1],
    list(range(1000, 1040)),
    [(i * i * 2654435761) % 200019 for i in range(300)],
]


def rotate(x, n):
    return (x << n | x >> (64 - n)) & MASK


def shingle_hash(shingle, function):
    h = (function + 0x9E3779B97F4A7C15) & MASK
    for token in shingle:
        h ^= token * 0x6C62272E07BB0142 & MASK
        h = rotate(h, 27) * 0x94D049BB133111EB & MASK
    return h ^ h >> 31


def signature(tokens):
    shingles = [tokens[i:i + 2] for i in range(len(tokens) - 1)] or [tokens]
    return [min(shingle_hash(s, i) for s in shingles) for i in range(128)]


def band_hash(values, band):
    h = band * 0x517CC1B727220A95 & MASK
    for value in values[band * 8:band * 8 + 8]:
        h = rotate((h + value) & MASK, 17) * 0x6C62272E07BB0142 & MASK
    return h


def vectors():
    lines = ["# Written by minhash_reference.py."]
    for tokens in TOKENS:
        values = signature(tokens)
        data = b"".join(value.to_bytes(8, "little") for value in values)
        fields = [",".join(map(str, tokens)) or "-", hashlib.sha256(data).hexdigest(),
                  f"{values[0]:016x}"]
        fields += [f"{band_hash(values, band):016x}" for band in range(16)]
        lines.append(" ".join(fields))
    return "\n".join(lines) + "\n"


def main():
    if "--check" in sys.argv[1:]:
        kept = pathlib.Path(__file__).with_name("minhash_vectors.txt").read_text()
        if kept != vectors():
            sys.exit("minhash_vectors.txt is not what minhash_reference.py writes")
    else:
        sys.stdout.write(vectors())


if __name__ == "__main__":
    main()
