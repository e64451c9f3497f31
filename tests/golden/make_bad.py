#!/usr/bin/env python3
"""Damages copies of the golden files: tests/golden/make_bad.py writes tests/golden/bad.

Each variant changes one thing and puts the checksums over it right again, where it says so: then
only the rule that it breaks can find it. list.txt says in which vault a variant takes the place of
which file, and with which code reading must fail; with the code ok it is another writing of the
same content, which no writer makes. Like make_golden it is run once for a version.
"""

import ctypes
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent.parent / "docs" / "format"))
import decode  # noqa: E402
from xxh3 import xxh3_64  # noqa: E402

LOG = "log/00000001.log"


def put(data, at, value, size):
    data[at:at + size] = value.to_bytes(size, "little")


def get(data, at, size):
    return int.from_bytes(data[at:at + size], "little")


def checksum32(data):
    return xxh3_64(bytes(data)) & 0xFFFFFFFF


# Logs.


def log_header(data):
    """The header's checksum put right."""
    n = get(data, 8, 4)
    put(data, 20 + n, xxh3_64(bytes(data[:20 + n])), 8)


def batches(data):
    at, out = 28 + get(data, 8, 4), []
    while at < len(data):
        out.append(at)
        at += 48 + get(data, at + 28, 4)
    return out


def batch(data, at, number=1):
    size = get(data, at + 28, 4)
    inner = xxh3_64(bytes(data[at:at + 40]), number << 40 ^ at)
    put(data, at + 40, xxh3_64(bytes(data[at + 48:at + 48 + size]), inner), 8)


def checksum_of_header(data, at, number=1):
    return xxh3_64(bytes(data[at:at + 36]), number << 40 ^ at) & 0xFFFFFFFF


def swap_batches(data):
    first, second = batches(data)[-2:]
    data[first:] = data[second:] + data[first:second]


def with_body(data, change):
    """The last batch with another body, as one block of raw zstd content in a frame of its own."""
    log = decode.Log(bytes(data), 1)
    at = batches(data)[-1]
    body = bytearray(log.bodies[-1])
    change(body)
    # Window descriptor of 16 MB, and one last block of raw content.
    payload = b"\x00\x70" + (len(body) << 3 | 1).to_bytes(3, "little") + bytes(body)
    del data[at + 48:]
    data += payload
    data[at + 4] |= 2  # a new frame
    put(data, at + 28, len(payload), 4)
    put(data, at + 32, len(body), 4)
    batch(data, at)


# Packs.


def pack_header(data):
    put(data, 56, xxh3_64(bytes(data[:56])), 8)


def trailer(data):
    put(data, len(data) - 8, xxh3_64(bytes(data[-32:-8])), 8)


def footer_of(data):
    offset, size, raw = (get(data, len(data) - 32 + a, n) for a, n in ((0, 8), (8, 4), (12, 4)))
    return offset, decode.packed(bytes(data[offset:offset + size]), raw)


def with_footer(data, raw, part=b""):
    """The pack with another footer, not compressed, and perhaps one more part before it."""
    offset, _ = footer_of(data)
    data[offset:] = part
    offset += len(part)
    packed = b"\0" + bytes(raw)
    end = offset.to_bytes(8, "little") + len(packed).to_bytes(4, "little") + \
        len(raw).to_bytes(4, "little") + (xxh3_64(packed) & 0xFFFFFFFF).to_bytes(4, "little") + \
        b"\xe5\xf3\xa7\xd1"
    data[offset:] = packed + end + xxh3_64(end).to_bytes(8, "little")


def varint(v):
    return bytes([v]) if v < 128 else bytes([v & 127 | 128]) + varint(v >> 7)


