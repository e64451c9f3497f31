#!/usr/bin/env python3
"""Holds docs/cli.md against the command.

Examples. What stands after `$ ` in an indented block is run, and what is shown below it has to be
what is printed, on standard output and standard error; a command without output below it only has
to succeed. Each section has a folder of its own with traffic.jsonl (the examples) imported into
my.vault and the files that make_inputs() writes; PREPARED runs in it first. Not compared are

- the number of blanks, since columns are as wide as what varies in them;
- sizes and percentages that differ by less than a quarter, rates, seconds, and the times and
  numbers of what is made while the example runs (VARYING);
- what `...` stands for.

Options. Every option in a section is one that its commands have, by their --help, unless the code
that it stands in names another command; every option of these commands stands in the section. A
line of a synopsis (`tokvault COMMAND VAULT ...`) is held against that command alone.

Fields. What JSON_COMMANDS print is JSON, and every name in it stands in the section of the command,
or in that of the command that it says it prints like (PRINTS_LIKE).
"""

import argparse
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLI = "docs/cli.md"

# What a section's examples have behind them.
PREPARED = {
    "explain": ["tokvault compact my.vault"],
    "stats": ["tokvault tag my.vault support-0001 support-0007 +reviewed"],
    "gc": ["tokvault forget my.vault --application ferry-agent"],
    "import": ["rm -r my.vault", "tokvault init my.vault"],
    "check": ["tokvault forget my.vault --application ferry-agent", "tokvault gc my.vault"],
}
MAKES_ITS_VAULT = {"init"}

# Of every command, and what words of a synopsis stand for.
COMMON = {"--help", "--json"}
PLACEHOLDERS = {
    "PROMPT": {"--tokens", "--text"},
    "NAMESPACE": {"--namespace"},
    "STORE OPTIONS": {"--budget", "--eviction", "--codec", "--block-tokens"},
}
FILTER = {"--model", "--application", "--tag", "--since", "--until", "--tenant"}

# They run one after the other; $ID is what the last `segment put` printed.
JSON_COMMANDS = """
init other.vault
import my.vault traffic.jsonl
list my.vault --limit 2
tag my.vault support-0001 +a
explain my.vault
explain my.vault support-0001
near my.vault support-0001 --threshold 0.5
delta my.vault support-0001 support-0003
dupes my.vault
dupes my.vault --ids
dupes my.vault -o rest.jsonl
export my.vault -o all.jsonl
stats my.vault
stats my.vault --tenant default
stats my.vault --by model,application,day
tenants my.vault
forget my.vault support-0002 --dry-run
forget my.vault support-0002
gc my.vault --dry-run
gc my.vault
compact my.vault
compact my.vault --retrain --pack-size 16K
substrings train my.vault
substrings list my.vault
substrings show my.vault 1
substrings compact my.vault
substrings retain my.vault 1
dict train my.vault --activate
dict list my.vault
dict export my.vault dictionaries
dict activate my.vault none
dict import my.vault dictionaries
check my.vault
repair my.vault
segment put my.vault prompt.txt
segment get my.vault $ID
segment has my.vault $ID
segment list my.vault
segment hold my.vault $ID --holder me
segment replace my.vault $ID
segment release my.vault $ID
segment release my.vault --all --holder me
segment garbage my.vault
segment collect my.vault
kv put kv.store --tokens prompt.ids --payload state.bin
kv put kv.store --tokens prompt.ids --payload state.bin --state
kv get kv.store --tokens branch.ids -o got.bin
kv match kv.store --tokens branch.ids
kv match kv.store --text prompt.txt
kv explain kv.store --tokens branch.ids --sidecar logits
kv list kv.store
kv stats kv.store
kv check kv.store
kv evict kv.store --expired
kv export kv.store --kvc kvc
kv import kv.store --kvc kvc
tokenize prompt.txt
detokenize ok.ids
version
"""
PRINTS_LIKE = {"repair": "check", "compact": "gc", "segment": "gc", "dupes": "export"}

VARYING = [
    (re.compile(r"in [0-9.]+ s\b"), "in # s"),
    (re.compile(r"dictionary [0-9]+"), "dictionary #"),
    (re.compile(r"made [0-9-]+T[0-9:.]+Z"), "made #"),
]
SIZE = re.compile(r"(?<![\w.])([0-9][0-9.,]*) (B|KB|MB|GB|%|MB/s)(?![\w/])")
TOLERANCE = 0.25
OPTION = re.compile(r"(?<![\w-])(?:--[a-z][a-z-]*|-o)(?![\w-])")
SHORT = {"-o": "--output"}


