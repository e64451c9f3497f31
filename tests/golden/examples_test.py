#!/usr/bin/env python3
"""The documents of docs/format: every hex example is in a golden file, every rule names a test.

An example is an indented block that begins with a path and a place:

    tests/golden/v1/bytes/log/00000001.log at 0
    0bc0a1f7  magic
    .. 4      four bytes that are not shown

Hex and comment are two spaces apart. The place may be in something decoded: "PATH, body 0, at 5",
"PATH, footer, at 0", "PATH, part 3, at 0", "PATH, token map, at 0", "PATH, dictionary 0, at 0",
"PATH, records, at 0". With --update the hex is brought up to date; what the comments say is not.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "docs" / "format"))
import decode  # noqa: E402

HEAD = re.compile(r"^    (tests/golden/\S+?)(?:, ([a-z ]+?)(?: (\d+))?,)? at (\d+)$")
GROUP = r"(?:(?:[0-9a-f]{2})+|\.\. \d+)"
LINE = re.compile(rf"^    ({GROUP}(?: {GROUP})*)(  +.*)?$")
ITEM = re.compile(r"\.\. (\d+)|([0-9a-f]+)")
TEST = re.compile(r"`([A-Z]\w+\.[A-Z]\w+)`")
HEADINGS = ["Purpose", "Layout", "Rules", "Reader obligations", "Writer obligations", "Example",
            "Limits", "Why"]
# Not about one structure, or kept by rules of their own.
OTHER = {"README.md", "history.md", "errata.md"}


def place(path, what, number):
    data = (ROOT / path).read_bytes()
    if what is None:
        return data
    n = int(number or 0)
    own = int(pathlib.Path(path).stem)
    if what == "body":
        return decode.Log(data, own).bodies[n]
    pack = decode.Pack(data, own, decode.artifacts_of((ROOT / path).parent.parent))
    if what == "footer":
        return pack.footer
    if what == "part":
        return pack.part(pack.tables[n])
    if what == "token map":
        return decode.packed(pack.part(pack.map), pack.map[2])
    if what == "dictionary":
        return pack.text(n, None)
    assert what == "records", what
    source = decode.In(pack.part(pack.record_extent))
    size = source.varint()
    return decode.packed(source.rest(), size)


def examples(path, update):
    """(line number, what is wrong) for each line of hex that is not in its file."""
    lines, data, at, count = path.read_text().split("\n"), None, 0, 0
    wrong = []
    for i, line in enumerate(lines):
        head = HEAD.match(line)
        if head:
            data, at = place(*head.groups()[:3]), int(head.group(4))
            continue
        match = LINE.match(line) if data is not None else None
        if not match:
            data = None
            continue
        count += 1
        new = []
        for skipped, digits in ITEM.findall(match.group(1)):
            size = int(skipped) if skipped else len(digits) // 2
            new.append(f".. {skipped}" if skipped else data[at:at + size].hex())
            if at + size > len(data):
                wrong.append((i + 1, "beyond the end"))
            at += size
        if " ".join(new) != match.group(1):
            wrong.append((i + 1, f"should be {' '.join(new)}"))
            lines[i] = "    " + " ".join(new) + (match.group(2) or "")
    if update and wrong:
        path.write_text("\n".join(lines))
    return count, wrong


def test_names():
    """Every test of GoogleTest in the tree, as Suite.Name."""
    names = set()
    pattern = re.compile(r"\b(?:TYPED_TEST|TEST)(?:_[PF])?\(\s*(\w+),\s*(\w+)\)")
    for folder in ("src", "tests"):
        for path in (ROOT / folder).rglob("*.[ch]*"):
            if path.suffix in (".cc", ".h"):
                names.update(f"{s}.{n}" for s, n in pattern.findall(path.read_text()))
    return names


def rules(path, names):
    text = path.read_text()
    headings = re.findall(r"^## (.*)$", text, re.M)
    if headings != HEADINGS:
        yield 1, f"its headings are {headings}"
    for match in TEST.finditer(text):
        if match.group(1) not in names:
            yield text.count("\n", 0, match.start()) + 1, f"no test is called {match.group(1)}"
    section = re.search(r"^## Rules\n(.*?)^## ", text, re.M | re.S)
    if section is None:
        return
    start = section.start(1)
    for rule in re.finditer(r"^(\d+)\. .*?(?=^\d+\. |\Z)", section.group(1), re.M | re.S):
        if not TEST.search(rule.group()):
            line = text.count("\n", 0, start + rule.start()) + 1
            yield line, f"rule {rule.group(1)} names no test"


def main():
    update = sys.argv[1:] == ["--update"]
    found, total, names = [], 0, test_names()
    for path in sorted((ROOT / "docs" / "format").glob("*.md")):
        count, wrong = examples(path, update)
        total += count
        found += [(path, line, what) for line, what in wrong]
        if path.name not in OTHER:
            found += [(path, line, what) for line, what in rules(path, names)]
    for path, line, what in found:
        print(f"{path.relative_to(ROOT)}:{line}: {what}")
    print(f"{total} lines of hex, {len(names)} tests")
    return 1 if found or total < 80 else 0


if __name__ == "__main__":
    sys.exit(main())
