#!/usr/bin/env python3
"""Seeds for the fuzz programs of the formats, from the golden files: writes fuzz/corpus/NAME."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent.parent / "docs" / "format"))
import decode  # noqa: E402


def varint(v):
    return bytes([v]) if v < 128 else bytes([v & 127 | 128]) + varint(v >> 7)


def u16(v):
    return v.to_bytes(2, "little")


def sized(data):
    return varint(len(data)) + data


def with_dictionary(artifacts, data):
    """As fuzz/with_dictionary.h reads it, if there is a dictionary: the last one."""
    for _, artifact in sorted(artifacts.items(), reverse=True):
        if artifact.kind == decode.DICTIONARY:
            return b"\x8e\xc9\xd0\xa5" + u16(len(artifact.content)) + artifact.content + data
    return None


def seeds():
    """(fuzz program, name, bytes)."""
    def name_of(path):
        version, vault = path.parts[-4], path.parts[-3]
        return vault if version == "v1" else f"{version}_{vault}"

    logs = [*(HERE / "v1").glob("*/log/*.log"), *(HERE / "v2" / "apart").glob("log/*.log")]
    for path in sorted(logs):
        vault = name_of(path)
        data = path.read_bytes()
        yield "log", vault, data
        artifacts = {}
        for a in path.parent.parent.glob("artifacts/*.artifact"):
            artifacts[int(a.stem)] = decode.Artifact(a.read_bytes(), int(a.stem))
            yield "artifact", f"{vault}_{int(a.stem)}", a.read_bytes()
        if input_ := with_dictionary(artifacts, data):
            yield "log", f"{vault}_with_dictionary", input_
        log = decode.Log(data, int(path.stem), artifacts)
        for i, (body, text) in enumerate(zip(log.bodies, log.texts)):
            # The size of a text that is apart stands behind.
            yield "batch", f"{vault}_{i}", body + (b"" if text is None else u16(len(text)))
    for i, name in enumerate(("tokens", "bytes")):
        code, text = ((HERE / "token_lz" / f"{name}.{end}").read_bytes() for end in ("bin", "text"))
        yield "token_lz", f"{name}_text", bytes([i]) + text
        yield "token_lz", f"{name}_code", bytes([2 + i]) + varint(len(text)) + code
        yield "token_lz", f"{name}_after_itself", bytes([4 + i]) + sized(text) + text
    for path in sorted(HERE.glob("v[0-9]*/*/packs/*.pack")):
        name = f"{name_of(path)}_{int(path.stem)}"
        data = path.read_bytes()
        yield "pack", name, data
        artifacts = decode.artifacts_of(path.parent.parent)
        p = decode.Pack(data, int(path.stem), artifacts)
        named = {n: artifacts[n] for s in p.streams for n in s.get("artifacts", ())}
        if input_ := with_dictionary(named, data):
            yield "pack", f"{name}_with_dictionary", input_
        for s in (0, 1):
            stream = p.streams[s]
            if stream["ended"]:
                continue
            fields = (p.segment_counts[s], stream["block_count"], stream["text_bytes"],
                      stream["blocks"][1], stream["dictionary"][2])
            yield "table", f"{name}_segments_{s}", b"\3" + b"".join(
                varint(n) for n in fields) + p.part(stream["table"])
        if p.map[2]:
            tokens = decode.packed(p.part(p.map), p.map[2])
            code = b"".join(p.code(0, i) for i in range(min(8, p.segment_counts[0])))
            yield "token_map", name, sized(tokens) + code
        if p.version > 1 and not p.is_recent:
            continue  # its tables are those of version 1
        counts = [p.row_count, p.node_count, p.external_count] + p.segment_counts
        kind = b"\7" if p.is_recent else b"\2"
        yield "table", f"{name}_tables", kind + b"".join(varint(n) for n in counts) + b"".join(
            sized(p.part(t)) for t in p.tables)
        times = decode.In(p.part(p.tables[3])).sized()
        yield "table", f"{name}_integers", b"\0" + varint(p.row_count) + times
        yield "table", f"{name}_strings", b"\1" + varint(p.row_count) + p.part(p.tables[1])
        if p.record_count:
            yield "table", f"{name}_records", b"\4" + varint(p.record_count) + p.part(
                p.record_extent)
    yield "pack", "v2_filter", (HERE / "bad" / "v2_filter").read_bytes()
    data = (HERE / "bad" / "v2_bases").read_bytes()
    yield "pack", "v2_bases", data
    p = decode.Pack(data, 3)
    stream = p.streams[0]
    yield "table", "v2_bases", b"\6" + b"".join(varint(n) for n in (
        p.segment_counts[0], stream["block_count"], stream["text_bytes"], stream["blocks"][1],
        stream["dictionary"][2])) + p.part(stream["table"])
    data = (HERE / "bad" / "v2_blocks").read_bytes()
    yield "pack", "v2_blocks", data
    p = decode.Pack(data, 4)
    stream = p.streams[0]
    fields = (p.segment_counts[0], stream["block_count"], stream["text_bytes"],
              stream["blocks"][1], stream["dictionary"][2])
    yield "table", "v2_blocks", b"\5" + b"".join(
        varint(n) for n in fields) + p.part(stream["table"])
    for path in sorted(HERE.glob("v[0-9]*/*/artifacts/*.artifact")):
        yield "artifact", f"{name_of(path)}_{int(path.stem)}", path.read_bytes()


def main():
    corpus = HERE.parent.parent / "fuzz" / "corpus"
    for program, name, data in seeds():
        folder = corpus / program
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