def sections(text):
    """{title: text} of the parts below `## title`."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def examples(text):
    """[(command, shown output)] of the indented blocks that begin with `$ `."""
    found = []
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE):
        lines = [line[4:] for line in block.splitlines()]
        for line in lines:
            if line.startswith("$ "):
                found.append([line[2:], []])
            elif found and line.startswith("> ") and not found[-1][1]:
                found[-1][0] += "\n" + line[2:]
            elif found and any(l.startswith("$ ") for l in lines):
                found[-1][1].append(line)
    return [(command, "\n".join(shown).strip()) for command, shown in found]


def make_inputs(folder):
    shutil.copy(ROOT / "examples/conversations.jsonl", folder / "traffic.jsonl")
    # Two prompts that begin the same, the state of the first, and a text.
    prompt = list(range(700))
    branch = prompt[:256] + list(range(5000, 5444))
    (folder / "prompt.ids").write_text(" ".join(map(str, prompt)))
    (folder / "branch.ids").write_text(" ".join(map(str, branch)))
    (folder / "state.bin").write_bytes(bytes(len(prompt) * 64))
    (folder / "prompt.txt").write_text("You are a careful assistant. " * 100)
    (folder / "ok.ids").write_text("15339 1917")


def run(line, folder, command):
    environment = dict(os.environ, PATH=f"{command.parent}:{os.environ['PATH']}", TZ="UTC")
    done = subprocess.run(["/bin/sh", "-c", line], cwd=folder, env=environment, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False)
    return done.returncode, done.stdout, done.stderr


def plain(text):
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


def number(text):
    return float(text.replace(",", ""))


def is_shown(shown, printed):
    """Whether `printed` is what the document shows."""
    sizes = [(number(m[1]), m[2]) for m in SIZE.finditer(shown)]
    form = ".*".join(re.escape(part) for part in SIZE.sub("\x00", shown).split("..."))
    form = form.replace(re.escape("\x00"), r"([0-9][0-9.,]*) (B|KB|MB|GB|%|MB/s)")
    match = re.fullmatch(form, printed, re.DOTALL)
    if match is None:
        return False
    groups = match.groups()
    for at, (value, unit) in enumerate(sizes):
        if groups[2 * at + 1] != unit:
            return False
        if unit != "MB/s" and abs(number(groups[2 * at]) - value) > TOLERANCE * value:
            return False
    return True


def check_examples(title, text, base, command):
    wrong = []
    found = examples(text)
    if not found:
        return 0, wrong
    with tempfile.TemporaryDirectory(prefix="tokvault-docs-") as name:
        folder = pathlib.Path(name)
        make_inputs(folder)
        if title not in MAKES_ITS_VAULT:
            shutil.copytree(base / "my.vault", folder / "my.vault")
        for line in PREPARED.get(title, []):
            run(line, folder, command)
        for line, shown in found:
            status, out, err = run(line, folder, command)
            if status != 0:
                wrong.append(f"{title}: {line}\nexit status {status}: {err}")
            elif shown and not any(is_shown(plain(shown), plain(both))
                                   for both in (out + err, err + out)):
                wrong.append(f"{title}: $ {line}\nshown:\n{shown}\nprinted:\n{out}{err}")
    return len(found), wrong


class Help:
    """The options of commands, by what they print themselves."""

    def __init__(self, command):
        self.command = command

    @functools.lru_cache(maxsize=None)
    def text(self, name):
        done = subprocess.run([self.command, *name.split(), "--help"], text=True,
                              capture_output=True, check=False)
        usage = f"Usage: tokvault {name}".strip() + " "
        return done.stdout if done.returncode == 0 and usage in done.stdout else ""

    def is_command(self, name):
        return bool(self.text(name))

    def parts(self, name):
        """The commands of a group; of a command that is none, the command itself."""
        listed = re.search(r"^Subcommands:\n((?:  .*\n)+)", self.text(name), re.MULTILINE)
        if listed is None:
            return [name]
        return [f"{name} {part}".strip() for part in re.findall(r"^  (\w+)", listed[1], re.M)]

    def options(self, name):
        return set(re.findall(r"^  (?:-\w,)?(--[a-z][a-z-]*)", self.text(name), re.MULTILINE))


def synopses(text):
    """The synopsis lines of a section, without the `$` examples."""
    return re.findall(r"^    (tokvault [a-z].*)$", text, re.MULTILINE)


def options_of(code):
    return {SHORT.get(option, option) for option in OPTION.findall(code)}


def named_elsewhere(code, help_of):
    """The command that a code span names before its options, if it does."""
    words = code.removeprefix("tokvault ").split()
    for count in (2, 1):
        name = " ".join(words[:count])
        if re.fullmatch(r"[a-z]+( [a-z]+)?", name) and help_of.is_command(name):
            return name
    return None


def check_options(title, text, help_of):
    """What section and commands have apart."""
    commands = [part for name in title.split(", ") for part in help_of.parts(name)]
    has = set().union(*(help_of.options(name) for name in commands))
    wrong = []
    said = set()
    for code in re.findall(r"`([^`]+)`", re.sub(r"^    .*$", "", text, flags=re.MULTILINE)):
        options = options_of(code)
        other = named_elsewhere(code, help_of)
        if other is None or other in commands:
            said |= options
        elif options - help_of.options(other):
            wrong.append(f"{title}: `{code}`: {other} has no such option")
    filtered = set()
    for line in synopses(text):
        name = named_elsewhere(line, help_of)
        if name is None:
            wrong.append(f"{title}: there is no such command: {line}")
            continue
        of_line = options_of(line)
        for word, options in PLACEHOLDERS.items():
            if word in line:
                of_line |= options
        if "filter" in line:
            filtered |= FILTER
            of_line |= FILTER
        said |= of_line
        for option in sorted(of_line - help_of.options(name)):
            wrong.append(f"{title}: {name} has no {option}: {line}")
    for option in sorted(said - has - COMMON):
        wrong.append(f"{title}: {option} is in {CLI} and not in the help of {', '.join(commands)}")
    for option in sorted(has - said - filtered - COMMON):
        wrong.append(f"{title}: {option} is in the help and not in {CLI}")
    return wrong


def names(value):
    """Of all fields in a JSON value."""
    if isinstance(value, dict):
        return set(value).union(*map(names, value.values()))
    return set().union(*map(names, value)) if isinstance(value, list) else set()


def check_fields(parts, command):
    """What the commands print with --json and the documents do not say."""
    wrong = []
    section = {name: text for title, text in parts.items() for name in title.split(", ")}
    with tempfile.TemporaryDirectory(prefix="tokvault-docs-") as name:
        folder = pathlib.Path(name)
        make_inputs(folder)
        segment = ""
        for line in JSON_COMMANDS.strip().splitlines():
            line = line.replace("$ID", segment)
            status, out, err = run(f"tokvault {line} --json", folder, command)
            if status != 0 or not out:
                wrong.append(f"{line} --json: exit status {status}, printed: {out}{err}")
                continue
            try:
                values = [json.loads(text) for text in out.splitlines()]
            except ValueError as error:
                wrong.append(f"{line} --json: {error}: {out}")
                continue
            if line.startswith("segment put"):
                segment = values[0]["id"]
            title = line.split()[0]
            text = section[title] + section.get(PRINTS_LIKE.get(title), "")
            said = set(re.findall(r'`"?(\w+)"?`', text)) | set(re.findall(r'"(\w+)":', text))
            for field in sorted(names(values) - said):
                wrong.append(f"{title}: {line} --json prints `{field}`, which is not in {CLI}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", required=True, type=pathlib.Path)
    command = parser.parse_args().command.resolve()
    help_of = Help(str(command))
    parts = sections((ROOT / CLI).read_text())
    wrong = []
    count = 0
    with tempfile.TemporaryDirectory(prefix="tokvault-docs-") as base:
        make_inputs(pathlib.Path(base))
        status, _, err = run("tokvault import my.vault traffic.jsonl", base, command)
        if status != 0:
            sys.exit(f"docs: the examples cannot be imported: {err}")
        for title, text in parts.items():
            shown, what = check_examples(title, text, pathlib.Path(base), command)
            count += shown
            wrong += what
    described = {name for title in parts for name in title.split(", ")}
    for name in help_of.parts(""):
        if name not in described:
            wrong.append(f"{name} has no section in {CLI}")
    for title, text in parts.items():
        if help_of.is_command(title.split(", ")[0]):
            wrong += check_options(title, text, help_of)
    wrong += check_fields(parts, command)
    if count < 25:
        wrong.append(f"only {count} examples: the test looks in the wrong place")
    if wrong:
        sys.exit("\n".join(f"docs: {what}" for what in wrong))
    print(f"{count} examples, {len(described)} sections")


if __name__ == "__main__":
    main()
