#!/usr/bin/env python3
"""The house rules that a program can check, as a test: scripts/tidy.py [--root DIR].

Prints one line for each violation, FILE:LINE: rule: what, and exits with 1 if there is any. Each
rule is one function below; scripts/tidy_test.py breaks each of them on purpose. What a compiler,
clang-format or clang-tidy can see is left to them.
"""

import argparse
import pathlib
import re
import sys

# The floors (HACKING.md): a folder of src/ includes itself and lower floors, and the public
# headers; never a sibling or a higher floor.
FLOORS = {
    "base": 0,
    "format": 1,
    "tokenizer": 1,
    "codec": 1,
    "dedup": 1,
    "storage": 2,
    "catalog": 2,
    "vault": 2,
    "checkpoint": 2,
    "interchange": 3,
    "query": 3,
    "assemble": 3,
}
# (from, to): why this sideways step is allowed.
FLOOR_EXCEPTIONS = {
    ("codec", "format"): "frames are coded into the structures that format describes",
}
# Folders that see the public headers only, as a user of the library does. Fuzz programs see src/,
# because they feed single decoders.
PUBLIC_ONLY = ("cli", "server", "python", "tests", "bench", "examples")
# (folder, header): why this one look inside is allowed.
PUBLIC_EXCEPTIONS = {
    ("tests", "storage/fault.h"): "crash tests interrupt a backend",
    ("tests", "format/id_filter.h"): "from how many ids on a pack has a filter",
    # Tests of damage, loss and erasure look into the files of a vault, below what the API shows.
    ("tests", "vault/log_file.h"): "every segment of a log",
    ("tests", "vault/pack_file.h"): "every segment of a pack",
    ("tests", "vault/recovery.h"): "the catalog that files alone give",
    ("tests", "vault/stager.h"): "what is remembered is bounded",
    ("tests", "base/checksum.h"): "texts whose fingerprints are equal",
    ("bench", "dedup/anchor_index.h"): "how good the bases are that the engine finds",
    ("bench", "dedup/anchors.h"): "the speed of each loop",
    ("bench", "dedup/minhash.h"): "the speed of each loop",
    ("bench", "base/zstd.h"): "the model beside zstd, on the same text",
    ("bench", "codec/token_code.h"): "the text that the model codes",
    ("bench", "codec/token_lz.h"): "size and speed of the codec by itself",
    ("bench", "vault/cache.h"): "what pack_file.h needs",
    ("bench", "vault/pack_file.h"): "the texts of real packs",
    ("bench", "codec/token_model.h"): "size and speed of the model by itself",
    ("tests", "vault/artifacts.h"): "the files of artifacts",
    ("tests", "codec/dictionary.h"): "dictionaries that no vault has trained",
}

SKIPPED_FOLDERS = {"build", "data", "node_modules", "__pycache__", "corpus"}
CXX = {".cc", ".h"}
# Files that hold text in other languages on purpose.
NOT_ASCII = ("examples/",)
MAX_COLUMNS = 100

# (pattern, files where it is allowed, reason). Only library code is searched: include/ and src/
# without its tests.
BANNED = [
    (r"\bthrow\b", (), "errors are Results; no exception crosses the library"),
    (r"\b(?:std::)?(?:exit|_exit|quick_exit|terminate)\s*\(", (),
     "the caller decides when to stop"),
    (r"\babort\s*\(", ("src/base/",), "a library that dies takes its host with it"),
    (r"\b(?:printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror)\s*\(", (),
     "the library never prints"),
    (r"\bstd::(?:cout|cerr|clog|print|println)\b|#\s*include\s*<iostream>", (),
     "the library never prints"),
    (r"(?<![.>\w])(?:::|std::)?(?:fsync|fdatasync|sync_file_range|syncfs)\s*\(",
     ("src/base/file.cc", "src/storage/", "src/checkpoint/"), "syncing has one door"),
    (r"(?<![.>\w])(?:::|std::|std::filesystem::)?(?:rename|renameat|renameat2)\s*\(",
     ("src/storage/", "src/checkpoint/", "src/interchange/output_file.cc"),
     "durable replacement is one function of storage, and one for files of a user"),
    (r"\bsystem_clock\b", ("src/base/clock.cc",), "one clock, which tests can set"),
    (r"\b(?:rand|srand|strtok|gets|sprintf|vsprintf|strcpy|strcat|alloca)\s*\(", (), "unsafe"),
]

