#!/usr/bin/env python3
"""Every way in which a test can fail must reach the last line of scripts/test."""

import pathlib
import tempfile
import unittest

import count_tests

TWO_PASSED = """<testsuites><testsuite>
<testcase name="a" status="run" result="completed" classname="S"/>
<testcase name="b" status="run" result="completed" classname="S"/>
<testcase name="c" status="run" result="skipped" classname="S"/>
<testcase name="d" status="notrun" result="suppressed" classname="S"/>
</testsuite></testsuites>"""
ONE_FAILED = """<testsuites><testsuite>
<testcase name="a" status="run" result="completed" classname="S"/>
<testcase name="b" status="run" result="completed" classname="S"><failure/></testcase>
</testsuite></testsuites>"""


def counted(status, report=None, steps=()):
    with tempfile.TemporaryDirectory(prefix="tokvault-count-") as name:
        folder = pathlib.Path(name)
        folder.joinpath("dev").mkdir()
        folder.joinpath("dev.junit").write_text(
            f'<testsuite><testcase name="t" status="{status}"/></testsuite>')
        if report:
            folder.joinpath("dev", "t.xml").write_text(report)
        return tuple(n if isinstance(n, int) else len(n)
                     for n in count_tests.count(folder, list(steps)))


class CountTest(unittest.TestCase):
    def test_counts(self):
        self.assertEqual(counted("run"), (1, 0, 0))
        self.assertEqual(counted("fail"), (0, 1, 0))
        self.assertEqual(counted("notrun"), (0, 1, 0))
        self.assertEqual(counted("run", TWO_PASSED), (2, 0, 1))
        self.assertEqual(counted("fail", TWO_PASSED), (2, 1, 1))
        self.assertEqual(counted("fail", ONE_FAILED), (1, 1, 0))
        self.assertEqual(counted("fail", "<testsuites><testsui"), (0, 1, 0))
        self.assertEqual(counted("run", steps=["build-asan"]), (1, 1, 0))


if __name__ == "__main__":
    unittest.main()
