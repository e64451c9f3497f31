#!/usr/bin/env python3
"""Tests of the command: run.py --binary tokvault [--update] [NAME...]

A case is cases/NAME.sh, which runs in an empty folder with the command on its PATH and the folders
of cases and examples in $CASES and $EXAMPLES. What it is to print is in NAME.out, NAME.err (absent:
nothing) and NAME.exit (absent: 0). What differs from run to run is replaced by # before comparing
(VOLATILE). A case that ends with 77 says what the machine lacks; it is skipped, which the last line
counts. --update writes what was printed as what is expected; look at the difference before it is
committed. With GTEST_OUTPUT=xml:FOLDER/ it writes a report of the cases, as programs of GoogleTest
do.
"""

import argparse
import collections
import concurrent.futures
import difflib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

HERE = pathlib.Path(__file__).resolve().parent
CASES = HERE / "cases"
TIMEOUT_S = 120
CANNOT_RUN = 77
VOLATILE = [
    (
        re.compile(r" in [0-9.]+ s, [0-9.]+ MB/s(; then [0-9.]+ s of sealing and merging)?"),
        " in # s, # MB/s",
    ),
    (re.compile(r'"(seconds|mb_per_second|merge_seconds)":[0-9.e+-]+'), r'"\1":#'),
    (re.compile(r"\.part-[0-9]+"), ".part-#"),
    (re.compile(r"at offset [0-9]+"), "at offset #"),
]


def run_case(name, binary):
    """Runs a case and returns {suffix: text} of what it printed."""
    with tempfile.TemporaryDirectory(prefix="tokvault-cli-") as folder:
        environment = dict(
            os.environ,
            PATH=f"{binary.parent}:{os.environ['PATH']}",
            CASES=str(CASES),
            EXAMPLES=str(HERE.parent.parent / "examples"),
            LC_ALL="C.UTF-8",
            TZ="UTC",
        )
        done = subprocess.run(
            ["/bin/sh", str(CASES / f"{name}.sh")],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode == CANNOT_RUN:
            return {"lacks": done.stderr.decode().strip()}
        texts = {"out": done.stdout, "err": done.stderr}
        result = {}
        for suffix, raw in texts.items():
            text = raw.decode("utf-8", "backslashreplace").replace(folder, "FOLDER")
            for pattern, replacement in VOLATILE:
                text = pattern.sub(replacement, text)
            result[suffix] = text
        result["exit"] = "" if done.returncode == 0 else f"{done.returncode}\n"
        return result


def expected(name):
    result = {}
    for suffix in ("out", "err", "exit"):
        path = CASES / f"{name}.{suffix}"
        result[suffix] = path.read_text(encoding="utf-8") if path.exists() else ""
    return result


def update(name, printed):
    for suffix, text in printed.items():
        path = CASES / f"{name}.{suffix}"
        if text:
            path.write_text(text, encoding="utf-8")
        else:
            path.unlink(missing_ok=True)


def difference(name, wanted, printed):
    lines = []
    for suffix in ("exit", "err", "out"):
        lines += difflib.unified_diff(
            wanted[suffix].splitlines(True),
            printed[suffix].splitlines(True),
            f"{name}.{suffix} (expected)",
            f"{name}.{suffix} (printed)",
        )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def write_report(results):
    """What scripts/count_tests.py reads: the cases and what became of each."""
    output = os.environ.get("GTEST_OUTPUT", "")
    if not output.startswith("xml:") or not output.endswith("/"):
        return
    suite = xml.Element("testsuite")
    for name, result in results.items():
        skipped = result == "skipped"
        case = xml.SubElement(suite, "testcase", classname="cli", name=name, status="run",
                              result="skipped" if skipped else "completed")
        if result == "FAILED":
            xml.SubElement(case, "failure")
    xml.ElementTree(suite).write(pathlib.Path(output[len("xml:"):]) / "cli.xml")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    names = arguments.names or sorted(path.stem for path in CASES.glob("*.sh"))
    results = {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for name, printed in zip(names, pool.map(lambda name: run_case(name, binary), names)):
            if "lacks" in printed:
                results[name] = "skipped"
                print(f"skipped {name}: {printed['lacks']}")
                continue
            if arguments.update:
                update(name, printed)
                continue
            what = difference(name, expected(name), printed)
            results[name] = "FAILED" if what else "ok"
            print(f"{results[name]:6} {name}")
            print(what, end="")
    counts = collections.Counter(results.values())
    if not arguments.update:
        write_report(results)
        more = f", {counts['skipped']} skipped" if counts["skipped"] else ""
        print(f"{counts['ok']} of {len(names)} cases passed{more}")
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
