#!/usr/bin/env python3
"""docs/format/decode.py against the golden files: decode_test.py --ranks FOLDER.

It must print, as JSON values, what the library was given (vN/NAME.jsonl), with and without
checksums, and fail on every file of bad/ (or not) as list.txt says.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
DECODE = HERE.parent.parent / "docs" / "format" / "decode.py"
STATUS = {"ok": 0, "corrupt": 5, "unsupported": 6}
failures = []


def expect(condition, what):
    if not condition:
        failures.append(what)
        print(f"failed: {what}")


def run(*arguments):
    command = [sys.executable, "-B", DECODE, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def vectors():
    sys.path.insert(0, str(DECODE.parent))
    import xxh3
    for line in (HERE / "xxh3_vectors.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        size, seed, *hashes = line.split()
        n, seed, hashes = int(size), int(seed, 16), [int(h, 16) for h in hashes]
        data = bytes((7 * i * i + 13 * i + n >> 1) & 255 for i in range(n))
        expect(xxh3.xxh3_64(data, seed) == hashes[0], f"XXH3-64 of {n} bytes")
        if hashes[1:]:
            expect(xxh3.xxh3_128(data, seed) == tuple(hashes[1:]), f"XXH3-128 of {n} bytes")


def deltas():
    sys.path.insert(0, str(DECODE.parent))
    import decode
    for path in sorted((HERE / "delta").glob("*.json")):
        known = json.loads(path.read_text())
        data = path.with_suffix(".delta").read_bytes()
        expect(decode.delta(known["base"], data) == known["target"], path.stem)
        for cut in range(len(data)):
            try:
                decode.delta(known["base"], data[:cut])
                expect(False, f"{path.stem}, cut at {cut}")
            except decode.Failure:
                pass


def texts():
    import decode
    expect(decode.quote(b"\xc3\xbc\xed\xa0\xbd") == b'"\\u00fc\\ud83d"', "a lone surrogate")
    try:
        decode.quote(b"\xff")
        expect(False, "a text that is not UTF-8")
    except decode.Failure as failure:
        expect(failure.status == 2, f"a text that is not UTF-8: {failure}")


def token_model():
    import decode
    folder = HERE / "token_model"
    coded, block = ((folder / f"{n}.bin").read_bytes() for n in ("dictionary", "block"))
    known, wanted = ((folder / f"{n}.text").read_bytes() for n in ("dictionary", "block"))
    text, learned = decode.model_dictionary(coded, len(known), True)
    expect(text == known, "the dictionary of a token model")
    expect(decode.model_block(learned, block, len(wanted), True) == wanted,
           "a block of a token model")


def token_lz():
    import decode
    folder = HERE / "token_lz"
    for name in ("tokens", "bytes"):
        code, text = ((folder / f"{name}.{end}").read_bytes() for end in ("bin", "text"))
        expect(decode.token_lz(code, len(text), name == "tokens") == text, f"token LZ, {name}")
        for cut in range(0, len(code), 5):
            try:
                expect(decode.token_lz(code[:cut], len(text), name == "tokens") != text,
                       f"token LZ, {name}, cut at {cut}")
            except decode.Failure:
                pass


def substrings():
    import decode
    folder = HERE / "substrings"
    known = json.loads((folder / "set.json").read_text())
    wanted = {int(i): run for i, run in known["runs"].items()}
    stored, segment = (folder / "set.bin").read_bytes(), (folder / "segment.bin").read_bytes()
    expect(decode.substring_set(stored) == (known["next_id"], wanted), "a set of substrings")
    expect(decode.segment_with_substrings(wanted, segment) == known["segment"], "a segment")
    for data, read in ((stored, decode.substring_set),
                       (segment, lambda d: decode.segment_with_substrings(wanted, d))):
        for cut in range(len(data)):
            try:
                read(data[:cut])
                expect(False, f"substrings, cut at {cut}")
            except decode.Failure:
                pass


def kvc():
    import decode
    path = HERE.parent / "checkpoint" / "golden" / "kvc_v1.kv"
    data, payload = path.read_bytes(), b"binary session payload bytes"
    wanted = {"quant_bits": 2, "reason": 6, "flags": 0x81, "reserved_7": 9, "tokens": 17, "hits": 3,
              "context": 8192, "reserved_20": 77, "created": 1700000000, "last_used": 1700000001,
              "text": "<|user|>hi<|assistant|>", "payload_bytes": len(payload),
              "payload_sha256": hashlib.sha256(payload).hexdigest(),
              "tools": [["call_1", "<tool>ls</tool>"], ["call_2", ""]], "trailer": "later bytes"}
    done = run(path)
    expect(done.returncode == 0 and json.loads(done.stdout) == wanted, f"KVC: {done}")
    for cut in range(len(data) - len(wanted["trailer"])):
        try:
            decode.kvc(data[:cut])
            expect(False, f"KVC, cut at {cut}")
        except decode.Failure:
            pass
    for at, byte, status in ((0, 1, 5), (3, 2, 6), (105, 2, 5), (106, 2, 5)):  # magics and versions
        other = bytearray(data)
        other[at] = byte
        try:
            decode.kvc(bytes(other))
            expect(False, f"KVC, another byte at {at}")
        except decode.Failure as failure:
            expect(failure.status == status, f"KVC, another byte at {at}: {failure}")


def main():
    sys.dont_write_bytecode = True
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", required=True)
    ranks = ["--ranks", parser.parse_args().ranks]
    vectors()
    deltas()
    texts()
    token_model()
    token_lz()
    substrings()
    kvc()
    written = sorted(HERE.glob("v[0-9]*/*.jsonl"))
    expect(len(written) >= 10, "golden vaults are missing")
    for expected in written:
        vault = expected.with_suffix("")
        wanted = [json.loads(line) for line in expected.read_text().splitlines()]
        for more in ([], ["--no-checksums"]):
            done = run(vault, "--all", *ranks, *more)
            expect(done.returncode == 0, f"{vault}: {done.stderr}")
            got = [json.loads(line) for line in done.stdout.splitlines()]
            expect(got == wanted, f"{vault} {more}: other conversations than were written")
        tenant = [w["conversation"] for w in wanted if w["tenant"] == "default"]
        got = [json.loads(line) for line in run(vault, *ranks).stdout.splitlines()]
        expect(got == tenant, f"{vault}: the default tenant")
        done = run(vault, "--tenant", "nobody", *ranks)
        expect((done.returncode, done.stdout) == (3, ""), f"{vault}: a tenant that is not there")
        held = vault.with_suffix(".held")
        wanted = [json.loads(w) for w in held.read_text().splitlines()] if held.exists() else []
        done = run(vault, "--all", "--held", *ranks)
        expect(done.returncode == 0, f"{vault}: {done.stderr}")
        got = [json.loads(line) for line in done.stdout.splitlines()]
        expect(got == wanted, f"{vault}: other segments than are held")
    for expected in sorted((HERE / "checkpoint").glob("*.jsonl")):
        store = expected.with_suffix("")
        wanted = [json.loads(line) for line in expected.read_text().splitlines()]
        expect(len(wanted) >= 8, f"{expected.name} is short")
        for more in ([], ["--no-checksums"]):
            done = run(store, *more)
            expect(done.returncode == 0, f"{store}: {done.stderr}")
            got = [json.loads(line) for line in done.stdout.splitlines()]
            expect(got == wanted, f"{store} {more}: other records than were written")
    count = 0
    for line in (HERE / "bad" / "list.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, vault, target, code, why = line.split(" ", 4)
        # It reads no catalog: to it, a log whose end is not whole is an interrupted write.
        if name in ("log_cut_batch", "log_swapped_batches"):
            continue
        count += 1
        with tempfile.TemporaryDirectory(prefix="tokvault-golden-") as folder:
            copy = pathlib.Path(folder) / "vault"
            shutil.copytree(HERE / vault, copy)
            shutil.copyfile(HERE / "bad" / name, copy / target)
            done = run(copy, "--all", *ranks)
            expect(done.returncode == STATUS[code],
                   f"bad/{name} ({why}): {done.returncode} {done.stderr.strip()[-200:]}")
            if code == "ok":
                wanted = (HERE / f"{vault}.jsonl").read_text().splitlines()
                expect([json.loads(line) for line in done.stdout.splitlines()] ==
                       [json.loads(line) for line in wanted], f"bad/{name}: another content")
    expect(count >= 50, "bad/list.txt is short")
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