def change_part(data, extent, change):
    """A part changed in place, and its checksum in the footer with it."""
    at, size, raw_size, before = extent
    part = bytearray(data[at:at + size])
    change(part)
    assert len(part) == size
    data[at:at + size] = part
    _, raw = footer_of(data)
    head = b"".join(varint(v) for v in (at, size, raw_size))
    old, new = before.to_bytes(4, "little"), checksum32(part)
    assert raw.count(head + old) == 1
    with_footer(data, raw.replace(head + old, head + new.to_bytes(4, "little")))


# Packs of version 2.


def stream_fields(stream):
    def extent(e):
        return b"".join(varint(v) for v in e[:3]) + e[3].to_bytes(4, "little")

    return b"".join(extent(stream[name]) for name in ("dictionary", "blocks", "table")) + \
        varint(stream["block_count"]) + varint(stream["text_bytes"]) + \
        bytes([stream["codec"], stream["ended"], len(stream["artifacts"])]) + \
        b"".join(varint(n) for n in stream["artifacts"])


def with_stream(data, stream, part=b"", **fields):
    """The pack with other fields of a stream in its footer."""
    _, raw = footer_of(data)
    old, new = stream_fields(stream), stream_fields({**stream, **fields})
    assert raw.count(old) == 1
    with_footer(data, raw.replace(old, new), part)


def raw_frame(text):
    """One last block of raw content, in a frame with a window of 1 KB."""
    assert len(text) <= 1024
    return b"\0\0" + (len(text) << 3 | 1).to_bytes(3, "little") + bytes(text)


def with_text(data, number, change):
    """The pack with another text of the same size in its token dictionary."""
    pack = decode.Pack(bytes(data), number)
    stream = pack.streams[0]
    text = bytearray(pack.text(0, None))
    change(text)
    assert len(text) == stream["dictionary"][2]
    part = raw_frame(text)
    extent = footer_of(data)[0], len(part), len(text), checksum32(part)
    with_stream(data, stream, part, dictionary=extent)


def with_blocks(data, number, held=1, text_size=0, frame_size=0, flag=0, change=None):
    """The pack with its last segment in a block; what is given is wrong by so much in the table."""
    pack = decode.Pack(bytes(data), number)
    stream, text = pack.streams[0], pack.text(0, None)
    cut = text.rindex(b"\xff", 0, -1) + 1
    block = bytearray(text[cut:])
    if change:
        change(block)
    block = bytes(block)
    dictionary, frame = raw_frame(text[:cut]), raw_frame(block)
    blocks = checksum32(frame).to_bytes(4, "little") + frame
    table = b""  # each column is one value
    for value in (held, len(block) + text_size, len(frame) + frame_size, flag):
        table += varint(1 + len(varint(value))) + b"\0" + varint(value)
    at, extents = footer_of(data)[0], []
    for part, size in ((dictionary, cut), (blocks, 0), (table, 0)):
        extents.append((at, len(part), size, checksum32(part)))
        at += len(part)
    with_stream(data, stream, dictionary + blocks + table, block_count=1, dictionary=extents[0],
                blocks=extents[1], table=extents[2])


def with_count(data, index, value):
    """The pack with another count in its footer: conversations, nodes, externals or segments."""
    pack = decode.Pack(bytes(data), 4)
    _, raw = footer_of(data)
    head = varint(16) + pack.set_id
    for numbers in (pack.members, pack.supersedes):
        head += varint(len(numbers)) + b"".join(varint(n) for n in numbers)
    counts = [pack.row_count, pack.node_count, pack.external_count, *pack.segment_counts]
    old = head + b"".join(varint(n) for n in counts)
    assert raw.count(old) == 1
    counts[index] = value
    with_footer(data, raw.replace(old, head + b"".join(varint(n) for n in counts)))


