#!/usr/bin/env python3
"""Builds and runs consumer.cc, own_backend.cc and, by C, examples/checkpoint/toy_transformer.c
against an installed tokvault that was moved after it was installed. The C++ programs find the
vocabularies there without being told.

The move is the point: a path of the build or of the first prefix in tokvaultConfig.cmake or
tokvault.pc is found only that way. The build folder comes first where CMake looks for packages, as
it does for who has its command on PATH, and has none.
"""

import argparse
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOY = HERE.parent.parent / "examples" / "checkpoint" / "toy_transformer.c"

PROJECT = """cmake_minimum_required(VERSION 3.25)
project(consumer CXX)
find_package(tokvault 0.1 REQUIRED)
add_executable(consumer consumer.cc)
target_link_libraries(consumer PRIVATE tokvault::tokvault)
find_package(tokvault 0.1 REQUIRED COMPONENTS conformance)
add_executable(own_backend own_backend.cc)
target_link_libraries(own_backend PRIVATE tokvault::conformance)
"""


def run(*command, **options):
    print("+", shlex.join(map(str, command)), flush=True)
    return subprocess.run([str(word) for word in command], check=True, text=True, **options)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--cmake", required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--flags", default="")
    args = parser.parse_args()

    os.environ.pop("TOKVAULT_TOKENIZERS", None)
    # A compiler cache may hand out the program of another prefix, whose headers lay elsewhere.
    os.environ.pop("CMAKE_CXX_COMPILER_LAUNCHER", None)

    with tempfile.TemporaryDirectory(prefix="tokvault-install-") as name:
        folder = pathlib.Path(name)
        run(args.cmake, "--install", args.build, "--prefix", folder / "first",
            stdout=subprocess.DEVNULL)
        prefix = folder / "moved"
        folder.joinpath("first").rename(prefix)
        for text in [*prefix.rglob("*.cmake"), *prefix.rglob("*.pc")]:
            for path in (args.build, str(folder / "first")):
                if path in text.read_text():
                    sys.exit(f"{text} names {path}")

        source = folder / "consumer"
        source.mkdir()
        source.joinpath("CMakeLists.txt").write_text(PROJECT)
        for program in ("consumer.cc", "own_backend.cc"):
            source.joinpath(program).write_text(HERE.joinpath(program).read_text())
        run(args.cmake, "-S", source, "-B", folder / "build", "-G", "Ninja",
            f"-DCMAKE_PREFIX_PATH={args.build};{prefix}", f"-DCMAKE_CXX_COMPILER={args.compiler}",
            f"-DCMAKE_CXX_FLAGS={args.flags}", stdout=subprocess.DEVNULL)
        run(args.cmake, "--build", folder / "build", stdout=subprocess.DEVNULL)
        run(folder / "build" / "consumer", folder / "one.vault")
        run(folder / "build" / "own_backend", "--gtest_brief=1")

        (pc,) = prefix.rglob("tokvault.pc")
        environment = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent)}
        flags = run("pkg-config", "--static", "--cflags", "--libs", "tokvault", env=environment,
                    stdout=subprocess.PIPE).stdout.split()
        run(args.compiler, "-std=c++20", *shlex.split(args.flags), HERE / "consumer.cc", "-o",
            folder / "by-pkg-config", *flags)
        run(folder / "by-pkg-config", folder / "two.vault")

        # Builds with sanitizers do not have the shared library (src/checkpoint/CMakeLists.txt).
        if "-fsanitize" not in args.flags:
            (shared,) = prefix.rglob("libtokvault_checkpoint.so")
            run("cc", "-I", prefix / "include", TOY, "-o", folder / "toy", "-L", shared.parent,
                f"-Wl,-rpath,{shared.parent}", "-ltokvault_checkpoint", "-lm")
            run(folder / "toy", folder / "toy.kv")

        command = prefix / "bin" / "tokvault"
        if command.exists():
            run(command, "--version")


if __name__ == "__main__":
    main()
