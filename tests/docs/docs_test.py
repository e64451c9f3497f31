#!/usr/bin/env python3
"""Tries what the documents show.

C++ of README.md and HACKING.md compiles, the commands of README.md and checkpoint.md run in order,
and every path that architecture.md names is there."""

import argparse
import hashlib
import pathlib
import re
import shlex
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def fail(message):
    print(f"docs: {message}", file=sys.stderr)
    sys.exit(1)


def cxx_blocks(name):
    return re.findall(r"```cpp\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def compile_blocks(compiler):
    count = 0
    for name in ("README.md", "HACKING.md", "docs/checkpoint.md"):
        if not (ROOT / name).exists():
            continue
        for block in cxx_blocks(name):
            command = [compiler, "-std=c++20", "-fsyntax-only", "-Werror=unused-result",
                       f"-I{ROOT}/include", "-x", "c++", "-"]
            result = subprocess.run(command, input=block, text=True, capture_output=True)
            if result.returncode != 0:
                fail(f"a C++ block of {name} does not compile:\n{block}\n{result.stderr}")
            count += 1
    if count == 0:
        fail("no C++ block found: the test looks in the wrong place")
    return count


def kvc_file(folder, text, state):
    """A file as engines that keep KVC write it."""
    header = struct.pack("<3s5B4I3QI", b"KVC", 1, 2, 1, 0, 0, 17, 0, 8192, 0, 1, 1, len(state),
                         len(text))
    folder.mkdir()
    (folder / (hashlib.sha1(text).hexdigest() + ".kv")).write_bytes(header + text + state)


def run_commands(command, folder):
    """The lines of README.md and checkpoint.md that begin with `tokvault`, on the examples."""
    lines = []
    for name in ("README.md", "docs/checkpoint.md"):
        lines += re.findall(r"^    tokvault (.*?)(?:\s+#.*)?$", (ROOT / name).read_text(),
                            re.MULTILINE)
    if len(lines) < 8:
        fail("README.md shows too few commands: the test looks in the wrong place")
    # What the commands of the checkpoint store are given: two prompts, a state, a trace.
    tokens = [str(n) for n in range(600)]
    for name, count in (("prompt.ids", 512), ("longer.ids", 600)):
        (pathlib.Path(folder) / name).write_text(" ".join(tokens[:count]))
    (pathlib.Path(folder) / "state.bin").write_bytes(bytes(512 * 64))
    (pathlib.Path(folder) / "trace.jsonl").write_text(
        '{"timestamp": 0, "input_length": 1100, "hash_ids": [1, 2, 3]}\n' * 3)
    (pathlib.Path(folder) / "prompt.txt").write_text("a prompt, and more")
    kvc_file(pathlib.Path(folder) / "engine", b"a prompt", b"its state")
    for line in lines:
        line = line.replace("~/.engine/kvcache", "engine")
        line = line.replace("traffic.jsonl", str(ROOT / "examples/conversations.jsonl"))
        line = line.replace("2026-11-01", "2026-01-01").replace("gpt-4o", "birch-2")
        line = line.replace("chat-17", "support-0007")
        result = subprocess.run([command] + shlex.split(line), cwd=folder, text=True,
                                capture_output=True)
        if result.returncode != 0:
            fail(f"tokvault {line}: exit {result.returncode}\n{result.stderr}")
    return len(lines)


def check_paths():
    text = (ROOT / "docs/architecture.md").read_text()
    paths = set(re.findall(r"`((?:tests|src)/[^`]+)`", text))
    for path in sorted(paths):
        if not (ROOT / path).exists():
            fail(f"docs/architecture.md names {path}, which is not there")
    return len(paths)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--command", required=True)
    options = parser.parse_args()
    blocks = compile_blocks(options.compiler)
    with tempfile.TemporaryDirectory(prefix="tokvault-docs-") as folder:
        commands = run_commands(options.command, folder)
    paths = check_paths()
    print(f"{blocks} blocks, {commands} commands, {paths} paths")


if __name__ == "__main__":
    main()
