#!/usr/bin/env python3
"""What bench/run does about peers, with peers that take no time: bench/run_test.py."""

import argparse
import contextlib
import hashlib
import importlib.machinery
import importlib.util
import io
import pathlib
import sys
import tempfile
import types
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
LOADER = importlib.machinery.SourceFileLoader("bench_run", str(HERE / "run"))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_run", LOADER))
LOADER.exec_module(run)
invented, peers = run.invented, run.peers

COMPACTED = {"text": 20, "tables": 10, "log": 1, "artifacts": 0, "catalog": 8, "other": 1}
LEVELS = {"balanced": {"imported": 50, "compacted": 40, "capped": 45, "conversations": 2,
                       "import_mb_per_s": 9, "compacted_mb_per_s": 3,
                       "kinds": {"imported": {**COMPACTED, "log": 11}, "compacted": COMPACTED},
                       "import_rss_mb": 7, "compact_rss_mb": 8,
                       "get": {"p50_us": 5, "p99_us": 6, "first_get_us": 7}}}


def present(bench, plain, folder):
    (folder / "a").write_bytes(plain.read_bytes()[:30])
    return {"bytes": peers.folder_bytes(folder), "import_mb_per_s": 1}


def absent(bench, plain, folder):
    raise peers.Missing("no such program")


class RunTest(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="tokvault-bench-test-")
        self.addCleanup(self.scratch.cleanup)
        folder = pathlib.Path(self.scratch.name)
        self.plain = folder / "a.jsonl"
        self.plain.write_bytes(b"x" * 100)
        self.bench = types.SimpleNamespace(build=folder, folder=folder)
        before = run.RATIOS, peers.PEERS
        self.addCleanup(lambda: (setattr(run, "RATIOS", before[0]),
                                 setattr(peers, "PEERS", before[1])))
        run.RATIOS = folder / "ratio.csv"
        self.peers_are(present, present)

    def peers_are(self, first, second):
        peers.PEERS = {"zstd_19_long": ("zstd", first), "other": ("other", second)}

    def row(self, *names):
        found = peers.measure(self.bench, self.plain, names)
        return run.ratio_row("a", self.plain, found, LEVELS), found

    def test_a_peer_that_is_absent_is_named_in_the_table(self):
        self.peers_are(present, absent)
        row, found = self.row("zstd_19_long", "other")
        self.assertNotIn("other", row)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            run.print_ratio("a", row, found, LEVELS)
        self.assertIn("missing", out.getvalue())
        self.assertIn("other: no such program", out.getvalue())

    def test_the_table_has_the_kinds_of_bytes_before_compact_and_after(self):
        row, found = self.row("zstd_19_long")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            run.print_ratio("a", row, found, LEVELS)
        lines = [line.split() for line in out.getvalue().splitlines()]
        self.assertIn("balanced, imported 20 10 11 0 8 1 50 7".split(), lines)
        self.assertIn("balanced, compacted 20 10 1 0 8 1 40 0.01 8".split(), lines)

    def test_no_row_without_all_peers(self):
        self.peers_are(present, absent)
        with self.assertRaisesRegex(SystemExit, "other missing"):
            run.write_ratio(self.row("zstd_19_long", "other")[0])
        self.assertFalse(run.RATIOS.exists())

    def test_peers_of_the_same_corpus_stay(self):
        run.write_ratio(self.row("zstd_19_long", "other")[0])
        run.write_ratio(self.row()[0])
        self.assertEqual(run.read_ratios()["a"]["other"], "30")
        self.plain.write_bytes(b"y" * 101)
        with self.assertRaisesRegex(SystemExit, "zstd_19_long, other missing"):
            run.write_ratio(self.row()[0])

    def test_archives_are_kept_by_content(self):
        self.row("zstd_19_long")
        self.peers_are(absent, absent)
        self.assertEqual(self.row("zstd_19_long")[0]["zstd_19_long"], 30)
        self.plain.write_bytes(b"y" * 100)
        self.assertNotIn("zstd_19_long", self.row("zstd_19_long")[0])

    def test_check_asks_no_peer(self):
        args = argparse.Namespace(check=True, peers=None)
        self.assertEqual(run.wanted_peers(args), [])
        row = self.row("zstd_19_long", "other")[0]
        run.write_ratio(row)
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(run.check_ratios([self.row()[0]]), 0)
            self.assertEqual(run.check_ratios([{**row, "balanced_compacted": 41}]), 1)

    def test_an_unknown_peer_is_refused(self):
        with self.assertRaisesRegex(SystemExit, "no peer bogus"):
            run.wanted_peers(argparse.Namespace(check=False, peers="bogus"))


class InventedTest(unittest.TestCase):
    def test_a_corpus_is_the_same_everywhere(self):
        # Of the lines of all of them: figures that were measured stand for these.
        digest = hashlib.sha256()
        with tempfile.TemporaryDirectory(prefix="tokvault-bench-test-") as folder:
            path = pathlib.Path(folder) / "a.jsonl"
            for name in invented.CORPORA:
                invented.write(name, path, 0.01)
                digest.update(path.read_bytes())
        self.assertEqual(digest.hexdigest(),
                         "2ecba96ffee8cdde493286d532e8428d8dbf56073dc4ec00a11112f32cab37ab")


if __name__ == "__main__":
    unittest.main()
