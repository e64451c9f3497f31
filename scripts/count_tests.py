#!/usr/bin/env python3
"""Sums test reports: count_tests.py FOLDER [FAILED STEP]...

FOLDER holds PRESET.junit from ctest and PRESET/PROGRAM.xml from each GoogleTest program. A program
with a report counts by its cases, any other ctest test as one. A program that ctest saw fail though
its report has no failure (it crashed at the end, or ran out of time) counts as one more failure.
Prints what was skipped and what failed, then "N passed, N failed" as the last line, with ", N
skipped" if any was; the exit status is 1 if anything failed or nothing ran.
"""

import pathlib
import sys
import xml.etree.ElementTree as xml


def count_program(report):
    """(passed, failed names, skipped names) of a GoogleTest report."""
    passed, failed, skipped = 0, [], []
    for case in xml.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None:
            failed.append(name)
        elif case.get("result") == "skipped":
            skipped.append(name)
        elif case.get("status") == "run":
            passed += 1
    return passed, failed, skipped


def count(folder, failed_steps):
    passed, failed, skipped = 0, list(failed_steps), []
    for junit in sorted(folder.glob("*.junit")):
        for case in xml.parse(junit).getroot().iter("testcase"):
            name, status = case.get("name"), case.get("status")
            if status == "disabled":
                continue
            cases = 0
            broken, lacking = [], []
            report = folder / junit.stem / f"{name}.xml"
            if report.exists():
                try:
                    cases, broken, lacking = count_program(report)
                except xml.ParseError:
                    broken = [f"{name}: its report is cut off"]
            elif status == "run":
                cases = 1
            if status != "run" and not broken:
                broken = [name]
            passed += cases
            failed += [f"{junit.stem}: {test}" for test in broken]
            skipped += [f"{junit.stem}: {test}" for test in lacking]
    return passed, failed, skipped


def main():
    passed, failed, skipped = count(pathlib.Path(sys.argv[1]), sys.argv[2:])
    print()
    for name in skipped:
        print(f"skipped: {name}")
    for name in failed:
        print(f"failed: {name}")
    more = f", {len(skipped)} skipped" if skipped else ""
    print(f"{passed} passed, {len(failed)} failed{more}")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