# Spelled in two parts so that this file passes its own rule.
OPEN_WORK = re.compile(r"\b(?:" + "|".join(["TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK"]) + r")\b")
# What a test that is switched off looks like: this rule refuses it.
SWITCHED_OFF = re.compile(r"\bDISABLED_|\bif\s*\(\s*0\s*\)|^\s*#\s*if\s+0\b")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# A string, a character, or a comment; raw strings first.
LEXEME = re.compile(
    r'R"([^()\\\s]{0,16})\(.*?\)\1"|"(?:[^"\\\n]|\\.)*"|(?<![0-9a-fA-F])\'(?:[^\'\\\n]|\\.)*\''
    r"|//[^\n]*|/\*.*?\*/",
    re.S,
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


class Tree:
    """The files under a root, each read once."""

    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        self.found = []
        self.paths = sorted(self._walk(self.root))
        self.texts = {}

    def _walk(self, folder):
        for entry in folder.iterdir():
            if entry.is_symlink():
                continue
            if entry.is_dir():
                hidden = entry.name.startswith(".") and entry.name != ".ci"
                if not hidden and entry.name not in SKIPPED_FOLDERS:
                    yield from self._walk(entry)
            elif is_source(entry) or entry.suffix == ".md":
                yield entry.relative_to(self.root).as_posix()

    def bytes(self, path):
        if path not in self.texts:
            self.texts[path] = (self.root / path).read_bytes()
        return self.texts[path]

    def text(self, path):
        return self.bytes(path).decode("utf-8", "replace")

    def report(self, path, line, rule, what):
        self.found.append((path, line, rule, what))


def is_source(path):
    if path.suffix in CXX or path.suffix in {".py", ".cmake", ".in", ".sh"}:
        return True
    if path.name == "CMakeLists.txt":
        return True
    if path.suffix or not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def code_only(text):
    """The text with comments and the inside of strings blanked, line for line."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    return LEXEME.sub(blank, text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def is_test(path):
    return path.endswith("_test.cc")


def library_code(tree):
    for path in tree.paths:
        if path.endswith((".cc", ".h")) and path.startswith(("src/", "include/")):
            if not is_test(path) and "/testing/" not in path:
                yield path


def check_text(tree):
    for path in tree.paths:
        data = tree.bytes(path)
        document = path.endswith(".md")
        for number, line in enumerate(data.split(b"\n"), 1):
            if not document:
                if not line.isascii() and not path.startswith(NOT_ASCII):
                    tree.report(path, number, "ascii", "a byte above 0x7f")
                columns = len(line.decode("utf-8", "replace"))
                if columns > MAX_COLUMNS and not path.startswith(NOT_ASCII):
                    what = f"{columns} columns, {MAX_COLUMNS} allowed"
                    tree.report(path, number, "columns", what)
                if b"\t" in line:
                    tree.report(path, number, "tab", "a tab")
            if line.endswith((b" ", b"\r")) and not document:
                tree.report(path, number, "space", "white space at the end of the line")
        if data and not data.endswith(b"\n"):
            tree.report(path, data.count(b"\n") + 1, "newline", "no newline at the end")


def check_open_work(tree):
    for path in tree.paths:
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            if match := OPEN_WORK.search(line):
                tree.report(path, number, "open-work", f"{match.group()}: do it or write it down")
            if path.endswith((".cc", ".h")) and SWITCHED_OFF.search(line):
                tree.report(path, number, "switched-off", "a test or code that never runs")


def check_floors(tree):
    folders = {p.split("/")[1] for p in tree.paths if p.startswith("src/") and p.count("/") > 1}
    for folder in sorted(folders - set(FLOORS)):
        tree.report(f"src/{folder}", 1, "floor", "the folder is not in FLOORS of scripts/tidy.py")
    for path in tree.paths:
        if not path.endswith((".cc", ".h")):
            continue
        top = path.split("/")[0]
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            name = match.group(2)
            target = name.split("/")[0] if "/" in name else ""
            if name.startswith("../") or "/../" in name:
                tree.report(path, number, "floor", f"{name}: give the path from the root of src/")
            if target not in FLOORS:
                continue
            if top == "include":
                tree.report(path, number, "floor", f"a public header includes {name}")
            elif top in PUBLIC_ONLY and (top, name) not in PUBLIC_EXCEPTIONS:
                tree.report(path, number, "floor", f"{top}/ sees include/tokvault only, not {name}")
            elif top == "src":
                own = path.split("/")[1]
                allowed = target == own or FLOORS[target] < FLOORS.get(own, 0)
                if not allowed and (own, target) not in FLOOR_EXCEPTIONS:
                    tree.report(path, number, "floor", f"{own} may not include {name}")


def check_banned(tree):
    for path in library_code(tree):
        code = code_only(tree.text(path))
        for pattern, allowed, reason in BANNED:
            if path.startswith(allowed) if allowed else False:
                continue
            for match in re.finditer(pattern, code):
                what = f"{match.group().strip()}: {reason}"
                tree.report(path, line_of(code, match.start()), "banned", what)


def check_guards(tree):
    for path in tree.paths:
        if not path.endswith(".h"):
            continue
        inner = re.sub(r"^(?:include|src)/", "", path)
        guard = re.sub(r"[^A-Za-z0-9]", "_", inner).upper() + "_"
        if not guard.startswith("TOKVAULT_"):
            guard = "TOKVAULT_" + guard
        text = tree.text(path)
        if f"#ifndef {guard}\n#define {guard}\n" not in text:
            tree.report(path, 1, "guard", f"the include guard is to be {guard}")


def check_listed(tree):
    """Every source, test and benchmark is in the CMake files of its folder or of one above."""
    lists = {}
    for path in tree.paths:
        if path.endswith(("CMakeLists.txt", ".cmake")):
            folder = path.rsplit("/", 1)[0] if "/" in path else ""
            lists[folder] = lists.get(folder, "") + tree.text(path)
    for path in tree.paths:
        if not path.endswith(".cc") or path.startswith("fuzz/"):
            continue
        folder = path
        while "/" in folder:
            folder = folder.rsplit("/", 1)[0]
            name = path[len(folder) + 1:]
            if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.])", lists.get(folder, "")):
                break
        else:
            tree.report(path, 1, "listed", "in no CMakeLists.txt, so it is never built")


def check_scripts(tree):
    for path in tree.paths:
        if path.endswith((".cc", ".h", ".md")):
            continue
        if tree.bytes(path).startswith(b"#!") and not (tree.root / path).stat().st_mode & 0o100:
            tree.report(path, 1, "executable", "it has an interpreter line and cannot be run")


def check_links(tree):
    for path in tree.paths:
        if not path.endswith(".md"):
            continue
        inside_code = False
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            if line.lstrip().startswith("```"):
                inside_code = not inside_code
            if inside_code:
                continue
            for match in LINK.finditer(re.sub(r"`[^`]*`", "", line)):
                target = match.group(1)
                if re.match(r"[a-z]+:", target):
                    continue
                if not (tree.root / path).parent.joinpath(target).exists():
                    tree.report(path, number, "link", f"{target} is not there")


CHECKS = [check_text, check_open_work, check_floors, check_banned, check_guards, check_listed,
          check_scripts, check_links]


def check(root):
    """All violations under root, as (path, line, rule, what)."""
    tree = Tree(root)
    for rule in CHECKS:
        rule(tree)
    return sorted(tree.found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parent.parent)
    found = check(parser.parse_args().root)
    for path, line, rule, what in found:
        print(f"{path}:{line}: {rule}: {what}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
