#!/usr/bin/env python3
"""Breaks every rule of scripts/tidy.py in a small tree and sees that it is caught, and that only
it is: a checker that finds nothing looks just like a clean tree."""

import pathlib
import tempfile
import unittest

import tidy

GOOD = {
    "include/tokvault/a.h": "#ifndef TOKVAULT_A_H_\n#define TOKVAULT_A_H_\n\n#endif\n",
    "src/base/b.h": "#ifndef TOKVAULT_BASE_B_H_\n#define TOKVAULT_BASE_B_H_\n\n#endif\n",
    "src/base/b.cc": '#include "base/b.h"\n\n// throw, printf( and exit( in a comment are words.\n'
                     'const char* k = "throw exit(1)";\n',
    "src/base/CMakeLists.txt": "target_sources(tokvault PRIVATE b.cc)\n",
    "src/codec/c.cc": '#include "base/b.h"\n#include "format/f.h"\n#include "tokvault/a.h"\n',
    "src/codec/c_test.cc": '#include "codec/c.h"\n\nint main() { printf("tests may print"); }\n',
    "src/codec/CMakeLists.txt": "target_sources(tokvault PRIVATE c.cc)\n"
                                "tokvault_test(c_test c_test.cc)\n",
    "src/storage/s.cc": "int f() { return fsync(1) + rename(a, b); }\n",
    "src/storage/CMakeLists.txt": "target_sources(tokvault PRIVATE s.cc)\n",
    "tests/t/t_test.cc": '#include "storage/fault.h"\n#include "tokvault/a.h"\n',
    "tests/CMakeLists.txt": "tokvault_test(t_test t/t_test.cc)\n",
    "docs/a.md": "See [b](b.md#part) and [there](https://example.org/x).\n",
    "docs/b.md": "# b\n",
    "scripts/run": "#!/bin/sh\n",
}

# rule -> trees that differ from GOOD by one violation
BAD = {
    "ascii": [{"src/base/b.cc": "// caf\u00e9\n"}],
    "columns": [{"src/base/b.cc": "//" + "x" * 99 + "\n"}],
    "tab": [{"src/base/b.cc": "int\tx;\n"}],
    "space": [{"src/base/b.cc": "int x; \n"}],
    "newline": [{"src/base/b.cc": "int x;"}],
    "open-work": [{"src/base/b.cc": "// TO" "DO: more\n"}, {"docs/b.md": "FIX" "ME\n"}],
    # Text that the rule has to refuse; no test of ours is switched off.
    "switched-off": [{"src/codec/c_test.cc": "TEST(a, DISABLED_b) {}\n"},
                     {"src/base/b.cc": "#if 0\n#endif\n"}],
    "floor": [
        {"src/base/b.cc": '#include "codec/c.h"\n'},
        {"src/codec/c.cc": '#include "dedup/d.h"\n'},
        {"src/storage/s.cc": '#include "vault/v.h"\n'},
        {"src/storage/s.cc": '#include "../base/b.h"\n'},
        {"tests/t/t_test.cc": '#include "vault/v.h"\n'},
        {"include/tokvault/a.h": GOOD["include/tokvault/a.h"] + '#include "base/b.h"\n'},
        {"src/elsewhere/CMakeLists.txt": "\n"},
    ],
    "banned": [
        {"src/base/b.cc": "void f() { throw 1; }\n"},
        {"src/base/b.cc": "void f() { std::exit(1); }\n"},
        {"src/codec/c.cc": "void f() { std::abort(); }\n"},
        {"src/base/b.cc": 'void f() { std::printf("x"); }\n'},
        {"src/base/b.cc": "#include <iostream>\n"},
        {"src/base/b.cc": "auto& f() { return std::cerr; }\n"},
        {"src/codec/c.cc": "int f() { return ::fdatasync(1); }\n"},
        {"src/codec/c.cc": "void f() { std::filesystem::rename(a, b); }\n"},
        {"src/codec/c.cc": "auto f() { return std::chrono::system_clock::now(); }\n"},
        {"include/tokvault/a.h": GOOD["include/tokvault/a.h"] + "inline int f() { throw 1; }\n"},
    ],
    "guard": [{"src/base/b.h": "#pragma once\n"}],
    "listed": [{"src/codec/CMakeLists.txt": "target_sources(tokvault PRIVATE c.cc)\n"},
               {"src/base/CMakeLists.txt": "target_sources(tokvault PRIVATE bb.cc)\n"}],
    "executable": [{"scripts/other": "#!/bin/sh\n"}],
    "link": [{"docs/a.md": "[gone](gone.md)\n"}],
}


def rules_found(changes):
    with tempfile.TemporaryDirectory(prefix="tokvault-tidy-") as root:
        for path, text in {**GOOD, **changes}.items():
            file = pathlib.Path(root, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            if path == "scripts/run":
                file.chmod(0o755)
        return [rule for _, _, rule, _ in tidy.check(root)]


class TidyTest(unittest.TestCase):
    def test_a_good_tree_passes(self):
        self.assertEqual(rules_found({}), [])

    def test_each_violation_is_caught(self):
        for rule, trees in BAD.items():
            for changes in trees:
                with self.subTest(rule=rule, changes=changes):
                    self.assertEqual(rules_found(changes), [rule])


if __name__ == "__main__":
    unittest.main()