def prefixed_frame(text, prefix):
    """A frame as zstd makes it, without magic number, size and checksum."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_createCCtx.restype = ctypes.c_void_p
    zstd.ZSTD_compress2.restype = ctypes.c_size_t
    context = ctypes.c_void_p(zstd.ZSTD_createCCtx())
    for parameter, value in ((100, 19), (200, 0), (201, 0), (202, 0)):
        zstd.ZSTD_CCtx_setParameter(context, parameter, value)
    zstd.ZSTD_CCtx_refPrefix(context, prefix, ctypes.c_size_t(len(prefix)))
    out = ctypes.create_string_buffer(len(text) + 100)
    size = zstd.ZSTD_compress2(context, out, ctypes.c_size_t(len(out)), text,
                               ctypes.c_size_t(len(text)))
    return out.raw[4:size]


def with_bases(data, number, named=(0, 2), bases=None, ended=0):
    """The pack with each of its last two segments in a block, of which the second copies from a
    segment of the dictionary and from the first block."""
    pack = decode.Pack(bytes(data), number)
    stream = pack.streams[0]
    codes = [pack.code(0, i) for i in range(pack.segment_counts[0])]
    n = len(codes)
    bases = bases or (3, n - 2)
    held = b"".join(codes[:-2])
    dictionary = raw_frame(held) if len(held) <= 1024 else prefixed_frame(held, b"")
    frames = [raw_frame(codes[-2]), prefixed_frame(codes[-1], codes[3] + codes[-2])]
    assert len(frames[1]) < len(codes[-1])
    blocks = b"".join(checksum32(f).to_bytes(4, "little") + f for f in frames)

    def column(values):
        packed = bytes([1]) + varint(len(values)) + b"\0" + bytes(values)
        return varint(len(packed)) + packed

    steps, rest = [], list(bases)
    for count in named:
        for i in range(count):
            steps.append(rest[i] - (rest[i - 1] + 1 if i else 0))
        del rest[:count]
    table = column([len(c) for c in codes]) + column([1] * (n - 2) + [0, 0]) + column([1, 1]) + \
        column([len(f) for f in frames]) + column(named) + column(steps)
    at, extents = footer_of(data)[0], []
    for part, size in ((dictionary, len(held)), (blocks, 0), (table, 0)):
        extents.append((at, len(part), size, checksum32(part)))
        at += len(part)
    with_stream(data, stream, dictionary + blocks + table, block_count=2, dictionary=extents[0],
                blocks=extents[1], table=extents[2], codec=3, ended=ended)


def with_filter(data, number, change=None, more=b""):
    """The pack with a filter of its ids; `change` and `more` make another of it."""
    pack = decode.Pack(bytes(data), number)
    ids = [row.id for row in pack.rows]
    part = bytearray(decode.id_filter(pack.tenant_record["key"], ids) + more)
    if change:
        change(part)
    offset, raw = footer_of(data)
    extent = varint(offset) + varint(len(part)) + b"\0" + checksum32(part).to_bytes(4, "little")
    with_footer(data, raw + extent, bytes(part))
    put(data, 6, 1, 2)
    pack_header(data)


def variants_of_version_2():
    """As variants()."""
    def stream(change):
        def run(data):
            s = decode.Pack(bytes(data), 4).streams[0]
            with_stream(data, s, **change(s))
        return run

    def footer_byte(back, value):
        def run(data):
            raw = bytearray(footer_of(data)[1])
            raw[-back] = value
            with_footer(data, raw)
        return run

    def text(change):
        return lambda d: with_text(d, 4, change)

    def swap_last(t):
        t[-2:] = t[:-3:-1]

    def blocks(**wrong):
        return lambda d: with_blocks(d, 4, **wrong)

    def count(index, value):
        return lambda d: with_count(d, index, value)

    packs = [
        ("v2_rows", "corrupt", "more conversations than a pack holds", count(0, (1 << 20) + 1)),
        ("v2_nodes", "corrupt", "more nodes than a pack holds", count(1, (1 << 21) + 1)),
        ("v2_externals", "corrupt", "more externals than a pack holds", count(2, (1 << 20) + 1)),
        ("v2_segments", "corrupt", "more segments than a pack holds", count(4, (1 << 21) + 1)),
        ("v2_level_0", "corrupt", "level 0", footer_byte(2, 0)),
        ("v2_level_4", "corrupt", "level 4", footer_byte(2, 4)),
        ("v2_compacted", "corrupt", "made by what nobody knows", footer_byte(1, 3)),
        ("v2_codec", "unsupported", "an unknown codec", stream(lambda s: {"codec": 255})),
        ("v2_artifact", "corrupt", "a stream that needs an artifact which is not there",
         stream(lambda s: {"artifacts": [2]})),
        ("v2_artifacts", "unsupported", "a stream that needs two artifacts",
         stream(lambda s: {"artifacts": [2, 3]})),
        ("v2_ended", "corrupt", "neither ended nor not", stream(lambda s: {"ended": 2})),
        ("v2_model_not_ended", "corrupt", "a token model, and segments that are not ended",
         stream(lambda s: {"codec": 1, "ended": 0})),
        ("v2_lz_not_ended", "corrupt", "a token LZ, and segments that are not ended",
         stream(lambda s: {"codec": 2, "ended": 0})),
        ("v2_lz_is_none", "corrupt", "a token LZ that is a frame", stream(lambda s: {"codec": 2})),
        ("v2_lz_with_table", "corrupt", "a token LZ, and a table",
         stream(lambda s: {"codec": 2, "table": s["dictionary"]})),
        ("v2_text_bytes", "corrupt", "a text that is longer than its segments with their ends",
         stream(lambda s: {"text_bytes": s["text_bytes"] - 1})),
        ("v2_table_without_blocks", "corrupt", "a table, and no blocks",
         stream(lambda s: {"table": s["dictionary"]})),
        ("v2_end_missing", "corrupt", "a segment does not end",
         text(lambda t: t.__setitem__(t.index(255), 0))),
        ("v2_end_too_many", "corrupt", "a segment ends twice",
         text(lambda t: t.__setitem__(1, 255))),
        ("v2_after_the_last_end", "corrupt", "a byte after the last end", text(swap_last)),
        ("v2_blocks", "ok", "blocks of zstd whose segments are ended", blocks()),
        ("v2_block_segments", "corrupt", "a block with more segments than there are",
         blocks(held=3)),
        ("v2_block_end_missing", "corrupt", "a block with a segment less than its table says",
         blocks(change=lambda t: t.__setitem__(-1, 0))),
        ("v2_block_text", "corrupt", "a block with more text than there is",
         blocks(text_size=1)),
        ("v2_block_size", "corrupt", "a block that is larger than all blocks",
         blocks(frame_size=1)),
        ("v2_block_fingerprint", "corrupt", "a segment that has two fingerprints", blocks(flag=2)),
        ("v2_block_no_fingerprint", "corrupt", "a fingerprint that is not there", blocks(flag=1)),
    ]
    for name, code, why, change in packs:
        yield name, "v2/artifact", "packs/00000004.pack", code, why, change

    def bases(**wrong):
        return lambda d: with_bases(d, 3, **wrong)

    for name, code, why, change in (
            ("v2_bases", "ok", "a block that copies from two bases", bases()),
            ("v2_bases_of_bases", "corrupt", "a base that has bases itself",
             bases(named=(2, 2), bases=(0, 1, 3, 78))),
            ("v2_bases_own", "corrupt", "a block that is a base of itself", bases(bases=(3, 79))),
            ("v2_bases_range", "corrupt", "a base that is no segment", bases(bases=(3, 80))),
            ("v2_bases_many", "corrupt", "nine bases",
             bases(named=(0, 9), bases=(0, 1, 3, 5, 7, 9, 11, 13, 78))),
            ("v2_bases_other", "corrupt", "a base more than the block was coded with",
             bases(named=(1, 2), bases=(7, 3, 78))),
            ("v2_bases_ended", "corrupt", "bases, and segments that are ended", bases(ended=1))):
        yield name, "v2/shared", "packs/00000003.pack", code, why, change

    def a_bit_less(part):
        at = next(i for i, byte in enumerate(part) if byte)
        part[at] &= part[at] - 1

    def a_bit_more(part):
        at = next(i for i, byte in enumerate(part) if byte != 255)
        part[at] |= part[at] + 1

    def filtered(**wrong):
        return lambda d: with_filter(d, 3, **wrong)

    def unlike_its_checksum(data):
        with_filter(data, 3)
        data[footer_of(data)[0] - 1] ^= 1

    def says_filter(data):
        put(data, 6, 1, 2)
        pack_header(data)

    for name, code, why, change in (
            ("v2_filter", "ok", "a filter of ids", filtered()),
            ("v2_filter_lacks", "corrupt", "a filter without one of the bits",
             filtered(change=a_bit_less)),
            ("v2_filter_has", "corrupt", "a filter with a bit of no id",
             filtered(change=a_bit_more)),
            ("v2_filter_size", "corrupt", "a filter of a byte more than there are conversations",
             filtered(more=b"\0")),
            ("v2_filter_bit", "corrupt", "a bit of a filter, checksum as it was",
             unlike_its_checksum),
            ("v2_filter_none", "corrupt", "the header says that there is a filter",
             says_filter)):
        yield name, "v2/shared", "packs/00000003.pack", code, why, change
    yield ("v1_filter", "v1/artifact", "packs/00000003.pack", "unsupported",
           "a filter in a pack of version 1", says_filter)

    def references(say):
        def change(data):
            put(data, 6, say, 2)
            pack_header(data)
        return change

    yield ("v2_recent", "v2/shared", "packs/00000003.pack", "ok",
           "the header says that references are recent, and there are only new ones", references(2))
    yield ("v1_recent", "v1/artifact", "packs/00000003.pack", "unsupported",
           "recent references in a pack of version 1", references(2))

    def without_artifact(vault):
        def change(data):
            artifacts = decode.artifacts_of(HERE / "v2" / vault)
            stream = decode.Pack(bytes(data), 5, artifacts).streams[0]
            with_stream(data, stream, artifacts=[])
        return change

    def flip_bit(data):
        data[-9] ^= 0x40

    yield ("v2_no_artifact", "v2/shared_lz", "packs/00000005.pack", "corrupt",
           "a token LZ that copies from an artifact, and names none", without_artifact("shared_lz"))
    yield ("v2_no_history", "v2/shared_dense", "packs/00000005.pack", "corrupt",
           "a model that has learned from an artifact, and names none",
           without_artifact("shared_dense"))
    yield ("v2_shared_bit", "v2/shared_lz", "artifacts/00000002.artifact", "corrupt",
           "a bit of the substrings that a pack copies from", flip_bit)

    def model_size(s):
        at, size, raw_size, checksum = s["dictionary"]
        return {"dictionary": (at, size, raw_size + 1, checksum),
                "text_bytes": s["text_bytes"] + 1}

    def model_cut(data):
        s = decode.Pack(bytes(data), 4).streams[0]
        at, size, raw_size, _ = s["dictionary"]
        extent = at, size // 2, raw_size, checksum32(data[at:at + size // 2])
        with_stream(data, s, dictionary=extent)

    def model_bit(data):
        s = decode.Pack(bytes(data), 4).streams[0]
        at, size, raw_size, _ = s["dictionary"]
        data[at + size // 2] ^= 1
        with_stream(data, s, dictionary=(at, size, raw_size, checksum32(data[at:at + size])))

    for name, why, change in (
            ("v2_model_size", "a text that is longer than what its model decodes",
             stream(model_size)),
            ("v2_model_cut", "a model without its second half, checksum right", model_cut),
            ("v2_model_bit", "a bit of a model, checksum right", model_bit)):
        yield name, "v2/dense", "packs/00000004.pack", "corrupt", why, change


def variants():
    """(name, vault, target, code, why, function over the bytes)."""
    def set_byte(at, value, fix=None):
        def change(data):
            data[at] = value
            if fix:
                fix(data)
        return change

    def flip(at, fix=None):
        def change(data):
            data[at] ^= 0x40
            if fix:
                fix(data)
        return change

    def cut(size):
        def change(data):
            del data[-size:]
        return change

    def last(change):
        def run(data):
            at = batches(data)[-1]
            change(data, at)
            batch(data, at)
        return run

    def renumbered(data):
        for at in batches(data):
            put(data, at + 16, get(data, at + 16, 4) + 1000, 4)
            batch(data, at)

    log = [
        ("log_magic", "corrupt", "the first byte is another", flip(0)),
        ("log_header_bit", "corrupt", "a bit of the vault record is another", flip(40)),
        ("log_version_2", "unsupported", "version 2, checksum right", set_byte(4, 2, log_header)),
        ("log_feature", "unsupported", "an unknown required feature", set_byte(6, 1, log_header)),
        ("log_number", "corrupt", "the header names another log", set_byte(12, 9, log_header)),
        ("log_vault_record", "corrupt", "a vault id of 15 bytes", set_byte(20, 15, log_header)),
        ("log_cut_header", "corrupt", "the file ends in its header",
         lambda d: d.__delitem__(slice(50, None))),
        ("log_cut_batch", "corrupt", "the last batch is cut, and the catalog knows it was whole",
         cut(1)),
        ("log_first_batch_bit", "corrupt", "a bit of a batch that others follow",
         lambda d: flip(batches(d)[0] + 60)(d)),
        ("log_swapped_batches", "corrupt", "two batches in the other order", swap_batches),
        ("batch_cipher", "unsupported", "a batch with a cipher, checksum right",
         last(lambda d, at: put(d, at + 5, 1, 1))),
        ("batch_flag", "unsupported", "an unknown flag",
         last(lambda d, at: put(d, at + 4, 128, 1))),
        ("batch_no_section", "corrupt", "a batch of a section that never began",
         last(lambda d, at: put(d, at + 16, 7, 4))),
        ("batch_other_tenant", "corrupt", "a batch of another tenant than its section",
         last(lambda d, at: put(d, at + 12, 5, 4))),
        ("batch_section_ahead", "corrupt", "more sections than there were batches", renumbered),
        ("body_hole", "corrupt", "a form with a control byte that is no hole",
         lambda d: with_body(d, lambda b: b.extend(b"\x03\x07{\"a\":\x07}"))),
        ("batch_body_size", "corrupt", "a body larger than its payload gives",
         last(lambda d, at: put(d, at + 32, get(d, at + 32, 4) + 1, 4))),
        ("body_tag", "corrupt", "an unknown tag in a body",
         lambda d: with_body(d, lambda b: b.extend(b"\x0b"))),
        ("body_varint", "corrupt", "an overlong varint in a body",
         lambda d: with_body(d, lambda b: b.extend(b"\x01\x80\x00"))),
        ("body_cut", "corrupt", "a body that ends in a string",
         lambda d: with_body(d, lambda b: b.extend(b"\x01\x05abc"))),
        ("body_reference", "corrupt", "a reference to before the first segment",
         lambda d: with_body(d, lambda b: b.extend(b"\x07\x00\x00\xfe\x7f"))),
        ("body_token", "corrupt", "a segment whose code is cut, and a conversation that needs it",
         lambda d: with_body(d, lambda b: b.extend(
             b"\x04\x02a\xff\x07\x00\x00\x00\x08\x03bad\x00\x00\x02\x00\x01\x01\x00\x00"))),
    ]
    for name, code, why, change in log:
        yield name, "v1/bytes", LOG, code, why, change

    def pieces(change):
        """The last batch with other sizes of the piece of its body, and of its text."""
        def run(data):
            at = batches(data)[-1]
            old = bytes(data[at + 48:])
            front = decode.In(old)
            size, text_size = front.varint(), front.varint()
            size, text_size = change(size, text_size)
            new = varint(size) + varint(text_size) + front.rest()
            data[at + 48:] = new
            put(data, at + 28, len(new), 4)
            put(data, at + 36, checksum_of_header(data, at), 4)
            batch(data, at)
        return run

    def text_bits(data):
        at = batches(data)[-1]
        front = decode.In(bytes(data[at + 48:]))
        size = front.varint()
        front.varint()
        for i in range(at + 48 + front.at + size, len(data)):
            data[i] ^= 0x55
        batch(data, at)

    def text_flag(data):
        at = batches(data)[-1]
        data[at + 4] &= ~64
        put(data, at + 36, checksum_of_header(data, at), 4)
        batch(data, at)

    for name, code, why, change in [
        ("text_bits", "corrupt", "bits of a piece of text, checksum right", text_bits),
        ("text_size", "corrupt", "a text larger than its piece gives",
         pieces(lambda n, t: (n, t + 1))),
        ("text_short", "corrupt", "a text smaller than its segments",
         pieces(lambda n, t: (n, t - 1))),
        ("text_piece", "corrupt", "a piece that goes beyond its payload",
         pieces(lambda n, t: (n + 100000, t))),
        ("text_piece_short", "corrupt", "the body's piece ends in that of the text",
         pieces(lambda n, t: (n - 1, t))),
        ("text_flag", "corrupt", "text apart without the flag that says so", text_flag),
    ]:
        yield name, "v2/apart", "log/00000001.log", code, why, change
    def artifact_sums(data):
        put(data, 48, xxh3_64(bytes(data[64:])), 8)
        put(data, 56, xxh3_64(bytes(data[:56])), 8)

    def no_id(data):
        """A dictionary of the same size with the id 1, which no frame of the log names."""
        record = 64 + get(data, 44, 4)
        content = bytearray(decode.Artifact(bytes(data), 3).content)
        content[4:8] = b"\1\0\0\0"
        data[record:] = b"\0" + content
        artifact_sums(data)

    for name, code, why, change in [
        ("artifact_magic", "corrupt", "the first byte is another", flip(0)),
        ("artifact_version_2", "unsupported", "version 2, checksum right",
         set_byte(4, 2, artifact_sums)),
        ("artifact_cipher", "unsupported", "a cipher", set_byte(20, 1, artifact_sums)),
        ("artifact_reserved", "corrupt", "a reserved byte is not zero",
         set_byte(23, 1, artifact_sums)),
        ("artifact_number", "corrupt", "the header names another artifact",
         set_byte(8, 9, artifact_sums)),
        ("artifact_tenant", "corrupt", "of another tenant", set_byte(16, 1, artifact_sums)),
        ("artifact_vault", "corrupt", "of another vault", flip(30, artifact_sums)),
        ("artifact_kind", "corrupt", "an artifact of kind 3 in the place of a dictionary",
         set_byte(64, 3, artifact_sums)),
        ("artifact_bit", "corrupt", "a bit of the content", lambda d: flip(len(d) - 9)(d)),
        ("artifact_cut", "corrupt", "the last byte is missing", cut(1)),
        ("artifact_other_id", "corrupt", "a dictionary of another id than the frame's", no_id),
    ]:
        yield name, "v1/trained", "artifacts/00000003.artifact", code, why, change

    def first(change):
        def run(data):
            at = next(b for b in batches(data) if data[b + 4] & 32)
            change(data, at)
            batch(data, at)
        return run

    for name, code, why, change in [
        ("batch_dictionary_0", "corrupt", "a batch that names no dictionary",
         first(lambda d, at: put(d, at + 48, 0, 1))),
        ("batch_dictionary_unused", "corrupt", "the other dictionary",
         first(lambda d, at: put(d, at + 48, 2, 1))),
        ("batch_dictionary_late", "corrupt", "a dictionary in the middle of a section",
         first(lambda d, at: put(d, at + 4, 32 + 2, 1))),
    ]:
        yield name, "v1/trained", LOG, code, why, change
    target = "packs/00000003.pack"

    def pack(data):
        return decode.Pack(bytes(data), 3)

    packs = [
        ("pack_magic", "corrupt", "the first byte is another", flip(0)),
        ("pack_version_200", "unsupported", "version 200, checksum right",
         set_byte(4, 200, pack_header)),
        ("pack_feature", "unsupported", "an unknown required feature",
         set_byte(7, 1, pack_header)),
        ("pack_cipher", "unsupported", "a cipher", set_byte(20, 1, pack_header)),
        ("pack_reserved", "corrupt", "a reserved byte is not zero", set_byte(50, 1, pack_header)),
        ("pack_number", "corrupt", "the header names another pack", set_byte(8, 9, pack_header)),
        ("pack_tenant", "corrupt", "header and footer name two tenants",
         set_byte(16, 9, pack_header)),
        ("pack_empty", "corrupt", "the file ends in its header",
         lambda d: d.__delitem__(slice(63, None))),
        ("pack_cut", "corrupt", "the last byte is missing", cut(1)),
        ("pack_longer", "corrupt", "a byte stands between footer and trailer",
         lambda d: d.insert(len(d) - 32, 0)),
        ("pack_trailer_bit", "corrupt", "a bit of the trailer", lambda d: flip(len(d) - 20)(d)),
        ("pack_footer_bit", "corrupt", "a bit of the footer", lambda d: flip(len(d) - 50)(d)),
        ("pack_footer_long", "corrupt", "a byte after the footer's last field",
         lambda d: with_footer(d, footer_of(d)[1] + b"\0")),
        ("pack_dictionary_bit", "corrupt", "a bit of a dictionary", flip(70)),
        ("pack_dictionary_frame", "corrupt", "a reserved bit in a frame, checksum right",
         lambda d: change_part(d, pack(d).streams[0]["dictionary"],
                               lambda p: p.__setitem__(0, p[0] | 8))),
        ("pack_window", "corrupt", "a window above 2^27 in a frame, checksum right",
         lambda d: change_part(d, pack(d).streams[0]["dictionary"],
                               lambda p: p.__setitem__(1, 18 << 3))),
        ("pack_segment_sum", "corrupt", "sizes of segments that do not add up, checksum right",
         lambda d: change_part(d, pack(d).streams[0]["table"],
                               lambda p: p.__setitem__(4, p[4] + 1))),
        ("pack_model", "corrupt", "a row with a model that is not there, checksum right",
         lambda d: change_part(d, pack(d).tables[2], lambda p: p.__setitem__(2, 9))),
        ("pack_trie", "corrupt", "a row with more nodes than there are, checksum right",
         lambda d: change_part(d, pack(d).tables[8], lambda p: p.__setitem__(8, 9))),
        ("pack_token_map", "corrupt", "a list that names more tokens than it holds, checksum right",
         lambda d: change_part(d, pack(d).map, lambda p: p.__setitem__(1, 9))),
    ]
    for name, code, why, change in packs:
        yield name, "v1/artifact", target, code, why, change
    vocabulary = next((HERE / "v1" / "artifact" / "artifacts").iterdir()).name
    yield ("vocabulary", "v1/artifact", f"artifacts/{vocabulary}", "corrupt", "another vocabulary",
           flip(3))
    yield from variants_of_version_2()


def main():
    folder = HERE / "bad"
    folder.mkdir(exist_ok=True)
    lines = ["# FILE VAULT TARGET CODE WHY",
             "# VAULT with bad/FILE in the place of TARGET must fail so, or not (ok).",
             "# make_bad.py wrote it."]
    for name, vault, target, code, why, change in variants():
        data = bytearray((HERE / vault / target).read_bytes())
        before = bytes(data)
        change(data)
        assert bytes(data) != before, name
        (folder / name).write_bytes(data)
        lines.append(f"{name} {vault} {target} {code} {why}")
    (folder / "list.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
