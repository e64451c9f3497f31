"""What a vault is measured against: archives, databases, deduplicating stores, reference scheme.

Each peer is a function that gets a plain JSONL file and an empty folder, does there what a vault
does with the file, and says how many bytes are there in the end, all files counted. It has the
settings under which it came out smallest and is still used (docs/benchmarks.md says which and what
else was tried). What it returns:

    bytes             of every file
    import_mb_per_s   of JSONL, until it was of that size (compaction included), if it was timed
    p50_us, p99_us    reading one conversation by id, where that is possible

A peer whose program is not there raises Missing; bench/run says so in its place.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent


class Missing(Exception):
    """The peer's program is not installed; the text says what is."""


def needs(program, package):
    if not shutil.which(program):
        raise Missing(f"no {program} (scripts/install bench installs {package})")


def folder_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def quantiles(seconds):
    """p50 and p99 in us; p99 only where there are enough of them to have one."""
    ordered = sorted(second * 1e6 for second in seconds)
    found = {"p50_us": ordered[(len(ordered) - 1) // 2]}
    if len(ordered) >= 100:
        found["p99_us"] = ordered[(len(ordered) - 1) * 99 // 100]
    return found


def rate(plain, seconds):
    return plain.stat().st_size / seconds / 1e6


def run(command, folder, **environment):
    """Runs a program in a folder; returns its output and its seconds."""
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          env={**os.environ, **environment}, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: "
                           f"{done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout, seconds


def archive(package, command):
    """A filter: JSONL in, archive out."""
    def measure(bench, plain, folder):
        needs(command[0], package)
        start = time.perf_counter()
        with open(plain, "rb") as source, open(folder / "archive", "wb") as target:
            subprocess.run(command, stdin=source, stdout=target, check=True)
        return {"bytes": folder_bytes(folder),
                "import_mb_per_s": rate(plain, time.perf_counter() - start)}
    return measure


def zpaq(bench, plain, folder):
    needs("zpaq", "zpaq")
    shutil.copyfile(plain, folder / "f")
    _, seconds = run(["zpaq", "add", "archive.zpaq", "f", "-m5"], folder)
    (folder / "f").unlink()
    return {"bytes": folder_bytes(folder), "import_mb_per_s": rate(plain, seconds)}


def program(name, package, *words):
    """One of our programs for a library; bench/CMakeLists.txt builds it where the library is."""
    def measure(bench, plain, folder):
        path = bench.build / "bench" / name
        if not path.exists():
            raise Missing(f"no {name} (scripts/install bench installs {package})")
        output, _ = run([path, f"input={plain.resolve()}", f"database={folder / 'data'}",
                         "count=3000", *words], folder)
        return json.loads(output)
    return measure


def parquet(shape):
    def measure(bench, plain, folder):
        needs("node", "nodejs")
        if not (HERE / "node_modules" / "@duckdb" / "node-api").exists():
            raise Missing("no @duckdb/node-api (scripts/install bench installs it)")
        output, _ = run(["node", HERE / "peer_parquet.mjs", plain.resolve(),
                         folder / "data.parquet", shape], folder)
        return json.loads(output)
    return measure


def split(plain, folder):
    """A file for each conversation; their names."""
    folder.mkdir()
    names = []
    with open(plain, "rb") as lines:
        for number, line in enumerate(lines):
            names.append(f"{number:06}.json")
            (folder / names[-1]).write_bytes(line.rstrip(b"\n"))
    return names


def sampled(names, count=9):
    return [names[len(names) * (2 * i + 1) // (2 * count)] for i in range(count)]


def borg(files):
    def measure(bench, plain, folder):
        needs("borg", "borgbackup")
        environment = {"BORG_BASE_DIR": str(folder / "home"),
                       "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        source, repository = folder / "in", folder / "repository"
        names = split(plain, source) if files else put_alone(plain, source)
        run(["borg", "init", "-e", "none", repository], folder, **environment)
        _, seconds = run(["borg", "create", "-C", "zstd,19", f"{repository}::all", "."], source,
                         **environment)
        found = {"bytes": folder_bytes(repository), "import_mb_per_s": rate(plain, seconds)}
        if files:
            times = []
            for name in sampled(names):
                got, took = run(["borg", "extract", "--stdout", f"{repository}::all", name],
                                folder, **environment)
                expect(got, source / name)
                times.append(took)
            found |= quantiles(times)
        return found
    return measure


def restic(files):
    def measure(bench, plain, folder):
        needs("restic", "restic")
        environment = {"RESTIC_PASSWORD": "benchmark"}
        source, repository = folder / "in", folder / "repository"
        names = split(plain, source) if files else put_alone(plain, source)
        restic = ["restic", "--no-cache", "-q", "-r", repository]
        run([*restic, "init"], folder, **environment)
        _, seconds = run([*restic, "backup", "--compression", "max", "."], source, **environment)
        found = {"bytes": folder_bytes(repository), "import_mb_per_s": rate(plain, seconds)}
        if files:
            times = []
            for name in sampled(names):
                got, took = run([*restic, "dump", "latest", f"/{name}"], folder, **environment)
                expect(got, source / name)
                times.append(took)
            found |= quantiles(times)
        return found
    return measure


def put_alone(plain, folder):
    folder.mkdir()
    shutil.copyfile(plain, folder / "f.jsonl")
    return ["f.jsonl"]


def expect(got, path):
    if got != path.read_bytes():
        raise RuntimeError(f"{path.name} came back as something else")


# column -> (what it is called in tables, function). The columns are those of
# bench/results/ratio.csv; the order is that of the tables.
PEERS = {
    "zstd_3": ("zstd -3", archive("zstd", ["zstd", "-q", "-3", "-c"])),
    "zstd_19_long": ("zstd -19 --long=27",
                     archive("zstd", ["zstd", "-q", "-19", "--long=27", "-c"])),
    "xz_9e": ("xz -9e", archive("xz-utils", ["xz", "-9e", "-c"])),
    "zpaq_m5": ("zpaq -m5", zpaq),
    "parquet": ("Parquet, id and line, zstd -19", parquet("lines")),
    "parquet_nested": ("Parquet, nested, zstd -19", parquet("nested")),
    "rocksdb": ("RocksDB, zstd -19 + dictionary", program("peer_rocksdb", "librocksdb-dev")),
    "sqlite_3": ("SQLite, zstd -3 a row", program("peer_sqlite", "libsqlite3-dev", "level=3")),
    "sqlite_19": ("SQLite, zstd -19 a row", program("peer_sqlite", "libsqlite3-dev", "level=19")),
    "borg_files": ("borg, a file each", borg(files=True)),
    "borg_one": ("borg, the JSONL", borg(files=False)),
    "restic_files": ("restic, a file each", restic(files=True)),
    "restic_one": ("restic, the JSONL", restic(files=False)),
    "reference": ("the reference scheme", program("peer_reference", "libsqlite3-dev")),
}

# Pure functions of the file, and slow: their sizes are kept in the build folder under the file's
# SHA-256. A speed would be that of another run, and is not kept.
KEPT = ("zstd_3", "zstd_19_long", "xz_9e", "zpaq_m5")


def measure(bench, plain, names):
    """column -> what the peer returned, or {"missing": why}."""
    with open(plain, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    memory = bench.build / "archives.json"
    known = json.loads(memory.read_text()) if memory.exists() else {}
    found = {}
    for name in names:
        if name in known.get(digest, {}):
            found[name] = {"bytes": known[digest][name]}
            continue
        folder = bench.folder / f"peer-{name}"
        folder.mkdir()
        try:
            found[name] = PEERS[name][1](bench, plain, folder)
        except Missing as why:
            found[name] = {"missing": str(why)}
        shutil.rmtree(folder)
        if name in KEPT and "bytes" in found[name]:
            known.setdefault(digest, {})[name] = found[name]["bytes"]
            memory.write_text(json.dumps(known))
    return found
